//! How long a node counts that this one does not hear itself.

use super::super::bench::{Bench, identity};
use super::*;
use crate::effect::outbox::Notice;
use crate::model::member::{Liveness as Held, REASON_BOUND};

/// Found by pair-cut, seed 62: the namer did not hear a member any more and dropped it, and the others told of it three seconds later.
/// Whoever had not heard it for minutes had called it failed 0.1 s before.
#[test]
fn the_bound_of_a_far_peer_runs_from_its_silence_only_while_those_who_list_it_may_be_as_late_as_we() {
    // (seconds from its silence here until there is no way, seconds from then until it is called failed)
    for (listed, failed) in [(0, 30), (10, 20), (29, 3), (35, 3), (36, 30), (460, 30)] {
        let mut bench = Bench::new(2);
        let (id, lost) = (identity(1).id(), bench.now + Duration::from_secs(listed));
        let Bench { node, now, .. } = &mut bench;
        let peer = node.ctx.roster.get_mut(&id).expect("it was met");
        peer.note_heard(*now);
        node.membership.withdraw_to_far(*now, id, &mut node.ctx);
        node.membership.review(*now, id, Some(1), &mut node.ctx);
        let bound = lost + Duration::from_secs(failed);
        let moments = [
            (lost, Held::Alive),
            (lost + Duration::from_millis(2_999), Held::Alive),
            (bound - Duration::from_millis(1), if failed > 3 { Held::Suspect } else { Held::Alive }),
            (bound, Held::Failed),
        ];
        for (at, held) in moments {
            node.membership.review(at, id, None, &mut node.ctx);
            let shown = node.ctx.roster.get(&id).expect("it was met").liveness;
            assert_eq!(shown, held, "{:?} after there was no way, {listed} s after it was heard", at.since(lost));
        }
    }
}

/// Found by swarm-10, seeds 67 and 118: who came back after a stop still listed the dead for a moment, and each time it did the
/// others waited for the whole bound again.
#[test]
fn a_way_that_was_there_for_a_moment_is_no_sign_of_life() {
    // (seconds for which the way was there, seconds from its first end until the peer is called failed)
    for (there, failed) in [(5, 30), (6, 26 + 30)] {
        let mut bench = Bench::new(2);
        let (id, start) = (identity(1).id(), bench.now);
        let Bench { node, .. } = &mut bench;
        node.membership.withdraw_to_far(start, id, &mut node.ctx);
        let mut look = |seconds: u64, relays: Option<u8>| {
            node.membership.review(start + Duration::from_secs(100 + seconds), id, relays, &mut node.ctx);
            node.ctx.roster.get(&id).expect("it was met").liveness
        };
        assert_eq!(look(0, None), Held::Alive);
        assert_eq!(look(19, None), Held::Suspect);
        assert_eq!(look(20, Some(1)), Held::Alive, "there is a way");
        look(20 + there - 1, Some(1));
        look(20 + there, None);
        assert_ne!(look(failed - 1, None), Held::Failed);
        assert_eq!(look(failed, None), Held::Failed);
    }
}

/// What a node was silent for hours ago let it count as far at once, a moment after it had died.
#[test]
fn a_silence_is_counted_anew_when_the_node_was_heard_meanwhile() {
    let mut bench = Bench::new(2);
    let (id, start) = (identity(1).id(), bench.now);
    let Bench { node, .. } = &mut bench;
    let at = |s| start + Duration::from_secs(s);
    let epoch = node.ctx.roster.get(&id).expect("it was met").epoch();
    assert!(!node.is_long_silent(at(0), &id, epoch));
    assert!(node.is_long_silent(at(36), &id, epoch));
    node.ctx.out.notice(Notice::Near(id));
    node.settle(at(40));
    assert!(!node.is_long_silent(at(7_200), &id, epoch));
    assert!(node.is_long_silent(at(7_236), &id, epoch));
}

/// Found by records-swarm-10, seed 127: of one of two between whom a link was cut the bound fell into the half second after the namer that listed
/// both had been found dead, in which nobody listed anybody.
#[test]
fn who_was_listed_by_a_namer_that_just_went_is_taken_to_be_heard_until_the_next_one_lists_it() {
    let mut bench = Bench::new(3);
    let ids = [1, 2, 3].map(|n| identity(n).id());
    let hall = SegmentId(7 << 40);
    let map = bench.node.routing.map();
    map.set_members(ids[0], hall, 0, ids[..2].iter().map(ShortId::of).collect());
    let now = bench.now;
    assert!(!bench.node.is_heard_elsewhere(now, &ids[1], true), "a list alone is no link");
    bench.node.note_unlisted(now, &ids[2]);
    assert!(!bench.node.is_heard_elsewhere(now, &ids[1], true), "whoever went listed nobody");
    bench.node.note_unlisted(now, &ids[0]);
    for (id, by_anyone, ms, expected) in [
        (&ids[1], true, 0, true),
        (&ids[1], true, 2_999, true),
        (&ids[1], false, 0, false),
        (&ids[2], true, 0, false),
        (&ids[1], true, 3_000, false),
    ] {
        let heard = bench.node.is_heard_elsewhere(now + Duration::from_millis(ms), id, by_anyone);
        assert_eq!(heard, expected, "{id:?} {by_anyone} {ms} ms");
    }
    bench.node.ctx.roster.set_liveness(now, &ids[0], Held::Failed, "");
    assert!(bench.node.is_heard_elsewhere(now, &ids[1], true), "node 3 may list it");
    bench.node.ctx.roster.set_liveness(now, &ids[2], Held::Suspect, "");
    assert!(!bench.node.is_heard_elsewhere(now, &ids[1], true), "nobody is left who may list it");
}

/// Found by swarm-5, seed 27: one that was cut off alone gave up all others but one that had died a second later than they were heard.
/// It counted as far, there was no way to it, nothing in the map changed for a minute, and so it was shown.
#[test]
fn who_is_taken_to_be_heard_and_is_listed_by_nobody_is_looked_at_again() {
    let mut bench = Bench::new(3);
    let ids = [1, 2, 3].map(|n| identity(n).id());
    let map = bench.node.routing.map();
    map.set_members(ids[0], SegmentId(7 << 40), 0, ids[..2].iter().map(ShortId::of).collect());
    let began = bench.now;
    bench.node.note_unlisted(began, &ids[0]);
    bench.node.routing.map().set_members(ids[0], SegmentId(7 << 40), 0, Vec::new());
    // All that changed in the map was looked at.
    bench.node.note_map(began);
    bench.node.review_far(began + REVIEW_AFTER);
    bench.node.ctx.out.notice(Notice::Verdict(ids[1], REASON_BOUND));
    bench.node.settle(began);
    let held = |bench: &Bench| bench.node.ctx.roster.get(&ids[1]).map(|peer| (peer.liveness, peer.far.is_some()));
    assert_eq!(held(&bench), Some((Held::Alive, true)));
    for s in 1..=31 {
        bench.now = began + Duration::from_secs(s);
        bench.node.review_far(bench.now);
    }
    assert_eq!(held(&bench), Some((Held::Failed, true)));
}

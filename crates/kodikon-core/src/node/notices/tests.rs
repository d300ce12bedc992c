//! What several nodes say of one, and what is believed of it.

use super::*;
use crate::effect::Input;
use crate::ground::time::Duration;
use crate::model::member::{REASON_BOUND, REASON_PROCESS, REASON_SILENCE};
use crate::node::bench::{Bench, identity, ip};
use crate::wire::message::{Beat, Message, Pong, Suspicion};

/// The host of the node under test.
const OWN: u8 = 100;
const SUBJECT: u8 = 9;

#[test]
fn witnesses_on_one_host_are_believed_only_where_there_is_no_other_host() {
    // (hosts of the witnesses and bystanders 1 to 3, who says so, why, what is believed); this node is on a host of its own.
    let table: &[([u8; 3], &[u8], &'static str, Held)] = &[
        ([2, 2, 3], &[1], REASON_SILENCE, Held::Alive),
        ([2, 2, 3], &[1, 2], REASON_SILENCE, Held::Alive),
        ([2, 2, 3], &[1, 2], REASON_BOUND, Held::Alive),
        ([2, 2, 3], &[1, 3], REASON_SILENCE, Held::Failed),
        ([2, 2, 3], &[1, 2, 3], REASON_SILENCE, Held::Failed),
        // One host may say of the end of a process what it likes: the port is asked.
        ([2, 2, 3], &[1, 2], REASON_PROCESS, Held::Alive),
        ([2, 2, 3], &[1, 3], REASON_PROCESS, Held::Failed),
        // Nobody else could witness.
        ([OWN, OWN, OWN], &[1, 2], REASON_SILENCE, Held::Failed),
        ([OWN, OWN, 2], &[1, 2], REASON_SILENCE, Held::Alive),
    ];
    for (hosts, witnesses, reason, expected) in table {
        let mut bench = Bench::new(0);
        for (n, host) in (1..).zip(hosts) {
            bench.meet(n, *host);
        }
        bench.meet(SUBJECT, SUBJECT);
        for witness in *witnesses {
            bench.opine(*witness, 2, SUBJECT, reason);
        }
        assert_eq!(bench.held(SUBJECT), *expected, "{witnesses:?} of the hosts {hosts:?} say: {reason}");
    }
}

#[test]
fn the_word_of_one_host_makes_this_node_ask_for_itself() {
    let mut bench = Bench::new(0);
    for (n, host) in [(1, 2), (2, 2), (SUBJECT, SUBJECT)] {
        bench.meet(n, host);
    }
    bench.opine(1, 2, SUBJECT, REASON_SILENCE);
    assert_eq!(bench.node.stats().probes_started, 0);
    bench.opine(2, 2, SUBJECT, REASON_SILENCE);
    assert_eq!(bench.node.stats().probes_started, 1);
    bench.pass(Duration::from_millis(1_000));
    assert_eq!(bench.held(SUBJECT), Held::Suspect, "it did not answer");
}

#[test]
fn what_was_said_beyond_a_cut_is_not_believed_when_it_heals() {
    // (how long the witnesses are back, whether they are believed at once)
    for (back, expected) in [(1, Held::Alive), (9, Held::Alive), (10, Held::Failed)] {
        let mut bench = Bench::new(0);
        for n in [1, 2, SUBJECT] {
            bench.meet(n, n + 1);
        }
        for n in [1, 2] {
            let since = Instant::ZERO + Duration::from_secs(100 - back);
            bench.node.ctx.roster.set_liveness(since, &identity(n).id(), Held::Alive, "");
        }
        [1, 2].iter().for_each(|n| bench.opine(*n, 2, SUBJECT, REASON_SILENCE));
        assert_eq!(bench.held(SUBJECT), expected, "back for {back} s");
        let is_asked = bench.node.stats().probes_started > 0;
        assert_eq!(is_asked, expected == Held::Alive, "who does not believe asks");
    }
}

#[test]
fn a_doubt_that_was_settled_leaves_nothing_for_the_next_one() {
    let mut bench = Bench::new(0);
    [1, 2, SUBJECT].iter().for_each(|n| bench.meet(*n, n + 1));
    let (start, node) = (bench.now, &mut bench.node);
    let subject = identity(SUBJECT).id();
    let suspicion = Suspicion { subject: subject.0, epoch: Epoch::new(1, 1).0, life: 0 };
    for round in 1..4 {
        let now = start + Duration::from_secs(20 * round);
        node.liveness.on_suspicion(now, identity(1).id(), &suspicion, &mut node.ctx);
        assert_eq!(node.stats().probes_started, round, "asked each time that somebody doubts it");
        node.liveness.on_heard(now + Duration::from_millis(10), subject, true, &mut node.ctx);
    }
}

/// Found by swarm-10, seed 11: who was away when others said goodbye vouched for them when it was back.
#[test]
fn who_has_said_goodbye_is_not_looked_for_and_who_failed_is() {
    let mut bench = Bench::new(2);
    let (failed, left) = (identity(1).id(), identity(2).id());
    bench.node.membership.leave(bench.now, left, &mut bench.node.ctx);
    bench.pass(Duration::from_secs(70));
    assert!(bench.node.ctx.roster.iter().next().is_none(), "both rows are swept");
    bench.meet(3, 3);
    for (n, id, is_looked_for) in [(1, failed, true), (2, left, false)] {
        let (card, _) = bench.card(n, ip(n));
        bench.hear_op(3, card);
        assert_eq!(bench.node.ctx.roster.get(&id).is_some(), is_looked_for, "node {n}");
    }
}

/// A recording of a peer that was silent for long ended the questions that were to find out whether it lives.
#[test]
fn a_frame_that_is_no_sign_of_life_settles_no_doubt() {
    for (silent, probes) in [(17, 0), (18, 1)] {
        let mut bench = Bench::new(2);
        let subject = identity(1).id();
        let silent = Instant::ZERO + Duration::from_secs(100 - silent);
        bench.node.ctx.roster.get_mut(&subject).expect("it was met").heard = Some(silent);
        bench.node.liveness.doubt(bench.now, subject, &mut bench.node.ctx);
        bench.hear(1, &beat());
        let tables = bench.node.table_sizes();
        assert_eq!(tables.iter().find(|(table, ..)| *table == "probes").map(|(_, held, _)| *held), Some(probes));
    }
}

/// Its goodbye overtook a beat, or that was played again: the dead were asked for what they hold, and until they were given up this node
/// counted as one that lacks something.
#[test]
fn what_one_that_is_gone_says_of_what_it_holds_makes_nobody_ask_it() {
    let mut bench = Bench::new(2);
    let says = |log_root| Message::Beat(Beat { root: 0, due_ms: 5_000, log_root });
    let ours = bench.node.replication.log_root();
    [1, 2].iter().for_each(|n| bench.hear(*n, &says(ours)));
    assert!(bench.node.replication.log().is_complete(bench.now));
    bench.node.membership.leave(bench.now, identity(1).id(), &mut bench.node.ctx);
    bench.hand(Input::Wake);
    for (n, is_complete) in [(1, true), (2, false)] {
        bench.hear(n, &says(Some(7)));
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.node.replication.log().is_complete(bench.now), is_complete, "node {n}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_tells_nothing_of_a_clock() {
    let mut bench = Bench::new(1);
    let pong = Pong { nonce: 5, root: None, wall_ms: Some(1_000_000), log_root: None, clock: None };
    bench.hear(1, &Message::Pong(pong));
    assert_eq!(bench.node.ctx.roster.get(&identity(1).id()).expect("it was met").skew_ms, None);
}

/// Then it was written as heard now, without an address to try after a restart, and never aged out.
#[test]
fn one_vouched_for_in_vain_stays_in_the_directory_as_it_was() {
    let mut bench = Bench::new(1);
    bench.hear(1, &beat());
    bench.pass(Duration::from_secs(70));
    let id = identity(1).id();
    let entry = |bench: &Bench| {
        let entry = bench.node.ctx.roster.directory().get(&id).expect("it is remembered");
        (entry.liveness, entry.heard, entry.wall, entry.addresses.clone())
    };
    let before = entry(&bench);
    assert_eq!((before.0, before.3.len()), (Held::Failed, 1));
    bench.meet(3, 3);
    let (card, _) = bench.card(1, ip(1));
    bench.hear_op(3, card);
    assert!(bench.node.ctx.roster.get(&id).is_some());
    bench.pass(Duration::from_secs(6));
    assert!(bench.node.ctx.roster.get(&id).is_none(), "it did not answer");
    assert_eq!(entry(&bench), before);
}

fn beat() -> Message {
    Message::Beat(Beat { root: 0, due_ms: 5_000, log_root: None })
}

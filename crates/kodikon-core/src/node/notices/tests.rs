//! What several nodes say of one, and what is believed of it.

use super::*;
use crate::ground::time::Duration;
use crate::model::member::{REASON_BOUND, REASON_PROCESS, REASON_SILENCE};
use crate::node::bench::{Bench, identity, ip};
use crate::wire::message::Suspicion;

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
        node.liveness.on_heard(now + Duration::from_millis(10), subject, &mut node.ctx);
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

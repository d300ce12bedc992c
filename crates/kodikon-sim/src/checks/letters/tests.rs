//! Boundaries of the checks of letters, each shown on five nodes in a line that live since long.

use kodikon_core::effect::Event;

use super::*;
use crate::checks::tests::{broken, line, second};
use crate::cluster::{Death, Observer as _};
use crate::network::host::SegmentId;
use crate::workload::letters::payload;

const TICKET: Ticket = Ticket(7);

fn order(to: NodeId, timeout: Option<u64>) -> SendOrder {
    let timeout = timeout.map(Duration::from_secs);
    let (kind, payload) = ("track".to_owned(), payload(TICKET.0, 100));
    SendOrder { ticket: TICKET, to, kind, payload, priority: Priority::Normal, timeout }
}

fn given(from: NodeId) -> Event {
    let (name, kind, payload, path) = (String::new(), "track".to_owned(), payload(TICKET.0, 100), Vec::new());
    Event::Message { from, name, kind, payload, priority: Priority::Normal, path }
}

fn settled(to: NodeId, outcome: Outcome) -> Event {
    Event::Settled { ticket: TICKET, to, outcome }
}

fn delivered(to: NodeId) -> Event {
    settled(to, Outcome::Delivered { rtt: Duration::from_millis(1), path: vec![to], attempts: 1 })
}

fn expired(to: NodeId) -> Event {
    settled(to, Outcome::Expired { reason: "no answer", attempts: 1 })
}

fn unreachable(to: NodeId, needs_hops: Option<u8>) -> Event {
    settled(to, Outcome::Unreachable { needs_hops })
}

/// Five nodes in a line; node 0 writes to node 4 after a thousand seconds.
fn written() -> (Watch, impl Fn(usize) -> NodeId) {
    let (mut watch, id) = line();
    watch.ordered(second(1_000), 0, &order(id(4), None));
    (watch, id)
}

#[test]
fn a_letter_is_given_once_to_whom_it_was_written_as_it_was_written() {
    type Story = fn(&mut Watch, &dyn Fn(usize) -> NodeId);
    let table: &[(&str, Story, &[&str])] = &[
        ("once", |watch, id| watch.event(second(1_001), 4, &given(id(0))), &[]),
        ("twice", |watch, id| (1..=2).for_each(|_| watch.event(second(1_001), 4, &given(id(0)))), &["letter_once"]),
        ("in another's name", |watch, id| watch.event(second(1_001), 4, &given(id(1))), &["letter_true"]),
        ("to another", |watch, id| watch.event(second(1_001), 3, &given(id(0))), &["letter_true"]),
        (
            "to the next run",
            |watch, id| {
                watch.died(second(1_001), 4, Death::Crash);
                watch.truth.booted(second(1_002), 4);
                watch.truth.identified(4, id(4), Epoch(2), &Default::default());
                watch.event(second(1_003), 4, &given(id(0)));
            },
            &["letter_once"],
        ),
    ];
    for (case, story, expected) in table {
        let (mut watch, id) = written();
        story(&mut watch, &id);
        assert_eq!(broken(&watch), *expected, "{case}");
    }
    let (mut watch, id) = line();
    watch.event(second(1_001), 4, &given(id(0)));
    assert_eq!(broken(&watch), ["letter_true"], "nobody wrote it");
    watch.truth.hostile(id(0));
    watch.event(second(1_002), 4, &given(id(0)));
    assert_eq!(broken(&watch), ["letter_true"], "a hostile one may say what it likes in its own name");
}

#[test]
fn a_letter_is_settled_once_and_in_time_but_for_the_time_that_its_writer_was_stopped() {
    // When it is settled, how long its writer was stopped, and whether that is well.
    for (at, stopped, is_well) in
        [(1_005, 0, true), (1_006, 0, true), (1_007, 0, false), (1_007, 1, true), (1_009, 2, false)]
    {
        let (mut watch, id) = written();
        watch.event(second(1_001), 4, &given(id(0)));
        watch.stopped(second(1_002), 0, true);
        watch.stopped(second(1_002 + stopped), 0, false);
        (1_002..at).for_each(|now| watch.tick(second(now)));
        watch.event(second(at), 0, &delivered(id(4)));
        watch.tick(second(at + 60));
        let expected: &[&str] = if is_well { &[] } else { &["letter_settled"] };
        assert_eq!(broken(&watch), expected, "settled at {at} s, stopped for {stopped} s");
        watch.event(second(at + 61), 0, &delivered(id(4)));
        assert_eq!(broken(&watch).len(), expected.len() + 1, "settled at {at} s and again");
    }
}

#[test]
fn a_letter_that_is_never_settled_is_missed_unless_its_writer_died_or_left() {
    type Story = fn(&mut Watch);
    let table: &[(&str, Story, usize)] = &[
        ("its writer lives", |_| {}, 1),
        ("its writer died", |watch| watch.died(second(1_001), 0, Death::Crash), 0),
        ("its writer left", |watch| watch.leaves(second(1_001), 0), 0),
        ("its writer is stopped", |watch| watch.stopped(second(1_001), 0, true), 0),
    ];
    for (case, story, expected) in table {
        let (mut watch, _) = written();
        story(&mut watch);
        (1_002..1_030).for_each(|now| watch.check_overdue(second(now)));
        assert_eq!(watch.tally.broken(), *expected as u64, "{case}");
    }
    let (mut watch, id) = written();
    watch.died(second(1_001), 0, Death::Crash);
    watch.letters.booted(0);
    watch.event(second(1_002), 0, &expired(id(4)));
    assert_eq!(broken(&watch), ["letter_settled"], "the next run settles what it did not write");
}

#[test]
fn outcomes_are_true_and_nothing_is_lost_where_a_sound_way_led_all_the_time() {
    type Trouble = fn(&mut Watch);
    let both: &[&str] = &["letter_outcome", "letter_reliable"];
    let table: &[(&str, Trouble, &[&str], &[&str])] = &[
        // (what was wrong; broken by Unreachable; broken by Expired)
        ("nothing", |_| {}, both, &["letter_reliable"]),
        ("a link was cut", |watch| watch.truth.trouble_between(SegmentId(1), [1, 2], second(930)), &[], &[]),
        (
            "a link was cut long ago",
            |watch| watch.truth.trouble_between(SegmentId(1), [1, 2], second(920)),
            both,
            &["letter_reliable"],
        ),
        ("a link is cut meanwhile", |watch| watch.truth.trouble_between(SegmentId(1), [1, 2], second(1_004)), &[], &[]),
        ("a relay died", |watch| watch.truth.died(second(1_004), 2), &[], &[]),
        ("the destination is new", |watch| watch.truth.nodes[4].since = second(930), &[], &[]),
        ("its writer is new", |watch| watch.truth.nodes[0].since = second(930), &[], &[]),
        ("it is too far", |watch| watch.letters.max_hops = 2, &[], &[]),
        ("it is just near enough", |watch| watch.letters.max_hops = 3, both, &["letter_reliable"]),
        ("not everybody can know everybody", |watch| watch.letters.all_fit = false, &[], &[]),
    ];
    for (case, trouble, by_unreachable, by_expired) in table {
        for is_expired in [false, true] {
            let (mut watch, id) = written();
            trouble(&mut watch);
            let event = if is_expired { expired(id(4)) } else { unreachable(id(4), None) };
            watch.event(second(1_005), 0, &event);
            assert_eq!(broken(&watch), *if is_expired { by_expired } else { by_unreachable }, "{case}: {event:?}");
        }
    }
    let (mut watch, id) = written();
    watch.event(second(1_001), 0, &delivered(id(4)));
    assert_eq!(broken(&watch), ["letter_outcome"], "it was given to nobody");
    let (mut watch, id) = line();
    watch.ordered(second(1_000), 0, &order(NodeId([99; 16]), None));
    watch.event(second(1_000), 0, &unreachable(NodeId([99; 16]), None));
    assert_eq!(broken(&watch), Vec::<&str>::new(), "to nobody");
    assert!(id(0) != id(1));
}

/// letters-5-hops 9: in five seconds five of seven nodes stood still for 0.4 to 0.7 s, one after the other.
#[test]
fn a_line_whose_nodes_stood_still_for_half_of_a_letters_time_owes_it_nothing() {
    // Who was stopped, from when on and until when (tenths of a second after it was written, at 5.0 it is given up), and whether it is missed.
    type Stops = &'static [(usize, u64, u64)];
    let table: &[(&str, Stops, bool)] = &[
        ("one for less than half", &[(2, 10, 34)], true),
        ("one for half", &[(2, 10, 35)], false),
        ("one after the other", &[(2, 5, 12), (1, 12, 20), (3, 21, 28), (2, 30, 34)], false),
        ("at the same time", &[(2, 10, 20), (1, 10, 20), (3, 15, 25), (4, 10, 24)], true),
        ("before it was written", &[(2, 0, 0), (3, 10, 30)], true),
        ("one that is still stopped", &[(2, 10, 20), (3, 34, 99)], false),
    ];
    for (case, stops, is_missed) in table {
        let at = |tenths: u64| Moment(second(1_000).0 + tenths * 100_000_000);
        let (mut watch, id) = line();
        watch.stopped(second(990), 2, true);
        watch.stopped(second(999), 2, false);
        watch.ordered(second(1_000), 0, &order(id(4), None));
        for (node, from, until) in stops.iter().filter(|(_, from, until)| from < until) {
            watch.stopped(at(*from), *node, true);
            if *until <= 50 {
                watch.stopped(at(*until), *node, false);
            }
        }
        watch.event(second(1_005), 0, &expired(id(4)));
        assert_eq!(broken(&watch).is_empty(), !is_missed, "{case}");
    }
    let (mut watch, id) = line();
    watch.ordered(second(1_000), 0, &order(id(2), None));
    watch.stopped(second(1_001), 4, true);
    watch.event(second(1_005), 0, &expired(id(2)));
    assert_eq!(broken(&watch), ["letter_reliable"], "whoever is not on the way may be stopped");
}

#[test]
fn what_may_be_late_or_lost_and_what_had_no_time_is_not_missed() {
    for (priority, timeout, expected) in [
        (Priority::Low, Some(60), 0),
        (Priority::Normal, Some(4), 0),
        (Priority::Normal, Some(5), 1),
        (Priority::High, None, 1),
        (Priority::Critical, None, 1),
    ] {
        let (mut watch, id) = line();
        watch.ordered(second(1_000), 0, &SendOrder { priority, ..order(id(4), timeout) });
        watch.event(second(1_001), 0, &expired(id(4)));
        assert_eq!(watch.tally.broken(), expected, "{priority:?} of {timeout:?} s");
    }
}

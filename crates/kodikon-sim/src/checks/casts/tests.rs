//! Boundaries of the checks of casts, each shown on five nodes in a line that live since long.

use kodikon_core::effect::Event;
use kodikon_core::ground::id::{Epoch, NodeId};

use super::*;
use crate::checks::tests::{broken, line, second};
use crate::cluster::{Death, Observer as _};
use crate::network::host::SegmentId;
use crate::workload::letters::payload;

const TICKET: Ticket = Ticket(7);

fn order(priority: Priority) -> BroadcastOrder {
    BroadcastOrder { ticket: TICKET, kind: "track".to_owned(), payload: payload(TICKET.0, 100), priority }
}

fn told_as(from: NodeId, payload: Vec<u8>) -> Event {
    let (name, kind, path) = (String::new(), "track".to_owned(), Vec::new());
    Event::Broadcast { from, name, kind, payload, priority: Priority::Normal, path }
}

fn told(from: NodeId) -> Event {
    told_as(from, payload(TICKET.0, 100))
}

/// Five nodes in a line; node 0 says something to all after a thousand seconds.
fn said(priority: Priority) -> (Watch, impl Fn(usize) -> NodeId) {
    let (mut watch, id) = line();
    watch.announced(second(1_000), 0, &order(priority));
    (watch, id)
}

#[test]
fn a_cast_is_told_once_as_it_was_said_and_to_others_alone() {
    type Story = fn(&mut Watch, &dyn Fn(usize) -> NodeId);
    let table: &[(&str, Story, &[&str])] = &[
        ("to all", |watch, id| (1..5).for_each(|node| watch.event(second(1_001), node, &told(id(0)))), &[]),
        ("twice", |watch, id| (1..=2).for_each(|_| watch.event(second(1_001), 4, &told(id(0)))), &["cast_once"]),
        ("in another's name", |watch, id| watch.event(second(1_001), 4, &told(id(1))), &["cast_true"]),
        ("to its origin", |watch, id| watch.event(second(1_001), 0, &told(id(0))), &["cast_true"]),
        ("altered", |watch, id| watch.event(second(1_001), 4, &told_as(id(0), payload(7, 99))), &["cast_true"]),
        ("never said", |watch, id| watch.event(second(1_001), 4, &told_as(id(0), payload(8, 99))), &["cast_true"]),
        (
            "to the next run",
            |watch, id| {
                watch.died(second(1_001), 4, Death::Crash);
                watch.truth.booted(second(1_002), 4);
                watch.truth.identified(4, id(4), Epoch(2), &Default::default());
                watch.event(second(1_003), 4, &told(id(0)));
            },
            &["cast_once"],
        ),
    ];
    for (case, story, expected) in table {
        let (mut watch, id) = said(Priority::Normal);
        story(&mut watch, &id);
        assert_eq!(broken(&watch), *expected, "{case}");
    }
}

#[test]
fn whoever_was_joined_with_the_origin_all_the_time_is_told_by_the_deadline() {
    type Trouble = fn(&mut Watch);
    let all: &[usize] = &[1, 2, 3, 4];
    let lost: &[&str] = &["cast_reliable"];
    // What was wrong; who was told; what is broken.
    type Row = (&'static str, Priority, Trouble, &'static [usize], &'static [&'static str]);
    let table: &[Row] = &[
        ("nothing", Priority::Normal, |_| {}, all, &[]),
        ("nothing", Priority::Normal, |_| {}, &[1, 2, 3], lost),
        ("nothing", Priority::Critical, |_| {}, &[1, 2, 3], lost),
        ("it may be lost", Priority::Low, |_| {}, &[], &[]),
        (
            "a link was cut",
            Priority::Normal,
            |watch| watch.truth.trouble_between(SegmentId(2), [2, 3], second(930)),
            &[1, 2],
            &[],
        ),
        (
            "a link was cut long ago",
            Priority::Normal,
            |watch| watch.truth.trouble_between(SegmentId(2), [2, 3], second(920)),
            &[1, 2],
            lost,
        ),
        (
            "a link was cut behind those who lack it",
            Priority::Normal,
            |watch| watch.truth.trouble_between(SegmentId(2), [2, 3], second(1_002)),
            &[1],
            lost,
        ),
        ("it died", Priority::Normal, |watch| watch.died(second(1_001), 4, Death::Crash), &[1, 2, 3], &[]),
        ("its origin died", Priority::Normal, |watch| watch.died(second(1_001), 0, Death::Crash), &[], &[]),
        ("they are too far", Priority::Normal, |watch| watch.letters.max_hops = 2, &[1, 2, 3], &[]),
        ("they are near enough", Priority::Normal, |watch| watch.letters.max_hops = 3, &[1, 2, 3], lost),
        ("not everybody can know everybody", Priority::Normal, |watch| watch.letters.all_fit = false, &[], &[]),
    ];
    for (case, priority, trouble, told_to, expected) in table {
        let (mut watch, id) = said(*priority);
        trouble(&mut watch);
        let event = |priority: Priority| {
            let (name, kind, path) = (String::new(), "track".to_owned(), Vec::new());
            Event::Broadcast { from: id(0), name, kind, payload: payload(TICKET.0, 100), priority, path }
        };
        told_to.iter().for_each(|node| watch.event(second(1_001), *node, &event(*priority)));
        let deadline = priority.deadline().as_secs();
        watch.check_casts(second(1_000 + deadline));
        assert_eq!(watch.tally.broken(), 0, "{case}: it is not over yet");
        watch.check_casts(second(1_001 + deadline));
        assert_eq!(broken(&watch), *expected, "{case}: {priority:?} to {told_to:?}");
    }
}

#[test]
fn the_fewest_datagrams_are_as_many_as_segments_with_somebody_new() {
    let (watch, _) = said(Priority::Critical);
    assert_eq!(watch.casts.least(), 8, "four segments, twice");
    let (mut watch, _) = line();
    watch.died(second(999), 3, Death::Crash);
    watch.announced(second(1_000), 2, &order(Priority::Normal));
    assert_eq!(watch.casts.least(), 2, "two of four lead to somebody who lives");
}

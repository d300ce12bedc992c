//! Where segments meet, those who list who is there are told of a death in time.

#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "what is said in letters is read in tests/letters.rs")]
mod segments;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::state::StateChange;
use kodikon_core::wire::message::Message;
use segments::{Segments, id};

/// Whoever notices by itself tells more than the observers.
const OBSERVERS: usize = 5;

#[derive(Default)]
struct Told {
    namers: BTreeMap<u8, u8>,
    /// By who tells, on which segment.
    of_suspect: BTreeMap<(u8, u8), BTreeSet<u8>>,
}

/// Those who are told of a suspicion are drawn by chance. Where the namer was not among them it went on listing the dead, and the
/// observers on the other segment took it for one that others hear.
#[test]
fn the_namer_of_a_segment_is_told_of_a_suspicion_by_whoever_notices_first() {
    let on: [&[u8]; 3] = [&[1], &[2], &[1, 2]];
    let homes: Vec<(u8, &[u8])> = (1..=46).map(|n| (n, on[usize::from(n > 20) + usize::from(n > 40)])).collect();
    let mut segments = Segments::new(&homes);
    let told = Rc::new(RefCell::new(Told::default()));
    let listener = Rc::clone(&told);
    segments.filter = Box::new(move |flight, messages| {
        let mut told = listener.borrow_mut();
        for message in messages {
            if matches!(message, Message::Naming(_)) {
                told.namers.insert(flight.segment, flight.from);
            } else if matches!(message, Message::Suspicion(_)) {
                told.of_suspect.entry((flight.from, flight.segment)).or_default().insert(flight.to);
            }
        }
        true
    });
    segments.run(Duration::from_secs(20));
    let mut noticed = 0;
    for subject in 42..=43 {
        told.borrow_mut().of_suspect.clear();
        segments.nodes.remove(&subject);
        segments.run(Duration::from_secs(8));
        let failed = segments.events.iter().filter(|(_, _, event)| is_failure(event, subject)).count();
        assert_eq!(failed, segments.nodes.len(), "all know that {subject} died");
        let told = told.borrow();
        for ((from, segment), listeners) in told.of_suspect.iter().filter(|(_, told)| told.len() > OBSERVERS + 1) {
            let namer = told.namers[segment];
            noticed += 1;
            assert!(namer == *from || namer == subject || listeners.contains(&namer), "{from} tells {listeners:?}");
        }
    }
    assert!(noticed >= 2, "on each of two segments somebody noticed by itself, not {noticed} times");
}

/// On one of two segments nobody heard a node that heard all: it went on telling its observers there that it lives, none of them
/// expected it any more after three turns, and its death was noticed at the hard bound.
#[test]
fn whoever_is_not_heard_on_one_of_two_segments_is_missed_as_soon_as_any() {
    // Of five observers one was told by the beacon each fifth second; of fewer none was told for long.
    for (deaf, nodes) in [1, 2].into_iter().flat_map(|deaf| [3, 4, 5, 8].map(|nodes| (deaf, nodes))) {
        let mut segments = both(nodes);
        segments.filter = Box::new(move |flight, _| flight.from != 1 || flight.segment != deaf);
        segments.run(Duration::from_secs(60));
        assert!(segments.events.iter().all(|(_, _, event)| !is_failure(event, 1)), "it lives, segment {deaf}");
        let death = segments.now;
        segments.nodes.remove(&1);
        segments.run(Duration::from_secs(40));
        let failed = segments.events.iter().filter(|(_, _, event)| is_failure(event, 1));
        let after: Vec<Duration> = failed.map(|(_, at, _)| at.since(death)).collect();
        assert_eq!(after.len(), usize::from(nodes) - 1, "segment {deaf}, {nodes} nodes");
        assert!(after.iter().all(|span| *span < Duration::from_secs(7)), "segment {deaf}, {nodes} nodes: {after:?}");
    }
}

/// A node answered what it was asked by the faster of two ways, by which it heard the asker and was not heard, until the asker no more asked.
#[test]
fn what_was_lost_is_repaired_by_the_way_that_is_heard() {
    for deaf in 1..=2 {
        let mut segments = both(2);
        let begins = segments.now;
        let lost = Rc::new(RefCell::new(true));
        let is_lost = Rc::clone(&lost);
        segments.filter = Box::new(move |flight, messages| {
            let is_news = *is_lost.borrow() && messages.iter().any(|message| matches!(message, Message::Ops(_)));
            flight.from != 1 || (flight.segment != deaf && !is_news)
        });
        let change = StateChange { key: "fps".to_owned(), json: Some("30".to_owned()) };
        segments.hand(1, Input::Command(Command::SetState(vec![change], WallTime(5))));
        segments.run(Duration::from_millis(100));
        *lost.borrow_mut() = false;
        let knows = |segments: &Segments| segments.nodes[&2].state_of(&id(1)).is_some_and(|state| state.version == 1);
        while !knows(&segments) && segments.now.since(begins) < Duration::from_secs(60) {
            segments.run(Duration::from_millis(100));
        }
        assert!(segments.now.since(begins) < Duration::from_secs(12), "segment {deaf}: at {:?}", segments.now);
    }
}

/// So many nodes, each on two segments.
fn both(nodes: u8) -> Segments {
    let homes: Vec<(u8, &[u8])> = (1..=nodes).map(|n| (n, &[1, 2][..])).collect();
    let mut segments = Segments::new(&homes);
    segments.settle();
    segments
}

fn is_failure(event: &Event, subject: u8) -> bool {
    matches!(event, Event::PeerFailed { peer, .. } if *peer == id(subject))
}

/// The namer lists those that it hears. Whom it alone did not hear, though it heard the namer, was in no list and had no way: the namer
/// called it failed at the hard bound, and on the other segment it was lost a little later.
#[test]
fn whom_the_namer_alone_does_not_hear_is_not_called_failed() {
    let mut segments = Segments::new(&[(1, &[1]), (2, &[1]), (3, &[1]), (4, &[1]), (5, &[1, 2]), (6, &[2])]);
    let namer = Rc::new(RefCell::new(0));
    let named = Rc::clone(&namer);
    segments.filter = Box::new(move |flight, messages| {
        if flight.segment == 1 && messages.iter().any(|message| matches!(message, Message::Naming(_))) {
            *named.borrow_mut() = flight.from;
        }
        true
    });
    segments.run(Duration::from_secs(20));
    let namer = *namer.borrow();
    assert!(
        (2..=4).contains(&namer),
        "{namer} is the namer: it stands on one segment and is not whom it will not hear"
    );
    segments.filter = Box::new(move |flight, _| (flight.from, flight.to) != (1, namer));
    segments.run(Duration::from_secs(90));
    let is_failure = |event: &Event| matches!(event, Event::PeerFailed { .. });
    let failed: Vec<_> = segments.events.iter().filter(|(_, _, event)| is_failure(event)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A node between six segments drew whom it asks about a silent neighbour from all of them: once both who hear that neighbour had
/// lost the single word about it, it was called failed though they heard it (star-20, seed 0).
#[test]
fn those_on_the_segment_of_a_silent_neighbour_are_asked_about_it_twice_and_not_strangers_alone() {
    let mut homes: Vec<(u8, Vec<u8>)> = vec![(1, (1..=6).collect())];
    homes.extend((2..=20).map(|n| (n, vec![if n < 5 { 1 } else { n % 5 + 2 }])));
    let homes: Vec<(u8, &[u8])> = homes.iter().map(|(n, on)| (*n, &on[..])).collect();
    let mut segments = Segments::new(&homes);
    segments.settle();
    let asked = Rc::new(RefCell::new(BTreeMap::<u8, usize>::new()));
    let listener = Rc::clone(&asked);
    segments.filter = Box::new(move |flight, messages| {
        let is_question = messages.iter().any(|message| matches!(message, Message::Inquiry(_)));
        let is_of_hub = flight.from == 1 && is_question;
        *listener.borrow_mut().entry(flight.to).or_default() += usize::from(is_of_hub);
        // Nobody learns by that word alone; the hub and node 2 do not hear each other.
        !is_of_hub && ![(1, 2), (2, 1)].contains(&(flight.from, flight.to))
    });
    segments.run(Duration::from_secs(7));
    let asked = asked.borrow();
    assert_eq!([3, 4].map(|n| asked.get(&n).copied().unwrap_or_default() >= 2), [true; 2], "{asked:?}");
}

/// Whoever was stopped has in its queue what those said who died meanwhile: it went on listing them for eighteen seconds, and whoever
/// had lost them took them for alive again.
#[test]
fn who_was_stopped_for_long_tells_of_whom_it_hears_again_and_of_nobody_else() {
    let mut segments = Segments::new(&[(1, &[1]), (2, &[1, 2]), (3, &[2]), (4, &[1])]);
    segments.settle();
    let routes = |segments: &mut Segments| {
        let routes = segments.nodes.get_mut(&1).expect("it runs").routes();
        routes.iter().map(|route| route.to).collect::<BTreeSet<_>>()
    };
    let stopped = segments.nodes.remove(&2).expect("it runs");
    segments.run(Duration::from_secs(1));
    segments.nodes.remove(&3);
    segments.run(Duration::from_secs(9));
    segments.nodes.insert(2, stopped);
    segments.hand(2, Input::Wake);
    segments.run(Duration::from_millis(500));
    assert!(routes(&mut segments).contains(&id(3)), "it was heard not long ago");
    segments.run(Duration::from_millis(1_700));
    assert_eq!(routes(&mut segments), [2, 4].map(id).into());
}

/// A lost datagram cost half a minute: nobody who heard the goodbye witnesses a failure, so that whoever missed it waited for the bound
/// (a goodbye at 10 % loss, once in 450).
#[test]
fn who_missed_a_goodbye_is_told_of_it_by_whoever_is_asked() {
    let mut segments = Segments::lan(10);
    segments.filter = Box::new(|flight, messages| {
        flight.to != 2 || !messages.iter().any(|message| matches!(message, Message::Bye(_)))
    });
    segments.hand(1, Input::Command(Command::Leave));
    segments.run(Duration::from_secs(1));
    segments.nodes.remove(&1);
    segments.filter = Box::new(|_, _| true);
    let left = segments.now;
    segments.run(Duration::from_secs(31));
    let is_told = |n: u8, event: &Event| n == 2 && matches!(event, Event::PeerLeft { peer, .. } if *peer == id(1));
    let told = segments.events.iter().find(|(n, _, event)| is_told(*n, event));
    let after = told.map(|(_, at, _)| at.since(left));
    assert!(after.is_some_and(|after| after < Duration::from_secs(14)), "after {after:?}");
}

/// Whom node N was told of as gone, and whether by a goodbye.
fn told_gone(segments: &Segments, n: u8) -> (usize, usize) {
    let count = |is: fn(&Event) -> bool| segments.events.iter().filter(|(by, _, event)| *by == n && is(event)).count();
    let left = count(|event| matches!(event, Event::PeerLeft { .. }));
    (left, count(|event| matches!(event, Event::PeerFailed { .. } | Event::PeerSuspect { .. })))
}

/// A gateway passes on the goodbyes of a whole segment, and five a second of one address were looked at.
#[test]
fn a_whole_segment_that_is_switched_off_has_left_beyond_a_gateway_too() {
    let leaving = 1..=20;
    let homes = leaving.clone().map(|n| (n, &[1][..])).chain([(21, &[1, 2][..]), (22, &[2][..])]);
    let homes: Vec<(u8, &[u8])> = homes.collect();
    let mut segments = Segments::new(&homes);
    segments.settle();
    leaving.clone().for_each(|n| segments.hand(n, Input::Command(Command::Leave)));
    segments.run(Duration::from_secs(1));
    leaving.clone().for_each(|n| drop(segments.nodes.remove(&n)));
    segments.run(Duration::from_secs(40));
    assert_eq!(told_gone(&segments, 22), (leaving.count(), 0));
}

/// A goodbye that was lost on its way over a gateway: nobody was asked after one who is not near.
#[test]
fn who_missed_a_goodbye_of_one_that_is_far_asks_when_there_is_no_way_any_more() {
    let mut segments = Segments::new(&[(1, &[1]), (2, &[1, 2]), (3, &[2]), (4, &[1])]);
    segments.settle();
    segments.filter = Box::new(|flight, messages| {
        flight.to != 3 || !messages.iter().any(|message| matches!(message, Message::Bye(_)))
    });
    segments.hand(1, Input::Command(Command::Leave));
    segments.run(Duration::from_millis(100));
    segments.nodes.remove(&1);
    segments.filter = Box::new(|_, _| true);
    segments.run(Duration::from_secs(40));
    assert_eq!(told_gone(&segments, 3), (1, 0));
}

/// One was heard on a segment once, and its port there died: what it said was never passed on to those who are on that segment alone.
#[test]
fn a_goodbye_is_passed_on_to_where_its_author_is_not_heard_any_more() {
    let mut segments = Segments::new(&[(1, &[1, 2]), (2, &[1, 2]), (3, &[2])]);
    segments.settle();
    segments.filter = Box::new(|flight, _| flight.segment != 2 || (flight.from != 1 && flight.to != 1));
    segments.run(Duration::from_secs(60));
    segments.events.clear();
    segments.hand(1, Input::Command(Command::Leave));
    segments.run(Duration::from_millis(200));
    assert_eq!(told_gone(&segments, 3), (1, 0));
}

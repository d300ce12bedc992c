//! A copied data directory: one of the two makes room, both go on, and each says what happened.

#[path = "segment/lan.rs"]
mod lan;
#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "what is said in letters is read in tests/letters.rs")]
mod segments;

use std::cell::RefCell;
use std::rc::Rc;

use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Duration;
use kodikon_core::model::alert::{AlertOrder, Raised};
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::wire::message::Message;
use lan::Lan;
use segments::{Flight, Segments};

const ORIGINAL: u8 = 1;
const COPY: u8 = 4;

#[test]
fn the_original_of_a_copied_node_keeps_identity_and_name_and_speaks_of_no_backup() {
    let mut lan = Lan::new();
    lan.start_with(ORIGINAL, |boot| boot.saved.rank = Some(1));
    (2..=3).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(8));
    let id = lan.nodes[&ORIGINAL].id();
    start_copy(&mut lan);
    lan.run(Duration::from_secs(12));

    assert_eq!(lan.times(|event| matches!(event, Event::Restored { .. })), []);
    let told = |rekeyed| lan.times(move |event| *event == Event::Cloned { rekeyed });
    let by = |times: Vec<(u8, Duration)>| times.into_iter().map(|(n, _)| n).collect::<Vec<u8>>();
    assert_eq!((by(told(false)), by(told(true))), (vec![ORIGINAL], vec![COPY]));
    assert_eq!((lan.nodes[&ORIGINAL].id(), lan.nodes[&ORIGINAL].name()), (id, "cam1".to_owned()));
    assert_ne!(lan.nodes[&COPY].id(), id);
    assert_eq!(lan.nodes[&COPY].name(), "cam1-2", "the copy's claim to the name is the younger");
    for (n, node) in &lan.nodes {
        assert_eq!(node.peers().len(), 3, "node {n}");
    }
}

/// Nobody heard of it again: receipts speak of the former identity's alerts, and so did their end.
#[test]
fn a_copy_that_takes_another_identity_tells_a_last_time_who_has_its_alerts() {
    let mut lan = Lan::new();
    (1..=3).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(8));
    start_copy(&mut lan);
    let (payload, ttl) = (b"\"fire\"".to_vec(), Duration::from_secs(3_600));
    let order = AlertOrder { ticket: Ticket(7), payload, priority: Priority::Normal, ttl };
    lan.hand(COPY, Input::Command(Command::Raise(order)));
    lan.run(Duration::from_secs(12));
    let raised = lan.events.iter().find_map(|(n, _, event)| {
        let Event::Raised { outcome: Raised::Done { alert, .. }, .. } = event else { return None };
        Some((*n, *alert))
    });
    assert_eq!(lan.times(|event| *event == Event::Cloned { rekeyed: true }).len(), 1);
    let over = lan.events.iter().filter_map(|(n, _, event)| {
        let Event::AlertOver { alert, .. } = event else { return None };
        Some((*n, *alert))
    });
    assert_eq!(over.collect::<Vec<_>>(), raised.into_iter().collect::<Vec<_>>());
    assert_eq!(lan.nodes[&COPY].alerts(lan.now).len(), 1, "it lasts, and all show it");
}

/// Its own HELLO waits in its socket, or is played to it later: after each sleep it alarmed people, and ended its run.
#[test]
fn a_node_that_slept_is_no_copy_of_itself() {
    let mut segments = Segments::lan(3);
    let recorded: Rc<RefCell<Option<Flight>>> = Rc::default();
    let tape = Rc::clone(&recorded);
    segments.filter = Box::new(move |flight, messages| {
        if flight.from == 1 && messages.iter().any(|message| matches!(message, Message::Hello(_))) {
            *tape.borrow_mut() = Some(Flight { from: 2, to: 1, ..flight.clone() });
        }
        true
    });
    let epoch = segments.nodes[&1].epoch();
    // Its card as it was before each sleep, and as it is.
    for _ in 0..3 {
        segments.hand(1, Input::Disturbed);
        segments.run(Duration::from_secs(2));
        let recording = recorded.borrow().clone().expect("it shows itself after a sleep");
        segments.hand(1, Input::Disturbed);
        segments.send(recording);
        segments.run(Duration::from_secs(5));
    }
    let alarms = segments.events.iter().filter(|(_, _, event)| {
        matches!(event, Event::Cloned { .. } | Event::Overtaken { .. } | Event::Restored { .. })
    });
    assert_eq!(alarms.count(), 0, "{:?}", segments.events);
    assert_eq!(segments.nodes[&1].epoch(), epoch);
}

/// A node with the original's data, which has run since.
fn start_copy(lan: &mut Lan) {
    lan.start_with(COPY, |boot| {
        boot.config = Config::new("cam1");
        boot.identity = Identity::from_secret(&[ORIGINAL; 32]);
        boot.epoch = Epoch::new(2, 4);
        boot.saved.rank = Some(1);
        // It tells all of it before it shows its card.
        boot.saved.state.version = 40;
        boot.saved.state.values = (0..40).map(|n| (format!("key{n}"), format!("\"{}\"", "x".repeat(50)))).collect();
    });
}

//! Where segments meet, those who list who is there are told of a death in time.

#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "what is said in letters is read in tests/letters.rs")]
mod segments;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kodikon_core::effect::Event;
use kodikon_core::ground::time::Duration;
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

fn is_failure(event: &Event, subject: u8) -> bool {
    matches!(event, Event::PeerFailed { peer, .. } if *peer == id(subject))
}

//! Who was away itself, without a carrier or asleep, calls nobody failed for the silence of that time.

#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "what is said in letters is read in tests/letters.rs")]
mod segments;

use kodikon_core::effect::{Event, Input};
use kodikon_core::ground::time::Duration;
use segments::{Segments, id};

/// Lets nothing through to node 1, nor from it.
fn cut_off(segments: &mut Segments, is_cut: bool) {
    segments.filter = Box::new(move |flight, _| !is_cut || (flight.from != 1 && flight.to != 1));
}

/// Whom node 1 has called failed.
fn called_failed(segments: &Segments) -> Vec<&Event> {
    let of_one = segments.events.iter().filter(|(by, _, event)| *by == 1 && matches!(event, Event::PeerFailed { .. }));
    of_one.map(|(_, _, event)| event).collect()
}

/// The port of a switch passes nothing for some seconds after the carrier is back: within one of them the bound was looked at.
#[test]
fn when_the_carrier_is_back_nobody_is_called_failed_before_he_had_the_time_to_speak() {
    let mut segments = Segments::lan(3);
    cut_off(&mut segments, true);
    segments.hand(1, Input::Interfaces(&[]));
    segments.run(Duration::from_secs(40));
    segments.plug(1);
    segments.run(Duration::from_secs(3));
    cut_off(&mut segments, false);
    segments.run(Duration::from_secs(20));
    assert!(called_failed(&segments).is_empty(), "{:?}", called_failed(&segments));
    let peers = segments.nodes[&1].peers();
    assert!(peers.iter().all(|peer| peer.liveness.is_present()), "{peers:?}");
}

/// A machine that slept for longer than the bound hears nothing for the first seconds either.
#[test]
fn who_slept_for_longer_than_the_bound_calls_nobody_failed_before_he_had_the_time_to_speak() {
    let mut segments = Segments::lan(3);
    let asleep = segments.nodes.remove(&1).expect("it runs");
    segments.run(Duration::from_secs(60));
    segments.nodes.insert(1, asleep);
    cut_off(&mut segments, true);
    segments.hand(1, Input::Wake);
    segments.run(Duration::from_secs(3));
    cut_off(&mut segments, false);
    segments.run(Duration::from_secs(20));
    assert!(called_failed(&segments).is_empty(), "{:?}", called_failed(&segments));
}

/// But who is dead is called so all the same.
#[test]
fn who_died_meanwhile_is_called_failed_a_quarter_of_the_bound_later() {
    let mut segments = Segments::lan(2);
    segments.hand(1, Input::Interfaces(&[]));
    segments.nodes.remove(&2);
    segments.run(Duration::from_secs(40));
    assert!(called_failed(&segments).is_empty(), "without a carrier nobody is judged");
    segments.plug(1);
    segments.run(Duration::from_secs(7));
    assert!(called_failed(&segments).is_empty());
    segments.run(Duration::from_secs(2));
    let failed = called_failed(&segments);
    assert!(matches!(failed[..], [Event::PeerFailed { peer, .. }] if *peer == id(2)), "{failed:?}");
}

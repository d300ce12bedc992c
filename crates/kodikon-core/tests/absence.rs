//! Who was away itself, without a carrier or asleep, calls nobody failed for the silence of that time.

#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "what is said in letters is read in tests/letters.rs")]
mod segments;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kodikon_core::effect::{Cast, Event, Input};
use kodikon_core::ground::config::Profile;
use kodikon_core::ground::time::Duration;
use kodikon_core::model::op::{OpKind, SignedOp};
use kodikon_core::wire::message::Message;
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

/// What a message tells of links.
fn links_told(message: &Message) -> impl Iterator<Item = &[u8]> {
    let ops = if let Message::Ops(ops) = message { &ops.ops[..] } else { &[] };
    ops.iter().filter(|op| op.kind() == OpKind::Links).map(SignedOp::body)
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

/// Found by swarm-10, seed 11: what the others had said while this node was away was played to it when it was back and they were dead.
/// It told that it heard those whom it had not observed, and who knew them as dead showed them again.
#[test]
fn a_recording_of_the_time_in_which_a_node_was_away_is_no_sign_of_life() {
    let dead = 2..=11;
    let homes: Vec<(u8, &[u8])> =
        dead.clone().map(|n| (n, &[1][..])).chain([(1, &[1, 2][..]), (12, &[2][..])]).collect();
    let mut segments = Segments::new(&homes);
    segments.settle();
    segments.hand(1, Input::Interfaces(&[]));
    let recorded = Rc::new(RefCell::new(BTreeMap::new()));
    let tape = Rc::clone(&recorded);
    segments.filter = Box::new(move |flight, _| {
        if flight.to == 1 && flight.segment == 1 && flight.cast != Cast::Unicast {
            tape.borrow_mut().insert(flight.from, flight.clone());
        }
        flight.to != 1
    });
    segments.run(Duration::from_secs(12));
    dead.clone().for_each(|n| drop(segments.nodes.remove(&n)));
    segments.run(Duration::from_secs(33));
    let told = Rc::new(RefCell::new(Vec::new()));
    let tells = Rc::clone(&told);
    segments.filter = Box::new(move |flight, messages| {
        let links = messages.iter().filter(|_| flight.from == 1).flat_map(links_told);
        tells.borrow_mut().extend(links.map(<[u8]>::to_vec));
        true
    });
    segments.events.clear();
    segments.plug(1);
    let recordings = recorded.take();
    assert_eq!(recordings.len(), dead.clone().count());
    recordings.into_values().for_each(|recording| segments.send(recording));
    segments.run(Duration::from_secs(40));
    let shown = segments.events.iter().filter(|(by, _, event)| *by == 12 && matches!(event, Event::PeerUp { .. }));
    let shown: Vec<&Event> = shown.map(|(_, _, event)| event).collect();
    assert!(matches!(shown[..], [Event::PeerUp { peer, .. }] if *peer == id(1)), "{shown:?}");
    let lists = |n: u8| told.borrow().iter().any(|body| body.windows(8).any(|window| *window == id(n).0[..8]));
    assert_eq!(dead.filter(|n| lists(*n)).collect::<Vec<u8>>(), Vec::<u8>::new(), "those are not");
}

/// Whoever had lost the relay took its old lists when it was back, and showed those behind it who were dead.
#[test]
fn a_relay_that_slept_for_long_tells_nobody_of_links_that_it_had_before() {
    for [first, relay, behind] in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let mut segments = Segments::new(&[(first, &[1]), (relay, &[1, 2]), (behind, &[2])]);
        segments.settle();
        let asleep = segments.nodes.remove(&relay).expect("it runs");
        segments.run(Duration::from_secs(2));
        segments.nodes.remove(&behind);
        segments.run(Duration::from_secs(78));
        segments.nodes.insert(relay, asleep);
        segments.events.clear();
        segments.hand(relay, Input::Wake);
        segments.run(Duration::from_secs(40));
        let shown =
            segments.events.iter().filter(|(by, _, event)| *by == first && matches!(event, Event::PeerUp { .. }));
        let shown: Vec<&Event> = shown.map(|(_, _, event)| event).collect();
        assert!(
            matches!(shown[..], [Event::PeerUp { peer, .. }] if *peer == id(relay)),
            "{first}-{relay}-{behind}: {shown:?}"
        );
    }
}

/// Those who are there take some seconds to call a dead one failed, and until then their lists bear it.
#[test]
fn who_comes_after_a_death_that_nobody_noticed_yet_does_not_show_the_dead_of_its_own_segment() {
    let mut segments = Segments::with_profile(Profile::Wan, &[(1, &[1, 2]), (2, &[1]), (3, &[1]), (4, &[2])]);
    segments.settle();
    segments.nodes.remove(&2);
    segments.homes.insert(5, vec![1]);
    segments.start(5);
    segments.run(Duration::from_secs(30));
    let shown = |whom: u8| {
        let is_up = |(by, _, event): &&_| *by == 5 && matches!(event, Event::PeerUp { peer, .. } if *peer == id(whom));
        segments.events.iter().filter(is_up).count()
    };
    assert_eq!([1, 2, 3, 4].map(shown), [1, 0, 1, 1], "{:?}", segments.events);
}

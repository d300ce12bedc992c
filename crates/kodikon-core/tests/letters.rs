//! The promises of letters, between real nodes: each arrives once or its origin learns that it may not have, whatever is lost.

#[path = "letters/segments.rs"]
mod segments;

use std::cell::RefCell;
use std::rc::Rc;

use kodikon_core::ground::time::Duration;
use kodikon_core::model::letter::{Outcome, Priority};
use kodikon_core::wire::message::Message;
use segments::{Flight, Segments, id};

fn is_letter(messages: &[Message]) -> bool {
    messages.iter().any(|message| matches!(message, Message::Carry(_) | Message::Got(_) | Message::Back(_)))
}

#[test]
fn a_neighbour_is_told_and_its_receipt_settles_the_letter() {
    let mut mesh = Segments::line(2);
    let ticket = mesh.say(1, 2, "{\"a\":1}");
    mesh.run(Duration::from_millis(100));
    assert_eq!(mesh.heard(2), [(id(1), "{\"a\":1}".to_owned())]);
    let (_, outcome) = mesh.outcome(ticket).expect("it is settled");
    let Outcome::Delivered { rtt, path, attempts } = outcome else { panic!("{outcome:?}") };
    assert_eq!((path, attempts), (vec![id(2)], 1));
    assert!(rtt < Duration::from_millis(2), "{rtt:?}");
    assert_eq!(mesh.nodes[&1].stats().letters_delivered, 1);
}

#[test]
fn a_letter_goes_over_three_hops_and_its_path_is_shown() {
    let mut mesh = Segments::line(4);
    let ticket = mesh.say(1, 4, "1");
    mesh.run(Duration::from_millis(100));
    assert_eq!(mesh.heard(4), [(id(1), "1".to_owned())]);
    let (_, outcome) = mesh.outcome(ticket).expect("it is settled");
    let Outcome::Delivered { rtt, path, attempts } = outcome else { panic!("{outcome:?}") };
    assert_eq!((path, attempts), (vec![id(2), id(3), id(4)], 1));
    assert!(rtt < Duration::from_millis(2), "{rtt:?}");
}

#[test]
fn whatever_single_datagram_is_lost_the_letter_arrives_once() {
    let mut lossless = 0;
    for lost in 0.. {
        let mut mesh = Segments::line(4);
        let count = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&count);
        mesh.filter = Box::new(move |_: &Flight, messages: &[Message]| {
            *counted.borrow_mut() += usize::from(is_letter(messages));
            !is_letter(messages) || *counted.borrow() != lost + 1
        });
        let ticket = mesh.say(1, 4, "1");
        mesh.run(Duration::from_secs(6));
        assert_eq!(mesh.heard(4), [(id(1), "1".to_owned())], "without datagram {lost}");
        let (_, outcome) = mesh.outcome(ticket).expect("it is settled");
        assert!(matches!(outcome, Outcome::Delivered { .. }), "without datagram {lost}: {outcome:?}");
        if *count.borrow() <= lost {
            lossless = lost;
            break;
        }
    }
    assert!((12..=16).contains(&lossless), "three hops there and back, each answered: {lossless}");
}

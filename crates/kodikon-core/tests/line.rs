//! The promises of the registry, between real nodes that hear their neighbours alone.

#[path = "letters/segments.rs"]
#[expect(dead_code, reason = "letters use the rest of it")]
mod segments;

use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::time::Duration;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{NewRecord, RecordOrder, Stored};
use kodikon_core::wire::message::Message;
use segments::Segments;

fn add(mesh: &mut Segments, n: u8, record: NewRecord) -> OpId {
    mesh.hand(n, Input::Command(Command::Add(RecordOrder { ticket: Ticket(1), record })));
    let done = |(at, _, event): &(u8, _, Event)| {
        let Event::Stored { outcome: Stored::Done { ids, .. }, .. } = event else { return None };
        (*at == n).then(|| ids[0])
    };
    mesh.events.iter().rev().find_map(done).expect("it was answered")
}

/// Found by records-line-5, seeds 21 and 70: an update was over before it came to the end of the line, and what it had taken the place of
/// was shown there until its own time was over: that it was over said one neighbour alone, and its author is far.
#[test]
fn at_the_end_of_a_line_an_update_that_was_over_before_it_came_takes_the_place_of_what_there_was() {
    let mut mesh = Segments::line(4);
    let first = add(&mut mesh, 1, NewRecord { ttl: Duration::from_secs(3_600), ..NewRecord::new("a") });
    mesh.run(Duration::from_secs(5));
    let shown = |mesh: &Segments| -> Vec<u8> {
        let shows = |n: &u8| !mesh.nodes[n].records_of(mesh.now, "a").is_empty();
        (1..=4).filter(shows).collect()
    };
    assert_eq!(shown(&mesh), [1, 2, 3, 4]);
    mesh.filter = Box::new(|flight, messages| {
        let is_of_log = |message: &Message| matches!(message, Message::Log(_) | Message::LogPiece(_));
        flight.to != 4 || !messages.iter().any(is_of_log)
    });
    add(&mut mesh, 1, NewRecord { ttl: Duration::from_secs(10), replaces: Some(first), ..NewRecord::new("a") });
    mesh.run(Duration::from_secs(12));
    assert_eq!(shown(&mesh), [4], "it lacks the update, which is over");
    mesh.filter = Box::new(|_, _| true);
    mesh.run(Duration::from_secs(150));
    assert!(shown(&mesh).is_empty(), "nobody shows what was updated");
}

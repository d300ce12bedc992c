//! What a peer does beyond its share: refused, its own loss, and counted where people can see whose it was.

use super::*;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, Seq};
use crate::model::alert::AlertBody;
use crate::model::cast::{CAST_RATE, CastId};
use crate::model::op::Statement;
use crate::wire::cast::{Cast as Said, Content, Spread};
use crate::wire::clock::Ticks;
use crate::wire::letter::{Carry, DeadLinks, KIND_TEXT, Letter, Path, Text};
use crate::wire::message::{Log, LogEntry};

/// What is counted of node N, by kind, where it is more than none.
fn counted(bench: &Bench, n: u8) -> Vec<(Excess, u64)> {
    let peers = bench.node.peers();
    let peer = peers.iter().find(|peer| peer.id == identity(n).id()).expect("it was met");
    Excess::ALL.into_iter().map(|kind| (kind, peer.beyond.of(kind))).filter(|(_, count)| *count > 0).collect()
}

/// Alert number `seq` of node N, of so many milliseconds.
fn alert(bench: &Bench, n: u8, seq: u64, priority: Priority, age_ms: u64) -> LogEntry {
    let body = AlertBody { priority: priority as u8, ttl_ms: 3_600_000, source: "cam".to_owned(), payload: vec![b'1'] };
    let op = bench.say(n, seq, OpKind::Alert, &[], minicbor::to_vec(&body).unwrap());
    LogEntry { op, age_ms, key: None, rested: None }
}

fn log(entry: LogEntry) -> Message {
    Message::Log(Log { entries: vec![entry], ..Log::default() })
}

fn alerts(bench: &Bench) -> u64 {
    bench.node.stats().alerts_received
}

#[test]
fn what_a_peer_sends_beyond_its_rate_is_its_own_loss_and_shown_as_such() {
    let mut bench = Bench::new(2);
    let ping = Message::Ping(Ping { nonce: 1 });
    (0..6_000).for_each(|_| bench.hear(1, &ping));
    (0..100).for_each(|_| bench.hear(2, &ping));
    assert_eq!(counted(&bench, 1), [(Excess::Datagrams, 1_000)]);
    assert_eq!(counted(&bench, 2), []);
    assert_eq!(bench.dropped(Reject::Rate), 1_000);
}

#[test]
fn facts_beyond_what_an_author_may_say_are_counted_as_its_own_whoever_brings_them() {
    let mut bench = Bench::new(3);
    for seq in 2..=700 {
        let op = bench.state(1, seq, "fps", Some(seq.to_string()));
        bench.hear_op(2, op);
    }
    // Six hundred at once, and the first is its card.
    let beyond = counted(&bench, 1);
    assert!(matches!(beyond[..], [(Excess::Ops, 99..=100)]), "{beyond:?}");
    assert_eq!((counted(&bench, 2), counted(&bench, 3)), (vec![], vec![]));
}

#[test]
fn alerts_beyond_their_rate_are_neither_shown_nor_asked_for_and_nobody_else_loses_any() {
    let mut bench = Bench::new(3);
    for seq in 1..=500 {
        let entry = alert(&bench, 1, seq, Priority::High, 0);
        bench.hear(1, &log(entry));
    }
    assert_eq!((alerts(&bench), counted(&bench, 1)), (400, vec![(Excess::Alerts, 100)]));
    assert_eq!(bench.dropped(Reject::Rate), 100);
    // One that is critical has its own share, and others have theirs.
    let (urgent, other) = (alert(&bench, 1, 501, Priority::Critical, 0), alert(&bench, 2, 1, Priority::Low, 0));
    bench.hear(1, &log(urgent));
    bench.hear(2, &log(other));
    assert_eq!(alerts(&bench), 402);
    // What was refused stays so, however old it is said to be and whoever brings it.
    for (by, age_ms) in [(1, 0), (1, 60_000), (3, 60_000)] {
        let entry = alert(&bench, 1, 450, Priority::High, age_ms);
        bench.hear(by, &log(entry));
    }
    assert_eq!((alerts(&bench), counted(&bench, 1)), (402, vec![(Excess::Alerts, 100)]));
    bench.now = bench.now + Duration::from_secs(1);
    for seq in 502..=600 {
        let entry = alert(&bench, 1, seq, Priority::High, 0);
        bench.hear(1, &log(entry));
    }
    assert_eq!(alerts(&bench), 422, "twenty a second");
}

#[test]
fn what_was_refused_is_not_said_to_have_been_shown() {
    let mut bench = Bench::new(1);
    for seq in 1..=500 {
        let entry = alert(&bench, 1, seq, Priority::High, 0);
        bench.hear(1, &log(entry));
    }
    let receipt = bench.node.replication.receipt_for(&identity(1).id());
    assert_eq!(receipt.rows[0].shown, [(1, 400)]);
}

#[test]
fn all_that_one_has_active_is_taken_from_whoever_tells_it_at_once() {
    let mut bench = Bench::new(2);
    for seq in 1..=2_000 {
        let entry = alert(&bench, 1, seq, Priority::Normal, 60_000);
        bench.hear(2, &log(entry));
    }
    assert_eq!((alerts(&bench), counted(&bench, 1)), (2_000, vec![]));
}

#[test]
fn who_passes_on_what_its_author_did_not_sign_is_counted_and_the_author_is_not() {
    let mut bench = Bench::new(2);
    let statement = |n: u8| Statement {
        kind: OpKind::Alert,
        key: Vec::new(),
        body: alert(&bench, n, 1, Priority::High, 0).op.body().to_vec(),
        lamport: 1,
        wall: WallTime(0),
    };
    let op = SignedOp::sign(&identity(2), bench.node.ctx.mesh, Epoch::new(1, 1), Seq(9), statement(2));
    let mut bytes = minicbor::to_vec(&op).unwrap();
    let place = bytes.windows(16).position(|window| window == identity(2).id().0).unwrap();
    bytes[place..place + 16].copy_from_slice(&identity(1).id().0);
    let op: SignedOp = minicbor::decode(&bytes).unwrap();
    bench.hear(2, &log(LogEntry { op, age_ms: 0, key: None, rested: None }));
    bench.pass(Duration::from_secs(1));
    (1..=2).for_each(|n| bench.hear(n, &beat()));
    let mut cast = cast(&bench, 1, 1);
    cast.cast.signature[0] ^= 1;
    bench.hear(2, &Message::Spread(cast));
    assert_eq!((counted(&bench, 2), counted(&bench, 1)), (vec![(Excess::Forgeries, 2)], vec![]));
}

/// Cast number `number` of node N, just said.
fn cast(bench: &Bench, n: u8, number: u64) -> Spread {
    let id = CastId { origin: identity(n).id(), epoch: Epoch::new(1, 1), number };
    let content = Content::Text(Text { kind: String::new(), payload: b"1".to_vec() });
    let cast = Said::sign(&identity(n), bench.node.ctx.mesh, id, Priority::Normal, content);
    let sent = Ticks::of(bench.now);
    Spread { cast, age_ms: 0, hops: 5, path: Path::default(), map: 0, fragment: None, doubt_ms: 0, sent }
}

#[test]
fn casts_beyond_their_rate_are_counted_where_it_is_certain_who_said_them() {
    let mut bench = Bench::new(4);
    bench.pass(Duration::from_secs(2));
    (1..=4).for_each(|n| bench.hear(n, &beat()));
    let most = 5 * u64::from(CAST_RATE);
    for number in 1..=most + 50 {
        let cast = cast(&bench, 1, number);
        bench.hear(1, &Message::Spread(cast));
    }
    assert_eq!(counted(&bench, 1), [(Excess::Casts, 50)]);
    // Two relays bring more of another than it may say.
    for number in 1..=2 * (most - 10) {
        let cast = cast(&bench, 2, number);
        bench.hear(if number % 2 == 0 { 3 } else { 4 }, &Message::Spread(cast));
    }
    assert_eq!(counted(&bench, 2), [(Excess::Casts, most - 20)]);
    assert_eq!((counted(&bench, 3), counted(&bench, 4)), (vec![], vec![]), "they passed it on");
}

#[test]
fn letters_that_relays_bring_beyond_an_origins_rate_are_counted_as_its_own() {
    let mut bench = Bench::new(4);
    let letter = |number| Letter {
        origin: identity(1).id().0,
        epoch: Epoch::new(1, 1).0,
        to: identity(4).id().0,
        number,
        attempt: 1,
        kind: KIND_TEXT,
        priority: Priority::Critical as u8,
        left_ms: 1_000,
        body: vec![b' '; 10],
        tag: [0; 16],
    };
    let mut beyond = 0;
    for number in 1..=5_100 {
        let (path, dead) = (Path::default(), DeadLinks::default());
        let by = if number % 2 == 0 { 2 } else { 3 };
        let carry = Carry { number, letter: letter(number), hops: 5, path, dead, fragment: None };
        let before = bench.dropped(Reject::Rate);
        bench.hear(by, &Message::Carry(carry));
        beyond += bench.dropped(Reject::Rate) - before;
    }
    assert!(beyond > 0, "there was something to count");
    assert_eq!(counted(&bench, 1), [(Excess::Letters, beyond)]);
    assert_eq!((counted(&bench, 2), counted(&bench, 3)), (vec![], vec![]));
}

#[test]
fn frames_that_come_again_are_counted_by_whose_session_they_name() {
    let mut bench = Bench::new(2);
    bench.hear(1, &beat());
    for _ in 0..7 {
        bench.counters[1] -= 1;
        bench.hear(1, &beat());
    }
    assert_eq!((counted(&bench, 1), counted(&bench, 2)), (vec![(Excess::Replays, 7)], vec![]));
}

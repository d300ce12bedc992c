//! What one hostile member, or a stranger beside it, can do to one node.

use super::bench::{Bench, address, identity, ip};
use super::*;
use crate::effect::{Arrival, Cast, Event, SendOrder, StreamUse, StreamWish, Target};
use crate::ground::config::{MAX_STATE, MAX_STATE_VALUE};
use crate::ground::id::{InterfaceIndex, NodeId, SessionTag, StreamId};
use crate::ground::stats::Reject;
use crate::model::letter::{Priority, Ticket};
use crate::model::member::{Card, Liveness as Held, REASON_PROCESS, REASON_SILENCE};
use crate::model::op::{OpKind, SignedOp};
use crate::model::state::{StateChange, StateEntry};
use crate::wire::clock::Ticks;
use crate::wire::codec;
use crate::wire::header::Header;
use crate::wire::message::{
    Beacon, Beat, Challenge, Inquiry, Message, Ops, Ping, Proof, Refusal, Suspicion, proof_bytes,
};
use std::net::{IpAddr, SocketAddr};

mod configured;
mod repair;
mod shares;
mod ways;

fn beat() -> Message {
    Message::Beat(Beat { root: 0, due_ms: 5_000, log_root: None })
}

#[test]
fn whoever_does_not_say_that_it_reads_packed_letters_is_sent_none() {
    let mut bench = Bench::new(1);
    let order = SendOrder {
        ticket: Ticket(1),
        to: identity(1).id(),
        kind: String::new(),
        payload: b"[1,2,3,4]".iter().cycle().take(9_000).copied().collect(),
        priority: Priority::Normal,
        timeout: None,
    };
    bench.hand(Input::Command(Command::Send(order)));
    assert!(bench.sent_to(address(1)) > 9_000, "all of it, as it is");
    assert_eq!(bench.node.stats().letters_packed, 0);
}

#[test]
fn what_an_author_may_not_say_is_not_held_whoever_signed_it() {
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let entry = |json: Option<String>| minicbor::to_vec(&StateEntry { json, version: 3, whole: Some(1) }).unwrap();
    let table: Vec<(OpKind, Vec<u8>, Vec<u8>, bool)> = vec![
        (OpKind::State, vec![b'k'; 64], entry(Some("1".to_owned())), true),
        (OpKind::State, vec![b'k'; 65], entry(Some("1".to_owned())), false),
        (OpKind::State, vec![b'k'; 65], entry(None), false),
        (OpKind::State, Vec::new(), entry(None), true),
        (OpKind::State, Vec::new(), entry(Some("1".to_owned())), false),
        (OpKind::State, vec![0xff], entry(Some("1".to_owned())), false),
        (OpKind::State, b"fps".to_vec(), entry(Some(long(MAX_STATE_VALUE))), true),
        (OpKind::State, b"fps".to_vec(), entry(Some(long(MAX_STATE_VALUE + 1))), false),
        (OpKind::State, b"fps".to_vec(), entry(Some("{".to_owned())), false),
        (OpKind::State, b"fps".to_vec(), b"30".to_vec(), false),
        (OpKind::Opinion, vec![1; 16], vec![0; 48], true),
        (OpKind::Opinion, vec![1; 15], vec![0; 8], false),
        (OpKind::Opinion, vec![1; 16], vec![0; 49], false),
        (OpKind::Card, Vec::new(), vec![0; 8], false),
        (OpKind::Unknown(9), vec![1; 65], vec![0; 800], true),
    ];
    for (kind, key, body, expected) in table {
        let mut bench = Bench::new(1);
        let before = bench.node.replication.table_sizes()[1].1;
        let op = bench.say(1, 2, kind, &key, body.clone());
        bench.hear_op(1, op);
        let grown = bench.node.replication.table_sizes()[1].1 - before;
        let case = format!("{kind:?} {} {} bytes", key.len(), body.len());
        assert_eq!((grown, bench.dropped(Reject::Limit)), if expected { (1, 0) } else { (0, 1) }, "{case}");
    }
}

#[test]
fn one_author_makes_no_node_hold_more_than_its_share() {
    let mut bench = Bench::new(1);
    let big = || Some(format!("\"{}\"", "x".repeat(1_000)));
    let mut seq = 1;
    for n in 0..1_500u64 {
        let key = [n.to_be_bytes(), *b"filling!"].concat();
        let ops = [
            bench.state(1, seq + 1, &format!("v{n}"), big()),
            bench.state(1, seq + 2, &format!("u{n}"), None),
            bench.say(1, seq + 3, OpKind::Opinion, &key, vec![0; 40]),
            bench.say(1, seq + 4, OpKind::Unknown(77), &key, vec![0; 900]),
        ];
        seq += 4;
        bench.now = bench.now + Duration::from_millis(50);
        ops.into_iter().for_each(|op| bench.hear_op(1, op));
    }
    let state = bench.node.state_of(&identity(1).id()).expect("it has one");
    let bytes: usize = state.values.iter().map(|(key, json)| key.len() + json.len()).sum();
    assert!(bytes <= 2 * MAX_STATE + 128 * 32, "{bytes} bytes of state");
    for (table, held, limit) in bench.node.table_sizes() {
        assert!(held <= limit, "{table} holds {held}");
    }
    assert!(bench.node.table_sizes().iter().any(|(table, held, _)| *table == "bytes_of_an_author" && *held > 100_000));
}

#[test]
fn a_state_that_is_replaced_whole_and_arrives_in_any_order_is_taken() {
    let mut bench = Bench::new(1);
    let mut ops: Vec<SignedOp> =
        (0..64u64).map(|n| bench.state(1, 2 + n, &format!("old{n}"), Some("1".to_owned()))).collect();
    ops.extend((0..64u64).map(|n| bench.state(1, 66 + n, &format!("old{n}"), None)));
    ops.extend((0..64u64).map(|n| bench.state(1, 130 + n, &format!("new{n}"), Some("2".to_owned()))));
    for op in ops.into_iter().rev() {
        bench.hear_op(1, op);
    }
    let state = bench.node.state_of(&identity(1).id()).expect("it has one");
    assert_eq!((state.values.len(), state.version), (64, 193));
    assert!(state.values.keys().all(|key| key.starts_with("new")), "{:?}", state.values.keys());
}

#[test]
fn a_refusal_counts_only_where_a_proof_was_sent_and_once() {
    let mut bench = Bench::new(1);
    let refusal = Message::Refusal(Refusal { max_peers: 7 });
    for n in [1, 50] {
        bench.hear(n, &refusal);
        assert_eq!(bench.events(), Vec::<&Event>::new(), "node {n} was never shown a proof");
    }
    let challenge = Message::Challenge(Challenge { cookie: [3; 16] });
    for n in 1..=40 {
        bench.hear(n, &challenge);
        bench.hear(n, &refusal);
        let told = bench.events().iter().filter(|event| matches!(event, Event::RefusedBy { .. })).count();
        assert_eq!(told, usize::from(n <= 16), "node {n} is told of while sixteen are remembered");
        bench.hear(n, &refusal);
        assert_eq!(bench.events(), Vec::<&Event>::new(), "node {n} says so again");
    }
    let mut bench = Bench::new(0);
    bench.hear(3, &challenge);
    bench.pass(Duration::from_secs(11));
    bench.hear(3, &refusal);
    assert_eq!(bench.events(), Vec::<&Event>::new(), "long after the proof");
}

#[test]
fn two_who_say_that_a_process_ended_do_not_bury_whom_we_just_heard() {
    let mut bench = Bench::new(4);
    bench.hear(4, &beat());
    for n in [1, 2] {
        bench.opine(n, 2, 4, REASON_PROCESS);
    }
    assert_eq!(bench.held(4), Held::Alive);
    assert!(bench.node.stats().probes_started > 0, "it is asked");
    bench.answer(4);
    bench.pass(Duration::from_millis(1_500));
    assert_eq!(bench.held(4), Held::Alive, "it answered");
    // The same word of others, and nobody listens at its address.
    for n in [1, 2] {
        bench.opine(n, 3, 4, REASON_PROCESS);
    }
    bench.hand(Input::Unreachable(address(4)));
    assert_eq!(bench.held(4), Held::Alive, "ICMP is easily forged");
    bench.pass(Duration::from_millis(50));
    bench.hear(4, &beat());
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.held(4), Held::Alive, "it was");
    for n in [1, 2] {
        bench.opine(n, 4, 4, REASON_PROCESS);
    }
    bench.hand(Input::Unreachable(address(4)));
    bench.pass(Duration::from_millis(110));
    assert_eq!(bench.held(4), Held::Failed);
}

#[test]
fn one_who_says_that_a_process_ended_is_not_made_two_by_icmp() {
    let mut bench = Bench::new(4);
    bench.hear(4, &beat());
    bench.opine(1, 2, 4, REASON_PROCESS);
    bench.hand(Input::Unreachable(address(4)));
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.held(4), Held::Alive);
}

/// Node 4 holds a connection with this node, which ends.
fn lose_connection(bench: &mut Bench) {
    bench.hand(Input::StreamOffered { stream: StreamId(1), from: address(4) });
    let header = Header { tag: SessionTag([4; 8]), counter: 100 };
    let mut text = Vec::new();
    codec::encode(&Message::Canary, &mut text);
    let mut frame = bench.node.ctx.group.session(header.tag).seal(&header, &text);
    bench.hand(Input::StreamFrame { stream: StreamId(1), frame: &mut frame });
    bench.hand(Input::StreamEnded { stream: StreamId(1) });
    bench.counters[4] = 200;
}

/// It stood for ever, and a suspicion of hours later was over when it began.
#[test]
fn what_others_said_of_a_silence_ends_with_our_own_probes_also_where_icmp_ends_these() {
    let held =
        |bench: &Bench| bench.node.table_sizes().into_iter().find(|(table, ..)| *table == "suspicions").unwrap().1;
    let mut bench = Bench::new(4);
    bench.hear(4, &beat());
    let said = Suspicion { subject: identity(4).id().0, epoch: Epoch::new(1, 1).0, life: 0 };
    bench.hear(1, &Message::Suspicion(said));
    lose_connection(&mut bench);
    assert_eq!(held(&bench), 1);
    bench.hand(Input::Unreachable(address(4)));
    assert_eq!(held(&bench), 0);
}

#[test]
fn the_end_of_our_own_connection_makes_their_word_enough() {
    for heard_since in [false, true] {
        let mut bench = Bench::new(4);
        bench.hear(4, &beat());
        lose_connection(&mut bench);
        if heard_since {
            bench.now = bench.now + Duration::from_millis(1);
            bench.hear(4, &beat());
        }
        for n in [1, 2] {
            bench.opine(n, 2, 4, REASON_PROCESS);
        }
        assert_eq!(bench.held(4), Held::Alive, "a connection ends for other reasons too: it may answer");
        bench.pass(Duration::from_millis(110));
        let expected = if heard_since { Held::Alive } else { Held::Failed };
        assert_eq!(bench.held(4), expected, "heard since: {heard_since}");
    }
}

#[test]
fn a_proof_goes_only_where_we_were_before() {
    let far: SocketAddr = "192.0.2.7:10000".parse().unwrap();
    let challenge = Message::Challenge(Challenge { cookie: [3; 16] });
    let table: [(&str, SocketAddr, u8, bool, bool); 8] = [
        ("a stranger of this network", address(50), 50, false, true),
        ("a peer of this network", address(1), 1, false, true),
        ("a stranger on this host", "10.0.0.100:10001".parse().unwrap(), 50, false, true),
        ("a stranger on loopback", "127.0.0.1:10001".parse().unwrap(), 50, false, true),
        ("a stranger from afar", far, 50, false, false),
        ("a peer's session from afar", far, 1, false, false),
        ("a configured peer from afar", far, 50, true, true),
        ("a stranger of the link", "[fe80::7%2]:10000".parse().unwrap(), 50, false, true),
    ];
    for (case, from, n, configured, expected) in table {
        let mut bench = Bench::with(1, |config| config.peers.extend(configured.then_some(far)));
        let is_here = from.ip().is_loopback() || from.ip() == ip(100);
        let interface = InterfaceIndex(if is_here { 1 } else { 2 });
        bench.hear_by(n, Arrival { from, interface, cast: Cast::Unicast }, &challenge);
        let is_there = |target| matches!(target, Target::Address(to, _) if to == from);
        let is_answered = bench.sent().any(|sent| is_there(sent.target) && sent.bytes.len() > 300);
        assert_eq!(is_answered, expected, "{case}");
    }
}

/// A proof that was lost, and recorded by somebody, brought its sender back 8 s after its death (swarm-10, seed 82).
#[test]
fn a_proof_proves_nothing_seconds_after_the_question() {
    for (after_ms, expected) in [(0, true), (1_900, true), (4_100, false)] {
        let mut bench = Bench::new(0);
        let tag = SessionTag([50; 8]);
        let question = bench.node.discovery.challenges().make(bench.now, tag, address(50));
        let Message::Challenge(Challenge { cookie }) = question else { panic!("{question:?}") };
        let (card, _) = bench.card(50, ip(50));
        let signature = identity(50).sign(&proof_bytes(bench.node.ctx.mesh, &cookie, &tag.0));
        bench.now = bench.now + Duration::from_millis(after_ms);
        bench.hear(50, &Message::Proof(Proof { card, cookie, signature, clock: Ticks(0) }));
        let is_in = bench.node.ctx.roster.get(&identity(50).id()).is_some();
        assert_eq!((is_in, bench.dropped(Reject::Unasked)), (expected, u64::from(!expected)), "after {after_ms} ms");
    }
}

/// What followed in the frame was taken into the lane of the run before, and went with it.
#[test]
fn what_follows_the_proof_of_another_run_belongs_to_that_run() {
    let mut bench = Bench::new(1);
    let (run, tag) = (Epoch::new(2, 1), SessionTag([51; 8]));
    let (_, card) = bench.card(1, ip(1));
    let card = minicbor::to_vec(Card { tag: tag.0, ..card }).unwrap();
    let card = bench.say_in(run, 1, 1, (OpKind::Card, &[], card));
    let entry = StateEntry { json: Some("30".to_owned()), version: 1, whole: None };
    let op = bench.say_in(run, 1, 2, (OpKind::State, b"fps", minicbor::to_vec(&entry).unwrap()));
    let question = bench.node.discovery.challenges().make(bench.now, tag, address(1));
    let Message::Challenge(Challenge { cookie }) = question else { panic!("{question:?}") };
    let signature = identity(1).sign(&proof_bytes(bench.node.ctx.mesh, &cookie, &tag.0));
    let proof = Message::Proof(Proof { card, cookie, signature, clock: Ticks(0) });
    let ops = Message::Ops(Ops { ops: vec![op], covered: Vec::new() });
    let arrival = Arrival { from: address(1), interface: InterfaceIndex(2), cast: Cast::Unicast };
    bench.hear_together(51, arrival, &[proof, ops]);
    let id = identity(1).id();
    assert_eq!(bench.node.ctx.roster.get(&id).map(|peer| peer.epoch()), Some(run));
    assert_eq!(bench.node.state_of(&id).map(|state| state.version), Some(1));
}

#[test]
fn one_address_draws_no_more_than_a_few_proofs_a_second() {
    let mut bench = Bench::new(0);
    let victim = address(9);
    let mut sent = 0;
    for n in 0..1_000u32 {
        let challenge = Message::Challenge(Challenge { cookie: [(n % 251) as u8; 16] });
        bench.hear_from(50, victim, Cast::Unicast, &challenge);
        sent += bench.sent_to(victim);
    }
    assert!(sent < 12 * 500, "{sent} bytes");
}

#[test]
fn who_lacks_the_key_cannot_starve_a_peer() {
    let mut bench = Bench::new(1);
    for n in 0..6_000u64 {
        let mut frame = Header { tag: SessionTag([1; 8]), counter: n }.encode().to_vec();
        frame.extend_from_slice(&[0; 40]);
        let arrival = Arrival { from: address(66), interface: InterfaceIndex(2), cast: Cast::Unicast };
        bench.hand(Input::Datagram(arrival, &mut frame));
    }
    assert_eq!((bench.dropped(Reject::Seal), bench.dropped(Reject::Rate)), (6_000, 0));
    let before = bench.node.stats().datagrams_received;
    bench.hear(1, &beat());
    assert_eq!(bench.node.stats().datagrams_received, before + 1);
}

#[test]
fn forged_ops_delay_no_author_and_cost_their_sender() {
    let mut bench = Bench::new(2);
    for seq in 10..1_010 {
        // Node 1 signs, and puts the name of node 2 above it.
        let op = bench.state(1, seq, "fps", Some("66".to_owned()));
        let mut bytes = minicbor::to_vec(&op).unwrap();
        let place = bytes.windows(16).position(|window| window == identity(1).id().0).unwrap();
        bytes[place..place + 16].copy_from_slice(&identity(2).id().0);
        bench.hear_op(1, minicbor::decode(&bytes).unwrap());
    }
    let checked = bench.node.stats().signatures_checked;
    assert!(checked <= 400, "{checked} checks for a thousand forgeries");
    let op = bench.state(2, 2, "fps", Some("30".to_owned()));
    bench.hear_op(2, op);
    assert_eq!(bench.node.state_of(&identity(2).id()).map(|state| state.version), Some(2));
}

#[test]
fn who_is_not_present_has_no_say_in_how_a_segment_is_reached() {
    let mut bench = Bench::new(3);
    let beacon = |heard| Message::Beacon(Beacon { root: 0, heard, turn: None, number: None, log_root: None });
    for n in 1..=3 {
        bench.hear_from(n, address(n), Cast::Multicast4, &beacon(7));
    }
    assert_eq!(bench.node.reports()[0].1, 3);
    let (now, id) = (bench.now, identity(3).id());
    bench.node.membership.leave(now, id, &mut bench.node.ctx);
    bench.node.read_notices(now);
    assert_eq!(bench.node.reports()[0].1, 2, "it left");
    bench.hear_from(3, address(3), Cast::Multicast4, &beacon(0));
    assert_eq!(bench.node.reports()[0].1, 2, "and speaks on");
}

/// Two nodes on each host of a network that stops multicast said everything to all by it, since each heard the other so.
#[test]
fn what_a_node_of_the_same_host_says_to_a_group_shows_nothing_of_the_network() {
    // (who is heard on which address, whether multicast is proven by node 1 on the own host)
    for (others, is_proven) in [(&[(1, 100)][..], true), (&[(1, 100), (2, 2)], false)] {
        let mut bench = Bench::new(0);
        let at = |host: u8, port: u16| SocketAddr::new(ip(host), port);
        let beacon = |heard| Message::Beacon(Beacon { root: 0, heard, turn: None, number: None, log_root: None });
        for (n, host) in others {
            bench.meet(*n, *host);
            bench.hear_from(*n, at(*host, 10_000), Cast::Broadcast, &beacon(7));
        }
        bench.hear_from(1, at(100, 10_001), Cast::Multicast4, &beacon(7));
        let proven = bench.node.discovery.proven_cast(bench.now, InterfaceIndex(2));
        let expected = if is_proven { Cast::Multicast4 } else { Cast::Broadcast };
        assert_eq!(proven, Some(expected), "{others:?}");
        if !is_proven {
            bench.hear_from(2, at(2, 10_000), Cast::Multicast4, &beacon(7));
            let proven = bench.node.discovery.proven_cast(bench.now, InterfaceIndex(2));
            assert_eq!(proven, Some(Cast::Multicast4), "another host's shows that it comes");
        } else {
            bench.meet(2, 2);
            bench.hear_from(2, at(2, 10_000), Cast::Broadcast, &beacon(7));
            let proven = bench.node.discovery.proven_cast(bench.now, InterfaceIndex(2));
            assert_eq!(proven, Some(Cast::Broadcast), "they are alone no more");
        }
    }
}

#[test]
fn one_peer_has_one_incoming_stream_and_the_newest_counts() {
    let mut bench = Bench::new(2);
    let mut text = Vec::new();
    codec::encode(&Message::Canary, &mut text);
    let mut closed = Vec::new();
    for (n, peer) in (1u64..=100).zip([2].into_iter().chain([1; 99])) {
        bench.hand(Input::StreamOffered { stream: StreamId(n), from: address(peer) });
        let header = Header { tag: SessionTag([peer; 8]), counter: 1_000 + n };
        let mut frame = bench.node.ctx.group.session(header.tag).seal(&header, &text);
        bench.hand(Input::StreamFrame { stream: StreamId(n), frame: &mut frame });
        closed.extend(bench.out.iter().filter_map(|output| {
            if let Output::Stream(StreamWish::Close { stream }) = output { Some(stream.0) } else { None }
        }));
    }
    assert_eq!(closed, (2..=99).collect::<Vec<_>>(), "each newer one closes the older one of its peer");
}

/// An observer turns away whom it has not heard from that address yet: by IPv6 for as long as half a minute after the start.
#[test]
fn a_connection_that_fails_is_tried_by_another_way() {
    let mut bench = Bench::new(1);
    let other = SocketAddr::new(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), 10_000);
    let peer = bench.node.ctx.roster.get_mut(&identity(1).id()).unwrap();
    peer.learn_path(bench.now, address(1), InterfaceIndex(2));
    peer.learn_path(bench.now, other, InterfaceIndex(2));
    let mut tried = Vec::new();
    for _ in 0..8 {
        bench.pass(Duration::from_secs(1));
        let wish = bench.out.iter().find_map(|output| {
            if let Output::Stream(StreamWish::Connect { to, .. }) = output { Some(*to) } else { None }
        });
        if let Some(to) = wish {
            tried.push(to);
            bench.hand(Input::StreamFailed { peer: identity(1).id(), purpose: StreamUse::Canary });
        }
        bench.hear(1, &beat());
    }
    assert_eq!(tried[..3], [address(1), other, address(1)]);
}

#[test]
fn while_isolated_every_row_is_shown_as_suspect_and_nobody_is_judged() {
    let mut bench = Bench::new(3);
    (1..=3).for_each(|n| bench.hear(n, &beat()));
    let version = bench.node.version();
    bench.hand(Input::Interfaces(&[]));
    bench.pass(Duration::from_secs(4));
    assert!(bench.node.is_isolated());
    let shown: Vec<_> = bench.node.peers().into_iter().map(|peer| (peer.liveness, peer.reason)).collect();
    assert_eq!(shown, [(Held::Suspect, "isolated"); 3]);
    assert!(bench.node.version() > version, "whoever shows rows shows them anew");
    assert!((1..=3).all(|n| bench.held(n) == Held::Alive), "no verdict, and no op");
    bench.hear(1, &beat());
    let shown: Vec<_> = bench.node.peers().into_iter().map(|peer| peer.liveness).collect();
    assert_eq!(shown, [Held::Alive; 3]);
}

#[test]
fn one_lost_beacon_isolates_nobody_however_short_the_interval() {
    let mut bench = Bench::with(1, |config| config.broadcast_interval = Duration::from_millis(500));
    bench.hear(1, &beat());
    for (ms, expected) in [(1_900, false), (600, true)] {
        bench.pass(Duration::from_millis(ms));
        assert_eq!(bench.node.is_isolated(), expected, "{ms} ms later");
    }
}

/// An idle node woke three times a second and looked at one thing each time; a fifth of its processor time went there.
#[test]
fn what_is_looked_at_now_and_then_is_looked_at_with_the_heartbeats() {
    let mut bench = Bench::new(1);
    bench.pass(Duration::from_secs(3));
    let (period, phase) = (Duration::from_secs(1), bench.node.ctx.first_beat);
    let (mut beats, mut others) = (0, 0);
    for _ in 0..40 {
        bench.hear(1, &beat());
        let end = bench.now.next_tick(period, phase);
        while let Some(wake) = bench.node.next_wake().filter(|wake| wake.at <= end) {
            bench.now = bench.now.max(wake.at);
            bench.hand(Input::Wake);
            if wake.at == end { beats += 1 } else { others += 1 }
        }
        bench.now = end;
    }
    // Four of these are for beacons, which are at random moments.
    assert!(beats == 40 && others < 15, "{beats} and {others}");
}

#[test]
fn stalls_at_the_start_lengthen_the_suspicion_of_that_minute_alone() {
    let both_speak = |bench: &mut Bench, seconds: u32| {
        for _ in 0..seconds {
            (1..=2).for_each(|n| bench.hear(n, &beat()));
            bench.pass(Duration::from_secs(1));
        }
    };
    let patience = |stalls: u32, calm: u32| {
        let mut bench = Bench::new(2);
        both_speak(&mut bench, 5);
        for _ in 0..stalls {
            bench.now = bench.now + Duration::from_secs(3);
            bench.hand(Input::Wake);
            both_speak(&mut bench, 1);
        }
        assert_eq!(bench.node.stats().stalls, u64::from(stalls));
        both_speak(&mut bench, calm);
        let tenths = (0..300).take_while(|n| {
            if n % 10 == 0 {
                bench.hear(2, &beat());
            }
            bench.pass(Duration::from_millis(100));
            bench.node.stats().verdicts == 0
        });
        Duration::from_millis(100) * u32::try_from(tenths.count()).unwrap()
    };
    let usual = patience(0, 10);
    assert!(patience(3, 10) > usual * 3 / 2, "{:?} after three stalls, else {usual:?}", patience(3, 10));
    assert_eq!(patience(3, 200), patience(0, 200), "minutes later");
}

#[test]
fn two_values_of_one_number_name_the_author_who_signed_both() {
    let mut bench = Bench::new(3);
    let [one, two, three] = ["1", "2", "3"].map(|json| bench.state(1, 2, "fps", Some(json.to_owned())));
    bench.hear_op(1, one.clone());
    bench.hear_op(2, one);
    assert_eq!(bench.events().len(), 0, "the same op again");
    let forged = {
        let mut bytes = minicbor::to_vec(&two).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        minicbor::decode::<SignedOp>(&bytes).unwrap()
    };
    bench.hear_op(2, forged);
    assert_eq!(bench.events().len(), 0, "nobody can accuse another");
    bench.hear_op(2, two);
    let id: NodeId = identity(1).id();
    let told = |event: &&Event| matches!(event, Event::Equivocated { peer, .. } if *peer == id);
    assert!(bench.events().first().is_some_and(told), "{:?}", bench.events());
    bench.hear_op(2, three);
    assert_eq!(bench.events().len(), 0, "once for each author");
    assert_eq!(bench.node.stats().equivocations, 2);
}

#[test]
fn one_who_shares_no_network_with_a_peer_does_not_bury_it() {
    let mut bench = Bench::new(0);
    bench.meet(4, 4);
    bench.meet_at(1, IpAddr::from([10, 9, 0, 1]));
    bench.opine(1, 2, 4, REASON_SILENCE);
    assert_eq!(bench.held(4), Held::Alive);
    assert_eq!(bench.node.stats().probes_started, 1, "it is asked");
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.held(4), Held::Failed, "and did not answer");
}

#[test]
fn silence_of_one_host_and_word_of_others_still_make_a_verdict() {
    let mut bench = Bench::new(4);
    bench.now = bench.now + Duration::from_secs(3);
    for n in [1, 2] {
        bench.opine(n, 2, 4, REASON_SILENCE);
    }
    assert_eq!(bench.held(4), Held::Failed);
}

/// In a crowd beacons are rarer than what proves that a peer hears the group: a third of two thousand were told one by one.
#[test]
fn whoever_was_heard_by_the_group_within_the_hard_bound_is_told_by_it() {
    for (bound, copies) in [(30, 1), (200, 0)] {
        let mut bench = Bench::with(1, |config| config.heartbeat_timeout = Duration::from_secs(bound));
        let heard = Instant::ZERO + Duration::from_secs(100);
        bench.now = heard + Duration::from_secs(150);
        let peer = bench.node.ctx.roster.get_mut(&identity(1).id()).expect("it was met");
        (peer.group_heard, peer.heard) = (Some(heard), Some(bench.now));
        let change = StateChange { key: "fps".to_owned(), json: Some("1".to_owned()) };
        bench.hand(Input::Command(Command::SetState(vec![change], WallTime(5))));
        let mut told: Vec<usize> =
            vec![bench.sent().filter(|sent| sent.target == Target::Address(address(1), None)).count()];
        let version = bench.node.kept_state().version + 1;
        bench.hand(Input::StateKept { version });
        told.push(bench.sent().filter(|sent| sent.target == Target::Address(address(1), None)).count());
        assert_eq!(told.iter().sum::<usize>(), copies, "a bound of {bound} s");
    }
}

/// The second of two questions came to nothing, though it is there for the case that the first was lost.
#[test]
fn whoever_asks_again_about_a_third_node_makes_this_one_ask_again() {
    for (after_ms, pings) in [(50, 0), (100, 1)] {
        let mut bench = Bench::new(2);
        let inquiry = Message::Inquiry(Inquiry { subject: identity(2).id().0 });
        bench.hear(1, &inquiry);
        assert!(bench.sent_to(address(2)) > 0);
        bench.now = bench.now + Duration::from_millis(after_ms);
        bench.hear(1, &inquiry);
        assert_eq!(usize::from(bench.sent_to(address(2)) > 0), pings, "after {after_ms} ms");
    }
}

/// What a peer had said to others before it died, played frame by frame, kept it alive for as long as there was any.
#[test]
fn a_peer_whose_failure_is_told_must_answer_though_frames_of_it_come() {
    for answers in [true, false] {
        let mut bench = Bench::new(3);
        for second in 0..20 {
            for n in 1..=3 {
                bench.hear(n, &Message::Beat(Beat { root: 0, due_ms: 0, log_root: None }));
            }
            if second == 1 {
                bench.opine(2, 2, 1, REASON_SILENCE);
            }
            for _ in 0..10 {
                if answers {
                    bench.answer(1);
                }
                bench.pass(Duration::from_millis(100));
            }
        }
        assert_eq!(bench.held(1), if answers { Held::Alive } else { Held::Failed }, "answers: {answers}");
        assert_eq!((bench.held(2), bench.held(3)), (Held::Alive, Held::Alive), "nobody said anything of these");
    }
}

/// Whoever failed keeps its row for the hard bound, and a full table took nobody for as long.
#[test]
fn of_a_full_table_whoever_failed_first_makes_room_at_once() {
    let mut bench = Bench::with(3, |config| config.max_peers = 3);
    let known = |bench: &Bench, n: u8| bench.node.ctx.roster.get(&identity(n).id()).is_some();
    for (n, came) in [(4, false), (5, true), (6, true), (7, false)] {
        if n > 4 && n < 7 {
            let failed = identity(n - 3).id();
            bench.now = bench.now + Duration::from_millis(10);
            bench.node.ctx.roster.set_liveness(bench.now, &failed, Held::Failed, REASON_SILENCE);
        }
        let (op, card) = bench.card(n, ip(n));
        let arrival = Arrival { from: address(n), interface: InterfaceIndex(2), cast: Cast::Unicast };
        let taken = bench.node.membership.prove(bench.now, op, card, arrival, &mut bench.node.ctx);
        assert_eq!((taken, known(&bench, n)), (came, came), "node {n}");
    }
    assert!(known(&bench, 1) && !known(&bench, 2) && !known(&bench, 3));
    assert!(bench.node.ctx.roster.directory().contains_key(&identity(2).id()));
}

#[test]
fn whoever_vouches_for_ever_more_nodes_keeps_no_known_one_from_being_asked() {
    let mut bench = Bench::new(2);
    for n in 10..=99 {
        let (op, card) = bench.card(n, ip(n));
        bench.node.membership.introduce(bench.now, op, card, &mut bench.node.ctx);
    }
    for n in 101..=250 {
        let (op, card) = bench.card(n, ip(n));
        bench.node.membership.introduce(bench.now, op, card, &mut bench.node.ctx);
    }
    let vouched = bench.node.ctx.roster.iter().filter(|(_, peer)| peer.liveness == Held::Introduced).count();
    assert_eq!(vouched, 192, "of 240");
    bench.node.ctx.roster.get_mut(&identity(2).id()).expect("it was met").liveness = Held::Failed;
    bench.hear(2, &beat());
    let pings = bench
        .said()
        .into_iter()
        .filter(|(to, message)| *to == Target::Address(address(2), None) && matches!(message, Message::Ping(_)));
    assert_eq!(pings.count(), 1, "it is to answer itself");
}

//! What the seed claims of peers, heartbeats and limits, and its program did not keep, shown on a perfect LAN.

#[path = "segment/lan.rs"]
mod lan;

use std::net::SocketAddr;

use kodikon_core::effect::{Arrival, Cast, Command, Event, Input};
use kodikon_core::ground::config::{Config, Security};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, Seq, SessionTag};
use kodikon_core::ground::stats::Reject;
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::identity::Identity;
use kodikon_core::model::member::{Card, Liveness};
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::Node;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::{Hello, Message};
use kodikon_core::wire::seal::GroupKey;
use lan::Lan;

#[test]
fn every_peer_is_heard_about_every_five_seconds() {
    let mut lan = started(10);
    lan.run(Duration::from_secs(20));
    for second in 0..60 {
        lan.run(Duration::from_secs(1));
        for (n, node) in &lan.nodes {
            for peer in node.peers() {
                let age = peer.heard.map(|heard| lan.now.since(heard));
                // A beacon may wait half a beat for a heartbeat's turn.
                assert!(age.is_some_and(|age| age <= Duration::from_millis(5_600)), "{n} after {second} s: {peer:?}");
            }
        }
    }
}

#[test]
fn who_failed_or_left_is_out_of_the_table_after_the_timeout_and_in_the_directory() {
    let mut lan = started(4);
    lan.run(Duration::from_secs(10));
    let [failing, leaving] = [3, 4].map(|n| lan.nodes[&n].id());
    lan.hand(4, Input::Command(Command::Leave));
    lan.nodes.remove(&3);
    lan.run(Duration::from_secs(10));
    let held = |node: &Node| -> Vec<_> { node.peers().iter().map(|peer| (peer.id, peer.liveness)).collect() };
    for n in [1, 2] {
        let held = held(&lan.nodes[&n]);
        assert!(held.contains(&(failing, Liveness::Failed)) && held.contains(&(leaving, Liveness::Left)), "{held:?}");
    }
    lan.nodes.remove(&4);
    lan.run(Duration::from_secs(32));
    for n in [1, 2] {
        let node = &lan.nodes[&n];
        let held = held(node);
        assert!(held.iter().all(|(_, liveness)| *liveness == Liveness::Alive), "node {n} holds {held:?}");
        let remembered = node.directory(lan.now);
        for (id, left) in [(failing, false), (leaving, true)] {
            assert!(remembered.iter().any(|entry| entry.id == id && entry.left == left), "node {n}: {remembered:?}");
        }
    }
}

#[test]
fn a_full_table_refuses_the_next_peer_and_both_sides_learn_why() {
    let mut lan = Lan::new();
    lan.start_with(1, |boot| boot.config.max_peers = 2);
    (2..=4).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.nodes[&1].peers().len(), 2);
    assert!(lan.nodes[&1].stats().peers_refused > 0 && lan.nodes[&1].stats().dropped(Reject::Refused) > 0);
    let refused = lan.times(|event| matches!(event, Event::Refused { .. }));
    assert_eq!(refused.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1], "once, and not with every attempt");
    let told = lan.times(|event| matches!(event, Event::RefusedBy { max_peers: 2, .. }));
    assert!(!told.is_empty() && told.iter().all(|(n, _)| *n != 1), "{told:?}");
}

#[test]
fn a_node_without_room_answers_those_it_refused_and_is_not_called_failed() {
    let mut lan = Lan::new();
    lan.start_with(1, |boot| boot.config.max_peers = 2);
    (2..=6).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(20));
    let full = lan.nodes[&1].id();
    for _ in 0..4 {
        // Silent for long enough that everyone doubts it, and not for so long that it failed.
        let node = lan.nodes.remove(&1).expect("it was started");
        lan.run(Duration::from_secs(3));
        lan.nodes.insert(1, node);
        lan.run(Duration::from_secs(60));
    }
    let suspected = lan.times(|event| matches!(event, Event::PeerSuspect { peer, .. } if *peer == full));
    assert!(suspected.len() > 4, "all doubt it: {suspected:?}");
    assert_eq!(lan.times(|event| matches!(event, Event::PeerFailed { .. })), [], "it answers whoever asks");
    for (n, node) in lan.nodes.iter().filter(|(n, _)| **n != 1) {
        let held = node.peers().iter().filter(|peer| peer.liveness == Liveness::Alive).count();
        assert_eq!(held, 5, "node {n} has room for all");
    }
    let told = lan.times(|event| matches!(event, Event::RefusedBy { .. }));
    assert!(told.len() <= 3 * 7, "those three are told each minute, not with every frame: {}", told.len());
}

#[test]
fn a_place_that_becomes_free_goes_to_one_that_was_refused() {
    let mut lan = Lan::new();
    lan.start_with(1, |boot| boot.config.max_peers = 2);
    (2..=4).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(10));
    let held: Vec<_> = lan.nodes[&1].peers().iter().map(|peer| peer.id).collect();
    let (leaving, waiting): (Vec<u8>, Vec<u8>) = (2..=4).partition(|n| held.contains(&lan.nodes[n].id()));
    lan.hand(leaving[0], Input::Command(Command::Leave));
    // The row of who left stays for `heartbeat_timeout`; the next beacon of who was refused comes within five seconds.
    lan.run(Duration::from_secs(37));
    let taken = lan.nodes[&waiting[0]].id();
    assert!(lan.nodes[&1].peers().iter().any(|peer| peer.id == taken && peer.liveness == Liveness::Alive));
}

#[test]
fn each_change_raises_the_version_by_one_and_a_restart_goes_on_above_it() {
    let mut lan = started(2);
    lan.run(Duration::from_secs(1));
    let owner = lan.nodes[&1].id();
    for (version, json) in [(1, "15"), (2, "30"), (2, "30")] {
        set(&mut lan, 1, json);
        lan.run(Duration::from_secs(1));
        assert_eq!(lan.nodes[&2].state_of(&owner).map(|state| state.version), Some(version), "after {json}");
    }
    let state = lan.nodes[&1].state_of(&owner).expect("one's own state is known");
    lan.start_with(1, |boot| {
        boot.epoch = Epoch::new(2, 1);
        boot.seed = [101; 32];
        boot.saved.state = state;
    });
    lan.run(Duration::from_secs(1));
    let shown = lan.nodes[&2].state_of(&owner).expect("it is back");
    assert_eq!((shown.version, shown.values["fps"].as_str()), (2, "30"), "what the disk remembered");
    set(&mut lan, 1, "60");
    lan.run(Duration::from_secs(1));
    assert_eq!(lan.nodes[&2].state_of(&owner).map(|state| state.version), Some(3));
}

#[test]
fn a_state_whose_keys_are_all_unset_keeps_its_version_over_a_restart() {
    let mut lan = started(2);
    lan.run(Duration::from_secs(1));
    let owner = lan.nodes[&1].id();
    set(&mut lan, 1, "15");
    change(&mut lan, 1, None);
    let state = lan.nodes[&1].state_of(&owner).expect("one's own state is known");
    lan.start_with(1, |boot| {
        boot.epoch = Epoch::new(2, 1);
        boot.seed = [101; 32];
        boot.saved.state = state.clone();
    });
    lan.run(Duration::from_secs(1));
    // (what is set next, what the other shows then): the change without a key must not stay in the way.
    assert_eq!(lan.nodes[&2].state_of(&owner), Some(state), "nothing is set, at version 2");
    for (json, version) in [(Some("30"), 3), (None, 4)] {
        change(&mut lan, 1, json);
        lan.run(Duration::from_secs(700));
        let shown = lan.nodes[&2].state_of(&owner).expect("it is shown");
        assert_eq!((shown.version, shown.values.get("fps").map(String::as_str)), (version, json));
    }
}

#[test]
fn a_change_of_state_is_told_when_it_is_on_disk_and_what_came_meanwhile_after_it() {
    let mut lan = started(2);
    let owner = lan.nodes[&1].id();
    set(&mut lan, 1, "15");
    lan.run(Duration::from_secs(3));
    lan.holds_state = true;
    ["30", "31", "32"].iter().for_each(|fps| set(&mut lan, 1, fps));
    // (what the disk says, what the other shows then): of what came while the first was written only the newest is kept.
    let table: [(Option<u64>, u64, &str); 5] =
        [(None, 1, "15"), (Some(1), 1, "15"), (Some(2), 2, "30"), (Some(3), 2, "30"), (Some(4), 4, "32")];
    for (kept, version, fps) in table {
        if let Some(version) = kept {
            lan.hand(1, Input::StateKept { version });
        }
        lan.run(Duration::from_secs(3));
        let shown = lan.nodes[&2].state_of(&owner).expect("it is shown");
        assert_eq!((shown.version, shown.values["fps"].as_str()), (version, fps), "after the disk kept {kept:?}");
        assert_eq!(lan.nodes[&1].kept_state(), &shown, "after the disk kept {kept:?}");
    }
    assert_eq!(lan.nodes[&1].state_of(&owner).expect("one's own").version, 4);
}

#[test]
fn a_round_trip_is_measured_anew_though_nobody_is_in_doubt() {
    for (nodes, minutes) in [(2, 3), (6, 9)] {
        let mut lan = started(nodes);
        lan.delay = Duration::from_millis(4);
        lan.run(Duration::from_secs(60));
        lan.delay = Duration::from_micros(500);
        lan.run(Duration::from_secs(60 * minutes));
        for (n, node) in &lan.nodes {
            let trips: Vec<_> = node.peers().iter().map(|peer| peer.rtt).collect();
            assert_eq!(trips, vec![Some(Duration::from_millis(1)); usize::from(nodes) - 1], "at node {n} of {nodes}");
        }
    }
}

#[test]
fn ten_cameras_show_each_others_states_each_under_its_own_name() {
    let states: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(include_str!("fixtures/node_states.json")).expect("the fixture is an array of objects");
    let mut lan = started(10);
    for (n, state) in (1..).zip(&states).take(10) {
        let changes = state.iter().map(|(key, value)| StateChange { key: key.clone(), json: Some(value.to_string()) });
        lan.hand(n, Input::Command(Command::SetState(changes.collect(), WallTime(5))));
    }
    lan.run(Duration::from_secs(5));
    for (n, node) in &lan.nodes {
        let peers = node.peers();
        assert_eq!(peers.len(), 9, "at node {n}");
        for peer in peers {
            let number: u8 = peer.name.trim_start_matches("cam").parse().expect("named camN");
            let shown = node.state_of(&peer.id).map(|snapshot| snapshot.values).unwrap_or_default();
            let published = states[usize::from(number) - 1].iter().map(|(key, value)| (key.clone(), value.to_string()));
            assert_eq!(shown, published.collect(), "{} at node {n}", peer.name);
        }
    }
}

#[test]
fn a_later_run_in_the_frames_of_an_earlier_one_is_not_believed() {
    let mut lan = started(3);
    lan.run(Duration::from_secs(5));
    // The same chance draws the same session tag: what only a broken generator or a liar does.
    lan.start_with(1, |boot| boot.epoch = Epoch::new(2, 1));
    let liar = lan.nodes[&1].id();
    set(&mut lan, 1, "15");
    lan.run(Duration::from_secs(5));
    for n in [2, 3] {
        let held = lan.nodes[&n].peers().into_iter().find(|peer| peer.id == liar).map(|peer| peer.epoch);
        assert_eq!(held, Some(Epoch::new(1, 1)), "at node {n}");
        assert_eq!(lan.nodes[&n].state_of(&liar), None, "no fact of one run counts for the other");
    }
}

#[test]
fn meshes_of_different_keys_never_meet_and_never_answer() {
    let mut lan = Lan::new();
    for n in 1..=2 {
        lan.start_with(n, |boot| boot.config.security = Security::Key([n; 32].into()));
    }
    lan.start(3);
    lan.run(Duration::from_secs(60));
    for (n, node) in &lan.nodes {
        assert!(node.peers().is_empty(), "{n}: {:?}", node.peers());
        assert!(node.stats().dropped(Reject::Seal) > 0, "{n} counts what it cannot open");
        assert_eq!((node.stats().challenges_sent, node.stats().datagrams_received), (0, 0), "{n} answers nobody");
    }
}

#[test]
fn noise_is_counted_by_reason_and_leads_to_nothing() {
    let mut lan = started(3);
    lan.run(Duration::from_secs(10));
    let frames: [&[u8]; 5] =
        [b"", b"{\"type\": 1, \"source\": \"cam2\"}", &[1; 33], &[1, 0, 7, 7].repeat(20), &[0x16; 1_452]];
    let shown = |node: &Node| (node.peers().len(), node.table_sizes(), node.stats().datagrams_sent);
    let before = shown(&lan.nodes[&1]);
    let dropped = |node: &Node| Reject::ALL.iter().map(|reason| node.stats().dropped(*reason)).sum::<u64>();
    let dropped_before = dropped(&lan.nodes[&1]);
    let from = "10.0.0.99:4321".parse().expect("an address");
    for round in 0..200u8 {
        for frame in frames {
            let mut frame = frame.to_vec();
            frame.iter_mut().skip(2).step_by(7).for_each(|byte| *byte ^= round);
            let cast = if round % 2 == 0 { Cast::Unicast } else { Cast::Multicast4 };
            lan.hand(1, Input::Datagram(Arrival { from, interface: InterfaceIndex(2), cast }, &mut frame));
        }
    }
    assert_eq!(shown(&lan.nodes[&1]), before, "nothing is remembered, nothing is sent");
    assert_eq!(dropped(&lan.nodes[&1]) - dropped_before, 1_000, "each is counted once");
}

#[test]
fn invented_identities_fill_no_table_and_keep_no_known_peer_out() {
    let mut lan = started(4);
    lan.run(Duration::from_secs(10));
    let returning = lan.nodes.remove(&4).expect("it was started").id();
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.nodes[&1].peers().len(), 3, "the dead one is still shown");
    let sent = lan.nodes[&1].stats().datagrams_sent;
    let mut back = None;
    for n in 0..10_000u32 {
        // A thousand a second, each from an address of its own.
        lan.run(Duration::from_millis(1));
        lan.hand(1, Input::Datagram(from_stranger(n), &mut invented_hello(n)));
        if n == 4_000 {
            lan.start_with(4, |boot| {
                boot.epoch = Epoch::new(2, 4);
                boot.seed = [104; 32];
            });
        }
        let is_back =
            |node: &Node| node.peers().iter().any(|peer| peer.id == returning && peer.liveness == Liveness::Alive);
        if back.is_none() && is_back(&lan.nodes[&1]) {
            back = Some(n);
        }
    }
    assert!(back.is_some_and(|n| n <= 6_000), "back within two seconds of its start at 4,000 ms: {back:?}");
    let node = &lan.nodes[&1];
    assert_eq!(node.peers().len(), 3, "no invented peer is shown");
    for (table, held, limit) in node.table_sizes() {
        assert!(held <= limit.min(1_024), "{table} holds {held}");
    }
    let answers = node.stats().datagrams_sent - sent;
    assert!(node.stats().challenges_sent > 100, "the flood was heard and asked to prove itself");
    assert!(answers <= 10 * 450, "{answers} datagrams in ten seconds");
}

#[test]
fn acting_at_a_deadline_moves_it() {
    for fleet in [1u8, 5] {
        let mut lan = started(fleet);
        lan.run(Duration::from_secs(10));
        // Deaths make every machine sleep and wake.
        lan.nodes.retain(|n, _| *n <= 3);
        for _ in 0..2_000 {
            for n in lan.nodes.keys().copied().collect::<Vec<_>>() {
                let Some(wake) = lan.nodes[&n].next_wake() else { continue };
                lan.now = lan.now.max(wake.at);
                lan.hand(n, Input::Wake);
                let next = lan.nodes[&n].next_wake();
                assert!(next.is_none_or(|next| next.at > lan.now), "the driver would spin: {wake:?}, then {next:?}");
            }
        }
    }
}

fn started(nodes: u8) -> Lan {
    let mut lan = Lan::new();
    (1..=nodes).for_each(|n| lan.start(n));
    lan
}

fn from_stranger(n: u32) -> Arrival {
    let [_, a, b, c] = n.to_be_bytes();
    let from = SocketAddr::from(([10, a.wrapping_add(1), b, c], 10_000));
    Arrival { from, interface: InterfaceIndex(2), cast: Cast::Multicast4 }
}

/// A HELLO that is right in every respect, of a node that does not exist.
fn invented_hello(n: u32) -> Vec<u8> {
    let config = Config::new("ghost");
    let tag = [n.to_be_bytes(), *b"fake"].concat().try_into().expect("eight bytes");
    let identity = Identity::from_secret(blake3::hash(&n.to_be_bytes()).as_bytes());
    let mut body = Vec::new();
    write_card(&mut minicbor::Encoder::new(&mut body), &identity, tag, n).expect("encoding into memory cannot fail");
    assert!(Card::parse(&body).is_some(), "the card is one");
    let statement = Statement { kind: OpKind::Card, key: Vec::new(), body, lamport: 1, wall: WallTime(0) };
    let card = SignedOp::sign(&identity, config.mesh_id(), Epoch::new(1, n), Seq(1), statement);
    let mut text = Vec::new();
    codec::encode(&Message::Hello(Hello { card, index: 0 }), &mut text);
    let header = Header { tag: SessionTag(tag), counter: 0 };
    GroupKey::new(&config.group_key()).session(header.tag).seal(&header, &text)
}

fn write_card(
    to: &mut minicbor::Encoder<&mut Vec<u8>>,
    identity: &Identity,
    tag: [u8; 8],
    n: u32,
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    to.map(9)?.u8(0)?.bytes(&identity.public_key())?.u8(1)?.bytes(&identity.exchange_key())?.u8(2)?.bytes(&tag)?;
    to.u8(3)?.u32(0)?.u8(4)?.str(&format!("ghost{n}"))?.u8(5)?.u16(1)?.u8(6)?.bool(false)?;
    to.u8(7)?.array(0)?.u8(8)?.str("0.1.0")?.ok()
}

fn set(lan: &mut Lan, n: u8, json: &str) {
    change(lan, n, Some(json));
}

fn change(lan: &mut Lan, n: u8, json: Option<&str>) {
    let change = StateChange { key: "fps".to_owned(), json: json.map(str::to_owned) };
    lan.hand(n, Input::Command(Command::SetState(vec![change], WallTime(5))));
}

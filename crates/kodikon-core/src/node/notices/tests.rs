//! What several nodes say of one, and what is believed of it.

use super::*;
use crate::effect::{Input, Interface, InterfaceAddress, Medium};
use crate::ground::config::Config;
use crate::ground::id::{InterfaceIndex, MeshId, Seq};
use crate::ground::time::{Duration, WallTime};
use crate::model::identity::{Identity, StrictVerifier};
use crate::model::member::{Card, CardAddress, REASON_BOUND, REASON_PROCESS, REASON_SILENCE};
use crate::model::op::Statement;
use crate::model::roster::Peer;
use crate::node::{Boot, Saved};
use crate::wire::message::Suspicion;
use std::net::{IpAddr, Ipv4Addr};

const SUBJECT: u8 = 9;

#[test]
fn witnesses_on_one_host_are_believed_only_where_there_is_no_other_host() {
    // (hosts of the witnesses and bystanders 1 to 3, who says so, why, what is believed); this node is on host 1.
    let table: &[([u8; 3], &[u8], &'static str, Held)] = &[
        ([2, 2, 3], &[1], REASON_SILENCE, Held::Alive),
        ([2, 2, 3], &[1, 2], REASON_SILENCE, Held::Alive),
        ([2, 2, 3], &[1, 2], REASON_BOUND, Held::Alive),
        ([2, 2, 3], &[1, 3], REASON_SILENCE, Held::Failed),
        ([2, 2, 3], &[1, 2, 3], REASON_SILENCE, Held::Failed),
        // One host may say of the end of a process what it likes: the port is asked.
        ([2, 2, 3], &[1, 2], REASON_PROCESS, Held::Alive),
        ([2, 2, 3], &[1, 3], REASON_PROCESS, Held::Failed),
        // Nobody else could witness.
        ([1, 1, 1], &[1, 2], REASON_SILENCE, Held::Failed),
        ([1, 1, 2], &[1, 2], REASON_SILENCE, Held::Alive),
    ];
    for (hosts, witnesses, reason, expected) in table {
        let mut node = node();
        for (n, host) in (1..).zip(hosts) {
            meet(&mut node, n, *host);
        }
        meet(&mut node, SUBJECT, SUBJECT);
        for witness in *witnesses {
            hear(&mut node, *witness, reason);
        }
        let held = node.ctx.roster.get(&identity(SUBJECT).id()).map(|peer| peer.liveness);
        assert_eq!(held, Some(*expected), "{witnesses:?} of the hosts {hosts:?} say: {reason}");
    }
}

#[test]
fn the_word_of_one_host_makes_this_node_ask_for_itself() {
    let mut node = node();
    for (n, host) in [(1, 2), (2, 2), (SUBJECT, SUBJECT)] {
        meet(&mut node, n, host);
    }
    hear(&mut node, 1, REASON_SILENCE);
    assert_eq!(node.stats().probes_started, 0);
    hear(&mut node, 2, REASON_SILENCE);
    assert_eq!(node.stats().probes_started, 1);
    for ms in (0..1_000).step_by(50) {
        node.handle(start() + Duration::from_millis(ms), Input::Wake);
    }
    let held = node.ctx.roster.get(&identity(SUBJECT).id()).map(|peer| peer.liveness);
    assert_eq!(held, Some(Held::Suspect), "it did not answer");
}

#[test]
fn what_was_said_beyond_a_cut_is_not_believed_when_it_heals() {
    // (how long the witnesses are back, whether they are believed at once)
    for (back, expected) in [(1, Held::Alive), (9, Held::Alive), (10, Held::Failed)] {
        let mut node = node();
        for n in [1, 2, SUBJECT] {
            meet(&mut node, n, n + 1);
        }
        for n in [1, 2] {
            let since = Instant::ZERO + Duration::from_secs(100 - back);
            node.ctx.roster.set_liveness(since, &identity(n).id(), Held::Alive, "");
        }
        [1, 2].iter().for_each(|n| hear(&mut node, *n, REASON_SILENCE));
        let held = node.ctx.roster.get(&identity(SUBJECT).id()).map(|peer| peer.liveness);
        assert_eq!(held, Some(expected), "back for {back} s");
        let is_asked = node.stats().probes_started > 0;
        assert_eq!(is_asked, expected == Held::Alive, "who does not believe asks");
    }
}

#[test]
fn a_doubt_that_was_settled_leaves_nothing_for_the_next_one() {
    let mut node = node();
    [1, 2, SUBJECT].iter().for_each(|n| meet(&mut node, *n, n + 1));
    let subject = identity(SUBJECT).id();
    let suspicion = Suspicion { subject: subject.0, epoch: Epoch::new(1, 1).0, life: 0 };
    for round in 1..4 {
        let now = start() + Duration::from_secs(20 * round);
        node.liveness.on_suspicion(now, identity(1).id(), &suspicion, &mut node.ctx);
        assert_eq!(node.stats().probes_started, round, "asked each time that somebody doubts it");
        node.liveness.on_heard(now + Duration::from_millis(10), subject, &mut node.ctx);
    }
}

fn start() -> Instant {
    Instant::ZERO + Duration::from_secs(100)
}

fn node() -> Node {
    let boot = Boot {
        config: Config::new("cam"),
        identity: identity(0),
        epoch: Epoch::new(1, 1),
        seed: [7; 32],
        port: 10_000,
        wall: WallTime(0),
        saved: Saved::default(),
        verifier: Box::new(StrictVerifier),
    };
    let mut node = Node::new(start(), boot);
    let address = InterfaceAddress { address: ip(1), prefix: 24, broadcast: None };
    let interface = Interface {
        index: InterfaceIndex(2),
        name: "eth0".to_owned(),
        mtu: 1_500,
        carrier: true,
        medium: Medium::Wired,
        addresses: vec![address],
    };
    node.handle(start(), Input::Interfaces(&[interface]));
    node
}

fn identity(n: u8) -> Identity {
    Identity::from_secret(&[n + 1; 32])
}

fn ip(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
}

/// Node N of this host has been a live peer for long.
fn meet(node: &mut Node, n: u8, host: u8) {
    let identity = identity(n);
    let card = Card {
        public_key: identity.public_key(),
        exchange_key: identity.exchange_key(),
        tag: [n; 8],
        life: 0,
        name: format!("cam{n}"),
        rank: 1,
        settled: true,
        addresses: vec![CardAddress { ip: ip(host), port: 10_000 + u16::from(n), prefix: 24 }],
        version: "0.1.0".to_owned(),
    };
    let op = say(n, 1, OpKind::Card, Vec::new(), minicbor::to_vec(&card).unwrap());
    assert!(node.ctx.roster.insert(identity.id(), Peer::new(Instant::ZERO, op, card, Held::Alive)));
}

/// Node N says that the subject failed.
fn hear(node: &mut Node, n: u8, reason: &str) {
    let opinion = OpinionBody { epoch: Epoch::new(1, 1).0, life: 0, failed: true, reason: OpinionBody::code(reason) };
    let subject = identity(SUBJECT).id().0.to_vec();
    let op = say(n, 2, OpKind::Opinion, subject, minicbor::to_vec(&opinion).unwrap());
    node.on_applied(start(), &op, &mut BTreeSet::new());
    node.read_notices(start());
}

fn say(n: u8, seq: u64, kind: OpKind, key: Vec<u8>, body: Vec<u8>) -> SignedOp {
    let statement = Statement { kind, key, body, lamport: seq, wall: WallTime(0) };
    SignedOp::sign(&identity(n), MeshId::default(), Epoch::new(1, 1), Seq(seq), statement)
}

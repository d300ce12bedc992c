//! Decides what one node under test is made of, and how others speak to it.

use super::*;
use crate::effect::outbox::Notice;
use crate::effect::{Arrival, Cast, Event, Interface, InterfaceAddress, Medium, Target, Transmit};
use crate::ground::id::{InterfaceIndex, Seq, SessionTag};
use crate::ground::stats::Reject;
use crate::machines::membership::OpinionBody;
use crate::model::identity::Zip215Verifier;
use crate::model::member::{Card, CardAddress, Liveness as Held};
use crate::model::op::{OpKind, SignedOp, Statement};
use crate::model::roster::Peer;
use crate::model::state::StateEntry;
use crate::wire::clock::Ticks;
use crate::wire::codec;
use crate::wire::header::Header;
use crate::wire::message::{Message, Ops, Pong};
use std::net::{IpAddr, SocketAddr};

/// Everything that nodes numbered 1 and up say to one node.
pub(super) struct Bench {
    pub(super) node: Node,
    pub(super) now: Instant,
    pub(super) counters: [u64; 256],
    pub(super) out: Vec<Output>,
}

impl Bench {
    /// A node at 10.0.0.100 and so many peers at 10.0.0.1 and up.
    pub(super) fn new(peers: u8) -> Self {
        Self::with(peers, |_| {})
    }

    pub(super) fn with(peers: u8, change: impl FnOnce(&mut Config)) -> Self {
        let now = Instant::ZERO + Duration::from_secs(100);
        let mut config = Config::new("cam");
        change(&mut config);
        let boot = Boot {
            config,
            identity: identity(100),
            epoch: Epoch::new(1, 1),
            seed: [7; 32],
            port: 10_000,
            wall: WallTime(0),
            saved: Saved::default(),
            verifier: Box::<Zip215Verifier>::default(),
        };
        let mut bench = Self { node: Node::new(now, boot), now, counters: [0; 256], out: Vec::new() };
        let address = InterfaceAddress { address: ip(100), prefix: 24, broadcast: None };
        let interface = Interface {
            index: InterfaceIndex(2),
            name: "eth0".to_owned(),
            mtu: 1_500,
            carrier: true,
            medium: Medium::Wired,
            addresses: vec![address],
        };
        bench.hand(Input::Interfaces(&[interface]));
        (1..=peers).for_each(|n| bench.meet(n, n));
        bench
    }

    /// Node N, whose card lists this host, is a live peer.
    pub(super) fn meet(&mut self, n: u8, host: u8) {
        self.meet_at(n, ip(host));
    }

    pub(super) fn meet_at(&mut self, n: u8, ip: IpAddr) {
        let identity = identity(n);
        let (op, card) = self.card(n, ip);
        // Long enough that its word is believed.
        let long_ago = Instant::ZERO + (self.now.since(Instant::ZERO) - Duration::from_secs(12));
        assert!(self.node.ctx.roster.insert(identity.id(), Peer::new(long_ago, op, card, Held::Alive)));
        let tag = SessionTag([n; 8]);
        assert!(self.node.ctx.sessions.admit(&self.node.ctx.group, tag, identity.id()));
        let session = self.node.ctx.sessions.get_mut(tag).expect("it was admitted");
        session.clock.learn(self.now, Ticks::of(self.now));
        self.node.ctx.out.notice(Notice::Up(identity.id()));
        self.hand(Input::Wake);
    }

    /// The card of node N, signed and read.
    pub(super) fn card(&self, n: u8, ip: IpAddr) -> (SignedOp, Card) {
        let identity = identity(n);
        let card = Card {
            public_key: identity.public_key(),
            exchange_key: identity.exchange_key(),
            tag: [n; 8],
            life: 0,
            name: format!("cam{n}"),
            rank: 1,
            settled: true,
            addresses: vec![CardAddress { ip, port: 10_000, prefix: 24 }],
            version: "0.1.0".to_owned(),
            features: None,
            log_floor: None,
        };
        (self.say(n, 1, OpKind::Card, &[], minicbor::to_vec(&card).unwrap()), card)
    }

    /// A card that the node under test signed in another run, with tag N.
    pub(super) fn own_card(&self, n: u8, epoch: Epoch) -> SignedOp {
        let (_, card) = self.card(100, ip(n));
        let body = minicbor::to_vec(Card { tag: [n; 8], ..card }).unwrap();
        let statement = Statement { kind: OpKind::Card, key: Vec::new(), body, lamport: 1, wall: WallTime(0) };
        SignedOp::sign(&identity(100), self.node.ctx.mesh, epoch, Seq(1), statement)
    }

    pub(super) fn hand(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.out.clear();
        while let Some(output) = self.node.poll_output() {
            self.out.push(output);
        }
    }

    /// A frame sealed in the session with tag N arrives from an address.
    pub(super) fn hear_from(&mut self, n: u8, from: SocketAddr, cast: Cast, message: &Message) {
        self.hear_by(n, Arrival { from, interface: InterfaceIndex(2), cast }, message);
    }

    pub(super) fn hear_by(&mut self, n: u8, arrival: Arrival, message: &Message) {
        self.hear_together(n, arrival, core::slice::from_ref(message));
    }

    /// One frame with all of these.
    pub(super) fn hear_together(&mut self, n: u8, arrival: Arrival, messages: &[Message]) {
        let header = Header { tag: SessionTag([n; 8]), counter: self.counters[usize::from(n)] };
        self.counters[usize::from(n)] += 1;
        let mut text = Vec::new();
        messages.iter().for_each(|message| codec::encode(message, &mut text));
        let mut frame = self.node.ctx.group.session(header.tag).seal(&header, &text);
        self.hand(Input::Datagram(arrival, &mut frame));
    }

    pub(super) fn hear(&mut self, n: u8, message: &Message) {
        self.hear_from(n, address(n), Cast::Unicast, message);
    }

    pub(super) fn hear_op(&mut self, from: u8, op: SignedOp) {
        self.hear(from, &Message::Ops(Ops { ops: vec![op], covered: Vec::new() }));
    }

    pub(super) fn say(&self, n: u8, seq: u64, kind: OpKind, key: &[u8], body: Vec<u8>) -> SignedOp {
        self.say_in(Epoch::new(1, 1), n, seq, (kind, key, body))
    }

    /// Node N says it in this run of its own.
    pub(super) fn say_in(&self, run: Epoch, n: u8, seq: u64, (kind, key, body): (OpKind, &[u8], Vec<u8>)) -> SignedOp {
        let statement = Statement { kind, key: key.to_vec(), body, lamport: seq, wall: WallTime(0) };
        SignedOp::sign(&identity(n), self.node.ctx.mesh, run, Seq(seq), statement)
    }

    pub(super) fn state(&self, n: u8, seq: u64, key: &str, json: Option<String>) -> SignedOp {
        let body = minicbor::to_vec(&StateEntry { json, version: seq, whole: None }).unwrap();
        self.say(n, seq, OpKind::State, key.as_bytes(), body)
    }

    /// Node N says of another that it failed.
    pub(super) fn opine(&mut self, n: u8, seq: u64, subject: u8, reason: &str) {
        let failed =
            OpinionBody { epoch: Epoch::new(1, 1).0, life: 0, failed: true, reason: OpinionBody::code(reason) };
        let op = self.say(n, seq, OpKind::Opinion, &identity(subject).id().0, minicbor::to_vec(&failed).unwrap());
        self.hear_op(n, op);
    }

    pub(super) fn held(&self, n: u8) -> Held {
        self.node.ctx.roster.get(&identity(n).id()).expect("it was met").liveness
    }

    pub(super) fn events(&self) -> Vec<&Event> {
        self.out
            .iter()
            .filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None })
            .collect()
    }

    /// Bytes sent to an address by the last input.
    pub(super) fn sent_to(&self, to: SocketAddr) -> usize {
        self.sent().filter(|sent| sent.target == Target::Address(to, None)).map(|sent| sent.bytes.len()).sum()
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Transmit> {
        self.out.iter().filter_map(|output| if let Output::Transmit(sent) = output { Some(sent) } else { None })
    }

    /// What the last input made it say, and where to.
    pub(super) fn said(&self) -> Vec<(Target, Message)> {
        let read = |sent: &Transmit| {
            let mut bytes = sent.bytes.clone();
            let header = Header::decode(&bytes).unwrap_or_else(|reason| panic!("{} bytes: {reason}", bytes.len()));
            let text = self.node.ctx.group.session(header.tag).open(&header, &mut bytes).expect("it is its own");
            let messages = codec::decode(text).expect("it is its own").messages;
            messages.into_iter().map(|message| (sent.target, message)).collect::<Vec<_>>()
        };
        self.sent().flat_map(read).collect()
    }

    /// Node N answers what it was asked by the last input.
    pub(super) fn answer(&mut self, n: u8) {
        let nonce = |message| if let Message::Ping(ping) = message { Some(ping.nonce) } else { None };
        let said = self.said().into_iter().filter(|(to, _)| *to == Target::Address(address(n), None));
        let asked = said.filter_map(|(_, message)| nonce(message));
        for nonce in asked.collect::<Vec<u64>>() {
            self.hear(n, &Message::Pong(Pong { nonce, root: None, wall_ms: None, log_root: None, clock: None }));
        }
    }

    pub(super) fn dropped(&self, reason: Reject) -> u64 {
        self.node.stats().dropped(reason)
    }

    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let mut all = Vec::new();
        while let Some(wake) = self.node.next_wake().filter(|wake| wake.at <= end) {
            self.now = self.now.max(wake.at);
            self.hand(Input::Wake);
            all.append(&mut self.out);
        }
        self.now = end;
        self.out = all;
    }
}

pub(super) fn identity(n: u8) -> Identity {
    Identity::from_secret(&[n + 1; 32])
}

pub(super) fn ip(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

pub(super) fn address(n: u8) -> SocketAddr {
    SocketAddr::new(ip(n), 10_000)
}

//! Decides what two identities on one machine do together: they join like anybody, call others dead, and fill tables.

use std::net::SocketAddr;

use kodikon_core::effect::{Cast, Target};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, Seq, SessionTag};
use kodikon_core::ground::random::Random;
use kodikon_core::ground::time::WallTime;
use kodikon_core::machines::membership::OpinionBody;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::Priority;
use kodikon_core::model::links::{
    DirectLink, LinksBody, LossClass, LossyIds, MAX_DIRECT, MAX_SEGMENTS, MembersBody, SegmentId, SegmentLink, ShortId,
    ShortIds, members_key,
};
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::clock::Ticks;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::letter::{Carry, DeadLinks, KIND_TEXT, Letter, Path};
use kodikon_core::wire::message::{Beacon, Cookie, Hello, Message, Ops, Ping, Pong, Proof, proof_bytes};

use super::{ETH0, Member, Victim, card, seal};
use crate::chance::pick;
use crate::checks::Watch;
use crate::cluster::Cluster;
use crate::network::Origin;
use crate::network::host::{FIRST_PORT, HostId};

/// Identities of one enemy that everybody takes in, since they prove themselves.
#[derive(Debug)]
pub(super) struct Pair {
    host: HostId,
    both: [Accomplice; 2],
    /// Datagrams overheard so far.
    heard: u64,
}

#[derive(Debug)]
struct Accomplice {
    identity: Identity,
    tag: SessionTag,
    card: SignedOp,
    seq: u64,
    counter: u64,
    letters: u64,
}

/// Letters of one burst of each.
pub(super) const BURST: usize = 150;
/// Their only run.
const EPOCH: Epoch = Epoch((1 << 32) | 1);
/// The HELLO that all answer who need its sender.
const SHOWN_TO_ALL: u8 = 5;

impl Pair {
    pub(super) fn new(random: &mut Random, host: HostId, member: &Member) -> Self {
        let both = ["accomplice-a", "accomplice-b"].map(|name| {
            let identity = Identity::from_secret(&random.bytes());
            let tag = SessionTag(random.bytes());
            let card = super::statement(OpKind::Card, card(&identity, tag, name));
            let card = SignedOp::sign(&identity, member.mesh, EPOCH, Seq(1), card);
            Accomplice { identity, tag, card, seq: 1, counter: 0, letters: 0 }
        });
        Self { host, both, heard: 0 }
    }

    /// Lives on: says that it is here, proves itself to whoever asks, and answers probes.
    pub(super) fn live(&mut self, member: &Member, cluster: &mut Cluster<Watch>) {
        for one in &self.both {
            // What it says of itself is its own affair.
            cluster.observer.truth.hostile(one.identity.id());
            let segment = cluster.network.hosts[self.host.place()].nic(ETH0).and_then(|nic| nic.segment);
            cluster.observer.truth.stands(one.identity.id(), self.host, segment);
        }
        for (from, message) in self.overheard(member, cluster) {
            // All that need an answer; whoever asked somebody else does not mind ours.
            if let Message::Challenge(challenge) = message {
                self.tell(member, cluster, Some(from), |one| one.prove(member, challenge.cookie));
            } else if let Message::Ping(Ping { nonce }) = message {
                let pong = Message::Pong(Pong { nonce, root: None, wall_ms: None, log_root: None, clock: None });
                self.tell(member, cluster, Some(from), |_| pong.clone());
            }
        }
        self.tell(member, cluster, None, |one| Message::Hello(Hello { card: one.card.clone(), index: SHOWN_TO_ALL }));
        let beacon = Beacon { root: 0, heard: 7, turn: None, number: None, log_root: None };
        self.tell(member, cluster, None, |_| Message::Beacon(beacon.clone()));
    }

    /// Both say that somebody failed.
    pub(super) fn slander(&mut self, member: &Member, victim: &Victim, reason: u8, cluster: &mut Cluster<Watch>) {
        let opinion = OpinionBody { epoch: victim.epoch.0, life: u32::MAX, failed: true, reason };
        let body = minicbor::to_vec(&opinion).expect("encoding into memory cannot fail");
        let key = victim.id.0.to_vec();
        self.tell(member, cluster, None, |one| one.say(member, OpKind::Opinion, key.clone(), body.clone()));
    }

    /// Both publish more than anybody may.
    pub(super) fn hoard(&mut self, member: &Member, random: &mut Random, cluster: &mut Cluster<Watch>) {
        let key = random.bits().to_le_bytes().to_vec();
        let json = Some(format!("\"{}\"", "x".repeat(900)));
        let entry = StateEntry { json, version: 1, ..StateEntry::default() };
        let body = minicbor::to_vec(&entry).expect("encoding into memory cannot fail");
        let name = format!("{:016x}", random.bits()).into_bytes();
        self.tell(member, cluster, None, |one| one.say(member, OpKind::State, name.clone(), body.clone()));
        self.tell(member, cluster, None, |one| one.say(member, OpKind::Unknown(99), key.clone(), body.clone()));
    }

    /// Both say that they have a clean link to every node, that they are on segments that others name, and that all are on theirs.
    pub(super) fn boast(&mut self, member: &Member, random: &mut Random, cluster: &mut Cluster<Watch>) {
        let all: Vec<NodeId> = cluster.observer.truth.nodes.iter().filter(|node| node.up).map(|node| node.id).collect();
        let shorts: Vec<ShortId> = all.iter().map(ShortId::of).collect();
        let named: Vec<(SegmentId, ShortId)> = (0..MAX_SEGMENTS)
            .filter_map(|_| {
                let namer = pick(random, &all)?;
                let index = InterfaceIndex(ETH0.0 + u32::try_from(random.below(4)).expect("below 4"));
                Some((SegmentId::of(namer, index), ShortId::of(namer)))
            })
            .collect();
        self.tell(member, cluster, None, |one| {
            let own = (SegmentId::of(&one.identity.id(), ETH0), ShortId::of(&one.identity.id()));
            let segments = named.iter().skip(1).chain([&own]).map(|(segment, namer)| clean(*segment, *namer)).collect();
            let link = |short: &ShortId| DirectLink { peer: ShortIds(vec![*short]), cost: 1, loss: LossClass::CLEAN };
            let direct = shorts.iter().take(MAX_DIRECT).map(link).collect();
            let body = LinksBody { segments, direct, is_joint: true };
            let body = minicbor::to_vec(&body).expect("encoding into memory cannot fail");
            one.say(member, OpKind::Links, Vec::new(), body)
        });
        self.tell(member, cluster, None, |one| {
            let own = one.identity.id();
            let members = ShortIds(shorts.iter().copied().chain([ShortId::of(&own)]).collect());
            let body = MembersBody { index: ETH0.0, members };
            let body = minicbor::to_vec(&body).expect("encoding into memory cannot fail");
            one.say(member, OpKind::Links, members_key(SegmentId::of(&own, ETH0), 0), body)
        });
    }

    /// Both give a burst of letters to the nodes of one host, as urgent as can be; no letter is one that anybody reads.
    pub(super) fn flood(&mut self, member: &Member, victim: HostId, cluster: &mut Cluster<Watch>) {
        let host = &cluster.network.hosts[victim.place()];
        let Some(address) = host.nic(ETH0).and_then(|nic| nic.v4) else { return };
        let Some(node) = cluster.nodes_of(victim).next() else { return };
        let to = cluster.observer.truth.nodes[node].id.0;
        let at = SocketAddr::new(address.into(), FIRST_PORT);
        for _ in 0..BURST {
            self.tell(member, cluster, Some(at), |one| one.letter(to));
        }
    }

    /// What was said since the last look, and by whom.
    fn overheard(&mut self, member: &Member, cluster: &Cluster<Watch>) -> Vec<(SocketAddr, Message)> {
        let Some(tap) = &cluster.tap else { return Vec::new() };
        let new = usize::try_from(tap.total - self.heard).unwrap_or(usize::MAX).min(tap.recorded.len());
        self.heard = tap.total;
        let read = |(from, bytes): &(SocketAddr, Vec<u8>)| {
            let header = Header::decode(bytes).ok()?;
            let mut frame = bytes.clone();
            let text = member.group.session(header.tag).open(&header, &mut frame).ok()?;
            Some((*from, codec::decode(text).ok()?.messages))
        };
        let batches = tap.recorded.iter().skip(tap.recorded.len() - new).filter_map(read);
        batches.flat_map(|(from, messages)| messages.into_iter().map(move |message| (from, message))).collect()
    }

    fn tell(
        &mut self,
        member: &Member,
        cluster: &mut Cluster<Watch>,
        to: Option<SocketAddr>,
        mut say: impl FnMut(&mut Accomplice) -> Message,
    ) {
        let target = to.map_or(Target::Segment(ETH0, Cast::Multicast4), |to| Target::Address(to, None));
        for one in &mut self.both {
            let message = say(one);
            one.counter += 1;
            let frame = seal(member, one.tag, one.counter, &[message]);
            cluster.send_raw(self.host, Origin::Enemy, target, frame);
        }
    }
}

/// A stay on a segment that is as good as can be.
fn clean(segment: SegmentId, namer: ShortId) -> SegmentLink {
    SegmentLink {
        segment,
        mtu: 1_500,
        cost: 1,
        unheard: ShortIds::default(),
        namer: ShortIds(vec![namer]),
        loss: LossClass::CLEAN,
        lossy: LossyIds::default(),
    }
}

impl Accomplice {
    fn letter(&mut self, to: [u8; 16]) -> Message {
        self.letters += 1;
        let letter = Letter {
            origin: self.identity.id().0,
            epoch: EPOCH.0,
            to,
            number: self.letters,
            attempt: 1,
            kind: KIND_TEXT,
            priority: Priority::Critical as u8,
            left_ms: 30_000,
            body: vec![b' '; 1_000],
            tag: [0; 16],
        };
        let (path, dead) = (Path::default(), DeadLinks::default());
        Message::Carry(Carry { number: self.letters, letter, hops: 5, path, dead, fragment: None })
    }

    fn prove(&self, member: &Member, cookie: Cookie) -> Message {
        let signature = self.identity.sign(&proof_bytes(member.mesh, &cookie, &self.tag.0));
        Message::Proof(Proof { card: self.card.clone(), cookie, signature, clock: Ticks::default() })
    }

    fn say(&mut self, member: &Member, kind: OpKind, key: Vec<u8>, body: Vec<u8>) -> Message {
        self.seq += 1;
        let statement = Statement { kind, key, body, lamport: 1, wall: WallTime(0) };
        let op = SignedOp::sign(&self.identity, member.mesh, EPOCH, Seq(self.seq), statement);
        Message::Ops(Ops { ops: vec![op], covered: Vec::new() })
    }
}

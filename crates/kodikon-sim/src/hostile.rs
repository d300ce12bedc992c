//! Decides what an enemy does: a stranger without the key, who records, bends and replays, or a member with the key, who
//! forges, lies and floods besides, and has two identities of its own.

mod pair;
pub mod searches;

use core::time::Duration;
use std::net::SocketAddr;

use kodikon_core::effect::{Cast, Target};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, InterfaceIndex, MeshId, NodeId, Seq, SessionTag};
use kodikon_core::ground::random::Random;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::{HEADER, Header};
use kodikon_core::wire::message::{
    Bye, Cover, Digest, Heard, Hello, Interval, Message, Ops, Pong, Suspicion, bye_bytes,
};
use kodikon_core::wire::seal::GroupKey;

use crate::chance::{between, pick};
use crate::checks::Watch;
use crate::cluster::Cluster;
use crate::hostile::pair::Pair;
use crate::network::Origin;
use crate::network::host::HostId;

/// The first interface behind loop-back.
const ETH0: InterfaceIndex = InterfaceIndex(2);
/// HELLOs in one flood.
const FLOOD: usize = 200;
/// Between two bursts of letters: with [`pair::BURST`] each, far more than a peer may send.
const FLOOD_EVERY: Duration = Duration::from_millis(20);
/// Invented identities: each costs us two signatures, and a receiver cannot know that we tire of making more.
const IDENTITIES: usize = 1_000;

/// An enemy.
#[derive(Debug)]
pub struct Hostile {
    random: Random,
    host: HostId,
    key: Option<Member>,
    pair: Option<Pair>,
    floods: bool,
    lies: bool,
}

/// What a member has that a stranger has not.
#[derive(Debug)]
struct Member {
    group: GroupKey,
    mesh: MeshId,
    /// The node whose session it abuses.
    node: usize,
    /// Identities that nobody will ever prove, with their cards.
    invented: Vec<(SessionTag, SignedOp)>,
}

/// Of so many deeds of a member one is told by its two own identities, who live on with each.
const SLANDERS: u64 = 4;

/// Whom a lie is about.
struct Victim {
    id: NodeId,
    epoch: Epoch,
    secret: [u8; 32],
}

impl Hostile {
    /// A stranger on this host.
    #[must_use]
    pub fn stranger(random: Random, host: HostId) -> Self {
        Self { random, host, key: None, pair: None, floods: false, lies: false }
    }

    /// A member, who abuses the session of this node.
    #[must_use]
    pub fn member(random: Random, host: HostId, node: usize, config: &Config) -> Self {
        let member =
            Member { group: GroupKey::new(&config.group_key()), mesh: config.mesh_id(), node, invented: Vec::new() };
        Self { random, host, key: Some(member), pair: None, floods: false, lies: false }
    }

    /// With two identities of its own besides, which join the mesh.
    #[must_use]
    pub fn with_pair(mut self) -> Self {
        self.pair = self.key.as_ref().map(|member| Pair::new(&mut self.random, self.host, member));
        self
    }

    /// Whose identities do nothing but flood.
    #[must_use]
    pub fn with_flood(mut self) -> Self {
        self.floods = true;
        self
    }

    /// Whose identities say that they have links to all, and that all are on segments of theirs.
    #[must_use]
    pub fn with_lies(mut self) -> Self {
        self.lies = true;
        self
    }

    /// Where it stands.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Whether it has the key.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.key.is_some()
    }

    /// Does something; how long it rests afterwards.
    pub fn act(&mut self, cluster: &mut Cluster<Watch>) -> Duration {
        if self.floods {
            return self.flood_letters(cluster);
        }
        self.conspire(cluster);
        let strikes = if self.key.is_some() { 12 } else { 4 };
        match self.random.below(strikes) {
            0 => self.replay(cluster),
            1 => self.bend(cluster),
            2 => self.send_noise(cluster),
            3 => self.replay_many(cluster),
            4 => self.flood(cluster),
            number => self.lie(cluster, number),
        }
        between(&mut self.random, Duration::from_millis(20), Duration::from_millis(800))
    }

    /// Something recorded, from the sender's own address or from mine.
    fn replay(&mut self, cluster: &mut Cluster<Watch>) {
        let Some((from, bytes)) = self.recorded(cluster) else { return };
        if self.random.below(2) == 0 {
            self.send(cluster, Origin::Enemy, bytes);
        } else {
            cluster.spread_raw(self.host, ETH0, from, bytes);
        }
    }

    fn replay_many(&mut self, cluster: &mut Cluster<Watch>) {
        (0..10).for_each(|_| self.replay(cluster));
    }

    /// Something recorded, with a bit bent or its end cut off.
    fn bend(&mut self, cluster: &mut Cluster<Watch>) {
        let Some((_, mut bytes)) = self.recorded(cluster) else { return };
        let at = self.random.place(bytes.len().max(1));
        if self.random.below(2) == 0 {
            bytes.truncate(at);
        } else if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
        self.send(cluster, Origin::Noise, bytes);
    }

    fn send_noise(&mut self, cluster: &mut Cluster<Watch>) {
        let len = self.random.place(1_500);
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.random.bits().to_le_bytes());
        }
        // Half of the noise looks like a frame from afar.
        if self.random.below(2) == 0 && len > HEADER {
            (bytes[0], bytes[1]) = (1, 0);
        }
        self.send(cluster, Origin::Noise, bytes);
    }

    /// HELLOs of identities that nobody will ever prove.
    fn flood(&mut self, cluster: &mut Cluster<Watch>) {
        for _ in 0..FLOOD {
            let Some(member) = &mut self.key else { return };
            if member.invented.len() < IDENTITIES {
                member.invent(&mut self.random);
            }
            let Some((tag, op)) = pick(&mut self.random, &member.invented) else { return };
            let hello = Message::Hello(Hello { card: op.clone(), index: 0 });
            let frame = seal(member, *tag, self.random.below(1 << 20), &[hello]);
            self.send(cluster, Origin::Enemy, frame);
        }
    }

    /// More letters to somebody than anybody may send, in both identities' own sessions.
    fn flood_letters(&mut self, cluster: &mut Cluster<Watch>) -> Duration {
        let hosts = cluster.network.hosts.len() as u64;
        let victim = HostId(u32::try_from(self.random.below(hosts)).expect("below 2^32"));
        if let (Some(pair), Some(member)) = (&mut self.pair, &self.key) {
            pair.live(member, cluster);
            if victim != self.host {
                pair.flood(member, victim, cluster);
            }
        }
        FLOOD_EVERY
    }

    /// A lie about somebody, told in the session of the node that I abuse.
    fn lie(&mut self, cluster: &mut Cluster<Watch>, number: u64) {
        let Some(victim) = self.victim(cluster) else { return };
        let Some(member) = &self.key else { return };
        let node = member.node;
        if cluster.nodes[node].process.is_none() {
            return;
        }
        let me = Identity::from_secret(&cluster.nodes[node].disk.secret);
        let message = match number {
            5 => Message::Suspicion(Suspicion { subject: victim.id.0, epoch: victim.epoch.0, life: 0 }),
            6 => Message::Heard(Heard { subject: victim.id.0, epoch: victim.epoch.0, age_ms: 0 }),
            7 => {
                let bytes = bye_bytes(member.mesh, &victim.id.0, victim.epoch.0);
                Message::Bye(Bye { epoch: victim.epoch.0, author: victim.id.0, signature: me.sign(&bytes) })
            }
            8 => Message::Digest(self.false_digest(&victim)),
            9 => Message::Pong(Pong {
                nonce: self.random.bits(),
                root: Some(self.random.bits()),
                wall_ms: Some(0),
                log_root: None,
                clock: None,
            }),
            _ => match self.forge(&me, &victim) {
                Some(op) if number == 10 => Message::Ops(Ops { ops: vec![op], covered: Vec::new() }),
                Some(op) => Message::Ops(Ops { ops: vec![op], covered: self.false_digest(&victim).covers }),
                None => return,
            },
        };
        let Some(tap) = &cluster.tap else { return };
        let Some((tag, counter)) = tap.sessions.get(&node).copied() else { return };
        let counter = counter + 1 + self.random.below(20);
        let Some(member) = &self.key else { return };
        let frame = seal(member, tag, counter, &[message]);
        self.send(cluster, Origin::Enemy, frame);
    }

    /// What the two own identities do: mostly they call somebody dead, whose process ended or who fell silent.
    fn conspire(&mut self, cluster: &mut Cluster<Watch>) {
        let victim = self.victim(cluster);
        let (Some(pair), Some(member)) = (&mut self.pair, &self.key) else { return };
        pair.live(member, cluster);
        if self.lies {
            pair.boast(member, &mut self.random, cluster);
        }
        match (self.random.below(SLANDERS), victim) {
            (0, Some(victim)) => pair.slander(member, &victim, 1, cluster),
            (1, Some(victim)) => pair.slander(member, &victim, 0, cluster),
            _ => pair.hoard(member, &mut self.random, cluster),
        }
    }

    /// An op in another's name: the author's id put over mine after signing, or a foreign key's signature.
    fn forge(&mut self, me: &Identity, victim: &Victim) -> Option<SignedOp> {
        let member = self.key.as_ref()?;
        let forged_card = self.random.below(3) == 0;
        let seq = Seq(1 + self.random.below(1_000));
        let (kind, key, body) = if forged_card {
            let real = Identity::from_secret(&victim.secret);
            (OpKind::Card, Vec::new(), card(&real, SessionTag(self.random.bytes()), "forged"))
        } else {
            let entry = StateEntry {
                json: Some("\"forged\"".to_owned()),
                version: self.random.below(1_000_000),
                ..StateEntry::default()
            };
            let body = minicbor::to_vec(&entry).expect("encoding into memory cannot fail");
            (OpKind::State, b"location".to_vec(), body)
        };
        let epoch = if self.random.below(2) == 0 { victim.epoch } else { Epoch(victim.epoch.0 + (1 << 32)) };
        let statement = Statement { kind, key, body, lamport: 1, wall: WallTime(0) };
        let op = SignedOp::sign(me, member.mesh, epoch, seq, statement);
        let mut bytes = minicbor::to_vec(&op).expect("encoding into memory cannot fail");
        let place = bytes.windows(16).position(|window| window == me.id().0)?;
        bytes[place..place + 16].copy_from_slice(&victim.id.0);
        minicbor::decode(&bytes).ok()
    }

    /// Claims to have covered what the victim never said.
    fn false_digest(&mut self, victim: &Victim) -> Digest {
        let last = 1 + self.random.below(1 << 40);
        let intervals = vec![Interval { first: 1, last }];
        let cover = Cover { author: victim.id.0, epoch: victim.epoch.0, intervals };
        Digest {
            covers: vec![cover],
            scope: u64::MAX,
            sums: Vec::new(),
            question: self.random.below(2) == 0,
            ..Digest::default()
        }
    }

    fn victim(&mut self, cluster: &Cluster<Watch>) -> Option<Victim> {
        // In the name of the node I abuse I may say what I like; that is no forgery.
        let own = self.key.as_ref().map(|member| member.node);
        let is_other = |node: &usize| cluster.nodes[*node].run > 0 && Some(*node) != own;
        let all: Vec<usize> = (0..cluster.nodes.len()).filter(is_other).collect();
        let &node = pick(&mut self.random, &all)?;
        let living = &cluster.observer.truth.nodes[node];
        Some(Victim { id: living.id, epoch: living.epoch, secret: cluster.nodes[node].disk.secret })
    }

    fn recorded(&mut self, cluster: &Cluster<Watch>) -> Option<(SocketAddr, Vec<u8>)> {
        let recorded = &cluster.tap.as_ref()?.recorded;
        let place = self.random.place(recorded.len());
        recorded.get(place).cloned()
    }

    /// To everybody, or to one.
    fn send(&mut self, cluster: &mut Cluster<Watch>, origin: Origin, bytes: Vec<u8>) {
        let hosts = u64::try_from(cluster.network.hosts.len()).expect("few hosts");
        let one = HostId(u32::try_from(self.random.below(hosts)).expect("below 2^32"));
        let address = cluster.network.hosts[one.place()].nic(ETH0).and_then(|nic| nic.v4);
        let target = match address {
            Some(address) if self.random.below(2) == 0 => {
                Target::Address(SocketAddr::new(address.into(), crate::network::host::FIRST_PORT), None)
            }
            Some(_) | None => Target::Segment(ETH0, Cast::Multicast4),
        };
        cluster.send_raw(self.host, origin, target, bytes);
    }
}

impl Member {
    fn invent(&mut self, random: &mut Random) {
        let identity = Identity::from_secret(&random.bytes());
        let tag = SessionTag(random.bytes());
        let statement = statement(OpKind::Card, card(&identity, tag, "intruder"));
        let op = SignedOp::sign(&identity, self.mesh, Epoch::new(1, 1), Seq(1), statement);
        self.invented.push((tag, op));
    }
}

/// A card as the wire has it: numbers as in the core's `Card`, which only its owner may build.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct ForgedCard<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    public_key: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    exchange_key: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    tag: [u8; 8],
    #[n(3)]
    life: u32,
    #[n(4)]
    name: &'a str,
    #[n(5)]
    rank: u16,
    #[n(6)]
    settled: bool,
    #[n(7)]
    addresses: Vec<u8>,
    #[n(8)]
    version: &'a str,
}

fn card(identity: &Identity, tag: SessionTag, name: &str) -> Vec<u8> {
    let card = ForgedCard {
        public_key: identity.public_key(),
        exchange_key: identity.exchange_key(),
        tag: tag.0,
        life: 0,
        name,
        rank: 1,
        settled: false,
        addresses: Vec::new(),
        version: "6.6.6",
    };
    minicbor::to_vec(&card).expect("encoding into memory cannot fail")
}

fn statement(kind: OpKind, body: Vec<u8>) -> Statement {
    Statement { kind, key: Vec::new(), body, lamport: 1, wall: WallTime(0) }
}

fn seal(member: &Member, tag: SessionTag, counter: u64, messages: &[Message]) -> Vec<u8> {
    let mut text = Vec::new();
    messages.iter().for_each(|message| codec::encode(message, &mut text));
    member.group.session(tag).seal(&Header { tag, counter }, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodikon_core::model::member::Card;

    #[test]
    fn a_forged_card_is_read_as_a_card() {
        let identity = Identity::from_secret(&[1; 32]);
        let read = Card::parse(&card(&identity, SessionTag([2; 8]), "intruder")).unwrap();
        assert_eq!((read.public_key, read.name.as_str()), (identity.public_key(), "intruder"));
    }
}

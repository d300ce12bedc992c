//! Decides what every machine may see and touch: one context, owned by `Node`, handed to one machine at a time.

use crate::effect::outbox::Outbox;
use crate::effect::{Interface, Medium};
use crate::ground::config::Config;
use crate::ground::excess::Offenders;
use crate::ground::id::{Epoch, InterfaceIndex, Life, MeshId, NodeId, SessionTag};
use crate::ground::random::Random;
use crate::ground::stats::Stats;
use crate::ground::time::{Duration, Instant, WallTime};
use crate::model::identity::{Identity, Verifier};
use crate::model::member::is_same_network;
use crate::model::op::SignedOp;
use crate::model::roster::{Peer, Roster};
use crate::wire::seal::{GroupKey, Sessions};
use std::net::IpAddr;

/// Who this node is in this run.
#[derive(Debug)]
pub struct Myself {
    /// The secret identity.
    pub identity: Identity,
    /// The same in public.
    pub id: NodeId,
    /// This run.
    pub epoch: Epoch,
    /// Names our frames.
    pub tag: SessionTag,
    /// Raised to refute verdicts.
    pub life: Life,
    /// Rank of our name.
    pub rank: u16,
    /// Whether the rank stands.
    pub settled: bool,
    /// Our card as last signed.
    pub card: Option<SignedOp>,
    /// The port of our unicast sockets.
    pub port: u16,
}

/// What machines share. `out` is part of it, so that handlers take `now` first and the context last.
#[derive(Debug)]
pub struct Context {
    /// What can be set.
    pub config: Config,
    /// Our mesh.
    pub mesh: MeshId,
    /// Who we are.
    pub me: Myself,
    /// The key all members share.
    pub group: GroupKey,
    /// Sessions that frames are placed by.
    pub sessions: Sessions,
    /// Peers.
    pub roster: Roster,
    /// The host's interfaces that can be used now.
    pub interfaces: Vec<Interface>,
    /// Chance.
    pub random: Random,
    /// Counters.
    pub stats: Stats,
    /// Who went beyond its share.
    pub offenders: Offenders,
    /// Checks signatures.
    pub verifier: Box<dyn Verifier>,
    /// The wall clock at the clock's beginning: wall time for people is this plus `now`.
    pub wall_at_start: WallTime,
    /// When this node first tells others that it lives: at random within a period, so that nodes started by one power switch do not speak at
    /// one moment.
    pub first_beat: Instant,
    /// Wishes.
    pub out: Outbox,
}

impl Context {
    /// The next of the moments that lie this far from each other, in all machines the same and the heartbeats' own: what is looked at now
    /// and then is looked at together, since it is the waking that costs.
    #[must_use]
    pub fn next_tick(&self, now: Instant, period: Duration) -> Instant {
        now.next_tick(period, self.first_beat)
    }

    /// Our wall clock, for people.
    #[must_use]
    pub fn wall(&self, now: Instant) -> WallTime {
        WallTime(self.wall_at_start.0.saturating_add(now.as_nanos() / 1_000_000))
    }

    /// The usable interface with this number.
    #[must_use]
    pub fn interface(&self, index: InterfaceIndex) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    /// Whether an address is one of this host's.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.interfaces.iter().any(|interface| interface.has(ip))
    }

    /// Whether an address belongs to one of our networks: a datagram to it passes no router. Of any interface, since what
    /// another process of this host sends from its own address arrives by loopback.
    #[must_use]
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        let is_near = ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut networks = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        is_near || networks.any(|held| is_same_network(held.address, ip, held.prefix))
    }

    /// How often each of those present may send a beacon if all of them together send ten a second.
    #[must_use]
    pub fn crowd_interval(&self) -> Duration {
        Duration::from_millis(100 * self.roster.near_count() as u64)
    }

    /// Silence after which a peer is held dead whatever else is true: `heartbeat_timeout`, or three beacons in segments so large
    /// that these are rarer.
    #[must_use]
    pub fn hard_bound(&self) -> Duration {
        self.config.heartbeat_timeout.max(self.crowd_interval() * 3)
    }

    /// Whoever was not heard for so much of the hard bound is no link any more, whatever others say of it, and must answer for itself
    /// to be one again: after two fifths it was asked (docs/machines/liveness.md), and at the bound others must be known to hear it, or
    /// it is called failed.
    #[must_use]
    pub fn hearing(&self) -> Duration {
        self.hard_bound() * 3 / 5
    }

    /// Whether any interface leads out of this host, or the one on which the peer was heard (loopback) can be used.
    /// Without one its silence proves nothing.
    #[must_use]
    pub fn has_carrier_to(&self, peer: &Peer) -> bool {
        let leads_out = self.interfaces.iter().any(|interface| interface.medium != Medium::Loopback);
        leads_out || peer.paths.iter().filter_map(|path| path.interface).any(|index| self.interface(index).is_some())
    }

    /// Checks a signature, and counts it.
    pub fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        self.stats.signatures_checked += 1;
        self.verifier.verify(public_key, message, signature)
    }

    /// Checks an op's signature, and counts it.
    pub fn verify_op(&mut self, op: &SignedOp, public_key: &[u8; 32]) -> bool {
        self.stats.signatures_checked += 1;
        op.verify(public_key, self.mesh, self.verifier.as_mut())
    }
}

//! Decides what an enemy hears and how it sends, and which datagrams no node may accept.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use kodikon_core::effect::{Cast, Target, Transmit};
use kodikon_core::ground::id::{InterfaceIndex, SessionTag};
use kodikon_core::wire::header::Header;

use crate::cluster::process::Process;
use crate::cluster::{Cluster, Happening, Observer};
use crate::network::host::HostId;
use crate::network::{Frame, Letter, Origin, Passage, Socket};
use crate::trace::{Mark, digest};

/// What an enemy has heard: everything that was sent lately.
#[derive(Debug)]
pub struct Tap {
    /// The host it stands on.
    pub ear: HostId,
    /// Datagrams and where they came from, the newest last.
    pub recorded: VecDeque<(SocketAddr, Vec<u8>)>,
    /// How many there were in all.
    pub total: u64,
    /// By node: the session of its frames and their highest counter.
    pub sessions: BTreeMap<usize, (SessionTag, u64)>,
    /// Whose each session is or was: what an enemy plays may be of a run that ended.
    owners: BTreeMap<SessionTag, usize>,
}

impl Tap {
    /// An enemy on this host, who has heard nothing yet.
    #[must_use]
    pub fn new(ear: HostId) -> Self {
        Self { ear, recorded: VecDeque::new(), total: 0, sessions: BTreeMap::new(), owners: BTreeMap::new() }
    }
}

/// The port an enemy sends from; no node has it.
const ENEMY_PORT: u16 = 31_337;
/// Datagrams an enemy remembers.
const RECORDED: usize = 512;

impl<O: Observer> Cluster<O> {
    /// A datagram of no node's making leaves a host.
    pub fn send_raw(&mut self, host: HostId, origin: Origin, target: Target, bytes: Vec<u8>) {
        self.trace.mark(self.now, Mark::Sent, usize::MAX >> 40, digest(&bytes));
        let mut passages = std::mem::take(&mut self.passages);
        let sender = Socket { host, port: ENEMY_PORT };
        self.network.send(self.now, Letter { origin, sender, bytes }, target, &mut passages);
        self.passages = passages;
        self.enter_passages();
    }

    /// A datagram reaches a whole segment as if it came from the given address.
    pub fn spread_raw(&mut self, host: HostId, interface: InterfaceIndex, from: SocketAddr, bytes: Vec<u8>) {
        self.trace.mark(self.now, Mark::Sent, usize::MAX >> 40, digest(&bytes));
        let segment = self.network.hosts[host.place()].nic(interface).and_then(|nic| nic.segment);
        let Some(segment) = segment.filter(|_| self.network.is_listening(host, interface, host)) else { return };
        let sender = Socket { host, port: ENEMY_PORT };
        let frame = Rc::new(Frame { bytes, sender, from, cast: Cast::Multicast4, origin: Origin::Enemy });
        self.agenda.enter(self.now, Happening::Pass(Passage::Spread { segment, frame }));
    }

    pub(super) fn overhear(&mut self, node: usize, transmit: &Transmit) {
        let slot = &self.nodes[node];
        let address = self.network.hosts[slot.host.place()].nic(InterfaceIndex(2)).and_then(|nic| nic.v4);
        let (Some(tap), Some(address)) = (&mut self.tap, address) else { return };
        if let Ok(header) = Header::decode(&transmit.bytes) {
            tap.sessions.insert(node, (header.tag, header.counter));
            tap.owners.insert(header.tag, node);
        }
        // An enemy has ears where it stands, not on both sides of a partition.
        if !self.network.is_linked(slot.host, tap.ear) {
            return;
        }
        if tap.recorded.len() >= RECORDED {
            tap.recorded.pop_front();
        }
        tap.total += 1;
        tap.recorded.push_back((SocketAddr::new(address.into(), slot.port), transmit.bytes.clone()));
    }

    /// Whether a process must not accept a datagram: `Some(None)` if it is not sealed, `Some(Some(sender))` if it is the
    /// sender's in its present session and was heard before. The latter is watched where an enemy is about.
    pub(super) fn forbidden(
        &mut self,
        (node, process): (usize, &mut Process),
        bent: Option<u64>,
        frame: &Frame,
    ) -> Option<Option<usize>> {
        match (bent.is_some(), frame.origin == Origin::Noise) {
            (false, false) => {}
            // Bent twice it may be straight again: that has happened.
            (true, true) => return None,
            (true, false) | (false, true) => return Some(None),
        }
        let tap = self.tap.as_ref()?;
        let header = Header::decode(&frame.bytes).ok()?;
        // An enemy's replay is its first sender's frame, which its session tag names.
        let by_tag = || tap.owners.get(&header.tag).copied();
        let sender = self.node_at(frame.sender).or_else(by_tag)?;
        let is_current = tap.sessions.get(&sender)?.0 == header.tag;
        let known = process.recall(self.now, header, &frame.bytes, || self.observer.is_peer(node, sender));
        if frame.origin == Origin::Enemy && known.ahead {
            self.observer.echo(self.now, node, sender);
        }
        (known.again && is_current).then_some(Some(sender))
    }
}

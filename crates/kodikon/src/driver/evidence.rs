//! Decides what the loop notes about its machine's network, for `doctor` to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kodikon_core::effect::{Arrival, Cast, Event, Interface, Target};
use kodikon_core::ground::id::InterfaceIndex;
use kodikon_core::ground::stats::{Reject, Stats};
use kodikon_core::model::member::CardAddress;

use crate::api::StatsDoc;
use crate::doctor::{
    CastUse, Foreign, IdentityUse, InterfaceUse, PortUse, ReceiveBuffer, Refusals, Skew, Symptoms, host,
};
use crate::interfaces::Choice;
use crate::mesh::View;
use crate::socket::{Discovery, Family, OpenError, SendStats, SocketReport, StreamStats, UnicastSockets};

/// Senders that are told apart on one interface and kind of address; a switch full of them proves no more than these.
const SENDERS_MAX: usize = 64;
/// Peers that refused us, kept by address.
const REFUSERS_MAX: usize = 16;
/// What the sockets ask the kernel for; it grants twice that on its own books.
const RECEIVE_BUFFER_WANTED: u64 = 8 << 20;

/// What the driver itself counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DriverCounts {
    /// What became of datagrams handed to the kernel.
    pub(crate) sends: SendStats,
    /// What became of streams.
    pub(crate) streams: StreamStats,
    /// Streams open now.
    pub(crate) streams_open: u64,
    /// Datagrams that the kernel dropped because we did not read fast enough.
    pub(crate) kernel_drops: u64,
    /// Addresses of which ICMP said that nobody listens.
    pub(crate) unreachable: u64,
    /// Suspensions of the machine and steps of its wall clock.
    pub(crate) disturbances: u64,
    /// Writes to disk that failed.
    pub(crate) store_failures: u64,
    /// Events told.
    pub(crate) events: u64,
}

impl DriverCounts {
    /// Enters them into what `stats` shows.
    pub(crate) fn add_to(&self, doc: &mut StatsDoc) {
        for (name, value) in [
            ("send_buffer_full", self.sends.full),
            ("send_too_long", self.sends.too_long),
            ("send_no_way", self.sends.no_way),
            ("send_refused", self.sends.refused),
            ("kernel_receive_buffer", self.kernel_drops),
        ] {
            doc.drops.insert(name.to_owned(), value);
        }
        for (name, value) in [
            ("streams_refused", self.streams.refused),
            ("streams_silent", self.streams.silent),
            ("streams_broken", self.streams.broken),
            ("unreachable", self.unreachable),
            ("disturbances", self.disturbances),
            ("store_failures", self.store_failures),
            ("events", self.events),
        ] {
            doc.counters.insert(name.to_owned(), value);
        }
        doc.queues.insert("streams".to_owned(), self.streams_open);
    }
}

/// What is noted while the node runs.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) counts: DriverCounts,
    /// All interfaces of the host.
    pub(crate) interfaces: Vec<Interface>,
    /// What is done with them.
    pub(crate) choice: Choice,
    sent: BTreeMap<(InterfaceIndex, Cast), u64>,
    heard: BTreeMap<(InterfaceIndex, Cast), BTreeSet<SocketAddr>>,
    clones: u64,
    restored: u64,
    refused_by: Vec<(String, usize)>,
}

/// What the evidence is seen together with.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) view: &'a View,
    pub(crate) discovery: &'a Discovery,
    pub(crate) udp: &'a UnicastSockets,
    pub(crate) discovery_port: u16,
    pub(crate) own_name: &'a str,
    pub(crate) max_peers: usize,
    pub(crate) max_peers_origin: Option<&'a str>,
    pub(crate) is_keyed: bool,
}

impl Evidence {
    /// Notes what is there now.
    pub(crate) fn note_interfaces(&mut self, interfaces: Vec<Interface>, choice: Choice) {
        let is_there = |index: InterfaceIndex| interfaces.iter().any(|interface| interface.index == index);
        self.sent.retain(|(index, _), _| is_there(*index));
        self.heard.retain(|(index, _), _| is_there(*index));
        (self.interfaces, self.choice) = (interfaces, choice);
    }

    /// Notes a datagram that leaves for a whole segment.
    pub(crate) fn note_sent(&mut self, target: Target) {
        if let Target::Segment(index, cast) = target {
            *self.sent.entry((index, cast)).or_default() += 1;
        }
    }

    /// Notes that a member of the mesh was heard on the discovery port.
    pub(crate) fn note_heard(&mut self, arrival: Arrival) {
        // The kernel's own numbers only: a datagram of an interface that is just gone must not make an entry.
        if self.interfaces.iter().all(|interface| interface.index != arrival.interface) {
            return;
        }
        let senders = self.heard.entry((arrival.interface, arrival.cast)).or_default();
        if senders.len() < SENDERS_MAX {
            senders.insert(arrival.from);
        }
    }

    /// Notes what an event says about this machine.
    pub(crate) fn note_event(&mut self, event: &Event) {
        match event {
            Event::Cloned { .. } => self.clones += 1,
            Event::Restored { .. } => self.restored += 1,
            Event::RefusedBy { max_peers, address } => {
                let address = address.to_string();
                self.refused_by.retain(|(known, _)| *known != address);
                if self.refused_by.len() >= REFUSERS_MAX {
                    self.refused_by.remove(0);
                }
                self.refused_by.push((address, *max_peers as usize));
            }
            Event::PeerUp { .. }
            | Event::PeerSuspect { .. }
            | Event::PeerFailed { .. }
            | Event::PeerLeft { .. }
            | Event::State { .. }
            | Event::Isolated(_)
            | Event::NameClash { .. }
            | Event::Refused { .. }
            | _ => {}
        }
    }

    /// Everything the node knows for `doctor`; what only the machine knows (firewall) is for the caller to add.
    pub(crate) fn symptoms(&self, scene: &Scene<'_>) -> Symptoms {
        let view = scene.view;
        let alive = || view.peers.iter().filter(|peer| peer.liveness.is_present());
        Symptoms {
            uptime: None,
            discovery_port: scene.discovery_port,
            port: Some(port_use(scene.discovery)),
            interfaces: Some(self.interfaces.iter().map(|interface| self.interface_use(interface, view)).collect()),
            firewall: None,
            receive_buffer: receive_buffer(&reports(scene.discovery, scene.udp)),
            skews: Some(
                alive().filter_map(|peer| Some(Skew { node_id: peer.name.clone(), skew_ms: peer.skew_ms? })).collect(),
            ),
            own_version: env!("CARGO_PKG_VERSION").to_owned(),
            versions: Some(alive().map(|peer| (peer.name.clone(), peer.version.clone())).collect()),
            identity: Some(IdentityUse {
                name: scene.own_name.to_owned(),
                shown: view.name.clone(),
                clones: self.clones,
                restored: self.restored,
            }),
            refusals: Some(Refusals {
                limit: scene.max_peers,
                origin: scene.max_peers_origin.map(str::to_owned),
                keyed: scene.is_keyed,
                held: view.peers.len(),
                refused: view.stats.peers_refused,
                refused_by: self.refused_by.clone(),
            }),
            foreign: Some(foreign(&view.stats)),
        }
    }

    fn interface_use(&self, interface: &Interface, view: &View) -> InterfaceUse {
        let is_neighbour =
            |address: SocketAddr| interface.addresses.iter().any(|own| shares(own.address, own.prefix, address.ip()));
        let present = view.peers.iter().filter(|peer| peer.liveness.is_present());
        let neighbours = present.filter(|peer| peer.address.is_some_and(is_neighbour)).count();
        let cast_use = |cast: Cast| CastUse {
            name: cast_name(cast),
            sent: self.sent.get(&(interface.index, cast)).copied().unwrap_or(0),
            confirmed: None,
            heard: count(self.heard.get(&(interface.index, cast)).map_or(0, BTreeSet::len)),
        };
        InterfaceUse {
            name: interface.name.clone(),
            unused: (!self.choice.usable.contains(&interface.index)).then(|| why_unused(interface).to_owned()),
            loopback: interface.medium == kodikon_core::effect::Medium::Loopback,
            neighbours: count(neighbours),
            casts: Cast::GROUPS.map(cast_use).into(),
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn cast_name(cast: Cast) -> &'static str {
    match cast {
        Cast::Unicast => "unicast",
        Cast::Multicast4 => "multicast v4",
        Cast::Multicast6 => "multicast v6",
        Cast::Broadcast => "broadcast",
    }
}

fn why_unused(interface: &Interface) -> &'static str {
    use kodikon_core::effect::Medium;
    match (interface.carrier, interface.addresses.is_empty(), interface.medium) {
        (false, _, _) => "down or without a carrier",
        (true, true, _) => "without an address",
        (true, false, Medium::Loopback) => "this host alone",
        (true, false, Medium::Virtual) => "a tunnel, or not asked for",
        (true, false, Medium::Wired | Medium::Wireless) => "not asked for",
    }
}

/// Whether an address lies in the network of our own one.
fn shares(own: IpAddr, prefix: u8, other: IpAddr) -> bool {
    let card = |ip| CardAddress { ip, port: 0, prefix };
    card(own).shares_network(&card(other))
}

fn port_use(discovery: &Discovery) -> PortUse {
    match discovery.problems().next() {
        None => PortUse::Ours,
        Some(OpenError::PortTaken { holder, .. }) => PortUse::Taken {
            holder: holder.as_ref().map(|holder| host::Holder { pid: holder.pid, name: holder.name.clone() }),
        },
        Some(error) => PortUse::Failed { error: error.to_string() },
    }
}

/// The sockets that are open.
pub(crate) fn reports(discovery: &Discovery, udp: &UnicastSockets) -> Vec<SocketReport> {
    let discovery = [Family::V4, Family::V6].into_iter().filter_map(|family| discovery.socket(family)?.report().ok());
    let unicast = [Family::V4, Family::V6].into_iter().filter_map(|family| udp.socket(family)?.report().ok());
    discovery.chain(unicast).collect()
}

fn receive_buffer(reports: &[SocketReport]) -> Option<ReceiveBuffer> {
    let granted = reports.iter().map(|report| report.receive_buffer as u64).min()?;
    let overflows = reports.iter().filter_map(|report| report.dropped).map(u64::from).sum();
    Some(ReceiveBuffer { wanted: RECEIVE_BUFFER_WANTED, granted, overflows })
}

fn foreign(stats: &Stats) -> Foreign {
    Foreign {
        sealed: stats.dropped(Reject::Seal) + stats.dropped(Reject::KeyEpoch),
        unknown: stats.dropped(Reject::FrameType) + stats.dropped(Reject::Length),
    }
}

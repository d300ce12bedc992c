//! Decides what the loop notes about its machine's network, for `doctor` to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use kodikon_core::effect::{Arrival, Cast, Event, Interface, InterfaceAddress, Target};
use kodikon_core::ground::id::{InterfaceIndex, NodeId};
use kodikon_core::ground::stats::Stats;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::member::CardAddress;

use crate::api::StatsDoc;
use crate::doctor::{
    CastUse, Foreign, IdentityUse, InterfaceUse, LogUse, Offences, PortUse, ReceiveBuffer, Refusals, Skew, StreamUse,
    Symptoms,
};
use crate::driver::search_times::SearchTimes;
use crate::driver::strangers::Strangers;
use crate::interfaces::Choice;
use crate::mesh::View;
use crate::socket::{Discovery, Family, OpenError, SendStats, SocketReport, StreamEvent, StreamStats, UnicastSockets};

/// Senders that are told apart on one interface and kind of address; a switch full of them proves no more than these.
const SENDERS_MAX: usize = 64;
/// Peers that refused us, kept by address.
const REFUSERS_MAX: usize = 16;
/// By then beacons have been exchanged where they get through at all: six rounds of them.
const REPORTS_WITHIN: Duration = Duration::from_secs(30);
/// A connection that failed longer ago may not be wanted any more: the core tries again within a minute.
const STREAM_FAILURE_TELLS: Duration = Duration::from_secs(150);
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
    /// Datagrams that came over an interface other than those named.
    pub(crate) elsewhere: u64,
    /// Datagrams and frames held back because the run they belong to was not on disk yet.
    pub(crate) unkept: u64,
    /// Events told.
    pub(crate) events: u64,
    /// Messages dropped because they say nothing that an honest peer would.
    pub(crate) malformed: u64,
    /// How long searches took that have ended.
    pub(crate) searches: SearchTimes,
}

impl DriverCounts {
    /// Enters them into what `stats` shows.
    pub(crate) fn add_to(&self, doc: &mut StatsDoc) {
        for (name, value) in [
            ("send_buffer_full", self.sends.full),
            ("send_too_long", self.sends.too_long),
            ("send_no_way", self.sends.no_way),
            ("send_refused", self.sends.refused),
            ("send_unkept_run", self.unkept),
            ("other_interface", self.elsewhere),
            ("kernel_receive_buffer", self.kernel_drops),
            ("message_payload", self.malformed),
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
        self.searches.add_to(doc);
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
    strangers: Strangers,
    /// Peers to whom connections failed since the last that stood: how often, and when last.
    failed_streams: BTreeMap<NodeId, (u32, Instant)>,
}

/// What the evidence is seen together with.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) view: &'a View,
    /// What peers report of how they hear each interface; see [`kodikon_core::node::Node::reports`].
    pub(crate) reports: &'a [(InterfaceIndex, usize, [usize; 3])],
    /// By which ways this node heard itself lately; see [`kodikon_core::node::Node::echoes`].
    pub(crate) echoes: &'a [(InterfaceIndex, u8)],
    /// Interfaces that were asked for and are not there.
    pub(crate) absent: &'a [String],
    pub(crate) discovery: &'a Discovery,
    pub(crate) udp: &'a UnicastSockets,
    pub(crate) discovery_port: u16,
    pub(crate) own_port: u16,
    pub(crate) own_name: &'a str,
    pub(crate) max_peers: usize,
    pub(crate) max_peers_origin: Option<&'a str>,
    pub(crate) is_keyed: bool,
    /// Whether nodes are near that have this mesh's name and key and another policy of deletes.
    pub(crate) other_policy: bool,
    pub(crate) log: LogUse,
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

    /// Looks at what came from outside the mesh.
    pub(crate) fn note_strangers(&mut self, now: Instant, stats: &Stats) {
        self.strangers.note(now, stats);
    }

    /// Notes what became of a connection that the core wanted.
    pub(crate) fn note_stream(&mut self, now: Instant, event: &StreamEvent) {
        match event {
            StreamEvent::Opened { peer, .. } => _ = self.failed_streams.remove(peer),
            StreamEvent::Failed { peer, .. } => {
                self.failed_streams.retain(|_, (_, at)| now.since(*at) < STREAM_FAILURE_TELLS);
                if self.failed_streams.len() < SENDERS_MAX {
                    let (times, at) = self.failed_streams.entry(*peer).or_insert((0, now));
                    (*times, *at) = (*times + 1, now);
                }
            }
            StreamEvent::Offered { .. } | StreamEvent::Frame { .. } | StreamEvent::Ended { .. } => {}
        }
    }

    fn stream_use(&self, view: &View) -> StreamUse {
        let lately = |at: &Instant| view.at.since(*at) < STREAM_FAILURE_TELLS;
        let present = view.peers.iter().filter(|peer| peer.liveness.is_present());
        // One failure may be a peer that was just starting.
        let fails = |id: &NodeId| self.failed_streams.get(id).is_some_and(|(times, at)| *times > 1 && lately(at));
        StreamUse {
            standing: view.driver.streams_open,
            failed: present.filter(|peer| fails(&peer.id)).map(|peer| peer.name.clone()).collect(),
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
            uptime: Some(view.at.since(Instant::ZERO)),
            discovery_port: scene.discovery_port,
            own_port: Some(scene.own_port),
            port: Some(port_use(scene.discovery)),
            interfaces: Some(self.interfaces.iter().map(|interface| self.interface_use(interface, scene)).collect()),
            firewall: None,
            receive_buffer: receive_buffer(&reports(scene.discovery, scene.udp)),
            offences: Some(
                alive()
                    .map(|peer| Offences { node_id: peer.name.clone(), heard: peer.datagrams, beyond: peer.beyond })
                    .collect(),
            ),
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
            foreign: Some(Foreign { other_policy: scene.other_policy, ..self.strangers.lately(view.at, &view.stats) }),
            streams: Some(self.stream_use(view)),
            absent: scene.absent.to_vec(),
            log: Some(scene.log.clone()),
        }
    }

    fn interface_use(&self, interface: &Interface, scene: &Scene<'_>) -> InterfaceUse {
        let report = scene.reports.iter().find(|(index, _, _)| *index == interface.index);
        let (reporters, confirmed) = report.map_or((0, [0; 3]), |(_, peers, ways)| (*peers, *ways));
        let echo = scene.echoes.iter().find(|(index, _)| *index == interface.index).map_or(0, |(_, echo)| *echo);
        // A peer reports with its first beacon, and may have spoken it before it could hear us.
        let has_settled = scene.view.at.since(Instant::ZERO) >= REPORTS_WITHIN;
        let cast_use = |(cast, confirmed): (Cast, usize)| CastUse {
            name: cast_name(cast),
            sent: self.sent.get(&(interface.index, cast)).copied().unwrap_or(0),
            confirmed: (confirmed > 0 || (reporters > 0 && has_settled)).then_some(count(confirmed)),
            echoed: echo & cast.bit() != 0,
            heard: count(self.heard.get(&(interface.index, cast)).map_or(0, BTreeSet::len)),
        };
        InterfaceUse {
            name: interface.name.clone(),
            unused: (!self.choice.usable.contains(&interface.index)).then(|| why_unused(interface).to_owned()),
            loopback: interface.medium == kodikon_core::effect::Medium::Loopback,
            neighbours: count(reporters.max(neighbours(interface, scene.view))),
            casts: Cast::GROUPS.into_iter().zip(confirmed).map(cast_use).collect(),
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

/// Peers whose address lies in a network of this interface.
fn neighbours(interface: &Interface, view: &View) -> usize {
    let card = |ip, prefix| CardAddress { ip, port: 0, prefix };
    let is_near = |address: SocketAddr| {
        let shares =
            |own: &InterfaceAddress| card(own.address, own.prefix).shares_network(&card(address.ip(), own.prefix));
        interface.addresses.iter().any(shares)
    };
    let present = view.peers.iter().filter(|peer| peer.liveness.is_present());
    present.filter(|peer| peer.address.is_some_and(is_near)).count()
}

fn port_use(discovery: &Discovery) -> PortUse {
    match discovery.problems().next() {
        None => PortUse::Ours,
        Some(OpenError::PortTaken { holder, .. }) => PortUse::Taken { holder: holder.clone() },
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

#[cfg(test)]
mod tests {
    use kodikon_core::effect::Medium;

    use super::*;

    fn interface(index: u32) -> Interface {
        Interface {
            index: InterfaceIndex(index),
            name: format!("eth{index}"),
            mtu: 1_500,
            carrier: true,
            medium: Medium::Wired,
            addresses: Vec::new(),
        }
    }

    fn heard(port: usize, index: u32) -> Arrival {
        let from = SocketAddr::from(([192, 0, 2, 1], u16::try_from(port).unwrap()));
        Arrival { from, interface: InterfaceIndex(index), cast: Cast::Multicast4 }
    }

    #[test]
    fn what_strangers_can_add_to_is_bounded_and_goes_with_its_interface() {
        let mut evidence = Evidence::default();
        evidence.note_interfaces(vec![interface(1)], Choice::default());
        for n in 0..SENDERS_MAX + 9 {
            evidence.note_heard(heard(n + 1, 1));
            evidence.note_heard(heard(n + 1, 2));
            let address = SocketAddr::from(([192, 0, 2, 1], u16::try_from(n + 1).unwrap()));
            evidence.note_event(&Event::RefusedBy { max_peers: 10, address });
            evidence.note_event(&Event::RefusedBy { max_peers: 20, address });
        }
        assert_eq!(
            evidence.heard.values().map(BTreeSet::len).collect::<Vec<_>>(),
            [SENDERS_MAX],
            "interface 2 is not there"
        );
        assert_eq!(evidence.refused_by.len(), REFUSERS_MAX);
        assert!(evidence.refused_by.iter().all(|(_, limit)| *limit == 20), "the newest word of each counts");

        evidence.note_interfaces(vec![interface(2)], Choice::default());
        assert!(evidence.heard.is_empty());
    }

    #[test]
    fn a_peer_whose_address_lies_in_the_interfaces_network_is_a_neighbour() {
        let own = InterfaceAddress { address: [192, 0, 2, 7].into(), prefix: 24, broadcast: None };
        let interface = Interface { addresses: vec![own], ..interface(1) };
        assert_eq!(neighbours(&interface, &View::default()), 0);
        let peer = |address: &str| kodikon_core::effect::PeerView {
            address: Some(address.parse().unwrap()),
            ..crate::testing::peer_view(NodeId::default(), "peer")
        };
        let peers = ["192.0.2.9:10000", "198.51.100.9:10000", "[fd00::1]:10000"].map(peer).into();
        assert_eq!(neighbours(&interface, &View { peers, ..View::default() }), 1);
    }
}

//! Decides what a host is on the network: its interfaces, their addresses, and how the kernel picks one to send by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kodikon_core::effect::{Interface, InterfaceAddress, Medium};
use kodikon_core::ground::id::InterfaceIndex;

use crate::moment::Moment;
use crate::network::quality::BurstState;

/// A machine of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostId(pub u32);

impl HostId {
    /// As a place in a table of hosts.
    #[must_use]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// A set of hosts that hear each other's broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// As a place in a table of segments.
    #[must_use]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// The kernel's number of the loop-back interface.
pub const LOOPBACK: InterfaceIndex = InterfaceIndex(1);
/// The first port of unicast sockets; a host's second node takes the next.
pub const FIRST_PORT: u16 = 10_000;
/// Bytes that UDP and IPv4 put in front of a frame.
pub const HEADERS_V4: u32 = 28;
/// Bytes that UDP and IPv6 put in front of a frame.
pub const HEADERS_V6: u32 = 48;

/// A network interface.
#[derive(Debug, Clone)]
pub struct Nic {
    /// What it is plugged into; `None` for loop-back.
    pub segment: Option<SegmentId>,
    /// Switched on by the administrator.
    pub up: bool,
    /// Whether its cable is in.
    pub carrier: bool,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 link-local address.
    pub v6: Option<Ipv6Addr>,
    /// Bytes of an IP packet at most.
    pub mtu: u32,
    /// In which spell of loss it is.
    pub burst: BurstState,
    /// Until when its queue is busy sending.
    pub busy: Moment,
}

/// Hosts of one segment share the first two bytes.
pub const PREFIX_V4: u8 = 16;

impl Nic {
    /// The broadcast address of its network.
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        self.v4.map(|address| match address.octets() {
            [127, ..] => Ipv4Addr::new(127, 255, 255, 255),
            [a, b, ..] => Ipv4Addr::new(a, b, 255, 255),
        })
    }

    fn reaches(&self, ip: IpAddr) -> bool {
        match (self.v4, ip) {
            (Some(own), IpAddr::V4(other)) => own.octets()[..2] == other.octets()[..2],
            (None, IpAddr::V4(_)) | (_, IpAddr::V6(_)) => false,
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == Some(v6),
        }
    }
}

/// A machine: its interfaces and what its kernel lets through.
#[derive(Debug, Clone)]
pub struct Host {
    /// Loop-back first; the place in this list plus one is the kernel's number.
    pub nics: Vec<Nic>,
    /// Whether it has power and does not sleep.
    pub on: bool,
    /// Whether it sleeps: its processes are stopped and its kernel answers nothing.
    pub asleep: bool,
    /// Whether its firewall drops TCP connections to it.
    pub drops_tcp: bool,
    /// Whether its firewall drops ICMP.
    pub drops_icmp: bool,
    /// How many nodes it runs, dead or alive; their ports are consecutive.
    pub nodes: u16,
}

impl Host {
    /// A host with a loop-back interface and one interface in each of these segments.
    #[must_use]
    pub fn new(id: HostId, segments: &[SegmentId], v6: bool) -> Self {
        let loopback = Nic {
            segment: None,
            up: true,
            carrier: true,
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: None,
            mtu: 65_536,
            burst: BurstState::default(),
            busy: Moment::START,
        };
        let mut nics = vec![loopback];
        for (n, &segment) in segments.iter().enumerate() {
            let place = u16::try_from(n).expect("a host has few interfaces");
            nics.push(Nic {
                segment: Some(segment),
                v4: Some(address_v4(segment, id, 0)),
                v6: v6.then(|| address_v6(id, place)),
                mtu: 1_500,
                ..nics[0].clone()
            });
        }
        Self { nics, on: true, asleep: false, drops_tcp: false, drops_icmp: false, nodes: 0 }
    }

    /// The interface with this number.
    #[must_use]
    pub fn nic(&self, index: InterfaceIndex) -> Option<&Nic> {
        self.nics.get((index.0 as usize).checked_sub(1)?)
    }

    /// The interface with this number, to change it.
    pub fn nic_mut(&mut self, index: InterfaceIndex) -> Option<&mut Nic> {
        self.nics.get_mut((index.0 as usize).checked_sub(1)?)
    }

    /// The interface by which the kernel sends to an address.
    #[must_use]
    pub fn route(&self, ip: IpAddr, wish: Option<InterfaceIndex>) -> Option<InterfaceIndex> {
        if ip.is_loopback() || self.nics.iter().any(|nic| nic.up && nic.has(ip)) {
            return Some(LOOPBACK);
        }
        if ip.is_ipv6() {
            // Link-local addresses mean nothing without the interface.
            return wish.filter(|&index| self.nic(index).is_some_and(|nic| nic.up && nic.v6.is_some()));
        }
        let reaching = |index: &InterfaceIndex| self.nic(*index).is_some_and(|nic| nic.up && nic.reaches(ip));
        wish.filter(reaching).or_else(|| self.indices().find(reaching))
    }

    /// Whether an address is one of this host's, and on an interface that is up.
    #[must_use]
    pub fn owner(&self, ip: IpAddr) -> Option<InterfaceIndex> {
        self.indices().find(|&index| self.nic(index).is_some_and(|nic| nic.up && nic.has(ip)))
    }

    /// The numbers of its interfaces.
    pub fn indices(&self) -> impl Iterator<Item = InterfaceIndex> + use<> {
        (1..=u32::try_from(self.nics.len()).expect("a host has few interfaces")).map(InterfaceIndex)
    }

    /// What the driver tells of them: those that are down are left out.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        let shown = |(place, nic): (usize, &Nic)| {
            let index = InterfaceIndex(u32::try_from(place + 1).expect("a host has few interfaces"));
            let v4 = nic.v4.map(|address| InterfaceAddress {
                address: address.into(),
                prefix: if address.is_loopback() { 8 } else { PREFIX_V4 },
                broadcast: if address.is_loopback() { None } else { nic.broadcast() },
            });
            let v6 = nic.v6.map(|address| InterfaceAddress { address: address.into(), prefix: 64, broadcast: None });
            Interface {
                index,
                name: if index == LOOPBACK { "lo".to_owned() } else { format!("eth{}", place - 1) },
                mtu: nic.mtu,
                carrier: nic.carrier,
                medium: if index == LOOPBACK { Medium::Loopback } else { Medium::Wired },
                addresses: v4.into_iter().chain(v6).collect(),
            }
        };
        self.nics.iter().enumerate().filter(|(_, nic)| nic.up).map(shown).collect()
    }
}

/// The IPv4 address of a host in a segment; with each `lease` another one.
#[must_use]
pub fn address_v4(segment: SegmentId, host: HostId, lease: u8) -> Ipv4Addr {
    let [_, _, high, low] = (host.0 + 1).to_be_bytes();
    let network = u8::try_from(segment.0 % 200).expect("below 200");
    // Up to 4,095 hosts with fifteen leases each; .255.255 stays free for broadcast.
    Ipv4Addr::new(10, network, (high & 0x0f) | ((lease & 0x0f) << 4).min(0xe0), low)
}

fn address_v6(host: HostId, place: u16) -> Ipv6Addr {
    let [a, b] = [(host.0 >> 16) as u16, (host.0 & 0xffff) as u16];
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0200 | a, 0xff, 0xfe00 | place, b + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_picks_the_interface_whose_network_holds_the_address() {
        let host = Host::new(HostId(4), &[SegmentId(0), SegmentId(7)], true);
        let peer = |segment| IpAddr::V4(address_v4(SegmentId(segment), HostId(9), 0));
        assert_eq!(host.route(peer(0), None), Some(InterfaceIndex(2)));
        assert_eq!(host.route(peer(7), None), Some(InterfaceIndex(3)));
        assert_eq!(host.route(peer(3), None), None, "no network, no route");
        assert_eq!(host.route(address_v4(SegmentId(0), HostId(4), 0).into(), None), Some(LOOPBACK), "to oneself");
        let v6 = IpAddr::V6(address_v6(HostId(9), 0));
        assert_eq!(host.route(v6, None), None, "link-local needs its interface");
        assert_eq!(host.route(v6, Some(InterfaceIndex(3))), Some(InterfaceIndex(3)));
    }

    #[test]
    fn no_two_hosts_of_a_segment_share_an_address_under_any_lease() {
        let mut seen = std::collections::BTreeSet::new();
        for host in 0..1_100 {
            for lease in 0..4 {
                assert!(seen.insert(address_v4(SegmentId(1), HostId(host), lease)), "host {host} lease {lease}");
            }
        }
    }
}

//! What must reach a node, and whether an address, a port or a kind of packet in a rule is meant for it.

use std::net::IpAddr;

use super::rule::Fits;
use super::{Ports, own_ports};

/// The groups of the discovery port.
const GROUPS: [&str; 2] = ["239.255.107.100", "ff02::6b64"];

/// The first packet of its kind from a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) tcp: bool,
    port: u16,
    /// Ports of which a rule that drops one is meant for the mesh.
    like: (u16, u16),
    /// Ports from which nodes send.
    from: (u16, u16),
    /// Whether it is for the group, and not for this machine alone.
    pub(super) group: bool,
    pub(super) v6: bool,
}

/// How a list of ports lies to a probe's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// It has the port.
    On,
    /// It has another port of the mesh.
    Beside,
    /// Words in it are not known.
    Hidden,
    Off,
}

impl Probe {
    /// What a node needs, by IPv4 and then by IPv6.
    pub(super) fn all(ports: Ports) -> Vec<Self> {
        let (low, high) = own_ports(ports.discovery);
        let from = (ports.discovery, high);
        let call = |v6| {
            let like = (ports.discovery, ports.discovery);
            Self { tcp: false, port: ports.discovery, like, from, group: true, v6 }
        };
        let own = |tcp, v6| Self { tcp, port: ports.own, like: (low, high), from, group: false, v6 };
        [false, true].into_iter().flat_map(|v6| [call(v6), own(false, v6), own(true, v6)]).collect()
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", if self.tcp { "TCP" } else { "UDP" }, self.port)
    }

    /// Whether a protocol's name or number is this one's.
    pub(super) fn is_of(&self, protocol: &str) -> bool {
        if self.tcp { matches!(protocol, "tcp" | "6") } else { matches!(protocol, "udp" | "17") }
    }

    /// Where ports (`9999`, `10000-10063`, `10000:10063`) lie.
    pub(super) fn lies<'a>(&self, items: impl IntoIterator<Item = &'a str>) -> Lies {
        let mut found = Lies::Off;
        for item in items {
            match range(item) {
                Some((low, high)) if (low..=high).contains(&self.port) => return Lies::On,
                Some(range) if overlap(range, self.like) => found = Lies::Beside,
                Some(_) => {}
                None if found == Lies::Off => found = Lies::Hidden,
                None => {}
            }
        }
        found
    }

    /// Whether it may come from one of these ports.
    pub(super) fn comes_from<'a>(&self, items: impl IntoIterator<Item = &'a str>) -> Fits {
        let may = |item| range(item).is_none_or(|range| self.tcp || overlap(range, self.from));
        if items.into_iter().any(may) { Fits::Perhaps } else { Fits::No }
    }

    /// Whether a neighbour may be one of these senders. A single address is not the mesh.
    pub(super) fn is_from<'a>(&self, items: impl IntoIterator<Item = &'a str>) -> Fits {
        let fit = |item: &str| match network(item) {
            Some((_, 0)) => Fits::Yes,
            Some((address, bits)) if address.is_loopback() || bits == width(address) => Fits::No,
            Some((address, _)) if address.is_ipv6() != self.v6 => Fits::No,
            Some(_) | None => Fits::Perhaps,
        };
        items.into_iter().map(fit).max().unwrap_or(Fits::Perhaps)
    }

    /// Whether it is for one of these addresses, and whether that is the mesh's group by name.
    pub(super) fn is_to<'a>(&self, items: impl IntoIterator<Item = &'a str>) -> (Fits, bool) {
        let own: IpAddr = GROUPS[usize::from(self.v6)].parse().expect("it is written as an address");
        let fit = |item: &str| match network(item) {
            Some((_, 0)) => (Fits::Yes, false),
            Some((address, _)) if address.is_ipv6() != self.v6 || address.is_loopback() => (Fits::No, false),
            Some((address, bits)) if self.group && within(own, address, bits) => (Fits::Yes, address == own),
            Some((address, _)) if self.group || address.is_multicast() => (Fits::No, false),
            Some(_) | None => (Fits::Perhaps, false),
        };
        items.into_iter().map(fit).max().unwrap_or((Fits::Perhaps, false))
    }

    /// Whether it is of one of these kinds of address: `local`, `multicast`, and so on.
    pub(super) fn is_kind<'a>(&self, items: impl IntoIterator<Item = &'a str>) -> Fits {
        let fit = |item: &str| match item.to_ascii_lowercase().as_str() {
            "multicast" => Fits::sure(self.group),
            "local" | "host" | "unicast" => Fits::sure(!self.group),
            "broadcast" | "anycast" | "blackhole" | "unreachable" | "prohibit" | "other" => Fits::No,
            _ => Fits::Perhaps,
        };
        items.into_iter().map(fit).max().unwrap_or(Fits::Perhaps)
    }
}

/// Whether it arrives by one of these interfaces: by another than the loopback, which of them is not known.
pub(super) fn is_by<'a>(items: impl IntoIterator<Item = &'a str>) -> Fits {
    if items.into_iter().all(|item| item == "lo") { Fits::No } else { Fits::Perhaps }
}

fn range(item: &str) -> Option<(u16, u16)> {
    let (low, high) = item.split_once(['-', ':']).unwrap_or((item, item));
    if low.is_empty() && high.is_empty() {
        return None;
    }
    // `iptables` leaves out the ends: `1024:`.
    let low = if low.is_empty() { 0 } else { low.parse().ok()? };
    let high = if high.is_empty() { u16::MAX } else { high.parse().ok()? };
    Some((low, high))
}

fn overlap(a: (u16, u16), b: (u16, u16)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// An address, or a network with the number of its bits.
fn network(item: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = item.split_once('/').unwrap_or((item, ""));
    let address: IpAddr = address.parse().ok()?;
    let bits = if bits.is_empty() { width(address) } else { bits.parse().ok()? };
    (bits <= width(address)).then_some((address, bits))
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |address| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let rest = width(network) - bits;
    address.is_ipv6() == network.is_ipv6() && number(address).checked_shr(rest) == number(network).checked_shr(rest)
}

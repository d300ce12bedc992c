//! Decides by which addresses a datagram leaves: its destination, and the source that makes the kernel take the right
//! interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use kodikon_core::effect::{Cast, Interface, Target};
use kodikon_core::ground::id::InterfaceIndex;

use super::{GROUP_V4, GROUP_V6};

/// One datagram's destination, and its source where that decides the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// Where to; an IPv6 address of link-local scope carries its interface.
    pub to: SocketAddr,
    /// From which own address; the kernel's choice where there is none.
    pub from: Option<IpAddr>,
}

/// What is known of the interfaces for sending.
///
/// IPv4 takes the interface whose address is the source, for the group and for broadcasts alike, and needs no route for
/// it; IPv6 takes the one in the destination's scope.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    port: u16,
    interfaces: BTreeMap<InterfaceIndex, Exits>,
}

#[derive(Clone, Debug)]
struct Exits {
    /// The source for the IPv4 group.
    v4: Option<Ipv4Addr>,
    /// Broadcast address and own address of each IPv4 network.
    broadcasts: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: bool,
}

impl Ways {
    /// Learns the interfaces; `port` is the discovery port, where groups and broadcasts are heard.
    #[must_use]
    pub(crate) fn new(interfaces: &[Interface], port: u16) -> Self {
        let interfaces = interfaces.iter().map(|interface| (interface.index, Exits::of(interface))).collect();
        Self { port, interfaces }
    }

    /// Returns the discovery port.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Calls `send` with each way to `target`: none where the interface is gone or has no such address, several only
    /// where an interface has several IPv4 networks to broadcast to.
    pub(crate) fn each(&self, target: Target, mut send: impl FnMut(Way)) {
        let (index, cast) = match target {
            Target::Address(to, interface) => return send(Way { to: scoped(to, interface), from: None }),
            Target::Segment(index, cast) => (index, cast),
        };
        let Some(exits) = self.interfaces.get(&index) else { return };
        match cast {
            Cast::Multicast4 => {
                if let Some(own) = exits.v4 {
                    send(Way { to: (GROUP_V4, self.port).into(), from: Some(own.into()) });
                }
            }
            Cast::Multicast6 => {
                if exits.v6 {
                    send(Way { to: SocketAddrV6::new(GROUP_V6, self.port, 0, index.0).into(), from: None });
                }
            }
            Cast::Broadcast => {
                for &(everyone, own) in &exits.broadcasts {
                    send(Way { to: (everyone, self.port).into(), from: Some(own.into()) });
                }
            }
            // A segment is never one address.
            Cast::Unicast => {}
        }
    }
}

impl Exits {
    fn of(interface: &Interface) -> Self {
        let mut exits = Self { v4: None, broadcasts: Vec::new(), v6: false };
        for address in &interface.addresses {
            match address.address {
                IpAddr::V4(own) => {
                    exits.v4.get_or_insert(own);
                    if let Some(everyone) = address.broadcast.or_else(|| directed(own, address.prefix))
                        && exits.broadcasts.iter().all(|&(known, _)| known != everyone)
                    {
                        exits.broadcasts.push((everyone, own));
                    }
                }
                // The loopback has no route for groups of IPv6; its nodes meet by IPv4.
                IpAddr::V6(own) => exits.v6 |= !own.is_loopback(),
            }
        }
        exits
    }
}

/// The broadcast address of a network whose interface does not name one (the loopback, or an address added without `brd
/// +`).
fn directed(own: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    // A network of one or two addresses has none (RFC 3021).
    (1..=30).contains(&prefix).then(|| Ipv4Addr::from_bits(own.to_bits() | (u32::MAX >> prefix)))
}

pub(super) fn scoped(to: SocketAddr, interface: Option<InterfaceIndex>) -> SocketAddr {
    match (to, interface) {
        (SocketAddr::V6(v6), Some(index)) if v6.scope_id() == 0 && v6.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), v6.flowinfo(), index.0).into()
        }
        (SocketAddr::V4(_) | SocketAddr::V6(_), _) => to,
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::{InterfaceAddress, Medium};

    use super::*;

    const INDEX: InterfaceIndex = InterfaceIndex(7);

    #[test]
    fn a_segment_is_reached_by_what_its_interface_has() {
        let two_networks = [("192.0.2.7", 24), ("10.1.2.3", 8), ("fe80::7", 64)];
        type Row<'a> = (&'a [(&'a str, u8)], Cast, &'a [(&'a str, Option<&'a str>)]);
        let table: &[Row<'_>] = &[
            (&two_networks, Cast::Multicast4, &[("239.255.107.100:9999", Some("192.0.2.7"))]),
            (&two_networks, Cast::Multicast6, &[("[ff02::6b64%7]:9999", None)]),
            (
                &two_networks,
                Cast::Broadcast,
                &[("192.0.2.255:9999", Some("192.0.2.7")), ("10.255.255.255:9999", Some("10.1.2.3"))],
            ),
            (&two_networks, Cast::Unicast, &[]),
            (&[("127.0.0.1", 8), ("::1", 128)], Cast::Broadcast, &[("127.255.255.255:9999", Some("127.0.0.1"))]),
            (&[("127.0.0.1", 8), ("::1", 128)], Cast::Multicast6, &[]),
            (&[("192.0.2.7", 24), ("192.0.2.8", 24)], Cast::Broadcast, &[("192.0.2.255:9999", Some("192.0.2.7"))]),
            (&[("192.0.2.7", 31)], Cast::Broadcast, &[]),
            (&[("192.0.2.7", 32)], Cast::Broadcast, &[]),
            (&[("192.0.2.7", 0)], Cast::Broadcast, &[]),
            (&[("fe80::7", 64)], Cast::Multicast4, &[]),
            (&[], Cast::Broadcast, &[]),
        ];
        for &(addresses, cast, expected) in table {
            let expected: Vec<Way> = expected.iter().map(|&(to, from)| way(to, from)).collect();
            assert_eq!(ways(&interface(addresses), Target::Segment(INDEX, cast)), expected, "{addresses:?} {cast:?}");
        }
    }

    #[test]
    fn an_interface_that_is_gone_is_sent_nothing() {
        let target = Target::Segment(InterfaceIndex(8), Cast::Multicast4);
        assert_eq!(ways(&interface(&[("192.0.2.7", 24)]), target), []);
    }

    #[test]
    fn an_address_of_link_local_scope_gets_its_interface_and_no_other_does() {
        let table = [
            ("192.0.2.9:10000", Some(INDEX), "192.0.2.9:10000"),
            ("[fd00::9]:10000", Some(INDEX), "[fd00::9]:10000"),
            ("[fe80::9]:10000", Some(INDEX), "[fe80::9%7]:10000"),
            ("[fe80::9%3]:10000", Some(INDEX), "[fe80::9%3]:10000"),
            ("[fe80::9]:10000", None, "[fe80::9]:10000"),
        ];
        for (to, interface_index, expected) in table {
            let target = Target::Address(to.parse().unwrap(), interface_index);
            assert_eq!(ways(&interface(&[]), target), [way(expected, None)], "{to} {interface_index:?}");
        }
    }

    fn ways(interface: &Interface, target: Target) -> Vec<Way> {
        let mut found = Vec::new();
        Ways::new(std::slice::from_ref(interface), 9_999).each(target, |way| found.push(way));
        found
    }

    fn way(to: &str, from: Option<&str>) -> Way {
        Way { to: to.parse().unwrap(), from: from.map(|text| text.parse().unwrap()) }
    }

    fn interface(addresses: &[(&str, u8)]) -> Interface {
        let address =
            |&(text, prefix): &(&str, u8)| InterfaceAddress { address: text.parse().unwrap(), prefix, broadcast: None };
        Interface {
            index: INDEX,
            name: "eth0".to_owned(),
            mtu: 1_500,
            carrier: true,
            medium: Medium::Wired,
            addresses: addresses.iter().map(address).collect(),
        }
    }
}

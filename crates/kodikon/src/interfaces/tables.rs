//! Decides what the kernel's facts about links and addresses add up to, and what an interface is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kodikon_core::effect::{Interface, InterfaceAddress, Medium};
use kodikon_core::ground::id::InterfaceIndex;

use super::netlink::Link;

/// Links beyond this many are ignored, the latest first: a host of containers has thousands, its network cards are the
/// oldest.
const LINKS_MAX: usize = 1_024;
/// Addresses of one interface beyond this many are ignored, the latest first.
const ADDRESSES_MAX: usize = 64;

/// Kinds of link that reach only into this host, or through a tunnel (`ip link help` lists all kinds).
const VIRTUAL_KINDS: &[&str] = &[
    "dummy",
    "erspan",
    "gre",
    "ifb",
    "ip6gre",
    "ip6tnl",
    "ipip",
    "netkit",
    "nlmon",
    "sit",
    "vcan",
    "vrf",
    "vti",
    "vti6",
    "wireguard",
    "xfrm",
];
/// Kinds of link whose ports are no interfaces of their own.
const SWITCH_KINDS: &[&str] = &["bond", "bridge", "openvswitch", "team"];
/// Names that container engines and hypervisors give to what leads into this host.
const VIRTUAL_NAMES: &[&str] = &[
    "cali", "cni", "docker", "flannel", "lxcbr", "lxdbr", "podman", "tap", "tun", "vboxnet", "veth", "virbr", "vmnet",
    "vnet",
];

/// All links and addresses as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Tables {
    links: BTreeMap<InterfaceIndex, Link>,
    addresses: BTreeMap<InterfaceIndex, Vec<InterfaceAddress>>,
}

impl Tables {
    pub(super) fn link(&mut self, link: Link) {
        if self.links.len() < LINKS_MAX || self.links.contains_key(&link.index) {
            self.links.insert(link.index, link);
        }
    }

    pub(super) fn link_gone(&mut self, index: InterfaceIndex) {
        self.links.remove(&index);
        self.addresses.remove(&index);
    }

    pub(super) fn address(&mut self, index: InterfaceIndex, address: InterfaceAddress) {
        if self.addresses.len() >= LINKS_MAX && !self.addresses.contains_key(&index) {
            return;
        }
        let known = self.addresses.entry(index).or_default();
        if let Some(same) = known.iter_mut().find(|known| known.address == address.address) {
            *same = address;
        } else if known.len() < ADDRESSES_MAX {
            known.push(address);
        }
    }

    pub(super) fn address_gone(&mut self, index: InterfaceIndex, address: IpAddr) {
        if let Some(known) = self.addresses.get_mut(&index) {
            known.retain(|known| known.address != address);
        }
    }

    /// The interfaces in order of their numbers; `is_wireless` tells of a name what netlink does not.
    pub(super) fn interfaces(&self, is_wireless: impl Fn(&str) -> bool) -> Vec<Interface> {
        let interface = |link: &Link| Interface {
            index: link.index,
            name: link.name.clone(),
            mtu: link.mtu,
            carrier: link.carrier,
            medium: self.medium(link, &is_wireless),
            addresses: if self.is_port(link) {
                // A bridge takes what comes in here before IP sees it, so the addresses the kernel puts here hear
                // nothing.
                Vec::new()
            } else {
                self.addresses.get(&link.index).cloned().unwrap_or_default()
            },
        };
        self.links.values().map(interface).collect()
    }

    fn medium(&self, link: &Link, is_wireless: impl Fn(&str) -> bool) -> Medium {
        if link.loopback {
            Medium::Loopback
        } else if !link.many || leads_inside(link) || self.is_inner_bridge(link) {
            Medium::Virtual
        } else if is_wireless(&link.name) {
            Medium::Wireless
        } else {
            Medium::Wired
        }
    }

    fn is_port(&self, link: &Link) -> bool {
        let master = link.master.and_then(|master| self.links.get(&master));
        master.and_then(|master| master.kind.as_deref()).is_some_and(|kind| SWITCH_KINDS.contains(&kind))
    }

    /// A bridge is a LAN of its own unless one of its ports leads out of the host.
    fn is_inner_bridge(&self, bridge: &Link) -> bool {
        let is_port = |link: &&Link| link.master == Some(bridge.index);
        bridge.kind.as_deref() == Some("bridge") && self.links.values().filter(is_port).all(leads_inside)
    }
}

fn leads_inside(link: &Link) -> bool {
    link.kind.as_deref().is_some_and(|kind| VIRTUAL_KINDS.contains(&kind))
        || VIRTUAL_NAMES.iter().any(|name| link.name.starts_with(name))
        || is_docker_network(&link.name)
}

/// Docker names a network of its user `br-` and twelve hex digits; `br-lan` is a router's real LAN.
fn is_docker_network(name: &str) -> bool {
    let hex = |rest: &str| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix("br-").is_some_and(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_into_this_host_is_told_from_what_leads_out() {
        let table: &[(&str, Option<&str>, bool, Medium)] = &[
            // (name, kind, reaches many, medium)
            ("eth0", None, true, Medium::Wired),
            ("enp3s0", None, true, Medium::Wired),
            ("eth0", Some("veth"), true, Medium::Wired), // a container's or a test's own card
            ("veth12ab", Some("veth"), true, Medium::Virtual),
            ("wlan0", None, true, Medium::Wireless),
            ("bond0", Some("bond"), true, Medium::Wired),
            ("eth0.5", Some("vlan"), true, Medium::Wired),
            ("docker0", Some("bridge"), true, Medium::Virtual),
            ("br-0123456789ab", Some("bridge"), true, Medium::Virtual),
            ("virbr0", Some("bridge"), true, Medium::Virtual),
            ("br0", Some("bridge"), true, Medium::Virtual), // no port yet
            ("tun0", Some("tun"), false, Medium::Virtual),
            ("ppp0", Some("ppp"), false, Medium::Virtual),
            ("wg0", Some("wireguard"), false, Medium::Virtual),
            ("zt5u4y6ej", Some("tun"), true, Medium::Wired), // an Ethernet over the Internet, with broadcast
            ("ifb0", Some("ifb"), true, Medium::Virtual),
        ];
        for &(name, kind, many, expected) in table {
            let mut tables = Tables::default();
            tables.link(Link { many, ..link(1, name, kind) });
            assert_eq!(tables.interfaces(|name| name == "wlan0")[0].medium, expected, "{name} {kind:?}");
        }
    }

    #[test]
    fn a_bridge_is_a_lan_when_a_port_leads_out() {
        for (port, expected) in [("eth0", Medium::Wired), ("vnet0", Medium::Virtual), ("veth1", Medium::Virtual)] {
            let mut tables = Tables::default();
            tables.link(link(1, "br-lan", Some("bridge")));
            tables.link(Link { master: Some(InterfaceIndex(1)), ..link(2, port, None) });
            assert_eq!(tables.interfaces(|_| false)[0].medium, expected, "{port}");
        }
    }

    #[test]
    fn the_addresses_of_a_port_are_its_switchs() {
        for (kind, expected) in [("bridge", 0), ("bond", 0), ("vrf", 1)] {
            let mut tables = Tables::default();
            tables.link(link(1, "master", Some(kind)));
            tables.link(Link { master: Some(InterfaceIndex(1)), ..link(2, "eth0", None) });
            tables.address(InterfaceIndex(2), address([192, 0, 2, 1], 24));
            assert_eq!(tables.interfaces(|_| false)[1].addresses.len(), expected, "{kind}");
        }
    }

    #[test]
    fn the_tables_follow_what_comes_and_goes_and_stay_within_their_limits() {
        let mut tables = Tables::default();
        let addresses = |tables: &Tables| tables.interfaces(|_| false)[0].addresses.len();
        tables.link(link(7, "eth0", None));
        tables.address(InterfaceIndex(7), address([192, 0, 2, 1], 24));
        tables.address(InterfaceIndex(7), address([192, 0, 2, 1], 16));
        assert_eq!(tables.interfaces(|_| false)[0].addresses, [address([192, 0, 2, 1], 16)], "replaced, not doubled");
        tables.address_gone(InterfaceIndex(7), [192, 0, 2, 1].into());
        assert_eq!(addresses(&tables), 0);

        for number in 0..=255 {
            tables.address(InterfaceIndex(7), address([192, 0, 2, number], 24));
        }
        assert_eq!(addresses(&tables), ADDRESSES_MAX);
        for index in 0..3_000 {
            tables.link(link(index, "eth0", None));
            tables.address(InterfaceIndex(index), address([192, 0, 2, 1], 24));
        }
        assert_eq!((tables.links.len(), tables.addresses.len()), (LINKS_MAX, LINKS_MAX));

        tables.link_gone(InterfaceIndex(7));
        assert!(tables.interfaces(|_| false).iter().all(|interface| interface.index.0 != 7));
        tables.link(link(7, "eth0", None));
        let back = tables.interfaces(|_| false).into_iter().find(|interface| interface.index.0 == 7);
        assert_eq!(back.unwrap().addresses, [], "a link that comes back comes without its old addresses");
    }

    fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
        Link {
            index: InterfaceIndex(index),
            name: name.to_owned(),
            mtu: 1_500,
            carrier: true,
            loopback: false,
            many: true,
            master: None,
            kind: kind.map(str::to_owned),
        }
    }

    fn address(octets: [u8; 4], prefix: u8) -> InterfaceAddress {
        InterfaceAddress { address: octets.into(), prefix, broadcast: None }
    }
}

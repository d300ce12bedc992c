//! Decides which interfaces the mesh uses, and which of their addresses it tells others.

use std::net::IpAddr;

use kodikon_core::effect::{Interface, Medium};
use kodikon_core::ground::id::InterfaceIndex;

/// At most this many interfaces are used: the kernel lets one socket join 20 groups (`igmp_max_memberships`).
pub(crate) const USABLE_MAX: usize = 20;
/// At most this many addresses are announced: a card holds 1 KiB.
pub(crate) const ANNOUNCED_MAX: usize = 16;

/// What the mesh does with this host's interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The interfaces on which to speak and listen, best first.
    pub usable: Vec<InterfaceIndex>,
    /// The addresses under which others can reach this node, best first.
    pub announced: Vec<IpAddr>,
    /// No network that leads out of this host is usable: only nodes on it are found.
    pub alone: bool,
}

/// Chooses among `interfaces`; where `only` names some, among those alone, whatever they are made of.
///
/// Usable is what has an address and something at the other end: cables before Wi-Fi before networks inside this host.
/// Those last reach containers, and are told to nobody, for other hosts would try in vain. Tunnels are left out: their
/// other end is one host, which a configured peer reaches better. When only this host can be reached, and nobody named
/// an interface, the loopback is used too, so that the nodes of one machine find each other.
#[must_use]
pub(crate) fn choose(interfaces: &[Interface], only: &[String]) -> Choice {
    let ready = |interface: &&Interface| interface.carrier && !interface.addresses.is_empty();
    let named = |interface: &Interface| only.contains(&interface.name);
    let mut usable: Vec<&Interface> = interfaces.iter().filter(ready).collect();
    usable.retain(|&interface| if only.is_empty() { is_network(interface) } else { named(interface) });
    usable.sort_by_key(|interface| (rank(interface.medium), interface.index));

    let alone = usable.iter().all(|interface| matches!(interface.medium, Medium::Loopback | Medium::Virtual));
    if alone && only.is_empty() {
        let loopback = |interface: &&Interface| interface.medium == Medium::Loopback;
        usable.splice(0..0, interfaces.iter().filter(ready).filter(loopback));
    }
    usable.truncate(USABLE_MAX);

    let told = |interface: &&&Interface| named(interface) || interface.medium != Medium::Virtual;
    let mut announced: Vec<IpAddr> = usable.iter().filter(told).flat_map(|interface| addresses(interface)).collect();
    announced.truncate(ANNOUNCED_MAX);
    Choice { usable: usable.iter().map(|interface| interface.index).collect(), announced, alone }
}

/// Whether more than one other host, or one container, can be met here.
fn is_network(interface: &Interface) -> bool {
    match interface.medium {
        Medium::Wired | Medium::Wireless => true,
        Medium::Virtual => interface.addresses.iter().any(|address| address.broadcast.is_some()),
        Medium::Loopback => false,
    }
}

fn rank(medium: Medium) -> u8 {
    match medium {
        Medium::Wired => 0,
        Medium::Wireless => 1,
        Medium::Virtual => 2,
        Medium::Loopback => 3,
    }
}

/// An interface's addresses that mean something to others: IPv4 first, a link-local IPv6 address only where there is no
/// other.
fn addresses(interface: &Interface) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
        interface.addresses.iter().map(|address| address.address).partition(IpAddr::is_ipv4);
    let (local, wide): (Vec<IpAddr>, Vec<IpAddr>) = v6.into_iter().partition(is_link_local);
    let mut known = [v4, wide].concat();
    if known.is_empty() {
        known = local;
    }
    known
}

/// `fe80::/10`: means something only together with an interface of the host that uses it.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::InterfaceAddress;

    use super::*;

    #[test]
    fn each_kind_of_host_uses_and_announces_what_others_can_reach() {
        let eth = interface(2, "eth0", Medium::Wired, &["192.0.2.2", "fd00::2", "fe80::1"]);
        let wifi = interface(1, "wlan0", Medium::Wireless, &["198.51.100.7"]);
        let lo = interface(3, "lo", Medium::Loopback, &["127.0.0.1", "::1"]);
        let docker = interface(4, "docker0", Medium::Virtual, &["172.17.0.1"]);
        let tunnel = interface(6, "wg0", Medium::Virtual, &["10.9.0.2"]);
        let mut docker = docker;
        docker.addresses[0].broadcast = Some([172, 17, 255, 255].into());
        let pulled = Interface { carrier: false, ..eth.clone() };
        let bare = Interface { addresses: vec![], ..eth.clone() };
        let v6_only = interface(5, "eth1", Medium::Wired, &["fe80::5"]);
        type Row<'a> = (&'a str, &'a [&'a Interface], &'a [&'a str], &'a [u32], &'a [&'a str], bool);
        let table: &[Row<'_>] = &[
            // (host, its interfaces, those named, usable, announced, alone)
            ("nothing", &[], &[], &[], &[], true),
            ("a server", &[&lo, &docker, &eth, &tunnel], &[], &[2, 4], &["192.0.2.2", "fd00::2"], false),
            ("a laptop", &[&wifi, &eth, &lo], &[], &[2, 1], &["192.0.2.2", "fd00::2", "198.51.100.7"], false),
            ("cable pulled, Wi-Fi on", &[&wifi, &pulled, &lo], &[], &[1], &["198.51.100.7"], false),
            ("cable pulled", &[&pulled, &lo], &[], &[3], &["127.0.0.1", "::1"], true),
            ("no address yet", &[&bare, &lo], &[], &[3], &["127.0.0.1", "::1"], true),
            ("docker on a train", &[&docker, &lo], &[], &[3, 4], &["127.0.0.1", "::1"], true),
            ("a tunnel on a train", &[&tunnel, &lo], &[], &[3], &["127.0.0.1", "::1"], true),
            ("IPv6 without router", &[&v6_only, &lo], &[], &[5], &["fe80::5"], false),
            ("told to use docker", &[&eth, &docker, &lo], &["docker0"], &[4], &["172.17.0.1"], true),
            ("told to use lo", &[&eth, &lo], &["lo"], &[3], &["127.0.0.1", "::1"], true),
            ("told to use what is not there", &[&eth, &lo], &["eth7"], &[], &[], true),
        ];
        for &(host, interfaces, only, usable, announced, alone) in table {
            let interfaces: Vec<Interface> = interfaces.iter().map(|&interface| interface.clone()).collect();
            let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
            let expected = Choice {
                usable: usable.iter().map(|&index| InterfaceIndex(index)).collect(),
                announced: announced.iter().map(|text| text.parse().unwrap()).collect(),
                alone,
            };
            assert_eq!(choose(&interfaces, &only), expected, "{host}");
        }
    }

    #[test]
    fn more_interfaces_than_a_socket_can_join_are_cut_from_the_worst_end() {
        let mut interfaces: Vec<Interface> =
            (1..=30).map(|index| interface(index, "wlan", Medium::Wireless, &["198.51.100.7"])).collect();
        interfaces.push(interface(99, "eth0", Medium::Wired, &["192.0.2.2"]));
        let choice = choose(&interfaces, &[]);
        assert_eq!(choice.usable.len(), USABLE_MAX);
        assert_eq!(choice.usable[0], InterfaceIndex(99));
        assert_eq!(choice.announced.len(), ANNOUNCED_MAX);
    }

    fn interface(index: u32, name: &str, medium: Medium, addresses: &[&str]) -> Interface {
        let address = |text: &&str| InterfaceAddress { address: text.parse().unwrap(), prefix: 24, broadcast: None };
        Interface {
            index: InterfaceIndex(index),
            name: name.to_owned(),
            mtu: 1_500,
            carrier: true,
            medium,
            addresses: addresses.iter().map(address).collect(),
        }
    }
}

//! Decides over which interfaces the mesh is heard: over all of them, unless some are named.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kodikon_core::effect::{Arrival, Interface, Medium};
use kodikon_core::ground::id::InterfaceIndex;

/// What may come in, from the interfaces that were named and are usable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// None where no interface was named: then all may.
    named: Option<Named>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    usable: BTreeSet<InterfaceIndex>,
    /// The addresses of the usable ones.
    addresses: BTreeSet<IpAddr>,
    loopbacks: BTreeSet<InterfaceIndex>,
}

impl Admission {
    /// Learns the interfaces: all that are `present`, and the `usable` of those that are named in `only`.
    #[must_use]
    pub(crate) fn new(only: &[String], present: &[Interface], usable: &[Interface]) -> Self {
        if only.is_empty() {
            return Self { named: None };
        }
        let is_loopback = |interface: &&Interface| interface.medium == Medium::Loopback;
        let addresses = usable.iter().flat_map(|interface| &interface.addresses).map(|address| address.address);
        Self {
            named: Some(Named {
                usable: usable.iter().map(|interface| interface.index).collect(),
                addresses: addresses.collect(),
                loopbacks: present.iter().filter(is_loopback).map(|interface| interface.index).collect(),
            }),
        }
    }

    /// Whether a datagram that came this way may be heard.
    #[must_use]
    pub(crate) fn hears(&self, arrival: &Arrival) -> bool {
        let Some(named) = &self.named else { return true };
        // What nodes of one host say to the address of an interface goes by the loopback, and comes from that address.
        let is_neighbour =
            || named.loopbacks.contains(&arrival.interface) && named.addresses.contains(&arrival.from.ip());
        named.usable.contains(&arrival.interface) || is_neighbour()
    }

    /// Whether a connection that ends at this address of the host may stand.
    #[must_use]
    pub(crate) fn connects(&self, local: SocketAddr) -> bool {
        let Some(named) = &self.named else { return true };
        match local {
            // Every interface may have the same address of link-local scope.
            SocketAddr::V6(v6) if v6.scope_id() != 0 => named.usable.contains(&InterfaceIndex(v6.scope_id())),
            SocketAddr::V4(_) | SocketAddr::V6(_) => named.addresses.contains(&local.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::{Cast, InterfaceAddress};

    use super::*;

    #[test]
    fn where_interfaces_are_named_nothing_is_heard_over_the_others() {
        let lo = interface(1, Medium::Loopback, &["127.0.0.1"]);
        let (eth0, eth1) =
            (interface(2, Medium::Wired, &["192.0.2.2"]), interface(3, Medium::Wired, &["10.1.2.3", "fe80::3"]));
        let present = [lo, eth0, eth1.clone()];
        let any = Admission::new(&[], &present, std::slice::from_ref(&eth1));
        let one = Admission::new(&["eth1".to_owned()], &present, std::slice::from_ref(&eth1));
        let none = Admission::new(&["eth7".to_owned()], &present, &[]);
        // (from, arrival interface, heard where eth1 is named)
        let datagrams = [
            ("10.1.2.9:10000", 3, true),
            ("[fe80::9]:10000", 3, true),
            ("192.0.2.9:10000", 2, false),
            ("10.1.2.9:10000", 2, false),
            ("10.1.2.3:10000", 1, true),
            ("10.1.2.3:10000", 2, false),
            ("127.0.0.1:10000", 1, false),
            ("192.0.2.2:10000", 1, false),
            ("10.1.2.9:10000", 0, false),
        ];
        for (from, index, heard) in datagrams {
            let arrival =
                Arrival { from: from.parse().unwrap(), interface: InterfaceIndex(index), cast: Cast::Unicast };
            let answers = [&any, &one, &none].map(|admission| admission.hears(&arrival));
            assert_eq!(answers, [true, heard, false], "{from} over {index}");
        }
        // (own end, stands where eth1 is named)
        let connections = [
            ("10.1.2.3:10000", true),
            ("192.0.2.2:10000", false),
            ("127.0.0.1:10000", false),
            ("[fe80::3%3]:10000", true),
            ("[fe80::3%2]:10000", false),
        ];
        for (local, stands) in connections {
            let answers = [&any, &one, &none].map(|admission| admission.connects(local.parse().unwrap()));
            assert_eq!(answers, [true, stands, false], "{local}");
        }
    }

    fn interface(index: u32, medium: Medium, addresses: &[&str]) -> Interface {
        let address = |text: &&str| InterfaceAddress { address: text.parse().unwrap(), prefix: 24, broadcast: None };
        Interface {
            index: InterfaceIndex(index),
            name: format!("if{index}"),
            mtu: 1_500,
            carrier: true,
            medium,
            addresses: addresses.iter().map(address).collect(),
        }
    }
}

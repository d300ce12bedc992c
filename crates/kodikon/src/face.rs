//! Decides how the rooms of the driver name a network interface and a datagram's arrival to the core.

use std::net::{IpAddr, Ipv4Addr};

/// The kernel's number of a network interface; a re-created interface has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceIndex(pub u32);

/// To whom a datagram was sent, or is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cast {
    /// To one address.
    Unicast,
    /// To the mesh's IPv4 group.
    Multicast4,
    /// To the mesh's IPv6 group.
    Multicast6,
    /// To everyone on an IPv4 network.
    Broadcast,
}

/// What an interface is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Medium {
    /// A cable, or what behaves like one.
    Wired,
    /// Wi-Fi.
    Wireless,
    /// The host's own loopback.
    Loopback,
    /// A network inside this host (containers, virtual machines) or a tunnel.
    Virtual,
}

/// One network interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: InterfaceIndex,
    /// The name people know it by.
    pub name: String,
    /// The largest IP packet it carries, in bytes.
    pub mtu: u32,
    /// It is up and something is at the other end (`IFF_UP` and `IFF_RUNNING`).
    pub carrier: bool,
    /// What it is made of.
    pub medium: Medium,
    /// Its addresses that may be used now.
    pub addresses: Vec<InterfaceAddress>,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
    /// Where everyone on this IPv4 network can be reached.
    pub broadcast: Option<Ipv4Addr>,
}

/// How a datagram came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival {
    /// The interface it came in on.
    pub interface: InterfaceIndex,
    /// To whom it was sent.
    pub cast: Cast,
}

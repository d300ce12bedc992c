//! Decides which hosts a lab has, on which segments they sit, and how hosts, interfaces and addresses are called.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

/// Interface names are at most 15 characters long; the interface of a segment is `e` and the segment's name.
const SEGMENT_NAME_LIMIT: usize = 14;
/// The second byte of the addresses is 77 + the index of the segment.
const FIRST_NETWORK: usize = 77;
const SEGMENTS_LIMIT: usize = 100;
/// The last host whose address fits the third byte.
const LAST_HOST: u16 = 60_000;

/// One computer of the lab, known by a number from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub u16);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The hosts of a lab and the LAN segments they are attached to. A host on two segments forwards no IP between them.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(crate) segments: Vec<(String, BTreeSet<Host>)>,
    pub(crate) hosts: BTreeSet<Host>,
    pub(crate) ipv6: bool,
    pub(crate) offload: bool,
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}

impl Topology {
    /// No host yet.
    pub fn new() -> Self {
        Self { segments: Vec::new(), hosts: BTreeSet::new(), ipv6: true, offload: false }
    }

    /// Hosts 1 to `hosts` on one segment called `a`.
    pub fn flat(hosts: u16) -> Self {
        Self::new().segment("a", 1..=hosts)
    }

    /// Hosts 1 to `hosts` in a row: segment `s1` joins hosts 1 and 2, `s2` hosts 2 and 3, and so on.
    pub fn line(hosts: u16) -> Self {
        (1..hosts).fold(Self::new(), |line, n| line.segment(&format!("s{n}"), [n, n + 1]))
    }

    /// As [`Topology::line`], and one more segment joins the last host to the first.
    pub fn ring(hosts: u16) -> Self {
        Self::line(hosts).segment(&format!("s{hosts}"), [hosts, 1])
    }

    /// Hosts in rows, numbered row by row from 1 on. Segment `r5` joins host 5 and the one to its right, `d5` host 5 and the one
    /// below it.
    pub fn grid(columns: u16, rows: u16) -> Self {
        (1..=columns * rows).fold(Self::new(), |grid, n| {
            let grid = if n % columns == 0 { grid } else { grid.segment(&format!("r{n}"), [n, n + 1]) };
            if n + columns > columns * rows { grid } else { grid.segment(&format!("d{n}"), [n, n + columns]) }
        })
    }

    /// LANs `l1`, `l2`, … of `hosts` hosts each, numbered LAN by LAN from 1 on; behind the last of them come the gateways, the first
    /// on `l1` and `l2`, the second on `l2` and `l3`.
    pub fn gateways(lans: u16, hosts: u16) -> Self {
        (1..=lans).fold(Self::new(), |chain, lan| {
            let own = (lan - 1) * hosts + 1..=lan * hosts;
            let gateways = (1..lans).filter(|gateway| [*gateway, gateway + 1].contains(&lan));
            chain.segment(&format!("l{lan}"), own.chain(gateways.map(|gateway| lans * hosts + gateway)))
        })
    }

    /// Adds a segment with these hosts on it.
    pub fn segment(mut self, name: &str, hosts: impl IntoIterator<Item = u16>) -> Self {
        let members: BTreeSet<Host> = hosts.into_iter().map(Host).collect();
        self.hosts.extend(&members);
        self.segments.push((name.to_owned(), members));
        self
    }

    /// Adds a host that has only its loopback interface until [`crate::Lab::plug`] gives it a cable.
    pub fn lonely(mut self, host: u16) -> Self {
        self.hosts.insert(Host(host));
        self
    }

    /// Hosts without IPv6, as where an administrator switched it off by sysctl.
    pub fn without_ipv6(mut self) -> Self {
        self.ipv6 = false;
        self
    }

    /// Leaves segmentation offload on: fast, but one frame at the switch may then be many datagrams.
    pub fn with_offload(mut self) -> Self {
        self.offload = true;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.segments.len() <= SEGMENTS_LIMIT, "at most {SEGMENTS_LIMIT} segments");
        for (index, (name, _)) in self.segments.iter().enumerate() {
            check_segment_name(name)?;
            ensure!(self.segments.iter().take(index).all(|(other, _)| other != name), "segment {name} is there twice");
        }
        for host in &self.hosts {
            ensure!((1..=LAST_HOST).contains(&host.0), "host numbers are 1 to {LAST_HOST}, not {}", host.0);
        }
        Ok(())
    }
}

pub(crate) fn check_segment_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ensure!(
        plain && (1..=SEGMENT_NAME_LIMIT).contains(&name.len()),
        "segment {name:?}: 1 to {SEGMENT_NAME_LIMIT} letters and digits"
    );
    Ok(())
}

/// The host's interface on a segment.
pub(crate) fn interface(segment: &str) -> String {
    format!("e{segment}")
}

/// The switch's port for a host.
pub(crate) fn port(host: Host) -> String {
    format!("v{}", host.0)
}

/// The host whose port this is.
pub(crate) fn host_of_port(name: &str) -> Option<Host> {
    name.strip_prefix('v')?.parse().ok().map(Host)
}

/// A host's first address on the segment with this index.
pub(crate) fn address(segment_index: usize, host: Host) -> Ipv4Addr {
    let network = u8::try_from(FIRST_NETWORK + segment_index).expect("at most 100 segments were let in");
    let third = u8::try_from(host.0 / 250).expect("60,000 / 250 fits a byte");
    let fourth = u8::try_from(host.0 % 250 + 1).expect("at most 250");
    Ipv4Addr::new(10, network, third, fourth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_by_segment_and_host() {
        assert_eq!(address(0, Host(1)), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(address(1, Host(249)), Ipv4Addr::new(10, 78, 0, 250));
        assert_eq!(address(0, Host(250)), Ipv4Addr::new(10, 77, 1, 1));
        assert_eq!(address(0, Host(LAST_HOST)), Ipv4Addr::new(10, 77, 240, 1));
    }

    /// Segments by name, with the numbers of their hosts.
    type Segments<'a> = &'a [(&'a str, &'a [u16])];

    #[test]
    fn lines_rings_grids_and_gateways_join_the_hosts_that_their_names_say() {
        let table: [(Topology, Segments<'_>); 5] = [
            (Topology::line(3), &[("s1", &[1, 2]), ("s2", &[2, 3])]),
            (Topology::ring(3), &[("s1", &[1, 2]), ("s2", &[2, 3]), ("s3", &[1, 3])]),
            (
                Topology::grid(3, 2),
                &[
                    ("r1", &[1, 2]),
                    ("d1", &[1, 4]),
                    ("r2", &[2, 3]),
                    ("d2", &[2, 5]),
                    ("d3", &[3, 6]),
                    ("r4", &[4, 5]),
                    ("r5", &[5, 6]),
                ],
            ),
            (Topology::gateways(2, 3), &[("l1", &[1, 2, 3, 7]), ("l2", &[4, 5, 6, 7])]),
            (Topology::gateways(3, 1), &[("l1", &[1, 4]), ("l2", &[2, 4, 5]), ("l3", &[3, 5])]),
        ];
        for (topology, expected) in table {
            let hosts = |hosts: &BTreeSet<Host>| hosts.iter().map(|host| host.0).collect::<Vec<u16>>();
            let found: Vec<(&str, Vec<u16>)> =
                topology.segments.iter().map(|(name, members)| (name.as_str(), hosts(members))).collect();
            let expected: Vec<(&str, Vec<u16>)> =
                expected.iter().map(|(name, hosts)| (*name, hosts.to_vec())).collect();
            assert_eq!(found, expected);
            topology.check().expect("it can be built");
        }
    }

    #[test]
    fn a_topology_that_cannot_be_built_is_refused() {
        let table = [
            (Topology::flat(3), true),
            (Topology::new().segment("a", [0]), false),
            (Topology::new().segment("a", [1]).segment("a", [2]), false),
            (Topology::new().segment("", [1]), false),
            (Topology::new().segment("fourteenletter", [1]), true),
            (Topology::new().segment("fifteenletters1", [1]), false),
            (Topology::new().segment("a b", [1]), false),
        ];
        for (topology, good) in table {
            assert_eq!(topology.check().is_ok(), good, "{topology:?}");
        }
    }

    #[test]
    fn a_port_names_its_host() {
        assert_eq!(host_of_port(&port(Host(17))), Some(Host(17)));
        assert_eq!(host_of_port("br0"), None);
        assert_eq!(host_of_port("vx"), None);
    }
}

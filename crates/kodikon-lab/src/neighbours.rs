//! Decides how many hardware addresses the kernel may remember: its tables are one for all namespaces together.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::topology::Topology;

/// The table of ARP and that of IPv6 neighbour discovery.
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
/// Below the first limit nothing is thrown out, above the second what is old, above the third new entries are refused.
const LIMITS: [(&str, u64); 3] = [("gc_thresh3", 4), ("gc_thresh2", 2), ("gc_thresh1", 1)];

/// Raises the limits where a lab of this topology needs more, and never lowers them.
///
/// At the usual 1,024 entries fifty hosts cannot all talk to each other, and at 128 the kernel begins to forget.
pub(crate) fn make_room(topology: &Topology) -> Result<()> {
    let entries = entries(topology);
    for family in FAMILIES {
        for (name, factor) in LIMITS {
            let path = PathBuf::from(format!("/proc/sys/net/{family}/neigh/default/{name}"));
            // Inside a container the limits are the host's and cannot even be read.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let limit: u64 = text.trim().parse().with_context(|| format!("{} holds {text:?}", path.display()))?;
            let wanted = entries * factor;
            if limit >= wanted {
                continue;
            }
            let raised = fs::write(&path, wanted.to_string());
            // What is only thrown out is learned again; what is refused is lost.
            let matters = name == "gc_thresh3" && limit < entries;
            ensure!(raised.is_ok() || !matters, "{} is {limit}, and this lab needs {entries}", path.display());
        }
    }
    Ok(())
}

/// What it takes for all hosts of each segment to know each other.
fn entries(topology: &Topology) -> u64 {
    let pairs = |hosts: usize| (hosts * hosts.saturating_sub(1)) as u64;
    topology.segments.iter().map(|(_, hosts)| pairs(hosts.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_needs_an_entry_for_each_ordered_pair() {
        let table = [
            (Topology::new(), 0),
            (Topology::flat(1), 0),
            (Topology::flat(50), 2_450),
            (Topology::new().segment("a", 1..=3).segment("b", [3, 4]), 8),
        ];
        for (topology, expected) in table {
            assert_eq!(entries(&topology), expected, "{topology:?}");
        }
    }
}

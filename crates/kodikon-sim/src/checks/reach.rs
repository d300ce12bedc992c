//! Decides who can reach whom over others, and by how many links: all who have a segment or a host in common hear each
//! other, but for exceptions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::checks::Watch;
use crate::cluster::Cluster;
use crate::network::host::{HostId, SegmentId};

/// Relays on a way at most; beyond that nobody is promised anything.
pub const MOST_RELAYS: u32 = 15;

/// By what two nodes may hear each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Common {
    /// A segment into which both hosts are plugged.
    Segment(SegmentId),
    /// The host on which both run.
    Host(HostId),
}

/// Which nodes have what in common, whether they live or not.
#[derive(Debug, Default)]
pub struct Places {
    members: BTreeMap<Common, Vec<usize>>,
    of: BTreeMap<usize, Vec<Common>>,
}

impl Places {
    /// A node runs on this host, which is plugged into these segments.
    pub fn add(&mut self, node: usize, host: HostId, homes: &[SegmentId]) {
        let all: Vec<Common> = homes.iter().map(|&home| Common::Segment(home)).chain([Common::Host(host)]).collect();
        for &common in &all {
            self.members.entry(common).or_default().push(node);
        }
        self.of.insert(node, all);
    }

    /// Whether there is never more than one way: nodes and what they have in common make no circle.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        // A tree has one edge less than it has nodes, those that stand for what is shared among them; a forest one less
        // for each of its trees. What only one node has leads nowhere.
        let shared = self.members.values().filter(|members| members.len() > 1);
        let (commons, edges) = shared.fold((0, 0), |(commons, edges), members| (commons + 1, edges + members.len()));
        let mut missing: BTreeSet<usize> = self.of.keys().copied().collect();
        let mut trees = 0;
        while let Some(first) = missing.first().copied() {
            trees += 1;
            let found = self.links(&[first], |_| true, |_, _, _| true);
            missing.retain(|node| !found.contains_key(node));
        }
        edges + trees == self.of.len() + commons
    }

    /// What two nodes have in common.
    pub fn common(&self, one: usize, two: usize) -> impl Iterator<Item = Common> {
        let of = |node| self.of.get(&node).map(Vec::as_slice).unwrap_or_default();
        of(one).iter().copied().filter(move |common| of(two).contains(common))
    }

    /// Whether two nodes have nothing in common but this segment.
    #[must_use]
    pub fn only_common(&self, segment: SegmentId, one: usize, two: usize) -> bool {
        self.common(one, two).eq([Common::Segment(segment)])
    }

    /// The host on which a node runs.
    #[must_use]
    pub fn host_of(&self, node: usize) -> Option<HostId> {
        self.of.get(&node)?.iter().find_map(|common| match common {
            Common::Host(host) => Some(*host),
            Common::Segment(_) => None,
        })
    }

    /// Links from the nearest of `starts` to every node that can be reached over those who relay.
    pub fn links(
        &self,
        starts: &[usize],
        relays: impl Fn(usize) -> bool,
        joined: impl Fn(Common, usize, usize) -> bool,
    ) -> BTreeMap<usize, u32> {
        let mut found: BTreeMap<usize, u32> = starts.iter().map(|&start| (start, 0)).collect();
        let mut queue: VecDeque<usize> = starts.iter().copied().collect();
        let mut missing = if starts.is_empty() { BTreeMap::new() } else { self.members.clone() };
        while let Some(from) = queue.pop_front() {
            let links = found[&from];
            if links > 0 && !relays(from) {
                continue;
            }
            for common in self.of.get(&from).into_iter().flatten() {
                let Some(others) = missing.get_mut(common) else { continue };
                others.retain(|&to| {
                    let reached = !found.contains_key(&to) && joined(*common, from, to);
                    if reached {
                        found.insert(to, links + 1);
                        queue.push_back(to);
                    }
                    !found.contains_key(&to)
                });
            }
        }
        found
    }
}

impl Places {
    /// By how many segments or hosts all who live are reached from one of them, the nearest first: each counts if it leads to
    /// somebody whom none before it led to.
    #[must_use]
    pub fn least_segments(&self, from: usize, lives: impl Fn(usize) -> bool) -> u64 {
        let (mut found, mut queue, mut count) = (BTreeSet::from([from]), VecDeque::from([from]), 0);
        while let Some(node) = queue.pop_front() {
            for common in self.of.get(&node).into_iter().flatten() {
                let others = self.members.get(common).into_iter().flatten().copied();
                let new: Vec<usize> = others.filter(|other| lives(*other) && !found.contains(other)).collect();
                count += u64::from(!new.is_empty());
                found.extend(new.iter().copied());
                queue.extend(new);
            }
        }
        count
    }
}

/// Whether a node takes part now: its process runs, is not stopped, and has not said goodbye.
#[must_use]
pub fn is_live(cluster: &Cluster<Watch>, node: usize) -> bool {
    let truth = &cluster.observer.truth.nodes[node];
    truth.up && !truth.left && cluster.nodes[node].process.as_ref().is_some_and(|process| !process.paused)
}

/// Whether two live nodes hear each other directly now, both ways.
#[must_use]
pub fn is_link(cluster: &Cluster<Watch>, one: usize, two: usize) -> bool {
    let hears = |common| hears(cluster, common, one, two);
    is_live(cluster, one) && is_live(cluster, two) && cluster.observer.truth.places.common(one, two).any(hears)
}

/// Links from a live node to every live node that it can reach now, itself included.
#[must_use]
pub fn links_from(cluster: &Cluster<Watch>, from: usize) -> BTreeMap<usize, u32> {
    let joined = |common, one, two| is_live(cluster, two) && hears(cluster, common, one, two);
    cluster.observer.truth.places.links(&[from], |_| true, joined)
}

fn hears(cluster: &Cluster<Watch>, common: Common, one: usize, two: usize) -> bool {
    match common {
        Common::Host(_) => true,
        Common::Segment(segment) => {
            cluster.network.is_joined(segment, cluster.nodes[one].host, cluster.nodes[two].host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Common = Common::Segment(SegmentId(1));

    /// 0 and 1 on a segment, 1, 2 and 3 on the next, 3 and 4 on a host.
    fn places() -> Places {
        let mut places = Places::default();
        for (node, host, homes) in [(0, 0, &[0][..]), (1, 1, &[0, 1]), (2, 2, &[1]), (3, 3, &[1]), (4, 3, &[])] {
            let homes: Vec<SegmentId> = homes.iter().map(|&home| SegmentId(home)).collect();
            places.add(node, HostId(host), &homes);
        }
        places
    }

    #[test]
    fn a_tree_has_no_circle() {
        let table: &[(&str, &[&[u32]], bool)] = &[
            ("nothing", &[], true),
            ("one LAN", &[&[0], &[0], &[0]], true),
            ("two apart", &[&[0], &[0], &[1], &[1]], true),
            ("a line", &[&[0], &[0, 1], &[1, 2], &[2]], true),
            ("a ring", &[&[0, 2], &[0, 1], &[1, 2]], false),
            ("two in two", &[&[0, 1], &[0, 1]], false),
            ("two between", &[&[0], &[0, 1], &[0, 1], &[1]], false),
            ("a star", &[&[0, 1, 2], &[0], &[1], &[2]], true),
        ];
        for (case, homes, expected) in table {
            let mut places = Places::default();
            for (node, homes) in homes.iter().enumerate() {
                let homes: Vec<SegmentId> = homes.iter().map(|&home| SegmentId(home)).collect();
                places.add(node, HostId(u32::try_from(node).unwrap()), &homes);
            }
            assert_eq!(places.is_tree(), *expected, "{case}");
        }
    }

    #[test]
    fn ways_lead_over_those_who_relay_and_around_what_is_cut() {
        let places = places();
        let links = |from, dead: &[usize], cuts: &[(usize, usize)]| -> Vec<Option<u32>> {
            let cut = |one, two| cuts.contains(&(one, two)) || cuts.contains(&(two, one));
            let joined = |common, one, two| !(common == CUT && cut(one, two));
            let found = places.links(&[from], |node| !dead.contains(&node), joined);
            (0..5).map(|node| found.get(&node).copied()).collect()
        };
        let table = [
            (0, &[][..], &[][..], [Some(0), Some(1), Some(2), Some(2), Some(3)]),
            (4, &[], &[], [Some(3), Some(2), Some(2), Some(1), Some(0)]),
            (0, &[1], &[], [Some(0), Some(1), None, None, None]),
            (0, &[], &[(1, 3)], [Some(0), Some(1), Some(2), Some(3), Some(4)]),
            (0, &[2], &[(1, 3)], [Some(0), Some(1), Some(2), None, None]),
            (0, &[], &[(1, 2), (1, 3)], [Some(0), Some(1), None, None, None]),
        ];
        for (from, dead, cuts, expected) in table {
            assert_eq!(links(from, dead, cuts), expected, "from {from}, dead {dead:?}, cut {cuts:?}");
        }
        assert_eq!(places.links(&[0, 4], |_| true, |_, _, _| true)[&2], 2, "the nearest start counts");
    }
}

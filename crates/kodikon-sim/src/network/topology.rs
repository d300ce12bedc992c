//! Decides which hosts are plugged into which segments.

use kodikon_core::ground::random::Random;
use serde::Deserialize;

use crate::chance::pick;
use crate::network::host::SegmentId;

/// Which hosts are plugged into which segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Homes {
    /// Every host into every segment.
    #[default]
    All,
    /// Host n into the segments n and n + 1, counted round and round: with as many segments as hosts a ring.
    Mixed,
    /// As the seed has it.
    Drawn,
    /// A segment between each host and the next; `segments` is not asked.
    Line,
    /// As a line, and one more between the last host and the first; `segments` is not asked.
    Ring,
    /// Hosts in rows, as many as there are in a row, a segment between each two neighbours; `segments` is not asked.
    Grid,
    /// One host in all segments, the others each in one.
    Star,
    /// Segments in a row, two hosts between each two neighbours; the other hosts each in one.
    Gateways,
    /// Segments joined by single hosts, at least into a tree, as chance has it; the other hosts each in one.
    Random,
}

/// Interfaces a host has at most, loop-back aside.
pub const MOST_INTERFACES: usize = 12;

/// How many segments there are, and for every host those it is plugged into; one more host, the spare, is plugged into the
/// first. Whether there are hosts enough was checked when the scenario was read.
#[must_use]
pub fn place(homes: Homes, segments: usize, hosts: usize, random: &mut Random) -> (usize, Vec<Vec<SegmentId>>) {
    let (segments, mut plugs) = match homes {
        Homes::All => (segments, vec![(0..segments).collect(); hosts]),
        Homes::Mixed => (segments, mixed(hosts, segments)),
        Homes::Drawn => drawn(hosts, random),
        Homes::Line => between(hosts, &(1..hosts).map(|n| (n - 1, n)).collect::<Vec<_>>()),
        Homes::Ring => between(hosts, &(0..hosts).map(|n| (n, (n + 1) % hosts)).collect::<Vec<_>>()),
        Homes::Grid => between(hosts, &grid(hosts)),
        Homes::Star => (segments, spread(vec![(0..segments).collect()], segments, hosts)),
        Homes::Gateways => {
            let pairs = (1..segments).flat_map(|n| vec![vec![n - 1, n]; 2]).collect();
            (segments, spread(pairs, segments, hosts))
        }
        Homes::Random => (segments, spread(tree(segments, hosts, random), segments, hosts)),
    };
    plugs.push(vec![0]);
    let id = |segment: usize| SegmentId(u32::try_from(segment).expect("few segments"));
    let home = |mut plugs: Vec<usize>| {
        plugs.sort_unstable();
        plugs.dedup();
        plugs.into_iter().map(id).collect()
    };
    (segments, plugs.into_iter().map(home).collect())
}

fn mixed(hosts: usize, segments: usize) -> Vec<Vec<usize>> {
    (0..hosts).map(|host| vec![host % segments, (host + 1) % segments]).collect()
}

fn drawn(hosts: usize, random: &mut Random) -> (usize, Vec<Vec<usize>>) {
    match random.below(5) {
        0..3 => (1, vec![vec![0]; hosts]),
        3 => (2, vec![vec![0, 1]; hosts]),
        _ => (2, mixed(hosts, 2)),
    }
}

/// A segment for each of these pairs of hosts.
fn between(hosts: usize, pairs: &[(usize, usize)]) -> (usize, Vec<Vec<usize>>) {
    let mut plugs = vec![Vec::new(); hosts];
    for (segment, &(one, two)) in pairs.iter().enumerate() {
        plugs[one].push(segment);
        plugs[two].push(segment);
    }
    (pairs.len(), plugs)
}

/// Neighbours in a square, whose last row may be shorter.
fn grid(hosts: usize) -> Vec<(usize, usize)> {
    let width = (1..).find(|width| width * width >= hosts).expect("numbers do not end");
    let right = (1..hosts).filter(|n| n % width > 0).map(|n| (n - 1, n));
    right.chain((width..hosts).map(|n| (n - width, n))).collect()
}

/// Those that join segments, and the other hosts evenly in one each.
fn spread(mut joints: Vec<Vec<usize>>, segments: usize, hosts: usize) -> Vec<Vec<usize>> {
    let others = hosts - joints.len();
    joints.extend((0..others).map(|n| vec![n % segments]));
    joints
}

/// Pairs of segments: each with one before it, and half as many again by chance, as far as a third of the hosts go round.
fn tree(segments: usize, hosts: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut pairs: Vec<Vec<usize>> = (1..segments).map(|n| vec![random.place(n), n]).collect();
    let more = (segments / 2).min((hosts / 3).saturating_sub(pairs.len()));
    let all: Vec<usize> = (0..segments).collect();
    for _ in 0..more {
        let one = random.place(segments);
        let others: Vec<usize> = all.iter().copied().filter(|&other| other != one).collect();
        pairs.extend(pick(random, &others).map(|&two| vec![one, two]));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chance::source;

    /// How many segments, hosts in more than one, most of one host, and whether all hosts are joined.
    fn figures(homes: Homes, segments: usize, hosts: usize, seed: u64) -> (usize, usize, usize, bool) {
        let (segments, mut plugs) = place(homes, segments, hosts, &mut source(seed, "test"));
        assert_eq!(plugs.pop(), Some(vec![SegmentId(0)]), "the spare");
        assert_eq!(plugs.len(), hosts);
        let mut reached = BTreeSet::from([SegmentId(0)]);
        for _ in 0..hosts {
            let joined = plugs.iter().filter(|home| home.iter().any(|segment| reached.contains(segment)));
            reached = joined.flatten().copied().collect();
        }
        let most = plugs.iter().map(Vec::len).max().unwrap();
        let joints = plugs.iter().filter(|home| home.len() > 1).count();
        (segments, joints, most, plugs.iter().all(|home| home.iter().all(|segment| reached.contains(segment))))
    }

    #[test]
    fn every_shape_has_its_segments_and_is_in_one_piece() {
        let table = [
            // (shape, segments asked for, hosts; segments, hosts in several, most of one host)
            (Homes::All, 2, 5, 2, 5, 2),
            (Homes::Mixed, 8, 8, 8, 8, 2),
            (Homes::Line, 1, 7, 6, 5, 2),
            (Homes::Line, 1, 2, 1, 0, 1),
            (Homes::Ring, 1, 6, 6, 6, 2),
            (Homes::Grid, 1, 9, 12, 9, 4),
            (Homes::Grid, 1, 8, 10, 8, 4),
            (Homes::Star, 6, 20, 6, 1, 6),
            (Homes::Gateways, 5, 30, 5, 8, 2),
            (Homes::Gateways, 2, 2, 2, 2, 2),
            (Homes::Random, 8, 30, 8, 10, 2),
            (Homes::Random, 20, 1_000, 20, 29, 2),
        ];
        for (homes, asked, hosts, segments, joints, most) in table {
            for seed in 0..20 {
                let found = figures(homes, asked, hosts, seed);
                assert_eq!(found, (segments, joints, most, true), "{homes:?} of {hosts}, seed {seed}");
            }
        }
    }

    #[test]
    fn hosts_that_join_nothing_are_spread_evenly() {
        let (_, plugs) = place(Homes::Gateways, 5, 30, &mut source(1, "test"));
        let count = |segment| plugs[..30].iter().filter(|home| **home == [SegmentId(segment)]).count();
        assert_eq!([0, 1, 2, 3, 4].map(count), [5, 5, 4, 4, 4]);
    }
}

//! Decides which ways are known from what came by them: used towards its origin where the map knows none.

use crate::ground::bounded::RecentMap;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::wire::letter::{Path, Stamp};

/// Ways remembered; the one learned longest ago makes room.
pub(super) const MAX_LEARNED: usize = 4_096;
/// How long a way is believed in.
const AGE: Duration = Duration::from_secs(3_600);

/// Ways learned.
#[derive(Debug)]
pub(super) struct Learned {
    ways: RecentMap<NodeId, (Instant, NodeId, Path)>,
}

impl Learned {
    pub(super) fn new() -> Self {
        Self { ways: RecentMap::new(MAX_LEARNED) }
    }

    /// Something came from a node by a neighbour.
    pub(super) fn note(&mut self, now: Instant, origin: NodeId, from: NodeId, path: &Path) {
        if origin != from {
            self.ways.insert(origin, (now, from, path.clone()));
        }
    }

    /// The neighbour by which something came from a node, and all relays to it, the nearest first.
    pub(super) fn way_to(&self, now: Instant, id: &NodeId) -> Option<(NodeId, Vec<Stamp>)> {
        let (at, from, path) = self.ways.get(id)?;
        let relays = path.0.iter().rev().copied().collect();
        (now.since(*at) < AGE).then_some((*from, relays))
    }

    pub(super) fn len(&self) -> usize {
        self.ways.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> NodeId {
        NodeId(core::array::from_fn(|byte| n.to_be_bytes()[byte % 2]))
    }

    fn path(relays: &[u16]) -> Path {
        Path(relays.iter().map(|n| Stamp::of(&id(*n))).collect())
    }

    #[test]
    fn a_way_is_believed_in_for_an_hour_and_leads_back_by_the_same_relays() {
        let mut learned = Learned::new();
        learned.note(Instant::ZERO, id(9), id(2), &path(&[4, 3, 2]));
        learned.note(Instant::ZERO, id(5), id(5), &path(&[]));
        let relays = Some((id(2), path(&[2, 3, 4]).0));
        for (s, expected) in [(0, relays.clone()), (3_599, relays), (3_600, None)] {
            assert_eq!(learned.way_to(Instant::ZERO + Duration::from_secs(s), &id(9)), expected, "after {s} s");
        }
        assert_eq!(learned.way_to(Instant::ZERO, &id(5)), None, "it is heard itself");
    }

    #[test]
    fn of_too_many_ways_the_one_learned_longest_ago_is_forgotten_and_no_other() {
        let mut learned = Learned::new();
        let count = MAX_LEARNED as u16;
        (0..count).chain([0, count]).for_each(|n| learned.note(Instant::ZERO, id(n), id(60_000), &path(&[60_000])));
        assert_eq!(learned.len(), MAX_LEARNED);
        let known: Vec<bool> =
            [0, 1, 2, count].into_iter().map(|n| learned.way_to(Instant::ZERO, &id(n)).is_some()).collect();
        assert_eq!(known, [true, false, true, true], "0 was learned again, so 1 is the oldest");
    }
}

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

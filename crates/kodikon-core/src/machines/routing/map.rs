//! Decides which links there are, where both ends say so, and the shortest way along them from any node.

use std::collections::BTreeMap;

use crate::ground::id::NodeId;
use crate::model::links::{LinksBody, SegmentId, ShortId};

/// A way from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The relays, then the destination.
    pub path: Vec<NodeId>,
    /// The sum of the costs of its links.
    pub cost: u32,
    /// The segment of the first link; `None` for a direct link.
    pub first: Option<SegmentId>,
}

/// The links of all nodes as they tell of them.
#[derive(Debug)]
pub struct Map {
    me: NodeId,
    links: BTreeMap<NodeId, LinksBody>,
    members: BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>,
}

impl Map {
    /// An empty map around this node.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { me, links: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// All links of a node, in the place of what it said before.
    pub fn set_links(&mut self, author: NodeId, links: LinksBody) {
        self.links.insert(author, links);
    }

    /// One part of the members of a segment, by the node that names it.
    pub fn set_members(&mut self, author: NodeId, segment: SegmentId, part: u8, members: Vec<ShortId>) {
        self.members.insert((segment, author, part), members);
    }

    /// A node is gone: what it said counts no more.
    pub fn forget(&mut self, author: &NodeId) {
        self.links.remove(author);
        self.members.retain(|(_, namer, _), _| namer != author);
    }
}

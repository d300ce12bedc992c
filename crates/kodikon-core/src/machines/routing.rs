//! Decides by which relays a node is reached: what links this node tells of, and the shortest ways through those of all.

pub mod map;

use crate::ground::id::NodeId;
use crate::machines::routing::map::Map;
use crate::model::links::{LinksBody, MembersBody};
use crate::model::op::SignedOp;

/// Ways through the mesh. See the module's first line.
#[derive(Debug)]
pub struct Routing {
    map: Map,
}

impl Routing {
    /// Knows of no link.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { map: Map::new(me) }
    }

    /// A present peer tells of its links, or of who is on a segment that it names.
    pub fn on_op(&mut self, op: &SignedOp) {
        let (_, key) = op.key();
        if key.is_empty() {
            if let Some(links) = LinksBody::parse(op.body()) {
                self.map.set_links(op.author(), links);
            }
        } else if let Some((segment, part, members)) = MembersBody::parse(&op.author(), &key, op.body()) {
            self.map.set_members(op.author(), segment, part, members);
        }
    }

    /// The ways of this node.
    pub fn map(&mut self) -> &mut Map {
        &mut self.map
    }
}

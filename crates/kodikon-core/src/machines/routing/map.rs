//! Decides which links there are, where both ends say so, and the shortest way along them from any node.

use std::collections::{BTreeMap, BTreeSet};

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

type Tree = BTreeMap<NodeId, (u32, u32, NodeId, Option<SegmentId>)>;

/// The links of all nodes as they tell of them.
#[derive(Debug)]
pub struct Map {
    me: NodeId,
    links: BTreeMap<NodeId, LinksBody>,
    members: BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>,
    version: u64,
    trees: BTreeMap<NodeId, Tree>,
}

impl Map {
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { me, links: BTreeMap::new(), members: BTreeMap::new(), version: 0, trees: BTreeMap::new() }
    }
    pub fn set_links(&mut self, author: NodeId, links: LinksBody) {
        self.links.insert(author, links);
        self.version += 1;
        self.trees.clear();
    }
    pub fn set_members(&mut self, author: NodeId, segment: SegmentId, part: u8, members: Vec<ShortId>) {
        if self.members.insert((segment, author, part), members.clone()) != Some(members) {
            self.version += 1;
            self.trees.clear();
        }
    }
    pub fn forget(&mut self, author: &NodeId) {
        self.links.remove(author);
        self.members.retain(|(_, namer, _), _| namer != author);
        self.version += 1;
        self.trees.clear();
    }
    pub fn links_of(&self, id: &NodeId) -> Option<&LinksBody> {
        self.links.get(id)
    }
    fn list(&self, segment: SegmentId) -> BTreeSet<ShortId> {
        self.members
            .range((segment, NodeId([0; 16]), 0)..=(segment, NodeId([255; 16]), 255))
            .flat_map(|(_, list)| list.iter().copied())
            .collect()
    }
    pub fn members_of(&self, segment: SegmentId) -> impl Iterator<Item = NodeId> {
        let list = self.list(segment);
        let on = |links: &LinksBody| links.segments.iter().any(|link| link.segment == segment);
        let all: Vec<NodeId> = self
            .links
            .iter()
            .filter(|(id, links)| list.contains(&ShortId::of(id)) && on(links))
            .map(|(id, _)| *id)
            .collect();
        all.into_iter()
    }
    fn edges(&self, a: &NodeId) -> Vec<(NodeId, u32, Option<SegmentId>)> {
        let mut out = Vec::new();
        let Some(mine) = self.links.get(a) else { return out };
        for link in &mine.segments {
            let members: Vec<NodeId> = self.members_of(link.segment).collect();
            if !members.contains(a) {
                continue;
            }
            for b in members.into_iter().filter(|b| b != a) {
                let theirs = self.links[&b].segments.iter().find(|l| l.segment == link.segment).unwrap();
                if !link.unheard.0.contains(&ShortId::of(&b)) && !theirs.unheard.0.contains(&ShortId::of(a)) {
                    out.push((b, u32::from(link.cost) + u32::from(theirs.cost), Some(link.segment)));
                }
            }
        }
        for link in &mine.direct {
            for (b, theirs) in self.links.range(link.peer.0[0].lowest()..).take(1) {
                if ShortId::of(b) != link.peer.0[0] {
                    continue;
                }
                if let Some(back) = theirs.direct.iter().find(|l| l.peer.0[0] == ShortId::of(a)) {
                    out.push((*b, u32::from(link.cost) + u32::from(back.cost), None));
                }
            }
        }
        out
    }
    fn tree(&mut self, root: &NodeId) -> &Tree {
        if !self.trees.contains_key(root) {
            let mut done: Tree = BTreeMap::new();
            let mut open: BTreeSet<(u32, u32, NodeId, NodeId, Option<SegmentId>)> =
                BTreeSet::from([(0, 0, *root, *root, None)]);
            while let Some((cost, hops, parent, node, via)) = open.pop_first() {
                if done.contains_key(&node) {
                    continue;
                }
                done.insert(node, (cost, hops, parent, via));
                for (next, more, via) in self.edges(&node) {
                    if !done.contains_key(&next) {
                        open.insert((cost + more, hops + 1, node, next, via));
                    }
                }
            }
            self.trees.insert(*root, done);
        }
        &self.trees[root]
    }
    pub fn way_to(&mut self, to: &NodeId) -> Option<Way> {
        let me = self.me;
        self.way_from(&me, to)
    }
    pub fn way_from(&mut self, root: &NodeId, to: &NodeId) -> Option<Way> {
        let tree = self.tree(root);
        let cost = tree.get(to).filter(|_| to != root)?.0;
        let mut path = vec![*to];
        let mut first = tree[to].3;
        let mut at = tree[to].2;
        while at != *root {
            path.push(at);
            first = tree[&at].3;
            at = tree[&at].2;
        }
        path.reverse();
        Some(Way { path, cost, first })
    }
    pub fn next_hop(&mut self, to: &NodeId) -> Option<NodeId> {
        self.way_to(to)?.path.first().copied()
    }
    pub fn relays_to(&mut self, to: &NodeId) -> Option<u8> {
        u8::try_from(self.way_to(to)?.path.len() - 1).ok()
    }
    pub fn children_of(&mut self, root: &NodeId) -> Option<Vec<(NodeId, Option<SegmentId>)>> {
        let me = self.me;
        self.links.get(root)?;
        let tree = self.tree(root);
        tree.get(&me)?;
        Some(tree.iter().filter(|(id, (_, _, parent, _))| **id != me && *parent == me).map(|(id, n)| (*id, n.3)).collect())
    }
    pub fn is_listed(&mut self, id: &NodeId) -> bool {
        let short = ShortId::of(id);
        let me = self.me;
        let reached: Vec<NodeId> = self.tree(&me).keys().copied().collect();
        reached.iter().filter(|author| *author != id).any(|author| {
            let direct = |links: &LinksBody| links.direct.iter().any(|link| link.peer.0[0] == short);
            let on = |links: &LinksBody, segment| links.segments.iter().any(|link| link.segment == segment);
            let Some(links) = self.links.get(author) else { return false };
            direct(links)
                || links.segments.iter().any(|link| link.namer.0.contains(&short))
                || self.members.iter().any(|((segment, namer, _), list)| {
                    namer == author && on(links, *segment) && list.contains(&short)
                })
        })
    }
    pub fn shares_segment(&self, id: &NodeId) -> bool {
        let Some(mine) = self.links.get(&self.me) else { return false };
        mine.segments.iter().any(|link| self.list(link.segment).contains(&ShortId::of(id)))
    }
    pub fn is_heard_by_others(&mut self, id: &NodeId) -> bool {
        self.way_to(id).is_some_and(|way| way.path.len() > 1)
    }
    pub fn is_heard_beyond(&mut self, id: &NodeId) -> bool {
        let Some(mine) = self.links.get(&self.me) else { return false };
        let ours: Vec<SegmentId> = mine.segments.iter().map(|link| link.segment).collect();
        let me = self.me;
        let reached: BTreeSet<NodeId> = self.tree(&me).keys().copied().collect();
        self.edges(id).iter().any(|(other, _, via)| {
            *other != me && reached.contains(other) && via.is_none_or(|segment| !ours.contains(&segment))
        })
    }
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![("mapped", self.links.len(), 4_097)]
    }
}

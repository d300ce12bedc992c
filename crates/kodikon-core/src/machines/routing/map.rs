//! Decides which links there are, where both ends say so, and the shortest way along them from any node.

mod graph;
mod ranks;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::machines::routing::map::graph::Graph;
use crate::machines::routing::map::tree::{Counts, Search, Tree};
use crate::model::links::{LinksBody, MAX_PARTS, SegmentId, ShortId};
use crate::wire::letter::{Link, Stamp};

/// Parts of member lists that one author holds at most, over all segments that it names: two of the largest. When one
/// more comes, the one that it set longest ago makes room.
const MAX_PARTS_OF_AUTHOR: usize = 2 * MAX_PARTS;
/// Parts of all authors: 7 MB if all are full. When one more comes, the author that holds most loses the one that it set
/// longest ago, so that a liar makes room for the others.
const MAX_PARTS_IN_ALL: usize = 2 * MAX_PEERS;
/// Nodes of one map: what a [`tree::Label`] can count. The roster refuses nodes long before; here a new one is ignored.
const MAX_NODES: usize = 1 << 16;
/// Trees kept for roots other than this node: 12 bytes for each node of the map. When one more is made, the one made
/// longest ago makes room.
const MAX_TREES: usize = 32;

/// A way from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The relays, then the destination.
    pub path: Vec<NodeId>,
    /// The sum of the costs of its links.
    pub cost: u32,
    /// The segment of the first link; `None` for a direct link, which goes first where both cost the same.
    pub first: Option<SegmentId>,
}

/// Those that get what a root says from one node by one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Whether that node is this one.
    pub is_ours: bool,
    /// By which segment; `None`: by direct links.
    pub on: Option<SegmentId>,
    /// Who.
    pub members: Vec<NodeId>,
}

/// The links of all nodes as they tell of them.
#[derive(Debug)]
pub struct Map {
    me: NodeId,
    authors: BTreeMap<NodeId, Author>,
    parts: BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>,
    version: u64,
    /// The digest of the version beside it.
    print: (u64, u64),
    graph: Graph,
    /// The version that the graph was prepared from.
    prepared: u64,
    search: Search,
    own: Tree,
    /// The version that `own` was made from.
    own_made: u64,
    trees: Vec<Tree>,
    /// How many trees were made since the graph was prepared; those beyond are stale, kept for their memory.
    made: usize,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Author {
    links: LinksBody,
    /// Whether it has told of its links, be they none.
    has_told: bool,
    /// Its parts, the one set longest ago first.
    parts: Vec<(SegmentId, u8)>,
}

impl Author {
    fn is_blank(&self) -> bool {
        self.parts.is_empty() && !self.has_told
    }
}

impl Map {
    /// An empty map around this node.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            authors: BTreeMap::from([(me, Author::default())]),
            parts: BTreeMap::new(),
            version: 1,
            print: (0, 0),
            graph: Graph::default(),
            prepared: 0,
            search: Search::default(),
            own: Tree::default(),
            own_made: 0,
            trees: Vec::new(),
            made: 0,
        }
    }

    /// All links of a node, in the place of what it said before. They come through [`LinksBody::parse`], which limits them;
    /// of several entries for one segment or peer the first counts.
    pub fn set_links(&mut self, author: NodeId, links: LinksBody) {
        let Some(known) = author_of(&mut self.authors, author) else { return };
        known.has_told = true;
        if known.links != links {
            known.links = links;
            self.version += 1;
        }
    }

    /// One part of the members of a segment, by the node that names it; an empty one is none.
    pub fn set_members(&mut self, author: NodeId, segment: SegmentId, part: u8, members: Vec<ShortId>) {
        let Some(known) = author_of(&mut self.authors, author) else { return };
        let key = (segment, author, part);
        let is_known = self.parts.get(&key) == Some(&members);
        known.parts.retain(|kept| *kept != (segment, part));
        if members.is_empty() {
            self.version += u64::from(self.parts.remove(&key).is_some());
            self.drop_blank(&author);
            return;
        }
        known.parts.push((segment, part));
        self.parts.insert(key, members);
        self.version += u64::from(!is_known);
        self.make_room(author);
    }

    /// Holds the limits of parts after one of `author` was set.
    fn make_room(&mut self, author: NodeId) {
        let is_greedy = self.authors.get(&author).is_some_and(|known| known.parts.len() > MAX_PARTS_OF_AUTHOR);
        let loser = if is_greedy {
            Some(author)
        } else if self.parts.len() > MAX_PARTS_IN_ALL {
            self.authors.iter().max_by_key(|(_, known)| known.parts.len()).map(|(id, _)| *id)
        } else {
            None
        };
        let Some(loser) = loser else { return };
        if let Some(known) = self.authors.get_mut(&loser).filter(|known| !known.parts.is_empty()) {
            let (segment, part) = known.parts.remove(0);
            self.parts.remove(&(segment, loser, part));
            self.version += 1;
        }
        self.drop_blank(&loser);
    }

    /// A node is gone: what it said counts no more.
    pub fn forget(&mut self, author: &NodeId) {
        let Some(known) = self.authors.remove(author) else { return };
        for (segment, part) in known.parts {
            self.parts.remove(&(segment, *author, part));
        }
        if *author == self.me {
            self.authors.insert(self.me, Author::default());
        }
        self.version += 1;
    }

    fn drop_blank(&mut self, id: &NodeId) {
        if *id != self.me && self.authors.get(id).is_some_and(Author::is_blank) {
            self.authors.remove(id);
        }
    }

    /// The shortest way from this node; `None` to itself.
    pub fn way_to(&mut self, to: &NodeId) -> Option<Way> {
        self.look();
        self.own.way(&self.graph, self.graph.find(to)?)
    }

    /// The shortest way from this node that passes none of these nodes and uses none of these links.
    pub fn way_around(&mut self, to: &NodeId, avoid: &[Stamp], dead: &[Link]) -> Option<Way> {
        self.way_by(Counts::Cost, to, avoid, dead)
    }

    /// The way with the fewest relays, likewise; of several one of the cheapest.
    pub fn fewest_relays(&mut self, to: &NodeId, avoid: &[Stamp], dead: &[Link]) -> Option<Way> {
        let way = self.way_by(Counts::Links, to, avoid, dead)?;
        let cost = self.links_along(&way.path).iter().map(|(cost, _)| cost).sum();
        Some(Way { cost, ..way })
    }

    fn way_by(&mut self, counts: Counts, to: &NodeId, avoid: &[Stamp], dead: &[Link]) -> Option<Way> {
        self.look();
        let to = self.graph.find(to)?;
        let (around, shut) = self.named_by(to, avoid, dead);
        let mut tree = Tree::default();
        self.search.run_by(counts, &self.graph, self.own.root(), (&around, &shut), &mut tree);
        tree.way(&self.graph, to)
    }

    /// The nodes and links of the graph that are meant by stamps, ends of a way aside.
    fn named_by(&self, to: u32, avoid: &[Stamp], dead: &[Link]) -> (Vec<u32>, Vec<(u32, u32)>) {
        let me = self.own.root();
        let nodes = || (0..self.graph.node_count() as u32).map(|node| (node, Stamp::of(&self.graph.id(node))));
        let around: Vec<u32> = nodes()
            .filter(|(node, stamp)| *node != to && *node != me && avoid.contains(stamp))
            .map(|(node, _)| node)
            .collect();
        let ends: Vec<(u32, Stamp)> =
            nodes().filter(|(_, stamp)| dead.iter().any(|(a, b)| a == stamp || b == stamp)).collect();
        let bearing = |stamp: Stamp| ends.iter().filter(move |(_, held)| *held == stamp).map(|(node, _)| *node);
        let shut: Vec<(u32, u32)> =
            dead.iter().flat_map(|(a, b)| bearing(*a).flat_map(|a| bearing(*b).map(move |b| (a, b)))).collect();
        (around, shut)
    }

    /// What each link of a way from this node costs, and what is lost on it, in thousandths. A way of another map has none.
    pub fn links_along(&mut self, path: &[NodeId]) -> Vec<(u32, u32)> {
        self.look();
        let nodes: Option<Vec<u32>> = [self.me].iter().chain(path).map(|id| self.graph.find(id)).collect();
        let nodes = nodes.unwrap_or_default();
        let links: Option<Vec<_>> = nodes.windows(2).map(|ends| self.graph.between(ends[0], ends[1])).collect();
        links.unwrap_or_default().iter().map(|link| (link.cost, link.loss.permille())).collect()
    }

    /// Whether two nodes have both told of their links, and of none between them.
    pub fn has_lost(&mut self, one: &NodeId, other: &NodeId) -> bool {
        if self.links_of(one).is_none() || self.links_of(other).is_none() {
            return false;
        }
        self.prepare();
        let ends = self.graph.find(one).zip(self.graph.find(other));
        ends.is_none_or(|(one, other)| self.graph.between(one, other).is_none())
    }

    /// The shortest ways from this node to others that do not begin with this neighbour; it costs a tree.
    pub fn ways_beside(&mut self, hop: &NodeId, to: &[NodeId]) -> Vec<Option<Way>> {
        self.look();
        let (me, Some(hop)) = (self.own.root(), self.graph.find(hop)) else { return vec![None; to.len()] };
        let mut tree = Tree::default();
        self.search.run_by(Counts::Cost, &self.graph, me, (&[], &[(me, hop)]), &mut tree);
        to.iter().map(|to| tree.way(&self.graph, self.graph.find(to)?)).collect()
    }

    /// How many nodes are on the map.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.authors.len()
    }

    /// The first node on the shortest way from this one.
    pub fn next_hop(&mut self, to: &NodeId) -> Option<NodeId> {
        self.look();
        let hop = self.own.hop(self.graph.find(to)?)?;
        Some(self.graph.id(hop))
    }

    /// How many relays the shortest way from this node has; 255 stands for all above.
    pub fn relays_to(&mut self, to: &NodeId) -> Option<u8> {
        self.look();
        let relays = self.own.links(self.graph.find(to)?)?.checked_sub(1)?;
        Some(u8::try_from(relays).unwrap_or(u8::MAX))
    }

    /// The shortest way between any two nodes; `None` from a node to itself.
    pub fn way_from(&mut self, root: &NodeId, to: &NodeId) -> Option<Way> {
        if *root == self.me {
            return self.way_to(to);
        }
        self.prepare();
        let (root, to) = (self.graph.find(root)?, self.graph.find(to)?);
        let slot = self.slot_of(root);
        self.trees[slot].way(&self.graph, to)
    }

    /// Where the tree of a root is, which is made if it is not there.
    fn slot_of(&mut self, root: u32) -> usize {
        let fresh = self.made.min(MAX_TREES);
        if let Some(slot) = self.trees[..fresh].iter().position(|tree| tree.root() == root) {
            return slot;
        }
        let slot = self.made % MAX_TREES;
        if slot == self.trees.len() {
            self.trees.push(Tree::default());
        }
        self.search.run(&self.graph, root, &[], &mut self.trees[slot]);
        self.made += 1;
        slot
    }

    /// Whether another node needs the map.
    #[must_use]
    pub fn has_joint(&self) -> bool {
        self.authors.iter().any(|(id, known)| known.links.is_joint && *id != self.me)
    }

    /// What a node told of its links, if it did.
    #[must_use]
    pub fn links_of(&self, id: &NodeId) -> Option<&LinksBody> {
        self.authors.get(id).filter(|known| known.has_told).map(|known| &known.links)
    }

    /// Whom this node is the last relay to on the way from a root, and over which segment (`None`: a direct link). `None` if the
    /// root is not on the map or does not reach this node.
    pub fn children_of(&mut self, root: &NodeId) -> Option<Vec<(NodeId, Option<SegmentId>)>> {
        self.look();
        let (root, me) = (self.graph.find(root)?, self.own.root());
        let slot = self.slot_of(root);
        let tree = &self.trees[slot];
        tree.links(me)?;
        let graph = &self.graph;
        Some(tree.children(me).map(|child| (graph.id(child), graph.segment_between(me, child))).collect())
    }

    /// On this node's segments, and by its direct links, who gets from whom what a root says: this node's own shares, and those
    /// of others for which it could stand in. `None` if the root is not on the map or does not reach this node.
    pub fn shares_of(&mut self, root: &NodeId) -> Option<Vec<Share>> {
        self.look();
        let (root, me) = (self.graph.find(root)?, self.own.root());
        let slot = self.slot_of(root);
        let (tree, graph) = (&self.trees[slot], &self.graph);
        tree.links(me)?;
        let mut shares: BTreeMap<(bool, Option<SegmentId>), Vec<NodeId>> = BTreeMap::new();
        for child in tree.children(me) {
            shares.entry((true, graph.segment_between(me, child))).or_default().push(graph.id(child));
        }
        for (_, stay) in graph.stays(me) {
            let segment = Some(graph.segment_at(stay.segment));
            for node in graph.members(stay.segment).iter().map(|member| member.node).filter(|node| *node != me) {
                let Some(last) = tree.last(node).filter(|last| *last != me) else { continue };
                if graph.segment_between(last, node) == segment {
                    shares.entry((false, segment)).or_default().push(graph.id(node));
                }
            }
        }
        Some(shares.into_iter().map(|((is_ours, on), members)| Share { is_ours, on, members }).collect())
    }

    /// A digest of what all nodes tell of their links: where two have the same, they find the same ways.
    pub fn print(&mut self) -> u64 {
        if self.print.0 != self.version {
            let mut hasher = blake3::Hasher::new();
            for (id, known) in self.authors.iter().filter(|(_, known)| known.links != LinksBody::default()) {
                let links = minicbor::to_vec(&known.links).expect("encoding into memory cannot fail");
                hasher.update(&id.0).update(&links);
            }
            for ((segment, author, part), members) in &self.parts {
                hasher.update(&segment.0.to_le_bytes()).update(&author.0).update(&[*part]);
                for member in members {
                    hasher.update(&member.0);
                }
            }
            let mut bytes = [0; 8];
            hasher.finalize_xof().fill(&mut bytes);
            self.print = (self.version, u64::from_le_bytes(bytes));
        }
        self.print.1
    }

    /// Whether a node that can be reached, this one included, says that the node is there: a namer that is on its segment
    /// lists it as a member, another lists it as a direct link, or is on a segment that it names.
    pub fn is_listed(&mut self, id: &NodeId) -> bool {
        self.look();
        let own = &self.own;
        let mut listing = self.graph.namers_listing(id).chain(self.graph.claimers_of(id)).chain(self.graph.naming(id));
        listing.any(|vertex| own.links(vertex).is_some())
    }

    /// The other nodes, this one aside, that tell of a direct link to a node.
    pub fn claimers_of(&mut self, id: &NodeId) -> impl Iterator<Item = NodeId> {
        self.look();
        let claimers = self.graph.claimers_of(id).map(|vertex| self.graph.id(vertex));
        claimers.filter(|claimer| *claimer != self.me)
    }

    /// Whether a namer lists the node as a member of a segment that this node is on.
    #[must_use]
    pub fn shares_segment(&self, id: &NodeId) -> bool {
        let short = ShortId::of(id);
        let own = self.authors.get(&self.me).map(|known| known.links.segments.as_slice()).unwrap_or_default();
        own.iter().any(|link| self.lists_of(link.segment).any(|members| members.contains(&short)))
    }

    /// Whether there is a way from this node to another whose last link is not this node's own, and which does not lead
    /// through the other before.
    pub fn is_heard_by_others(&mut self, id: &NodeId) -> bool {
        self.look();
        let Some(vertex) = self.graph.find(id).filter(|vertex| *vertex != self.own.root()) else { return false };
        match self.own.links(vertex) {
            None => false,
            Some(1) => {
                // The shortest way is the direct one: is one of its neighbours reached without it?
                let mut around = Tree::default();
                self.search.run(&self.graph, self.own.root(), &[vertex], &mut around);
                let me = self.own.root();
                self.graph.neighbours(vertex).any(|near| near != me && around.links(near).is_some())
            }
            Some(_) => true,
        }
    }

    /// Whether others hear a node on segments that are not ours, or directly: what is said of our own segments is said by those who
    /// may be as late in noticing its silence as we.
    pub fn is_heard_beyond(&mut self, id: &NodeId) -> bool {
        self.look();
        let me = self.own.root();
        let Some(vertex) = self.graph.find(id) else { return false };
        let own = &self.own;
        self.graph.neighbours_beyond(vertex, me).any(|near| near != me && own.links(near).is_some())
    }

    /// The nodes that list the segment and are listed by its namer, by id.
    pub fn members_of(&self, segment: SegmentId) -> impl Iterator<Item = NodeId> {
        let listed: BTreeSet<ShortId> = self.lists_of(segment).flatten().copied().collect();
        let claims = move |known: &Author| known.links.segments.iter().any(|link| link.segment == segment);
        let nodes = self.authors.iter();
        nodes.filter(move |(id, known)| listed.contains(&ShortId::of(id)) && claims(known)).map(|(id, _)| *id)
    }

    /// Whether the namer of a segment lists a node there.
    #[must_use]
    pub fn lists(&self, segment: SegmentId, namer: &NodeId, id: &NodeId) -> bool {
        let short = ShortId::of(id);
        let mut parts = self.parts.range((segment, *namer, 0)..=(segment, *namer, u8::MAX));
        parts.any(|(_, members)| members.contains(&short))
    }

    /// Of how many of its links their other ends know nothing, for whoever says any such: direct ones that a node which told of its own does
    /// not have, and segments whose namers list others.
    #[must_use]
    pub fn denied(&self) -> BTreeMap<NodeId, usize> {
        let ends = |(id, known): (&NodeId, &Author)| {
            let short = ShortId::of(id);
            let peers: Vec<ShortId> = known.links.direct.iter().flat_map(|link| link.peer.0.iter().copied()).collect();
            peers.into_iter().map(move |peer| (short, peer))
        };
        let said: BTreeSet<(ShortId, ShortId)> = self.authors.iter().flat_map(ends).collect();
        let told = self.authors.iter().filter(|(_, known)| known.has_told);
        let told: BTreeSet<ShortId> = told.map(|(id, _)| ShortId::of(id)).collect();
        let mut listed: BTreeMap<SegmentId, BTreeSet<ShortId>> = BTreeMap::new();
        for ((segment, ..), members) in &self.parts {
            listed.entry(*segment).or_default().extend(members);
        }
        let denied = |(id, known): (&NodeId, &Author)| {
            let short = ShortId::of(id);
            let peers = known.links.direct.iter().flat_map(|link| link.peer.0.iter());
            let direct = peers.filter(|peer| told.contains(peer) && !said.contains(&(**peer, short))).count();
            let is_left_out = |segment: &SegmentId| listed.get(segment).is_some_and(|listed| !listed.contains(&short));
            let segments = known.links.segments.iter().filter(|link| is_left_out(&link.segment)).count();
            (*id, direct + segments)
        };
        self.authors.iter().map(denied).filter(|(_, count)| *count > 0).collect()
    }

    fn lists_of(&self, segment: SegmentId) -> impl Iterator<Item = &Vec<ShortId>> {
        let (first, last) = ((segment, NodeId([0; 16]), 0), (segment, NodeId([u8::MAX; 16]), u8::MAX));
        self.parts.range(first..=last).map(|(_, members)| members)
    }

    /// Raised whenever a way may have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How full each table is: its name, its entries, and how many there may be.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("map_nodes", self.authors.len(), MAX_PEERS + 1),
            ("map_parts", self.parts.len(), MAX_PARTS_IN_ALL),
            ("map_trees", self.trees.len(), MAX_TREES),
        ]
    }

    /// Makes the tree of this node if the map changed.
    fn look(&mut self) {
        if self.own_made != self.version {
            self.prepare();
            let me = self.graph.find(&self.me).expect("a map is made with its own node, which is never dropped");
            self.search.run(&self.graph, me, &[], &mut self.own);
            self.own_made = self.version;
        }
    }

    fn prepare(&mut self) {
        if self.prepared != self.version {
            self.graph.prepare(&self.authors, &self.parts);
            self.made = 0;
            self.prepared = self.version;
        }
    }
}

/// The entry of a node, which is made if there is room for it.
fn author_of(authors: &mut BTreeMap<NodeId, Author>, id: NodeId) -> Option<&mut Author> {
    let has_room = authors.len() < MAX_NODES || authors.contains_key(&id);
    has_room.then(|| authors.entry(id).or_default())
}

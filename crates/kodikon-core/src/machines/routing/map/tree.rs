//! Decides the shortest ways from one root to all nodes.
//!
//! Dijkstra over nodes and segments: a node that is left *enters* its segments, and a segment passes on to its members. The
//! first to enter offers the best to every member that has a link to it, since the rest of the way costs each member
//! the same; members with a gap to it wait for the next.
//!
//! The rule of ties: of ways that cost the same the one with fewer links, then the one whose last node before the
//! destination has the lower id. Both are asked of the shortest ways of that last node in turn, so the tree is a
//! function of the links alone.

use crate::ground::id::NodeId;
use crate::machines::routing::map::Way;
use crate::machines::routing::map::graph::Graph;
use crate::model::links::MAX_COST;
use crate::wire::letter::MAX_PATH;

const NONE: u32 = u32::MAX;

/// What a way costs (28 bits), how many links it has (16) and the last node before its end (20), in the order in which
/// ways are compared: the lower number is the better way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label(u64);

/// A shortest way to each node that a root reaches.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: u32,
    labels: Vec<Label>,
    /// The first node on the way to each.
    hops: Vec<u32>,
}

/// What a search needs, kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Search {
    queue: Queue,
    /// By segment, the best of those that entered it.
    entered: Vec<Label>,
    /// By segment with gaps, places of the members that no one who entered has a link to.
    waiting: Vec<Vec<u32>>,
    /// Those that enter segments with gaps at the cost whose turn it is.
    entering: Vec<(Label, u32, u32)>,
    /// By node, whether it has a gap to the one that enters.
    has_gap: Vec<bool>,
    /// Links that are not used, both ways.
    shut: Vec<(u32, u32)>,
    counts: Counts,
}

/// What of a link counts, so that of two ways the better one is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Counts {
    /// What it costs.
    #[default]
    Cost,
    /// That it is one link more; of ways with as many links what they cost, to a seventeenth.
    Links,
}

impl Counts {
    /// Half of what counts of a link, by half of its cost.
    fn half(self, cost: u32) -> u32 {
        match self {
            Self::Cost => cost,
            Self::Links => LINK / 2 + cost * FINE / (2 * MAX_COST as u32),
        }
    }

    /// What counts of a whole link.
    fn whole(self, cost: u32) -> u32 {
        match self {
            Self::Cost => cost,
            Self::Links => LINK + cost * FINE / (2 * MAX_COST as u32),
        }
    }
}

/// What one link more counts where links are counted, and the most that its cost adds: over the longest path of a letter all
/// of what is added stays below one link, and both fit into one round of the queue.
const LINK: u32 = 1_900;
/// See [`LINK`].
const FINE: u32 = 118;
const _: () = assert!((MAX_PATH as u32 + 1) * FINE < LINK && (LINK + FINE) < BUCKETS as u32);

/// What has its turn at a cost.
#[derive(Debug, Clone, Copy)]
enum Item {
    /// A node is left.
    Node(u32),
    /// A segment without gaps passes on.
    Segment(u32),
    /// A node enters a segment with gaps, by this stay.
    Stay { node: u32, segment: u32, stay: u32 },
}

/// Items by cost, in buckets that are used in turn: no link costs more than two halves, so that all that waits lies within
/// one round.
#[derive(Debug)]
struct Queue {
    heads: Vec<u32>,
    /// A bit for each bucket that is not empty.
    filled: [u64; BUCKETS / 64],
    items: Vec<(Item, u32)>,
    cost: u32,
}

const BUCKETS: usize = 2_048;
const _: () = assert!(BUCKETS > 2 * MAX_COST as usize && BUCKETS.is_power_of_two());

impl Label {
    const NONE: Self = Self(u64::MAX);

    fn new(cost: u32, links: u32, last: u32) -> Self {
        debug_assert!(cost < 1 << 28 && links < 1 << 16 && last < 1 << 20, "2^16 nodes, 2,018 for each link");
        Self(u64::from(cost) << 36 | u64::from(links) << 20 | u64::from(last))
    }

    fn cost(self) -> u32 {
        (self.0 >> 36) as u32
    }

    fn links(self) -> u32 {
        (self.0 >> 20) as u32 & 0xffff
    }

    fn last(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }

    /// The same way with a cost on top.
    fn plus(self, cost: u32) -> Self {
        Self(self.0 + (u64::from(cost) << 36))
    }

    /// The same way with one link more.
    fn longer(self) -> Self {
        Self(self.0 + (1 << 20))
    }
}

impl Tree {
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// How many links lead to a node that is reached.
    pub(super) fn links(&self, to: u32) -> Option<u32> {
        let label = self.labels[to as usize];
        (label != Label::NONE).then(|| label.links())
    }

    /// The last node before one that is reached.
    pub(super) fn last(&self, to: u32) -> Option<u32> {
        let label = self.labels[to as usize];
        (label != Label::NONE && to != self.root).then(|| label.last())
    }

    /// Those that a node is the last relay to.
    pub(super) fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let reached = (0u32..).zip(&self.labels).filter(|(_, label)| **label != Label::NONE);
        reached.filter(move |(child, label)| label.last() == node && *child != self.root).map(|(child, _)| child)
    }

    /// The first node on the way to another one.
    pub(super) fn hop(&self, to: u32) -> Option<u32> {
        let hop = self.hops[to as usize];
        (hop != NONE).then_some(hop)
    }

    /// The way to another node.
    pub(super) fn way(&self, graph: &Graph, to: u32) -> Option<Way> {
        let hop = self.hop(to)?;
        let mut path: Vec<NodeId> = Vec::with_capacity(self.labels[to as usize].links() as usize);
        let mut node = to;
        while node != self.root {
            path.push(graph.id(node));
            node = self.labels[node as usize].last();
        }
        path.reverse();
        Some(Way { path, cost: self.labels[to as usize].cost(), first: graph.segment_between(self.root, hop) })
    }
}

impl Search {
    /// Makes the tree of a root; ways through the nodes `around` are not looked for.
    pub(super) fn run(&mut self, graph: &Graph, root: u32, around: &[u32], tree: &mut Tree) {
        self.run_by(Counts::Cost, graph, root, (around, &[]), tree);
    }

    /// The same by what counts, and without some links.
    pub(super) fn run_by(
        &mut self,
        counts: Counts,
        graph: &Graph,
        root: u32,
        (around, shut): (&[u32], &[(u32, u32)]),
        tree: &mut Tree,
    ) {
        self.counts = counts;
        self.shut.clear();
        self.shut.extend(shut.iter().flat_map(|&(a, b)| [(a, b), (b, a)]));
        self.reset(graph);
        tree.root = root;
        tree.labels.clear();
        tree.labels.resize(graph.node_count(), Label::NONE);
        tree.hops.clear();
        tree.hops.resize(graph.node_count(), NONE);
        tree.labels[root as usize] = Label::new(0, 0, root);
        for around in around {
            // Nothing is better than this, so that it is never put into the queue.
            tree.labels[*around as usize] = Label::new(0, 0, 0);
        }
        self.queue.push(0, Item::Node(root));
        while let Some(mut next) = self.queue.next() {
            while next != NONE {
                let (item, after) = self.queue.items[next as usize];
                self.take(graph, item, tree);
                next = after;
            }
            self.enter_with_gaps(graph, tree);
        }
        for around in around {
            tree.labels[*around as usize] = Label::NONE;
        }
    }

    fn reset(&mut self, graph: &Graph) {
        self.queue.items.clear();
        self.queue.cost = 0;
        self.entered.clear();
        self.entered.resize(graph.segment_count(), Label::NONE);
        self.waiting.iter_mut().for_each(Vec::clear);
        self.waiting.resize_with(graph.segment_count(), Vec::new);
        self.has_gap.resize(graph.node_count(), false);
    }

    /// All that costs less had its turn, so that what is known at this cost is final, in whatever order it is taken.
    fn take(&mut self, graph: &Graph, item: Item, tree: &mut Tree) {
        let cost = self.queue.cost;
        match item {
            Item::Node(node) => {
                if tree.labels[node as usize].cost() == cost {
                    self.leave(graph, node, tree);
                }
            }
            Item::Segment(segment) => {
                let best = self.entered[segment as usize];
                if best.cost() == cost {
                    for member in graph.members(segment) {
                        offer(&mut self.queue, tree, member.node, best.plus(self.counts.half(member.cost)).longer());
                    }
                }
            }
            Item::Stay { node, segment, stay } => {
                let label = Label::new(cost, tree.labels[node as usize].links(), node);
                self.entering.push((label, segment, stay));
            }
        }
    }

    fn leave(&mut self, graph: &Graph, node: u32, tree: &mut Tree) {
        let label = tree.labels[node as usize];
        if node != tree.root {
            let last = label.last();
            tree.hops[node as usize] = if last == tree.root { node } else { tree.hops[last as usize] };
        }
        let from = Label::new(label.cost(), label.links(), node);
        for (number, stay) in graph.stays(node) {
            let (entry, best) = (from.plus(self.counts.half(stay.cost)), &mut self.entered[stay.segment as usize]);
            // A link that is not used is a gap like any other.
            if graph.has_gaps(stay.segment) || !self.shut.is_empty() {
                // Somebody entered and nobody waits: all members have been offered their best.
                if *best == Label::NONE || !self.waiting[stay.segment as usize].is_empty() {
                    self.queue.push(entry.cost(), Item::Stay { node, segment: stay.segment, stay: number });
                }
            } else if entry < *best {
                if entry.cost() < best.cost() {
                    self.queue.push(entry.cost(), Item::Segment(stay.segment));
                }
                *best = entry;
            }
        }
        let worn = graph.worn(node).iter().map(|link| (link.node, link.cost));
        let edges = graph.edges(node).iter().map(|edge| (edge.node, edge.cost)).chain(worn);
        for (other, cost) in edges.filter(|(other, _)| !self.shut.contains(&(node, *other))) {
            offer(&mut self.queue, tree, other, from.plus(self.counts.whole(cost)).longer());
        }
    }

    /// Those that enter segments with gaps at one cost, the best first.
    fn enter_with_gaps(&mut self, graph: &Graph, tree: &mut Tree) {
        let counts = self.counts;
        self.entering.sort_unstable();
        for &(label, segment, stay) in &self.entering {
            let shut = self.shut.iter().filter(|(node, _)| *node == label.last()).map(|(_, other)| *other);
            for node in graph.gaps(stay).iter().copied().chain(shut) {
                self.has_gap[node as usize] = true;
            }
            let (members, waiting) = (graph.members(segment), &mut self.waiting[segment as usize]);
            if self.entered[segment as usize] == Label::NONE {
                self.entered[segment as usize] = label;
                waiting.extend(0..members.len() as u32);
            }
            waiting.retain(|&place| {
                let member = members[place as usize];
                let has_gap = self.has_gap[member.node as usize];
                if !has_gap {
                    offer(&mut self.queue, tree, member.node, label.plus(counts.half(member.cost)).longer());
                }
                has_gap
            });
            let shut = self.shut.iter().filter(|(node, _)| *node == label.last()).map(|(_, other)| *other);
            for node in graph.gaps(stay).iter().copied().chain(shut) {
                self.has_gap[node as usize] = false;
            }
        }
        self.entering.clear();
    }
}

/// A way to a node was found: it counts if it is better than the last.
fn offer(queue: &mut Queue, tree: &mut Tree, node: u32, label: Label) {
    let best = &mut tree.labels[node as usize];
    if label < *best {
        // A better way at the same cost finds the node in the queue already.
        if label.cost() < best.cost() {
            queue.push(label.cost(), Item::Node(node));
        }
        *best = label;
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { heads: vec![NONE; BUCKETS], filled: [0; BUCKETS / 64], items: Vec::new(), cost: 0 }
    }
}

impl Queue {
    fn push(&mut self, cost: u32, item: Item) {
        let bucket = cost as usize % BUCKETS;
        let next = core::mem::replace(&mut self.heads[bucket], self.items.len() as u32);
        self.items.push((item, next));
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Turns to the lowest cost at which something waits, and takes out all of it.
    fn next(&mut self) -> Option<u32> {
        let at = self.cost as usize % BUCKETS;
        let words = self.filled.len();
        // The round begins within a word and ends with its lower bits: the upper ones were looked at first.
        let bucket = (0..=words).find_map(|step| {
            let word = (at / 64 + step) % words;
            let mask = if step == 0 { u64::MAX << (at % 64) } else { u64::MAX };
            let bits = self.filled[word] & mask;
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })?;
        self.filled[bucket / 64] &= !(1 << (bucket % 64));
        self.cost += ((bucket + BUCKETS - at) % BUCKETS) as u32;
        Some(core::mem::replace(&mut self.heads[bucket], NONE))
    }
}

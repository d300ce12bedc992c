//! Decides which links count, and lays them out so that a search reads them in a row.

use std::collections::BTreeMap;

use crate::ground::id::NodeId;
use crate::machines::routing::map::Author;
use crate::machines::routing::map::ranks::Ranks;
use crate::model::links::{LossClass, MAX_COST, SegmentId, ShortId};

/// All links that count. Nodes are numbered in the order of their ids and segments in that of theirs, so that comparing
/// numbers compares ids.
///
/// A *stay* is a node on a segment: it lists the segment and the namer lists it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: Vec<NodeId>,
    nodes: Ranks,
    segments: Ranks,
    /// By node, then by segment.
    stays: Rows<Stay>,
    /// The same by segment, then by node.
    members: Rows<Member>,
    /// By stay, the nodes on its segment that do not hear it or that it does not hear, and those to which it has a worn link.
    gaps: Rows<u32>,
    /// By segment, whether one of its stays has gaps.
    has_gaps: Vec<bool>,
    /// By node, its direct links.
    edges: Rows<Member>,
    /// By node, its links over a segment that cost more than the stays of both ends say.
    worn: Rows<Worn>,
    /// Parts of segments' lists, and all that they list one after another.
    lists: Vec<List>,
    listed: Vec<u64>,
    claims: Claims,
    /// By node, the last segment that was found to list it, plus one.
    marks: Vec<u32>,
}

/// Rows of different lengths, one after another.
#[derive(Debug)]
struct Rows<T> {
    ends: Vec<u32>,
    items: Vec<T>,
}

/// A node's place on a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stay {
    pub(super) segment: u32,
    pub(super) cost: u32,
}

/// A link over a segment of which an end says that it is worse than most there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worn {
    pub(super) node: u32,
    segment: u32,
    pub(super) cost: u32,
    loss: LossClass,
}

/// The cheapest link between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Between {
    pub(super) cost: u32,
    pub(super) segment: Option<SegmentId>,
    pub(super) loss: LossClass,
}

/// A node that a segment or a direct link leads to, and what it costs to get there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Member {
    pub(super) node: u32,
    pub(super) cost: u32,
}

/// A part of a segment's list.
#[derive(Debug)]
struct List {
    segment: u32,
    namer: u32,
    end: u32,
}

/// What the nodes say, in the order of their ids; kept for its memory and for the question who lists whom.
#[derive(Debug, Default)]
struct Claims {
    stays: Vec<(u32, Stay, Half)>,
    /// Node, segment, and whom the node does not hear there.
    unheard: Vec<(u32, u32, u64)>,
    /// Node, segment, whom the node hears badly there, and how badly.
    lossy: Vec<(u32, u32, u64, LossClass)>,
    /// Node, and after whom a segment is named that it says to be on.
    namings: Vec<(u32, u64)>,
    /// Node, peer, half of the cost and what is lost.
    direct: Vec<(u32, u64, Half)>,
    /// Node, peer, place among what the node says, half of the cost.
    ends: Vec<(u32, u32, u32, Half)>,
    /// Stay and a node that it has a gap to.
    gaps: Vec<(u32, u32)>,
    /// Node and a worn link of it.
    worn: Vec<(u32, Worn)>,
}

/// One end's half of what a link costs if nothing is lost, and what that end says is lost.
type Half = (u32, LossClass);

/// What a link costs by what both ends say: the worse of what they say is lost counts, so that they agree.
fn both((one, its_loss): Half, (other, others_loss): Half) -> u32 {
    its_loss.max(others_loss).cost(one + other, 2 * u32::from(MAX_COST))
}

impl Graph {
    /// Lays out what the nodes say now.
    pub(super) fn prepare(
        &mut self,
        authors: &BTreeMap<NodeId, Author>,
        parts: &BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>,
    ) {
        self.ids.clear();
        self.ids.extend(authors.keys());
        self.nodes.fill(authors.keys().map(leading));
        self.take_lists(parts);
        self.take_claims(authors);
        self.lay_members();
        self.lay_stays();
        self.lay_gaps();
        self.lay_worn();
        self.lay_edges();
    }

    fn take_lists(&mut self, parts: &BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>) {
        let mut last = None;
        let names = parts.keys().map(|(segment, ..)| segment.0);
        self.segments.fill(names.filter(|segment| last.replace(*segment) != Some(*segment)));
        self.lists.clear();
        self.listed.clear();
        for ((segment, namer, _), members) in parts {
            let namer = self.find(namer).expect("whoever has set a part is an author");
            let segment = self.segments.of(segment.0).start;
            self.listed.extend(members.iter().map(|short| u64::from_be_bytes(short.0)));
            self.lists.push(List { segment, namer, end: self.listed.len() as u32 });
        }
    }

    fn take_claims(&mut self, authors: &BTreeMap<NodeId, Author>) {
        let claims = &mut self.claims;
        claims.stays.clear();
        claims.unheard.clear();
        claims.lossy.clear();
        claims.direct.clear();
        claims.namings.clear();
        for (node, author) in (0u32..).zip(authors.values()) {
            let first = claims.stays.len();
            for link in author.links.segments.iter().filter(|link| (1..=MAX_COST).contains(&link.cost)) {
                claims.namings.extend(link.namer.0.iter().map(|namer| (node, u64::from_be_bytes(namer.0))));
                let Some(segment) = self.segments.of(link.segment.0).next() else { continue };
                if claims.stays[first..].iter().any(|(_, stay, _)| stay.segment == segment) {
                    continue;
                }
                let clean = u32::from(link.cost);
                let cost = link.loss.cost(clean, u32::from(MAX_COST));
                claims.stays.push((node, Stay { segment, cost }, (clean, link.loss)));
                let lossy = link.lossy.0.iter();
                claims.lossy.extend(lossy.map(|(short, loss)| (node, segment, u64::from_be_bytes(short.0), *loss)));
                let unheard = link.unheard.0.iter().map(|short| (node, segment, u64::from_be_bytes(short.0)));
                claims.unheard.extend(unheard);
            }
            for link in author.links.direct.iter().filter(|link| (1..=MAX_COST).contains(&link.cost)) {
                if let [peer] = link.peer.0.as_slice() {
                    claims.direct.push((node, u64::from_be_bytes(peer.0), (u32::from(link.cost), link.loss)));
                }
            }
        }
    }

    /// Sorts the claims by segment and keeps those that the namer confirms.
    fn lay_members(&mut self) {
        let claims = self.claims.stays.iter();
        let claimed = claims.map(|&(node, stay, _)| (stay.segment, Member { node, cost: stay.cost }));
        self.members.fill(self.segments.len(), claimed);
        self.marks.clear();
        self.marks.resize(self.ids.len(), 0);
        let (mut kept, mut start, mut list) = (0, 0, 0);
        for segment in 0..self.segments.len() {
            while let Some(part) = self.lists.get(list).filter(|part| part.segment as usize == segment) {
                let from = list.checked_sub(1).map_or(0, |before| self.lists[before].end);
                for &short in &self.listed[from as usize..part.end as usize] {
                    for node in self.nodes.of(short) {
                        self.marks[node as usize] = segment as u32 + 1;
                    }
                }
                list += 1;
            }
            let end = self.members.ends[segment] as usize;
            for place in start..end {
                let member = self.members.items[place];
                if self.marks[member.node as usize] == segment as u32 + 1 {
                    self.members.items[kept] = member;
                    kept += 1;
                }
            }
            self.members.ends[segment] = kept as u32;
            start = end;
        }
        self.members.items.truncate(kept);
    }

    fn lay_stays(&mut self) {
        let members = &self.members;
        let stays = (0..self.segments.len() as u32).flat_map(|segment| {
            members.row(segment).iter().map(move |member| (member.node, Stay { segment, cost: member.cost }))
        });
        self.stays.fill(self.ids.len(), stays);
    }

    fn lay_gaps(&mut self) {
        self.has_gaps.clear();
        self.has_gaps.resize(self.segments.len(), false);
        let mut gaps = core::mem::take(&mut self.claims.gaps);
        gaps.clear();
        for &(node, segment, short) in &self.claims.unheard {
            let Some(stay) = self.stay_of(node, segment) else { continue };
            for other in self.nodes.of(short).filter(|other| *other != node) {
                if let Some(others) = self.stay_of(other, segment) {
                    gaps.extend([(stay, other), (others, node)]);
                    self.has_gaps[segment as usize] = true;
                }
            }
        }
        // Where both ends say it a gap stands twice, which does no harm.
        self.gaps.fill(self.stays.items.len(), gaps.iter().copied());
        self.gaps.sort_rows();
        self.claims.gaps = gaps;
    }

    /// A worn link is a gap in its segment, and a link of its own beside it that either end's word makes dearer.
    fn lay_worn(&mut self) {
        let mut gaps = core::mem::take(&mut self.claims.gaps);
        let mut worn = core::mem::take(&mut self.claims.worn);
        worn.clear();
        for &(node, segment, short, loss) in &self.claims.lossy {
            let Some(stay) = self.stay_of(node, segment) else { continue };
            for other in self.nodes.of(short).filter(|other| *other != node) {
                let Some(there) = self.stay_of(other, segment) else { continue };
                if self.gaps(stay).binary_search(&other).is_ok() {
                    continue;
                }
                let ((clean, own), theirs) = (self.half_of(node, segment), self.half_of(other, segment));
                let cost = both((clean, own.max(loss)), theirs);
                let loss = loss.max(own).max(theirs.1);
                worn.extend([node, other].map(|end| (end, Worn { node: node + other - end, segment, cost, loss })));
                gaps.extend([(stay, other), (there, node)]);
                self.has_gaps[segment as usize] = true;
            }
        }
        worn.sort_unstable_by_key(|&(node, link)| (node, link.node, link.segment, core::cmp::Reverse(link.cost)));
        worn.dedup_by_key(|(node, link)| (*node, link.node, link.segment));
        self.worn.fill(self.ids.len(), worn.iter().copied());
        if !worn.is_empty() {
            self.gaps.fill(self.stays.items.len(), gaps.iter().copied());
            self.gaps.sort_rows();
        }
        self.claims.gaps = gaps;
        self.claims.worn = worn;
    }

    /// What a node says of its half of links on a segment that it is on.
    fn half_of(&self, node: u32, segment: u32) -> Half {
        let first = self.claims.stays.partition_point(|(held, ..)| *held < node);
        let mut own = self.claims.stays[first..].iter().take_while(|(held, ..)| *held == node);
        own.find(|(_, stay, _)| stay.segment == segment).map(|(.., half)| *half).unwrap_or_default()
    }

    fn lay_edges(&mut self) {
        let mut ends = core::mem::take(&mut self.claims.ends);
        ends.clear();
        for (place, &(node, short, cost)) in (0u32..).zip(&self.claims.direct) {
            let peers = self.nodes.of(short).filter(|peer| *peer != node);
            ends.extend(peers.map(|peer| (node, peer, place, cost)));
        }
        ends.sort_unstable();
        ends.dedup_by_key(|(node, peer, ..)| (*node, *peer));
        let agreed = ends.iter().filter_map(|&(node, peer, _, cost)| {
            let other = ends.binary_search_by_key(&(peer, node), |(node, peer, ..)| (*node, *peer)).ok()?;
            Some((node, Member { node: peer, cost: both(cost, ends[other].3) }))
        });
        self.edges.fill(self.ids.len(), agreed);
        self.claims.ends = ends;
    }

    /// The number of a node.
    pub(super) fn find(&self, id: &NodeId) -> Option<u32> {
        self.nodes.of(leading(id)).find(|node| self.ids[*node as usize] == *id)
    }

    pub(super) fn id(&self, node: u32) -> NodeId {
        self.ids[node as usize]
    }

    pub(super) fn node_count(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The stays of a node, each with its number.
    pub(super) fn stays(&self, node: u32) -> impl Iterator<Item = (u32, Stay)> {
        (self.stays.start(node)..).zip(self.stays.row(node).iter().copied())
    }

    fn stay_of(&self, node: u32, segment: u32) -> Option<u32> {
        self.stays(node).find(|(_, stay)| stay.segment == segment).map(|(number, _)| number)
    }

    /// The nodes on a segment, by id.
    pub(super) fn members(&self, segment: u32) -> &[Member] {
        self.members.row(segment)
    }

    /// The name of a segment.
    pub(super) fn segment_at(&self, segment: u32) -> SegmentId {
        SegmentId(self.segments.at(segment))
    }

    /// Whether two nodes on the segment do not hear each other.
    pub(super) fn has_gaps(&self, segment: u32) -> bool {
        self.has_gaps[segment as usize]
    }

    /// The members of its segment to which a stay has no link, by id.
    pub(super) fn gaps(&self, stay: u32) -> &[u32] {
        self.gaps.row(stay)
    }

    /// The direct links of a node, by id, and what each costs.
    pub(super) fn edges(&self, node: u32) -> &[Member] {
        self.edges.row(node)
    }

    /// The links of a node over segments that cost more than its stays say, by id.
    pub(super) fn worn(&self, node: u32) -> &[Worn] {
        self.worn.row(node)
    }

    /// All to whom a node has a link; one with several links comes several times.
    pub(super) fn neighbours(&self, node: u32) -> impl Iterator<Item = u32> {
        let on_segments = self.stays(node).flat_map(move |(number, stay)| self.heard_on(node, number, stay.segment));
        let worn = self.worn(node).iter().map(|link| link.node);
        on_segments.chain(worn).chain(self.edges(node).iter().map(|edge| edge.node))
    }

    /// The same without the segments that a third node is on too.
    pub(super) fn neighbours_beyond(&self, node: u32, third: u32) -> impl Iterator<Item = u32> {
        let is_beyond = move |segment: u32| self.stay_of(third, segment).is_none();
        let stays = self.stays(node).filter(move |(_, stay)| is_beyond(stay.segment));
        let on_segments = stays.flat_map(move |(number, stay)| self.heard_on(node, number, stay.segment));
        let worn = self.worn(node).iter().filter(move |link| is_beyond(link.segment)).map(|link| link.node);
        on_segments.chain(worn).chain(self.edges(node).iter().map(|edge| edge.node))
    }

    /// To whom a node has a link by one of its stays.
    fn heard_on(&self, node: u32, stay: u32, segment: u32) -> impl Iterator<Item = u32> {
        let gaps = self.gaps(stay);
        let members = self.members(segment).iter().map(|member| member.node);
        members.filter(move |other| *other != node && gaps.binary_search(other).is_err())
    }

    /// The cheapest link between two: a direct link goes before a segment of the same cost, and the lower segment before the
    /// higher.
    pub(super) fn between(&self, node: u32, other: u32) -> Option<Between> {
        let direct = self.edges(node).iter().filter(|edge| edge.node == other);
        let direct = direct.map(|edge| Between {
            cost: edge.cost,
            segment: None,
            loss: self.loss_of(node, other).max(self.loss_of(other, node)),
        });
        let on_segments = self.stays(node).filter_map(|(number, stay)| {
            let there = self.stay_of(other, stay.segment)?;
            let cost = stay.cost + self.stays.items[there as usize].cost;
            let is_heard = self.gaps(number).binary_search(&other).is_err();
            is_heard.then(|| Between {
                cost,
                segment: Some(SegmentId(self.segments.at(stay.segment))),
                loss: self.half_of(node, stay.segment).1.max(self.half_of(other, stay.segment).1),
            })
        });
        let worn = self.worn(node).iter().filter(|link| link.node == other);
        let worn = worn.map(|link| Between {
            cost: link.cost,
            segment: Some(SegmentId(self.segments.at(link.segment))),
            loss: link.loss,
        });
        direct.chain(on_segments).chain(worn).min()
    }

    /// The segment of the cheapest link between two.
    pub(super) fn segment_between(&self, node: u32, other: u32) -> Option<SegmentId> {
        self.between(node, other)?.segment
    }

    /// What a node says is lost on its direct link to another.
    fn loss_of(&self, node: u32, other: u32) -> LossClass {
        let ends = &self.claims.ends;
        let place = ends.binary_search_by_key(&(node, other), |(node, peer, ..)| (*node, *peer));
        place.map_or(LossClass::CLEAN, |place| ends[place].3.1)
    }

    /// The namers that list a node as a member of a segment that they are on.
    pub(super) fn namers_listing(&self, id: &NodeId) -> impl Iterator<Item = u32> {
        let short = leading(id);
        let mut start = 0;
        self.lists.iter().filter_map(move |list| {
            let members = &self.listed[core::mem::replace(&mut start, list.end as usize)..list.end as usize];
            let is_listed = members.contains(&short) && self.stay_of(list.namer, list.segment).is_some();
            is_listed.then_some(list.namer)
        })
    }

    /// The other nodes that say to be on a segment that a node names.
    pub(super) fn naming(&self, id: &NodeId) -> impl Iterator<Item = u32> {
        let (id, short) = (*id, leading(id));
        let namings = self.claims.namings.iter().filter(move |(_, namer)| *namer == short);
        namings.map(|(node, _)| *node).filter(move |node| self.id(*node) != id)
    }

    /// The other nodes that say to have a direct link to a node.
    pub(super) fn claimers_of(&self, id: &NodeId) -> impl Iterator<Item = u32> {
        let (id, short) = (*id, leading(id));
        let claims = self.claims.direct.iter().filter(move |(_, peer, _)| *peer == short);
        claims.map(|(node, ..)| *node).filter(move |node| self.id(*node) != id)
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), items: Vec::new() }
    }
}

impl<T: Copy + Default> Rows<T> {
    /// Distributes items to `count` rows; in each they keep their order.
    fn fill(&mut self, count: usize, items: impl Iterator<Item = (u32, T)> + Clone) {
        self.ends.clear();
        self.ends.resize(count, 0);
        for (row, _) in items.clone() {
            self.ends[row as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut self.ends {
            // Each stands at its row's start for now, and moves to the end as the row fills.
            sum += core::mem::replace(end, sum);
        }
        self.items.clear();
        self.items.resize(sum as usize, T::default());
        for (row, item) in items {
            let next = &mut self.ends[row as usize];
            self.items[*next as usize] = item;
            *next += 1;
        }
    }
}

impl<T: Ord> Rows<T> {
    fn sort_rows(&mut self) {
        let mut start = 0;
        for end in self.ends.iter().map(|end| *end as usize) {
            self.items[start..end].sort_unstable();
            start = end;
        }
    }
}

impl<T> Rows<T> {
    fn start(&self, row: u32) -> u32 {
        row.checked_sub(1).map_or(0, |before| self.ends[before as usize])
    }

    fn row(&self, row: u32) -> &[T] {
        &self.items[self.start(row) as usize..self.ends[row as usize] as usize]
    }
}

/// The first eight bytes of an id as a number: what a short id names.
fn leading(id: &NodeId) -> u64 {
    u64::from_be_bytes(ShortId::of(id).0)
}

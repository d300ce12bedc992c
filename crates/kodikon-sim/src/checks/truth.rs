//! Decides what is true: who really lives, in which run, and what everyone really said.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::model::state::NodeSnapshot;

use crate::checks::reach::{Common, Places};
use crate::checks::recovered;
use crate::moment::Moment;
use crate::network::host::{HostId, SegmentId};
use crate::trace::digest;

/// What is true of one node.
#[derive(Debug, Clone)]
pub struct Living {
    /// Whether its process lives.
    pub up: bool,
    /// Since when.
    pub since: Moment,
    /// Whether it has said goodbye.
    pub left: bool,
    /// Who it is.
    pub id: NodeId,
    /// Who it is and was, on all disks that it had.
    pub was: BTreeSet<NodeId>,
    /// In which run.
    pub epoch: Epoch,
    /// The segments its host is plugged into.
    pub homes: Vec<SegmentId>,
    /// Until when it was stopped, asleep or without one of its interfaces or links.
    pub own_trouble: Moment,
    /// Until when it was stopped, asleep or not heard as a whole.
    pub whole_trouble: Moment,
    /// Until when its links were worse than a healthy node's may be.
    pub link_trouble: Moment,
    /// Until when it may not have heard what was said to it.
    pub deaf: Moment,
}

impl Living {
    /// It may not hear what is said to it until then.
    pub fn deafen(&mut self, until: Moment) {
        self.deaf = self.deaf.max(until);
    }

    /// It is stopped, asleep or not heard as a whole until then.
    pub fn trouble(&mut self, until: Moment) {
        self.own_trouble = self.own_trouble.max(until);
        self.whole_trouble = self.whole_trouble.max(until);
    }

    /// Whether it is healthy, and has been for as long as trouble takes to be forgotten. Its segments are another matter.
    fn is_sound(&self, now: Moment) -> bool {
        self.up && !self.left && recovered(now, self.whole_trouble.max(self.link_trouble))
    }
}

/// What is true of one identity.
#[derive(Debug, Default)]
pub struct Person {
    /// The runs it really began.
    pub epochs: BTreeSet<Epoch>,
    /// Whether it belongs to a hostile member, who may say of itself what it likes.
    pub hostile: bool,
    /// Where a hostile one is heard, whatever it says.
    stands: Option<(HostId, Option<SegmentId>)>,
    /// Whether its disk was ever set back, copied or lost: then its numbers may be too.
    pub rolled_back: bool,
    /// Whether it was ever set back.
    pub restored: bool,
    /// When it was copied last.
    pub copied: Option<Moment>,
    /// When its last process ended.
    pub died: Option<Moment>,
    /// The newest version of its state that anybody has shown.
    pub seen_version: u64,
    states: HashSet<u64>,
}

impl Person {
    /// Whether its state ever was this as a whole, under this version and on its disk.
    #[must_use]
    pub fn had(&self, state: &NodeSnapshot) -> bool {
        self.states.contains(&word(state))
    }
}

/// What is true.
#[derive(Debug)]
pub struct Truth {
    /// By node.
    pub nodes: Vec<Living>,
    /// Who may hear whom.
    pub places: Places,
    // Until when a node had trouble on a segment, and two nodes on a segment with each other (the lower first).
    plug_troubles: BTreeMap<(SegmentId, usize), Moment>,
    pair_troubles: BTreeMap<(SegmentId, usize, usize), Moment>,
    people: BTreeMap<NodeId, Person>,
    holders: BTreeMap<NodeId, Vec<usize>>,
    /// Nodes that pass no letter on.
    swallowers: BTreeSet<usize>,
    live: usize,
}

impl Truth {
    /// Nobody lives yet.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let unborn = Living {
            up: false,
            since: Moment::START,
            left: false,
            id: NodeId::default(),
            was: BTreeSet::new(),
            epoch: Epoch::default(),
            homes: Vec::new(),
            own_trouble: Moment::START,
            whole_trouble: Moment::START,
            link_trouble: Moment::START,
            deaf: Moment::START,
        };
        Self {
            nodes: vec![unborn; nodes],
            places: Places::default(),
            plug_troubles: BTreeMap::new(),
            pair_troubles: BTreeMap::new(),
            people: BTreeMap::new(),
            holders: BTreeMap::new(),
            swallowers: BTreeSet::new(),
            live: 0,
        }
    }

    /// A node runs on this host, which is plugged into these segments.
    pub fn place(&mut self, node: usize, host: HostId, homes: Vec<SegmentId>) {
        self.places.add(node, host, &homes);
        self.nodes[node].homes = homes;
    }

    /// A node has trouble on one of its segments.
    pub fn trouble_on(&mut self, segment: SegmentId, node: usize, until: Moment) {
        let trouble = self.plug_troubles.entry((segment, node)).or_default();
        *trouble = until.max(*trouble);
    }

    /// Two nodes have trouble with each other on a segment.
    pub fn trouble_between(&mut self, segment: SegmentId, [one, two]: [usize; 2], until: Moment) {
        let trouble = self.pair_troubles.entry((segment, one.min(two), one.max(two))).or_default();
        *trouble = until.max(*trouble);
    }

    /// All trouble is over.
    pub fn end_trouble(&mut self, now: Moment) {
        for living in &mut self.nodes {
            let Living { own_trouble, whole_trouble, link_trouble, deaf, .. } = living;
            for trouble in [own_trouble, whole_trouble, link_trouble, deaf] {
                *trouble = now.min(*trouble);
            }
        }
        let plugs = self.plug_troubles.values_mut();
        plugs.chain(self.pair_troubles.values_mut()).for_each(|trouble| *trouble = now.min(*trouble));
    }

    /// Links from the nearest of these nodes to every node with which it is, and has been for as long as trouble takes to be
    /// forgotten, joined over healthy nodes and links: whoever is not among them may rightly be held dead. Those at both
    /// ends may have started lately; those who relay may not, since the others had to do without them.
    #[must_use]
    pub fn steady_links(&self, now: Moment, starts: &[usize]) -> BTreeMap<usize, u32> {
        self.joined(now, starts, |_| true)
    }

    /// The same over those alone who pass letters on.
    #[must_use]
    pub fn carrying_links(&self, now: Moment, starts: &[usize]) -> BTreeMap<usize, u32> {
        self.joined(now, starts, |node| !self.is_swallower(node))
    }

    fn joined(&self, now: Moment, starts: &[usize], carries: impl Fn(usize) -> bool) -> BTreeMap<usize, u32> {
        let sound = |node: usize| self.nodes[node].is_sound(now);
        let starts: Vec<usize> = starts.iter().copied().filter(|&start| sound(start)).collect();
        let relays = |node: usize| recovered(now, self.nodes[node].since) && carries(node);
        self.places.links(&starts, relays, |common, one, two| sound(two) && self.is_steady(now, common, one, two))
    }

    /// The fewest segments that have to be told so that all who live now are, and can be reached over each other.
    #[must_use]
    pub fn least_segments(&self, from: usize) -> u64 {
        let lives = |node: usize| self.nodes[node].up && !self.nodes[node].left;
        self.places.least_segments(from, lives)
    }

    /// Whether two nodes had something in common on which nothing was wrong at that moment.
    #[must_use]
    pub fn was_heard(&self, at: Moment, one: usize, two: usize) -> bool {
        self.places.common(one, two).any(|common| self.is_steady(at, common, one, two))
    }

    /// Whether nothing was wrong between two nodes on what they have in common.
    fn is_steady(&self, now: Moment, common: Common, one: usize, two: usize) -> bool {
        let Common::Segment(segment) = common else { return true };
        let plugs = [one, two].map(|node| self.plug_troubles.get(&(segment, node)));
        let pair = self.pair_troubles.get(&(segment, one.min(two), one.max(two)));
        plugs.into_iter().chain([pair]).flatten().all(|&trouble| recovered(now, trouble))
    }

    /// An identity that really exists.
    #[must_use]
    pub fn person(&self, id: &NodeId) -> Option<&Person> {
        self.people.get(id)
    }

    /// The live node that bears an identity, if exactly one does.
    #[must_use]
    pub fn holder(&self, id: &NodeId) -> Option<usize> {
        match self.holders.get(id).map(Vec::as_slice) {
            Some(&[node]) => Some(node),
            Some(_) | None => None,
        }
    }

    /// How many nodes live and have not said goodbye.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live
    }

    /// The nodes that live and have not said goodbye.
    pub fn live(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].up && !self.nodes[node].left)
    }

    /// A process began.
    pub fn booted(&mut self, now: Moment, node: usize) {
        let living = &mut self.nodes[node];
        living.up = true;
        living.left = false;
        living.since = now;
        self.live += 1;
    }

    /// Whether no live node bears an identity.
    #[must_use]
    pub fn is_unborn(&self, id: &NodeId) -> bool {
        self.holders.get(id).is_none_or(Vec::is_empty)
    }

    /// A process ended.
    pub fn died(&mut self, now: Moment, node: usize) {
        if let Some(person) = self.people.get_mut(&self.nodes[node].id) {
            person.died = Some(now);
        }
        self.live -= usize::from(!self.nodes[node].left);
        self.nodes[node].up = false;
        self.vacate(node);
    }

    /// A node said goodbye, or is about to.
    pub fn leaves(&mut self, node: usize) {
        if self.nodes[node].up && !self.nodes[node].left {
            self.nodes[node].left = true;
            self.live -= 1;
        }
    }

    /// A node goes by this identity and run from now on.
    pub fn identified(&mut self, node: usize, id: NodeId, epoch: Epoch, own: &NodeSnapshot) {
        self.vacate(node);
        self.nodes[node].id = id;
        self.nodes[node].was.insert(id);
        self.nodes[node].epoch = epoch;
        self.holders.entry(id).or_default().push(node);
        self.people.entry(id).or_default().epochs.insert(epoch);
        self.kept(&id, own);
    }

    /// A node's own state is this now, on disk.
    pub fn kept(&mut self, id: &NodeId, own: &NodeSnapshot) {
        let Some(person) = self.people.get_mut(id) else { return };
        person.states.insert(word(own));
    }

    /// Somebody showed this version of a node's state.
    pub fn seen_version(&mut self, id: &NodeId, version: u64) {
        if let Some(person) = self.people.get_mut(id) {
            person.seen_version = person.seen_version.max(version);
        }
    }

    /// A disk of this identity was set back.
    pub fn restored(&mut self, id: NodeId) {
        let person = self.people.entry(id).or_default();
        (person.rolled_back, person.restored) = (true, true);
    }

    /// A disk of this identity was copied.
    pub fn copied(&mut self, now: Moment, id: NodeId) {
        let person = self.people.entry(id).or_default();
        (person.rolled_back, person.copied) = (true, Some(now));
    }

    /// This identity belongs to a hostile member.
    pub fn hostile(&mut self, id: NodeId) {
        self.people.entry(id).or_default().hostile = true;
    }

    /// A hostile identity is heard on this host and, if there is one, this segment, and nowhere else.
    pub fn stands(&mut self, id: NodeId, host: HostId, segment: Option<SegmentId>) {
        self.people.entry(id).or_default().stands = Some((host, segment));
    }

    /// Whether a way leads to or from a hostile identity over a link that there never was.
    #[must_use]
    pub fn is_lie(&self, own: &NodeId, path: &[NodeId]) -> bool {
        let place = |id: &NodeId| self.people.get(id).and_then(|person| person.stands);
        let hears = |id: &NodeId, (host, segment): (HostId, Option<SegmentId>)| {
            let shares = |node: usize| {
                let is_home = segment.is_some_and(|segment| self.nodes[node].homes.contains(&segment));
                is_home || self.places.host_of(node) == Some(host)
            };
            place(id) == Some((host, segment)) || self.holder(id).is_none_or(shares)
        };
        let ends: Vec<&NodeId> = [own].into_iter().chain(path).collect();
        ends.windows(2).any(|pair| {
            let lies = |liar: &NodeId, other: &NodeId| place(liar).is_some_and(|place| !hears(other, place));
            lies(pair[0], pair[1]) || lies(pair[1], pair[0])
        })
    }

    /// Whether a node passes no letter on.
    #[must_use]
    pub fn is_swallower(&self, node: usize) -> bool {
        self.swallowers.contains(&node)
    }

    /// A node passes no letter on.
    pub fn swallows(&mut self, node: usize) {
        self.swallowers.insert(node);
    }

    /// Whether an identity is a hostile member's.
    #[must_use]
    pub fn is_hostile(&self, id: &NodeId) -> bool {
        self.person(id).is_some_and(|person| person.hostile)
    }

    /// Whether a hostile member takes part.
    #[must_use]
    pub fn has_hostile(&self) -> bool {
        self.people.values().any(|person| person.hostile)
    }

    fn vacate(&mut self, node: usize) {
        let id = self.nodes[node].id;
        if let Some(nodes) = self.holders.get_mut(&id) {
            nodes.retain(|&holder| holder != node);
        }
    }
}

fn word(state: &NodeSnapshot) -> u64 {
    let value = |(key, json): (&String, &String)| digest(key.as_bytes()).rotate_left(17) ^ digest(json.as_bytes());
    state.values.iter().map(value).fold(state.version, |word, value| word.rotate_left(5) ^ value)
}

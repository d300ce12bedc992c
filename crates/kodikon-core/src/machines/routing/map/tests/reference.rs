//! The same questions answered the long way: every pair of nodes is asked whether it has a link, and ways are improved until
//! nothing changes. Random maps must give the same answers.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Few nodes and segments, so that what is said at random often agrees; the last node begins like the one before.
const NODES: u8 = 9;
const SEGMENTS: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    Links { author: u8, segments: Vec<Said>, direct: Vec<(u8, u16, u32)> },
    Members { author: u8, segment: u8, part: u8, members: Vec<u8> },
    Forget(u8),
}

#[derive(Debug, Default)]
struct Naive {
    links: BTreeMap<NodeId, LinksBody>,
    parts: BTreeMap<(SegmentId, NodeId, u8), Vec<ShortId>>,
}

/// A segment, a cost, whom its author does not hear there, what is lost, and who is heard worse.
type Said = (u8, u16, Vec<u8>, u32, Vec<(u8, u32)>);

/// A cost, links, the node before, and the way.
type Found = (u32, usize, NodeId, Vec<NodeId>);

impl Naive {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Links { author, .. } => {
                self.links.insert(node(*author), body_of(step));
            }
            Step::Members { author, segment, part, members } => {
                self.parts.insert((name(*segment), node(*author), *part), shorts_of(members));
            }
            Step::Forget(id) => {
                self.links.remove(&node(*id));
                self.parts.retain(|(_, namer, _), _| *namer != node(*id));
            }
        }
    }

    fn is_listed_on(&self, segment: SegmentId, id: NodeId) -> bool {
        self.parts.iter().any(|((on, ..), members)| *on == segment && members.contains(&ShortId::of(&id)))
    }

    fn segment(&self, id: NodeId, segment: SegmentId) -> Option<&SegmentLink> {
        let mut links = self.links.get(&id)?.segments.iter();
        links.find(|link| link.segment == segment && (1..=MAX_COST).contains(&link.cost))
    }

    fn half_direct(&self, id: NodeId, to: NodeId) -> Option<(u32, LossClass)> {
        let mut links = self.links.get(&id)?.direct.iter();
        let is_it = |link: &&DirectLink| link.peer.0 == [ShortId::of(&to)] && (1..=MAX_COST).contains(&link.cost);
        links.find(is_it).map(|link| (u32::from(link.cost), link.loss))
    }

    /// The cheapest link between two and its segment.
    fn link(&self, one: NodeId, other: NodeId) -> Option<(u32, Option<SegmentId>)> {
        if one == other {
            return None;
        }
        let most = 2 * u32::from(MAX_COST);
        let direct = self.half_direct(one, other).zip(self.half_direct(other, one));
        let direct = direct.map(|(a, b)| (a.1.max(b.1).cost(a.0 + b.0, most), None));
        let on_segments = (0..SEGMENTS).map(name).filter_map(|segment| {
            let (a, b) = (self.segment(one, segment)?, self.segment(other, segment)?);
            let counts = !a.unheard.0.contains(&ShortId::of(&other))
                && !b.unheard.0.contains(&ShortId::of(&one))
                && self.is_listed_on(segment, one)
                && self.is_listed_on(segment, other);
            let said = |link: &SegmentLink, other: NodeId| {
                let entries = link.lossy.0.iter().filter(|(short, _)| *short == ShortId::of(&other));
                entries.map(|(_, loss)| *loss).max()
            };
            let (ours, theirs) = (said(a, other), said(b, one));
            let cost = match ours.max(theirs) {
                Some(loss) => loss.max(a.loss).max(b.loss).cost(u32::from(a.cost + b.cost), most),
                None => [a, b].map(|link| link.loss.cost(u32::from(link.cost), u32::from(MAX_COST))).iter().sum(),
            };
            counts.then_some((cost, Some(segment)))
        });
        direct.into_iter().chain(on_segments).min()
    }

    /// The best way to every node by cost, links and the last node before; ways through `around` are not looked for.
    fn tree(&self, root: NodeId, around: Option<NodeId>) -> BTreeMap<NodeId, Found> {
        let mut found = BTreeMap::from([(root, (0, 0, root, Vec::new()))]);
        loop {
            let before = found.clone();
            for (last, (cost, links, _, path)) in &before {
                for to in (0..NODES).map(node).filter(|to| *to != root && Some(*to) != around) {
                    let Some((more, _)) = self.link(*last, to) else { continue };
                    let new = (cost + more, links + 1, *last, [path.as_slice(), &[to]].concat());
                    let old = found.entry(to).or_insert_with(|| new.clone());
                    // Its last node's way may have changed since, in which case the same way is told anew.
                    if (new.0, new.1, new.2) <= (old.0, old.1, old.2) {
                        *old = new;
                    }
                }
            }
            if found == before {
                return found;
            }
        }
    }

    fn way(&self, root: NodeId, to: NodeId) -> Option<Way> {
        let (cost, _, _, path) = self.tree(root, None).remove(&to).filter(|_| root != to)?;
        let first = self.link(root, path[0]).expect("the first link of a way is one").1;
        Some(Way { path, cost, first })
    }

    /// By node the fewest links to it, and what the cheapest of such ways costs.
    fn fewest(&self, root: NodeId) -> BTreeMap<NodeId, (usize, u32)> {
        let mut found = BTreeMap::from([(root, (0, 0))]);
        for links in 1..usize::from(NODES) {
            for (last, (_, cost)) in found.clone().into_iter().filter(|(_, (before, _))| before + 1 == links) {
                for to in (0..NODES).map(node) {
                    let Some((more, _)) = self.link(last, to) else { continue };
                    let new = (links, cost + more);
                    let held = found.entry(to).or_insert(new);
                    *held = new.min(*held);
                }
            }
        }
        found
    }

    fn is_listed(&self, me: NodeId, id: NodeId) -> bool {
        let reached = self.tree(me, None);
        let by_namer = |((segment, namer, _), members): (&(SegmentId, NodeId, u8), &Vec<ShortId>)| {
            members.contains(&ShortId::of(&id))
                && reached.contains_key(namer)
                && self.segment(*namer, *segment).is_some()
                && self.is_listed_on(*segment, *namer)
        };
        let by_neighbour = |node: &NodeId| *node != id && self.half_direct(*node, id).is_some();
        self.parts.iter().any(by_namer) || reached.keys().any(by_neighbour)
    }

    fn is_heard_by_others(&self, me: NodeId, id: NodeId) -> bool {
        let reached = self.tree(me, Some(id));
        me != id && reached.keys().any(|near| *near != me && self.link(*near, id).is_some())
    }

    fn members_of(&self, segment: SegmentId) -> Vec<NodeId> {
        let lists = |links: &LinksBody| links.segments.iter().any(|link| link.segment == segment);
        let nodes = self.links.iter().filter(|(id, links)| lists(links) && self.is_listed_on(segment, **id));
        nodes.map(|(id, _)| *id).collect()
    }

    fn shares_segment(&self, me: NodeId, id: NodeId) -> bool {
        let own = self.links.get(&me).map(|links| links.segments.as_slice()).unwrap_or_default();
        own.iter().any(|link| self.is_listed_on(link.segment, id))
    }
}

proptest! {
    #[test]
    fn a_naive_map_gives_the_same_answers(
        me in 0..NODES, steps in vec(step(), 1..40), asked in vec(0..NODES, 40), order in any::<u64>(),
    ) {
        let (mut map, mut naive) = (Map::new(node(me)), Naive::default());
        for (step, to) in steps.iter().zip(asked) {
            take(&mut map, step);
            naive.take(step);
            // Asked in between, so that what is kept from one question to the next is put to the test.
            prop_assert_eq!(map.way_to(&node(to)), naive.way(node(me), node(to)), "after {:?}", step);
            prop_assert_eq!(map.way_from(&node(to), &node(me)), naive.way(node(to), node(me)), "after {:?}", step);
        }
        let mut others = [rebuilt(&naive, node((me + 1) % NODES), order), rebuilt(&naive, node(me), !order)];
        for root in (0..NODES).map(node) {
            for to in (0..NODES).map(node) {
                let expected = naive.way(root, to);
                for map in others.iter_mut().chain([&mut map]) {
                    prop_assert_eq!(&map.way_from(&root, &to), &expected, "from {} to {}", root, to);
                }
            }
        }
        for id in (0..NODES).map(node) {
            let way = naive.way(node(me), id);
            prop_assert_eq!(map.next_hop(&id), way.as_ref().map(|way| way.path[0]));
            prop_assert_eq!(map.relays_to(&id).map(usize::from), way.map(|way| way.path.len() - 1));
            prop_assert_eq!(map.is_listed(&id), naive.is_listed(node(me), id), "listed: {}", id);
            prop_assert_eq!(map.shares_segment(&id), naive.shares_segment(node(me), id), "shares: {}", id);
            prop_assert_eq!(map.is_heard_by_others(&id), naive.is_heard_by_others(node(me), id), "heard: {}", id);
        }
        let fewest = naive.fewest(node(me));
        for to in (0..NODES).map(node).filter(|to| *to != node(me)) {
            let way = map.fewest_relays(&to, &[], &[]);
            let expected = fewest.get(&to);
            prop_assert_eq!(way.as_ref().map(|way| way.path.len()), expected.map(|(links, _)| *links), "to {}", to);
            // What halves of links cost is compared to 17.
            let most = expected.map(|(links, cost)| cost + 34 * *links as u32);
            prop_assert!(way.as_ref().map(|way| way.cost) <= most, "to {}: {:?}, of {:?}", to, way, expected);
        }
        for segment in (0..SEGMENTS).map(name) {
            prop_assert_eq!(map.members_of(segment).collect::<Vec<_>>(), naive.members_of(segment));
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let cost = || prop_oneof![8 => 1..4u16, 2 => Just(MAX_COST), 1 => prop_oneof![Just(0), Just(MAX_COST + 1)]];
    let unheard = || prop_oneof![3 => Just(Vec::new()), 2 => vec(0..NODES, 0..5)];
    let loss = || prop_oneof![2 => Just(0), 1 => Just(200), 1 => Just(500), 1 => Just(900)];
    let lossy = || prop_oneof![2 => Just(Vec::new()), 1 => vec((0..NODES, loss()), 0..5)];
    let segments = vec((0..SEGMENTS, cost(), unheard(), loss(), lossy()), 0..4);
    let direct = prop_oneof![2 => Just(Vec::new()), 1 => vec((0..NODES, cost(), loss()), 0..5)];
    let links = (0..NODES, segments, direct);
    let members = (0..NODES, 0..SEGMENTS, 0..2u8, prop_oneof![1 => vec(0..NODES, 0..6), 3 => vec(0..NODES, 12..30)]);
    prop_oneof![
        12 => links.prop_map(|(author, segments, direct)| Step::Links { author, segments, direct }),
        4 => members.prop_map(|(author, segment, part, members)| Step::Members { author, segment, part, members }),
        1 => (0..NODES).prop_map(Step::Forget),
    ]
}

fn take(map: &mut Map, step: &Step) {
    match step {
        Step::Links { author, .. } => map.set_links(node(*author), body_of(step)),
        Step::Members { author, segment, part, members } => {
            map.set_members(node(*author), name(*segment), *part, shorts_of(members));
        }
        Step::Forget(id) => map.forget(&node(*id)),
    }
}

/// A map of the same facts, told in another order to another node.
fn rebuilt(naive: &Naive, me: NodeId, order: u64) -> Map {
    let mut map = Map::new(me);
    let mut facts: Vec<(u64, usize)> = Vec::new();
    let count = naive.links.len() + naive.parts.len();
    facts.extend((0..count).map(|fact| ((fact as u64 + 1).wrapping_mul(order | 1).rotate_left(29), fact)));
    facts.sort_unstable();
    for (_, fact) in facts {
        if let Some((author, links)) = naive.links.iter().nth(fact) {
            map.set_links(*author, links.clone());
        } else if let Some(((segment, namer, part), members)) = naive.parts.iter().nth(fact - naive.links.len()) {
            map.set_members(*namer, *segment, *part, members.clone());
        }
    }
    map
}

fn body_of(step: &Step) -> LinksBody {
    let Step::Links { segments, direct, .. } = step else { return LinksBody::default() };
    let segment = |(segment, cost, unheard, loss, lossy): &Said| SegmentLink {
        namer: ShortIds::default(),
        segment: name(*segment),
        mtu: 1_500,
        cost: *cost,
        unheard: ShortIds(shorts_of(unheard)),
        loss: LossClass::of(*loss),
        lossy: LossyIds(lossy.iter().map(|(n, loss)| (ShortId::of(&node(*n)), LossClass::of(*loss))).collect()),
    };
    let peer = |(peer, cost, loss): &(u8, u16, u32)| DirectLink {
        peer: ShortIds(shorts_of(&[*peer])),
        cost: *cost,
        loss: LossClass::of(*loss),
    };
    LinksBody {
        segments: segments.iter().map(segment).collect(),
        direct: direct.iter().map(peer).collect(),
        is_joint: false,
    }
}

fn node(n: u8) -> NodeId {
    let begins = if n + 1 == NODES { n - 1 } else { n };
    let mut id = NodeId::of(&[begins; 32]);
    id.0[15] = n;
    id
}

fn name(segment: u8) -> SegmentId {
    SegmentId(u64::from(segment).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn shorts_of(ns: &[u8]) -> Vec<ShortId> {
    ns.iter().map(|n| ShortId::of(&node(*n))).collect()
}

//! Decides what this node's own links are: whom it hears where, at what cost, and how that is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Medium;
use crate::effect::context::Context;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::routing::ears::Ear;
use crate::machines::routing::map::Map;
use crate::machines::routing::quality::Qualities;
use crate::model::links::{
    DirectLink, LinksBody, LossClass, LossyIds, MAX_COST, MAX_DIRECT, MAX_MEMBERS_OF_PART, MAX_PARTS, MAX_SEGMENTS,
    MAX_UNHEARD, MAX_UNHEARD_IN_ALL, MembersBody, SegmentId, SegmentLink, ShortId, ShortIds, members_key,
};
use crate::model::member::Liveness;
use crate::model::op::OpKind;
use crate::model::roster::{Path, Peer};

/// A suspect is told of as not heard after this: until then most have answered again. It is shorter than a suspicion, so
/// that whoever is not heard by one knows in time whether others hear it.
pub(super) const DOUBTFUL: Duration = Duration::from_millis(1_500);

/// A round trip of probes measured longer ago than this says nothing of now. Each of five observers is measured every five minutes, one
/// a minute (docs/machines/liveness.md): two rounds and a margin, so that one lost answer makes no slow link clean. Any other is
/// measured again within a minute once letters go to it.
const RTT_KEPT: Duration = Duration::from_secs(11 * 60);

/// Whom this node hears, by interface and id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard(BTreeMap<InterfaceIndex, Vec<NodeId>>);

impl Heard {
    /// Those heard lately, and not before `floor`. A suspect counts until it is so for longer than `patience`.
    pub(super) fn look(now: Instant, patience: Duration, floor: Instant, ctx: &Context) -> Self {
        let window = ctx.hearing();
        let mut heard: BTreeMap<InterfaceIndex, Vec<NodeId>> = BTreeMap::new();
        let counts = |peer: &Peer| match peer.liveness {
            // Its frames on a way do not count until it has answered (membership's `heard`).
            Liveness::Alive => peer.silence(now) < window,
            Liveness::Suspect => now.since(peer.since) < patience,
            Liveness::Introduced | Liveness::Failed | Liveness::Left => false,
        };
        for (id, peer) in ctx.roster.near().filter(|(_, peer)| counts(peer)) {
            // Whoever is heard elsewhere is no question of death here, and where it only beacons three of these are soon lost in a row.
            let bound = if peer.silence(now) < window { ctx.hard_bound() } else { window };
            for (interface, _) in arrivals(peer).filter(|(_, at)| now.since(*at) < bound && *at >= floor) {
                if ctx.interface(interface).is_none() {
                    continue;
                }
                let there = heard.entry(interface).or_default();
                if there.last() != Some(id) {
                    there.push(*id);
                }
            }
        }
        Self(heard)
    }

    /// When the next of those who are heard will not have been for so long that it is no link any more. Looked at then, since
    /// others must be known to hear it before the hard bound.
    pub(super) fn next_end(now: Instant, ctx: &Context) -> Option<Instant> {
        let window = ctx.hearing();
        let ends = ctx.roster.near().filter_map(|(_, peer)| peer.heard).map(|heard| heard + window);
        ends.filter(|at| *at > now).min()
    }

    /// On one interface.
    pub(super) fn on(&self, index: InterfaceIndex) -> &[NodeId] {
        self.0.get(&index).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether no interface alone hears all who are heard: then others may need this node between them.
    pub(super) fn is_joint(&self) -> bool {
        let all: BTreeSet<NodeId> = self.0.values().flatten().copied().collect();
        !self.0.is_empty() && self.0.values().all(|there| there.len() < all.len())
    }

    /// Whether a neighbour has not been heard for as long as it takes to be no link any more, on an interface where others are.
    pub(super) fn misses_some(&self, now: Instant, ctx: &Context) -> bool {
        let window = ctx.hearing();
        let is_missed = |peer: &Peer| {
            let is_silent = peer.liveness.is_present() && peer.heard.is_some_and(|at| now.since(at) >= window);
            let way = peer.best_path().and_then(|path| path.interface);
            is_silent && way.is_some_and(|index| !self.on(index).is_empty())
        };
        ctx.roster.near().any(|(_, peer)| is_missed(peer))
    }

    /// The interfaces on which somebody is heard.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = InterfaceIndex> + '_ {
        self.0.keys().copied()
    }
}

/// By which interfaces a peer was heard last by each of its ways, and when: alone, and as one of a group.
pub(super) fn arrivals(peer: &Peer) -> impl Iterator<Item = (InterfaceIndex, Instant)> + '_ {
    let alone = peer.paths.iter().filter_map(|path| path.interface.zip(path.heard));
    alone.chain(peer.paths.iter().filter_map(|path| path.group))
}

/// The parts of the segments that this node names.
pub(super) type Lists = BTreeMap<(SegmentId, u8), (InterfaceIndex, Vec<ShortId>)>;

/// What is known of this node's interfaces: on which segment each is, and how well neighbours are heard there.
pub(super) struct Ears<'a> {
    pub(super) now: Instant,
    pub(super) ears: &'a BTreeMap<InterfaceIndex, Ear>,
    pub(super) qualities: &'a mut Qualities,
}

impl Ears<'_> {
    fn class(&mut self, id: &NodeId, index: InterfaceIndex, ctx: &Context) -> LossClass {
        let paths = ctx.roster.get(id).map(|peer| peer.paths.as_slice()).unwrap_or_default();
        self.qualities.class(self.now, id, index, probed(self.now, paths, index))
    }
}

/// The shortest round trip of probes by an interface, of those that say something of now.
fn probed(now: Instant, paths: &[Path], index: InterfaceIndex) -> Option<Duration> {
    let is_fresh = |path: &&Path| path.measured.is_some_and(|at| now.since(at) < RTT_KEPT);
    paths.iter().filter(|path| path.interface == Some(index)).filter(is_fresh).filter_map(|path| path.rtt).min()
}

/// Of whom a segment's members are heard how: the class that most have, the best one for which those heard worse can be told
/// one by one, and these, the worst first.
fn by_class(mut heard: Vec<(NodeId, LossClass)>, room: usize) -> (LossClass, LossyIds) {
    heard.sort_unstable_by_key(|(id, loss)| (core::cmp::Reverse(*loss), *id));
    let last = heard.last().map_or(LossClass::CLEAN, |(_, loss)| *loss);
    let most = heard.get(room).map_or(last, |(_, loss)| *loss);
    let worse = heard.into_iter().take_while(|(_, loss)| *loss > most);
    (most, LossyIds(worse.map(|(id, loss)| (ShortId::of(&id), loss)).collect()))
}

/// Our links: the segments that have a name, and those heard on none of them that they are on too.
pub(super) fn links(is_joint: bool, heard: &Heard, mut ears: Ears<'_>, map: &mut Map, ctx: &Context) -> LinksBody {
    let mut links = LinksBody { is_joint, ..LinksBody::default() };
    let mut listed = 0;
    let mut alone: BTreeMap<NodeId, Half> = BTreeMap::new();
    for index in heard.interfaces() {
        let (Some(interface), there) = (ctx.interface(index), heard.on(index)) else { continue };
        let cost = half_cost(interface.medium);
        let classes: Vec<(NodeId, LossClass)> = there.iter().map(|id| (*id, ears.class(id, index, ctx))).collect();
        for (id, loss) in &classes {
            let half = (loss.cost(cost.into(), MAX_COST.into()), cost, *loss);
            let best = alone.entry(*id).or_insert(half);
            *best = half.min(*best);
        }
        let Some(ear) = ears.ears.get(&index) else { continue };
        let Some(segment) = ear.segment() else { continue };
        let unheard: Vec<ShortId> = map
            .members_of(segment)
            .filter(|id| *id != ctx.me.id && there.binary_search(id).is_err())
            .map(|id| ShortId::of(&id))
            .collect();
        let fits = unheard.len() <= MAX_UNHEARD.min(there.len()) && listed + unheard.len() <= MAX_UNHEARD_IN_ALL;
        if !fits || links.segments.len() == MAX_SEGMENTS {
            continue;
        }
        listed += unheard.len();
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        let namer = ShortIds(vec![ShortId::of(&ear.namer())]);
        let (loss, lossy) = by_class(classes, MAX_LOSSY.min(MAX_UNHEARD_IN_ALL - listed));
        listed += lossy.0.len();
        links.segments.push(SegmentLink { segment, mtu, cost, unheard: ShortIds(unheard), namer, loss, lossy });
    }
    // Of whom the own links are not known yet nothing can be said.
    alone.retain(|id, _| map.links_of(id).is_some_and(|theirs| !shares(&links, theirs)));
    let mut alone: Vec<(Half, NodeId)> = alone.into_iter().map(|(id, half)| (half, id)).collect();
    alone.sort_unstable();
    let direct =
        |((_, cost, loss), id): (Half, NodeId)| DirectLink { peer: ShortIds(vec![ShortId::of(&id)]), cost, loss };
    links.direct = alone.into_iter().take(MAX_DIRECT).map(direct).collect();
    links
}

/// Members of one segment told of as heard badly at most: half of what may be told of all.
const MAX_LOSSY: usize = 16;

/// This end's half of a link: what it costs, what it would cost if nothing were lost, and what is lost.
type Half = (u32, u16, LossClass);

fn shares(ours: &LinksBody, theirs: &LinksBody) -> bool {
    let on_it = |segment: SegmentId| theirs.segments.iter().any(|link| link.segment == segment);
    ours.segments.iter().any(|link| on_it(link.segment))
}

/// This end's half of a link's cost, in tenths of a link of clean Ethernet: on Wi-Fi every datagram takes the air that all
/// share, and a group's at its lowest rate.
fn half_cost(medium: Medium) -> u16 {
    match medium {
        Medium::Loopback => 4,
        Medium::Wired | Medium::Virtual => 5,
        Medium::Wireless => 15,
    }
}

/// The lists of members of the segments that this node names, in parts that a newcomer changes one of.
pub(super) fn lists(heard: &Heard, ears: &BTreeMap<InterfaceIndex, Ear>, me: NodeId) -> Lists {
    let mut lists = Lists::new();
    for (index, ear) in ears.iter().filter(|(_, ear)| ear.is_mine()) {
        let Some(segment) = ear.segment() else { continue };
        let members: Vec<ShortId> = heard.on(*index).iter().chain([&me]).map(ShortId::of).collect();
        // Ids are hashes, so that their first bits fill parts evenly; half of what a part may hold is the mean.
        let parts = (members.len() * 2 / MAX_MEMBERS_OF_PART + 1).next_power_of_two().min(MAX_PARTS);
        for member in members {
            let part = usize::from(member.0[0]) * parts / 256;
            let part = u8::try_from(part).expect("there are no more than 64 parts");
            let (_, list) = lists.entry((segment, part)).or_insert((*index, Vec::new()));
            if list.len() < MAX_MEMBERS_OF_PART {
                list.push(member);
            }
        }
    }
    lists.values_mut().for_each(|(_, list)| list.sort_unstable());
    lists
}

/// A fact to publish: its kind, key and body.
pub type Fact = (OpKind, Vec<u8>, Vec<u8>);

/// What was last told to the others.
#[derive(Debug, Default)]
pub(super) struct Told {
    links: Option<LinksBody>,
    lists: Lists,
}

impl Told {
    /// Whether others would learn something new.
    pub(super) fn differs(&self, links: &LinksBody, lists: &Lists) -> bool {
        let is_news = self.links.as_ref().map_or(*links != LinksBody::default(), |told| told != links);
        is_news || self.lists != *lists
    }

    /// The facts that make it known, and from now on they are told.
    pub(super) fn tell(&mut self, links: LinksBody, lists: Lists) -> Vec<Fact> {
        let mut facts = Vec::new();
        if self.links.as_ref() != Some(&links) {
            facts.push((OpKind::Links, Vec::new(), encode(&links)));
            self.links = Some(links);
        }
        for ((segment, part), (index, list)) in &lists {
            if self.lists.get(&(*segment, *part)).is_none_or(|(_, told)| told != list) {
                let body = MembersBody { index: index.0, members: ShortIds(list.clone()) };
                facts.push((OpKind::Links, members_key(*segment, *part), encode(&body)));
            }
        }
        for ((segment, part), (index, _)) in self.lists.iter().filter(|(key, _)| !lists.contains_key(key)) {
            let body = MembersBody { index: index.0, members: ShortIds::default() };
            facts.push((OpKind::Links, members_key(*segment, *part), encode(&body)));
        }
        self.lists = lists;
        facts
    }
}

fn encode(body: &impl minicbor::Encode<()>) -> Vec<u8> {
    minicbor::to_vec(body).expect("encoding into memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(2);

    fn path(interface: InterfaceIndex) -> Path {
        let address = (core::net::Ipv4Addr::LOCALHOST, 10_000).into();
        let interface = Some(interface);
        Path { interface, ..Path::new(address) }
    }

    #[test]
    fn a_round_trip_of_probes_counts_until_two_rounds_of_observers_did_not_measure_it_again() {
        let minute = Duration::from_secs(60);
        let now = Instant::ZERO + 60 * minute;
        // (minutes since each way was measured and the milliseconds it took, the one that counts)
        let table = [
            (&[][..], None),
            (&[(0, 100)], Some(100)),
            (&[(10, 100)], Some(100)),
            (&[(11, 100)], None),
            (&[(11, 1), (10, 100)], Some(100)),
            (&[(5, 1), (10, 100)], Some(1)),
        ];
        for (ways, expected) in table {
            let measured = |(ago, ms): &(u32, u64)| {
                let mut path = path(ETH);
                path.note_rtt(now - minute * *ago, Duration::from_millis(*ms));
                path
            };
            let mut paths: Vec<Path> = ways.iter().map(measured).collect();
            // One never measured, and one by another interface, say nothing.
            paths.extend([path(ETH), path(InterfaceIndex(3))]);
            paths.last_mut().expect("it was added").note_rtt(now, Duration::ZERO);
            assert_eq!(probed(now, &paths, ETH), expected.map(Duration::from_millis), "{ways:?}");
        }
    }
}

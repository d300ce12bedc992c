//! Decides by which relays a node is reached: what links this node tells of, and the shortest ways through those of all.

mod denied;
mod ears;
mod fading;
pub mod map;
mod own;
mod quality;
mod woken;

use std::collections::BTreeMap;

use crate::effect::Arrival;
use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::routing::denied::Denied;
use crate::machines::routing::ears::{Ear, Shown};
use crate::machines::routing::fading::Fading;
use crate::machines::routing::map::Map;
use crate::machines::routing::own::{DOUBTFUL, Heard, Lists, Told};
use crate::machines::routing::quality::Qualities;
use crate::machines::routing::woken::Woken;
use crate::model::links::{LinksBody, MAX_DIRECT, MembersBody, SegmentId};
use crate::model::member::Liveness;
use crate::model::op::SignedOp;
use crate::wire::message::{Message, Naming, Ping};

pub use own::Fact;

/// After something changed, the links are looked at once the changes that come with it are in.
const SETTLE: Duration = Duration::from_millis(50);
/// Changes that no notice tells of (somebody is not heard any more on one of two interfaces) are seen within this.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks in a crowd, a millisecond for each three peers: a start of a thousand changes something all the time.
const LOOK_SHARE: u32 = 3;
/// Links are told at most this often on the average,
const TELL_EVERY: Duration = Duration::from_secs(5);
/// and so many times in a row.
const TELL_BURST: u32 = 4;
/// What changes together is told together: a start is a few changes in a tenth of a second.
const TELL_AFTER: Duration = Duration::from_millis(150);

/// For so long after others vouched for somebody who is not heard here the map is needed: as long as a failed node is looked
/// for.
const MISSED: Duration = Duration::from_secs(600);

/// Ways through the mesh. See the module's first line.
#[derive(Debug)]
pub struct Routing {
    map: Map,
    ears: BTreeMap<InterfaceIndex, Ear>,
    qualities: Qualities,
    look_at: Instant,
    looked: Instant,
    is_joint: bool,
    /// When others last vouched for somebody whom this node does not hear.
    missed: Option<Instant>,
    woken: Option<Woken>,
    fading: Fading,
    denied: Denied,
    lists: Lists,
    told: Told,
    /// When what changed is to be told.
    tell_at: Option<Instant>,
    /// When as much may be told as may be told in a row: a leaky bucket, kept as the time at which it is empty.
    full_at: Instant,
}

impl Routing {
    /// Knows of no link.
    #[must_use]
    pub fn new(now: Instant, me: NodeId) -> Self {
        Self {
            map: Map::new(me),
            ears: BTreeMap::new(),
            qualities: Qualities::new(),
            look_at: now + LOOK_EVERY,
            looked: now,
            is_joint: false,
            missed: None,
            woken: None,
            fading: Fading::new(me),
            denied: Denied::default(),
            lists: Lists::new(),
            told: Told::default(),
            tell_at: None,
            full_at: now,
        }
    }

    /// A present peer tells of its links, or of who is on a segment that it names.
    pub fn on_op(&mut self, now: Instant, op: &SignedOp, ctx: &Context) {
        let (_, key) = op.slot();
        if key.is_empty() {
            if let Some(links) = LinksBody::parse(op.body()) {
                self.map.set_links(op.author(), links);
            }
        } else if let Some((segment, part, members)) = MembersBody::parse(&op.author(), key, op.body()) {
            self.map.set_members(op.author(), segment, part, members);
        }
        self.on_change(now, ctx);
    }

    /// Who is heard may have changed.
    pub fn on_change(&mut self, now: Instant, ctx: &Context) {
        let crowd =
            Duration::from_millis(u64::from(u32::try_from(ctx.roster.near_count()).unwrap_or(u32::MAX) / LOOK_SHARE));
        let earliest = (now + SETTLE).max(self.looked + crowd);
        self.look_at = self.look_at.min(earliest);
    }

    /// A peer that is heard on an interface says that the segment there bears its name. Believed in answer to our own question
    /// alone: what it said on another segment can be recorded and played here.
    pub fn on_naming(&mut self, now: Instant, id: NodeId, arrival: Arrival, naming: Naming, ctx: &mut Context) {
        let index = arrival.interface;
        let Some(interface) = ctx.interface(index) else { return };
        // Of this host: an answer to it alone would come by loopback, and from outside nobody speaks with our address.
        let is_ours = interface.addresses.iter().any(|held| held.address == arrival.from.ip());
        if !ctx.roster.is_near(&id) {
            return;
        }
        let ear = self.ears.entry(index).or_insert_with(Ear::new);
        if is_ours || naming.nonce.is_some_and(|nonce| ear.is_answer(&id, nonce)) {
            if ear.note(now, id, naming.segment) {
                self.on_change(now, ctx);
            }
            return;
        }
        let Some(destination) = place_of(&id, index, ctx) else { return };
        let nonce = ctx.random.bits();
        if ear.asks(now, id, naming.segment, nonce) {
            ctx.out.send(destination, Message::Ping(Ping { nonce }));
        }
    }

    /// Whether the map is needed, by this node or by another: then links are named, measured and told.
    #[must_use]
    pub fn is_mapping(&self) -> bool {
        self.is_joint || self.map.has_joint()
    }

    /// A peer's beacon came on an interface: what lies between its number and the last was lost.
    pub fn on_beacon(&mut self, now: Instant, id: NodeId, arrival: Arrival, number: u32, ctx: &Context) {
        if self.is_mapping() && ctx.roster.is_near(&id) {
            self.qualities.on_beacon(now, id, arrival, number);
        }
    }

    /// A peer tells us on an interface that it lives, and in how many milliseconds it tells us next: those that it promised and
    /// that did not come were lost.
    pub fn on_turn(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, due_ms: u32, ctx: &Context) {
        if self.is_mapping() && ctx.roster.is_near(&id) {
            self.qualities.on_turn(now, id, index, Duration::from_millis(due_ms.into()));
        }
    }

    /// A letter given to a peer was taken after so long, or (`None`) not in answer to its first carrying.
    pub fn on_carried(&mut self, now: Instant, id: NodeId, rtt: Option<Duration>, ctx: &Context) {
        if let Some(index) = way_of(&id, ctx).filter(|_| self.is_mapping()) {
            self.qualities.on_carried(now, id, index, rtt);
        }
    }

    /// This node was stopped, for so long. What it heard before a stop as long as a suspicion it tells of for a moment alone:
    /// meanwhile they may have died, and whoever lost them would believe that they are heard here.
    pub fn on_stall(&mut self, now: Instant, late: Duration, ctx: &Context) {
        if late >= ctx.config.profile.suspicion() && self.is_mapping() {
            let woken = Woken::new(now, late, ctx);
            self.tell_at = (!woken.is_listening()).then_some(now);
            self.woken = Some(woken);
        }
    }

    /// What was heard before this is no link.
    fn floor(&self) -> Instant {
        self.woken.as_ref().map_or(Instant::ZERO, Woken::floor)
    }

    /// A peer is gone: what it said counts no more.
    pub fn on_down(&mut self, now: Instant, id: &NodeId, ctx: &Context) {
        self.map.forget(id);
        self.ears.values_mut().for_each(|ear| ear.forget(id));
        self.on_change(now, ctx);
    }

    /// A peer is not heard itself any more.
    pub fn on_far(&mut self, now: Instant, id: &NodeId, ctx: &mut Context) {
        self.ears.values_mut().for_each(|ear| ear.forget(id));
        // No way of ours may begin with it from now on.
        self.look(now, ctx);
    }

    /// The segment of an interface, if it bears this node's name.
    #[must_use]
    pub fn named(&self, index: InterfaceIndex) -> Option<SegmentId> {
        self.ears.get(&index).filter(|ear| ear.is_mine()).and_then(Ear::segment)
    }

    /// The segment of an interface, if it has a name.
    #[must_use]
    pub fn segment_of(&self, index: InterfaceIndex) -> Option<SegmentId> {
        self.ears.get(&index).and_then(Ear::segment)
    }

    /// Those of whom the map says that they hear a peer, besides itself and us: the namers of our segments that it is on, and who tells
    /// of a direct link to it.
    #[must_use]
    pub fn listers_of(&mut self, id: &NodeId) -> Vec<NodeId> {
        let links = self.map.links_of(id);
        let is_on =
            |segment: SegmentId| links.is_some_and(|links| links.segments.iter().any(|link| link.segment == segment));
        let ears = self.ears.values().filter(|ear| !ear.is_mine() && ear.segment().is_some_and(is_on));
        let mut listers: Vec<NodeId> = ears.map(Ear::namer).filter(|namer| namer != id).collect();
        listers.extend(self.map.claimers_of(id).take(MAX_DIRECT));
        listers
    }

    /// The interface that is on a segment.
    #[must_use]
    pub fn interface_of(&self, segment: SegmentId) -> Option<InterfaceIndex> {
        self.ears.iter().find(|(_, ear)| ear.segment() == Some(segment)).map(|(index, _)| *index)
    }

    /// Whether there is more than one segment between which to pass on.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.ears.values().filter(|ear| ear.segment().is_some()).nth(1).is_some()
    }

    /// The ways of this node.
    pub fn map(&mut self) -> &mut Map {
        &mut self.map
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let woken = self.woken.as_ref().and_then(Woken::next_deadline);
        [Some(self.look_at), self.fading.next_deadline(), self.tell_at, woken].into_iter().flatten().min()
    }

    /// Does what is due; returns the facts to publish.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) -> Vec<Fact> {
        let has_listened = self.woken.as_mut().is_some_and(|woken| woken.on_wake(now, ctx));
        if has_listened || now >= self.look_at {
            self.look(now, ctx);
        }
        self.ask_fading(now, ctx);
        if self.tell_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.tell_at = None;
        let (links, lists) = self.draw(now, DOUBTFUL, ctx);
        if !self.told.differs(&links, &lists) {
            return Vec::new();
        }
        self.full_at = self.full_at.max(now) + TELL_EVERY;
        let facts = self.told.tell(links, lists);
        ctx.stats.links_told += facts.len() as u64;
        facts
    }

    /// Looks who is heard where, names segments, and draws the own part of the map.
    fn look(&mut self, now: Instant, ctx: &mut Context) {
        self.looked = now;
        self.look_at = ctx.next_tick(now, LOOK_EVERY);
        let heard = Heard::look(now, Duration::ZERO, self.floor(), ctx);
        self.note_missed(now, &heard, ctx);
        self.is_joint = heard.is_joint() || self.missed.is_some_and(|at| now < at + MISSED);
        if self.is_mapping() {
            self.choose_segments(now, &heard, ctx);
            self.fading.plan(now, ctx);
            self.denied.look(now, &self.map, ctx);
        } else {
            self.ears.clear();
            self.qualities.clear();
            self.fading.rest();
        }
        let (links, lists) = self.draw(now, Duration::ZERO, ctx);
        if self.map.links_of(&ctx.me.id) != Some(&links) {
            self.map.set_links(ctx.me.id, links);
        }
        for (segment, part) in self.lists.keys().filter(|key| !lists.contains_key(key)) {
            self.map.set_members(ctx.me.id, *segment, *part, Vec::new());
        }
        for ((segment, part), (_, list)) in &lists {
            self.map.set_members(ctx.me.id, *segment, *part, list.clone());
        }
        self.lists = lists;
        let (links, lists) = self.draw(now, DOUBTFUL, ctx);
        // A joint tells of itself once its segments have names: until then there is nothing to be known.
        let is_unnamed = |ear: &Ear| ear.names_at(&ctx.me.id, self.is_joint, &[]).is_some();
        let is_early = self.is_joint && links.segments.is_empty() && self.ears.values().any(is_unnamed);
        // Whom it still hears a node that was stopped learns one by one; it tells when it has listened.
        let is_early = is_early || self.woken.as_ref().is_some_and(Woken::is_listening);
        if !is_early && self.told.differs(&links, &lists) {
            let debt = self.full_at.max(now).since(now);
            let wait = debt.saturating_sub(TELL_EVERY * (TELL_BURST - 1)).max(TELL_AFTER);
            self.tell_at.get_or_insert(now + wait);
        }
        // A suspect becomes doubtful by time alone.
        let doubtful = ctx.roster.near().filter(|(_, peer)| peer.liveness == Liveness::Suspect);
        if let Some(at) = doubtful.map(|(_, peer)| peer.since + DOUBTFUL).filter(|at| *at > now).min() {
            self.look_at = self.look_at.min(at);
        }
        if let Some(at) = Heard::next_end(now, ctx) {
            self.look_at = self.look_at.min(at);
        }
    }

    /// Who is heard on an interface.
    #[cfg(test)]
    pub(crate) fn heard_on(now: Instant, index: InterfaceIndex, ctx: &Context) -> Vec<NodeId> {
        Heard::look(now, Duration::ZERO, Instant::ZERO, ctx).on(index).to_vec()
    }

    /// Somebody present who is not heard, as others are, is heard by others or has died: they tell, if we say that we need the
    /// map. So long as one is far by what they told, we go on needing it.
    fn note_missed(&mut self, now: Instant, heard: &Heard, ctx: &Context) {
        let goes_on = self.missed.is_some() && ctx.roster.present().any(|(_, peer)| peer.far.is_some());
        if goes_on || heard.misses_some(now, ctx) {
            self.missed = Some(now);
        }
    }

    /// The own links and lists; none where nobody needs the map.
    fn draw(&mut self, now: Instant, patience: Duration, ctx: &Context) -> (LinksBody, Lists) {
        if !self.is_mapping() {
            return (LinksBody::default(), Lists::new());
        }
        let heard = Heard::look(now, patience, self.floor(), ctx);
        let ears = own::Ears { now, ears: &self.ears, qualities: &mut self.qualities };
        let links = own::links(self.is_joint, &heard, ears, &mut self.map, ctx);
        (links, own::lists(&heard, &self.ears, ctx.me.id))
    }

    /// Others list somebody whom this node does not hear: it needs the map.
    pub fn on_missed(&mut self, now: Instant, ctx: &Context) {
        self.missed = Some(now);
        self.on_change(now, ctx);
    }

    fn choose_segments(&mut self, now: Instant, heard: &Heard, ctx: &mut Context) {
        self.ears.retain(|index, _| ctx.interface(*index).is_some());
        for index in heard.interfaces() {
            self.ears.entry(index).or_insert_with(Ear::new);
        }
        let map = &self.map;
        let me = ctx.me.id;
        let shown = |id: &NodeId, segment: SegmentId| Shown {
            in_links: map.links_of(id).map(|links| links.segments.iter().any(|link| link.segment == segment)),
            lists_us: map.lists(segment, id, &me),
        };
        for (index, ear) in &mut self.ears {
            let there = heard.on(*index);
            if ear.choose(now, (me, *index), self.is_joint, there, shown) && ear.is_mine() {
                ctx.out.notice(Notice::Beacon(*index));
            }
            if let Some((namer, nonce)) = ear.calls(now, &mut ctx.random)
                && let Some(destination) = place_of(&namer, *index, ctx)
            {
                ctx.out.send(destination, Message::Ping(Ping { nonce }));
            }
            if let Some(at) = ear.next_deadline(&me, self.is_joint, there) {
                self.look_at = self.look_at.min(at);
            }
        }
    }

    /// Whoever is soon no neighbour by one of several interfaces is asked there: where its beacons were lost by chance it is one still, and no
    /// way changes.
    fn ask_fading(&mut self, now: Instant, ctx: &mut Context) {
        for (id, index) in self.fading.on_wake(now, ctx) {
            if let Some(destination) = place_of(&id, index, ctx) {
                let nonce = ctx.random.bits();
                ctx.out.send(destination, Message::Ping(Ping { nonce }));
            }
        }
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let fullest = self.ears.values().map(Ear::namers).max().unwrap_or(0);
        let measured = ("links_measured", self.qualities.len(), self.qualities.limit());
        [("namers", fullest, MAX_PEERS), measured].into_iter().chain(self.map.table_sizes()).collect()
    }
}

/// Where a near peer was heard last on an interface.
fn place_of(id: &NodeId, index: InterfaceIndex, ctx: &Context) -> Option<Destination> {
    let peer = ctx.roster.get(id).filter(|peer| peer.is_near())?;
    let ways = peer.paths.iter().filter(|path| path.interface == Some(index) && path.heard.is_some());
    let address = ways.max_by_key(|path| path.heard)?.address;
    Some(Destination::Address(address, Some(index)))
}

/// The interface by which a near peer is spoken to.
fn way_of(id: &NodeId, ctx: &Context) -> Option<InterfaceIndex> {
    ctx.roster.get(id).filter(|peer| peer.is_near())?.best_path()?.interface
}

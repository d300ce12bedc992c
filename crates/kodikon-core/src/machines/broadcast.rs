//! Decides how something said to all reaches each node once: who gives it to whom, until all have it or its time is over.

mod answers;
mod asked;
mod duty;
mod giving;
mod held;
mod offers;
mod own;
mod pace;
mod ranges;
mod taking;
mod ways;

use std::collections::{BTreeMap, VecDeque};

use crate::effect::context::Context;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::answers::Answers;
use crate::machines::broadcast::asked::{Asked, MAX_ASKED};
use crate::machines::broadcast::duty::{Duty, Stage};
use crate::machines::broadcast::held::{Doubt, Held, Store, knowing};
use crate::machines::broadcast::offers::Offers;
use crate::machines::broadcast::own::Own;
use crate::machines::broadcast::ways::Ways;
use crate::model::cast::CastId;
use crate::model::letter::Priority;
use crate::model::windows::{MAX_ORIGINS, Windows};
use crate::wire::cast::{Cast, Content};
use crate::wire::fragments::{Fragments, MAX_BYTES as MAX_PIECED, MAX_SETS};
use crate::wire::letter::Path;

pub use ways::Reach;

/// Where maps differ a cast is passed on after this at least, and as long again by chance: who hears it meanwhile is silent.
const FLOOD_AFTER: Duration = Duration::from_millis(10);
/// Backups wait up to this much longer than they must, so that of several one is first.
const BACKUP_SPREAD: Duration = Duration::from_millis(20);
/// After the map changed, what is owed to whom is looked at once the changes that come with it are in.
const REPLAN_AFTER: Duration = Duration::from_millis(50);
/// Origins whose rates are kept, by each neighbour that gives their casts; the one heard longest ago makes room.
const MAX_RATES: usize = 2 * MAX_PEERS;
/// Bytes a second that a node gives to those who want what they lack, and at once: some twenty of the longest casts.
const SERVED_RATE: u32 = 2 * 1_024 * 1_024;

/// Who is to get a cast from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Over which interface; `None`: one by one.
    pub on: Option<InterfaceIndex>,
    /// By what right.
    pub role: Role,
    /// Who.
    pub members: Vec<NodeId>,
}

/// What becomes of a cast here, as the map has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// The map's digest.
    pub map: u64,
    /// Relays on the shortest way from its origin.
    pub shortest: Option<u8>,
    /// Who gets it from here.
    pub shares: Vec<Share>,
}

/// By what right a node gives a cast to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the forwarder of the cast's origin there.
    Forwarder,
    /// Another is, who may have died.
    Backup,
    /// Nobody knows who is: the maps differ.
    Flood,
}

/// Which cast is to be given to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Which.
    pub id: CastId,
    /// Over which interface it came; `None`: it is this node's own.
    pub came: Option<InterfaceIndex>,
    /// Digest of the map of whoever gave it.
    pub map: Option<u64>,
}

/// What is said to all. See the module's first line.
#[derive(Debug)]
pub struct Broadcasts {
    /// When this run began: what was said before was said to the last one.
    born: Instant,
    own: Own,
    store: Store,
    windows: Windows,
    fragments: Fragments<Cast>,
    answers: Answers,
    offers: Offers,
    ways: Ways,
    rates: RecentMap<(NodeId, NodeId), TokenBucket>,
    asked: Asked,
    served: TokenBucket,
    /// Those for which it is to be found who gets them from here.
    unplanned: VecDeque<CastId>,
    /// Digest of our map when the last was planned.
    map: u64,
    replan_at: Option<Instant>,
}

impl Broadcasts {
    /// Nothing said yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            born: now,
            own: Own::default(),
            store: Store::default(),
            windows: Windows::default(),
            fragments: Fragments::default(),
            answers: Answers::default(),
            offers: Offers::default(),
            ways: Ways::default(),
            rates: RecentMap::new(MAX_RATES),
            asked: Asked::default(),
            served: TokenBucket::new(SERVED_RATE, SERVED_RATE),
            unplanned: VecDeque::new(),
            map: 0,
            replan_at: None,
        }
    }

    /// Takes something to be said to all. The number that names it in this run; `None` if too much waits already, and then
    /// nothing changed.
    pub fn publish(&mut self, content: Content, priority: Priority, ctx: &mut Context) -> Option<u64> {
        let number = self.own.push(content, priority);
        if number.is_none() {
            ctx.stats.casts_refused += 1;
        }
        number
    }

    /// This run goes on after another of the same identity: what waited is said in this one, under its number and at the same rate.
    pub fn go_on(&mut self, before: Self) {
        self.own = before.own;
    }

    /// The identity under which the application said what waits is given up, and it is not said.
    pub fn give_up(self, ctx: &mut Context) {
        ctx.stats.casts_refused += self.own.waiting() as u64;
    }

    /// Says what may be said now.
    pub fn begin(&mut self, now: Instant, ctx: &mut Context) {
        while let Some((number, urgency, content)) = self.own.pop(now) {
            let id = CastId { origin: ctx.me.id, epoch: ctx.me.epoch, number };
            let cast = Cast::sign(&ctx.me.identity, ctx.mesh, id, urgency, content);
            ctx.stats.casts_sent += 1;
            let held = Held {
                cast,
                urgency,
                arrived: now,
                age: Duration::ZERO,
                doubt: Doubt::default(),
                expires: now + urgency.deadline(),
                hops: ctx.config.max_hops.saturating_add(1),
                path: Path::default(),
                came: None,
                map: None,
                shortest: None,
                knows: knowing([]),
                duties: BTreeMap::new(),
            };
            self.hold(now, id, held, ctx);
        }
    }

    fn hold(&mut self, now: Instant, id: CastId, held: Held, ctx: &mut Context) {
        if held.is_reliable() {
            for interface in ctx.interfaces.iter().filter(|interface| held.may_go(interface.index)) {
                self.offers.begin(now, interface.index, &mut ctx.random);
            }
        }
        ctx.stats.casts_evicted += self.store.insert(id, held).len() as u64;
        self.unplanned.push_back(id);
    }

    /// The next cast for which it is to be found who gets it from here.
    pub fn next_question(&mut self) -> Option<Question> {
        while let Some(id) = self.unplanned.pop_front() {
            if let Some(held) = self.store.get(&id) {
                return Some(Question { id, came: held.came, map: held.map });
            }
        }
        None
    }

    /// Whether something will be given, so that it matters how segments can be reached.
    #[must_use]
    pub fn is_giving(&self, now: Instant) -> bool {
        !self.unplanned.is_empty() || self.next_deadline().is_some_and(|at| now >= at)
    }

    /// How the segments can be reached now.
    pub fn note_reach(&mut self, reaches: &[Reach]) {
        self.ways.note(reaches);
    }

    /// It was found who gets a cast from here, and over how many relays it would come by the shortest way.
    pub fn spread(&mut self, now: Instant, id: CastId, answer: Shares, ctx: &mut Context) {
        self.map = answer.map;
        let Some(held) = self.store.get_mut(&id) else { return };
        // Each change of the map asks again; those who are too far are counted once.
        let is_first = held.shortest.is_none();
        held.shortest = answer.shortest;
        let may_pass = held.hops > 0;
        if !may_pass && is_first {
            let ours = answer.shares.iter().filter(|share| share.role == Role::Forwarder);
            let lacking = ours.flat_map(|share| &share.members).filter(|id| !held.knows.contains_key(id)).count();
            (0..lacking).for_each(|_| ctx.stats.drop(Reject::Hops));
        }
        for Share { on, role, mut members } in answer.shares.into_iter().filter(|_| may_pass) {
            let Some(held) = self.store.get(&id) else { return };
            members.retain(|member| !held.knows.contains_key(member) && *member != id.origin);
            let (stage, after) = match (role, held.duties.contains_key(&on)) {
                (Role::Forwarder, false) => (Stage::First, Duration::ZERO),
                // It was given there before, by us or another: whoever came since is asked.
                (Role::Forwarder, true) => (Stage::Ask, Duration::ZERO),
                (Role::Backup | Role::Flood, true) => continue,
                (Role::Backup, false) => {
                    let least = on.map(|on| self.ways.backup_after(on)).unwrap_or_default();
                    (Stage::Standby, least + ctx.random.span(BACKUP_SPREAD))
                }
                (Role::Flood, false) => (Stage::Standby, FLOOD_AFTER + ctx.random.span(FLOOD_AFTER)),
            };
            let known = self.store.get(&id).and_then(|held| held.duties.get(&on)).map(|duty| &duty.missing);
            members.retain(|member| known.is_none_or(|known| !known.contains_key(member)));
            if !members.is_empty() {
                self.store.owe(id, on, Duty::new(stage, now + after, members));
            }
        }
        self.give_due(now, ctx);
    }

    /// The map changed: somebody else may be owed what is here.
    pub fn on_map_changed(&mut self, now: Instant) {
        if self.store.iter().next().is_some() {
            self.replan_at.get_or_insert(now + REPLAN_AFTER);
        }
    }

    /// Somebody is heard who was not: it is offered what is here.
    pub fn on_near(&mut self, now: Instant, id: &NodeId, ctx: &mut Context) {
        let on = ctx.roster.get(id).and_then(|peer| peer.best_path()?.interface);
        if let Some(on) = on.filter(|_| self.store.iter().next().is_some()) {
            self.offers.hasten(now, on, &mut ctx.random);
        }
    }

    /// A peer is gone. What it had may be gone with its process: once it is back it is owed that again.
    pub fn on_down(&mut self, id: &NodeId) {
        self.store.forget(id);
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let parts = [
            self.own.next_deadline(),
            self.store.next_deadline(),
            self.answers.next_deadline(),
            self.offers.next_deadline(),
            self.replan_at,
        ];
        parts.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if self.replan_at.is_some_and(|at| now >= at) {
            self.replan_at = None;
            self.unplanned.extend(self.store.iter().filter(|(_, held)| held.is_reliable()).map(|(id, _)| *id));
        }
        while let Some(id) = self.store.expired(now) {
            let Some(held) = self.store.remove(&id) else { continue };
            let lacking = |duty: &Duty| if duty.due.is_some() { duty.missing.len() as u64 } else { 0 };
            ctx.stats.casts_unacknowledged += held.duties.values().map(lacking).sum::<u64>();
        }
        self.give_due(now, ctx);
        while let Some(on) = self.offers.due(now) {
            self.offer(now, on, ctx);
        }
        self.answers.say(now, &self.windows, &self.fragments, &mut ctx.out);
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let own = [
            ("cast_windows", self.windows.len(), MAX_ORIGINS),
            ("casts_in_pieces", self.fragments.len(), MAX_SETS),
            ("cast_bytes_in_pieces", self.fragments.bytes(), MAX_PIECED),
            ("cast_answers", self.answers.len(), MAX_PEERS),
            ("cast_rates", self.rates.len(), MAX_RATES),
            ("casts_asked_for", self.asked.len(), MAX_ASKED),
            ("cast_answer_times", self.ways.len(), MAX_PEERS),
        ];
        own.into_iter().chain(self.store.table_sizes()).chain(self.own.table_sizes()).collect()
    }
}

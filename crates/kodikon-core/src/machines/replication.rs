//! Decides what each node holds of the facts of all: the `live` lane and the log, compared by roots and repaired by digests.

mod checks;
mod hearsay;
mod intervals;
mod lane;
mod limits;
pub mod log;
mod logged;
mod own;
mod roots;
mod sync;

use std::collections::BTreeSet;

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::log::{LogRow, SavedLog};
use crate::effect::outbox::{Destination, Notice};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::stats::Reject;
use crate::ground::table::IdTable;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::checks::Checks;
use crate::machines::replication::lane::{Lane, Placed};
use crate::machines::replication::log::Log;
use crate::machines::replication::own::Own;
use crate::machines::replication::roots::Roots;
use crate::machines::replication::sync::Sync;
use crate::model::logged::Logged;
use crate::model::op::{OpId, OpKind, OpLane, SignedOp};
use crate::model::state::NodeSnapshot;
use crate::wire::message::{Message, Ops};

/// Bytes of ops in one message: a datagram's text less the message's own few bytes and a cover list.
const OPS_BYTES: usize = 1_150;
/// Withdrawn opinions and unset keys are dropped after this; whoever was away longer was failed, and starts afresh.
const EXPIRY: Duration = Duration::from_secs(600);
/// Lanes at most: the peers' and the own.
const MAX_LANES: usize = MAX_PEERS + 1;
/// Of a greater number nothing is learned: a member that says one must not bring others to the end of theirs, from which they could not go on.
const MAX_HEARD_LAMPORT: u64 = u64::MAX / 2;
/// How often that is looked at.
const EXPIRY_LOOK: Duration = Duration::from_secs(30);

/// The `live` lane and the log. See the module's first line.
#[derive(Debug)]
pub struct Replication {
    own: Own,
    log: Log,
    lanes: IdTable<NodeId, Box<Lane>>,
    /// Which version was shown last of the state of those who are gone, and of which run.
    floors: BoundedMap<NodeId, (Epoch, u64)>,
    checks: Checks,
    roots: Roots,
    sync: Sync,
    lamport: u64,
    next_expiry: Instant,
}

impl Replication {
    /// Holds only what the own disk remembered, and what was to be kept there when the run before ended, if there is anything.
    #[must_use]
    pub fn new(now: Instant, state: (NodeSnapshot, Option<NodeSnapshot>), log: SavedLog, ctx: &Context) -> Self {
        let (kept, unkept) = state;
        Self {
            own: Own::new(kept, unkept, ctx.me.epoch),
            log: Log::new(now, log),
            lanes: IdTable::new(MAX_LANES),
            floors: BoundedMap::new(MAX_LANES),
            checks: Checks::new(),
            roots: Roots::new(),
            sync: Sync::new(),
            lamport: 0,
            next_expiry: now + EXPIRY_LOOK,
        }
    }

    /// Takes in rows that the disk held, each with the digest of its content, and the names of those that are lost, and tells of each that is
    /// of use. So each is read once.
    pub fn restore(
        &mut self,
        now: Instant,
        (rows, lost): (impl Iterator<Item = (LogRow, u64)>, &[OpId]),
        unkept: &BTreeSet<OpId>,
        ctx: &mut Context,
        mut told: impl FnMut(Logged, &mut Context),
    ) {
        for (row, digest) in rows {
            let is_kept = !unkept.contains(&OpId::of(&row.op));
            if let Some(logged) = self.log.restore_row(now, row, (digest, is_kept), ctx) {
                told(logged, ctx);
            }
        }
        if !lost.is_empty() {
            self.log.lose(now, lost, ctx);
        }
        self.log.restored(now);
    }

    /// Digest of all that is covered here; equal on nodes that agree on who is present and what they said.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.roots.all()
    }

    /// A peer is present from now on: its card opens its lane. `source` has the rest of what it said.
    pub fn on_up(&mut self, now: Instant, id: NodeId, source: Option<NodeId>, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&id) else { return };
        let card = peer.signed.clone();
        if self.lanes.get(&id).is_some_and(|lane| lane.epoch != card.epoch()) {
            self.drop_lane(&id);
        }
        self.adopt(now, card, ctx);
        self.own.on_up(now);
        // Whoever knows few asks at once; whoever knows many is asked. Nobody far asks.
        let is_far = source.is_some_and(|source| source != id);
        if let Some(source) = source.filter(|_| is_far || ctx.roster.near_count() <= sync::EAGER_PEERS) {
            let question = self.question(&mut ctx.random);
            self.sync.ask_now(now, source, &question, ctx);
            self.log.ask_now(now, source, ctx);
        }
        self.log.on_floor(now, &id, ctx);
    }

    /// A peer is gone: its facts and the memory of them go together, so that it can come back.
    pub fn on_down(&mut self, id: &NodeId) {
        self.drop_lane(id);
        self.checks.forget(id);
        self.sync.forget(id);
        self.log.forget_peer(id);
    }

    fn drop_lane(&mut self, id: &NodeId) {
        if let Some(lane) = self.lanes.remove(id) {
            self.roots.change(id, lane.part(), 0);
            if lane.shown_version() > 0 {
                // The table holds as many as there can be lanes, twice over: whoever makes room was gone longest or is nobody's memory.
                if self.floors.is_full() && !self.floors.contains_key(id) {
                    self.floors.pop_first();
                }
                drop(self.floors.insert(*id, (lane.epoch, lane.shown_version())));
            }
        }
    }

    /// Takes in a card that was proven or verified elsewhere.
    pub fn adopt(&mut self, now: Instant, op: SignedOp, ctx: &mut Context) {
        let present = ctx.roster.get(&op.author()).is_some_and(|peer| peer.liveness.is_present());
        if present {
            self.place(now, op, ctx);
        }
    }

    fn place(&mut self, now: Instant, op: SignedOp, ctx: &mut Context) -> Placed {
        // A version that was shown of this run stands, though all that was held of it went with its author for a while.
        let floor = self.floors.get(&op.author()).filter(|floor| floor.0 == op.epoch()).map_or(0, |floor| floor.1);
        let make = || Box::new(Lane::new(ctx.mesh, op.author(), op.epoch(), floor));
        let Some(lane) = self.lanes.get_or_insert_with(op.author(), make) else { return Placed::Full };
        self.lamport = self.lamport.max(op.lamport().min(MAX_HEARD_LAMPORT));
        let before = lane.part();
        let author = op.author();
        let placed = lane.place(now, op);
        self.roots.change(&author, before, lane.part());
        if lane.take_news() && author != ctx.me.id {
            ctx.out.notice(Notice::StateChanged(author));
        }
        placed
    }

    /// Whether one more signature is checked that a peer brings.
    pub fn may_check(&mut self, now: Instant, from: NodeId, ctx: &Context) -> bool {
        self.checks.take(now, from, 1, ctx)
    }

    /// Whether an op in our name is one we made.
    pub fn remembers(&self, op: &SignedOp, ctx: &Context) -> bool {
        match op.lane() {
            OpLane::Live => self.own.is_mine(op, self.lane(&op.author())),
            OpLane::Log | OpLane::Local => self.log.is_mine(op, ctx),
        }
    }

    /// Ops arrived from a proven peer: pushed, or because we lacked them. `sole` are the authors of whom nobody else here can
    /// tell.
    pub fn on_ops(&mut self, now: Instant, from: NodeId, ops: Ops, sole: &BTreeSet<NodeId>, ctx: &mut Context) {
        self.sync.on_answer(now, from);
        for op in ops.ops {
            self.on_op(now, from, op, ctx);
        }
        for cover in ops.covered {
            let author = NodeId(cover.author);
            let Some(lane) = self.lanes.get_mut(&author).filter(|lane| lane.epoch == Epoch(cover.epoch)) else {
                continue;
            };
            if author == ctx.me.id {
                continue;
            }
            let before = lane.part();
            lane.cover_hearsay(from, &cover.intervals, sole.contains(&author));
            self.roots.change(&author, before, lane.part());
        }
    }

    fn on_op(&mut self, now: Instant, from: NodeId, op: SignedOp, ctx: &mut Context) {
        let author = op.author();
        if op.lane() != OpLane::Live {
            return ctx.stats.drop(Reject::Malformed);
        }
        if author == ctx.me.id {
            if op.epoch() >= ctx.me.epoch && !self.own.is_mine(&op, self.lane(&author)) {
                ctx.out.notice(Notice::OwnGhost(op, None));
            }
            return;
        }
        let present = ctx.roster.get(&author).filter(|peer| peer.liveness.is_present());
        let Some(peer) = present.filter(|peer| peer.epoch() == op.epoch()) else {
            let is_news = ctx.roster.highest_epoch(&author).is_none_or(|known| op.epoch() >= known);
            if is_news && op.kind() == OpKind::Card {
                if self.checks.take(now, from, checks::INTRODUCTION, ctx) {
                    ctx.out.notice(Notice::Introduced(op, from));
                } else {
                    ctx.stats.drop(Reject::Budget);
                }
            } else if !is_news {
                ctx.stats.drop(Reject::Stale);
            }
            return;
        };
        let key = peer.card.public_key;
        let mut lane = self.lanes.get_mut(&author);
        if lane.as_ref().is_some_and(|lane| lane.covers(op.seq())) {
            self.compare(now, from, &op, &key, ctx);
            return;
        }
        // The author's own share is charged for what it did say: whoever forges its ops must not delay them.
        let has_share = lane.as_mut().is_none_or(|lane| lane.allowance.has(now, 1));
        if !has_share || !self.checks.is_signed(now, from, (&op, &key), ctx) {
            if !has_share {
                ctx.offenders.note(&author, Excess::Ops);
                ctx.stats.drop(Reject::Budget);
            }
            return;
        }
        let placed = self.place(now, op.clone(), ctx);
        if let Some(lane) = self.lanes.get_mut(&author) {
            lane.allowance.take(now, 1);
        }
        match placed {
            Placed::Newest => {
                ctx.stats.ops_applied += 1;
                ctx.out.notice(Notice::Applied(op));
            }
            Placed::Superseded => {}
            Placed::Full => ctx.stats.drop(Reject::Limit),
        }
    }

    fn lane(&self, author: &NodeId) -> Option<&Lane> {
        self.lanes.get(author).map(Box::as_ref)
    }

    /// A number that was processed comes again. With other words, and signed, it shows that its author says one thing to
    /// some and another to others. Known only while the first is the newest of its key.
    fn compare(&mut self, now: Instant, from: NodeId, op: &SignedOp, key: &[u8; 32], ctx: &mut Context) {
        let held = self.lanes.get(&op.author()).and_then(|lane| lane.get(op.slot()));
        let differs = held.is_some_and(|held| held.seq() == op.seq() && !held.says_the_same(op));
        if !differs || !self.checks.is_signed(now, from, (op, key), ctx) {
            return;
        }
        ctx.stats.equivocations += 1;
        let is_first = self.lanes.get_mut(&op.author()).is_some_and(|lane| lane.note_equivocation());
        if let Some(peer) = ctx.roster.get(&op.author()).filter(|_| is_first) {
            let event = Event::Equivocated { peer: op.author(), name: peer.card.shown_name() };
            ctx.out.event(event);
        }
    }

    /// The state of a node as far as it is known here.
    #[must_use]
    pub fn state_of(&self, id: &NodeId, me: &NodeId) -> Option<NodeSnapshot> {
        if id == me { Some(self.own.state().clone()) } else { self.lanes.get(id)?.snapshot() }
    }

    /// The change of an author's state that bears its newest version, for a node that lost its own memory of it.
    #[must_use]
    pub fn newest_state_of(&self, author: &NodeId) -> Option<SignedOp> {
        self.lane(author).and_then(Lane::newest_state).cloned()
    }

    /// What present peers say about whether a node failed.
    #[must_use]
    pub fn opinions_about(&self, subject: &NodeId) -> Vec<SignedOp> {
        let slot = (OpKind::Opinion, &subject.0[..]);
        self.lanes.values().filter_map(|lane| lane.get(slot)).cloned().collect()
    }

    /// What this node itself says of whom it hears, the newest first, and before it its opinion on a subject: what fits `count` messages.
    #[must_use]
    pub fn own_words_on(&self, subject: &NodeId, count: usize, ctx: &Context) -> Vec<Vec<SignedOp>> {
        let Some(lane) = self.lane(&ctx.me.id) else { return Vec::new() };
        let mut links: Vec<&SignedOp> = lane.ops().filter(|op| op.kind() == OpKind::Links).collect();
        links.sort_by_key(|op| core::cmp::Reverse(op.seq()));
        let opinion = lane.get((OpKind::Opinion, &subject.0[..]));
        let mut messages = in_messages(opinion.into_iter().chain(links).cloned().collect());
        messages.truncate(count);
        messages
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let live = [self.own.next_deadline(), self.sync.next_deadline(), Some(self.next_expiry)];
        live.into_iter().chain([self.log.next_deadline()]).flatten().min()
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRY_LOOK;
            for lane in self.lanes.values_mut() {
                lane.expire(now, EXPIRY);
            }
        }
        if self.own.announce_is_due(now) {
            let state: Vec<SignedOp> = self
                .lanes
                .get(&ctx.me.id)
                .into_iter()
                .flat_map(|lane| lane.ops())
                .filter(|op| op.kind() == OpKind::State)
                .cloned()
                .collect();
            push(state, ctx);
        }
        if self.sync.is_due(now) {
            let question = self.question(&mut ctx.random);
            self.sync.on_wake(now, self.roots.all(), &question, ctx);
        }
        self.log.on_wake(now, ctx);
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let fullest = self.lanes.values().map(|lane| lane.len()).max().unwrap_or(0);
        let largest = self.lanes.values().map(|lane| lane.bytes()).max().unwrap_or(0);
        let live = [
            ("lanes", self.lanes.len(), MAX_LANES),
            ("ops_of_an_author", fullest, limits::MAX_OPS),
            ("bytes_of_an_author", largest, limits::MAX_BYTES),
            ("senders", self.checks.len(), MAX_PEERS),
            ("state_floors", self.floors.len(), MAX_LANES),
            ("resting", self.sync.resting(), sync::MAX_RESTING),
        ];
        live.into_iter().chain(self.log.table_sizes()).collect()
    }
}

/// Sends ops to everyone, in as few messages as they fit.
fn push(ops: Vec<SignedOp>, ctx: &mut Context) {
    for ops in in_messages(ops) {
        ctx.out.send(Destination::Everyone, Message::Ops(Ops { ops, covered: Vec::new() }));
    }
}

/// Splits ops so that each part fits a datagram.
fn in_messages(ops: Vec<SignedOp>) -> Vec<Vec<SignedOp>> {
    let mut parts: Vec<Vec<SignedOp>> = Vec::new();
    let mut room = 0;
    for op in ops {
        let len = op.wire_len();
        match parts.last_mut().filter(|_| len <= room) {
            Some(part) => part.push(op),
            None => {
                parts.push(vec![op]);
                room = OPS_BYTES;
            }
        }
        room = room.saturating_sub(len);
    }
    parts
}

//! Decides what each node holds of the log: facts that outlive their author's run, on disk, until their time is over.

mod bulk;
mod checking;
mod compare;
mod contents;
mod giving;
mod keep;
mod lane;
mod local;
mod orders;
mod own;
mod pieces;
mod pipe;
mod rates;
mod recheck;
mod records;
mod room;

pub use own::Said;
pub use pipe::PipeFrame;
pub use records::Wanted;

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::log::{CommitId, Committed, SavedLog};
use crate::effect::outbox::Notice;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant, millis};
use crate::machines::replication::checks::Checks;
use crate::machines::replication::log::bulk::Bulk;
use crate::machines::replication::log::checking::Unchecked;
use crate::machines::replication::log::contents::Comparing;
use crate::machines::replication::log::keep::Keep;
use crate::machines::replication::log::lane::{Held, LogLane};
use crate::machines::replication::log::local::Local;
use crate::machines::replication::log::own::Own;
use crate::machines::replication::log::pieces::{Added, Pieces};
use crate::machines::replication::log::rates::Rates;
use crate::machines::replication::log::recheck::Recheck;
use crate::machines::replication::log::room::Room;
use crate::machines::replication::roots::Roots;
use crate::machines::replication::sync::Sync;
use crate::model::alert::{MAX_RECEIPT_MORE, MAX_RECEIPT_ROWS, MAX_RECEIPT_RUNS, MAX_RECEIPT_SPANS};
use crate::model::logged::{LogBody, Logged, content_digest};
use crate::model::member::Card;
use crate::model::op::{OpId, OpKind, OpLane, SignedOp};
use crate::wire::message::{Log as LogMessage, LogEntry, LogPiece};

/// Runs of authors known at most, all authors together; one of which nothing is held makes room.
pub(super) const MAX_RUNS: usize = 16_384;
/// Of these so many are for this node's own, or others' would leave it without a word.
const OWN_RUNS: usize = 64;
/// Of one author: that of a node which restarts every ten minutes for a month, each time with a sighting that lasts as long.
const MAX_RUNS_OF_ONE: usize = 4_096;
/// Ops of one author checked a second, and at once: all that one may have active, as a late joiner gets it, takes some seconds.
const AUTHOR_RATE: u32 = 100;
const AUTHOR_BURST: u32 = 2_000;
/// The same of sightings and deletes that are pushed (design, section "Limits"). What exceeds it is found by the root and pulled, and
/// that is not on the author's account: this node asked for it.
const RECORD_RATE: u32 = 200;
const RECORD_BURST: u32 = 2_000;
/// What is younger may have been pushed: as long as a push may wait in the queues of some relays.
const FRESH_MS: u64 = 1_000;
/// Ops whose time is over that end in one turn: some millisecond. A hundred thousand of one import end together.
const MAX_ENDED: usize = 256;

/// The log. See the file's first line.
#[derive(Debug)]
pub struct Log {
    lanes: BTreeMap<(NodeId, Epoch), LogLane>,
    roots: Roots,
    /// When the time of what is held is over, by the log's clock.
    ends: BTreeSet<(i64, OpId)>,
    /// Runs that count no more, of which something is held still.
    ended: BTreeSet<(NodeId, Epoch)>,
    room: Room,
    deletes: Room,
    local: Local,
    sync: Sync,
    pieces: Pieces,
    allowances: RecentMap<NodeId, TokenBucket>,
    record_allowances: RecentMap<NodeId, TokenBucket>,
    rates: Rates,
    own: Own,
    keep: Keep,
    bulk: Bulk,
    comparing: Comparing,
    recheck: Recheck,
    /// Whom lately, and about which buckets, what it lacks was told for a question of its own.
    given: RecentMap<NodeId, (Instant, u64)>,
    began: Instant,
    /// The log's clock when this run began.
    clock_ms: u64,
    /// Before this, by that clock, earlier runs may have shown what they did not keep.
    cut_ms: Option<u64>,
}

impl Log {
    /// What the disk held, but for its rows: these come one by one.
    pub(super) fn new(now: Instant, saved: SavedLog) -> Self {
        let mut log = Self {
            lanes: BTreeMap::new(),
            roots: Roots::new(),
            ends: BTreeSet::new(),
            ended: BTreeSet::new(),
            room: Room::new(room::ALERTS),
            deletes: Room::new(room::DELETES),
            local: Local::default(),
            sync: Sync::new(),
            pieces: Pieces::new(),
            allowances: RecentMap::new(MAX_PEERS),
            record_allowances: RecentMap::new(MAX_PEERS),
            rates: Rates::new(),
            own: Own::new(),
            keep: Keep::new(),
            bulk: Bulk::new(),
            comparing: Comparing::new(),
            recheck: Recheck::default(),
            given: RecentMap::new(MAX_PEERS),
            began: now,
            clock_ms: saved.clock_ms,
            cut_ms: saved.cut_ms,
        };
        for cover in saved.covers.into_iter().take(MAX_RUNS) {
            let lane = LogLane::new(cover.author, cover.epoch, cover.key);
            log.lanes.entry((cover.author, cover.epoch)).or_insert(lane).restore(&cover.covered, &cover.lost);
        }
        log
    }

    /// Digest of all that is held; equal on nodes that hold the same.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.roots.all()
    }

    /// The log's clock: milliseconds for which this node ran so far, in all its runs.
    fn clock(&self, now: Instant) -> i64 {
        let run = millis(now.since(self.began));
        i64::try_from(self.clock_ms.saturating_add(run)).unwrap_or(i64::MAX)
    }

    /// When a moment of the log's clock comes.
    fn moment(&self, clock_ms: i64) -> Instant {
        let after = clock_ms.saturating_sub_unsigned(self.clock_ms);
        self.began + Duration::from_millis(u64::try_from(after).unwrap_or(0))
    }

    fn age_ms(&self, now: Instant, held: &Held) -> u64 {
        u64::try_from(self.clock(now).saturating_sub(held.born_ms)).unwrap_or(0)
    }

    /// All rows that the disk held are here.
    pub(super) fn restored(&mut self, now: Instant) {
        self.keep.watch_clock(now, !self.ends.is_empty());
        self.recheck.begin(now);
    }

    /// Whether an op is on disk.
    fn is_kept(&self, id: &OpId) -> bool {
        self.local.is_kept(id) || self.lanes.get(&(id.author, id.epoch)).is_some_and(|lane| lane.is_kept(id.seq))
    }

    /// Ops arrived from a proven peer: told when new, or because we lacked them.
    pub(super) fn on_log(
        &mut self,
        now: Instant,
        from: NodeId,
        (log, sole): (LogMessage, &BTreeSet<NodeId>),
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        self.sync.on_answer(now, from);
        let owes_much = log.pipe == Some(true);
        self.on_log_by(now, (from, Way::Datagram), (log, sole), checks, ctx);
        if owes_much {
            self.want_pipe(now, from, ctx);
        }
    }

    fn on_log_by(
        &mut self,
        now: Instant,
        by: (NodeId, Way),
        (log, sole): (LogMessage, &BTreeSet<NodeId>),
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        let (from, more) = (by.0, log.more);
        let mut ended = 0;
        let is_alone = ctx.roster.present().all(|(id, _)| *id == from);
        for entry in log.entries {
            self.on_entry(now, by, entry, checks, ctx);
        }
        for cover in log.over {
            let run = (NodeId(cover.author), Epoch(cover.epoch));
            // Of its present run nobody knows more than this node; of one before it was off for a while.
            let is_mine = run == (ctx.me.id, ctx.me.epoch);
            let Some(lane) = self.lanes.get_mut(&run).filter(|_| !is_mine) else { continue };
            let is_sole = is_alone || sole.contains(&run.0);
            let (over, is_news) = lane.told_over(from, &cover.intervals, is_sole);
            if is_news {
                self.note_news(now, by);
            }
            for id in over {
                // The rest in turns of their own.
                if ended < MAX_ENDED {
                    self.end(now, id, ctx);
                } else {
                    self.expire(now, &id);
                }
                ended += 1;
            }
        }
        if let Some(scope) = more {
            self.on_answer_ended(now, from, scope, ctx);
        }
    }

    /// Whoever is pulled from brought something that was lacked: it is asked for the rest.
    fn note_news(&mut self, now: Instant, (from, way): (NodeId, Way)) {
        match way {
            Way::Datagram => self.sync.note_news(now, from),
            Way::Pipe => self.bulk.note_news(from),
        }
    }

    /// A piece of a longer op arrived.
    pub(super) fn on_piece(
        &mut self,
        now: Instant,
        from: NodeId,
        piece: LogPiece,
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        self.sync.on_answer(now, from);
        self.on_piece_by(now, (from, Way::Datagram), piece, checks, ctx);
    }

    fn on_piece_by(
        &mut self,
        now: Instant,
        by: (NodeId, Way),
        piece: LogPiece,
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        let run = (NodeId(piece.author), Epoch(piece.epoch));
        let is_known = self.lanes.get(&run).is_some_and(|lane| lane.covers(Seq(piece.seq)));
        if is_known {
            return;
        }
        match self.pieces.add(by.0, piece) {
            Ok(Added::Whole(entry)) => self.on_entry(now, by, entry, checks, ctx),
            Ok(Added::Piece) if by.1 == Way::Datagram => self.sync.note_piece(now, by.0),
            // Nothing of a pipe is lost.
            Ok(Added::Piece | Added::Again) => {}
            Err(()) => ctx.stats.drop(Reject::Malformed),
        }
    }

    fn on_entry(&mut self, now: Instant, by: (NodeId, Way), entry: LogEntry, checks: &mut Checks, ctx: &mut Context) {
        let (from, bytes) = (by.0, entry.op.wire_len() as u64);
        match by.1 {
            Way::Datagram if self.sync.is_pulled(now, from) => ctx.stats.log_bytes_pulled += bytes,
            Way::Datagram => ctx.stats.log_bytes_pushed += bytes,
            // Counted where it arrives.
            Way::Pipe => {}
        }
        let Some(arrived) = self.wanted(now, from, entry, checks, ctx) else { return };
        if by.1 == Way::Pipe && arrived.op.kind().is_of_registry() {
            let Arrived { op, body, key, age_ms, rested } = arrived;
            let born_ms = self.clock(now).saturating_sub_unsigned(age_ms);
            self.bulk.checking.add(Unchecked { from, op, body, key, born_ms, rested });
        } else {
            self.check_and_place(now, from, arrived, checks, ctx);
        }
    }

    /// An op that arrived, unless it is no news here, or not to be had.
    fn wanted(
        &mut self,
        now: Instant,
        from: NodeId,
        entry: LogEntry,
        checks: &mut Checks,
        ctx: &mut Context,
    ) -> Option<Arrived> {
        let LogEntry { op, age_ms, key, rested } = entry;
        let id = OpId::of(&op);
        let refuse = |reason: Reject, ctx: &mut Context| {
            ctx.stats.drop(reason);
            None
        };
        if op.lane() != OpLane::Log {
            return refuse(Reject::Malformed, ctx);
        }
        if id.author == ctx.me.id && id.epoch >= ctx.me.epoch {
            if !self.is_mine(&op, ctx) {
                ctx.out.notice(Notice::OwnGhost(op, None));
            }
            return None;
        }
        if self.is_ended(&id, ctx) {
            return refuse(Reject::Stale, ctx);
        }
        let key = self.key_of(&id, key, ctx);
        if let Some(lane) = self.lanes.get(&(id.author, id.epoch)).filter(|lane| lane.covers(id.seq)) {
            let says_the_same = lane.get(id.seq).map(|held| held.op.says_the_same(&op));
            if says_the_same != Some(false) || !self.gives_way(now, from, (&op, key), checks, ctx) {
                if self.sync.is_pulled(now, from) {
                    ctx.stats.log_bytes_repeated += op.wire_len() as u64;
                }
                if says_the_same == Some(true) {
                    self.raise_age(now, &id, age_ms, ctx);
                }
                return None;
            }
        }
        let Some(body) = LogBody::parse(&op) else { return refuse(Reject::Limit, ctx) };
        if Duration::from_millis(age_ms) >= body.ttl() {
            return refuse(Reject::Stale, ctx);
        }
        let Some(key) = key else { return refuse(Reject::Stranger, ctx) };
        Some(Arrived { op, body, key, age_ms, rested: rested == Some(true) })
    }

    fn check_and_place(
        &mut self,
        now: Instant,
        from: NodeId,
        arrived: Arrived,
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        let Arrived { op, body, key, age_ms, rested } = arrived;
        let id = OpId::of(&op);
        // What whoever was asked lately pushes is not taken for an answer: relays pass it on.
        let is_push = age_ms < FRESH_MS && self.allowance(id.author, op.kind()).has(now, 1);
        let pulled = op.kind().is_of_registry() && self.sync.is_pulled(now, from) && !is_push;
        // The author's own share is charged for what it did say: whoever forges its ops must not delay them.
        let fits = self.rates.has_room(now, &id.author, &body, (age_ms, rested));
        if !pulled && !self.allowance(id.author, op.kind()).has(now, 1) {
            // What whoever was asked gives may be as young as what is pushed.
            if !self.sync.is_pulled(now, from) {
                ctx.offenders
                    .note(&id.author, if op.kind().is_of_registry() { Excess::Records } else { Excess::Alerts });
            }
            return ctx.stats.drop(Reject::Budget);
        }
        let holds = if pulled {
            checks.is_pulled_signed(now, from, (&op, &key), ctx)
        } else {
            checks.is_signed(now, from, (&op, &key), ctx)
        };
        if !holds {
            return;
        }
        if !pulled {
            self.allowance(id.author, op.kind()).take(now, 1);
        }
        if !fits {
            ctx.offenders.note(&id.author, Excess::Alerts);
            return self.refuse(&id, key, ctx);
        }
        self.rates.charge(now, &id.author, &body, (age_ms, rested));
        if !is_push {
            self.sync.note_news(now, from);
        }
        let born_ms = self.clock(now).saturating_sub_unsigned(age_ms);
        self.place(now, op, (body, key, Born { ms: born_ms, rested, pulled }), ctx);
    }

    fn allowance(&mut self, author: NodeId, kind: OpKind) -> &mut TokenBucket {
        let (allowances, rate, burst) = if kind.is_of_registry() {
            (&mut self.record_allowances, RECORD_RATE, RECORD_BURST)
        } else {
            (&mut self.allowances, AUTHOR_RATE, AUTHOR_BURST)
        };
        allowances.get_or_insert_with(author, || TokenBucket::new(rate, burst))
    }

    /// The public key of an author: known here, or told with the op and then its own by its hash.
    fn key_of(&self, id: &OpId, told: Option<[u8; 32]>, ctx: &Context) -> Option<[u8; 32]> {
        if id.author == ctx.me.id {
            return Some(ctx.me.identity.public_key());
        }
        // Whoever names it is named by it: wherever a key of this author is found, it is the one.
        let held = self.lanes.get(&(id.author, id.epoch)).map(|lane| lane.key);
        let carded = || card_of(&id.author, ctx).map(|card| card.public_key);
        held.or_else(carded).or(told.filter(|key| NodeId::of(key) == id.author))
    }

    /// Of two nodes that hold an op, the one that ran longer knows better how old it is.
    fn raise_age(&mut self, now: Instant, id: &OpId, age_ms: u64, ctx: &mut Context) {
        let born_ms = self.clock(now).saturating_sub_unsigned(age_ms);
        let Some(held) = self.lanes.get_mut(&(id.author, id.epoch)).and_then(|lane| lane.get_mut(id.seq)) else {
            return;
        };
        // Milliseconds are the way's.
        if born_ms < held.born_ms.saturating_sub(AGE_SLACK_MS) {
            change_birth(&mut self.ends, *id, held, born_ms);
            if self.is_kept(id) {
                self.keep.owe_row_soon(now, *id, &mut ctx.random);
            }
        }
    }

    /// Takes in a verified op, tells of it and has it written.
    fn place(&mut self, now: Instant, op: SignedOp, (body, key, born): (LogBody, [u8; 32], Born), ctx: &mut Context) {
        let id = OpId::of(&op);
        if !self.open_lane(&id, key, ctx) {
            return ctx.stats.drop(Reject::Limit);
        }
        let run = (id.author, id.epoch);
        let Some(lane) = self.lanes.get_mut(&run) else { return };
        let was_lost = lane.lost(id.seq);
        if !lane.cover_one(id.seq) {
            return ctx.stats.drop(Reject::Limit);
        }
        ctx.stats.log_applied += 1;
        let age_ms = u64::try_from(self.clock(now).saturating_sub(born.ms)).unwrap_or(0);
        let is_older = Duration::from_millis(age_ms) > now.since(self.began);
        let (digest, kind) = (content_digest(&op), op.kind());
        let held = Held::new((op.clone(), digest), &body, (born.ms, born.rested));
        let expires = self.moment(held.over_ms());
        self.hold(id, held, false);
        match body {
            LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown => {
                self.keep.owe_row_soon(now, id, &mut ctx.random);
            }
            LogBody::Alert(_) | LogBody::Ack(_) => self.keep.owe_alert(now, id, ctx.roster.len()),
        }
        // What lay on a disk meanwhile may be older than it says, and clocks drift.
        let is_before = |cut_ms: u64| born.rested || born.ms < i64::try_from(cut_ms).unwrap_or(i64::MAX) + DRIFT_MS;
        let repeated = was_lost || self.cut_ms.is_some_and(is_before);
        let (born_ms, pulled) = (born.ms, born.pulled);
        let logged = Logged { op, body, digest, expires, kept: false, late: is_older, repeated, born_ms, pulled };
        ctx.out.notice(Notice::Logged(Box::new(logged)));
        self.make_room(now, &id.author, kind, ctx);
        self.keep.watch_clock(now, !self.ends.is_empty());
    }

    /// More alerts than their author may tell: this one is not shown, not held and not asked for again.
    fn refuse(&mut self, id: &OpId, key: [u8; 32], ctx: &mut Context) {
        ctx.stats.drop(Reject::Rate);
        if self.open_lane(id, key, ctx)
            && let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch))
        {
            lane.refuse(id.seq);
        }
    }

    fn hold(&mut self, id: OpId, held: Held, is_kept: bool) {
        self.ends.insert((held.over_ms(), id));
        if held.op.lane() == OpLane::Local {
            self.local.hold(id, held, is_kept);
            return;
        }
        let bytes = held.op.wire_len();
        if let Some(room) = self.room_of(held.op.kind()) {
            room.add(id.author, bytes);
        }
        if let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch)) {
            let before = lane.part();
            lane.hold(held, is_kept);
            self.roots.change(&id.author, before, lane.part());
        }
    }

    /// An op that is held, whether it leaves this node or not, as another node is told of it in answer to its search.
    #[must_use]
    pub fn lend(&self, now: Instant, id: &OpId, ctx: &Context) -> Option<LogEntry> {
        let lane = self.lanes.get(&(id.author, id.epoch));
        let held = self.local.get(id).or_else(|| lane?.get(id.seq))?;
        let key = lane.map_or_else(|| ctx.me.identity.public_key(), |lane| lane.key);
        let rested = held.rested.then_some(true);
        Some(LogEntry { op: held.op.clone(), age_ms: self.age_ms(now, held), key: Some(key), rested })
    }

    /// Whether an op was here and is not any more: its time is over, or others took its place or took it back.
    #[must_use]
    pub fn is_past(&self, id: &OpId) -> bool {
        let lane = self.lanes.get(&(id.author, id.epoch));
        lane.is_some_and(|lane| lane.covers(id.seq) && lane.get(id.seq).is_none())
    }

    fn release(&mut self, id: &OpId) -> bool {
        if let Some(held) = self.local.release(id) {
            self.ends.remove(&(held.over_ms(), *id));
            return true;
        }
        let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch)) else { return false };
        let before = lane.part();
        let Some(held) = lane.release(id.seq) else { return false };
        self.roots.change(&id.author, before, lane.part());
        self.ends.remove(&(held.over_ms(), *id));
        if let Some(room) = self.room_of(held.op.kind()) {
            room.remove(id.author, held.op.wire_len());
        }
        true
    }

    /// Releases an op and tells of it; whether it was held.
    fn forget(&mut self, id: &OpId, ctx: &mut Context) -> bool {
        let was_held = self.release(id);
        if was_held {
            ctx.out.notice(Notice::LogOver(*id));
        }
        was_held
    }

    /// The time of an op is over.
    fn end(&mut self, now: Instant, id: OpId, ctx: &mut Context) {
        if !self.forget(&id, ctx) {
            return;
        }
        // The next card may say that this run is over (`own_floor`), and then nobody covers what came back by a crash.
        if id.author == ctx.me.id && id.epoch < ctx.me.epoch {
            self.keep.owe_removal(id);
        } else {
            self.keep.owe_removal_soon(now, id, &mut ctx.random);
        }
    }

    /// The time of an op is over, and it ends when it is its turn.
    fn expire(&mut self, now: Instant, id: &OpId) {
        let clock = self.clock(now);
        let lane = self.lanes.get_mut(&(id.author, id.epoch));
        let Some(held) = lane.and_then(|lane| lane.get_mut(id.seq)) else { return };
        let born_ms = held.born_ms.min(clock.saturating_sub_unsigned(held.ttl_ms));
        change_birth(&mut self.ends, *id, held, born_ms);
    }

    /// A run has its lane, or gets one.
    fn open_lane(&mut self, id: &OpId, key: [u8; 32], ctx: &Context) -> bool {
        let run = (id.author, id.epoch);
        if !self.lanes.contains_key(&run) {
            let me = ctx.me.id;
            let most = if id.author == me { MAX_RUNS } else { MAX_RUNS - OWN_RUNS };
            let has_room = self.lanes.len() < most;
            if !has_room || (id.author != me && self.runs_of(&id.author).count() >= MAX_RUNS_OF_ONE) {
                let is_spare = |lane: &&LogLane| lane.is_empty() && lane.author != me;
                let spare =
                    if has_room { self.runs_of(&id.author).find(is_spare) } else { self.lanes.values().find(is_spare) };
                let Some(spare) = spare.map(|lane| (lane.author, lane.epoch)) else { return false };
                self.lanes.remove(&spare);
                self.keep.owe_end(spare);
            }
            self.lanes.insert(run, LogLane::new(id.author, id.epoch, key));
        }
        true
    }

    /// The runs of an author, the oldest first.
    fn runs_of(&self, author: &NodeId) -> impl Iterator<Item = &LogLane> {
        self.lanes.range((*author, Epoch(0))..=(*author, Epoch(u64::MAX))).map(|(_, lane)| lane)
    }

    /// A peer's card says up to where its earlier runs are over: of these nothing is remembered but that, whoever comes back with what.
    pub(super) fn on_floor(&mut self, now: Instant, author: &NodeId, ctx: &mut Context) {
        let Some(Card { public_key: key, log_floor: Some(floor), .. }) = card_of(author, ctx) else { return };
        let floor = Epoch(floor);
        if floor.0 == 0 {
            return;
        }
        let closed = (*author, Epoch(floor.0 - 1));
        let runs = self.lanes.range((*author, Epoch(0))..(*author, floor)).map(|(run, _)| *run);
        self.ended.extend(runs.filter(|run| *run != closed));
        self.drop_ended(ctx);
        let id = OpId { author: closed.0, epoch: closed.1, seq: Seq(0) };
        // What is over makes room for this one as soon as it is let go of.
        let has_room = !self.ended.is_empty() && self.lanes.len() < MAX_RUNS;
        if has_room {
            self.lanes.entry(closed).or_insert_with(|| LogLane::new(closed.0, closed.1, key));
        }
        if (has_room || self.open_lane(&id, key, ctx))
            && let Some(lane) = self.lanes.get_mut(&closed).filter(|lane| !lane.is_closed())
        {
            lane.close();
            self.keep.owe_cover_soon(now, closed, &mut ctx.random);
        }
    }

    /// Lets go of what runs hold of which nothing counts any more, as much as fits a turn, and of those of which nothing is left.
    fn drop_ended(&mut self, ctx: &mut Context) {
        let mut most = MAX_ENDED;
        while most > 0
            && let Some(run) = self.ended.first().copied()
        {
            let held = self.lanes.get(&run).into_iter().flat_map(LogLane::held).map(|held| OpId::of(&held.op));
            let ids: Vec<OpId> = held.take(most).collect();
            most = most.saturating_sub(ids.len() + 1);
            for id in &ids {
                self.forget(id, ctx);
            }
            if self.lanes.get(&run).is_none_or(LogLane::is_empty) {
                self.ended.remove(&run);
                self.lanes.remove(&run);
                self.keep.owe_end(run);
            }
        }
    }

    /// Whether it is remembered that a run is over: one of its author's that is no older was closed.
    pub(super) fn is_closed(&self, (author, epoch): (NodeId, Epoch)) -> bool {
        self.lanes.range((author, epoch)..=(author, Epoch(u64::MAX))).any(|(_, lane)| lane.is_closed())
    }

    /// Whether an author said that nothing of this run counts any more.
    fn is_ended(&self, id: &OpId, ctx: &Context) -> bool {
        // What the card of a present author says ends lanes as soon as it is heard: where one stands no card need be read for each op.
        let stands = || {
            let run = (id.author, id.epoch);
            self.lanes.contains_key(&run)
                && !self.ended.contains(&run)
                && ctx.roster.get(&id.author).is_some_and(|peer| peer.liveness.is_present())
        };
        let is_below = || floor_of(&id.author, ctx).is_some_and(|floor| id.epoch < floor);
        id.author != ctx.me.id && !stands() && (is_below() || self.is_closed((id.author, id.epoch)))
    }

    /// What is shown, and on disk, of an author's newest runs of which an alert is active: nobody asks after anything else.
    pub(super) fn receipts(&self, author: &NodeId) -> Vec<(Epoch, (Spans, Spans))> {
        let most = MAX_RECEIPT_SPANS + MAX_RECEIPT_MORE;
        let runs = self.lanes.range((*author, Epoch(0))..=(*author, Epoch(u64::MAX))).rev();
        let active = runs.filter(|(_, lane)| lane.alerts().next().is_some());
        // Beside the newest runs there is room for what is asked after alone.
        let few = |nth: usize| if nth < MAX_RECEIPT_ROWS { MAX_RECEIPT_SPANS } else { 0 };
        let rows = active.take(MAX_RECEIPT_RUNS).enumerate();
        rows.map(|(nth, ((_, epoch), lane))| (*epoch, lane.receipt(few(nth), most))).collect()
    }

    /// How a transaction ended.
    pub(super) fn on_committed(&mut self, now: Instant, commit: CommitId, result: Committed, ctx: &mut Context) {
        let was_failing = self.keep.is_failing();
        let Some(batch) = self.keep.on_committed(now, commit, result) else { return };
        if was_failing != self.keep.is_failing() {
            ctx.out.event(Event::LogKept(was_failing));
        }
        match result {
            Committed::OnDisk => self.note_kept(&batch.rows, ctx),
            Committed::InMemory => {}
            Committed::Failed => {
                ctx.stats.commits_failed += 1;
                self.refuse_owed(ctx);
            }
        }
        self.release_own(now, &batch.rows, result == Committed::OnDisk, ctx);
        if result != Committed::Failed {
            self.removed_own(&batch.removed, result == Committed::OnDisk, ctx);
        }
    }

    /// Ops are on disk.
    fn note_kept(&mut self, ids: &BTreeSet<OpId>, ctx: &mut Context) {
        let mut kept = Vec::new();
        for id in ids {
            self.local.note_kept(id);
            let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch)) else { continue };
            lane.note_kept(id.seq);
            if lane.get(id.seq).is_none_or(|held| !held.op.kind().is_of_registry()) && !self.own.is_record(id) {
                kept.push(*id);
            }
        }
        if !kept.is_empty() {
            ctx.out.notice(Notice::LogKept(kept));
        }
    }

    /// When something here is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let over = self.ends.first().map(|(at, _)| self.moment(*at));
        let ended = self.ended.first().map(|_| self.began);
        let (pipes, recheck) = (self.bulk.next_deadline(), self.recheck.next_deadline());
        [over, ended, self.sync.next_deadline(), self.keep.next_deadline(), self.own.next_deadline(), pipes, recheck]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        // Before the others end: what is late may be over by now.
        if self.keep.is_failing() || self.own.is_late(now) {
            self.release_late(now, ctx);
        }
        let clock = self.clock(now);
        for _ in 0..MAX_ENDED {
            let Some((_, id)) = self.ends.first().copied().filter(|(at, _)| *at <= clock) else { break };
            self.end(now, id, ctx);
        }
        self.drop_ended(ctx);
        self.keep.watch_clock(now, !self.ends.is_empty());
        if self.sync.is_due(now) {
            let question = self.question(None, &mut ctx.random);
            self.sync.on_wake(now, self.roots.all(), &question, ctx);
        }
        self.resume_pull(now, ctx);
        self.recheck(now, ctx);
        self.wake_pipes(now, ctx);
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let gaps = self.lanes.values().map(LogLane::intervals).max().unwrap_or(0);
        let tables = vec![
            ("log_runs", self.lanes.len(), MAX_RUNS),
            ("log_intervals", gaps, super::intervals::MAX_INTERVALS),
            ("log_ops_of_an_author", self.room.most_ops(), room::ALERTS.ops),
            ("log_bytes_of_an_author", self.room.most_bytes(), room::ALERTS.author_bytes + room::MAX_ONE),
            ("log_bytes", self.room.bytes(), room::ALERTS.bytes + room::MAX_ONE),
            ("deletes_of_an_author", self.deletes.most_ops(), room::DELETES.ops),
            ("delete_bytes_of_an_author", self.deletes.most_bytes(), room::DELETES.author_bytes + room::MAX_ONE),
            ("delete_bytes", self.deletes.bytes(), room::DELETES.bytes + room::MAX_ONE),
            ("log_pieces", self.pieces.len(), pieces::MAX_SETS),
            ("log_rates", self.rates.len(), MAX_PEERS),
            ("log_commits", self.keep.pending(), keep::MAX_PENDING),
            ("log_unsaid", self.own.waiting(), own::MAX_WAITING),
            ("records_unsaid", self.own.waiting_records(), records::MAX_WAITING_RECORDS),
            ("log_resting", self.sync.resting(), super::sync::MAX_RESTING),
            ("log_given", self.given.len(), MAX_PEERS),
            ("log_compared", self.comparing.len(), MAX_PEERS),
            ("log_digests", self.comparing.readers(), MAX_PEERS),
        ];
        tables.into_iter().chain(self.bulk.table_sizes()).collect()
    }
}

/// How an op came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Datagram,
    Pipe,
}

/// An op that is wanted here if its author signed it.
struct Arrived {
    op: SignedOp,
    body: LogBody,
    key: [u8; 32],
    age_ms: u64,
    rested: bool,
}

/// When an op was made, as far as this node was told, and how it came.
#[derive(Debug, Clone, Copy)]
struct Born {
    /// By the log's clock.
    ms: i64,
    /// Whether it lay on a disk while its holder was down.
    rested: bool,
    /// Whether this node asked for it.
    pulled: bool,
}

type Spans = Vec<crate::wire::message::Interval>;

/// By so much the clocks of two nodes may drift apart in the week that an alert may last.
const DRIFT_MS: i64 = 60_000;
/// Ages that differ by less are the same: what a datagram takes, or a turn of a timer.
const AGE_SLACK_MS: i64 = 1_000;

/// The run from which on an author's log counts, as far as its card says.
fn floor_of(author: &NodeId, ctx: &Context) -> Option<Epoch> {
    card_of(author, ctx)?.log_floor.map(Epoch)
}

fn card_of(author: &NodeId, ctx: &Context) -> Option<Card> {
    Card::parse(ctx.roster.newest_card(author)?.body())
}

/// An op is of another age than was known: its time ends at another moment.
fn change_birth(ends: &mut BTreeSet<(i64, OpId)>, id: OpId, held: &mut Held, born_ms: i64) {
    ends.remove(&(held.over_ms(), id));
    held.born_ms = born_ms;
    ends.insert((held.over_ms(), id));
}

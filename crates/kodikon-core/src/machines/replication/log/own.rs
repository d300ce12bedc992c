//! Decides how this node's own facts enter the log: numbered and on disk before anybody hears of them, and then told to all.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Event;
use crate::effect::Output;
use crate::effect::check::CheckId;
use crate::effect::context::Context;
use crate::effect::log::{Batch, CommitId, LogRow, SavedLog};
use crate::effect::outbox::{Destination, Notice, TWICE_AFTER};
use crate::ground::config::MAX_PLAIN;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::OPS_BYTES;
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::keep::Owed;
use crate::machines::replication::log::lane::Held;
use crate::machines::replication::log::orders::Orders;
use crate::machines::replication::log::pieces::cut;
use crate::model::alert::{AlertId, Raised};
use crate::model::letter::{Priority, Ticket};
use crate::model::logged::{LogBody, Logged, content_digest};
use crate::model::op::{OpId, OpKind, OpLane, SignedOp, Statement};
use crate::wire::message::{Log as LogMessage, LogEntry, Message};

/// Own ops that wait for the disk at most: the burst of alerts and of critical ones, each with its acknowledgement.
pub(super) const MAX_WAITING: usize = 1_024;
/// A disk that has not answered by then is taken for failing: what is urgent is told all the same, as not on disk.
const COMMIT_WITHIN: Duration = Duration::from_secs(1);

/// What this node says in the log.
#[derive(Debug)]
pub(super) struct Own {
    /// The last number given.
    pub(super) last: u64,
    /// What the disk does not have yet, and nobody has heard.
    waiting: BTreeMap<OpId, Waiting>,
    /// The same of sightings and deletes, which wait for as long as the disk takes.
    pub(super) records: BTreeMap<OpId, Waiting>,
    pub(super) orders: Orders,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) held: Held,
    pub(super) body: LogBody,
    pub(super) says: Said,
}

/// Whom to tell that an own fact is on its way.
#[derive(Debug, Clone, Copy)]
pub enum Said {
    /// Whoever raises or acknowledges an alert.
    Alert {
        /// Which order.
        ticket: Ticket,
        /// Which alert; `None`: the one that the op itself is.
        alert: Option<AlertId>,
    },
    /// Whoever adds or deletes sightings: all parts of the order are answered together.
    Records(Ticket),
}

impl Own {
    pub(super) fn new() -> Self {
        Self { last: 0, waiting: BTreeMap::new(), records: BTreeMap::new(), orders: Orders::new() }
    }

    /// Sightings and deletes that wait for the disk.
    pub(super) fn waiting_records(&self) -> usize {
        self.records.len()
    }

    /// Whether it is one of these.
    pub(super) fn is_record(&self, id: &OpId) -> bool {
        self.records.contains_key(id)
    }

    /// What waits, by its name.
    fn get(&self, id: &OpId) -> Option<&Waiting> {
        self.waiting.get(id).or_else(|| self.records.get(id))
    }

    fn ids(&self) -> impl Iterator<Item = &OpId> {
        self.waiting.keys().chain(self.records.keys())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.since + COMMIT_WITHIN).min()
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|at| now >= at)
    }
}

impl Log {
    /// Says something that lasts. `false` if this node has as much active as it may; nothing was said then.
    pub(in crate::machines::replication) fn say(
        &mut self,
        now: Instant,
        (kind, body, lamport): (OpKind, Vec<u8>, u64),
        says: Said,
        ctx: &mut Context,
    ) -> bool {
        let (me, epoch) = (ctx.me.id, ctx.me.epoch);
        if self.own.waiting.len() >= MAX_WAITING || self.room.is_full_for(&me, body.len()) {
            return false;
        }
        let seq = Seq(self.own.last + 1);
        let statement = Statement { kind, key: Vec::new(), body, lamport, wall: ctx.wall(now) };
        let op = SignedOp::sign(&ctx.me.identity, ctx.mesh, epoch, seq, statement);
        let id = OpId::of(&op);
        let (Some(body), digest) = (LogBody::parse(&op), content_digest(&op)) else { return false };
        if !self.open_lane(&id, ctx.me.identity.public_key(), ctx) {
            return false;
        }
        if !self.lanes.get_mut(&(me, epoch)).is_some_and(|lane| lane.cover_one(seq)) {
            return false;
        }
        self.own.last = seq.0;
        let held = Held::new((op, digest), &body, (self.clock(now), false));
        self.own.waiting.insert(id, Waiting { since: now, held, body, says });
        self.keep.owe_row(id);
        if self.keep.is_failing() {
            self.release_own(now, &BTreeSet::from([id]), false, ctx);
        }
        true
    }

    /// Whether an op in our name is one we made in this run.
    pub(in crate::machines::replication) fn is_mine(&self, op: &SignedOp, ctx: &Context) -> bool {
        let id = OpId::of(op);
        let held = self.lanes.get(&(id.author, id.epoch)).and_then(|lane| lane.get(id.seq)).map(|held| &held.op);
        let held = held.or(self.own.get(&id).map(|waiting| &waiting.held.op));
        id.epoch == ctx.me.epoch && id.seq.0 <= self.own.last && held.is_none_or(|held| held.is_same_bytes(op))
    }

    /// Numbers of a run that nobody has heard yet.
    pub(super) fn unsaid(&self, run: (NodeId, Epoch)) -> Intervals {
        let mut unsaid = Intervals::default();
        let waiting = self.own.ids().filter(|id| (id.author, id.epoch) == run);
        waiting.for_each(|id| _ = unsaid.insert(id.seq.0, id.seq.0));
        unsaid
    }

    /// The disk has answered for these: those of our own among them are told to all.
    pub(super) fn release_own(&mut self, now: Instant, ids: &BTreeSet<OpId>, durable: bool, ctx: &mut Context) {
        let mut pushed = Vec::new();
        for id in ids {
            let waiting = self.own.waiting.remove(id).or_else(|| self.own.records.remove(id));
            let Some(Waiting { held, body, says, .. }) = waiting else { continue };
            let expires = self.moment(held.over_ms());
            let (op, priority, born_ms) = (held.op.clone(), held.priority, held.born_ms);
            let digest = held.digest;
            let (kind, lane) = (op.kind(), op.lane());
            self.hold(*id, held, durable);
            self.keep.watch_clock(now, true);
            ctx.stats.log_applied += 1;
            let logged = Logged {
                op,
                body,
                digest,
                expires,
                kept: durable,
                late: false,
                repeated: false,
                born_ms,
                pulled: false,
            };
            ctx.out.notice(Notice::Logged(Box::new(logged)));
            match says {
                Said::Alert { ticket, alert } => {
                    let alert = alert.unwrap_or_else(|| AlertId::of(id));
                    ctx.out.event(Event::Raised { ticket, outcome: Raised::Done { alert, durable } });
                    self.tell(now, id, priority == Priority::Critical, ctx);
                }
                Said::Records(ticket) => {
                    self.own.orders.done(ticket, durable, ctx);
                    if lane == OpLane::Log && self.own.orders.may_push(now) {
                        pushed.push(*id);
                    } else if lane == OpLane::Log {
                        ctx.stats.records_unpushed += 1;
                    }
                    self.make_room(now, &id.author, kind, ctx);
                }
            }
        }
        for message in self.told(now, &pushed, ctx) {
            ctx.out.send(Destination::Everyone, message);
        }
    }

    fn tell(&self, now: Instant, id: &OpId, is_urgent: bool, ctx: &mut Context) {
        for message in self.told(now, &[*id], ctx) {
            if is_urgent {
                ctx.out.send_again(TWICE_AFTER, Destination::Everyone, message.clone());
            }
            ctx.out.send(Destination::Everyone, message);
        }
    }

    /// The disk does not answer, or fails: what waits for it is told all the same.
    pub(super) fn release_late(&mut self, now: Instant, ctx: &mut Context) {
        let is_late = |waiting: &Waiting| now >= waiting.since + COMMIT_WITHIN;
        let failing = self.keep.is_failing();
        let late = self.own.waiting.iter().filter(|(_, waiting)| failing || is_late(waiting));
        let ids: BTreeSet<OpId> = late.map(|(id, _)| *id).collect();
        self.release_own(now, &ids, false, ctx);
    }

    /// This run ends: what waits belongs to what the next one begins with.
    pub(in crate::machines::replication) fn end_run(&mut self, now: Instant, ctx: &mut Context) {
        let all: BTreeSet<OpId> = self.own.ids().copied().collect();
        self.release_own(now, &all, false, ctx);
        self.end_orders(ctx);
    }

    /// What a next run of this process begins with: all is in memory still, and what is not on disk is written anew.
    pub(in crate::machines::replication) fn saved(&self, now: Instant) -> SavedLog {
        let unkept = self
            .lanes
            .values()
            .flat_map(|lane| lane.unkept().map(|seq| OpId { author: lane.author, epoch: lane.epoch, seq }))
            .chain(self.local.unkept());
        let covers = self.lanes.values().map(|lane| {
            let unkept = Intervals::of(lane.unkept().map(|seq| seq.0));
            lane.for_disk(&unkept)
        });
        SavedLog {
            lost: Vec::new(),
            unkept: unkept.collect(),
            rows: self.lanes.values().flat_map(|lane| lane.held()).chain(self.local.held()).map(row).collect(),
            covers: covers.collect(),
            clock_ms: u64::try_from(self.clock(now)).unwrap_or(0),
            cut_ms: self.cut_ms,
        }
    }

    /// The last transaction and the last portion of signatures that were asked for.
    pub(in crate::machines::replication) fn asked(&self) -> (CommitId, CheckId) {
        (self.keep.last(), self.bulk.checking.last())
    }

    /// What is asked for is numbered after these.
    pub(in crate::machines::replication) fn go_on(&mut self, (commit, check): (CommitId, CheckId)) {
        self.keep.go_on(commit);
        self.bulk.checking.number_from(check);
    }

    /// A row that the disk held, for the machines that show it; `None` where its run is not known or it makes no sense.
    pub(in crate::machines::replication) fn restore_row(
        &mut self,
        now: Instant,
        row: LogRow,
        (digest, is_kept): (u64, bool),
        ctx: &mut Context,
    ) -> Option<Logged> {
        let LogRow { op, born_ms } = row;
        let id = OpId::of(&op);
        let Some(body) = LogBody::parse(&op) else {
            // What is held can be read.
            self.lose(now, &[id], ctx);
            return None;
        };
        if op.lane() != OpLane::Local {
            let lane = self.lanes.get_mut(&(id.author, id.epoch))?;
            if lane.get(id.seq).is_some() {
                return None;
            }
            lane.cover_one(id.seq);
            if is_kept {
                lane.note_kept(id.seq);
            }
        }
        if !is_kept {
            self.keep.owe_restored(id);
        }
        let held = Held::new((op.clone(), digest), &body, (born_ms, true));
        let expires = self.moment(held.over_ms());
        self.hold(id, held, is_kept);
        Some(Logged { op, body, digest, expires, kept: is_kept, late: true, repeated: false, born_ms, pulled: false })
    }

    /// The node says goodbye: what is owed to the disk is asked for now, whatever it said before.
    pub(in crate::machines::replication) fn write_last(&mut self, now: Instant, ctx: &mut Context) {
        self.end_run(now, ctx);
        self.keep.hurry();
        self.write(now, ctx);
    }

    /// The next run of this process knows nothing of what waits to leave the disk: it is asked for now.
    pub(in crate::machines::replication) fn write_owed(&mut self, now: Instant, ctx: &mut Context) {
        self.keep.release();
        self.write(now, ctx);
    }

    /// Asks for the transactions that are owed.
    pub(in crate::machines::replication) fn write(&mut self, now: Instant, ctx: &mut Context) {
        while let Some((commit, owed)) = self.keep.next(now) {
            let batch = self.batch(now, &owed);
            ctx.out.output(Output::Commit { commit, batch });
        }
    }

    fn batch(&self, now: Instant, owed: &Owed) -> Batch {
        let find = |id: &OpId| {
            let held = self.lanes.get(&(id.author, id.epoch)).and_then(|lane| lane.get(id.seq));
            held.or_else(|| self.local.get(id)).or(self.own.get(id).map(|waiting| &waiting.held))
        };
        let cover = |run: &(NodeId, Epoch)| {
            let lane = self.lanes.get(run)?;
            let is_written = |seq: &Seq| owed.rows.contains(&OpId { author: run.0, epoch: run.1, seq: *seq });
            let waiting = self.own.ids().filter(|id| (id.author, id.epoch) == *run).map(|id| id.seq);
            let missing: BTreeSet<u64> =
                lane.unkept().chain(waiting).filter(|seq| !is_written(seq)).map(|seq| seq.0).collect();
            let unkept = Intervals::of(missing.into_iter());
            Some(lane.for_disk(&unkept))
        };
        Batch {
            rows: owed.rows.iter().filter_map(find).map(row).collect(),
            removed: owed.removed.iter().copied().collect(),
            covers: owed.covers.iter().filter_map(cover).collect(),
            ended: owed.ended.iter().copied().collect(),
            clock_ms: u64::try_from(self.clock(now)).unwrap_or(0),
        }
    }

    /// Ops on their way to others, in as few messages as they fit.
    pub(in crate::machines::replication) fn told(&self, now: Instant, ids: &[OpId], ctx: &Context) -> Vec<Message> {
        let entry = |id: &OpId| {
            let lane = self.lanes.get(&(id.author, id.epoch))?;
            let held = lane.get(id.seq)?;
            // Whoever is present is known to all by its card, and a key is the same in all runs.
            let is_known =
                id.author == ctx.me.id || ctx.roster.get(&id.author).is_some_and(|peer| peer.liveness.is_present());
            let key = (!is_known).then_some(lane.key);
            let rested = held.rested.then_some(true);
            Some(LogEntry { op: held.op.clone(), age_ms: self.age_ms(now, held), key, rested })
        };
        in_messages(ids.iter().filter_map(entry))
    }

    /// The run from which on the own log counts: once all that is known of earlier ones is over. `None`: nothing is said of
    /// it, because there were none, or because something of them is active.
    pub(in crate::machines::replication) fn own_floor(&self, ctx: &Context) -> Option<Epoch> {
        let (me, epoch) = (ctx.me.id, ctx.me.epoch);
        let earlier = self.lanes.range((me, Epoch(0))..(me, epoch));
        let active =
            earlier.clone().find(|(_, lane)| !lane.is_empty() || lane.has_lost()).map(|((_, epoch), _)| *epoch);
        (earlier.count() > 0).then_some(active.unwrap_or(epoch))
    }
}

fn row(held: &Held) -> LogRow {
    LogRow { op: held.op.clone(), born_ms: held.born_ms }
}

/// Splits ops so that each part fits a datagram; those that do not fit one are cut into pieces.
fn in_messages(entries: impl Iterator<Item = LogEntry>) -> Vec<Message> {
    let (mut messages, mut open, mut room) = (Vec::new(), Vec::new(), OPS_BYTES);
    for entry in entries {
        let len = entry.op.wire_len() + ENTRY_FRAME;
        if len > ALONE_BYTES {
            messages.extend(cut(&entry));
            continue;
        }
        if len > room && !open.is_empty() {
            messages.push(whole(std::mem::take(&mut open)));
            room = OPS_BYTES;
        }
        room = room.saturating_sub(len);
        open.push(entry);
    }
    if !open.is_empty() {
        messages.push(whole(open));
    }
    messages
}

fn whole(entries: Vec<LogEntry>) -> Message {
    Message::Log(LogMessage { entries, ..LogMessage::default() })
}

/// Bytes of an entry that travels alone: a datagram's text less the message's own few. A sighting with 512 numbers of f16 does.
const ALONE_BYTES: usize = MAX_PLAIN - 24;
/// Bytes of an entry besides its op: age and key, and their frames.
const ENTRY_FRAME: usize = 48;

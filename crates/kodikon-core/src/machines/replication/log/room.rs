//! Decides how much of the log is held, and what makes room: of whoever holds most, the least urgent, of these the oldest.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::time::Instant;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::LogLane;
use crate::model::alert::MAX_ALERT;
use crate::model::op::{OpId, OpKind};

/// How much of one kind is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Ops of one author.
    pub(super) ops: usize,
    /// Bytes of one author's.
    pub(super) author_bytes: usize,
    /// Bytes of all authors'.
    pub(super) bytes: usize,
}

/// Alerts and what is said of them: of one author three and a half minutes of alerts at the rate of section "Limits", or one each two
/// and a half minutes for a week; of all what a board with 512 MB of memory can spare.
pub(super) const ALERTS: Limits = Limits { ops: 4_096, author_bytes: 4 << 20, bytes: 32 << 20 };
/// Deletes, which must not make room for alerts nor push them out. One takes 200 B and is held for as long as what it takes back would
/// have lasted: a third of all sightings that there may be, deleted one by one within their time.
pub(super) const DELETES: Limits = Limits { ops: 49_152, author_bytes: 12 << 20, bytes: 16 << 20 };
/// Bytes of one op at most: by so much a limit may be passed before room is made.
pub(super) const MAX_ONE: usize = MAX_ALERT + 1_024;

/// What is held, by author.
#[derive(Debug)]
pub(super) struct Room {
    limits: Limits,
    authors: BTreeMap<NodeId, (usize, usize)>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, authors: BTreeMap::new(), bytes: 0 }
    }

    pub(super) fn add(&mut self, author: NodeId, bytes: usize) {
        let share = self.authors.entry(author).or_default();
        (share.0, share.1) = (share.0 + 1, share.1 + bytes);
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, author: NodeId, bytes: usize) {
        let Some(share) = self.authors.get_mut(&author) else { return };
        (share.0, share.1) = (share.0 - 1, share.1 - bytes);
        self.bytes -= bytes;
        if share.0 == 0 {
            self.authors.remove(&author);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn most_ops(&self) -> usize {
        self.authors.values().map(|share| share.0).max().unwrap_or(0)
    }

    pub(super) fn most_bytes(&self) -> usize {
        self.authors.values().map(|share| share.1).max().unwrap_or(0)
    }

    /// Whether an author may not have another op of so many bytes.
    pub(super) fn is_full_for(&self, author: &NodeId, bytes: usize) -> bool {
        let (ops, held) = self.authors.get(author).copied().unwrap_or_default();
        ops >= self.limits.ops || held + bytes > self.limits.author_bytes
    }

    /// Of whom something must go.
    fn crowding(&self, author: &NodeId) -> Option<NodeId> {
        let (ops, held) = self.authors.get(author).copied().unwrap_or_default();
        if ops > self.limits.ops || held > self.limits.author_bytes {
            return Some(*author);
        }
        let largest = self.authors.iter().max_by_key(|(_, share)| share.1);
        largest.map(|(author, _)| *author).filter(|_| self.bytes > self.limits.bytes)
    }
}

impl Log {
    /// In which room an op is counted; of sightings the registry decides which are held.
    pub(super) fn room_of(&mut self, kind: OpKind) -> Option<&mut Room> {
        if kind.is_record() {
            None
        } else if kind == OpKind::RecordDelete {
            Some(&mut self.deletes)
        } else {
            Some(&mut self.room)
        }
    }

    /// After an author's op was taken in: what is too much goes. It was shown, and is covered.
    pub(super) fn make_room(&mut self, now: Instant, author: &NodeId, kind: OpKind, ctx: &mut Context) {
        while let Some(crowding) = self.room_of(kind).and_then(|room| room.crowding(author)) {
            let Some(victim) = self.least_of(now, &crowding, kind == OpKind::RecordDelete) else { return };
            self.give_up(now, &victim, ctx);
            ctx.stats.log_evicted += 1;
            ctx.out.notice(Notice::LogOver(victim));
        }
    }

    /// An op makes room though its time is not over. It stays covered: it does not come back.
    pub(in crate::machines::replication) fn give_up(&mut self, now: Instant, id: &OpId, ctx: &mut Context) {
        if self.release(id) {
            if let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch)) {
                lane.note_evicted(id.seq);
            }
            self.keep.owe_removal_soon(now, *id, &mut ctx.random);
        }
    }

    fn least_of(&self, now: Instant, author: &NodeId, is_delete: bool) -> Option<OpId> {
        let runs = self.lanes.range((*author, Epoch(0))..=(*author, Epoch(u64::MAX)));
        let held = runs.flat_map(|(_, lane): (_, &LogLane)| lane.urgent());
        let held = held.filter(|held| (held.op.kind() == OpKind::RecordDelete) == is_delete);
        let least = held.min_by_key(|held| (held.priority, core::cmp::Reverse(self.age_ms(now, held)), held.op.seq()));
        least.map(|held| OpId::of(&held.op))
    }
}

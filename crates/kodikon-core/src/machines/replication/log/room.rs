//! Decides how much of the log is held, and what makes room: of whoever holds most, the least urgent, of these the oldest.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::time::Instant;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::LogLane;
use crate::model::alert::{MAX_ALERT, OpId};

/// Ops held of one author at most: three and a half minutes of alerts at the rate of section "Limits", or one each two and a half
/// minutes for a week.
pub(super) const MAX_OPS: usize = 4_096;
/// Bytes of them.
pub(super) const MAX_AUTHOR_BYTES: usize = 4 << 20;
/// Bytes of all authors: what a board with 512 MB of memory can spare.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Bytes of one op at most: by so much a limit may be passed before room is made.
pub(super) const MAX_ONE: usize = MAX_ALERT + 1_024;

/// What is held, by author.
#[derive(Debug, Default)]
pub(super) struct Room {
    authors: BTreeMap<NodeId, (usize, usize)>,
    bytes: usize,
}

impl Room {
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
        ops >= MAX_OPS || held + bytes > MAX_AUTHOR_BYTES
    }

    /// Of whom something must go.
    fn crowding(&self, author: &NodeId) -> Option<NodeId> {
        let (ops, held) = self.authors.get(author).copied().unwrap_or_default();
        if ops > MAX_OPS || held > MAX_AUTHOR_BYTES {
            return Some(*author);
        }
        let largest = self.authors.iter().max_by_key(|(_, share)| share.1);
        largest.map(|(author, _)| *author).filter(|_| self.bytes > MAX_BYTES)
    }
}

impl Log {
    /// After an author's op was taken in: what is too much goes. It was shown, and is covered.
    pub(super) fn make_room(&mut self, now: Instant, author: &NodeId, ctx: &mut Context) {
        while let Some(crowding) = self.room.crowding(author) {
            let Some(victim) = self.least_of(now, &crowding) else { return };
            if self.release(&victim) {
                if let Some(lane) = self.lanes.get_mut(&(victim.author, victim.epoch)) {
                    lane.note_evicted(victim.seq);
                }
                ctx.stats.log_evicted += 1;
                self.keep.owe_removal(victim);
                ctx.out.notice(Notice::LogOver(victim));
            }
        }
    }

    fn least_of(&self, now: Instant, author: &NodeId) -> Option<OpId> {
        let runs = self.lanes.range((*author, Epoch(0))..=(*author, Epoch(u64::MAX)));
        let held = runs.flat_map(|(_, lane): (_, &LogLane)| lane.held());
        let least = held.min_by_key(|held| (held.priority, core::cmp::Reverse(self.age_ms(now, held)), held.op.seq()));
        least.map(|held| OpId::of(&held.op))
    }
}

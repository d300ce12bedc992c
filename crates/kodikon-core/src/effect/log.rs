//! Decides what the core asks of the log's store and what it finds there: rows, covered numbers, and one transaction for both.

use std::collections::BTreeSet;

use crate::ground::id::{Epoch, NodeId};
use crate::model::op::{OpId, SignedOp};
use crate::wire::message::Interval;

/// Names one transaction until it is answered. Unique in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// An op of the log as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The op.
    pub op: SignedOp,
    /// When it was made, by the log's clock in milliseconds: negative for what was made before that clock began.
    pub born_ms: i64,
}

/// The numbers of one author's run that were processed, as they lie on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCover {
    /// Whose.
    pub author: NodeId,
    /// In which run.
    pub epoch: Epoch,
    /// The author's public key.
    pub key: [u8; 32],
    /// The numbers, ascending, with gaps between the intervals. Those of rows that lie there belong to them whether they are
    /// named or not.
    pub covered: Vec<Interval>,
}

/// What one transaction changes. All of it is on disk, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Rows to add; one that is there already is replaced: its age may have been corrected.
    pub rows: Vec<LogRow>,
    /// Rows to remove; one that is not there is none.
    pub removed: Vec<OpId>,
    /// Covered numbers to replace, each for its author's run.
    pub covers: Vec<LogCover>,
    /// Runs of authors of which nothing needs to be known any more: their rows and covered numbers go, last of all.
    pub ended: Vec<(NodeId, Epoch)>,
    /// The log's clock: milliseconds for which the node ran so far, in all its runs.
    pub clock_ms: u64,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is on disk.
    OnDisk,
    /// The store keeps nothing beyond this process, as it was told to.
    InMemory,
    /// Nothing was changed: the disk is full, or fails.
    Failed,
}

/// What the log's store held when a node began.
#[derive(Debug, Clone, Default)]
pub struct SavedLog {
    /// The rows.
    pub rows: Vec<LogRow>,
    /// Those of them that are not on disk, where a run goes on in the memory of the one before.
    pub unkept: BTreeSet<OpId>,
    /// The covered numbers.
    pub covers: Vec<LogCover>,
    /// The log's clock when it was last kept.
    pub clock_ms: u64,
    /// Whether the run before may have shown something that it had no time to keep: it did not end in order.
    pub was_cut: bool,
}

impl SavedLog {
    /// Carries out a transaction: what any store must do, in memory. Rows lie by the order of their names.
    pub fn apply(&mut self, batch: &Batch) {
        let is_ended = |author: NodeId, epoch: Epoch| batch.ended.contains(&(author, epoch));
        let new = |row: &LogRow| !batch.rows.iter().any(|other| OpId::of(&other.op) == OpId::of(&row.op));
        self.rows.retain(|row| new(row));
        self.rows.extend(batch.rows.iter().cloned());
        self.rows
            .retain(|row| !batch.removed.contains(&OpId::of(&row.op)) && !is_ended(row.op.author(), row.op.epoch()));
        self.rows.sort_by_key(|row| OpId::of(&row.op));
        let is_same = |a: &LogCover, b: &LogCover| (a.author, a.epoch) == (b.author, b.epoch);
        self.covers.retain(|held| !batch.covers.iter().any(|cover| is_same(cover, held)));
        self.covers.extend(batch.covers.iter().cloned());
        self.covers.retain(|cover| !is_ended(cover.author, cover.epoch));
        self.covers.sort_by_key(|cover| (cover.author, cover.epoch));
        self.clock_ms = self.clock_ms.max(batch.clock_ms);
    }
}

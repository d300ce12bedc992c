//! Decides what the core asks of the log's store and what it finds there: rows, covered numbers, and one transaction for both.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_scan::Sketches;

use crate::ground::id::{Epoch, NodeId};
use crate::model::entries::{Entry, space_of};
use crate::model::logged::content_digest;
use crate::model::op::{OpId, SignedOp};
use crate::model::record::SpaceKey;
use crate::wire::message::Interval;

/// Names one transaction until it is answered. Unique in a process, whatever runs begin in it.
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

impl LogRow {
    /// Its checksum, which lies beside it: what the disk gives back was given to it.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.checksum_by(content_digest(&self.op))
    }

    /// The signature is left out: it shows by itself whether it is whole.
    fn checksum_by(&self, digest: u64) -> u64 {
        digest.wrapping_add(self.born_ms.cast_unsigned())
    }
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
    /// The numbers of rows that were found spoilt and have not come again: they may have been shown.
    pub lost: Vec<Interval>,
}

impl LogCover {
    /// Its checksum, which lies beside it.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        // An interval ends behind its beginning: the pair between the two lists is none.
        let (covered, lost) = (self.covered.iter(), self.lost.iter());
        let spans = covered.map(|span| [span.first, span.last]).chain([[1, 0]]);
        let spans = spans.chain(lost.map(|span| [span.first, span.last])).flatten();
        checksum([&self.author.0[..], &self.epoch.0.to_le_bytes(), &self.key], spans)
    }
}

/// Of bytes and numbers that lie on disk: 64 bits, so that what was spoilt passes for whole once in 10^19 times.
#[must_use]
pub fn checksum<'a>(bytes: impl IntoIterator<Item = &'a [u8]>, numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 checksum");
    bytes.into_iter().for_each(|bytes| _ = hasher.update(bytes));
    numbers.into_iter().for_each(|number| _ = hasher.update(&number.to_le_bytes()));
    let mut sum = [0; 8];
    hasher.finalize_xof().fill(&mut sum);
    u64::from_le_bytes(sum)
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

/// Rows that were read, with what can be reckoned of them without the node: by whichever thread has time.
#[derive(Debug, Default)]
pub struct ReadRows {
    pub(crate) rows: Vec<(LogRow, Reckoned)>,
    pub(crate) lost: Vec<OpId>,
    pub(crate) spaces: Vec<SpaceKey>,
    pub(crate) sketches: Sketches,
}

/// What was reckoned of a row.
#[derive(Debug, Default)]
pub(crate) struct Reckoned {
    /// Its [`content_digest`].
    pub(crate) digest: u64,
    /// Of one with an embedding, what a scan needs.
    pub(crate) embedding: Option<Embedded>,
}

/// What a scan needs of a record.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// Where the space is among the spaces,
    pub(crate) space: usize,
    /// and the sketch among the sketches.
    pub(crate) sketch: usize,
    pub(crate) entry: Entry,
}

impl ReadRows {
    /// Adds a row.
    pub fn add(&mut self, row: LogRow) {
        let digest = content_digest(&row.op);
        self.add_reckoned(row, digest);
    }

    /// Adds a row that lies on disk with its checksum. One that does not bear it is lost.
    pub fn add_checked(&mut self, row: LogRow, sum: u64) {
        let digest = content_digest(&row.op);
        if row.checksum_by(digest) == sum {
            self.add_reckoned(row, digest);
        } else {
            self.add_lost(OpId::of(&row.op));
        }
    }

    /// A row of this name lies there and cannot be read: what it held is lacked.
    pub fn add_lost(&mut self, id: OpId) {
        self.lost.push(id);
    }

    fn add_reckoned(&mut self, row: LogRow, digest: u64) {
        let embedding = self.embedding_of(&row.op);
        self.rows.push((row, Reckoned { digest, embedding }));
    }

    /// `None` too for one that is none: it has no place in any space.
    fn embedding_of(&mut self, op: &SignedOp) -> Option<Embedded> {
        let (model, dims, dtype, entry) = Entry::parts(op)?;
        // Most rows are of the space of the one before.
        let is_it = |key: &SpaceKey| (key.model.as_str(), key.dims, key.dtype) == (model, dims, dtype);
        let space = self.spaces.iter().rposition(is_it).unwrap_or_else(|| {
            self.spaces.push(SpaceKey { model: model.to_owned(), dims, dtype });
            self.spaces.len() - 1
        });
        let sketch = self.sketches.add(space_of(&self.spaces[space])?, entry.stored()).ok()?;
        Some(Embedded { space, sketch, entry })
    }

    /// Names of rows that are lost.
    #[must_use]
    pub fn lost(&self) -> &[OpId] {
        &self.lost
    }

    /// The rows as they lay on disk.
    #[must_use]
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &LogRow> {
        self.rows.iter().map(|(row, _)| row)
    }
}

/// What the log's store held when a node began.
#[derive(Debug, Clone, Default)]
pub struct SavedLog {
    /// The rows.
    pub rows: Vec<LogRow>,
    /// Names of rows that lie there and cannot be read.
    pub lost: Vec<OpId>,
    /// Those rows that are not on disk, where a run goes on in the memory of the one before.
    pub unkept: BTreeSet<OpId>,
    /// The covered numbers.
    pub covers: Vec<LogCover>,
    /// The log's clock when it was last kept.
    pub clock_ms: u64,
    /// Until when, by that clock, earlier runs may have shown something that they had no time to keep: where the last of those ended that did
    /// not end in order. `None` if all did.
    pub cut_ms: Option<u64>,
}

impl SavedLog {
    /// Carries out a transaction: what any store must do, in memory. Rows lie by the order of their names.
    ///
    /// It takes one sort of the batch and one pass over what is held, however large the batch is.
    pub fn apply(&mut self, batch: &Batch) {
        let ended: BTreeSet<_> = batch.ended.iter().copied().collect();
        let removed: BTreeSet<OpId> = batch.removed.iter().copied().collect();
        // The later of two rows of one name stands, as in a table.
        let new: BTreeMap<OpId, &LogRow> = batch.rows.iter().map(|row| (OpId::of(&row.op), row)).collect();
        self.rows.retain(|row| !new.contains_key(&OpId::of(&row.op)));
        self.rows.extend(new.into_values().cloned());
        self.rows
            .retain(|row| !removed.contains(&OpId::of(&row.op)) && !ended.contains(&(row.op.author(), row.op.epoch())));
        self.rows.sort_by_key(|row| OpId::of(&row.op));
        let new: BTreeMap<_, &LogCover> =
            batch.covers.iter().map(|cover| ((cover.author, cover.epoch), cover)).collect();
        self.covers.retain(|cover| !new.contains_key(&(cover.author, cover.epoch)));
        self.covers.extend(new.into_values().cloned());
        self.covers.retain(|cover| !ended.contains(&(cover.author, cover.epoch)));
        self.covers.sort_by_key(|cover| (cover.author, cover.epoch));
        self.clock_ms = self.clock_ms.max(batch.clock_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::{MeshId, Seq};
    use crate::ground::time::WallTime;
    use crate::model::identity::Identity;
    use crate::model::op::{OpKind, Statement};

    fn row(seq: u64, born_ms: i64) -> LogRow {
        let statement =
            Statement { kind: OpKind::Alert, key: Vec::new(), body: vec![7], lamport: seq, wall: WallTime(seq) };
        let op =
            SignedOp::sign(&Identity::from_secret(&[1; 32]), MeshId([1; 16]), Epoch::new(1, 1), Seq(seq), statement);
        LogRow { op, born_ms }
    }

    #[test]
    fn of_two_rows_of_one_name_in_one_transaction_the_later_stands() {
        let mut saved = SavedLog::default();
        saved.apply(&Batch { rows: vec![row(2, 5), row(1, 0)], ..Batch::default() });
        saved.apply(&Batch { rows: vec![row(2, -1), row(3, 0), row(2, -9)], ..Batch::default() });
        assert_eq!(saved.rows, [row(1, 0), row(2, -9), row(3, 0)]);
    }

    #[test]
    fn what_a_transaction_adds_and_removes_is_not_there() {
        let mut saved = SavedLog::default();
        let removed = vec![OpId::of(&row(2, 0).op), OpId::of(&row(9, 0).op)];
        saved.apply(&Batch { rows: vec![row(1, 0), row(2, 0)], removed, ..Batch::default() });
        assert_eq!(saved.rows, [row(1, 0)]);
        let ended = vec![(row(1, 0).op.author(), Epoch::new(1, 1))];
        saved.apply(&Batch { rows: vec![row(4, 0)], ended, clock_ms: 3, ..Batch::default() });
        assert_eq!((saved.rows.len(), saved.clock_ms), (0, 3), "what is ended goes last of all");
    }
}

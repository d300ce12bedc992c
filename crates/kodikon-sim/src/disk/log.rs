//! Decides what of the log is on a disk after a crash: whole transactions in their order, and of those not yet synced as many as chance
//! lets through.

use std::collections::{BTreeSet, VecDeque};

use kodikon_core::effect::log::{Batch, CommitId, Committed, LogRow, SavedLog};
use kodikon_core::ground::random::Random;
use kodikon_core::model::op::{OpId, SignedOp};

use crate::chance::shuffle;

/// The log of one node.
#[derive(Debug, Clone, Default)]
pub struct LogDisk {
    /// Synced.
    durable: SavedLog,
    /// Spoilt, so that they cannot be read.
    lost: Vec<OpId>,
    /// Asked for, and not synced.
    waiting: VecDeque<(CommitId, Batch)>,
    /// A run has begun and has not ended in order.
    is_running: bool,
    /// The run that began last has not ended, in whatever way.
    is_open: bool,
    /// The disk is full, or fails.
    pub fails: bool,
}

impl LogDisk {
    /// What the next run starts with; from now on it counts as running.
    pub fn begin(&mut self) -> SavedLog {
        self.waiting.clear();
        self.is_open = true;
        if std::mem::replace(&mut self.is_running, true) {
            self.durable.cut_ms = Some(self.durable.clock_ms);
        }
        // What is not written again or removed by then stays spoilt.
        let is_there = |id: &OpId| self.durable.rows.iter().any(|row| OpId::of(&row.op) == *id);
        self.lost.retain(|id| !is_there(id));
        SavedLog { lost: self.lost.clone(), ..self.durable.clone() }
    }

    /// A transaction is asked for; whether it is the only one that waits.
    pub fn ask(&mut self, commit: CommitId, batch: Batch) -> bool {
        self.waiting.push_back((commit, batch));
        self.waiting.len() == 1
    }

    /// All that waits is synced, or fails together. The answers, and which ops are on disk now that were not.
    pub fn sync(&mut self) -> (Vec<(CommitId, Committed)>, Vec<OpId>) {
        let (mut answers, mut kept) = (Vec::new(), Vec::new());
        for (commit, batch) in std::mem::take(&mut self.waiting) {
            if self.fails {
                answers.push((commit, Committed::Failed));
            } else {
                self.durable.apply(&batch);
                self.lost.retain(|id| !batch.removed.contains(id) && !batch.ended.contains(&(id.author, id.epoch)));
                kept.extend(batch.rows.iter().map(|row| OpId::of(&row.op)));
                answers.push((commit, Committed::OnDisk));
            }
        }
        (answers, kept)
    }

    /// The process dies, or the power: of what waits the first so many transactions may have reached the disk, each whole: a torn
    /// one does not bear its checksum. Which ops are on disk now that were not.
    pub fn cut(&mut self, random: &mut Random) -> Vec<OpId> {
        let reached = random.below(self.waiting.len() as u64 + 1);
        self.waiting.truncate(usize::try_from(reached).unwrap_or(0));
        let (_, kept) = self.sync();
        self.waiting.clear();
        kept
    }

    /// The ops that lie on it.
    pub fn ids(&self) -> impl Iterator<Item = OpId> {
        self.durable.rows.iter().map(|row| OpId::of(&row.op))
    }

    /// One to three of the rows that are among these lose a bit. Where that is one of the signature the store does not see it.
    pub fn rot(&mut self, among: &BTreeSet<OpId>, random: &mut Random) {
        let mut rows: Vec<&mut LogRow> =
            self.durable.rows.iter_mut().filter(|row| among.contains(&OpId::of(&row.op))).collect();
        shuffle(random, &mut rows);
        rows.truncate(1 + random.place(3));
        let mut lost = Vec::new();
        for row in rows {
            let (mut bytes, sum) =
                (minicbor::to_vec(&row.op).expect("encoding into memory cannot fail"), row.checksum());
            let bit = random.place(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            let bent = minicbor::decode(&bytes).ok().map(|op: SignedOp| LogRow { op, ..row.clone() });
            match bent.filter(|bent| OpId::of(&bent.op) == OpId::of(&row.op) && bent.checksum() == sum) {
                Some(bent) => *row = bent,
                None => lost.push(OpId::of(&row.op)),
            }
        }
        self.durable.rows.retain(|row| !lost.contains(&OpId::of(&row.op)));
        self.lost.extend(lost);
    }

    /// The process ends in order. Which ops are on disk now that were not. Of a run that has ended already nothing is written any more.
    pub fn end(&mut self) -> Vec<OpId> {
        if !std::mem::take(&mut self.is_open) {
            return Vec::new();
        }
        self.is_running = self.fails;
        self.sync().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;

    fn clock(ms: u64) -> Batch {
        Batch { clock_ms: ms, ..Batch::default() }
    }

    #[test]
    fn after_a_crash_a_disk_holds_what_was_synced_and_the_first_of_the_rest() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let mut disk = LogDisk::default();
            assert_eq!(disk.begin().cut_ms, None);
            disk.ask(CommitId(1), clock(1));
            disk.sync();
            (2..=4).for_each(|n| _ = disk.ask(CommitId(n), clock(n)));
            disk.cut(&mut source(seed, "disk"));
            let found = disk.begin();
            assert!(found.cut_ms.is_some());
            seen.insert(found.clock_ms);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_failing_disk_keeps_nothing_and_one_that_ended_in_order_all() {
        let mut disk = LogDisk { fails: true, ..LogDisk::default() };
        disk.begin();
        disk.ask(CommitId(1), clock(9));
        assert_eq!(disk.sync().0, [(CommitId(1), Committed::Failed)]);
        assert_eq!(disk.begin().clock_ms, 0);
        disk.fails = false;
        disk.ask(CommitId(2), clock(9));
        disk.end();
        let found = disk.begin();
        assert_eq!((found.clock_ms, found.cut_ms), (9, Some(0)));
    }

    /// Found by swarm-5, seed 51: when all trouble ended, a run that had left while its disk failed ended a second time, in order.
    #[test]
    fn a_run_that_left_while_its_disk_failed_has_not_ended_in_order_whatever_comes_later() {
        let mut disk = LogDisk::default();
        disk.begin();
        disk.fails = true;
        disk.end();
        disk.fails = false;
        disk.end();
        assert_eq!(disk.begin().cut_ms, Some(0));
        disk.end();
        assert_eq!(disk.begin().cut_ms, Some(0), "and what it showed may come again in any later run");
    }
}

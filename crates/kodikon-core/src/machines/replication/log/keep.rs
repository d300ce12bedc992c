//! Decides when the log is written to disk: at once what somebody waits for, soon what others hold as well, again and again while
//! the disk fails, and never more at once than it takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::log::{CommitId, Committed};
use crate::ground::id::{Epoch, NodeId};
use crate::ground::random::Random;
use crate::ground::time::{Duration, Instant};
use crate::model::op::OpId;

/// Rows of one transaction at most: what SQLite writes in some 25 ms.
pub(super) const MAX_ROWS: usize = 512;
/// Rows at most that nobody waits for, and as many removals, in a transaction that somebody does wait for: what SQLite writes in some 3 ms.
const MAX_BESIDE: usize = 64;
/// Transactions that wait for their answer; what comes beyond waits here, in fewer and larger ones.
pub(super) const MAX_PENDING: usize = 64;
/// After a failure the next try waits a second, then twice as long each time, up to five: a disk is not emptied in a millisecond, and
/// whoever has emptied it adds the next sighting within seconds, which is refused until a try succeeds.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// The log's clock is kept this often while something is held: so much of its time an alert may gain by a crash.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// What others said of the registry, and what is over, is written after this and at most as much longer, with what else came meanwhile: nobody waits for
/// it, it can be fetched again, and a sync for each of a fleet's sightings wears the disk, and takes the processor from those who have
/// yet to hear of the next one. Chance, since all heard of it at one moment, and some share a disk.
const GATHER: Duration = Duration::from_millis(500);
/// What others said of alerts is written after this, and so much longer for each peer: their authors wait for the word that it is on
/// disk, but those come first who have yet to be shown it, and the nodes of a machine share its processor. A receipt that is not critical
/// waits longer (`alerts/receipts.rs`) and tells of both; a critical alert is told of twice.
const GATHER_ALERTS: Duration = Duration::from_millis(5);
const GATHER_ALERTS_A_PEER: Duration = Duration::from_micros(250);
/// However many there are.
const GATHER_ALERTS_MOST: Duration = Duration::from_millis(25);

/// When what is owed does not gather.
const AT_ONCE: Instant = Instant::ZERO;

/// What is owed to the disk, and what is on its way there.
#[derive(Debug)]
pub(super) struct Keep {
    last: u64,
    pending: BTreeMap<CommitId, Owed>,
    owed: Owed,
    /// What is owed and waited for: written at once, before the rest.
    urgent: BTreeSet<OpId>,
    /// When the rest is to be asked for: then, or as soon as it fills a transaction.
    due: Option<Instant>,
    failing: Option<(Instant, Duration)>,
    clock_at: Option<Instant>,
}

/// Changes that belong into a transaction.
#[derive(Debug, Default, Clone)]
pub(super) struct Owed {
    /// Ops to add.
    pub(super) rows: BTreeSet<OpId>,
    /// Ops to remove.
    pub(super) removed: BTreeSet<OpId>,
    /// Runs whose covered numbers changed.
    pub(super) covers: BTreeSet<(NodeId, Epoch)>,
    /// Runs of which nothing needs to be known any more.
    pub(super) ended: BTreeSet<(NodeId, Epoch)>,
    /// The clock alone.
    pub(super) clock: bool,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.removed.is_empty()
            && self.covers.is_empty()
            && self.ended.is_empty()
            && !self.clock
    }
}

impl Keep {
    pub(super) fn new() -> Self {
        Self {
            last: 0,
            pending: BTreeMap::new(),
            owed: Owed::default(),
            urgent: BTreeSet::new(),
            due: None,
            failing: None,
            clock_at: None,
        }
    }

    /// The last transaction that was asked for.
    pub(super) fn last(&self) -> CommitId {
        CommitId(self.last)
    }

    /// Transactions are numbered after this one.
    pub(super) fn go_on(&mut self, last: CommitId) {
        self.last = last.0;
    }

    /// An op is to be written, and somebody waits for it.
    pub(super) fn owe_row(&mut self, id: OpId) {
        self.owe(id);
        self.urgent.insert(id);
    }

    /// An op that is in memory alone is to be written, though nobody waits for it.
    pub(super) fn owe_restored(&mut self, id: OpId) {
        self.owe(id);
        self.due = Some(AT_ONCE);
    }

    /// An op is to be written soon.
    pub(super) fn owe_row_soon(&mut self, now: Instant, id: OpId, random: &mut Random) {
        self.gather(now, random);
        self.owe(id);
    }

    /// An op is to be written once all have been shown it whom it reached with us.
    pub(super) fn owe_alert(&mut self, now: Instant, id: OpId, peers: usize) {
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        let gather = GATHER_ALERTS + GATHER_ALERTS_A_PEER.saturating_mul(peers);
        let end = now + gather.min(GATHER_ALERTS_MOST);
        self.due = Some(self.due.map_or(end, |due| due.min(end)));
        self.owe(id);
    }

    /// What is covered of a run is to be written soon.
    pub(super) fn owe_cover_soon(&mut self, now: Instant, run: (NodeId, Epoch), random: &mut Random) {
        self.gather(now, random);
        self.owed.covers.insert(run);
    }

    /// It goes with what waits already: of many draws the least would count.
    fn gather(&mut self, now: Instant, random: &mut Random) {
        if self.due.is_none() {
            self.due = Some(now + GATHER + random.span(GATHER));
        }
    }

    fn owe(&mut self, id: OpId) {
        // One that was lost takes its own place again.
        self.owed.removed.remove(&id);
        self.owed.rows.insert(id);
        self.owed.covers.insert((id.author, id.epoch));
    }

    /// Whether something of what is owed is to be asked for now.
    fn is_due(&self, now: Instant) -> bool {
        let fills_one = self.owed.rows.len().max(self.owed.removed.len()) >= MAX_ROWS;
        let has_gathered = fills_one || self.due.is_some_and(|due| now >= due);
        !self.owed.is_empty() && (has_gathered || !self.urgent.is_empty())
    }

    /// An op is to be removed, and somebody waits for it; whether it was written does not matter.
    pub(super) fn owe_removal(&mut self, id: OpId) {
        self.remove(id);
        self.urgent.insert(id);
    }

    /// An op is to be removed soon: what is over, taken back or had to make room comes back by a crash, and ends again.
    pub(super) fn owe_removal_soon(&mut self, now: Instant, id: OpId, random: &mut Random) {
        self.gather(now, random);
        self.remove(id);
    }

    fn remove(&mut self, id: OpId) {
        self.owed.rows.remove(&id);
        self.owed.removed.insert(id);
        self.owed.covers.insert((id.author, id.epoch));
    }

    /// Whether it waits to be asked for that an op is written, or removed.
    pub(super) fn owes(&self, id: &OpId) -> bool {
        self.owed.rows.contains(id) || self.owed.removed.contains(id)
    }

    /// An op is neither to be written nor to be removed.
    pub(super) fn forget(&mut self, id: &OpId) {
        self.owed.rows.remove(id);
        self.owed.removed.remove(id);
        self.urgent.remove(id);
    }

    /// A run is to be forgotten.
    pub(super) fn owe_end(&mut self, run: (NodeId, Epoch)) {
        let of_run = |id: &OpId| (id.author, id.epoch) == run;
        self.owed.rows.retain(|id| !of_run(id));
        self.owed.removed.retain(|id| !of_run(id));
        self.urgent.retain(|id| !of_run(id));
        self.owed.covers.remove(&run);
        self.owed.ended.insert(run);
        self.due = Some(AT_ONCE);
    }

    /// Something is held, or nothing any more: whether its age must be kept.
    pub(super) fn watch_clock(&mut self, now: Instant, holds: bool) {
        match (holds, self.clock_at) {
            (true, None) => self.clock_at = Some(now + CLOCK_EVERY),
            (false, Some(_)) => self.clock_at = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether the disk does not take what it is given.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// The next transaction, if one is owed and may be asked for.
    pub(super) fn next(&mut self, now: Instant) -> Option<(CommitId, Owed)> {
        if self.clock_at.is_some_and(|at| now >= at) {
            self.clock_at = Some(now + CLOCK_EVERY);
            self.owed.clock = true;
            self.due = Some(AT_ONCE);
        }
        let may = self.failing.is_none_or(|(at, _)| now >= at && self.pending.is_empty());
        if !self.is_due(now) || !may || self.pending.len() >= MAX_PENDING {
            return None;
        }
        let batch = self.take();
        if self.owed.is_empty() {
            self.due = None;
        }
        self.last += 1;
        let commit = CommitId(self.last);
        self.pending.insert(commit, batch.clone());
        Some((commit, batch))
    }

    /// A transaction of what is owed: what somebody waits for with a few others, or whatever comes first.
    fn take(&mut self) -> Owed {
        let is_urgent = !self.urgent.is_empty();
        let others = if is_urgent { MAX_BESIDE } else { MAX_ROWS };
        let rows = take_first(&mut self.owed.rows, &self.urgent, others);
        let removed = take_first(&mut self.owed.removed, &self.urgent, others);
        self.urgent.retain(|id| !rows.contains(id) && !removed.contains(id));
        let covers =
            if is_urgent { runs_of(&rows).chain(runs_of(&removed)).collect() } else { self.owed.covers.clone() };
        self.owed.covers.retain(|run| !covers.contains(run));
        // What is written later covers its numbers then.
        self.owed.covers.extend(runs_of(&self.owed.rows));
        let (ended, clock) = (std::mem::take(&mut self.owed.ended), std::mem::take(&mut self.owed.clock));
        Owed { rows, removed, covers, ended, clock }
    }

    /// There is no later: a disk that failed is tried at once, and how long what is held has lasted is kept with the rest.
    pub(super) fn hurry(&mut self) {
        self.owed.clock |= self.clock_at.is_some();
        self.release();
    }

    /// What is owed is asked for now, even if the disk failed.
    pub(super) fn release(&mut self) {
        self.failing = None;
        self.due = Some(AT_ONCE);
    }

    /// How a transaction ended. What it held, if this node asked for it; it is owed again if it failed.
    pub(super) fn on_committed(&mut self, now: Instant, commit: CommitId, result: Committed) -> Option<Owed> {
        let batch = self.pending.remove(&commit)?;
        match result {
            Committed::OnDisk | Committed::InMemory => self.failing = None,
            Committed::Failed => {
                let wait = self.failing.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_LAST));
                self.failing = Some((now + wait, wait));
                let Owed { rows, removed, covers, ended, clock } = batch.clone();
                // What was removed since need not be written, and what came again since is not removed.
                let (rows_since, removed_since) = (self.owed.rows.clone(), self.owed.removed.clone());
                self.owed.rows.extend(rows.into_iter().filter(|id| !removed_since.contains(id)));
                self.owed.removed.extend(removed.into_iter().filter(|id| !rows_since.contains(id)));
                self.owed.covers.extend(covers);
                self.owed.ended.extend(ended);
                self.owed.clock |= clock;
                self.due = Some(AT_ONCE);
            }
        }
        Some(batch)
    }

    /// When the disk is tried again, the clock is kept or what has gathered is written. What else is owed leaves at once.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retry = self.failing.filter(|_| self.pending.is_empty() && !self.owed.is_empty()).map(|(at, _)| at);
        let clock = self.clock_at.filter(|_| self.failing.is_none() && self.pending.len() < MAX_PENDING);
        let gathered = self.due.filter(|due| *due != AT_ONCE && !self.owed.is_empty());
        let gathered = gathered.filter(|_| self.failing.is_none() && self.pending.len() < MAX_PENDING);
        [retry, clock, gathered].into_iter().flatten().min()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// Takes the urgent ones out of a set, and so many of the others.
fn take_first(set: &mut BTreeSet<OpId>, urgent: &BTreeSet<OpId>, others: usize) -> BTreeSet<OpId> {
    let mut taken: BTreeSet<OpId> = urgent.iter().filter(|id| set.remove(id)).take(MAX_ROWS).copied().collect();
    let others = others.min(MAX_ROWS - taken.len());
    taken.extend(std::iter::from_fn(|| set.pop_first()).take(others));
    taken
}

/// The runs of ops.
fn runs_of(ids: &BTreeSet<OpId>) -> impl Iterator<Item = (NodeId, Epoch)> {
    ids.iter().map(|id| (id.author, id.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::Seq;

    fn id(seq: u64) -> OpId {
        OpId { author: NodeId([1; 16]), epoch: Epoch(1), seq: Seq(seq) }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn alerts_are_written_the_later_the_more_share_the_moment_and_no_later_than_what_waits_already() {
        for (peers, due) in [(0, 5_000), (1, 5_250), (29, 12_250), (79, 24_750), (80, 25_000), (usize::MAX, 25_000)] {
            let mut keep = Keep::new();
            keep.owe_alert(at(0), id(1), peers);
            assert_eq!(keep.next_deadline(), Some(Instant::ZERO + Duration::from_micros(due)), "{peers} peers");
        }
        let mut keep = Keep::new();
        keep.owe_alert(at(0), id(1), 4);
        keep.owe_alert(at(5), id(2), 80);
        keep.owe_row_soon(at(5), id(3), &mut Random::from_seed([1; 32]));
        assert_eq!(keep.next_deadline(), Some(at(6)));
        let mut keep = Keep::new();
        keep.owe_row_soon(at(0), id(1), &mut Random::from_seed([1; 32]));
        keep.owe_alert(at(10), id(2), 4);
        assert_eq!(keep.next_deadline(), Some(at(16)), "an alert takes along what waits longer");
    }

    #[test]
    fn what_others_said_is_written_together_and_what_somebody_waits_for_takes_it_along() {
        let random = &mut Random::from_seed([1; 32]);
        let mut keep = Keep::new();
        keep.owe_row_soon(at(0), id(1), random);
        let due = keep.next_deadline().expect("it is owed");
        keep.owe_row_soon(at(300), id(2), random);
        assert_eq!((keep.next(at(499)).is_none(), keep.next_deadline()), (true, Some(due)));
        let (_, batch) = keep.next(at(1_000)).expect("it has gathered for long enough");
        assert_eq!((batch.rows.len(), keep.next_deadline()), (2, None));
        keep.owe_row_soon(at(2_000), id(3), random);
        keep.owe_row(id(4));
        assert!(keep.next(at(2_000)).is_some_and(|(_, batch)| batch.rows.len() == 2));
        // As many as are written at once leave before their time.
        (5..5 + MAX_ROWS as u64).for_each(|seq| keep.owe_row_soon(at(3_000), id(seq), random));
        assert!(keep.next(at(3_000)).is_some_and(|(_, batch)| batch.rows.len() == MAX_ROWS));
        (0..MAX_ROWS as u64).for_each(|seq| keep.owe_removal_soon(at(3_500), id(seq), random));
        assert!(keep.next(at(3_500)).is_some_and(|(_, batch)| batch.removed.len() == MAX_ROWS));
        keep.owe_row_soon(at(4_000), id(9_999), random);
        keep.hurry();
        assert!(keep.next(at(4_000)).is_some(), "there is no later");
    }

    /// Expiries, deletes of others and what makes room come as often as sightings do.
    #[test]
    fn what_is_over_gathers_with_what_is_new_and_what_somebody_waits_for_takes_a_few_of_them_along() {
        let random = &mut Random::from_seed([1; 32]);
        let mut keep = Keep::new();
        keep.owe_removal_soon(at(0), id(1), random);
        let due = keep.next_deadline().expect("it is owed");
        assert!((at(500)..at(1_000)).contains(&due) && keep.next(at(499)).is_none());
        (1_000..1_400).for_each(|seq| keep.owe_row_soon(at(300), id(seq), random));
        keep.owe_row(id(9_000));
        keep.owe_removal(id(9_001));
        let (commit, batch) = keep.next(at(300)).expect("somebody waits for it");
        keep.on_committed(at(300), commit, Committed::OnDisk);
        assert!(batch.rows.contains(&id(9_000)) && batch.removed.contains(&id(9_001)));
        assert_eq!((batch.rows.len(), batch.removed.len()), (MAX_BESIDE + 1, 2));
        assert_eq!(
            (keep.next(at(300)).is_none(), keep.next_deadline()),
            (true, Some(due)),
            "nobody waits for the rest"
        );
        let (commit, batch) = keep.next(due).expect("it has gathered for long enough");
        assert_eq!((batch.rows.len(), batch.removed.len()), (400 - MAX_BESIDE, 0));
        keep.on_committed(due, commit, Committed::Failed);
        let (commit, batch) = keep.next(due + RETRY_FIRST).expect("it is owed still");
        assert_eq!(batch.rows.len(), 400 - MAX_BESIDE);
        keep.on_committed(due + RETRY_FIRST, commit, Committed::OnDisk);
        assert_eq!((keep.next(at(9_000)).is_none(), keep.next_deadline()), (true, None));
    }

    #[test]
    fn nodes_that_heard_of_a_sighting_at_one_moment_do_not_write_it_at_one_moment() {
        let due: Vec<Instant> = (0..50)
            .map(|node| {
                let mut keep = Keep::new();
                keep.owe_row_soon(at(0), id(1), &mut Random::from_seed([node; 32]));
                keep.next_deadline().expect("it is owed")
            })
            .collect();
        assert!(due.iter().all(|due| (at(500)..at(1_000)).contains(due)));
        let within = |from, to| due.iter().filter(|due| (at(from)..at(to)).contains(due)).count();
        assert!(within(500, 750).abs_diff(within(750, 1_000)) < 25, "{due:?}");
    }

    #[test]
    fn a_failing_disk_is_tried_after_a_second_and_then_ever_more_rarely() {
        let mut keep = Keep::new();
        keep.owe_row(id(1));
        let mut now = 0;
        for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
            let (commit, batch) = keep.next(at(now)).expect("it is owed");
            assert_eq!(batch.rows.len(), 1);
            keep.owe_row(id(1));
            keep.on_committed(at(now), commit, Committed::Failed);
            assert!(keep.is_failing());
            assert_eq!(keep.next_deadline(), Some(at(now + pause)));
            assert!(keep.next(at(now + pause - 1)).is_none(), "not before {pause} ms");
            now += pause;
        }
        let (commit, _) = keep.next(at(now)).expect("it is owed still");
        assert!(keep.on_committed(at(now), commit, Committed::OnDisk).is_some());
        assert_eq!((keep.is_failing(), keep.next_deadline()), (false, None));
        assert!(keep.on_committed(at(now), commit, Committed::OnDisk).is_none(), "each is answered once");
    }

    #[test]
    fn what_was_removed_while_its_writing_failed_is_not_written() {
        let mut keep = Keep::new();
        keep.owe_row(id(1));
        let (commit, _) = keep.next(at(0)).unwrap();
        keep.owe_removal(id(1));
        keep.on_committed(at(0), commit, Committed::Failed);
        let (_, batch) = keep.next(at(1_000)).unwrap();
        assert_eq!((batch.rows.len(), batch.removed.len()), (0, 1));
    }

    #[test]
    fn a_transaction_holds_512_rows_and_the_rest_follows() {
        let mut keep = Keep::new();
        (1..=MAX_ROWS as u64 + 1).for_each(|seq| keep.owe_row(id(seq)));
        let sizes =
            [keep.next(at(0)), keep.next(at(0)), keep.next(at(0))].map(|next| next.map(|(_, batch)| batch.rows.len()));
        assert_eq!(sizes, [Some(512), Some(1), None]);
    }

    #[test]
    fn the_clock_is_kept_each_minute_while_something_is_held() {
        let mut keep = Keep::new();
        keep.watch_clock(at(0), true);
        assert!(keep.next(at(59_999)).is_none());
        assert!(keep.next(at(60_000)).is_some_and(|(_, batch)| batch.clock));
        assert_eq!(keep.next_deadline(), Some(at(120_000)), "the driver would spin");
        keep.hurry();
        assert!(keep.next(at(60_001)).is_some_and(|(_, batch)| batch.clock), "at the end as well");
        keep.watch_clock(at(60_001), false);
        keep.hurry();
        assert_eq!(keep.next_deadline(), None);
    }
}

//! Decides what is held of one author's run in the log: every op until its time is over, and which numbers were processed.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::log::LogCover;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::millis;
use crate::machines::replication::hearsay::Hearsay;
use crate::machines::replication::intervals::{Intervals, MAX_INTERVALS};
use crate::model::letter::Priority;
use crate::model::logged::LogBody;
use crate::model::op::{OpId, OpKind, SignedOp};
use crate::wire::message::{Cover, Interval, Run};

/// An op that is held.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) op: SignedOp,
    /// Its content digest.
    pub(super) digest: u64,
    pub(super) priority: Priority,
    pub(super) ttl_ms: u64,
    /// When it was made, by the log's clock.
    pub(super) born_ms: i64,
    /// Whether it may be older: somebody who held it was down meanwhile, and that does not count.
    pub(super) rested: bool,
}

impl Held {
    pub(super) fn new((op, digest): (SignedOp, u64), body: &LogBody, (born_ms, rested): (i64, bool)) -> Self {
        let ttl_ms = millis(body.ttl());
        Self { op, digest, priority: body.priority(), ttl_ms, born_ms, rested }
    }

    /// When its time is over, by the log's clock.
    pub(super) fn over_ms(&self) -> i64 {
        self.born_ms.saturating_add_unsigned(self.ttl_ms)
    }
}

/// One author's run.
#[derive(Debug)]
pub(super) struct LogLane {
    pub(super) author: NodeId,
    pub(super) epoch: Epoch,
    /// The author's public key: it may be gone when others ask for what it said.
    pub(super) key: [u8; 32],
    /// Processed: shown, its time over, or evicted.
    covered: Intervals,
    /// Given up for want of room: others may hold it still.
    evicted: Intervals,
    /// Never shown: more than their author may tell, or over before it came here.
    refused: Intervals,
    /// On disk.
    kept: Intervals,
    held: BTreeMap<u64, Held>,
    /// Sightings: there may be a hundred thousand of them, and what is urgent is not looked for among them.
    records: BTreeMap<u64, Held>,
    /// Their numbers: what is over is asked for with each digest, and all sightings are not gone through for it.
    recorded: Intervals,
    /// Held, and not on disk.
    unkept: BTreeSet<u64>,
    /// Held until their words were found not to be their author's, and wanted again.
    lost: Intervals,
    /// Whether more was given up than can be remembered: then nobody is told that anything is over.
    gave_up: bool,
    hearsay: Hearsay,
    part: u64,
    /// Whether its author was seen to sign two ops of one number.
    equivocated: bool,
}

impl LogLane {
    pub(super) fn new(author: NodeId, epoch: Epoch, key: [u8; 32]) -> Self {
        Self {
            author,
            epoch,
            key,
            covered: Intervals::default(),
            evicted: Intervals::default(),
            refused: Intervals::default(),
            kept: Intervals::default(),
            held: BTreeMap::new(),
            records: BTreeMap::new(),
            recorded: Intervals::default(),
            unkept: BTreeSet::new(),
            lost: Intervals::default(),
            gave_up: false,
            hearsay: Hearsay::default(),
            part: 0,
            equivocated: false,
        }
    }

    /// What this lane adds to the root: the sum of the digests of what it holds, so that nodes agree whatever of the past they have seen.
    pub(super) fn part(&self) -> u64 {
        self.part
    }

    /// The same of the numbers in an interval alone.
    pub(super) fn part_within(&self, span: Interval) -> u64 {
        if span == EVERY_NUMBER {
            return self.part;
        }
        self.within(span).fold(0, |sum, (_, held)| sum.wrapping_add(held.digest))
    }

    /// What is held of the numbers in an interval, sightings last.
    fn within(&self, span: Interval) -> impl Iterator<Item = (u64, &Held)> {
        let range = span.first..=span.last.max(span.first);
        self.held.range(range.clone()).chain(self.records.range(range)).map(|(seq, held)| (*seq, held))
    }

    /// The numbers of it, ascending.
    pub(super) fn numbers_within(&self, span: Interval) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.within(span).map(|(seq, _)| seq).collect();
        numbers.sort_unstable();
        numbers
    }

    /// From a number on, the first so many of what is held, by number.
    pub(super) fn first_from(&self, first: u64, most: usize) -> Vec<&Held> {
        let [urgent, records] = [&self.held, &self.records].map(|held| held.range(first..).take(most));
        let mut found: Vec<&Held> = urgent.chain(records).map(|(_, held)| held).collect();
        found.sort_unstable_by_key(|held| held.op.seq());
        found.truncate(most);
        found
    }

    pub(super) fn covers(&self, seq: Seq) -> bool {
        self.covered.contains(seq.0)
    }

    /// Covers a number that is not held yet. `false` if there are too many gaps: it waits until some are closed.
    pub(super) fn cover_one(&mut self, seq: Seq) -> bool {
        self.covered.insert_within(seq.0, seq.0, self.most_intervals())
    }

    /// Each op that is held may stand alone between numbers whose time is over.
    fn most_intervals(&self) -> usize {
        MAX_INTERVALS + self.held.len() + self.records.len()
    }

    /// Takes in an op whose number is covered.
    pub(super) fn hold(&mut self, held: Held, is_kept: bool) {
        let seq = held.op.seq().0;
        if !is_kept {
            self.unkept.insert(seq);
        }
        if self.has_lost() {
            self.lost = self.lost.without(&Intervals::of([seq].into_iter()));
        }
        let digest = held.digest;
        let before = if held.op.kind().is_record() {
            self.recorded.insert_within(seq, seq, usize::MAX);
            self.records.insert(seq, held)
        } else {
            self.held.insert(seq, held)
        };
        self.part = self.part.wrapping_add(digest).wrapping_sub(before.map_or(0, |before| before.digest));
    }

    /// Lets go of an op; its number stays covered.
    pub(super) fn release(&mut self, seq: Seq) -> Option<Held> {
        let held = self.held.remove(&seq.0).or_else(|| {
            let record = self.records.remove(&seq.0)?;
            self.recorded.remove(seq.0);
            Some(record)
        })?;
        self.unkept.remove(&seq.0);
        self.part = self.part.wrapping_sub(held.digest);
        Some(held)
    }

    /// What was held of a number, and is not any more, was not what its author said: it is lacked again.
    pub(super) fn uncover(&mut self, seq: Seq) {
        let one = Intervals::of([seq.0].into_iter());
        self.covered = self.covered.without(&one);
        self.kept = self.kept.without(&one);
        self.lost.insert(seq.0, seq.0);
    }

    /// Whether a number is wanted again that was held, in this run or one before.
    pub(super) fn lost(&self, seq: Seq) -> bool {
        self.lost.contains(seq.0)
    }

    /// Whether something is.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.len() > 0
    }

    /// It was given up though its time is not over.
    pub(super) fn note_evicted(&mut self, seq: Seq) {
        self.gave_up |= !self.evicted.insert(seq.0, seq.0);
    }

    /// An op is not wanted: its number is covered, and nobody is told that it was shown. Where its intervals are too many it may
    /// come again.
    pub(super) fn refuse(&mut self, seq: Seq) {
        if self.refused.insert(seq.0, seq.0) && self.covered.insert(seq.0, seq.0) {
            self.note_evicted(seq);
        }
    }

    /// The author signed two ops of one number. `true` the first time.
    pub(super) fn note_equivocation(&mut self) -> bool {
        !std::mem::replace(&mut self.equivocated, true)
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Held> {
        self.held.get(&seq.0).or_else(|| self.records.get(&seq.0))
    }

    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut Held> {
        self.held.get_mut(&seq.0).or_else(|| self.records.get_mut(&seq.0))
    }

    /// What is held, by number, sightings last.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values().chain(self.records.values())
    }

    /// What is held but sightings.
    pub(super) fn urgent(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.records.is_empty()
    }

    /// What is held and not in a foreign cover, but sightings.
    pub(super) fn beyond(&self, foreign: &Intervals) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|(seq, _)| !foreign.contains(**seq)).map(|(_, held)| held)
    }

    /// Sightings that are held and not in a foreign cover. What the other has is not looked at one by one.
    pub(super) fn records_beyond(&self, foreign: &Intervals) -> impl Iterator<Item = &Held> {
        let gaps = foreign.gaps();
        gaps.into_iter().flat_map(|gap| self.records.range(gap.first..=gap.last)).map(|(_, held)| held)
    }

    /// An op is on disk.
    pub(super) fn note_kept(&mut self, seq: Seq) {
        self.unkept.remove(&seq.0);
        self.kept.insert(seq.0, seq.0);
    }

    /// Whether an op is held, and on disk.
    pub(super) fn is_kept(&self, seq: Seq) -> bool {
        self.get(seq).is_some() && !self.unkept.contains(&seq.0)
    }

    /// Nothing of this run counts any more, nor of any before it.
    pub(super) fn close(&mut self) {
        self.covered = Intervals::from_wire(&[Interval { first: 1, last: u64::MAX }]);
        (self.evicted, self.refused, self.lost, self.gave_up) =
            (Intervals::default(), Intervals::default(), Intervals::default(), false);
    }

    /// Whether that was said.
    pub(super) fn is_closed(&self) -> bool {
        self.covered.to_wire() == [Interval { first: 1, last: u64::MAX }]
    }

    /// What is covered, as it travels. To another what it said itself is over is told as covered: whether that is so or not, it has
    /// nothing of it.
    pub(super) fn cover(&self, to: Option<&NodeId>) -> Cover {
        let covered = to.map_or_else(|| self.covered.clone(), |to| self.hearsay.settled(to, &self.covered));
        Cover { author: self.author.0, epoch: self.epoch.0, intervals: covered.to_wire().to_vec() }
    }

    /// Whether a foreign cover holds a number that this lane lacks.
    pub(super) fn lacks(&self, foreign: &[Interval]) -> bool {
        !self.covered.contains_all(foreign)
    }

    /// The numbers whose time is over: neither held, nor on their way to be, nor given up for want of room.
    pub(super) fn over(&self, on_their_way: &Intervals) -> Intervals {
        let mut rest = Intervals::default();
        // Where all that is covered is held nothing is over.
        let held = (self.held.len() + self.records.len()) as u64;
        if !self.gave_up && self.covered.count() > held {
            let urgent = Intervals::of(self.held.keys().copied());
            let held = &self.recorded;
            rest = self.covered.without(&urgent).without(held).without(&self.evicted).without(on_their_way);
        }
        rest
    }

    /// Which run this is, as it travels.
    pub(super) fn run(&self) -> Run {
        Run { author: self.author.0, epoch: self.epoch.0 }
    }

    /// Another says what is over, and is believed where it is the author, where a second says the same, or where nobody else can tell:
    /// numbers that are lacked here are covered, up to the highest that was seen signed, since nobody would ever send them; those that
    /// are held come back, to be ended. `true` if something was covered.
    pub(super) fn told_over(&mut self, from: NodeId, intervals: &[Interval], is_sole: bool) -> (Vec<OpId>, bool) {
        let heard = self.hearsay.take((from, self.author), intervals, is_sole, &self.covered);
        let believed = Intervals::from_wire(&heard.believed);
        let most = self.most_intervals();
        let lacked = believed.clone().up_to(self.covered.highest()).without(&self.covered);
        let mut is_news = heard.is_further;
        if self.has_lost() {
            self.lost = self.lost.without(&believed);
        }
        for interval in lacked.to_wire() {
            // What was never shown needs to be known as that first: a receipt tells of the rest.
            is_news |= self.refused.insert_within(interval.first, interval.last, most)
                && self.covered.insert_within(interval.first, interval.last, most);
        }
        let within = |interval: &Interval| {
            let span = interval.first..=interval.last;
            self.held.range(span.clone()).chain(self.records.range(span)).map(|(seq, _)| *seq)
        };
        let over = believed.to_wire().iter().flat_map(within);
        let over = over.map(|seq| OpId { author: self.author, epoch: self.epoch, seq: Seq(seq) }).collect();
        (over, is_news)
    }

    /// What is written down of it, where these are held in memory alone.
    pub(super) fn for_disk(&self, unkept: &Intervals) -> LogCover {
        let (covered, lost) = (self.safe_cover(unkept), self.lost.to_wire().to_vec());
        LogCover { author: self.author, epoch: self.epoch, key: self.key, covered, lost }
    }

    /// What may be written down as covered, beside the rows that lie on disk or are written with it: all but what is held in
    /// memory alone, which must be asked for again after a crash, what was refused, which the next run would take for shown, and what was
    /// given up for want of room, which it would tell others is over.
    fn safe_cover(&self, unkept: &Intervals) -> Vec<Interval> {
        if self.gave_up {
            // Of what is not held nobody knows which that was.
            let held: BTreeSet<u64> = self.held.keys().chain(self.records.keys()).copied().collect();
            return Intervals::of(held.into_iter()).without(unkept).to_wire().to_vec();
        }
        self.covered.without(unkept).without(&self.refused).without(&self.evicted).to_wire().to_vec()
    }

    /// What is held and not on disk.
    pub(super) fn unkept(&self) -> impl Iterator<Item = Seq> {
        self.unkept.iter().map(|seq| Seq(*seq))
    }

    /// What was found on disk as covered. The rows found there are on it; of the rest nobody knows: its time may have been over
    /// before the disk took it.
    pub(super) fn restore(&mut self, covered: &[Interval], lost: &[Interval]) {
        self.lost = Intervals::from_wire(lost);
        for interval in covered.iter().filter(|interval| interval.first > 0) {
            self.covered.insert_within(interval.first, interval.last, usize::MAX);
        }
    }

    /// Alerts that are held, by number.
    pub(super) fn alerts(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.held.iter().filter(|(_, held)| held.op.kind() == OpKind::Alert).map(|(seq, _)| *seq)
    }

    /// Intervals shown, and on disk, for a receipt: `most` with alerts that are held, which their author asks after, the newest first.
    /// Where these are fewer than `few` others make it so many, of which it may hold alerts still that ended here or made room.
    pub(super) fn receipt(&self, few: usize, most: usize) -> (Vec<Interval>, Vec<Interval>) {
        let shown = self.covered.without(&self.refused);
        let on_disk = self.alerts().filter(|seq| !self.unkept.contains(seq));
        (most_asked(&shown, self.alerts(), (few, most)), most_asked(&self.kept, on_disk, (few, most)))
    }

    /// Intervals that it takes to remember what was covered, beyond one for each op that is held.
    pub(super) fn intervals(&self) -> usize {
        self.covered.len().saturating_sub(self.held.len() + self.records.len())
    }
}

/// All numbers that there are.
pub(super) const EVERY_NUMBER: Interval = Interval { first: 0, last: u64::MAX };

/// Of a set the intervals that certain numbers lie in, and of the others as many as make them `few`. A number that the set had no room
/// for counts by itself.
fn most_asked(
    set: &Intervals,
    numbers: impl DoubleEndedIterator<Item = u64>,
    (few, most): (usize, usize),
) -> Vec<Interval> {
    let mut asked: Vec<Interval> = Vec::new();
    for number in numbers.rev() {
        if asked.last().is_some_and(|span| span.first <= number) {
            continue;
        }
        if asked.len() >= most {
            return asked;
        }
        asked.push(set.around(number).unwrap_or(Interval { first: number, last: number }));
    }
    let others: Vec<Interval> = set.to_wire().iter().rev().filter(|span| !asked.contains(span)).copied().collect();
    asked.extend(others.into_iter().take(few.saturating_sub(asked.len())));
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::MeshId;
    use crate::ground::time::WallTime;
    use crate::model::identity::Identity;
    use crate::model::logged::content_digest;
    use crate::model::op::Statement;

    /// Found by swarm-10, seed 64: a disk failed for longer than an alert lasted, and after the next start the alert was said to be on it.
    #[test]
    fn what_a_disk_lists_as_covered_was_shown_and_only_its_rows_are_on_it() {
        let span = |first, last| Interval { first, last };
        let mut lane = LogLane::new(NodeId([2; 16]), Epoch(3), [4; 32]);
        lane.restore(&[span(1, 5), span(8, 9)], &[]);
        lane.note_kept(Seq(9));
        assert_eq!(lane.receipt(6, 9), (vec![span(8, 9), span(1, 5)], vec![span(9, 9)]));
        assert!(lane.covers(Seq(5)) && !lane.is_kept(Seq(5)), "it is not shown again");
        assert_eq!(lane.over(&Intervals::default()).to_wire(), [span(1, 5), span(8, 9)], "nothing of it is held");
    }

    #[test]
    fn a_receipt_names_first_what_alerts_lie_in_whatever_else_is_newer() {
        let span = |first, last| Interval { first, last };
        let mut lane = LogLane::new(NodeId([2; 16]), Epoch(3), [4; 32]);
        // More islands of sightings than are remembered as kept: the next of them are not.
        (0..600).for_each(|n| lane.note_kept(Seq(3 * n + 100)));
        lane.restore(&[span(1, 5), span(8, 9), span(11, 11), span(20, 3_000)], &[]);
        for (seq, is_kept) in [(2, true), (4, true), (8, false), (2_000, true)] {
            lane.hold(alert(seq), is_kept);
        }
        let (shown, durable) = lane.receipt(4, 9);
        assert_eq!(shown, [span(20, 3_000), span(8, 9), span(1, 5), span(11, 11)]);
        assert_eq!(durable[..3], [span(2_000, 2_000), span(4, 4), span(2, 2)], "8 is not on disk");
        assert_eq!(durable[3..].len(), 1, "{durable:?}");
        let (shown, durable) = lane.receipt(1, 2);
        assert_eq!(shown, [span(20, 3_000), span(8, 9)]);
        assert_eq!(durable, [span(2_000, 2_000), span(4, 4)]);
    }

    #[test]
    fn what_is_over_is_what_is_covered_and_not_held_whatever_came_and_went() {
        let mut lane = LogLane::new(NodeId([2; 16]), Epoch(3), [4; 32]);
        // Each third is an alert, each fifth is let go; of the rest some are held twice.
        for seq in 1..=90 {
            lane.cover_one(Seq(seq));
            lane.hold(held(if seq % 3 == 0 { OpKind::Alert } else { OpKind::Record }, seq), true);
        }
        lane.hold(held(OpKind::Record, 1), false);
        (5..=90).step_by(5).for_each(|seq| assert!(lane.release(Seq(seq)).is_some()));
        assert!(lane.release(Seq(5)).is_none(), "it is gone already");
        lane.hold(held(OpKind::Record, 10), true);
        let over = |lane: &LogLane| lane.over(&Intervals::of([20].into_iter()));
        let expected = (5..=90).step_by(5).filter(|seq| ![10, 20].contains(seq));
        assert_eq!(over(&lane), Intervals::of(expected));
        assert_eq!(lane.recorded, Intervals::of(lane.records.keys().copied()));
    }

    fn alert(seq: u64) -> Held {
        held(OpKind::Alert, seq)
    }

    fn held(kind: OpKind, seq: u64) -> Held {
        let says = Statement { kind, key: Vec::new(), body: Vec::new(), lamport: 1, wall: WallTime(1) };
        let op = SignedOp::sign(&Identity::from_secret(&[5; 32]), MeshId([1; 16]), Epoch(3), Seq(seq), says);
        let digest = content_digest(&op);
        Held { op, digest, priority: Priority::Normal, ttl_ms: 1, born_ms: 0, rested: false }
    }
}

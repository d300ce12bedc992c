//! Decides what is done next for those who are owed a cast: give it, wait for the forwarder, ask, or give it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};

/// Bounds of the time after which a cast is given again.
const RTO_LEAST: Duration = Duration::from_millis(20);
pub(super) const RTO_MOST: Duration = Duration::from_millis(400);
/// Where an answer takes longer than that by itself, so many times as long at most.
const FULL_AFTER: u32 = 4;
/// How long an answer takes where none was seen.
pub(super) const ANSWER_UNKNOWN: Duration = Duration::from_millis(40);
/// Answers of a crowd are spread over this for each of its members: a switch brings them one after another.
const SPREAD_OF_ONE: Duration = Duration::from_micros(50);
const SPREAD_LEAST: Duration = Duration::from_millis(1);
const SPREAD_MOST: Duration = Duration::from_millis(50);

/// If less than one of so many shows that it came, what was said by the group did not get through: at a quarter lost each way
/// more than half do.
pub(super) const REACHED_OF: usize = 4;
/// So often in a row, and the group is given up for this cast.
const MOST_BARREN: u32 = 2;

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Whoever forwards there is given time to.
    Standby,
    /// It is given for the first time.
    First,
    /// The second copy of what must not wait.
    Copy,
    /// Another gave it: who has it?
    Ask,
    /// It is given again to those who did not acknowledge it.
    Again,
}

/// Who is owed a cast by one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Duty {
    pub(super) stage: Stage,
    /// When it is done; `None`: nothing is to be done.
    pub(super) due: Option<Instant>,
    /// Who, and which pieces it has, if it said so.
    pub(super) missing: BTreeMap<NodeId, Option<u64>>,
    /// Who was owed it and not heard any more when it was looked.
    given_up: BTreeSet<NodeId>,
    /// Times it was given again.
    pub(super) rounds: u32,
    /// How many were given it when it was given for the first time, and whether by one group datagram; 0 once that was judged.
    pub(super) told: usize,
    pub(super) by_group: bool,
    /// When it was given for the first time.
    pub(super) given: Option<Instant>,
    /// When each was last seen to have more of it than before.
    grew: BTreeMap<NodeId, Instant>,
    /// Since when it is waited for answers.
    waits: Instant,
    /// Which pieces each was to get since the last look that is not known to have them.
    owed: BTreeMap<NodeId, u64>,
    /// How many came, and how many were to come.
    carried: (u32, u32),
    /// Since when, and from when on that can be judged: whoever asks for it has it looked at earlier.
    judged: Option<(Instant, Instant)>,
    /// How many hear the same piece at once; 0 where each is given it alone.
    hearing: u32,
    /// To whom something was said by the group since the last look and did not show that it came: what each was to get by that,
    /// a bit for each piece; none where it was asked.
    unreached: BTreeMap<NodeId, u64>,
    /// To how many it was said.
    spoken: usize,
    /// What was said by the group so many times in a row reached hardly anybody.
    barren: u32,
}

impl Duty {
    /// Nothing is owed.
    pub(super) fn done() -> Self {
        Self {
            stage: Stage::Again,
            due: None,
            missing: BTreeMap::new(),
            given_up: BTreeSet::new(),
            rounds: 0,
            told: 0,
            by_group: false,
            given: None,
            grew: BTreeMap::new(),
            waits: Instant::ZERO,
            owed: BTreeMap::new(),
            carried: (0, 0),
            judged: None,
            hearing: 0,
            unreached: BTreeMap::new(),
            spoken: 0,
            barren: 0,
        }
    }

    /// These are owed it, from this time on.
    pub(super) fn new(stage: Stage, due: Instant, members: impl IntoIterator<Item = NodeId>) -> Self {
        let missing = members.into_iter().map(|id| (id, None)).collect();
        Self { stage, due: Some(due), missing, ..Self::done() }
    }

    /// More is owed: what is earlier is done first.
    pub(super) fn merge(&mut self, other: Self) {
        if self.due.is_none() {
            (self.stage, self.rounds, self.barren) = (other.stage, 0, 0);
        } else if other.due < self.due {
            self.stage = self.stage.min(other.stage);
        }
        self.due = [self.due, other.due].into_iter().flatten().min();
        for (id, have) in other.missing {
            let held = self.missing.entry(id).or_default();
            *held = have.or(*held);
        }
    }

    /// How long an answer that comes now took, if it answers the first giving alone.
    pub(super) fn took(&self, now: Instant, id: &NodeId) -> Option<Duration> {
        let is_first = self.rounds == 0 && self.stage == Stage::Again && self.missing.contains_key(id);
        self.given.filter(|_| is_first).map(|given| now.since(given))
    }

    /// The same of the first word of somebody who has a part of it.
    pub(super) fn took_half(&self, now: Instant, id: &NodeId) -> Option<Duration> {
        self.took(now, id).filter(|_| self.missing.get(id) == Some(&None))
    }

    /// Somebody has it.
    pub(super) fn settle(&mut self, id: &NodeId) {
        let was_missing = self.missing.remove(id).is_some();
        self.given_up.remove(id);
        self.unreached.remove(id);
        self.grew.remove(id);
        self.note_came(id, u64::MAX);
        let is_waiting = matches!(self.stage, Stage::Ask | Stage::Again);
        if was_missing && is_waiting && self.missing.is_empty() {
            self.due = None;
        }
    }

    /// How many were given it at first, if all of them answered that: said once.
    pub(super) fn take_all_heard(&mut self) -> Option<usize> {
        let is_all = self.rounds == 0 && self.told > 0 && self.missing.is_empty();
        is_all.then(|| core::mem::take(&mut self.told))
    }

    /// Somebody has these pieces of it.
    pub(super) fn note_half(&mut self, now: Instant, id: &NodeId, have: u64) {
        let Some(held) = self.missing.get_mut(id) else { return };
        if have & !held.unwrap_or(0) != 0 {
            self.grew.insert(*id, now);
        }
        *held = Some(have);
        self.note_came(id, have);
        let came = |said: &u64| 2 * (have & said).count_ones() >= said.count_ones();
        if self.unreached.get(id).is_some_and(came) {
            self.unreached.remove(id);
        }
    }

    /// Who is not heard is owed nothing.
    pub(super) fn give_up(&mut self, is_near: impl Fn(&NodeId) -> bool) {
        self.missing.retain(|id, _| {
            let stays = is_near(id);
            if !stays {
                self.given_up.insert(*id);
            }
            stays
        });
    }

    /// Whether this node sees to it that all who are heard there get it: it gives it, and left out nobody who is back.
    pub(super) fn is_seen_to(&self, is_near: impl Fn(&NodeId) -> bool) -> bool {
        self.stage > Stage::Standby && (self.due.is_some() || !self.given_up.iter().any(is_near))
    }

    /// Somebody may have lost the pieces of it that it had.
    pub(super) fn forget(&mut self, id: &NodeId) {
        if let Some(have) = self.missing.get_mut(id) {
            *have = None;
        }
        self.grew.remove(id);
    }

    /// Of how many of those who lack it nothing shows that any of it came.
    pub(super) fn silent(&self) -> usize {
        self.missing.values().filter(|have| have.is_none()).count()
    }

    /// Who gets piece after piece of it: what they lack is on its way.
    pub(super) fn still_coming(&self, now: Instant) -> BTreeSet<NodeId> {
        let is_coming = |at: Instant| now.since(at) * 2 < now.since(self.waits);
        self.grew.iter().filter(|(_, at)| is_coming(**at)).map(|(id, _)| *id).collect()
    }

    /// Nobody is owed it any more, whoever has it: nothing of them is kept.
    pub(super) fn release(&mut self) {
        self.missing.clear();
        self.grew.clear();
        self.owed.clear();
        self.unreached.clear();
        self.spoken = 0;
    }

    fn note_came(&mut self, id: &NodeId, have: u64) {
        if let Some(owed) = self.owed.get_mut(id) {
            self.carried.0 += (*owed & have).count_ones();
            *owed &= !have;
        }
    }

    /// These are given such pieces, each alone or all by the group.
    pub(super) fn give(&mut self, members: &[(NodeId, u64)], by_group: bool) {
        self.hearing = if by_group { u32::try_from(members.len()).unwrap_or(u32::MAX) } else { 0 };
        for (id, pieces) in members {
            self.carried.1 += pieces.count_ones();
            *self.owed.entry(*id).or_default() |= pieces;
        }
    }

    /// Of how many pieces that were given how many came, within which time; whether by the group. `None` as long as answers may be on
    /// their way.
    pub(super) fn take_carried(&mut self, now: Instant) -> Option<(u32, u32, Duration, bool)> {
        let (since, _) = self.judged.take_if(|(_, from)| now >= *from)?;
        self.owed.clear();
        let (came, said) = core::mem::take(&mut self.carried);
        let copies = self.hearing.max(1);
        Some((came / copies, said / copies, now.since(since), self.hearing > 0))
    }

    /// Something is said by the group that brings each of these such pieces, or asks.
    pub(super) fn say_to_group(&mut self, members: impl IntoIterator<Item = (NodeId, u64)>) {
        for (id, pieces) in members {
            self.spoken += usize::from(self.unreached.insert(id, pieces).is_none());
        }
    }

    /// All could have answered: whether what was said by the group came. A few may have it all the same: whoever lives on the
    /// sender's own host hears what no switch passes, and an enemy can play a piece to all that it recorded.
    pub(super) fn judge_group(&mut self) {
        let reached = self.spoken.saturating_sub(self.unreached.len());
        if reached * REACHED_OF < self.spoken {
            self.barren += 1;
        } else if self.spoken > 0 {
            self.barren = 0;
        }
        self.unreached.clear();
        self.spoken = 0;
    }

    /// Whether the group does not reach those who are missing, though it seemed proven: said by it, and said again.
    pub(super) fn is_unheard(&self) -> bool {
        self.barren >= MOST_BARREN
    }

    /// It was given, or asked for: when to look again, if an answer usually takes no longer than this.
    pub(super) fn wait(&mut self, now: Instant, usual: Option<Duration>, answering: usize) {
        self.stage = Stage::Again;
        let first = usual.unwrap_or(ANSWER_UNKNOWN).max(RTO_LEAST) + spread(answering);
        // Where answers take long the way is full, and what is said too often is what fills it.
        let most = if first > RTO_MOST { first * FULL_AFTER } else { RTO_MOST };
        let rto = (first * (1 << self.rounds.min(6))).min(most);
        (self.waits, self.due) = (now, Some(now + rto));
        if self.carried.1 > 0 {
            self.judged.get_or_insert((now, now + rto));
        }
    }
}

/// Within which time so many answer what all of them heard at once.
pub(super) fn spread(answering: usize) -> Duration {
    (SPREAD_OF_ONE * u32::try_from(answering).unwrap_or(u32::MAX)).clamp(SPREAD_LEAST, SPREAD_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_duty_ends_with_the_last_who_lacks_it_but_a_second_copy_is_sent_all_the_same() {
        for (stage, ends) in [
            (Stage::Again, true),
            (Stage::Ask, true),
            (Stage::Copy, false),
            (Stage::First, false),
            (Stage::Standby, false),
        ] {
            let mut duty = Duty::new(stage, at(1), [id(1), id(2)]);
            [1, 3].into_iter().for_each(|n| duty.settle(&id(n)));
            assert_eq!(duty.due, Some(at(1)), "{stage:?}");
            duty.settle(&id(2));
            assert_eq!(duty.due.is_none(), ends, "{stage:?}");
        }
    }

    #[test]
    fn the_group_is_given_up_when_it_was_said_twice_in_a_row_and_reached_less_than_a_quarter() {
        let all = || (1..=8).map(id);
        let mut duty = Duty::new(Stage::Again, at(1), all());
        let mut say = |pieces: u64, settled: &[u8], halves: &[(u8, u64)]| {
            duty.say_to_group(all().map(|id| (id, pieces)));
            settled.iter().for_each(|n| duty.settle(&id(*n)));
            halves.iter().for_each(|(n, have)| duty.note_half(at(0), &id(*n), *have));
            duty.judge_group();
            (duty.barren, duty.is_unheard())
        };
        assert_eq!(say(1, &[], &[]), (1, false), "once may be chance");
        assert_eq!(say(1, &[7, 9], &[]), (2, true), "one of eight, and a stranger");
        assert_eq!(say(1, &[8, 7], &[]), (0, false), "two");
        assert_eq!(say(0b1111, &[], &[(1, 0b0001), (2, 0b0100), (3, 0b1000)]), (1, false), "a piece of four");
        assert_eq!(say(0b1111, &[], &[(1, 0b0011), (2, 0b10_0100), (2, 0b1100)]), (0, false), "half of it");
        assert_eq!(say(0, &[], &[(1, 0), (2, 0)]), (0, false), "a question is answered by any word");
        assert_eq!(say(0, &[], &[(1, 0), (9, 0)]), (1, false));
        duty.judge_group();
        assert_eq!(duty.barren, 1, "nothing was said by the group");
        duty.say_to_group(all().map(|id| (id, 1)));
        duty.judge_group();
        assert!(duty.is_unheard());
        duty.say_to_group(all().map(|id| (id, 1)));
        duty.release();
        assert!(duty.missing.is_empty() && duty.unreached.is_empty());
        duty.due = None;
        duty.merge(Duty::new(Stage::Ask, at(9), [id(9)]));
        assert!(!duty.is_unheard(), "by those who came");
    }

    #[test]
    fn that_all_answered_the_first_group_datagram_is_said_once() {
        let mut duty = Duty { told: 2, ..Duty::new(Stage::Again, at(1), [id(1), id(2)]) };
        duty.settle(&id(1));
        assert_eq!(duty.take_all_heard(), None);
        duty.settle(&id(2));
        assert_eq!((duty.take_all_heard(), duty.take_all_heard()), (Some(2), None));
        let mut repeated = Duty { told: 2, rounds: 1, ..Duty::done() };
        assert_eq!(repeated.take_all_heard(), None);
    }

    #[test]
    fn what_is_given_is_seen_to_until_one_that_was_given_up_is_back_without_it() {
        let mut duty = Duty::new(Stage::Again, at(1), [id(1), id(2)]);
        duty.give_up(|member| *member == id(1));
        let seen_to = |duty: &Duty, near: u8| duty.is_seen_to(|member| *member == id(near));
        assert!(seen_to(&duty, 2), "it is under way");
        duty.due = None;
        assert!(seen_to(&duty, 1), "who has it");
        assert!(!seen_to(&duty, 2));
        duty.settle(&id(2));
        assert!(seen_to(&duty, 2));
        duty.stage = Stage::Standby;
        assert!(!seen_to(&duty, 1), "another gives it");
    }

    #[test]
    fn what_somebody_had_of_it_is_not_known_any_more_when_it_is_gone() {
        let mut duty = Duty::new(Stage::Again, at(0), [id(1), id(2)]);
        duty.wait(at(0), None, 2);
        [1, 2].into_iter().for_each(|n| duty.note_half(at(39), &id(n), 0b1));
        [1, 3].into_iter().for_each(|n| duty.forget(&id(n)));
        assert_eq!((duty.silent(), duty.still_coming(at(40))), (1, BTreeSet::from([id(2)])));
        assert_eq!(duty.missing.len(), 2);
    }

    #[test]
    fn who_gets_piece_after_piece_is_waited_for() {
        let mut duty = Duty::new(Stage::First, at(0), [id(1), id(2), id(3), id(4)]);
        duty.wait(at(0), Some(Duration::from_millis(100)), 4);
        for (ms, n, have) in [(49, 1, 0b1), (60, 2, 0b1), (99, 2, 0b1), (50, 3, 0), (60, 4, 0b11)] {
            duty.note_half(at(ms), &id(n), have);
        }
        duty.settle(&id(4));
        assert_eq!(
            duty.still_coming(at(100)),
            BTreeSet::from([id(2)]),
            "more came in the second half, not the same again"
        );
        assert_eq!(duty.still_coming(at(121)), BTreeSet::new());
        assert_eq!(duty.silent(), 0);
        duty.release();
        assert_eq!(duty.still_coming(at(100)), BTreeSet::new());
    }

    #[test]
    fn of_what_was_given_it_is_counted_what_came() {
        let mut duty = Duty::new(Stage::First, at(0), [id(1), id(2)]);
        duty.give(&[(id(1), 0b1111)], false);
        duty.give(&[(id(2), 0b1111)], false);
        duty.wait(at(7), None, 2);
        duty.note_half(at(8), &id(1), 0b1_0001);
        duty.wait(at(9), None, 2);
        duty.note_half(at(9), &id(1), 0b1_0011);
        duty.settle(&id(2));
        assert_eq!(duty.take_carried(at(47)), None, "answers take longer");
        assert_eq!(duty.take_carried(at(48)), Some((6, 8, Duration::from_millis(41), false)), "one by one");
        duty.give(&[(id(1), 0b1100), (id(3), 0b1111)], true);
        duty.note_half(at(10), &id(1), 0b1_1111);
        duty.wait(at(50), None, 2);
        assert_eq!(
            duty.take_carried(at(99)),
            Some((1, 3, Duration::from_millis(49), true)),
            "by the group: each on average"
        );
        duty.wait(at(100), None, 2);
        assert_eq!(duty.take_carried(at(999)), None, "nothing was given");
    }

    #[test]
    fn it_is_given_again_ever_more_rarely() {
        let mut duty = Duty::new(Stage::First, at(0), [id(1)]);
        let mut waits = Vec::new();
        for round in 0..7 {
            duty.rounds = round;
            duty.wait(at(0), Some(Duration::from_millis(1)), 50);
            waits.extend(duty.due.map(|due| due.since(at(0)).as_micros()));
        }
        assert_eq!(waits, [22_500, 45_000, 90_000, 180_000, 360_000, 400_000, 400_000]);
        for (round, expected) in [(0, 1_001), (1, 2_002), (2, 4_004), (3, 4_004)] {
            duty.rounds = round;
            duty.wait(at(0), Some(Duration::from_secs(1)), 1);
            assert_eq!(duty.due.map(|due| due.since(at(0)).as_millis()), Some(expected), "round {round}");
        }
    }

    #[test]
    fn what_is_owed_in_addition_is_done_at_the_earlier_time() {
        let mut duty = Duty::done();
        duty.merge(Duty::new(Stage::Standby, at(40), [id(1)]));
        assert_eq!((duty.stage, duty.due), (Stage::Standby, Some(at(40))));
        duty.merge(Duty::new(Stage::Ask, at(90), [id(2)]));
        assert_eq!((duty.stage, duty.due, duty.missing.len()), (Stage::Standby, Some(at(40)), 2));
        duty.stage = Stage::Again;
        duty.merge(Duty::new(Stage::Ask, at(10), [id(2)]));
        assert_eq!((duty.stage, duty.due), (Stage::Ask, Some(at(10))));
    }
}

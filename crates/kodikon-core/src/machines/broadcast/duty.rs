//! Decides what is done next for those who are owed a cast: give it, wait for the forwarder, ask, or give it again.

use std::collections::BTreeMap;

use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};

/// Bounds of the time after which a cast is given again.
const RTO_LEAST: Duration = Duration::from_millis(20);
const RTO_MOST: Duration = Duration::from_millis(400);
/// What must not wait is given twice, so far apart.
pub(super) const TWICE_AFTER: Duration = Duration::from_millis(1);
/// Answers of a crowd are spread over this for each of its members: a switch brings them one after another.
const SPREAD_OF_ONE: Duration = Duration::from_micros(50);
const SPREAD_LEAST: Duration = Duration::from_millis(1);
const SPREAD_MOST: Duration = Duration::from_millis(50);

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
    /// Times it was given again.
    pub(super) rounds: u32,
    /// How many were told by the first group datagram.
    pub(super) told: usize,
    /// When it was given for the first time.
    pub(super) given: Option<Instant>,
    /// Somebody answered: what was said was heard.
    pub(super) answered: bool,
}

impl Duty {
    /// Nothing is owed.
    pub(super) fn done() -> Self {
        let missing = BTreeMap::new();
        Self { stage: Stage::Again, due: None, missing, rounds: 0, told: 0, given: None, answered: false }
    }

    /// These are owed it, from this time on.
    pub(super) fn new(stage: Stage, due: Instant, members: impl IntoIterator<Item = NodeId>) -> Self {
        let missing = members.into_iter().map(|id| (id, None)).collect();
        Self { stage, due: Some(due), missing, ..Self::done() }
    }

    /// More is owed: what is earlier is done first.
    pub(super) fn merge(&mut self, other: Self) {
        if self.due.is_none() {
            (self.stage, self.rounds, self.answered) = (other.stage, 0, false);
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

    /// Somebody has it.
    pub(super) fn settle(&mut self, id: &NodeId) {
        let was_missing = self.missing.remove(id).is_some();
        self.answered |= was_missing;
        let is_waiting = matches!(self.stage, Stage::Ask | Stage::Again);
        if was_missing && is_waiting && self.missing.is_empty() {
            self.due = None;
        }
    }

    /// How many were told by the first group datagram, if all of them answered it: said once.
    pub(super) fn take_all_heard(&mut self) -> Option<usize> {
        let is_all = self.rounds == 0 && self.told > 0 && self.missing.is_empty();
        is_all.then(|| core::mem::take(&mut self.told))
    }

    /// Whether all that was said to those who are missing stayed without an answer, and not the first time alone: the group may
    /// be dead, though it seemed proven.
    pub(super) fn is_unheard(&self) -> bool {
        self.rounds > 0 && !self.answered
    }

    /// It was given, or asked for: when to look again, if an answer usually takes no longer than this.
    pub(super) fn wait(&mut self, now: Instant, usual: Option<Duration>, answering: usize) {
        self.stage = Stage::Again;
        let first = usual.unwrap_or(RTO_LEAST * 2).clamp(RTO_LEAST, RTO_MOST) + spread(answering);
        let rto = (first * (1 << self.rounds.min(6))).min(RTO_MOST.max(first));
        self.due = Some(now + rto);
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
    fn it_is_unheard_when_it_was_repeated_and_nobody_answered() {
        let mut duty = Duty::new(Stage::Again, at(1), [id(1), id(2)]);
        assert!(!duty.is_unheard(), "it was not repeated");
        duty.rounds = 1;
        assert!(duty.is_unheard());
        duty.settle(&id(3));
        assert!(duty.is_unheard(), "by somebody who was not asked");
        duty.settle(&id(2));
        assert!(!duty.is_unheard());
        duty.settle(&id(1));
        duty.merge(Duty::new(Stage::Ask, at(9), [id(4)]));
        duty.rounds = 1;
        assert!(duty.is_unheard(), "by somebody new");
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
    fn it_is_given_again_ever_more_rarely() {
        let mut duty = Duty::new(Stage::First, at(0), [id(1)]);
        let mut waits = Vec::new();
        for round in 0..7 {
            duty.rounds = round;
            duty.wait(at(0), Some(Duration::from_millis(1)), 50);
            waits.extend(duty.due.map(|due| due.since(at(0)).as_micros()));
        }
        assert_eq!(waits, [22_500, 45_000, 90_000, 180_000, 360_000, 400_000, 400_000]);
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

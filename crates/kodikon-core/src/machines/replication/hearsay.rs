//! Decides what is believed of an author's numbers on others' word.

use crate::ground::bounded::reserve_few;
use crate::ground::id::NodeId;
use crate::machines::replication::intervals::Intervals;
use crate::wire::message::Interval;

/// Others whose word about an author's numbers is kept at once.
const MAX_TELLERS: usize = 4;

/// Intervals kept of one other. Of a node that says more, those of its last word are kept, as many as these, and how far there is nothing
/// left to ask it for.
const MAX_TOLD: usize = 256;

/// What others lately said of an author's numbers; kept until a second says the same.
#[derive(Debug, Default)]
pub(super) struct Hearsay(Vec<Teller>);

/// What a word is worth.
#[derive(Debug)]
pub(super) struct Heard {
    /// What is believed of it.
    pub(super) believed: Vec<Interval>,
    /// Whether there is more now that whoever said it need not be asked for.
    pub(super) is_further: bool,
}

/// What one other said.
#[derive(Debug)]
struct Teller {
    id: NodeId,
    said: Intervals,
    /// Up to here everything is covered or was over by its word, whatever of that word is still kept: one number, however many gaps
    /// there were. Without it each question would begin again where the words that were dropped had been.
    through: u64,
}

impl Hearsay {
    /// Of what a teller says that which is believed: the author's own word, or that of two others, so that no single liar
    /// can make a node blind for what the author says. Where all that is known of the author comes by one node (`is_sole`),
    /// it could keep it back as well. `covered` are the author's numbers that need nobody's word.
    pub(super) fn take(
        &mut self,
        (from, author): (NodeId, NodeId),
        intervals: &[Interval],
        is_sole: bool,
        covered: &Intervals,
    ) -> Heard {
        let is_believed = |told: &&Interval| is_sole || from == author || self.is_confirmed(from, told);
        let (mut believed, rest): (Vec<Interval>, Vec<Interval>) = intervals.iter().partition(|told| is_believed(told));
        // Up to where nothing was left to ask another for, it said of what is not covered that it is over, whether that is kept or not.
        let through = self.0.iter().filter(|held| held.id != from).map(|held| held.through).max().unwrap_or(0);
        if rest.iter().any(|told| told.first <= through) {
            believed.extend(Intervals::from_wire(&rest).up_to(through).without(covered).to_wire());
        }
        let place = self.0.iter().position(|held| held.id == from);
        let mut teller = place.map_or_else(|| Teller::new(from), |place| self.0.remove(place));
        let before = teller.through;
        teller.hear(intervals, covered);
        let is_further = teller.through > before;
        if self.0.len() >= MAX_TELLERS {
            self.0.remove(0);
        }
        reserve_few(&mut self.0);
        self.0.push(teller);
        Heard { believed, is_further }
    }

    /// What there is no use in asking one other for: what is covered, and what it said is over, so far as that is kept.
    pub(super) fn settled(&self, teller: &NodeId, covered: &Intervals) -> Intervals {
        let held = self.0.iter().find(|held| held.id == *teller);
        held.map_or_else(|| covered.clone(), |held| held.settled(covered))
    }

    fn is_confirmed(&self, from: NodeId, told: &Interval) -> bool {
        let told = std::slice::from_ref(told);
        self.0.iter().any(|held| held.id != from && held.said.contains_all(told))
    }
}

impl Teller {
    fn new(id: NodeId) -> Self {
        Self { id, said: Intervals::default(), through: 0 }
    }

    fn hear(&mut self, intervals: &[Interval], covered: &Intervals) {
        let fits = self.keep(intervals);
        self.through = self.reach(covered);
        if !fits {
            self.said = Intervals::default();
            self.keep(intervals);
        }
    }

    /// Whether there is room for all of it.
    fn keep(&mut self, intervals: &[Interval]) -> bool {
        let mut sane = intervals.iter().filter(|interval| interval.first > 0);
        sane.all(|interval| self.said.insert_within(interval.first, interval.last, MAX_TOLD))
    }

    /// Up to where nothing is left to ask for.
    fn reach(&self, covered: &Intervals) -> u64 {
        let mut reach = self.through;
        let beyond = |reach: u64| covered.around(reach + 1).or_else(|| self.said.around(reach + 1));
        while reach < covered.highest() {
            let Some(span) = beyond(reach) else { return reach };
            reach = span.last.min(covered.highest());
        }
        reach
    }

    /// Beyond the highest number that the author was seen to sign a word counts for nothing.
    fn settled(&self, covered: &Intervals) -> Intervals {
        let mut settled = self.said.clone();
        settled.insert_within(1, self.through, usize::MAX);
        covered.with(&settled.up_to(covered.highest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn one(number: u64) -> Interval {
        Interval { first: number, last: number }
    }

    /// Every other number is held, and one other says that the rest is over, some at a time.
    #[test]
    fn however_many_gaps_one_other_told_of_it_is_not_asked_for_them_again() {
        let covered = Intervals::of((1..10_000).filter(|n| n % 2 == 1));
        let mut hearsay = Hearsay::default();
        for part in (2..10_000).step_by(2).collect::<Vec<u64>>().chunks(62) {
            let said: Vec<Interval> = part.iter().copied().map(one).collect();
            let heard = hearsay.take((id(2), id(1)), &said, false, &covered);
            assert!(heard.believed.is_empty() && heard.is_further, "nobody says the same");
            let settled = hearsay.settled(&id(2), &covered);
            let through = part.last().expect("no part is empty") + 1;
            assert_eq!(settled.around(1), Some(Interval { first: 1, last: through.min(covered.highest()) }));
        }
        assert_eq!(hearsay.settled(&id(3), &covered), covered, "another is asked for all of it");
        let heard = hearsay.take((id(3), id(1)), &[one(2), one(3), one(9_998)], false, &covered);
        assert_eq!(
            heard.believed,
            [one(9_998), one(2)],
            "all that the other said is confirmed, and nothing that is held"
        );
        assert!(heard.is_further);
        assert!(!hearsay.take((id(3), id(1)), &[one(2), one(8)], false, &covered).is_further, "8 is behind 4");
    }

    #[test]
    fn what_is_lacked_still_and_what_nobody_signed_is_asked_for() {
        // 301 is lacked, and said by nobody to be over.
        let covered = Intervals::of((1..1_000).filter(|n| n % 2 == 1 && *n != 301));
        let mut hearsay = Hearsay::default();
        for part in (2..2_000).step_by(2).collect::<Vec<u64>>().chunks(62) {
            let said: Vec<Interval> = part.iter().copied().map(one).collect();
            hearsay.take((id(2), id(1)), &said, false, &covered);
        }
        let settled = hearsay.settled(&id(2), &covered);
        assert_eq!(settled.around(1), Some(Interval { first: 1, last: 300 }));
        assert!(!settled.contains(301) && settled.highest() == 999);
    }
}

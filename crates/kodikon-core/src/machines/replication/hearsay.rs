//! Decides what is believed of an author's numbers on others' word.

use crate::ground::bounded::reserve_few;
use crate::ground::id::NodeId;
use crate::machines::replication::intervals::Intervals;
use crate::wire::message::Interval;

/// Others whose word about an author's numbers is kept at once.
const MAX_TELLERS: usize = 4;

/// Intervals kept of one other: a node with more of them is heard again of the last alone.
const MAX_TOLD: usize = 256;

/// What others lately said of an author's numbers; kept until a second says the same.
#[derive(Debug, Default)]
pub(super) struct Hearsay(Vec<(NodeId, Intervals)>);

impl Hearsay {
    /// Of what a teller says that which is believed: the author's own word, or that of two others, so that no single liar
    /// can make a node blind for what the author says. Where all that is known of the author comes by one node (`is_sole`),
    /// it could keep it back as well.
    pub(super) fn take(
        &mut self,
        from: NodeId,
        author: NodeId,
        intervals: &[Interval],
        is_sole: bool,
    ) -> Vec<Interval> {
        let is_believed = |told: &&Interval| is_sole || from == author || self.is_confirmed(from, told);
        let believed = intervals.iter().filter(is_believed).copied().collect();
        let before = self.remove(from);
        self.keep(from, before, intervals);
        believed
    }

    /// What one other said, where that is kept.
    pub(super) fn of(&self, teller: &NodeId) -> Option<&Intervals> {
        self.0.iter().find(|(held, _)| held == teller).map(|(_, said)| said)
    }

    fn remove(&mut self, teller: NodeId) -> Intervals {
        let place = self.0.iter().position(|(held, _)| *held == teller);
        place.map(|place| self.0.remove(place).1).unwrap_or_default()
    }

    fn keep(&mut self, teller: NodeId, before: Intervals, intervals: &[Interval]) {
        if self.0.len() >= MAX_TELLERS {
            self.0.remove(0);
        }
        reserve_few(&mut self.0);
        let mut said = before;
        let fits = intervals
            .iter()
            .filter(|interval| interval.first > 0)
            .all(|interval| said.insert_within(interval.first, interval.last, MAX_TOLD));
        self.0.push((teller, if fits { said } else { Intervals::from_wire(intervals) }));
    }

    fn is_confirmed(&self, from: NodeId, told: &Interval) -> bool {
        let told = std::slice::from_ref(told);
        self.0.iter().any(|(teller, said)| *teller != from && said.contains_all(told))
    }
}

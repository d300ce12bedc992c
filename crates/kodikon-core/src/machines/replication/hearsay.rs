//! Decides what is believed of an author's numbers on others' word.

use crate::ground::bounded::reserve_few;
use crate::ground::id::NodeId;
use crate::machines::replication::intervals::Intervals;
use crate::wire::message::Interval;

/// Others whose word about an author's numbers is kept at once.
const MAX_TELLERS: usize = 4;

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
        self.0.retain(|(teller, _)| *teller != from);
        if self.0.len() >= MAX_TELLERS {
            self.0.remove(0);
        }
        reserve_few(&mut self.0);
        self.0.push((from, Intervals::from_wire(intervals)));
        believed
    }

    fn is_confirmed(&self, from: NodeId, told: &Interval) -> bool {
        let told = std::slice::from_ref(told);
        self.0.iter().any(|(teller, said)| *teller != from && said.contains_all(told))
    }
}

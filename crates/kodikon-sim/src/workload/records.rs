//! Decides which sightings the applications of a run add, update and delete: of a few things often, of many seldom, as people are seen.

use core::time::Duration;

use kodikon_core::effect::Command;
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::random::Random;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{
    Confidence, DTYPE_F16, DTYPE_F32, DeleteOrder, Embedding, NewRecord, RecordOrder, RecordView,
};

use crate::chance::{exponential, pick};
use crate::moment::Moment;
use crate::workload::letters::payload;

/// Those who see things. Each order has a number that no other of the run has; its ticket is the same number.
#[derive(Debug)]
pub struct Records {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
    ordered: u64,
}

/// How long sightings last, in seconds: half of them end soon, so that in calm none is about to.
const TTLS: [u64; 4] = [10, 20, 3_600, 86_400];
/// Things there are.
const THINGS: u64 = 200;
/// Of so many orders one is a delete, and one an update.
const DELETE_ONE_IN: u64 = 8;
const UPDATE_ONE_IN: u64 = 6;

impl Records {
    /// Applications on this many nodes, each of which orders something once in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes, ordered: 0 }
    }

    /// When the next order comes.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Who orders something now.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// What is seen: of two hundred things the n-th as often as 1/n says (Zipf), within a fifth.
    fn thing(&mut self) -> String {
        let mut rank = 1;
        // Half of all that is left to see is the first half: the logarithm of a rank is spread evenly.
        while rank < THINGS && self.random.below(2) == 0 {
            rank *= 2;
        }
        let thing = (rank + self.random.below(rank)).min(THINGS);
        format!("thing {thing}")
    }

    /// What a node orders that shows these.
    pub fn order(&mut self, me: &NodeId, shown: &[RecordView]) -> Command {
        let own: Vec<&RecordView> = shown.iter().filter(|view| view.id.author == *me).collect();
        let updated = pick(&mut self.random, &own).copied().filter(|_| self.random.below(UPDATE_ONE_IN) == 0);
        if let Some(view) = updated {
            let (hash, id, local) = (view.body.hash_value.clone(), view.id, view.local);
            return self.add(&hash, Some(id), local);
        }
        if self.random.below(DELETE_ONE_IN) == 0 {
            self.ordered += 1;
            let (hash_value, all) = (self.thing(), self.random.below(2) == 0);
            return Command::Delete(DeleteOrder { ticket: Ticket(self.ordered), hash_value, all });
        }
        let (thing, local) = (self.thing(), self.random.below(10) == 0);
        self.add(&thing, None, local)
    }

    /// One sighting of many that are loaded at once.
    pub fn load(&mut self) -> Command {
        self.ordered += 1;
        let mut record = NewRecord::new(&format!("loaded {}", self.ordered));
        record.metadata = String::from_utf8(payload(self.ordered, 60)).expect("it is text");
        record.embedding = Some(self.embedding(512, DTYPE_F16));
        Command::Add(RecordOrder { ticket: Ticket(self.ordered), record })
    }

    fn add(&mut self, hash: &str, replaces: Option<OpId>, local: bool) -> Command {
        self.ordered += 1;
        let mut record = NewRecord { replaces, local, ..NewRecord::new(hash) };
        let len = usize::try_from(40 + self.random.below(300)).expect("below a length");
        record.metadata = String::from_utf8(payload(self.ordered, len)).expect("it is text");
        record.ttl = Duration::from_secs(*pick(&mut self.random, &TTLS).expect("there are some"));
        record.confidence = Confidence::new(self.random.below(101) as f64 / 100.0).expect("a share");
        record.embedding = match self.random.below(20) {
            0 => Some(self.embedding(4_096, DTYPE_F32)),
            1..8 => Some(self.embedding(512, DTYPE_F16)),
            _none => None,
        };
        Command::Add(RecordOrder { ticket: Ticket(self.ordered), record })
    }

    fn embedding(&mut self, dims: u16, dtype: u8) -> Embedding {
        let len = usize::from(dims) * if dtype == DTYPE_F32 { 4 } else { 2 };
        let stored = (0..len.div_ceil(32)).flat_map(|_| self.random.bytes::<32>()).take(len).collect();
        Embedding { model: "reid".to_owned(), dims, dtype, stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;
    use std::collections::BTreeMap;

    #[test]
    fn every_sighting_is_one_that_a_node_accepts_and_the_first_things_are_seen_most() {
        let mut records = Records::new(source(1, "records"), 3, None);
        let (mut seen, mut deletes) = (BTreeMap::new(), 0);
        for number in 1..=2_000 {
            let order = records.order(&NodeId([1; 16]), &[]);
            if let Command::Add(RecordOrder { ticket, record }) = order {
                assert_eq!((ticket, record.check()), (Ticket(number), Ok(())));
                *seen.entry(record.hash_value).or_insert(0) += 1;
            } else {
                let Command::Delete(order) = order else { panic!("{order:?}") };
                assert_eq!(order.ticket, Ticket(number));
                deletes += 1;
            }
        }
        assert!((150..350).contains(&deletes), "{deletes}");
        assert!(seen["thing 1"] > 400 && seen.len() > 60, "{} of {}", seen["thing 1"], seen.len());
    }
}

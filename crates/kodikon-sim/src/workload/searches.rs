//! Decides what the applications of a run record and look for by likeness: who, of what, in which space, among what.

use core::time::Duration;
use std::sync::Arc;

use kodikon_core::effect::Command;
use kodikon_core::ground::random::Random;
use kodikon_core::model::entries::space_of;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{
    DTYPE_F16, DTYPE_F32, DTYPE_I8, DeleteOrder, Embedding, Filter, NewRecord, RecordOrder, SpaceKey,
};
use kodikon_core::model::search::{SearchOrder, Target};
use kodikon_scan::{Mode, Query};

use crate::chance::{exponential, pick};
use crate::moment::Moment;

/// Those who record and search. Each order has a number that no other of the run's has; its ticket is the same number.
#[derive(Debug)]
pub struct Searches {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
    /// Whether nothing stays on its node.
    shares_all: bool,
    ordered: u64,
}

/// Tickets of these orders begin here, far above those of others who record.
const TICKETS: u64 = 1 << 40;
/// Things that are seen: few, so that they are seen again, deleted and looked for.
const HASHES: u64 = 60;
/// The models: two of them have as many dimensions, in one of them embeddings are stored in several ways.
const SPACES: [(&str, u16, u8); 5] = [
    ("face", 16, DTYPE_F16),
    ("face", 16, DTYPE_F32),
    ("face", 16, DTYPE_I8),
    ("gait", 16, DTYPE_F16),
    ("bag", 7, DTYPE_F32),
];
/// What things are.
const TYPES: [&str; 3] = ["person", "bag", "car"];
/// How long they last, in seconds: some end while searches go on.
const TTLS: [u64; 3] = [20, 600, 86_400];

impl Searches {
    /// Applications on this many nodes, each of which records or looks for something once in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes, shares_all: false, ordered: TICKETS }
    }

    /// These, of whose sightings none stays on its node where that is so.
    #[must_use]
    pub fn sharing_all(self, shares_all: bool) -> Self {
        Self { shares_all, ..self }
    }

    /// When the next thing is recorded or looked for.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Who does it.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// What it does: mostly it records, now and then it deletes, often it searches.
    pub fn order(&mut self) -> Command {
        self.ordered += 1;
        let ticket = Ticket(self.ordered);
        match self.random.below(10) {
            0 => Command::Delete(DeleteOrder { ticket, hash_value: self.hash(), all: self.random.below(2) == 0 }),
            1..=5 => Command::Add(RecordOrder { ticket, record: self.record() }),
            _ => Command::Search(self.search(ticket)),
        }
    }

    fn hash(&mut self) -> String {
        format!("{:04x}", self.random.below(HASHES))
    }

    fn space(&mut self) -> SpaceKey {
        let (model, dims, dtype) = *pick(&mut self.random, &SPACES).expect("there are some");
        SpaceKey { model: model.to_owned(), dims, dtype }
    }

    /// Few values, so that embeddings are like each other, and some the same.
    fn numbers(&mut self, dims: u16) -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..dims).map(|_| self.random.below(5) as f32 - 2.0).collect();
        // All zeros are no embedding.
        numbers[0] += 0.5;
        numbers
    }

    fn record(&mut self) -> NewRecord {
        let key = self.space();
        let space = space_of(&key).expect("a space of a record");
        let mut stored = Vec::new();
        space.encode(&self.numbers(key.dims), &mut stored).expect("numbers that any space holds");
        let ttl = Duration::from_secs(*pick(&mut self.random, &TTLS).expect("there are some"));
        NewRecord {
            data_type: (*pick(&mut self.random, &TYPES).expect("there are some")).to_owned(),
            ttl,
            metadata: format!("{{\"n\":{},\"gate\":\"g{}\"}}", self.ordered, self.random.below(3)),
            embedding: Some(Embedding { model: key.model, dims: key.dims, dtype: key.dtype, stored }),
            local: self.random.below(10) == 0 && !self.shares_all,
            ..NewRecord::new(&self.hash())
        }
    }

    fn search(&mut self, ticket: Ticket) -> SearchOrder {
        let key = self.space();
        let target = if self.random.below(3) == 0 {
            Target::Like(self.hash())
        } else {
            let query = Query::new(&self.numbers(key.dims)).expect("finite numbers that are not all 0");
            Target::Numbers(Arc::new(query))
        };
        let filter = Filter {
            data_type: (self.random.below(3) == 0).then(|| TYPES[0].to_owned()),
            where_: if self.random.below(4) == 0 { vec![("gate".to_owned(), "g1*".to_owned())] } else { Vec::new() },
            ..Filter::default()
        };
        SearchOrder {
            ticket,
            target,
            model: (self.random.below(4) != 0).then_some(key.model),
            k: usize::try_from(1 + self.random.below(12)).expect("a few"),
            mode: Mode::Exact,
            filter,
            timeout: Duration::from_secs(5),
            alone: self.random.below(8) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;

    #[test]
    fn every_order_is_one_that_a_node_accepts_and_all_kinds_of_them_come() {
        let mut searches = Searches::new(source(1, "searches"), 3, None);
        let mut kinds = [0; 3];
        for number in 1..=1_000 {
            let (kind, ticket) = match searches.order() {
                Command::Add(RecordOrder { ticket, record }) => {
                    assert_eq!(record.check(), Ok(()), "{number}");
                    (0, ticket)
                }
                Command::Delete(order) => (1, order.ticket),
                Command::Search(order) => (2, order.ticket),
                other @ (Command::SetState(..)
                | Command::Send(_)
                | Command::Broadcast(_)
                | Command::Raise(_)
                | Command::Acknowledge(_)
                | Command::Leave) => panic!("an order of the registry, and not {other:?}"),
            };
            kinds[kind] += 1;
            assert_eq!(ticket, Ticket(TICKETS + number));
        }
        assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
    }
}

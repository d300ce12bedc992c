//! Decides what the applications of a run say to all: how much, how often, how urgently.

use core::time::Duration;

use kodikon_core::effect::{BroadcastOrder, Command};
use kodikon_core::ground::config::MAX_PAYLOAD;
use kodikon_core::ground::random::Random;
use kodikon_core::model::letter::{Priority, Ticket};

use crate::chance::{exponential, pick};
use crate::moment::Moment;
use crate::workload::letters::payload;

/// Those who say something to all. Each cast has a number that no other of the run has; its ticket is the same number.
#[derive(Debug)]
pub struct Casts {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
    said: u64,
}

impl Casts {
    /// Applications on this many nodes, each of which says something once in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes, said: 0 }
    }

    /// When the next is said.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Who says something now.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// A cast as chance has it.
    pub fn say(&mut self) -> Command {
        self.said += 1;
        let len = match self.random.below(200) {
            0 => MAX_PAYLOAD,
            1..20 => 3 * 1_024,
            _ => 30 + usize::try_from(self.random.below(900)).expect("below 900"),
        };
        let priority = *pick(&mut self.random, &Priority::ALL).expect("there are four");
        let kind = *pick(&mut self.random, &["", "camera.event"]).expect("there are two");
        let (ticket, payload) = (Ticket(self.said), payload(self.said, len));
        Command::Broadcast(BroadcastOrder { ticket, kind: kind.to_owned(), payload, priority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;
    use crate::workload::letters::number_of;

    #[test]
    fn every_cast_has_a_number_of_its_own_and_is_mostly_short() {
        let mut casts = Casts::new(source(1, "casts"), 3, Some(Duration::from_secs(20)));
        let (mut longest, mut long, mut priorities) = (0, 0, std::collections::BTreeSet::new());
        for number in 1..=2_000 {
            let Command::Broadcast(order) = casts.say() else { panic!("a cast") };
            assert_eq!((order.ticket, number_of(&order.payload)), (Ticket(number), Some(number)));
            assert!(order.payload.len() <= MAX_PAYLOAD, "{number}");
            longest += usize::from(order.payload.len() == MAX_PAYLOAD);
            long += usize::from(order.payload.len() == 3 * 1_024);
            priorities.insert(order.priority);
        }
        assert!((2..40).contains(&longest) && (100..300).contains(&long), "{longest} and {long}");
        assert_eq!(priorities.len(), 4);
    }
}

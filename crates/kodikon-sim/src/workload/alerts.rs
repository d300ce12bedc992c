//! Decides which alerts the applications of a run raise and acknowledge: who, how urgent, how large, for how long.

use core::time::Duration;

use kodikon_core::effect::Command;
use kodikon_core::ground::random::Random;
use kodikon_core::model::alert::{AckOrder, AlertId, AlertOrder, MAX_ALERT};
use kodikon_core::model::letter::{Priority, Ticket};

use crate::chance::{exponential, pick};
use crate::moment::Moment;
use crate::workload::letters::payload;

/// Those who raise alerts. Each alert has a number that no other of the run has; its ticket is the same number.
#[derive(Debug)]
pub struct Alerts {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
    raised: u64,
}

/// How long alerts are active, in seconds: half of them end soon, so that in calm none is about to.
const TTLS: [u64; 4] = [10, 20, 3_600, 86_400];
/// One alert in so many is as long as it may be, one in so many takes a few datagrams.
const LONGEST_ONE_IN: u64 = 20;
const LONG_ONE_IN: u64 = 10;

impl Alerts {
    /// Applications on this many nodes, each of which raises one in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes, raised: 0 }
    }

    /// When the next alert is raised.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Who raises one now, or acknowledges one.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// An alert as chance has it.
    pub fn raise(&mut self) -> Command {
        self.raised += 1;
        let len = match (self.random.below(LONGEST_ONE_IN), self.random.below(LONG_ONE_IN)) {
            (0, _) => MAX_ALERT,
            (_, 0) => 3_000,
            _ => usize::try_from(40 + self.random.below(600)).expect("below a length"),
        };
        let priority = *pick(&mut self.random, &Priority::ALL).expect("there are four");
        let ttl = Duration::from_secs(*pick(&mut self.random, &TTLS).expect("there are some"));
        Command::Raise(AlertOrder { ticket: Ticket(self.raised), payload: payload(self.raised, len), priority, ttl })
    }

    /// Somebody sees one of the alerts that its node shows, if it shows any, now and then.
    pub fn acknowledge(&mut self, shown: &[AlertId]) -> Option<Command> {
        let alert = *pick(&mut self.random, shown).filter(|_| self.random.below(3) == 0)?;
        self.raised += 1;
        let by = format!("guard {}", self.raised % 7);
        Some(Command::Acknowledge(AckOrder { ticket: Ticket(self.raised), alert, by }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;
    use crate::workload::letters::number_of;
    use kodikon_core::model::alert::MAX_TTL;

    #[test]
    fn every_alert_is_one_that_a_node_accepts_and_has_a_number_of_its_own() {
        let mut alerts = Alerts::new(source(1, "alerts"), 3, None);
        let mut longest = 0;
        for number in 1..=1_000 {
            let Command::Raise(order) = alerts.raise() else { panic!("an alert") };
            assert_eq!((order.ticket, number_of(&order.payload)), (Ticket(number), Some(number)));
            assert!(order.payload.len() <= MAX_ALERT && order.ttl <= MAX_TTL, "{number}");
            longest += usize::from(order.payload.len() == MAX_ALERT);
        }
        assert!((20..100).contains(&longest), "{longest}");
    }
}

//! Decides what the applications of a run say to each other: to whom, how much, how urgently.

use core::time::Duration;

use kodikon_core::effect::{Command, SendOrder};
use kodikon_core::ground::config::{MAX_KIND, MAX_PAYLOAD};
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::random::Random;
use kodikon_core::model::letter::{Priority, Ticket};

use crate::chance::{between, exponential, pick};
use crate::moment::Moment;
use crate::scenario::Flow;

/// Those who write letters. Each letter has a number that no other of the run has; its ticket is the same number.
#[derive(Debug)]
pub struct Letters {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
    written: u64,
}

/// A letter of three datagrams, about.
const LONG: usize = 3 * 1_024;
/// What one of the longest may take: a slow way needs seconds for it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Letters {
    /// Applications on this many nodes, each of which writes once in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes, written: 0 }
    }

    /// When the next letter is written.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Who writes now.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// To whom it writes: mostly to one of those who ever lived, now and then to itself or to one who never did.
    pub fn whom(&mut self, own: NodeId, known: &[NodeId]) -> NodeId {
        let choice = self.random.below(40);
        let one = pick(&mut self.random, known).copied();
        match (choice, one) {
            (0, _) => NodeId(self.random.bytes()),
            (1, _) | (_, None) => own,
            (_, Some(one)) => one,
        }
    }

    /// A letter as chance has it.
    pub fn write(&mut self, to: NodeId) -> Command {
        let most = match self.random.below(100) {
            0..2 => MAX_PAYLOAD,
            2..10 => LONG,
            10..30 => 1_000,
            _ => 200,
        };
        let shorter = self.random.place(most);
        let len = if most < LONG { shorter } else { most };
        let priority = *pick(&mut self.random, &Priority::ALL).expect("there are four");
        let own_timeout = between(&mut self.random, Duration::from_secs(1), Duration::from_secs(60));
        let timeout = match self.random.below(10) {
            _ if most == MAX_PAYLOAD => Some(PATIENCE),
            0 => Some(own_timeout),
            _ => None,
        };
        let longest = "k".repeat(MAX_KIND);
        let kind = *pick(&mut self.random, &["", "camera.event", "track", &longest]).expect("there are four");
        self.order(to, (kind, len), priority, timeout)
    }

    /// The next letter of a stream.
    pub fn stream(&mut self, to: NodeId, flow: &Flow) -> Command {
        let priority = Priority::from_name(&flow.priority).unwrap_or_default();
        self.order(to, ("track", flow.bytes), priority, flow.timeout_s.map(Duration::from_secs_f64))
    }

    fn order(
        &mut self,
        to: NodeId,
        (kind, len): (&str, usize),
        priority: Priority,
        timeout: Option<Duration>,
    ) -> Command {
        self.written += 1;
        let (ticket, payload) = (Ticket(self.written), payload(self.written, len));
        Command::Send(SendOrder { ticket, to, kind: kind.to_owned(), payload, priority, timeout })
    }
}

/// The text of a letter: all of it follows from its number and its length, and no two parts of it are alike.
#[must_use]
pub fn payload(number: u64, len: usize) -> Vec<u8> {
    const TAIL: &[u8] = b"\"}";
    let mut text = format!("{{\"n\":{number},\"text\":\"").into_bytes();
    let mut word = number;
    while text.len() + TAIL.len() < len {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        text.push(b'a' + u8::try_from((word >> 33) % 26).expect("below 26"));
    }
    text.extend_from_slice(TAIL);
    text
}

/// The number of a letter, from its text.
#[must_use]
pub fn number_of(payload: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(payload).ok()?;
    let (number, _) = text.strip_prefix("{\"n\":")?.split_once(',')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;

    #[test]
    fn every_letter_is_one_that_a_node_accepts_and_has_a_number_of_its_own() {
        let mut letters = Letters::new(source(1, "letters"), 3, Some(Duration::from_secs(20)));
        let (mut longest, mut long, mut priorities) = (0, 0, std::collections::BTreeSet::new());
        for number in 1..=2_000 {
            let Command::Send(order) = letters.write(NodeId([1; 16])) else { panic!("a letter") };
            assert_eq!((order.ticket, number_of(&order.payload)), (Ticket(number), Some(number)));
            assert!(order.payload.len() <= MAX_PAYLOAD && order.kind.len() <= MAX_KIND, "{number}");
            assert_eq!(order.payload, payload(number, order.payload.len()), "{number}");
            assert!(serde_json::from_slice::<serde_json::Value>(&order.payload).is_ok(), "{number}");
            longest += usize::from(order.payload.len() == MAX_PAYLOAD);
            long += usize::from(order.payload.len() == LONG);
            priorities.insert(order.priority);
        }
        assert!((10..80).contains(&longest) && (80..300).contains(&long), "{longest} and {long}");
        assert_eq!(priorities.len(), 4);
    }

    #[test]
    fn letters_go_to_those_who_live_to_oneself_and_to_nobody() {
        let mut letters = Letters::new(source(1, "letters"), 3, None);
        let (own, known) = (NodeId([1; 16]), [NodeId([2; 16]), NodeId([3; 16])]);
        let to: Vec<NodeId> = (0..1_000).map(|_| letters.whom(own, &known)).collect();
        let count = |id: NodeId| to.iter().filter(|&&to| to == id).count();
        let unknown = to.len() - count(own) - count(known[0]) - count(known[1]);
        assert!(count(known[0]) > 400 && count(known[1]) > 400);
        assert!(count(own) > 5 && unknown > 5, "{} to oneself, {unknown} to nobody", count(own));
    }
}

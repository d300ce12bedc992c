//! Decides when a neighbour is told what was taken of it: a millisecond later, so that several share an answer.

use crate::effect::outbox::{Destination, Outbox};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::machines::messages::links::GOT_AFTER;
use crate::wire::letter::{Got, MAX_RECEIPTS, MAX_TAKEN, Receipt, Tag};
use crate::wire::message::Message;

/// A carrying that was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) number: u64,
    pub(super) receipt: Option<Tag>,
    pub(super) is_urgent: bool,
    /// Whether it had been taken before: then the answer was lost, maybe with the way it went.
    pub(super) is_again: bool,
}

/// An answer that waits for others.
#[derive(Debug)]
struct Waiting {
    at: Instant,
    got: Got,
    /// Whether it goes by every way to the neighbour.
    everywhere: bool,
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// At most one for each peer, which its letters' carryings ask for again if it is dropped.
    waiting: BoundedMap<NodeId, Waiting>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { waiting: BoundedMap::new(MAX_PEERS) }
    }

    /// Something was taken; a full answer leaves at once, and so does one that must not wait, and once more with the second copy of
    /// what it answers or when that should have come: of two answers one arrives, also where only one copy did.
    pub(super) fn add(&mut self, now: Instant, to: NodeId, taken: Taken, out: &mut Outbox) {
        let fresh = || Waiting { at: now + GOT_AFTER, got: Got::default(), everywhere: false };
        let mut waiting = self.waiting.remove(&to).unwrap_or_else(fresh);
        waiting.everywhere |= taken.is_again;
        let has_room = note(&mut waiting.got, taken);
        if taken.is_urgent || !has_room {
            waiting.leave(to, out);
            if taken.is_urgent && !taken.is_again {
                let mut repeated = fresh();
                note(&mut repeated.got, taken);
                drop(self.waiting.insert(to, repeated));
            }
        } else {
            drop(self.waiting.insert(to, waiting));
        }
    }

    /// Sends those that are due.
    pub(super) fn on_wake(&mut self, now: Instant, out: &mut Outbox) {
        while let Some((id, _)) = self.waiting.iter().find(|(_, waiting)| now >= waiting.at) {
            let id = *id;
            self.waiting.remove(&id).into_iter().for_each(|waiting| waiting.leave(id, out));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.at).min()
    }
}

/// Notes what was taken, once; whether there is room for more.
fn note(got: &mut Got, taken: Taken) -> bool {
    match taken.receipt {
        Some(tag) if got.receipts.iter().all(|receipt| receipt.number != taken.number) => {
            got.receipts.push(Receipt { number: taken.number, tag });
        }
        None if !got.taken.contains(&taken.number) => got.taken.push(taken.number),
        Some(_) | None => {}
    }
    got.taken.len() < MAX_TAKEN && got.receipts.len() < MAX_RECEIPTS
}

impl Waiting {
    fn leave(self, to: NodeId, out: &mut Outbox) {
        let to = if self.everywhere { Destination::EveryPath(to) } else { Destination::Peer(to) };
        out.send(to, Message::Got(self.got));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::Duration;

    const PEER: NodeId = NodeId([1; 16]);

    /// The numbers that each answer named until now.
    fn told(out: &mut Outbox) -> Vec<Vec<u64>> {
        core::iter::from_fn(|| out.take_message())
            .map(|(_, message)| if let Message::Got(got) = message { got.taken } else { Vec::new() })
            .collect()
    }

    #[test]
    fn what_is_urgent_is_answered_at_once_and_again_a_millisecond_later() {
        let at = |us| Instant::ZERO + Duration::from_micros(us);
        let (mut answers, mut out) = (Answers::new(), Outbox::default());
        let taken = |number, is_urgent, is_again| Taken { number, receipt: None, is_urgent, is_again };
        answers.add(at(0), PEER, taken(1, false, false), &mut out);
        assert_eq!(told(&mut out), [[0; 0]; 0]);
        answers.add(at(100), PEER, taken(2, true, false), &mut out);
        assert_eq!(told(&mut out), [vec![1, 2]]);
        answers.on_wake(at(1_100), &mut out);
        assert_eq!(told(&mut out), [vec![2]], "its second copy was lost");
        answers.add(at(2_000), PEER, taken(3, true, false), &mut out);
        answers.add(at(3_000), PEER, taken(3, true, true), &mut out);
        assert_eq!(told(&mut out), [vec![3], vec![3]], "with the second copy");
        answers.on_wake(at(9_000), &mut out);
        assert_eq!(told(&mut out), [[0; 0]; 0]);
    }
}

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

    /// Something was taken; a full answer leaves at once, and so does one that must not wait.
    pub(super) fn add(&mut self, now: Instant, to: NodeId, taken: Taken, out: &mut Outbox) {
        let fresh = || Waiting { at: now + GOT_AFTER, got: Got::default(), everywhere: false };
        let mut waiting = self.waiting.remove(&to).unwrap_or_else(fresh);
        waiting.everywhere |= taken.is_again;
        let got = &mut waiting.got;
        match taken.receipt {
            Some(tag) => got.receipts.push(Receipt { number: taken.number, tag }),
            None => got.taken.push(taken.number),
        }
        if taken.is_urgent || got.taken.len() >= MAX_TAKEN || got.receipts.len() >= MAX_RECEIPTS {
            waiting.leave(to, out);
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

impl Waiting {
    fn leave(self, to: NodeId, out: &mut Outbox) {
        let to = if self.everywhere { Destination::EveryPath(to) } else { Destination::Peer(to) };
        out.send(to, Message::Got(self.got));
    }
}

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
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// At most one for each peer, which its letters' carryings ask for again if it is dropped.
    waiting: BoundedMap<NodeId, (Instant, Got)>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { waiting: BoundedMap::new(MAX_PEERS) }
    }

    /// Something was taken; a full answer leaves at once, and so does one that must not wait.
    pub(super) fn add(&mut self, now: Instant, to: NodeId, taken: Taken, out: &mut Outbox) {
        let (at, mut got) = self.waiting.remove(&to).unwrap_or((now + GOT_AFTER, Got::default()));
        match taken.receipt {
            Some(tag) => got.receipts.push(Receipt { number: taken.number, tag }),
            None => got.taken.push(taken.number),
        }
        if taken.is_urgent || got.taken.len() >= MAX_TAKEN || got.receipts.len() >= MAX_RECEIPTS {
            out.send(Destination::Peer(to), Message::Got(got));
        } else {
            drop(self.waiting.insert(to, (at, got)));
        }
    }

    /// One that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(NodeId, Got)> {
        let (id, _) = self.waiting.iter().find(|(_, (at, _))| now >= *at)?;
        let id = *id;
        self.waiting.remove(&id).map(|(_, got)| (id, got))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|(at, _)| *at).min()
    }
}

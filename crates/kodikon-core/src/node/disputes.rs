//! Decides what is done about a far peer that others hold failed while the map still shows a way to it: whoever lists it is asked, and
//! whoever is asked about a node that it does not hear says whom it hears.

use crate::effect::outbox::Destination;
use crate::ground::bounded::TokenBucket;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::model::member::Liveness;
use crate::node::Node;
use crate::wire::message::{Inquiry, Message, Ops};

/// Asked again after this, as long as it is held failed by some and listed by others: a round trip of a link that is full, twice.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Peers asked about at one time: a question that goes along with others takes 21 B.
const MAX_ASKED: usize = 16;
/// Answers a second, and at once: each is a datagram for a question of 55 B. A hundred neighbours may ask about one death.
const ANSWERS_RATE: u32 = 50;
const ANSWERS_BURST: u32 = 100;

/// What is asked and answered about those of whom some say one thing and others another.
#[derive(Debug)]
pub(super) struct Disputes {
    /// When such a peer was asked about last.
    asked: Option<Instant>,
    answers: TokenBucket,
}

impl Default for Disputes {
    fn default() -> Self {
        Self { asked: None, answers: TokenBucket::new(ANSWERS_RATE, ANSWERS_BURST) }
    }
}

impl Node {
    /// Of these far peers, to whom there is a way, asks after those whom somebody holds failed. When to look again, if there are such.
    ///
    /// A list outranks a witness, who may be cut off from what the lister hears. But where more is said than a link carries the lists come
    /// late (swarm-30, seed 66: the lister had called the dead failed 45 s before its neighbours learned that it lists it no more).
    pub(super) fn ask_listers(&mut self, now: Instant, far: &[NodeId]) -> Option<Instant> {
        let is_disputed = |id: &&NodeId| {
            let witnesses = self.ctx.roster.get(id).map(|peer| &peer.witnesses);
            let is_credible =
                |witness: &NodeId| self.ctx.roster.get(witness).is_some_and(|held| held.liveness == Liveness::Alive);
            witnesses.is_some_and(|witnesses| witnesses.keys().any(is_credible))
        };
        let disputed: Vec<NodeId> = far.iter().filter(is_disputed).take(MAX_ASKED).copied().collect();
        if disputed.is_empty() {
            return None;
        }
        let due = self.disputes.asked.map_or(now, |asked| asked + ASK_EVERY);
        if now < due {
            return Some(due);
        }
        self.disputes.asked = Some(now);
        for subject in disputed {
            // The last relay is who lists it, or hears it on a segment whose namer does; the first may know better where that one is far.
            let Some(way) = self.routing.map().way_to(&subject) else { continue };
            let relays = way.path.split_last().map(|(_, relays)| relays).unwrap_or_default();
            let is_near = |id: &&NodeId| self.ctx.roster.is_near(id);
            let Some(whom) = relays.iter().rev().find(is_near).copied() else { continue };
            self.ctx.out.send(Destination::Peer(whom), Message::Inquiry(Inquiry { subject: subject.0 }));
        }
        Some(now + ASK_EVERY)
    }

    /// A peer asks about a node. If that one is not heard here, the peer may show it on our word: it learns what we say by now.
    pub(super) fn tell_links(&mut self, now: Instant, subject: &NodeId, to: NodeId) {
        if self.ctx.roster.is_near(subject) || *subject == self.ctx.me.id {
            return;
        }
        let ops = self.replication.own_words_on(subject, &self.ctx);
        if !ops.is_empty() && self.disputes.answers.take(now, 1) {
            self.ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops, covered: Vec::new() }));
        }
    }
}

#[cfg(test)]
mod tests;

//! Decides what is done about a far peer that others hold failed while the map still shows a way to it: whoever lists it is asked, and
//! whoever is asked about a node that it does not hear says whom it hears.

use crate::effect::outbox::Destination;
use crate::ground::bounded::RecentMap;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::model::member::Liveness;
use crate::node::Node;
use crate::wire::message::{Inquiry, Message, Ops};

/// Asked again after this, as long as it is held failed by some and listed by others: a round trip of a link that is full, twice.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Peers asked about at one time: a question that goes along with others takes 21 B.
const MAX_ASKED: usize = 16;
/// Links are told to a peer that asks once in this time: they are the same whomever it asks about.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Messages of an answer: a list of a hundred members fills one.
const ANSWER: usize = 2;
/// Peers that were answered lately; whoever was longest ago makes room.
const MAX_TOLD: usize = 256;

/// What is asked and answered about those of whom some say one thing and others another.
#[derive(Debug)]
pub(super) struct Disputes {
    /// When such a peer was asked about last.
    asked: Option<Instant>,
    /// When each peer was told of our links.
    told: RecentMap<NodeId, Instant>,
}

impl Default for Disputes {
    fn default() -> Self {
        Self { asked: None, told: RecentMap::new(MAX_TOLD) }
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
        let mut disputed: Vec<NodeId> = far.iter().filter(is_disputed).copied().collect();
        if disputed.is_empty() {
            return None;
        }
        let due = self.disputes.asked.map_or(now, |asked| asked + ASK_EVERY);
        if now < due {
            return Some(due);
        }
        self.disputes.asked = Some(now);
        // Of many others each time: one liar holds whom it likes failed.
        let first = self.ctx.random.place(disputed.len());
        disputed.rotate_left(first);
        for subject in disputed.into_iter().take(MAX_ASKED) {
            // The last relay is who lists it, or hears it on a segment whose namer does; the first may know better where that one is far.
            let Some(way) = self.routing.map().way_to(&subject) else { continue };
            let relays = way.path.split_last().map(|(_, relays)| relays).unwrap_or_default();
            let is_near = |id: &&NodeId| self.ctx.roster.is_near(id);
            let Some(whom) = relays.iter().rev().find(is_near).copied() else { continue };
            self.ctx.out.send(Destination::Peer(whom), Message::Inquiry(Inquiry { subject: subject.0 }));
        }
        Some(now + ASK_EVERY)
    }

    /// A peer asks about a node. If that one is known and not heard here, the peer may show it on our word: it learns what we say by now.
    pub(super) fn tell_links(&mut self, now: Instant, subject: &NodeId, to: NodeId) {
        let is_silent = self.ctx.roster.get(subject).is_some_and(|peer| !peer.is_near());
        let is_told = self.disputes.told.get(&to).is_some_and(|told| now.since(*told) < TELL_EVERY);
        if !is_silent || is_told {
            return;
        }
        self.disputes.told.insert(to, now);
        for ops in self.replication.own_words_on(subject, ANSWER, &self.ctx) {
            self.ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops, covered: Vec::new() }));
        }
    }
}

#[cfg(test)]
mod tests;

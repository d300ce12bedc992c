//! Decides what a goodbye does, and who learns of it that missed it.

use crate::effect::outbox::Destination;
use crate::ground::bounded::RecentMap;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::model::member::Liveness;
use crate::node::Node;
use crate::wire::message::{Bye, Message, bye_bytes};

/// Goodbyes kept, a hundred bytes each; the one heard longest ago makes room. They are asked for within the hard bound, and so many
/// leave at once only when a fleet is switched off.
const MAX_GOODBYES: usize = 256;

/// What those said who left.
#[derive(Debug)]
pub(super) struct Goodbyes(RecentMap<NodeId, Bye>);

impl Default for Goodbyes {
    fn default() -> Self {
        Self(RecentMap::new(MAX_GOODBYES))
    }
}

impl Node {
    /// A peer says goodbye, or passes another's on; the check is charged to it, since a gateway passes on those of a whole segment.
    pub(super) fn on_bye(&mut self, now: Instant, from: NodeId, bye: &Bye) {
        let author = NodeId(bye.author);
        let Some(peer) = self.ctx.roster.get(&author).filter(|peer| peer.epoch() == Epoch(bye.epoch)) else { return };
        if peer.liveness == Liveness::Left {
            return;
        }
        let key = peer.card.public_key;
        if !self.replication.may_check(now, from, &self.ctx) {
            self.ctx.stats.drop(Reject::Budget);
        } else if self.ctx.verify(&key, &bye_bytes(self.ctx.mesh, &bye.author, bye.epoch), &bye.signature) {
            self.pass_bye_on(now, bye);
            self.goodbyes.0.insert(author, bye.clone());
            self.membership.leave(now, author, &mut self.ctx);
        } else {
            self.ctx.stats.drop(Reject::Signature);
        }
    }

    /// A peer asks about somebody, or doubts it. If that one has said goodbye, the peer missed it: it would wait for the hard bound,
    /// since nobody who heard the goodbye witnesses a failure.
    pub(super) fn tell_goodbye(&mut self, subject: &NodeId, to: NodeId) {
        let said = self.goodbyes.0.get(subject);
        let has_left = self.ctx.roster.get(subject).is_some_and(|peer| peer.liveness == Liveness::Left);
        if let Some(bye) = said.filter(|_| has_left) {
            self.ctx.out.send(Destination::Peer(to), Message::Bye(bye.clone()));
        }
    }

    /// The table of this file, with its limit.
    pub(super) fn goodbye_table(&self) -> (&'static str, usize, usize) {
        ("goodbyes", self.goodbyes.0.len(), MAX_GOODBYES)
    }
}

//! Decides whose round trip is measured again though nobody doubts that it lives: what was true at the first meeting need not be now.

use crate::effect::context::Context;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::model::roster::Peer;

/// An observer is asked this often. The question mostly shares a heartbeat's datagram; with the answers to those who ask us it is 0.2 KB a
/// minute (simulated), and more would not fit the 7 KB allowed for an idle node.
const EVERY: Duration = Duration::from_secs(60);
/// A round trip that was measured since needs no question.
const FRESH: Duration = Duration::from_secs(60);

/// Of letters that neighbours take one a second is looked at: a thousand may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the next is measured.
#[derive(Debug)]
pub(super) struct Measuring {
    next: Instant,
    next_look: Instant,
}

impl Measuring {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now + EVERY, next_look: now }
    }

    /// Whom to ask now that this observer is told that we live: it, or, where the mesh is so small that new peers are measured at
    /// once (`is_small`), another of those heard here, to whom a way is used that never was measured. An observer to whom one is used
    /// is asked at each of its turns.
    pub(super) fn whom(
        &mut self,
        now: Instant,
        (turn, observers): (NodeId, &[NodeId]),
        is_small: bool,
        ctx: &Context,
    ) -> Option<NodeId> {
        let observer = ctx.roster.get(&turn).filter(|peer| peer.is_near())?;
        if is_unmeasured(observer) {
            return Some(turn);
        }
        if now < self.next {
            return None;
        }
        let mut others = ctx.roster.near().filter(|(id, peer)| !observers.contains(id) && is_unmeasured(peer));
        let other = if is_small { others.next().map(|(id, _)| *id) } else { None };
        let asked = other.or_else(|| is_old(now, observer).then_some(turn))?;
        self.next = now + EVERY;
        Some(asked)
    }

    /// Whether to ask a neighbour that took a letter.
    pub(super) fn is_due_after_letter(&mut self, now: Instant, id: &NodeId, ctx: &Context) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now + LOOK_EVERY;
        ctx.roster.get(id).is_some_and(|peer| is_old(now, peer))
    }
}

/// Whether the way that is used to a peer was never measured: it has changed lately.
fn is_unmeasured(peer: &Peer) -> bool {
    peer.best_path().is_some_and(|path| path.measured.is_none())
}

/// Whether the way that is used to a peer was not measured lately.
fn is_old(now: Instant, peer: &Peer) -> bool {
    peer.best_path().is_some_and(|path| path.measured.is_none_or(|at| now.since(at) >= FRESH))
}

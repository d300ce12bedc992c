//! Decides which of two nodes with one name keeps it bare: whoever had it first; the other takes `name-2` of its own accord.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::effect::{Claim, Event, Persist};
use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::model::roster::Peer;

/// A node's first claim to a name stands after this: the HELLO burst is over, and every holder had time to object.
const SETTLING: Duration = Duration::from_secs(4);
/// Refused nodes that are told once each; beyond it the counter alone speaks.
const MAX_REFUSED: usize = 64;

/// Ranks of equal names.
#[derive(Debug)]
pub struct Names {
    settles: Option<Instant>,
    refused: BTreeSet<NodeId>,
}

impl Names {
    /// `settled` when the disk remembers the rank of an earlier run.
    #[must_use]
    pub fn new(now: Instant, settled: bool) -> Self {
        Self { settles: (!settled).then(|| now + SETTLING), refused: BTreeSet::new() }
    }

    /// Whether this refusal is worth an event: each node once, the first few only.
    pub fn is_new_refusal(&mut self, id: NodeId) -> bool {
        self.refused.len() < MAX_REFUSED && self.refused.insert(id)
    }

    /// Compares our name with a peer's and makes way where the peer's claim is older.
    pub fn compare(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&id) else { return };
        if !claims_ours(peer, ctx) || !must_yield(&id, peer, ctx) {
            return;
        }
        let taken: BTreeSet<u16> = ctx
            .roster
            .iter()
            .filter(|(_, peer)| peer.card.name == ctx.config.node_name)
            .map(|(_, peer)| peer.card.rank)
            .collect();
        ctx.me.rank = (2..=u16::MAX).find(|rank| !taken.contains(rank)).unwrap_or(u16::MAX);
        ctx.out.event(Event::NameClash { other: id, rank: ctx.me.rank });
        ctx.out.notice(Notice::RenewCard);
        if ctx.me.settled {
            keep_claim(ctx);
        } else {
            // Another may want the same rank at this moment: give it the time to say so.
            self.settles = Some(now + SETTLING);
        }
    }

    /// When our claim stands.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.settles
    }

    /// Our claim stands: say so, and remember it.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if self.settles.is_some_and(|at| now >= at) {
            self.settles = None;
            ctx.me.settled = true;
            keep_claim(ctx);
            ctx.out.notice(Notice::RenewCard);
        }
    }
}

fn keep_claim(ctx: &mut Context) {
    let claim = Claim { id: ctx.me.id, name: ctx.config.node_name.clone(), rank: ctx.me.rank };
    ctx.out.persist(Persist::Rank(claim));
}

fn claims_ours(peer: &Peer, ctx: &Context) -> bool {
    peer.card.name == ctx.config.node_name && peer.card.rank == ctx.me.rank
}

fn must_yield(id: &NodeId, peer: &Peer, ctx: &Context) -> bool {
    match (ctx.me.settled, peer.card.settled) {
        (false, true) => true,
        (true, false) => false,
        // Neither was first as far as anybody can tell: the ids decide, the same way on both sides.
        (true, true) | (false, false) => ctx.me.id > *id,
    }
}

//! Decides when a peer is dead: how many witnesses a verdict needs, and when our own ears overrule them.

use core::time::Duration;
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::id::{Epoch, Life, NodeId};
use crate::ground::time::Instant;
use crate::machines::membership::Membership;
use crate::model::member::{CardAddress, Liveness, REASON_BOUND, REASON_PROCESS, REASON_SILENCE};
use crate::model::op::SignedOp;
use crate::model::roster::Peer;

/// Whoever heard the subject this lately does not believe that it is dead: two turns of a heartbeat.
const OWN_EARS: Duration = Duration::from_secs(2);

/// Opinions of a witness that came, or came back, this lately may be from before: two rounds of heartbeats, in which all
/// that it said has arrived.
const BACK_LATELY: Duration = Duration::from_secs(10);

/// The body of an opinion op; its key is the subject's id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpinionBody {
    /// In which of its runs.
    #[n(0)]
    pub epoch: u64,
    /// In which of its lives.
    #[n(1)]
    pub life: u32,
    /// Whether it failed; `false` withdraws an earlier opinion.
    #[n(2)]
    pub failed: bool,
    /// Why: 0 silence, 1 process ended, 2 the hard bound.
    #[n(3)]
    pub reason: u8,
}

impl OpinionBody {
    /// The reason's number.
    #[must_use]
    pub fn code(reason: &str) -> u8 {
        match reason {
            REASON_PROCESS => 1,
            REASON_BOUND => 2,
            _silence => 0,
        }
    }

    /// The reason in words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.reason {
            1 => REASON_PROCESS,
            2 => REASON_BOUND,
            _silence => REASON_SILENCE,
        }
    }
}

impl Membership {
    /// The body of our opinion that the subject failed; `None` if it is not held.
    #[must_use]
    pub fn opine(&mut self, subject: NodeId, reason: &str, ctx: &Context) -> Option<OpinionBody> {
        let peer = ctx.roster.get(&subject)?;
        if self.opined.len() >= MAX_OPINED {
            self.opined.pop_first();
        }
        self.opined.insert(subject);
        Some(OpinionBody {
            epoch: peer.epoch().0,
            life: peer.life().0,
            failed: true,
            reason: OpinionBody::code(reason),
        })
    }

    /// The subject is back: the body that withdraws our opinion, if we had one.
    #[must_use]
    pub fn withdraw(&mut self, subject: NodeId, ctx: &Context) -> Option<OpinionBody> {
        let peer = ctx.roster.get(&subject)?;
        let had = self.opined.remove(&subject);
        had.then(|| OpinionBody { epoch: peer.epoch().0, life: peer.life().0, failed: false, reason: 0 })
    }

    /// A present peer, or this node, holds the subject failed, or does so no more.
    pub fn on_opinion(&mut self, now: Instant, op: &SignedOp, ctx: &mut Context) {
        let Some((subject, opinion)) = read_opinion(op) else { return };
        let witness = op.author();
        let Some(peer) = ctx.roster.get_mut(&subject) else { return };
        if peer.epoch() != Epoch(opinion.epoch) || peer.life() > Life(opinion.life) {
            return;
        }
        if !opinion.failed {
            peer.witnesses.remove(&witness);
            return;
        }
        if peer.far.is_some() {
            // It lives as long as the map has a way to it; the word counts once there is none.
            peer.witnesses.insert(witness, now);
            ctx.out.notice(Notice::Witnessed);
            return;
        }
        peer.contested = peer.liveness == Liveness::Alive;
        let heard_lately = peer.heard.is_some_and(|heard| now.since(heard) < OWN_EARS);
        let is_end = opinion.reason() == REASON_PROCESS;
        let is_open = peer.liveness == Liveness::Alive && !(is_end && peer.seems_ended());
        // What it said while it was away from us may be true of its own side alone.
        let is_new = ctx.roster.get(&witness).is_some_and(|witness| now.since(witness.since) < BACK_LATELY);
        if is_open && (heard_lately || is_new) {
            self.question(now, subject, (witness, is_end), heard_lately, ctx);
            return;
        }
        let Some(peer) = ctx.roster.get_mut(&subject) else { return };
        peer.witnesses.insert(witness, now);
        self.weigh(now, subject, opinion.reason(), ctx);
    }

    /// Somebody's word that a peer failed is not enough here: the peer is asked.
    fn question(&mut self, now: Instant, subject: NodeId, by: (NodeId, bool), heard_lately: bool, ctx: &mut Context) {
        let (witness, is_end) = by;
        if is_end {
            // A process may well have ended a moment after it was heard, and whoever says so saw it. But two liars can say so
            // too: its port is asked, and their word counts until it is heard again.
            if let Some(peer) = ctx.roster.get_mut(&subject) {
                peer.witnesses.insert(witness, now);
            }
            ctx.out.notice(Notice::Claimed(subject));
        } else if !heard_lately {
            ctx.out.notice(Notice::Doubted(subject));
        }
        if heard_lately {
            // Whoever holds it failed wants more than our word: the subject is asked, and the witness told if it answers. So are we.
            self.introductions.begin_if_none(now, subject, ctx);
            ctx.out.notice(Notice::Disputed(subject, witness));
        }
    }

    /// What others say of the end of its process is what we see too: their word is weighed, without ours, since a forged
    /// "port unreachable" must not make one liar two.
    pub fn on_ended(&mut self, now: Instant, subject: NodeId, ctx: &mut Context) {
        self.weigh(now, subject, REASON_PROCESS, ctx);
    }

    /// Our own verdict.
    pub fn on_verdict(&mut self, now: Instant, subject: NodeId, reason: &'static str, ctx: &mut Context) {
        let me = ctx.me.id;
        let Some(peer) = ctx.roster.get_mut(&subject) else { return };
        peer.witnesses.insert(me, now);
        if reason == REASON_BOUND {
            // The hard bound asks nobody.
            self.fail(now, subject, reason, ctx);
        } else {
            self.weigh(now, subject, reason, ctx);
        }
    }

    /// Calls the peer failed if enough live witnesses say so.
    fn weigh(&mut self, now: Instant, subject: NodeId, reason: &'static str, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&subject) else { return };
        let credible = |id: &NodeId| {
            *id == ctx.me.id || ctx.roster.get(id).is_some_and(|witness| witness.liveness == Liveness::Alive)
        };
        let witnesses: Vec<NodeId> = peer.witnesses.keys().filter(|id| credible(id)).copied().collect();
        let needed = witnesses_needed(&subject, peer, ctx);
        if witnesses.len() < needed {
            return;
        }
        // The end of a process is no matter of cables, where we saw a sign of it ourselves.
        let is_end = reason == REASON_PROCESS;
        let is_enough = is_end && peer.seems_ended();
        // Where nobody but us shares a network with it, one word is enough: ours.
        let is_afar = needed == 1 && peer.liveness == Liveness::Alive && !witnesses.contains(&ctx.me.id);
        let is_free = !is_one_host(&witnesses, ctx) || !has_other_hosts(&subject, peer, ctx);
        if is_enough || (is_free && !is_afar) {
            self.fail(now, subject, reason, ctx);
        } else if peer.liveness == Liveness::Alive {
            ctx.out.notice(if is_end { Notice::Claimed(subject) } else { Notice::Doubted(subject) });
        }
    }

    /// Weighs the suspects again: who might have witnessed too may have failed meanwhile.
    pub(super) fn weigh_suspects(&mut self, now: Instant, ctx: &mut Context) {
        let suspects: Vec<(NodeId, &'static str)> = ctx
            .roster
            .near()
            .filter(|(_, peer)| peer.liveness == Liveness::Suspect && !peer.witnesses.is_empty())
            .map(|(id, peer)| (*id, peer.reason))
            .collect();
        for (id, reason) in suspects {
            self.weigh(now, id, reason, ctx);
        }
    }

    pub(super) fn fail(&mut self, now: Instant, subject: NodeId, reason: &'static str, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&subject) else { return };
        if !peer.liveness.is_present() {
            return;
        }
        let witnesses = peer.witnesses.keys().copied().collect();
        let event = Event::PeerFailed { peer: subject, name: peer.card.shown_name(), witnesses, reason };
        ctx.roster.set_liveness(now, &subject, Liveness::Failed, reason);
        self.note_change(now);
        ctx.out.event(event);
        ctx.out.notice(Notice::Down(subject));
    }
}

/// Opinions of ours that may need to be withdrawn.
const MAX_OPINED: usize = 4_096;

/// Reads an opinion op: about whom, and what.
#[must_use]
pub fn read_opinion(op: &SignedOp) -> Option<(NodeId, OpinionBody)> {
    let (_, key) = op.slot();
    let subject = NodeId(<[u8; 16]>::try_from(key).ok()?);
    Some((subject, minicbor::decode(op.body()).ok()?))
}

/// Two, or fewer where fewer live nodes share a network with the subject; never none.
fn witnesses_needed(subject: &NodeId, peer: &Peer, ctx: &Context) -> usize {
    let others = neighbours(subject, peer, ctx).take(2).count();
    // This node is one of them: it weighs because it heard the subject or its witnesses.
    (others + 1).clamp(1, 2)
}

/// The live nodes, besides this one, that may witness: those that share a network with the subject.
fn neighbours<'a>(subject: &'a NodeId, peer: &'a Peer, ctx: &'a Context) -> impl Iterator<Item = &'a Peer> {
    let shares =
        |addresses: &[CardAddress]| addresses.iter().any(|a| peer.card.addresses.iter().any(|b| a.shares_network(b)));
    // Where the subject lists no address (loopback meshes, a moved host), everybody may witness.
    let anywhere = peer.card.addresses.is_empty();
    let others = ctx.roster.near_alive().filter(move |(id, _)| *id != subject).map(|(_, other)| other);
    others.filter(move |other| anywhere || shares(&other.card.addresses))
}

/// Whether a node on another host than this one may witness.
fn has_other_hosts(subject: &NodeId, peer: &Peer, ctx: &Context) -> bool {
    let ours = own_addresses(ctx);
    neighbours(subject, peer, ctx).any(|other| !shares_address(&ours, &addresses_of(other)))
}

/// Whether all these nodes live on one host: its cable is one, and so is what they see.
fn is_one_host(witnesses: &[NodeId], ctx: &Context) -> bool {
    let of = |id: &NodeId| ctx.roster.get(id).map_or_else(|| own_addresses(ctx), addresses_of);
    let Some((first, others)) = witnesses.split_first() else { return false };
    let first = of(first);
    !others.is_empty() && others.iter().all(|id| shares_address(&first, &of(id)))
}

/// What its card lists and where it was heard: a card may list what it likes.
fn addresses_of(peer: &Peer) -> Vec<IpAddr> {
    let heard = peer.paths.iter().filter(|path| path.heard.is_some()).map(|path| path.address.ip());
    peer.card.addresses.iter().map(|address| address.ip).chain(heard).collect()
}

fn own_addresses(ctx: &Context) -> Vec<IpAddr> {
    ctx.interfaces.iter().flat_map(|interface| &interface.addresses).map(|address| address.address).collect()
}

fn shares_address(some: &[IpAddr], others: &[IpAddr]) -> bool {
    some.iter().any(|address| others.contains(address))
}

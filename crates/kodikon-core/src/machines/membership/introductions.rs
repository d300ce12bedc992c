//! Decides when a node that others vouch for, or that had failed, counts: when it answers a probe of our own, and not by
//! any frame before that.

use core::time::Duration;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::wire::message::{Message, Ping};

/// Nodes vouched for and not yet heard at once; what exceeds it comes back with the next digest.
const MAX_INTRODUCED: usize = 256;
/// Of these so many are for those whom this node knows itself: a liar that vouches for ever more nodes keeps no known one from being asked.
const KNOWN: usize = 64;
/// How long a node that was vouched for may take to answer: seven probes, of which a slow Wi-Fi passes one.
const PATIENCE: Duration = Duration::from_secs(5);
/// When it is probed, after the introduction: at 20 % loss all seven fail once in a thousand times.
const PROBES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(120),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
];

/// Nodes vouched for that have not answered yet.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    waiting: Vec<Introduction>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Introduction {
    peer: NodeId,
    since: Instant,
    probes: usize,
    /// Only whoever hears our probe can return this: recorded frames of the node prove nothing.
    nonce: u64,
}

impl Introduction {
    /// When it is probed next, or given up.
    fn next(&self) -> Instant {
        PROBES.get(self.probes).map_or(self.since + PATIENCE, |&after| self.since + after)
    }

    fn probe(&self, ctx: &mut Context) {
        ctx.out.send(Destination::EveryPath(self.peer), Message::Ping(Ping { nonce: self.nonce }));
    }
}

impl Introductions {
    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_INTRODUCED
    }

    /// Whether no place is left for one that another vouches for.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.len() >= MAX_INTRODUCED - KNOWN
    }

    pub(super) fn begin(&mut self, now: Instant, peer: NodeId, ctx: &mut Context) {
        self.end(&peer);
        let introduction = Introduction { peer, since: now, probes: 1, nonce: ctx.random.bits() };
        introduction.probe(ctx);
        let next = introduction.next();
        self.next = Some(self.next.map_or(next, |at| at.min(next)));
        self.waiting.push(introduction);
    }

    /// The same, for a peer that may be waiting already.
    pub(super) fn begin_if_none(&mut self, now: Instant, peer: NodeId, ctx: &mut Context) {
        if !self.is_full() && self.waiting.iter().all(|introduction| introduction.peer != peer) {
            self.begin(now, peer, ctx);
        }
    }

    /// If a PONG answers our probe: when the first of those was sent that have its nonce.
    pub(super) fn asked_at(&self, peer: &NodeId, nonce: u64) -> Option<Instant> {
        let is_asked = |introduction: &&Introduction| introduction.peer == *peer && introduction.nonce == nonce;
        self.waiting.iter().find(is_asked).map(|introduction| introduction.since)
    }

    /// Probes once more: the node asked who we are, and knows us once it has read our proof.
    pub(super) fn nudge(&self, peer: &NodeId, ctx: &mut Context) {
        if let Some(introduction) = self.waiting.iter().find(|introduction| introduction.peer == *peer) {
            introduction.probe(ctx);
        }
    }

    pub(super) fn end(&mut self, peer: &NodeId) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|introduction| introduction.peer != *peer);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Sends the probes that are due; returns who was given up.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) -> Vec<NodeId> {
        if self.next.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut silent = Vec::new();
        self.waiting.retain_mut(|introduction| {
            if now >= introduction.next() && introduction.probes < PROBES.len() {
                introduction.probes += 1;
                introduction.probe(ctx);
            }
            let waits = now < introduction.since + PATIENCE;
            if !waits {
                silent.push(introduction.peer);
            }
            waits
        });
        self.next = self.waiting.iter().map(Introduction::next).min();
        silent
    }
}

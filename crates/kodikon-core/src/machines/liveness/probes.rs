//! Decides how a doubted peer is asked: seven direct tries over all its addresses, and six by way of others.

use std::net::SocketAddr;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::bounded::{BoundedMap, RecentMap};
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::{ByPeer, Doubt, others};
use crate::wire::message::{Heard, Inquiry, Message, Ping};

/// Trains under way at once: half of the largest mesh may crash together.
pub(super) const MAX_TRAINS: usize = 4_096;
/// Probes whose answer is awaited; the oldest is given up first.
pub(super) const MAX_PENDING: usize = 8_192;
/// Third nodes waiting for what we find out about one subject.
const MAX_CLIENTS: usize = 16;
/// A subject is asked again for the same third node after this.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// An answer that takes longer serves nobody: trains are over by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// When the direct tries of a train leave, after its start: close together first for a lost datagram, then apart for a
/// burst of loss.
const DIRECT_MS: [u64; 7] = [0, 60, 150, 270, 420, 600, 800];
/// When others are asked: twice three, late enough that most doubts are settled.
const RELAYED_MS: [u64; 2] = [480, 680];
/// How many others each time.
const RELAYS: usize = 3;
/// When a train is over.
const VERDICT_MS: u64 = 900;

/// Probes under way.
#[derive(Debug)]
pub(super) struct Probes {
    trains: ByPeer<Train>,
    pending: RecentMap<u64, Asked>,
    clients: BoundedMap<NodeId, Clients>,
}

/// A question whose answer is awaited, by its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    whom: NodeId,
    /// When.
    pub(super) at: Instant,
    /// By which way alone; `None`: by all at once.
    pub(super) by: Option<SocketAddr>,
}

#[derive(Debug)]
struct Clients {
    since: Instant,
    /// When the subject was asked for them last.
    asked: Option<Instant>,
    waiting: Vec<NodeId>,
}

#[derive(Debug)]
struct Train {
    started: Instant,
    doubt: Doubt,
    step: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Direct,
    Relayed,
    Verdict,
}

/// All steps of a train in the order of their times.
const STEPS: [(u64, Step); 10] = [
    (DIRECT_MS[0], Step::Direct),
    (DIRECT_MS[1], Step::Direct),
    (DIRECT_MS[2], Step::Direct),
    (DIRECT_MS[3], Step::Direct),
    (DIRECT_MS[4], Step::Direct),
    (RELAYED_MS[0], Step::Relayed),
    (DIRECT_MS[5], Step::Direct),
    (RELAYED_MS[1], Step::Relayed),
    (DIRECT_MS[6], Step::Direct),
    (VERDICT_MS, Step::Verdict),
];

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            trains: ByPeer::new(MAX_TRAINS),
            pending: RecentMap::new(MAX_PENDING),
            clients: BoundedMap::new(MAX_TRAINS),
        }
    }

    /// Probes whose answer is awaited.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Subjects about which others wait for an answer.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn len(&self) -> usize {
        self.trains.len()
    }

    /// Begins to ask a peer, unless it is being asked.
    pub(super) fn start(&mut self, now: Instant, id: NodeId, doubt: Doubt, ctx: &mut Context) {
        if self.trains.contains_key(&id) {
            return;
        }
        let mut train = Train { started: now, doubt, step: 0 };
        ctx.stats.probes_started += 1;
        self.advance(now, id, &mut train, 0, ctx);
        // A full table means thousands of doubts at once: the next missed turn brings this one back.
        drop(self.trains.insert(id, train));
    }

    /// Ends the doubt about a peer; `true` if there was one. Whoever asked us about it learns.
    pub(super) fn stop(&mut self, id: &NodeId) -> bool {
        self.trains.remove(id).is_some()
    }

    /// Since when a peer is being asked.
    pub(super) fn since(&self, id: &NodeId) -> Option<Instant> {
        self.trains.get(id).map(|train| train.started)
    }

    /// Asks a peer once, without a doubt: it is only quiet.
    pub(super) fn ask(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let by = ctx.roster.get(&id).and_then(|peer| peer.best_path()).map(|path| path.address);
        self.ping(Asked { whom: id, at: now, by }, Destination::Peer(id), ctx);
    }

    /// Asks a peer once on behalf of a third node.
    pub(super) fn ask_for(&mut self, now: Instant, subject: NodeId, client: NodeId, ctx: &mut Context) {
        self.clients.retain(|_, clients| now.since(clients.since) < PATIENCE);
        let nobody = Clients { since: now, asked: None, waiting: Vec::new() };
        let mut clients = self.clients.remove(&subject).unwrap_or(nobody);
        let is_new = clients.waiting.len() < MAX_CLIENTS && !clients.waiting.contains(&client);
        if is_new {
            clients.waiting.push(client);
        }
        // Whoever asks again was not told: the question may have been lost, or its answer.
        let asks = is_new || clients.asked.is_some_and(|asked| now.since(asked) >= ASK_AGAIN);
        if asks {
            clients.asked = Some(now);
        }
        if self.clients.insert(subject, clients).is_ok() && asks {
            self.ask(now, subject, ctx);
        }
    }

    /// Asks a peer once by this way alone.
    pub(super) fn ask_by(
        &mut self,
        now: Instant,
        id: NodeId,
        (by, interface): (SocketAddr, Option<InterfaceIndex>),
        ctx: &mut Context,
    ) {
        self.ping(Asked { whom: id, at: now, by: Some(by) }, Destination::Address(by, interface), ctx);
    }

    /// The question with this nonce to this peer, if it waits for an answer.
    pub(super) fn answered(&mut self, now: Instant, nonce: u64, id: &NodeId) -> Option<Asked> {
        // Another's answer must not use up the question.
        let asked = self.pending.get(&nonce).filter(|asked| asked.whom == *id).copied()?;
        self.pending.remove(&nonce);
        // Questions are kept longer while trains run; what answers one as late as that may have been recorded.
        Some(asked).filter(|asked| now.since(asked.at) < PATIENCE)
    }

    /// A peer was heard: whoever asked us about it is told.
    pub(super) fn tell_clients(&mut self, id: &NodeId, ctx: &mut Context) {
        let Some(clients) = self.clients.remove(id) else { return };
        let Some(peer) = ctx.roster.get(id) else { return };
        let heard = Heard { subject: id.0, epoch: peer.epoch().0, age_ms: 0 };
        for client in clients.waiting {
            ctx.out.send(Destination::Peer(client), Message::Heard(heard.clone()));
        }
    }

    pub(super) fn next_deadline(&self, health: u32) -> Option<Instant> {
        self.trains.values().map(|train| step_at(train, health)).min()
    }

    /// Sends the tries that are due and returns those who answered none. In ill health a train waits longer at its end.
    pub(super) fn on_wake(&mut self, now: Instant, health: u32, ctx: &mut Context) -> Vec<(NodeId, Doubt)> {
        self.expire(now);
        let due: Vec<NodeId> =
            self.trains.iter().filter(|(_, train)| now >= step_at(train, health)).map(|(id, _)| *id).collect();
        let mut unanswered = Vec::new();
        for id in due {
            let Some(mut train) = self.trains.remove(&id) else { continue };
            if self.advance(now, id, &mut train, health, ctx) {
                unanswered.push((id, train.doubt));
            } else {
                drop(self.trains.insert(id, train));
            }
        }
        unanswered
    }

    /// Does the train's due steps; `true` when it is over.
    fn advance(&mut self, now: Instant, id: NodeId, train: &mut Train, health: u32, ctx: &mut Context) -> bool {
        while train.step < STEPS.len() && now >= step_at(train, health) {
            let (_, step) = STEPS[train.step];
            train.step += 1;
            match step {
                Step::Direct => self.ping(Asked { whom: id, at: now, by: None }, Destination::EveryPath(id), ctx),
                Step::Relayed => inquire(id, ctx),
                Step::Verdict => return true,
            }
        }
        false
    }

    fn ping(&mut self, asked: Asked, to: Destination, ctx: &mut Context) {
        let nonce = ctx.random.bits();
        self.pending.insert(nonce, asked);
        ctx.out.send(to, Message::Ping(Ping { nonce }));
    }

    fn expire(&mut self, now: Instant) {
        if !self.trains.is_empty() {
            return;
        }
        while let Some((nonce, _)) = self.pending.oldest().filter(|(_, asked)| now.since(asked.at) >= PATIENCE) {
            self.pending.remove(&nonce);
        }
    }
}

fn step_at(train: &Train, health: u32) -> Instant {
    let (after, step) = STEPS[train.step.min(STEPS.len() - 1)];
    let patience = if step == Step::Verdict { u64::from(health) * 300 } else { 0 };
    train.started + Duration::from_millis(after + patience)
}

/// Asks a few others, drawn anew each time, whether they hear the subject.
fn inquire(subject: NodeId, ctx: &mut Context) {
    for relay in others::draw(&subject, RELAYS, |_| false, ctx) {
        ctx.out.send(Destination::Peer(relay), Message::Inquiry(Inquiry { subject: subject.0 }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_awaited_answer_is_given_up_first() {
        let mut probes = Probes::new();
        let at = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let id = NodeId([1; 16]);
        // The older, the greater the nonce: what a look at the nonces alone would give up last.
        for n in 0..MAX_PENDING as u64 + 3 {
            probes.pending.insert(u64::MAX - n, Asked { whom: id, at: at(n), by: None });
        }
        assert_eq!(probes.pending(), MAX_PENDING);
        assert_eq!(
            probes.answered(at(3), u64::MAX - 3, &NodeId([2; 16])),
            None,
            "another answers, and uses nothing up"
        );
        for (n, expected) in [(0, None), (2, None), (3, Some(at(3))), (8_000, Some(at(8_000)))] {
            let asked = probes.answered(at(n + 1_999), u64::MAX - n, &id);
            assert_eq!(asked.map(|asked| asked.at), expected, "probe {n}");
        }
        assert_eq!(probes.answered(at(7_000 + 2_000), u64::MAX - 7_000, &id), None, "it may have been recorded");
    }
}

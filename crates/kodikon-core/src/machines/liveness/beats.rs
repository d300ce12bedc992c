//! Decides whom a node tells that it lives, one packet a period in turn, and when it expects to hear whom.

use core::cmp::Reverse;

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::config::OBSERVERS;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::{Agenda, ByPeer, beat};

/// How late a promised packet may come: queueing on a busy Wi-Fi, and the sender's timer.
const GRACE: Duration = Duration::from_millis(250);

/// A peer that misses so many turns in a row and lives watches elsewhere: its release was lost, or its word was for another
/// and came here as a copy. Its next heartbeat would renew the promise.
const MAX_MISSED: u32 = 3;

/// Our heartbeats.
#[derive(Debug)]
pub(super) struct Beats {
    observers: Vec<NodeId>,
    turn: usize,
    next: Instant,
}

impl Beats {
    pub(super) fn new(first: Instant) -> Self {
        Self { observers: Vec::new(), turn: 0, next: first }
    }

    pub(super) fn observers(&self) -> &[NodeId] {
        &self.observers
    }

    /// A peer came: it is drawn if fewer than five were there, or if it outweighs one of them. `true` if it changed
    /// who is drawn.
    pub(super) fn on_up(&mut self, now: Instant, id: NodeId, ctx: &mut Context) -> bool {
        let me = ctx.me.id;
        // Observers stand heaviest first, so the last is the one to outweigh.
        let outweighs = self.observers.last().is_none_or(|last| me.rendezvous(&id) > me.rendezvous(last));
        let is_drawn = !self.observers.contains(&id) && (outweighs || self.observers.len() < OBSERVERS as usize);
        if is_drawn {
            self.draw(now, ctx);
        }
        is_drawn
    }

    /// A peer is gone. `true` if it was drawn.
    pub(super) fn on_down(&mut self, now: Instant, id: &NodeId, ctx: &mut Context) -> bool {
        let was_drawn = self.observers.contains(id);
        if was_drawn {
            self.draw(now, ctx);
        }
        was_drawn
    }

    /// Draws the observers anew; those no longer drawn are released.
    fn draw(&mut self, now: Instant, ctx: &mut Context) {
        let drawn = observers_of(&ctx.me.id, ctx);
        for released in self.observers.iter().filter(|id| !drawn.contains(id)) {
            if ctx.roster.get(released).is_some_and(|peer| peer.is_near()) {
                ctx.out.send(Destination::Peer(*released), beat(0, 0));
            }
        }
        if self.observers.is_empty() && !drawn.is_empty() {
            // Nobody expects us yet: the first observer need not wait for a whole period.
            self.next = self.next.min(ctx.next_tick(now, ctx.config.beat_period()));
        }
        self.observers = drawn;
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.next
    }

    /// Takes the turn that is due, and says whose it is.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) -> Option<NodeId> {
        if now < self.next {
            return None;
        }
        let period = ctx.config.beat_period();
        // Fixed steps, unless we slept: then nothing is made up for.
        self.next = if now.since(self.next) < period { self.next + period } else { ctx.next_tick(now, period) };
        if self.observers.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % self.observers.len();
        let observer = self.observers[self.turn];
        let until_next = period * u32::try_from(self.observers.len()).unwrap_or(OBSERVERS);
        ctx.out.notice(Notice::Turn(observer, u32::try_from(until_next.as_millis()).unwrap_or(u32::MAX)));
        Some(observer)
    }
}

/// Who watches a node: of those present, the five with the greatest weight for it. Every node computes the same.
#[must_use]
pub fn observers_of(subject: &NodeId, ctx: &Context) -> Vec<NodeId> {
    let present = ctx.roster.near().map(|(id, _)| *id).chain([ctx.me.id]).filter(|id| id != subject);
    let mut weighed: Vec<(Reverse<u64>, NodeId)> = present.map(|id| (Reverse(subject.rendezvous(&id)), id)).collect();
    let count = weighed.len().min(OBSERVERS as usize);
    if count < weighed.len() {
        weighed.select_nth_unstable(count);
        weighed.truncate(count);
    }
    weighed.sort_unstable();
    weighed.into_iter().map(|(_, id)| id).collect()
}

/// Whom we watch: those who promised us a packet.
#[derive(Debug)]
pub(super) struct Watch {
    promised: ByPeer<Promise>,
    agenda: Agenda,
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    due: Instant,
    period: Duration,
    heard: Instant,
    missed: u32,
}

impl Watch {
    pub(super) fn new(limit: usize) -> Self {
        Self { promised: ByPeer::new(limit), agenda: Agenda::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.promised.len()
    }

    pub(super) fn promise(&mut self, now: Instant, id: NodeId, due_in: Duration) {
        self.remove(&id);
        if due_in.is_zero() {
            return;
        }
        let due = now + due_in;
        if self.promised.insert(id, Promise { due, period: due_in, heard: now, missed: 0 }).is_ok() {
            self.agenda.insert((due + GRACE, id));
        }
    }

    pub(super) fn remove(&mut self, id: &NodeId) {
        if let Some(promise) = self.promised.remove(id) {
            self.agenda.remove(&(promise.due + GRACE, *id));
        }
    }

    /// Any packet near the promised time keeps the promise: it may be the beacon that took the turn.
    pub(super) fn on_heard(&mut self, now: Instant, id: &NodeId) {
        if let Some(promise) = self.promised.get_mut(id) {
            promise.heard = now;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Those whose promise passed with nothing heard around it. Each is expected again a period later, a few times.
    pub(super) fn take_missed(&mut self, now: Instant) -> Vec<NodeId> {
        let mut missed = Vec::new();
        while let Some(&(at, id)) = self.agenda.first().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, id));
            let Some(promise) = self.promised.get_mut(&id) else { continue };
            if promise.heard + GRACE < promise.due {
                missed.push(id);
                promise.missed += 1;
                if promise.missed >= MAX_MISSED {
                    self.promised.remove(&id);
                    continue;
                }
            }
            promise.due = (promise.due + promise.period).max(now);
            self.agenda.insert((promise.due + GRACE, id));
        }
        missed
    }

    /// Expects nobody before this time.
    pub(super) fn postpone(&mut self, until: Instant) {
        let early: Vec<(Instant, NodeId)> = self.agenda.range(..(until, NodeId::default())).copied().collect();
        for (at, id) in early {
            self.agenda.remove(&(at, id));
            if let Some(promise) = self.promised.get_mut(&id) {
                promise.due = until;
                self.agenda.insert((until + GRACE, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([7; 16]);

    #[test]
    fn a_turn_is_missed_when_nothing_was_heard_around_it() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        // (heard at, expected to be missed by 5,251 ms)
        let table =
            [(None, true), (Some(4_000), true), (Some(4_749), true), (Some(4_750), false), (Some(5_240), false)];
        for (heard, expected) in table {
            let mut watch = Watch::new(8);
            watch.promise(at(0), PEER, Duration::from_millis(5_000));
            assert!(watch.take_missed(at(5_249)).is_empty());
            if let Some(heard) = heard {
                watch.on_heard(at(heard), &PEER);
            }
            assert_eq!(!watch.take_missed(at(5_251)).is_empty(), expected, "heard at {heard:?}");
            assert_eq!(watch.next_deadline(), Some(at(10_250)), "the next turn is a period later");
        }
    }

    #[test]
    fn a_peer_that_keeps_no_promise_is_not_asked_for_ever() {
        let mut watch = Watch::new(8);
        watch.promise(Instant::ZERO, PEER, Duration::from_secs(5));
        let missed = (1..20).filter(|n| !watch.take_missed(Instant::ZERO + Duration::from_secs(6 * n)).is_empty());
        assert_eq!(missed.count(), MAX_MISSED as usize);
        assert_eq!((watch.len(), watch.next_deadline()), (0, None));
    }

    #[test]
    fn a_promise_of_zero_releases() {
        let mut watch = Watch::new(8);
        watch.promise(Instant::ZERO, PEER, Duration::from_secs(5));
        watch.promise(Instant::ZERO, PEER, Duration::ZERO);
        assert_eq!((watch.len(), watch.next_deadline()), (0, None));
    }
}

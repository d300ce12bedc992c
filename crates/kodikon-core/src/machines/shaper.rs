//! Decides what leaves for a neighbour at once, what waits and in which order, and what makes room when too much waits.

mod classes;
mod pace;

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Target;
use crate::ground::config::{MAX_PEERS, MAX_PLAIN};
use crate::ground::fair::{Class, FairQueue, Limits, Taken};
use crate::ground::id::NodeId;
use crate::ground::stats::{Crowded, Stats};
use crate::ground::time::{Duration, Instant};
use crate::machines::shaper::pace::Pace;

pub use classes::{Label, label};

/// Datagrams that wait for one neighbour at most, and their bytes (docs/machines/shaper.md).
const OF_ONE: Limits = Limits { items: 256, bytes: 1_024 * 1_024 };
/// Bytes that wait for all neighbours together at most.
const MAX_BYTES: usize = 16 * 1_024 * 1_024;
/// Neighbours whose pace is known: one way to each peer at least.
const MAX_LANES: usize = 2 * MAX_PEERS;
/// A lane that nothing passed for so long is as one that never was: its pace has nothing left to remember.
const IDLE: Duration = Duration::from_secs(10);

/// The text of a datagram that waits, sealed when it leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Messages, one after the other.
    pub text: Vec<u8>,
    /// Carryings among them: to whom, and their numbers.
    pub carried: Vec<(NodeId, u64)>,
    /// Whether there is anything else among them.
    pub has_more: bool,
}

impl Waiting {
    /// Whether all of it was answered meanwhile.
    fn is_spent(&self, awaits: impl Fn(&NodeId, u64) -> bool) -> bool {
        !self.has_more && !self.carried.iter().any(|(to, number)| awaits(to, *number))
    }
}

/// One way to a neighbour.
#[derive(Debug)]
struct Lane {
    pace: Pace,
    /// Of this node and of those whose letters it carries; boxed, since most lanes have none at most times.
    queue: Option<Box<FairQueue<NodeId, Waiting>>>,
}

/// What waits for all neighbours. See the module's first line.
#[derive(Debug, Default)]
pub struct Shaper {
    lanes: BTreeMap<Target, Lane>,
    busy: BTreeSet<Target>,
    bytes: usize,
}

impl Lane {
    fn is_urgent_next(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.is_urgent_next())
    }

    /// Whether the first of what waits may leave.
    fn is_open(&mut self, now: Instant) -> bool {
        let is_urgent = self.is_urgent_next();
        self.pace.is_open(now, is_urgent)
    }
}

impl Shaper {
    /// Whether a message may leave at once: nothing waits before it, and the pace allows it. Then it is charged.
    ///
    /// `joins` says that it shares a datagram that leaves anyway.
    pub fn admits(&mut self, now: Instant, target: Target, (label, bytes): (&Label, usize), joins: bool) -> bool {
        if self.lanes.len() >= MAX_LANES && !self.lanes.contains_key(&target) {
            self.lanes.retain(|_, lane| lane.queue.is_some() || now.since(lane.pace.used()) < IDLE);
            if self.lanes.len() >= MAX_LANES {
                return true;
            }
        }
        let lane = self.lanes.entry(target).or_insert_with(|| Lane { pace: Pace::new(), queue: None });
        let is_free = lane.queue.is_none()
            && (joins && lane.pace.is_unproven() || lane.pace.is_open(now, label.class.is_urgent()));
        if is_free {
            lane.pace.charge(now, bytes, joins, label.carried.is_some());
        }
        is_free
    }

    /// Whether messages to this target are paced: those to whom only answers go, each bounded where it is made, are not.
    #[must_use]
    pub fn knows(&self, target: &Target) -> bool {
        self.lanes.contains_key(target)
    }

    /// Lets a message wait; carryings that made room are handed back.
    pub fn wait(&mut self, target: Target, label: &Label, text: &[u8], stats: &mut Stats) -> Vec<(NodeId, u64)> {
        let Some(lane) = self.lanes.get_mut(&target) else { return Vec::new() };
        let queue = lane.queue.get_or_insert_with(|| Box::new(FairQueue::new(OF_ONE)));
        let before = queue.bytes();
        let joined = queue.lengthen(label.class, label.source, text.len(), |waiting| {
            let fits = waiting.text.len() + text.len() <= MAX_PLAIN;
            if fits {
                waiting.text.extend_from_slice(text);
                waiting.carried.extend(label.carried);
                waiting.has_more |= label.carried.is_none();
            }
            fits
        });
        if !joined {
            let carried = label.carried.into_iter().collect();
            let waiting = Waiting { text: text.to_vec(), carried, has_more: label.carried.is_none() };
            queue.push(label.class, label.source, text.len(), waiting);
        }
        self.busy.insert(target);
        lane.pace.note_short();
        let mut given_up = Vec::new();
        while let Some((class, waiting)) = queue.take_excess() {
            stats.crowd_out(Crowded::Neighbour, class);
            given_up.extend(waiting.carried);
        }
        self.bytes = self.bytes + queue.bytes() - before;
        while self.bytes > MAX_BYTES {
            let Some((class, waiting)) = self.evict_from_fullest() else { break };
            stats.crowd_out(Crowded::Node, class);
            given_up.extend(waiting.carried);
        }
        given_up
    }

    fn evict_from_fullest(&mut self) -> Option<(Class, Waiting)> {
        let bytes = |target: &Target| self.queue_of(target).map_or(0, FairQueue::bytes);
        let fullest = self.busy.iter().copied().max_by_key(|target| bytes(target))?;
        let lane = self.lanes.get_mut(&fullest)?;
        let evicted = lane.queue.as_mut()?.evict();
        self.bytes -= evicted.as_ref().map_or(0, |(_, waiting)| waiting.text.len());
        self.close_if_empty(fullest);
        evicted
    }

    fn queue_of(&self, target: &Target) -> Option<&FairQueue<NodeId, Waiting>> {
        self.lanes.get(target).and_then(|lane| lane.queue.as_deref())
    }

    fn close_if_empty(&mut self, target: Target) {
        if let Some(lane) = self.lanes.get_mut(&target).filter(|lane| lane.queue.as_ref().is_none_or(|q| q.is_empty()))
        {
            lane.queue = None;
            self.busy.remove(&target);
        }
    }

    /// The next datagram that waited and may leave now. One of nothing but carryings that were answered meanwhile, as `awaits` tells,
    /// does not leave: where a queue grows they are said again, and the link would carry each of them twice.
    pub fn release(&mut self, now: Instant, awaits: impl Fn(&NodeId, u64) -> bool) -> Option<(Target, Waiting)> {
        loop {
            let lanes = &mut self.lanes;
            let is_open = |target: &&Target| lanes.get_mut(target).is_some_and(|lane| lane.is_open(now));
            let target = *self.busy.iter().find(is_open)?;
            let lane = self.lanes.get_mut(&target)?;
            let queue = lane.queue.as_mut()?;
            if queue.peek().is_some_and(|waiting| waiting.is_spent(&awaits)) {
                let before = queue.bytes();
                queue.retain(|waiting| !waiting.is_spent(&awaits));
                self.bytes -= before - queue.bytes();
                self.close_if_empty(target);
                continue;
            }
            let waiting = queue.take(|waiting| {
                let (text, carried) = (core::mem::take(&mut waiting.text), core::mem::take(&mut waiting.carried));
                let value = Waiting { text, carried, has_more: waiting.has_more };
                Taken { bytes: value.text.len(), value, is_part: false }
            })?;
            self.bytes -= waiting.text.len();
            lane.pace.charge(now, waiting.text.len(), false, !waiting.carried.is_empty());
            self.close_if_empty(target);
            return Some((target, waiting));
        }
    }

    /// A neighbour took so many bytes a second of late, and so much time is lost in queues on the way to it.
    pub fn on_proof(&mut self, now: Instant, target: Target, rate: u64, queued: Duration) {
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.pace.on_proof(now, rate, queued);
        }
    }

    /// When something that waits may leave.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.busy
            .iter()
            .filter_map(|target| self.lanes.get(target))
            .map(|lane| lane.pace.opens(lane.is_urgent_next()))
            .min()
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let most = |of: fn(&FairQueue<NodeId, Waiting>) -> usize| {
            self.busy.iter().filter_map(|target| self.queue_of(target)).map(of).max().unwrap_or(0)
        };
        [
            ("lanes", self.lanes.len(), MAX_LANES),
            ("datagrams_waiting", most(FairQueue::len), OF_ONE.items),
            ("datagram_bytes_waiting", most(FairQueue::bytes), OF_ONE.bytes),
            ("bytes_waiting", self.bytes, MAX_BYTES),
        ]
    }
}

#[cfg(test)]
mod tests;

//! Decides what becomes, in a run that goes on in the memory of another, of those whom the application holds for present by that one.

use crate::effect::Event;
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::model::member::REASON_BOUND;
use crate::node::Node;

/// Who was present when a run ended, and was not met since.
#[derive(Debug)]
pub(super) struct Missed {
    /// Each by the name that it had then.
    who: BoundedMap<NodeId, String>,
    /// Until when they may be met.
    until: Option<Instant>,
}

impl Default for Missed {
    fn default() -> Self {
        Self { who: BoundedMap::new(MAX_PEERS), until: None }
    }
}

impl Missed {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.until
    }

    /// It is here.
    pub(super) fn forget(&mut self, id: &NodeId) {
        if self.who.remove(id).is_some() && self.who.is_empty() {
            self.until = None;
        }
    }

    /// This node stood for so long, in which it could meet nobody.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.until = self.until.map(|until| until + by);
    }

    /// This node slept, or has other ways from now on: they have as long as they had.
    pub(super) fn put_off(&mut self, now: Instant, bound: Duration) {
        self.until = self.until.map(|_| now + bound);
    }
}

impl Node {
    /// This run ends. Most of those who are present are met in the next within a second, so nothing is told of them yet.
    pub(super) fn miss_all(&mut self, now: Instant) -> Missed {
        let mut missed = std::mem::take(&mut self.missed);
        let present: Vec<(NodeId, String)> =
            self.ctx.roster.present().map(|(id, peer)| (*id, peer.card.shown_name())).collect();
        for (id, name) in present {
            if let Err(full) = missed.who.insert(id, name) {
                self.tell_missed(id, full.0);
            }
        }
        missed.until = (!missed.who.is_empty()).then_some(now + self.ctx.config.heartbeat_timeout);
        missed
    }

    /// Whoever was not met within the hard bound has failed for the application, though this run never knew it.
    pub(super) fn on_missed(&mut self) {
        let mut missed = std::mem::take(&mut self.missed);
        while let Some((id, name)) = missed.who.pop_first() {
            self.tell_missed(id, name);
        }
    }

    fn tell_missed(&mut self, peer: NodeId, name: String) {
        self.ctx.out.event(Event::PeerFailed { peer, name, witnesses: Vec::new(), reason: REASON_BOUND });
    }

    /// The table of this file, with its limit.
    pub(super) fn missed_table(&self) -> (&'static str, usize, usize) {
        ("missed", self.missed.who.len(), MAX_PEERS)
    }
}

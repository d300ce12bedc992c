//! Decides how long a suspect may answer and who is told of the suspicion.

use std::collections::BTreeSet;

use crate::effect::context::Context;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::{ByPeer, observers_of, others};

/// Suspects at once: half of the largest mesh may crash together.
pub(super) const MAX_SUSPICIONS: usize = 4_096;
/// Who is told besides the suspect and its observers: enough that two hear of it through 30 % loss, few enough for a mesh
/// of a thousand.
const VERIFIERS: usize = 12;
/// So many independent confirmations make up for our own ill health.
const CONFIRMATIONS: usize = 2;

/// One suspect.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Since when it is doubted: our own missed turn or the first word of another.
    pub(super) since: Instant,
    /// Whether we noticed by ourselves.
    pub(super) mine: bool,
    deadline: Option<Instant>,
    shortest: Instant,
    confirmed_by: BTreeSet<NodeId>,
}

/// All suspects.
#[derive(Debug)]
pub(super) struct Suspicions {
    table: ByPeer<Suspect>,
}

impl Suspicions {
    pub(super) fn new() -> Self {
        Self { table: ByPeer::new(MAX_SUSPICIONS) }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Suspect> {
        self.table.get(id)
    }

    pub(super) fn remove(&mut self, id: &NodeId) -> Option<Suspect> {
        self.table.remove(id)
    }

    /// Another node suspects this peer: if our own probes agree, its clock began now.
    pub(super) fn note_hearsay(&mut self, now: Instant, id: NodeId, from: NodeId) {
        let suspect =
            Suspect { since: now, mine: false, deadline: None, shortest: now, confirmed_by: BTreeSet::from([from]) };
        // A full table: the suspicion comes back with the next word about it.
        drop(self.table.insert(id, suspect));
    }

    /// The peer answered: what others said of it is over, unless our own probes had agreed with them before.
    pub(super) fn forget_hearsay(&mut self, id: &NodeId) {
        if self.table.get(id).is_some_and(|suspect| suspect.deadline.is_none()) {
            self.table.remove(id);
        }
    }

    /// Counts another's word; `false` if the peer is not doubted here yet.
    pub(super) fn confirm(&mut self, id: &NodeId, from: NodeId) -> bool {
        let Some(suspect) = self.table.get_mut(id) else { return false };
        suspect.confirmed_by.insert(from);
        if suspect.confirmed_by.len() >= CONFIRMATIONS {
            suspect.deadline = suspect.deadline.map(|at| at.min(suspect.shortest));
        }
        true
    }

    /// Our own probes went unanswered. `false` if the peer was suspected already.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        id: NodeId,
        mine: bool,
        patience: Duration,
        shortest: Duration,
    ) -> bool {
        if self.table.get(&id).is_some_and(|suspect| suspect.deadline.is_some()) {
            return false;
        }
        let told = self.table.remove(&id);
        let since = told.as_ref().map_or(now, |suspect| suspect.since);
        let confirmed_by = told.map(|suspect| suspect.confirmed_by).unwrap_or_default();
        let suspect =
            Suspect { since, mine, deadline: Some(since + patience), shortest: since + shortest, confirmed_by };
        self.table.insert(id, suspect).is_ok()
    }

    /// Gives a suspect more time.
    pub(super) fn wait(&mut self, id: &NodeId, until: Instant) {
        if let Some(suspect) = self.table.get_mut(id) {
            suspect.deadline = Some(until);
            suspect.shortest = suspect.shortest.max(until);
        }
    }

    /// Gives every suspect this much more time: we were not there to hear it.
    pub(super) fn postpone(&mut self, by: Duration) {
        for (_, suspect) in self.table.iter_mut() {
            suspect.deadline = suspect.deadline.map(|at| at + by);
            suspect.shortest = suspect.shortest + by;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.table.values().filter_map(|suspect| suspect.deadline).min()
    }

    pub(super) fn due(&self, now: Instant) -> Vec<NodeId> {
        self.table
            .iter()
            .filter(|(_, suspect)| suspect.deadline.is_some_and(|at| now >= at))
            .map(|(id, _)| *id)
            .collect()
    }
}

/// Who is told: the other observers, and from the first to notice also some by chance, who judge from elsewhere.
pub(super) fn audience(subject: &NodeId, first: bool, ctx: &mut Context) -> BTreeSet<NodeId> {
    let mut audience: BTreeSet<NodeId> = observers_of(subject, ctx).into_iter().filter(|id| *id != ctx.me.id).collect();
    if !first {
        return audience;
    }
    let verifiers = others::draw(subject, VERIFIERS, |id| audience.contains(id), ctx);
    audience.extend(verifiers);
    audience
}

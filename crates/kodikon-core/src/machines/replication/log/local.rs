//! Decides what is held of the sightings that stay on this node: on its disk like the log's, in no root, and shown to others in answers to
//! searches alone.

use std::collections::BTreeMap;

use crate::machines::replication::log::lane::Held;
use crate::model::op::OpId;

/// Numbers of this lane begin here. On disk an op is known by its author, run and number, whatever its lane: so no number of the log,
/// which begin at 1, may be one of these. Counted at a million a second they would not meet in a hundred thousand years.
const FIRST: u64 = 1 << 62;

/// What stays here.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Numbers given in this run.
    given: u64,
    /// Each with whether it is on disk.
    held: BTreeMap<OpId, (Held, bool)>,
}

impl Local {
    /// The next number of this run.
    pub(super) fn next(&mut self) -> u64 {
        self.given += 1;
        FIRST + self.given
    }

    /// Whether an op stays here, held or not.
    pub(super) fn is_of(id: &OpId) -> bool {
        id.seq.0 >= FIRST
    }

    pub(super) fn hold(&mut self, id: OpId, held: Held, is_kept: bool) {
        self.held.insert(id, (held, is_kept));
    }

    pub(super) fn release(&mut self, id: &OpId) -> Option<Held> {
        self.held.remove(id).map(|(held, _)| held)
    }

    pub(super) fn get(&self, id: &OpId) -> Option<&Held> {
        self.held.get(id).map(|(held, _)| held)
    }

    pub(super) fn is_kept(&self, id: &OpId) -> bool {
        self.held.get(id).is_some_and(|(_, is_kept)| *is_kept)
    }

    /// It is on disk.
    pub(super) fn note_kept(&mut self, id: &OpId) {
        if let Some((_, is_kept)) = self.held.get_mut(id) {
            *is_kept = true;
        }
    }

    /// What is held, from an op on.
    pub(super) fn from(&self, first: &OpId) -> impl Iterator<Item = &Held> {
        self.held.range(first..).map(|(_, (held, _))| held)
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values().map(|(held, _)| held)
    }

    /// What is held and not on disk.
    pub(super) fn unkept(&self) -> impl Iterator<Item = OpId> {
        self.held.iter().filter(|(_, (_, is_kept))| !is_kept).map(|(id, _)| *id)
    }
}

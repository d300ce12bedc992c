//! Decides what a node may say of its own identity: that its disk was restored from a backup, or that it was copied.

use crate::checks::truth::Person;
use crate::checks::{Check, Watch};
use crate::moment::Moment;

impl Watch {
    pub(super) fn check_backup(&mut self, now: Moment, node: usize) {
        let living = &self.truth.nodes[node];
        let Some(person) = self.truth.person(&living.id) else { return };
        // Whoever began after its disk was copied, or was stopped or cut off since, may not have heard the copy, and finds the copy's
        // run beyond its own when that has another identity.
        let copied = person.copied.is_some_and(|at| at <= living.since.max(living.deaf));
        self.tally.check(now, Check::BackupTrue, person.restored || copied, || {
            format!("node {node} says that its disk was restored from a backup, which it was not")
        });
    }

    pub(super) fn check_copy(&mut self, now: Moment, node: usize, rekeyed: bool) {
        let is_so = |person: &Person| person.copied.is_some() || !rekeyed && person.rolled_back;
        let copied = self.truth.person(&self.truth.nodes[node].id).is_none_or(is_so);
        self.tally.check(now, Check::CopyTrue, copied, || {
            format!("node {node} says that its identity was copied, which it was not")
        });
    }
}

//! Decides what a node finds again after a crash: what was synced of what it asked to be kept, and of the rest as much as chance lets
//! through.

pub mod log;

use kodikon_core::effect::{Claim, Persist, Remembered};
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::random::Random;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::state::NodeSnapshot;
use kodikon_core::node::Saved;

use crate::disk::log::LogDisk;

/// A node's disk. A clone of it is a backup, or a cloned SD card.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The identity's secret.
    pub secret: [u8; 32],
    epoch_counter: u32,
    state: NodeSnapshot,
    claim: Option<Claim>,
    directory: Vec<Remembered>,
    /// Asked for, and not synced.
    waiting: Vec<Persist>,
    /// The log.
    pub log: LogDisk,
}

impl Disk {
    /// A disk fresh from first start.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            epoch_counter: 0,
            state: NodeSnapshot::default(),
            claim: None,
            directory: Vec::new(),
            waiting: Vec::new(),
            log: LogDisk::default(),
        }
    }

    /// Something is to be kept; whether it is the only thing that waits.
    pub fn ask(&mut self, what: Persist) -> bool {
        self.waiting.push(what);
        self.waiting.len() == 1
    }

    /// All that waits is synced, unless the disk fails: then it goes on waiting. Which version of the own state is kept now, if one
    /// waited.
    pub fn sync(&mut self) -> Option<u64> {
        if self.log.fails {
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let is_state = |what: &Persist| matches!(what, Persist::State(_));
        let has_state = waiting.iter().any(is_state);
        waiting.into_iter().for_each(|what| self.keep(what));
        has_state.then_some(self.state.version)
    }

    /// Whether something waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether all that names the run is synced: until then the driver lets nothing out.
    #[must_use]
    pub fn has_run(&self) -> bool {
        !self.waiting.iter().any(|what| matches!(what, Persist::EpochCounter(_) | Persist::Identity(_)))
    }

    /// The process dies, or the power: of what waits the first so many may have reached the disk, each whole, since a file is
    /// replaced by another.
    pub fn cut(&mut self, random: &mut Random) {
        let reached = random.below(self.waiting.len() as u64 + 1);
        self.waiting.truncate(usize::try_from(reached).unwrap_or(0));
        self.sync();
        self.waiting.clear();
    }

    fn keep(&mut self, what: Persist) {
        match what {
            Persist::State(state) => self.state = state,
            Persist::Rank(claim) => self.claim = Some(claim),
            Persist::EpochCounter(least) => self.epoch_counter = self.epoch_counter.max(least),
            Persist::Identity(secret) => self.secret = secret.0,
            Persist::Directory(directory) => self.directory = directory,
        }
    }

    /// The epoch of the next run; its counter is on disk before anyone hears of it.
    pub fn next_epoch(&mut self, random: u32) -> Epoch {
        self.epoch_counter = self.epoch_counter.saturating_add(1);
        Epoch::new(self.epoch_counter, random)
    }

    /// What the next run starts with.
    pub fn begin(&mut self) -> Saved {
        self.waiting.clear();
        let (state, directory) = (self.state.clone(), self.directory.clone());
        // Names do not change here, identities do.
        let id = Identity::from_secret(&self.secret).id();
        let rank = self.claim.as_ref().filter(|claim| claim.id == id).map(|claim| claim.rank);
        Saved { state, unkept_state: None, rank, directory, log: self.log.begin() }
    }

    /// Version of the own state that is kept.
    #[must_use]
    pub fn state_version(&self) -> u64 {
        self.state.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_runs_share_an_epoch_and_a_raised_counter_holds() {
        let mut disk = Disk::new([1; 32]);
        assert_eq!(disk.next_epoch(5), Epoch::new(1, 5));
        disk.ask(Persist::EpochCounter(9));
        disk.ask(Persist::EpochCounter(3));
        assert!(!disk.has_run());
        disk.sync();
        assert!(disk.has_run());
        assert_eq!(disk.next_epoch(5), Epoch::new(10, 5));
    }

    #[test]
    fn after_a_crash_a_disk_holds_what_was_synced_and_the_first_of_the_rest() {
        let state = |version| Persist::State(NodeSnapshot { version, ..NodeSnapshot::default() });
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut disk = Disk::new([1; 32]);
            assert!(disk.ask(state(1)), "nothing waited");
            assert_eq!(disk.sync(), Some(1));
            disk.ask(state(2));
            assert!(!disk.ask(state(3)), "another waits");
            disk.cut(&mut crate::chance::source(seed, "disk"));
            assert!(!disk.is_waiting());
            seen.insert(disk.begin().state.version);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_disk_that_fails_keeps_what_waited_when_it_has_recovered() {
        let mut disk = Disk::new([1; 32]);
        disk.log.fails = true;
        disk.ask(Persist::State(NodeSnapshot { version: 4, ..NodeSnapshot::default() }));
        assert_eq!((disk.sync(), disk.is_waiting(), disk.state_version()), (None, true, 0));
        disk.log.fails = false;
        assert_eq!((disk.sync(), disk.is_waiting(), disk.state_version()), (Some(4), false, 4));
    }
}

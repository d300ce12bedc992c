//! Decides what a node finds again after a crash: what it asked to be kept, and nothing it merely meant to.

pub mod log;

use kodikon_core::effect::{Persist, Remembered};
use kodikon_core::ground::id::Epoch;
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
    rank: Option<u16>,
    directory: Vec<Remembered>,
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
            rank: None,
            directory: Vec::new(),
            log: LogDisk::default(),
        }
    }

    /// Keeps something: here every write is whole and synced, or did not happen.
    pub fn keep(&mut self, what: Persist) {
        match what {
            Persist::State(state) => self.state = state,
            Persist::Rank(rank) => self.rank = Some(rank),
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
        let (state, directory) = (self.state.clone(), self.directory.clone());
        Saved { state, rank: self.rank, directory, log: self.log.begin() }
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
        disk.keep(Persist::EpochCounter(9));
        disk.keep(Persist::EpochCounter(3));
        assert_eq!(disk.next_epoch(5), Epoch::new(10, 5));
    }
}

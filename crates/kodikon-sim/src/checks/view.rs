//! Decides what a node shows of its peers, from what it has told its application: the incremental side of the checks.

use std::collections::BTreeMap;

use kodikon_core::ground::id::{Epoch, NodeId};

use crate::moment::Moment;

/// How a peer was last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There.
    Up,
    /// Silent.
    Suspect,
    /// Dead.
    Failed,
    /// Gone.
    Left,
}

impl Standing {
    /// Whether it is shown as present.
    #[must_use]
    pub fn is_present(self) -> bool {
        match self {
            Self::Up | Self::Suspect => true,
            Self::Failed | Self::Left => false,
        }
    }
}

/// What one process has reported of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How it stands.
    pub standing: Standing,
    /// Its newest run reported.
    pub epoch: Epoch,
    /// Its newest life reported.
    pub life: u32,
    /// When an enemy last played a frame of it that was new to the observer.
    pub echo: Moment,
    version: u64,
    counted: bool,
}

/// What one process has reported of all its peers.
#[derive(Debug, Default)]
pub struct View {
    rows: BTreeMap<NodeId, Row>,
    counted: usize,
}

impl View {
    /// What was reported of a peer.
    #[must_use]
    pub fn row(&self, peer: &NodeId) -> Option<&Row> {
        self.rows.get(peer)
    }

    /// Who is shown as present.
    pub fn present(&self) -> impl Iterator<Item = NodeId> {
        self.rows.iter().filter(|(_, row)| row.standing.is_present()).map(|(peer, _)| *peer)
    }

    /// A peer was reported up; `current` if this is the run it is really in. What was seen of its state stays seen, in its next runs
    /// too, but where it `forgets`: its disk was set back, or it is an enemy.
    pub fn met(&mut self, peer: NodeId, (epoch, life): (Epoch, u32), current: bool, forgets: bool) {
        self.uncount(&peer);
        self.counted += usize::from(current);
        let known = self.rows.get(&peer);
        let same = known.filter(|row| row.epoch == epoch && row.standing.is_present());
        let echo = same.map_or(Moment::START, |row| row.echo);
        let version = known.filter(|_| same.is_some() || !forgets).map_or(0, |row| row.version);
        self.rows.insert(peer, Row { standing: Standing::Up, epoch, life, echo, version, counted: current });
    }

    /// An enemy plays what the peer said and was not heard saying.
    pub fn echoed(&mut self, now: Moment, peer: &NodeId) {
        if let Some(row) = self.rows.get_mut(peer) {
            row.echo = now;
        }
    }

    /// A peer was reported suspect.
    pub fn suspected(&mut self, peer: &NodeId) {
        if let Some(row) = self.rows.get_mut(peer) {
            row.standing = Standing::Suspect;
        }
    }

    /// A peer was reported failed or gone.
    pub fn lost(&mut self, peer: NodeId, standing: Standing) {
        self.uncount(&peer);
        if let Some(row) = self.rows.get_mut(&peer) {
            row.standing = standing;
        }
    }

    /// The newest version of a peer's state reported, in whatever run of it.
    #[must_use]
    pub fn version(&self, peer: &NodeId) -> u64 {
        self.rows.get(peer).map_or(0, |row| row.version)
    }

    /// A version of a peer's state was reported.
    pub fn saw_version(&mut self, peer: NodeId, version: u64) {
        if let Some(row) = self.rows.get_mut(&peer) {
            row.version = version;
        }
    }

    /// Whether a peer counts as shown truly.
    #[must_use]
    pub fn is_counted(&self, peer: &NodeId) -> bool {
        self.rows.get(peer).is_some_and(|row| row.counted)
    }

    /// How many peers are shown truly.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// What is shown of a peer is not true any more; whether it was.
    pub fn uncount(&mut self, peer: &NodeId) -> bool {
        let Some(row) = self.rows.get_mut(peer).filter(|row| row.counted) else { return false };
        row.counted = false;
        self.counted -= 1;
        true
    }

    /// Nothing that is shown counts any more; how much did.
    pub fn uncount_all(&mut self) -> usize {
        self.rows.values_mut().for_each(|row| row.counted = false);
        std::mem::take(&mut self.counted)
    }

    /// What is shown of a peer has become true; whether it has.
    pub fn recount(&mut self, peer: &NodeId, epoch: Epoch) -> bool {
        let fits = |row: &&mut Row| !row.counted && row.standing.is_present() && row.epoch == epoch;
        let Some(row) = self.rows.get_mut(peer).filter(fits) else { return false };
        row.counted = true;
        self.counted += 1;
        true
    }
}

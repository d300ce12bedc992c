//! Decides what is counted of each peer apart: what it did beyond its share, so that people can be told who it is.

use crate::ground::bounded::RecentMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;

/// What one peer can do beyond its share. All of it was refused; nobody else lost anything by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Datagrams of its own.
    Datagrams,
    /// Facts of the live lane that it signed.
    Ops,
    /// Alerts, and acknowledgements of alerts, that it signed.
    Alerts,
    /// Pieces of letters that relays brought in its name.
    Letters,
    /// Casts: those that it gave itself, and those that it signed.
    Casts,
    /// Searches that it put to this node.
    Searches,
    /// Sightings and deletes that it signed, pushed without being asked for.
    Records,
    /// Minutes in which it said of many links what their other ends deny.
    Links,
    /// Facts and casts that it passed on, and sightings in its answers to searches, under a signature that their author did not make: an honest node checks it first.
    Forgeries,
    /// Frames of its session that had come before. Anybody may have recorded them, or a network with a loop have doubled them.
    Replays,
}

impl Excess {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::Datagrams,
        Self::Ops,
        Self::Alerts,
        Self::Letters,
        Self::Casts,
        Self::Searches,
        Self::Records,
        Self::Links,
        Self::Forgeries,
        Self::Replays,
    ];

    /// The name under which the face shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagrams_beyond_rate",
            Self::Ops => "ops_beyond_rate",
            Self::Alerts => "alerts_beyond_rate",
            Self::Letters => "letters_beyond_rate",
            Self::Casts => "broadcasts_beyond_rate",
            Self::Searches => "searches_beyond_rate",
            Self::Records => "sightings_beyond_rate",
            Self::Links => "links_denied",
            Self::Forgeries => "forgeries_passed_on",
            Self::Replays => "datagrams_replayed",
        }
    }
}

/// How often one peer did each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Excesses([u64; Excess::ALL.len()]);

impl Excesses {
    /// How often it did this.
    #[must_use]
    pub fn of(&self, kind: Excess) -> u64 {
        self.0[kind as usize]
    }

    /// Counts once more.
    pub fn note(&mut self, kind: Excess) {
        self.0[kind as usize] += 1;
    }
}

/// What was counted of all who went beyond. Whoever never did has no row; the one that has had its row for longest makes room.
#[derive(Debug)]
pub struct Offenders(RecentMap<NodeId, Excesses>);

impl Default for Offenders {
    fn default() -> Self {
        Self(RecentMap::new(MAX_PEERS))
    }
}

impl Offenders {
    /// Counts what a peer did.
    pub fn note(&mut self, peer: &NodeId, kind: Excess) {
        if let Some(row) = self.0.get_mut(peer) {
            return row.note(kind);
        }
        let mut row = Excesses::default();
        row.note(kind);
        self.0.insert(*peer, row);
    }

    /// What was counted of a peer since this node started.
    #[must_use]
    pub fn of(&self, peer: &NodeId) -> Excesses {
        self.0.get(peer).copied().unwrap_or_default()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody went beyond.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_counter_and_name_and_no_number_of_offenders_more_than_their_rows() {
        let mut offenders = Offenders::default();
        let id = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            NodeId(id)
        };
        for (times, kind) in (1..).zip(Excess::ALL) {
            (0..times).for_each(|_| offenders.note(&id(1), kind));
        }
        let counted = Excess::ALL.map(|kind| offenders.of(&id(1)).of(kind));
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(offenders.of(&id(2)), Excesses::default());
        let names: std::collections::BTreeSet<_> = Excess::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Excess::ALL.len());
        (0..10_000).for_each(|n| offenders.note(&id(n), Excess::Ops));
        assert_eq!(offenders.len(), MAX_PEERS);
    }
}

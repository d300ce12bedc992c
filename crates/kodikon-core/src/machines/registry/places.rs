//! Decides in which orders sightings are found again: by what was seen, by age, and by who makes room first.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ground::id::NodeId;
use crate::machines::registry::{Entry, MAX_AUTHOR_BYTES, MAX_BYTES, MAX_OF_AUTHOR};
use crate::model::op::OpId;
use crate::model::record::{Confidence, MAX_RECORDS};

/// Who makes room first: the least sure, of those the smallest hash of the op's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Confidence, u64);

impl Rank {
    pub(super) fn of(id: &OpId, confidence: Confidence) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 registry rank");
        hasher.update(&id.author.0).update(&id.epoch.0.to_le_bytes()).update(&id.seq.0.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(confidence, u64::from_le_bytes(first))
    }
}

/// Sightings by their places in each order; newest first.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) by_age: BTreeSet<(Reverse<i64>, OpId)>,
    pub(super) by_hash: BTreeSet<(Arc<str>, Reverse<i64>, OpId)>,
    /// Those that all nodes are to have, by who makes room first.
    ranks: BTreeSet<(Rank, OpId)>,
    /// The same of each author.
    of_authors: BTreeSet<(NodeId, Rank, OpId)>,
    authors: BTreeMap<NodeId, (usize, usize)>,
    pub(super) bytes: usize,
    pub(super) local: usize,
    pub(super) local_bytes: usize,
}

impl Places {
    pub(super) fn add(&mut self, id: &OpId, entry: &Entry) {
        self.by_age.insert((Reverse(entry.born_ms), *id));
        self.by_hash.insert((Arc::clone(&entry.hash), Reverse(entry.born_ms), *id));
        let bytes = entry.op.wire_len();
        if entry.is_local() {
            self.local += 1;
            self.local_bytes += bytes;
            return;
        }
        self.ranks.insert((entry.rank, *id));
        self.of_authors.insert((id.author, entry.rank, *id));
        let share = self.authors.entry(id.author).or_default();
        (share.0, share.1) = (share.0 + 1, share.1 + bytes);
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, id: &OpId, entry: &Entry) {
        self.by_age.remove(&(Reverse(entry.born_ms), *id));
        self.by_hash.remove(&(Arc::clone(&entry.hash), Reverse(entry.born_ms), *id));
        let bytes = entry.op.wire_len();
        if entry.is_local() {
            self.local -= 1;
            self.local_bytes -= bytes;
            return;
        }
        self.ranks.remove(&(entry.rank, *id));
        self.of_authors.remove(&(id.author, entry.rank, *id));
        self.bytes -= bytes;
        if let Some(share) = self.authors.get_mut(&id.author) {
            (share.0, share.1) = (share.0 - 1, share.1 - bytes);
            if share.0 == 0 {
                self.authors.remove(&id.author);
            }
        }
    }

    /// Which sighting makes room after one of this author's was added; `None`: there is enough.
    pub(super) fn crowded(&self, author: &NodeId) -> Option<OpId> {
        let (count, bytes) = self.authors.get(author).copied().unwrap_or_default();
        if count > MAX_OF_AUTHOR || bytes > MAX_AUTHOR_BYTES {
            let own = self.of_authors.range((*author, Rank(Confidence::NONE, 0), OpId::FIRST)..);
            return { own }.next().filter(|(other, ..)| other == author).map(|(.., id)| *id);
        }
        let is_crowded = self.ranks.len() > MAX_RECORDS || self.bytes > MAX_BYTES;
        self.ranks.first().filter(|_| is_crowded).map(|(_, id)| *id)
    }

    /// Those of one thing, newest first.
    pub(super) fn of_hash(&self, hash: &str) -> impl Iterator<Item = OpId> {
        let hash: Arc<str> = Arc::from(hash);
        let from = (Arc::clone(&hash), Reverse(i64::MAX), OpId::FIRST);
        self.by_hash.range(from..).take_while(move |(other, ..)| *other == hash).map(|(.., id)| *id)
    }

    /// How many sightings one author has at most, and how many bytes one has.
    pub(super) fn largest(&self) -> (usize, usize) {
        let most = |pick: fn(&(usize, usize)) -> usize| self.authors.values().map(pick).max().unwrap_or(0);
        (most(|share| share.0), most(|share| share.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::{Epoch, MeshId, Seq};
    use crate::ground::time::WallTime;
    use crate::model::identity::Identity;
    use crate::model::op::{OpKind, SignedOp, Statement};
    use crate::model::record::Sighting;

    fn entry(id: OpId, op: &SignedOp) -> Entry {
        let confidence = Confidence::new((id.seq.0 % 101) as f64 / 100.0).unwrap();
        let rank = Rank::of(&id, confidence);
        Entry { op: op.clone(), hash: Arc::from("a"), born_ms: 0, rank, sighting: Sighting(id), digest: 0 }
    }

    /// Takes these in, in their order, and makes room after each.
    fn left_of(ids: impl Iterator<Item = OpId>, op: &SignedOp) -> (BTreeSet<OpId>, usize) {
        let (mut places, mut held) = (Places::default(), BTreeSet::new());
        for id in ids {
            places.add(&id, &entry(id, op));
            held.insert(id);
            while let Some(victim) = places.crowded(&id.author) {
                places.remove(&victim, &entry(victim, op));
                held.remove(&victim);
            }
        }
        (held, places.bytes)
    }

    #[test]
    fn what_stays_is_the_same_in_whatever_order_it_came_and_no_author_has_more_than_its_share() {
        let statement =
            Statement { kind: OpKind::Record, key: Vec::new(), body: vec![0; 40], lamport: 1, wall: WallTime(0) };
        let op = SignedOp::sign(&Identity::from_secret(&[1; 32]), MeshId([1; 16]), Epoch(1), Seq(1), statement);
        let (one, two) = (NodeId([1; 16]), NodeId([2; 16]));
        let of =
            |author, count: usize| (1..=count as u64).map(move |seq| OpId { author, epoch: Epoch(1), seq: Seq(seq) });
        let all: Vec<OpId> = of(one, MAX_OF_AUTHOR + 2_000).chain(of(two, MAX_RECORDS / 4 + 3_000)).collect();
        let (forward, bytes) = left_of(all.iter().copied(), &op);
        let (backward, _) = left_of(all.iter().rev().copied(), &op);
        assert!(forward == backward, "the same {} and {}", forward.len(), backward.len());
        assert_eq!((forward.len(), bytes), (MAX_RECORDS, MAX_RECORDS * op.wire_len()));
        let of_one = forward.iter().filter(|id| id.author == one).count();
        assert!(of_one <= MAX_OF_AUTHOR, "{of_one}");
        let least = forward.iter().map(|id| id.seq.0 % 101).min();
        assert!(least > Some(0), "the least sure went first");
    }
}

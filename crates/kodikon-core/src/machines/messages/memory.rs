//! Decides which letters were here before: none is taken twice, and only what was given can come back.

use crate::ground::bounded::RecentMap;
use crate::ground::id::NodeId;
use crate::ground::recent::RecentTable;
use crate::ground::time::Instant;
use crate::machines::messages::ids::OwnId;
use crate::wire::letter::{Path, Print, Tag};

/// Attempts that passed here or began here; the one noted longest ago makes room.
pub(super) const MAX_PASSAGES: usize = 4_096;
/// Attempts that ended here, the same.
pub(super) const MAX_RECEIVED: usize = 4_096;
/// Carryings of own letters to their destinations that were given up, the same.
pub(super) const MAX_GIVEN_UP: usize = 1_024;
/// Next hops to whom one node gives one attempt at most.
pub(super) const MAX_TRIED: usize = 3;

/// How an attempt passed this node.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    /// From whom it came, in which carrying of that neighbour; `None`: from this node itself.
    pub(super) from: Option<(NodeId, u64)>,
    pub(super) path: Path,
    pub(super) hops: u8,
    pub(super) expires: Instant,
    /// To whom it was given.
    pub(super) tried: Vec<NodeId>,
    /// Who gave it back.
    pub(super) returned: Vec<NodeId>,
}

impl Passage {
    pub(super) fn new(from: Option<(NodeId, u64)>, path: Path, hops: u8, expires: Instant) -> Self {
        Self { from, path, hops, expires, tried: Vec::new(), returned: Vec::new() }
    }
}

/// What was here before.
#[derive(Debug)]
pub(super) struct Memory {
    passages: RecentTable<Print, Passage>,
    /// With the receipt that was given for it.
    received: RecentTable<Print, Option<Tag>>,
    /// By destination and number: what the receipt would be, and for what.
    given_up: RecentMap<(NodeId, u64), (Tag, OwnId)>,
}

impl Memory {
    /// Nothing was here; `secret` makes it useless to choose letters by their prints.
    pub(super) fn new(secret: u64) -> Self {
        Self {
            passages: RecentTable::new(MAX_PASSAGES, secret),
            received: RecentTable::new(MAX_RECEIVED, secret),
            given_up: RecentMap::new(MAX_GIVEN_UP),
        }
    }

    /// Whether this attempt was here before.
    pub(super) fn knows(&self, print: &Print) -> bool {
        self.passages.get(print).is_some() || self.received.get(print).is_some()
    }

    /// The receipt that was given for it.
    pub(super) fn receipt(&self, print: &Print) -> Option<Tag> {
        self.received.get(print).copied().flatten()
    }

    pub(super) fn note_received(&mut self, print: Print, receipt: Option<Tag>) {
        self.received.insert(print, receipt);
    }

    pub(super) fn note(&mut self, print: Print, passage: Passage) {
        self.passages.insert(print, passage);
    }

    pub(super) fn passage(&self, print: &Print) -> Option<&Passage> {
        self.passages.get(print)
    }

    /// It is given to a next hop.
    pub(super) fn note_given(&mut self, print: &Print, hop: NodeId) {
        if let Some(passage) = self.passages.get_mut(print).filter(|passage| !passage.tried.contains(&hop)) {
            passage.tried.push(hop);
        }
    }

    /// Whether it was given to this neighbour, which did not give it back yet.
    pub(super) fn was_given(&self, print: &Print, hop: &NodeId) -> bool {
        let is_out = |passage: &Passage| passage.tried.contains(hop) && !passage.returned.contains(hop);
        self.passages.get(print).is_some_and(is_out)
    }

    /// It came back.
    pub(super) fn give_back(&mut self, print: &Print, hop: &NodeId) -> Option<&Passage> {
        let passage = self.passages.get_mut(print)?;
        passage.returned.push(*hop);
        Some(passage)
    }

    /// The destination did not answer a carrying of an own letter in time: the letter goes another way, and the answer may come yet.
    pub(super) fn note_given_up(&mut self, to: NodeId, number: u64, receipt: Tag, own: OwnId) {
        self.given_up.insert((to, number), (receipt, own));
    }

    /// Which own letter it is that a destination acknowledges after the carrying was given up.
    pub(super) fn late(&mut self, from: NodeId, number: u64, receipt: Tag) -> Option<OwnId> {
        let (expected, own) = self.given_up.remove(&(from, number))?;
        (expected == receipt).then_some(own)
    }

    /// It waits for other ways: all neighbours may be asked again.
    pub(super) fn renew(&mut self, print: &Print) {
        if let Some(passage) = self.passages.get_mut(print) {
            passage.tried.clear();
            passage.returned.clear();
        }
    }

    /// It is given back to whom it came from: if it comes again, it is taken again.
    pub(super) fn forget(&mut self, print: &Print) {
        self.passages.remove(print);
    }

    pub(super) fn len(&self) -> usize {
        self.passages.len()
    }

    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    pub(super) fn given_up(&self) -> usize {
        self.given_up.len()
    }
}

//! Decides which entries may be among the nearest by their bounds, scores these from their stored numbers, and says whether
//! that proves the answer.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::bound::{Angle, Limits, Test};
use crate::kernel::BLOCK;
use crate::search::{Answer, Certificate, Hit, Search, bits};
use crate::source::{EntryId, Source};
use crate::space::Space;

/// Candidates from which on those are dropped that the floor has left below itself.
const PRUNE_FROM: usize = 1_024;

/// Entries of one block, and the sums of products of their codes with the query's words.
pub(super) struct Offer<'a> {
    /// Which of them are offered.
    pub(super) places: u64,
    pub(super) products: &'a [i32; BLOCK],
    pub(super) scales: &'a [f32; BLOCK],
    pub(super) tans: &'a [f32; BLOCK],
    pub(super) ids: &'a [EntryId; BLOCK],
}

/// What one search has found so far.
pub(super) struct Collector<'a> {
    pub(super) search: &'a Search<'a>,
    /// The highest lower bounds.
    floor: Highest,
    test: Test,
    scale: f32,
    candidates: Vec<Candidate>,
    prune_at: usize,
    allowed: usize,
    bounded: usize,
}

struct Candidate {
    id: EntryId,
    limits: Limits,
}

impl<'a> Collector<'a> {
    pub(super) fn new(search: &'a Search<'a>) -> Self {
        Self {
            search,
            floor: Highest::new(search.k),
            test: Test::NONE,
            scale: search.query.scale as f32,
            candidates: Vec::new(),
            prune_at: PRUNE_FROM,
            allowed: 0,
            bounded: 0,
        }
    }

    /// Counts entries that are allowed, whether they are then offered or not.
    pub(super) fn allow(&mut self, count: usize) {
        self.allowed += count;
    }

    /// The lower bound of the k-th so far.
    pub(super) fn floor(&self) -> Option<f64> {
        self.floor.last()
    }

    pub(super) fn offer(&mut self, offer: Offer<'_>) {
        self.bounded += offer.places.count_ones() as usize;
        // Of a few each is asked; of many first whether any of them passes, for which there is no branch.
        if offer.places.count_ones() as usize >= BLOCK / 4 && self.passing(&offer) == 0 {
            return;
        }
        for at in bits(offer.places) {
            if self.passes(&offer, at) {
                self.take(&offer, at);
            }
        }
    }

    /// How many of the whole block pass, places that are not offered included: in most blocks none.
    fn passing(&self, offer: &Offer<'_>) -> u32 {
        (0..BLOCK).map(|at| u32::from(self.passes(offer, at))).sum()
    }

    fn passes(&self, offer: &Offer<'_>, at: usize) -> bool {
        offer.products[at] as f32 * self.scale * offer.scales[at] >= self.test.cos - self.test.sin * offer.tans[at]
    }

    fn take(&mut self, offer: &Offer<'_>, at: usize) {
        let query = self.search.query;
        let entry = Angle::from_tan(f64::from(offer.tans[at]));
        let x = f64::from(offer.products[at]) * query.scale * f64::from(offer.scales[at]) * entry.cos;
        let limits = Limits::around(x, entry.plus(query.off));
        if self.floor.last().is_some_and(|floor| limits.upper < floor) {
            return;
        }
        self.candidates.push(Candidate { id: offer.ids[at], limits });
        if self.floor.push(limits.lower)
            && let Some(floor) = self.floor.last()
        {
            self.test = Test::reaching(floor, query.off);
        }
        if self.candidates.len() >= self.prune_at {
            self.prune();
            self.prune_at = PRUNE_FROM.max(2 * self.candidates.len());
        }
    }

    fn prune(&mut self) {
        if let Some(floor) = self.floor.last() {
            self.candidates.retain(|candidate| candidate.limits.upper >= floor);
        }
    }

    /// Scores the candidates, the most promising first, until none of the rest can be among the nearest.
    pub(super) fn finish(mut self, space: Space, source: &dyn Source) -> Answer {
        self.prune();
        self.candidates.sort_unstable_by(|a, b| b.limits.upper.total_cmp(&a.limits.upper).then(a.id.cmp(&b.id)));
        let mut scores = Highest::new(self.search.k);
        let mut hits = Vec::new();
        let mut stored = Vec::with_capacity(space.stored_len());
        let (mut missing, mut broken, mut rest) = (0, 0, None);
        for Candidate { id, limits } in &self.candidates {
            if scores.last().is_some_and(|last| limits.upper < last) {
                rest = Some(limits.upper);
                break;
            }
            stored.clear();
            let score =
                if source.fetch(*id, &mut stored) { space.score(self.search.query, &stored).ok() } else { None };
            let Some(score) = score else {
                missing += 1;
                continue;
            };
            broken += usize::from(!limits.contain(score));
            scores.push(score);
            hits.push(Hit { id: *id, score });
        }
        let scored = hits.len();
        let nearer = |a: &Hit, b: &Hit| b.score.total_cmp(&a.score).then_with(|| source.compare(a.id, b.id));
        hits.sort_unstable_by(nearer);
        hits.truncate(self.search.k);
        let (allowed, bounded) = (self.allowed, self.bounded);
        let holds = bounded == allowed && missing == 0 && broken == 0;
        let (candidates, floor) = (self.candidates.len(), self.floor.last());
        Answer {
            hits,
            certificate: Certificate { allowed, bounded, candidates, scored, missing, broken, floor, rest, holds },
        }
    }
}

/// The so many highest of what it is given.
struct Highest {
    count: usize,
    heap: BinaryHeap<Reverse<Ordered>>,
}

impl Highest {
    fn new(count: usize) -> Self {
        Self { count, heap: BinaryHeap::with_capacity(count) }
    }

    /// Whether it is among them.
    fn push(&mut self, value: f64) -> bool {
        if self.heap.len() < self.count {
            self.heap.push(Reverse(Ordered(value)));
            return true;
        }
        let Some(mut least) = self.heap.peek_mut() else { return false };
        let is_higher = Ordered(value) > least.0;
        if is_higher {
            *least = Reverse(Ordered(value));
        }
        is_higher
    }

    /// The last of them, once there are so many.
    fn last(&self) -> Option<f64> {
        if self.heap.len() < self.count { None } else { self.heap.peek().map(|least| least.0.0) }
    }
}

struct Ordered(f64);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}

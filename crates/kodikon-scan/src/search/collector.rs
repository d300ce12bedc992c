//! Decides which entries may be among the nearest by their bounds, scores these from their stored numbers, and says whether
//! that proves the answer.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::slice::from_ref;

use crate::arena::Body;
use crate::bound::{Angle, Estimates, Limits, Test};
use crate::kernel::{BLOCK, Line, fetch};
use crate::search::{Answer, Certificate, Hit, Search, bits};
use crate::source::{EntryId, Source};
use crate::space::Space;

/// Candidates from which on those are dropped that the floor has left below itself.
const PRUNE_FROM: usize = 1_024;

/// Where coarse numbers do not rule out half of a block, so many blocks are not asked: their codes are looked at in a row.
const UNASKED: u32 = 3;

/// Some entries of a block.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) body: &'a Body,
    pub(super) block: usize,
    pub(super) places: u64,
}

impl Part<'_> {
    /// Fetches the coarse halves of codes: those of a whole block come with the ones before them.
    pub(super) fn fetch_coarse(self) {
        let coarse = self.body.codes(self.block).coarse;
        bits(self.places).for_each(|at| fetch(row(coarse, at)));
    }

    /// Fetches what is wanted besides them when the entries are offered.
    pub(super) fn fetch_fine(self) {
        let fine = self.body.codes(self.block).fine;
        for at in bits(self.places) {
            fetch(row(fine, at));
            fetch(from_ref(&self.body.scales[self.block * BLOCK + at]));
            fetch(from_ref(&self.body.tans[self.block * BLOCK + at]));
        }
    }
}

/// The lines of one entry of a block.
fn row(lines: &[Line], at: usize) -> &[Line] {
    let each = lines.len() / BLOCK;
    &lines[at * each..][..each]
}

/// What one search has found so far.
pub(super) struct Collector<'a> {
    pub(super) search: &'a Search<'a>,
    /// The highest lower bounds.
    floor: Highest,
    test: Test,
    /// What the coarse numbers of an entry must reach for its codes to be looked at.
    coarse_test: Option<Test>,
    /// Blocks that are yet to be looked at without asking.
    unasked: u32,
    /// Entries that are to be offered next: their codes are on the way.
    pub(super) waiting: Option<Part<'a>>,
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
            coarse_test: None,
            unasked: 0,
            waiting: None,
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

    /// Counts entries that are bounded, by their coarse numbers or by their codes.
    pub(super) fn bound(&mut self, places: u64) {
        self.bounded += places.count_ones() as usize;
    }

    /// What coarse numbers must reach for the codes to be looked at; `None` where all are.
    pub(super) fn coarse_test(&mut self) -> Option<Test> {
        if self.unasked == 0 {
            return self.coarse_test;
        }
        self.unasked -= 1;
        None
    }

    /// How many of a block's coarse numbers reached what was asked for decides whether the next ones are asked.
    pub(super) fn learn(&mut self, shown: u64, reaching: u64) {
        if 2 * reaching.count_ones() > shown.count_ones() {
            self.unasked = UNASKED;
        }
    }

    /// Whether nobody can be ruled out yet: then what comes next is better known when all that is shown has been offered.
    pub(super) fn is_open(&self) -> bool {
        self.coarse_test.is_none()
    }

    /// Takes entries of a block whose codes say that they may be among the nearest.
    pub(super) fn offer(&mut self, places: u64, estimates: Estimates<'_>, ids: &[EntryId; BLOCK]) {
        for at in bits(places) {
            if estimates.reach(at, self.test) {
                self.take(estimates, at, ids[at]);
            }
        }
    }

    fn take(&mut self, estimates: Estimates<'_>, at: usize, id: EntryId) {
        let query = self.search.query;
        let Estimates { products, scales, tans, .. } = estimates;
        let entry = Angle::from_tan(f64::from(tans[at]));
        let x = f64::from(products[at]) * query.scale * f64::from(scales[at]) * entry.cos;
        let limits = Limits::around(x, entry.plus(query.off));
        if self.floor.last().is_some_and(|floor| limits.upper < floor) {
            return;
        }
        self.candidates.push(Candidate { id, limits });
        if self.floor.push(limits.lower)
            && let Some(floor) = self.floor.last()
        {
            self.test = Test::reaching(floor, query.off);
            self.coarse_test = Some(Test::reaching(floor, query.coarse_off)).filter(|test| test.rules_out());
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

//! Decides which entries are nearest to a query, and whether that is certain.

mod collector;
mod fast;

use std::fmt;
use std::slice::from_ref;

use crate::arena::Snapshot;
use crate::bound::{Estimates, Test};
use crate::kernel::{Ahead, BLOCK, fetch};
use crate::query::Query;
use crate::source::{EntryId, Source};
use collector::{Collector, Part};
use fast::Cascade;

/// Nearest entries that one search can ask for.
pub const MAX_K: usize = 1_000;

/// Lines that are fetched ahead of the one in use: a page, where the processor's own foresight ends. A block has as many or more.
const AHEAD: usize = 64;

/// How sure the answer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every entry's score is bounded, and what may be among the nearest is looked at: the answer is certified.
    Exact,
    /// Entries whose signs differ too much are passed over: one as near as the k-th is missed with a chance of one in a
    /// hundred, a nearer one with less, and the answer is not certified unless nothing was passed over.
    Fast,
}

/// One question to a snapshot.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// To what the nearest are sought.
    pub query: &'a Query,
    /// How many are wanted, 1 to [`MAX_K`].
    pub k: usize,
    /// How sure the answer is to be.
    pub mode: Mode,
    /// Which entries may be in the answer; all where it is `None`. Asked for every entry, before anything else is.
    pub allow: Option<&'a (dyn Fn(EntryId) -> bool + Sync)>,
}

impl<'a> Search<'a> {
    /// The `k` nearest of all, certified.
    pub fn exact(query: &'a Query, k: usize) -> Self {
        Self { query, k, mode: Mode::Exact, allow: None }
    }

    /// The `k` nearest of all, fast.
    pub fn fast(query: &'a Query, k: usize) -> Self {
        Self { query, k, mode: Mode::Fast, allow: None }
    }

    /// The same among those alone that `allow` allows.
    #[must_use]
    pub fn among(self, allow: &'a (dyn Fn(EntryId) -> bool + Sync)) -> Self {
        Self { allow: Some(allow), ..self }
    }

    /// Of the places that hold an entry those that are allowed.
    fn allowed(&self, live: u64, ids: &[EntryId]) -> u64 {
        let Some(allow) = self.allow else { return live };
        bits(live).filter(|at| allow(ids[*at])).fold(0, |mask, at| mask | 1 << at)
    }
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (k, mode, filtered) = (self.k, self.mode, self.allow.is_some());
        f.debug_struct("Search")
            .field("k", &k)
            .field("mode", &mode)
            .field("filtered", &filtered)
            .finish_non_exhaustive()
    }
}

/// Why nothing was searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A query of other dimensions than the entries.
    #[error("the query has {given} dimensions: the entries have {expected}")]
    Dims {
        /// Those of the query.
        given: usize,
        /// Those of the space.
        expected: usize,
    },
    /// None or too many are wanted.
    #[error("{given} nearest: 1 to {MAX_K} can be asked for")]
    K {
        /// How many were asked for.
        given: usize,
    },
}

/// An entry and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The entry.
    pub id: EntryId,
    /// Its cosine with the query, see [`Space::score`](crate::Space::score).
    pub score: f64,
}

/// What the answer rests on. Counts are of entries.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Certificate {
    /// Allowed ones in the snapshot.
    pub allowed: usize,
    /// Of these, those whose score was bounded; the rest was passed over.
    pub bounded: usize,
    /// Of these, those that could have been among the nearest after all had been bounded.
    pub candidates: usize,
    /// Of these, those whose score was computed from the stored numbers, the most promising first.
    pub scored: usize,
    /// Candidates whose stored numbers were not to be had, or were no embedding.
    pub missing: usize,
    /// Scores that lay outside their bounds: the memory or the file is not what it was.
    pub broken: usize,
    /// So many as are wanted score at least this, by their bounds alone: who is bounded below it was ruled out. `None` where
    /// fewer than wanted are allowed.
    pub floor: Option<f64>,
    /// The highest upper bound of a candidate that was not scored: below the last score of the answer.
    pub rest: Option<f64>,
    /// Whether the answer is what a scan of all allowed entries' stored numbers gives, with ties in the order of the source.
    pub holds: bool,
}

/// The nearest, the nearest first, and what that rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// As many as were wanted, or all that are allowed.
    pub hits: Vec<Hit>,
    /// What the answer rests on.
    pub certificate: Certificate,
}

impl Snapshot {
    /// Answers several searches in one pass over the entries, each as if it were alone.
    ///
    /// # Errors
    /// [`SearchError`] if any of them cannot be answered; none is then.
    pub fn search(&self, searches: &[Search<'_>], source: &dyn Source) -> Result<Vec<Answer>, SearchError> {
        for search in searches {
            let (given, expected) = (search.query.numbers().len(), self.space.dims());
            if given != expected {
                return Err(SearchError::Dims { given, expected });
            }
            if !(1..=MAX_K).contains(&search.k) {
                return Err(SearchError::K { given: search.k });
            }
        }
        let mut collectors: Vec<Collector<'_>> = searches.iter().map(Collector::new).collect();
        let (mut full, mut cascades) = (Vec::new(), Vec::new());
        for collector in &mut collectors {
            match collector.search.mode {
                Mode::Exact => full.push(collector),
                Mode::Fast => cascades.push(Cascade::new(self, collector)),
            }
        }
        self.cascade(&mut cascades);
        full.extend(cascades.into_iter().filter_map(Cascade::finish));
        self.scan(&mut full);
        Ok(collectors.into_iter().map(|collector| collector.finish(self.space, source)).collect())
    }

    /// Shows every allowed entry to every collector, a block that stays in the first cache at a time.
    fn scan<'a>(&'a self, collectors: &mut [&mut Collector<'a>]) {
        if collectors.is_empty() {
            return;
        }
        for (at, chunk) in self.chunks.iter().enumerate() {
            self.fetch_places(at);
            let body = &chunk.body;
            for block in (0..body.blocks()).filter(|block| chunk.live[*block] != 0) {
                let mut ahead = self.ahead(at, block);
                for collector in &mut *collectors {
                    let places = collector.search.allowed(chunk.live[block], block_of(&body.ids, block));
                    collector.allow(places.count_ones() as usize);
                    self.show(Part { body, block, places }, std::mem::take(&mut ahead), collector);
                }
            }
        }
        collectors.iter_mut().for_each(|collector| self.settle(collector));
    }

    /// Fetches what says where the next chunks' columns lie: a chunk points to its body, and the body to its columns.
    fn fetch_places(&self, chunk: usize) {
        if let Some(chunk) = self.chunks.get(chunk + 2) {
            fetch(from_ref(&*chunk.body));
        }
        if let Some(chunk) = self.chunks.get(chunk + 3) {
            fetch(from_ref(&**chunk));
        }
    }

    /// What is wanted after a block's coarse lines. What goes with those of the next block is fetched at once: it is little.
    fn ahead(&self, chunk: usize, block: usize) -> Ahead<'_> {
        let body = &self.chunks[chunk].body;
        let next = self.chunks.get(chunk + 1).map(|chunk| &chunk.body);
        let follower = if block + 1 < body.blocks() { Some((body, block + 1)) } else { next.map(|next| (next, 0)) };
        if let Some((body, block)) = follower {
            fetch(block_of(&body.coarse_scales, block));
            fetch(block_of(&body.coarse_tans, block));
        }
        let (lines, end) = (body.codes(block).coarse.len(), body.coarse.len());
        let wanted = block * lines + AHEAD..(block + 1) * lines + AHEAD;
        Ahead(
            &body.coarse[wanted.start.min(end)..wanted.end.min(end)],
            next.map_or(&[], |next| &next.coarse[wanted.start.max(end) - end..wanted.end.max(end) - end]),
        )
    }

    /// Shows some entries of a block to a collector: first their coarse numbers; and of those that reach what is asked for the codes, when
    /// the next ones are shown, so that these are on their way meanwhile.
    fn show<'a>(&self, part: Part<'a>, ahead: Ahead<'_>, collector: &mut Collector<'a>) {
        if part.places == 0 {
            return;
        }
        collector.bound(part.places);
        let places = collector.coarse_test().map_or(part.places, |test| {
            let reaching = self.reaching(part, ahead, collector.search.query, test);
            collector.learn(part.places, reaching);
            reaching
        });
        if places == 0 {
            return;
        }
        let part = Part { places, ..part };
        part.fetch_fine();
        self.settle(collector);
        collector.waiting = Some(part);
        if collector.is_open() {
            self.settle(collector);
        }
    }

    /// The entries whose coarse numbers do not rule them out.
    fn reaching(&self, part: Part<'_>, ahead: Ahead<'_>, query: &Query, test: Test) -> u64 {
        let Part { body, block, places } = part;
        let mut products = [0; BLOCK];
        self.kernel.coarse(body.codes(block).coarse, ahead, places, &query.planes, &mut products);
        let estimates = Estimates {
            products: &products,
            scale: query.coarse_scale as f32,
            scales: block_of(&body.coarse_scales, block),
            tans: block_of(&body.coarse_tans, block),
        };
        places & self.kernel.reaching(estimates, test)
    }

    /// Offers what waits.
    fn settle(&self, collector: &mut Collector<'_>) {
        if let Some(part) = collector.waiting.take() {
            self.offer(part, collector);
        }
    }

    fn offer(&self, part: Part<'_>, collector: &mut Collector<'_>) {
        let Part { body, block, places } = part;
        let query = collector.search.query;
        let mut products = [0; BLOCK];
        self.kernel.products(body.codes(block), places, &query.planes, &mut products);
        let estimates = Estimates {
            products: &products,
            scale: query.scale as f32,
            scales: block_of(&body.scales, block),
            tans: block_of(&body.tans, block),
        };
        collector.offer(places, estimates, block_of(&body.ids, block));
    }
}

/// The places of a block that are set in a mask, the lowest first.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(at)
    })
}

/// What belongs to the entries of one block of a chunk.
fn block_of<T>(column: &[T], block: usize) -> &[T; BLOCK] {
    column[block * BLOCK..].first_chunk().expect("a chunk has whole blocks")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::arena::{Arena, Body};
    use crate::bound::Angle;
    use crate::generated::{Random, Sightings};
    use crate::kernel::Kernel;
    use crate::rotation::plain;
    use crate::sketch::Sketches;
    use crate::source::MemorySource;
    use crate::space::{Dtype, Space};

    const DIMS: usize = 128;

    /// The same with the bounds changed.
    fn with(mut snapshot: Snapshot, change: impl Fn(&mut Body)) -> Snapshot {
        for chunk in &mut snapshot.chunks {
            change(Arc::make_mut(&mut Arc::make_mut(chunk).body));
        }
        snapshot
    }

    fn halve(tans: &mut [f32]) {
        tans.iter_mut().for_each(|tan| *tan /= 2.0);
    }

    fn product(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// What is left out of an embedding by what stands for its codes, of length 1, and the sine of the angle it makes.
    fn left_out(space: Space, stored: &[u8], stands: impl Fn(u8) -> f64) -> (Vec<f64>, f64) {
        let (mut sketches, mut numbers) = (Sketches::default(), Vec::new());
        sketches.add(space, stored).expect("an embedding");
        let codes = sketches.get(0).expect("it was added").codes.bytes();
        space.decode(stored, &mut numbers).expect("an embedding");
        let whole = plain::rotated_back(codes.into_iter().map(stands).collect());
        let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
        let multiple = product(&numbers, &whole) / product(&whole, &whole);
        let rest: Vec<f64> = numbers.iter().zip(&whole).map(|(number, whole)| number - multiple * whole).collect();
        let length = product(&rest, &rest).sqrt();
        (rest.iter().map(|number| number / length).collect(), length / product(&numbers, &numbers).sqrt())
    }

    /// An entry, a query that is like nothing but what is left out of the entry, and a rival that is less like it by a fifth. Between the
    /// two lie the others, which are like the query's opposite.
    fn hard_case(seed: u64, others: usize, stands: impl Fn(u8) -> f64) -> (Snapshot, MemorySource, Query) {
        let space = Space::new(DIMS, Dtype::F32).expect("fits");
        let mut random = Random::new(seed);
        let mut entry = Vec::new();
        space.encode(&normal(&mut random), &mut entry).expect("an embedding");
        let (rest, sine) = left_out(space, &entry, stands);
        let (mut arena, mut records) = (Arena::new(space, 1_000), MemorySource::default());
        let mut put = |id: u64, stored: &[u8]| {
            arena.insert(EntryId(id), stored).expect("there is room");
            records.insert(EntryId(id), stored);
        };
        for id in 2..3 + others as u64 {
            // Upright on the rest, and of its own a little of it.
            let other: Vec<f64> = normal(&mut random).into_iter().map(f64::from).collect();
            let along = product(&other, &rest);
            let upright: Vec<f64> = other.iter().zip(&rest).map(|(a, b)| a - along * b).collect();
            let length = product(&upright, &upright).sqrt();
            let like = if id == 2 { 0.8 * sine } else { -1.0 };
            let numbers: Vec<f32> = upright.iter().zip(&rest).map(|(a, b)| (a / length + like * b) as f32).collect();
            let mut stored = Vec::new();
            space.encode(&numbers, &mut stored).expect("an embedding");
            put(id, &stored);
        }
        put(1, &entry);
        let query: Vec<f32> = rest.iter().map(|number| *number as f32).collect();
        (arena.snapshot(), records, Query::new(&query).expect("a query"))
    }

    fn normal(random: &mut Random) -> Vec<f32> {
        (0..DIMS).map(|_| random.normal() as f32).collect()
    }

    fn ask(snapshot: &Snapshot, records: &MemorySource, query: &Query, k: usize) -> Answer {
        snapshot.search(&[Search::exact(query, k)], records).expect("can be answered").remove(0)
    }

    #[test]
    fn half_the_bound_is_not_enough_and_the_whole_is() {
        let (mut differing, mut failing) = (0, 0);
        for seed in 0..100 {
            let (snapshot, records, query) = hard_case(seed, 0, |code| f64::from((code ^ 128) as i8));
            for k in [1, 2] {
                let whole = ask(&snapshot, &records, &query, k);
                assert_eq!((whole.hits[0].id, whole.hits.len()), (EntryId(1), k), "seed {seed}: {whole:?}");
                assert!(whole.certificate.holds, "seed {seed}: {whole:?}");
                let half = ask(&with(snapshot.clone(), |body| halve(&mut body.tans)), &records, &query, k);
                differing += usize::from(half.hits != whole.hits);
                failing += usize::from(!half.certificate.holds);
                assert!(half.hits != whole.hits || !half.certificate.holds, "seed {seed}, k {k}: {half:?}");
            }
        }
        assert!(differing > 0 && failing > 0, "both happen: {differing} differ, {failing} fail");
    }

    #[test]
    fn half_the_bound_of_coarse_numbers_is_not_enough_and_the_whole_is() {
        for seed in 0..100 {
            // The entry lies in another block than the rival, so it is known by then what is to be reached.
            let (snapshot, records, query) = hard_case(seed, 2 * BLOCK, |code| f64::from(code & 0xf0) - 120.5);
            for kernel in Kernel::available() {
                let snapshot = snapshot.clone().by(kernel);
                let whole = ask(&snapshot, &records, &query, 1);
                assert_eq!(whole.hits[0].id, EntryId(1), "seed {seed}: {whole:?}");
                assert!(whole.certificate.holds, "seed {seed}: {whole:?}");
                let half = ask(&with(snapshot, |body| halve(&mut body.coarse_tans)), &records, &query, 1);
                assert_eq!(half.hits[0].id, EntryId(2), "seed {seed}: {half:?}");
            }
        }
    }

    #[test]
    fn half_the_bound_of_a_query_s_bytes_is_not_enough_and_the_whole_is() {
        let space = Space::new(DIMS, Dtype::F32).expect("fits");
        for seed in 0..100 {
            let mut random = Random::new(seed);
            // Turned, half a step is left out of each number but the largest, and the entry is like just that. Its own coarse numbers,
            // 119.5 and -120.5 throughout, stand for it so well that they hide nothing.
            let signs: Vec<f64> = (0..DIMS).map(|_| if random.next() & 1 == 0 { 1.0 } else { -1.0 }).collect();
            let mut turned: Vec<f64> =
                signs.iter().map(|sign| (random.next() % 31) as f64 - 15.0 + 0.49 * sign).collect();
            turned[7] = 127.0;
            let numbers =
                |turned| plain::rotated_back(turned).into_iter().map(|number| number as f32).collect::<Vec<_>>();
            let mut query = Query::new(&numbers(turned.clone())).expect("a query");
            let score = product(&turned, &signs) / (product(&turned, &turned) * product(&signs, &signs)).sqrt();
            // The rival is less like the query by a little, and what is like its opposite fills the rest of two blocks.
            let other: Vec<f64> = (0..DIMS).map(|_| random.normal()).collect();
            let along = product(&other, &turned) / product(&turned, &turned);
            let upright: Vec<f64> = other.iter().zip(&turned).map(|(a, b)| a - along * b).collect();
            let tan = (1.0 - (score - 3e-4).powi(2)).sqrt() / (score - 3e-4);
            let part = tan * (product(&turned, &turned) / product(&upright, &upright)).sqrt() * tan.signum();
            let rival = turned.iter().zip(&upright).map(|(a, b)| a * tan.signum() + part * b).collect();
            let opposite: Vec<f64> = turned.iter().map(|number| -number).collect();
            let (mut arena, mut records, mut stored) = (Arena::new(space, 1_000), MemorySource::default(), Vec::new());
            for id in (2..2 + 2 * BLOCK as u64).chain([1]) {
                stored.clear();
                let turned = if id == 1 {
                    &signs
                } else if id == 2 {
                    &rival
                } else {
                    &opposite
                };
                space.encode(&numbers(turned.clone()), &mut stored).expect("an embedding");
                arena.insert(EntryId(id), &stored).expect("there is room");
                records.insert(EntryId(id), &stored);
            }
            let whole = ask(&arena.snapshot(), &records, &query, 1);
            assert_eq!(whole.hits[0].id, EntryId(1), "seed {seed}: {whole:?}");
            assert!(whole.certificate.holds, "seed {seed}: {whole:?}");
            query.coarse_off = Angle::from_tan(query.coarse_off.sin / query.coarse_off.cos / 2.0);
            let half = ask(&arena.snapshot(), &records, &query, 1);
            assert_eq!(half.hits[0].id, EntryId(2), "seed {seed}: {half:?}");
        }
    }

    #[test]
    fn coarse_numbers_rule_out_most_and_none_that_codes_would_not() {
        let space = Space::new(DIMS, Dtype::F16).expect("fits");
        let made = Sightings::new(8, DIMS, 3_000);
        let (mut arena, mut records) = (Arena::new(space, 3_000), MemorySource::default());
        let mut stored = Vec::new();
        for at in 0..3_000 {
            stored.clear();
            space.encode(&made.numbers(at), &mut stored).expect("an embedding");
            arena.insert(EntryId(at as u64), &stored).expect("there is room");
            records.insert(EntryId(at as u64), &stored);
        }
        let snapshot = arena.snapshot();
        let blind = with(snapshot.clone(), |body| body.coarse_tans.fill(f32::INFINITY));
        let mut reaching = 0;
        for at in 0..50 {
            let query = Query::new(&made.numbers(3_000 + at)).expect("a query");
            let (answer, all) = (ask(&snapshot, &records, &query, 10), ask(&blind, &records, &query, 10));
            assert_eq!(answer.hits, all.hits, "{at}");
            assert_eq!((answer.certificate.bounded, answer.certificate.floor), (3_000, all.certificate.floor), "{at}");
            assert!(answer.certificate.holds && all.certificate.holds, "{at}: {answer:?}, {all:?}");
            assert!(answer.certificate.candidates <= all.certificate.candidates, "{at}: {answer:?}, {all:?}");
            let test = Test::reaching(answer.certificate.floor.expect("ten are there"), query.coarse_off);
            let parts = snapshot.chunks.iter().flat_map(|chunk| {
                let body = &*chunk.body;
                (0..body.blocks()).map(move |block| Part { body, block, places: chunk.live[block] })
            });
            reaching += parts
                .map(|part| snapshot.reaching(part, Ahead::default(), &query, test).count_ones() as usize)
                .sum::<usize>();
        }
        assert!(reaching < 50 * 3_000 / 10, "{reaching} of 150,000 reach");
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_the_limit() {
        let space = Space::new(2, Dtype::F16).expect("fits");
        let arena = Arena::new(space, 10);
        let (good, long) = (Query::new(&[1.0, 0.0]).expect("a query"), Query::new(&[1.0; 3]).expect("a query"));
        for (search, says) in [
            (Search::exact(&long, 1), "the query has 3 dimensions: the entries have 2"),
            (Search::fast(&good, 0), "0 nearest: 1 to 1000 can be asked for"),
            (Search::fast(&good, 1_001), "1001 nearest: 1 to 1000 can be asked for"),
        ] {
            let refused = arena.snapshot().search(&[Search::exact(&good, 1), search], &MemorySource::default());
            assert_eq!(refused.expect_err(says).to_string(), says);
        }
        let answers =
            arena.snapshot().search(&[Search::exact(&good, MAX_K), Search::fast(&good, 1)], &MemorySource::default());
        for Answer { hits, certificate } in answers.expect("can be answered") {
            assert_eq!((hits.len(), certificate.allowed, certificate.floor, certificate.holds), (0, 0, None, true));
        }
    }

    #[test]
    fn lost_and_altered_numbers_are_told_and_end_the_certificate() {
        let space = Space::new(DIMS, Dtype::F16).expect("fits");
        let made = Sightings::new(2, DIMS, 200);
        let (mut arena, mut records) = (Arena::new(space, 200), MemorySource::default());
        let mut stored: Vec<Vec<u8>> = vec![Vec::new(); 200];
        for (at, stored) in stored.iter_mut().enumerate() {
            space.encode(&made.numbers(at), stored).expect("an embedding");
            arena.insert(EntryId(at as u64), stored).expect("there is room");
            records.insert(EntryId(at as u64), stored);
        }
        let query = Query::new(&made.numbers(3)).expect("a query");
        let ask = |records: &MemorySource| {
            let answer =
                arena.snapshot().search(&[Search::exact(&query, 5)], records).expect("can be answered").remove(0);
            (
                answer.hits[0].id == EntryId(3),
                answer.certificate.missing,
                answer.certificate.broken,
                answer.certificate.holds,
            )
        };
        assert_eq!(ask(&records), (true, 0, 0, true));
        let mut lost = records.clone();
        assert!(lost.remove(EntryId(3)), "it was there");
        assert_eq!(ask(&lost), (false, 1, 0, false));
        lost.insert(EntryId(3), &stored[3][1..]);
        assert_eq!(ask(&lost), (false, 1, 0, false), "cut short");
        let mut altered = stored[3].clone();
        altered.reverse();
        // Whatever these bytes are as numbers: some that are finite.
        altered.iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 0xbb);
        lost.insert(EntryId(3), &altered);
        assert_eq!(ask(&lost), (false, 0, 1, false), "other numbers");
    }

    #[test]
    fn what_was_not_scored_could_not_have_been_in_the_answer() {
        let space = Space::new(DIMS, Dtype::F16).expect("fits");
        let made = Sightings::new(6, DIMS, 2_000);
        let (mut arena, mut records) = (Arena::new(space, 2_000), MemorySource::default());
        let mut stored = Vec::new();
        for at in 0..2_000 {
            stored.clear();
            space.encode(&made.numbers(at), &mut stored).expect("an embedding");
            arena.insert(EntryId(at as u64), &stored).expect("there is room");
            records.insert(EntryId(at as u64), &stored);
        }
        let queries: Vec<Query> = (0..100).map(|at| Query::new(&made.numbers(at * 20)).expect("a query")).collect();
        let searches: Vec<Search<'_>> = queries.iter().map(|query| Search::exact(query, 10)).collect();
        let answers = arena.snapshot().search(&searches, &records).expect("can be answered");
        let mut spared = 0;
        for Answer { hits, certificate } in &answers {
            assert!(certificate.holds && certificate.bounded == 2_000, "{certificate:?}");
            let (last, floor) = (hits[9].score, certificate.floor.expect("ten are there"));
            assert!(floor <= last && certificate.rest.is_none_or(|rest| rest < last), "{certificate:?}, last {last}");
            assert!(certificate.scored <= certificate.candidates && certificate.candidates < 1_000, "{certificate:?}");
            spared += certificate.candidates - certificate.scored;
        }
        assert!(spared > 0, "some candidate is not worth scoring");
    }
}

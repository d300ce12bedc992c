//! Decides which entries are nearest to a query, and whether that is certain.

mod collector;
mod fast;

use std::fmt;

use crate::arena::{Body, Chunk, Snapshot};
use crate::kernel::BLOCK;
use crate::query::Query;
use crate::source::{EntryId, Source};
use collector::Collector;
use fast::Cascade;

/// Nearest entries that one search can ask for.
pub const MAX_K: usize = 1_000;

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
    fn scan(&self, collectors: &mut [&mut Collector<'_>]) {
        if collectors.is_empty() {
            return;
        }
        for chunk in &self.chunks {
            for block in (0..chunk.body.blocks()).filter(|block| chunk.live[*block] != 0) {
                for collector in &mut *collectors {
                    let allowed = collector.search.allowed(chunk.live[block], block_of(&chunk.body.ids, block));
                    collector.allow(allowed.count_ones() as usize);
                    self.show(chunk, block, allowed, collector);
                }
            }
        }
    }

    /// Shows some entries of a block to a collector.
    fn show(&self, chunk: &Chunk, block: usize, places: u64, collector: &mut Collector<'_>) {
        if places == 0 {
            return;
        }
        let body: &Body = &chunk.body;
        let planes = &collector.search.query.planes;
        let codes = &body.codes[block * BLOCK * body.lines()..][..BLOCK * body.lines()];
        let mut products = [0; BLOCK];
        self.kernel.products(codes, places, planes, &mut products);
        collector.offer(collector::Offer {
            places,
            products: &products,
            scales: block_of(&body.scales, block),
            tans: block_of(&body.tans, block),
            ids: block_of(&body.ids, block),
        });
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
    use crate::arena::Arena;
    use crate::generated::{Random, Sightings};
    use crate::rotation::plain;
    use crate::sketch::Sketches;
    use crate::source::MemorySource;
    use crate::space::{Dtype, Space};

    const DIMS: usize = 128;

    /// The same with every entry's bound at half its angle.
    fn halved(mut snapshot: Snapshot) -> Snapshot {
        for chunk in &mut snapshot.chunks {
            let body = Arc::make_mut(&mut Arc::make_mut(chunk).body);
            body.tans.iter_mut().for_each(|tan| *tan /= 2.0);
        }
        snapshot
    }

    /// What the codes leave out of an embedding, of length 1, and the sine of the angle it makes.
    fn left_out(space: Space, stored: &[u8]) -> (Vec<f32>, f64) {
        let (mut sketches, mut numbers) = (Sketches::default(), Vec::new());
        sketches.add(space, stored).expect("an embedding");
        let sketch = sketches.get(0).expect("it was added");
        space.decode(stored, &mut numbers).expect("an embedding");
        let codes = sketch.codes.iter().flat_map(|line| line.0).map(|byte| f64::from((byte ^ 128) as i8)).collect();
        let codes = plain::rotated_back(codes);
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
        let multiple = product(&numbers, &codes) / product(&codes, &codes);
        let rest: Vec<f64> = numbers.iter().zip(&codes).map(|(number, code)| number - multiple * code).collect();
        let length = product(&rest, &rest).sqrt();
        (rest.iter().map(|number| (number / length) as f32).collect(), length / product(&numbers, &numbers).sqrt())
    }

    /// An entry, a query that is like nothing but what the entry's codes leave out, and a rival that is less like it by a fifth.
    fn hard_case(seed: u64) -> (Snapshot, MemorySource, Query) {
        let space = Space::new(DIMS, Dtype::F32).expect("fits");
        let mut random = Random::new(seed);
        let numbers: Vec<f32> = (0..DIMS).map(|_| random.normal() as f32).collect();
        let mut first = Vec::new();
        space.encode(&numbers, &mut first).expect("an embedding");
        let (rest, sine) = left_out(space, &first);
        // Upright on the rest, and of its own a little of it.
        let other: Vec<f64> = (0..DIMS).map(|_| random.normal()).collect();
        let along: f64 = other.iter().zip(&rest).map(|(a, b)| a * f64::from(*b)).sum();
        let upright: Vec<f64> = other.iter().zip(&rest).map(|(a, b)| a - along * f64::from(*b)).collect();
        let length = upright.iter().map(|a| a * a).sum::<f64>().sqrt();
        let rival: Vec<f32> =
            upright.iter().zip(&rest).map(|(a, b)| (a / length + 0.8 * sine * f64::from(*b)) as f32).collect();
        let mut second = Vec::new();
        Space::new(DIMS, Dtype::F32).expect("fits").encode(&rival, &mut second).expect("an embedding");
        let (mut arena, mut records) = (Arena::new(space, 10), MemorySource::default());
        for (id, stored) in [(EntryId(1), first), (EntryId(2), second)] {
            arena.insert(id, &stored).expect("there is room");
            records.insert(id, &stored);
        }
        (arena.snapshot(), records, Query::new(&rest).expect("a query"))
    }

    #[test]
    fn half_the_bound_is_not_enough_and_the_whole_is() {
        let (mut differing, mut failing) = (0, 0);
        for seed in 0..100 {
            let (snapshot, records, query) = hard_case(seed);
            for k in [1, 2] {
                let whole = &snapshot.search(&[Search::exact(&query, k)], &records).expect("can be answered")[0];
                assert_eq!((whole.hits[0].id, whole.hits.len()), (EntryId(1), k), "seed {seed}: {whole:?}");
                assert!(whole.certificate.holds, "seed {seed}: {whole:?}");
                let half = &halved(snapshot.clone())
                    .search(&[Search::exact(&query, k)], &records)
                    .expect("can be answered")[0];
                differing += usize::from(half.hits != whole.hits);
                failing += usize::from(!half.certificate.holds);
                assert!(half.hits != whole.hits || !half.certificate.holds, "seed {seed}, k {k}: {half:?}");
            }
        }
        assert!(differing > 0 && failing > 0, "both happen: {differing} differ, {failing} fail");
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

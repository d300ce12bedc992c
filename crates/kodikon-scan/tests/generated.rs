//! Promises that a registry of 10,000 sightings is searched exactly, and fast with hardly a miss.

mod brute;

use brute::Brute;
use kodikon_scan::generated::{Random, Sightings};
use kodikon_scan::{Answer, Arena, Dtype, EntryId, Kernel, MemorySource, Mode, Query, Search, Snapshot, Space};

const COUNT: usize = 10_000;
const DIMS: usize = 512;
/// Queries that are answered in one pass.
const BATCH: usize = 16;

#[test]
fn every_sighting_of_10000_is_asked_for_exactly_and_certified_and_fast_with_a_recall_of_99_percent() {
    let made = Sightings::new(1, DIMS, COUNT);
    let space = Space::new(DIMS, Dtype::F16).expect("fits");
    let (mut arena, mut records, mut brute) = (Arena::new(space, COUNT), MemorySource::default(), Brute::new(DIMS));
    let mut queries = Vec::new();
    for at in 0..COUNT {
        let (numbers, mut stored) = (made.numbers(at), Vec::new());
        space.encode(&numbers, &mut stored).expect("an embedding");
        arena.insert(EntryId(at as u64), &stored).expect("there is room");
        records.insert(EntryId(at as u64), &stored);
        brute.insert(at as u64, &brute::numbers(Dtype::F16, &stored));
        queries.push(Query::new(&numbers).expect("a query"));
    }
    let snapshot = arena.snapshot();
    let exact = answers(&snapshot, &records, &queries, Mode::Exact);
    let fast = answers(&snapshot, &records, &queries, Mode::Fast);
    let (mut found, mut least) = (0, 10);
    for at in 0..COUNT {
        let answer = &exact[at];
        assert!(answer.certificate.holds, "{at}: {:?}", answer.certificate);
        let hits: Vec<(u64, u64)> = answer.hits.iter().map(|hit| (hit.id.0, hit.score.to_bits())).collect();
        assert_eq!(hits, brute.nearest(queries[at].numbers(), 10, |_| true), "{at}");
        let of_them = fast[at].hits.iter().filter(|hit| answer.hits.contains(hit)).count();
        (found, least) = (found + of_them, least.min(of_them));
    }
    let recall = found as f64 / (10 * COUNT) as f64;
    let passed_over = fast.iter().filter(|answer| answer.certificate.bounded < COUNT).count();
    println!("recall@10 {recall:.5}, the worst query {least} of 10; {passed_over} of {COUNT} passed entries over");
    assert!(recall >= 0.99, "{recall}");
    assert!(passed_over > COUNT * 9 / 10, "the cascade is at work in {passed_over} of {COUNT}");
    assert!(fast.iter().all(|answer| answer.certificate.holds == (answer.certificate.bounded == COUNT)));
}

/// What is unlike the signs' best case, near ones among others that are far.
#[derive(Clone, Copy, Debug)]
enum Hard {
    /// No near ones at all.
    Strangers,
    /// As after a ReLU.
    Positive,
    /// Few dimensions are used much: a single turn of the rotation leaves them few different signs.
    FewDimensions,
}

#[test]
fn fast_finds_99_of_100_whatever_the_data_are_like() {
    for hard in [Hard::Strangers, Hard::Positive, Hard::FewDimensions] {
        let mut random = Random::new(4);
        let mut draw = |at: usize| match hard {
            Hard::Strangers => random.normal(),
            Hard::Positive => random.normal().max(0.0),
            Hard::FewDimensions => random.normal() / (1.0 + at as f64 / 8.0),
        };
        let space = Space::new(512, Dtype::F16).expect("fits");
        let (mut arena, mut records, mut queries) = (Arena::new(space, 5_000), MemorySource::default(), Vec::new());
        for at in 0..5_200 {
            let (numbers, mut stored): (Vec<f32>, _) = ((0..512).map(|at| draw(at) as f32).collect(), Vec::new());
            if at >= 5_000 {
                queries.push(Query::new(&numbers).expect("a query"));
                continue;
            }
            space.encode(&numbers, &mut stored).expect("an embedding");
            arena.insert(EntryId(at), &stored).expect("there is room");
            records.insert(EntryId(at), &stored);
        }
        let exact = answers(&arena.snapshot(), &records, &queries, Mode::Exact);
        let fast = answers(&arena.snapshot(), &records, &queries, Mode::Fast);
        let found = |(exact, fast): (&Answer, &Answer)| fast.hits.iter().filter(|hit| exact.hits.contains(hit)).count();
        let found: usize = exact.iter().zip(&fast).map(found).sum();
        assert!(found >= 1_980, "{found} of 2000, {hard:?}");
    }
}

#[test]
fn a_fast_answer_is_the_same_on_every_kernel() {
    let made = Sightings::new(2, 200, 3_000);
    let space = Space::new(200, Dtype::I8).expect("fits");
    let (mut arena, mut records) = (Arena::new(space, 3_000), MemorySource::default());
    for at in 0..3_000 {
        let mut stored = Vec::new();
        space.encode(&made.numbers(at), &mut stored).expect("an embedding");
        arena.insert(EntryId(at as u64), &stored).expect("there is room");
        records.insert(EntryId(at as u64), &stored);
    }
    let queries: Vec<Query> = (0..100).map(|at| Query::new(&made.numbers(at * 30)).expect("a query")).collect();
    let expected = answers(&arena.snapshot().by(Kernel::Scalar), &records, &queries, Mode::Fast);
    assert!(expected.iter().any(|answer| !answer.certificate.holds), "some entries are passed over");
    for kernel in Kernel::available() {
        assert_eq!(answers(&arena.snapshot().by(kernel), &records, &queries, Mode::Fast), expected, "{kernel:?}");
    }
}

fn answers(snapshot: &Snapshot, records: &MemorySource, queries: &[Query], mode: Mode) -> Vec<Answer> {
    let batches = queries.chunks(BATCH).flat_map(|queries| {
        let searches: Vec<Search<'_>> =
            queries.iter().map(|query| Search { mode, ..Search::exact(query, 10) }).collect();
        snapshot.search(&searches, records).expect("can be answered")
    });
    batches.collect()
}

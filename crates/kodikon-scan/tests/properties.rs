//! Promises that whatever is put in, taken out and allowed, an exact answer is that of a scan in f64, to the bit, on every kernel.

mod brute;

use std::cmp::Ordering;

use brute::Brute;
use kodikon_scan::generated::Random;
use kodikon_scan::{Arena, Dtype, EntryId, Kernel, MemorySource, Query, Search, Slot, Source, Space};
use proptest::collection::vec;
use proptest::prelude::*;

/// How the numbers of an embedding come about.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Normal,
    /// Few different whole numbers: many equal scores.
    Coarse,
    /// Magnitudes from 10^-4 to 10^4.
    Wild,
    /// A single one that is not zero.
    Lonely,
}

fn draw(kind: Kind, dims: usize, random: &mut Random) -> Vec<f32> {
    let lonely = random.next() as usize % dims;
    let mut numbers: Vec<f32> = (0..dims)
        .map(|at| match kind {
            Kind::Normal => random.normal() as f32,
            Kind::Coarse => (random.next() % 3) as f32 - 1.0,
            Kind::Wild => (random.normal() * 10f64.powi((random.next() % 9) as i32 - 4)) as f32,
            Kind::Lonely => f32::from(u8::from(at == lonely)),
        })
        .collect();
    if numbers.iter().all(|number| *number == 0.0) {
        numbers[lonely] = 1.0;
    }
    numbers
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Normal), Just(Kind::Coarse), Just(Kind::Wild), Just(Kind::Lonely)]
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::I8)]
}

proptest! {
    // Failures are not kept in a file: the case is printed, and becomes a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn an_exact_answer_is_that_of_a_scan_in_f64(
        dims in 1usize..150,
        dtype in dtypes(),
        kind in kinds(),
        count in 0usize..400,
        removed in vec(any::<prop::sample::Index>(), 0..100),
        k in 1usize..30,
        third in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let space = Space::new(dims, dtype).expect("fits");
        let mut random = Random::new(seed);
        let (mut arena, mut records) = (Arena::new(space, 1_000), MemorySource::default());
        let mut held: Vec<(Slot, EntryId, Vec<u8>)> = Vec::new();
        let mut put = |id: u64, arena: &mut Arena, held: &mut Vec<(Slot, EntryId, Vec<u8>)>| {
            let mut stored = Vec::new();
            space.encode(&draw(kind, dims, &mut random), &mut stored).expect("an embedding");
            records.insert(EntryId(id), &stored);
            held.push((arena.insert(EntryId(id), &stored).expect("there is room"), EntryId(id), stored));
        };
        (0..count).for_each(|id| put(id as u64, &mut arena, &mut held));
        for (at, index) in removed.iter().enumerate() {
            if held.is_empty() {
                break;
            }
            let (slot, id, _) = held.swap_remove(index.index(held.len()));
            prop_assert!(arena.remove(slot, id));
            // Every other time another comes in its place.
            if at % 2 == 0 {
                put((count + at) as u64, &mut arena, &mut held);
            }
        }
        prop_assert_eq!(arena.len(), held.len());
        let mut brute = Brute::new(dims);
        held.iter().for_each(|(_, id, stored)| brute.insert(id.0, &brute::numbers(dtype, stored)));
        let allow = |id: EntryId| !third || id.0.is_multiple_of(3);
        let numbers = draw(kind, dims, &mut Random::new(!seed));
        let query = Query::new(&numbers).expect("a query");
        let expected = brute.nearest(&numbers, k, |id| allow(EntryId(id)));
        for kernel in Kernel::available() {
            let searches = [Search::exact(&query, k).among(&allow), Search::fast(&query, k).among(&allow)];
            let answers = arena.snapshot().by(kernel).search(&searches, &records).expect("can be answered");
            let hits: Vec<(u64, u64)> = answers[0].hits.iter().map(|hit| (hit.id.0, hit.score.to_bits())).collect();
            prop_assert_eq!(&hits, &expected, "{:?}", kernel);
            prop_assert!(answers[0].certificate.holds, "{:?}", answers[0].certificate);
            prop_assert_eq!(answers[1].certificate.allowed, answers[0].certificate.allowed);
            prop_assert!(!answers[1].certificate.holds || answers[1].hits == answers[0].hits, "certified and wrong");
        }
    }
}

/// Equals in the order that the registry wants, which is not that of the entries' numbers.
struct Backwards(MemorySource);

impl Source for Backwards {
    fn fetch(&self, id: EntryId, into: &mut Vec<u8>) -> bool {
        self.0.fetch(id, into)
    }

    fn compare(&self, a: EntryId, b: EntryId) -> Ordering {
        b.cmp(&a)
    }
}

#[test]
fn among_more_equals_than_are_wanted_the_source_decides() {
    let space = Space::new(5, Dtype::F16).expect("fits");
    let (mut arena, mut records) = (Arena::new(space, 5_000), MemorySource::default());
    let mut stored = Vec::new();
    space.encode(&[0.3, 0.1, -0.4, 1.0, -0.5], &mut stored).expect("an embedding");
    for id in 0..5_000 {
        arena.insert(EntryId(id), &stored).expect("there is room");
        records.insert(EntryId(id), &stored);
    }
    let query = Query::new(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("a query");
    for search in [Search::exact(&query, 3), Search::fast(&query, 3)] {
        let ids = |source: &dyn Source| {
            let answer = arena.snapshot().search(&[search], source).expect("can be answered").remove(0);
            assert!(answer.certificate.holds, "{:?}", answer.certificate);
            answer.hits.iter().map(|hit| hit.id.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(&records), [0, 1, 2]);
        assert_eq!(ids(&Backwards(records.clone())), [4_999, 4_998, 4_997]);
    }
}

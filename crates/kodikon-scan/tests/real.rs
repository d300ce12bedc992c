//! Promises that real embeddings are searched exactly: MobileNetV2 features of photographs of 80 objects, each seen four times.

mod brute;

use brute::Brute;
use kodikon_scan::{Arena, Dtype, EntryId, Kernel, MemorySource, Query, Search, Space};

const ROWS: usize = 320;
const DIMS: usize = 512;
/// Rows of one object follow each other.
const VIEWS: usize = 4;

#[test]
fn the_ten_nearest_of_every_row_are_those_of_a_scan_in_f64_on_every_kernel_and_certified() {
    let rows = rows();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
        let (arena, records, brute) = registry(&rows, dtype);
        let queries: Vec<Query> = rows.iter().map(|row| Query::new(row).expect("a query")).collect();
        for kernel in Kernel::available() {
            let snapshot = arena.snapshot().by(kernel);
            let searches: Vec<Search<'_>> = queries.iter().map(|query| Search::exact(query, 10)).collect();
            let answers = snapshot.search(&searches, &records).expect("can be answered");
            for (row, answer) in answers.iter().enumerate() {
                let hits: Vec<(u64, u64)> = answer.hits.iter().map(|hit| (hit.id.0, hit.score.to_bits())).collect();
                assert_eq!(hits, brute.nearest(&rows[row], 10, |_| true), "row {row}, {dtype:?}, {kernel:?}");
                assert!(answer.certificate.holds, "row {row}, {dtype:?}, {kernel:?}: {:?}", answer.certificate);
            }
        }
    }
}

#[test]
fn all_three_other_views_are_found_for_317_of_the_320_rows() {
    let rows = rows();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
        let (arena, records, _) = registry(&rows, dtype);
        let snapshot = arena.snapshot();
        let found = (0..ROWS).filter(|row| {
            let query = Query::new(&rows[*row]).expect("a query");
            let others = |id: EntryId| id.0 != *row as u64;
            let searches = [Search::exact(&query, 10).among(&others), Search::fast(&query, 10).among(&others)];
            let answers = snapshot.search(&searches, &records).expect("can be answered");
            let views = answers[0].hits.iter().filter(|hit| hit.id.0 as usize / VIEWS == row / VIEWS).count();
            assert_eq!(answers[0].hits, answers[1].hits, "so few are all looked at");
            views == VIEWS - 1
        });
        assert_eq!(found.count(), 317, "{dtype:?}");
    }
}

fn registry(rows: &[Vec<f32>], dtype: Dtype) -> (Arena, MemorySource, Brute) {
    let space = Space::new(DIMS, dtype).expect("fits");
    let (mut arena, mut records, mut brute) = (Arena::new(space, ROWS), MemorySource::default(), Brute::new(DIMS));
    for (row, numbers) in rows.iter().enumerate() {
        let mut stored = Vec::new();
        space.encode(numbers, &mut stored).expect("an embedding");
        arena.insert(EntryId(row as u64), &stored).expect("there is room");
        records.insert(EntryId(row as u64), &stored);
        brute.insert(row as u64, &brute::numbers(dtype, &stored));
    }
    (arena, records, brute)
}

/// The rows of the file: `.npy` version 1, little-endian f32, row after row.
fn rows() -> Vec<Vec<f32>> {
    let bytes = include_bytes!("../fixtures/embeddings_320x512_f32.npy");
    let numbers = &bytes[bytes.len() - ROWS * DIMS * 4..];
    let (numbers, _) = numbers.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    numbers.chunks(DIMS).map(<[f32]>::to_vec).collect()
}

//! Decides whether the registry is searched fast enough: p50 and p99 of exact and fast searches, of inserts and removals.
//! Fails where one is over its limit.
//!
//! `cargo bench -p kodikon-scan` with 10,000 and 100,000 entries; `cargo bench -p kodikon-scan -- 1000000` with so many.
//! Entries are sightings of 512 dimensions in f16, their stored bytes lie in a file, and each query is a sighting more, of
//! somebody who was seen before. `KODIKON_BENCH_FACTOR` multiplies the limits, for a computer that does other things too.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::cmp::Ordering;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kodikon_scan::generated::Sightings;
use kodikon_scan::{Arena, Dtype, EntryId, Kernel, Mode, Query, Search, Slot, Snapshot, Source, Space};

const DIMS: usize = 512;
/// Queries of which the p99 counts.
const QUERIES: usize = 400;
/// Wanted of each.
const K: usize = 10;
/// Searches that are answered in one pass.
const TOGETHER: usize = 8;
/// Inserts and removals beside a snapshot, and without one.
const CHANGES: usize = 2_000;

/// Design, section 16: entries, exact p99. Between two the limit of the greater holds.
const EXACT: [(usize, Duration); 3] =
    [(10_000, Duration::from_micros(500)), (100_000, Duration::from_millis(4)), (1_000_000, Duration::from_millis(25))];
/// The same for fast searches, of the median: who has fewer near ones than are wanted takes up to four times as long.
const FAST: [(usize, Duration); 1] = [(100_000, Duration::from_micros(700))];
/// "Insert in microseconds, delete in constant time."
const INSERT: Duration = Duration::from_micros(20);
const REMOVE: Duration = Duration::from_micros(2);

fn main() -> ExitCode {
    let mut sizes: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    let factor = std::env::var("KODIKON_BENCH_FACTOR").ok().and_then(|text| text.parse().ok()).filter(|f| *f >= 1.0);
    let mut limits = Limits { factor: factor.unwrap_or(1.0), is_kept: true };
    println!("limits times {} (KODIKON_BENCH_FACTOR); kernels {:?}", limits.factor, Kernel::available());
    for size in sizes {
        measure(size, &mut limits);
    }
    if limits.is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(size: usize, limits: &mut Limits) {
    let mut registry = Registry::new(size);
    println!("{size} entries: {}", registry.arena.memory());
    let queries: Vec<Query> = (0..QUERIES).map(|at| registry.query(at)).collect();
    let snapshot = registry.arena.snapshot();
    for kernel in Kernel::available().into_iter().rev() {
        let snapshot = snapshot.clone().by(kernel);
        // The limits are for the best there is; the others are printed beside it.
        let limit = |limits: &[(usize, Duration)]| {
            let limit = limits.iter().find(|(entries, _)| size <= *entries).map(|(_, limit)| *limit);
            limit.filter(|_| Some(&kernel) == Kernel::available().last())
        };
        for (mode, limit) in [(Mode::Exact, limit(&EXACT).map(Limit::P99)), (Mode::Fast, limit(&FAST).map(Limit::P50))]
        {
            let times = registry.ask(&snapshot, &queries, mode, 1);
            limits.hold(&format!("{mode:?}, {kernel:?}"), limit, times);
        }
        let times = registry.ask(&snapshot, &queries, Mode::Exact, TOGETHER);
        limits.hold(&format!("Exact, {kernel:?}, {TOGETHER} together, each"), None, times);
    }
    registry.recall(&snapshot, &queries);
    drop(snapshot);
    registry.change(limits);
}

/// An arena and the file its entries are stored in.
struct Registry {
    made: Sightings,
    size: usize,
    arena: Arena,
    slots: Vec<Slot>,
    file: File,
}

impl Registry {
    fn new(size: usize) -> Self {
        let path = std::env::temp_dir().join(format!("kodikon-scan-{}", std::process::id()));
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).expect("a file can be made");
        std::fs::remove_file(&path).expect("it is ours");
        let space = Space::new(DIMS, Dtype::F16).expect("fits");
        let made = Sightings::new(1, DIMS, size);
        let (mut arena, mut slots) = (Arena::new(space, size + CHANGES), Vec::new());
        let mut stored = Vec::new();
        for at in 0..size {
            stored.clear();
            space.encode(&made.numbers(at), &mut stored).expect("an embedding");
            file.write_all(&stored).expect("there is room on the disk");
            slots.push(arena.insert(EntryId(at as u64), &stored).expect("there is room"));
        }
        Self { made, size, arena, slots, file }
    }

    fn query(&self, at: usize) -> Query {
        Query::new(&self.made.numbers(self.size + at)).expect("a query")
    }

    /// The time of each query, so many in one pass.
    fn ask(&self, snapshot: &Snapshot, queries: &[Query], mode: Mode, together: usize) -> Vec<Duration> {
        let batch = |queries: &[Query]| {
            let searches: Vec<Search<'_>> =
                queries.iter().map(|query| Search { mode, ..Search::exact(query, K) }).collect();
            let start = Instant::now();
            black_box(snapshot.search(&searches, self).expect("can be answered"));
            start.elapsed() / queries.len() as u32
        };
        // The caches are warm, as they are where searches follow each other.
        queries.chunks(together).take(3).for_each(|queries| {
            black_box(batch(queries));
        });
        queries.chunks(together).map(batch).collect()
    }

    /// Prints what the searches found and what it took.
    fn recall(&self, snapshot: &Snapshot, queries: &[Query]) {
        let (mut found, mut counts) = (0, [(0, 0); 2]);
        for query in queries {
            let searches = [Search::exact(query, K), Search::fast(query, K)];
            let answers = snapshot.search(&searches, self).expect("can be answered");
            assert!(answers[0].certificate.holds, "{:?}", answers[0].certificate);
            found += answers[1].hits.iter().filter(|hit| answers[0].hits.contains(hit)).count();
            for (count, answer) in counts.iter_mut().zip(&answers) {
                *count = (count.0 + answer.certificate.bounded, count.1 + answer.certificate.scored);
            }
        }
        let [exact, fast] = counts.map(|(bounded, scored)| (bounded / queries.len(), scored / queries.len()));
        println!("  exact: {} bounded and {} scored on average", exact.0, exact.1);
        let recall = found as f64 / (K * queries.len()) as f64;
        println!("  fast: {} bounded and {} scored on average, recall@{K} {recall:.4}", fast.0, fast.1);
    }

    fn change(&mut self, limits: &mut Limits) {
        let space = self.arena.space();
        let new: Vec<Vec<u8>> = (0..CHANGES)
            .map(|at| {
                let mut stored = Vec::new();
                space.encode(&self.made.numbers(self.size + at), &mut stored).expect("an embedding");
                stored
            })
            .collect();
        for beside in ["", ", a snapshot taken before each"] {
            let (mut inserts, mut removals, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
            for (at, stored) in new.iter().enumerate() {
                // From all over the arena, so that no chunk was copied a moment ago.
                let slot = at * 7_919 % self.size;
                let id = EntryId(slot as u64);
                let held = time(&mut snapshots, || (!beside.is_empty()).then(|| self.arena.snapshot()));
                assert!(time(&mut removals, || self.arena.remove(self.slots[slot], id)), "{id:?} is there");
                self.slots[slot] = time(&mut inserts, || self.arena.insert(id, stored)).expect("there is room");
                drop(held);
            }
            let is_alone = beside.is_empty();
            limits.hold(&format!("insert{beside}"), is_alone.then_some(Limit::P99(INSERT)), inserts);
            limits.hold(&format!("remove{beside}"), is_alone.then_some(Limit::P99(REMOVE)), removals);
            if !is_alone {
                limits.hold("snapshot", None, snapshots);
            }
        }
    }
}

impl Source for Registry {
    fn fetch(&self, id: EntryId, into: &mut Vec<u8>) -> bool {
        let len = self.arena.space().stored_len();
        into.resize(len, 0);
        self.file.read_exact_at(into, id.0 * len as u64).is_ok()
    }

    fn compare(&self, a: EntryId, b: EntryId) -> Ordering {
        a.cmp(&b)
    }
}

fn time<T>(times: &mut Vec<Duration>, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    times.push(start.elapsed());
    result
}

/// What may not take longer.
#[derive(Clone, Copy, Debug)]
enum Limit {
    P50(Duration),
    P99(Duration),
}

/// Limits that were asked about, and whether all were kept.
struct Limits {
    factor: f64,
    is_kept: bool,
}

impl Limits {
    /// Prints p50 and p99, and holds the one that is meant against its limit.
    fn hold(&mut self, what: &str, limit: Option<Limit>, mut times: Vec<Duration>) {
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let is_fast = limit.is_none_or(|limit| match limit {
            Limit::P50(limit) => p50 <= limit.mul_f64(self.factor),
            Limit::P99(limit) => p99 <= limit.mul_f64(self.factor),
        });
        let limit = limit.map_or(String::new(), |limit| format!(" (limit {limit:?})"));
        let verdict = if is_fast { "" } else { "  TOO SLOW" };
        println!("  {what:<44} p50 {p50:>10.2?}  p99 {p99:>10.2?}{limit}{verdict}");
        self.is_kept &= is_fast;
    }
}

//! Counts what two nodes say to each other, in virtual time, until they hold the same of the log: digests, and all of it.
//!
//! ```sh
//! cargo run --release -p kodikon-sim --example digests -- --authors 10,100,1000 --lacking 0,10,50
//! ```

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use kodikon_core::effect::log::{Batch, CommitId, LogCover, LogRow};
use kodikon_core::effect::scan::{ScanId, ScanJob};
use kodikon_core::effect::{BroadcastOrder, Event, SendOrder};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, Seq};
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::alert::AlertOrder;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::op::{OpId, OpKind, SignedOp, Statement};
use kodikon_core::model::record::{DeleteOrder, NewRecord, RecordOrder, RecordView};
use kodikon_core::model::search::SearchOrder;
use kodikon_core::wire::message::Interval;
use kodikon_sim::chance::{fork, source};
use kodikon_sim::cluster::endpoint::{self, Endpoint};
use kodikon_sim::cluster::{Cluster, Death, Happening, Observer, Plan};
use kodikon_sim::moment::Moment;
use kodikon_sim::network::Network;
use kodikon_sim::network::host::SegmentId;
use kodikon_sim::trace::Detail;
use serde_json::json;

/// How the missing ones lie among the others.
const PATTERNS: [Pattern; 2] = [Pattern::Newest, Pattern::Scattered];
/// How often it is looked whether both hold the same.
const LOOK: Duration = Duration::from_millis(10);
/// What is said after that belongs to it still.
const AFTER: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(600);

/// Two nodes, one of which lacks a part of what the other holds.
#[derive(Parser)]
struct Cli {
    /// How many authors have said what is held; several with commas.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000])]
    authors: Vec<u16>,
    /// How many of a hundred of their sightings one node lacks; several with commas.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10, 50])]
    lacking: Vec<u8>,
    /// Sightings of each author.
    #[arg(long, default_value_t = 100)]
    each: u16,
    /// Chance of the run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which of an author's sightings are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// The newest of each author: the node was away.
    Newest,
    /// Any: datagrams were lost.
    Scattered,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Scattered => "scattered",
        }
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    for &authors in &cli.authors {
        let rows = said(&cli, authors);
        for &lacking in &cli.lacking {
            ensure!(lacking <= 100, "{lacking} of a hundred");
            // What is nothing lies nowhere.
            for pattern in PATTERNS.into_iter().filter(|pattern| lacking > 0 || *pattern == Pattern::Newest) {
                let figures = reconcile(&cli, &rows, lacking, pattern)
                    .with_context(|| format!("{authors} authors, {lacking} % {}", pattern.name()))?;
                println!("{figures}");
            }
        }
    }
    Ok(())
}

/// What one author said.
struct Said {
    cover: LogCover,
    rows: Vec<LogRow>,
}

/// Sightings without embeddings: what is compared does not depend on their length.
fn said(cli: &Cli, authors: u16) -> Vec<Said> {
    let (mesh, epoch) = (config("a").mesh_id(), Epoch::new(1, 1));
    let by_one = |author: u16| {
        let identity = Identity::from_secret(&fork(cli.seed, "author", author.into()));
        let row = |number: u16| {
            let record = NewRecord::new(&format!("seen-{author}-{number}"));
            let body = minicbor::to_vec(record.body("camera")).expect("encoding into memory cannot fail");
            let (lamport, wall) = (number.into(), WallTime(1_793_491_200_000));
            let statement = Statement { kind: OpKind::Record, key: Vec::new(), body, lamport, wall };
            LogRow { op: SignedOp::sign(&identity, mesh, epoch, Seq(number.into()), statement), born_ms: 0 }
        };
        let covered = Vec::new();
        let cover = LogCover { author: identity.id(), epoch, key: identity.public_key(), covered, lost: Vec::new() };
        Said { cover, rows: (1..=cli.each).map(row).collect() }
    };
    (0..authors).map(by_one).collect()
}

fn config(name: &str) -> Config {
    Config::new(name)
}

/// Lets two nodes meet, and counts what they say.
fn reconcile(cli: &Cli, said: &[Said], lacking: u8, pattern: Pattern) -> Result<serde_json::Value> {
    let homes = vec![vec![SegmentId(0)]; 2];
    let network = Network::new(1, &homes, false, source(cli.seed, "network"));
    let configs = ["a", "b"].map(|name| vec![config(name)]).to_vec();
    let plan = Plan { seed: cli.seed, network, configs, maker: endpoint::real, detail: Detail::Silent };
    let mut cluster = Cluster::new(plan, Nobody);
    let mut missing = (0_usize, 0_usize);
    for node in 0..2 {
        let mut batch = Batch::default();
        for (author, Said { cover, rows }) in said.iter().enumerate() {
            let lacks = |number: usize| node == 1 && is_missing((author, number, rows.len()), lacking, pattern);
            let held = rows.iter().enumerate().filter(|(number, _)| !lacks(*number));
            let held: Vec<LogRow> = held.map(|(_, row)| row.clone()).collect();
            if node == 1 {
                missing.0 += rows.len() - held.len();
                missing.1 += rows.iter().map(|row| row.op.wire_len()).sum::<usize>()
                    - held.iter().map(|row| row.op.wire_len()).sum::<usize>();
            }
            let number = |row: &LogRow| Interval { first: row.op.seq().0, last: row.op.seq().0 };
            batch.covers.push(LogCover { covered: joined(held.iter().map(number)), ..cover.clone() });
            batch.rows.extend(held);
        }
        let disk = &mut cluster.nodes[node].disk.log;
        disk.ask(CommitId(1), batch);
        disk.sync();
        disk.end();
        cluster.enter(Moment::START, Happening::Boot(node));
    }
    let equal = run(&mut cluster, said.iter().map(|said| said.rows.len()).sum())?;
    let endpoints = || (0..2).filter_map(|node| cluster.endpoint(node));
    let sum = |count: fn(&dyn Endpoint) -> u64| endpoints().map(count).sum::<u64>();
    let wire: u64 = cluster.nodes.iter().map(|slot| slot.wire_bytes).sum();
    let streamed = sum(|node| node.stats().pipe_bytes_sent);
    Ok(json!({
        "authors": said.len(),
        "lacking_percent": lacking,
        "pattern": pattern.name(),
        "missing": missing.0,
        "missing_bytes": missing.1,
        "digest_bytes": sum(|node| node.stats().digest_bytes),
        "bytes": wire + streamed,
        "repeated_bytes": sum(|node| node.stats().log_bytes_repeated),
        "equal_ms": equal.millis(),
    }))
}

/// Lets them run until both hold all, and a little longer; the moment at which they did.
fn run(cluster: &mut Cluster<Nobody>, records: usize) -> Result<Moment> {
    let run_until = |cluster: &mut Cluster<Nobody>, end: Moment| {
        while cluster.advance(end).is_some() {}
        cluster.now = end;
    };
    let holds_all = |node: usize, cluster: &Cluster<Nobody>| {
        let is_met = |node: &dyn Endpoint| !node.peers().is_empty() && node.registry().records == records;
        cluster.endpoint(node).is_some_and(is_met)
    };
    while !(0..2).all(|node| holds_all(node, cluster)) {
        let now = cluster.now;
        ensure!(now.since(Moment::START) < LIMIT, "not equal within {LIMIT:?}");
        run_until(cluster, now + LOOK);
    }
    let equal = cluster.now;
    run_until(cluster, equal + AFTER);
    let roots: Vec<Option<u64>> = (0..2).map(|node| cluster.endpoint(node).map(Endpoint::log_root)).collect();
    ensure!(roots[0] == roots[1], "they hold as much and not the same: {roots:?}");
    Ok(equal)
}

/// Whether the second node lacks an author's sighting, by its place among those of this author.
fn is_missing((author, place, of): (usize, usize, usize), lacking: u8, pattern: Pattern) -> bool {
    let lacking = usize::from(lacking);
    match pattern {
        Pattern::Newest => (of - place) * 100 <= of * lacking,
        // Without a pattern of its own, and evenly: the steps of a number that has no factor in common with a hundred.
        Pattern::Scattered => (place * 37 + author * 11) % 100 < lacking,
    }
}

/// Numbers in their order, those together that follow each other.
fn joined(numbers: impl Iterator<Item = Interval>) -> Vec<Interval> {
    let mut all: Vec<Interval> = Vec::new();
    for number in numbers {
        match all.last_mut().filter(|last| last.last + 1 == number.first) {
            Some(last) => last.last = number.last,
            None => all.push(number),
        }
    }
    all
}

/// Watches nothing: the checks have scenarios of their own.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn booted(&mut self, _: Moment, _: usize, _: &dyn Endpoint) {}
    fn died(&mut self, _: Moment, _: usize, _: Death) {}
    fn renamed(&mut self, _: Moment, _: usize, _: &dyn Endpoint) {}
    fn event(&mut self, _: Moment, _: usize, _: &Event) {}
    fn changed(&mut self, _: usize) {}
    fn kept(&mut self, _: &dyn Endpoint) {}
    fn ordered(&mut self, _: Moment, _: usize, _: &SendOrder) {}
    fn announced(&mut self, _: Moment, _: usize, _: &BroadcastOrder) {}
    fn raising(&mut self, _: Moment, _: usize, _: &AlertOrder) {}
    fn adding(&mut self, _: Moment, _: usize, _: &RecordOrder) {}
    fn searching(&mut self, _: Moment, _: usize, _: (&SearchOrder, &[RecordView])) {}
    fn deleting(&mut self, _: usize, _: &DeleteOrder) {}
    fn committing(&mut self, _: Moment, _: usize, _: &Batch) {}
    fn scanning(&mut self, _: usize, _: &ScanJob, _: &[RecordView]) {}
    fn scanned(&mut self, _: usize, _: ScanId) {}
    fn synced(&mut self, _: Moment, _: usize, _: &[OpId]) {}
    fn withheld(&mut self, _: Moment, _: usize) {}
    fn stopped(&mut self, _: Moment, _: usize, _: bool) {}
    fn is_peer(&self, _: usize, _: usize) -> bool {
        false
    }
    fn echo(&mut self, _: Moment, _: usize, _: usize) {}
    fn heard(&mut self, _: Moment, _: usize, _: Option<usize>, _: bool) {}
    fn spun(&mut self, _: Moment, _: usize, _: u32, _: &'static str) {}
}

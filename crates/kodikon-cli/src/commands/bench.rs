//! `bench`: what two nodes on this machine take for what is asked of a mesh, on its processor and its disk, without a network between.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kodikon::api::What;
use kodikon::{EventStream, Filter, Mesh, Outcome, Priority, Query, Record};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::args::{BenchArgs, Common};
use crate::daemon::{Signals, event_loop};
use crate::demo::Chance;
use crate::outcome::{Done, Failure};
use crate::places::{self, LOOPBACK};
use crate::print::{self, Tone};

/// Numbers of an embedding, as many as the usual models of persons and faces give.
const DIMS: usize = 512;
/// Identities that the embeddings gather around: a search finds several of one.
const IDENTITIES: u64 = 500;
const MODEL: &str = "bench";
/// Orders to add that wait for the disk together: what a busy camera or an import has on its way.
const TOGETHER: usize = 64;
/// Nothing that is measured here takes as long on a machine that can run a node.
const WITHIN: Duration = Duration::from_secs(20);
/// Broadcasts and alerts leave no faster than this after their burst (docs/operations.md).
const ALERT_EVERY: Duration = Duration::from_millis(100);
const BROADCAST_EVERY: Duration = Duration::from_millis(50);

/// One thing that was measured.
struct Row {
    what: &'static str,
    unit: &'static str,
    /// Ascending.
    samples: Vec<f64>,
}

impl Row {
    fn of(what: &'static str, mut spans: Vec<Duration>) -> Self {
        spans.sort();
        Self { what, unit: "ms", samples: spans.into_iter().map(|span| span.as_secs_f64() * 1e3).collect() }
    }

    /// The sample that so many percent are no greater than.
    fn percentile(&self, percent: usize) -> f64 {
        self.samples.get((self.samples.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    fn document(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "samples": self.samples.len(),
            "p50": self.percentile(50), "p99": self.percentile(99),
        })
    }

    fn cells(&self) -> Vec<String> {
        let shown = |percent| format!("{:.3}", self.percentile(percent));
        let samples = self.samples.len();
        let p99 = if samples > 1 { shown(99) } else { "-".to_owned() };
        vec![self.what.to_owned(), self.unit.to_owned(), shown(50), p99, samples.to_string()]
    }
}

/// Runs the benchmark; what it wrote is gone afterwards, however it ends.
pub(crate) fn run(common: &Common, args: &BenchArgs) -> Result<Done, Failure> {
    // Made first, and gone last.
    let folder = Folder::make(common.data_dir.as_deref())?;
    let measured = event_loop()?.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            rows = measure(args, &folder.0) => rows,
            () = signals.any() => Err(Failure::Undone("ended before all was measured".into())),
        }
    });
    let rows = measured?;
    if common.json {
        print::json(&rows.iter().map(Row::document).collect::<Vec<_>>())?;
    } else {
        let rows: Vec<_> = rows.iter().map(|row| (Tone::Plain, row.cells())).collect();
        print::table(&["measured", "unit", "p50", "p99", "samples"], &rows)?;
    }
    Ok(Done::Well)
}

/// A folder of its own on the disk that nodes write to.
struct Folder(PathBuf);

impl Folder {
    fn make(data_dir: Option<&Path>) -> Result<Self, Failure> {
        let base = data_dir.map_or_else(places::default_data_dir, |dir| Ok(dir.to_owned()))?;
        let folder = base.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| Failure::Undone(format!("{}: {error}", folder.display())))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies where it was named.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn measure(args: &BenchArgs, folder: &Path) -> Result<Vec<Row>, Failure> {
    let mesh = format!("bench-{}", std::process::id());
    let one = node("one", &mesh, folder).await?;
    let other = match node("other", &mesh, folder).await {
        Ok(other) => other,
        Err(failure) => {
            one.shutdown().await;
            return Err(failure);
        }
    };
    let rows = measure_with(args, &one, &other).await;
    one.shutdown().await;
    other.shutdown().await;
    rows
}

async fn measure_with(args: &BenchArgs, one: &Mesh, other: &Mesh) -> Result<Vec<Row>, Failure> {
    let started = Instant::now();
    while one.peers().len() + other.peers().len() < 2 {
        if started.elapsed() > WITHIN {
            return Err(Failure::Undone("two nodes on this machine do not find each other".into()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let letters = letters(one, args.samples).await?;
    // From here on: what it is told by letters is no broadcast.
    let mut events = other.events();
    let mut rows = vec![
        letters,
        broadcasts(one, &mut events, args.samples).await?,
        alerts(one, args.samples).await?,
        sightings(one, &mut events, args.samples).await?,
    ];
    rows.push(fill(one, args.records).await?);
    rows.push(arrival(one, other).await?);
    for (what, is_fast) in [("exact search among all", false), ("fast search among all", true)] {
        rows.push(searches(other, (what, is_fast), args.samples).await?);
    }
    Ok(rows)
}

async fn node(name: &str, mesh: &str, folder: &Path) -> Result<Mesh, Failure> {
    let builder = Mesh::builder(name).data_dir(folder.join(name)).mesh_name(mesh).interfaces([LOOPBACK]);
    builder.start().await.map_err(undone)
}

fn undone(error: impl std::fmt::Display) -> Failure {
    Failure::Undone(error.to_string())
}

/// Waits for an event of the other node.
async fn told(events: &mut EventStream, of: &str, is_it: impl Fn(&What) -> bool) -> Result<(), Failure> {
    let listen = async {
        while let Some(event) = events.next().await {
            if is_it(&event.what) {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(WITHIN, listen).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Failure::Undone(format!("the other node was not told of {of}"))),
    }
}

async fn letters(one: &Mesh, samples: usize) -> Result<Row, Failure> {
    let mut spans = Vec::new();
    for n in 0..samples {
        match one.send("other", json!({"n": n, "text": "x".repeat(40)})).await.map_err(undone)? {
            Outcome::Delivered { rtt, .. } => spans.push(rtt),
            outcome @ (Outcome::Expired { .. } | Outcome::Unreachable { .. } | _) => {
                return Err(Failure::Undone(format!("a message was not delivered: {outcome:?}")));
            }
        }
    }
    Ok(Row::of("message of 64 B until acknowledged", spans))
}

async fn broadcasts(one: &Mesh, events: &mut EventStream, samples: usize) -> Result<Row, Failure> {
    let mut spans = Vec::new();
    for n in 0..samples {
        let said = Instant::now();
        one.broadcast(json!({"n": n})).await.map_err(undone)?;
        told(events, "a broadcast", |what| matches!(what, What::Message { .. })).await?;
        spans.push(said.elapsed());
        tokio::time::sleep(BROADCAST_EVERY).await;
    }
    Ok(Row::of("broadcast until told", spans))
}

async fn alerts(one: &Mesh, samples: usize) -> Result<Row, Failure> {
    let mut spans = Vec::new();
    for n in 0..samples.min(100) {
        let raised = Instant::now();
        let alert = one.alert(json!({"n": n})).priority(Priority::Critical).ttl(Duration::from_secs(60));
        let mut handle = alert.send().await.map_err(undone)?;
        let report = handle.wait(WITHIN).await.map_err(undone)?;
        if !report.missing.is_empty() {
            return Err(Failure::Undone("an alert was not shown".into()));
        }
        spans.push(raised.elapsed());
        tokio::time::sleep(ALERT_EVERY).await;
    }
    Ok(Row::of("critical alert: on disk, shown, and acknowledged", spans))
}

async fn sightings(one: &Mesh, events: &mut EventStream, samples: usize) -> Result<Row, Failure> {
    let mut spans = Vec::new();
    for n in 0..samples {
        let added = Instant::now();
        one.add(record("single", n as u64)).await.map_err(undone)?;
        told(events, "a sighting", |what| matches!(what, What::Record { .. })).await?;
        spans.push(added.elapsed());
    }
    Ok(Row::of("sighting until on disk here and found there", spans))
}

/// As many as the disk takes.
async fn fill(one: &Mesh, records: u64) -> Result<Row, Failure> {
    let (began, mut adding, mut next) = (Instant::now(), JoinSet::new(), 0);
    loop {
        while next < records && adding.len() < TOGETHER {
            let (mesh, record) = (one.clone(), record("bulk", next));
            adding.spawn(async move { mesh.add(record).await.map(drop) });
            next += 1;
        }
        match adding.join_next().await {
            Some(added) => added.map_err(undone)?.map_err(undone)?,
            None => break,
        }
    }
    let rate = records as f64 / began.elapsed().as_secs_f64();
    Ok(Row { what: "sightings on disk, 64 under way", unit: "1/s", samples: vec![rate] })
}

/// How long the other takes for the rest of them.
async fn arrival(one: &Mesh, other: &Mesh) -> Result<Row, Failure> {
    let began = Instant::now();
    let held = |mesh: &Mesh| mesh.stats().registry_content;
    while held(one) != held(other) {
        if began.elapsed() > WITHIN * 10 {
            return Err(Failure::Undone("the other node does not get all sightings".into()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        one.refresh().await.map_err(undone)?;
        other.refresh().await.map_err(undone)?;
    }
    Ok(Row::of("all of them on the other node, after the last was on disk", vec![began.elapsed()]))
}

async fn searches(other: &Mesh, (what, is_fast): (&'static str, bool), samples: usize) -> Result<Row, Failure> {
    let mut spans = Vec::new();
    for n in 0..samples {
        let query = Query::numbers(embedding(n as u64 + 1_000_003)).model(MODEL).k(10).local(true).among(Filter::new());
        let asked = Instant::now();
        let query = if is_fast { query.fast() } else { query };
        let report = other.search(query).await.map_err(undone)?.summary().await.map_err(undone)?;
        spans.push(asked.elapsed());
        if report.results.is_empty() || !(is_fast || report.certified) {
            return Err(Failure::Undone("a search found nothing, or is not certified".into()));
        }
    }
    Ok(Row::of(what, spans))
}

fn record(prefix: &str, n: u64) -> Record {
    Record::new(format!("{prefix}-{n}"))
        .data_type("bench")
        .embedding(embedding(n), MODEL)
        .ttl(Duration::from_secs(3_600))
}

/// One of an identity's views: near its others, and far from those of all else.
fn embedding(n: u64) -> Vec<f32> {
    let numbers = |seed: u64| {
        let mut chance = Chance::new(seed);
        std::iter::repeat_with(move || chance.below(1 << 24) as f32 / (1 << 24) as f32 - 0.5)
    };
    let (identity, view) = (numbers((n % IDENTITIES) << 32), numbers((n << 32) | (1 << 63)));
    identity.zip(view).take(DIMS).map(|(identity, view)| identity + 0.3 * view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_the_last_of_few() {
        let row = Row::of("x", (1..=10).rev().map(Duration::from_millis).collect());
        assert_eq!([50, 99, 1].map(|percent| row.percentile(percent)), [5.0, 10.0, 1.0]);
        assert!(Row::of("x", Vec::new()).percentile(50).is_nan());
    }

    #[test]
    fn views_of_one_identity_are_more_alike_than_others() {
        let cosine = |a: u64, b: u64| {
            let (a, b) = (embedding(a), embedding(b));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
        };
        assert!(cosine(3, 3 + IDENTITIES) > 0.8 && cosine(3, 4).abs() < 0.3);
    }
}

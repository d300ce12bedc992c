//! The command `kodikon-sim`: lists scenarios, runs them with many seeds, tells the story of one.

#![forbid(unsafe_code)]

use std::fmt::Arguments;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use kodikon_sim::cluster::endpoint::real;
use kodikon_sim::run::{Order, Report, run};
use kodikon_sim::scenario::{self, Scenario};
use kodikon_sim::trace::Detail;
use mimalloc::MiMalloc;
use serde_json::{Value, json};

/// A thousand nodes are four million small things in gigabytes that every event reads here and there: this allocator keeps
/// equal sizes together and asks the kernel for huge pages, which the C library's does not.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs meshes of Kodikon nodes in virtual time: the same seed tells the same story.
///
/// Example: kodikon-sim run --scenario swarm-10 --seeds 0..100 --jobs 2
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Lists the scenarios.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs scenarios; exits with 1 if any run broke a promise.
    Run(RunArgs),
    /// Tells the story of one run.
    Replay {
        /// Which scenario.
        #[arg(long)]
        scenario: String,
        /// Which seed.
        #[arg(long)]
        seed: u64,
        /// Nodes, where not as many as the scenario says.
        #[arg(long)]
        nodes: Option<usize>,
        /// Virtual hours, where not as many as the scenario says.
        #[arg(long)]
        hours: Option<f64>,
        /// Tells of every datagram too.
        #[arg(long)]
        packets: bool,
        /// No faults but the scenario's own, as in `run --no-mild`.
        #[arg(long)]
        no_mild: bool,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// Which scenario; may be given again. All if none is given.
    #[arg(long)]
    scenario: Vec<String>,
    /// Which seeds: `A..B`, the last excluded, or one.
    #[arg(long, default_value = "0..1", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Nodes, where not as many as the scenario says.
    #[arg(long)]
    nodes: Option<usize>,
    /// Virtual hours of each run, where not as many as the scenario says.
    #[arg(long)]
    hours: Option<f64>,
    /// Runs at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// JSON Lines, one for each run.
    #[arg(long)]
    json: bool,
    /// No faults but the scenario's own: for measuring.
    #[arg(long)]
    no_mild: bool,
}

/// One run that is to be made.
#[derive(Clone)]
struct Job {
    name: String,
    scenario: Scenario,
    seed: u64,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = |_| format!("`{text}` is neither a seed nor a range `A..B`");
    match text.split_once("..") {
        Some((first, last)) => Ok(first.parse().map_err(wrong)?..last.parse().map_err(wrong)?),
        None => text.parse().map(|seed| seed..seed + 1).map_err(wrong),
    }
}

/// A line on stdout. Whoever reads it may stop reading: then there is nobody to tell the rest.
fn say(line: Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

fn main() -> ExitCode {
    let done = match Args::parse().verb {
        Verb::List { json } => list(json),
        Verb::Run(args) => run_all(&args),
        Verb::Replay { scenario, seed, nodes, hours, packets, no_mild } => {
            let detail = if packets { Detail::Packets } else { Detail::Events };
            find(&scenario, nodes, hours, no_mild)
                .map(|found| replay(&Job { name: scenario, scenario: found, seed }, detail))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("kodikon-sim: {error:#}");
        ExitCode::from(2)
    })
}

fn find(name: &str, nodes: Option<usize>, hours: Option<f64>, no_mild: bool) -> Result<Scenario> {
    let mut found = scenario::find(name)?;
    found.nodes = nodes.unwrap_or(found.nodes);
    found.hours = hours.unwrap_or(found.hours);
    found.mild &= !no_mild;
    found.check()?;
    Ok(found)
}

fn list(as_json: bool) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for name in scenario::names() {
        let found = scenario::find(name)?;
        rows.push(json!({"scenario": name, "nodes": found.nodes, "hours": found.hours, "what": found.what}));
        if !as_json {
            say(format_args!("{name:18} {:>5} nodes {:>5} h  {}", found.nodes, found.hours, found.what));
        }
    }
    if as_json {
        say(format_args!("{}", json!(rows)));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_all(args: &RunArgs) -> Result<ExitCode> {
    ensure!(!args.seeds.is_empty(), "no seed in {}..{}", args.seeds.start, args.seeds.end);
    let names =
        if args.scenario.is_empty() { scenario::names().map(str::to_owned).collect() } else { args.scenario.clone() };
    let mut jobs = Vec::new();
    for name in names {
        let scenario = find(&name, args.nodes, args.hours, args.no_mild)?;
        jobs.extend(args.seeds.clone().map(|seed| Job { name: name.clone(), scenario: scenario.clone(), seed }));
    }
    let (next, sound, out) = (AtomicUsize::new(0), AtomicBool::new(true), Mutex::new(()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, jobs.len()) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let line = run_one(job);
                    let broken = line["violations"].as_array().is_none_or(|violations| !violations.is_empty());
                    sound.fetch_and(!broken, Ordering::Relaxed);
                    let _whole_lines = out.lock();
                    if args.json { say(format_args!("{line}")) } else { print_run(&line) }
                }
            });
        }
    });
    Ok(ExitCode::from(u8::from(!sound.into_inner())))
}

/// Makes one run. A panic in it is a promise broken like any other.
fn run_one(job: &Job) -> Value {
    let began = CpuTime::now();
    let order = Order { seed: job.seed, detail: Detail::Silent, maker: real };
    let report = catch_unwind(AssertUnwindSafe(|| run(&job.scenario, &order, &mut |_| {})));
    let cpu_s = began.elapsed();
    match report {
        Ok(report) => line(job, cpu_s, &report),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause");
            json!({
                "scenario": job.name, "seed": job.seed, "nodes": job.scenario.nodes, "node_hours": 0.0, "cpu_s": cpu_s,
                "events": 0, "violations": [format!("panic: {text}")], "trace_hash": "", "faults": {}, "checks": {},
                "metrics": {},
            })
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run has few nodes")]
fn line(job: &Job, cpu_s: f64, report: &Report) -> Value {
    let mut violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    let untold = report.broken - report.violations.len() as u64;
    if untold > 0 {
        violations.push(format!("and {untold} more"));
    }
    let round = |value: f64| (value * 1e6).round() / 1e6;
    json!({
        "scenario": job.name, "seed": job.seed, "nodes": job.scenario.nodes,
        "node_hours": round(job.scenario.nodes as f64 * job.scenario.hours), "cpu_s": round(cpu_s),
        "events": report.events, "violations": violations, "trace_hash": format!("{:016x}", report.hash),
        "faults": report.faults, "checks": report.checks, "metrics": report.metrics,
    })
}

fn print_run(line: &Value) {
    let violations = line["violations"].as_array().map_or(0, Vec::len);
    let verdict = if violations == 0 { "ok" } else { "BROKEN" };
    let (name, seed) = (line["scenario"].as_str().unwrap_or_default(), &line["seed"]);
    let (hours, cpu) = (line["node_hours"].as_f64().unwrap_or(0.0), line["cpu_s"].as_f64().unwrap_or(0.0));
    let hash = line["trace_hash"].as_str().unwrap_or_default();
    say(format_args!(
        "{verdict:6} {name:18} seed {seed:<6} {hours:>7.2} node-hours in {cpu:>7.2} s of CPU, trace {hash}"
    ));
    for violation in line["violations"].as_array().into_iter().flatten() {
        say(format_args!("       {}", violation.as_str().unwrap_or_default()));
    }
    if violations > 0 {
        say(format_args!("       again: kodikon-sim replay --scenario {name} --seed {seed}   (commit {})", commit()));
    }
}

/// The commit of the working directory, as far as git knows it.
fn commit() -> String {
    let asked = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let told = asked.ok().filter(|told| told.status.success()).and_then(|told| String::from_utf8(told.stdout).ok());
    told.map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned())
}

fn replay(job: &Job, detail: Detail) -> ExitCode {
    let order = Order { seed: job.seed, detail, maker: real };
    let report = run(&job.scenario, &order, &mut |line| say(format_args!("{line}")));
    report.violations.iter().for_each(|violation| say(format_args!("BROKEN {violation}")));
    say(format_args!("trace {:016x}", report.hash));
    ExitCode::from(u8::from(report.broken > 0))
}

/// Time that this thread has used, where the kernel tells; time on the clock elsewhere.
struct CpuTime(Option<u64>, Instant);

impl CpuTime {
    fn now() -> Self {
        Self(Self::read(), Instant::now())
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run fit in 53 bits")]
    fn elapsed(&self) -> f64 {
        match (self.0, Self::read()) {
            (Some(before), Some(after)) => (after - before) as f64 / 1e9,
            (None, _) | (_, None) => self.1.elapsed().as_secs_f64(),
        }
    }

    fn read() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok()
    }
}

//! The command `kodikon-sim`: lists scenarios, runs them with many seeds, tells the story of one.
#![expect(clippy::print_stdout, reason = "results go to stdout")]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kodikon_sim::cluster::endpoint::real;
use kodikon_sim::run::{Order, Report, run};
use kodikon_sim::scenario;
use kodikon_sim::trace::Detail;
use serde_json::json;

/// Runs meshes of Kodikon nodes in virtual time.
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
    /// Runs scenarios and exits with 1 if any run broke a promise.
    Run {
        /// Which scenario; all if none is given.
        #[arg(long)]
        scenario: Vec<String>,
        /// Which seeds: `A..B`, the last excluded, or one.
        #[arg(long, default_value = "0..1", value_parser = parse_seeds)]
        seeds: core::ops::Range<u64>,
        /// JSON Lines.
        #[arg(long)]
        json: bool,
    },
    /// Tells the story of one run.
    Replay {
        /// Which scenario.
        #[arg(long)]
        scenario: String,
        /// Which seed.
        #[arg(long)]
        seed: u64,
    },
}

fn parse_seeds(text: &str) -> Result<core::ops::Range<u64>, String> {
    let wrong = |_| format!("`{text}` is neither a seed nor a range `A..B`");
    match text.split_once("..") {
        Some((first, last)) => Ok(first.parse().map_err(wrong)?..last.parse().map_err(wrong)?),
        None => text.parse().map(|seed| seed..seed + 1).map_err(wrong),
    }
}

fn main() -> Result<ExitCode> {
    match Args::parse().verb {
        Verb::List { json } => list(json),
        Verb::Run { scenario, seeds, json } => run_all(scenario, seeds, json),
        Verb::Replay { scenario, seed } => replay(&scenario, seed),
    }
}

fn list(as_json: bool) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for name in scenario::names() {
        let found = scenario::find(name)?;
        rows.push(json!({"scenario": name, "nodes": found.nodes, "hours": found.hours, "what": found.what}));
    }
    if as_json {
        println!("{}", json!(rows));
    } else {
        rows.iter()
            .for_each(|row| println!("{:24} {:>5} {:>6} {}", row["scenario"], row["nodes"], row["hours"], row["what"]));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_all(mut names: Vec<String>, seeds: core::ops::Range<u64>, as_json: bool) -> Result<ExitCode> {
    if names.is_empty() {
        names = scenario::names().map(str::to_owned).collect();
    }
    let mut sound = true;
    for name in names {
        let scenario = scenario::find(&name)?;
        for seed in seeds.clone() {
            let began = Instant::now();
            let report = run(&scenario, &Order { seed, detail: Detail::Silent, maker: real }, &mut |_| {});
            let node_hours = scenario.nodes as f64 * scenario.hours;
            let line = line(&name, seed, (scenario.nodes, node_hours), began.elapsed().as_secs_f64(), &report);
            sound &= report.broken == 0;
            println!("{}", if as_json { line.to_string() } else { format!("{line:#}") });
        }
    }
    Ok(ExitCode::from(u8::from(!sound)))
}

fn line(name: &str, seed: u64, (nodes, node_hours): (usize, f64), cpu_s: f64, report: &Report) -> serde_json::Value {
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    json!({
        "scenario": name, "seed": seed, "nodes": nodes, "node_hours": node_hours, "cpu_s": cpu_s,
        "events": report.events, "violations": violations, "trace_hash": format!("{:016x}", report.hash),
        "checks": report.checks, "metrics": report.metrics,
    })
}

fn replay(name: &str, seed: u64) -> Result<ExitCode> {
    let scenario = scenario::find(name)?;
    let report = run(&scenario, &Order { seed, detail: Detail::Events, maker: real }, &mut |line| println!("{line}"));
    report.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    println!("trace {:016x}", report.hash);
    Ok(ExitCode::from(u8::from(report.broken > 0)))
}

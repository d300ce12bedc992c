//! Decides which figures are taken from the simulator: meshes too large for this computer, and its own speed.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use kodikon_lab::Distribution;
use serde_json::Value;

use crate::report::{Report, Row};
use crate::target::{self, IDLE, SPEED, Target};

/// To whom the figures belong.
const US: &str = "kodikon";
/// The scenario in which nothing happens.
const IDLE_MESH: &str = "idle-100";
const MINUTES: f64 = 60.0;
/// The longer of two runs of an idle mesh, in lengths of the shorter.
const LONGER: f64 = 1.5;

/// Which scenarios to run, and for how long.
#[derive(Clone, clap::Args)]
pub(crate) struct Plan {
    /// Sizes of meshes in which nothing happens; several with commas.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000])]
    pub(crate) idle: Vec<u16>,
    /// Virtual hours of each of them, where not as many as the scenario says. They run half as long again.
    #[arg(long)]
    pub(crate) hours: Option<f64>,
    /// Sizes of meshes in which nodes come and go; several with commas.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000])]
    pub(crate) events: Vec<u16>,
    /// Scenarios whose node-hours per CPU-second are counted; several with commas.
    #[arg(long, value_delimiter = ',', default_values = ["swarm-5", "swarm-10", "swarm-30"])]
    pub(crate) speed: Vec<String>,
    /// How many seeds of each of these.
    #[arg(long, default_value_t = 5)]
    pub(crate) seeds: u32,
}

/// Something that happens to a mesh in a scenario, some times within [`EVENT_HOURS`], and how long all take to know it.
struct Event {
    scenario: &'static str,
    figures: &'static [Told],
}

/// A figure of a run, and the row that is made of it.
struct Told {
    pointer: &'static str,
    what: &'static str,
    targets: &'static [Target],
}

const EVENT_HOURS: f64 = 0.05;
const EVENTS: [Event; 4] = [
    Event {
        scenario: "late-joiner",
        // Of the last one: those of the cold start are counted with the others. Until it knows all, too, of which nothing is aimed at.
        figures: &[told("full_roster_ms", "late joiner: known to all and knowing all", target::NO_TARGET)],
    },
    Event {
        scenario: "power-off",
        figures: &[
            told("suspect_first_ms/p50", "silence: SUSPECT at the first, p50", target::SUSPECT),
            told("silent_failed_ms/p50", "silence: FAILED at each, p50", target::FAILED_P50),
            told("silent_failed_ms/p99", "silence: FAILED at each, p99", target::FAILED_AT_EACH),
        ],
    },
    Event {
        scenario: "crash",
        figures: &[told("crash_failed_ms/p99", "process crash: FAILED at each, p99", target::CRASH)],
    },
    Event { scenario: "goodbye", figures: &[told("left_ms/p99", "goodbye: LEFT at each, p99", target::GOODBYE)] },
];

const fn told(pointer: &'static str, what: &'static str, targets: &'static [Target]) -> Told {
    Told { pointer, what, targets }
}

impl Event {
    fn measure(&self, program: &Path, nodes: u16, report: &mut Report) -> Result<()> {
        let mut command = Command::new(program);
        command.args(["run", "--no-mild", "--json", "--scenario", self.scenario, &format!("--nodes={nodes}")]);
        command.arg(format!("--hours={EVENT_HOURS}"));
        let run = runs(&mut command)?.pop().context("no run")?;
        for Told { pointer, what, targets } in self.figures {
            let value = number(&run, &format!("/metrics/{pointer}"))?;
            let samples =
                pointer.split_once('/').and_then(|(of, _)| run.pointer(&format!("/metrics/{of}/n"))?.as_u64());
            let of = samples.map_or_else(String::new, |samples| format!(", of {samples} samples"));
            let note = Some(format!("simulated, virtual time{of}"));
            report.add_value(Row { what, nodes, unit: "ms", targets }, US, value, note);
        }
        Ok(())
    }
}

/// Runs the simulator: what an idle mesh sends, and how fast it is itself.
pub(crate) fn simulate(program: &Path, plan: &Plan, report: &mut Report) {
    for &nodes in &plan.idle {
        eprintln!("{nodes} idle nodes, simulated");
        if let Err(error) = idle(program, nodes, plan.hours, report) {
            report.fail(format!("{nodes} idle nodes, simulated"), &error);
        }
    }
    for &nodes in &plan.events {
        for event in &EVENTS {
            eprintln!("{} of {nodes} nodes, simulated", event.scenario);
            if let Err(error) = event.measure(program, nodes, report) {
                report.fail(format!("{} of {nodes} nodes, simulated", event.scenario), &error);
            }
        }
    }
    if plan.speed.is_empty() {
        return;
    }
    eprintln!("speed of the simulator");
    if let Err(error) = speed(program, plan, report) {
        report.fail("speed of the simulator".to_owned(), &error);
    }
}

fn idle(program: &Path, nodes: u16, hours: Option<f64>, report: &mut Report) -> Result<()> {
    let run = |hours: Option<f64>| {
        let mut command = Command::new(program);
        command.args(["run", "--no-mild", "--json", "--scenario", IDLE_MESH, &format!("--nodes={nodes}")]);
        command.args(hours.map(|hours| format!("--hours={hours}")));
        runs(&mut command)?.pop().context("no run")
    };
    let hours = hours.map_or_else(|| usual_hours(program, IDLE_MESH), Ok)?;
    // The same story, and its first part: what is sent between their ends is sent by a mesh that has long been calm. Each
    // has a core of its own.
    let (whole, part) = thread::scope(|scope| {
        let part = scope.spawn(|| run(Some(hours)));
        let whole = run(Some(hours * LONGER));
        Ok::<_, Error>((whole?, part.join().map_err(|_| anyhow!("the thread of a run panicked"))??))
    })?;
    let row = |what, unit, targets: &'static [Target]| Row { what, nodes, unit, targets };
    let node_hours = number(&whole, "/node_hours")?;
    let cpu = number(&whole, "/cpu_s")?;
    let bytes = number(&whole, "/metrics/bytes_per_node_minute")?;
    let note =
        format!("simulated, {:.2} h in {cpu:.0} s of CPU, from the second minute on", node_hours / f64::from(nodes));
    report.add_value(row("idle: sent per node and minute", "bytes", IDLE), US, bytes, Some(note));
    let sent = number(&whole, "/metrics/datagrams_sent")? - number(&part, "/metrics/datagrams_sent")?;
    let minutes = (node_hours - number(&part, "/node_hours")?) * MINUTES;
    let note = "simulated, the last third; without ARP".to_owned();
    report.add_value(row("idle: sent per node and minute", "packets", &[]), US, sent / minutes, Some(note));
    // It begins with a cold start: all boot within the first second, and no boot takes time.
    if let Ok(full) = number(&whole, "/metrics/full_roster_ms") {
        let row = row("cold start: last `started` to full roster at all", "ms", &[]);
        report.add_value(row, US, full, Some("simulated, virtual time".to_owned()));
    }
    Ok(())
}

/// How long the scenario takes by itself.
fn usual_hours(program: &Path, scenario: &str) -> Result<f64> {
    let done = Command::new(program).args(["list", "--json"]).output().context("cannot run the simulator")?;
    let scenarios: Vec<Value> = serde_json::from_slice(&done.stdout).context("its list of scenarios")?;
    let found = scenarios.iter().find(|row| row["scenario"] == scenario);
    found.and_then(|row| row["hours"].as_f64()).with_context(|| format!("no scenario {scenario}"))
}

fn speed(program: &Path, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["run", "--json", "--seeds", &format!("0..{}", plan.seeds)]);
    plan.speed.iter().for_each(|scenario| {
        command.args(["--scenario", scenario]);
    });
    let (mut node_hours, mut cpu_s) = (0.0, 0.0);
    let mut speeds = Vec::new();
    for run in runs(&mut command)? {
        let (hours, seconds) = (number(&run, "/node_hours")?, number(&run, "/cpu_s")?);
        speeds.push(hours / seconds);
        node_hours += hours;
        cpu_s += seconds;
    }
    let note =
        format!("{}; {node_hours:.0} node-hours in {cpu_s:.1} s: {:.1}", plan.speed.join(", "), node_hours / cpu_s);
    let row = Row { what: "simulator: node-hours per CPU-second", nodes: 0, unit: "1/s", targets: SPEED };
    report.add(row, US, Distribution::of(speeds), Some(note));
    Ok(())
}

/// The lines of one call of the simulator. A broken promise makes its figures worthless.
fn runs(command: &mut Command) -> Result<Vec<Value>> {
    let done = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&done.stdout);
    let runs = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context("its output")?;
    for run in &runs {
        let broken = run["violations"].as_array().context("no violations, not even none")?;
        ensure!(broken.is_empty(), "{} seed {} broke a promise: {broken:?}", run["scenario"], run["seed"]);
    }
    if !done.status.success() || runs.is_empty() {
        bail!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(runs)
}

fn number(run: &Value, pointer: &str) -> Result<f64> {
    run.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no number {pointer} in {run}"))
}

//! Decides which figures are taken from the simulator: meshes too large for this computer, and its own speed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kodikon_lab::Distribution;
use serde_json::Value;

use crate::report::{Report, Row};
use crate::target::{IDLE, Target};

/// To whom the figures belong.
const US: &str = "kodikon";
const SECONDS_PER_MINUTE: f64 = 60.0;

/// Which scenarios to run, and for how long.
#[derive(Clone, clap::Args)]
pub(crate) struct Plan {
    /// Scenarios in which nothing happens; several with commas.
    #[arg(long, value_delimiter = ',', default_values = ["idle-100", "idle-1000"])]
    pub(crate) idle: Vec<String>,
    /// Virtual hours of each of them, where not as many as the scenario says.
    #[arg(long)]
    pub(crate) hours: Option<f64>,
    /// Scenarios whose node-hours per CPU-second are counted; several with commas.
    #[arg(long, value_delimiter = ',', default_values = ["swarm-5", "swarm-10", "swarm-30"])]
    pub(crate) speed: Vec<String>,
    /// How many seeds of each of these.
    #[arg(long, default_value_t = 5)]
    pub(crate) seeds: u32,
}

/// Runs the simulator: what an idle mesh sends, and how fast it is itself.
pub(crate) fn simulate(program: &Path, plan: &Plan, report: &mut Report) {
    for scenario in &plan.idle {
        eprintln!("{scenario}, simulated");
        if let Err(error) = idle(program, scenario, plan.hours, report) {
            report.fail(format!("{scenario}, simulated"), &error);
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

fn idle(program: &Path, scenario: &str, hours: Option<f64>, report: &mut Report) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["run", "--no-mild", "--json", "--scenario", scenario]);
    if let Some(hours) = hours {
        command.args(["--hours", &hours.to_string()]);
    }
    for run in runs(&mut command)? {
        let nodes = run["nodes"].as_u64().and_then(|nodes| u16::try_from(nodes).ok()).context("no number of nodes")?;
        let row = |what, unit, targets: &'static [Target]| Row { what, nodes, unit, targets };
        let node_hours = number(&run, "/node_hours")?;
        let hours =
            format!("simulated, {:.2} h in {:.0} s of CPU", node_hours / f64::from(nodes), number(&run, "/cpu_s")?);
        let bytes = number(&run, "/metrics/bytes_per_node_minute")?;
        report.add_value(row("idle: sent per node and minute", "bytes", IDLE), US, bytes, Some(hours));
        let packets = number(&run, "/metrics/datagrams_sent")? / (node_hours * SECONDS_PER_MINUTE);
        let note = "simulated; the start included, ARP not".to_owned();
        report.add_value(row("idle: sent per node and minute", "packets", &[]), US, packets, Some(note));
        // It begins with a cold start: all boot within the first second, and no boot takes time.
        if let Ok(full) = number(&run, "/metrics/full_roster_ms") {
            let row = row("cold start: last `started` to full roster at all", "ms", &[]);
            report.add_value(row, US, full, Some("simulated, virtual time".to_owned()));
        }
    }
    Ok(())
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
    let row = Row { what: "simulator: node-hours per CPU-second", nodes: 0, unit: "1/s", targets: &[] };
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

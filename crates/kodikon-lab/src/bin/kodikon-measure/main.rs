//! Measures real nodes on the hosts of a lab: how fast they meet, how fast a death is known, and what idling costs.

mod deaths;
mod idle;
mod joins;
mod report;
mod trial;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use kodikon_lab::{Lab, Program, alone};

use report::Report;
use trial::Contestant;

/// Measures kodikon on hosts in network namespaces. Needs root; uses the computer alone for the time it takes.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example: kodikon-measure --binary target/release/kodikon --markdown cold.md cold-start"
)]
struct Cli {
    /// The kodikon binary to measure.
    #[arg(long, default_value = "target/release/kodikon")]
    binary: PathBuf,
    /// Measures another program beside it, in the same run, where it can do the same.
    #[arg(long, value_parser = ["serf"])]
    rival: Option<String>,
    /// Does not measure kodikon, only the rival.
    #[arg(long, requires = "rival")]
    rival_only: bool,
    /// Does not wait until other measurements on this computer have ended.
    #[arg(long)]
    shared: bool,
    /// Writes the table here, as Markdown.
    #[arg(long, overrides_with = "markdown")]
    markdown: Option<PathBuf>,
    /// Writes the JSON document here, in place of standard output.
    #[arg(long, overrides_with = "json")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From the last `started` to the last of the n(n-1) first `peer_up`s.
    ColdStart {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        /// How many starts of each size.
        #[arg(long, default_value_t = 20)]
        runs: u32,
    },
    /// From a newcomer's `started` to the `peer_up` at each of the others.
    LateJoiner {
        /// How many nodes with the newcomer.
        #[arg(long, default_value_t = 30)]
        nodes: u16,
        /// How many newcomers.
        #[arg(long, default_value_t = 50)]
        runs: u32,
    },
    /// From a death to the event at each of the others: by silence, by SIGKILL, by SIGTERM.
    Deaths {
        /// How many nodes with the one that dies.
        #[arg(long, default_value_t = 10)]
        nodes: u16,
        /// How many deaths of each kind.
        #[arg(long, default_value_t = 50)]
        kills: u32,
    },
    /// From the end of a silent partition in two halves to the `peer_up` of each about each of the other half.
    Heal {
        /// How many nodes.
        #[arg(long, default_value_t = 10)]
        nodes: u16,
        /// How many partitions.
        #[arg(long, default_value_t = 10)]
        runs: u32,
        /// Seconds it lasts after the last FAILED.
        #[arg(long, default_value_t = 10)]
        hold: u64,
    },
    /// Bytes and packets a node sends in a minute when nothing happens, counted at the switch.
    Idle {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        #[command(flatten)]
        minutes: Minutes,
    },
    /// Memory and CPU time of a node with ten peers when nothing happens.
    Resources {
        #[command(flatten)]
        minutes: Minutes,
    },
    /// All of these.
    All {
        /// A few minutes in place of about two hours: shows that everything runs, its figures mean little.
        #[arg(long)]
        quick: bool,
    },
    /// Removes what a killed measurement left behind.
    Clean,
}

#[derive(Args, Clone, Copy)]
struct Minutes {
    /// How long to count.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How long to wait before, until the greetings are over.
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
}

impl Minutes {
    fn times(self) -> Result<idle::Times> {
        let time = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0).context("not a number of minutes");
        Ok(idle::Times { settle: time(self.settle)?, count: time(self.minutes)? })
    }
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    Lab::available().map_err(|reason| anyhow!("no network namespaces: {reason}"))?;
    if matches!(cli.what, What::Clean) {
        Lab::sweep()?;
        return Ok(ExitCode::SUCCESS);
    }
    let contestants = contestants(&cli)?;
    let _alone = if cli.shared {
        None
    } else {
        eprintln!("waiting for the computer to be free");
        Some(alone()?)
    };
    let mut report = Report::begin(&contestants);
    measure(&cli.what, &contestants, &mut report)?;
    write(&cli, &report)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn contestants(cli: &Cli) -> Result<Vec<Contestant>> {
    let mut found = Vec::new();
    if !cli.rival_only {
        // A path without a slash would be looked for in PATH.
        let binary = fs::canonicalize(&cli.binary).with_context(|| format!("no binary {}", cli.binary.display()))?;
        found.push(Contestant { name: "kodikon", program: Program::Kodikon(binary) });
    }
    if cli.rival.is_some() {
        match trial::find_program("serf") {
            Some(path) => found.push(Contestant { name: "serf", program: Program::Serf(path) }),
            None if cli.rival_only => bail!("serf is not installed (package serf)"),
            None => eprintln!("serf is not installed (package serf): measured without it"),
        }
    }
    Ok(found)
}

fn measure(what: &What, contestants: &[Contestant], report: &mut Report) -> Result<()> {
    match what {
        What::ColdStart { nodes, runs } => {
            nodes.iter().for_each(|size| joins::cold_start(contestants, *size, *runs, report));
        }
        What::LateJoiner { nodes, runs } => joins::late_joiner(contestants, *nodes, *runs, report),
        What::Deaths { nodes, kills } => deaths::deaths(contestants, *nodes, *kills, report),
        What::Heal { nodes, runs, hold } => {
            let plan = deaths::Partition { nodes: *nodes, runs: *runs, hold: Duration::from_secs(*hold) };
            deaths::heal(contestants, plan, report);
        }
        What::Idle { nodes, minutes } => {
            let times = minutes.times()?;
            nodes.iter().for_each(|size| idle::traffic(contestants, *size, times, report));
        }
        What::Resources { minutes } => idle::resources(contestants, minutes.times()?, report),
        What::All { quick } => all(*quick, contestants, report)?,
        What::Clean => {}
    }
    Ok(())
}

fn all(quick: bool, contestants: &[Contestant], report: &mut Report) -> Result<()> {
    let few = |runs: u32| if quick { runs.min(3) } else { runs };
    let long = if quick { 0.5 } else { 10.0 };
    let minutes = Minutes { minutes: long, settle: long.min(1.0) };
    let (nodes, settled) = (vec![3, 10, 30], minutes);
    let parts = [
        What::ColdStart { nodes: nodes.clone(), runs: few(20) },
        What::LateJoiner { nodes: 30, runs: few(50) },
        What::Deaths { nodes: 10, kills: few(50) },
        What::Heal { nodes: 10, runs: few(10), hold: 10 },
        What::Idle { nodes, minutes },
        What::Resources { minutes: settled },
    ];
    parts.iter().try_for_each(|part| measure(part, contestants, report))
}

fn write(cli: &Cli, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("the report is no JSON")? + "\n";
    match &cli.json {
        Some(path) => fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?,
        None => io::stdout().write_all(json.as_bytes()).context("cannot write the report")?,
    }
    if let Some(path) = &cli.markdown {
        fs::write(path, report.markdown()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

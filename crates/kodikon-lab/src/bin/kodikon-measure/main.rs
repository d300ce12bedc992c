//! Measures real nodes on the hosts of a lab: how fast they meet, how fast a death is known, and what idling costs.

mod deaths;
mod heal;
mod idle;
mod joins;
mod page;
mod report;
mod simulator;
mod target;
mod trial;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use kodikon_lab::{Lab, Program, alone};

use report::{Report, Row};
use trial::{Contestant, Runs};

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
    /// The simulator's binary.
    #[arg(long, default_value = "target/release/kodikon-sim")]
    simulator: PathBuf,
    /// The binary that is given away; without it its size is not told.
    #[arg(long)]
    dist: Option<PathBuf>,
    /// Measures another program beside it, in the same run, where it can do the same.
    #[arg(long, value_parser = ["serf"])]
    rival: Option<String>,
    /// Does not measure kodikon, only the rival.
    #[arg(long, requires = "rival")]
    rival_only: bool,
    /// How often at most a rival is measured in each part; by default as often as a comparison needs.
    #[arg(long)]
    rival_runs: Option<u32>,
    /// The command that the page names, where a script has been called.
    #[arg(long)]
    typed: Option<String>,
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
        /// How many of a hundred frames the switch drops, at each receiver.
        #[arg(long, default_value_t = 0.0)]
        loss: f64,
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
        /// Seconds it lasts after the last FAILED, at least. In the first half minute a rival still talks to the dead.
        #[arg(long, default_value_t = 40)]
        hold: u64,
    },
    /// Bytes and packets a node sends in a minute when nothing happens, counted at the switch; memory and CPU time of a
    /// node with ten peers meanwhile.
    Idle {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        #[command(flatten)]
        minutes: Minutes,
    },
    /// What an idle mesh of 100 or 1,000 sends, by the simulator, and how fast that is.
    Simulator {
        #[command(flatten)]
        plan: simulator::Plan,
    },
    /// The size of the binary that is given away: see --dist.
    Size,
    /// All of these.
    All {
        /// A few minutes in place of half an hour: shows that everything runs, its figures mean little.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        plan: simulator::Plan,
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
    let typed = || env::args().collect::<Vec<_>>().join(" ");
    let mut report = Report::begin(cli.typed.clone().unwrap_or_else(typed), &contestants);
    measure(&cli, &cli.what, &contestants, &mut report)?;
    report.end();
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

fn measure(cli: &Cli, what: &What, contestants: &[Contestant], report: &mut Report) -> Result<()> {
    let runs = |ours: u32, rival: u32| Runs { ours, rival: cli.rival_runs.unwrap_or(rival) };
    match what {
        What::ColdStart { nodes, runs: starts, loss } => {
            nodes.iter().for_each(|size| joins::cold_start(contestants, (*size, *loss), runs(*starts, 10), report));
        }
        // 300 samples need eleven newcomers among thirty.
        What::LateJoiner { nodes, runs: newcomers } => {
            joins::late_joiner(contestants, *nodes, runs(*newcomers, 11), report);
        }
        What::Deaths { nodes, kills } => deaths::deaths(contestants, *nodes, runs(*kills, 10), report),
        What::Heal { nodes, runs: partitions, hold } => {
            let hold = Duration::from_secs(*hold);
            heal::heal(contestants, heal::Partition { nodes: *nodes, runs: runs(*partitions, 3), hold }, report);
        }
        What::Idle { nodes, minutes } => idle::idle(contestants, nodes, minutes.times()?, report),
        What::Simulator { plan } => simulator::simulate(&cli.simulator, plan, report),
        What::Size => {
            cli.dist.iter().for_each(|binary| size(binary, report));
        }
        What::All { quick, plan } => {
            for part in all(*quick, plan) {
                measure(cli, &part, contestants, report)?;
            }
        }
        What::Clean => {}
    }
    Ok(())
}

fn all(quick: bool, plan: &simulator::Plan) -> [What; 8] {
    let few = |runs: u32, few: u32| if quick { few } else { runs };
    let minutes = if quick { Minutes { minutes: 1.0, settle: 0.5 } } else { Minutes { minutes: 10.0, settle: 1.0 } };
    [
        What::ColdStart { nodes: vec![3, 10, 30], runs: few(20, 3), loss: 0.0 },
        What::ColdStart { nodes: vec![10], runs: few(20, 3), loss: 20.0 },
        What::LateJoiner { nodes: 30, runs: few(50, 5) },
        What::Deaths { nodes: 10, kills: few(50, 5) },
        What::Heal { nodes: 10, runs: few(10, 3), hold: few(40, 2).into() },
        What::Idle { nodes: vec![3, 10, 30], minutes },
        What::Simulator { plan: plan.clone() },
        What::Size,
    ]
}

fn size(binary: &Path, report: &mut Report) {
    let row = Row { what: "binary, `dist` profile", nodes: 0, unit: "MB", targets: target::BINARY };
    match fs::metadata(binary) {
        #[expect(clippy::cast_precision_loss, reason = "no binary has 2^53 bytes")]
        Ok(meta) => report.add_value(row, "kodikon", meta.len() as f64 / 1e6, None),
        Err(error) => report.fail(format!("the size of {}", binary.display()), &error.into()),
    }
}

fn write(cli: &Cli, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("the report is no JSON")? + "\n";
    match &cli.json {
        Some(path) => fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?,
        None => io::stdout().write_all(json.as_bytes()).context("cannot write the report")?,
    }
    if let Some(path) = &cli.markdown {
        fs::write(path, page::page(report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

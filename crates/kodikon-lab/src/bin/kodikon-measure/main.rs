//! Measures real nodes on the hosts of a lab: how fast they meet, how fast a death is known, how messages arrive, and what
//! idling costs.

mod alerts;
mod babeld;
mod broadcasts;
mod crowd;
mod deaths;
mod digests;
mod echo;
mod fetches;
mod flow;
mod heal;
mod idle;
mod joins;
mod letters;
mod page;
mod parts;
mod report;
mod request;
mod reroute;
mod sightings;
mod simulator;
mod target;
mod trial;
mod volume;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use kodikon_lab::{Lab, Program, alone};

use parts::What;
use report::{Report, Row};
use reroute::Carrier;
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
    /// Seconds that a release build of it took from nothing; without them that is not told.
    #[arg(long)]
    build_s: Option<f64>,
    /// Of how many packages it was built.
    #[arg(long)]
    packages: Option<u32>,
    /// The library's echo program (`cargo bench -p kodikon --bench echo`); without it there is no echo.
    #[arg(long)]
    echo: Option<PathBuf>,
    /// The program that counts digests (`cargo build --release -p kodikon-sim --example digests`); without it there are none.
    #[arg(long)]
    digests: Option<PathBuf>,
    /// Measures other programs beside it, in the same run, where they can do the same; several with commas.
    #[arg(long, value_delimiter = ',', value_parser = ["serf", "babeld"])]
    rival: Vec<String>,
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

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    Lab::available().map_err(|reason| anyhow!("no network namespaces: {reason}"))?;
    if matches!(cli.what, What::Clean) {
        Lab::sweep()?;
        return Ok(ExitCode::SUCCESS);
    }
    let field = Field::find(&cli)?;
    let _alone = if cli.shared {
        None
    } else {
        eprintln!("waiting for the computer to be free");
        Some(alone()?)
    };
    let typed = || env::args().collect::<Vec<_>>().join(" ");
    let mut report = Report::begin(cli.typed.clone().unwrap_or_else(typed), field.versions());
    measure(&cli, &cli.what, &field, &mut report)?;
    report.end();
    write(&cli, &report)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is measured.
struct Field {
    /// The programs of which there are nodes.
    contestants: Vec<Contestant>,
    /// The routing daemon.
    babeld: Option<PathBuf>,
}

impl Field {
    fn find(cli: &Cli) -> Result<Self> {
        let mut field = Self { contestants: Vec::new(), babeld: None };
        if !cli.rival_only {
            // A path without a slash would be looked for in PATH.
            let binary =
                fs::canonicalize(&cli.binary).with_context(|| format!("no binary {}", cli.binary.display()))?;
            field.contestants.push(Contestant { name: "kodikon", program: Program::Kodikon(binary), args: &[] });
        }
        for rival in &cli.rival {
            match trial::find_program(rival) {
                Some(path) if rival == "babeld" => field.babeld = Some(path),
                Some(path) => {
                    field.contestants.push(Contestant { name: "serf", program: Program::Serf(path), args: &[] });
                }
                None if cli.rival_only => bail!("{rival} is not installed (package {rival})"),
                None => eprintln!("{rival} is not installed (package {rival}): measured without it"),
            }
        }
        Ok(field)
    }

    fn versions(&self) -> Vec<String> {
        let nodes = self.contestants.iter().map(Contestant::version);
        nodes.chain(self.babeld.as_deref().map(babeld::version)).collect()
    }

    fn ours(&self) -> impl Iterator<Item = &Contestant> {
        self.contestants.iter().filter(|contestant| !contestant.is_rival())
    }

    /// Who can carry a flow over several segments: serf joins nobody across them.
    fn carriers(&self) -> Vec<Carrier> {
        let ours = self.ours().cloned().map(Carrier::Mesh);
        let timers = [babeld::USUAL, babeld::FAST];
        let daemons = self.babeld.iter().flat_map(|path| timers.map(|timers| Carrier::Babeld(path.clone(), timers)));
        ours.chain(daemons).collect()
    }
}

fn measure(cli: &Cli, what: &What, field: &Field, report: &mut Report) -> Result<()> {
    let contestants = &field.contestants[..];
    let runs = |ours: u32, rival: u32| Runs { ours, rival: cli.rival_runs.unwrap_or(rival) };
    match what {
        What::ColdStart { nodes, runs: starts, loss } => {
            nodes.iter().for_each(|size| joins::cold_start(contestants, (*size, *loss), runs(*starts, 10), report));
        }
        // 300 samples need eleven newcomers among thirty.
        What::LateJoiner { nodes, runs: newcomers } => {
            joins::late_joiner(contestants, *nodes, runs(*newcomers, 11), report);
        }
        What::Deaths { nodes, kills, of } => deaths::deaths(contestants, (*nodes, *of), runs(*kills, 10), report),
        What::Heal { nodes, runs: partitions, hold } => {
            let hold = Duration::from_secs(*hold);
            heal::heal(contestants, heal::Partition { nodes: *nodes, runs: runs(*partitions, 3), hold }, report);
        }
        // Each takes a rival a minute.
        What::Reroute { cuts } => reroute::reroute(&field.carriers(), runs(*cuts, 20), report),
        What::Letters { messages } => {
            report.title = "Letters";
            field.ours().for_each(|contestant| {
                letters::lossy(contestant, *messages, report);
                letters::hops(contestant, *messages, report);
            });
        }
        What::Echo { plan } => {
            report.title = "An echo";
            echo::echo(cli.echo.as_deref(), plan, report);
        }
        What::Alerts { nodes, alerts: count, verb } => {
            alerts::alerts(contestants, (nodes, *verb), runs(*count, 300), report);
        }
        What::Broadcasts { meshes, broadcasts: count } => {
            broadcasts::broadcasts(contestants, meshes, runs(*count, 20), report);
        }
        What::Sightings { nodes, adds } => {
            field.ours().for_each(|contestant| sightings::sightings(contestant, nodes, *adds, report));
        }
        What::Questions { nodes, questions } => {
            sightings::queries(contestants, *nodes, runs(*questions, 20), report);
        }
        What::Volume { records, runs: times } => {
            field.ours().for_each(|contestant| volume::volume(contestant, *records, *times, report));
        }
        What::Fetches { records, runs: times } => {
            field.ours().for_each(|contestant| fetches::fetches(contestant, *records, *times, report));
        }
        What::Digests { each } => digests::digests(cli.digests.as_deref(), *each, report),
        What::Idle { nodes, minutes } => idle::idle(contestants, nodes, minutes.times()?, report),
        What::Simulator { plan } => simulator::simulate(&cli.simulator, plan, report),
        What::Size => {
            cli.dist.iter().for_each(|binary| size(binary, report));
            build(cli, report);
        }
        What::Mesh { quick, plan } => {
            report.title = "The mesh";
            return parts::mesh(*quick, plan).iter().try_for_each(|part| measure(cli, part, field, report));
        }
        What::Messages { quick } => {
            report.title = "Messages and alerts";
            return parts::messages(*quick).iter().try_for_each(|part| measure(cli, part, field, report));
        }
        What::Registry { quick } => {
            report.title = "The registry";
            return parts::registry(*quick).iter().try_for_each(|part| measure(cli, part, field, report));
        }
        What::Clean => {}
    }
    Ok(())
}

/// What the script has timed and counted.
fn build(cli: &Cli, report: &mut Report) {
    if let Some(seconds) = cli.build_s {
        let row = Row { what: "release build from nothing", nodes: 0, unit: "min", targets: target::BUILD };
        report.add_value(row, "kodikon", seconds / 60.0, Some("`cargo build --release --bin kodikon`".to_owned()));
    }
    if let Some(packages) = cli.packages {
        let row = Row { what: "packages that it is built of", nodes: 0, unit: "1", targets: target::PACKAGES };
        report.add_value(row, "kodikon", packages.into(), Some("`cargo tree`".to_owned()));
    }
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

//! Decides how the library's own cost is measured: an echo through its callbacks beside one of bare sockets, and how many
//! messages it confirms.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use kodikon_lab::{Distribution, Host, Lab, Process, Topology};
use serde_json::Value;

use crate::report::{Report, Row};
use crate::target::{self, Target};

const SERVER: Host = Host(1);
const CLIENT: Host = Host(2);
/// Longer than a run takes on a busy computer: joining, and the rounds.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// Until both servers have sockets, and the spinning threads their cores.
const SETTLE: Duration = Duration::from_secs(2);
/// Until a neighbour's pace allows as many datagrams at once again as it ever does (docs/machines/shaper.md): an echo has seven times as
/// many a second as may leave for one neighbour for long, and the end of a run would show the pace instead of the round trip.
const REST: Duration = Duration::from_millis(1_200);
/// In a run of more round trips the pace shows in any case: 4,500 datagrams may leave for a neighbour at once.
const MOST_ROUNDS: i64 = 4_000;
/// Confirmations awaited at the same time: as many as one neighbour is sent at once by default.
const WINDOW: &str = "64";

/// How often the echo is asked.
#[derive(Args, Clone)]
pub(crate) struct Plan {
    /// Round trips in each run.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=MOST_ROUNDS))]
    rounds: u32,
    /// How many rounds of runs, of bare sockets, of the library, and of the library asked by a thread, on warm and on halting cores.
    #[arg(long, default_value_t = 15)]
    pairs: u32,
    /// How many messages are to be confirmed where that is counted.
    #[arg(long, default_value_t = 100_000)]
    confirmations: u32,
}

/// Whether the cores sleep between two datagrams. Waking one takes longer than all else in an echo.
#[derive(Clone, Copy)]
struct Cores {
    is_warm: bool,
    /// What its rows are called: the round trip, its proportion, and that where a thread hands each message over.
    rows: [&'static str; 3],
    targets: &'static [Target],
}

const KINDS: [Cores; 2] = [
    Cores {
        is_warm: true,
        rows: [
            "echo of 64 B, warm cores: round trip",
            "echo of 64 B, warm cores: over raw UDP",
            "echo of 64 B, warm cores: over raw UDP, handed over by a thread",
        ],
        targets: target::ECHO_WARM,
    },
    Cores {
        is_warm: false,
        rows: [
            "echo of 64 B, halting cores: round trip",
            "echo of 64 B, halting cores: over raw UDP",
            "echo of 64 B, halting cores: over raw UDP, handed over by a thread",
        ],
        targets: target::ECHO_HALTING,
    },
];

/// Echoes on warm and on halting cores, then confirmations.
pub(crate) fn echo(program: Option<&Path>, plan: &Plan, report: &mut Report) {
    let Some(program) = program else {
        report.skip("echo through the library".to_owned(), "no program for it was given (--echo)".to_owned());
        return;
    };
    for cores in KINDS {
        eprintln!("{} pairs of {} echoes, {}", plan.pairs, plan.rounds, if cores.is_warm { "warm" } else { "halting" });
        if let Err(error) = pairs(program, plan, cores, report) {
            report.fail(cores.rows[0].to_owned(), &error);
        }
    }
    eprintln!("{} confirmations", plan.confirmations);
    if let Err(error) = confirmations(program, plan, report) {
        report.fail("confirmed messages a second".to_owned(), &error);
    }
}

fn pairs(program: &Path, plan: &Plan, cores: Cores, report: &mut Report) -> Result<()> {
    let lab = Lab::up("echo", &Topology::flat(2))?;
    let _raw_server = lab.spawn(bare(&lab, SERVER, program).arg("serve-udp"))?;
    let _mesh_server = lab.spawn(lab.command(SERVER, program).arg("serve-mesh"))?;
    let _spinners = if cores.is_warm { spinners(&lab)? } else { Vec::new() };
    thread::sleep(SETTLE);
    let (rounds, address) = (plan.rounds.to_string(), lab.address("a", SERVER)?.to_string());
    let (mut raw, mut mesh, mut over, mut handed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        // One after the other, so that whatever else the computer does falls on both.
        let of_raw = median(&lab, bare(&lab, CLIENT, program).args(["ask-udp", &rounds, &address]))?;
        thread::sleep(REST);
        let of_mesh = median(&lab, lab.command(CLIENT, program).args(["ask-mesh", &rounds]))?;
        thread::sleep(REST);
        let of_handed = median(&lab, lab.command(CLIENT, program).args(["hand-mesh", &rounds]))?;
        over.push(of_mesh / of_raw);
        handed.push(of_handed / of_raw);
        raw.push(of_raw);
        mesh.push(of_mesh);
    }
    let row = |what, unit, targets: &'static [Target]| Row { what, nodes: 2, unit, targets };
    let [round_trip, proportion, by_thread] = cores.rows;
    let note = format!(
        "medians of {} runs of {} round trips; each bare socket on a core of its own; a rest before each run of the library, since 4,500 datagrams a second may leave for one neighbour",
        plan.pairs, plan.rounds
    );
    report.add(row(round_trip, "µs", target::NO_TARGET), "kodikon", Distribution::of(mesh), Some(note));
    report.add(row(round_trip, "µs", target::NO_TARGET), "raw UDP", Distribution::of(raw), None);
    let pair_by_pair = || Some("pair by pair".to_owned());
    report.add(row(proportion, "×", cores.targets), "kodikon", Distribution::of(over), pair_by_pair());
    report.add(row(by_thread, "×", target::NO_TARGET), "kodikon", Distribution::of(handed), pair_by_pair());
    Ok(())
}

/// A bare socket's end on a core of its own, where there are two, as two hosts have: left to itself the kernel puts both on one core or on
/// two, and otherwise in the next run, and one round trip takes three times the other. Nodes are left to it: they stay awake while they
/// talk, each on a core, and with one alone they would leave that to others.
fn bare(lab: &Lab, host: Host, program: &Path) -> Command {
    let last = thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let core = last.min(usize::from(host != SERVER)).to_string();
    let mut command = lab.command(host, "taskset");
    command.args(["--cpu-list", &core]).arg(program);
    command
}

/// Runs a client to its end: the median of its round trips, in µs.
fn median(lab: &Lab, command: &mut Command) -> Result<f64> {
    let text = lab.run(command, RUN_LIMIT)?.success()?;
    let document: Value = serde_json::from_str(&text).with_context(|| format!("a client printed {text}"))?;
    let times = document["rtt_us"].as_array().context("a client told no times")?;
    let times = Distribution::of(times.iter().filter_map(Value::as_f64));
    Ok(times.figures().context("a client made no round")?.p50)
}

/// A thread on each core that leaves it to anybody else, and to the idle loop never.
fn spinners(lab: &Lab) -> Result<Vec<Process>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let spin = ["--idle", "0", "sh", "-c", "while :; do :; done"];
    (0..cores).map(|_| lab.spawn(lab.command(CLIENT, "chrt").args(spin))).collect()
}

fn confirmations(program: &Path, plan: &Plan, report: &mut Report) -> Result<()> {
    let lab = Lab::up("confirm", &Topology::flat(2))?;
    let server = lab.spawn(lab.command(SERVER, program).arg("serve-mesh"))?;
    let count = plan.confirmations.to_string();
    let mut client = lab.spawn(lab.command(CLIENT, program).args(["confirm", &count, WINDOW]))?;
    client.line_where(RUN_LIMIT, |line| line.contains("\"ready\""))?;
    let cpu = |client: &Process| anyhow::Ok(server.usage()?.cpu_s + client.usage()?.cpu_s);
    let before = cpu(&client)?;
    // It waits to be killed, so that its time can be read.
    let done = client.line_where(RUN_LIMIT, |line| line.contains("\"confirmed\""))?;
    let used = cpu(&client)? - before;
    let document: Value = serde_json::from_str(&done.text).with_context(|| done.text.clone())?;
    let field = |name: &str| document[name].as_f64().with_context(|| format!("no {name} in {document}"));
    let (confirmed, seconds) = (field("confirmed")?, field("seconds")?);
    ensure!(used > 0.0, "no CPU time was used");
    let row = |what| Row { what, nodes: 2, unit: "1/s", targets: target::NO_TARGET };
    let note = format!("{WINDOW} under way at a time, payload 64 B");
    report.add_value(row("confirmed messages a second"), "kodikon", confirmed / seconds, Some(note));
    let note = format!("{used:.1} s of both ends together");
    report.add_value(row("confirmed messages a second of one core"), "kodikon", confirmed / used, Some(note));
    Ok(())
}

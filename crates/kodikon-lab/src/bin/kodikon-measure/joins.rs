//! Decides how the meeting of nodes is measured: all at once, and one that comes late.

use std::time::Duration;

use anyhow::{Context, Result};
use kodikon_lab::{Distribution, Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec};

use crate::report::{Report, Row, Spans};
use crate::target::{self, NO_TARGET};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, SEGMENT, lab, settle, told_at_all};

/// After the last goodbye, until the next newcomer: what a goodbye causes is over within a second.
const CALM: Duration = Duration::from_millis(1500);
/// The part of a calm that differs: two periods of the heartbeat.
const PHASES: Duration = Duration::from_secs(2);

/// What cold starts gave.
#[derive(Default)]
struct Starts {
    full_roster: Spans,
    /// From the first `started` to the last, in milliseconds.
    spread: Vec<f64>,
}

/// What newcomers gave.
#[derive(Default)]
struct Joins {
    at_each: Spans,
    at_last: Spans,
    at_itself: Spans,
    launch_to_last: Spans,
}

/// Starts all nodes at once, again and again; the programs take turns, so that both meet the same computer.
pub(crate) fn cold_start(contestants: &[Contestant], (nodes, loss): (u16, f64), runs: Runs, report: &mut Report) {
    eprintln!("cold start of {nodes} at {loss} % loss, {} runs", runs.ours);
    let (what, targets) = match nodes {
        _ if loss > 0.0 => ("cold start with loss: last `started` to full roster at all", NO_TARGET),
        0..=10 => ("cold start: last `started` to full roster at all", target::COLD_START_10),
        _ => ("cold start: last `started` to full roster at all", target::COLD_START_30),
    };
    let row = Row { what, nodes, unit: "ms", targets };
    let lab = match lab(nodes, contestants).and_then(|lab| lab.loss(SEGMENT, loss).map(|()| lab)) {
        Ok(lab) => lab,
        Err(error) => return report.fail(format!("the lab of {nodes}"), &error),
    };
    let mut gathered: Vec<Starts> = contestants.iter().map(|_| Starts::default()).collect();
    for run in 0..runs.ours {
        for (contestant, starts) in contestants.iter().zip(&mut gathered) {
            if run >= runs.of(contestant) {
                continue;
            }
            if let Err(error) = start_once(contestant, &lab, (nodes, run), starts) {
                report.fail(format!("cold start {run} of {nodes} {}", contestant.name), &error);
            }
        }
    }
    for (contestant, starts) in contestants.iter().zip(gathered) {
        let spread = Distribution::of(starts.spread).figures().map_or(0.0, |figures| figures.p50);
        let lost = if loss > 0.0 { format!("{loss} % of all frames lost; ") } else { String::new() };
        let note = format!("{lost}all `started` within {spread:.0} ms");
        report.add_spans(row, contestant.name, starts.full_roster, Some(note));
    }
}

fn start_once(contestant: &Contestant, lab: &Lab, (nodes, run): (u16, u32), starts: &mut Starts) -> Result<()> {
    let mut fleet = contestant.fleet(lab, nodes, run)?;
    starts.full_roster.push(fleet.wait_full_roster(ROSTER_LIMIT)?);
    let told = || fleet.story().starts().map(|start| start.read);
    starts.spread.extend(told().min().zip(told().max()).map(|(first, last)| (last - first).as_secs_f64() * 1000.0));
    fleet.kill_all()
}

/// Lets one newcomer after another join a mesh that is calm, and leave it again.
pub(crate) fn late_joiner(contestants: &[Contestant], nodes: u16, runs: Runs, report: &mut Report) {
    for contestant in contestants {
        let runs = runs.of(contestant);
        eprintln!("late joiner to {} of {}, {runs} runs", nodes.saturating_sub(1), contestant.name);
        let mut joins = Joins::default();
        if let Err(error) = join_late(contestant, nodes, runs, &mut joins) {
            report.fail(format!("late joiner of {}", contestant.name), &error);
        }
        let row = |what, targets: &'static [target::Target]| Row { what, nodes, unit: "ms", targets };
        let each = row("late joiner: its `started` to known at each", target::LATE_JOINER);
        report.add_spans(each, contestant.name, joins.at_each, Some(format!("{runs} newcomers")));
        let last = row("late joiner: its `started` to known at the last", target::LATE_JOINER);
        report.add_spans(last, contestant.name, joins.at_last, None);
        let itself = row("late joiner: its `started` to knowing all", &[]);
        report.add_spans(itself, contestant.name, joins.at_itself, None);
        let launch = row("late joiner: its launch to known at the last", &[]);
        report.add_spans(launch, contestant.name, joins.launch_to_last, None);
    }
}

fn join_late(contestant: &Contestant, nodes: u16, runs: u32, joins: &mut Joins) -> Result<()> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let mut fleet = contestant.fleet(&lab, nodes - 1, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    for run in 0..runs {
        settle(&mut fleet, CALM, PHASES, run)?;
        let name = format!("late{run}");
        let before = Moment::now();
        fleet.launch(newcomer(&lab, Host(nodes), &name))?;
        // Also its own view: the roster is full when it knows all and all know it.
        fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("newcomer {run}"))?;
        let started = own_start(&fleet, &name, before).context("a newcomer without a start")?;
        let known = fleet.story().first_about(&Kind::PeerUp, &name, before);
        let spans_from = |mark: Moment| known.values().map(|seen| seen.moment.since(mark)).collect::<Vec<Elapsed>>();
        let since_start = spans_from(started);
        joins.at_last.extend(since_start.iter().copied().reduce(Elapsed::later));
        joins.at_each.extend(since_start);
        joins.launch_to_last.extend(spans_from(before).into_iter().reduce(Elapsed::later));
        let met = fleet.story().since(before).filter(|seen| seen.by == name && seen.event.kind == Kind::PeerUp);
        joins.at_itself.extend(met.map(|seen| seen.moment.since(started)).reduce(Elapsed::later));
        let (left, _) = fleet.terminate(&name, ROSTER_LIMIT)?;
        // A rival's goodbye may get lost: gone is gone here.
        told_at_all(&mut fleet, &[Kind::PeerLeft, Kind::PeerFailed], &name, left, ROSTER_LIMIT)?;
    }
    Ok(())
}

fn newcomer(lab: &Lab, host: Host, name: &str) -> NodeSpec {
    NodeSpec::on(host).named(name).data(lab.directory().join(name))
}

fn own_start(fleet: &Fleet<'_>, name: &str, since: Moment) -> Option<Moment> {
    let mut told = fleet.story().since(since).filter(|seen| seen.by == name);
    told.find(|seen| seen.event.kind == Kind::Started).map(|seen| seen.moment)
}

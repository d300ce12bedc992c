//! Decides how the meeting of nodes is measured: all at once, and one that comes late.

use anyhow::{Context, Result};
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec};

use crate::report::{Report, Row, Spans};
use crate::trial::{Contestant, ROSTER_LIMIT, lab, settle};

/// What newcomers gave.
#[derive(Default)]
struct Joins {
    at_each: Spans,
    at_itself: Spans,
}

/// Starts all nodes at once, again and again; the programs take turns, so that both meet the same computer.
pub(crate) fn cold_start(contestants: &[Contestant], nodes: u16, runs: u32, report: &mut Report) {
    eprintln!("cold start of {nodes}, {runs} runs");
    let target = if nodes <= 10 { "p50 <= 150" } else { "p50 <= 300" };
    let row = Row { what: "cold start: last started to full roster at all", nodes, unit: "ms", target };
    let lab = match lab(nodes, contestants) {
        Ok(lab) => lab,
        Err(error) => return report.fail(format!("the lab of {nodes}"), &error),
    };
    let mut spans: Vec<Spans> = contestants.iter().map(|_| Spans::default()).collect();
    for run in 0..runs {
        for (contestant, spans) in contestants.iter().zip(&mut spans) {
            match start_once(contestant, &lab, nodes, run) {
                Ok(elapsed) => spans.push(elapsed),
                Err(error) => report.fail(format!("cold start {run} of {nodes} {}", contestant.name), &error),
            }
        }
    }
    contestants.iter().zip(spans).for_each(|(who, spans)| report.add_spans(row, who.name, spans, None));
}

fn start_once(contestant: &Contestant, lab: &Lab, nodes: u16, run: u32) -> Result<Elapsed> {
    let mut fleet = contestant.fleet(lab, nodes, run)?;
    let elapsed = fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.kill_all()?;
    Ok(elapsed)
}

/// Lets one newcomer after another join a mesh that is calm, and leave it again.
pub(crate) fn late_joiner(contestants: &[Contestant], nodes: u16, runs: u32, report: &mut Report) {
    for contestant in contestants {
        eprintln!("late joiner to {} of {}, {runs} runs", nodes.saturating_sub(1), contestant.name);
        let known =
            Row { what: "late joiner: started to known at each", nodes, unit: "ms", target: "p50 <= 50, p99 <= 150" };
        let knows = Row { what: "late joiner: started to knows all", target: "", ..known };
        let mut joins = Joins::default();
        if let Err(error) = join_late(contestant, nodes, runs, &mut joins) {
            report.fail(format!("late joiner of {}", contestant.name), &error);
        }
        report.add_spans(known, contestant.name, joins.at_each, None);
        report.add_spans(knows, contestant.name, joins.at_itself, None);
    }
}

fn join_late(contestant: &Contestant, nodes: u16, runs: u32, joins: &mut Joins) -> Result<()> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let mut fleet = contestant.fleet(&lab, nodes - 1, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    for run in 0..runs {
        settle(&mut fleet, run)?;
        let name = format!("late{run}");
        let before = Moment::now();
        fleet.launch(newcomer(&lab, Host(nodes), &name))?;
        // Also its own view: the roster is full when it knows all and all know it.
        fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("newcomer {run}"))?;
        let started = own_start(&fleet, &name, before).context("a newcomer without a start")?;
        for seen in fleet.story().first_about(&Kind::PeerUp, &name, before).values() {
            joins.at_each.push(seen.moment.since(started));
        }
        let met = fleet.story().since(before).filter(|seen| seen.by == name && seen.event.kind == Kind::PeerUp);
        if let Some(last) = met.max_by_key(|seen| seen.moment.read) {
            joins.at_itself.push(last.moment.since(started));
        }
        let (left, _) = fleet.terminate(&name, ROSTER_LIMIT)?;
        fleet.wait_at_all(&Kind::PeerLeft, &name, left, ROSTER_LIMIT)?;
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

//! Decides how deaths are measured, by silence, crash and goodbye, and how a mesh that was parted comes together.

use std::time::Duration;

use anyhow::{Context, Result};
use kodikon_lab::{Cut, Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec};

use crate::report::{Report, Row, Spans};
use crate::trial::{Contestant, ROSTER_LIMIT, lab, settle};

const SEGMENT: &str = "a";
/// Longer than any hard bound of a program's lan profile.
const VERDICT_LIMIT: Duration = Duration::from_secs(90);
/// A rival that is left by half its members tries one of them every half minute.
const HEAL_LIMIT: Duration = Duration::from_secs(300);

/// How a node dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Its frames vanish; it and its host run on.
    Silence,
    /// SIGKILL; its host runs on.
    Crash,
    /// It is asked to end.
    Goodbye,
}

/// What one kind of death gave.
#[derive(Default)]
struct Verdicts {
    first_suspect: Spans,
    each: Spans,
    last: Spans,
    /// FAILED events about nodes that lived and were heard.
    false_failed: usize,
}

/// How many deaths of how many.
#[derive(Clone, Copy)]
struct Plan {
    nodes: u16,
    kills: u32,
}

/// The halves of a mesh that do not hear each other, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) nodes: u16,
    pub(crate) runs: u32,
    /// After the last has been declared dead.
    pub(crate) hold: Duration,
}

/// Kills one node after another in each of the ways; a new one takes the place of the dead.
pub(crate) fn deaths(contestants: &[Contestant], nodes: u16, kills: u32, report: &mut Report) {
    for death in [Death::Silence, Death::Crash, Death::Goodbye] {
        for contestant in contestants {
            eprintln!("{} of {nodes} {}, {kills} times", death.name(), contestant.name);
            let mut verdicts = Verdicts::default();
            if let Err(error) = kill(contestant, death, Plan { nodes, kills }, &mut verdicts) {
                report.fail(format!("{} of {}", death.name(), contestant.name), &error);
            }
            death.note(verdicts, contestant.name, nodes, report);
        }
    }
}

impl Death {
    fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Crash => "process crash",
            Self::Goodbye => "goodbye",
        }
    }

    /// The event by which the others tell it.
    fn event(self) -> Kind {
        match self {
            Self::Silence | Self::Crash => Kind::PeerFailed,
            Self::Goodbye => Kind::PeerLeft,
        }
    }

    fn note(self, verdicts: Verdicts, program: &'static str, nodes: u16, report: &mut Report) {
        let row = |what, target| Row { what, nodes, unit: "ms", target };
        let (each, last) = match self {
            Self::Silence => (
                row("silence: FAILED at each", "p99 <= 7000"),
                row("silence: FAILED at the last", "p50 <= 5200, p99 <= 7000"),
            ),
            Self::Crash => {
                (row("process crash: FAILED at each", "<= 300"), row("process crash: FAILED at the last", "<= 300"))
            }
            Self::Goodbye => (row("goodbye: LEFT at each", "<= 50"), row("goodbye: LEFT at the last", "<= 50")),
        };
        if self == Self::Silence {
            let first = row("silence: SUSPECT at the first", "p50 <= 2000");
            report.add_spans(first, program, verdicts.first_suspect, None);
        }
        let note = format!("{} false FAILED", verdicts.false_failed);
        report.add_spans(each, program, verdicts.each, Some(note));
        report.add_spans(last, program, verdicts.last, None);
    }
}

fn kill(contestant: &Contestant, death: Death, plan: Plan, verdicts: &mut Verdicts) -> Result<()> {
    let Plan { nodes, kills } = plan;
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let mut fleet = contestant.fleet(&lab, nodes - 1, 0)?;
    let host = Host(nodes);
    for kill in 0..kills {
        // A new name each time: the dead one's belongs to the dead for a while.
        let victim = format!("victim{kill}");
        fleet.launch(NodeSpec::on(host).named(&victim).data(lab.directory().join(&victim)))?;
        fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("before death {kill}"))?;
        settle(&mut fleet, kill)?;
        let mark = match death {
            Death::Silence => {
                let mark = Moment::now();
                lab.silence(SEGMENT, host)?;
                mark
            }
            Death::Crash => fleet.kill(&victim)?,
            Death::Goodbye => fleet.terminate(&victim, VERDICT_LIMIT)?.0,
        };
        let samples = fleet.wait_at_all(&death.event(), &victim, mark, VERDICT_LIMIT)?;
        let suspects = fleet.story().first_about(&Kind::PeerSuspect, &victim, mark);
        let suspects = suspects.values().map(|seen| seen.moment.since(mark));
        suspects.min_by_key(|elapsed| elapsed.read).into_iter().for_each(|first| verdicts.first_suspect.push(first));
        let last = samples.iter().map(|sample| sample.elapsed).reduce(later).context("nobody was left to tell")?;
        verdicts.last.push(last);
        samples.iter().for_each(|sample| verdicts.each.push(sample.elapsed));
        if death == Death::Silence {
            fleet.kill(&victim)?;
            lab.heal(SEGMENT)?;
        }
        verdicts.false_failed = false_failed(&fleet);
    }
    Ok(())
}

/// The later, by each clock for itself.
fn later(one: Elapsed, other: Elapsed) -> Elapsed {
    Elapsed { read: one.read.max(other.read), told: one.told.max(other.told) }
}

/// Those who still run were never harmed: nobody but the victims, who heard nothing, may have called them dead.
fn false_failed(fleet: &Fleet<'_>) -> usize {
    let story = fleet.story();
    let runs = |name: &str| story.running().any(|running| running == name);
    let failed = story.seen().iter().filter(|seen| seen.event.kind == Kind::PeerFailed && runs(&seen.by));
    failed.filter(|seen| seen.event.about.as_deref().is_some_and(runs)).count()
}

/// Parts the mesh in two halves until each holds the other dead, and joins them again.
pub(crate) fn heal(contestants: &[Contestant], plan: Partition, report: &mut Report) {
    for contestant in contestants {
        eprintln!("heal of {} {}, {} times", plan.nodes, contestant.name, plan.runs);
        let row = Row {
            what: "heal: end of partition to alive at each",
            nodes: plan.nodes,
            unit: "ms",
            target: "p99 <= 2000",
        };
        let mut spans = Spans::default();
        if let Err(error) = part_and_heal(contestant, plan, &mut spans) {
            report.fail(format!("heal of {}", contestant.name), &error);
        }
        report.add_spans(row, contestant.name, spans, None);
    }
}

fn part_and_heal(contestant: &Contestant, plan: Partition, spans: &mut Spans) -> Result<()> {
    let lab = lab(plan.nodes, std::slice::from_ref(contestant))?;
    for run in 0..plan.runs {
        let mut fleet = contestant.fleet(&lab, plan.nodes, run)?;
        fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("before partition {run}"))?;
        settle(&mut fleet, run)?;
        let pairs = part(&lab, plan.nodes)?;
        let cut = Moment::now();
        fleet.wait("each half to bury the other", VERDICT_LIMIT, |story| {
            pairs.iter().all(|(by, about)| story.first_about(&Kind::PeerFailed, about, cut).contains_key(by.as_str()))
        })?;
        fleet.listen(plan.hold)?;
        let healed = Moment::now();
        lab.heal(SEGMENT)?;
        fleet.wait("the halves to meet", HEAL_LIMIT, |story| {
            pairs.iter().all(|(by, about)| story.first_about(&Kind::PeerUp, about, healed).contains_key(by.as_str()))
        })?;
        for (by, about) in &pairs {
            let found = fleet.story().first_about(&Kind::PeerUp, about, healed);
            spans.push(found.get(by.as_str()).context("it was there a moment ago")?.moment.since(healed));
        }
        fleet.kill_all()?;
    }
    Ok(())
}

/// Cuts the first half of the hosts from the second; returns the pairs of names of each with each of the other half.
fn part(lab: &Lab, nodes: u16) -> Result<Vec<(String, String)>> {
    let first = 1..=nodes / 2;
    let across: Vec<(Host, Host)> =
        first.flat_map(|one| (nodes / 2 + 1..=nodes).map(move |other| (Host(one), Host(other)))).collect();
    lab.cuts(SEGMENT, across.iter().map(|(one, other)| Cut::Between(*one, *other)))?;
    let both = across.iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    Ok(both.map(|(by, about)| (by.to_string(), about.to_string())).collect())
}

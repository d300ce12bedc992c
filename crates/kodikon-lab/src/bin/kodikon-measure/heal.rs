//! Decides how the end of a silent partition is measured.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use kodikon_lab::{Cut, Elapsed, Fleet, Host, Kind, Lab, Moment, Seen, Story};

use crate::report::{Report, Row, Spans};
use crate::target;
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, SEGMENT, WATCHED, labs, settle};

/// Longer than any hard bound of a program's lan profile.
const BURIAL_LIMIT: Duration = Duration::from_secs(90);
/// A rival that is left by half its members tries one of them every half minute.
const HEAL_LIMIT: Duration = Duration::from_secs(300);
/// Meshes that are parted at the same time; they are healed one after another, so that nothing else goes on then.
const MESHES: u32 = 5;
/// A period of the beacons, on all phases of which the heals are to fall.
const PHASES: Duration = Duration::from_secs(1);

/// The halves of a mesh that do not hear each other, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) nodes: u16,
    pub(crate) runs: Runs,
    /// After the last has been declared dead.
    pub(crate) hold: Duration,
}

/// Who is to meet whom: (who tells it, of whom).
type Pairs = BTreeSet<(String, String)>;

#[derive(Default)]
struct Heals {
    at_each: Spans,
    at_last: Spans,
}

/// Parts meshes in two halves until each holds the other dead, and joins them again.
pub(crate) fn heal(contestants: &[Contestant], plan: Partition, report: &mut Report) {
    for contestant in contestants {
        let runs = plan.runs.of(contestant);
        eprintln!("heal of {} {}, {runs} times", plan.nodes, contestant.name);
        let mut heals = Heals::default();
        if let Err(error) = part_and_heal(contestant, plan, &mut heals) {
            report.fail(format!("heal of {}", contestant.name), &error);
        }
        let row = |what| Row { what, nodes: plan.nodes, unit: "ms", targets: target::HEAL };
        let each = row("heal: end of a silent partition to alive at each");
        report.add_spans(each, contestant.name, heals.at_each, Some(format!("{runs} partitions")));
        let last = row("heal: end of a silent partition to alive at all");
        report.add_spans(last, contestant.name, heals.at_last, None);
    }
}

fn part_and_heal(contestant: &Contestant, plan: Partition, heals: &mut Heals) -> Result<()> {
    let runs = plan.runs.of(contestant);
    let labs = labs(MESHES.min(runs), plan.nodes, contestant)?;
    let mut done = 0;
    while done < runs {
        let mut parted = Vec::new();
        for lab in labs.iter().take(usize::try_from(runs - done).unwrap_or(labs.len())) {
            parted.push((lab, contestant.fleet(lab, plan.nodes, done)?));
        }
        for (_, fleet) in &mut parted {
            fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("before partition {done}"))?;
        }
        let (_, first) = parted.first_mut().context("at least one mesh")?;
        first.listen(WATCHED)?;
        let cut = Moment::now();
        let pairs = pairs(plan.nodes);
        for (lab, _) in &parted {
            part(lab, plan.nodes)?;
        }
        for (_, fleet) in &mut parted {
            fleet.wait("each half to bury the other", BURIAL_LIMIT, |story| {
                told(story, &Kind::PeerFailed, cut).is_superset(&pairs)
            })?;
        }
        let (_, first) = parted.first_mut().context("at least one mesh")?;
        first.listen(plan.hold)?;
        for (lab, fleet) in &mut parted {
            settle(fleet, Duration::ZERO, PHASES, done)?;
            join(lab, fleet, &pairs, heals)?;
            done += 1;
        }
    }
    Ok(())
}

fn join(lab: &Lab, fleet: &mut Fleet<'_>, pairs: &Pairs, heals: &mut Heals) -> Result<()> {
    let healed = Moment::now();
    lab.heal(SEGMENT)?;
    fleet.wait("the halves to meet", HEAL_LIMIT, |story| told(story, &Kind::PeerUp, healed).is_superset(pairs))?;
    let mut spans = Vec::new();
    for about in pairs.iter().map(|(_, about)| about).collect::<BTreeSet<_>>() {
        let across = |(by, seen): (&str, &Seen)| {
            pairs.contains(&(by.to_owned(), about.clone())).then(|| seen.moment.since(healed))
        };
        spans.extend(fleet.story().first_about(&Kind::PeerUp, about, healed).into_iter().filter_map(across));
    }
    heals.at_last.extend(spans.iter().copied().reduce(Elapsed::later));
    heals.at_each.extend(spans);
    fleet.kill_all()
}

/// Who has told an event of this kind of whom since then.
fn told(story: &Story, kind: &Kind, since: Moment) -> Pairs {
    let found = story.since(since).filter(|seen| seen.event.kind == *kind);
    found.filter_map(|seen| Some((seen.by.clone(), seen.event.about.clone()?))).collect()
}

/// Each of one half with each of the other, both ways.
fn pairs(nodes: u16) -> Pairs {
    let both = across(nodes).flat_map(|(one, other)| [(one, other), (other, one)]);
    both.map(|(by, about)| (by.to_string(), about.to_string())).collect()
}

fn across(nodes: u16) -> impl Iterator<Item = (Host, Host)> {
    let (first, second) = (1..=nodes / 2, nodes / 2 + 1..=nodes);
    first.flat_map(move |one| second.clone().map(move |other| (Host(one), Host(other))))
}

/// Cuts the first half of the hosts from the second.
fn part(lab: &Lab, nodes: u16) -> Result<()> {
    lab.cuts(SEGMENT, across(nodes).map(|(one, other)| Cut::Between(one, other)))
}

//! Decides how reliable messages are measured: what loss on each hop does to them, and what a hop costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kodikon_lab::{Distribution, Fleet, Lab, Topology};

use crate::flow::Outcomes;
use crate::report::{Report, Row};
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, SEGMENT, WATCHED, lab_of};

/// Hosts of a line with five links.
const SIX: u16 = 6;
/// Hosts of a line with as many links as a message may take.
const SEVEN: u16 = 7;
/// Time between two messages.
const PACE_MS: u32 = 10;
/// Beyond the series itself: longer than the deadline of any message.
const MARGIN: Duration = Duration::from_secs(45);
/// How often it is asked whether the series is over.
const LOOK: Duration = Duration::from_millis(100);

/// One series under a loss.
struct Case {
    topology: fn() -> Topology,
    nodes: u16,
    /// Frames lost at each hop, in percent.
    loss: f64,
    priority: &'static str,
    /// What its rows are called: time to the confirmation, messages not delivered.
    rows: [&'static str; 2],
    targets: [&'static [Target]; 2],
}

const CASES: [Case; 6] = [
    five_hops(
        0.0,
        ["5 hops without loss: confirmed", "5 hops without loss: not delivered"],
        [target::NO_TARGET, target::NONE],
    ),
    five_hops(
        5.0,
        ["5 hops at 5 % loss each: confirmed", "5 hops at 5 % loss each: not delivered"],
        [target::NO_TARGET, target::NONE],
    ),
    five_hops(
        20.0,
        ["5 hops at 20 % loss each: confirmed", "5 hops at 20 % loss each: not delivered"],
        [target::FIVE_HOPS_AT_20, target::NONE],
    ),
    five_hops(
        40.0,
        ["5 hops at 40 % loss each: confirmed", "5 hops at 40 % loss each: not delivered"],
        // More than the design promises for.
        [target::NO_TARGET, target::NO_TARGET],
    ),
    one_hop(
        "normal",
        ["1 hop at 5 % loss: confirmed", "1 hop at 5 % loss: not delivered"],
        [target::CONFIRMED_AT_5, target::NONE],
    ),
    one_hop(
        "critical",
        ["1 hop at 5 % loss, critical: confirmed", "1 hop at 5 % loss, critical: not delivered"],
        [target::CRITICAL_AT_5, target::NONE],
    ),
];

const fn five_hops(loss: f64, rows: [&'static str; 2], targets: [&'static [Target]; 2]) -> Case {
    Case { topology: || Topology::line(SIX), nodes: SIX, loss, priority: "normal", rows, targets }
}

const fn one_hop(priority: &'static str, rows: [&'static str; 2], targets: [&'static [Target]; 2]) -> Case {
    Case { topology: || Topology::flat(2), nodes: 2, loss: 5.0, priority, rows, targets }
}

/// Sends a series of `count` messages under each loss.
pub(crate) fn lossy(contestant: &Contestant, count: u32, report: &mut Report) {
    for case in &CASES {
        eprintln!("{count} messages, {} nodes, {} % loss a hop, {}", case.nodes, case.loss, case.priority);
        match under_loss(contestant, case, count) {
            Ok(outcomes) => {
                let row = |what, unit, targets| Row { what, nodes: case.nodes, unit, targets };
                let confirmed = row(case.rows[0], "ms", case.targets[0]);
                report.add(confirmed, contestant.name, Distribution::of(outcomes.round_trips_ms()), None);
                // A message to which the rest of the deadline is not enough has not arrived, as far as its sender knows.
                let lost = outcomes.undelivered() as f64 * 100.0 / f64::from(count);
                report.add_value(row(case.rows[1], "percent", case.targets[1]), contestant.name, lost, None);
            }
            Err(error) => report.fail(case.rows[0].to_owned(), &error),
        }
    }
}

/// What each hop of a line adds to the way of a message, in a mesh with nothing else to do.
pub(crate) fn hops(contestant: &Contestant, count: u32, report: &mut Report) {
    eprintln!("{count} messages to each of a line of {SEVEN}");
    if let Err(error) = along_a_line(contestant, count, report) {
        report.fail("latency of a hop".to_owned(), &error);
    }
}

fn under_loss(contestant: &Contestant, case: &Case, count: u32) -> Result<Outcomes> {
    let lab = lab_of(&(case.topology)(), std::slice::from_ref(contestant))?;
    let mut fleet = formed(&lab, contestant, case.nodes)?;
    let segments =
        if case.nodes == SIX { (1..SIX).map(|n| format!("s{n}")).collect() } else { vec![SEGMENT.to_owned()] };
    for segment in &segments {
        lab.loss(segment, case.loss)?;
    }
    series(&lab, &mut fleet, (case.nodes, count), &["--priority", case.priority])
}

fn along_a_line(contestant: &Contestant, count: u32, report: &mut Report) -> Result<()> {
    let lab = lab_of(&Topology::line(SEVEN), std::slice::from_ref(contestant))?;
    let mut fleet = formed(&lab, contestant, SEVEN)?;
    let row = |what, unit, targets| Row { what, nodes: SEVEN, unit, targets };
    let mut of_links = |links: u16| -> Result<Vec<f64>> {
        let outcomes = series(&lab, &mut fleet, (links + 1, count), &[])?;
        ensure!(outcomes.undelivered() == 0, "{} of {count} over {links} links are missing", outcomes.undelivered());
        Ok(outcomes.round_trips_ms())
    };
    let near = of_links(1)?;
    report.add(
        row("line: confirmed over 1 link", "ms", target::NO_TARGET),
        contestant.name,
        Distribution::of(near),
        None,
    );
    let half = of_links(SEVEN / 2)?;
    report.add(
        row("line: confirmed over 3 links", "ms", target::NO_TARGET),
        contestant.name,
        Distribution::of(half),
        None,
    );
    let far = of_links(SEVEN - 1)?;
    // There and back over each link.
    let a_hop = far.iter().map(|ms| ms * 1_000.0 / f64::from(2 * (SEVEN - 1)));
    let note = Some("the round trip over 6 links, by 12".to_owned());
    report.add(row("line: latency of a hop", "µs", target::HOP), contestant.name, Distribution::of(a_hop), note);
    report.add(
        row("line: confirmed over 6 links", "ms", target::NO_TARGET),
        contestant.name,
        Distribution::of(far),
        None,
    );
    Ok(())
}

/// A mesh in which everybody knows everybody and every link.
fn formed<'lab>(lab: &'lab Lab, contestant: &Contestant, nodes: u16) -> Result<Fleet<'lab>> {
    let mut fleet = contestant.fleet(lab, nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.listen(WATCHED)?;
    Ok(fleet)
}

/// A numbered series from the first host to another, to its end.
fn series(lab: &Lab, fleet: &mut Fleet<'_>, (to, count): (u16, u32), options: &[&str]) -> Result<Outcomes> {
    let (repeat, pace) = (count.to_string(), PACE_MS.to_string());
    let options = [&["--repeat", &repeat, "--interval-ms", &pace], options].concat();
    let (outcomes, mut process) = Outcomes::of(lab, fleet, ("n1", &format!("n{to}")), &options)?;
    let end = Instant::now() + Duration::from_millis(u64::from(PACE_MS * count)) + MARGIN;
    while process.status()?.is_none() {
        ensure!(Instant::now() < end, "the series does not end: {}", process.complaints());
        fleet.listen(LOOK)?;
    }
    // Its last lines may still be on their way through the pipe.
    fleet.listen(LOOK)?;
    let told = outcomes.rows().len();
    ensure!(told == count as usize, "{told} of {count} outcomes were told: {}", process.complaints());
    Ok(outcomes)
}

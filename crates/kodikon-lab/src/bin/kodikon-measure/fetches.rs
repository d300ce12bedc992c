//! Decides how it is measured what critical alerts take while a newcomer fetches the registry.

use std::time::Duration;

use anyhow::{Context, Result};
use kodikon_lab::{AlertMesh, Distribution, Elapsed, Lab, Program, Topology};

use crate::report::{Report, Row, Spans};
use crate::target::{self, Target};
use crate::trial::Contestant;

/// The members of the mesh, and the newcomer.
const HOSTS: u16 = 4;
/// Alerts of three members for so long: a thousand samples of those who are shown them.
const IDLE: Duration = Duration::from_secs(25);

/// Measures that with so many sightings: first without a newcomer, then beside so many fetches.
pub(crate) fn fetches(contestant: &Contestant, records: u32, runs: u32, report: &mut Report) {
    let Program::Kodikon(binary) = &contestant.program else { return };
    eprintln!("critical alerts beside {runs} fetches of {records} sightings");
    let measured = Lab::up("fetches", &Topology::flat(HOSTS)).and_then(|lab| {
        let mut mesh = AlertMesh::begin(&lab, binary, records)?;
        note(&mut mesh, runs, report)
    });
    if let Err(error) = measured {
        report.fail(format!("critical alerts beside fetches of {records} sightings"), &error);
    }
}

fn note(mesh: &mut AlertMesh<'_>, runs: u32, report: &mut Report) -> Result<()> {
    let idle = mesh.idle(IDLE)?.members;
    let (mut busy, mut newcomer, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..runs {
        let times = mesh.fetch()?;
        busy.extend(times.members);
        newcomer.extend(times.newcomer);
        took += times.took / runs;
    }
    let times = p99(&busy)? / p99(&idle)?;
    let row = |what, unit, targets: &'static [Target]| Row { what, nodes: HOSTS, unit, targets };
    let spans = |elapsed: Vec<Elapsed>| {
        let mut spans = Spans::default();
        spans.extend(elapsed);
        spans
    };
    let pace = Some("of three nodes, each of which raises eight a second".to_owned());
    let what = "critical alert, nobody fetches: shown at each";
    report.add_spans(row(what, "ms", target::NO_TARGET), "kodikon", spans(idle), pace);
    let what = "critical alert beside a fetch: shown at each";
    let beside = format!("{runs} fetches of {:.1} s; but for the newcomer; all on the same cores", took.as_secs_f64());
    report.add_spans(row(what, "ms", target::ALERT_BESIDE_FETCH), "kodikon", spans(busy), Some(beside));
    let what = "critical alert beside a fetch: p99, in p99 while nobody fetches";
    report.add_value(row(what, "1", target::ALERT_SLOWED), "kodikon", times, None);
    let what = "critical alert beside a fetch: shown at the newcomer";
    report.add_spans(row(what, "ms", target::NO_TARGET), "kodikon", spans(newcomer), None);
    Ok(())
}

/// By the longer of the two clocks, as the row shows it.
fn p99(times: &[Elapsed]) -> Result<f64> {
    let figures = Distribution::of_ms(times.iter().map(Elapsed::longer)).figures();
    Ok(figures.context("no alert was shown")?.p99)
}

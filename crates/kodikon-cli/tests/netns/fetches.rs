//! Critical alerts are as fast as in a mesh that has nothing else to do while a newcomer fetches the registry.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{AlertMesh, AlertTimes, Distribution, Figures, Topology};

use crate::scene::{BINARY, Scene, span};

const RECORDS: u32 = 100_000;
/// So many alerts are raised by the three members in it that their p99 is not the worst but two.
const IDLE: Duration = Duration::from_secs(10);
/// So many samples at least are taken beside a fetch: a fast machine fetches more than once.
const SAMPLES: usize = 300;
/// What p99 may be beside a fetch, and in how many of the idle mesh's: a mesh whose alerts take 3 ms may take more than 6.
const P99_MS: f64 = 50.0;
const P99_TIMES: f64 = 2.0;

#[test]
fn critical_alerts_are_fast_while_a_newcomer_fetches_a_hundred_thousand_sightings() -> Result<()> {
    let Some(scene) = Scene::alone("fetching", &Topology::flat(4)) else { return Ok(()) };
    let began = Instant::now();
    let mut mesh = AlertMesh::begin(&scene, BINARY, RECORDS)?;
    eprintln!("three nodes hold {RECORDS} sightings after {:.1?}", began.elapsed());
    let idle = figures(&mesh.idle(IDLE)?)?;
    eprintln!("idle: {:.1} ms median, {:.1} ms p99, {:.1} ms at most, of {}", idle.p50, idle.p99, idle.max, idle.n);
    let mut busy = AlertTimes::default();
    while busy.members.len() < SAMPLES {
        let times = mesh.fetch()?;
        eprintln!("fetched after {:.1?}, beside {} alerts shown", times.took, times.members.len());
        busy.members.extend(times.members);
    }
    let busy = figures(&busy)?;
    eprintln!("beside: {:.1} ms median, {:.1} ms p99, {:.1} ms at most, of {}", busy.p50, busy.p99, busy.max, busy.n);
    let limit = P99_MS.max(P99_TIMES * idle.p99);
    ensure!(
        busy.p99 <= limit,
        "p99 {:.1} ms beside a fetch, {:.1} ms without, {limit:.1} ms allowed",
        busy.p99,
        idle.p99
    );
    Ok(())
}

fn figures(times: &AlertTimes) -> Result<Figures> {
    Distribution::of_ms(times.members.iter().map(|elapsed| span(*elapsed))).figures().context("no alert was shown")
}

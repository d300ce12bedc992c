//! How a mesh comes into being: many at once, one after the others.

use std::time::Duration;

use anyhow::{Result, ensure};
use kodikon_lab::Topology;

use crate::scene::{PATIENCE, Scene, expect_no_false_verdict, span};

#[test]
fn ten_nodes_that_start_at_once_know_each_other_within_two_seconds() -> Result<()> {
    cold_start(10, Duration::from_secs(2))
}

fn cold_start(nodes: u16, limit: Duration) -> Result<()> {
    let Some(scene) = Scene::alone("cold", &Topology::flat(nodes)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_started(PATIENCE)?;
    let elapsed = span(fleet.wait_full_roster(PATIENCE)?);
    eprintln!("cold start of {nodes}: {elapsed:?}");
    ensure!(elapsed <= limit, "{elapsed:?} from the last start to full roster, more than {limit:?}");
    expect_no_false_verdict(&fleet)
}

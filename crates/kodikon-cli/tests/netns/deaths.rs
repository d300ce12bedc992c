//! How the end of a node is learned: by its word, by its host's kernel, by its silence.

use std::time::Duration;

use anyhow::{Result, ensure};
use kodikon_lab::{Kind, Topology};

use crate::scene::{PATIENCE, Scene, expect_no_false_verdict, expect_within};

const NODES: u16 = 5;
const VICTIM: &str = "n5";

#[test]
fn a_killed_process_is_failed_at_all_within_a_second_and_a_half() -> Result<()> {
    let Some(scene) = Scene::alone("crash", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = fleet.kill(VICTIM)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("process crash", Duration::from_millis(1500), &samples)?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_goodbye_is_known_at_all_within_a_second() -> Result<()> {
    let Some(scene) = Scene::alone("goodbye", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let (mark, status) = fleet.terminate(VICTIM, PATIENCE)?;
    ensure!(status.success(), "it ended with {status}");
    let samples = fleet.wait_at_all(&Kind::PeerLeft, VICTIM, mark, PATIENCE)?;
    expect_within("goodbye", Duration::from_secs(1), &samples)?;
    let failed = fleet.story().first_about(&Kind::PeerFailed, VICTIM, mark);
    ensure!(failed.is_empty(), "it had said goodbye, and yet {:?} call it failed", failed.keys());
    expect_no_false_verdict(&fleet)
}

//! How the end of a node is learned: by its word, by its host's kernel, by its silence.

use std::time::Duration;

use anyhow::{Result, ensure};
use kodikon_lab::{Host, Kind, Moment, Topology};

use crate::scene::{PATIENCE, SEGMENT, Scene, expect_no_false_verdict, expect_within};

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
fn a_process_killed_before_anybody_watches_it_is_failed_by_the_hard_bound() -> Result<()> {
    let Some(scene) = Scene::beside("newborn", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.hasty_fleet()?;
    let mark = fleet.kill(VICTIM)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    // The hard bound and a second: 11.0 s were seen. It is a deadline, so that a slow machine adds little.
    expect_within("process crash of a newborn", Duration::from_secs(12), &samples)?;
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

#[test]
fn a_host_that_falls_silent_is_suspected_and_failed_at_all_within_ten_seconds() -> Result<()> {
    let Some(scene) = Scene::alone("silence", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = Moment::now();
    scene.silence(SEGMENT, Host(NODES))?;
    let first = fleet.wait_at_first(&Kind::PeerSuspect, VICTIM, mark, PATIENCE)?;
    expect_within("silence, SUSPECT at the first", Duration::from_secs(5), &[first])?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("silence, FAILED", Duration::from_secs(10), &samples)?;
    for (by, seen) in fleet.story().first_about(&Kind::PeerFailed, VICTIM, mark) {
        let witnesses = seen.event.fields.get("witnesses").and_then(|all| all.as_array());
        ensure!(witnesses.is_some_and(|all| all.len() >= 2), "{by} names fewer than two witnesses: {seen:?}");
    }
    // What the victim says of the others is about a network that it alone does not hear.
    fleet.kill(VICTIM)?;
    expect_no_false_verdict(&fleet)
}

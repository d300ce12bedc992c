//! How a mesh comes into being: many at once, one after the others, two on one host, with no network at first, with one name.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Api, Fleet, Host, Kind, Moment, NodeSpec, Sample, Story, Topology};
use serde_json::Value;

use crate::scene::{
    PATIENCE, SEGMENT, Scene, await_watch, doctor, eventually, expect_no_false_verdict, expect_within, span,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn ten_nodes_that_start_at_once_know_each_other_within_two_seconds() -> Result<()> {
    cold_start(10, 2 * SECOND)
}

#[test]
fn fifty_nodes_that_start_at_once_know_each_other_within_five_seconds() -> Result<()> {
    cold_start(50, 5 * SECOND)
}

#[test]
fn a_late_joiner_is_known_to_all_and_knows_all_within_a_second() -> Result<()> {
    let Some(scene) = Scene::alone("late", &Topology::flat(11)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=10).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    fleet.start(Host(11))?;
    let all = span(fleet.wait_full_roster(PATIENCE)?);
    let started = fleet.story().last_started().context("it runs")?;
    // Some hear it before it has said that it runs: that is no time at all.
    let first_ups = fleet.story().seen().iter().filter(|seen| seen.event.kind == Kind::PeerUp);
    let first_ups = first_ups.filter(|seen| seen.event.about.as_deref() == Some("n11"));
    let samples: Vec<Sample> =
        first_ups.map(|seen| Sample { by: seen.by.clone(), elapsed: seen.moment.since(started) }).collect();
    ensure!(samples.len() == 10, "{} know it: {}", samples.len(), fleet.story().summary());
    expect_within("late joiner known", SECOND, &samples)?;
    eprintln!("late joiner knows all and is known to all: {all:?}");
    ensure!(all <= SECOND, "it took {all:?} until it knew all");
    expect_no_false_verdict(&fleet)
}

#[test]
fn two_nodes_of_one_host_know_each_other_and_those_of_other_hosts() -> Result<()> {
    let Some(scene) = Scene::beside("onehost", &Topology::flat(2)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.launch(NodeSpec::on(Host(1)).named("left"))?;
    fleet.launch(NodeSpec::on(Host(1)).named("right"))?;
    fleet.launch(NodeSpec::on(Host(2)).named("far"))?;
    let elapsed = fleet.wait_full_roster(PATIENCE)?;
    eprintln!("two on one host and one beside it: {elapsed:?}");
    ensure!(span(elapsed) <= 2 * SECOND, "{elapsed:?} to full roster");
    let mark = fleet.terminate("left", PATIENCE)?.0;
    fleet.wait_at_all(&Kind::PeerLeft, "left", mark, PATIENCE)?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn two_nodes_of_a_host_that_has_loopback_alone_know_each_other() -> Result<()> {
    let Some(scene) = Scene::beside("loopback", &Topology::new().lonely(1)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.launch(NodeSpec::on(Host(1)).named("left"))?;
    fleet.launch(NodeSpec::on(Host(1)).named("right"))?;
    let elapsed = fleet.wait_full_roster(PATIENCE)?;
    eprintln!("two on loopback: {elapsed:?}");
    ensure!(span(elapsed) <= 2 * SECOND, "{elapsed:?} to full roster");
    let finding = doctor(&fleet, "left", "interfaces")?;
    ensure!(finding["status"] == "warn", "doctor should say that only this host can be met: {finding}");
    await_watch(&fleet, true)?;
    let mark = fleet.kill("right")?;
    fleet.wait_at_all(&Kind::PeerFailed, "right", mark, PATIENCE).map(drop)
}

#[test]
fn a_node_without_any_interface_starts_says_so_and_joins_when_one_comes_up() -> Result<()> {
    let Some(scene) = Scene::beside("bare", &Topology::flat(2).lonely(3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    // Its loopback too is down, so that there is no API at first: it is seen by what it prints.
    ip(&scene, Host(3), &["link", "set", "lo", "down"])?;
    fleet.start(Host(1))?;
    fleet.start(Host(2))?;
    fleet.launch(NodeSpec::on(Host(3)).api(Api::None))?;
    fleet.wait_started(PATIENCE)?;
    let started = fleet.story().seen().iter().find(|seen| seen.by == "n3").context("it has started")?;
    ensure!(started.event.fields["addresses"] == serde_json::json!([]), "{:?}", started.event.fields);
    eventually("n3 to say that it has no interface", PATIENCE, || {
        let said = fleet.process("n3")?.complaints();
        ensure!(said.contains("no usable interface"), "it said: {said}");
        Ok(())
    })?;
    let plugged = Moment::now();
    scene.plug(SEGMENT, Host(3))?;
    fleet.wait("full roster", PATIENCE, Story::full_roster)?;
    eprintln!("known at all after the cable was plugged in: {:?}", plugged.read.elapsed());
    ensure!(plugged.read.elapsed() <= 6 * SECOND, "it took {:?}", plugged.read.elapsed());
    expect_no_false_verdict(&fleet)
}

#[test]
fn an_interface_that_gets_its_address_late_is_used_then() -> Result<()> {
    let Some(scene) = Scene::beside("lateaddress", &Topology::flat(2).without_ipv6()) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start(Host(1))?;
    let address = format!("{}/16", scene.address(SEGMENT, Host(2))?);
    let device = scene.interface(SEGMENT);
    ip(&scene, Host(2), &["addr", "del", &address, "dev", &device])?;
    fleet.start(Host(2))?;
    fleet.wait_started(PATIENCE)?;
    let finding = doctor(&fleet, "n2", "interfaces")?;
    ensure!(finding["status"] != "ok", "doctor should miss an address: {finding}");
    let late = Ipv4Addr::new(10, 77, 8, 8);
    let addressed = Moment::now();
    ip(&scene, Host(2), &["addr", "add", &format!("{late}/16"), "brd", "+", "dev", &device])?;
    fleet.wait("full roster", PATIENCE, Story::full_roster)?;
    eprintln!("known at all after the address came: {:?}", addressed.read.elapsed());
    ensure!(addressed.read.elapsed() <= 6 * SECOND, "it took {:?}", addressed.read.elapsed());
    Ok(())
}

#[test]
fn of_two_nodes_of_one_name_the_later_is_shown_with_a_number_everywhere() -> Result<()> {
    let Some(scene) = Scene::beside("clash", &Topology::flat(3)) else { return Ok(()) };
    // Two fleets, for each knows its nodes by name.
    let mut first = scene.fleet();
    first.launch(NodeSpec::on(Host(1)).named("camera").data(scene.directory().join("first")))?;
    first.launch(NodeSpec::on(Host(3)).named("viewer"))?;
    first.wait_full_roster(PATIENCE)?;
    // Once its claim to the name stands it is on disk; before that nobody was first.
    let claim = first.data("camera")?.join("rank");
    eventually("the first to hold its name", PATIENCE, || {
        ensure!(claim.exists(), "there is no {}", claim.display());
        Ok(())
    })?;
    let mut second = scene.fleet();
    second.launch(NodeSpec::on(Host(2)).named("camera").data(scene.directory().join("second")))?;
    second.wait_started(PATIENCE)?;
    let ids = [started_id(&first, "camera")?, started_id(&second, "camera")?];
    let expected = [("camera", ids[0].as_str()), ("camera-2", ids[1].as_str())];
    eventually("camera-2 at the viewer", PATIENCE, || expect_names(&first, "viewer", &expected))?;
    eventually("camera-2 at the first", PATIENCE, || expect_names(&first, "camera", &expected[1..]))?;
    eventually("the first at camera-2", PATIENCE, || expect_names(&second, "camera", &expected[..1]))?;
    let finding = doctor(&second, "camera", "identity")?;
    ensure!(finding["status"] == "warn", "doctor should tell of the other camera: {finding}");
    let stats = second.ctl_json("camera", ["stats"])?;
    ensure!(stats["node_id"] == "camera-2", "it calls itself {}", stats["node_id"]);

    second.terminate("camera", PATIENCE)?;
    second.relaunch("camera")?;
    second.wait_started(PATIENCE)?;
    eventually("camera-2 after its restart", PATIENCE, || expect_names(&first, "viewer", &expected))
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

fn ip(scene: &Scene, host: Host, args: &[&str]) -> Result<()> {
    scene.run(scene.command(host, "ip").args(args), PATIENCE)?.success().map(drop)
}

/// The identity a node started with.
fn started_id(fleet: &Fleet<'_>, name: &str) -> Result<String> {
    let mut seen = fleet.story().seen().iter();
    let started = seen.find(|seen| seen.by == name && seen.event.kind == Kind::Started).context("it has started")?;
    Ok(started.event.fields["id"].as_str().context("it has an id")?.to_owned())
}

/// The peers a node shows alive whose names begin like a camera's are just these.
fn expect_names(fleet: &Fleet<'_>, reader: &str, expected: &[(&str, &str)]) -> Result<()> {
    let peers = fleet.ctl_json(reader, ["peers"])?;
    let alive = peers.as_array().into_iter().flatten().filter(|row| row["liveness"] == "alive");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown: Vec<(String, String)> = alive.map(|row| (text(&row["node_id"]), text(&row["id"]))).collect();
    shown.retain(|(name, _)| name.starts_with("camera"));
    shown.sort();
    let shown: Vec<(&str, &str)> = shown.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    ensure!(shown == expected, "{reader} shows {shown:?}, not {expected:?}");
    Ok(())
}

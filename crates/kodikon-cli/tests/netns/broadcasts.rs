//! How what one node says to all is told by all others, once each, over relays, through loss and past one that dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kodikon_lab::{Fleet, Host, Kind, Lab, Process, Topology};

use crate::scene::{PATIENCE, SEGMENT, Scene, eventually, expect_no_false_verdict, number};

/// Numbered broadcasts of each test, and the milliseconds between two of them: as many as may leave in a second.
const COUNT: usize = 200;
const EVERY_MS: u64 = 50;
/// A series lasts ten seconds; what it takes on two busy cores until the last has left.
const SERIES: Duration = Duration::from_secs(60);

#[test]
fn a_line_of_seven_is_told_everything_once_from_both_ends() -> Result<()> {
    let Some(scene) = Scene::alone("casts", &Topology::line(7)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    announce(&mut fleet, &scene, &["n1", "n7"], |_| Ok(()))?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn past_a_gateway_that_is_killed_in_the_midst_all_others_are_told_everything_once() -> Result<()> {
    let Some(scene) = Scene::alone("gates", &lans(&[3, 3])) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    let forwarder = first_relay(&fleet, "n1", "n6")?;
    announce(&mut fleet, &scene, &["n1"], |fleet| fleet.kill(&forwarder).map(drop))
}

#[test]
fn fifty_on_five_segments_are_told_everything_once() -> Result<()> {
    let Some(scene) = Scene::alone("fifty", &lans(&[9, 9, 8, 8, 8])) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE * 2)?;
    await_ways(&fleet)?;
    announce(&mut fleet, &scene, &["n1"], |_| Ok(()))?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn at_a_loss_of_a_fifth_ten_nodes_are_told_everything_once() -> Result<()> {
    let Some(scene) = Scene::alone("lossy", &Topology::flat(10)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_age(&fleet)?;
    scene.loss(SEGMENT, 20.0)?;
    announce(&mut fleet, &scene, &["n1", "n5"], |_| Ok(()))
}

#[test]
fn a_ring_of_six_is_told_everything_through_a_silent_cut_and_an_interface_that_goes_down() -> Result<()> {
    let Some(scene) = Scene::alone("loop", &Topology::ring(6)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    announce(&mut fleet, &scene, &["n1"], |_| scene.cut_segment("s2"))?;
    scene.heal("s2")?;
    await_ways(&fleet)?;
    announce(&mut fleet, &scene, &["n1"], |_| scene.interface_down("s1", Host(1)))?;
    scene.interface_up("s1", Host(1))
}

#[test]
fn a_grid_of_nine_is_told_everything_through_a_silent_cut_and_an_interface_that_goes_down() -> Result<()> {
    let Some(scene) = Scene::alone("net", &Topology::grid(3, 3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    let link = link_to(&first_relay(&fleet, "n1", "n9")?);
    announce(&mut fleet, &scene, &["n1"], |_| scene.cut_segment(link))?;
    scene.heal(link)?;
    await_ways(&fleet)?;
    let link = link_to(&first_relay(&fleet, "n1", "n9")?);
    announce(&mut fleet, &scene, &["n1"], |_| scene.interface_down(link, Host(1)))?;
    scene.interface_up(link, Host(1))
}

/// The link of the grid from node 1 to one of the two beside it.
pub(crate) fn link_to(neighbour: &str) -> &'static str {
    if neighbour == "n2" { "r1" } else { "d1" }
}

/// LANs of so many hosts, numbered LAN by LAN from 1 on; behind the last of them come the gateways, two between each two LANs.
pub(crate) fn lans(hosts: &[u16]) -> Topology {
    let all: u16 = hosts.iter().sum();
    let gateways = |pair: usize| {
        let first = all + 2 * u16::try_from(pair).expect("few LANs") + 1;
        [first, first + 1]
    };
    let mut first = 1;
    let mut topology = Topology::new();
    for (lan, count) in hosts.iter().enumerate() {
        let before = lan.checked_sub(1).map(gateways);
        let behind = (lan + 1 < hosts.len()).then(|| gateways(lan));
        let joints = before.into_iter().chain(behind).flatten();
        topology = topology.segment(&format!("l{}", lan + 1), (first..first + count).chain(joints));
        first += count;
    }
    topology
}

/// Waits until every node shows a way to every other, and knows by which group to tell its LANs.
pub(crate) fn await_ways(fleet: &Fleet<'_>) -> Result<()> {
    let names: Vec<&str> = fleet.story().running().collect();
    eventually("ways between all", PATIENCE * 2, || {
        for name in &names {
            let routes = fleet.ctl_json(name, ["routes"])?;
            let found = routes.as_array().map_or(0, Vec::len);
            ensure!(found + 1 == names.len(), "{name} has ways to {found} of {}", names.len() - 1);
        }
        Ok(())
    })
}

/// Waits until no run is so young that what is said to it may have been said to the one before (docs/machines/broadcast.md): ten nodes
/// know each other a tenth of a second after they start.
fn await_age(fleet: &Fleet<'_>) -> Result<()> {
    eventually("runs that are older than 0.2 s", PATIENCE, || {
        for name in fleet.story().running() {
            let age = fleet.ctl_json(name, ["stats"])?["uptime_s"].as_f64().context("no age")?;
            ensure!(age > 0.2, "{name} is {age} s old");
        }
        Ok(())
    })
}

/// The first relay on the way from a node to another.
pub(crate) fn first_relay(fleet: &Fleet<'_>, from: &str, to: &str) -> Result<String> {
    let routes = fleet.ctl_json(from, ["routes"])?;
    let route = routes.as_array().into_iter().flatten().find(|row| row["node_id"] == to);
    let hop = route.and_then(|row| row["next_hop"].as_str()).with_context(|| format!("no way to {to} in {routes}"))?;
    ensure!(hop != to, "{from} hears {to} itself");
    Ok(hop.to_owned())
}

/// Says a numbered series to all from each of these, does something in the midst of it, and compares what was said with what
/// those who run were told.
fn announce<'lab>(
    fleet: &mut Fleet<'lab>,
    lab: &Lab,
    origins: &[&str],
    midst: impl FnOnce(&mut Fleet<'lab>) -> Result<()>,
) -> Result<()> {
    let begun = kodikon_lab::Moment::now();
    let before = payload_datagrams(fleet)?;
    let mut speakers: Vec<Process> = Vec::new();
    for origin in origins {
        let (count, every) = (COUNT.to_string(), EVERY_MS.to_string());
        let options = ["--json", "--repeat", &count, "--interval-ms", &every];
        let mut command = fleet.ctl_command(origin, ["broadcast", "{}"].into_iter().chain(options))?;
        speakers.push(lab.spawn(&mut command)?);
    }
    // A third of the series is on its way.
    fleet.listen(Duration::from_millis(EVERY_MS * COUNT as u64 / 3))?;
    midst(fleet)?;
    for (origin, speaker) in origins.iter().zip(&mut speakers) {
        let status = speaker.wait(SERIES).with_context(|| format!("{origin}: {}", speaker.complaints()))?;
        ensure!(status.success(), "{origin} did not say all of it: {}", speaker.complaints());
    }
    let names: BTreeSet<String> = fleet.story().running().map(str::to_owned).collect();
    let all = COUNT * origins.len() * (names.len() - 1);
    let in_time = fleet.wait("all to be told", PATIENCE, |story| {
        let told = story.since(begun).filter(|seen| names.contains(&seen.by) && seen.event.kind == Kind::Message);
        told.count() >= all
    });
    // What comes twice would come within this.
    fleet.listen(Duration::from_secs(4))?;
    for name in &names {
        for origin in origins.iter().filter(|origin| **origin != name) {
            let times = told(fleet, begun, name, origin)?;
            let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
            ensure!(twice.is_empty(), "{name} was told twice: {twice:?}");
            let lacking: Vec<_> = (1..=COUNT as u64).filter(|n| !times.contains_key(n)).collect();
            if !lacking.is_empty() {
                let stats = fleet.ctl_json(name, ["stats"])?;
                bail!(
                    "{name} was never told {lacking:?} of {origin}; dropped: {}, counted: {}",
                    stats["drops"],
                    stats["counters"]
                );
            }
        }
    }
    in_time?;
    let sent = payload_datagrams(fleet)? - before;
    eprintln!("{sent} payload datagrams for {} broadcasts to {} nodes", COUNT * origins.len(), names.len());
    Ok(())
}

/// How often a node was told each of an origin's numbered broadcasts.
fn told(fleet: &Fleet<'_>, begun: kodikon_lab::Moment, name: &str, origin: &str) -> Result<BTreeMap<u64, usize>> {
    let mut times = BTreeMap::new();
    for seen in fleet.story().since(begun).filter(|seen| seen.by == name && seen.event.kind == Kind::Message) {
        if seen.event.fields["source"] == *origin && seen.event.fields["sent_to"] == "all" {
            *times
                .entry(seen.event.fields["payload"]["n"].as_u64().context("a message without its number")?)
                .or_default() += 1;
        }
    }
    Ok(times)
}

/// Payload datagrams of all who run.
fn payload_datagrams(fleet: &Fleet<'_>) -> Result<u64> {
    let names: Vec<&str> = fleet.story().running().collect();
    let sent = |name: &&str| number(&fleet.ctl_json(name, ["stats"])?, "/counters/cast_datagrams");
    names.iter().map(sent).sum()
}

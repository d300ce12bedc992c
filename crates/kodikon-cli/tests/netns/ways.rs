//! How nodes that do not hear each other are there for each other, by way of those that hear both.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Kind, Moment, Topology};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, eventually, expect_all_alive, expect_no_false_verdict};

/// From a cut that no interface tells of to ways that avoid it at all, and back: 10 s are promised.
const OTHER_WAY: Duration = Duration::from_secs(20);
/// From the end of the only gateway to SUSPECT: its death, then the patience of the profile, 3 s.
const SUSPECT: Duration = Duration::from_secs(12);
/// And to FAILED: the hard bound of a hasty fleet, 10 s, after that.
const FAILED: Duration = Duration::from_secs(30);

/// A way as it should be: the numbers of the hosts of the relays, then of the destination.
type Path = Vec<u16>;

#[test]
fn a_line_of_seven_shows_all_on_each() -> Result<()> {
    const NODES: u16 = 7;
    let Some(scene) = Scene::beside("line", &Topology::line(NODES)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    let elapsed = fleet.wait_full_roster(PATIENCE)?;
    eprintln!("a line of {NODES}, from the last start to all known at all: {elapsed:?}");
    expect_all_alive(&fleet)?;
    expect_ways(&fleet, "the line's ways", PATIENCE, |from, to| vec![along_line(from, to)])?;
    for from in 1..=NODES {
        expect_hops(&fleet, from, |to| from.abs_diff(to) - 1)?;
        for row in rows(&fleet, from, "routes")? {
            // A segment bears the number of the lower of its hosts.
            let segment = if number_of(&row["node_id"])? > from { from } else { from - 1 };
            ensure!(row["interface"] == format!("es{segment}"), "n{from} begins at another interface: {row}");
            ensure!(row["source"] == "map", "n{from} did not take it from the map: {row}");
        }
    }
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_ring_of_six_goes_the_other_way_when_a_segment_is_cut() -> Result<()> {
    const NODES: u16 = 6;
    let Some(scene) = Scene::alone("ring", &Topology::ring(NODES)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    let shortest = |from, to| shortest_in_ring(NODES, from, to);
    expect_ways(&fleet, "the ring's ways", PATIENCE, shortest)?;

    let cut = Moment::now();
    scene.cut_segment("s1")?;
    // What is left is a line from 2 over 3, 4, 5 and 6 to 1.
    let place = |host: u16| (host + NODES - 2) % NODES + 1;
    let host = |place: u16| place % NODES + 1;
    let avoiding = |from, to| vec![along_line(place(from), place(to)).into_iter().map(host).collect()];
    expect_ways(&fleet, "ways that avoid the cut", OTHER_WAY, avoiding)?;
    eprintln!("ways avoid the cut at all after {:?}", Moment::now().since(cut).read);
    // Longer than suspicion takes, so that no verdict is on its way.
    fleet.listen(Duration::from_secs(10))?;
    expect_no_false_verdict(&fleet)?;

    let mended = Moment::now();
    scene.heal("s1")?;
    expect_ways(&fleet, "the short ways again", OTHER_WAY, shortest)?;
    eprintln!("ways are short again at all after {:?}", Moment::now().since(mended).read);
    expect_all_alive(&fleet)?;
    fleet.listen(Duration::from_secs(1))?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_node_on_two_lans_joins_them() -> Result<()> {
    const GATEWAY: &str = "n7";
    let Some(scene) = Scene::alone("gateway", &Topology::gateways(2, 3)) else { return Ok(()) };
    let mut fleet = scene.hasty_fleet()?;
    let is_across = |from: u16, to: u16| from != 7 && to != 7 && (from <= 3) != (to <= 3);
    let over_gateway = |from, to| vec![if is_across(from, to) { vec![7, to] } else { vec![to] }];
    expect_all_alive(&fleet)?;
    expect_ways(&fleet, "ways over the gateway", PATIENCE, over_gateway)?;

    let killed = fleet.kill(GATEWAY)?;
    fleet.wait_at_all(&Kind::PeerFailed, GATEWAY, killed, PATIENCE)?;
    let pairs: Vec<(String, String)> = (1..=6)
        .flat_map(|by| (1..=6).filter(move |about| is_across(by, *about)).map(move |about| (by, about)))
        .map(|(by, about)| (format!("n{by}"), format!("n{about}")))
        .collect();
    await_pairs(&mut fleet, &Kind::PeerSuspect, &pairs, killed, SUSPECT)?;
    await_pairs(&mut fleet, &Kind::PeerFailed, &pairs, killed, FAILED)?;
    let failed = &Kind::PeerFailed;
    for seen in fleet.story().seen().iter().filter(|seen| seen.event.kind == *failed) {
        let about = seen.event.about.clone().unwrap_or_default();
        let is_fair = about == GATEWAY || pairs.contains(&(seen.by.clone(), about));
        ensure!(is_fair, "a verdict about one of the own side: {seen:?}");
    }

    let back = Moment::now();
    fleet.relaunch(GATEWAY)?;
    await_pairs(&mut fleet, &Kind::PeerUp, &pairs, back, PATIENCE)?;
    expect_all_alive(&fleet)?;
    expect_ways(&fleet, "ways over the gateway again", PATIENCE, over_gateway)
}

/// Waits until each of the first has told an event of this kind about the second of its pair.
fn await_pairs(
    fleet: &mut Fleet<'_>,
    kind: &Kind,
    pairs: &[(String, String)],
    since: Moment,
    limit: Duration,
) -> Result<()> {
    fleet.wait(&format!("{kind} across"), limit, |story| {
        pairs.iter().all(|(by, about)| story.first_about(kind, about, since).contains_key(by.as_str()))
    })?;
    let told = pairs.iter().filter_map(|(by, about)| {
        let first = fleet.story().first_about(kind, about, since);
        first.get(by.as_str()).map(|seen| seen.moment.since(since).read)
    });
    let told: Vec<Duration> = told.collect();
    eprintln!("{kind} across: {:?} to {:?}", told.iter().min(), told.iter().max());
    Ok(())
}

/// Waits until `routes` on each running node shows to each other one of the ways that are right, and no others.
fn expect_ways(fleet: &Fleet<'_>, what: &str, limit: Duration, right: impl Fn(u16, u16) -> Vec<Path>) -> Result<()> {
    let hosts = hosts(fleet)?;
    eventually(what, limit, || {
        for from in &hosts {
            let shown = rows(fleet, *from, "routes")?;
            ensure!(shown.len() + 1 == hosts.len(), "n{from} has {} ways: {shown:?}", shown.len());
            for row in &shown {
                let to = number_of(&row["node_id"])?;
                let path: Path = list(&row["path"])?.iter().map(number_of).collect::<Result<_>>()?;
                let expected = right(*from, to);
                ensure!(expected.contains(&path), "n{from} to n{to}: {path:?} instead of {expected:?}");
                ensure!(Some(&number_of(&row["next_hop"])?) == path.first(), "n{from} to n{to}: {row}");
                ensure!(row["relays"] == path.len() - 1, "n{from} to n{to}: {row}");
            }
        }
        Ok(())
    })
}

/// `peers` on a node shows each other with so many relays between, and an address only where there is none.
fn expect_hops(fleet: &Fleet<'_>, from: u16, right: impl Fn(u16) -> u16) -> Result<()> {
    eventually("the hops", PATIENCE, || {
        for row in rows(fleet, from, "peers")? {
            let hops = right(number_of(&row["node_id"])?);
            ensure!(row["hops"] == hops, "n{from} shows {row}, {hops} hops are right");
            ensure!(row["address"].is_string() == (hops == 0), "n{from} shows {row}");
        }
        Ok(())
    })
}

/// What a verb shows on a node, one row a peer.
fn rows(fleet: &Fleet<'_>, host: u16, verb: &str) -> Result<Vec<Value>> {
    list(&fleet.ctl_json(&format!("n{host}"), [verb])?).map(<[Value]>::to_vec)
}

fn list(value: &Value) -> Result<&[Value]> {
    value.as_array().map(Vec::as_slice).with_context(|| format!("{value} is no list"))
}

/// The hosts of the nodes that run.
fn hosts(fleet: &Fleet<'_>) -> Result<BTreeSet<u16>> {
    fleet.story().running().map(|name| Ok(fleet.host(name)?.0)).collect()
}

/// The number of the host that a node is named after.
fn number_of(name: &Value) -> Result<u16> {
    let digits = name.as_str().and_then(|name| name.strip_prefix('n'));
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("{name} is no node of this fleet"))
}

/// The hosts after `from` up to `to` where each is joined to the next number.
fn along_line(from: u16, to: u16) -> Path {
    if from < to { (from + 1..=to).collect() } else { (to..from).rev().collect() }
}

/// The shorter way round, or both where they are as long.
fn shortest_in_ring(nodes: u16, from: u16, to: u16) -> Vec<Path> {
    let up: Path = (1..nodes).map(|step| (from - 1 + step) % nodes + 1).collect();
    let down: Path = (1..nodes).map(|step| (from - 1 + nodes - step) % nodes + 1).collect();
    let until = |way: Path| way.iter().position(|host| *host == to).map(|end| way[..=end].to_vec());
    let ways: Vec<Path> = [up, down].into_iter().filter_map(until).collect();
    let best = ways.iter().map(Vec::len).min().unwrap_or(0);
    ways.into_iter().filter(|way| way.len() == best).collect()
}

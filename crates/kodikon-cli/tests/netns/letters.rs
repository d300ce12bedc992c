//! How what one node says to another arrives, once, over relays and through what breaks meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Kind, Lab, Process, Topology};
use serde_json::Value;

use crate::broadcasts::{await_ways, first_relay, lans, link_to};
use crate::scene::{PATIENCE, SEGMENT, Scene, eventually, expect_no_false_verdict};

/// Numbered messages of each flow, and the milliseconds between two of them.
const COUNT: usize = 1_000;
const EVERY_MS: u64 = 10;
/// A flow lasts ten seconds; what it takes on two busy cores until the last is settled.
const FLOW: Duration = Duration::from_secs(60);

#[test]
fn a_line_of_seven_delivers_both_ways() -> Result<()> {
    let Some(scene) = Scene::alone("letters", &Topology::line(7)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_way(&fleet, "n1", "n7")?;
    await_way(&fleet, "n7", "n1")?;
    exchange(&mut fleet, &scene, &[("n1", "n7"), ("n7", "n1")], |_| Ok(()))?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_ring_of_six_delivers_through_a_silent_cut_and_an_interface_that_goes_down() -> Result<()> {
    let Some(scene) = Scene::alone("ring", &Topology::ring(6)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_way(&fleet, "n1", "n3")?;
    // From 1 over 2 to 3: first the second half of that way falls silent, then the first half goes down.
    exchange(&mut fleet, &scene, &[("n1", "n3")], |_| scene.cut_segment("s2"))?;
    scene.heal("s2")?;
    await_way(&fleet, "n1", "n2")?;
    exchange(&mut fleet, &scene, &[("n1", "n2")], |_| scene.interface_down("s1", Host(1)))?;
    scene.interface_up("s1", Host(1))
}

#[test]
fn at_a_loss_of_a_fifth_ten_nodes_deliver() -> Result<()> {
    let Some(scene) = Scene::alone("loss", &Topology::flat(10)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    scene.loss(SEGMENT, 20.0)?;
    exchange(&mut fleet, &scene, &[("n1", "n10"), ("n5", "n2")], |_| Ok(()))
}

#[test]
fn a_grid_of_nine_delivers_through_a_silent_cut_and_an_interface_that_goes_down() -> Result<()> {
    let Some(scene) = Scene::alone("mesh", &Topology::grid(3, 3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    let link = link_to(&first_relay(&fleet, "n1", "n9")?);
    exchange(&mut fleet, &scene, &[("n1", "n9"), ("n9", "n1")], |_| scene.cut_segment(link))?;
    scene.heal(link)?;
    await_way(&fleet, "n1", "n9")?;
    let link = link_to(&first_relay(&fleet, "n1", "n9")?);
    exchange(&mut fleet, &scene, &[("n1", "n9"), ("n9", "n1")], |_| scene.interface_down(link, Host(1)))?;
    scene.interface_up(link, Host(1))
}

#[test]
fn past_a_gateway_that_is_killed_in_the_midst_letters_arrive() -> Result<()> {
    let Some(scene) = Scene::alone("gate", &lans(&[3, 3])) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    await_ways(&fleet)?;
    let relay = first_relay(&fleet, "n1", "n6")?;
    exchange(&mut fleet, &scene, &[("n1", "n6"), ("n6", "n1")], |fleet| fleet.kill(&relay).map(drop))
}

#[test]
fn among_fifty_on_five_segments_letters_arrive_from_end_to_end() -> Result<()> {
    let Some(scene) = Scene::alone("many", &lans(&[9, 9, 8, 8, 8])) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE * 2)?;
    await_ways(&fleet)?;
    exchange(&mut fleet, &scene, &[("n1", "n42"), ("n42", "n1")], |_| Ok(()))?;
    expect_no_false_verdict(&fleet)
}

/// Waits until a node shows a way to another.
fn await_way(fleet: &Fleet<'_>, from: &str, to: &str) -> Result<()> {
    eventually("a way", PATIENCE, || {
        let routes = fleet.ctl_json(from, ["routes"])?;
        let found = routes.as_array().into_iter().flatten().any(|row| row["node_id"] == to);
        ensure!(found, "{from} has no way to {to}: {routes}");
        Ok(())
    })
}

/// Sends a numbered series each way, does something in the midst of it, and compares what was sent with what arrived.
fn exchange<'lab>(
    fleet: &mut Fleet<'lab>,
    lab: &Lab,
    flows: &[(&str, &str)],
    midst: impl FnOnce(&mut Fleet<'lab>) -> Result<()>,
) -> Result<()> {
    let begun = kodikon_lab::Moment::now();
    let mut senders: Vec<Process> = Vec::new();
    for (from, to) in flows {
        let (count, every) = (COUNT.to_string(), EVERY_MS.to_string());
        let options = ["--json", "--timeout", "30", "--repeat", &count, "--interval-ms", &every];
        let mut command = fleet.ctl_command(from, ["send", to, "{}"].into_iter().chain(options))?;
        senders.push(lab.spawn(&mut command)?);
    }
    // A third of the series is on its way.
    fleet.listen(Duration::from_millis(EVERY_MS * COUNT as u64 / 3))?;
    midst(fleet)?;
    for ((from, to), sender) in flows.iter().zip(&mut senders) {
        expect_delivered(sender).with_context(|| format!("{from} to {to}\n{}", told_by_all(fleet)))?;
    }
    fleet.wait("all that was delivered to be told", PATIENCE, |story| {
        story.count(&Kind::Message, begun) >= COUNT * flows.len()
    })?;
    // What comes twice would come within this.
    fleet.listen(Duration::from_secs(2))?;
    for (from, to) in flows {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for seen in fleet.story().since(begun).filter(|seen| seen.by == *to && seen.event.kind == Kind::Message) {
            if seen.event.fields["source"] == *from {
                let n = seen.event.fields["payload"]["n"].as_u64().context("a message without its number")?;
                *times.entry(n).or_default() += 1;
            }
        }
        let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "{to} was told twice: {twice:?}");
        ensure!(times.len() == COUNT, "{to} was told {} of {COUNT} by {from}", times.len());
    }
    Ok(())
}

/// What each node counts of letters, and which ways it shows, to tell where one was lost.
fn told_by_all(fleet: &Fleet<'_>) -> String {
    let of = |name: &str| -> Result<String> {
        let stats = fleet.ctl_json(name, ["stats"])?;
        let counts = stats.pointer("/counters").into_iter().chain(stats.pointer("/drops")).filter_map(Value::as_object);
        let counts = counts.flatten().filter(|(_, count)| **count != 0).map(|(what, count)| format!("{what}={count}"));
        let routes = fleet.ctl_json(name, ["routes"])?;
        let routes = routes.as_array().into_iter().flatten().map(|row| format!("{}:{}", row["node_id"], row["path"]));
        Ok(format!("{} {}", counts.collect::<Vec<_>>().join(" "), routes.collect::<Vec<_>>().join(" ")))
    };
    let names = fleet.story().running();
    names.map(|name| format!("{name}: {}\n", of(name).unwrap_or_else(|error| error.to_string()))).collect()
}

/// Reads the outcomes of a series to its end.
fn expect_delivered(sender: &mut Process) -> Result<()> {
    let mut rtts: Vec<f64> = Vec::new();
    for _ in 0..COUNT {
        let line = sender.line(FLOW).context("not all were settled")?;
        let row: Value = serde_json::from_str(&line.text).with_context(|| line.text.clone())?;
        ensure!(row["outcome"] == "delivered", "{row}");
        rtts.push(row["rtt_ms"].as_f64().context("a delivery without its time")?);
    }
    rtts.sort_by(f64::total_cmp);
    let at = |share: f64| rtts[((COUNT - 1) as f64 * share) as usize];
    eprintln!("delivered: p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms of {COUNT}", at(0.5), at(0.99), at(1.0));
    ensure!(sender.wait(Duration::from_secs(5))?.success(), "send says that something is missing");
    Ok(())
}

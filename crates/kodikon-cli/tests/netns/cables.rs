//! What becomes of a mesh whose cables, addresses and switches misbehave, and how it comes together again.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Kind, Moment, Topology};
use serde_json::json;

use crate::scene::{
    PATIENCE, SEGMENT, Scene, await_watch, eventually, expect_all_alive, expect_no_false_verdict, expect_within, span,
};
use crate::state::{expect_states, set_state, state_of};

const NODES: u16 = 5;
const VICTIM: &str = "n5";
const VICTIMS_HOST: Host = Host(NODES);
/// Outside of what the lab gives to its hosts, on the same network.
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);
/// From a death on the wire to FAILED at all.
const VERDICT: Duration = Duration::from_secs(10);
/// From the loss of the last carrier, which the kernel tells, to the node's saying that it is isolated: 0.5 s at worst.
const ISOLATION: Duration = Duration::from_secs(2);
/// From a network that works again to a full roster: 1 s at worst.
const RETURN: Duration = Duration::from_secs(4);
/// From a change of address to its being shown at all: a tenth of a second where it becomes the best way at once, 16 s at
/// worst where another way has to age first.
const NEW_ADDRESS: Duration = Duration::from_secs(45);
/// Of ten that start at once where a fifth is lost: half a second as a rule, and 4.9 s, the first beacon, at worst of 40.
const LOSSY_START: Duration = Duration::from_secs(15);

#[test]
fn a_pulled_cable_is_a_death_to_the_others_and_isolation_to_the_node_which_judges_nobody() -> Result<()> {
    let Some(scene) = Scene::alone("cable", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = Moment::now();
    scene.carrier(SEGMENT, VICTIMS_HOST, false)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("cable pulled, FAILED", VERDICT, &samples)?;
    expect_isolated(&mut fleet, mark)?;

    let back = Moment::now();
    scene.carrier(SEGMENT, VICTIMS_HOST, true)?;
    let samples = fleet.wait_at_all(&Kind::PeerUp, VICTIM, back, PATIENCE)?;
    expect_within("cable back, alive", RETURN, &samples)?;
    expect_all_alive(&fleet)?;
    expect_no_verdict_by(&fleet, VICTIM)
}

#[test]
fn an_interface_that_comes_back_with_another_address_is_used_again() -> Result<()> {
    let Some(scene) = Scene::alone("interface", &renumbered()) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = Moment::now();
    scene.interface_down(SEGMENT, VICTIMS_HOST)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("interface down, FAILED", VERDICT, &samples)?;
    expect_isolated(&mut fleet, mark)?;

    scene.set_address(SEGMENT, VICTIMS_HOST, OTHER_ADDRESS)?;
    let back = Moment::now();
    scene.interface_up(SEGMENT, VICTIMS_HOST)?;
    let samples = fleet.wait_at_all(&Kind::PeerUp, VICTIM, back, PATIENCE)?;
    expect_within("interface up, alive", RETURN, &samples)?;
    expect_all_alive(&fleet)?;
    expect_address(&fleet, OTHER_ADDRESS)
}

#[test]
fn an_address_that_changes_under_a_running_node_is_learned_without_a_verdict() -> Result<()> {
    let Some(scene) = Scene::alone("renumber", &renumbered()) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = Moment::now();
    scene.set_address(SEGMENT, VICTIMS_HOST, OTHER_ADDRESS)?;
    expect_address(&fleet, OTHER_ADDRESS)?;
    eprintln!("new address known at all: {:?}", Moment::now().since(mark).read);
    // Longer than suspicion takes, so that none is on its way.
    fleet.listen(VERDICT)?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn an_adapter_that_is_pulled_out_and_put_back_is_used_again() -> Result<()> {
    let Some(scene) = Scene::beside("adapter", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let mark = Moment::now();
    scene.unplug(SEGMENT, VICTIMS_HOST)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("adapter pulled out, FAILED", VERDICT, &samples)?;
    // The kernel gives it a new number, and no socket is in any group on it.
    scene.plug(SEGMENT, VICTIMS_HOST)?;
    let back = Moment::now();
    let samples = fleet.wait_at_all(&Kind::PeerUp, VICTIM, back, PATIENCE)?;
    expect_within("adapter back, alive", RETURN, &samples)?;
    expect_all_alive(&fleet)
}

#[test]
fn at_a_loss_of_a_fifth_ten_nodes_meet_nobody_is_buried_and_a_death_is_noticed() -> Result<()> {
    let Some(scene) = Scene::alone("loss", &Topology::flat(10)) else { return Ok(()) };
    scene.loss(SEGMENT, 20.0)?;
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    let elapsed = fleet.wait_full_roster(PATIENCE)?;
    eprintln!("cold start of 10 at 20 % loss: {elapsed:?}");
    ensure!(elapsed.longer() <= LOSSY_START, "{elapsed:?} from the last start to full roster");
    await_watch(&fleet, false)?;
    fleet.listen(Duration::from_secs(15))?;
    expect_no_false_verdict(&fleet)?;
    let mark = fleet.kill("n10")?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, "n10", mark, PATIENCE)?;
    expect_within("process crash at 20 % loss", VERDICT, &samples)?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn where_a_firewall_drops_tcp_the_mesh_works_and_a_crash_takes_as_long_as_a_silence() -> Result<()> {
    let Some(scene) = Scene::alone("firewall", &Topology::flat(NODES)) else { return Ok(()) };
    scene.drop_tcp(SEGMENT, true)?;
    let mut fleet = scene.full_fleet()?;
    await_watch(&fleet, false)?;
    set_state(&fleet, "n1", &state_of(json!({"location": "behind the firewall"})))?;
    expect_states(&fleet, &["n1"])?;
    let mark = fleet.kill(VICTIM)?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, VICTIM, mark, PATIENCE)?;
    expect_within("process crash without TCP", VERDICT, &samples)?;
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_healed_partition_has_one_roster_and_what_each_half_said_meanwhile() -> Result<()> {
    let Some(scene) = Scene::alone("heal", &Topology::flat(6)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    let pairs = scene.part(&mut fleet, &[1, 2, 3].map(Host), &[4, 5, 6].map(Host))?;
    for name in ["n1", "n6"] {
        set_state(&fleet, name, &state_of(json!({"location": format!("said by {name} in its half")})))?;
    }

    let healed = Moment::now();
    scene.heal(SEGMENT)?;
    fleet.wait("the halves to meet", PATIENCE, |story| {
        pairs.iter().all(|(by, about)| story.first_about(&Kind::PeerUp, about, healed).contains_key(by.as_str()))
    })?;
    let mut samples = Vec::new();
    for name in ["n1", "n2", "n3", "n4", "n5", "n6"] {
        for (by, seen) in fleet.story().first_about(&Kind::PeerUp, name, healed) {
            samples.push(kodikon_lab::Sample { by: by.to_owned(), elapsed: seen.moment.since(healed) });
        }
    }
    expect_within("partition healed, alive", RETURN, &samples)?;
    expect_all_alive(&fleet)?;
    expect_states(&fleet, &["n1", "n6"])
}

/// A node has called nobody failed.
fn expect_no_verdict_by(fleet: &Fleet<'_>, name: &str) -> Result<()> {
    let verdicts = fleet.story().seen().iter().filter(|seen| seen.by == name && seen.event.kind == Kind::PeerFailed);
    let verdicts: Vec<&kodikon_lab::Seen> = verdicts.collect();
    ensure!(verdicts.is_empty(), "{name}, which heard nobody, called others failed: {verdicts:?}");
    Ok(())
}

/// The victim says that it hears nobody.
fn expect_isolated(fleet: &mut Fleet<'_>, since: Moment) -> Result<()> {
    let alone = |seen: &kodikon_lab::Seen| {
        let told = seen.by == VICTIM && seen.event.kind == Kind::Isolated && seen.moment.read >= since.read;
        told && seen.event.fields.get("isolated") == Some(&json!(true))
    };
    fleet.wait("the victim to say that it is isolated", PATIENCE, |story| story.seen().iter().any(alone))?;
    let said = fleet.story().seen().iter().find(|seen| alone(seen)).context("it was there a moment ago")?;
    let elapsed = span(said.moment.since(since));
    eprintln!("isolated: {elapsed:?}");
    ensure!(elapsed <= ISOLATION, "isolated after {elapsed:?}");
    Ok(())
}

/// Hosts of which one gets another address. They have no IPv6: who is reached that way goes on being so, whatever its other addresses are.
fn renumbered() -> Topology {
    Topology::flat(NODES).without_ipv6()
}

/// All others reach the victim at this address.
fn expect_address(fleet: &Fleet<'_>, address: Ipv4Addr) -> Result<()> {
    let others: Vec<&str> = fleet.story().running().filter(|name| *name != VICTIM).collect();
    eventually("the new address at all", NEW_ADDRESS, || {
        for name in &others {
            let peers = fleet.ctl_json(name, ["peers"])?;
            let row = peers.as_array().into_iter().flatten().find(|row| row["node_id"] == VICTIM);
            let row = row.with_context(|| format!("{name} does not show {VICTIM}: {peers}"))?;
            let shown = row["address"].as_str().unwrap_or_default();
            ensure!(shown.starts_with(&format!("{address}:")), "{name} shows {VICTIM} at {shown}");
            ensure!(row["liveness"] == "alive", "{name} holds {VICTIM} {}", row["liveness"]);
        }
        Ok(())
    })
}

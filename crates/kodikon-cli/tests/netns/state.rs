//! Whether what a camera says of itself is seen by all others, under its own name, also later and after a restart.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Topology};
use serde_json::{Map, Value, json};

use crate::scene::{PATIENCE, Scene, eventually, expect_no_false_verdict};

/// The states that real cameras publish; those that carry a `node_id` all claim to be one and the same.
const STATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-core/tests/fixtures/node_states.json");

/// A node's state: its keys.
type State = Map<String, Value>;

#[test]
fn ten_cameras_show_each_others_states_each_under_its_own_name_and_so_does_a_late_joiner() -> Result<()> {
    let Some(scene) = Scene::beside("cameras", &Topology::flat(11)) else { return Ok(()) };
    let states: Vec<State> = serde_json::from_str(&fs::read_to_string(STATES)?).context(STATES)?;
    let mut fleet = scene.fleet();
    (1..=10).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    let mut expected = BTreeMap::new();
    for (host, state) in (1..=10).map(Host).zip(states) {
        let name = host.to_string();
        set_state(&fleet, &name, &state)?;
        expected.insert(name, state);
    }
    ensure!(expected.len() == 10, "ten states are needed: {expected:?}");
    let locations: std::collections::BTreeSet<_> =
        expected.values().map(|state| state["location"].to_string()).collect();
    ensure!(locations.len() == 10, "the places must differ: {locations:?}");
    for name in expected.keys() {
        eventually(&format!("all states at {name}"), PATIENCE, || expect_shown(&fleet, name, &expected))?;
    }

    fleet.start(Host(11))?;
    fleet.wait_full_roster(PATIENCE)?;
    eventually("all states at the late joiner", PATIENCE, || {
        let mut shown = states_at(&fleet, "n11")?;
        shown.remove("n11");
        differ("n11", &shown, &expected)
    })?;
    let peers = fleet.ctl_json("n11", ["peers"])?;
    for row in peers.as_array().context("peers is a list")? {
        let name = row["node_id"].as_str().context("a peer has a name")?;
        let state = expected.get(name).with_context(|| format!("nobody is called {name}"))?;
        ensure!(row["capabilities"]["location"] == state["location"], "{name} is not where it said: {row}");
    }
    expect_no_false_verdict(&fleet)
}

#[test]
fn a_node_that_restarts_has_its_own_state_and_version_and_the_others_follow() -> Result<()> {
    let Some(scene) = Scene::beside("restart", &Topology::flat(3)) else { return Ok(()) };
    let mut fleet = scene.full_fleet()?;
    let state = state_of(json!({"location": "entrance_camera", "battery_level": 85}));
    set_state(&fleet, "n1", &state_of(json!({"location": "nowhere", "battery_level": 99})))?;
    set_state(&fleet, "n1", &state)?;
    expect_states(&fleet, &["n1"])?;
    let before = row_at(&fleet, "n1", "n1")?;
    let id = started_id(&fleet, "n1")?;

    fleet.terminate("n1", PATIENCE)?;
    expect_same_after_restart(&mut fleet, &before)?;
    fleet.kill("n1")?;
    expect_same_after_restart(&mut fleet, &before)?;
    ensure!(started_id(&fleet, "n1")? == id, "it is another node now");

    set_state(&fleet, "n1", &state_of(json!({"battery_level": 84})))?;
    let after = row_at(&fleet, "n1", "n1")?;
    ensure!(after["version"].as_u64() > before["version"].as_u64(), "the version went back: {before} to {after}");
    expect_states(&fleet, &["n1"])
}

#[test]
fn nobody_can_set_the_state_of_another() -> Result<()> {
    let Some(scene) = Scene::beside("own", &Topology::flat(2)) else { return Ok(()) };
    let fleet = scene.full_fleet()?;
    set_state(&fleet, "n1", &state_of(json!({"location": "gate_a"})))?;
    set_state(&fleet, "n2", &state_of(json!({"node_id": "n1", "source": "n1", "location": "gate_b"})))?;
    expect_states(&fleet, &["n1", "n2"])?;
    let row = row_at(&fleet, "n2", "n1")?;
    ensure!(row["state"] == json!({"location": "gate_a"}), "n2 shows {row} of n1");
    Ok(())
}

/// The keys of a JSON object.
pub(crate) fn state_of(object: Value) -> State {
    serde_json::from_value(object).unwrap_or_else(|error| panic!("a state is an object: {error}"))
}

/// Sets keys of a node's own state by its command line.
pub(crate) fn set_state(fleet: &Fleet<'_>, name: &str, state: &State) -> Result<()> {
    let pairs = state.iter().map(|(key, value)| format!("{key}={value}"));
    fleet.ctl_json(name, ["state", "set"].map(str::to_owned).into_iter().chain(pairs)).map(drop)
}

/// Waits until each running node shows of each of these what it shows of itself.
pub(crate) fn expect_states(fleet: &Fleet<'_>, authors: &[&str]) -> Result<()> {
    for author in authors {
        let own = row_at(fleet, author, author)?;
        for reader in fleet.story().running() {
            eventually(&format!("the state of {author} at {reader}"), PATIENCE, || {
                let shown = row_at(fleet, reader, author)?;
                ensure!(shown == own, "it shows {shown} instead of {own}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn expect_same_after_restart(fleet: &mut Fleet<'_>, before: &Value) -> Result<()> {
    fleet.relaunch("n1")?;
    fleet.wait_full_roster(PATIENCE)?;
    let after = row_at(fleet, "n1", "n1")?;
    ensure!(after == *before, "before the restart {before}, after it {after}");
    expect_states(fleet, &["n1"])
}

fn expect_shown(fleet: &Fleet<'_>, reader: &str, expected: &BTreeMap<String, State>) -> Result<()> {
    differ(reader, &states_at(fleet, reader)?, expected)
}

fn differ(reader: &str, shown: &BTreeMap<String, State>, expected: &BTreeMap<String, State>) -> Result<()> {
    for (name, state) in expected {
        let found = shown.get(name);
        ensure!(found == Some(state), "{reader} shows {found:?} of {name}, which published {state:?}");
    }
    ensure!(shown.len() == expected.len(), "{reader} shows states of {:?}", shown.keys());
    Ok(())
}

/// All states a node shows.
fn states_at(fleet: &Fleet<'_>, reader: &str) -> Result<BTreeMap<String, State>> {
    let document: BTreeMap<String, Value> = serde_json::from_value(fleet.ctl_json(reader, ["state", "get"])?)?;
    document.into_iter().map(|(name, row)| Ok((name, serde_json::from_value(row["state"].clone())?))).collect()
}

/// What one node shows of another's state: its version, time and keys.
fn row_at(fleet: &Fleet<'_>, reader: &str, author: &str) -> Result<Value> {
    let mut document = fleet.ctl_json(reader, ["state", "get", author])?;
    Ok(document.get_mut(author).with_context(|| format!("{reader} shows no {author}"))?.take())
}

/// The identity a node started with the last time.
fn started_id(fleet: &Fleet<'_>, name: &str) -> Result<Value> {
    let starts = fleet.story().seen().iter().rev();
    let mut starts = starts.filter(|seen| seen.by == name && seen.event.kind == kodikon_lab::Kind::Started);
    starts.next().map(|seen| seen.event.fields["id"].clone()).context("it has started")
}

//! A fleet starts its nodes, follows what they tell, and says what is missing; shown with a shell script for a node.

use std::fs;
use std::time::Duration;

use kodikon_lab::{Api, Fleet, Host, Kind, Lab, Moment, NodeSpec, Topology};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_full_roster_is_awaited_and_timed() {
    let Some(lab) = Lab::for_test("roster", &Topology::flat(3)) else { return };
    let mut fleet = fleet(&lab);
    for (host, peers) in [(1, "n2 n3"), (2, "n1 n3"), (3, "n1 n2")] {
        fleet.launch(NodeSpec::on(Host(host)).env("PEERS", peers)).unwrap();
    }
    let elapsed = fleet.wait_full_roster(LIMIT).unwrap();
    assert_eq!(elapsed.told, Some(Duration::from_millis(250)), "by the nodes' own word");
    assert!(elapsed.read < LIMIT);
    assert_eq!(fleet.story().count(&Kind::PeerUp, first_event(&fleet)), 6);
    assert!(fleet.launch(NodeSpec::on(Host(1))).is_err(), "it runs already");
}

#[test]
fn what_is_missing_is_told_when_the_time_is_up() {
    let Some(lab) = Lab::for_test("missing", &Topology::flat(2)) else { return };
    let mut fleet = fleet(&lab);
    fleet.launch(NodeSpec::on(Host(1)).env("PEERS", "n2")).unwrap();
    fleet.launch(NodeSpec::on(Host(2))).unwrap();
    fleet.wait_started(LIMIT).unwrap();
    fs::write(fleet.data("n2").unwrap().join("say"), "gibberish\n").unwrap();
    fleet.wait("the odd line", LIMIT, |story| !story.odd().is_empty()).unwrap();
    let error = fleet.wait_full_roster(Duration::from_millis(100)).unwrap_err().to_string();
    for part in ["full roster at all: not within 100ms", "n2 lacks n1", "no event: n2: gibberish", "n1 told peer_up n2"]
    {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn a_node_that_ends_by_itself_is_reported_at_once_with_its_last_words() {
    let Some(lab) = Lab::for_test("ends", &Topology::flat(1)) else { return };
    let mut fleet = fleet(&lab);
    fleet.launch(NodeSpec::on(Host(1)).env("COMPLAIN", "port 9999 is taken")).unwrap();
    let error = format!("{:#}", fleet.wait_started(LIMIT).unwrap_err());
    assert!(error.contains("port 9999 is taken") && error.contains("exit status: 2"), "{error}");
}

#[test]
fn a_death_is_sampled_at_each_survivor() {
    let Some(lab) = Lab::for_test("death", &Topology::flat(3)) else { return };
    let mut fleet = fleet(&lab);
    fleet.start_all().unwrap();
    fleet.wait_started(LIMIT).unwrap();
    let mark = fleet.kill("n3").unwrap();
    for name in ["n1", "n2"] {
        let line = "{\"event\":\"peer_failed\",\"node_id\":\"n3\",\"at\":99999999999}\n";
        fs::write(fleet.data(name).unwrap().join("said"), line).unwrap();
        // Written, then renamed: the script never sees half a file.
        fs::rename(fleet.data(name).unwrap().join("said"), fleet.data(name).unwrap().join("say")).unwrap();
    }
    let samples = fleet.wait_at_all(&Kind::PeerFailed, "n3", mark, LIMIT).unwrap();
    assert_eq!(samples.iter().map(|sample| sample.by.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    assert!(samples.iter().all(|sample| sample.elapsed.read < LIMIT && sample.elapsed.told.is_some()));
    let first = fleet.wait_at_first(&Kind::PeerFailed, "n3", mark, LIMIT).unwrap();
    let soonest = samples.iter().map(|sample| sample.elapsed.read).min().unwrap();
    assert_eq!(first.elapsed.read, soonest);
    assert!(fleet.process("n3").is_err());
    fleet.relaunch("n3").unwrap();
    fleet.wait("n3 again", LIMIT, |story| story.has_started("n3")).unwrap();
    fleet.listen(Duration::from_millis(50)).unwrap();
    let (_, status) = fleet.terminate("n3", LIMIT).unwrap();
    assert!(status.success());
}

#[test]
fn verbs_run_on_the_host_of_their_node_with_its_data() {
    let Some(lab) = Lab::for_test("verbs", &Topology::flat(1)) else { return };
    let mut fleet = fleet(&lab);
    fleet.start(Host(1)).unwrap();
    fleet.launch(NodeSpec::on(Host(1)).named("second")).unwrap();
    fleet.launch(NodeSpec::on(Host(1)).named("mute").api(Api::None)).unwrap();
    fleet.wait_started(LIMIT).unwrap();
    let api = |name: &str| {
        let seen = fleet.story().seen().iter().find(|seen| seen.by == name).unwrap();
        seen.event.fields["api"].as_str().unwrap().to_owned()
    };
    assert_eq!([api("n1"), api("second"), api("mute")], ["127.0.0.1:8888", "127.0.0.1:8889", "none"]);
    let answer = fleet.ctl_json("second", ["peers"]).unwrap();
    assert_eq!(answer, serde_json::json!(["peers", "second", lab.directory()]));
    let error = format!("{:#}", fleet.ctl_json("n1", ["fail"]).unwrap_err());
    assert!(error.contains("it failed"), "{error}");
    assert_eq!(fleet.ctl("n1", ["fail"]).unwrap().status.code(), Some(1));
    fleet.kill_all().unwrap();
}

fn fleet(lab: &Lab) -> Fleet<'_> {
    Fleet::new(lab, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fake-node.sh"))
}

/// The moment of the first event.
fn first_event(fleet: &Fleet<'_>) -> Moment {
    fleet.story().seen()[0].moment
}

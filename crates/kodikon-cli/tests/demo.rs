//! `demo` is a living fleet: cameras meet, change, see and ask, come and go, and say goodbye when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kodikon"));
    command.arg("demo").args(arguments).env_clear().env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A discovery port of the test's own, with room for the ports above it.
fn free_port() -> String {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    port.min(65_000).to_string()
}

fn events(text: &str) -> BTreeMap<String, Vec<Value>> {
    let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        events.entry(event["event"].as_str().expect("an event").to_owned()).or_default().push(event);
    }
    events
}

fn nodes(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["node_id"].as_str().expect("a name")).collect()
}

#[test]
fn a_fleet_meets_changes_sees_asks_and_says_goodbye_within_its_time() {
    let output = demo(&["--nodes", "4", "--seconds", "3", "--json", "--udp-port", &free_port()]).output();
    let output = output.expect("it was built");
    assert!(output.status.success());
    let events = events(&String::from_utf8(output.stdout).expect("text"));
    let all = BTreeSet::from(["camera-1", "camera-2", "camera-3", "camera-4"]);
    let others = BTreeSet::from(["camera-2", "camera-3", "camera-4"]);
    assert_eq!(nodes(&events["started"]), all);
    assert_eq!(nodes(&events["peer_up"]), others);
    assert_eq!(nodes(&events["state"]), all);
    assert!(events["state"].len() > all.len(), "something changes after the first states");
    assert_eq!(nodes(&events["peer_left"]), others, "each says goodbye, one of them before the end");
    assert!(nodes(&events["record"]).is_subset(&all), "what they see");
    let asked = &events["search"];
    assert!(
        !asked.is_empty() && asked.iter().all(|search| search["certified"] == true),
        "who asks is answered: {asked:?}"
    );
    assert_eq!(events["alert"].len(), 1, "one sighting is worth an alert");
    let shown = events["alert_shown"][0]["delivered"].as_array().map_or(0, Vec::len);
    assert!(shown >= all.len() - 2, "all who are there show it: {:?}", events["alert_shown"]);
    let locations: BTreeSet<String> =
        events["state"].iter().map(|event| event["state"]["location"].to_string()).collect();
    assert_eq!(locations.len(), all.len(), "each shows its own");
}

#[test]
fn a_signal_ends_it_with_goodbyes() {
    let mut child = demo(&["--nodes", "2", "--udp-port", &free_port()]).spawn().expect("it was built");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("peer_up") && line.contains("camera-2")), "people see it, too");
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("kill is there").success());
    assert!(lines.any(|line| line.contains("peer_left") && line.contains("camera-2")));
    assert!(child.wait().expect("it ends").success());
}

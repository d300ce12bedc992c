//! `demo` is a living fleet: cameras meet, change, see and ask, come and go, and say goodbye when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// What a demo has told so far, by the name of the event.
#[derive(Default)]
struct Told(BTreeMap<String, Vec<Value>>);

impl Told {
    fn add(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        self.0.entry(event["event"].as_str().expect("an event").to_owned()).or_default().push(event);
    }

    fn of(&self, event: &str) -> &[Value] {
        self.0.get(event).map(Vec::as_slice).unwrap_or_default()
    }

    fn nodes(&self, event: &str) -> BTreeSet<&str> {
        self.of(event).iter().map(|event| event["node_id"].as_str().expect("a name")).collect()
    }

    /// Whether all that happens in a fleet has happened.
    fn is_whole(&self, cameras: usize) -> bool {
        let has_changed = self.of("state").len() > self.nodes("state").len();
        let has_moved = self.nodes("started").len() > cameras && !self.of("peer_left").is_empty();
        // What the first camera itself sees and says it is not told.
        let has_asked = ["record", "search", "alert_shown"].iter().all(|event| !self.of(event).is_empty());
        has_changed && has_moved && has_asked
    }
}

/// How long a fleet is watched at most; on a quiet machine all has happened after six seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_fleet_meets_changes_sees_asks_comes_and_goes() {
    let mut child = demo(&["--nodes", "4", "--json", "--udp-port", &free_port()]).spawn().expect("it was built");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (mut told, begun) = (Told::default(), Instant::now());
    while !told.is_whole(4) && begun.elapsed() < PATIENCE {
        told.add(&lines.next().expect("it goes on until it is told to end"));
    }
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("kill is there").success());
    lines.for_each(|line| told.add(&line));
    assert!(child.wait().expect("it ends").success());
    assert!(told.is_whole(4), "{:?}", told.0.iter().map(|(event, all)| (event, all.len())).collect::<Vec<_>>());

    let (started, met) = (told.nodes("started"), told.nodes("peer_up"));
    // Whoever came last may have gone with the end, before it was met or said a thing.
    let first = BTreeSet::from(["camera-2", "camera-3", "camera-4"]);
    assert!(met.is_superset(&first) && met.is_subset(&started), "{met:?} of {started:?}");
    let shown = told.nodes("state");
    assert!(shown.is_superset(&first) && shown.is_subset(&started), "{shown:?} of {started:?}");
    assert_eq!(told.nodes("peer_left"), met, "each says goodbye, one of them before the end");
    assert!(told.nodes("record").is_subset(&started), "what they see");
    let asked = told.of("search");
    assert!(asked.iter().all(|search| search["certified"] == true), "who asks is answered: {asked:?}");
    let shown = told.of("alert_shown")[0]["delivered"].as_array().map_or(0, Vec::len);
    assert!(shown >= 2, "of three at least all who are there show it: {:?}", told.of("alert_shown"));
    let locations: BTreeSet<String> =
        told.of("state").iter().map(|event| event["state"]["location"].to_string()).collect();
    assert!(locations.len() >= 4, "each shows its own: {locations:?}");
}

#[test]
fn it_ends_by_itself_when_its_time_is_over() {
    let output = demo(&["--nodes", "3", "--seconds", "1", "--json", "--udp-port", &free_port()]).output();
    let output = output.expect("it was built");
    assert!(output.status.success());
    let mut told = Told::default();
    String::from_utf8(output.stdout).expect("text").lines().for_each(|line| told.add(line));
    assert_eq!(told.nodes("started"), BTreeSet::from(["camera-1", "camera-2", "camera-3"]));
    assert_eq!(told.nodes("peer_left"), BTreeSet::from(["camera-2", "camera-3"]));
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

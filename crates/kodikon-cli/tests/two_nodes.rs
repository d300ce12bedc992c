//! Two nodes of this machine, as processes, through the eyes of every verb: they meet, share state, and say goodbye.

mod home;

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use home::{Going, Home, free_port, signal, until};
use serde_json::{Value, json};

#[test]
fn two_nodes_meet_share_state_and_say_goodbye() {
    let home = Home::new("two-nodes");
    let port = free_port();
    let up = |name: &str, more: &[&str]| {
        let mut arguments = vec!["up", "--json", "--interface", "lo", "--udp-port", &port, "--node-id", name];
        arguments.extend(more);
        home.start(&arguments)
    };
    let mut one = up("cam1", &[]);
    let started = one.event("started");
    assert_eq!((&started["node_id"], &started["security"]), (&json!("cam1"), &json!("open")));
    let mut two = up("cam2", &[]);
    assert_eq!(two.event("started")["node_id"], "cam2");
    assert_eq!(one.event("peer_up")["node_id"], "cam2");
    assert_eq!(two.event("peer_up")["node_id"], "cam1");

    let data = home.0.join(".local/share/kodikon");
    let (first, second) = (data.display().to_string(), format!("{}-2", data.display()));
    let mode = std::fs::metadata(data.join("api.json")).expect("a node runs").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    sees_the_other(&home, &second);
    assert_eq!(one.event("state")["node_id"], "cam1", "one's own changes are told, too");
    refuses_what_is_taken(&home, &first, started["api"].as_str().expect("an API"));

    assert_eq!(two.end(), 0);
    assert_eq!(one.event("peer_left")["node_id"], "cam2");
    assert_eq!(home.json(&["peers", "--json", "--all"])[0]["liveness"], "left");
    assert_eq!(one.end(), 0);
    assert!(!data.join("api.json").exists(), "it goes with its node");
    assert_eq!(home.run(&["peers"]).0, 3);
}

/// What the verbs show of the first node and, through `second`, of the other.
fn sees_the_other(home: &Home, second: &str) {
    let peers = home.json(&["peers", "--json"]);
    let (name, life, hops) = (&peers[0]["node_id"], &peers[0]["liveness"], &peers[0]["hops"]);
    assert_eq!((name, life, hops), (&json!("cam2"), &json!("alive"), &json!(0)));
    let (code, table, _) = home.run(&["routes"]);
    assert!(code == 0 && table.starts_with("NODE") && table.contains("cam2"), "with a way or without: {table}");
    assert!(home.json(&["routes", "--json"]).is_array());

    let watch = home.start(&["watch", "--json", "--type", "state", "--data-dir", second]);
    let (code, table, _) = home.run(&["state", "set", "fps=29.5", "state=processing", "mode=night"]);
    assert!(code == 0 && table.contains("29.5"), "{table}");
    // The watch may have begun after that: what it cannot have missed is the next change.
    let mut seen = Value::Null;
    for n in 0.. {
        home.json(&["state", "set", "--json", &format!("n={n}")]);
        if let Ok(line) = watch.lines.recv_timeout(Duration::from_secs(1)) {
            seen = serde_json::from_str(&line).expect("a line of JSON");
            break;
        }
        assert!(n < 30, "no change is seen");
    }
    assert_eq!(
        (&seen["node_id"], &seen["source"], &seen["state"]["fps"]),
        (&json!("cam1"), &json!("cam1"), &json!(29.5))
    );
    home.json(&["state", "unset", "--json", "mode"]);
    let own = home.json(&["state", "get", "--json", "cam1"]);
    assert!(own["cam1"]["state"].get("mode").is_none(), "{own}");
    assert_eq!(home.run(&["state", "get", "nobody"]).0, 1);
    assert_eq!(home.run(&["state", "set", "state=asleep"]).0, 2);

    let stats = home.json(&["stats", "--json"]);
    assert_eq!(
        (&stats["node_id"], &stats["alive_peers"], &stats["is_running"]),
        (&json!("cam1"), &json!(1), &json!(true))
    );
    let findings = home.json(&["doctor", "--json"]);
    assert!(
        findings.as_array().is_some_and(|list| list.iter().any(|row| row["check"] == "discovery_port")),
        "{findings}"
    );
}

/// A folder and an address belong to one node.
fn refuses_what_is_taken(home: &Home, data_dir: &str, url: &str) {
    let (code, _, stderr) = home.run(&["up", "--data-dir", data_dir, "--api", "none"]);
    assert!(code == 1 && stderr.contains("in use by pid"), "{code}: {stderr}");
    let address = url.strip_prefix("http://").expect("an http URL");
    let (code, _, stderr) = home.run(&["up", "--in-memory", "--api", address]);
    assert!(code == 1 && stderr.contains("is taken"), "{code}: {stderr}");
    let (code, _, stderr) = home.run(&["up", "--mesh-key", "absent.key"]);
    assert!(code == 2 && stderr.contains("absent.key"), "{code}: {stderr}");
    assert!(Path::new(data_dir).join("api.json").exists(), "the running node's is not touched");
}

#[test]
fn a_node_without_a_data_folder_is_found_too_and_leaves_nothing() {
    let home = Home::new("in-memory");
    let port = free_port();
    let mut node =
        home.start(&["up", "--json", "--in-memory", "--interface", "lo", "--udp-port", &port, "--node-id", "m"]);
    node.event("started");
    assert_eq!(home.json(&["stats", "--json"])["node_id"], "m");
    assert_eq!(node.end(), 0);
    let left: Vec<_> = std::fs::read_dir(&home.0).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A pipe that takes nothing more; whoever holds its other end reads nothing.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (read, mut write) = std::io::pipe().expect("a pipe");
    // Its default capacity (pipe(7)).
    write.write_all(&[b'\n'; 65_536]).expect("it was empty");
    (read, write)
}

#[test]
fn a_node_whose_output_nobody_reads_lives_and_a_second_signal_ends_it() {
    let home = Home::new("unread");
    let (port, (out_reader, out), (err_reader, err)) = (free_port(), full_pipe(), full_pipe());
    let mut arguments =
        vec!["up", "--json", "--in-memory", "--data-dir", "d", "--interface", "lo", "--udp-port", &port];
    arguments.extend(["--node-id", "unread"]);
    let mut command = home.kodikon(&arguments);
    command.env("KODIKON_LOG_LEVEL", "trace").stdout(out).stderr(err);
    let child = command.spawn().expect("it was built");
    drop(command); // it holds the pipes, too
    let mut node = Going { child, lines: channel().1 };
    until("it has started", || home.0.join("d/api.json").exists());
    // Each change is an event for stdout and a line for stderr: more than would wait anywhere.
    for n in 0..20 {
        home.json(&["state", "set", "--json", "--data-dir", "d", &format!("n={n}")]);
    }
    assert_eq!(home.json(&["stats", "--json", "--data-dir", "d"])["is_running"], true);

    let pid = node.child.id().to_string();
    let terminate = || assert!(Command::new("kill").arg(&pid).status().expect("kill is there").success());
    terminate();
    thread::sleep(Duration::from_millis(500)); // the goodbye is said, and its last lines wait to be read
    terminate();
    assert_eq!(node.child.wait().expect("it ends").code(), Some(1), "the second signal was not seen");
    drop((out_reader, err_reader));
}

#[test]
fn a_signal_that_comes_twice_at_once_still_lets_the_node_say_goodbye() {
    let home = Home::new("twice");
    let port = free_port();
    let up = |name: &str| {
        home.start(&["up", "--json", "--in-memory", "--interface", "lo", "--udp-port", &port, "--node-id", name])
    };
    let (one, mut two) = (up("cam1"), up("cam2"));
    assert_eq!(one.event("peer_up")["node_id"], "cam2");
    let pid = two.child.id();
    // The node may have ended before the third.
    let script = format!("kill -TERM {pid}; kill -INT {pid}; kill -TERM {pid} || true");
    Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().expect("sh is there");
    assert_eq!(two.child.wait().expect("it ends").code(), Some(0));
    assert_eq!(one.event("peer_left")["node_id"], "cam2");
}

#[test]
fn a_scrapers_token_outlives_its_node_and_shows_metrics_and_nothing_else() {
    let home = Home::new("scraper");
    let port = free_port();
    let up = || {
        let arguments =
            ["up", "--json", "--data-dir", "d", "--interface", "lo", "--udp-port", &port, "--node-id", "cam1"];
        let node = home.start(&arguments);
        let url = node.event("started")["api"].as_str().expect("an API").to_owned();
        let token = std::fs::read_to_string(home.0.join("d/metrics.token")).expect("a token");
        (node, url, token)
    };
    let (mut node, url, token) = up();
    let address = url.strip_prefix("http://").expect("an http URL").to_owned();
    for (path, token, expected) in [
        ("/metrics", token.trim(), "200"),
        ("/v1/stats", token.trim(), "401"),
        ("/metrics", "0000000000000000000000000000000000000000000000000000000000000000", "401"),
    ] {
        let mut stream = std::net::TcpStream::connect(&address).expect("it listens");
        let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("text");
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{path}: {answer}");
    }
    assert_eq!(node.end(), 0);
    let (mut again, _, kept) = up();
    assert_eq!(kept, token);
    assert_eq!(again.end(), 0);
}

#[test]
fn a_log_in_json_is_json_line_by_line_from_the_first_word_to_the_last() {
    let home = Home::new("json-log");
    let port = free_port();
    std::fs::write(home.0.join("kodikon.yaml"), "mesh:\n  max_peers: 10\n").expect("a writable folder");
    let arguments = [
        "up",
        "--config",
        "kodikon.yaml",
        "--data-dir",
        "d",
        "--interface",
        "lo",
        "--udp-port",
        &port,
        "--node-id",
        "cam1",
        "--log-format",
        "json",
    ];
    let mut command = home.kodikon(&arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was built");
    let mut node = Going { child, lines: channel().1 };
    until("it has started", || home.0.join("d/api.json").exists());
    let (code, _, taken) = home.run(&arguments);
    assert_eq!(code, 1, "its folder is taken");
    assert_eq!(node.end(), 0);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut node.child.stderr.take().expect("piped"), &mut text).expect("text");

    let lines: Vec<Value> = [&text, &taken]
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let find = |field: &str, value: Value| {
        let found = lines.iter().find(|line| line[field] == value);
        found.unwrap_or_else(|| panic!("no {field} {value} in {text}{taken}"))
    };
    assert!(find("node_id", json!("cam1"))["addresses"].is_array(), "{text}");
    find("usable", json!(["lo"]));
    find("mesh", json!("kodikon"));
    assert!(lines.iter().any(|line| line["origin"].as_str().is_some_and(|at| at.contains("kodikon.yaml"))), "{text}");
    find("level", json!("ERROR"));
}

#[test]
fn an_interrupted_series_tells_how_far_it_came() {
    let home = Home::new("series");
    let port = free_port();
    let up = |name: &str| {
        home.start(&["up", "--json", "--in-memory", "--interface", "lo", "--udp-port", &port, "--node-id", name])
    };
    let one = up("cam1");
    let url = one.event("started")["api"].as_str().expect("an API").to_owned();
    let two = up("cam2");
    assert_eq!(one.event("peer_up")["node_id"], "cam2");

    let series =
        ["send", "cam2", "{}", "--api", &url, "--repeat", "1000000", "--interval-ms", "10", "--timeout", "0.3"];
    let mut command = home.kodikon(&series);
    let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
    let mut rows = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut seen = std::collections::BTreeMap::from([("delivered", 0u64), ("expired", 0)]);
    let mut count = |row: &str| {
        let row: Value = serde_json::from_str(row).expect("a line of JSON");
        let outcome = row["outcome"].as_str().expect("an outcome");
        *seen.get_mut(outcome).unwrap_or_else(|| panic!("{row}")) += 1;
        outcome.to_owned()
    };
    let mut next = |rows: &mut std::io::Lines<_>| rows.next().map(|row| count(&row.expect("text")));
    assert_eq!(next(&mut rows).as_deref(), Some("delivered"));
    signal("-STOP", &two.child);
    while next(&mut rows).expect("it goes on") != "expired" {}
    signal("-INT", &child);
    while next(&mut rows).is_some() {}

    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said}");
    let told = |what: &str| -> u64 {
        let words: Vec<&str> = said.trim().split([' ', ',']).collect();
        let at = words.iter().position(|word| *word == what).unwrap_or_else(|| panic!("no {what}: {said}"));
        words[at - 1].parse().expect("a number")
    };
    // A last row may have been written and not counted.
    for (outcome, rows) in &seen {
        assert!(told(outcome) <= *rows && *rows <= told(outcome) + 1, "{outcome}: {rows} rows: {said}");
    }
    assert_eq!(told("sent"), told("delivered") + told("expired") + told("not"), "{said}");
    assert!(said.starts_with("interrupted: ") && told("not") > 0, "{said}");

    // A node that answers nothing at all holds nobody back either.
    signal("-STOP", &one.child);
    let mut unheard = home.start(&series);
    until("it waits for Ctrl-C", || catches_interrupts(&unheard.child));
    signal("-INT", &unheard.child);
    until("it ends", || unheard.child.try_wait().expect("it is ours").is_some());
    assert_eq!(unheard.child.wait().expect("it has ended").code(), Some(130));
}

/// Whether a program has a handler for SIGINT, signal 2 (proc(5), `SigCgt`).
fn catches_interrupts(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn an_alert_that_was_raised_survives_the_kill_of_its_sender_and_is_shown_once() {
    let home = Home::new("alerts");
    let port = free_port();
    let up = |name: &str| {
        let arguments =
            ["up", "--json", "--interface", "lo", "--udp-port", &port, "--node-id", name, "--data-dir", name];
        home.start(&arguments)
    };
    let mut sender = up("cam1");
    sender.event("started");
    let raised = home.json(&["alert", "{\"n\": 1}", "--priority", "critical", "--json", "--data-dir", "cam1"]);
    assert_eq!(raised["kept"], true, "{raised}");
    sender.child.kill().expect("it runs");
    sender.child.wait().expect("it ends");

    // Nobody has heard of it but its disk.
    let receiver = up("cam2");
    receiver.event("started");
    let sender = up("cam1");
    sender.event("started");
    let shown = receiver.event("alert");
    assert_eq!(
        (&shown["alert_id"], &shown["alert"]["n"], &shown["source"]),
        (&raised["alert_id"], &json!(1), &json!("cam1"))
    );

    let wait = ["alert", "2", "--wait", "30", "--json", "--data-dir", "cam1"];
    let report = home.json(&wait);
    assert_eq!((&report["delivered"], &report["missing"]), (&json!(["cam2"]), &json!([])));
    assert_eq!(receiver.event("alert")["alert"], json!(2), "and the first is not shown again");
    let id = report["alert_id"].as_str().expect("a name");
    assert_eq!(home.run(&["alerts", "ack", id, "--by", "anna", "--data-dir", "cam2"]).0, 0);
    assert_eq!(sender.event("alert_ack")["by"], "anna");
    let alerts = home.json(&["alerts", "--json", "--data-dir", "cam1"]);
    assert_eq!(
        (alerts.as_array().map(Vec::len), &alerts[0]["alert"]["n"]),
        (Some(2), &json!(1)),
        "the critical one first"
    );
    assert_eq!(alerts[1]["acknowledged"][0]["by"], "anna");

    for (arguments, expected) in [
        (vec!["alerts", "ack", "00000000000000ff", "--by", "anna", "--data-dir", "cam1"], 1),
        (vec!["alerts", "ack", "../peers", "--by", "anna", "--data-dir", "cam1"], 2),
        (vec!["alert", "{n: 1}", "--data-dir", "cam1"], 2),
        (vec!["alert", "1", "--ttl", "700000", "--data-dir", "cam1"], 2),
        (vec!["alert", "1", "--ttl", "nan", "--data-dir", "cam1"], 2),
        (vec!["alert", "-0.0", "--ttl", "7d", "--data-dir", "cam1"], 0),
        (vec!["send", "cam2", "-0.5", "--data-dir", "cam1"], 0),
        (vec!["send", "cam2", "1", "--type", "ALERT", "--data-dir", "cam1"], 2),
        (vec!["broadcast", "1", "--type", "", "--data-dir", "cam1"], 2),
        (vec!["broadcast", "{\"n\": \"mine\"}", "--repeat", "2", "--data-dir", "cam1"], 2),
        (vec!["alerts", "ack", id, "--by", " ", "--data-dir", "cam1"], 2),
        (vec!["alerts", "ack", id, "--by", "anna", "--data-dir", "cam1"], 0),
    ] {
        let (code, _, stderr) = home.run(&arguments);
        assert_eq!(code, expected, "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_change_of_state_that_was_acknowledged_survives_the_kill_of_its_node() {
    let home = Home::new("kept-state");
    let port = free_port();
    let up = || {
        let node = home.start(&["up", "--json", "--interface", "lo", "--udp-port", &port, "--node-id", "cam"]);
        node.event("started");
        node
    };
    let mut node = up();
    for n in 1..=5u64 {
        let set = home.json(&["state", "set", &format!("n={n}"), "--json"]);
        // At once: what is not on disk by now never will be.
        node.child.kill().expect("it runs");
        node.child.wait().expect("it was killed");
        assert_eq!(set["cam"]["version"], n);
        node = up();
        let found = home.json(&["state", "get", "--json"]);
        assert_eq!((&found["cam"]["version"], &found["cam"]["state"]), (&json!(n), &json!({"n": n})), "change {n}");
    }
    assert_eq!(node.end(), 0);
}

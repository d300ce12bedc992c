//! The registry as people use it: every verb before real nodes, what a kill or a broken disk leaves, and files in and out.

mod home;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use home::{Going, Home, PATIENCE, free_port, signal, until};
use serde_json::{Value, json};

/// The real embeddings: features of photographs of 80 objects, four rows each.
const EMBEDDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-scan/fixtures/embeddings_320x512_f32.npy");

/// Starts a node with a data folder.
fn up(home: &Home, name: &str, port: &str) -> (Going, Value) {
    let arguments = ["up", "--json", "--data-dir", name, "--interface", "lo", "--udp-port", port, "--node-id", name];
    let node = home.start(&arguments);
    let started = node.event("started");
    (node, started)
}

/// Asks a node for JSON.
fn ask(home: &Home, node: &str, arguments: &[&str]) -> Value {
    home.json(&[arguments, &["--json", "--data-dir", node]].concat())
}

/// Asks a node for what it refuses; its exit code and its reason.
fn refused(home: &Home, node: &str, arguments: &[&str]) -> (i32, String) {
    let (code, _, stderr) = home.run(&[arguments, &["--data-dir", node]].concat());
    (code, stderr)
}

fn count(rows: &Value) -> usize {
    rows.as_array().map_or(usize::MAX, Vec::len)
}

fn content(home: &Home, node: &str) -> String {
    ask(home, node, &["stats"])["registry_content"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_sighting_is_added_found_and_removed_and_what_breaks_a_limit_is_refused_with_value_and_limit() {
    let home = Home::new("records");
    let (mut node, _) = up(&home, "cam1", &free_port());
    let metadata = r#"{"camera": {"zone": "A3"}, "color": "red"}"#;
    let row = ["--embedding", EMBEDDINGS, "--row", "17", "--model", "mobilenet_v2"];
    let add = [&["add", "8f 3a/1", "--type", "person", "--metadata", metadata, "--confidence", "0.75"], &row[..]];
    let added = ask(&home, "cam1", &[&add.concat()[..], &["--ttl", "2h"]].concat());
    assert_eq!((&added["hash_value"], &added["node_id"]), (&json!("8f 3a/1"), &json!("cam1")));
    assert_eq!((&added["data_type"], &added["durable"]), (&json!("person"), &json!(true)));
    ask(&home, "cam1", &["add", "other", "--type", "bag", "--local"]);

    let found = ask(&home, "cam1", &["get", "8f 3a/1"]);
    let record = &found[0];
    assert_eq!((count(&found), &record["timestamp"]), (1, &added["timestamp"]));
    assert_eq!(record["embedding"], json!({"model": "mobilenet_v2", "dims": 512, "dtype": "f16"}));
    assert_eq!(record["metadata"], json!({"camera": {"zone": "A3"}, "color": "red"}));
    assert_eq!((&record["confidence"], &record["kept"]), (&json!(0.75), &json!(true)));
    assert!(record["ttl_s"].as_f64().is_some_and(|left| (7_000.0..=7_200.0).contains(&left)), "{record}");
    for field in ["ownership_history", "transfer_token", "last_update", "source_node_id", "location_signature"] {
        assert_eq!(record.get(field), Some(&Value::Null), "{field}");
    }
    let numbers = ask(&home, "cam1", &["get", "8f 3a/1", "--with-embedding"])[0]["embedding"]["numbers"].clone();
    assert_eq!(count(&numbers), 512);

    for (filter, expected) in [
        (&["--type", "person"][..], 1),
        (&["--type", "car"], 0),
        (&["--node", "cam1"], 1),
        (&["--node", "cam1", "--local"], 2),
        (&["--node", "nobody"], 0),
        (&["--where", "camera.zone=A*"], 1),
        (&["--where", "camera.zone=B*"], 0),
        (&["--since", "1h", "--local"], 2),
        (&["--until", "1h"], 0),
        (&[], 1),
        (&["--local"], 2),
        (&["--type", "bag"], 0),
        (&["--type", "bag", "--local"], 1),
        (&["--limit", "1"], 1),
    ] {
        let rows = ask(&home, "cam1", &[&["find"], filter].concat());
        assert_eq!(count(&rows), expected, "{filter:?}: {rows}");
    }
    let stats = ask(&home, "cam1", &["stats"]);
    assert_eq!((&stats["registry"]["records"], &stats["registry"]["local_records"]), (&json!(1), &json!(1)));

    refuses_what_breaks_a_limit(&home);

    assert_eq!(ask(&home, "cam1", &["delete", "8f 3a/1"])["deleted"], 1);
    assert_eq!(refused(&home, "cam1", &["get", "8f 3a/1"]).0, 1);
    assert_eq!(refused(&home, "cam1", &["delete", "8f 3a/1"]).0, 1);
    assert_eq!(ask(&home, "cam1", &["delete", "other"])["deleted"], 1);
    assert_eq!(node.end(), 0);
}

/// Nothing of what is refused is in the registry afterwards.
fn refuses_what_breaks_a_limit(home: &Home) {
    let long = "x".repeat(257);
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(32), "]".repeat(32));
    let wide = format!("{{\"a\": \"{}\"}}", "x".repeat(4_096));
    let numbers = |name: &str, text: &str| {
        std::fs::write(home.0.join(name), text).expect("a writable folder");
        name.to_owned()
    };
    let (zero, few) = (numbers("zero.json", "[0, 0, 0]"), numbers("few.json", "[\"a\"]"));
    let infinite = numbers("infinite.json", "[1, 1e300]");
    let many = numbers("many.json", &format!("[1{}]", ", 1".repeat(4_096)));
    let before = ask(home, "cam1", &["stats"])["registry_version"].clone();
    for (arguments, said) in [
        (&["add", &long][..], "hash_value has 257 bytes: 1 to 256"),
        (&["add", "h", "--confidence", "1.5"], "confidence is 1.5: 0 to 1"),
        (&["add", "h", "--confidence", "-0.5"], "confidence is -0.5: 0 to 1"),
        (&["add", "h", "--confidence", "nan"], "confidence is NaN: 0 to 1"),
        (&["add", "h", "--confidence", "inf"], "confidence is inf: 0 to 1"),
        (&["add", "h", "--confidence", "much"], "`much` is no number: 0 to 1"),
        (&["add", "h\n"], "hash_value has the control character U+000A at byte 1"),
        (&["add", "h", "--ttl", "-1"], "0.001 s to 90 days"),
        (&["add", "h", "--ttl", "91d"], "0.001 s to 90 days"),
        (&["add", "h", "--metadata", &deep], "metadata is deeper than 32"),
        (&["add", "h", "--metadata", &wide], "bytes of JSON; at most 4096"),
        (&["add", "h", "--metadata", "[1]"], "metadata is an array"),
        (&["add", "h", "--metadata", "{"], "the metadata is no JSON"),
        (&["add", "h", "--embedding", &zero], "all numbers are 0"),
        (&["add", "h", "--embedding", &few], "no JSON array of numbers"),
        (&["add", "h", "--embedding", &infinite], "number 1 is inf"),
        (&["add", "h", "--embedding", &many], "4097 dimensions: an embedding has 1 to 4096"),
        (&["add", "h", "--embedding", EMBEDDINGS], "say which with --row"),
        (&["add", "h", "--embedding", EMBEDDINGS, "--row", "320"], "there is no row 320"),
        (&["add", "h", "--model", "m"], "name one with --embedding"),
        (&["find", "--where", "zone"], "FIELD=PATTERN"),
    ] {
        let (code, stderr) = refused(home, "cam1", arguments);
        assert!(code == 2 && stderr.contains(said), "{arguments:?}: {code} {stderr:?} should say {said:?}");
    }
    assert_eq!(ask(home, "cam1", &["stats"])["registry_version"], before, "nothing is half written");
}

#[test]
fn two_nodes_share_what_they_see_and_what_they_remove_and_print_one_digest() {
    let home = Home::new("records-two");
    let port = free_port();
    let (mut one, _) = up(&home, "cam1", &port);
    let (mut two, _) = up(&home, "cam2", &port);
    assert_eq!(one.event("peer_up")["node_id"], "cam2");
    assert_eq!(two.event("peer_up")["node_id"], "cam1");
    ask(&home, "cam1", &["add", "a", "--type", "person", "--metadata", r#"{"n": 1}"#]);
    let told = two.event("record");
    assert_eq!((&told["node_id"], &told["source"]), (&json!("cam1"), &json!("cam1")));
    assert_eq!((&told["record"]["hash_value"], &told["record"]["metadata"]), (&json!("a"), &json!({"n": 1})));
    let (code, said) = refused(&home, "cam2", &["delete", "a"]);
    assert!(code == 1 && said.contains("those that other nodes added go with `--all`"), "{said}");
    ask(&home, "cam2", &["add", "a", "--type", "person"]);
    ask(&home, "cam1", &["add", "mine", "--local"]);
    until("both sightings at the first", || count(&ask(&home, "cam1", &["find", "--type", "person"])) == 2);
    let (code, said) = refused(&home, "cam2", &["get", "mine"]);
    assert!(code == 1 && said.contains("no sighting of `mine` is held here"), "it stays where it is: {said}");
    until("both print one digest", || content(&home, "cam1") == content(&home, "cam2"));

    assert_eq!(ask(&home, "cam2", &["delete", "a"])["deleted"], 1, "its own");
    until("the other's alone is left", || count(&ask(&home, "cam1", &["get", "a"])) == 1);
    assert_eq!(ask(&home, "cam1", &["get", "a"])[0]["node_id"], "cam1");
    assert_eq!(ask(&home, "cam2", &["delete", "a", "--all"])["deleted"], 1);
    until("it is gone at its author", || refused(&home, "cam1", &["get", "a"]).0 == 1);
    ask(&home, "cam1", &["add", "a"]);
    until("what is added later lives", || count(&ask(&home, "cam2", &["find", "--node", "cam1"])) == 1);
    until("both print one digest", || content(&home, "cam1") == content(&home, "cam2"));
    assert_eq!((one.end(), two.end()), (0, 0));
}

/// A connection to a node's API that is kept open: so a kill comes at any moment of many adds a second.
struct Line {
    stream: TcpStream,
    head: String,
}

impl Line {
    fn new(home: &Home, node: &str) -> Self {
        let api = std::fs::read_to_string(home.0.join(node).join("api.json")).expect("a running node");
        let api: Value = serde_json::from_str(&api).expect("JSON");
        let address = api["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL").to_owned();
        let stream = TcpStream::connect(&address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = format!("Host: {address}\r\nAuthorization: Bearer {}\r\n", api["token"].as_str().expect("a token"));
        Self { stream, head }
    }

    /// Says something; its status and its answer, or nothing where the node was killed before.
    fn say(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let request = format!("{method} {path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        loop {
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => answer.extend_from_slice(&bytes[..count]),
            }
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(document) = serde_json::from_str(body) {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok())?;
                return Some((status, document));
            }
        }
    }
}

/// How often a node is killed: enough for a look, or as often as `scripts/durability` wants.
fn kills() -> u64 {
    std::env::var("KODIKON_KILLS").ok().map_or(8, |text| text.parse().expect("KODIKON_KILLS is a number"))
}

/// Another moment for each round, from 0 to 20 ms after the last answer that is waited for (SplitMix64; Steele, Lea, Flood 2014).
fn moment(round: u64) -> Duration {
    let mut mixed = round.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_micros((mixed ^ mixed >> 31) % 20_000)
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged_and_brings_nothing_deleted_back() {
    let home = Home::new("records-kill");
    let port = free_port();
    let (mut kept, mut deleted): (BTreeSet<String>, BTreeSet<String>) = Default::default();
    // Whether what was not answered is there nobody knows.
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    let rounds = kills();
    for round in 0..rounds {
        let (mut node, _) = up(&home, "cam1", &port);
        let found = ask(&home, "cam1", &["find", "--limit", "100000"]);
        let there: BTreeSet<String> = found
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| row["hash_value"].as_str().expect("text").to_owned())
            .collect();
        let lost: Vec<&String> = kept.difference(&there).filter(|hash| !unknown.contains(*hash)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        let back: Vec<&String> = deleted.intersection(&there).collect();
        assert!(back.is_empty(), "round {round}: back {back:?}");

        let mut line = Line::new(&home, "cam1");
        let (pid, answers) = (node.child.id().to_string(), Arc::new(AtomicUsize::new(0)));
        let answered = Arc::clone(&answers);
        let killer = thread::spawn(move || {
            until("some are acknowledged", || answered.load(Ordering::Relaxed) >= 12);
            thread::sleep(moment(round));
            assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill is there").success());
        });
        for n in 0.. {
            let hash = format!("{round}-{n}");
            unknown.insert(hash.clone());
            let Some((status, row)) = line.say("POST", "/v1/records", &json!({"hash_value": hash}).to_string()) else {
                break;
            };
            assert_eq!((status, &row["durable"]), (200, &json!(true)), "{row}");
            answers.fetch_add(1, Ordering::Relaxed);
            unknown.remove(&hash);
            kept.insert(hash.clone());
            if n % 3 == 0 {
                unknown.insert(hash.clone());
                let Some((status, row)) = line.say("DELETE", &format!("/v1/records/{hash}"), "") else { break };
                assert_eq!(status, 200, "{row}");
                unknown.remove(&hash);
                kept.remove(&hash);
                deleted.insert(hash);
            }
        }
        killer.join().expect("it was killed");
        assert!(!node.child.wait().expect("it was killed").success());
    }
    let (kept, deleted, rounds) = (kept.len(), deleted.len(), usize::try_from(rounds).expect("few"));
    eprintln!(
        "{rounds} kills: {kept} acknowledged adds are there, {deleted} acknowledged deletes stayed, {} unanswered",
        unknown.len()
    );
    assert!(kept >= rounds * 7 && deleted >= rounds * 3, "{kept} kept, {deleted} deleted");
}

/// A file of records, two lines of which are none.
fn sightings(path: &Path, count: usize) {
    let mut text = String::new();
    for n in 0..count {
        let metadata = json!({"n": n, "text": "x".repeat(200)});
        text.push_str(&format!(
            "{}\n",
            json!({"hash_value": format!("h{n}"), "timestamp": 1e9 + n as f64, "metadata": metadata})
        ));
        if n == 10 {
            text.push_str("{\"hash_value\": \n");
        }
        if n == 20 {
            text.push_str("{\"hash_value\": \"x\", \"confidence\": 2}\n");
        }
    }
    std::fs::write(path, text).expect("a writable folder");
}

#[test]
fn an_import_tells_broken_lines_by_number_goes_on_after_ctrl_c_and_an_export_brings_all_back() {
    const COUNT: usize = 3_000;
    let home = Home::new("records-import");
    let (mut node, _) = up(&home, "cam1", &free_port());
    let (mut other, _) = up(&home, "cam2", &free_port());
    sightings(&home.0.join("in.jsonl"), COUNT);
    let import = home
        .kodikon(&["import", "in.jsonl", "--type", "person", "--json", "--data-dir", "cam1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    let held = || ask(&home, "cam1", &["stats"])["registry"]["records"].as_u64().expect("a number");
    until("some are in", || held() > 0);
    signal("-INT", &import);
    let ended = import.wait_with_output().expect("it ends");
    let first: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    let (imported, is_cut) = (first["imported"].as_u64().expect("a number"), ended.status.code() == Some(130));
    assert!(is_cut || imported == COUNT as u64, "{first}");

    let (code, stdout, _) = home.run(&["import", "in.jsonl", "--type", "person", "--json", "--data-dir", "cam1"]);
    let again: Value = serde_json::from_str(&stdout).expect("a report");
    assert_eq!(code, 1, "two lines are none");
    assert_eq!(again["skipped"], imported, "{again}");
    assert_eq!(again["imported"], COUNT as u64 - imported, "{again}");
    let rejected: Vec<(u64, String)> = again["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["line"].as_u64().expect("a number"), row["reason"].as_str().expect("text").to_owned()))
        .collect();
    assert_eq!(rejected.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [12, 23], "{rejected:?}");
    assert!(rejected[0].1.contains("no JSON") && rejected[1].1.contains("confidence is 2: 0 to 1"), "{rejected:?}");

    let report = ask(&home, "cam1", &["export", "out.jsonl"]);
    assert_eq!(report["exported"], COUNT, "{report}");
    let names: Vec<_> =
        std::fs::read_dir(&home.0).expect("there").map(|entry| entry.expect("there").file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(".part")), "{names:?}");
    let report = ask(&home, "cam2", &["import", "out.jsonl"]);
    assert_eq!((&report["imported"], &report["rejected"]), (&json!(COUNT), &json!([])));
    let (one, two) = (ask(&home, "cam1", &["get", "h7"]), ask(&home, "cam2", &["get", "h7"]));
    for field in ["timestamp", "metadata", "confidence", "data_type", "embedding"] {
        assert_eq!(one[0][field], two[0][field], "{field}");
    }
    assert_eq!((&two[0]["node_id"], &two[0]["timestamp"]), (&json!("cam2"), &json!(1e9 + 7.0)));
    assert_eq!((node.end(), other.end()), (0, 0));
}

/// The node skips what it holds: the second of two lines came with the first, and was not held yet.
#[test]
fn a_line_that_stands_twice_in_a_file_is_imported_once() {
    let home = Home::new("records-twice");
    let (mut node, _) = up(&home, "cam1", &free_port());
    let line = |hash: &str| format!("{}\n", json!({"hash_value": hash, "data_type": "person", "timestamp": 1e9}));
    std::fs::write(home.0.join("in.jsonl"), [line("a"), line("b"), line("a")].concat()).expect("a writable folder");
    let report = ask(&home, "cam1", &["import", "in.jsonl"]);
    assert_eq!((&report["imported"], &report["skipped"]), (&json!(2), &json!(1)), "{report}");
    assert_eq!(node.end(), 0);
}

#[test]
fn embeddings_that_went_in_by_a_npy_file_come_out_the_same_by_one() {
    let home = Home::new("records-npy");
    let (mut node, _) = up(&home, "cam1", &free_port());
    let import =
        ["import", EMBEDDINGS, "--type", "object", "--prefix", "view-", "--model", "mobilenet_v2", "--dtype", "f32"];
    let report = ask(&home, "cam1", &import);
    assert_eq!((&report["imported"], &report["skipped"]), (&json!(320), &json!(0)));
    assert_eq!(ask(&home, "cam1", &import)["skipped"], 320);
    let report = ask(&home, "cam1", &["export", "out.npy", "--prefix", "view-", "--type", "object"]);
    assert_eq!((&report["exported"], &report["missing"]), (&json!(320), &json!(0)));
    let numbers = |path: PathBuf| {
        let bytes = std::fs::read(path).expect("readable");
        bytes[bytes.len() - 320 * 512 * 4..].to_vec()
    };
    assert!(numbers(home.0.join("out.npy")) == numbers(EMBEDDINGS.into()), "not the same numbers");
    let (code, said) = refused(&home, "cam1", &["import", EMBEDDINGS]);
    assert!(code == 2 && said.contains("--prefix"), "{said}");
    assert_eq!(node.end(), 0);
}

/// Says that a test was left out, past the harness, which keeps what a test that passes prints to itself.
fn skipped(why: &str) {
    // Whoever closed the output has no interest in it.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// Whether the tracer is here; a computer without it tells less.
fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        skipped("strace is not installed");
    }
    found
}

/// Starts a node under the tracer.
fn traced(home: &Home, port: &str, options: &[&str]) -> Going {
    let mut command = Command::new("strace");
    command.args(["-f", "-ttt", "-o", "trace", "-s", "64"]).args(options).arg(env!("CARGO_BIN_EXE_kodikon"));
    command.args(["up", "--json", "--data-dir", "cam1", "--interface", "lo", "--udp-port", port, "--node-id", "cam1"]);
    command.current_dir(&home.0).env_clear().env("HOME", &home.0).env("XDG_RUNTIME_DIR", &home.0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it is here");
    let node = Going { child, lines: std::sync::mpsc::channel().1 };
    until("it has started", || home.0.join("cam1/api.json").exists());
    node
}

/// Kills what the tracer runs: the tracer then ends by itself.
fn kill_traced(home: &Home, node: &mut Going) {
    let api: Value =
        serde_json::from_str(&std::fs::read_to_string(home.0.join("cam1/api.json")).expect("there")).expect("JSON");
    let pid = api["pid"].to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill is there").success());
    node.child.wait().expect("it ends");
}

#[test]
fn every_acknowledgement_follows_a_sync_that_began_after_its_add() {
    if !has_strace() {
        return;
    }
    let home = Home::new("records-trace");
    let mut node = traced(&home, &free_port(), &["-e", "trace=fdatasync,fsync,read,recvfrom,write,writev,sendto"]);
    let mut line = Line::new(&home, "cam1");
    for n in 0..20 {
        let body = json!({"hash_value": format!("h{n}")}).to_string();
        let (status, row) = line.say("POST", "/v1/records", &body).expect("it runs");
        assert_eq!((status, &row["durable"]), (200, &json!(true)), "{row}");
    }
    kill_traced(&home, &mut node);

    // A call that another thread interrupts is told in two lines: it began at the first and ended at the second.
    let trace = std::fs::read_to_string(home.0.join("trace")).expect("it was traced");
    let (mut asked, mut synced, mut began, mut answered) = (None, false, Vec::new(), 0);
    for row in trace.lines() {
        let thread = row.split(' ').next().unwrap_or_default();
        let is_sync = row.contains("fdatasync") || row.contains("fsync");
        if row.contains("\"POST /v1/records")
            && (row.contains("recvfrom(") || row.contains("read(") || row.contains("resumed"))
        {
            (asked, synced) = (Some(()), false);
            began.clear();
        } else if is_sync && row.contains("unfinished") {
            began.push(thread.to_owned());
        } else if is_sync && row.contains("resumed") {
            synced |= began.iter().any(|begun| begun == thread) && row.contains("= 0");
        } else if is_sync {
            synced |= row.contains("= 0");
        } else if row.contains("\"HTTP/1.1 200") && asked.take().is_some() {
            answered += 1;
            assert!(synced, "acknowledged without a sync: {row}");
        }
    }
    assert_eq!(answered, 20, "as many as were asked for are in the trace");
}

/// Makes one call of a running node fail, the n-th from now on of each of its threads; `None` where the system does not let it be traced.
fn fail_once(home: &Home, node: &Going, calls: &str, error: &str, nth: u32) -> Option<Child> {
    let mut command = Command::new("strace");
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when={nth}"));
    command.args(["-f", "-o", "faults", "-e", &trace, "-e", &inject, "-p", &node.child.id().to_string()]);
    command.current_dir(&home.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tracer = command.spawn().expect("it is here");
    let mut said = BufReader::new(tracer.stderr.take().expect("piped")).lines();
    let attached = said.find_map(|line| {
        line.ok().filter(|line| line.contains("attached") || line.contains("Operation not permitted"))
    });
    // Whoever reads no more must not keep it from writing.
    thread::spawn(move || said.for_each(drop));
    if attached.is_some_and(|line| line.contains("attached")) {
        return Some(tracer);
    }
    tracer.wait().expect("it ends");
    skipped("the system does not let a running node be traced");
    None
}

#[test]
fn a_disk_that_fails_at_a_write_or_a_sync_loses_nothing_acknowledged_and_keeps_nothing_refused() {
    if !has_strace() {
        return;
    }
    let home = Home::new("records-fails");
    let port = free_port();
    let mut kept = BTreeSet::new();
    // Some of them, or one after the other until a run makes no more calls.
    let each = std::env::var_os("KODIKON_DISK_FAULTS").is_some_and(|value| value == "each");
    let mut faults: VecDeque<(&str, &str, u32)> = if each {
        [
            ("pwrite64", "EIO", 1),
            ("pwrite64", "ENOSPC", 1),
            ("fsync,fdatasync", "EIO", 1),
            ("fsync,fdatasync", "ENOSPC", 1),
        ]
        .into()
    } else {
        [
            ("pwrite64", "ENOSPC", 1),
            ("pwrite64", "EIO", 3),
            ("fsync,fdatasync", "EIO", 1),
            ("fsync,fdatasync", "ENOSPC", 2),
        ]
        .into()
    };
    let mut round = 0;
    while let Some((calls, error, nth)) = faults.pop_front() {
        round += 1;
        let (mut node, _) = up(&home, "cam1", &port);
        let Some(mut tracer) = fail_once(&home, &node, calls, error, nth) else { return };
        let (mut line, mut refused) = (Line::new(&home, "cam1"), 0);
        for n in 0..6 {
            let hash = format!("{round}-{n}");
            let body = json!({"hash_value": hash}).to_string();
            until("it is taken", || {
                let (status, row) = line.say("POST", "/v1/records", &body).expect("the node lives");
                assert!(status == 507 || (status == 200 && row["durable"] == true), "{calls} {error}: {status} {row}");
                assert!(
                    status == 200 || row["detail"].as_str().is_some_and(|said| said.contains("free some room")),
                    "{row}"
                );
                refused += u32::from(status == 507);
                status == 200
            });
            kept.insert(hash);
        }
        assert!(refused > 0 || nth > 4, "{calls} {error} {nth}: nothing failed");
        if each && refused > 0 {
            faults.push_front((calls, error, nth + 1));
        } else if each {
            eprintln!("{calls} {error}: a run failed at each of its {} calls", nth - 1);
        }
        assert!(Command::new("kill").args(["-KILL", &node.child.id().to_string()]).status().expect("kill").success());
        node.child.wait().expect("it was killed");
        tracer.wait().expect("it ends with its node");
        let (mut node, _) = up(&home, "cam1", &port);
        let found = ask(&home, "cam1", &["find", "--limit", "100000"]);
        let there = found.as_array().expect("a list").iter().map(|row| row["hash_value"].as_str().expect("text"));
        assert_eq!(there.collect::<BTreeSet<_>>(), kept.iter().map(String::as_str).collect(), "{calls} {error}");
        assert_eq!(count(&found), kept.len(), "{calls} {error}: what was refused is there, too");
        assert_eq!(node.end(), 0);
    }
}

//! What goes into a node and comes out of it by files, pipes and links, and what becomes of that when somebody or something breaks off.

mod home;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::{Child, Command, Output, Stdio};

use home::{Going, Home, free_port, signal, until};
use serde_json::{Value, json};

/// The real embeddings: features of photographs of 80 objects, four rows each.
const EMBEDDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-scan/fixtures/embeddings_320x512_f32.npy");

fn up(home: &Home, name: &str) -> Going {
    let port = free_port();
    let node =
        home.start(&["up", "--json", "--data-dir", name, "--interface", "lo", "--udp-port", &port, "--node-id", name]);
    node.event("started");
    node
}

fn ask(home: &Home, node: &str, arguments: &[&str]) -> Value {
    home.json(&[arguments, &["--json", "--data-dir", node]].concat())
}

fn held(home: &Home, node: &str) -> u64 {
    ask(home, node, &["stats"])["registry"]["records"].as_u64().expect("a number")
}

fn pipe(home: &Home, name: &str) {
    assert!(Command::new("mkfifo").arg(home.0.join(name)).status().expect("it is there").success());
}

/// Starts a verb whose output is kept.
fn begin(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.kodikon(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built")
}

/// Its exit code, its JSON and what it said beside that.
fn end(child: Child) -> (i32, Value, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let report = serde_json::from_slice(&stdout).expect("a report");
    (status.code().expect("it ends by itself"), report, String::from_utf8(stderr).expect("text"))
}

fn names(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(&home.0).expect("there").map(|entry| entry.expect("there").file_name());
    entries.map(|name| name.into_string().expect("text")).collect()
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn an_export_makes_a_file_and_replaces_nothing_that_is_none() {
    let home = Home::new("files-targets");
    let mut node = up(&home, "cam1");
    for hash in ["a", "b", "c"] {
        ask(&home, "cam1", &["add", hash]);
    }
    let (code, stdout, stderr) = home.run(&["export", "-", "--data-dir", "cam1"]);
    assert_eq!((code, lines(stdout.as_bytes())), (0, 3), "{stdout}");
    assert!(stderr.contains("3 exported to standard output"), "{stderr}");

    pipe(&home, "pipe");
    let cat = Command::new("cat").arg(home.0.join("pipe")).stdout(Stdio::piped()).spawn().expect("it is there");
    assert_eq!(ask(&home, "cam1", &["export", "pipe"])["exported"], 3);
    assert_eq!(lines(&cat.wait_with_output().expect("it ends").stdout), 3);
    assert!(fs::metadata(home.0.join("pipe")).expect("there").file_type().is_fifo());

    symlink("real.jsonl", home.0.join("link")).expect("writable");
    for _ in 0..2 {
        assert_eq!(ask(&home, "cam1", &["export", "link"])["exported"], 3);
        assert!(fs::symlink_metadata(home.0.join("link")).expect("there").is_symlink());
        assert_eq!(lines(&fs::read(home.0.join("real.jsonl")).expect("there")), 3);
    }

    fs::create_dir(home.0.join("folder")).expect("writable");
    for (file, said) in [("folder", "it is a folder: name a file in it"), ("absent/file", "absent is no folder")] {
        let (code, _, stderr) = home.run(&["export", file, "--data-dir", "cam1"]);
        assert!(code == 2 && stderr.contains(said), "{file}: {code} {stderr}");
    }
    pipe(&home, "rows.npy");
    let (code, _, stderr) = home.run(&["export", "rows.npy", "--prefix", "o", "--data-dir", "cam1"]);
    assert!(code == 2 && stderr.contains("name a file"), "{code} {stderr}");
    let names = names(&home);
    assert!(!names.iter().any(|name| name == "-" || name.ends_with(".part")), "{names:?}");
    assert_eq!(node.end(), 0);
}

#[test]
fn what_was_begun_of_another_nodes_list_is_begun_anew_and_whoever_waits_for_a_pipe_can_be_ended() {
    let home = Home::new("files-part");
    let mut node = up(&home, "cam1");
    ask(&home, "cam1", &["add", "a"]);
    let note = json!({"bytes": 4, "lines": 1, "after": "7.place", "node": "another", "begun": 1e9});
    fs::write(home.0.join("out.jsonl.cbf29ce484222325.part"), "old\n").expect("writable");
    fs::write(home.0.join("out.jsonl.cbf29ce484222325.note"), note.to_string()).expect("writable");
    let (code, stdout, stderr) = home.run(&["export", "out.jsonl", "--data-dir", "cam1"]);
    assert!(code == 0 && stdout.starts_with("1 exported to out.jsonl\n"), "{code} {stdout}");
    assert!(stderr.contains("what was begun is of another node"), "{stderr}");
    let found = fs::read_to_string(home.0.join("out.jsonl")).expect("there");
    assert!(lines(found.as_bytes()) == 1 && !found.contains("old"), "{found}");

    // Numbers that have no row are counted.
    let embedding = |number: &str| {
        format!("{{\"hash_value\": \"o{number}\", \"embedding\": {{\"model\": \"m\", \"numbers\": [1, 2]}}}}\n")
    };
    fs::write(home.0.join("in.jsonl"), ["1", "200000", "7000000"].map(embedding).concat()).expect("writable");
    ask(&home, "cam1", &["import", "in.jsonl"]);
    let report = ask(&home, "cam1", &["export", "out.npy", "--prefix", "o"]);
    assert_eq!((&report["exported"], &report["missing"], &report["beyond"]), (&json!(1), &json!(1), &json!(2)));

    pipe(&home, "pipe");
    let export = begin(&home, &["export", "pipe", "--json", "--data-dir", "cam1"]);
    until("it waits for a reader", || tasks(&export) > 2);
    signal("-INT", &export);
    let (code, report, said) = end(export);
    assert_eq!((code, &report["exported"]), (130, &json!(0)), "{said}");
    assert_eq!(node.end(), 0);
}

/// Threads of a process.
fn tasks(child: &Child) -> usize {
    fs::read_dir(format!("/proc/{}/task", child.id())).map(Iterator::count).unwrap_or_default()
}

#[test]
fn an_import_takes_what_get_find_and_search_print() {
    let home = Home::new("files-lists");
    let (mut node, mut other) = (up(&home, "cam1"), up(&home, "cam2"));
    let import = ["import", EMBEDDINGS, "--type", "object", "--prefix", "o", "--model", "m", "--dtype", "f32"];
    assert_eq!(ask(&home, "cam1", &import)["imported"], 320);
    for (verb, count) in
        [(&["search", "--like", "o7", "-k", "5"][..], 5), (&["get", "o7"], 1), (&["find", "--limit", "320"], 314)]
    {
        let printed = ask(&home, "cam1", &[verb, &["--with-embedding"]].concat());
        fs::write(home.0.join("printed.json"), format!("{printed}\n")).expect("writable");
        let report = ask(&home, "cam2", &["import", "printed.json"]);
        assert_eq!((&report["imported"], &report["rejected"]), (&json!(count), &json!([])), "{verb:?}");
    }
    let record = |node| {
        let found = ask(&home, node, &["get", "o9", "--with-embedding"]);
        (found[0]["embedding"].clone(), found[0]["timestamp"].clone())
    };
    assert!(record("cam1") == record("cam2"));
    assert_eq!((node.end(), other.end()), (0, 0));
}

#[test]
fn a_pipe_is_taken_as_it_comes_and_whoever_breaks_off_learns_how_far_it_came() {
    let home = Home::new("files-pipes");
    let mut node = up(&home, "cam1");
    pipe(&home, "pipe");
    let import = ["import", "pipe", "--json", "--data-dir", "cam1"];
    // Nobody has opened its other end.
    let waiting = begin(&home, &import);
    until("it reads", || tasks(&waiting) > 2);
    signal("-INT", &waiting);
    let (code, report, said) = end(waiting);
    assert_eq!((code, &report["imported"]), (130, &json!(0)), "{said}");

    let into = || OpenOptions::new().write(true).open(home.0.join("pipe")).expect("it reads");
    let say = |into: &mut File, hash: &str| writeln!(into, "{{\"hash_value\": \"{hash}\"}}").expect("it reads");
    let waiting = begin(&home, &import);
    let mut open = into();
    ["a", "b"].iter().for_each(|hash| say(&mut open, hash));
    until("what came is held", || held(&home, "cam1") == 2);
    signal("-INT", &waiting);
    let (code, report, said) = end(waiting);
    assert_eq!((code, &report["imported"]), (130, &json!(2)), "{said}");
    assert!(said.trim() == "interrupted", "a pipe does not give again what it gave: {said}");

    // The node ends while more is to come.
    let waiting = begin(&home, &import);
    let mut open = into();
    say(&mut open, "c");
    until("what came is held", || held(&home, "cam1") == 3);
    signal("-KILL", &node.child);
    node.child.wait().expect("it was killed");
    say(&mut open, "d");
    let (code, report, said) = end(waiting);
    assert!([1, 3].contains(&code), "{code}: {said}");
    assert_eq!(report["imported"], 1, "{said}");
    assert!(!said.contains("HTTP"), "{said}");
}

#[test]
fn numbers_that_are_none_are_told_by_their_places() {
    let home = Home::new("files-nan");
    let mut node = up(&home, "cam1");
    let said = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    file.extend(format!("{said:<117}\n").bytes());
    file.extend([1.0, 2.0, 3.0, f32::INFINITY, 5.0, f32::NAN].iter().flat_map(|number| number.to_le_bytes()));
    fs::write(home.0.join("n.npy"), file).expect("writable");
    for verb in
        [&["add", "h", "--embedding", "n.npy", "--row", "2"][..], &["search", "--embedding", "n.npy", "--row", "2"]]
    {
        let (code, _, stderr) = home.run(&[verb, &["--data-dir", "cam1"]].concat());
        assert!(code == 2 && stderr.contains("number 1 is NaN"), "{code} {stderr}");
    }
    let (code, report, _) = end(begin(&home, &["import", "n.npy", "--prefix", "o", "--json", "--data-dir", "cam1"]));
    let why = |number: &str| format!("embedding: number 1 is {number}: an embedding's numbers are finite");
    let rejected = json!([{"line": 1, "reason": why("inf")}, {"line": 2, "reason": why("NaN")}]);
    assert_eq!((code, &report["imported"], &report["rejected"]), (1, &json!(1), &rejected));
    assert_eq!(node.end(), 0);
}

#[test]
fn a_log_whose_file_is_removed_is_written_anew_and_a_damaged_one_is_named_while_it_lies_there() {
    let home = Home::new("files-log");
    let mut node = up(&home, "cam1");
    let log = |node: &str| {
        let findings = home.run(&["doctor", "--json", "--data-dir", node]).1;
        let findings: Value = serde_json::from_str(&findings).expect("JSON");
        findings.as_array().expect("a list").iter().find(|row| row["check"] == "log").expect("it is looked at").clone()
    };
    assert_eq!(log("cam1")["status"], "ok");
    let damaged = home.0.join("cam1/log.db.damaged");
    fs::write(&damaged, "").expect("writable");
    let found = log("cam1");
    assert!(
        found["status"] == "warn" && found["evidence"].as_str().is_some_and(|said| said.contains("log.db.damaged"))
    );
    fs::remove_file(damaged).expect("there");
    assert_eq!(log("cam1")["status"], "ok");

    ask(&home, "cam1", &["add", "before"]);
    for name in ["log.db", "log.db-wal"] {
        fs::remove_file(home.0.join("cam1").join(name)).expect("there");
    }
    assert_eq!(ask(&home, "cam1", &["add", "after"])["durable"], true);
    signal("-KILL", &node.child);
    node.child.wait().expect("it was killed");
    let mut node = up(&home, "cam1");
    assert_eq!(held(&home, "cam1"), 2);
    assert_eq!(node.end(), 0);
}

//! The measurement program writes a document and a table, and says by its exit code whether everything was measured.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kodikon_lab::{Lab, Topology};
use serde_json::Value;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fake-node.sh");

#[test]
fn a_cold_start_becomes_a_document_and_a_table() {
    let Some(lab) = Lab::for_test("document", &Topology::new()) else { return };
    let (json, markdown) = (lab.directory().join("report.json"), lab.directory().join("table.md"));
    let mut measure = Command::new(env!("CARGO_BIN_EXE_kodikon-measure"));
    measure.args(["--shared", "--binary", FAKE, "--json"]).arg(&json).arg("--markdown").arg(&markdown);
    // The stand-in says of whom it is told that they are up, whether they are or not.
    let done = measure.args(["cold-start", "--nodes", "2,3", "--runs", "2"]).env("PEERS", "n1 n2 n3").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let sizes: Vec<_> = report["measurements"].as_array().unwrap().iter().map(|row| row["nodes"].clone()).collect();
    assert_eq!(sizes, [2, 3]);
    assert_eq!(report["measurements"][0]["figures"]["n"], 2);
    assert_eq!(report["measurements"][0]["told"]["p50"], 250.0);
    assert!(report["measurements"][0]["figures"]["p50"].as_f64().unwrap() >= 250.0, "the longer of the two clocks");
    assert_eq!(report["failures"].as_array().unwrap().len(), 0);
    let table = fs::read_to_string(markdown).unwrap();
    assert!(table.contains("| cold start: last `started` to full roster at all | 3 | ms | p50 ≤ 150 |"), "{table}");
}

#[test]
fn alerts_and_broadcasts_are_awaited_at_all_others_and_counted() {
    let Some(lab) = Lab::for_test("alerts", &Topology::new()) else { return };
    let json = lab.directory().join("report.json");
    // Each of the stand-ins says of all that they are up.
    let peers = (1..=10).map(|n| format!("n{n}")).collect::<Vec<_>>().join(" ");
    for (part, rows) in [
        (
            // The stand-in answers no requests.
            vec!["alerts", "--nodes", "3", "--alerts", "2", "--verb"],
            ["alert by the verb: shown at each", "alert by the verb: all receipts at its sender"],
        ),
        (
            vec!["broadcasts", "--broadcasts", "2", "--meshes", "10"],
            ["broadcast: told at the last", "broadcast: datagrams over the lower bound"],
        ),
    ] {
        let mut measure = Command::new(env!("CARGO_BIN_EXE_kodikon-measure"));
        measure.args(["--shared", "--binary", FAKE, "--json"]).arg(&json).args(part).env("PEERS", &peers);
        let done = measure.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        for row in rows {
            let found = report["measurements"].as_array().unwrap().iter().find(|found| found["what"] == row);
            let found = found.unwrap_or_else(|| panic!("no {row} in {report}"));
            let is_count = row.contains("datagrams");
            // The stand-in sends nothing, and tells each 20 ms what is in its file.
            let p50 = found["figures"]["p50"].as_f64().unwrap();
            assert!(if is_count { p50 == 0.0 } else { p50 > 0.0 && p50 < 5_000.0 }, "{found}");
            let samples = if row.ends_with("at each") {
                4
            } else if is_count {
                1
            } else {
                2
            };
            assert_eq!(found["figures"]["n"], samples, "{found}");
        }
    }
}

#[test]
fn what_two_nodes_say_until_both_hold_all_becomes_rows() {
    let Some(lab) = Lab::for_test("digests", &Topology::new()) else { return };
    let (json, counter) = (lab.directory().join("report.json"), lab.directory().join("counter.sh"));
    let line =
        r#"{"pattern":"PATTERN","missing":1,"missing_bytes":100,"digest_bytes":50,"bytes":250,"repeated_bytes":20}"#;
    let lines = ["newest", "scattered"].map(|pattern| format!("echo '{}'\n", line.replace("PATTERN", pattern)));
    fs::write(&counter, format!("#!/bin/sh\n{}", lines.concat())).unwrap();
    fs::set_permissions(&counter, fs::Permissions::from_mode(0o700)).unwrap();
    let mut measure = Command::new(env!("CARGO_BIN_EXE_kodikon-measure"));
    measure.args(["--shared", "--binary", "/bin/false", "--json"]).arg(&json).arg("--digests").arg(&counter);
    let done = measure.arg("digests").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let rows = report["measurements"].as_array().unwrap();
    let values = |begin: &str| -> Vec<f64> {
        let rows = rows.iter().filter(|row| row["what"].as_str().unwrap().starts_with(begin));
        rows.map(|row| row["figures"]["p50"].as_f64().unwrap()).collect()
    };
    assert_eq!(values("digests: "), [50.0; 9], "three numbers of authors, three parts of theirs that are lacking");
    assert_eq!(values("sent in bytes of the ops: "), [2.5; 6], "of nothing that is lacking there are no parts");
}

#[test]
fn what_is_not_there_yet_is_left_out_and_is_no_failure() {
    let Some(lab) = Lab::for_test("skipped", &Topology::new()) else { return };
    let (json, markdown) = (lab.directory().join("report.json"), lab.directory().join("table.md"));
    for part in ["alerts", "broadcasts", "echo", "digests"] {
        let mut measure = Command::new(env!("CARGO_BIN_EXE_kodikon-measure"));
        // A program that has no verb at all.
        measure.args(["--shared", "--binary", "/bin/false", "--json"]).arg(&json).arg("--markdown").arg(&markdown);
        let done = measure.arg(part).output().unwrap();
        assert!(done.status.success(), "{part}: {}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(report["measurements"].as_array().unwrap().len(), 0, "{part}");
        assert_eq!(report["skipped"].as_array().unwrap().len(), 1, "{part}");
        assert!(fs::read_to_string(&markdown).unwrap().contains("Left out: "), "{part}");
    }
}

#[test]
fn what_could_not_be_measured_is_written_down_and_fails_the_call() {
    let Some(_lab) = Lab::for_test("unmeasured", &Topology::new()) else { return };
    let mut measure = Command::new(env!("CARGO_BIN_EXE_kodikon-measure"));
    measure
        .args(["--shared", "--binary", FAKE, "cold-start", "--nodes", "2", "--runs", "1"])
        .env("COMPLAIN", "no port is free");
    let done = measure.output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let error = report["failures"][0]["error"].as_str().unwrap();
    assert!(error.contains("no port is free"), "{error}");
}

//! Searches as people make them, before a real node: by a file and by a hash, after a kill, and what is refused.

mod home;

use home::{Going, Home, free_port, signal, until};
use serde_json::{Value, json};

/// The real embeddings: features of photographs of 80 objects, four rows each.
const EMBEDDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-scan/fixtures/embeddings_320x512_f32.npy");

fn up(home: &Home, port: &str) -> Going {
    start(home, "cam1", port)
}

fn start(home: &Home, name: &str, port: &str) -> Going {
    let arguments = ["up", "--json", "--data-dir", name, "--interface", "lo", "--udp-port", port, "--node-id", name];
    let node = home.start(&arguments);
    node.event("started");
    node
}

fn ask(home: &Home, arguments: &[&str]) -> Value {
    ask_of(home, "cam1", arguments)
}

fn ask_of(home: &Home, node: &str, arguments: &[&str]) -> Value {
    home.json(&[arguments, &["--json", "--data-dir", node]].concat())
}

fn hashes(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().expect("a list");
    results.iter().map(|found| found["hash_value"].as_str().expect("a hash")).collect()
}

#[test]
fn what_looks_alike_is_found_by_file_and_by_hash_also_after_a_kill() {
    let home = Home::new("search");
    let port = free_port();
    let node = up(&home, &port);
    let import = ["import", EMBEDDINGS, "--type", "object", "--prefix", "o", "--model", "mobilenet_v2"];
    assert_eq!(ask(&home, &import)["imported"], 320);
    let by_file = ["search", "--embedding", EMBEDDINGS, "--row", "8", "-k", "4"];
    let report = ask(&home, &by_file);
    assert_eq!((&report["responded"], &report["of"], &report["certified"]), (&json!(1), &json!(1), &json!(true)));
    assert_eq!(hashes(&report)[0], "o8", "nothing is more like it than itself: {report}");
    let first = &report["results"][0];
    assert!(first["score"].as_f64().is_some_and(|score| score > 0.999_999), "{first}");
    assert_eq!(first["embedding"], json!({"model": "mobilenet_v2", "dims": 512, "dtype": "f16"}));
    assert!(report["elapsed_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");

    let alike = ask(&home, &["search", "--like", "o8", "-k", "3", "--exact", "--local", "--timeout", "20"]);
    assert_eq!(hashes(&alike), hashes(&report)[1..], "the hash itself is not among the answers");
    let fast = ask(&home, &["search", "--like", "o8", "-k", "3", "--fast", "--with-embedding"]);
    assert_eq!(hashes(&fast), hashes(&alike));
    assert_eq!(fast["results"][0]["embedding"]["numbers"].as_array().map(Vec::len), Some(512));
    for (filter, count) in [
        (&["--type", "object"][..], 3),
        (&["--type", "person"], 0),
        (&["--node", "cam1"], 3),
        (&["--node", "nobody"], 0),
        (&["--until", "1h"], 0),
        (&["--where", "gate=*"], 0),
    ] {
        let found = ask(&home, &[&["search", "--like", "o8", "-k", "3"], filter].concat());
        assert_eq!(hashes(&found).len(), count, "{filter:?}");
    }

    signal("-KILL", &node.child);
    drop(node);
    let mut node = up(&home, &port);
    until("all of it was on disk, and is found again", || hashes(&ask(&home, &by_file)) == hashes(&report));
    assert_eq!(node.end(), 0);
}

/// Views of one object, each kept by one of three processes to itself.
#[test]
fn what_each_process_keeps_to_itself_is_found_from_any_and_a_killed_one_is_not_waited_for() {
    let home = Home::new("search-mesh");
    let port = free_port();
    let names = ["cam1", "cam2", "cam3"];
    let mut nodes: Vec<Going> = names.iter().map(|name| start(&home, name, &port)).collect();
    for (name, row) in names.iter().zip(["8", "9", "10"]) {
        let add = ["add", row, "--local", "--embedding", EMBEDDINGS, "--row", row, "--model", "mobilenet_v2"];
        ask_of(&home, name, &add);
    }
    let by_file = ["search", "--embedding", EMBEDDINGS, "--row", "8", "-k", "3"];
    let counts = |report: &Value| (report["responded"].clone(), report["of"].clone(), report["certified"].clone());
    let all = (json!(3), json!(3), json!(true));
    for name in names {
        until("all know who keeps something to itself", || counts(&ask_of(&home, name, &by_file)) == all);
        let report = ask_of(&home, name, &by_file);
        let mut found = hashes(&report);
        assert_eq!(found[0], "8", "{name}: {report}");
        found.sort_unstable();
        assert_eq!(found, ["10", "8", "9"], "{name}");
        assert_eq!(report["results"][0]["node_id"], "cam1", "{name}");
    }
    let alone = ask_of(&home, "cam2", &[&by_file[..], &["--local"]].concat());
    assert_eq!((hashes(&alone), &alone["of"]), (vec!["9"], &json!(1)));

    let mut killed = nodes.pop().expect("there are three");
    signal("-KILL", &killed.child);
    killed.child.wait().expect("it was killed");
    // Whether its end is known or not: it has not answered, or was not asked.
    let report = ask_of(&home, "cam1", &by_file);
    assert!([json!(2), json!(3)].contains(&report["of"]) && report["responded"] == 2, "{report}");
    assert_eq!(report["certified"], report["of"] == 2, "{report}");
    assert_eq!(hashes(&report), ["8", "9"]);
    let both = (json!(2), json!(2), json!(true));
    until("it is known that it is gone", || counts(&ask_of(&home, "cam1", &by_file)) == both);
    nodes.iter_mut().for_each(|node| assert_eq!(node.end(), 0));
}

#[test]
fn what_cannot_be_searched_is_refused_with_its_reason() {
    let home = Home::new("search-refused");
    let mut node = up(&home, &free_port());
    let file = |name: &str, text: &str| {
        std::fs::write(home.0.join(name), text).expect("a writable folder");
        name.to_owned()
    };
    let (few, zero, infinite) =
        (file("few.json", "[1, 2]"), file("zero.json", "[0, 0]"), file("inf.json", "[1, 1e300]"));
    let none = ask(&home, &["search", "--embedding", &few]);
    assert_eq!((hashes(&none).len(), &none["certified"]), (0, &json!(true)), "nothing is there, for certain");
    ask(&home, &["add", "x", "--embedding", EMBEDDINGS, "--row", "1", "--model", "m"]);
    for (arguments, code, said) in [
        (&["--embedding", &few][..], 2, "2 dimensions: the embeddings here have 512 (m)"),
        (&["--embedding", &zero], 2, "all numbers are 0"),
        (&["--embedding", &infinite], 2, "number 1 is inf"),
        (&["--embedding", "gone.json"], 2, "gone.json"),
        (&["--like", "nobody"], 1, "no sighting of `nobody` has an embedding here"),
        (&["--like", "x", "--embedding", &few], 2, "cannot be used with"),
        (&[], 2, "required"),
        (&["--like", "x", "-k", "0"], 2, "0 is not in 1..=1000"),
        (&["--like", "x", "--timeout", "61"], 2, "60"),
        (&["--like", "x", "--where", "gate"], 2, "FIELD=PATTERN"),
        (&["--like", "x", "--exact", "--fast"], 2, "cannot be used with"),
    ] {
        let (got, _, stderr) = home.run(&[&["search"], arguments, &["--data-dir", "cam1"]].concat());
        assert_eq!(got, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr:?} should say {said:?}");
    }
    assert_eq!(ask(&home, &["stats"])["counters"]["searches"], 1);
    assert_eq!(node.end(), 0);
}

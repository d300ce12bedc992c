//! Much of the registry at once, before real nodes: a fresh one pulls it by a stream, and what is urgent comes meanwhile.

#[expect(dead_code, reason = "nobody is sent a signal here")]
mod home;

use home::{Going, Home, free_port, until};
use kodikon_lab::write_embeddings;
use serde_json::{Value, json};

/// Sightings of 512 numbers each: 2.4 MB, which no answer in datagrams takes.
const COUNT: u32 = 2_000;

fn up(home: &Home, name: &str, port: &str) -> Going {
    let node =
        home.start(&["up", "--json", "--data-dir", name, "--interface", "lo", "--udp-port", port, "--node-id", name]);
    node.event("started");
    node
}

fn ask(home: &Home, node: &str, arguments: &[&str]) -> Value {
    home.json(&[arguments, &["--json", "--data-dir", node]].concat())
}

#[test]
fn a_fresh_node_pulls_all_by_one_stream_each_once_and_an_alert_is_there_meanwhile() {
    let home = Home::new("bulk");
    let port = free_port();
    let mut old = up(&home, "cam1", &port);
    write_embeddings(&home.0.join("views.npy"), COUNT, 512).expect("a writable folder");
    let report = ask(&home, "cam1", &["import", "views.npy", "--type", "person", "--prefix", "o-", "--model", "m"]);
    assert_eq!(report["imported"], COUNT, "{report}");

    let mut fresh = up(&home, "cam2", &port);
    until("they have met", || ask(&home, "cam1", &["peers"]).as_array().is_some_and(|peers| !peers.is_empty()));
    ask(&home, "cam1", &["alert", "{\"level\": 3}", "--priority", "critical"]);
    until("the alert is there", || ask(&home, "cam2", &["alerts"]).as_array().is_some_and(|alerts| alerts.len() == 1));
    let content = |node: &str| ask(&home, node, &["stats"])["registry_content"].clone();
    until("all is there", || content("cam1") == content("cam2"));
    until("it is counted", || ask(&home, "cam2", &["stats"])["counters"]["log_applied"] == json!(COUNT + 1));

    let counters = ask(&home, "cam2", &["stats"])["counters"].clone();
    let number = |name: &str| counters[name].as_u64().expect("a number");
    assert_eq!((number("pipes_taken"), number("pipes_failed")), (1, 0), "{counters}");
    let asked = number("log_bytes_piped") + number("log_bytes_pulled");
    assert!(number("log_bytes_piped") > 1_500_000, "{counters}");
    // What an answer in datagrams brought that was on its way when the stream stood came twice.
    assert!(number("log_bytes_repeated") < asked / 10, "{counters}");
    fresh.end();
    old.end();
}

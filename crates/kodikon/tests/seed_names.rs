//! The seed's words in what programs read: its ten counters stand under its names.

use kodikon::api::StatsDoc;

#[test]
fn the_counters_bear_the_names_of_the_seed() {
    let shown = serde_json::to_value(StatsDoc::default()).expect("rows are JSON");
    for name in [
        "node_id",
        "alive_peers",
        "total_peers",
        "is_running",
        "messages_sent",
        "messages_received",
        "messages_routed",
        "peers_discovered",
        "heartbeats_sent",
        "alerts_sent",
    ] {
        assert!(shown.get(name).is_some(), "{name} is missing of {shown}");
    }
}

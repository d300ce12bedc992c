//! The counters as OpenMetrics: prefix `kodikon_`, base units, a suffix that names them.

use std::collections::BTreeMap;

use kodikon::api::StatsDoc;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// OpenMetrics 1.0.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all metrics of a node.
pub(crate) fn text(stats: &StatsDoc) -> String {
    let mut registry = Registry::with_prefix("kodikon");
    let identity = vec![
        ("node_id", stats.node_id.clone()),
        ("id", stats.id.clone()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    registry.register("node", "Who this is", Info::new(identity));
    registry.register_with_unit("uptime", "Time since the start", Unit::Seconds, ConstGauge::new(stats.uptime_s));
    for (name, help, value) in [
        ("running", "Whether the node runs", u64::from(stats.is_running)),
        ("peers_alive", "Peers that are alive, suspects not counted", stats.alive_peers),
        ("peers_known", "Peers in the roster, alive or not", stats.total_peers),
    ] {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    for (name, help, value) in [
        ("messages_sent", "Messages this node began", stats.messages_sent),
        ("messages_received", "Messages accepted from others", stats.messages_received),
        ("messages_routed", "Messages passed on for others", stats.messages_routed),
        ("peers_discovered", "Peers met", stats.peers_discovered),
        ("heartbeats_sent", "Heartbeats sent, beacons that stood in for one included", stats.heartbeats_sent),
        ("alerts_sent", "Alerts this node raised", stats.alerts_sent),
        ("datagrams_sent", "Datagrams handed to the kernel", stats.datagrams_sent),
        ("datagrams_received", "Datagrams that opened; the others are among the drops", stats.datagrams_received),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    for (name, help, value) in
        [("sent", "UDP payload sent", stats.bytes_sent), ("received", "UDP payload received", stats.bytes_received)]
    {
        registry.register_with_unit(name, help, Unit::Bytes, ConstCounter::new(value));
    }
    counters(&mut registry, "drops", "Datagrams and messages dropped", &stats.drops, |reason| Reason { reason });
    counters(&mut registry, "events", "Everything else that is counted", &stats.counters, |event| EventName { event });
    gauges(&mut registry, "routes", "Peers that are alive or suspect, by the way to them", &stats.routes, |way| Way {
        way,
    });
    gauges(&mut registry, "queued", "What waits now", &stats.queues, |queue| Queue { queue });
    let held = |name: &str| stats.registry.get(name).copied().unwrap_or_default();
    for (name, help, value) in [
        ("registry_records", "Sightings that all nodes are to have", held("records")),
        ("registry_local_records", "Sightings that no other node knows of", held("local_records")),
        ("registry_version", "Grows with each change of the sightings that are held", stats.registry_version),
    ] {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let bytes = i64::try_from(held("record_bytes") + held("local_record_bytes")).unwrap_or(i64::MAX);
    registry.register_with_unit("registry_size", "The sightings' ops", Unit::Bytes, ConstGauge::new(bytes));
    gauges(&mut registry, "held", "What is held", &stats.registry, |table| Table { table });
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all that is written");
    text
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventName {
    event: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    way: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Table {
    table: String,
}

/// What a label set must be.
trait Label: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static {}

impl<T: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static> Label for T {}

fn counters<L: Label>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    values: &BTreeMap<String, u64>,
    label: impl Fn(String) -> L,
) {
    let family = Family::<L, Counter>::default();
    for (key, value) in values {
        family.get_or_create(&label(key.clone())).inc_by(*value);
    }
    registry.register(name, help, family);
}

fn gauges<L: Label>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    values: &BTreeMap<String, u64>,
    label: impl Fn(String) -> L,
) {
    let family = Family::<L, Gauge>::default();
    for (key, value) in values {
        family.get_or_create(&label(key.clone())).set(i64::try_from(*value).unwrap_or(i64::MAX));
    }
    registry.register(name, help, family);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_prefix_and_their_unit_and_the_text_its_end() {
        let stats = serde_json::json!({
            "node_id": "cam\"1", "id": "00", "is_running": true, "alive_peers": 3, "bytes_sent": 99, "uptime_s": 1.5,
            "drops": {"replay": 7}, "registry": {"directory": 4}, "routes": {"relayed": 6},
        });
        let stats: StatsDoc = serde_json::from_value(stats).expect("its fields");
        let text = text(&stats);
        for line in [
            "kodikon_node_info{node_id=\"cam\\\"1\",id=\"00\",version=\"0.1.0\"} 1",
            "kodikon_running 1",
            "kodikon_peers_alive 3",
            "kodikon_uptime_seconds 1.5",
            "# UNIT kodikon_sent_bytes bytes",
            "kodikon_sent_bytes_total 99",
            "kodikon_drops_total{reason=\"replay\"} 7",
            "kodikon_routes{way=\"relayed\"} 6",
            "kodikon_held{table=\"directory\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.into_iter().all(|line| line.starts_with("kodikon_")), "{text}");
    }
}

//! The counters as OpenMetrics: prefix `kodikon_`, base units, a suffix that names them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kodikon::api::StatsDoc;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
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
    let events = stats.counters.iter().filter(|(name, _)| !is_told_elsewhere(name));
    let events = events.map(|(name, count)| (name.clone(), *count)).collect();
    counters(&mut registry, "events", "Everything else that is counted", &events, |event| EventName { event });
    gauges(&mut registry, "routes", "Peers that are alive or suspect, by the way to them", &stats.routes, |way| Way {
        way,
    });
    gauges(&mut registry, "queued", "What waits now", &stats.queues, |queue| Queue { queue });
    register_records(&mut registry, stats);
    register_sync(&mut registry, stats);
    let took = "How long searches took that have ended";
    registry.register_with_unit("search", took, Unit::Seconds, SearchTimes::of(stats));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all that is written");
    text
}

/// How much is held of the registry.
fn register_records(registry: &mut Registry, stats: &StatsDoc) {
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
    gauges(registry, "held", "What is held", &stats.registry, |table| Table { table });
}

/// Bytes of ops of the log that came, by the way they came: counters, and what they are called here.
const RECEIVED: [(&str, &str); 3] =
    [("log_bytes_pushed", "pushed"), ("log_bytes_pulled", "pulled"), ("log_bytes_piped", "streamed")];
/// Bytes that replication sends beside what is pushed.
const SENT: [(&str, &str); 2] = [("digest_bytes", "digest"), ("pipe_bytes_sent", "stream")];
const REPEATED: &str = "log_bytes_repeated";
const SEARCHES: &str = "searches";
const SEARCH_MICROS: &str = "search_micros";
/// A metric is a `f64` where it is read, which holds so many bits of a number.
const EXACT: u64 = (1 << 52) - 1;

/// Whether a counter has a metric of its own.
fn is_told_elsewhere(counter: &str) -> bool {
    let bytes = RECEIVED.iter().chain(&SENT).map(|(name, _)| *name);
    bytes.chain([REPEATED, SEARCHES, SEARCH_MICROS]).any(|name| name == counter)
}

/// What replicating the log costs, and the digest by which nodes that lack something of each other's are told from those that do not.
fn register_sync(registry: &mut Registry, stats: &StatsDoc) {
    let counted = |name: &str| stats.counters.get(name).copied().unwrap_or_default();
    let families = [
        ("sync_received", "Ops of the log that came here, by the way they came", &RECEIVED[..]),
        ("sync_sent", "What replication sent beside what it pushed", &SENT),
    ];
    for (name, help, kinds) in families {
        let family = Family::<Kind, Counter>::default();
        for (counter, kind) in kinds {
            family.get_or_create(&Kind { kind: (*kind).to_owned() }).inc_by(counted(counter));
        }
        registry.register_with_unit(name, help, Unit::Bytes, family);
    }
    let repeated = ConstCounter::new(counted(REPEATED));
    registry.register_with_unit("sync_repeated", "Of what was asked for, what was here before", Unit::Bytes, repeated);
    let root = u64::from_str_radix(&stats.log_root, 16).unwrap_or_default() & EXACT;
    let help = "Low 52 bits of the digest of what is held of the log: equal on nodes that lack nothing of each other's";
    registry.register("log_root", help, ConstGauge::new(i64::try_from(root).unwrap_or_default()));
    let lags = Family::<PeerName, Gauge<f64, AtomicU64>>::default();
    for (peer, lag) in &stats.log_lag_s {
        lags.get_or_create(&PeerName { peer: peer.clone() }).set(*lag);
    }
    registry.register_with_unit(
        "log_lag",
        "For how long a neighbour's digest has not been this node's",
        Unit::Seconds,
        lags,
    );
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
struct SearchTimes {
    sum: f64,
    count: u64,
    /// The most seconds of each bucket, and how many searches are in it and not in the one before.
    buckets: Vec<(f64, u64)>,
}

impl SearchTimes {
    fn of(stats: &StatsDoc) -> Self {
        let counted = |name: &str| stats.counters.get(name).copied().unwrap_or_default();
        let within = stats.search_seconds.iter().filter_map(|(seconds, count)| Some((seconds.parse().ok()?, *count)));
        let mut within: Vec<(f64, u64)> = within.collect();
        within.sort_by(|one, other| one.0.total_cmp(&other.0));
        let count = counted(SEARCHES);
        within.push((f64::INFINITY, count));
        let mut before = 0;
        for (_, count) in &mut within {
            let all = *count;
            *count = all.saturating_sub(before);
            before = before.max(all);
        }
        let sum = Duration::from_micros(counted(SEARCH_MICROS)).as_secs_f64();
        Self { sum, count, buckets: within }
    }
}

impl EncodeMetric for SearchTimes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
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
struct PeerName {
    peer: String,
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
            "drops": {"replay": 7}, "registry": {"directory": 4, "record_bytes": 9, "local_record_bytes": 1},
            "routes": {"relayed": 6}, "log_root": "fff0000000000003", "search_seconds": {"0.001": 1, "0.25": 4}, "log_lag_s": {"cam2": 0.0, "cam3": 2.5},
            "counters": {"verdicts": 2, "log_bytes_pushed": 10, "log_bytes_pulled": 11, "log_bytes_piped": 12,
                "log_bytes_repeated": 13, "digest_bytes": 14, "pipe_bytes_sent": 15, "searches": 6,
                "search_micros": 1_500_000},
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
            "kodikon_registry_size_bytes 10",
            "kodikon_events_total{event=\"verdicts\"} 2",
            "kodikon_sync_received_bytes_total{kind=\"pushed\"} 10",
            "kodikon_sync_received_bytes_total{kind=\"pulled\"} 11",
            "kodikon_sync_received_bytes_total{kind=\"streamed\"} 12",
            "kodikon_sync_repeated_bytes_total 13",
            "kodikon_sync_sent_bytes_total{kind=\"digest\"} 14",
            "kodikon_sync_sent_bytes_total{kind=\"stream\"} 15",
            "kodikon_log_root 3",
            "kodikon_log_lag_seconds{peer=\"cam2\"} 0.0",
            "kodikon_log_lag_seconds{peer=\"cam3\"} 2.5",
            "kodikon_search_seconds_sum 1.5",
            "kodikon_search_seconds_count 6",
            "kodikon_search_seconds_bucket{le=\"0.001\"} 1",
            "kodikon_search_seconds_bucket{le=\"0.25\"} 4",
            "kodikon_search_seconds_bucket{le=\"+Inf\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("event=\"log_bytes_pushed\""), "what has its own metric is counted once:\n{text}");
        assert!(text.ends_with("# EOF\n"));
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.into_iter().all(|line| line.starts_with("kodikon_")), "{text}");
    }
}

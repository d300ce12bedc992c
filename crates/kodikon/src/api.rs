//! The rows people and programs read: their field names are the stable face, the same in `--json`, over HTTP and in the library.
//!
//! Fields may be added, never renamed or dropped. Times are seconds since 1970; a duration carries its unit in its name.

mod alerts;
mod named;
mod records;
mod search;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use alerts::{AckDoc, AckRow, AlertDoc, AlertReport, AlertRow, MissingRow};
pub use named::Named;
pub use records::{AddedOrNot, AddedRow, DeletedRow, EmbeddingRow, RecordDoc, RecordRow};
pub use search::{FoundRow, SearchDoc, SearchReport};

/// State keys that are repeated in a peer's row because people choose peers by them.
pub const CAPABILITY_KEYS: [&str; 6] =
    ["embedding_dim", "reid_model", "yolo_model", "processing_fps", "battery_level", "location"];

/// What this node believes of a peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum Liveness {
    /// Heard within its time.
    Alive,
    /// Missed; others are being asked.
    Suspect,
    /// Declared failed by its witnesses.
    Failed,
    /// Said goodbye.
    Left,
}

impl Liveness {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

/// What a node says it is doing: the state key `state`, and `offline` for one that failed or left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum NodeState {
    /// Normal operation.
    #[default]
    Active,
    /// Waiting.
    Idle,
    /// Busy with input.
    Processing,
    /// Unreachable.
    Offline,
}

impl NodeState {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Processing => "processing",
            Self::Offline => "offline",
        }
    }

    /// Reads the state key `state` as cameras write it, in either case; anything else is [`NodeState::Active`].
    #[must_use]
    pub fn from_state(state: &Map<String, Value>) -> Self {
        let Some(Value::String(word)) = state.get("state") else { return Self::Active };
        match word.to_ascii_lowercase().as_str() {
            "idle" => Self::Idle,
            "processing" => Self::Processing,
            "offline" => Self::Offline,
            _ => Self::Active,
        }
    }
}

/// One peer, as `kodikon peers` and `GET /v1/peers` show it. Seed name: `PeerInfo`.
#[doc(alias = "PeerInfo")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PeerRow {
    /// The name shown here: the peer's own, or `name-2` where another held it first.
    pub node_id: String,
    /// The identity, 32 hex digits.
    pub id: String,
    /// What this node believes of its life.
    pub liveness: Liveness,
    /// What it says it is doing.
    pub state: NodeState,
    /// The address it is reached at (`192.168.1.7:10000`), none if only through others.
    pub address: Option<String>,
    /// Relays on the way: 0 for a neighbour; none while no way is known.
    pub hops: Option<u8>,
    /// Round trip of a ping by the way that is used, in milliseconds; none before the first answer. It is measured anew as
    /// `docs/machines/liveness.md` says: minutes old at most where the mesh is small or the two speak with each other.
    pub rtt_ms: Option<f64>,
    /// Milliseconds since this node last heard it itself, or since the start: of one that others relay it says nothing.
    pub last_heard_ms: u64,
    /// Who says so, where `liveness` is `suspect` or `failed`.
    pub witnesses: Vec<String>,
    /// Why it is `suspect`, `failed` or `left`; empty otherwise.
    #[serde(default)]
    pub reason: String,
    /// The program version it runs.
    pub version: String,
    /// Its state keys named in [`CAPABILITY_KEYS`].
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub capabilities: Map<String, Value>,
}

/// One peer with its own counters, as `GET /v1/peers/{name}` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PeerDetail {
    /// The row.
    #[serde(flatten)]
    pub peer: PeerRow,
    /// Counted since this peer was found, by name: `datagrams_received`, its frames that opened.
    pub counters: BTreeMap<String, u64>,
}

/// From where a way to a node is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum RouteSource {
    /// From the links that both ends of each advertise.
    Map,
    /// From a message that came that way.
    Learned,
}

impl RouteSource {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Learned => "learned",
        }
    }
}

/// The way to one node, as `kodikon routes` and `GET /v1/routes` show it. Nodes are named as in a [`PeerRow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RouteRow {
    /// To whom.
    pub node_id: String,
    /// Its identity, 32 hex digits.
    pub id: String,
    /// To whom it is handed first: the node itself where nobody stands between.
    pub next_hop: String,
    /// The relays in order, then the node itself.
    pub path: Vec<String>,
    /// How many relays there are: 0 for a neighbour.
    pub relays: u8,
    /// The costs of all links together, in tenths of a link of clean Ethernet.
    pub cost: u32,
    /// This node's interface where it begins; none where the kernel chooses.
    pub interface: Option<String>,
    /// From where it is known.
    pub source: RouteSource,
    /// Its links in the order of the path; none where only the way is known and not what it costs.
    #[serde(default)]
    pub links: Vec<LinkRow>,
    /// The best way by another neighbour; none where there is none, or where there are too many neighbours to ask for each.
    #[serde(default)]
    pub next_best: Option<OtherRouteRow>,
    /// Why this way and not the next best one, in a few words.
    #[serde(default)]
    pub why: String,
}

/// One link of a way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct LinkRow {
    /// Where it leads.
    pub to: String,
    /// What it costs, in tenths of a link of clean Ethernet.
    pub cost: u32,
    /// What is lost on it one way, or as much as its round trip is worth, in percent: 0, 20, 34, 46, 58, 70 or 80, the nearest.
    pub loss_percent: u32,
}

/// A way that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct OtherRouteRow {
    /// The relays in order, then the node itself.
    pub path: Vec<String>,
    /// The costs of all links together.
    pub cost: u32,
}

/// Picks the keys of [`CAPABILITY_KEYS`] out of a node's state.
#[must_use]
pub fn capabilities(state: &Map<String, Value>) -> Map<String, Value> {
    let pick = |key: &str| state.get(key).map(|value| (key.to_owned(), value.clone()));
    CAPABILITY_KEYS.iter().filter_map(|key| pick(key)).collect()
}

/// One node's state with its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StateRow {
    /// Grows with every change its owner makes, across restarts too.
    pub version: u64,
    /// When its owner last changed it, by its owner's clock.
    pub timestamp: f64,
    /// The keys.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub state: Map<String, Value>,
}

/// `kodikon state get`: the states by the name shown here.
pub type StateDoc = BTreeMap<String, StateRow>;

/// How strangers are kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum Security {
    /// The key follows from the mesh's name: anyone on the LAN can join.
    Open,
    /// A mesh key file.
    Psk,
}

impl Security {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Psk => "psk",
        }
    }
}

/// The first line of `kodikon up --json`, written once the node can be found and the API answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "started")]
#[non_exhaustive]
pub struct Started {
    /// When.
    pub at: f64,
    /// The name people call it.
    pub node_id: String,
    /// The identity, 32 hex digits.
    pub id: String,
    /// Where it receives unicast: address and port per interface.
    pub addresses: Vec<String>,
    /// The API's URL; none with `--api none`.
    pub api: Option<String>,
    /// How strangers are kept out.
    pub security: Security,
}

/// Something that happened, as `kodikon watch` and `GET /v1/events` show it: `{"event","at",…}`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When this node learnt it.
    pub at: f64,
    /// What.
    pub what: What,
}

/// What an [`Event`] is about. Names are as shown here (`node_id`), the same as in a [`PeerRow`]; `id` is the identity. Match
/// with `..`: fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum What {
    /// A peer was found, came back, or is shown by another name from here on.
    PeerUp {
        /// Its name.
        node_id: String,
        /// Its identity.
        id: String,
        /// Where it is reached.
        address: Option<String>,
        /// The program version it runs.
        version: String,
        /// The name by which events told of it until now, where that was another: nobody bears it any more, or somebody
        /// else does.
        #[serde(skip_serializing_if = "Option::is_none")]
        renamed_from: Option<String>,
    },
    /// A peer missed its turn and did not answer.
    PeerSuspect {
        /// Its name.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who says so.
        witnesses: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A peer was declared failed.
    PeerFailed {
        /// Its name.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who says so.
        witnesses: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A peer said goodbye.
    PeerLeft {
        /// Its name.
        node_id: String,
        /// Its identity.
        id: String,
        /// Why.
        reason: String,
    },
    /// A node's state changed; one's own too.
    State {
        /// Its name.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who wrote it: always the node itself.
        source: String,
        /// The version after the change.
        version: u64,
        /// The whole state after the change.
        state: Map<String, Value>,
    },
    /// Somebody said something to this node.
    Message {
        /// Who.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who, as in the seed's form of a message.
        source: String,
        /// The type of the message: `ROUTE_BROADCAST`, or a name of the application's own.
        #[serde(rename = "type")]
        kind: String,
        /// What it said.
        payload: Value,
        /// How urgent it is: `low`, `normal`, `high` or `critical`.
        priority: String,
        /// The relays by which it came, by name.
        path: Vec<String>,
        /// `all` where it was said to all; left out where it was said to this node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent_to: Option<String>,
    },
    /// An alert reached this node.
    Alert {
        /// Who raised it.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who, as in the seed's form of a message.
        source: String,
        /// What all nodes call it.
        alert_id: String,
        /// How urgent it is: `low`, `normal`, `high` or `critical`.
        priority: String,
        /// What it says.
        alert: Value,
        /// When it was raised, by its author's clock.
        timestamp: f64,
        /// Whether it was raised before this node started.
        late: bool,
        /// Whether this node may have shown it before it crashed.
        repeated: bool,
    },
    /// A person acknowledged an alert.
    AlertAck {
        /// The node that was told.
        node_id: String,
        /// Its identity.
        id: String,
        /// The same node's name.
        source: String,
        /// Which alert.
        alert_id: String,
        /// Who acknowledged it.
        by: String,
        /// When, by that node's clock.
        timestamp: f64,
    },
    /// Another node has seen something.
    Record {
        /// Who.
        node_id: String,
        /// Its identity.
        id: String,
        /// Who, as in the seed's form of a message.
        source: String,
        /// What, without the numbers of its embedding.
        record: Box<RecordRow>,
    },
    /// A search of this node's application has ended, or this node has answered one of another's.
    Search {
        /// Who asked: this node, or the other.
        node_id: String,
        /// Its identity.
        id: String,
        /// How many were found.
        found: usize,
        /// Nodes that have answered; of another's search this one alone is told of.
        responded: u32,
        /// Nodes that were asked.
        of: u32,
        /// Whether nothing nearer is there.
        certified: bool,
        /// How long it took, in milliseconds.
        elapsed_ms: f64,
    },
    /// This node hears nobody (`isolated: true`), or somebody again.
    Isolated {
        /// Whether it is isolated now.
        isolated: bool,
        /// Why it thinks so.
        reason: String,
    },
    /// Events were lost to this reader, which was too slow or asked for ones no longer kept: read `/v1/peers` and `/v1/state` again.
    Missed {
        /// How many, where it is known.
        count: Option<u64>,
    },
}

/// What `POST /v1/messages` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageDoc {
    /// To whom: a name, `name@hhhh`, or a whole identity.
    pub to: String,
    /// Any JSON.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: Value,
    /// `low`, `normal` (default), `high` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Seconds that it may take, 0.001 to 30; by default as its priority says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// A type of the application's own.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// So many, numbered from 1 in `n` of the payload; the answer is a line of JSON for each, as they are settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// Milliseconds between two of them (1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// In a series also a line `{"sent": n}` as each one is sent: whoever ends the series early knows by it how far it came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
}

/// What `POST /v1/broadcasts` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BroadcastDoc {
    /// Any JSON.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: Value,
    /// `low`, `normal` (default), `high` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// A type of the application's own.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// So many, numbered from 1 in `n` of the payload; the answer is a line of JSON for each, as they leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// Milliseconds between two of them (1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
}

/// Something said to all, as `kodikon broadcast` and `POST /v1/broadcasts` tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct BroadcastRow {
    /// Which of a series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// What names it.
    pub id: String,
    /// `all`.
    pub sent_to: String,
    /// Who is present and will not be told, since more relays lie between than `mesh.max_hops`.
    #[serde(default)]
    pub too_far: Vec<String>,
}

/// What became of a message, as `kodikon send` and `POST /v1/messages` tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct OutcomeRow {
    /// Which of a series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// `delivered`, `expired` or `unreachable`; one of a series may also be `refused`: it was not tried, and nothing of it left.
    pub outcome: String,
    /// Why it was not delivered.
    pub reason: Option<String>,
    /// Milliseconds from the first attempt to the acknowledgement.
    pub rtt_ms: Option<f64>,
    /// The relays by which it came, then the destination, by name.
    pub path: Vec<String>,
    /// How many ways were tried.
    pub attempts: u8,
}

impl Event {
    /// Something that this node learnt at `at`, in seconds since 1970.
    #[must_use]
    pub const fn new(at: f64, what: What) -> Self {
        Self { at, what }
    }
}

impl What {
    /// The value of `event` in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PeerUp { .. } => "peer_up",
            Self::PeerSuspect { .. } => "peer_suspect",
            Self::PeerFailed { .. } => "peer_failed",
            Self::PeerLeft { .. } => "peer_left",
            Self::State { .. } => "state",
            Self::Message { .. } => "message",
            Self::Alert { .. } => "alert",
            Self::AlertAck { .. } => "alert_ack",
            Self::Record { .. } => "record",
            Self::Search { .. } => "search",
            Self::Isolated { .. } => "isolated",
            Self::Missed { .. } => "missed",
        }
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            event: &'static str,
            at: f64,
            #[serde(flatten)]
            what: &'a What,
        }
        Line { event: self.what.name(), at: self.at, what: &self.what }.serialize(serializer)
    }
}

/// How a check of `kodikon doctor` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum Status {
    /// Nothing is wrong.
    Ok,
    /// Works, but not as it should.
    Warn,
    /// Does not work.
    Fail,
    /// Could not be checked.
    Unknown,
}

impl Status {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One line of `kodikon doctor` and `GET /v1/doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct FindingRow {
    /// What was checked.
    pub check: String,
    /// How it ended.
    pub status: Status,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty where nothing is wrong.
    pub cure: String,
}

/// Counters, as `kodikon stats` and `GET /v1/stats` show them: the seed's keys first. Seed name: `get_network_stats`.
#[doc(alias = "get_network_stats")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct StatsDoc {
    /// The name people call this node.
    pub node_id: String,
    /// Peers that are alive now; a suspect is none of them.
    pub alive_peers: u64,
    /// Peers in the roster, alive or not.
    pub total_peers: u64,
    /// Whether the node runs.
    pub is_running: bool,
    /// Messages this node began, of every kind.
    pub messages_sent: u64,
    /// Messages accepted from others.
    pub messages_received: u64,
    /// Messages passed on for others.
    pub messages_routed: u64,
    /// Peers met since the start.
    pub peers_discovered: u64,
    /// Heartbeats sent, beacons that stood in for one included.
    pub heartbeats_sent: u64,
    /// Alerts this node raised.
    pub alerts_sent: u64,
    /// The identity, 32 hex digits.
    pub id: String,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Datagrams handed to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams that opened: what nobody of this mesh sealed is under `drops` alone.
    pub datagrams_received: u64,
    /// UDP payload bytes of what was handed to the kernel.
    pub bytes_sent: u64,
    /// UDP payload bytes of what arrived, the dropped included.
    pub bytes_received: u64,
    /// Peers that are alive or suspect, by the way to them: `direct`, `relayed`, or `none`.
    pub routes: BTreeMap<String, u64>,
    /// Datagrams and messages dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What waits now, by queue.
    pub queues: BTreeMap<String, u64>,
    /// What is held, by table: `authors`, `ops`, `directory`, …
    pub registry: BTreeMap<String, u64>,
    /// Grows with each change of the sightings that are held here.
    pub registry_version: u64,
    /// Digest of the sightings that all nodes are to have, 16 hex digits: equal on nodes that hold the same.
    pub registry_content: String,
    /// Digest of all that this node holds of the log, 16 hex digits: equal on nodes that lack nothing of each other's.
    pub log_root: String,
    /// By each neighbour that is alive: for how many seconds it has not told the same digest as this node's. One of the two lacks
    /// something; each heartbeat and beacon tells it anew.
    pub log_lag_s: BTreeMap<String, f64>,
    /// Searches of this node's that ended within so many seconds; `counters` has how many there were, and how long all took.
    pub search_seconds: BTreeMap<String, u64>,
    /// Everything else that is counted, by name.
    pub counters: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_flat_object_that_begins_with_its_name_and_time() {
        let what = What::PeerLeft { node_id: "cam1".into(), id: "00".into(), reason: "goodbye".into() };
        let line = serde_json::to_string(&Event { at: 1.5, what }).expect("no map keys but strings");
        assert_eq!(line, r#"{"event":"peer_left","at":1.5,"node_id":"cam1","id":"00","reason":"goodbye"}"#);
    }

    #[test]
    fn the_started_line_has_the_contracts_fields() {
        let started = Started {
            at: 1.0,
            node_id: "cam1".into(),
            id: "00".into(),
            addresses: vec!["10.0.0.1:10000".into()],
            api: None,
            security: Security::Open,
        };
        let value = serde_json::to_value(started).expect("no map keys but strings");
        let expected = json!({"event": "started", "at": 1.0, "node_id": "cam1", "id": "00",
            "addresses": ["10.0.0.1:10000"], "api": null, "security": "open"});
        assert_eq!(value, expected);
    }

    #[test]
    fn capabilities_are_the_named_state_keys_and_no_others() {
        let state = json!({"battery_level": 80, "status": "x", "location": {"zone": "A"}});
        let picked = capabilities(state.as_object().expect("written as an object"));
        assert_eq!(Value::Object(picked), json!({"battery_level": 80, "location": {"zone": "A"}}));
    }

    #[test]
    fn the_state_key_state_sets_the_node_state_in_either_case() {
        for (value, expected) in [
            (json!({"state": "processing"}), NodeState::Processing),
            (json!({"state": "IDLE"}), NodeState::Idle),
            (json!({"state": "unheard of"}), NodeState::Active),
            (json!({"state": 2}), NodeState::Active),
            (json!({}), NodeState::Active),
        ] {
            let found = NodeState::from_state(value.as_object().expect("written as an object"));
            assert_eq!(found, expected, "{value}");
        }
    }
}

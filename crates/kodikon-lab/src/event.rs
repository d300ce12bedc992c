//! Decides what a line of a node's output means: the JSON Lines of `kodikon up --json`, and the log of a rival.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The node runs.
    Started,
    /// A peer was found, or is heard again.
    PeerUp,
    /// A peer may be dead.
    PeerSuspect,
    /// A peer is dead.
    PeerFailed,
    /// A peer said goodbye.
    PeerLeft,
    /// A node's state changed.
    State,
    /// A message arrived.
    Message,
    /// An alert arrived.
    Alert,
    /// Somebody acknowledged an alert.
    AlertAck,
    /// A record arrived.
    Record,
    /// A query was answered.
    Search,
    /// The node hears nobody.
    Isolated,
    /// A kind that is newer than this library.
    Other(String),
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "started" => Self::Started,
            "peer_up" => Self::PeerUp,
            "peer_suspect" => Self::PeerSuspect,
            "peer_failed" => Self::PeerFailed,
            "peer_left" => Self::PeerLeft,
            "state" => Self::State,
            "message" => Self::Message,
            "alert" => Self::Alert,
            "alert_ack" => Self::AlertAck,
            "record" => Self::Record,
            "search" => Self::Search,
            "isolated" => Self::Isolated,
            other => Self::Other(other.to_owned()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Started => "started",
            Self::PeerUp => "peer_up",
            Self::PeerSuspect => "peer_suspect",
            Self::PeerFailed => "peer_failed",
            Self::PeerLeft => "peer_left",
            Self::State => "state",
            Self::Message => "message",
            Self::Alert => "alert",
            Self::AlertAck => "alert_ack",
            Self::Record => "record",
            Self::Search => "search",
            Self::Isolated => "isolated",
            Self::Other(name) => name,
        }
    }

    /// Whether the event says how a peer is.
    pub(crate) fn is_liveness(&self) -> bool {
        matches!(self, Self::PeerUp | Self::PeerSuspect | Self::PeerFailed | Self::PeerLeft)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One event as a node told it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// The `node_id`: the peer it is about, or the node itself where it has started.
    pub about: Option<String>,
    /// The `at`: seconds since 1970 by the node's clock.
    pub told: Option<f64>,
    /// Everything the line said, these included.
    pub fields: Map<String, Value>,
}

impl Event {
    /// Reads a line of `kodikon up --json`.
    ///
    /// # Errors
    /// With what is wrong with the line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let kind = fields.get("event").and_then(Value::as_str).ok_or("no field \"event\" that is a text")?;
        let about = fields.get("node_id").and_then(Value::as_str).map(str::to_owned);
        let told = fields.get("at").and_then(Value::as_f64);
        Ok(Self { kind: Kind::named(kind), about, told, fields })
    }

    /// Reads a line of `serf agent`, which tells its events in its log. Most lines are none.
    pub fn parse_serf(line: &str) -> Option<Self> {
        const MARKS: [(&str, Kind); 6] = [
            ("==> Serf agent running!", Kind::Started),
            ("serf: EventMemberJoin: ", Kind::PeerUp),
            ("memberlist: Suspect ", Kind::PeerSuspect),
            ("serf: EventMemberFailed: ", Kind::PeerFailed),
            ("serf: EventMemberLeave: ", Kind::PeerLeft),
            // What it is about is the name of the event.
            ("agent: Received event: user-event: ", Kind::Alert),
        ];
        let (kind, rest) = MARKS.into_iter().find_map(|(mark, kind)| Some((kind, line.split_once(mark)?.1)))?;
        let about = rest.split_whitespace().next().map(str::to_owned);
        Some(Self { kind, about, told: None, fields: Map::new() })
    }
}

/// A point in time by two clocks: when it was read here, and when the node said it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// This process's monotonic clock.
    pub read: Instant,
    /// Seconds since 1970 by the clock of the computer, which all hosts of a lab share.
    pub told: Option<f64>,
}

impl Moment {
    /// The present by both clocks.
    pub fn now() -> Self {
        // A clock before 1970 makes the told times useless, not the read ones.
        let told = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        Self { read: Instant::now(), told }
    }

    /// The time since an earlier moment, by each clock; none at all where that moment is later.
    pub fn since(&self, earlier: Self) -> Elapsed {
        // What was there before it was awaited took no time: left out, it would make the others look slower.
        let told = self.told.zip(earlier.told);
        let told = told.and_then(|(late, early)| Duration::try_from_secs_f64((late - early).max(0.0)).ok());
        Elapsed { read: self.read.saturating_duration_since(earlier.read), told }
    }

    /// The later of two, by each clock for itself.
    pub(crate) fn latest(self, other: Self) -> Self {
        let told = match (self.told, other.told) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        };
        Self { read: self.read.max(other.read), told }
    }
}

/// A time span by the two clocks of [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elapsed {
    /// From reading to reading: includes the way through the pipe, so it is what a user would see.
    pub read: Duration,
    /// From telling to telling, without the observer's part in it. `None` where one of the two was not told.
    pub told: Option<Duration>,
}

impl Elapsed {
    /// The longer of the two. Each clock flatters in its own way: a late reading of the first line shortens the one,
    /// what happens between telling and printing is missing in the other.
    pub fn longer(&self) -> Duration {
        self.told.map_or(self.read, |told| told.max(self.read))
    }

    /// The shorter of two spans, by each clock for itself.
    pub fn earlier(self, other: Self) -> Self {
        let told = self.told.into_iter().chain(other.told).min();
        Self { read: self.read.min(other.read), told }
    }

    /// The longer of two spans, by each clock for itself.
    pub fn later(self, other: Self) -> Self {
        Self { read: self.read.max(other.read), told: self.told.max(other.told) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_node_are_read() {
        let up = Event::parse(r#"{"event":"peer_up","at":1700000000.25,"node_id":"n2","hops":1}"#).unwrap();
        assert_eq!((up.kind, up.about.as_deref(), up.told), (Kind::PeerUp, Some("n2"), Some(1_700_000_000.25)));
        assert_eq!(up.fields["hops"], 1);
        let started = Event::parse(r#"{"event":"started","node_id":"n1","id":"ab","api":null}"#).unwrap();
        assert_eq!((started.kind, started.told), (Kind::Started, None));
        let newer = Event::parse(r#"{"event":"eclipse"}"#).unwrap();
        assert_eq!(newer.kind, Kind::Other("eclipse".to_owned()));
    }

    #[test]
    fn every_kind_has_one_name() {
        let names = "started peer_up peer_suspect peer_failed peer_left state message alert alert_ack record search \
                     isolated";
        for name in names.split_whitespace() {
            let kind = Kind::named(name);
            assert!(!matches!(kind, Kind::Other(_)), "{name}");
            assert_eq!(kind.to_string(), name);
        }
    }

    #[test]
    fn a_line_that_is_no_event_is_refused() {
        for line in ["", "hello", "[]", "{}", r#"{"event":3}"#, r#"{"event":"peer_up""#] {
            assert!(Event::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_log_of_serf_is_read() {
        let table = [
            ("==> Serf agent running!", Some((Kind::Started, None))),
            ("    2026/11/24 06:49:23 [INFO] serf: EventMemberJoin: n2 10.9.0.2", Some((Kind::PeerUp, Some("n2")))),
            ("  2026/11/24 06:49:26 [INFO] serf: EventMemberLeave: n2 10.9.0.2", Some((Kind::PeerLeft, Some("n2")))),
            ("  2026/11/24 [INFO] serf: EventMemberFailed: n2 10.9.0.2", Some((Kind::PeerFailed, Some("n2")))),
            ("  [INFO] memberlist: Suspect n2 has failed, no acks received", Some((Kind::PeerSuspect, Some("n2")))),
            ("    2026/11/24 06:49:24 [INFO] agent: Received event: member-join", None),
            (" 2026/11/24 06:49:24 [INFO] agent: Received event: user-event: e7", Some((Kind::Alert, Some("e7")))),
        ];
        for (line, expected) in table {
            let found = Event::parse_serf(line);
            let found = found.as_ref().map(|event| (event.kind.clone(), event.about.as_deref()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_span_is_measured_by_each_clock_for_itself() {
        let start = Moment { read: Instant::now(), told: Some(100.0) };
        let end = Moment { read: start.read + Duration::from_secs(2), told: Some(101.5) };
        let forth = end.since(start);
        assert_eq!(forth, Elapsed { read: Duration::from_secs(2), told: Some(Duration::from_millis(1500)) });
        assert_eq!((forth.longer(), forth.later(start.since(end))), (forth.read, forth));
        assert_eq!(forth.earlier(start.since(end)), start.since(end));
        assert_eq!(start.since(end), Elapsed { read: Duration::ZERO, told: Some(Duration::ZERO) });
        assert_eq!(end.since(Moment { told: None, ..start }).told, None);
        assert_eq!(start.latest(end), end);
    }
}

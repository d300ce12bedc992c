//! Decides how an application says something to one node: what it may say, and what it learns of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use kodikon_core::effect::SendOrder;
use kodikon_core::ground::config::{MAX_KIND, MAX_PAYLOAD};
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::letter::{Outcome as CoreOutcome, Priority, Ticket};
use kodikon_core::model::member::Liveness;
use kodikon_core::wire::json::MessageType;
use serde_json::Value;
use tokio::sync::oneshot;

use super::room::Part;
use super::{Mesh, View, is_called};
use crate::api::OutcomeRow;
use crate::driver::Order;
use crate::spelling::{nearest_name, shorten};
use crate::topic::reserved;

/// Arrays and objects in one another that a payload may have, as many as a value of the state.
pub const PAYLOAD_DEPTH: usize = kodikon_core::model::json::MAX_DEPTH;
/// Members of objects that a payload may have in all.
pub const PAYLOAD_KEYS: usize = 1_024;
/// The least that a message may be given: the time that is left goes with it in whole milliseconds.
pub const TIMEOUT_LEAST: Duration = Duration::from_millis(1);
/// The most that a message may be given: what a critical one has unasked. Until then it holds its room here, its number among the
/// 1,024 that its destination remembers, and custody on the way; and whoever is not back by then is better told how things are by
/// node state than how they were by old messages.
pub const TIMEOUT_MOST: Duration = Duration::from_secs(30);

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The destination has it.
    Delivered {
        /// From the first attempt to its acknowledgement.
        rtt: Duration,
        /// The relays by which it came, then the destination, by name.
        path: Vec<String>,
        /// How many ways were tried.
        attempts: u8,
    },
    /// The destination did not acknowledge it in time; it may have it all the same.
    Expired {
        /// Why.
        reason: String,
        /// How many ways were tried.
        attempts: u8,
    },
    /// It was not tried.
    Unreachable {
        /// Why: nobody of that name, one that has failed or left, or more relays than `max_hops`.
        reason: String,
    },
}

impl Outcome {
    /// Whether the destination has it.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }

    /// The same as a row of the API; `n` says which of a series it is.
    #[must_use]
    pub fn row(&self, n: Option<u32>) -> OutcomeRow {
        let row = |outcome: &str, reason: Option<&String>, attempts: u8| OutcomeRow {
            n,
            outcome: outcome.to_owned(),
            reason: reason.cloned(),
            rtt_ms: None,
            path: Vec::new(),
            attempts,
        };
        match self {
            Self::Delivered { rtt, path, attempts } => OutcomeRow {
                rtt_ms: Some(rtt.as_secs_f64() * 1_000.0),
                path: path.clone(),
                ..row("delivered", None, *attempts)
            },
            Self::Expired { reason, attempts } => row("expired", Some(reason), *attempts),
            Self::Unreachable { reason } => row("unreachable", Some(reason), 0),
        }
    }
}

/// Why something was not even tried; nothing has left then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It is too long.
    #[error(
        "the payload has {bytes} bytes of JSON, a message takes at most {limit}: send a part, or where to fetch it"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It is too deep.
    #[error("the payload has more than {limit} arrays and objects in one another")]
    TooDeep {
        /// How deep it may be.
        limit: usize,
    },
    /// It has too many members.
    #[error("the payload has more than {limit} members of objects in all")]
    TooManyKeys {
        /// How many it may have.
        limit: usize,
    },
    /// The type is no name.
    #[error("a message type has 1 to {limit} bytes and no control characters")]
    Kind {
        /// How long it may be.
        limit: usize,
    },
    /// The type is what the mesh itself says.
    #[error("no message of an application is a {}: the mesh itself says that. Take a name of your own", .kind.name())]
    Reserved {
        /// Which.
        kind: MessageType,
    },
    /// The timeout is too short or too long.
    #[error("a timeout of {} s: a message may take {} to {} s", .given.as_secs_f64(), TIMEOUT_LEAST.as_secs_f64(), TIMEOUT_MOST.as_secs())]
    Timeout {
        /// What was asked for.
        given: Duration,
    },
    /// As many of its urgency and of less wait as may.
    #[error("{limit} messages of this urgency or less wait for what becomes of them: slow down and try again")]
    Busy {
        /// How many may wait.
        limit: usize,
    },
    /// As much of its urgency and of less waits as may.
    #[error("{limit} bytes of messages of this urgency or less wait for what becomes of them: slow down and try again")]
    Full {
        /// How many bytes may wait.
        limit: usize,
    },
    /// As many wait for its destination as may.
    #[error(
        "{limit} messages to that node wait for what becomes of them: it answers late or not at all; slow down and try again"
    )]
    BusyPeer {
        /// How many may wait.
        limit: usize,
    },
    /// As much waits for its destination as may.
    #[error(
        "{limit} bytes of messages to that node wait for what becomes of them: it answers late or not at all; slow down and try again"
    )]
    FullPeer {
        /// How many bytes may wait.
        limit: usize,
    },
    /// As many broadcasts of its urgency and of less wait for their turn to leave as may.
    #[error("{limit} broadcasts of this urgency or less wait to leave, and 20 a second do: slow down and try again")]
    Queued {
        /// How many may wait.
        limit: usize,
    },
    /// The node has been shut down.
    #[error("the node has stopped: start another with `Mesh::builder`")]
    Stopped,
}

/// A message that is sent when it is awaited: see [`Mesh::send`].
#[derive(Debug, Clone)]
#[must_use = "a message is sent when it is awaited"]
pub struct Letter {
    mesh: Mesh,
    to: String,
    payload: Value,
    priority: Priority,
    timeout: Option<Duration>,
    kind: String,
}

impl Mesh {
    /// Says something to one node, by its name, `name@hhhh` or whole identity; it is sent when this is awaited, and what comes back
    /// is what became of it. Whoever stops waiting does not take it back.
    ///
    /// The payload is any JSON of at most 64 KiB, 32 deep and with 1,024 members; its destination is told of it as a
    /// [`What::Message`](crate::api::What::Message), at most once.
    ///
    /// # Errors
    /// A [`SendError`] where it could not be tried at all. That it did not arrive is an [`Outcome`].
    #[doc(alias = "send_message")]
    #[doc(alias = "route_message")]
    #[doc(alias = "MessageRouter")]
    pub fn send(&self, name: impl Into<String>, payload: Value) -> Letter {
        let priority = Priority::default();
        Letter { mesh: self.clone(), to: name.into(), payload, priority, timeout: None, kind: String::new() }
    }
}

impl Letter {
    /// How urgent it is. Default: normal.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How long it may take, [`TIMEOUT_LEAST`] to [`TIMEOUT_MOST`]. Default by priority: 2 s low, 5 s normal, 10 s high, 30 s critical.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Its type: a name of the application's own, or that of a [`MessageType`](crate::MessageType) that is not the mesh's own (see
    /// [`Topic`](crate::Topic)). Default: the seed's `ROUTE_BROADCAST`.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Tells whether it breaks a limit, and sends nothing. What is refused for now alone, since too much waits, only sending tells.
    ///
    /// # Errors
    /// As [`Mesh::send`].
    pub fn check(&self) -> Result<(), SendError> {
        self.text().map(drop)
    }

    /// What it says as text.
    fn text(&self) -> Result<Vec<u8>, SendError> {
        if let Some(given) = self.timeout.filter(|given| !(TIMEOUT_LEAST..=TIMEOUT_MOST).contains(given)) {
            return Err(SendError::Timeout { given });
        }
        check(&self.payload, &self.kind)
    }

    async fn deliver(self) -> Result<Outcome, SendError> {
        let text = self.text()?;
        let Self { mesh, to: name, payload, priority, timeout, kind } = self;
        // While it waits it is its text alone: read, it takes up to thirty times that.
        drop(payload);
        let to = {
            // Not kept while it waits either: each view holds a whole roster.
            let view = mesh.0.board.read();
            let Some(to) = find(&view, &name) else {
                return Ok(Outcome::Unreachable { reason: unknown(&view, &name) });
            };
            to
        };
        let part = mesh.0.room.take(text.len() + kind.len(), priority, to)?;
        let order = SendOrder { ticket: Ticket(0), to, kind, payload: text, priority, timeout };
        let sent = mesh.ask(|answer| Order::Send { order, waiting: Waiting { part, answer } }).await;
        let outcome = sent.map_err(|_| SendError::Stopped)?;
        Ok(tell(outcome, &to, &mesh.0.board.read()))
    }
}

/// Who waits for what becomes of a message, and the room that it takes until then.
#[derive(Debug)]
pub(crate) struct Waiting {
    part: Part,
    answer: oneshot::Sender<CoreOutcome>,
}

impl Waiting {
    /// Tells what became of it; its room is free by then.
    pub(crate) fn settle(self, outcome: CoreOutcome) {
        drop(self.part);
        // An error means that nobody waits for the answer any more.
        drop(self.answer.send(outcome));
    }
}

impl IntoFuture for Letter {
    type Output = Result<Outcome, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.deliver())
    }
}

/// What a letter says; `None` for what no honest node would have sent.
pub(crate) fn said_by_letter(text: &[u8], kind: &str) -> Option<Value> {
    if text.len() > MAX_PAYLOAD {
        return None;
    }
    let payload = serde_json::from_slice(text).ok()?;
    is_kind(kind).and_then(|()| is_plain(&payload)).ok()?;
    Some(payload)
}

/// The text of a payload within limits.
pub(super) fn check(payload: &Value, kind: &str) -> Result<Vec<u8>, SendError> {
    is_kind(kind)?;
    text_of(payload, MAX_PAYLOAD)
}

fn is_kind(kind: &str) -> Result<(), SendError> {
    if let Some(kind) = reserved(kind) {
        return Err(SendError::Reserved { kind });
    }
    let is_printable = kind.len() <= MAX_KIND && !kind.chars().any(char::is_control);
    if is_printable { Ok(()) } else { Err(SendError::Kind { limit: MAX_KIND }) }
}

/// The text of a payload that is no deeper, no wider and no longer than it may be.
pub(super) fn text_of(payload: &Value, limit: usize) -> Result<Vec<u8>, SendError> {
    is_plain(payload)?;
    let text = serde_json::to_vec(payload).expect("a value has text, and memory takes it");
    let bytes = text.len();
    if bytes > limit { Err(SendError::TooLong { bytes, limit }) } else { Ok(text) }
}

/// Whether a payload is no deeper and no wider than it may be.
fn is_plain(payload: &Value) -> Result<(), SendError> {
    let mut keys = 0;
    if !fits(payload, PAYLOAD_DEPTH, &mut keys) {
        return Err(SendError::TooDeep { limit: PAYLOAD_DEPTH });
    }
    if keys > PAYLOAD_KEYS {
        return Err(SendError::TooManyKeys { limit: PAYLOAD_KEYS });
    }
    Ok(())
}

/// Whether a value is no deeper than this; counts the members of its objects.
pub(super) fn fits(value: &Value, depth: usize, keys: &mut usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| fits(item, depth - 1, keys)),
        Value::Object(members) => {
            *keys += members.len();
            depth > 0 && members.values().all(|member| fits(member, depth - 1, keys))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Who bears a name: those present first, since one that left may have had it too.
fn find(view: &View, name: &str) -> Option<NodeId> {
    if is_called(&view.name, &view.id, name) {
        return Some(view.id);
    }
    let called = || view.peers.iter().filter(|peer| is_called(&peer.name, &peer.id, name));
    called().find(|peer| peer.liveness.is_present()).or_else(|| called().next()).map(|peer| peer.id)
}

/// Who was probably meant: one who is present, or this node.
pub(super) fn nearest(view: &View, name: &str) -> Option<String> {
    let present = view.peers.iter().filter(|peer| peer.liveness.is_present()).map(|peer| peer.name.as_str());
    nearest_name(name, present.chain([view.name.as_str()])).map(str::to_owned)
}

fn unknown(view: &View, name: &str) -> String {
    let (near, name) = (nearest(view, name), shorten(name));
    match near {
        Some(near) => format!("no node is called `{name}`; did you mean `{near}`?"),
        None => format!("no node is called `{name}`; `kodikon peers` lists all"),
    }
}

fn tell(outcome: CoreOutcome, to: &NodeId, view: &View) -> Outcome {
    match outcome {
        CoreOutcome::Delivered { rtt, path, attempts } => {
            Outcome::Delivered { rtt, path: path.iter().map(|id| view.name_of(id)).collect(), attempts }
        }
        CoreOutcome::Expired { reason, attempts } => Outcome::Expired { reason: reason.to_owned(), attempts },
        CoreOutcome::Unreachable { needs_hops: Some(hops) } => {
            Outcome::Unreachable { reason: format!("the way has {hops} relays: raise mesh.max_hops") }
        }
        CoreOutcome::Unreachable { needs_hops: None } => Outcome::Unreachable { reason: absence(to, view) },
    }
}

/// Why nothing can be said to a node that bears the name.
fn absence(id: &NodeId, view: &View) -> String {
    let name = view.name_of(id);
    match view.peers.iter().find(|peer| peer.id == *id).map(|peer| peer.liveness) {
        Some(Liveness::Failed) => format!("`{name}` has failed"),
        Some(Liveness::Left) => format!("`{name}` has left"),
        Some(Liveness::Introduced | Liveness::Alive | Liveness::Suspect) => {
            format!("not enough is known of `{name}` yet: try again in a moment")
        }
        None => format!("`{name}` is not here any more"),
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::PeerView;
    use serde_json::json;

    use super::*;
    use crate::testing::peer_view;

    #[test]
    fn a_payload_is_refused_at_the_door_with_the_limit_that_it_breaks() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let wide = |keys: usize| Value::Object((0..keys).map(|n| (n.to_string(), json!(1))).collect());
        let long = |bytes: usize| Value::String("x".repeat(bytes - 2));
        let table = [
            (nested(PAYLOAD_DEPTH), None),
            (nested(PAYLOAD_DEPTH + 1), Some(SendError::TooDeep { limit: 32 })),
            (wide(1_024), None),
            (wide(1_025), Some(SendError::TooManyKeys { limit: 1_024 })),
            (long(65_536), None),
            (long(65_537), Some(SendError::TooLong { bytes: 65_537, limit: 65_536 })),
        ];
        for (payload, expected) in table {
            assert_eq!(check(&payload, "").err(), expected);
        }
        assert_eq!(check(&json!(1), "a\nb"), Err(SendError::Kind { limit: 64 }));
        assert_eq!(check(&json!(1), "ALERT"), Err(SendError::Reserved { kind: MessageType::Alert }));
        assert_eq!(said_by_letter(b"1", "ALERT"), None, "and whoever sends one is not believed");
        assert_eq!(said_by_letter(b"1", "ROUTE_BROADCAST"), Some(json!(1)));
        assert_eq!(check(&json!({"n": 1}), "door.opened"), Ok(br#"{"n":1}"#.to_vec()));
    }

    #[test]
    fn who_bears_the_name_and_cannot_be_told_anything_is_unreachable_with_the_reason() {
        let id = NodeId([7; 16]);
        for (liveness, expected) in [
            (Some(Liveness::Failed), "`cam` has failed"),
            (Some(Liveness::Left), "`cam` has left"),
            (Some(Liveness::Alive), "not enough is known of `cam` yet: try again in a moment"),
            (None, "`@0707` is not here any more"),
        ] {
            let peer = |liveness| PeerView { liveness, ..peer_view(id, "cam") };
            let view = View { peers: liveness.map(peer).into_iter().collect(), ..View::default() };
            let outcome = tell(CoreOutcome::Unreachable { needs_hops: None }, &id, &view);
            assert_eq!(outcome, Outcome::Unreachable { reason: expected.to_owned() }, "{liveness:?}");
        }
    }

    async fn alone() -> Mesh {
        let mesh = format!("send-{}", std::process::id());
        Mesh::builder("a").in_memory().mesh_name(&mesh).udp_port(49_000).interfaces(["lo"]).start().await.unwrap()
    }

    #[tokio::test]
    async fn a_timeout_lies_between_a_millisecond_and_what_a_critical_message_has() {
        let mesh = alone().await;
        assert_eq!(TIMEOUT_MOST, Priority::Critical.deadline());
        let refused = |given| Err(SendError::Timeout { given });
        for (timeout, expected) in [
            (Duration::ZERO, refused(Duration::ZERO)),
            (Duration::from_micros(999), refused(Duration::from_micros(999))),
            (TIMEOUT_LEAST, Ok(true)),
            (TIMEOUT_MOST, Ok(true)),
            (TIMEOUT_MOST + Duration::from_nanos(1), refused(TIMEOUT_MOST + Duration::from_nanos(1))),
            (Duration::MAX, refused(Duration::MAX)),
        ] {
            let letter = mesh.send("a", json!(1)).timeout(timeout);
            assert_eq!(letter.check(), expected.clone().map(|_| ()), "{timeout:?}");
            assert_eq!(letter.await.map(|outcome| outcome.is_delivered()), expected, "{timeout:?}");
        }
        let error = SendError::Timeout { given: Duration::from_secs(31) };
        assert_eq!(error.to_string(), "a timeout of 31 s: a message may take 0.001 to 30 s");
        mesh.shutdown().await;
    }

    #[tokio::test]
    async fn where_the_room_is_taken_a_message_is_refused_and_what_is_settled_holds_none() {
        let mesh = alone().await;
        let take = |bytes, n: u8| mesh.0.room.take(bytes, Priority::Normal, NodeId([n; 16])).unwrap();
        let limit = 12 << 20;
        let part = (take(limit / 2, 1), take(limit / 2 - 100, 2));
        assert_eq!(mesh.send("a", json!("x".repeat(100))).await, Err(SendError::Full { limit }));
        let urgent = mesh.send("a", json!("x".repeat(100))).priority(Priority::High);
        assert!(urgent.await.unwrap().is_delivered(), "what is more urgent has room of its own");
        for _ in 0..3 {
            assert!(mesh.send("a", json!("x".repeat(50))).await.unwrap().is_delivered());
            assert_eq!(mesh.stats().queues["messages"], 2, "the test's own parts are left");
        }
        drop(part);
        let parts: Vec<_> = (0..3_072).map(|n| take(0, u8::try_from(n % 100).unwrap())).collect();
        assert_eq!(mesh.send("a", json!(1)).await, Err(SendError::Busy { limit: 3_072 }));
        assert!(mesh.send("a", json!(1)).priority(Priority::Critical).await.unwrap().is_delivered());
        assert_eq!(
            mesh.send("nobody", json!(1)).await.map(|outcome| outcome.row(None).outcome).as_deref(),
            Ok("unreachable")
        );
        drop(parts);
        assert_eq!(mesh.stats().queues["message_bytes"], 0);
        mesh.shutdown().await;
        assert_eq!(mesh.send("a", json!(1)).await, Err(SendError::Stopped));
    }
}

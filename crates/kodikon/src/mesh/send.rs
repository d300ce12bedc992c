//! Decides how an application says something to one node: what it may say, and what it learns of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use kodikon_core::effect::SendOrder;
use kodikon_core::ground::config::{MAX_KIND, MAX_PAYLOAD};
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::letter::{Outcome as CoreOutcome, Priority, Ticket};
use serde_json::Value;

use super::{Mesh, View, is_called};
use crate::api::OutcomeRow;
use crate::driver::Order;

/// Arrays and objects in one another that a payload may have: the seed's form counts the message itself as one more.
pub const PAYLOAD_DEPTH: usize = 31;
/// Members of objects that a payload may have in all.
pub const PAYLOAD_KEYS: usize = 1_024;
/// Messages of one node that wait for what becomes of them; more are refused.
pub(crate) const SENDS_WAITING: usize = 4_096;

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
        /// Why: nobody of that name, or more relays than `max_hops`.
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
    /// As many wait as may.
    #[error("{limit} messages wait for what becomes of them: slow down and try again")]
    Busy {
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
    /// The payload is any JSON of at most 64 KiB, 31 deep and with 1,024 members; its destination is told of it as a
    /// [`What::Message`](crate::api::What::Message), at most once.
    ///
    /// # Errors
    /// A [`SendError`] where it could not be tried at all. That it did not arrive is an [`Outcome`].
    #[doc(alias = "route_message")]
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

    /// How long it may take. Default by priority: 2 s low, 5 s normal, 10 s high, 30 s critical.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A type of the application's own. Default: the seed's `ROUTE_BROADCAST`.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    async fn deliver(self) -> Result<Outcome, SendError> {
        let payload = check(&self.payload, &self.kind)?;
        let view = self.mesh.0.board.read();
        let Some(to) = find(&view, &self.to) else {
            return Ok(Outcome::Unreachable { reason: unknown(&view, &self.to) });
        };
        let order = SendOrder {
            ticket: Ticket(0),
            to,
            kind: self.kind,
            payload,
            priority: self.priority,
            timeout: self.timeout,
        };
        let sent = self.mesh.ask(|answer| Order::Send { order, answer }).await.map_err(|_| SendError::Stopped)?;
        let outcome = sent.ok_or(SendError::Busy { limit: SENDS_WAITING })?;
        Ok(tell(outcome, &self.mesh.0.board.read()))
    }
}

impl IntoFuture for Letter {
    type Output = Result<Outcome, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.deliver())
    }
}

/// The text of a payload within limits.
fn check(payload: &Value, kind: &str) -> Result<Vec<u8>, SendError> {
    if kind.len() > MAX_KIND || kind.chars().any(char::is_control) {
        return Err(SendError::Kind { limit: MAX_KIND });
    }
    text_of(payload, MAX_PAYLOAD)
}

/// The text of a payload that is no deeper, no wider and no longer than it may be.
pub(super) fn text_of(payload: &Value, limit: usize) -> Result<Vec<u8>, SendError> {
    let mut keys = 0;
    if !fits(payload, PAYLOAD_DEPTH, &mut keys) {
        return Err(SendError::TooDeep { limit: PAYLOAD_DEPTH });
    }
    if keys > PAYLOAD_KEYS {
        return Err(SendError::TooManyKeys { limit: PAYLOAD_KEYS });
    }
    let text = payload.to_string().into_bytes();
    let bytes = text.len();
    if bytes > limit { Err(SendError::TooLong { bytes, limit }) } else { Ok(text) }
}

/// Whether a value is no deeper than this; counts the members of its objects.
fn fits(value: &Value, depth: usize, keys: &mut usize) -> bool {
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

fn unknown(view: &View, name: &str) -> String {
    let names = view.peers.iter().filter(|peer| peer.liveness.is_present()).map(|peer| peer.name.as_str());
    match crate::settings::nearest(name, names) {
        Some(near) => format!("no node is called `{name}`; did you mean `{near}`?"),
        None => format!("no node is called `{name}`; `kodikon peers` lists all"),
    }
}

fn tell(outcome: CoreOutcome, view: &View) -> Outcome {
    match outcome {
        CoreOutcome::Delivered { rtt, path, attempts } => {
            Outcome::Delivered { rtt, path: path.iter().map(|id| view.name_of(id)).collect(), attempts }
        }
        CoreOutcome::Expired { reason, attempts } => Outcome::Expired { reason: reason.to_owned(), attempts },
        CoreOutcome::Unreachable { needs_hops: Some(hops) } => {
            Outcome::Unreachable { reason: format!("the way has {hops} relays: raise mesh.max_hops") }
        }
        CoreOutcome::Unreachable { needs_hops: None } => Outcome::Unreachable { reason: "no such node".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_is_refused_at_the_door_with_the_limit_that_it_breaks() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let wide = |keys: usize| Value::Object((0..keys).map(|n| (n.to_string(), json!(1))).collect());
        let long = |bytes: usize| Value::String("x".repeat(bytes - 2));
        let table = [
            (nested(PAYLOAD_DEPTH), None),
            (nested(PAYLOAD_DEPTH + 1), Some(SendError::TooDeep { limit: 31 })),
            (wide(1_024), None),
            (wide(1_025), Some(SendError::TooManyKeys { limit: 1_024 })),
            (long(65_536), None),
            (long(65_537), Some(SendError::TooLong { bytes: 65_537, limit: 65_536 })),
        ];
        for (payload, expected) in table {
            assert_eq!(check(&payload, "").err(), expected);
        }
        assert_eq!(check(&json!(1), "a\nb"), Err(SendError::Kind { limit: 64 }));
        assert_eq!(check(&json!({"n": 1}), "door.opened"), Ok(br#"{"n":1}"#.to_vec()));
    }
}

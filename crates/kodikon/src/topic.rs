//! Decides which events a handler hears: those of a kind, or the messages of a type.

use kodikon_core::wire::json::MessageType;

use crate::api::What;
use crate::events::EventKind;

/// What a handler is set on: an [`EventKind`], a [`MessageType`], or the name of a message type of the application's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic(Wanted);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Events(EventKind),
    Messages(String),
}

impl Topic {
    /// Whether an event is one of these.
    #[must_use]
    pub fn covers(&self, what: &What) -> bool {
        match &self.0 {
            Wanted::Events(kind) => kind.covers(what),
            Wanted::Messages(wanted) => matches!(what, What::Message { kind, .. } if kind == wanted),
        }
    }
}

impl From<EventKind> for Topic {
    fn from(kind: EventKind) -> Self {
        Self(Wanted::Events(kind))
    }
}

impl From<MessageType> for Topic {
    fn from(kind: MessageType) -> Self {
        kind.name().into()
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(Wanted::Messages(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_topic_is_a_kind_of_event_or_a_type_of_message() {
        let message = |kind: &str| What::Message {
            node_id: "cam".into(),
            id: "c".repeat(32),
            source: "cam".into(),
            kind: kind.into(),
            payload: Value::Null,
            priority: "normal".into(),
            path: Vec::new(),
        };
        let (usual, door) = (message("ROUTE_BROADCAST"), message("door"));
        let alone = What::Isolated { isolated: true, reason: String::new() };
        let table: &[(Topic, [bool; 3])] = &[
            (EventKind::Any.into(), [true, true, true]),
            (EventKind::Message.into(), [true, true, false]),
            (EventKind::Isolated.into(), [false, false, true]),
            (MessageType::RouteBroadcast.into(), [true, false, false]),
            ("door".into(), [false, true, false]),
        ];
        for (topic, expected) in table {
            assert_eq!([&usual, &door, &alone].map(|what| topic.covers(what)), *expected, "{topic:?}");
        }
    }
}

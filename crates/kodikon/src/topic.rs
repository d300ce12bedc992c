//! Decides which events a handler hears: those of a kind, or the messages of a type.

use kodikon_core::wire::json::MessageType;

use crate::api::What;
use crate::events::EventKind;

/// What a handler is set on: an [`EventKind`], a [`MessageType`], or the name of a message type of the application's own.
///
/// Of the seed's types, `PEER_DISCOVERY` and `NODE_STATE_SYNC` are what the mesh itself says: they stand for the events
/// [`EventKind::PeerUp`] and [`EventKind::State`], and no message that bears such a name is taken for one. Each other type stands for the
/// messages that applications send under its name ([`Letter::kind`](crate::Letter::kind); `ROUTE_BROADCAST` without one): heartbeats and
/// acknowledgements are counted in [`Mesh::stats`](crate::Mesh::stats) and are no events.
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
        match kind {
            MessageType::PeerDiscovery => EventKind::PeerUp.into(),
            MessageType::NodeStateSync => EventKind::State.into(),
            MessageType::Heartbeat
            | MessageType::SearchQuery
            | MessageType::Alert
            | MessageType::HashRegistry
            | MessageType::RouteBroadcast
            | MessageType::Ack
            | MessageType::TransferEvent
            | MessageType::OwnershipVote
            | MessageType::LocationSignature
            | MessageType::FaceSearchRequest
            | MessageType::FaceSearchResult => kind.name().into(),
        }
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(Wanted::Messages(name))
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
            sent_to: None,
        };
        let (usual, door, feigned) = (message("ROUTE_BROADCAST"), message("door"), message("NODE_STATE_SYNC"));
        let (node_id, id) = ("cam".to_owned(), "c".repeat(32));
        let up = What::PeerUp {
            node_id: node_id.clone(),
            id: id.clone(),
            address: None,
            version: "0.1.0".into(),
            renamed_from: None,
        };
        let state = What::State { node_id, id, source: "cam".into(), version: 1, state: serde_json::Map::new() };
        let alone = What::Isolated { isolated: true, reason: String::new() };
        let events = [('u', &usual), ('d', &door), ('f', &feigned), ('U', &up), ('S', &state), ('A', &alone)];
        // (topic, which of the events it covers)
        let table: [(Topic, &str); 8] = [
            (EventKind::Any.into(), "udfUSA"),
            (EventKind::Message.into(), "udf"),
            (EventKind::Isolated.into(), "A"),
            (MessageType::RouteBroadcast.into(), "u"),
            ("door".into(), "d"),
            ("door".to_owned().into(), "d"),
            (MessageType::NodeStateSync.into(), "S"),
            (MessageType::PeerDiscovery.into(), "U"),
        ];
        for (topic, expected) in table {
            let covered: String =
                events.iter().filter(|(_, what)| topic.covers(what)).map(|(letter, _)| letter).collect();
            assert_eq!(covered, expected, "{topic:?}");
        }
    }
}

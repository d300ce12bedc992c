//! Decides which events a handler hears: those of a kind, or the messages of a type; and which types are the mesh's own.

use kodikon_core::wire::json::MessageType;

use crate::api::What;
use crate::events::EventKind;

/// What a handler is set on: an [`EventKind`], a [`MessageType`], or the name of a message type of the application's own.
///
/// Of the seed's types six are what the mesh itself says. No application sends a message that bears their names
/// ([`SendError::Reserved`](crate::SendError::Reserved)), and one that comes all the same is dropped.
///
/// | type | a handler for it hears |
/// |---|---|
/// | `HEARTBEAT` | what heartbeats tell: [`EventKind::PeerUp`], [`EventKind::PeerSuspect`], [`EventKind::PeerFailed`], [`EventKind::PeerLeft`]; they themselves are counted (`heartbeats_sent`) |
/// | `PEER_DISCOVERY` | [`EventKind::PeerUp`] |
/// | `NODE_STATE_SYNC` | [`EventKind::State`] |
/// | `ALERT` | [`EventKind::Alert`] |
/// | `HASH_REGISTRY` | [`EventKind::Record`] |
/// | `ACK` | [`EventKind::AlertAck`]; that a message arrived is the [`Outcome`](crate::Outcome) of sending it, that an alert was shown a [`Receipt`](crate::Receipt) |
/// | `ROUTE_BROADCAST` | messages to one or to all for which no type was named |
/// | `SEARCH_QUERY`, `TRANSFER_EVENT`, `OWNERSHIP_VOTE`, `LOCATION_SIGNATURE`, `FACE_SEARCH_REQUEST`, `FACE_SEARCH_RESULT` | messages that applications send under that name ([`Letter::kind`](crate::Letter::kind)) |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic(Wanted);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Events(&'static [EventKind]),
    Event(EventKind),
    Messages(String),
}

impl Topic {
    /// Whether an event is one of these.
    #[must_use]
    pub fn covers(&self, what: &What) -> bool {
        match &self.0 {
            Wanted::Events(kinds) => kinds.iter().any(|kind| kind.covers(what)),
            Wanted::Event(kind) => kind.covers(what),
            Wanted::Messages(wanted) => matches!(what, What::Message { kind, .. } if kind == wanted),
        }
    }
}

/// The type of the mesh's own that bears this name: no application's message may.
pub(crate) fn reserved(name: &str) -> Option<MessageType> {
    seeds(name).filter(|kind| !matches!(Topic::from(*kind).0, Wanted::Messages(_)))
}

/// The seed's type of this name.
fn seeds(name: &str) -> Option<MessageType> {
    MessageType::ALL.into_iter().find(|kind| kind.name() == name)
}

impl From<EventKind> for Topic {
    fn from(kind: EventKind) -> Self {
        Self(Wanted::Event(kind))
    }
}

impl From<MessageType> for Topic {
    fn from(kind: MessageType) -> Self {
        match kind {
            MessageType::PeerDiscovery => EventKind::PeerUp.into(),
            MessageType::NodeStateSync => EventKind::State.into(),
            MessageType::Alert => EventKind::Alert.into(),
            MessageType::HashRegistry => EventKind::Record.into(),
            MessageType::Heartbeat => Self(Wanted::Events(&[
                EventKind::PeerUp,
                EventKind::PeerSuspect,
                EventKind::PeerFailed,
                EventKind::PeerLeft,
            ])),
            MessageType::Ack => EventKind::AlertAck.into(),
            MessageType::SearchQuery
            | MessageType::RouteBroadcast
            | MessageType::TransferEvent
            | MessageType::OwnershipVote
            | MessageType::LocationSignature
            | MessageType::FaceSearchRequest
            | MessageType::FaceSearchResult => Self(Wanted::Messages(kind.name().to_owned())),
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
        match seeds(&name) {
            Some(kind) => kind.into(),
            None => Self(Wanted::Messages(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ID: &str = "cccccccccccccccccccccccccccccccc";

    fn message(kind: &str) -> What {
        What::Message {
            node_id: "cam".into(),
            id: ID.into(),
            source: "cam".into(),
            kind: kind.into(),
            payload: Value::Null,
            priority: "normal".into(),
            path: Vec::new(),
            sent_to: None,
        }
    }

    fn alert() -> What {
        What::Alert {
            node_id: "cam".into(),
            id: ID.into(),
            source: "cam".into(),
            alert_id: "00000000000000ff".into(),
            priority: "normal".into(),
            alert: Value::Null,
            timestamp: 0.0,
            late: false,
            repeated: false,
        }
    }

    fn alert_ack() -> What {
        What::AlertAck {
            node_id: "cam".into(),
            id: ID.into(),
            source: "cam".into(),
            alert_id: "00000000000000ff".into(),
            by: "guard".into(),
            timestamp: 0.0,
        }
    }

    fn record() -> What {
        What::Record { node_id: "cam".into(), id: ID.into(), source: "cam".into(), record: Box::default() }
    }

    #[test]
    fn each_type_of_the_seed_stands_for_events_or_for_messages_of_its_name() {
        let (node_id, id) = ("cam".to_owned(), ID.to_owned());
        let up = What::PeerUp {
            node_id: node_id.clone(),
            id: id.clone(),
            address: None,
            version: "0.1.0".into(),
            renamed_from: None,
        };
        let state = What::State { node_id, id, source: "cam".into(), version: 1, state: serde_json::Map::new() };
        let (message, alert, record) = (message, alert(), record());
        let left = What::PeerLeft { node_id: "cam".into(), id: ID.into(), reason: "goodbye".into() };
        let seen = alert_ack();
        // (type, the events that a handler for it hears, whether the name is the mesh's own)
        let table = [
            (MessageType::Heartbeat, &[&up, &left][..], true),
            (MessageType::PeerDiscovery, &[&up], true),
            (MessageType::NodeStateSync, &[&state], true),
            (MessageType::SearchQuery, &[], false),
            (MessageType::Alert, &[&alert], true),
            (MessageType::HashRegistry, &[&record], true),
            (MessageType::RouteBroadcast, &[], false),
            (MessageType::Ack, &[&seen], true),
            (MessageType::TransferEvent, &[], false),
            (MessageType::OwnershipVote, &[], false),
            (MessageType::LocationSignature, &[], false),
            (MessageType::FaceSearchRequest, &[], false),
            (MessageType::FaceSearchResult, &[], false),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), MessageType::ALL, "one row for each");
        for (kind, events, is_own) in table {
            let topic = Topic::from(kind);
            assert_eq!(topic, kind.name().into(), "{kind:?}: the name says the same");
            for other in [&up, &left, &state, &alert, &seen, &record] {
                assert_eq!(topic.covers(other), events.contains(&other), "{kind:?} and {}", other.name());
            }
            for named in MessageType::ALL {
                let expected = named == kind && !is_own;
                assert_eq!(topic.covers(&message(named.name())), expected, "{kind:?} and a message of type {named:?}");
            }
            assert_eq!(reserved(kind.name()), is_own.then_some(kind));
        }
    }

    #[test]
    fn a_topic_is_a_kind_of_event_or_a_type_of_message_of_ones_own() {
        let (usual, door) = (message("ROUTE_BROADCAST"), message("door"));
        let alone = What::Isolated { isolated: true, reason: String::new() };
        let events = [('u', &usual), ('d', &door), ('a', &alert()), ('A', &alone)];
        // (topic, which of the events it covers)
        let table: [(Topic, &str); 6] = [
            (EventKind::Any.into(), "udaA"),
            (EventKind::Message.into(), "ud"),
            (EventKind::Isolated.into(), "A"),
            ("door".into(), "d"),
            ("door".to_owned().into(), "d"),
            ("alert".into(), ""),
        ];
        for (topic, expected) in table {
            let covered: String =
                events.iter().filter(|(_, what)| topic.covers(what)).map(|(letter, _)| letter).collect();
            assert_eq!(covered, expected, "{topic:?}");
        }
        assert_eq!(reserved("door"), None);
    }
}

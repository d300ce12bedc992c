//! Decides which number stands for which kind of message: the seed's thirteen, and 0 for all that has a name instead.

use std::fmt;

/// A kind of message of the original system, by its number there. The list is closed: what is new is [`MessageKind::Custom`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// A node lives, and this is its state.
    #[doc(alias = "HEARTBEAT")]
    Heartbeat = 1,
    /// A node says where it can be reached.
    #[doc(alias = "PEER_DISCOVERY")]
    PeerDiscovery = 2,
    /// A node's state with its version.
    #[doc(alias = "NODE_STATE_SYNC")]
    NodeStateSync = 3,
    /// "Who has seen this?"
    #[doc(alias = "SEARCH_QUERY")]
    SearchQuery = 4,
    /// An alert with its priority.
    #[doc(alias = "ALERT")]
    Alert = 5,
    /// Entries of the registry, a registration, or an answer to a query: the original used one number for all three.
    #[doc(alias = "HASH_REGISTRY")]
    HashRegistry = 6,
    /// A message to one node or all, `{data, destination, priority}`.
    #[doc(alias = "ROUTE_BROADCAST")]
    RouteBroadcast = 7,
    /// A message arrived, `{ack_seq}`.
    #[doc(alias = "ACK")]
    Ack = 8,
    /// A bag changed hands.
    #[doc(alias = "TRANSFER_EVENT")]
    TransferEvent = 9,
    /// A camera's opinion on whose a bag is.
    #[doc(alias = "OWNERSHIP_VOTE")]
    OwnershipVote = 10,
    /// Where a camera stands.
    #[doc(alias = "LOCATION_SIGNATURE")]
    LocationSignature = 11,
    /// A search by the embedding of a face.
    #[doc(alias = "FACE_SEARCH_REQUEST")]
    FaceSearchRequest = 12,
    /// What a node found for such a search.
    #[doc(alias = "FACE_SEARCH_RESULT")]
    FaceSearchResult = 13,
}

impl MessageType {
    /// All of them, by number.
    pub const ALL: [Self; 13] = [
        Self::Heartbeat,
        Self::PeerDiscovery,
        Self::NodeStateSync,
        Self::SearchQuery,
        Self::Alert,
        Self::HashRegistry,
        Self::RouteBroadcast,
        Self::Ack,
        Self::TransferEvent,
        Self::OwnershipVote,
        Self::LocationSignature,
        Self::FaceSearchRequest,
        Self::FaceSearchResult,
    ];

    /// The type with this number, if the seed has one.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u64::from(kind.number()) == number)
    }

    /// Its number in the field `type`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the seed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "HEARTBEAT",
            Self::PeerDiscovery => "PEER_DISCOVERY",
            Self::NodeStateSync => "NODE_STATE_SYNC",
            Self::SearchQuery => "SEARCH_QUERY",
            Self::Alert => "ALERT",
            Self::HashRegistry => "HASH_REGISTRY",
            Self::RouteBroadcast => "ROUTE_BROADCAST",
            Self::Ack => "ACK",
            Self::TransferEvent => "TRANSFER_EVENT",
            Self::OwnershipVote => "OWNERSHIP_VOTE",
            Self::LocationSignature => "LOCATION_SIGNATURE",
            Self::FaceSearchRequest => "FACE_SEARCH_REQUEST",
            Self::FaceSearchResult => "FACE_SEARCH_RESULT",
        }
    }
}

/// What a message is: one of the seed's types, or something with a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// Numbered by the seed.
    Seed(MessageType),
    /// Type 0: named by the application, or an inner message of this mesh. The name is not empty.
    Custom(String),
}

impl MessageKind {
    /// The number that says "look at `kind`".
    pub const CUSTOM_NUMBER: u8 = 0;

    /// The field `type`.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Seed(kind) => kind.number(),
            Self::Custom(_) => Self::CUSTOM_NUMBER,
        }
    }

    /// The field `kind`, which only a custom message has.
    #[must_use]
    pub fn custom_name(&self) -> Option<&str> {
        match self {
            Self::Seed(_) => None,
            Self::Custom(name) => Some(name),
        }
    }
}

impl From<MessageType> for MessageKind {
    fn from(kind: MessageType) -> Self {
        Self::Seed(kind)
    }
}

/// The name people know it by.
impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(kind) => f.write_str(kind.name()),
            Self::Custom(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirteen_types_are_numbered_from_one_without_a_gap() {
        for (index, kind) in MessageType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.number()), index + 1, "{}", kind.name());
            assert_eq!(MessageType::from_number(index as u64 + 1), Some(kind));
        }
        // 257 would be HEARTBEAT if only its low byte were looked at.
        for stranger in [0, 14, 256, 257, u64::MAX] {
            assert_eq!(MessageType::from_number(stranger), None, "{stranger}");
        }
    }
}

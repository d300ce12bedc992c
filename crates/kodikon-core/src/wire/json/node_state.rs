//! Decides how a node's state looks inside a HEARTBEAT or NODE_STATE_SYNC.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{JsonFault, JsonMessage, JsonReject, MessageKind, MessageType};

/// The payload `{node_id, state, version, timestamp}` of a HEARTBEAT or NODE_STATE_SYNC.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatePayload {
    /// The name of the node whose state it is: always the message's own source.
    pub node_id: String,
    /// Its keys and their values.
    pub state: Map<String, Value>,
    /// Grows with each change.
    pub version: u64,
    /// When the node said so, in seconds since 1970 by its own wall clock; finite.
    pub timestamp: f64,
}

/// Reads the state out of a message. Fields beside the four are left where they are: the payload may be any JSON.
impl TryFrom<&JsonMessage> for NodeStatePayload {
    type Error = JsonReject;

    fn try_from(message: &JsonMessage) -> Result<Self, JsonReject> {
        match &message.kind {
            MessageKind::Seed(MessageType::Heartbeat | MessageType::NodeStateSync) => {}
            MessageKind::Seed(_) | MessageKind::Custom(_) => {
                return Err(JsonReject::of_field(JsonFault::OtherKind, "payload"));
            }
        }
        let mut fields = Fields::new(message.payload.clone(), "payload.")?;
        let node_id = fields.take_name("node_id")?;
        // In the original a peer's state overwrote one's own; here a node is the only writer of what it says of itself.
        if node_id != message.source {
            return Err(fields.reject("node_id", JsonFault::ForeignState));
        }
        Ok(Self {
            node_id,
            state: fields.take_object("state")?,
            version: fields.take_u64("version")?,
            timestamp: fields.take_f64("timestamp")?,
        })
    }
}

/// The payload as the original writes it.
impl From<NodeStatePayload> for Value {
    fn from(payload: NodeStatePayload) -> Self {
        let mut fields = Map::new();
        fields.insert("node_id".to_owned(), payload.node_id.into());
        fields.insert("state".to_owned(), payload.state.into());
        fields.insert("version".to_owned(), payload.version.into());
        fields.insert("timestamp".to_owned(), payload.timestamp.into());
        Self::Object(fields)
    }
}

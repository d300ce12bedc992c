//! Decides which JSON is a message of the mesh, in the form people read and the Python original speaks.
//!
//! ```json
//! {"type": 3, "source": "node_001", "timestamp": 1795414786.0033958, "seq": 1,
//!  "payload": {"node_id": "node_001", "state": {}, "version": 0, "timestamp": 1795414786.0033946}, "path": []}
//! ```
//!
//! The original was lax: it wrote `NaN`, and read a message without a source as a heartbeat from "unknown". Here the six fields are
//! all required, each has its one type, and whatever else stands beside them is refused: it could only be dropped, and a message
//! must come back from a round trip as the JSON value it was. The payload may be any JSON within the limits below.
//!
//! What the original has no number for, our own inner messages and those an application names itself, has type 0 and a `kind`:
//! `{"type": 0, "kind": "door_opened", …}`. Only a caller of the API may say so ([`Origin`]).

use serde::{Serialize, Serializer};
use serde_json::Value;

use self::fields::Fields;
pub use self::kind::{MessageKind, MessageType};
pub use self::node_state::NodeStatePayload;
pub use self::reject::{JsonFault, JsonReject, Position};

mod fields;
mod kind;
mod node_state;
mod reader;
mod reject;

/// The longest text that is read as one message: 64 KiB, what the fragments of one message carry (`docs/wire-format.md`).
pub const MAX_BYTES: usize = 64 * 1024;

/// How many arrays and objects may lie in one another: those of a payload, and the message's own object.
pub const MAX_DEPTH: usize = 1 + crate::model::json::MAX_DEPTH;

/// How many keys all objects of one message may have together, the message's own six counted.
pub const MAX_KEYS: usize = 1024;

/// Who handed us the text, and so what it may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An authenticated caller, or text this codec wrote itself: any message.
    Api,
    /// A socket that speaks to nodes of the Python original: the seed's numbered types and nothing else. A custom type from there
    /// would let an unsealed datagram pose as one of our inner messages.
    Legacy,
}

/// One message in the seed's form.
///
/// A message that [`parse`](Self::parse) returned comes back from [`to_json`](Self::to_json) as the same JSON value, its floats
/// equal to the bit; the order of keys inside the payload and the spelling of numbers (`1e2`, `100.0`) may differ.
#[doc(alias = "MeshMessage")]
#[derive(Clone, Debug, PartialEq)]
pub struct JsonMessage {
    /// What kind of message it is: the fields `type` and, for type 0, `kind`.
    pub kind: MessageKind,
    /// The name of the node that made it, never empty.
    pub source: String,
    /// When it was made, in seconds since 1970 by the maker's wall clock. For people: nothing is decided by it. Finite.
    pub timestamp: f64,
    /// The maker's number for it.
    pub seq: u64,
    /// What it says: any JSON.
    pub payload: Value,
    /// The names of the nodes that passed it on, first relay first.
    pub path: Vec<String>,
}

impl JsonMessage {
    /// Reads one message, and nothing but one message, from UTF-8 text.
    ///
    /// # Errors
    /// [`JsonReject`] names the fault, the field, and the position where the text itself is at fault.
    #[doc(alias = "deserialize")]
    pub fn parse(bytes: &[u8], origin: Origin) -> Result<Self, JsonReject> {
        if bytes.len() > MAX_BYTES {
            return Err(JsonReject::whole(JsonFault::TooLong(bytes.len())));
        }
        let mut fields = Fields::new(reader::read(bytes)?, "")?;
        let message = Self {
            kind: kind_of(&mut fields, origin)?,
            source: fields.take_name("source")?,
            timestamp: fields.take_f64("timestamp")?,
            seq: fields.take_u64("seq")?,
            payload: fields.take("payload")?,
            path: fields.take_names("path")?,
        };
        fields.finish()?;
        Ok(message)
    }

    /// The message as one line of JSON, the seed's fields in the seed's order.
    ///
    /// It can be longer than the text it was read from (`1e5` is written as `100000.0`), and so longer than `parse` takes.
    ///
    /// A `timestamp` that is not finite, which only a message built by hand can have, is written as `null` and refused by `parse`.
    ///
    /// # Panics
    /// Never: every key is a string, and memory does not fail to take what is written to it.
    #[doc(alias = "serialize")]
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("every key is a string and a String takes all that is written to it")
    }
}

/// As [`JsonMessage::to_json`] writes it, so that a message can stand inside a larger answer.
impl Serialize for JsonMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            number: self.kind.number(),
            kind: self.kind.custom_name(),
            source: &self.source,
            timestamp: self.timestamp,
            seq: self.seq,
            payload: &self.payload,
            path: &self.path,
        }
        .serialize(serializer)
    }
}

/// The fields in the order in which the original writes them.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    number: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    source: &'a str,
    timestamp: f64,
    seq: u64,
    payload: &'a Value,
    path: &'a [String],
}

/// Takes `type`, and `kind` where the type is 0.
fn kind_of(fields: &mut Fields, origin: Origin) -> Result<MessageKind, JsonReject> {
    let number = fields.take_u64("type")?;
    if number != u64::from(MessageKind::CUSTOM_NUMBER) {
        return MessageType::from_number(number)
            .map(MessageKind::Seed)
            .ok_or_else(|| fields.reject("type", JsonFault::UnknownType(number)));
    }
    match origin {
        Origin::Api => fields.take_name("kind").map(MessageKind::Custom),
        Origin::Legacy => Err(fields.reject("type", JsonFault::CustomFromLegacy)),
    }
}

#[cfg(test)]
mod tests;

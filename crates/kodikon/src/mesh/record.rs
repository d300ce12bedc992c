//! Decides what an application may record, and says of what it may not which value breaks which limit.

use std::time::Duration;

use kodikon_core::ground::id::{Epoch, NodeId, Seq};
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{
    Confidence, DEFAULT_TTL, DTYPE_F16, DTYPE_F32, DTYPE_I8, Embedding, MAX_DATA_TYPE, MAX_HASH, MAX_METADATA,
    MAX_MODEL, MAX_OWNERSHIP, MAX_TTL, NewRecord,
};
use kodikon_scan::{Dtype, Space, ValueError};
use serde_json::{Map, Value, json};

use super::send::{PAYLOAD_DEPTH, fits};
use crate::api::{EmbeddingRow, RecordDoc};

/// The least for which a record lasts: it is told in whole milliseconds.
pub const RECORD_TTL_LEAST: Duration = Duration::from_millis(1);
/// The most: a season's worth of sightings.
pub const RECORD_TTL_MOST: Duration = MAX_TTL;
/// Seconds since 1970 that a sighting may bear at most: the year 9999, as RFC 3339 has it.
const SEEN_MOST: f64 = 253_402_300_799.0;
/// The fields of a record that tell of ownership, by the names that they have in its row ([`RecordRow`](crate::api::RecordRow)).
const OWNERSHIP: [&str; 5] =
    ["ownership_history", "transfer_token", "last_update", "source_node_id", "location_signature"];

/// Why a record was not added, found or removed. Nothing was changed, but where a delete of very many says so.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A text that is too long, or missing.
    #[error("{field} has {bytes} bytes: {least} to {most} are taken")]
    Text {
        /// Which field.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it must be.
        least: usize,
        /// How long it may be.
        most: usize,
    },
    /// A text with a control character, as the end of a line.
    #[error("{field} has the control character U+{:04X} at byte {at}: none is taken", u32::from(*found))]
    Control {
        /// Which field.
        field: &'static str,
        /// Which character.
        found: char,
        /// Where it stands, counted from 0.
        at: usize,
    },
    /// The embedding's numbers, or how many there are.
    #[error("embedding: {0}")]
    Embedding(#[from] ValueError),
    /// There are not as many numbers as the record says.
    #[error("embedding: {given} numbers where dims says {said}")]
    Dims {
        /// How many numbers there are.
        given: usize,
        /// How many there should be.
        said: usize,
    },
    /// No way to store numbers is called so.
    #[error("dtype `{given}` is none: f32, f16 or i8")]
    Dtype {
        /// What was given, shortened.
        given: String,
    },
    /// An embedding without its numbers.
    #[error("embedding: its numbers are missing")]
    NoNumbers,
    /// A number that no field of that name has.
    #[error("{field} is {given}: {least} to {most} is taken")]
    Number {
        /// Which field.
        field: &'static str,
        /// What was given.
        given: f64,
        /// The least that is taken.
        least: f64,
        /// The most that is taken.
        most: f64,
    },
    /// The metadata is no object.
    #[error("metadata is {found}: a JSON object is taken")]
    NotAnObject {
        /// What was given.
        found: &'static str,
    },
    /// Metadata, or what tells of ownership, is too long.
    #[error("{field}: {bytes} bytes of JSON; at most {most} are taken")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// Too many arrays and objects in one another.
    #[error("{field} is deeper than {most} arrays and objects in one another")]
    TooDeep {
        /// Which.
        field: &'static str,
        /// How deep it may be.
        most: usize,
    },
    /// The disk is full or failing.
    #[error("the disk does not take it: nothing was kept; free some room, `kodikon doctor` says which disk")]
    NotKept,
    /// The node does not take it now.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// What was given is no record at all.
    #[error("it is no record: {why}")]
    Malformed {
        /// Why.
        why: String,
    },
    /// What names no sighting, or no place in a list of them.
    #[error("{field} is `{given}`, which no answer of a node has said")]
    Name {
        /// Which field.
        field: &'static str,
        /// What was given, shortened.
        given: String,
    },
    /// Nothing that is meant is held here: what is replaced, or deleted without `all`, is what this node added itself.
    #[error("no sighting of `{hash}` is here, or none that this node added")]
    Unknown {
        /// Of what, shortened.
        hash: String,
    },
    /// The node has been shut down.
    #[error("the node has stopped: start another with `Mesh::builder`")]
    Stopped,
}

/// A sighting that is about to be recorded: see [`Mesh::add`](crate::Mesh::add).
///
/// ```
/// use kodikon::{Dtype, Record};
/// use serde_json::json;
///
/// let record = Record::new("8f3a")
///     .data_type("person")
///     .embedding([0.1, 0.9, -0.3], "mobilenet_v2")
///     .dtype(Dtype::F16)
///     .metadata(json!({"camera": "gate", "box": [12, 40, 80, 200]}))
///     .confidence(0.93);
/// assert!(record.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a record is added by `Mesh::add`"]
pub struct Record {
    hash_value: String,
    data_type: String,
    embedding: Option<Numbers>,
    metadata: Value,
    confidence: f64,
    ttl_s: f64,
    local: bool,
    seen_s: Option<f64>,
    ownership: Map<String, Value>,
    replaces: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Numbers {
    model: String,
    dtype: Dtype,
    numbers: Vec<f32>,
}

impl Record {
    /// A sighting of what bears this hash: 1 to 256 bytes of text.
    pub fn new(hash_value: impl Into<String>) -> Self {
        Self {
            hash_value: hash_value.into(),
            data_type: String::new(),
            embedding: None,
            metadata: Value::Object(Map::new()),
            confidence: 1.0,
            ttl_s: DEFAULT_TTL.as_secs_f64(),
            local: false,
            seen_s: None,
            ownership: Map::new(),
            replaces: None,
        }
    }

    /// The two sightings of somebody who registers with a bag, under one hash: what the original called a `RegistrationRecord`.
    /// The `shared` members (as `color_histogram`) are in the metadata of both.
    #[doc(alias = "RegistrationRecord")]
    pub fn registration(hash_value: &str, person: Portrait, bag: Portrait, shared: &Map<String, Value>) -> [Self; 2] {
        let one = |data_type: &str, portrait: Portrait| {
            let mut metadata = shared.clone();
            metadata.insert("image_path".to_owned(), json!(portrait.image_path));
            metadata.insert("bbox".to_owned(), json!(portrait.bbox));
            let record = Self::new(hash_value).data_type(data_type).metadata(Value::Object(metadata));
            record.embedding(portrait.embedding, portrait.model)
        };
        [one("person", person), one("bag", bag)]
    }

    /// What kind of thing it is: at most 64 bytes. Default: none.
    pub fn data_type(mut self, data_type: impl Into<String>) -> Self {
        self.data_type = data_type.into();
        self
    }

    /// Its embedding, and the model that made it (at most 64 bytes): 1 to 4,096 finite numbers, not all 0.
    pub fn embedding(mut self, numbers: impl Into<Vec<f32>>, model: impl Into<String>) -> Self {
        let dtype = self.embedding.as_ref().map_or(Dtype::F16, |embedding| embedding.dtype);
        self.embedding = Some(Numbers { model: model.into(), dtype, numbers: numbers.into() });
        self
    }

    /// How the numbers of its embedding are stored, on all nodes. Default: `f16`. Without an embedding it says nothing.
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        if let Some(embedding) = &mut self.embedding {
            embedding.dtype = dtype;
        }
        self
    }

    /// What else is known: a JSON object of at most 4 KiB, 32 deep.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = metadata;
        self
    }

    /// How sure it is: 0 to 1. Default: 1.
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.confidence = confidence;
        self
    }

    /// How long it lasts. Default: 7 days; at most 90.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_s = ttl.as_secs_f64();
        self
    }

    /// Keeps it on this node: no other learns of it.
    pub fn local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// When it was seen, in seconds since 1970. Default: now.
    pub fn seen(mut self, seconds: f64) -> Self {
        self.seen_s = Some(seconds);
        self
    }

    /// Takes the place of an earlier sighting of this node's own, by its `id`: whoever has that one has this one instead.
    pub fn replacing(mut self, id: impl Into<String>) -> Self {
        self.replaces = Some(id.into());
        self
    }

    /// Who owned it, in turn. With the other four fields of ownership at most 4 KiB.
    pub fn ownership_history(self, history: Value) -> Self {
        self.owned("ownership_history", history)
    }

    /// What proves the last transfer.
    pub fn transfer_token(self, token: Value) -> Self {
        self.owned("transfer_token", token)
    }

    /// When its ownership last changed.
    pub fn last_update(self, moment: Value) -> Self {
        self.owned("last_update", moment)
    }

    /// The node from which it came to its owner.
    pub fn source_node_id(self, node: Value) -> Self {
        self.owned("source_node_id", node)
    }

    /// What tells where it was.
    pub fn location_signature(self, signature: Value) -> Self {
        self.owned("location_signature", signature)
    }

    fn owned(mut self, field: &str, value: Value) -> Self {
        if value.is_null() {
            self.ownership.remove(field);
        } else {
            self.ownership.insert(field.to_owned(), value);
        }
        self
    }

    /// Whether it may be added; nothing is.
    ///
    /// # Errors
    /// The first value that breaks a limit, and the limit.
    pub fn check(&self) -> Result<(), RecordError> {
        self.for_core().map(|_| ())
    }

    /// The record as it is signed: within its limits, its embedding encoded.
    pub(super) fn for_core(&self) -> Result<NewRecord, RecordError> {
        text("hash_value", &self.hash_value, 1, MAX_HASH)?;
        text("data_type", &self.data_type, 0, MAX_DATA_TYPE)?;
        let most = RECORD_TTL_MOST.as_secs_f64();
        let confidence = Confidence::new(number("confidence", self.confidence, 0.0, 1.0)?).unwrap_or(Confidence::FULL);
        number("ttl_s", self.ttl_s, RECORD_TTL_LEAST.as_secs_f64(), most)?;
        let seen = self.seen_s.map(|seen| number("timestamp", seen, 0.0, SEEN_MOST)).transpose()?;
        if !self.metadata.is_object() {
            return Err(RecordError::NotAnObject { found: kind_of(&self.metadata) });
        }
        let metadata = json_of("metadata", &self.metadata, MAX_METADATA)?;
        let ownership = (!self.ownership.is_empty())
            .then(|| json_of("ownership", &Value::Object(self.ownership.clone()), MAX_OWNERSHIP))
            .transpose()?;
        Ok(NewRecord {
            hash_value: self.hash_value.clone(),
            data_type: self.data_type.clone(),
            ttl: Duration::from_secs_f64(self.ttl_s),
            confidence,
            metadata,
            embedding: self.embedding.as_ref().map(Numbers::encode).transpose()?,
            ownership,
            seen: seen.map(|seconds| WallTime((seconds * 1_000.0).round() as u64)),
            local: self.local,
            replaces: self.replaces.as_deref().map(op_of).transpose()?,
        })
    }
}

impl Numbers {
    fn encode(&self) -> Result<Embedding, RecordError> {
        text("model", &self.model, 0, MAX_MODEL)?;
        let space = Space::new(self.numbers.len(), self.dtype)?;
        let mut stored = Vec::with_capacity(space.stored_len());
        space.encode(&self.numbers, &mut stored)?;
        let dims = u16::try_from(space.dims()).expect("a space has at most 4,096");
        Ok(Embedding { model: self.model.clone(), dims, dtype: code_of(self.dtype), stored })
    }
}

/// What a camera has of one of the two things of a registration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Portrait {
    /// Its embedding.
    pub embedding: Vec<f32>,
    /// The model that made it.
    pub model: String,
    /// Where its picture lies.
    pub image_path: String,
    /// Where it is in the frame: x, y, width, height in pixels.
    pub bbox: [u32; 4],
}

impl TryFrom<RecordDoc> for Record {
    type Error = RecordError;

    fn try_from(doc: RecordDoc) -> Result<Self, RecordError> {
        let mut record = Self::new(doc.hash_value).data_type(doc.data_type.unwrap_or_default()).local(doc.local);
        record.metadata = doc.metadata.unwrap_or(record.metadata);
        record.confidence = doc.confidence.unwrap_or(record.confidence);
        record.ttl_s = doc.ttl_s.unwrap_or(record.ttl_s);
        record.seen_s = doc.timestamp;
        let owned =
            [doc.ownership_history, doc.transfer_token, doc.last_update, doc.source_node_id, doc.location_signature];
        for (field, value) in OWNERSHIP.into_iter().zip(owned) {
            record = record.owned(field, value.unwrap_or(Value::Null));
        }
        record.embedding = doc.embedding.map(Numbers::try_from).transpose()?;
        record.replaces = doc.replaces;
        Ok(record)
    }
}

impl TryFrom<EmbeddingRow> for Numbers {
    type Error = RecordError;

    fn try_from(row: EmbeddingRow) -> Result<Self, RecordError> {
        let dtype = dtype_of(&row.dtype)?;
        let numbers = row.numbers.ok_or(RecordError::NoNumbers)?;
        if row.dims != 0 && row.dims != numbers.len() {
            return Err(RecordError::Dims { given: numbers.len(), said: row.dims });
        }
        Ok(Self { model: row.model, dtype, numbers })
    }
}

/// How numbers are stored, by its name; `f16` where nothing is said.
fn dtype_of(name: &str) -> Result<Dtype, RecordError> {
    match name {
        "" => Ok(Dtype::F16),
        _ => [Dtype::F32, Dtype::F16, Dtype::I8]
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| RecordError::Dtype { given: name.chars().take(32).collect() }),
    }
}

/// The code of a way to store numbers.
fn code_of(dtype: Dtype) -> u8 {
    match dtype {
        Dtype::F32 => DTYPE_F32,
        Dtype::F16 => DTYPE_F16,
        Dtype::I8 => DTYPE_I8,
    }
}

/// The way to store numbers that a code stands for.
pub(super) fn dtype_by(code: u8) -> Option<Dtype> {
    [Dtype::F32, Dtype::F16, Dtype::I8].into_iter().find(|dtype| code_of(*dtype) == code)
}

/// What people call a sighting: author, run and number in hex, as in no other field.
pub(super) fn name_of(op: &OpId) -> String {
    format!("{}-{:x}-{:x}", op.author, op.epoch.0, op.seq.0)
}

/// The sighting of this name.
fn op_of(name: &str) -> Result<OpId, RecordError> {
    parse_op(name).ok_or_else(|| RecordError::Name { field: "replaces", given: name.chars().take(80).collect() })
}

/// Reads a name that [`name_of`] wrote.
pub(super) fn parse_op(name: &str) -> Option<OpId> {
    let hex = |text: &str| {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    };
    let mut parts = name.split('-');
    let (author, epoch, seq) = (parts.next()?, hex(parts.next()?)?, hex(parts.next()?)?);
    let bytes = (author.len() == 32).then_some(author.as_bytes().as_chunks::<2>().0)?;
    let mut id = [0; 16];
    for (byte, digits) in id.iter_mut().zip(bytes) {
        *byte = u8::try_from(hex(str::from_utf8(digits).ok()?)?).ok()?;
    }
    parts.next().is_none().then_some(OpId { author: NodeId(id), epoch: Epoch(epoch), seq: Seq(seq) })
}

pub(super) fn text(field: &'static str, given: &str, least: usize, most: usize) -> Result<(), RecordError> {
    if !(least..=most).contains(&given.len()) {
        return Err(RecordError::Text { field, bytes: given.len(), least, most });
    }
    match given.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, found)) => Err(RecordError::Control { field, found, at }),
        None => Ok(()),
    }
}

fn number(field: &'static str, given: f64, least: f64, most: f64) -> Result<f64, RecordError> {
    // NaN is in no range.
    if (least..=most).contains(&given) { Ok(given) } else { Err(RecordError::Number { field, given, least, most }) }
}

fn json_of(field: &'static str, value: &Value, most: usize) -> Result<String, RecordError> {
    if !fits(value, PAYLOAD_DEPTH, &mut 0) {
        return Err(RecordError::TooDeep { field, most: PAYLOAD_DEPTH });
    }
    let text = value.to_string();
    if text.len() > most { Err(RecordError::TooLong { field, bytes: text.len(), most }) } else { Ok(text) }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(record: &Record) -> String {
        record.check().expect_err("it breaks a limit").to_string()
    }

    #[test]
    fn a_record_is_taken_at_its_limits_and_refused_beyond_with_the_value_and_the_limit() {
        let plain = || Record::new("h");
        let long = |bytes: usize| "x".repeat(bytes);
        let deep = |depth: usize| json!({"a": (1..depth).fold(json!(1), |inner, _| json!([inner]))});
        // `{"a":""}` has 8 bytes beside its text.
        let wide = |bytes: usize| json!({"a": long(bytes - 8)});
        let seconds = Duration::from_secs;
        let taken = [
            Record::new(long(256)),
            plain().data_type(long(64)),
            plain().confidence(0.0),
            plain().confidence(1.0),
            plain().ttl(RECORD_TTL_LEAST),
            plain().ttl(seconds(90 * 86_400)),
            plain().metadata(wide(4_096)),
            plain().metadata(deep(32)),
            plain().embedding(vec![1.0; 4_096], long(64)),
            plain().seen(0.0),
        ];
        for record in &taken {
            assert_eq!(record.check(), Ok(()));
        }
        let refused = [
            (Record::new(""), "hash_value has 0 bytes: 1 to 256"),
            (Record::new(long(257)), "hash_value has 257 bytes: 1 to 256"),
            (Record::new("a\nb"), "hash_value has the control character U+000A at byte 1: none is taken"),
            (plain().data_type(long(65)), "data_type has 65 bytes: 0 to 64"),
            (plain().confidence(1.001), "confidence is 1.001: 0 to 1"),
            (plain().confidence(-0.001), "confidence is -0.001: 0 to 1"),
            (plain().confidence(f64::NAN), "confidence is NaN: 0 to 1"),
            (plain().ttl(Duration::ZERO), "ttl_s is 0: 0.001 to 7776000"),
            (plain().ttl(seconds(90 * 86_400 + 1)), "ttl_s is 7776001: 0.001 to 7776000"),
            (plain().metadata(json!([1])), "metadata is an array"),
            (plain().metadata(wide(4_097)), "metadata: 4097 bytes of JSON; at most 4096"),
            (plain().metadata(deep(33)), "metadata is deeper than 32"),
            (plain().ownership_history(json!(long(4_096))), "ownership: "),
            (plain().embedding([], "m"), "embedding: 0 dimensions: an embedding has 1 to 4096"),
            (plain().embedding(vec![1.0; 4_097], "m"), "embedding: 4097 dimensions"),
            (plain().embedding([1.0, f32::NAN], "m"), "embedding: number 1 is NaN"),
            (plain().embedding([f32::INFINITY], "m"), "embedding: number 0 is inf"),
            (plain().embedding([0.0, 0.0], "m"), "embedding: all numbers are 0 as f16"),
            (plain().embedding([1.0e9], "m"), "f16 holds 65504.0 at most"),
            (plain().embedding([1.0], long(65)), "model has 65 bytes: 0 to 64"),
            (plain().seen(-1.0), "timestamp is -1: 0 to"),
        ];
        for (record, expected) in &refused {
            let message = refusal(record);
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn a_document_that_breaks_a_limit_is_refused_by_the_same_words() {
        let table = [
            (json!({"hash_value": "h", "ttl_s": -1.0}), "ttl_s is -1: 0.001 to 7776000"),
            (json!({"hash_value": "h", "embedding": {"model": "m"}}), "its numbers are missing"),
            (
                json!({"hash_value": "h", "embedding": {"model": "m", "dims": 3, "numbers": [1.0]}}),
                "1 numbers where dims says 3",
            ),
            (
                json!({"hash_value": "h", "embedding": {"model": "m", "dtype": "f64", "numbers": [1.0]}}),
                "dtype `f64` is none: f32, f16 or i8",
            ),
            // A number beyond what an f32 holds is an infinity by then.
            (json!({"hash_value": "h", "embedding": {"model": "m", "numbers": [1e300]}}), "number 0 is inf"),
        ];
        for (doc, expected) in table {
            let doc: RecordDoc = serde_json::from_str(&doc.to_string()).expect("its fields");
            let error = Record::try_from(doc).and_then(|record| record.check()).expect_err("it breaks a limit");
            assert!(error.to_string().contains(expected), "{error} should say {expected:?}");
        }
    }

    #[test]
    fn a_sighting_is_named_so_that_its_name_is_read_back_and_nothing_else_is() {
        let op = OpId { author: NodeId([0xab; 16]), epoch: Epoch(u64::MAX), seq: Seq(1) };
        let name = name_of(&op);
        assert_eq!(parse_op(&name), Some(op));
        for wrong in
            ["", "-", "ab-1-1", &name[1..], &format!("{name}-1"), &name.to_uppercase(), &name.replace("-1", "-+1")]
        {
            assert_eq!(parse_op(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_registration_is_a_person_and_a_bag_under_one_hash() {
        let portrait = |number: f32, path: &str| Portrait {
            embedding: vec![number, 1.0],
            model: "m".to_owned(),
            image_path: path.to_owned(),
            bbox: [1, 2, 3, 4],
        };
        let shared = json!({"color_histogram": [0.5, 0.5]});
        let shared = shared.as_object().expect("written as one");
        let [person, bag] = Record::registration("h", portrait(0.1, "p.jpg"), portrait(0.2, "b.jpg"), shared);
        for (record, data_type, path) in [(&person, "person", "p.jpg"), (&bag, "bag", "b.jpg")] {
            let taken = record.for_core().expect("within its limits");
            assert_eq!((taken.hash_value.as_str(), taken.data_type.as_str()), ("h", data_type));
            let metadata: Value = serde_json::from_str(&taken.metadata).expect("JSON");
            assert_eq!(
                metadata,
                json!({"color_histogram": [0.5, 0.5], "image_path": path, "bbox": [1, 2, 3, 4]}),
                "{data_type}"
            );
        }
        assert_ne!(person.for_core().map(|record| record.embedding), bag.for_core().map(|record| record.embedding));
    }
}

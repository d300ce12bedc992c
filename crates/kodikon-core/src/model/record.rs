//! Decides what a sighting is: its fields and their limits, what its ops hold, how it is asked for, and what the face sees of it.

use core::cmp::Ordering;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use thiserror::Error;

use crate::ground::config::MAX_NAME;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::{Duration, WallTime, millis};
use crate::model::fields::has_fields;
use crate::model::json;
use crate::model::letter::Ticket;
use crate::model::op::{OpId, SignedOp};

/// Bytes of a hash value at most.
pub const MAX_HASH: usize = 256;
/// Bytes of the type of what was seen.
pub const MAX_DATA_TYPE: usize = 64;
/// Bytes of the name of the model that an embedding comes from.
pub const MAX_MODEL: usize = 64;
/// Bytes of JSON of the metadata.
pub const MAX_METADATA: usize = 4 * 1_024;
/// Bytes of JSON of the fields of ownership.
pub const MAX_OWNERSHIP: usize = 4 * 1_024;
/// Numbers of an embedding at most.
pub const MAX_DIMS: u16 = 4_096;
/// Bytes of a stored embedding at most: four for each number.
pub const MAX_STORED: usize = 4 * MAX_DIMS as usize;
/// How long a sighting lasts if nothing else is said: a week.
pub const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long it may last at most, whatever its author says: a quarter of a year.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Sightings that a node holds at most (design, section "Limits").
pub const MAX_RECORDS: usize = 200_000;
/// Sightings that one delete names at most: with 43 B each it is an op of three datagrams.
pub const MAX_REMOVED: usize = 64;
/// Sightings that one order deletes at most of those that others know of: 128 deletes of as many. The rest takes further orders.
pub const MAX_DELETED: usize = 128 * MAX_REMOVED;
/// Why an order is refused while the disk fails.
pub const DISK_FAILS: &str = "the disk does not take it: nothing was kept";
/// Bytes of a body besides its texts: numbers and frames.
const FRAME: usize = 128;
/// Bytes of the body of a record's op at most.
pub const MAX_RECORD_BODY: usize =
    MAX_HASH + MAX_DATA_TYPE + MAX_MODEL + MAX_METADATA + MAX_OWNERSHIP + MAX_STORED + MAX_NAME + FRAME;
/// Bytes of the body of a delete's op at most.
pub const MAX_DELETE_BODY: usize = MAX_HASH + 48 * MAX_REMOVED + FRAME;

/// How numbers are stored, by the code in an [`Embedding`]: four bytes each.
pub const DTYPE_F32: u8 = 0;
/// Two bytes each.
pub const DTYPE_F16: u8 = 1;
/// A scale of four bytes, and one byte each.
pub const DTYPE_I8: u8 = 2;

/// What of a sighting is not taken, with the value and the limit.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RecordError {
    /// Nothing is seen where nothing is named.
    #[error("hash_value is empty")]
    NoHash,
    /// Text that is too long.
    #[error("{field} has {given} bytes: {limit} at most")]
    Long {
        /// Which field.
        field: &'static str,
        /// Its bytes.
        given: usize,
        /// The limit.
        limit: usize,
    },
    /// Text that would move the cursor of whoever prints it.
    #[error("{0} holds a control character")]
    Control(&'static str),
    /// What should be a JSON object.
    #[error("{0} is no JSON object")]
    NoObject(&'static str),
    /// JSON that a recursive parser may not survive.
    #[error("{field} is {given} arrays and objects deep: {limit} at most", limit = json::MAX_DEPTH)]
    Deep {
        /// Which field.
        field: &'static str,
        /// Its depth.
        given: usize,
    },
    /// A confidence is a share.
    #[error("confidence is {0}: it is from 0 to 1")]
    Confidence(f64),
    /// A time to live.
    #[error("ttl is {given_s} s: it is from 0.001 s to {limit_s} s", limit_s = MAX_TTL.as_secs())]
    Ttl {
        /// What was given, in seconds.
        given_s: f64,
    },
    /// An embedding without numbers, or with too many.
    #[error("an embedding of {0} numbers: from 1 to {limit}", limit = MAX_DIMS)]
    Dims(u16),
    /// An unknown way to store numbers.
    #[error("dtype {0}: 0 is f32, 1 is f16, 2 is i8")]
    Dtype(u8),
    /// Bytes that are not so many numbers.
    #[error("an embedding in {given} bytes: its space stores one in {expected}")]
    Stored {
        /// Its bytes.
        given: usize,
        /// What they should be.
        expected: usize,
    },
}

/// How sure somebody is: from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Confidence(f64);

impl Confidence {
    /// Not sure at all.
    pub const NONE: Self = Self(0.0);
    /// Sure.
    pub const FULL: Self = Self(1.0);

    /// `None` for what is no share.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        // Adding zero makes one of the two zeros of IEEE 754: they are equal, and so are to be their bits.
        (0.0..=1.0).contains(&share).then_some(Self(share + 0.0))
    }

    /// The share.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Confidence {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Confidence {}

impl PartialOrd for Confidence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Confidence {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl<C> Encode<C> for Confidence {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.f64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Confidence {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.f64()?).ok_or_else(|| DecodeError::message("a confidence is from 0 to 1"))
    }
}

/// What embeddings that can be compared have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpaceKey {
    /// What made them.
    pub model: String,
    /// How many numbers each has.
    pub dims: u16,
    /// How these are stored: [`DTYPE_F32`], [`DTYPE_F16`] or [`DTYPE_I8`].
    pub dtype: u8,
}

/// An embedding as it is signed and stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Embedding {
    /// What made it.
    #[n(0)]
    pub model: String,
    /// How many numbers it has.
    #[n(1)]
    pub dims: u16,
    /// How they are stored: [`DTYPE_F32`], [`DTYPE_F16`] or [`DTYPE_I8`].
    #[n(2)]
    pub dtype: u8,
    /// The numbers, little end first; of i8 a scale of four bytes before them.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub stored: Vec<u8>,
}

impl Embedding {
    /// To which others it can be compared.
    #[must_use]
    pub fn space(&self) -> SpaceKey {
        SpaceKey { model: self.model.clone(), dims: self.dims, dtype: self.dtype }
    }

    fn check(&self) -> Result<(), RecordError> {
        check_text("model", &self.model, MAX_MODEL)?;
        if self.dims == 0 || self.dims > MAX_DIMS {
            return Err(RecordError::Dims(self.dims));
        }
        let dims = usize::from(self.dims);
        let expected = match self.dtype {
            DTYPE_F32 => 4 * dims,
            DTYPE_F16 => 2 * dims,
            DTYPE_I8 => 4 + dims,
            other => return Err(RecordError::Dtype(other)),
        };
        let given = self.stored.len();
        if given == expected { Ok(()) } else { Err(RecordError::Stored { given, expected }) }
    }
}

/// The body of a record's op: somebody has seen something.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecordBody {
    /// What was seen.
    #[n(0)]
    pub hash_value: String,
    /// Of what type it is, in words of the application's.
    #[n(1)]
    pub data_type: String,
    /// What its author is called: it may be gone when somebody reads this.
    #[n(2)]
    pub source: String,
    /// How long it lasts, in milliseconds since it was added.
    #[n(3)]
    pub ttl_ms: u64,
    /// How sure its author is.
    #[n(4)]
    pub confidence: Confidence,
    /// A JSON object.
    #[n(5)]
    pub metadata: String,
    /// What it looks like.
    #[n(6)]
    pub embedding: Option<Embedding>,
    /// Whose it is: a JSON object with the fields of ownership.
    #[n(7)]
    pub ownership: Option<String>,
    /// When it was seen, in milliseconds since 1970 by the clock of whoever saw it, where that was not when it was added.
    #[n(8)]
    pub seen_ms: Option<u64>,
    /// Run and number of the author's own op that told of this sighting first, where this one updates it.
    #[n(9)]
    pub replaces: Option<(u64, u64)>,
}

impl RecordBody {
    /// Whether all is within its limits.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.hash_value.is_empty() {
            return Err(RecordError::NoHash);
        }
        check_text("hash_value", &self.hash_value, MAX_HASH)?;
        check_text("data_type", &self.data_type, MAX_DATA_TYPE)?;
        check_text("source", &self.source, MAX_NAME + 8)?;
        check_json("metadata", &self.metadata, MAX_METADATA)?;
        self.ownership.as_ref().map_or(Ok(()), |text| check_json("ownership", text, MAX_OWNERSHIP))?;
        self.embedding.as_ref().map_or(Ok(()), Embedding::check)
    }

    /// How long it lasts: what its author says, and never more than any holder keeps.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms).min(MAX_TTL)
    }
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), RecordError> {
    if text.len() > limit {
        Err(RecordError::Long { field, given: text.len(), limit })
    } else if text.chars().any(char::is_control) {
        Err(RecordError::Control(field))
    } else {
        Ok(())
    }
}

fn check_json(field: &'static str, text: &str, limit: usize) -> Result<(), RecordError> {
    if text.len() > limit {
        return Err(RecordError::Long { field, given: text.len(), limit });
    }
    let given = json::depth(text);
    if given > json::MAX_DEPTH {
        return Err(RecordError::Deep { field, given });
    }
    let is_object = text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_object { Ok(()) } else { Err(RecordError::NoObject(field)) }
}

/// A sighting, whatever was said of it since: its author, and run and number of the op that told of it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sighting(pub OpId);

/// One sighting that a delete removes: all that its author had said of it up to this op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Removed {
    /// Whose.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// The run of the newest op that was seen of it.
    #[n(1)]
    pub epoch: u64,
    /// Its number.
    #[n(2)]
    pub seq: u64,
    /// Run and number of the op that told of it first, where that is another.
    #[n(3)]
    pub first: Option<(u64, u64)>,
}

impl Removed {
    /// All that was said of a sighting up to this op.
    #[must_use]
    pub fn up_to(newest: OpId, sighting: Sighting) -> Self {
        let first = (sighting.0 != newest).then_some((sighting.0.epoch.0, sighting.0.seq.0));
        Self { author: newest.author.0, epoch: newest.epoch.0, seq: newest.seq.0, first }
    }

    /// The newest op that was seen.
    #[must_use]
    pub fn newest(&self) -> OpId {
        OpId { author: NodeId(self.author), epoch: Epoch(self.epoch), seq: Seq(self.seq) }
    }

    /// Of which sighting.
    #[must_use]
    pub fn sighting(&self) -> Sighting {
        let (epoch, seq) = self.first.unwrap_or((self.epoch, self.seq));
        Sighting(OpId { author: NodeId(self.author), epoch: Epoch(epoch), seq: Seq(seq) })
    }
}

/// The body of a delete's op.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeleteBody {
    /// What was seen.
    #[n(0)]
    pub hash_value: String,
    /// Which sightings of it go.
    #[n(1)]
    pub removes: Vec<Removed>,
    /// As long as the one that lasts longest would have lasted still, in milliseconds.
    #[n(2)]
    pub ttl_ms: u64,
}

impl DeleteBody {
    /// Whether an honest author makes such a one.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let is_ordered = |removed: &Removed| removed.first.is_none_or(|first| first < (removed.epoch, removed.seq));
        check_text("hash_value", &self.hash_value, MAX_HASH).is_ok()
            && (1..=MAX_REMOVED).contains(&self.removes.len())
            && self.removes.iter().all(is_ordered)
    }

    /// How long it lasts.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms).min(MAX_TTL)
    }
}

/// A sighting that the application wants added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// What was seen.
    pub hash_value: String,
    /// Of what type it is.
    pub data_type: String,
    /// How long it lasts; from a millisecond to [`MAX_TTL`].
    pub ttl: Duration,
    /// How sure this node is.
    pub confidence: Confidence,
    /// A JSON object.
    pub metadata: String,
    /// What it looks like.
    pub embedding: Option<Embedding>,
    /// The fields of ownership, a JSON object.
    pub ownership: Option<String>,
    /// When it was seen, if not now.
    pub seen: Option<WallTime>,
    /// Whether it stays on this node: nobody else holds it, and it is told only in answer to a search for what is like it.
    pub local: bool,
    /// This node's own op of which this one is an update: any that told of the sighting.
    pub replaces: Option<OpId>,
}

impl NewRecord {
    /// A sighting of something, with the defaults of all else.
    #[must_use]
    pub fn new(hash_value: &str) -> Self {
        Self {
            hash_value: hash_value.to_owned(),
            data_type: String::new(),
            ttl: DEFAULT_TTL,
            confidence: Confidence::FULL,
            metadata: "{}".to_owned(),
            embedding: None,
            ownership: None,
            seen: None,
            local: false,
            replaces: None,
        }
    }

    /// Whether all is within its limits.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.ttl < Duration::from_millis(1) || self.ttl > MAX_TTL {
            return Err(RecordError::Ttl { given_s: self.ttl.as_secs_f64() });
        }
        self.body("").check()
    }

    /// As it is signed, but for what it replaces.
    #[must_use]
    pub fn body(&self, source: &str) -> RecordBody {
        RecordBody {
            hash_value: self.hash_value.clone(),
            data_type: self.data_type.clone(),
            source: source.to_owned(),
            ttl_ms: millis(self.ttl),
            confidence: self.confidence,
            metadata: self.metadata.clone(),
            embedding: self.embedding.clone(),
            ownership: self.ownership.clone(),
            seen_ms: self.seen.map(|seen| seen.0),
            replaces: None,
        }
    }
}

/// An order to add a sighting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOrder {
    /// Names it in [`crate::effect::Event::Stored`].
    pub ticket: Ticket,
    /// The sighting; the caller checked it with [`NewRecord::check`], or it is refused.
    pub record: NewRecord,
}

/// An order to delete sightings of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOrder {
    /// Names it in [`crate::effect::Event::Stored`].
    pub ticket: Ticket,
    /// What was seen.
    pub hash_value: String,
    /// Whether those of others go, too: where the mesh's policy lets every member delete, else it is refused.
    pub all: bool,
}

/// What became of an order to add or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is done, and on its way to all.
    Done {
        /// The op that was added, or the sightings that were deleted by their newest ops.
        ids: Vec<OpId>,
        /// Whether it is on this node's disk. It is not where the store keeps nothing beyond this process, or where the node ended
        /// before its disk answered.
        durable: bool,
    },
    /// Nothing is known of what was to be deleted or updated.
    Unknown,
    /// Nothing was done.
    Refused {
        /// Why, in words for people.
        reason: &'static str,
    },
}

/// A sighting as the face shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView {
    /// The op that tells of it.
    pub id: OpId,
    /// Its author's name now, where it is here, else as it was.
    pub source: String,
    /// When it was seen, by the clock of whoever saw it.
    pub wall: WallTime,
    /// When its op was made, by its author's clock.
    pub told: WallTime,
    /// What its op says.
    pub body: RecordBody,
    /// How long it lasts yet.
    pub left: Duration,
    /// Whether it stays on the node that added it.
    pub local: bool,
    /// Whether it is on this node's disk.
    pub kept: bool,
}

/// Of whom sightings are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of this identity.
    Id(NodeId),
    /// Of whoever goes, or went, by this name.
    Name(String),
}

/// Which sightings are meant, of those that all nodes have and those that never leave the node that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// All that are held here.
    #[default]
    Held,
    /// Those that all nodes are to have: the registry of the mesh.
    Shared,
    /// Those that never leave this node.
    Local,
}

impl Reach {
    /// Whether one is meant that never leaves this node, or one that all are to have.
    #[must_use]
    pub fn admits(self, is_local: bool) -> bool {
        match self {
            Self::Held => true,
            Self::Shared => !is_local,
            Self::Local => is_local,
        }
    }
}

/// Which sightings are asked for: those that meet all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of this type.
    pub data_type: Option<String>,
    /// Of this node.
    pub node: Option<Whose>,
    /// Seen then or later.
    pub since: Option<WallTime>,
    /// Seen then or earlier.
    pub until: Option<WallTime>,
    /// Fields of the metadata, by their path (`a.b.0`), and what they must be like: `*` stands for any run of characters. A text
    /// is compared as it is, anything else as it is written in JSON.
    pub where_: Vec<(String, String)>,
    /// Whether those are meant that never leave this node.
    pub reach: Reach,
    /// Of this.
    pub hash: Option<String>,
}

/// What a filter looks at in a sighting.
#[derive(Debug)]
pub struct Traits<'a> {
    /// Of what type it is.
    pub data_type: &'a str,
    /// Who told of it.
    pub author: NodeId,
    /// What that node called itself.
    pub source: &'a str,
    /// When it was seen.
    pub seen: WallTime,
    /// A JSON object.
    pub metadata: &'a str,
}

impl Filter {
    /// Whether what was seen then was seen in the time that is asked for.
    #[must_use]
    pub fn is_in_time(&self, seen: WallTime) -> bool {
        self.since.is_none_or(|since| seen >= since) && self.until.is_none_or(|until| seen <= until)
    }

    /// Whether type, node, time and metadata are as wanted; `bears` says whether the author bears a name now.
    #[must_use]
    pub fn admits(&self, traits: &Traits<'_>, bears: impl Fn(&str) -> bool) -> bool {
        let is_whose = |whose: &Whose| match whose {
            Whose::Id(id) => *id == traits.author,
            Whose::Name(name) => traits.source == name || bears(name),
        };
        self.data_type.as_ref().is_none_or(|kind| traits.data_type == kind)
            && self.is_in_time(traits.seen)
            && self.node.as_ref().is_none_or(is_whose)
            // Last, since it reads JSON: a microsecond or two.
            && (self.where_.is_empty() || has_fields(traits.metadata, &self.where_))
    }
}

/// Where a search through the registry goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When the last one that was looked at was made, by the log's clock.
    pub born_ms: i64,
    /// Which it was.
    pub id: OpId,
}

/// What was found in one turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// What meets the filter, newest first.
    pub records: Vec<RecordView>,
    /// Where the next turn goes on; `None`: all were looked at.
    pub next: Option<Cursor>,
}

/// The registry in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistryView {
    /// Sightings that all nodes are to have.
    pub records: usize,
    /// Those that never leave this node.
    pub local: usize,
    /// Raised with every change of what is shown.
    pub version: u64,
    /// Digest of all that is shown but what never leaves this node: equal on nodes that show the same.
    pub content: u64,
    /// Bytes of the ops of all of them.
    pub bytes: usize,
}

/// A sighting that is shown from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Which.
    pub id: OpId,
    /// Its op, with a [`RecordBody`] for a body.
    pub op: SignedOp,
}

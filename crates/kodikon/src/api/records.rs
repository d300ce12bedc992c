//! Decides how records of the registry look in JSON, and what is asked of it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What an embedding is: in what space it lies, and its numbers where they are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct EmbeddingRow {
    /// The model it is from: embeddings of different models are not compared.
    pub model: String,
    /// How many numbers it has; where a record is added, what it must have, or 0.
    #[serde(default)]
    pub dims: usize,
    /// How each number is stored: `f32`, `f16` or `i8`.
    #[serde(default)]
    pub dtype: String,
    /// The numbers as they are stored; left out where they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "rounded")]
    pub numbers: Option<Vec<f32>>,
}

/// Reads numbers of any size: one that is too large for an `f32` is an infinity then, and is refused by its place and not as bad JSON.
pub(super) fn rounded<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<f32>>, D::Error> {
    let numbers = Option::<Vec<f64>>::deserialize(from)?;
    Ok(numbers.map(|numbers| numbers.into_iter().map(|number| number as f32).collect()))
}

/// A sighting, as `kodikon get`, `kodikon find` and `GET /v1/records` show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RecordRow {
    /// What was seen.
    pub hash_value: String,
    /// Who has seen it, by the name it had then.
    pub node_id: String,
    /// What kind of thing it is: `person`, `bag`, …
    pub data_type: String,
    /// When it was seen, by that node's clock.
    pub timestamp: f64,
    /// Its embedding, if it has one.
    pub embedding: Option<EmbeddingRow>,
    /// What else is known of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// How sure its author was: 0 to 1.
    pub confidence: f64,
    /// Seconds that it lasts yet.
    pub ttl_s: f64,
    /// Who owned it, in turn.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub ownership_history: Value,
    /// What proves the last transfer.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub transfer_token: Value,
    /// When its ownership last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub last_update: Value,
    /// The node from which it came to its owner.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub source_node_id: Value,
    /// What tells where it was.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub location_signature: Value,
    /// What all nodes call this sighting.
    #[serde(default)]
    pub id: String,
    /// Its author's identity, 32 hex digits.
    #[serde(default)]
    pub author: String,
    /// Whether only the node that has it knows of it.
    #[serde(default)]
    pub local: bool,
    /// Whether it is on the disk of the node that was asked.
    #[serde(default)]
    pub kept: bool,
}

/// What `POST /v1/records` takes: one of these, or a list of them. A [`RecordRow`] with the numbers of its embedding is one as well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RecordDoc {
    /// What was seen: 1 to 256 bytes.
    pub hash_value: String,
    /// What kind of thing it is: at most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// Its embedding with its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::named::named")]
    pub embedding: Option<EmbeddingRow>,
    /// An object of at most 4 KiB, 32 deep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Value>,
    /// How sure it is: 0 to 1 (1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Seconds for which it lasts (7 days; at most 90 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<f64>,
    /// Whether no other node learns of it.
    #[serde(default)]
    pub local: bool,
    /// The `id` of an earlier sighting of this node's own, which this one takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// When it was seen, if not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// Who owned it, in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub ownership_history: Option<Value>,
    /// What proves the last transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub transfer_token: Option<Value>,
    /// When its ownership last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub last_update: Option<Value>,
    /// The node from which it came to its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub source_node_id: Option<Value>,
    /// What tells where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub location_signature: Option<Value>,
    /// Of a record that was exported: left aside, since whoever adds it is its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Of a record that was exported: left aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a record that was exported: left aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Of a record that was exported: left aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
}

/// What became of a record that was added, as `kodikon add` and `POST /v1/records` tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AddedRow {
    /// What was seen.
    pub hash_value: String,
    /// Who has seen it: this node.
    pub node_id: String,
    /// What kind of thing it is.
    pub data_type: String,
    /// When it was seen.
    pub timestamp: f64,
    /// Whether it is on this node's disk: if not, a crash of this node loses what it has not told anybody yet.
    pub durable: bool,
    /// What all nodes call this sighting.
    pub id: String,
    /// Whether it was there already, and nothing was added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// One of a list that `POST /v1/records` was given: added, or why not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum AddedOrNot {
    /// It was added, or was there.
    Added(AddedRow),
    /// It was not.
    Not {
        /// Why, in a sentence.
        error: String,
        /// Whether it may be tried again: the node is why, and not the record.
        #[serde(default)]
        again: bool,
    },
}

/// What was removed, as `kodikon delete` and `DELETE /v1/records/{hash}` tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct DeletedRow {
    /// How many sightings.
    pub deleted: u64,
    /// Whether that is on this node's disk.
    pub durable: bool,
}

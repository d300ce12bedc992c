//! Decides how a search for what is alike, and what it finds, look in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RecordRow;

/// What `POST /v1/search` takes: the numbers of an embedding, or a hash that others are to be like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchDoc {
    /// The numbers: 1 to 4,096, finite and not all 0.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::records::rounded")]
    pub embedding: Option<Vec<f32>>,
    /// A hash: what is like the embedding of its newest sighting is found, and no sighting of the hash itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The model of the embedding; needed only where several have as many dimensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many are wanted: 1 to 1,000 (10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// Whether it may miss one in a hundred for being faster; else the answer is exact.
    #[serde(default)]
    pub fast: bool,
    /// Whether only what this node holds is looked at; else those are asked, too, who hold what is not here: sightings that they keep to
    /// themselves, and all others while this node lacks some of what all are to have.
    #[serde(default)]
    pub local: bool,
    /// Only records of this kind of thing.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// Only what this node has seen: a name, or an identity in 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only what was seen then or later, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<f64>,
    /// Only what was seen then or earlier, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// Only records whose metadata has these values: by path, with `*` for any run of characters.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub matching: BTreeMap<String, String>,
    /// Seconds that it may take at most (5; at most 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// Whether the numbers of what is found are told, too.
    #[serde(default)]
    pub with_embedding: bool,
}

/// A record and how near it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct FoundRow {
    /// The record.
    #[serde(flatten)]
    pub record: RecordRow,
    /// The cosine of the angle between its embedding and what was asked for: 1 for the same direction.
    pub score: f64,
}

/// What was found, as `kodikon search` and `POST /v1/search` tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct SearchReport {
    /// The nearest first; of equally near ones in the order of `hash_value` and `node_id`.
    pub results: Vec<FoundRow>,
    /// Nodes that have answered, the asked one among them.
    pub responded: u32,
    /// Nodes that were asked.
    pub of: u32,
    /// Whether all have answered, and no record that may be found is nearer than what is here: the answer of a scan of all stored
    /// numbers.
    pub certified: bool,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

//! Decides how alerts, who has them and who has seen them look in JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `POST /v1/alerts` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertDoc {
    /// Any JSON of at most 16 KiB.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub alert: Value,
    /// `low`, `normal` (default), `high` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Seconds for which it is active (3,600; at most 7 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<f64>,
    /// Seconds to wait at most until everyone has shown it; by default the answer comes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<f64>,
}

/// What `POST /v1/alerts/{id}/ack` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckDoc {
    /// Who has seen it: a name, not empty.
    pub by: String,
}

/// Who has an alert, as `kodikon alert` and `POST /v1/alerts` tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AlertReport {
    /// What all nodes call it: 16 hex digits.
    pub alert_id: String,
    /// `low`, `normal`, `high` or `critical`.
    pub priority: String,
    /// Whose applications were shown it.
    pub delivered: Vec<String>,
    /// Those of them that have it on disk.
    pub durable: Vec<String>,
    /// Who should have been shown it and was not.
    pub missing: Vec<MissingRow>,
    /// Whether it is on this node's disk: if not, a crash of this node loses what it has not told anybody yet.
    pub kept: bool,
}

impl AlertReport {
    /// Whether somebody has shown it, and everyone who should have: an alert that nobody else was there for has reached nobody.
    #[must_use]
    pub fn has_reached_all(&self) -> bool {
        self.missing.is_empty() && !self.delivered.is_empty()
    }
}

/// Who has not shown an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct MissingRow {
    /// Its name.
    pub node_id: String,
    /// Why: `no receipt yet`, `suspect`, `failed` or `left`; `expired`, once the alert has ended without its receipt.
    pub reason: String,
}

/// Somebody has seen an alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AckRow {
    /// Who.
    pub by: String,
    /// When, by the clock of the node that was told.
    pub at: f64,
}

/// An active alert, as `kodikon alerts` and `GET /v1/alerts` show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AlertRow {
    /// What all nodes call it: 16 hex digits.
    pub alert_id: String,
    /// Who raised it.
    pub source: String,
    /// Its identity.
    pub id: String,
    /// `low`, `normal`, `high` or `critical`.
    pub priority: String,
    /// What it says.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub alert: Value,
    /// When it was raised, by its author's clock.
    pub timestamp: f64,
    /// When it ends, by this node's clock.
    pub expires: f64,
    /// Whose applications were shown it, as far as is known here.
    pub delivered: Vec<String>,
    /// Those of them that have it on disk.
    pub durable: Vec<String>,
    /// Who should have been shown it and was not.
    pub missing: Vec<MissingRow>,
    /// Who has seen it.
    pub acknowledged: Vec<AckRow>,
    /// Whether it was raised before this node started.
    pub late: bool,
    /// Whether this node may have shown it before it crashed.
    pub repeated: bool,
    /// Whether it is on this node's disk.
    pub kept: bool,
}

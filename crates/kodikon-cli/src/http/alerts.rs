//! Decides how an alert is taken from a caller, and how those that are active are shown.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use kodikon::api::{AckDoc, AlertDoc, AlertReport, AlertRow};
use serde_json::{Value, json};

use super::body::{document, whole};
use super::handlers::Segment;
use super::problem::Problem;
use super::{Api, NodeView};

type Shared<N> = State<Arc<Api<N>>>;

/// `GET /v1/alerts`.
pub(crate) async fn list<N: NodeView>(State(api): Shared<N>) -> Result<Json<Vec<AlertRow>>, Problem> {
    Ok(Json(api.node.alerts().await?))
}

/// `POST /v1/alerts`.
pub(crate) async fn raise<N: NodeView>(
    State(api): Shared<N>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<AlertReport>, Problem> {
    let alert: AlertDoc = document(&whole(body)?, "{\"alert\", …}")?;
    Ok(Json(api.node.alert(alert).await?))
}

/// `POST /v1/alerts/{id}/ack`.
pub(crate) async fn acknowledge<N: NodeView>(
    State(api): Shared<N>,
    Segment(id): Segment,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let ack: AckDoc = document(&whole(body)?, "{\"by\"}")?;
    api.node.acknowledge(&id, &ack.by).await?;
    Ok(Json(json!({"alert_id": id, "by": ack.by})))
}

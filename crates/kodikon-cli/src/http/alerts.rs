//! Decides how an alert is taken from a caller, and how those that are active are shown.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use kodikon::api::{AckDoc, AlertDoc, AlertReport, AlertRow};
use serde_json::{Value, json};

use super::handlers::whole;
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
    let alert: AlertDoc = serde_json::from_slice(&whole(body)?)
        .map_err(|error| Problem::bad_request(format!("the body must be {{\"alert\", …}}: {error}")))?;
    Ok(Json(api.node.alert(alert).await?))
}

/// `POST /v1/alerts/{id}/ack`.
pub(crate) async fn acknowledge<N: NodeView>(
    State(api): Shared<N>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let ack: Result<AckDoc, _> = serde_json::from_slice(&whole(body)?);
    let ack = ack.map_err(|error| Problem::bad_request(format!("the body must be {{\"by\"}}: {error}")))?;
    api.node.acknowledge(&id, &ack.by).await?;
    Ok(Json(json!({"alert_id": id, "by": ack.by})))
}

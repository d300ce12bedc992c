//! What each path answers.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use kodikon::api::{FindingRow, PeerDetail, PeerRow, RouteRow, StateDoc, StatsDoc};
use serde_json::{Map, Value};

use super::body::whole;
use super::problem::Problem;
use super::{Api, NodeView, metrics as open_metrics};

type Shared<N> = State<Arc<Api<N>>>;
type Answer<T> = Result<Json<T>, Problem>;

/// What names one of several in a path: a node, a hash, an alert.
#[derive(Debug)]
pub(crate) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("what stands in the path is no percent-encoded UTF-8 text"))?;
        Ok(Self(name))
    }
}

/// `GET /v1/peers`, `?all=true` for those who left or failed longer ago, too.
pub(crate) async fn peers<N: NodeView>(State(api): Shared<N>, RawQuery(query): RawQuery) -> Answer<Vec<PeerRow>> {
    let all = match query.as_deref() {
        None | Some("" | "all=false") => false,
        Some("all=true" | "all") => true,
        Some(other) => {
            let other: String = other.chars().take(60).collect();
            return Err(Problem::bad_request(format!("`{other}` is no parameter of peers; there is all=true")));
        }
    };
    Ok(Json(api.node.peers(all).await?))
}

/// `GET /v1/peers/{name}`.
pub(crate) async fn peer<N: NodeView>(State(api): Shared<N>, Segment(name): Segment) -> Answer<PeerDetail> {
    api.node.peer(&name).await?.map(Json).ok_or_else(|| Problem::no_such_node(&name, api.node.nearest(&name)))
}

/// `GET /v1/routes`.
pub(crate) async fn routes<N: NodeView>(State(api): Shared<N>) -> Answer<Vec<RouteRow>> {
    Ok(Json(api.node.routes().await?))
}

/// `GET /v1/state`.
pub(crate) async fn states<N: NodeView>(State(api): Shared<N>) -> Answer<StateDoc> {
    Ok(Json(api.node.states().await?))
}

/// `GET /v1/state/{name}`.
pub(crate) async fn state<N: NodeView>(State(api): Shared<N>, Segment(name): Segment) -> Answer<StateDoc> {
    api.node.state(&name).await?.map(Json).ok_or_else(|| Problem::no_such_node(&name, api.node.nearest(&name)))
}

/// `PATCH /v1/state`: sets keys; null removes one (RFC 7396, for the keys at the top).
pub(crate) async fn change_state<N: NodeView>(
    State(api): Shared<N>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<StateDoc> {
    Ok(Json(api.node.change_state(changes(body)?).await?))
}

/// `PATCH /v1/state/{name}`: the same, where the name is the node's own.
pub(crate) async fn change_named_state<N: NodeView>(
    State(api): Shared<N>,
    Segment(name): Segment,
    body: Result<Bytes, BytesRejection>,
) -> Answer<StateDoc> {
    if !api.node.is_own_name(&name) {
        let detail = format!("only `{name}` itself changes its state: ask its own API");
        return Err(Problem::new(StatusCode::FORBIDDEN, "Another's state", detail));
    }
    Ok(Json(api.node.change_state(changes(body)?).await?))
}

/// `GET /v1/stats`.
pub(crate) async fn stats<N: NodeView>(State(api): Shared<N>) -> Answer<StatsDoc> {
    Ok(Json(api.node.stats().await?))
}

/// `GET /v1/doctor`.
pub(crate) async fn doctor<N: NodeView>(State(api): Shared<N>) -> Answer<Vec<FindingRow>> {
    Ok(Json(api.node.doctor().await?))
}

/// `GET /metrics`.
pub(crate) async fn metrics<N: NodeView>(State(api): Shared<N>) -> Result<Response, Problem> {
    let text = open_metrics::text(&api.node.stats().await?);
    Ok(([(header::CONTENT_TYPE, open_metrics::CONTENT_TYPE)], text).into_response())
}

/// `GET /healthz`: the node's loop turns.
pub(crate) async fn health<N: NodeView>(State(api): Shared<N>) -> Answer<Value> {
    if api.node.is_turning() {
        return Ok(Json(serde_json::json!({"status": "ok"})));
    }
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Stuck",
        "the node's loop has not turned for seconds, or has ended",
    ))
}

/// `GET /readyz`: the node takes part.
pub(crate) async fn ready<N: NodeView>(State(api): Shared<N>) -> Answer<Value> {
    if api.node.is_ready() {
        return Ok(Json(serde_json::json!({"status": "ready"})));
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Not ready", "the node starts or stops"))
}

/// Whatever else is asked for.
pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "No such path",
        format!("there is no `{path}`; /openapi.json lists what there is"),
    )
}

/// However else it is asked for.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    let detail = format!("`{path}` does not take {method}; /openapi.json lists what it takes");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "No such method", detail)
}

/// Reads a body that sets and removes keys.
fn changes(body: Result<Bytes, BytesRejection>) -> Result<Map<String, Value>, Problem> {
    let body = whole(body)?;
    let wrong = |why: String| {
        Problem::bad_request(format!("the body must be a JSON object of keys to set or, with null, to remove: {why}"))
    };
    match serde_json::from_slice(&body) {
        Ok(Value::Object(changes)) => Ok(changes),
        Ok(_) => Err(wrong("it is another JSON value".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

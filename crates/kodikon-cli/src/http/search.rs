//! Decides how a search for what is alike is taken from a caller.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use kodikon::api::{SearchDoc, SearchReport};

use super::body::{document, whole};
use super::problem::Problem;
use super::{Api, NodeView};

/// `POST /v1/search`.
pub(crate) async fn search<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SearchReport>, Problem> {
    let doc: SearchDoc = document(&whole(body)?, "{\"embedding\" or \"like\", …}")?;
    Ok(Json(api.node.search(doc).await?))
}

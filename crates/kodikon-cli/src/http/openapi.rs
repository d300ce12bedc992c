//! The API described for programs (OpenAPI 3.1): a document of the repository, which the tests build from the rows themselves and compare. The
//! schemas' builders are thus no part of the program.

use axum::http::header;
use axum::response::IntoResponse;

#[cfg(test)]
mod described;

/// What `described` builds. After a change of a row: `KODIKON_WRITE=1 cargo test -p kodikon-cli openapi`.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// `GET /openapi.json`: this API.
pub(crate) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

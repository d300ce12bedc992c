//! How the API says no: a problem document (RFC 9457), whatever the reason.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::view::ViewError;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into() }
    }

    /// What is wrong, in a sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Wrong request", detail)
    }

    /// Nobody of that name is here.
    pub(crate) fn no_such_node(name: &str, near: Option<String>) -> Self {
        let hint = match near {
            Some(near) if near == name => "that is this node itself: `kodikon stats` tells of it".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => "`kodikon peers --all` shows who is or was".to_owned(),
        };
        let name: String = name.chars().take(100).collect();
        let detail = format!("nobody called `{name}` is in the mesh; {hint}");
        Self::new(StatusCode::NOT_FOUND, "No such node", detail)
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "The node stops", "start it again with `kodikon up`")
            }
            ViewError::Busy(detail) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The node is busy", detail),
            ViewError::NotKept(detail) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "Not kept", detail),
            ViewError::Unknown(detail) => Self::new(StatusCode::NOT_FOUND, "Not found", detail),
            ViewError::Refused(detail) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Refused", detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

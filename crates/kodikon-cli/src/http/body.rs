//! Decides what the body of a request may be: within a size and a time, and a document whose fields have names.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use kodikon::api::Named;
use serde::de::DeserializeOwned;
use tokio::time::{Sleep, sleep};

use super::MAX_BODY;
use super::problem::Problem;
use crate::outcome::why_not_json;

/// How long a body may take. The largest has 1 MiB, and a tunnel may lie between: 30 s are for 300 kbit/s. Whoever sends nothing must
/// not keep a connection from others for longer.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// Gives the body of a request its time, from when its head has arrived.
pub(super) fn in_time(request: Request, within: Duration) -> Request {
    request.map(|body| Body::new(InTime { body, left: Box::pin(sleep(within)) }))
}

/// A body that arrived whole, in time and within the limit.
pub(super) fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("a body has at most {MAX_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Too large", detail)
        }
        _ if is_late(&rejection) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "Too late", "the body did not arrive whole in time")
        }
        _ => Problem::bad_request("the body did not arrive whole"),
    })
}

/// Reads a document out of a body; `wanted` shows how it looks.
pub(super) fn document<T: DeserializeOwned>(body: &[u8], wanted: &str) -> Result<T, Problem> {
    let read: Result<Named<T>, _> = serde_json::from_slice(body);
    let why = |error| Problem::bad_request(format!("the body must be {wanted}: {}", why_not_json(&error)));
    read.map(|Named(document)| document).map_err(why)
}

/// A body with a time.
struct InTime {
    body: Body,
    left: Pin<Box<Sleep>>,
}

/// Its time was over first.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl Error for Late {}

fn is_late(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<Late>())
}

impl hyper::body::Body for InTime {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.left.as_mut().poll(context));
        Poll::Ready(Some(Err(Late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Decides how a message to one or to all is taken from a caller, one or a numbered series, and how what became of each is told.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kodikon::api::{BroadcastDoc, MessageDoc};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::handlers::whole;
use super::problem::Problem;
use super::{Api, NodeView};

/// Messages of a series at most: a hundred a second for nearly three hours.
const MAX_SERIES: u32 = 1_000_000;
/// Lines that wait for a slow caller; the series waits with them.
const LINES_WAITING: usize = 1_024;

/// `POST /v1/messages`.
pub(crate) async fn send<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let message: MessageDoc = serde_json::from_slice(&whole(body)?)
        .map_err(|error| Problem::bad_request(format!("the body must be {{\"to\", \"payload\", …}}: {error}")))?;
    let Some(count) = message.repeat else {
        return Ok(Json(api.node.send(message, None).await?).into_response());
    };
    series(count, message.interval_ms, move |n| {
        let one = MessageDoc { payload: numbered(message.payload.clone(), n), ..message.clone() };
        let api = Arc::clone(&api);
        async move {
            match api.node.send(one, Some(n)).await {
                Ok(row) => json!(row),
                Err(error) => json!(refused(n, Problem::from(error).detail())),
            }
        }
    })
}

/// `POST /v1/broadcasts`.
pub(crate) async fn broadcast<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let message: BroadcastDoc = serde_json::from_slice(&whole(body)?)
        .map_err(|error| Problem::bad_request(format!("the body must be {{\"payload\", …}}: {error}")))?;
    let Some(count) = message.repeat else {
        return Ok(Json(api.node.broadcast(message, None).await?).into_response());
    };
    series(count, message.interval_ms, move |n| {
        let one = BroadcastDoc { payload: numbered(message.payload.clone(), n), ..message.clone() };
        let api = Arc::clone(&api);
        async move {
            match api.node.broadcast(one, Some(n)).await {
                Ok(row) => json!(row),
                Err(error) => json!({"n": n, "error": Problem::from(error).detail()}),
            }
        }
    })
}

/// Sends a series in its rhythm, several under way at once; the caller that goes away ends it.
fn series<F: Future<Output = Value> + Send + 'static>(
    count: u32,
    interval_ms: Option<u32>,
    one: impl Fn(u32) -> F + Send + 'static,
) -> Result<Response, Problem> {
    if !(1..=MAX_SERIES).contains(&count) {
        return Err(Problem::bad_request(format!("repeat is {count}: a series has 1 to {MAX_SERIES}")));
    }
    let (lines, told) = mpsc::channel(LINES_WAITING);
    tokio::spawn(async move {
        let pause = Duration::from_millis(u64::from(interval_ms.unwrap_or(1_000)).max(1));
        let mut rhythm = interval(pause);
        // A late tick is made up for, so that the n-th is sent at n times the interval.
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 1..=count {
            rhythm.tick().await;
            // Its place is taken first: whoever reads slowly is sent for slowly.
            let Ok(place) = lines.clone().reserve_owned().await else { return };
            let line = one(n);
            tokio::spawn(async move { place.send(format!("{}\n", line.await)) });
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(Lines(told))).into_response())
}

/// One of a series: its number stands in the payload, so that the receiver can tell what is missing.
fn numbered(payload: Value, n: u32) -> Value {
    if let Value::Object(mut members) = payload {
        members.insert("n".to_owned(), n.into());
        return Value::Object(members);
    }
    json!({"n": n, "data": payload})
}

fn refused(n: u32, reason: &str) -> Value {
    json!({"n": n, "outcome": "unreachable", "reason": reason, "rtt_ms": null, "path": [], "attempts": 0})
}

/// Lines as a body.
struct Lines(mpsc::Receiver<String>);

impl Stream for Lines {
    type Item = Result<String, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|line| line.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_joins_the_members_of_an_object_and_wraps_anything_else() {
        assert_eq!(numbered(json!({"fps": 3}), 7), json!({"fps": 3, "n": 7}));
        assert_eq!(numbered(json!("hello"), 7), json!({"n": 7, "data": "hello"}));
    }
}

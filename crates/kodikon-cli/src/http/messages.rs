//! Decides how a message to one or to all is taken from a caller, one or a numbered series, and how what became of each is told.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kodikon::SENDS_WAITING;
use kodikon::api::{BroadcastDoc, MessageDoc};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::body::{document, whole};
use super::problem::Problem;
use super::{Api, NodeView, ViewError};

/// Messages of a series at most: a hundred a second for nearly three hours.
const MAX_SERIES: u32 = 1_000_000;
/// Lines that wait for a slow caller; the series waits with them.
const LINES_WAITING: usize = 1_024;
/// Each message under way holds a place for its line. A node has no more of them under way than it has room for and refuses the next
/// at once, so what is sent while nobody answers never waits for a place: an outage breaks no rhythm.
const PLACES: usize = SENDS_WAITING + LINES_WAITING;

/// `POST /v1/messages`.
pub(crate) async fn send<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let message: MessageDoc = document(&whole(body)?, "{\"to\", \"payload\", …}")?;
    let Some(series) = Series::of(message.repeat, message.interval_ms, (message.progress, &message.payload))? else {
        return Ok(Json(api.node.send(message, None).await?).into_response());
    };
    // What breaks a limit does so each time. The last number is the longest.
    let last = MessageDoc { payload: numbered(message.payload.clone(), series.count), ..message.clone() };
    api.node.check(&last)?;
    Ok(series.run(move |n| {
        let one = MessageDoc { payload: numbered(message.payload.clone(), n), ..message.clone() };
        let api = Arc::clone(&api);
        async move {
            match api.node.send(one, Some(n)).await {
                Ok(row) => Ok(json!(row)),
                Err(ViewError::Stopped) => Err(refused(n, "the node stops")),
                Err(error) => Ok(refused(n, Problem::from(error).detail())),
            }
        }
    }))
}

/// `POST /v1/broadcasts`.
pub(crate) async fn broadcast<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let message: BroadcastDoc = document(&whole(body)?, "{\"payload\", …}")?;
    let Some(series) = Series::of(message.repeat, message.interval_ms, (false, &message.payload))? else {
        return Ok(Json(api.node.broadcast(message, None).await?).into_response());
    };
    let last = BroadcastDoc { payload: numbered(message.payload.clone(), series.count), ..message.clone() };
    api.node.check_broadcast(&last)?;
    Ok(series.run(move |n| {
        let one = BroadcastDoc { payload: numbered(message.payload.clone(), n), ..message.clone() };
        let api = Arc::clone(&api);
        async move {
            match api.node.broadcast(one, Some(n)).await {
                Ok(row) => Ok(json!(row)),
                Err(ViewError::Stopped) => Err(json!({"n": n, "error": "the node stops"})),
                Err(error) => Ok(json!({"n": n, "error": Problem::from(error).detail()})),
            }
        }
    }))
}

/// A numbered series.
#[derive(Clone, Copy)]
struct Series {
    count: u32,
    pause: Duration,
    progress: bool,
}

impl Series {
    /// `None` for one alone.
    fn of(
        repeat: Option<u32>,
        interval_ms: Option<u32>,
        (progress, payload): (bool, &Value),
    ) -> Result<Option<Self>, Problem> {
        if interval_ms == Some(0) {
            return Err(Problem::bad_request("interval_ms is 0: a series takes a millisecond at least between two"));
        }
        if repeat.is_some() && payload.get("n").is_some() {
            // What its author counts by it is lost otherwise.
            return Err(Problem::bad_request("the payload has a member `n`: a series numbers its messages there"));
        }
        let pause = Duration::from_millis(u64::from(interval_ms.unwrap_or(1_000)));
        match repeat {
            None => Ok(None),
            Some(count @ 1..=MAX_SERIES) => Ok(Some(Self { count, pause, progress })),
            Some(count) => Err(Problem::bad_request(format!("repeat is {count}: a series has 1 to {MAX_SERIES}"))),
        }
    }

    /// Says one after the other in its rhythm, several under way at once; the caller that goes away ends it, and the first that
    /// becomes an error, which is a line, too.
    fn run<F>(self, one: impl Fn(u32) -> F + Send + 'static) -> Response
    where
        F: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        let (lines, told) = mpsc::channel(PLACES);
        tokio::spawn(async move {
            let mut rhythm = interval(self.pause);
            // A late tick is made up for, so that the n-th is sent at n times the interval.
            rhythm.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let is_over = Arc::new(AtomicBool::new(false));
            for n in 1..=self.count {
                tokio::select! {
                    _ = rhythm.tick() => {}
                    () = lines.closed() => return,
                }
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Its place is taken first: whoever reads slowly is sent for slowly.
                let Ok(place) = lines.clone().reserve_owned().await else { return };
                if self.progress {
                    // The next tells it, too, where there is no place for it.
                    let _ = lines.try_send(format!("{}\n", json!({"sent": n})));
                }
                let (said, ends) = (one(n), Arc::clone(&is_over));
                tokio::spawn(async move {
                    let said = said.await;
                    ends.fetch_or(said.is_err(), Ordering::Relaxed);
                    let (Ok(line) | Err(line)) = said;
                    place.send(format!("{line}\n"));
                });
            }
        });
        ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(Lines(told))).into_response()
    }
}

/// One of a series: its number stands in the payload, so that the receiver can tell what is missing.
fn numbered(payload: Value, n: u32) -> Value {
    if let Value::Object(mut members) = payload {
        members.insert("n".to_owned(), n.into());
        return Value::Object(members);
    }
    json!({"n": n, "data": payload})
}

/// One of a series that was not even tried.
fn refused(n: u32, reason: &str) -> Value {
    json!({"n": n, "outcome": "refused", "reason": reason, "rtt_ms": null, "path": [], "attempts": 0})
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

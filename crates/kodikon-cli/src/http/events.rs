//! Events for many readers: a ring of the last ones, from which each reads at its own pace, and learns what it missed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kodikon::api::{Event, What};
use kodikon::{EventKind, EventStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::problem::Problem;
use super::{Api, NodeView};

/// The names of the kinds of event there are.
pub(crate) fn kinds() -> [&'static str; EventKind::ALL.len()] {
    EventKind::ALL.map(EventKind::name)
}

/// Events that are kept: some minutes of a lively mesh.
const MAX_EVENTS: usize = 4_096;
/// Their bytes: states have up to 16 KiB each.
const MAX_BYTES: usize = 4 << 20;
/// Readers at once.
const MAX_READERS: usize = 64;
/// Events that are handed on together at most: as many are in memory twice.
const BATCH: usize = 128;
/// While nobody reads along so many wait in the node's own log, or half of what it keeps.
const UNREAD: u64 = 32;
/// Readers that come at once.
const CALLS: usize = 8;

/// The last events. A clone is the same ring.
#[derive(Clone, Debug)]
pub(crate) struct EventRing {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Names this run: an id of an earlier one means nothing here.
    run: String,
    kept: Mutex<Kept>,
    /// The number of the next event, and whether there will be one.
    head: watch::Sender<(u64, bool)>,
    readers: Arc<Semaphore>,
    /// Where those who begin to read ask for what the node has told so far; unset until the ring is fed.
    calls: OnceLock<mpsc::Sender<oneshot::Sender<()>>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the oldest that is kept, or of the next.
    first: u64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl EventRing {
    /// A ring for the run of this name.
    pub(crate) fn new(run: &str) -> Self {
        let shared = Shared {
            run: run.to_owned(),
            kept: Mutex::default(),
            head: watch::Sender::new((0, true)),
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            calls: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Keeps events for the readers until the node has ended: what came at once is handed on at once, since each waking of another thread
    /// costs more than an event, and while nobody reads along, only what would be too much for the node's own log.
    pub(crate) async fn feed(self, mut events: EventStream) {
        let (sender, mut calls) = mpsc::channel(CALLS);
        // An error means that it is fed already.
        let _ = self.shared.calls.set(sender);
        loop {
            let least = if self.is_read() { 1 } else { UNREAD };
            let called = tokio::select! {
                call = calls.recv() => call,
                any = events.wait_for(least) => if any { None } else { break },
            };
            while let batch = batch(&mut events)
                && !batch.is_empty()
            {
                self.extend(batch);
            }
            // Whoever has gone away meanwhile needs no answer.
            called.map(|call| call.send(()));
        }
        self.close();
    }

    /// Waits until all that the node has told so far is here.
    async fn catch_up(&self) {
        let (call, answer) = oneshot::channel();
        if let Some(calls) = self.shared.calls.get()
            && calls.send(call).await.is_ok()
        {
            // An error means that the node has ended.
            let _ = answer.await;
        }
    }

    /// Adds events, and wakes the readers once for all of them; the oldest go where there is no room.
    pub(crate) fn extend(&self, events: Vec<Arc<Event>>) {
        let bytes: usize = events.iter().map(|event| event.weight()).sum();
        let mut kept = self.kept();
        kept.bytes += bytes;
        kept.events.extend(events);
        while kept.events.len() > MAX_EVENTS || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.weight();
            kept.first += 1;
        }
        let next = kept.first + kept.events.len() as u64;
        drop(kept);
        self.shared.head.send_modify(|head| head.0 = next);
    }

    /// Whether anybody reads along.
    pub(crate) fn is_read(&self) -> bool {
        self.shared.readers.available_permits() < MAX_READERS
    }

    /// Ends all streams once they have read what there is.
    pub(crate) fn close(&self) {
        self.shared.head.send_modify(|head| head.1 = false);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Whoever panicked left whole lines: each change is a few assignments.
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a reader begins: after the event it saw last, or with the next one.
    fn start(&self, last: Option<&str>) -> (u64, Option<Missing>) {
        let kept = self.kept();
        let next = kept.first + kept.events.len() as u64;
        let Some(last) = last else { return (next, None) };
        let number =
            last.strip_prefix(self.shared.run.as_str()).and_then(|rest| rest.strip_prefix('-')?.parse::<u64>().ok());
        match number.and_then(|number| number.checked_add(1)) {
            Some(wanted) if wanted >= kept.first && wanted <= next => (wanted, None),
            Some(wanted) if wanted < kept.first => (kept.first, Some(Missing(Some(kept.first - wanted)))),
            // An id of another run, or of none.
            _ => (kept.first, Some(Missing(None))),
        }
    }

    fn get(&self, number: u64) -> Result<Option<Arc<Event>>, Missing> {
        let kept = self.kept();
        if number < kept.first {
            return Err(Missing(Some(kept.first - number)));
        }
        let at = usize::try_from(number - kept.first).unwrap_or(usize::MAX);
        Ok(kept.events.get(at).cloned())
    }
}

/// The events that are there, so many at most.
fn batch(events: &mut EventStream) -> Vec<Arc<Event>> {
    std::iter::from_fn(|| events.try_next()).take(BATCH).collect()
}

/// So many events are gone; none: nobody knows how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing(Option<u64>);

/// One reader of the ring.
pub(crate) struct Reader {
    ring: EventRing,
    head: watch::Receiver<(u64, bool)>,
    next: u64,
    missing: Option<Missing>,
    kinds: Vec<String>,
    /// There are a few.
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event of a wanted kind and its number; none at the end.
    async fn read(&mut self) -> Option<(u64, Arc<Event>)> {
        loop {
            if let Some(found) = self.read_now() {
                return Some(found);
            }
            let next = self.next;
            let (head, open) = *self.head.wait_for(|(head, open)| *head > next || !open).await.ok()?;
            if head <= next && !open {
                return None;
            }
        }
    }

    /// The same, if there is one already.
    fn read_now(&mut self) -> Option<(u64, Arc<Event>)> {
        loop {
            if let Some(Missing(count)) = self.missing.take() {
                let event = Arc::new(Event::new(now(), What::Missed { count }));
                // It has the number before the next event's: to resume after it is to resume there.
                return Some((self.next.wrapping_sub(1), event));
            }
            match self.ring.get(self.next) {
                Ok(Some(event)) => {
                    let number = self.next;
                    self.next += 1;
                    if self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.what.name()) {
                        return Some((number, event));
                    }
                }
                Ok(None) => return None,
                Err(missing) => {
                    self.next += missing.0.unwrap_or_default();
                    self.missing = Some(missing);
                }
            }
        }
    }
}

/// The wall clock, for the one event that the API itself tells.
fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

type Reading = Pin<Box<dyn Future<Output = Option<(SseEvent, Reader)>> + Send>>;

/// A reader as a stream of server-sent events.
struct SseStream(Option<Reading>);

impl SseStream {
    fn new(reader: Reader) -> Self {
        Self(Some(Self::reading(reader)))
    }

    fn reading(mut reader: Reader) -> Reading {
        Box::pin(async move {
            let (number, told) = reader.read().await?;
            let json = serde_json::to_string(&*told).expect("an event has no keys but strings");
            let mut event = SseEvent::default().event(told.what.name()).data(json);
            if number != u64::MAX {
                event = event.id(format!("{}-{number}", reader.ring.shared.run));
            }
            Some((event, reader))
        })
    }
}

impl Stream for SseStream {
    type Item = Result<SseEvent, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(reading) = self.0.as_mut() else { return Poll::Ready(None) };
        match reading.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some((event, reader))) => {
                self.0 = Some(Self::reading(reader));
                Poll::Ready(Some(Ok(event)))
            }
            Poll::Ready(None) => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

/// `GET /v1/events`: from now on, or after `Last-Event-ID`; `?type=` chooses kinds.
pub(crate) async fn stream<N: NodeView>(
    State(api): State<Arc<Api<N>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kinds = wanted_kinds(query.as_deref().unwrap_or_default())?;
    let ring = &api.events;
    let place = Arc::clone(&ring.shared.readers).try_acquire_owned().map_err(|_| {
        let detail = format!("{MAX_READERS} readers follow the events already: end one of them");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many readers", detail)
    })?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    ring.catch_up().await;
    let head = ring.shared.head.subscribe();
    let (next, missing) = ring.start(last);
    let reader = Reader { ring: ring.clone(), head, next, missing, kinds, _place: place };
    Ok(Sse::new(SseStream::new(reader)).keep_alive(KeepAlive::default()).into_response())
}

/// The values of `type` in a query.
fn wanted_kinds(query: &str) -> Result<Vec<String>, Problem> {
    let mut wanted: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let kind = pair.strip_prefix("type=").ok_or_else(|| {
            Problem::bad_request(format!("`{pair}` is no parameter of events; there is `type`, which may be repeated"))
        })?;
        if !kinds().contains(&kind) {
            return Err(Problem::bad_request(format!(
                "`{kind}` is no type of event; there are {}",
                kinds().join(", ")
            )));
        }
        if !wanted.iter().any(|known| known == kind) {
            wanted.push(kind.to_owned());
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Arc<Event> {
        Arc::new(Event::new(0.0, What::Isolated { isolated: true, reason: n.to_string() }))
    }

    fn reader(ring: &EventRing, last: Option<&str>, kinds: &[&str]) -> Reader {
        let (next, missing) = ring.start(last);
        Reader {
            ring: ring.clone(),
            head: ring.shared.head.subscribe(),
            next,
            missing,
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            _place: Arc::clone(&ring.shared.readers).try_acquire_owned().expect("a place"),
        }
    }

    async fn all(mut reader: Reader) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        while let Some((number, event)) = reader.read().await {
            let value = serde_json::to_value(&*event).expect("JSON");
            let told = value.get("reason").or(value.get("count")).expect("both kinds used here have one");
            found.push((number, told.to_string()));
        }
        found
    }

    #[tokio::test]
    async fn a_reader_resumes_after_the_event_it_saw_last() {
        let ring = EventRing::new("r");
        (0..4).for_each(|n| ring.extend(vec![event(n)]));
        ring.close();
        let told = |numbers: &[u64]| numbers.iter().map(|n| (*n, format!("\"{n}\""))).collect::<Vec<_>>();
        for (last, expected) in
            [(None, told(&[])), (Some("r-3"), told(&[])), (Some("r-1"), told(&[2, 3])), (Some("r-0"), told(&[1, 2, 3]))]
        {
            assert_eq!(all(reader(&ring, last, &[])).await, expected, "{last:?}");
        }
    }

    #[tokio::test]
    async fn an_id_of_another_run_is_told_and_answered_with_all_there_is() {
        let ring = EventRing::new("r");
        (0..2).for_each(|n| ring.extend(vec![event(n)]));
        ring.close();
        for last in ["s-1", "r-9", "r-", "r-18446744073709551615", "", "nonsense"] {
            let found = all(reader(&ring, Some(last), &[])).await;
            assert_eq!(found.len(), 3, "{last}: {found:?}");
            assert_eq!(found[0].1, "null", "{last}: nobody knows how many were missed");
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_learns_how_many_it_missed() {
        let ring = EventRing::new("r");
        let late = reader(&ring, None, &[]);
        let resumed = || reader(&ring, Some("r-0"), &[]);
        (0..MAX_EVENTS + 5).for_each(|n| ring.extend(vec![event(n)]));
        ring.close();
        let found = all(late).await;
        assert_eq!(found[0], (4, "5".to_owned()));
        assert_eq!(found[1], (5, "\"5\"".to_owned()));
        assert_eq!(found.len(), MAX_EVENTS + 1);
        assert_eq!(all(resumed()).await[0], (4, "4".to_owned()));
    }

    #[test]
    fn large_events_leave_no_more_than_the_limit_of_bytes() {
        let ring = EventRing::new("r");
        let (node_id, id, priority) = ("cam".to_owned(), "c".repeat(32), "normal".to_owned());
        let what = What::Message {
            source: node_id.clone(),
            node_id,
            id,
            kind: "door".to_owned(),
            payload: "x".repeat(MAX_BYTES / 4).into(),
            priority,
            path: Vec::new(),
            sent_to: None,
        };
        let event = Arc::new(Event::new(0.0, what));
        for _ in 0..10 {
            ring.extend(vec![Arc::clone(&event)]);
        }
        let kept = ring.kept();
        assert!(kept.bytes <= MAX_BYTES, "{}", kept.bytes);
        assert_eq!((kept.events.len(), kept.first), (3, 7));
    }

    #[tokio::test]
    async fn it_is_read_as_long_as_somebody_follows() {
        let ring = EventRing::new("r");
        assert!(!ring.is_read());
        let reader = reader(&ring, None, &[]);
        assert!(ring.is_read());
        drop(reader);
        assert!(!ring.is_read());
    }

    #[tokio::test]
    async fn what_nobody_reads_along_is_there_for_whoever_comes() {
        let fleet = format!("ring-{}", std::process::id());
        let mesh = kodikon::Mesh::builder("cam").in_memory().mesh_name(&fleet).interfaces(["lo"]);
        let (mesh, events) = mesh.start_watched().await.expect("a node");
        let (ring, mut told) = (EventRing::new("r"), events.clone());
        let count = |ring: &EventRing| ring.kept().events.iter().filter(|event| event.what.name() == "state").count();
        let feeding = tokio::spawn(ring.clone().feed(events));
        let set = |n: u32| mesh.set_state(serde_json::json!({"n": n})).expect("a state");
        set(1);
        while told.next().await.is_some_and(|event| event.what.name() != "state") {}
        tokio::task::yield_now().await;
        assert_eq!(count(&ring), 0, "it waits at the node");
        // More callers than are answered at once, one of whom goes away.
        let calls: Vec<_> = (0..2 * CALLS)
            .map(|_| ring.clone())
            .map(|ring| tokio::spawn(async move { ring.catch_up().await }))
            .collect();
        calls[0].abort();
        for call in calls.into_iter().skip(1) {
            call.await.expect("it is answered");
        }
        assert_eq!(count(&ring), 1);

        let mut reader = reader(&ring, Some("r-0"), &["state"]);
        ring.catch_up().await;
        set(2);
        let (_, event) = reader.read().await.expect("who reads along is fed at once");
        let json = serde_json::to_string(&*event).expect("JSON");
        assert!(json.contains(r#""n":2"#) || json.contains(r#""n":1"#), "{json}");
        mesh.shutdown().await;
        feeding.await.expect("it ends with the node");
        ring.catch_up().await;
    }

    #[tokio::test]
    async fn only_wanted_kinds_are_read() {
        let ring = EventRing::new("r");
        let (states, isolated) = (reader(&ring, None, &["state"]), reader(&ring, None, &["isolated", "state"]));
        ring.extend(vec![event(0)]);
        ring.close();
        assert!(all(states).await.is_empty());
        assert_eq!(all(isolated).await.len(), 1);
    }

    #[test]
    fn the_query_chooses_kinds_and_nothing_else() {
        for (query, expected) in [
            ("", Some(&[][..])),
            ("type=state", Some(&["state"][..])),
            ("type=state&type=peer_up&type=state", Some(&["state", "peer_up"][..])),
            ("type=message", Some(&["message"][..])),
            ("type=any", None),
            ("type=party", None),
            ("since=5", None),
        ] {
            let found = wanted_kinds(query).ok();
            assert_eq!(
                found.as_ref().map(|kinds| kinds.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(),
                expected,
                "{query}"
            );
        }
    }
}

//! Decides how the application hears what happens: a bounded stream of which a slow reader loses the oldest, and learns how many.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use serde_json::Value;
use tokio::sync::watch;

use crate::api::{Event, What};
use crate::clock::{Clock as _, SystemClock};

/// Events kept for slow readers: a thousand peers may come up at once without a loss.
pub const EVENTS_KEPT: usize = 1_024;

/// A kind of event that a handler can be set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A peer was found, or came back.
    PeerUp,
    /// A peer missed its turn and did not answer.
    PeerSuspect,
    /// A peer was declared failed.
    PeerFailed,
    /// A peer said goodbye.
    PeerLeft,
    /// A node's state changed; one's own too.
    State,
    /// Somebody said something to this node.
    Message,
    /// An alert reached this node.
    Alert,
    /// A person acknowledged an alert.
    AlertAck,
    /// Another node has seen something.
    Record,
    /// A search of this node's application has ended, or this node has answered one of another's.
    Search,
    /// This node hears nobody, or somebody again.
    Isolated,
    /// Every kind.
    Any,
}

impl EventKind {
    /// Every kind but [`EventKind::Any`].
    pub const ALL: [Self; 11] = [
        Self::PeerUp,
        Self::PeerSuspect,
        Self::PeerFailed,
        Self::PeerLeft,
        Self::State,
        Self::Message,
        Self::Alert,
        Self::AlertAck,
        Self::Record,
        Self::Search,
        Self::Isolated,
    ];

    /// The value of `event` in JSON; `any` for every kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerUp => "peer_up",
            Self::PeerSuspect => "peer_suspect",
            Self::PeerFailed => "peer_failed",
            Self::PeerLeft => "peer_left",
            Self::State => "state",
            Self::Message => "message",
            Self::Alert => "alert",
            Self::AlertAck => "alert_ack",
            Self::Record => "record",
            Self::Search => "search",
            Self::Isolated => "isolated",
            Self::Any => "any",
        }
    }

    /// Whether this kind covers an event.
    #[must_use]
    pub fn covers(self, what: &What) -> bool {
        self == Self::Any || Self::of(what) == Some(self)
    }

    /// The kind of an event; `None` for the notice that events were missed.
    #[must_use]
    pub const fn of(what: &What) -> Option<Self> {
        match what {
            What::PeerUp { .. } => Some(Self::PeerUp),
            What::PeerSuspect { .. } => Some(Self::PeerSuspect),
            What::PeerFailed { .. } => Some(Self::PeerFailed),
            What::PeerLeft { .. } => Some(Self::PeerLeft),
            What::State { .. } => Some(Self::State),
            What::Message { .. } => Some(Self::Message),
            What::Alert { .. } => Some(Self::Alert),
            What::AlertAck { .. } => Some(Self::AlertAck),
            What::Record { .. } => Some(Self::Record),
            What::Search { .. } => Some(Self::Search),
            What::Isolated { .. } => Some(Self::Isolated),
            What::Missed { .. } => None,
        }
    }
}

/// Bytes of events kept for slow readers, as they lie in memory: states may have 16 KiB of JSON each, and several times
/// that when read.
pub(crate) const BYTES_KEPT: usize = 4 << 20;

/// What was told lately, for as long as a reader has not read it: at most [`EVENTS_KEPT`] events and [`BYTES_KEPT`].
#[derive(Debug)]
pub(crate) struct EventLog {
    kept: Mutex<Kept>,
    /// The number of the next event, and whether there will be one.
    head: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Kept {
    first: u64,
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// By reader: the event it reads next.
    readers: BTreeMap<u64, u64>,
    next_reader: u64,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), head: watch::Sender::new((0, true)) }
    }

    /// Takes in what all readers are to hear once [`EventLog::announce`] wakes them. Never waits for one: a lock is held for as long as
    /// it takes to move a pointer.
    pub(crate) fn push(&self, event: Arc<Event>, bytes: usize) {
        let mut kept = self.kept();
        if kept.readers.is_empty() {
            kept.first += 1;
            return;
        }
        kept.bytes += bytes;
        kept.events.push_back((event, bytes));
        while kept.events.len() > EVENTS_KEPT || (kept.bytes > BYTES_KEPT && kept.events.len() > 1) {
            kept.drop_oldest();
        }
    }

    /// Tells the readers that there is more: once for all that came at once, since to wake another thread costs more than most events.
    pub(crate) fn announce(&self) {
        let kept = self.kept();
        let (next, is_heard) = (kept.next(), !kept.readers.is_empty());
        drop(kept);
        // Whoever comes to read after the lock was dropped reads from the next event on, and is told of that one.
        self.head.send_if_modified(|head| {
            let is_news = head.0 != next;
            head.0 = next;
            is_news && is_heard
        });
    }

    /// Ends all streams once they have read what there is.
    pub(crate) fn close(&self) {
        self.head.send_modify(|head| head.1 = false);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked left whole events: each change is a few assignments.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self) -> u64 {
        let mut kept = self.kept();
        let (reader, next) = (kept.next_reader, kept.next());
        kept.next_reader += 1;
        kept.readers.insert(reader, next);
        reader
    }

    fn unsubscribe(&self, reader: u64) {
        let mut kept = self.kept();
        kept.readers.remove(&reader);
        kept.trim();
    }

    /// What a reader finds: an event, how many it missed, or nothing yet and the number to wait for.
    fn read(&self, reader: u64) -> Found {
        let mut kept = self.kept();
        let first = kept.first;
        let Some(next) = kept.readers.get(&reader).copied() else { return Found::Nothing(u64::MAX) };
        let at = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let event = kept.events.get(at).map(|(event, _)| Arc::clone(event));
        let (after, found) = match event {
            _ if next < first => (first, Found::Missed(first - next)),
            Some(event) => (next + 1, Found::Event(event)),
            None => return Found::Nothing(next),
        };
        kept.readers.insert(reader, after);
        kept.trim();
        found
    }
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bytes)) = self.events.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }

    /// Drops what all have read.
    fn trim(&mut self) {
        let wanted = self.readers.values().copied().min().unwrap_or(u64::MAX);
        while self.first < wanted && !self.events.is_empty() {
            self.drop_oldest();
        }
    }
}

#[derive(Debug)]
enum Found {
    Event(Arc<Event>),
    Missed(u64),
    Nothing(u64),
}

/// Bytes that an event takes in memory, about: only states and messages are large.
pub(crate) fn weight(event: &Event) -> usize {
    const SMALL: usize = 512;
    match &event.what {
        What::State { state, .. } => {
            SMALL + state.iter().map(|(key, value)| key.len() + 64 + size_of(value)).sum::<usize>()
        }
        What::Message { payload, .. } => SMALL + size_of(payload),
        What::Alert { alert, .. } => SMALL + size_of(alert),
        What::Record { record, .. } => {
            let members = record.metadata.iter().map(|(key, value)| key.len() + 64 + size_of(value)).sum::<usize>();
            let owned = [&record.ownership_history, &record.transfer_token, &record.location_signature];
            2 * SMALL + members + owned.into_iter().map(size_of).sum::<usize>()
        }
        What::PeerUp { .. }
        | What::PeerSuspect { .. }
        | What::PeerFailed { .. }
        | What::PeerLeft { .. }
        | What::AlertAck { .. }
        | What::Isolated { .. }
        | What::Search { .. }
        | What::Missed { .. } => SMALL,
    }
}

/// A value with all it holds. It was read from text, which is never nested deeper than its reader goes.
fn size_of(value: &Value) -> usize {
    let held = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size_of).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + 64 + size_of(value)).sum(),
    };
    std::mem::size_of::<Value>() + held
}

type Head = watch::Receiver<(u64, bool)>;
type Waiting = Pin<Box<dyn Future<Output = (bool, Head)> + Send>>;

/// What happens from the moment it was asked for. It ends when the node has stopped.
///
/// A reader more than [`EVENTS_KEPT`] events or 4 MiB of them behind loses the oldest and finds one [`What::Missed`] in
/// their place: it should read peers and states again.
pub struct EventStream {
    log: Arc<EventLog>,
    reader: u64,
    waiting: Waiting,
    clock: SystemClock,
}

impl EventStream {
    pub(crate) fn new(log: &Arc<EventLog>, clock: SystemClock) -> Self {
        let reader = log.subscribe();
        let waiting = Box::pin(wait(log.head.subscribe(), 0));
        Self { log: Arc::clone(log), reader, waiting, clock }
    }

    /// The next event; `None` once the node has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.log.unsubscribe(self.reader);
    }
}

/// Waits for more than this many events, or for the end; whether more may come.
async fn wait(mut head: Head, seen: u64) -> (bool, Head) {
    let open = head.wait_for(|(next, open)| *next > seen || !open).await.is_ok_and(|head| head.1);
    (open, head)
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let seen = match self.log.read(self.reader) {
                Found::Event(event) => return Poll::Ready(Some(Arc::unwrap_or_clone(event))),
                Found::Missed(count) => {
                    let what = What::Missed { count: Some(count) };
                    return Poll::Ready(Some(Event { at: self.clock.wall(), what }));
                }
                Found::Nothing(seen) => seen,
            };
            let Poll::Ready((open, head)) = self.waiting.as_mut().poll(cx) else { return Poll::Pending };
            // What was told before the end is still read.
            let is_over = !open && head.borrow().0 <= seen;
            self.waiting = Box::pin(wait(head, seen));
            if is_over {
                return Poll::Ready(None);
            }
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("reader", &self.reader).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolated(n: usize) -> Arc<Event> {
        Arc::new(Event { at: 0.0, what: What::Isolated { isolated: true, reason: n.to_string() } })
    }

    fn state(bytes: usize) -> Arc<Event> {
        let state = [("k".to_owned(), Value::String("x".repeat(bytes)))].into_iter().collect();
        let (node_id, source, id) = ("cam".to_owned(), "cam".to_owned(), "c".repeat(32));
        Arc::new(Event { at: 0.0, what: What::State { node_id, source, id, version: 1, state } })
    }

    fn tell(log: &EventLog, event: Arc<Event>) {
        let bytes = weight(&event);
        log.push(event, bytes);
        log.announce();
    }

    #[test]
    fn a_kind_bears_the_name_of_its_events() {
        let (node_id, id, reason) = ("cam".to_owned(), "c".repeat(32), String::new());
        let (source, witnesses, version) = (node_id.clone(), Vec::new(), String::new());
        let verdict = (node_id.clone(), id.clone(), witnesses.clone(), reason.clone());
        let said = Arc::unwrap_or_clone(state(0)).what;
        let (kind, payload, priority) = ("door".to_owned(), Value::Null, "low".to_owned());
        let whats = [
            What::PeerUp { node_id: node_id.clone(), id: id.clone(), address: None, version, renamed_from: None },
            What::PeerSuspect { node_id: verdict.0, id: verdict.1, witnesses: verdict.2, reason: verdict.3 },
            What::PeerFailed { node_id: node_id.clone(), id: id.clone(), witnesses, reason: reason.clone() },
            What::PeerLeft { node_id: node_id.clone(), id: id.clone(), reason: reason.clone() },
            said,
            What::Message {
                node_id: node_id.clone(),
                id: id.clone(),
                source: source.clone(),
                kind,
                payload,
                priority: priority.clone(),
                path: Vec::new(),
                sent_to: None,
            },
            What::Alert {
                node_id: node_id.clone(),
                id: id.clone(),
                source: source.clone(),
                alert_id: String::new(),
                priority,
                alert: Value::Null,
                timestamp: 0.0,
                late: false,
                repeated: false,
            },
            What::AlertAck {
                node_id: node_id.clone(),
                id: id.clone(),
                source: source.clone(),
                alert_id: String::new(),
                by: String::new(),
                timestamp: 0.0,
            },
            What::Record { node_id: node_id.clone(), id: id.clone(), source, record: Box::default() },
            What::Search { node_id, id, found: 0, responded: 1, of: 1, certified: true, elapsed_ms: 0.5 },
            What::Isolated { isolated: true, reason },
        ];
        assert_eq!(whats.each_ref().map(|what| EventKind::of(what).unwrap()), EventKind::ALL);
        assert_eq!(whats.each_ref().map(What::name), EventKind::ALL.map(EventKind::name));
        assert_eq!(EventKind::of(&What::Missed { count: None }), None);
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_it_missed_and_reads_on() {
        let log = Arc::new(EventLog::new());
        let mut stream = EventStream::new(&log, SystemClock::new());
        for n in 0..EVENTS_KEPT + 7 {
            tell(&log, isolated(n));
        }
        assert_eq!(stream.next().await.unwrap().what, What::Missed { count: Some(7) });
        assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(7)));
    }

    #[tokio::test]
    async fn large_states_wait_for_a_slow_reader_within_a_limit_of_bytes() {
        let log = Arc::new(EventLog::new());
        let mut stream = EventStream::new(&log, SystemClock::new());
        for _ in 0..EVENTS_KEPT {
            tell(&log, state(16 * 1_024));
            assert!(log.kept().bytes <= BYTES_KEPT);
        }
        let kept = log.kept().events.len();
        assert!((100..=256).contains(&kept), "{kept} events");
        let missed = (EVENTS_KEPT - kept) as u64;
        assert_eq!(stream.next().await.unwrap().what, What::Missed { count: Some(missed) });
        assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(state(16 * 1_024)));
    }

    #[tokio::test]
    async fn what_all_have_read_and_what_nobody_reads_is_not_kept() {
        let log = Arc::new(EventLog::new());
        tell(&log, isolated(0));
        assert_eq!(log.kept().events.len(), 0, "nobody listens");
        let [mut quick, slow] = [0, 1].map(|_| EventStream::new(&log, SystemClock::new()));
        tell(&log, isolated(1));
        assert_eq!(quick.next().await.unwrap(), Arc::unwrap_or_clone(isolated(1)), "from now on");
        assert_eq!(log.kept().events.len(), 1);
        drop(slow);
        let kept = log.kept();
        assert_eq!((kept.events.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn a_state_weighs_what_it_takes_in_memory_and_not_its_text() {
        let nested: Value = serde_json::from_str(&format!("[{}0]", "0,".repeat(500))).unwrap();
        let state = [("k".to_owned(), nested)].into_iter().collect();
        let (node_id, source, id) = ("cam".to_owned(), "cam".to_owned(), "c".repeat(32));
        let event = Event { at: 0.0, what: What::State { node_id, source, id, version: 1, state } };
        assert!(weight(&event) > 501 * std::mem::size_of::<Value>());
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_node_and_stays_ended() {
        let log = Arc::new(EventLog::new());
        let mut stream = EventStream::new(&log, SystemClock::new());
        tell(&log, isolated(0));
        log.close();
        assert!(stream.next().await.is_some(), "what was said before the end is still heard");
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.next().await, None);
        assert_eq!(EventStream::new(&log, SystemClock::new()).next().await, None);
    }
}

//! Decides how the application hears what happens: a bounded stream of which a slow reader loses the oldest, and learns how many.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use serde_json::Value;

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

/// Events between two wakings of the readers that may be taken on the loop. What comes by the hundred is cheaper together, on the readers'
/// threads: none of it is taken until fewer come at once.
const TAKEN_AT_ONCE: usize = 8;

/// What was told lately, for as long as a reader has not read it: at most [`EVENTS_KEPT`] events and [`BYTES_KEPT`].
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the oldest event that is kept, or of the next.
    first: u64,
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    readers: BTreeMap<u64, Place>,
    next_reader: u64,
    /// Events since the readers were woken.
    told: usize,
    /// There were more than are taken at once before that.
    are_many: bool,
    /// There will be no more.
    is_over: bool,
}

/// Where a reader stands.
#[derive(Debug)]
struct Place {
    /// The event it reads next.
    next: u64,
    /// Wakes it once so many wait for it.
    waker: Option<(u64, Waker)>,
    taker: Option<Taker>,
}

/// Takes events on the loop before their reader is woken for them.
struct Taker(Box<dyn FnMut(&Event) -> bool + Send>);

impl std::fmt::Debug for Taker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taker").finish_non_exhaustive()
    }
}

impl EventLog {
    /// Takes in what all readers are to hear once [`EventLog::announce`] wakes them. Never waits for one: a lock is held for as long as
    /// it takes to move a pointer.
    pub(crate) fn push(&self, event: Arc<Event>, bytes: usize) {
        self.offer(&event);
        let mut kept = self.kept();
        kept.told += 1;
        let number = kept.next();
        if kept.events.is_empty() && kept.readers.values().all(|place| place.next > number) {
            kept.first += 1;
            return;
        }
        kept.bytes += bytes;
        kept.events.push_back((event, bytes));
        while kept.events.len() > EVENTS_KEPT || (kept.bytes > BYTES_KEPT && kept.events.len() > 1) {
            kept.drop_oldest();
        }
    }

    /// Offers the next event to those who take them on the loop. They are called, and dropped, without the lock: what they hold may be a
    /// stream itself.
    fn offer(&self, event: &Event) {
        let mut kept = self.kept();
        let number = kept.next();
        let mut takers: Vec<(u64, Taker)> = Vec::new();
        if kept.told < TAKEN_AT_ONCE && !kept.are_many {
            let up_to_date = kept.readers.iter_mut().filter(|(_, place)| place.next == number);
            takers.extend(up_to_date.filter_map(|(reader, place)| Some((*reader, place.taker.take()?))));
        }
        drop(kept);
        if takers.is_empty() {
            return;
        }
        let answers: Vec<(u64, Taker, bool)> = takers
            .into_iter()
            .filter_map(|(reader, taker)| taker.ask(event).map(|(taker, takes)| (reader, taker, takes)))
            .collect();
        let mut kept = self.kept();
        let mut replaced: Vec<Taker> = Vec::new();
        for (reader, taker, takes) in answers {
            match kept.readers.get_mut(&reader) {
                Some(place) => {
                    place.next += u64::from(takes);
                    match place.taker {
                        None => place.taker = Some(taker),
                        // Another was set meanwhile.
                        Some(_) => replaced.push(taker),
                    }
                }
                None => replaced.push(taker),
            }
        }
        drop(kept);
        drop(replaced);
    }

    /// Wakes the readers for whom there is enough: once for all that came at once, since to wake another thread costs more than most events.
    pub(crate) fn announce(&self) {
        let mut kept = self.kept();
        kept.are_many = kept.told > TAKEN_AT_ONCE;
        kept.told = 0;
        let (next, is_pressing) = (kept.next(), kept.is_pressing());
        let wakers: Vec<Waker> = kept.readers.values_mut().filter_map(|place| place.due(next, is_pressing)).collect();
        drop(kept);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all streams once they have read what there is.
    pub(crate) fn close(&self) {
        let mut kept = self.kept();
        kept.is_over = true;
        let wakers: Vec<Waker> =
            kept.readers.values_mut().filter_map(|place| place.waker.take()).map(|(_, waker)| waker).collect();
        drop(kept);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked left whole events: each change is a few assignments.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new reader: of what comes, or of what another has yet to read.
    fn subscribe(&self, other: Option<u64>) -> u64 {
        let mut kept = self.kept();
        let reader = kept.next_reader;
        let next = other.and_then(|other| kept.readers.get(&other)).map_or_else(|| kept.next(), |other| other.next);
        kept.next_reader += 1;
        kept.readers.insert(reader, Place { next, waker: None, taker: None });
        reader
    }

    fn unsubscribe(&self, reader: u64) {
        let mut kept = self.kept();
        // Dropped without the lock: whatever it holds may be a stream itself.
        let place = kept.readers.remove(&reader);
        kept.trim();
        drop(kept);
        drop(place);
    }

    /// What a reader finds: an event, how many it missed, that it is over, or nothing yet; it is woken then once there is more.
    fn read(&self, reader: u64, cx: &Context<'_>) -> Poll<Option<Found>> {
        let mut kept = self.kept();
        let (first, is_over) = (kept.first, kept.is_over);
        let Some(next) = kept.readers.get(&reader).map(|place| place.next) else { return Poll::Ready(None) };
        let at = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let event = kept.events.get(at).map(|(event, _)| Arc::clone(event));
        let (after, found) = match event {
            _ if next < first => (first, Found::Missed(first - next)),
            Some(event) => (next + 1, Found::Event(event)),
            None if is_over => return Poll::Ready(None),
            None => {
                kept.wake_with(reader, 1, cx.waker());
                return Poll::Pending;
            }
        };
        if let Some(place) = kept.readers.get_mut(&reader) {
            place.next = after;
        }
        kept.trim();
        Poll::Ready(Some(found))
    }

    /// Ready once so many events wait for a reader, or any and it is time to read, or when it is over; then with whether any does.
    fn wait_for(&self, reader: u64, least: u64, cx: &Context<'_>) -> Poll<bool> {
        let mut kept = self.kept();
        let (end, is_over) = (kept.next(), kept.is_over);
        let enough = if kept.is_pressing() { 1 } else { least };
        match kept.readers.get(&reader).map(|place| end.saturating_sub(place.next)) {
            Some(waiting) if waiting >= enough || is_over => Poll::Ready(waiting > 0),
            Some(_) => {
                kept.wake_with(reader, least, cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(false),
        }
    }

    fn set_taker(&self, reader: u64, taker: Taker) {
        let mut kept = self.kept();
        let former = kept.readers.get_mut(&reader).and_then(|place| place.taker.replace(taker));
        drop(kept);
        drop(former);
    }
}

impl Place {
    /// What wakes it if enough wait for it, where this is the next event.
    fn due(&mut self, next: u64, is_pressing: bool) -> Option<Waker> {
        let waiting = next.saturating_sub(self.next);
        self.waker.take_if(|(least, _)| waiting >= if is_pressing { 1 } else { *least }).map(|(_, waker)| waker)
    }
}

impl Taker {
    /// Itself and whether it takes an event. One that panics is not asked again: the stream has all it did not take.
    fn ask(mut self, event: &Event) -> Option<(Self, bool)> {
        match catch_unwind(AssertUnwindSafe(|| (self.0)(event))) {
            Ok(takes) => Some((self, takes)),
            Err(_) => {
                tracing::error!("what takes events on the loop panicked; they are read from the stream instead");
                None
            }
        }
    }
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Whether readers that wait for several are to read what there is, before the oldest have to go.
    fn is_pressing(&self) -> bool {
        self.bytes > BYTES_KEPT / 2 || self.events.len() > EVENTS_KEPT / 2
    }

    fn wake_with(&mut self, reader: u64, least: u64, waker: &Waker) {
        if let Some(place) = self.readers.get_mut(&reader) {
            match &mut place.waker {
                Some(held) => {
                    held.0 = least;
                    held.1.clone_from(waker);
                }
                none => *none = Some((least, waker.clone())),
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bytes)) = self.events.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }

    /// Drops what all have read.
    fn trim(&mut self) {
        let wanted = self.readers.values().map(|place| place.next).min().unwrap_or(u64::MAX);
        while self.first < wanted && !self.events.is_empty() {
            self.drop_oldest();
        }
    }
}

#[derive(Debug)]
enum Found {
    Event(Arc<Event>),
    Missed(u64),
}

impl Event {
    /// Bytes that it takes in memory, about: only states and messages are large.
    #[must_use]
    pub fn weight(&self) -> usize {
        const SMALL: usize = 512;
        match &self.what {
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

/// What happens from the moment it was asked for. It ends when the node has stopped.
///
/// A reader more than [`EVENTS_KEPT`] events or 4 MiB of them behind loses the oldest and finds one [`What::Missed`] in
/// their place: it should read peers and states again.
pub struct EventStream {
    log: Arc<EventLog>,
    reader: u64,
    clock: SystemClock,
}

impl EventStream {
    pub(crate) fn new(log: &Arc<EventLog>, clock: SystemClock) -> Self {
        Self { log: Arc::clone(log), reader: log.subscribe(None), clock }
    }

    /// The next event; `None` once the node has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next event, if it is there already; all readers share it.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        match self.poll_shared(&Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll_shared(&self, cx: &Context<'_>) -> Poll<Option<Arc<Event>>> {
        self.log.read(self.reader, cx).map(|found| {
            found.map(|found| match found {
                Found::Event(event) => event,
                Found::Missed(count) => {
                    Arc::new(Event { at: self.clock.wall(), what: What::Missed { count: Some(count) } })
                }
            })
        })
    }

    /// Waits until so many events are there to be read (at least one), or as many as half of what is kept for slow readers, and reads
    /// none. Whether any is there: `false` once the node has stopped and all is read.
    pub async fn wait_for(&mut self, least: u64) -> bool {
        std::future::poll_fn(|cx| self.log.wait_for(self.reader, least.max(1), cx)).await
    }

    /// Has events offered on the node's own loop, which saves the waking of a thread: each one before which this stream was read to its
    /// end, but of many that come at once the first few alone. Those for which `taker` returns `true` are not in the stream. While it runs
    /// nothing arrives and nobody is heard, so it must neither wait nor take more than some microseconds; one that panics is not asked
    /// again.
    pub fn take_on_loop(&mut self, taker: impl FnMut(&Event) -> bool + Send + 'static) {
        self.log.set_taker(self.reader, Taker(Box::new(taker)));
    }
}

/// A clone reads on from where the original stands; neither takes an event from the other.
impl Clone for EventStream {
    fn clone(&self) -> Self {
        Self { log: Arc::clone(&self.log), reader: self.log.subscribe(Some(self.reader)), clock: self.clock }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.log.unsubscribe(self.reader);
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_shared(cx).map(|event| event.map(Arc::unwrap_or_clone))
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("reader", &self.reader).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// What a future is ready with at once.
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn isolated(n: usize) -> Arc<Event> {
        Arc::new(Event { at: 0.0, what: What::Isolated { isolated: true, reason: n.to_string() } })
    }

    fn state(bytes: usize) -> Arc<Event> {
        let state = [("k".to_owned(), Value::String("x".repeat(bytes)))].into_iter().collect();
        let (node_id, source, id) = ("cam".to_owned(), "cam".to_owned(), "c".repeat(32));
        Arc::new(Event { at: 0.0, what: What::State { node_id, source, id, version: 1, state } })
    }

    fn tell(log: &EventLog, event: Arc<Event>) {
        let bytes = event.weight();
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
    async fn a_clone_reads_what_the_original_has_not_read_yet_and_both_read_all_of_it() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        (0..3).for_each(|n| tell(&log, isolated(n)));
        assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(0)));
        let mut clone = stream.clone();
        log.close();
        for stream in [&mut stream, &mut clone] {
            assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(1)));
            assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(2)));
            assert_eq!(stream.next().await, None);
        }
    }

    #[tokio::test]
    async fn who_waits_for_several_is_woken_for_the_last_of_them_or_at_the_end() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        for n in 0..2 {
            assert!(at_once(stream.wait_for(3)).is_none(), "{n} are there");
            tell(&log, isolated(n));
        }
        assert_eq!(at_once(stream.wait_for(2)), Some(true));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(pin!(stream.wait_for(4)).poll(&mut Context::from_waker(&waker)).is_pending());
        tell(&log, isolated(2));
        assert!(!woken.0.load(Ordering::Relaxed), "three are not four");
        tell(&log, isolated(3));
        assert!(woken.0.load(Ordering::Relaxed));
        assert!(stream.wait_for(4).await);
        log.close();
        assert!(stream.wait_for(9).await, "there will be no nine");
        while stream.next().await.is_some() {}
        assert!(!stream.wait_for(1).await);
    }

    #[tokio::test]
    async fn what_is_taken_on_the_loop_is_not_in_the_stream_and_what_came_before_it_is_read_first() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        let mut other = stream.clone();
        let (is_busy, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (busy, counted) = (Arc::clone(&is_busy), Arc::clone(&taken));
        stream.take_on_loop(move |event| {
            assert_ne!(*event, *isolated(4), "as a user's bug would");
            let takes = !busy.load(Ordering::Relaxed);
            counted.fetch_add(usize::from(takes), Ordering::Relaxed);
            takes
        });
        tell(&log, isolated(0));
        assert!(at_once(stream.wait_for(1)).is_none(), "it was taken");
        is_busy.store(true, Ordering::Relaxed);
        tell(&log, isolated(1));
        is_busy.store(false, Ordering::Relaxed);
        tell(&log, isolated(2));
        for n in 1..3 {
            assert_eq!(
                stream.next().await.unwrap(),
                Arc::unwrap_or_clone(isolated(n)),
                "the later waits for the earlier"
            );
        }
        tell(&log, isolated(3));
        assert_eq!(taken.load(Ordering::Relaxed), 2);
        for n in 4..6 {
            tell(&log, isolated(n));
            assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(n)), "nobody takes them any more");
        }
        for n in 0..6 {
            assert_eq!(other.next().await.unwrap(), Arc::unwrap_or_clone(isolated(n)), "others read all");
        }
        assert_eq!(log.kept().events.len(), 0);
    }

    #[test]
    fn who_waits_for_several_is_woken_before_the_oldest_have_to_go() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        let large = || state(512 * 1_024);
        for n in 1..=4 {
            assert!(at_once(stream.wait_for(32)).is_none(), "{n}");
            tell(&log, large());
        }
        assert_eq!(at_once(stream.wait_for(32)), Some(true), "they are more than 2 MiB");
        assert_eq!((0..9).filter(|_| stream.try_next() == Some(large())).count(), 4, "none is missed");
        for n in 0..EVENTS_KEPT / 2 {
            assert!(at_once(stream.wait_for(2_000)).is_none(), "{n}");
            tell(&log, isolated(n));
        }
        tell(&log, isolated(0));
        assert_eq!(at_once(stream.wait_for(2_000)), Some(true), "so many are never there");
    }

    #[test]
    fn of_many_that_come_at_once_the_first_few_are_taken_on_the_loop_and_then_none_until_fewer_come() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        stream.take_on_loop(|_| true);
        for (told, read) in [(1, 0), (8, 0), (20, 12), (20, 20), (8, 8), (8, 0)] {
            (0..told).for_each(|n| log.push(isolated(n), 512));
            log.announce();
            assert_eq!(std::iter::from_fn(|| stream.try_next()).count(), read, "of {told}");
        }
    }

    #[test]
    fn what_takes_events_may_hold_streams_of_the_same_node() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        for _ in 0..2 {
            let mut held = stream.clone();
            stream.take_on_loop(move |_| held.clone().try_next().is_none() && held.try_next().is_none());
        }
        tell(&log, isolated(0));
        let held = stream.clone();
        stream.take_on_loop(move |event| held.log.kept().first > 0 && panic!("{event:?}: as a user's bug would"));
        tell(&log, isolated(1));
        tell(&log, isolated(2));
        assert_eq!(log.kept().readers.len(), 1, "what it held is gone with it");
        drop(stream);
        assert_eq!(log.kept().events.len(), 0);
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_it_missed_and_reads_on() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        for n in 0..EVENTS_KEPT + 7 {
            tell(&log, isolated(n));
        }
        assert_eq!(stream.next().await.unwrap().what, What::Missed { count: Some(7) });
        assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(7)));
    }

    #[tokio::test]
    async fn large_states_wait_for_a_slow_reader_within_a_limit_of_bytes() {
        let log = Arc::new(EventLog::default());
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
        let log = Arc::new(EventLog::default());
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
        assert!(event.weight() > 501 * std::mem::size_of::<Value>());
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_node_and_stays_ended() {
        let log = Arc::new(EventLog::default());
        let mut stream = EventStream::new(&log, SystemClock::new());
        tell(&log, isolated(0));
        log.close();
        assert!(stream.next().await.is_some(), "what was said before the end is still heard");
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.next().await, None);
        assert_eq!(EventStream::new(&log, SystemClock::new()).next().await, None);
    }
}

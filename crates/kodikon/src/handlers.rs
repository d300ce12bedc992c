//! Decides how a user's handlers are called: each on a thread of its own behind a bounded queue, so that none can hold the loop
//! or another; or on the loop itself, for those that take no time. Both are caught when they panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::api::Event;
use crate::mesh::MeshError;
use crate::topic::Topic;

/// Events that wait for one handler; more are dropped, the newest first, and counted.
pub const HANDLER_QUEUE: usize = 1_024;
/// Bytes of events that wait for one handler.
const HANDLER_BYTES: usize = 4 << 20;
/// Handlers of one node at most, those on the loop included.
pub const HANDLERS_MAX: usize = 64;

/// How long a handler on the loop may take: datagrams wait meanwhile, and at 5,000 a second one comes each 200 µs.
const INLINE_WITHIN: Duration = Duration::from_micros(100);

/// What is counted of all handlers of a node.
#[derive(Debug, Default)]
pub(crate) struct HandlerCounts {
    /// Calls that panicked.
    pub(crate) panics: AtomicU64,
    /// Events dropped because a handler's queue was full.
    pub(crate) overflows: AtomicU64,
    /// Calls on the loop that took longer than they may.
    pub(crate) overruns: AtomicU64,
    /// Handlers set.
    set: AtomicUsize,
}

/// A handler's place among those that a node takes; free again when dropped.
#[derive(Debug)]
struct Place(Arc<HandlerCounts>);

impl Place {
    fn take(counts: &Arc<HandlerCounts>) -> Result<Self, MeshError> {
        let set = counts.set.fetch_add(1, Ordering::Relaxed);
        // Dropped where it is one too many.
        let place = Self(Arc::clone(counts));
        if set >= HANDLERS_MAX { Err(MeshError::TooManyHandlers { limit: HANDLERS_MAX }) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The loop's end of a handler's queue. The handler's thread ends after the last event once this is dropped.
#[derive(Debug)]
pub(crate) struct Handler {
    topic: Topic,
    queue: SyncSender<(Arc<Event>, usize)>,
    /// Bytes that wait in it.
    waiting: Arc<AtomicUsize>,
    place: Place,
}

impl Handler {
    /// Gives a handler its thread.
    ///
    /// # Errors
    /// [`MeshError::TooManyHandlers`] and [`MeshError::NoThread`].
    pub(crate) fn spawn(
        topic: Topic,
        counts: &Arc<HandlerCounts>,
        mut call: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Self, MeshError> {
        let place = Place::take(counts)?;
        let (queue, waiting) = sync_channel::<(Arc<Event>, usize)>(HANDLER_QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let handled = Arc::clone(&bytes);
        let (shared, heard) = (Arc::clone(counts), topic.clone());
        let run = move || {
            for (event, size) in waiting {
                // The handler is the user's own state machine: what it left half done in a panic is for it to mend.
                if catch_unwind(AssertUnwindSafe(|| call(&event))).is_err() {
                    shared.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(topic = ?heard, "a handler panicked; it is called again for the next event");
                }
                drop(event);
                handled.fetch_sub(size, Ordering::Relaxed);
            }
        };
        let spawned = std::thread::Builder::new().name("kodikon-handler".into()).spawn(run);
        spawned.map_err(|error| MeshError::NoThread(error.to_string()))?;
        Ok(Self { topic, queue, waiting: bytes, place })
    }

    /// Hands an event of this size over if it is on the handler's topic; never waits.
    pub(crate) fn offer(&self, event: &Arc<Event>, bytes: usize) {
        if !self.topic.covers(&event.what) {
            return;
        }
        // Only the loop adds, so the sum cannot be passed between the look and the addition.
        if self.waiting.load(Ordering::Relaxed) + bytes > HANDLER_BYTES {
            self.place.0.overflows.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        match self.queue.try_send((Arc::clone(event), bytes)) {
            // Its thread ends only with this queue, so it cannot be disconnected.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                self.place.0.overflows.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A handler that is called on the loop.
pub(crate) struct InlineHandler {
    topic: Topic,
    call: Box<dyn FnMut(&Event) + Send>,
    place: Place,
    is_warned: bool,
}

impl InlineHandler {
    /// # Errors
    /// [`MeshError::TooManyHandlers`].
    pub(crate) fn new(
        topic: Topic,
        counts: &Arc<HandlerCounts>,
        call: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Self, MeshError> {
        let place = Place::take(counts)?;
        Ok(Self { topic, call: Box::new(call), place, is_warned: false })
    }

    /// Calls it if the event is on its topic.
    pub(crate) fn call(&mut self, event: &Event) {
        if !self.topic.covers(&event.what) {
            return;
        }
        let begun = Instant::now();
        let counts = &self.place.0;
        // As for those on threads: what it left half done is for it to mend.
        if catch_unwind(AssertUnwindSafe(|| (self.call)(event))).is_err() {
            counts.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(topic = ?self.topic, "a handler on the loop panicked; it is called again for the next event");
        }
        let took = begun.elapsed();
        if took > INLINE_WITHIN {
            counts.overruns.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.is_warned, true) {
                tracing::warn!(topic = ?self.topic, ?took, "a handler on the loop holds up the node: set it with `on`");
            }
        }
    }
}

impl std::fmt::Debug for InlineHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InlineHandler").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::api::What;
    use crate::events::EventKind;

    fn event(isolated: bool) -> Arc<Event> {
        Arc::new(Event { at: 0.0, what: What::Isolated { isolated, reason: String::new() } })
    }

    #[test]
    fn a_handler_that_panics_is_counted_and_called_again() {
        let counts = Arc::new(HandlerCounts::default());
        let (heard, hears) = std::sync::mpsc::channel();
        let handler = Handler::spawn(EventKind::Isolated.into(), &counts, move |event| {
            if matches!(event.what, What::Isolated { isolated: true, .. }) {
                panic!("as a user's bug would");
            }
            heard.send(()).unwrap();
        })
        .unwrap();
        handler.offer(&event(true), 1);
        handler.offer(&event(false), 1);
        hears.recv().unwrap();
        assert_eq!(counts.panics.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_handler_that_hangs_loses_what_its_queue_does_not_hold_and_holds_nobody() {
        let counts = Arc::new(HandlerCounts::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (entered, enters) = std::sync::mpsc::channel();
        let handler = Handler::spawn(EventKind::Any.into(), &counts, move |_| {
            entered.send(()).unwrap();
            let _ = held.recv();
        })
        .unwrap();
        handler.offer(&event(true), 1);
        enters.recv().unwrap(); // the first is being handled, the queue is empty
        for _ in 0..HANDLER_QUEUE - 1 {
            handler.offer(&event(true), 1);
        }
        handler.offer(&event(true), HANDLER_BYTES);
        assert_eq!(counts.overflows.load(Ordering::Relaxed), 1, "there is a place, and no room");
        for _ in 0..1 + 3 {
            handler.offer(&event(true), 1);
        }
        assert_eq!(counts.overflows.load(Ordering::Relaxed), 1 + 3);
        drop(release);
    }

    #[test]
    fn the_sixty_fifth_handler_is_refused_and_a_dropped_one_makes_room() {
        let counts = Arc::new(HandlerCounts::default());
        let spawn = || Handler::spawn(EventKind::State.into(), &counts, |_| {});
        let mut handlers: Vec<Handler> = (0..HANDLERS_MAX).map(|_| spawn().unwrap()).collect();
        assert_eq!(spawn().err(), Some(MeshError::TooManyHandlers { limit: HANDLERS_MAX }));
        let inline = || InlineHandler::new(EventKind::State.into(), &counts, |_| {});
        assert_eq!(inline().err(), Some(MeshError::TooManyHandlers { limit: HANDLERS_MAX }));
        handlers.pop();
        assert!(inline().is_ok());
        assert!(spawn().is_ok());
    }

    #[test]
    fn a_handler_on_the_loop_is_called_at_once_and_may_panic_or_dawdle() {
        let counts = Arc::new(HandlerCounts::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let called = Arc::clone(&calls);
        let mut handler = InlineHandler::new(EventKind::Isolated.into(), &counts, move |event| {
            called.fetch_add(1, Ordering::Relaxed);
            assert!(!matches!(event.what, What::Isolated { isolated: true, .. }), "as a user's bug would");
            std::thread::sleep(INLINE_WITHIN * 2);
        })
        .unwrap();
        for isolated in [true, false, false] {
            handler.call(&event(isolated));
        }
        handler.call(&Event { at: 0.0, what: What::Missed { count: None } });
        assert_eq!(calls.load(Ordering::Relaxed), 3, "of its own topic alone");
        assert_eq!(counts.panics.load(Ordering::Relaxed), 1);
        assert!(counts.overruns.load(Ordering::Relaxed) >= 2);
    }

    #[test]
    fn a_handler_hears_its_own_kind_alone() {
        let counts = Arc::new(HandlerCounts::default());
        let (heard, hears) = std::sync::mpsc::channel();
        let handler = Handler::spawn(EventKind::PeerUp.into(), &counts, move |event| {
            heard.send(event.what.name()).unwrap();
        })
        .unwrap();
        handler.offer(&event(true), 1);
        drop(handler);
        assert!(hears.recv().is_err(), "its thread ended without a call");
    }
}

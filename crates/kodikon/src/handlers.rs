//! Decides how a user's handlers are called: each on a thread of its own behind a bounded queue, so that none can hold the loop
//! or another, and caught when it panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::api::Event;
use crate::events::EventKind;
use crate::mesh::MeshError;

/// Events that wait for one handler; more are dropped, the newest first, and counted.
pub const HANDLER_QUEUE: usize = 1_024;
/// Bytes of events that wait for one handler.
const HANDLER_BYTES: usize = 4 << 20;
/// Handlers of one node at most; each has a thread.
pub const HANDLERS_MAX: usize = 64;

/// What is counted of all handlers of a node.
#[derive(Debug, Default)]
pub(crate) struct HandlerCounts {
    /// Calls that panicked.
    pub(crate) panics: AtomicU64,
    /// Events dropped because a handler's queue was full.
    pub(crate) overflows: AtomicU64,
    /// Handlers set.
    set: AtomicUsize,
}

/// The loop's end of a handler's queue. The handler's thread ends after the last event once this is dropped.
#[derive(Debug)]
pub(crate) struct Handler {
    kind: EventKind,
    queue: SyncSender<(Arc<Event>, usize)>,
    /// Bytes that wait in it.
    waiting: Arc<AtomicUsize>,
    counts: Arc<HandlerCounts>,
}

impl Handler {
    /// Gives a handler its thread.
    ///
    /// # Errors
    /// [`MeshError::TooManyHandlers`] and [`MeshError::NoThread`].
    pub(crate) fn spawn(
        kind: EventKind,
        counts: &Arc<HandlerCounts>,
        mut call: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Self, MeshError> {
        if counts.set.fetch_add(1, Ordering::Relaxed) >= HANDLERS_MAX {
            counts.set.fetch_sub(1, Ordering::Relaxed);
            return Err(MeshError::TooManyHandlers { limit: HANDLERS_MAX });
        }
        let (queue, waiting) = sync_channel::<(Arc<Event>, usize)>(HANDLER_QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let handled = Arc::clone(&bytes);
        let shared = Arc::clone(counts);
        let run = move || {
            for (event, size) in waiting {
                // The handler is the user's own state machine: what it left half done in a panic is for it to mend.
                if catch_unwind(AssertUnwindSafe(|| call(&event))).is_err() {
                    shared.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(?kind, "a handler panicked; it is called again for the next event");
                }
                drop(event);
                handled.fetch_sub(size, Ordering::Relaxed);
            }
        };
        match std::thread::Builder::new().name("kodikon-handler".into()).spawn(run) {
            Ok(_) => Ok(Self { kind, queue, waiting: bytes, counts: Arc::clone(counts) }),
            Err(error) => {
                counts.set.fetch_sub(1, Ordering::Relaxed);
                Err(MeshError::NoThread(error.to_string()))
            }
        }
    }

    /// Hands an event of this size over if it is of the handler's kind; never waits.
    pub(crate) fn offer(&self, event: &Arc<Event>, bytes: usize) {
        if !self.kind.covers(&event.what) {
            return;
        }
        // Only the loop adds, so the sum cannot be passed between the look and the addition.
        if self.waiting.load(Ordering::Relaxed) + bytes > HANDLER_BYTES {
            self.counts.overflows.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        match self.queue.try_send((Arc::clone(event), bytes)) {
            // Its thread ends only with this queue, so it cannot be disconnected.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                self.counts.overflows.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.counts.set.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::What;

    fn event(isolated: bool) -> Arc<Event> {
        Arc::new(Event { at: 0.0, what: What::Isolated { isolated, reason: String::new() } })
    }

    #[test]
    fn a_handler_that_panics_is_counted_and_called_again() {
        let counts = Arc::new(HandlerCounts::default());
        let (heard, hears) = std::sync::mpsc::channel();
        let handler = Handler::spawn(EventKind::Isolated, &counts, move |event| {
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
        let handler = Handler::spawn(EventKind::Any, &counts, move |_| {
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
        let spawn = || Handler::spawn(EventKind::State, &counts, |_| {});
        let mut handlers: Vec<Handler> = (0..HANDLERS_MAX).map(|_| spawn().unwrap()).collect();
        assert_eq!(spawn().err(), Some(MeshError::TooManyHandlers { limit: HANDLERS_MAX }));
        handlers.pop();
        assert!(spawn().is_ok());
    }

    #[test]
    fn a_handler_hears_its_own_kind_alone() {
        let counts = Arc::new(HandlerCounts::default());
        let (heard, hears) = std::sync::mpsc::channel();
        let handler = Handler::spawn(EventKind::PeerUp, &counts, move |event| {
            heard.send(event.what.name()).unwrap();
        })
        .unwrap();
        handler.offer(&event(true), 1);
        drop(handler);
        assert!(hears.recv().is_err(), "its thread ended without a call");
    }
}

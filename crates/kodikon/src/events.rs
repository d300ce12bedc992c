//! Decides how the application hears what happens: a bounded stream of which a slow reader loses the oldest, and learns how many.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

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
    /// This node hears nobody, or somebody again.
    Isolated,
    /// Every kind.
    Any,
}

impl EventKind {
    /// Whether this kind covers an event.
    #[must_use]
    pub fn covers(self, what: &What) -> bool {
        self == Self::Any || Self::of(what) == Some(self)
    }

    /// The kind of an event; `None` for the notice that events were missed.
    #[must_use]
    pub fn of(what: &What) -> Option<Self> {
        match what {
            What::PeerUp { .. } => Some(Self::PeerUp),
            What::PeerSuspect { .. } => Some(Self::PeerSuspect),
            What::PeerFailed { .. } => Some(Self::PeerFailed),
            What::PeerLeft { .. } => Some(Self::PeerLeft),
            What::State { .. } => Some(Self::State),
            What::Isolated { .. } => Some(Self::Isolated),
            What::Missed { .. } => None,
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = (Result<Arc<Event>, RecvError>, Receiver<Arc<Event>>)> + Send>>;

/// What happens from the moment it was asked for. It ends when the node has stopped.
///
/// A reader more than [`EVENTS_KEPT`] events behind loses the oldest and finds one [`What::Missed`] in their place: it
/// should read peers and states again.
pub struct EventStream {
    reading: Reading,
    clock: SystemClock,
    ended: bool,
}

impl EventStream {
    pub(crate) fn new(events: &Sender<Arc<Event>>, clock: SystemClock) -> Self {
        Self { reading: Box::pin(read(events.subscribe())), clock, ended: false }
    }

    /// A stream that has ended.
    pub(crate) fn ended(clock: SystemClock) -> Self {
        let (sender, receiver) = tokio::sync::broadcast::channel(1);
        drop(sender);
        Self { reading: Box::pin(read(receiver)), clock, ended: false }
    }

    /// The next event; `None` once the node has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

async fn read(mut receiver: Receiver<Arc<Event>>) -> (Result<Arc<Event>, RecvError>, Receiver<Arc<Event>>) {
    (receiver.recv().await, receiver)
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready((result, receiver)) = self.reading.as_mut().poll(cx) else { return Poll::Pending };
        self.reading = Box::pin(read(receiver));
        Poll::Ready(match result {
            Ok(event) => Some(Arc::unwrap_or_clone(event)),
            Err(RecvError::Lagged(count)) => {
                Some(Event { at: self.clock.wall(), what: What::Missed { count: Some(count) } })
            }
            Err(RecvError::Closed) => {
                self.ended = true;
                None
            }
        })
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolated(n: usize) -> Arc<Event> {
        Arc::new(Event { at: 0.0, what: What::Isolated { isolated: true, reason: n.to_string() } })
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_it_missed_and_reads_on() {
        let (sender, _keep) = tokio::sync::broadcast::channel(EVENTS_KEPT);
        let mut stream = EventStream::new(&sender, SystemClock::new());
        for n in 0..EVENTS_KEPT + 7 {
            sender.send(isolated(n)).unwrap();
        }
        assert_eq!(stream.next().await.unwrap().what, What::Missed { count: Some(7) });
        assert_eq!(stream.next().await.unwrap(), Arc::unwrap_or_clone(isolated(7)));
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_node_and_stays_ended() {
        let (sender, keep) = tokio::sync::broadcast::channel(EVENTS_KEPT);
        let mut stream = EventStream::new(&sender, SystemClock::new());
        sender.send(isolated(0)).unwrap();
        drop((sender, keep));
        assert!(stream.next().await.is_some(), "what was said before the end is still heard");
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.next().await, None);
        assert_eq!(EventStream::ended(SystemClock::new()).next().await, None);
    }
}

//! Decides how orders reach the loop: through one bounded queue, beside which hangs a bell that wakes it.
//!
//! Whoever is called by the loop itself does not ring: the loop looks into the queue before it waits. Woken all the same it would
//! ask the kernel and look at everything twice, for each answer that a handler gives.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use kodikon_core::effect::Input;
use kodikon_core::ground::time::Instant;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{Notify, mpsc};

use crate::driver::{Driver, ORDERS_MAX, Order};
use crate::mesh::MeshError;
use crate::socket::StreamEvent;

/// Frames of streams that are read in one turn at most: a burst of who gives much, in one or two milliseconds.
const FRAMES_A_TURN: usize = 8;

/// Where orders are given.
#[derive(Debug)]
pub(crate) struct OrderSender {
    queue: mpsc::Sender<Order>,
    /// Behind the queue, so that it rings for the last time when the queue is closed.
    bell: Bell,
}

#[derive(Debug)]
struct Bell {
    rung: Arc<Notify>,
    of: ThreadId,
}

impl Bell {
    fn ring(&self) {
        if thread::current().id() != self.of {
            self.rung.notify_one();
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.rung.notify_one();
    }
}

/// Where the loop takes them.
#[derive(Debug)]
pub(crate) struct Orders {
    queue: mpsc::Receiver<Order>,
    rung: Arc<Notify>,
}

/// Both ends of the queue, for a loop that turns on this thread.
pub(crate) fn orders() -> (OrderSender, Orders) {
    let (sender, queue) = mpsc::channel(ORDERS_MAX);
    let rung = Arc::new(Notify::new());
    let bell = Bell { rung: Arc::clone(&rung), of: thread::current().id() };
    (OrderSender { queue: sender, bell }, Orders { queue, rung })
}

impl OrderSender {
    /// Gives an order if there is room for it.
    ///
    /// # Errors
    /// [`MeshError::Busy`], [`MeshError::Stopped`].
    pub(crate) fn try_send(&self, order: Order) -> Result<(), MeshError> {
        self.queue.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => MeshError::Busy { limit: ORDERS_MAX },
            TrySendError::Closed(_) => MeshError::Stopped,
        })?;
        self.bell.ring();
        Ok(())
    }

    /// Gives an order as soon as there is room for it.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub(crate) async fn send(&self, order: Order) -> Result<(), MeshError> {
        self.queue.send(order).await.map_err(|_| MeshError::Stopped)?;
        self.bell.ring();
        Ok(())
    }
}

impl Orders {
    /// Whether there are some to be taken.
    pub(super) fn wait_already(&self) -> bool {
        !self.queue.is_empty()
    }

    /// An order that waits.
    pub(crate) fn waiting(&mut self) -> Option<Order> {
        self.queue.try_recv().ok()
    }

    /// The next order; `None` when no more will come. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Order> {
        loop {
            match self.queue.try_recv() {
                Ok(order) => return Some(order),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.rung.notified().await,
            }
        }
    }
}

impl Driver {
    /// Takes what came on a stream, and what waits behind it: whoever gives much of the log waits until a burst of it is read, and rests
    /// for as long as that took.
    pub(super) fn take_streams(&mut self, now: Instant, first: StreamEvent) {
        self.take_stream(now, first);
        for _ in 1..FRAMES_A_TURN {
            let Some(event) = self.streams.waiting() else { return };
            self.take_stream(now, event);
        }
    }

    /// Something happened to a stream.
    fn take_stream(&mut self, now: Instant, event: StreamEvent) {
        self.evidence.note_stream(now, &event);
        match event {
            StreamEvent::Offered { stream, from } => self.node.handle(now, Input::StreamOffered { stream, from }),
            StreamEvent::Opened { stream, peer, purpose } => {
                self.node.handle(now, Input::StreamOpened { stream, peer, purpose });
            }
            StreamEvent::Failed { peer, purpose } => self.node.handle(now, Input::StreamFailed { peer, purpose }),
            StreamEvent::Frame { stream, mut bytes } => {
                self.node.handle(now, Input::StreamFrame { stream, frame: &mut bytes });
            }
            StreamEvent::Ended { stream } => self.node.handle(now, Input::StreamEnded { stream }),
        }
        self.carry_out();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    #[derive(Debug, Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_is_called_by_the_loop_does_not_wake_it_and_is_heard_before_it_waits() {
        let (sender, mut orders) = orders();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let look = |orders: &mut Orders| pin!(orders.next()).poll(&mut Context::from_waker(&waker));
        let is_leave = |found: Poll<Option<Order>>| matches!(found, Poll::Ready(Some(Order::Leave)));
        assert!(look(&mut orders).is_pending());
        sender.try_send(Order::Leave).unwrap();
        assert!(is_leave(look(&mut orders)));
        assert!(look(&mut orders).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);

        let mut waits = pin!(orders.next());
        let mut context = Context::from_waker(&waker);
        assert!(waits.as_mut().poll(&mut context).is_pending());
        thread::scope(|scope| scope.spawn(|| sender.try_send(Order::Leave).unwrap()).join().unwrap());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "another thread wakes it");
        assert!(is_leave(waits.as_mut().poll(&mut context)));
    }

    #[test]
    fn the_last_who_could_give_an_order_wakes_the_loop_wherever_that_is_dropped() {
        let (sender, mut orders) = orders();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut waits = pin!(orders.next());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(sender);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(matches!(waits.as_mut().poll(&mut context), Poll::Ready(None)));
    }
}

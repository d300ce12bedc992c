//! Decides when the loop stays awake for what comes next: while datagram follows datagram in less time than a core takes to fall asleep
//! and to be woken.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::driver::turns::Turn;

/// For so long at most. A virtual core that halts is awake again 20 to 40 µs after the word to it; Linux's own governor for such cores
/// stays awake for up to 200 (`guest_halt_poll_ns`, drivers/cpuidle/governors/haltpoll.c).
const AWAKE: Duration = Duration::from_micros(100);
/// Datagrams in a row that have to come so soon: what is said to all makes no more than a few answers at once.
const STREAK: u8 = 8;

/// What the loop waited for lately.
#[derive(Debug)]
pub(super) struct Attention {
    /// Datagrams that came soon, one after the other.
    streak: u8,
    /// Whether others have a core while this loop keeps one.
    has_more_cores: bool,
}

impl Attention {
    pub(super) fn new() -> Self {
        let has_more_cores = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        Self { streak: 0, has_more_cores }
    }

    /// How long the loop stays awake now.
    pub(super) fn span(&self) -> Option<Duration> {
        (self.has_more_cores && self.streak >= STREAK).then_some(AWAKE)
    }

    /// Notes what came, and after what time; of an order, whether it waited already, as those of a handler do that is called on the loop.
    pub(super) fn note(&mut self, waited: Duration, turn: &Turn, order_waited: bool) {
        match turn {
            Turn::Unicast(..) if waited < AWAKE => self.streak = self.streak.saturating_add(1).min(STREAK),
            Turn::Order(_) if order_waited => {}
            // Another thread gives orders in between, and may need this very core for the next one.
            Turn::Unicast(..) | Turn::Order(_) => self.streak = 0,
            Turn::Discovery(..)
            | Turn::Interfaces(_)
            | Turn::Stream(_)
            | Turn::Name(_)
            | Turn::Committed(..)
            | Turn::StateKept(_)
            | Turn::Scanned(..)
            | Turn::Checked(..)
            | Turn::Deadline(_) => {
                if waited >= AWAKE {
                    self.streak = 0;
                }
            }
        }
    }
}

/// Waits for something, and asks over and over for so long before it sleeps.
pub(super) async fn awake<T>(something: impl Future<Output = T>, span: Option<Duration>) -> T {
    let mut something = pin!(something);
    if let Some(span) = span {
        let begun = Instant::now();
        while begun.elapsed() < span {
            let asked = std::future::poll_fn(|cx| Poll::Ready(something.as_mut().poll(cx))).await;
            if let Poll::Ready(done) = asked {
                return done;
            }
            // The runtime looks at the sockets meanwhile.
            tokio::task::yield_now().await;
        }
    }
    something.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Family;

    const SOON: Duration = Duration::from_micros(99);

    fn datagram() -> Turn {
        Turn::Unicast(Family::V4, Ok(()))
    }

    fn after_a_streak() -> Attention {
        let mut attention = Attention { streak: 0, has_more_cores: true };
        for _ in 0..STREAK {
            assert_eq!(attention.span(), None);
            attention.note(SOON, &datagram(), false);
        }
        attention
    }

    #[test]
    fn the_loop_stays_awake_while_datagrams_come_soon_after_one_another() {
        let mut attention = after_a_streak();
        assert_eq!(attention.span(), Some(AWAKE));
        attention.note(SOON, &Turn::Deadline(Ok(())), false);
        assert_eq!(attention.span(), Some(AWAKE), "a timer between two datagrams is none of theirs");
        attention.note(Duration::ZERO, &Turn::Order(None), true);
        assert_eq!(attention.span(), Some(AWAKE), "a handler on the loop answers");
        let enders = [(AWAKE, datagram()), (AWAKE, Turn::Deadline(Ok(()))), (Duration::ZERO, Turn::Order(None))];
        for (waited, turn) in enders {
            let mut attention = after_a_streak();
            attention.note(waited, &turn, false);
            assert_eq!(attention.span(), None);
        }
    }

    #[test]
    fn whoever_has_one_core_leaves_it_to_others() {
        let alone = Attention { has_more_cores: false, ..after_a_streak() };
        assert_eq!(alone.span(), None);
    }

    #[tokio::test]
    async fn what_comes_later_is_waited_for_asleep() {
        let asked = std::cell::Cell::new(0);
        let ready_at = |most| {
            let asked = &asked;
            std::future::poll_fn(move |cx| {
                asked.set(asked.get() + 1);
                if asked.get() < most {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready("done")
            })
        };
        assert_eq!(awake(ready_at(1), Some(Duration::from_secs(60))).await, "done");
        assert_eq!(asked.replace(0), 1, "what is there is taken at once");
        assert_eq!(awake(ready_at(1_000), Some(Duration::from_secs(60))).await, "done");
        assert_eq!(asked.replace(0), 1_000);
        assert_eq!(awake(ready_at(3), None).await, "done");
        assert_eq!(awake(tokio::time::sleep(Duration::from_millis(5)), Some(AWAKE)).await, ());
    }
}

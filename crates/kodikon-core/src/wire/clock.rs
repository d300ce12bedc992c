//! Decides how long a frame was on its way at most: its sender's own clock is set beside a moment at which the sender surely
//! answered us. A recording that is played later shows its age, however many frames of its session are played in their order.

use minicbor::{Decode, Encode};

use crate::ground::time::{Duration, Instant, millis};

/// A moment of the sender's own clock: milliseconds since it began. Of use to no one but for its distance from others of the same
/// run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Ticks(#[n(0)] pub u64);

impl Ticks {
    /// The stamp of a moment of our own.
    #[must_use]
    pub fn of(now: Instant) -> Self {
        Self(now.as_nanos() / 1_000_000)
    }

    /// The moment of our own that a stamp of ours tells, to the millisecond.
    #[must_use]
    pub fn moment(self) -> Instant {
        Instant::from_start(Duration::from_millis(self.0))
    }
}

/// Two clocks of quartz drift apart by a five thousandth at most: 100 parts per million each.
const DRIFT: u32 = 5_000;
/// Two stamps of ours, two of the sender's and the drift are cut to whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(3);
/// What the drift may have come to when it is worth asking again.
const WORN: Duration = Duration::from_millis(250);
/// Nobody is asked twice within this.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is known of the clock of a session's sender.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeerClock {
    known: Option<Bound>,
    asked: Option<Instant>,
}

/// The sender's clock showed no more than `shown` when ours showed `at`.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at: Instant,
    shown: Ticks,
}

impl Bound {
    /// How many milliseconds more passed by our clock than by the sender's, until `now` and until it set this stamp, if they had
    /// drifted apart as far as they may have. Below zero: the bound can be drawn closer.
    fn lead(self, now: Instant, sent: Ticks) -> i128 {
        let ours = i128::from(Ticks::of(now).0) - i128::from(Ticks::of(self.at).0);
        let theirs = i128::from(sent.0) - i128::from(self.shown.0);
        ours - theirs + i128::from(millis(self.drift(now)))
    }

    /// How long before `now` a frame was sent at most that bears this stamp.
    fn transit(self, now: Instant, sent: Ticks) -> Duration {
        let lead = u64::try_from(self.lead(now, sent).max(0)).unwrap_or(u64::MAX);
        Duration::from_millis(lead).saturating_add(ROUNDING)
    }

    fn drift(self, now: Instant) -> Duration {
        now.since(self.at).max(self.at.since(now)) / DRIFT
    }
}

impl PeerClock {
    /// It answered, and stamped the answer, after we asked it.
    pub fn learn(&mut self, asked: Instant, answered: Ticks) {
        // An answer that took long tells less than an older one that came at once.
        if self.known.is_none_or(|known| known.lead(asked, answered) >= 0) {
            self.known = Some(Bound { at: asked, shown: answered });
        }
    }

    /// How long before `now` a frame was sent at most; `None` while nothing is known, and it may be of any age.
    #[must_use]
    pub fn transit(&self, now: Instant, sent: Ticks) -> Option<Duration> {
        self.known.map(|known| known.transit(now, sent))
    }

    /// Whether its sender is to be asked for its clock now; noted as done.
    pub fn should_ask(&mut self, now: Instant) -> bool {
        let is_worn = self.known.is_none_or(|known| known.drift(now) > WORN);
        let asks = is_worn && self.asked.is_none_or(|asked| now.since(asked) >= PATIENCE);
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_start(Duration::from_millis(ms))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A clock that shows 1,000 s more than ours; it was asked at 10 s and answered after 30 ms.
    fn known() -> PeerClock {
        let mut clock = PeerClock::default();
        assert_eq!(clock.transit(at(10_000), Ticks(1)), None);
        clock.learn(at(10_000), Ticks(1_010_030));
        clock
    }

    #[test]
    fn a_frame_is_as_old_as_the_exchange_and_its_way_at_most() {
        let clock = known();
        // (sent by its clock, now, at most on its way: with the 30 ms of the answer, the drift and the rounding)
        for (sent, now, most) in [
            (1_010_100, 10_105, 5 + 30 + 3),
            (1_010_100, 17_100, 7_000 + 30 + 1 + 3),
            (1_060_000, 60_001, 1 + 30 + 10 + 3),
            (1_000_000, 60_001, 60_001 + 30 + 10 + 3),
            (1_020_000, 15_000, 3),
        ] {
            assert_eq!(clock.transit(at(now), Ticks(sent)), Some(ms(most)), "{sent} at {now}");
        }
    }

    #[test]
    fn drift_never_makes_a_frame_look_younger() {
        for (faster, slower) in [(1, 0), (0, 1)] {
            let clock = known();
            for hours in [0, 1, 24, 1_000] {
                let elapsed = hours * 3_600_000;
                let shown = 1_010_030 + elapsed + faster * elapsed / 5_000 - slower * elapsed / 5_000;
                // Sent 3 s before it comes, by our clock.
                let found = clock.transit(at(10_030 + elapsed + 3_000), Ticks(shown)).expect("it is known");
                assert!(found >= ms(3_000), "{hours} h: {found:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_was_held_back_makes_no_older_one_forgotten() {
        let mut clock = known();
        let before = clock.transit(at(20_000), Ticks(1_020_000));
        clock.learn(at(11_000), Ticks(1_014_000));
        assert_eq!(clock.transit(at(20_000), Ticks(1_020_000)), before);
        clock.learn(at(19_999), Ticks(1_019_999));
        assert_eq!(clock.transit(at(20_000), Ticks(1_020_000)), Some(ms(3)));
    }

    #[test]
    fn it_is_asked_while_it_is_unknown_and_when_it_may_have_drifted() {
        let mut clock = PeerClock::default();
        assert!(clock.should_ask(at(0)) && !clock.should_ask(at(99)) && clock.should_ask(at(100)));
        clock.learn(at(100), Ticks(7));
        assert!(!clock.should_ask(at(1_000_000)));
        assert!(clock.should_ask(at(1_300_000)) && !clock.should_ask(at(1_300_050)));
    }

    #[test]
    fn no_stamp_is_beyond_reckoning() {
        for stamp in [0, 1, u64::MAX] {
            let mut clock = PeerClock::default();
            clock.learn(Instant::ZERO, Ticks(stamp));
            for sent in [0, 1, u64::MAX] {
                for now in [Instant::ZERO, at(5), Instant::FAR] {
                    assert!(clock.transit(now, Ticks(sent)).is_some());
                }
            }
        }
    }
}

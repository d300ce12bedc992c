//! Decides what time it is: one clock that counts suspended time for the mesh, one for people, and whether either has
//! jumped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sys;

/// Suspended time below this is taken for the distance between two readings of two clocks.
///
/// A suspend to RAM and back takes a second at least; two readings are microseconds apart unless the process was
/// preempted between them.
const SUSPENDED_AT_LEAST: Duration = Duration::from_millis(500);
/// A smaller step of the wall clock is left to whoever slews it (`adjtime` steps only above half a second by default).
const STEPPED_AT_LEAST: f64 = 0.5;
/// A deadline that is put off stays set as it is where it comes within this: to be woken once for nothing costs less than to set
/// the timer anew with each datagram, which is a system call and in a virtual machine more than that. Twice the shortest time after
/// which a message is sent again.
const LEFT_WITHIN: Duration = Duration::from_millis(10);

/// Where the driver gets its time from.
pub(crate) trait Clock: Send {
    /// Returns the time since this clock was made; it never runs backwards and counts suspended time.
    fn now(&self) -> Duration;

    /// Returns seconds since 1970, for people; it may jump.
    fn wall(&self) -> f64;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    start: Duration,
}

impl SystemClock {
    /// Makes a clock that starts now.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { start: sys::boot_time() }
    }

    /// Reads all clocks at once, for [`JumpWatch::observe`].
    #[must_use]
    pub(crate) fn reading(&self) -> Reading {
        // Monotonic first: a preemption in between then looks like suspended time, not like time running backwards.
        let awake = sys::monotonic_time();
        Reading { awake, counted: sys::boot_time(), wall: self.wall() }
    }

    /// Returns what [`Clock::now`] would have returned at that reading.
    #[must_use]
    pub(crate) fn at(&self, reading: Reading) -> Duration {
        reading.counted.saturating_sub(self.start)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        sys::boot_time().saturating_sub(self.start)
    }

    fn wall(&self) -> f64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        }
    }
}

/// All clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Time since boot without suspended time.
    pub awake: Duration,
    /// Time since boot with suspended time.
    pub counted: Duration,
    /// Seconds since 1970.
    pub wall: f64,
}

/// A clock did what clocks should not.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub(crate) enum Jump {
    /// The machine slept this long: no packet was sent or heard, and others may have buried this node.
    Suspended(Duration),
    /// The wall clock was set by this many seconds: by a person, by NTP, or because a virtual machine was resumed.
    WallStepped(f64),
}

/// Compares each turn's clocks with the turn before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JumpWatch {
    last: Option<Reading>,
}

impl JumpWatch {
    /// Tells whether a clock jumped since the last call; a suspend explains a step of the wall clock and comes first.
    pub(crate) fn observe(&mut self, reading: Reading) -> Option<Jump> {
        let last = self.last.replace(reading)?;
        let counted = reading.counted.saturating_sub(last.counted);
        let suspended = counted.saturating_sub(reading.awake.saturating_sub(last.awake));
        if suspended >= SUSPENDED_AT_LEAST {
            return Some(Jump::Suspended(suspended));
        }
        let stepped = reading.wall - last.wall - counted.as_secs_f64();
        (stepped.abs() >= STEPPED_AT_LEAST).then_some(Jump::WallStepped(stepped))
    }
}

/// A deadline on the clock of a [`SystemClock`], precise to tens of microseconds and true across a suspend.
///
/// tokio's own timers have millisecond ticks and stand still while the machine sleeps: a node would wake from a night's
/// suspend and wait for the rest of a heartbeat period before it says that it is back.
#[derive(Debug)]
pub(crate) struct Deadline {
    timer: sys::Timer,
    clock: SystemClock,
    set: Option<Duration>,
}

impl Deadline {
    /// Makes a deadline that is not set.
    ///
    /// # Errors
    /// When the kernel has no file descriptor left; needs a tokio runtime with I/O around it.
    pub(crate) fn new(clock: SystemClock) -> std::io::Result<Self> {
        Ok(Self { timer: sys::Timer::new()?, clock, set: None })
    }

    /// Sets the moment, on the scale of [`Clock::now`]; `None` is never. The same moment again costs nothing, and so does a later
    /// one where the one that is set comes soon: that is reached then.
    ///
    /// # Errors
    /// Does not happen while the process keeps its descriptors.
    pub(crate) fn set(&mut self, now: Duration, at: Option<Duration>) -> std::io::Result<()> {
        let comes_soon = self.set.is_some_and(|set| set <= now.saturating_add(LEFT_WITHIN));
        let is_put_off = self.set.zip(at).is_some_and(|(set, at)| at > set);
        if self.set != at && !(comes_soon && is_put_off) {
            self.timer.set(at.map(|at| self.clock.start.saturating_add(at)))?;
            self.set = at;
        }
        Ok(())
    }

    /// Waits for the moment, or for the one that was left when it was put off. Afterwards nothing is set. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn reached(&mut self) -> std::io::Result<()> {
        self.timer.fired().await?;
        self.set = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_near_zero_and_does_not_run_backwards() {
        let clock = SystemClock::new();
        let mut last = clock.now();
        assert!(last < Duration::from_secs(5), "{last:?} right after the start");
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last, "{now:?} after {last:?}");
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_is_of_this_century() {
        let wall = SystemClock::new().wall();
        assert!((946_684_800.0..4_102_444_800.0).contains(&wall), "{wall}");
    }

    #[test]
    fn a_jump_is_told_apart_from_a_slow_turn() {
        let suspended = Jump::Suspended(Duration::from_millis(500));
        let table: &[(u64, u64, f64, Option<Jump>)] = &[
            // (awake ms, counted ms, wall s, what is seen)
            (1_000, 1_000, 1.0, None),
            (60_000, 60_000, 60.0, None),
            (1_000, 1_499, 1.499, None),
            (1_000, 1_500, 1.5, Some(suspended)),
            (1_000, 1_500, 9_000.0, Some(suspended)),
            (1_000, 1_000, 1.25, None),
            (1_000, 1_000, 1.5, Some(Jump::WallStepped(0.5))),
            (1_000, 1_000, -99.0, Some(Jump::WallStepped(-100.0))),
            (1_000, 0, 0.0, None), // counted time stands still: no kernel does that, nothing may overflow
        ];
        for &(awake, counted, wall, expected) in table {
            let mut watch = JumpWatch::default();
            assert_eq!(watch.observe(reading(0, 0, 0.0)), None, "nothing to compare with at first");
            assert_eq!(watch.observe(reading(awake, counted, wall)), expected, "{awake} {counted} {wall}");
        }
    }

    #[test]
    fn the_real_clocks_show_no_jump_between_two_turns() {
        let clock = SystemClock::new();
        let mut watch = JumpWatch::default();
        watch.observe(clock.reading());
        assert_eq!(watch.observe(clock.reading()), None);
    }

    #[tokio::test]
    async fn a_deadline_is_reached_not_before_its_moment_and_once() {
        let clock = SystemClock::new();
        let mut deadline = Deadline::new(clock).unwrap();
        let at = clock.now() + Duration::from_millis(3);
        deadline.set(clock.now(), Some(at)).unwrap();
        deadline.reached().await.unwrap();
        assert!(clock.now() >= at, "reached at {:?}, set for {at:?}", clock.now());

        let again = tokio::time::timeout(Duration::from_millis(20), deadline.reached()).await;
        assert!(again.is_err(), "a moment comes once");
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_reached_at_once_and_one_taken_back_never() {
        let clock = SystemClock::new();
        let mut deadline = Deadline::new(clock).unwrap();
        deadline.set(clock.now(), Some(Duration::ZERO)).unwrap();
        deadline.reached().await.unwrap();

        deadline.set(clock.now(), Some(clock.now() + Duration::from_millis(5))).unwrap();
        deadline.set(clock.now(), None).unwrap();
        let taken_back = tokio::time::timeout(Duration::from_millis(30), deadline.reached()).await;
        assert!(taken_back.is_err());
    }

    #[tokio::test]
    async fn a_deadline_put_off_is_left_where_it_comes_soon_and_one_brought_forward_never() {
        let ms = Duration::from_millis;
        // (set first, set then, which of them the timer has)
        for (first, then, expected) in [(5, 50, 5), (10, 11, 10), (11, 50, 50), (50, 10, 10), (5, 4, 4), (5, 5, 5)] {
            let mut deadline = Deadline::new(SystemClock::new()).unwrap();
            deadline.set(ms(1_000), Some(ms(1_000 + first))).unwrap();
            deadline.set(ms(1_000), Some(ms(1_000 + then))).unwrap();
            assert_eq!(deadline.set, Some(ms(1_000 + expected)), "{first} ms, then {then}");
        }
    }

    fn reading(awake: u64, counted: u64, wall: f64) -> Reading {
        Reading { awake: Duration::from_millis(awake), counted: Duration::from_millis(counted), wall }
    }
}

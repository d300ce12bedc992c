//! Decides what time is inside the core: nanoseconds since the process began, handed in by the caller, never read.

use core::fmt;
use core::ops::{Add, Sub};
pub use core::time::Duration;

/// A moment: nanoseconds since the driver's clock began. It counts suspended time and never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The beginning of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than any moment a process will see.
    pub const FAR: Self = Self(u64::MAX);

    /// The moment this long after the clock began; saturates at 584 years.
    #[must_use]
    pub fn from_start(elapsed: Duration) -> Self {
        Self(nanos(elapsed))
    }

    /// Nanoseconds since the clock began.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The next of the moments that lie this far from each other, of which `phase` is one.
    #[must_use]
    pub fn next_tick(self, period: Duration, phase: Self) -> Self {
        let period = nanos(period).max(1);
        let phase = phase.0 % period;
        Self((self.0.saturating_add(period - phase) / period).saturating_mul(period).saturating_add(phase))
    }
}

/// A span in whole milliseconds, as it travels; saturates.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanos(later)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(earlier)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

/// Milliseconds since 1970 by some node's wall clock: shown to people, decides nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Seconds since 1970 with a fraction, as the JSON face shows times.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit in 53 bits for 285,000 years")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

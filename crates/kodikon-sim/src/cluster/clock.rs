//! Decides what a node's own clock says: it begins with the process, drifts, and never runs backwards.

use core::time::Duration;

use kodikon_core::ground::time::Instant;

use crate::moment::Moment;

/// The clock of one process.
#[derive(Debug, Clone, Copy)]
pub struct LocalClock {
    began: Moment,
    drift_ppm: i32,
}

/// Beyond this the clock is not asked: two years. No run lasts as long, and the products below fit 64 bits.
const HORIZON: u64 = 1 << 56;

impl LocalClock {
    /// A clock that begins now and gains this many parts per million.
    #[must_use]
    pub fn new(began: Moment, drift_ppm: i32) -> Self {
        Self { began, drift_ppm }
    }

    /// What it shows at a moment of the run.
    #[must_use]
    pub fn local(&self, at: Moment) -> Instant {
        let elapsed = i64::try_from(at.since(self.began).as_nanos()).expect("a run lasts hours");
        let shown = elapsed + elapsed / 1_000_000 * i64::from(self.drift_ppm);
        Instant::from_start(Duration::from_nanos(u64::try_from(shown).expect("no clock gains a million ppm")))
    }

    /// The first moment of the run at which it shows this or more.
    #[must_use]
    pub fn moment(&self, shown: Instant) -> Moment {
        let wanted = shown.as_nanos();
        if wanted > HORIZON {
            return Moment::NEVER;
        }
        let scaled = i64::try_from(wanted).expect("below the horizon");
        let guess = u64::try_from(scaled - scaled / 1_000_000 * i64::from(self.drift_ppm)).expect("as above");
        let mut at = Moment(self.began.0 + guess);
        // The guess is off by the square of the drift, below a microsecond an hour: step up to where it shows enough.
        while self.local(at) < shown {
            at += Duration::from_nanos(wanted - self.local(at).as_nanos());
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_woken_at_the_moment_of_its_wake_sees_its_wake_due() {
        for drift in [-200, 0, 1, 200] {
            let clock = LocalClock::new(Moment(123), drift);
            for wanted in [0, 1, 999_999, 1_000_001, 5_000_000_000, 7_200_000_000_123, 90_000_000_000_123] {
                let wanted = Instant::from_start(Duration::from_nanos(wanted));
                let shown = clock.local(clock.moment(wanted));
                assert!(shown >= wanted, "{drift} ppm: {shown:?} for {wanted:?}");
                assert!(shown.since(wanted) < Duration::from_millis(2), "{drift} ppm: {shown:?} for {wanted:?}");
            }
            assert_eq!(clock.moment(Instant::FAR), Moment::NEVER);
        }
    }
}

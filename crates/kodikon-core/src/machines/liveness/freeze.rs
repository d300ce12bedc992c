//! Decides for how long this node judges nobody after an own stall, and that it does so in the end however often it stalls.

use crate::ground::time::{Duration, Instant};

/// For so long after an own stall nobody is judged: what was queued meanwhile must be read first.
pub(super) const FREEZE: Duration = Duration::from_secs(2);

/// Until when nobody is judged.
#[derive(Debug, Default)]
pub(super) struct Freeze {
    pub(super) until: Instant,
    /// When it was last put off.
    since: Instant,
    /// For how long this node has run and judged nobody, stall upon stall.
    spent: Duration,
}

impl Freeze {
    /// This node stalled for `late` until now. `false` if it has judged nobody for as long as the hard bound, not counted while it stood:
    /// who lives was heard in between.
    pub(super) fn begin(&mut self, now: Instant, late: Duration, bound: Duration) -> bool {
        let stood = now - late;
        let is_renewed = stood < self.until;
        self.spent = if is_renewed { self.spent + stood.since(self.since) } else { Duration::ZERO };
        let may_freeze = self.spent < bound;
        if may_freeze {
            (self.since, self.until) = (now, now + FREEZE);
        }
        may_freeze
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tenths of seconds of the first minute somebody may be judged, where each stall of `late` follows the last by `every`.
    fn judged(every: u64, late: u64) -> u64 {
        let at = |tenths: u64| Instant::ZERO + Duration::from_millis(tenths * 100);
        let mut freeze = Freeze::default();
        let mut judged = 0;
        for tenth in 1..=600 {
            if tenth % every == 0 {
                freeze.begin(at(tenth), Duration::from_millis(late * 100), Duration::from_secs(15));
            }
            let stands = tenth % every >= every - late;
            judged += u64::from(!stands && at(tenth) >= freeze.until);
        }
        judged
    }

    #[test]
    fn a_node_that_stalls_without_end_judges_once_in_a_hard_bound() {
        assert_eq!(judged(1_000, 6), 600, "no stall in this minute");
        assert_eq!(
            judged(300, 6),
            600 - 2 * 6 - 20 - 1,
            "two, the second at the end, and nobody is judged for two seconds after each"
        );
        for (every, late) in [(10, 6), (19, 6), (20, 12), (40, 21)] {
            let judged = judged(every, late);
            assert!((1..200).contains(&judged), "a stall of {late} each {every} tenths: {judged}");
        }
    }
}

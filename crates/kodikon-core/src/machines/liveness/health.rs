//! Decides how far this node trusts its own ears: Lifeguard's local health.

use crate::ground::time::{Duration, Instant};

/// Worst local health.
const WORST: u32 = 3;
/// A step is taken back after so long without a failing. On a network that loses nothing no doubt is ever answered that could take
/// one back; and whoever failed as often as once a minute is not well.
const STEP_AFTER: Duration = Duration::from_secs(60);

/// 0 is well; each own failing adds a step, each answered doubt and each minute without a failing takes one.
#[derive(Debug, Default)]
pub(super) struct Health {
    steps: u32,
    /// Since when the minute runs that takes a step: it begins with the first look after a failing.
    since: Option<Instant>,
}

impl Health {
    /// We failed, and the minute begins anew.
    pub(super) fn worsen(&mut self) {
        self.steps = (self.steps + 1).min(WORST);
        self.since = None;
    }

    /// A doubt of ours was answered.
    pub(super) fn improve(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    /// Takes the steps of the minutes that have passed. Needs no wake of its own: whoever uses the steps looks first.
    pub(super) fn look(&mut self, now: Instant) {
        let mut since = self.since.unwrap_or(now);
        while self.steps > 0 && now.since(since) >= STEP_AFTER {
            self.steps -= 1;
            since = since + STEP_AFTER;
        }
        self.since = (self.steps > 0).then_some(since);
    }

    /// How unwell this node is, as of the last look.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    /// Three stalls at the start made suspicion four times as long for ever where nothing is lost.
    #[test]
    fn a_minute_without_a_failing_takes_one_step_back() {
        // (failings at these seconds, looked at this second, steps)
        let table: [(&[u64], u64, u32); 10] = [
            (&[], 1_000, 0),
            (&[0], 59, 1),
            (&[0], 60, 0),
            (&[0, 1, 2], 61, 3),
            (&[0, 1, 2], 62, 2),
            (&[0, 1, 2], 122, 1),
            (&[0, 1, 2], 182, 0),
            (&[0, 1, 2, 3, 4], 184, 0),
            (&[0, 59, 118], 177, 3),
            (&[0, 70], 129, 1),
        ];
        for (failings, end, steps) in table {
            for every in [1, 7, 30] {
                let mut health = Health::default();
                for s in 0..=end {
                    if failings.contains(&s) {
                        health.worsen();
                    }
                    if failings.contains(&s) || s % every == 0 || s == end {
                        health.look(at(s));
                    }
                }
                assert_eq!(health.steps(), steps, "failings at {failings:?}, at {end} s, looked each {every} s");
            }
        }
    }

    #[test]
    fn an_answered_doubt_takes_a_step_and_leaves_the_minute_running() {
        let mut health = Health::default();
        (0..3).for_each(|_| health.worsen());
        health.look(at(0));
        health.improve();
        for (s, steps) in [(59, 2), (60, 1), (120, 0)] {
            health.look(at(s));
            assert_eq!(health.steps(), steps, "at {s} s");
        }
        health.improve();
        assert_eq!(health.steps(), 0);
        // A minute that began when it was well is no minute without a failing.
        health.worsen();
        for (s, steps) in [(500, 1), (559, 1), (560, 0)] {
            health.look(at(s));
            assert_eq!(health.steps(), steps, "at {s} s");
        }
    }
}

//! Decides what a neighbour's acknowledgements prove of the link to it: how much it carries, and how long its queues are.

use crate::ground::time::{Duration, Instant};

/// Over so much time at least: CoDel's interval, a round trip that few links exceed (RFC 8289 §4.3). The shortest round trip
/// within it has waited in every queue that stands, and a delay by chance has not struck all.
const INTERVAL: Duration = Duration::from_millis(100);
/// Fewer acknowledgements prove nothing.
const LEAST: u32 = 4;
/// The shortest round trip of this long ago is forgotten: the way may have changed (BBR's filter, RFC 9743's draft §4.1.2).
const MEMORY: Duration = Duration::from_secs(10);

/// What is measured of one neighbour.
#[derive(Debug)]
pub(super) struct Proof {
    since: Instant,
    taken: u32,
    bytes: u64,
    least: Duration,
    /// The shortest round trip of the memory before this one, and of this one.
    base: (Duration, Duration),
    renewed: Instant,
}

/// What was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proven {
    /// Bytes a second that the neighbour took.
    pub(super) rate: u64,
    /// What the shortest round trip of late had more than the shortest.
    pub(super) queued: Duration,
}

impl Proof {
    pub(super) fn new(now: Instant) -> Self {
        let base = (Duration::MAX, Duration::MAX);
        Self { since: now, taken: 0, bytes: 0, least: Duration::MAX, base, renewed: now }
    }

    /// The neighbour took so many bytes, after this time if they were sent once.
    pub(super) fn note(&mut self, bytes: usize, rtt: Option<Duration>) {
        self.bytes += bytes as u64;
        if let Some(rtt) = rtt {
            self.taken += 1;
            self.least = self.least.min(rtt);
        }
    }

    /// What was proven since the last time, if it is time.
    pub(super) fn take(&mut self, now: Instant) -> Option<Proven> {
        let span = now.since(self.since);
        if span < INTERVAL || self.taken < LEAST {
            return None;
        }
        if now.since(self.renewed) >= MEMORY {
            (self.base, self.renewed) = ((self.base.1, Duration::MAX), now);
        }
        self.base.1 = self.base.1.min(self.least);
        let queued = self.least.saturating_sub(self.base.0.min(self.base.1));
        let rate = u64::try_from(u128::from(self.bytes) * 1_000_000_000 / span.as_nanos()).unwrap_or(u64::MAX);
        (self.since, self.taken, self.bytes, self.least) = (now, 0, 0, Duration::MAX);
        Some(Proven { rate, queued })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn proven(proof: &mut Proof, now_ms: u64, rtts: &[u64]) -> Option<(u64, u64)> {
        rtts.iter().for_each(|rtt| proof.note(1_000, Some(Duration::from_millis(*rtt))));
        proof.take(at(now_ms)).map(|proven| (proven.rate, proven.queued.as_millis() as u64))
    }

    #[test]
    fn the_rate_and_what_all_waited_longer_than_the_shortest_is_proven_ten_times_a_second() {
        let mut proof = Proof::new(at(0));
        assert_eq!(proven(&mut proof, 99, &[3, 9, 9, 9]), None, "too early");
        assert_eq!(proven(&mut proof, 100, &[]), Some((40_000, 0)));
        assert_eq!(proven(&mut proof, 200, &[50, 50, 50]), None, "too few");
        assert_eq!(proven(&mut proof, 300, &[50, 33]), Some((25_000, 30)));
        assert_eq!(proven(&mut proof, 400, &[90, 90, 90, 4]), Some((40_000, 1)), "a jitter is no queue");
    }

    #[test]
    fn a_shortest_round_trip_is_forgotten_with_the_second_memory_after_it() {
        let mut proof = Proof::new(at(0));
        let rows = [(100, 3, 0), (10_000, 20, 17), (19_999, 20, 17), (20_100, 20, 0), (20_200, 25, 5)];
        for (ms, rtt, expected) in rows {
            assert_eq!(proven(&mut proof, ms, &[rtt; 4]).map(|(_, queued)| queued), Some(expected), "at {ms} ms");
        }
    }
}

//! Decides what a neighbour's acknowledgements prove of the link to it: how much it carries, and how long its queues are.

use crate::ground::time::{Duration, Instant};

/// Over so much time at least: CoDel's interval, a round trip that few links exceed (RFC 8289 §4.3). The shortest round trip
/// within it has waited in every queue that stands, and a delay by chance has not struck all.
const INTERVAL: Duration = Duration::from_millis(100);
/// Fewer acknowledgements prove nothing: where datagrams are late by chance (Wi-Fi, up to 8 ms each way in the simulator) the least of four
/// is 10 ms above the shortest once in 170 times, that of sixteen never; a megabit a second answers as many in a fifth of a second.
const LEAST: u32 = 16;
/// The shortest round trip of this long ago is forgotten: the way may have changed (BBR's filter, RFC 9743's draft §4.1.2).
const MEMORY: Duration = Duration::from_secs(10);

/// What is as long is compared with its like alone: on 1 Mbit/s a full datagram takes 8 ms longer to leave than a short one, which
/// was taken for a queue wherever nothing short was under way.
const LONG: usize = 700;

/// What is measured of one neighbour.
#[derive(Debug)]
pub(super) struct Proof {
    since: Instant,
    taken: u32,
    bytes: u64,
    /// By size, short and long ones.
    sizes: [Trips; 2],
    renewed: Instant,
}

/// Round trips of what is about as long.
#[derive(Debug, Clone, Copy)]
struct Trips {
    /// The shortest since the last proof.
    least: Duration,
    /// The shortest of the memory before this one, and of this one.
    base: (Duration, Duration),
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
        let none = Trips { least: Duration::MAX, base: (Duration::MAX, Duration::MAX) };
        Self { since: now, taken: 0, bytes: 0, sizes: [none; 2], renewed: now }
    }

    /// The neighbour took so many bytes, after this time if they were sent once.
    pub(super) fn note(&mut self, bytes: usize, rtt: Option<Duration>) {
        self.bytes += bytes as u64;
        if let Some(rtt) = rtt {
            self.taken += 1;
            let trips = &mut self.sizes[usize::from(bytes >= LONG)];
            trips.least = trips.least.min(rtt);
        }
    }

    /// What was proven since the last time, if it is time.
    pub(super) fn take(&mut self, now: Instant) -> Option<Proven> {
        let span = now.since(self.since);
        if span < INTERVAL || self.taken < LEAST {
            return None;
        }
        let is_renewed = now.since(self.renewed) >= MEMORY;
        if is_renewed {
            self.renewed = now;
        }
        let queued = self.sizes.iter_mut().filter_map(|trips| trips.queued(is_renewed)).min().unwrap_or_default();
        self.sizes.iter_mut().for_each(|trips| trips.end(queued));
        let rate = u64::try_from(u128::from(self.bytes) * 1_000_000_000 / span.as_nanos()).unwrap_or(u64::MAX);
        (self.since, self.taken, self.bytes) = (now, 0, 0);
        Some(Proven { rate, queued })
    }
}

impl Trips {
    /// What the shortest round trip since the last proof had more than the shortest of the memory, if both are known.
    fn queued(&mut self, is_renewed: bool) -> Option<Duration> {
        if is_renewed {
            self.base = (self.base.1, Duration::MAX);
        }
        let base = self.base.0.min(self.base.1);
        (self.least.max(base) < Duration::MAX).then(|| self.least.saturating_sub(base))
    }

    /// Begins anew, with a memory of what a round trip takes without the queue: a size of which nothing was sent for long may find
    /// one that stands already.
    fn end(&mut self, queued: Duration) {
        let least = core::mem::replace(&mut self.least, Duration::MAX);
        let is_known = self.base.0.min(self.base.1) < Duration::MAX;
        if least < Duration::MAX {
            self.base.1 = self.base.1.min(if is_known { least } else { least.saturating_sub(queued) });
        }
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
        let trips = |first: &[u64], rest| [first, &vec![rest; 16 - first.len()]].concat();
        assert_eq!(proven(&mut proof, 99, &trips(&[3], 9)), None, "too early");
        assert_eq!(proven(&mut proof, 100, &[]), Some((160_000, 0)));
        assert_eq!(proven(&mut proof, 200, &[50; 15]), None, "too few");
        assert_eq!(proven(&mut proof, 300, &[33]), Some((80_000, 30)));
        assert_eq!(proven(&mut proof, 400, &trips(&[4], 90)), Some((160_000, 1)), "a jitter is no queue");
    }

    #[test]
    fn a_shortest_round_trip_is_forgotten_with_the_second_memory_after_it() {
        let mut proof = Proof::new(at(0));
        let rows = [(100, 3, 0), (10_000, 20, 17), (19_999, 20, 17), (20_100, 20, 0), (20_200, 25, 5)];
        for (ms, rtt, expected) in rows {
            assert_eq!(proven(&mut proof, ms, &[rtt; 16]).map(|(_, queued)| queued), Some(expected), "at {ms} ms");
        }
    }

    /// On 1 Mbit/s, beside a queue of 150 ms: the first short datagrams in half a minute said that there was none, and the pace grew.
    #[test]
    fn a_size_of_which_nothing_is_remembered_says_nothing_of_a_queue() {
        let mut proof = Proof::new(at(0));
        let mut noted = |ms, long: u64, short: Option<u64>| {
            (0..16).for_each(|_| proof.note(1_300, Some(Duration::from_millis(long))));
            short.into_iter().for_each(|short| proof.note(300, Some(Duration::from_millis(short))));
            proof.take(at(ms)).map(|proven| proven.queued.as_millis())
        };
        assert_eq!(noted(100, 11, None), Some(0));
        assert_eq!(noted(200, 161, Some(155)), Some(150));
        assert_eq!(noted(300, 151, Some(145)), Some(140), "it waited as long as the others");
        assert_eq!(noted(400, 31, Some(9)), Some(4));
    }

    /// On 1 Mbit/s: the pace sank to its least and stayed there for as long as nothing short was sent.
    #[test]
    fn that_what_is_long_takes_longer_than_what_is_short_is_no_queue() {
        let mut proof = Proof::new(at(0));
        let mut noted = |ms, long: u64, short: Option<u64>| {
            (0..16).for_each(|_| proof.note(1_300, Some(Duration::from_millis(long))));
            short.into_iter().for_each(|short| proof.note(300, Some(Duration::from_millis(short))));
            proof.take(at(ms)).map(|proven| proven.queued.as_millis())
        };
        assert_eq!(noted(100, 11, Some(3)), Some(0));
        assert_eq!(noted(200, 11, None), Some(0), "long ones alone");
        assert_eq!(noted(300, 31, None), Some(20));
        assert_eq!(noted(400, 31, Some(8)), Some(5), "the least that either waited");
    }
}

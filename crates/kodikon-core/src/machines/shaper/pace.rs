//! Decides how fast datagrams leave for one neighbour: as fast as it takes them, and as fast as the link between proved to be.

use crate::ground::bounded::TokenBucket;
use crate::ground::time::{Duration, Instant};
use crate::wire::header::OVERHEAD;

/// Datagrams a second: a tenth below what a peer takes (`PEER_RATE`), so that clocks that differ lose nothing; and as many at
/// once as it takes at once. Numbers in docs/machines/shaper.md.
const DATAGRAMS: u32 = 4_500;
/// Time lost in queues on the way above which the link is taken for full: twice CoDel's target (RFC 8289 §4.4), since an
/// acknowledgement may wait for 1 ms and timers fire 1.2 ms late at either end.
const QUEUED_MOST: Duration = Duration::from_millis(10);
/// And below which more is tried: between the two the link is just full.
const QUEUED_LEAST: Duration = Duration::from_millis(5);
/// It is lowered so often at most: what is proven meanwhile left before.
const CUT_EVERY: Duration = Duration::from_millis(300);
/// A queue that one proof shows may be a neighbour that stopped for a moment: what it answers when it goes on was long on its way
/// and little a second. One that stands is there in the next proof, too.
const STANDS: u32 = 2;
/// No link that a mesh can live on is slower: 64 kbit/s.
const RATE_LEAST: u64 = 8_000;
/// Letters for so many seconds at the present rate without a proof: nothing of it came through, and half is tried.
const IN_VAIN: u64 = 2;
/// At this many bytes a second the bytes bound nothing any more: as many datagrams of full length.
const RATE_MOST: u64 = DATAGRAMS as u64 * 1_500;
/// A pace of which nothing was heard for so long is no longer true.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// Bytes of UDP and IP around a frame, the larger of both.
const HEADERS: usize = 48;

/// The pace of one neighbour.
#[derive(Debug)]
pub(super) struct Pace {
    datagrams: TokenBucket,
    proven: Option<Proven>,
    /// Proofs in a row that showed a queue.
    queues: u32,
    used: Instant,
}

/// What a full link proved to carry.
#[derive(Debug)]
struct Proven {
    /// Bytes a second.
    rate: u64,
    /// Billionths of bytes that may leave; a datagram leaves while it is above zero, and may take it below.
    level: i64,
    filled: Instant,
    /// When the last proof came.
    at: Instant,
    /// When it was lowered last.
    cut: Instant,
    /// The rate at which the link was full last.
    full: u64,
    /// Whether anything had to wait for it since the last proof.
    was_short: bool,
    /// Bytes of letters that left since the last proof or cut.
    in_vain: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { datagrams: TokenBucket::new(DATAGRAMS, DATAGRAMS), proven: None, queues: 0, used: Instant::ZERO }
    }

    /// Whether nothing but the number of datagrams bounds it.
    pub(super) fn is_unproven(&self) -> bool {
        self.proven.is_none()
    }

    /// Whether a datagram may leave now. What a link proved does not bound what is urgent: that is little, and who holds it
    /// back holds back the acknowledgements that others' paces come from.
    pub(super) fn is_open(&mut self, now: Instant, is_urgent: bool) -> bool {
        self.proven.take_if(|proven| now.since(proven.at) >= FORGOTTEN);
        let is_open = self.proven.as_mut().is_none_or(|proven| proven.is_open(now) || is_urgent);
        self.datagrams.has(now, 1) && is_open
    }

    /// So many bytes of text leave now, in a datagram of their own or in one that is charged already; whether they are a letter's, which
    /// the neighbour answers.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize, joins: bool, is_answered: bool) {
        self.used = now;
        if !joins {
            self.datagrams.drain(now, 1);
        }
        if let Some(proven) = &mut self.proven {
            let level = proven.level - nano(bytes + if joins { 0 } else { OVERHEAD + HEADERS });
            proven.level = level.max(-DEBT_MOST.saturating_mul(proven.rate.cast_signed()));
            if is_answered {
                proven.in_vain += bytes as u64;
            }
            if proven.in_vain > IN_VAIN * proven.rate {
                (proven.rate, proven.in_vain, proven.at) = ((proven.rate / 2).max(RATE_LEAST), 0, now);
            }
        }
    }

    /// When a datagram may leave at the latest.
    pub(super) fn opens(&self, is_urgent: bool) -> Instant {
        let proven = self.proven.as_ref().filter(|_| !is_urgent);
        let proven = proven.map(|proven| proven.opens().min(proven.at + FORGOTTEN));
        self.datagrams.next().max(proven.unwrap_or(Instant::ZERO))
    }

    /// Something has to wait for it.
    pub(super) fn note_short(&mut self) {
        if let Some(proven) = &mut self.proven {
            proven.was_short = true;
        }
    }

    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// The neighbour took so many bytes a second, and so much time was lost in queues.
    pub(super) fn on_proof(&mut self, now: Instant, rate: u64, queued: Duration) {
        let was_short = self.proven.as_mut().is_some_and(|proven| {
            (proven.at, proven.in_vain) = (now, 0);
            core::mem::take(&mut proven.was_short)
        });
        if queued > QUEUED_MOST {
            self.queues += 1;
            if self.queues >= STANDS {
                self.slow_down(now, rate);
            }
            return;
        }
        self.queues = 0;
        let Some(proven) = self.proven.as_mut().filter(|_| was_short && queued < QUEUED_LEAST) else { return };
        // Near to where it was full, of which is heard a round trip too late, in small steps (as RFC 9438 §4.1 does).
        let is_near = proven.rate > proven.full / 4 * 3 && proven.rate < proven.full / 8 * 9;
        let step = if is_near { 32 } else { 8 };
        proven.rate += proven.rate / step;
        self.proven.take_if(|proven| proven.rate >= RATE_MOST);
    }

    /// A little less than the link carries, so that its queue empties; our own is where the order is right.
    fn slow_down(&mut self, now: Instant, rate: u64) {
        let less = |rate: u64| (rate / 8 * 7).max(RATE_LEAST);
        match &mut self.proven {
            Some(proven) if now.since(proven.cut) >= CUT_EVERY => {
                // Little was taken: perhaps since little was sent, unless it is far less than was allowed.
                let is_slower = rate < proven.rate / 2;
                (proven.full, proven.cut) = (proven.rate, now);
                proven.rate = less(if is_slower { rate } else { proven.rate });
            }
            None if less(rate) < RATE_MOST => {
                self.proven = Some(Proven {
                    rate: less(rate),
                    level: 1,
                    filled: now,
                    at: now,
                    cut: now,
                    full: rate,
                    was_short: false,
                    in_vain: 0,
                });
            }
            Some(_) | None => {}
        }
    }
}

impl Proven {
    fn is_open(&mut self, now: Instant) -> bool {
        let elapsed = i64::try_from(now.since(self.filled).as_nanos()).unwrap_or(i64::MAX);
        let most = nano(1).max(LATE.saturating_mul(self.rate.cast_signed()));
        let gained = elapsed.saturating_mul(self.rate.cast_signed());
        self.level = self.level.saturating_add(gained).min(most);
        self.filled = now;
        self.level > 0
    }

    fn opens(&self) -> Instant {
        let lacking = u64::try_from(1 - self.level).unwrap_or(0);
        self.filled + Duration::from_nanos(lacking.div_ceil(self.rate.max(1)))
    }
}

/// Nanoseconds that may be made up for: timers fire 1.2 ms late, and the loop may be at work for as long.
const LATE: i64 = 4_000_000;

/// Nanoseconds by which what is urgent may get ahead of the pace: for so long at most the rest waits for it when it is over.
const DEBT_MOST: i64 = 100_000_000;

fn nano(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(1_000 + ms)
    }

    /// Bytes that leave in a second in which more wait than may leave.
    fn carried(pace: &mut Pace, from_ms: u64) -> usize {
        let (mut now, end) = (at(from_ms), at(from_ms + 1_000));
        let mut bytes = 0;
        while now < end {
            while pace.is_open(now, false) {
                pace.charge(now, 1_418, false, false);
                bytes += 1_500;
            }
            let opens = pace.opens(false);
            assert!(opens > now, "the driver would spin");
            now = opens;
        }
        bytes
    }

    #[test]
    fn a_neighbour_gets_as_many_datagrams_as_it_takes_and_a_second_of_them_at_once() {
        let mut pace = Pace::new();
        let burst = (0..).take_while(|_| {
            let is_open = pace.is_open(at(0), false);
            pace.charge(at(0), 100, false, false);
            is_open
        });
        assert_eq!(burst.count(), 4_500);
        assert_eq!(pace.opens(false).since(at(0)).as_micros(), 222);
        let in_a_second = carried(&mut pace, 1) / 1_500;
        assert!((4_500..4_506).contains(&in_a_second), "{in_a_second}");
    }

    #[test]
    fn a_full_link_is_given_a_little_less_than_it_carries_and_then_more_until_it_is_full_again() {
        let mut pace = Pace::new();
        pace.on_proof(at(0), 100_000, Duration::from_millis(10));
        assert!(pace.is_unproven(), "that much is usual");
        pace.on_proof(at(0), 100_000, Duration::from_millis(11));
        assert!(pace.is_unproven(), "it may have stopped for a moment");
        pace.on_proof(at(0), 100_000, Duration::from_millis(11));
        let first = carried(&mut pace, 0);
        pace.note_short();
        assert!((86_000..91_500).contains(&first), "{first}");
        pace.on_proof(at(1_000), 100_000, Duration::ZERO);
        let second = carried(&mut pace, 1_000);
        assert!((88_500..94_000).contains(&second), "{second}");
        for (ms, queued, taken, expected) in [
            (1_900, 50, 200_000, 90_234),
            (2_000, 50, 200_000, 78_953),
            (2_299, 50, 200_000, 78_953),
            (2_300, 50, 43_064, 69_083),
            (2_600, 50, 9_000, 8_000),
            (2_700, 5, 10_000, 8_000),
            (2_800, 4, 10_000, 9_000),
        ] {
            pace.on_proof(at(ms), taken, Duration::from_millis(queued));
            assert_eq!(pace.proven.as_ref().map(|proven| proven.rate), Some(expected), "at {ms} ms");
            pace.note_short();
        }
    }

    /// On 1 Mbit/s the pace grew to one and a half of what the link carried before the queue told.
    #[test]
    fn a_pace_grows_in_small_steps_near_to_where_the_link_was_full() {
        let mut pace = Pace::new();
        (0..2).for_each(|_| pace.on_proof(at(0), 100_000, Duration::from_millis(50)));
        let mut rates = Vec::new();
        for ms in (150..3_000).step_by(150) {
            pace.note_short();
            pace.on_proof(at(ms), 100_000, Duration::ZERO);
            rates.extend(pace.proven.as_ref().map(|proven| proven.rate));
        }
        let steps: Vec<u64> = rates.windows(2).map(|pair| pair[0] / (pair[1] - pair[0])).collect();
        let near = rates.iter().filter(|rate| **rate < 112_500).count();
        assert_eq!((steps[..near].to_vec(), steps[near]), (vec![32; near], 8), "{rates:?}");
        assert!(near > 5, "{rates:?}");
    }

    /// On 20 KB/s nothing was answered for ten seconds, the pace was forgotten, and all that waited left at once.
    #[test]
    fn where_letters_leave_and_nothing_is_proven_half_is_tried_and_nothing_is_forgotten() {
        let mut pace = Pace::new();
        (0..2).for_each(|_| pace.on_proof(at(0), 64_000, Duration::from_millis(50)));
        let rate = |pace: &Pace| pace.proven.as_ref().map(|proven| proven.rate);
        assert_eq!(rate(&pace), Some(56_000));
        for (bytes, expected) in
            [(112_000, 56_000), (1, 28_000), (56_000, 28_000), (1, 14_000), (30_000, 8_000), (99_000, 8_000)]
        {
            pace.charge(at(9_999), bytes, false, true);
            assert_eq!(rate(&pace), Some(expected), "after {bytes} more");
        }
        pace.charge(at(9_999), 1_000_000, false, false);
        assert!(pace.is_open(at(19_998), true) && !pace.is_unproven());
        assert!(pace.is_open(at(19_999), true) && pace.is_unproven(), "nothing was said for so long");
    }

    #[test]
    fn a_pace_that_bounds_nothing_or_is_old_is_forgotten() {
        let mut pace = Pace::new();
        pace.on_proof(at(0), RATE_MOST * 2, Duration::from_secs(1));
        pace.on_proof(at(0), RATE_MOST * 2, Duration::from_secs(1));
        assert!(pace.is_unproven());
        (0..2).for_each(|_| pace.on_proof(at(0), 0, Duration::from_secs(1)));
        assert_eq!(pace.proven.as_ref().map(|proven| proven.rate), Some(RATE_LEAST));
        assert!(pace.is_open(at(9_999), false) && !pace.is_unproven());
        pace.charge(at(9_999), 1_000_000, false, false);
        assert!(pace.is_open(at(9_999), true) && pace.opens(true) <= at(9_999), "what is urgent waits for no link");
        assert_eq!(pace.opens(false), at(10_000), "what waits needs no longer");
        assert!(pace.is_open(at(10_000), false) && pace.is_unproven());
    }
}

//! Decides how much of what is said to all goes on a way that did not carry it: as much as came, and more again when all of it comes.

use crate::ground::bounded::TokenBucket;
use crate::ground::time::{Duration, Instant, millis};
use crate::wire::letter::MAX_PIECE;

/// From so many pieces on (16 KiB) it is judged by how many came: fewer fit the queue of any interface, and a loss of them is chance.
const JUDGED: u32 = 15;
/// Less than one of so many came: the way did not carry it. Where two fifths are lost each way more than half come.
const CAME_OF: u32 = 4;
/// Bytes a second that are tried at least: a piece of each of a dozen casts.
const LEAST: u32 = 16 * 1_024;
/// What is carried by more than this (a wire's share, see `ways.rs`) needs no limit.
const MOST: u32 = 4 * 1_024 * 1_024;
/// What was found so long ago is no longer true, as of a neighbour's pace (docs/machines/shaper.md).
pub(super) const FORGOTTEN: Duration = Duration::from_secs(10);
/// A limited way is given so many quarters of that after each look at which half had come.
const GROWTH: u32 = 5;

/// What a way carries, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Limit>);

#[derive(Debug)]
struct Limit {
    rate: u32,
    bucket: TokenBucket,
    /// When it was found.
    at: Instant,
}

impl Limit {
    /// A quarter of a second's share at once, and at least a few pieces.
    fn new(now: Instant, rate: u32) -> Self {
        let burst = (rate / 4).max(8 * 1_024);
        let mut bucket = TokenBucket::new(rate, burst);
        // What was said lies in a queue yet.
        bucket.drain(now, burst);
        Self { rate, bucket, at: now }
    }
}

impl Pace {
    /// Those of the pieces that may be said now, to one or by the group, the first ones first.
    pub(super) fn afford(&mut self, now: Instant, pieces: u64) -> u64 {
        self.0.take_if(|limit| now.since(limit.at) >= FORGOTTEN);
        let Some(limit) = &mut self.0 else { return pieces };
        let piece = u32::try_from(MAX_PIECE).unwrap_or(u32::MAX);
        let (mut left, mut afforded) = (pieces, 0);
        while left != 0 && limit.bucket.take(now, piece) {
            let first = left & left.wrapping_neg();
            (left, afforded) = (left ^ first, afforded | first);
        }
        afforded
    }

    /// Of so many pieces that were said within a span so many came.
    pub(super) fn note_carried(&mut self, now: Instant, came: u32, said: u32, span: Duration) {
        let is_judged = said >= JUDGED;
        if is_judged && came.saturating_mul(CAME_OF) < said {
            let bytes = u64::from(came) * MAX_PIECE as u64;
            let a_second = bytes * 1_000 / millis(span).max(1);
            let most = self.0.as_ref().map_or(MOST, |limit| limit.rate);
            let rate = u32::try_from(a_second).unwrap_or(u32::MAX).clamp(LEAST, most.max(LEAST));
            self.0 = Some(Limit::new(now, rate));
        } else if said > 0 && came.saturating_mul(2) >= said {
            let rate = self.0.as_ref().map_or(MOST, |limit| limit.rate / 4 * GROWTH);
            self.0 = (rate < MOST).then(|| Limit::new(now, rate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn what_did_not_carry_a_quarter_is_given_what_came_and_more_again_when_half_comes() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        assert_eq!(pace.afford(at(0), u64::MAX), u64::MAX);
        for (came, said) in [(0, 14), (15, 60), (60, 60)] {
            pace.note_carried(at(0), came, said, second);
            assert_eq!(pace.afford(at(0), u64::MAX), u64::MAX, "{came} of {said}");
        }
        // 29 times 1,100 bytes a second, of which a quarter at once.
        pace.note_carried(at(0), 29, 120, second);
        assert_eq!(pace.afford(at(0), u64::MAX), 0);
        assert_eq!(pace.afford(at(80), 0b1_0100), 0b1_0100);
        assert_eq!(pace.afford(at(80), 0b11), 0);
        assert_eq!(pace.afford(at(9_000), u64::MAX).count_ones(), 7, "a quarter of a second's, at least 8 KiB");
        pace.note_carried(at(9_000), 1, 2, second);
        assert_eq!(pace.afford(at(10_000), u64::MAX).count_ones(), 9, "a quarter more");
        (0..30).for_each(|_| pace.note_carried(at(9_000), 60, 60, second));
        assert_eq!(pace.afford(at(10_000), u64::MAX), u64::MAX, "without a limit again");
        pace.note_carried(at(10_000), 0, 60, second);
        assert_eq!(pace.afford(at(10_070), 0b11).count_ones(), 1, "at least 16 KiB a second");
    }

    #[test]
    fn a_limit_of_which_nothing_was_seen_for_ten_seconds_is_none() {
        let mut pace = Pace::default();
        for (found, ms, is_limited) in [(0, 9_999, true), (20_000, 30_000, false), (30_000, 39_000, true)] {
            pace.note_carried(at(found), 0, 60, Duration::from_secs(1));
            assert_eq!(pace.afford(at(ms), u64::MAX) != u64::MAX, is_limited, "{found} to {ms} ms");
        }
        pace.note_carried(at(39_500), 2, 2, Duration::from_secs(1));
        assert_ne!(pace.afford(at(49_000), u64::MAX), u64::MAX, "each look counts");
        assert_eq!(pace.afford(at(49_500), u64::MAX), u64::MAX);
    }
}

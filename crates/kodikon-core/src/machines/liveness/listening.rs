//! Decides since when a silence can be a peer's own: not while this node was away itself, nor at once after.

use crate::ground::time::{Duration, Instant};

/// What part of the hard bound this node listens, after it was away, before it calls anybody failed by it: of half a minute seven and a
/// half seconds, in which everybody sends a beacon (one in five seconds) and is asked besides, also where the port of a switch passes nothing for three.
const LISTENS: u32 = 4;
/// And what part of it must lie between two such times, so that a node that is away again and again judges all the same.
const AGAIN: u32 = 2;

/// Since when this node listens again, if it was away.
#[derive(Debug, Default)]
pub(super) struct Listening {
    since: Option<Instant>,
}

impl Listening {
    /// It was away until now: stopped, or without a carrier somewhere.
    pub(super) fn begin(&mut self, now: Instant, bound: Duration) {
        if self.since.is_none_or(|since| now.since(since) >= bound / AGAIN) {
            self.since = Some(now);
        }
    }

    /// Whether it was so for as long that it heard nothing that the hard bound allows for.
    pub(super) fn is_long(away: Duration, bound: Duration) -> bool {
        away >= bound / AGAIN
    }

    /// Whether everybody had the time to speak.
    pub(super) fn is_over(&self, now: Instant, bound: Duration) -> bool {
        self.since.is_none_or(|since| now.since(since) >= bound / LISTENS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_listens_a_quarter_of_the_bound_and_not_again_before_half_of_it() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let bound = Duration::from_secs(30);
        let mut listening = Listening::default();
        assert!(listening.is_over(at(0), bound), "it was not away");
        // (away until, looked at, whether it may judge)
        for (returned, looked, is_over) in [(100, 107, false), (100, 108, true), (114, 114, true), (115, 122, false)] {
            listening.begin(at(returned), bound);
            assert_eq!(listening.is_over(at(looked), bound), is_over, "{returned} s, {looked} s");
        }
        assert!(
            !Listening::is_long(Duration::from_secs(14), bound) && Listening::is_long(Duration::from_secs(15), bound)
        );
    }
}

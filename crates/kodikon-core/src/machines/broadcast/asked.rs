//! Decides of whom a cast that is lacking is asked for: of one, until that one had its time to give it.

use crate::ground::bounded::RecentMap;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::model::cast::CastId;

/// Casts that were asked for lately; the one asked for longest ago makes room.
pub(super) const MAX_ASKED: usize = 1_024;
/// How long a neighbour may take to give what it was asked for before another is asked.
const ASKED_FOR: Duration = Duration::from_millis(150);
/// So many who were asked for one cast are remembered: the one asked first longest ago makes room.
const MAX_OF_ONE: usize = 8;

/// Who was asked for what.
#[derive(Debug)]
pub(super) struct Asked {
    casts: RecentMap<CastId, Of>,
}

/// Of whom one cast was asked for.
#[derive(Debug, Default)]
struct Of {
    /// Each, and when the last time.
    neighbours: Vec<(NodeId, Instant)>,
    /// When one was asked for the first time.
    fresh: Option<Instant>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { casts: RecentMap::new(MAX_ASKED) }
    }
}

impl Asked {
    /// A neighbour offers a cast that is lacking: whether it is asked for it. Noted if it is.
    pub(super) fn may_ask(&mut self, now: Instant, id: CastId, of: NodeId) -> bool {
        self.casts.get_or_insert_with(id, Of::default).may_ask(now, of)
    }

    /// The cast is here.
    pub(super) fn forget(&mut self, id: &CastId) {
        self.casts.remove(id);
    }

    pub(super) fn len(&self) -> usize {
        self.casts.len()
    }
}

impl Of {
    fn may_ask(&mut self, now: Instant, of: NodeId) -> bool {
        let is_over = |at: Instant| now.since(at) >= ASKED_FOR;
        if let Some((_, at)) = self.neighbours.iter_mut().find(|(neighbour, _)| *neighbour == of) {
            // It had its time and gave nothing: asked again it keeps nobody else waiting. One that swallows what it should pass on asks
            // who has it over and over.
            let is_free = is_over(*at);
            if is_free {
                *at = now;
            }
            return is_free;
        }
        if self.fresh.is_some_and(|at| !is_over(at)) {
            return false;
        }
        if self.neighbours.len() >= MAX_OF_ONE {
            self.neighbours.remove(0);
        }
        self.neighbours.push((of, now));
        self.fresh = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::Epoch;

    const CAST: CastId = CastId { origin: NodeId([9; 16]), epoch: Epoch(1), number: 7 };

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn one_is_asked_at_a_time_and_another_when_it_had_its_time() {
        let mut asked = Asked::default();
        let mut may = |ms, n| asked.may_ask(at(ms), CAST, NodeId([n; 16]));
        assert!(may(0, 1));
        assert!(!may(1, 1) && !may(149, 2) && !may(149, 1));
        assert!(may(150, 2) && !may(299, 3) && may(300, 3));
        let other = CastId { number: 8, ..CAST };
        assert!(asked.may_ask(at(301), other, NodeId([4; 16])), "of each cast apart");
        asked.forget(&other);
        assert_eq!(asked.len(), 1);
    }

    /// A relay that swallowed what it should have passed on asked each 400 ms who has it, and was asked for it each time: three offers in a row
    /// of the one that would have given it came within 150 ms after that.
    #[test]
    fn one_that_says_it_has_it_and_gives_nothing_keeps_no_other_waiting_but_once() {
        let mut asked = Asked::default();
        let mut may = |ms, n| asked.may_ask(at(ms), CAST, NodeId([n; 16]));
        assert!(may(0, 1));
        assert!(!may(140, 2), "it may be on its way");
        assert!(may(400, 1) && may(401, 2), "in vain before");
        assert!(may(800, 1) && may(801, 2), "both at once");
        assert!(may(802, 3) && !may(803, 4), "one at a time of those who were not asked yet");
        let one_by_one = (4u8..=9).all(|n| may(802 + 150 * u64::from(n - 3), n));
        assert!(one_by_one && !may(1_703, 1), "the first is forgotten");
    }
}

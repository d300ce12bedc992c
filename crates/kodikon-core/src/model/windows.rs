//! Decides that what is said reaches the application at most once: which numbers of each origin's run arrived.

use crate::ground::bounded::RecentMap;
use crate::ground::id::{Epoch, NodeId};

/// Numbers that are told apart below the highest of one origin.
pub const WINDOW: u64 = 1_024;
/// How far an origin runs ahead of the oldest of its numbers that is not settled: what is new never falls below the window,
/// with a margin for attempts that are still on their way.
pub const SPAN: u64 = 960;
/// Origins remembered: each had its card checked here. The one that wrote longest ago makes room.
pub const MAX_ORIGINS: usize = 8_192;

const WORDS: usize = (WINDOW / 64) as usize;

/// What arrived of one origin's run.
#[derive(Debug, Clone)]
struct Window {
    epoch: Epoch,
    highest: u64,
    seen: Box<[u64; WORDS]>,
}

/// How a number stands to what arrived before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// It did not.
    New,
    /// It did.
    Before,
    /// It is so old that this cannot be told, or of a run that is over.
    Unknown,
}

/// The numbers that arrived, by origin. A window is never cleared as a whole while its run lasts.
#[derive(Debug)]
pub struct Windows {
    origins: RecentMap<NodeId, Window>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { origins: RecentMap::new(MAX_ORIGINS) }
    }
}

impl Windows {
    /// How many origins are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether nothing ever arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// How a number stands, without noting it.
    #[must_use]
    pub fn standing(&self, origin: &NodeId, epoch: Epoch, number: u64) -> Arrived {
        match self.origins.get(origin) {
            Some(window) if window.epoch > epoch => Arrived::Unknown,
            Some(window) if window.epoch == epoch => window.standing(number),
            Some(_) | None if number == 0 => Arrived::Unknown,
            Some(_) | None => Arrived::New,
        }
    }

    /// The highest number that arrived of an origin's run; 0 if none did.
    #[must_use]
    pub fn highest(&self, origin: &NodeId, epoch: Epoch) -> u64 {
        self.origins.get(origin).filter(|window| window.epoch == epoch).map_or(0, |window| window.highest)
    }

    /// Notes a number that is surely its origin's own.
    pub fn note(&mut self, origin: NodeId, epoch: Epoch, number: u64) -> Arrived {
        let fresh = || Window { epoch, highest: 0, seen: Box::new([0; WORDS]) };
        let mut window = self.origins.remove(&origin).unwrap_or_else(fresh);
        if window.epoch < epoch {
            window = fresh();
        }
        let arrived = if window.epoch > epoch { Arrived::Unknown } else { window.note(number) };
        self.origins.insert(origin, window);
        arrived
    }
}

impl Window {
    fn standing(&self, number: u64) -> Arrived {
        if number == 0 || self.highest >= WINDOW && number <= self.highest - WINDOW {
            return Arrived::Unknown;
        }
        let (word, bit) = place(number);
        if number <= self.highest && self.seen[word] & bit != 0 { Arrived::Before } else { Arrived::New }
    }

    fn note(&mut self, number: u64) -> Arrived {
        let standing = self.standing(number);
        if standing == Arrived::Unknown {
            return standing;
        }
        if number > self.highest {
            if number - self.highest >= WINDOW {
                self.seen.fill(0);
            } else {
                for passed in self.highest + 1..=number {
                    let (word, bit) = place(passed);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = number;
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        standing
    }
}

fn place(number: u64) -> (usize, u64) {
    let bit = number % WINDOW;
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_arrives_once_in_whatever_order_and_never_below_the_window() {
        use Arrived::{Before, New, Unknown};
        let mut windows = Windows::default();
        let table = [
            ((2, 0), Unknown),
            ((2, 1), New),
            ((2, 1), Before),
            ((2, 960), New),
            ((2, 2), New),
            ((2, 1_024), New),
            ((2, 1), Before),
            ((2, 1_025), New),
            ((2, 1), Unknown),
            ((2, 2), Before),
            ((2, 3), New),
            ((2, u64::MAX), New),
            ((2, u64::MAX), Before),
            ((2, u64::MAX - 1_023), New),
            ((2, u64::MAX - 1_024), Unknown),
            ((1, 7), Unknown),
            ((3, 1), New),
            ((2, 5_000), Unknown),
            ((3, 1), Before),
        ];
        for ((epoch, number), expected) in table {
            assert_eq!(windows.note(NodeId([1; 16]), Epoch(epoch), number), expected, "{number} of run {epoch}");
        }
        assert_eq!(windows.note(NodeId([2; 16]), Epoch(2), 1), New, "another origin");
    }
}

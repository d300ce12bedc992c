//! Decides that what is said reaches the application at most once: which numbers of each origin's run arrived.

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
    /// As how manieth of all numbers its latest was noted.
    last: u64,
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
///
/// Found by a sorted list of the ids' first eight bytes, since this is asked for every letter and a tree of thousands costs more
/// cache misses than the limit of 60 ns allows; a new origin moves the list's end, which is rare.
#[derive(Debug, Default)]
pub struct Windows {
    /// Sorted; those that share their first bytes stand beside each other.
    firsts: Vec<u64>,
    /// Which of `windows` belongs to each of `firsts`.
    places: Vec<usize>,
    windows: Vec<(NodeId, Window)>,
    /// How many numbers were noted.
    noted: u64,
}

impl Windows {
    /// How many origins are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether nothing ever arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// How a number stands, without noting it.
    #[must_use]
    pub fn standing(&self, origin: &NodeId, epoch: Epoch, number: u64) -> Arrived {
        match self.find(origin).ok().map(|place| &self.windows[place].1) {
            Some(window) if window.epoch > epoch => Arrived::Unknown,
            Some(window) if window.epoch == epoch => window.standing(number),
            Some(_) | None if number == 0 => Arrived::Unknown,
            Some(_) | None => Arrived::New,
        }
    }

    /// The highest number that arrived of an origin's run; 0 if none did.
    #[must_use]
    pub fn highest(&self, origin: &NodeId, epoch: Epoch) -> u64 {
        let window = self.find(origin).ok().map(|place| &self.windows[place].1);
        window.filter(|window| window.epoch == epoch).map_or(0, |window| window.highest)
    }

    /// Notes a number that is surely its origin's own.
    pub fn note(&mut self, origin: NodeId, epoch: Epoch, number: u64) -> Arrived {
        self.noted += 1;
        let place = self.find(&origin).unwrap_or_else(|at| self.add(at, origin, epoch));
        let window = &mut self.windows[place].1;
        window.last = self.noted;
        if window.epoch < epoch {
            *window = Window { last: self.noted, ..Window::new(epoch) };
        }
        if window.epoch > epoch { Arrived::Unknown } else { window.note(number) }
    }

    /// Where an origin's window is, or where its first bytes belong.
    fn find(&self, origin: &NodeId) -> Result<usize, usize> {
        let first = first_of(origin);
        let at = self.firsts.partition_point(|held| *held < first);
        let alike = self.firsts[at..].iter().zip(&self.places[at..]).take_while(|(held, _)| **held == first);
        alike.map(|(_, place)| *place).find(|place| self.windows[*place].0 == *origin).ok_or(at)
    }

    /// A window for an origin that had none; returns its place.
    fn add(&mut self, at: usize, origin: NodeId, epoch: Epoch) -> usize {
        let (place, at) = if self.windows.len() < MAX_ORIGINS {
            self.windows.push((origin, Window::new(epoch)));
            (self.windows.len() - 1, at)
        } else {
            let place = self.forget_oldest();
            self.windows[place] = (origin, Window::new(epoch));
            (place, self.firsts.partition_point(|held| *held < first_of(&origin)))
        };
        self.firsts.insert(at, first_of(&origin));
        self.places.insert(at, place);
        place
    }

    /// Takes the origin that wrote longest ago out of the list; returns the place of its window.
    fn forget_oldest(&mut self) -> usize {
        let last = |place: &usize| self.windows[*place].1.last;
        let oldest = (0..self.places.len()).min_by_key(|at| last(&self.places[*at])).expect("it is full");
        self.firsts.remove(oldest);
        self.places.remove(oldest)
    }
}

/// An id is a hash, so that its first bytes tell thousands apart.
fn first_of(id: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Window {
    fn new(epoch: Epoch) -> Self {
        Self { epoch, highest: 0, last: 0, seen: Box::new([0; WORDS]) }
    }

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

    #[test]
    fn the_origin_that_wrote_longest_ago_makes_room_and_those_alike_are_told_apart() {
        let mut windows = Windows::default();
        // The first eight bytes of all are one of two.
        let id = |n: usize| {
            let mut bytes = [(n % 2) as u8; 16];
            bytes[8..].copy_from_slice(&(n as u64).to_be_bytes());
            NodeId(bytes)
        };
        for n in 0..MAX_ORIGINS {
            assert_eq!(windows.note(id(n), Epoch(1), 7), Arrived::New, "{n}");
        }
        assert_eq!(windows.note(id(0), Epoch(1), 7), Arrived::Before);
        assert_eq!(windows.note(id(MAX_ORIGINS), Epoch(1), 7), Arrived::New);
        assert_eq!(windows.len(), MAX_ORIGINS);
        for (n, expected) in
            [(0, Arrived::Before), (1, Arrived::New), (2, Arrived::Before), (MAX_ORIGINS, Arrived::Before)]
        {
            assert_eq!(windows.standing(&id(n), Epoch(1), 7), expected, "{n}");
        }
        assert_eq!(windows.highest(&id(2), Epoch(1)), 7);
    }
}

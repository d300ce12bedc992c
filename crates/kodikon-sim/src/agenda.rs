//! Decides what happens next: one binary heap in virtual time, ties in the order in which they were entered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::moment::Moment;

/// What will happen, by its moment.
#[derive(Debug)]
pub struct Agenda<T> {
    // The heap holds 24-byte entries; what they stand for lies still in the slab, or sifting would move it about.
    heap: BinaryHeap<Reverse<(Moment, u64, u32)>>,
    slab: Vec<Option<T>>,
    free: Vec<u32>,
    entered: u64,
}

impl<T> Agenda<T> {
    /// Nothing will happen.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), entered: 0 }
    }

    /// Something will happen.
    pub fn enter(&mut self, at: Moment, what: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            u32::try_from(self.slab.len() - 1).expect("memory ends long before four billion entries")
        });
        self.slab[place as usize] = Some(what);
        self.heap.push(Reverse((at, self.entered, place)));
        self.entered += 1;
    }

    /// What happens next, if it happens before `end`.
    pub fn next_before(&mut self, end: Moment) -> Option<(Moment, T)> {
        let Reverse((at, _, _)) = self.heap.peek()?;
        if *at >= end {
            return None;
        }
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.slab[place as usize].take().expect("an entry of the heap has its place in the slab")))
    }

    /// How much is entered and has not happened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing will happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_ordered_by_moment_then_by_entry() {
        let mut agenda = Agenda::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            agenda.enter(Moment(at), what);
        }
        let told: String = std::iter::from_fn(|| agenda.next_before(Moment(6))).map(|(_, what)| what).collect();
        assert_eq!(told, "abcd");
        agenda.enter(Moment(6), 'e');
        assert_eq!(agenda.next_before(Moment(6)), None, "the end is not part of the run");
    }
}

//! Decides which numbers of an author were processed: a set of intervals, so that gaps are fine.

use crate::ground::bounded::reserve_few;
use crate::wire::message::Interval;

/// Intervals of one author's run at most: beyond, the smallest gap is treated as covered by none and the op waits.
pub(super) const MAX_INTERVALS: usize = 512;

/// A set of numbers as disjoint, ascending, non-adjacent intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Intervals {
    spans: Vec<Interval>,
}

impl Intervals {
    /// The interval that begins nearest at or below a number.
    fn before(&self, number: u64) -> Option<Interval> {
        let behind = self.spans.partition_point(|span| span.first <= number);
        self.spans[..behind].last().copied()
    }

    /// The interval that a number lies in.
    #[must_use]
    pub(super) fn around(&self, number: u64) -> Option<Interval> {
        self.before(number).filter(|span| span.last >= number)
    }

    /// Whether a number is in the set.
    #[must_use]
    pub(super) fn contains(&self, number: u64) -> bool {
        self.around(number).is_some()
    }

    /// Adds the numbers from `first` to `last`. `false` if that would make more than 512 intervals; nothing is added then.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> bool {
        self.insert_within(first, last, MAX_INTERVALS)
    }

    /// The same, of so many intervals at most.
    pub(super) fn insert_within(&mut self, first: u64, last: u64, most: usize) -> bool {
        if first > last {
            return true;
        }
        // Those that the new one overlaps or touches are one with it.
        let from = self.spans.partition_point(|span| span.last.saturating_add(1) < first);
        let to = from + self.spans[from..].partition_point(|span| span.first <= last.saturating_add(1));
        let Some((lowest, highest)) = self.spans[from..to].first().zip(self.spans[from..to].last()) else {
            if self.spans.len() >= most {
                return false;
            }
            reserve_few(&mut self.spans);
            self.spans.insert(from, Interval { first, last });
            return true;
        };
        self.spans[from] = Interval { first: first.min(lowest.first), last: last.max(highest.last) };
        self.spans.drain(from + 1..to);
        true
    }

    /// Takes one number out of a set of any number of intervals.
    pub(super) fn remove(&mut self, number: u64) {
        let at = self.spans.partition_point(|span| span.last < number);
        let Some(span) = self.spans.get_mut(at).filter(|span| span.first <= number) else { return };
        match (span.first == number, span.last == number) {
            (true, true) => _ = self.spans.remove(at),
            (true, false) => span.first = number + 1,
            (false, true) => span.last = number - 1,
            (false, false) => {
                let above = Interval { first: number + 1, last: span.last };
                span.last = number - 1;
                self.spans.insert(at + 1, above);
            }
        }
    }

    /// Whether every number of the other set is in this one.
    #[must_use]
    pub(super) fn contains_all(&self, other: &[Interval]) -> bool {
        other.iter().all(|interval| self.before(interval.first).is_some_and(|span| span.last >= interval.last))
    }

    /// The numbers of this set that are not in the other.
    #[must_use]
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for span in &self.spans {
            let mut first = span.first;
            let begin = other.spans.partition_point(|taken| taken.last < span.first);
            for taken in other.spans[begin..].iter().take_while(|taken| taken.first <= span.last) {
                if taken.first > first {
                    rest.spans.push(Interval { first, last: taken.first - 1 });
                }
                // Nothing follows the last number there is.
                let Some(after) = taken.last.checked_add(1) else { return rest };
                first = first.max(after);
            }
            if first <= span.last {
                rest.spans.push(Interval { first, last: span.last });
            }
        }
        rest
    }

    /// A set of ascending numbers, of any number of intervals: for what is counted here and never grows by what others say.
    #[must_use]
    pub(super) fn of(numbers: impl Iterator<Item = u64>) -> Self {
        Self::joined(numbers.map(|number| Interval { first: number, last: number }))
    }

    /// The numbers of both sets.
    #[must_use]
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut all = [self.spans.as_slice(), &other.spans].concat();
        // Two ascending runs, which this sort merges in one pass.
        all.sort_by_key(|span| span.first);
        Self::joined(all.into_iter())
    }

    /// The set of intervals that begin in ascending order.
    fn joined(intervals: impl Iterator<Item = Interval>) -> Self {
        let mut spans: Vec<Interval> = Vec::new();
        for span in intervals {
            match spans.last_mut().filter(|last| last.last.saturating_add(1) >= span.first) {
                Some(last) => last.last = last.last.max(span.last),
                None => spans.push(span),
            }
        }
        Self { spans }
    }

    /// The numbers from 1 on that are not in the set.
    #[must_use]
    pub(super) fn gaps(&self) -> Vec<Interval> {
        let mut gaps = Vec::new();
        let mut first = 1;
        for span in &self.spans {
            if span.first > first {
                gaps.push(Interval { first, last: span.first - 1 });
            }
            first = span.last.saturating_add(1);
        }
        if self.spans.last().is_none_or(|last| last.last < u64::MAX) {
            gaps.push(Interval { first, last: u64::MAX });
        }
        gaps
    }

    /// How many numbers are in the set.
    #[must_use]
    pub(super) fn count(&self) -> u64 {
        self.spans.iter().fold(0, |sum, span| sum.saturating_add((span.last - span.first).saturating_add(1)))
    }

    /// The highest number in the set; 0 if it is empty.
    #[must_use]
    pub(super) fn highest(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.last)
    }

    /// The numbers up to this one.
    #[must_use]
    pub(super) fn up_to(mut self, highest: u64) -> Self {
        self.spans.retain_mut(|span| {
            span.last = span.last.min(highest);
            span.first <= span.last
        });
        self
    }

    /// How many intervals there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The intervals as they travel.
    #[must_use]
    pub(super) fn to_wire(&self) -> &[Interval] {
        &self.spans
    }

    /// Reads intervals from the wire; those that make no sense are left out.
    #[must_use]
    pub(super) fn from_wire(intervals: &[Interval]) -> Self {
        let mut set = Self::default();
        for interval in intervals.iter().take(MAX_INTERVALS).filter(|interval| interval.first > 0) {
            set.insert(interval.first, interval.last);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn intervals_hold_what_a_plain_set_holds(spans in proptest::collection::vec((1u64..120, 0u64..9), 0..40)) {
            let mut set = Intervals::default();
            let mut model = BTreeSet::new();
            for (first, len) in spans {
                set.insert(first, first + len);
                model.extend(first..=first + len);
            }
            for number in 0..140 {
                prop_assert_eq!(set.contains(number), model.contains(&number), "{}", number);
                let around = set.around(number);
                prop_assert_eq!(around.is_some(), model.contains(&number), "{}", number);
                prop_assert!(around.is_none_or(|span| span.first <= number && number <= span.last), "{}", number);
            }
            let wire = set.to_wire();
            for pair in wire.windows(2) {
                prop_assert!(pair[0].last + 1 < pair[1].first, "adjacent intervals are one: {:?}", wire);
            }
            prop_assert_eq!(&Intervals::from_wire(wire), &set);
            prop_assert!(set.contains_all(wire));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn what_is_taken_out_is_gone_and_nothing_else(steps in proptest::collection::vec((any::<bool>(), 1u64..40), 0..200)) {
            let mut set = Intervals::default();
            let mut model = BTreeSet::new();
            for (adds, number) in steps {
                if adds {
                    set.insert_within(number, number, usize::MAX);
                    model.insert(number);
                } else {
                    set.remove(number);
                    model.remove(&number);
                }
                prop_assert_eq!(&set, &Intervals::of(model.iter().copied()));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn two_sets_together_hold_what_either_does_and_their_difference_what_only_the_first_does(
            spans in proptest::collection::vec((1u64..120, 0u64..9), 0..20),
            others in proptest::collection::vec((1u64..120, 0u64..9), 0..20),
        ) {
            let set = |spans: &[(u64, u64)]| {
                let mut set = Intervals::default();
                spans.iter().for_each(|(first, len)| _ = set.insert(*first, first + len));
                set
            };
            let (one, two) = (set(&spans), set(&others));
            let (rest, all) = (one.without(&two), one.with(&two));
            for number in 0..140 {
                prop_assert_eq!(all.contains(number), one.contains(number) || two.contains(number), "{}", number);
                prop_assert_eq!(rest.contains(number), one.contains(number) && !two.contains(number), "{}", number);
            }
            for pair in rest.to_wire().windows(2).chain(all.to_wire().windows(2)) {
                prop_assert!(pair[0].last + 1 < pair[1].first, "adjacent intervals are one");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn the_gaps_of_a_set_are_what_it_does_not_hold(numbers in proptest::collection::btree_set(1u64..140, 0..60)) {
            let set = Intervals::of(numbers.iter().copied());
            let gaps = set.gaps();
            for number in 1..150 {
                let in_gap = gaps.iter().any(|gap| gap.first <= number && number <= gap.last);
                prop_assert_eq!(set.contains(number), numbers.contains(&number), "{}", number);
                prop_assert_eq!(in_gap, !numbers.contains(&number), "{}", number);
            }
            for pair in set.to_wire().windows(2) {
                prop_assert!(pair[0].last + 1 < pair[1].first, "adjacent intervals are one");
            }
        }
    }

    #[test]
    fn the_last_number_there_is_can_be_held_and_taken_away() {
        let set = |first, last| {
            let mut set = Intervals::default();
            assert!(set.insert(first, last));
            set
        };
        let (all, most) = (set(1, u64::MAX), set(1, u64::MAX - 1));
        let last = set(u64::MAX, u64::MAX);
        for (one, other, rest) in [
            (&all, &all, &Intervals::default()),
            (&last, &all, &Intervals::default()),
            (&last, &last, &Intervals::default()),
            (&all, &last, &most),
            (&all, &most, &last),
            (&last, &most, &last),
        ] {
            assert_eq!(&one.without(other), rest, "{one:?} without {other:?}");
        }
        assert_eq!(most.with(&last), all);
        assert_eq!((all.gaps(), last.gaps()), (vec![], most.to_wire().to_vec()));
        assert_eq!((all.count(), all.clone().up_to(u64::MAX - 1)), (u64::MAX, most));
    }

    #[test]
    fn the_513th_interval_is_refused_and_one_that_joins_is_not() {
        let mut set = Intervals::default();
        assert!((0..512).all(|n| set.insert(3 * n + 1, 3 * n + 1)));
        assert!(!set.insert(10_000, 10_000));
        assert!(set.insert(2, 3), "it joins two");
        assert!(set.insert(10_000, 10_000));
    }
}

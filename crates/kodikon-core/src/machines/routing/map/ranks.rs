//! Decides where a number stands in a sorted row, in a few steps however the numbers are chosen.

use core::ops::Range;

/// A sorted row of numbers, and where in it each leading bit pattern begins. Ids are hashes, so that mostly one number is
/// left to compare; ids made to share their first bits cost a binary search.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    numbers: Vec<u64>,
    starts: Vec<u32>,
    shift: u32,
}

impl Ranks {
    /// Takes a sorted row in the place of the last.
    pub(super) fn fill(&mut self, numbers: impl Iterator<Item = u64>) {
        self.numbers.clear();
        self.numbers.extend(numbers);
        debug_assert!(self.numbers.is_sorted(), "ranks are taken of sorted numbers");
        let bits = self.numbers.len().max(2).next_power_of_two().ilog2();
        self.shift = u64::BITS - bits;
        self.starts.clear();
        self.starts.resize((1 << bits) + 1, 0);
        for number in &self.numbers {
            self.starts[(number >> self.shift) as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
    }

    /// Where all that equal a number stand.
    pub(super) fn of(&self, number: u64) -> Range<u32> {
        let Some(&[start, end]) =
            self.starts.get((number >> self.shift) as usize..).and_then(|rest| rest.first_chunk())
        else {
            return 0..0;
        };
        let bucket = &self.numbers[start as usize..end as usize];
        let below = bucket.partition_point(|held| *held < number);
        let equal = bucket[below..].iter().take_while(|held| **held == number).count();
        start + below as u32..start + (below + equal) as u32
    }

    /// The number at a place.
    pub(super) fn at(&self, rank: u32) -> u64 {
        self.numbers[rank as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_wherever_it_stands_and_no_other() {
        let rows: &[&[u64]] = &[
            &[],
            &[0],
            &[u64::MAX],
            &[0, u64::MAX],
            &[1, 2, 2, 2, 3, 5, 8],
            &[7, 1 << 60, 1 << 62, 1 << 62, 3 << 62, u64::MAX, u64::MAX],
        ];
        let mut ranks = Ranks::default();
        for row in rows {
            ranks.fill(row.iter().copied());
            for number in row.iter().flat_map(|n| [n.saturating_sub(1), *n, n.saturating_add(1)]) {
                let places = (0..row.len()).filter(|&place| row[place] == number);
                let found: Vec<usize> = ranks.of(number).map(|rank| rank as usize).collect();
                assert_eq!(found, places.collect::<Vec<_>>(), "{number} in {row:?}");
            }
        }
    }
}

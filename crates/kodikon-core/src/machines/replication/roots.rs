//! Decides what the digest of all that is covered is: the sum of what each lane says, in all and by bucket of authors.

use crate::ground::id::NodeId;

/// Buckets of authors.
pub(super) const BUCKETS: usize = 64;

/// Sums kept with every change of a lane: a digest that went through a thousand lanes would cost more than its datagram.
#[derive(Debug)]
pub(super) struct Roots {
    all: u64,
    sums: [u64; BUCKETS],
}

impl Roots {
    /// Nothing is covered.
    pub(super) fn new() -> Self {
        Self { all: 0, sums: [0; BUCKETS] }
    }

    /// The lane of this author says something else than before; 0 is what no lane says.
    pub(super) fn change(&mut self, author: &NodeId, before: u64, after: u64) {
        for sum in [&mut self.all, &mut self.sums[bucket_of(author)]] {
            *sum = sum.wrapping_sub(before).wrapping_add(after);
        }
    }

    /// The sum of all.
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// The sums by bucket.
    pub(super) fn sums(&self) -> &[u64; BUCKETS] {
        &self.sums
    }
}

fn bucket_of(author: &NodeId) -> usize {
    usize::from(author.0[0] >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_what_the_lanes_say_now() {
        let [low, near, high] = [0x00, 0x03, 0xff].map(|first| NodeId([first; 16]));
        let mut roots = Roots::new();
        for (author, before, after) in [(low, 0, 5), (near, 0, u64::MAX), (high, 0, 7), (low, 5, 6), (high, 7, 0)] {
            roots.change(&author, before, after);
        }
        let mut expected = [0; BUCKETS];
        expected[0] = 5;
        assert_eq!((roots.all(), roots.sums()), (5, &expected), "6 and -1 in the first bucket, nothing in the last");
    }
}

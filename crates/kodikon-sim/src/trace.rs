//! Decides what identifies a run: a hash over everything that happened in it, and the story told by a replay.

use core::fmt;

use crate::moment::Moment;

/// What kind of thing happened, as the hash counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A process began.
    Boot,
    /// A process ended.
    Death,
    /// A node woke.
    Wake,
    /// A datagram was sent.
    Sent,
    /// A datagram was handed to a node.
    Heard,
    /// A stream did something.
    Stream,
    /// A node told its application something.
    Event,
    /// A node kept something on disk.
    Kept,
    /// A fault began or ended.
    Fault,
    /// A node was given something else.
    Told,
}

/// How much of a story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// Nothing: only the hash.
    #[default]
    Silent,
    /// Starts, ends, faults and what applications learn.
    Events,
    /// Every datagram too.
    Packets,
}

/// The hash of a run so far, and its story.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    happened: u64,
    detail: Detail,
    story: Vec<String>,
}

impl Trace {
    /// A trace that tells this much.
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self { hash: 0x6b6f_6469_6b6f_6e00, happened: 0, detail, story: Vec::new() }
    }

    /// Something happened.
    pub fn mark(&mut self, now: Moment, mark: Mark, who: usize, what: u64) {
        self.happened += 1;
        self.mix(now.0 ^ ((mark as u64) << 56));
        self.mix(what ^ ((who as u64) << 40));
    }

    fn mix(&mut self, word: u64) {
        // The step of FxHash with a stronger rotation: fast, and any changed word changes all that follows.
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Whether anybody wants to read this much.
    #[must_use]
    pub fn tells(&self, detail: Detail) -> bool {
        self.detail >= detail
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, now: Moment, detail: Detail, line: fmt::Arguments<'_>) {
        if self.tells(detail) {
            self.story.push(format!("{now} {line}"));
        }
    }

    /// The lines told since last asked.
    pub fn take_story(&mut self) -> Vec<String> {
        std::mem::take(&mut self.story)
    }

    /// How many things happened.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// The hash over all that happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        // SplitMix64's finaliser, so that the last word reaches every bit.
        let mut x = self.hash ^ self.happened;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// A word for these bytes, good enough to tell two traces apart.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    for &byte in words.remainder() {
        hash = (hash.rotate_left(23) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_time_and_content_all_change_the_hash() {
        let hash = |marks: &[(u64, Mark, usize, u64)]| {
            let mut trace = Trace::new(Detail::Silent);
            for &(at, mark, who, what) in marks {
                trace.mark(Moment(at), mark, who, what);
            }
            trace.hash()
        };
        let base = hash(&[(1, Mark::Sent, 0, 7), (2, Mark::Heard, 1, 7)]);
        assert_eq!(base, hash(&[(1, Mark::Sent, 0, 7), (2, Mark::Heard, 1, 7)]));
        for other in [
            hash(&[(2, Mark::Heard, 1, 7), (1, Mark::Sent, 0, 7)]),
            hash(&[(1, Mark::Sent, 0, 7), (3, Mark::Heard, 1, 7)]),
            hash(&[(1, Mark::Sent, 0, 8), (2, Mark::Heard, 1, 7)]),
            hash(&[(1, Mark::Sent, 0, 7), (2, Mark::Heard, 2, 7)]),
            hash(&[(1, Mark::Sent, 0, 7)]),
        ] {
            assert_ne!(base, other);
        }
    }
}

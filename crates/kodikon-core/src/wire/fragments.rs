//! Decides when the pieces of something long are the whole of it, and how much of what is not whole is held.

use std::collections::BTreeMap;

use crate::ground::bounded::RecentMap;
use crate::ground::id::NodeId;
use crate::wire::letter::{Digest, Fragment, Letter, MAX_BODY, MAX_PIECE, MAX_PIECES};

/// Sets of pieces held at once; the one begun longest ago makes room.
pub const MAX_SETS: usize = 64;
/// Of these from one neighbour; its own one begun longest ago makes room.
pub const MAX_SETS_OF_ONE: usize = 16;
/// Bytes of all of them.
pub const MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// What can travel in pieces: its head goes with each of them.
pub trait Pieces {
    /// Names it, whichever piece of its body it has.
    fn digest(&self) -> Digest;
    /// Its body, or the piece of it that came.
    fn body_mut(&mut self) -> &mut Vec<u8>;
}

impl Pieces for Letter {
    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Pieced<W> {
    /// More are missing.
    Part,
    /// This is the whole.
    Whole(W),
    /// It does not fit what came before, or what the whole may be.
    Malformed,
}

/// What is not whole yet, by who sends it: nobody spoils what another sends.
#[derive(Debug)]
pub struct Fragments<W> {
    sets: RecentMap<(NodeId, Digest), Set<W>>,
    bytes: usize,
}

#[derive(Debug)]
struct Set<W> {
    whole: W,
    count: u8,
    pieces: BTreeMap<u8, Vec<u8>>,
    bytes: usize,
}

impl<W> Default for Fragments<W> {
    fn default() -> Self {
        Self { sets: RecentMap::new(MAX_SETS), bytes: 0 }
    }
}

impl<W: Pieces> Fragments<W> {
    /// A piece arrived from a neighbour.
    pub fn add(&mut self, from: NodeId, mut whole: W, fragment: Fragment) -> Pieced<W> {
        let body = core::mem::take(whole.body_mut());
        if !is_sound(&body, fragment) {
            return Pieced::Malformed;
        }
        let key = (from, whole.digest());
        let mut set = match self.take(&key) {
            Some(set) => set,
            None => Set { whole, count: fragment.count, pieces: BTreeMap::new(), bytes: 0 },
        };
        if set.count != fragment.count {
            // Whoever counts differently cannot both be right: neither is believed.
            return Pieced::Malformed;
        }
        if !set.pieces.contains_key(&fragment.index) {
            set.bytes += body.len();
            set.pieces.insert(fragment.index, body);
        }
        if set.pieces.len() < usize::from(set.count) {
            self.keep(key, set);
            return Pieced::Part;
        }
        let mut whole = set.whole;
        *whole.body_mut() = set.pieces.into_values().flatten().collect();
        if whole.body_mut().len() > MAX_BODY { Pieced::Malformed } else { Pieced::Whole(whole) }
    }

    fn keep(&mut self, key: (NodeId, Digest), set: Set<W>) {
        let of_one = (key.0, [0; 16])..=(key.0, [u8::MAX; 16]);
        if self.sets.range(of_one.clone()).count() >= MAX_SETS_OF_ONE
            && let Some(oldest) = self.sets.oldest_in(of_one)
        {
            self.take(&oldest);
        }
        while self.sets.len() >= MAX_SETS || self.bytes + set.bytes > MAX_BYTES {
            let Some(oldest) = self.sets.oldest().map(|(key, _)| key) else { break };
            self.take(&oldest);
        }
        self.bytes += set.bytes;
        self.sets.insert(key, set);
    }

    fn take(&mut self, key: &(NodeId, Digest)) -> Option<Set<W>> {
        let set = self.sets.remove(key)?;
        self.bytes -= set.bytes;
        Some(set)
    }

    /// Which pieces of something came from a neighbour so far, one bit each; 0 where it is not held.
    #[must_use]
    pub fn held(&self, from: NodeId, digest: Digest) -> u64 {
        let set = self.sets.get(&(from, digest));
        set.map_or(0, |set| set.pieces.keys().fold(0, |held, index| held | 1 << (index % 64)))
    }

    /// How many are not whole yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether all that came is whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Bytes of all pieces held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether it can be a piece: all but the last are full.
fn is_sound(body: &[u8], fragment: Fragment) -> bool {
    let Fragment { index, count } = fragment;
    let is_last = count.checked_sub(1) == Some(index);
    let fits = if is_last { (1..=MAX_PIECE).contains(&body.len()) } else { body.len() == MAX_PIECE };
    fits && (2..=MAX_PIECES).contains(&usize::from(count)) && index < count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(number: u64, body: usize) -> Letter {
        Letter {
            origin: [1; 16],
            epoch: 1,
            to: [2; 16],
            number,
            attempt: 1,
            kind: 0,
            priority: 1,
            left_ms: 5_000,
            body: vec![7; body],
            tag: [9; 16],
        }
    }

    const NEIGHBOUR: NodeId = NodeId([3; 16]);

    #[test]
    fn pieces_in_any_order_and_twice_are_one_letter() {
        let mut fragments = Fragments::default();
        let piece = |index: u8| letter(1, if index == 2 { 5 } else { MAX_PIECE });
        for index in [2, 0, 2, 0] {
            let pieced = fragments.add(NEIGHBOUR, piece(index), Fragment { index, count: 3 });
            assert_eq!(pieced, Pieced::Part, "piece {index}");
        }
        assert_eq!(
            fragments.add(NodeId([4; 16]), piece(1), Fragment { index: 1, count: 3 }),
            Pieced::Part,
            "another's"
        );
        let whole = fragments.add(NEIGHBOUR, piece(1), Fragment { index: 1, count: 3 });
        assert_eq!(whole, Pieced::Whole(letter(1, 2 * MAX_PIECE + 5)));
        assert_eq!((fragments.len(), fragments.bytes()), (1, MAX_PIECE));
    }

    #[test]
    fn a_piece_of_no_letter_is_held_by_nobody() {
        let table = [
            ((0, 2, MAX_PIECE), true),
            ((1, 2, 1), true),
            ((0, 0, MAX_PIECE), false),
            ((0, 1, 5), false),
            ((1, 2, 0), false),
            ((0, 2, MAX_PIECE - 1), false),
            ((0, 2, MAX_PIECE + 1), false),
            ((2, 2, 5), false),
            ((255, 255, 5), false),
            ((0, 64, MAX_PIECE), true),
            ((0, 65, MAX_PIECE), false),
        ];
        for ((index, count, len), is_held) in table {
            let mut fragments = Fragments::default();
            let pieced = fragments.add(NEIGHBOUR, letter(1, len), Fragment { index, count });
            assert_eq!(pieced == Pieced::Part, is_held, "{index} of {count}, {len} bytes");
            assert_eq!(fragments.len(), usize::from(is_held));
        }
        let mut fragments = Fragments::default();
        for (count, pieced) in [(2, Pieced::Part), (3, Pieced::Malformed)] {
            assert_eq!(fragments.add(NEIGHBOUR, letter(1, MAX_PIECE), Fragment { index: 0, count }), pieced);
        }
        assert_eq!((fragments.len(), fragments.bytes()), (0, 0), "whoever counts differently");
    }

    #[test]
    fn one_neighbour_crowds_out_its_own_letters_first() {
        let mut fragments = Fragments::default();
        let begin = |fragments: &mut Fragments<Letter>, from: u8, number| {
            fragments.add(NodeId([from; 16]), letter(number, MAX_PIECE), Fragment { index: 0, count: 2 })
        };
        begin(&mut fragments, 1, 1);
        (1..=100).for_each(|number| drop(begin(&mut fragments, 2, number)));
        assert_eq!(fragments.len(), 1 + MAX_SETS_OF_ONE);
        let whole = fragments.add(NodeId([1; 16]), letter(1, 1), Fragment { index: 1, count: 2 });
        assert!(matches!(whole, Pieced::Whole(_)));
        (1..=200).for_each(|from| drop(begin(&mut fragments, from, 1)));
        assert_eq!((fragments.len(), fragments.bytes()), (MAX_SETS, MAX_SETS * MAX_PIECE));
    }
}

//! Decides how every thing in the mesh is named: one type per kind of name, so that no two can be confused.

use core::fmt;

/// A device for the whole life of the mesh: the first 16 bytes of the BLAKE3 hash of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[doc(alias = "node_id")]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// The identity that belongs to a public key.
    #[must_use]
    pub fn of(public_key: &[u8; 32]) -> Self {
        let hash = blake3::hash(public_key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }

    /// The four hex digits people use to tell two holders of one name apart (`name@hhhh`).
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:02x}{:02x}", self.0[0], self.0[1])
    }

    /// Weight of `other` for `self` in rendezvous hashing: the same on every node, unrelated between pairs.
    #[must_use]
    pub fn rendezvous(&self, other: &Self) -> u64 {
        // A multiply-and-xor mix is enough here: ids are hashes already, and weights decide load, not safety.
        let [a, b] = halves(self);
        let [c, d] = halves(other);
        mix(mix(a ^ c.rotate_left(17)) ^ mix(b.rotate_left(31) ^ d))
    }
}

fn halves(id: &NodeId) -> [u64; 2] {
    let value = u128::from_le_bytes(id.0);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a 128-bit value")]
    [value as u64, (value >> 64) as u64]
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All digits at once: each message that is shown names its sender by them.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        f.write_str(core::str::from_utf8(&text).expect("digits are text"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.to_string()[..8])
    }
}

/// One run of a node: a counter that never repeats (high 32 bits) and 32 random bits that tell clones apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The run with this number and these random bits.
    #[must_use]
    pub fn new(counter: u32, random: u32) -> Self {
        Self(u64::from(counter) << 32 | u64::from(random))
    }

    /// How many times the node had started, as far as its disk remembered.
    #[must_use]
    pub fn counter(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Names the frames of one process between two disturbances: drawn at start, and again after a suspend or clock jump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionTag(pub [u8; 8]);

impl fmt::Debug for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag {:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Raised by its owner to refute a verdict: a verdict holds for the life it names and for no later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Life(pub u32);

/// Position of an op among all ops of one author, epoch and lane; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Seq(pub u64);

/// Which fleet a node belongs to; nodes of different meshes never hear each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MeshId(pub [u8; 16]);

impl fmt::Debug for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mesh {:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// The kernel's number of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct InterfaceIndex(pub u32);

/// A TCP connection, as the driver numbers them; never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct StreamId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_orders_by_its_counter_first() {
        assert!(Epoch::new(2, 0) > Epoch::new(1, u32::MAX));
        assert_eq!(Epoch::new(7, 9).counter(), 7);
    }

    #[test]
    fn rendezvous_weights_spread_evenly() {
        let ids: Vec<NodeId> = (0..64u8).map(|n| NodeId::of(&[n; 32])).collect();
        let mut chosen = vec![0u32; ids.len()];
        for subject in &ids {
            let best = (0..ids.len()).filter(|&n| ids[n] != *subject).max_by_key(|&n| subject.rendezvous(&ids[n]));
            chosen[best.unwrap()] += 1;
        }
        assert!(chosen.iter().all(|&n| n <= 6), "{chosen:?}");
    }
}

//! Decides where chance comes from: one seeded generator per node, so that a run can be told again.

use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A node's source of chance. The driver seeds it from the operating system, the simulator from the run's seed.
pub struct Random(ChaCha8Rng);

impl Random {
    /// A generator that tells the same story for the same seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product: a bias below limit / 2^64, which no decision here can feel.
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A place below `len`; 0 if that is 0.
    pub fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A span between zero and `limit`.
    pub fn span(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state foretells session tags and cookies.
        f.write_str("Random(…)")
    }
}

//! Decides where a run's chance comes from: one generator per concern, forked from the run's seed, so that a change in
//! one concern leaves the others' stories alone.

use core::time::Duration;

use kodikon_core::ground::random::Random;

use crate::moment::nanos;

/// The seed of one concern of a run.
#[must_use]
pub fn fork(seed: u64, concern: &str, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("kodikon simulator 2026-11 fork");
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(concern.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The generator of one concern of a run.
#[must_use]
pub fn source(seed: u64, concern: &str) -> Random {
    Random::from_seed(fork(seed, concern, 0))
}

/// How likely something is, in steps of 1/65,536: a quarter of a random word decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Odds(u32);

impl Odds {
    /// It never happens.
    pub const NEVER: Self = Self(0);

    /// From a probability between 0 and 1.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=65,536 before")]
    pub fn of(probability: f64) -> Self {
        Self((probability.clamp(0.0, 1.0) * 65_536.0).round() as u32)
    }

    /// As a probability.
    #[must_use]
    pub fn probability(self) -> f64 {
        f64::from(self.0) / 65_536.0
    }

    /// Whether it happens, by the lowest 16 of these bits.
    #[must_use]
    pub fn hit(self, bits: u64) -> bool {
        (bits & 0xffff) < u64::from(self.0)
    }

    /// Whether it happens.
    pub fn draw(self, random: &mut Random) -> bool {
        self.0 > 0 && self.hit(random.bits())
    }
}

/// A span with this mean, as the waiting times of unrelated events are spread; at most 8 means.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "53 bits of chance are enough, and the product is positive and far below 2^63"
)]
pub fn exponential(random: &mut Random, mean: Duration) -> Duration {
    let unit = ((random.bits() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    Duration::from_nanos((-unit.ln() * nanos(mean) as f64).min(8.0 * nanos(mean) as f64) as u64)
}

/// A span between two bounds.
pub fn between(random: &mut Random, least: Duration, most: Duration) -> Duration {
    least + random.span(most.saturating_sub(least))
}

/// One of these, or `None` if there are none.
pub fn pick<'a, T>(random: &mut Random, items: &'a [T]) -> Option<&'a T> {
    items.get(random.place(items.len()))
}

/// These in another order.
pub fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = random.place(last + 1);
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concerns_of_one_seed_are_unrelated_and_each_repeats() {
        assert_ne!(fork(1, "network", 0), fork(1, "faults", 0));
        assert_ne!(fork(1, "node", 0), fork(1, "node", 1));
        assert_eq!(source(7, "network").bits(), source(7, "network").bits());
    }

    #[test]
    fn odds_hold_over_many_draws() {
        let mut random = source(1, "test");
        for probability in [0.0, 0.1, 0.5, 1.0] {
            let hits = (0..10_000).filter(|_| Odds::of(probability).draw(&mut random)).count();
            let expected = 10_000.0 * probability;
            assert!((hits as f64 - expected).abs() <= 200.0, "{hits} hits of {expected}");
        }
    }

    #[test]
    fn exponential_spans_have_their_mean() {
        let mut random = source(1, "test");
        let total: Duration = (0..10_000).map(|_| exponential(&mut random, Duration::from_millis(100))).sum();
        assert!((950..1_050).contains(&total.as_secs()), "{total:?}");
    }
}

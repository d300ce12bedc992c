//! Decides what a made-up registry looks like: sightings of many identities, the same on every computer for one seed.
//!
//! Tests, benchmarks and measurements draw from it. Its shape follows 320 real embeddings (MobileNetV2, 80 objects seen
//! four times each): what is seen of one identity has cosines about 0.95 among itself, of different ones 0.45 on average
//! with a spread of a tenth, since a model uses few of its dimensions much. Some are seen hundreds of times and many a few.

/// Shares of a sighting's squared length: what all have in common, the identity, and the occasion.
const COMMON: f64 = 0.45;
const IDENTITY: f64 = 0.50;
const OCCASION: f64 = 0.05;
/// Sightings of an identity on average. With the skew below the rarest is seen half as often.
const MEAN_SIGHTINGS: usize = 16;
/// The dimension whose weight is half of the first one's.
const HALF_WEIGHT: f64 = 16.0;

/// Numbers without pattern from a seed: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it has no end, and nobody iterates over it")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, mean 0 and variance 1: four uniform numbers added up, so that no logarithm of some library takes part.
    pub fn normal(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        // Four uniform numbers from 0 to 65,535: mean 131,070, variance 4 (65,536² - 1) / 12.
        (sum as f64 - 131_070.0) / 37_837.2
    }
}

/// So many sightings of identities.
#[derive(Clone, Debug)]
pub struct Sightings {
    seed: u64,
    count: usize,
    common: Vec<f64>,
}

impl Sightings {
    /// The same for one seed.
    pub fn new(seed: u64, dims: usize, count: usize) -> Self {
        Self { seed, count, common: direction(seed, dims, |_| 1.0) }
    }

    /// How many identities there are at most.
    pub fn identities(&self) -> usize {
        self.count.div_ceil(MEAN_SIGHTINGS)
    }

    /// Whose sighting it is: the square of a uniform number, so that the first are seen most.
    pub fn identity(&self, sighting: usize) -> usize {
        let uniform = Random::new(self.seed ^ (sighting as u64) << 20).unit();
        (uniform * uniform * self.identities() as f64) as usize
    }

    /// The embedding of a sighting, of length 1.
    pub fn numbers(&self, sighting: usize) -> Vec<f32> {
        let dims = self.common.len();
        let weight = |at: usize| 1.0 / (1.0 + at as f64 / HALF_WEIGHT);
        let identity = direction(self.seed ^ 1 << 62 ^ self.identity(sighting) as u64, dims, weight);
        let occasion = direction(self.seed ^ 1 << 63 ^ sighting as u64, dims, |_| 1.0);
        let mut sum: Vec<f64> = Vec::with_capacity(dims);
        for at in 0..dims {
            let (common, identity, occasion) = (self.common[at], identity[at], occasion[at]);
            sum.push(COMMON.sqrt() * common + IDENTITY.sqrt() * identity + OCCASION.sqrt() * occasion);
        }
        let length = length(&sum);
        sum.iter().map(|number| (number / length) as f32).collect()
    }
}

/// A direction without pattern, of length 1.
fn direction(seed: u64, dims: usize, weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut random = Random::new(seed);
    let numbers: Vec<f64> = (0..dims).map(|at| random.normal() * weight(at)).collect();
    let length = length(&numbers);
    numbers.iter().map(|number| number / length).collect()
}

fn length(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_of_one_identity_are_alike_and_others_less() {
        let made = Sightings::new(1, 512, 2_000);
        let all: Vec<Vec<f32>> = (0..2_000).map(|at| made.numbers(at)).collect();
        let (mut same, mut other) = ((0.0, 0), (0.0, 0));
        for a in 0..200 {
            for b in 0..a {
                let cosine: f64 = all[a].iter().zip(&all[b]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let sum = if made.identity(a) == made.identity(b) { &mut same } else { &mut other };
                *sum = (sum.0 + cosine, sum.1 + 1);
            }
        }
        let (same, other) = (same.0 / f64::from(same.1), other.0 / f64::from(other.1));
        assert!((0.93..0.97).contains(&same), "of one identity {same}");
        assert!((0.40..0.50).contains(&other), "of two {other}");
        let mut seen = vec![0; made.identities()];
        (0..2_000).for_each(|at| seen[made.identity(at)] += 1);
        seen.sort_unstable();
        assert!(seen[0] <= 10 && seen[124] >= 100, "from {} to {} sightings", seen[0], seen[124]);
    }

    #[test]
    fn one_seed_makes_one_set() {
        let bits =
            |seed| Sightings::new(seed, 64, 100).numbers(7).iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(1), bits(1));
        assert_ne!(bits(1), bits(2));
    }
}

//! Decides between which limits a score lies when only its whole-number estimate is known, and which estimates are too low
//! to matter. The proof of every line is in `docs/machines/search.md`.

use crate::kernel::BLOCK;

/// How far `x`, the estimated cosine, may be off by the rounding of what it is made of (one factor in `f32`, the rest in
/// `f64`): 2^-24 relative for that factor, doubled.
const ESTIMATE_SLACK: f64 = 1.0 / (1u64 << 23) as f64;
/// How far the left side of the test in `f32` may be off: five roundings of 2^-24 relative of at most 1.04, doubled and more.
const TEST_SLACK: f64 = 1.0 / (1u64 << 20) as f64;
/// What remains: the rounding of the limits themselves, and of the score, whose three sums of 4,096 numbers in `f64`
/// are off by less than 2 * 4,096 * 2^-53 = 2^-40.
const SCORE_SLACK: f64 = 1.0 / (1u64 << 36) as f64;
/// The tangent of the greatest angle between an embedding and what stands for it at which it is ruled out by that: 45 degrees.
pub(crate) const MAX_TAN: f64 = 1.0;
/// Below this no entry is ruled out: so angles stay where the cosine falls.
const LEAST_FLOOR: f64 = -0.5;

/// An angle from 0 to below 90 degrees, by its cosine and sine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Angle {
    pub(crate) cos: f64,
    pub(crate) sin: f64,
}

impl Angle {
    pub(crate) fn from_tan(tan: f64) -> Self {
        let cos = 1.0 / (1.0 + tan * tan).sqrt();
        Self { cos, sin: tan * cos }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { cos: self.cos * other.cos - self.sin * other.sin, sin: self.sin * other.cos + self.cos * other.sin }
    }
}

/// The least and the greatest that a score can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Limits {
    /// Around the cosine `x` between what stands for the query and what stands for the entry, where the angle of the
    /// two themselves may differ from it by `off`.
    pub(crate) fn around(x: f64, off: Angle) -> Self {
        let (low, high) = ((x - ESTIMATE_SLACK).clamp(-1.0, 1.0), (x + ESTIMATE_SLACK).clamp(-1.0, 1.0));
        let sine = |cos: f64| ((1.0 - cos) * (1.0 + cos)).sqrt();
        // cos(β + off) and cos(β - off), as far as these are angles at all.
        let lower = if low < -off.cos { -1.0 } else { low * off.cos - sine(low) * off.sin };
        let upper = if high > off.cos { 1.0 } else { high * off.cos + sine(high) * off.sin };
        Self { lower: lower - SCORE_SLACK, upper: upper + SCORE_SLACK }
    }

    pub(crate) fn contain(self, score: f64) -> bool {
        self.lower <= score && score <= self.upper
    }
}

/// What an entry must reach to be looked at more closely: `product * scale >= cos - sin * tan`, in `f32`, where `scale` and
/// `tan` are the entry's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    pub(crate) cos: f32,
    pub(crate) sin: f32,
}

impl Test {
    /// All pass.
    pub(crate) const NONE: Self = Self { cos: f32::NEG_INFINITY, sin: 0.0 };

    /// Whether not all pass.
    pub(crate) fn rules_out(self) -> bool {
        self.cos > f32::NEG_INFINITY
    }

    /// Those pass whose upper limit may reach `floor`, for a query that is off by `off`.
    pub(crate) fn reaching(floor: f64, off: Angle) -> Self {
        if floor < LEAST_FLOOR {
            return Self::NONE;
        }
        let cos = floor.min(1.0);
        let wide = Angle { cos, sin: ((1.0 - cos) * (1.0 + cos)).sqrt() }.plus(off);
        Self { cos: (wide.cos - TEST_SLACK) as f32, sin: wide.sin as f32 }
    }
}

/// What is known of the entries of a block: of each the product of whole numbers, its own scale and its `tan`.
#[derive(Clone, Copy)]
pub(crate) struct Estimates<'a> {
    pub(crate) products: &'a [i32; BLOCK],
    /// The query's scale.
    pub(crate) scale: f32,
    pub(crate) scales: &'a [f32; BLOCK],
    pub(crate) tans: &'a [f32; BLOCK],
}

impl Estimates<'_> {
    /// Whether an entry reaches what is asked for. What cannot be compared is taken for it.
    #[inline(always)]
    pub(crate) fn reach(&self, at: usize, test: Test) -> bool {
        let below = self.products[at] as f32 * self.scale * self.scales[at] < test.cos - test.sin * self.tans[at];
        !below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_angles() {
        for beta in (0..=180).map(|degrees| f64::from(degrees).to_radians()) {
            // Within a ten-thousandth: near 0 degrees the slack of the estimate counts by its root.
            for off in [0.0, 0.001, 0.01, 0.1, 0.25] {
                let limits = Limits::around(beta.cos(), Angle::from_tan(f64::tan(off)));
                let (lower, upper) = ((beta + off).min(std::f64::consts::PI).cos(), (beta - off).max(0.0).cos());
                assert!(limits.lower <= lower && lower < limits.lower + 2e-4, "{beta} {off}: {limits:?} for {lower}");
                assert!(limits.upper >= upper && upper > limits.upper - 2e-4, "{beta} {off}: {limits:?} for {upper}");
            }
        }
    }

    #[test]
    fn what_the_test_rules_out_cannot_reach_the_floor() {
        for (query, tan) in [(1e-4, 0.0f32), (1e-4, 1e-4), (1e-4, 0.007), (1e-4, 0.26), (0.007, 0.1), (0.25, 1.0)] {
            let query = Angle::from_tan(query);
            for floor in [-0.6, -0.5, -0.1, 0.0, 0.3, 0.9, 0.9999, 1.0] {
                let test = Test::reaching(floor, query);
                for step in -4_000..=4_000 {
                    let x = f64::from(step) / 4_000.0;
                    let entry = Angle::from_tan(f64::from(tan));
                    let scales = [(1.0 / entry.cos / 1e6) as f32; BLOCK];
                    let products = [(x * 1e6) as i32; BLOCK];
                    let estimates = Estimates { products: &products, scale: 1.0, scales: &scales, tans: &[tan; BLOCK] };
                    let (x, passes) = (f64::from(products[0]) / 1e6, estimates.reach(0, test));
                    let limits = Limits::around(x, entry.plus(query));
                    assert!(passes || limits.upper < floor, "x {x}, tan {tan}, floor {floor}: {limits:?}");
                    // And it is no idle test: what it lets through is near the floor.
                    assert!(
                        !passes || floor < LEAST_FLOOR || limits.upper > floor - 1e-5,
                        "x {x}, tan {tan}, floor {floor}: {limits:?}"
                    );
                }
            }
        }
    }
}

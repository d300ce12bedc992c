//! Decides what an arena keeps of an embedding, which is turned first: a byte a number, a bit a number, and how far the bytes lie from the
//! truth.

use std::fmt;

use crate::kernel::{Kernel, Line, Work, ZERO_CODE};
use crate::rotation::{ROUNDING_TAN, signs, turn};
use crate::space::{MAX_CODE, Space, ValueError, check_finite};

/// What an arena keeps of one embedding.
#[derive(Clone, Copy)]
pub struct Sketch<'a> {
    pub(crate) space: Space,
    /// The codes, each 128 too high, to the end of the last line with the code 0.
    pub(crate) codes: &'a [Line],
    /// The signs after the rotation, set where below zero.
    pub(crate) signs: &'a [u64],
    /// 1 / (length of the codes * cosine of the angle between the codes and the embedding).
    pub(crate) scale: f32,
    /// The tangent of that angle, rounded up.
    pub(crate) tan: f32,
}

impl fmt::Debug for Sketch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch").field("space", &self.space).finish_non_exhaustive()
    }
}

/// Sketches of several embeddings, one after the other in memory: made by whichever thread has time, and put into arenas by their owner.
#[derive(Clone, Default)]
pub struct Sketches {
    heads: Vec<Head>,
    codes: Vec<Line>,
    signs: Vec<u64>,
    /// Of the last one, its numbers,
    numbers: Vec<f32>,
    /// and the codes of these alone, as they are reckoned with.
    wide: Vec<f64>,
}

/// Of one sketch, where its codes and signs end and the next one's begin, and the rest of it.
#[derive(Clone, Copy)]
struct Head {
    space: Space,
    codes_end: usize,
    signs_end: usize,
    scale: f32,
    tan: f32,
}

impl Sketches {
    /// Adds that of a stored embedding; returns its place among them, which are counted from 0.
    ///
    /// # Errors
    /// What is wrong with the bytes; nothing was added.
    pub fn add(&mut self, space: Space, stored: &[u8]) -> Result<usize, ValueError> {
        self.add_by(Kernel::detect(), space, stored)
    }

    fn add_by(&mut self, kernel: Kernel, space: Space, stored: &[u8]) -> Result<usize, ValueError> {
        kernel.run(Adding { sketches: self, space, stored })?;
        Ok(self.heads.len() - 1)
    }

    /// The sketch at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Sketch<'_>> {
        let Head { space, codes_end, signs_end, scale, tan } = *self.heads.get(at)?;
        let before = at.checked_sub(1).and_then(|before| self.heads.get(before));
        let (codes, signs) = before.map_or((0, 0), |before| (before.codes_end, before.signs_end));
        Some(Sketch { space, codes: &self.codes[codes..codes_end], signs: &self.signs[signs..signs_end], scale, tan })
    }

    /// Forgets all; their room stays.
    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.codes.clear();
        self.signs.clear();
    }

    /// From numbers that have been checked.
    #[inline(always)]
    fn make(&mut self, space: Space) {
        turn(&mut self.numbers);
        let first = self.codes.len();
        self.codes.resize(first + space.dims().div_ceil(64), Line([ZERO_CODE; 64]));
        let factor = f64::from(MAX_CODE) / f64::from(greatest(&self.numbers));
        self.wide.clear();
        self.wide.resize(self.numbers.len(), 0.0);
        let lines = self.numbers.chunks(64).zip(self.wide.chunks_mut(64));
        for (line, (numbers, wide)) in self.codes[first..].iter_mut().zip(lines) {
            for ((place, wide), number) in line.0.iter_mut().zip(wide).zip(numbers) {
                // At most 127 in magnitude. Where no place is left for a fraction, the lowest places are the whole number's own: a
                // conversion to an integer would ask each one whether it fits.
                let shifted = f64::from(*number) * factor + SHIFT;
                *wide = shifted - SHIFT;
                *place = shifted.to_bits() as u8 ^ ZERO_CODE;
            }
        }
        let (length, tan) = deviation(&self.numbers, &self.wide);
        // The angles of the codes and of the rotation added up.
        let tan = (tan + ROUNDING_TAN) / (1.0 - tan * ROUNDING_TAN);
        let scale = ((1.0 + tan * tan).sqrt() / length) as f32;
        signs(&self.numbers, &mut self.signs);
        let (codes_end, signs_end) = (self.codes.len(), self.signs.len());
        self.heads.push(Head { space, codes_end, signs_end, scale, tan: round_up(tan) });
    }
}

impl fmt::Debug for Sketches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketches").field("len", &self.heads.len()).finish_non_exhaustive()
    }
}

/// A stored embedding that is checked and made a sketch of.
struct Adding<'a> {
    sketches: &'a mut Sketches,
    space: Space,
    stored: &'a [u8],
}

impl Work for Adding<'_> {
    type Outcome = Result<(), ValueError>;

    #[inline(always)]
    fn run(self) -> Self::Outcome {
        let Self { sketches, space, stored } = self;
        sketches.numbers.clear();
        space.each_run(stored, |at, run| {
            check_finite(at, run)?;
            sketches.numbers.extend_from_slice(run);
            Ok(())
        })?;
        if sketches.numbers.iter().all(|number| *number == 0.0) {
            return Err(ValueError::Zero { dtype: space.dtype() });
        }
        sketches.make(space);
        Ok(())
    }
}

/// Sums that are taken beside each other: a processor adds several at once, and each sum waits for itself alone.
const LANES: usize = 8;

/// The greatest magnitude.
#[inline(always)]
pub(crate) fn greatest(numbers: &[f32]) -> f32 {
    let (eights, rest) = numbers.as_chunks::<LANES>();
    let mut largest = [0.0f32; LANES];
    for eight in eights {
        for (largest, number) in largest.iter_mut().zip(eight) {
            *largest = largest.max(number.abs());
        }
    }
    largest.iter().chain(rest).fold(0.0, |largest, number| largest.max(number.abs()))
}

/// The sum of a term for each number and its code.
#[inline(always)]
fn sum(numbers: &[f32], codes: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (eights, rest) = numbers.as_chunks::<LANES>();
    let (code_eights, code_rest) = codes.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (numbers, codes) in eights.iter().zip(code_eights) {
        for ((sum, number), code) in sums.iter_mut().zip(numbers).zip(codes) {
            *sum += term(f64::from(*number), *code);
        }
    }
    let rest = rest.iter().zip(code_rest).map(|(number, code)| term(f64::from(*number), *code));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// 3 * 2^51: what is added to it has no place for a fraction.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// To the nearest whole number, ties to the even one, for magnitudes below 2^51. The standard library's own is a function call
/// without SSE4.1.
#[inline(always)]
pub(crate) fn round(number: f64) -> f64 {
    number + SHIFT - SHIFT
}

/// The length of the codes, and the tangent of the angle between them and the numbers they stand for, as many.
#[inline(always)]
pub(crate) fn deviation(numbers: &[f32], codes: &[f64]) -> (f64, f64) {
    let square = sum(numbers, codes, |_, code| code * code);
    // The multiple of the codes that is nearest to the numbers; what remains stands upright on the codes.
    let multiple = sum(numbers, codes, |number, code| number * code) / square;
    let rest = sum(numbers, codes, |number, code| (number - multiple * code) * (number - multiple * code));
    let length = square.sqrt();
    (length, rest.sqrt() / (multiple * length))
}

/// Up to the next `f32`, and by as much again as the sums in `f64` may be off (2^-40 relative).
fn round_up(tan: f64) -> f32 {
    ((tan * (1.0 + 1.0 / (1u64 << 40) as f64)) as f32).next_up()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Random;
    use crate::space::Dtype;

    /// What is kept of an embedding, its codes, and the turned numbers.
    fn sketch(numbers: &[f32]) -> (Head, Vec<f64>, Vec<f64>) {
        let space = Space::new(numbers.len(), Dtype::F32).expect("fits");
        let (mut stored, mut sketches) = (Vec::new(), Sketches::default());
        space.encode(numbers, &mut stored).expect("an embedding");
        sketches.add(space, &stored).expect("as stored");
        let codes = sketches.codes.iter().flat_map(|line| &line.0);
        let codes = codes.map(|byte| f64::from((byte ^ ZERO_CODE) as i8)).collect();
        let mut turned = numbers.to_vec();
        turn(&mut turned);
        (sketches.heads[0], codes, turned.into_iter().map(f64::from).collect())
    }

    #[test]
    fn the_angle_between_numbers_and_codes_is_not_understated_and_never_above_a_quarter() {
        let mut random = Random::new(9);
        let mut cases = vec![vec![1.0], vec![1.0, 0.5], vec![1.0; 4_096], lonely(512), lonely(4_096)];
        cases.extend((0..50).map(|_| (0..200).map(|_| random.normal() as f32).collect()));
        for numbers in cases {
            let (sketch, codes, turned) = sketch(&numbers);
            let pairs = || turned.iter().zip(&codes);
            let along: f64 = pairs().map(|(number, code)| number * code).sum();
            let (a, b): (f64, f64) = (pairs().map(|(a, _)| a * a).sum(), pairs().map(|(_, b)| b * b).sum());
            // By the cosine, which is another way, and good to 1e-8 here.
            let cosine = along / (a * b).sqrt();
            let tan = (1.0 / (cosine * cosine) - 1.0).max(0.0).sqrt() + ROUNDING_TAN;
            let said = f64::from(sketch.tan);
            assert!(said >= tan - 3e-8 && said < tan + 1.7e-5 && said < 0.26, "{said} for {tan}");
            let scale = f64::from(sketch.scale) * b.sqrt() / (1.0 + said * said).sqrt();
            assert!((scale - 1.0).abs() < 2e-7, "the scale: {scale}");
        }
    }

    /// A single number that is not zero.
    fn lonely(dims: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; dims];
        numbers[dims / 3] = -7.0;
        numbers
    }

    #[test]
    fn every_kernel_makes_the_same_sketch_to_the_bit() {
        let mut random = Random::new(11);
        for dims in [1, 7, 64, 100, 512, 768] {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
                let numbers: Vec<f32> = (0..dims).map(|_| random.normal() as f32).collect();
                let space = Space::new(dims, dtype).expect("fits");
                let mut stored = Vec::new();
                space.encode(&numbers, &mut stored).expect("an embedding");
                let of = |kernel| {
                    let mut sketches = Sketches::default();
                    sketches.add_by(kernel, space, &stored).expect("as stored");
                    let sketch = sketches.get(0).expect("it was added");
                    let codes: Vec<u8> = sketch.codes.iter().flat_map(|line| line.0).collect();
                    (codes, sketch.signs.to_vec(), sketch.scale.to_bits(), sketch.tan.to_bits())
                };
                let plain = of(Kernel::Scalar);
                for kernel in Kernel::available() {
                    assert!(of(kernel) == plain, "{dims} {dtype:?} {kernel:?}");
                }
            }
        }
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_to_the_even_of_two() {
        for (number, whole) in [(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (126.999, 127.0), (-0.501, -1.0), (0.4999, 0.0)] {
            assert_eq!(round(number), whole, "{number}");
        }
    }
}

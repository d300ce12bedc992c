//! Decides what an arena keeps of an embedding: a byte a number, a bit a number, and how far the bytes lie from the truth.

use std::fmt;

use crate::kernel::{Kernel, Line, Work, ZERO_CODE};
use crate::rotation::{rotate, signs};
use crate::space::{Dtype, MAX_CODE, Space, ValueError, check_finite};

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
        let largest = greatest(&self.numbers);
        let first = self.codes.len();
        self.codes.resize(first + space.dims().div_ceil(64), Line([ZERO_CODE; 64]));
        // Numbers of `i8` are their codes already.
        let factor = if space.dtype() == Dtype::I8 { 1.0 } else { f64::from(MAX_CODE) / f64::from(largest) };
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
        let scale = ((1.0 + tan * tan).sqrt() / length) as f32;
        // A largest of 1: so nothing overflows on the way.
        let inverse = 1.0 / f64::from(largest);
        self.numbers.iter_mut().for_each(|number| *number = (f64::from(*number) * inverse) as f32);
        rotate(&mut self.numbers);
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

/// Up to the next `f32`, and by as much again as the sums in `f64` may be off (2^-40 relative, and 2^-44 where nothing remains).
fn round_up(tan: f64) -> f32 {
    if tan < 1.0 / (1u64 << 44) as f64 {
        tan as f32
    } else {
        ((tan * (1.0 + 1.0 / (1u64 << 40) as f64)) as f32).next_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Random;

    fn sketch(dtype: Dtype, numbers: &[f32]) -> (Head, Vec<f64>) {
        let space = Space::new(numbers.len(), dtype).expect("fits");
        let (mut stored, mut sketches) = (Vec::new(), Sketches::default());
        space.encode(numbers, &mut stored).expect("an embedding");
        sketches.add(space, &stored).expect("as stored");
        let codes = sketches.codes.iter().flat_map(|line| &line.0);
        (sketches.heads[0], codes.map(|byte| f64::from((byte ^ ZERO_CODE) as i8)).collect())
    }

    #[test]
    fn codes_of_i8_are_its_own_and_off_by_nothing() {
        let (sketch, codes) = sketch(Dtype::I8, &[0.1, -0.2, 0.05]);
        assert_eq!(codes[..4], [64.0, -127.0, 32.0, 0.0]);
        assert_eq!((sketch.tan, codes.len()), (0.0, 64));
        let length = (64.0f64 * 64.0 + 127.0 * 127.0 + 32.0 * 32.0).sqrt();
        assert!((f64::from(sketch.scale) * length - 1.0).abs() < 1e-7);
    }

    #[test]
    fn the_angle_between_numbers_and_codes_is_not_understated_and_never_above_a_quarter() {
        let mut random = Random::new(9);
        // The worst there is: one number of 127 steps, and all others half a step off.
        let mut worst = vec![0.4999f32; 4_096];
        worst[0] = 127.0;
        let mut cases = vec![worst, vec![1.0], vec![1.0, 0.5]];
        cases.extend((0..50).map(|_| (0..200).map(|_| random.normal() as f32).collect()));
        for numbers in cases {
            let (sketch, codes) = sketch(Dtype::F32, &numbers);
            let pairs = || numbers.iter().map(|number| f64::from(*number)).zip(&codes);
            let along: f64 = pairs().map(|(number, code)| number * code).sum();
            let (a, b): (f64, f64) = (pairs().map(|(a, _)| a * a).sum(), codes.iter().map(|b| b * b).sum());
            // By the cosine, which is another way, and good to 1e-8 here.
            let cosine = along / (a * b).sqrt();
            let tan = (1.0 / (cosine * cosine) - 1.0).max(0.0).sqrt();
            assert!(
                f64::from(sketch.tan) >= tan - 3e-8 && f64::from(sketch.tan) < tan + 1e-7,
                "{} for {tan}",
                sketch.tan
            );
            assert!(sketch.tan < 0.26, "{}", sketch.tan);
            assert!((f64::from(sketch.scale) * cosine * b.sqrt() - 1.0).abs() < 1e-7, "the scale");
        }
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

//! Decides what an arena keeps of an embedding, which is turned first: a byte a number, a bit a number, and how far the bytes, and their
//! upper halves alone, lie from the truth.

use std::fmt;

use crate::bound::MAX_TAN;
use crate::kernel::{Codes, Kernel, LINE_DIMS, Line, Work, ZERO_CODE, split};
use crate::rotation::{ROUNDING_TAN, signs, turn};
use crate::space::{MAX_CODE, Space, ValueError, check_finite};

/// What an arena keeps of one embedding.
#[derive(Clone, Copy)]
pub struct Sketch<'a> {
    pub(crate) space: Space,
    /// The codes, each 128 too high, to the end of the last line with the code 0.
    pub(crate) codes: Codes<'a>,
    /// The signs after the rotation, set where below zero.
    pub(crate) signs: &'a [u64],
    /// How the codes stand for the embedding,
    pub(crate) off: Off,
    /// and how the coarse numbers of their upper halves do.
    pub(crate) coarse_off: Off,
}

/// How whole numbers stand for an embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Off {
    /// 1 / (their length * cosine of the angle between them and the embedding).
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
    /// The upper halves of codes,
    coarse: Vec<Line>,
    /// and as many lines of the lower ones.
    fine: Vec<Line>,
    signs: Vec<u64>,
    /// Of the last one, its numbers,
    numbers: Vec<f32>,
    /// the codes of these alone, as they are reckoned with,
    wide: Vec<f64>,
    /// and the coarse numbers.
    coarse_wide: Vec<f64>,
}

/// Of one sketch, where its codes and signs end and the next one's begin, and the rest of it.
#[derive(Clone, Copy)]
struct Head {
    space: Space,
    codes_end: usize,
    signs_end: usize,
    off: Off,
    coarse_off: Off,
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
        let Head { space, codes_end, signs_end, off, coarse_off } = *self.heads.get(at)?;
        let before = at.checked_sub(1).and_then(|before| self.heads.get(before));
        let (codes, signs) = before.map_or((0, 0), |before| (before.codes_end, before.signs_end));
        let codes = Codes { coarse: &self.coarse[codes..codes_end], fine: &self.fine[codes..codes_end] };
        Some(Sketch { space, codes, signs: &self.signs[signs..signs_end], off, coarse_off })
    }

    /// Forgets all; their room stays.
    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.coarse.clear();
        self.fine.clear();
        self.signs.clear();
    }

    /// From numbers that have been checked.
    #[inline(always)]
    fn make(&mut self, space: Space) {
        turn(&mut self.numbers);
        let factor = f64::from(MAX_CODE) / f64::from(greatest(&self.numbers));
        self.wide.clear();
        self.wide.resize(self.numbers.len(), 0.0);
        self.coarse_wide.clear();
        self.coarse_wide.resize(self.numbers.len(), 0.0);
        let wide = self.wide.chunks_mut(LINE_DIMS).zip(self.coarse_wide.chunks_mut(LINE_DIMS));
        for (numbers, (wide, coarse_wide)) in self.numbers.chunks(LINE_DIMS).zip(wide) {
            let mut codes = [ZERO_CODE; LINE_DIMS];
            for ((code, number), (wide, coarse_wide)) in
                codes.iter_mut().zip(numbers).zip(wide.iter_mut().zip(coarse_wide))
            {
                // At most 127 in magnitude. Where no place is left for a fraction, the lowest places are the whole number's own: a
                // conversion to an integer would ask each one whether it fits.
                let shifted = f64::from(*number) * factor + SHIFT;
                *wide = shifted - SHIFT;
                // 7.5 below a code the nearest multiple of 16 is the lowest of the codes that share its upper half, and no tie; 7.5 above
                // that lies their middle.
                *coarse_wide = *wide - 7.5 + COARSE_SHIFT - COARSE_SHIFT + 7.5;
                *code = shifted.to_bits() as u8 ^ ZERO_CODE;
            }
            let (coarse, fine) = split(&codes);
            self.coarse.push(coarse);
            self.fine.push(fine);
        }
        let off = Off::of(&self.numbers, &self.wide);
        let coarse_off = Off::of(&self.numbers, &self.coarse_wide);
        signs(&self.numbers, &mut self.signs);
        let (codes_end, signs_end) = (self.coarse.len(), self.signs.len());
        self.heads.push(Head { space, codes_end, signs_end, off, coarse_off });
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

impl Off {
    /// Of whole numbers that stand for turned ones. What lies too far off to rule anything out has no scale: then all reach.
    #[inline(always)]
    fn of(turned: &[f32], whole: &[f64]) -> Self {
        let (length, tan) = deviation(turned, whole);
        // The angles of the codes and of the rotation added up.
        let tan = (tan + ROUNDING_TAN) / (1.0 - tan * ROUNDING_TAN);
        if !(0.0..=MAX_TAN).contains(&tan) {
            return Self { scale: 0.0, tan: f32::INFINITY };
        }
        Self { scale: ((1.0 + tan * tan).sqrt() / length) as f32, tan: round_up(tan) }
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
/// 16 times as much: what is added to it is rounded to a multiple of 16.
const COARSE_SHIFT: f64 = 16.0 * SHIFT;

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

    /// How an embedding's codes and its coarse numbers stand for it, the codes, and the turned numbers.
    fn sketch(numbers: &[f32]) -> ([Off; 2], Vec<f64>, Vec<f64>) {
        let space = Space::new(numbers.len(), Dtype::F32).expect("fits");
        let (mut stored, mut sketches) = (Vec::new(), Sketches::default());
        space.encode(numbers, &mut stored).expect("an embedding");
        sketches.add(space, &stored).expect("as stored");
        let Sketch { codes, off, coarse_off, .. } = sketches.get(0).expect("it was added");
        let codes = codes.bytes().into_iter().map(|byte| f64::from((byte ^ ZERO_CODE) as i8)).collect();
        let mut turned = numbers.to_vec();
        turn(&mut turned);
        ([off, coarse_off], codes, turned.into_iter().map(f64::from).collect())
    }

    /// What the upper half of a code stands for.
    fn coarse_number(code: f64) -> f64 {
        (code / 16.0).floor() * 16.0 + 7.5
    }

    #[test]
    fn the_angle_between_numbers_and_what_stands_for_them_is_not_understated() {
        let mut random = Random::new(9);
        let mut cases = vec![vec![1.0], vec![1.0, 0.5], vec![1.0; 4_096], lonely(512), lonely(4_096)];
        cases.extend((0..50).map(|_| (0..200).map(|_| random.normal() as f32).collect()));
        for numbers in cases {
            let ([off, coarse_off], codes, turned) = sketch(&numbers);
            let coarse: Vec<f64> = codes.iter().map(|code| coarse_number(*code)).collect();
            assert_eq!(codes.len(), numbers.len().div_ceil(LINE_DIMS) * LINE_DIMS);
            assert!(codes[numbers.len()..].iter().all(|code| *code == 0.0), "the rest of the line is empty");
            for (off, whole, most) in [(off, codes, 0.26), (coarse_off, coarse, 1.0)] {
                let pairs = || turned.iter().zip(&whole);
                let along: f64 = pairs().map(|(number, code)| number * code).sum();
                let (a, b): (f64, f64) = (pairs().map(|(a, _)| a * a).sum(), pairs().map(|(_, b)| b * b).sum());
                // By the cosine, which is another way, and good to 1e-8 here.
                let cosine = along / (a * b).sqrt();
                let tan = (1.0 / (cosine * cosine) - 1.0).max(0.0).sqrt() + ROUNDING_TAN;
                let said = f64::from(off.tan);
                assert!(said >= tan - 3e-8 && said < tan + 1.7e-5 && said < most, "{said} for {tan}");
                let scale = f64::from(off.scale) * b.sqrt() / (1.0 + said * said).sqrt();
                assert!((scale - 1.0).abs() < 2e-7, "the scale: {scale}");
            }
        }
    }

    #[test]
    fn coarse_numbers_that_lie_too_far_off_rule_nothing_out() {
        let numbers = [1.0, 0.0, 0.0];
        let whole = |other: f64| Off::of(&numbers, &[119.5, other, 7.5]);
        assert!(whole(100.0).tan < 1.0 && whole(100.0).scale > 0.0);
        for far in [whole(119.5), whole(f64::NAN), Off::of(&numbers, &[-119.5, 7.5, 7.5]), Off::of(&numbers, &[0.0; 3])]
        {
            assert_eq!(far, Off { scale: 0.0, tan: f32::INFINITY });
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
                    let offs = [sketch.off, sketch.coarse_off].map(|off| (off.scale.to_bits(), off.tan.to_bits()));
                    (sketch.codes.bytes(), sketch.signs.to_vec(), offs)
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

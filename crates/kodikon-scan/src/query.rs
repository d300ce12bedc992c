//! Decides how a question is put to the scan: its numbers, whole numbers that stand for them, and how far these lie off.

use crate::bound::Angle;
use crate::kernel::{MAX_WORD, Planes};
use crate::rotation::{ROUNDING_TAN, signs, turn};
use crate::sketch::{deviation, greatest, round};
use crate::space::{Dtype, MAX_CODE, MAX_DIMS, ValueError, check_numbers};

/// Numbers to which the nearest are sought.
#[derive(Clone)]
pub struct Query {
    numbers: Vec<f32>,
    norm: f64,
    pub(crate) planes: Planes,
    /// 1 / length of the words.
    pub(crate) scale: f64,
    /// Between the numbers and the words.
    pub(crate) off: Angle,
    /// 1 / (twice the length of the bytes).
    pub(crate) coarse_scale: f64,
    /// Between the numbers and the bytes.
    pub(crate) coarse_off: Angle,
    pub(crate) signs: Vec<u64>,
}

impl Query {
    /// A question of so many dimensions as there are numbers. It may be put to any space of as many.
    ///
    /// # Errors
    /// [`ValueError::Dims`], [`ValueError::NotFinite`] or [`ValueError::Zero`].
    pub fn new(numbers: &[f32]) -> Result<Self, ValueError> {
        if !(1..=MAX_DIMS).contains(&numbers.len()) {
            return Err(ValueError::Dims { given: numbers.len() });
        }
        check_numbers(numbers.len(), Dtype::F32, numbers)?;
        let mut turned = numbers.to_vec();
        turn(&mut turned);
        let largest = greatest(&turned);
        // Whatever the codes are, the sum of products then fits 32 bits.
        let limit = MAX_WORD.min(i32::MAX / (127 * numbers.len() as i32));
        let whole = |limit: f64| {
            let factor = limit / f64::from(largest);
            turned.iter().map(|number| round(f64::from(*number) * factor)).collect::<Vec<f64>>()
        };
        let (wide, coarse_wide) = (whole(f64::from(limit)), whole(f64::from(MAX_CODE)));
        let words: Vec<i16> = wide.iter().map(|word| *word as i16).collect();
        let bytes: Vec<i8> = coarse_wide.iter().map(|byte| *byte as i8).collect();
        let (length, tan) = deviation(&turned, &wide);
        let (coarse_length, coarse_tan) = deviation(&turned, &coarse_wide);
        let turning = Angle::from_tan(ROUNDING_TAN);
        let square: f64 = numbers.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
        let mut turned_signs = Vec::new();
        signs(&turned, &mut turned_signs);
        Ok(Self {
            numbers: numbers.to_vec(),
            norm: square.sqrt(),
            planes: Planes::new(&words, &bytes),
            scale: 1.0 / length,
            off: Angle::from_tan(tan).plus(turning),
            coarse_scale: 0.5 / coarse_length,
            coarse_off: Angle::from_tan(coarse_tan).plus(turning),
            signs: turned_signs,
        })
    }

    /// What was asked for.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The length: the square root of the sum of squares, in `f64`, in the order of the numbers.
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An embedding describes a person: it has no place in a log.
        f.debug_struct("Query").field("dims", &self.numbers.len()).finish_non_exhaustive()
    }
}

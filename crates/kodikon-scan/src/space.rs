//! Decides what an embedding is: how its numbers are stored and signed, what is refused, and what likeness means.
//!
//! `docs/machines/search.md` shows the format byte by byte.

use crate::half;
use crate::query::Query;

/// Numbers an embedding has at most (the registry's limit for a record).
pub const MAX_DIMS: usize = 4_096;
/// The least scale of `i8`: below it an `f32` loses digits.
const MIN_SCALE: f32 = f32::MIN_POSITIVE;
/// The greatest scale of `i8`: 127 times it is still an `f32`.
const MAX_SCALE: f32 = f32::MAX / 128.0;
/// The greatest code of `i8`. -128 is no code, so that every number has its negative.
pub(crate) const MAX_CODE: f32 = 127.0;
/// Numbers that are decoded at a time: 512 B, which stay in the first cache.
const RUN: usize = 128;
/// Bytes in front of the codes of `i8`.
const SCALE_LEN: usize = 4;

/// How the numbers of an embedding are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32, 4 bytes a number.
    F32,
    /// IEEE 754 binary16, 2 bytes a number.
    F16,
    /// One scale for all (binary32, 4 bytes), then a byte a number.
    I8,
}

impl Dtype {
    /// As people and records write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }
}

/// What embeddings have in common that can be compared: so many numbers, stored in one way. (That they come from one
/// model is for the caller to see to: it keeps an arena for each.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    dims: u16,
    dtype: Dtype,
}

/// Why numbers or bytes are no embedding of a space. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A space of no or too many dimensions.
    #[error("{given} dimensions: an embedding has 1 to {MAX_DIMS}")]
    Dims {
        /// What was asked for.
        given: usize,
    },
    /// Too few or too many numbers for the space.
    #[error("{given} numbers: this space has {expected} dimensions")]
    Count {
        /// How many came.
        given: usize,
        /// How many the space has.
        expected: usize,
    },
    /// Stored bytes of another length than the space's.
    #[error("{given} bytes: an embedding of this space is stored in {expected}")]
    Length {
        /// How many came.
        given: usize,
        /// How many it takes.
        expected: usize,
    },
    /// NaN or an infinity.
    #[error("number {at} is {given}: an embedding's numbers are finite")]
    NotFinite {
        /// Which one, counted from 0.
        at: usize,
        /// What it is.
        given: f32,
    },
    /// Too large for the way the space stores numbers.
    #[error("number {at} is {given:?}: {} holds {limit:?} at most", dtype.name())]
    TooLarge {
        /// Which one, counted from 0.
        at: usize,
        /// What it is.
        given: f32,
        /// How the space stores numbers.
        dtype: Dtype,
        /// The largest magnitude it takes.
        limit: f32,
    },
    /// Nothing but zeros: it points nowhere, so nothing is like it.
    #[error("all numbers are 0 as {}: an embedding needs one that is not", dtype.name())]
    Zero {
        /// How the space stores numbers.
        dtype: Dtype,
    },
    /// The largest number is too small for a scale of `i8`.
    #[error("the largest number is {given:?}: i8 needs one of at least {limit:?}; multiply all by the same factor")]
    TooSmall {
        /// The largest magnitude.
        given: f32,
        /// The least it may be.
        limit: f32,
    },
    /// Stored `i8` whose scale is no scale.
    #[error("a scale of {given:?}: it is at least {MIN_SCALE:?} and at most {MAX_SCALE:?}")]
    Scale {
        /// What it is.
        given: f32,
    },
    /// Stored `i8` with the code -128.
    #[error("code {at} is -128: codes are -127 to 127")]
    Code {
        /// Which one, counted from 0.
        at: usize,
    },
}

impl Space {
    /// A space of so many dimensions.
    ///
    /// # Errors
    /// [`ValueError::Dims`] unless there are 1 to [`MAX_DIMS`].
    pub fn new(dims: usize, dtype: Dtype) -> Result<Self, ValueError> {
        match u16::try_from(dims) {
            Ok(fitting @ 1..) if dims <= MAX_DIMS => Ok(Self { dims: fitting, dtype }),
            Ok(_) | Err(_) => Err(ValueError::Dims { given: dims }),
        }
    }

    /// How many numbers an embedding has.
    pub fn dims(self) -> usize {
        usize::from(self.dims)
    }

    /// How its numbers are stored.
    pub fn dtype(self) -> Dtype {
        self.dtype
    }

    /// Bytes of a stored embedding.
    pub fn stored_len(self) -> usize {
        match self.dtype {
            Dtype::F32 => self.dims() * 4,
            Dtype::F16 => self.dims() * 2,
            Dtype::I8 => SCALE_LEN + self.dims(),
        }
    }

    /// Appends the numbers as a record stores and signs them, each rounded to the nearest that the space can hold.
    ///
    /// # Errors
    /// What is no embedding of this space: `into` is then as it was.
    pub fn encode(self, numbers: &[f32], into: &mut Vec<u8>) -> Result<(), ValueError> {
        check_numbers(self.dims(), self.dtype, numbers)?;
        let before = into.len();
        match self.dtype {
            Dtype::F32 => into.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            Dtype::F16 => {
                check_below(numbers, Dtype::F16, half::MAX, |number| half::is_finite(half::encode(number)))?;
                into.extend(numbers.iter().flat_map(|number| half::encode(*number).to_le_bytes()));
            }
            Dtype::I8 => encode_i8(numbers, into)?,
        }
        // An f16 may have rounded all of them to zero.
        self.check(&into[before..]).inspect_err(|_| into.truncate(before))
    }

    /// Whether the bytes are a stored embedding of this space.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn check(self, stored: &[u8]) -> Result<(), ValueError> {
        let mut is_zero = true;
        self.each_run(stored, |at, run| {
            check_finite(at, run)?;
            is_zero &= run.iter().all(|number| *number == 0.0);
            Ok(())
        })?;
        if is_zero { Err(ValueError::Zero { dtype: self.dtype }) } else { Ok(()) }
    }

    /// Appends a stored embedding's numbers. Those of `i8` are rounded to `f32`; likeness is not counted with these but
    /// with the exact products of scale and code.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds wrong: `into` is then as it was.
    pub fn decode(self, stored: &[u8], into: &mut Vec<f32>) -> Result<(), ValueError> {
        self.check(stored)?;
        let scale = if self.dtype == Dtype::I8 { self.scale(stored) } else { 1.0 };
        self.each_run(stored, |_, run| {
            into.extend(run.iter().map(|number| number * scale));
            Ok(())
        })
    }

    /// How alike a query and a stored embedding are: the cosine of the angle between them, from -1 to 1 but for rounding.
    ///
    /// Three sums in `f64`, each begun at 0 and taken in the order of the numbers, without fused operations:
    /// `qv` of query times stored, `qq` of query squared, `vv` of stored squared. The answer is `qv / (√qq · √vv)`. So it
    /// is the same to the bit on every computer. A number of `i8` is its scale times its code, which is exact in `f64`.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds wrong with the bytes, and [`ValueError::Count`] for a query of other dimensions.
    pub fn score(self, query: &Query, stored: &[u8]) -> Result<f64, ValueError> {
        let numbers = query.numbers();
        if numbers.len() != self.dims() {
            return Err(ValueError::Count { given: numbers.len(), expected: self.dims() });
        }
        let scale = if self.dtype == Dtype::I8 && stored.len() >= SCALE_LEN { self.scale(stored) } else { 1.0 };
        let scale = f64::from(scale);
        let (mut qv, mut vv) = (0.0, 0.0);
        self.each_run(stored, |at, run| {
            for (query, stored) in numbers[at..].iter().zip(run) {
                let stored = f64::from(*stored) * scale;
                qv += f64::from(*query) * stored;
                vv += stored * stored;
            }
            Ok(())
        })?;
        // 4,096 squares of f32 neither overflow f64 nor vanish in it: only bad numbers make this so.
        if !vv.is_finite() || vv == 0.0 {
            self.check(stored)?;
        }
        Ok(qv / (query.norm() * f64::sqrt(vv)))
    }

    /// Gives the stored numbers in their order, some at a time, with the place of the first; of `i8` the codes alone.
    /// Asks for the length, and of `i8` for scale and codes.
    #[inline(always)]
    pub(crate) fn each_run(
        self,
        stored: &[u8],
        mut take: impl FnMut(usize, &[f32]) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        if stored.len() != self.stored_len() {
            return Err(ValueError::Length { given: stored.len(), expected: self.stored_len() });
        }
        let codes = match self.dtype {
            Dtype::F32 | Dtype::F16 => stored,
            Dtype::I8 => &stored[SCALE_LEN..],
        };
        if self.dtype == Dtype::I8 {
            let given = self.scale(stored);
            if !(MIN_SCALE..=MAX_SCALE).contains(&given) {
                return Err(ValueError::Scale { given });
            }
            if let Some(at) = codes.iter().position(|code| *code == i8::MIN as u8) {
                return Err(ValueError::Code { at });
            }
        }
        let mut run = [0.0f32; RUN];
        for (part, bytes) in codes.chunks(RUN * self.width()).enumerate() {
            let run = &mut run[..bytes.len() / self.width()];
            match self.dtype {
                Dtype::F32 => fill(run, bytes, f32::from_le_bytes),
                Dtype::F16 => fill(run, bytes, |bytes| wide(u16::from_le_bytes(bytes))),
                Dtype::I8 => fill(run, bytes, |[code]| f32::from(code as i8)),
            }
            take(part * RUN, run)?;
        }
        Ok(())
    }

    /// Bytes of a number.
    fn width(self) -> usize {
        match self.dtype {
            Dtype::F32 => 4,
            Dtype::F16 => 2,
            Dtype::I8 => 1,
        }
    }

    /// The scale in front of the codes of `i8`.
    fn scale(self, stored: &[u8]) -> f32 {
        stored.first_chunk().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes))
    }
}

fn fill<const N: usize>(run: &mut [f32], bytes: &[u8], decode: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks();
    for (number, bytes) in run.iter_mut().zip(numbers) {
        *number = decode(*bytes);
    }
}

/// The number, or NaN for what is none, so that one question about finiteness is enough.
fn wide(stored: u16) -> f32 {
    if half::is_finite(stored) { half::decode(stored) } else { f32::NAN }
}

/// Whether they are so many finite numbers, one of them not zero.
pub(crate) fn check_numbers(dims: usize, dtype: Dtype, numbers: &[f32]) -> Result<(), ValueError> {
    if numbers.len() != dims {
        return Err(ValueError::Count { given: numbers.len(), expected: dims });
    }
    check_finite(0, numbers)?;
    if numbers.iter().all(|number| *number == 0.0) {
        return Err(ValueError::Zero { dtype });
    }
    Ok(())
}

/// Refuses NaN and infinities; the first of the numbers is the one `at` so many.
#[inline(always)]
pub(crate) fn check_finite(at: usize, numbers: &[f32]) -> Result<(), ValueError> {
    // Whether there is one is asked of all at once, which a processor does faster than to look where.
    if numbers.iter().fold(true, |all, number| all & number.is_finite()) {
        return Ok(());
    }
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(off) => Err(ValueError::NotFinite { at: at + off, given: numbers[off] }),
        None => Ok(()),
    }
}

fn check_below(numbers: &[f32], dtype: Dtype, limit: f32, fits: impl Fn(f32) -> bool) -> Result<(), ValueError> {
    match numbers.iter().position(|number| !fits(*number)) {
        Some(at) => Err(ValueError::TooLarge { at, given: numbers[at], dtype, limit }),
        None => Ok(()),
    }
}

/// The scale is the largest magnitude over 127, and a code the nearest whole number to its number over the scale, ties to
/// the even one: so the largest has the code 127 or -127.
fn encode_i8(numbers: &[f32], into: &mut Vec<u8>) -> Result<(), ValueError> {
    let limit = MAX_SCALE * MAX_CODE;
    check_below(numbers, Dtype::I8, limit, |number| number.abs() <= limit)?;
    let largest = numbers.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
    let scale = largest / MAX_CODE;
    if scale < MIN_SCALE {
        return Err(ValueError::TooSmall { given: largest, limit: MIN_SCALE * MAX_CODE });
    }
    into.extend(scale.to_le_bytes());
    into.extend(numbers.iter().map(|number| {
        let code = (f64::from(*number) / f64::from(scale)).round_ties_even();
        code.clamp(-f64::from(MAX_CODE), f64::from(MAX_CODE)) as i8 as u8
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_1_to_4096() {
        for (dims, fits) in [(0, false), (1, true), (4_096, true), (4_097, false), (1 << 16 | 1, false)] {
            assert_eq!(Space::new(dims, Dtype::F16).is_ok(), fits, "{dims}");
            assert_eq!(Query::new(&vec![1.0; dims]).is_ok(), fits, "a query of {dims}");
        }
    }

    #[test]
    fn what_is_no_embedding_is_refused_with_value_and_limit_and_nothing_is_written() {
        use Dtype::{F16, F32, I8};
        for (dtype, numbers, says) in [
            (F32, vec![1.0], "1 numbers: this space has 2 dimensions"),
            (F32, vec![1.0; 3], "3 numbers: this space has 2 dimensions"),
            (F32, vec![1.0, f32::NAN], "number 1 is NaN: an embedding's numbers are finite"),
            (F16, vec![f32::NEG_INFINITY, 0.0], "number 0 is -inf: an embedding's numbers are finite"),
            (F32, vec![0.0, -0.0], "all numbers are 0 as f32: an embedding needs one that is not"),
            (F16, vec![1e-9, -1e-9], "all numbers are 0 as f16: an embedding needs one that is not"),
            (F16, vec![0.0, 65_520.0], "number 1 is 65520.0: f16 holds 65504.0 at most"),
            (
                I8,
                vec![1e-37, 0.0],
                "the largest number is 1e-37: i8 needs one of at least 1.4928778e-36; multiply all by the same factor",
            ),
            (I8, vec![f32::MAX, 0.0], "number 0 is 3.4028235e38: i8 holds 3.376239e38 at most"),
        ] {
            let mut stored = vec![7];
            let error = Space::new(2, dtype).expect("fits").encode(&numbers, &mut stored).expect_err(says);
            assert_eq!((error.to_string().as_str(), &stored[..]), (says, &[7][..]), "{numbers:?}");
        }
    }

    #[test]
    fn stored_bytes_that_are_no_embedding_are_refused() {
        let halves = |a: u16, b: u16| [a.to_le_bytes(), b.to_le_bytes()].concat();
        let codes = |scale: f32, codes: [u8; 2]| [&scale.to_le_bytes()[..], &codes].concat();
        for (dtype, stored, says) in [
            (Dtype::F16, vec![0, 0, 1], "3 bytes: an embedding of this space is stored in 4"),
            (Dtype::I8, vec![], "0 bytes: an embedding of this space is stored in 6"),
            (Dtype::F16, halves(0x3c00, 0x7c00), "number 1 is NaN: an embedding's numbers are finite"),
            (Dtype::F16, halves(0x8000, 0), "all numbers are 0 as f16: an embedding needs one that is not"),
            (Dtype::I8, codes(1.0, [0, 0]), "all numbers are 0 as i8: an embedding needs one that is not"),
            (Dtype::I8, codes(1.0, [3, 0x80]), "code 1 is -128: codes are -127 to 127"),
            (Dtype::I8, codes(0.0, [3, 4]), "a scale of 0.0: it is at least 1.1754944e-38 and at most 2.6584558e36"),
            (
                Dtype::I8,
                codes(f32::NAN, [3, 4]),
                "a scale of NaN: it is at least 1.1754944e-38 and at most 2.6584558e36",
            ),
            (Dtype::I8, codes(-1.0, [3, 4]), "a scale of -1.0: it is at least 1.1754944e-38 and at most 2.6584558e36"),
        ] {
            let space = Space::new(2, dtype).expect("fits");
            let query = Query::new(&[1.0, 2.0]).expect("a query");
            let mut numbers = vec![7.0];
            let errors =
                [space.check(&stored), space.decode(&stored, &mut numbers), space.score(&query, &stored).map(|_| ())];
            for error in errors {
                assert_eq!(error.expect_err(says).to_string(), says, "{stored:?}");
            }
            assert_eq!(numbers, [7.0], "nothing was written");
        }
    }

    #[test]
    fn the_format_is_the_one_that_is_written_down() {
        for (dtype, stored) in [
            (Dtype::F32, "0000803f000000c00000003e"),
            (Dtype::F16, "003c00c00030"),
            // A scale of 2/127.
            (Dtype::I8, "0402813c408108"),
        ] {
            let space = Space::new(3, dtype).expect("fits");
            let mut bytes = Vec::new();
            space.encode(&[1.0, -2.0, 0.125], &mut bytes).expect("an embedding");
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), stored, "{dtype:?}");
            assert_eq!(bytes.len(), space.stored_len(), "{dtype:?}");
        }
    }

    #[test]
    fn what_was_stored_is_stored_again_as_the_same_bytes() {
        let made = crate::generated::Sightings::new(3, 100, 50);
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
            let space = Space::new(100, dtype).expect("fits");
            for at in 0..50 {
                let (mut stored, mut numbers, mut again) = (Vec::new(), Vec::new(), Vec::new());
                space.encode(&made.numbers(at), &mut stored).expect("an embedding");
                space.decode(&stored, &mut numbers).expect("as stored");
                space.encode(&numbers, &mut again).expect("an embedding");
                assert_eq!(again, stored, "{dtype:?}, {at}");
            }
        }
    }

    #[test]
    fn likeness_is_the_cosine() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
            let space = Space::new(2, dtype).expect("fits");
            for (query, entry, cosine) in [
                ([1.0, 0.0], [5.0, 0.0], 1.0),
                ([1.0, 0.0], [-5.0, 0.0], -1.0),
                ([1.0, 0.0], [0.0, 0.25], 0.0),
                ([3e38, 3e38], [2.0, 0.0], 0.5f64.sqrt()),
                ([1e-44, 0.0], [1.0, 1.0], 0.5f64.sqrt()),
            ] {
                let mut stored = Vec::new();
                space.encode(&entry, &mut stored).expect("an embedding");
                let score = space.score(&Query::new(&query).expect("a query"), &stored).expect("of two dimensions");
                assert!((score - cosine).abs() < 1e-15, "{query:?} {entry:?} {dtype:?}: {score}");
            }
            let long = Query::new(&[1.0; 3]).expect("a query");
            assert_eq!(space.score(&long, &[]), Err(ValueError::Count { given: 3, expected: 2 }));
        }
    }
}

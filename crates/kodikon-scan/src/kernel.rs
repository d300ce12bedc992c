//! Decides by which instructions of the processor codes and bits are compared; whichever it is, the answers are the same:
//! all of it is arithmetic of whole numbers, but for one comparison, whose steps IEEE 754 fixes.

mod avx2;
mod avx512;
mod scalar;

use crate::bound::{Estimates, Test};

/// 64 bytes on a boundary of their own: one line of the cache, one register of AVX-512.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// The codes of a block's entries, each in two halves of 4 bits that lie apart: an entry has as many lines of the one as of the other.
/// A line is of 128 dimensions, the first 64 in the low halves of its bytes and the others in the high ones.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    /// The upper halves of the codes.
    pub(crate) coarse: &'a [Line],
    /// The lower ones.
    pub(crate) fine: &'a [Line],
}

/// The upper and the lower halves of codes, each 128 too high.
#[inline(always)]
pub(crate) fn split(codes: &[u8; LINE_DIMS]) -> (Line, Line) {
    let (mut coarse, mut fine) = (Line([0; 64]), Line([0; 64]));
    let (first, second) = codes.split_at(64);
    for (((coarse, fine), first), second) in coarse.0.iter_mut().zip(&mut fine.0).zip(first).zip(second) {
        *coarse = first >> 4 | second & 0xf0;
        *fine = first & 15 | second << 4;
    }
    (coarse, fine)
}

#[cfg(test)]
impl Codes<'_> {
    /// The codes, each 128 too high, in the order of the dimensions.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let lines = self.coarse.iter().zip(self.fine);
        let codes = lines.flat_map(|(coarse, fine)| {
            let halves = || coarse.0.iter().zip(fine.0);
            let first = halves().map(|(coarse, fine)| coarse << 4 | fine & 15);
            first.chain(halves().map(|(coarse, fine)| coarse & 0xf0 | fine >> 4)).collect::<Vec<u8>>()
        });
        codes.collect()
    }
}

/// A line's worth of the query, in 16 bits each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Words(pub(crate) [i16; 64]);

/// The same 64 dimensions of eight entries, a bit each: one line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Octet(pub(crate) [u64; 8]);

/// Entries that are looked at together: some of them are the bits of a word.
pub(crate) const BLOCK: usize = 64;
/// Dimensions of a line of either half of the codes.
pub(crate) const LINE_DIMS: usize = 128;
/// The code 0.
pub(crate) const ZERO_CODE: u8 = 128;
/// The greatest whole number a query has: 127 in the high plane, 63 in the low one.
pub(crate) const MAX_WORD: i32 = 127 * PLANE + 63;
/// What the high plane counts.
const PLANE: i32 = 128;

/// A query as the kernels read it: whole numbers of 15 bits, and the same split as `128 * high + low` into two planes of
/// bytes; and whole numbers of 8 bits that stand for it beside the upper halves of codes. What is beyond the dimensions is zero, and
/// the dimensions are those of whole lines of codes.
#[derive(Clone)]
pub(crate) struct Planes {
    pub(crate) words: Vec<Words>,
    /// The same, of each 32 first the even ones and then the odd ones.
    pub(crate) apart: Vec<Words>,
    pub(crate) high: Vec<Line>,
    pub(crate) low: Vec<Line>,
    /// 128 times the sum of the words: what the codes' bias adds to every product.
    pub(crate) bias: i32,
    pub(crate) bytes: Vec<Line>,
    /// [`COARSE_BIAS`] times the sum of the bytes.
    pub(crate) coarse_bias: i32,
}

/// The coarse number that a half code `h` stands for is the middle of the codes that have it, `16 h - 120.5`; twice it is whole.
pub(crate) const COARSE_STEP: i32 = 32;
/// What is taken from that many times the half code.
pub(crate) const COARSE_BIAS: i32 = 241;

impl Planes {
    /// From whole numbers of at most [`MAX_WORD`] in magnitude, and as many of at most 127.
    pub(crate) fn new(words: &[i16], bytes: &[i8]) -> Self {
        debug_assert_eq!(words.len(), bytes.len(), "both stand for one query");
        let lines = 2 * words.len().div_ceil(LINE_DIMS);
        let mut planes = Self {
            words: vec![Words([0; 64]); lines],
            apart: vec![Words([0; 64]); lines],
            high: vec![Line([0; 64]); lines],
            low: vec![Line([0; 64]); lines],
            bias: words.iter().fold(0i32, |sum, word| sum.wrapping_add(i32::from(*word) * i32::from(ZERO_CODE))),
            bytes: vec![Line([0; 64]); lines],
            coarse_bias: COARSE_BIAS * bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>(),
        };
        for (at, byte) in bytes.iter().enumerate() {
            planes.bytes[at / 64].0[at % 64] = *byte as u8;
        }
        for (at, word) in words.iter().enumerate() {
            debug_assert!(i32::from(*word).abs() <= MAX_WORD, "word {at} is {word}");
            // The low plane is -64 to 63: so both planes are i8.
            let high = (i32::from(*word) + PLANE / 2).div_euclid(PLANE);
            let low = i32::from(*word) - high * PLANE;
            planes.words[at / 64].0[at % 64] = *word;
            planes.apart[at / 64].0[at % 64 / 32 * 32 + at % 2 * 16 + at % 32 / 2] = *word;
            planes.high[at / 64].0[at % 64] = high as i8 as u8;
            planes.low[at / 64].0[at % 64] = low as i8 as u8;
        }
        planes
    }

    /// Lines of either half of an entry's codes.
    pub(crate) fn lines(&self) -> usize {
        self.words.len() / 2
    }
}

/// Arithmetic that is compiled for each kernel. Its `run` and all that this calls are always inlined: what is not, and a closure is not
/// as soon as it is long, is compiled for what every processor has.
pub(crate) trait Work {
    /// What comes of it.
    type Outcome;

    /// Does it.
    fn run(self) -> Self::Outcome;
}

/// Instructions that may be there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// What every processor has.
    Scalar,
    /// AVX2, of x86-64 since 2013.
    Avx2,
    /// AVX-512 with VNNI, BW and VPOPCNTDQ, of x86-64 since 2019.
    Avx512,
}

impl Kernel {
    /// Those that this processor has, the fastest last.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512].into_iter().filter(|kernel| kernel.is_available()).collect()
    }

    /// The fastest that this processor has.
    pub(crate) fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => avx2::is_available(),
            Self::Avx512 => avx512::is_available(),
        }
    }

    /// Twice the sum of byte times coarse number for some entries of a block. What belongs to the others may be anything.
    /// `ahead` will be wanted next, and is fetched meanwhile.
    ///
    /// # Panics
    /// Unless `coarse` holds a block.
    pub(crate) fn coarse(self, coarse: &[Line], ahead: Ahead<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        assert_eq!(coarse.len(), BLOCK * query.lines(), "an entry has as many lines as the query");
        match self {
            Self::Scalar => scalar::coarse(coarse, ahead, places, query, out),
            Self::Avx2 => avx2::coarse(coarse, ahead, places, query, out),
            Self::Avx512 => avx512::coarse(coarse, ahead, places, query, out),
        }
    }

    /// Which of 64 estimates are not below what they must reach, a bit each.
    pub(crate) fn reaching(self, estimates: Estimates<'_>, test: Test) -> u64 {
        match self {
            Self::Scalar => scalar::reaching(estimates, test),
            Self::Avx2 => avx2::reaching(estimates, test),
            Self::Avx512 => avx512::reaching(estimates, test),
        }
    }

    /// The sum of word times code for some entries of a block, exact as long as it fits 32 bits, which the quantiser of the
    /// query sees to. What belongs to the others may be anything.
    ///
    /// # Panics
    /// Unless `codes` holds a block.
    pub(crate) fn products(self, codes: Codes<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        for half in [codes.coarse, codes.fine] {
            assert_eq!(half.len(), BLOCK * query.lines(), "an entry has as many lines as the query");
        }
        match self {
            Self::Scalar => scalar::products(codes, places, query, out),
            Self::Avx2 => avx2::products(codes, places, query, out),
            Self::Avx512 => avx512::products(codes, places, query, out),
        }
    }

    /// In how many bits each entry differs from the query. Eight entries lie in `query.len()` octets, one for each 64 dimensions.
    ///
    /// # Panics
    /// Unless `bits` holds `out.len()` entries, a multiple of eight.
    pub(crate) fn distances(self, bits: &[Octet], query: &[u64], out: &mut [u16]) {
        assert_eq!(
            bits.len() * 8,
            out.len() * query.len(),
            "eight entries lie in as many octets as the query has words"
        );
        match self {
            Self::Scalar => scalar::distances(bits, query, out),
            Self::Avx2 => avx2::distances(bits, query, out),
            Self::Avx512 => avx512::distances(bits, query, out),
        }
    }

    /// Does arithmetic as compiled for these instructions: the same to the bit, since nothing is fused and no sum is taken in another
    /// order.
    #[inline(always)]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Outcome {
        match self {
            Self::Scalar => work.run(),
            Self::Avx2 | Self::Avx512 => avx2::run(work),
        }
    }

    /// Which of 64 distances lie between two, both included; a bit each.
    pub(crate) fn between(self, distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
        match self {
            Self::Scalar => scalar::between(distances, least, most),
            Self::Avx2 => avx2::between(distances, least, most),
            Self::Avx512 => avx512::between(distances, least, most),
        }
    }
}

/// Entries of a block from which on all of it are looked at, in a row.
#[cfg(target_arch = "x86_64")]
const DENSE: u32 = 32;

/// Takes the lowest places out of a mask, as many as there is room for. The others of the array are 0.
#[cfg(target_arch = "x86_64")]
#[inline]
fn take_places<const N: usize>(places: &mut u64) -> [usize; N] {
    std::array::from_fn(|_| {
        let at = places.trailing_zeros() as usize % BLOCK;
        *places &= places.wrapping_sub(1);
        at
    })
}

/// Lines that will be wanted after those in use: the next ones, and those that begin another chunk.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ahead<'a>(pub(crate) &'a [Line], pub(crate) &'a [Line]);

/// Asks for what will be wanted soon. Where there is no such instruction for stable Rust it does nothing.
#[inline]
pub(crate) fn fetch<T>(wanted: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(wanted)).step_by(size_of::<Line>()) {
        hint(wanted.as_ptr().cast::<u8>().wrapping_add(at));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = wanted;
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn hint(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint: the address is not read, and need not be one of ours.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Random;

    /// Places of a block: none, some, and half or more, where all of it may be looked at.
    const PLACES: [u64; 9] =
        [0, 1, 1 << 63, 0b10110, 0x8000_0400_0000_8001, u64::MAX, !1, u64::MAX >> 31, 0xaaaa_aaaa_aaaa_aaaa];

    #[test]
    fn every_kernel_counts_as_the_definition_does() {
        let mut random = Random::new(7);
        for dims in [1, 2, 63, 64, 65, 127, 128, 129, 200, 512, 513, 768, 1_000, 4_096] {
            for extreme in [false, true] {
                // The greatest that the quantiser may choose for so many dimensions.
                let limit = MAX_WORD.min(i32::MAX / (127 * dims));
                let mut draw = |limit: i32| {
                    let sign = if random.next() & 1 == 0 { 1 } else { -1 };
                    if extreme { limit * sign } else { (random.next() % (2 * limit as u64 + 1)) as i32 - limit }
                };
                let words: Vec<i16> = (0..dims).map(|_| draw(limit) as i16).collect();
                let bytes: Vec<i8> = (0..dims).map(|_| draw(127) as i8).collect();
                let mut codes: Vec<Vec<i8>> = Vec::new();
                for _ in 0..BLOCK {
                    codes.push((0..dims).map(|_| draw(127) as i8).collect());
                }
                if extreme {
                    codes[0] = words.iter().map(|word| if *word < 0 { -127 } else { 127 }).collect();
                    codes[1] = bytes.iter().map(|byte| if *byte < 0 { -127 } else { 127 }).collect();
                }
                let case = Case { words, bytes, codes };
                for kernel in Kernel::available() {
                    case.check(kernel, &format!("{kernel:?}, {dims} dims, extreme {extreme}"));
                }
            }
        }
    }

    /// A query and the codes of a block.
    struct Case {
        words: Vec<i16>,
        bytes: Vec<i8>,
        codes: Vec<Vec<i8>>,
    }

    impl Case {
        fn check(&self, kernel: Kernel, case: &str) {
            let (mut coarse, mut fine) = (Vec::new(), Vec::new());
            for codes in &self.codes {
                for codes in codes.chunks(LINE_DIMS) {
                    let mut line = [ZERO_CODE; LINE_DIMS];
                    line.iter_mut().zip(codes).for_each(|(place, code)| *place = *code as u8 ^ ZERO_CODE);
                    let halves = split(&line);
                    coarse.push(halves.0);
                    fine.push(halves.1);
                }
            }
            let planes = Planes::new(&self.words, &self.bytes);
            for places in PLACES {
                let (mut products, mut coarse_products) = ([7; BLOCK], [7; BLOCK]);
                kernel.products(Codes { coarse: &coarse, fine: &fine }, places, &planes, &mut products);
                kernel.coarse(&coarse, Ahead(&coarse, &coarse), places, &planes, &mut coarse_products);
                for at in (0..BLOCK).filter(|at| places >> at & 1 == 1) {
                    let right = [self.product(at), self.coarse_product(at)];
                    assert_eq!([products[at], coarse_products[at]], right, "{case}, {at} of {places:#x}");
                }
            }
        }

        fn product(&self, at: usize) -> i32 {
            let products =
                self.codes[at].iter().zip(&self.words).map(|(code, word)| i64::from(*code) * i64::from(*word));
            i32::try_from(products.sum::<i64>()).expect("fits")
        }

        /// Twice that with what is in the middle of the 16 codes that share an upper half.
        fn coarse_product(&self, at: usize) -> i32 {
            let twice = |code: i8| 2 * (i32::from(code).div_euclid(16) * 16) + 15;
            self.codes[at].iter().zip(&self.bytes).map(|(code, byte)| twice(*code) * i32::from(*byte)).sum()
        }
    }

    #[test]
    fn every_kernel_lets_the_same_entries_reach() {
        let mut random = Random::new(10);
        for _ in 0..1_000 {
            let products: [i32; BLOCK] = std::array::from_fn(|_| (random.next() as i32) >> (random.next() % 32));
            let mut draw = |special: [f32; 4]| match random.next() % 6 {
                at @ 0..4 => special[at as usize],
                _ => random.normal() as f32,
            };
            let scales: [f32; BLOCK] = std::array::from_fn(|_| draw([0.0, 1e-9, 1e-7, 1.0]));
            let tans: [f32; BLOCK] = std::array::from_fn(|_| draw([0.0, 0.1, 1.0, f32::INFINITY]));
            let test = Test { cos: draw([0.0, 1.0, -1.0, f32::NEG_INFINITY]), sin: draw([0.0, 1.0, 0.5, 1e-9]) };
            let estimates = Estimates { products: &products, scale: draw([1e-3; 4]), scales: &scales, tans: &tans };
            let expected = (0..BLOCK).map(|at| u64::from(estimates.reach(at, test)) << at).sum::<u64>();
            for kernel in Kernel::available() {
                assert_eq!(kernel.reaching(estimates, test), expected, "{kernel:?}, {test:?}");
            }
        }
    }

    #[test]
    fn who_has_no_scale_reaches_whatever_is_asked_for() {
        let (scales, tans) = ([0.0; BLOCK], [f32::INFINITY; BLOCK]);
        for (cos, sin) in [(1.0, 0.0), (1.0, 1e-9), (-0.5, 0.9), (f32::NEG_INFINITY, 0.0)] {
            let estimates = Estimates { products: &[-9; BLOCK], scale: 1.0, scales: &scales, tans: &tans };
            for kernel in Kernel::available() {
                assert_eq!(kernel.reaching(estimates, Test { cos, sin }), u64::MAX, "{kernel:?}, {cos}, {sin}");
            }
        }
    }

    #[test]
    fn the_halves_of_codes_are_put_together_again() {
        let codes: [u8; LINE_DIMS] = std::array::from_fn(|at| (at * 77) as u8);
        let (coarse, fine) = split(&codes);
        assert_eq!(Codes { coarse: &[coarse], fine: &[fine] }.bytes(), codes);
    }

    #[test]
    fn every_kernel_counts_bits_as_the_definition_does() {
        let mut random = Random::new(8);
        for words in [1, 2, 3, 4, 8, 12, 16, 64] {
            let query: Vec<u64> = (0..words).map(|_| random.next()).collect();
            let mut bits: Vec<Octet> = (0..words * 9).map(|_| Octet(std::array::from_fn(|_| random.next()))).collect();
            // All differ, and none.
            for (octet, query) in bits.iter_mut().zip(&query) {
                (octet.0[0], octet.0[1]) = (!*query, *query);
            }
            let expected: Vec<u16> = (0..72)
                .map(|entry| {
                    let octets = bits[entry / 8 * words..].iter().zip(&query);
                    octets.map(|(octet, query)| (octet.0[entry % 8] ^ query).count_ones() as u16).sum()
                })
                .collect();
            assert_eq!(expected[..2], [64 * words as u16, 0], "both ends are among them");
            for kernel in Kernel::available() {
                let mut out = vec![0; 72];
                kernel.distances(&bits, &query, &mut out);
                assert_eq!(out, expected, "{kernel:?}, {words} words");
            }
        }
    }

    #[test]
    fn every_kernel_finds_the_same_distances_between_two() {
        let mut random = Random::new(9);
        for (least, most) in [(0, 0), (0, 7), (3, 7), (7, 7), (0, u16::MAX), (u16::MAX, u16::MAX), (40_000, 50_000)] {
            // Around both ends, and anywhere.
            let mut distances = [0u16; 64];
            for distance in &mut distances {
                let near = if random.next() & 1 == 0 { least } else { most };
                let off = random.next() as u16;
                *distance = if random.next() & 3 == 0 { off } else { near.wrapping_add(off % 3).wrapping_sub(1) };
            }
            let places = |at: usize| u64::from((least..=most).contains(&distances[at])) << at;
            let expected: u64 = (0..64).map(places).sum();
            for kernel in Kernel::available() {
                assert_eq!(kernel.between(&distances, least, most), expected, "{kernel:?}, {least} to {most}");
            }
        }
    }

    #[test]
    fn the_planes_add_up_to_the_words() {
        for word in -MAX_WORD..=MAX_WORD {
            let planes = Planes::new(&[word as i16], &[0]);
            let (high, low) = (planes.high[0].0[0] as i8, planes.low[0].0[0] as i8);
            assert_eq!(i32::from(high) * PLANE + i32::from(low), word, "{word} = {high}, {low}");
        }
    }
}

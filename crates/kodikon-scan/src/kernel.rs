//! Decides by which instructions of the processor codes and bits are compared; whichever it is, the answers are the same:
//! all of it is arithmetic of whole numbers.

mod avx2;
mod avx512;
mod scalar;

/// 64 bytes on a boundary of their own: one line of the cache, one register of AVX-512.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

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
/// What an empty place of a line holds: the code 0.
pub(crate) const ZERO_CODE: u8 = 128;
/// The greatest whole number a query has: 127 in the high plane, 63 in the low one.
pub(crate) const MAX_WORD: i32 = 127 * PLANE + 63;
/// What the high plane counts.
const PLANE: i32 = 128;

/// A query as the kernels read it: whole numbers of 15 bits, and the same split as `128 * high + low` into two planes of
/// bytes. What is beyond the dimensions is zero.
#[derive(Clone)]
pub(crate) struct Planes {
    pub(crate) words: Vec<Words>,
    pub(crate) high: Vec<Line>,
    pub(crate) low: Vec<Line>,
    /// 128 times the sum of the words: what the codes' bias adds to every product.
    pub(crate) bias: i32,
}

impl Planes {
    /// From whole numbers of at most [`MAX_WORD`] in magnitude.
    pub(crate) fn new(words: &[i16]) -> Self {
        let lines = words.len().div_ceil(64);
        let mut planes = Self {
            words: vec![Words([0; 64]); lines],
            high: vec![Line([0; 64]); lines],
            low: vec![Line([0; 64]); lines],
            bias: words.iter().fold(0i32, |sum, word| sum.wrapping_add(i32::from(*word) * i32::from(ZERO_CODE))),
        };
        for (at, word) in words.iter().enumerate() {
            debug_assert!(i32::from(*word).abs() <= MAX_WORD, "word {at} is {word}");
            // The low plane is -64 to 63: so both planes are i8.
            let high = (i32::from(*word) + PLANE / 2).div_euclid(PLANE);
            let low = i32::from(*word) - high * PLANE;
            planes.words[at / 64].0[at % 64] = *word;
            planes.high[at / 64].0[at % 64] = high as i8 as u8;
            planes.low[at / 64].0[at % 64] = low as i8 as u8;
        }
        planes
    }

    /// Lines of an entry.
    pub(crate) fn lines(&self) -> usize {
        self.words.len()
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

    /// The sum of word times code for some entries of a block, exact as long as it fits 32 bits, which the quantiser of the
    /// query sees to. What belongs to the others is left as it was.
    ///
    /// # Panics
    /// Unless `codes` holds a block.
    pub(crate) fn products(self, codes: &[Line], places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        assert_eq!(codes.len(), BLOCK * query.lines(), "an entry has as many lines as the query");
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

/// Entries of a block from which on the rows between them are read as well: then what lies ahead is worth fetching.
#[cfg(target_arch = "x86_64")]
const DENSE: u32 = 32;
/// Lines that are fetched ahead of the one in use: a page, where the processor's own foresight ends. 100,000 entries took
/// 2.7 ms without it and 1.8 ms with it; with half and with twice as many 2.5 and 2.0.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 64;

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

/// Asks for the line that will be wanted when those until then are done.
#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch_ahead(line: &Line) {
    hint((&raw const *line).wrapping_add(AHEAD));
}

/// Asks for lines that will be wanted soon. Where there is no such instruction for stable Rust it does nothing.
pub(crate) fn fetch(lines: &[Line]) {
    #[cfg(target_arch = "x86_64")]
    lines.iter().for_each(|line| hint(line));
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lines;
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn hint(line: *const Line) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint: the address is not read, and need not be one of ours.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Random;

    #[test]
    fn every_kernel_counts_as_the_definition_does() {
        let (mut random, mut masks) = (Random::new(7), Random::new(70));
        for dims in [1, 2, 63, 64, 65, 128, 200, 512, 513, 768, 1_000, 4_096] {
            for extreme in [false, true] {
                let lines = dims_lines(dims);
                // The greatest that the quantiser may choose for so many dimensions.
                let limit = MAX_WORD.min(i32::MAX / (127 * dims as i32));
                let mut draw = |limit: i32| {
                    let sign = if random.next() & 1 == 0 { 1 } else { -1 };
                    if extreme { limit * sign } else { (random.next() % (2 * limit as u64 + 1)) as i32 - limit }
                };
                let words: Vec<i16> = (0..dims).map(|_| draw(limit) as i16).collect();
                let mut codes: Vec<Vec<i8>> = Vec::new();
                for _ in 0..BLOCK {
                    codes.push((0..dims).map(|_| draw(127) as i8).collect());
                }
                if extreme {
                    codes[0] = words.iter().map(|word| if *word < 0 { -127 } else { 127 }).collect();
                }
                let expected: Vec<i32> = codes
                    .iter()
                    .map(|codes| {
                        let products = codes.iter().zip(&words).map(|(code, word)| i64::from(*code) * i64::from(*word));
                        i32::try_from(products.sum::<i64>()).expect("fits")
                    })
                    .collect();
                let packed: Vec<Line> = codes.iter().flat_map(|codes| pack(codes, lines)).collect();
                let planes = Planes::new(&words);
                for kernel in Kernel::available() {
                    for places in [0, 1, 1 << 63, 0b10110, u64::MAX, !1, u64::MAX >> 31, masks.next() & masks.next()] {
                        let mut out = [7; BLOCK];
                        kernel.products(&packed, places, &planes, &mut out);
                        for at in 0..BLOCK {
                            let right = if places >> at & 1 == 1 { expected[at] } else { 7 };
                            assert_eq!(
                                out[at], right,
                                "{kernel:?}, {dims} dims, {at} of {places:#x}, extreme {extreme}"
                            );
                        }
                    }
                }
            }
        }
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
            let planes = Planes::new(&[word as i16]);
            let (high, low) = (planes.high[0].0[0] as i8, planes.low[0].0[0] as i8);
            assert_eq!(i32::from(high) * PLANE + i32::from(low), word, "{word} = {high}, {low}");
        }
    }

    fn dims_lines(dims: usize) -> usize {
        dims.div_ceil(64)
    }

    fn pack(codes: &[i8], lines: usize) -> Vec<Line> {
        let mut packed = vec![Line([ZERO_CODE; 64]); lines];
        for (at, code) in codes.iter().enumerate() {
            packed[at / 64].0[at % 64] = (*code as u8) ^ ZERO_CODE;
        }
        packed
    }
}

//! Decides nothing that the scalar path does not: the same sums, 16 codes or 256 bits at a time with AVX2.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{between, distances, is_available, products, run};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run<W: super::Work>(work: W) -> W::Outcome {
    work.run()
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::scalar::{between, distances, products};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::kernel::{BLOCK, DENSE, Line, Octet, Planes, Work, fetch_ahead, take_places};

    /// Entries whose sums are kept at a time: they share what is loaded of the query.
    const TOGETHER: usize = 2;

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx2")
    }

    pub(in crate::kernel) fn products(codes: &[Line], places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { products_avx2(codes, places, query, out) }
    }

    pub(in crate::kernel) fn distances(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { distances_avx2(bits, query, out) }
    }

    pub(in crate::kernel) fn between(distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { between_avx2(distances, least, most) }
    }

    pub(in crate::kernel) fn run<W: Work>(work: W) -> W::Outcome {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { run_avx2(work) }
    }

    #[target_feature(enable = "avx2")]
    fn run_avx2<W: Work>(work: W) -> W::Outcome {
        work.run()
    }

    #[target_feature(enable = "avx2")]
    fn products_avx2(codes: &[Line], mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        let entry = |at: usize| &codes[at * query.lines()..][..query.lines()];
        let is_dense = places.count_ones() >= DENSE;
        while places.count_ones() as usize >= TOGETHER {
            let two: [usize; TOGETHER] = take_places(&mut places);
            let entries = two.map(entry);
            let sums =
                if is_dense { sums::<TOGETHER, true>(entries, query) } else { sums::<TOGETHER, false>(entries, query) };
            for (at, sum) in two.into_iter().zip(sums) {
                out[at] = sum;
            }
        }
        if places != 0 {
            let [at] = take_places(&mut places);
            [out[at]] = sums::<1, false>([entry(at)], query);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums<const N: usize, const ROW: bool>(entries: [&[Line]; N], query: &Planes) -> [i32; N] {
        let mut sums = [_mm256_setzero_si256(); N];
        for (line, words) in query.words.iter().enumerate() {
            if ROW {
                entries.iter().for_each(|entry| fetch_ahead(&entry[line]));
            }
            for quarter in 0..4 {
                let words = load_words(&words.0, quarter);
                for at in 0..N {
                    let products = _mm256_madd_epi16(load_codes(&entries[at][line], quarter), words);
                    sums[at] = _mm256_add_epi32(sums[at], products);
                }
            }
        }
        sums.map(|sum| across(sum).wrapping_sub(query.bias))
    }

    /// 16 codes, 128 too high, in 16 bits each: a product of two has room in 32, and the sum of a pair.
    #[target_feature(enable = "avx2")]
    fn load_codes(line: &Line, quarter: usize) -> __m256i {
        let (quarters, _) = line.0.as_chunks::<16>();
        // SAFETY: an array of 16 bytes is read, on whatever boundary.
        _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128((&raw const quarters[quarter]).cast()) })
    }

    #[target_feature(enable = "avx2")]
    fn load_words(words: &[i16; 64], quarter: usize) -> __m256i {
        let (quarters, _) = words.as_chunks::<16>();
        // SAFETY: an array of 32 bytes is read, on whatever boundary.
        unsafe { _mm256_loadu_si256((&raw const quarters[quarter]).cast()) }
    }

    /// The sum of eight, modulo 2^32.
    #[target_feature(enable = "avx2")]
    fn across(sums: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[target_feature(enable = "avx2")]
    fn distances_avx2(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        for (octets, out) in bits.chunks_exact(query.len()).zip(out.chunks_exact_mut(8)) {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (octet, query) in octets.iter().zip(query) {
                let query = _mm256_set1_epi64x(*query as i64);
                for (half, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_epi64(*sum, ones(_mm256_xor_si256(load_bits(octet, half), query)));
                }
            }
            for (out, sum) in out.chunks_exact_mut(4).zip(sums) {
                out[0] = _mm256_extract_epi64::<0>(sum) as u16;
                out[1] = _mm256_extract_epi64::<1>(sum) as u16;
                out[2] = _mm256_extract_epi64::<2>(sum) as u16;
                out[3] = _mm256_extract_epi64::<3>(sum) as u16;
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn load_bits(octet: &Octet, half: usize) -> __m256i {
        let (halves, _) = octet.0.as_chunks::<4>();
        // SAFETY: an array of 32 bytes is read, on whatever boundary.
        unsafe { _mm256_loadu_si256((&raw const halves[half]).cast()) }
    }

    /// How many bits of each 64 are set: by half a byte from a table, then bytes added up (Mula, Kurz and Lemire 2018).
    #[target_feature(enable = "avx2")]
    fn ones(bits: __m256i) -> __m256i {
        let table = _mm256_setr_epi8(
            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
        );
        let nibble = _mm256_set1_epi8(0x0f);
        let low = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble));
        let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), nibble));
        _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
    }

    #[target_feature(enable = "avx2")]
    fn between_avx2(distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
        let (quarters, _) = distances.as_chunks::<16>();
        let width = _mm256_set1_epi16((most - least) as i16);
        let inside = |quarter: usize| {
            // SAFETY: an array of 32 bytes is read, on whatever boundary.
            let distances = unsafe { _mm256_loadu_si256((&raw const quarters[quarter]).cast()) };
            let above = _mm256_sub_epi16(distances, _mm256_set1_epi16(least as i16));
            // There is no comparison without sign: what is no greater than the width is the lesser of the two.
            _mm256_cmpeq_epi16(_mm256_min_epu16(above, width), above)
        };
        let half = |first: usize| {
            // Packing takes the halves of its two in turn; the permutation puts them in order again.
            let packed = _mm256_packs_epi16(inside(first), inside(first + 1));
            _mm256_movemask_epi8(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed)) as u32
        };
        u64::from(half(0)) | u64::from(half(2)) << 32
    }
}

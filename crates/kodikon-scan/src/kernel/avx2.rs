//! Decides nothing that the scalar path does not: the same sums, 16 codes or 256 bits at a time with AVX2.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{distances, is_available, products};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::scalar::{distances, products};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::kernel::{Line, Octet, Planes, fetch_ahead};

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx2")
    }

    pub(in crate::kernel) fn products(codes: &[Line], query: &Planes, out: &mut [i32]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { products_avx2(codes, query, out) }
    }

    pub(in crate::kernel) fn distances(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { distances_avx2(bits, query, out) }
    }

    /// Two entries at a time share what is loaded of the query.
    #[target_feature(enable = "avx2")]
    fn products_avx2(codes: &[Line], query: &Planes, out: &mut [i32]) {
        let lines = query.lines();
        for (entries, out) in codes.chunks(2 * lines).zip(out.chunks_mut(2)) {
            let (first, second) = entries.split_at(lines);
            let mut sums = [_mm256_setzero_si256(); 2];
            for (line, words) in query.words.iter().enumerate() {
                fetch_ahead(&first[line]);
                for quarter in 0..4 {
                    let words = load_words(&words.0, quarter);
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(load_codes(&first[line], quarter), words));
                    if let Some(second) = second.get(line) {
                        fetch_ahead(second);
                        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(load_codes(second, quarter), words));
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = across(sum).wrapping_sub(query.bias);
            }
        }
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
}

//! Decides nothing that the scalar path does not: the same sums, 64 codes or 512 bits at a time with AVX-512.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{between, distances, is_available, products};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::scalar::{between, distances, products};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::kernel::{BLOCK, DENSE, Line, Octet, Planes, fetch_ahead, take_places};

    /// Entries whose sums are kept at a time: they share what is loaded of the query, and their chains of additions overlap.
    const TOGETHER: usize = 4;

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vpopcntdq")
    }

    pub(in crate::kernel) fn products(codes: &[Line], places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { products_avx512(codes, places, query, out) }
    }

    pub(in crate::kernel) fn distances(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { distances_avx512(bits, query, out) }
    }

    pub(in crate::kernel) fn between(distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { between_avx512(distances, least, most) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn products_avx512(codes: &[Line], mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        let entry = |at: usize| &codes[at * query.lines()..][..query.lines()];
        let is_dense = places.count_ones() >= DENSE;
        while places.count_ones() as usize >= TOGETHER {
            let four: [usize; TOGETHER] = take_places(&mut places);
            let entries = four.map(entry);
            let sums =
                if is_dense { sums::<TOGETHER, true>(entries, query) } else { sums::<TOGETHER, false>(entries, query) };
            for (at, sum) in four.into_iter().zip(sums) {
                out[at] = sum;
            }
        }
        while places != 0 {
            let [at] = take_places(&mut places);
            [out[at]] = sums::<1, false>([entry(at)], query);
        }
    }

    /// VPDPBUSD multiplies unsigned by signed bytes: the codes lie 128 too high, and the query comes in two planes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn sums<const N: usize, const ROW: bool>(entries: [&[Line]; N], query: &Planes) -> [i32; N] {
        let mut high = [_mm512_setzero_si512(); N];
        let mut low = high;
        for (line, (high_plane, low_plane)) in query.high.iter().zip(&query.low).enumerate() {
            let (high_plane, low_plane) = (load(&high_plane.0), load(&low_plane.0));
            for at in 0..N {
                if ROW {
                    fetch_ahead(&entries[at][line]);
                }
                let codes = load(&entries[at][line].0);
                high[at] = _mm512_dpbusd_epi32(high[at], codes, high_plane);
                low[at] = _mm512_dpbusd_epi32(low[at], codes, low_plane);
            }
        }
        let mut out = [0; N];
        for at in 0..N {
            let both = _mm512_add_epi32(_mm512_slli_epi32::<7>(high[at]), low[at]);
            out[at] = _mm512_reduce_add_epi32(both).wrapping_sub(query.bias);
        }
        out
    }

    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    fn distances_avx512(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        let (groups, _) = out.as_chunks_mut::<8>();
        for (octets, out) in bits.chunks_exact(query.len()).zip(groups) {
            let mut sum = _mm512_setzero_si512();
            for (octet, query) in octets.iter().zip(query) {
                let differing = _mm512_xor_si512(load_bits(&octet.0), _mm512_set1_epi64(*query as i64));
                sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differing));
            }
            store(out, _mm512_cvtepi64_epi16(sum));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(line: &[u8; 64]) -> __m512i {
        // SAFETY: an array of 64 bytes is read, on whatever boundary.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_bits(octet: &[u64; 8]) -> __m512i {
        // SAFETY: an array of 64 bytes is read, on whatever boundary.
        unsafe { _mm512_loadu_si512(octet.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(into: &mut [u16; 8], values: __m128i) {
        // SAFETY: an array of 16 bytes is written, on whatever boundary.
        unsafe { _mm_storeu_si128(into.as_mut_ptr().cast(), values) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn between_avx512(distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
        let (halves, _) = distances.as_chunks::<32>();
        let inside = |half: usize| {
            // SAFETY: an array of 64 bytes is read, on whatever boundary.
            let distances = unsafe { _mm512_loadu_si512((&raw const halves[half]).cast()) };
            let above = _mm512_sub_epi16(distances, _mm512_set1_epi16(least as i16));
            u64::from(_mm512_cmple_epu16_mask(above, _mm512_set1_epi16((most - least) as i16)))
        };
        inside(0) | inside(1) << 32
    }
}

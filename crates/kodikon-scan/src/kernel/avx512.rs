//! Decides nothing that the scalar path does not: the same sums, 64 codes or 512 bits at a time with AVX-512.

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

    /// Entries whose sums are kept at a time: they share what is loaded of the query, and their chains of additions overlap.
    const TOGETHER: usize = 4;

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vpopcntdq")
    }

    pub(in crate::kernel) fn products(codes: &[Line], query: &Planes, out: &mut [i32]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { products_avx512(codes, query, out) }
    }

    pub(in crate::kernel) fn distances(bits: &[Octet], query: &[u64], out: &mut [u16]) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { distances_avx512(bits, query, out) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn products_avx512(codes: &[Line], query: &Planes, out: &mut [i32]) {
        let lines = query.lines();
        let (groups, rest) = out.as_chunks_mut::<TOGETHER>();
        let (together, apart) = codes.split_at(groups.len() * TOGETHER * lines);
        for (entries, out) in together.chunks_exact(TOGETHER * lines).zip(groups) {
            *out = sums::<TOGETHER>(entries, query);
        }
        for (entry, out) in apart.chunks_exact(lines).zip(rest) {
            [*out] = sums::<1>(entry, query);
        }
    }

    /// VPDPBUSD multiplies unsigned by signed bytes: the codes lie 128 too high, and the query comes in two planes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn sums<const N: usize>(entries: &[Line], query: &Planes) -> [i32; N] {
        let lines = query.lines();
        let mut high = [_mm512_setzero_si512(); N];
        let mut low = high;
        for (line, (high_plane, low_plane)) in query.high.iter().zip(&query.low).enumerate() {
            let (high_plane, low_plane) = (load(&high_plane.0), load(&low_plane.0));
            for entry in 0..N {
                let codes = load(&entries[entry * lines + line].0);
                fetch_ahead(&entries[entry * lines + line]);
                high[entry] = _mm512_dpbusd_epi32(high[entry], codes, high_plane);
                low[entry] = _mm512_dpbusd_epi32(low[entry], codes, low_plane);
            }
        }
        let mut out = [0; N];
        for entry in 0..N {
            let both = _mm512_add_epi32(_mm512_slli_epi32::<7>(high[entry]), low[entry]);
            out[entry] = _mm512_reduce_add_epi32(both).wrapping_sub(query.bias);
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
}

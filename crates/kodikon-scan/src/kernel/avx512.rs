//! Decides nothing that the scalar path does not: the same sums, 64 codes or 512 bits at a time with AVX-512.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{between, coarse, distances, is_available, products, reaching};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::scalar::{between, coarse, distances, products, reaching};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::bound::{Estimates, Test};
    use crate::kernel::{Ahead, BLOCK, COARSE_STEP, Codes, DENSE, Line, Octet, Planes, fetch, take_places};

    /// Entries whose sums are kept at a time: they share what is loaded of the query, and their chains of additions overlap.
    const TOGETHER: usize = 4;

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vpopcntdq")
    }

    pub(in crate::kernel) fn coarse(
        coarse: &[Line],
        ahead: Ahead<'_>,
        places: u64,
        query: &Planes,
        out: &mut [i32; BLOCK],
    ) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { coarse_avx512(coarse, ahead, places, query, out) }
    }

    pub(in crate::kernel) fn reaching(estimates: Estimates<'_>, test: Test) -> u64 {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has what the function uses, as was just asked.
        unsafe { reaching_avx512(estimates, test) }
    }

    pub(in crate::kernel) fn products(codes: Codes<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
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
    fn coarse_avx512(coarse: &[Line], ahead: Ahead<'_>, mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        let lines = query.lines();
        if places.count_ones() >= DENSE {
            let mut ahead = ahead.0.chunks(TOGETHER * lines).chain(ahead.1.chunks(TOGETHER * lines));
            for (out, four) in out.as_chunks_mut().0.iter_mut().zip(coarse.chunks_exact(TOGETHER * lines)) {
                fetch(ahead.next().unwrap_or_default());
                let (front, back) = four.split_at(2 * lines);
                let ((a, b), (c, d)) = (front.split_at(lines), back.split_at(lines));
                *out = coarse_sums([a, b, c, d], query);
            }
            return;
        }
        while places != 0 {
            let [at] = take_places(&mut places);
            [out[at]] = coarse_sums([&coarse[at * lines..][..lines]], query);
        }
    }

    /// VPDPBUSD multiplies unsigned by signed bytes, which half a code and a byte of the query are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn coarse_sums<const N: usize>(entries: [&[Line]; N], query: &Planes) -> [i32; N] {
        let half_code = _mm512_set1_epi8(15);
        let mut sums = [[_mm512_setzero_si512(); 2]; N];
        for (line, [low, high]) in query.bytes.as_chunks().0.iter().enumerate() {
            let (low, high) = (load(&low.0), load(&high.0));
            for (entry, [first, second]) in entries.iter().zip(&mut sums) {
                let both = load(&entry[line].0);
                let shifted = _mm512_srli_epi16::<4>(both);
                *first = _mm512_dpbusd_epi32(*first, _mm512_and_si512(both, half_code), low);
                *second = _mm512_dpbusd_epi32(*second, _mm512_and_si512(shifted, half_code), high);
            }
        }
        let mut out = [0; N];
        for (out, [first, second]) in out.iter_mut().zip(sums) {
            *out = COARSE_STEP * _mm512_reduce_add_epi32(_mm512_add_epi32(first, second)) - query.coarse_bias;
        }
        out
    }

    #[target_feature(enable = "avx512f")]
    fn reaching_avx512(estimates: Estimates<'_>, test: Test) -> u64 {
        let (scale, cos, sin) = (_mm512_set1_ps(estimates.scale), _mm512_set1_ps(test.cos), _mm512_set1_ps(test.sin));
        let (products, _) = estimates.products.as_chunks::<16>();
        let (scales, tans) = (estimates.scales.as_chunks::<16>().0, estimates.tans.as_chunks::<16>().0);
        let mut places = 0;
        for sixteen in (0..BLOCK / 16).rev() {
            // SAFETY: an array of 64 bytes is read, on whatever boundary.
            let products = _mm512_cvtepi32_ps(unsafe { _mm512_loadu_si512((&raw const products[sixteen]).cast()) });
            let estimate = _mm512_mul_ps(_mm512_mul_ps(products, scale), load_floats(&scales[sixteen]));
            let least = _mm512_sub_ps(cos, _mm512_mul_ps(sin, load_floats(&tans[sixteen])));
            places = places << 16 | u64::from(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(estimate, least));
        }
        places
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn products_avx512(codes: Codes<'_>, mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        while places != 0 {
            let [at] = take_places(&mut places);
            let lines = at * query.lines()..(at + 1) * query.lines();
            out[at] = sum(&codes.coarse[lines.clone()], &codes.fine[lines], query);
        }
    }

    /// The codes are put together again. They lie 128 too high, and the query comes in two planes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn sum(coarse: &[Line], fine: &[Line], query: &Planes) -> i32 {
        let half_code = _mm512_set1_epi8(15);
        let mut high = [_mm512_setzero_si512(); 2];
        let mut low = high;
        let planes = query.high.as_chunks::<2>().0.iter().zip(query.low.as_chunks::<2>().0);
        for ((coarse, fine), (high_planes, low_planes)) in coarse.iter().zip(fine).zip(planes) {
            let (coarse, fine) = (load(&coarse.0), load(&fine.0));
            // A byte's halves are moved within 16 bits; what comes from the neighbour is masked away.
            let first = _mm512_or_si512(
                _mm512_slli_epi16::<4>(_mm512_and_si512(coarse, half_code)),
                _mm512_and_si512(fine, half_code),
            );
            let second = _mm512_or_si512(
                _mm512_andnot_si512(half_code, coarse),
                _mm512_and_si512(_mm512_srli_epi16::<4>(fine), half_code),
            );
            for (at, codes) in [first, second].into_iter().enumerate() {
                high[at] = _mm512_dpbusd_epi32(high[at], codes, load(&high_planes[at].0));
                low[at] = _mm512_dpbusd_epi32(low[at], codes, load(&low_planes[at].0));
            }
        }
        let (high, low) = (_mm512_add_epi32(high[0], high[1]), _mm512_add_epi32(low[0], low[1]));
        _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_slli_epi32::<7>(high), low)).wrapping_sub(query.bias)
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
    fn load_floats(sixteen: &[f32; 16]) -> __m512 {
        // SAFETY: an array of 64 bytes is read, on whatever boundary.
        unsafe { _mm512_loadu_ps(sixteen.as_ptr()) }
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

//! Decides nothing that the scalar path does not: the same sums, 16 codes or 256 bits at a time with AVX2.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{between, coarse, distances, is_available, products, reaching, run};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run<W: super::Work>(work: W) -> W::Outcome {
    work.run()
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::scalar::{between, coarse, distances, products, reaching};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::bound::{Estimates, Test};
    use crate::kernel::{
        Ahead, BLOCK, COARSE_STEP, Codes, DENSE, Line, Octet, Planes, Words, Work, fetch, take_places,
    };

    /// Entries whose sums are kept at a time: they share what is loaded of the query, and are added up across together.
    const TOGETHER: usize = 4;

    pub(in crate::kernel) fn is_available() -> bool {
        is_x86_feature_detected!("avx2")
    }

    pub(in crate::kernel) fn coarse(
        coarse: &[Line],
        ahead: Ahead<'_>,
        places: u64,
        query: &Planes,
        out: &mut [i32; BLOCK],
    ) {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { coarse_avx2(coarse, ahead, places, query, out) }
    }

    pub(in crate::kernel) fn reaching(estimates: Estimates<'_>, test: Test) -> u64 {
        assert!(is_available(), "chosen only where it was found");
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { reaching_avx2(estimates, test) }
    }

    pub(in crate::kernel) fn products(codes: Codes<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
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
    fn coarse_avx2(coarse: &[Line], ahead: Ahead<'_>, mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        let lines = query.lines();
        if places.count_ones() >= DENSE {
            let mut ahead = ahead.0.chunks(TOGETHER * lines).chain(ahead.1.chunks(TOGETHER * lines));
            for (out, four) in out.as_chunks_mut().0.iter_mut().zip(coarse.chunks_exact(TOGETHER * lines)) {
                fetch(ahead.next().unwrap_or_default());
                let (front, back) = four.split_at(2 * lines);
                let ((a, b), (c, d)) = (front.split_at(lines), back.split_at(lines));
                let sums = across_four(coarse_sums([a, b, c, d], &query.bytes));
                *out = sums.map(|sum| COARSE_STEP * sum - query.coarse_bias);
            }
            return;
        }
        while places != 0 {
            let [at] = take_places(&mut places);
            let [sum] = coarse_sums([&coarse[at * lines..][..lines]], &query.bytes);
            out[at] = COARSE_STEP * across(sum) - query.coarse_bias;
        }
    }

    /// A product of half a code and a byte is at most 15 x 127 = 1,905, so eight of them have room in 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn coarse_sums<const N: usize>(entries: [&[Line]; N], query: &[Line]) -> [__m256i; N] {
        let (half_code, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); N];
        for (line, [low, high]) in query.as_chunks().0.iter().enumerate() {
            let mut pairs = [_mm256_setzero_si256(); N];
            for half in 0..2 {
                let (low, high) = (load(low, half), load(high, half));
                for at in 0..N {
                    let both = load(&entries[at][line], half);
                    let first = _mm256_maddubs_epi16(_mm256_and_si256(both, half_code), low);
                    let shifted = _mm256_srli_epi16::<4>(both);
                    let second = _mm256_maddubs_epi16(_mm256_and_si256(shifted, half_code), high);
                    pairs[at] = _mm256_add_epi16(pairs[at], _mm256_add_epi16(first, second));
                }
            }
            for at in 0..N {
                sums[at] = _mm256_add_epi32(sums[at], _mm256_madd_epi16(pairs[at], ones));
            }
        }
        sums
    }

    #[target_feature(enable = "avx2")]
    fn load(line: &Line, half: usize) -> __m256i {
        let (halves, _) = line.0.as_chunks::<32>();
        // SAFETY: an array of 32 bytes is read, on whatever boundary.
        unsafe { _mm256_loadu_si256((&raw const halves[half]).cast()) }
    }

    /// The sums of eight each.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn across_four([a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
        let both = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let four = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
        [
            _mm_extract_epi32::<0>(four),
            _mm_extract_epi32::<1>(four),
            _mm_extract_epi32::<2>(four),
            _mm_extract_epi32::<3>(four),
        ]
    }

    #[target_feature(enable = "avx2")]
    fn reaching_avx2(estimates: Estimates<'_>, test: Test) -> u64 {
        let (scale, cos, sin) = (_mm256_set1_ps(estimates.scale), _mm256_set1_ps(test.cos), _mm256_set1_ps(test.sin));
        let (products, _) = estimates.products.as_chunks::<8>();
        let (scales, tans) = (estimates.scales.as_chunks::<8>().0, estimates.tans.as_chunks::<8>().0);
        let mut places = 0;
        for eight in (0..BLOCK / 8).rev() {
            // SAFETY: an array of 32 bytes is read, on whatever boundary.
            let products = _mm256_cvtepi32_ps(unsafe { _mm256_loadu_si256((&raw const products[eight]).cast()) });
            let estimate = _mm256_mul_ps(_mm256_mul_ps(products, scale), load_floats(&scales[eight]));
            let least = _mm256_sub_ps(cos, _mm256_mul_ps(sin, load_floats(&tans[eight])));
            let reach = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(estimate, least));
            places = places << 8 | u64::from(reach as u8);
        }
        places
    }

    #[target_feature(enable = "avx2")]
    fn load_floats(eight: &[f32; 8]) -> __m256 {
        // SAFETY: an array of 32 bytes is read, on whatever boundary.
        unsafe { _mm256_loadu_ps(eight.as_ptr()) }
    }

    #[target_feature(enable = "avx2")]
    fn products_avx2(codes: Codes<'_>, mut places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
        let lines = query.lines();
        while places.count_ones() > 1 {
            let [a, b] = take_places(&mut places);
            let coarse = [&codes.coarse[a * lines..][..lines], &codes.coarse[b * lines..][..lines]];
            let fine = [&codes.fine[a * lines..][..lines], &codes.fine[b * lines..][..lines]];
            [out[a], out[b]] = sums(coarse, fine, query);
        }
        if places != 0 {
            let [at] = take_places(&mut places);
            [out[at]] = sums([&codes.coarse[at * lines..][..lines]], [&codes.fine[at * lines..][..lines]], query);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums<const N: usize>(coarse: [&[Line]; N], fine: [&[Line]; N], query: &Planes) -> [i32; N] {
        let half_code = _mm256_set1_epi8(15);
        let mut sums = [_mm256_setzero_si256(); N];
        for (line, [low, high]) in query.apart.as_chunks().0.iter().enumerate() {
            for half in 0..2 {
                for at in 0..N {
                    let (coarse, fine) = (load(&coarse[at][line], half), load(&fine[at][line], half));
                    // A byte's halves are moved within 16 bits; what comes from the neighbour is masked away.
                    let first = _mm256_or_si256(
                        _mm256_slli_epi16::<4>(_mm256_and_si256(coarse, half_code)),
                        _mm256_and_si256(fine, half_code),
                    );
                    let second = _mm256_or_si256(
                        _mm256_andnot_si256(half_code, coarse),
                        _mm256_and_si256(_mm256_srli_epi16::<4>(fine), half_code),
                    );
                    let both = _mm256_add_epi32(products_of(first, low, half), products_of(second, high, half));
                    sums[at] = _mm256_add_epi32(sums[at], both);
                }
            }
        }
        let mut out = [0; N];
        for at in 0..N {
            out[at] = across(sums[at]).wrapping_sub(query.bias);
        }
        out
    }

    /// Of 32 codes, 128 too high, first the even ones and then the odd ones, in 16 bits each: a product of two has room in 32, and the
    /// sum of four.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products_of(codes: __m256i, words: &Words, half: usize) -> __m256i {
        let even = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
        let odd = _mm256_srli_epi16::<8>(codes);
        _mm256_add_epi32(
            _mm256_madd_epi16(even, load_words(&words.0, 2 * half)),
            _mm256_madd_epi16(odd, load_words(&words.0, 2 * half + 1)),
        )
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

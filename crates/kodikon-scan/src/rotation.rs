//! Decides how an embedding is turned before its codes and signs are taken: by one fixed rotation, so that no dimension counts
//! more than another and numbers that are all positive have signs too.

use crate::sketch::greatest;

/// The tangent of the greatest angle between what comes of a rotation in `f32` and what would come of it without rounding: 2^-17. The
/// proof is in `docs/machines/search.md`.
pub(crate) const ROUNDING_TAN: f64 = 1.0 / (1u64 << 17) as f64;

/// Flips signs by these seeds, for ever: bits of two nodes are never compared, those of one run always. Three times: where an
/// embedding uses few of its dimensions, one turn mixes these into few different sums only, and the signs repeat each other.
const SEEDS: [u64; 3] = [0x006b_6f64_696b_6f6e, 0x9216_d5d9_8979_fb1b, 0xd131_0ba6_98df_b5ac];

/// Flips signs without pattern and mixes by the Walsh-Hadamard transform (Ailon and Chazelle 2009; three times: Andoni,
/// Indyk, Laarhoven, Razenshteyn and Schmidt 2015). Where the dimensions are no power of two, first the front and then the
/// back are mixed, which overlap.
#[inline(always)]
fn rotate(numbers: &mut [f32]) {
    let dims = numbers.len();
    let width = 1 << dims.ilog2();
    for seed in SEEDS {
        flip(numbers, seed);
        mix(&mut numbers[..width]);
        if width < dims {
            flip(numbers, !seed);
            mix(&mut numbers[dims - width..]);
        }
    }
}

/// The numbers, of a largest of 1 so that nothing overflows on the way, and rotated.
#[inline(always)]
pub(crate) fn turn(numbers: &mut [f32]) {
    let inverse = 1.0 / f64::from(greatest(numbers));
    numbers.iter_mut().for_each(|number| *number = (f64::from(*number) * inverse) as f32);
    rotate(numbers);
}

/// A bit a number, set where it is below zero: a word for 64 of them.
#[inline(always)]
pub(crate) fn signs(numbers: &[f32], into: &mut Vec<u64>) {
    for chunk in numbers.chunks(64) {
        let mut below = [0u8; 64];
        for (below, number) in below.iter_mut().zip(chunk) {
            *below = u8::from(*number < 0.0);
        }
        let bytes = below.as_chunks().0.iter().enumerate();
        into.push(bytes.fold(0, |word, (at, eight)| word | gathered(*eight) << (8 * at)));
    }
}

/// The lowest bits of eight bytes, the first byte's the lowest: each is multiplied to its place in the highest byte, and no two
/// products meet.
#[inline(always)]
fn gathered(eight: [u8; 8]) -> u64 {
    u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[inline(always)]
fn flip(numbers: &mut [f32], seed: u64) {
    for (at, chunk) in numbers.chunks_mut(64).enumerate() {
        let mut bits = (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^= bits >> 32;
        for (at, number) in chunk.iter_mut().enumerate() {
            // The sign bit alone: no branch, and the same on every computer.
            *number = f32::from_bits(number.to_bits() ^ ((bits >> at & 1) as u32) << 31);
        }
    }
}

/// The transform without its factor, which changes no sign, but for keeping numbers in range: the length stays.
#[inline(always)]
fn mix(numbers: &mut [f32]) {
    let len = numbers.len();
    let mut half = 1;
    if len >= 8 {
        // The first three rounds within a register each: as loops of one, two and four numbers they took two thirds of the time.
        for eight in numbers.as_chunks_mut().0 {
            *eight = halves::<4>(halves::<2>(halves::<1>(*eight)));
        }
        half = 8;
    }
    while half < len {
        for block in numbers.chunks_exact_mut(2 * half) {
            let (front, back) = block.split_at_mut(half);
            for (a, b) in front.iter_mut().zip(back) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let factor = 1.0 / (len as f32).sqrt();
    numbers.iter_mut().for_each(|number| *number *= factor);
}

/// One round among eight: sums and differences of those that lie so far apart.
#[inline(always)]
fn halves<const APART: usize>(eight: [f32; 8]) -> [f32; 8] {
    std::array::from_fn(|at| {
        let (a, b) = (eight[at & !APART], eight[at | APART]);
        if at & APART == 0 { a + b } else { a - b }
    })
}

/// The rotation without rounding, as far as `f64` goes, and its reverse.
#[cfg(test)]
pub(crate) mod plain {
    use super::{SEEDS, flip};

    pub(crate) fn rotated(mut numbers: Vec<f64>) -> Vec<f64> {
        let (dims, width) = (numbers.len(), 1 << numbers.len().ilog2());
        for seed in SEEDS {
            flipped(&mut numbers, seed);
            mixed(&mut numbers[..width]);
            if width < dims {
                flipped(&mut numbers, !seed);
                mixed(&mut numbers[dims - width..]);
            }
        }
        numbers
    }

    /// Each step is its own reverse.
    pub(crate) fn rotated_back(mut numbers: Vec<f64>) -> Vec<f64> {
        let (dims, width) = (numbers.len(), 1 << numbers.len().ilog2());
        for seed in SEEDS.into_iter().rev() {
            if width < dims {
                mixed(&mut numbers[dims - width..]);
                flipped(&mut numbers, !seed);
            }
            mixed(&mut numbers[..width]);
            flipped(&mut numbers, seed);
        }
        numbers
    }

    fn flipped(numbers: &mut [f64], seed: u64) {
        let mut ones = vec![1.0; numbers.len()];
        flip(&mut ones, seed);
        numbers.iter_mut().zip(ones).for_each(|(number, one)| *number *= f64::from(one));
    }

    fn mixed(numbers: &mut [f64]) {
        let mut half = 1;
        while half < numbers.len() {
            for block in numbers.chunks_exact_mut(2 * half) {
                let (front, back) = block.split_at_mut(half);
                for (a, b) in front.iter_mut().zip(back) {
                    (*a, *b) = ((*a + *b) * 0.5f64.sqrt(), (*a - *b) * 0.5f64.sqrt());
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Random;

    fn bits_of(numbers: &[f32]) -> Vec<u64> {
        let mut bits = Vec::new();
        signs(numbers, &mut bits);
        bits
    }

    #[test]
    fn a_bit_is_set_for_each_number_below_zero_and_for_no_other() {
        let numbers: Vec<f32> =
            (0..200).map(|at: i32| if (at * at) % 7 == 2 { -1.0 } else { [0.0, -0.0, 3.0][at as usize % 3] }).collect();
        let bits = bits_of(&numbers);
        assert_eq!(bits.len(), 4);
        for at in 0..256 {
            let is_below = numbers.get(at).is_some_and(|number| *number < 0.0);
            assert_eq!(bits[at / 64] >> (at % 64) & 1 == 1, is_below, "{at}");
        }
    }

    #[test]
    fn a_rotation_keeps_lengths_and_angles_whatever_the_dimensions() {
        let mut random = Random::new(5);
        for dims in [1, 2, 3, 63, 64, 100, 512, 768, 4_095] {
            let [a, b]: [Vec<f32>; 2] = std::array::from_fn(|_| (0..dims).map(|_| random.normal() as f32).collect());
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (mut turned_a, mut turned_b) = (a.clone(), b.clone());
            rotate(&mut turned_a);
            rotate(&mut turned_b);
            let scale = product(&a, &a).sqrt() * product(&b, &b).sqrt();
            let off = (product(&a, &b) - product(&turned_a, &turned_b)).abs() / scale;
            assert!(off < 1e-5, "{dims}: off by {off}");
            assert!((product(&turned_a, &turned_a) / product(&a, &a) - 1.0).abs() < 1e-5, "{dims}: the length");
        }
    }

    #[test]
    fn a_rotation_is_off_by_no_greater_an_angle_than_is_said() {
        let (mut random, mut greatest) = (Random::new(12), 0.0f64);
        for dims in [1, 2, 3, 5, 64, 100, 512, 768, 1_536, 4_095, 4_096] {
            for spread in [0, 3, 37] {
                // Of all magnitudes that there are, and one alone.
                let numbers: Vec<f32> = (0..dims)
                    .map(|_| {
                        (random.normal() * 10f64.powi((random.next() % (2 * spread + 1)) as i32 - spread as i32)) as f32
                    })
                    .collect();
                let mut turned = numbers.clone();
                turn(&mut turned);
                let exact = plain::rotated(numbers.iter().map(|number| f64::from(*number)).collect());
                let again = plain::rotated_back(exact.clone());
                let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
                let same = |(number, again): (&f32, &f64)| (f64::from(*number) - again).abs() <= 1e-12 * length;
                assert!(numbers.iter().zip(&again).all(same), "{dims}: and back");
                let turned: Vec<f64> = turned.into_iter().map(f64::from).collect();
                let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let multiple = product(&turned, &exact) / product(&exact, &exact);
                let rest: Vec<f64> = turned.iter().zip(&exact).map(|(a, b)| a - multiple * b).collect();
                let tan = (product(&rest, &rest) / product(&exact, &exact)).sqrt() / multiple;
                assert!(multiple > 0.0 && tan < ROUNDING_TAN, "{dims}, spread {spread}: {tan:e}");
                greatest = greatest.max(tan);
            }
        }
        assert!(greatest > 1e-8, "f32 is not exact: {greatest:e}");
    }

    #[test]
    fn signs_differ_as_the_angle_says_even_where_all_numbers_are_positive() {
        let mut random = Random::new(6);
        for dims in [512, 768] {
            let mut entries: Vec<Vec<f32>> = Vec::new();
            for _ in 0..60 {
                entries.push((0..dims).map(|_| random.normal().abs() as f32).collect());
            }
            let words: Vec<Vec<u64>> = entries
                .iter()
                .map(|entry| {
                    let mut turned = entry.clone();
                    rotate(&mut turned);
                    bits_of(&turned)
                })
                .collect();
            let (mut differing, mut expected) = (0.0, 0.0);
            for a in 0..60 {
                for b in 0..a {
                    differing +=
                        words[a].iter().zip(&words[b]).map(|(a, b)| f64::from((a ^ b).count_ones())).sum::<f64>();
                    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                    let (a, b) = (&entries[a][..], &entries[b][..]);
                    expected += dims as f64 * (product(a, b) / (product(a, a) * product(b, b)).sqrt()).acos()
                        / std::f64::consts::PI;
                }
            }
            // What they have in common is turned once: that alone may be off by a deviation of 1 / √dims, here 4 %.
            assert!(
                (differing / expected - 1.0).abs() < 0.12,
                "{dims}: {differing} signs differ, by the angles {expected}"
            );
        }
    }
}

//! Decides what the kernels answer: plain loops over whole numbers, which every other path must equal.

use super::{BLOCK, Line, Octet, Planes};

pub(super) fn products(codes: &[Line], places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
    for (at, (entry, out)) in codes.chunks_exact(query.lines()).zip(out).enumerate() {
        if places >> at & 1 == 0 {
            continue;
        }
        let mut sum = 0i32;
        for (codes, words) in entry.iter().zip(&query.words) {
            for (code, word) in codes.0.iter().zip(&words.0) {
                // Codes lie 128 too high; what that adds is taken away at the end. What overflows on the way comes back.
                sum = sum.wrapping_add(i32::from(*code) * i32::from(*word));
            }
        }
        *out = sum.wrapping_sub(query.bias);
    }
}

pub(super) fn distances(bits: &[Octet], query: &[u64], out: &mut [u16]) {
    for (octets, out) in bits.chunks_exact(query.len()).zip(out.chunks_exact_mut(8)) {
        let mut sums = [0u16; 8];
        for (octet, query) in octets.iter().zip(query) {
            for (sum, bits) in sums.iter_mut().zip(octet.0) {
                *sum += (bits ^ query).count_ones() as u16;
            }
        }
        out.copy_from_slice(&sums);
    }
}

pub(super) fn between(distances: &[u16; BLOCK], least: u16, most: u16) -> u64 {
    let inside = |distance: &u16| u16::from(distance.wrapping_sub(least) <= most - least);
    // Mostly none: adding up without a branch finds that out several at a time.
    if distances.iter().map(inside).sum::<u16>() == 0 {
        return 0;
    }
    distances.iter().rev().fold(0, |places, distance| places << 1 | u64::from(inside(distance)))
}

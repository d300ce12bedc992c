//! Decides what the kernels answer: plain loops over whole numbers, which every other path must equal.

use super::{Ahead, BLOCK, COARSE_STEP, Codes, Line, Octet, Planes, fetch};
use crate::bound::{Estimates, Test};

pub(super) fn coarse(coarse: &[Line], ahead: Ahead<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
    fetch(ahead.0);
    fetch(ahead.1);
    for (at, (entry, out)) in coarse.chunks_exact(query.lines()).zip(out).enumerate() {
        if places >> at & 1 == 0 {
            continue;
        }
        let mut sum = 0i32;
        for (halves, [low, high]) in entry.iter().zip(query.bytes.as_chunks().0) {
            for ((both, low), high) in halves.0.iter().zip(&low.0).zip(&high.0) {
                sum += i32::from(both & 15) * i32::from(*low as i8) + i32::from(both >> 4) * i32::from(*high as i8);
            }
        }
        *out = COARSE_STEP * sum - query.coarse_bias;
    }
}

pub(super) fn reaching(estimates: Estimates<'_>, test: Test) -> u64 {
    (0..BLOCK).rev().fold(0, |places, at| places << 1 | u64::from(estimates.reach(at, test)))
}

pub(super) fn products(codes: Codes<'_>, places: u64, query: &Planes, out: &mut [i32; BLOCK]) {
    let entries = codes.coarse.chunks_exact(query.lines()).zip(codes.fine.chunks_exact(query.lines()));
    for (at, ((coarse, fine), out)) in entries.zip(out).enumerate() {
        if places >> at & 1 == 0 {
            continue;
        }
        let mut sum = 0i32;
        for ((coarse, fine), [low, high]) in coarse.iter().zip(fine).zip(query.words.as_chunks().0) {
            for at in 0..64 {
                let (coarse, fine) = (coarse.0[at], fine.0[at]);
                // Codes lie 128 too high; what that adds is taken away at the end. What overflows on the way comes back.
                sum = sum.wrapping_add(i32::from(coarse << 4 | fine & 15) * i32::from(low.0[at]));
                sum = sum.wrapping_add(i32::from(coarse & 0xf0 | fine >> 4) * i32::from(high.0[at]));
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

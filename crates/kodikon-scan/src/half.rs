//! Decides how a number is stored in 16 bits: IEEE 754 binary16, rounded to the nearest, ties to the even one.

/// The greatest finite value, 65504.
pub(crate) const MAX: f32 = 65_504.0;
/// 2^112: the difference of the two exponents' biases, 127 - 15.
const REBIAS: f32 = f32::from_bits((112 + 127) << 23);
/// The exponent that means infinity or NaN.
const SPECIAL: u16 = 0x7c00;

/// The nearest number of 16 bits; above its range infinity, as IEEE 754 rounds.
pub(crate) fn encode(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // Below 2^-14 the step is 2^-24 throughout; adding 0.5, whose last place that is, makes the FPU round to it.
    if magnitude < 0x3880_0000 {
        let rounded = f32::from_bits(magnitude) + 0.5;
        return sign | (rounded.to_bits() - 0.5f32.to_bits()) as u16;
    }
    // Half of the last place that stays, less one unless that place is odd; a carry rightly raises the exponent.
    let rounded = magnitude - (112 << 23) + 0x0fff + (magnitude >> 13 & 1);
    sign | (rounded >> 13).min(u32::from(SPECIAL)) as u16
}

/// The same number; exact. Infinity and NaN are not asked for: see [`is_finite`].
pub(crate) fn decode(half: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

/// Whether it is a number.
pub(crate) fn is_finite(half: u16) -> bool {
    half & SPECIAL != SPECIAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_16_bits_survives_and_its_neighbours_round_to_the_nearest() {
        for half in (0..=u16::MAX).filter(|half| is_finite(*half)) {
            let value = decode(half);
            assert_eq!(encode(value), half, "{half:#06x} = {value}");
            let magnitude = half & 0x7fff;
            if magnitude == SPECIAL - 1 {
                continue;
            }
            let next = decode(half + 1);
            let middle = ((f64::from(value) + f64::from(next)) / 2.0) as f32;
            let even = if half & 1 == 0 { half } else { half + 1 };
            assert_eq!(encode(middle), even, "between {value} and {next}");
            // One step of f32 to either side of the middle.
            assert_eq!(encode(f32::from_bits(middle.to_bits() - 1)), half, "below the middle of {value} and {next}");
            assert_eq!(encode(f32::from_bits(middle.to_bits() + 1)), half + 1, "above it");
        }
    }

    #[test]
    fn what_is_known_of_the_format_holds() {
        for (value, half) in [
            (0.0, 0),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (MAX, 0x7bff),
            (65_519.996, 0x7bff),
            (65_520.0, SPECIAL),
            (1e38, SPECIAL),
            (f32::INFINITY, SPECIAL),
            (5.960_464_5e-8, 1),
            (2.980_232_2e-8, 0),
            (2.980_232_6e-8, 1),
            (6.103_515_6e-5, 0x0400),
        ] {
            assert_eq!(encode(value), half, "{value}");
        }
        assert!(!is_finite(encode(f32::NAN)), "NaN stays one");
    }
}

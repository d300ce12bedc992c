//! Decides what the right answer is, by the definition alone: every stored number in `f64`, one sum after the other.
//!
//! It shares nothing with the crate. Entries lie side by side, number by number, so that the compiler can take several at
//! a time; each entry's sums are still taken in the order of its numbers.

use kodikon_scan::Dtype;

/// Entries that lie side by side.
const WIDTH: usize = 16;

/// A registry of which everything is looked at.
pub(crate) struct Brute {
    dims: usize,
    ids: Vec<u64>,
    /// `[group][number][entry of the group]`.
    groups: Vec<Vec<[f64; WIDTH]>>,
}

impl Brute {
    pub(crate) fn new(dims: usize) -> Self {
        Self { dims, ids: Vec::new(), groups: Vec::new() }
    }

    pub(crate) fn insert(&mut self, id: u64, numbers: &[f64]) {
        assert_eq!(numbers.len(), self.dims);
        let at = self.ids.len() % WIDTH;
        if at == 0 {
            self.groups.push(vec![[0.0; WIDTH]; self.dims]);
        }
        let group = self.groups.last_mut().expect("there is one");
        for (numbers, number) in group.iter_mut().zip(numbers) {
            numbers[at] = *number;
        }
        self.ids.push(id);
    }

    /// The nearest of those that are allowed: their numbers and the bits of their scores, equals in the order of their numbers.
    pub(crate) fn nearest(&self, query: &[f32], k: usize, allow: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
        let qq: f64 = query.iter().fold(0.0, |sum, number| sum + f64::from(*number) * f64::from(*number));
        let mut all: Vec<(u64, f64)> = Vec::new();
        for (group, ids) in self.groups.iter().zip(self.ids.chunks(WIDTH)) {
            let (mut qv, mut vv) = ([0.0; WIDTH], [0.0; WIDTH]);
            for (numbers, query) in group.iter().zip(query) {
                for at in 0..WIDTH {
                    qv[at] += f64::from(*query) * numbers[at];
                    vv[at] += numbers[at] * numbers[at];
                }
            }
            all.extend(ids.iter().enumerate().map(|(at, id)| (*id, qv[at] / (qq.sqrt() * vv[at].sqrt()))));
        }
        all.retain(|(id, _)| allow(*id));
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.into_iter().map(|(id, score)| (id, score.to_bits())).collect()
    }
}

/// Stored numbers, read as the documentation says.
pub(crate) fn numbers(dtype: Dtype, stored: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F32 => {
            stored.chunks(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("four")))).collect()
        }
        Dtype::F16 => stored.chunks(2).map(|bytes| half(u16::from_le_bytes(bytes.try_into().expect("two")))).collect(),
        Dtype::I8 => {
            let scale = f64::from(f32::from_le_bytes(stored[..4].try_into().expect("four")));
            stored[4..].iter().map(|code| f64::from(*code as i8) * scale).collect()
        }
    }
}

/// IEEE 754 binary16 by its definition.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1_023) / 1_024.0);
    let magnitude = if exponent == 0 { fraction * 2f64.powi(-14) } else { (1.0 + fraction) * 2f64.powi(exponent - 15) };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

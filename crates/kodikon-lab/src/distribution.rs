//! Decides how many measured values become a few numbers.

use std::time::Duration;

use serde::Serialize;

/// Values of one kind, in order of size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    sorted: Vec<f64>,
}

/// The figures of a distribution, in the unit of its values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many values there are.
    pub n: usize,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are not above it.
    pub p90: f64,
    /// Ninety-nine of a hundred are not above it. Means little below 300 values.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl Distribution {
    /// The distribution of these values; what is no number is left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    /// The distribution of these times, in milliseconds.
    pub fn of_ms(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// The figures; `None` where there is no value.
    pub fn figures(&self) -> Option<Figures> {
        let (min, max) = (*self.sorted.first()?, *self.sorted.last()?);
        let n = self.sorted.len();
        #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^53 values")]
        let mean = self.sorted.iter().sum::<f64>() / n as f64;
        Some(Figures { n, min, p50: self.median(), p90: self.rank(90), p99: self.rank(99), max, mean })
    }

    /// The middle value, or the mean of the two in the middle.
    fn median(&self) -> f64 {
        let n = self.sorted.len();
        (self.sorted[(n - 1) / 2] + self.sorted[n / 2]) / 2.0
    }

    /// The smallest value that this percentage of all does not exceed.
    fn rank(&self, percent: usize) -> f64 {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted[rank.saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_values() {
        let hundred = Distribution::of((1..=100).rev().map(f64::from)).figures().unwrap();
        let expected = Figures { n: 100, min: 1.0, p50: 50.5, p90: 90.0, p99: 99.0, max: 100.0, mean: 50.5 };
        assert_eq!(hundred, expected);
        let three = Distribution::of_ms([3, 1, 2].map(Duration::from_secs)).figures().unwrap();
        assert_eq!((three.p50, three.p99, three.n), (2000.0, 3000.0, 3));
        let one = Distribution::of([7.0, f64::NAN]).figures().unwrap();
        assert_eq!((one.n, one.min, one.p50, one.p90, one.p99, one.max), (1, 7.0, 7.0, 7.0, 7.0, 7.0));
        assert_eq!(Distribution::of([]).figures(), None);
    }
}

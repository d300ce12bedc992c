//! Decides whether something is fast enough: the median of many samples is held against a limit, and printed beside it.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

use std::time::{Duration, Instant};

/// Samples of which the median counts.
const SAMPLES: usize = 201;
/// By how much limits are multiplied, for a computer that does other things too. 1 where it is not set.
const FACTOR: &str = "KODIKON_BENCH_FACTOR";

/// Limits that were asked about, and whether all were kept.
pub(crate) struct Limits {
    factor: f64,
    is_kept: bool,
}

impl Limits {
    /// With the factor of the environment. What is no number from 1 on counts as 1.
    pub(crate) fn new() -> Self {
        let factor = std::env::var(FACTOR).ok().and_then(|text| text.parse().ok()).filter(|factor| *factor >= 1.0);
        let factor = factor.unwrap_or(1.0);
        println!("limits times {factor} ({FACTOR})");
        Self { factor, is_kept: true }
    }

    /// Prints the median and the worst of the samples, each of `calls` calls. The call is given its number.
    pub(crate) fn hold(&mut self, what: &str, limit: Duration, calls: usize, mut call: impl FnMut(usize)) {
        let mut count = 0;
        let mut sample = || {
            let start = Instant::now();
            for _ in 0..calls {
                call(count);
                count += 1;
            }
            start.elapsed() / calls as u32
        };
        sample();
        let mut samples: Vec<Duration> = (0..SAMPLES).map(|_| sample()).collect();
        samples.sort_unstable();
        let (median, worst) = (samples[SAMPLES / 2], samples[SAMPLES - 1]);
        let is_fast = median <= limit.mul_f64(self.factor);
        let verdict = if is_fast { "" } else { "  TOO SLOW" };
        println!("  {what:<36} {median:>12.2?} (worst {worst:.2?}, limit {limit:?}){verdict}");
        self.is_kept &= is_fast;
    }

    /// Success where all limits were kept.
    pub(crate) fn verdict(self) -> std::process::ExitCode {
        if self.is_kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
    }
}

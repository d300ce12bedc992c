//! Decides how a time span on the command line is read: seconds as a number, or a number with a unit.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Units and the seconds of each; the longest name of those that end alike first.
const UNITS: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Reads a span within its limits, in seconds.
pub(crate) fn seconds(text: &str, what: &str, range: &RangeInclusive<Duration>) -> Result<f64, String> {
    let written = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, seconds)| Some((written.strip_suffix(name)?, *seconds)))
        .unwrap_or((written, 1.0));
    let given = number.trim_end().parse::<f64>().ok().filter(|number| number.is_finite());
    let given =
        given.ok_or_else(|| "write seconds, or a number with a unit: 250ms, 90s, 5m, 2h, 7d".to_owned())? * unit;
    let is_within = Duration::try_from_secs_f64(given).is_ok_and(|span| range.contains(&span));
    is_within.then_some(given).ok_or_else(|| format!("{what} {} to {}", words(*range.start()), words(*range.end())))
}

/// A limit as people write it.
fn words(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{} days", seconds / 86_400),
        _ => format!("{} s", span.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seconds_or_a_number_with_a_unit_within_its_limits() {
        let range = Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);
        let read = |text: &str| seconds(text, "an alert is active for", &range);
        for (text, expected) in [
            ("600", 600.0),
            ("0.5", 0.5),
            ("250ms", 0.25),
            ("90s", 90.0),
            ("5m", 300.0),
            ("2h", 7_200.0),
            ("1.5 h", 5_400.0),
            ("7d", 604_800.0),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for text in ["0", "0.0009", "-3", "8d", "604800.1", "1e300"] {
            assert_eq!(read(text), Err("an alert is active for 0.001 s to 7 days".to_owned()), "{text}");
        }
        for text in ["nan", "inf", "-inf", "infinity", "abc", "", "d", "7w", "1e999", "7dd", "1h 30m"] {
            assert!(read(text).is_err_and(|why| why.contains("250ms, 90s, 5m, 2h, 7d")), "{text}");
        }
    }
}

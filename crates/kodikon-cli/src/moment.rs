//! Decides how a moment is read on the command line: RFC 3339, seconds since 1970, or a span with its unit for so long ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::span::seconds;

/// Ago at most: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// The years 1 to 9999, which RFC 3339 can write. Whose clock says something else is shown at the end of them.
const FIRST: f64 = -62_135_596_800.0;
const LAST: f64 = 253_402_300_799.0;

/// Reads a moment as seconds since 1970.
pub(crate) fn moment(text: &str) -> Result<f64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    at(text.trim(), now)
}

/// A moment as people read it: RFC 3339 in UTC, to the second.
pub(crate) fn shown(seconds: f64) -> String {
    written(seconds.clamp(FIRST, LAST).floor() as i64, "")
}

/// The same, to the millisecond.
pub(crate) fn shown_to_ms(seconds: f64) -> String {
    let ms = (seconds.clamp(FIRST, LAST) * 1_000.0).round() as i64;
    written(ms.div_euclid(1_000), &format!(".{:03}", ms.rem_euclid(1_000)))
}

/// RFC 3339 in UTC: whole seconds since 1970, and what is written behind them.
fn written(whole: i64, fraction: &str) -> String {
    let (mut day, second) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    // No later than the right year, which the loop finds.
    let mut year = 1_970 + day.div_euclid(if day < 0 { 365 } else { 366 });
    while days_before(year + 1, 1, 1) <= day {
        year += 1;
    }
    day -= days_before(year, 1, 1);
    let mut month = 1;
    while day >= days_of(year, month) {
        day -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", day + 1)
}

fn at(text: &str, now: f64) -> Result<f64, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()) {
        return Ok(seconds);
    }
    if text.contains('T') || text.contains('t') {
        return rfc_3339(text).ok_or_else(|| format!("`{text}` is no moment: write 2026-11-26T08:00:00Z"));
    }
    let ago = seconds(text, "so long ago may be", &(Duration::ZERO..=LONGEST));
    ago.map(|ago| now - ago)
        .map_err(|why| format!("{why}; or write a moment as 2026-11-26T08:00:00Z, or in seconds since 1970"))
}

/// RFC 3339 §5.6: a date, a time and where that is.
fn rfc_3339(text: &str) -> Option<f64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let number = |text: &str, digits: usize| {
        let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i64>().ok()).flatten()
    };
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(at);
    let mut units = time.split(':');
    let (hour, minute) = (number(units.next()?, 2)?, number(units.next()?, 2)?);
    let second = units.next()?;
    let (whole, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let fraction = fraction.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("0.{fraction}"))?;
    let second = number(whole, 2)? as f64 + fraction.parse::<f64>().ok()?;
    let offset = match zone.as_bytes().first()? {
        b'+' | b'-' => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = number(hours, 2)? * 60 + number(minutes, 2)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
        _ => (zone.len() == 1).then_some(0)?,
    };
    let is_day = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    let is_time = hour <= 23 && minute <= 59 && second < 61.0;
    if parts.next().is_some() || units.next().is_some() || !is_day || !is_time {
        return None;
    }
    let minutes = (days_before(year, month, day) * 24 + hour) * 60 + minute - offset;
    Some(minutes as f64 * 60.0 + second)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1_970) * 365 + leaps(year - 1) - leaps(1_969);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_the_date_from_which_it_is_read() {
        for (seconds, expected) in [
            (0.9, "1970-01-01T00:00:00Z"),
            (951_868_799.0, "2000-02-29T23:59:59Z"),
            (1_795_680_000.25, "2026-11-26T08:00:00Z"),
            (4_102_444_799.0, "2099-12-31T23:59:59Z"),
            (253_402_300_799.0, "9999-12-31T23:59:59Z"),
            (-1.0, "1969-12-31T23:59:59Z"),
            (-62_135_596_800.0, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(shown(seconds), expected);
            assert_eq!(rfc_3339(expected), Some(seconds.floor()), "{expected}");
        }
    }

    #[test]
    fn a_moment_is_shown_to_the_millisecond_and_the_last_one_is_not_lost() {
        for (seconds, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (1_795_680_000.25, "2026-11-26T08:00:00.250Z"),
            (1_764_413_788.64, "2025-11-29T10:56:28.640Z"),
            (1_764_413_788.999_9, "2025-11-29T10:56:29.000Z"),
            (-0.001, "1969-12-31T23:59:59.999Z"),
            (f64::MAX, "9999-12-31T23:59:59.000Z"),
            (f64::MIN, "0001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(shown_to_ms(seconds), expected);
        }
    }

    #[test]
    fn a_moment_is_a_date_with_its_time_seconds_since_1970_or_a_span_ago() {
        let now = 1_000_000.0;
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-03-01T00:00:00Z", 951_868_800.0),
            ("2026-11-26T08:00:00.25Z", 1_795_680_000.25),
            ("2026-11-26T09:30:00+01:30", 1_795_680_000.0),
            ("2026-11-26t07:00:00-01:00", 1_795_680_000.0),
            ("1969-12-31T23:59:59Z", -1.0),
            ("1764144000", 1_764_144_000.0),
            ("12.5", 12.5),
            ("10m", 999_400.0),
            ("500ms", 999_999.5),
        ] {
            assert_eq!(at(text, now), Ok(expected), "{text}");
        }
        for text in [
            "yesterday",
            "2026-11-26",
            "2026-11-26T08:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T08:60:00Z",
            "2026-11-26T08:00:00Zulu",
            "2026-11-26T08:00Z",
            "T",
            "+",
            "",
        ] {
            assert!(at(text, now).is_err(), "{text}");
        }
    }
}

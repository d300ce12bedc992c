//! Turns what was written into a value of the right kind within its range, or says what is wrong with it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::choice::Choice;
use super::problem::Wrong;
use crate::spelling::{nearest_key, shorten};

/// Where an element of a list stands in its file: line and column.
pub(crate) type Place = (u32, u32);

/// A value as written, before its kind is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<(Self, Place)>),
    Section,
    /// From the environment or the command line, where everything is text: a number, too.
    Loose(String),
    /// A flag that was given several times.
    Words(Vec<String>),
}

/// What is wrong, and where within the value, if it is a list.
pub(crate) type Checked<T> = Result<T, (Wrong, Option<Place>)>;

impl Raw {
    /// What a person would call it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => format!("the truth value {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(value) | Self::Loose(value) => format!("the text `{}`", shorten(value)),
            Self::List(_) | Self::Words(_) => "a list".into(),
            Self::Section => "a section".into(),
        }
    }

    fn wrong_kind<T>(&self, expected: &'static str) -> Checked<T> {
        let wrong = if *self == Self::Null { Wrong::NoValue } else { Wrong::Kind { expected, found: self.describe() } };
        Err((wrong, None))
    }

    /// A text, as it is.
    pub(crate) fn text(&self, expected: &'static str) -> Checked<&str> {
        match self {
            Self::Text(value) | Self::Loose(value) => Ok(value),
            Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::List(_)
            | Self::Section
            | Self::Words(_) => self.wrong_kind(expected),
        }
    }

    /// A text that keeps a rule.
    pub(crate) fn ruled(&self, expected: &'static str, rule: Rule) -> Checked<String> {
        let value = self.text(expected)?;
        (rule.holds)(value).then(|| value.to_owned()).ok_or_else(|| (rule.broken(value), None))
    }

    /// A whole number within a range.
    pub(crate) fn count(&self, range: RangeInclusive<u64>) -> Checked<u64> {
        let value = match self {
            Self::Integer(value) => *value,
            Self::Loose(text) => match text.trim().parse() {
                Ok(value) => value,
                Err(_) => return self.wrong_kind("a whole number"),
            },
            Self::Null
            | Self::Bool(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Section
            | Self::Words(_) => return self.wrong_kind("a whole number"),
        };
        match u64::try_from(value) {
            Ok(inside) if range.contains(&inside) => Ok(inside),
            _ => Err((out_of_range(value, range.start(), range.end()), None)),
        }
    }

    /// A time span: seconds as a number, or text with a unit.
    pub(crate) fn span(&self, range: RangeInclusive<Duration>) -> Checked<Duration> {
        const EXPECTED: &str = "a time span: seconds as a number, or text with a unit (`250ms`, `5s`, `2m`, `1h`)";
        let seconds = match self {
            #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 s it is out of every range anyway")]
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) | Self::Loose(text) => parse_seconds(text, matches!(self, Self::Loose(_))),
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Section | Self::Words(_) => None,
        };
        let Some(seconds) = seconds else { return self.wrong_kind(EXPECTED) };
        match Duration::try_from_secs_f64(seconds) {
            Ok(span) if range.contains(&span) => Ok(span),
            _ => Err((out_of_range(format!("{seconds} s"), show_span(*range.start()), show_span(*range.end())), None)),
        }
    }

    /// One word out of a few.
    pub(crate) fn choice<C: Choice>(&self) -> Checked<C> {
        let value = self.text("a word")?;
        if let Some((_, choice)) = C::ALL.iter().find(|(word, _)| *word == value) {
            return Ok(*choice);
        }
        let allowed: Vec<String> = C::ALL.iter().map(|(word, _)| (*word).to_owned()).collect();
        let near = nearest_key(value, allowed.iter().map(String::as_str)).map(str::to_owned);
        Err((Wrong::Choice { value: shorten(value), near, allowed }, None))
    }

    /// A list of texts that keep a rule; from the environment, parted by commas.
    pub(crate) fn list(&self, expected: &'static str, most: usize, rule: Rule) -> Checked<Vec<String>> {
        let elements: Vec<(Self, Option<Place>)> = match self {
            Self::List(elements) => elements.iter().map(|(raw, place)| (raw.clone(), Some(*place))).collect(),
            Self::Words(words) => words.iter().map(|word| (Self::Loose(word.clone()), None)).collect(),
            Self::Loose(text) if text.trim().is_empty() => Vec::new(),
            Self::Loose(text) => text.split(',').map(|word| (Self::Loose(word.trim().into()), None)).collect(),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Float(_) | Self::Text(_) | Self::Section => {
                return self.wrong_kind(expected);
            }
        };
        if elements.len() > most {
            return Err((out_of_range(format!("{} entries long", elements.len()), 0, most), None));
        }
        let check =
            |(raw, place): &(Self, Option<Place>)| raw.ruled("a text", rule).map_err(|(wrong, _)| (wrong, *place));
        elements.iter().map(check).collect()
    }
}

fn out_of_range(value: impl Display, low: impl Display, high: impl Display) -> Wrong {
    Wrong::Range { value: value.to_string(), low: low.to_string(), high: high.to_string() }
}

/// What a text must be like.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// Whether it is.
    pub(crate) holds: fn(&str) -> bool,
    /// The sentence that says so.
    pub(crate) says: &'static str,
}

impl Rule {
    fn broken(self, value: &str) -> Wrong {
        Wrong::Text { value: shorten(value), rule: self.says }
    }
}

/// A name of a mesh: what two fleets must differ in.
pub(crate) const MESH_NAME: Rule = Rule {
    holds: |text| (1..=64).contains(&text.len()) && !text.chars().any(char::is_control) && text.trim() == text,
    says: "must have 1 to 64 bytes, no control characters and no blanks around it",
};

/// A name of a node. It appears in paths of the API and before `@` and `=` on the command line.
pub(crate) const NODE_NAME: Rule = Rule {
    holds: |text| {
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        (1..=64).contains(&text.len()) && text.chars().all(fine)
    },
    says: "must have 1 to 64 bytes: letters, digits and _ - . : only",
};

/// A file or folder.
pub(crate) const PATH: Rule =
    Rule { holds: |text| !text.is_empty() && !text.contains('\0'), says: "must name a file or folder" };

/// Linux gives an interface at most 15 bytes (IFNAMSIZ - 1).
pub(crate) const INTERFACE: Rule = Rule {
    holds: |text| (1..=15).contains(&text.len()) && !text.contains('/') && !text.chars().any(char::is_whitespace),
    says: "must be the name of an interface, as `ip link` shows it",
};

/// A host with its port.
pub(crate) const HOST_PORT: Rule = Rule {
    holds: is_host_port,
    says: "must be HOST:PORT, for example camera7.local:9999, 192.168.1.7:9999 or [fe80::1%eth0]:9999",
};

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_fine = match inside {
        Some(address) => address.split('%').next().is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            (1..=253).contains(&host.len()) && host.chars().all(fine)
        }
    };
    host_fine && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Where the API listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiAddress {
    /// 127.0.0.1:8888, or the next free port.
    #[default]
    Auto,
    /// Exactly here; it is an error where that port is taken.
    At(SocketAddr),
    /// Nowhere.
    None,
}

impl ApiAddress {
    pub(crate) fn check(raw: &Raw) -> Checked<Self> {
        let text = raw.text("an address such as 127.0.0.1:8888, or none")?;
        let broken = |rule| (Wrong::Text { value: shorten(text), rule }, None);
        match text {
            "none" => return Ok(Self::None),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        let spelled = text.replacen("localhost:", "127.0.0.1:", 1);
        let address: SocketAddr =
            spelled.parse().map_err(|_| broken("must be ADDRESS:PORT such as 127.0.0.1:8888, or none"))?;
        if address.ip().is_loopback() {
            return Ok(Self::At(address));
        }
        Err(broken(
            "the API speaks without TLS and so only on the loopback: write 127.0.0.1:PORT or [::1]:PORT, \
             and reach it from elsewhere through a tunnel (ssh -L)",
        ))
    }
}

/// Seconds out of `250ms`, `5s`, `2m`, `1h`, `7d`; a bare number only where everything is text.
fn parse_seconds(text: &str, bare_allowed: bool) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let scale = match unit.trim_start() {
        "" if bare_allowed => 1.0,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * scale)
}

/// A span in the largest unit that leaves no fraction.
pub(crate) fn show_span(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(86_400_000) => format!("{}d", millis / 86_400_000),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1_000_000);

    #[test]
    fn a_time_span_is_a_number_of_seconds_or_text_with_a_unit() {
        for (raw, millis) in [
            (Raw::Integer(5), Some(5_000)),
            (Raw::Float(0.25), Some(250)),
            (Raw::Text("250ms".into()), Some(250)),
            (Raw::Text("5s".into()), Some(5_000)),
            (Raw::Text("5 s".into()), Some(5_000)),
            (Raw::Text("1.5m".into()), Some(90_000)),
            (Raw::Text("2h".into()), Some(7_200_000)),
            (Raw::Loose("5".into()), Some(5_000)),
            (Raw::Text("5".into()), None),
            (Raw::Text("ms".into()), None),
            (Raw::Text("-5s".into()), None),
            (Raw::Text("5 parsecs".into()), None),
            (Raw::Text("1.2.3s".into()), None),
            (Raw::Integer(-1), None),
            (Raw::Float(f64::NAN), None),
            (Raw::Float(f64::INFINITY), None),
            (Raw::Integer(i128::MAX), None),
            (Raw::Bool(true), None),
            (Raw::Null, None),
        ] {
            let found = raw.span(ANY).ok().map(|span| span.as_millis());
            assert_eq!(found, millis, "{raw:?}");
        }
    }

    #[test]
    fn a_count_has_hard_edges() {
        for (raw, expected) in [
            (Raw::Integer(0), None),
            (Raw::Integer(1), Some(1)),
            (Raw::Integer(15), Some(15)),
            (Raw::Integer(16), None),
            (Raw::Integer(-1), None),
            (Raw::Float(3.0), None),
            (Raw::Text("3".into()), None),
            (Raw::Loose(" 3 ".into()), Some(3)),
            (Raw::Words(vec!["3".into()]), None),
        ] {
            assert_eq!(raw.count(1..=15).ok(), expected, "{raw:?}");
        }
    }

    #[test]
    fn a_host_has_a_port() {
        for (text, expected) in [
            ("camera7.local:9999", true),
            ("192.168.1.7:1", true),
            ("[fe80::1%eth0]:9999", true),
            ("[::1]:65535", true),
            ("camera7", false),
            ("camera7:0", false),
            ("camera7:65536", false),
            (":9999", false),
            ("::1:9999", false),
            ("[camera]:9999", false),
            ("a b:9999", false),
        ] {
            assert_eq!((HOST_PORT.holds)(text), expected, "{text}");
        }
    }

    #[test]
    fn the_api_stays_on_the_loopback() {
        for (text, expected) in [
            ("none", Some(ApiAddress::None)),
            ("127.0.0.1:8889", Some(ApiAddress::At(SocketAddr::from(([127, 0, 0, 1], 8889))))),
            ("localhost:1", Some(ApiAddress::At(SocketAddr::from(([127, 0, 0, 1], 1))))),
            ("[::1]:0", Some(ApiAddress::At("[::1]:0".parse().expect("an address")))),
            ("0.0.0.0:8888", None),
            ("192.168.1.7:8888", None),
            ("8888", None),
            ("", None),
        ] {
            assert_eq!(ApiAddress::check(&Raw::Loose(text.into())).ok(), expected, "{text}");
        }
    }
}

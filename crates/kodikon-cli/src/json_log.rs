//! Decides how a line of the log looks in JSON: one object a line, lists as lists.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events as `{"timestamp","level","target","message",…}` with their fields beside these. There are no spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        writeln!(writer, "{}", line(*event.metadata().level(), event.metadata().target(), fields.0))
    }
}

/// A sentence that is no event of the log, as a line of it, with its number if it tells one.
pub(crate) fn sentence(level: Level, text: &str, number: Option<(&str, u64)>) -> String {
    let mut fields = Map::from_iter([("message".to_owned(), json!(text))]);
    fields.extend(number.map(|(name, value)| (name.to_owned(), json!(value))));
    line(level, env!("CARGO_PKG_NAME"), fields).to_string()
}

fn line(level: Level, target: &str, mut fields: Map<String, Value>) -> Value {
    let mut timestamp = String::new();
    // A clock that cannot be told leaves the time out.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    fields.extend([
        ("timestamp".to_owned(), json!(timestamp)),
        ("level".to_owned(), json!(level.as_str())),
        ("target".to_owned(), json!(target)),
    ]);
    Value::Object(fields)
}

struct Fields(Map<String, Value>);

impl Fields {
    fn note(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // How Rust shows a list of texts or numbers is JSON; of anything else it is a text.
        let list = text.starts_with('[').then(|| serde_json::from_str(&text).ok()).flatten();
        self.note(field, list.unwrap_or(Value::String(text)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use kodikon::settings::LogFormat;

    use super::*;
    use crate::log_writer::LogWriter;

    #[test]
    fn lists_are_lists_numbers_are_numbers_and_the_rest_is_text() {
        let (mut read, write) = std::io::pipe().expect("a pipe");
        let log = LogWriter::spawn(write, LogFormat::Json).expect("a thread");
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).event_format(JsonLines).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (names, odd, none) = (vec!["eth0", "wlan0"], vec!["\u{1b}\""], Vec::<u8>::new());
            tracing::info!(usable = ?names, odd = ?odd, none = ?none, n = 3_u64, x = 0.5, on = true, id = ?Some(1), "a \"word\"");
        });
        log.line("a sentence");
        log.flush(Duration::from_secs(10));
        drop(log);
        let mut text = String::new();
        read.read_to_string(&mut text).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let [event, sentence] = &lines[..] else { panic!("{text}") };
        for (field, expected) in [
            ("usable", json!(["eth0", "wlan0"])),
            // What JSON writes otherwise stays as Rust shows it.
            ("odd", json!("[\"\\u{1b}\\\"\"]")),
            ("none", json!([])),
            ("n", json!(3)),
            ("x", json!(0.5)),
            ("on", json!(true)),
            ("id", json!("Some(1)")),
            ("message", json!("a \"word\"")),
            ("level", json!("INFO")),
        ] {
            assert_eq!(event[field], expected, "{field} in {event}");
        }
        assert_eq!((&sentence["message"], &sentence["level"]), (&json!("a sentence"), &json!("INFO")));
        assert!(event["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
    }
}

//! How an event looks to people: one line, as `watch`, `up` and `demo` show it.

use serde_json::{Map, Value};

use crate::moment;

/// An event as a line for people: time, what, who, and the rest.
pub(crate) fn human(event: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(event) else { return event.to_owned() };
    let at = fields.remove("at").and_then(|at| at.as_f64()).map(moment::shown_to_ms).unwrap_or_default();
    let mut take = |name: &str| fields.remove(name).map(|value| bare(&value)).unwrap_or_default();
    let (kind, node) = (take("event"), take("node_id"));
    let _ = (take("id"), take("source"));
    format!("{at} {kind:<12} {node:<16} {}", rest(&fields)).replace(char::is_control, "?").trim_end().to_owned()
}

/// The remaining fields as `name=value`.
fn rest(fields: &Map<String, Value>) -> String {
    let shown = |(name, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::Array(list) if list.is_empty() => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Some(format!("{name}={}", bare(value)))
        }
    };
    fields.iter().filter_map(shown).collect::<Vec<_>>().join(" ")
}

/// A text without its quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_time_name_and_the_rest() {
        let event = r#"{"event":"peer_failed","at":1764000000.25,"node_id":"cam1","id":"00","witnesses":["cam2"],"reason":"silent\n"}"#;
        assert_eq!(
            human(event),
            "2025-11-24T16:00:00.250Z peer_failed  cam1             reason=silent? witnesses=[\"cam2\"]"
        );
        let event = r#"{"event":"isolated","at":0,"isolated":true,"reason":"no carrier"}"#;
        assert_eq!(
            human(event),
            "1970-01-01T00:00:00.000Z isolated                      isolated=true reason=no carrier"
        );
        assert_eq!(human("not JSON"), "not JSON");
    }
}

//! Decides whether a record's metadata has certain fields: by their path, and like a pattern.

use serde_json::Value;

/// Whether a JSON text has a field at each path that is like its pattern. A text is compared as it is, anything else as it is written in
/// JSON.
#[must_use]
pub fn has_fields(metadata: &str, fields: &[(String, String)]) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(metadata) else { return false };
    fields.iter().all(|(path, pattern)| match at(&value, path) {
        Some(Value::String(text)) => is_like(text, pattern),
        Some(other) => is_like(&other.to_string(), pattern),
        None => false,
    })
}

/// A field by its path: a name for an object, a number for an array.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Whether a text is like a pattern in which `*` stands for any run of characters.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        // The first place that fits leaves the most for the rest.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_nothing_else_for_another() {
        for (text, pattern, expected) in [
            ("red", "red", true),
            ("red", "re", false),
            ("reddish", "red*", true),
            ("reddish", "*dish", true),
            ("reddish", "r*d*h", true),
            ("reddish", "*d", false),
            ("aa", "a*a*a", false),
            ("aaa", "a*a*a", true),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("ab", "**", true),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} like {pattern}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_path_and_compared_as_it_is_written() {
        let metadata = r#"{"colour": "red", "box": [1, {"w": 2.5}], "left": true}"#;
        for (path, pattern, expected) in [
            ("colour", "r*", true),
            ("box.1.w", "2.5", true),
            ("box.0", "1", true),
            ("box.7", "*", false),
            ("left", "true", true),
            ("colour.x", "*", false),
            ("nothing", "*", false),
        ] {
            assert_eq!(has_fields(metadata, &[(path.to_owned(), pattern.to_owned())]), expected, "{path} = {pattern}");
        }
    }
}

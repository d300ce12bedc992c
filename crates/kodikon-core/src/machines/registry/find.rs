//! Decides which sightings meet a filter, some at a time, so that a registry of any size holds nobody up.

use core::cmp::Reverse;
use std::sync::Arc;

use serde_json::Value;

use crate::ground::id::NodeId;
use crate::ground::time::WallTime;
use crate::machines::registry::Registry;
use crate::model::op::{OpId, SignedOp};
use crate::model::record::{Cursor, Filter, RecordBody, Whose};

/// What one turn of a search looked at.
#[derive(Debug, Default)]
pub struct Looked {
    /// What meets the filter, newest first, and what it says.
    pub found: Vec<(OpId, SignedOp, RecordBody)>,
    /// Where the next turn goes on; `None`: all were looked at.
    pub next: Option<Cursor>,
}

impl Registry {
    /// Looks at so many sightings at most, the newest first, from where the last turn ended. `name_of` says what an author goes by
    /// now.
    #[must_use]
    pub fn find(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        budget: usize,
        name_of: impl Fn(&NodeId) -> Option<String>,
    ) -> Looked {
        let from = cursor.map_or((Reverse(i64::MAX), OpId::FIRST), |cursor| (Reverse(cursor.born_ms), cursor.id));
        let is_new = |place: &(Reverse<i64>, OpId)| cursor.is_none() || *place != from;
        let mut looked = Looked::default();
        let mut last = None;
        let places: &mut dyn Iterator<Item = (Reverse<i64>, OpId)> = match &filter.hash {
            Some(hash) => {
                let hash: Arc<str> = Arc::from(hash.as_str());
                let range = self.places.by_hash.range((Arc::clone(&hash), from.0, from.1)..);
                &mut range.take_while(move |(other, ..)| *other == hash).map(|(_, born, id)| (*born, *id))
            }
            None => &mut self.places.by_age.range(from..).copied(),
        };
        for (count, (born, id)) in places.filter(is_new).enumerate() {
            if count >= budget {
                looked.next = last.or(cursor);
                break;
            }
            last = Some(Cursor { born_ms: born.0, id });
            let Some(entry) = self.shown.get(&id).filter(|entry| !filter.local || entry.is_local()) else { continue };
            let Ok(body) = minicbor::decode::<RecordBody>(entry.op.body()) else { continue };
            if meets(filter, &entry.op, &body, &name_of) {
                looked.found.push((id, entry.op.clone(), body));
            }
        }
        looked
    }
}

/// When something was seen, as far as anybody says.
#[must_use]
pub fn seen_at(op: &SignedOp, body: &RecordBody) -> WallTime {
    body.seen_ms.map_or(op.wall(), WallTime)
}

fn meets(filter: &Filter, op: &SignedOp, body: &RecordBody, name_of: &impl Fn(&NodeId) -> Option<String>) -> bool {
    let seen = seen_at(op, body);
    let is_whose = |whose: &Whose| match whose {
        Whose::Id(id) => *id == op.author(),
        Whose::Name(name) => body.source == *name || name_of(&op.author()).is_some_and(|now| now == *name),
    };
    filter.data_type.as_ref().is_none_or(|kind| body.data_type == *kind)
        && filter.since.is_none_or(|since| seen >= since)
        && filter.until.is_none_or(|until| seen <= until)
        && filter.node.as_ref().is_none_or(is_whose)
        && (filter.where_.is_empty() || has_fields(&body.metadata, &filter.where_))
}

fn has_fields(metadata: &str, fields: &[(String, String)]) -> bool {
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

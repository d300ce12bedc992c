//! `state`: shows the state of nodes and changes one's own.

use kodikon::PAYLOAD_DEPTH;
use kodikon::api::StateDoc;
use serde_json::{Map, Value};

use crate::args::{Common, NodeArgs};
use crate::client::{Client, segment};
use crate::outcome::{Done, Failure, is_too_deep};
use crate::print::{self, Tone};

pub(crate) fn get(common: &Common, node: &NodeArgs, name: Option<&str>) -> Result<Done, Failure> {
    let client = Client::find(node, common.data_dir.as_deref())?;
    let path = name.map_or("/v1/state".to_owned(), |name| format!("/v1/state/{}", segment(name)));
    show(common, client.get(&path)?)
}

pub(crate) fn set(common: &Common, node: &NodeArgs, pairs: &[String]) -> Result<Done, Failure> {
    change(common, node, parse_pairs(pairs)?)
}

pub(crate) fn unset(common: &Common, node: &NodeArgs, keys: &[String]) -> Result<Done, Failure> {
    change(common, node, keys.iter().map(|key| (key.clone(), Value::Null)).collect())
}

fn change(common: &Common, node: &NodeArgs, changes: Map<String, Value>) -> Result<Done, Failure> {
    let client = Client::find(node, common.data_dir.as_deref())?;
    show(common, client.patch("/v1/state", &Value::Object(changes))?)
}

fn show(common: &Common, document: Value) -> Result<Done, Failure> {
    if common.json {
        print::json(&document)?;
        return Ok(Done::Well);
    }
    let states: StateDoc = super::understand(&document)?;
    let mut rows = Vec::new();
    for (name, row) in &states {
        let version = row.version.to_string();
        if row.state.is_empty() {
            rows.push((Tone::Faint, vec![name.clone(), version.clone(), "-".into(), "-".into()]));
        }
        for (key, value) in &row.state {
            rows.push((Tone::Plain, vec![name.clone(), version.clone(), key.clone(), value.to_string()]));
        }
    }
    print::table(&["node", "version", "key", "value"], &rows)?;
    Ok(Done::Well)
}

/// `KEY=VALUE`, where VALUE is JSON or else a text.
fn parse_pairs(pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let parse = |pair: &String| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => match serde_json::from_str(value) {
            Ok(value) => Ok((key.to_owned(), value)),
            // It is JSON, which nobody means as a text.
            Err(error) if is_too_deep(&error) => Err(Failure::Usage(format!(
                "the value of `{key}` has more than {PAYLOAD_DEPTH} arrays and objects in one another: make it flatter"
            ))),
            Err(_) => Ok((key.to_owned(), Value::String(value.to_owned()))),
        },
        Some(_) | None => {
            Err(Failure::Usage(format!("`{pair}` sets nothing: write KEY=VALUE, for example battery_level=85")))
        }
    };
    pairs.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_or_else_a_text() {
        for (pair, expected) in [
            ("fps=29.5", json!({"fps": 29.5})),
            ("state=processing", json!({"state": "processing"})),
            ("location={\"zone\":\"A\"}", json!({"location": {"zone": "A"}})),
            ("quoted=\"5\"", json!({"quoted": "5"})),
            ("empty=", json!({"empty": ""})),
            ("formula=a=b", json!({"formula": "a=b"})),
            ("gone=null", json!({"gone": null})),
        ] {
            assert_eq!(parse_pairs(&[pair.to_owned()]).map(Value::Object), Ok(expected), "{pair}");
        }
        let deep = format!("v={}{}", "[".repeat(130), "]".repeat(130));
        for pair in ["fps", "=5", "", &deep] {
            assert!(matches!(parse_pairs(&[pair.to_owned()]), Err(Failure::Usage(_))), "{pair}");
        }
    }
}

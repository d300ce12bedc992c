//! `stats`: the node's counters.

use serde_json::Value;

use crate::args::{Common, NodeArgs};
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone};

pub(crate) fn run(common: &Common, node: &NodeArgs) -> Result<Done, Failure> {
    let document = Client::find(node, common.data_dir.as_deref())?.get("/v1/stats")?;
    if common.json {
        print::json(&document)?;
        return Ok(Done::Well);
    }
    let mut rows = Vec::new();
    flatten("", &document, &mut rows);
    print::table(&["counter", "value"], &rows)?;
    Ok(Done::Well)
}

/// Shows what is inside another as `drops.replay`.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(Tone, Vec<String>)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, field, rows);
            }
        }
        Value::String(text) => rows.push((Tone::Plain, vec![prefix.to_owned(), text.clone()])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            rows.push((Tone::Plain, vec![prefix.to_owned(), value.to_string()]));
        }
    }
}

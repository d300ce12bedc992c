//! `broadcast`: says something to all, once or as a numbered series, and tells what names it.

use std::time::Duration;

use kodikon::api::BroadcastRow;
use serde_json::{Value, json};

use super::Common;
use super::send::payload;
use crate::args::BroadcastArgs;
use crate::client::{Client, document};
use crate::outcome::{Done, Failure};
use crate::print;

/// It is on its way at once: the node may take so long to say so.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(common: &Common, args: &BroadcastArgs) -> Result<Done, Failure> {
    let options = [
        ("priority", args.priority.clone().map(Value::from)),
        ("type", args.kind.clone().map(Value::from)),
        ("repeat", args.series.repeat.map(Value::from)),
        ("interval_ms", args.series.interval_ms.map(Value::from)),
    ];
    let body = super::with_options(json!({"payload": payload(&args.payload)?}), options);
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    if args.series.repeat.is_some() {
        return series(common, &client, &body);
    }
    let document = client.post("/v1/broadcasts", &body, PATIENCE)?;
    let row: BroadcastRow = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        print::line(&words(&row))?;
    }
    Ok(Done::Well)
}

fn series(common: &Common, client: &Client, body: &Value) -> Result<Done, Failure> {
    let mut lines = client.lines("/v1/broadcasts", body)?;
    let mut said = 0u64;
    while let Some(line) = lines.next()? {
        let document = document(line.as_bytes())?;
        let row = super::understand::<BroadcastRow>(&document);
        said += u64::from(row.is_ok());
        let refused = document["error"].as_str().unwrap_or("it was not said");
        let words = row.map_or_else(|_| format!("{}: {refused}", document["n"]), |row| words(&row));
        print::line(&if common.json { line } else { words })?;
    }
    let is_all = Some(said) == body["repeat"].as_u64();
    Ok(if is_all { Done::Well } else { Done::Unwell })
}

fn words(row: &BroadcastRow) -> String {
    let number = row.n.map(|n| format!("{n}: ")).unwrap_or_default();
    let but = match &row.too_far[..] {
        [] => String::new(),
        names => format!(" but those behind more relays than mesh.max_hops: {}", names.join(", ")),
    };
    format!("{number}{} on its way to {}{but}", row.id, row.sent_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_told_in_a_sentence() {
        for (fields, expected) in [
            (json!({"id": "ab-1-2", "sent_to": "all"}), "ab-1-2 on its way to all"),
            (
                json!({"id": "ab-1-2", "sent_to": "all", "too_far": ["cam-8", "cam-9"]}),
                "ab-1-2 on its way to all but those behind more relays than mesh.max_hops: cam-8, cam-9",
            ),
            (json!({"n": 7, "id": "ab-1-2", "sent_to": "all"}), "7: ab-1-2 on its way to all"),
        ] {
            let row: BroadcastRow = serde_json::from_value(fields).expect("it has all fields");
            assert_eq!(words(&row), expected);
        }
    }
}

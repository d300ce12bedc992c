//! `send`: says something to one node, once or as a numbered series, and tells what became of it.

use std::io::Read as _;
use std::time::Duration;

use kodikon::api::OutcomeRow;
use serde_json::{Value, json};

use super::Common;
use crate::args::SendArgs;
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print;

/// Beyond the message's own time the node may take so long to answer.
const MARGIN: Duration = Duration::from_secs(5);
/// The longest that a message takes if nothing is said: a critical one's 30 s.
const USUAL: Duration = Duration::from_secs(30);
/// Bytes read from stdin at most: more than any payload has.
const MAX_STDIN: u64 = 1 << 20;

pub(crate) fn run(common: &Common, args: &SendArgs) -> Result<Done, Failure> {
    let mut body = json!({"to": args.to, "payload": payload(&args.payload)?});
    let options = [
        ("priority", args.priority.clone().map(Value::from)),
        ("timeout_s", args.timeout.map(Value::from)),
        ("type", args.kind.clone().map(Value::from)),
        ("repeat", args.repeat.map(Value::from)),
        ("interval_ms", args.interval_ms.map(Value::from)),
    ];
    for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        body[name] = value;
    }
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    if args.repeat.is_some() {
        return series(common, &client, &body);
    }
    let patience = args.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(USUAL) + MARGIN;
    let document = client.post("/v1/messages", &body, patience)?;
    let row: OutcomeRow = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        print::line(&words(&row))?;
    }
    Ok(if row.outcome == "delivered" { Done::Well } else { Done::Unwell })
}

fn series(common: &Common, client: &Client, body: &Value) -> Result<Done, Failure> {
    let mut lines = client.lines("/v1/messages", body)?;
    let (mut all, mut delivered) = (0u64, 0u64);
    while let Some(line) = lines.next()? {
        let document: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::Undone(format!("the node's answer is not JSON: {error}")))?;
        let row: OutcomeRow = super::understand(&document)?;
        all += 1;
        delivered += u64::from(row.outcome == "delivered");
        print::line(&if common.json { line } else { words(&row) })?;
    }
    let wanted = body["repeat"].as_u64().unwrap_or(all);
    if !common.json {
        eprintln!("{delivered} of {wanted} delivered");
    }
    Ok(if delivered == wanted { Done::Well } else { Done::Unwell })
}

/// The payload that was written, or what stands on stdin.
pub(super) fn payload(text: &str) -> Result<Value, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_STDIN)
            .read_to_string(&mut read)
            .map_err(|error| Failure::Usage(format!("the payload could not be read from stdin: {error}")))?;
        read.as_str()
    } else {
        text
    };
    serde_json::from_str(text).map_err(|error| {
        Failure::Usage(format!(
            "the payload is not JSON ({error}): write for example '{{\"open\": true}}', or a text as '\"hello\"'"
        ))
    })
}

fn words(row: &OutcomeRow) -> String {
    let number = row.n.map(|n| format!("{n}: ")).unwrap_or_default();
    let what = match (&row.reason, row.rtt_ms) {
        (Some(reason), _) => format!("{}: {reason}", row.outcome),
        (None, Some(rtt)) => format!("{} in {rtt:.2} ms by {}", row.outcome, row.path.join(" > ")),
        (None, None) => row.outcome.clone(),
    };
    let tries = if row.attempts > 1 { format!(" after {} attempts", row.attempts) } else { String::new() };
    format!("{number}{what}{tries}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_in_a_sentence() {
        let row = |fields: Value| -> OutcomeRow { serde_json::from_value(fields).expect("it has all fields") };
        let table = [
            (
                json!({"outcome": "delivered", "reason": null, "rtt_ms": 0.5, "path": ["b", "c"], "attempts": 1}),
                "delivered in 0.50 ms by b > c",
            ),
            (
                json!({"n": 7, "outcome": "expired", "reason": "no answer", "rtt_ms": null, "path": [], "attempts": 3}),
                "7: expired: no answer after 3 attempts",
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(words(&row(fields)), expected);
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_an_example() {
        assert_eq!(payload("{\"n\": 1}"), Ok(json!({"n": 1})));
        assert!(matches!(payload("{n: 1}"), Err(Failure::Usage(_))));
    }
}

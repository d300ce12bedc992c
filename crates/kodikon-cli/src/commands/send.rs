//! `send`: says something to one node, once or as a numbered series, and tells what became of it.

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kodikon::TIMEOUT_MOST;
use kodikon::api::OutcomeRow;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::{Common, SendArgs};
use crate::client::{Client, Lines, document};
use crate::outcome::{Done, Failure, why_not_json};
use crate::print;

/// Beyond the message's own time the node may take so long to answer.
const MARGIN: Duration = Duration::from_secs(5);
/// Bytes read from stdin at most: more than any payload has.
const MAX_STDIN: u64 = 1 << 20;

pub(crate) fn run(common: &Common, args: &SendArgs) -> Result<Done, Failure> {
    let options = [
        ("priority", args.priority.clone().map(Value::from)),
        ("timeout_s", args.timeout.map(Value::from)),
        ("type", args.kind.clone().map(Value::from)),
        ("repeat", args.series.repeat.map(Value::from)),
        ("interval_ms", args.series.interval_ms.map(Value::from)),
    ];
    let body = super::with_options(json!({"to": args.to, "payload": payload(&args.payload)?}), options);
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    if args.series.repeat.is_some() {
        return series(common, client, body);
    }
    let document = client.post("/v1/messages", &body, TIMEOUT_MOST + MARGIN)?;
    let row: OutcomeRow = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        print::line(&words(&row))?;
    }
    Ok(if row.outcome == "delivered" { Done::Well } else { Done::Unwell })
}

/// Follows a series to its end, or to Ctrl-C.
fn series(common: &Common, client: Client, mut body: Value) -> Result<Done, Failure> {
    let undone = |what: &str, error: std::io::Error| Failure::Undone(format!("the system gives no {what}: {error}"));
    let wanted = body["repeat"].as_u64().unwrap_or(1);
    body["progress"] = true.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| undone("event loop", error))?;
    // Before the first is sent: from then on there is something to tell.
    let interrupt = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let mut interrupt = interrupt.map_err(|error| undone("signals", error))?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (told, mut end) = oneshot::channel();
    let (json, counted) = (common.json, Arc::clone(&tally));
    let follow = move || {
        let followed = client.lines("/v1/messages", &body).and_then(|lines| follow(json, lines, &counted));
        // An error means that Ctrl-C came first.
        drop(told.send(followed));
    };
    // On a thread of its own, since asking, reading and printing may wait for ever, and Ctrl-C may not.
    thread::Builder::new().name("kodikon-series".into()).spawn(follow).map_err(|error| undone("thread", error))?;
    let followed = runtime.block_on(async {
        tokio::select! {
            followed = &mut end => Some(followed),
            _ = interrupt.recv() => None,
        }
    });
    let tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
    match followed {
        None => {
            eprintln!("interrupted: {}", tally.words());
            return Ok(Done::Interrupted);
        }
        Some(Ok(followed)) => followed?,
        Some(Err(_)) => return Err(Failure::Undone("the answers could not be read".into())),
    }
    if tally.settled() < wanted {
        return Err(Failure::Undone(format!("the node has stopped: {}", tally.words())));
    }
    if !common.json {
        eprintln!("{}", tally.words());
    }
    Ok(if tally.delivered == wanted { Done::Well } else { Done::Unwell })
}

/// Prints what becomes of each, and counts what has been printed.
fn follow(json: bool, mut lines: Lines, tally: &Mutex<Tally>) -> Result<(), Failure> {
    while let Some(line) = lines.next()? {
        let document = document(line.as_bytes())?;
        let count = || tally.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = document["sent"].as_u64() {
            count().sent = sent;
            continue;
        }
        let row: OutcomeRow = super::understand(&document)?;
        // Nobody reading any more is no reason to say less to the other node.
        print::line(&if json { line } else { words(&row) })?;
        count().add(&row);
    }
    Ok(())
}

/// How far a series has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    sent: u64,
    delivered: u64,
    expired: u64,
    unreachable: u64,
    refused: u64,
    other: u64,
}

impl Tally {
    fn add(&mut self, row: &OutcomeRow) {
        let count = match row.outcome.as_str() {
            "delivered" => &mut self.delivered,
            "expired" => &mut self.expired,
            "unreachable" => &mut self.unreachable,
            "refused" => &mut self.refused,
            _ => &mut self.other,
        };
        *count += 1;
        // It was sent, whether or not that was told.
        self.sent = self.sent.max(self.settled()).max(row.n.unwrap_or_default().into());
    }

    fn settled(&self) -> u64 {
        self.delivered + self.expired + self.unreachable + self.refused + self.other
    }

    fn words(&self) -> String {
        let mut words = format!("{} sent, {} delivered, {} expired", self.sent, self.delivered, self.expired);
        let under_way = self.sent.saturating_sub(self.settled());
        for (count, what) in [
            (self.unreachable, "unreachable"),
            (self.refused, "refused"),
            (self.other, "settled otherwise"),
            (under_way, "not settled yet"),
        ] {
            if count > 0 {
                words.push_str(&format!(", {count} {what}"));
            }
        }
        words
    }
}

/// The payload that was written, or what stands on stdin.
pub(super) fn payload(text: &str) -> Result<Value, Failure> {
    let mut read = Vec::new();
    let text = if text == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_STDIN + 1)
            .read_to_end(&mut read)
            .map_err(|error| Failure::Usage(format!("the payload could not be read from stdin: {error}")))?;
        read.as_slice()
    } else {
        text.as_bytes()
    };
    if text.len() as u64 > MAX_STDIN {
        return Err(Failure::Usage(format!("more than {MAX_STDIN} bytes stand on stdin: no message is that long")));
    }
    serde_json::from_slice(text).map_err(|error| {
        let why = why_not_json(&error);
        Failure::Usage(format!(
            "the payload cannot be taken ({why}): write for example '{{\"open\": true}}', or a text as '\"hello\"'"
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
    fn a_series_is_summed_up_by_what_became_of_it_and_by_what_is_not_known_yet() {
        let mut tally = Tally { sent: 9, ..Tally::default() };
        let mut add = |n: u32, outcome: &str| {
            let fields = json!({"n": n, "outcome": outcome, "reason": null, "rtt_ms": null, "path": [], "attempts": 1});
            tally.add(&serde_json::from_value(fields).expect("it has all fields"));
            tally.words()
        };
        for (n, outcome, expected) in [
            (1, "delivered", "9 sent, 1 delivered, 0 expired, 8 not settled yet"),
            (3, "expired", "9 sent, 1 delivered, 1 expired, 7 not settled yet"),
            (10, "refused", "10 sent, 1 delivered, 1 expired, 1 refused, 7 not settled yet"),
            (2, "unreachable", "10 sent, 1 delivered, 1 expired, 1 unreachable, 1 refused, 6 not settled yet"),
        ] {
            assert_eq!(add(n, outcome), expected, "{n}");
        }
        for n in 4..10 {
            add(n, "delivered");
        }
        assert_eq!(tally.words(), "10 sent, 7 delivered, 1 expired, 1 unreachable, 1 refused");
    }

    #[test]
    fn what_is_no_json_is_refused_with_an_example() {
        assert_eq!(payload("{\"n\": 1}"), Ok(json!({"n": 1})));
        for (text, told) in [("{n: 1}", "key must be a string"), (&"[".repeat(200), "at most 32 arrays and objects")] {
            let Err(Failure::Usage(said)) = payload(text) else { panic!("{text} is taken") };
            assert!(said.contains(told), "{text}: {said}");
        }
    }
}

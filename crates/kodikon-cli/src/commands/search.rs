//! `search`: shows which sightings are most alike.

use std::time::Duration;

use kodikon::api::{FoundRow, SearchReport};
use kodikon::{Dtype, Record};
use serde_json::{Map, Value, json};

use super::Common;
use super::records::{condition, metadata};
use crate::args::SearchArgs;
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone};

/// Beyond the time that was asked for the node may take so long to say what it found.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a search takes at most where nothing is said.
const USUAL: f64 = 5.0;

pub(crate) fn run(common: &Common, args: &SearchArgs) -> Result<Done, Failure> {
    let embedding = args.embedding.as_ref().map(|place| embedding(place, args.row)).transpose()?;
    let matching = matching(&args.traits.conditions)?;
    let options = [
        ("embedding", embedding.map(Value::from)),
        ("like", args.like.clone().map(Value::from)),
        ("model", args.model.clone().map(Value::from)),
        ("type", args.traits.data_type.clone().map(Value::from)),
        ("node", args.traits.by.clone().map(Value::from)),
        ("since", args.traits.since.map(Value::from)),
        ("until", args.traits.until.map(Value::from)),
        ("where", (!matching.is_empty()).then_some(Value::Object(matching))),
        ("timeout_s", args.timeout.map(Value::from)),
    ];
    let asked = json!({"k": args.k, "fast": args.fast, "local": args.local, "with_embedding": args.with_embedding});
    let body = super::with_options(asked, options);
    let patience = Duration::try_from_secs_f64(args.timeout.unwrap_or(USUAL)).unwrap_or_default() + MARGIN;
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let document = client.post("/v1/search", &body, patience)?;
    if common.json {
        print::json(&document)?;
        return Ok(Done::Well);
    }
    let report: SearchReport = super::understand(&document)?;
    let rows: Vec<(Tone, Vec<String>)> = report.results.iter().map(row).collect();
    print::table(&["score", "hash", "type", "seen by", "confidence", "metadata"], &rows)?;
    eprintln!("{}", words(&report));
    Ok(Done::Well)
}

/// The numbers that are sought. What JSON cannot tell the node, which knows no NaN, is refused here, by its place.
fn embedding(place: &str, row: Option<u64>) -> Result<Vec<f32>, Failure> {
    let numbers = super::records::numbers(place, row)?;
    let wanted = Record::new("query").embedding(numbers.as_slice(), "").dtype(Dtype::F32);
    wanted.check().map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(numbers)
}

/// The conditions on fields of the metadata.
fn matching(conditions: &[String]) -> Result<Map<String, Value>, Failure> {
    let read = |text: &String| condition(text).map(|(field, pattern)| (field.to_owned(), Value::from(pattern)));
    conditions.iter().map(read).collect()
}

/// What the answer rests on.
fn words(report: &SearchReport) -> String {
    let SearchReport { results, responded, of, certified, elapsed_ms, .. } = report;
    let sure =
        if *certified { "certified: nothing nearer is there" } else { "not certified: something nearer may be there" };
    format!("{} found in {elapsed_ms:.1} ms, {responded} of {of} nodes answered; {sure}", results.len())
}

fn row(found: &FoundRow) -> (Tone, Vec<String>) {
    let record = &found.record;
    let cells = vec![
        format!("{:.4}", found.score),
        record.hash_value.clone(),
        record.data_type.clone(),
        record.node_id.clone(),
        format!("{:.2}", record.confidence),
        metadata(record),
    ];
    (Tone::Plain, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_answer_rests_on_is_said_in_words() {
        let report = |certified: bool| {
            let report = json!({"results": [], "responded": 2, "of": 3, "certified": certified, "elapsed_ms": 1.25});
            serde_json::from_value::<SearchReport>(report).expect("its fields")
        };
        let told = "0 found in 1.2 ms, 2 of 3 nodes answered; not certified: something nearer may be there";
        assert_eq!(words(&report(false)), told);
        assert!(words(&report(true)).ends_with("; certified: nothing nearer is there"));
    }

    #[test]
    fn a_condition_names_a_field_and_a_pattern() {
        let matching = matching(&["gate=g*".to_owned(), "x=y=z".to_owned()]).expect("they are conditions");
        assert_eq!(Value::Object(matching), json!({"gate": "g*", "x": "y=z"}));
        for wrong in ["gate", "=g"] {
            assert!(matches!(super::matching(&[wrong.to_owned()]), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}

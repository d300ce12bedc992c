//! `add`, `get`, `find` and `delete`: what the registry takes, shows and gives up.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use kodikon::Record;
use kodikon::api::{AddedRow, DeletedRow, EmbeddingRow, RecordDoc, RecordRow};
use serde_json::{Value, json};

use super::Common;
use crate::args::records::TraitArgs;
use crate::args::{AddArgs, DeleteArgs, FindArgs, GetArgs};
use crate::client::{Client, segment};
use crate::npy::Rows;
use crate::outcome::{Done, Failure, why_not_json};
use crate::print::{self, Tone};

/// A disk that does not answer costs a second, and many may wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A delete of very many goes some at a time, each with a sync of the disk.
const DELETE_PATIENCE: Duration = Duration::from_secs(300);
/// Records of one question: what the node gives at once.
const PAGE: usize = 1_024;
/// Bytes of an embedding's text at most: 4,096 numbers and their blanks.
const MAX_TEXT: u64 = 256 << 10;
/// Characters of the metadata that a table shows.
const SHOWN: usize = 60;

pub(crate) fn add(common: &Common, args: &AddArgs) -> Result<Done, Failure> {
    let record = record(args)?;
    // Here a number that is none has its place yet: JSON knows no NaN.
    check(&record).map_err(Failure::Usage)?;
    let document =
        Client::find(&args.node, common.data_dir.as_deref())?.post("/v1/records", &json!(record), PATIENCE)?;
    let added: AddedRow = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        let unkept = "; not on this node's disk: it is gone if the node stops before another has it";
        print::line(&format!("{} added{}", added.hash_value, if added.durable { "" } else { unkept }))?;
    }
    Ok(Done::Well)
}

/// The record that is wanted.
fn record(args: &AddArgs) -> Result<RecordDoc, Failure> {
    let mut record = RecordDoc::default();
    record.hash_value.clone_from(&args.hash);
    record.data_type.clone_from(&args.data_type);
    (record.confidence, record.ttl_s, record.local) = (args.confidence, args.ttl, args.local);
    if let Some(metadata) = &args.metadata {
        let metadata = serde_json::from_str(metadata).map_err(|error| {
            let why = why_not_json(&error);
            Failure::Usage(format!("the metadata is no JSON ({why}): write for example '{{\"camera\": \"gate\"}}'"))
        })?;
        record.metadata = Some(metadata);
    }
    match &args.embedding {
        Some(place) => {
            let mut embedding = EmbeddingRow::default();
            embedding.model = args.space.model.clone().unwrap_or_default();
            embedding.dtype = args.space.dtype.clone().unwrap_or_default();
            embedding.numbers = Some(numbers(place, args.row)?);
            record.embedding = Some(embedding);
        }
        None if args.space.model.is_some() || args.space.dtype.is_some() => {
            return Err(Failure::Usage(
                "--model and --dtype say what an embedding is: name one with --embedding".into(),
            ));
        }
        None => {}
    }
    Ok(record)
}

/// Whether the node would take a record, as far as that is up to the record.
pub(super) fn check(record: &RecordDoc) -> Result<(), String> {
    Record::try_from(record.clone()).and_then(|record| record.check()).map_err(|error| error.to_string())
}

/// The numbers of an embedding: a JSON array in a file or on stdin, or a row of a `.npy` file. They may be none that an embedding has.
pub(super) fn numbers(place: &str, row: Option<u64>) -> Result<Vec<f32>, Failure> {
    let unread = |why: String| Failure::Usage(format!("the embedding cannot be read from {place}: {why}"));
    let is_npy = Path::new(place).extension().is_some_and(|end| end.eq_ignore_ascii_case("npy"));
    if is_npy {
        let mut rows = Rows::open(Path::new(place)).map_err(unread)?;
        let row = match (row, rows.len()) {
            (Some(row), _) => row,
            (None, 1) => 0,
            (None, count) => return Err(unread(format!("it has {count} rows: say which with --row N"))),
        };
        return rows.row(row).map_err(unread);
    }
    if row.is_some() {
        return Err(Failure::Usage("--row is for a .npy file".into()));
    }
    let mut text = Vec::new();
    let read = if place == "-" {
        std::io::stdin().lock().take(MAX_TEXT + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(place).and_then(|file| file.take(MAX_TEXT + 1).read_to_end(&mut text))
    };
    read.map_err(|error| unread(error.to_string()))?;
    if text.len() as u64 > MAX_TEXT {
        return Err(unread(format!("it has more than {MAX_TEXT} bytes: no embedding is that long")));
    }
    let numbers: Vec<f64> = serde_json::from_slice(&text)
        .map_err(|error| unread(format!("it is no JSON array of numbers: {}", why_not_json(&error))))?;
    Ok(numbers.into_iter().map(|number| number as f32).collect())
}

pub(crate) fn get(common: &Common, args: &GetArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let query = if args.with_embedding { "?with_embedding=true" } else { "" };
    let document = client.get(&format!("/v1/records/{}{query}", segment(&args.hash)))?;
    if common.json {
        print::json(&document)?;
        return Ok(Done::Well);
    }
    table(&super::understand::<Vec<RecordRow>>(&document)?)
}

pub(crate) fn delete(common: &Common, args: &DeleteArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let query = if args.all { "?all=true" } else { "" };
    let document = client.delete(&format!("/v1/records/{}{query}", segment(&args.hash)), DELETE_PATIENCE)?;
    let deleted: DeletedRow = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        let unkept = if deleted.durable { "" } else { "; that is not on this node's disk" };
        print::line(&format!("{} deleted{unkept}", deleted.deleted))?;
    }
    Ok(Done::Well)
}

pub(crate) fn find(common: &Common, args: &FindArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let filter = query(&args.traits, args.local)?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let numbers = if args.with_embedding { "&with_embedding=true" } else { "" };
    let (mut found, mut after) = (Vec::new(), None);
    while found.len() < limit {
        let most = (limit - found.len()).min(PAGE);
        let (rows, next) = page(&client, &format!("{numbers}{filter}"), most, after.as_deref())?;
        found.extend(rows);
        after = next;
        if after.is_none() {
            break;
        }
    }
    if common.json {
        print::json(&found)?;
        return Ok(Done::Well);
    }
    if found.is_empty() {
        eprintln!("no sighting is like that");
    }
    table(&super::understand::<Vec<RecordRow>>(&Value::Array(found))?)
}

/// Some of the records that are meant, and where the next ones are; none where there are no more.
pub(super) fn page(
    client: &Client,
    filter: &str,
    most: usize,
    after: Option<&str>,
) -> Result<(Vec<Value>, Option<String>), Failure> {
    let after = after.map(|place| format!("&after={}", segment(place))).unwrap_or_default();
    let (document, next) = client.get_page(&format!("/v1/records?limit={most}{filter}{after}"))?;
    let Value::Array(rows) = document else {
        return Err(Failure::Undone("the node's answer is no list: does it run another version?".into()));
    };
    Ok((rows, next))
}

/// The part of a query that says which sightings are meant, those that stay on the node among them or not; each begins with `&`.
pub(super) fn query(traits: &TraitArgs, local: bool) -> Result<String, Failure> {
    let mut query = String::new();
    let mut add = |key: &str, value: &str| query.push_str(&format!("&{key}={}", segment(value)));
    if let Some(data_type) = &traits.data_type {
        add("type", data_type);
    }
    if let Some(node) = &traits.by {
        add("node", node);
    }
    for (key, moment) in [("since", traits.since), ("until", traits.until)] {
        if let Some(moment) = moment {
            add(key, &moment.to_string());
        }
    }
    for text in &traits.conditions {
        condition(text)?;
        add("where", text);
    }
    if local {
        add("local", "true");
    }
    Ok(query)
}

/// A condition on a field of the metadata: which field, and what it is to be like.
pub(super) fn condition(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('=')
        .filter(|(field, _)| !field.is_empty())
        .ok_or_else(|| Failure::Usage(format!("--where {text}: write FIELD=PATTERN, as camera=gate*")))
}

/// The metadata of a sighting, as far as a table shows it.
pub(super) fn metadata(record: &RecordRow) -> String {
    let whole = if record.metadata.is_empty() { String::new() } else { json!(record.metadata).to_string() };
    let short: String = whole.chars().take(SHOWN).collect();
    if short.len() < whole.len() { format!("{short}…") } else { short }
}

fn table(records: &[RecordRow]) -> Result<Done, Failure> {
    let rows: Vec<(Tone, Vec<String>)> = records.iter().map(row).collect();
    print::table(&["hash", "type", "seen by", "seen at", "embedding", "metadata", "confidence", "lasts"], &rows)?;
    Ok(Done::Well)
}

fn row(record: &RecordRow) -> (Tone, Vec<String>) {
    let embedding = record.embedding.as_ref();
    let embedding = embedding.map(|space| format!("{} {} {}", space.model, space.dims, space.dtype));
    let cells = vec![
        record.hash_value.clone(),
        record.data_type.clone(),
        record.node_id.clone(),
        crate::moment::shown(record.timestamp),
        embedding.unwrap_or_default(),
        metadata(record),
        format!("{:.2}", record.confidence),
        print::span_ms(record.ttl_s * 1_000.0),
    ];
    (if record.local { Tone::Faint } else { Tone::Plain }, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_a_query_that_no_value_can_break_out_of() {
        let traits = TraitArgs {
            data_type: Some("a&b=c".to_owned()),
            by: Some("cam 1".to_owned()),
            since: Some(1.5),
            conditions: vec!["zone=A*".to_owned(), "x=y=z".to_owned()],
            ..TraitArgs::default()
        };
        let expected = "&type=a%26b%3Dc&node=cam%201&since=1.5&where=zone%3DA%2A&where=x%3Dy%3Dz";
        assert_eq!(query(&traits, false), Ok(expected.to_owned()));
        assert_eq!(query(&traits, true), Ok(format!("{expected}&local=true")));
        assert_eq!(query(&TraitArgs::default(), false), Ok(String::new()));
        for wrong in ["zone", "=A"] {
            let traits = TraitArgs { conditions: vec![wrong.to_owned()], ..TraitArgs::default() };
            assert!(matches!(query(&traits, false), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}

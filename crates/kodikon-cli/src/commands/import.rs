//! `import`: takes records from a file into the registry, as fast as the disk takes them, and tells by number which lines it could not
//! take.
//!
//! It needs no note of how far it came: what the node holds already is skipped, so the same command goes on after any end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use kodikon::api::{AddedOrNot, EmbeddingRow, Named, RecordDoc};
use serde::Serialize;
use serde_json::Value;

use super::Common;
use super::progress::{Bar, Stop, interruptible};
use super::records::PATIENCE;
use crate::args::ImportArgs;
use crate::client::Client;
use crate::npy::Rows;
use crate::outcome::{Done, Failure};
use crate::print;

/// Bytes of a line at most: an embedding of 4,096 numbers, metadata and ownership of 4 KiB each, and blanks.
const MAX_LINE: usize = 256 << 10;
/// Records handed in together: one sync of the disk is for all of them.
const MAX_LIST: usize = 256;
/// Bytes handed in together: what the API takes, less one line.
const MAX_BODY: usize = (1 << 20) - MAX_LINE - 1_024;
/// Lines that are told by number; of more their count alone.
const MAX_REJECTED: usize = 10_000;

pub(crate) fn run(common: &Common, args: &ImportArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let (args, file) = (args.clone(), args.file.clone());
    let source = Source::open(args)?;
    let ended = interruptible(move |stop| import(&client, source, &stop))?;
    let Some((report, is_whole)) = ended else { return Ok(Done::Interrupted) };
    if common.json {
        print::json(&report)?;
    } else {
        print::line(&report.words())?;
        for rejected in &report.rejected {
            eprintln!("line {}: {}", rejected.line, rejected.reason);
        }
    }
    if !is_whole {
        eprintln!("interrupted: `kodikon import {}` goes on", file.display());
        return Ok(Done::Interrupted);
    }
    Ok(if report.rejected_count() == 0 { Done::Well } else { Done::Unwell })
}

/// What became of the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    imported: u64,
    skipped: u64,
    rejected: Vec<Rejected>,
    /// Rejected lines beyond those that are listed.
    #[serde(skip_serializing_if = "is_none")]
    rejected_more: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Rejected {
    line: u64,
    reason: String,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Report {
    fn reject(&mut self, line: u64, reason: String) {
        if self.rejected.len() < MAX_REJECTED {
            self.rejected.push(Rejected { line, reason });
        } else {
            self.rejected_more += 1;
        }
    }

    fn rejected_count(&self) -> u64 {
        self.rejected.len() as u64 + self.rejected_more
    }

    fn words(&self) -> String {
        format!("{} imported, {} skipped, {} rejected", self.imported, self.skipped, self.rejected_count())
    }
}

/// Hands in what the source has, list by list; whether it came to the end.
fn import(client: &Client, mut source: Source, stop: &Stop) -> Result<(Report, bool), Failure> {
    let (mut report, mut bar) = (Report::default(), Bar::new("imported"));
    let mut list = List::default();
    let mut is_whole = true;
    loop {
        if stop.is_wanted() {
            is_whole = false;
            break;
        }
        match source.next()? {
            None => break,
            Some((line, Err(reason))) => report.reject(line, reason),
            Some((line, Ok(record))) => {
                let text = serde_json::to_string(&record).expect("a record has no keys but strings");
                // The node skips what it holds, and not what comes with it.
                if list.has(&text) {
                    list.hand_in(client, &mut report)?;
                }
                list.push(line, text);
            }
        }
        if list.is_full() {
            list.hand_in(client, &mut report)?;
            bar.show(report.imported + report.skipped, source.part());
        }
    }
    list.hand_in(client, &mut report)?;
    bar.end();
    // By number: those that the node rejected come later than those that are no record.
    report.rejected.sort_by_key(|rejected| rejected.line);
    Ok((report, is_whole))
}

/// Records that are handed in together.
#[derive(Debug, Default)]
struct List {
    lines: Vec<u64>,
    records: BTreeSet<String>,
    body: String,
}

impl List {
    fn has(&self, record: &str) -> bool {
        self.records.contains(record)
    }

    fn push(&mut self, line: u64, record: String) {
        self.body.push(if self.lines.is_empty() { '[' } else { ',' });
        self.body.push_str(&record);
        self.lines.push(line);
        self.records.insert(record);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= MAX_LIST || self.body.len() >= MAX_BODY
    }

    fn hand_in(&mut self, client: &Client, report: &mut Report) -> Result<(), Failure> {
        if self.lines.is_empty() {
            return Ok(());
        }
        self.body.push(']');
        let Self { lines, body, .. } = std::mem::take(self);
        let answer = client.post_text("/v1/records?unless_held=true", body, PATIENCE)?;
        let rows: Vec<AddedOrNot> = super::understand(&answer)?;
        if rows.len() != lines.len() {
            return Err(Failure::Undone(
                "the node did not answer for each record: does it run another version?".into(),
            ));
        }
        for (line, row) in lines.into_iter().zip(rows) {
            match row {
                AddedOrNot::Added(row) if row.skipped => report.skipped += 1,
                AddedOrNot::Added(_) => report.imported += 1,
                // The record is not why: the lines behind it would go the same way.
                AddedOrNot::Not { error, again: true } => {
                    return Err(Failure::Undone(format!(
                        "line {line}: {error}. So far {}; the same command goes on",
                        report.words()
                    )));
                }
                AddedOrNot::Not { error, .. } => report.reject(line, error),
                _ => return Err(Failure::Undone("the node's answer is of a later version".into())),
            }
        }
        Ok(())
    }
}

/// From where records come.
#[derive(Debug)]
enum Source {
    Lines(Lines),
    Rows { rows: Rows, next: u64, prefix: String, like: Like },
}

/// What records have that do not say it themselves.
#[derive(Clone, Debug)]
struct Like {
    data_type: Option<String>,
    model: Option<String>,
    dtype: Option<String>,
}

impl Source {
    fn open(args: ImportArgs) -> Result<Self, Failure> {
        let unread = |why: String| Failure::Usage(format!("{} cannot be read: {why}", args.file.display()));
        let like = Like { data_type: args.data_type, model: args.space.model, dtype: args.space.dtype };
        if is_npy(&args.file) {
            let rows = Rows::open(&args.file).map_err(unread)?;
            let prefix = args.prefix.ok_or_else(|| {
                Failure::Usage(
                    "a .npy file names no hashes: say how they begin with --prefix P; the row's number follows".into(),
                )
            })?;
            return Ok(Self::Rows { rows, next: 0, prefix, like });
        }
        if args.prefix.is_some() {
            return Err(Failure::Usage("--prefix is for a .npy file: each line of JSON names its hash".into()));
        }
        let file = File::open(&args.file).map_err(|error| unread(error.to_string()))?;
        let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        Ok(Self::Lines(Lines { file: BufReader::new(file), length, read: 0, number: 0, like }))
    }

    /// The next record or why it is none, with the number of its line or row; none at the end.
    fn next(&mut self) -> Result<Option<Numbered>, Failure> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Rows { next, rows, .. } if *next == rows.len() => Ok(None),
            Self::Rows { rows, next, prefix, like } => {
                let row = *next;
                *next += 1;
                let numbers = rows.row(row).map_err(|error| Failure::Undone(format!("row {row}: {error}")))?;
                let mut record = RecordDoc::default();
                record.hash_value = format!("{prefix}{row}");
                let mut embedding = EmbeddingRow::default();
                embedding.numbers = Some(numbers);
                record.embedding = Some(embedding);
                Ok(Some((row, Ok(like.fill(record)))))
            }
        }
    }

    /// The part that is read.
    fn part(&self) -> Option<f64> {
        let of = |done: u64, whole: u64| (whole > 0).then(|| done as f64 / whole as f64);
        match self {
            Self::Lines(lines) => of(lines.read, lines.length),
            Self::Rows { rows, next, .. } => of(*next, rows.len()),
        }
    }
}

pub(super) fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy"))
}

impl Like {
    fn fill(&self, mut record: RecordDoc) -> RecordDoc {
        if record.data_type.is_none() {
            record.data_type.clone_from(&self.data_type);
        }
        if let Some(embedding) = &mut record.embedding {
            if embedding.model.is_empty() {
                embedding.model = self.model.clone().unwrap_or_default();
            }
            if embedding.dtype.is_empty() {
                embedding.dtype = self.dtype.clone().unwrap_or_default();
            }
        }
        record
    }
}

/// A record, or why it is none, and the number of its line or row.
type Numbered = (u64, Result<RecordDoc, String>);

#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    length: u64,
    read: u64,
    number: u64,
    like: Like,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Numbered>, Failure> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            let broken = |error: std::io::Error| Failure::Undone(format!("the file cannot be read on: {error}"));
            let most = MAX_LINE as u64 + 1;
            self.read += (&mut self.file).take(most).read_until(b'\n', &mut line).map_err(broken)? as u64;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() > MAX_LINE {
                if line.last() != Some(&b'\n') {
                    self.read += self.file.skip_until(b'\n').map_err(broken)? as u64;
                }
                let reason = format!("it has more than {MAX_LINE} bytes: no record is that long");
                return Ok(Some((self.number, Err(reason))));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Ok(Some((self.number, self.record(&line))));
        }
    }

    fn record(&self, line: &[u8]) -> Result<RecordDoc, String> {
        let Named(record) = serde_json::from_slice(line).map_err(|error| {
            let is_json = serde_json::from_slice::<Value>(line).is_ok();
            let why = error.to_string();
            // There is but one line: where it is, its number says.
            let why = why.split(" at line ").next().unwrap_or(&why).to_owned();
            if is_json { format!("it is no record: {why}") } else { format!("it is no JSON: {why}") }
        })?;
        Ok(self.like.fill(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (std::path::PathBuf, Source) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("kodikon-import-{}-{number}.jsonl", std::process::id()));
        std::fs::write(&file, text).expect("writable");
        let args = ImportArgs {
            file: file.clone(),
            data_type: Some("person".to_owned()),
            prefix: None,
            space: crate::args::SpaceArgs::default(),
            node: crate::args::NodeArgs { api: None },
        };
        (file, Source::open(args).expect("readable"))
    }

    #[test]
    fn a_broken_line_is_told_by_its_number_and_the_rest_goes_on() {
        let long = format!("{{\"hash_value\": \"{}\"}}", "x".repeat(MAX_LINE));
        let text = format!(
            "{{\"hash_value\": \"a\"}}\n\n{{\"hash_value\": \n{long}\n[1]\n{{\"hash_value\": \"b\", \"data_type\": \"bag\"}}\n{{\"hash\": 1}}"
        );
        let (file, mut source) = lines(&text);
        let mut found = Vec::new();
        while let Some((line, record)) = source.next().expect("readable") {
            found.push((line, record.map(|record| (record.hash_value, record.data_type))));
        }
        let _ = std::fs::remove_file(file);
        let record = |hash: &str, data_type: &str| Ok((hash.to_owned(), Some(data_type.to_owned())));
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!((&found[0], &found[4]), (&(1, record("a", "person")), &(6, record("b", "bag"))));
        for ((line, said), (number, expected)) in [&found[1], &found[2], &found[3], &found[5]].into_iter().zip([
            (3, "it is no JSON"),
            (4, "more than 262144 bytes"),
            (5, "it is no record"),
            (7, "it is no record: unknown field `hash`"),
        ]) {
            assert_eq!(*line, number);
            assert!(said.as_ref().is_err_and(|said| said.starts_with(expected) || said.contains(expected)), "{said:?}");
        }
        assert_eq!(source.part(), Some(1.0));
    }

    #[test]
    fn beyond_ten_thousand_rejected_lines_their_count_alone_is_told() {
        let mut report = Report::default();
        (1..=MAX_REJECTED as u64 + 2).for_each(|line| report.reject(line, "no".to_owned()));
        assert_eq!((report.rejected.len(), report.rejected_more, report.rejected_count()), (10_000, 2, 10_002));
    }
}

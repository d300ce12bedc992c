//! `import`: takes records from a file into the registry, as fast as the disk takes them, and tells by number which lines it could not
//! take.
//!
//! It needs no note of how far it came: what the node holds already is skipped, so the same command goes on after any end.

mod source;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use kodikon::api::AddedOrNot;
use serde::Serialize;

use super::Common;
use super::progress::{Bar, Stop, interruptible};
use super::records::PATIENCE;
use crate::args::ImportArgs;
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print;

pub(super) use source::is_npy;
use source::{Piece, read_ahead};

/// Records handed in together: one sync of the disk is for all of them.
const MAX_LIST: usize = 256;
/// Bytes handed in together: what the API takes, less one record: an embedding of 4,096 numbers, metadata and ownership of 4 KiB each.
const MAX_BODY: usize = (1 << 20) - (256 << 10) - 1_024;
/// Lines that are told by number; of more their count alone.
const MAX_REJECTED: usize = 10_000;
/// What was read is handed in when nothing has come for so long: whoever writes into a pipe may think.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(common: &Common, args: &ImportArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let taken = args.clone();
    let ended = interruptible(move |stop| import(&client, taken, &stop))?;
    let Some((report, end)) = ended else { return Ok(Done::Interrupted) };
    if let End::Failed(Failure::Usage(why)) = &end
        && report == Report::default()
    {
        return Err(Failure::Usage(why.clone()));
    }
    if common.json {
        print::json(&report)?;
    } else {
        print::line(&report.words())?;
        report.told().iter().for_each(|line| eprintln!("{line}"));
    }
    match end {
        End::Whole if report.rejected_count() == 0 => Ok(Done::Well),
        End::Whole => Ok(Done::Unwell),
        End::Interrupted => {
            eprintln!("interrupted{}", goes_on(&args.file));
            Ok(Done::Interrupted)
        }
        End::Failed(failure) => Err(failure.with(&goes_on(&args.file))),
    }
}

/// How an import goes on that has not come to its end. What a pipe gave is not given again.
fn goes_on(file: &Path) -> String {
    if file.is_file() { format!(": `{}` goes on", as_given(std::env::args_os())) } else { String::new() }
}

/// A command with all its options, as a shell takes it.
fn as_given(words: impl IntoIterator<Item = OsString>) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    let quoted = |word: OsString| {
        let word = word.to_string_lossy().into_owned();
        let stands = !word.is_empty() && word.chars().all(is_plain);
        if stands { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    words.into_iter().map(quoted).collect::<Vec<String>>().join(" ")
}

/// How an import ended; what was handed in before stays.
#[derive(Debug)]
enum End {
    Whole,
    Interrupted,
    Failed(Failure),
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

    /// The lines that were rejected, for people.
    fn told(&self) -> Vec<String> {
        let each = self.rejected.iter().map(|rejected| format!("line {}: {}", rejected.line, rejected.reason));
        let more = (self.rejected_more > 0)
            .then(|| format!("and {} more: only the first {MAX_REJECTED} are named", self.rejected_more));
        each.chain(more).collect()
    }
}

/// Hands in what the file has, list by list.
fn import(client: &Client, args: ImportArgs, stop: &Stop) -> Result<(Report, End), Failure> {
    let (mut report, mut bar) = (Report::default(), Bar::new("imported"));
    let end = hand_in_all(client, args, stop, &mut report, &mut bar).unwrap_or_else(End::Failed);
    bar.end();
    // By number: those that the node rejected come later than those that are no record.
    report.rejected.sort_by_key(|rejected| rejected.line);
    Ok((report, end))
}

fn hand_in_all(
    client: &Client,
    args: ImportArgs,
    stop: &Stop,
    report: &mut Report,
    bar: &mut Bar,
) -> Result<End, Failure> {
    let pieces = read_ahead(args)?;
    let mut list = List::default();
    loop {
        if stop.is_wanted() {
            list.hand_in(client, report)?;
            return Ok(End::Interrupted);
        }
        let Piece { line, record, part } = match pieces.recv_timeout(PAUSE) {
            Ok(piece) => piece?,
            Err(RecvTimeoutError::Timeout) => {
                list.hand_in(client, report)?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                list.hand_in(client, report)?;
                return Ok(End::Whole);
            }
        };
        match record {
            Err(reason) => report.reject(line, reason),
            Ok(record) => {
                // The node skips what it holds, and not what comes with it.
                if list.has(&record) {
                    list.hand_in(client, report)?;
                }
                list.push(line, record);
            }
        }
        if list.is_full() {
            list.hand_in(client, report)?;
            bar.show(report.imported + report.skipped, part);
        }
    }
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
        let mut failed = None;
        for (line, row) in lines.into_iter().zip(rows) {
            match row {
                AddedOrNot::Added(row) if row.skipped => report.skipped += 1,
                AddedOrNot::Added(_) => report.imported += 1,
                // The record is not why: the lines behind it would go the same way.
                AddedOrNot::Not { error, again: true } => {
                    failed.get_or_insert_with(|| format!("line {line}: {error}"));
                }
                AddedOrNot::Not { error, .. } => report.reject(line, error),
                _ => return Err(Failure::Undone("the node's answer is of a later version".into())),
            }
        }
        failed.map_or(Ok(()), |why| Err(Failure::Undone(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_ten_thousand_rejected_lines_their_count_alone_is_told() {
        let mut report = Report::default();
        (1..=MAX_REJECTED as u64 + 2).for_each(|line| report.reject(line, "no".to_owned()));
        assert_eq!((report.rejected.len(), report.rejected_more, report.rejected_count()), (10_000, 2, 10_002));
        let told = report.told();
        assert_eq!((told.len(), told[0].as_str()), (10_001, "line 1: no"));
        assert_eq!(told[10_000], "and 2 more: only the first 10000 are named");
    }

    #[test]
    fn a_command_is_told_as_it_was_given() {
        for (words, expected) in [
            (
                &["kodikon", "import", "a.npy", "--prefix", "o-", "--type=x"][..],
                "kodikon import a.npy --prefix o- --type=x",
            ),
            (&["./kodikon", "import", "my views.npy", "--prefix", ""], "./kodikon import 'my views.npy' --prefix ''"),
            (&["kodikon", "it's", "$HOME"], "kodikon 'it'\\''s' '$HOME'"),
        ] {
            assert_eq!(as_given(words.iter().map(OsString::from)), expected, "{words:?}");
        }
    }
}

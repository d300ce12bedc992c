//! `export`: writes the records that are held into a file, page by page, so that more of them than fit memory may go.
//!
//! What is not whole yet lies beside the file, with a note of how far it came, under a name that tells what was asked for; the same command
//! goes on there. The file itself is there when all is in it and on disk. A pipe or a device takes them as they come.

mod part;
mod target;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use kodikon::api::RecordRow;
use serde::Serialize;
use serde_json::Value;

use super::Common;
use super::import::is_npy;
use super::progress::{Bar, Stop, interruptible};
use super::records::{page, query};
use crate::args::ExportArgs;
use crate::client::Client;
use crate::moment;
use crate::npy::Writer;
use crate::outcome::{Done, Failure};
use crate::print;
use part::{Note, Part};
use target::{Stream, Target};

/// Records of one question: with their numbers some 8 MB at most.
const PAGE: usize = 512;
/// Rows of a `.npy` file at most: what a registry holds.
const MAX_ROWS: u64 = 200_000;

pub(crate) fn run(common: &Common, args: &ExportArgs) -> Result<Done, Failure> {
    let filter = query(&args.traits, false)?;
    let rows = match (is_npy(&args.file), args.prefix.clone()) {
        (true, Some(prefix)) => Some(prefix),
        (true, None) => {
            return Err(Failure::Usage(
                "a .npy file names no hashes: say with --prefix P of which each ends in the number of its row".into(),
            ));
        }
        (false, Some(_)) => return Err(Failure::Usage("--prefix is for a .npy file".into())),
        (false, None) => None,
    };
    let target = Target::of(&args.file)?;
    let is_stdout = target == Target::Stream(Stream::Stdout);
    let afterwards = match (&target, &rows) {
        (Target::File(_), None) => ": the same command goes on",
        (Target::File(_), Some(_)) => ": the same command begins anew",
        (Target::Stream(_), _) => "",
    };
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let ended = interruptible(move |stop| match (target, rows) {
        (Target::File(file), Some(prefix)) => export_rows(&client, &file, &prefix, &filter, &stop),
        (Target::File(file), None) => export_lines(&client, &file, &filter, &stop),
        (Target::Stream(stream), None) => export_stream(&client, stream, &filter, &stop),
        (Target::Stream(_), Some(_)) => {
            Err(Failure::Usage("the rows of a .npy file are written into their places: name a file".into()))
        }
    })?;
    let Some((report, is_whole)) = ended else { return Ok(Done::Interrupted) };
    let words = |name: &Path| report.words(name);
    match (common.json, is_stdout) {
        (true, false) => print::json(&report)?,
        (false, false) => drop(print::line(&words(&args.file))?),
        // There the records are the result.
        (true, true) => eprintln!("{}", serde_json::to_string(&report).expect("it has no keys but strings")),
        (false, true) => eprintln!("{}", words(Path::new("standard output"))),
    }
    if !is_whole {
        eprintln!("interrupted{afterwards}");
        return Ok(Done::Interrupted);
    }
    Ok(Done::Well)
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Report {
    exported: u64,
    /// Of those that were there already when the command went on.
    resumed: u64,
    /// When those were begun: what has changed since is not in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<f64>,
    /// Rows of a `.npy` file for which no record was found: they are zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    /// Records whose number is beyond the rows that a `.npy` file may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond: Option<u64>,
}

impl Report {
    fn words(&self, file: &Path) -> String {
        let mut words = format!("{} exported to {}", self.exported, file.display());
        if let Some(begun) = self.begun {
            let (resumed, begun) = (self.resumed, moment::shown(begun));
            words.push_str(&format!(
                ", {resumed} of them by a command that began at {begun}: what has changed since is not in those"
            ));
        }
        if let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            words.push_str(&format!("; {missing} rows have no record and are zeros"));
        }
        if let Some(beyond) = self.beyond.filter(|beyond| *beyond > 0) {
            words.push_str(&format!("; {beyond} records are left out: their number is {MAX_ROWS} or more"));
        }
        words
    }
}

/// Records as lines of JSON.
fn text_of(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn lines_of(client: &Client, filter: &str, after: Option<&str>) -> Result<(Vec<Value>, Option<String>), Failure> {
    // What is kept elsewhere should be whole: what stays on the node is there, too.
    page(client, &format!("&local=true&with_embedding=true{filter}"), PAGE, after)
}

fn export_lines(client: &Client, file: &Path, filter: &str, stop: &Stop) -> Result<(Report, bool), Failure> {
    let part = Part::of(file, filter);
    // Nobody else writes it from here on.
    let data = part.open_alone()?;
    let exported = lines_into(client, &part, data, filter, stop);
    if !matches!(exported, Ok((_, true))) && part.noted().is_none() {
        part.remove().map_err(|error| part.unwritten(&error))?;
    }
    let (report, is_whole) = exported?;
    if is_whole {
        part.finish(file).map_err(|error| part.unwritten(&error))?;
    }
    Ok((report, is_whole))
}

fn lines_into(
    client: &Client,
    part: &Part,
    mut data: File,
    filter: &str,
    stop: &Stop,
) -> Result<(Report, bool), Failure> {
    let unwritten = |error: io::Error| part.unwritten(&error);
    let stats = client.get("/v1/stats")?;
    let node = stats["id"].as_str().unwrap_or_default();
    let noted = part.noted();
    if noted.as_ref().is_some_and(|note| note.node != node) {
        eprintln!("what was begun is of another node: it begins anew");
    }
    let mut note = part.resume(&mut data, noted.filter(|note| note.node == node)).map_err(unwritten)?;
    note.node = node.to_owned();
    let begun = Some(note.begun).filter(|_| note.lines > 0);
    let mut report = Report { exported: note.lines, resumed: note.lines, begun, ..Report::default() };
    let whole = stats.pointer("/registry/records").and_then(Value::as_u64).filter(|whole| *whole > 0);
    let mut bar = Bar::new("exported");
    loop {
        if stop.is_wanted() {
            bar.end();
            return Ok((report, false));
        }
        let more = |failure: Failure| match note.lines {
            0 => failure,
            lines => failure.with(&format!("; {lines} are in {}, and the same command goes on", part.data.display())),
        };
        let (rows, next) = lines_of(client, filter, note.after.as_deref()).map_err(more)?;
        let text = text_of(&rows);
        data.write_all(text.as_bytes()).map_err(unwritten)?;
        report.exported += rows.len() as u64;
        bar.show(report.exported, whole.map(|whole| report.exported as f64 / whole as f64));
        note = Note { bytes: note.bytes + text.len() as u64, lines: report.exported, after: next, ..note };
        if note.after.is_none() {
            break;
        }
        part.keep(&note).map_err(unwritten)?;
    }
    bar.end();
    data.sync_all().map_err(unwritten)?;
    Ok((report, true))
}

/// Writes to what takes bytes as they come: what it took is not taken back, so nothing goes on there.
fn export_stream(client: &Client, stream: Stream, filter: &str, stop: &Stop) -> Result<(Report, bool), Failure> {
    let unwritten = |error: io::Error| Failure::Undone(format!("the records cannot be written: {error}"));
    let (mut report, mut after) = (Report::default(), None::<String>);
    let Some(opened) = stop.or(move || stream.open())? else { return Ok((report, false)) };
    let mut file = opened.map_err(unwritten)?;
    loop {
        if stop.is_wanted() {
            return Ok((report, false));
        }
        let so_far = |failure: Failure| failure.with(&format!("; {} were written before", report.exported));
        let (rows, next) = lines_of(client, filter, after.as_deref()).map_err(so_far)?;
        let text = text_of(&rows);
        let Some(written) = stop.or(move || file.write_all(text.as_bytes()).map(|()| file))? else {
            return Ok((report, false));
        };
        file = match written {
            Ok(file) => file,
            // Whoever read has enough, as `head` has.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok((report, true)),
            Err(error) => return Err(unwritten(error)),
        };
        report.exported += rows.len() as u64;
        after = next;
        if after.is_none() {
            return Ok((report, true));
        }
    }
}

fn export_rows(
    client: &Client,
    file: &Path,
    prefix: &str,
    filter: &str,
    stop: &Stop,
) -> Result<(Report, bool), Failure> {
    let part = Part::of(file, filter);
    let data = part.open_alone()?;
    let exported = rows_into(client, (&part, &data), prefix, filter, stop);
    if matches!(exported, Ok((_, true))) {
        part.finish(file).map_err(|error| part.unwritten(&error))?;
    } else {
        // Rows lie in their places, so that what is half done cannot be told from what is done: it begins anew.
        part.remove().map_err(|error| part.unwritten(&error))?;
    }
    exported
}

fn rows_into(
    client: &Client,
    (part, data): (&Part, &File),
    prefix: &str,
    filter: &str,
    stop: &Stop,
) -> Result<(Report, bool), Failure> {
    let unwritten = |error: io::Error| part.unwritten(&error);
    data.set_len(0).map_err(unwritten)?;
    let (mut report, mut bar, mut after) = (Report::default(), Bar::new("exported"), None::<String>);
    let (mut writer, mut taken, mut beyond) = (None::<Writer>, BTreeSet::new(), 0);
    loop {
        if stop.is_wanted() {
            bar.end();
            return Ok((report, false));
        }
        let (rows, next) = lines_of(client, filter, after.as_deref())?;
        for row in &rows {
            let record: RecordRow = super::understand(row)?;
            let number = record.hash_value.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
            let numbers = record.embedding.and_then(|embedding| embedding.numbers);
            let (Some(number), Some(numbers)) = (number, numbers) else { continue };
            if number >= MAX_ROWS {
                beyond += 1;
                continue;
            }
            let dims = writer.as_ref().map_or(numbers.len(), Writer::dims);
            if dims != numbers.len() {
                return Err(Failure::Undone(format!(
                    "{} has {} numbers where others have {dims}: a .npy file has rows of one length; say which are meant with --type or --where",
                    record.hash_value,
                    numbers.len()
                )));
            }
            if !taken.insert(number) {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(data.try_clone().and_then(|file| Writer::new(file, dims)).map_err(unwritten)?),
            };
            writer.write(number, &numbers).map_err(unwritten)?;
            report.exported += 1;
        }
        bar.show(report.exported, None);
        after = next;
        if after.is_none() {
            break;
        }
    }
    bar.end();
    let Some(writer) = writer else {
        return Err(Failure::Undone(format!(
            "no record with an embedding has a hash that is `{prefix}` and a number below {MAX_ROWS}"
        )));
    };
    let rows = writer.end().map_err(unwritten)?;
    (report.missing, report.beyond) = (Some(rows - report.exported), Some(beyond));
    Ok((report, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_says_what_is_not_in_the_file() {
        let file = Path::new("out");
        let report = Report { exported: 9, ..Report::default() };
        assert_eq!(report.words(file), "9 exported to out");
        let resumed = Report { resumed: 4, begun: Some(1e9), ..report.clone() };
        assert_eq!(
            resumed.words(file),
            "9 exported to out, 4 of them by a command that began at 2001-09-09T01:46:40Z: what has changed since is not in those"
        );
        let rows = Report { missing: Some(0), beyond: Some(2), ..report };
        assert_eq!(rows.words(file), "9 exported to out; 2 records are left out: their number is 200000 or more");
    }
}

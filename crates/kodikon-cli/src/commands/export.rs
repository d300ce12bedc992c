//! `export`: writes the records that are held into a file, page by page, so that more of them than fit memory may go.
//!
//! What is not whole yet lies beside the file, with a note of how far it came, under a name that tells what was asked for; the same command
//! goes on there. The file itself is there when all is in it and on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kodikon::api::RecordRow;
use serde::{Deserialize, Serialize};

use super::Common;
use super::import::is_npy;
use super::progress::{Bar, Stop, interruptible};
use super::records::{page, query};
use crate::args::ExportArgs;
use crate::client::Client;
use crate::npy::Writer;
use crate::outcome::{Done, Failure};
use crate::print;

/// Records of one question: with their numbers some 8 MB at most.
const PAGE: usize = 512;
/// Rows of a `.npy` file at most: what a registry holds.
const MAX_ROWS: u64 = 200_000;

pub(crate) fn run(common: &Common, args: &ExportArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let filter = query(&args.filter)?;
    let (file, prefix) = (args.file.clone(), args.prefix.clone());
    let rows = match (is_npy(&file), prefix) {
        (true, Some(prefix)) => Some(prefix),
        (true, None) => {
            return Err(Failure::Usage(
                "a .npy file names no hashes: say with --prefix P of which each ends in the number of its row".into(),
            ));
        }
        (false, Some(_)) => return Err(Failure::Usage("--prefix is for a .npy file".into())),
        (false, None) => None,
    };
    let ended = interruptible(move |stop| match rows {
        Some(prefix) => export_rows(&client, &file, &prefix, &filter, &stop),
        None => export_lines(&client, &file, &filter, &stop),
    })?;
    let Some((report, is_whole)) = ended else { return Ok(Done::Interrupted) };
    if common.json {
        print::json(&report)?;
    } else {
        print::line(&report.words(&args.file))?;
    }
    if !is_whole {
        eprintln!("interrupted: the same command goes on");
        return Ok(Done::Interrupted);
    }
    Ok(Done::Well)
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    exported: u64,
    /// Of those that were there already when the command went on.
    resumed: u64,
    /// Rows of a `.npy` file for which no record was found: they are zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
}

impl Report {
    fn words(&self, file: &Path) -> String {
        let resumed = if self.resumed > 0 { format!(", {} of them before", self.resumed) } else { String::new() };
        let missing = self.missing.filter(|missing| *missing > 0);
        let missing = missing.map(|missing| format!("; {missing} rows have no record and are zeros"));
        format!("{} exported to {}{resumed}{}", self.exported, file.display(), missing.unwrap_or_default())
    }
}

fn export_lines(client: &Client, file: &Path, filter: &str, stop: &Stop) -> Result<(Report, bool), Failure> {
    let part = Part::of(file, filter);
    let unwritten = |error: io::Error| part.unwritten(error);
    let (mut open, mut note) = part.resume().map_err(unwritten)?;
    let mut report = Report { exported: note.lines, resumed: note.lines, missing: None };
    let mut bar = Bar::new("exported");
    let whole = known(client).filter(|whole| *whole > 0);
    loop {
        if stop.is_wanted() {
            bar.end();
            return Ok((report, false));
        }
        let (rows, next) = page(client, &format!("&with_embedding=true{filter}"), PAGE, note.after.as_deref())?;
        let mut text = String::new();
        rows.iter().for_each(|row| text.push_str(&format!("{row}\n")));
        open.write_all(text.as_bytes()).map_err(unwritten)?;
        report.exported += rows.len() as u64;
        bar.show(report.exported, whole.map(|whole| report.exported as f64 / whole as f64));
        note = Note { bytes: note.bytes + text.len() as u64, lines: report.exported, after: next };
        if note.after.is_none() {
            break;
        }
        part.keep(&note).map_err(unwritten)?;
    }
    bar.end();
    open.sync_all().and_then(|()| part.finish(file)).map_err(unwritten)?;
    Ok((report, true))
}

fn export_rows(
    client: &Client,
    file: &Path,
    prefix: &str,
    filter: &str,
    stop: &Stop,
) -> Result<(Report, bool), Failure> {
    let part = Part::of(file, filter);
    let unwritten = |error: io::Error| part.unwritten(error);
    let (mut report, mut bar, mut after) = (Report::default(), Bar::new("exported"), None::<String>);
    let mut writer: Option<Writer> = None;
    let mut taken = std::collections::BTreeSet::new();
    loop {
        // Rows lie in their places, so that what is half done cannot be told from what is done: it begins anew.
        if stop.is_wanted() {
            bar.end();
            std::fs::remove_file(&part.data).or_else(absent).map_err(unwritten)?;
            return Ok((report, false));
        }
        let (rows, next) = page(client, &format!("&with_embedding=true{filter}"), PAGE, after.as_deref())?;
        for row in &rows {
            let record: RecordRow = super::understand(row)?;
            let number = record.hash_value.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
            let numbers = record.embedding.and_then(|embedding| embedding.numbers);
            let (Some(number), Some(numbers)) = (number.filter(|number| *number < MAX_ROWS), numbers) else { continue };
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
                none => {
                    none.insert(File::create(&part.data).and_then(|file| Writer::new(file, dims)).map_err(unwritten)?)
                }
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
        return Err(Failure::Undone(format!("no record with an embedding has a hash that is `{prefix}` and a number")));
    };
    let rows = writer.end().and_then(|rows| part.finish(file).map(|()| rows)).map_err(unwritten)?;
    report.missing = Some(rows - report.exported);
    Ok((report, true))
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// How many records there are, for the bar; none if the node does not say.
fn known(client: &Client) -> Option<u64> {
    client.get("/v1/stats").ok()?.pointer("/registry/records")?.as_u64()
}

/// What lies beside a file that is not whole, by names that tell what was asked for.
#[derive(Debug)]
struct Part {
    data: PathBuf,
    note: PathBuf,
}

/// How far it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    bytes: u64,
    lines: u64,
    after: Option<String>,
}

impl Part {
    fn of(file: &Path, filter: &str) -> Self {
        // FNV-1a, 64 bits: two questions about one file are told apart.
        let hash = filter
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let beside = |end: &str| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{hash:016x}.{end}"));
            file.with_file_name(name)
        };
        Self { data: beside("part"), note: beside("note") }
    }

    fn unwritten(&self, error: io::Error) -> Failure {
        Failure::Undone(format!("{} cannot be written: {error}", self.data.display()))
    }

    /// Opens what was written before, behind what is surely whole.
    fn resume(&self) -> io::Result<(File, Note)> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.data)?;
        let note = std::fs::read(&self.note).ok().and_then(|note| serde_json::from_slice::<Note>(&note).ok());
        // A note of more than there is, as after a power failure, says nothing: all begins anew.
        let length = file.metadata()?.len();
        let note = note.filter(|note| note.bytes <= length && note.after.is_some()).unwrap_or_default();
        file.set_len(note.bytes)?;
        file.seek(SeekFrom::Start(note.bytes))?;
        Ok((file, note))
    }

    /// Notes how far it came: replaced whole, so that whatever ends the program leaves one or the other.
    fn keep(&self, note: &Note) -> io::Result<()> {
        let next = self.note.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(note).expect("a note has no keys but strings"))?;
        std::fs::rename(next, &self.note)
    }

    fn finish(&self, file: &Path) -> io::Result<()> {
        std::fs::rename(&self.data, file)?;
        std::fs::remove_file(&self.note).or_else(absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_goes_on_behind_what_its_note_says_and_without_a_note_begins_anew() {
        let file = std::env::temp_dir().join(format!("kodikon-export-{}.jsonl", std::process::id()));
        let part = Part::of(&file, "&type=person");
        let note = Note { bytes: 8, lines: 2, after: Some("5.place".to_owned()) };
        for (text, kept, expected) in [
            ("", None, Note::default()),
            ("one\ntwo\nthr", Some(&note), note.clone()),
            ("one\ntwo\n", Some(&note), note.clone()),
            ("one\ntwo", Some(&note), Note::default()),
            ("one\ntwo\n", None, Note::default()),
        ] {
            std::fs::write(&part.data, text).expect("writable");
            let _ = std::fs::remove_file(&part.note);
            kept.map_or(Ok(()), |note| part.keep(note)).expect("writable");
            let (mut open, found) = part.resume().expect("writable");
            assert_eq!(found, expected, "{text:?} {kept:?}");
            let place = (open.stream_position().expect("seekable"), open.metadata().expect("there").len());
            assert_eq!(place, (found.bytes, found.bytes));
        }
        part.finish(&file).expect("writable");
        assert!(!part.data.exists() && !part.note.exists() && file.exists());
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn each_question_has_an_unfinished_file_of_its_own() {
        let file = Path::new("/tmp/all.jsonl");
        let (one, other) = (Part::of(file, "").data, Part::of(file, "&type=person").data);
        assert_ne!(one, other);
        assert_eq!(one, Part::of(file, "").data);
        assert!(
            one.to_string_lossy().starts_with("/tmp/all.jsonl.") && one.extension().is_some_and(|end| end == "part")
        );
    }
}

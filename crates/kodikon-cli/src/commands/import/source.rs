//! Decides what in a file is a record, and by which line it is told: a line of JSON, an element of a list, a row of numbers.
//!
//! It is read on a thread of its own: who waits for a file that gives nothing, as a pipe may, can be told to end all the same.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, sync_channel};

use kodikon::api::{EmbeddingRow, Named, RecordDoc};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Deserializer};
use serde_json::Value;

use crate::args::ImportArgs;
use crate::commands::records::check;
use crate::npy::Rows;
use crate::outcome::Failure;

/// Bytes of a line at most, and of an element of a list: an embedding of 4,096 numbers, metadata and ownership of 4 KiB each, and blanks.
const MAX_LINE: usize = 256 << 10;
/// Records that are read ahead.
const AHEAD: usize = 256;

/// What was read.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    /// The number of its line or row.
    pub(super) line: u64,
    /// A record that the node takes, as JSON; or why it is none.
    pub(super) record: Result<String, String>,
    /// The part of all that is read then, where that is known.
    pub(super) part: Option<f64>,
}

/// Reads what the file has, piece by piece; the end of the channel is that of the file.
pub(super) fn read_ahead(args: ImportArgs) -> Result<Receiver<Result<Piece, Failure>>, Failure> {
    let (hand, handed) = sync_channel(AHEAD);
    let read = move || {
        let each = &mut |piece| hand.send(Ok(piece)).is_ok();
        if let Err(failure) = Source::open(args).and_then(|source| source.each(each)) {
            // An error means that nobody waits any more.
            drop(hand.send(Err(failure)));
        }
    };
    let thread = std::thread::Builder::new().name("kodikon-read".into()).spawn(read);
    thread.map_err(|error| Failure::Undone(format!("the system gives no thread: {error}")))?;
    Ok(handed)
}

/// Who takes what is read: `false` when nothing more is wanted.
type Hand<'a> = dyn FnMut(Piece) -> bool + 'a;

/// From where records come.
enum Source {
    Lines(Lines),
    Rows { rows: Rows, prefix: String, like: Like },
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
            return Ok(Self::Rows { rows, prefix, like });
        }
        if args.prefix.is_some() {
            return Err(Failure::Usage("--prefix is for a .npy file: each line of JSON names its hash".into()));
        }
        if args.file == Path::new("-") {
            return Ok(Self::Lines(Lines::new(Box::new(io::stdin()), 0, like)));
        }
        let file = File::open(&args.file).map_err(|error| unread(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| unread(error.to_string()))?;
        if metadata.is_dir() {
            return Err(unread("it is a folder".to_owned()));
        }
        Ok(Self::Lines(Lines::new(Box::new(file), metadata.len(), like)))
    }

    /// Hands on all that there is.
    fn each(self, hand: &mut Hand<'_>) -> Result<(), Failure> {
        match self {
            Self::Lines(mut lines) => while lines.next(hand)? {},
            Self::Rows { mut rows, prefix, like } => {
                for row in 0..rows.len() {
                    let numbers = rows.row(row).map_err(|error| Failure::Undone(format!("row {row}: {error}")))?;
                    let mut record = RecordDoc::default();
                    record.hash_value = format!("{prefix}{row}");
                    let mut embedding = EmbeddingRow::default();
                    embedding.numbers = Some(numbers);
                    record.embedding = Some(embedding);
                    let part = Some((row + 1) as f64 / rows.len() as f64);
                    if !hand(Piece { line: row, record: like.finish(record), part }) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

pub(in crate::commands) fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy"))
}

impl Like {
    /// A record with what it does not say itself, if a node takes it: here its numbers still have their places, JSON knows no NaN.
    fn finish(&self, mut record: RecordDoc) -> Result<String, String> {
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
        check(&record)?;
        Ok(serde_json::to_string(&record).expect("a record has no keys but strings"))
    }

    /// The record that a line or an element is. What a search found says how near it was, which is nothing of the record's.
    fn of_value(&self, mut value: Value) -> Result<String, String> {
        if let Value::Object(members) = &mut value {
            members.remove("score");
        }
        let Named(record) =
            Named::<RecordDoc>::deserialize(value).map_err(|error| format!("it is no record: {error}"))?;
        self.finish(record)
    }

    fn of_element(&self, count: u64, element: Value) -> Result<String, String> {
        self.of_value(element).map_err(|why| format!("record {count} of its list: {why}"))
    }
}

/// Records as text: one a line, or lists of them.
struct Lines {
    text: Text,
    length: u64,
    like: Like,
}

impl Lines {
    fn new(file: Box<dyn Read>, length: u64, like: Like) -> Self {
        Self { text: Text { file: BufReader::new(file), counts: Rc::default() }, length, like }
    }

    /// Hands on what the next line has; whether more may be there, and is wanted.
    fn next(&mut self, hand: &mut Hand<'_>) -> Result<bool, Failure> {
        let Some(first) = self.text.first().map_err(unreadable)? else { return Ok(false) };
        let mut line = Vec::new();
        if first == b'[' {
            return self.stream(line, hand);
        }
        let (number, limit) = (self.text.counts.line(), MAX_LINE as u64 + 1);
        (&mut self.text).take(limit).read_until(b'\n', &mut line).map_err(unreadable)?;
        if line.len() > MAX_LINE && !line.ends_with(b"\n") {
            return self.stream(line, hand);
        }
        let part = self.text.counts.part(self.length);
        let mut told = |record| hand(Piece { line: number, record, part });
        if let Ok(Named(record)) = serde_json::from_slice::<Named<RecordDoc>>(&line) {
            return Ok(told(self.like.finish(record)));
        }
        Ok(match serde_json::from_slice::<Value>(&line) {
            Ok(Value::Object(mut members)) if members.get("results").is_some_and(Value::is_array) => {
                let Some(Value::Array(found)) = members.remove("results") else { return Ok(true) };
                (1_u64..).zip(found).all(|(count, element)| told(self.like.of_element(count, element)))
            }
            Ok(other) => told(self.like.of_value(other)),
            Err(error) => told(Err(no_json(&error))),
        })
    }

    /// Hands on the elements of a list, as `get` and `find` write it, or of the results of a search, of which `begun` is read already. The
    /// list may be larger than memory, and go over several lines.
    fn stream(&mut self, begun: Vec<u8>, hand: &mut Hand<'_>) -> Result<bool, Failure> {
        let (counts, is_array) = (Rc::clone(&self.text.counts), begun.is_empty());
        let (mut count, mut is_wanted) = (0_u64, true);
        let mut element = |element: Value| {
            count += 1;
            counts.left.set(MAX_LINE);
            let (line, part) = (counts.line(), counts.part(self.length));
            is_wanted = hand(Piece { line, record: self.like.of_element(count, element), part });
            is_wanted
        };
        counts.left.set(MAX_LINE);
        let mut reader = Cursor::new(begun).chain(&mut self.text);
        let read = Elements(&mut element).deserialize(&mut serde_json::Deserializer::from_reader(&mut reader));
        let (is_long, line) = (counts.left.replace(usize::MAX) == 0, counts.line());
        if !is_wanted {
            return Ok(false);
        }
        let too_long = || format!("it has more than {MAX_LINE} bytes: no record is that long");
        let why = match read {
            Err(_) if is_long => Some(too_long()),
            Err(error) if error.is_io() => return Err(unreadable(error.into())),
            Err(error) => Some(no_json(&error)),
            Ok(()) if count == 0 && !is_array => Some(too_long()),
            Ok(()) => None,
        };
        let mut rest = Vec::new();
        (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut rest).map_err(unreadable)?;
        if !rest.is_empty() && !rest.ends_with(b"\n") {
            reader.skip_until(b'\n').map_err(unreadable)?;
        }
        let more = || (!rest.trim_ascii().is_empty()).then(|| "more follows behind its list".to_owned());
        Ok(match why.or_else(more) {
            Some(why) => hand(Piece { line, record: Err(why), part: self.text.counts.part(self.length) }),
            None => true,
        })
    }
}

/// A text that counts what is read of it, and gives no more than it may.
struct Text {
    file: BufReader<Box<dyn Read>>,
    counts: Rc<Counts>,
}

#[derive(Debug)]
struct Counts {
    bytes: Cell<u64>,
    lines: Cell<u64>,
    /// Bytes that may be read yet.
    left: Cell<usize>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { bytes: Cell::new(0), lines: Cell::new(0), left: Cell::new(usize::MAX) }
    }
}

impl Counts {
    /// The number of the line that is read next, from 1.
    fn line(&self) -> u64 {
        self.lines.get() + 1
    }

    /// The part of so many bytes that is read.
    fn part(&self, length: u64) -> Option<f64> {
        (length > 0).then(|| self.bytes.get() as f64 / length as f64)
    }
}

impl Text {
    /// The next byte that is no blank, which is still to be read; none at the end.
    fn first(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.fill_buf()?;
            let (length, found) = (bytes.len(), bytes.iter().position(|byte| !byte.is_ascii_whitespace()));
            let byte = found.and_then(|at| bytes.get(at).copied());
            self.consume(found.unwrap_or(length));
            if byte.is_some() || length == 0 {
                return Ok(byte);
            }
        }
    }
}

impl Read for Text {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Text {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.counts.left.get();
        if left == 0 {
            return Err(io::Error::other("an element is too long"));
        }
        let bytes = self.file.fill_buf()?;
        Ok(bytes.get(..left).unwrap_or(bytes))
    }

    fn consume(&mut self, count: usize) {
        let Counts { bytes, lines, left } = &*self.counts;
        let taken = self.file.buffer().iter().take(count);
        lines.set(lines.get() + taken.filter(|byte| **byte == b'\n').count() as u64);
        bytes.set(bytes.get() + count as u64);
        left.set(left.get().saturating_sub(count));
        self.file.consume(count);
    }
}

/// Hands on the elements of an array, one by one, or those of the member `results` of an object.
struct Elements<'a>(&'a mut dyn FnMut(Value) -> bool);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if !(self.0)(element) {
                return Err(A::Error::custom("no more is wanted"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "results" {
                members.next_value_seed(Elements(&mut *self.0))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Undone(format!("the file cannot be read on: {error}"))
}

/// Why a text is none that JSON allows. Where in its line that is says little: the line's number is told.
fn no_json(error: &serde_json::Error) -> String {
    let why = error.to_string();
    format!("it is no JSON: {}", why.split(" at line ").next().unwrap_or(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hash and kind of a record, or why it is none.
    type Told = Result<(String, Option<String>), String>;

    /// What is read of a text, by the numbers of its lines.
    fn read(text: &str) -> Vec<(u64, Told)> {
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
        let pieces = read_ahead(args).expect("a thread");
        let pieces: Vec<Piece> = pieces.into_iter().map(|piece| piece.expect("readable")).collect();
        let _ = std::fs::remove_file(file);
        let parts: Vec<f64> = pieces.iter().filter_map(|piece| piece.part).collect();
        assert!(parts.is_sorted() && parts.last().is_none_or(|part| (0.9..=1.0).contains(part)), "{parts:?}");
        let told = |record: String| {
            let record: RecordDoc = serde_json::from_str(&record).expect("a record");
            (record.hash_value, record.data_type)
        };
        pieces.into_iter().map(|piece| (piece.line, piece.record.map(told))).collect()
    }

    fn record(hash: &str, data_type: &str) -> Told {
        Ok((hash.to_owned(), Some(data_type.to_owned())))
    }

    /// Each line is told by its number, and what is wrong with it.
    fn assert_told(text: &str, expected: &[(u64, &str)]) {
        let found = read(text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((line, told), (number, said)) in found.iter().zip(expected) {
            let told = match told {
                Ok((hash, _)) => hash,
                Err(why) => why,
            };
            assert!(line == number && told.contains(said), "{line}: {told} should be {number}: {said}");
        }
    }

    #[test]
    fn a_broken_line_is_told_by_its_number_and_the_rest_goes_on() {
        let long = format!("{{\"hash_value\": \"{}\"}}", "x".repeat(MAX_LINE));
        let text = format!(
            "{{\"hash_value\": \"a\"}}\n\n{{\"hash_value\": \n{long}\n7\n{{\"hash_value\": \"b\", \"data_type\": \"bag\"}}\n{{\"hash\": 1}}"
        );
        let found = read(&text);
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!((&found[0], &found[4]), (&(1, record("a", "person")), &(6, record("b", "bag"))));
        assert_told(
            &text,
            &[
                (1, "a"),
                (3, "it is no JSON: EOF"),
                (4, "more than 262144 bytes"),
                (5, "it is no record: invalid type: integer `7`, expected an object"),
                (6, "b"),
                (7, "it is no record: unknown field `hash`"),
            ],
        );
    }

    #[test]
    fn what_no_node_takes_is_refused_by_its_value_and_its_limit() {
        let with = |numbers: &str| {
            format!("{{\"hash_value\": \"h\", \"embedding\": {{\"model\": \"m\", \"numbers\": [{numbers}]}}}}\n")
        };
        let text = [&with("1, 2"), &with("1, 1e300"), &with("0, 0"), "{\"hash_value\": \"h\", \"confidence\": 2}\n"];
        assert_told(
            &text.map(String::from).concat(),
            &[
                (1, "h"),
                (2, "embedding: number 1 is inf"),
                (3, "embedding: all numbers are 0"),
                (4, "confidence is 2: 0 to 1 is taken"),
            ],
        );
    }

    #[test]
    fn a_list_of_records_is_read_on_one_line_or_on_many_and_so_are_the_results_of_a_search() {
        let one = "{\"hash_value\": \"a\"}";
        let found = "{\"hash_value\": \"b\", \"score\": 0.5}";
        assert_told(&format!("[{one}, {found}]\n{one}"), &[(1, "a"), (1, "b"), (2, "a")]);
        assert_told(&format!("[\n  {one},\n  {found}\n]\n{one}\n"), &[(2, "a"), (3, "b"), (5, "a")]);
        assert_told(&format!("{{\"of\": 1, \"results\": [{found}, {one}]}}\n{found}"), &[(1, "b"), (1, "a"), (2, "b")]);
        assert_told("[]\n{\"results\": []}\n", &[]);
        assert_told(
            &format!("[{one}, [\"pos1\", \"person\"], {{\"hash\": 1}}, {one}] {one}\n{one}"),
            &[
                (1, "a"),
                (1, "record 2 of its list: it is no record: invalid type: sequence, expected an object"),
                (1, "record 3 of its list: it is no record: unknown field `hash`"),
                (1, "a"),
                (1, "more follows behind its list"),
                (2, "a"),
            ],
        );
        assert_told(&format!("[{one}, {{]\n{one}"), &[(1, "a"), (1, "it is no JSON"), (2, "a")]);
        assert_told(&format!("[{one},\n"), &[(1, "a"), (2, "it is no JSON: EOF")]);
    }

    #[test]
    fn a_list_may_be_longer_than_any_line_and_none_of_its_records() {
        let padded = |hash: &str, bytes: usize| {
            format!("{{\"hash_value\": \"{hash}\"{}, \"data_type\": \"bag\"}}", " ".repeat(bytes))
        };
        let many = vec![padded("a", MAX_LINE / 4); 40].join(",");
        for text in [format!("[{many}]\n"), format!("{{\"certified\": true, \"results\": [{many}]}}\n")] {
            let found = read(&text);
            assert_eq!(found.len(), 40);
            assert!(found.iter().all(|found| *found == (1, record("a", "bag"))), "{:?}", found[0]);
        }
        let text = format!("[{}, {}]\n{}", padded("a", 9), padded("b", MAX_LINE), padded("c", 9));
        assert_told(&text, &[(1, "a"), (1, "more than 262144 bytes"), (2, "c")]);
    }
}

//! Decides what lies beside a file that is not whole, who may write it, and from where the same command goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::outcome::Failure;

/// How often it is tried to be alone with it, and how long after one another: a command that is about to end is waited for.
const TRIES: usize = 16;
const PAUSE: Duration = Duration::from_millis(20);

/// What lies beside a file that is not whole, by names that tell what was asked for.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) data: PathBuf,
    note: PathBuf,
}

/// How far it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) after: Option<String>,
    /// The identity of the node that was asked: another one's list has other places.
    #[serde(default)]
    pub(super) node: String,
    /// When that began, in seconds since 1970.
    #[serde(default)]
    pub(super) begun: f64,
}

impl Part {
    pub(super) fn of(file: &Path, filter: &str) -> Self {
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

    pub(super) fn unwritten(&self, error: &io::Error) -> Failure {
        Failure::Undone(format!("{} cannot be written: {error}", self.data.display()))
    }

    /// Opens what was written before, for this command alone as long as it is open.
    pub(super) fn open_alone(&self) -> Result<File, Failure> {
        let unwritten = |error: io::Error| self.unwritten(&error);
        for _ in 0..TRIES {
            let data = OpenOptions::new().write(true).create(true).truncate(false).open(&self.data);
            let data = data.map_err(unwritten)?;
            match data.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                // Some file systems know no locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Another command may have ended meanwhile: then this is the whole file, or none.
            let opened = data.metadata().map_err(unwritten)?;
            let is_same = |there: std::fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
            if std::fs::metadata(&self.data).is_ok_and(is_same) {
                return Ok(data);
            }
        }
        Err(Failure::Undone(format!("another export writes {}: let it end, or name another file", self.data.display())))
    }

    /// How far it came; none where nothing tells it.
    pub(super) fn noted(&self) -> Option<Note> {
        let note = std::fs::read(&self.note).ok().and_then(|note| serde_json::from_slice::<Note>(&note).ok());
        note.filter(|note| note.after.is_some())
    }

    /// Goes on behind what is surely whole.
    pub(super) fn resume(&self, data: &mut File, noted: Option<Note>) -> io::Result<Note> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A note of more than there is, as after a power failure, says nothing: all begins anew.
        let length = data.metadata()?.len();
        let note = match noted.filter(|note| note.bytes <= length) {
            Some(note) => note,
            None => {
                // Ended before the first note of its own, it would go on by one that tells of other data.
                std::fs::remove_file(&self.note).or_else(absent)?;
                Note { begun: now.as_secs_f64(), ..Note::default() }
            }
        };
        data.set_len(note.bytes)?;
        data.seek(SeekFrom::Start(note.bytes))?;
        Ok(note)
    }

    /// Notes how far it came: replaced whole, so that whatever ends the program leaves one or the other.
    pub(super) fn keep(&self, note: &Note) -> io::Result<()> {
        let next = self.note.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(note).expect("a note has no keys but strings"))?;
        std::fs::rename(next, &self.note)
    }

    /// It is whole: the file is there now.
    pub(super) fn finish(&self, file: &Path) -> io::Result<()> {
        std::fs::rename(&self.data, file)?;
        std::fs::remove_file(&self.note).or_else(absent)
    }

    /// It is nothing that anybody could go on with.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.data).or_else(absent)
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_goes_on_behind_what_its_note_says_and_without_a_note_begins_anew() {
        let file = std::env::temp_dir().join(format!("kodikon-export-{}.jsonl", std::process::id()));
        let part = Part::of(&file, "&type=person");
        let note = Note { bytes: 8, lines: 2, after: Some("5.place".to_owned()), node: "ab".to_owned(), begun: 7.5 };
        for (text, kept, goes_on) in [
            ("", None, false),
            ("one\ntwo\nthr", Some(&note), true),
            ("one\ntwo\n", Some(&note), true),
            ("one\ntwo", Some(&note), false),
            ("one\ntwo\n", None, false),
        ] {
            std::fs::write(&part.data, text).expect("writable");
            let _ = std::fs::remove_file(&part.note);
            kept.map_or(Ok(()), |note| part.keep(note)).expect("writable");
            let mut data = part.open_alone().expect("writable");
            let found = part.resume(&mut data, part.noted()).expect("writable");
            let expected = if goes_on { note.clone() } else { Note { begun: found.begun, ..Note::default() } };
            assert!(found == expected && (goes_on || found.begun > 1e9), "{text:?} {kept:?}: {found:?}");
            let place = (data.stream_position().expect("seekable"), data.metadata().expect("there").len());
            assert_eq!(place, (found.bytes, found.bytes));
            assert_eq!(part.noted().is_some(), goes_on, "{text:?} {kept:?}: a note is of this data");
        }
        part.keep(&note).expect("writable");
        let mut data = part.open_alone().expect("writable");
        assert_eq!(part.resume(&mut data, None).expect("writable").bytes, 0, "the note is of another node");
        assert_eq!(part.noted(), None, "what is written from here on is not what it tells of");
        drop(data);
        let data = part.open_alone().expect("writable");
        assert!(part.open_alone().is_err_and(|refused| refused.to_string().contains("another export writes")));
        part.finish(&file).expect("writable");
        assert!(!part.data.exists() && !part.note.exists() && file.exists());
        // Its lock is on what is the whole file now.
        drop(part.open_alone().expect("another one"));
        drop(data);
        part.remove().expect("writable");
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

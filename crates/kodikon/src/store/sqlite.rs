//! Decides how the log lies on disk: one SQLite database in the data directory, its schema, and what becomes of a damaged one.
//!
//! SQLite, because its transactions hold whatever moment the power fails, and forty years of files say so; bundled, so that the
//! node does not depend on what the machine has. WAL with `synchronous=FULL`: a commit is one append and one `fdatasync`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kodikon_core::effect::log::{Batch, Committed, LogCover, LogRow, ReadRows, SavedLog};
use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::model::op::SignedOp;
use kodikon_core::wire::message::Interval;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params, params_from_iter};

use crate::store::StoreError;
use crate::store::log::LogStore;

/// The database's name in the data directory.
pub(crate) const LOG_FILE: &str = "log.db";
/// Under this name a damaged one is kept, with its write-ahead log: what was seen here alone is nowhere else. Further ones have a number.
const DAMAGED_FILE: &str = "log.db.damaged";
/// Under this name one is made anew, until it is whole.
const REBUILT_FILE: &str = "log.db.rebuilt";
/// Damaged ones that are kept at most. A disk that has spoilt so many is to be looked at before it spoils more.
const DAMAGED_MOST: u32 = 9;

/// Each brings the schema one version further, the first from nothing. The version is `user_version`.
const MIGRATIONS: [&str; 1] =
    ["CREATE TABLE ops (author BLOB NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, born_ms INTEGER NOT NULL,
         op BLOB NOT NULL, PRIMARY KEY (author, epoch, seq));
     CREATE TABLE covers (author BLOB NOT NULL, epoch INTEGER NOT NULL, key BLOB NOT NULL, covered BLOB NOT NULL,
         PRIMARY KEY (author, epoch)) WITHOUT ROWID;
     CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"];

/// Each table of the newest schema, and all its columns.
const TABLES: [(&str, &str); 3] =
    [("ops", "author, epoch, seq, born_ms, op"), ("covers", "author, epoch, key, covered"), ("facts", "name, value")];

/// What holds for the connection: one process alone (its lock is the data directory's), pages of 512 KiB at most in memory, and a
/// log file that shrinks again after a burst.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 4194304; PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY;";

/// Rows that are handed over at a time: half a megabyte of sightings.
const ROWS: usize = 512;
/// The name of the fact that a run has begun and not ended in order.
const RUNNING: &str = "running";
/// The name of the log's clock.
const CLOCK: &str = "clock_ms";

/// The log on disk.
#[derive(Debug)]
pub(crate) struct SqliteLog {
    path: PathBuf,
    connection: Connection,
    /// A damaged database was put aside: what it held may have been shown.
    lost: bool,
}

impl SqliteLog {
    /// Opens the log of a data directory, made if need be.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`] for one of a later program, which is left as it is; [`StoreError::NotWritable`],
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOG_FILE);
        match Self::connect(&path) {
            Ok(connection) => Ok(Self { path, connection, lost: false }),
            Err(error) if is_damage(&error) => Self::renewed(path, &error),
            Err(error) => Err(from_sqlite(&path, error)),
        }
        .and_then(Self::migrated)
    }

    /// Begins a new log in the place of a damaged one, which is kept under another name.
    fn renewed(path: PathBuf, error: &rusqlite::Error) -> Result<Self, StoreError> {
        let kept = put_aside(&path)?;
        tracing::error!(
            path = %path.display(), kept = %kept.display(), %error,
            "the log is damaged: it is kept under another name, and begun anew; the others still have what lasts"
        );
        let connection = Self::connect(&path).map_err(|error| from_sqlite(&path, error))?;
        Ok(Self { path, connection, lost: true })
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        // SQLite gives its other files the rights of this one. Where it cannot be made, SQLite says why.
        let _ = private().truncate(false).open(path);
        let connection = Connection::open(path)?;
        connection.execute_batch(SETTINGS)?;
        // What is no database, or has no tables that make sense, shows where its tables are read.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    }

    fn migrated(mut self) -> Result<Self, StoreError> {
        let fail = |error| from_sqlite(&self.path, error);
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        let known = MIGRATIONS.len();
        let Some(done) = usize::try_from(version).ok().filter(|done| *done <= known) else {
            let known = u32::try_from(known).unwrap_or(u32::MAX);
            return Err(StoreError::UnknownVersion { path: self.path, found: version.to_string(), known });
        };
        for (version, migration) in (1u32..).zip(MIGRATIONS).skip(done) {
            let step = self.connection.transaction().and_then(|step| {
                step.execute_batch(migration)?;
                step.pragma_update(None, "user_version", version)?;
                step.commit()
            });
            step.map_err(|error| from_sqlite(&self.path, error))?;
        }
        Ok(self)
    }

    fn read(&self) -> rusqlite::Result<SavedLog> {
        let fact = |name: &str| {
            let value = self.connection.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0));
            value.optional().map(Option::<i64>::unwrap_or_default)
        };
        let mut saved = SavedLog {
            clock_ms: u64::try_from(fact(CLOCK)?).unwrap_or(0),
            was_cut: fact(RUNNING)? != 0 || self.lost,
            ..SavedLog::default()
        };
        let mut covers =
            self.connection.prepare("SELECT author, epoch, key, covered FROM covers ORDER BY author, epoch")?;
        let mut found = covers.query([])?;
        while let Some(row) = found.next()? {
            let covered: Vec<(u64, u64)> = minicbor::decode(row.get_ref(3)?.as_blob()?).map_err(|_| damage())?;
            saved.covers.push(LogCover {
                author: NodeId(row.get(0)?),
                epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
                key: row.get(2)?,
                covered: covered.into_iter().map(|(first, last)| Interval { first, last }).collect(),
            });
        }
        Ok(saved)
    }

    /// Reads all rows.
    fn read_rows(&self, hand: &mut dyn FnMut(ReadRows)) -> rusqlite::Result<()> {
        // As they lie on the disk: by their names each would be looked for, which takes 100,000 of them a second.
        let mut ops = self.connection.prepare("SELECT born_ms, op FROM ops")?;
        let mut found = ops.query([])?;
        let mut rows = ReadRows::default();
        while let Some(row) = found.next()? {
            let op: SignedOp = minicbor::decode(row.get_ref(1)?.as_blob()?).map_err(|_| damage())?;
            rows.add(LogRow { op, born_ms: row.get(0)? });
            if rows.rows().len() == ROWS {
                hand(std::mem::take(&mut rows));
            }
        }
        hand(rows);
        Ok(())
    }

    /// Makes the log anew out of its tables, whose rows could be read: an index or the list of free pages is damaged. The damaged one is
    /// kept under another name. At each moment one of both bears the log's name.
    fn rebuild(&mut self) -> Result<(), StoreError> {
        let fresh = self.path.with_file_name(REBUILT_FILE);
        let fail = |source| StoreError::from_io(&fresh, source);
        private().truncate(true).open(&fresh).map_err(fail)?;
        self.copy_to(&fresh).map_err(|error| from_sqlite(&fresh, error))?;
        File::open(&fresh).and_then(|file| file.sync_all()).map_err(fail)?;
        // What is in the write-ahead log goes into the damaged one, as far as that can be: it is no part of the new one.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection = Connection::open_in_memory().map_err(|error| from_sqlite(&self.path, error))?;
        let kept = keep_beside(&self.path, |from, to| std::fs::hard_link(from, to))?;
        std::fs::rename(&fresh, &self.path).map_err(fail)?;
        sync_directory(&self.path).map_err(fail)?;
        tracing::error!(
            path = %self.path.display(), kept = %kept.display(),
            "the log was damaged where no row shows it: it is kept under another name, and was made anew out of its rows"
        );
        self.connection = Self::connect(&self.path).map_err(|error| from_sqlite(&self.path, error))?;
        Ok(())
    }

    /// Writes all tables into another database, without their indexes being asked.
    fn copy_to(&self, path: &Path) -> rusqlite::Result<()> {
        let mut copy = Connection::open(path)?;
        // It is synced as a whole, and is nobody's until then.
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        let whole = copy.transaction()?;
        MIGRATIONS.iter().try_for_each(|migration| whole.execute_batch(migration))?;
        let version = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        whole.pragma_update(None, "user_version", version)?;
        for (table, columns) in TABLES {
            let mut read = self.connection.prepare(&format!("SELECT {columns} FROM {table} NOT INDEXED"))?;
            let places = vec!["?"; read.column_count()].join(", ");
            let mut write = whole.prepare(&format!("INSERT INTO {table} ({columns}) VALUES ({places})"))?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let values = (0..write.parameter_count()).map(|at| row.get::<_, Value>(at));
                write.execute(params_from_iter(values.collect::<rusqlite::Result<Vec<_>>>()?))?;
            }
        }
        whole.commit()
    }

    fn is_whole(&self) -> rusqlite::Result<bool> {
        let word: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(word == "ok")
    }

    /// Puts a log aside whose damage was found while it was read, and begins a new one.
    fn renew(&mut self, error: &rusqlite::Error) -> Result<(), StoreError> {
        // The file is let go before it is renamed.
        self.connection = Connection::open_in_memory().map_err(|error| from_sqlite(&self.path, error))?;
        *self = Self::renewed(self.path.clone(), error)?.migrated()?;
        Ok(())
    }

    fn set_fact(&self, name: &str, value: i64) -> Result<(), StoreError> {
        set_fact(&self.connection, name, value).map_err(|error| from_sqlite(&self.path, error))
    }
}

impl LogStore for SqliteLog {
    fn begin(&mut self) -> Result<SavedLog, StoreError> {
        let saved = match self.read() {
            Err(error) if is_damage(&error) => {
                self.renew(&error)?;
                self.read()
            }
            read => read,
        };
        saved.map_err(|error| from_sqlite(&self.path, error))
    }

    fn rows(&mut self, hand: &mut dyn FnMut(ReadRows)) -> Result<bool, StoreError> {
        match self.read_rows(hand) {
            // What SQLite takes for whole may hold a row that is none.
            Err(error) if is_damage(&error) => {
                self.renew(&error)?;
                Ok(false)
            }
            Err(error) => Err(from_sqlite(&self.path, error)),
            Ok(()) => {
                self.set_fact(RUNNING, 1)?;
                Ok(true)
            }
        }
    }

    fn check(&mut self) -> Result<(), StoreError> {
        match self.is_whole() {
            Ok(true) => Ok(()),
            Err(error) if !is_damage(&error) => Err(from_sqlite(&self.path, error)),
            Ok(false) | Err(_) => self.rebuild(),
        }
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<Committed, StoreError> {
        let whole = self.connection.transaction().and_then(|whole| {
            batches.iter().try_for_each(|batch| write(&whole, batch))?;
            whole.commit()
        });
        whole.map(|()| Committed::OnDisk).map_err(|error| from_sqlite(&self.path, error))
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.set_fact(RUNNING, 0)
    }
}

fn write(whole: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let signed = |number: u64| number.cast_signed();
    let mut add = whole
        .prepare_cached("INSERT OR REPLACE INTO ops (author, epoch, seq, born_ms, op) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for row in &batch.rows {
        let bytes = minicbor::to_vec(&row.op).expect("encoding into memory cannot fail");
        let (author, epoch, seq) = (row.op.author().0, signed(row.op.epoch().0), signed(row.op.seq().0));
        add.execute(params![author, epoch, seq, row.born_ms, bytes])?;
    }
    let mut remove = whole.prepare_cached("DELETE FROM ops WHERE author = ?1 AND epoch = ?2 AND seq = ?3")?;
    for id in &batch.removed {
        remove.execute(params![id.author.0, signed(id.epoch.0), signed(id.seq.0)])?;
    }
    let mut cover =
        whole.prepare_cached("INSERT OR REPLACE INTO covers (author, epoch, key, covered) VALUES (?1, ?2, ?3, ?4)")?;
    for one in &batch.covers {
        let spans: Vec<(u64, u64)> = one.covered.iter().map(|span| (span.first, span.last)).collect();
        let bytes = minicbor::to_vec(spans).expect("encoding into memory cannot fail");
        cover.execute(params![one.author.0, signed(one.epoch.0), one.key, bytes])?;
    }
    for (author, epoch) in &batch.ended {
        for table in ["ops", "covers"] {
            let mut end = whole.prepare_cached(&format!("DELETE FROM {table} WHERE author = ?1 AND epoch = ?2"))?;
            end.execute(params![author.0, signed(epoch.0)])?;
        }
    }
    set_fact(whole, CLOCK, signed(batch.clock_ms))
}

fn set_fact(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(|_| ())
}

/// What SQLite would say of a page that makes no sense.
fn damage() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), None)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Puts a damaged database out of the way; nothing of it is deleted but its index of the write-ahead log, which holds nothing.
fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    keep_beside(path, |from, to| std::fs::rename(from, to))
}

/// Keeps a damaged database under the first free name beside it, and with it its write-ahead log, which is no part of another one.
fn keep_beside(path: &Path, keep: impl Fn(&Path, &Path) -> std::io::Result<()>) -> Result<PathBuf, StoreError> {
    let beside = |name: &str| path.with_file_name(name);
    let name = |number: u32| if number == 1 { DAMAGED_FILE.to_owned() } else { format!("{DAMAGED_FILE}-{number}") };
    let is_free = |name: &String| !beside(name).exists() && !beside(&format!("{name}-wal")).exists();
    let free = (1..=DAMAGED_MOST).map(name).find(is_free).ok_or_else(|| StoreError::Damaged {
        path: path.to_owned(),
        problem: "as nine before it, which lie beside it",
        cure: "look at the disk, and move the files log.db.damaged… away",
    })?;
    let fail = |source| StoreError::from_io(path, source);
    let done = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
        Ok(()) | Err(_) => Ok(()),
    };
    keep(path, &beside(&free)).map_err(fail)?;
    done(std::fs::rename(beside(&format!("{LOG_FILE}-wal")), beside(&format!("{free}-wal"))))?;
    done(std::fs::remove_file(beside(&format!("{LOG_FILE}-shm"))))?;
    Ok(beside(&free))
}

/// A file for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

/// Makes what was renamed beside a file durable.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Sorts what SQLite said into what a person can do about it.
fn from_sqlite(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::NotWritable { path, source: std::io::Error::other(error) }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path, pid: None },
        Some(_) | None => StoreError::Io { path, source: std::io::Error::other(error) },
    }
}

#[cfg(test)]
mod tests;

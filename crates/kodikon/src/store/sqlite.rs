//! Decides how the log lies on disk: one SQLite database in the data directory, its schema, and what becomes of a damaged one.
//!
//! SQLite, because its transactions hold whatever moment the power fails, and forty years of files say so; bundled, so that the
//! node does not depend on what the machine has. WAL with `synchronous=FULL`: a commit is one append and one `fdatasync`.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kodikon_core::effect::log::{Batch, Committed, LogCover, LogRow, ReadRows, SavedLog, checksum};
use kodikon_core::ground::id::{Epoch, NodeId, Seq};
use kodikon_core::model::op::{OpId, SignedOp};
use kodikon_core::wire::message::Interval;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params, params_from_iter};

use crate::store::StoreError;
use crate::store::file::private;
use crate::store::log::LogStore;

/// The database's name in the data directory.
pub(crate) const LOG_FILE: &str = "log.db";
/// Under this name a damaged one is kept, with its write-ahead log: what was seen here alone is nowhere else. Further ones have a number.
pub(crate) const DAMAGED_FILE: &str = "log.db.damaged";
/// Under this name one is made anew, until it is whole.
const REBUILT_FILE: &str = "log.db.rebuilt";
/// Damaged ones that are kept at most. A disk that has spoilt so many is to be looked at before it spoils more.
const DAMAGED_MOST: u32 = 9;

/// Each brings the schema one version further, the first from nothing. The version is `user_version`.
const MIGRATIONS: [&str; 2] = [
    "CREATE TABLE ops (author BLOB NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, born_ms INTEGER NOT NULL,
         op BLOB NOT NULL, PRIMARY KEY (author, epoch, seq));
     CREATE TABLE covers (author BLOB NOT NULL, epoch INTEGER NOT NULL, key BLOB NOT NULL, covered BLOB NOT NULL,
         PRIMARY KEY (author, epoch)) WITHOUT ROWID;
     CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
    // What was written before has no checksum.
    "ALTER TABLE ops ADD COLUMN sum INTEGER; ALTER TABLE covers ADD COLUMN lost BLOB;
     ALTER TABLE covers ADD COLUMN sum INTEGER;",
];

/// Each table of the newest schema, and all its columns.
const TABLES: [(&str, &str); 3] = [
    ("ops", "author, epoch, seq, born_ms, op, sum"),
    ("covers", "author, epoch, key, covered, lost, sum"),
    ("facts", "name, value"),
];

/// What holds for the connection: one process alone (its lock is the data directory's), pages of 512 KiB at most in memory, and a
/// log file that shrinks again after a burst.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 4194304; PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY;";

/// Rows that are handed over at a time: half a megabyte of sightings.
const ROWS: usize = 512;
/// The name of the fact that a run has begun and not ended in order.
const RUNNING: &str = "running";
/// The name of the log's clock when the last run ended that did not end in order.
const CUT: &str = "cut_ms";
/// The name of the fact that an earlier run found rows damaged.
const DAMAGED: &str = "damaged";
/// Complaints about a damaged database that are looked at.
const COMPLAINTS: usize = 50;
/// The name of the log's clock.
const CLOCK: &str = "clock_ms";
/// Its checksum: a clock that ran ahead would end all that is held.
const CLOCK_SUM: &str = "clock_sum";

/// The log on disk.
#[derive(Debug)]
pub(crate) struct SqliteLog {
    path: PathBuf,
    connection: Connection,
    /// What is written. Behind the connection, whose locks go when one of them is closed.
    files: Files,
    /// The connection stands in for that of the first of the files, which could not be opened yet.
    stands_in: bool,
    /// A damaged database was put aside: what it held may have been shown.
    lost: bool,
}

/// A database and its write-ahead log, as they were opened.
type Files = [Option<File>; 2];

/// What bears the name of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The file.
    Own,
    /// Nothing.
    Empty,
    /// Another one.
    Others,
}

impl SqliteLog {
    /// Opens the log of a data directory, made if need be.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`] for one of a later program, which is left as it is; [`StoreError::NotWritable`],
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOG_FILE);
        // A run that was cut off may have left half of one.
        let _ = std::fs::remove_file(path.with_file_name(REBUILT_FILE));
        match Self::connect(&path) {
            Ok(connection) => Ok(Self { files: files_of(&path), path, connection, stands_in: false, lost: false }),
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
        Ok(Self { files: files_of(&path), path, connection, stands_in: false, lost: true })
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

    fn fact(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.connection.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0)).optional()
    }

    /// See [`SavedLog::cut_ms`].
    fn cut_ms(&self) -> rusqlite::Result<Option<u64>> {
        let is_cut = self.lost || self.fact(RUNNING)?.unwrap_or(0) != 0;
        let cut = if is_cut { Some(self.fact(CLOCK)?.unwrap_or(0)) } else { self.fact(CUT)? };
        Ok(cut.map(i64::cast_unsigned))
    }

    fn read(&self) -> rusqlite::Result<SavedLog> {
        let fact = |name: &str| self.fact(name).map(Option::unwrap_or_default);
        let mut saved = SavedLog {
            clock_ms: u64::try_from(fact(CLOCK)?).unwrap_or(0),
            cut_ms: self.cut_ms()?,
            ..SavedLog::default()
        };
        // With each row its transaction's clock was kept.
        let lacks_clock = "SELECT (EXISTS (SELECT 1 FROM ops) OR EXISTS (SELECT 1 FROM covers))
            AND NOT EXISTS (SELECT 1 FROM facts WHERE name = ?1)";
        let lacks_clock: bool = self.connection.query_row(lacks_clock, [CLOCK], |row| row.get(0))?;
        let (clock_ms, clock_sum) = (fact(CLOCK)?, fact(CLOCK_SUM)?);
        let is_spoilt = clock_sum != 0 && clock_sum != sum_of_clock(clock_ms);
        if fact(DAMAGED)? != 0 || lacks_clock || is_spoilt {
            return Err(damage());
        }
        let mut covers = self
            .connection
            .prepare("SELECT author, epoch, key, covered, lost, sum FROM covers ORDER BY author, epoch")?;
        let mut found = covers.query([])?;
        while let Some(row) = found.next()? {
            let spans = |bytes: &[u8]| {
                let spans: Vec<(u64, u64)> = minicbor::decode(bytes).map_err(|_| damage())?;
                Ok::<_, rusqlite::Error>(spans.into_iter().map(|(first, last)| Interval { first, last }).collect())
            };
            let cover = LogCover {
                author: NodeId(row.get(0)?),
                epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
                key: row.get(2)?,
                covered: spans(row.get_ref(3)?.as_blob()?)?,
                lost: row.get_ref(4)?.as_blob_or_null()?.map_or(Ok(Vec::new()), spans)?,
            };
            // By a wrong one what is lacked would pass for what is over.
            if row.get::<_, Option<i64>>(5)?.is_some_and(|sum| sum.cast_unsigned() != cover.checksum()) {
                return Err(damage());
            }
            saved.covers.push(cover);
        }
        Ok(saved)
    }

    /// Reads all rows.
    fn read_rows(&self, hand: &mut dyn FnMut(ReadRows)) -> rusqlite::Result<()> {
        // As they lie on the disk: by their names each would be looked for, which takes 100,000 of them a second.
        let mut ops = self.connection.prepare("SELECT born_ms, op, author, epoch, seq, sum FROM ops")?;
        let mut found = ops.query([])?;
        let mut rows = ReadRows::default();
        while let Some(row) = found.next()? {
            let author: [u8; 16] = row.get(2)?;
            let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let id = OpId { author: NodeId(author), epoch: Epoch(unsigned(3)?), seq: Seq(unsigned(4)?) };
            let op: Option<SignedOp> = minicbor::decode(row.get_ref(1)?.as_blob()?).ok();
            let read = op.map(|op| Ok::<_, rusqlite::Error>(LogRow { op, born_ms: row.get(0)? })).transpose()?;
            let sum = row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned);
            let is_named = |row: &LogRow| OpId::of(&row.op) == id;
            match (read, sum) {
                // If it is whole and lies under another name than its own, that one was spoilt, and its own number is not lacked.
                (Some(row), Some(sum)) if is_named(&row) || row.checksum() == sum => rows.add_checked(row, sum),
                (Some(row), None) if is_named(&row) => rows.add(row),
                (Some(_) | None, _) => rows.add_lost(id),
            }
            if rows.rows().len() + rows.lost().len() == ROWS {
                hand(std::mem::take(&mut rows));
            }
        }
        hand(rows);
        Ok(())
    }

    /// Makes the log anew out of its tables, which are whole: an index or the list of free pages is damaged. The damaged one is kept
    /// under another name. Whatever fails, one of both bears the log's name and is written on.
    fn rebuild(&mut self) -> Result<(), StoreError> {
        let fresh = self.path.with_file_name(REBUILT_FILE);
        let rebuilt = self.rebuild_by(&fresh);
        if rebuilt.is_err() {
            // It may hold the last free blocks; whether it can be removed changes nothing.
            let _ = std::fs::remove_file(&fresh);
        }
        rebuilt
    }

    fn rebuild_by(&mut self, fresh: &Path) -> Result<(), StoreError> {
        let fail = |source| StoreError::from_io(fresh, source);
        let fail_sqlite = |error| from_sqlite(&self.path, error);
        let kept = free_name(&self.path)?;
        private().truncate(true).open(fresh).map_err(fail)?;
        self.copy_to(fresh).map_err(fail_sqlite)?;
        let made = File::open(fresh).and_then(|file| file.sync_all().map(|()| file)).map_err(fail)?;
        // All that was committed is in the damaged one then, and no write-ahead log stands beside the new one.
        let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy).map_err(fail_sqlite)?;
        if busy != 0 {
            return Err(from_sqlite(&self.path, damage()));
        }
        let nobody = Connection::open_in_memory().map_err(fail_sqlite)?;
        // Some file systems know no second names.
        std::fs::hard_link(&self.path, &kept).or_else(|_| std::fs::copy(&self.path, &kept).map(drop)).map_err(fail)?;
        self.let_go(nobody);
        let renamed = std::fs::rename(fresh, &self.path);
        // Whichever bears the name now. The handle of the old one stays open if that one does: closed later it would end the locks.
        if renamed.is_ok() {
            self.files = [Some(made), None];
        }
        self.reopen()?;
        renamed.and_then(|()| sync_directory(&self.path)).map_err(fail)?;
        tracing::error!(
            path = %self.path.display(), kept = %kept.display(),
            "the log was damaged where no row shows it: it is kept under another name, and was made anew out of its rows"
        );
        Ok(())
    }

    /// Writes the log anew under its name, which was taken from the file that is open. What that one takes is gone with this process.
    fn put_back(&mut self) -> Result<(), StoreError> {
        let fresh = self.path.with_file_name(REBUILT_FILE);
        let put = self.put_back_by(&fresh);
        if put.is_err() {
            // As in `rebuild`.
            let _ = std::fs::remove_file(&fresh);
        }
        put
    }

    fn put_back_by(&mut self, fresh: &Path) -> Result<(), StoreError> {
        let fail = |source| StoreError::from_io(fresh, source);
        let fail_sqlite = |error| from_sqlite(&self.path, error);
        private().truncate(true).open(fresh).map_err(fail)?;
        self.copy_to(fresh).map_err(fail_sqlite)?;
        let made = File::open(fresh).and_then(|file| file.sync_all().map(|()| file)).map_err(fail)?;
        let nobody = Connection::open_in_memory().map_err(fail_sqlite)?;
        // A write-ahead log that was left would be played into the new file: all of it is in there.
        std::fs::remove_file(ahead_of(&self.path)).or_else(absent).map_err(fail)?;
        std::fs::rename(fresh, &self.path).map_err(fail)?;
        self.let_go(nobody);
        self.files = [Some(made), None];
        self.reopen()?;
        sync_directory(&self.path).map_err(fail)?;
        tracing::error!(
            path = %self.path.display(),
            "the log's file was removed while this node wrote it: all that is known was written anew; look who removes files there"
        );
        Ok(())
    }

    /// Closes the connection, with one in its place that holds nothing until [`Self::reopen`].
    fn let_go(&mut self, nobody: Connection) {
        drop(std::mem::replace(&mut self.connection, nobody));
        self.stands_in = true;
    }

    /// Opens the file that bears the log's name now. Where it fails nothing is written, and the next look tries it again.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.connection = Self::connect(&self.path).map_err(|error| from_sqlite(&self.path, error))?;
        self.stands_in = false;
        self.files[1] = File::open(ahead_of(&self.path)).ok();
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
            // Where the index was damaged an op may be there twice: the later row stands.
            let insert = format!("INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})");
            let mut write = whole.prepare(&insert)?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let values = (0..write.parameter_count()).map(|at| row.get::<_, Value>(at));
                write.execute(params_from_iter(values.collect::<rusqlite::Result<Vec<_>>>()?))?;
            }
        }
        whole.commit()
    }

    /// Puts a log aside whose damage was found while it was read, and begins a new one.
    fn renew(&mut self, error: &rusqlite::Error) -> Result<(), StoreError> {
        // The file is let go before it is renamed.
        self.connection = Connection::open_in_memory().map_err(|error| from_sqlite(&self.path, error))?;
        *self = Self::renewed(self.path.clone(), error)?.migrated()?;
        Ok(())
    }

    /// What SQLite finds wrong, some of it.
    fn complaints(&self) -> rusqlite::Result<Vec<String>> {
        let mut check = self.connection.prepare(&format!("PRAGMA quick_check({COMPLAINTS})"))?;
        let words = check.query_map([], |row| row.get::<_, String>(0))?;
        let mut words = words.collect::<rusqlite::Result<Vec<String>>>()?;
        words.retain(|word| word != "ok");
        Ok(words)
    }

    /// Whether complaints are about indexes and free pages alone, so that no row can be missing.
    fn spares_tables(&self, complaints: &[String]) -> rusqlite::Result<bool> {
        let mut indexes = self.connection.prepare("SELECT rootpage FROM sqlite_schema WHERE type = 'index'")?;
        let trees = indexes.query_map([], |row| row.get::<_, i64>(0))?;
        let trees: Vec<String> =
            trees.map(|root| Ok(format!("Tree {} ", root?))).collect::<rusqlite::Result<Vec<String>>>()?;
        let spares = |line: &str| {
            line.contains(" in index ")
                || line.contains(" from index ")
                || line.starts_with("Freelist")
                || line.ends_with(": never used")
                || trees.iter().any(|tree| line.starts_with(tree))
        };
        // One complaint may have a head of its own and several lines.
        let lines = complaints.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("***"));
        Ok(complaints.len() < COMPLAINTS && { lines }.all(spares) && !self.index_has_more()?)
    }

    /// Whether the index of the ops names more of them than there are: then rows are missing, and not names.
    fn index_has_more(&self) -> rusqlite::Result<bool> {
        let count = |how: &str| self.connection.query_row(how, [], |row| row.get::<_, i64>(0));
        let rows = count("SELECT count(*) FROM ops NOT INDEXED")?;
        // An index that cannot be read says nothing of the rows.
        let names = count("SELECT count(*) FROM ops INDEXED BY sqlite_autoindex_ops_1 WHERE author >= x''");
        Ok(names.is_ok_and(|names| names > rows))
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
                // What that run showed and did not keep may come again in any later one.
                if let Some(cut_ms) = self.cut_ms().map_err(|error| from_sqlite(&self.path, error))? {
                    self.set_fact(CUT, cut_ms.cast_signed())?;
                }
                self.set_fact(RUNNING, 1)?;
                Ok(true)
            }
        }
    }

    fn check(&mut self) -> Result<(), StoreError> {
        let complaints = match self.complaints() {
            Ok(complaints) if complaints.is_empty() => return Ok(()),
            Ok(complaints) => complaints,
            Err(error) if is_damage(&error) => vec![error.to_string()],
            Err(error) => return Err(from_sqlite(&self.path, error)),
        };
        if self.spares_tables(&complaints).is_ok_and(|spares| spares) {
            return self.rebuild();
        }
        // A row may be missing that the log says is here. The next start begins anew and gets all from the others.
        self.set_fact(DAMAGED, 1)?;
        tracing::error!(path = %self.path.display(), ?complaints, "the log is damaged");
        Err(StoreError::Damaged {
            path: self.path.clone(),
            problem: "damaged",
            cure: "start the node again: the log is then put aside and begun anew",
        })
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let [log, ahead] = &mut self.files;
        if ahead.is_none() && !self.stands_in {
            // SQLite makes it when it is first needed.
            *ahead = File::open(ahead_of(&self.path)).ok();
        }
        let of = |file: &Option<File>, path: &Path| {
            file.as_ref()
                .map_or(Ok(Place::Own), |file| place_of(file, path))
                .map_err(|error| StoreError::from_io(path, error))
        };
        match (of(log, &self.path)?, of(ahead, &ahead_of(&self.path))?) {
            (Place::Own, Place::Own | Place::Empty | Place::Others) if self.stands_in => self.reopen(),
            (Place::Empty, Place::Own | Place::Empty | Place::Others) if self.stands_in => Err(StoreError::Damaged {
                path: self.path.clone(),
                problem: "gone, and it could not be opened when it was there last",
                cure: "start the node again: the log is then begun anew, and the others have what lasts",
            }),
            (Place::Own, Place::Own) => Ok(()),
            (Place::Others, Place::Own | Place::Empty | Place::Others) => Err(StoreError::Damaged {
                path: self.path.clone(),
                problem: "another file than the one that this node writes",
                cure: "stop the node, see which of both is wanted, and start it again",
            }),
            (Place::Empty, Place::Own | Place::Empty | Place::Others) | (Place::Own, Place::Empty | Place::Others) => {
                self.put_back()
            }
        }
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<Committed, StoreError> {
        // What is written into a file without a name is on disk, and not found by the next run.
        self.look()?;
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
    let mut add = whole.prepare_cached(
        "INSERT OR REPLACE INTO ops (author, epoch, seq, born_ms, op, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for row in &batch.rows {
        let bytes = minicbor::to_vec(&row.op).expect("encoding into memory cannot fail");
        let (author, epoch, seq) = (row.op.author().0, signed(row.op.epoch().0), signed(row.op.seq().0));
        add.execute(params![author, epoch, seq, row.born_ms, bytes, signed(row.checksum())])?;
    }
    let mut remove = whole.prepare_cached("DELETE FROM ops WHERE author = ?1 AND epoch = ?2 AND seq = ?3")?;
    for id in &batch.removed {
        remove.execute(params![id.author.0, signed(id.epoch.0), signed(id.seq.0)])?;
    }
    let mut cover = whole.prepare_cached(
        "INSERT OR REPLACE INTO covers (author, epoch, key, covered, lost, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for one in &batch.covers {
        let bytes = |spans: &[Interval]| {
            let spans: Vec<(u64, u64)> = spans.iter().map(|span| (span.first, span.last)).collect();
            minicbor::to_vec(spans).expect("encoding into memory cannot fail")
        };
        let (covered, lost) = (bytes(&one.covered), bytes(&one.lost));
        cover.execute(params![one.author.0, signed(one.epoch.0), one.key, covered, lost, signed(one.checksum())])?;
    }
    for (author, epoch) in &batch.ended {
        for table in ["ops", "covers"] {
            let mut end = whole.prepare_cached(&format!("DELETE FROM {table} WHERE author = ?1 AND epoch = ?2"))?;
            end.execute(params![author.0, signed(epoch.0)])?;
        }
    }
    let clock_ms = signed(batch.clock_ms);
    set_fact(whole, CLOCK, clock_ms)?;
    set_fact(whole, CLOCK_SUM, sum_of_clock(clock_ms))
}

fn sum_of_clock(clock_ms: i64) -> i64 {
    checksum([], [clock_ms.cast_unsigned()]).cast_signed()
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

/// Whether reading found what no program wrote: also a page of zeros, whose rows SQLite takes for rows of nothing, and tables that are
/// not there.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown),
        None => matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        ),
    }
}

/// The first free name for a damaged database beside it.
fn free_name(path: &Path) -> Result<PathBuf, StoreError> {
    let name = |number: u32| if number == 1 { DAMAGED_FILE.to_owned() } else { format!("{DAMAGED_FILE}-{number}") };
    let is_free =
        |name: &String| !path.with_file_name(name).exists() && !path.with_file_name(format!("{name}-wal")).exists();
    let free = (1..=DAMAGED_MOST).map(name).find(is_free).ok_or_else(|| StoreError::Damaged {
        path: path.to_owned(),
        problem: "as nine before it, which lie beside it",
        cure: "look at the disk, and move the files log.db.damaged… away",
    })?;
    Ok(path.with_file_name(free))
}

/// Puts a damaged database out of the way; nothing of it is deleted but its index of the write-ahead log, which holds nothing.
fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let free = free_name(path)?;
    let with = |path: &Path, end: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    let fail = |source| StoreError::from_io(path, source);
    std::fs::rename(path, &free).map_err(fail)?;
    std::fs::rename(with(path, "-wal"), with(&free, "-wal")).or_else(absent).map_err(fail)?;
    std::fs::remove_file(with(path, "-shm")).or_else(absent).map_err(fail)?;
    Ok(free)
}

/// What is not there need not go.
fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The write-ahead log of a database.
fn ahead_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{LOG_FILE}-wal"))
}

/// What lies under the names of a log.
fn files_of(path: &Path) -> Files {
    [path.to_owned(), ahead_of(path)].map(|path| File::open(path).ok())
}

/// What bears the name of a file now. Its numbers are asked for anew: some file systems change them.
fn place_of(file: &File, path: &Path) -> std::io::Result<Place> {
    let numbers = |found: &std::fs::Metadata| (found.dev(), found.ino());
    match std::fs::metadata(path) {
        Ok(there) if numbers(&there) == numbers(&file.metadata()?) => Ok(Place::Own),
        Ok(_) => Ok(Place::Others),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Place::Empty),
        Err(error) => Err(error),
    }
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

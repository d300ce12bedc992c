//! What a log on disk must do: what its transactions mean, and what it makes of files that are not its own.

use std::sync::atomic::{AtomicU32, Ordering};

use kodikon_core::ground::id::MeshId;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::op::{OpKind, Statement};

use super::*;

fn op(author: u8, seq: u64) -> SignedOp {
    let statement =
        Statement { kind: OpKind::Alert, key: Vec::new(), body: vec![author; 40], lamport: seq, wall: WallTime(seq) };
    // An epoch with its highest bit set: SQLite's integers have a sign.
    SignedOp::sign(&Identity::from_secret(&[author; 32]), MeshId([1; 16]), Epoch(u64::MAX - 1), Seq(seq), statement)
}

fn row(author: u8, seq: u64, born_ms: i64) -> LogRow {
    LogRow { op: op(author, seq), born_ms }
}

fn cover(author: u8, last: u64) -> LogCover {
    let (author, epoch) = (op(author, 1).author(), Epoch(u64::MAX - 1));
    LogCover {
        author,
        epoch,
        key: [7; 32],
        covered: vec![Interval { first: 1, last }],
        lost: vec![Interval { first: 7, last: 7 }],
    }
}

/// Transactions that add, correct, remove and end.
fn batches() -> Vec<Batch> {
    let of = |row: &LogRow| OpId::of(&row.op);
    vec![
        Batch {
            rows: vec![row(1, 1, -5), row(1, 2, 0), row(2, 1, 9)],
            covers: vec![cover(1, 2), cover(2, 1)],
            clock_ms: 10,
            ..Batch::default()
        },
        Batch { rows: vec![row(1, 2, -70)], removed: vec![of(&row(1, 1, 0))], clock_ms: 20, ..Batch::default() },
        Batch { covers: vec![cover(1, u64::MAX)], removed: vec![of(&row(3, 9, 0))], clock_ms: 30, ..Batch::default() },
        Batch {
            rows: vec![row(2, 2, 0)],
            ended: vec![(op(2, 1).author(), Epoch(u64::MAX - 1))],
            clock_ms: 40,
            ..Batch::default()
        },
    ]
}

/// What a node that begins finds.
fn found(log: &mut SqliteLog) -> SavedLog {
    loop {
        let mut saved = log.begin().unwrap();
        let hand = &mut |rows: ReadRows| {
            saved.rows.extend(rows.rows().cloned());
            saved.lost.extend(rows.lost());
        };
        if log.rows(hand).unwrap() {
            saved.rows.sort_by_key(|row| OpId::of(&row.op));
            return saved;
        }
    }
}

#[test]
fn after_each_transaction_a_new_process_finds_what_the_core_means_by_it() {
    let home = Home::new();
    let mut expected = SavedLog::default();
    for batch in batches() {
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        let found = found(&mut log);
        assert_eq!((&found.rows, &found.covers), (&expected.rows, &expected.covers));
        assert_eq!(found.clock_ms, expected.clock_ms);
        assert_eq!(found.cut_ms, Some(expected.clock_ms).filter(|ms| *ms > 0), "the last was killed");
        assert_eq!(log.commit(std::slice::from_ref(&batch)).unwrap(), Committed::OnDisk);
        expected.apply(&batch);
    }
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    assert_eq!(found(&mut log).cut_ms, Some(40));
    log.end().unwrap();
    drop(log);
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    assert_eq!(
        log.begin().unwrap().cut_ms,
        Some(40),
        "it ended in order, and whatever the one before showed may come again"
    );
    let home = Home::new();
    for _ in 0..2 {
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        assert_eq!(found(&mut log).cut_ms, None, "all ended in order");
        log.end().unwrap();
    }
}

#[test]
fn several_transactions_are_carried_out_as_one() {
    let home = Home::new();
    let mut expected = SavedLog::default();
    batches().iter().for_each(|batch| expected.apply(batch));
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    log.commit(&batches()).unwrap();
    let found = found(&mut log);
    assert_eq!((found.rows, found.covers, found.clock_ms), (expected.rows, expected.covers, 40));
}

#[test]
fn a_log_of_a_later_program_is_refused_by_name_and_left_alone() {
    let home = Home::new();
    drop(SqliteLog::open(home.0.as_path()).unwrap());
    let path = home.0.as_path().join(LOG_FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let before = std::fs::read(&path).unwrap();
    let Err(StoreError::UnknownVersion { found, known, .. }) = SqliteLog::open(home.0.as_path()) else {
        panic!("refused")
    };
    assert_eq!((found.as_str(), known), ("3", 2));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_log_is_put_aside_and_what_it_may_have_shown_is_told() {
    let home = Home::new();
    let path = home.0.as_path().join(LOG_FILE);
    std::fs::write(&path, vec![b'x'; 8_192]).unwrap();
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    assert_eq!(log.begin().unwrap().cut_ms, Some(0));
    assert_eq!(std::fs::read(home.0.as_path().join(DAMAGED_FILE)).unwrap(), vec![b'x'; 8_192]);
    log.commit(&batches()).unwrap();

    // The page of a row is overwritten.
    drop(log);
    let mut bytes = std::fs::read(&path).unwrap();
    let row = bytes.windows(40).position(|bytes| bytes == [2; 40]).unwrap();
    let page = row / 4_096 * 4_096;
    bytes[page..page + 2_048].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    let found = found(&mut log);
    assert_eq!((found.rows.len(), found.cut_ms), (0, Some(0)));
    let second = home.0.as_path().join(format!("{DAMAGED_FILE}-2"));
    assert_eq!(std::fs::read(second).unwrap(), bytes, "and the first is there still");
    assert_eq!(std::fs::read(home.0.as_path().join(DAMAGED_FILE)).unwrap(), vec![b'x'; 8_192]);
}

#[test]
fn whichever_page_is_damaged_a_whole_log_takes_its_place() {
    let home = Home::new();
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    found(&mut log);
    let rows = (1..=200).map(|seq| row(1, seq, 0)).collect();
    log.commit(&[Batch { rows, covers: vec![cover(1, 200)], clock_ms: 1, ..Batch::default() }]).unwrap();
    // Free pages, too.
    let removed = (1..=100).map(|seq| OpId::of(&op(1, seq))).collect();
    log.commit(&[Batch { removed, clock_ms: 2, ..Batch::default() }]).unwrap();
    drop(log);
    let path = home.0.as_path().join(LOG_FILE);
    let whole = std::fs::read(&path).unwrap();
    let pages = whole.len() / 4_096;
    assert!(pages > 8, "tables and indexes of several pages");
    let mut rebuilt = 0;
    // The first half is no page any more; what the second half holds is zeros, or the page says that it holds nothing.
    let spoil: [fn(&mut [u8]); 3] =
        [|page| page[..2_048].fill(0xa5), |page| page[2_048..].fill(0), |page| page[3..5].fill(0)];
    for (page, spoil) in (0..pages).flat_map(|page| spoil.map(|spoil| (page, spoil))) {
        let mut bytes = whole.clone();
        spoil(&mut bytes[page * 4_096..][..4_096]);
        if bytes == whole {
            continue;
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        let mut read = found(&mut log);
        assert!(read.cut_ms.is_some(), "page {page}");
        let kept = home.0.as_path().join(DAMAGED_FILE);
        // Begun anew, or all rows could be read; the rest of those is made out of them, unless some may be missing.
        assert!(!kept.exists() || read.rows.is_empty(), "page {page}");
        if log.check().is_err() {
            drop(log);
            log = SqliteLog::open(home.0.as_path()).unwrap();
            read = found(&mut log);
            assert!(read.cut_ms.is_some() && read.rows.is_empty() && kept.exists(), "page {page}");
            log.check().unwrap();
        }
        assert!([0, 100].contains(&read.rows.len()), "page {page}: {} rows", read.rows.len());
        rebuilt += usize::from(!read.rows.is_empty() && kept.exists());
        assert_eq!(log.complaints().unwrap(), Vec::<String>::new(), "page {page}");
        log.commit(&[Batch { rows: vec![row(1, 201, 0)], clock_ms: 3, ..Batch::default() }]).unwrap();
        drop(log);
        let again = found(&mut SqliteLog::open(home.0.as_path()).unwrap());
        assert_eq!((again.rows.len(), again.covers.len()), (read.rows.len() + 1, read.covers.len()), "page {page}");
        if kept.exists() {
            std::fs::remove_file(&kept).unwrap();
        }
        let names: Vec<_> =
            std::fs::read_dir(home.0.as_path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [LOG_FILE], "page {page}: nothing lies about");
    }
    assert!(rebuilt >= 2, "an index and free pages: {rebuilt} of {pages}");
}

/// The first rows of author 1, all on disk.
fn commit_first(log: &mut SqliteLog, count: u64) -> Vec<LogRow> {
    let rows: Vec<LogRow> = (1..=count).map(|seq| row(1, seq, 0)).collect();
    let batch = Batch { rows: rows.clone(), covers: vec![cover(1, count)], clock_ms: 1, ..Batch::default() };
    log.commit(&[batch]).unwrap();
    rows
}

#[test]
fn a_row_that_is_none_or_changed_is_named_as_lost_and_the_others_stand() {
    let home = Home::new();
    let open = || SqliteLog::open(home.0.as_path()).unwrap();
    let rows = commit_first(&mut open(), 5);
    let bent = minicbor::to_vec(op(1, 3)).unwrap();
    let at = bent.windows(40).position(|bytes| bytes == [1; 40]).unwrap();
    let spoil =
        |what: &str, bytes: &dyn rusqlite::ToSql| open().connection.execute(what, [bytes]).map(|n| assert_eq!(n, 1));
    spoil("UPDATE ops SET op = x'00' WHERE seq = ?1", &2).unwrap();
    spoil("UPDATE ops SET op = ?1 WHERE seq = 3", &[&bent[..at], &[9], &bent[at + 1..]].concat()).unwrap();
    spoil("UPDATE ops SET born_ms = 77 WHERE seq = ?1", &4).unwrap();
    // Written before there were checksums.
    spoil("UPDATE ops SET sum = NULL WHERE seq = ?1", &5).unwrap();
    let found = found(&mut open());
    assert_eq!(found.rows, [rows[0].clone(), rows[4].clone()]);
    let lost: Vec<u64> = found.lost.iter().map(|id| id.seq.0).collect();
    assert_eq!(lost, [2, 3, 4]);
    assert!(!home.0.as_path().join(DAMAGED_FILE).exists());
}

/// Found by reading: a bit that turned in a number made the row's own one pass for over, at its author's for the whole mesh.
#[test]
fn a_whole_row_under_another_name_is_taken_under_its_own() {
    let home = Home::new();
    let open = || SqliteLog::open(home.0.as_path()).unwrap();
    let rows = commit_first(&mut open(), 4);
    let renamed = minicbor::to_vec(op(1, 4_100)).unwrap();
    for (spoil, bytes) in [
        ("UPDATE ops SET seq = seq + 4096 WHERE seq = 2 AND ?1 IS NULL", None),
        ("UPDATE ops SET epoch = epoch + 1 WHERE seq = 3 AND ?1 IS NULL", None),
        // The name within it changed: it is not whole, and what it lies under is its name.
        ("UPDATE ops SET op = ?1 WHERE seq = 4", Some(renamed)),
    ] {
        assert_eq!(open().connection.execute(spoil, [bytes]).unwrap(), 1, "{spoil}");
    }
    let found = found(&mut open());
    assert_eq!(found.rows, rows[..3]);
    let lost: Vec<u64> = found.lost.iter().map(|id| id.seq.0).collect();
    assert_eq!(lost, [4], "no number that nobody gave is lacked for ever");
}

#[test]
fn a_cover_or_a_clock_that_changed_is_damage_and_the_log_begins_anew() {
    for spoil in [
        "UPDATE facts SET value = value + 4096 WHERE name = 'clock_ms'",
        "UPDATE covers SET covered = x'8182011903e8'",
        "UPDATE covers SET covered = x'00'",
    ] {
        let home = Home::new();
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        log.commit(&batches()).unwrap();
        assert_eq!(log.connection.execute(spoil, []).unwrap(), 1, "{spoil}");
        drop(log);
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        let found = found(&mut log);
        assert_eq!((found.rows.len(), found.covers.len(), found.cut_ms), (0, 0, Some(0)), "{spoil}");
        assert!(home.0.as_path().join(DAMAGED_FILE).exists());
        log.commit(&batches()).unwrap();
        drop(log);
        assert_eq!(self::found(&mut SqliteLog::open(home.0.as_path()).unwrap()).rows.len(), 1);
    }
}

#[test]
fn a_tenth_damaged_log_is_an_error_and_nothing_is_deleted() {
    let home = Home::new();
    let spoil = || std::fs::write(home.0.as_path().join(LOG_FILE), vec![b'x'; 8_192]).unwrap();
    for _ in 0..9 {
        spoil();
        drop(SqliteLog::open(home.0.as_path()).unwrap());
    }
    spoil();
    let Err(StoreError::Damaged { cure, .. }) = SqliteLog::open(home.0.as_path()) else { panic!("refused") };
    assert!(cure.contains("move"), "{cure}");
    assert_eq!(std::fs::read(home.0.as_path().join(LOG_FILE)).unwrap().len(), 8_192);
}

#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    log.commit(&batches()).unwrap();
    for entry in std::fs::read_dir(home.0.as_path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}

/// A data directory of a test's own.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kodikon-log-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_log_that_is_removed_while_it_is_written_is_written_anew_and_another_in_its_place_is_left_alone() {
    // Its file, what is written ahead of it, or both.
    for removed in [&[LOG_FILE][..], &["log.db-wal"], &[LOG_FILE, "log.db-wal"]] {
        let home = Home::new();
        let mut log = SqliteLog::open(home.0.as_path()).unwrap();
        found(&mut log);
        let mut rows = commit_first(&mut log, 50);
        removed.iter().for_each(|name| std::fs::remove_file(home.0.as_path().join(name)).unwrap());
        rows.push(row(1, 51, 0));
        let batch = Batch { rows: vec![row(1, 51, 0)], clock_ms: 2, ..Batch::default() };
        assert_eq!(log.commit(&[batch]).unwrap(), Committed::OnDisk, "{removed:?}");
        // Killed: nothing of what is open is closed.
        std::mem::forget(log);
        let copy = Home::new();
        for name in [LOG_FILE, "log.db-wal"] {
            std::fs::copy(home.0.as_path().join(name), copy.0.as_path().join(name)).unwrap();
        }
        let mut log = SqliteLog::open(copy.0.as_path()).unwrap();
        let read = found(&mut log);
        assert_eq!((read.rows, read.covers.len(), read.clock_ms), (rows, 1, 2), "{removed:?}");
        assert_eq!(log.complaints().unwrap(), Vec::<String>::new(), "{removed:?}");
    }

    let home = Home::new();
    let path = home.0.as_path().join(LOG_FILE);
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    found(&mut log);
    commit_first(&mut log, 5);
    let other = home.0.as_path().join("other");
    std::fs::write(&other, b"somebody's").unwrap();
    std::fs::rename(&other, &path).unwrap();
    let refused = log.commit(&[Batch { rows: vec![row(1, 6, 0)], clock_ms: 2, ..Batch::default() }]);
    assert!(refused.is_err_and(|error| error.to_string().contains("another file than the one that this node writes")));
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
}

#[test]
fn a_log_that_could_not_be_opened_under_its_name_is_tried_again_and_what_is_wrong_is_said() {
    let home = Home::new();
    let (path, ahead) = (home.0.as_path().join(LOG_FILE), home.0.as_path().join("log.db-wal"));
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    found(&mut log);
    let mut rows = commit_first(&mut log, 5);
    log.let_go(Connection::open_in_memory().unwrap());
    // Nothing can be written ahead there.
    let _ = std::fs::remove_file(&ahead);
    std::fs::create_dir(&ahead).unwrap();
    let batch = || Batch { rows: vec![row(1, 6, 0)], clock_ms: 2, ..Batch::default() };
    for _ in 0..2 {
        let refused = log.commit(&[batch()]).unwrap_err().to_string();
        assert!(!refused.contains("another file"), "{refused}");
    }
    let aside = home.0.as_path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let refused = log.commit(&[batch()]).unwrap_err().to_string();
    assert!(refused.contains("gone, and it could not be opened"), "{refused}");
    std::fs::write(&path, b"somebody's").unwrap();
    let refused = log.commit(&[batch()]).unwrap_err().to_string();
    assert!(refused.contains("another file"), "{refused}");

    std::fs::rename(&aside, &path).unwrap();
    std::fs::remove_dir(&ahead).unwrap();
    rows.push(row(1, 6, 0));
    assert_eq!(log.commit(&[batch()]).unwrap(), Committed::OnDisk);
    drop(log);
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    assert_eq!(found(&mut log).rows, rows);
}

#[test]
fn a_log_that_is_opened_again_stays_locked() {
    let home = Home::new();
    let mut log = SqliteLog::open(home.0.as_path()).unwrap();
    found(&mut log);
    commit_first(&mut log, 5);
    let inode = std::fs::metadata(home.0.as_path().join(LOG_FILE)).unwrap().ino();
    // As where the new one could not be given its name.
    log.let_go(Connection::open_in_memory().unwrap());
    log.reopen().unwrap();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (process, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
    let is_held = locks.lines().any(|line| line.contains(&process) && line.contains(&file));
    // Some kernels show the locks of nobody.
    assert!(is_held || !locks.contains(&process), "its locks went with a handle that was closed:\n{locks}");
}

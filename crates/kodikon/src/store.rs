//! Decides how a node's few files and its log are kept: one process per directory, whole files or none, an epoch that never
//! repeats.

use std::path::PathBuf;
use std::{fmt, io};

mod file;
mod log;
mod memory;
mod sqlite;

pub(crate) use file::FileStore;
pub(crate) use log::{LogStore, MemoryLog};
pub(crate) use memory::MemoryStore;
pub(crate) use sqlite::{DAMAGED_FILE, SqliteLog};

/// The longest file a store takes or gives back.
///
/// The largest is the directory of peers: 4,096 entries of some hundred bytes.
pub(crate) const FILE_MAX: usize = 16 << 20;
/// The longest name of a file.
pub(crate) const NAME_MAX: usize = 64;

/// The secret 32 bytes from which a node's Ed25519 key is made. Its `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct IdentitySeed(pub [u8; 32]);

impl fmt::Debug for IdentitySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentitySeed(..)")
    }
}

/// Where a node keeps what must outlive it.
///
/// Only the driver calls it, from one place, so nothing here locks.
pub(crate) trait Store: Send + fmt::Debug {
    /// Returns the node's identity, made at the first call ever.
    ///
    /// # Errors
    /// When it can neither be read nor made.
    fn identity(&mut self) -> Result<IdentitySeed, StoreError>;

    /// Replaces the identity, for this process and every later one: another node runs with the old one and keeps it.
    ///
    /// # Errors
    /// When it cannot be made durable; the old one is then still there.
    fn replace_identity(&mut self, seed: &IdentitySeed) -> Result<(), StoreError>;

    /// Returns an epoch counter greater than all returned before, durable before it returns.
    ///
    /// # Errors
    /// When it cannot be made durable; then no datagram may be sent.
    fn next_epoch(&mut self) -> Result<u32, StoreError>;

    /// Makes sure that the next epoch is greater than `used`: a disk restored from a backup has forgotten some.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn raise_epoch(&mut self, used: u32) -> Result<(), StoreError>;

    /// Replaces the file `name` by `bytes`, wholly or not at all, durable before it returns.
    ///
    /// # Errors
    /// When it could not be written; the old content is then still there.
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Returns what was saved under `name`, or `None` when nothing was.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Why something could not be kept or found again. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No right to write there, or a file where a directory should be. Nothing was changed.
    #[error(
        "cannot write to {}: {source}; choose another --data-dir, or run with --in-memory (a new identity at each start)",
        path.display()
    )]
    NotWritable {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or the quota is full. The old content is still there.
    #[error(
        "no space left for {}; free some, choose another --data-dir, or run with --in-memory (a new identity at each start)",
        path.display()
    )]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// Another process uses this directory. Nothing was changed.
    #[error(
        "{} is in use by {}; stop that process, or choose another --data-dir or --in-memory",
        path.display(),
        pid.map_or("another process".to_owned(), |pid| format!("pid {pid}"))
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, where its lock file says so.
        pid: Option<u32>,
    },
    /// The directory was written by a later version. Nothing was changed.
    #[error(
        "{} has format {found}, this program knows {known}; run the newer program, choose another --data-dir, or --in-memory",
        path.display()
    )]
    UnknownVersion {
        /// The directory.
        path: PathBuf,
        /// The format found, shortened.
        found: String,
        /// The format this program writes.
        known: u32,
    },
    /// A file is not what this program writes. Nothing was changed.
    #[error("{} is damaged ({problem}); {cure}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// A name no store takes, or more than 16 MiB: an error of the caller. Nothing was changed.
    #[error(
        "{name:?} with {len} bytes cannot be saved: names are [a-z0-9_.-]{{1,64}} without a leading dot, files at most 16 MiB"
    )]
    Refused {
        /// The name, shortened.
        name: String,
        /// How much was to be saved.
        len: usize,
    },
    /// The epoch counter has come to its end, which takes four thousand million starts or a forged counter. Nothing was
    /// changed.
    #[error("the epoch counter of this identity is used up; remove identity.key and epoch for a new identity")]
    EpochsUsedUp,
    /// Anything else the system said.
    #[error("{}: {source}; the disk may be failing: choose another --data-dir, or run with --in-memory", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// Sorts what the system said about `path` into what a person can do about it.
    fn from_io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path },
            // EEXIST: a directory was to be made where a file is; ENOENT: in a place like /proc, where none can be made.
            Some(
                libc::EACCES
                | libc::EPERM
                | libc::EROFS
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::EEXIST
                | libc::ENOENT
                | libc::ENAMETOOLONG,
            ) => Self::NotWritable { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Refuses names that could leave the directory or collide with the store's own temporary files.
fn check_name(name: &str, len: usize) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    let fits = (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain);
    if fits && len <= FILE_MAX {
        return Ok(());
    }
    Err(StoreError::Refused { name: name.chars().take(NAME_MAX).collect(), len })
}

fn epoch_after(last: u32) -> Result<u32, StoreError> {
    last.checked_add(1).ok_or(StoreError::EpochsUsedUp)
}

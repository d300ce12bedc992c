//! Decides how the store lies on disk: a locked directory of small files, each replaced whole.
//!
//! `lock` holds the pid of the process that has locked it; `format` the version of all the rest; `identity.key` 32
//! secret bytes; `epoch` a decimal number. What `save` keeps lies beside them under its own name, and so does `log.db`, which is
//! SQLite's.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sqlite::LOG_FILE;
use super::{FILE_MAX, IdentitySeed, Store, StoreError, check_name, epoch_after};
use crate::sys;

const FORMAT: u32 = 1;
const LOCK: &str = "lock";
const FORMAT_FILE: &str = "format";
const IDENTITY: &str = "identity.key";
const EPOCH: &str = "epoch";
/// Far longer than a look at the lock takes.
const LOOKED_AT: Duration = Duration::from_millis(10);
/// How many directories `open_first_free` tries: as many as there are unicast ports.
const DIRECTORIES: u32 = 64;

/// A data directory, held as long as this lives.
#[derive(Debug)]
pub(crate) struct FileStore {
    directory: PathBuf,
    /// Open on the directory itself, to make renames in it durable.
    handle: File,
    /// Locked; the kernel unlocks it when the process ends, however it ends.
    lock: File,
}

impl FileStore {
    /// Opens `directory`, made if need be with all its parents, readable for its owner only.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NotWritable`], [`StoreError::Full`], [`StoreError::UnknownVersion`].
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::from_io(directory, source);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
        let handle = File::open(directory).map_err(fail)?;
        let lock = lock(directory)?;
        let mut store = Self { directory: directory.to_owned(), handle, lock };
        store.check_format()?;
        Ok(store)
    }

    /// Opens `directory`, or `directory-2`, `directory-3`… where those before are in use: several nodes on one machine.
    ///
    /// # Errors
    /// As [`FileStore::open`]; [`StoreError::Locked`] for the last one only when all 64 are in use.
    pub(crate) fn open_first_free(directory: &Path) -> Result<Self, StoreError> {
        let mut result = Self::open(directory);
        for number in 2..=DIRECTORIES {
            if !matches!(result, Err(StoreError::Locked { .. })) {
                break;
            }
            let mut name = directory.file_name().unwrap_or_default().to_owned();
            name.push(format!("-{number}"));
            result = Self::open(&directory.with_file_name(name));
        }
        result
    }

    /// Returns the directory this store holds.
    #[must_use]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn check_format(&mut self) -> Result<(), StoreError> {
        let Some(text) = self.read(FORMAT_FILE)? else {
            return self.write(FORMAT_FILE, format!("{FORMAT}\n").as_bytes());
        };
        let found = String::from_utf8_lossy(&text[..text.len().min(32)]).trim().to_owned();
        if found == FORMAT.to_string() {
            return Ok(());
        }
        Err(StoreError::UnknownVersion { path: self.directory.clone(), found, known: FORMAT })
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let mut bytes = Vec::new();
        match file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes) {
            Ok(len) if len <= FILE_MAX => Ok(Some(bytes)),
            Ok(_) => Err(StoreError::Damaged {
                path,
                problem: "longer than 16 MiB",
                cure: "this program did not write it; move it away",
            }),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Writes beside the file, makes that durable, renames it over the file, makes the rename durable.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        // One writer holds the lock, so one temporary name a file is enough; `check_name` keeps others off the dot.
        let temporary = self.directory.join(format!(".{name}.new"));
        let replace = || {
            let mut file = private().truncate(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            self.handle.sync_all()
        };
        replace().map_err(|source| {
            // Half a file may hold the last free blocks; whether it can be removed changes nothing for the caller.
            let _ = std::fs::remove_file(&temporary);
            StoreError::from_io(path.clone(), source)
        })
    }

    /// What is odd about the identity's file, though the node can run with it.
    fn doubt(&self) -> Option<&'static str> {
        match std::fs::metadata(self.directory.join(IDENTITY)) {
            Ok(file) if file.mode() & 0o077 != 0 => {
                Some("others than its owner may read or write the node's secret key, and be this node: chmod 600")
            }
            Ok(_) => None,
            // A new folder has neither. Whoever removed the one and left the other may have meant it, or lost a file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.directory.join(EPOCH).exists() => Some(
                "this folder has been a node's, and its identity is gone: the node starts as a new one; if that was not meant, stop it and restore the file from a backup",
            ),
            Err(_) => None,
        }
    }

    fn write_epoch(&mut self, epoch: u32) -> Result<(), StoreError> {
        self.write(EPOCH, format!("{epoch}\n").as_bytes())
    }

    fn read_epoch(&self) -> Result<u32, StoreError> {
        let Some(text) = self.read(EPOCH)? else { return Ok(0) };
        std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok()).ok_or_else(|| {
            StoreError::Damaged {
                path: self.directory.join(EPOCH),
                problem: "not a decimal number",
                cure: "write a number into it that is greater than the number of starts so far",
            }
        })
    }
}

impl Store for FileStore {
    fn identity(&mut self) -> Result<IdentitySeed, StoreError> {
        if let Some(doubt) = self.doubt() {
            tracing::warn!(path = %self.directory.join(IDENTITY).display(), "{doubt}");
        }
        if let Some(bytes) = self.read(IDENTITY)? {
            return <[u8; 32]>::try_from(bytes.as_slice()).map(IdentitySeed).map_err(|_| StoreError::Damaged {
                path: self.directory.join(IDENTITY),
                problem: "not 32 bytes long",
                cure: "restore it from a backup, or remove it: the node then has a new identity",
            });
        }
        let mut seed = [0; 32];
        sys::random(&mut seed).map_err(|source| StoreError::from_io("getrandom", source))?;
        self.write(IDENTITY, &seed)?;
        Ok(IdentitySeed(seed))
    }

    fn replace_identity(&mut self, seed: &IdentitySeed) -> Result<(), StoreError> {
        self.write(IDENTITY, &seed.0)
    }

    fn next_epoch(&mut self) -> Result<u32, StoreError> {
        let epoch = epoch_after(self.read_epoch()?)?;
        self.write_epoch(epoch)?;
        Ok(epoch)
    }

    fn raise_epoch(&mut self, used: u32) -> Result<(), StoreError> {
        if used > self.read_epoch()? { self.write_epoch(used) } else { Ok(()) }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name, bytes.len())?;
        if [LOCK, FORMAT_FILE, IDENTITY, EPOCH].contains(&name) || name.starts_with(LOG_FILE) {
            return Err(StoreError::Refused { name: name.to_owned(), len: bytes.len() });
        }
        self.write(name, bytes)
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name, 0)?;
        self.read(name)
    }
}

/// How a file is opened that its owner alone may read and write, made if need be.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // Said aloud: a child that was being started just then holds a copy of the file until it runs its program, and
        // closing ours alone would leave the directory locked for that moment. An error leaves it to the kernel.
        let _ = self.lock.unlock();
    }
}

/// Takes the directory's lock and leaves our pid in it, or says whose it is.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let fail = |source| StoreError::from_io(path.clone(), source);
    // Not truncated yet: until the lock is ours, the pid inside is somebody else's.
    let mut file = private().read(true).truncate(false).open(&path).map_err(fail)?;
    // A verb that looks whether a node runs here holds it for a moment.
    let mut locked = file.try_lock();
    if matches!(locked, Err(TryLockError::WouldBlock)) {
        std::thread::sleep(LOOKED_AT);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    file.set_len(0).map_err(fail)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests;

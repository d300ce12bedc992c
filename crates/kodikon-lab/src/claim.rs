//! Decides who owns which namespaces: a lab holds a lock file while it lives, so what a killed program left is known.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::netns;

/// Not in the temporary directory: the names of namespaces are kept in /run too, and both are gone after a boot.
const HOME: &str = "/run/kodikon-lab";
const PREFIX_LIMIT: usize = 40;

/// A name that no other living lab of this computer has, and the lock that says it is in use.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    _lock: File,
}

impl Claim {
    /// Removes what dead labs left behind, then takes a new name.
    pub(crate) fn take(prefix: &str) -> Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(1);
        let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        ensure!(
            plain && (1..=PREFIX_LIMIT).contains(&prefix.len()),
            "lab prefix {prefix:?}: 1 to {PREFIX_LIMIT} letters, digits or _"
        );
        fs::create_dir_all(HOME).with_context(|| format!("cannot make {HOME}"))?;
        // Held while files are made and swept, so that no sweep sees a lock file between its creation and its lock.
        let gate = open(&Path::new(HOME).join("gate"))?;
        gate.lock().context("cannot lock the gate of the labs")?;
        sweep()?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("kl-{prefix}-{}-{number}", process::id());
        let lock = open(&lock_file(&name))?;
        lock.lock().with_context(|| format!("cannot lock {name}"))?;
        Ok(Self { name, _lock: lock })
    }

    /// The beginning of the names of all namespaces of this lab.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file that stays is removed by the next sweep: the lock goes with this process at the latest.
        let _ = fs::remove_file(lock_file(&self.name));
    }
}

/// The right to use this computer without disturbance by others who ask for it too; ends when dropped.
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// Waits until nobody else on this computer measures or runs a test whose limits are short.
///
/// # Errors
/// When the lock file cannot be made.
pub fn alone() -> Result<Alone> {
    fs::create_dir_all(HOME).with_context(|| format!("cannot make {HOME}"))?;
    let lock = open(&Path::new(HOME).join("alone"))?;
    lock.lock().context("cannot lock the computer")?;
    Ok(Alone { _lock: lock })
}

fn lock_file(name: &str) -> PathBuf {
    Path::new(HOME).join(format!("{name}.lock"))
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Removes the namespaces and processes of labs whose owner is dead. Call with the gate held.
fn sweep() -> Result<()> {
    for entry in fs::read_dir(HOME).with_context(|| format!("cannot list {HOME}"))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".lock")).map(str::to_owned)
        else {
            continue;
        };
        let Ok(lock) = open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                netns::remove_all(&name)?;
                let _ = fs::remove_dir_all(directory(&name));
                // Its owner may just have ended in good order and removed it.
                let _ = fs::remove_file(&path);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot lock {name}")),
        }
    }
    Ok(())
}

/// Where a lab keeps logs and data directories.
pub(crate) fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

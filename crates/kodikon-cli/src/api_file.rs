//! `api.json`: how the verbs find a running node and what they must show it; mode 0600, there as long as the node runs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
use crate::places;

/// Its name.
pub(crate) const API_FILE: &str = "api.json";
/// What a node that runs holds locked in its data folder, with its pid in it.
const LOCK_FILE: &str = "lock";
/// No such file is larger.
const MAX_BYTES: u64 = 64 << 10;

/// What a running node leaves in its data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiFile {
    /// `http://127.0.0.1:8888`.
    pub(crate) url: String,
    /// What a caller must show.
    pub(crate) token: String,
    /// The node's process.
    pub(crate) pid: u32,
}

/// Whether the node that wrote an `api.json` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Runs,
    /// It has ended, and whatever answers at its address is somebody else.
    Over,
    /// The folder does not tell.
    Untold,
}

/// There may be such a file, and this user may not read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    path: PathBuf,
    /// Whose it, or its folder, is, where this user may see that.
    owner: Option<u32>,
}

impl From<Hidden> for Failure {
    fn from(hidden: Hidden) -> Self {
        let (path, user) = (hidden.path.display(), "call this verb as that user, or with sudo");
        Self::Undone(match hidden.owner {
            Some(uid) => format!("{path} may not be read by this user, it belongs to UID {uid}: {user}"),
            None => format!("{path} may not be read by this user, it belongs to another: {user}"),
        })
    }
}

impl ApiFile {
    /// Reads it; none where there is none that makes sense.
    ///
    /// # Errors
    /// [`Hidden`] where this user may not know whether there is one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Hidden> {
        let path = dir.join(API_FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(serde_json::from_str(&text).ok()),
            Err(error) => Self::missing(path, &error),
        }
    }

    /// Whether the node that wrote it runs. The lock of the data folder tells it, whatever has become of the port: the kernel ends it
    /// with the process, and the pid in it is that of whoever holds it.
    pub(crate) fn standing(&self, dir: &Path) -> Standing {
        let Ok(lock) = File::open(dir.join(LOCK_FILE)) else {
            // A node that keeps nothing locks nothing; its folder is its own, so that a pid that is gone tells enough.
            let is_over = places::is_memory_dir(dir) && !Path::new("/proc").join(self.pid.to_string()).exists();
            return if is_over { Standing::Over } else { Standing::Untold };
        };
        // Held for a moment where nobody holds it: a node that starts just then tries again.
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) => return Standing::Over,
            Err(TryLockError::Error(_)) => return Standing::Untold,
        }
        let mut text = String::new();
        let read = lock.take(16).read_to_string(&mut text);
        // It may run, and not have written its own file yet: then this one is of the run before.
        let is_ours = read.is_ok() && text.trim().parse() == Ok(self.pid);
        if is_ours { Standing::Runs } else { Standing::Over }
    }

    fn missing(path: PathBuf, error: &io::Error) -> Result<Option<Self>, Hidden> {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Ok(None);
        }
        let owner = path.ancestors().take(2).find_map(|of| Some(fs::metadata(of).ok()?.uid()));
        Err(Hidden { path, owner })
    }

    /// Writes it whole or not at all, and removes it when the node ends.
    pub(crate) fn leave(&self, dir: &Path) -> io::Result<Left> {
        let text = serde_json::to_string(self).expect("its fields are texts and a number");
        // It need not last longer than the machine runs.
        write_private(dir, API_FILE, &text, |_| Ok(()))?;
        Ok(Left { dir: dir.to_owned(), pid: self.pid, with_dir: false })
    }
}

/// Writes a file for its owner only, whole or not at all; `then` is done before it takes its name.
pub(crate) fn write_private(
    dir: &Path,
    name: &str,
    text: &str,
    then: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    // A draft that a process of the same number left would keep its own mode.
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    then(&file)?;
    fs::rename(&draft, dir.join(name))
}

/// The file of a node that runs; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Left {
    dir: PathBuf,
    pid: u32,
    with_dir: bool,
}

impl Left {
    /// The folder was made for the file alone, and goes with it.
    pub(crate) fn with_dir(self) -> Self {
        let mut left = self;
        left.with_dir = true;
        left
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // Not one that another node has written since.
        if ApiFile::read(&self.dir).is_ok_and(|file| file.is_some_and(|file| file.pid == self.pid)) {
            // Left behind, it is found to lead nowhere.
            let _ = fs::remove_file(self.dir.join(API_FILE));
            if self.with_dir {
                let _ = fs::remove_dir(&self.dir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_for_its_owner_only_and_gone_with_its_node() {
        let dir = std::env::temp_dir().join(format!("kodikon-api-file-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let file = ApiFile { url: "http://127.0.0.1:1".into(), token: "t".into(), pid: 1 };
        let other = ApiFile { pid: 2, ..file.clone() };
        let left = file.leave(&dir).expect("written");
        assert_eq!(ApiFile::read(&dir), Ok(Some(file)));
        let mode = fs::metadata(dir.join(API_FILE)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other_left = other.leave(&dir).expect("written over");
        drop(left);
        assert_eq!(ApiFile::read(&dir), Ok(Some(other)), "another's file stays");
        drop(other_left);
        assert_eq!(ApiFile::read(&dir), Ok(None));
        fs::remove_dir(&dir).expect("nothing else was left");
    }

    #[test]
    fn the_lock_of_the_folder_tells_whether_the_node_runs() {
        let dir = std::env::temp_dir().join(format!("kodikon-standing-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let of = |pid| ApiFile { url: "http://127.0.0.1:1".into(), token: "t".into(), pid };
        assert_eq!(of(7).standing(&dir), Standing::Untold, "no lock");
        fs::write(dir.join(LOCK_FILE), "7\n").expect("writable");
        assert_eq!(of(7).standing(&dir), Standing::Over, "nobody holds it");
        let held = File::open(dir.join(LOCK_FILE)).expect("written");
        held.lock().expect("nobody holds it");
        assert_eq!(of(7).standing(&dir), Standing::Runs);
        assert_eq!(of(8).standing(&dir), Standing::Over, "another process holds it");
        drop(held);
        assert_eq!(of(7).standing(&dir), Standing::Over);
        fs::remove_dir_all(&dir).expect("ours");
        let (own, gone) = (std::process::id(), u32::MAX);
        let memory = places::make_memory_dir().expect("the runtime folder is writable");
        assert_eq!(of(own).standing(&memory), Standing::Untold);
        assert_eq!(of(gone).standing(&memory), Standing::Over);
        fs::remove_dir(&memory).expect("ours");
    }

    #[test]
    fn a_file_that_may_not_be_read_is_not_a_file_that_is_not_there() {
        let dir = std::env::temp_dir().join(format!("kodikon-hidden-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let uid = fs::metadata(&dir).expect("it was made").uid();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        // A superuser may read everything: the kernel's answer is made up.
        let missing = |dir: &Path, error: &io::Error| ApiFile::missing(dir.join(API_FILE), error);
        assert_eq!(missing(&dir, &io::ErrorKind::NotFound.into()), Ok(None));
        for (place, words) in
            [(dir.clone(), format!("belongs to UID {uid}")), (dir.join("x"), "belongs to another".into())]
        {
            let hidden = missing(&place, &denied).expect_err("it is hidden");
            let Failure::Undone(said) = Failure::from(hidden) else { panic!("it could not be done") };
            assert!(said.contains(&words) && said.contains("sudo"), "{said}");
        }
        fs::remove_dir(&dir).expect("nothing was left");
    }
}

//! Where things lie on this machine: configuration files, data folder, and the running node's `api.json`.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use directories::BaseDirs;
use kodikon::settings::{Flag, Key, Problems, Settings, SettingsFile, Sources};

use crate::api_file::API_FILE;
use crate::args::SettingsArgs;
use crate::outcome::Failure;

/// How the folders of nodes without a data folder begin.
const MEMORY_PREFIX: &str = "kodikon-memory-";

/// How many nodes on one machine find a default data folder.
pub(crate) const MAX_DEFAULT_DIRS: u32 = 64;

/// Reads all that sets a value: files, environment, flags.
pub(crate) fn load_settings(args: &SettingsArgs, data_dir: Option<&Path>) -> Result<Settings, Failure> {
    read_settings(args, data_dir).map_err(|problems| Failure::Usage(problems.to_string()))
}

/// The same, with what is wrong one by one.
pub(crate) fn read_settings(args: &SettingsArgs, data_dir: Option<&Path>) -> Result<Settings, Problems> {
    let mut flags = args.flags();
    flags.extend(data_dir.map(|dir| Flag {
        name: "--data-dir",
        key: Key::DataDir,
        values: vec![dir.display().to_string()],
    }));
    let sources = Sources { files: settings_files(args.config.as_deref()), environment: environment(), flags };
    Settings::load(&sources)
}

/// The files that are read, the later over the earlier.
fn settings_files(named: Option<&Path>) -> Vec<SettingsFile> {
    let user = BaseDirs::new().map(|dirs| dirs.config_dir().join("kodikon.yaml"));
    let usual = [Some(PathBuf::from("/etc/kodikon.yaml")), user].into_iter().flatten();
    let mut files: Vec<SettingsFile> = usual.map(|path| SettingsFile { path, required: false }).collect();
    files.extend(named.map(|path| SettingsFile { path: path.to_owned(), required: true }));
    files
}

/// The variables that are text; what is not cannot be ours.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The one interface that leads nowhere.
pub(crate) const LOOPBACK: &str = if cfg!(target_os = "linux") { "lo" } else { "lo0" };

/// The platform's data folder + `/kodikon`.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    let dirs = BaseDirs::new().ok_or_else(|| {
        Failure::Usage(
            "there is no home folder to keep files in: name a folder with --data-dir DIR, or run --in-memory".into(),
        )
    })?;
    Ok(dirs.data_dir().join("kodikon"))
}

/// The data folders in which a running node is looked for: the one that was named, or the default ones as `up` takes them in turn.
pub(crate) fn candidate_dirs(named: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    if let Some(dir) = named {
        return Ok(vec![dir.to_owned()]);
    }
    let settings = load_settings(&SettingsArgs::default(), None)?;
    if let Some(dir) = settings.data_dir.value {
        return Ok(vec![dir]);
    }
    let first = default_data_dir()?;
    let further = (2..=MAX_DEFAULT_DIRS).map(|number| numbered(&first, number)).take_while(|dir| dir.exists());
    let mut dirs: Vec<PathBuf> = std::iter::once(first.clone()).chain(further).collect();
    dirs.extend(memory_dirs());
    Ok(dirs)
}

/// Where nodes without a data folder leave their `api.json`: a folder of each process under the user's runtime folder, or the
/// temporary one.
fn memory_base() -> PathBuf {
    BaseDirs::new().and_then(|dirs| dirs.runtime_dir().map(Path::to_owned)).unwrap_or_else(std::env::temp_dir)
}

/// The folder of this process, made for its owner only.
pub(crate) fn make_memory_dir() -> io::Result<PathBuf> {
    let dir = memory_base().join(format!("{MEMORY_PREFIX}{}", std::process::id()));
    // What a process of the same number has left; what somebody else has put there stays, and the next line fails.
    let _ = fs::remove_file(dir.join(API_FILE));
    let _ = fs::remove_dir(&dir);
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

/// Whether a folder is one of a process that keeps nothing.
pub(crate) fn is_memory_dir(dir: &Path) -> bool {
    dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(MEMORY_PREFIX))
}

/// Folders of nodes without a data folder. In a temporary folder anyone may leave anything: only the user's own count.
fn memory_dirs() -> Vec<PathBuf> {
    let owner = fs::metadata("/proc/self").map(|of| of.uid()).ok();
    let ours = |entry: &fs::DirEntry| {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(MEMORY_PREFIX));
        named && entry.metadata().is_ok_and(|of| of.is_dir() && Some(of.uid()) == owner)
    };
    let Ok(entries) = fs::read_dir(memory_base()) else { return Vec::new() };
    entries.flatten().filter(ours).map(|entry| entry.path()).take(MAX_DEFAULT_DIRS as usize).collect()
}

/// What people call a node that was given no name: its machine's, without the domain.
pub(crate) fn machine_name() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    name_of(text.unwrap_or_default().trim())
}

fn name_of(host: &str) -> String {
    let short = host.split('.').next().unwrap_or_default();
    let fine = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    // A name has at most 64 bytes, and a rank may follow.
    let name: String = short.chars().filter(fine).take(56).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// `<dir>-2` and so on.
fn numbered(dir: &Path, number: u32) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(format!("-{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_data_folder_has_a_number_behind_its_name() {
        assert_eq!(numbered(Path::new("/x/kodikon"), 2), Path::new("/x/kodikon-2"));
    }

    #[test]
    fn a_machines_name_is_made_fit_for_a_node() {
        for (host, expected) in [
            ("camera-7", "camera-7"),
            ("camera-7.lan.example", "camera-7"),
            ("kitchen camera", "kitchencamera"),
            ("", "node"),
            (".", "node"),
            (&"x".repeat(80), &"x".repeat(56)),
        ] {
            assert_eq!(name_of(host), expected, "{host}");
        }
    }

    #[test]
    fn a_named_data_folder_is_the_only_one() {
        let dirs = candidate_dirs(Some(Path::new("/x"))).expect("named");
        assert_eq!(dirs, [PathBuf::from("/x")]);
    }
}

//! Where things lie on this machine: configuration files, data folder, and the running node's `api.json`.

use std::path::{Path, PathBuf};

use directories::BaseDirs;
use kodikon::settings::{Flag, Key, Settings, SettingsFile, Sources};

use crate::args::SettingsArgs;
use crate::outcome::Failure;

/// How many nodes on one machine find a default data folder.
pub(crate) const MAX_DEFAULT_DIRS: u32 = 64;

/// Reads all that sets a value: files, environment, flags.
pub(crate) fn load_settings(args: &SettingsArgs, data_dir: Option<&Path>) -> Result<Settings, Failure> {
    let mut flags = args.flags();
    flags.extend(data_dir.map(|dir| Flag {
        name: "--data-dir",
        key: Key::DataDir,
        values: vec![dir.display().to_string()],
    }));
    let sources = Sources { files: settings_files(args.config.as_deref()), environment: environment(), flags };
    Settings::load(&sources).map_err(|problems| Failure::Usage(problems.to_string()))
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
    Ok(std::iter::once(first.clone()).chain(further).collect())
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
    fn a_named_data_folder_is_the_only_one() {
        let dirs = candidate_dirs(Some(Path::new("/x"))).expect("named");
        assert_eq!(dirs, [PathBuf::from("/x")]);
    }
}

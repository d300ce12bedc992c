//! Decides what an export is written to: a file, which is there when it is whole, or what takes bytes as they come.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::outcome::Failure;

/// Links that lead to one another at most, as of the system's own (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// To what is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of this name, which no link bears.
    File(PathBuf),
    /// What takes bytes as they come.
    Stream(Stream),
}

/// What takes bytes as they come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// A pipe or a device of this name.
    Named(PathBuf),
    /// Standard output.
    Stdout,
}

impl Stream {
    /// Opens it. A pipe's reader may be waited for.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Self::Named(name) => OpenOptions::new().write(true).open(name),
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        }
    }
}

impl Target {
    /// Looks at what bears the name, before anything is asked for; `-` is standard output.
    ///
    /// # Errors
    /// What can be written to in no way, as a folder.
    pub(super) fn of(name: &Path) -> Result<Self, Failure> {
        if name == Path::new("-") {
            return Ok(Self::Stream(Stream::Stdout));
        }
        resolved(name)
            .map_err(|error| error.to_string())
            .and_then(Self::behind_links)
            .map_err(|why| Failure::Usage(format!("{} cannot be written: {why}", name.display())))
    }

    fn behind_links(file: PathBuf) -> Result<Self, String> {
        let is_folder = || "it is a folder: name a file in it".to_owned();
        let found = match std::fs::metadata(&file) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ends_in_a_slash = file.as_os_str().as_encoded_bytes().ends_with(b"/");
                if ends_in_a_slash || file.file_name().is_none() {
                    return Err(is_folder());
                }
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
                return folder
                    .map_or(Ok(Self::File(file.clone())), |folder| Err(format!("{} is no folder", folder.display())));
            }
            Err(error) => return Err(error.to_string()),
        };
        // As /dev/stdout is, whatever that leads to.
        if stdout_is(&found) {
            return Ok(Self::Stream(Stream::Stdout));
        }
        let kind = found.file_type();
        if kind.is_dir() {
            return Err(is_folder());
        }
        if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            return Ok(Self::Stream(Stream::Named(file)));
        }
        if kind.is_file() { Ok(Self::File(file)) } else { Err("it is neither a file nor a pipe".to_owned()) }
    }
}

/// Where links lead, also where nothing is there yet.
fn resolved(name: &Path) -> io::Result<PathBuf> {
    let mut file = name.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&file) {
            // A link of the kernel's own, as of an open pipe, names what is no path; what is behind it says its kind.
            Ok(_) if std::fs::metadata(&file).is_ok_and(|found| !found.is_file()) => return Ok(file),
            // Beside the link, unless it says the whole way.
            Ok(next) => file = file.parent().unwrap_or(Path::new("")).join(next),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(file);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("links lead around in a ring"))
}

/// Whether standard output is this.
fn stdout_is(found: &std::fs::Metadata) -> bool {
    let own = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_told_from_what_takes_bytes_as_they_come_and_from_what_takes_none() {
        let home = std::env::temp_dir().join(format!("kodikon-target-{}", std::process::id()));
        std::fs::create_dir_all(home.join("folder")).expect("writable");
        let at = |name: &str| home.join(name);
        std::fs::write(at("file"), "before").expect("writable");
        assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("it is there").success());
        for (to, link) in [("file", "to-file"), ("to-file", "to-link"), ("new", "to-new"), ("pipe", "to-pipe")] {
            symlink(to, at(link)).expect("writable");
        }
        symlink(at("folder"), at("to-folder")).expect("writable");
        symlink("ring", at("ring")).expect("writable");
        let _socket = UnixListener::bind(at("socket")).expect("writable");
        for (name, expected) in [
            ("file", Target::File(at("file"))),
            ("new", Target::File(at("new"))),
            ("to-file", Target::File(at("file"))),
            ("to-link", Target::File(at("file"))),
            ("to-new", Target::File(at("new"))),
            ("pipe", Target::Stream(Stream::Named(at("pipe")))),
            ("to-pipe", Target::Stream(Stream::Named(at("to-pipe")))),
        ] {
            assert_eq!(Target::of(&at(name)), Ok(expected), "{name}");
        }
        assert_eq!(Target::of(Path::new("-")), Ok(Target::Stream(Stream::Stdout)));
        for (name, said) in [
            ("folder", "it is a folder"),
            ("new/", "it is a folder"),
            ("to-folder", "it is a folder"),
            ("absent/file", "absent is no folder"),
            ("file/file", "cannot be written"),
            ("ring", "cannot be written"),
            ("socket", "neither a file nor a pipe"),
        ] {
            let refused = Target::of(&at(name));
            assert!(matches!(&refused, Err(Failure::Usage(why)) if why.contains(said)), "{name}: {refused:?}");
        }
        assert_eq!(std::fs::read_to_string(at("file")).expect("there"), "before");
        std::fs::remove_dir_all(&home).expect("it is there");
    }
}

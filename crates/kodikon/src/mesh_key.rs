//! The mesh key: 32 random bytes that all members share, kept as 64 hex digits and a newline in a file of mode 0600.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// More than any key file: 64 digits, a newline, and room for a careless editor.
const MAX_BYTES: u64 = 256;

/// The key that all members of a closed mesh share.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(…)")
    }
}

/// Why there is no mesh key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshKeyError {
    /// The operating system gave no random bytes. Nothing was written.
    #[error("the system gives no random bytes: try again")]
    Random,
    /// The file holds something else.
    #[error("{path} holds no mesh key: {why}. A key file has 64 hex digits", path = .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is there already, and a lost key cannot be had again. Nothing was written.
    #[error("{path} exists and is not overwritten: every node needs the same key. Remove it first, or name another", path = .path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl MeshKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    ///
    /// [`MeshKeyError::Random`].
    pub fn generate() -> Result<Self, MeshKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| MeshKeyError::Random)?;
        Ok(Self(bytes))
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`MeshKeyError::Io`] and [`MeshKeyError::Content`].
    pub fn read(path: &Path) -> Result<Self, MeshKeyError> {
        let io = |source| MeshKeyError::Io { path: path.to_owned(), source };
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
        File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        Self::parse(&bytes).map_err(|why| MeshKeyError::Content { path: path.to_owned(), why })
    }

    /// What is odd about a key file, though its key can be used.
    pub(crate) fn doubt(path: &Path) -> Option<&'static str> {
        let file = std::fs::metadata(path).ok()?;
        let is_open = std::os::unix::fs::MetadataExt::mode(&file) & 0o077 != 0;
        is_open.then_some("others than its owner may read or write the mesh's key, and join with it: chmod 600")
    }

    /// Writes a new key file that only its owner can read, and never over another.
    ///
    /// # Errors
    ///
    /// [`MeshKeyError::Exists`] and [`MeshKeyError::Io`].
    pub fn write_new(&self, path: &Path) -> Result<(), MeshKeyError> {
        let io = |source: io::Error| {
            let path = path.to_owned();
            let exists = source.kind() == io::ErrorKind::AlreadyExists;
            if exists { MeshKeyError::Exists { path } } else { MeshKeyError::Io { path, source } }
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(io)?;
        file.write_all(self.to_text().as_bytes()).and_then(|()| file.sync_all()).map_err(io)
    }

    /// The content of a key file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits are one hex digit"));
            }
        }
        text.push('\n');
        text
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let digits = text.trim_ascii();
        if digits.len() != 64 {
            return Err("it does not have 64 digits");
        }
        let mut bytes = Zeroizing::new([0; 32]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or("not all of its characters are hex digits");
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).expect("two hex digits are one byte");
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_64_hex_digits_that_read_back() {
        let key = MeshKey::generate().expect("random bytes");
        let text = key.to_text();
        assert_eq!(text.len(), 65);
        assert_eq!(MeshKey::parse(text.as_bytes()), Ok(key.clone()));
        assert_eq!(MeshKey::parse(text.to_uppercase().as_bytes()), Ok(key));
        assert_ne!(MeshKey::generate().expect("random bytes").to_text(), text);
    }

    #[test]
    fn what_is_not_64_hex_digits_is_no_key() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert!(MeshKey::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_never_overwritten_and_only_its_owner_reads_it() {
        let path = std::env::temp_dir().join(format!("kodikon-key-{}", std::process::id()));
        let key = MeshKey::generate().expect("random bytes");
        key.write_new(&path).expect("the temporary folder is writable");
        assert_eq!(MeshKey::read(&path).expect("just written"), key);
        let again = MeshKey::generate().expect("random bytes").write_new(&path);
        assert!(matches!(again, Err(MeshKeyError::Exists { .. })), "{again:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).expect("just written").permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(&path).expect("just written");
    }

    #[test]
    fn a_key_is_not_in_its_debug_text() {
        let key = MeshKey::generate().expect("random bytes");
        assert_eq!(format!("{key:?}"), "MeshKey(…)");
    }
}

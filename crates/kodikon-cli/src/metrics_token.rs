//! `metrics.token`: what a scraper shows; it opens `/metrics` and nothing else, and stays the same over restarts.
//!
//! The token in `api.json` is new at each start, for a stale file may lead a verb to whoever took the port since. What opens the
//! whole API must not outlive its node; what shows counters may.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::api_file::write_private;
use crate::http::Token;

/// Its name.
const FILE: &str = "metrics.token";
/// No token is longer.
const MAX_BYTES: u64 = 256;

/// The token in this folder, made where there is none; mode 0600.
///
/// # Errors
/// When it can be neither read nor written.
pub(crate) fn keep(dir: &Path) -> io::Result<Token> {
    let path = dir.join(FILE);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
        Err(error) => return Err(error),
    }
    if let Some(kept) = Token::read(&text) {
        return Ok(kept);
    }
    let token = Token::generate().ok_or_else(|| io::Error::other("the system gives no random bytes"))?;
    write_private(dir, FILE, token.as_str(), File::sync_all)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_only_and_again_where_it_is_broken() {
        let dir = std::env::temp_dir().join(format!("kodikon-metrics-token-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let first = keep(&dir).expect("written");
        let mode = fs::metadata(dir.join(FILE)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(keep(&dir).expect("read"), first);
        for broken in ["", "short", &"x".repeat(300), &"\u{e4}".repeat(40)] {
            fs::write(dir.join(FILE), broken).expect("it is ours");
            let next = keep(&dir).expect("written");
            assert_ne!(next, first, "{broken:?}");
            assert_eq!(keep(&dir).expect("read"), next, "{broken:?}");
        }
        fs::remove_dir_all(&dir).expect("it is ours");
        assert!(keep(&dir).is_err(), "there is no folder");
    }
}

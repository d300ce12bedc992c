//! Decides how a test speaks HTTP to a node that it started: where `api.json` says, and with its token.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Where a running node's API is, and what each request must bear.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// Address and port.
    pub address: String,
    /// The header fields `Host` and `Authorization`, each with its line's end.
    pub head: String,
}

impl ApiAccess {
    /// Reads `api.json` in a node's data folder.
    ///
    /// # Errors
    /// When it is not there or says something else.
    pub fn read(data: &Path) -> Result<Self> {
        let api: Value = serde_json::from_str(&fs::read_to_string(data.join("api.json"))?)?;
        let field = |name: &str| api[name].as_str().with_context(|| format!("no {name} in api.json"));
        let (url, token) = (field("url")?, field("token")?);
        let address = url.strip_prefix("http://").context("no address in api.json")?.to_owned();
        let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n");
        Ok(Self { address, head })
    }
}

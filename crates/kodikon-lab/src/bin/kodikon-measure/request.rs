//! Decides how a node is asked for something over HTTP as a program beside it does, and from when that counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kodikon_lab::{ApiAccess, Moment};
use serde_json::Value;

/// What a node is asked for.
pub(crate) struct Request {
    address: String,
    text: String,
}

impl Request {
    /// For the node with this data folder.
    pub(crate) fn new(data: &Path, path: &str, body: &Value) -> Result<Self> {
        let ApiAccess { address, head } = ApiAccess::read(data)?;
        let body = body.to_string();
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let text = format!("POST {path} HTTP/1.0\r\n{head}{kind}\r\n{body}");
        Ok(Self { address, text })
    }

    /// Asks, and waits for the answer: when it began, which is before the first byte, and the body of the answer.
    pub(crate) fn ask(&self) -> Result<(Moment, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        let mark = Moment::now();
        stream.write_all(self.text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 2") || answer.starts_with("HTTP/1.1 2"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        Ok((mark, body.to_owned()))
    }
}

//! Speaks to the running node: finds its `api.json`, asks over HTTP/1.0 (each answer ends with its connection), reads its events.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_file::{ApiFile, Standing};
use crate::args::NodeArgs;
use crate::outcome::Failure;
use crate::places;

/// No answer is larger: a full roster with full states is below it.
const MAX_ANSWER: u64 = 128 << 20;
/// No line of head or stream is longer: a message has at most 64 KiB.
const MAX_LINE: u64 = 1 << 20;
/// The node is on this machine, or a tunnel away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a node thinks about a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A node that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    authority: String,
    base: String,
    token: Option<String>,
}

/// A problem document (RFC 9457), as far as a person reads it.
#[derive(Debug, Deserialize)]
struct ProblemDocument {
    title: String,
    detail: Option<String>,
}

impl Client {
    /// Finds the node: `--api URL` first, else the data folder's.
    pub(crate) fn find(node: &NodeArgs, data_dir: Option<&Path>) -> Result<Self, Failure> {
        Self::among(&places::candidate_dirs(data_dir)?, node.api.as_deref())
    }

    fn among(dirs: &[PathBuf], api: Option<&str>) -> Result<Self, Failure> {
        let (mut hidden, mut silent) = (None, None);
        // The file of a node that has ended leads to whoever has its port now, who is shown no token.
        let mut known = dirs.iter().filter_map(|dir| {
            let file = ApiFile::read(dir).unwrap_or_else(|unread| {
                hidden.get_or_insert(unread);
                None
            })?;
            let standing = file.standing(dir);
            (standing != Standing::Over).then_some((file, standing))
        });
        if let Some(url) = api {
            let (authority, base) = split_url(url)?;
            // The token belongs to one node: it is shown to that one only.
            let same = |(file, _): &(ApiFile, _)| split_url(&file.url).is_ok_and(|(other, _)| other == authority);
            let token = known.find(same).map(|(file, _)| file.token);
            return match hidden.filter(|_| token.is_none()) {
                Some(hidden) => Err(hidden.into()),
                None => Ok(Self { authority, base, token }),
            };
        }
        for (file, standing) in known {
            let Ok((authority, base)) = split_url(&file.url) else { continue };
            let client = Self { authority, base, token: Some(file.token) };
            // Also where it seems to run: in a container each run has the same pid, and a file that the last one left may lead to
            // whoever has its port now.
            match client.is_of_a_node() {
                Ok(true) => return Ok(client),
                Ok(false) | Err(Failure::NoNode(_)) => {}
                Err(unanswered) if standing == Standing::Runs => _ = silent.get_or_insert(unanswered),
                Err(_) => {}
            }
        }
        Err(hidden.map(Failure::from).or(silent).unwrap_or_else(|| no_node(dirs)))
    }

    /// Whether a node answers there. It is asked without the token.
    fn is_of_a_node(&self) -> Result<bool, Failure> {
        let stranger = Self { token: None, ..self.clone() };
        let answer = stranger.open("GET", "/healthz", None, Some(CONNECT_TIMEOUT))?;
        let mut text = Vec::new();
        answer.body.take(MAX_LINE).read_to_end(&mut text).map_err(|error| broken(&error))?;
        // One whose loop is stuck says so in a problem document.
        Ok(match serde_json::from_slice::<Value>(&text) {
            Ok(told) if answer.status == 200 => told == json!({"status": "ok"}),
            Ok(told) => answer.status == 503 && told["title"] == "Stuck",
            Err(_) => false,
        })
    }

    /// Asks for a document.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None, ANSWER_TIMEOUT)
    }

    /// Asks for a part of a list, and where the next part is: the `after` of a link (RFC 8288) with `rel="next"`.
    pub(crate) fn get_page(&self, path: &str) -> Result<(Value, Option<String>), Failure> {
        self.answer("GET", path, None, ANSWER_TIMEOUT)
    }

    /// Removes something.
    pub(crate) fn delete(&self, path: &str, patience: Duration) -> Result<Value, Failure> {
        self.ask("DELETE", path, None, patience)
    }

    /// Hands in a body that is JSON already.
    pub(crate) fn post_text(&self, path: &str, body: String, patience: Duration) -> Result<Value, Failure> {
        self.answer("POST", path, Some(body), patience).map(|(document, _)| document)
    }

    /// Sends a change.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask("PATCH", path, Some(body), ANSWER_TIMEOUT)
    }

    /// Hands something in, with an answer that may take so long.
    pub(crate) fn post(&self, path: &str, body: &Value, patience: Duration) -> Result<Value, Failure> {
        self.ask("POST", path, Some(body), patience)
    }

    /// Hands something in that is answered line by line.
    pub(crate) fn lines(&self, path: &str, body: &Value) -> Result<Lines, Failure> {
        let mut answer = self.open("POST", path, Some(body.to_string()), None)?;
        if answer.status != 200 {
            let mut text = Vec::new();
            answer.body.by_ref().take(MAX_LINE).read_to_end(&mut text).map_err(|error| broken(&error))?;
            answer.check(&text)?;
        }
        Ok(Lines { body: answer.body })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>, patience: Duration) -> Result<Value, Failure> {
        self.answer(method, path, body.map(ToString::to_string), patience).map(|(document, _)| document)
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        patience: Duration,
    ) -> Result<(Value, Option<String>), Failure> {
        let mut answer = self.open(method, path, body, Some(patience))?;
        let mut text = Vec::new();
        let most = answer.length.unwrap_or(MAX_ANSWER).min(MAX_ANSWER);
        answer.body.by_ref().take(most).read_to_end(&mut text).map_err(|error| broken(&error))?;
        if answer.length.is_some_and(|length| length != text.len() as u64) {
            return Err(Failure::Undone("the node's answer is incomplete: it may have stopped just now".into()));
        }
        answer.check(&text)?;
        Ok((document(&text)?, answer.next))
    }

    /// Opens the stream of events.
    pub(crate) fn events(&self, path: &str) -> Result<Events, Failure> {
        let mut answer = self.open("GET", path, None, None)?;
        if answer.status != 200 {
            let mut text = Vec::new();
            answer.body.by_ref().take(MAX_LINE).read_to_end(&mut text).map_err(|error| broken(&error))?;
            answer.check(&text)?;
        }
        Ok(Events { body: answer.body })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        patience: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let gone = |error| Failure::NoNode(format!("no running node found at http://{}: {error}", self.authority));
        let mut stream = self.connect().map_err(gone)?;
        stream.set_read_timeout(patience).map_err(|error| broken(&error))?;
        let mut head = format!("{method} {}{path} HTTP/1.0\r\nHost: {}\r\n", self.base, self.authority);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let body = body.unwrap_or_default();
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).map_err(|error| broken(&error))?;
        Answer::read(BufReader::new(stream))
    }
}

/// The head of an answer, and its body still to be read.
struct Answer {
    status: u16,
    length: Option<u64>,
    /// Where the next part of a list begins.
    next: Option<String>,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn read(mut body: BufReader<TcpStream>) -> Result<Self, Failure> {
        let foreign = || Failure::Undone("what answers there does not speak HTTP: is it a Kodikon node?".into());
        let ended = || Failure::Undone("the node stopped just now, before it answered".into());
        let first = read_line(&mut body).map_err(|error| broken(&error))?.ok_or_else(ended)?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(foreign)?;
        let (mut length, mut next) = (None, None);
        for _ in 0..128 {
            let line = read_line(&mut body).map_err(|error| broken(&error))?.ok_or_else(foreign)?;
            if line.is_empty() {
                return Ok(Self { status, length, next, body });
            }
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok();
                }
                Some((name, value)) if name.eq_ignore_ascii_case("link") => next = next_of(value),
                Some(_) | None => {}
            }
        }
        Err(foreign())
    }

    /// Turns a refusal into what the verb says of it.
    fn check(&self, text: &[u8]) -> Result<(), Failure> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let said = match serde_json::from_slice::<ProblemDocument>(text) {
            Ok(ProblemDocument { title, detail: Some(detail) }) => format!("{title}: {detail}"),
            Ok(ProblemDocument { title, detail: None }) => title,
            Err(_) => format!("the node answered with HTTP status {}", self.status),
        };
        Err(match self.status {
            // What was asked for makes no sense, is too large, or breaks a limit or a rule.
            400 | 413 | 422 => Failure::Usage(said),
            401 => Failure::Undone(format!(
                "{said}. It is found by --data-dir DIR, or by --api with the `url` that stands beside it"
            )),
            _ => Failure::Undone(said),
        })
    }
}

/// The `after` of a link with `rel="next"`.
fn next_of(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let (_, query) = target.split_once('?')?;
    let after = query.split('&').find_map(|part| part.strip_prefix("after="))?;
    rest.contains("rel=\"next\"").then(|| after.to_owned())
}

/// The node's events as they come.
#[derive(Debug)]
pub(crate) struct Events {
    body: BufReader<TcpStream>,
}

impl Events {
    /// The next event as its line of JSON; none when the node has stopped.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            match read_line(&mut self.body) {
                // Each of our events is one `data:` line; comments keep the connection alive, ids serve browsers.
                Ok(Some(line)) => {
                    if let Some(data) = line.strip_prefix("data:") {
                        return Ok(Some(data.trim_start().to_owned()));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

/// An answer line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    body: BufReader<TcpStream>,
}

impl Lines {
    /// The next line; none when all are told.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Failure> {
        read_line(&mut self.body).map_err(|error| broken(&error))
    }
}

/// A line without its end; none at the end of the stream.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 == MAX_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
    }
    let text = String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// An answer, or a line of one, as JSON.
pub(crate) fn document(text: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(text).map_err(|error| Failure::Undone(format!("the node's answer is not JSON: {error}")))
}

fn broken(error: &io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return Failure::Undone("the node does not answer in time".into());
    }
    Failure::Undone(format!("the connection to the node broke: {error}"))
}

fn no_node(dirs: &[PathBuf]) -> Failure {
    let first = dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
    Failure::NoNode(format!(
        "no running node found in {first}: start one with `kodikon up`, or name another's folder with --data-dir DIR or its API with --api URL"
    ))
}

/// `http://HOST:PORT/BASE` as `HOST:PORT` and `/BASE`.
fn split_url(url: &str) -> Result<(String, String), Failure> {
    let wrong = |why: &str| Failure::Usage(format!("`{url}` {why}: write http://HOST:PORT"));
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return Err(wrong("is not an http URL")),
        None => url,
    };
    let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@') {
        return Err(wrong("has no host"));
    }
    if base.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#')) {
        return Err(wrong("has more than a path"));
    }
    // The colons of an IPv6 address stand in brackets.
    let outside = authority.rsplit_once(']').map_or(authority, |(_, outside)| outside);
    let authority = match outside.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => authority.to_owned(),
        Some(_) => return Err(wrong("has no port from 1 to 65535")),
        None => format!("{authority}:80"),
    };
    let base = base.trim_end_matches('/');
    Ok((authority, if base.is_empty() { String::new() } else { format!("/{base}") }))
}

/// Writes a name as one segment of a path (RFC 3986 §2.1).
pub(crate) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;

//! `decode`: datagrams from hex, files, captures or stdin, each message in them as a line of JSON.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kodikon::decode::{Decoder, Undecoded};
use kodikon::mesh_key::MeshKey;

use crate::args::{Common, DecodeArgs, SettingsArgs};
use crate::capture::{self, Capture, Packet};
use crate::outcome::{Done, Failure};
use crate::{places, print};

/// Bytes of all input at most: it is read twice, the first time for names.
const MAX_INPUT: u64 = 256 * 1024 * 1024;
/// Datagrams that could not be shown, said one by one; more are counted.
const MAX_COMPLAINTS: usize = 20;

pub(crate) fn run(common: &Common, args: &DecodeArgs) -> Result<Done, Failure> {
    let settings = SettingsArgs {
        config: args.config.clone(),
        mesh: args.mesh.clone(),
        mesh_key: args.mesh_key.clone(),
        ..SettingsArgs::default()
    };
    let settings = places::load_settings(&settings, common.data_dir.as_deref())?;
    let key = settings.mesh_key.value.as_deref().map(MeshKey::read).transpose();
    let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
    let mesh = match key {
        None => format!("the open mesh `{}`", settings.mesh_name.value),
        Some(_) => format!("this key in the mesh `{}`", settings.mesh_name.value),
    };
    let inputs = read_all(&args.inputs)?;
    let mut decoder = Decoder::new(&settings.mesh_name.value, key.as_ref());
    for input in &inputs {
        input.visit(&mut |seen| {
            if let Seen::Datagram(_, bytes, _) = seen {
                decoder.frames(bytes).into_iter().for_each(|frame| decoder.learn(frame));
            }
            Ok(())
        })?;
    }
    let mut report = Report { decoder, mesh, counts: Counts::default() };
    for input in &inputs {
        input.visit(&mut |seen| report.tell(seen))?;
    }
    report.end(inputs.iter().all(|input| matches!(input.content, Content::Capture(_))))
}

/// Something that was given to be shown.
#[derive(Debug)]
struct Input {
    name: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The bytes of a pcap file.
    Capture(Vec<u8>),
    /// Hex digits, a datagram a line.
    Hex(String),
    /// A datagram as it was.
    Raw(Vec<u8>),
}

/// What an input holds, one by one.
enum Seen<'a> {
    /// Where it stands, its bytes, and when it was captured.
    Datagram(String, &'a [u8], Option<f64>),
    /// Something that should have been a datagram.
    Fault(String),
    /// A piece of a datagram.
    Fragment,
    /// No datagram, and not meant as one.
    Other,
}

type Visitor<'v> = dyn FnMut(Seen<'_>) -> Result<(), Failure> + 'v;

impl Input {
    fn new(name: String, bytes: Vec<u8>) -> Self {
        let is_hex = |text: &&str| text.lines().all(|line| hex_of(line).is_some() || line.trim_ascii().is_empty());
        let content = match std::str::from_utf8(&bytes).ok().filter(is_hex) {
            Some(text) => Content::Hex(text.to_owned()),
            None if capture::is_capture(&bytes) => Content::Capture(bytes),
            None => Content::Raw(bytes),
        };
        Self { name, content }
    }

    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<(), Failure> {
        match &self.content {
            Content::Raw(bytes) => visitor(Seen::Datagram(self.name.clone(), bytes, None)),
            Content::Hex(text) => {
                let is_alone = text.lines().nth(1).is_none();
                let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
                for (at, line) in lines {
                    let place = if is_alone { self.name.clone() } else { format!("{}:{}", self.name, at + 1) };
                    let bytes = hex_of(line).expect("all lines were read as hex before");
                    visitor(Seen::Datagram(place, &bytes, None))?;
                }
                Ok(())
            }
            Content::Capture(bytes) => self.visit_capture(bytes, visitor),
        }
    }

    fn visit_capture(&self, bytes: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Failure> {
        let capture = Capture::new(bytes).map_err(|broken| Failure::Undone(format!("{} {broken}", self.name)))?;
        for (at, packet) in capture.enumerate() {
            let place = format!("{}: packet {}", self.name, at + 1);
            visitor(match packet {
                Ok(Packet::Datagram(datagram)) => {
                    let place = format!("{place}, {} to {}", datagram.from, datagram.to);
                    Seen::Datagram(place, datagram.payload, Some(datagram.captured))
                }
                Ok(Packet::Cut) => Seen::Fault(format!("{place}: cut by the capture: repeat it with `tcpdump -s 0`")),
                Ok(Packet::Fragment) => Seen::Fragment,
                Ok(Packet::Other) => Seen::Other,
                Err(broken) => Seen::Fault(format!("{place}: the file {broken}")),
            })?;
        }
        Ok(())
    }
}

/// Reads what was named: hex digits themselves, files, and stdin.
fn read_all(names: &[String]) -> Result<Vec<Input>, Failure> {
    let stdin = ["-".to_owned()];
    let names = if names.is_empty() { &stdin[..] } else { names };
    let mut left = MAX_INPUT;
    let mut inputs = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let input = if hex_of(name).is_some() {
            Input { name: format!("datagram {}", at + 1), content: Content::Hex(name.clone()) }
        } else if name == "-" {
            Input::new("stdin".to_owned(), read(io::stdin().lock(), "stdin", left)?)
        } else {
            let path = PathBuf::from(name);
            Input::new(name.clone(), read(open(&path)?, name, left)?)
        };
        left = left.saturating_sub(match &input.content {
            Content::Hex(text) => text.len() as u64,
            Content::Capture(bytes) | Content::Raw(bytes) => bytes.len() as u64,
        });
        inputs.push(input);
    }
    Ok(inputs)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Failure::Usage(format!("`{}` is neither hex digits in pairs nor a file", path.display()))
        } else {
            Failure::Undone(format!("{}: {error}", path.display()))
        }
    })
}

fn read(source: impl Read, name: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let size = source.take(limit + 1).read_to_end(&mut bytes);
    let size = size.map_err(|error| Failure::Undone(format!("{name}: {error}")))?;
    if size as u64 > limit {
        let most = MAX_INPUT >> 20;
        return Err(Failure::Undone(format!("{name}: more than {most} MiB in all: split it, as `tcpdump -C` does")));
    }
    Ok(bytes)
}

/// The bytes of hex digits in pairs, with blanks and colons between them and `0x` in front where somebody likes it.
fn hex_of(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\t' | ':')) {
        digits.push(u8::try_from(c.to_digit(16)?).ok()?);
    }
    let pairs = digits.chunks_exact(2);
    (!digits.is_empty() && pairs.remainder().is_empty()).then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// What was shown and what was not.
#[derive(Debug, Default)]
struct Counts {
    shown: usize,
    faults: usize,
    foreign: usize,
    fragments: usize,
    runs: usize,
    gone: bool,
}

struct Report {
    decoder: Decoder,
    mesh: String,
    counts: Counts,
}

impl Report {
    fn tell(&mut self, seen: Seen<'_>) -> Result<(), Failure> {
        match seen {
            Seen::Datagram(place, bytes, captured) => {
                let frames = self.decoder.frames(bytes);
                self.counts.runs += usize::from(frames.len() > 1);
                for frame in frames {
                    self.tell_frame(&place, frame, captured)?;
                }
            }
            Seen::Fault(text) => self.complain(&text),
            Seen::Fragment => self.counts.fragments += 1,
            Seen::Other => {}
        }
        Ok(())
    }

    fn tell_frame(&mut self, place: &str, frame: &[u8], captured: Option<f64>) -> Result<(), Failure> {
        match self.decoder.decode(frame, captured) {
            Ok(messages) => {
                for message in messages {
                    self.counts.shown += 1;
                    self.counts.gone = self.counts.gone || !print::line(&message.to_json())?;
                }
            }
            // In a capture anyone's datagrams are found; whoever names one himself means ours.
            Err(fault) if fault.is_foreign() && captured.is_some() => self.counts.foreign += 1,
            Err(Undecoded::Sealed) => {
                let mesh = &self.mesh;
                self.complain(&format!(
                    "{place}: a sealed frame that does not open with {mesh}: \
                     name its mesh with --mesh NAME and its key with --mesh-key FILE"
                ));
            }
            Err(fault) => self.complain(&format!("{place}: {fault}")),
        }
        Ok(())
    }

    fn complain(&mut self, text: &str) {
        self.counts.faults += 1;
        if self.counts.faults <= MAX_COMPLAINTS {
            eprintln!("{}", text.replace(char::is_control, "?"));
        }
    }

    fn end(self, captures_only: bool) -> Result<Done, Failure> {
        let Counts { shown, faults, foreign, fragments, runs, gone } = self.counts;
        if gone {
            return Ok(Done::Well);
        }
        if faults > MAX_COMPLAINTS {
            eprintln!("and {} more that cannot be shown", faults - MAX_COMPLAINTS);
        }
        if foreign > 0 {
            eprintln!("left out, of other programs: {foreign}");
        }
        if fragments > 0 {
            eprintln!("left out, IP fragments: {fragments}; long JSON datagrams of the original come so");
        }
        if runs > 0 {
            eprintln!(
                "several frames in one captured packet, cut apart: {runs}; the sending host's own capture shows a run of frames so"
            );
        }
        if shown == 0 && faults == 0 {
            let of = if captures_only { "the capture" } else { "the input" };
            eprintln!("{of} holds no datagram to show");
        }
        Ok(if faults == 0 && shown > 0 { Done::Well } else { Done::Unwell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_people_write_it() {
        for (text, expected) in [
            ("7b7D", Some(vec![0x7b, 0x7d])),
            (" 0x7b 7d\n", Some(vec![0x7b, 0x7d])),
            ("7b:7d\t", Some(vec![0x7b, 0x7d])),
            ("", None),
            ("0x", None),
            ("7", None),
            ("7b7", None),
            ("7g", None),
            ("-", None),
            ("é", None),
        ] {
            assert_eq!(hex_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_input_is_hex_a_capture_or_a_datagram() {
        let content = |bytes: &[u8]| Input::new("x".to_owned(), bytes.to_vec()).content;
        assert!(matches!(content(b"7b 7d\n\n0x7b\n"), Content::Hex(_)));
        assert!(matches!(content(b"{}"), Content::Raw(_)));
        assert!(matches!(content(&[1, 0, 0xff]), Content::Raw(_)));
        assert!(matches!(content(&[0xd4, 0xc3, 0xb2, 0xa1]), Content::Capture(_)));
        assert!(matches!(content(b""), Content::Hex(_)));
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        assert!(read(&b"1234"[..], "x", 4).is_ok());
        assert!(matches!(read(&b"12345"[..], "x", 4), Err(Failure::Undone(_))));
    }
}

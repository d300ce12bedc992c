//! `decode` shows what really travels: the recorded datagrams of the Python original, captures of tcpdump, and a running node's frames.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Recorded from running nodes of the original, `{"name", "hex"}` a line.
const DATAGRAMS: &str = include_str!("../../kodikon-core/tests/fixtures/legacy_datagrams.jsonl");
/// The slowest machine is through by then; nothing is decided by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run of `decode` said.
struct Said {
    code: i32,
    lines: Vec<Value>,
    stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kodikon"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent");
    command
}

fn decode(arguments: &[&str], stdin: &[u8]) -> Said {
    let mut command = command(&[&["decode"], arguments].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
    // It may end without reading, as it does where stdin was not asked for.
    let _ = child.stdin.take().expect("piped").write_all(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let lines = text(output.stdout);
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    Said { code: output.status.code().expect("no signal ended it"), lines, stderr: text(output.stderr) }
}

fn datagrams() -> Vec<(String, String)> {
    let read = |line| serde_json::from_str::<Value>(line).expect("a fixture line");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    DATAGRAMS.lines().map(read).map(|row| (text(&row["name"]), text(&row["hex"]))).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_real_datagram_is_shown_except_the_one_without_a_source() {
    let all = datagrams();
    let text: String = all.iter().map(|(_, hex)| format!("{hex}\n")).collect();
    let said = decode(&[], text.as_bytes());
    let place = all.iter().position(|(name, _)| name == "empty_source").expect("it is there") + 1;
    assert_eq!(said.code, 1, "one is not shown");
    assert_eq!(said.stderr, format!("stdin:{place}: field \"source\" must not be empty\n"));
    let good: Vec<_> = all.iter().filter(|(name, _)| name != "empty_source").collect();
    let expected: Vec<Value> =
        good.iter().map(|(_, hex)| serde_json::from_slice(&bytes_of(hex)).expect("JSON")).collect();
    assert_eq!(said.lines, expected);
    // One by one, as an argument or as the raw bytes of a file.
    for ((name, hex), expected) in good.iter().zip(&expected).filter(|((_, hex), _)| hex.len() < 100_000) {
        for said in [decode(&[hex], b""), decode(&["-"], &bytes_of(hex))] {
            assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{name}");
            assert_eq!(said.lines, std::slice::from_ref(expected), "{name}");
        }
    }
}

#[test]
fn captures_of_tcpdump_are_read_to_their_udp_datagrams() {
    for name in ["legacy-any.pcap", "legacy-ethernet.pcap"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let said = decode(&[path.to_str().expect("text")], b"");
        let types: Vec<u64> = said.lines.iter().filter_map(|line| line["type"].as_u64()).collect();
        assert_eq!((said.code, types), (1, vec![1, 3]), "{name}: {}", said.stderr);
        assert_eq!(said.lines[0]["payload"]["state"]["yolo_model"], "yolov8n");
        let fault = said.stderr.lines().next().expect("the datagram without a source");
        assert!(fault.contains("pcap: packet 2, 127.0.0.1:"), "{fault}");
        assert!(fault.ends_with(" to 127.0.0.1:9999: field \"source\" must not be empty"), "{fault}");
        assert!(said.stderr.ends_with("left out, of other programs: 1\n"), "{}", said.stderr);
    }
}

/// A node that speaks to an address of the test's own.
struct Node(Child);

impl Node {
    fn start(to: &UdpSocket, more: &[&str]) -> Self {
        let peer = to.local_addr().expect("bound").to_string();
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let port = port.min(65_000).to_string();
        let mut arguments = vec!["up", "--in-memory", "--api", "none", "--node-id", "cam7", "--peer", &peer];
        arguments.extend(["--interface", "lo", "--udp-port", &port, "--log-level", "off"]);
        arguments.extend(more);
        let mut command = command(&arguments);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it was built"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Receives frames until the last one is of this length at least, or there are enough.
fn frames(socket: &UdpSocket, enough: usize) -> Vec<Vec<u8>> {
    let begun = Instant::now();
    let mut frames = Vec::new();
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    while frames.len() < enough {
        assert!(begun.elapsed() < PATIENCE, "{} frames", frames.len());
        let mut buffer = [0; 2_048];
        let (length, _) = socket.recv_from(&mut buffer).expect("a node speaks to its peers");
        frames.push(buffer[..length].to_vec());
    }
    frames
}

#[test]
fn a_running_nodes_frames_are_shown_with_its_name() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let _node = Node::start(&socket, &["--mesh", "decoded"]);
    let frames = frames(&socket, 3);
    let hex: Vec<String> = frames.iter().map(|frame| hex_of(frame)).collect();
    let mut arguments = vec!["--mesh", "decoded"];
    arguments.extend(hex.iter().map(String::as_str));
    let said = decode(&arguments, b"");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let hello = said.lines.iter().find(|line| line["kind"] == "HELLO").expect("it says hello");
    assert_eq!((&hello["payload"]["card"]["name"], &hello["payload"]["op"]["signed"]), (&"cam7".into(), &true.into()));
    let sources: BTreeSet<String> = said.lines.iter().map(|line| line["source"].to_string()).collect();
    assert_eq!(sources, BTreeSet::from(["\"cam7\"".to_owned()]));
    let numbers: Vec<u64> = said.lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.len() == said.lines.len(), "{numbers:?}");

    let said = decode(&[&hex[0]], b"");
    assert_eq!((said.code, said.lines.len()), (1, 0));
    assert!(said.stderr.contains("the open mesh `kodikon`: name its mesh with --mesh NAME"), "{}", said.stderr);
}

#[test]
fn a_closed_meshs_frames_open_with_its_key_file() {
    let file = std::env::temp_dir().join(format!("kodikon-decode-key-{}", std::process::id()));
    let path = file.to_str().expect("text");
    assert!(command(&["key", "new", path]).stderr(Stdio::null()).status().expect("it was built").success());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let node = Node::start(&socket, &["--mesh-key", path]);
    let frame = hex_of(&frames(&socket, 1)[0]);
    drop(node);
    let with_key = decode(&["--mesh-key", path, &frame], b"");
    let without = decode(&[&frame], b"");
    std::fs::remove_file(&file).expect("just written");
    assert_eq!((with_key.code, with_key.lines.is_empty()), (0, false), "{}", with_key.stderr);
    assert_eq!((without.code, without.lines.is_empty()), (1, true));
    assert_eq!(decode(&["--mesh-key", path, &frame], b"").code, 2, "the key file is gone");
}

#[test]
fn the_example_of_the_paper_is_what_decode_prints() {
    let paper = include_str!("../../../docs/wire-format.md");
    let (_, example) = paper.split_once("\nkodikon decode ").expect("it is there");
    let (hex, rest) = example.split_once('\n').expect("a line");
    let printed = rest.strip_prefix("```\n```json\n").and_then(|rest| rest.lines().next()).expect("what it prints");
    let said = decode(&[hex], b"");
    assert_eq!(said.lines, [serde_json::from_str::<Value>(printed).expect("JSON")]);
}

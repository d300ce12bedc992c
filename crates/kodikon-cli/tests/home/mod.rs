//! What tests of real processes stand on: a folder of their own, verbs that end and verbs that go on.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The slowest machine is through by then; nothing is decided by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that goes with its test.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kodikon-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn kodikon(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kodikon"));
        command.args(arguments).current_dir(&self.0).env_clear().env("HOME", &self.0);
        command.env("XDG_RUNTIME_DIR", &self.0).stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.kodikon(arguments).output().expect("it was built");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("no signal ended it"), text(stdout), text(stderr))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        serde_json::from_str(&stdout).expect("one JSON document")
    }

    /// Starts a verb that goes on, and reads its lines.
    pub(crate) fn start(&self, arguments: &[&str]) -> Going {
        let mut child =
            self.kodikon(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it was built");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Going { child, lines }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A verb that goes on.
pub(crate) struct Going {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Going {
    /// The next event of a kind.
    pub(crate) fn event(&self, kind: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no {kind}: {error}"));
            let event: Value = serde_json::from_str(&line).expect("a line of JSON");
            if event["event"] == kind {
                return event;
            }
        }
    }

    pub(crate) fn end(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill is there").success());
        self.child.wait().expect("it ends").code().expect("it ends by itself")
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A discovery port of the test's own, with room for the ports above it.
pub(crate) fn free_port() -> String {
    let mut held = Vec::new();
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        if port < 65_000 {
            return port.to_string();
        }
        held.push(socket);
    }
}

/// Asks until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not yet: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a verb that goes on.
pub(crate) fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success(), "{name}");
}

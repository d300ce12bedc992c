//! Decides how a unit test gets a network of its own, a namespace or two per test, or a visible skip; and peers that nobody heard.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc;

use kodikon_core::effect::{Interface, PeerView};
use kodikon_core::ground::id::{Epoch, Life, NodeId};
use kodikon_core::model::member::Liveness;

use crate::interfaces::InterfaceWatch;
use crate::sys;

/// A peer that lives, and of which nothing else is known.
pub(crate) fn peer_view(id: NodeId, name: &str) -> PeerView {
    PeerView {
        id,
        name: name.to_owned(),
        liveness: Liveness::Alive,
        epoch: Epoch::default(),
        life: Life::default(),
        address: None,
        rtt: None,
        heard: None,
        witnesses: Vec::new(),
        reason: "",
        version: String::new(),
        skew_ms: None,
        log_differs: None,
        datagrams: 0,
        beyond: kodikon_core::ground::excess::Excesses::default(),
        relays: None,
    }
}

/// Runs `test` on a thread of its own in an empty network namespace, with a tokio runtime; skips where that takes root.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let run = || {
            if enter() {
                run_to_end(test());
            }
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs two tests on threads and in namespaces of their own, joined by a cable without any route: `near` has 192.0.2.1
/// and `far` 192.0.2.2 on an interface `eth`, and both have IPv6 of link-local scope. Each gets an end of a line to the
/// other.
pub(crate) fn in_two_namespaces<A, B>(near: impl FnOnce(Line) -> A + Send, far: impl FnOnce(Line) -> B + Send)
where
    A: Future<Output = ()>,
    B: Future<Output = ()>,
{
    let (to_near, from_far) = mpsc::channel();
    let (to_far, from_near) = mpsc::channel();
    std::thread::scope(|scope| {
        let near = scope.spawn(move || {
            let line = Line { to: to_far, from: from_far };
            if !enter() {
                return line.say("skip");
            }
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            line.say(thread.file_name().unwrap().to_str().unwrap());
            line.hear("made");
            cable("192.0.2.1");
            line.say("up");
            run_to_end(near(line));
        });
        let far = scope.spawn(move || {
            let line = Line { to: to_near, from: from_near };
            let neighbour = line.from.recv().unwrap();
            if neighbour == "skip" || !enter() {
                return;
            }
            ip(&format!("link add eth type veth peer name eth netns {neighbour}"));
            line.say("made");
            cable("192.0.2.2");
            line.hear("up");
            run_to_end(far(line));
        });
        for thread in [near, far] {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// One end of a line between two tests.
pub(crate) struct Line {
    to: mpsc::Sender<String>,
    from: mpsc::Receiver<String>,
}

impl Line {
    /// Says something; nobody may be listening any more.
    pub(crate) fn say(&self, word: &str) {
        let _ = self.to.send(word.to_owned());
    }

    /// Waits for the other to say just this.
    pub(crate) fn hear(&self, word: &str) {
        assert_eq!(self.from.recv_timeout(std::time::Duration::from_secs(20)).as_deref(), Ok(word));
    }

    /// Waits for the other to say a number.
    pub(crate) fn hear_port(&self) -> u16 {
        self.from.recv_timeout(std::time::Duration::from_secs(20)).unwrap().parse().unwrap()
    }
}

/// The interfaces of the calling thread's namespace once `eth` has its cable and both its addresses.
pub(crate) async fn interfaces_with_cable() -> Vec<Interface> {
    let mut watch = InterfaceWatch::open().unwrap();
    let whole = |interface: &Interface| {
        let v4 = interface.addresses.iter().any(|address| address.address.is_ipv4());
        interface.name == "eth" && interface.carrier && v4 && interface.addresses.iter().any(|a| a.address.is_ipv6())
    };
    loop {
        let interfaces = watch.changed().await.unwrap();
        if interfaces.iter().any(whole) {
            return interfaces;
        }
    }
}

/// The IPv4 address of the other end of the cable.
pub(crate) const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// Runs `ip` with `arguments` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    shell(&format!("ip {arguments}"));
}

/// Runs a line of bash in the calling thread's namespace.
pub(crate) fn shell(line: &str) {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn cable(address: &str) {
    ip("link set lo up");
    // Without the search for duplicates, which takes a second or two.
    shell("for conf in all eth; do echo 0 > /proc/sys/net/ipv6/conf/$conf/accept_dad; done");
    ip(&format!("addr add {address}/24 brd + dev eth"));
    ip("link set eth up");
}

/// Enters a fresh namespace; false, visibly, where that takes root.
fn enter() -> bool {
    let Err(error) = sys::enter_empty_namespace() else { return true };
    let required = std::env::var("KODIKON_NETNS").is_ok_and(|value| value == "require");
    assert!(!required, "no network namespace: {error}");
    skipped(&format!("a network namespace needs root ({error})"));
    false
}

/// Says that a test was left out, past the harness, which keeps what a test that passes prints to itself.
pub(crate) fn skipped(why: &str) {
    // Whoever closed the output has no interest in it.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn run_to_end(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = std::time::Duration::from_secs(30);
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("done within 30 s") });
}

//! Decides how a routing daemon is measured beside a mesh: its timers, its hosts, and a flow of UDP through their kernels.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kodikon_lab::{Host, Lab, Moment, Process};

use crate::flow::{Faults, Flow, PACE};

/// Where the flow is received.
const PORT: u16 = 7_777;
const SETUP_LIMIT: Duration = Duration::from_secs(10);
/// How soon the receiver sees that it is to end.
const READ_LIMIT: Duration = Duration::from_millis(100);

/// How often it says that it is there, and what it knows.
#[derive(Clone, Copy)]
pub(crate) struct Timers {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// In words, for the note.
    pub(crate) words: &'static str,
    /// Of each interface.
    settings: &'static str,
    /// Of the daemon.
    options: &'static [&'static str],
}

/// As installed (babeld(8): hello 4 s, update four times that, metrics smoothed with a half-time of 4 s).
pub(crate) const USUAL: Timers = Timers {
    name: "babeld",
    words: "its default timers: hello 4 s, update 16 s, smoothing 4 s",
    settings: "",
    options: &[],
};
/// Twenty times as fast, and without the smoothing that delays a way back: on cables, whose metrics do not waver, nothing
/// speaks against it. Five hellos a second on each interface are what a fleet on Wi-Fi might still bear.
pub(crate) const FAST: Timers = Timers {
    name: "babeld, fast",
    words: "hello 0.2 s, update 0.8 s, no smoothing",
    settings: " hello-interval 0.2 update-interval 0.8",
    options: &["-M", "0"],
};

/// What it says of itself.
pub(crate) fn version(program: &Path) -> String {
    let said = Command::new(program).arg("-V").output();
    // It says so on its error stream.
    let said = said.map(|done| String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).trim().to_owned());
    format!("babeld {}", said.unwrap_or_default().trim_start_matches("babeld-").trim_start_matches("babeld "))
}

/// Datagrams over hosts that are routers, each with the daemon.
pub(crate) struct Datagrams {
    arrivals: Arc<Mutex<Vec<Moment>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    daemons: Vec<(Host, Process)>,
}

impl Datagrams {
    pub(crate) fn start(lab: &Lab, program: &Path, timers: Timers, (from, to): (Host, Host)) -> Result<Self> {
        let mut daemons = Vec::new();
        for host in lab.hosts() {
            daemons.push((host, daemon(lab, program, timers, host)?));
        }
        // A socket belongs to the host in whose namespace it was opened.
        let bind = |host: Host, port| {
            let socket = lab.inside(host, || UdpSocket::bind((address(host), port)))?;
            socket.with_context(|| format!("cannot open a socket on {host}"))
        };
        let (sender, receiver) = (bind(from, 0)?, bind(to, PORT)?);
        receiver.set_read_timeout(Some(READ_LIMIT)).context("cannot limit a read")?;
        let (arrivals, ends) = (Arc::<Mutex<Vec<Moment>>>::default(), Arc::<AtomicBool>::default());
        let (told, is_over) = (Arc::clone(&arrivals), Arc::clone(&ends));
        let hear = thread::spawn(move || hear(&receiver, &told, &is_over));
        let is_over = Arc::clone(&ends);
        let say = thread::spawn(move || say(&sender, SocketAddr::from((address(to), PORT)), &is_over));
        Ok(Self { arrivals, ends, threads: vec![hear, say], daemons })
    }
}

impl Flow for Datagrams {
    fn listen(&mut self, time: Duration) -> Result<()> {
        thread::sleep(time);
        for (host, daemon) in &mut self.daemons {
            if let Some(status) = daemon.status()? {
                bail!("babeld on {host} has ended ({status}): {}", daemon.complaints());
            }
        }
        Ok(())
    }

    fn arrivals(&self, since: Instant) -> Vec<Moment> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().filter(|moment| moment.read >= since).copied().collect()
    }

    fn end(self: Box<Self>) -> Result<Option<Faults>> {
        // It promises nothing; what ends it is its drop.
        Ok(None)
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed, and the flow it made is judged by what arrived.
            let _ = thread.join();
        }
    }
}

/// Makes a host reachable under one address, whatever interfaces it has, and starts its daemon.
fn daemon(lab: &Lab, program: &Path, timers: Timers, host: Host) -> Result<Process> {
    let run = |program: &str, args: &[&str]| {
        lab.run(lab.command(host, program).args(args), SETUP_LIMIT)?
            .success()
            .with_context(|| format!("{program} {args:?}"))
    };
    let own = format!("{}/32", address(host));
    // It may be there from the flow before.
    run("ip", &["addr", "replace", &own, "dev", "lo"])?;
    run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    let links = run("ip", &["-o", "link", "show", "up"])?;
    let interfaces = links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    let state: PathBuf = lab.directory().join(format!("babel-{host}"));
    let mut command = lab.command(host, program);
    command.args(timers.options).args(["-r", "-I", "", "-S"]).arg(state);
    command.args(["-C", &format!("default type wired{}", timers.settings)]);
    command.args(["-C", "redistribute local ip 10.200.0.0/16 allow", "-C", "redistribute local deny", "--"]);
    command.args(interfaces.filter(|name| *name != "lo"));
    lab.spawn(&mut command)
}

/// The one address of a host that the flow uses.
fn address(host: Host) -> Ipv4Addr {
    let [high, low] = host.0.to_be_bytes();
    Ipv4Addr::new(10, 200, high, low)
}

fn say(socket: &UdpSocket, to: SocketAddr, ends: &AtomicBool) {
    let start = Instant::now();
    let mut count = 0u32;
    while !ends.load(Ordering::Relaxed) {
        // Where there is no route the datagram is lost, as it would be further on.
        let _ = socket.send_to(&count.to_be_bytes(), to);
        count += 1;
        thread::sleep((start + PACE * count).saturating_duration_since(Instant::now()));
    }
}

fn hear(socket: &UdpSocket, arrivals: &Mutex<Vec<Moment>>, ends: &AtomicBool) {
    let mut buffer = [0; 64];
    while !ends.load(Ordering::Relaxed) {
        // An error is the end of a read that brought nothing.
        if socket.recv(&mut buffer).is_ok() {
            let moment = Moment { read: Instant::now(), told: None };
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(moment);
        }
    }
}

//! A member of an open mesh that invents identities by the million, on real sockets.

#[path = "../../../kodikon-core/tests/flood/fakes.rs"]
mod fakes;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kodikon_core::ground::config::Config;
use kodikon_lab::{Fleet, Host, Kind, Topology};
use serde_json::Value;

use self::fakes::Fakes;
use crate::scene::{PATIENCE, SEGMENT, Scene, await_watch, eventually, expect_all_alive, number};

const OWN_PORT: u16 = 10_000;
/// A program that is not optimised reads a tenth as many, and a tenth as fast.
const FAKES: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// In a millisecond: 30,000 a second.
const FAKES_A_MS: u32 = if cfg!(debug_assertions) { 3 } else { 30 };
/// Sockets of the flood, each with a port of its own.
const SOURCES: usize = 64;
/// What the flood may cost in memory.
const GROWTH_KIB: u64 = 16 * 1_024;
/// Within which a peer that was here before, and one that was not, must be known in spite of it.
const BACK: Duration = Duration::from_secs(2);
const NEW: Duration = Duration::from_secs(30);

#[test]
fn a_million_invented_identities_fill_no_memory_lose_no_peer_and_keep_nobody_out() -> Result<()> {
    let Some(scene) = Scene::alone("flood", &Topology::flat(5)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=3).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let mark = fleet.kill("n3")?;
    fleet.wait_at_all(&Kind::PeerFailed, "n3", mark, PATIENCE)?;
    let before = fleet.process("n1")?.usage()?;
    let told = fleet.story().seen().len();
    let own = scene.address(SEGMENT, Host(5))?;
    let sockets = scene.inside(Host(5), || sources(own))??;
    let flood = Flood::begin(sockets, SocketAddr::from((scene.address(SEGMENT, Host(1))?, OWN_PORT)));
    flood.wait(FAKES / 10)?;

    fleet.relaunch("n3")?;
    fleet.wait_started(PATIENCE)?;
    let started = Instant::now();
    eventually("the known peer to be back", PATIENCE, || knows(&fleet, "n3"))?;
    let back = started.elapsed();
    fleet.start(Host(4))?;
    let started = Instant::now();
    eventually("the new peer to be known", NEW, || knows(&fleet, "n4"))?;
    let new = started.elapsed();
    flood.wait(FAKES)?;
    let stats = fleet.ctl_json("n1", ["stats"])?;
    let grown = fleet.process("n1")?.usage()?.rss_kib.saturating_sub(before.rss_kib);
    let sent = flood.end()?;

    let heard = number(&stats, "/datagrams_received")?;
    eprintln!(
        "flood: {sent} fakes, {heard} read by n1, + {grown} KiB, back after {back:?}, new after {new:?}: {}",
        stats["drops"]
    );
    ensure!(heard >= u64::from(FAKES) / 2, "n1 has read {heard} of {sent}: {}", stats["drops"]);
    ensure!(grown <= GROWTH_KIB, "memory grew by {grown} KiB");
    ensure!(back <= BACK, "the known peer was back after {back:?}");
    ensure!(number(&stats, "/registry/peers")? == 3, "{stats}");
    expect_all_alive(&fleet)?;
    let lost = fleet
        .story()
        .seen()
        .iter()
        .skip(told)
        .filter(|seen| matches!(seen.event.kind, Kind::PeerSuspect | Kind::PeerFailed | Kind::Isolated));
    let lost: Vec<_> = lost.collect();
    ensure!(lost.is_empty(), "{lost:?}");
    Ok(())
}

/// That the first node shows this one alive.
fn knows(fleet: &Fleet<'_>, name: &str) -> Result<()> {
    let peers = fleet.ctl_json("n1", ["peers"])?;
    let is_alive = |row: &Value| row["node_id"] == name && row["liveness"] == "alive";
    ensure!(peers.as_array().is_some_and(|rows| rows.iter().any(is_alive)), "{name} is not alive in {peers}");
    Ok(())
}

fn sources(own: Ipv4Addr) -> std::io::Result<Vec<UdpSocket>> {
    (0..SOURCES).map(|_| UdpSocket::bind((own, 0))).collect()
}

/// Sends until it is ended.
struct Flood {
    sent: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    sender: JoinHandle<std::io::Result<()>>,
}

impl Flood {
    fn begin(sockets: Vec<UdpSocket>, target: SocketAddr) -> Self {
        let (sent, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&sent), Arc::clone(&is_over));
        let sender = thread::spawn(move || {
            let mut fakes = Fakes::new(&Config::new("x"));
            let begun = Instant::now();
            for socket in sockets.iter().cycle() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                socket.send_to(&fakes.next().1, target)?;
                count.store(fakes.count(), Ordering::Relaxed);
                let due = Duration::from_millis(u64::from(fakes.count() / FAKES_A_MS));
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            Ok(())
        });
        Self { sent, is_over, sender }
    }

    /// Waits until so many were sent.
    fn wait(&self, count: u32) -> Result<()> {
        let due = Duration::from_millis(u64::from(count / FAKES_A_MS));
        eventually("the flood to go on", PATIENCE + due * 3, || {
            let sent = self.sent.load(Ordering::Relaxed);
            ensure!(sent >= count, "{sent} of {count} sent");
            Ok(())
        })
    }

    /// Ends it, and says how many were sent.
    fn end(self) -> Result<u32> {
        self.is_over.store(true, Ordering::Relaxed);
        self.sender.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

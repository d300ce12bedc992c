//! What a member that invents nodes by the million does to those that there are: real processes, and real datagrams.

#[path = "../../../kodikon-core/tests/flood/fakes.rs"]
mod fakes;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kodikon_core::ground::config::Config;
use kodikon_lab::{Fleet, Host, Kind, Lab, Moment, Sample, Topology};

use crate::scene::{
    PATIENCE, SEGMENT, Scene, await_watch, expect_all_alive, expect_no_false_verdict, expect_within, number,
};
use fakes::Fakes;

/// Invented nodes at least. A program that is not optimised does not read as many in the time.
const FAKES: u32 = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
/// HELLOs a second.
const RATE: u32 = if cfg!(debug_assertions) { 5_000 } else { 20_000 };
/// Ports that they come from: whoever asks one address back too often would stop there.
const SOURCES: usize = 256;
/// What they may cost in memory.
const FLOOD_KIB: u64 = 16 * 1024;
const PORTS: [u16; 2] = [9999, 10_000];

#[test]
fn a_million_invented_nodes_take_little_memory_and_no_peer_and_keep_nobody_out() -> Result<()> {
    let Some(scene) = Scene::alone("flood", &Topology::flat(6)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=4).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let mark = fleet.kill("n4")?;
    fleet.wait_at_all(&Kind::PeerFailed, "n4", mark, PATIENCE)?;
    let flood = Flood::new(&scene, Host(6), Host(1))?;
    let before = fleet.process("n1")?.usage()?.rss_kib;
    let heard = number(&fleet.ctl_json("n1", ["stats"])?, "/datagrams_received")?;

    let is_over = AtomicBool::new(false);
    let (sent, endured) = thread::scope(|threads| {
        let pouring = threads.spawn(|| flood.pour(&is_over));
        let endured = endure(&mut fleet, before);
        is_over.store(true, Ordering::Relaxed);
        let sent = pouring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (sent, endured)
    });
    let (sent, (back, met, grown)) = (sent?, endured?);
    let read = number(&fleet.ctl_json("n1", ["stats"])?, "/datagrams_received")? - heard;
    eprintln!("flood: {sent} invented nodes, {read} datagrams read meanwhile, + {grown} KiB");
    ensure!(sent >= FAKES, "{sent} were sent");
    ensure!(read >= u64::from(sent) / 2, "it read {read} of {sent}: what it did not read shows nothing");
    ensure!(grown <= FLOOD_KIB, "memory grew by {grown} KiB");
    expect_within("a known peer is back", Duration::from_secs(2), &back)?;
    expect_within("a new peer is met", Duration::from_secs(30), &met)?;
    ensure!(
        fleet.story().seen().iter().all(|seen| seen.by != "n1" || seen.event.kind != Kind::PeerSuspect),
        "somebody was suspected: {}",
        fleet.story().summary()
    );
    expect_all_alive(&fleet)?;
    expect_no_false_verdict(&fleet)
}

/// While they pour: one comes back, one comes for the first time; and by how much the flooded one grew at most until all were poured.
fn endure(fleet: &mut Fleet<'_>, before: u64) -> Result<(Vec<Sample>, Vec<Sample>, u64)> {
    let end = Instant::now() + Duration::from_secs(u64::from(FAKES / RATE) + 1);
    let mut most = before;
    let mut look = |fleet: &Fleet<'_>| -> Result<()> {
        most = most.max(fleet.process("n1")?.usage()?.rss_kib);
        Ok(())
    };
    fleet.listen(Duration::from_secs(2))?;
    let mark = Moment::now();
    fleet.start(Host(4))?;
    let back = fleet.wait_at_all(&Kind::PeerUp, "n4", mark, PATIENCE)?;
    look(fleet)?;
    let mark = Moment::now();
    fleet.start(Host(5))?;
    let met = fleet.wait_at_all(&Kind::PeerUp, "n5", mark, PATIENCE)?;
    while Instant::now() < end {
        look(fleet)?;
        fleet.listen(Duration::from_millis(250))?;
    }
    look(fleet)?;
    Ok((back, met, most - before))
}

/// HELLOs of nodes that do not exist, sealed with the key of the mesh.
struct Flood {
    sockets: Vec<UdpSocket>,
    targets: [SocketAddr; 2],
}

impl Flood {
    fn new(lab: &Lab, from: Host, to: Host) -> Result<Self> {
        let (own, target) = (lab.address(SEGMENT, from)?, lab.address(SEGMENT, to)?);
        let open = || (0..SOURCES).map(|_| UdpSocket::bind((own, 0))).collect::<std::io::Result<Vec<_>>>();
        Ok(Self { sockets: lab.inside(from, open)??, targets: PORTS.map(|port| SocketAddr::from((target, port))) })
    }

    /// Pours until it is over and all were sent; how many.
    fn pour(&self, is_over: &AtomicBool) -> Result<u32> {
        let mut fakes = Fakes::new(&Config::new("flood"));
        let begun = Instant::now();
        while fakes.count() < FAKES || !is_over.load(Ordering::Relaxed) {
            let due = begun.elapsed().as_millis() * u128::from(RATE) / 1_000;
            if u128::from(fakes.count()) >= due {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let (_, frame) = fakes.next();
            let turn = fakes.count() as usize;
            let (socket, target) = (&self.sockets[turn % SOURCES], self.targets[turn % self.targets.len()]);
            socket.send_to(&frame, target).with_context(|| format!("fake {turn} to {target}"))?;
        }
        Ok(fakes.count())
    }
}

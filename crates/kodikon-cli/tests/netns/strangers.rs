//! What those who do not belong to the mesh can do to it: noise, another mesh, another program, connections that say nothing.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Kind, Lab, NodeSpec, Topology};
use serde_json::Value;

use crate::scene::{
    BINARY, PATIENCE, SEGMENT, Scene, await_watch, doctor, eventually, expect_all_alive, expect_no_false_verdict,
    expect_within, number,
};

const DISCOVERY: u16 = 9999;
const OWN_PORT: u16 = 10_000;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 107, 100);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 255);
/// Real datagrams of the Python original, as lines of JSON with the bytes in hex.
const LEGACY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-core/tests/fixtures/legacy_datagrams.jsonl");
/// Datagrams of one volley: a receive buffer holds them all, so none is lost before it is counted.
const VOLLEY: usize = 2_000;
const VOLLEYS: usize = 15;
/// What noise may cost in memory.
const NOISE_KIB: u64 = 1024;
/// Frames that are recorded: the HELLOs of two nodes and some seconds of beacons.
const FRAMES: usize = 24;
/// Bytes before what is sealed (docs/wire-format.md).
const HEADER: usize = 18;
const IDLERS: usize = 2_000;

#[test]
fn noise_at_the_ports_is_counted_by_reason_and_changes_nothing() -> Result<()> {
    let Some(scene) = Scene::alone("noise", &Topology::flat(4)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=3).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let thrower = Thrower::new(&scene, Host(4), scene.address(SEGMENT, Host(1))?)?;
    expect_unmoved(&mut fleet, &thrower, &noise()?, &["frame_type", "length", "seal"])
}

/// All that a stranger without the key can do with what it hears.
#[test]
fn frames_of_the_mesh_played_again_cut_short_and_with_bits_flipped_change_nothing() -> Result<()> {
    let Some(scene) = Scene::alone("recorded", &Topology::flat(4)) else { return Ok(()) };
    let tape = Tape::new(&scene, Host(4))?;
    let mut fleet = scene.fleet();
    (1..=3).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let target = scene.address(SEGMENT, Host(1))?;
    let thrower = Thrower::new(&scene, Host(4), target)?;
    // From their HELLOs to a beacon of each; what the node said itself it knows as its own echo and counts nowhere.
    let frames = tape.of_others(target, FRAMES)?;
    expect_unmoved(&mut fleet, &thrower, &spoiled(&frames), &["replay", "length", "seal"])
}

/// Throws volleys at a fleet of three and sees that they cost nothing but their count, by these reasons among others.
fn expect_unmoved(fleet: &mut Fleet<'_>, thrower: &Thrower, noise: &[Vec<u8>], reasons: &[&str]) -> Result<()> {
    // The first volley warms what is made once; what comes after it must cost nothing.
    thrower.volley(fleet, noise)?;
    let before = fleet.process("n1")?.usage()?;
    let stats = fleet.ctl_json("n1", ["stats"])?;
    let (events, log) = (fleet.story().seen().len(), fleet.process("n1")?.complaints());
    for _ in 0..VOLLEYS {
        thrower.volley(fleet, noise)?;
    }
    let after = fleet.process("n1")?.usage()?;
    let told = fleet.ctl_json("n1", ["stats"])?;

    let grown = after.rss_kib.saturating_sub(before.rss_kib);
    let counted = drops(&told)? - drops(&stats)?;
    eprintln!("noise: {} datagrams, {counted} counted, + {grown} KiB: {}", VOLLEY * VOLLEYS, told["drops"]);
    ensure!(counted >= (VOLLEY * VOLLEYS) as u64, "{counted} counted of {}", VOLLEY * VOLLEYS);
    for reason in reasons {
        ensure!(number(&told["drops"], &format!("/{reason}"))? > 0, "none was dropped for {reason}: {}", told["drops"]);
    }
    ensure!(grown <= NOISE_KIB, "memory grew by {grown} KiB");
    ensure!(told["registry"]["peers"] == 2 && told["registry"]["sessions"] == stats["registry"]["sessions"], "{told}");
    fleet.listen(Duration::from_millis(200))?;
    ensure!(fleet.story().seen().len() == events, "noise became events: {}", fleet.story().summary());
    ensure!(fleet.process("n1")?.complaints() == log, "noise became log: {}", fleet.process("n1")?.complaints());
    ensure!(thrower.answers() == 0, "noise was answered");
    expect_all_alive(fleet)?;
    expect_no_false_verdict(fleet)
}

#[test]
fn nodes_of_another_mesh_or_another_key_never_join() -> Result<()> {
    let Some(scene) = Scene::beside("foreign", &Topology::flat(6)) else { return Ok(()) };
    let keys = ["one", "other"].map(|name| scene.directory().join(name));
    for key in &keys {
        scene.run(Command::new(BINARY).args(["key", "new"]).arg(key), PATIENCE)?.success()?;
    }
    let of_key = |host, key: &std::path::Path| NodeSpec::on(Host(host)).arg("--mesh-key").arg(key);
    let mut fleet = scene.fleet();
    fleet.start(Host(1))?;
    fleet.start(Host(2))?;
    fleet.launch(NodeSpec::on(Host(3)).arg("--mesh").arg("another"))?;
    fleet.launch(of_key(4, &keys[0]))?;
    fleet.launch(of_key(5, &keys[0]))?;
    fleet.launch(of_key(6, &keys[1]))?;
    fleet.wait_started(PATIENCE)?;
    let meshes: [&[&str]; 4] = [&["n1", "n2"], &["n3"], &["n4", "n5"], &["n6"]];
    // Each has met its own, and has heard enough of every other mesh to have met those too if it could: all of a HELLO
    // burst (6 at most three ways) and beacons after it.
    for name in meshes.concat() {
        eventually(&format!("{name} among its own"), PATIENCE, || {
            let stats = fleet.ctl_json(name, ["stats"])?;
            let foreign = number(&stats, "/drops/seal")?;
            ensure!(foreign >= 60, "{name} has heard only {foreign} datagrams of other meshes");
            Ok(())
        })?;
    }
    for mesh in meshes {
        for name in mesh {
            let peers = fleet.ctl_json(name, ["peers", "--all"])?;
            let shown: Vec<&str> =
                peers.as_array().into_iter().flatten().filter_map(|row| row["node_id"].as_str()).collect();
            let own: Vec<&str> = mesh.iter().filter(|other| *other != name).copied().collect();
            ensure!(shown == own, "{name} shows {shown:?}, not {own:?}");
        }
    }
    let started =
        |name: &str| fleet.story().seen().iter().find(|seen| seen.by == name && seen.event.kind == Kind::Started);
    let security = |name| started(name).map(|seen| seen.event.fields["security"].clone());
    ensure!(security("n1") == Some("open".into()) && security("n4") == Some("psk".into()), "{:?}", security("n4"));
    let finding = doctor(&fleet, "n1", "foreign_nodes")?;
    ensure!(finding["status"] == "warn", "doctor should tell of the other meshes: {finding}");
    Ok(())
}

#[test]
fn a_foreign_program_on_the_discovery_port_is_named_and_the_node_goes_on() -> Result<()> {
    let Some(scene) = Scene::beside("taken", &Topology::flat(3)) else { return Ok(()) };
    // This very program: a plain socket, which shares its port with nobody.
    let holder = scene.inside(Host(1), || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DISCOVERY)))??;
    let mut fleet = scene.full_fleet()?;
    let me = format!("(pid {})", std::process::id());
    let name = std::fs::read_to_string("/proc/self/comm")?.trim().to_owned();
    let said = fleet.process("n1")?.complaints();
    ensure!(said.contains(&me) && said.contains(&name), "it does not name {name} {me}: {said}");
    let finding = doctor(&fleet, "n1", "discovery_port")?;
    let evidence = finding["evidence"].as_str().unwrap_or_default();
    let pid = std::process::id().to_string();
    ensure!(finding["status"] != "ok" && evidence.contains(&pid) && evidence.contains(&name), "{finding}");
    ensure!(finding["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{finding}");
    await_watch(&fleet, true)?;
    let mark = fleet.kill("n3")?;
    fleet.wait_at_all(&Kind::PeerFailed, "n3", mark, PATIENCE)?;
    expect_no_false_verdict(&fleet)?;
    drop(holder);
    Ok(())
}

#[test]
fn two_thousand_idle_connections_of_a_stranger_take_no_slot_and_cause_no_verdict() -> Result<()> {
    let Some(scene) = Scene::alone("idlers", &Topology::flat(5)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=3).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let target = SocketAddr::from((scene.address(SEGMENT, Host(1))?, OWN_PORT));
    let idlers = scene.inside(Host(5), || connect(target))??;
    // Those that are still open are asked: a slot that was taken is a connection that nobody ends.
    let mut open = idlers;
    eventually("the node to close all that say nothing", PATIENCE, || {
        open.retain_mut(|stream| !has_ended(stream));
        ensure!(open.is_empty(), "{} of {IDLERS} are still open", open.len());
        Ok(())
    })?;
    eventually("all to be counted", PATIENCE, || {
        let counters = fleet.ctl_json("n1", ["stats"])?["counters"].clone();
        ensure!(number(&counters, "/streams_refused")? >= IDLERS as u64, "{counters}");
        Ok(())
    })?;
    expect_no_false_verdict(&fleet)?;

    // New connections of peers have their place, and their end means what it did.
    fleet.start(Host(4))?;
    fleet.wait_full_roster(PATIENCE)?;
    await_watch(&fleet, true)?;
    let mark = fleet.kill("n4")?;
    let samples = fleet.wait_at_all(&Kind::PeerFailed, "n4", mark, PATIENCE)?;
    expect_within("process crash after idlers", Duration::from_millis(1500), &samples)?;
    expect_no_false_verdict(&fleet)
}

/// Sends noise from a host that is no member.
struct Thrower {
    socket: UdpSocket,
    targets: Vec<SocketAddr>,
}

impl Thrower {
    /// From `host` to each port of `target`, to the group and to everyone.
    fn new(lab: &Lab, host: Host, target: Ipv4Addr) -> Result<Self> {
        let own = lab.address(SEGMENT, host)?;
        let socket = lab.inside(host, || UdpSocket::bind((own, 0)))??;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        let targets = [
            SocketAddr::from((target, DISCOVERY)),
            SocketAddr::from((target, OWN_PORT)),
            SocketAddr::from((GROUP, DISCOVERY)),
            SocketAddr::from((BROADCAST, DISCOVERY)),
        ];
        lab.run(
            lab.command(host, "ip").args(["route", "replace", "239.0.0.0/8", "dev", &lab.interface(SEGMENT)]),
            PATIENCE,
        )?
        .success()?;
        Ok(Self { socket, targets: targets.to_vec() })
    }

    /// Throws a volley at the first node and waits until it has read it.
    fn volley(&self, fleet: &Fleet<'_>, noise: &[Vec<u8>]) -> Result<()> {
        let before = drops(&fleet.ctl_json("n1", ["stats"])?)?;
        let pairs = noise.iter().cycle().zip(self.targets.iter().cycle()).take(VOLLEY);
        for (datagram, target) in pairs {
            self.socket.send_to(datagram, target).with_context(|| format!("{} bytes to {target}", datagram.len()))?;
        }
        eventually("the noise to be counted", PATIENCE, || {
            let stats = fleet.ctl_json("n1", ["stats"])?;
            let counted = drops(&stats)? - before;
            ensure!(counted >= VOLLEY as u64, "{counted} of {VOLLEY} counted: {}", stats["drops"]);
            Ok(())
        })
    }

    /// Datagrams that came back.
    fn answers(&self) -> usize {
        let mut buffer = [0; 2_000];
        std::iter::from_fn(|| self.socket.recv_from(&mut buffer).ok()).count()
    }
}

/// What the nodes say to the group, heard by a host that is no member.
struct Tape(UdpSocket);

impl Tape {
    fn new(lab: &Lab, host: Host) -> Result<Self> {
        let own = lab.address(SEGMENT, host)?;
        let socket = lab.inside(host, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DISCOVERY)))??;
        socket.join_multicast_v4(&GROUP, &own)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// So many frames that others than this address said.
    fn of_others(&self, own: Ipv4Addr, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut buffer = [0; 2_000];
        while frames.len() < count {
            let (length, from) = self.0.recv_from(&mut buffer).context("the nodes say something to the group")?;
            frames.extend((from.ip() != own).then(|| buffer[..length].to_vec()));
        }
        Ok(frames)
    }
}

/// Frames as they were, cut short, with a bit flipped in each part, and with the header of another.
fn spoiled(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut spoiled = frames.to_vec();
    for (frame, other) in frames.iter().zip(frames.iter().cycle().skip(1)) {
        spoiled.extend((0..frame.len()).step_by(5).map(|length| frame[..length].to_vec()));
        spoiled.extend((0..frame.len()).step_by(7).map(|at| {
            let mut flipped = frame.clone();
            flipped[at] ^= 1 << (at % 8);
            flipped
        }));
        let header = frame.len().min(other.len()).min(HEADER);
        spoiled.push([&other[..header], &frame[header..]].concat());
    }
    spoiled
}

/// Real datagrams of the original, and bytes that are no frames, no JSON, or frames that nobody sealed; of all lengths.
fn noise() -> Result<Vec<Vec<u8>>> {
    let mut noise = Vec::new();
    for line in std::fs::read_to_string(LEGACY).context(LEGACY)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let bytes = unhex(row["hex"].as_str().context("a row has its bytes")?)?;
        // The original sent larger ones, as fragments of IP; a socket that may not fragment refuses them.
        noise.extend((bytes.len() <= 1_400).then_some(bytes));
    }
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = |length: usize| -> Vec<u8> {
        // xorshift64: any bytes will do, and a failure can be repeated.
        let byte = |_| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            u8::try_from(chance >> 56).expect("eight bits are left")
        };
        (0..length).map(byte).collect()
    };
    for length in (1..1_400).step_by(7) {
        let random = bytes(length);
        // As a frame of ours begins.
        noise.push([&[1, 0], random.as_slice()].concat());
        noise.push(random);
    }
    Ok(noise)
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().context("hex digits")?;
    digits.chunks(2).map(|pair| Ok(u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit))?)).collect()
}

/// Everything dropped, for whatever reason.
fn drops(stats: &Value) -> Result<u64> {
    let drops = stats["drops"].as_object().context("drops by reason")?;
    Ok(drops.values().filter_map(Value::as_u64).sum())
}

/// Connections that say nothing; those that the node has not ended yet.
fn connect(target: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::new();
    for number in 0..IDLERS {
        match TcpStream::connect_timeout(&target, PATIENCE) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                open.push(stream);
            }
            // Ended by the node before this thread was told that it stood.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).with_context(|| format!("connection {number}")),
        }
    }
    Ok(open)
}

fn has_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

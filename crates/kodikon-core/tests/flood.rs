//! The promise that a million invented identities fill nothing, cost no peer, and keep nobody out.

#[path = "flood/fakes.rs"]
mod fakes;
#[path = "segment/lan.rs"]
mod lan;

use fakes::Fakes;
use kodikon_core::effect::{Event, Input};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::ground::time::Duration;
use kodikon_core::model::member::Liveness;
use lan::Lan;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// HELLOs in a millisecond: 50,000 a second, 100 Mbit/s of them.
const FAKES_A_MS: u32 = 50;
/// Heap that a flood may take at most: the whole LAN of the test, all of its nodes and what is on its way, included.
const GROWTH: usize = 16 << 20;
/// Datagrams a second with which a node may answer a flood: its 400 questions, and its own beats and beacons.
const ANSWERS: u64 = 450;

/// A flood: who is under it, how many fakes come at least, and when (ms after its begin) two honest nodes start.
struct Flood {
    flooded: &'static [u8],
    fakes: u32,
    returns: u32,
    arrives: u32,
}

#[test]
fn a_million_invented_identities_fill_nothing_lose_no_peer_and_keep_nobody_out() {
    // By unicast a flood meets one node; by multicast all, and then nobody is left who could vouch for the newcomer in peace.
    let table = [
        Flood { flooded: &[1], fakes: 1_000_000, returns: 2_000, arrives: 5_000 },
        Flood { flooded: &[1, 2, 3], fakes: 300_000, returns: 500, arrives: 1_000 },
    ];
    for flood in table {
        endure(&flood);
    }
}

fn endure(flood: &Flood) {
    let mut lan = Lan::new();
    (1..=4).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(10));
    let returning = lan.nodes.remove(&4).expect("it was started").id();
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.nodes[&1].peers().len(), 3, "the dead one is still shown");
    lan.events.clear();
    let mut fakes = Fakes::new(&Config::new("x"));
    let sent = lan.nodes[&1].stats().datagrams_sent;
    let held = HEAP.current_usage();
    HEAP.reset_peak_usage();

    let (mut back, mut met, mut newcomer, mut ms) = (None, None, None, 0);
    while fakes.count() < flood.fakes || back.is_none() || met.is_none() {
        pour(&mut lan, &mut fakes, flood.flooded);
        if ms == flood.returns {
            start_again(&mut lan, 4);
        }
        if ms == flood.arrives {
            lan.start(5);
            newcomer = lan.nodes.get(&5).map(|node| node.id());
        }
        back = back.or_else(|| is_alive(&lan, returning).then(|| ms - flood.returns));
        met = met.or_else(|| newcomer.is_some_and(|id| is_alive(&lan, id)).then(|| ms - flood.arrives));
        assert!(back.is_some() || ms < flood.returns + 2_000, "the known peer is not back after 2 s");
        assert!(met.is_some() || ms < flood.arrives + 30_000, "the new peer is not known after 30 s");
        ms += 1;
    }
    let growth = HEAP.peak_usage().saturating_sub(held);
    eprintln!(
        "{} fakes at {:?}: back after {back:?} ms, new after {met:?} ms, {growth} B",
        fakes.count(),
        flood.flooded
    );
    assert!(growth <= GROWTH, "{growth} bytes");
    let lost =
        lan.times(|event| matches!(event, Event::PeerSuspect { .. } | Event::PeerFailed { .. } | Event::Isolated(_)));
    assert_eq!(lost, [], "no peer is lost");
    for n in flood.flooded {
        assert_eq!(lan.nodes[n].peers().len(), 4, "node {n} shows its peers and no fake");
    }
    let answers = lan.nodes[&1].stats().datagrams_sent - sent;
    assert!(answers <= ANSWERS * (1 + u64::from(ms) / 1_000), "{answers} answers in {ms} ms");
}

/// A millisecond of the flood.
fn pour(lan: &mut Lan, fakes: &mut Fakes, flooded: &[u8]) {
    lan.run(Duration::from_millis(1));
    for _ in 0..FAKES_A_MS {
        let (arrival, frame) = fakes.next();
        for n in flooded {
            lan.hand(*n, Input::Datagram(arrival, &mut frame.clone()));
        }
    }
    for (table, held, limit) in lan.nodes[&1].table_sizes() {
        assert!(held <= limit.min(1_024), "{table} holds {held}");
    }
}

/// A node's next run.
fn start_again(lan: &mut Lan, n: u8) {
    lan.start_with(n, |boot| {
        boot.epoch = Epoch::new(2, u32::from(n));
        boot.seed = [100 + n; 32];
    });
}

fn is_alive(lan: &Lan, id: NodeId) -> bool {
    lan.nodes[&1].peers().iter().any(|peer| peer.id == id && peer.liveness == Liveness::Alive)
}

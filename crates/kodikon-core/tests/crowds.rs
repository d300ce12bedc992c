//! The promise that a member, who has the mesh's key and proves itself, gets no more than its share by pushing, and keeps nobody out
//! by being many.

#[path = "segment/lan.rs"]
mod lan;

use std::net::SocketAddr;

use kodikon_core::effect::{Arrival, Cast, Command, Event, Input};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::excess::Excess;
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, Seq};
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::member::Liveness;
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::record::{NewRecord, RecordOrder};
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::{Log, LogEntry, Message};
use kodikon_core::wire::seal::GroupKey;
use lan::Lan;

/// Identities that one who has the mesh's key makes, proves and leaves, and how many of them live at a time.
const PROVEN: u32 = 300;
const AT_A_TIME: u32 = 30;
/// Peers that an honest node holds.
const PLACES: usize = 40;
/// The hard bound after which the last of them is failed at the latest, as long again in which it is still shown, and a moment.
const OVER: Duration = Duration::from_secs(30 + 30 + 5);

/// Each of them is a peer like any other, until it fails: the table is full of them, and that is all that they can do.
#[test]
fn a_crowd_that_proves_itself_and_dies_fills_a_table_costs_no_peer_and_is_over_when_it_is() {
    let mut lan = Lan::new();
    let start = |lan: &mut Lan, n: u8| lan.start_with(n, |boot| boot.config.max_peers = PLACES);
    (1..=4).for_each(|n| start(&mut lan, n));
    lan.run(Duration::from_secs(10));
    lan.events.clear();
    let mut refused = 0;
    for number in 0..PROVEN {
        let slot = u8::try_from(100 + number % AT_A_TIME).expect("few slots");
        lan.start_with(slot, |boot| {
            let own = *blake3::hash(&number.to_be_bytes()).as_bytes();
            boot.identity = Identity::from_secret(&own);
            boot.seed = own;
        });
        lan.run(Duration::from_millis(2));
        for n in 1..=4 {
            for (table, held, limit) in lan.nodes[&n].table_sizes() {
                assert!(held <= limit, "{table} of node {n} holds {held} of {limit}");
            }
        }
        refused = lan.nodes[&1].stats().peers_refused;
    }
    let honest: Vec<NodeId> = (1..=4).map(|n| lan.nodes[&n].id()).collect();
    lan.nodes.retain(|n, _| *n <= 4);
    start(&mut lan, 5);
    lan.run(OVER);
    let is_honest = |event: &Event| {
        let (Event::PeerSuspect { peer, .. } | Event::PeerFailed { peer, .. }) = event else { return false };
        honest.contains(peer)
    };
    let lost = lan.times(|event| is_honest(event) || matches!(event, Event::Isolated(true)));
    assert!(refused > 0, "the table was never full");
    assert_eq!(lost, [], "no peer is lost");
    for n in 1..=5 {
        let alive = lan.nodes[&n].peers().iter().filter(|peer| peer.liveness == Liveness::Alive).count();
        assert_eq!(alive, 4, "node {n} has its peers, the newcomer among them");
    }
}

/// Sightings that a member pushes in a millisecond, and for how many: twenty times of what it may.
const PUSHED_A_MS: u64 = 4;
const PUSHED_FOR_MS: u64 = 5_000;
/// What is taken of them at most: as many as one may push at once, and then 200 a second.
const TAKEN: u64 = 2_000 + 200 * PUSHED_FOR_MS / 1_000 + 1;

#[test]
fn a_member_that_pushes_sightings_without_end_is_held_to_its_share_and_named_and_slows_nobody() {
    let mut lan = Lan::new();
    (1..=4).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(10));
    // From now on what node 4 says is said here, in its session and under its signature.
    let pusher = lan.nodes.remove(&4).expect("it was started").id();
    let frame = Header::decode(&lan.last_frame[&4]).expect("a frame");
    let group = GroupKey::new(&Config::new("x").group_key());
    let (mut said, mut slowest) = (0, 0);
    for ms in 0..PUSHED_FOR_MS {
        let entries = (0..PUSHED_A_MS).map(|_| {
            said += 1;
            pushed(said)
        });
        let log = Log { entries: entries.collect(), over: Vec::new(), more: None, pipe: None };
        let mut text = Vec::new();
        codec::encode(&Message::Log(log), &mut text);
        let header = Header { tag: frame.tag, counter: frame.counter + said };
        let mut sealed = group.session(frame.tag).seal(&header, &text);
        let from = SocketAddr::from(([10, 0, 0, 4], 10_000));
        let arrival = Arrival { from, interface: InterfaceIndex(2), cast: Cast::Unicast };
        lan.hand(1, Input::Datagram(arrival, &mut sealed));
        lan.run(Duration::from_millis(1));
        if ms % 500 == 499 {
            slowest = slowest.max(others_wait(&mut lan, ms));
        }
    }
    let held = (1..=said).filter(|number| shows(&lan, 1, &format!("pushed-{number}"))).count() as u64;
    assert!((2_000..=TAKEN).contains(&held), "{held} of {said} are held");
    let named = lan.nodes[&1].peers().iter().find(|peer| peer.id == pusher).map(|peer| peer.beyond.of(Excess::Records));
    assert!(named.is_some_and(|beyond| beyond >= said - TAKEN), "{named:?} beyond its share");
    assert!(slowest <= 2, "a sighting of another takes {slowest} ms");
}

/// One more of node 4's sightings.
fn pushed(number: u64) -> LogEntry {
    let author = Identity::from_secret(&[4; 32]);
    let body = NewRecord { ttl: Duration::from_secs(600), ..NewRecord::new(&format!("pushed-{number}")) }.body("cam4");
    let body = minicbor::to_vec(body).expect("memory takes it");
    let statement = Statement { kind: OpKind::Record, key: Vec::new(), body, lamport: number, wall: WallTime(0) };
    let mesh = Config::new("x").mesh_id();
    let op = SignedOp::sign(&author, mesh, Epoch::new(1, 4), Seq(number), statement);
    LogEntry { op, age_ms: 0, key: None, rested: None }
}

/// How many milliseconds it takes until what node 2 adds is shown on node 1.
fn others_wait(lan: &mut Lan, number: u64) -> u64 {
    let hash = format!("other-{number}");
    let order = RecordOrder { ticket: Ticket(number), record: NewRecord::new(&hash) };
    lan.hand(2, Input::Command(Command::Add(order)));
    let mut waited = 0;
    while !shows(lan, 1, &hash) && waited < 1_000 {
        lan.run(Duration::from_millis(1));
        waited += 1;
    }
    waited
}

fn shows(lan: &Lan, n: u8, hash: &str) -> bool {
    !lan.nodes[&n].records_of(lan.now, hash).is_empty()
}

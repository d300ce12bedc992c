//! Writes the first inputs of `frame` and `cbor_body`: what three nodes say to each other in a minute in which one of them dies.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` after a change of the wire; a fuzzer finds the rest.

#[path = "../fuzz_targets/frame/scene.rs"]
#[expect(dead_code, reason = "the fuzzer's half of it is not needed here")]
mod scene;

use std::collections::BTreeMap;
use std::path::Path;

use kodikon_core::effect::{BroadcastOrder, Cast, Command, Input, SendOrder, Target};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::alert::AlertOrder;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::Node;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::seal::GroupKey;
use scene::{NODE, PEERS, arrival, node, sent};

const TICK: Duration = Duration::from_millis(10);

fn main() {
    let mut nodes: BTreeMap<u8, Node> = [NODE, PEERS[0], PEERS[1]].map(|n| (n, node(n, true))).into();
    let mut texts: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut now = Instant::ZERO;
    for tick in 0..4_000u32 {
        if tick == 900 {
            let change = StateChange { key: "fps".to_owned(), json: Some("30".to_owned()) };
            let command = Command::SetState(vec![change], WallTime(1));
            nodes.get_mut(&PEERS[0]).expect("it lives").handle(now, Input::Command(command));
        }
        if tick % 200 == 150 {
            let order = SendOrder {
                ticket: Ticket(tick.into()),
                to: Identity::from_secret(&[NODE; 32]).id(),
                kind: "count".to_owned(),
                // The last before the end goes in pieces.
                payload: tick.to_string().repeat(if tick == 950 { 900 } else { 1 }).into_bytes(),
                priority: Priority::Normal,
                timeout: None,
            };
            let from = PEERS[usize::from(tick % 400 == 150)];
            nodes.get_mut(&from).expect("it lives").handle(now, Input::Command(Command::Send(order)));
        }
        for (n, command) in spoken(tick) {
            nodes.get_mut(&n).expect("it lives").handle(now, Input::Command(command));
        }
        match tick {
            1_000 => drop(nodes.remove(&NODE)),
            3_900 => nodes.get_mut(&PEERS[1]).expect("it lives").handle(now, Input::Command(Command::Leave)),
            _ => {}
        }
        deliver(&mut nodes, now, &mut texts);
        now = now + TICK;
        for node in nodes.values_mut().filter(|node| node.next_wake().is_some_and(|wake| wake.at <= now)) {
            node.handle(now, Input::Wake);
        }
    }
    write(&texts);
}

/// What is said to all, and which alerts are raised, before the first of them dies.
fn spoken(tick: u32) -> Vec<(u8, Command)> {
    let ticket = Ticket(u64::from(tick) << 8);
    let payload = tick.to_string().repeat(if tick == 850 { 900 } else { 1 }).into_bytes();
    let cast = |kind: &str, priority| {
        let (kind, payload) = (kind.to_owned(), payload.clone());
        Command::Broadcast(BroadcastOrder { ticket, kind, payload, priority })
    };
    let alert = |priority| {
        let ttl = Duration::from_secs(20);
        Command::Raise(AlertOrder { ticket, payload: payload.clone(), priority, ttl })
    };
    match tick {
        600 | 850 => vec![(PEERS[0], cast("count", Priority::Normal)), (NODE, cast("", Priority::Critical))],
        700 => vec![(PEERS[1], alert(Priority::Critical)), (NODE, alert(Priority::Low))],
        _ => Vec::new(),
    }
}

/// Carries what was said to whom it concerns, and keeps what the peers said.
fn deliver(nodes: &mut BTreeMap<u8, Node>, now: Instant, texts: &mut Vec<(u8, Vec<u8>)>) {
    let group = GroupKey::new(&Config::new("x").group_key());
    let senders: Vec<u8> = nodes.keys().copied().collect();
    for n in senders {
        for (target, bytes) in nodes.get_mut(&n).map(sent).unwrap_or_default() {
            let header = Header::decode(&bytes).expect("a frame");
            let text = group.session(header.tag).open(&header, &mut bytes.clone()).expect("it opens").to_vec();
            texts.push((n, text));
            for (other, node) in nodes.iter_mut().filter(|(other, _)| **other != n) {
                let cast = match target {
                    Target::Address(to, _) if to == arrival(*other, Cast::Unicast).from => Cast::Unicast,
                    Target::Address(..) => continue,
                    Target::Segment(_, cast) => cast,
                };
                node.handle(now, Input::Datagram(arrival(n, cast), &mut bytes.clone()));
            }
        }
    }
}

/// One input for each kind of text: alone, and in a small story.
fn write(texts: &[(u8, Vec<u8>)]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut kinds: BTreeMap<(u8, Vec<u8>), usize> = BTreeMap::new();
    for (who, text) in texts {
        // Texts of one kind begin alike; two of each will do.
        let seen = kinds.entry((*who, text[..text.len().min(5)].to_vec())).or_default();
        *seen += 1;
        if *seen > 2 {
            continue;
        }
        let name = format!("seed-{who}-{}", name_of(text));
        let step = |what: u8, body: &[u8]| [&[what], &(body.len() as u16).to_le_bytes()[..], body].concat();
        let from = who.saturating_sub(PEERS[0]).min(1);
        let story = [vec![3], step(from, text), step(10, &500u16.to_le_bytes()), step(2, text), step(9, &[])].concat();
        for (target, bytes) in [("cbor_body", text), ("frame", &story)] {
            std::fs::create_dir_all(corpus.join(target)).expect("the corpus is writable");
            std::fs::write(corpus.join(target).join(&name), bytes).expect("the corpus is writable");
        }
    }
}

fn name_of(text: &[u8]) -> String {
    text.iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
        .to_string()
}

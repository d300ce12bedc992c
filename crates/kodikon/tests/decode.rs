//! Everything that real nodes say to each other is shown as a message of the seed's form, under the names they bear.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use kodikon::decode::{Decoder, JsonMessage};
use kodikon_core::effect::{
    Arrival, Cast, Command, Input, Interface, InterfaceAddress, Medium, Output, Persist, Target,
};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, InterfaceIndex};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::{Boot, Node, Saved};
use kodikon_core::wire::json::Origin;
use serde_json::json;

const CARD: InterfaceIndex = InterfaceIndex(2);
const DELAY: Duration = Duration::from_millis(1);
const WALL: WallTime = WallTime(1_764_000_000_000);

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// Nodes on a perfect LAN, and every frame they sent.
struct Lan {
    now: Instant,
    nodes: BTreeMap<u8, Node>,
    sent: Vec<Vec<u8>>,
}

impl Lan {
    fn new(nodes: u8) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut lan = Self { now, nodes: BTreeMap::new(), sent: Vec::new() };
        for n in 1..=nodes {
            let boot = Boot {
                config: Config::new(&format!("cam{n}")),
                identity: Identity::from_secret(&[n; 32]),
                epoch: Epoch::new(1, u32::from(n)),
                seed: [n; 32],
                port: 10_000,
                wall: WALL,
                saved: Saved::default(),
                verifier: Box::<Zip215Verifier>::default(),
            };
            lan.nodes.insert(n, Node::new(now, boot));
            let address = InterfaceAddress { address: ip(n), prefix: 24, broadcast: None };
            let addresses = vec![address];
            let name = "eth0".to_owned();
            let card = Interface { index: CARD, name, mtu: 1_500, carrier: true, medium: Medium::Wired, addresses };
            lan.hand(n, Input::Interfaces(&[card]));
        }
        lan
    }

    /// Hands one input to a node, and what it then sends to whom it concerns, until nobody has anything to say.
    fn hand(&mut self, n: u8, input: Input<'_>) {
        let Some(node) = self.nodes.get_mut(&n) else { return };
        node.handle(self.now, input);
        let wishes: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        for wish in wishes {
            if let Output::Persist(Persist::State(state)) = &wish {
                self.hand(n, Input::StateKept { version: state.version });
            }
            let Output::Transmit(transmit) = wish else { continue };
            self.sent.push(transmit.bytes.clone());
            let everyone: Vec<u8> = self.nodes.keys().copied().collect();
            let (cast, to): (Cast, Vec<u8>) = match transmit.target {
                Target::Address(to, _) => (Cast::Unicast, everyone.into_iter().filter(|n| ip(*n) == to.ip()).collect()),
                Target::Segment(_, cast) => (cast, everyone),
            };
            let arrival = Arrival { from: SocketAddr::new(ip(n), 10_000), interface: CARD, cast };
            for n in to {
                self.hand(n, Input::Datagram(arrival, &mut transmit.bytes.clone()));
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + DELAY;
            for n in self.nodes.keys().copied().collect::<Vec<_>>() {
                if self.nodes[&n].next_wake().is_some_and(|wake| wake.at <= self.now) {
                    self.hand(n, Input::Wake);
                }
            }
        }
    }
}

#[test]
fn every_frame_of_real_nodes_is_shown_and_read_back() {
    let mut lan = Lan::new(4);
    lan.run(Duration::from_secs(8));
    for (n, value) in [(1, "85"), (2, "{\"zone\":\"A\"}")] {
        let change = StateChange { key: "reading".to_owned(), json: Some(value.to_owned()) };
        lan.hand(n, Input::Command(Command::SetState(vec![change], WALL)));
    }
    lan.run(Duration::from_secs(2));
    lan.hand(3, Input::Command(Command::Leave));
    lan.run(Duration::from_secs(1));
    // Its silence is noticed, asked about and judged.
    lan.nodes.remove(&4);
    lan.run(Duration::from_secs(12));

    let mut decoder = Decoder::new("kodikon", None);
    lan.sent.iter().for_each(|frame| decoder.learn(frame));
    let mut seen: BTreeMap<String, Vec<JsonMessage>> = BTreeMap::new();
    for frame in &lan.sent {
        let shown = decoder.decode(frame, Some(7.5)).expect("a node's own frame");
        assert!(!shown.is_empty());
        for message in shown {
            let line = message.to_json();
            assert_eq!(JsonMessage::parse(line.as_bytes(), Origin::Api).as_ref(), Ok(&message), "{line}");
            assert!(message.source.starts_with("cam"), "{line}");
            assert!(!line.contains("\"signed\":false") && !line.contains("\"signed\":null"), "{line}");
            seen.entry(message.kind.to_string()).or_default().push(message);
        }
    }
    let kinds: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    for kind in "BEACON BEAT BYE CARD CHALLENGE HELLO NODE_STATE_SYNC OPINION PING PROOF SUSPICION".split(' ') {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    let says = |source: &str, value: &serde_json::Value| {
        let mut states = seen["NODE_STATE_SYNC"].iter().filter(|message| message.source == source);
        states.any(|message| message.payload["state"]["reading"] == *value)
    };
    assert!(says("cam1", &json!(85)) && says("cam2", &json!({"zone": "A"})));
    assert!(seen["OPINION"].iter().any(|message| message.payload["subject"]["name"] == "cam4"));
}

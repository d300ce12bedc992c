//! A node with two proven peers, what an input can do to it, and what must hold after each step.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use kodikon_core::effect::log::{CommitId, Committed};
use kodikon_core::effect::{
    Arrival, BroadcastOrder, Cast, Command, Event, Input, Interface, InterfaceAddress, Medium, Output, Persist,
    SendOrder, StreamUse, StreamWish, Target,
};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, SessionTag, StreamId};
use kodikon_core::ground::stats::Reject;
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::alert::{AckOrder, AlertId, AlertOrder, MAX_ALERT, Raised};
use kodikon_core::model::identity::{Identity, Signature, Verifier, Zip215Verifier};
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::{Boot, Node, Saved};
use kodikon_core::wire::codec;
use kodikon_core::wire::header::{Header, MAX_FRAME};
use kodikon_core::wire::seal::{Carrier, GroupKey};

const ETH: InterfaceIndex = InterfaceIndex(2);
/// The node under test, its two peers, and a stranger.
pub const NODE: u8 = 1;
pub const PEERS: [u8; 2] = [2, 3];
pub const STRANGER: u8 = 4;
/// What a frame that does not open is counted as.
const UNOPENED: [Reject; 4] = [Reject::Length, Reject::FrameType, Reject::KeyEpoch, Reject::Seal];
/// Virtual time of all steps together: three times the hard bound after which a silent peer is dead.
const MAX_NANOS: u64 = 90_000_000_000;
/// Wakes within one step of time: far more than the busiest minute has.
const MAX_WAKES: usize = 20_000;
/// Wakes in a row at one moment: the driver serves eight in one turn.
const MAX_AT_ONCE: usize = 4;

/// Alerts that a byte can name.
const MOST_ALERTS: usize = 256;

thread_local! {
    static GROUP: GroupKey = GroupKey::new(&Config::new("x").group_key());
    static HANDSHAKES: [Handshake; 2] = PEERS.map(handshake);
}

/// Lets every signature pass, so that what lies behind them is reached, too.
#[derive(Debug)]
struct Trusting;

impl Verifier for Trusting {
    fn verify(&mut self, _: &[u8; 32], _: &[u8], _: &Signature) -> bool {
        true
    }
}

pub fn node(n: u8, trusting: bool) -> Node {
    let boot = Boot {
        config: Config::new(&format!("cam{n}")),
        identity: Identity::from_secret(&[n; 32]),
        epoch: Epoch::new(1, u32::from(n)),
        seed: [n; 32],
        port: 10_000,
        wall: WallTime(1_764_000_000_000),
        saved: Saved::default(),
        verifier: if trusting { Box::new(Trusting) } else { Box::<Zip215Verifier>::default() },
    };
    let mut node = Node::new(Instant::ZERO, boot);
    node.handle(Instant::ZERO, Input::Interfaces(&[interface(n, true)]));
    node
}

fn interface(n: u8, carrier: bool) -> Interface {
    let address = InterfaceAddress { address: ip(n), prefix: 24, broadcast: None };
    let (name, addresses) = ("eth0".to_owned(), vec![address]);
    Interface { index: ETH, name, mtu: 1_500, carrier, medium: Medium::Wired, addresses }
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::new(ip(n), 10_000)
}

pub fn arrival(n: u8, cast: Cast) -> Arrival {
    Arrival { from: address(n), interface: ETH, cast }
}

/// What a node sends now.
pub fn sent(node: &mut Node) -> Vec<(Target, Vec<u8>)> {
    let outputs = std::iter::from_fn(|| node.poll_output());
    let transmits = outputs.filter_map(|output| match output {
        Output::Transmit(transmit) => Some((transmit.target, transmit.bytes)),
        _ => None,
    });
    transmits.collect()
}

/// The frames by which a peer proves itself to the node. They are the same for every input, since the node begins the same way.
struct Handshake {
    frames: Vec<Vec<u8>>,
    tag: SessionTag,
}

fn handshake(n: u8) -> Handshake {
    let (mut node, mut peer) = (node(NODE, true), node(n, true));
    let mut frames: Vec<Vec<u8>> = Vec::new();
    sent(&mut node);
    while node.peers().is_empty() {
        let said = sent(&mut peer);
        assert!(!said.is_empty(), "the two have nothing to say and do not know each other");
        for (_, bytes) in said {
            node.handle(Instant::ZERO, Input::Datagram(arrival(n, Cast::Unicast), &mut bytes.clone()));
            frames.push(bytes);
        }
        for (target, mut bytes) in sent(&mut node) {
            if matches!(target, Target::Address(to, _) if to == address(n)) {
                peer.handle(Instant::ZERO, Input::Datagram(arrival(NODE, Cast::Unicast), &mut bytes));
            }
        }
    }
    let tag = Header::decode(&frames[0]).expect("a peer sends frames").tag;
    Handshake { frames, tag }
}

/// The node, and what others send it.
pub struct Scene {
    node: Node,
    now: Instant,
    /// Of the two peers, the stranger, and the node itself.
    tags: [SessionTag; 4],
    counters: [u64; 4],
    last: Vec<u8>,
    streams: u64,
    tickets: u64,
    /// Alerts that it raised or was shown; as many as are of use.
    alerts: Vec<AlertId>,
    /// What it asked of its store and was not answered yet.
    commits: VecDeque<CommitId>,
}

impl Scene {
    pub fn new(trusting: bool) -> Self {
        let mut node = node(NODE, trusting);
        let own = Header::decode(&sent(&mut node)[0].1).expect("it says hello").tag;
        let tags = HANDSHAKES.with(|shakes| [shakes[0].tag, shakes[1].tag, SessionTag([9; 8]), own]);
        let mut scene = Self {
            node,
            now: Instant::ZERO,
            tags,
            counters: [1_000; 4],
            last: Vec::new(),
            streams: 0,
            tickets: 0,
            alerts: Vec::new(),
            commits: VecDeque::new(),
        };
        HANDSHAKES.with(|shakes| {
            for (n, shake) in PEERS.into_iter().zip(shakes) {
                shake.frames.iter().for_each(|frame| scene.datagram(n, Cast::Unicast, frame.clone()));
            }
        });
        assert_eq!(scene.node.peers().len(), PEERS.len(), "the handshakes are good");
        scene
    }

    /// One step of an input.
    pub fn step(&mut self, what: u8, body: &[u8]) {
        match what % 18 {
            who @ 0..=3 => self.say(usize::from(who), Cast::Unicast, body),
            who @ 4..=6 => self.say(usize::from(who - 4), Cast::Multicast4, body),
            7 => {
                let mut frame = self.seal(0, body.get(3..).unwrap_or_default());
                if let [low, high, bits, ..] = *body {
                    let at = usize::from(u16::from_le_bytes([low, high])) % frame.len();
                    frame[at] ^= bits;
                }
                self.datagram(PEERS[0], Cast::Unicast, frame);
            }
            8 => self.datagram(STRANGER, Cast::Broadcast, body.to_vec()),
            9 => self.datagram(PEERS[1], Cast::Unicast, self.last.clone()),
            10 if self.now.as_nanos() < MAX_NANOS => self.pass(Duration::from_millis(number(body).into())),
            10 => {}
            11 => self.stream(body),
            12 => self.host(body),
            13 => self.letter(body),
            15 => self.cast(body),
            16 => self.alert(body),
            17 => self.commit(body),
            _ => {
                let text = String::from_utf8_lossy(body);
                let (key, json) = text.split_once('=').unwrap_or((&text, "null"));
                let change = StateChange { key: key.to_owned(), json: Some(json.to_owned()) };
                self.hand(Input::Command(Command::SetState(vec![change], WallTime(1))));
            }
        }
    }

    /// The node writes to a peer, or to nobody it knows: of as many bytes as the fourth and fifth say.
    fn letter(&mut self, body: &[u8]) {
        let [who, urgency, limit, rest @ ..] = body else { return };
        let to = if who % 8 == 7 { NodeId([*who; 16]) } else { self.peer(*who) };
        let order = SendOrder {
            ticket: self.ticket(),
            to,
            kind: String::new(),
            payload: vec![b'1'; usize::from(number(rest))],
            priority: priority(*urgency),
            timeout: (limit % 2 == 1).then(|| Duration::from_millis(u64::from(*limit) * 40)),
        };
        self.hand(Input::Command(Command::Send(order)));
    }

    /// The node says something to all.
    fn cast(&mut self, body: &[u8]) {
        let [urgency, rest @ ..] = body else { return };
        let order = BroadcastOrder {
            ticket: self.ticket(),
            kind: String::new(),
            payload: vec![b'1'; usize::from(number(rest))],
            priority: priority(*urgency),
        };
        self.hand(Input::Command(Command::Broadcast(order)));
    }

    /// The node raises an alert, or somebody acknowledges one of those it knows or one that never was.
    fn alert(&mut self, body: &[u8]) {
        let [urgency, ttl, rest @ ..] = body else { return };
        let ticket = self.ticket();
        let known = self.alerts.get(usize::from(*ttl)).copied();
        let command = if urgency & 4 == 0 {
            let payload = vec![b'1'; usize::from(number(rest)) % MAX_ALERT];
            let ttl = Duration::from_secs(1 + u64::from(*ttl));
            Command::Raise(AlertOrder { ticket, payload, priority: priority(*urgency), ttl })
        } else {
            let alert = known.unwrap_or(AlertId((*ttl).into()));
            Command::Acknowledge(AckOrder { ticket, alert, by: "who".to_owned() })
        };
        self.hand(Input::Command(command));
    }

    /// Its store answers the oldest questions.
    fn commit(&mut self, body: &[u8]) {
        for how in body {
            let Some(commit) = self.commits.pop_front() else { return };
            let result = [Committed::OnDisk, Committed::InMemory, Committed::Failed][usize::from(how % 3)];
            self.hand(Input::Committed { commit, result });
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn seal(&mut self, who: usize, text: &[u8]) -> Vec<u8> {
        let header = Header { tag: self.tags[who], counter: self.counters[who] };
        self.counters[who] += 1;
        GROUP.with(|group| group.session(header.tag).seal(&header, text))
    }

    fn say(&mut self, who: usize, cast: Cast, text: &[u8]) {
        let frame = self.seal(who, text);
        self.last.clone_from(&frame);
        self.datagram([PEERS[0], PEERS[1], STRANGER, NODE][who], cast, frame);
    }

    fn datagram(&mut self, from: u8, cast: Cast, mut frame: Vec<u8>) {
        let unopened = |node: &Node| UNOPENED.iter().map(|reason| node.stats().dropped(*reason)).sum::<u64>();
        let before = unopened(&self.node);
        let answers = self.hand(Input::Datagram(arrival(from, cast), &mut frame));
        assert!(unopened(&self.node) == before || answers == 0, "an answer to what did not open");
    }

    fn stream(&mut self, body: &[u8]) {
        let Some((what, body)) = body.split_first() else { return };
        let peer = self.peer(*what);
        let stream = StreamId(self.streams);
        match what % 5 {
            0 => {
                self.streams += 1;
                let (stream, from) = (StreamId(self.streams), address(PEERS[0]));
                self.hand(Input::StreamOffered { stream, from });
            }
            1 => {
                self.streams += 1;
                let stream = StreamId(self.streams);
                let purpose = purpose(what / 5);
                self.hand(Input::StreamOpened { stream, peer, purpose });
            }
            2 => {
                self.hand(Input::StreamFailed { peer, purpose: purpose(what / 5) });
            }
            3 => {
                let mut frame = self.seal(usize::from(what / 5 % 3), body);
                self.hand(Input::StreamFrame { stream, frame: &mut frame });
            }
            _ => {
                self.hand(Input::StreamEnded { stream });
            }
        }
    }

    fn host(&mut self, body: &[u8]) {
        match body.first().copied().unwrap_or_default() % 4 {
            0 => self.hand(Input::Disturbed),
            1 => self.hand(Input::Unreachable(address(PEERS[0]))),
            2 => self.hand(Input::Interfaces(&[interface(NODE, false)])),
            _ => self.hand(Input::Interfaces(&[interface(NODE, true)])),
        };
    }

    fn peer(&self, which: u8) -> NodeId {
        Identity::from_secret(&[PEERS[usize::from(which) % 2]; 32]).id()
    }

    /// Time passes, and the node wakes when it wishes. Acting at a deadline may bring another that has passed already, as where the
    /// one who was asked is gone and the next is to be asked; but not time after time.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let mut at_once = 0;
        for wakes in 0.. {
            let Some(wake) = self.node.next_wake().filter(|wake| wake.at <= end) else { break };
            assert!(wakes < MAX_WAKES, "it wakes for ever: {wake:?}");
            at_once = if wake.at > self.now { 0 } else { at_once + 1 };
            assert!(at_once <= MAX_AT_ONCE, "the driver would spin: {wake:?}");
            self.now = self.now.max(wake.at);
            self.hand(Input::Wake);
        }
        self.now = end;
    }

    /// Hands over an input and looks at all that comes of it; returns how many frames were sent.
    pub fn hand(&mut self, input: Input<'_>) -> usize {
        self.node.handle(self.now, input);
        let (mut count, mut kept) = (0, None);
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    check(transmit.bytes);
                    count += 1;
                }
                // What follows on a pipe is longer than any datagram, and sealed for it.
                Output::Stream(StreamWish::Send { bytes, .. }) if bytes.len() > MAX_FRAME => {}
                Output::Stream(StreamWish::Send { bytes, .. }) => check_streamed(bytes),
                Output::Event(
                    Event::Alert { alert, .. } | Event::Raised { outcome: Raised::Done { alert, .. }, .. },
                ) if self.alerts.len() < MOST_ALERTS => self.alerts.push(alert),
                Output::Commit { commit, .. } => self.commits.push_back(commit),
                Output::Persist(Persist::State(state)) => kept = Some(state.version),
                Output::Stream(_) | Output::Event(_) | Output::Persist(_) | Output::Scan(_) | Output::Check(_) => {}
            }
        }
        for (table, held, limit) in self.node.table_sizes() {
            assert!(held <= limit, "{table} holds {held} of {limit}");
        }
        match kept {
            Some(version) => count + self.hand(Input::StateKept { version }),
            None => count,
        }
    }
}

fn purpose(what: u8) -> StreamUse {
    if what.is_multiple_of(2) { StreamUse::Canary } else { StreamUse::Bulk }
}

/// A frame that the node sends on a stream is one, as a datagram's or of a pipe.
fn check_streamed(mut frame: Vec<u8>) {
    let header = Header::decode_piped(&frame).expect("a header");
    let session = GROUP.with(|group| group.session(header.tag));
    let mut copy = frame.clone();
    assert!(
        session.open(&header, &mut copy).is_ok() || session.open_from(Carrier::Pipe, &header, &mut frame).is_ok(),
        "sealed in its session"
    );
}

/// A frame that the node sends is one.
fn check(mut frame: Vec<u8>) {
    assert!(frame.len() <= MAX_FRAME, "{} bytes", frame.len());
    let header = Header::decode(&frame).expect("a header");
    let session = GROUP.with(|group| group.session(header.tag));
    let text = session.open(&header, &mut frame).expect("sealed in its session");
    let batch = codec::decode(text).expect("messages");
    assert!(batch.unknown == 0 && !batch.messages.is_empty());
}

fn priority(urgency: u8) -> Priority {
    [Priority::Low, Priority::Normal, Priority::High, Priority::Critical][usize::from(urgency % 4)]
}

/// The first two bytes as a number.
fn number(body: &[u8]) -> u16 {
    match *body {
        [low, high, ..] => u16::from_le_bytes([low, high]),
        [low] => low.into(),
        [] => 0,
    }
}

//! Nodes on several segments in virtual time, whose datagrams a test may drop: faults by chance are the simulator's business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kodikon_core::effect::log::Committed;
use kodikon_core::effect::{
    Arrival, Cast, Command, Event, Input, Interface, InterfaceAddress, Medium, Output, Persist, SendOrder, Target,
};
use kodikon_core::ground::config::{Config, Profile};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, SessionTag};
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::model::letter::{Outcome, Priority, Ticket};
use kodikon_core::node::{Boot, Node, Saved};
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::Message;
use kodikon_core::wire::seal::GroupKey;

const DELAY: Duration = Duration::from_micros(100);

/// A datagram between two nodes.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) segment: u8,
    pub(crate) cast: Cast,
    pub(crate) bytes: Vec<u8>,
}

/// What becomes of a datagram: `true` if it arrives.
type Filter = Box<dyn FnMut(&Flight, &[Message]) -> bool>;

/// Nodes N with an address 10.0.S.N on each segment S that they are on.
pub(crate) struct Segments {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<u8, Node>,
    pub(crate) events: Vec<(u8, Instant, Event)>,
    /// Who is on which.
    pub(crate) homes: BTreeMap<u8, Vec<u8>>,
    flights: BTreeMap<(Instant, usize), Flight>,
    serial: usize,
    /// How often each node was started.
    runs: BTreeMap<u8, u32>,
    tickets: u64,
    pub(crate) filter: Filter,
    group: GroupKey,
    profile: Profile,
}

impl Segments {
    pub(crate) fn new(homes: &[(u8, &[u8])]) -> Self {
        Self::with_profile(Profile::Lan, homes)
    }

    pub(crate) fn with_profile(profile: Profile, homes: &[(u8, &[u8])]) -> Self {
        let group = GroupKey::new(&Config::new("any").group_key());
        let mut segments = Self {
            now: Instant::ZERO + Duration::from_secs(1),
            nodes: BTreeMap::new(),
            events: Vec::new(),
            homes: homes.iter().map(|(n, on)| (*n, on.to_vec())).collect(),
            flights: BTreeMap::new(),
            serial: 0,
            runs: BTreeMap::new(),
            tickets: 0,
            filter: Box::new(|_, _| true),
            group,
            profile,
        };
        homes.iter().for_each(|(n, _)| segments.start(*n));
        segments
    }

    /// So many nodes, each on one segment with the next; all know of all.
    pub(crate) fn line(nodes: u8) -> Self {
        let homes: Vec<(u8, Vec<u8>)> =
            (1..=nodes).map(|n| (n, (n - 1..=n).filter(|s| (1..nodes).contains(s)).collect())).collect();
        let homes: Vec<(u8, &[u8])> = homes.iter().map(|(n, on)| (*n, &on[..])).collect();
        let mut segments = Self::new(&homes);
        segments.settle();
        segments
    }

    /// So many nodes on one segment.
    pub(crate) fn lan(nodes: u8) -> Self {
        let homes: Vec<(u8, &[u8])> = (1..=nodes).map(|n| (n, &[1][..])).collect();
        let mut segments = Self::new(&homes);
        segments.settle();
        segments
    }

    /// Two ways between node 1 and node 4, by node 2 and by node 3.
    pub(crate) fn diamond() -> Self {
        let mut segments = Self::new(&[(1, &[1, 2]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3, 4])]);
        segments.settle();
        segments
    }

    /// The first relay from a node to another.
    pub(crate) fn first_relay(&mut self, from: u8, to: u8) -> u8 {
        let routes = self.nodes.get_mut(&from).expect("it runs").routes();
        let route = routes.into_iter().find(|route| route.to == id(to)).expect("there is a way");
        (1..=9).find(|n| id(*n) == route.path[0]).expect("it is one of ours")
    }

    /// Lets all find each other.
    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_secs(15));
        let others = self.nodes.len() - 1;
        for (n, node) in &mut self.nodes {
            assert_eq!(node.routes().len(), others, "node {n} knows a way to all");
        }
        self.events.clear();
    }

    /// Starts node N in a new run.
    pub(crate) fn start(&mut self, n: u8) {
        let runs = self.runs.entry(n).or_default();
        *runs += 1;
        let run = *runs;
        let mut config = Config::new(&format!("cam{n}"));
        config.profile = self.profile;
        let boot = Boot {
            config,
            identity: Identity::from_secret(&[n; 32]),
            epoch: Epoch::new(run, u32::from(n)),
            seed: [n.wrapping_add((run as u8).wrapping_mul(16)); 32],
            port: 10_000,
            wall: WallTime(1_800_000_000_000),
            saved: Saved::default(),
            verifier: Box::<Zip215Verifier>::default(),
        };
        self.nodes.insert(n, Node::new(self.now, boot));
        self.plug(n);
    }

    /// Node N has a carrier on all its segments.
    pub(crate) fn plug(&mut self, n: u8) {
        let interfaces: Vec<Interface> = self.homes[&n].iter().map(|segment| interface(*segment, n)).collect();
        self.hand(n, Input::Interfaces(&interfaces));
    }

    /// Node A says something to node B.
    pub(crate) fn say(&mut self, a: u8, b: u8, payload: &str) -> Ticket {
        self.say_as(a, b, payload, Priority::Normal, None)
    }

    pub(crate) fn say_as(
        &mut self,
        a: u8,
        b: u8,
        payload: &str,
        priority: Priority,
        timeout: Option<Duration>,
    ) -> Ticket {
        self.tickets += 1;
        let order = SendOrder {
            ticket: Ticket(self.tickets),
            to: id(b),
            kind: String::new(),
            payload: payload.as_bytes().to_vec(),
            priority,
            timeout,
        };
        self.hand(a, Input::Command(Command::Send(order)));
        Ticket(self.tickets)
    }

    /// Hands one input to a node and carries out what it wishes.
    pub(crate) fn hand(&mut self, n: u8, input: Input<'_>) {
        let Some(node) = self.nodes.get_mut(&n) else { return };
        node.handle(self.now, input);
        let (mut sent, mut kept, mut commits) = (Vec::new(), None, Vec::new());
        while let Some(output) = node.poll_output() {
            match output {
                Output::Transmit(transmit) => sent.push(transmit),
                Output::Event(event) => self.events.push((n, self.now, event)),
                Output::Persist(Persist::State(state)) => kept = Some(state.version),
                Output::Commit { commit, .. } => commits.push(commit),
                Output::Persist(_) | Output::Stream(_) | Output::Scan(_) | Output::Check(_) => {}
            }
        }
        for (table, held, limit) in node.table_sizes() {
            assert!(held <= limit, "{table} holds {held} of {limit}");
        }
        for transmit in sent {
            for (to, segment, cast) in self.receivers(n, transmit.target) {
                let flight = Flight { from: n, to, segment, cast, bytes: transmit.bytes.clone() };
                let messages = self.read(&flight.bytes);
                if (self.filter)(&flight, &messages) {
                    self.send(flight);
                }
            }
        }
        if let Some(version) = kept {
            self.hand(n, Input::StateKept { version });
        }
        // What is said is on nobody's disk.
        for commit in commits {
            self.hand(n, Input::Committed { commit, result: Committed::InMemory });
        }
    }

    /// Puts a datagram on its way.
    pub(crate) fn send(&mut self, flight: Flight) {
        self.serial += 1;
        self.flights.insert((self.now + DELAY, self.serial), flight);
    }

    /// Whom a target of a node reaches, over which segment.
    fn receivers(&self, n: u8, target: Target) -> Vec<(u8, u8, Cast)> {
        let ours: BTreeSet<u8> = self.homes[&n].iter().copied().collect();
        let on = |segment: u8| self.homes.iter().filter(move |(_, on)| on.contains(&segment)).map(|(n, _)| *n);
        match target {
            Target::Address(SocketAddr::V4(to), _) => {
                let [_, _, segment, host] = to.ip().octets();
                let is_there = ours.contains(&segment) && on(segment).any(|n| n == host);
                if is_there { vec![(host, segment, Cast::Unicast)] } else { Vec::new() }
            }
            Target::Address(SocketAddr::V6(_), _) => Vec::new(),
            Target::Segment(index, cast) => {
                let segment = index.0 as u8;
                on(segment).map(|to| (to, segment, cast)).collect()
            }
        }
    }

    /// The messages in a frame.
    pub(crate) fn read(&self, frame: &[u8]) -> Vec<Message> {
        let mut frame = frame.to_vec();
        let header = Header::decode(&frame).expect("a node's own frame");
        let text = self.group.session(header.tag).open(&header, &mut frame).expect("a node's own frame");
        codec::decode(text).expect("a node's own words").messages
    }

    /// A frame in another's name, as whoever has the group key can make it.
    pub(crate) fn forge(&self, tag: SessionTag, counter: u64, message: &Message) -> Vec<u8> {
        let mut text = Vec::new();
        codec::encode(message, &mut text);
        let header = Header { tag, counter };
        self.group.session(tag).seal(&header, &text)
    }

    /// Lets virtual time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wake = self.nodes.iter().filter_map(|(n, node)| node.next_wake().map(|wake| (wake.at, *n))).min();
            let flight = self.flights.first_key_value().map(|(key, _)| *key);
            let next = wake.map(|(at, _)| at).into_iter().chain(flight.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if flight.is_some_and(|(at, _)| at <= next) {
                let (_, flight) = self.flights.pop_first().expect("it was just seen");
                self.deliver(flight);
            } else if let Some((_, n)) = wake {
                self.hand(n, Input::Wake);
                let again = self.nodes.get(&n).and_then(Node::next_wake);
                assert!(again.is_none_or(|wake| wake.at > self.now), "node {n} would spin: {again:?}");
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight { from, to, segment, cast, mut bytes } = flight;
        let from = SocketAddr::new(ip(segment, from), 10_000);
        let arrival = Arrival { from, interface: InterfaceIndex(u32::from(segment)), cast };
        self.hand(to, Input::Datagram(arrival, &mut bytes));
    }

    /// What node N was told: from whom, and the payload.
    pub(crate) fn heard(&self, n: u8) -> Vec<(NodeId, String)> {
        let message = |(at, _, event): &(u8, Instant, Event)| {
            let Event::Message { from, payload, .. } = event else { return None };
            (*at == n).then(|| (*from, String::from_utf8(payload.clone()).expect("JSON text")))
        };
        self.events.iter().filter_map(message).collect()
    }

    /// What became of what was said under a ticket: once at most.
    pub(crate) fn outcome(&self, ticket: Ticket) -> Option<(Duration, Outcome)> {
        let settled = |(_, at, event): &(u8, Instant, Event)| {
            let Event::Settled { ticket: of, outcome, .. } = event else { return None };
            (*of == ticket).then(|| (at.since(Instant::ZERO), outcome.clone()))
        };
        let mut all = self.events.iter().filter_map(settled);
        let first = all.next();
        assert!(all.next().is_none(), "{ticket:?} is settled twice");
        first
    }
}

pub(crate) fn id(n: u8) -> NodeId {
    Identity::from_secret(&[n; 32]).id()
}

fn ip(segment: u8, n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, segment, n))
}

fn interface(segment: u8, n: u8) -> Interface {
    let address =
        InterfaceAddress { address: ip(segment, n), prefix: 24, broadcast: Some(Ipv4Addr::new(10, 0, segment, 255)) };
    Interface {
        index: InterfaceIndex(u32::from(segment)),
        name: format!("eth{segment}"),
        mtu: 1_500,
        carrier: true,
        medium: Medium::Wired,
        addresses: vec![address],
    }
}

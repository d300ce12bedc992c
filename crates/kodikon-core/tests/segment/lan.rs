//! A perfect LAN in virtual time, just enough to let nodes talk in a test; faults are the simulator's business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kodikon_core::effect::log::{Committed, SavedLog};
use kodikon_core::effect::scan::ScanJob;
use kodikon_core::effect::{
    Arrival, Cast, Event, Input, Interface, InterfaceAddress, Medium, Output, Persist, Remembered, Target,
};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, InterfaceIndex};
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::node::{Boot, Node, Saved};

const DELAY: Duration = Duration::from_micros(100);
const CARD: InterfaceIndex = InterfaceIndex(2);

type Flight = (SocketAddr, Target, Vec<u8>);

/// Hosts on one segment, each with one node at 10.0.0.N:10000.
pub(crate) struct Lan {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<u8, Node>,
    pub(crate) events: Vec<(u8, Instant, Event)>,
    pub(crate) sent: usize,
    /// What each node's log store holds, and whether its disk takes anything.
    pub(crate) stores: BTreeMap<u8, SavedLog>,
    pub(crate) disk: Committed,
    /// Nodes whose scans do not end by themselves, and these; those of all others are done at once.
    pub(crate) scans_nothing: BTreeSet<u8>,
    pub(crate) unscanned: Vec<(u8, ScanJob)>,
    /// Whether the disks take their time with states: the test answers in their place.
    pub(crate) holds_state: bool,
    /// How long a datagram takes.
    pub(crate) delay: Duration,
    /// Every so many-th datagram is lost for each receiver; 0: none.
    pub(crate) lose_every: usize,
    /// Whether what is said to the whole segment is heard by nobody.
    pub(crate) is_without_groups: bool,
    /// Whom each node's disk remembers.
    pub(crate) directories: BTreeMap<u8, Vec<Remembered>>,
    /// What each node sent last, as it was on the wire.
    pub(crate) last_frame: BTreeMap<u8, Vec<u8>>,
    flights: BTreeMap<(Instant, usize), Flight>,
    serial: usize,
    handed: usize,
}

impl Lan {
    pub(crate) fn new() -> Self {
        Self {
            now: Instant::ZERO + Duration::from_secs(1),
            nodes: BTreeMap::new(),
            events: Vec::new(),
            sent: 0,
            stores: BTreeMap::new(),
            disk: Committed::OnDisk,
            scans_nothing: BTreeSet::new(),
            unscanned: Vec::new(),
            holds_state: false,
            delay: DELAY,
            lose_every: 0,
            is_without_groups: false,
            directories: BTreeMap::new(),
            last_frame: BTreeMap::new(),
            flights: BTreeMap::new(),
            serial: 0,
            handed: 0,
        }
    }

    /// Starts node N with the name camN.
    pub(crate) fn start(&mut self, n: u8) {
        self.start_with(n, |_| {});
    }

    /// Starts node N with the name camN, after a change to what it starts with.
    pub(crate) fn start_with(&mut self, n: u8, change: impl FnOnce(&mut Boot)) {
        let mut boot = Boot {
            config: Config::new(&format!("cam{n}")),
            identity: Identity::from_secret(&[n; 32]),
            epoch: Epoch::new(1, u32::from(n)),
            seed: [n; 32],
            port: 10_000,
            wall: WallTime(1_800_000_000_000),
            saved: Saved::default(),
            verifier: Box::<Zip215Verifier>::default(),
        };
        change(&mut boot);
        self.nodes.insert(n, Node::new(self.now, boot));
        self.hand(n, Input::Interfaces(&[interface(n)]));
    }

    /// Hands one input to a node and carries out what it wishes.
    pub(crate) fn hand(&mut self, n: u8, input: Input<'_>) {
        let Some(node) = self.nodes.get_mut(&n) else { return };
        node.handle(self.now, input);
        let from = SocketAddr::new(ip(n), 10_000);
        let (mut answers, mut kept, mut scans) = (Vec::new(), None, Vec::new());
        let mut checks = Vec::new();
        while let Some(output) = node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.sent += 1;
                    self.serial += 1;
                    self.last_frame.insert(n, transmit.bytes.clone());
                    self.flights.insert((self.now + self.delay, self.serial), (from, transmit.target, transmit.bytes));
                }
                Output::Event(event) => self.events.push((n, self.now, event)),
                Output::Commit { commit, batch } => {
                    if self.disk == Committed::OnDisk {
                        self.stores.entry(n).or_default().apply(&batch);
                    }
                    answers.push(commit);
                }
                Output::Persist(Persist::State(state)) => kept = Some(state.version).filter(|_| !self.holds_state),
                Output::Persist(Persist::Directory(directory)) => _ = self.directories.insert(n, directory),
                Output::Scan(job) if self.scans_nothing.contains(&n) => self.unscanned.push((n, job)),
                Output::Scan(job) => scans.push(job),
                Output::Check(job) => checks.push(job),
                Output::Persist(_) | Output::Stream(_) => {}
            }
        }
        for job in checks {
            let holds = job.run(&mut Zip215Verifier::default());
            self.hand(n, Input::Checked { check: job.check, holds });
        }
        for job in scans {
            self.hand(n, Input::Scanned { scan: job.scan, answers: job.run() });
        }
        if let Some(version) = kept {
            self.hand(n, Input::StateKept { version });
        }
        let result = self.disk;
        answers.into_iter().for_each(|commit| self.hand(n, Input::Committed { commit, result }));
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
                let ((_, _), flight) = self.flights.pop_first().expect("it was just seen");
                self.deliver(flight);
            } else if let Some((_, n)) = wake {
                self.hand(n, Input::Wake);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, (from, target, bytes): Flight) {
        let everyone: Vec<u8> = self.nodes.keys().copied().collect();
        let (cast, receivers) = match target {
            Target::Address(to, _) => (Cast::Unicast, everyone.into_iter().filter(|n| ip(*n) == to.ip()).collect()),
            Target::Segment(..) if self.is_without_groups => return,
            Target::Segment(_, cast) => (cast, everyone),
        };
        for n in receivers {
            self.handed += 1;
            if self.handed.is_multiple_of(self.lose_every) {
                continue;
            }
            let mut frame = bytes.clone();
            self.hand(n, Input::Datagram(Arrival { from, interface: CARD, cast }, &mut frame));
        }
    }

    /// When each event for which `pick` holds happened, by node.
    pub(crate) fn times(&self, pick: impl Fn(&Event) -> bool) -> Vec<(u8, Duration)> {
        self.events.iter().filter(|(_, _, event)| pick(event)).map(|(n, at, _)| (*n, at.since(Instant::ZERO))).collect()
    }
}

fn ip(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn interface(n: u8) -> Interface {
    let address = InterfaceAddress { address: ip(n), prefix: 24, broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)) };
    Interface {
        index: CARD,
        name: "eth0".to_owned(),
        mtu: 1_500,
        carrier: true,
        medium: Medium::Wired,
        addresses: vec![address],
    }
}

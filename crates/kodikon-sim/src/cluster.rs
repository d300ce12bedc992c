//! Decides how nodes live: their processes are fed what the network and the clock bring, and what they wish is carried out.

mod arrival;
pub mod clock;
pub mod endpoint;
pub mod enemy;
#[cfg(test)]
pub(crate) mod fake;
pub mod process;
mod streaming;
pub mod swallow;

use core::time::Duration;
use std::net::SocketAddr;

use kodikon_core::effect::check::CheckJob;
use kodikon_core::effect::log::{Batch, CommitId};
use kodikon_core::effect::scan::{ScanId, ScanJob};
use kodikon_core::effect::{BroadcastOrder, Command, Event, Input, Output, SendOrder, StreamWish, Transmit};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::random::Random;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::alert::AlertOrder;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{DeleteOrder, RecordOrder, RecordView};
use kodikon_core::model::search::SearchOrder;
use kodikon_core::node::Boot;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::Message;
use kodikon_core::wire::seal::GroupKey;
use kodikon_core::wire::search::is_own;

use crate::agenda::Agenda;
use crate::chance::{fork, source};
use crate::cluster::clock::LocalClock;
use crate::cluster::endpoint::{Endpoint, Maker};
use crate::cluster::enemy::Tap;
use crate::cluster::process::{Deferred, Process};
use crate::cluster::swallow::Swallower;
use crate::disk::Disk;
use crate::moment::Moment;
use crate::network::host::{FIRST_PORT, HostId, SegmentId};
use crate::network::streams::{News, Outcome, Owner, Step, Streams};
use crate::network::{Letter, Network, Origin, Passage, Socket};
use crate::trace::{Detail, Mark, Trace, digest};
use crate::verify::SharedVerifier;
use crate::workload::letters::number_of;

/// Timers fire late by up to this much: the runtime's ticks (driver facts: 0.6-1.6 ms, p50 1.1).
const LATENESS: Duration = Duration::from_micros(1_200);
/// From a change of an interface to the notice of it (driver facts: below 6 ms).
const NETLINK: Duration = Duration::from_millis(5);
/// A sync takes at least this (an NVMe disk), up to `SYNC` more (an SD card), and now and then up to `SLOW_SYNC` (one that cleans up).
const SYNC_LEAST: Duration = Duration::from_micros(200);
const SYNC: Duration = Duration::from_millis(12);
const SLOW_SYNC: Duration = Duration::from_secs(3);
const SLOW_ONE_IN: u64 = 100;
/// What checking a signature takes on a small machine.
const CHECK: Duration = Duration::from_micros(80);
/// What a disk did not take is tried again after this, as the driver does.
const RETRY: Duration = Duration::from_secs(1);
/// Where wall clocks begin: 2026-11-01.
const WALL_START_MS: u64 = 1_793_491_200_000;

/// What will happen in a cluster.
#[derive(Debug)]
pub enum Happening {
    /// A node's process starts.
    Boot(usize),
    /// A node's timer fires.
    Wake(Owner),
    /// The network does something.
    Pass(Passage),
    /// ICMP reaches a process.
    Unreachable(Owner, SocketAddr),
    /// A stream does something.
    Stream(Step),
    /// A node's log is synced.
    Sync(Owner),
    /// What else a node asked to be kept is synced.
    Keep(Owner),
    /// A node's embeddings have been scanned.
    Scan(Owner, ScanJob),
    /// Signatures have been checked.
    Check(Owner, CheckJob),
    /// A host's nodes learn of its interfaces.
    Interfaces(HostId),
    /// Something else that the owner of the cluster entered.
    Other(u64),
}

/// One node of the run, whether its process lives or not.
#[derive(Debug)]
pub struct Slot {
    /// On which host.
    pub host: HostId,
    /// Its unicast port.
    pub port: u16,
    /// How it is configured.
    pub config: Config,
    /// What it finds at its next start.
    pub disk: Disk,
    /// How many processes it has had.
    pub run: u32,
    /// Until when its thread that checks signatures has work.
    pub checks_until: Moment,
    /// Its process.
    pub process: Option<Box<Process>>,
    /// Drift of its clock.
    pub drift_ppm: i32,
    /// How wrong its wall clock is.
    pub wall_offset_ms: i64,
    /// Bytes it put onto the wire.
    pub wire_bytes: u64,
    /// Datagrams it sent.
    pub datagrams: u64,
    /// Keeps back what others sent by it, if it is such a one.
    pub swallower: Option<Swallower>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Killed; its host goes on.
    Crash,
    /// Its host lost power.
    PowerOff,
}

/// What the cluster tells whoever watches it.
pub trait Observer {
    /// A process began.
    fn booted(&mut self, now: Moment, node: usize, endpoint: &dyn Endpoint);
    /// A process ended.
    fn died(&mut self, now: Moment, node: usize, death: Death);
    /// A node goes by another identity or epoch.
    fn renamed(&mut self, now: Moment, node: usize, endpoint: &dyn Endpoint);
    /// A node told its application something.
    fn event(&mut self, now: Moment, node: usize, event: &Event);
    /// The application of a node changed its state.
    fn changed(&mut self, node: usize);
    /// A node's own state is on disk, and may be told.
    fn kept(&mut self, endpoint: &dyn Endpoint);
    /// A node was told to say something to one other.
    fn ordered(&mut self, now: Moment, node: usize, order: &SendOrder);
    /// A node was told to say something to all.
    fn announced(&mut self, now: Moment, node: usize, order: &BroadcastOrder);
    /// A node was told to raise an alert.
    fn raising(&mut self, now: Moment, node: usize, order: &AlertOrder);
    /// A node was told to add a sighting.
    fn adding(&mut self, now: Moment, node: usize, order: &RecordOrder);
    /// A node was told to look for something.
    fn searching(&mut self, now: Moment, node: usize, search: (&SearchOrder, &[RecordView]));
    /// A node was told to delete sightings.
    fn deleting(&mut self, node: usize, order: &DeleteOrder);
    /// A node asks for its log to be written.
    fn committing(&mut self, now: Moment, node: usize, batch: &Batch);
    /// A node's embeddings are to be scanned; this is all that it shows.
    fn scanning(&mut self, node: usize, job: &ScanJob, shown: &[RecordView]);
    /// A node is told what a scan of its embeddings found.
    fn scanned(&mut self, node: usize, scan: ScanId);
    /// Ops are on a node's disk.
    fn synced(&mut self, now: Moment, node: usize, kept: &[OpId]);
    /// A node had something to say, and its disk does not know yet in which run it says so.
    fn withheld(&mut self, now: Moment, node: usize);
    /// A process was stopped, or goes on.
    fn stopped(&mut self, now: Moment, node: usize, stopped: bool);
    /// Whether a node shows another in its present run, and so has its session.
    fn is_peer(&self, node: usize, other: usize) -> bool;
    /// A node hears an enemy's recording of what it had not heard of another.
    fn echo(&mut self, now: Moment, node: usize, other: usize);
    /// A node was handed what it must not accept: something unsealed, or (by `sender`) what it had heard before.
    fn heard(&mut self, now: Moment, node: usize, sender: Option<usize>, accepted: bool);
    /// A node woke and at once asked to be woken again, this many times in a row.
    fn spun(&mut self, now: Moment, node: usize, times: u32, by: &'static str);
}

/// Hosts, their nodes, and all that lies between them.
#[derive(Debug)]
pub struct Cluster<O> {
    /// The moment.
    pub now: Moment,
    /// What will happen.
    pub agenda: Agenda<Happening>,
    /// What lies between the hosts.
    pub network: Network,
    /// Who watches.
    pub observer: O,
    /// What happened.
    pub trace: Trace,
    /// The nodes, grouped by host.
    pub nodes: Vec<Slot>,
    /// What an enemy has heard, if there is one.
    pub tap: Option<Tap>,
    /// What a scan takes.
    pub scan: Duration,
    streams: Streams,
    first_of_host: Vec<usize>,
    maker: Maker,
    verifier: SharedVerifier,
    seed: u64,
    random: Random,
    disks: Random,
    passages: Vec<(Moment, Passage)>,
    /// Payload datagrams of casts of processes that ended.
    cast_datagrams: u64,
    scratch: Vec<u8>,
}

/// What a cluster is made of.
#[derive(Debug)]
pub struct Plan {
    /// The run's seed.
    pub seed: u64,
    /// What lies between the hosts.
    pub network: Network,
    /// One configuration for each node, by host.
    pub configs: Vec<Vec<Config>>,
    /// Makes nodes.
    pub maker: Maker,
    /// How much of the story to tell.
    pub detail: Detail,
}

impl<O: Observer> Cluster<O> {
    /// A cluster in which nothing runs yet.
    #[must_use]
    pub fn new(plan: Plan, observer: O) -> Self {
        let mut network = plan.network;
        let (mut nodes, mut first_of_host) = (Vec::new(), Vec::new());
        for (place, configs) in plan.configs.into_iter().enumerate() {
            first_of_host.push(nodes.len());
            network.hosts[place].nodes = u16::try_from(configs.len()).expect("a host has few nodes");
            let host = HostId(u32::try_from(place).expect("a run has few hosts"));
            for (port, config) in (FIRST_PORT..).zip(configs) {
                let secret = fork(plan.seed, "identity", nodes.len() as u64);
                nodes.push(Slot::new(Socket { host, port }, config, Disk::new(secret)));
            }
        }
        Self {
            now: Moment::START,
            agenda: Agenda::new(),
            network,
            observer,
            trace: Trace::new(plan.detail),
            nodes,
            tap: None,
            scan: Duration::from_millis(50),
            streams: Streams::default(),
            first_of_host,
            maker: plan.maker,
            verifier: SharedVerifier::default(),
            seed: plan.seed,
            random: source(plan.seed, "cluster"),
            disks: source(plan.seed, "disks"),
            passages: Vec::new(),
            cast_datagrams: 0,
            scratch: Vec::new(),
        }
    }

    /// Enters something into the agenda.
    pub fn enter(&mut self, at: Moment, what: Happening) {
        self.agenda.enter(at, what);
    }

    /// Lets the next thing happen, if it happens before `end`. What it does not know is handed back.
    pub fn advance(&mut self, end: Moment) -> Option<Option<u64>> {
        let (at, what) = self.agenda.next_before(end)?;
        debug_assert!(at >= self.now, "time runs forward");
        self.now = at;
        match what {
            Happening::Boot(node) => self.boot(node),
            Happening::Wake(owner) => self.wake(owner),
            Happening::Pass(passage) => self.pass(passage),
            Happening::Unreachable(owner, address) => {
                if self.nodes[owner.node].run == owner.run {
                    self.give(owner.node, Deferred::Unreachable(address));
                }
            }
            Happening::Stream(step) => self.step_stream(step),
            Happening::Sync(owner) => self.sync(owner),
            Happening::Keep(owner) => self.keep(owner),
            Happening::Scan(owner, job) => self.scanned(owner, &job),
            Happening::Check(owner, job) => self.checked(owner, &job),
            Happening::Interfaces(host) => self.tell_interfaces(host),
            Happening::Other(number) => return Some(Some(number)),
        }
        Some(None)
    }

    /// Starts a node's process, unless it runs or its host is off.
    pub fn boot(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        if slot.process.is_some() || !self.network.hosts[slot.host.place()].on {
            return;
        }
        slot.run += 1;
        let random = u32::try_from(self.random.below(1 << 32)).expect("32 bits");
        let epoch = slot.disk.next_epoch(random);
        let clock = LocalClock::new(self.now, slot.drift_ppm);
        let boot = Boot {
            config: slot.config.clone(),
            identity: kodikon_core::model::identity::Identity::from_secret(&slot.disk.secret),
            epoch,
            seed: fork(self.seed, "node", ((node as u64) << 32) | u64::from(slot.run)),
            port: slot.port,
            wall: slot.wall(self.now),
            saved: slot.disk.begin(),
            verifier: Box::new(self.verifier.clone()),
        };
        let endpoint = (self.maker)(clock.local(self.now), boot);
        self.trace.mark(self.now, Mark::Boot, node, epoch.0);
        let (now, name) = (self.now, &self.nodes[node].config.node_name);
        self.trace.tell(now, Detail::Events, format_args!("{name} boots as {:?} in {epoch:?}", endpoint.id()));
        self.observer.booted(self.now, node, &*endpoint);
        self.nodes[node].process = Some(Box::new(Process::new(endpoint, clock)));
        self.give(node, Deferred::Interfaces);
    }

    /// Ends a node's process.
    pub fn kill(&mut self, node: usize, death: Death) {
        if let Some(process) = self.nodes[node].process.take() {
            self.bury(node, process, death);
        }
    }

    /// Lets a node's process die after this many more outputs.
    pub fn light_fuse(&mut self, node: usize, outputs: u32) {
        if let Some(process) = &mut self.nodes[node].process {
            process.fuse = Some(outputs);
        }
    }

    /// Stops a node's process, as SIGSTOP does.
    pub fn pause(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.paused = true;
            self.observer.stopped(self.now, node, true);
        }
    }

    /// Lets a stopped process go on; `disturbed` if its driver notices that the host slept.
    pub fn resume(&mut self, node: usize, disturbed: bool) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.paused {
            return;
        }
        process.paused = false;
        self.observer.stopped(self.now, node, false);
        let waiting = process.take_waiting();
        if disturbed {
            self.give(node, Deferred::Disturbed);
        }
        // Whether the timer or the sockets come first is the runtime's whim.
        let timer_first = self.random.below(2) == 0;
        if timer_first {
            self.give(node, Deferred::Wake);
        }
        for deferred in waiting {
            self.give(node, deferred);
        }
        if !timer_first {
            self.give(node, Deferred::Wake);
        }
    }

    /// The application of a node wants something.
    pub fn command(&mut self, node: usize, command: Command) {
        self.give(node, Deferred::Command(Box::new(command)));
    }

    /// A lit fuse goes out.
    pub fn disarm(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.fuse = None;
        }
    }

    /// The run's seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The nodes of a host learn of its interfaces soon.
    pub fn interfaces_changed(&mut self, host: HostId) {
        self.agenda.enter(self.now + NETLINK, Happening::Interfaces(host));
    }

    /// An address of a host is gone: its streams stall.
    pub fn strand_streams(&mut self, host: HostId) {
        self.streams.strand(host);
    }

    /// The segments that a node's host is plugged into.
    #[must_use]
    pub fn homes_of(&self, node: usize) -> Vec<SegmentId> {
        let host = &self.network.hosts[self.nodes[node].host.place()];
        host.nics.iter().filter_map(|nic| nic.segment).collect()
    }

    /// The nodes of a host.
    #[must_use]
    pub fn nodes_of(&self, host: HostId) -> core::ops::Range<usize> {
        let first = self.first_of_host[host.place()];
        first..first + usize::from(self.network.hosts[host.place()].nodes)
    }

    /// A node's endpoint, if its process lives.
    #[must_use]
    pub fn endpoint(&self, node: usize) -> Option<&dyn Endpoint> {
        self.nodes[node].process.as_ref().map(|process| &*process.endpoint)
    }

    /// Payload datagrams of casts that all nodes sent.
    #[must_use]
    pub fn cast_datagrams(&self) -> u64 {
        let live = self.nodes.iter().filter_map(|slot| slot.process.as_ref());
        self.cast_datagrams + live.map(|process| process.endpoint.stats().cast_datagrams).sum::<u64>()
    }

    /// How many signatures were really checked.
    #[must_use]
    pub fn signatures_checked(&self) -> u64 {
        self.verifier.checked()
    }

    fn wake(&mut self, owner: Owner) {
        let now = self.now;
        let slot = &mut self.nodes[owner.node];
        let Some(process) = slot.process.as_mut().filter(|process| slot.run == owner.run && process.armed == Some(now))
        else {
            return;
        };
        process.armed = None;
        // A stopped process is woken when it goes on.
        if process.paused {
            return;
        }
        let due = process.endpoint.next_wake().is_some_and(|wake| wake.at <= process.clock.local(now));
        if due {
            self.give(owner.node, Deferred::Wake);
        } else {
            self.arm(owner.node);
        }
    }

    /// Hands something other than a datagram on its way to a process.
    fn give(&mut self, node: usize, what: Deferred) {
        if let Deferred::Datagram { interface, bent, frame } = what {
            return self.hear(node, interface, bent, &frame);
        }
        let Some(mut process) = self.nodes[node].process.take() else { return };
        if process.paused {
            process.defer(what);
            self.nodes[node].process = Some(process);
            return;
        }
        let now = process.clock.local(self.now);
        self.trace.mark(self.now, what.mark(), node, what.word());
        let is_kept = matches!(what, Deferred::StateKept(_));
        match what {
            Deferred::Wake => {
                process.endpoint.handle(now, Input::Wake);
                self.watch_spin(node, &mut process);
            }
            Deferred::Interfaces => {
                let interfaces = self.network.hosts[self.nodes[node].host.place()].interfaces();
                process.endpoint.handle(now, Input::Interfaces(&interfaces));
            }
            Deferred::Disturbed => process.endpoint.handle(now, Input::Disturbed),
            Deferred::Unreachable(address) => process.endpoint.handle(now, Input::Unreachable(address)),
            Deferred::StateKept(version) => process.endpoint.handle(now, Input::StateKept { version }),
            Deferred::Scanned(scan, answers) => {
                self.observer.scanned(node, scan);
                process.endpoint.handle(now, Input::Scanned { scan, answers });
            }
            Deferred::Checked(check, holds) => process.endpoint.handle(now, Input::Checked { check, holds }),
            Deferred::Committed(commit, result) => process.endpoint.handle(now, Input::Committed { commit, result }),
            Deferred::Command(command) => {
                match &*command {
                    Command::SetState(..) => self.observer.changed(node),
                    // What the mesh itself says no application reads.
                    Command::Send(order) if is_own(&order.kind) => {}
                    Command::Send(order) => self.observer.ordered(self.now, node, order),
                    Command::Broadcast(order) => self.observer.announced(self.now, node, order),
                    Command::Raise(order) => self.observer.raising(self.now, node, order),
                    Command::Add(order) => self.observer.adding(self.now, node, order),
                    Command::Delete(order) => self.observer.deleting(node, order),
                    Command::Search(order) => {
                        let shown = process.endpoint.records(now);
                        self.observer.searching(self.now, node, (order, &shown));
                    }
                    Command::Acknowledge(_) | Command::Leave => {}
                }
                process.endpoint.handle(now, Input::Command(*command));
            }
            Deferred::News(News::Offered(stream, from)) => {
                process.endpoint.handle(now, Input::StreamOffered { stream, from });
            }
            Deferred::News(News::Opened(stream, (peer, purpose))) => {
                process.endpoint.handle(now, Input::StreamOpened { stream, peer, purpose });
            }
            Deferred::News(News::Failed((peer, purpose))) => {
                process.endpoint.handle(now, Input::StreamFailed { peer, purpose });
            }
            Deferred::News(News::Frame(stream, mut frame)) => {
                process.endpoint.handle(now, Input::StreamFrame { stream, frame: &mut frame });
            }
            Deferred::News(News::Ended(stream)) => process.endpoint.handle(now, Input::StreamEnded { stream }),
            Deferred::Datagram { .. } => unreachable!("handed on above"),
        }
        if is_kept {
            self.observer.kept(&*process.endpoint);
        }
        self.carry_out(node, process);
    }

    fn watch_spin(&mut self, node: usize, process: &mut Process) {
        let next = process.endpoint.next_wake();
        let now = process.clock.local(self.now);
        match next {
            Some(wake) if wake.at <= now => {
                process.spins += 1;
                let by = process::name_of(wake.by);
                self.observer.spun(self.now, node, process.spins, by);
            }
            Some(_) | None => process.spins = 0,
        }
    }

    /// Carries out what a process wishes, and puts it back where it lives.
    fn carry_out(&mut self, node: usize, mut process: Box<Process>) {
        while let Some(output) = process.endpoint.poll_output() {
            if let Some(left) = &mut process.fuse {
                if *left == 0 {
                    return self.bury(node, process, Death::Crash);
                }
                *left -= 1;
            }
            match output {
                Output::Transmit(transmit) => self.transmit(node, transmit),
                Output::Event(event) => self.report(node, &event),
                Output::Persist(what) => {
                    self.trace.mark(self.now, Mark::Kept, node, 0);
                    if self.nodes[node].disk.ask(what) {
                        let at = self.now + self.sync_time();
                        let owner = Owner { node, run: self.nodes[node].run };
                        self.agenda.enter(at, Happening::Keep(owner));
                    }
                }
                Output::Stream(StreamWish::Send { .. }) if !self.nodes[node].disk.has_run() => {}
                Output::Stream(wish) => self.wish_stream(node, wish),
                Output::Commit { commit, batch } => self.commit(node, commit, batch),
                Output::Check(job) => {
                    let slot = &mut self.nodes[node];
                    let owner = Owner { node, run: slot.run };
                    // One thread checks: what comes meanwhile waits.
                    let begins = slot.checks_until.max(self.now);
                    slot.checks_until = begins + CHECK * u32::try_from(job.ops.len()).unwrap_or(u32::MAX);
                    self.agenda.enter(slot.checks_until, Happening::Check(owner, job));
                }
                Output::Scan(job) => {
                    let shown = process.endpoint.records(process.clock.local(self.now));
                    self.observer.scanning(node, &job, &shown);
                    let owner = Owner { node, run: self.nodes[node].run };
                    self.agenda.enter(self.now + self.scan, Happening::Scan(owner, job));
                }
            }
        }
        let names = (process.endpoint.id(), process.endpoint.epoch());
        if process.names != names {
            process.names = names;
            self.observer.renamed(self.now, node, &*process.endpoint);
        }
        self.nodes[node].process = Some(process);
        self.arm(node);
    }

    /// A node's log is to be written; it is synced soon, with what comes until then.
    fn commit(&mut self, node: usize, commit: CommitId, batch: Batch) {
        self.trace.mark(self.now, Mark::Kept, node, commit.0);
        self.observer.committing(self.now, node, &batch);
        if self.nodes[node].disk.log.ask(commit, batch) {
            let run = self.nodes[node].run;
            let at = self.now + self.sync_time();
            self.agenda.enter(at, Happening::Sync(Owner { node, run }));
        }
    }

    fn scanned(&mut self, owner: Owner, job: &ScanJob) {
        let slot = &self.nodes[owner.node];
        if slot.run == owner.run && slot.process.is_some() {
            self.give(owner.node, Deferred::Scanned(job.scan, job.run()));
        }
    }

    fn checked(&mut self, owner: Owner, job: &CheckJob) {
        let slot = &self.nodes[owner.node];
        if slot.run == owner.run && slot.process.is_some() {
            let holds = job.run(&mut self.verifier);
            self.give(owner.node, Deferred::Checked(job.check, holds));
        }
    }

    fn sync_time(&mut self) -> Duration {
        let slow = if self.disks.below(SLOW_ONE_IN) == 0 { SLOW_SYNC } else { SYNC };
        SYNC_LEAST + self.disks.span(slow)
    }

    fn keep(&mut self, owner: Owner) {
        let slot = &mut self.nodes[owner.node];
        if slot.run != owner.run || slot.process.is_none() {
            return;
        }
        let kept = slot.disk.sync();
        if slot.disk.is_waiting() {
            self.agenda.enter(self.now + RETRY, Happening::Keep(owner));
        }
        if let Some(version) = kept {
            self.give(owner.node, Deferred::StateKept(version));
        }
    }

    fn sync(&mut self, owner: Owner) {
        let slot = &mut self.nodes[owner.node];
        if slot.run != owner.run || slot.process.is_none() {
            return;
        }
        let (answers, kept) = slot.disk.log.sync();
        self.observer.synced(self.now, owner.node, &kept);
        for (commit, result) in answers {
            self.give(owner.node, Deferred::Committed(commit, result));
        }
    }

    /// A node's process ends in order: what waits for its disk is written once more.
    pub fn close_disk(&mut self, node: usize) {
        self.nodes[node].disk.sync();
        let kept = self.nodes[node].disk.log.end();
        self.observer.synced(self.now, node, &kept);
    }

    fn transmit(&mut self, node: usize, transmit: Transmit) {
        // As the driver does: in a run that a crash could undo nothing is said.
        if !self.nodes[node].disk.has_run() {
            return self.observer.withheld(self.now, node);
        }
        let left = match &mut self.nodes[node].swallower {
            Some(swallower) => swallower.pass(transmit),
            None => Some(transmit),
        };
        let Some(transmit) = left else { return };
        self.trace.mark(self.now, Mark::Sent, node, digest(&transmit.bytes));
        if self.tap.is_some() {
            self.overhear(node, &transmit);
        }
        if self.trace.tells(Detail::Packets) {
            self.tell_packet(node, &transmit);
        }
        let slot = &mut self.nodes[node];
        let socket = Socket { host: slot.host, port: slot.port };
        let mut passages = std::mem::take(&mut self.passages);
        slot.datagrams += 1;
        let letter = Letter { origin: Origin::Node, sender: socket, bytes: transmit.bytes };
        slot.wire_bytes += self.network.send(self.now, letter, transmit.target, &mut passages);
        self.passages = passages;
        self.enter_passages();
    }

    /// Opens a datagram with the mesh's key and tells what it says.
    fn tell_packet(&mut self, node: usize, transmit: &Transmit) {
        let config = &self.nodes[node].config;
        let said = Header::decode(&transmit.bytes).and_then(|header| {
            let mut frame = transmit.bytes.clone();
            let key = GroupKey::new(&config.group_key()).session(header.tag);
            Ok(codec::decode(key.open(&header, &mut frame)?)?.messages)
        });
        let words = said.map_or_else(
            |reason| reason.to_string(),
            |messages| messages.iter().map(Message::name).collect::<Vec<_>>().join(" "),
        );
        let len = transmit.bytes.len();
        self.trace.tell(
            self.now,
            Detail::Packets,
            format_args!("{} says {words} to {:?}, {len} B", config.node_name, transmit.target),
        );
    }

    fn enter_passages(&mut self) {
        for (at, passage) in self.passages.drain(..) {
            self.agenda.enter(at, Happening::Pass(passage));
        }
    }

    fn report(&mut self, node: usize, event: &Event) {
        let (now, name) = (self.now, &self.nodes[node].config.node_name);
        self.trace.mark(now, Mark::Event, node, process::word_of(event));
        if let Event::Broadcast { from, kind, payload, path, .. } = event {
            let (number, len) = (number_of(payload), payload.len());
            let line = format_args!("{name} is told cast {number:?} of {from:?} by {path:?}: {kind:?}, {len} B");
            self.trace.tell(now, Detail::Events, line);
        } else if let Event::Message { from, kind, payload, path, .. } = event {
            let (number, len) = (number_of(payload), payload.len());
            let line = format_args!("{name} is given letter {number:?} of {from:?} by {path:?}: {kind:?}, {len} B");
            self.trace.tell(now, Detail::Events, line);
        } else if let Event::Alert { alert, from, payload, priority, late, repeated, .. } = event {
            let number = number_of(payload);
            let line = format_args!(
                "{name} is shown {alert:?} ({number:?}, {priority:?}) of {from:?}: late {late}, repeated {repeated}"
            );
            self.trace.tell(now, Detail::Events, line);
        } else {
            self.trace.tell(now, Detail::Events, format_args!("{name} learns {event:?}"));
        }
        self.observer.event(now, node, event);
    }

    /// Asks for a wake, if none is entered that comes early enough.
    fn arm(&mut self, node: usize) {
        let run = self.nodes[node].run;
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(wake) = process.endpoint.next_wake() else { return };
        let due = process.clock.moment(wake.at).max(self.now);
        if process.armed.is_some_and(|armed| armed <= due + LATENESS) || due == Moment::NEVER {
            return;
        }
        let at = due + self.random.span(LATENESS);
        process.armed = Some(at);
        self.agenda.enter(at, Happening::Wake(Owner { node, run }));
    }

    fn tell_interfaces(&mut self, host: HostId) {
        for node in self.nodes_of(host) {
            self.give(node, Deferred::Interfaces);
        }
    }

    fn bury(&mut self, node: usize, process: Box<Process>, death: Death) {
        self.cast_datagrams += process.endpoint.stats().cast_datagrams;
        drop(process);
        self.nodes[node].disk.cut(&mut self.disks);
        let kept = self.nodes[node].disk.log.cut(&mut self.disks);
        self.observer.synced(self.now, node, &kept);
        let owner = Owner { node, run: self.nodes[node].run };
        self.trace.mark(self.now, Mark::Death, node, death as u64);
        let (now, name) = (self.now, &self.nodes[node].config.node_name);
        self.trace.tell(now, Detail::Events, format_args!("{name} dies: {death:?}"));
        let mut outcome = Outcome::default();
        self.streams.owner_died(self.now, owner, death == Death::Crash, &mut outcome);
        self.observer.died(self.now, node, death);
        self.settle_streams(outcome);
    }
}

impl Slot {
    fn new(socket: Socket, config: Config, disk: Disk) -> Self {
        Self {
            host: socket.host,
            port: socket.port,
            config,
            disk,
            run: 0,
            checks_until: Moment::START,
            process: None,
            drift_ppm: 0,
            wall_offset_ms: 0,
            wire_bytes: 0,
            datagrams: 0,
            swallower: None,
        }
    }

    /// What its wall clock shows.
    #[must_use]
    pub fn wall(&self, now: Moment) -> WallTime {
        WallTime((WALL_START_MS + now.millis()).saturating_add_signed(self.wall_offset_ms))
    }
}

#[cfg(test)]
mod tests;

//! Decides what happens next in a running node: the one loop that waits, hands the core what happened, and carries out what it wants.
//!
//! The loop is the root future of a single-threaded runtime on a thread of its own. A datagram passes socket → loop → `Node::handle`
//! → loop → socket without a lock or a channel; disk, readers and user handlers are behind hand-overs that never make it wait.

mod alerts;
mod attention;
mod boot;
mod checker;
mod evidence;
mod intake;
mod keeper;
mod keeping;
mod logger;
mod names;
mod network;
mod orders;
mod registry;
mod saved;
mod search_times;
mod searches;
mod show;
mod strangers;
mod told;
mod turns;
pub(crate) mod urgency;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kodikon_core::effect::{
    Arrival, BroadcastOrder, Cast, Event as CoreEvent, Input, Output, Persist, Remembered, SendOrder, StreamWish,
    Target, Transmit,
};
use kodikon_core::ground::config::{Config, Security as CoreSecurity};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::alert::{AckOrder, AlertId, AlertOrder, Raised};
use kodikon_core::model::cast::CastId;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{Cursor, DeleteOrder, Filter, NewRecord, Page, Stored};
use kodikon_core::model::search::SearchOrder;
use kodikon_core::model::state::{NodeSnapshot, StateChange};
use kodikon_core::node::Node;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::api::{AlertRow, Security};
use crate::clock::{Clock, Deadline, Jump, JumpWatch, Reading, SystemClock};
use crate::doctor::Symptoms;
use crate::events::{EventLog, EventStream};
use crate::handlers::{Handler, HandlerCounts, InlineHandler};
use crate::interfaces::{Admission, InterfaceWatch};
use crate::mesh::{ADDS_WAITING, Board, COMPARING, Finding, Mesh, OwnState, Room, Shared, StartError, Waiting};
use crate::socket::{Discovery, Inbox, Ports, Streams, UnicastSockets};

use alerts::Followed;
pub(crate) use alerts::Receipts;
use attention::Attention;
pub(crate) use boot::{Home, Plan};
use checker::Checker;
pub(crate) use evidence::DriverCounts;
use evidence::Evidence;
pub(crate) use intake::OrderSender;
use intake::Orders;
use keeper::Keeper;
use keeping::Keeping;
use logger::Logger;
use names::{Answer, Names};
use registry::Storing;
pub(crate) use registry::{Added, Compared, Unless};
use searches::Searching;
use show::{Rest, Show};
use strangers::OtherPolicy;
use turns::Turn;
use urgency::Urgency;

/// Orders that wait for the loop; whoever has one more is told to slow down.
const ORDERS_MAX: usize = 1_024;
/// Orders carried out in one turn, so that a flood of them holds up no datagram for long.
const ORDERS_A_TURN: usize = 64;
/// Wakes served in one turn. A node that wants more at one moment would spin; the next turn goes on.
const WAKES_A_TURN: usize = 8;
/// Of a stream of sightings, portions come so close to each other. Meanwhile this loop lets others of the computer go first.
const BULK_LASTS: Duration = Duration::from_millis(100);
/// How long the goodbye may take: its last repeat is due after 30 ms, and a busy machine may be late.
const GOODBYE_WITHIN: Duration = Duration::from_millis(250);
/// The interfaces are known within a fraction of a millisecond; a kernel that takes longer does not hold up the start.
const INTERFACES_WITHIN: Duration = Duration::from_secs(1);
/// A discovery port that another program holds, or a watch that the kernel ended, is tried again this often.
const RETRY: Duration = Duration::from_secs(30);
/// The kernel is asked this often how much it dropped; that takes a few system calls.
const DROPS_EVERY: Duration = Duration::from_secs(10);

/// What an application wants of the loop.
#[derive(Debug)]
pub(crate) enum Order {
    /// Change the own state.
    SetState {
        /// How; checked.
        changes: Vec<StateChange>,
        /// The wall clock when it was asked for.
        wall: WallTime,
        /// Which of the application's changes this is.
        number: u64,
    },
    /// Say something to one node.
    Send {
        /// What and to whom; its ticket is given here.
        order: SendOrder,
        /// Who is told what became of it.
        waiting: Waiting,
    },
    /// Say something to all. The answer is its name, or nothing where too much waits.
    Broadcast {
        /// What; its ticket is given here.
        order: BroadcastOrder,
        /// Where to tell.
        answer: oneshot::Sender<Option<CastId>>,
    },
    /// Raise an alert.
    Raise {
        /// Which; its ticket is given here.
        order: AlertOrder,
        /// Where to tell what became of it.
        answer: oneshot::Sender<Raised>,
        /// Where to tell who has it.
        receipts: Receipts,
    },
    /// Tell all that a person has seen an alert.
    Acknowledge {
        /// Which; its ticket is given here.
        order: AckOrder,
        /// Where to tell what became of it.
        answer: oneshot::Sender<Raised>,
    },
    /// Find what is alike.
    Search {
        /// To what, and among what; its ticket is given here.
        order: Box<SearchOrder>,
        /// Where to tell what is found.
        finding: Finding,
    },
    /// Show what is known now.
    Refresh(oneshot::Sender<()>),
    /// Tell which alerts are active.
    Alerts(oneshot::Sender<Vec<AlertRow>>),
    Alert(AlertId, oneshot::Sender<Option<AlertRow>>),
    /// Add a sighting.
    Add {
        /// Which; checked.
        record: Box<NewRecord>,
        /// What leaves it as it is, so that nothing is added.
        unless: Unless,
        /// Where to tell what became of it.
        answer: oneshot::Sender<Added>,
    },
    /// Tell some of the sightings that are like a filter.
    Find {
        /// Which; checked.
        filter: Box<Filter>,
        /// Where to go on.
        cursor: Option<Cursor>,
        /// So many at most.
        most: usize,
        /// Where to tell.
        answer: oneshot::Sender<Page>,
    },
    /// Remove sightings.
    Delete {
        /// Which; its ticket is given here.
        order: DeleteOrder,
        /// Where to tell what became of it.
        answer: oneshot::Sender<Stored>,
    },
    /// Call a handler from now on.
    On(Handler),
    /// Call a handler on the loop from now on.
    OnInline(InlineHandler),
    /// Tell the own state when it is on disk as it is now, or later; nothing if that takes more than a second.
    Kept(oneshot::Sender<Option<NodeSnapshot>>),
    /// Tell who was here and is not now.
    Departed(oneshot::Sender<Vec<Remembered>>),
    /// Tell what is known of the network.
    Symptoms(oneshot::Sender<Symptoms>),
    /// Say goodbye and end.
    Leave,
}

/// The wall clock, for people.
pub(crate) fn wall_time(clock: &impl Clock) -> WallTime {
    // A clock before 1970 is wrong anyway, and shown as 1970.
    WallTime(Duration::try_from_secs_f64(clock.wall()).map_or(0, |since| since.as_millis() as u64))
}

/// What a node that has begun hands to whoever started it.
struct Begun {
    board: Arc<Board>,
    clock: SystemClock,
    orders: OrderSender,
    events: Arc<EventLog>,
    /// Everything from the first event on.
    watched: EventStream,
    security: Security,
    directory: Option<PathBuf>,
}

/// Starts a node on a thread of its own; with it come all its events, the first included.
pub(crate) async fn start(plan: Plan) -> Result<(Mesh, EventStream), StartError> {
    let (ready, begun) = oneshot::channel();
    let (end, ended) = watch::channel(false);
    let max_hops = plan.config.max_hops;
    let life = move || {
        // A bug of ours must not leave the application with a node that looks alive.
        if catch_unwind(AssertUnwindSafe(|| live(plan, ready))).is_err() {
            tracing::error!("the node's loop panicked and has ended; please report this");
        }
        end.send_replace(true);
    };
    let thread = std::thread::Builder::new()
        .name("kodikon".into())
        .spawn(life)
        .map_err(|source| StartError::System { what: "a thread", source })?;
    let begun: Begun = begun.await.map_err(|_| StartError::Ended)??;
    let mesh = Mesh::new(Shared {
        board: begun.board,
        clock: begun.clock,
        orders: begun.orders,
        events: begun.events,
        handlers: Arc::new(HandlerCounts::default()),
        own: Mutex::new(OwnState::default()),
        room: Room::default(),
        adds: Semaphore::new(ADDS_WAITING),
        comparing: Semaphore::new(COMPARING),
        security: begun.security,
        max_hops,
        directory: begun.directory,
        ended,
        thread: Mutex::new(Some(thread)),
    });
    Ok((mesh, begun.watched))
}

fn live(plan: Plan, ready: oneshot::Sender<Result<Begun, StartError>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        // An error means that nobody waits for the node any more.
        Err(source) => return drop(ready.send(Err(StartError::System { what: "an event loop", source }))),
    };
    runtime.block_on(async {
        match Driver::boot(plan).await {
            Ok((mut driver, begun)) => {
                if ready.send(Ok(begun)).is_ok() {
                    driver.run().await;
                }
                driver.end();
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

/// One running node.
struct Driver {
    node: Node,
    clock: SystemClock,
    jumps: JumpWatch,
    deadline: Deadline,
    watch: Option<InterfaceWatch>,
    only: Vec<String>,
    /// Over which interfaces datagrams are taken.
    admission: Admission,
    /// Those of `only` that are not there, as told last.
    absent: Vec<String>,
    names: Names,
    discovery: Discovery,
    udp: UnicastSockets,
    streams: Streams,
    orders: Orders,
    /// No handle of this node is left, so no order will come.
    is_abandoned: bool,
    keeper: Keeper,
    logger: Logger,
    /// A new epoch or identity may not be on disk yet.
    is_run_unkept: bool,
    show: Show,
    evidence: Evidence,
    other_policy: OtherPolicy,
    facts: Facts,
    own_changes: u64,
    /// The last ticket given, and who waits for what becomes of which.
    tickets: u64,
    waiting: BTreeMap<Ticket, Waiting>,
    announcing: BTreeMap<Ticket, oneshot::Sender<Option<CastId>>>,
    /// Who waits until which version of the own state is on disk.
    keeping: Keeping,
    /// Who waits for what becomes of alerts.
    followed: Followed,
    searching: Searching,
    /// Checks the signatures of what pipes bring.
    checker: Checker,
    /// Who waits for what becomes of sightings.
    storing: Storing,
    addresses: Vec<SocketAddr>,
    /// When what could not be opened is tried again.
    retry_at: Instant,
    /// When the kernel is asked again how much it dropped.
    drops_at: Instant,
    leaving: Option<Instant>,
    attention: Attention,
    /// Turns so far, for whose turn it is to be looked at first.
    turns: u64,
    /// Until when what comes in bulk counts as all there is to do.
    bulk_until: Instant,
}

/// What does not change while a node runs.
struct Facts {
    name: String,
    port: u16,
    discovery_port: u16,
    max_peers: usize,
    max_peers_origin: Option<String>,
    is_keyed: bool,
}

impl Facts {
    fn new(config: &Config, port: u16, max_peers_origin: Option<String>) -> Self {
        Self {
            name: config.node_name.clone(),
            port,
            discovery_port: config.discovery_port,
            max_peers: config.max_peers,
            max_peers_origin,
            is_keyed: matches!(config.security, CoreSecurity::Key(_)),
        }
    }
}

impl Driver {
    async fn boot(plan: Plan) -> Result<(Self, Begun), StartError> {
        let clock = SystemClock::new();
        let mut config = plan.config;
        let mut stores = boot::open_stores(&plan.home)?;
        let ports = Ports::open(config.discovery_port)?;
        let discovery = Discovery::open(config.discovery_port);
        discovery.problems().for_each(|problem| tracing::warn!(%problem, "discovery is limited"));
        let (peers, names) = Names::split(&plan.peers);
        config.peers = peers;
        let facts = Facts::new(&config, ports.port, plan.max_peers_origin);
        let other_policy = OtherPolicy::new(&config);
        let system = |what| move |source| StartError::System { what, source };
        let deadline = Deadline::new(clock).map_err(system("a timer"))?;
        let watch = InterfaceWatch::open().map_err(system("a view of the network interfaces"))?;
        let node = boot::make_node(&clock, &mut stores, config, ports.port)?;
        let boot::Stores { files, log, directory } = stores;
        let (keeper, logger, searching) = boot::begin_threads(files, log).map_err(system("a thread"))?;
        let (sender, orders) = intake::orders();
        let board = Arc::new(Board::default());
        let show = Show::new(Arc::clone(&board));
        let begun = Begun {
            board,
            clock,
            orders: sender,
            events: show.events(),
            watched: show.watched(clock),
            security: if facts.is_keyed { Security::Psk } else { Security::Open },
            directory,
        };
        let mut driver = Self {
            node,
            clock,
            jumps: JumpWatch::default(),
            deadline,
            watch: Some(watch),
            admission: Admission::new(&plan.interfaces, &[], &[]),
            only: plan.interfaces,
            absent: Vec::new(),
            names,
            discovery,
            udp: ports.udp,
            streams: Streams::new(ports.tcp),
            orders,
            is_abandoned: false,
            keeper,
            logger,
            is_run_unkept: false,
            show,
            evidence: Evidence::default(),
            other_policy,
            facts,
            own_changes: 0,
            tickets: 0,
            waiting: BTreeMap::new(),
            announcing: BTreeMap::new(),
            keeping: Keeping::default(),
            followed: Followed::default(),
            searching,
            checker: Checker::spawn().map_err(system("a thread"))?,
            storing: Storing::default(),
            addresses: Vec::new(),
            retry_at: Instant::from_start(clock.now()) + RETRY,
            drops_at: Instant::ZERO,
            leaving: None,
            attention: Attention::new(),
            turns: 0,
            bulk_until: Instant::ZERO,
        };
        driver.begin(plan.state).await.map(|()| (driver, begun))
    }

    /// The first words: the interfaces, then the state to publish.
    async fn begin(&mut self, state: Vec<StateChange>) -> Result<(), StartError> {
        let watch = self.watch.as_mut().expect("it was just opened");
        let interfaces = match tokio::time::timeout(INTERFACES_WITHIN, watch.changed()).await {
            Ok(Ok(interfaces)) => interfaces,
            Ok(Err(source)) => return Err(StartError::System { what: "a view of the network interfaces", source }),
            Err(_) => Vec::new(),
        };
        let now = self.now();
        self.follow_interfaces(now, interfaces);
        let held = self.node.state_of(&self.node.id()).unwrap_or_default();
        let is_new = |change: &StateChange| held.values.get(&change.key) != change.json.as_ref();
        let changes: Vec<StateChange> = state.into_iter().filter(is_new).collect();
        if !changes.is_empty() {
            held.changed_by(&changes).map_err(crate::mesh::MeshError::from)?;
            self.set_state(now, changes, wall_time(&self.clock));
        }
        self.settle(now);
        tracing::info!(name = %self.node.name(), id = %self.node.id(), port = self.facts.port, "node started");
        Ok(())
    }

    async fn run(&mut self) {
        let mut inbox = Inbox::new();
        let mut urgency = Urgency::default();
        let mut now = self.now();
        while !self.is_over() {
            urgency.set(now >= self.bulk_until);
            if let Err(error) = self.set_deadline(now) {
                return tracing::error!(%error, "no timer: the node ends");
            }
            let turn = self.next_turn().await;
            self.storing.begin_turn();
            let reading = self.clock.reading();
            now = Instant::from_start(self.clock.at(reading));
            self.watch_clocks(now, reading);
            if let Err(error) = self.take(now, turn, &mut inbox) {
                return tracing::error!(%error, "the node ends");
            }
            self.speak(now);
            // What a handler on the loop says leaves at once, and not after all has been looked at again.
            if let Some(order) = self.orders.waiting() {
                now = self.now();
                self.obey_all(now, order);
                self.speak(now);
            }
            self.settle(now);
        }
    }

    fn take(&mut self, now: Instant, turn: Turn, inbox: &mut Inbox) -> io::Result<()> {
        match turn {
            Turn::Unicast(family, ready) => {
                ready?;
                if let Err(error) = self.udp.receive(family, inbox) {
                    tracing::debug!(?family, %error, "receiving");
                }
                // What the application wanted before comes first: a handler hears the answer to what was said after it was set.
                if let Some(order) = self.orders.waiting() {
                    self.obey_all(now, order);
                }
                for (arrival, bytes) in inbox.datagrams() {
                    if !self.admits(&arrival) {
                        continue;
                    }
                    self.node.handle(now, Input::Datagram(arrival, bytes));
                    self.carry_out();
                }
                self.take_unreachable(now);
            }
            Turn::Discovery(family, ready) => {
                ready?;
                if let Err(error) = self.discovery.receive(family, inbox) {
                    tracing::debug!(?family, %error, "receiving");
                }
                for (arrival, bytes) in inbox.datagrams() {
                    if self.admits(&arrival) {
                        self.take_discovery(now, arrival, bytes);
                    }
                }
            }
            Turn::Interfaces(Ok(interfaces)) => self.follow_interfaces(now, interfaces),
            Turn::Interfaces(Err(error)) => {
                tracing::warn!(%error, "interface changes are not seen; tried again soon");
                self.watch = None;
            }
            Turn::Stream(event) => self.take_streams(now, event),
            Turn::Name(answer) => self.take_name(now, answer),
            Turn::Committed(commit, result) => {
                self.node.handle(now, Input::Committed { commit, result });
                self.carry_out();
            }
            Turn::Scanned(scan, answers) => self.take_scanned(now, scan, answers),
            Turn::Checked(check, holds) => {
                self.bulk_until = now + BULK_LASTS;
                self.node.handle(now, Input::Checked { check, holds });
                self.carry_out();
            }
            Turn::StateKept(version) => self.take_kept(now, version),
            Turn::Order(None) => {
                self.is_abandoned = true;
                self.leave(now);
            }
            Turn::Order(Some(order)) => self.obey_all(now, order),
            Turn::Deadline(reached) => reached?,
        }
        Ok(())
    }

    /// Tells the core before anything else if the machine slept or its clock was set: what was sent before may come again.
    fn watch_clocks(&mut self, now: Instant, reading: Reading) {
        let Some(jump) = self.jumps.observe(reading) else { return };
        match jump {
            Jump::Suspended(slept) => tracing::info!(?slept, "the machine slept"),
            Jump::WallStepped(seconds) => tracing::info!(seconds, "the wall clock was set"),
        }
        self.evidence.counts.disturbances += 1;
        self.node.handle(now, Input::Disturbed);
        self.carry_out();
    }

    /// Whether a datagram came over an interface that is used; one that did not is counted.
    fn admits(&mut self, arrival: &Arrival) -> bool {
        let admits = self.admission.hears(arrival);
        self.evidence.counts.elsewhere += u64::from(!admits);
        admits
    }

    fn take_discovery(&mut self, now: Instant, arrival: Arrival, bytes: &mut [u8]) {
        let before = self.node.stats().datagrams_received;
        let copy = self.other_policy.copy(now, bytes);
        self.node.handle(now, Input::Datagram(arrival, bytes));
        let is_member = self.node.stats().datagrams_received > before;
        if let Some(copy) = copy.filter(|_| !is_member) {
            self.other_policy.look(now, copy);
        }
        if is_member && arrival.cast != Cast::Unicast && !self.is_own(arrival.from) {
            self.evidence.note_heard(arrival);
        }
        self.carry_out();
    }

    /// Whether this is an address of ours: what we send to all comes back to us.
    fn is_own(&self, address: SocketAddr) -> bool {
        let mut own = self.evidence.interfaces.iter().flat_map(|interface| &interface.addresses);
        address.port() == self.facts.port && own.any(|own| own.address == address.ip())
    }

    fn take_unreachable(&mut self, now: Instant) {
        while let Some(address) = self.udp.take_unreachable() {
            self.evidence.counts.unreachable += 1;
            self.node.handle(now, Input::Unreachable(address));
            self.carry_out();
        }
    }

    /// A name of a configured peer leads somewhere: what waited for that leaves now.
    fn take_name(&mut self, now: Instant, answer: Answer) {
        let Some((bytes, addresses)) = self.names.take(now, answer) else { return };
        if self.keeper.has_kept_run() {
            for address in addresses {
                self.udp.send(Target::Address(*address, None), &bytes);
            }
        }
    }

    /// Carries out all that the core wishes.
    fn carry_out(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Event(event) => self.hear(event),
                Output::Persist(what) => {
                    self.is_run_unkept |= matches!(what, Persist::EpochCounter(_) | Persist::Identity(_));
                    self.keeper.keep(what);
                }
                Output::Stream(StreamWish::Send { .. }) if !self.may_speak() => self.evidence.counts.unkept += 1,
                Output::Stream(wish) => self.streams.wish(wish),
                Output::Commit { commit, batch } => self.logger.commit(commit, batch),
                Output::Scan(job) => self.searching.scan(job),
                Output::Check(job) => self.checker.order(job),
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        if !self.may_speak() {
            self.evidence.counts.unkept += 1;
            return;
        }
        self.evidence.note_sent(transmit.target);
        if let Target::Address(to, _) = transmit.target
            && let Some(addresses) = self.names.lead(to, &transmit.bytes)
        {
            let peers = &self.show.view().peers;
            let is_met =
                |to: &SocketAddr| peers.iter().any(|peer| peer.liveness.is_present() && peer.address == Some(*to));
            for address in addresses.iter().filter(|address| !is_met(address)) {
                self.udp.send(Target::Address(*address, None), &transmit.bytes);
            }
            return;
        }
        self.udp.send(transmit.target, &transmit.bytes);
    }

    /// Whether the run that the core is in is on disk. What is said before that is dropped: loss is nothing new to the mesh, and
    /// the loop waits for no disk.
    fn may_speak(&mut self) -> bool {
        self.is_run_unkept = self.is_run_unkept && !self.keeper.has_kept_run();
        !self.is_run_unkept
    }

    fn hear(&mut self, event: CoreEvent) {
        if let CoreEvent::Settled { ticket, outcome, .. } = event {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                waiting.settle(outcome);
            }
            return;
        }
        if let CoreEvent::Announced { ticket, number } = event {
            if let Some(answer) = self.announcing.remove(&ticket) {
                let (origin, epoch) = (self.node.id(), self.node.epoch());
                _ = answer.send(number.map(|number| CastId { origin, epoch, number }));
            }
            return;
        }
        if let CoreEvent::Found { ticket, found } = &event {
            return self.tell_found(self.now(), *ticket, found);
        }
        if let CoreEvent::Searched { ticket, outcome } = &event {
            self.end_search(self.now(), *ticket, outcome);
        }
        let now = || Instant::from_start(self.clock.now());
        // The clock is asked for those alone whom it concerns.
        let is_stored = matches!(event, CoreEvent::Stored { .. });
        if is_stored || matches!(event, CoreEvent::Raised { .. }) {
            self.show.note_own();
        }
        if is_stored && self.storing.hear(now(), &event, &self.node) {
            return;
        }
        if self.followed.hear(now, &event, &self.node, self.show.view()) {
            return;
        }
        self.evidence.note_event(&event);
        self.show.push(event);
    }

    /// Sends what is queued, shows what has changed and tells what has happened.
    fn speak(&mut self, now: Instant) {
        self.udp.flush();
        if self.show.is_due(now, &self.node) {
            self.refresh(now);
        } else if self.show.has_news() {
            self.show.tell(now, self.clock.wall());
        }
    }

    /// After each turn, and after what had to leave has left: serves wakes that are due.
    fn settle(&mut self, now: Instant) {
        for _ in 0..WAKES_A_TURN {
            if self.node.next_wake().is_none_or(|wake| wake.at > now) {
                break;
            }
            self.node.handle(now, Input::Wake);
            self.carry_out();
        }
        if now >= self.retry_at {
            self.retry(now);
        }
        self.names.on_wake(now);
        self.show.on_wake(now);
        self.speak(now);
        self.keeping.answer(now, self.node.kept_state());
    }

    /// Tries again what could not be opened.
    fn retry(&mut self, now: Instant) {
        self.retry_at = now + RETRY;
        if self.watch.is_none() {
            self.watch = InterfaceWatch::open().ok();
        }
        if self.discovery.problems().next().is_some() && self.discovery.retry() {
            tracing::info!("the discovery port is free now, and ours too");
            let present: Vec<_> = self.evidence.interfaces.iter().map(|interface| interface.index).collect();
            self.discovery.follow(&self.evidence.choice.usable, &present);
        }
    }

    fn refresh(&mut self, now: Instant) {
        self.evidence.note_strangers(now, self.node.stats());
        let counts = &mut self.evidence.counts;
        if now >= self.drops_at {
            self.drops_at = now + DROPS_EVERY;
            let drops = evidence::reports(&self.discovery, &self.udp).into_iter().filter_map(|report| report.dropped);
            counts.kernel_drops = drops.map(u64::from).sum();
        }
        counts.sends = self.udp.stats();
        counts.streams = self.streams.stats();
        counts.streams_open = self.streams.len() as u64;
        counts.store_failures = self.keeper.failures();
        counts.events = self.show.told();
        counts.malformed = self.show.malformed();
        let rest = Rest {
            counts: *counts,
            own_changes: self.own_changes,
            addresses: &self.addresses,
            interfaces: &self.evidence.interfaces,
        };
        self.show.refresh(now, self.clock.wall(), &mut self.node, rest);
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.clock.now())
    }

    /// Wakes the loop when the core, the board or a retry wants it.
    fn set_deadline(&mut self, now: Instant) -> io::Result<()> {
        let wishes = [
            self.node.next_wake().map(|wake| wake.at),
            self.show.next_wake(),
            self.names.next_wake(),
            self.keeping.next_wake(),
            self.needs_retry().then_some(self.retry_at),
            self.leaving.map(|since| since + GOODBYE_WITHIN),
        ];
        let next = wishes.into_iter().flatten().min();
        let since_start = |at: Instant| Duration::from_nanos(at.as_nanos());
        self.deadline.set(since_start(now), next.map(since_start))
    }

    fn needs_retry(&self) -> bool {
        self.watch.is_none() || self.discovery.problems().next().is_some()
    }

    /// Whether the goodbye has been said, or has had its time.
    fn is_over(&self) -> bool {
        self.leaving.is_some_and(|since| self.node.next_wake().is_none() || self.now() >= since + GOODBYE_WITHIN)
    }

    /// Leaves everything in order: the last view, and all on disk.
    fn end(&mut self) {
        self.udp.flush();
        self.refresh(self.now());
        self.show.end();
        self.keeper.close();
        self.logger.close();
        self.searching.close();
        self.checker.close();
        tracing::info!("node ended");
    }
}

#[cfg(test)]
mod tests;

//! Decides what can happen to a node and what it can wish for: inputs, outputs, commands and events, here only.

pub mod check;
pub mod context;
pub mod log;
pub mod outbox;
pub mod scan;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::effect::check::{CheckId, CheckJob};
use crate::effect::log::{Batch, CommitId, Committed};
use crate::effect::scan::{Nearest, ScanId, ScanJob};
use crate::ground::excess::Excesses;
use crate::ground::id::{Epoch, InterfaceIndex, Life, NodeId, StreamId};
use crate::ground::time::{Duration, Instant, WallTime};
use crate::model::alert::{AckOrder, AlertId, AlertOrder, Holders, Raised};
use crate::model::letter::{Outcome, Priority, Ticket};
use crate::model::member::Liveness;
use crate::model::op::SignedOp;
use crate::model::record::{DeleteOrder, RecordOrder, RecordView, Stored};
use crate::model::roster::DirectoryEntry;
use crate::model::search::{Found, SearchOrder, Searched, Unsearched};
use crate::model::state::{NodeSnapshot, StateChange};

/// How a datagram was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cast {
    /// To this node's own port.
    Unicast,
    /// To 239.255.107.100.
    Multicast4,
    /// To ff02::6b64.
    Multicast6,
    /// To the directed broadcast address of an interface.
    Broadcast,
}

impl Cast {
    /// The three ways to reach a whole segment, best first: multicast wakes only members, v4 works on more old switches.
    pub const GROUPS: [Self; 3] = [Self::Multicast4, Self::Multicast6, Self::Broadcast];

    /// Its bit in a beacon's `heard`; 0 for unicast.
    #[must_use]
    pub fn bit(self) -> u8 {
        match self {
            Self::Unicast => 0,
            Self::Multicast4 => 1,
            Self::Multicast6 => 2,
            Self::Broadcast => 4,
        }
    }
}

/// What kind of network an interface leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Medium {
    /// Ethernet and the like.
    Wired,
    /// Wi-Fi.
    Wireless,
    /// This host alone.
    Loopback,
    /// Bridges of containers and virtual machines: used, but their addresses are not announced.
    Virtual,
}

/// A network interface as the host has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: InterfaceIndex,
    /// The kernel's name.
    pub name: String,
    /// Bytes of an IP packet at most.
    pub mtu: u32,
    /// Whether it is up and has a carrier.
    pub carrier: bool,
    /// What it leads to.
    pub medium: Medium,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
}

impl Interface {
    /// Whether an address is its own.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == ip)
    }
}

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
    /// Its network's broadcast address, where it has one.
    pub broadcast: Option<Ipv4Addr>,
}

/// How a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Source address: a claim until it is proven.
    pub from: SocketAddr,
    /// Over which interface.
    pub interface: InterfaceIndex,
    /// To which kind of address.
    pub cast: Cast,
}

/// What can happen to a node.
#[derive(Debug)]
pub enum Input<'a> {
    /// The time of `next_wake` has come.
    Wake,
    /// The host's interfaces, at start and after each change.
    Interfaces(&'a [Interface]),
    /// A datagram arrived. It is opened in place.
    Datagram(Arrival, &'a mut [u8]),
    /// ICMP says that nobody listens at this address.
    Unreachable(SocketAddr),
    /// Somebody opened a stream to us.
    StreamOffered {
        /// Its number.
        stream: StreamId,
        /// From where.
        from: SocketAddr,
    },
    /// A stream that we asked for stands.
    StreamOpened {
        /// Its number.
        stream: StreamId,
        /// To whom we had asked for it.
        peer: NodeId,
        /// What for.
        purpose: StreamUse,
    },
    /// A stream that we asked for could not be had.
    StreamFailed {
        /// To whom.
        peer: NodeId,
        /// What for.
        purpose: StreamUse,
    },
    /// A whole frame arrived on a stream.
    StreamFrame {
        /// Its number.
        stream: StreamId,
        /// The frame; opened in place.
        frame: &'a mut [u8],
    },
    /// The other side, or its kernel, ended a stream.
    StreamEnded {
        /// Its number.
        stream: StreamId,
    },
    /// The host slept or its clock jumped: frames sent before may have been copied or repeated.
    Disturbed,
    /// The log's store has done what [`Output::Commit`] asked for, or could not. Answers come in the order of the questions.
    Committed {
        /// Which transaction.
        commit: CommitId,
        /// How it ended.
        result: Committed,
    },
    /// The embeddings were scanned as [`Output::Scan`] asked for.
    Scanned {
        /// Which scan.
        scan: ScanId,
        /// The answers, in the order of its questions.
        answers: Vec<Nearest>,
    },
    /// The signatures were checked as [`Output::Check`] asked for.
    Checked {
        /// Which check.
        check: CheckId,
        /// Whether each holds, in their order.
        holds: Vec<bool>,
    },
    /// The own state of this version is on disk, as [`Persist::State`] asked; where the store keeps nothing beyond this process,
    /// it is in the store. Until then nobody is told of it. A disk that fails is tried again and answers when it recovers.
    StateKept {
        /// Which version.
        version: u64,
    },
    /// The application wants something.
    Command(Command),
}

/// What an application can want.
#[derive(Debug, Clone)]
pub enum Command {
    /// Change the own state; check with [`NodeSnapshot::changed_by`] first, or it is ignored.
    SetState(Vec<StateChange>, WallTime),
    /// Say something to one node; settled by [`Event::Settled`].
    Send(SendOrder),
    /// Say something to all; numbered in [`Event::Announced`].
    Broadcast(BroadcastOrder),
    /// Tell an alert to all who are here, or will be while it is active; answered by [`Event::Raised`].
    Raise(AlertOrder),
    /// Tell all that a person has seen an alert; answered by [`Event::Raised`].
    Acknowledge(AckOrder),
    /// Add a sighting, or update one of this node's; answered by [`Event::Stored`].
    Add(RecordOrder),
    /// Delete sightings of something; answered by [`Event::Stored`].
    Delete(DeleteOrder),
    /// Find the records whose embeddings are nearest; answered by [`Event::Searched`].
    Search(SearchOrder),
    /// Say goodbye. The node is silent afterwards, once its outputs are drained and its wakes have passed.
    Leave,
}

/// What is to be said to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendOrder {
    /// Names it in [`Event::Settled`].
    pub ticket: Ticket,
    /// To whom.
    pub to: NodeId,
    /// The type of the message: empty for the seed's `ROUTE_BROADCAST`, else a name of the application's own.
    pub kind: String,
    /// JSON text, at most [`crate::ground::config::MAX_PAYLOAD`]; the caller checked it.
    pub payload: Vec<u8>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may take; `None`: as its priority says.
    pub timeout: Option<Duration>,
}

/// What is to be said to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastOrder {
    /// Names it in [`Event::Announced`].
    pub ticket: Ticket,
    /// The type of the message, as in [`SendOrder`].
    pub kind: String,
    /// JSON text, at most [`crate::ground::config::MAX_PAYLOAD`]; the caller checked it.
    pub payload: Vec<u8>,
    /// How urgent it is. What is low is neither acknowledged nor repeated.
    pub priority: Priority,
}

/// Which wish of the node a wake serves; the simulator's trace and the logs show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeBy {
    /// HELLO bursts and beacons.
    Discovery,
    /// Rows that leave the roster, cards to renew.
    Membership,
    /// Heartbeats, turns, probes and verdicts.
    Liveness,
    /// Digests, pulls and pipes.
    Replication,
    /// Links to advertise, segments to name, peers without a way.
    Routing,
    /// Letters that wait to be taken, acknowledged or given up.
    Messages,
    /// Casts to give, to answer, or to give up.
    Broadcasts,
    /// Alerts whose time is over, receipts to tell, and who has not told its own.
    Alerts,
    /// Searches that have waited long enough.
    Searches,
    /// Datagrams that wait for others to share a frame, and repeated goodbyes.
    Outbound,
}

/// When to call again with [`Input::Wake`], and who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// When.
    pub at: Instant,
    /// Who asked.
    pub by: WakeBy,
}

/// What a node wishes to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Tell the application.
    Event(Event),
    /// Keep something on disk.
    Persist(Persist),
    /// Open, write or close a stream.
    Stream(StreamWish),
    /// Change the log's store in one transaction; answered by [`Input::Committed`].
    Commit {
        /// Which transaction.
        commit: CommitId,
        /// What it changes.
        batch: Batch,
    },
    /// Scan embeddings beside the loop; answered by [`Input::Scanned`]. One scan at a time.
    Scan(ScanJob),
    /// Check signatures beside the loop; answered by [`Input::Checked`]. Some at a time, answered in the order of the questions.
    Check(CheckJob),
}

/// A sealed datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub target: Target,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To one address. The interface is needed for link-local IPv6 and chosen by the kernel otherwise.
    Address(SocketAddr, Option<InterfaceIndex>),
    /// To a whole segment: the group, or the directed broadcast of every network of the interface.
    Segment(InterfaceIndex, Cast),
}

/// What a node wants kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persist {
    /// The own state with its version; answered by [`Input::StateKept`]. One waits at a time, but for the last before a goodbye.
    State(NodeSnapshot),
    /// The name's rank, so that its first holder stays its first holder.
    Rank(Claim),
    /// The epoch counter must be at least this before the next start.
    EpochCounter(u32),
    /// This identity was cloned and the other keeps it: this is our new one, from now on and for every later start.
    Identity(NewSecret),
    /// The directory and where its nodes were last reached.
    Directory(Vec<Remembered>),
}

/// A claim to a name that stands. It says nothing for another name of its node, nor for another identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub id: NodeId,
    /// To which name.
    pub name: String,
    /// 1 shows the bare name, 2 `name-2`.
    pub rank: u16,
}

/// The secret of a new identity.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret(pub [u8; 32]);

impl core::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("NewSecret(…)")
    }
}

/// A directory entry as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Who.
    pub id: NodeId,
    /// Its newest run.
    pub epoch: Epoch,
    /// Its newest life in that run.
    pub life: Life,
    /// What people called it.
    pub name: String,
    /// When it was last heard, by our wall clock.
    pub wall: WallTime,
    /// Whether it said goodbye.
    pub left: bool,
    /// Where it was last reached.
    pub addresses: Vec<SocketAddr>,
    /// Its card, signed.
    pub signed: Option<SignedOp>,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamUse {
    /// To end when its process does.
    Canary,
    /// To bring much of the log.
    Bulk,
}

/// What a node wants of streams (TCP in the driver).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamWish {
    /// Connect to a peer; answered by `StreamOpened` or `StreamFailed`.
    Connect {
        /// To whom.
        peer: NodeId,
        /// What for.
        purpose: StreamUse,
        /// Where.
        to: SocketAddr,
        /// Over which interface, for link-local IPv6.
        interface: Option<InterfaceIndex>,
    },
    /// Send a frame.
    Send {
        /// On which stream.
        stream: StreamId,
        /// The sealed frame.
        bytes: Vec<u8>,
    },
    /// End a stream; no `StreamEnded` follows.
    Close {
        /// Which.
        stream: StreamId,
    },
}

/// What the application learns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is there: met for the first time, back after a failure, or restarted.
    PeerUp {
        /// Who.
        peer: NodeId,
        /// What people call it.
        name: String,
        /// Its run.
        epoch: Epoch,
        /// Its life.
        life: Life,
    },
    /// A peer did not answer when it was due.
    PeerSuspect {
        /// Who.
        peer: NodeId,
        /// Its name.
        name: String,
        /// Who noticed.
        witnesses: Vec<NodeId>,
        /// Why.
        reason: &'static str,
    },
    /// A peer is held dead.
    PeerFailed {
        /// Who.
        peer: NodeId,
        /// Its name.
        name: String,
        /// Who says so.
        witnesses: Vec<NodeId>,
        /// Why.
        reason: &'static str,
    },
    /// A peer said goodbye.
    PeerLeft {
        /// Who.
        peer: NodeId,
        /// Its name.
        name: String,
    },
    /// A peer's state changed.
    State {
        /// Whose.
        node: NodeId,
        /// Its name.
        name: String,
        /// Its state now.
        snapshot: NodeSnapshot,
    },
    /// Nobody is heard any more (`true`), or somebody again (`false`).
    Isolated(bool),
    /// Another node bears this node's name; it is shown with this rank from now on.
    NameClash {
        /// The other.
        other: NodeId,
        /// Our rank now: 1 is the bare name.
        rank: u16,
    },
    /// Two nodes run with this identity; this one takes a new one (`true`) or keeps it (`false`).
    Cloned {
        /// Whether we make room.
        rekeyed: bool,
    },
    /// A copy of this node has made room, and others hold its run for this node's: it goes on with a higher epoch.
    Overtaken {
        /// The epoch now.
        epoch: Epoch,
    },
    /// This node's disk was restored from a backup: it goes on with a higher epoch.
    Restored {
        /// The epoch now.
        epoch: Epoch,
    },
    /// Somebody said something to this node.
    Message {
        /// Who.
        from: NodeId,
        /// Its name.
        name: String,
        /// The type of the message, as in [`SendOrder`].
        kind: String,
        /// JSON text.
        payload: Vec<u8>,
        /// How urgent it is.
        priority: Priority,
        /// The relays by which it came, as far as they are known by name.
        path: Vec<NodeId>,
    },
    /// Somebody said something to all.
    Broadcast {
        /// Who.
        from: NodeId,
        /// Its name.
        name: String,
        /// The type of the message, as in [`SendOrder`].
        kind: String,
        /// JSON text.
        payload: Vec<u8>,
        /// How urgent it is.
        priority: Priority,
        /// The relays by which it came, as far as they are known by name.
        path: Vec<NodeId>,
    },
    /// Something that this node is to say to all has a number now.
    Announced {
        /// Which.
        ticket: Ticket,
        /// Its number in this run; `None`: too much waits already, and it is not said.
        number: Option<u64>,
    },
    /// What became of something this node said.
    Settled {
        /// Which.
        ticket: Ticket,
        /// To whom.
        to: NodeId,
        /// What became of it.
        outcome: Outcome,
    },
    /// An alert reached this node for the first time.
    Alert {
        /// Which.
        alert: AlertId,
        /// Who raised it.
        from: NodeId,
        /// What that node is called.
        name: String,
        /// How urgent it is.
        priority: Priority,
        /// JSON text.
        payload: Vec<u8>,
        /// When it was raised, by its author's clock.
        wall: WallTime,
        /// Whether it was raised before this node's run began.
        late: bool,
        /// Whether an earlier run of this node, which did not end in order, may have shown it.
        repeated: bool,
    },
    /// A person acknowledged an alert.
    AlertAck {
        /// Which.
        alert: AlertId,
        /// The node that was told.
        from: NodeId,
        /// What that node is called.
        name: String,
        /// Who.
        by: String,
        /// When, by that node's clock.
        wall: WallTime,
    },
    /// What became of an order to raise or acknowledge an alert.
    Raised {
        /// Which order.
        ticket: Ticket,
        /// What became of it.
        outcome: Raised,
    },
    /// Another node has shown an alert of this node's to its application, or has it on disk.
    Receipt {
        /// Which alert.
        alert: AlertId,
        /// Who has it.
        node: NodeId,
        /// What that node is called.
        name: String,
        /// Whether it has it on disk.
        durable: bool,
    },
    /// The time of an alert of this node's is over, or it made room; or it lasts, and this node goes on under another identity, which is told
    /// no more who has it.
    AlertOver {
        /// Which.
        alert: AlertId,
        /// Who had it then. Whoever had not at its end is missing as `expired`.
        last: Holders,
    },
    /// A sighting of another node's is shown here for the first time, or an update of one.
    Record(Box<RecordView>),
    /// What became of an order to add or delete sightings.
    Stored {
        /// Which order.
        ticket: Ticket,
        /// What became of it.
        outcome: Stored,
    },
    /// Of a search that others are asked about: what this node holds, or what one of them told that may be among the nearest.
    Found {
        /// Which.
        ticket: Ticket,
        /// The nearest first.
        found: Vec<Found>,
    },
    /// A search of another node's was answered here.
    SearchAnswered {
        /// Whose.
        from: NodeId,
        /// What that node is called.
        name: String,
        /// How many records it was told of.
        found: usize,
        /// Whether that is what a scan of all stored numbers gives.
        certified: bool,
        /// How long it took here.
        elapsed: Duration,
    },
    /// A search of the application's has ended.
    Searched {
        /// Which.
        ticket: Ticket,
        /// What was found, or why nothing was searched.
        outcome: Result<Searched, Unsearched>,
    },
    /// What the log's store could not keep, or can again.
    LogKept(bool),
    /// So many ops of the log do not bear their author's signature any more: the disk spoils what it keeps, or somebody changed it. They
    /// are dropped, and asked for again.
    LogRotten(usize),
    /// A peer refused us: its table is full.
    RefusedBy {
        /// The peer's limit.
        max_peers: u32,
        /// Where it answered from.
        address: SocketAddr,
    },
    /// A peer signed two ops of one number: it tells some one thing and others another. Told once for each run of it.
    Equivocated {
        /// Who.
        peer: NodeId,
        /// Its name.
        name: String,
    },
    /// We refused a node: our table is full.
    Refused {
        /// Whom.
        peer: NodeId,
        /// Its name.
        name: String,
    },
}

/// A peer as the face shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub id: NodeId,
    /// Its name as shown: `name`, `name-2`, or with the id where two claim one.
    pub name: String,
    /// How it is held.
    pub liveness: Liveness,
    /// Its run.
    pub epoch: Epoch,
    /// Its life.
    pub life: Life,
    /// Where it is reached.
    pub address: Option<SocketAddr>,
    /// Round trip of the last probe.
    pub rtt: Option<Duration>,
    /// When it was last heard.
    pub heard: Option<Instant>,
    /// Who says that it failed.
    pub witnesses: Vec<NodeId>,
    /// Why it is suspect or failed.
    pub reason: &'static str,
    /// Version of its program.
    pub version: String,
    /// Its wall clock minus ours, in ms.
    pub skew_ms: Option<i64>,
    /// Since when the log that it holds is not told to be the same as ours: one of the two lacks something. `None`: it is the same, or
    /// it told nothing, as a peer on another segment.
    pub log_differs: Option<Instant>,
    /// Datagrams heard from it.
    pub datagrams: u64,
    /// What it did beyond its share since this node started.
    pub beyond: Excesses,
    /// Relays between it and us: 0 for whoever is heard; `None` while there is no way.
    pub relays: Option<u8>,
}

/// A way through the mesh as the face shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// To whom.
    pub to: NodeId,
    /// The relays on the way, then the destination. The first is the next hop.
    pub path: Vec<NodeId>,
    /// Sum of the costs of its links, in tenths of a clean Ethernet link.
    pub cost: u32,
    /// Over which of our interfaces it begins.
    pub interface: Option<InterfaceIndex>,
    /// From where it is known.
    pub source: RouteSource,
    /// What each of its links costs, in the order of the path; empty where only the way is known.
    pub links: Vec<LinkView>,
    /// The best way by another neighbour, if there is one: what it costs says why it was not chosen.
    pub next_best: Option<OtherWay>,
}

/// A link of a way as the face shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkView {
    /// What it costs, in tenths of a clean Ethernet link.
    pub cost: u32,
    /// What is lost one way, or as much as its round trip is worth, in thousandths: the worse of what both ends say.
    pub loss: u32,
}

/// A way that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherWay {
    /// The relays on the way, then the destination.
    pub path: Vec<NodeId>,
    /// Sum of the costs of its links.
    pub cost: u32,
}

/// From where a way is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteSource {
    /// From the links that both ends of each advertise.
    Map,
    /// From a message that came that way.
    Learned,
}

/// A node that was here and is not now, as the face shows it.
pub type Departed<'a> = (&'a NodeId, &'a DirectoryEntry);

//! Decides what a process is between start and death: its node, its clock, its timer, and what waits while it is stopped.

use core::time::Duration;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use kodikon_core::effect::check::CheckId;
use kodikon_core::effect::log::{CommitId, Committed};
use kodikon_core::effect::scan::{Nearest, ScanId};
use kodikon_core::effect::{Command, Event, WakeBy};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, SessionTag};
use kodikon_core::ground::table::IdTable;
use kodikon_core::wire::header::Header;

use crate::cluster::clock::LocalClock;
use crate::cluster::endpoint::Endpoint;
use crate::moment::Moment;
use crate::network::Frame;
use crate::network::streams::News;
use crate::trace::{Mark, digest};

/// Datagrams that wait in the sockets of a stopped process: 212,992 B of buffer (Linux: `rmem_default`), 768 B each.
const SOCKET_BUFFER: usize = 277;

/// A running node.
#[derive(Debug)]
pub struct Process {
    /// The node itself.
    pub endpoint: Box<dyn Endpoint>,
    /// Its clock.
    pub clock: LocalClock,
    /// When its timer is set to fire.
    pub armed: Option<Moment>,
    /// Whether it is stopped.
    pub paused: bool,
    /// Outputs until it dies.
    pub fuse: Option<u32>,
    /// Wakes in a row after which it asked to be woken at once.
    pub spins: u32,
    /// Its identity and epoch when last looked at.
    pub names: (NodeId, Epoch),
    waiting: VecDeque<Deferred>,
    datagrams: usize,
    // The frames of peers that it has heard, where an enemy is about.
    heard: HashSet<u64>,
    sessions: IdTable<SessionTag, Heard>,
}

/// What it has heard of a session.
#[derive(Debug)]
struct Heard {
    since: Moment,
    highest: u64,
}

/// What a process knew of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Recollection {
    /// It is the latest of its session so far.
    pub ahead: bool,
    /// It was heard before, in a session that was placed for sure.
    pub again: bool,
}

/// Whoever is shown for so long after its session was first heard has proven it: otherwise the hard bound had struck.
const PLACED: Duration = Duration::from_secs(40);

/// Frames of which it is remembered that they were heard; then all are forgotten, and replays of them pass unwatched.
const REMEMBERED: usize = 16_384;

/// Something for a process.
#[derive(Debug)]
pub enum Deferred {
    /// Its timer.
    Wake,
    /// The interfaces of its host, as they are when it reads them.
    Interfaces,
    /// Its host slept.
    Disturbed,
    /// A datagram.
    Datagram {
        /// By which interface.
        interface: InterfaceIndex,
        /// Which bit is bent.
        bent: Option<u64>,
        /// The datagram.
        frame: Rc<Frame>,
    },
    /// An ICMP port unreachable.
    Unreachable(SocketAddr),
    /// News of a stream.
    News(News),
    /// Its own state of this version is on disk.
    StateKept(u64),
    /// Its log's store has answered.
    Committed(CommitId, Committed),
    /// Its embeddings have been scanned.
    Scanned(ScanId, Vec<Nearest>),
    /// Signatures have been checked.
    Checked(CheckId, Vec<bool>),
    /// A wish of its application.
    Command(Box<Command>),
}

impl Process {
    /// A process that has just begun.
    #[must_use]
    pub fn new(endpoint: Box<dyn Endpoint>, clock: LocalClock) -> Self {
        let names = (endpoint.id(), endpoint.epoch());
        Self {
            endpoint,
            clock,
            armed: None,
            paused: false,
            fuse: None,
            spins: 0,
            names,
            waiting: VecDeque::new(),
            datagrams: 0,
            heard: HashSet::new(),
            sessions: IdTable::new(REMEMBERED),
        }
    }

    /// Notes that it hears a frame of a session, of a peer or a stranger, and says what it knew of it.
    /// A stranger's frame leaves no trace: heard again from the peer that it has become, it is new.
    pub fn recall(
        &mut self,
        now: Moment,
        header: Header,
        bytes: &[u8],
        is_peer: impl FnOnce() -> bool,
    ) -> Recollection {
        if self.heard.len() >= REMEMBERED || self.sessions.is_full() {
            self.heard.clear();
            self.sessions.clear();
        }
        let mut fresh = false;
        let first = || {
            fresh = true;
            Heard { since: now, highest: header.counter }
        };
        let session = self.sessions.get_or_insert_with(header.tag, first).expect("a full table was emptied above");
        let ahead = fresh || header.counter > session.highest;
        session.highest = session.highest.max(header.counter);
        let placed = now.since(session.since) > PLACED;
        Recollection { ahead, again: placed && is_peer() && !self.heard.insert(digest(bytes)) }
    }

    /// Lets something wait until the process goes on; datagrams beyond the sockets' buffer are lost.
    pub fn defer(&mut self, what: Deferred) {
        if matches!(what, Deferred::Datagram { .. }) {
            if self.datagrams >= SOCKET_BUFFER {
                return;
            }
            self.datagrams += 1;
        }
        self.waiting.push_back(what);
    }

    /// What waited.
    pub fn take_waiting(&mut self) -> VecDeque<Deferred> {
        self.datagrams = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl Deferred {
    /// How the trace counts it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        match self {
            Self::Wake => Mark::Wake,
            Self::Datagram { .. } => Mark::Heard,
            Self::News(_) => Mark::Stream,
            Self::Interfaces
            | Self::Disturbed
            | Self::Unreachable(_)
            | Self::StateKept(_)
            | Self::Committed(..)
            | Self::Scanned(..)
            | Self::Checked(..)
            | Self::Command(_) => Mark::Told,
        }
    }

    /// A word that tells it from others of its kind.
    #[must_use]
    pub fn word(&self) -> u64 {
        match self {
            Self::Wake => 0,
            Self::Interfaces => 1,
            Self::Disturbed => 2,
            Self::Datagram { frame, .. } => digest(&frame.bytes),
            Self::Unreachable(address) => 3 ^ u64::from(address.port()) << 8,
            Self::Command(command) => match &**command {
                Command::Send(order) => 10 ^ order.ticket.0 << 8,
                Command::Broadcast(order) => 11 ^ order.ticket.0 << 8,
                Command::Raise(order) => 12 ^ order.ticket.0 << 8,
                Command::Search(order) => 21 ^ order.ticket.0 << 8,
                Command::Acknowledge(order) => 13 ^ order.ticket.0 << 8,
                Command::Add(order) => 16 ^ order.ticket.0 << 8,
                Command::Delete(order) => 17 ^ order.ticket.0 << 8,
                Command::SetState(..) | Command::Leave => 4,
            },
            Self::Scanned(scan, _) => 20 ^ scan.0 << 8,
            Self::Checked(check, _) => 22 ^ check.0 << 8,
            Self::StateKept(version) => 15 ^ version << 8,
            Self::Committed(commit, result) => 14 ^ commit.0 << 8 ^ (*result as u64) << 4,
            Self::News(News::Offered(stream, _)) => 5 ^ stream.0 << 8,
            Self::News(News::Opened(stream, _)) => 6 ^ stream.0 << 8,
            Self::News(News::Failed((peer, purpose))) => 7 ^ digest(&peer.0) ^ (*purpose as u64) << 8,
            Self::News(News::Frame(stream, _)) => 8 ^ stream.0 << 8,
            Self::News(News::Ended(stream)) => 9 ^ stream.0 << 8,
        }
    }
}

/// Who asked for a wake, in a word.
#[must_use]
pub fn name_of(by: WakeBy) -> &'static str {
    match by {
        WakeBy::Discovery => "discovery",
        WakeBy::Membership => "membership",
        WakeBy::Liveness => "liveness",
        WakeBy::Replication => "replication",
        WakeBy::Routing => "routing",
        WakeBy::Messages => "messages",
        WakeBy::Broadcasts => "broadcasts",
        WakeBy::Alerts => "alerts",
        WakeBy::Searches => "searches",
        WakeBy::Outbound => "outbound",
    }
}

/// A word that tells events apart.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "events of a later core are told apart by their text")]
pub fn word_of(event: &Event) -> u64 {
    match event {
        Event::PeerUp { peer, epoch, life, .. } => 1 ^ digest(&peer.0) ^ epoch.0 ^ u64::from(life.0) << 7,
        Event::PeerSuspect { peer, .. } => 2 ^ digest(&peer.0),
        Event::PeerFailed { peer, witnesses, .. } => 3 ^ digest(&peer.0) ^ (witnesses.len() as u64) << 9,
        Event::PeerLeft { peer, .. } => 4 ^ digest(&peer.0),
        Event::State { node, snapshot, .. } => 5 ^ digest(&node.0) ^ snapshot.version << 11,
        Event::Message { from, payload, .. } => 6 ^ digest(&from.0) ^ digest(payload),
        Event::Broadcast { from, payload, .. } => 7 ^ digest(&from.0) ^ digest(payload),
        Event::Record(view) => {
            let id = view.id;
            8 ^ digest(&id.author.0) ^ id.epoch.0 ^ id.seq.0 << 11
        }
        other => digest(format!("{other:?}").as_bytes()),
    }
}

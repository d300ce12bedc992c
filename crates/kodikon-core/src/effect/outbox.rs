//! Decides how machines leave their wishes: messages by destination, outputs, and notices to the other machines.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::effect::{Arrival, Cast, Event, Output, Persist, StreamWish};
use crate::ground::id::{InterfaceIndex, NodeId, StreamId};
use crate::ground::time::{Duration, Instant};
use crate::model::cast::CastId;
use crate::model::letter::Ticket;
use crate::model::logged::Logged;
use crate::model::op::{OpId, SignedOp};
use crate::model::record::RecordEntry;
use crate::wire::message::Message;

/// What is critical is sent twice, so long apart, by its author and whoever passes it on: a burst that swallows both lasts longer than most.
pub const TWICE_AFTER: Duration = Duration::from_millis(1);

/// For whom a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A peer, by its best way.
    Peer(NodeId),
    /// A peer, by every way known: for probes.
    EveryPath(NodeId),
    /// An address, as an answer to what came from there.
    Address(SocketAddr, Option<InterfaceIndex>),
    /// All on one segment.
    Segment(InterfaceIndex, Cast),
    /// All on every usable segment, by the ways proven there.
    Everyone,
    /// The other end of a stream that is a pipe.
    Pipe(StreamId),
}

/// What one machine tells the others, through `Node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A peer became alive: new, returned or restarted.
    Up(NodeId),
    /// A peer's card changed in place (addresses, life, name).
    CardChanged(NodeId),
    /// A peer is held dead or gone and its ops are dropped.
    Down(NodeId),
    /// A peer did not answer its probes.
    Unanswered(NodeId, &'static str),
    /// A suspected peer was heard, or a third node heard it.
    Cleared(NodeId),
    /// The second holds the first failed, whom we heard a moment ago.
    Disputed(NodeId, NodeId),
    /// Others hold it failed, and more is needed than their word.
    Doubted(NodeId),
    /// Nothing is known of a peer's clock, or nothing new: it is asked.
    Undated(NodeId),
    /// What was said to a peer alone got no answer in its time: the way to it may be one by which it does not hear us.
    Untaken(NodeId),
    /// Others say that its process ended, and we saw no sign of that: it is asked, and its port too.
    Claimed(NodeId),
    /// Its port or our connection says so too, and it did not answer.
    Ended(NodeId),
    /// This node's own verdict: the peer failed.
    Verdict(NodeId, &'static str),
    /// A live op of a peer arrived for the first time.
    Applied(SignedOp),
    /// All of a newer state of a peer is here.
    StateChanged(NodeId),
    /// A live peer vouches for a node not known here.
    Introduced(SignedOp, NodeId),
    /// An op signed with our own key that we do not remember: a clone, or a disk restored.
    OwnGhost(SignedOp, Option<Arrival>),
    /// A session that is not ours shows a card signed with our own key as its own.
    OwnDouble(SignedOp, Arrival),
    /// Our card must be signed anew.
    RenewCard,
    /// Somebody returned from failure or is unknown: show the card to all, at most once a second.
    ShowCard,
    /// A peer that was present by the map alone is heard itself.
    Near(NodeId),
    /// A peer is not heard itself any more, and present by the map alone.
    Far(NodeId),
    /// A node that was vouched for answered no probe.
    Silent(NodeId),
    /// A peer holds another failed that is present by the map alone.
    Witnessed,
    /// A neighbour has been silent for most of the hard bound.
    Quiet(NodeId),
    /// The segment on this interface has another name: a beacon says so at once.
    Beacon(InterfaceIndex),
    /// A neighbour has what this node said to all.
    Acknowledged(CastId, NodeId),
    /// A neighbour took so many bytes of letters a second, and they lost so much time in queues on the way to it.
    Proven {
        /// Which.
        peer: NodeId,
        /// Bytes a second.
        rate: u64,
        /// Beyond the shortest round trip of late.
        queued: Duration,
    },
    /// A heartbeat's turn has come for this observer.
    Turn(NodeId, u32),
    /// A letter given to a neighbour was taken after so long, or (`None`) not in answer to its first carrying.
    Carried(NodeId, Option<Duration>),
    /// An op of the log is here for the first time.
    Logged(Box<Logged>),
    /// Ops of the log are on disk.
    LogKept(Vec<OpId>),
    /// The time of an op of the log is over, or it made room for others.
    LogOver(OpId),
    /// A sighting is shown from now on.
    RecordShown(RecordEntry),
    /// A sighting is shown no more: deleted, updated, its time over, or it made room.
    RecordGone(OpId),
    /// Ops of the log say nothing any more: others take their place, or took them back.
    LogSpent(Vec<OpId>),
    /// An op of the log makes room for others, though its time is not over.
    LogCrowded(OpId),
    /// A peer says something that is for the mesh itself, to this node or to all.
    Told {
        /// Who.
        from: NodeId,
        /// The name of the text.
        kind: String,
        /// What it says.
        text: Vec<u8>,
    },
    /// What this node holds has been searched: others may have more.
    Searched(Ticket),
    /// What this node holds has been searched for a peer.
    Answered(Box<Answered>),
    /// Peers are to be asked.
    Ask(Box<Ask>),
}

/// What a search of another node's found here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Whose search.
    pub asker: NodeId,
    /// What it names it.
    pub number: u64,
    /// The nearest first.
    pub found: Vec<OpId>,
    /// Whether that is what a scan of all stored numbers gives.
    pub certified: bool,
    /// When it asked.
    pub asked: Instant,
    /// Until when the asker waits.
    pub until: Instant,
}

/// A question that peers are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub whom: Vec<NodeId>,
    /// What.
    pub text: Vec<u8>,
    /// Until when an answer is of use.
    pub until: Instant,
}

/// Where machines leave their wishes.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<(Destination, Message)>,
    again: Vec<(Duration, Destination, Message)>,
    outputs: VecDeque<Output>,
    notices: VecDeque<Notice>,
}

impl Outbox {
    /// Sends a message.
    pub fn send(&mut self, to: Destination, message: Message) {
        self.messages.push_back((to, message));
    }

    /// Sends a message once more, so long after now: what is urgent must not wait for a lost datagram to be missed.
    pub fn send_again(&mut self, after: Duration, to: Destination, message: Message) {
        self.again.push((after, to, message));
    }

    /// What is to be sent once more.
    pub fn take_again(&mut self) -> Vec<(Duration, Destination, Message)> {
        std::mem::take(&mut self.again)
    }

    /// Tells the application.
    pub fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Keeps something on disk.
    pub fn persist(&mut self, what: Persist) {
        self.outputs.push_back(Output::Persist(what));
    }

    /// Wishes something of a stream.
    pub fn stream(&mut self, wish: StreamWish) {
        self.outputs.push_back(Output::Stream(wish));
    }

    /// Tells the other machines.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// Wishes something that is ready to carry out.
    pub fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The oldest message not yet on its way.
    pub fn take_message(&mut self) -> Option<(Destination, Message)> {
        self.messages.pop_front()
    }

    /// The oldest notice not yet read.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// All notices not yet read, the oldest first.
    pub fn take_notices(&mut self) -> VecDeque<Notice> {
        core::mem::take(&mut self.notices)
    }

    /// The oldest wish not yet carried out.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

//! Decides what nodes say to each other: every message, its number and its fields. `docs/wire-format.md` and
//! `docs/kodikon.cddl` are the same for people.

use minicbor::{Decode, Encode};

use crate::ground::id::NodeId;
use crate::model::links::SegmentId;
use crate::model::op::SignedOp;
use crate::wire::cast::{Covered, Offer, Spread};
use crate::wire::clock::Ticks;
use crate::wire::letter::{Back, Carry, Got, Tag, keyed};

pub use crate::wire::cover::{Cover, Interval, Run};

/// 16 bytes that only their maker can make again.
pub type Cookie = [u8; 16];

/// A node that starts, or that hears from somebody it does not know, shows its card.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The sender's card.
    #[n(0)]
    pub card: SignedOp,
    /// Which of the burst's HELLOs this is: the later, the more nodes answer.
    #[n(1)]
    pub index: u8,
}

/// Asks whoever sent a frame from an unproven session to prove that it is here now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Challenge {
    /// To be returned; made from the questioner's secret, the session, the address and the time, so nothing is remembered.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub cookie: Cookie,
}

/// Answers a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// The sender's card.
    #[n(0)]
    pub card: SignedOp,
    /// The cookie of the challenge.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub cookie: Cookie,
    /// The card's author's signature over the cookie and the session tag.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The sender's clock.
    #[n(3)]
    pub clock: Ticks,
}

/// Says "I am here" to a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Beacon {
    /// Digest of all the sender has covered.
    #[n(0)]
    pub root: u64,
    /// How the sender heard others on this interface lately: bit 0 multicast v4, bit 1 multicast v6, bit 2 broadcast.
    #[n(1)]
    pub heard: u8,
    /// The observer whose turn this beacon takes, and when its next turn comes.
    #[n(2)]
    pub turn: Option<Turn>,
    /// How many beacons the sender said on this interface by this way: gaps show what is lost. Said only where the map is needed.
    #[n(3)]
    pub number: Option<u32>,
    /// Digest of what the sender holds of the log; absent while it holds nothing.
    #[n(4)]
    pub log_root: Option<u64>,
}

/// A promise to an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Turn {
    /// First four bytes of the observer's id: a mistaken neighbour would ask once and be answered.
    #[n(0)]
    pub observer: u32,
    /// Milliseconds until the sender's next packet to it.
    #[n(1)]
    pub due_ms: u32,
}

/// Says "I am here" to one observer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Beat {
    /// Digest of all the sender has covered.
    #[n(0)]
    pub root: u64,
    /// Milliseconds until the next beat to this observer; 0 releases it.
    #[n(1)]
    pub due_ms: u32,
    /// Digest of what the sender holds of the log; absent while it holds nothing.
    #[n(2)]
    pub log_root: Option<u64>,
}

/// Asks for a PONG.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// To be returned. Random, so that a PONG proves that its sender heard this PING.
    #[n(0)]
    pub nonce: u64,
}

/// Answers a PING.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// The nonce of the PING.
    #[n(0)]
    pub nonce: u64,
    /// Digest of all the sender has covered. Peers alone are told, so that no stranger gets more than it sent.
    #[n(1)]
    pub root: Option<u64>,
    /// The sender's wall clock, in ms since 1970: shown by `doctor`, used for nothing. For peers alone.
    #[n(2)]
    pub wall_ms: Option<u64>,
    /// Digest of what the sender holds of the log; absent while it holds nothing. For peers alone.
    #[n(3)]
    pub log_root: Option<u64>,
    /// The sender's clock. For peers alone.
    #[n(4)]
    pub clock: Option<Ticks>,
}

/// Asks a third node whether it hears the subject.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Inquiry {
    /// About whom.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub subject: [u8; 16],
}

/// "I heard the subject so long ago", in answer to an inquiry or a suspicion.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Heard {
    /// About whom.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub subject: [u8; 16],
    /// In which of its runs.
    #[n(1)]
    pub epoch: u64,
    /// Milliseconds since a sealed packet of its own arrived.
    #[n(2)]
    pub age_ms: u32,
}

/// Tells the suspect itself, its observers and some others that it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Suspicion {
    /// About whom.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub subject: [u8; 16],
    /// In which of its runs.
    #[n(1)]
    pub epoch: u64,
    /// In which of its lives: a suspicion of an earlier one is refuted already.
    #[n(2)]
    pub life: u32,
}

/// Goodbye, signed by whoever goes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bye {
    /// The run that ends.
    #[n(0)]
    pub epoch: u64,
    /// Who goes; a relay may pass this on.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// The author's signature.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Ops passed on: pushed when new, or sent because the receiver lacked them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct Ops {
    /// The ops, signed bytes untouched.
    #[n(0)]
    pub ops: Vec<SignedOp>,
    /// Numbers the sender covers without holding their ops any more: superseded or expired.
    #[n(1)]
    pub covered: Vec<Cover>,
}

/// What the sender has covered, so that the receiver can send what it lacks and ask for what it has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct Digest {
    /// Per author; of all authors, or of those in `buckets`.
    #[n(0)]
    pub covers: Vec<Cover>,
    /// Which of the 64 buckets of authors `covers` speaks of, one bit each; all ones = all authors.
    #[n(1)]
    pub scope: u64,
    /// Above 64 authors: the sums of the 64 buckets, in place of covers.
    #[n(2)]
    pub sums: Vec<u64>,
    /// Whether the receiver should answer with its own digest of what it lacks. An answer is not answered.
    #[n(3)]
    pub question: bool,
    /// Which lane it speaks of; absent: the live one.
    #[n(4)]
    pub lane: Option<u8>,
    /// Of the authors in `scope` it speaks of the runs from this one on; absent: from the first.
    #[n(5)]
    pub from: Option<Run>,
    /// Up to this one, which another digest speaks of; absent: to the last.
    #[n(6)]
    pub until: Option<Run>,
}

impl Digest {
    /// Whether it speaks of a run of an author in its scope.
    #[must_use]
    pub fn speaks_of(&self, run: Run) -> bool {
        self.from.is_none_or(|from| from <= run) && self.until.is_none_or(|until| run < until)
    }
}

/// Ops of the log passed on: pushed when new, or sent because the receiver lacked them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct Log {
    /// The ops.
    #[n(0)]
    pub entries: Vec<LogEntry>,
    /// Numbers whose time is over by the sender's reckoning.
    #[n(1)]
    pub over: Vec<Cover>,
    /// In the last message of an answer to a digest: the buckets of which more is owed, 0 if that was all.
    #[n(2)]
    pub more: Option<u64>,
    /// Beside `more`, and `true`: so much more is owed that whoever asked may come for it by a stream.
    #[n(3)]
    pub pipe: Option<bool>,
}

/// What the sender holds of the log, in sums: where two cover the same and their roots differ they find by it what differs. Either all
/// buckets, or some parts of runs; it is answered with smaller parts of one that is not equal, or with its ops.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Contents {
    /// The sums of the 64 buckets of authors, as in a [`Digest`]; or none.
    #[n(0)]
    pub sums: Vec<u64>,
    /// The sums of parts; or none. Those of one run ascend.
    #[n(1)]
    pub parts: Vec<PartSum>,
}

/// The sum of the digests of what is held of a run between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartSum {
    /// Of whose log.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// In which run.
    #[n(1)]
    pub epoch: u64,
    /// Between which numbers, both of them included.
    #[n(2)]
    pub numbers: Interval,
    /// The sum, modulo 2^64.
    #[n(3)]
    pub sum: u64,
}

/// The first frame of a stream that brings much of the log, and what is said on it of how far it came: whoever pulls says both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bulk {
    /// Bytes of ops that arrived so far.
    #[n(0)]
    pub got: u64,
    /// Bytes of ops that may be sent in all: there is room for so many.
    #[n(1)]
    pub until: u64,
}

/// What its sender has of the log of whoever hears it: said to that one alone and at once, before all are told so by an op.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogReceipt {
    /// The sender's Lamport number: of what it says of one log the greatest is the newest, ops included.
    #[n(0)]
    pub lamport: u64,
    /// The body as in the op.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// Over both, under the key of the two: whoever has the mesh's key alone cannot say it in another's name.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tag: Tag,
}

impl LogReceipt {
    /// The tag that it has under a key.
    #[must_use]
    pub fn tag_under(&self, key: &[u8; 32]) -> Tag {
        // No letter's head begins so: it begins with the hash of a key.
        let mut head = *b"kodikon receipt 1\0\0\0\0\0\0\0\0";
        head[RECEIPT_CONTEXT..].copy_from_slice(&self.lamport.to_le_bytes());
        keyed(key, &head, &self.body)
    }
}

/// Bytes of "kodikon receipt 1".
const RECEIPT_CONTEXT: usize = 17;

/// An op of the log on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogEntry {
    /// The op, signed bytes untouched.
    #[n(0)]
    pub op: SignedOp,
    /// Milliseconds since its author made it, as far as nodes were running that held it.
    #[n(1)]
    pub age_ms: u64,
    /// The author's public key, where the receiver may not know it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: Option<[u8; 32]>,
    /// `true` where it lay on a disk while its holder was down: then it may be older than it says.
    #[n(3)]
    pub rested: Option<bool>,
}

/// One piece of an op of the log that is longer than a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogPiece {
    /// Of whose op.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// In which run.
    #[n(1)]
    pub epoch: u64,
    /// Its number.
    #[n(2)]
    pub seq: u64,
    /// Which piece, from 0.
    #[n(3)]
    pub index: u8,
    /// Of how many.
    #[n(4)]
    pub count: u8,
    /// Milliseconds since its author made it, as in a [`LogEntry`].
    #[n(5)]
    pub age_ms: u64,
    /// The piece itself, of the op as it would travel whole.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// The author's public key, where the receiver may not know it.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub key: Option<[u8; 32]>,
    /// As in a [`LogEntry`].
    #[n(8)]
    pub rested: Option<bool>,
}

/// "The segment that this travels on bears my name": beside each HELLO, BEACON and PONG of its namer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Naming {
    /// The segment.
    #[n(0)]
    pub segment: SegmentId,
    /// The nonce of the PING that the PONG beside it answers: it came by that segment, where anything else may be a recording
    /// from another one.
    #[n(1)]
    pub nonce: Option<u64>,
}

/// Refuses a node, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refusal {
    /// The sender's `max_peers`, all in use.
    #[n(0)]
    pub max_peers: u32,
}

/// Everything a node can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Challenge`].
    Challenge(Challenge),
    /// See [`Proof`].
    Proof(Proof),
    /// See [`Beacon`].
    Beacon(Beacon),
    /// See [`Beat`].
    Beat(Beat),
    /// See [`Ping`].
    Ping(Ping),
    /// See [`Pong`].
    Pong(Pong),
    /// See [`Inquiry`].
    Inquiry(Inquiry),
    /// See [`Heard`].
    Heard(Heard),
    /// See [`Suspicion`].
    Suspicion(Suspicion),
    /// See [`Bye`].
    Bye(Bye),
    /// See [`Ops`].
    Ops(Ops),
    /// See [`Digest`].
    Digest(Digest),
    /// See [`Refusal`].
    Refusal(Refusal),
    /// See [`Naming`].
    Naming(Naming),
    /// See [`Carry`].
    Carry(Carry),
    /// See [`Got`].
    Got(Got),
    /// See [`Back`].
    Back(Back),
    /// See [`Spread`].
    Spread(Spread),
    /// See [`Covered`].
    Covered(Covered),
    /// See [`Offer`].
    Offer(Offer),
    /// See [`Log`].
    Log(Log),
    /// See [`LogPiece`].
    LogPiece(LogPiece),
    /// See [`Bulk`].
    Bulk(Bulk),
    /// See [`LogReceipt`].
    LogReceipt(LogReceipt),
    /// See [`Contents`].
    Contents(Contents),
    /// The first frame on a stream: its session says whose it is.
    Canary,
}

impl Message {
    /// The name under which people see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Challenge(_) => "CHALLENGE",
            Self::Proof(_) => "PROOF",
            Self::Beacon(_) => "BEACON",
            Self::Beat(_) => "BEAT",
            Self::Ping(_) => "PING",
            Self::Pong(_) => "PONG",
            Self::Inquiry(_) => "INQUIRY",
            Self::Heard(_) => "HEARD",
            Self::Suspicion(_) => "SUSPICION",
            Self::Bye(_) => "BYE",
            Self::Ops(_) => "OPS",
            Self::Digest(_) => "DIGEST",
            Self::Refusal(_) => "REFUSAL",
            Self::Naming(_) => "NAMING",
            Self::Carry(_) => "CARRY",
            Self::Got(_) => "GOT",
            Self::Back(_) => "BACK",
            Self::Spread(_) => "SPREAD",
            Self::Covered(_) => "COVERED",
            Self::Offer(_) => "OFFER",
            Self::Log(_) => "LOG",
            Self::LogPiece(_) => "LOG_PIECE",
            Self::Bulk(_) => "BULK",
            Self::LogReceipt(_) => "LOG_RECEIPT",
            Self::Contents(_) => "CONTENTS",
            Self::Canary => "CANARY",
        }
    }
}

/// The first four bytes of an id, as a beacon names an observer.
#[must_use]
pub fn short_of(id: &NodeId) -> u32 {
    u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}

/// What a PROOF's signature covers.
#[must_use]
pub fn proof_bytes(mesh: crate::ground::id::MeshId, cookie: &Cookie, tag: &[u8; 8]) -> Vec<u8> {
    [b"kodikon proof 1".as_slice(), &mesh.0, cookie, tag].concat()
}

/// What a BYE's signature covers.
#[must_use]
pub fn bye_bytes(mesh: crate::ground::id::MeshId, author: &[u8; 16], epoch: u64) -> Vec<u8> {
    [b"kodikon bye 1".as_slice(), &mesh.0, author, &epoch.to_be_bytes()].concat()
}

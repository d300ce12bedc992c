//! Decides what an alert is: how it is named and limited, what its ops hold, and what can be learnt of who has it.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::ground::config::MAX_NAME;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::{Duration, Instant, WallTime};
use crate::model::letter::{Priority, Ticket};
use crate::model::op::{OpKind, SignedOp};

/// Bytes of JSON in one alert at most: fifteen datagrams, the burst that a Wi-Fi queue holds.
pub const MAX_ALERT: usize = 16 * 1_024;
/// How long an alert is active if nothing else is said: a shift's worth of attention.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3_600);
/// How long it may be at most, whatever its author says: as long as the directory remembers who was here.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Alerts of one node a second, and at once (design figures): a camera that sees a fight does not see twenty a second. The
/// acknowledgements that it tells count with them.
pub const ALERT_RATE: u32 = 20;
/// So many of them at once.
pub const ALERT_BURST: u32 = 100;
/// Critical ones have their own share, which no others can use up.
pub const CRITICAL_RATE: u32 = 10;
/// So many of them at once.
pub const CRITICAL_BURST: u32 = 50;
/// Bytes of the name of a person who acknowledges.
pub const MAX_BY: usize = 64;
/// Bytes of a body besides JSON and names: numbers and frames.
const FRAME: usize = 128;

/// One op for ever: its author, the author's run, its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// Who said it.
    pub author: NodeId,
    /// In which run.
    pub epoch: Epoch,
    /// Its number.
    pub seq: Seq,
}

impl OpId {
    /// The name of an op.
    #[must_use]
    pub fn of(op: &SignedOp) -> Self {
        Self { author: op.author(), epoch: op.epoch(), seq: op.seq() }
    }
}

/// What people call an alert: 16 hex digits, drawn from its author, run and number, so that all nodes call it the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub u64);

impl AlertId {
    /// The name of the alert that an op raised.
    #[must_use]
    pub fn of(op: &OpId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 alert id");
        hasher.update(&op.author.0).update(&op.epoch.0.to_le_bytes()).update(&op.seq.0.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_be_bytes(first))
    }

    /// Reads 16 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alert {self}")
    }
}

/// The body of an alert's op.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AlertBody {
    /// 0 low, 1 normal, 2 high, 3 critical.
    #[n(0)]
    pub priority: u8,
    /// How long it is active, in milliseconds since it was made.
    #[n(1)]
    pub ttl_ms: u64,
    /// What its author is called: it may be gone when somebody reads this.
    #[n(2)]
    pub source: String,
    /// JSON text.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

/// The body of the op by which a person acknowledges an alert.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AckBody {
    /// Whose alert.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// Raised in which run.
    #[n(1)]
    pub epoch: u64,
    /// Its number.
    #[n(2)]
    pub seq: u64,
    /// Who acknowledges.
    #[n(3)]
    pub by: String,
    /// How long the alert was still to be active then, in milliseconds.
    #[n(4)]
    pub ttl_ms: u64,
}

impl AckBody {
    /// Of which alert it speaks.
    #[must_use]
    pub fn about(&self) -> OpId {
        OpId { author: NodeId(self.author), epoch: Epoch(self.epoch), seq: Seq(self.seq) }
    }
}

/// What an op of the log says, read and within its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogBody {
    /// An alert.
    Alert(AlertBody),
    /// An acknowledgement.
    Ack(AckBody),
    /// Of a later version: held and passed on for as long as any.
    Unknown,
}

impl LogBody {
    /// Reads an op of the log; `None` for one that no honest author makes.
    #[must_use]
    pub fn parse(op: &SignedOp) -> Option<Self> {
        let is_name = |name: &str, most: usize| name.len() <= most && !name.chars().any(char::is_control);
        let (_, key) = op.key();
        let most = MAX_ALERT + MAX_NAME + FRAME;
        if op.body().len() > most || op.wire_len() > op.body().len() + key.len() + 2 * FRAME {
            return None;
        }
        match op.kind() {
            OpKind::Alert => {
                let body: AlertBody = minicbor::decode(op.body()).ok()?;
                let fits = key.is_empty() && body.payload.len() <= MAX_ALERT && is_name(&body.source, MAX_NAME + 8);
                (fits && usize::from(body.priority) < Priority::ALL.len()).then_some(Self::Alert(body))
            }
            OpKind::AlertAck => {
                let body: AckBody = minicbor::decode(op.body()).ok()?;
                (key.is_empty() && is_name(&body.by, MAX_BY)).then_some(Self::Ack(body))
            }
            OpKind::Unknown(_) => (key.len() <= FRAME).then_some(Self::Unknown),
            OpKind::Card | OpKind::State | OpKind::Links | OpKind::Opinion | OpKind::Receipt => None,
        }
    }

    /// How long it lasts: what its author says, and never more than any holder keeps.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        let said = match self {
            Self::Alert(AlertBody { ttl_ms, .. }) | Self::Ack(AckBody { ttl_ms, .. }) => Duration::from_millis(*ttl_ms),
            Self::Unknown => MAX_TTL,
        };
        said.min(MAX_TTL)
    }

    /// How urgent it is.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Self::Alert(body) => Priority::ALL[usize::from(body.priority).min(Priority::ALL.len() - 1)],
            Self::Ack(_) | Self::Unknown => Priority::Normal,
        }
    }
}

/// An op of the log that is here for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The op.
    pub op: SignedOp,
    /// What it says.
    pub body: LogBody,
    /// When its time is over.
    pub expires: Instant,
    /// Whether it is on disk.
    pub kept: bool,
    /// Whether it was made before this node's run began.
    pub late: bool,
    /// Whether an earlier run of this node may have shown it.
    pub repeated: bool,
}

/// Numbers of one author's run in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReceiptRow {
    /// Of which run.
    #[n(0)]
    pub epoch: u64,
    /// Shown to the application: first and last of each interval.
    #[n(1)]
    pub shown: Vec<(u64, u64)>,
    /// And on disk.
    #[n(2)]
    pub durable: Vec<(u64, u64)>,
}

/// Intervals of one row at most, and rows of one receipt.
pub const MAX_RECEIPT_SPANS: usize = 6;
/// Runs of one author that a receipt speaks of: the newest.
pub const MAX_RECEIPT_ROWS: usize = 4;
/// Bytes of a receipt: two lists of intervals of nine-byte numbers in each row; with its envelope it fits a datagram.
pub const MAX_RECEIPT: usize = MAX_RECEIPT_ROWS * (16 + 2 * MAX_RECEIPT_SPANS * 19);

/// The body of a receipt: what its author has of the log of the node that its key names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptBody {
    /// The newest runs of which anything is active.
    #[n(0)]
    pub rows: Vec<ReceiptRow>,
}

impl ReceiptBody {
    /// Reads a receipt, and about whom it is; `None` for one that no honest author makes.
    #[must_use]
    pub fn parse(op: &SignedOp) -> Option<(NodeId, Self)> {
        let (kind, key) = op.key();
        let about = NodeId(<[u8; 16]>::try_from(&key[..]).ok()?);
        if kind != OpKind::Receipt || op.body().len() > MAX_RECEIPT {
            return None;
        }
        let body: Self = minicbor::decode(op.body()).ok()?;
        let is_short =
            |row: &ReceiptRow| row.shown.len() <= MAX_RECEIPT_SPANS && row.durable.len() <= MAX_RECEIPT_SPANS;
        (body.rows.len() <= MAX_RECEIPT_ROWS && body.rows.iter().all(is_short)).then_some((about, body))
    }
}

/// An alert that the application wants raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertOrder {
    /// Names it in [`crate::effect::Event::Raised`].
    pub ticket: Ticket,
    /// JSON text, at most [`MAX_ALERT`]; the caller checked it.
    pub payload: Vec<u8>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it is active; at most [`MAX_TTL`].
    pub ttl: Duration,
}

/// An alert that a person has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckOrder {
    /// Names it in [`crate::effect::Event::Raised`].
    pub ticket: Ticket,
    /// Which alert.
    pub alert: AlertId,
    /// Who has seen it, at most [`MAX_BY`] bytes without control characters; the caller checked it.
    pub by: String,
}

/// What became of an order to raise or acknowledge an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raised {
    /// It is on its way to all.
    Done {
        /// Which alert was raised or acknowledged.
        alert: AlertId,
        /// Whether it is on this node's disk: if not, a crash of this node loses what it has not told anybody yet.
        durable: bool,
    },
    /// Nobody knows of an active alert of that name.
    Unknown,
    /// More alerts than a node may raise; nothing was said.
    TooMany {
        /// Why, in words for people.
        reason: &'static str,
    },
}

/// Who has an alert, as far as is known here, and who lacks it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Whose applications were shown it.
    pub delivered: Vec<NodeId>,
    /// Those of them that have it on disk.
    pub durable: Vec<NodeId>,
    /// Who should have been shown it and was not, and why, in words for people.
    pub missing: Vec<(NodeId, &'static str)>,
    /// Whether it is on this node's disk.
    pub kept: bool,
}

/// An active alert as the face shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertView {
    /// Its name.
    pub id: AlertId,
    /// Who raised it.
    pub source: NodeId,
    /// What that node is called.
    pub name: String,
    /// How urgent it is.
    pub priority: Priority,
    /// JSON text.
    pub payload: Vec<u8>,
    /// When it was raised, by its author's clock.
    pub wall: WallTime,
    /// How long it will be active yet.
    pub left: Duration,
    /// Whose applications were shown it, as far as is known here.
    pub delivered: Vec<NodeId>,
    /// Those of them that have it on disk.
    pub durable: Vec<NodeId>,
    /// Who should have been shown it and was not, and why, in words for people.
    pub missing: Vec<(NodeId, &'static str)>,
    /// Who acknowledged it, and when by the clock of the node that was told.
    pub acks: Vec<(String, WallTime)>,
    /// Whether it was raised before this node's run began.
    pub late: bool,
    /// Whether an earlier run of this node may have shown it.
    pub repeated: bool,
    /// Whether it is on this node's disk.
    pub kept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::MeshId;
    use crate::model::identity::Identity;
    use crate::model::op::Statement;

    fn op(kind: OpKind, body: Vec<u8>) -> SignedOp {
        let statement = Statement { kind, key: Vec::new(), body, lamport: 1, wall: WallTime(0) };
        SignedOp::sign(&Identity::from_secret(&[1; 32]), MeshId([1; 16]), Epoch::new(1, 1), Seq(1), statement)
    }

    fn alert(priority: u8, bytes: usize) -> Vec<u8> {
        let payload = vec![b'1'; bytes];
        minicbor::to_vec(AlertBody { priority, ttl_ms: u64::MAX, source: "cam".to_owned(), payload }).unwrap()
    }

    #[test]
    fn an_alert_is_read_at_its_limits_and_not_beyond() {
        for (priority, bytes, fits) in [(0, 0, true), (3, MAX_ALERT, true), (4, 1, false), (0, MAX_ALERT + 1, false)] {
            let read = LogBody::parse(&op(OpKind::Alert, alert(priority, bytes)));
            assert_eq!(read.is_some(), fits, "priority {priority}, {bytes} B");
            assert!(read.is_none_or(|read| read.ttl() == MAX_TTL), "no author sets the cap aside");
        }
    }

    #[test]
    fn an_acknowledgement_names_its_alert_and_a_person() {
        let body = |by: &str| AckBody { author: [2; 16], epoch: 3, seq: 4, by: by.to_owned(), ttl_ms: 5 };
        for (by, fits) in
            [("guard", true), ("", true), (&"x".repeat(64), true), (&"x".repeat(65), false), ("a\nb", false)]
        {
            let read = LogBody::parse(&op(OpKind::AlertAck, minicbor::to_vec(body(by)).unwrap()));
            assert_eq!(read, fits.then(|| LogBody::Ack(body(by))), "{by:?}");
        }
    }

    #[test]
    fn the_name_of_an_alert_is_sixteen_hex_digits_and_is_read_back() {
        let id = AlertId::of(&OpId { author: NodeId([1; 16]), epoch: Epoch(2), seq: Seq(3) });
        assert_eq!(AlertId::parse(&id.to_string()), Some(id));
        for text in ["", "123", "+123456789abcdef", "0123456789abcdefa", "x123456789abcdef"] {
            assert_eq!(AlertId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_largest_receipt_fits_its_limit() {
        let spans = vec![(u64::MAX - 1, u64::MAX); MAX_RECEIPT_SPANS];
        let row = ReceiptRow { epoch: u64::MAX, shown: spans.clone(), durable: spans };
        let body = ReceiptBody { rows: vec![row; MAX_RECEIPT_ROWS] };
        assert!(minicbor::to_vec(body).unwrap().len() <= MAX_RECEIPT);
    }
}

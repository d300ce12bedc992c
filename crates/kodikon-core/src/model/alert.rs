//! Decides what an alert is: how it is named and limited, what its ops hold, and what can be learnt of who has it.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::{Duration, WallTime};
use crate::model::letter::{Priority, Ticket};
use crate::model::op::{OpId, OpKind, SignedOp};

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

/// Intervals of each list of a row at most.
pub const MAX_RECEIPT_SPANS: usize = 6;
/// Runs of one author that a receipt speaks of to every version: the newest.
pub const MAX_RECEIPT_ROWS: usize = 4;
/// Runs that it speaks of at all: as many as fit where each has one interval.
pub const MAX_RECEIPT_RUNS: usize = 32;
/// Intervals of all lists of the further rows together: what fits where numbers have three bytes each.
pub const MAX_RECEIPT_MORE: usize = 128;
/// Bytes of a receipt: two lists of intervals of nine-byte numbers in each row; with its envelope it fits a datagram.
pub const MAX_RECEIPT: usize = MAX_RECEIPT_ROWS * (16 + 2 * MAX_RECEIPT_SPANS * 19);

/// In which run of its author a receipt was told, and under which Lamport number: of what one says of another's log the greatest is the newest.
pub type ReceiptNumber = (Epoch, u64);

/// The body of a receipt: what its author has of the log of the node that its key names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptBody {
    /// The newest runs of which an alert is active.
    #[n(0)]
    pub rows: Vec<ReceiptRow>,
    /// Further intervals of these runs and those of older ones, as many as fit [`MAX_RECEIPT`]; what is on disk was shown, and is not said twice. Apart, since
    /// older versions take no longer row and no more of them, and pass over this.
    #[n(1)]
    pub more: Option<Vec<ReceiptRow>>,
}

/// First and last number of an interval.
type Span = (u64, u64);

/// Bytes of a further row besides its intervals: its own frame, its run, and the frames of two lists.
const ROW_FRAME: usize = 1 + 9 + 2 * 3;
/// Bytes of the list of further rows besides these.
const MORE_FRAME: usize = 2;

impl ReceiptBody {
    /// As much as fits of the runs given and of their intervals, the first of each first.
    #[must_use]
    pub fn of(runs: impl Iterator<Item = ReceiptRow>) -> Self {
        let (mut rows, mut rest) = (Vec::new(), Vec::new());
        for mut row in runs.take(MAX_RECEIPT_RUNS) {
            let few = if rows.len() < MAX_RECEIPT_ROWS { MAX_RECEIPT_SPANS } else { 0 };
            let is_on_disk = |span: &Span| row.durable.iter().any(|kept| kept.0 <= span.0 && span.1 <= kept.1);
            let shown = row.shown.iter().skip(few).filter(|span| !is_on_disk(span)).copied().collect();
            let durable = row.durable.split_off(row.durable.len().min(few));
            rest.push(ReceiptRow { epoch: row.epoch, shown, durable });
            if few > 0 {
                row.shown.truncate(few);
                row.shown.sort_unstable();
                row.durable.sort_unstable();
                rows.push(row);
            }
        }
        let mut body = Self { rows, more: None };
        let mut room = MAX_RECEIPT.saturating_sub(encoded_len(&body) + MORE_FRAME);
        let mut count = MAX_RECEIPT_MORE;
        rest.retain(|row| !row.shown.is_empty() || !row.durable.is_empty());
        for row in &mut rest {
            room = room.saturating_sub(ROW_FRAME);
            for spans in [&mut row.shown, &mut row.durable] {
                let lens = spans.iter().take(count).scan(0, |sum, span| {
                    *sum += encoded_len(span);
                    Some(*sum)
                });
                let fitting: Vec<usize> = lens.take_while(|sum| *sum <= room).collect();
                room -= fitting.last().copied().unwrap_or(0);
                count -= fitting.len();
                spans.truncate(fitting.len());
            }
        }
        rest.retain(|row| !row.shown.is_empty() || !row.durable.is_empty());
        body.more = Some(rest).filter(|rest| !rest.is_empty());
        body
    }

    /// All rows; of one run there may be two.
    pub fn all(&self) -> impl Iterator<Item = &ReceiptRow> {
        self.rows.iter().chain(self.more.iter().flatten())
    }

    /// Reads a receipt, and about whom it is; `None` for one that no honest author makes.
    #[must_use]
    pub fn parse(op: &SignedOp) -> Option<(NodeId, Self)> {
        let (kind, key) = op.key();
        let about = NodeId(<[u8; 16]>::try_from(&key[..]).ok()?);
        let body = Self::read(op.body()).filter(|_| kind == OpKind::Receipt)?;
        Some((about, body))
    }

    /// Reads a receipt's body; `None` for one that no honest author makes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_RECEIPT {
            return None;
        }
        let body: Self = minicbor::decode(bytes).ok()?;
        let is_short =
            |row: &ReceiptRow| row.shown.len() <= MAX_RECEIPT_SPANS && row.durable.len() <= MAX_RECEIPT_SPANS;
        let more = body.more.as_deref().unwrap_or_default();
        let count: usize = more.iter().map(|row| row.shown.len() + row.durable.len()).sum();
        let is_few = more.len() <= MAX_RECEIPT_RUNS && count <= MAX_RECEIPT_MORE;
        let is_whole = is_few && body.rows.len() <= MAX_RECEIPT_ROWS && body.rows.iter().all(is_short);
        is_whole.then_some(body)
    }
}

fn encoded_len<T: Encode<()>>(what: &T) -> usize {
    minicbor::to_vec(what).expect("encoding into memory cannot fail").len()
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
        for (most, runs, spans) in [(u64::MAX, 9, 500), (200, 9, 500), (100_000, 1, 500), (100_000, 1, 7), (9, 1, 6)] {
            let list = |end: u64| (0..spans).map(|_| (end - 1, end)).collect();
            let row = ReceiptRow { epoch: most, shown: list(most), durable: list(most - 2) };
            let body = ReceiptBody::of(vec![row; runs].into_iter());
            assert!(encoded_len(&body) <= MAX_RECEIPT, "{most}, {runs}, {spans}");
            assert_eq!(ReceiptBody::parse(&said(&body)), Some((NodeId([7; 16]), body)), "{most}, {runs}, {spans}");
        }
    }

    #[test]
    fn a_receipt_says_what_is_on_disk_once_and_names_a_hundred_intervals() {
        let islands: Vec<Span> = (0..100).rev().map(|n| (300 + 2 * n, 300 + 2 * n)).collect();
        let row = ReceiptRow { epoch: 5, shown: islands.clone(), durable: islands[..99].to_vec() };
        let body = ReceiptBody::of([row].into_iter());
        let [first] = &body.rows[..] else { panic!("{body:?}") };
        assert_eq!((first.shown.len(), first.durable.len(), first.shown[5]), (6, 6, (498, 498)));
        let [more] = body.more.as_deref().unwrap() else { panic!("{body:?}") };
        assert_eq!((&more.shown[..], &more.durable[..]), (&[(300, 300)][..], &islands[6..99]));
    }

    #[test]
    fn one_interval_too_many_is_no_receipt_and_an_older_version_reads_the_first_of_each_run() {
        #[derive(Decode)]
        #[cbor(map)]
        struct Older {
            #[n(0)]
            rows: Vec<ReceiptRow>,
        }
        let row = |shown| ReceiptRow { epoch: 1, shown: vec![(1, 1); shown], durable: Vec::new() };
        let table = [(6, 128, 1, true), (7, 0, 1, false), (6, 129, 1, false), (6, 1, 32, true), (6, 1, 33, false)];
        for (shown, more, rows, is_whole) in table {
            let body = ReceiptBody { rows: vec![row(shown)], more: Some(vec![row(more); rows]) };
            assert_eq!(ReceiptBody::parse(&said(&body)).is_some(), is_whole, "{shown}, {more}, {rows}");
            let older: Older = minicbor::decode(&minicbor::to_vec(&body).unwrap()).unwrap();
            assert_eq!(older.rows, body.rows);
        }
    }

    fn said(body: &ReceiptBody) -> SignedOp {
        let body = minicbor::to_vec(body).unwrap();
        let says = Statement { kind: OpKind::Receipt, key: vec![7; 16], body, lamport: 1, wall: WallTime(1) };
        SignedOp::sign(&Identity::from_secret(&[5; 32]), MeshId([1; 16]), Epoch(3), Seq(1), says)
    }
}

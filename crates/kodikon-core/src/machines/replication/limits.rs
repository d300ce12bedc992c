//! Decides how much one author may make every other node hold: of each kind of fact so many keys and so many bytes.

use crate::ground::config::{MAX_CARD, MAX_STATE, MAX_STATE_KEYS, MAX_STATE_VALUE};
use crate::model::alert::ReceiptBody;
use crate::model::links::{LinksBody, MAX_LINKS, MAX_PARTS, MAX_SEGMENTS, MembersBody};
use crate::model::member::Card;
use crate::model::op::{OpKind, SignedOp};
use crate::model::state::{MAX_KEY, StateEntry};

/// Bytes of an op that are none of its key or body: numbers, signature, and their frames, about 150; a few more in an op
/// that a later version made.
const ENVELOPE: usize = 224;
/// Unset keys: an application that unsets more within ten minutes has the oldest of them forgotten early.
const MAX_UNSET: usize = 256;
/// Opinions: half of a mesh of two thousand may fail together; the roots of those who hold less differ by nothing, since
/// numbers stay covered.
const MAX_OPINIONS: usize = 1_024;
/// Bytes of an opinion's body; ours have about 22.
const MAX_OPINION: usize = 48;
/// The author's links, and the parts of the segments that it names: three full lists, or one small one on each interface.
const MAX_LINK_OPS: usize = 1 + 3 * MAX_PARTS + MAX_SEGMENTS;
/// Bytes of a key of a part of a segment's list.
const LINKS_KEY: usize = 9;
/// Receipts: one for each author whose alerts are active.
const MAX_RECEIPTS: usize = 1_024;
/// Bytes of them: most speak of one run without a gap.
const MAX_RECEIPT_BYTES: usize = 128 * 1_024;
/// Facts of kinds that a later version understands, and their bytes.
const MAX_UNKNOWN: usize = 64;
const MAX_UNKNOWN_BYTES: usize = 32 * 1_024;
/// What a state body may hold besides its JSON.
const STATE_FRAME: usize = 32;
/// Twice what an author may have set: it may unset keys and set others, and the second half may arrive first.
const DISORDER: usize = 2;

/// Ops held of one author at most.
pub(super) const MAX_OPS: usize =
    1 + DISORDER * MAX_STATE_KEYS + MAX_UNSET + MAX_OPINIONS + MAX_LINK_OPS + MAX_RECEIPTS + MAX_UNKNOWN;
/// Bytes of keys and bodies held of one author at most.
pub(super) const MAX_BYTES: usize = Class::Card.bytes()
    + Class::Value.bytes()
    + Class::Unset.bytes()
    + Class::Opinion.bytes()
    + Class::Links.bytes()
    + Class::Receipt.bytes()
    + Class::Unknown.bytes();

/// What shares one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Card,
    Value,
    Unset,
    Opinion,
    Links,
    Receipt,
    Unknown,
}

impl Class {
    const fn count(self) -> usize {
        match self {
            Self::Card => 1,
            Self::Value => DISORDER * MAX_STATE_KEYS,
            Self::Unset => MAX_UNSET,
            Self::Opinion => MAX_OPINIONS,
            Self::Links => MAX_LINK_OPS,
            Self::Receipt => MAX_RECEIPTS,
            Self::Unknown => MAX_UNKNOWN,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Card => MAX_CARD,
            Self::Value => DISORDER * (MAX_STATE + MAX_STATE_KEYS * STATE_FRAME),
            Self::Unset => MAX_UNSET * (MAX_KEY + STATE_FRAME),
            Self::Opinion => MAX_OPINIONS * (16 + MAX_OPINION),
            Self::Links => MAX_LINK_OPS * (LINKS_KEY + MAX_LINKS),
            Self::Receipt => MAX_RECEIPT_BYTES,
            Self::Unknown => MAX_UNKNOWN_BYTES,
        }
    }
}

/// Which limit an op falls under; `None` for one that no honest author makes, whoever signed it.
pub(super) fn class_of(op: &SignedOp) -> Option<Class> {
    let (kind, key) = op.slot();
    if op.wire_len() > content_len(op) + ENVELOPE {
        return None;
    }
    match kind {
        OpKind::Card => {
            let is_one = key.is_empty() && op.body().len() <= MAX_CARD && Card::parse(op.body()).is_some();
            is_one.then_some(Class::Card)
        }
        OpKind::State => {
            let fits = op.body().len() <= MAX_STATE_VALUE + STATE_FRAME;
            let entry: StateEntry = minicbor::decode(op.body()).ok().filter(|_| fits)?;
            let class = if entry.json.is_some() { Class::Value } else { Class::Unset };
            entry.is_within_limits(key).then_some(class)
        }
        OpKind::Opinion => (key.len() == 16 && op.body().len() <= MAX_OPINION).then_some(Class::Opinion),
        OpKind::Links => {
            let is_whole = if key.is_empty() {
                LinksBody::parse(op.body()).is_some()
            } else {
                MembersBody::parse(&op.author(), key, op.body()).is_some()
            };
            is_whole.then_some(Class::Links)
        }
        OpKind::Receipt => ReceiptBody::parse(op).is_some().then_some(Class::Receipt),
        OpKind::Unknown(_) => Some(Class::Unknown),
        // Of the log, and not of this lane.
        OpKind::Alert | OpKind::AlertAck | OpKind::Record | OpKind::RecordDelete | OpKind::LocalRecord => None,
    }
}

/// Bytes of an op's key and body.
pub(super) fn content_len(op: &SignedOp) -> usize {
    op.slot().1.len() + op.body().len()
}

/// What is held of one author, by class.
#[derive(Debug, Default)]
pub(super) struct Shares([Share; 7]);

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    count: usize,
    bytes: usize,
}

impl Shares {
    /// Whether one more op fits, in the place of another if there is one.
    pub(super) fn fits(&self, class: Class, bytes: usize, instead: Option<(Class, usize)>) -> bool {
        let mut share = self.0[class as usize];
        if let Some((_, freed)) = instead.filter(|(freed, _)| *freed == class) {
            share.count -= 1;
            share.bytes -= freed;
        }
        share.count < class.count() && share.bytes + bytes <= class.bytes()
    }

    pub(super) fn add(&mut self, class: Class, bytes: usize) {
        let share = &mut self.0[class as usize];
        share.count += 1;
        share.bytes += bytes;
    }

    pub(super) fn remove(&mut self, class: Class, bytes: usize) {
        let share = &mut self.0[class as usize];
        share.count -= 1;
        share.bytes -= bytes;
    }

    /// Bytes of all classes.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|share| share.bytes).sum()
    }
}

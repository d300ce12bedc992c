//! Decides how urgent each message is, and on whose account it goes.

use crate::ground::fair::Class;
use crate::ground::id::NodeId;
use crate::model::logged::LogBody;
use crate::model::op::OpKind;
use crate::wire::letter::Letter;
use crate::wire::message::{Log, LogEntry, Message, Ops};

/// What the shaper knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// How urgent it is.
    pub class: Class,
    /// Whose it is: of letters their origin, of all else this node.
    pub source: NodeId,
    /// If it carries a letter: to which neighbour, and the number of the carrying.
    pub carried: Option<(NodeId, u64)>,
}

/// The label of a message of this node, to a neighbour if it goes to one.
#[must_use]
pub fn label(message: &Message, me: NodeId, to: Option<NodeId>) -> Label {
    let (class, letter) = match message {
        Message::Carry(carry) => (class_of(&carry.letter), Some((carry.letter.origin, carry.number))),
        Message::Back(back) => (class_of(&back.letter), Some((back.letter.origin, back.number))),
        // A cast is on its origin's account, too; who repeats one asks for its own acknowledgement and keeps no number of the link's.
        Message::Spread(spread) => {
            let class = spread.cast.urgency().unwrap_or_default().class();
            return Label { class, source: NodeId(spread.cast.origin), carried: None };
        }
        // An alert, or a piece of one, is on its author's account.
        Message::Log(log) => {
            let source = log.entries.first().map_or(me, |entry| entry.op.author());
            return Label { class: class_of_log(log), source, carried: None };
        }
        // What it is a piece of shows when all are there; what is urgent is short.
        Message::LogPiece(piece) => return Label { class: Class::High, source: NodeId(piece.author), carried: None },
        Message::Ops(ops) => (class_of_ops(ops), None),
        // It repairs what was lost of all kinds, verdicts among them, and is rare.
        Message::Digest(_) | Message::Contents(_) => (Class::High, None),
        Message::Hello(_)
        | Message::Challenge(_)
        | Message::Proof(_)
        | Message::Beacon(_)
        | Message::Beat(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Inquiry(_)
        | Message::Heard(_)
        | Message::Suspicion(_)
        | Message::Bye(_)
        | Message::Refusal(_)
        | Message::Naming(_)
        | Message::Got(_)
        | Message::Covered(_)
        | Message::Offer(_)
        | Message::Bulk(_)
        | Message::LogReceipt(_)
        | Message::Canary => (Class::Control, None),
    };
    let carried = letter.and_then(|(_, number)| Some((to?, number)));
    Label { class, source: letter.map_or(me, |(origin, _)| NodeId(origin)), carried }
}

fn class_of(letter: &Letter) -> Class {
    letter.urgency().unwrap_or_default().class()
}

/// As urgent as the most urgent alert among them; what tells whose time is over repairs, as digests do.
fn class_of_log(log: &Log) -> Class {
    let urgency = |entry: &LogEntry| {
        // Known without reading it, which would cost more than all else that is done for it here.
        if entry.op.kind().is_record() {
            return Some(Class::Low);
        }
        LogBody::parse(&entry.op).map(|body| body.priority().class())
    };
    // The end of an answer stays behind what it ends.
    let of_none = if log.more.is_some() { Class::Low } else { Class::High };
    log.entries.iter().filter_map(urgency).min().unwrap_or(of_none)
}

/// Who is here, who failed, who hears whom and who has which alert is control; what an application publishes is usual.
fn class_of_ops(ops: &Ops) -> Class {
    let is_usual = |kind| match kind {
        OpKind::State
        | OpKind::Alert
        | OpKind::AlertAck
        | OpKind::Record
        | OpKind::RecordDelete
        | OpKind::LocalRecord
        | OpKind::Unknown(_) => true,
        OpKind::Card | OpKind::Opinion | OpKind::Links | OpKind::Receipt => false,
    };
    let is_all_usual = !ops.ops.is_empty() && ops.ops.iter().all(|op| is_usual(op.kind()));
    if is_all_usual { Class::Normal } else { Class::Control }
}

//! Decides what may be said on a pipe, by either of its ends, and how both count it.

use std::collections::BTreeSet;

use crate::ground::id::NodeId;
use crate::wire::message::{Bulk as BulkWord, Digest, Log as LogMessage, LogPiece, Message};

/// Bytes and ops of one answer in a pipe: a tenth of a second of them, so that what is new and urgent meanwhile comes first in the next.
pub(super) const MAX_ROUND: usize = 2 * 1_024 * 1_024;
pub(super) const MAX_ROUND_OPS: usize = 4_096;

/// What a frame on a pipe held.
#[derive(Debug)]
pub struct PipeFrame {
    /// Its number, which must be above those before.
    pub counter: u64,
    /// What it says.
    pub messages: Vec<Message>,
    /// The authors of whom nobody else can tell this node.
    pub sole: BTreeSet<NodeId>,
}

/// What may be said on a pipe.
pub(super) enum Part {
    Word(BulkWord),
    Digest(Digest),
    Log(LogMessage),
    Piece(LogPiece),
    Other,
}

/// Sorts what came on a pipe; a stream is no place for anything else.
pub(super) fn part_of(message: Message) -> Part {
    if let Message::Bulk(word) = message {
        Part::Word(word)
    } else if let Message::Digest(digest) = message {
        Part::Digest(digest)
    } else if let Message::Log(log) = message {
        Part::Log(log)
    } else if let Message::LogPiece(piece) = message {
        Part::Piece(piece)
    } else {
        Part::Other
    }
}

/// Bytes of ops in a message, as both ends of a pipe count them.
pub(super) fn weight(message: &Message) -> u64 {
    if let Message::Log(log) = message {
        log.entries.iter().map(|entry| entry.op.wire_len() as u64).sum()
    } else if let Message::LogPiece(piece) = message {
        piece.bytes.len() as u64
    } else {
        0
    }
}

/// Takes a frame's counter if it is the lowest that may come, or above.
pub(super) fn advance(next: &mut u64, counter: u64) -> bool {
    let is_new = counter >= *next && counter < u64::MAX;
    if is_new {
        *next = counter + 1;
    }
    is_new
}

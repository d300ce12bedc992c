//! Decides what may be said on a pipe, by either of its ends, and how both count it.

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
    match message {
        Message::Bulk(word) => Part::Word(word),
        Message::Digest(digest) => Part::Digest(digest),
        Message::Log(log) => Part::Log(log),
        Message::LogPiece(piece) => Part::Piece(piece),
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
        | Message::Ops(_)
        | Message::Refusal(_)
        | Message::Naming(_)
        | Message::Carry(_)
        | Message::Got(_)
        | Message::Back(_)
        | Message::Spread(_)
        | Message::Covered(_)
        | Message::Offer(_)
        | Message::Canary => Part::Other,
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

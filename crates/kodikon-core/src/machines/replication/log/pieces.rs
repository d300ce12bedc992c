//! Decides how an op that is longer than a datagram travels: in pieces, put together again by whoever they are from.

use crate::ground::bounded::RecentMap;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::model::op::{OpId, SignedOp};
use crate::wire::message::{LogEntry, LogPiece, Message};

/// Bytes of one piece: a datagram's text less the piece's other fields, key included.
const PIECE: usize = 1_200;
/// Pieces of one op at most: the longest sighting with its envelope, 4,096 numbers of f32 with all the JSON that there may be.
const MAX_PIECES: usize = 22;
/// Ops in pieces at once; the one begun longest ago makes room. With all their pieces they take 1.7 MB.
pub(super) const MAX_SETS: usize = 64;
/// Of one sender; its own oldest makes room, so that it crowds out no other's.
const MAX_OF_SENDER: usize = 16;

/// Ops of which some pieces are here. Each sender's are put together apart, so that a liar spoils its own alone.
#[derive(Debug)]
pub(super) struct Pieces {
    sets: RecentMap<(NodeId, OpId), Set>,
}

#[derive(Debug)]
struct Set {
    parts: Vec<Option<Vec<u8>>>,
    age_ms: u64,
}

/// What came of a piece.
#[derive(Debug, PartialEq)]
pub(super) enum Added {
    /// It was the last that was missing.
    Whole(LogEntry),
    /// It was lacked, and so are others.
    Piece,
    /// It was here.
    Again,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { sets: RecentMap::new(MAX_SETS) }
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Adds a piece; `Err` if the pieces make no sense.
    pub(super) fn add(&mut self, from: NodeId, piece: LogPiece) -> Result<Added, ()> {
        let (count, index) = (usize::from(piece.count), usize::from(piece.index));
        if !(2..=MAX_PIECES).contains(&count) || index >= count || piece.bytes.len() > PIECE {
            return Err(());
        }
        let id = OpId { author: NodeId(piece.author), epoch: Epoch(piece.epoch), seq: Seq(piece.seq) };
        let is_new = self.sets.get(&(from, id)).is_none_or(|set| set.parts.len() != count);
        if is_new {
            let ends = [[0; 16], [0xff; 16]].map(|author| OpId { author: NodeId(author), ..id });
            let first = (from, OpId { epoch: Epoch(0), seq: Seq(0), ..ends[0] });
            let own = first..=(from, OpId { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX), ..ends[1] });
            if self.sets.range(own.clone()).count() >= MAX_OF_SENDER
                && let Some(oldest) = self.sets.oldest_in(own)
            {
                self.sets.remove(&oldest);
            }
            self.sets.insert((from, id), Set { parts: vec![None; count], age_ms: 0 });
        }
        let Some(set) = self.sets.get_mut(&(from, id)) else { return Err(()) };
        let was_here = set.parts[index].replace(piece.bytes).is_some();
        set.age_ms = set.age_ms.max(piece.age_ms);
        if set.parts.iter().any(Option::is_none) {
            return Ok(if was_here { Added::Again } else { Added::Piece });
        }
        let set = self.sets.remove(&(from, id)).ok_or(())?;
        let bytes = set.parts.into_iter().flatten().collect::<Vec<_>>().concat();
        let op: SignedOp = minicbor::decode(&bytes).map_err(|_| ())?;
        if OpId::of(&op) != id {
            Err(())
        } else {
            Ok(Added::Whole(LogEntry { op, age_ms: set.age_ms, key: piece.key, rested: piece.rested }))
        }
    }
}

/// The pieces of an op, as messages.
pub(super) fn cut(entry: &LogEntry) -> Vec<Message> {
    let bytes = minicbor::to_vec(&entry.op).expect("encoding into memory cannot fail");
    let count = bytes.len().div_ceil(PIECE);
    debug_assert!(count <= MAX_PIECES, "an op of the log is no longer than its limits allow");
    let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let id = OpId::of(&entry.op);
    let piece = |(index, bytes): (usize, &[u8])| LogPiece {
        author: id.author.0,
        epoch: id.epoch.0,
        seq: id.seq.0,
        index: small(index),
        count: small(count),
        age_ms: entry.age_ms,
        bytes: bytes.to_vec(),
        key: entry.key,
        rested: entry.rested,
    };
    bytes.chunks(PIECE).enumerate().map(piece).map(Message::LogPiece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::config::{MAX_NAME, MAX_PLAIN};
    use crate::ground::id::MeshId;
    use crate::ground::time::WallTime;
    use crate::model::alert::{AlertBody, MAX_ALERT};
    use crate::model::identity::Identity;
    use crate::model::op::{OpKind, Statement};
    use crate::wire::codec;

    fn whole_of(added: Added) -> Option<LogEntry> {
        match added {
            Added::Whole(entry) => Some(entry),
            Added::Piece | Added::Again => None,
        }
    }

    fn entry(bytes: usize) -> LogEntry {
        let payload = (0..bytes).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
        let body = AlertBody { priority: 3, ttl_ms: u64::MAX, source: "s".repeat(MAX_NAME), payload };
        let body = minicbor::to_vec(body).unwrap();
        let statement = Statement { kind: OpKind::Alert, key: Vec::new(), body, lamport: u64::MAX, wall: WallTime(1) };
        let identity = Identity::from_secret(&[1; 32]);
        let op = SignedOp::sign(&identity, MeshId([1; 16]), Epoch(u64::MAX), Seq(u64::MAX), statement);
        LogEntry { op, age_ms: u64::MAX, key: Some([7; 32]), rested: Some(true) }
    }

    fn pieces(entry: &LogEntry) -> Vec<LogPiece> {
        let piece = |message| if let Message::LogPiece(piece) = message { Some(piece) } else { None };
        cut(entry).into_iter().filter_map(piece).collect()
    }

    #[test]
    fn every_piece_fits_a_datagram_and_all_together_are_the_op() {
        for bytes in [1_400, 5_000, MAX_ALERT] {
            let whole = entry(bytes);
            for message in cut(&whole) {
                let mut text = Vec::new();
                codec::encode(&message, &mut text);
                assert!(text.len() <= MAX_PLAIN, "{} B of {bytes}", text.len());
            }
            let (mut table, mut parts) = (Pieces::new(), pieces(&whole));
            parts.reverse();
            let again = parts[0].clone();
            parts.insert(1, again);
            let found: Vec<_> =
                parts.into_iter().filter_map(|piece| whole_of(table.add(NodeId([1; 16]), piece).unwrap())).collect();
            assert_eq!((found, table.len()), (vec![whole], 0), "{bytes} B");
        }
    }

    #[test]
    fn one_senders_nonsense_spoils_no_others_pieces() {
        let (mut table, whole) = (Pieces::new(), entry(2_000));
        let parts = pieces(&whole);
        let mut bent = parts[0].clone();
        bent.bytes[0] ^= 1;
        assert_eq!(table.add(NodeId([2; 16]), bent), Ok(Added::Piece));
        assert_eq!(table.add(NodeId([1; 16]), parts[0].clone()), Ok(Added::Piece));
        assert_eq!(table.add(NodeId([1; 16]), parts[0].clone()), Ok(Added::Again));
        assert_eq!(table.add(NodeId([1; 16]), parts[1].clone()), Ok(Added::Whole(whole)));
        assert_eq!(table.add(NodeId([2; 16]), parts[1].clone()), Err(()));
        for (index, count) in [(0, 0), (0, 1), (2, 2), (0, 23)] {
            assert_eq!(table.add(NodeId([1; 16]), LogPiece { index, count, ..parts[0].clone() }), Err(()));
        }
    }

    #[test]
    fn no_more_sets_are_open_than_the_limit() {
        let (mut table, piece) = (Pieces::new(), pieces(&entry(2_000)).remove(0));
        for seq in 1..=2 * MAX_OF_SENDER as u64 {
            assert_eq!(table.add(NodeId([1; 16]), LogPiece { seq, ..piece.clone() }), Ok(Added::Piece));
        }
        assert_eq!(table.len(), MAX_OF_SENDER);
        for sender in 0..=255 {
            assert_eq!(table.add(NodeId([sender; 16]), piece.clone()), Ok(Added::Piece));
        }
        assert_eq!(table.len(), MAX_SETS);
    }
}

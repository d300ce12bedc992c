//! Decides what an op of the log says: alerts, sightings, and what takes them back, each within its limits.

use crate::ground::config::MAX_NAME;
use crate::ground::time::{Duration, Instant};
use crate::model::alert::{self, AckBody, AlertBody, MAX_ALERT, MAX_BY};
use crate::model::letter::Priority;
use crate::model::op::{OpKind, SignedOp};
use crate::model::record::{DeleteBody, MAX_DELETE_BODY, MAX_RECORD_BODY, RecordBody};

/// Bytes of a body besides JSON and names: numbers and frames.
const FRAME: usize = 128;

/// What an op of the log says, read and within its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogBody {
    /// An alert.
    Alert(AlertBody),
    /// An acknowledgement.
    Ack(AckBody),
    /// A sighting.
    Record(RecordBody),
    /// What takes sightings back.
    Delete(DeleteBody),
    /// Of a later version: held and passed on for as long as any.
    Unknown,
}

impl LogBody {
    /// Reads an op of the log; `None` for one that no honest author makes.
    #[must_use]
    pub fn parse(op: &SignedOp) -> Option<Self> {
        let is_name = |name: &str, most: usize| name.len() <= most && !name.chars().any(char::is_control);
        let (_, key) = op.key();
        let most = if op.kind().is_record() {
            MAX_RECORD_BODY
        } else if op.kind() == OpKind::RecordDelete {
            MAX_DELETE_BODY
        } else {
            MAX_ALERT + MAX_NAME + FRAME
        };
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
            OpKind::Record | OpKind::LocalRecord => {
                let body: RecordBody = minicbor::decode(op.body()).ok()?;
                // An update comes after what it updates.
                let own = (op.epoch().0, op.seq().0);
                let is_ordered = body.replaces.is_none_or(|first| first < own);
                (key.is_empty() && is_ordered && body.check().is_ok()).then_some(Self::Record(body))
            }
            OpKind::RecordDelete => {
                let body: DeleteBody = minicbor::decode(op.body()).ok()?;
                (key.is_empty() && body.is_within_limits()).then_some(Self::Delete(body))
            }
            OpKind::Unknown(_) => (key.len() <= FRAME).then_some(Self::Unknown),
            OpKind::Card | OpKind::State | OpKind::Links | OpKind::Opinion | OpKind::Receipt => None,
        }
    }

    /// How long it lasts: what its author says, and never more than any holder keeps.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        match self {
            Self::Alert(AlertBody { ttl_ms, .. }) | Self::Ack(AckBody { ttl_ms, .. }) => {
                Duration::from_millis(*ttl_ms).min(alert::MAX_TTL)
            }
            Self::Record(body) => body.ttl(),
            Self::Delete(body) => body.ttl(),
            Self::Unknown => alert::MAX_TTL,
        }
    }

    /// How urgent it is.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Self::Alert(body) => Priority::ALL[usize::from(body.priority).min(Priority::ALL.len() - 1)],
            Self::Ack(_) | Self::Delete(_) | Self::Unknown => Priority::Normal,
            // There are many of them, and what is late or lost is found by its root.
            Self::Record(_) => Priority::Low,
        }
    }
}

/// What an op adds to the digest of what is held, and a sighting to that of what is found: of all that its author signed, so that nodes
/// agree on it where they hold the same words, and not where they hold the same numbers.
#[must_use]
pub fn content_digest(op: &SignedOp) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 log content");
    hasher.update(op.words());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// An op of the log that is here for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The op.
    pub op: SignedOp,
    /// What it says.
    pub body: LogBody,
    /// Its [`content_digest`].
    pub digest: u64,
    /// When its time is over.
    pub expires: Instant,
    /// Whether it is on disk.
    pub kept: bool,
    /// Whether it was made before this node's run began.
    pub late: bool,
    /// Whether an earlier run of this node may have shown it.
    pub repeated: bool,
    /// When it was made, by the log's clock.
    pub born_ms: i64,
    /// Whether it came because this node asked for what it lacks.
    pub pulled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::{Epoch, MeshId, Seq};
    use crate::ground::time::WallTime;
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
            assert!(read.is_none_or(|read| read.ttl() == alert::MAX_TTL), "no author sets the cap aside");
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
}

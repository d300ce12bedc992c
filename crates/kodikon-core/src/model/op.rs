//! Decides what a fact looks like: one numbered, signed op of one author, passed on byte for byte.

use core::ops::Range;
use std::sync::Arc;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::ground::id::{Epoch, MeshId, NodeId, Seq};
use crate::ground::time::WallTime;
use crate::model::identity::{Claim, Identity, Signature, Verifier};

/// The envelope of a fact. Author, epoch, lane and number name it for ever; the rest is what was said.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Envelope<'b> {
    #[cbor(n(0), with = "minicbor::bytes")]
    author: [u8; 16],
    #[n(1)]
    epoch: u64,
    #[n(2)]
    lane: u8,
    #[n(3)]
    seq: u64,
    #[n(4)]
    kind: u8,
    #[cbor(b(5), with = "minicbor::bytes")]
    key: &'b [u8],
    #[cbor(b(6), with = "minicbor::bytes")]
    body: &'b [u8],
    #[n(7)]
    lamport: u64,
    #[n(8)]
    wall: u64,
}

/// How long a fact lives, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpLane {
    /// Of one kind and key the newest holds, in memory, while its author is present.
    Live,
    /// Every one holds until its time is over, on disk, whatever becomes of its author.
    Log,
    /// As in the log, but nobody else holds it: no message of the log bears it, no root counts it. An answer to a search may show it.
    Local,
}

impl OpLane {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Log => 1,
            Self::Local => 2,
        }
    }

    /// The lane of a number; `None` for one of a later version.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Live, Self::Log, Self::Local].into_iter().find(|lane| lane.code() == code)
    }
}

/// What kind of fact an op states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// The author's card.
    Card,
    /// One key of the author's node state.
    State,
    /// The author's links, or a part of the members of a segment that it names.
    Links,
    /// The author's opinion of a peer: failed, or that opinion withdrawn.
    Opinion,
    /// What the author has of another's log: shown, and on its disk.
    Receipt,
    /// An alert; of the log.
    Alert,
    /// A person's word that an alert was seen; of the log.
    AlertAck,
    /// A sighting; of the log.
    Record,
    /// What takes sightings back; of the log.
    RecordDelete,
    /// A sighting that stays on its author's node; of the local lane.
    LocalRecord,
    /// A kind of a later version: kept and passed on, not understood.
    Unknown(u8),
}

impl OpKind {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Card => 1,
            Self::State => 2,
            Self::Links => 3,
            Self::Opinion => 4,
            Self::Receipt => 5,
            Self::Alert => 16,
            Self::AlertAck => 17,
            Self::Record | Self::LocalRecord => 18,
            Self::RecordDelete => 19,
            Self::Unknown(code) => code,
        }
    }

    /// Whether it tells of a sighting.
    #[must_use]
    pub fn is_record(self) -> bool {
        matches!(self, Self::Record | Self::LocalRecord)
    }

    /// Whether it is of the registry: a sighting, or what takes sightings back.
    #[must_use]
    pub fn is_of_registry(self) -> bool {
        self.is_record() || self == Self::RecordDelete
    }

    /// The lane that facts of this kind belong to.
    #[must_use]
    pub fn lane(self) -> OpLane {
        match self {
            Self::Card | Self::State | Self::Links | Self::Opinion | Self::Receipt | Self::Unknown(_) => OpLane::Live,
            Self::Alert | Self::AlertAck | Self::Record | Self::RecordDelete => OpLane::Log,
            Self::LocalRecord => OpLane::Local,
        }
    }

    /// A number means something in its own lane alone: no card can be hidden in a log.
    fn from_code(lane: OpLane, code: u8) -> Self {
        let live = [Self::Card, Self::State, Self::Links, Self::Opinion, Self::Receipt];
        let log = [Self::Alert, Self::AlertAck, Self::Record, Self::RecordDelete, Self::LocalRecord];
        let found = live.into_iter().chain(log).find(|kind| kind.lane() == lane && kind.code() == code);
        found.unwrap_or(Self::Unknown(code))
    }
}

/// Key of an op within its author's lane: of one kind and key, the newest wins.
pub type OpKey = (OpKind, Box<[u8]>);

/// A fact, its signed bytes and its signature. Made by [`SignedOp::sign`] or read from the wire; never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOp(Arc<Fact>);

/// Shared by all who hold the op: the roster, the lane and whatever is on its way.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    author: NodeId,
    epoch: Epoch,
    seq: Seq,
    lane: OpLane,
    kind: OpKind,
    lamport: u64,
    wall: WallTime,
    // Key and body lie within the signed bytes: a copy of them for each of a thousand authors would be a tenth of all memory.
    key: Range<usize>,
    body: Range<usize>,
    bytes: Box<[u8]>,
    signature: Signature,
}

impl Fact {
    /// Reads signed bytes.
    fn read(bytes: &[u8], signature: Signature) -> Result<Self, minicbor::decode::Error> {
        let Envelope { author, epoch, lane, seq, kind, key, body, lamport, wall } = minicbor::decode(bytes)?;
        let within = |part: &[u8]| {
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            start..start + part.len()
        };
        let Some(lane) = OpLane::from_code(lane) else {
            return Err(minicbor::decode::Error::message("an op of a lane that we know"));
        };
        Ok(Self {
            author: NodeId(author),
            epoch: Epoch(epoch),
            seq: Seq(seq),
            lane,
            kind: OpKind::from_code(lane, kind),
            lamport,
            wall: WallTime(wall),
            key: within(key),
            body: within(body),
            bytes: bytes.into(),
            signature,
        })
    }
}

/// What an author says, before it is numbered and signed.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What kind of fact.
    pub kind: OpKind,
    /// Which of the author's facts of that kind it replaces.
    pub key: Vec<u8>,
    /// The fact.
    pub body: Vec<u8>,
    /// Lamport number: above every op the author had seen.
    pub lamport: u64,
    /// The author's wall clock, for people.
    pub wall: WallTime,
}

/// What a signature over an op covers besides its bytes.
const PURPOSE: &[u8] = b"kodikon op 1";

impl SignedOp {
    /// Numbers and signs a statement, in the lane of its kind.
    #[must_use]
    pub fn sign(identity: &Identity, mesh: MeshId, epoch: Epoch, seq: Seq, statement: Statement) -> Self {
        let envelope = Envelope {
            author: identity.id().0,
            epoch: epoch.0,
            lane: statement.kind.lane().code(),
            seq: seq.0,
            kind: statement.kind.code(),
            key: &statement.key,
            body: &statement.body,
            lamport: statement.lamport,
            wall: statement.wall.0,
        };
        let bytes = minicbor::to_vec(&envelope).expect("encoding into memory cannot fail");
        let signature = identity.sign(&signed_bytes(mesh, &bytes));
        Self(Arc::new(Fact::read(&bytes, signature).expect("what was just written is read")))
    }

    /// Whether the holder of `public_key` is the author and signed these bytes in this mesh.
    #[must_use]
    pub fn verify(&self, public_key: &[u8; 32], mesh: MeshId, verifier: &mut dyn Verifier) -> bool {
        self.claim(public_key, mesh)
            .is_some_and(|claim| verifier.verify(claim.public_key, &claim.message, claim.signature))
    }

    /// What is left to check of that: the signature; `None` where the key is not its author's.
    #[must_use]
    pub fn claim<'a>(&'a self, public_key: &'a [u8; 32], mesh: MeshId) -> Option<Claim<'a>> {
        (NodeId::of(public_key) == self.author()).then(|| Claim {
            public_key,
            message: signed_bytes(mesh, &self.0.bytes),
            signature: &self.0.signature,
        })
    }

    /// Who said it.
    #[must_use]
    pub fn author(&self) -> NodeId {
        self.0.author
    }

    /// In which run.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// Its number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.0.seq
    }

    /// To which lane it belongs.
    #[must_use]
    pub fn lane(&self) -> OpLane {
        self.0.lane
    }

    /// What kind of fact it states.
    #[must_use]
    pub fn kind(&self) -> OpKind {
        self.0.kind
    }

    /// Which of the author's facts it is.
    #[must_use]
    pub fn key(&self) -> OpKey {
        (self.kind(), self.slot().1.into())
    }

    /// The same without a copy.
    #[must_use]
    pub fn slot(&self) -> (OpKind, &[u8]) {
        (self.kind(), &self.0.bytes[self.0.key.clone()])
    }

    /// The fact itself.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.bytes[self.0.body.clone()]
    }

    /// Its Lamport number.
    #[must_use]
    pub fn lamport(&self) -> u64 {
        self.0.lamport
    }

    /// The author's wall clock when it spoke.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.0.wall
    }

    /// Bytes it takes on the wire, within a few.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.0.bytes.len() + self.0.signature.len() + 8
    }

    /// What its author signed: all that it says, but for the signature.
    #[must_use]
    pub fn words(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether the other has the same words, by whatever signature.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }

    /// Whether the other is the same op to the byte, its signature included.
    #[must_use]
    pub fn is_same_bytes(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes && self.0.signature == other.0.signature
    }
}

/// One op for ever: its author, the author's run, its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpId {
    /// Who said it.
    pub author: NodeId,
    /// In which run.
    pub epoch: Epoch,
    /// Its number.
    pub seq: Seq,
}

impl OpId {
    /// Before all others.
    pub const FIRST: Self = Self { author: NodeId([0; 16]), epoch: Epoch(0), seq: Seq(0) };

    /// The name of an op.
    #[must_use]
    pub fn of(op: &SignedOp) -> Self {
        Self { author: op.author(), epoch: op.epoch(), seq: op.seq() }
    }
}

fn signed_bytes(mesh: MeshId, bytes: &[u8]) -> Vec<u8> {
    [PURPOSE, &mesh.0, bytes].concat()
}

impl<C> Encode<C> for SignedOp {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.bytes(&self.0.bytes)?.bytes(&self.0.signature)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SignedOp {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a signed op is an array of two"));
        }
        let bytes = d.bytes()?;
        let signature = Signature::try_from(d.bytes()?)
            .map_err(|_| minicbor::decode::Error::message("a signature has 64 bytes"))?;
        let fact = Fact::read(bytes, signature)?;
        if fact.seq == Seq(0) {
            return Err(minicbor::decode::Error::message("ops are numbered from 1"));
        }
        Ok(Self(Arc::new(fact)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Zip215Verifier;

    fn op(secret: u8) -> (Identity, SignedOp) {
        let identity = Identity::from_secret(&[secret; 32]);
        let statement = Statement {
            kind: OpKind::State,
            key: b"fps".to_vec(),
            body: b"30".to_vec(),
            lamport: 3,
            wall: WallTime(9),
        };
        let op = SignedOp::sign(&identity, MeshId([1; 16]), Epoch::new(1, 2), Seq(4), statement);
        (identity, op)
    }

    #[test]
    fn an_op_survives_the_wire_with_its_signature() {
        let (identity, op) = op(1);
        let read: SignedOp = minicbor::decode(&minicbor::to_vec(&op).unwrap()).unwrap();
        assert_eq!(read, op);
        assert!(read.verify(&identity.public_key(), MeshId([1; 16]), &mut Zip215Verifier::default()));
        assert_eq!((read.seq(), read.kind(), read.body()), (Seq(4), OpKind::State, &b"30"[..]));
    }

    #[test]
    fn a_kind_means_something_in_its_own_lane_alone() {
        let kinds = [OpKind::Card, OpKind::State, OpKind::Links, OpKind::Opinion, OpKind::Receipt];
        let logged = [OpKind::Alert, OpKind::AlertAck, OpKind::Record, OpKind::RecordDelete];
        for kind in kinds.into_iter().chain(logged) {
            for lane in [OpLane::Live, OpLane::Log] {
                let expected = if lane == kind.lane() { kind } else { OpKind::Unknown(kind.code()) };
                assert_eq!(OpKind::from_code(lane, kind.code()), expected, "{lane:?}");
            }
        }
    }

    #[test]
    fn an_op_holds_in_its_mesh_and_for_its_author_alone() {
        let (identity, signed) = op(1);
        let (other, _) = op(2);
        assert!(!signed.verify(&identity.public_key(), MeshId([2; 16]), &mut Zip215Verifier::default()));
        assert!(!signed.verify(&other.public_key(), MeshId([1; 16]), &mut Zip215Verifier::default()));
    }
}

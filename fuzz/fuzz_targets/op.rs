//! Whatever an author signs, an op of any kind is read within its limits or not at all, and is passed on as it came; a sighting whose
//! embedding is read takes its place or is refused.
//!
//! An input is the op's kind, how a sighting is made, and then its body: any bytes, or the fields of a sighting with one byte altered.

#![no_main]

use kodikon_core::ground::id::{Epoch, MeshId, Seq};
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::entries::{Entry, space_of};
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::model::logged::LogBody;
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::record::{Confidence, Embedding, RecordBody};
use kodikon_scan::{Arena, EntryId};
use libfuzzer_sys::fuzz_target;

/// Sightings first: most of what can be wrong is wrong with these.
const KINDS: [OpKind; 10] = [
    OpKind::Record,
    OpKind::LocalRecord,
    OpKind::RecordDelete,
    OpKind::Alert,
    OpKind::AlertAck,
    OpKind::Card,
    OpKind::State,
    OpKind::Links,
    OpKind::Opinion,
    OpKind::Receipt,
];

thread_local! {
    static AUTHOR: Identity = Identity::from_secret(&[1; 32]);
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, how, rest @ ..] = bytes else { return };
    let kind = KINDS.get(usize::from(*kind) % (KINDS.len() + 1)).copied().unwrap_or(OpKind::Unknown(*kind));
    let body = if how & 1 == 0 { rest.to_vec() } else { sighting(*how, rest) };
    let key = if how & 2 == 0 { Vec::new() } else { rest.iter().take(4).copied().collect() };
    let statement = Statement { kind, key, body, lamport: 1, wall: WallTime(9) };
    let mesh = MeshId([7; 16]);
    AUTHOR.with(|author| {
        let op = SignedOp::sign(author, mesh, Epoch::new(1, 2), Seq(u64::from(*how) + 1), statement);
        assert!(op.verify(&author.public_key(), mesh, &mut Zip215Verifier::default()), "what was signed holds");
        let again: SignedOp = minicbor::decode(&minicbor::to_vec(&op).expect("memory takes it")).expect("our own");
        assert!(again.is_same_bytes(&op) && again.kind() == op.kind());
        look_inside(&op);
    });
});

fn look_inside(op: &SignedOp) {
    let body = LogBody::parse(op);
    if let Some(LogBody::Record(body)) = &body {
        let again = minicbor::to_vec(body).expect("memory takes it");
        assert!(again.len() <= op.body().len(), "it leaves out what it did not understand");
        assert_eq!(&minicbor::decode::<RecordBody>(&again).expect("our own"), body);
    }
    let Some((space, entry)) = Entry::read(op) else { return };
    assert!(op.kind().is_record() && entry.hash_value().len() + entry.stored().len() <= op.body().len());
    if let (Some(LogBody::Record(body)), Some(space)) = (body, space_of(&space)) {
        assert_eq!((entry.hash_value(), entry.metadata()), (&body.hash_value[..], &body.metadata[..]));
        let mut arena = Arena::new(space, 1);
        // What points nowhere is refused, with its reason.
        let placed = arena.insert(EntryId(1), entry.stored());
        assert_eq!(placed.is_ok(), arena.len() == 1);
    }
}

/// The body of a sighting of these bytes, one of which is another if `how` says so.
fn sighting(how: u8, bytes: &[u8]) -> Vec<u8> {
    let part =
        |at: usize, len: usize| bytes.get(at..).unwrap_or_default().iter().take(len).copied().collect::<Vec<u8>>();
    let text = |at: usize, len: usize| String::from_utf8_lossy(&part(at, len)).into_owned();
    let (dtype, stored) = (how >> 4 & 3, part(40, 512));
    let dims = u16::try_from(stored.len() / [4, 2, 1, 1][usize::from(dtype)]).unwrap_or(1);
    let embedding = (how & 8 != 0).then(|| Embedding { model: text(32, 8), dims, dtype, stored });
    let body = RecordBody {
        hash_value: text(4, 12),
        data_type: text(16, 8),
        source: text(24, 8),
        ttl_ms: u64::from(how) << 20,
        confidence: Confidence::new(f64::from(how) / 255.0).unwrap_or(Confidence::NONE),
        metadata: if how & 4 == 0 { "{}".to_owned() } else { text(40, 64) },
        embedding,
        ownership: (how & 64 != 0).then(|| text(40, 32)),
        seen_ms: None,
        replaces: (how & 128 != 0).then_some((1, u64::from(how))),
    };
    let mut body = minicbor::to_vec(body).expect("memory takes it");
    if let [low, high, bits, _, ..] = *bytes {
        let at = usize::from(u16::from_le_bytes([low, high])) % body.len();
        body[at] ^= bits;
    }
    body
}

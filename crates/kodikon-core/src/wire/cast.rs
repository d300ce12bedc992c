//! Decides what a cast is on the wire: what its origin signed, what each relay says around it, and how nodes tell each other
//! which casts they have and which they lack.

use minicbor::{Decode, Encode};

use crate::ground::id::{Epoch, MeshId, NodeId};
use crate::ground::time::Duration;
use crate::model::cast::CastId;
use crate::model::identity::{Identity, Signature};
use crate::model::letter::Priority;
use crate::wire::clock::Ticks;
use crate::wire::cover::Cover;
use crate::wire::fragments::Pieces;
use crate::wire::letter::{Digest, Fragment, MAX_PIECE, Path, Text, first_half};

/// Covers in each list of one COVERED at most: with halves they fit a datagram,
pub const MAX_COVERS: usize = 4;
/// in one OFFER,
pub const MAX_HOLDS: usize = 8;
/// and intervals in one of them.
pub const MAX_RANGES: usize = 4;
/// Casts of which one COVERED says that a part is there.
pub const MAX_HALVES: usize = 4;

/// An application's words.
pub const CAST_TEXT: u8 = 0;
/// What a cast's signature covers besides its words.
const PURPOSE: &[u8] = b"kodikon cast 1";

/// What an origin says to all, the same to the byte wherever it comes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cast {
    /// Who says it.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub origin: [u8; 16],
    /// The origin's run.
    #[n(1)]
    pub epoch: u64,
    /// Counted from 1 in that run.
    #[n(2)]
    pub number: u64,
    /// [`CAST_TEXT`]; others are of a later version, passed on and not understood.
    #[n(3)]
    pub kind: u8,
    /// Its place in [`Priority::ALL`].
    #[n(4)]
    pub priority: u8,
    /// Of a text [`Text`]; where a fragment travels, a piece of it.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// The origin's, over all of it and the mesh's id.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub signature: Signature,
}

/// What a cast says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An application's words.
    Text(Text),
    /// Something of a later version: the number of its kind, and its bytes.
    Unknown(u8, Vec<u8>),
}

impl Content {
    /// Its kind and its bytes.
    #[must_use]
    pub fn encode(self) -> (u8, Vec<u8>) {
        match self {
            Self::Text(text) => (CAST_TEXT, text.bytes()),
            Self::Unknown(kind, body) => (kind, body),
        }
    }

    /// What a body of a kind says; `None` if it is damaged.
    #[must_use]
    pub fn parse(kind: u8, body: &[u8]) -> Option<Self> {
        match kind {
            CAST_TEXT => Text::parse(body).map(Self::Text),
            other => Some(Self::Unknown(other, body.to_vec())),
        }
    }
}

impl Cast {
    /// Signs what is said to all.
    #[must_use]
    pub fn sign(identity: &Identity, mesh: MeshId, id: CastId, priority: Priority, content: Content) -> Self {
        let (kind, body) = content.encode();
        let CastId { origin, epoch, number } = id;
        let mut cast =
            Self { origin: origin.0, epoch: epoch.0, number, kind, priority: priority as u8, body, signature: [0; 64] };
        cast.signature = identity.sign(&cast.signed_bytes(mesh));
        cast
    }

    /// What its signature covers.
    #[must_use]
    pub fn signed_bytes(&self, mesh: MeshId) -> Vec<u8> {
        let hash = blake3::hash(&self.body);
        [PURPOSE, &mesh.0, &self.head(), hash.as_bytes()].concat()
    }

    fn head(&self) -> Vec<u8> {
        let (epoch, number) = (self.epoch.to_le_bytes(), self.number.to_le_bytes());
        [&self.origin[..], &epoch, &number, &[self.kind, self.priority]].concat()
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> CastId {
        CastId { origin: NodeId(self.origin), epoch: Epoch(self.epoch), number: self.number }
    }

    /// Its priority, if it has one.
    #[must_use]
    pub fn urgency(&self) -> Option<Priority> {
        Priority::ALL.get(usize::from(self.priority)).copied()
    }

    /// How many datagrams it takes.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.body.len().div_ceil(MAX_PIECE).max(1)
    }

    /// The same cast with one piece of its body.
    #[must_use]
    pub fn piece(&self, index: usize) -> Self {
        let body = self.body.chunks(MAX_PIECE).nth(index).unwrap_or_default().to_vec();
        Self { body, ..*self }
    }
}

impl Pieces for Cast {
    fn digest(&self) -> Digest {
        first_half(&blake3::Hasher::new().update(&self.head()).update(&self.signature).finalize())
    }

    fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }
}

/// Brings a cast further.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Spread {
    /// The cast, or a piece of it.
    #[n(0)]
    pub cast: Cast,
    /// Milliseconds since it was said, as far as nodes held it: no clock is compared.
    #[n(1)]
    pub age_ms: u32,
    /// Relays that it may still pass, the receiver included.
    #[n(2)]
    pub hops: u8,
    /// Relays that it passed, the sender included.
    #[n(3)]
    pub path: Path,
    /// Digest of the sender's map: who has another passes the cast on by flood.
    #[n(4)]
    pub map: u64,
    /// Which piece of it this is, if it needs several.
    #[n(5)]
    pub fragment: Option<Fragment>,
    /// Milliseconds that it may be older than its age: frames may have been recorded, and played to somebody who missed them.
    #[n(6)]
    pub doubt_ms: u32,
    /// The sender's clock when it said this.
    #[n(7)]
    pub sent: Ticks,
}

impl Spread {
    /// How old the cast is.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(u64::from(self.age_ms))
    }

    /// How much older it may be.
    #[must_use]
    pub fn doubt(&self) -> Duration {
        Duration::from_millis(u64::from(self.doubt_ms))
    }
}

/// Says which casts the sender does not need any more, and which it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Covered {
    /// What it has, or wants no more.
    #[n(0)]
    pub covers: Vec<Cover>,
    /// What it has in part.
    #[n(1)]
    pub halves: Vec<Half>,
    /// What it lacks of what it was offered.
    #[n(2)]
    pub wants: Vec<Cover>,
}

/// A cast of which some pieces are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Half {
    /// Who says it.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub origin: [u8; 16],
    /// In which run.
    #[n(1)]
    pub epoch: u64,
    /// Its number.
    #[n(2)]
    pub number: u64,
    /// A bit for each piece that is there.
    #[n(3)]
    pub have: u64,
}

/// Says which casts the sender can give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// What it holds.
    #[n(0)]
    pub holds: Vec<Cover>,
    /// Whether those who lack nothing of it should say so.
    #[n(1)]
    pub question: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::config::MAX_PLAIN;
    use crate::model::identity::{Verifier as _, Zip215Verifier};
    use crate::wire::codec;
    use crate::wire::letter::{MAX_BODY, MAX_PATH, Stamp};
    use crate::wire::message::{Interval, Message};

    fn signed(mesh: MeshId) -> (Identity, Cast) {
        let identity = Identity::from_secret(&[3; 32]);
        let id = CastId { origin: identity.id(), epoch: Epoch(u64::MAX), number: u64::MAX };
        let text = Text { kind: "k".to_owned(), payload: vec![b' '; 2_000] };
        let cast = Cast::sign(&identity, mesh, id, Priority::Critical, Content::Text(text));
        (identity, cast)
    }

    #[test]
    fn the_longest_words_about_casts_fit_a_datagram() {
        let (_, cast) = signed(MeshId([1; 16]));
        let interval = Interval { first: u64::MAX - 1, last: u64::MAX };
        let cover = Cover { author: [1; 16], epoch: u64::MAX, intervals: vec![interval; MAX_RANGES] };
        let half = Half { origin: [1; 16], epoch: u64::MAX, number: u64::MAX, have: u64::MAX };
        let longest = [
            Message::Spread(Spread {
                cast: Cast { kind: 255, ..cast.piece(0) },
                age_ms: u32::MAX,
                hops: 255,
                path: Path(vec![Stamp([3; 4]); MAX_PATH]),
                map: u64::MAX,
                fragment: Some(Fragment { index: 63, count: 64 }),
                doubt_ms: u32::MAX,
                sent: Ticks(u64::MAX),
            }),
            Message::Covered(Covered {
                covers: vec![cover.clone(); MAX_COVERS],
                halves: vec![half; MAX_HALVES],
                wants: vec![cover.clone(); MAX_COVERS],
            }),
            Message::Offer(Offer { holds: vec![cover; MAX_HOLDS], question: true }),
        ];
        for message in longest {
            let mut text = Vec::new();
            codec::encode(&message, &mut text);
            assert!(text.len() <= MAX_PLAIN, "{} of {} bytes", message.name(), text.len());
            assert_eq!(codec::decode(&text).expect("its own words").messages, [message]);
        }
    }

    #[test]
    fn a_signature_covers_all_of_a_cast_and_the_mesh() {
        type Change = fn(&mut Cast);
        let mesh = MeshId([1; 16]);
        let (identity, cast) = signed(mesh);
        let holds = |cast: &Cast, mesh| {
            Zip215Verifier::default().verify(&identity.public_key(), &cast.signed_bytes(mesh), &cast.signature)
        };
        assert!(holds(&cast, mesh));
        assert!(!holds(&cast, MeshId([2; 16])));
        let table: [(&str, Change); 7] = [
            ("origin", |cast| cast.origin[0] ^= 1),
            ("epoch", |cast| cast.epoch -= 1),
            ("number", |cast| cast.number -= 1),
            ("kind", |cast| cast.kind += 1),
            ("priority", |cast| cast.priority -= 1),
            ("body", |cast| cast.body[0] ^= 1),
            ("body's length", |cast| cast.body.push(0)),
        ];
        for (field, change) in table {
            let mut changed = cast.clone();
            change(&mut changed);
            assert!(!holds(&changed, mesh), "{field}");
        }
    }

    #[test]
    fn pieces_are_the_whole_and_bear_its_digest() {
        let (_, cast) = signed(MeshId([1; 16]));
        assert_eq!(cast.pieces(), 2);
        let pieces: Vec<Cast> = (0..2).map(|index| cast.piece(index)).collect();
        assert!(pieces.iter().all(|piece| piece.digest() == cast.digest()));
        let bodies: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.body).collect();
        assert_eq!(bodies, cast.body);
        assert!(cast.body.len() <= MAX_BODY);
    }

    #[test]
    fn what_a_later_version_says_to_all_is_kept_as_it_is() {
        assert_eq!(Content::parse(9, b"any"), Some(Content::Unknown(9, b"any".to_vec())));
        assert_eq!(Content::parse(CAST_TEXT, b"any"), None);
        let text = Text { kind: String::new(), payload: b"1".to_vec() };
        let (kind, body) = Content::Text(text.clone()).encode();
        assert_eq!(Content::parse(kind, &body), Some(Content::Text(text)));
    }
}

//! Decides what a letter is on the wire: what its origin wrote and nobody can alter, and what each hop says around it.

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::ground::config::{MAX_KIND, MAX_PAYLOAD};
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::table::Spread;
use crate::model::letter::Priority;
use crate::wire::compress::unpack;

/// Relays named in a path at most: `max_hops` goes no higher.
pub const MAX_PATH: usize = 15;
/// Links found dead that one carrying names at most; the first ones count.
pub const MAX_DEAD: usize = 8;
/// Bytes of a letter's body in one carrying: the rest of a datagram holds the longest path and the most dead links.
pub const MAX_PIECE: usize = 1_100;
/// Carryings of one letter at most: 60 hold the longest body.
pub const MAX_PIECES: usize = 64;
/// Bytes of a letter's body at most: the payload, the type's name, and the heads of both.
pub const MAX_BODY: usize = MAX_PAYLOAD + MAX_KIND + 16;
/// Numbers that one GOT says at most without receipt,
pub const MAX_TAKEN: usize = 64;
/// and with one.
pub const MAX_RECEIPTS: usize = 24;

const _: () = assert!(MAX_BODY <= MAX_PIECE * MAX_PIECES);

/// The first four bytes of an id, as a path names relays: two that share them are both avoided, which is a detour at worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp(pub [u8; 4]);

impl Stamp {
    /// Of an id.
    #[must_use]
    pub fn of(id: &NodeId) -> Self {
        Self([id.0[0], id.0[1], id.0[2], id.0[3]])
    }
}

/// The relays by which a letter came, the first one first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub Vec<Stamp>);

impl Path {
    /// The path with one relay more; `None` if it is as long as one can be.
    #[must_use]
    pub fn with(&self, relay: Stamp) -> Option<Self> {
        (self.0.len() < MAX_PATH).then(|| Self(self.0.iter().copied().chain([relay]).collect()))
    }

    /// Its bytes, four for each relay.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|stamp| stamp.0).collect()
    }

    /// The path that these bytes name.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (stamps, rest) = bytes.as_chunks::<4>();
        (rest.is_empty() && stamps.len() <= MAX_PATH).then(|| Self(stamps.iter().copied().map(Stamp).collect()))
    }
}

impl<C> Encode<C> for Path {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Path {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::parse(d.bytes()?).ok_or_else(|| minicbor::decode::Error::message("a path has four bytes for each of 15"))
    }
}

/// Two nodes that do not hear each other, by their stamps.
pub type Link = (Stamp, Stamp);

/// Links found dead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLinks(Vec<Link>);

impl DeadLinks {
    /// Adds links; those beyond the limit are left out.
    pub fn add(&mut self, links: impl IntoIterator<Item = Link>) {
        for link in links {
            if self.0.len() < MAX_DEAD && !self.0.contains(&link) {
                self.0.push(link);
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.0
    }
}

impl<C> Encode<C> for DeadLinks {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|(a, b)| [a.0, b.0]).flatten().collect();
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for DeadLinks {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let (pairs, rest) = d.bytes()?.as_chunks::<8>();
        if !rest.is_empty() || pairs.len() > MAX_DEAD {
            return Err(minicbor::decode::Error::message(
                "dead links have eight bytes each, and there are eight at most",
            ));
        }
        let link = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| (Stamp([a, b, c, d]), Stamp([e, f, g, h]));
        Ok(Self(pairs.iter().map(link).collect()))
    }
}

/// Names what travels in pieces, whichever of them came.
pub type Digest = [u8; 16];

/// 16 bytes that only the two ends of a letter can make.
pub type Tag = [u8; 16];

/// A letter that an origin wrote.
pub const KIND_TEXT: u8 = 0;
/// The answer that one arrived.
pub const KIND_ANSWER: u8 = 1;

/// A letter that an origin wrote, its body packed: for those alone whose card says that they can read it.
pub const KIND_PACKED: u8 = 2;

/// What one node says to another, the same on the whole way but for `left_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Letter {
    /// Who wrote it.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub origin: [u8; 16],
    /// The origin's run.
    #[n(1)]
    pub epoch: u64,
    /// For whom it is.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub to: [u8; 16],
    /// Counted per origin's run and destination; an answer has that of what it answers.
    #[n(3)]
    pub number: u64,
    /// Which try it is, from 1; an answer has that of what it answers.
    #[n(4)]
    pub attempt: u8,
    /// [`KIND_TEXT`], [`KIND_ANSWER`] or [`KIND_PACKED`].
    #[n(5)]
    pub kind: u8,
    /// Its place in [`Priority::ALL`].
    #[n(6)]
    pub priority: u8,
    /// Milliseconds until the origin gives up.
    #[n(7)]
    pub left_ms: u32,
    /// Of a text [`Text`], of an answer the path by which the text came; where a fragment is carried, a piece of it.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// Over all but `left_ms`, under the key of the two ends.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub tag: Tag,
}

/// Bytes of a letter's head that are hashed: both ends, the origin's run, its number, and three of what it is.
const HEAD: usize = 16 + 8 + 16 + 8 + 3;

/// Names one attempt of one letter, whoever carries it: its head and tag themselves. A digest of them would be shorter, and take half
/// a microsecond of each letter on each hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Print {
    tag: Tag,
    head: [u8; HEAD],
}

impl Spread for Print {
    fn place(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.tag;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Letter {
    /// Its priority, if it has one.
    #[must_use]
    pub fn urgency(&self) -> Option<Priority> {
        Priority::ALL.get(usize::from(self.priority)).copied()
    }

    /// The tag that its head and body have under a key.
    #[must_use]
    pub fn tag_under(&self, key: &[u8; 32]) -> Tag {
        keyed(key, &self.head(), &self.body)
    }

    /// Which attempt of which letter it is.
    #[must_use]
    pub fn print(&self) -> Print {
        Print { tag: self.tag, head: self.head() }
    }

    /// Names the letter while its pieces come: a digest of its head and tag.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = [0; HEAD + size_of::<Tag>()];
        let (head, tag) = text.split_at_mut(HEAD);
        head.copy_from_slice(&self.head());
        tag.copy_from_slice(&self.tag);
        first_half(&blake3::hash(&text))
    }

    /// What of the head is hashed, one after the other.
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let mut rest = &mut head[..];
        let fields: [&[u8]; 5] = [
            &self.origin,
            &self.epoch.to_le_bytes(),
            &self.to,
            &self.number.to_le_bytes(),
            &[self.attempt, self.kind, self.priority],
        ];
        for field in fields {
            let (place, others) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = others;
        }
        head
    }

    /// The same letter without its body.
    #[must_use]
    pub fn clone_head(&self) -> Self {
        Self { body: Vec::new(), ..*self }
    }

    /// Whether an origin wrote it, packed or not.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.kind == KIND_TEXT || self.kind == KIND_PACKED
    }

    /// The text that it holds.
    ///
    /// # Errors
    /// [`Reject::Malformed`] when it holds none, [`Reject::Inflation`] when it says that it becomes too long.
    pub fn text(&self) -> Result<Text, Reject> {
        let text = if self.kind == KIND_PACKED {
            Text::parse(&unpack(&self.body, MAX_BODY)?)
        } else {
            Text::parse(&self.body)
        };
        text.ok_or(Reject::Malformed)
    }

    /// How many carryings it takes.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.body.len().div_ceil(MAX_PIECE).max(1)
    }

    /// What its destination answers to the neighbour that wrote it: nobody else can, nor before it is taken.
    #[must_use]
    pub fn receipt(&self, key: &[u8; 32]) -> Tag {
        keyed(key, b"receipt", &self.tag)
    }
}

/// What is hashed at one go at most: a short letter. To be ready for more costs a third of what the hash of one takes.
const SHORT: usize = 256;

/// The first half of the keyed hash of two texts, one behind the other.
pub(crate) fn keyed(key: &[u8; 32], first: &[u8], then: &[u8]) -> [u8; 16] {
    let mut text = [0; SHORT];
    let (first_len, len) = (first.len(), first.len() + then.len());
    let Some(both) = text.get_mut(..len) else {
        return first_half(&blake3::Hasher::new_keyed(key).update(first).update(then).finalize());
    };
    both[..first_len].copy_from_slice(first);
    both[first_len..].copy_from_slice(then);
    first_half(&blake3::keyed_hash(key, both))
}

/// The first 16 bytes of a hash.
pub(crate) fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let (half, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *half
}

/// Room for what stands around type and payload: the array's head and those of both, which say their lengths.
const AROUND_TEXT: usize = 1 + 2 + 5;

/// What an application says to another.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Text {
    /// The type of the message, empty or an application's own.
    #[n(0)]
    pub kind: String,
    /// JSON text.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

impl Text {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.kind.len() + self.payload.len() + AROUND_TEXT);
        minicbor::encode(self, &mut bytes).expect("encoding into memory cannot fail");
        bytes
    }

    /// The text that a body holds, within its limits.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text: Self = minicbor::decode(body).ok()?;
        (text.kind.len() <= MAX_KIND && text.payload.len() <= MAX_PAYLOAD).then_some(text)
    }
}

/// Which piece of a long letter a carrying holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Fragment {
    /// From 0.
    #[n(0)]
    pub index: u8,
    /// Of how many.
    #[n(1)]
    pub count: u8,
}

/// Gives a letter to the next on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Carry {
    /// Named by GOT; of the sender's counting, over all its neighbours.
    #[n(0)]
    pub number: u64,
    /// The letter, or a piece of it.
    #[n(1)]
    pub letter: Letter,
    /// Relays that it may still pass, the receiver included.
    #[n(2)]
    pub hops: u8,
    /// Relays that it passed, the sender included.
    #[n(3)]
    pub path: Path,
    /// Links found dead on its way.
    #[n(4)]
    pub dead: DeadLinks,
    /// Which piece of it this is, if it needs several.
    #[n(5)]
    pub fragment: Option<Fragment>,
}

/// Says which letters were taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Got {
    /// Numbers of CARRY and BACK.
    #[n(0)]
    pub taken: Vec<u64>,
    /// Those for the sender of this GOT itself, from their origin's hand.
    #[n(1)]
    pub receipts: Vec<Receipt>,
}

/// A letter that arrived with nobody between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The number of its CARRY.
    #[n(0)]
    pub number: u64,
    /// [`Letter::receipt`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub tag: Tag,
}

/// Gives a letter back to whom it came from: no way was found from here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Back {
    /// Named by GOT.
    #[n(0)]
    pub number: u64,
    /// The letter, or a piece of it.
    #[n(1)]
    pub letter: Letter,
    /// Links found dead.
    #[n(2)]
    pub dead: DeadLinks,
    /// Which piece of it this is, if it needs several.
    #[n(3)]
    pub fragment: Option<Fragment>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::config::MAX_PLAIN;
    use crate::wire::codec;
    use crate::wire::message::Message;

    fn letter(body: usize) -> Letter {
        Letter {
            origin: [1; 16],
            epoch: u64::MAX,
            to: [2; 16],
            number: u64::MAX,
            attempt: 255,
            kind: 255,
            priority: 3,
            left_ms: u32::MAX,
            body: vec![7; body],
            tag: [9; 16],
        }
    }

    fn dead(links: u8) -> DeadLinks {
        let mut dead = DeadLinks::default();
        dead.add((0..links).map(|n| (Stamp([n; 4]), Stamp([n; 4]))));
        dead
    }

    #[test]
    fn the_longest_carrying_fits_a_datagram() {
        let path = Path(vec![Stamp([3; 4]); MAX_PATH]);
        let fragment = Some(Fragment { index: 63, count: 64 });
        let letter = letter(MAX_PIECE);
        let longest = [
            Message::Carry(Carry {
                number: u64::MAX,
                letter: letter.clone(),
                hops: 255,
                path,
                dead: dead(8),
                fragment,
            }),
            Message::Back(Back { number: u64::MAX, letter, dead: dead(8), fragment }),
            Message::Got(Got {
                taken: vec![u64::MAX; MAX_TAKEN],
                receipts: vec![Receipt { number: u64::MAX, tag: [0; 16] }; MAX_RECEIPTS],
            }),
        ];
        for message in longest {
            let mut text = Vec::new();
            codec::encode(&message, &mut text);
            assert!(text.len() <= MAX_PLAIN, "{} of {} bytes", message.name(), text.len());
        }
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_no_carrying() {
        for (relays, links, is_read) in [(15, 8, true), (16, 8, false), (15, 9, false)] {
            let path = Path(vec![Stamp([3; 4]); relays]);
            let dead = DeadLinks((0..links).map(|n| (Stamp([n; 4]), Stamp([n; 4]))).collect());
            let mut text = Vec::new();
            let carry = Carry { number: 1, letter: letter(1), hops: 5, path, dead, fragment: None };
            codec::encode(&Message::Carry(carry), &mut text);
            assert_eq!(codec::decode(&text).is_ok(), is_read, "{relays} relays and {links} links");
        }
    }

    #[test]
    fn a_tag_covers_all_but_the_time_left() {
        type Change = fn(&mut Letter);
        let table: &[(&str, Change, bool)] = &[
            ("left", |letter| letter.left_ms -= 1, true),
            ("origin", |letter| letter.origin[0] += 1, false),
            ("epoch", |letter| letter.epoch -= 1, false),
            ("to", |letter| letter.to[15] += 1, false),
            ("number", |letter| letter.number -= 1, false),
            ("attempt", |letter| letter.attempt -= 1, false),
            ("kind", |letter| letter.kind -= 1, false),
            ("priority", |letter| letter.priority -= 1, false),
            ("body", |letter| letter.body[0] += 1, false),
            ("body's length", |letter| letter.body.push(7), false),
        ];
        let whole = letter(3);
        for (field, change, is_same) in table {
            let mut changed = whole.clone();
            change(&mut changed);
            assert_eq!(changed.tag_under(&[5; 32]) == whole.tag_under(&[5; 32]), *is_same, "{field}");
        }
        assert_ne!(whole.tag_under(&[5; 32]), whole.tag_under(&[6; 32]));
    }

    #[test]
    fn the_longest_text_is_a_letter_and_a_longer_one_is_none() {
        for (kind, payload, fits) in [(64, 65_536, true), (65, 1, false), (1, 65_537, false)] {
            let body = Text { kind: "k".repeat(kind), payload: vec![b' '; payload] }.bytes();
            assert_eq!(Text::parse(&body).is_some(), fits, "{kind} and {payload} bytes");
            assert!(!fits || body.len() <= MAX_BODY);
        }
        assert_eq!(Text::parse(b"{}"), None);
    }
}

//! HELLOs of nodes that do not exist, sealed with the mesh's own key: what a hostile member can make by the million.

use std::net::SocketAddr;

use kodikon_core::effect::{Arrival, Cast};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, InterfaceIndex, NodeId, Seq, SessionTag};
use kodikon_core::ground::time::WallTime;
use kodikon_core::machines::membership::read_card;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::{Hello, Message};
use kodikon_core::wire::seal::GroupKey;

/// What stands where each fake puts something of its own.
const KEY: [u8; 32] = [0xd1; 32];
const TAG: [u8; 8] = [0xd3; 8];

/// Makes HELLOs, each of another identity, from another session and another address.
///
/// Signing costs an attacker what it costs us, 22 µs; without it a fake differs only where somebody checks, which is what a flood
/// tries to bring about. So every hundredth is truly signed, out of a hundred made beforehand, and the others bear a signature that is none.
pub(crate) struct Fakes {
    group: GroupKey,
    template: Vec<u8>,
    /// Where key, author and tag stand in the template.
    places: [usize; 3],
    signed: Vec<(SessionTag, Vec<u8>)>,
    count: u32,
}

impl Fakes {
    pub(crate) fn new(config: &Config) -> Self {
        let identity = Identity::from_secret(&[0xd0; 32]);
        let template = hello(config, &identity, &KEY, TAG);
        let place = |part: &[u8]| template.windows(part.len()).position(|window| window == part).expect("it is there");
        let places = [place(&KEY), place(&identity.id().0), place(&TAG)];
        let signed = (0..100u8).map(|n| {
            let identity = Identity::from_secret(&[0xe0, n].repeat(16).try_into().expect("32 bytes"));
            let tag = [0xe0, n, 0, 0, 0, 0, 0, 0];
            (SessionTag(tag), hello(config, &identity, &identity.public_key(), tag))
        });
        let signed = signed.collect();
        Self { group: GroupKey::new(&config.group_key()), template, places, signed, count: 0 }
    }

    /// How many were made.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The next one, and how it comes in.
    pub(crate) fn next(&mut self) -> (Arrival, Vec<u8>) {
        self.count += 1;
        let n = self.count.to_be_bytes();
        let casts = [Cast::Multicast4, Cast::Unicast, Cast::Broadcast, Cast::Multicast6];
        let from = SocketAddr::from(([10, n[1].wrapping_add(1), n[2], n[3]], 10_000));
        let arrival = Arrival { from, interface: InterfaceIndex(2), cast: casts[self.count as usize % 4] };
        if self.count.is_multiple_of(100) {
            let (tag, text) = &self.signed[self.count as usize / 100 % self.signed.len()];
            return (arrival, self.seal(*tag, text));
        }
        let key = *blake3::hash(&n).as_bytes();
        let tag = SessionTag([n, *b"fake"].concat().try_into().expect("eight bytes"));
        let mut text = self.template.clone();
        for (place, part) in self.places.iter().zip([&key[..], &NodeId::of(&key).0, &tag.0]) {
            text[*place..place + part.len()].copy_from_slice(part);
        }
        (arrival, self.seal(tag, &text))
    }

    fn seal(&self, tag: SessionTag, text: &[u8]) -> Vec<u8> {
        let header = Header { tag, counter: u64::from(self.count) };
        self.group.session(tag).seal(&header, text)
    }
}

/// The text of a HELLO with this key and session in its card.
fn hello(config: &Config, identity: &Identity, key: &[u8; 32], tag: [u8; 8]) -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    let write = |e: &mut minicbor::Encoder<Vec<u8>>| {
        e.map(9)?.u8(0)?.bytes(key)?.u8(1)?.bytes(&[0xd2; 32])?.u8(2)?.bytes(&tag)?.u8(3)?.u8(0)?;
        e.u8(4)?.str("fake")?.u8(5)?.u8(1)?.u8(6)?.bool(false)?.u8(7)?.array(0)?.u8(8)?.str("0.1.0")?.ok()
    };
    write(&mut e).expect("memory takes it");
    let statement =
        Statement { kind: OpKind::Card, key: Vec::new(), body: e.into_writer(), lamport: 1, wall: WallTime(0) };
    let card = SignedOp::sign(identity, config.mesh_id(), Epoch::new(1, 1), Seq(1), statement);
    let mut text = Vec::new();
    codec::encode(&Message::Hello(Hello { card, index: 0 }), &mut text);
    text
}

#[test]
fn a_fake_is_a_hello_with_a_card_of_its_own() {
    let config = Config::new("x");
    let mut fakes = Fakes::new(&config);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let (_, mut frame) = fakes.next();
        let header = Header::decode(&frame).expect("a frame");
        let group = GroupKey::new(&config.group_key());
        let text = group.session(header.tag).open(&header, &mut frame).expect("sealed in its session");
        let batch = codec::decode(text).expect("a message");
        let [Message::Hello(hello)] = &batch.messages[..] else { panic!("{batch:?}") };
        let card = read_card(&hello.card).expect("a card of its author");
        assert_eq!(card.session(), header.tag);
        ids.insert(hello.card.author());
    }
    assert_eq!(ids.len(), 500);
}

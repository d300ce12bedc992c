//! Decides what a node says of its links: whom it hears on which segment and at what cost, and, for a segment that it
//! names, who is on it.

use minicbor::{Decode, Encode};

use crate::ground::id::{InterfaceIndex, NodeId};

/// Segments that one node lists at most: interfaces of one host that carry the mesh.
pub const MAX_SEGMENTS: usize = 10;
/// Members of one segment that a node lists as not heard at most; a node that misses more lists whom it hears instead.
pub const MAX_UNHEARD: usize = 16;
/// Members listed one by one over all segments, as not heard or as heard badly, so that the op fits a datagram.
pub const MAX_UNHEARD_IN_ALL: usize = 32;
/// Peers listed one by one at most: those reached by no common segment, the cheapest first.
pub const MAX_DIRECT: usize = 32;
/// Members in one part of a segment's list: 115 of 8 bytes fit a datagram, and parts are filled unevenly.
pub const MAX_MEMBERS_OF_PART: usize = 110;
/// Parts of a segment's list at most: 4,096 nodes fill each by half.
pub const MAX_PARTS: usize = 64;
/// Bytes of a links op's body: with its envelope and signature it fits a datagram.
pub const MAX_LINKS: usize = 1_136;
/// The cost of a link of clean Ethernet, both ends together: costs are counted in tenths of it.
pub const CLEAN_COST: u32 = 10;
/// A cost above this is no link.
pub const MAX_COST: u16 = 1_000;

/// How much worse than clean a link is, in few steps, so that it is told seldom. What is told is the worse of what is lost one
/// way and of what the round trip is worth (docs/machines/routing.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct LossClass(#[n(0)] u8);

impl LossClass {
    /// Nothing is known to be wrong.
    pub const CLEAN: Self = Self(0);
    /// The worst.
    pub const WORST: Self = Self(6);
    /// By class: the loss one way from which it begins, and that for which it stands, in thousandths.
    const STEPS: [(u32, u32); 7] = [(0, 0), (120, 200), (280, 340), (400, 460), (520, 580), (640, 700), (760, 800)];

    /// The class of a loss.
    #[must_use]
    pub fn of(permille: u32) -> Self {
        let above = Self::STEPS.iter().skip(1).filter(|(from, _)| permille >= *from).count();
        Self(u8::try_from(above).unwrap_or(Self::WORST.0))
    }

    /// The loss one way that it stands for, in thousandths.
    #[must_use]
    pub fn permille(self) -> u32 {
        Self::STEPS[usize::from(self.0.min(Self::WORST.0))].1
    }

    /// What a link of this class costs that would cost so much if it were clean: the expected number of times that a datagram and
    /// its answer must be sent until both arrive (ETX: De Couto et al., MobiCom 2003), 1 / (1 - loss)², no more than `most`.
    #[must_use]
    pub fn cost(self, clean: u32, most: u32) -> u32 {
        let passes = 1_000 - self.permille();
        (clean * 1_000_000).div_ceil(passes * passes).min(most)
    }
}

/// Members of a segment that are heard worse than most there, 9 bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LossyIds(pub Vec<(ShortId, LossClass)>);

impl<C> Encode<C> for LossyIds {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|(short, loss)| short.0.into_iter().chain([loss.0])).collect();
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LossyIds {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let (entries, rest) = d.bytes()?.as_chunks::<9>();
        if !rest.is_empty() {
            return Err(minicbor::decode::Error::message("what is heard badly has nine bytes each"));
        }
        let entry = |&[a, b, c, d, e, f, g, h, loss]: &[u8; 9]| (ShortId([a, b, c, d, e, f, g, h]), LossClass(loss));
        Ok(Self(entries.iter().map(entry).collect()))
    }
}

/// A set of nodes that hear each other on one interface, named after one of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct SegmentId(#[n(0)] pub u64);

impl SegmentId {
    /// The segment that a node names, seen from one of its interfaces: nobody else can list its members.
    #[must_use]
    pub fn of(namer: &NodeId, index: InterfaceIndex) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 segment");
        hasher.update(&namer.0).update(&index.0.to_le_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u64::from_be_bytes(bytes))
    }
}

/// The first eight bytes of an id, as lists of nodes name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShortId(pub [u8; 8]);

impl ShortId {
    /// Of an id.
    #[must_use]
    pub fn of(id: &NodeId) -> Self {
        let mut short = [0; 8];
        short.copy_from_slice(&id.0[..8]);
        Self(short)
    }

    /// The lowest id that it may stand for; the highest has all ones behind it.
    #[must_use]
    pub fn lowest(self) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.0);
        NodeId(id)
    }
}

/// Ids in a row, 8 bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShortIds(pub Vec<ShortId>);

impl<C> Encode<C> for ShortIds {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|short| short.0).collect();
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ShortIds {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let (ids, rest) = d.bytes()?.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(minicbor::decode::Error::message("short ids have eight bytes each"));
        }
        Ok(Self(ids.iter().copied().map(ShortId).collect()))
    }
}

/// What a node says of one segment that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SegmentLink {
    /// Which.
    #[n(0)]
    pub segment: SegmentId,
    /// Bytes of an IP packet there.
    #[n(1)]
    pub mtu: u16,
    /// The node's half of what a link there costs if nothing is lost: half of [`CLEAN_COST`] on Ethernet, more on Wi-Fi.
    #[n(2)]
    pub cost: u16,
    /// Members that it does not hear.
    #[n(3)]
    pub unheard: ShortIds,
    /// After whom the segment is named: whoever does not know that node yet learns that it is heard there.
    #[n(4)]
    pub namer: ShortIds,
    /// How well it hears members there that are not told of by themselves.
    #[n(5)]
    pub loss: LossClass,
    /// Those that it hears worse.
    #[n(6)]
    pub lossy: LossyIds,
}

/// A peer reached by no common segment: over a router, or on a segment where few hear each other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DirectLink {
    /// To whom.
    #[n(0)]
    pub peer: ShortIds,
    /// This end's half of the cost if nothing is lost.
    #[n(1)]
    pub cost: u16,
    /// How well it is heard.
    #[n(2)]
    pub loss: LossClass,
}

/// The body of a links op with an empty key: all links of its author.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct LinksBody {
    /// By segment.
    #[n(0)]
    pub segments: Vec<SegmentLink>,
    /// One by one.
    #[n(1)]
    pub direct: Vec<DirectLink>,
    /// Whether its author needs the map: it hears some on one interface and others on another, or is told of somebody whom it
    /// does not hear. Where nobody does all hear each other, and nobody tells of links.
    #[n(2)]
    pub is_joint: bool,
}

/// The body of a links op with a key: a part of the members of a segment that its author names. The parts together are
/// the segment; which member stands in which part is the author's affair.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct MembersBody {
    /// The author's interface, from which the segment has its name.
    #[n(0)]
    pub index: u32,
    /// Whom the author hears there, itself included.
    #[n(1)]
    pub members: ShortIds,
}

/// The key of a part of a segment's list of members.
#[must_use]
pub fn members_key(segment: SegmentId, part: u8) -> Vec<u8> {
    [segment.0.to_be_bytes().as_slice(), &[part]].concat()
}

impl LinksBody {
    /// Reads a body within limits.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let links: Self = minicbor::decode(body).ok().filter(|_| body.len() <= MAX_LINKS)?;
        let unheard: usize = links.segments.iter().map(|segment| segment.unheard.0.len() + segment.lossy.0.len()).sum();
        let fits = links.segments.len() <= MAX_SEGMENTS
            && links.direct.len() <= MAX_DIRECT
            && unheard <= MAX_UNHEARD_IN_ALL
            && links.segments.iter().all(|segment| segment.unheard.0.len() <= MAX_UNHEARD)
            && links
                .segments
                .iter()
                .all(|segment| (1..=MAX_COST).contains(&segment.cost) && segment.namer.0.len() == 1)
            && links.direct.iter().all(|link| (1..=MAX_COST).contains(&link.cost) && link.peer.0.len() == 1);
        fits.then_some(links)
    }
}

impl MembersBody {
    /// Reads the part of a list that an op of this author and key holds: the segment, the part's number, and who is in it.
    /// `None` for a segment that is not the author's to name.
    #[must_use]
    pub fn parse(author: &NodeId, key: &[u8], body: &[u8]) -> Option<(SegmentId, u8, Vec<ShortId>)> {
        let (segment, part) = key.split_first_chunk::<8>().filter(|(_, rest)| rest.len() == 1)?;
        let segment = SegmentId(u64::from_be_bytes(*segment));
        let parsed: Self = minicbor::decode(body).ok().filter(|_| body.len() <= MAX_LINKS)?;
        let part = *part.first()?;
        let fits = parsed.members.0.len() <= MAX_MEMBERS_OF_PART
            && usize::from(part) < MAX_PARTS
            && SegmentId::of(author, InterfaceIndex(parsed.index)) == segment;
        fits.then_some((segment, part, parsed.members.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(n: u8) -> ShortId {
        ShortId([n; 8])
    }

    fn full_links() -> LinksBody {
        let segment = |n: usize| SegmentLink {
            segment: SegmentId(u64::MAX - n as u64),
            mtu: u16::MAX,
            cost: MAX_COST,
            namer: ShortIds(vec![short(1)]),
            unheard: ShortIds::default(),
            loss: LossClass::WORST,
            lossy: LossyIds(vec![(short(n as u8), LossClass::WORST); if n == 0 { MAX_UNHEARD_IN_ALL } else { 0 }]),
        };
        let direct =
            |n: usize| DirectLink { peer: ShortIds(vec![short(n as u8)]), cost: MAX_COST, loss: LossClass::WORST };
        LinksBody {
            segments: (0..MAX_SEGMENTS).map(segment).collect(),
            direct: (0..MAX_DIRECT).map(direct).collect(),
            is_joint: true,
        }
    }

    #[test]
    fn the_fullest_body_fits_its_limit_and_one_more_does_not_pass() {
        let body = minicbor::to_vec(full_links()).unwrap();
        assert_eq!(LinksBody::parse(&body), Some(full_links()), "{} bytes", body.len());
        let mut more = full_links();
        more.direct.push(more.direct[0].clone());
        assert_eq!(LinksBody::parse(&minicbor::to_vec(&more).unwrap()), None);
        let mut more = full_links();
        more.segments[1].unheard.0.push(short(1));
        assert_eq!(LinksBody::parse(&minicbor::to_vec(&more).unwrap()), None);
        let mut free = full_links();
        free.segments[3].cost = 0;
        assert_eq!(LinksBody::parse(&minicbor::to_vec(&free).unwrap()), None, "a link costs something");
    }

    #[test]
    fn a_lossy_link_costs_as_often_as_it_must_be_used_until_all_arrives() {
        // (lost of a thousand, what a clean link of 10 costs then)
        let table = [
            (0, 10),
            (119, 10),
            (120, 16),
            (279, 16),
            (280, 23),
            (399, 23),
            (400, 35),
            (520, 57),
            (640, 112),
            (1_000, 250),
        ];
        for (permille, expected) in table {
            assert_eq!(LossClass::of(permille).cost(CLEAN_COST, 2_000), expected, "{permille} of a thousand lost");
        }
        assert_eq!(LossClass(255).cost(1_000, 2_000), 2_000, "of a later version: the worst, and still a link");
        assert!((0..=6).map(LossClass).is_sorted_by_key(LossClass::permille));
    }

    #[test]
    fn a_segment_is_listed_by_the_node_it_is_named_after_alone() {
        let (namer, other) = (NodeId([1; 16]), NodeId([2; 16]));
        let index = InterfaceIndex(3);
        let segment = SegmentId::of(&namer, index);
        let body = MembersBody { index: 3, members: ShortIds(vec![short(1); MAX_MEMBERS_OF_PART]) };
        let body = minicbor::to_vec(&body).unwrap();
        assert!(body.len() <= MAX_LINKS, "{}", body.len());
        let key = members_key(segment, 4);
        let parsed = MembersBody::parse(&namer, &key, &body).unwrap();
        assert_eq!((parsed.0, parsed.1, parsed.2.len()), (segment, 4, MAX_MEMBERS_OF_PART));
        assert_eq!(MembersBody::parse(&other, &key, &body), None);
        assert_eq!(MembersBody::parse(&namer, &members_key(SegmentId(7), 4), &body), None);
        assert_eq!(MembersBody::parse(&namer, &members_key(segment, 64), &body), None);
        assert_eq!(MembersBody::parse(&namer, &key[..8], &body), None);
    }
}

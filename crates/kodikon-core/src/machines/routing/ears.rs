//! Decides on which segment an interface is, and after whom that segment is named.

use crate::ground::bounded::{BoundedMap, RecentMap};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::random::Random;
use crate::ground::time::{Duration, Instant};
use crate::model::links::SegmentId;

/// Without a namer for so long after the first was heard there, a joint becomes it, since it is the one that needs the map, or the
/// lowest of those heard: a namer that is there has spoken by then.
const FIRST_NAMER: Duration = Duration::from_millis(250);
/// The others wait so much longer: the lowest may hear less than they do.
const NEXT_NAMER: Duration = Duration::from_secs(2);
/// A namer's own links must show the segment after this, and its list this node: until then they may be on their way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// Whom its namer no longer lists for so long, it does not hear: long enough for a suspicion that is answered, short enough for others
/// to know a way to it before the hard bound, of which the namer has waited three fifths.
const UNLISTED: Duration = Duration::from_secs(3);

/// A namer that does not answer is asked again after this.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Namers asked at once; the one asked longest ago makes room. There is one, or two while segments meet.
const MAX_ASKED: usize = 16;

/// What is heard on one interface of who names the segment there.
#[derive(Debug)]
pub(super) struct Ear {
    namers: BoundedMap<NodeId, (SegmentId, Instant)>,
    /// Whom we asked whether it names the segment, when, and with which nonce.
    asked: RecentMap<NodeId, (u64, Instant)>,
    /// Since when others are heard and nobody names the segment.
    nameless: Option<Instant>,
    segment: Option<SegmentId>,
    namer: NodeId,
    is_mine: bool,
    listing: Listing,
}

/// Whether the namer of the segment lists this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// Not yet, as far as is known.
    NotYet,
    Listed,
    /// It did, and has not since then.
    NoMore(Instant),
}

/// What the map shows of a namer and its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    /// Whether the namer's own links have the segment; `None` if they are not known.
    pub(super) in_links: Option<bool>,
    /// Whether its list has this node.
    pub(super) lists_us: bool,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self {
            namers: BoundedMap::new(MAX_PEERS),
            asked: RecentMap::new(MAX_ASKED),
            nameless: None,
            segment: None,
            namer: NodeId::default(),
            is_mine: false,
            listing: Listing::NotYet,
        }
    }

    /// The segment, if it has a name.
    pub(super) fn segment(&self) -> Option<SegmentId> {
        self.segment
    }

    /// After whom it is named.
    pub(super) fn namer(&self) -> NodeId {
        self.namer
    }

    /// Whether it is named after this node.
    pub(super) fn is_mine(&self) -> bool {
        self.is_mine
    }

    /// Whether a peer that says to name the segment is to be asked for a proof of it: not if that is known, nor twice a second.
    pub(super) fn asks(&mut self, now: Instant, namer: NodeId, segment: SegmentId, nonce: u64) -> bool {
        let is_known = self.namers.get(&namer).is_some_and(|(held, _)| *held == segment);
        let is_early = self.asked.get(&namer).is_some_and(|(_, at)| now.since(*at) < ASK_EVERY);
        if !is_known && !is_early {
            self.asked.insert(namer, (nonce, now));
        }
        !is_known && !is_early
    }

    /// A namer that lists this node no more is called, each second, with a nonce: where all that it did not hear was lost by chance it
    /// hears this, and no segment changes its name.
    pub(super) fn calls(&mut self, now: Instant, random: &mut Random) -> Option<(NodeId, u64)> {
        let is_early = self.asked.get(&self.namer).is_some_and(|(_, at)| now.since(*at) < ASK_EVERY);
        if is_early || !matches!(self.listing, Listing::NoMore(_)) {
            return None;
        }
        let nonce = random.bits();
        self.asked.insert(self.namer, (nonce, now));
        Some((self.namer, nonce))
    }

    /// Whether this answers what we asked.
    pub(super) fn is_answer(&self, namer: &NodeId, nonce: u64) -> bool {
        self.asked.get(namer).is_some_and(|(asked, _)| *asked == nonce)
    }

    /// A peer says that the segment bears its name. `true` if that is news.
    pub(super) fn note(&mut self, now: Instant, namer: NodeId, segment: SegmentId) -> bool {
        if self.namers.get(&namer).is_some_and(|(held, _)| *held == segment) {
            return false;
        }
        // There are no more peers than places.
        drop(self.namers.insert(namer, (segment, now)));
        true
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.namers.remove(id);
        self.asked.remove(id);
    }

    pub(super) fn namers(&self) -> usize {
        self.namers.len()
    }

    /// Chooses the segment anew. `heard` are those heard there, by id; `shown` says what the map has of a namer. `true` if the choice
    /// has changed.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        (me, index): (NodeId, InterfaceIndex),
        is_joint: bool,
        heard: &[NodeId],
        shown: impl Fn(&NodeId, SegmentId) -> Shown,
    ) -> bool {
        let before = (self.segment, self.is_mine);
        self.part_from_the_deaf(now, &shown);
        self.forget_the_stale(now, &shown);
        let stands = |namer: &NodeId, (segment, since): &(SegmentId, Instant)| {
            heard.binary_search(namer).is_ok()
                && shown(namer, *segment).in_links.unwrap_or(true) | (now.since(*since) < ON_ITS_WAY)
        };
        let namer = self.namers.iter().find(|(namer, naming)| stands(namer, naming));
        let namer = namer.map(|(namer, (segment, _))| (*namer, *segment));
        if heard.is_empty() {
            (self.segment, self.is_mine, self.nameless) = (None, false, None);
        } else if let Some((namer, segment)) = namer.filter(|(namer, _)| !self.is_mine || *namer < me) {
            (self.segment, self.namer) = (Some(segment), namer);
            (self.is_mine, self.nameless) = (false, None);
        } else if !self.is_mine {
            let since = *self.nameless.get_or_insert(now);
            self.segment = None;
            if now >= since + patience(&me, is_joint, heard) {
                (self.segment, self.namer) = (Some(SegmentId::of(&me, index)), me);
                (self.is_mine, self.nameless) = (true, None);
            }
        }
        let is_other = before.0 != self.segment;
        if is_other {
            self.listing = Listing::NotYet;
        }
        is_other || before.1 != self.is_mine
    }

    /// A namer that we hear and that no longer lists us does not hear us: on its segment nobody would know a way to us. It is asked
    /// again with its next word, and does not answer as long as it is so.
    fn part_from_the_deaf(&mut self, now: Instant, shown: impl Fn(&NodeId, SegmentId) -> Shown) {
        let Some(segment) = self.segment.filter(|_| !self.is_mine) else { return };
        self.listing = match self.listing {
            _ if shown(&self.namer, segment).lists_us => Listing::Listed,
            Listing::Listed => Listing::NoMore(now),
            Listing::NoMore(since) if now >= since + UNLISTED => {
                self.namers.remove(&self.namer);
                Listing::NotYet
            }
            listing @ (Listing::NotYet | Listing::NoMore(_)) => listing,
        };
    }

    /// A name that was proven long ago, on a segment where this node is not listed: its namer may hear us no more, though we hear it again.
    /// It is asked anew with its next word, and taken when it answers.
    fn forget_the_stale(&mut self, now: Instant, shown: impl Fn(&NodeId, SegmentId) -> Shown) {
        let current = self.segment.filter(|_| !self.is_mine && self.listing != Listing::NotYet).map(|_| self.namer);
        let is_stale = |namer: &NodeId, (segment, since): &(SegmentId, Instant)| {
            let shown = shown(namer, *segment);
            current != Some(*namer) && now.since(*since) >= ON_ITS_WAY && shown.in_links.is_some() && !shown.lists_us
        };
        self.namers.retain(|namer, naming| !is_stale(namer, naming));
    }

    /// When this node becomes the namer, if nobody else does before.
    pub(super) fn names_at(&self, me: &NodeId, is_joint: bool, heard: &[NodeId]) -> Option<Instant> {
        self.nameless.map(|since| since + patience(me, is_joint, heard))
    }

    /// When the choice is to be made again, though nothing is heard.
    pub(super) fn next_deadline(&self, me: &NodeId, is_joint: bool, heard: &[NodeId]) -> Option<Instant> {
        let parts = match self.listing {
            Listing::NoMore(since) => {
                let call = self.asked.get(&self.namer).map(|(_, at)| *at + ASK_EVERY);
                Some(call.map_or(since + UNLISTED, |call| call.min(since + UNLISTED)))
            }
            Listing::NotYet | Listing::Listed => None,
        };
        parts.into_iter().chain(self.names_at(me, is_joint, heard)).min()
    }
}

fn patience(me: &NodeId, is_joint: bool, heard: &[NodeId]) -> Duration {
    if is_joint || heard.iter().all(|id| me < id) { FIRST_NAMER } else { FIRST_NAMER + NEXT_NAMER }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(2);

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn unknown(_: &NodeId, _: SegmentId) -> Shown {
        Shown { in_links: None, lists_us: false }
    }

    #[test]
    fn the_lowest_names_the_segment_and_the_others_wait_for_it() {
        let mut ear = Ear::new();
        assert!(!ear.choose(at(0), (id(1), ETH), false, &[id(2), id(3)], unknown));
        assert_eq!(ear.next_deadline(&id(1), false, &[id(2), id(3)]), Some(at(250)));
        assert!(ear.choose(at(250), (id(1), ETH), false, &[id(2), id(3)], unknown));
        assert_eq!((ear.segment(), ear.is_mine()), (Some(SegmentId::of(&id(1), ETH)), true));

        let mut other = Ear::new();
        other.choose(at(0), (id(2), ETH), false, &[id(1), id(3)], unknown);
        assert!(!other.choose(at(2_249), (id(2), ETH), false, &[id(1), id(3)], unknown));
        assert!(other.note(at(2_249), id(1), SegmentId(7)));
        assert!(other.choose(at(2_249), (id(2), ETH), false, &[id(1), id(3)], unknown));
        assert_eq!((other.segment(), other.is_mine()), (Some(SegmentId(7)), false));
    }

    #[test]
    fn a_namer_is_asked_for_what_is_not_known_of_it_once_a_second() {
        let mut ear = Ear::new();
        assert!(ear.asks(at(0), id(1), SegmentId(1), 77));
        assert!(!ear.asks(at(999), id(1), SegmentId(1), 78));
        assert!(ear.is_answer(&id(1), 77) && !ear.is_answer(&id(1), 78) && !ear.is_answer(&id(2), 77));
        ear.note(at(999), id(1), SegmentId(1));
        assert!(!ear.asks(at(2_000), id(1), SegmentId(1), 79), "it is known");
        assert!(ear.asks(at(2_000), id(1), SegmentId(2), 80), "it says something else now");
    }

    #[test]
    fn a_joint_names_the_segment_at_once_though_it_is_not_the_lowest() {
        let mut ear = Ear::new();
        ear.choose(at(0), (id(2), ETH), true, &[id(1), id(3)], unknown);
        assert_eq!(ear.next_deadline(&id(2), true, &[id(1), id(3)]), Some(at(250)));
        assert!(ear.choose(at(250), (id(2), ETH), true, &[id(1), id(3)], unknown));
        assert!(ear.is_mine());
    }

    #[test]
    fn a_name_proven_long_ago_is_proven_anew_where_its_namer_does_not_list_us() {
        let lists_us = |lists_us: bool| move |_: &NodeId, _: SegmentId| Shown { in_links: Some(true), lists_us };
        let (me, namer) = ((id(2), ETH), id(1));
        let mut ear = Ear::new();
        assert!(ear.note(at(0), namer, SegmentId(1)));
        assert!(ear.choose(at(0), me, false, &[namer, id(3)], lists_us(true)));
        ear.choose(at(5_000), me, false, &[namer, id(3)], lists_us(true));
        // The link to the namer dies, and this node names the segment for those who do hear it.
        ear.choose(at(20_000), me, true, &[id(3)], lists_us(true));
        ear.choose(at(20_250), me, true, &[id(3)], lists_us(true));
        assert!(ear.is_mine());
        // The namer is heard again and does not hear us.
        ear.choose(at(30_000), me, true, &[namer, id(3)], lists_us(false));
        assert!(ear.is_mine(), "on the other's segment nobody would know a way to us");
        assert!(ear.asks(at(30_000), namer, SegmentId(1), 7));
        // It answers: it is believed, and has some seconds to list us.
        assert!(ear.note(at(31_000), namer, SegmentId(1)));
        assert!(ear.choose(at(31_000), me, true, &[namer, id(3)], lists_us(false)));
        ear.choose(at(40_999), me, true, &[namer, id(3)], lists_us(false));
        assert_eq!((ear.segment(), ear.is_mine()), (Some(SegmentId(1)), false));
        ear.choose(at(41_000), me, true, &[namer, id(3)], lists_us(false));
        assert_eq!(ear.segment(), None);
    }

    #[test]
    fn of_two_namers_the_higher_gives_up() {
        let mut ear = Ear::new();
        for ms in [0, 3_000] {
            ear.choose(at(ms), (id(2), ETH), false, &[id(1), id(3)], unknown);
        }
        assert!(ear.is_mine());
        ear.note(at(3_000), id(3), SegmentId(3));
        assert!(!ear.choose(at(3_000), (id(2), ETH), false, &[id(1), id(3)], unknown), "a higher one gives up itself");
        ear.note(at(3_000), id(1), SegmentId(1));
        assert!(ear.choose(at(3_000), (id(2), ETH), false, &[id(1), id(3)], unknown));
        assert_eq!((ear.segment(), ear.is_mine()), (Some(SegmentId(1)), false));
    }

    #[test]
    fn a_name_ends_with_the_namer_or_when_its_own_links_do_not_show_it() {
        let mut ear = Ear::new();
        ear.note(at(0), id(1), SegmentId(1));
        assert!(ear.choose(at(0), (id(2), ETH), false, &[id(1), id(3)], unknown));
        let shows = |shown: bool| move |_: &NodeId, _: SegmentId| Shown { in_links: Some(shown), lists_us: true };
        assert!(!ear.choose(at(5_000), (id(2), ETH), false, &[id(1), id(3)], shows(false)), "they may be on their way");
        assert!(!ear.choose(at(60_000), (id(2), ETH), false, &[id(1), id(3)], shows(true)));
        assert!(ear.choose(at(60_000), (id(2), ETH), false, &[id(1), id(3)], shows(false)));
        assert_eq!(ear.segment(), None);
        ear.choose(at(60_000), (id(2), ETH), false, &[id(1), id(3)], shows(true));
        assert!(ear.choose(at(60_000), (id(2), ETH), false, &[id(3)], shows(true)), "it is not heard any more");
        assert_eq!((ear.segment(), ear.is_mine()), (None, false));
    }

    #[test]
    fn a_namer_that_lists_us_no_more_does_not_hear_us_and_names_nothing_of_ours_until_it_answers_again() {
        let lists = |lists_us: bool| move |_: &NodeId, _: SegmentId| Shown { in_links: Some(true), lists_us };
        let mut ear = Ear::new();
        ear.note(at(0), id(1), SegmentId(1));
        assert!(ear.choose(at(0), (id(2), ETH), false, &[id(1), id(3)], lists(false)));
        assert!(
            !ear.choose(at(9_999), (id(2), ETH), false, &[id(1), id(3)], lists(false)),
            "its list may be on its way"
        );
        ear.choose(at(61_000), (id(2), ETH), false, &[id(1), id(3)], lists(true));
        ear.choose(at(70_000), (id(2), ETH), false, &[id(1), id(3)], lists(false));
        assert_eq!(ear.next_deadline(&id(2), false, &[id(1), id(3)]), Some(at(73_000)));
        let random = &mut Random::from_seed([1; 32]);
        let mut called = |ear: &mut Ear, ms| ear.calls(at(ms), random).map(|(namer, _)| namer);
        assert_eq!(called(&mut ear, 70_000), Some(id(1)), "where chance alone was deaf it hears that");
        assert_eq!(ear.next_deadline(&id(2), false, &[id(1), id(3)]), Some(at(71_000)));
        assert_eq!(
            [70_999, 71_000, 71_001, 72_000].map(|ms| called(&mut ear, ms)),
            [None, Some(id(1)), None, Some(id(1))]
        );
        assert_eq!(ear.next_deadline(&id(2), false, &[id(1), id(3)]), Some(at(73_000)));
        ear.choose(at(72_999), (id(2), ETH), false, &[id(1), id(3)], lists(true));
        assert_eq!(called(&mut ear, 74_000), None, "it is listed");
        ear.choose(at(80_000), (id(2), ETH), false, &[id(1), id(3)], lists(false));
        assert!(
            !ear.choose(at(82_999), (id(2), ETH), false, &[id(1), id(3)], lists(false)),
            "it may have been suspected"
        );
        assert!(ear.choose(at(83_000), (id(2), ETH), false, &[id(1), id(3)], lists(false)));
        assert_eq!(ear.segment(), None);
        assert!(ear.choose(at(85_250), (id(2), ETH), false, &[id(1), id(3)], lists(false)), "it names its own");
        assert!(ear.is_mine());
        assert!(ear.asks(at(85_250), id(1), SegmentId(1), 7), "the namer is asked again");
        ear.note(at(90_000), id(1), SegmentId(1));
        assert!(ear.choose(at(90_000), (id(2), ETH), false, &[id(1), id(3)], lists(false)));
        assert_eq!((ear.segment(), ear.is_mine()), (Some(SegmentId(1)), false));
    }
}

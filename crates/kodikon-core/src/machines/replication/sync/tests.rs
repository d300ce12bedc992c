//! What is asked and answered when two compare what they hold, at its boundaries.

use super::*;
use crate::wire::codec;

fn cover(n: u8, intervals: u64) -> Cover {
    let interval = |k: u64| Interval { first: 70_000 * k + 1, last: 70_000 * (k + 1) - 1 };
    Cover { author: [n; 16], epoch: u64::MAX, intervals: (0..intervals).map(interval).collect() }
}

#[test]
fn pieces_have_a_peer_asked_on_for_a_while_and_a_whole_op_for_as_long_again() {
    let (mut now, from) = (Instant::ZERO + Duration::from_secs(9), NodeId([1; 16]));
    let mut sync = Sync::new();
    let mut resumed = |sync: &mut Sync| {
        (0..200)
            .filter(|_| {
                sync.expect(now, from);
                sync.note_piece(now, from);
                assert_eq!(sync.goes_on(now, from, u64::MAX), 0, "nothing whole came");
                now = now + RESUME;
                sync.take_resumed(now) == Some(from)
            })
            .count()
    };
    assert_eq!(resumed(&mut sync), 44);
    assert_eq!(resumed(&mut sync), 0);
    sync.pieces = 0;
    assert_eq!(resumed(&mut sync), 44);
    let now = now + RESUME;
    sync.expect(now, from);
    sync.note_news(now, from);
    assert_eq!((sync.pieces, sync.goes_on(now, from, 5), sync.resume), (0, 5, None));
}

/// Where an answer was lost and what was lacked came by another way, every search asked everybody from then on.
#[test]
fn of_a_peer_that_holds_the_same_no_answer_is_awaited() {
    let (now, asked, other) = (Instant::ZERO + Duration::from_secs(9), NodeId([1; 16]), NodeId([2; 16]));
    for is_late in [false, true] {
        // (whose root comes, how long after the question, what it is, whether an answer is awaited still)
        for (from, ms, theirs, is_behind) in [
            (asked, 500, 7, false),
            (asked, 500, 8, true),
            (other, 500, 7, true),
            (other, 67_999, 7, true),
            (other, 68_000, 8, true),
            (other, 68_000, 7, false),
        ] {
            let mut sync = Sync { last: asked, asked: Some(now), ..Sync::new() };
            assert_eq!(is_late && sync.gives_up(now + ANSWER_LEAST), is_late);
            let later = now + Duration::from_millis(ms);
            sync.on_root(later, from, theirs, 7);
            assert_eq!(sync.is_behind(later), is_behind, "{from:?} {ms} ms {theirs} {is_late}");
        }
    }
}

#[test]
fn covers_with_gaps_are_split_so_that_each_part_fits_a_datagram() {
    for intervals in [1, 2, 3, 10, 200] {
        let random = &mut Random::from_seed([1; 32]);
        let covers: Vec<Cover> = (0..60).map(|n| told(cover(n, intervals), random).0).collect();
        let parts = in_datagrams(covers);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 60, "{intervals} intervals");
        for covers in parts {
            let end = Some(Run { author: [0xff; 16], epoch: u64::MAX });
            let whole = Digest { scope: EVERYTHING, question: true, lane: Some(1), ..Digest::default() };
            let digest = Digest { covers, from: end, until: end, ..whole };
            let mut text = Vec::new();
            codec::encode(&Message::Digest(digest), &mut text);
            assert!(text.len() <= MAX_PLAIN, "{} bytes, {intervals} intervals", text.len());
        }
    }
}

#[test]
fn of_many_gaps_some_are_told_in_turn_and_all_else_is_called_covered() {
    let random = &mut Random::from_seed([1; 32]);
    let whole = cover(1, 300);
    let gap = |k: u64| 70_000 * k;
    let (mut asked, mut lowest) = (std::collections::BTreeSet::new(), 0);
    for _ in 0..200 {
        let (cover, is_cut) = told(whole.clone(), random);
        assert!(is_cut && cover_len(&cover) <= COVER_FRAME + COVERS_BYTES / 2);
        let intervals = Intervals::from_wire(&cover.intervals);
        assert_eq!(intervals.highest(), gap(300) - 1, "what is new is asked for");
        assert!(Intervals::from_wire(&whole.intervals).without(&intervals).to_wire().is_empty(), "what is held is not");
        let gaps: Vec<u64> = (1..300).filter(|k| !intervals.contains(gap(*k))).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] == pair[0] + 1), "in a row: {gaps:?}");
        lowest += usize::from(gaps.first() == Some(&1));
        asked.extend(gaps);
    }
    assert_eq!(asked.len(), 299, "a gap that nobody can close keeps no other back");
    assert!((60..140).contains(&lowest), "the lowest are asked for in every other question: {lowest}");
    let few = cover(1, 3);
    assert_eq!(told(few.clone(), random), (few, false));
}

/// So many covers of so many intervals in each of some buckets.
struct Many(Roots, std::ops::Range<usize>, u8, u64);

impl Lanes for Many {
    const LANE: OpLane = OpLane::Log;

    fn count(&self) -> usize {
        self.1.len() * usize::from(self.2)
    }

    fn roots(&self) -> &Roots {
        &self.0
    }

    fn covers_of(&self, bucket: usize, _: Option<&NodeId>) -> Vec<Cover> {
        let of = |n: u8| Cover { author: ids_of(bucket).0.0, epoch: u64::from(n), ..cover(0, self.3) };
        (0..self.2).filter(|_| self.1.contains(&bucket)).map(of).collect()
    }
}

#[test]
fn every_run_is_spoken_of_in_one_digest_and_named_there() {
    let random = &mut Random::from_seed([1; 32]);
    for lanes in [
        Many(Roots::new(), 3..4, 100, 1),
        Many(Roots::new(), 2..5, 50, 1),
        Many(Roots::new(), 0..64, 2, 1),
        Many(Roots::new(), 63..64, 1, 50),
    ] {
        let Digests { digests, .. } = flat(&lanes, EVERYTHING, true, None, random);
        assert!(digests.len() <= MAX_DIGESTS);
        for bucket in 0..BUCKETS {
            let scope = digests.iter().filter(|digest| digest.scope >> bucket & 1 == 1);
            let (author, last) = ids_of(bucket);
            for epoch in 0..u64::from(lanes.2) + 9 {
                let run = Run { author: author.0, epoch };
                let of: Vec<&Digest> = scope.clone().filter(|digest| digest.speaks_of(run)).collect();
                assert_eq!(of.len(), 1, "{run:?}");
                let is_named = of[0].covers.iter().any(|cover| run_of::<Many>(cover) == run);
                assert_eq!(is_named, lanes.1.contains(&bucket) && epoch < u64::from(lanes.2), "{run:?}");
            }
            let run = Run { author: last.0, epoch: u64::MAX };
            assert_eq!(scope.filter(|digest| digest.speaks_of(run)).count(), 1, "{run:?}");
        }
    }
}

/// The lowest were asked for each time, and the others never.
#[test]
fn of_more_than_is_asked_at_once_any_part_is_asked() {
    let random = &mut Random::from_seed([1; 32]);
    for lanes in [Many(Roots::new(), 0..64, 1, 100), Many(Roots::new(), 5..6, 64, 100)] {
        let mut named = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let Digests { digests, .. } = flat(&lanes, EVERYTHING, true, None, random);
            assert_eq!(digests.len(), MAX_DIGESTS);
            named.extend(digests.iter().flat_map(|digest| digest.covers.iter().map(run_of::<Many>)));
        }
        assert_eq!(named.len(), 64);
    }
}

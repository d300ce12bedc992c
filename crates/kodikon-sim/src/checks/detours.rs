//! Decides how long letters needed to find another way: from a cut in silence until the first one that came around it.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::checks::reach::Places;
use crate::moment::Moment;
use crate::network::host::{HostId, SegmentId};

/// A pair whose letters come less often than this does not show when another way was found.
const STREAMING: Duration = Duration::from_millis(200);

/// What was cut on a segment.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// On which segment.
    pub segment: SegmentId,
    /// Between whom; `None`: everything.
    pub hosts: Option<[HostId; 2]>,
}

/// The ways of letters, by origin and destination.
#[derive(Debug, Default)]
pub struct Detours {
    latest: BTreeMap<[usize; 2], Latest>,
    searching: BTreeMap<[usize; 2], (Moment, Cut)>,
}

/// The latest letter of a pair.
#[derive(Debug)]
struct Latest {
    at: Moment,
    /// When the one before it came.
    before: Moment,
    way: Vec<usize>,
}

impl Detours {
    /// Something is cut: those whose letters came over it look for another way.
    pub fn cut(&mut self, now: Moment, cut: Cut, places: &Places) {
        for (pair, latest) in &self.latest {
            let is_streaming = latest.at.since(latest.before).max(now.since(latest.at)) < STREAMING;
            if is_streaming && cut.is_on(&latest.way, places) {
                self.searching.insert(*pair, (now, cut));
            }
        }
    }

    /// A letter came by these nodes, its origin first. Since when its origin had been looking for such a way, if it had.
    pub fn came(&mut self, now: Moment, way: Vec<usize>, written: Moment, places: &Places) -> Option<Moment> {
        let pair = [*way.first()?, *way.last()?];
        let (since, cut) = self.searching.get(&pair).copied().unzip();
        let is_around = cut.is_some_and(|cut| !cut.is_on(&way, places));
        // What was written later and came over it shows that it is mended.
        let is_over = since.is_some_and(|since| is_around || written > since);
        if is_over {
            self.searching.remove(&pair);
        }
        let before = self.latest.get(&pair).map_or(Moment::START, |latest| latest.at);
        self.latest.insert(pair, Latest { at: now, before, way });
        since.filter(|_| is_around)
    }
}

impl Cut {
    /// Whether a way leads over what is cut, and has no other link there.
    fn is_on(&self, way: &[usize], places: &Places) -> bool {
        way.windows(2).any(|hop| {
            let hosts = [places.host_of(hop[0]), places.host_of(hop[1])];
            let is_between =
                |[one, two]: [HostId; 2]| hosts == [Some(one), Some(two)] || hosts == [Some(two), Some(one)];
            places.only_common(self.segment, hop[0], hop[1]) && self.hosts.is_none_or(is_between)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of four, a segment between each two.
    fn ring() -> Places {
        let mut places = Places::default();
        for node in 0..4u32 {
            places.add(node as usize, HostId(node), &[SegmentId(node), SegmentId((node + 3) % 4)]);
        }
        places
    }

    #[test]
    fn a_detour_is_found_by_the_first_letter_that_comes_around_the_cut() {
        let places = ring();
        let ms = |ms: u64| Moment(ms * 1_000_000);
        let whole = Cut { segment: SegmentId(1), hosts: None };
        let table = [
            // (what is cut, which way came before, when; found after 300 ms by the other way?)
            (whole, [0, 1, 2], 900, true),
            (whole, [0, 3, 2], 900, false),
            (whole, [0, 1, 2], 0, false),
            (Cut { hosts: Some([HostId(2), HostId(1)]), ..whole }, [0, 1, 2], 900, true),
            (Cut { hosts: Some([HostId(2), HostId(3)]), ..whole }, [0, 1, 2], 900, false),
        ];
        for (cut, before, at, expected) in table {
            let mut detours = Detours::default();
            for at in [at, at + 50] {
                assert_eq!(detours.came(ms(at), before.to_vec(), ms(at), &places), None);
            }
            detours.cut(ms(1_000), cut, &places);
            // What had passed the cut before is no detour, nor does it end the search.
            assert_eq!(detours.came(ms(1_001), before.to_vec(), ms(999), &places), None);
            let found = detours.came(ms(1_300), vec![0, 3, 2], ms(999), &places);
            assert_eq!(found, expected.then_some(ms(1_000)), "{cut:?} after {before:?} at {at} ms");
            assert_eq!(detours.came(ms(1_310), vec![0, 3, 2], ms(1_305), &places), None, "once");
        }
    }

    #[test]
    fn a_cut_that_is_mended_first_is_not_measured() {
        let places = ring();
        let ms = |ms: u64| Moment(ms * 1_000_000);
        let mut detours = Detours::default();
        for at in [980, 990] {
            assert_eq!(detours.came(ms(at), vec![0, 1, 2], ms(at), &places), None);
        }
        detours.cut(ms(1_000), Cut { segment: SegmentId(1), hosts: None }, &places);
        assert_eq!(detours.came(ms(1_200), vec![0, 1, 2], ms(1_190), &places), None);
        assert_eq!(detours.came(ms(9_000), vec![0, 3, 2], ms(8_990), &places), None);
    }
}

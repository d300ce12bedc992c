//! Decides by which ways a segment is reached: all three until one is proven, then that one, and all three once a minute.

use std::net::IpAddr;

use crate::effect::Cast;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::table::IdTable;
use crate::ground::time::{Duration, Instant};

/// What was heard longer ago proves nothing: two rounds by all ways and a margin.
const EVIDENCE: Duration = Duration::from_secs(130);

/// What is known of one interface's segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// When the next HELLO of the burst leaves, and which it is.
    pub(super) burst: Option<(Instant, u8)>,
    /// Beacons said by each way.
    beacons: [u32; 3],
    /// When a beacon is due.
    pub(super) next_beacon: Instant,
    /// Our addresses there: a change is worth a burst.
    pub(super) addresses: Vec<IpAddr>,
    since: Instant,
    all_ways_at: Instant,
    heard: [Option<Instant>; 3],
    /// By nodes of this host, which proves something only while there are no others.
    looped: [Option<Instant>; 3],
    echoed: [Option<Instant>; 3],
    reports: IdTable<NodeId, Report>,
}

/// A present peer's own account of how it hears a segment.
#[derive(Debug, Clone, Copy)]
struct Report {
    heard: u8,
    /// From when on it says nothing of now.
    until: Instant,
}

impl Segment {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            burst: Some((now, 0)),
            beacons: [0; 3],
            next_beacon: now,
            addresses: Vec::new(),
            since: now,
            all_ways_at: now,
            heard: [None; 3],
            looped: [None; 3],
            echoed: [None; 3],
            reports: IdTable::new(MAX_PEERS),
        }
    }

    /// Counts one more beacon that leaves by a way: whoever hears that way at all sees by the gaps what is lost.
    pub(super) fn count(&mut self, cast: Cast) -> u32 {
        let Some(n) = place(cast) else { return 0 };
        self.beacons[n] = self.beacons[n].wrapping_add(1);
        self.beacons[n]
    }

    pub(super) fn note_heard(&mut self, now: Instant, cast: Cast) {
        if let Some(n) = place(cast) {
            self.heard[n] = Some(now);
        }
    }

    pub(super) fn note_looped(&mut self, now: Instant, cast: Cast) {
        if let Some(n) = place(cast) {
            self.looped[n] = Some(now);
        }
    }

    /// Somebody is heard from another host.
    pub(super) fn forget_looped(&mut self) {
        self.looped = [None; 3];
    }

    pub(super) fn note_echo(&mut self, now: Instant, cast: Cast) {
        if let Some(n) = place(cast) {
            self.echoed[n] = Some(now);
        }
    }

    /// A present peer says how it hears this segment, and will say so again within `again` if it still speaks there.
    pub(super) fn report(&mut self, now: Instant, peer: NodeId, heard: u8, again: Duration) {
        let report = Report { heard, until: now + EVIDENCE.max(again) };
        // There are no more peers than places.
        let _ = self.reports.insert(peer, report);
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.reports.remove(peer);
    }

    /// Those who are present and were not heard to say anything here for so long are on another segment now, or gone from this one.
    fn forget_stale(&mut self, now: Instant) {
        let stale = self.reports.iter().filter(|(_, report)| now >= report.until);
        let stale: Vec<NodeId> = stale.map(|(peer, _)| *peer).collect();
        stale.iter().for_each(|peer| self.forget(peer));
    }

    pub(super) fn heard_mask(&self, now: Instant) -> u8 {
        mask(&self.heard, now) | mask(&self.looped, now)
    }

    pub(super) fn echo_mask(&self, now: Instant) -> u8 {
        mask(&self.echoed, now)
    }

    /// How many peers report, and how many of them hear others by each way.
    pub(super) fn reports(&self) -> (usize, [usize; 3]) {
        let hear = |cast: Cast| self.reports.values().filter(|report| report.heard & cast.bit() != 0).count();
        (self.reports.len(), Cast::GROUPS.map(hear))
    }

    /// The first way by which all who report hear others, and by which we hear them. A report that is too old counts as none: of
    /// whoever says nothing here nothing is known, as before its first word. Without any report of now nothing is proven.
    pub(super) fn proven(&self, now: Instant) -> Option<Cast> {
        let mut reports = self.reports.values().filter(|report| now < report.until).map(|report| report.heard);
        let all = reports.next()? & self.heard_mask(now);
        let all = reports.fold(all, |all, heard| all & heard);
        Cast::GROUPS.into_iter().find(|cast| all & cast.bit() != 0)
    }

    /// The first way by which others reach us, whatever they say of us.
    pub(super) fn likely(&self, now: Instant) -> Option<Cast> {
        let heard = self.heard_mask(now);
        Cast::GROUPS.into_iter().find(|cast| heard & cast.bit() != 0)
    }

    /// The ways of the next beacon. In a crowd's first minute one that is likely to work will do.
    pub(super) fn ways(&mut self, now: Instant, all_every: Duration, is_crowded: bool) -> Vec<Cast> {
        self.forget_stale(now);
        if self.all_ways_at == self.since && is_crowded {
            self.all_ways_at = now + all_every;
            return self.likely(now).map_or(Cast::GROUPS.to_vec(), |cast| vec![cast]);
        }
        match self.proven(now) {
            Some(cast) if now < self.all_ways_at => vec![cast],
            Some(_) | None => {
                self.all_ways_at = now + all_every;
                Cast::GROUPS.to_vec()
            }
        }
    }
}

fn place(cast: Cast) -> Option<usize> {
    Cast::GROUPS.iter().position(|group| *group == cast)
}

fn mask(times: &[Option<Instant>; 3], now: Instant) -> u8 {
    let lately = |at: &Option<Instant>| at.is_some_and(|at| now.since(at) < EVIDENCE);
    Cast::GROUPS.iter().zip(times).filter(|(_, at)| lately(at)).map(|(cast, _)| cast.bit()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const M4: u8 = 1;
    const M6: u8 = 2;
    const BC: u8 = 4;

    #[test]
    fn a_way_is_proven_when_all_hear_it_and_the_best_of_those_is_taken() {
        let at = Instant::ZERO + Duration::from_secs(1);
        let table: [(u8, &[u8], Option<Cast>); 6] = [
            (M4 | M6 | BC, &[], None),
            (M4 | M6 | BC, &[M4 | M6 | BC], Some(Cast::Multicast4)),
            (M4 | M6 | BC, &[M4 | BC, BC], Some(Cast::Broadcast)),
            (BC, &[M4 | M6 | BC], Some(Cast::Broadcast)),
            (M4, &[BC], None),
            (M6 | BC, &[M6 | BC, M6], Some(Cast::Multicast6)),
        ];
        for (heard, reports, expected) in table {
            let mut segment = Segment::new(Instant::ZERO);
            Cast::GROUPS
                .into_iter()
                .filter(|cast| heard & cast.bit() != 0)
                .for_each(|cast| segment.note_heard(at, cast));
            reports.iter().enumerate().for_each(|(n, report)| {
                segment.report(at, NodeId([n as u8; 16]), *report, Duration::ZERO);
            });
            assert_eq!(segment.proven(at), expected, "{heard:b} {reports:?}");
        }
    }

    #[test]
    fn a_proven_way_is_used_alone_but_for_once_a_minute() {
        let mut segment = Segment::new(Instant::ZERO);
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        segment.note_heard(at(0), Cast::Multicast4);
        segment.report(at(0), NodeId([1; 16]), M4, Duration::ZERO);
        let every = Duration::from_secs(60);
        let ways: Vec<usize> = (0..25).map(|n| segment.ways(at(5 * n), every, false).len()).collect();
        assert_eq!(ways.iter().filter(|&&n| n == 3).count(), 3, "at 0, 60 and 120 s: {ways:?}");
        assert_eq!(segment.ways(at(200), every, false).len(), 3, "evidence is stale");
    }

    /// One that was deaf here and moved to another interface made all others say everything by all ways, as long as it was present.
    #[test]
    fn who_says_nothing_here_any_more_keeps_no_way_from_being_proven_and_proves_none() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let (deaf, other) = (NodeId([1; 16]), NodeId([2; 16]));
        // (what the one that falls silent said, when the other speaks last, within how many seconds each would speak again, when it
        // is looked, what is proven then, the reports kept)
        let table = [
            (0, 125, 5, 129, None, 2),
            (0, 125, 5, 130, Some(Cast::Multicast4), 1),
            // In a crowd whose beacons are rarer it was not silent for long.
            (0, 125, 300, 299, None, 2),
            (0, 125, 300, 300, Some(Cast::Multicast4), 1),
            // Its silence proves nothing where nobody else speaks.
            (M4, 0, 5, 129, Some(Cast::Multicast4), 2),
            (M4, 0, 5, 130, None, 0),
            (0, 0, 5, 130, None, 0),
        ];
        for (said, spoke, again, now, proven, kept) in table {
            let case = format!("said {said:b}, the other spoke at {spoke} s, at {now} s");
            let again = Duration::from_secs(again);
            let mut segment = Segment::new(Instant::ZERO);
            segment.report(at(0), deaf, said, again);
            segment.report(at(spoke), other, M4, again);
            segment.note_heard(at(now), Cast::Multicast4);
            assert_eq!(segment.proven(at(now)), proven, "{case}");
            segment.ways(at(now), Duration::from_secs(60), false);
            assert_eq!(segment.reports().0, kept, "{case}");
            segment.report(at(now), deaf, 0, again);
            assert_eq!(segment.proven(at(now)), None, "{case}: it is back");
        }
    }
}

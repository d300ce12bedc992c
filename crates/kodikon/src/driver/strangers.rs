//! Decides for how long `doctor` goes on telling of datagrams from outside the mesh: counters never fall, strangers leave.

use std::collections::VecDeque;
use std::time::Duration;

use kodikon_core::ground::config::{Config, Deletes};
use kodikon_core::ground::stats::{Reject, Stats};
use kodikon_core::ground::time::Instant;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::seal::GroupKey;

use crate::doctor::Foreign;

/// They are told of for so long. A node of another mesh that is still there calls each five seconds by its beacon, in a crowded segment
/// each minute.
const TELLS: Duration = Duration::from_secs(120);
/// The counters are looked at this often, so the window is as much longer at most.
const EVERY: Duration = Duration::from_secs(10);

/// What the counters of strangers' datagrams were, from a window's length ago until now.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// At most one each [`EVERY`]; the first is the last that is older than the window.
    marks: VecDeque<(Instant, Totals)>,
    /// When one of them was seen to have risen last.
    risen: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    sealed: u64,
    unknown: u64,
}

impl Totals {
    fn of(stats: &Stats) -> Self {
        Self {
            sealed: stats.dropped(Reject::Seal) + stats.dropped(Reject::KeyEpoch),
            unknown: stats.dropped(Reject::FrameType) + stats.dropped(Reject::Length),
        }
    }
}

impl Strangers {
    /// Looks at the counters.
    pub(super) fn note(&mut self, now: Instant, stats: &Stats) {
        let last = self.marks.back().copied();
        if last.is_some_and(|(at, _)| now.since(at) < EVERY) {
            return;
        }
        let totals = Totals::of(stats);
        if last.map_or_else(Totals::default, |(_, totals)| totals) != totals {
            self.risen = Some(now);
        }
        self.marks.push_back((now, totals));
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= TELLS) {
            self.marks.pop_front();
        }
    }

    /// What came within the window, and how long ago the last of all came.
    pub(super) fn lately(&self, now: Instant, stats: &Stats) -> Foreign {
        let totals = Totals::of(stats);
        // Until the window is over all that came is within it.
        let is_old = |(at, _): &&(Instant, Totals)| now.since(*at) >= TELLS;
        let before = self.marks.front().filter(is_old).map(|(_, totals)| *totals).unwrap_or_default();
        let is_noted = self.marks.back().is_none_or(|(_, noted)| *noted == totals);
        Foreign {
            sealed: totals.sealed - before.sealed,
            unknown: totals.unknown - before.unknown,
            last: if is_noted { self.risen.map(|at| now.since(at)) } else { Some(Duration::ZERO) },
            other_policy: false,
        }
    }
}

/// A stranger's datagram is looked at this often: a beacon is enough to tell, and a flood of them costs no more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether nodes are near that would be of this mesh, were their `registry.deletes` the same.
#[derive(Debug)]
pub(super) struct OtherPolicy {
    group: GroupKey,
    looked: Option<Instant>,
    seen: Option<Instant>,
}

impl OtherPolicy {
    /// Of a node with this configuration.
    pub(super) fn new(config: &Config) -> Self {
        let mut other = config.clone();
        other.deletes = match config.deletes {
            Deletes::All => Deletes::Author,
            Deletes::Author => Deletes::All,
        };
        Self { group: GroupKey::new(&other.group_key()), looked: None, seen: None }
    }

    /// A copy of a datagram that is worth a look, should it be a stranger's.
    pub(super) fn copy(&self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        self.looked.is_none_or(|looked| now.since(looked) >= LOOK_EVERY).then(|| datagram.to_vec())
    }

    /// Looks at a stranger's datagram.
    pub(super) fn look(&mut self, now: Instant, mut datagram: Vec<u8>) {
        self.looked = Some(now);
        let Ok(header) = Header::decode(&datagram) else { return };
        if self.group.session(header.tag).open(&header, &mut datagram).is_ok() {
            self.seen = Some(now);
        }
    }

    /// Whether one was there within the window.
    pub(super) fn is_near(&self, now: Instant) -> bool {
        self.seen.is_some_and(|seen| now.since(seen) < TELLS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_for_two_minutes_after_their_last_datagram() {
        let (mut strangers, mut stats) = (Strangers::default(), Stats::default());
        let at = |s: u64| Instant::ZERO + Duration::from_secs(s);
        // (time in s, datagrams that come just before, told of, seconds since the last was noticed)
        for (s, come, told, last) in [
            (0, 0, 0, None),
            (5, 0, 0, None),
            (20, 3, 3, Some(0)),
            (60, 0, 3, Some(40)),
            (120, 2, 5, Some(0)),
            (139, 0, 5, Some(19)),
            (150, 0, 2, Some(30)),
            (239, 0, 2, Some(119)),
            (249, 0, 0, Some(129)),
            (260, 0, 0, Some(140)),
            (900, 0, 0, Some(780)),
            (910, 1, 1, Some(0)),
        ] {
            (0..come).for_each(|_| stats.drop(Reject::Seal));
            strangers.note(at(s), &stats);
            let found = strangers.lately(at(s), &stats);
            let last = last.map(Duration::from_secs);
            let expected = Foreign { sealed: told, unknown: 0, last, other_policy: false };
            assert_eq!(found, expected, "after {s} s");
        }
        for s in 1_000..3_000 {
            strangers.note(at(s), &stats);
        }
        assert!(strangers.marks.len() <= 14, "{} marks", strangers.marks.len());
    }

    #[test]
    fn a_frame_of_the_same_mesh_under_the_other_policy_is_known_and_any_other_is_not() {
        let of = |name: &str, deletes: Deletes| {
            let mut config = Config::new("cam");
            (config.mesh_name, config.deletes) = (name.to_owned(), deletes);
            config
        };
        let at = |s: u64| Instant::ZERO + Duration::from_secs(s);
        let frame = |config: &Config| {
            let header = Header { tag: kodikon_core::ground::id::SessionTag([7; 8]), counter: 1 };
            let group = GroupKey::new(&config.group_key());
            group.session(header.tag).seal(&header, b"words")
        };
        for (sender, expected) in [
            (of("fleet", Deletes::Author), true),
            (of("fleet", Deletes::All), false),
            (of("other", Deletes::Author), false),
        ] {
            let mut policy = OtherPolicy::new(&of("fleet", Deletes::All));
            let copy = policy.copy(at(5), &frame(&sender)).expect("none was looked at");
            policy.look(at(5), copy);
            assert_eq!(policy.is_near(at(124)), expected, "{} {:?}", sender.mesh_name, sender.deletes);
            assert!(!policy.is_near(at(125)), "it has not been heard for two minutes");
            assert!(policy.copy(at(5), b"more").is_none(), "not twice a second");
        }
    }
}

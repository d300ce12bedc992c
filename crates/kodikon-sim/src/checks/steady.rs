//! Decides whether ways rest: how often those that nodes show change though nothing does, and whether bad links are left alone.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::RouteView;
use kodikon_core::ground::id::NodeId;

use crate::checks::reach::Places;
use crate::checks::{Check, Watch};
use crate::moment::Moment;
use crate::network::host::SegmentId;
use crate::scenario::Ways;

/// What ways were seen to do.
#[derive(Debug, Default)]
pub struct Steady {
    asked: Ways,
    /// Segments that ways lead around.
    bad: BTreeSet<SegmentId>,
    /// The way of each node to each, and when it was last seen.
    shown: BTreeMap<(usize, NodeId), (Moment, Vec<NodeId>)>,
    changes: u64,
    /// For how long ways were looked at, all together.
    seen: Duration,
}

/// A way not seen for longer than this may have changed and back: it counts anew.
const GAP: Duration = Duration::from_secs(5);

impl Steady {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(asked: Ways, bad: BTreeSet<SegmentId>) -> Self {
        Self { asked, bad, ..Self::default() }
    }

    /// Whether ways are to be looked at, so long after chaos began.
    #[must_use]
    pub fn is_asked(&self, since: Duration) -> bool {
        let is_asked = self.asked.changes_per_h > 0.0 || self.asked.around_bad;
        is_asked && since >= Duration::from_secs_f64(self.asked.after_s)
    }

    /// A node shows a way to another.
    fn see(&mut self, now: Moment, node: usize, route: &RouteView) {
        let before = self.shown.insert((node, route.to), (now, route.path.clone()));
        if let Some((at, path)) = before.filter(|(at, _)| now.since(*at) <= GAP) {
            self.seen += now.since(at);
            self.changes += u64::from(path != route.path);
        }
    }

    /// How often a way changed in an hour, in the mean.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn changes_per_hour(&self) -> Option<f64> {
        let hours = self.seen.as_secs_f64() / 3_600.0;
        (hours > 0.0).then(|| self.changes as f64 / hours)
    }

    /// Whether a way leads over a bad segment, and has no other link there.
    fn is_bad(&self, way: &[usize], places: &Places) -> bool {
        let is_on = |hop: &[usize]| self.bad.iter().any(|bad| places.only_common(*bad, hop[0], hop[1]));
        way.windows(2).any(is_on)
    }
}

impl Watch {
    /// Looks at the ways that a node shows.
    pub fn look_at_ways(&mut self, now: Moment, node: usize, routes: Vec<RouteView>) {
        for route in routes {
            self.steady.see(now, node, &route);
            let nodes: Option<Vec<usize>> = route.path.iter().map(|id| self.truth.holder(id)).collect();
            let Some(nodes) = nodes.filter(|_| self.steady.asked.around_bad) else { continue };
            let way = [&[node], nodes.as_slice()].concat();
            let is_bad = self.steady.is_bad(&way, &self.truth.places);
            self.tally.check(now, Check::WaysClean, !is_bad, || format!("a way leads over a bad link: {way:?}"));
        }
    }

    /// The run is over; so many facts about links were told in it.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn judge_ways(&mut self, now: Moment, told: u64) {
        self.metrics.set("links_told", told as f64);
        let Some(changes) = self.steady.changes_per_hour() else { return };
        self.metrics.set("way_changes_per_hour", changes);
        let most = self.steady.asked.changes_per_h;
        if most > 0.0 {
            self.tally.check(now, Check::WaysRest, changes <= most, || {
                format!("a way changes {changes:.2} times an hour, and {most} is the most")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::RouteSource;

    use super::*;
    use crate::network::host::HostId;

    fn route(path: &[u8]) -> RouteView {
        let path: Vec<NodeId> = path.iter().map(|n| NodeId([*n; 16])).collect();
        let to = path.last().copied().unwrap_or_default();
        RouteView { to, path, cost: 10, interface: None, source: RouteSource::Map, links: Vec::new(), next_best: None }
    }

    #[test]
    fn changes_are_counted_by_the_hour_of_each_way_that_is_seen() {
        let at = |second: u64| Moment(second * 1_000_000_000);
        let mut steady = Steady::default();
        assert_eq!(steady.changes_per_hour(), None);
        for second in 0..=1_800 {
            steady.see(at(second), 0, &route(&[1]));
            steady.see(at(second), 0, &route(if second % 900 < 450 { &[1, 2] } else { &[3, 2] }));
        }
        // Three changes of one way, none of another, half an hour each; what is seen again after a gap is no change.
        steady.see(at(1_900), 0, &route(&[4, 2]));
        assert_eq!(steady.changes_per_hour(), Some(4.0), "at 450, 900, 1,350 and 1,800 s");
    }

    #[test]
    fn a_way_is_bad_that_has_no_link_but_the_bad_one() {
        let mut places = Places::default();
        for (node, homes) in [(0, &[0, 1][..]), (1, &[0, 1]), (2, &[1])] {
            let homes: Vec<SegmentId> = homes.iter().map(|&home| SegmentId(home)).collect();
            places.add(node, HostId(u32::try_from(node).unwrap()), &homes);
        }
        let bad = |segment| Steady::new(Ways::default(), BTreeSet::from([SegmentId(segment)]));
        assert!(bad(1).is_bad(&[0, 2], &places) && bad(1).is_bad(&[0, 1, 2], &places));
        assert!(!bad(1).is_bad(&[0, 1], &places) && !bad(0).is_bad(&[0, 2], &places));
    }
}

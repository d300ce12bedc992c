//! Decides what a figure is held against, and what is said when it does not reach that.

use std::fmt;

use kodikon_lab::Figures;
use serde::Serialize;

/// Which of the figures is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Figure {
    P50,
    P99,
    Max,
    Mean,
}

/// What a figure must not exceed, or fall below, in the unit of its row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Target {
    figure: Figure,
    bound: Bound,
    limit: f64,
}

/// On which side of its limit a figure belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost,
    AtLeast,
}

/// Of fewer samples than these a p99 is little more than the worst.
const ENOUGH: usize = 300;

/// Nothing is asked for.
pub(crate) const NO_TARGET: &[Target] = &[];
/// Full roster at all after a cold start of up to ten, and of thirty: ms.
pub(crate) const COLD_START_10: &[Target] = &[p50(150.0)];
pub(crate) const COLD_START_30: &[Target] = &[p50(300.0)];
/// A newcomer known: ms.
pub(crate) const LATE_JOINER: &[Target] = &[p50(50.0), p99(150.0)];
/// A silent death: ms.
pub(crate) const SUSPECT: &[Target] = &[p50(2000.0)];
pub(crate) const FAILED_AT_EACH: &[Target] = &[p99(7000.0)];
pub(crate) const FAILED_P50: &[Target] = &[p50(5200.0)];
pub(crate) const FAILED_AT_ALL: &[Target] = &[p50(5200.0), p99(7000.0)];
/// The same with the profile for small networks.
pub(crate) const FAST_FAILED_AT_ALL: &[Target] = &[p50(3600.0)];
/// The end of a process on a host that lives: ms.
pub(crate) const CRASH: &[Target] = &[p99(300.0)];
/// A goodbye, also where a tenth of all frames is lost: ms.
pub(crate) const GOODBYE: &[Target] = &[p99(50.0)];
pub(crate) const LOSSY_GOODBYE: &[Target] = &[p99(200.0)];
/// Nodes called FAILED that live.
pub(crate) const NO_FALSE_FAILED: &[Target] = &[max(0.0)];
/// A partition's end: ms.
pub(crate) const HEAL: &[Target] = &[p99(2000.0)];
/// Bytes per node and minute.
pub(crate) const IDLE: &[Target] = &[mean(7000.0)];
pub(crate) const LOSSY_IDLE: &[Target] = &[mean(10_000.0)];
/// The same of nodes with a second and a third interface.
pub(crate) const IDLE_ON_TWO: &[Target] = &[mean(9000.0)];
pub(crate) const IDLE_ON_THREE: &[Target] = &[mean(11_000.0)];
/// A flow whose way falls silent: ms.
pub(crate) const REROUTE: &[Target] = &[p99(150.0)];
/// Of reliable messages: how many were lost, and how many told twice.
pub(crate) const NONE: &[Target] = &[max(0.0)];
/// Confirmed over five hops each of which loses a fifth: ms.
pub(crate) const FIVE_HOPS_AT_20: &[Target] = &[p99(400.0)];
/// Confirmed over one hop that loses a twentieth: ms.
pub(crate) const CONFIRMED_AT_5: &[Target] = &[p99(8.0)];
pub(crate) const CRITICAL_AT_5: &[Target] = &[p99(3.0)];
/// One way over a link and its relay: µs.
pub(crate) const HOP: &[Target] = &[p50(150.0)];
/// A round trip through the callbacks, in round trips of a raw UDP echo.
pub(crate) const ECHO_WARM: &[Target] = &[p50(2.0)];
pub(crate) const ECHO_HALTING: &[Target] = &[p50(1.3)];
/// An alert to the last of thirty, and all their receipts: ms.
pub(crate) const ALERT_SHOWN: &[Target] = &[p50(5.0), p99(25.0)];
pub(crate) const ALERT_RECEIPTS: &[Target] = &[p99(60.0)];
/// Payload datagrams of a broadcast, in numbers of segments.
pub(crate) const DATAGRAMS: &[Target] = &[mean(1.0)];
pub(crate) const DATAGRAMS_AT_5: &[Target] = &[mean(2.0)];
pub(crate) const DATAGRAMS_AT_20: &[Target] = &[mean(5.0)];
/// A sighting to the last node: ms. Its bytes on the wire.
pub(crate) const SEARCHABLE: &[Target] = &[p50(5.0), p99(50.0)];
pub(crate) const RECORD: &[Target] = &[max(1_330.0)];
pub(crate) const SMALL_RECORD: &[Target] = &[max(820.0)];
/// A question that all answer: ms.
pub(crate) const QUESTION: &[Target] = &[p50(15.0)];
/// With 100,000 sightings: a restart in ms; a newcomer's fetch in s, and in bytes of what it fetches.
pub(crate) const RESTART: &[Target] = &[p50(1_000.0)];
pub(crate) const PULLED: &[Target] = &[p50(4.0)];
pub(crate) const PULLED_DURABLY: &[Target] = &[p50(10.0)];
pub(crate) const PULLED_BYTES: &[Target] = &[p50(1.05)];
/// A critical alert while a newcomer fetches as many: ms, and in times of what it takes otherwise.
pub(crate) const ALERT_BESIDE_FETCH: &[Target] = &[p99(50.0)];
pub(crate) const ALERT_SLOWED: &[Target] = &[max(2.0)];
/// A node with ten peers: MB, percent.
pub(crate) const RSS: &[Target] = &[max(8.0)];
pub(crate) const CPU: &[Target] = &[mean(0.05)];
/// The binary: MB. Its build from nothing in release, in minutes, and of how many packages.
pub(crate) const BINARY: &[Target] = &[max(9.0)];
pub(crate) const BUILD: &[Target] = &[max(4.0)];
pub(crate) const PACKAGES: &[Target] = &[max(200.0)];
/// Node-hours that the simulator runs in a second of a core.
pub(crate) const SPEED: &[Target] = &[Target { figure: Figure::P50, bound: Bound::AtLeast, limit: 10.0 }];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let sign = match self.bound {
            Bound::AtMost => "≤",
            Bound::AtLeast => "≥",
        };
        write!(f, "{name} {sign} {}", self.limit)
    }
}

impl Target {
    fn name(self) -> &'static str {
        match self.figure {
            Figure::P50 => "p50",
            Figure::P99 => "p99",
            Figure::Max => "max",
            Figure::Mean => "mean",
        }
    }

    /// Which of the figures is judged.
    pub(crate) fn figure(self) -> Figure {
        self.figure
    }

    /// What was measured, in parts of what is allowed.
    fn share(self, figures: &Figures) -> f64 {
        let measured = match self.figure {
            Figure::P50 => figures.p50,
            Figure::P99 => figures.p99,
            Figure::Max => figures.max,
            Figure::Mean => figures.mean,
        };
        match self.bound {
            // Nothing of nothing allowed is all of it, and not no number.
            Bound::AtMost if measured <= self.limit && self.limit == 0.0 => 1.0,
            Bound::AtMost => measured / self.limit,
            Bound::AtLeast => self.limit / measured,
        }
    }

    /// Whether it is judged by fewer samples than tell it. A single value is what another program made of many.
    fn is_of_few(self, figures: &Figures) -> bool {
        self.figure == Figure::P99 && (2..ENOUGH).contains(&figures.n)
    }
}

/// Whether all targets are reached, in one word, or by how much the worst is missed. Nothing where there is none.
pub(crate) fn verdict(targets: &[Target], figures: &Figures) -> Option<String> {
    let (worst, share) = targets
        .iter()
        .map(|target| (target, target.share(figures)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let few = targets.iter().find(|target| target.is_of_few(figures));
    Some(match few {
        _ if share > 1.0 => format!("**missed** ({worst}: {share:.2}×)"),
        Some(target) => format!("holds ({} of {} samples)", target.name(), figures.n),
        None => "holds".to_owned(),
    })
}

/// The median must not exceed this.
const fn p50(limit: f64) -> Target {
    Target { figure: Figure::P50, bound: Bound::AtMost, limit }
}

/// Ninety-nine of a hundred must not exceed this.
const fn p99(limit: f64) -> Target {
    Target { figure: Figure::P99, bound: Bound::AtMost, limit }
}

/// None may exceed this.
const fn max(limit: f64) -> Target {
    Target { figure: Figure::Max, bound: Bound::AtMost, limit }
}

/// The mean must not exceed this.
const fn mean(limit: f64) -> Target {
    Target { figure: Figure::Mean, bound: Bound::AtMost, limit }
}

#[cfg(test)]
mod tests {
    use kodikon_lab::Distribution;

    use super::*;

    #[test]
    fn where_nothing_is_allowed_nothing_holds_and_one_does_not() {
        let verdict_of = |value: f64| verdict(&[max(0.0)], &Distribution::of([value]).figures().unwrap());
        assert_eq!(verdict_of(0.0).as_deref(), Some("holds"));
        assert_eq!(verdict_of(1.0).as_deref(), Some("**missed** (max ≤ 0: inf×)"));
    }

    #[test]
    fn what_must_not_fall_below_its_limit_is_missed_by_how_much_it_does() {
        let verdict_of = |value: f64| verdict(SPEED, &Distribution::of([value]).figures().unwrap());
        assert_eq!(verdict_of(10.0).as_deref(), Some("holds"));
        assert_eq!(verdict_of(4.0).as_deref(), Some("**missed** (p50 ≥ 10: 2.50×)"));
    }

    #[test]
    fn the_worst_miss_is_told() {
        let figures = Distribution::of([10.0, 20.0, 90.0]).figures().unwrap();
        let table: [(&[Target], Option<&str>); 6] = [
            (&[], None),
            (&[p50(20.0), max(90.0), mean(40.0)], Some("holds")),
            (&[p50(20.0), p99(90.0)], Some("holds (p99 of 3 samples)")),
            (&[p50(19.0)], Some("**missed** (p50 ≤ 19: 1.05×)")),
            (&[p50(20.0), p99(60.0)], Some("**missed** (p99 ≤ 60: 1.50×)")),
            (&[p50(10.0), p99(60.0), mean(39.0)], Some("**missed** (p50 ≤ 10: 2.00×)")),
        ];
        for (targets, expected) in table {
            assert_eq!(verdict(targets, &figures).as_deref(), expected, "{targets:?}");
        }
    }
}

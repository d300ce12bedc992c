//! Whole runs of real nodes.

use super::*;
use crate::cluster::endpoint::real;
use crate::scenario::find;

fn story(name: &str, seed: u64, hours: f64) -> Report {
    let mut scenario = find(name).unwrap();
    scenario.hours = hours;
    run(&scenario, &Order { seed, detail: Detail::Silent, maker: real }, &mut |_| {})
}

#[test]
fn one_seed_tells_one_story() {
    for seed in 0..6 {
        let [one, two] = [(); 2].map(|()| story("swarm-5", seed, 0.1));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
        assert_eq!(one.violations, [], "seed {seed}");
        assert_ne!(one.hash, story("swarm-5", seed + 1, 0.1).hash, "seeds {seed} and {} tell the same", seed + 1);
    }
}

#[test]
fn telling_a_story_does_not_change_it() {
    let scenario = find("cold-start-3").unwrap();
    let (mut lines, mut hashes) = (Vec::new(), Vec::new());
    for detail in [Detail::Silent, Detail::Events, Detail::Packets] {
        let mut told = 0;
        hashes.push(run(&scenario, &Order { seed: 3, detail, maker: real }, &mut |_| told += 1).hash);
        lines.push(told);
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    assert!(lines[0] == 0 && lines[1] > 0 && lines[2] > lines[1], "{lines:?}");
}

#[test]
fn cuts_strike_and_are_counted() {
    for (name, kinds) in [("grid-9", ["cut", "crash"]), ("ring-6", ["cut-segment", "interface-down"])] {
        let report = story(name, 1, 0.15);
        for kind in kinds {
            let struck = report.faults.get(kind).and_then(Value::as_u64);
            assert!(struck.is_some_and(|count| count > 0), "{name}: {kind} of {:?}", report.faults);
        }
    }
}

/// Their heartbeats went where they were not heard, and one that lost power was called failed after 31.5 s.
#[test]
fn whoever_is_heard_on_one_of_two_segments_alone_is_missed_in_time() {
    let report = story("mute", 3, 0.5);
    let struck = report.faults.get("mute").and_then(Value::as_u64);
    assert!(struck.is_some_and(|count| count > 0), "{:?}", report.faults);
    let latest = report.metrics.get("silent_failed_ms").and_then(|measure| measure.get("max")).and_then(Value::as_f64);
    assert!(latest.is_some_and(|latest| latest < 9_000.0), "after {latest:?} ms");
}

#[test]
fn checks_are_made_and_counted() {
    let report = story("crash", 1, 0.1);
    for check in ["known_peer", "life_forward", "state_true", "tables", "verdict_in_time", "calm_roster", "calm_state"]
    {
        assert!(report.checks.get(check).and_then(Value::as_u64).is_some_and(|count| count > 0), "{check}: {report:?}");
    }
    assert!(report.faults.len() >= 2, "{:?}", report.faults);
}

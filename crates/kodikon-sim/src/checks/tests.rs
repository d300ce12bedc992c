//! What each check sees, shown on a cluster of made-up nodes that break one promise each.

use super::*;
use crate::cluster::endpoint::Maker;
use crate::cluster::fake;
use crate::run::{Order, run};
use crate::scenario::Scenario;
use crate::trace::Detail;

fn broken(maker: Maker, more: &str) -> Vec<Check> {
    let text = format!("what = \"test\"\nnodes = 3\nhours = 0.06\nmild = false\nstate_every_s = 10.0\n{more}");
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let report = run(&scenario, &Order { seed: 1, detail: Detail::Silent, maker }, &mut |_| {});
    let mut checks: Vec<Check> = report.violations.iter().map(|violation| violation.check).collect();
    checks.dedup();
    checks
}

#[test]
fn each_vice_is_found_by_its_check() {
    let crash = "[[step]]\nat_s = 60\ndo = \"crash\"";
    let lost = "[[step]]\nat_s = 60\ndo = \"crash\"\nfor_s = 1.0";
    let table: &[(Maker, &str, Option<Check>)] = &[
        (fake::honest, "", None),
        (fake::honest, crash, None),
        (fake::honest, lost, None),
        (fake::spinning, "", Some(Check::NoSpin)),
        (fake::slandering, "", Some(Check::FalseFailed)),
        (fake::believing, crash, Some(Check::VerdictInTime)),
        (fake::inventing, "", Some(Check::KnownPeer)),
        (fake::reverting, "", Some(Check::LifeForward)),
        (fake::falsifying, "", Some(Check::StateTrue)),
        (fake::hoarding, "", Some(Check::Tables)),
        (fake::forgetting, lost, Some(Check::StateSurvives)),
    ];
    for &(maker, more, expected) in table {
        let found = broken(maker, more);
        match expected {
            None => assert!(found.is_empty(), "{found:?} with {more}"),
            Some(check) => assert!(found.contains(&check), "{check:?} not among {found:?}"),
        }
    }
}

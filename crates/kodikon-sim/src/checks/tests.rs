use super::*;
use crate::cluster::endpoint::Maker;
use crate::cluster::fake;
use crate::run::{Order, run};
use crate::scenario::Scenario;
use crate::trace::Detail;

fn broken(maker: Maker) -> Vec<Check> {
    let scenario: Scenario = toml::from_str("what = \"test\"\nnodes = 4\nhours = 0.05").unwrap();
    let report = run(&scenario, &Order { seed: 1, detail: Detail::Silent, maker }, &mut |_| {});
    let mut checks: Vec<Check> = report.violations.iter().map(|violation| violation.check).collect();
    checks.dedup();
    checks
}

#[test]
fn each_vice_is_found_by_its_check() {
    let table: &[(Maker, Option<Check>)] = &[
        (fake::honest, None),
        (fake::spinning, Some(Check::NoSpin)),
        (fake::slandering, Some(Check::FalseFailed)),
        (fake::inventing, Some(Check::KnownPeer)),
        (fake::reverting, Some(Check::LifeForward)),
        (fake::hoarding, Some(Check::Tables)),
    ];
    for &(maker, expected) in table {
        let found = broken(maker);
        match expected {
            None => assert!(found.iter().all(|check| *check == Check::CalmNames), "{found:?}"),
            Some(check) => assert!(found.contains(&check), "{check:?} not among {found:?}"),
        }
    }
}

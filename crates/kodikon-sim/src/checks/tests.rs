//! What each check sees, shown on a cluster of made-up nodes that break one promise each.

use super::*;
use crate::cluster::endpoint::Maker;
use crate::cluster::fake;
use crate::network::host::{HostId, SegmentId};
use crate::run::{Order, run};
use crate::scenario::Scenario;
use crate::trace::Detail;

fn broken_by(maker: Maker, more: &str) -> Vec<Check> {
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
    let letters = "letters_every_s = 5.0";
    let casts = "casts_every_s = 5.0";
    let alerts = "alerts_every_s = 5.0";
    let both = "letters_every_s = 5.0\n[[step]]\nat_s = 60\ndo = \"crash\"\nfor_s = 20.0";
    let table: &[(Maker, &str, Option<Check>)] = &[
        (fake::honest, "", None),
        (fake::honest, letters, None),
        (fake::honest, both, None),
        (fake::honest, crash, None),
        (fake::honest, lost, None),
        // They know nothing of relays, and may be as they are where nobody needs any.
        (fake::honest, "homes = \"line\"", Some(Check::CalmRoster)),
        (fake::honest, "homes = \"line\"", Some(Check::CalmRoutes)),
        (fake::spinning, "", Some(Check::NoSpin)),
        (fake::slandering, "", Some(Check::FalseFailed)),
        (fake::believing, crash, Some(Check::VerdictInTime)),
        (fake::inventing, "", Some(Check::KnownPeer)),
        (fake::reverting, "", Some(Check::LifeForward)),
        (fake::falsifying, "", Some(Check::StateTrue)),
        (fake::hoarding, "", Some(Check::Tables)),
        (fake::forgetting, lost, Some(Check::StateSurvives)),
        (fake::alarmed, "", Some(Check::BackupTrue)),
        (fake::haunted, "", Some(Check::CopyTrue)),
        (fake::circling, "", Some(Check::RouteSane)),
        (fake::losing, "", Some(Check::CalmRoutes)),
        (fake::clinging, crash, Some(Check::CalmRoutes)),
        (fake::doubling, letters, Some(Check::LetterOnce)),
        (fake::bending, letters, Some(Check::LetterTrue)),
        (fake::hurrying, letters, Some(Check::LetterTrue)),
        (fake::wandering, letters, Some(Check::LetterOutcome)),
        (fake::mute, letters, Some(Check::LetterSettled)),
        (fake::stuttering, letters, Some(Check::LetterSettled)),
        (fake::boasting, letters, Some(Check::LetterOutcome)),
        (fake::shunning, letters, Some(Check::LetterOutcome)),
        (fake::despairing, letters, Some(Check::LetterReliable)),
        (fake::honest, casts, None),
        (fake::doubling, casts, Some(Check::CastOnce)),
        (fake::bending, casts, Some(Check::CastTrue)),
        (fake::hurrying, casts, Some(Check::CastTrue)),
        (fake::despairing, casts, Some(Check::CastReliable)),
        (fake::honest, alerts, None),
        (fake::ignoring, alerts, Some(Check::CalmReceipts)),
    ];
    for &(maker, more, expected) in table {
        let found = broken_by(maker, more);
        match expected {
            None => assert!(found.is_empty(), "{found:?} with {more}"),
            Some(check) => assert!(found.contains(&check), "{check:?} not among {found:?}"),
        }
    }
}

/// What was broken, by name.
pub(super) fn broken(watch: &Watch) -> Vec<&'static str> {
    watch.tally.violations().iter().map(|violation| violation.check.name()).collect()
}

/// Five nodes in a line, a segment between each two, that live since long and show each other.
pub(super) fn line() -> (Watch, impl Fn(usize) -> NodeId) {
    let id = |node: usize| NodeId([u8::try_from(node).unwrap() + 1; 16]);
    let mut watch = Watch::new(5, Duration::from_secs(30));
    for node in 0..5u32 {
        let homes = [node.checked_sub(1), (node < 4).then_some(node)].into_iter().flatten().map(SegmentId).collect();
        watch.truth.place(node as usize, HostId(node), homes);
        watch.truth.booted(second(1), node as usize);
        watch.truth.identified(node as usize, id(node as usize), Epoch(1), &NodeSnapshot::default());
    }
    for (node, view) in watch.views.iter_mut().enumerate() {
        (0..5).filter(|&peer| peer != node).for_each(|peer| view.met(id(peer), (Epoch(1), 0), false, false));
    }
    (watch, id)
}

pub(super) fn second(second: u64) -> Moment {
    Moment(second * 1_000_000_000)
}

fn failed(peer: NodeId) -> Event {
    Event::PeerFailed { peer, name: String::new(), witnesses: Vec::new(), reason: "silence" }
}

#[test]
fn a_verdict_is_false_where_healthy_nodes_and_links_led_to_its_subject() {
    type Trouble = fn(&mut Watch);
    let table: &[(&str, Trouble, bool)] = &[
        ("nothing was wrong", |_| {}, true),
        ("a relay died", |watch| watch.truth.died(second(990), 2), false),
        ("a relay is back", |watch| watch.truth.booted(second(940), 2), false),
        ("a relay is back since long", |watch| watch.truth.booted(second(900), 2), true),
        ("the subject is back", |watch| watch.truth.nodes[4].since = second(990), true),
        ("a relay was stopped", |watch| watch.truth.nodes[2].whole_trouble = second(950), false),
        ("a relay was stopped long ago", |watch| watch.truth.nodes[2].whole_trouble = second(900), true),
        ("a link is cut", |watch| watch.truth.trouble_between(SegmentId(1), [2, 1], second(1_200)), false),
        ("a link was cut long ago", |watch| watch.truth.trouble_between(SegmentId(1), [1, 2], second(900)), true),
        ("a link elsewhere is cut", |watch| watch.truth.trouble_between(SegmentId(0), [1, 2], second(1_200)), true),
        ("an interface was down", |watch| watch.truth.trouble_on(SegmentId(3), 4, second(950)), false),
        ("an interface elsewhere was down", |watch| watch.truth.trouble_on(SegmentId(0), 1, second(950)), true),
        ("the subject left", |watch| watch.truth.leaves(4), false),
    ];
    for (case, trouble, is_false) in table {
        let (mut watch, id) = line();
        trouble(&mut watch);
        watch.event(second(1_000), 1, &failed(id(4)));
        assert_eq!(watch.tally.broken() > 0, *is_false, "{case}");
    }
}

#[test]
fn far_ones_must_notice_a_death_within_twice_the_bound_if_those_near_it_could_tell_them() {
    type Trouble = fn(&mut Watch);
    let table: &[(&str, Trouble, &[usize])] = &[
        ("nothing else was wrong", |_| {}, &[0, 1, 2, 3]),
        ("the only witness was stopped", |watch| watch.truth.nodes[3].own_trouble = second(1_020), &[]),
        ("a relay was stopped", |watch| watch.truth.nodes[1].whole_trouble = second(1_020), &[2, 3]),
        ("a relay died", |watch| watch.truth.died(second(1_010), 1), &[2, 3]),
        ("the near one heard it no more", |watch| watch.truth.trouble_on(SegmentId(3), 4, second(1_010)), &[0, 1, 2]),
        ("a far one noticed", |watch| watch.views[0].lost(NodeId([5; 16]), Standing::Failed), &[1, 2, 3]),
    ];
    for (case, trouble, expected) in table {
        let (mut watch, _) = line();
        watch.died(second(1_000), 4, Death::PowerOff);
        trouble(&mut watch);
        watch.tick(second(1_035));
        assert_eq!(watch.tally.broken(), 0, "{case}: too early");
        watch.tick(second(1_037));
        assert_eq!(watch.tally.broken(), u64::from(expected.contains(&3)), "{case}: the near one");
        watch.tick(second(1_073));
        let blamed = |node: &&usize| {
            let words = format!("node {node} still");
            watch.tally.violations().iter().any(|violation| violation.what.starts_with(&words))
        };
        assert_eq!([0, 1, 2, 3].iter().filter(blamed).copied().collect::<Vec<_>>(), *expected, "{case}");
    }
}

#[test]
fn a_far_one_may_learn_of_a_peer_as_long_as_those_near_it_need_not_know_of_its_death() {
    // Who meets the dead, how long after its death, and whether that is wrong.
    let table = [(3, 4, false), (3, 6, true), (0, 6, false), (0, 71, false), (0, 73, true)];
    for (observer, after, is_wrong) in table {
        let (mut watch, id) = line();
        watch.views[observer].lost(id(4), Standing::Failed);
        watch.died(second(1_000), 4, Death::PowerOff);
        watch.event(
            second(1_000 + after),
            observer,
            &Event::PeerUp {
                peer: id(4),
                name: String::new(),
                epoch: Epoch(1),
                life: kodikon_core::ground::id::Life(1),
            },
        );
        assert_eq!(watch.tally.broken() > 0, is_wrong, "node {observer} after {after} s");
    }
}

//! Decides that whoever raises an alert is told who has it, who lacks it, and whether it lasts; also once the alert has ended.

mod fleet;

use std::time::Duration;

use fleet::{Fleet, within};
use serde_json::json;

const TTL: Duration = Duration::from_millis(300);
const WAIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_alert_that_ends_before_the_wait_names_who_had_it_and_who_is_missing() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.node(name).start().await.expect("a node of this machine");
    let (a, b, gone) = (start("a").await, start("b").await, start("gone").await);
    within(fleet::until(|| a.peers().len() == 2 && b.peers().len() == 2)).await;
    gone.shutdown().await;
    within(fleet::until(|| a.peer("gone").is_none_or(|peer| !peer.is_alive()))).await;

    let mut alert = within(a.alert(json!({"lost": 1})).ttl(TTL).send()).await.unwrap();
    let report = within(alert.wait(WAIT)).await.unwrap();
    let missing: Vec<(&str, &str)> =
        report.missing.iter().map(|row| (row.node_id.as_str(), row.reason.as_str())).collect();
    assert_eq!(
        (&report.delivered[..], &missing[..]),
        (&["b".to_owned()][..], &[("gone", "expired")][..]),
        "{report:?}"
    );
    assert!(!report.has_reached_all());
    assert_eq!((report.alert_id.as_str(), report.priority.as_str()), (alert.id(), "normal"));
    assert_eq!(within(alert.report()).await.unwrap(), report, "and it is told as often as somebody asks");
    while within(alert.next()).await.is_some() {}
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn an_alert_that_nobody_else_was_there_for_has_reached_nobody() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let mut alert = within(a.alert(json!({"lost": 1})).ttl(TTL).send()).await.unwrap();
    assert!(!within(alert.report()).await.unwrap().kept, "there is no disk to be on");
    let report = within(alert.wait(WAIT)).await.unwrap();
    assert!(report.delivered.is_empty() && report.missing.is_empty(), "{report:?}");
    assert!(!report.has_reached_all() && !report.kept);
    a.shutdown().await;
}

#[tokio::test]
async fn an_alert_that_a_node_raises_as_it_starts_waits_for_whom_it_is_about_to_meet() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let mut alert = within(a.alert(json!({"first": true})).send()).await.unwrap();
    let (report, b) = tokio::join!(within(alert.wait(WAIT)), fleet.node("b").start());
    let report = report.unwrap();
    assert_eq!(report.delivered, ["b"], "{report:?}");
    assert!(report.has_reached_all());
    for mesh in [a, b.unwrap()] {
        mesh.shutdown().await;
    }
}

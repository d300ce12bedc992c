//! Decides that every example does what it says, within bounded time.
#![expect(dead_code, reason = "each example's `main` only calls what is run here")]

use std::time::Duration;

#[path = "../examples/alert_broadcasting.rs"]
mod alert_broadcasting;
#[path = "../examples/basic_setup.rs"]
mod basic_setup;
#[path = "../examples/network_statistics.rs"]
mod network_statistics;
#[path = "../examples/peer_discovery.rs"]
mod peer_discovery;
#[path = "../examples/state_management.rs"]
mod state_management;

async fn ends_well(example: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) {
    let outcome = tokio::time::timeout(Duration::from_secs(60), example).await;
    outcome.expect("an example takes seconds").expect("an example ends well");
}

#[tokio::test]
async fn basic_setup_starts_and_stops_a_node() {
    ends_well(basic_setup::run()).await;
}

#[tokio::test]
async fn peer_discovery_finds_two_peers_and_hears_one_leave() {
    ends_well(peer_discovery::run()).await;
}

#[tokio::test]
async fn state_management_follows_a_camera_to_its_third_version() {
    ends_well(state_management::run()).await;
}

#[tokio::test]
async fn network_statistics_counts_a_peer_and_its_heartbeats() {
    ends_well(network_statistics::run()).await;
}

#[tokio::test]
async fn alert_broadcasting_shows_an_alert_once_and_learns_who_has_seen_it() {
    ends_well(alert_broadcasting::run()).await;
}

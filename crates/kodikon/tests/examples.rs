//! Decides that every example does what it says, within bounded time.
#![expect(dead_code, reason = "each example's `main` only calls what is run here")]

use std::time::Duration;

#[path = "../examples/alert_broadcasting.rs"]
mod alert_broadcasting;
#[path = "../examples/basic_setup.rs"]
mod basic_setup;
#[path = "../examples/camera.rs"]
mod camera;
#[path = "../examples/detection_alerts.rs"]
mod detection_alerts;
#[path = "../examples/hash_registry.rs"]
mod hash_registry;
#[path = "../examples/message_routing.rs"]
mod message_routing;
#[path = "../examples/network_statistics.rs"]
mod network_statistics;
#[path = "../examples/ownership_vote.rs"]
mod ownership_vote;
#[path = "../examples/peer_discovery.rs"]
mod peer_discovery;
#[path = "../examples/power_manager.rs"]
mod power_manager;
#[path = "../examples/runtime_queries.rs"]
mod runtime_queries;
#[path = "../examples/search_queries.rs"]
mod search_queries;
#[path = "../examples/state_management.rs"]
mod state_management;
#[path = "../examples/streaming_search.rs"]
mod streaming_search;
#[path = "../examples/streaming_state.rs"]
mod streaming_state;
#[path = "../examples/vision_registry.rs"]
mod vision_registry;

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
async fn hash_registry_shares_a_registration_tells_a_handler_of_it_and_removes_it() {
    ends_well(hash_registry::run()).await;
}

#[tokio::test]
async fn search_queries_find_at_one_node_what_two_others_have_seen() {
    ends_well(search_queries::run()).await;
}

#[tokio::test]
async fn message_routing_tells_a_door_and_learns_what_became_of_it() {
    ends_well(message_routing::run()).await;
}

#[tokio::test]
async fn ownership_vote_counts_three_votes_and_waits_five_seconds_for_the_fourth() {
    let begun = std::time::Instant::now();
    ends_well(ownership_vote::run()).await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn streaming_state_is_followed_and_shown_to_a_late_joiner() {
    ends_well(streaming_state::run()).await;
}

#[tokio::test]
async fn network_statistics_counts_a_peer_and_its_heartbeats() {
    ends_well(network_statistics::run()).await;
}

#[tokio::test]
async fn alert_broadcasting_shows_an_alert_once_and_learns_who_has_seen_it() {
    ends_well(alert_broadcasting::run()).await;
}

#[tokio::test]
async fn detection_alerts_calls_the_guard_for_what_is_sure_and_for_nothing_else() {
    ends_well(detection_alerts::run()).await;
}

#[tokio::test]
async fn power_manager_tells_its_modes_and_raises_one_power_alert() {
    ends_well(power_manager::run()).await;
}

#[tokio::test]
async fn four_cameras_find_the_other_views_of_what_they_see() {
    ends_well(camera::run(8)).await;
}

#[tokio::test]
async fn vision_registry_keeps_one_sighting_of_a_track_and_another_camera_recognises_it() {
    ends_well(vision_registry::run()).await;
}

#[tokio::test]
async fn runtime_queries_collect_what_each_node_alone_knows_and_the_state_of_all() {
    ends_well(runtime_queries::run()).await;
}

#[tokio::test]
async fn streaming_search_labels_who_was_seen_and_waits_for_no_answer() {
    ends_well(streaming_search::run()).await;
}

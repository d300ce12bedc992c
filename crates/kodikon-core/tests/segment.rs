//! Nodes on one perfect segment: they find each other, notice a death and a goodbye, and share state.

#[path = "segment/lan.rs"]
mod lan;

use std::collections::BTreeSet;

use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::member::Liveness;
use kodikon_core::model::state::StateChange;
use lan::Lan;

fn started(nodes: u8) -> Lan {
    let mut lan = Lan::new();
    (1..=nodes).for_each(|n| lan.start(n));
    lan
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::PeerUp { .. })
}

#[test]
fn nodes_started_together_all_know_each_other_in_a_tenth_of_a_second() {
    for nodes in [2u8, 3, 10, 30] {
        let mut lan = started(nodes);
        lan.run(Duration::from_millis(100));
        let expected = usize::from(nodes) * usize::from(nodes - 1);
        assert_eq!(lan.times(is_up).len(), expected, "{nodes} nodes, {} datagrams", lan.sent);
    }
}

#[test]
fn a_latecomer_is_known_to_all_at_once() {
    let mut lan = started(10);
    lan.run(Duration::from_secs(20));
    lan.events.clear();
    let (before, sent) = (lan.now, lan.sent);
    lan.start(11);
    lan.run(Duration::from_millis(50));
    assert_eq!(lan.times(is_up).len(), 20, "ten learn of it and it learns of ten, {} datagrams", lan.sent - sent);
    assert!(lan.nodes[&11].peers().iter().all(|peer| peer.liveness == Liveness::Alive));
    assert!(lan.now.since(before) <= Duration::from_millis(50));
}

/// Nothing said to all is heard and no peer is configured: what the disk remembers is the only way, and one of two is enough.
#[test]
fn where_a_peer_was_last_reached_is_enough_to_find_it_again() {
    for (remembers, expected) in [(true, 2), (false, 0)] {
        let mut lan = started(2);
        lan.run(Duration::from_secs(70));
        let directory = lan.directories.get(&1).filter(|_| remembers).cloned().unwrap_or_default();
        assert_eq!(directory.len(), usize::from(remembers), "{directory:?}");
        lan.nodes.clear();
        lan.events.clear();
        lan.is_without_groups = true;
        for (n, directory) in [(1, directory), (2, Vec::new())] {
            lan.start_with(n, |boot| {
                boot.epoch = Epoch::new(2, u32::from(n));
                boot.seed = [100 + n; 32];
                boot.saved.directory = directory;
            });
        }
        lan.run(Duration::from_secs(2));
        assert_eq!(lan.times(is_up).len(), expected);
    }
}

#[test]
fn nobody_is_suspected_on_a_perfect_lan_and_the_idle_traffic_is_small() {
    let mut lan = started(10);
    lan.run(Duration::from_secs(60));
    let sent = lan.sent;
    lan.run(Duration::from_secs(600));
    let suspected = lan.times(|event| matches!(event, Event::PeerSuspect { .. } | Event::PeerFailed { .. }));
    assert_eq!(suspected, [], "in ten minutes");
    let per_node_minute = (lan.sent - sent) as f64 / 100.0;
    assert!(per_node_minute < 64.0, "{per_node_minute} datagrams per node and minute");
    let roots: BTreeSet<u64> = lan.nodes.values().map(kodikon_core::node::Node::root).collect();
    assert_eq!(roots.len(), 1, "all agree");
}

#[test]
fn a_silent_death_is_noticed_by_all_within_seconds() {
    let mut lan = started(10);
    lan.run(Duration::from_secs(30));
    let death = lan.now;
    lan.nodes.remove(&4);
    lan.run(Duration::from_secs(10));
    let failed = lan.times(|event| matches!(event, Event::PeerFailed { .. }));
    assert_eq!(failed.len(), 9, "{failed:?}");
    let last = failed.iter().map(|(_, at)| *at).max().unwrap() - death.since(kodikon_core::ground::time::Instant::ZERO);
    assert!(last <= Duration::from_millis(5_600), "{last:?}");
}

#[test]
fn the_survivor_of_a_pair_buries_its_peer_at_the_hard_bound() {
    let mut lan = started(2);
    lan.run(Duration::from_secs(10));
    lan.nodes.remove(&2);
    lan.run(Duration::from_secs(28));
    assert_eq!(lan.times(|event| matches!(event, Event::Isolated(true))).len(), 1);
    assert_eq!(lan.times(|event| matches!(event, Event::PeerFailed { .. })).len(), 0);
    lan.run(Duration::from_secs(4));
    assert_eq!(lan.times(|event| matches!(event, Event::PeerFailed { .. })).len(), 1);
}

#[test]
fn a_goodbye_is_heard_by_all_at_once() {
    let mut lan = started(10);
    lan.run(Duration::from_secs(10));
    lan.hand(4, Input::Command(Command::Leave));
    lan.run(Duration::from_millis(50));
    assert_eq!(lan.times(|event| matches!(event, Event::PeerLeft { .. })).len(), 9);
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.times(|event| matches!(event, Event::PeerFailed { .. } | Event::PeerSuspect { .. })), []);
}

#[test]
fn state_set_before_and_after_reaches_all_and_a_latecomer() {
    let mut lan = started(5);
    let set = |lan: &mut Lan, n: u8, json: &str| {
        let change = StateChange { key: "fps".to_owned(), json: Some(json.to_owned()) };
        lan.hand(n, Input::Command(Command::SetState(vec![change], WallTime(5))));
    };
    set(&mut lan, 1, "15");
    lan.run(Duration::from_secs(3));
    set(&mut lan, 1, "30");
    set(&mut lan, 2, "20");
    lan.start(6);
    lan.run(Duration::from_secs(3));
    let ids: Vec<_> = [1, 2].iter().map(|n| lan.nodes[n].id()).collect();
    for (n, node) in &lan.nodes {
        let fps: Vec<_> =
            ids.iter().map(|id| node.state_of(id).map(|state| (state.version, state.values["fps"].clone()))).collect();
        assert_eq!(fps, [Some((2, "30".to_owned())), Some((1, "20".to_owned()))], "at node {n}");
    }
}

/// Of what was over in an author's lane always the same first hundred gaps were told, and a newcomer compared in vain for ever.
#[test]
fn of_an_author_that_set_and_unset_many_keys_a_newcomer_covers_all() {
    let mut lan = started(2);
    for n in 0..200 {
        for json in [Some("1".to_owned()), None] {
            let change = StateChange { key: format!("person {n}"), json };
            lan.hand(1, Input::Command(Command::SetState(vec![change], WallTime(5))));
            lan.run(Duration::from_millis(200));
        }
    }
    lan.run(Duration::from_secs(3));
    lan.start(3);
    lan.run(Duration::from_secs(20));
    let roots: BTreeSet<u64> = lan.nodes.values().map(|node| node.root()).collect();
    assert_eq!(roots.len(), 1, "all cover the same");
}

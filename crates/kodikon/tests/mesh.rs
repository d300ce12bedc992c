//! Decides that nodes on one machine find each other, share state, say goodbye, and answer from any thread.

mod fleet;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fleet::{Fleet, within};
use kodikon::api::{Liveness, What};
use kodikon::{EventKind, Mesh, MeshError, Priority, SendError};
use serde_json::json;

#[tokio::test]
async fn two_nodes_find_each_other_and_one_that_leaves_is_missed_at_once() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let mut events = a.events();
    let b = fleet.node("b").state(json!({"state": "processing", "processing_fps": 30})).start().await.unwrap();

    let up = within(async { events.next().await.unwrap() }).await;
    assert!(matches!(&up.what, What::PeerUp { node_id, address: Some(_), .. } if node_id == "b"), "{up:?}");
    let peer = a.peer("b").expect("whoever is told of a peer finds it");
    assert!(peer.is_alive() && peer.last_heard() < Duration::from_secs(5), "{peer:?}");
    within(fleet::until(|| b.peers().iter().any(|peer| peer.name() == "a"))).await;
    within(fleet::until(|| a.state("b").is_some_and(|row| row.state.get("processing_fps") == Some(&json!(30))))).await;
    let row = a.peer("b").unwrap().row();
    assert_eq!((row.state.as_str(), &row.capabilities["processing_fps"]), ("processing", &json!(30)));
    within(fleet::until(|| a.root() == b.root())).await;

    b.shutdown().await;
    assert!(!b.is_running() && b.set_state(json!({"k": 1})) == Err(MeshError::Stopped));
    loop {
        let event = within(async { events.next().await.unwrap() }).await;
        if matches!(&event.what, What::PeerLeft { node_id, .. } if node_id == "b") {
            break;
        }
    }
    assert!(a.peer("b").is_none_or(|peer| peer.liveness() == Liveness::Left), "{:?}", a.peers());
    let ever = a.peers_ever().await.unwrap();
    assert!(ever.iter().any(|peer| peer.name() == "b" && peer.liveness() == Liveness::Left), "{ever:?}");
    a.shutdown().await;
}

#[tokio::test]
async fn eight_threads_use_one_node() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let b = fleet.node("b").start().await.unwrap();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let mesh = a.clone();
            std::thread::spawn(move || {
                for round in 0..20 {
                    let key = format!("thread_{n}");
                    while mesh.set_state(json!({ &key: round })) == Err(MeshError::Busy { limit: 1_024 }) {
                        std::thread::yield_now();
                    }
                    assert_eq!(mesh.state("a").unwrap().state[&key], round, "one's own change is seen at once");
                    let _ = (mesh.peers(), mesh.stats(), mesh.states(), mesh.peer("b"), mesh.root());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let all = |row: kodikon::api::StateRow| (0..8).all(|n| row.state.get(&format!("thread_{n}")) == Some(&json!(19)));
    within(fleet::until(|| b.state("a").is_some_and(all))).await;
    assert_eq!(b.state("a").unwrap().version, a.state("a").unwrap().version);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_handler_hears_its_kind_and_one_that_panics_holds_nobody_up() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let (heard, hears) = mpsc::channel();
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    a.on(EventKind::PeerUp, move |event| {
        counter.fetch_add(1, Ordering::Relaxed);
        heard.send(event.clone()).unwrap();
        panic!("as a user's bug would");
    })
    .unwrap();
    let b = fleet.node("b").start().await.unwrap();
    let c = fleet.node("c").start().await.unwrap();
    within(fleet::until(|| a.stats().counters["handler_panics"] == 2)).await;
    let mut names: Vec<String> = hears
        .try_iter()
        .map(|event| {
            let What::PeerUp { node_id, .. } = event.what else { panic!("{event:?}") };
            node_id
        })
        .collect();
    names.sort();
    assert_eq!(names, ["b", "c"]);
    assert!(a.is_running());
    for mesh in [a, b, c] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_ends_with_its_last_handle_and_its_peers_hear_the_goodbye() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let mut events = a.events();
    let b = fleet.node("b").start().await.unwrap();
    within(fleet::until(|| a.peer("b").is_some())).await;
    let mut ends = b.events();
    drop(b);
    within(async { while ends.next().await.is_some() {} }).await;
    loop {
        let event = within(async { events.next().await.unwrap() }).await;
        if matches!(event.what, What::PeerLeft { .. }) {
            break;
        }
    }
    a.shutdown().await;
    assert!(within(async { events.next().await }).await.is_none(), "the stream ends with its node");
}

#[tokio::test]
async fn what_a_node_remembers_survives_its_restart() {
    let fleet = Fleet::new();
    let directory = std::env::temp_dir().join(format!("kodikon-mesh-test-{}", std::process::id()));
    let node = || fleet.node("cam").data_dir(&directory);
    let first = node().state(json!({"zone": "A"})).start().await.unwrap();
    let id = first.id();
    first.set_state(json!({"mode": "night"})).unwrap();
    let before = first.state("cam").unwrap();
    let second = node().start().await.map(|_| ()).expect_err("one process at a time");
    assert!(second.to_string().contains("in use"), "{second}");
    first.shutdown().await;

    let again = node().state(json!({"zone": "A"})).start().await.unwrap();
    assert_eq!(again.id(), id);
    let after = again.state("cam").unwrap();
    assert_eq!(after.state, before.state);
    assert_eq!(after.version, before.version, "nothing has changed");
    again.shutdown().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

/// It was `door-2` for ever.
#[tokio::test]
async fn a_node_that_is_renamed_does_not_bear_the_rank_of_its_last_name() {
    let fleet = Fleet::new();
    let directory = std::env::temp_dir().join(format!("kodikon-rank-test-{}", std::process::id()));
    let node = |name: &str| fleet.node(name).data_dir(&directory).start();
    let mesh = node("cam").await.unwrap();
    let id = mesh.id();
    mesh.shutdown().await;
    std::fs::write(directory.join("rank"), format!("2\n{id}\ncam\n")).unwrap();
    for (name, expected) in [("cam", "cam-2"), ("door", "door")] {
        let mesh = node(name).await.unwrap();
        assert_eq!(mesh.name(), expected);
        mesh.shutdown().await;
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn shutting_down_twice_from_two_handles_is_harmless() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    let b = a.clone();
    within(async { tokio::join!(a.shutdown(), b.shutdown()) }).await;
    within(a.shutdown()).await;
    assert_eq!(a.name(), "a");
    assert!(a.events().next().await.is_none());
    assert_eq!(a.peers_ever().await, Err(MeshError::Stopped));
}

/// It was answered with the state as it was before, as if that were what is on disk, and the change was lost.
#[tokio::test]
async fn a_change_of_the_state_behind_the_goodbye_is_not_acknowledged_as_kept() {
    let fleet = Fleet::new();
    let a = fleet.node("a").start().await.unwrap();
    // The goodbye is ordered first: the two are polled in turn.
    let change = async {
        a.set_state(json!({ "fps": 30 }))?;
        a.state_kept().await
    };
    let ((), kept) = within(async { tokio::join!(a.shutdown(), change) }).await;
    assert_eq!(kept, Err(MeshError::Stopped));
}

#[tokio::test]
async fn what_one_says_to_all_is_told_to_each_other_once() {
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(fleet.node(name).start().await.unwrap());
    }
    // What is said while a run is younger than a tenth of a second may have been said to the one before it.
    let is_met = |mesh: &Mesh| mesh.peers().len() == 2 && mesh.stats().uptime_s > 0.2;
    within(fleet::until(|| nodes.iter().all(is_met))).await;
    let mut heard: Vec<_> = nodes.iter().map(|mesh| mesh.events()).collect();
    let mut ids = Vec::new();
    for n in 0..10 {
        let said = nodes[0].broadcast(json!({ "n": n })).kind("door").priority(Priority::High).await.unwrap();
        ids.push(said.id().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 10, "each has a name of its own: {ids:?}");
    // The last word of another: whatever came before it was told to all by then.
    within(fleet::until(|| nodes[0].stats().counters["casts_acknowledged"] == 20)).await;
    for mesh in &nodes {
        mesh.shutdown().await;
    }
    for (place, events) in heard.iter_mut().enumerate() {
        let mut numbers = Vec::new();
        while let Some(event) = within(events.next()).await {
            if let What::Message { source, kind, payload, priority, sent_to, .. } = event.what {
                assert_eq!((source.as_str(), kind.as_str(), priority.as_str()), ("a", "door", "high"));
                assert_eq!(sent_to.as_deref(), Some("all"));
                numbers.push(payload["n"].as_u64().unwrap());
            }
        }
        numbers.sort_unstable();
        let expected: Vec<u64> = if place == 0 { Vec::new() } else { (0..10).collect() };
        assert_eq!(numbers, expected, "node {place}");
    }
    let refused = nodes[0].broadcast(json!(1)).await;
    assert_eq!(refused, Err(SendError::Stopped));
}

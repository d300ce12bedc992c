//! Decides what a node does on a host that is not as it should be: ports taken, no interface, no discovery.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::What;
use crate::doctor::PortUse;
use crate::testing::{in_namespace, ip};
use crate::{Builder, Mesh};

/// A builder of nodes that meet each other and nobody else, and their discovery port.
fn fleet() -> (impl Fn(&str) -> Builder, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let port = 50_000 + u16::try_from((process + number) % 150 * 100).unwrap();
    let mesh = format!("driver-{process}-{number}");
    (move |name: &str| Mesh::builder(name).in_memory().mesh_name(&mesh).udp_port(port).interfaces(["lo"]), port)
}

async fn until(is_so: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), asking(is_so)).await.expect("it should have happened long ago");
}

async fn asking(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn without_the_discovery_port_a_node_goes_on_and_finds_configured_peers() {
    let (node, port) = fleet();
    let foreign = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(); // does not share
    let a = node("a").start().await.unwrap();
    let symptoms = a.symptoms().await.unwrap();
    assert!(matches!(symptoms.port, Some(PortUse::Taken { .. })), "{:?}", symptoms.port);
    let own = a.addresses()[0].port();
    let b = node("b").peers([format!("127.0.0.1:{own}")]).start().await.unwrap();
    until(|| a.peer("b").is_some() && b.peer("a").is_some()).await;
    drop(foreign);
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_peer_configured_by_name_is_met_where_its_name_leads() {
    let (node, port) = fleet();
    let foreign = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(); // nobody is met by discovery
    let a = node("a").start().await.unwrap();
    let own = a.addresses()[0].port();
    let peers = [format!("localhost:{own}"), "no-such-host.invalid:9999".to_owned()];
    let begun = Instant::now();
    let b = node("b").peers(peers).start().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "no start waits for a name: {:?}", begun.elapsed());
    until(|| a.peer("b").is_some() && b.peer("a").is_some()).await;
    drop(foreign);
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_named_in_the_symptoms() {
    let (node, _) = fleet();
    let a = node("a").interfaces(["lo", "eth77"]).start().await.unwrap();
    assert_eq!(a.symptoms().await.unwrap().absent, ["eth77"]);
    a.shutdown().await;
}

#[tokio::test]
async fn a_node_alone_hears_its_own_calls_and_its_loop_shows_itself() {
    let (node, _) = fleet();
    let a = node("a").start().await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4_500) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(a.is_turning(), "after {:?}", begun.elapsed());
    }
    let symptoms = a.symptoms().await.unwrap();
    let casts = &symptoms.interfaces.as_ref().unwrap().iter().find(|interface| interface.name == "lo").unwrap().casts;
    // The loopback carries no IPv6 multicast.
    let echoed: Vec<_> = casts.iter().filter(|cast| cast.echoed).map(|cast| cast.name).collect();
    assert_eq!(echoed, ["multicast v4", "broadcast"], "{casts:?}");
    a.shutdown().await;
    assert!(!a.is_turning());
}

#[tokio::test]
async fn each_node_of_a_host_takes_a_port_of_its_own_and_strange_datagrams_change_nothing() {
    let (node, port) = fleet();
    let (a, b) = (node("a").start().await.unwrap(), node("b").start().await.unwrap());
    until(|| a.peer("b").is_some()).await;
    let ports = [&a, &b].map(|mesh| mesh.addresses()[0].port());
    assert!(ports[0] != ports[1] && ports.iter().all(|own| (port + 1..=port + 64).contains(own)), "{ports:?}");

    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for bytes in [&b"{\"type\": 1}"[..], &[0x01; 34], &[0xff; 1_400], &[7], &[]] {
        stranger.send_to(bytes, (Ipv4Addr::LOCALHOST, ports[0])).unwrap();
    }
    // The empty one is counted, too.
    until(|| a.stats().drops["length"] >= 1 && a.stats().drops.values().sum::<u64>() >= 5).await;
    assert_eq!(a.peers().len(), 1);
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 1]).is_err(), "a stranger gets no answer");
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_flood_of_noise_holds_up_neither_orders_nor_peers() {
    let (node, _) = fleet();
    let (a, b) = (node("a").start().await.unwrap(), node("b").start().await.unwrap());
    until(|| a.peer("b").is_some()).await;
    let target = a.addresses()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // It looks like a frame of ours, so that each costs a vain attempt to open it.
        let mut frame = [7; 200];
        frame[..2].copy_from_slice(&[1, 0]);
        while !stopped.load(Ordering::Relaxed) {
            // A full queue drops it; that is part of the flood.
            let _ = socket.send_to(&frame, target);
        }
    });
    // On a busy machine the thread that makes the noise may start after all else is done.
    until(|| a.stats().drops["seal"] > 0).await;
    // What is too long is told by the noise that was dealt with meanwhile: a busy machine slows down that, too.
    let mut verdicts = b.events();
    for round in 0..50 {
        a.set_state(json!({"round": round})).unwrap();
        unless_noise(&a, a.symptoms()).await.unwrap();
    }
    let is_told = || b.state("a").is_some_and(|row| row.state.get("round") == Some(&json!(49)));
    unless_noise(&a, asking(is_told)).await;
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    until(|| [(&a, "b"), (&b, "a")].iter().all(|(mesh, name)| mesh.peer(name).is_some_and(|peer| peer.is_alive())))
        .await;
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
    while let Some(event) = verdicts.next().await {
        assert!(!matches!(event.what, What::PeerFailed { .. }), "{event:?}");
    }
}

/// Waits for something; fails once the node has dropped so much noise meanwhile that it cares for nothing else.
async fn unless_noise<T>(mesh: &Mesh, awaited: impl Future<Output = T>) -> T {
    // Several seconds of work.
    const TOO_MUCH: u64 = 500_000;
    let noise = || mesh.stats().drops.values().sum::<u64>();
    let most = noise() + TOO_MUCH;
    tokio::select! {
        done = awaited => done,
        () = asking(|| noise() >= most) => panic!("it waits behind {TOO_MUCH} datagrams of noise"),
    }
}

#[tokio::test]
async fn a_shutdown_takes_no_longer_than_its_goodbye() {
    let (node, _) = fleet();
    let mesh = node("a").start().await.unwrap();
    let begun = Instant::now();
    mesh.shutdown().await;
    assert!(begun.elapsed() < super::GOODBYE_WITHIN + Duration::from_millis(750), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn ones_own_change_is_an_event_too_and_a_patch_removes_what_is_null() {
    let (node, _) = fleet();
    let mesh = node("a").state(json!({"fps": 10, "zone": "A"})).start().await.unwrap();
    assert_eq!(mesh.state_kept().await.unwrap().version, 1);
    let mut events = mesh.events();
    let patch = json!({"fps": 20, "zone": null, "none": null});
    mesh.patch_state(patch.as_object().unwrap().clone()).unwrap();
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap();
    let What::State { node_id, id, version, state, .. } = event.what else { panic!("{event:?}") };
    assert_eq!((node_id.as_str(), id, version), ("a", mesh.id().to_string(), 2));
    assert_eq!(serde_json::Value::Object(state.clone()), json!({"fps": 20}));
    assert_eq!(mesh.state("a").unwrap().state, state);
    mesh.set_state(json!({"fps": 20})).unwrap();
    assert_eq!(mesh.state("a").unwrap().version, 2, "what changes nothing is no change");
    mesh.shutdown().await;
}

/// Whoever keeps a table by name has those in it who are there, and no others, by the word of the events alone.
#[tokio::test]
async fn a_table_kept_by_the_names_in_events_has_no_phantoms_when_two_nodes_bear_one_name() {
    let (node, _) = fleet();
    let watcher = node("watcher").start().await.unwrap();
    let mut events = watcher.events();
    let (one, other) = (node("cam").start().await.unwrap(), node("cam").start().await.unwrap());
    let mut table = std::collections::BTreeMap::new();
    let follow = async {
        while !table.keys().map(String::as_str).eq(["cam", "cam-2"]) {
            if let What::PeerUp { node_id, id, renamed_from, .. } = events.next().await.unwrap().what {
                let before = renamed_from.and_then(|name| table.remove(&name));
                assert!(before.is_none_or(|before| before == id), "{node_id} was another");
                table.insert(node_id, id);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), follow).await.expect("both have names of their own");
    let rows = watcher.peers();
    assert_eq!(table, rows.into_iter().map(|row| (row.name, row.id.to_string())).collect());
    for mesh in [watcher, one, other] {
        mesh.shutdown().await;
    }
}

#[test]
fn without_an_interface_a_node_starts_and_joins_when_one_comes_up() {
    in_namespace(async || {
        let node = |name: &str| Mesh::builder(name).in_memory().mesh_name("waiting");
        let (a, b) = (node("a").start().await.unwrap(), node("b").start().await.unwrap());
        assert_eq!((a.addresses(), a.peers().len()), (Vec::new(), 0));
        ip("link set lo up");
        until(|| a.peer("b").is_some() && b.peer("a").is_some()).await;
        // The kernel may be asked for its interfaces anew at this moment.
        until(|| !a.addresses().is_empty() && !b.addresses().is_empty()).await;
        for mesh in [a, b] {
            mesh.shutdown().await;
        }
    });
}

#[tokio::test]
async fn a_node_that_may_use_none_of_the_interfaces_that_are_there_meets_nobody() {
    let (node, _) = fleet();
    let a = node("a").interfaces(["nope0"]).start().await.unwrap();
    // It calls all on the loopback by broadcast, which needs no group, and asks `a` by its address.
    let ports = a.symptoms().await.unwrap().discovery_port;
    let near = (1..=4).map(|n| format!("127.0.0.1:{}", ports + n));
    let b = node("b").peers(near).start().await.unwrap();
    until(|| a.stats().drops["other_interface"] >= 4).await;
    assert_eq!((a.peers().len(), b.peers().len()), (0, 0));
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[test]
fn two_nodes_of_a_host_meet_over_the_interface_both_name_and_not_with_who_names_another() {
    in_namespace(async || {
        for command in [
            "link set lo up",
            "link add eth9 type veth peer name far9",
            "link set far9 up",
            "addr add 192.0.2.7/24 dev eth9",
            "link set eth9 up",
        ] {
            ip(command);
        }
        let node = |name: &str, interface| Mesh::builder(name).in_memory().mesh_name("named").interfaces([interface]);
        let [a, b] = ["a", "b"].map(|name| node(name, "eth9"));
        let (a, b) = (a.start().await.unwrap(), b.start().await.unwrap());
        let c = node("c", "lo").peers(["192.0.2.7:10000".to_owned()]).start().await.unwrap();
        until(|| a.peer("b").is_some() && b.peer("a").is_some()).await;
        until(|| a.stats().drops["other_interface"] > 0).await;
        assert_eq!((a.peers().len(), b.peers().len(), c.peers().len()), (1, 1, 0));
        for mesh in [a, b, c] {
            mesh.shutdown().await;
        }
    });
}

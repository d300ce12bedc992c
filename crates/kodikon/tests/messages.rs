//! Decides that what one node says to another is delivered, heard by those who wait for it, or told as what it became.

mod fleet;

use std::sync::mpsc;
use std::time::Duration;

use fleet::{Fleet, within};
use kodikon::api::What;
use kodikon::{EventKind, Mesh, MessageType, Outcome, Priority, SendError};
use serde_json::{Value, json};

async fn pair(fleet: &Fleet) -> (Mesh, Mesh) {
    let start = async |name: &str| fleet.node(name).start().await.expect("a node of this machine");
    let (a, b) = (start("cam-a").await, start("cam-b").await);
    within(fleet::until(|| a.peer("cam-b").is_some() && b.peer("cam-a").is_some())).await;
    (a, b)
}

#[tokio::test]
async fn a_message_is_delivered_and_heard_with_all_that_belongs_to_it() {
    let fleet = Fleet::new();
    let (a, b) = pair(&fleet).await;
    let (door, doors) = mpsc::channel();
    let (inline, inlines) = mpsc::channel();
    b.on("door_opened", move |event| door.send(event.clone()).unwrap()).unwrap();
    b.on_inline(MessageType::RouteBroadcast, move |event| inline.send(event.clone()).unwrap()).unwrap();
    let mut events = b.events();

    let payload = json!({"text": "é", "float": 0.1, "list": [null, true]});
    let id = b.id().to_string();
    for name in ["cam-b".to_owned(), format!("cam-b@{}", &id[..4]), id] {
        let outcome = within(a.send(name.as_str(), payload.clone()).priority(Priority::High)).await.unwrap();
        let Outcome::Delivered { path, attempts: 1, .. } = &outcome else { panic!("{name}: {outcome:?}") };
        assert_eq!(path, &["cam-b"]);
        let heard = inlines.recv_timeout(Duration::from_secs(30)).unwrap();
        let What::Message { node_id, source, kind, payload: said, path, priority, .. } = heard.what else {
            panic!("{heard:?}")
        };
        assert_eq!((node_id.as_str(), source.as_str(), said, path), ("cam-a", "cam-a", payload.clone(), Vec::new()));
        assert_eq!((kind.as_str(), priority.as_str()), ("ROUTE_BROADCAST", "high"));
    }
    assert!(within(a.send("cam-b", json!(7)).kind("door_opened")).await.unwrap().is_delivered());
    let heard = doors.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(&heard.what, What::Message { payload, .. } if *payload == 7), "{heard:?}");
    let mut told = Vec::new();
    while told.len() < 4 {
        let event = within(events.next()).await.unwrap();
        if EventKind::of(&event.what) == Some(EventKind::Message) {
            told.push(event);
        }
    }
    assert_eq!(told[3], heard);
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_large_payload_arrives_whole_and_many_arrive_once_each() {
    let fleet = Fleet::new();
    let (a, b) = pair(&fleet).await;
    let (said, heard) = mpsc::channel();
    b.on(EventKind::Message, move |event| {
        let What::Message { payload, .. } = &event.what else { return };
        said.send(payload.clone()).unwrap();
    })
    .unwrap();
    let large = json!("x".repeat(60_000));
    assert!(within(a.send("cam-b", large.clone())).await.unwrap().is_delivered());
    assert_eq!(heard.recv_timeout(Duration::from_secs(30)).unwrap(), large);

    let sendings: Vec<_> = (0..200).map(|n| tokio::spawn(a.send("cam-b", json!(n)).into_future())).collect();
    for sending in sendings {
        assert!(within(sending).await.unwrap().unwrap().is_delivered());
    }
    let mut numbers: Vec<Value> = (0..200).map(|_| heard.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    numbers.sort_by_key(Value::as_u64);
    assert_eq!(numbers, (0..200).map(Value::from).collect::<Vec<_>>());
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
    assert!(heard.try_recv().is_err(), "none came twice");
}

#[tokio::test]
async fn who_is_not_there_is_unreachable_at_once_and_a_slip_of_the_finger_is_told() {
    let fleet = Fleet::new();
    let (a, b) = pair(&fleet).await;
    for (name, told) in [
        ("cam_b", "did you mean `cam-b`?"),
        ("cam-9", "did you mean `cam-b`?"),
        ("nobody", "`kodikon peers` lists all"),
    ] {
        let outcome = within(a.send(name, json!(1))).await.unwrap();
        assert!(matches!(&outcome, Outcome::Unreachable { reason } if reason.contains(told)), "{name}: {outcome:?}");
    }
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_shutdown_settles_what_waits_and_a_dropped_future_calls_nothing_back() {
    let fleet = Fleet::new();
    let (a, b) = pair(&fleet).await;
    let mut events = b.events();
    // Polled once, it is on its way.
    let sending = tokio::spawn(a.send("cam-b", json!("kept")).into_future());
    tokio::task::yield_now().await;
    sending.abort();
    loop {
        let event = within(events.next()).await.unwrap();
        if matches!(&event.what, What::Message { payload, .. } if *payload == "kept") {
            break;
        }
    }
    // Whatever these become, all are told.
    let sendings: Vec<_> = (0..100).map(|n| tokio::spawn(a.send("cam-b", json!(n)).into_future())).collect();
    tokio::task::yield_now().await;
    a.shutdown().await;
    for sending in sendings {
        let outcome = within(sending).await.unwrap().unwrap();
        let is_shutdown = matches!(&outcome, Outcome::Expired { reason, .. } if reason == "shutdown");
        assert!(outcome.is_delivered() || is_shutdown, "{outcome:?}");
    }
    assert_eq!(a.send("cam-b", json!(1)).await, Err(SendError::Stopped));
    b.shutdown().await;
}

#[tokio::test]
async fn a_handler_for_alerts_hears_alerts_and_no_message_passes_for_one() {
    let fleet = Fleet::new();
    let (a, b) = pair(&fleet).await;
    let (said, heard) = mpsc::channel();
    b.on(MessageType::Alert, move |event| said.send(event.clone()).unwrap()).unwrap();
    let reserved = SendError::Reserved { kind: MessageType::Alert };
    assert_eq!(a.send("cam-b", json!(1)).kind("ALERT").await, Err(reserved.clone()));
    assert_eq!(a.broadcast(json!(1)).kind("ALERT").await, Err(reserved));
    within(a.alert(json!({"smoke": true})).send()).await.unwrap();
    let event = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(&event.what, What::Alert { alert, .. } if *alert == json!({"smoke": true})), "{event:?}");
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
    assert!(heard.try_recv().is_err(), "and nothing else");
}

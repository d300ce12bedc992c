//! Decides that sightings added through the library are everywhere with all they say, updated by their author alone, and removed.

mod fleet;

use std::time::Duration;

use fleet::{Fleet, until, within};
use kodikon::{Dtype, Filter, Mesh, Record, RecordError};
use serde_json::json;

/// Two nodes that know each other.
async fn pair() -> (Mesh, Mesh) {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("a").start().await.expect("it starts"), fleet.node("b").start().await.expect("it starts"));
    within(until(|| a.peers().len() == 1 && b.peers().len() == 1)).await;
    (a, b)
}

/// Asks until a node holds so many sightings of something.
async fn holds(mesh: &Mesh, hash: &str, count: usize) {
    within(async {
        while mesh.get(hash).await.expect("it runs").len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sighting_is_everywhere_with_all_that_it_says() {
    let (a, b) = pair().await;
    let numbers = [0.5, -0.25, 0.125];
    let record = Record::new("h")
        .data_type("person")
        .embedding(numbers, "m")
        .dtype(Dtype::F32)
        .metadata(json!({"box": [1, 2]}))
        .confidence(0.5)
        .ttl(Duration::from_secs(60))
        .seen(12.5)
        .ownership_history(json!(["x", "y"]))
        .transfer_token(json!("t"))
        .location_signature(json!({"zone": "A"}));
    let added = within(a.add(record)).await.unwrap();
    assert_eq!((added.node_id.as_str(), added.timestamp, added.durable), ("a", 12.5, false), "there is no disk");
    holds(&b, "h", 1).await;
    let row = b.get_with_embedding("h").await.unwrap().remove(0);
    assert_eq!((row.id, row.node_id.as_str(), row.author), (added.id, "a", a.id().to_string()));
    assert_eq!((row.data_type.as_str(), row.timestamp, row.confidence), ("person", 12.5, 0.5));
    assert_eq!(json!(row.metadata), json!({"box": [1, 2]}));
    assert!(row.ttl_s > 50.0 && row.ttl_s <= 60.0, "{} s", row.ttl_s);
    assert_eq!((row.ownership_history, row.transfer_token), (json!(["x", "y"]), json!("t")));
    assert_eq!((row.location_signature, row.source_node_id), (json!({"zone": "A"}), json!(null)));
    let space = row.embedding.unwrap();
    assert_eq!((space.model.as_str(), space.dims, space.dtype.as_str()), ("m", 3, "f32"));
    assert_eq!(space.numbers.unwrap(), numbers);
    assert_eq!(b.get("h").await.unwrap()[0].embedding.as_ref().unwrap().numbers, None, "they are large");

    // What says the same is left as it is; what says more is another sighting.
    let again = || Record::new("h2").metadata(json!({"n": 1})).seen(1.0);
    assert!(!within(a.add_unless_held(again())).await.unwrap().skipped);
    assert!(within(a.add_unless_held(again())).await.unwrap().skipped);
    assert!(!within(a.add_unless_held(again().seen(2.0))).await.unwrap().skipped);
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn an_update_takes_the_place_of_its_authors_own_sighting_and_of_no_others() {
    let (a, b) = pair().await;
    let first = within(a.add(Record::new("h").metadata(json!({"n": 1})))).await.unwrap();
    holds(&b, "h", 1).await;
    let others = within(b.add(Record::new("h").replacing(&first.id))).await;
    assert!(matches!(others, Err(RecordError::Unknown { .. })), "{others:?}");
    let second = within(a.add(Record::new("h").metadata(json!({"n": 2})).replacing(&first.id))).await.unwrap();
    within(async {
        while b.get("h").await.unwrap()[0].id != second.id {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for mesh in [&a, &b] {
        let rows = mesh.get("h").await.unwrap();
        assert_eq!((rows.len(), &rows[0].metadata["n"]), (1, &json!(2)));
    }
    let wrong = within(a.add(Record::new("h").replacing("first"))).await;
    assert!(wrong.is_err_and(|error| error.to_string().contains("replaces is `first`")));

    let gone = within(b.delete("h", false)).await;
    assert!(matches!(gone, Err(RecordError::Unknown { .. })), "none is its own: {gone:?}");
    assert_eq!(within(b.delete("h", true)).await.unwrap().deleted, 1);
    holds(&a, "h", 0).await;
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_list_is_found_in_parts_newest_first_with_none_twice_and_none_left_out() {
    let mesh = Fleet::new().node("a").start().await.unwrap();
    // Some are found by a turn that finds nothing, too: more than one turn looks at.
    for n in 0..300 {
        let data_type = if n % 100 == 7 { "bag" } else { "person" };
        within(mesh.add(Record::new(n.to_string()).data_type(data_type))).await.unwrap();
    }
    for (limit, parts) in [(1, 300), (7, 43), (299, 2), (300, 1), (1_000, 1)] {
        let (mut found, mut count, mut after) = (Vec::new(), 0, None::<String>);
        loop {
            let filter = Filter::new().limit(limit);
            let part = within(mesh.find(after.iter().fold(filter, |filter, next| filter.after(next)))).await.unwrap();
            count += usize::from(!part.records.is_empty());
            found.extend(part.records.into_iter().map(|row| row.hash_value));
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(count, parts, "limit {limit}");
        found.sort_by_key(|hash| hash.parse::<u32>().unwrap());
        assert!(
            found.iter().map(String::as_str).eq((0..300)
                .map(|n| n.to_string())
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str))
        );
    }
    let bags = within(mesh.find(Filter::new().data_type("bag").limit(2))).await.unwrap();
    let hashes: Vec<&str> = bags.records.iter().map(|row| row.hash_value.as_str()).collect();
    assert_eq!((hashes.as_slice(), bags.next.is_some()), (&["207", "107"][..], true));
    let wrong = within(mesh.find(Filter::new().after("nowhere"))).await;
    assert!(wrong.is_err_and(|error| error.to_string().contains("after is `nowhere`")));
    mesh.shutdown().await;
    assert_eq!(mesh.add(Record::new("h")).await, Err(RecordError::Stopped));
}

/// Adds so many sightings, all on their way at once.
async fn add_all(mesh: &Mesh, count: usize, record: fn(usize) -> Record) {
    let add = |n| {
        let mesh = mesh.clone();
        tokio::spawn(async move { mesh.add(record(n)).await })
    };
    for add in (0..count).map(add).collect::<Vec<_>>() {
        within(add).await.expect("no panic").expect("it is taken");
    }
}

#[tokio::test]
async fn what_is_held_is_left_out_of_all_of_its_moment_and_without_one_of_the_newest() {
    const COUNT: usize = 1_500;
    let mesh = Fleet::new().node("a").start().await.unwrap();
    // By their time, and where they do not say it by their words, of the newest 1,024 alone.
    let timed = |n: usize| Record::new("timed").seen(1e9 + n as f64);
    let plain = |n: usize| Record::new("plain").metadata(json!({"n": n}));
    for (record, is_first_found) in [(timed as fn(usize) -> Record, true), (plain, false)] {
        add_all(&mesh, COUNT, record).await;
        for (n, expected) in [(COUNT - 1, true), (COUNT / 2, true), (0, is_first_found), (COUNT, false)] {
            assert_eq!(within(mesh.add_unless_held(record(n))).await.unwrap().skipped, expected, "{n}");
        }
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_delete_removes_all_sightings_of_a_thing_however_many_they_are() {
    const COUNT: usize = 8_300;
    let mesh = Fleet::new().node("a").start().await.unwrap();
    add_all(&mesh, COUNT, |n| Record::new("h").seen(n as f64)).await;
    assert_eq!(within(mesh.delete("h", false)).await.unwrap().deleted, COUNT as u64);
    assert!(mesh.get("h").await.unwrap().is_empty());
    mesh.shutdown().await;
}

#[tokio::test]
async fn what_was_just_added_is_counted() {
    let mesh = Fleet::new().node("a").start().await.unwrap();
    for count in 1..=20 {
        within(mesh.add(Record::new("h"))).await.unwrap();
        within(mesh.refresh()).await.unwrap();
        let stats = mesh.stats();
        assert_eq!((stats.registry["records"], stats.registry_version), (count, count));
    }
    mesh.shutdown().await;
}

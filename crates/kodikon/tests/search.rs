//! Decides that a search through the library finds what a plain scan of all stored numbers finds, on every node, and says why it cannot.

mod fleet;

use std::collections::BTreeMap;

use fleet::{Fleet, until, within};
use kodikon::api::{RecordRow, SearchReport};
use kodikon::{Dtype, EventKind, Filter, Mesh, Query, Record, SearchError};
use serde_json::json;

/// Features of photographs of 80 objects, four rows after each other of each.
const FILE: &[u8] = include_bytes!("../../kodikon-scan/fixtures/embeddings_320x512_f32.npy");
const ROWS: usize = 320;
const DIMS: usize = 512;
const VIEWS: usize = 4;

fn rows() -> Vec<Vec<f32>> {
    let (numbers, _) = FILE[FILE.len() - ROWS * DIMS * 4..].as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    numbers.chunks(DIMS).map(<[f32]>::to_vec).collect()
}

fn hash_of(row: usize) -> String {
    format!("{row:03}")
}

async fn find(mesh: &Mesh, query: Query) -> Result<SearchReport, SearchError> {
    within(async { mesh.search(query).await?.summary().await }).await
}

/// What a node finds that asks nobody, since it knows that nobody has more: the root of another may still be on its way here that was
/// told before that one held all.
async fn find_alone(mesh: &Mesh, numbers: &[f32]) -> SearchReport {
    within(async {
        loop {
            let report = find(mesh, Query::numbers(numbers.to_vec())).await.expect("it can be searched for");
            if report.of == 1 {
                return report;
            }
        }
    })
    .await
}

/// The hashes of what is found, and the bits of its scores.
fn found(report: &SearchReport) -> Vec<(String, u64)> {
    report.results.iter().map(|found| (found.record.hash_value.clone(), found.score.to_bits())).collect()
}

/// The nearest by the definition alone: every stored number in `f64`, one sum after the other, equals by their hash.
fn nearest(query: &[f32], stored: &BTreeMap<String, Vec<f32>>, k: usize) -> Vec<(String, u64)> {
    let mut all: Vec<(f64, &String)> = Vec::new();
    for (hash, numbers) in stored {
        let (mut qv, mut qq, mut vv) = (0.0, 0.0, 0.0);
        for (q, v) in query.iter().zip(numbers) {
            let (q, v) = (f64::from(*q), f64::from(*v));
            qv += q * v;
            qq += q * q;
            vv += v * v;
        }
        all.push((qv / (f64::sqrt(qq) * f64::sqrt(vv)), hash));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    all.into_iter().take(k).map(|(score, hash)| (hash.clone(), score.to_bits())).collect()
}

async fn all_of(mesh: &Mesh) -> Vec<RecordRow> {
    mesh.find(Filter::new().limit(ROWS + 1).with_embedding(true)).await.expect("it runs").records
}

/// Waits until a node holds so many sightings.
async fn until_held(mesh: &Mesh, count: usize) {
    within(async {
        while all_of(mesh).await.len() != count {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Recorded at two nodes in turn, asked of the third.
#[tokio::test]
async fn the_ten_nearest_of_every_real_embedding_are_those_of_a_plain_scan() {
    let fleet = Fleet::new();
    let start = |name: &'static str| fleet.node(name).start();
    let (a, b, c) = (start("a").await.unwrap(), start("b").await.unwrap(), start("c").await.unwrap());
    within(until(|| [&a, &b, &c].iter().all(|mesh| mesh.peers().len() == 2))).await;
    let rows = rows();
    for (row, numbers) in rows.iter().enumerate() {
        let mesh = if row % 2 == 0 { &a } else { &b };
        let record = Record::new(hash_of(row)).embedding(numbers.clone(), "mobilenet_v2").dtype(Dtype::F16);
        within(mesh.add(record)).await.unwrap();
    }
    for mesh in [&a, &b, &c] {
        until_held(mesh, ROWS).await;
    }
    let numbers = |row: RecordRow| (row.hash_value, row.embedding.and_then(|space| space.numbers).unwrap());
    let stored: BTreeMap<String, Vec<f32>> = all_of(&c).await.into_iter().map(numbers).collect();
    let mut whole = 0;
    for (row, numbers) in rows.iter().enumerate() {
        let report = find_alone(&c, numbers).await;
        assert_eq!(found(&report), nearest(numbers, &stored, 10), "row {row}");
        assert!(report.certified, "row {row}");
        let alike = find(&a, Query::like(hash_of(row))).await.unwrap();
        let own = &stored[&hash_of(row)];
        let expected = nearest(own, &stored, 11).into_iter().filter(|(hash, _)| *hash != hash_of(row)).take(10);
        assert_eq!(found(&alike), expected.collect::<Vec<_>>(), "like row {row}");
        let is_view = |hash: &str| hash.parse::<usize>().is_ok_and(|other| other / VIEWS == row / VIEWS);
        whole +=
            usize::from(alike.results.iter().filter(|found| is_view(&found.record.hash_value)).count() == VIEWS - 1);
    }
    assert_eq!(whole, 317, "the other three views are among the ten nearest for all but three");
    let fast = find(&b, Query::numbers(rows[0].clone()).k(3).fast()).await.unwrap();
    assert_eq!(found(&fast), nearest(&rows[0], &stored, 3));
    assert!(c.stats().counters["searches"] >= ROWS as u64, "{:?}", c.stats().counters);
}

#[tokio::test]
async fn what_is_found_comes_as_a_stream_and_in_a_summary_and_as_an_event() {
    let mesh = Fleet::new().node("a").start().await.unwrap();
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    mesh.on(EventKind::Search, move |event| drop(told.send(json!(event)))).unwrap();
    for (hash, numbers, gate) in [("x", [1.0, 0.0], "g1"), ("y", [1.0, 0.5], "g2"), ("z", [0.0, 1.0], "g2")] {
        within(mesh.add(Record::new(hash).embedding(numbers, "m").metadata(json!({"gate": gate})))).await.unwrap();
    }
    let mut search = mesh.search(Query::numbers([1.0, 0.0]).k(2).with_embedding()).await.unwrap();
    let mut each = Vec::new();
    while let Some(found) = within(search.next()).await {
        each.push(found);
    }
    let report = within(search.summary()).await.unwrap();
    assert_eq!(report.results, each);
    let numbers = |at: usize| report.results[at].record.embedding.as_ref().unwrap().numbers.clone();
    assert_eq!((numbers(0), numbers(1)), (Some(vec![1.0, 0.0]), Some(vec![1.0, 0.5])));
    let event = within(tells.recv()).await.unwrap();
    assert_eq!((&event["event"], &event["found"], &event["certified"]), (&json!("search"), &json!(2), &json!(true)));
    assert_eq!((&event["node_id"], &event["responded"], &event["of"]), (&json!("a"), &json!(1), &json!(1)));

    let among = Query::numbers([1.0, 0.0]).among(Filter::new().matching("gate", "g2*"));
    let report = find(&mesh, among).await.unwrap();
    assert_eq!(report.results.iter().map(|found| found.record.hash_value.as_str()).collect::<Vec<_>>(), ["y", "z"]);
    within(mesh.delete("y", false)).await.unwrap();
    let report = find(&mesh, Query::like("x")).await.unwrap();
    assert_eq!(report.results.iter().map(|found| found.record.hash_value.as_str()).collect::<Vec<_>>(), ["z"]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_the_value_and_the_limit() {
    let mesh = Fleet::new().node("a").start().await.unwrap();
    for (hash, model) in [("x", "face"), ("y", "gait")] {
        within(mesh.add(Record::new(hash).embedding([1.0, 0.0], model))).await.unwrap();
    }
    for (query, said) in [
        (Query::numbers([]), "0 dimensions: an embedding has 1 to 4096"),
        (Query::numbers([1.0, f32::NAN]), "number 1 is NaN"),
        (Query::numbers([f32::INFINITY]), "number 0 is inf"),
        (Query::numbers([0.0, 0.0]), "all numbers are 0"),
        (Query::numbers([1.0]).k(0), "0 nearest: 1 to 1000"),
        (Query::numbers([1.0]).k(1_001), "1001 nearest: 1 to 1000"),
        (Query::numbers([1.0]).timeout(std::time::Duration::from_secs(61)), "a timeout of 61 s: 0.001 to 60 seconds"),
        (Query::like(""), "a hash of 0 bytes: it has 1 to 256"),
        (Query::like("nobody"), "no sighting of `nobody` has an embedding here"),
        (Query::numbers([1.0, 0.0]), "name one of face, gait"),
        (Query::numbers([1.0; 3]), "3 dimensions: the embeddings here have 2 (face), 2 (gait)"),
        (Query::numbers([1.0]).among(Filter::new().matching("", "*")), "where has 0 bytes: 1 to 256"),
    ] {
        let asked = format!("{query:?}");
        let refused = find(&mesh, query).await.expect_err("it cannot be answered").to_string();
        assert!(refused.contains(said), "{asked}: {refused:?} should say {said:?}");
    }
    let report = find(&mesh, Query::numbers([1.0, 0.0]).model("gait")).await.unwrap();
    assert_eq!(report.results[0].record.hash_value, "y");
    mesh.shutdown().await;
    assert_eq!(find(&mesh, Query::numbers([1.0])).await, Err(SearchError::Stopped));
}

/// Each keeps one sighting to itself, which is nowhere else; whoever is asked finds the nearest of all of them.
#[tokio::test]
async fn what_each_keeps_to_itself_is_found_from_any_and_who_is_gone_is_not_waited_for() {
    let fleet = Fleet::new();
    let start = |name: &'static str| fleet.node(name).start();
    let (a, b, c) = (start("a").await.unwrap(), start("b").await.unwrap(), start("c").await.unwrap());
    within(until(|| [&a, &b, &c].iter().all(|mesh| mesh.peers().len() == 2))).await;
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    b.on(EventKind::Search, move |event| drop(told.send(json!(event)))).unwrap();
    for (mesh, hash, numbers) in
        [(&a, "x", [1.0, 0.0]), (&a, "w", [-1.0, 0.0]), (&b, "y", [1.0, 0.5]), (&c, "z", [1.0, 1.0])]
    {
        within(mesh.add(Record::new(hash).embedding(numbers, "m").local(true))).await.unwrap();
    }
    let hashes = |report: &SearchReport| -> Vec<(String, String)> {
        report.results.iter().map(|found| (found.record.hash_value.clone(), found.record.node_id.clone())).collect()
    };
    let named = |names: &[(&str, &str)]| {
        names.iter().map(|(hash, by)| ((*hash).to_owned(), (*by).to_owned())).collect::<Vec<_>>()
    };
    let expected = named(&[("x", "a"), ("y", "b"), ("z", "c")]);
    for mesh in [&a, &b, &c] {
        within(async {
            // Until their cards are here who say that they hold something.
            loop {
                let report = find(mesh, Query::numbers([1.0, 0.0]).k(3)).await.unwrap();
                if (report.responded, report.of) == (3, 3) {
                    assert!(report.certified, "{report:?}");
                    assert_eq!(hashes(&report), expected);
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let alone = find(&a, Query::numbers([1.0, 0.0]).local(true)).await.unwrap();
    assert_eq!((hashes(&alone), alone.of), (named(&[("x", "a"), ("w", "a")]), 1));
    let mut streamed = a.search(Query::numbers([1.0, 0.0]).k(2)).await.unwrap();
    let mut each = Vec::new();
    while let Some(found) = within(streamed.next()).await {
        each.push(found.record.hash_value);
    }
    let report = within(streamed.summary()).await.unwrap();
    assert_eq!(hashes(&report), expected[..2]);
    assert!(each.starts_with(&["x".to_owned(), "w".to_owned()]) && each.contains(&"y".to_owned()), "{each:?}");
    within(async {
        loop {
            let event = tells.recv().await.expect("it answers");
            if event["node_id"] == "a" {
                assert_eq!((&event["responded"], &event["of"]), (&json!(1), &json!(1)));
                break;
            }
        }
    })
    .await;
    assert!(b.stats().counters["searches_answered"] > 0 && a.stats().counters["searches_asked"] > 0);

    let asked = std::time::Instant::now();
    let searching = tokio::spawn({
        let a = a.clone();
        async move { find(&a, Query::numbers([1.0, 0.0]).k(3)).await }
    });
    within(c.shutdown()).await;
    let report = searching.await.unwrap().unwrap();
    assert!(asked.elapsed() < std::time::Duration::from_secs(6), "a search ends");
    assert!(report.certified == (report.responded == report.of), "{report:?}");
    within(until(|| a.peer("c").is_none_or(|peer| !peer.is_alive()))).await;
    let report = find(&a, Query::numbers([1.0, 0.0]).k(3)).await.unwrap();
    assert_eq!((hashes(&report), report.responded, report.of), (named(&[("x", "a"), ("y", "b"), ("w", "a")]), 2, 2));
}

/// However few are wanted, and of whomever.
#[tokio::test]
async fn those_equally_near_stand_by_their_hash_and_then_by_the_node_that_saw_them() {
    let fleet = Fleet::new();
    let start = |name: &'static str| fleet.node(name).start();
    let (b, a) = (start("b").await.unwrap(), start("a").await.unwrap());
    within(until(|| [&a, &b].iter().all(|mesh| mesh.peers().len() == 1))).await;
    let near = |hash: &str| Record::new(hash).embedding([1.0, 2.0], "m");
    for (mesh, hashes) in [(&b, ["t2", "t3", "t1"]), (&a, ["t3", "t1", "t2"])] {
        for hash in hashes {
            within(mesh.add(near(hash))).await.unwrap();
        }
        within(mesh.add(Record::new("far").embedding([2.0, -1.0], "m"))).await.unwrap();
    }
    let all =
        [("t1", "a"), ("t1", "b"), ("t2", "a"), ("t2", "b"), ("t3", "a"), ("t3", "b"), ("far", "a"), ("far", "b")];
    for mesh in [&a, &b] {
        until_held(mesh, all.len()).await;
        for k in 1..=all.len() {
            for query in [Query::numbers([1.0, 2.0]).k(k), Query::numbers([2.0, 4.0]).k(k).fast()] {
                let report = find(mesh, query).await.unwrap();
                let found = report.results.iter().map(|found| (&*found.record.hash_value, &*found.record.node_id));
                assert_eq!(found.collect::<Vec<_>>(), all[..k], "the {k} nearest");
            }
        }
    }
}

//! A streaming node asks the fleet who walks through its picture and writes the answer onto it while the picture goes on:
//! `cargo run --example streaming_search`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use kodikon::{Mesh, Query, Record};
use tokio::sync::mpsc;

/// More alike than this, and it is the same person.
const SAME: f64 = 0.95;
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(40);
/// Pictures shown before the example gives up.
const MOST: u32 = 250;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

/// What a model would make of a picture of this person.
fn embedding(person: u8, camera: f32) -> Vec<f32> {
    (0..64).map(|n| (n as f32 * (0.3 + f32::from(person))).sin() + camera * (n as f32).cos()).collect()
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("overlay-{}", std::process::id());
    let node = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let (door, stream) = (node("door").start().await?, node("stream").start().await?);
    for person in [1, 2] {
        let record = Record::new(format!("visitor-{person}")).data_type("person");
        door.add(record.embedding(embedding(person, 0.05), "example")).await?;
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        while stream.get("visitor-2").await.is_ok_and(|seen| seen.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await?;

    // Three people are in the picture, and the door knows two. Each is asked for once, in a task of its own.
    let (label, mut labels) = mpsc::unbounded_channel();
    for person in [1, 2, 3] {
        let (stream, label) = (stream.clone(), label.clone());
        tokio::spawn(async move {
            let query = Query::numbers(embedding(person, -0.03)).k(1).timeout(Duration::from_secs(2));
            let report = stream.search(query).await?.summary().await?;
            let best = report.results.first().filter(|found| found.score > SAME);
            let name = best.map_or_else(|| "unknown".to_owned(), |found| found.record.hash_value.clone());
            // An error means that nobody watches any more.
            let _ = label.send((person, name));
            Ok::<(), kodikon::SearchError>(())
        });
    }

    // Pictures never wait for an answer: what is known by then is written onto them.
    let (mut overlay, mut pictures) = (BTreeMap::new(), tokio::time::interval(FRAME));
    for picture in 0..MOST {
        pictures.tick().await;
        while let Ok((person, name)) = labels.try_recv() {
            overlay.insert(person, name);
        }
        println!("picture {picture}: {overlay:?}");
        if overlay.len() == 3 {
            break;
        }
    }
    let names: Vec<&str> = overlay.values().map(String::as_str).collect();
    if names != ["visitor-1", "visitor-2", "unknown"] {
        return Err(format!("the door has seen two of three, and not {names:?}").into());
    }

    for mesh in [door, stream] {
        mesh.shutdown().await;
    }
    Ok(())
}

//! An orchestrator puts several questions to the whole fleet at once, collects what each node alone knows, and shows the state of all:
//! `cargo run --example runtime_queries`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use kodikon::api::SearchReport;
use kodikon::{Mesh, Query, Record};
use serde_json::json;

const PEOPLE: u8 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

/// What a model would make of a picture of this person, taken at this place.
fn embedding(person: u8, place: u8) -> Vec<f32> {
    (0..64).map(|n| (n as f32 * (0.3 + f32::from(person))).sin() + 0.04 * f32::from(place) * (n as f32).cos()).collect()
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("runtime-{}", std::process::id());
    let node = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let runtime = node("runtime").start().await?;
    let mut cameras = Vec::new();
    for (place, name) in (1u8..).zip(["gate", "hall", "lift"]) {
        let camera = node(name).state(json!({"location": name, "processing_fps": 20 + place})).start().await?;
        // What these cameras see stays with them: the fleet can ask for it, and no other node keeps it.
        for person in 0..PEOPLE {
            let record = Record::new(format!("{name}-{person}")).data_type("person");
            camera.add(record.embedding(embedding(person, place), "example").local(true)).await?;
        }
        cameras.push(camera);
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        // Who has just come up has said nothing of itself yet.
        let has_told = |name: &str| runtime.state(name).is_some_and(|row| row.state.contains_key("location"));
        while runtime.peers().iter().filter(|peer| has_told(peer.name())).count() < cameras.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await?;

    // The questions go out together, and each is over when all who were asked have answered.
    let mut asked = Vec::new();
    for person in 0..PEOPLE {
        asked.push((person, runtime.search(Query::numbers(embedding(person, 0)).k(cameras.len())).await?));
    }
    for (person, search) in asked {
        let report = search.summary().await?;
        println!("person {person}: {}", answer(&report));
        let mut seen: Vec<String> = report.results.iter().map(|found| found.record.hash_value.clone()).collect();
        seen.sort();
        let everywhere: Vec<String> = ["gate", "hall", "lift"].iter().map(|name| format!("{name}-{person}")).collect();
        if seen != everywhere || (report.responded, report.of, report.certified) != (4, 4, true) {
            return Err(format!("person {person} was seen everywhere, and not {report:?}").into());
        }
    }

    // The state of all, each under its own name: what one would build a dashboard of.
    let all: BTreeMap<String, _> = runtime
        .peers()
        .iter()
        .filter_map(|peer| Some((peer.name().to_owned(), runtime.state(peer.name())?.state)))
        .collect();
    for (name, state) in &all {
        println!("{name}: {}", serde_json::to_string(state)?);
    }
    if all.iter().any(|(name, state)| state["location"] != **name) {
        return Err(format!("each says where it stands, and not {all:?}").into());
    }

    for mesh in cameras.into_iter().chain([runtime]) {
        mesh.shutdown().await;
    }
    Ok(())
}

fn answer(report: &SearchReport) -> String {
    let row = |found: &kodikon::api::FoundRow| format!("{} {:.3}", found.record.node_id, found.score);
    let seen: Vec<String> = report.results.iter().map(row).collect();
    format!("{} ({} of {} answered in {:.1} ms)", seen.join(", "), report.responded, report.of, report.elapsed_ms)
}

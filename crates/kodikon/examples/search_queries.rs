//! Two gates record whom they see, and a desk that has seen nobody asks who looks like somebody: by an embedding, and by a hash:
//! `cargo run --example search_queries`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::{Filter, Mesh, Query, Record};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

/// What a model would make of a picture of this person, taken at this gate.
fn embedding(person: f32, gate: f32) -> Vec<f32> {
    (0..64).map(|n| (n as f32 * (0.3 + person)).sin() + gate * (n as f32).cos()).collect()
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("search-{}", std::process::id());
    let node = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let (north, south, desk) =
        (node("north").start().await?, node("south").start().await?, node("desk").start().await?);
    while desk.peers().len() != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    for person in 0..5u8 {
        for (gate, name, noise) in [(&north, "north", 0.05), (&south, "south", 0.1)] {
            let record = Record::new(format!("{name}-{person}"))
                .data_type("person")
                .embedding(embedding(f32::from(person), noise), "example")
                .metadata(json!({"gate": name}));
            gate.add(record).await?;
        }
    }
    while desk.find(Filter::new()).await?.records.len() != 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Who looks like this? What is found comes as it is found; the summary has it in order.
    let mut search = desk.search(Query::numbers(embedding(3.0, 0.0)).k(2)).await?;
    while let Some(found) = search.next().await {
        println!("{:.3} {} seen by {}", found.score, found.record.hash_value, found.record.node_id);
    }
    let report = search.summary().await?;
    println!("{} of {} nodes, certified: {}", report.responded, report.of, report.certified);

    // And who, at the other gate, looks like somebody whom the north gate saw?
    let at_south = Query::like("north-1").k(1).among(Filter::new().matching("gate", "south"));
    let alike = desk.search(at_south).await?.summary().await?;
    let names = |report: &kodikon::api::SearchReport| {
        report.results.iter().map(|found| found.record.hash_value.clone()).collect::<Vec<_>>()
    };
    if names(&report) != ["north-3", "south-3"] || names(&alike) != ["south-1"] || !report.certified {
        return Err(format!("the desk finds {report:?} and {alike:?}").into());
    }
    println!("north-1 was at the south gate, too: {:.3}", alike.results[0].score);

    for mesh in [desk, south, north] {
        mesh.shutdown().await;
    }
    Ok(())
}

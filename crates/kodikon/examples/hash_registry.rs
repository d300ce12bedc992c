//! A gate registers somebody with a bag, a desk is told and looks them up by hash and by field, and the gate removes them again:
//! `cargo run --example hash_registry`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{Filter, Mesh, MessageType, Portrait, Record};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("registry-{}", std::process::id());
    let node = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let (gate, desk) = (node("gate").start().await?, node("desk").start().await?);
    while gate.peer("desk").is_none() || desk.peer("gate").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The seed's HASH_REGISTRY messages: a handler hears each sighting of the others, once.
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    desk.on(MessageType::HashRegistry, move |event| {
        if let What::Record { source, record, .. } = &event.what {
            println!("{source} has seen {} {}", record.data_type, record.hash_value);
            // An error means that the example is over.
            let _ = told.send(record.data_type.clone());
        }
    })?;

    // Somebody registers with a bag: two sightings under one hash.
    let portrait = |number: f32, path: &str| Portrait {
        embedding: (0..64).map(|n| (n as f32 * number).sin()).collect(),
        model: "example".to_owned(),
        image_path: path.to_owned(),
        bbox: [12, 40, 80, 200],
    };
    let shared = json!({"camera_role": "entry", "color_histogram": [0.2, 0.5, 0.3]});
    let shared = shared.as_object().ok_or("written as an object")?;
    let hash = "8f3a61";
    let [person, bag] = Record::registration(hash, portrait(0.3, "img/p17.jpg"), portrait(0.7, "img/b17.jpg"), shared);
    for record in [person, bag] {
        let added = gate.add(record.confidence(0.93).ttl(Duration::from_secs(3_600))).await?;
        println!("added {} {}, on disk: {}", added.data_type, added.hash_value, added.durable);
    }
    let mut kinds = [tells.recv().await.ok_or("told")?, tells.recv().await.ok_or("told")?];
    kinds.sort();
    println!("the desk was told of {kinds:?}");

    // By hash, and by field.
    for record in desk.get(hash).await? {
        println!("{} of {}: {}", record.data_type, record.node_id, record.metadata["image_path"]);
    }
    let bags = Filter::new().data_type("bag").node("gate").matching("camera_role", "ent*");
    let found = desk.find(bags).await?.records;
    if found.len() != 1 || kinds != ["bag", "person"] {
        return Err(format!("the desk was told of {kinds:?} and finds {found:?}").into());
    }

    let deleted = gate.delete(hash, false).await?.deleted;
    while !desk.get(hash).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gate.refresh().await?;
    println!("{deleted} removed everywhere; both hold {}", gate.stats().registry_content);

    desk.shutdown().await;
    gate.shutdown().await;
    Ok(())
}

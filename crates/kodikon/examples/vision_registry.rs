//! A detector tells the fleet what it sees, keeps one sighting for each track, and a second camera recognises who comes by from what the
//! first one told: `cargo run --example vision_registry`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use kodikon::api::What;
use kodikon::{Mesh, MessageType, Query, Record, RecordError};
use serde_json::json;
use tokio::sync::mpsc;

/// Below it the detector guesses.
const SURE: f64 = 0.5;
const MODEL: &str = "example";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

/// What a vision model says of one thing in one frame.
struct Detection {
    track: u32,
    label: &'static str,
    confidence: f64,
    bbox: [u32; 4],
    embedding: Vec<f32>,
}

/// What a model would make of a picture of this person, a little different in each frame.
fn embedding(person: f32, frame: f32) -> Vec<f32> {
    (0..128).map(|n| (n as f32 * (0.2 + person)).sin() + 0.05 * (n as f32 + frame).cos()).collect()
}

/// Three frames: two people walk through them, and something that may be a bag is seen once.
fn frames() -> Vec<Vec<Detection>> {
    let walker = |track: u16, frame: u16| Detection {
        track: track.into(),
        label: "person",
        confidence: 0.8 + 0.05 * f64::from(frame),
        bbox: [u32::from(40 * frame), 20, 64, 180],
        embedding: embedding(f32::from(track), f32::from(frame)),
    };
    let mut frames: Vec<Vec<Detection>> = (0..3).map(|frame| vec![walker(1, frame), walker(2, frame)]).collect();
    frames[1].push(Detection { track: 9, label: "bag", confidence: 0.3, bbox: [0; 4], embedding: embedding(9.0, 1.0) });
    frames
}

/// A camera's detector, and which sighting stands for which track.
struct Detector {
    mesh: Mesh,
    tracks: BTreeMap<u32, String>,
}

impl Detector {
    /// Tells what is sure. A track that goes on is the same sighting, better known: it takes the place of the one before.
    async fn on_frame(&mut self, frame: Vec<Detection>) -> Result<(), RecordError> {
        for Detection { track, label, confidence, bbox, embedding } in frame {
            if confidence < SURE {
                continue;
            }
            let mut record = Record::new(format!("{}-{track}", self.mesh.name()))
                .data_type(label)
                .embedding(embedding, MODEL)
                .metadata(json!({"bbox": bbox, "track": track}))
                .confidence(confidence);
            if let Some(before) = self.tracks.get(&track) {
                record = record.replacing(before.clone());
            }
            let added = self.mesh.add(record).await?;
            self.tracks.insert(track, added.id);
        }
        Ok(())
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("vision-{}", std::process::id());
    let node = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let (gate, lift) = (node("gate").start().await?, node("lift").start().await?);
    while lift.peer("gate").is_none() || gate.peer("lift").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Results are shared as they come: the lift hears of each sighting, and of each that is better known.
    let (told, mut hears) = mpsc::unbounded_channel();
    lift.on(MessageType::HashRegistry, move |event| {
        if let What::Record { source, record, .. } = &event.what {
            // An error means that the example is over.
            let _ = told.send((source.clone(), record.hash_value.clone(), record.confidence));
        }
    })?;

    let mut detector = Detector { mesh: gate.clone(), tracks: BTreeMap::new() };
    for frame in frames() {
        detector.on_frame(frame).await?;
    }
    let mut known: BTreeMap<String, f64> = BTreeMap::new();
    while known.len() < 2 || known.values().any(|confidence| *confidence < 0.9) {
        let next = tokio::time::timeout(Duration::from_secs(10), hears.recv()).await?;
        let (source, hash, confidence) = next.ok_or("the lift hears nothing any more")?;
        println!("the {source} has seen {hash}, sure to {confidence:.2}");
        known.insert(hash, confidence);
    }

    // Somebody takes the lift: who of those whom the gate saw is it?
    let arrives = embedding(2.0, 7.0);
    let report = lift.search(Query::numbers(arrives).k(1)).await?.summary().await?;
    let best = report.results.first().ok_or("somebody has been seen")?;
    println!("in the lift is {} ({:.3}), last seen by the {}", best.record.hash_value, best.score, best.record.node_id);
    let sightings = lift.get("gate-2").await?.len();
    if best.record.hash_value != "gate-2" || sightings != 1 || known.contains_key("gate-9") {
        return Err(format!("found {best:?} of {sightings} sightings, told {known:?}").into());
    }

    for mesh in [gate, lift] {
        mesh.shutdown().await;
    }
    Ok(())
}

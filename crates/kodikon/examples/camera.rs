//! Four cameras replay what real ones saw, 80 objects in four views each, and ask the fleet for the other views of what they see:
//! `cargo run --release --example camera`. One of them alone, on a machine of its own: `cargo run --release --example camera -- NAME VIEW`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::{FoundRow, SearchReport};
use kodikon::{Mesh, Query, Record, RecordError, SearchError};
use serde_json::json;

/// MobileNetV2 features of real photographs: four rows in turn are four views of one object.
const EMBEDDINGS: &[u8] = include_bytes!("../../kodikon-scan/fixtures/embeddings_320x512_f32.npy");
const MODEL: &str = "mobilenet_v2";
const OBJECTS: usize = 80;
const VIEWS: usize = 4;
const DIMS: usize = 512;
/// How often a camera that stands alone sees something.
const EVERY: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [name, view] => alone(name, view.parse()?).await,
        _ => run(OBJECTS).await,
    }
}

/// A camera that sees each object from one side.
struct Camera {
    mesh: Mesh,
    view: usize,
}

impl Camera {
    /// Tells the fleet what it sees. It does not know which object that is, or that others saw it: each sighting has a hash of its own.
    async fn see(&self, object: usize) -> Result<(), RecordError> {
        let row = object * VIEWS + self.view;
        let record = Record::new(hash_of(row)).data_type("object").embedding(embedding(row), MODEL);
        self.mesh.add(record.metadata(json!({"view": self.view}))).await.map(drop)
    }

    /// Asks the fleet what looks like what it saw.
    async fn ask(&self, object: usize) -> Result<SearchReport, SearchError> {
        self.mesh.search(Query::like(hash_of(object * VIEWS + self.view))).await?.summary().await
    }
}

fn hash_of(row: usize) -> String {
    format!("sighting-{row}")
}

fn object_of(found: &FoundRow) -> Option<usize> {
    Some(found.record.hash_value.strip_prefix("sighting-")?.parse::<usize>().ok()? / VIEWS)
}

/// A row of the file: its numbers are the last that it holds.
fn embedding(row: usize) -> Vec<f32> {
    let numbers = EMBEDDINGS[EMBEDDINGS.len() - OBJECTS * VIEWS * DIMS * size_of::<f32>()..].as_chunks().0;
    numbers[row * DIMS..][..DIMS].iter().map(|four| f32::from_le_bytes(*four)).collect()
}

pub(crate) async fn run(objects: usize) -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("cameras-{}", std::process::id());
    let mut cameras = Vec::new();
    for (view, name) in ["north", "east", "south", "west"].into_iter().enumerate() {
        let mesh = Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]).start().await?;
        cameras.push(Camera { mesh, view });
    }
    for object in 0..objects {
        for camera in &cameras {
            camera.see(object).await?;
        }
    }
    // What one has seen is with all within milliseconds; that all have all is what they agree on.
    tokio::time::timeout(Duration::from_secs(60), async {
        let has_all =
            |camera: &Camera| camera.mesh.stats().registry.get("records") == Some(&((objects * VIEWS) as u64));
        while !cameras.iter().all(has_all) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await?;

    let (mut whole, mut asked) = (0, 0);
    for object in 0..objects {
        for camera in &cameras {
            let report = camera.ask(object).await?;
            if !report.certified {
                return Err(format!("an answer that is not certain: {report:?}").into());
            }
            let others: Vec<&FoundRow> =
                report.results.iter().filter(|found| object_of(found) == Some(object)).collect();
            let seen: Vec<String> =
                others.iter().map(|found| format!("{} {:.2}", found.record.node_id, found.score)).collect();
            if camera.view == 0 {
                println!("{} saw object {object}, which was seen by: {}", camera.mesh.name(), seen.join(", "));
            }
            whole += usize::from(others.len() == VIEWS - 1);
            asked += 1;
        }
    }
    println!("all three other views were among the ten nearest for {whole} of {asked} sightings");
    if whole * 100 < asked * 95 {
        return Err("photographs of one object are alike".into());
    }

    for camera in cameras {
        camera.mesh.shutdown().await;
    }
    Ok(())
}

/// Runs one camera in the mesh of this LAN until Ctrl-C, over and over the objects.
async fn alone(name: &str, view: usize) -> Result<(), Box<dyn std::error::Error>> {
    if view >= VIEWS {
        return Err(format!("view {view}: there are views 0 to {}", VIEWS - 1).into());
    }
    let camera = Camera { mesh: Mesh::builder(name).start().await?, view };
    let mut turns = tokio::time::interval(EVERY);
    for object in (0..OBJECTS).cycle() {
        turns.tick().await;
        camera.see(object).await?;
        let report = camera.ask(object).await?;
        let seen =
            report.results.iter().filter(|found| object_of(found) == Some(object) && found.record.node_id != name);
        let seen: Vec<String> = seen.map(|found| format!("{} {:.2}", found.record.node_id, found.score)).collect();
        println!(
            "object {object}: seen by [{}], {} of {} answered in {:.1} ms",
            seen.join(", "),
            report.responded,
            report.of,
            report.elapsed_ms
        );
    }
    Ok(())
}

//! A desk asks every camera whose a bag is, and counts the votes that come within five seconds: `cargo run --example ownership_vote`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kodikon::api::What;
use kodikon::{Mesh, MessageType, Priority, StartError};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How long a vote is open. Whoever has not voted by then has no say.
const OPEN_FOR: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let desk = node("desk").await?;
    let mut cameras = Vec::new();
    for (name, person, confidence) in
        [("gate", "person_001", 0.5), ("hall", "person_002", 0.75), ("lift", "person_001", 0.5)]
    {
        let camera = node(name).await?;
        votes(&camera, person, confidence)?;
        cameras.push(camera);
    }
    // This one hears the question and has nothing to say.
    cameras.push(node("roof").await?);
    tokio::time::timeout(Duration::from_secs(10), async {
        while desk.peers().len() < cameras.len() || cameras.iter().any(|camera| camera.peer("desk").is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await?;

    let votes = collect(&desk, "bag_001").await?;
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (camera, vote) in &votes {
        println!("{camera}: {vote}");
        *sums.entry(vote["person_id"].as_str().unwrap_or_default()).or_default() +=
            vote["confidence"].as_f64().unwrap_or(0.0);
    }
    let owner = sums.iter().max_by(|one, other| one.1.total_cmp(other.1)).map(|(person, _)| *person);
    println!("{} of {} cameras have voted; the bag is {}'s", votes.len(), cameras.len(), owner.unwrap_or("nobody"));
    if (votes.len(), owner) != (3, Some("person_001")) {
        return Err("two who are half sure outweigh one who is surer than each".into());
    }

    for mesh in cameras.into_iter().chain([desk]) {
        mesh.shutdown().await;
    }
    Ok(())
}

/// Asks everybody who is there, and takes the first vote of each until all have voted or the time is up.
async fn collect(desk: &Mesh, bag: &str) -> Result<BTreeMap<String, Value>, Box<dyn std::error::Error>> {
    let (heard, mut ballots) = mpsc::channel(64);
    desk.on(MessageType::OwnershipVote, move |event| {
        if let What::Message { id, source, payload, .. } = &event.what {
            // A handler has a thread of its own and may wait. Where nobody counts any more, a vote is too late.
            let _ = heard.blocking_send((id.clone(), source.clone(), payload.clone()));
        }
    })?;
    let asked = desk.peers();
    for peer in &asked {
        let question = desk.send(peer.id().to_string(), json!({"bag_id": bag}));
        // Nobody waits for the question to arrive: what counts is the vote.
        tokio::spawn(question.kind("ownership_question").priority(Priority::High).timeout(OPEN_FOR).into_future());
    }
    // By identity: a name is only what people call a node, and no camera votes twice.
    let mut votes: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let counted = async {
        while votes.len() < asked.len() {
            let Some((id, source, vote)) = ballots.recv().await else { break };
            if vote["bag_id"] == bag && asked.iter().any(|peer| peer.id().to_string() == id) {
                votes.entry(id).or_insert((source, vote));
            }
        }
    };
    // An error means that the time is up: what has come by then counts.
    let _ = tokio::time::timeout(OPEN_FOR, counted).await;
    Ok(votes.into_values().collect())
}

/// Lets a camera answer each question with what it believes.
fn votes(camera: &Mesh, person: &'static str, confidence: f64) -> Result<(), kodikon::MeshError> {
    let (mesh, runtime) = (camera.clone(), Handle::current());
    camera.on("ownership_question", move |event| {
        let What::Message { id, payload, .. } = &event.what else { return };
        let vote = json!({
            "bag_id": payload["bag_id"], "person_id": person, "confidence": confidence, "camera_role": "SURVEILLANCE",
            "location_signature": "", "reason": "seen together", "timestamp": now(),
        });
        let ballot = mesh.send(id.as_str(), vote).kind(MessageType::OwnershipVote.name()).timeout(OPEN_FOR);
        runtime.spawn(ballot.into_future());
    })
}

/// Seconds since 1970, for people.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name).in_memory().mesh_name(&format!("vote-{}", std::process::id())).interfaces(["lo"]).start().await
}

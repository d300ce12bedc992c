//! A camera publishes its state and another follows it: `cargo run --example state_management`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{Mesh, StartError};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let screen = node("screen").await?;
    let mut events = screen.events();
    let camera = node("camera").await?;

    // Only the camera can change its state. Keys that are not named stay as they are; each change raises the version.
    camera.set_state(json!({"state": "processing", "processing_fps": 29.7, "location": {"zone": "gate"}}))?;
    camera.set_state(json!({"processing_fps": 12.5}))?;
    camera.unset_state(["location"])?;
    println!("camera itself: {:?}", camera.state("camera"));

    // What breaks a rule is refused by name, and changes nothing.
    if let Err(error) = camera.set_state(json!({"state": "asleep"})) {
        println!("refused: {error}");
    }

    let followed = tokio::time::timeout(Duration::from_secs(10), async {
        while let Some(event) = events.next().await {
            if let What::State { node_id, version, state, .. } = event.what {
                println!("{node_id} version {version}: {state:?}");
                if version == 3 {
                    break;
                }
            }
        }
        screen.peer("camera")
    })
    .await?
    .ok_or("the camera is there")?;
    println!("{} is {} and shows {:?}", followed.name(), followed.state().as_str(), followed.row().capabilities);

    camera.shutdown().await;
    screen.shutdown().await;
    Ok(())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name).in_memory().mesh_name(&format!("state-{}", std::process::id())).interfaces(["lo"]).start().await
}

//! A camera publishes how it streams, and a control room follows it, whenever it joins: `cargo run --example streaming_state`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{Mesh, MessageType, StartError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let room = node("control_room").await?;
    let (heard, mut changes) = mpsc::channel(64);
    room.on(MessageType::NodeStateSync, move |event| {
        if let What::State { node_id, version, state, .. } = &event.what
            && let Some(streaming) = state.get("streaming")
        {
            // Where nobody follows any more, nothing is lost: the newest state can always be asked for.
            let _ = heard.blocking_send((node_id.clone(), *version, streaming.clone()));
        }
    })?;

    // A state is how things are, not what happened: whoever joins later sees the newest, and who missed one in between is not told.
    let camera = node("camera").await?;
    for (status, fps) in [("starting", 0.0), ("live", 29.7), ("live", 24.0), ("paused", 0.0)] {
        camera.set_state(json!({"streaming": {"status": status, "codec": "h264"}, "processing_fps": fps}))?;
        follow(&mut changes, status).await?;
    }

    // The mesh keeps no history: one key has one value, and a late joiner has it with the first word it hears of the camera.
    let late = node("night_desk").await?;
    let shown = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match late.state("camera").and_then(|row| row.state.get("streaming").cloned()) {
                Some(streaming) => return streaming,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    let shown = shown.await?;
    println!("night_desk joins and sees {shown}");
    if shown["status"] != "paused" {
        return Err(format!("the newest state is `paused`, and not {shown}").into());
    }

    for mesh in [camera, room, late] {
        mesh.shutdown().await;
    }
    Ok(())
}

/// Waits until the control room has heard of a status.
async fn follow(
    changes: &mut mpsc::Receiver<(String, u64, Value)>,
    status: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let heard = async {
        while let Some((camera, version, streaming)) = changes.recv().await {
            println!("{camera} version {version}: {streaming}");
            if streaming["status"] == status {
                return Ok(());
            }
        }
        Err("the control room hears nothing any more".into())
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await?
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name)
        .in_memory()
        .mesh_name(&format!("streaming-{}", std::process::id()))
        .interfaces(["lo"])
        .start()
        .await
}

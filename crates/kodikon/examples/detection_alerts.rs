//! A streaming node looks at its frames and raises an alert for what is to be acted on; a guard is shown each once, with the picture's
//! number and how sure the detector was: `cargo run --example detection_alerts`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{EventKind, Mesh, Priority, StartError};
use serde_json::json;
use tokio::sync::mpsc;

/// What a detector says of one frame.
struct Detection {
    frame: u64,
    class: &'static str,
    confidence: f64,
}

const DETECTIONS: [Detection; 5] = [
    Detection { frame: 101, class: "person", confidence: 0.97 },
    Detection { frame: 102, class: "unattended_bag", confidence: 0.55 },
    Detection { frame: 103, class: "unattended_bag", confidence: 0.83 },
    Detection { frame: 104, class: "person", confidence: 0.91 },
    Detection { frame: 105, class: "fire", confidence: 0.99 },
];

/// Below this a detector is wrong too often to call anybody.
const SURE: f64 = 0.8;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (camera, guard) = (node("camera").await?, node("guard").await?);
    while camera.peer("guard").is_none() || guard.peer("camera").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (shown, mut shows) = mpsc::unbounded_channel();
    guard.on(EventKind::Alert, move |event| {
        if let What::Alert { source, priority, alert, .. } = &event.what {
            println!("guard: {priority} alert of {source}: {alert}");
            // An error means that the example is over.
            let _ = shown.send((alert["type"].clone(), alert["frame"].clone(), priority.clone()));
        }
    })?;

    // A person is nothing to call anybody for, and neither is a guess.
    for detection in DETECTIONS.iter().filter(|found| found.class != "person" && found.confidence >= SURE) {
        let (priority, shown_as) =
            if detection.class == "fire" { (Priority::Critical, "critical") } else { (Priority::High, "high") };
        let mut alert = camera
            .alert(json!({"type": detection.class, "frame": detection.frame, "confidence": detection.confidence}))
            .priority(priority)
            .ttl(Duration::from_secs(600))
            .send()
            .await?;
        let seen = tokio::time::timeout(Duration::from_secs(10), shows.recv()).await?.ok_or("the guard is gone")?;
        if seen != (json!(detection.class), json!(detection.frame), shown_as.to_owned()) {
            return Err(format!("the guard was shown {seen:?}").into());
        }
        let receipt = alert.next().await.ok_or("its time is not over")?;
        println!("camera: {} has shown frame {}", receipt.node_id, detection.frame);
    }

    guard.shutdown().await;
    camera.shutdown().await;
    Ok(())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    let fleet = format!("detections-{}", std::process::id());
    Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]).start().await
}

//! Raises an alert on one camera, shows it on another, follows who has it, and acknowledges it:
//! `cargo run --example alert_broadcasting`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{EventKind, Mesh, Priority};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = format!("alerts-{}", std::process::id());
    let camera = |name: &str| Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]);
    let (gate, desk) = (camera("gate").start().await?, camera("desk").start().await?);
    while gate.peer("desk").is_none() || desk.peer("gate").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // A program that is to act on alerts sets a handler; it is called once for each, also for those raised before it came.
    let (shown, mut shows) = tokio::sync::mpsc::unbounded_channel();
    desk.on(EventKind::Alert, move |event| {
        if let What::Alert { source, priority, alert, alert_id, .. } = &event.what {
            println!("{priority} alert of {source}: {alert}");
            // An error means that the example is over.
            let _ = shown.send(alert_id.clone());
        }
    })?;

    let mut alert = gate
        .alert(json!({"type": "unattended_bag", "zone": "A3"}))
        .priority(Priority::Critical)
        .ttl(Duration::from_secs(600))
        .send()
        .await?;
    let id = shows.recv().await.ok_or("the desk shows it")?;
    let receipt = alert.next().await.ok_or("its time is not over")?;
    println!("{} has shown {}", receipt.node_id, alert.id());

    // Somebody at the desk has seen it.
    desk.alerts_ack(&id, "anna").await?;
    while gate.alerts().await?.iter().all(|row| row.acknowledged.is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = alert.wait(Duration::from_secs(5)).await?;
    println!("shown by {:?}, missing {:?}", report.delivered, report.missing);
    if !report.missing.is_empty() {
        return Err("somebody is missing".into());
    }

    desk.shutdown().await;
    gate.shutdown().await;
    Ok(())
}

//! Three nodes find each other without being told where; one leaves and the others hear it: `cargo run --example peer_discovery`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{EventKind, Mesh, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let entrance = node("entrance").await?;
    let mut events = entrance.events();
    // A handler has a thread of its own: it may take its time.
    entrance.on(EventKind::PeerUp, |event| println!("handler: {}", event.what.name()))?;
    let (exit, hall) = (node("exit").await?, node("hall").await?);

    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, async {
        while entrance.peers().len() < 2 {
            events.next().await;
        }
    })
    .await?;
    for peer in entrance.peers() {
        println!(
            "{:8} alive: {}, at {:?}, heard {:?} ago",
            peer.name(),
            peer.is_alive(),
            peer.address(),
            peer.last_heard()
        );
    }

    hall.shutdown().await;
    tokio::time::timeout(patience, async {
        while let Some(event) = events.next().await {
            if let What::PeerLeft { node_id, reason, .. } = event.what {
                println!("{node_id} left: {reason}");
                return;
            }
        }
    })
    .await?;
    exit.shutdown().await;
    entrance.shutdown().await;
    Ok(())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name)
        .in_memory()
        .mesh_name(&format!("discovery-{}", std::process::id()))
        .interfaces(["lo"])
        .start()
        .await
}

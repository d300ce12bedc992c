//! Two nodes meet, and one counts what that costs: `cargo run --example network_statistics`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::doctor::examine;
use kodikon::{Mesh, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (a, b) = (node("node_001").await?, node("node_002").await?);
    let met = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            // Counts are as of the last refresh.
            a.refresh().await?;
            let stats = a.stats();
            if stats.alive_peers == 1 && stats.heartbeats_sent > 0 {
                return Ok::<_, kodikon::MeshError>(stats);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let stats = met.await??;
    println!("{} of {} peers alive, running: {}", stats.alive_peers, stats.total_peers, stats.is_running);
    println!(
        "sent {} datagrams ({} B), received {} ({} B), {} heartbeats",
        stats.datagrams_sent, stats.bytes_sent, stats.datagrams_received, stats.bytes_received, stats.heartbeats_sent
    );
    for (reason, count) in stats.drops.iter().filter(|(_, count)| **count > 0) {
        println!("dropped for {reason}: {count}");
    }
    for finding in examine(&a.symptoms().await?) {
        println!("{:16} {:?}: {}", finding.check, finding.status, finding.evidence);
    }

    a.shutdown().await;
    b.shutdown().await;
    Ok(())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name)
        .in_memory()
        .mesh_name(&format!("statistics-{}", std::process::id()))
        .interfaces(["lo"])
        .start()
        .await
}

//! Starts a node, says who and where it is, and stops it: `cargo run --example basic_setup`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use kodikon::Mesh;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // A camera keeps its identity: `.data_dir("/var/lib/kodikon")` instead of `.in_memory()`. The other two lines keep this
    // example to itself; without them the node would join every other node of the LAN.
    let mesh = Mesh::builder("node_001")
        .in_memory()
        .mesh_name(&format!("setup-{}", std::process::id()))
        .interfaces(["lo"])
        .state(json!({"status": "active"}))
        .start()
        .await?;

    println!("{} is {} at {:?}", mesh.name(), mesh.id(), mesh.addresses());
    println!("it publishes {:?}", mesh.state("node_001").ok_or("a node knows its own state")?.state);
    println!("strangers are kept out by: {}", mesh.security().as_str());

    // Says goodbye, so that the others need not wonder.
    mesh.shutdown().await;
    println!("running: {}", mesh.is_running());
    Ok(())
}

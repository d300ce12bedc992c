//! A camera tells a door something, by whatever way there is, and learns what became of it: `cargo run --example message_routing`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::{Mesh, MessageType, Outcome, Priority, StartError};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (camera, door) = (node("camera").await?, node("door").await?);
    tokio::time::timeout(Duration::from_secs(10), async {
        while camera.peer("door").is_none() || door.peer("camera").is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await?;

    // A handler on a type of one's own has a thread of its own; one of the usual type may run on the node's loop if it is quick.
    door.on("badge_seen", |event| println!("door, in its own time: {:?}", event.what))?;
    door.on_inline(MessageType::RouteBroadcast, |event| println!("door, at once: {:?}", event.what))?;

    // Where nodes do not hear each other, those between carry it: `path` names them. Here it is the door alone.
    match camera.send("door", json!({"open": true})).priority(Priority::Critical).await? {
        Outcome::Delivered { rtt, path, attempts } => {
            println!("delivered after {rtt:?} by {path:?}, {attempts} attempt(s)")
        }
        outcome @ (Outcome::Expired { .. } | Outcome::Unreachable { .. } | _) => {
            return Err(format!("not delivered: {outcome:?}").into());
        }
    }

    // Several are on their way at once; each is told for itself, in whatever order.
    let badge = |n: u32| camera.send("door", json!({"badge": n})).kind("badge_seen").into_future();
    let (first, second) = tokio::join!(badge(1), badge(2));
    println!("{:?}, {:?}", first?, second?);

    // What cannot be is told at once: somebody who is not there, and what no message may say.
    println!("{:?}", camera.send("dorr", json!(1)).await?);
    if let Err(error) = camera.send("door", json!("x".repeat(70_000))).await {
        println!("refused: {error}");
    }

    camera.shutdown().await;
    door.shutdown().await;
    Ok(())
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    Mesh::builder(name)
        .in_memory()
        .mesh_name(&format!("messages-{}", std::process::id()))
        .interfaces(["lo"])
        .start()
        .await
}

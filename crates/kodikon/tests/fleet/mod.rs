//! Decides how tests of this machine's loopback keep out of each other's way: a mesh name of its own for each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kodikon::{Builder, Mesh};

/// Nodes that meet each other and nobody else.
pub(crate) struct Fleet {
    name: String,
    port: u16,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // The port is shared, as discovery ports are; it only should not be crowded by other tests' nodes.
        let port = 20_000 + u16::try_from((process + number) % 300 * 100).expect("below 30,000");
        Self { name: format!("test-{process}-{number}"), port }
    }

    /// A node of this fleet, in memory, on the loopback.
    pub(crate) fn node(&self, name: &str) -> Builder {
        Mesh::builder(name).in_memory().mesh_name(&self.name).udp_port(self.port).interfaces(["lo"])
    }
}

/// Waits at most half a minute: whatever takes longer will not come.
pub(crate) async fn within<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future.into_future()).await.expect("it should have happened long ago")
}

/// Asks until it is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! Decides how the loop shows what it knows: as a snapshot that readers share, replaced whole, which never makes the loop wait.
//!
//! The snapshot is replaced after every change that a reader could see. Between changes only counters and "last heard" move;
//! they are refreshed each five seconds, each 100 ms while somebody reads, and at once for who asks for it. So a datagram that changes
//! nothing costs nothing here: refreshed each second, all that the loop knows took a quarter of an idle node's processor time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kodikon_core::effect::{PeerView, RouteView};
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::stats::Stats;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::record::RegistryView;
use kodikon_core::model::state::NodeSnapshot;

use crate::api::StateRow;
use crate::driver::DriverCounts;
use crate::mesh::Peer;

/// Age at which a snapshot is refreshed while somebody reads.
pub(crate) const REFRESH_READ: Duration = Duration::from_millis(100);
/// Age at which it is refreshed though nobody does.
pub(crate) const REFRESH_UNREAD: Duration = Duration::from_secs(5);

/// All that readers can ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// When it was taken.
    pub(crate) at: Instant,
    /// Who this node is.
    pub(crate) id: NodeId,
    /// Its name as shown to others.
    pub(crate) name: String,
    /// Where it receives unicast.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The roster.
    pub(crate) peers: Vec<PeerView>,
    /// The ways to them, as they were at most 100 ms before.
    pub(crate) ways: Arc<Vec<Way>>,
    /// States of the present, without our own.
    pub(crate) states: Arc<BTreeMap<NodeId, Arc<StateRow>>>,
    /// Our own state.
    pub(crate) own: Arc<NodeSnapshot>,
    /// How many of our own changes are in it.
    pub(crate) own_changes: u64,
    /// Whether nobody is heard.
    pub(crate) isolated: bool,
    /// Digest of all states held: equal on nodes that agree.
    pub(crate) root: u64,
    pub(crate) log_root: u64,
    /// The core's counters.
    pub(crate) stats: Stats,
    /// The driver's counters.
    pub(crate) driver: DriverCounts,
    /// The registry in numbers.
    pub(crate) registry: RegistryView,
    /// Tables of the core: name, entries, limit.
    pub(crate) tables: Vec<(&'static str, usize, usize)>,
}

/// A way through the mesh, and what the interface it begins at was called when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) route: RouteView,
    pub(crate) interface: Option<String>,
}

impl View {
    /// A peer as the application sees it.
    pub(crate) fn peer(&self, peer: &PeerView, now: Instant) -> Option<Peer> {
        let witnesses = peer.witnesses.iter().map(|id| self.name_of(id)).collect();
        Peer::from_view(peer, witnesses, self.states.get(&peer.id).cloned().unwrap_or_default(), now)
    }

    /// The name of a node, or its first digits where it is none of ours.
    pub(crate) fn name_of(&self, id: &NodeId) -> String {
        if *id == self.id {
            return self.name.clone();
        }
        match self.peers.iter().find(|peer| peer.id == *id) {
            Some(peer) => peer.name.clone(),
            None => format!("@{}", id.short()),
        }
    }
}

/// Where the loop pins its snapshot.
#[derive(Debug, Default)]
pub(crate) struct Board {
    view: Mutex<Arc<View>>,
    wanted: AtomicBool,
    /// When the loop last turned, in nanoseconds since its clock began.
    turned: AtomicU64,
}

impl Board {
    /// The snapshot. Readers hold the lock for one reference count.
    pub(crate) fn read(&self) -> Arc<View> {
        self.wanted.store(true, Ordering::Relaxed);
        Arc::clone(&self.lock())
    }

    /// The loop turns.
    pub(crate) fn turn(&self, now: Instant) {
        self.turned.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the loop last turned.
    pub(crate) fn turned(&self) -> Instant {
        Instant::from_start(Duration::from_nanos(self.turned.load(Ordering::Relaxed)))
    }

    /// Replaces the snapshot, unless a reader is taking it at this moment: then `false`, and the loop tries again later.
    pub(crate) fn try_publish(&self, view: Arc<View>) -> bool {
        /// A reader copies a pointer in some ten nanoseconds; one that has been put to sleep meanwhile is not waited for.
        const TRIES: u32 = 64;
        for _ in 0..TRIES {
            if let Ok(mut pinned) = self.view.try_lock() {
                *pinned = view;
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Replaces the snapshot at the end, when nothing can be held up any more.
    pub(crate) fn publish_last(&self, view: Arc<View>) {
        *self.lock() = view;
    }

    /// Whether the snapshot is old enough to be refreshed; asks readers anew if so.
    pub(crate) fn is_stale(&self, age: Duration) -> bool {
        let is_wanted = || self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed);
        age >= REFRESH_UNREAD || (age >= REFRESH_READ && is_wanted())
    }

    /// As a reader that is just taking the snapshot does.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> MutexGuard<'_, Arc<View>> {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<View>> {
        // Nothing can panic while it is held.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Mesh;

    #[test]
    fn a_snapshot_is_refreshed_each_five_seconds_and_sooner_only_for_a_reader() {
        let board = Board::default();
        let ms = Duration::from_millis;
        assert!(!board.is_stale(ms(4_999)));
        assert!(board.is_stale(ms(5_000)));
        board.read();
        assert!(!board.is_stale(ms(99)));
        assert!(board.is_stale(ms(100)));
        assert!(!board.is_stale(ms(100)), "nobody has read since");
    }

    #[tokio::test]
    async fn whoever_asks_is_shown_what_is_now_though_nothing_has_changed() {
        let mesh = Mesh::builder("a").in_memory().mesh_name(&format!("board-{}", std::process::id()));
        let mesh = mesh.interfaces(["lo"]).start().await.unwrap();
        for _ in 0..3 {
            // Old enough to be refreshed for whoever asks, and not for anybody else.
            tokio::time::sleep(3 * REFRESH_READ).await;
            let asked = mesh.now();
            mesh.refresh().await.unwrap();
            let shown = mesh.0.board.lock().at;
            assert!(shown + REFRESH_READ >= asked, "{shown:?}, asked at {asked:?}");
        }
        mesh.shutdown().await;
        assert!(mesh.refresh().await.is_err(), "it has stopped");
    }

    #[test]
    fn the_loop_never_waits_for_a_reader() {
        let board = Board::default();
        let held = board.lock();
        assert!(!board.try_publish(Arc::default()));
        drop(held);
        assert!(board.try_publish(Arc::new(View { root: 7, ..View::default() })));
        assert_eq!(board.read().root, 7);
    }

    #[test]
    fn a_node_is_called_by_its_name_or_by_its_digits() {
        let view = View { id: NodeId([1; 16]), name: "me".to_owned(), ..View::default() };
        assert_eq!(view.name_of(&NodeId([1; 16])), "me");
        assert_eq!(view.name_of(&NodeId([0xab; 16])), "@abab");
    }
}

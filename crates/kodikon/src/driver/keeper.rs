//! Decides how the loop keeps things without waiting for a disk: a thread of its own, and of two values for one thing the newest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kodikon_core::effect::{Claim, NewSecret, Persist, Remembered};
use kodikon_core::model::state::NodeSnapshot;
use tokio::sync::mpsc;

use crate::driver::saved;
use crate::store::Store;

/// After a failure the next try waits this long: a full disk is not emptied in a millisecond.
const RETRY: Duration = Duration::from_secs(1);

/// What waits to be written: of each thing at most one value, the newest.
#[derive(Debug, Default)]
struct Waiting {
    epoch: Option<u32>,
    identity: Option<NewSecret>,
    state: Option<NodeSnapshot>,
    rank: Option<Claim>,
    directory: Option<Vec<Remembered>>,
    /// Epoch or identity is being written at this moment.
    is_writing_run: bool,
    is_closing: bool,
    failures: u64,
    /// The last try failed.
    is_failing: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The loop's end of the thread that writes.
#[derive(Debug)]
pub(crate) struct Keeper {
    queue: Arc<Queue>,
    /// Versions of the own state that are in the store now.
    kept: mpsc::UnboundedReceiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Gives a store its thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(store: Box<dyn Store>) -> std::io::Result<Self> {
        Self::spawn_trying_each(RETRY, store)
    }

    fn spawn_trying_each(pause: Duration, store: Box<dyn Store>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        // The core asks for one version at a time: no more than that waits here.
        let (answer, kept) = mpsc::unbounded_channel();
        let write = move || run(store, &shared, pause, &answer);
        let thread = std::thread::Builder::new().name("kodikon-keeper".into()).spawn(write)?;
        Ok(Self { queue, kept, thread: Some(thread) })
    }

    /// Wants something kept. Either side holds the lock for a few moves of memory, never over a write.
    pub(crate) fn keep(&self, what: Persist) {
        let mut waiting = self.queue.lock();
        match what {
            // The highest counts, in whatever order they come.
            Persist::EpochCounter(counter) => waiting.epoch = waiting.epoch.max(Some(counter)),
            Persist::Identity(secret) => waiting.identity = Some(secret),
            Persist::State(state) => waiting.state = Some(state),
            Persist::Rank(rank) => waiting.rank = Some(rank),
            Persist::Directory(directory) => waiting.directory = Some(directory),
        }
        self.queue.changed.notify_one();
    }

    /// Whether all that names this run is on disk. Until then nothing may be said in it: after a crash another run could bear
    /// the same epoch, or a copied disk its old identity.
    pub(crate) fn has_kept_run(&self) -> bool {
        let waiting = self.queue.lock();
        waiting.epoch.is_none() && waiting.identity.is_none() && !waiting.is_writing_run
    }

    /// The next version of the own state that is kept. Dropping the future loses nothing.
    pub(crate) async fn kept(&mut self) -> u64 {
        match self.kept.recv().await {
            Some(version) => version,
            // The thread is gone: nothing more is kept, and so nothing more is told.
            None => std::future::pending().await,
        }
    }

    /// How many writes failed.
    pub(crate) fn failures(&self) -> u64 {
        self.queue.lock().failures
    }

    /// Writes what waits, once more at most where that fails, and closes the store.
    pub(crate) fn close(&mut self) {
        self.queue.lock().is_closing = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to disk panicked: state and directory may not have been kept");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(mut store: Box<dyn Store>, queue: &Queue, pause: Duration, answer: &mpsc::UnboundedSender<u64>) {
    while let Some((what, is_closing)) = queue.next() {
        match saved::write(store.as_mut(), &what) {
            Ok(()) => {
                queue.note_success();
                if let Persist::State(state) = what {
                    // An error means that the loop is gone.
                    let _ = answer.send(state.version);
                }
            }
            Err(error) => {
                if queue.note_failure() {
                    tracing::warn!(%error, "not kept; tried again each second");
                }
                if is_closing {
                    tracing::error!(%error, "not kept, and there is no more time");
                    // The run stays unkept, and so silent to its end.
                    continue;
                }
                queue.put_back(what);
                queue.pause(pause);
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can panic while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write, and tells whether it is the last chance; `None` when all is written and no more will come.
    fn next(&self) -> Option<(Persist, bool)> {
        let mut waiting = self.lock();
        loop {
            if let Some(what) = waiting.take() {
                waiting.is_writing_run |= matches!(what, Persist::EpochCounter(_) | Persist::Identity(_));
                return Some((what, waiting.is_closing));
            }
            if waiting.is_closing {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn note_success(&self) {
        let mut waiting = self.lock();
        (waiting.is_failing, waiting.is_writing_run) = (false, false);
    }

    /// Counts a failure; `true` for the first after a success.
    fn note_failure(&self) -> bool {
        let mut waiting = self.lock();
        waiting.failures += 1;
        !std::mem::replace(&mut waiting.is_failing, true)
    }

    /// Puts back what could not be written, unless something newer waits.
    fn put_back(&self, what: Persist) {
        let mut waiting = self.lock();
        waiting.is_writing_run = false;
        match what {
            Persist::EpochCounter(counter) => waiting.epoch = waiting.epoch.max(Some(counter)),
            Persist::Identity(secret) => _ = waiting.identity.get_or_insert(secret),
            Persist::State(state) => _ = waiting.state.get_or_insert(state),
            Persist::Rank(rank) => _ = waiting.rank.get_or_insert(rank),
            Persist::Directory(directory) => _ = waiting.directory.get_or_insert(directory),
        }
    }

    /// Waits before the next try, but not once it is closing time.
    fn pause(&self, pause: Duration) {
        let waiting = self.lock();
        // How it ended does not matter: whatever comes next is tried.
        let _ = self.changed.wait_timeout_while(waiting, pause, |waiting| !waiting.is_closing);
    }
}

impl Waiting {
    /// First what must not be lost.
    fn take(&mut self) -> Option<Persist> {
        self.epoch
            .take()
            .map(Persist::EpochCounter)
            .or_else(|| self.identity.take().map(Persist::Identity))
            .or_else(|| self.state.take().map(Persist::State))
            .or_else(|| self.rank.take().map(Persist::Rank))
            .or_else(|| self.directory.take().map(Persist::Directory))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use kodikon_core::ground::id::NodeId;

    use super::*;
    use crate::store::{IdentitySeed, MemoryStore, StoreError};

    /// A disk that takes its time and fails when told to.
    #[derive(Debug)]
    struct SlowStore {
        inner: MemoryStore,
        entered: Sender<String>,
        outcomes: Receiver<bool>,
    }

    impl Store for SlowStore {
        fn identity(&mut self) -> Result<IdentitySeed, StoreError> {
            self.inner.identity()
        }

        fn replace_identity(&mut self, seed: &IdentitySeed) -> Result<(), StoreError> {
            self.wait("identity".to_owned())?;
            self.inner.replace_identity(seed)
        }

        fn next_epoch(&mut self) -> Result<u32, StoreError> {
            self.inner.next_epoch()
        }

        fn raise_epoch(&mut self, used: u32) -> Result<(), StoreError> {
            self.wait(format!("epoch {used}"))?;
            self.inner.raise_epoch(used)
        }

        fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
            let text = String::from_utf8_lossy(bytes);
            self.wait(format!("{name} {}", text.lines().next().unwrap_or_default()))
        }

        fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.inner.load(name)
        }
    }

    impl SlowStore {
        fn wait(&self, what: String) -> Result<(), StoreError> {
            self.entered.send(what).unwrap();
            if self.outcomes.recv().unwrap_or(true) { Ok(()) } else { Err(StoreError::Full { path: "disk".into() }) }
        }
    }

    fn claim(rank: u16) -> Claim {
        Claim { id: NodeId([1; 16]), name: "cam".to_owned(), rank }
    }

    fn slow() -> (Keeper, Receiver<String>, Sender<bool>) {
        let (entered, enters) = channel();
        let (outcome, outcomes) = channel();
        let keeper = Keeper::spawn_trying_each(
            Duration::from_secs(3_600),
            Box::new(SlowStore { inner: MemoryStore::new(), entered, outcomes }),
        )
        .unwrap();
        (keeper, enters, outcome)
    }

    #[test]
    fn while_the_disk_is_busy_the_newest_value_waits_alone() {
        let (mut keeper, enters, outcome) = slow();
        keeper.keep(Persist::Rank(claim(1)));
        assert_eq!(enters.recv().unwrap(), "rank 1");
        for rank in 2..1_000 {
            keeper.keep(Persist::Rank(claim(rank)));
        }
        drop(outcome); // from now on every write succeeds at once
        keeper.close();
        assert_eq!(enters.iter().collect::<Vec<_>>(), ["rank 999"]);
    }

    #[test]
    fn what_failed_is_tried_again_unless_something_newer_waits_and_at_the_end_once() {
        let (mut keeper, enters, outcome) = slow();
        keeper.keep(Persist::Rank(claim(1)));
        enters.recv().unwrap();
        outcome.send(false).unwrap();
        // It pauses now, until something newer and the end have come.
        outcome.send(false).unwrap();
        keeper.close();
        assert_eq!(enters.iter().collect::<Vec<_>>(), ["rank 1"], "the last try fails, and is the last");
        assert_eq!(keeper.failures(), 2);
    }

    #[test]
    fn a_run_counts_as_kept_only_once_epoch_and_identity_are_on_disk() {
        let (mut keeper, enters, outcome) = slow();
        keeper.keep(Persist::Rank(claim(1)));
        assert_eq!(enters.recv().unwrap(), "rank 1");
        assert!(keeper.has_kept_run(), "a rank names no run");
        keeper.keep(Persist::EpochCounter(7));
        keeper.keep(Persist::Identity(NewSecret([1; 32])));
        assert!(!keeper.has_kept_run(), "it waits");
        outcome.send(true).unwrap();
        assert_eq!(enters.recv().unwrap(), "epoch 7");
        assert!(!keeper.has_kept_run(), "it is being written");
        outcome.send(true).unwrap();
        assert_eq!(enters.recv().unwrap(), "identity");
        assert!(!keeper.has_kept_run(), "the second is being written");
        outcome.send(true).unwrap();
        keeper.keep(Persist::Rank(claim(2)));
        assert_eq!(enters.recv().unwrap(), "rank 2");
        assert!(keeper.has_kept_run());

        keeper.keep(Persist::EpochCounter(8));
        outcome.send(true).unwrap();
        assert_eq!(enters.recv().unwrap(), "epoch 8");
        outcome.send(false).unwrap();
        drop(outcome);
        assert!(!keeper.has_kept_run(), "a full disk keeps it silent");
        keeper.close();
        assert!(keeper.has_kept_run(), "the last try succeeded");
    }

    #[tokio::test]
    async fn a_version_counts_as_kept_when_its_state_is_on_disk() {
        let (mut keeper, enters, outcome) = slow();
        keeper.keep(Persist::State(NodeSnapshot { version: 3, ..NodeSnapshot::default() }));
        assert!(enters.recv().unwrap().starts_with("state.json"));
        assert!(keeper.kept.try_recv().is_err(), "it is being written");
        outcome.send(false).unwrap();
        // The pause after a failure ends with the node: the last try is answered too.
        outcome.send(true).unwrap();
        keeper.close();
        assert_eq!(keeper.kept().await, 3);
        assert_eq!(keeper.failures(), 1);
    }

    #[test]
    fn what_must_not_be_lost_is_written_first() {
        let mut waiting = Waiting {
            rank: Some(claim(1)),
            state: Some(NodeSnapshot::default()),
            identity: Some(NewSecret([1; 32])),
            epoch: Some(7),
            ..Waiting::default()
        };
        assert_eq!(waiting.take(), Some(Persist::EpochCounter(7)));
        assert!(matches!(waiting.take(), Some(Persist::Identity(_))));
        assert!(matches!(waiting.take(), Some(Persist::State(_))));
        assert_eq!(waiting.take(), Some(Persist::Rank(claim(1))));
        assert_eq!(waiting.take(), None);
    }
}

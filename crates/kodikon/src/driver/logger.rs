//! Decides how the log is written without the loop waiting for a disk: a thread of its own, which writes all that has come meanwhile
//! in one transaction.
//!
//! It waits for no more to come: while one transaction is synced the next gathers, so a single alert is on disk after one sync and a
//! burst after two.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kodikon_core::effect::log::{Batch, CommitId, Committed};
use tokio::sync::mpsc;

use crate::driver::urgency::Urgency;
use crate::store::LogStore;

/// Ops of one transaction at most: about 25 ms of SQLite. The core waits for 64 transactions of 512 at most.
const OPS_AT_ONCE: usize = 512;
/// A transaction of so many, some 3 ms of SQLite, lets others go first.
const BULK: usize = 64;
/// While nothing is written it is looked so often whether the log is in its place: two system calls.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The loop's end of the thread that writes the log.
#[derive(Debug)]
pub(crate) struct Logger {
    orders: Option<Sender<(CommitId, Batch)>>,
    answers: mpsc::UnboundedReceiver<(CommitId, Committed)>,
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Logger {
    /// Gives a store its thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(store: Box<dyn LogStore>) -> std::io::Result<Self> {
        let (orders, ordered) = channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let problem = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&problem);
        let write = move || Writer { store, ordered, answer, problem: shared, doubt: None }.run();
        let thread = std::thread::Builder::new().name("kodikon-log".into()).spawn(write)?;
        Ok(Self { orders: Some(orders), answers, problem, thread: Some(thread) })
    }

    /// Wants a transaction carried out.
    pub(crate) fn commit(&self, commit: CommitId, batch: Batch) {
        // An error means that the thread panicked: the core takes the silence for a failing disk.
        let _ = self.orders.as_ref().map(|orders| orders.send((commit, batch)));
    }

    /// The next answer. Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self) -> (CommitId, Committed) {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Why the last transaction failed, or what is on disk may not be whole; `None` if all is well.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what waits, and notes that the run ended in order.
    pub(crate) fn close(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the log panicked: the last alerts may not be on disk");
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.close();
    }
}

struct Writer {
    store: Box<dyn LogStore>,
    ordered: Receiver<(CommitId, Batch)>,
    answer: mpsc::UnboundedSender<(CommitId, Committed)>,
    problem: Arc<Mutex<Option<String>>>,
    /// Why what is on disk may not be whole: for the run, whatever is written meanwhile.
    doubt: Option<String>,
}

impl Writer {
    fn run(mut self) {
        let mut urgency = Urgency::default();
        // The first who want something written wait for that; nobody else does.
        if let Err(error) = self.store.check() {
            tracing::error!(%error, "whether the log is whole is not known, and what is kept from now on may be lost");
            self.doubt = Some(error.to_string());
            self.note(None);
        }
        let mut is_whole = true;
        while let Some((commits, batches, ops)) = self.gather() {
            urgency.set(ops < BULK);
            let result = match self.store.commit(&batches) {
                Ok(result) => {
                    self.note(None);
                    result
                }
                Err(error) => {
                    if self.note(Some(error.to_string())) {
                        tracing::warn!(%error, "the log is not kept; alerts are shown and told all the same, and it is tried again");
                    }
                    Committed::Failed
                }
            };
            is_whole = result != Committed::Failed;
            for commit in commits {
                // An error means that the loop is gone.
                let _ = self.answer.send((commit, result));
            }
        }
        if is_whole && let Err(error) = self.store.end() {
            tracing::warn!(%error, "the log could not be closed in order");
        }
    }

    /// Waits for a transaction, and takes with it those that have come since; with the number of their ops. `None` when no more
    /// will come.
    fn gather(&mut self) -> Option<(Vec<CommitId>, Vec<Batch>, usize)> {
        let (commit, batch) = loop {
            match self.ordered.recv_timeout(LOOK_EVERY) {
                Ok(ordered) => break ordered,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        };
        let mut ops = ops_of(&batch);
        let (mut commits, mut batches) = (vec![commit], vec![batch]);
        while ops < OPS_AT_ONCE
            && let Ok((commit, batch)) = self.ordered.try_recv()
        {
            ops += ops_of(&batch);
            commits.push(commit);
            batches.push(batch);
        }
        Some((commits, batches, ops))
    }

    /// Looks whether the log is in its place. That it is says nothing of a disk that failed before.
    fn look(&mut self) {
        if let Err(error) = self.store.look()
            && self.note(Some(error.to_string()))
        {
            tracing::error!(%error, "the log is not where the next run looks for it");
        }
    }

    /// Notes how it goes; `true` where it begins to go wrong.
    fn note(&self, problem: Option<String>) -> bool {
        let mut held = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = *held == self.doubt && problem.is_some();
        *held = problem.or_else(|| self.doubt.clone());
        begins
    }
}

fn ops_of(batch: &Batch) -> usize {
    batch.rows.len() + batch.removed.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryLog, StoreError};
    use kodikon_core::effect::log::{ReadRows, SavedLog};

    /// A disk that takes its time, tells what it was given, and fails when told to.
    #[derive(Debug)]
    struct SlowLog {
        entered: Sender<usize>,
        outcomes: Receiver<bool>,
    }

    impl LogStore for SlowLog {
        fn begin(&mut self) -> Result<SavedLog, StoreError> {
            Ok(SavedLog::default())
        }

        fn rows(&mut self, _: &mut dyn FnMut(ReadRows)) -> Result<bool, StoreError> {
            Ok(true)
        }

        fn check(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn look(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn commit(&mut self, batches: &[Batch]) -> Result<Committed, StoreError> {
            self.entered.send(batches.len()).unwrap();
            let holds = self.outcomes.recv().unwrap_or(true);
            if holds { Ok(Committed::OnDisk) } else { Err(StoreError::Full { path: "log.db".into() }) }
        }

        fn end(&mut self) -> Result<(), StoreError> {
            self.entered.send(0).unwrap();
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_comes_while_the_disk_syncs_is_written_together_and_each_is_answered() {
        let ((entered, enters), (outcome, outcomes)) = (channel(), channel());
        let mut logger = Logger::spawn(Box::new(SlowLog { entered, outcomes })).unwrap();
        logger.commit(CommitId(1), Batch::default());
        assert_eq!(enters.recv().unwrap(), 1, "the first waits for no other");
        (2..=5).for_each(|commit| logger.commit(CommitId(commit), Batch::default()));
        outcome.send(true).unwrap();
        assert_eq!(enters.recv().unwrap(), 4);
        outcome.send(false).unwrap();
        for commit in 1..=5 {
            let expected = if commit == 1 { Committed::OnDisk } else { Committed::Failed };
            assert_eq!(logger.answered().await, (CommitId(commit), expected));
        }
        assert!(logger.problem().is_some_and(|problem| problem.contains("no space left")));
        logger.commit(CommitId(6), Batch::default());
        outcome.send(true).unwrap();
        assert_eq!(logger.answered().await, (CommitId(6), Committed::OnDisk));
        assert_eq!(logger.problem(), None, "it recovers by itself");
        logger.close();
        assert_eq!(enters.iter().collect::<Vec<_>>(), [1, 0], "and ends in order");
    }

    #[tokio::test]
    async fn in_memory_nothing_is_ever_on_disk() {
        let mut logger = Logger::spawn(Box::new(MemoryLog)).unwrap();
        logger.commit(CommitId(1), Batch::default());
        assert_eq!(logger.answered().await, (CommitId(1), Committed::InMemory));
    }
}

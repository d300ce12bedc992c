//! Decides how embeddings are scanned without the loop waiting for it: by a thread of its own, one scan after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use kodikon_core::effect::scan::{Nearest, ScanId, ScanJob};
use tokio::sync::mpsc;

/// Scans that wait: the core wants one at a time, and the next once it has the answer.
const WAITING: usize = 1;

/// The loop's end of the thread that scans.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<SyncSender<ScanJob>>,
    answers: mpsc::Receiver<(ScanId, Vec<Nearest>)>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Begins a thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (jobs, ordered) = sync_channel::<ScanJob>(WAITING);
        let (answer, answers) = mpsc::channel(WAITING);
        let work = move || {
            while let Ok(job) = ordered.recv() {
                let scan = job.scan;
                // A bug of ours must not take the thread, and with it every later search: this one is answered as not certified.
                let nearest = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or_else(|_| {
                    tracing::error!("a search panicked; please report this");
                    vec![Nearest::default(); job.questions.len()]
                });
                drop(job);
                // An error means that the loop is gone.
                if answer.blocking_send((scan, nearest)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kodikon-scan".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), answers, thread: Some(thread) })
    }

    /// Wants a scan done. It never waits: see [`WAITING`].
    pub(crate) fn scan(&self, job: ScanJob) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.try_send(job).is_err()) {
            // Whoever waits for it learns at its timeout that there was no answer.
            tracing::error!("a search was not carried out; please report this");
        }
    }

    /// The next answer. Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self) -> (ScanId, Vec<Nearest>) {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Ends the thread once its scan is done.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
        self.answers.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that searches panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_scan_is_answered_in_turn_and_the_thread_ends_with_its_owner() {
        let mut worker = Worker::spawn().expect("a thread");
        for number in 1..=3 {
            worker.scan(ScanJob { scan: ScanId(number), questions: Vec::new(), stocks: Vec::new() });
            assert_eq!(worker.answered().await, (ScanId(number), Vec::new()));
        }
        // The answer to this one is never taken.
        worker.scan(ScanJob { scan: ScanId(4), questions: Vec::new(), stocks: Vec::new() });
        worker.close();
        assert!(worker.thread.is_none(), "it has ended");
        worker.close();
    }
}

//! Decides how work is done without the loop waiting for it: by a thread of its own, one job after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// What a thread does.
pub(crate) trait Job: Send + std::fmt::Debug + 'static {
    /// What comes of it.
    type Answer: Send + std::fmt::Debug + 'static;
    /// What the thread is called.
    const THREAD: &'static str;
    /// What it does, in the log.
    const WHAT: &'static str;
    /// Jobs that wait at most: the core wants no more at a time.
    const WAITING: usize;
    /// How far the thread makes way for others, in steps of the system's nice value: of `0` it is as urgent as the loop is.
    const NICE: i32;

    /// Does it.
    fn run(&self) -> Self::Answer;

    /// What is answered where that panicked: a bug of ours must not take the thread, and with it every later job.
    fn given_up(&self) -> Self::Answer;
}

/// The loop's end of a thread that works.
#[derive(Debug)]
pub(crate) struct Worker<J: Job> {
    jobs: Option<SyncSender<J>>,
    answers: mpsc::Receiver<J::Answer>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl<J: Job> Worker<J> {
    /// Begins a thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (jobs, ordered) = sync_channel::<J>(J::WAITING);
        let (answer, answers) = mpsc::channel(J::WAITING);
        let work = move || {
            make_way(J::NICE);
            while let Ok(job) = ordered.recv() {
                let done = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or_else(|_| {
                    tracing::error!("{} panicked; please report this", J::WHAT);
                    job.given_up()
                });
                drop(job);
                // An error means that the loop is gone.
                if answer.blocking_send(done).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(J::THREAD.into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), answers, thread: Some(thread) })
    }

    /// Wants a job done. It never waits: see [`Job::WAITING`].
    pub(crate) fn order(&self, job: J) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.try_send(job).is_err()) {
            tracing::error!("{} was not carried out; please report this", J::WHAT);
        }
    }

    /// The next answer. Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self) -> J::Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Ends the thread once its job is done.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
        self.answers.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of {} panicked", J::WHAT);
        }
    }
}

impl<J: Job> Drop for Worker<J> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sets how far this thread makes way: on Linux a nice value is of a thread alone.
fn make_way(nice: i32) {
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice)
    {
        tracing::debug!("a thread is as urgent as all others: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodikon_core::effect::scan::{ScanId, ScanJob};

    #[tokio::test]
    async fn each_scan_is_answered_in_turn_and_the_thread_ends_with_its_owner() {
        let mut worker = Worker::<ScanJob>::spawn().expect("a thread");
        for number in 1..=3 {
            worker.order(ScanJob { scan: ScanId(number), questions: Vec::new(), stocks: Vec::new() });
            assert_eq!(worker.answered().await, (ScanId(number), Vec::new()));
        }
        // The answer to this one is never taken.
        worker.order(ScanJob { scan: ScanId(4), questions: Vec::new(), stocks: Vec::new() });
        worker.close();
        assert!(worker.thread.is_none(), "it has ended");
        worker.close();
    }
}

//! Decides how signatures are checked without the loop waiting for it: by a thread of its own, one portion after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use kodikon_core::effect::check::{CheckId, CheckJob};
use kodikon_core::model::identity::StrictVerifier;
use tokio::sync::mpsc;

/// Portions that wait: more than the core wants at a time.
const WAITING: usize = 8;

/// The loop's end of the thread that checks signatures.
#[derive(Debug)]
pub(crate) struct Checker {
    jobs: Option<SyncSender<CheckJob>>,
    answers: mpsc::Receiver<(CheckId, Vec<bool>)>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Begins a thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (jobs, ordered) = sync_channel::<CheckJob>(WAITING);
        let (answer, answers) = mpsc::channel(WAITING);
        let work = move || {
            while let Ok(job) = ordered.recv() {
                // A bug of ours must not take the thread: what it was about is not believed.
                let checked = catch_unwind(AssertUnwindSafe(|| job.run(&mut StrictVerifier)));
                let holds = checked.unwrap_or_else(|_| {
                    tracing::error!("a check of signatures panicked; please report this");
                    vec![false; job.ops.len()]
                });
                // An error means that the loop is gone.
                if answer.blocking_send((job.check, holds)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kodikon-check".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), answers, thread: Some(thread) })
    }

    /// Wants signatures checked. It never waits: see [`WAITING`].
    pub(crate) fn check(&self, job: CheckJob) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.try_send(job).is_err()) {
            tracing::error!("signatures were not checked; please report this");
        }
    }

    /// The next answer. Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self) -> (CheckId, Vec<bool>) {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Ends the thread once what it was given is done.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
        self.answers.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that checks signatures panicked");
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodikon_core::ground::id::{Epoch, MeshId, Seq};
    use kodikon_core::ground::time::WallTime;
    use kodikon_core::model::identity::Identity;
    use kodikon_core::model::op::{OpKind, SignedOp, Statement};

    #[tokio::test]
    async fn each_signature_is_answered_for_in_turn_and_the_thread_ends_with_its_owner() {
        let (one, other) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let mesh = MeshId([3; 16]);
        let say = |seq| {
            let statement =
                Statement { kind: OpKind::Alert, key: Vec::new(), body: vec![1], lamport: seq, wall: WallTime(0) };
            SignedOp::sign(&one, mesh, Epoch(1), Seq(seq), statement)
        };
        let mut checker = Checker::spawn().expect("a thread");
        for number in 1..=3 {
            let ops = vec![(say(number), one.public_key()), (say(number), other.public_key())];
            checker.check(CheckJob { check: CheckId(number), mesh, ops });
            assert_eq!(checker.answered().await, (CheckId(number), vec![true, false]));
        }
        // The answer to this one is never taken.
        checker.check(CheckJob { check: CheckId(4), mesh, ops: Vec::new() });
        checker.close();
        assert!(checker.thread.is_none(), "it has ended");
    }
}

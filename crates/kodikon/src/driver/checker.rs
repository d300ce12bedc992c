//! Decides how signatures are checked without the loop waiting for it: by a thread of its own, one portion after the other.

use kodikon_core::effect::check::{CheckId, CheckJob};
use kodikon_core::model::identity::Zip215Verifier;

use crate::driver::worker::{Job, Worker};

/// The loop's end of the thread that checks signatures.
pub(crate) type Checker = Worker<CheckJob>;

impl Job for CheckJob {
    type Answer = (CheckId, Vec<bool>);
    const THREAD: &'static str = "kodikon-check";
    const WHAT: &'static str = "a check of signatures";
    const WAITING: usize = 8;
    /// Only what comes in bulk is checked here. On a computer with few cores all that is urgent goes first: the loop of this node,
    /// and those of others beside it.
    const NICE: i32 = 10;

    fn run(&self) -> Self::Answer {
        (self.check, Self::run(self, &mut Zip215Verifier::default()))
    }

    /// What it was about is not believed.
    fn given_up(&self) -> Self::Answer {
        (self.check, vec![false; self.ops.len()])
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
            checker.order(CheckJob { check: CheckId(number), mesh, ops });
            assert_eq!(checker.answered().await, (CheckId(number), vec![true, false]));
        }
        // The answer to this one is never taken.
        checker.order(CheckJob { check: CheckId(4), mesh, ops: Vec::new() });
        checker.close();
        assert!(checker.thread.is_none(), "it has ended");
    }
}

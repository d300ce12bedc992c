//! Decides what is handed to whoever checks signatures beside the loop: ops and the keys of their authors, unchanging.

use crate::ground::id::MeshId;
use crate::model::identity::Verifier;
use crate::model::op::SignedOp;

/// Names one check until it is answered. Unique in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// Signatures to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckJob {
    /// Which check.
    pub check: CheckId,
    /// The mesh for which they were made.
    pub mesh: MeshId,
    /// Each op with its author's public key.
    pub ops: Vec<(SignedOp, [u8; 32])>,
}

impl CheckJob {
    /// Checks all, one by one: whether each holds, in their order.
    ///
    /// Not as a batch: `verify_batch` of ed25519-dalek takes, by chance, signatures with parts of small order that the strict check of a
    /// single one refuses, and nodes that disagree about what is signed never agree again.
    pub fn run(&self, verifier: &mut dyn Verifier) -> Vec<bool> {
        self.ops.iter().map(|(op, key)| op.verify(key, self.mesh, verifier)).collect()
    }
}

//! Decides what is handed to whoever checks signatures beside the loop: ops and the keys of their authors, unchanging.

use crate::ground::id::MeshId;
use crate::model::identity::Verifier;
use crate::model::op::SignedOp;

/// Names one check until it is answered. Unique in a process, whatever runs begin in it.
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
    /// Checks all at once, which costs a third of checking one by one: whether each holds, in their order.
    pub fn run(&self, verifier: &mut dyn Verifier) -> Vec<bool> {
        let claims: Vec<_> = self.ops.iter().map(|(op, key)| op.claim(key, self.mesh)).collect();
        let by_author = claims.iter().map(Option::is_some).collect::<Vec<_>>();
        let mut answers = verifier.verify_all(&claims.into_iter().flatten().collect::<Vec<_>>()).into_iter();
        by_author.into_iter().map(|is| is && answers.next().unwrap_or(false)).collect()
    }
}

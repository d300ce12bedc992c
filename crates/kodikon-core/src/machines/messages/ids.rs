//! Decides how letters are named within the machine: what is said here, and what is in custody here.

/// Names something that this node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnId(pub(super) u64);

/// Names a letter in custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParcelId(pub(super) u64);

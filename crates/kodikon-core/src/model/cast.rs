//! Decides how something said to all is named, and how much of that one node may say.

use crate::ground::id::{Epoch, NodeId};

/// Casts a second of one origin at most: the design's figure for broadcasts.
pub const CAST_RATE: u32 = 20;
/// So many at once: a second of them.
pub const CAST_BURST: u32 = CAST_RATE;

/// Something said to all: the number counts what its origin said to all in one run, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CastId {
    /// Who says it.
    pub origin: NodeId,
    /// In which run.
    pub epoch: Epoch,
    /// Its number.
    pub number: u64,
}

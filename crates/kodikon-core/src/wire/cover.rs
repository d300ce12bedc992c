//! Decides how numbers of one run are named on the wire: as intervals.

use minicbor::{Decode, Encode};

/// The numbers of one author's run that a node has covered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cover {
    /// Whose numbers.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// In which run.
    #[n(1)]
    pub epoch: u64,
    /// First and last of each interval, ascending, with gaps between them.
    #[n(2)]
    pub intervals: Vec<Interval>,
}

/// A run of an author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Run {
    /// Whose.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub author: [u8; 16],
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
}

/// Numbers from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Interval {
    /// The first.
    #[n(0)]
    pub first: u64,
    /// The last.
    #[n(1)]
    pub last: u64,
}

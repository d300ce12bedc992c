//! Decides what an embedder is told when something it asked for cannot be done, and what it can do about it.

use std::io;

use kodikon_core::model::state::StateError;

use crate::settings::Problems;
use crate::socket::OpenError;
use crate::store::StoreError;

/// Why a node did not start. Nothing runs and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// Neither a data directory nor `in_memory` was chosen.
    #[error(
        "where should the node keep its identity? Call `data_dir(…)`, or `in_memory()` for a new identity at each start"
    )]
    NoDataDir,
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The initial state is none.
    #[error("the initial state: {0}")]
    State(#[from] MeshError),
    /// The node's own port cannot be had.
    #[error(transparent)]
    Ports(#[from] OpenError),
    /// The system refused something every node needs.
    #[error("the system refused {what}: {source}. A sandbox or a limit on open files may forbid it")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The loop ended before it began; its log says why.
    #[error("the node's loop ended while it started: see the log")]
    Ended,
}

/// Why something was not done. Nothing was changed, where a variant does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The node has been shut down.
    #[error("the node has stopped: start another with `Mesh::builder`")]
    Stopped,
    /// More wishes wait for the loop than it takes in.
    #[error("{limit} wishes wait for the node already: slow down and try again")]
    Busy {
        /// How many wait.
        limit: usize,
    },
    /// A state is an object.
    #[error("a state is a JSON object of keys and values, not {found}")]
    NotAnObject {
        /// What was given.
        found: &'static str,
    },
    /// A key, a value or the whole breaks a limit.
    #[error(transparent)]
    State(#[from] StateError),
    /// As many handlers as a node takes.
    #[error("a node takes at most {limit} handlers: let one handler do the work of several, or read `events()`")]
    TooManyHandlers {
        /// How many there are.
        limit: usize,
    },
    /// The disk has not taken the own state for a second. It is set here, and told to the others when the disk takes it; it is tried
    /// again each second.
    #[error(
        "the state is set, but for a second the disk has not taken it: the others are told when it does, and until then a crash \
         would lose it. Is the disk full or failing?"
    )]
    NotKept,
    /// The system gave no thread.
    #[error("the system gave no thread for the handler: {0}")]
    NoThread(String),
}

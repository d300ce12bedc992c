//! Decides what can be asked of the registry by likeness, and what is answered.

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;

use kodikon_scan::{Mode, Query};

use crate::ground::time::Duration;
use crate::model::entries::Entry;
use crate::model::letter::Ticket;
use crate::model::record::Filter;

/// How long a search may take if nothing else is said: what a person waits for, and a hundred times what it takes.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take at most: beyond it nobody waits for an answer any more.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// How many are found if nothing else is said.
pub const DEFAULT_K: usize = 10;

/// To what the nearest are sought.
#[derive(Debug, Clone)]
pub enum Target {
    /// To these numbers.
    Numbers(Arc<Query>),
    /// To the embedding of the newest sighting of a hash; no sighting of that hash is among the answers.
    Like(String),
}

/// What the application wants found.
#[derive(Debug, Clone)]
pub struct SearchOrder {
    /// Names it in [`crate::effect::Event::Searched`].
    pub ticket: Ticket,
    /// To what the nearest are sought.
    pub target: Target,
    /// Of which model the embeddings are; `None`: of the only one that has as many dimensions.
    pub model: Option<String>,
    /// How many are wanted, 1 to [`kodikon_scan::MAX_K`]; the caller checked it.
    pub k: usize,
    /// How sure the answer is to be.
    pub mode: Mode,
    /// Which records may be in the answer.
    pub filter: Filter,
    /// How long it may take; at most [`MAX_TIMEOUT`].
    pub timeout: Duration,
    /// Whether only what this node holds is looked at, and nobody else is asked.
    pub alone: bool,
}

/// A cosine, which is ordered and compared as its bits say: it is the same to the bit on every computer.
#[derive(Debug, Clone, Copy)]
pub struct Score(pub f64);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // 0 and -0 are one cosine; a score is never NaN.
        self.0.partial_cmp(&other.0).unwrap_or_else(|| self.0.total_cmp(&other.0))
    }
}

/// A record and how near it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub entry: Entry,
    /// Its cosine with what was asked for.
    pub score: Score,
    /// Of a record that this node does not hold: how old it was when another node told of it, in milliseconds of running time.
    pub lent_ms: Option<u64>,
}

/// What was found, and what that rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// The nearest first; of equal scores in the order of hash and source.
    pub found: Vec<Found>,
    /// Nodes that have answered.
    pub responded: u32,
    /// Nodes that were asked, this one among them.
    pub of: u32,
    /// Whether all of them have answered, and each answer is what a scan of all its stored numbers gives. Whoever failed or left meanwhile
    /// is not waited for, and counts among those who have not answered.
    pub certified: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why nothing was searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsearched {
    /// No sighting of the hash has an embedding here, or there is none.
    NoSuchHash,
    /// Several models have embeddings of so many dimensions, and they cannot be compared: these.
    Models(Vec<String>),
    /// No model has embeddings of so many dimensions here.
    Dims {
        /// Those of the query.
        given: usize,
        /// What there is: models and their dimensions.
        known: Vec<(String, u16)>,
    },
    /// As many searches wait as may.
    Busy {
        /// How many.
        limit: usize,
    },
}

/// A model as it can be read in a sentence: the one without a name, too.
fn shown(model: &str) -> &str {
    if model.is_empty() { "\"\"" } else { model }
}

impl fmt::Display for Unsearched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHash => write!(f, "no sighting of this hash has an embedding here"),
            Self::Models(models) => {
                let models: Vec<&str> = models.iter().map(|model| shown(model)).collect();
                write!(
                    f,
                    "embeddings of several models have so many dimensions, and cannot be compared: name one of {}",
                    models.join(", ")
                )
            }
            Self::Dims { given, known } => {
                let is_other_model = known.iter().any(|(_, dims)| usize::from(*dims) == *given);
                let known: Vec<String> =
                    known.iter().map(|(model, dims)| format!("{dims} ({})", shown(model))).collect();
                let other = if is_other_model { " of another model" } else { "" };
                write!(f, "the query has {given} dimensions{other}: the embeddings here have {}", known.join(", "))
            }
            Self::Busy { limit } => write!(f, "{limit} searches wait already: try again"),
        }
    }
}

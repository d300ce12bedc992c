//! Decides how an embedder asks for what is alike, and how it hears what was found.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::MAX_HASH;
use kodikon_core::model::search::{DEFAULT_K, DEFAULT_TIMEOUT, MAX_TIMEOUT, SearchOrder, Target, Unsearched};
use kodikon_scan::{MAX_K, Mode, Query as Numbers, ValueError};
use tokio::sync::{mpsc, oneshot};

use super::{Filter, Mesh, RecordError, View};
use crate::api::{FoundRow, SearchDoc, SearchReport};
use crate::driver::Order;

/// The least that a search may take.
pub const SEARCH_LEAST: Duration = Duration::from_millis(1);
/// The most.
pub const SEARCH_MOST: Duration = MAX_TIMEOUT;
/// How many can be asked for.
pub const SEARCH_K_MOST: usize = MAX_K;

/// Why nothing was searched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The numbers are no embedding: none or too many, not finite, or all 0.
    #[error("the query: {0}")]
    Numbers(#[from] ValueError),
    /// None or too many are wanted.
    #[error("{given} nearest: 1 to {SEARCH_K_MOST} can be asked for")]
    K {
        /// How many were asked for.
        given: usize,
    },
    /// Neither numbers nor a hash, or both.
    #[error("a search is for what is like an `embedding` or `like` a hash: give one of the two")]
    Target,
    /// A condition that breaks a limit.
    #[error(transparent)]
    Filter(#[from] RecordError),
    /// The hash is empty or too long.
    #[error("a hash of {given} bytes: it has 1 to {MAX_HASH}")]
    Hash {
        /// Its bytes.
        given: usize,
    },
    /// It may take no time, or too long.
    #[error("a timeout of {given} s: {} to {} seconds are taken", SEARCH_LEAST.as_secs_f64(), SEARCH_MOST.as_secs())]
    Timeout {
        /// What was asked for, in seconds.
        given: f64,
    },
    /// No sighting of the hash has an embedding here.
    #[error("no sighting of `{hash}` has an embedding here")]
    NoSuchHash {
        /// The hash.
        hash: String,
    },
    /// The registry cannot answer this: other dimensions than any embedding has, or several models that have as many.
    #[error("{reason}")]
    Unanswerable {
        /// Why, in a sentence.
        reason: String,
    },
    /// As many searches wait as may.
    #[error("{limit} searches wait already: slow down and try again")]
    Busy {
        /// How many.
        limit: usize,
    },
    /// The node has been shut down.
    #[error("the node has stopped: start another with `Mesh::builder`")]
    Stopped,
}

/// What is looked for: see [`Mesh::search`].
#[derive(Clone)]
#[must_use = "a query is put by `Mesh::search`"]
pub struct Query {
    target: Wanted,
    model: Option<String>,
    k: usize,
    mode: Mode,
    filter: Filter,
    timeout: Duration,
    alone: bool,
    with_embedding: bool,
}

#[derive(Clone)]
enum Wanted {
    Numbers(Vec<f32>),
    Like(String),
}

impl Query {
    /// The nearest to an embedding: 1 to 4,096 numbers, finite and not all 0.
    pub fn numbers(numbers: impl Into<Vec<f32>>) -> Self {
        Self::new(Wanted::Numbers(numbers.into()))
    }

    /// The nearest to the newest sighting of a hash, no sighting of which is among the answers.
    pub fn like(hash_value: impl Into<String>) -> Self {
        Self::new(Wanted::Like(hash_value.into()))
    }

    fn new(target: Wanted) -> Self {
        let (k, mode, timeout) = (DEFAULT_K, Mode::Exact, DEFAULT_TIMEOUT);
        Self { target, model: None, k, mode, filter: Filter::default(), timeout, alone: false, with_embedding: false }
    }

    /// How many are wanted, 1 to [`SEARCH_K_MOST`]. Default: 10.
    pub fn k(self, k: usize) -> Self {
        Self { k, ..self }
    }

    /// Faster, at the price that one as near as the last of the answer is missed with a chance of one in a hundred. Default: exact.
    pub fn fast(self) -> Self {
        Self { mode: Mode::Fast, ..self }
    }

    /// The model of the embedding. Needed only where several have as many dimensions.
    pub fn model(self, model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// Among these records alone.
    pub fn among(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// How long it may take. Default: 5 s; at most a minute. What has been found by then is the answer.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether only what this node holds is looked at, and nobody else is asked. Default: who may hold what is not here is asked.
    pub fn local(self, local: bool) -> Self {
        Self { alone: local, ..self }
    }

    /// The numbers of what is found are told, too.
    pub fn with_embedding(self) -> Self {
        Self { with_embedding: true, ..self }
    }

    fn order(self, view: &View) -> Result<(SearchOrder, bool), SearchError> {
        if !(1..=SEARCH_K_MOST).contains(&self.k) {
            return Err(SearchError::K { given: self.k });
        }
        if !(SEARCH_LEAST..=SEARCH_MOST).contains(&self.timeout) {
            return Err(SearchError::Timeout { given: self.timeout.as_secs_f64() });
        }
        let target = match self.target {
            Wanted::Numbers(numbers) => Target::Numbers(Arc::new(Numbers::new(&numbers)?)),
            Wanted::Like(hash) if (1..=MAX_HASH).contains(&hash.len()) => Target::Like(hash),
            Wanted::Like(hash) => return Err(SearchError::Hash { given: hash.len() }),
        };
        let filter = self.filter.for_core(view)?;
        let Self { model, k, mode, timeout, alone, .. } = self;
        let order = SearchOrder { ticket: Ticket(0), target, model, k, mode, filter, timeout, alone };
        Ok((order, self.with_embedding))
    }
}

impl TryFrom<SearchDoc> for Query {
    type Error = SearchError;

    fn try_from(doc: SearchDoc) -> Result<Self, SearchError> {
        let query = match (doc.embedding, doc.like) {
            (Some(numbers), None) => Self::numbers(numbers),
            (None, Some(hash)) => Self::like(hash),
            (None, None) | (Some(_), Some(_)) => return Err(SearchError::Target),
        };
        let mut filter =
            doc.matching.into_iter().fold(Filter::new(), |filter, (field, pattern)| filter.matching(field, pattern));
        if let Some(kind) = doc.data_type {
            filter = filter.data_type(kind);
        }
        if let Some(node) = doc.node {
            filter = filter.node(node);
        }
        if let Some(since) = doc.since {
            filter = filter.since(since);
        }
        if let Some(until) = doc.until {
            filter = filter.until(until);
        }
        let timeout = match doc.timeout_s {
            Some(given) => Duration::try_from_secs_f64(given).map_err(|_| SearchError::Timeout { given })?,
            None => query.timeout,
        };
        Ok(Self {
            model: doc.model,
            k: doc.k.unwrap_or(query.k),
            mode: if doc.fast { Mode::Fast } else { Mode::Exact },
            filter,
            timeout,
            alone: doc.local,
            with_embedding: doc.with_embedding,
            ..query
        })
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An embedding describes a person: it has no place in a log.
        let mut shown = f.debug_struct("Query");
        match &self.target {
            Wanted::Numbers(numbers) => shown.field("dims", &numbers.len()),
            Wanted::Like(hash) => shown.field("like", hash),
        };
        shown.field("k", &self.k).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Where it is told what a search finds.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Each record as it is found; at most so many as all who are asked may find.
    pub(crate) each: mpsc::UnboundedSender<FoundRow>,
    /// Which of them were told.
    pub(crate) told: BTreeSet<OpId>,
    /// What came of it.
    pub(crate) end: oneshot::Sender<Result<SearchReport, Unsearched>>,
    /// Whether the numbers are told, too.
    pub(crate) with_embedding: bool,
}

impl Mesh {
    /// Looks for the embeddings nearest to one: a stream of what is found, as it is found, and at its end a summary in order.
    ///
    /// ```no_run
    /// # async fn example(mesh: kodikon::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// use kodikon::Query;
    /// let report = mesh.search(Query::like("6c1f").k(3)).await?.summary().await?;
    /// for found in &report.results {
    ///     println!("{:.3} {} seen by {}", found.score, found.record.hash_value, found.record.node_id);
    /// }
    /// println!("{} of {} nodes, certified: {}", report.responded, report.of, report.certified);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [`SearchError`] of what was asked for; what the registry cannot answer [`Search::summary`] says.
    #[doc(alias = "search_query")]
    #[doc(alias = "broadcast_search_query")]
    pub async fn search(&self, query: Query) -> Result<Search, SearchError> {
        let like = match &query.target {
            Wanted::Like(hash) => hash.clone(),
            Wanted::Numbers(_) => String::new(),
        };
        let (order, with_embedding) = query.order(&self.0.board.read())?;
        let (each, found) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let finding = Finding { each, told: BTreeSet::new(), end, with_embedding };
        self.0
            .orders
            .send(Order::Search { order: Box::new(order), finding })
            .await
            .map_err(|_| SearchError::Stopped)?;
        Ok(Search { found, ended, like })
    }
}

/// A search that goes on.
#[derive(Debug)]
pub struct Search {
    found: mpsc::UnboundedReceiver<FoundRow>,
    ended: oneshot::Receiver<Result<SearchReport, Unsearched>>,
    like: String,
}

impl Search {
    /// The next record that may be among the nearest, in the order in which nodes answer; `None` when the search has ended.
    pub async fn next(&mut self) -> Option<FoundRow> {
        self.found.recv().await
    }

    /// What came of it, as soon as all who were asked have answered or the time is over.
    ///
    /// # Errors
    /// [`SearchError::NoSuchHash`], [`SearchError::Unanswerable`], [`SearchError::Busy`], [`SearchError::Stopped`].
    pub async fn summary(self) -> Result<SearchReport, SearchError> {
        match self.ended.await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(Unsearched::NoSuchHash)) => Err(SearchError::NoSuchHash { hash: self.like }),
            Ok(Err(Unsearched::Busy { limit })) => Err(SearchError::Busy { limit }),
            Ok(Err(why @ (Unsearched::Models(_) | Unsearched::Dims { .. }))) => {
                Err(SearchError::Unanswerable { reason: why.to_string() })
            }
            Err(_) => Err(SearchError::Stopped),
        }
    }
}

impl Stream for Search {
    type Item = FoundRow;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FoundRow>> {
        self.found.poll_recv(cx)
    }
}

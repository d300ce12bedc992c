//! Decides what is handed to whoever scans embeddings, and what comes back: all of it shared and unchanging, so that the scan runs
//! beside the loop.

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;

use kodikon_scan::{EntryId, Mode, Query, Search, Snapshot};

use crate::ground::id::NodeId;
use crate::model::entries::{Entries, Entry};
use crate::model::letter::Ticket;
use crate::model::record::Filter;
use crate::model::search::{Found, Score};

/// Names one scan until it is answered. Unique in a process, whatever runs begin in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanId(pub u64);

/// One question of a scan.
#[derive(Debug, Clone)]
pub struct Question {
    /// The search that asks,
    pub ticket: Ticket,
    /// and of which node it is; `None`: of this one.
    pub asker: Option<NodeId>,
    /// To what the nearest are sought.
    pub query: Arc<Query>,
    /// How many are wanted, 1 to [`kodikon_scan::MAX_K`].
    pub k: usize,
    /// How sure the answer is to be.
    pub mode: Mode,
    /// Which model's embeddings are looked at: one, or none where there is none that fits.
    pub models: Vec<String>,
    /// Which records may be in the answer.
    pub filter: Filter,
    /// Who bears the name now that the filter asks for.
    pub named: Vec<NodeId>,
    /// A hash none of whose sightings may be in the answer: the one that others are to be like.
    pub except: Option<String>,
}

impl Question {
    /// Whether any record may be in the answer.
    fn is_open(&self) -> bool {
        self.except.is_none() && self.filter == Filter::default()
    }

    /// Whether a record may be in the answer.
    #[must_use]
    pub fn allows(&self, entry: &Entry) -> bool {
        self.except.as_deref() != Some(entry.hash_value()) && entry.meets(&self.filter, &self.named)
    }
}

/// The embeddings of one space as they are now, and which questions are put to them.
#[derive(Debug, Clone)]
pub struct Stock {
    /// The codes.
    pub snapshot: Snapshot,
    /// The records they are of.
    pub entries: Entries,
    /// Which of the job's questions, ascending.
    pub asked: Vec<usize>,
}

/// Questions to be answered in one pass over what is held; [`ScanJob::run`] does it, and may take its time.
#[derive(Clone)]
pub struct ScanJob {
    /// Which scan.
    pub scan: ScanId,
    /// What is asked.
    pub questions: Vec<Question>,
    /// Where it is looked for.
    pub stocks: Vec<Stock>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nearest {
    /// The nearest first; of equal scores in the order of [`Entry::order`].
    pub found: Vec<Found>,
    /// Whether that is what a scan of all stored numbers gives.
    pub certified: bool,
}

impl ScanJob {
    /// Answers every question, in the order of [`ScanJob::questions`]. The same job has the same answers wherever it is run.
    #[must_use]
    pub fn run(&self) -> Vec<Nearest> {
        let mut nearest = vec![Nearest { found: Vec::new(), certified: true }; self.questions.len()];
        for stock in &self.stocks {
            self.scan(stock, &mut nearest);
        }
        for (nearest, question) in nearest.iter_mut().zip(&self.questions) {
            nearest.found.sort_by(before);
            nearest.found.truncate(question.k);
        }
        nearest
    }

    fn scan(&self, stock: &Stock, nearest: &mut [Nearest]) {
        let entries = &stock.entries;
        let allows = |question: &Question, id: EntryId| entries.get(id).is_some_and(|entry| question.allows(entry));
        let filters: Vec<_> = stock.asked.iter().map(|at| |id| allows(&self.questions[*at], id)).collect();
        let searches = stock.asked.iter().zip(&filters).map(|(at, allow)| {
            let question = &self.questions[*at];
            let search = Search { query: &question.query, k: question.k, mode: question.mode, allow: None };
            if question.is_open() { search } else { search.among(allow) }
        });
        let searches: Vec<Search<'_>> = searches.collect();
        // It is asked only what it can answer: `machines/search.rs` puts a question to spaces of its dimensions alone.
        let answers = stock.snapshot.search(&searches, entries);
        for (at, answer) in stock.asked.iter().zip(answers.into_iter().flatten()) {
            let found = answer.hits.iter().filter_map(|hit| {
                let entry = entries.get(hit.id)?;
                Some(Found { entry: entry.clone(), score: Score(hit.score), lent_ms: None })
            });
            nearest[*at].found.extend(found);
            nearest[*at].certified &= answer.certificate.holds;
        }
    }
}

/// The higher score first; of equals the order of the registry.
#[must_use]
pub fn before(a: &Found, b: &Found) -> Ordering {
    b.score.cmp(&a.score).then_with(|| a.entry.order(&b.entry))
}

impl PartialEq for ScanJob {
    fn eq(&self, other: &Self) -> bool {
        self.scan == other.scan
    }
}

impl Eq for ScanJob {}

impl fmt::Debug for ScanJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanJob")
            .field("scan", &self.scan)
            .field("questions", &self.questions.len())
            .field("stocks", &self.stocks.len())
            .finish()
    }
}

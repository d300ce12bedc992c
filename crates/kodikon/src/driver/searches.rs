//! Decides who is told what a search found: whoever asked, for as long as it listens.

use std::collections::BTreeMap;

use kodikon_core::effect::scan::{Nearest, ScanId, ScanJob};
use kodikon_core::effect::{Command, Input};
use kodikon_core::ground::time::Instant;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::search::{Found, SearchOrder, Searched, Unsearched};

use crate::api::{FoundRow, SearchReport};
use crate::driver::Driver;
use crate::driver::worker::{Job, Worker};
use crate::mesh::{Finding, record_row};

impl Job for ScanJob {
    type Answer = (ScanId, Vec<Nearest>);
    const THREAD: &'static str = "kodikon-scan";
    const WHAT: &'static str = "a search";
    // One at a time, and the next once the core has the answer.
    const WAITING: usize = 1;
    // Somebody waits for it.
    const NICE: i32 = 0;

    fn run(&self) -> Self::Answer {
        (self.scan, Self::run(self))
    }

    /// Not certified. Whoever waits for one that was not carried out learns at its timeout that there was no answer.
    fn given_up(&self) -> Self::Answer {
        (self.scan, vec![Nearest::default(); self.questions.len()])
    }
}

/// The thread that scans, and who waits for what is found; the core refuses more than it has room for.
pub(super) struct Searching {
    worker: Worker<ScanJob>,
    waiting: BTreeMap<Ticket, Finding>,
}

impl Searching {
    /// Begins the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn spawn() -> std::io::Result<Self> {
        Ok(Self { worker: Worker::spawn()?, waiting: BTreeMap::new() })
    }

    /// Wants a scan done.
    pub(super) fn scan(&self, job: ScanJob) {
        self.worker.order(job);
    }

    /// The next answer. Dropping the future loses nothing.
    pub(super) async fn answered(&mut self) -> (ScanId, Vec<Nearest>) {
        self.worker.answered().await
    }

    /// Lets all go who wait: by that they learn that the node has stopped.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Ends the thread once its scan is done.
    pub(super) fn close(&mut self) {
        self.worker.close();
    }
}

impl Driver {
    /// Looks for what is alike; what is found is told to whoever asked.
    pub(super) fn search(&mut self, now: Instant, order: SearchOrder, finding: Finding) {
        if self.leaving.is_some() {
            // Whoever waits learns by this that the node has stopped.
            return;
        }
        let ticket = self.next_ticket();
        self.searching.waiting.insert(ticket, finding);
        self.node.handle(now, Input::Command(Command::Search(SearchOrder { ticket, ..order })));
        self.carry_out();
    }

    /// A scan has been done.
    pub(super) fn take_scanned(&mut self, now: Instant, scan: ScanId, answers: Vec<Nearest>) {
        self.node.handle(now, Input::Scanned { scan, answers });
        self.carry_out();
    }

    /// Some of what a search may find is here already.
    pub(super) fn tell_found(&mut self, now: Instant, ticket: Ticket, found: &[Found]) {
        let Some(Finding { each, told, with_embedding, .. }) = self.searching.waiting.get_mut(&ticket) else { return };
        for found in found {
            let Some(view) = self.node.found_view(now, found) else { continue };
            if told.insert(view.id) {
                // An error means that only the summary is waited for.
                _ = each.send(FoundRow { record: record_row(&view, *with_embedding), score: found.score.0 });
            }
        }
    }

    /// A search has ended. Of what was found that is left out which has been deleted since.
    pub(super) fn end_search(&mut self, now: Instant, ticket: Ticket, outcome: &Result<Searched, Unsearched>) {
        if let Ok(searched) = outcome {
            self.evidence.counts.searches.note(searched.elapsed);
        }
        let Some(Finding { each, end, with_embedding, told }) = self.searching.waiting.remove(&ticket) else { return };
        let report = outcome.as_ref().map_err(Clone::clone).map(|searched| {
            let row = |found: &Found| {
                let view = self.node.found_view(now, found)?;
                Some((view.id, FoundRow { record: record_row(&view, with_embedding), score: found.score.0 }))
            };
            let rows: Vec<(OpId, FoundRow)> = searched.found.iter().filter_map(row).collect();
            for (_, found) in rows.iter().filter(|(id, _)| !told.contains(id)) {
                _ = each.send(found.clone());
            }
            SearchReport {
                results: rows.into_iter().map(|(_, row)| row).collect(),
                responded: searched.responded,
                of: searched.of,
                certified: searched.certified,
                elapsed_ms: searched.elapsed.as_secs_f64() * 1_000.0,
            }
        });
        // An error means that nobody waits any more.
        drop(end.send(report));
    }
}

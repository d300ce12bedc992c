//! Decides whether what a search finds is what a plain scan of all that its node shows would find, in the same order.

use core::cmp::Ordering;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kodikon_core::effect::Event;
use kodikon_core::effect::scan::{Question, ScanId, ScanJob};
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{DTYPE_F16, DTYPE_I8, Embedding, RecordBody, RecordView};
use kodikon_core::model::search::{Found, SearchOrder, Searched, Target};
use kodikon_core::wire::search::HANDED;

use crate::checks::{Check, Watch};
use crate::moment::Moment;

/// A search that takes so much longer than it may has not ended: its clock may run slowly, and its scan takes its time.
const END_MARGIN: Duration = Duration::from_secs(3);

/// What searches that go on must find, and when they must end.
#[derive(Debug, Default)]
pub struct Searches {
    /// By who asks: what those who scanned for it hold.
    due: BTreeMap<(usize, Ticket), Due>,
    /// Which searches of its own a node's scan is for.
    scans: BTreeMap<(usize, ScanId), Vec<Ticket>>,
    ends: BTreeMap<(usize, Ticket), End>,
}

/// When a search ends at the latest.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Moment,
    /// How long its node had been stopped before it began: while it is, nothing ends.
    stopped: Duration,
}

/// What one search must find.
#[derive(Debug, Default)]
struct Due {
    k: usize,
    /// What is here: as of the order, or of the scan here where there was one.
    here: Vec<Near>,
    is_scanned_here: bool,
    /// What a peer held that scanned in the place of this node. If it was scanned for here after all, that was in vain.
    handed: Vec<Near>,
    /// What is elsewhere, by who holds it. A question to all reaches some who were not meant, too.
    elsewhere: BTreeMap<NodeId, Vec<Near>>,
    /// Who was asked: all whom the node showed as present when it had looked here.
    asked: BTreeSet<NodeId>,
}

impl Due {
    /// What those hold who were asked, in the order in which all of it would be found.
    fn all(&self) -> Vec<Near> {
        let asked = self.elsewhere.iter().filter(|(by, _)| self.asked.contains(by));
        let handed = self.handed.iter().filter(|_| !self.is_scanned_here);
        let here = self.here.iter().chain(handed);
        let mut all: Vec<Near> = here.chain(asked.flat_map(|(_, held)| held)).cloned().collect();
        all.sort_by(Near::order);
        all.dedup();
        all
    }
}

/// A record and what it scores.
#[derive(Debug, Clone, PartialEq)]
struct Near {
    id: OpId,
    score: f64,
    hash_value: String,
    source: String,
}

impl Near {
    fn order(&self, other: &Self) -> Ordering {
        let words = |near: &Self| (near.hash_value.clone(), near.source.clone(), near.id);
        let by_score = other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal);
        by_score.then_with(|| words(self).cmp(&words(other)))
    }
}

impl Searches {
    /// A process began, or ended: what it was looking for is of no interest any more.
    pub(super) fn booted(&mut self, node: usize) {
        self.due.retain(|(of, _), _| *of != node);
        self.scans.retain(|(of, _), _| *of != node);
        self.ends.retain(|(of, _), _| *of != node);
    }
}

impl Watch {
    /// A node's application looks for something; this is all that the node shows.
    pub(super) fn expect_end(&mut self, now: Moment, node: usize, (order, shown): (&SearchOrder, &[RecordView])) {
        let stopped = self.letters.stopped_for(now, node);
        self.searches.ends.insert((node, order.ticket), End { at: now + order.timeout + END_MARGIN, stopped });
        // Where nothing has as many dimensions nothing is scanned here, and others are asked at once. What a peer scans in its place must
        // be all that is here now.
        let here = question(order).map(|question| nearest(&question, shown)).unwrap_or_default();
        let due = Due { k: order.k, here, asked: self.views[node].present().collect(), ..Due::default() };
        self.searches.due.insert((node, order.ticket), due);
    }

    /// No search goes on for longer than it may.
    pub(super) fn check_ends(&mut self, now: Moment) {
        let letters = &self.letters;
        let is_late = |(node, _): &(usize, Ticket), end: &mut End| {
            end.at + letters.stopped_for(now, *node).saturating_sub(end.stopped) < now
        };
        let late: Vec<(usize, Ticket)> = self.searches.ends.extract_if(.., is_late).map(|(which, _)| which).collect();
        for (node, ticket) in late {
            self.searches.due.remove(&(node, ticket));
            self.tally.check(now, Check::SearchEnds, false, || format!("node {node} still searches for {ticket:?}"));
        }
    }

    /// A node's embeddings are scanned; this is all that the node shows.
    pub(super) fn expect_nearest(&mut self, node: usize, job: &ScanJob, shown: &[RecordView]) {
        let own = self.truth.nodes[node].id;
        // What a copy keeps to itself under its former identity nobody would take from it, and it is no part of what it is asked for.
        let is_told = |view: &&RecordView| !view.local || view.id.author == own;
        let told: Vec<RecordView> = shown.iter().filter(is_told).cloned().collect();
        for question in &job.questions {
            let Some(asker) = question.asker else {
                if let Some(due) = self.searches.due.get_mut(&(node, question.ticket)) {
                    (due.here, due.is_scanned_here) = (nearest(question, shown), true);
                    self.searches.scans.entry((node, job.scan)).or_default().push(question.ticket);
                }
                continue;
            };
            let Some(asker) = self.truth.holder(&asker) else { continue };
            let ticket = Ticket(question.ticket.0 & !HANDED);
            let is_handed = ticket != question.ticket;
            let Some(due) = self.searches.due.get_mut(&(asker, ticket)) else { continue };
            let near = nearest(question, &told);
            if is_handed {
                self.metrics.count("searches_handed");
                due.handed = near;
            } else {
                due.elsewhere.entry(own).or_default().extend(near);
            }
        }
    }

    /// A node is told what it holds itself of what it looks for, and now asks others.
    pub(super) fn expect_asked(&mut self, node: usize, scan: ScanId) {
        let view = &self.views[node];
        for ticket in self.searches.scans.remove(&(node, scan)).unwrap_or_default() {
            if let Some(due) = self.searches.due.get_mut(&(node, ticket)) {
                due.asked = view.present().collect();
            }
        }
    }

    /// A node tells its application what a search found.
    pub(super) fn hear_of_search(&mut self, now: Moment, node: usize, event: &Event) {
        let Event::Searched { ticket, outcome } = event else { return };
        let due = self.searches.due.remove(&(node, *ticket));
        let is_first = self.searches.ends.remove(&(node, *ticket)).is_some();
        self.tally.check(now, Check::SearchEnds, is_first, || format!("node {node} ends {ticket:?} twice"));
        let Ok(searched) = outcome else {
            self.metrics.count("searches_refused");
            return;
        };
        for found in &searched.found {
            self.check_real(now, node, found);
        }
        // Without an answer in time nothing is claimed.
        if searched.responded == 0 {
            return;
        }
        self.metrics.count(match (searched.found.is_empty(), searched.of, searched.certified) {
            (true, 1, _) => "searches_empty",
            (false, 1, _) => "searches_found",
            (_, _, true) => "searches_by_many",
            (_, _, false) => "searches_uncertified",
        });
        if searched.of > 1 && !searched.certified {
            return;
        }
        if searched.of > 1 {
            self.metrics.sample("search_by_many_ms", searched.elapsed.as_secs_f64() * 1_000.0);
        }
        // Of what was taken back or over meanwhile one of them may know, and another not yet.
        let own = self.truth.nodes[node].id;
        let is_settled =
            |id: &OpId| searched.of == 1 || self.records.lasts(now, id) && self.records.is_asked_for(now, id, &own);
        let settled = |all: &mut dyn Iterator<Item = (OpId, f64)>| -> Vec<(OpId, f64)> {
            all.filter(|(id, _)| is_settled(id)).collect()
        };
        let told = searched.found.iter().map(|found| (OpId::of(found.entry.op()), found.score.0));
        let found = settled(&mut told.into_iter());
        let due = due.map(|due| {
            let (k, all) = (due.k, due.all());
            let mut due = settled(&mut all.iter().map(|near| (near.id, near.score)));
            // What is taken back since may stand in the place of others.
            due.truncate(if searched.found.len() < k || searched.of == 1 { k } else { found.len() });
            due
        });
        let have_all_answered = searched.responded == searched.of;
        let is_so = searched.certified && have_all_answered && due.as_ref().is_some_and(|due| *due == found);
        self.tally.check(now, Check::SearchExact, is_so, || {
            let Searched { certified, responded, of, .. } = searched;
            format!(
                "node {node} finds {found:?}, certified {certified} by {responded} of {of}, where a plain scan finds {due:?}"
            )
        });
    }

    /// Whatever is found was added so by whom it names, and scores what it is said to score.
    fn check_real(&mut self, now: Moment, node: usize, found: &Found) {
        let op = found.entry.op();
        let body: Option<RecordBody> = minicbor::decode(op.body()).ok();
        let is_real = body.as_ref().is_some_and(|body| self.records.was_added(&op.author(), body));
        self.tally.check(now, Check::SearchTrue, is_real, || {
            format!("node {node} finds {:?}, which was not added so", OpId::of(op))
        });
    }
}

/// What an order asks for, where it says of which model.
fn question(order: &SearchOrder) -> Option<Question> {
    let Target::Numbers(query) = &order.target else { return None };
    Some(Question {
        ticket: order.ticket,
        asker: None,
        query: Arc::clone(query),
        k: order.k,
        mode: order.mode,
        models: vec![order.model.clone()?],
        filter: order.filter.clone(),
        named: Vec::new(),
        except: None,
    })
}

/// What a plain scan finds: every score computed in `f64` from what is stored, all of them sorted.
fn nearest(question: &Question, shown: &[RecordView]) -> Vec<Near> {
    let dims = question.query.numbers().len();
    let is_asked =
        |embedding: &Embedding| usize::from(embedding.dims) == dims && question.models.contains(&embedding.model);
    let mut all = Vec::new();
    for view in shown {
        let Some(embedding) = view.body.embedding.as_ref().filter(|embedding| is_asked(embedding)) else { continue };
        if is_wanted(question, view) {
            let score = score(question.query.numbers(), &numbers(embedding));
            let (hash_value, source) = (view.body.hash_value.clone(), view.body.source.clone());
            all.push(Near { id: view.id, score, hash_value, source });
        }
    }
    all
}

/// The filters that this workload sets, read anew.
fn is_wanted(question: &Question, view: &RecordView) -> bool {
    let filter = &question.filter;
    let gates = filter.where_.iter().all(|(_, pattern)| {
        let gate = pattern.trim_end_matches('*');
        view.body.metadata.contains(&format!("\"{gate}"))
    });
    let is_type = filter.data_type.as_ref().is_none_or(|wanted| *wanted == view.body.data_type);
    gates && is_type && filter.reach.admits(view.local) && question.except.as_ref() != Some(&view.body.hash_value)
}

/// The numbers of an embedding as they are stored, exactly.
fn numbers(embedding: &Embedding) -> Vec<f64> {
    let single = |bytes: &[u8]| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match embedding.dtype {
        DTYPE_I8 => {
            let (scale, codes) = embedding.stored.split_at(4);
            codes.iter().map(|code| single(scale) * f64::from(*code as i8)).collect()
        }
        DTYPE_F16 => {
            embedding.stored.chunks_exact(2).map(|bytes| half(u16::from_le_bytes([bytes[0], bytes[1]]))).collect()
        }
        _ => embedding.stored.chunks_exact(4).map(single).collect(),
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1_024.0);
    let magnitude = if exponent == 0 { fraction * 2f64.powi(-14) } else { (1.0 + fraction) * 2f64.powi(exponent - 15) };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The cosine, its sums taken in the order of the numbers (docs/machines/search.md).
fn score(query: &[f32], stored: &[f64]) -> f64 {
    let (mut qv, mut qq, mut vv) = (0.0, 0.0, 0.0);
    for (q, v) in query.iter().map(|q| f64::from(*q)).zip(stored) {
        qv += q * v;
        qq += q * q;
        vv += v * v;
    }
    qv / (qq.sqrt() * vv.sqrt())
}

#[cfg(test)]
mod tests;

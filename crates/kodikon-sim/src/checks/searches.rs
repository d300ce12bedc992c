//! Decides whether what a search finds is what a plain scan of all that its node shows would find, in the same order.

use core::cmp::Ordering;
use std::collections::BTreeMap;

use kodikon_core::effect::Event;
use kodikon_core::effect::scan::{Question, ScanJob};
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{DTYPE_F16, DTYPE_I8, Embedding, RecordView};

use crate::checks::{Check, Watch};
use crate::moment::Moment;

/// What searches that go on must find.
#[derive(Debug, Default)]
pub struct Searches {
    due: BTreeMap<(usize, Ticket), Vec<(OpId, f64)>>,
}

impl Searches {
    /// A process began, or ended: what it was looking for is of no interest any more.
    pub(super) fn booted(&mut self, node: usize) {
        self.due.retain(|(of, _), _| *of != node);
    }
}

impl Watch {
    /// A node's embeddings are scanned; this is all that the node shows.
    pub(super) fn expect_nearest(&mut self, node: usize, job: &ScanJob, shown: &[RecordView]) {
        for question in &job.questions {
            self.searches.due.insert((node, question.ticket), nearest(question, shown));
        }
    }

    /// A node tells its application what a search found.
    pub(super) fn hear_of_search(&mut self, now: Moment, node: usize, event: &Event) {
        let Event::Searched { ticket, outcome } = event else { return };
        let due = self.searches.due.remove(&(node, *ticket));
        let Ok(searched) = outcome else {
            self.metrics.count("searches_refused");
            return;
        };
        // Without an answer in time nothing is claimed.
        if searched.responded == 0 {
            return;
        }
        let found: Vec<(OpId, f64)> =
            searched.found.iter().map(|found| (OpId::of(found.entry.op()), found.score.0)).collect();
        self.metrics.count(if found.is_empty() { "searches_empty" } else { "searches_found" });
        let is_so = searched.certified && due.as_ref().is_some_and(|due| *due == found);
        self.tally.check(now, Check::SearchExact, is_so, || {
            let certified = searched.certified;
            format!("node {node} finds {found:?}, certified {certified}, where a plain scan finds {due:?}")
        });
    }
}

/// What a plain scan finds: every score computed in `f64` from what is stored, all of them sorted.
fn nearest(question: &Question, shown: &[RecordView]) -> Vec<(OpId, f64)> {
    let dims = question.query.numbers().len();
    let is_asked =
        |embedding: &Embedding| usize::from(embedding.dims) == dims && question.models.contains(&embedding.model);
    let mut all: Vec<(f64, &RecordView)> = Vec::new();
    for view in shown {
        let Some(embedding) = view.body.embedding.as_ref().filter(|embedding| is_asked(embedding)) else { continue };
        if is_wanted(question, view) {
            all.push((score(question.query.numbers(), &numbers(embedding)), view));
        }
    }
    all.sort_by(|(a, one), (b, other)| {
        let words = |view: &RecordView| (view.body.hash_value.clone(), view.body.source.clone(), view.id);
        b.partial_cmp(a).unwrap_or(Ordering::Equal).then_with(|| words(one).cmp(&words(other)))
    });
    all.into_iter().take(question.k).map(|(score, view)| (view.id, score)).collect()
}

/// The filters that this workload sets, read anew.
fn is_wanted(question: &Question, view: &RecordView) -> bool {
    let filter = &question.filter;
    let gates = filter.where_.iter().all(|(_, pattern)| {
        let gate = pattern.trim_end_matches('*');
        view.body.metadata.contains(&format!("\"{gate}"))
    });
    let is_type = filter.data_type.as_ref().is_none_or(|wanted| *wanted == view.body.data_type);
    gates && is_type && question.except.as_ref() != Some(&view.body.hash_value)
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
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_as_the_standard_has_them() {
        for (bits, expected) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3000, 0.125),
            (0x0001, 2f64.powi(-24)),
            (0x7bff, 65_504.0),
            (0x0400, 2f64.powi(-14)),
        ] {
            assert_eq!(half(bits), expected, "{bits:04x}");
        }
    }

    #[test]
    fn a_score_is_the_cosine() {
        assert_eq!(score(&[3.0, 4.0], &[3.0, 4.0]), 1.0);
        assert_eq!(score(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(score(&[1.0, 0.0], &[-2.0, 0.0]), -1.0);
    }
}

//! Decides how many numbers are told in few words: casts of one run as intervals, within what a datagram holds.

use std::collections::BTreeSet;

use crate::ground::id::{Epoch, NodeId};
use crate::model::cast::CastId;
use crate::wire::cast::MAX_RANGES;
use crate::wire::cover::{Cover, Interval};

/// All these casts, as covers of at most [`MAX_RANGES`] intervals each: a run that needs more has several.
pub(super) fn told(ids: &BTreeSet<CastId>) -> Vec<Cover> {
    let mut covers: Vec<Cover> = Vec::new();
    for id in ids {
        let number = id.number;
        let last =
            covers.last_mut().filter(|cover| (NodeId(cover.author), Epoch(cover.epoch)) == (id.origin, id.epoch));
        match last {
            Some(cover) => {
                let is_full = cover.intervals.len() == MAX_RANGES;
                match cover.intervals.last_mut().filter(|held| held.last.checked_add(1) == Some(number)) {
                    Some(held) => held.last = number,
                    None if is_full => covers.push(cover_of(id)),
                    None => cover.intervals.push(Interval { first: number, last: number }),
                }
            }
            None => covers.push(cover_of(id)),
        }
    }
    covers
}

fn cover_of(id: &CastId) -> Cover {
    let interval = Interval { first: id.number, last: id.number };
    Cover { author: id.origin.0, epoch: id.epoch.0, intervals: vec![interval] }
}

/// The run that a cover speaks of.
pub(super) fn run_of(cover: &Cover) -> (NodeId, Epoch) {
    (NodeId(cover.author), Epoch(cover.epoch))
}

/// Whether a cover names a number.
pub(super) fn names(cover: &Cover, number: u64) -> bool {
    cover.intervals.iter().any(|interval| (interval.first..=interval.last).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_interval_and_a_run_with_many_gaps_has_several_covers() {
        let id = |origin: u8, number| CastId { origin: NodeId([origin; 16]), epoch: Epoch(1), number };
        let ids = [1, 2, 3, 7, 9, 11, 13, 14].map(|number| id(1, number)).into_iter().chain([id(2, 1)]).collect();
        let covers = told(&ids);
        let spans: Vec<(u8, Vec<(u64, u64)>)> = covers
            .iter()
            .map(|cover| (cover.author[0], cover.intervals.iter().map(|held| (held.first, held.last)).collect()))
            .collect();
        assert_eq!(spans, [(1, vec![(1, 3), (7, 7), (9, 9), (11, 11)]), (1, vec![(13, 14)]), (2, vec![(1, 1)]),]);
        let named: Vec<u64> = (0..20).filter(|number| names(&covers[0], *number)).collect();
        assert_eq!(named, [1, 2, 3, 7, 9, 11]);
    }
}

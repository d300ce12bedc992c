//! Decides who is asked by which interface before it is no neighbour there, though it is heard elsewhere.

use crate::effect::context::Context;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::routing::own::arrivals;
use crate::machines::routing::place_of;
use crate::model::member::Liveness;

/// A neighbour by an interface where it soon was not heard for the hard bound is asked so many times before that,
const TURNS: u32 = 6;
/// in turns of a thirtieth of the bound, a second of half a minute: where a fifth is lost each way all six fail with 0.002, and six beacons
/// in a row are lost with 0.00006, which is once a day between two neighbours.
const PARTS: u32 = 30;
/// So many are asked a second on the average, in turn: an interface that hears nothing any more makes a crowd of them.
const MAX_RATE: u32 = 32;

/// Turns of questions, and whose the next one is.
#[derive(Debug)]
pub(super) struct Fading {
    me: NodeId,
    /// When the next turn is; none where nobody fades, as far as was seen.
    at: Option<Instant>,
    /// When the last one was.
    turned: Instant,
    /// Who was asked last: those behind it come first.
    last: (NodeId, InterfaceIndex),
}

impl Fading {
    pub(super) fn new(me: NodeId) -> Self {
        // All who heard a beacon last ask its author at once where no other comes: not all of them the same ones first.
        Self { me, at: None, turned: Instant::ZERO, last: (me, InterfaceIndex(0)) }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Nobody needs to know who is heard where.
    pub(super) fn rest(&mut self) {
        self.at = None;
    }

    /// Looks when the next turn is.
    pub(super) fn plan(&mut self, now: Instant, ctx: &Context) {
        let bound = ctx.hard_bound();
        self.at = heard_elsewhere(now, ctx)
            .filter_map(|(_, _, heard)| self.next_turn(heard, bound))
            .filter(|(_, end)| now < *end)
            .map(|(at, _)| at)
            .min();
    }

    /// Those to be asked now, and where. Nobody asks them otherwise.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &Context) -> Vec<(NodeId, InterfaceIndex)> {
        if self.at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let bound = ctx.hard_bound();
        let is_due = |heard: Instant| self.next_turn(heard, bound).is_some_and(|(at, end)| at <= now && now < end);
        let due = heard_elsewhere(now, ctx).filter(|(_, _, heard)| is_due(*heard)).map(|(id, index, _)| (id, index));
        let mut due: Vec<(NodeId, InterfaceIndex)> = due.collect();
        due.sort_unstable();
        let behind = due.partition_point(|asked| *asked <= self.last);
        due.rotate_left(behind);
        due.truncate(most(bound / PARTS));
        self.last = due.last().copied().unwrap_or(self.last);
        self.turned = now;
        self.plan(now, ctx);
        due
    }

    /// When whoever was heard last at that time is to be asked next, and until when; `None` if it is not.
    fn next_turn(&self, heard: Instant, bound: Duration) -> Option<(Instant, Instant)> {
        let turn = bound / PARTS;
        // Up to a turn later than another node: those who are asked answer all of them.
        let phase = turn * u32::from(self.me.0[0]) / 256;
        let begin = heard + bound.saturating_sub(turn * (TURNS + 1)) + phase;
        let (at, end) = (begin.max(self.turned + turn), begin + turn * TURNS);
        (at < end).then_some((at, end))
    }
}

/// How many may be asked in one turn.
fn most(turn: Duration) -> usize {
    usize::try_from(turn.as_millis() * u128::from(MAX_RATE) / 1_000).unwrap_or(usize::MAX).max(1)
}

/// Live neighbours that were heard lately, by each interface that heard them once and reaches them, and when it did last.
fn heard_elsewhere(now: Instant, ctx: &Context) -> impl Iterator<Item = (NodeId, InterfaceIndex, Instant)> + '_ {
    let window = ctx.hearing();
    let near =
        ctx.roster.near().filter(move |(_, peer)| peer.liveness == Liveness::Alive && peer.silence(now) < window);
    near.flat_map(|(id, peer)| {
        ctx.interfaces.iter().filter_map(|interface| {
            let there = arrivals(peer).filter(|(index, _)| *index == interface.index).map(|(_, at)| at);
            let is_reached = |_: &Instant| place_of(id, interface.index, ctx).is_some();
            there.max().filter(is_reached).map(|at| (*id, interface.index, at))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn whoever_fades_has_six_turns_a_thirtieth_of_the_bound_apart_and_by_node_they_begin_up_to_one_later() {
        let fading = |first: u8, turned: u64| {
            let mut fading = Fading::new(NodeId([first; 16]));
            fading.turned = at(turned);
            fading
        };
        // (first byte of the own id, when it was heard, when the last turn was, the next one)
        let table = [
            (0, 0, 0, Some((23_000, 29_000))),
            (128, 0, 0, Some((23_500, 29_500))),
            (255, 0, 0, Some((23_996, 29_996))),
            (0, 10_000, 0, Some((33_000, 39_000))),
            (0, 0, 22_500, Some((23_500, 29_000))),
            (0, 0, 27_999, Some((28_999, 29_000))),
            (0, 0, 28_000, None),
        ];
        for (first, heard, turned, expected) in table {
            let next = fading(first, turned).next_turn(at(heard), BOUND);
            let whole = next.map(|(next, end)| [next, end].map(|at| at.as_nanos() / 1_000_000));
            assert_eq!(whole, expected.map(|(next, end)| [next, end]), "{first} {heard} {turned}");
        }
    }

    #[test]
    fn as_many_are_asked_in_a_turn_as_is_its_share_of_a_second() {
        let most = |ms: u64| most(Duration::from_millis(ms));
        assert_eq!([0, 67, 1_000, 10_000].map(most), [1, 2, 32, 320]);
    }
}

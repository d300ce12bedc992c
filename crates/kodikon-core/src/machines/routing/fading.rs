//! Decides who is asked by which interface before it is no neighbour there, though it is heard elsewhere.

use crate::effect::context::Context;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::Instant;
use crate::machines::routing::own::arrivals;
use crate::machines::routing::place_of;
use crate::model::member::Liveness;

/// A neighbour by an interface where it soon was not heard for the hard bound is asked so many times before that,
const TURNS: u32 = 6;
/// in turns of a thirtieth of the bound, a second of half a minute: where a fifth is lost each way all six fail with 0.002, and six beacons
/// in a row are lost with 0.00006, which is once a day between two neighbours.
const PARTS: u32 = 30;
/// So many are asked in one turn, and the others in the next ones: an interface that hears nothing any more would have hundreds.
const MAX_ASKED: usize = 32;

/// Turns, and whose it is.
#[derive(Debug)]
pub(super) struct Fading {
    at: Instant,
    /// Who was asked last: those behind it come first.
    last: (NodeId, InterfaceIndex),
}

impl Fading {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, last: (NodeId::default(), InterfaceIndex(0)) }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.at
    }

    /// Those to be asked now, and where. Nobody asks them otherwise.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &Context) -> Vec<(NodeId, InterfaceIndex)> {
        if now < self.at {
            return Vec::new();
        }
        let turn = ctx.hard_bound() / PARTS;
        // The first turn of whoever begins between two comes up to one late.
        let lead = turn * (TURNS + 1);
        let patience = ctx.hard_bound().saturating_sub(lead);
        let mut due = Vec::new();
        let mut next = now + patience;
        for (id, index, heard) in heard_elsewhere(now, ctx) {
            let begin = heard + patience;
            if now < begin {
                next = next.min(begin);
            } else if now < begin + lead && place_of(&id, index, ctx).is_some() {
                due.push((id, index));
            }
        }
        self.at = if due.is_empty() { next.max(now + turn) } else { now + turn };
        due.sort_unstable();
        let behind = due.partition_point(|asked| *asked <= self.last);
        due.rotate_left(behind);
        due.truncate(MAX_ASKED);
        self.last = due.last().copied().unwrap_or(self.last);
        due
    }
}

/// Live neighbours that were heard lately, by each interface that heard them once, and when it did last.
fn heard_elsewhere(now: Instant, ctx: &Context) -> impl Iterator<Item = (NodeId, InterfaceIndex, Instant)> + '_ {
    let window = ctx.hearing();
    let near =
        ctx.roster.near().filter(move |(_, peer)| peer.liveness == Liveness::Alive && peer.silence(now) < window);
    near.flat_map(|(id, peer)| {
        ctx.interfaces.iter().filter_map(|interface| {
            let there = arrivals(peer).filter(|(index, _)| *index == interface.index).map(|(_, at)| at);
            there.max().map(|at| (*id, interface.index, at))
        })
    })
}

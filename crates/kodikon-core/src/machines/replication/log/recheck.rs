//! Decides when what was read from the disk is checked against its author's signature again: after each start, a few at a time, beside the
//! loop. A disk may give back other bytes than it was given, and a data directory may be anybody's.

use crate::effect::Output;
use crate::effect::check::{CheckId, CheckJob};
use crate::effect::context::Context;
use crate::ground::id::Seq;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::Held;
use crate::model::op::{OpId, OpLane};

/// Not before the node has met others.
const AFTER_START: Duration = Duration::from_secs(2);
/// Between two portions: a hundred thousand ops take a minute, at a twentieth of a core.
const PAUSE: Duration = Duration::from_millis(20);
/// Ops looked at for one portion.
const PORTION: usize = 32;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    /// From which op on; of those that stay on this node.
    next: OpId,
    next_local: OpId,
    /// When the next portion is asked for; `None`: one is on its way, or all are checked.
    due: Option<Instant>,
    asked: Option<(CheckId, Vec<OpId>)>,
}

impl Recheck {
    /// There are rows that a disk held.
    pub(super) fn begin(&mut self, now: Instant) {
        self.due = Some(now + AFTER_START);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Log {
    /// Asks for the next portion if it is time.
    pub(super) fn recheck(&mut self, now: Instant, ctx: &mut Context) {
        if self.recheck.due.is_none_or(|due| now < due) {
            return;
        }
        self.recheck.due = None;
        let mut looked_at = self.next_of_lanes();
        if looked_at.is_empty() {
            let mine = |held: &Held| (held.op.author() == ctx.me.id).then(|| ctx.me.identity.public_key());
            looked_at =
                self.local.from(&self.recheck.next_local).take(PORTION).map(|held| (held, mine(held))).collect();
        }
        let Some((last, _)) = looked_at.last() else { return };
        let OpId { author, epoch, seq } = OpId::of(&last.op);
        let is_local = last.op.lane() == OpLane::Local;
        // What came since was checked when it came.
        let rested = looked_at.into_iter().filter(|(held, _)| held.rested);
        let ops: Vec<_> = rested.filter_map(|(held, key)| Some((held.op.clone(), key?))).collect();
        let next = if is_local { &mut self.recheck.next_local } else { &mut self.recheck.next };
        *next = OpId { author, epoch, seq: Seq(seq.0.saturating_add(1)) };
        if ops.is_empty() {
            self.recheck.due = Some(now + PAUSE);
            return;
        }
        let check = self.bulk.checking.number();
        self.recheck.asked = Some((check, ops.iter().map(|(op, _)| OpId::of(op)).collect()));
        ctx.out.output(Output::Check(CheckJob { check, mesh: ctx.mesh, ops }));
    }

    fn next_of_lanes(&self) -> Vec<(&Held, Option<[u8; 32]>)> {
        let (from, mut found) = (self.recheck.next, Vec::new());
        for (run, lane) in self.lanes.range((from.author, from.epoch)..) {
            let first = if *run == (from.author, from.epoch) { from.seq.0 } else { 0 };
            let next = lane.first_from(first, PORTION - found.len());
            found.extend(next.into_iter().map(|held| (held, Some(lane.key))));
            if found.len() == PORTION {
                break;
            }
        }
        found
    }

    /// A portion is answered for, if it is one of these.
    pub(super) fn on_rechecked(&mut self, now: Instant, (check, holds): (CheckId, &[bool]), ctx: &mut Context) -> bool {
        let Some((_, ids)) = self.recheck.asked.take_if(|(asked, _)| *asked == check) else { return false };
        ctx.stats.signatures_checked += ids.len() as u64;
        let answers = ids.into_iter().zip(holds.iter().copied());
        let rotten: Vec<OpId> = answers.filter(|(_, holds)| !holds).map(|(id, _)| id).collect();
        if !rotten.is_empty() {
            self.lose(now, &rotten, ctx);
        }
        self.recheck.due = Some(now + PAUSE);
        true
    }
}

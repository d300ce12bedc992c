//! Decides in which portions the signatures of what a pipe brings are checked beside the loop.

use std::collections::{BTreeMap, VecDeque};

use crate::effect::Output;
use crate::effect::check::{CheckId, CheckJob};
use crate::effect::context::Context;
use crate::ground::id::NodeId;
use crate::model::logged::LogBody;
use crate::model::op::SignedOp;

/// Ops of one portion: what is placed in one turn when they are answered for, in a millisecond; fewer would make two threads wake each
/// other more often than it is worth.
const PORTION: usize = 32;
/// Portions on their way: one is checked, one is next, and one is answered for.
const MAX_JOBS: usize = 3;

/// Ops that a pipe brought and that are not placed yet. Their bytes are bounded by what the pipe may bring.
#[derive(Debug, Default)]
pub(super) struct Checking {
    waiting: VecDeque<Unchecked>,
    jobs: BTreeMap<CheckId, Vec<Unchecked>>,
    bytes: u64,
    last: u64,
}

/// An op that is wanted here if its signature holds.
#[derive(Debug)]
pub(super) struct Unchecked {
    pub(super) from: NodeId,
    pub(super) op: SignedOp,
    pub(super) body: LogBody,
    pub(super) key: [u8; 32],
    pub(super) born_ms: i64,
    pub(super) rested: bool,
}

impl Checking {
    /// Takes in one more; [`Checking::go_on`] asks for what there is.
    pub(super) fn add(&mut self, unchecked: Unchecked) {
        self.bytes += unchecked.op.wire_len() as u64;
        self.waiting.push_back(unchecked);
    }

    /// The last portion that was asked for.
    pub(super) fn last(&self) -> CheckId {
        CheckId(self.last)
    }

    /// Portions are numbered after this one.
    pub(super) fn number_from(&mut self, last: CheckId) {
        self.last = last.0;
    }

    /// The number of the next portion that is asked for, whosever it is.
    pub(super) fn number(&mut self) -> CheckId {
        self.last += 1;
        CheckId(self.last)
    }

    /// Asks for as many checks as may be on their way.
    pub(super) fn go_on(&mut self, ctx: &mut Context) {
        while !self.waiting.is_empty() && self.jobs.len() < MAX_JOBS {
            let portion: Vec<Unchecked> = self.waiting.drain(..PORTION.min(self.waiting.len())).collect();
            let check = self.number();
            let ops = portion.iter().map(|unchecked| (unchecked.op.clone(), unchecked.key)).collect();
            self.jobs.insert(check, portion);
            ctx.out.output(Output::Check(CheckJob { check, mesh: ctx.mesh, ops }));
        }
    }

    /// A portion is answered for.
    pub(super) fn take(&mut self, check: CheckId) -> Vec<Unchecked> {
        let portion = self.jobs.remove(&check).unwrap_or_default();
        self.bytes -= portion.iter().map(|unchecked| unchecked.op.wire_len() as u64).sum::<u64>();
        portion
    }

    /// Bytes of the ops that are not placed yet.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

//! Decides how many signatures one sender may make us check: what it passes on is its own affair, not the author's.

use crate::effect::context::Context;
use crate::ground::bounded::TokenBucket;
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excess;
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::table::IdTable;
use crate::ground::time::Instant;
use crate::model::op::SignedOp;

/// Checks a second for one sender, a tenth of a core; and at once: cards and states of a thousand nodes, which one peer
/// tells a newcomer.
const RATE: u32 = 2_000;
const BURST: u32 = 6_000;
/// Checks a second of what this node asked for, which comes no faster than it is taken: half a core.
const PULLED_RATE: u32 = 10_000;
/// What a signature that does not hold costs besides: an honest sender checked it before it passed it on.
const FAULT: u32 = 20;
/// The first check of a card of somebody unknown: the 1,000 a second that all vouchers share are not for one of them.
pub(super) const INTRODUCTION: u32 = 4;

/// What each sender may still have checked.
#[derive(Debug)]
pub(super) struct Checks {
    /// One for each present peer.
    senders: IdTable<NodeId, TokenBucket>,
    /// What may still be checked of what was asked for, whoever answers.
    pulled: TokenBucket,
    /// All whose session is placed and who are not present.
    others: TokenBucket,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self {
            senders: IdTable::new(MAX_PEERS),
            pulled: TokenBucket::new(PULLED_RATE, PULLED_RATE),
            others: TokenBucket::new(RATE, BURST),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.senders.len()
    }

    pub(super) fn forget(&mut self, sender: &NodeId) {
        self.senders.remove(sender);
    }

    /// Whether this many checks more are done for a sender.
    pub(super) fn take(&mut self, now: Instant, sender: NodeId, count: u32, ctx: &Context) -> bool {
        self.bucket(sender, ctx).take(now, count)
    }

    /// What a sender passed on was not its author's.
    fn fault(&mut self, now: Instant, sender: NodeId, ctx: &Context) {
        self.bucket(sender, ctx).drain(now, FAULT);
    }

    /// Checks an op's signature at the expense of who passed it on.
    pub(super) fn is_signed(
        &mut self,
        now: Instant,
        from: NodeId,
        (op, key): (&SignedOp, &[u8; 32]),
        ctx: &mut Context,
    ) -> bool {
        let may = self.take(now, from, 1, ctx);
        let holds = holds(may, from, (op, key), ctx);
        if may && !holds {
            self.fault(now, from, ctx);
        }
        holds
    }

    /// Checks an op's signature that was asked for: what is false costs as much as any.
    pub(super) fn is_pulled_signed(
        &mut self,
        now: Instant,
        from: NodeId,
        (op, key): (&SignedOp, &[u8; 32]),
        ctx: &mut Context,
    ) -> bool {
        let may = self.pulled.take(now, 1);
        let holds = holds(may, from, (op, key), ctx);
        if may && !holds {
            self.pulled.drain(now, FAULT);
        }
        holds
    }

    fn bucket(&mut self, sender: NodeId, ctx: &Context) -> &mut TokenBucket {
        let is_present = ctx.roster.get(&sender).is_some_and(|peer| peer.liveness.is_present());
        let make = || TokenBucket::new(RATE, BURST);
        let own = if is_present { self.senders.get_or_insert_with(sender, make) } else { None };
        own.unwrap_or(&mut self.others)
    }
}

/// Whether a check may be done and the signature holds; a false one is its bringer's fault.
fn holds(may: bool, from: NodeId, (op, key): (&SignedOp, &[u8; 32]), ctx: &mut Context) -> bool {
    if !may {
        ctx.stats.drop(Reject::Budget);
        return false;
    }
    let holds = ctx.verify_op(op, key);
    if !holds {
        ctx.offenders.note(&from, Excess::Forgeries);
        ctx.stats.drop(Reject::Signature);
    }
    holds
}

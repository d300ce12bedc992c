//! Decides when an order to add or delete is answered: when the disk has answered for all of its parts.

use std::collections::BTreeMap;

use crate::effect::Event;
use crate::effect::context::Context;
use crate::ground::bounded::TokenBucket;
use crate::ground::time::Instant;
use crate::machines::replication::log::{RECORD_BURST, RECORD_RATE};
use crate::model::letter::Ticket;
use crate::model::op::OpId;
use crate::model::record::{DISK_FAILS, Stored};

/// Orders of the application that the disk has not answered.
#[derive(Debug)]
pub(super) struct Orders {
    open: BTreeMap<Ticket, Open>,
    /// What is to go that never left this node, and who ordered that.
    pub(super) removing: BTreeMap<OpId, Vec<Ticket>>,
    /// What this node may push.
    push: TokenBucket,
}

#[derive(Debug)]
struct Open {
    /// Ops that the disk has not answered for.
    left: usize,
    ids: Vec<OpId>,
    durable: bool,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self { open: BTreeMap::new(), removing: BTreeMap::new(), push: TokenBucket::new(RECORD_RATE, RECORD_BURST) }
    }

    /// Whether one more may be told at once.
    pub(super) fn may_push(&mut self, now: Instant) -> bool {
        self.push.take(now, 1)
    }

    /// The disk has answered for a part of an order; the last one answers the order.
    pub(super) fn done(&mut self, ticket: Ticket, durable: bool, ctx: &mut Context) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        open.left = open.left.saturating_sub(1);
        open.durable &= durable;
        if open.left == 0
            && let Some(Open { ids, durable, .. }) = self.open.remove(&ticket)
        {
            ctx.out.event(Event::Stored { ticket, outcome: Stored::Done { ids, durable } });
        }
    }

    /// An order of so many parts waits; its answer names these.
    pub(super) fn open(&mut self, ticket: Ticket, left: usize, ids: Vec<OpId>) {
        self.open.insert(ticket, Open { left, ids, durable: true });
    }

    /// The disk fails: the order is refused.
    pub(super) fn refuse(&mut self, ticket: Ticket, ctx: &mut Context) {
        if self.open.remove(&ticket).is_some() {
            ctx.stats.records_refused += 1;
            ctx.out.event(Event::Stored { ticket, outcome: Stored::Refused { reason: DISK_FAILS } });
        }
    }
}

//! Decides how this node's own sightings and deletes enter the log: told only when they are on disk, and refused where the disk fails.

use std::collections::BTreeSet;

use crate::effect::context::Context;
use crate::ground::id::Seq;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::Held;
use crate::machines::replication::log::own::{Said, Waiting};
use crate::model::letter::Ticket;
use crate::model::logged::{LogBody, content_digest};
use crate::model::op::{OpId, OpKind, OpLane, SignedOp, Statement};
use crate::model::record::DISK_FAILS;

/// Sightings and deletes that wait for the disk at most: two transactions of 512, one on its way and one behind it.
pub(super) const MAX_WAITING_RECORDS: usize = 1_024;

/// What an order comes to.
#[derive(Debug)]
pub struct Wanted {
    /// What is said: kind and body of each op.
    pub says: Vec<(OpKind, Vec<u8>)>,
    /// What is to go that never left this node.
    pub removes: Vec<OpId>,
    /// What the answer names; empty: the ops themselves.
    pub names: Vec<OpId>,
}

impl Log {
    /// Takes an order: all of it is numbered and waits for the disk, or nothing is done.
    ///
    /// # Errors
    /// Why nothing was done, in words for people.
    pub(in crate::machines::replication) fn order(
        &mut self,
        now: Instant,
        ticket: Ticket,
        (wanted, lamport): (Wanted, u64),
        ctx: &mut Context,
    ) -> Result<(), &'static str> {
        if self.keep.is_failing() {
            return Err(DISK_FAILS);
        }
        if self.own.waiting_records() + wanted.says.len() > MAX_WAITING_RECORDS {
            return Err("as much waits for the disk as may: ask again when it has answered");
        }
        let mut ids = Vec::with_capacity(wanted.says.len());
        let left = wanted.says.len() + wanted.removes.len();
        for (kind, body) in wanted.says {
            ids.push(self.number(now, (kind, body, lamport), ticket, ctx).ok_or("no room in the log")?);
        }
        for id in wanted.removes {
            self.own.orders.removing.entry(id).or_default().push(ticket);
            self.keep.owe_removal(id);
        }
        let ids = if wanted.names.is_empty() { ids } else { wanted.names };
        self.own.orders.open(ticket, left, ids);
        Ok(())
    }

    fn number(
        &mut self,
        now: Instant,
        (kind, body, lamport): (OpKind, Vec<u8>, u64),
        ticket: Ticket,
        ctx: &mut Context,
    ) -> Option<OpId> {
        let (me, epoch) = (ctx.me.id, ctx.me.epoch);
        let is_local = kind.lane() == OpLane::Local;
        let seq = Seq(if is_local { self.local.next() } else { self.own.last + 1 });
        let statement = Statement { kind, key: Vec::new(), body, lamport, wall: ctx.wall(now) };
        let op = SignedOp::sign(&ctx.me.identity, ctx.mesh, epoch, seq, statement);
        let id = OpId::of(&op);
        let (body, digest) = (LogBody::parse(&op)?, content_digest(&op));
        if !is_local {
            if !self.open_lane(&id, ctx.me.identity.public_key(), ctx) {
                return None;
            }
            if !self.lanes.get_mut(&(me, epoch)).is_some_and(|lane| lane.cover_one(seq)) {
                return None;
            }
            self.own.last = seq.0;
        }
        let held = Held::new((op, digest), &body, (self.clock(now), false));
        self.own.records.insert(id, Waiting { since: now, held, body, says: Said::Records(ticket) });
        self.keep.owe_row(id);
        Some(id)
    }

    /// What never left this node is gone from its disk.
    pub(super) fn removed_own(&mut self, removed: &BTreeSet<OpId>, durable: bool, ctx: &mut Context) {
        if self.own.orders.removing.is_empty() {
            return;
        }
        for id in removed {
            if let Some(tickets) = self.own.orders.removing.remove(id) {
                self.forget(id, ctx);
                tickets.into_iter().for_each(|ticket| self.own.orders.done(ticket, durable, ctx));
            }
        }
    }

    /// This run ends: what is to be removed from the disk goes from what is held, and the disk is asked a last time.
    pub(super) fn end_orders(&mut self, ctx: &mut Context) {
        for (id, tickets) in std::mem::take(&mut self.own.orders.removing) {
            self.forget(&id, ctx);
            tickets.into_iter().for_each(|ticket| self.own.orders.done(ticket, false, ctx));
        }
    }

    /// The disk fails: what is owed of the application's orders is not written, and they are refused.
    pub(super) fn refuse_owed(&mut self, ctx: &mut Context) {
        let owed: Vec<(OpId, Ticket)> = self
            .own
            .records
            .iter()
            .filter(|(id, _)| self.keep.owes(id))
            .filter_map(
                |(id, waiting)| {
                    if let Said::Records(ticket) = waiting.says { Some((*id, ticket)) } else { None }
                },
            )
            .collect();
        for (id, ticket) in owed {
            self.own.records.remove(&id);
            self.keep.forget(&id);
            self.own.orders.refuse(ticket, ctx);
        }
        let removals: Vec<OpId> = self.own.orders.removing.keys().filter(|id| self.keep.owes(id)).copied().collect();
        for id in removals {
            let tickets = self.own.orders.removing.remove(&id).unwrap_or_default();
            self.keep.forget(&id);
            tickets.into_iter().for_each(|ticket| self.own.orders.refuse(ticket, ctx));
        }
    }

    /// Ops that say nothing any more: others take their place, or took them back. They stay covered, and do not come back.
    pub(in crate::machines::replication) fn spend(&mut self, now: Instant, ids: &[OpId], ctx: &mut Context) {
        for id in ids {
            if self.release(id) {
                self.keep.owe_removal_soon(now, *id, &mut ctx.random);
            }
        }
    }

    /// How long an op lasts yet, and whether it is on disk.
    #[must_use]
    pub fn standing(&self, now: Instant, id: &OpId) -> Option<(Duration, bool)> {
        let lane = || self.lanes.get(&(id.author, id.epoch))?.get(id.seq);
        let held = self.local.get(id).or_else(lane)?;
        Some((self.moment(held.over_ms()).since(now), self.is_kept(id)))
    }
}

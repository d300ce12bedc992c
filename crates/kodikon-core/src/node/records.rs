//! Decides, where registry and log meet, what an order to add or delete becomes, and how a sighting is shown.

use crate::effect::Event;
use crate::ground::config::Deletes;
use crate::ground::id::NodeId;
use crate::ground::time::{Instant, millis};
use crate::machines::registry::{Deletion, Looked, seen_at};
use crate::machines::replication::log::Wanted;
use crate::model::letter::Ticket;
use crate::model::logged::{LogBody, Logged};
use crate::model::op::{OpId, OpKind, OpLane, SignedOp};
use crate::model::record::{
    Cursor, DeleteOrder, Filter, Page, RecordBody, RecordOrder, RecordView, RegistryView, Sighting, Stored,
};
use crate::node::Node;

impl Node {
    /// The application wants a sighting added.
    pub(super) fn add_record(&mut self, now: Instant, order: RecordOrder) {
        let RecordOrder { ticket, record } = order;
        if record.check().is_err() {
            return self.answer(ticket, Stored::Refused { reason: "a field is beyond its limit" });
        }
        let mut body = record.body(&self.name());
        if let Some(id) = record.replaces {
            let first = self.registry.first_of(&id, &record.hash_value, record.local);
            let Some(Sighting(first)) = first.filter(|_| id.author == self.ctx.me.id) else {
                return self.answer(ticket, Stored::Unknown);
            };
            body.replaces = Some((first.epoch.0, first.seq.0));
        }
        let bytes = minicbor::to_vec(&body).expect("encoding into memory cannot fail");
        if record.local && !self.registry.has_local_room(bytes.len()) {
            let reason = "as many sightings stay on this node as may: let some end, or delete them";
            return self.answer(ticket, Stored::Refused { reason });
        }
        let kind = if record.local { OpKind::LocalRecord } else { OpKind::Record };
        self.want(now, ticket, Wanted { says: vec![(kind, bytes)], removes: Vec::new(), names: Vec::new() });
    }

    /// The application wants sightings of something deleted.
    pub(super) fn delete_records(&mut self, now: Instant, order: &DeleteOrder) {
        let DeleteOrder { ticket, hash_value, all } = order;
        if *all && self.ctx.config.deletes == Deletes::Author {
            let reason = "in this mesh each node deletes what it added itself (registry.deletes: author)";
            return self.answer(*ticket, Stored::Refused { reason });
        }
        let me = Some(&self.ctx.me.id).filter(|_| !all);
        let left = |id: &OpId| self.replication.log().standing(now, id).map_or(0, |(left, _)| millis(left));
        let Deletion { bodies, local, ids } = self.registry.deletion(hash_value, me, left);
        if ids.is_empty() {
            return self.answer(*ticket, Stored::Unknown);
        }
        let encode = |body| minicbor::to_vec(body).expect("encoding into memory cannot fail");
        let says = bodies.iter().map(|body| (OpKind::RecordDelete, encode(body))).collect();
        self.want(now, *ticket, Wanted { says, removes: local, names: ids });
    }

    fn want(&mut self, now: Instant, ticket: Ticket, wanted: Wanted) {
        if let Err(reason) = self.replication.order(now, ticket, wanted, &mut self.ctx) {
            self.answer(ticket, Stored::Refused { reason });
        }
    }

    fn answer(&mut self, ticket: Ticket, outcome: Stored) {
        self.ctx.stats.records_refused += 1;
        self.ctx.out.event(Event::Stored { ticket, outcome });
    }

    /// A sighting, or what takes sightings back, is here for the first time.
    pub(super) fn on_record(&mut self, now: Instant, logged: &Logged) {
        let id = OpId::of(&logged.op);
        let is_own = id.author == self.ctx.me.id;
        // What was asked for is not passed on: whoever is behind finds it by our root, and at its own pace.
        if !is_own && !logged.pulled && self.routing.is_between() {
            for message in self.replication.log_messages(now, &id, &self.ctx) {
                self.pass_on(now, &id.author, &message, false);
            }
        }
        let is_shown = self.registry.on_logged(logged, &mut self.ctx);
        let LogBody::Record(body) = &logged.body else { return };
        if is_own {
            self.ctx.stats.records_added += 1;
            return;
        }
        self.ctx.stats.records_received += 1;
        if is_shown {
            let view = self.record_view(now, id, &logged.op, body.clone());
            self.ctx.out.event(Event::Record(Box::new(view)));
        }
    }

    /// The sightings of something, newest first.
    #[must_use]
    pub fn records_of(&self, now: Instant, hash: &str) -> Vec<RecordView> {
        let filter = Filter { hash: Some(hash.to_owned()), ..Filter::default() };
        self.find(now, &filter, None, usize::MAX).records
    }

    /// Looks for sightings that meet a filter, the newest first: at so many at most, from where the last turn ended. One takes some
    /// two microseconds, with fields of the metadata some ten.
    #[must_use]
    pub fn find(&self, now: Instant, filter: &Filter, cursor: Option<Cursor>, budget: usize) -> Page {
        let Looked { found, next } = self.registry.find(filter, cursor, budget, |id| self.name_of(id));
        Page { records: found.into_iter().map(|(id, op, body)| self.record_view(now, id, &op, body)).collect(), next }
    }

    /// The sighting that an op tells of, while it is shown.
    #[must_use]
    pub fn record(&self, now: Instant, id: &OpId) -> Option<RecordView> {
        let op = self.registry.get(id)?;
        let body = minicbor::decode(op.body()).ok()?;
        Some(self.record_view(now, *id, op, body))
    }

    /// The registry in numbers.
    #[must_use]
    pub fn registry(&self) -> RegistryView {
        self.registry.view()
    }

    fn name_of(&self, id: &NodeId) -> Option<String> {
        if *id == self.ctx.me.id {
            return Some(self.name());
        }
        self.ctx.roster.get(id).map(|peer| peer.card.shown_name())
    }

    pub(super) fn record_view(&self, now: Instant, id: OpId, op: &SignedOp, body: RecordBody) -> RecordView {
        let (left, kept) = self.replication.log().standing(now, &id).unwrap_or_default();
        RecordView {
            id,
            source: self.name_of(&id.author).unwrap_or_else(|| body.source.clone()),
            wall: seen_at(op, &body),
            told: op.wall(),
            left,
            local: op.lane() == OpLane::Local,
            kept,
            body,
        }
    }
}

#[cfg(test)]
mod tests;

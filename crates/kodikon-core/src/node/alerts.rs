//! Decides, where alerts, log, map and roster meet, what an order becomes, who is told once more, and what is passed on.

use crate::effect::outbox::{Destination, TWICE_AFTER};
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::machines::alerts::Statement;
use crate::machines::replication::log::Said;
use crate::model::alert::{AckOrder, AlertId, AlertOrder, AlertView, ReceiptBody};
use crate::model::letter::{Priority, Ticket};
use crate::model::logged::LogBody;
use crate::model::op::{OpId, OpKind, SignedOp};
use crate::model::roster::Peer;
use crate::node::Node;
use crate::wire::message::{LogReceipt, Message, Ops};

/// Among no more than so many neighbours what is said to one might as well be said to all.
const FEW: usize = 2;

impl Node {
    /// The application wants an alert raised.
    pub(super) fn raise(&mut self, now: Instant, order: &AlertOrder) {
        let source = self.name();
        if let Some(statement) = self.alerts.raise(now, order, &source, &mut self.ctx) {
            self.say(now, order.ticket, statement);
        }
    }

    /// A person has seen an alert.
    pub(super) fn acknowledge(&mut self, now: Instant, order: &AckOrder) {
        if let Some(statement) = self.alerts.acknowledge(now, order, &mut self.ctx) {
            self.say(now, order.ticket, statement);
        }
    }

    fn say(&mut self, now: Instant, ticket: Ticket, statement: Statement) {
        let Statement { kind, body, alert } = statement;
        if !self.replication.say(now, (kind, body), Said::Alert { ticket, alert }, &mut self.ctx) {
            self.alerts.refused(ticket, &mut self.ctx);
        }
    }

    /// An op of the log is here for the first time: shown, passed on, and acknowledged soon.
    pub(super) fn on_logged(&mut self, now: Instant, logged: crate::model::logged::Logged) {
        let id = OpId::of(&logged.op);
        if matches!(logged.body, LogBody::Record(_) | LogBody::Delete(_)) {
            return self.on_record(now, &logged);
        }
        if id.author != self.ctx.me.id && self.routing.is_between() {
            let is_urgent = logged.body.priority() == Priority::Critical;
            for message in self.replication.log_messages(now, &id, &self.ctx) {
                self.pass_on(now, &id.author, &message, is_urgent);
            }
        }
        self.alerts.on_logged(now, logged, &mut self.ctx);
        self.recall_receipts(&id.author);
    }

    /// What those who are present told of an author's log is known again, if it may have been forgotten.
    fn recall_receipts(&mut self, author: &NodeId) {
        if !self.alerts.may_have_forgotten() {
            return;
        }
        let present: Vec<NodeId> = self.ctx.roster.present().map(|(peer, _)| *peer).collect();
        for peer in present {
            if let Some((number, receipt)) = self.replication.receipt_of(&peer, author) {
                self.alerts.on_receipt((peer, *author), number, receipt, &mut self.ctx);
            }
        }
    }

    /// A peer tells what it has of a log.
    pub(super) fn on_receipt(&mut self, op: &SignedOp) {
        if let Some((about, body)) = ReceiptBody::parse(op) {
            self.alerts.on_receipt((op.author(), about), (op.epoch(), op.lamport()), body, &mut self.ctx);
        }
    }

    /// A peer tells this node alone what it has of its log.
    pub(super) fn on_early_receipt(&mut self, now: Instant, from: NodeId, receipt: &LogReceipt) {
        if !self.replication.may_say(now, &from, &mut self.ctx) {
            return;
        }
        let Some(body) = ReceiptBody::read(&receipt.body) else { return self.ctx.stats.drop(Reject::Malformed) };
        let Some(epoch) = self.ctx.roster.get(&from).map(Peer::epoch) else { return };
        if !self.messages.is_told_by(&from, receipt, &self.ctx) {
            return self.ctx.stats.drop(Reject::Tag);
        }
        self.alerts.on_receipt((from, self.ctx.me.id), (epoch, receipt.lamport), body, &mut self.ctx);
    }

    /// Tells an author alone what this node has of its log. `false` if all must be told, since others repeat its alerts to whoever has
    /// not shown them, or nobody else would hear it.
    fn tell_alone(&mut self, now: Instant, author: NodeId, body: &ReceiptBody, is_urgent: bool) -> bool {
        let is_known_to_all = self.ctx.roster.near_count() > FEW && self.routing.map().children_of(&author).is_none();
        if !is_known_to_all || !self.ctx.roster.is_near(&author) {
            return false;
        }
        let text = minicbor::to_vec(body).expect("encoding into memory cannot fail");
        let mut receipt = LogReceipt { lamport: self.replication.next_lamport(), body: text, tag: [0; 16] };
        let Some(tag) = self.messages.tag_receipt(&author, &receipt, &self.ctx) else { return false };
        receipt.tag = tag;
        if self.alerts.note_told_alone(now, author, body, &mut self.ctx) {
            let message = Message::LogReceipt(receipt);
            if is_urgent {
                self.ctx.out.send_again(TWICE_AFTER, Destination::Peer(author), message.clone());
            }
            self.ctx.out.send(Destination::Peer(author), message);
        }
        true
    }

    /// Tells all what authors were told alone and all are to be told by then, or at all.
    pub(super) fn share_receipts(&mut self, now: Instant, by: Option<Instant>) {
        for author in self.alerts.receipts_to_share(by) {
            let body = self.replication.receipt_for(&author);
            self.tell_receipt(now, author, &body);
        }
    }

    fn tell_receipt(&mut self, now: Instant, author: NodeId, body: &ReceiptBody) -> Vec<SignedOp> {
        if !self.alerts.is_news(author, body) {
            return Vec::new();
        }
        let bytes = minicbor::to_vec(body).expect("encoding into memory cannot fail");
        self.replication.publish(now, vec![(OpKind::Receipt, author.0.to_vec(), bytes)], &mut self.ctx)
    }

    /// Does what is due of alerts.
    pub(super) fn wake_alerts(&mut self, now: Instant) {
        for (author, is_urgent) in self.alerts.receipts_due(now, &mut self.ctx) {
            let body = self.replication.receipt_for(&author);
            if self.tell_alone(now, author, &body, is_urgent) {
                continue;
            }
            let ops = self.tell_receipt(now, author, &body);
            if is_urgent && !ops.is_empty() {
                let message = Message::Ops(Ops { ops, covered: Vec::new() });
                self.ctx.out.send_again(TWICE_AFTER, Destination::Everyone, message);
            }
        }
        self.share_receipts(now, Some(now));
        let mut recalled = None;
        for (alert, id) in self.alerts.retries_due(now) {
            // Who told that it has it long ago does not tell it again.
            if recalled.replace(id.author) != Some(id.author) {
                self.recall_receipts(&id.author);
            }
            let missed: Vec<NodeId> =
                self.charges_of(&id.author).into_iter().filter(|peer| !self.alerts.has_shown(peer, &id)).collect();
            for peer in &missed {
                self.replication.tell_again(now, &id, *peer, &mut self.ctx);
            }
            self.alerts.retried(now, alert, missed.len(), &mut self.ctx);
        }
        if self.alerts.floor_is_due(now) {
            self.renew_card(now);
        }
    }

    /// Who hears from us what an author says: those next to us on its tree; of our own also all who hear us and are not on the map, since
    /// on one LAN nobody tells of links.
    fn charges_of(&mut self, author: &NodeId) -> Vec<NodeId> {
        let map = self.routing.map();
        let children = map.children_of(author).unwrap_or_default();
        let mut charges: Vec<NodeId> = children.into_iter().map(|(id, _)| id).collect();
        if *author == self.ctx.me.id {
            let near = self.ctx.roster.near().map(|(id, _)| *id);
            charges.extend(near.filter(|id| map.next_hop(id).is_none()));
        }
        charges.retain(|id| self.ctx.roster.get(id).is_some_and(Peer::is_near));
        charges
    }

    /// The time of an op of the log is over.
    pub(super) fn on_log_over(&mut self, now: Instant, id: &OpId) {
        self.alerts.on_over(now, id, &mut self.ctx);
        self.registry.on_over(id, &mut self.ctx);
        let is_earlier = id.author == self.ctx.me.id && id.epoch < self.ctx.me.epoch;
        if is_earlier && self.alerts.is_floor_safe() {
            self.renew_card(now);
        }
    }

    /// All active alerts, the most urgent first, of these the newest.
    #[must_use]
    pub fn alerts(&self, now: Instant) -> Vec<AlertView> {
        self.alerts.views(now, &self.ctx)
    }

    /// One of them, if it is active.
    #[must_use]
    pub fn alert(&self, now: Instant, id: AlertId) -> Option<AlertView> {
        self.alerts.view_of(now, id, &self.ctx)
    }

    /// Digest of what this node holds of the log; equal on nodes that hold the same.
    #[must_use]
    pub fn log_root(&self) -> u64 {
        self.replication.log().root()
    }
}

#[cfg(test)]
mod tests;

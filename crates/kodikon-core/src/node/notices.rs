//! Decides which machine must hear what another decided: the one place where machines meet.

use std::collections::BTreeSet;

use crate::effect::Event;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::id::{Epoch, Life, NodeId};
use crate::ground::time::Instant;
use crate::machines::liveness::beat;
use crate::machines::membership::{OpinionBody, read_card, read_opinion};
use crate::model::member::{Liveness as Held, REASON_BOUND, REASON_PROCESS};
use crate::model::op::{OpKind, SignedOp};
use crate::node::Node;

impl Node {
    /// Reads all notices, and those they cause.
    pub(super) fn read_notices(&mut self, now: Instant) {
        let mut changed = BTreeSet::new();
        while let Some(notice) = self.ctx.out.take_notice() {
            self.on_notice(now, notice, &mut changed);
        }
        for node in changed {
            self.tell_state(node);
        }
    }

    fn on_notice(&mut self, now: Instant, notice: Notice, changed: &mut BTreeSet<NodeId>) {
        match notice {
            Notice::Up(id) => self.on_up(now, id),
            Notice::Down(id) => self.on_down(now, id),
            Notice::CardChanged(id) => self.membership.card_changed(now, id, &mut self.ctx),
            Notice::Unanswered(id, reason) => {
                self.routing.on_change(now, &self.ctx);
                let me = self.ctx.me.id;
                self.membership.suspect(now, id, me, reason, &mut self.ctx);
                let listers = self.routing.listers_of(&id);
                self.liveness.tell_of_suspect(&id, &listers, &mut self.ctx);
                // Opinions that a frame of the suspect had overruled count again: nobody withdrew them.
                for opinion in self.replication.opinions_about(&id) {
                    self.membership.on_opinion(now, &opinion, &mut self.ctx);
                }
            }
            Notice::Cleared(id) => {
                self.membership.clear(now, id, &mut self.ctx);
                self.liveness.on_cleared(id);
                self.routing.on_change(now, &self.ctx);
                self.withdraw(now, id);
            }
            Notice::Disputed(subject, witness) => self.liveness.ask_for(now, subject, witness, &mut self.ctx),
            Notice::Doubted(subject) => self.liveness.doubt(now, subject, &mut self.ctx),
            Notice::Undated(peer) => self.liveness.on_undated(now, peer, &mut self.ctx),
            Notice::Untaken(peer) => self.liveness.on_unanswered_word(now, peer, &mut self.ctx),
            Notice::Claimed(subject) => self.liveness.on_claimed(now, subject, &mut self.ctx),
            Notice::Ended(subject) => self.membership.on_ended(now, subject, &mut self.ctx),
            Notice::Verdict(id, reason) => self.on_verdict(now, id, reason),
            Notice::Applied(op) => self.on_applied(now, &op),
            Notice::StateChanged(author) => {
                changed.insert(author);
            }
            Notice::Introduced(op, from) => self.on_introduced(now, op, from),
            Notice::OwnGhost(op, arrival) => self.on_own_ghost(now, op, arrival),
            Notice::OwnDouble(op, arrival) => self.on_own_double(now, op, arrival),
            Notice::RenewCard => self.renew_card(now),
            Notice::ShowCard => self.discovery.show(now),
            Notice::Near(id) => self.on_near(now, id),
            Notice::Far(id) => self.on_far(now, id),
            Notice::Silent(id) => self.on_silent(now, id),
            Notice::Witnessed => self.review_soon(now),
            Notice::Quiet(id) => self.on_quiet(now, id),
            Notice::Proven { peer, rate, queued } => self.on_proven(now, &peer, rate, queued),
            Notice::Logged(logged) => self.on_logged(now, *logged),
            Notice::LogKept(ids) => self.alerts.on_kept(now, &ids, &mut self.ctx),
            Notice::LogOver(id) => self.on_log_over(now, &id),
            Notice::LogSpent(ids) => self.replication.on_spent(now, &ids, &mut self.ctx),
            Notice::LogCrowded(id) => self.replication.on_crowded(now, &id, &mut self.ctx),
            // For the search machine, which keeps what it needs of them.
            Notice::RecordShown(entry) => self.searches.on_shown(entry),
            Notice::RecordGone(id) => self.searches.on_gone(&id),
            Notice::Told { from, kind, text } => self.on_told(now, from, &kind, &text),
            Notice::Searched(ticket) => self.ask_others(now, ticket),
            Notice::Answered(answered) => self.answer_search(now, &answered),
            Notice::Ask(ask) => self.put_to(now, *ask),
            Notice::Beacon(index) => self.discovery.hasten(now, index),
            Notice::Acknowledged(..) => self.ctx.stats.casts_acknowledged += 1,
            Notice::Carried(id, rtt) => {
                self.routing.on_carried(now, id, rtt, &self.ctx);
                self.liveness.on_carried(now, id, &mut self.ctx);
            }
            Notice::Turn(observer, due_ms) => {
                if !self.discovery.take_turn(now, observer, due_ms, &mut self.ctx) {
                    self.ctx.stats.heartbeats_sent += 1;
                    self.ctx.out.send(Destination::Peer(observer), beat(0, due_ms));
                }
            }
        }
    }

    fn on_up(&mut self, now: Instant, id: NodeId) {
        let source = self.hop_to(&id);
        self.missed.forget(&id);
        self.messages.on_up(&id, &mut self.ctx);
        // A run that begins knows nothing of what the one before was asked.
        self.searches.on_down(now, &id, &mut self.ctx);
        self.replication.on_up(now, id, source, &mut self.ctx);
        if self.ctx.roster.is_near(&id) {
            self.on_near(now, id);
        } else {
            // There may be no way to it.
            self.review_soon(now);
        }
        self.membership.note_change(now);
        // More are about to come, who have told of it before and do so again.
        let known = self.ctx.roster.len().max(self.ctx.roster.directory().len());
        self.alerts.on_up(now, known);
        self.withdraw(now, id);
        self.show_across(now, id);
    }

    /// A peer is heard itself from now on.
    fn on_near(&mut self, now: Instant, id: NodeId) {
        self.messages.on_map_changed();
        self.broadcasts.on_near(now, &id, &mut self.ctx);
        self.liveness.on_up(now, id, &mut self.ctx);
        self.hear_of(&id);
        self.discovery.on_up(&id, &self.ctx);
        self.routing.on_change(now, &self.ctx);
    }

    /// A peer is not heard itself any more, but by others.
    fn on_far(&mut self, now: Instant, id: NodeId) {
        self.messages.on_unheard(&id, &mut self.ctx);
        self.liveness.on_down(now, id, &mut self.ctx);
        self.discovery.on_down(now, &id, false, &self.ctx);
        self.routing.on_far(now, &id, &mut self.ctx);
        // What others said of it counts once there is no way to it.
        for opinion in self.replication.opinions_about(&id) {
            self.membership.on_opinion(now, &opinion, &mut self.ctx);
        }
        self.review_soon(now);
    }

    fn on_down(&mut self, now: Instant, id: NodeId) {
        let failed = self.ctx.roster.get(&id).is_some_and(|peer| peer.liveness == Held::Failed);
        self.ctx.roster.forget_witness(&id);
        self.broadcasts.on_down(&id);
        self.replication.on_down(&id);
        self.replication.close_pipes(Some(&id), &mut self.ctx);
        self.searches.on_down(now, &id, &mut self.ctx);
        self.messages.on_unheard(&id, &mut self.ctx);
        self.liveness.on_down(now, id, &mut self.ctx);
        self.discovery.on_down(now, &id, failed, &self.ctx);
        self.routing.on_down(now, &id, &self.ctx);
    }

    fn on_verdict(&mut self, now: Instant, subject: NodeId, reason: &'static str) {
        // A process that ended is heard by nobody; who is silent towards us may be heard by others.
        if reason != REASON_PROCESS && self.is_heard_elsewhere(now, &subject, reason == REASON_BOUND) {
            self.membership.withdraw_to_far(now, subject, &mut self.ctx);
            return;
        }
        if let Some(opinion) = self.membership.opine(subject, reason, &self.ctx) {
            self.publish_opinion(now, subject, &opinion);
            self.membership.on_verdict(now, subject, reason, &mut self.ctx);
        }
    }

    fn withdraw(&mut self, now: Instant, subject: NodeId) {
        if let Some(opinion) = self.membership.withdraw(subject, &self.ctx) {
            self.publish_opinion(now, subject, &opinion);
        }
    }

    fn publish_opinion(&mut self, now: Instant, subject: NodeId, opinion: &OpinionBody) {
        let body = minicbor::to_vec(opinion).expect("encoding into memory cannot fail");
        self.replication.publish(now, vec![(OpKind::Opinion, subject.0.to_vec(), body)], &mut self.ctx);
    }

    fn on_applied(&mut self, now: Instant, op: &SignedOp) {
        self.pass_op_on(now, op);
        match op.kind() {
            OpKind::Card => {
                if let Some(card) = read_card(op) {
                    self.membership.renew(now, op.clone(), card, &mut self.ctx);
                    self.replication.on_card(now, &op.author(), &mut self.ctx);
                }
            }
            OpKind::Receipt => self.on_receipt(op),
            OpKind::Opinion => {
                let about_us = read_opinion(op).filter(|(subject, _)| *subject == self.ctx.me.id);
                match about_us.map(|(_, opinion)| opinion) {
                    Some(opinion) if opinion.failed && Epoch(opinion.epoch) == self.ctx.me.epoch => {
                        self.liveness.refute(Life(opinion.life), &mut self.ctx);
                    }
                    Some(_) => {}
                    None => self.membership.on_opinion(now, op, &mut self.ctx),
                }
            }
            OpKind::Links => self.routing.on_op(now, op, &self.ctx),
            // A state is told when all of it is here. What is unknown is held and passed on: a later version understands it.
            // What is of the log does not come here.
            OpKind::State
            | OpKind::Unknown(_)
            | OpKind::Alert
            | OpKind::AlertAck
            | OpKind::Record
            | OpKind::RecordDelete
            | OpKind::LocalRecord => {}
        }
    }

    /// A live peer vouches for somebody: its card must be its own before it is asked for itself.
    fn on_introduced(&mut self, now: Instant, op: SignedOp, from: NodeId) {
        let Some(card) = read_card(&op) else { return };
        if self.ctx.roster.get(&from).is_none_or(|peer| peer.liveness != Held::Alive) {
            return;
        }
        if let Some(peer) = self.ctx.roster.get(&op.author()).filter(|peer| peer.signed.is_same_bytes(&op)) {
            // One that failed here for want of a way may have one again; whoever hears it itself asks it.
            if peer.liveness == Held::Failed {
                self.take_far(now, &op, &card, from);
            }
            return;
        }
        let holds = self.discovery.may_check_vouched(now) && self.ctx.verify_op(&op, &card.public_key);
        if holds && !self.take_far(now, &op, &card, from) {
            self.membership.introduce(now, op, card, &mut self.ctx);
        }
    }

    fn tell_state(&mut self, node: NodeId) {
        let Some(peer) = self.ctx.roster.get(&node) else { return };
        let name = peer.card.shown_name();
        if let Some(snapshot) = self.replication.state_of(&node, &self.ctx.me.id) {
            self.ctx.roster.touch();
            self.ctx.out.event(Event::State { node, name, snapshot });
        }
    }
}

#[cfg(test)]
mod tests;

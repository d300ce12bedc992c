//! Decides, where the map and the roster meet, who is present without being heard, and what is passed on between segments.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, TWICE_AFTER};
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::id::{Epoch, Life, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::membership::{RELISTED, STILL_LISTED, read_opinion};
use crate::machines::routing::map::Map;
use crate::model::links::SegmentId;
use crate::model::member::{Card, Liveness};
use crate::model::op::SignedOp;
use crate::model::roster::Path;
use crate::node::Node;
use crate::wire::message::{Bye, Cover, Inquiry, Message, Ops};

/// Far peers are looked at again so long after the map changed: what changes it comes in several ops.
const REVIEW_AFTER: Duration = Duration::from_millis(20);
/// How often those without a way are looked at: a suspicion is measured in seconds.
const REVIEW_LOST: Duration = Duration::from_millis(250);

/// Quiet peers of whom it is remembered that others heard them; the one noted longest ago makes room.
const MAX_HEARD: usize = 1_024;

/// Far authors of whose covers it is asked who else can tell, a second and at once: each may cost a tree of the map, and whoever
/// names more is believed later.
const LOOKUPS_RATE: u32 = 500;
const LOOKUPS_BURST: u32 = 4_000;
/// Far peers asked after when their ways are lost, at one look, and of how many neighbours each: where a gateway dies many are lost at once,
/// and few of them have left.
const MAX_ASKED: usize = 16;
const ASKED_OF: usize = 3;
/// Silent nodes remembered; the one noted longest ago makes room.
const MAX_SILENT: usize = 256;

/// When the far peers are looked at again.
#[derive(Debug)]
pub(super) struct Review {
    seen: u64,
    at: Option<Instant>,
    /// Since when a run of a node answers no probe, though others vouch for it.
    silent: RecentMap<NodeId, (Epoch, Instant)>,
    /// What may be asked of the map on a peer's word.
    lookups: TokenBucket,
    /// When the map last showed that others hear a peer that is quiet here: while a segment gets another name there are no ways along it.
    heard: RecentMap<NodeId, Instant>,
}

impl Default for Review {
    fn default() -> Self {
        Self {
            seen: 0,
            at: None,
            silent: RecentMap::new(MAX_SILENT),
            lookups: TokenBucket::new(LOOKUPS_RATE, LOOKUPS_BURST),
            heard: RecentMap::new(MAX_HEARD),
        }
    }
}

impl Review {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.at
    }

    fn hasten(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |held| held.min(at)));
    }
}

impl Node {
    /// Whether the map has changed since the far peers were looked at.
    pub(super) fn note_map(&mut self, now: Instant) {
        let version = self.routing.map().version();
        if version != self.review.seen {
            self.review.seen = version;
            self.messages.on_map_changed();
            self.broadcasts.on_map_changed(now);
            self.review.hasten(now + REVIEW_AFTER);
            // Whom we could not let in before may be listed now.
            self.replication.compare_anew();
        }
    }

    /// The far peers are to be looked at though nothing in the map changed: a witness spoke about one of them, or another became one,
    /// to which there may be no way.
    pub(super) fn review_soon(&mut self, now: Instant) {
        self.review.hasten(now + REVIEW_AFTER);
    }

    /// Looks at all who are far, and at those vouched for that may have become so.
    pub(super) fn review_far(&mut self, now: Instant) {
        if self.review.at.is_none_or(|at| now < at) {
            return;
        }
        self.review.at = None;
        let is_far = |ctx: &Context| -> Vec<NodeId> {
            let far = ctx.roster.present().filter(|(_, peer)| peer.far.is_some());
            far.map(|(id, _)| *id).collect()
        };
        let mut asked = 0;
        let mut reached = Vec::new();
        for id in is_far(&self.ctx) {
            // A member that is new on a segment of ours and not heard is taken for a neighbour until we have said that we do not.
            let cheapest = self.routing.map().relays_to(&id).filter(|relays| *relays > 0);
            let relays = cheapest.map(|cheapest| self.relays_taken(&id, cheapest));
            reached.extend(relays.map(|_| id));
            let was_lost = self.is_lost(&id);
            self.membership.review(now, id, relays, &mut self.ctx);
            if !was_lost && self.is_lost(&id) && asked < MAX_ASKED {
                asked += 1;
                self.ask_after(&id);
            }
        }
        if let Some(at) = self.ask_listers(now, &reached) {
            self.review.hasten(at);
        }
        let waiting: Vec<NodeId> = self
            .ctx
            .roster
            .iter()
            .filter(|(_, peer)| peer.liveness == Liveness::Introduced)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(peer) = self.ctx.roster.get(&id) else { continue };
            let (epoch, life, card) = (peer.epoch(), peer.life(), peer.card.clone());
            if self.is_beyond(&id, &card) && !self.is_witnessed(&id, epoch, life) {
                self.membership.rise_far(now, id, None, &mut self.ctx);
            }
        }
        let has_lost = self.ctx.roster.present().any(|(_, peer)| peer.far.is_some_and(|far| far.lost.is_some()));
        if has_lost {
            self.review.hasten(now + REVIEW_LOST);
        }
    }

    fn is_lost(&self, id: &NodeId) -> bool {
        self.ctx.roster.get(id).and_then(|peer| peer.far).is_some_and(|far| far.lost.is_some())
    }

    /// There is no way to a far peer any more: it may have said goodbye, and who heard that says it again. Nobody else is asked about one
    /// that is not near.
    fn ask_after(&mut self, id: &NodeId) {
        let shown_by = self.ctx.roster.get(id).and_then(|peer| peer.far?.shown_by);
        let mut near: Vec<NodeId> = self.ctx.roster.near_alive().map(|(id, _)| *id).collect();
        let mut whom: Vec<NodeId> = shown_by.into_iter().filter(|id| near.contains(id)).collect();
        near.retain(|id| !whom.contains(id));
        while whom.len() < ASKED_OF && !near.is_empty() {
            let drawn = self.ctx.random.place(near.len());
            whom.push(near.swap_remove(drawn));
        }
        for other in whom {
            self.ctx.out.send(Destination::Peer(other), Message::Inquiry(Inquiry { subject: id.0 }));
        }
    }

    /// Whether a node is heard by others that can be reached, and not to be heard by us: then its silence here says nothing.
    fn is_beyond(&mut self, id: &NodeId, card: &Card) -> bool {
        !self.is_within_hearing(id, card) && self.routing.map().is_listed(id)
    }

    /// Whether a node is on a segment or a network of ours. (Link-local addresses are the same on all.)
    fn is_within_hearing(&mut self, id: &NodeId, card: &Card) -> bool {
        let is_local = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut addresses = card.addresses.iter().map(|address| address.ip).filter(|ip| !is_local(*ip));
        addresses.any(|ip| self.ctx.is_on_link(ip)) || self.routing.map().shares_segment(id)
    }

    /// Whether somebody present holds this run and life of a node failed.
    fn is_witnessed(&self, id: &NodeId, epoch: Epoch, life: Life) -> bool {
        let opinions = self.replication.opinions_about(id);
        opinions
            .iter()
            .filter_map(read_opinion)
            .any(|(_, opinion)| opinion.failed && Epoch(opinion.epoch) == epoch && Life(opinion.life) >= life)
    }

    /// A live peer vouches for a node. `true` if it counts at once, since others hear it and we cannot.
    pub(super) fn take_far(&mut self, now: Instant, op: &SignedOp, card: &Card, from: NodeId) -> bool {
        let id = op.author();
        // Where the run before was not heard here this one need not be either.
        let was_far = self
            .ctx
            .roster
            .get(&id)
            .is_some_and(|peer| peer.liveness.is_present() && peer.far.is_some() && peer.epoch() < op.epoch());
        let is_far = self.is_beyond(&id, card) || was_far && self.routing.map().is_listed(&id);
        if !is_far || self.is_witnessed(&id, op.epoch(), card.life()) {
            return false;
        }
        self.membership.admit_far(now, op.clone(), card.clone(), from, &mut self.ctx);
        true
    }

    /// A node that was vouched for answers no probe: it counts if others hear it all the same.
    pub(super) fn on_silent(&mut self, now: Instant, id: NodeId) {
        let Some(peer) = self.ctx.roster.get(&id) else { return };
        if peer.is_near() && peer.liveness == Liveness::Alive && peer.contested {
            // Frames of it come, and no answer: they may be recordings.
            self.liveness.doubt(now, id, &mut self.ctx);
            return;
        }
        let (epoch, life, card) = (peer.epoch(), peer.life(), peer.card.clone());
        let is_waiting = matches!(peer.liveness, Liveness::Introduced | Liveness::Failed);
        let may_live = is_waiting && !self.is_witnessed(&id, epoch, life);
        let is_long = may_live && self.is_long_silent(now, &id, epoch);
        if is_long {
            self.routing.on_missed(now, &self.ctx);
        }
        let may_be_far = may_live && (is_long || !self.is_within_hearing(&id, &card));
        if may_be_far && self.routing.map().is_listed(&id) {
            self.review.silent.remove(&id);
            self.membership.rise_far(now, id, None, &mut self.ctx);
        } else {
            self.membership.drop_introduced(now, id, &mut self.ctx);
        }
    }

    /// Whether a node that others vouch for has been silent here for so long that they must hear it: it may have died a moment
    /// ago, and they notice within the hard bound and tell.
    fn is_long_silent(&mut self, now: Instant, id: &NodeId, epoch: Epoch) -> bool {
        let since = self.review.silent.get(id).filter(|(held, _)| *held == epoch).map(|(_, since)| *since);
        if since.is_none() {
            self.review.silent.insert(*id, (epoch, now));
        }
        since.is_some_and(|since| now.since(since) >= self.ctx.hard_bound() * STILL_LISTED.0 / STILL_LISTED.1)
    }

    /// A node is heard: when it is silent again that begins anew.
    pub(super) fn hear_of(&mut self, id: &NodeId) {
        self.review.silent.remove(id);
        self.review.heard.remove(id);
    }

    /// Whether others hear a peer that is silent towards us: then it has not failed. Or did a moment ago, and some are left who may.
    pub(super) fn is_heard_elsewhere(&mut self, now: Instant, id: &NodeId, by_anyone: bool) -> bool {
        if !by_anyone {
            return self.routing.map().is_heard_beyond(id);
        }
        let is_left = || self.ctx.roster.near_alive().any(|(other, _)| other != id);
        let was_heard = self.review.heard.get(id).is_some_and(|at| now.since(*at) < RELISTED) && is_left();
        was_heard || self.routing.map().is_heard_by_others(id)
    }

    /// A peer will soon have been silent for the hard bound: it is noted whether others hear it.
    pub(super) fn on_quiet(&mut self, now: Instant, id: NodeId) {
        if self.routing.map().is_heard_by_others(&id) {
            self.review.heard.insert(id, now);
        }
    }

    /// Whom to ask for what a node said: itself, or the next on the way to it.
    pub(super) fn hop_to(&mut self, id: &NodeId) -> Option<NodeId> {
        let Some(far) = self.ctx.roster.get(id).and_then(|peer| peer.far) else { return Some(*id) };
        self.routing.map().next_hop(id).or(far.shown_by)
    }

    /// Of which of these authors this peer alone can tell us: of those that are far, and that no other of our neighbours is
    /// nearer to than we are, as it is itself. (Neighbours as far as we would wait for our word as we for theirs.)
    pub(super) fn told_by_one(
        &mut self,
        now: Instant,
        teller: &NodeId,
        authors: impl Iterator<Item = NodeId>,
    ) -> BTreeSet<NodeId> {
        let is_far = |author: &NodeId, ctx: &Context| ctx.roster.get(author).is_some_and(|peer| peer.far.is_some());
        let mut sole = BTreeSet::new();
        for author in authors.filter(|author| is_far(author, &self.ctx)) {
            if !self.review.lookups.take(now, 1) {
                break;
            }
            let map = self.routing.map();
            let Some(ours) = map.way_from(&author, &self.ctx.me.id) else { continue };
            let is_nearer =
                |map: &mut Map, id: &NodeId| map.way_from(&author, id).is_some_and(|way| way.cost < ours.cost);
            let mut others = self.ctx.roster.near().map(|(id, _)| *id).filter(|id| id != teller);
            if is_nearer(map, teller) && !others.any(|other| is_nearer(map, &other)) {
                sole.insert(author);
            }
        }
        sole
    }

    /// A peer came: those of our other segments learn of it by us, if they did not hear it themselves.
    pub(super) fn show_across(&mut self, now: Instant, id: NodeId) {
        if !self.routing.is_between() {
            return;
        }
        let Some(peer) = self.ctx.roster.get(&id) else { return };
        let ops = Message::Ops(Ops { ops: vec![peer.signed.clone()], covered: Vec::new() });
        self.pass_on(now, &id, &ops, false);
    }

    /// An op of a peer is new here: passed on to where we are the nearest that has it.
    pub(super) fn pass_op_on(&mut self, now: Instant, op: &SignedOp) {
        if self.routing.is_between() {
            let ops = Message::Ops(Ops { ops: vec![op.clone()], covered: Vec::new() });
            self.pass_on(now, &op.author(), &ops, false);
        }
    }

    /// A goodbye, the same.
    pub(super) fn pass_bye_on(&mut self, now: Instant, bye: &Bye) {
        if self.routing.is_between() {
            self.pass_on(now, &NodeId(bye.author), &Message::Bye(bye.clone()), false);
        }
    }

    /// Sends what an author said on all our segments on which it was not heard from where it came. Where the map shows which
    /// nodes get it from us, on their segments alone. What is critical goes twice, as it does from its author.
    pub(super) fn pass_on(&mut self, now: Instant, author: &NodeId, message: &Message, is_critical: bool) {
        let near = self.ctx.roster.get(author).filter(|peer| peer.is_near());
        let hearing = self.ctx.hearing();
        let is_heard = |path: &&Path| path.heard.is_some_and(|at| now.since(at) < hearing);
        let came: Vec<_> = match near {
            Some(peer) => peer.paths.iter().filter(is_heard).filter_map(|path| path.interface).collect(),
            None => {
                let hop = self.hop_to(author).and_then(|hop| self.ctx.roster.get(&hop)?.best_path()?.interface);
                hop.into_iter().collect()
            }
        };
        let children = self.routing.map().children_of(author);
        for index in self.discovery.segments().collect::<Vec<_>>() {
            let Some(segment) = self.routing.segment_of(index) else { continue };
            let has_child =
                |children: &Vec<(NodeId, Option<SegmentId>)>| children.iter().any(|(_, on)| *on == Some(segment));
            // The map knows who there does not hear the author itself.
            if children.as_ref().map_or(!came.contains(&index), has_child) {
                for cast in self.discovery.best_casts(now, index, &self.ctx) {
                    self.give(Destination::Segment(index, cast), message, is_critical);
                }
            }
        }
        for (child, _) in children.into_iter().flatten().filter(|(_, on)| on.is_none()) {
            self.give(Destination::Peer(child), message, is_critical);
        }
    }

    fn give(&mut self, to: Destination, message: &Message, is_critical: bool) {
        if is_critical {
            self.ctx.out.send_again(TWICE_AFTER, to, message.clone());
        }
        self.ctx.out.send(to, message.clone());
    }
}

/// Of whom it is said that numbers are covered.
pub(super) fn authors_of(covers: &[Cover]) -> impl Iterator<Item = NodeId> {
    covers.iter().map(|cover| NodeId(cover.author))
}

#[cfg(test)]
mod tests;

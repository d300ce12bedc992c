//! Decides what leaves for whom: letters of this node's own and others', by the ways that the node hall chooses.

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::effect::{Event, SendOrder};
use crate::ground::id::NodeId;
use crate::ground::stats::{Crowded, Reject};
use crate::ground::time::{Duration, Instant};
use crate::machines::messages::custody::{Parcel, Place};
use crate::machines::messages::ids::{OwnId, ParcelId};
use crate::machines::messages::links::{Due, Waiting};
use crate::machines::messages::memory::{MAX_TRIED, Passage};
use crate::machines::messages::origin::{MAX_ATTEMPTS, NewOwn, Own};
use crate::machines::messages::{MAX_LEFT, Messages, delivered};
use crate::model::letter::{Outcome, Priority, Ticket};
use crate::wire::compress::pack;
use crate::wire::letter::{
    Back, Carry, DeadLinks, Fragment, KIND_ANSWER, KIND_PACKED, KIND_TEXT, Letter, Link, MAX_PIECE, Path, Stamp, Text,
};
use crate::wire::message::{Message, Ping};

/// Which way is to be chosen.
#[derive(Debug)]
pub struct Question {
    /// For which letter.
    pub parcel: ParcelId,
    /// Where it is to go.
    pub to: NodeId,
    /// Whether this node wrote it.
    pub is_own: bool,
    /// Relays that it may pass.
    pub hops: u8,
    /// Whom it passed already, its origin, and who gave it back.
    pub avoid: Vec<Stamp>,
    /// The first relays of earlier attempts, and one that does not take it: avoided if there is another way.
    pub shun: Vec<NodeId>,
    /// Links found dead, this node's own included.
    pub dead: Vec<Link>,
    /// Neighbours that answer nothing.
    pub doubted: Vec<NodeId>,
    /// For an answer of this node's own: who brought the letter, by a way that has just carried one.
    pub back: Option<NodeId>,
}

/// Which way was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By this neighbour.
    Give(NodeId),
    /// The way has so many relays, and that is too many.
    TooFar(u8),
    /// None.
    NoWay,
}

/// A relay that did not take a letter so many times: five in a row are lost with one in thirty where three datagrams of ten are.
const SLOW: u32 = 5;
/// What waits without a way is tried again this often: a relay trusts a neighbour again with its next heartbeat, within five
/// seconds, and the shortest deadline is two.
const HOPE_EVERY: Duration = Duration::from_millis(500);

impl Messages {
    /// The application says something to one node.
    pub fn send(&mut self, now: Instant, order: SendOrder, ctx: &mut Context) {
        ctx.stats.letters_sent += 1;
        let SendOrder { ticket, to, kind, payload, priority, timeout } = order;
        if to == ctx.me.id {
            let name = ctx.config.node_name.clone();
            ctx.stats.letters_received += 1;
            ctx.out.event(Event::Message { from: to, name, kind, payload, priority, path: Vec::new() });
            ctx.stats.letters_delivered += 1;
            let outcome = Outcome::Delivered { rtt: Duration::ZERO, path: vec![to], attempts: 1 };
            return ctx.out.event(Event::Settled { ticket, to, outcome });
        }
        let is_present = ctx.roster.get(&to).is_some_and(|peer| peer.liveness.is_present());
        if !is_present || self.keys.with(&to, ctx).is_none() {
            return settle(ticket, to, Outcome::Unreachable { needs_hops: None }, ctx);
        }
        let own = NewOwn { ticket, to, body: Text { kind, payload }.bytes(), urgency: priority };
        if self.origin.take(own, now + timeout.unwrap_or(priority.deadline())).is_none() {
            let outcome = Outcome::Expired { reason: "too much waits to be sent", attempts: 0 };
            settle(ticket, to, outcome, ctx);
        }
    }

    /// The mesh itself says something to one node; it is tried like any letter, and given up without a word.
    pub fn say(&mut self, now: Instant, (to, text): (NodeId, Text), timeout: Duration, ctx: &mut Context) {
        let is_present = ctx.roster.get(&to).is_some_and(|peer| peer.liveness.is_present());
        if is_present && self.keys.with(&to, ctx).is_some() {
            let own = NewOwn { ticket: Ticket::OWN, to, body: text.bytes(), urgency: Priority::Normal };
            _ = self.origin.take(own, now + timeout);
        }
    }

    /// Begins what may be begun.
    pub fn begin(&mut self, now: Instant, ctx: &mut Context) {
        loop {
            let custody = &self.custody;
            let Some(id) = self.origin.begin_next(|bytes| custody.has_room_for_own(bytes)) else { break };
            let to = self.origin.get(id).map(|own| own.to);
            let Some(epoch) = to.and_then(|to| self.keys.with(&to, ctx)).map(|(epoch, _)| epoch) else {
                self.settle_expired(id, "no way", ctx);
                continue;
            };
            self.origin.begin(now, id, epoch);
            self.attempt(id, ctx);
        }
    }

    /// Takes one more attempt of a letter of our own into custody.
    fn attempt(&mut self, id: OwnId, ctx: &mut Context) {
        let Some(own) = self.origin.get_mut(id) else { return };
        let Some((number, epoch, _)) = own.begun else { return };
        let (to, deadline) = (own.to, own.deadline);
        let Some((_, pair)) = self.keys.with(&to, ctx).filter(|(known, _)| *known == epoch) else {
            return self.settle_expired(id, "receiver restarted", ctx);
        };
        own.attempts = own.attempts.saturating_add(1);
        let reads_packed = ctx.roster.get(&to).is_some_and(|peer| peer.card.reads_packed());
        let (kind, body) = match pack(&own.body, MAX_PIECE).filter(|_| reads_packed) {
            Some(packed) => {
                ctx.stats.letters_packed += 1;
                (KIND_PACKED, packed)
            }
            None => (KIND_TEXT, own.body.clone()),
        };
        let mut letter = Letter {
            origin: ctx.me.id.0,
            epoch: ctx.me.epoch.0,
            to: to.0,
            number,
            attempt: own.attempts,
            kind,
            priority: own.urgency as u8,
            left_ms: 0,
            body,
            tag: [0; 16],
        };
        letter.tag = letter.tag_under(&pair.outward);
        let hops = ctx.config.max_hops;
        let print = letter.print();
        self.memory.note(print, Passage::new(None, Path::default(), hops, deadline));
        let mut parcel = Parcel::new((letter, print), hops, deadline, None);
        parcel.own = Some(id);
        let parcel = self.custody.take(parcel);
        self.origin.hold(id, parcel);
    }

    /// The next letter for which a way is to be chosen.
    pub fn next_question(&mut self, now: Instant, ctx: &mut Context) -> Option<Question> {
        while let Some(id) = self.custody.next_unrouted() {
            let Some(parcel) = self.custody.get(id) else { continue };
            let passage = self.memory.passage(&parcel.print);
            let tried = passage.map_or(0, |passage| passage.tried.len());
            if tried >= MAX_TRIED && parcel.own.is_some() {
                // This attempt is over; the next one avoids its first relay.
                self.release(now, id);
                continue;
            }
            if parcel.is_return || parcel.is_spent || tried >= MAX_TRIED {
                self.on_no_way(now, id, ctx);
                continue;
            }
            let returned = passage.into_iter().flat_map(|passage| &passage.returned).map(Stamp::of);
            let (me, origin) = (Stamp::of(&ctx.me.id), Stamp::of(&NodeId(parcel.letter.origin)));
            let doubted: Vec<NodeId> = self.links.doubted().collect();
            let own_dead = doubted.iter().map(|id| (me, Stamp::of(id)));
            let firsts = parcel.own.and_then(|own| self.origin.get(own)).map(|own| own.firsts.as_slice());
            let is_answer = parcel.letter.origin == ctx.me.id.0 && parcel.letter.kind == KIND_ANSWER;
            return Some(Question {
                parcel: id,
                to: NodeId(parcel.letter.to),
                is_own: parcel.letter.origin == ctx.me.id.0,
                hops: parcel.hops,
                avoid: parcel.path.0.iter().copied().chain(returned).chain([origin]).collect(),
                shun: firsts.unwrap_or_default().iter().copied().chain(parcel.slow).collect(),
                dead: parcel.dead.links().iter().copied().chain(own_dead).collect(),
                doubted,
                back: parcel.from.filter(|_| is_answer),
            });
        }
        None
    }

    /// The way of a letter was chosen.
    pub fn choose(&mut self, now: Instant, id: ParcelId, choice: Choice, ctx: &mut Context) {
        match choice {
            Choice::Give(hop) => self.give(now, id, hop, ctx),
            Choice::TooFar(relays) => {
                let own = self.custody.get(id).and_then(|parcel| parcel.own);
                let first =
                    own.filter(|own| self.origin.get(*own).is_some_and(|own| own.attempts == 1 && !own.is_lost));
                let is_untried = self.passage_of(id).is_none_or(|passage| passage.tried.is_empty());
                match first.filter(|_| is_untried) {
                    Some(own) => self.settle_as(own, Outcome::Unreachable { needs_hops: Some(relays) }, ctx),
                    None => self.on_no_way(now, id, ctx),
                }
            }
            Choice::NoWay => self.on_no_way(now, id, ctx),
        }
    }

    fn passage_of(&self, id: ParcelId) -> Option<&Passage> {
        self.custody.get(id).and_then(|parcel| self.memory.passage(&parcel.print))
    }

    /// Whoever gave it to us may know another way; without such a one it waits here.
    fn on_no_way(&mut self, now: Instant, id: ParcelId, ctx: &mut Context) {
        let before = self.passage_of(id).and_then(|passage| passage.from).map(|(before, _)| before);
        let is_open = |peer: &NodeId| ctx.roster.is_near(peer) && !self.links.is_doubted(peer);
        if let Some(before) = before.filter(is_open) {
            if let Some(parcel) = self.custody.get_mut(id) {
                parcel.is_return = true;
            }
            ctx.stats.letters_returned += 1;
            return self.give(now, id, before, ctx);
        }
        let own = self.custody.get_mut(id).and_then(|parcel| {
            parcel.is_return = false;
            parcel.dead = DeadLinks::default();
            self.memory.renew(&parcel.print);
            parcel.own
        });
        own.into_iter().for_each(|own| self.origin.lose(own));
        self.hope_at.get_or_insert(now + HOPE_EVERY);
        if let Some(evicted) = self.custody.park(id) {
            self.evict(now, evicted, ctx);
        }
    }

    /// A letter makes room. One of this node's own is begun anew later, and that attempt does not count: it tried no way to its end.
    fn evict(&mut self, now: Instant, id: ParcelId, ctx: &mut Context) {
        ctx.stats.letters_evicted += 1;
        let Some(parcel) = self.release(now, id) else { return };
        ctx.stats.crowd_out(Crowded::Letters, parcel.urgency.class());
        let hop = if let Place::With(hop) = parcel.place { Some(hop) } else { None };
        parcel.own.into_iter().for_each(|own| self.origin.forgive(own, hop, now + HOPE_EVERY));
    }

    fn give(&mut self, now: Instant, id: ParcelId, hop: NodeId, ctx: &mut Context) {
        self.custody.place(id, hop);
        let Some(parcel) = self.custody.get(id) else { return };
        let (urgency, pieces, bytes) = (parcel.urgency, parcel.letter.pieces(), parcel.letter.body.len());
        let (origin, expires, is_relay) = (NodeId(parcel.letter.origin), parcel.expires, parcel.letter.to != hop.0);
        if !parcel.is_return {
            self.memory.note_given(&parcel.print, hop);
        }
        if let Some(own) = parcel.own.and_then(|own| self.origin.get_mut(own)) {
            own.is_lost = false;
            if is_relay && !own.firsts.contains(&hop) {
                own.firsts.push(hop);
            }
        }
        let rtt = ctx.roster.get(&hop).and_then(|peer| peer.best_path()?.rtt);
        let letter = Waiting::new(id, pieces, bytes, now + expires.since(now) / 2);
        let evicted = self.links.open(now, hop, rtt).push(urgency, origin, letter);
        evicted.into_iter().for_each(|parcel| self.evict(now, parcel, ctx));
        self.fill(now, hop, ctx);
    }

    /// Sends as much to a neighbour as may be in flight.
    pub(super) fn fill(&mut self, now: Instant, hop: NodeId, ctx: &mut Context) {
        while let Some(next @ (id, piece, _)) = self.links.get_mut(&hop).and_then(|link| link.next_piece(now)) {
            let Some(parcel) = self.custody.get(id) else { continue };
            let is_urgent = parcel.urgency == Priority::Critical;
            self.carried += 1;
            let message = self.carrying(self.carried, now, (parcel, piece), ctx);
            ctx.out.send(Destination::Peer(hop), message);
            if let Some(link) = self.links.get_mut(&hop) {
                link.launch(now, self.carried, next, is_urgent);
            }
        }
    }

    /// What is said to bring a piece further.
    fn carrying(&self, number: u64, now: Instant, (parcel, piece): (&Parcel, usize), ctx: &Context) -> Message {
        let count = parcel.letter.pieces();
        let body = parcel.letter.body.chunks(MAX_PIECE).nth(piece).unwrap_or_default().to_vec();
        let left_ms = parcel.expires.since(now).min(MAX_LEFT).as_millis();
        let left_ms = u32::try_from(left_ms).unwrap_or(u32::MAX).max(1);
        let letter = Letter { left_ms, body, ..parcel.letter.clone_head() };
        let part = |n: usize| u8::try_from(n).expect("a letter has 64 pieces at most");
        let fragment = (count > 1).then(|| Fragment { index: part(piece), count: part(count) });
        let me = Stamp::of(&ctx.me.id);
        let mut dead = DeadLinks::default();
        dead.add(self.links.doubted().map(|id| (me, Stamp::of(&id))));
        dead.add(parcel.dead.links().iter().copied());
        if parcel.is_return {
            return Message::Back(Back { number, letter, dead, fragment });
        }
        let is_mine = parcel.letter.origin == ctx.me.id.0;
        // A path that is full was refused when it came.
        let path = if is_mine { Path::default() } else { parcel.path.with(me).unwrap_or_default() };
        Message::Carry(Carry { number, letter, hops: parcel.hops, path, dead, fragment })
    }

    /// Lets go of a letter; an own one goes on waiting for its answer.
    pub(super) fn release(&mut self, now: Instant, id: ParcelId) -> Option<Parcel> {
        let parcel = self.custody.release(id)?;
        if let Place::With(hop) = parcel.place
            && let Some(link) = self.links.get_mut(&hop)
        {
            link.drop_parcel(id);
        }
        if parcel.is_return {
            self.memory.forget(&parcel.print);
        }
        if let Some(own) = parcel.own {
            self.origin.let_go(now, own);
        }
        self.origin.retry_starved();
        Some(parcel)
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        self.answers.on_wake(now, &mut ctx.out);
        if self.hope_at.is_some_and(|at| now >= at) {
            self.on_map_changed();
        }
        while let Some(own) = self.origin.due(now) {
            self.on_timer(now, own, ctx);
        }
        while let Some(parcel) = self.custody.expired(now) {
            let released = self.release(now, parcel);
            let is_mine = released.is_none_or(|parcel| parcel.letter.origin == ctx.me.id.0);
            ctx.stats.letters_expired += u64::from(!is_mine);
        }
        for id in self.links.due(now) {
            while let Some(due) = self.links.get_mut(&id).and_then(|link| link.take_due(now)) {
                self.on_due(now, id, due, ctx);
            }
        }
    }

    fn on_due(&mut self, now: Instant, id: NodeId, due: Due, ctx: &mut Context) {
        match due {
            Due::Again(number) => {
                let Some(flight) = self.links.get(&id).and_then(|link| link.flight(number)).copied() else { return };
                let Some(parcel) = self.custody.get(flight.parcel) else {
                    return self.links.get_mut(&id).into_iter().for_each(|link| link.forget(number));
                };
                let is_first = parcel.slow != Some(id);
                if flight.timeouts >= SLOW && is_first && parcel.letter.to != id.0 && !parcel.is_return {
                    return self.look_elsewhere(id, flight.parcel);
                }
                let message = self.carrying(number, now, (parcel, flight.piece), ctx);
                ctx.stats.letters_retransmitted += u64::from(flight.timeouts > 0);
                if flight.timeouts == 1 {
                    ctx.out.notice(Notice::Carried(id, None));
                    ctx.out.notice(Notice::Untaken(id));
                }
                // The best way may be the one that is dead.
                let to = if flight.timeouts > 1 { Destination::EveryPath(id) } else { Destination::Peer(id) };
                ctx.out.send(to, message);
            }
            Due::Probe => {
                let nonce = ctx.random.bits();
                self.links.get_mut(&id).into_iter().for_each(|link| link.note_asked(nonce));
                ctx.out.send(Destination::EveryPath(id), Message::Ping(Ping { nonce }));
            }
            Due::Doubt => {
                ctx.stats.links_doubted += 1;
                self.note_given_up(&id, ctx);
                self.links.doubt(id);
                self.reroute_from(&id);
            }
        }
    }

    /// A relay answers what it is asked and does not take a letter, so that nobody doubts it: it has no room, or means ill. The letter goes
    /// by another way if there is one, and else stays with it.
    fn look_elsewhere(&mut self, relay: NodeId, id: ParcelId) {
        self.links.get_mut(&relay).into_iter().for_each(|link| link.drop_parcel(id));
        if let Some(parcel) = self.custody.get_mut(id) {
            parcel.slow = Some(relay);
        }
        self.custody.reroute(id);
    }

    /// An own letter's time is over, or its way took too long.
    fn on_timer(&mut self, now: Instant, id: OwnId, ctx: &mut Context) {
        let Some(own) = self.origin.get(id) else { return };
        if now >= own.deadline {
            let reason = if own.is_lost || own.begun.is_none() { "no way" } else { "no answer" };
            self.settle_expired(id, reason, ctx);
        } else if own.parcel.is_none() && own.begun.is_some() && own.tried() < MAX_ATTEMPTS {
            self.attempt(id, ctx);
        } else {
            self.origin.wait(id);
        }
    }

    /// A destination says that a letter of ours arrived.
    pub(super) fn on_answered(&mut self, now: Instant, from: NodeId, answer: &Letter, ctx: &mut Context) {
        let Some(path) = Path::parse(&answer.body) else { return ctx.stats.drop(Reject::Malformed) };
        // Late ones are usual: the letter is settled.
        if let Some(own) = self.origin.find(&from, answer.number) {
            self.settle_delivered(now, own, &path, ctx);
        }
    }

    pub(super) fn settle_delivered(&mut self, now: Instant, id: OwnId, path: &Path, ctx: &mut Context) {
        let Some(own) = self.origin.get(id) else { return };
        let Some((_, _, begun)) = own.begun else { return };
        // One that made room here may have arrived: something did.
        let (to, attempts, rtt) = (own.to, own.tried().max(1), now.since(begun));
        self.origin.note_rtt(now, id);
        ctx.stats.letters_delivered += 1;
        let outcome = delivered(rtt, path, (to, attempts), ctx);
        self.settle_as(id, outcome, ctx);
    }

    pub(super) fn settle_expired(&mut self, id: OwnId, reason: &'static str, ctx: &mut Context) {
        let attempts = self.origin.get(id).map_or(0, Own::tried);
        ctx.stats.letters_expired += 1;
        self.settle_as(id, Outcome::Expired { reason, attempts }, ctx);
    }

    fn settle_as(&mut self, id: OwnId, outcome: Outcome, ctx: &mut Context) {
        let Some(own) = self.origin.settle(id) else { return };
        if let Some(parcel) = own.parcel {
            self.release(Instant::ZERO, parcel);
        }
        settle(own.ticket, own.to, outcome, ctx);
    }
}

fn settle(ticket: Ticket, to: NodeId, outcome: Outcome, ctx: &mut Context) {
    if ticket == Ticket::OWN {
        return;
    }
    ctx.out.event(Event::Settled { ticket, to, outcome });
}

//! Decides what our own signature from elsewhere means: a second node with our identity, or our own future on a restored disk.

use std::net::SocketAddr;

use crate::effect::outbox::Destination;
use crate::effect::{Arrival, Event, NewSecret, Persist};
use crate::ground::id::{Epoch, SessionTag};
use crate::ground::time::{Duration, Instant};
use crate::machines::membership::read_card;
use crate::model::member::Card;
use crate::model::op::SignedOp;
use crate::node::Node;

/// How long a rival may take to prove that it lives, before the signature is taken for our own past.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Runs begun in a row because of signatures that nobody answered for, after which whoever makes them lives. Of a restored backup some
/// of its own runs may come to light in turn, each by a neighbour that knew it alone: not so many, and not each within a minute.
const MAX_RISEN: u32 = 16;
/// They are in a row if each comes so soon after the last.
const IN_A_ROW: Duration = Duration::from_secs(60);

/// A signature of ours that we do not remember.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    seen: Option<(Epoch, Instant)>,
    rival: Option<Rival>,
    /// How many runs in a row were begun above such a signature, and the last when.
    risen: Option<(u32, Instant)>,
}

/// A second node with our identity. It makes room without a word, and others go on holding its run for ours.
#[derive(Debug, Clone, Copy)]
struct Rival {
    /// Its greatest run.
    epoch: Epoch,
    /// Whether the application was told of it.
    told: bool,
}

impl Ghosts {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.seen.map(|(_, at)| at + PATIENCE)
    }

    fn note_rival(&mut self, epoch: Epoch, told: bool) {
        let known = self.rival.unwrap_or(Rival { epoch, told });
        self.rival = Some(Rival { epoch: epoch.max(known.epoch), told: told || known.told });
    }
}

impl Node {
    /// Somebody shows a card signed with our key as its own: a node that lives, not our past.
    pub(super) fn on_own_double(&mut self, now: Instant, op: SignedOp, arrival: Arrival) {
        let (epoch, tag) = (op.epoch(), read_card(&op).map(|card| card.session()));
        // Of this run's own cards one with another tag says no more than that this node slept, or that its clock was set: a recording, or
        // what waited in its own socket. A copy of it while it ran proves itself.
        let is_ours = self.replication.remembers(&op, &self.ctx);
        if is_ours || self.ghosts.rival.is_some_and(|rival| epoch <= rival.epoch) {
            // Its HELLO comes by several ways, and the checks left for it are for its proof.
            if let Some(tag) = tag {
                self.discovery.on_stranger(now, tag, arrival, None, &mut self.ctx);
            }
        } else if self.check_ghost(now, op, Some(arrival), arrival.from) {
            // What proves it may be lost, and it has made room by the time it is asked again.
            self.ghosts.note_rival(epoch, false);
        }
    }

    /// Something signed with our key and unknown to us arrived.
    pub(super) fn on_own_ghost(&mut self, now: Instant, op: SignedOp, arrival: Option<Arrival>) {
        // A copy tells all of its state before it shows its card and proves itself: those checks must not be used up by then. No
        // datagram comes from port 0.
        let ip = arrival.map_or(std::net::IpAddr::from([0, 0, 0, 0]), |arrival| arrival.from.ip());
        self.check_ghost(now, op, arrival, (ip, 0).into());
    }

    /// Whether it is ours and of no past run. Whoever sent it is asked to prove itself. The check is charged to this source.
    fn check_ghost(&mut self, now: Instant, op: SignedOp, arrival: Option<Arrival>, source: SocketAddr) -> bool {
        let key = self.ctx.me.identity.public_key();
        let is_past = op.epoch() < self.ctx.me.epoch;
        if !self.discovery.may_check(now, source, true) || !self.ctx.verify_op(&op, &key) {
            return false;
        }
        self.replication.on_own_past(&op, &mut self.ctx);
        let card = read_card(&op);
        if let (Some(arrival), Some(card)) = (arrival, &card) {
            self.discovery.on_stranger(now, card.session(), arrival, None, &mut self.ctx);
        }
        if let Some(card) = &card {
            self.challenge_addresses(now, card);
        }
        if is_past {
            return false;
        }
        let seen = self.ghosts.seen.map_or(op.epoch(), |(epoch, _)| epoch.max(op.epoch()));
        let since = self.ghosts.seen.map_or(now, |(_, since)| since);
        self.ghosts.seen = Some((seen, since));
        true
    }

    fn challenge_addresses(&mut self, now: Instant, card: &Card) {
        let addresses: Vec<_> = card.addresses.iter().map(crate::model::member::CardAddress::socket).collect();
        for address in addresses {
            let challenge = self.discovery.challenges().make(now, card.session(), address);
            self.discovery.challenges().note_asked(now, address);
            self.ctx.out.send(Destination::Address(address, None), challenge);
        }
    }

    /// A second node proved that it holds our identity and lives: the greater run makes room.
    pub(super) fn on_rival(&mut self, now: Instant, op: &SignedOp, card: &Card) {
        self.ghosts.seen = None;
        let ours = (self.ctx.me.epoch, self.ctx.me.tag);
        let theirs = (op.epoch(), SessionTag(card.tag));
        if ours == theirs {
            return;
        }
        let rekeyed = ours > theirs;
        // It proves itself to each of our questions.
        let is_told = self.ghosts.rival.is_some_and(|rival| rival.told && op.epoch() <= rival.epoch);
        if rekeyed || !is_told {
            self.ctx.out.event(Event::Cloned { rekeyed });
        }
        self.ghosts.note_rival(op.epoch(), true);
        if rekeyed {
            self.begin_anew(now);
        }
    }

    /// Makes room for a second node with our identity, under a new one.
    fn begin_anew(&mut self, now: Instant) {
        let secret = self.ctx.random.bytes();
        self.ctx.out.persist(Persist::Identity(NewSecret(secret)));
        let epoch = Epoch::new(self.ctx.me.epoch.counter(), self.ctx.random.bits() as u32);
        self.begin_run(now, Some(secret), epoch);
    }

    /// No rival answers: the signature is of one that has made room, or our own from before the disk was set back. Others
    /// hold that run for ours, and hear none below it.
    pub(super) fn on_ghost_unanswered(&mut self, now: Instant) {
        let Some((seen, _)) = self.ghosts.seen.take() else { return };
        let rival = self.ghosts.rival.filter(|rival| seen <= rival.epoch);
        let in_a_row = self.ghosts.risen.filter(|(_, at)| now.since(*at) < IN_A_ROW).map_or(0, |(runs, _)| runs);
        if rival.is_none() && in_a_row >= MAX_RISEN {
            // It goes above us as we go above it: a copy that lives where none of our questions leads.
            self.ctx.out.event(Event::Cloned { rekeyed: true });
            self.begin_anew(now);
            return;
        }
        let risen = rival.is_none().then_some((in_a_row + 1, now));
        let counter = seen.counter().saturating_add(1);
        let epoch = Epoch::new(counter, self.ctx.random.bits() as u32);
        self.ctx.out.persist(Persist::EpochCounter(counter));
        if rival.is_some_and(|rival| !rival.told) {
            self.ctx.out.event(Event::Cloned { rekeyed: false });
        }
        self.ctx.out.event(if rival.is_some() { Event::Overtaken { epoch } } else { Event::Restored { epoch } });
        self.begin_run(now, None, epoch);
        self.ghosts.risen = risen;
    }
}

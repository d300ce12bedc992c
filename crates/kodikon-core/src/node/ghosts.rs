//! Decides what our own signature from elsewhere means: a second node with our identity, or our own future on a restored disk.

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

/// A signature of ours that we do not remember.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    seen: Option<(Epoch, Instant)>,
}

impl Ghosts {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.seen.map(|(_, at)| at + PATIENCE)
    }
}

impl Node {
    /// Something signed with our key and unknown to us arrived. Whoever sent it is asked to prove itself.
    pub(super) fn on_own_ghost(&mut self, now: Instant, op: SignedOp, arrival: Option<Arrival>) {
        let key = self.ctx.me.identity.public_key();
        let is_past = op.epoch() < self.ctx.me.epoch;
        let from = arrival.map_or(std::net::SocketAddr::from(([0, 0, 0, 0], 0)), |arrival| arrival.from);
        if !self.discovery.may_check(now, from, true) || !self.ctx.verify_op(&op, &key) {
            return;
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
            return;
        }
        let seen = self.ghosts.seen.map_or(op.epoch(), |(epoch, _)| epoch.max(op.epoch()));
        let since = self.ghosts.seen.map_or(now, |(_, since)| since);
        self.ghosts.seen = Some((seen, since));
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
        self.ctx.out.event(Event::Cloned { rekeyed });
        if rekeyed {
            let secret = self.ctx.random.bytes();
            self.ctx.out.persist(Persist::Identity(NewSecret(secret)));
            let epoch = Epoch::new(self.ctx.me.epoch.counter(), self.ctx.random.bits() as u32);
            self.begin_run(now, Some(secret), epoch);
        }
    }

    /// No rival answered: the signature is our own, from before the disk was set back.
    pub(super) fn on_ghost_unanswered(&mut self, now: Instant) {
        let Some((epoch, _)) = self.ghosts.seen.take() else { return };
        let counter = epoch.counter().saturating_add(1);
        let epoch = Epoch::new(counter, self.ctx.random.bits() as u32);
        self.ctx.out.persist(Persist::EpochCounter(counter));
        self.ctx.out.event(Event::Restored { epoch });
        self.begin_run(now, None, epoch);
    }
}

//! Decides how a letter reaches one other node and what its origin learns of it: custody hop by hop, and attempts end to end.

mod answers;
mod custody;
mod ids;
mod keys;
mod learned;
mod links;
mod memory;
mod origin;
mod outgoing;
mod proof;
mod rates;

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::messages::answers::{Answers, Taken};
use crate::machines::messages::custody::{Custody, Parcel, Place};
use crate::machines::messages::keys::Keys;
use crate::machines::messages::learned::Learned;
use crate::machines::messages::links::{Link, Links};
use crate::machines::messages::memory::{Memory, Passage};
use crate::machines::messages::origin::Origin;
use crate::machines::messages::rates::Rates;
use crate::model::letter::{Outcome, Priority};
use crate::model::member::Liveness;
use crate::model::roster::Peer;
use crate::model::windows::{Arrived, MAX_ORIGINS, Windows};
use crate::wire::fragments::{Fragments, MAX_BYTES, MAX_SETS, Pieced};
use crate::wire::letter::{
    Back, Carry, DeadLinks, Fragment, Got, KIND_ANSWER, KIND_PACKED, KIND_TEXT, Letter, MAX_PATH, Path, Print, Stamp,
    Tag,
};
use crate::wire::message::LogReceipt;
use crate::wire::search::is_own;

pub use ids::ParcelId;
pub use outgoing::{Choice, Question};

/// A letter is held no longer than this, whatever it says of the time that is left: longer than any deadline of ours.
const MAX_LEFT: Duration = Duration::from_secs(3_600);

/// What is said from one node to another. See the module's first line.
#[derive(Debug)]
pub struct Messages {
    custody: Custody,
    links: Links,
    answers: Answers,
    origin: Origin,
    keys: Keys,
    windows: Windows,
    memory: Memory,
    fragments: Fragments<Letter>,
    rates: Rates,
    learned: Learned,
    /// When what waits without a way is tried again, though nothing is known to have changed: a relay's doubt ends and nobody is told.
    hope_at: Option<Instant>,
    /// The number of the last carrying.
    carried: u64,
}

impl Messages {
    /// Nothing to say; `secret` is known to nobody else.
    #[must_use]
    pub fn new(secret: u64) -> Self {
        Self {
            custody: Custody::default(),
            links: Links::default(),
            answers: Answers::new(),
            origin: Origin::default(),
            keys: Keys::new(),
            windows: Windows::default(),
            memory: Memory::new(secret),
            fragments: Fragments::default(),
            rates: Rates::new(),
            learned: Learned::new(),
            hope_at: None,
            carried: 0,
        }
    }

    /// A neighbour gives us a letter, or a piece of one.
    pub fn on_carry(&mut self, now: Instant, from: NodeId, carry: Carry, ctx: &mut Context) {
        let Carry { number, letter, hops, path, dead, fragment } = carry;
        if !self.is_welcome(&from, &letter, ctx) {
            return;
        }
        let (print, is_urgent) = (letter.print(), letter.urgency() == Some(Priority::Critical));
        let mut came = Came { from, number, print, hops, path, dead, is_urgent, is_again: false };
        // A peer's own were charged with its datagrams. What is too much is taken and let go: left with the relay it would hold up
        // what others send by it.
        if letter.origin != from.0 && !self.rates.charge(now, NodeId(letter.origin)) {
            ctx.offenders.note(&NodeId(letter.origin), Excess::Letters);
            ctx.stats.drop(Reject::Rate);
            return self.answer(now, &came, None, ctx);
        }
        let is_ours = letter.to == ctx.me.id.0;
        if let Some(parcel) = self.given_back(&print, &came) {
            // Whom we give it back to has it already, and somebody found that the way leads by us after all: our duty anew.
            self.release(now, parcel);
        }
        if letter.origin == ctx.me.id.0 || self.memory.knows(&print) {
            ctx.stats.letters_repeated += 1;
            came.is_again = true;
            let receipt = self.memory.receipt(&print).filter(|_| letter.origin == from.0);
            return self.answer(now, &came, receipt, ctx);
        }
        let letter = match self.assemble(from, letter, fragment) {
            Pieced::Whole(letter) => letter,
            Pieced::Part => return self.answer(now, &came, None, ctx),
            Pieced::Malformed => return ctx.stats.drop(Reject::Malformed),
        };
        if is_ours { self.receive(now, came, letter, ctx) } else { self.relay(now, came, letter, ctx) }
    }

    /// The letter that we are giving back to whom it came from, if this is another carrying of it and not the same again.
    fn given_back(&self, print: &Print, came: &Came) -> Option<ParcelId> {
        let passage = self.memory.passage(print)?;
        let (before, number) = passage.from?;
        let is_it =
            |id: &ParcelId| self.custody.get(*id).is_some_and(|parcel| parcel.is_return && parcel.print == *print);
        let returned = self.custody.with(&before).into_iter().find(is_it);
        returned.filter(|_| (before, number) != (came.from, came.number))
    }

    /// Whether a letter may be looked at: from a neighbour, with time left, and with room for it.
    fn is_welcome(&self, from: &NodeId, letter: &Letter, ctx: &mut Context) -> bool {
        // What its origin itself says to this node stays here, and its receipt goes with the acknowledgement.
        let needs_room = letter.to != ctx.me.id.0 || letter.origin != from.0;
        let reason = if !ctx.roster.is_near(from) {
            Reject::Stranger
        } else if letter.urgency().is_none() || letter.left_ms == 0 {
            Reject::Malformed
        } else if needs_room && !self.has_room(from, letter, letter.body.len().max(4 * MAX_PATH)) {
            Reject::Limit
        } else {
            return true;
        };
        ctx.stats.drop(reason);
        false
    }

    /// Whether a letter of so many bytes finds room among those of the neighbour that gives it.
    fn has_room(&self, from: &NodeId, letter: &Letter, bytes: usize) -> bool {
        letter.urgency().is_some_and(|urgency| self.custody.has_room(from, urgency, bytes))
    }

    /// The whole letter, as soon as it is.
    fn assemble(&mut self, from: NodeId, letter: Letter, fragment: Option<Fragment>) -> Pieced<Letter> {
        match fragment {
            Some(fragment) => self.fragments.add(from, letter, fragment),
            None if letter.pieces() == 1 => Pieced::Whole(letter),
            None => Pieced::Malformed,
        }
    }

    fn answer(&mut self, now: Instant, came: &Came, receipt: Option<Tag>, ctx: &mut Context) {
        let taken = Taken { number: came.number, receipt, is_urgent: came.is_urgent, is_again: came.is_again };
        self.answers.add(now, came.from, taken, &mut ctx.out);
    }

    /// The tag of a receipt that this node tells a peer alone; `None` if the two have no key.
    pub fn tag_receipt(&mut self, to: &NodeId, receipt: &LogReceipt, ctx: &Context) -> Option<Tag> {
        self.keys.with(to, ctx).map(|(_, pair)| receipt.tag_under(&pair.outward))
    }

    /// Whether a receipt is a peer's own word to this node, of its present run.
    pub fn is_told_by(&mut self, from: &NodeId, receipt: &LogReceipt, ctx: &Context) -> bool {
        self.keys.with(from, ctx).is_some_and(|(_, pair)| receipt.tag_under(&pair.inward) == receipt.tag)
    }

    /// A letter for this node.
    fn receive(&mut self, now: Instant, came: Came, letter: Letter, ctx: &mut Context) {
        let origin = NodeId(letter.origin);
        let held = ctx.roster.get(&origin).filter(|peer| peer.liveness != Liveness::Introduced);
        let Some(known) = held.map(Peer::epoch).filter(|known| Epoch(letter.epoch) <= *known) else {
            // Its card is on the way: the letter stays with the neighbour until it is here.
            return ctx.stats.drop(Reject::Stranger);
        };
        let pair = self.keys.with(&origin, ctx).filter(|_| Epoch(letter.epoch) == known);
        let Some((_, pair)) = pair.filter(|(_, pair)| letter.tag_under(&pair.inward) == letter.tag) else {
            ctx.stats.drop(Reject::Tag);
            return self.answer(now, &came, None, ctx);
        };
        let receipt = letter.receipt(&pair.inward);
        self.learned.note(now, origin, came.from, &came.path);
        let receipt = (came.from == origin).then_some(receipt);
        let taken = match letter.kind {
            KIND_TEXT | KIND_PACKED => self.receive_text(&came, &letter, ctx),
            KIND_ANSWER => {
                self.on_answered(now, origin, &letter, ctx);
                true
            }
            _later => false,
        };
        let receipt = receipt.filter(|_| taken);
        self.answer(now, &came, receipt, ctx);
        self.memory.note_received(came.print, receipt);
        if taken && letter.is_text() && receipt.is_none() {
            self.acknowledge(now, came, &letter, ctx);
        }
    }

    /// Hands a letter to the application, unless it was. `true` if it arrived, now or before.
    fn receive_text(&mut self, came: &Came, letter: &Letter, ctx: &mut Context) -> bool {
        let from = NodeId(letter.origin);
        let text = match letter.text() {
            Ok(text) => text,
            Err(reason) => {
                ctx.stats.drop(reason);
                return false;
            }
        };
        let Some(priority) = letter.urgency() else { return false };
        match self.windows.note(from, Epoch(letter.epoch), letter.number) {
            Arrived::New => {}
            Arrived::Before => {
                ctx.stats.letters_repeated += 1;
                return true;
            }
            Arrived::Unknown => {
                ctx.stats.drop(Reject::Stale);
                return false;
            }
        }
        if is_own(&text.kind) {
            ctx.out.notice(Notice::Told { from, kind: text.kind, text: text.payload });
            return true;
        }
        ctx.stats.letters_received += 1;
        let name = ctx.roster.get(&from).map(|peer| peer.card.shown_name()).unwrap_or_default();
        let path = named(&came.path, ctx);
        let event = Event::Message { from, name, kind: text.kind, payload: text.payload, priority, path };
        ctx.out.event(event);
        true
    }

    /// Writes back that a letter arrived, and by which way.
    fn acknowledge(&mut self, now: Instant, came: Came, letter: &Letter, ctx: &mut Context) {
        let to = NodeId(letter.origin);
        let Some((_, pair)) = self.keys.with(&to, ctx) else { return };
        let mut answer = Letter {
            origin: ctx.me.id.0,
            epoch: ctx.me.epoch.0,
            to: letter.origin,
            kind: KIND_ANSWER,
            body: came.path.bytes(),
            tag: [0; 16],
            ..letter.clone_head()
        };
        answer.tag = answer.tag_under(&pair.outward);
        let print = answer.print();
        if self.memory.knows(&print) {
            return;
        }
        let expires = now + left(&answer);
        self.memory.note(print, Passage::new(None, Path::default(), ctx.config.max_hops, expires));
        let mut parcel = Parcel::new((answer, print), ctx.config.max_hops, expires, Some(came.from));
        // What the letter had to go around its answer need not try.
        parcel.dead = came.dead;
        self.custody.take(parcel);
    }

    /// A letter for another node: from now on it is our duty.
    fn relay(&mut self, now: Instant, came: Came, letter: Letter, ctx: &mut Context) {
        let print = came.print;
        let expires = now + left(&letter);
        let is_loop = came.path.0.contains(&Stamp::of(&ctx.me.id)) || came.path.0.len() == MAX_PATH;
        if is_loop || !self.has_room(&came.from, &letter, letter.body.len()) {
            return ctx.stats.drop(if is_loop { Reject::Replay } else { Reject::Limit });
        }
        self.answer(now, &came, None, ctx);
        // Nobody here can tell whether its origin wrote it: who is unknown takes no place of those who are known.
        if ctx.roster.get(&NodeId(letter.origin)).is_some_and(|peer| peer.liveness.is_present()) {
            self.learned.note(now, NodeId(letter.origin), came.from, &came.path);
        }
        self.memory.note(print, Passage::new(Some((came.from, came.number)), came.path.clone(), came.hops, expires));
        // We are one of the relays that it may pass.
        let hops = came.hops.checked_sub(1);
        let mut parcel = Parcel::new((letter, print), hops.unwrap_or(0), expires, Some(came.from));
        (parcel.path, parcel.dead, parcel.is_spent) = (came.path, came.dead, hops.is_none());
        self.custody.take(parcel);
    }

    /// A neighbour says what it took.
    pub fn on_got(&mut self, now: Instant, from: NodeId, got: &Got, ctx: &mut Context) {
        let receipts = got.receipts.iter().map(|receipt| (receipt.number, Some(receipt.tag)));
        for (number, receipt) in got.taken.iter().map(|number| (*number, None)).chain(receipts) {
            let Some(flight) = self.links.get_mut(&from).and_then(|link| link.land(now, number)) else {
                // What was answered before is answered again where it was sent twice, and what was given up may arrive all the same.
                let late = receipt.and_then(|tag| self.memory.late(from, number, tag));
                late.into_iter().for_each(|own| self.settle_delivered(now, own, &Path::default(), ctx));
                continue;
            };
            if flight.timeouts == 0 {
                ctx.out.notice(Notice::Carried(from, Some(flight.age(now))));
            }
            let Some(parcel) = self.custody.get_mut(flight.parcel) else { continue };
            parcel.left = parcel.left.saturating_sub(1);
            let is_over = parcel.left == 0;
            if let Some(tag) = receipt {
                let expected = self.keys.with(&from, ctx).map(|(_, pair)| parcel.letter.receipt(&pair.outward));
                if parcel.letter.to == from.0 && expected == Some(tag) {
                    let own = parcel.own;
                    self.release(now, flight.parcel);
                    if let Some(own) = own {
                        self.settle_delivered(now, own, &Path::default(), ctx);
                    }
                    continue;
                }
                ctx.stats.drop(Reject::Tag);
            }
            if is_over {
                let parcel = self.release(now, flight.parcel);
                ctx.stats.letters_relayed +=
                    u64::from(parcel.is_some_and(|parcel| parcel.letter.origin != ctx.me.id.0));
            }
        }
        if let Some(proven) = self.links.get_mut(&from).and_then(|link| link.proof.take(now)) {
            ctx.out.notice(Notice::Proven { peer: from, rate: proven.rate, queued: proven.queued });
        }
        self.fill(now, from, ctx);
    }

    /// A carrying waits to leave: the time until it is answered runs from then.
    pub fn on_waits(&mut self, to: NodeId, number: u64) {
        if let Some(link) = self.links.get_mut(&to) {
            link.hold(number);
        }
    }

    /// Whether a neighbour has not answered a carrying yet.
    #[must_use]
    pub fn awaits(&self, to: &NodeId, number: u64) -> bool {
        self.links.get(to).is_some_and(|link| link.flight(number).is_some())
    }

    /// A carrying that waited leaves.
    pub fn on_departed(&mut self, now: Instant, to: NodeId, number: u64) {
        if let Some(link) = self.links.get_mut(&to) {
            link.depart(now, number);
        }
    }

    /// What was on its way to a neighbour has left: more may follow.
    pub fn go_on(&mut self, now: Instant, to: NodeId, ctx: &mut Context) {
        self.fill(now, to, ctx);
    }

    /// A neighbour to whom we gave a letter found no way.
    pub fn on_back(&mut self, now: Instant, from: NodeId, back: Back, ctx: &mut Context) {
        let Back { number, letter, dead, fragment } = back;
        if !self.is_welcome(&from, &letter, ctx) {
            return;
        }
        let (print, is_urgent) = (letter.print(), letter.urgency() == Some(Priority::Critical));
        let path = Path::default();
        let mut came = Came { from, number, print, hops: 0, path, dead, is_urgent, is_again: false };
        if !self.memory.was_given(&print, &from) {
            came.is_again = true;
            self.answer(now, &came, None, ctx);
            return ctx.stats.drop(Reject::Unasked);
        }
        self.answer(now, &came, None, ctx);
        match self.assemble(from, letter, fragment) {
            Pieced::Whole(letter) => self.revive(now, came, letter, ctx),
            Pieced::Part => {}
            Pieced::Malformed => ctx.stats.drop(Reject::Malformed),
        }
    }

    /// A letter is in our custody again; its way goes on as if it had not been given.
    fn revive(&mut self, now: Instant, came: Came, letter: Letter, ctx: &mut Context) {
        let print = came.print;
        // It may come back before we are told that it was taken.
        let is_it = |id: &ParcelId| self.custody.get(*id).is_some_and(|parcel| parcel.print == print);
        if let Some(given) = self.custody.with(&came.from).into_iter().find(is_it) {
            self.release(now, given);
        }
        let Some(passage) = self.memory.give_back(&print, &came.from) else { return };
        let (expires, path, hops) = (passage.expires.min(now + left(&letter)), passage.path.clone(), passage.hops);
        let own = self.origin.find(&NodeId(letter.to), letter.number).filter(|_| passage.from.is_none());
        let current = own.and_then(|own| self.origin.get(own)).map(|own| (own.attempts, own.parcel));
        let is_text = letter.origin == ctx.me.id.0 && letter.is_text();
        let has_room = self.has_room(&came.from, &letter, letter.body.len());
        if now >= expires || !has_room || is_text && current != Some((letter.attempt, None)) {
            return;
        }
        let own = own.filter(|_| is_text);
        let hops = if letter.origin == ctx.me.id.0 { hops } else { hops.saturating_sub(1) };
        let mut parcel = Parcel::new((letter, print), hops, expires, Some(came.from));
        (parcel.path, parcel.dead, parcel.own) = (path, came.dead, own);
        let id = self.custody.take(parcel);
        if let Some(own) = own {
            self.origin.hold(own, id);
        }
    }

    /// A neighbour answered a probe.
    pub fn on_pong(&mut self, id: &NodeId, nonce: u64) {
        if self.links.on_pong(id, nonce) {
            self.on_map_changed();
        }
    }

    /// There may be ways where there were none.
    pub fn on_map_changed(&mut self) {
        self.hope_at = None;
        self.custody.unpark();
        self.origin.hope();
    }

    /// A peer is there, perhaps in a new run: what was said to its last one is over. It may have been handled, so that it is
    /// not said again.
    pub fn on_up(&mut self, id: &NodeId, ctx: &mut Context) {
        let Some(epoch) = ctx.roster.get(id).map(Peer::epoch) else { return };
        for own in self.origin.of_earlier_run(id, epoch) {
            self.settle_expired(own, "receiver restarted", ctx);
        }
    }

    /// A peer is not heard itself any more: what waits for it goes another way.
    pub fn on_unheard(&mut self, id: &NodeId, ctx: &mut Context) {
        self.note_given_up(id, ctx);
        self.links.close(id);
        self.reroute_from(id);
    }

    /// What is on its way to its destination may arrive, and be acknowledged late.
    fn note_given_up(&mut self, to: &NodeId, ctx: &mut Context) {
        let Some((_, pair)) = self.keys.with(to, ctx) else { return };
        for (number, flight) in self.links.get(to).into_iter().flat_map(Link::flights) {
            let Some(parcel) = self.custody.get(flight.parcel).filter(|parcel| parcel.letter.to == to.0) else {
                continue;
            };
            if let Some(own) = parcel.own {
                self.memory.note_given_up(*to, number, parcel.letter.receipt(&pair.outward), own);
            }
        }
    }

    fn reroute_from(&mut self, id: &NodeId) {
        self.custody.with(id).into_iter().for_each(|parcel| self.custody.reroute(parcel));
    }

    /// This node ends its run: nothing is heard of what it said.
    pub fn on_end(&mut self, ctx: &mut Context) {
        for own in self.origin.all() {
            self.settle_expired(own, "this node ended its run", ctx);
        }
    }

    /// The relay by which something came from a node lately, and all relays to it, the nearest first.
    #[must_use]
    pub fn learned(&self, now: Instant, id: &NodeId) -> Option<(NodeId, Vec<Stamp>)> {
        self.learned.way_to(now, id)
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let ends = [self.custody.next_deadline(), self.origin.next_deadline()];
        let says = [self.links.next_deadline(), self.answers.next_deadline(), self.hope_at];
        ends.into_iter().chain(says).flatten().min()
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self, peers: usize) -> Vec<(&'static str, usize, usize)> {
        let known = [
            ("letter_keys", self.keys.len(), MAX_PEERS),
            ("letter_windows", self.windows.len(), MAX_ORIGINS),
            ("letters_remembered", self.memory.len(), memory::MAX_PASSAGES),
            ("letters_received", self.memory.received(), memory::MAX_RECEIVED),
            ("letters_given_up", self.memory.given_up(), memory::MAX_GIVEN_UP),
            ("letters_in_pieces", self.fragments.len(), MAX_SETS),
            ("letter_bytes_in_pieces", self.fragments.bytes(), MAX_BYTES),
            ("letter_rates", self.rates.len(), rates::MAX_ORIGINS),
            ("ways_learned", self.learned.len(), learned::MAX_LEARNED),
            ("answers", self.answers.len(), MAX_PEERS),
        ];
        let moving = self.custody.table_sizes().into_iter().chain(self.links.table_sizes(peers));
        known.into_iter().chain(moving).chain(self.origin.table_sizes()).collect()
    }
}

/// How a letter came.
#[derive(Debug)]
struct Came {
    from: NodeId,
    number: u64,
    /// Of the letter, of which pieces have the same.
    print: Print,
    hops: u8,
    path: Path,
    dead: DeadLinks,
    is_urgent: bool,
    /// Whether it had been taken before.
    is_again: bool,
}

impl Parcel {
    fn new((letter, print): (Letter, Print), hops: u8, expires: Instant, from: Option<NodeId>) -> Self {
        Self {
            print,
            urgency: letter.urgency().unwrap_or_default(),
            left: letter.pieces(),
            letter,
            hops,
            path: Path::default(),
            dead: DeadLinks::default(),
            expires,
            from,
            own: None,
            is_return: false,
            is_spent: false,
            slow: None,
            place: Place::Unrouted,
        }
    }
}

/// The time that a letter has left, as far as we go along with it.
fn left(letter: &Letter) -> Duration {
    Duration::from_millis(u64::from(letter.left_ms)).min(MAX_LEFT)
}

/// The relays of a path that are known.
fn named(path: &Path, ctx: &Context) -> Vec<NodeId> {
    let of = |stamp: &Stamp| ctx.roster.present().map(|(id, _)| *id).find(|id| Stamp::of(id) == *stamp);
    path.0.iter().filter_map(of).collect()
}

/// What became of a letter that its destination has.
fn delivered(rtt: Duration, path: &Path, (to, attempts): (NodeId, u8), ctx: &Context) -> Outcome {
    let mut path = named(path, ctx);
    path.push(to);
    Outcome::Delivered { rtt, path, attempts }
}

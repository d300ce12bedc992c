//! Decides who is in the mesh: when a session counts as proven, when a peer is held alive, failed or gone, and for how long.

mod far;
mod guests;
mod introductions;
mod names;
mod verdicts;

use core::time::Duration;

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::effect::{Arrival, Cast, Event, Persist, Remembered};
use crate::ground::id::{NodeId, SessionTag};
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::machines::membership::guests::Guests;
use crate::machines::membership::introductions::Introductions;
use crate::model::member::{Card, Liveness, REASON_SILENCE};
use crate::model::op::{OpKind, SignedOp};
use crate::model::roster::{DirectoryEntry, Peer};
use crate::wire::message::{Message, Ops};

pub use far::{RELISTED, STILL_LISTED};
pub use names::Names;
pub use verdicts::{OpinionBody, read_opinion};

/// The directory is written at most this often: flash cards wear out.
const DIRECTORY_EVERY: Duration = Duration::from_secs(60);
/// How long the directory remembers: a week, over a camera's longest repair.
const DIRECTORY_AGE_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// How a frame's source address stands to the peer whose session sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The peer proved it.
    Proven,
    /// The peer never proved it: the frame may be a copy sent from elsewhere.
    Unproven,
}

/// Who is in the mesh. See the module's first line.
#[derive(Debug)]
pub struct Membership {
    names: Names,
    introductions: Introductions,
    guests: Guests,
    /// Of whom we said that they failed, and did not withdraw it.
    opined: std::collections::BTreeSet<NodeId>,
    directory_changed: Option<Instant>,
    next_sweep: Instant,
}

impl Membership {
    /// Nobody yet.
    #[must_use]
    pub fn new(now: Instant, settled: bool) -> Self {
        Self {
            names: Names::new(now, settled),
            introductions: Introductions::default(),
            guests: Guests::new(),
            opined: std::collections::BTreeSet::new(),
            directory_changed: None,
            next_sweep: now + SWEEP,
        }
    }

    /// A node proved that it is here now, over this address, with this card. `false` when it could not be taken in.
    pub fn prove(&mut self, now: Instant, op: SignedOp, card: Card, arrival: Arrival, ctx: &mut Context) -> bool {
        let (id, tag) = (op.author(), card.session());
        if ctx.roster.highest_epoch(&id).is_some_and(|known| op.epoch() < known) {
            ctx.stats.drop(Reject::Stale);
            return false;
        }
        let is_newer =
            ctx.roster.get(&id).is_none_or(|peer| (op.epoch(), op.seq()) > (peer.epoch(), peer.signed.seq()));
        if ctx.roster.is_full() && ctx.roster.get(&id).is_none() {
            self.make_room(now, ctx);
        }
        if is_newer && !self.take_in(now, op, card, Liveness::Introduced, ctx) {
            self.guests.admit(now, tag);
            return false;
        }
        self.guests.remove(tag);
        if let Some(peer) = ctx.roster.get_mut(&id) {
            peer.learn_path(now, arrival.from, arrival.interface);
        }
        // One that is suspect or failed must answer a probe, proof or not: its proof may have been on its way since
        // before. The address just proven may be the first on which it can.
        self.heard(now, id, arrival, ctx);
        self.introductions.nudge(&id, ctx);
        if ctx.roster.get(&id).is_some_and(|peer| peer.liveness == Liveness::Introduced) {
            self.rise(now, id, ctx);
        }
        true
    }

    /// Whether nothing more is to be asked of a session that is not placed: it proved itself and was refused.
    #[must_use]
    pub fn is_refused(&self, now: Instant, tag: SessionTag, ctx: &Context) -> bool {
        self.guests.is_settled(now, tag, ctx)
    }

    /// A live peer vouches for a node: it is asked for itself before it counts.
    pub fn introduce(&mut self, now: Instant, op: SignedOp, card: Card, ctx: &mut Context) {
        let id = op.author();
        if ctx.roster.is_over(&id, op.epoch())
            || self.introductions.is_crowded()
            || ctx.roster.get(&id).is_some_and(|peer| peer.liveness.is_present())
        {
            return;
        }
        if self.take_in(now, op, card, Liveness::Introduced, ctx) {
            self.introductions.begin(now, id, ctx);
        }
    }

    /// If a PONG answers our probe of somebody failed, suspect or vouched for: since when that one is asked.
    #[must_use]
    pub fn asked_at(&self, id: &NodeId, nonce: u64) -> Option<Instant> {
        self.introductions.asked_at(id, nonce)
    }

    /// A peer answered a probe of ours: it is alive now, however it was held.
    pub fn answered(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        self.introductions.end(&id);
        let Some(peer) = ctx.roster.get_mut(&id) else { return };
        peer.contested = false;
        let was_far = peer.far.is_some() && peer.liveness.is_present();
        match peer.liveness {
            Liveness::Alive => peer.note_heard(now),
            Liveness::Suspect => {
                peer.note_heard(now);
                self.clear(now, id, ctx);
            }
            Liveness::Introduced | Liveness::Failed => {
                ctx.roster.set_far(&id, None);
                self.rise(now, id, ctx);
            }
            Liveness::Left => {}
        }
        if was_far {
            ctx.roster.set_far(&id, None);
            ctx.out.notice(Notice::Near(id));
        }
    }

    /// Somebody vouched for asks who we are: our proof is on its way, and a probe with it.
    pub fn on_challenged(&self, id: &NodeId, ctx: &mut Context) {
        self.introductions.nudge(id, ctx);
    }

    /// Places a card and its session. An older run of the same node ends with it.
    fn take_in(&mut self, now: Instant, op: SignedOp, card: Card, liveness: Liveness, ctx: &mut Context) -> bool {
        let id = op.author();
        // Whoever shows an older card than one already known is no liar, but the newer one is what its author says.
        let newer = ctx.roster.newest_card(&id).filter(|held| (held.epoch(), held.seq()) > (op.epoch(), op.seq()));
        let (op, card) = match newer.and_then(|held| Some((held.clone(), read_card(held)?))) {
            Some(newer) => newer,
            None => (op, card),
        };
        let known = ctx.roster.get(&id).map(|peer| (peer.card.session(), peer.epoch(), peer.liveness));
        if known.is_none() && ctx.roster.is_full() {
            self.refuse(id, &card, ctx);
            return false;
        }
        if let Some((tag, epoch, held)) = known {
            if tag != card.session() {
                ctx.sessions.forget(tag);
            }
            if epoch == op.epoch() {
                // The same run with a newer card: what was known of it stays.
                self.renew(now, op, card, ctx);
                return true;
            }
            if held.is_present() {
                // Restarted before anybody noticed the end: its old ops end, and the events say so once.
                ctx.out.notice(Notice::Down(id));
            }
        }
        if !ctx.sessions.admit(&ctx.group, card.session(), id) {
            self.refuse(id, &card, ctx);
            return false;
        }
        let mut peer = Peer::new(now, op, card, liveness);
        if let Some(old) = ctx.roster.remove(&id) {
            peer.skew_ms = old.skew_ms;
            // Should the new run never answer, the directory must still know how far the old one had come.
            self.file(now, id, old, ctx);
        }
        ctx.roster.insert(id, peer)
    }

    fn refuse(&mut self, id: NodeId, card: &Card, ctx: &mut Context) {
        ctx.stats.drop(Reject::Refused);
        ctx.stats.peers_refused += 1;
        if self.names.is_new_refusal(id) {
            ctx.out.event(Event::Refused { peer: id, name: card.shown_name() });
        }
    }

    /// A newer card of a run that is known: applied in place.
    pub fn renew(&mut self, now: Instant, op: SignedOp, card: Card, ctx: &mut Context) {
        let id = op.author();
        let Some(peer) = ctx.roster.get(&id) else { return };
        if op.epoch() != peer.epoch() || op.seq() <= peer.signed.seq() || card.life() < peer.life() {
            return;
        }
        let old_tag = peer.card.session();
        if old_tag != card.session() {
            ctx.sessions.forget(old_tag);
            ctx.sessions.admit(&ctx.group, card.session(), id);
        }
        let peer = ctx.roster.get_mut(&id).expect("it was there above");
        let refutes = card.life() > peer.life();
        peer.signed = op;
        peer.replace_card(card);
        if refutes {
            // Verdicts named an earlier life: none of them holds for this one.
            peer.witnesses.clear();
        }
        let returns = refutes && peer.liveness == Liveness::Suspect;
        ctx.roster.touch();
        if returns {
            // It refuted once; whether it still can, it must say itself: its card may have come a long way.
            self.introductions.begin_if_none(now, id, ctx);
        }
        ctx.out.notice(Notice::CardChanged(id));
    }

    /// A sealed packet of a peer's own session arrived, its latest so far: it is alive, whatever others think. One that is
    /// suspect, failed, or only vouched for must answer a probe first: the packet may be a recording of one that was lost. So must one
    /// that was silent for long, as all are to a node that was away.
    pub fn heard(&mut self, now: Instant, id: NodeId, arrival: Arrival, ctx: &mut Context) -> Source {
        let hearing = ctx.hearing();
        let Some(peer) = ctx.roster.get_mut(&id) else { return Source::Unproven };
        peer.datagrams += 1;
        let source = match peer.hear_from(now, arrival.from, arrival.interface) {
            Some(path) => {
                if arrival.cast != Cast::Unicast {
                    path.group = Some((arrival.interface, now));
                }
                Source::Proven
            }
            None => Source::Unproven,
        };
        match peer.liveness {
            // What a node sent before its goodbye may arrive after it.
            Liveness::Left | Liveness::Introduced => {}
            Liveness::Alive if peer.far.is_none() && peer.silence(now) < hearing => {
                peer.note_heard(now);
                if peer.contested {
                    // What we hear may have been said to others before it failed.
                    self.introductions.begin_if_none(now, id, ctx);
                }
            }
            Liveness::Alive | Liveness::Failed | Liveness::Suspect => {
                self.introductions.begin_if_none(now, id, ctx);
            }
        }
        source
    }

    /// A suspect answered, refuted, or was heard by a third node.
    pub fn clear(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get_mut(&id).filter(|peer| peer.liveness == Liveness::Suspect) else { return };
        peer.note_return(now);
        let event = Event::PeerUp { peer: id, name: peer.card.shown_name(), epoch: peer.epoch(), life: peer.life() };
        ctx.roster.set_liveness(now, &id, Liveness::Alive, "");
        ctx.out.event(event);
        ctx.out.notice(Notice::Cleared(id));
    }

    fn rise(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get_mut(&id) else { return };
        if !matches!(peer.liveness, Liveness::Introduced | Liveness::Failed) {
            return;
        }
        peer.note_heard(now);
        let returned = peer.liveness == Liveness::Failed;
        let event = Event::PeerUp { peer: id, name: peer.card.shown_name(), epoch: peer.epoch(), life: peer.life() };
        ctx.roster.set_liveness(now, &id, Liveness::Alive, "");
        // Only now: of one that never answers, the directory must still know how far it had come.
        ctx.roster.recall(&id);
        self.introductions.end(&id);
        if !returned {
            ctx.stats.peers_discovered += 1;
        }
        ctx.out.event(event);
        ctx.out.notice(Notice::Up(id));
        if returned {
            // It may hold us failed too, and so may those around it.
            ctx.out.notice(Notice::ShowCard);
        }
        self.names.compare(now, id, ctx);
    }

    /// A peer did not answer its probes: suspect from now on.
    pub fn suspect(&mut self, now: Instant, id: NodeId, witness: NodeId, reason: &'static str, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&id).filter(|peer| peer.liveness == Liveness::Alive) else { return };
        let event = Event::PeerSuspect { peer: id, name: peer.card.shown_name(), witnesses: vec![witness], reason };
        ctx.roster.set_liveness(now, &id, Liveness::Suspect, reason);
        ctx.out.event(event);
    }

    /// A peer said goodbye; the signature was checked.
    pub fn leave(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&id) else { return };
        let was_present = peer.liveness.is_present();
        let name = peer.card.shown_name();
        if matches!(peer.liveness, Liveness::Left) {
            return;
        }
        ctx.roster.set_liveness(now, &id, Liveness::Left, "goodbye");
        self.directory_changed.get_or_insert(now);
        if was_present {
            ctx.out.event(Event::PeerLeft { peer: id, name });
            ctx.out.notice(Notice::Down(id));
        }
    }

    /// Compares names after a card changed in place.
    pub fn card_changed(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        self.names.compare(now, id, ctx);
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.introductions.next_deadline(), self.names.next_deadline(), Some(self.next_sweep)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        for id in self.introductions.on_wake(now, ctx) {
            ctx.out.notice(Notice::Silent(id));
        }
        self.names.on_wake(now, ctx);
        if now >= self.next_sweep {
            self.next_sweep = ctx.next_tick(now, SWEEP);
            self.weigh_suspects(now, ctx);
            self.sweep(now, ctx);
        }
    }

    /// A node that was vouched for answered no probe, and no other hears it either.
    pub fn drop_introduced(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        // One that failed keeps its row for as long as all who failed.
        if ctx.roster.get(&id).is_some_and(|peer| peer.liveness == Liveness::Introduced)
            && let Some(peer) = ctx.roster.remove(&id)
        {
            ctx.sessions.forget(peer.card.session());
            // Its signed card says how far it had come; of one never met there is nothing to keep. When and where it was heard, and how
            // it ended, is what was known before.
            if let Some(known) = ctx.roster.directory().get(&id) {
                let is_same = known.epoch == peer.epoch();
                let (liveness, reason) =
                    if is_same { (known.liveness, known.reason) } else { (Liveness::Failed, REASON_SILENCE) };
                let (heard, wall, addresses) = (known.heard, known.wall, known.addresses.clone());
                let entry = DirectoryEntry { liveness, reason, heard, wall, addresses, ..to_directory(now, peer, ctx) };
                ctx.roster.remember(id, entry);
                self.directory_changed.get_or_insert(now);
            }
        }
    }

    /// Moves rows that have been failed or gone for `heartbeat_timeout` to the directory, and keeps that on disk.
    fn sweep(&mut self, now: Instant, ctx: &mut Context) {
        let gone: Vec<NodeId> = ctx
            .roster
            .iter()
            .filter(|(_, peer)| matches!(peer.liveness, Liveness::Failed | Liveness::Left))
            .filter(|(_, peer)| now >= peer.since + ctx.config.heartbeat_timeout)
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.put_away(now, id, ctx));
        let oldest = ctx.wall(now).0.saturating_sub(DIRECTORY_AGE_MS);
        ctx.roster.retain_directory(|_, entry| entry.wall.0 >= oldest);
        if self.directory_changed.is_some_and(|since| now >= since + DIRECTORY_EVERY) {
            self.keep_directory(now, ctx);
        }
    }

    /// Of a full table whoever failed or left longest ago makes room at once for one that has proven that it is here.
    fn make_room(&mut self, now: Instant, ctx: &mut Context) {
        let gone = ctx.roster.iter().filter(|(_, peer)| matches!(peer.liveness, Liveness::Failed | Liveness::Left));
        if let Some(id) = gone.min_by_key(|(_, peer)| peer.since).map(|(id, _)| *id) {
            self.put_away(now, id, ctx);
        }
    }

    /// Moves a row to the directory.
    fn put_away(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        if let Some(peer) = ctx.roster.remove(&id) {
            ctx.sessions.forget(peer.card.session());
            self.introductions.end(&id);
            self.file(now, id, peer, ctx);
        }
    }

    /// Enters a row into the directory.
    fn file(&mut self, now: Instant, id: NodeId, peer: Peer, ctx: &mut Context) {
        let entry = to_directory(now, peer, ctx);
        ctx.roster.remember(id, entry);
        self.directory_changed.get_or_insert(now);
    }

    /// Writes the directory, with those present now: they are who to look for after a restart.
    pub fn keep_directory(&mut self, now: Instant, ctx: &mut Context) {
        self.directory_changed = None;
        let remembered = remembered(now, ctx);
        ctx.out.persist(Persist::Directory(remembered));
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 1] {
        [("guests", self.guests.len(), guests::MAX_GUESTS)]
    }

    /// Something about who is here changed: worth keeping, within a minute.
    pub fn note_change(&mut self, now: Instant) {
        self.directory_changed.get_or_insert(now);
    }
}

/// How often rows are looked at for having been failed long enough; a second is below what people see.
const SWEEP: Duration = Duration::from_secs(1);

/// The directory and those present, as they are kept on disk.
#[must_use]
pub fn remembered(now: Instant, ctx: &Context) -> Vec<Remembered> {
    let present = ctx.roster.iter().filter(|(_, peer)| peer.heard.is_some()).map(|(id, peer)| Remembered {
        id: *id,
        epoch: peer.epoch(),
        life: peer.life(),
        name: peer.card.shown_name(),
        wall: ctx.wall(peer.heard.unwrap_or(now)),
        left: peer.liveness == Liveness::Left,
        addresses: proven_addresses(peer),
        signed: Some(peer.signed.clone()),
    });
    let departed = ctx.roster.directory().iter().map(|(id, entry)| Remembered {
        id: *id,
        epoch: entry.epoch,
        life: entry.life,
        name: entry.name.clone(),
        wall: entry.wall,
        left: entry.liveness == Liveness::Left,
        addresses: entry.addresses.clone(),
        signed: entry.signed.clone(),
    });
    present.chain(departed).collect()
}

fn proven_addresses(peer: &Peer) -> Vec<std::net::SocketAddr> {
    peer.paths.iter().filter(|path| path.heard.is_some()).map(|path| path.address).collect()
}

fn to_directory(now: Instant, peer: Peer, ctx: &Context) -> DirectoryEntry {
    DirectoryEntry {
        epoch: peer.epoch(),
        life: peer.life(),
        name: peer.card.shown_name(),
        liveness: peer.liveness,
        reason: peer.reason,
        heard: peer.heard,
        wall: ctx.wall(peer.heard.unwrap_or(now)),
        addresses: proven_addresses(&peer),
        signed: Some(peer.signed),
    }
}

/// Reads a card op: its author's own, whole, and within limits. Its signature is not checked here.
#[must_use]
pub fn read_card(op: &SignedOp) -> Option<Card> {
    if op.kind() != OpKind::Card {
        return None;
    }
    Card::parse(op.body()).filter(|card| NodeId::of(&card.public_key) == op.author())
}

/// Shows a card that was just proven to the rest of the segment, so that not everyone must ask for itself.
pub fn vouch(arrival: Arrival, cast: Cast, op: SignedOp, ctx: &mut Context) {
    let ops = Message::Ops(Ops { ops: vec![op], covered: Vec::new() });
    ctx.out.send(Destination::Segment(arrival.interface, cast), ops);
}

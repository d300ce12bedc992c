//! Decides what becomes of a frame: opened, placed by its session, read, and handed to the machine it concerns.

use crate::effect::Arrival;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::excess::Excess;
use crate::ground::id::{NodeId, SessionTag};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::membership::{Source, read_card, vouch};
use crate::model::member::{Card, Liveness};
use crate::model::op::SignedOp;
use crate::node::Node;
use crate::node::far::authors_of;
use crate::node::outbound::is_group;
use crate::wire::clock::Ticks;
use crate::wire::codec::{self, Batch};
use crate::wire::header::Header;
use crate::wire::message::{Hello, Message, Ops, Ping, Pong, Proof, Refusal, short_of};

/// How long a node that others vouched for may take to answer on an address of its card, before the address that it
/// speaks from is asked instead: three round trips of a slow Wi-Fi.
const FIRST_WORD: Duration = Duration::from_millis(400);

/// Whose frame it is.
#[derive(Debug, Clone, Copy)]
enum Sealer {
    /// A peer whose session is placed. What it sent before another frame that came says nothing about whether it lives now.
    Peer { id: NodeId, tag: SessionTag, is_latest: bool },
    /// Whoever bears this tag.
    Stranger(SessionTag),
}

impl Node {
    pub(super) fn on_datagram(&mut self, now: Instant, arrival: Arrival, frame: &mut [u8]) {
        self.ctx.stats.bytes_received += frame.len() as u64;
        let opened = Header::decode(frame).and_then(|header| Ok((header, self.open(now, arrival, header, frame)?)));
        match opened {
            Ok((header, Some((sealer, batch)))) => {
                let before = self.standing(header.tag);
                self.on_batch(now, sealer, arrival, batch);
                if before < self.standing(header.tag) {
                    // Recordings of what it said before it was known, and before it counted, are not new.
                    if let Some(session) = self.ctx.sessions.get_mut(header.tag) {
                        session.window.close_below(header.counter);
                    }
                }
            }
            Ok((_, None)) => {}
            Err(reason) => self.ctx.stats.drop(reason),
        }
    }

    /// Whether the session is placed, and whether its peer counts.
    fn standing(&mut self, tag: SessionTag) -> (bool, bool) {
        let peer = self.ctx.sessions.get_mut(tag).map(|session| session.peer);
        let counts = peer.is_some_and(|peer| self.is_present(&peer));
        (peer.is_some(), counts)
    }

    fn on_batch(&mut self, now: Instant, sealer: Sealer, arrival: Arrival, batch: Batch) {
        match sealer {
            Sealer::Peer { id, tag, is_latest } => {
                if is_latest {
                    self.on_heard(now, id, arrival);
                }
                self.on_peer_messages(now, (id, tag), arrival, batch.messages);
            }
            Sealer::Stranger(tag) => self.on_stranger_batch(now, tag, arrival, batch),
        }
    }

    /// Opens and reads a frame. `None` for our own, come back.
    fn open(
        &mut self,
        now: Instant,
        arrival: Arrival,
        header: Header,
        frame: &mut [u8],
    ) -> Result<Option<(Sealer, Batch)>, Reject> {
        if header.tag == self.ctx.me.tag {
            self.ctx.group.session(header.tag).open(&header, frame)?;
            if is_group(arrival.cast) {
                self.discovery.on_echo(now, arrival);
            }
            return Ok(None);
        }
        let (sealer, text) = match self.ctx.sessions.get_mut(header.tag) {
            Some(session) => {
                let text = session.key.open(&header, frame)?;
                let is_latest = session.window.is_latest(header.counter);
                if !session.window.accept(header.counter) {
                    self.ctx.offenders.note(&session.peer, Excess::Replays);
                    return Err(Reject::Replay);
                }
                if session.window.is_belated(now, header.counter) {
                    return Err(Reject::Stale);
                }
                // Charged for what is its own alone: the tag stands in clear, so that anybody can write frames that bear
                // it, and record some. To find out costs less than a microsecond each.
                if !session.allowance.take(now, 1) {
                    self.ctx.offenders.note(&session.peer, Excess::Datagrams);
                    return Err(Reject::Rate);
                }
                (Sealer::Peer { id: session.peer, tag: header.tag, is_latest }, text)
            }
            None => {
                let text = self.ctx.group.session(header.tag).open(&header, frame)?;
                self.ctx.sessions.saw(header.tag, header.counter);
                (Sealer::Stranger(header.tag), text)
            }
        };
        let batch = codec::decode(text)?;
        self.ctx.stats.datagrams_received += 1;
        self.ctx.stats.messages_received += batch.messages.len() as u64;
        self.ctx.stats.unknown_messages += batch.unknown;
        if is_group(arrival.cast) {
            self.discovery.on_group(now, arrival, &self.ctx);
        }
        Ok(Some((sealer, batch)))
    }

    fn on_heard(&mut self, now: Instant, id: NodeId, arrival: Arrival) {
        let source = self.membership.heard(now, id, arrival, &mut self.ctx);
        if let Some(peer) = self.ctx.roster.get_mut(&id).filter(|_| is_group(arrival.cast)) {
            peer.group_heard = Some(now);
        }
        self.liveness.on_heard(now, id, self.counts(now, &id), &mut self.ctx);
        if source == Source::Unproven && self.lacks_a_way(now, &id) {
            let tag = self.ctx.roster.get(&id).map(|peer| peer.card.session());
            if let Some(tag) = tag {
                self.discovery.on_stranger(now, tag, arrival, None, &mut self.ctx);
            }
        }
    }

    /// Whether what a peer said just now is a sign of life: one that somebody holds failed must answer.
    fn counts(&self, now: Instant, id: &NodeId) -> bool {
        self.ctx.roster.get(id).is_some_and(|peer| peer.heard == Some(now) && !peer.contested)
    }

    fn on_peer_messages(
        &mut self,
        now: Instant,
        sender: (NodeId, SessionTag),
        arrival: Arrival,
        messages: Vec<Message>,
    ) {
        for message in messages {
            self.on_peer_message(now, sender, arrival, message);
        }
    }

    /// Whether another address of a peer is worth a challenge: none of those it listed or proved was heard from lately,
    /// though it had the time to speak.
    fn lacks_a_way(&self, now: Instant, id: &NodeId) -> bool {
        let rhythm = self.ctx.config.heartbeat_interval.max(self.ctx.crowd_interval());
        self.ctx.roster.get(id).is_some_and(|peer| {
            let lately = if peer.liveness == Liveness::Introduced { FIRST_WORD } else { rhythm * 2 };
            peer.paths.iter().all(|path| now.since(path.heard.unwrap_or(peer.since)) > lately)
        })
    }

    fn on_peer_message(&mut self, now: Instant, (id, tag): (NodeId, SessionTag), arrival: Arrival, message: Message) {
        match message {
            Message::Hello(hello) => self.on_peer_hello(now, id, arrival, hello),
            Message::Challenge(challenge) => {
                self.discovery.on_challenge(now, &challenge, arrival, &mut self.ctx);
                self.membership.on_challenged(&id, &mut self.ctx);
            }
            Message::Proof(proof) => self.on_proof(now, proof, arrival),
            Message::Beacon(beacon) => {
                // Whoever is not held present has no say in how the others are reached: its row would outlive it.
                if self.is_present(&id) {
                    self.discovery.on_report(now, id, arrival, beacon.heard, &self.ctx);
                }
                if let Some(number) = beacon.number {
                    self.routing.on_beacon(now, id, arrival, number, &self.ctx);
                }
                self.on_roots(now, id, (beacon.root, beacon.log_root));
                if let Some(turn) = beacon.turn.filter(|turn| turn.observer == short_of(&self.ctx.me.id)) {
                    self.on_turn(now, id, arrival, turn.due_ms);
                }
            }
            Message::Beat(beat) => {
                self.on_roots(now, id, (beat.root, beat.log_root));
                self.on_turn(now, id, arrival, beat.due_ms);
            }
            Message::Ping(ping) => {
                self.answer_ping(now, &ping, arrival);
                self.liveness.on_ping(now, id, arrival.interface, &mut self.ctx);
            }
            Message::Pong(pong) => self.on_pong(now, (id, tag), arrival, &pong),
            Message::Inquiry(inquiry) => {
                self.tell_goodbye(&NodeId(inquiry.subject), id);
                self.tell_links(now, &NodeId(inquiry.subject), id);
                self.liveness.ask_for(now, NodeId(inquiry.subject), id, &mut self.ctx);
            }
            Message::Heard(heard) => self.liveness.on_heard_elsewhere(now, &heard, &mut self.ctx),
            Message::Suspicion(suspicion) => {
                self.tell_goodbye(&NodeId(suspicion.subject), id);
                self.liveness.on_suspicion(now, id, &suspicion, &mut self.ctx);
            }
            Message::Bye(bye) => self.on_bye(now, id, &bye),
            Message::Ops(ops) => {
                let sole = self.told_by_one(now, &id, authors_of(&ops.covered));
                self.replication.on_ops(now, id, ops, &sole, &mut self.ctx);
            }
            Message::Digest(digest) => {
                self.liveness.on_asked(now, id, arrival.interface, &mut self.ctx);
                self.replication.on_digest(now, id, &digest, &mut self.ctx);
            }
            Message::Refusal(refusal) => self.on_refusal(now, arrival, &refusal),
            Message::Naming(naming) => {
                self.routing.on_naming(now, id, arrival, naming, &mut self.ctx);
            }
            Message::Carry(carry) => self.messages.on_carry(now, id, carry, &mut self.ctx),
            Message::Got(got) => self.messages.on_got(now, id, &got, &mut self.ctx),
            Message::Spread(spread) => self.broadcasts.on_spread(now, (id, tag), arrival, spread, &mut self.ctx),
            Message::Covered(covered) => self.broadcasts.on_covered(now, id, &covered, &mut self.ctx),
            Message::Offer(offer) => self.broadcasts.on_offer(now, id, arrival, &offer, &mut self.ctx),
            Message::Back(back) => self.messages.on_back(now, id, back, &mut self.ctx),
            Message::Log(log) => {
                let sole = self.told_by_one(now, &id, authors_of(&log.over));
                self.replication.on_log(now, id, log, &sole, &mut self.ctx);
            }
            Message::LogPiece(piece) => self.replication.on_log_piece(now, id, piece, &mut self.ctx),
            Message::Contents(contents) => self.replication.on_contents(now, id, &contents, &mut self.ctx),
            Message::LogReceipt(receipt) => self.on_early_receipt(now, id, &receipt),
            // Streams alone carry them.
            Message::Canary | Message::Bulk(_) => {}
        }
    }

    /// A peer says what it holds. Of one that is gone it would be asked in vain: a recording, or what its goodbye overtook.
    fn on_roots(&mut self, now: Instant, id: NodeId, (root, log_root): (u64, Option<u64>)) {
        if !self.is_present(&id) {
            return;
        }
        self.replication.on_root(now, id, root);
        self.replication.on_log_root(now, id, log_root);
        let ours = self.replication.log_root().unwrap_or(0);
        if let Some(peer) = self.ctx.roster.get_mut(&id) {
            peer.note_log(now, log_root.unwrap_or(0), ours);
        }
    }

    fn is_present(&self, id: &NodeId) -> bool {
        self.ctx.roster.get(id).is_some_and(|peer| peer.liveness.is_present())
    }

    /// A peer tells us that it lives, and when it tells us next.
    fn on_turn(&mut self, now: Instant, id: NodeId, arrival: Arrival, due_ms: u32) {
        self.liveness.on_beat(now, id, due_ms, &self.ctx);
        self.routing.on_turn(now, id, arrival.interface, due_ms, &self.ctx);
    }

    fn answer_ping(&mut self, now: Instant, ping: &Ping, arrival: Arrival) {
        let wall_ms = Some(self.ctx.wall(now).0);
        let clock = Some(Ticks::of(now));
        let pong = Message::Pong(Pong { nonce: ping.nonce, root: Some(0), wall_ms, log_root: None, clock });
        self.ctx.out.send(Destination::Address(arrival.from, Some(arrival.interface)), pong);
    }

    /// A known session shows its card, perhaps a newer one.
    fn on_peer_hello(&mut self, now: Instant, id: NodeId, arrival: Arrival, hello: Hello) {
        let Some(card) = read_card(&hello.card).filter(|_| hello.card.author() == id) else {
            self.ctx.stats.drop(Reject::Malformed);
            return;
        };
        // A session belongs to one run: a card of another run has to come in that run's own frames.
        let held = self.ctx.roster.get(&id).filter(|peer| peer.epoch() == hello.card.epoch());
        if held.is_some_and(|peer| hello.card.seq() > peer.signed.seq()) {
            self.take_newer_card(now, hello.card, card, arrival);
        }
    }

    fn take_newer_card(&mut self, now: Instant, op: SignedOp, card: Card, arrival: Arrival) {
        if !self.discovery.may_check(now, arrival.from, true) {
            self.ctx.stats.drop(Reject::Budget);
        } else if self.ctx.verify_op(&op, &card.public_key) {
            self.replication.adopt(now, op.clone(), &mut self.ctx);
            self.membership.renew(now, op, card, &mut self.ctx);
        } else {
            self.ctx.stats.drop(Reject::Signature);
        }
    }

    fn on_pong(&mut self, now: Instant, (id, tag): (NodeId, SessionTag), arrival: Arrival, pong: &Pong) {
        self.messages.on_pong(&id, pong.nonce);
        let asked = self.liveness.on_pong(now, (id, arrival.from), pong.nonce, &mut self.ctx);
        if let Some(asked) = asked.or_else(|| self.membership.asked_at(&id, pong.nonce)) {
            let counted = self.counts(now, &id);
            self.membership.answered(now, id, &mut self.ctx);
            if !counted && self.counts(now, &id) {
                self.liveness.on_heard(now, id, true, &mut self.ctx);
            }
            if let Some((session, clock)) = self.ctx.sessions.get_mut(tag).zip(pong.clock) {
                session.clock.learn(asked, clock);
            }
            let ours = self.ctx.wall(now).0;
            if let Some((peer, theirs)) = self.ctx.roster.get_mut(&id).zip(pong.wall_ms) {
                peer.skew_ms = Some(theirs.cast_signed().wrapping_sub(ours.cast_signed()));
            }
        }
        if let Some(root) = pong.root.filter(|_| self.is_present(&id)) {
            self.replication.on_root(now, id, root);
        }
    }

    fn on_refusal(&mut self, now: Instant, arrival: Arrival, refusal: &Refusal) {
        if !self.discovery.challenges().is_refusal(now, arrival.from) {
            self.ctx.stats.drop(Reject::Unasked);
            return;
        }
        let event = crate::effect::Event::RefusedBy { max_peers: refusal.max_peers, address: arrival.from };
        self.ctx.out.event(event);
    }

    /// A session that is not placed: it may show its card, prove itself, ask us to, or ask whether we live; nothing else
    /// it says is heard.
    fn on_stranger_batch(&mut self, now: Instant, tag: SessionTag, arrival: Arrival, batch: Batch) {
        let mut shown = None;
        let mut settled = self.membership.is_refused(now, tag, &self.ctx);
        let mut messages = batch.messages.into_iter();
        while let Some(message) = messages.next() {
            match message {
                Message::Hello(hello) => match self.on_strange_hello(tag, arrival, hello) {
                    Shown::Settled => settled = true,
                    Shown::Unknown(id, index) => shown = Some((id, index)),
                },
                Message::Proof(proof) => {
                    self.on_proof(now, proof, arrival);
                    // Of the run before nothing may stand when what follows is read, which is this run's.
                    self.read_notices(now);
                    settled = true;
                    if let Some(peer) = self.ctx.sessions.get_mut(tag).map(|session| session.peer) {
                        // No stranger any more: what follows the proof is a peer's word.
                        self.on_peer_messages(now, (peer, tag), arrival, messages.collect());
                        break;
                    }
                }
                Message::Challenge(challenge) => self.discovery.on_challenge(now, &challenge, arrival, &mut self.ctx),
                Message::Ops(ops) => self.look_for_ghosts(ops, arrival),
                Message::Refusal(refusal) => self.on_refusal(now, arrival, &refusal),
                Message::Ping(ping) => settled |= self.discovery.on_strange_ping(now, &ping, arrival, &mut self.ctx),
                Message::Beacon(_)
                | Message::Beat(_)
                | Message::Pong(_)
                | Message::Inquiry(_)
                | Message::Heard(_)
                | Message::Suspicion(_)
                | Message::Bye(_)
                | Message::Digest(_)
                | Message::Naming(_)
                | Message::Carry(_)
                | Message::Got(_)
                | Message::Back(_)
                | Message::Spread(_)
                | Message::Covered(_)
                | Message::Offer(_)
                | Message::Log(_)
                | Message::LogPiece(_)
                | Message::Bulk(_)
                | Message::LogReceipt(_)
                | Message::Contents(_)
                | Message::Canary => {}
            }
        }
        if !settled {
            self.discovery.on_stranger(now, tag, arrival, shown, &mut self.ctx);
        }
    }

    fn on_strange_hello(&mut self, tag: SessionTag, arrival: Arrival, hello: Hello) -> Shown {
        if read_card(&hello.card).is_none_or(|card| card.session() != tag) {
            self.ctx.stats.drop(Reject::Malformed);
            return Shown::Settled;
        }
        let author = hello.card.author();
        if author == self.ctx.me.id {
            self.ctx.out.notice(Notice::OwnDouble(hello.card, arrival));
            return Shown::Settled;
        }
        Shown::Unknown(author, hello.index)
    }

    /// A run below one already known, at an address just proven, is a restored backup: its own newer signatures tell it
    /// so, its card and the change of its state that bears the newest version.
    fn show_newest(&mut self, author: &NodeId, arrival: Arrival) {
        self.ctx.stats.drop(Reject::Stale);
        let card = self.ctx.roster.newest_card(author).cloned();
        let ops: Vec<SignedOp> = card.into_iter().chain(self.replication.newest_state_of(author)).collect();
        let to = Destination::Address(arrival.from, Some(arrival.interface));
        for op in ops {
            self.ctx.out.send(to, Message::Ops(Ops { ops: vec![op], covered: Vec::new() }));
        }
    }

    fn on_proof(&mut self, now: Instant, proof: Proof, arrival: Arrival) {
        let Some(card) = read_card(&proof.card) else {
            self.ctx.stats.drop(Reject::Malformed);
            return;
        };
        let author = proof.card.author();
        let Some(asked) = self.discovery.challenges().check(now, &proof, &card, arrival, &mut self.ctx) else { return };
        if author == self.ctx.me.id {
            self.on_rival(now, &proof.card, &card);
            return;
        }
        if self.ctx.roster.highest_epoch(&author).is_some_and(|known| proof.card.epoch() < known) {
            self.show_newest(&author, arrival);
            return;
        }
        let is_held = |liveness: Liveness| liveness.is_present() || liveness == Liveness::Introduced;
        let was_known = self.ctx.roster.get(&author).is_some_and(|peer| is_held(peer.liveness));
        let (op, tag) = (proof.card.clone(), card.session());
        if !self.membership.prove(now, proof.card, card, arrival, &mut self.ctx) {
            let max_peers = u32::try_from(self.ctx.config.max_peers).unwrap_or(u32::MAX);
            let to = Destination::Address(arrival.from, Some(arrival.interface));
            self.ctx.out.send(to, Message::Refusal(Refusal { max_peers }));
            return;
        }
        if let Some(session) = self.ctx.sessions.get_mut(tag) {
            session.clock.learn(asked, proof.clock);
        }
        // Whoever is known here was vouched for by somebody else.
        if !was_known && self.discovery.is_ours_to_vouch(&author, &self.ctx) {
            for cast in self.discovery.vouching_casts(now, arrival.interface) {
                vouch(arrival, cast, op.clone(), &mut self.ctx);
            }
        }
    }

    /// Ops from a stranger count for nothing, but our own signature speaks for itself.
    fn look_for_ghosts(&mut self, ops: Ops, arrival: Arrival) {
        for op in ops.ops {
            if op.author() == self.ctx.me.id
                && op.epoch() >= self.ctx.me.epoch
                && !self.replication.remembers(&op, &self.ctx)
            {
                self.ctx.out.notice(Notice::OwnGhost(op, Some(arrival)));
            }
        }
    }
}

/// What a strange HELLO came to.
enum Shown {
    /// Nothing more to ask.
    Settled,
    /// It must prove itself: who it says it is, and which HELLO of its burst this was.
    Unknown(NodeId, u8),
}

//! Decides how words leave: by which way each destination is reached, which messages share a datagram, and their numbers.
//! What may not leave yet waits in the shaper.

use std::collections::VecDeque;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::effect::{Cast, Output, StreamWish, Target, Transmit};
use crate::ground::config::MAX_PLAIN;
use crate::ground::id::{InterfaceIndex, NodeId, StreamId};
use crate::ground::time::{Duration, Instant};
use crate::machines::shaper::{Label, Shaper, label};
use crate::node::Node;
use crate::wire::codec;
use crate::wire::header::{Header, MAX_PIPE_TEXT};
use crate::wire::message::{Message, Naming};
use crate::wire::seal::{Carrier, SessionKey};

/// Unicast copies of what is said to all, for peers that no group datagram of theirs was heard from: beyond it the
/// roots repair.
const MAX_COPIES: usize = 64;
/// Messages that wait to be said again: a burst of critical alerts in pieces, for a millisecond.
const MAX_LATER: usize = 1_024;
/// Group datagrams older than this, or than the hard bound in a crowd whose beacons are rarer, do not prove that a peer hears the group.
const GROUP_EVIDENCE: Duration = Duration::from_secs(130);

/// The way out.
#[derive(Debug)]
pub(super) struct Outbound {
    key: SessionKey,
    next_counter: u64,
    later: VecDeque<(Instant, Destination, Message)>,
    batches: Vec<(Target, Vec<u8>)>,
    /// Texts of frames for pipes, in order.
    piped: Vec<(StreamId, Vec<u8>)>,
    /// Where messages are written before it is known with which they share a datagram; kept for its room.
    text: Vec<u8>,
    shaper: Shaper,
}

impl Outbound {
    pub(super) fn new(ctx: &Context) -> Self {
        Self {
            key: ctx.group.session(ctx.me.tag),
            next_counter: 0,
            later: VecDeque::new(),
            batches: Vec::new(),
            piped: Vec::new(),
            text: Vec::with_capacity(MAX_PLAIN),
            shaper: Shaper::default(),
        }
    }

    /// A new tag: its key, and numbers from the first.
    pub(super) fn restart(&mut self, ctx: &Context) {
        self.key = ctx.group.session(ctx.me.tag);
        self.next_counter = 0;
    }

    /// Says something at a later time: a goodbye, or what is critical. What comes beyond the limit is not repeated.
    pub(super) fn later(&mut self, at: Instant, to: Destination, message: Message) {
        if self.later.len() < MAX_LATER {
            let place = self.later.partition_point(|(held, _, _)| *held <= at);
            self.later.insert(place, (at, to, message));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let later = self.later.front().map(|(at, _, _)| *at);
        later.into_iter().chain(self.shaper.next_deadline()).min()
    }

    /// What a neighbour reached there took.
    pub(super) fn on_proof(&mut self, now: Instant, target: Target, rate: u64, queued: Duration) {
        self.shaper.on_proof(now, target, rate, queued);
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        self.shaper.table_sizes()
    }

    /// Seals a text under the next number, which is given last so that no sender reorders.
    pub(super) fn seal(&mut self, text: &[u8], ctx: &mut Context) -> Vec<u8> {
        let header = Header { tag: ctx.me.tag, counter: self.next_counter };
        self.next_counter += 1;
        let bytes = self.key.seal(&header, text);
        ctx.stats.datagrams_sent += 1;
        ctx.stats.bytes_sent += bytes.len() as u64;
        bytes
    }

    /// Adds a message to the open datagram of its target, or opens one; `false` if it may not leave yet.
    fn add(&mut self, now: Instant, target: Target, paced: Option<&Label>, message: &[u8]) -> bool {
        let open = self.batches.iter_mut().rev().take(OPEN).find(|(held, _)| *held == target);
        let open = open.filter(|(_, text)| text.len() + message.len() <= MAX_PLAIN);
        if let Some(label) = paced
            && !self.shaper.admits(now, target, (label, message.len()), open.is_some())
        {
            return false;
        }
        match open {
            Some((_, text)) => text.extend_from_slice(message),
            None => self.batches.push((target, message.to_vec())),
        }
        true
    }

    /// Adds a message to the open frame of a pipe, or opens one.
    fn add_to_pipe(&mut self, stream: StreamId, message: &[u8]) {
        let open = self.piped.iter_mut().rev().find(|(held, _)| *held == stream);
        match open.filter(|(_, text)| text.len() + message.len() <= MAX_PIPE_TEXT) {
            Some((_, text)) => text.extend_from_slice(message),
            None => self.piped.push((stream, message.to_vec())),
        }
    }

    fn send_batches(&mut self, ctx: &mut Context) {
        for (stream, text) in core::mem::take(&mut self.piped) {
            let header = Header { tag: ctx.me.tag, counter: self.next_counter };
            self.next_counter += 1;
            let bytes = self.key.seal_for(Carrier::Pipe, &header, &text);
            ctx.stats.pipe_bytes_sent += bytes.len() as u64;
            ctx.out.stream(StreamWish::Send { stream, bytes });
        }
        let mut batches = core::mem::take(&mut self.batches);
        for (target, text) in batches.drain(..) {
            self.transmit(target, &text, ctx);
        }
        // Kept for its room, unless much had to be said at once.
        if batches.capacity() <= BATCHES_KEPT {
            self.batches = batches;
        }
    }

    fn transmit(&mut self, target: Target, text: &[u8], ctx: &mut Context) {
        debug_assert!(text.len() <= MAX_PLAIN, "no message is longer than a datagram");
        let bytes = self.seal(text, ctx);
        ctx.out.output(Output::Transmit(Transmit { target, bytes }));
    }
}

/// Room for open datagrams that is kept; 60 bytes each.
const BATCHES_KEPT: usize = 64;
/// Open datagrams looked at when a message is added: the last few, since messages to one target come together.
const OPEN: usize = 8;

impl Node {
    /// Puts all messages on their way.
    pub(super) fn flush(&mut self, now: Instant) {
        while self.outbound.later.front().is_some_and(|(at, _, _)| now >= *at) {
            let Some((_, to, message)) = self.outbound.later.pop_front() else { break };
            self.ctx.out.send(to, message);
        }
        for (after, to, message) in self.ctx.out.take_again() {
            self.outbound.later(now + after, to, message);
        }
        self.send_messages(now);
        while let Some((target, waiting)) =
            self.outbound.shaper.release(now, |to, number| self.messages.awaits(to, number))
        {
            self.outbound.transmit(target, &waiting.text, &mut self.ctx);
            // Their neighbours may be given more: it joins what waits.
            for (peer, number) in waiting.carried {
                self.messages.on_departed(now, peer, number);
                self.messages.go_on(now, peer, &mut self.ctx);
            }
            self.send_messages(now);
        }
    }

    fn send_messages(&mut self, now: Instant) {
        let roots = (self.replication.root(), self.replication.log_root());
        let mut text = core::mem::take(&mut self.outbound.text);
        while let Some((to, mut message)) = self.ctx.out.take_message() {
            fill_roots(&mut message, roots);
            if let Message::Beacon(beacon) = &mut message {
                // Where nobody needs the map nobody counts, and a beacon stays as short as it can be.
                beacon.number = beacon.number.filter(|_| self.routing.is_mapping());
            }
            text.clear();
            codec::encode(&message, &mut text);
            self.ctx.stats.digest_bytes += if matches!(message, Message::Digest(_)) { text.len() as u64 } else { 0 };
            if let Some(segment) = speaks_on(&message, &to).and_then(|index| self.routing.named(index)) {
                let nonce = if let Message::Pong(pong) = &message { Some(pong.nonce) } else { None };
                codec::encode(&Message::Naming(Naming { segment, nonce }), &mut text);
            }
            if let Destination::Pipe(stream) = to {
                self.ctx.stats.messages_sent += 1;
                self.outbound.add_to_pipe(stream, &text);
                continue;
            }
            let label = label(&message, self.ctx.me.id, neighbour(&to));
            // Most of what is said is for one neighbour: a list of one would take more than to look where that is.
            let (sole, many) = match &to {
                Destination::Peer(id) => (self.best(id), Vec::new()),
                Destination::EveryPath(_)
                | Destination::Address(..)
                | Destination::Segment(..)
                | Destination::Pipe(_)
                | Destination::Everyone => (None, self.targets(now, &to)),
            };
            for target in sole.into_iter().chain(many) {
                self.ctx.stats.messages_sent += 1;
                let is_paced = neighbour(&to).is_some() || self.outbound.shaper.knows(&target);
                if !self.outbound.add(now, target, is_paced.then_some(&label), &text) {
                    self.let_wait(now, target, &label, &text);
                }
            }
        }
        self.outbound.text = text;
        self.outbound.send_batches(&mut self.ctx);
    }

    /// A message waits; carryings count from when they leave.
    fn let_wait(&mut self, now: Instant, target: Target, label: &Label, text: &[u8]) {
        self.ctx.stats.messages_queued += 1;
        if let Some((peer, number)) = label.carried {
            self.messages.on_waits(peer, number);
        }
        for (peer, number) in self.outbound.shaper.wait(target, label, text, &mut self.ctx.stats) {
            // As if it had left and got lost: it is said again in its time.
            self.messages.on_departed(now, peer, number);
        }
    }

    /// What a neighbour's link proved to carry, by its best way.
    pub(super) fn on_proven(&mut self, now: Instant, peer: &NodeId, rate: u64, queued: Duration) {
        if let Some(target) = self.best(peer) {
            self.outbound.on_proof(now, target, rate, queued);
        }
    }

    fn targets(&self, now: Instant, to: &Destination) -> Vec<Target> {
        match to {
            Destination::Peer(id) => self.best(id).into_iter().collect(),
            Destination::EveryPath(id) => {
                let paths = self.ctx.roster.get(id).map(|peer| peer.paths.as_slice()).unwrap_or_default();
                paths.iter().map(|path| Target::Address(path.address, scope(&path.address, path.interface))).collect()
            }
            Destination::Address(address, interface) => vec![Target::Address(*address, scope(address, *interface))],
            Destination::Segment(index, cast) => vec![Target::Segment(*index, *cast)],
            Destination::Everyone => self.everyone(now),
            Destination::Pipe(_) => Vec::new(),
        }
    }

    fn best(&self, id: &NodeId) -> Option<Target> {
        let path = self.ctx.roster.get(id)?.best_path()?;
        Some(Target::Address(path.address, scope(&path.address, path.interface)))
    }

    /// Every segment by its proven way, and those whom no group datagram connects with us, one by one.
    fn everyone(&self, now: Instant) -> Vec<Target> {
        let mut targets = Vec::new();
        for index in self.discovery.segments() {
            targets.extend(
                self.discovery.best_casts(now, index, &self.ctx).into_iter().map(|cast| Target::Segment(index, cast)),
            );
        }
        let evidence = GROUP_EVIDENCE.max(self.ctx.hard_bound());
        let unreached =
            self.ctx.roster.near().filter(|(_, peer)| peer.group_heard.is_none_or(|at| now.since(at) > evidence));
        targets.extend(unreached.take(MAX_COPIES).filter_map(|(id, _)| self.best(id)));
        targets
    }
}

/// Whom a destination names, if it is one neighbour.
fn neighbour(to: &Destination) -> Option<NodeId> {
    match to {
        Destination::Peer(id) | Destination::EveryPath(id) => Some(*id),
        Destination::Address(..) | Destination::Segment(..) | Destination::Everyone | Destination::Pipe(_) => None,
    }
}

/// Roots are filled in last, so that each says what is true when it leaves.
fn fill_roots(message: &mut Message, (root, log_root): (u64, Option<u64>)) {
    match message {
        Message::Beacon(beacon) => (beacon.root, beacon.log_root) = (root, log_root),
        Message::Beat(beat) => (beat.root, beat.log_root) = (root, log_root),
        Message::Pong(pong) if pong.root.is_some() => (pong.root, pong.log_root) = (Some(root), log_root),
        Message::Pong(_) => {}
        Message::Hello(_)
        | Message::Challenge(_)
        | Message::Proof(_)
        | Message::Ping(_)
        | Message::Inquiry(_)
        | Message::Heard(_)
        | Message::Suspicion(_)
        | Message::Bye(_)
        | Message::Ops(_)
        | Message::Digest(_)
        | Message::Refusal(_)
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

/// The interface on which a message is to show who names the segment there.
fn speaks_on(message: &Message, to: &Destination) -> Option<InterfaceIndex> {
    match (message, to) {
        (Message::Hello(_) | Message::Beacon(_), Destination::Segment(index, _)) => Some(*index),
        (Message::Pong(_), Destination::Address(_, index)) => *index,
        _elsewhere => None,
    }
}

/// Whether a group datagram counts as said to all on the segment.
#[must_use]
pub(super) fn is_group(cast: Cast) -> bool {
    match cast {
        Cast::Multicast4 | Cast::Multicast6 | Cast::Broadcast => true,
        Cast::Unicast => false,
    }
}

/// The interface to name in a target: only link-local IPv6 means nothing without it.
fn scope(address: &std::net::SocketAddr, interface: Option<InterfaceIndex>) -> Option<InterfaceIndex> {
    let is_link_local = matches!(address, std::net::SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
    interface.filter(|_| is_link_local)
}

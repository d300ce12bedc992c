//! Decides how the end of a process is noticed at once: an idle connection to each observer, which the kernel ends.

use std::net::SocketAddr;

use crate::effect::context::Context;
use crate::effect::{StreamUse, StreamWish};
use crate::ground::bounded::BoundedMap;
use crate::ground::id::{NodeId, StreamId};
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::ByPeer;
use crate::model::roster::{MAX_PATHS, Peer};

/// Streams at once, ours and others': five of ours and those of whom we observe, with room for a mesh in motion.
pub(super) const MAX_STREAMS: usize = 64;
/// Streams offered and not yet introduced by a sealed frame, per host.
const MAX_HALF_OPEN: usize = 4;
/// How long an offered stream may take to say whose it is.
const INTRODUCTION: Duration = Duration::from_secs(1);
/// A connection that failed or ended is tried again after this, doubled up to the next.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// How long after the end of a connection an ICMP message still belongs to it.
const BEREAVEMENT: Duration = Duration::from_secs(2);
/// Peers of whom others say at once that their processes ended.
pub(super) const MAX_CLAIMED: usize = 1_024;
/// ICMP can be forged and connections end for other reasons: a peer that lives answers one of two probes within this.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Our connections to observers and theirs to us.
#[derive(Debug)]
pub(super) struct Canaries {
    streams: BoundedMap<StreamId, Stream>,
    wanted: ByPeer<Wanted>,
    bereaved: ByPeer<Instant>,
    claimed: ByPeer<Claim>,
    /// When something is due, kept since it is asked for after every datagram.
    soonest: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    peer: Option<NodeId>,
    from: Option<std::net::IpAddr>,
    since: Instant,
}

/// Others say that its process ended, and we saw no sign of that.
#[derive(Debug)]
struct Claim {
    since: Instant,
    /// When a sign of our own said so too: its port, or our connection with it.
    refused: Option<Instant>,
}

#[derive(Debug)]
struct Wanted {
    stream: Option<StreamId>,
    connecting: bool,
    next: Instant,
    wait: Duration,
    /// Where no connection could be had, or none that lasted. The next is tried elsewhere: an observer turns away whoever comes from
    /// an address that it has not heard yet, and by one family of addresses that takes half a minute.
    tried: Vec<SocketAddr>,
}

impl Wanted {
    fn retry(&mut self, now: Instant) {
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(RETRY_LAST);
    }
}

impl Canaries {
    pub(super) fn new() -> Self {
        Self {
            streams: BoundedMap::new(MAX_STREAMS),
            wanted: ByPeer::new(MAX_STREAMS),
            bereaved: ByPeer::new(MAX_STREAMS),
            claimed: ByPeer::new(MAX_CLAIMED),
            soonest: None,
        }
    }

    /// Wants a connection to each observer and none to others.
    pub(super) fn choose(&mut self, now: Instant, observers: &[NodeId], ctx: &mut Context) {
        let released: Vec<NodeId> = self.wanted.keys().filter(|id| !observers.contains(id)).copied().collect();
        for id in released {
            if let Some(stream) = self.wanted.remove(&id).and_then(|wanted| wanted.stream) {
                self.close(stream, ctx);
            }
        }
        for id in observers {
            if !self.wanted.contains_key(id) {
                // A connection a little later: cold starts have other things to do, and observers may change again.
                let next = now + ctx.random.span(RETRY_FIRST);
                let wanted = Wanted { stream: None, connecting: false, next, wait: RETRY_FIRST, tried: Vec::new() };
                drop(self.wanted.insert(*id, wanted));
            }
        }
        self.plan();
    }

    /// Closes what concerns a peer that is gone.
    pub(super) fn drop_peer(&mut self, id: &NodeId, ctx: &mut Context) {
        self.wanted.remove(id);
        self.bereaved.remove(id);
        self.claimed.remove(id);
        let theirs: Vec<StreamId> =
            self.streams.iter().filter(|(_, stream)| stream.peer == Some(*id)).map(|(stream, _)| *stream).collect();
        for stream in theirs {
            self.close(stream, ctx);
        }
        self.plan();
    }

    pub(super) fn close_all(&mut self, ctx: &mut Context) {
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.close(stream, ctx);
        }
        self.wanted = ByPeer::new(MAX_STREAMS);
        self.plan();
    }

    pub(super) fn close(&mut self, stream: StreamId, ctx: &mut Context) {
        if self.streams.remove(&stream).is_some() {
            ctx.out.stream(StreamWish::Close { stream });
        }
    }

    /// An offered stream serves something else.
    pub(super) fn hand_over(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        self.plan();
    }

    /// Somebody connects: only hosts of live peers may, and only a few at a time without saying who they are.
    pub(super) fn on_offered(&mut self, now: Instant, stream: StreamId, from: SocketAddr, ctx: &mut Context) {
        let ip = from.ip();
        let is_peer = ctx.roster.near().any(|(_, peer)| peer.paths.iter().any(|path| path.address.ip() == ip));
        let half_open = self.streams.iter().filter(|(_, held)| held.peer.is_none() && held.from == Some(ip)).count();
        let offered = Stream { peer: None, from: Some(ip), since: now };
        if !is_peer || half_open >= MAX_HALF_OPEN || self.streams.insert(stream, offered).is_err() {
            ctx.out.stream(StreamWish::Close { stream });
        }
        self.plan();
    }

    /// The sealed frame on an offered stream says whose it is.
    /// A peer has one at a time, so that no peer takes the places of all: the newer one closes the older, which may have
    /// lost its other end.
    pub(super) fn on_introduced(&mut self, stream: StreamId, peer: NodeId, ctx: &mut Context) {
        let Some(held) = self.streams.get_mut(&stream).filter(|held| held.peer.is_none()) else { return };
        held.peer = Some(peer);
        let is_older =
            |(id, held): &(&StreamId, &Stream)| **id != stream && held.peer == Some(peer) && held.from.is_some();
        let older: Vec<StreamId> = self.streams.iter().filter(is_older).map(|(id, _)| *id).collect();
        for stream in older {
            self.close(stream, ctx);
        }
        self.plan();
    }

    /// A connection of ours stands. `true` if it is still wanted: then the caller says whose it is.
    pub(super) fn on_opened(&mut self, now: Instant, stream: StreamId, peer: NodeId, ctx: &mut Context) -> bool {
        let opened = Stream { peer: Some(peer), from: None, since: now };
        let Some(wanted) = self.wanted.get_mut(&peer).filter(|wanted| wanted.stream.is_none()) else {
            ctx.out.stream(StreamWish::Close { stream });
            return false;
        };
        wanted.connecting = false;
        if self.streams.insert(stream, opened).is_err() {
            wanted.next = now + RETRY_LAST;
            ctx.out.stream(StreamWish::Close { stream });
            self.plan();
            return false;
        }
        wanted.stream = Some(stream);
        wanted.wait = RETRY_FIRST;
        self.plan();
        true
    }

    /// A connection could not be had.
    pub(super) fn on_failed(&mut self, now: Instant, peer: NodeId) {
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.connecting = false;
            wanted.retry(now);
        }
        self.plan();
    }

    /// A connection ended. The peer it belonged to, which is to be asked whether it lives.
    pub(super) fn on_ended(&mut self, now: Instant, stream: StreamId) -> Option<NodeId> {
        let peer = self.streams.remove(&stream)?.peer?;
        if let Some(wanted) = self.wanted.get_mut(&peer).filter(|wanted| wanted.stream == Some(stream)) {
            wanted.stream = None;
            wanted.retry(now);
        }
        drop(self.bereaved.insert(peer, now));
        self.plan();
        Some(peer)
    }

    /// Others say that a peer's process ended: "port unreachable" from its address belongs to that.
    pub(super) fn claim(&mut self, now: Instant, peer: NodeId) {
        if !self.claimed.contains_key(&peer) {
            drop(self.claimed.insert(peer, Claim { since: now, refused: None }));
            self.plan();
        }
    }

    /// Peers whose processes ended as others say.
    pub(super) fn claimed(&self) -> Vec<NodeId> {
        self.claimed.keys().copied().collect()
    }

    /// "Port unreachable" came from such a peer's address, or our connection with it ended.
    pub(super) fn on_refused(&mut self, now: Instant, peer: &NodeId) {
        if let Some(claim) = self.claimed.get_mut(peer) {
            claim.refused.get_or_insert(now);
            self.plan();
        }
    }

    /// The claims that nothing has contradicted: whose port was closed, and when.
    fn take_settled(&mut self, now: Instant) -> Vec<(NodeId, Instant)> {
        let is_due = |claim: &Claim| claim.refused.filter(|refused| now >= *refused + SECOND_LOOK);
        let settled = self.claimed.iter().filter_map(|(id, claim)| Some((*id, is_due(claim)?))).collect();
        self.claimed
            .retain(|_, claim| is_due(claim).is_none() && (claim.refused.is_some() || now < claim.since + BEREAVEMENT));
        settled
    }

    /// Streams, and peers whose process may have ended by our own signs and by the word of others.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.streams.len(), self.bereaved.len(), self.claimed.len()]
    }

    /// Peers whose connection ended a moment ago.
    pub(super) fn bereaved(&self) -> Vec<NodeId> {
        self.bereaved.keys().copied().collect()
    }

    /// When the connection with a peer ended, if that was a moment ago.
    pub(super) fn bereaved_since(&self, id: &NodeId) -> Option<Instant> {
        self.bereaved.get(id).copied()
    }

    /// The end of a peer's connection was explained.
    pub(super) fn settle(&mut self, id: &NodeId) {
        self.bereaved.remove(id);
        self.plan();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    /// Finds what is due next, after every change.
    fn plan(&mut self) {
        let connects = self.wanted.values().filter(|wanted| wanted.stream.is_none() && !wanted.connecting);
        let nameless = self.streams.values().filter(|stream| stream.peer.is_none());
        self.soonest = connects
            .map(|wanted| wanted.next)
            .chain(nameless.map(|stream| stream.since + INTRODUCTION))
            .chain(self.bereaved.values().map(|at| *at + BEREAVEMENT))
            .chain(
                self.claimed
                    .values()
                    .map(|claim| claim.refused.map_or(claim.since + BEREAVEMENT, |refused| refused + SECOND_LOOK)),
            )
            .min();
    }

    /// Does what is due. The peers whose processes ended as others say and as their ports do, and since when.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) -> Vec<(NodeId, Instant)> {
        let settled = self.take_settled(now);
        self.bereaved.retain(|_, at| now < *at + BEREAVEMENT);
        let nameless: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.peer.is_none() && now >= stream.since + INTRODUCTION)
            .map(|(id, _)| *id)
            .collect();
        for stream in nameless {
            self.close(stream, ctx);
        }
        for (id, wanted) in self.wanted.iter_mut() {
            if wanted.stream.is_some() || wanted.connecting || now < wanted.next {
                continue;
            }
            if wanted.tried.len() >= MAX_PATHS {
                wanted.tried.clear();
            }
            let peer = ctx.roster.get(id);
            let path = peer.and_then(|peer| peer.best_path_besides(&wanted.tried)).or_else(|| {
                wanted.tried.clear();
                peer.and_then(Peer::best_path)
            });
            let Some(path) = path else {
                wanted.next = now + wanted.wait;
                continue;
            };
            wanted.connecting = true;
            wanted.tried.push(path.address);
            let wish = StreamWish::Connect {
                peer: *id,
                purpose: StreamUse::Canary,
                to: path.address,
                interface: path.interface,
            };
            ctx.out.stream(wish);
        }
        self.plan();
        settled
    }
}

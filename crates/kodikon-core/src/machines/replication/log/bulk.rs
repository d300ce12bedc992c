//! Decides when much of the log is pulled by a stream, a *pipe*, and what follows from what arrives on one.
//!
//! Whoever is asked for more than 64 KiB says so in its answer, which is a datagram; whoever asked opens a stream for it, and tells on it
//! what it lacks as it does in datagrams. So a pipe that breaks loses nothing: what came is not asked for again.

use crate::effect::check::CheckId;
use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::effect::{StreamUse, StreamWish};
use crate::ground::bounded::BoundedMap;
use crate::ground::excess::Excess;
use crate::ground::id::{NodeId, StreamId};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::checks::Checks;
use crate::machines::replication::log::checking::{Checking, Unchecked};
use crate::machines::replication::log::giving::{Answer, Giving, MAX_GIVING, MAX_ITEMS};
use crate::machines::replication::log::pipe::{self, Part, PipeFrame};
use crate::machines::replication::log::{Born, Log, Way};
use crate::machines::replication::sync::{self, Digests};
use crate::model::op::OpId;
use crate::model::roster::Peer;
use crate::wire::message::{Bulk as BulkWord, Log as LogMessage, Message};

/// From so many bytes on, beyond those of an answer, a pipe is worth its two round trips.
pub(super) const BULK_FROM: usize = 64 * 1_024;
/// Whoever was told to come by a pipe may do so within this: two tries of a SYN, and what a connection takes.
const OFFER: Duration = Duration::from_secs(10);
/// Peers told to come at once; others pull by datagrams and are told with the next answer.
const MAX_OFFERED: usize = 64;
/// Bytes that may be on their way here and wait for their signatures to be checked: 20 ms of a core's work.
const WINDOW: u64 = 384 * 1_024;
/// Beyond what was allowed one op may pass, of the longest.
const MAX_ONE: u64 = 32 * 1_024;
/// A pipe on which nothing comes for so long is of no use: a lost segment is repeated within less.
const STALL: Duration = Duration::from_secs(5);
/// For so long after a frame on a pipe roots are not compared. What is urgent does not wait for that: an author tells an alert again to
/// whoever has not shown it.
const HUSH: Duration = Duration::from_secs(1);
/// To whom none can be had datagrams serve for so long: a firewall that drops TCP is not gone in a moment.
const REFUSED: Duration = Duration::from_secs(60);
/// One that broke before it brought anything is tried again after this.
const BROKEN: Duration = Duration::from_secs(10);

/// All pipes of this node.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) taking: Option<Taking>,
    pub(super) giving: BoundedMap<StreamId, Giving>,
    pub(super) checking: Checking,
    /// Who was told to come by a pipe, and until when it may.
    pub(super) offered: BoundedMap<NodeId, Instant>,
    /// To whom none is opened, and until when.
    avoided: BoundedMap<NodeId, Instant>,
}

/// The pipe by which this node pulls; one at a time.
#[derive(Debug)]
pub(super) struct Taking {
    peer: NodeId,
    /// `None` until it stands.
    stream: Option<StreamId>,
    since: Instant,
    /// The lowest counter that its next frame may bear.
    next: u64,
    /// Bytes of ops that arrived, and that may be sent in all.
    got: u64,
    until: u64,
    /// What was asked on it and not answered to the end.
    asked: usize,
    /// The buckets of which more is owed, or gaps were left out of what was asked.
    more: u64,
    has_news: bool,
    /// Whether anything came by it.
    was_of_use: bool,
}

impl Bulk {
    pub(super) fn new() -> Self {
        Self {
            taking: None,
            giving: BoundedMap::new(MAX_GIVING),
            checking: Checking::default(),
            offered: BoundedMap::new(MAX_OFFERED),
            avoided: BoundedMap::new(MAX_OFFERED),
        }
    }

    /// Whoever is pulled from by a pipe brought something that was lacked.
    pub(super) fn note_news(&mut self, from: NodeId) {
        if let Some(taking) = self.taking.as_mut().filter(|taking| taking.peer == from) {
            (taking.has_news, taking.was_of_use) = (true, true);
        }
    }

    /// Tells a peer to come by a pipe, if it may.
    pub(super) fn offer(&mut self, now: Instant, to: NodeId) -> bool {
        self.offered.retain(|_, until| now < *until);
        !self.giving.is_full() && self.offered.insert(to, now + OFFER).is_ok()
    }

    /// The peer from whom this node pulls by a pipe that stands.
    fn source(&self) -> Option<NodeId> {
        self.taking.as_ref().filter(|taking| taking.stream.is_some()).map(|taking| taking.peer)
    }

    /// Whether a pipe brings what is missing: then datagrams need not.
    pub(super) fn is_taking(&self) -> bool {
        self.source().is_some()
    }

    fn avoid(&mut self, now: Instant, peer: NodeId, span: Duration) {
        self.avoided.retain(|_, until| now < *until);
        if self.avoided.is_full() && !self.avoided.contains_key(&peer) {
            self.avoided.pop_first();
        }
        drop(self.avoided.insert(peer, now + span));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let stall = self.taking.as_ref().map(|taking| taking.since + STALL);
        self.giving.values().map(Giving::next_deadline).chain(stall).min()
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let small = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        [
            ("pipes", self.giving.len(), MAX_GIVING),
            ("pipe_items", self.giving.values().map(Giving::waiting).max().unwrap_or(0), MAX_ITEMS),
            ("pipe_bytes_unchecked", small(self.checking.bytes()), small(WINDOW + MAX_ONE)),
            ("pipes_offered", self.offered.len(), MAX_OFFERED),
        ]
    }
}

impl Log {
    /// A peer says that it owes much: a stream is opened for it, if one may be had.
    pub(super) fn want_pipe(&mut self, now: Instant, from: NodeId, ctx: &mut Context) {
        let is_avoided = self.bulk.avoided.get(&from).is_some_and(|until| now < *until);
        let Some(path) = ctx.roster.get(&from).and_then(Peer::best_path) else { return };
        if self.bulk.taking.is_some() || is_avoided || !self.sync.is_pulled(now, from) {
            return;
        }
        self.bulk.taking = Some(Taking {
            peer: from,
            stream: None,
            since: now,
            next: 0,
            got: 0,
            until: WINDOW,
            asked: 0,
            more: 0,
            has_news: false,
            was_of_use: false,
        });
        let (to, interface) = (path.address, path.interface);
        ctx.out.stream(StreamWish::Connect { peer: from, purpose: StreamUse::Bulk, to, interface });
    }

    /// The stream stands; the lowest counter that its peer has not used says what on it is new. What its first frame says, if it is
    /// still wanted.
    pub(in crate::machines::replication) fn on_pipe_opened(
        &mut self,
        now: Instant,
        stream: StreamId,
        (peer, next): (NodeId, u64),
        ctx: &mut Context,
    ) -> Option<BulkWord> {
        let waits = |taking: &&mut Taking| taking.peer == peer && taking.stream.is_none();
        let Some(taking) = self.bulk.taking.as_mut().filter(waits) else {
            ctx.out.stream(StreamWish::Close { stream });
            return None;
        };
        (taking.stream, taking.since, taking.next) = (Some(stream), now, next);
        ctx.stats.pipes_taken += 1;
        Some(BulkWord { got: 0, until: WINDOW })
    }

    /// Asks on the pipe for what is lacked here.
    pub(in crate::machines::replication) fn ask_by_pipe(&mut self, ctx: &mut Context) {
        let peer = self.bulk.taking.as_ref().map(|taking| taking.peer);
        let question = self.question(peer.as_ref(), &mut ctx.random);
        self.ask_piped(question, ctx);
    }

    fn ask_piped(&mut self, question: Digests, ctx: &mut Context) {
        let Some(taking) = self.bulk.taking.as_mut() else { return };
        let Some(stream) = taking.stream else { return };
        taking.asked += question.digests.len();
        taking.more |= question.cut;
        for digest in question.digests {
            ctx.out.send(Destination::Pipe(stream), Message::Digest(digest));
        }
    }

    /// An answer to what came on a pipe waits in it.
    pub(super) fn answer_by_pipe(&mut self, stream: StreamId, answer: Answer) {
        if let Some(giving) = self.bulk.giving.get_mut(&stream) {
            giving.answer(answer);
        }
    }

    /// The stream could not be had: datagrams go on, as they did.
    pub(in crate::machines::replication) fn on_pipe_failed(&mut self, now: Instant, peer: NodeId, ctx: &mut Context) {
        if self.bulk.taking.take_if(|taking| taking.peer == peer && taking.stream.is_none()).is_some() {
            self.bulk.avoid(now, peer, REFUSED);
            ctx.stats.pipes_failed += 1;
            ctx.out.notice(Notice::Untaken(peer));
        }
    }

    /// Whose pipe a stream is.
    pub(in crate::machines::replication) fn pipe_peer(&self, stream: StreamId) -> Option<NodeId> {
        let taking = self.bulk.taking.as_ref().filter(|taking| taking.stream == Some(stream));
        taking.map(|taking| taking.peer).or_else(|| self.bulk.giving.get(&stream).map(|giving| giving.peer))
    }

    /// Whether a frame on a pipe is none that was there before.
    pub(in crate::machines::replication) fn pipe_accepts(&mut self, stream: StreamId, counter: u64) -> bool {
        match self.bulk.taking.as_mut().filter(|taking| taking.stream == Some(stream)) {
            Some(taking) => pipe::advance(&mut taking.next, counter),
            None => self.bulk.giving.get_mut(&stream).is_some_and(|giving| giving.accepts(counter)),
        }
    }

    /// The other side ended a stream, or it says what makes no sense and this node ends it.
    pub(in crate::machines::replication) fn on_pipe_ended(
        &mut self,
        now: Instant,
        stream: StreamId,
        ctx: &mut Context,
    ) {
        self.bulk.giving.remove(&stream);
        let Some(taking) = self.bulk.taking.take_if(|taking| taking.stream == Some(stream)) else { return };
        ctx.stats.pipes_failed += 1;
        if taking.was_of_use {
            // What it did not bring is asked for at once, and by the next pipe.
            let question = self.question(Some(&taking.peer), &mut ctx.random);
            self.sync.go_on(now, taking.peer, &question, ctx);
        } else {
            self.bulk.avoid(now, taking.peer, BROKEN);
        }
    }

    /// This node ends a pipe that is of no use.
    pub(in crate::machines::replication) fn end_pipe(&mut self, now: Instant, stream: StreamId, ctx: &mut Context) {
        ctx.out.stream(StreamWish::Close { stream });
        self.on_pipe_ended(now, stream, ctx);
    }

    /// Ends all pipes with a peer that is gone, or with all.
    pub(in crate::machines::replication) fn close_pipes(&mut self, with: Option<&NodeId>, ctx: &mut Context) {
        let is_meant = |peer: &NodeId| with.is_none_or(|with| with == peer);
        let taking = self.bulk.taking.take_if(|taking| is_meant(&taking.peer)).and_then(|taking| taking.stream);
        let given = self.bulk.giving.iter().filter(|(_, giving)| is_meant(&giving.peer)).map(|(stream, _)| *stream);
        let streams: Vec<StreamId> = taking.into_iter().chain(given).collect();
        streams.into_iter().for_each(|stream| self.close_given(stream, ctx));
        self.bulk.offered.retain(|peer, _| !is_meant(peer));
    }

    /// A frame arrived on a pipe.
    pub(in crate::machines::replication) fn on_pipe_frame(
        &mut self,
        now: Instant,
        stream: StreamId,
        frame: PipeFrame,
        checks: &mut Checks,
        ctx: &mut Context,
    ) {
        let Some(taking) = self.bulk.taking.as_ref().filter(|taking| taking.stream == Some(stream)) else {
            return self.on_given(now, stream, frame, ctx);
        };
        let peer = taking.peer;
        for message in frame.messages {
            let bytes = pipe::weight(&message);
            let Some(taking) = self.bulk.taking.as_mut().filter(|taking| taking.stream == Some(stream)) else { return };
            (taking.got, taking.since) = (taking.got + bytes, now);
            if taking.got > taking.until + MAX_ONE {
                ctx.stats.drop(Reject::Limit);
                return self.end_pipe(now, stream, ctx);
            }
            ctx.stats.log_bytes_piped += bytes;
            match pipe::part_of(message) {
                Part::Log(log) => {
                    if let Some(more) = log.more {
                        taking.asked = taking.asked.saturating_sub(1);
                        taking.more |= more;
                    }
                    let log = LogMessage { more: None, ..log };
                    self.on_log_by(now, (peer, Way::Pipe), (log, &frame.sole), checks, ctx);
                }
                Part::Piece(piece) => self.on_piece_by(now, (peer, Way::Pipe), piece, checks, ctx),
                Part::Digest(digest) => {
                    let question = sync::flat(self, digest.scope, false, Some(&peer), &mut ctx.random);
                    self.ask_piped(question, ctx);
                }
                // It is this node that says how far it came.
                Part::Word(_) | Part::Other => {}
            }
        }
        // Whoever else was asked meanwhile would send the same.
        self.sync.hush(now + HUSH);
        self.bulk.checking.go_on(ctx);
        self.tell_progress(true, ctx);
        self.pull_on(now, ctx);
    }

    /// Tells whoever gives how much came, and how much more there is room for.
    fn tell_progress(&mut self, is_asked: bool, ctx: &mut Context) {
        let room = WINDOW.saturating_sub(self.bulk.checking.bytes());
        let Some(taking) = self.bulk.taking.as_mut() else { return };
        let Some(stream) = taking.stream else { return };
        // Where there is no room nothing more is allowed, even to whoever sent more than was.
        let until = if room == 0 { taking.until } else { taking.until.max(taking.got + room) };
        // Unasked only what makes a difference: there was no room for a burst, and now there is.
        if is_asked || (taking.until < taking.got + WINDOW / 4 && until >= taking.got + WINDOW / 2) {
            taking.until = until;
            ctx.out.send(Destination::Pipe(stream), Message::Bulk(BulkWord { got: taking.got, until }));
        }
    }

    /// Asks for the rest, or ends the pipe, once all that came is placed.
    fn pull_on(&mut self, now: Instant, ctx: &mut Context) {
        let is_placed = self.bulk.checking.is_empty();
        let Some(taking) = self.bulk.taking.as_mut().filter(|taking| taking.asked == 0 && is_placed) else { return };
        let Some(stream) = taking.stream else { return };
        let (more, has_news) = (std::mem::take(&mut taking.more), std::mem::take(&mut taking.has_news));
        if more != 0 && has_news {
            ctx.stats.pulls_continued += 1;
            let peer = taking.peer;
            self.sync.expect(now, peer);
            let question = sync::flat(self, more, true, Some(&peer), &mut ctx.random).one(&mut ctx.random);
            return self.ask_piped(question, ctx);
        }
        self.bulk.taking = None;
        ctx.out.stream(StreamWish::Close { stream });
    }

    /// Signatures were checked: what holds is placed.
    pub(in crate::machines::replication) fn on_checked(
        &mut self,
        now: Instant,
        (check, holds): (CheckId, &[bool]),
        ctx: &mut Context,
    ) {
        if self.on_rechecked(now, (check, holds), ctx) {
            return;
        }
        let portion = self.bulk.checking.take(check);
        ctx.stats.signatures_checked += portion.len() as u64;
        for (unchecked, holds) in portion.into_iter().zip(holds.iter().copied().chain(core::iter::repeat(false))) {
            if holds {
                self.place_checked(now, unchecked, ctx);
                continue;
            }
            ctx.offenders.note(&unchecked.from, Excess::Forgeries);
            ctx.stats.drop(Reject::Signature);
            // An honest peer checked it before it passed it on.
            if self.bulk.source() == Some(unchecked.from) {
                self.give_up_pipe(now, REFUSED, ctx);
            }
        }
        self.bulk.checking.go_on(ctx);
        self.tell_progress(false, ctx);
        self.pull_on(now, ctx);
    }

    fn place_checked(&mut self, now: Instant, unchecked: Unchecked, ctx: &mut Context) {
        let Unchecked { from, op, body, key, born_ms, rested } = unchecked;
        let id = OpId::of(&op);
        let is_here = self.lanes.get(&(id.author, id.epoch)).is_some_and(|lane| lane.covers(id.seq));
        if is_here || self.is_ended(&id, ctx) {
            ctx.stats.log_bytes_repeated += op.wire_len() as u64;
            return;
        }
        self.bulk.note_news(from);
        self.place(now, op, (body, key, Born { ms: born_ms, rested, pulled: true }), ctx);
    }

    /// Ends what came to a stand.
    pub(super) fn wake_pipes(&mut self, now: Instant, ctx: &mut Context) {
        self.wake_giving(now, ctx);
        if self.bulk.taking.as_ref().is_some_and(|taking| now >= taking.since + STALL) {
            self.give_up_pipe(now, BROKEN, ctx);
        }
    }

    /// Pulls by this pipe no more, and from its peer by none for so long.
    fn give_up_pipe(&mut self, now: Instant, span: Duration, ctx: &mut Context) {
        let Some(taking) = self.bulk.taking.take() else { return };
        ctx.stats.pipes_failed += 1;
        self.bulk.avoid(now, taking.peer, span);
        match taking.stream {
            Some(stream) => ctx.out.stream(StreamWish::Close { stream }),
            None => ctx.out.notice(Notice::Untaken(taking.peer)),
        }
    }

    /// Ends a pipe by which this node gives.
    pub(super) fn close_given(&mut self, stream: StreamId, ctx: &mut Context) {
        self.bulk.giving.remove(&stream);
        ctx.out.stream(StreamWish::Close { stream });
    }
}

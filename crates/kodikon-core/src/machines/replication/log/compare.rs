//! Decides how two nodes find out what of the log each lacks: as they do for the live lane, with the rounds of their own.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::id::{Epoch, NodeId, StreamId};
use crate::ground::random::Random;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::bulk::BULK_FROM;
use crate::machines::replication::log::giving::Answer;
use crate::machines::replication::log::lane::LogLane;
use crate::machines::replication::log::pipe::{MAX_ROUND, MAX_ROUND_OPS};
use crate::machines::replication::roots::{BUCKETS, Roots};
use crate::machines::replication::sync::{
    self, Digests, Lanes, MAX_ANSWER, MAX_TOLD_OVER, covers_of, in_datagrams, in_scope, send_digests,
};
use crate::model::op::{OpId, OpLane};
use crate::wire::message::{Cover, Digest, Log as LogMessage, Message, Run};

/// An answer that comes this soon after a question of the same peer was on its way at the same time: as the settling of news.
const GIVEN_LATELY: Duration = Duration::from_millis(250);

impl Lanes for Log {
    const LANE: OpLane = OpLane::Log;

    fn count(&self) -> usize {
        self.lanes.len()
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn covers_of(&self, bucket: usize, to: Option<&NodeId>) -> Vec<Cover> {
        self.bucket(bucket).map(|lane| lane.cover(to)).collect()
    }
}

impl Log {
    /// A peer says its root.
    pub(in crate::machines::replication) fn on_root(&mut self, now: Instant, from: NodeId, root: u64) {
        let mine = self.roots.all();
        self.sync.on_root(now, from, root, mine);
    }

    /// Whether all is here that others have, as far as this node can know.
    #[must_use]
    pub fn is_complete(&self, now: Instant) -> bool {
        !self.sync.is_behind(now)
    }

    /// A new acquaintance is asked at once, where that is worth it.
    pub(in crate::machines::replication) fn ask_now(&mut self, now: Instant, source: NodeId, ctx: &mut Context) {
        let question = self.question(Some(&source), &mut ctx.random);
        self.sync.ask_now(now, source, &question, ctx);
    }

    /// A peer is gone.
    pub(in crate::machines::replication) fn forget_peer(&mut self, id: &NodeId) {
        self.sync.forget(id);
        self.given.remove(id);
    }

    /// The question what is lacked here, to one or to anybody.
    pub(super) fn question(&self, to: Option<&NodeId>, random: &mut Random) -> Digests {
        sync::digests(self, true, to, random)
    }

    pub(super) fn bucket(&self, bucket: usize) -> impl Iterator<Item = &LogLane> {
        let (first, last) = sync::ids_of(bucket);
        self.lanes.range((first, Epoch(0))..=(last, Epoch(u64::MAX))).map(|(_, lane)| lane)
    }

    /// Whether one more digest of a peer is read, of whichever lane.
    pub(in crate::machines::replication) fn reads_digest(&mut self, now: Instant, from: NodeId) -> bool {
        self.comparing.reads_digest(now, from)
    }

    /// A peer says what it covers, in a datagram or on a pipe, on which it is answered then.
    pub(in crate::machines::replication) fn on_digest(
        &mut self,
        now: Instant,
        (from, pipe): (NodeId, Option<StreamId>),
        digest: &Digest,
        ctx: &mut Context,
    ) {
        if pipe.is_none() {
            self.sync.on_answer(now, from);
        }
        let to = pipe.map_or(Destination::Peer(from), Destination::Pipe);
        let mut has_said = false;
        if digest.sums.len() == BUCKETS {
            let differing = sync::differing(self, digest);
            if differing != 0 {
                let question = sync::flat(self, differing, true, Some(&from), &mut ctx.random);
                send_digests(to, &question.digests, ctx);
                // On a pipe every question is answered by an end.
                has_said = pipe.is_none();
            }
        } else if digest.sums.is_empty() {
            let run = |cover: &Cover| (NodeId(cover.author), Epoch(cover.epoch));
            let theirs = digest.covers.iter().map(|cover| (run(cover), cover)).collect();
            // Where both ask at once each answers the other's question with what it covers, and has told that as its own question.
            let was_given = pipe.is_none() && self.was_given(now, from, digest);
            let gives = !was_given && self.give(now, (from, pipe), digest, &theirs, ctx);
            has_said = gives || pipe.is_some();
            let lacks = |(run, cover): (&(NodeId, Epoch), &&Cover)| {
                self.lanes.get(run).map_or_else(|| !self.is_closed(*run), |lane| lane.lacks(&cover.intervals))
            };
            // Who gives by a pipe pulls nothing by it.
            if digest.question && pipe.is_none() && theirs.iter().any(lacks) {
                // An answer to an answer would go on for ever; this one asks nothing.
                self.sync.expect(now, from);
                let answer = sync::flat(self, digest.scope, false, Some(&from), &mut ctx.random);
                send_digests(to, &answer.digests, ctx);
                has_said = true;
            }
            self.sync.drop_candidate(&from);
        }
        if digest.question && !has_said {
            // That there is nothing to say is an answer, too.
            ctx.out.send(to, Message::Log(LogMessage { more: Some(0), ..LogMessage::default() }));
        }
    }

    /// Whether a peer got what it lacks by this digest, which answers a question of ours, for a question of its own just before. Notes
    /// what is asked.
    fn was_given(&mut self, now: Instant, peer: NodeId, digest: &Digest) -> bool {
        let lately =
            self.given.get(&peer).filter(|(at, _)| now.since(*at) < GIVEN_LATELY).map_or(0, |(_, scope)| *scope);
        if digest.question {
            self.given.insert(peer, (now, lately | digest.scope));
        }
        !digest.question && digest.scope & !lately == 0
    }

    /// Sends what the other lacks, the most urgent first, and tells whose time is over. `true` if there was anything.
    fn give(
        &mut self,
        now: Instant,
        (to, pipe): (NodeId, Option<StreamId>),
        asked: &Digest,
        theirs: &BTreeMap<(NodeId, Epoch), &Cover>,
        ctx: &mut Context,
    ) -> bool {
        let Owed { given, beyond, over } = self.owed(pipe.is_some(), asked, theirs, ctx);
        let is_all = beyond == 0;
        // Whoever asked goes on at once.
        let end = if is_all { 0 } else { asked.scope };
        let has_any = !given.is_empty() || !over.is_empty();
        let over = in_datagrams(over);
        if let Some(stream) = pipe {
            self.answer_by_pipe(stream, Answer { ops: given, over, more: end, asked: asked.scope });
        } else {
            let mut messages = self.told(now, &given, ctx);
            let pipe = (beyond > BULK_FROM && self.bulk.offer(now, to)).then_some(true);
            match messages.last_mut() {
                Some(Message::Log(last)) => (last.more, last.pipe) = (Some(end), pipe),
                Some(_piece) => {
                    messages.push(Message::Log(LogMessage { more: Some(end), pipe, ..LogMessage::default() }));
                }
                None => {}
            }
            let has_end = !messages.is_empty();
            messages.extend(over.into_iter().map(|over| Message::Log(LogMessage { over, ..LogMessage::default() })));
            if !has_end && let Some(Message::Log(last)) = messages.last_mut() {
                last.more = Some(end);
            }
            messages.into_iter().for_each(|message| ctx.out.send(Destination::Peer(to), message));
        }
        has_any
    }

    /// What the other lacks, as much as one answer takes.
    fn owed(
        &self,
        by_pipe: bool,
        asked: &Digest,
        theirs: &BTreeMap<(NodeId, Epoch), &Cover>,
        ctx: &mut Context,
    ) -> Owed {
        let (mut lacking, mut lanes) = (Vec::new(), Vec::new());
        let speaks_of = |lane: &&LogLane| asked.speaks_of(lane.run());
        for lane in in_scope(asked.scope, ctx).flat_map(|bucket| self.bucket(bucket)).filter(speaks_of) {
            let run = (lane.author, lane.epoch);
            let foreign = theirs.get(&run);
            let known = foreign.map(|cover| Intervals::from_wire(&cover.intervals)).unwrap_or_default();
            lacking.extend(lane.beyond(&known));
            lanes.push((lane, known));
        }
        // By urgency alone: of those equally urgent it begins anywhere, so that what is not taken keeps nothing back for ever.
        lacking.sort_by_key(|held| core::cmp::Reverse(held.priority));
        let records = lanes.iter().flat_map(|(lane, known)| lane.records_beyond(known));
        let (most, most_ops) = if by_pipe { (MAX_ROUND, MAX_ROUND_OPS) } else { (MAX_ANSWER, usize::MAX) };
        let (mut bytes, mut beyond, mut given) = (0, 0, Vec::new());
        for held in lacking.into_iter().chain(records) {
            let len = held.op.wire_len();
            bytes += len;
            if beyond == 0 && bytes <= most && given.len() < most_ops {
                given.push(OpId::of(&held.op));
                continue;
            }
            // Of what is left it is asked alone whether a pipe is worth it.
            beyond += len;
            if beyond > BULK_FROM || by_pipe {
                break;
            }
        }
        let over = lanes.iter().flat_map(|(lane, known)| {
            let run = (lane.author, lane.epoch);
            let last = given.iter().filter(|id| (id.author, id.epoch) == run).map(|id| id.seq.0).max();
            let up_to = if beyond == 0 { u64::MAX } else { last.unwrap_or(0) };
            told_over(lane, &lane.over(&self.unsaid(run)), (known, up_to), ctx)
        });
        // Of a run that is over whoever does not know that may hold what it says.
        let is_over = |run: &&(NodeId, Epoch)| !self.lanes.contains_key(run) && self.is_closed(**run);
        let ended = theirs.iter().filter(|(run, _)| is_over(run));
        let ended = ended
            .flat_map(|((author, epoch), cover)| covers_of(Run { author: author.0, epoch: epoch.0 }, &cover.intervals));
        let over = over.chain(ended).collect();
        Owed { given, beyond, over }
    }

    /// A peer's answer ends: whether it has more, and in which buckets.
    pub(super) fn on_answer_ended(&mut self, now: Instant, from: NodeId, scope: u64, ctx: &mut Context) {
        let was_in_vain = scope == 0 && self.sync.was_in_vain(now, from);
        let scope = self.sync.goes_on(now, from, scope);
        if was_in_vain {
            self.compare_contents(now, from, ctx);
        }
        // What a pipe brings is not asked for in datagrams.
        if scope != 0 && !self.bulk.is_taking() {
            let question = sync::flat(self, scope, true, Some(&from), &mut ctx.random).one(&mut ctx.random);
            self.sync.go_on(now, from, &question, ctx);
        }
    }

    /// A peer's answer stopped short: what is missing is asked for again.
    pub(super) fn resume_pull(&mut self, now: Instant, ctx: &mut Context) {
        if let Some(source) = self.sync.take_resumed(now).filter(|_| !self.bulk.is_taking()) {
            let question = self.question(Some(&source), &mut ctx.random);
            self.sync.go_on(now, source, &question, ctx);
        }
    }
}

/// What is owed to whoever asks.
struct Owed {
    /// What one answer takes of it.
    given: Vec<OpId>,
    /// Bytes of the rest, as far as they were looked at.
    beyond: usize,
    /// Whose time is over.
    over: Vec<Cover>,
}

/// What is said of numbers whose time is over: all that the other lacks up to where this answer goes, since it would take each for a gap
/// and never have it closed; and of what it has, and may hold still, as much as fits, from anywhere, since the rest would never be said.
fn told_over(lane: &LogLane, over: &Intervals, (known, up_to): (&Intervals, u64), ctx: &mut Context) -> Vec<Cover> {
    let gaps = over.without(known).up_to(up_to);
    let mut rest = over.without(&gaps).to_wire().to_vec();
    if rest.len() > MAX_TOLD_OVER {
        // The longest first, in which the most may be held, and of the others as many.
        rest.sort_by_key(|interval| core::cmp::Reverse(interval.last - interval.first));
        let others = &mut rest[MAX_TOLD_OVER / 2..];
        others.rotate_left(ctx.random.place(others.len()));
        rest.truncate(MAX_TOLD_OVER);
        rest.sort_by_key(|interval| interval.first);
    }
    covers_of(lane.run(), gaps.to_wire()).chain(covers_of(lane.run(), &rest)).collect()
}

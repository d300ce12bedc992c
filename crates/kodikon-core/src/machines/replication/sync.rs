//! Decides when two nodes compare what they cover, and what each sends the other: nothing but what it lacks.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PLAIN;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::random::Random;
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::lane::Lane;
use crate::machines::replication::roots::{BUCKETS, Roots};
use crate::machines::replication::{Replication, in_messages};
use crate::model::op::{OpKind, OpLane, SignedOp};
use crate::wire::message::{Cover, Digest, Interval, Message, Ops, Run};

/// A difference younger than this is on its way already.
const SETTLE: Duration = Duration::from_millis(250);
/// Pieces for which a peer is asked on before it has brought a whole op again: those of two of the longest.
const MAX_PIECES_UNPROVEN: u8 = 44;
/// Digests sent a second.
const PER_SECOND: usize = 2;
/// A question is answered within this, or twice as long as the last one took; each one that is not doubles that, up to the most.
/// Until then nobody else is asked: where the way is full, several would send the same, and it would be fuller.
const ANSWER_LEAST: Duration = Duration::from_millis(500);
const ANSWER_MOST: Duration = Duration::from_secs(8);
/// A pair of roots that was compared rests: a second, doubled each time it stays different, up to a minute.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_LAST: Duration = Duration::from_secs(60);
/// What was asked for and comes no more is asked for again after this, if news came: then the end of the answer was lost.
const RESUME: Duration = Duration::from_millis(100);
/// Pairs of roots remembered.
pub(super) const MAX_RESTING: usize = 256;
/// Peers whose roots wait to be compared; others come again with their next heartbeat.
const MAX_CANDIDATES: usize = 64;
/// Whoever knows no more than this asks each new acquaintance at once.
pub(super) const EAGER_PEERS: usize = 3;
/// Up to so many authors a digest is flat: their covers fit one datagram where they have no gaps, about 33 B each.
const FLAT_AUTHORS: usize = 38;
/// All buckets.
const EVERYTHING: u64 = u64::MAX;
/// Digests in one answer at most; the next round goes on.
const MAX_DIGESTS: usize = 8;
/// Bytes of ops in one answer at most; the next round goes on.
pub(super) const MAX_ANSWER: usize = 48 * 1_024;

/// Comparisons under way.
#[derive(Debug)]
pub(super) struct Sync {
    candidates: BTreeMap<NodeId, Candidate>,
    resting: BoundedMap<(u64, u64), Rest>,
    sent: Vec<Instant>,
    /// Since when the oldest candidate waits, kept since it is asked for after every datagram.
    oldest: Option<Instant>,
    /// Whom we asked last.
    last: NodeId,
    /// Since when its answer is waited for; `None`: it is there.
    asked: Option<Instant>,
    /// When the last question was put, if it was not answered in its time.
    unanswered: Option<Instant>,
    /// How long.
    patience: Duration,
    /// Who answers, or may, and until when what it says counts as asked for.
    source: NodeId,
    source_until: Instant,
    /// Whether the source brought news since it was asked last.
    has_news: bool,
    /// Pieces of ops that it brought since it last brought a whole one: nobody has signed a piece.
    pieces: u8,
    /// When it is asked again if it says no more.
    resume: Option<Instant>,
    /// Until when nobody is asked: what is missing comes by another way.
    quiet: Instant,
    /// The buckets of which the last question left gaps out.
    cut: u64,
}

/// What is asked of a peer, or told in answer to its question.
#[derive(Debug)]
pub(super) struct Digests {
    /// What is covered.
    pub(super) digests: Vec<Digest>,
    /// The buckets of an author with more gaps than are told at once.
    pub(super) cut: u64,
}

impl Digests {
    /// One part of it, any: each is answered on its own, and each answer would ask for as many more.
    pub(super) fn one(mut self, random: &mut Random) -> Self {
        keep_any(&mut self.digests, 1, random);
        self
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    root: u64,
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    wait: Duration,
}

impl Sync {
    pub(super) fn new() -> Self {
        Self {
            candidates: BTreeMap::new(),
            resting: BoundedMap::new(MAX_RESTING),
            sent: Vec::new(),
            oldest: None,
            last: NodeId::default(),
            asked: None,
            unanswered: None,
            patience: ANSWER_LEAST,
            source: NodeId::default(),
            source_until: Instant::ZERO,
            has_news: false,
            pieces: 0,
            resume: None,
            quiet: Instant::ZERO,
            cut: 0,
        }
    }

    /// Roots are not compared until then.
    pub(super) fn hush(&mut self, until: Instant) {
        self.quiet = self.quiet.max(until);
    }

    /// Pairs of roots remembered.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.drop_candidate(id);
        if self.last == *id {
            (self.asked, self.unanswered) = (None, None);
        }
        self.resume.take_if(|_| self.source == *id);
    }

    pub(super) fn on_root(&mut self, now: Instant, from: NodeId, theirs: u64, mine: u64) {
        if theirs == mine {
            self.drop_candidate(&from);
            // Whatever it answered, or did not: it has nothing that is lacked here. Nor has one whose root was not seen to differ since:
            // it would have been asked again. It may be heard by others alone by now.
            let asked = self.asked.or(self.unanswered);
            if from == self.last || asked.is_some_and(|at| now.since(at) >= REST_LAST + ANSWER_MOST) {
                (self.asked, self.unanswered) = (None, None);
            }
            return;
        }
        let rests = self.resting.get(&(mine, theirs)).is_some_and(|rest| now < rest.until);
        let known = self.candidates.contains_key(&from);
        if rests || (!known && self.candidates.len() >= MAX_CANDIDATES) {
            return;
        }
        let candidate = self.candidates.entry(from).or_insert(Candidate { root: theirs, since: now });
        candidate.root = theirs;
        self.oldest.get_or_insert(now);
    }

    pub(super) fn drop_candidate(&mut self, id: &NodeId) {
        if self.candidates.remove(id).is_some() {
            self.oldest = self.candidates.values().map(|candidate| candidate.since).min();
        }
    }

    /// Whoever was asked says something of what it holds.
    pub(super) fn on_answer(&mut self, now: Instant, from: NodeId) {
        if let Some(asked) = self.asked.take_if(|_| from == self.last) {
            self.patience = (now.since(asked) * 2).clamp(ANSWER_LEAST, ANSWER_MOST);
            self.unanswered = None;
        }
    }

    /// What a peer says from now on was asked for, since it was told what is lacked here.
    pub(super) fn expect(&mut self, now: Instant, from: NodeId) {
        (self.source, self.source_until) = (from, now + ANSWER_MOST);
    }

    /// Whether what a peer says was asked for.
    pub(super) fn is_pulled(&self, now: Instant, from: NodeId) -> bool {
        self.source == from && now < self.source_until
    }

    /// A peer brought something new.
    pub(super) fn note_news(&mut self, now: Instant, from: NodeId) {
        if self.is_pulled(now, from) {
            (self.has_news, self.resume, self.pieces) = (true, Some(now + RESUME), 0);
        }
    }

    /// A peer brought a piece of a longer op. Where the next ones are lost it is asked for the rest soon, and not when its root is compared
    /// again; but not for ever, since a liar makes pieces of what nobody said.
    pub(super) fn note_piece(&mut self, now: Instant, from: NodeId) {
        if self.is_pulled(now, from) && self.pieces < MAX_PIECES_UNPROVEN {
            self.pieces += 1;
            self.resume = Some(now + RESUME);
        }
    }

    /// The answer of a peer ends, and it has more in these buckets. Of which it is to be asked for the rest at once: it brought news, so
    /// that it is no circle.
    pub(super) fn goes_on(&mut self, now: Instant, from: NodeId, more: u64) -> u64 {
        if !self.is_pulled(now, from) {
            return 0;
        }
        let has_news = std::mem::take(&mut self.has_news);
        if has_news || self.pieces == 0 {
            self.resume = None;
        }
        if has_news { more | self.cut } else { 0 }
    }

    /// Whether a peer's answer that ends brought nothing.
    pub(super) fn was_in_vain(&self, now: Instant, from: NodeId) -> bool {
        self.is_pulled(now, from) && !self.has_news
    }

    /// The peer to ask again whose answer stopped short, if it is time.
    pub(super) fn take_resumed(&mut self, now: Instant) -> Option<NodeId> {
        self.resume.take_if(|at| now >= *at)?;
        (std::mem::take(&mut self.has_news) || self.pieces > 0).then_some(self.source)
    }

    /// Asks for more, whatever this second's share.
    pub(super) fn go_on(&mut self, now: Instant, from: NodeId, question: &Digests, ctx: &mut Context) {
        self.expect(now, from);
        (self.last, self.asked, self.cut) = (from, Some(now), question.cut);
        ctx.stats.pulls_continued += 1;
        send_digests(Destination::Peer(from), &question.digests, ctx);
    }

    /// Whether whoever was asked had its time to answer, and did not. It is waited for no longer.
    fn gives_up(&mut self, now: Instant) -> bool {
        let Some(asked) = self.asked.take_if(|asked| now.since(*asked) >= self.patience) else { return false };
        self.patience = (self.patience * 2).min(ANSWER_MOST);
        self.unanswered = Some(asked);
        true
    }

    fn may_send(&mut self, now: Instant) -> bool {
        // While an answer comes, or its end may, others would send the same.
        self.has_share(now) && self.asked.is_none() && self.resume.is_none() && now >= self.quiet
    }

    fn has_share(&mut self, now: Instant) -> bool {
        self.sent.retain(|at| now.since(*at) < Duration::from_secs(1));
        self.sent.len() < PER_SECOND
    }

    fn ask(&mut self, now: Instant, id: NodeId, question: &Digests, ctx: &mut Context) {
        self.expect(now, id);
        (self.last, self.asked, self.cut) = (id, Some(now), question.cut);
        self.sent.push(now);
        ctx.stats.syncs_started += 1;
        send_digests(Destination::Peer(id), &question.digests, ctx);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_question().is_some_and(|at| now >= at)
    }

    /// Whether others may have more than is here: somebody's root has differed for longer than news take to come, or an answer is awaited,
    /// or the last one did not come. What was compared and brought nothing is no reason: all that is lacked here is given.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        let differs = self.oldest.is_some_and(|since| now > since + SETTLE);
        differs || self.asked.is_some() || self.resume.is_some() || self.unanswered.is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.next_question(), self.resume].into_iter().flatten().min()
    }

    fn next_question(&self) -> Option<Instant> {
        let ready = self.oldest? + SETTLE;
        // With the second's share spent, the oldest must lapse first.
        let share =
            (self.sent.len() >= PER_SECOND).then(|| self.sent[self.sent.len() - PER_SECOND] + Duration::from_secs(1));
        let answer = self.asked.map(|asked| asked + self.patience);
        Some(
            ready
                .max(share.unwrap_or(ready))
                .max(answer.unwrap_or(ready))
                .max(self.resume.unwrap_or(ready))
                .max(self.quiet),
        )
    }

    pub(super) fn on_wake(&mut self, now: Instant, mine: u64, question: &Digests, ctx: &mut Context) {
        let mut ready: Vec<(NodeId, Candidate)> = self
            .candidates
            .iter()
            .filter(|(_, candidate)| now >= candidate.since + SETTLE)
            .map(|(id, candidate)| (*id, *candidate))
            .collect();
        if self.gives_up(now) {
            ctx.out.notice(Notice::Untaken(self.last));
        }
        // In turn: what needs the word of two is not asked of the same one for ever.
        ready.sort_by_key(|(id, _)| (*id <= self.last, *id));
        for (id, candidate) in ready {
            if !self.may_send(now) {
                return;
            }
            self.drop_candidate(&id);
            let rests = self.resting.get(&(mine, candidate.root)).is_some_and(|rest| now < rest.until);
            if candidate.root != mine && !rests {
                self.rest(now, mine, candidate.root);
                self.ask(now, id, question, ctx);
            }
        }
    }

    /// What was compared in vain is compared again with the next word of a peer.
    pub(super) fn wake_all(&mut self) {
        self.resting.retain(|_, _| false);
    }

    /// Asks a peer at once, if this second's share allows.
    pub(super) fn ask_now(&mut self, now: Instant, id: NodeId, question: &Digests, ctx: &mut Context) {
        if self.has_share(now) {
            self.ask(now, id, question, ctx);
        }
    }

    fn rest(&mut self, now: Instant, mine: u64, theirs: u64) {
        let pair = (mine, theirs);
        let wait = self.resting.get(&pair).map_or(REST_FIRST, |rest| (rest.wait * 2).min(REST_LAST));
        if self.resting.is_full() && !self.resting.contains_key(&pair) {
            self.resting.retain(|_, rest| now < rest.until);
        }
        if self.resting.is_full() && !self.resting.contains_key(&pair) {
            self.resting.pop_first();
        }
        drop(self.resting.insert(pair, Rest { until: now + wait, wait }));
    }
}

pub(super) fn send_digests(to: Destination, digests: &[Digest], ctx: &mut Context) {
    for digest in digests {
        ctx.out.send(to, Message::Digest(digest.clone()));
    }
}

/// Bytes that a number takes in CBOR (RFC 8949 section 3).
fn number_len(number: u64) -> usize {
    match number {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _longer => 9,
    }
}

/// Bytes that an interval takes in a cover.
fn interval_len(interval: &Interval) -> usize {
    1 + number_len(interval.first) + number_len(interval.last)
}

/// Bytes that a cover takes in a message: its author, run and intervals, and their frames.
fn cover_len(cover: &Cover) -> usize {
    COVER_FRAME + cover.intervals.iter().map(interval_len).sum::<usize>()
}

/// These intervals of a run in as many covers as it takes for each to fit half a datagram.
pub(super) fn covers_of(run: Run, intervals: &[Interval]) -> impl Iterator<Item = Cover> {
    let cover =
        move |intervals: &[Interval]| Cover { author: run.author, epoch: run.epoch, intervals: intervals.to_vec() };
    intervals.chunks(MAX_TOLD_OVER).map(cover)
}

/// What is told of a cover, and whether gaps were left out. Of more gaps than fit half a datagram some in a row are told, and all the others
/// are called covered, up to the highest number: so what is new always comes, what is held never comes twice, and a gap that nobody can
/// close keeps nothing back. In every other question they are the lowest, which are settled in turn; else they begin anywhere.
fn told(mut cover: Cover, random: &mut Random) -> (Cover, bool) {
    let Some(highest) = cover.intervals.last().map(|interval| interval.last) else { return (cover, false) };
    let most = COVERS_BYTES / 2;
    if cover.intervals.iter().map(interval_len).sum::<usize>() <= most {
        return (cover, false);
    }
    let first = random.place(2 * cover.intervals.len()).saturating_sub(cover.intervals.len());
    let mut room = most - number_len(highest);
    let fits = |interval: &&Interval| {
        room = room.saturating_sub(interval_len(interval));
        room > 0
    };
    let count = cover.intervals[first..].iter().take_while(fits).count();
    cover.intervals.truncate(first + count);
    cover.intervals.drain(..first);
    if let Some(interval) = cover.intervals.first_mut().filter(|_| first > 0) {
        interval.first = 1;
    }
    if let Some(interval) = cover.intervals.last_mut() {
        interval.last = highest;
    }
    (cover, true)
}

/// Splits covers so that each part fits a datagram, as each cover does.
pub(super) fn in_datagrams(covers: Vec<Cover>) -> Vec<Vec<Cover>> {
    let mut parts: Vec<Vec<Cover>> = Vec::new();
    let mut room = 0;
    for cover in covers {
        let len = cover_len(&cover);
        match parts.last_mut().filter(|_| len <= room) {
            Some(part) => part.push(cover),
            None => {
                parts.push(vec![cover]);
                room = COVERS_BYTES;
            }
        }
        room = room.saturating_sub(len);
    }
    parts
}

/// Bytes of covers in one message: a datagram's text less the message's own fields, and the runs from and to which a digest speaks.
const COVERS_BYTES: usize = MAX_PLAIN - 48 - 2 * 28;
/// Intervals of one cover that fit half of that, whatever their numbers below 2^32.
pub(super) const MAX_TOLD_OVER: usize = 56;
/// Bytes of a cover besides its intervals: array, author (17), run (9), length of the list.
const COVER_FRAME: usize = 30;

/// The first and the last id of a bucket.
pub(super) fn ids_of(bucket: usize) -> (NodeId, NodeId) {
    let first = u8::try_from(bucket << 2).unwrap_or(u8::MAX);
    let (mut low, mut high) = ([0; 16], [0xff; 16]);
    low[0] = first;
    high[0] = first | 3;
    (NodeId(low), NodeId(high))
}

/// The buckets that a digest speaks of. They begin anywhere, so that what fills an answer and is not taken does not keep
/// back the rest for ever.
pub(super) fn in_scope(scope: u64, ctx: &mut Context) -> impl Iterator<Item = usize> + use<> {
    let first = ctx.random.place(BUCKETS);
    (first..BUCKETS).chain(0..first).filter(move |bucket| scope >> bucket & 1 == 1)
}

/// What a comparison needs to know of all that is held in one lane.
pub(super) trait Lanes {
    /// Which lane.
    const LANE: OpLane;
    /// Of how many runs of authors something is known.
    fn count(&self) -> usize;
    /// What all add to the root, and the authors of each bucket.
    fn roots(&self) -> &Roots;
    /// What is covered of the authors of a bucket, as it is told to one, or to anybody.
    fn covers_of(&self, bucket: usize, to: Option<&NodeId>) -> Vec<Cover>;
}

impl Lanes for Replication {
    const LANE: OpLane = OpLane::Live;

    fn count(&self) -> usize {
        self.lanes.len()
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn covers_of(&self, bucket: usize, _: Option<&NodeId>) -> Vec<Cover> {
        self.bucket(bucket).map(|(_, lane)| lane.cover()).collect()
    }
}

/// How a digest names its lane.
fn lane_of<L: Lanes>(_: &L) -> Option<u8> {
    (L::LANE != OpLane::Live).then_some(L::LANE.code())
}

/// What is covered: per run where that fits a datagram, else the sums of 64 buckets.
pub(super) fn digests<L: Lanes>(lanes: &L, question: bool, to: Option<&NodeId>, random: &mut Random) -> Digests {
    if lanes.count() <= FLAT_AUTHORS {
        return flat(lanes, EVERYTHING, question, to, random);
    }
    let sums = lanes.roots().sums().to_vec();
    let digest = Digest { scope: EVERYTHING, sums, question, lane: lane_of(lanes), ..Digest::default() };
    Digests { digests: vec![digest], cut: 0 }
}

/// The covers of all authors in these buckets, in as many digests as they need, or as many of them as are sent at once, any. A bucket
/// that fills more than one comes in parts, each of which says of which runs it speaks: what is not named there is not held.
pub(super) fn flat<L: Lanes>(
    lanes: &L,
    scope: u64,
    question: bool,
    to: Option<&NodeId>,
    random: &mut Random,
) -> Digests {
    let digest = |covers, scope| Digest { covers, scope, question, lane: lane_of(lanes), ..Digest::default() };
    let mut digests = vec![digest(Vec::new(), 0)];
    let (mut room, mut cut) = (COVERS_BYTES, 0);
    for bucket in (0..BUCKETS).filter(|bucket| scope >> bucket & 1 == 1) {
        let covers = lanes.covers_of(bucket, to).into_iter().map(|cover| {
            let (cover, is_cut) = told(cover, random);
            cut |= u64::from(is_cut) << bucket;
            cover
        });
        let mut parts = in_datagrams(covers.collect());
        let len = parts.first().map_or(0, |part| part.iter().map(cover_len).sum());
        if parts.len() > 1 {
            let starts: Vec<Option<Run>> = parts.iter().skip(1).map(|part| part.first().map(run_of::<L>)).collect();
            let (from, until) = ([None].into_iter().chain(starts.clone()), starts.into_iter().chain([None]));
            for ((from, until), covers) in from.zip(until).zip(parts) {
                digests.push(Digest { from, until, ..digest(covers, 1 << bucket) });
            }
            // The last part speaks of runs of this bucket alone.
            digests.push(digest(Vec::new(), 0));
            room = COVERS_BYTES;
            continue;
        }
        if len > room {
            digests.push(digest(Vec::new(), 0));
            room = COVERS_BYTES;
        }
        let last = digests.last_mut().expect("there is one from the start");
        last.covers.extend(parts.pop().unwrap_or_default());
        last.scope |= 1 << bucket;
        room -= len;
    }
    digests.retain(|digest| digest.scope != 0);
    keep_any(&mut digests, MAX_DIGESTS, random);
    Digests { digests, cut }
}

/// Keeps so many of these, in a row from anywhere.
fn keep_any(digests: &mut Vec<Digest>, most: usize, random: &mut Random) {
    if digests.len() > most {
        let first = random.place(digests.len());
        digests.rotate_left(first);
        digests.truncate(most);
    }
}

/// The run of a cover. Of the live lane's an author has one, whichever it is.
fn run_of<L: Lanes>(cover: &Cover) -> Run {
    Run { author: cover.author, epoch: if L::LANE == OpLane::Live { 0 } else { cover.epoch } }
}

/// The buckets of which the other's sums are not ours.
pub(super) fn differing<L: Lanes>(lanes: &L, digest: &Digest) -> u64 {
    let mut differing = 0;
    for (bucket, (mine, theirs)) in lanes.roots().sums().iter().zip(&digest.sums).enumerate() {
        differing |= u64::from(mine != theirs) << bucket;
    }
    differing
}

impl Replication {
    /// A peer says its root.
    pub fn on_root(&mut self, now: Instant, from: NodeId, root: u64) {
        let mine = self.roots.all();
        self.sync.on_root(now, from, root, mine);
    }

    /// Somebody whose ops were not taken before may be let in now: pairs of roots rest no more.
    pub fn compare_anew(&mut self) {
        self.sync.wake_all();
    }

    pub(super) fn question(&self, random: &mut Random) -> Digests {
        digests(self, true, None, random)
    }

    fn bucket(&self, bucket: usize) -> impl Iterator<Item = (&NodeId, &Lane)> {
        let (first, last) = ids_of(bucket);
        self.lanes.span(first, last).map(|(author, lane)| (author, lane.as_ref()))
    }

    /// A peer says what it covers.
    pub fn on_digest(&mut self, now: Instant, from: NodeId, digest: &Digest, ctx: &mut Context) {
        if !self.log.reads_digest(now, from) {
            return ctx.stats.drop(Reject::Budget);
        }
        match digest.lane.map_or(Some(OpLane::Live), OpLane::from_code) {
            Some(OpLane::Live) => {
                self.sync.on_answer(now, from);
                if !self.on_live_digest(from, digest, ctx) && digest.question {
                    // That there is nothing to say is an answer, too.
                    ctx.out.send(Destination::Peer(from), Message::Ops(Ops { ops: Vec::new(), covered: Vec::new() }));
                }
            }
            Some(OpLane::Log) => self.log.on_digest(now, (from, None), digest, ctx),
            Some(OpLane::Local) | None => {}
        }
    }

    /// Whether anything was said.
    fn on_live_digest(&mut self, from: NodeId, digest: &Digest, ctx: &mut Context) -> bool {
        if digest.sums.len() == BUCKETS {
            self.on_sums(from, digest, ctx)
        } else {
            digest.sums.is_empty() && self.on_covers(from, digest, ctx)
        }
    }

    fn on_sums(&self, from: NodeId, digest: &Digest, ctx: &mut Context) -> bool {
        let differing = differing(self, digest);
        if differing != 0 {
            let question = flat(self, differing, true, None, &mut ctx.random);
            send_digests(Destination::Peer(from), &question.digests, ctx);
        }
        differing != 0
    }

    fn on_covers(&mut self, from: NodeId, digest: &Digest, ctx: &mut Context) -> bool {
        let theirs: BTreeMap<NodeId, &Cover> =
            digest.covers.iter().map(|cover| (NodeId(cover.author), cover)).collect();
        let mut has_said = self.give(from, digest, &theirs, ctx);
        if digest.question && self.lacks_any(&theirs, ctx) {
            // An answer to an answer would go on for ever; this one asks nothing.
            let answer = flat(self, digest.scope, false, None, &mut ctx.random);
            send_digests(Destination::Peer(from), &answer.digests, ctx);
            has_said = true;
        }
        self.sync.drop_candidate(&from);
        has_said
    }

    /// Sends what the other lacks of the authors it speaks of: of those it does not name the card alone, since it takes
    /// nothing else of somebody who is not present there. `true` if there was anything.
    fn give(&self, to: NodeId, asked: &Digest, theirs: &BTreeMap<NodeId, &Cover>, ctx: &mut Context) -> bool {
        let mut given: Vec<SignedOp> = Vec::new();
        let mut covered: Vec<Cover> = Vec::new();
        let mut bytes = 0;
        let speaks_of = |author: &NodeId| asked.speaks_of(Run { author: author.0, epoch: 0 });
        let lanes = in_scope(asked.scope, ctx).flat_map(|bucket| self.bucket(bucket));
        for (author, lane) in lanes.filter(|(author, _)| speaks_of(author)) {
            let foreign = theirs.get(author).filter(|cover| Epoch(cover.epoch) == lane.epoch);
            if theirs.get(author).is_some_and(|cover| Epoch(cover.epoch) > lane.epoch) || *author == to {
                continue;
            }
            let known = foreign.map(|cover| Intervals::from_wire(&cover.intervals)).unwrap_or_default();
            if lane.is_within(&known) {
                continue;
            }
            let is_taken = |op: &&SignedOp| theirs.contains_key(author) || op.kind() == OpKind::Card;
            let ops: Vec<SignedOp> = lane.beyond(&known).filter(is_taken).cloned().collect();
            bytes += ops.iter().map(SignedOp::wire_len).sum::<usize>();
            given.extend(ops);
            if theirs.contains_key(author) {
                let run = Run { author: author.0, epoch: lane.epoch.0 };
                covered.extend(covers_of(run, lane.hollow().without(&known).to_wire()));
            }
            if bytes > MAX_ANSWER {
                break;
            }
        }
        // Where the way is full the end of an answer is lost: what tells who lives and who hears whom goes before what applications publish.
        given.sort_by_key(|op| op.kind() == OpKind::State);
        let has_any = !given.is_empty() || !covered.is_empty();
        for ops in in_messages(given) {
            ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops, covered: Vec::new() }));
        }
        // After the ops: hearsay counts only up to what the author was seen to sign.
        for covered in in_datagrams(covered) {
            ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops: Vec::new(), covered }));
        }
        has_any
    }

    fn lacks_any(&self, theirs: &BTreeMap<NodeId, &Cover>, ctx: &Context) -> bool {
        theirs.iter().any(|(author, cover)| {
            let lane = self.lanes.get(author).filter(|lane| lane.epoch == Epoch(cover.epoch));
            let is_old = ctx.roster.highest_epoch(author).is_some_and(|known| Epoch(cover.epoch) < known);
            *author != ctx.me.id && !is_old && lane.is_none_or(|lane| lane.lacks(&cover.intervals))
        })
    }
}

#[cfg(test)]
mod tests;

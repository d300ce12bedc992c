//! Decides when two nodes compare what they cover, and what each sends the other: nothing but what it lacks.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PLAIN;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::lane::Lane;
use crate::machines::replication::{Replication, in_messages};
use crate::model::op::SignedOp;
use crate::wire::message::{Cover, Digest, Message, Ops};

/// A difference younger than this is on its way already.
const SETTLE: Duration = Duration::from_millis(250);
/// Digests sent a second.
const PER_SECOND: usize = 2;
/// A pair of roots that was compared rests: a second, doubled each time it stays different, up to a minute.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_LAST: Duration = Duration::from_secs(60);
/// Pairs of roots remembered.
pub(super) const MAX_RESTING: usize = 256;
/// Peers whose roots wait to be compared; others come again with their next heartbeat.
const MAX_CANDIDATES: usize = 64;
/// Whoever knows no more than this asks each new acquaintance at once.
pub(super) const EAGER_PEERS: usize = 3;
/// Authors whose covers mostly fit one datagram: about 33 B each.
const FLAT_AUTHORS: usize = 38;
/// Bytes of covers in one message: a datagram's text less the message's own 22 B and a few to spare.
const COVERS_BYTES: usize = MAX_PLAIN - 32;
/// Buckets of authors above that.
const BUCKETS: usize = 64;
/// All buckets.
const EVERYTHING: u64 = u64::MAX;
/// Digests in one answer at most; the next round goes on.
const MAX_DIGESTS: usize = 8;
/// Bytes of ops in one answer at most; the next round goes on.
const MAX_ANSWER: usize = 48 * 1_024;

/// Comparisons under way.
#[derive(Debug)]
pub(super) struct Sync {
    candidates: BTreeMap<NodeId, Candidate>,
    resting: BoundedMap<(u64, u64), Rest>,
    sent: Vec<Instant>,
    /// Since when the oldest candidate waits, kept since it is asked for after every datagram.
    oldest: Option<Instant>,
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
        Self { candidates: BTreeMap::new(), resting: BoundedMap::new(MAX_RESTING), sent: Vec::new(), oldest: None }
    }

    /// Pairs of roots remembered.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.drop_candidate(id);
    }

    fn on_root(&mut self, now: Instant, from: NodeId, theirs: u64, mine: u64) {
        if theirs == mine {
            self.drop_candidate(&from);
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

    fn drop_candidate(&mut self, id: &NodeId) {
        if self.candidates.remove(id).is_some() {
            self.oldest = self.candidates.values().map(|candidate| candidate.since).min();
        }
    }

    fn may_send(&mut self, now: Instant) -> bool {
        self.sent.retain(|at| now.since(*at) < Duration::from_secs(1));
        self.sent.len() < PER_SECOND
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|at| now >= at)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ready = self.oldest? + SETTLE;
        // With the second's share spent, the oldest must lapse first.
        let share =
            (self.sent.len() >= PER_SECOND).then(|| self.sent[self.sent.len() - PER_SECOND] + Duration::from_secs(1));
        Some(ready.max(share.unwrap_or(ready)))
    }

    pub(super) fn on_wake(&mut self, now: Instant, mine: u64, digests: &[Digest], ctx: &mut Context) {
        let ready: Vec<(NodeId, Candidate)> = self
            .candidates
            .iter()
            .filter(|(_, candidate)| now >= candidate.since + SETTLE)
            .map(|(id, candidate)| (*id, *candidate))
            .collect();
        for (id, candidate) in ready {
            if !self.may_send(now) {
                return;
            }
            self.drop_candidate(&id);
            let rests = self.resting.get(&(mine, candidate.root)).is_some_and(|rest| now < rest.until);
            if candidate.root != mine && !rests {
                self.rest(now, mine, candidate.root);
                self.sent.push(now);
                ctx.stats.syncs_started += 1;
                send_digests(id, digests, ctx);
            }
        }
    }

    /// Asks a peer at once, if this second's share allows.
    pub(super) fn ask_now(&mut self, now: Instant, id: NodeId, digests: Vec<Digest>, ctx: &mut Context) {
        if self.may_send(now) {
            self.sent.push(now);
            ctx.stats.syncs_started += 1;
            send_digests(id, &digests, ctx);
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

fn send_digests(to: NodeId, digests: &[Digest], ctx: &mut Context) {
    for digest in digests {
        ctx.out.send(Destination::Peer(to), Message::Digest(digest.clone()));
    }
}

fn wire_len(cover: &Cover) -> usize {
    minicbor::to_vec(cover).expect("encoding into memory cannot fail").len()
}

/// Splits covers so that each part fits a datagram; of one author with very many gaps only what fits travels, and the
/// rest with the next round.
fn in_datagrams(covers: Vec<Cover>) -> Vec<Vec<Cover>> {
    let mut parts: Vec<Vec<Cover>> = Vec::new();
    let mut room = 0;
    for mut cover in covers {
        cover.intervals.truncate(MAX_TOLD);
        let len = wire_len(&cover);
        match parts.last_mut().filter(|_| len <= room) {
            Some(part) => part.push(cover),
            None => {
                parts.push(vec![cover]);
                room = COVERS_BYTES;
            }
        }
        room -= len;
    }
    parts
}

/// Intervals of one author told in one message at most: their numbers take 19 B each at the very most, so they fit.
const MAX_TOLD: usize = 64;

fn bucket_of(author: &NodeId) -> usize {
    usize::from(author.0[0] >> 2)
}

impl Replication {
    /// A peer says its root.
    pub fn on_root(&mut self, now: Instant, from: NodeId, root: u64) {
        let mine = self.root;
        self.sync.on_root(now, from, root, mine);
    }

    /// What we cover: per author where that fits a datagram, else the sums of 64 buckets.
    pub(super) fn digests(&self, question: bool, ctx: &mut Context) -> Vec<Digest> {
        if self.lanes.len() <= FLAT_AUTHORS {
            return self.flat(EVERYTHING, question, ctx);
        }
        let mut sums = vec![0u64; BUCKETS];
        for (author, lane) in &self.lanes {
            let sum = &mut sums[bucket_of(author)];
            *sum = sum.wrapping_add(lane.part());
        }
        vec![Digest { covers: Vec::new(), scope: EVERYTHING, sums, question }]
    }

    /// The covers of all authors in these buckets, in as many digests as they need.
    fn flat(&self, scope: u64, question: bool, ctx: &mut Context) -> Vec<Digest> {
        let mut digests = vec![Digest { covers: Vec::new(), scope: 0, sums: Vec::new(), question }];
        let mut room = COVERS_BYTES;
        for bucket in (0..BUCKETS).filter(|bucket| scope >> bucket & 1 == 1) {
            let covers = self.covers_of(bucket, ctx);
            let len: usize = covers.iter().map(wire_len).sum();
            if len > room {
                digests.push(Digest { covers: Vec::new(), scope: 0, sums: Vec::new(), question });
                room = COVERS_BYTES;
            }
            room -= len;
            let last = digests.last_mut().expect("there is one from the start");
            last.covers.extend(covers);
            last.scope |= 1 << bucket;
        }
        digests.truncate(MAX_DIGESTS);
        digests
    }

    /// The covers of a bucket, as many as fit a datagram. Of authors left out the receiver sends all it holds; so that
    /// an answer's limit does not always end before the same ones, others are left out each time.
    fn covers_of(&self, bucket: usize, ctx: &mut Context) -> Vec<Cover> {
        let mut parts = in_datagrams(self.bucket(bucket).map(|(_, lane)| lane.cover()).collect());
        if parts.len() > 1 {
            let mut covers = parts.concat();
            let first = ctx.random.below(covers.len() as u64);
            covers.rotate_left(usize::try_from(first).expect("below a length"));
            parts = in_datagrams(covers);
        }
        parts.into_iter().next().unwrap_or_default()
    }

    fn bucket(&self, bucket: usize) -> impl Iterator<Item = (&NodeId, &Lane)> {
        let first = u8::try_from(bucket << 2).unwrap_or(u8::MAX);
        let (mut low, mut high) = ([0; 16], [0xff; 16]);
        low[0] = first;
        high[0] = first | 3;
        self.lanes.range(NodeId(low)..=NodeId(high))
    }

    /// A peer says what it covers.
    pub fn on_digest(&mut self, now: Instant, from: NodeId, digest: &Digest, ctx: &mut Context) {
        if digest.sums.len() == BUCKETS {
            self.on_sums(from, digest, ctx);
        } else if digest.sums.is_empty() {
            self.on_covers(now, from, digest, ctx);
        }
    }

    fn on_sums(&self, from: NodeId, digest: &Digest, ctx: &mut Context) {
        let mut differing = 0;
        for (bucket, theirs) in digest.sums.iter().enumerate() {
            let mine = self.bucket(bucket).fold(0u64, |sum, (_, lane)| sum.wrapping_add(lane.part()));
            differing |= u64::from(mine != *theirs) << bucket;
        }
        if differing != 0 {
            let digests = self.flat(differing, true, ctx);
            send_digests(from, &digests, ctx);
        }
    }

    fn on_covers(&mut self, now: Instant, from: NodeId, digest: &Digest, ctx: &mut Context) {
        let theirs: BTreeMap<NodeId, &Cover> =
            digest.covers.iter().map(|cover| (NodeId(cover.author), cover)).collect();
        self.give(from, digest.scope, &theirs, ctx);
        if digest.question && self.lacks_any(&theirs, ctx) {
            // An answer to an answer would go on for ever; this one asks nothing.
            let digests = self.flat(digest.scope, false, ctx);
            send_digests(from, &digests, ctx);
        }
        self.sync.drop_candidate(&from);
        let _ = now;
    }

    /// Sends what the other lacks of the authors it speaks of.
    fn give(&self, to: NodeId, scope: u64, theirs: &BTreeMap<NodeId, &Cover>, ctx: &mut Context) {
        let mut given: Vec<SignedOp> = Vec::new();
        let mut covered: Vec<Cover> = Vec::new();
        let mut bytes = 0;
        for (author, lane) in
            (0..BUCKETS).filter(|bucket| scope >> bucket & 1 == 1).flat_map(|bucket| self.bucket(bucket))
        {
            let foreign = theirs.get(author).filter(|cover| Epoch(cover.epoch) == lane.epoch);
            if theirs.get(author).is_some_and(|cover| Epoch(cover.epoch) > lane.epoch) || *author == to {
                continue;
            }
            let known = foreign.map(|cover| Intervals::from_wire(&cover.intervals)).unwrap_or_default();
            if known.contains_all(&lane.cover().intervals) {
                continue;
            }
            let ops: Vec<SignedOp> = lane.beyond(&known).cloned().collect();
            bytes += ops.iter().map(SignedOp::wire_len).sum::<usize>();
            given.extend(ops);
            covered.push(lane.hollow());
            if bytes > MAX_ANSWER {
                break;
            }
        }
        for ops in in_messages(given) {
            ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops, covered: Vec::new() }));
        }
        // After the ops: hearsay counts only up to what the author was seen to sign.
        for covered in in_datagrams(covered) {
            ctx.out.send(Destination::Peer(to), Message::Ops(Ops { ops: Vec::new(), covered }));
        }
    }

    fn lacks_any(&self, theirs: &BTreeMap<NodeId, &Cover>, ctx: &Context) -> bool {
        theirs.iter().any(|(author, cover)| {
            let lane = self.lanes.get(author).filter(|lane| lane.epoch == Epoch(cover.epoch));
            let is_old = ctx.roster.highest_epoch(author).is_some_and(|known| Epoch(cover.epoch) < known);
            *author != ctx.me.id && !is_old && lane.is_none_or(|lane| lane.lacks(&cover.intervals))
        })
    }
}

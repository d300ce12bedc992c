//! Decides how two nodes that cover the same of the log find where they hold other words, and whose words stand.
//!
//! The root is a sum over all words that are held. Where roots differ and nothing is lacked, sums are told of ever fewer numbers, each
//! message answering the one before, until so few are left that the ops themselves are told. Of two bodies that an author signed for one
//! number all keep the same, and it is named; what its author did not sign was spoilt on the way to here, from a disk.

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::checks::Checks;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::{EVERY_NUMBER, LogLane};
use crate::machines::replication::log::local::Local;
use crate::machines::replication::roots::BUCKETS;
use crate::model::op::{OpId, SignedOp};
use crate::wire::message::{Contents, Interval, Message, PartSum};

/// So few ops are told themselves; of more the sums of parts.
const FEW: usize = 4;
/// Parts into which an interval is cut: a hundred thousand ops are four messages each way.
const PARTS: usize = 16;
/// Sums in one message at most: a datagram's text, 60 B each.
const MAX_SUMS: usize = 20;
/// A comparison is begun no more often than this: what differs for a moment only, as ages do, is left to itself.
const BEGUN_EVERY: Duration = Duration::from_secs(1);
/// Messages of one peer answered a second, and at once: each may go through all that is held, which takes a millisecond or two.
const RATE: u32 = 8;
const BURST: u32 = 16;
/// The same of digests, for each of which what is held is gone through, too. Whoever pulls by datagrams has 48 KiB for each of its
/// questions: 10 MB a second; and who asks first tells a hundred runs in a digest.
const DIGEST_RATE: u32 = 200;
const DIGEST_BURST: u32 = 1_000;

/// Comparisons of what is held.
#[derive(Debug)]
pub(super) struct Comparing {
    begun: Option<Instant>,
    allowances: RecentMap<NodeId, TokenBucket>,
    digests: RecentMap<NodeId, TokenBucket>,
}

impl Comparing {
    pub(super) fn new() -> Self {
        Self { begun: None, allowances: RecentMap::new(MAX_PEERS), digests: RecentMap::new(MAX_PEERS) }
    }

    pub(super) fn len(&self) -> usize {
        self.allowances.len()
    }

    pub(super) fn readers(&self) -> usize {
        self.digests.len()
    }

    /// Whether one more digest of a peer is read.
    pub(super) fn reads_digest(&mut self, now: Instant, from: NodeId) -> bool {
        self.digests.get_or_insert_with(from, || TokenBucket::new(DIGEST_RATE, DIGEST_BURST)).take(now, 1)
    }

    fn may_answer(&mut self, now: Instant, from: NodeId) -> bool {
        self.allowances.get_or_insert_with(from, || TokenBucket::new(RATE, BURST)).take(now, 1)
    }
}

impl Log {
    /// A peer has nothing that is lacked here: where its root is another all the same, some words are.
    pub(super) fn compare_contents(&mut self, now: Instant, with: NodeId, ctx: &mut Context) {
        let theirs = ctx.roster.get(&with).and_then(|peer| peer.log).map(|told| told.root);
        let was_lately = self.comparing.begun.is_some_and(|at| now.since(at) < BEGUN_EVERY);
        if was_lately || theirs.is_none_or(|root| root == self.roots.all()) {
            return;
        }
        self.comparing.begun = Some(now);
        ctx.stats.contents_compared += 1;
        let sums = self.roots.sums().to_vec();
        ctx.out.send(Destination::Peer(with), Message::Contents(Contents { sums, parts: Vec::new() }));
    }

    /// A peer says in sums what it holds.
    pub(in crate::machines::replication) fn on_contents(
        &mut self,
        now: Instant,
        from: NodeId,
        contents: &Contents,
        ctx: &mut Context,
    ) {
        if !is_sound(contents) {
            return ctx.stats.drop(Reject::Malformed);
        }
        if !self.comparing.may_answer(now, from) {
            return ctx.stats.drop(Reject::Budget);
        }
        let parts = if contents.parts.is_empty() {
            self.of_a_bucket(&contents.sums, ctx)
        } else {
            self.of_a_part(contents, ctx)
        };
        match parts {
            Narrowed::Same => {}
            Narrowed::Sums(parts) => {
                let contents = Contents { sums: Vec::new(), parts };
                ctx.out.send(Destination::Peer(from), Message::Contents(contents));
            }
            Narrowed::Ops(ids) => self.tell_words(now, &ids, from, ctx),
        }
    }

    /// The sums of the runs in one of the buckets that differ, any: some may differ for a moment only, and keep no other back.
    fn of_a_bucket(&self, theirs: &[u64], ctx: &mut Context) -> Narrowed {
        let mine = self.roots.sums();
        let differing: Vec<usize> = (0..BUCKETS).filter(|bucket| theirs.get(*bucket) != Some(&mine[*bucket])).collect();
        let Some(bucket) = differing.get(ctx.random.place(differing.len())) else { return Narrowed::Same };
        let sum = |lane: &LogLane| part_of(lane, EVERY_NUMBER);
        let mut parts: Vec<PartSum> = self.bucket(*bucket).filter(|lane| !lane.is_empty()).map(sum).collect();
        if parts.len() > MAX_SUMS {
            let first = ctx.random.place(parts.len());
            parts.rotate_left(first);
            parts.truncate(MAX_SUMS);
        }
        if parts.is_empty() { Narrowed::Same } else { Narrowed::Sums(parts) }
    }

    /// Of the parts that differ one, any, in smaller ones, or its ops.
    fn of_a_part(&self, contents: &Contents, ctx: &mut Context) -> Narrowed {
        let lane_of = |part: &PartSum| self.lanes.get(&(NodeId(part.author), Epoch(part.epoch)));
        let differs = |part: &PartSum| {
            let lane = lane_of(part)?;
            (lane.part_within(part.numbers) != part.sum).then_some((lane, part.numbers))
        };
        let differing: Vec<(&LogLane, Interval)> = contents.parts.iter().filter_map(differs).collect();
        let Some((lane, span)) = differing.get(ctx.random.place(differing.len())) else { return Narrowed::Same };
        let numbers = lane.numbers_within(*span);
        if numbers.len() <= FEW {
            let id = |seq| OpId { author: lane.author, epoch: lane.epoch, seq: Seq(seq) };
            return Narrowed::Ops(numbers.into_iter().map(id).collect());
        }
        let chunks = numbers.chunks(numbers.len().div_ceil(PARTS));
        let starts: Vec<u64> = chunks.skip(1).map(|chunk| chunk[0]).collect();
        let firsts = [span.first].into_iter().chain(starts.iter().copied());
        let lasts = starts.iter().map(|start| start - 1).chain([span.last]);
        Narrowed::Sums(firsts.zip(lasts).map(|(first, last)| part_of(lane, Interval { first, last })).collect())
    }

    fn tell_words(&self, now: Instant, ids: &[OpId], to: NodeId, ctx: &mut Context) {
        for message in self.told(now, ids, ctx) {
            ctx.out.send(Destination::Peer(to), message);
        }
    }

    /// A number that is held comes again with other words. Whether those that are held make room for them.
    pub(super) fn gives_way(
        &mut self,
        now: Instant,
        from: NodeId,
        (op, key): (&SignedOp, Option<[u8; 32]>),
        checks: &mut Checks,
        ctx: &mut Context,
    ) -> bool {
        let (id, Some(key)) = (OpId::of(op), key) else { return false };
        if !checks.is_signed(now, from, (op, &key), ctx) {
            return false;
        }
        let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch)) else { return false };
        let Some(mine) = lane.get(id.seq).map(|held| held.op.clone()) else { return false };
        if !ctx.verify_op(&mine, &key) {
            self.lose(now, &[id], ctx);
            return true;
        }
        ctx.stats.equivocations += 1;
        if lane.note_equivocation()
            && let Some(peer) = ctx.roster.get(&id.author)
        {
            let name = peer.card.shown_name();
            ctx.out.event(Event::Equivocated { peer: id.author, name });
        }
        // Which of the two it is does not matter, if it is the same for all.
        let yields = op.words() < mine.words();
        if yields {
            self.let_go(now, &id, ctx);
        } else {
            self.tell_words(now, &[id], from, ctx);
        }
        yields
    }

    /// What is held here and was not said by its author is dropped, and lacked from now on.
    pub(in crate::machines::replication) fn lose(&mut self, now: Instant, ids: &[OpId], ctx: &mut Context) {
        for id in ids {
            self.let_go(now, id, ctx);
        }
        ctx.stats.log_rotten += ids.len() as u64;
        ctx.out.event(Event::LogRotten(ids.len()));
    }

    fn let_go(&mut self, now: Instant, id: &OpId, ctx: &mut Context) {
        self.forget(id, ctx);
        // Of what stays here nobody else has it: it is not waited for.
        if !Local::is_of(id)
            && let Some(lane) = self.lanes.get_mut(&(id.author, id.epoch))
        {
            lane.uncover(id.seq);
        }
        self.keep.owe_removal_soon(now, *id, &mut ctx.random);
    }
}

/// What there is to say to another's sums.
enum Narrowed {
    Same,
    Sums(Vec<PartSum>),
    Ops(Vec<OpId>),
}

fn part_of(lane: &LogLane, numbers: Interval) -> PartSum {
    PartSum { author: lane.author.0, epoch: lane.epoch.0, numbers, sum: lane.part_within(numbers) }
}

/// Whether it can be answered by going once through what is held: its parts of a run ascend.
fn is_sound(contents: &Contents) -> bool {
    let ascend = |pair: &[PartSum]| {
        let [before, after] = pair else { return true };
        (before.author, before.epoch) != (after.author, after.epoch) || before.numbers.last < after.numbers.first
    };
    let mut runs: Vec<_> = contents.parts.iter().map(|part| (part.author, part.epoch)).collect();
    runs.dedup();
    let listed = runs.len();
    runs.sort_unstable();
    runs.dedup();
    let has_sums = contents.sums.len() == BUCKETS && contents.parts.is_empty();
    let has_parts = contents.sums.is_empty() && (1..=MAX_SUMS).contains(&contents.parts.len());
    let are_spans = contents.parts.iter().all(|part| part.numbers.first <= part.numbers.last);
    (has_sums || has_parts) && are_spans && listed == runs.len() && contents.parts.windows(2).all(ascend)
}

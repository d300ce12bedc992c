//! Decides when a node tells what it has of another's log, and what is known of what the others have.

use core::ops::RangeInclusive;
use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::ground::bounded::RecentMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::time::{Duration, Instant};
use crate::model::alert::{ReceiptBody, ReceiptNumber, ReceiptRow};
use crate::model::op::OpId;

/// What is known of what nodes have of each other's logs: receivers by authors. The pair noted longest ago makes room.
pub(super) const MAX_RECEIPTS: usize = 16_384;
/// Authors who are owed a receipt at once.
pub(super) const MAX_OWED: usize = MAX_PEERS;
/// So long after the previous receipt, for each peer: all receivers of a mesh together tell no more than a thousand a second, each
/// of which costs every other 32 µs (a signature).
const GAP_A_PEER: Duration = Duration::from_millis(1);
/// An urgent one waits a while by chance, for each peer: a hundred that answer one datagram at one moment fill a switch's queue.
const JITTER_A_PEER: Duration = Duration::from_micros(50);
/// Any other waits so long and then by chance half to all of this for each peer: everybody is shown an alert before it checks what all others
/// say of it, and by then it is on most disks, which the same receipt tells,
const WAIT: Duration = Duration::from_millis(10);
const WAIT_A_PEER: Duration = Duration::from_micros(1_400);
/// but no longer than leaves the origin time to hear of it before it tells the alert again (240 ms).
const WAIT_MOST: Duration = Duration::from_millis(100);
/// Once it is on disk there is nothing more to wait for, but for what others tell at the same time: by chance, for each peer.
const KEPT_A_PEER: Duration = Duration::from_micros(700);

/// Where an author was told alone, all others are after this, and then by chance as if they were owed a receipt: each signature that
/// it takes costs all of them, and by then it tells of all that came meanwhile.
const SHARE_AFTER: Duration = Duration::from_secs(1);

/// What a receipt that is owed would tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// That something critical was shown, or is on disk: it waits for no gap.
    Critical,
    /// That something was shown.
    Shown,
    /// That something that was shown is on disk.
    Kept,
}

/// How far an alert has come at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// As far as is known it is not there.
    Nothing,
    /// Its application was shown it.
    Shown,
    /// And it is on its disk.
    Durable,
}

/// Receipts, own and others'.
#[derive(Debug)]
pub(super) struct Receipts {
    /// By author and receiver.
    known: RecentMap<(NodeId, NodeId), (ReceiptNumber, ReceiptBody)>,
    /// By author: when it is told, and whether it is urgent.
    owed: BTreeMap<NodeId, (Instant, bool)>,
    /// What was told last, by author.
    told: RecentMap<NodeId, ReceiptBody>,
    /// What an author was told alone, and when all are.
    told_alone: RecentMap<NodeId, ReceiptBody>,
    shares: BTreeMap<NodeId, Instant>,
    last: Instant,
}

impl Receipts {
    pub(super) fn new() -> Self {
        Self {
            known: RecentMap::new(MAX_RECEIPTS),
            owed: BTreeMap::new(),
            told: RecentMap::new(MAX_PEERS),
            told_alone: RecentMap::new(MAX_PEERS),
            shares: BTreeMap::new(),
            last: Instant::ZERO,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn owed(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn to_share(&self) -> usize {
        self.shares.len()
    }

    /// An author is owed a receipt.
    pub(super) fn owe(&mut self, now: Instant, author: NodeId, news: News, ctx: &mut Context) {
        let peers = peers(ctx);
        let gap = self.last + GAP_A_PEER.saturating_mul(peers);
        let at = match news {
            News::Critical => now + ctx.random.span(JITTER_A_PEER.saturating_mul(peers)),
            News::Shown => {
                // Half of it is chance, however many there are.
                let most = WAIT_A_PEER.saturating_mul(peers).min(WAIT_MOST);
                gap.max(now + WAIT + most / 2 + ctx.random.span(most / 2))
            }
            News::Kept => gap.max(now + ctx.random.span(KEPT_A_PEER.saturating_mul(peers))),
        };
        if self.owed.len() >= MAX_OWED && !self.owed.contains_key(&author) {
            // Its numbers are told with its next alert.
            return;
        }
        let is_urgent = news == News::Critical;
        let held = self.owed.entry(author).or_insert((at, is_urgent));
        *held = (held.0.min(at), held.1 || is_urgent);
    }

    /// A run begins with what its disk held: its authors are owed anew, since receipts end with the run that told them. Those who
    /// begin with this node, as after a power failure, are all in its directory: they share the time as peers do later.
    pub(super) fn begin(&mut self, now: Instant, authors: impl Iterator<Item = NodeId>, ctx: &mut Context) {
        let known = ctx.roster.len() + ctx.roster.directory().len();
        let span = GAP_A_PEER.saturating_mul(u32::try_from(known).unwrap_or(u32::MAX));
        for author in authors.take(MAX_OWED) {
            self.owed.entry(author).or_insert_with(|| (now + ctx.random.span(span), false));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.owed.values().map(|(at, _)| *at).chain(self.shares.values().copied()).min()
    }

    /// An author is told alone what this node has of its log, and all others later. Whether that is news to it.
    pub(super) fn note_told_alone(
        &mut self,
        now: Instant,
        author: NodeId,
        body: &ReceiptBody,
        ctx: &mut Context,
    ) -> bool {
        let told = self.told_alone.get(&author).or_else(|| self.told.get(&author));
        let news = is_news(told, body);
        if news {
            self.told_alone.insert(author, body.clone());
            let peers = peers(ctx);
            let at = now + SHARE_AFTER + ctx.random.span(GAP_A_PEER.saturating_mul(peers));
            self.shares.entry(author).or_insert(at);
        }
        news
    }

    /// Authors of whose logs all are to be told by then what this node has, or at all.
    pub(super) fn shares_due(&mut self, by: Option<Instant>) -> Vec<NodeId> {
        let is_due = |at: &Instant| by.is_none_or(|by| by >= *at);
        let due: Vec<NodeId> = self.shares.iter().filter(|(_, at)| is_due(at)).map(|(author, _)| *author).collect();
        for author in &due {
            self.shares.remove(author);
        }
        due
    }

    pub(super) fn due(&mut self, now: Instant, ctx: &mut Context) -> Vec<(NodeId, bool)> {
        let due: Vec<(NodeId, bool)> = self
            .owed
            .iter()
            .filter(|(_, (at, _))| now >= *at)
            .map(|(author, (_, urgent))| (*author, *urgent))
            .collect();
        for (author, _) in &due {
            self.owed.remove(author);
        }
        if !due.is_empty() {
            self.last = now;
            ctx.stats.receipts_sent += due.len() as u64;
        }
        due
    }

    pub(super) fn is_news(&mut self, author: NodeId, body: &ReceiptBody) -> bool {
        self.told_alone.remove(&author);
        let news = is_news(self.told.get(&author), body);
        if news {
            self.told.insert(author, body.clone());
        }
        news
    }

    /// What a receiver has, and what it had before; `None` if it has said something newer.
    pub(super) fn note(
        &mut self,
        (receiver, author): (NodeId, NodeId),
        number: ReceiptNumber,
        body: ReceiptBody,
    ) -> Option<Option<ReceiptBody>> {
        if self.known.get(&(author, receiver)).is_some_and(|(held, _)| number < *held) {
            return None;
        }
        Some(self.known.insert((author, receiver), (number, body)).map(|(_, body)| body))
    }

    pub(super) fn of(&self, receiver: &NodeId, id: &OpId) -> Standing {
        standing(self.known.get(&(id.author, *receiver)).map(|(_, body)| body), id)
    }

    /// Who was shown an op, and who of them has it on disk.
    pub(super) fn holders(&self, id: &OpId) -> (Vec<NodeId>, Vec<NodeId>) {
        let of_author = self.known.range((id.author, NodeId([0; 16]))..=(id.author, NodeId([0xff; 16])));
        let standing = of_author.map(|((_, receiver), (_, body))| (*receiver, standing(Some(body), id)));
        let (mut shown, mut durable) = (Vec::new(), Vec::new());
        for (receiver, standing) in standing {
            if standing > Standing::Nothing {
                shown.push(receiver);
            }
            if standing == Standing::Durable {
                durable.push(receiver);
            }
        }
        (shown, durable)
    }
}

/// How many there may be that tell something at the same time.
fn peers(ctx: &Context) -> u32 {
    u32::try_from(ctx.roster.len()).unwrap_or(u32::MAX)
}

/// Whether a receipt says something that was not told yet.
fn is_news(told: Option<&ReceiptBody>, body: &ReceiptBody) -> bool {
    // Of whom nothing was told there is nothing to take back.
    told != Some(body) && (told.is_some() || !body.rows.is_empty())
}

/// Ops that a receipt may say more of than the one before: by far most only add what is newest.
pub(super) fn gained(author: NodeId, before: Option<&ReceiptBody>, now: &ReceiptBody) -> Vec<RangeInclusive<OpId>> {
    let id = |epoch, seq| OpId { author, epoch: Epoch(epoch), seq: Seq(seq) };
    let mut gained = Vec::new();
    for row in now.all() {
        let old = || before.into_iter().flat_map(ReceiptBody::all).filter(|old| old.epoch == row.epoch);
        let shown: Vec<&(u64, u64)> = old().flat_map(|old| &old.shown).collect();
        let durable: Vec<&(u64, u64)> = old().flat_map(|old| &old.durable).collect();
        for (spans, known) in [(&row.shown, shown), (&row.durable, durable)] {
            for (first, last) in spans {
                let begun = known.iter().find(|(from, to)| (*from..=*to).contains(first));
                let first = begun.map_or(*first, |(_, to)| to.saturating_add(1));
                if first <= *last {
                    gained.push(id(row.epoch, first)..=id(row.epoch, *last));
                }
            }
        }
    }
    merged(gained)
}

/// The same ops, each once: what overlaps is one.
fn merged(mut spans: Vec<RangeInclusive<OpId>>) -> Vec<RangeInclusive<OpId>> {
    spans.sort_unstable_by_key(|span| *span.start());
    let mut merged: Vec<RangeInclusive<OpId>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut().filter(|last| span.start() <= last.end()) {
            Some(last) => *last = *last.start()..=*last.end().max(span.end()),
            None => merged.push(span),
        }
    }
    merged
}

/// How far an op has come by a receipt.
pub(super) fn standing(body: Option<&ReceiptBody>, id: &OpId) -> Standing {
    let holds = |spans: &[(u64, u64)]| spans.iter().any(|(first, last)| (*first..=*last).contains(&id.seq.0));
    let of_row = |row: &ReceiptRow| {
        if holds(&row.durable) {
            return Standing::Durable;
        }
        if holds(&row.shown) { Standing::Shown } else { Standing::Nothing }
    };
    let rows = body.into_iter().flat_map(ReceiptBody::all).filter(|row| row.epoch == id.epoch.0);
    rows.map(of_row).max().unwrap_or(Standing::Nothing)
}

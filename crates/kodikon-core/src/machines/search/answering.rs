//! Decides which searches of others are taken, and how many of one.

use std::collections::VecDeque;

use crate::effect::context::Context;
use crate::effect::scan::Question;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excess;
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::search::{Searches, Waiting};
use crate::model::letter::Ticket;
use crate::model::search::{MAX_TIMEOUT, Score};
use crate::wire::search::{SearchQuery, Understood};

/// Searches of others that wait at once, and those of one: of two who ask much neither leaves the other without a place. With ten times as
/// many in a second as one may ask, scans are the least of what is late.
const MAX_WAITING: usize = 128;
const MAX_OF_ONE: usize = 32;
/// Searches of one peer taken a second, and at once. An honest one asks half as many (`asking.rs`), so that what was late does not count
/// against it.
const RATE: u32 = 40;
const BURST: u32 = 200;
/// KiB of records told to one peer a second, and at once: two answers as long as any; and to all, at most half of what this node may have
/// unsettled of letters. What is beyond is left out of the answer, which says so.
const KIB_RATE: u32 = 1_024;
const KIB_BURST: u32 = 4 * 1_024;
const KIB_RATE_OF_ALL: u32 = 4 * 1_024;
const KIB_BURST_OF_ALL: u32 = 8 * 1_024;

/// A search that this node does not take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declined {
    /// What its asker calls it,
    pub number: u64,
    /// and how long it waits for it.
    pub until: Instant,
}

/// What peers ask.
#[derive(Debug)]
pub(super) struct Answering {
    waiting: VecDeque<Waiting>,
    rates: RecentMap<NodeId, TokenBucket>,
    told: RecentMap<NodeId, TokenBucket>,
    told_all: TokenBucket,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            rates: RecentMap::new(MAX_PEERS),
            told: RecentMap::new(MAX_PEERS),
            told_all: TokenBucket::new(KIB_RATE_OF_ALL, KIB_BURST_OF_ALL),
        }
    }
}

impl Answering {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Who has waited long enough asks for nothing more.
    pub(super) fn on_wake(&mut self, now: Instant) {
        self.waiting.retain(|waiting| now < waiting.until);
    }

    fn may_ask(&mut self, now: Instant, from: NodeId) -> bool {
        let mut bucket = self.rates.remove(&from).unwrap_or_else(|| TokenBucket::new(RATE, BURST));
        let is_within = bucket.take(now, 1);
        self.rates.insert(from, bucket);
        is_within
    }

    fn may_tell(&mut self, now: Instant, asker: NodeId, bytes: usize) -> bool {
        let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
        let mut bucket = self.told.remove(&asker).unwrap_or_else(|| TokenBucket::new(KIB_RATE, KIB_BURST));
        let may = bucket.has(now, kib) && self.told_all.take(now, kib) && bucket.take(now, kib);
        self.told.insert(asker, bucket);
        may
    }

    fn has_room(&self, from: NodeId) -> bool {
        let of_one = self.waiting.iter().filter(|waiting| waiting.question.asker == Some(from)).count();
        self.waiting.len() < MAX_WAITING && of_one < MAX_OF_ONE
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("searches_of_others", self.waiting.len(), MAX_WAITING),
            ("search_rates", self.rates.len(), MAX_PEERS),
            ("search_answer_rates", self.told.len(), MAX_PEERS),
        ]
    }
}

impl Searches {
    /// Whether a peer may be told of records of so many bytes now.
    pub fn may_tell(&mut self, now: Instant, asker: NodeId, bytes: usize) -> bool {
        self.answering.may_tell(now, asker, bytes)
    }

    /// A peer searches; `root` is that of what is held here. Returned is what is declined: to scan in the place of a peer that has as much,
    /// where this node has no time or holds something else.
    pub fn on_query(
        &mut self,
        now: Instant,
        (from, text): (NodeId, &[u8]),
        root: u64,
        ctx: &mut Context,
    ) -> Option<Declined> {
        if !self.answering.may_ask(now, from) {
            ctx.offenders.note(&from, Excess::Searches);
            ctx.stats.drop(Reject::Rate);
            return None;
        }
        let Some((asked, Understood { query, mode, filter, named })) = SearchQuery::parse(text) else {
            ctx.stats.drop(Reject::Malformed);
            return None;
        };
        let until = now + Duration::from_millis(u64::from(asked.left_ms)).min(MAX_TIMEOUT);
        let has_room = self.answering.has_room(from);
        if asked.root.is_some_and(|theirs| theirs != root || !has_room || self.is_busy(now)) {
            ctx.stats.searches_declined += 1;
            return Some(Declined { number: asked.number, until });
        }
        if !has_room {
            ctx.stats.drop(Reject::Limit);
            return None;
        }
        let question = Question {
            ticket: Ticket(asked.number),
            asker: Some(from),
            query,
            k: usize::from(asked.k),
            mode,
            models: Vec::new(),
            filter,
            named,
            except: asked.except,
        };
        let floor = asked.floor.map(Score);
        let waiting =
            Waiting { question, model: asked.model, is_blind: false, is_alone: true, floor, asked: now, until };
        self.answering.waiting.push_back(waiting);
        self.scan(now, ctx);
        None
    }
}

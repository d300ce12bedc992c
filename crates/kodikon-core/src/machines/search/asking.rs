//! Decides what becomes of the answers of others: what of them is believed, how they join what is here, and when enough have answered.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::outbox::{Ask, Notice};
use crate::effect::scan::{Nearest, before};
use crate::ground::bounded::TokenBucket;
use crate::ground::excess::Excess;
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::time::{Instant, millis};
use crate::machines::search::{Searches, Waiting, end, refuse};
use crate::model::entries::{Entry, space_of};
use crate::model::letter::Ticket;
use crate::model::logged::LogBody;
use crate::model::op::{OpId, OpKind, OpLane};
use crate::model::record::{RecordBody, Whose};
use crate::model::search::{Found, Score, Searched, Unsearched};
use crate::wire::message::LogEntry;
use crate::wire::search::{HANDED, SearchAnswer, SearchQuery};

/// Searches that wait for others at once: their answers are held meanwhile. One more is answered with what is here, and not certified.
pub(super) const MAX_ASKING: usize = 32;
/// Bytes of records of others that one search holds: a thousand of 512 numbers and some metadata. What is less near is left out, and the
/// answer is not certified.
const MAX_LENT: usize = 4 * 1_024 * 1_024;
/// Searches put to others a second, and at once (design, section "Limits"). One more waits its turn, as far as its time goes.
const RATE: u32 = 20;
const BURST: u32 = 100;
/// Models named in a refusal at most.
const MAX_MODELS: usize = 8;

/// Who is asked beside this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// These.
    pub whom: Vec<NodeId>,
    /// Whether they are asked only for what nobody else has.
    pub local: bool,
    /// Whether somebody should be asked who does not understand it.
    pub is_blind: bool,
}

/// What peers are asked.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) open: BTreeMap<Ticket, Asked>,
    pub(super) rate: TokenBucket,
}

impl Default for Asking {
    fn default() -> Self {
        Self { open: BTreeMap::new(), rate: TokenBucket::new(RATE, BURST) }
    }
}

/// A search that others are asked about.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) waiting: Waiting,
    /// Who scans in the place of this node, or did.
    pub(super) handed: Option<Handed>,
    /// The nearest so far.
    found: Vec<Found>,
    /// Why nothing could be compared here, if so.
    refusal: Option<Unsearched>,
    pub(super) certified: bool,
    pub(super) responded: u32,
    of: u32,
    /// Who has not answered, and which parts of its answer came.
    pub(super) awaited: BTreeMap<NodeId, Parts>,
    /// When others are asked, where more was asked than may be at once.
    ask_at: Option<Instant>,
    /// The models of what others sent, where this node knows none.
    models: BTreeSet<String>,
}

/// Where a search was handed to.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) to: NodeId,
    /// When it is taken back if no answer has come; `None`: it was answered.
    pub(super) back_at: Option<Instant>,
}

/// Which parts of an answer came: a bit each, of how many.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    came: u32,
    of: u8,
    /// Records in them.
    records: usize,
    /// Whether one of those is known here to be past: another had its place if the answer has no room.
    has_past: bool,
}

impl Parts {
    /// Notes a part. `None` if the answer contradicts itself.
    fn note(&mut self, part: u8, of: u8) -> Option<()> {
        let bit = 1_u32.checked_shl(u32::from(part))?;
        if self.of != 0 && self.of != of || self.came & bit != 0 {
            return None;
        }
        (self.of, self.came) = (of, self.came | bit);
        Some(())
    }

    fn is_whole(self) -> bool {
        self.came.count_ones() == u32::from(self.of)
    }
}

impl Asked {
    /// A search for which nobody has been asked yet.
    pub(super) fn new(waiting: Waiting, nearest: Nearest) -> Self {
        Self {
            certified: nearest.certified && !waiting.is_blind,
            found: nearest.found,
            waiting,
            handed: None,
            refusal: None,
            responded: 1,
            of: 1,
            awaited: BTreeMap::new(),
            ask_at: None,
            models: BTreeSet::new(),
        }
    }
}

impl Asking {
    /// What is here has been searched; whom to ask the node hall knows.
    pub(super) fn hold(&mut self, waiting: Waiting, here: Result<Nearest, Unsearched>, ctx: &mut Context) {
        let ticket = waiting.question.ticket;
        let (nearest, refusal) = match here {
            Ok(nearest) => (nearest, None),
            Err(why) => (Nearest { found: Vec::new(), certified: true }, Some(why)),
        };
        self.open.insert(ticket, Asked { refusal, ..Asked::new(waiting, nearest) });
        ctx.out.notice(Notice::Searched(ticket));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let next = |asked: &Asked| {
            [asked.ask_at, asked.back_at()].into_iter().flatten().fold(asked.waiting.until, Instant::min)
        };
        self.open.values().map(next).min()
    }

    /// Ends those that have waited long enough.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        let is_over = |asked: &Asked| asked.waiting.until <= now;
        let over: Vec<Ticket> =
            self.open.iter().filter(|(_, asked)| is_over(asked)).map(|(ticket, _)| *ticket).collect();
        over.into_iter().for_each(|ticket| self.close(now, ticket, ctx));
        for (ticket, asked) in &mut self.open {
            if asked.ask_at.take_if(|at| *at <= now).is_some() {
                ctx.out.notice(Notice::Searched(*ticket));
            }
        }
    }

    /// Ends all.
    pub(super) fn close_all(&mut self, now: Instant, ctx: &mut Context) {
        let open: Vec<Ticket> = self.open.keys().copied().collect();
        open.into_iter().for_each(|ticket| self.close(now, ticket, ctx));
    }

    /// Tells what came of a search.
    fn close(&mut self, now: Instant, ticket: Ticket, ctx: &mut Context) {
        let Some(asked) = self.open.remove(&ticket) else { return };
        if asked.models.len() > 1 {
            return refuse(ticket, Unsearched::Models(asked.models.into_iter().collect()), ctx);
        }
        if let Some(why) = asked.refusal.filter(|_| asked.found.is_empty()) {
            return refuse(ticket, why, ctx);
        }
        let Asked { waiting, found, certified, responded, of, .. } = asked;
        let certified = certified && responded == of;
        end(ticket, Searched { found, responded, of, certified, elapsed: now.since(waiting.asked) }, ctx);
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 1] {
        [("searches_asking", self.open.len(), MAX_ASKING)]
    }
}

impl Searches {
    /// Whether a search that has been answered here is for nobody else.
    #[must_use]
    pub fn is_alone(&self, ticket: Ticket) -> bool {
        self.asking.open.get(&ticket).is_none_or(|asked| asked.waiting.is_alone)
    }

    /// Asks others, or ends the search if there is nobody to ask.
    pub fn ask(&mut self, now: Instant, ticket: Ticket, others: Others, ctx: &mut Context) {
        let asking = &mut self.asking;
        let has_room = asking.open.len() <= MAX_ASKING;
        let Some(asked) = asking.open.get_mut(&ticket) else { return };
        let Others { mut whom, local, is_blind } = others;
        // Who scanned in the place of this node told what it keeps to itself as well.
        whom.retain(|id| asked.handed.as_ref().is_none_or(|handed| handed.to != *id));
        asked.of = asked.responded + u32::try_from(whom.len()).unwrap_or(u32::MAX);
        let is_over = now >= asked.waiting.until;
        if !whom.is_empty() && has_room && !is_over && !asking.rate.take(now, 1) {
            asked.ask_at = Some(asking.rate.next().max(now));
            return;
        }
        asked.certified &= !is_blind;
        if whom.is_empty() || !has_room || is_over {
            return asking.close(now, ticket, ctx);
        }
        asked.awaited = whom.iter().map(|id| (*id, Parts::default())).collect();
        ctx.stats.searches_asked += whom.len() as u64;
        let text = asked.query(now, local).bytes();
        ctx.out.notice(Notice::Ask(Box::new(Ask { whom, text, until: asked.waiting.until })));
        if !asked.found.is_empty() {
            ctx.out.event(Event::Found { ticket, found: asked.found.clone() });
        }
    }

    /// A peer that is gone is not waited for.
    pub fn on_down(&mut self, now: Instant, id: &NodeId, ctx: &mut Context) {
        let mut left = Vec::new();
        for (ticket, asked) in &mut self.asking.open {
            if asked.awaited.remove(id).is_some() && asked.awaited.is_empty() {
                left.push((*ticket, asked.is_handed()));
            }
        }
        for (ticket, is_handed) in left {
            if is_handed {
                self.take_back(now, ticket, ctx);
            } else {
                self.asking.close(now, ticket, ctx);
            }
        }
    }

    /// A peer answers; `is_past` says of a sighting that it was taken back, or something newer is known of it here.
    pub fn on_answer(
        &mut self,
        now: Instant,
        (from, text): (NodeId, &[u8]),
        is_past: impl Fn(OpId, &RecordBody) -> bool,
        ctx: &mut Context,
    ) {
        let Some(answer) = SearchAnswer::parse(text) else { return ctx.stats.drop(Reject::Malformed) };
        let (ticket, is_handed) = (Ticket(answer.number & !HANDED), answer.number & HANDED != 0);
        let Some(asked) = self.asking.open.get_mut(&ticket) else { return };
        if is_handed != asked.is_handed() {
            // Handed over it comes late: the search was taken back. What nobody was asked nobody answers.
            if !is_handed {
                ctx.stats.drop(Reject::Unasked);
            }
            return;
        }
        let Some(parts) = asked.awaited.get_mut(&from) else { return ctx.stats.drop(Reject::Unasked) };
        if is_handed && answer.declined == Some(true) {
            return self.take_back(now, ticket, ctx);
        }
        if parts.note(answer.part, answer.parts).is_none() {
            return ctx.stats.drop(Reject::Malformed);
        }
        parts.records += answer.entries.len();
        let mut told = Vec::new();
        for entry in answer.entries {
            told.extend(asked.take((from, entry), &is_past, ctx));
        }
        let Some(parts) = asked.awaited.get(&from).copied() else { return };
        let (is_whole, is_full) = (parts.is_whole(), parts.records >= asked.waiting.question.k);
        asked.certified &= answer.certified && !(is_full && parts.has_past);
        told.retain(|id| asked.found.iter().any(|found| OpId::of(found.entry.op()) == *id));
        if !told.is_empty() {
            let is_new = |found: &&Found| told.contains(&OpId::of(found.entry.op()));
            let found = asked.found.iter().filter(is_new).cloned().collect();
            ctx.out.event(Event::Found { ticket, found });
        }
        if is_whole {
            asked.awaited.remove(&from);
            asked.responded += 1;
            if is_handed {
                self.on_handed(now, ticket, ctx);
            } else if asked.awaited.is_empty() {
                self.asking.close(now, ticket, ctx);
            }
        }
    }
}

impl Asked {
    /// Whether a peer is scanning for it in the place of this node.
    pub(super) fn is_handed(&self) -> bool {
        self.back_at().is_some()
    }

    /// When it is taken back from the peer that scans for it.
    pub(super) fn back_at(&self) -> Option<Instant> {
        self.handed.as_ref()?.back_at
    }

    /// What others are asked.
    pub(super) fn query(&self, now: Instant, local: bool) -> SearchQuery {
        let question = &self.waiting.question;
        let filter = &question.filter;
        let (author, name) = match &filter.node {
            Some(Whose::Id(id)) => (Some(id.0), None),
            Some(Whose::Name(name)) => (None, Some(name.clone())),
            None => (None, None),
        };
        // Equal scores are in the order of hashes: who scores as much as our last may come before it.
        let floor = (self.found.len() >= question.k).then(|| self.found.last().map(|last| last.score.0)).flatten();
        SearchQuery {
            number: question.ticket.0,
            numbers: SearchQuery::bytes_of(question.query.numbers()),
            model: self.waiting.model.clone().or_else(|| question.models.first().cloned()),
            k: u16::try_from(question.k).unwrap_or(u16::MAX),
            fast: question.mode == kodikon_scan::Mode::Fast,
            local,
            left_ms: u32::try_from(millis(self.waiting.until.since(now))).unwrap_or(u32::MAX),
            floor,
            data_type: filter.data_type.clone(),
            author,
            name,
            named: SearchQuery::names_of(&question.named),
            since: filter.since.map(|wall| wall.0),
            until: filter.until.map(|wall| wall.0),
            conditions: filter.where_.clone(),
            hash: filter.hash.clone(),
            except: question.except.clone(),
            root: None,
        }
    }

    /// Takes in a record that a peer tells of, if it is among the nearest, and returns which it was. What it scores is computed here, and who
    /// made it is checked: all that a liar can do is to keep something back.
    fn take(
        &mut self,
        (from, entry): (NodeId, LogEntry),
        is_past: impl Fn(OpId, &RecordBody) -> bool,
        ctx: &mut Context,
    ) -> Option<OpId> {
        let LogEntry { op, age_ms, key, .. } = entry;
        let id = OpId::of(&op);
        let read = Entry::read(&op).zip(LogBody::parse(&op));
        let Some(((space, record), LogBody::Record(body))) = read else { return self.spoil(Reject::Malformed, ctx) };
        // What never leaves its node comes from its author alone; of what all have, anybody may tell.
        if op.kind() == OpKind::LocalRecord && id.author != from || op.lane() == OpLane::Live {
            return self.spoil(Reject::Malformed, ctx);
        }
        if self.found.iter().any(|found| OpId::of(found.entry.op()) == id) {
            return None;
        }
        if u128::from(age_ms) >= body.ttl().as_millis() || is_past(id, &body) {
            if let Some(parts) = self.awaited.get_mut(&from) {
                parts.has_past = true;
            }
            return None;
        }
        if !self.fits(&space.model) {
            return None;
        }
        // Whoever sends what was not asked for says nothing.
        let question = &self.waiting.question;
        let is_wanted = question.allows(&record);
        let score = space_of(&space).and_then(|space| space.score(&question.query, record.stored()).ok())?;
        let found = Found { entry: record, score: Score(score), lent_ms: Some(age_ms) };
        let place = self.found.partition_point(|held| before(held, &found).is_lt());
        if !is_wanted || place >= question.k {
            return None;
        }
        let key = key.filter(|key| NodeId::of(key) == id.author);
        let known = ctx.roster.get(&id.author).map(|peer| peer.card.public_key);
        if !known.or(key).is_some_and(|key| ctx.verify_op(found.entry.op(), &key)) {
            ctx.offenders.note(&from, Excess::Forgeries);
            return self.spoil(Reject::Signature, ctx);
        }
        self.insert(place, found, &body, id);
        if self.waiting.question.models.is_empty() && self.models.len() < MAX_MODELS {
            self.models.insert(space.model);
        }
        Some(id)
    }

    /// Puts a record among the nearest, in the place of what its author had said of the sighting before.
    fn insert(&mut self, place: usize, found: Found, body: &RecordBody, id: OpId) {
        let bytes = |found: &Found| if found.lent_ms.is_some() { found.entry.op().wire_len() } else { 0 };
        if self.found.iter().map(bytes).sum::<usize>() + bytes(&found) > MAX_LENT {
            self.certified = false;
            return;
        }
        let is_full = self.found.len() >= self.waiting.question.k;
        self.found.insert(place, found);
        if let Some((epoch, seq)) = body.replaces {
            let count = self.found.len();
            let is_older = |held: &Found| {
                let held = OpId::of(held.entry.op());
                held.author == id.author && (epoch, seq) <= (held.epoch.0, held.seq.0) && held < id
            };
            let first = |held: &Found| {
                let told: Option<RecordBody> = minicbor::decode(held.entry.op().body()).ok();
                let own = OpId::of(held.entry.op());
                told.and_then(|told| told.replaces).unwrap_or((own.epoch.0, own.seq.0))
            };
            self.found.retain(|held| !is_older(held) || first(held) != (epoch, seq));
            // Somebody kept back the next one, since we had enough.
            self.certified &= !is_full || self.found.len() == count;
        }
        self.found.truncate(self.waiting.question.k);
    }

    fn fits(&self, model: &str) -> bool {
        let models = &self.waiting.question.models;
        let wanted = self.waiting.model.as_deref();
        wanted.is_none_or(|wanted| wanted == model) && (models.is_empty() || models.iter().any(|held| held == model))
    }

    /// Counts what is no record: the answer rests on less than it says.
    fn spoil(&mut self, reason: Reject, ctx: &mut Context) -> Option<OpId> {
        self.certified = false;
        ctx.stats.drop(reason);
        None
    }
}

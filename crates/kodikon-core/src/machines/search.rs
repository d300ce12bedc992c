//! Decides where embeddings are looked for, which searches share a scan, and when one that has no answer ends.

mod answering;
mod asking;
mod handing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kodikon_scan::{Arena, EntryId, InsertError, Query, Sketch, Slot, Space};

use crate::effect::context::Context;
use crate::effect::outbox::{Answered, Notice};
use crate::effect::scan::{Nearest, Question, ScanId, ScanJob, Stock};
use crate::effect::{Event, Output};
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::search::answering::Answering;
use crate::machines::search::asking::{Asking, MAX_ASKING};
use crate::machines::search::handing::Handing;
use crate::model::entries::{Entries, Entry, space_of};
use crate::model::letter::Ticket;
use crate::model::op::{OpId, OpLane, SignedOp};
use crate::model::record::{MAX_RECORDS, RecordEntry, SpaceKey};
use crate::model::search::{Found, MAX_TIMEOUT, Score, SearchOrder, Searched, Target, Unsearched};

pub use answering::Declined;
pub use asking::Others;
pub use handing::Helpers;

/// Spaces of embeddings at once: a fleet has a model or two, and changes them now and then. Records of further ones are held and found by
/// hash and field; a search that they could be in is not certified.
const MAX_SPACES: usize = 64;
/// Embeddings of a space at most: all records that all nodes are to have, and those that a node keeps to itself.
const MAX_ENTRIES: usize = MAX_RECORDS / 4 * 5;
/// Records that are given their places at once, each in some 5 µs, and when the next are: where 100,000 of them come at once the loop
/// goes on, and a second and a half later all can be found. What lay on the disk has its place when the node begins ([`Searches::place`]).
const PLACED_AT_ONCE: usize = 128;
const PLACED_EVERY: Duration = Duration::from_millis(1);
/// Searches that wait at once; who has one more is told to try again. At 100,000 records they are answered within a second.
const MAX_WAITING: usize = 256;
/// Searches answered in one pass: their candidates stay in the cache (`docs/machines/search.md`, cost of each of eight).
const MAX_TOGETHER: usize = 8;

/// Searches. See the file's first line.
#[derive(Debug, Default)]
pub struct Searches {
    spaces: BTreeMap<Arc<SpaceKey>, Shelf>,
    held: BTreeMap<OpId, Place>,
    /// Records that have no place yet, in the order in which they came; who has gone meanwhile is not among the unread.
    coming: VecDeque<OpId>,
    unread: BTreeMap<OpId, SignedOp>,
    more_at: Option<Instant>,
    /// Records of spaces beyond the limit.
    unplaced: BTreeMap<OpId, SpaceKey>,
    waiting: VecDeque<Waiting>,
    /// What peers ask.
    answering: Answering,
    /// What peers are asked.
    asking: Asking,
    /// What peers scan in the place of this node.
    handing: Handing,
    running: Option<Running>,
    scans: u64,
}

/// The scan that runs.
#[derive(Debug)]
struct Running {
    scan: ScanId,
    began: Instant,
    /// Who waits for which of its answers; `None` where nobody does any more.
    waiting: Vec<Option<Waiting>>,
}

/// The embeddings of one space.
#[derive(Debug)]
struct Shelf {
    key: Arc<SpaceKey>,
    arena: Arena,
    entries: Entries,
    /// Numbers of entries that are gone, the last one first in use again.
    free: Vec<EntryId>,
}

impl Shelf {
    fn new(key: Arc<SpaceKey>, space: Space) -> Self {
        Self { key, arena: Arena::new(space, MAX_ENTRIES), entries: Entries::default(), free: Vec::new() }
    }

    fn add(&mut self, entry: Entry, sketch: Option<Sketch<'_>>) -> Result<(Slot, EntryId), InsertError> {
        let number = self.entries.insert(self.free.pop(), entry);
        let placed = match sketch {
            Some(sketch) => self.arena.insert_sketch(number, sketch),
            None => self.arena.insert(number, self.entries.get(number).map(Entry::stored).unwrap_or_default()),
        };
        if placed.is_err() {
            self.entries.remove(number);
            self.free.push(number);
        }
        placed.map(|slot| (slot, number))
    }

    fn remove(&mut self, place: &Place) {
        self.arena.remove(place.slot, place.id);
        self.entries.remove(place.id);
        self.free.push(place.id);
    }
}

/// Where a record's embedding lies.
#[derive(Debug, Clone)]
struct Place {
    space: Arc<SpaceKey>,
    slot: Slot,
    id: EntryId,
}

/// A search without an answer.
#[derive(Debug)]
struct Waiting {
    /// Its models are found when it is scanned.
    question: Question,
    /// Of which model; `None`: of the only one that fits.
    model: Option<String>,
    /// Whether a record that it could find lies in no space.
    is_blind: bool,
    /// Whether nobody else is to be asked.
    is_alone: bool,
    /// What is less near a peer that asks has enough of.
    floor: Option<Score>,
    asked: Instant,
    until: Instant,
}

/// To what the nearest are sought, with the model it is of where that is known.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The numbers.
    pub query: Arc<Query>,
    /// Of which model.
    pub model: Option<String>,
    /// Who bears the name now that the filter asks for.
    pub named: Vec<NodeId>,
}

impl Searches {
    /// No record is here yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A record is shown from now on. It is placed when this input is done with, or soon.
    pub fn on_shown(&mut self, entry: RecordEntry) {
        self.coming.push_back(entry.id);
        self.unread.insert(entry.id, entry.op);
    }

    /// Places what has come, some at a time, and begins what waited for that.
    pub fn settle(&mut self, now: Instant, ctx: &mut Context) {
        if self.coming.is_empty() {
            return;
        }
        (0..PLACED_AT_ONCE).take_while(|_| self.place_next()).count();
        self.more_at = (!self.coming.is_empty()).then_some(now + PLACED_EVERY);
        self.scan(now, ctx);
    }

    /// Places the next that has come; `false` if there is none.
    fn place_next(&mut self) -> bool {
        let Some(id) = self.coming.pop_front() else { return false };
        if let Some((key, entry)) = self.unread.remove(&id).and_then(|op| Entry::read(&op)) {
            self.place(id, &key, entry, None);
        }
        true
    }

    /// Gives a record with an embedding a place in its space; the sketch is made now where it was not made before.
    pub fn place(&mut self, id: OpId, key: &SpaceKey, entry: Entry, sketch: Option<Sketch<'_>>) {
        if !self.spaces.contains_key(key) {
            if self.spaces.len() >= MAX_SPACES {
                self.unplaced.insert(id, key.clone());
                return;
            }
            // A space that no honest author names holds nothing.
            let Some(space) = space_of(key) else { return };
            let key = Arc::new(key.clone());
            self.spaces.insert(Arc::clone(&key), Shelf::new(key, space));
        }
        let Some(shelf) = self.spaces.get_mut(key) else { return };
        match shelf.add(entry, sketch) {
            Ok((slot, number)) => {
                _ = self.held.insert(id, Place { space: Arc::clone(&shelf.key), slot, id: number });
            }
            Err(InsertError::Full { .. }) => _ = self.unplaced.insert(id, key.clone()),
            // What points nowhere is near nothing.
            Err(_) => self.tidy(key),
        }
    }

    /// A record is not shown any more.
    pub fn on_gone(&mut self, id: &OpId) {
        self.unread.remove(id);
        self.unplaced.remove(id);
        let Some(place) = self.held.remove(id) else { return };
        if let Some(shelf) = self.spaces.get_mut(&place.space) {
            shelf.remove(&place);
        }
        self.tidy(&place.space);
    }

    /// A space in which nothing lies makes room for another.
    fn tidy(&mut self, key: &SpaceKey) {
        if self.spaces.get(key).is_some_and(|shelf| shelf.arena.is_empty()) {
            self.spaces.remove(key);
        }
    }

    /// The application wants the nearest; `sought` is what its target comes to, `helpers` may scan in the place of this node.
    pub fn search(
        &mut self,
        now: Instant,
        order: SearchOrder,
        (sought, helpers): (Sought, Option<Helpers>),
        ctx: &mut Context,
    ) {
        let SearchOrder { ticket, target, k, mode, filter, timeout, alone, .. } = order;
        let except = match target {
            Target::Like(hash) => Some(hash),
            Target::Numbers(_) => None,
        };
        let Sought { query, model, named } = sought;
        let question = Question { ticket, asker: None, query, k, mode, models: Vec::new(), filter, named, except };
        let until = now + timeout.min(MAX_TIMEOUT);
        let waiting = Waiting { question, model, is_blind: false, is_alone: alone, floor: None, asked: now, until };
        let Some(waiting) = self.hand_over(now, waiting, helpers, ctx) else { return };
        if self.waiting.len() >= MAX_WAITING {
            return refuse(ticket, Unsearched::Busy { limit: MAX_WAITING }, ctx);
        }
        self.waiting.push_back(waiting);
        self.scan(now, ctx);
    }

    /// Where it is looked for: decided when the scan begins, since until then a space may come or go.
    fn spaces_for(&self, waiting: &mut Waiting) -> Result<Vec<&SpaceKey>, Unsearched> {
        let dims = waiting.question.query.numbers().len();
        let model = waiting.model.as_deref();
        let fits = |key: &&SpaceKey| usize::from(key.dims) == dims && model.is_none_or(|model| model == key.model);
        let spaces: Vec<&SpaceKey> = self.spaces.keys().map(Arc::as_ref).filter(fits).collect();
        let mut models: Vec<String> = spaces.iter().map(|key| key.model.clone()).collect();
        models.dedup();
        if models.len() > 1 {
            return Err(Unsearched::Models(models));
        }
        if spaces.is_empty() && !self.spaces.is_empty() {
            let mut known: Vec<_> = self.spaces.keys().map(|key| (key.model.clone(), key.dims)).collect();
            known.dedup();
            return Err(Unsearched::Dims { given: dims, known });
        }
        waiting.is_blind = self.unplaced.values().any(|key| fits(&key));
        waiting.question.models = models;
        Ok(spaces)
    }

    /// This node ends its run: its own searches end with what they have. Scans of the next are numbered after this, since one may still be
    /// under way.
    pub fn on_end(&mut self, now: Instant, ctx: &mut Context) -> u64 {
        let running = self.running.take().into_iter().flat_map(|running| running.waiting).flatten();
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in running.chain(waiting).filter(|waiting| waiting.question.asker.is_none()) {
            unanswered(now, &waiting, ctx);
        }
        self.asking.close_all(now, ctx);
        self.scans
    }

    /// Scans are numbered from here on.
    pub fn go_on(&mut self, scans: u64) {
        self.scans = scans;
    }

    /// Begins the next scan if none runs: one at a time, so that what comes meanwhile shares the next.
    fn scan(&mut self, now: Instant, ctx: &mut Context) {
        let is_idle = self.waiting.is_empty() && self.answering.is_empty();
        if self.running.is_some() || is_idle || !self.coming.is_empty() {
            return;
        }
        let mut together: Vec<Waiting> = Vec::new();
        let mut asked: BTreeMap<SpaceKey, Vec<usize>> = BTreeMap::new();
        while together.len() < MAX_TOGETHER
            && let Some(mut waiting) = self.next(together.len())
        {
            match self.spaces_for(&mut waiting) {
                Ok(spaces) => {
                    for space in spaces {
                        asked.entry(space.clone()).or_default().push(together.len());
                    }
                    together.push(waiting);
                }
                Err(why) => self.unscanned(waiting, why, ctx),
            }
        }
        if together.is_empty() {
            return;
        }
        let stocks = asked.into_iter().filter_map(|(space, asked)| {
            let shelf = self.spaces.get(&space)?;
            Some(Stock { snapshot: shelf.arena.snapshot(), entries: shelf.entries.clone(), asked })
        });
        self.scans += 1;
        let scan = ScanId(self.scans);
        let questions = together.iter().map(|waiting| waiting.question.clone()).collect();
        let job = ScanJob { scan, questions, stocks: stocks.collect() };
        ctx.stats.scans += 1;
        ctx.out.output(Output::Scan(job));
        self.running = Some(Running { scan, began: now, waiting: together.into_iter().map(Some).collect() });
    }

    /// A scan has been done.
    pub fn on_scanned(&mut self, now: Instant, scan: ScanId, answers: Vec<Nearest>, ctx: &mut Context) {
        let Some(running) = self.running.take_if(|running| running.scan == scan) else { return };
        self.handing.note_scan(now.since(running.began));
        for (waiting, answer) in running.waiting.into_iter().zip(answers) {
            match waiting {
                Some(waiting) if waiting.question.asker.is_some() => answer_peer(waiting, answer, ctx),
                Some(waiting) => self.asking.hold(waiting, Ok(answer), ctx),
                None => {}
            }
        }
        self.scan(now, ctx);
    }

    /// The next to be scanned for: this node's own and those of others in turn, so that neither holds up the other.
    fn next(&mut self, before: usize) -> Option<Waiting> {
        if before.is_multiple_of(2) {
            self.waiting.pop_front().or_else(|| self.answering.pop())
        } else {
            self.answering.pop().or_else(|| self.waiting.pop_front())
        }
    }

    /// Nothing here can be compared with what is sought.
    fn unscanned(&mut self, waiting: Waiting, why: Unsearched, ctx: &mut Context) {
        if waiting.question.asker.is_some() {
            // Of other dimensions is nothing: that is an answer. Which of several models is meant only the asker knows.
            let certified = matches!(why, Unsearched::Dims { .. });
            return answer_peer(waiting, Nearest { found: Vec::new(), certified }, ctx);
        }
        match why {
            Unsearched::Dims { .. } => self.asking.hold(waiting, Err(why), ctx),
            Unsearched::Models(_) | Unsearched::NoSuchHash | Unsearched::Busy { .. } => {
                refuse(waiting.question.ticket, why, ctx);
            }
        }
    }

    /// When the first of those that wait has waited long enough, or more records are to be placed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let running = self.running.iter().flat_map(|running| &running.waiting).flatten();
        let own = self.waiting.iter().chain(running).map(|waiting| waiting.until).chain(self.more_at).min();
        [own, self.answering.next_deadline(), self.asking.next_deadline()].into_iter().flatten().min()
    }

    /// Ends those that have waited long enough.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        let mut over = Vec::new();
        for waiting in self.running.iter_mut().flat_map(|running| &mut running.waiting) {
            over.extend(waiting.take_if(|waiting| waiting.until <= now));
        }
        let (ended, kept): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.until <= now);
        self.waiting = kept.into();
        over.extend(ended);
        self.answering.on_wake(now);
        for waiting in over.into_iter().filter(|waiting| waiting.question.asker.is_none()) {
            unanswered(now, &waiting, ctx);
        }
        self.asking.on_wake(now, ctx);
        self.take_back_late(now, ctx);
    }
}

impl Searches {
    /// Entries of the tables, by name, with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let asked = self.waiting.len() + self.running.iter().map(|running| running.waiting.len()).sum::<usize>();
        let of_others = self.answering.table_sizes().into_iter().chain(self.asking.table_sizes());
        let tables = of_others.chain(self.handing.table_sizes());
        let own = [
            ("spaces", self.spaces.len(), MAX_SPACES),
            ("embeddings", self.held.len(), MAX_ENTRIES),
            ("searches", asked, MAX_WAITING + MAX_TOGETHER + MAX_ASKING),
        ];
        own.into_iter().chain(tables).collect()
    }
}

/// Tells that there was no answer in time.
fn unanswered(now: Instant, waiting: &Waiting, ctx: &mut Context) {
    ctx.stats.searches_unanswered += 1;
    let elapsed = now.since(waiting.asked);
    let searched = Searched { found: Vec::new(), responded: 0, of: 1, certified: false, elapsed };
    end(waiting.question.ticket, searched, ctx);
}

/// Tells what was found.
fn end(ticket: Ticket, searched: Searched, ctx: &mut Context) {
    ctx.stats.searches += 1;
    ctx.stats.search_micros += u64::try_from(searched.elapsed.as_micros()).unwrap_or(u64::MAX);
    ctx.out.event(Event::Searched { ticket, outcome: Ok(searched) });
}

/// Tells a peer what was found for it.
fn answer_peer(waiting: Waiting, answer: Nearest, ctx: &mut Context) {
    let Waiting { question, is_blind, floor, asked, until, .. } = waiting;
    let Some(asker) = question.asker else { return };
    // What stays here is taken from its author alone: what this node kept under a former identity it cannot tell of.
    let me = ctx.me.id;
    let is_ours = |found: &Found| found.entry.op().lane() != OpLane::Local || found.entry.op().author() == me;
    let is_wanted = |found: &&Found| is_ours(found) && floor.is_none_or(|floor| found.score >= floor);
    let found = answer.found.iter().filter(is_wanted).map(|found| OpId::of(found.entry.op())).collect();
    // Where as many were found as were asked for, it kept another one out.
    let is_whole = answer.found.len() < question.k || answer.found.iter().all(is_ours);
    let certified = answer.certified && !is_blind && is_whole;
    let answered = Answered { asker, number: question.ticket.0, found, certified, asked, until };
    ctx.out.notice(Notice::Answered(Box::new(answered)));
}

/// Tells why nothing was searched.
pub fn refuse(ticket: Ticket, why: Unsearched, ctx: &mut Context) {
    ctx.stats.searches_refused += 1;
    ctx.out.event(Event::Searched { ticket, outcome: Err(why) });
}

//! Decides when a search is handed to a peer that has time for it, to which, and when it is taken back.

use kodikon_scan::Mode;

use crate::effect::context::Context;
use crate::effect::outbox::{Ask, Notice};
use crate::effect::scan::Nearest;
use crate::ground::bounded::RecentMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::search::asking::{Asked, Handed, MAX_ASKING, Parts};
use crate::machines::search::{MAX_TOGETHER, PLACED_AT_ONCE, PLACED_EVERY, Searches, Waiting};
use crate::model::letter::Ticket;
use crate::wire::search::{HANDED, SearchQuery};

/// How long a search may wait here until its scan begins; one that would wait longer is handed over (design, section "Search").
const PATIENCE: Duration = Duration::from_millis(50);
/// Searches that one peer scans for in the place of this node at once: as many as share a pass.
const MAX_OF_ONE: usize = MAX_TOGETHER;
/// A peer that took nothing over is not asked again for so long: what it lacked is there after a round trip or two, and of what it had to
/// scan itself some is done.
const AVOIDED: Duration = Duration::from_millis(100);

/// Who may scan in the place of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helpers {
    /// The root of what is held here: whoever takes a search over holds the same.
    pub root: u64,
    /// Peers that answer searches.
    pub peers: Vec<NodeId>,
}

/// What peers scan in the place of this node.
#[derive(Debug)]
pub(super) struct Handing {
    /// How long the last scan took, and the one before.
    took: Option<[Duration; 2]>,
    /// Until when a peer is not asked.
    avoided: RecentMap<NodeId, Instant>,
}

impl Default for Handing {
    fn default() -> Self {
        Self { took: None, avoided: RecentMap::new(MAX_PEERS) }
    }
}

impl Handing {
    /// A scan took so long.
    pub(super) fn note_scan(&mut self, took: Duration) {
        self.took = Some([took, self.took.map_or(took, |[last, _]| last)]);
    }

    /// How long the next will take: as long as the shorter of the last two, so that one during which the node stood still says nothing.
    fn pass(&self) -> Duration {
        self.took.map_or(Duration::ZERO, |[last, before]| last.min(before))
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 1] {
        [("searches_avoided", self.avoided.len(), MAX_PEERS)]
    }
}

impl Searches {
    /// Whether a search that came now would wait for longer than it may.
    #[must_use]
    pub fn is_busy(&self, now: Instant) -> bool {
        self.would_wait(now) > PATIENCE
    }

    /// How long a search that came now would wait for its scan: for the rest of the one that runs, for the passes of those that wait, and
    /// for records that have no place yet.
    fn would_wait(&self, now: Instant) -> Duration {
        let pass = self.handing.pass();
        // One that takes longer than expected is expected to take as long again.
        let rest = self.running.as_ref().map_or(Duration::ZERO, |running| pass.abs_diff(now.since(running.began)));
        let times = |count: usize, each: Duration| each * u32::try_from(count).unwrap_or(u32::MAX);
        let passes = (self.waiting.len() + self.answering.len()) / MAX_TOGETHER;
        rest + times(passes, pass) + times(self.coming.len() / PLACED_AT_ONCE, PLACED_EVERY)
    }

    /// Hands a search to one of those who may scan in the place of this node; what is returned is scanned for here.
    pub(super) fn hand_over(
        &mut self,
        now: Instant,
        mut waiting: Waiting,
        helpers: Option<Helpers>,
        ctx: &mut Context,
    ) -> Option<Waiting> {
        let Some(helpers) = helpers else { return Some(waiting) };
        // What nothing here can be compared with is answered at once; a peer is told of which model the answer must be.
        let is_clear = self.spaces_for(&mut waiting).is_ok_and(|spaces| !spaces.is_empty()) && !waiting.is_blind;
        let may = !waiting.is_alone && is_clear && self.asking.open.len() < MAX_ASKING;
        let Some(to) = self.idle(now, &helpers.peers, ctx).filter(|_| may) else { return Some(waiting) };
        if !self.asking.rate.take(now, 1) {
            return Some(waiting);
        }
        let ticket = waiting.question.ticket;
        // At worst it waits here after all, as long as it would have waited: then it is the next.
        let until = waiting.until.min(now + self.would_wait(now));
        let mut asked = Asked::new(waiting, Nearest { found: Vec::new(), certified: true });
        asked.responded = 0;
        asked.handed = Some(Handed { to, back_at: Some(until) });
        asked.awaited.insert(to, Parts::default());
        let query = SearchQuery { number: ticket.0 | HANDED, root: Some(helpers.root), ..asked.query(now, false) };
        ctx.stats.searches_handed += 1;
        ctx.out.notice(Notice::Ask(Box::new(Ask { whom: vec![to], text: query.bytes(), until })));
        self.asking.open.insert(ticket, asked);
        None
    }

    /// Of those who did not decline lately the one that scans for the fewest searches of this node; of several any.
    fn idle(&self, now: Instant, peers: &[NodeId], ctx: &mut Context) -> Option<NodeId> {
        let handed = |id: &NodeId| {
            let open = self.asking.open.values().filter(|asked| asked.is_handed());
            open.filter(|asked| asked.handed.as_ref().is_some_and(|handed| handed.to == *id)).count()
        };
        let is_avoided = |id: &NodeId| self.handing.avoided.get(id).is_some_and(|until| now < *until);
        let may = peers.iter().filter(|id| !is_avoided(id)).map(|id| (handed(id), *id));
        let may: Vec<(usize, NodeId)> = may.filter(|(count, _)| *count < MAX_OF_ONE).collect();
        let fewest = may.iter().map(|(count, _)| *count).min()?;
        let idle: Vec<NodeId> = may.into_iter().filter(|(count, _)| *count == fewest).map(|(_, id)| id).collect();
        idle.get(ctx.random.place(idle.len())).copied()
    }

    /// A peer has scanned in the place of this node.
    pub(super) fn on_handed(&mut self, now: Instant, ticket: Ticket, ctx: &mut Context) {
        let Some(asked) = self.asking.open.get_mut(&ticket) else { return };
        if !asked.certified && asked.waiting.question.mode == Mode::Exact {
            return self.take_back(now, ticket, ctx);
        }
        if let Some(handed) = &mut asked.handed {
            handed.back_at = None;
        }
        // This node holds nothing that is not in that answer.
        asked.responded += 1;
        ctx.out.notice(Notice::Searched(ticket));
    }

    /// A search that was handed over is scanned for here, as the next.
    pub(super) fn take_back(&mut self, now: Instant, ticket: Ticket, ctx: &mut Context) {
        let Some(Asked { waiting, handed, .. }) = self.asking.open.remove(&ticket) else { return };
        if let Some(Handed { to, .. }) = handed {
            self.handing.avoided.insert(to, now + AVOIDED);
        }
        ctx.stats.searches_taken_back += 1;
        self.waiting.push_front(waiting);
        self.scan(now, ctx);
    }

    /// Takes back what was not answered in time.
    pub(super) fn take_back_late(&mut self, now: Instant, ctx: &mut Context) {
        let is_late = |asked: &Asked| asked.back_at().is_some_and(|at| at <= now);
        let open = self.asking.open.iter();
        let late: Vec<Ticket> = open.filter(|(_, asked)| is_late(asked)).map(|(ticket, _)| *ticket).collect();
        late.into_iter().for_each(|ticket| self.take_back(now, ticket, ctx));
    }
}

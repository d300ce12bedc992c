//! Decides, where searches and the registry meet, to what the nearest are sought, whose name is meant, and who else is asked.

use std::sync::Arc;

use kodikon_scan::Query;

use crate::effect::Event;
use crate::effect::outbox::{Answered, Ask};
use crate::ground::id::NodeId;
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::search::{Helpers, Others, Sought, refuse};
use crate::model::entries::space_of;
use crate::model::letter::{Priority, Ticket};
use crate::model::op::OpId;
use crate::model::record::{Filter, RecordBody, RecordView, Whose};
use crate::model::search::{Found, SearchOrder, Target, Unsearched};
use crate::node::Node;
use crate::wire::cast::Content;
use crate::wire::letter::Text;
use crate::wire::message::LogEntry;
use crate::wire::search::{ANSWER, QUERY, SearchAnswer, in_parts};

/// Peers that are asked by a letter each; more are asked by a cast, which a segment hears once.
const FEW: usize = 8;

/// Sightings of a hash that are looked at for one with an embedding: a hash that many have seen holds nobody up.
const LOOKED_AT: usize = 256;

impl Node {
    /// The application wants the nearest.
    pub(super) fn search(&mut self, now: Instant, order: SearchOrder) {
        let named = match &order.filter.node {
            Some(Whose::Name(name)) => self.named(name),
            Some(Whose::Id(_)) | None => Vec::new(),
        };
        let sought = match &order.target {
            Target::Numbers(query) => Some(Sought { query: Arc::clone(query), model: order.model.clone(), named }),
            Target::Like(hash) => self.alike(now, hash, order.model.as_deref(), named),
        };
        match sought {
            Some(sought) => {
                let helpers = self.helpers(now);
                self.searches.search(now, order, (sought, helpers), &mut self.ctx);
            }
            None => refuse(order.ticket, Unsearched::NoSuchHash, &mut self.ctx),
        }
    }

    /// The embedding of the newest sighting of a hash that has one.
    fn alike(&self, now: Instant, hash: &str, model: Option<&str>, named: Vec<NodeId>) -> Option<Sought> {
        let filter = Filter { hash: Some(hash.to_owned()), ..Filter::default() };
        let sightings = self.find(now, &filter, None, LOOKED_AT).records;
        let embeddings = sightings.into_iter().filter_map(|view| view.body.embedding);
        let embedding = embeddings.into_iter().find(|found| model.is_none_or(|model| found.model == model))?;
        let mut numbers = Vec::new();
        space_of(&embedding.space())?.decode(&embedding.stored, &mut numbers).ok()?;
        let query = Arc::new(Query::new(&numbers).ok()?);
        Some(Sought { query, model: Some(embedding.model), named })
    }

    /// Who bears a name now.
    fn named(&self, name: &str) -> Vec<NodeId> {
        let own = (self.name() == name).then_some(self.ctx.me.id);
        let peers = self.ctx.roster.iter().filter(|(_, peer)| peer.card.shown_name() == name).map(|(id, _)| *id);
        own.into_iter().chain(peers).collect()
    }

    /// Who may scan in the place of this node, if it has no time: those it hears itself, where it is sure to hold what all have. What it
    /// keeps to itself nobody else can scan.
    fn helpers(&self, now: Instant) -> Option<Helpers> {
        let log = self.replication.log();
        let is_sought = self.searches.is_busy(now) && log.is_complete(now) && !self.registry.holds_local();
        is_sought.then(|| {
            let near = self.ctx.roster.near().filter(|(_, peer)| peer.card.answers_searches());
            Helpers { root: log.root(), peers: near.map(|(id, _)| *id).collect() }
        })
    }

    /// What is here has been searched: others are asked who may hold what is not here.
    pub(super) fn ask_others(&mut self, now: Instant, ticket: Ticket) {
        let others = if self.searches.is_alone(ticket) { Others::default() } else { self.others(now) };
        self.searches.ask(now, ticket, others, &mut self.ctx);
    }

    /// Nobody where this node holds what all have and nobody has more; those who keep sightings to themselves are asked for these; all are
    /// asked where this node is behind.
    fn others(&self, now: Instant) -> Others {
        let is_complete = self.replication.log().is_complete(now);
        let mut others = Others { whom: Vec::new(), local: is_complete, is_blind: false };
        for (id, peer) in self.ctx.roster.present() {
            if !peer.card.answers_searches() {
                others.is_blind |= !is_complete;
            } else if !is_complete || peer.card.holds_local() {
                others.whom.push(*id);
            }
        }
        others
    }

    /// Puts a question to peers: to few by a letter each, to many at once.
    pub(super) fn put_to(&mut self, now: Instant, ask: Ask) {
        let Ask { whom, text, until } = ask;
        let text = Text { kind: QUERY.to_owned(), payload: text };
        if whom.len() > FEW {
            // If too much waits it is not said, and those who are asked count as silent.
            _ = self.broadcasts.publish(Content::Text(text), Priority::Normal, &mut self.ctx);
            return;
        }
        for id in whom {
            self.messages.say(now, (id, text.clone()), until.since(now), &mut self.ctx);
        }
    }

    /// A peer says something that is for the mesh itself. A later version may know more names.
    pub(super) fn on_told(&mut self, now: Instant, from: NodeId, kind: &str, text: &[u8]) {
        match kind {
            QUERY => {
                let root = self.replication.log().root();
                if let Some(declined) = self.searches.on_query(now, (from, text), root, &mut self.ctx) {
                    let payload = SearchAnswer::declining(declined.number).bytes();
                    let text = Text { kind: ANSWER.to_owned(), payload };
                    self.messages.say(now, (from, text), declined.until.since(now), &mut self.ctx);
                }
            }
            ANSWER => {
                let (registry, log) = (&self.registry, self.replication.log());
                let is_past = |id: OpId, body: &RecordBody| {
                    registry.is_past(id, body) || registry.get(&id).is_none() && log.is_past(&id)
                };
                self.searches.on_answer(now, (from, text), is_past, &mut self.ctx);
            }
            _later => self.ctx.stats.drop(Reject::Malformed),
        }
    }

    /// Tells a peer what its search found here.
    pub(super) fn answer_search(&mut self, now: Instant, answered: &Answered) {
        let log = self.replication.log();
        let mut entries: Vec<LogEntry> = answered.found.iter().filter_map(|id| log.lend(now, id, &self.ctx)).collect();
        // What has gone since the scan began may have kept another one out.
        let mut is_whole = entries.len() == answered.found.len();
        let bytes = entries.iter().map(|entry| entry.op.wire_len()).sum();
        if !self.searches.may_tell(now, answered.asker, bytes) {
            is_whole = entries.is_empty();
            entries.clear();
        }
        let found = entries.len();
        let answers = in_parts(answered.number, answered.certified && is_whole, entries);
        let certified = answers.iter().all(|answer| answer.certified);
        for answer in answers {
            let text = Text { kind: ANSWER.to_owned(), payload: answer.bytes() };
            self.messages.say(now, (answered.asker, text), answered.until.since(now), &mut self.ctx);
        }
        self.ctx.stats.searches_answered += 1;
        let name = self.ctx.roster.get(&answered.asker).map(|peer| peer.card.shown_name()).unwrap_or_default();
        let elapsed = now.since(answered.asked);
        self.ctx.out.event(Event::SearchAnswered { from: answered.asker, name, found, certified, elapsed });
    }

    /// What was found as the face shows it; `None` for what has gone since.
    #[must_use]
    pub fn found_view(&self, now: Instant, found: &Found) -> Option<RecordView> {
        let (op, lent) = (found.entry.op(), found.lent_ms);
        let id = OpId::of(op);
        self.record(now, &id).or_else(|| {
            let age = Duration::from_millis(lent?);
            let body: RecordBody = minicbor::decode(op.body()).ok()?;
            let left = body.ttl().saturating_sub(age);
            let view = self.record_view(now, id, op, body);
            Some(RecordView { left, ..view })
        })
    }
}

//! Decides, where searches and the registry meet, to what the nearest are sought, and whose name is meant.

use std::sync::Arc;

use kodikon_scan::Query;

use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::machines::search::{Sought, refuse};
use crate::model::entries::space_of;
use crate::model::record::{Filter, Whose};
use crate::model::search::{SearchOrder, Target, Unsearched};
use crate::node::Node;

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
            Some(sought) => self.searches.search(now, order, sought, &mut self.ctx),
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
}

//! Decides, where letters, map and roster meet, by which neighbour a letter goes on.

use crate::effect::context::Context;
use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::machines::messages::{Choice, Question};
use crate::machines::routing::map::{Map, Way};
use crate::model::member::Liveness;
use crate::model::roster::Peer;
use crate::node::Node;
use crate::wire::letter::{Link, Stamp};

impl Node {
    /// Begins what may be begun, and finds a way for every letter that has none.
    pub(super) fn route_letters(&mut self, now: Instant) {
        self.messages.begin(now, &mut self.ctx);
        while let Some(question) = self.messages.next_question(now, &mut self.ctx) {
            let choice = self.way_for(now, &question);
            self.messages.choose(now, question.parcel, choice, &mut self.ctx);
            self.messages.begin(now, &mut self.ctx);
        }
    }

    /// By whom a letter goes on: an answer back to whoever brought what it answers, for the map may lead it to a relay that passes
    /// nothing on; else straight to whom it is for unless the map knows a better way, else by the map, else by where something came
    /// from.
    fn way_for(&mut self, now: Instant, question: &Question) -> Choice {
        let may_return = |hop: &NodeId| {
            let avoided = question.avoid.contains(&Stamp::of(hop)) || question.shun.contains(hop);
            is_open(hop, question, &self.ctx) && (*hop == question.to || !avoided)
        };
        if let Some(back) = question.back.filter(may_return) {
            return Choice::Give(back);
        }
        let is_near = is_open(&question.to, question, &self.ctx);
        if is_near && self.routing.map().next_hop(&question.to).is_none_or(|hop| hop == question.to) {
            return Choice::Give(question.to);
        }
        let shun: Vec<Stamp> = question.shun.iter().map(Stamp::of).collect();
        for shun in [&shun[..], &[]].into_iter().skip(usize::from(shun.is_empty())) {
            let avoid: Vec<Stamp> = question.avoid.iter().chain(shun).copied().collect();
            let Some(way) = self.mapped(question, &avoid).and_then(|way| self.within(way, question, &avoid)) else {
                continue;
            };
            if let Some(hop) = way.path.first() {
                return Choice::Give(*hop);
            }
        }
        if is_near {
            return Choice::Give(question.to);
        }
        let learned = self.learned_way(now, &question.to);
        let is_free = |hop: &NodeId| is_open(hop, question, &self.ctx) && !question.avoid.contains(&Stamp::of(hop));
        match learned.map(|(hop, relays)| (hop, relays.len())) {
            Some((hop, relays)) if is_free(&hop) && relays <= usize::from(question.hops) => Choice::Give(hop),
            _ => self.too_far(question).or_else(|| self.guessed(question).map(Choice::Give)).unwrap_or(Choice::NoWay),
        }
    }

    /// By whom something came from a node, and all relays to it, unless the map knows that a link between them is gone.
    pub(super) fn learned_way(&mut self, now: Instant, to: &NodeId) -> Option<(NodeId, Vec<Stamp>)> {
        let (hop, relays) = self.messages.learned(now, to)?;
        let known = |stamp: &Stamp| self.ctx.roster.present().map(|(id, _)| *id).find(|id| Stamp::of(id) == *stamp);
        let nodes: Vec<Option<NodeId>> = relays.iter().map(known).chain([Some(*to)]).collect();
        // Whether the first link is there is heard, and need not be told.
        let mut links = nodes.windows(2).filter_map(|ends| ends[0].zip(ends[1]));
        let is_lost = links.any(|(one, other)| self.routing.map().has_lost(&one, &other));
        (!is_lost).then_some((hop, relays))
    }

    /// A way that has not too many relays: this one, or a dearer one with fewer. A cheap way may go around bad links by more relays
    /// than a letter may pass.
    fn within(&mut self, way: Way, question: &Question, avoid: &[Stamp]) -> Option<Way> {
        if relays_of(&way) <= question.hops {
            return Some(way);
        }
        let fewest = self.detour(question, avoid, Map::fewest_relays);
        fewest.filter(|way| relays_of(way) <= question.hops)
    }

    /// Whether the destination is too far on the map as it is: a way that is only too long because it goes around what is
    /// doubted now will be shorter again.
    fn too_far(&mut self, question: &Question) -> Option<Choice> {
        if self.routing.map().relays_to(&question.to)? <= question.hops {
            return None;
        }
        let relays = relays_of(&self.routing.map().fewest_relays(&question.to, &[], &[])?);
        (relays > question.hops).then_some(Choice::TooFar(relays))
    }

    /// On one LAN nobody tells of links, so that the map is empty, and yet two on it may not hear each other: whom another
    /// neighbour there hears, it can pass the letter to. Only its origin guesses, so that no letter wanders.
    fn guessed(&mut self, question: &Question) -> Option<NodeId> {
        if !question.is_own || question.hops == 0 || self.routing.map().is_listed(&question.to) {
            return None;
        }
        let wanted = self.ctx.roster.get(&question.to).filter(|peer| peer.is_near())?;
        let on = wanted.best_path()?.interface;
        let may_pass = |id: &NodeId, peer: &Peer| {
            peer.liveness == Liveness::Alive
                && peer.best_path().is_some_and(|path| path.interface == on)
                && is_open(id, question, &self.ctx)
                && !question.avoid.contains(&Stamp::of(id))
        };
        let neighbours = self.ctx.roster.near_alive().filter(|(id, peer)| may_pass(id, peer));
        // Whoever passed none of the earlier attempts first, then whoever was heard last.
        neighbours.max_by_key(|(id, peer)| (!question.shun.contains(id), peer.heard, **id)).map(|(id, _)| *id)
    }

    /// The shortest way on the map that begins with a neighbour and avoids what is to be avoided.
    fn mapped(&mut self, question: &Question, avoid: &[Stamp]) -> Option<Way> {
        let shortest = self.routing.map().way_to(&question.to)?;
        if begins(&shortest, question, &self.ctx) && is_clear(&shortest, avoid, question, &self.ctx) {
            return Some(shortest);
        }
        self.detour(question, avoid, Map::way_around)
    }

    /// The best way by this search that begins with a neighbour.
    fn detour(
        &mut self,
        question: &Question,
        avoid: &[Stamp],
        search: fn(&mut Map, &NodeId, &[Stamp], &[Link]) -> Option<Way>,
    ) -> Option<Way> {
        // A hop of the map that is none of ours (it is suspect, or was never heard) is gone around like a dead link.
        let mut dead = question.dead.clone();
        let me = Stamp::of(&self.ctx.me.id);
        for _ in 0..MAX_DETOURS {
            let way = search(self.routing.map(), &question.to, avoid, &dead)?;
            if begins(&way, question, &self.ctx) {
                return Some(way);
            }
            dead.push((me, Stamp::of(way.path.first()?)));
        }
        None
    }
}

/// First hops of the map that turn out to be none of ours are gone around so often.
const MAX_DETOURS: usize = 4;

fn relays_of(way: &Way) -> u8 {
    u8::try_from(way.path.len().saturating_sub(1)).unwrap_or(u8::MAX)
}

/// Whether a way begins with a neighbour to whom a letter may be given.
fn begins(way: &Way, question: &Question, ctx: &Context) -> bool {
    way.path.first().is_some_and(|hop| is_open(hop, question, ctx))
}

/// Whether a letter may be given to this neighbour.
fn is_open(id: &NodeId, question: &Question, ctx: &Context) -> bool {
    let is_near = |peer: &Peer| peer.is_near() && peer.best_path().is_some();
    ctx.roster.get(id).is_some_and(is_near) && !question.doubted.contains(id)
}

/// Whether a way passes nothing that is to be avoided.
fn is_clear(way: &Way, avoid: &[Stamp], question: &Question, ctx: &Context) -> bool {
    let Some((_, relays)) = way.path.split_last() else { return false };
    let stamps: Vec<Stamp> = [&ctx.me.id].into_iter().chain(&way.path).map(Stamp::of).collect();
    let is_dead = |pair: &[Stamp]| question.dead.iter().any(|&(a, b)| pair == [a, b] || pair == [b, a]);
    !relays.iter().any(|relay| avoid.contains(&Stamp::of(relay))) && !stamps.windows(2).any(is_dead)
}

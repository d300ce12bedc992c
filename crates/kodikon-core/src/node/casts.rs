//! Decides, where casts, map and roster meet, who gets what is said to all from this node.

use std::collections::BTreeSet;

use crate::effect::{BroadcastOrder, Event, Medium};
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::{Question, Reach, Role, Share, Shares};
use crate::model::roster::Path;
use crate::node::Node;
use crate::wire::cast::Content;
use crate::wire::letter::Text;

impl Node {
    /// The application says something to all.
    pub(super) fn broadcast(&mut self, order: BroadcastOrder) {
        let BroadcastOrder { ticket, kind, payload, priority } = order;
        let content = Content::Text(Text { kind, payload });
        let number = self.broadcasts.publish(content, priority, &mut self.ctx);
        self.ctx.out.event(Event::Announced { ticket, number });
    }

    /// Says what may be said now, and finds for each new cast who gets it from here.
    pub(super) fn spread_casts(&mut self, now: Instant) {
        self.broadcasts.begin(now, &mut self.ctx);
        self.look_for_ways(now);
        while let Some(question) = self.broadcasts.next_question() {
            let shares = self.shares_for(now, &question);
            self.broadcasts.spread(now, question.id, shares, &mut self.ctx);
        }
    }

    /// Does what is due of casts.
    pub(super) fn wake_casts(&mut self, now: Instant) {
        self.look_for_ways(now);
        self.broadcasts.on_wake(now, &mut self.ctx);
    }

    /// How segments can be reached, if something is to be given.
    fn look_for_ways(&mut self, now: Instant) {
        if !self.broadcasts.is_giving(now) {
            return;
        }
        let reach = |on: InterfaceIndex| Reach {
            on,
            proven: self.discovery.proven_cast(now, on),
            is_wireless: self.ctx.interface(on).is_some_and(|interface| interface.medium == Medium::Wireless),
        };
        let reaches: Vec<Reach> = self.discovery.segments().map(reach).collect();
        self.broadcasts.note_reach(&reaches);
    }

    /// Who gets a cast from here, as the map has it.
    fn shares_for(&mut self, now: Instant, question: &Question) -> Shares {
        let Question { id, came, map } = *question;
        let print = self.routing.map().print();
        let mut shares = match self.routing.map().shares_of(&id.origin) {
            Some(mapped) => mapped.into_iter().filter_map(|share| self.near_share(share)).collect(),
            None => Vec::new(),
        };
        // Where it came from it was given.
        shares.retain(|share| share.role != Role::Backup || share.on != came);
        if id.origin == self.ctx.me.id {
            self.add_unmapped(now, &mut shares);
        } else if map.is_some_and(|map| map != print) {
            self.add_flood(came, &mut shares);
        }
        Shares { map: print, shortest: self.routing.map().relays_to(&id.origin), shares }
    }

    /// A share of the map, as far as its members are heard.
    fn near_share(&self, share: crate::machines::routing::map::Share) -> Option<Share> {
        let on = match share.on {
            Some(segment) => Some(self.routing.interface_of(segment)?),
            None => None,
        };
        let is_near = |id: &NodeId| self.ctx.roster.is_near(id);
        let members = share.members.into_iter().filter(is_near).collect();
        Some(Share { on, role: if share.is_ours { Role::Forwarder } else { Role::Backup }, members })
    }

    /// Neighbours that the map does not know (on one LAN nobody tells of links): by the interface on which most of them are
    /// heard, then by the next.
    fn add_unmapped(&mut self, now: Instant, shares: &mut Vec<Share>) {
        let near: Vec<NodeId> = self.ctx.roster.near().map(|(id, _)| *id).collect();
        let map = self.routing.map();
        let mut left: BTreeSet<NodeId> = near.into_iter().filter(|id| map.next_hop(id).is_none()).collect();
        while !left.is_empty() {
            let most_heard = |within: Duration| {
                let is_heard = |id: &NodeId, on| self.hears(now, id, on, within);
                let there = |on| -> Vec<NodeId> { left.iter().copied().filter(|id| is_heard(id, on)).collect() };
                // Of several that reach as many the first one.
                let most = self.discovery.segments().map(|on| (there(on), on));
                most.max_by_key(|(members, on)| (members.len(), core::cmp::Reverse(*on)))
            };
            // Lately: a switch may die without a word. Where nobody is, after a cut, where they ever were.
            let lately = most_heard(self.ctx.hearing()).filter(|(members, _)| !members.is_empty());
            let most = lately.or_else(|| most_heard(Duration::MAX));
            let (on, members) = match most.filter(|(members, _)| !members.is_empty()) {
                Some((members, on)) => (Some(on), members),
                None => (None, left.iter().copied().collect()),
            };
            for id in &members {
                left.remove(id);
            }
            match shares.iter_mut().find(|share| share.on == on && share.role == Role::Forwarder) {
                Some(share) => share.members.extend(members),
                None => shares.push(Share { on, role: Role::Forwarder, members }),
            }
        }
    }

    /// Where maps differ all on our other segments may lack it.
    fn add_flood(&self, came: Option<InterfaceIndex>, shares: &mut Vec<Share>) {
        for on in self.discovery.segments().filter(|on| Some(*on) != came) {
            if shares.iter().any(|share| share.on == Some(on) && share.role == Role::Forwarder) {
                continue;
            }
            let near = self.ctx.roster.near().map(|(id, _)| *id);
            let members: Vec<NodeId> = near.filter(|id| self.is_best_on(id, on)).collect();
            shares.retain(|share| share.on != Some(on));
            shares.push(Share { on: Some(on), role: Role::Flood, members });
        }
    }

    /// Whether a neighbour was heard on an interface within a time.
    fn hears(&self, now: Instant, id: &NodeId, on: InterfaceIndex, within: Duration) -> bool {
        let is_heard = |path: &Path| path.interface == Some(on) && path.heard.is_some_and(|at| now.since(at) < within);
        self.ctx.roster.get(id).is_some_and(|peer| peer.paths.iter().any(is_heard))
    }

    /// Whether that is its best way.
    fn is_best_on(&self, id: &NodeId, on: InterfaceIndex) -> bool {
        self.ctx.roster.get(id).and_then(|peer| peer.best_path()?.interface) == Some(on)
    }
}

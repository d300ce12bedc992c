//! Decides what the face may look at: peers, states and sizes, as they are now.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::{LinkView, OtherWay, PeerView, Remembered, RouteSource, RouteView};
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Excesses;
use crate::ground::id::{Epoch, InterfaceIndex, NodeId};
use crate::ground::time::Instant;
use crate::machines::membership::remembered;
use crate::machines::routing::map::Way;
use crate::model::links::CLEAN_COST;
use crate::model::member::{Liveness as Held, REASON_ISOLATED};
use crate::model::roster::{MAX_DIRECTORY, Peer};
use crate::model::state::NodeSnapshot;
use crate::node::Node;
use crate::wire::letter::Stamp;

/// Nodes that the trees looked at for the next best ways have together, 0.1 µs each: with more neighbours the last ones have
/// none shown.
const MAX_EXPLAINED: usize = 16_384;

impl Node {
    /// Who this is. Changes only when a cloned identity makes room ([`crate::effect::Event::Cloned`]).
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.ctx.me.id
    }

    /// The own name as shown to others.
    #[must_use]
    pub fn name(&self) -> String {
        let (name, rank) = (&self.ctx.config.node_name, self.ctx.me.rank);
        if rank <= 1 { name.clone() } else { format!("{name}-{rank}") }
    }

    /// This run.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.ctx.me.epoch
    }

    /// Whether nobody is heard although somebody should be.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.liveness.is_isolated()
    }

    /// The peers present, suspect or lately failed, by id. Those only vouched for are not shown. While nobody is heard
    /// all that live are shown as suspect: they may be gone, or it may be us. That is no verdict, and nobody is told.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        let shown = || self.ctx.roster.iter().filter(|(_, peer)| peer.liveness != Held::Introduced);
        let own = Holders { all: 1, settled: u32::from(self.ctx.me.settled) };
        let mut holders: BTreeMap<String, Holders> = BTreeMap::from([(self.name(), own)]);
        for (_, peer) in shown().filter(|(_, peer)| peer.liveness.is_present()) {
            let holders = holders.entry(peer.card.shown_name()).or_default();
            (holders.all, holders.settled) = (holders.all + 1, holders.settled + u32::from(peer.card.settled));
        }
        let isolated = self.is_isolated();
        let log_root = self.replication.log_root().unwrap_or(0);
        let view = |(id, peer): (&NodeId, &Peer)| {
            let mut view = view(id, peer, &holders);
            view.beyond = self.ctx.offenders.of(id);
            view.log_differs = peer.log.filter(|told| told.root != log_root).map(|told| told.equal);
            if isolated && view.liveness == Held::Alive {
                (view.liveness, view.reason) = (Held::Suspect, REASON_ISOLATED);
            }
            view
        };
        shown().map(view).collect()
    }

    /// Those who were here, with those who are: what the disk remembers.
    #[must_use]
    pub fn directory(&self, now: Instant) -> Vec<Remembered> {
        remembered(now, &self.ctx)
    }

    /// The state of a node, our own included; `None` if it is not present or never set any.
    #[must_use]
    pub fn state_of(&self, id: &NodeId) -> Option<NodeSnapshot> {
        self.replication.state_of(id, &self.ctx.me.id)
    }

    /// The way to every peer that there is one to, by id, with what it costs and what the next best one would.
    #[must_use]
    pub fn routes(&mut self) -> Vec<RouteView> {
        let present: Vec<NodeId> = self.ctx.roster.present().map(|(id, _)| *id).collect();
        let mut routes: Vec<RouteView> = present.into_iter().filter_map(|id| self.route_to(id)).collect();
        self.add_next_best(&mut routes);
        routes
    }

    /// Adds the best way by another neighbour: one tree of the map for each neighbour with which ways begin.
    fn add_next_best(&mut self, routes: &mut [RouteView]) {
        let mut by_hop: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (place, route) in routes.iter().enumerate() {
            route.path.first().into_iter().for_each(|hop| by_hop.entry(*hop).or_default().push(place));
        }
        let trees = MAX_EXPLAINED / self.routing.map().node_count().max(1);
        for (hop, places) in by_hop.into_iter().take(trees) {
            let to: Vec<NodeId> = places.iter().map(|place| routes[*place].to).collect();
            let ways = self.routing.map().ways_beside(&hop, &to);
            for (place, way) in places.into_iter().zip(ways) {
                let way = way.filter(|way| self.begins_near(way));
                routes[place].next_best = way.map(|way| OtherWay { path: way.path, cost: way.cost });
            }
        }
    }

    /// The way of the map that a letter of ours goes: the cheapest, unless that has more relays than a letter may pass.
    fn way_taken(&mut self, to: &NodeId) -> Option<Way> {
        let cheapest = self.routing.map().way_to(to).filter(|way| self.begins_near(way))?;
        let most = usize::from(self.ctx.config.max_hops) + 1;
        let fewest = if cheapest.path.len() > most { self.routing.map().fewest_relays(to, &[], &[]) } else { None };
        let nearer = fewest.filter(|way| way.path.len() <= most && self.begins_near(way));
        Some(nearer.unwrap_or(cheapest))
    }

    /// How many relays a letter passes where the cheapest way has so many.
    pub(super) fn relays_taken(&mut self, to: &NodeId, cheapest: u8) -> u8 {
        if cheapest <= self.ctx.config.max_hops {
            return cheapest;
        }
        let taken = self.way_taken(to).map(|way| way.path.len().saturating_sub(1));
        taken.and_then(|relays| u8::try_from(relays).ok()).unwrap_or(cheapest)
    }

    fn begins_near(&self, way: &Way) -> bool {
        let first = way.path.first().and_then(|hop| self.ctx.roster.get(hop));
        first.is_some_and(|hop| hop.is_near() && hop.best_path().is_some())
    }

    fn route_to(&mut self, to: NodeId) -> Option<RouteView> {
        let way = self.way_taken(&to);
        let interface_of = |id: &NodeId, ctx: &Context| ctx.roster.get(id)?.best_path()?.interface;
        if let Some(way) = way {
            let first = way.path.first().and_then(|hop| interface_of(hop, &self.ctx));
            let interface = way.first.and_then(|segment| self.routing.interface_of(segment)).or(first);
            let links = self.routing.map().links_along(&way.path);
            let links = links.into_iter().map(|(cost, loss)| LinkView { cost, loss }).collect();
            let (path, cost, source) = (way.path, way.cost, RouteSource::Map);
            return Some(RouteView { to, path, cost, interface, source, links, next_best: None });
        }
        // Its links are not told yet, and it is heard.
        let is_near = self.ctx.roster.get(&to).is_some_and(|peer| peer.is_near() && peer.best_path().is_some());
        let interface = interface_of(&to, &self.ctx);
        if is_near {
            let links = vec![LinkView { cost: CLEAN_COST, loss: 0 }];
            let (path, source) = (vec![to], RouteSource::Map);
            return Some(RouteView { to, path, cost: CLEAN_COST, interface, source, links, next_best: None });
        }
        self.learned_route_to(to)
    }

    /// The way by which something came from a peer, while the map knows none and its first relay is heard.
    fn learned_route_to(&mut self, to: NodeId) -> Option<RouteView> {
        let (_, relays) = self.learned_way(self.latest, &to)?;
        let known = |stamp: &Stamp| self.ctx.roster.present().map(|(id, _)| *id).find(|id| Stamp::of(id) == *stamp);
        let mut path: Vec<NodeId> = relays.iter().map(known).collect::<Option<_>>()?;
        let first = path.first().and_then(|hop| self.ctx.roster.get(hop)).filter(|hop| hop.is_near());
        let interface = first?.best_path()?.interface;
        path.push(to);
        let cost = CLEAN_COST * u32::try_from(path.len()).unwrap_or(u32::MAX);
        let source = RouteSource::Learned;
        Some(RouteView { to, path, cost, interface, source, links: Vec::new(), next_best: None })
    }

    /// Raised whenever `peers`, `directory` or a state would show something else; freshness of `heard` aside.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.ctx.roster.version()
    }

    /// Digest of all that this node has covered of the `live` lane; equal on nodes that agree.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.replication.root()
    }

    /// The own state as others are told of it: what is on disk. What [`Node::state_of`] says of this node may be later.
    #[must_use]
    pub fn kept_state(&self) -> &NodeSnapshot {
        self.replication.kept_state()
    }

    /// For `doctor`: per interface in use, by which ways we heard ourselves lately, as bits of `Cast`.
    #[must_use]
    pub fn echoes(&self, now: Instant) -> Vec<(InterfaceIndex, u8)> {
        self.discovery.echoes(now)
    }

    /// For `doctor`: per interface in use, how many peers report how they hear it, and how many of them hear others by each way,
    /// in the order of [`crate::effect::Cast::GROUPS`].
    #[must_use]
    pub fn reports(&self) -> Vec<(InterfaceIndex, usize, [usize; 3])> {
        self.discovery.reports()
    }

    /// Entries of the tables that the network fills, by name, with their limits: for the checks and for `stats`.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let roster = [
            self.goodbye_table(),
            self.missed_table(),
            ("peers", self.ctx.roster.len(), self.ctx.config.max_peers),
            ("sessions", self.ctx.sessions.len(), self.ctx.config.max_peers),
            ("directory", self.ctx.roster.directory().len(), MAX_DIRECTORY),
            ("offenders", self.ctx.offenders.len(), MAX_PEERS),
        ];
        let floors = self.ctx.sessions.table_sizes().into_iter().chain(self.membership.table_sizes());
        let machines = self.liveness.table_sizes().into_iter().chain(self.replication.table_sizes());
        let ways = self.discovery.table_sizes().into_iter().chain(self.routing.table_sizes());
        let letters = self.messages.table_sizes(self.ctx.config.max_peers);
        let spoken = letters.into_iter().chain(self.broadcasts.table_sizes()).chain(self.outbound.table_sizes());
        let logged = self.alerts.table_sizes().into_iter().chain(self.registry.table_sizes());
        let logged = logged.chain(self.searches.table_sizes());
        roster.into_iter().chain(floors).chain(ways).chain(machines).chain(spoken).chain(logged).collect()
    }
}

/// How many who are present bear a name, and how many of them have settled on it.
#[derive(Debug, Clone, Copy, Default)]
struct Holders {
    all: u32,
    settled: u32,
}

impl Holders {
    /// Whether the name alone does not say who is meant. Whoever has it alone for good keeps it bare while newcomers, who are
    /// about to make way, bear it too.
    fn is_ambiguous(self, is_settled: bool) -> bool {
        self.all > 1 && !(is_settled && self.settled == 1)
    }
}

fn view(id: &NodeId, peer: &Peer, holders: &BTreeMap<String, Holders>) -> PeerView {
    let name = peer.card.shown_name();
    let is_ambiguous = |holders: &Holders| holders.is_ambiguous(peer.card.settled);
    let is_shared = peer.liveness.is_present() && holders.get(&name).is_some_and(is_ambiguous);
    let path = peer.best_path().filter(|_| peer.far.is_none());
    PeerView {
        id: *id,
        name: if is_shared { format!("{name}@{}", id.short()) } else { name },
        liveness: peer.liveness,
        epoch: peer.epoch(),
        life: peer.life(),
        address: path.map(|path| path.address),
        rtt: path.and_then(|path| path.rtt),
        heard: peer.heard,
        witnesses: peer.witnesses.keys().copied().collect(),
        reason: peer.reason,
        version: peer.card.version.clone(),
        skew_ms: peer.skew_ms,
        datagrams: peer.datagrams,
        beyond: Excesses::default(),
        log_differs: None,
        relays: match peer.far {
            Some(far) => far.lost.is_none().then_some(far.relays),
            None => path.map(|_| 0),
        },
    }
}

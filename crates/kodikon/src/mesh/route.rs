//! Decides how the ways through the mesh look to the application: by the names that people read, frozen when asked for.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect;
use kodikon_core::ground::id::NodeId;

use crate::api::{LinkRow, OtherRouteRow, RouteRow, RouteSource};
use crate::mesh::{View, Way};

/// The way to a peer as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    id: NodeId,
    interface: Option<String>,
    cost: u32,
    source: RouteSource,
    /// Never empty: its last is the destination.
    path: Vec<String>,
    links: Vec<LinkRow>,
    next_best: Option<OtherRouteRow>,
}

impl Route {
    /// The name of the peer it leads to, as [`Peer::name`](crate::Peer::name) shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.last().map(String::as_str).unwrap_or_default()
    }

    /// The identity of the peer it leads to.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The name of the node that a message is handed to first: the peer itself where nobody stands between.
    #[must_use]
    pub fn next_hop(&self) -> &str {
        self.path.first().map(String::as_str).unwrap_or_default()
    }

    /// The names of the relays in order, then that of the peer.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// How many relays there are: 0 for a neighbour.
    #[must_use]
    pub fn relays(&self) -> u8 {
        u8::try_from(self.path.len().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// The costs of its links together, in tenths of a link of clean Ethernet: 10 for a neighbour on the same switch, more
    /// over Wi-Fi and where datagrams are lost.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The name of this node's interface where it begins; none where the kernel chooses.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// From where it is known.
    #[must_use]
    pub fn source(&self) -> RouteSource {
        self.source
    }

    /// Its links in the order of the path, each with what it costs and what is lost on it; none where only the way is known.
    #[must_use]
    pub fn links(&self) -> &[LinkRow] {
        &self.links
    }

    /// The best way by another neighbour, if there is one.
    #[must_use]
    pub fn next_best(&self) -> Option<&OtherRouteRow> {
        self.next_best.as_ref()
    }

    /// Why this way and not the next best one, in a few words.
    #[must_use]
    pub fn why(&self) -> &'static str {
        match (&self.next_best, self.source) {
            (_, RouteSource::Learned) => "something came by it, and the map shows none",
            (None, RouteSource::Map) => "no other is known",
            (Some(other), RouteSource::Map) if other.cost > self.cost => "the cheapest",
            (Some(other), RouteSource::Map) if other.path.len() > self.path.len() => {
                "as cheap as the next, with fewer relays"
            }
            (Some(_), RouteSource::Map) => "as good as the next, and all nodes choose alike",
        }
    }

    /// The row that `kodikon routes` shows.
    #[must_use]
    pub fn row(&self) -> RouteRow {
        RouteRow {
            node_id: self.name().to_owned(),
            id: self.id.to_string(),
            next_hop: self.next_hop().to_owned(),
            path: self.path.clone(),
            relays: self.relays(),
            cost: self.cost,
            interface: self.interface.clone(),
            source: self.source,
            links: self.links.clone(),
            next_best: self.next_best.clone(),
            why: self.why().to_owned(),
        }
    }
}

/// All ways of a snapshot, by name.
pub(crate) fn routes(view: &View) -> Vec<Route> {
    // Each name is needed once for its own way and once for each that it relays.
    let names: BTreeMap<NodeId, &str> = view.peers.iter().map(|peer| (peer.id, peer.name.as_str())).collect();
    let name = |id: &NodeId| names.get(id).map_or_else(|| view.name_of(id), |name| (*name).to_owned());
    let route = |way: &Way| {
        let path: Vec<String> = way.route.path.iter().map(name).collect();
        let links = path.iter().zip(&way.route.links);
        let other = way.route.next_best.as_ref();
        Route {
            id: way.route.to,
            interface: way.interface.clone(),
            cost: way.route.cost,
            source: source(way.route.source),
            links: links.map(|(to, link)| link_row(to, link)).collect(),
            next_best: other
                .map(|other| OtherRouteRow { path: other.path.iter().map(name).collect(), cost: other.cost }),
            path,
        }
    };
    let mut routes: Vec<Route> = view.ways.iter().filter(|way| !way.route.path.is_empty()).map(route).collect();
    routes.sort_by(|one, other| (one.name(), one.id).cmp(&(other.name(), other.id)));
    routes
}

/// How many of the peers present are reached how, as [`routes`] shows it: a way may be learned though the map knows none.
pub(crate) fn count(view: &View) -> BTreeMap<String, u64> {
    let learned: BTreeSet<NodeId> =
        view.ways.iter().filter(|way| !way.route.path.is_empty()).map(|way| way.route.to).collect();
    let mut found = BTreeMap::from(["direct", "relayed", "none"].map(|way| (way.to_owned(), 0)));
    for peer in view.peers.iter().filter(|peer| peer.liveness.is_present()) {
        let way = match peer.relays {
            Some(0) => "direct",
            Some(_) => "relayed",
            None if learned.contains(&peer.id) => "relayed",
            None => "none",
        };
        *found.entry(way.to_owned()).or_default() += 1;
    }
    found
}

fn link_row(to: &str, link: &effect::LinkView) -> LinkRow {
    LinkRow { to: to.to_owned(), cost: link.cost, loss_percent: link.loss / 10 }
}

fn source(source: effect::RouteSource) -> RouteSource {
    match source {
        effect::RouteSource::Map => RouteSource::Map,
        effect::RouteSource::Learned => RouteSource::Learned,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kodikon_core::effect::{LinkView, OtherWay, PeerView, RouteView};
    use kodikon_core::model::member::Liveness;

    use super::*;
    use crate::testing::peer_view;

    fn peer(n: u8, name: &str, liveness: Liveness, relays: Option<u8>) -> PeerView {
        PeerView { liveness, relays, ..peer_view(NodeId([n; 16]), name) }
    }

    fn way(path: &[u8], cost: u32, interface: Option<&str>) -> Way {
        let to = NodeId([path[path.len() - 1]; 16]);
        let links = vec![LinkView { cost: 10, loss: 0 }; path.len()];
        let path = path.iter().map(|n| NodeId([*n; 16])).collect();
        let source = effect::RouteSource::Map;
        let route = RouteView { to, path, cost, interface: None, source, links, next_best: None };
        Way { route, interface: interface.map(str::to_owned) }
    }

    fn other(path: &[u8], cost: u32) -> OtherWay {
        OtherWay { path: path.iter().map(|n| NodeId([*n; 16])).collect(), cost }
    }

    #[test]
    fn ways_are_shown_by_name_in_the_order_of_names() {
        let peers = vec![
            peer(1, "porch", Liveness::Alive, Some(0)),
            peer(2, "attic", Liveness::Alive, Some(2)),
            peer(3, "hall-2", Liveness::Suspect, Some(1)),
        ];
        let mut ways = vec![way(&[1], 10, Some("eth0")), way(&[1, 3, 2], 30, Some("eth0")), way(&[1, 3], 20, None)];
        ways[0].route.next_best = Some(other(&[3, 1], 20));
        ways[1].route.links[2].loss = 340;
        let view = View { peers, ways: Arc::new(ways), ..View::default() };
        let rows: Vec<serde_json::Value> =
            routes(&view).iter().map(|route| serde_json::to_value(route.row()).unwrap()).collect();
        let expected = serde_json::json!([
            {"node_id": "attic", "id": "02".repeat(16), "next_hop": "porch", "path": ["porch", "hall-2", "attic"], "relays": 2,
                "cost": 30, "interface": "eth0", "source": "map", "next_best": null, "why": "no other is known", "links": [
                    {"to": "porch", "cost": 10, "loss_percent": 0}, {"to": "hall-2", "cost": 10, "loss_percent": 0},
                    {"to": "attic", "cost": 10, "loss_percent": 34}]},
            {"node_id": "hall-2", "id": "03".repeat(16), "next_hop": "porch", "path": ["porch", "hall-2"], "relays": 1,
                "cost": 20, "interface": null, "source": "map", "next_best": null, "why": "no other is known", "links": [
                    {"to": "porch", "cost": 10, "loss_percent": 0}, {"to": "hall-2", "cost": 10, "loss_percent": 0}]},
            {"node_id": "porch", "id": "01".repeat(16), "next_hop": "porch", "path": ["porch"], "relays": 0,
                "cost": 10, "interface": "eth0", "source": "map", "next_best": {"path": ["hall-2", "porch"], "cost": 20},
                "why": "the cheapest", "links": [{"to": "porch", "cost": 10, "loss_percent": 0}]},
        ]);
        assert_eq!(serde_json::Value::from(rows), expected);
    }

    #[test]
    fn why_a_way_was_chosen_follows_from_the_next_best_one() {
        let table = [
            (None, effect::RouteSource::Map, "no other is known"),
            (Some(other(&[4, 2], 21)), effect::RouteSource::Map, "the cheapest"),
            (Some(other(&[4, 5, 2], 20)), effect::RouteSource::Map, "as cheap as the next, with fewer relays"),
            (Some(other(&[4, 2], 20)), effect::RouteSource::Map, "as good as the next, and all nodes choose alike"),
            (None, effect::RouteSource::Learned, "something came by it, and the map shows none"),
        ];
        for (next_best, source, expected) in table {
            let mut way = way(&[1, 2], 20, None);
            (way.route.next_best, way.route.source) = (next_best, source);
            let view = View { ways: Arc::new(vec![way]), ..View::default() };
            assert_eq!(routes(&view)[0].why(), expected);
        }
    }

    #[test]
    fn a_relay_that_is_no_peer_is_shown_by_its_digits() {
        let peers = vec![peer(2, "attic", Liveness::Alive, Some(1))];
        let view = View { peers, ways: Arc::new(vec![way(&[0xab, 2], 20, None)]), ..View::default() };
        assert_eq!(routes(&view)[0].next_hop(), "@abab");
    }

    #[test]
    fn only_those_who_are_present_are_counted_by_the_way_to_them() {
        let peers = vec![
            peer(1, "a", Liveness::Alive, Some(0)),
            peer(2, "b", Liveness::Alive, Some(4)),
            peer(3, "c", Liveness::Suspect, None),
            peer(4, "d", Liveness::Failed, None),
            peer(5, "e", Liveness::Introduced, Some(0)),
            peer(6, "f", Liveness::Alive, None),
        ];
        let mut learned = way(&[2, 6], 20, None);
        learned.route.source = effect::RouteSource::Learned;
        let view = View { peers, ways: Arc::new(vec![learned]), ..View::default() };
        let expected = [("direct", 1), ("none", 1), ("relayed", 2)].map(|(way, n)| (way.to_owned(), n));
        assert_eq!(count(&view), BTreeMap::from(expected));
    }
}

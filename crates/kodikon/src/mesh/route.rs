//! Decides how the ways through the mesh look to the application: by the names that people read, frozen when asked for.

use std::collections::BTreeMap;

use kodikon_core::effect;
use kodikon_core::ground::id::NodeId;

use crate::api::{RouteRow, RouteSource};
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
        }
    }
}

/// All ways of a snapshot, by name.
pub(crate) fn routes(view: &View) -> Vec<Route> {
    // Each name is needed once for its own way and once for each that it relays.
    let names: BTreeMap<NodeId, &str> = view.peers.iter().map(|peer| (peer.id, peer.name.as_str())).collect();
    let name = |id: &NodeId| names.get(id).map_or_else(|| view.name_of(id), |name| (*name).to_owned());
    let route = |way: &Way| Route {
        id: way.route.to,
        interface: way.interface.clone(),
        cost: way.route.cost,
        source: source(way.route.source),
        path: way.route.path.iter().map(name).collect(),
    };
    let mut routes: Vec<Route> = view.ways.iter().filter(|way| !way.route.path.is_empty()).map(route).collect();
    routes.sort_by(|one, other| (one.name(), one.id).cmp(&(other.name(), other.id)));
    routes
}

/// How many of the peers present are reached how.
pub(crate) fn count(view: &View) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::from(["direct", "relayed", "none"].map(|way| (way.to_owned(), 0)));
    for peer in view.peers.iter().filter(|peer| peer.liveness.is_present()) {
        let way = match peer.relays {
            Some(0) => "direct",
            Some(_) => "relayed",
            None => "none",
        };
        *found.entry(way.to_owned()).or_default() += 1;
    }
    found
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

    use kodikon_core::effect::{PeerView, RouteView};
    use kodikon_core::ground::id::{Epoch, Life};
    use kodikon_core::model::member::Liveness;

    use super::*;

    fn peer(n: u8, name: &str, liveness: Liveness, relays: Option<u8>) -> PeerView {
        PeerView {
            id: NodeId([n; 16]),
            name: name.to_owned(),
            liveness,
            epoch: Epoch::default(),
            life: Life::default(),
            address: None,
            rtt: None,
            heard: None,
            witnesses: Vec::new(),
            reason: "",
            version: String::new(),
            skew_ms: None,
            datagrams: 0,
            beyond_rate: 0,
            relays,
        }
    }

    fn way(path: &[u8], cost: u32, interface: Option<&str>) -> Way {
        let to = NodeId([path[path.len() - 1]; 16]);
        let path = path.iter().map(|n| NodeId([*n; 16])).collect();
        let route = RouteView { to, path, cost, interface: None, source: effect::RouteSource::Map };
        Way { route, interface: interface.map(str::to_owned) }
    }

    #[test]
    fn ways_are_shown_by_name_in_the_order_of_names() {
        let peers = vec![
            peer(1, "porch", Liveness::Alive, Some(0)),
            peer(2, "attic", Liveness::Alive, Some(2)),
            peer(3, "hall-2", Liveness::Suspect, Some(1)),
        ];
        let ways = vec![way(&[1], 10, Some("eth0")), way(&[1, 3, 2], 30, Some("eth0")), way(&[1, 3], 20, None)];
        let view = View { peers, ways: Arc::new(ways), ..View::default() };
        let rows: Vec<serde_json::Value> =
            routes(&view).iter().map(|route| serde_json::to_value(route.row()).unwrap()).collect();
        let expected = serde_json::json!([
            {"node_id": "attic", "id": "02".repeat(16), "next_hop": "porch", "path": ["porch", "hall-2", "attic"], "relays": 2,
                "cost": 30, "interface": "eth0", "source": "map"},
            {"node_id": "hall-2", "id": "03".repeat(16), "next_hop": "porch", "path": ["porch", "hall-2"], "relays": 1,
                "cost": 20, "interface": null, "source": "map"},
            {"node_id": "porch", "id": "01".repeat(16), "next_hop": "porch", "path": ["porch"], "relays": 0,
                "cost": 10, "interface": "eth0", "source": "map"},
        ]);
        assert_eq!(serde_json::Value::from(rows), expected);
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
        ];
        let view = View { peers, ..View::default() };
        let expected = [("direct", 1), ("none", 1), ("relayed", 1)].map(|(way, n)| (way.to_owned(), n));
        assert_eq!(count(&view), BTreeMap::from(expected));
    }
}

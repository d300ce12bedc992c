//! Decides whether the ways that a node shows through the mesh are sane, and after calm whether they are those there are.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::{PeerView, RouteView};
use kodikon_core::ground::id::NodeId;

use crate::checks::reach::MOST_RELAYS;

/// Relays that a way may have more than the one with the fewest. A link that lost up to 64 % of what was sent counts as much as five
/// or six clean ones (`LossClass`), and for some minutes after a cut or a death, most of which is loss to whoever counts.
const DETOUR: u32 = 4;

/// What is wrong with a way whatever the mesh looks like, as `own` shows it beside these peers.
#[must_use]
pub fn flaw(own: &NodeId, route: &RouteView, peers: &BTreeMap<NodeId, PeerView>) -> Option<&'static str> {
    let next = route.path.first().map(|next| peers.get(next));
    let is_heard = |peer: &PeerView| peer.liveness.is_present() && peer.relays == Some(0);
    let once: BTreeSet<&NodeId> = route.path.iter().collect();
    let flaws = [
        (route.path.is_empty(), "is empty"),
        (route.path.last() != Some(&route.to), "ends elsewhere"),
        (route.path.contains(own), "leads through its own beginning"),
        (once.len() < route.path.len(), "leads through one node twice"),
        (route.path.len() > MOST_RELAYS as usize + 1, "has too many relays"),
        (!next.flatten().is_some_and(is_heard), "begins at one who is not heard"),
    ];
    flaws.into_iter().find(|(wrong, _)| *wrong).map(|(_, what)| what)
}

/// What is true about one node's ways.
pub(crate) struct Ways<'a> {
    /// Whose.
    pub(crate) own: (usize, NodeId),
    /// Links to every node that it can reach.
    pub(crate) links: &'a BTreeMap<usize, u32>,
    /// Which node bears an identity.
    pub(crate) bearers: &'a BTreeMap<NodeId, usize>,
    /// Whether two nodes hear each other directly.
    pub(crate) is_link: &'a dyn Fn(usize, usize) -> bool,
}

impl Ways<'_> {
    /// Whether there is anything to judge: who hears all it can reach needs no ways.
    pub(crate) fn is_far_reaching(&self) -> bool {
        self.links.values().any(|&links| links > 1)
    }

    /// Whether a node can be reached by a way that may be asked for.
    pub(crate) fn is_due(&self, node: usize) -> bool {
        self.links.get(&node).is_some_and(|&links| links > 0 && links <= MOST_RELAYS + 1)
    }

    /// What is wrong with the way shown to a node that can be reached.
    pub(crate) fn fault(
        &self,
        node: usize,
        route: Option<&RouteView>,
        peers: &BTreeMap<NodeId, PeerView>,
    ) -> Option<&'static str> {
        let Some(route) = route else { return Some("is missing") };
        if let Some(flaw) = flaw(&self.own.1, route, peers) {
            return Some(flaw);
        }
        let nodes = route.path.iter().map(|id| self.bearers.get(id).copied());
        let way: Vec<Option<usize>> = [Some(self.own.0)].into_iter().chain(nodes).collect();
        let linked = |pair: &[Option<usize>]| pair[0].zip(pair[1]).is_some_and(|(one, two)| (self.is_link)(one, two));
        if !way.windows(2).all(linked) {
            return Some("leads over a link that is none");
        }
        let links = u32::try_from(route.path.len()).expect("few relays");
        if links > self.links.get(&node)? + DETOUR {
            return Some("is a detour");
        }
        // Who is heard is no relay away, even if the cheapest way to it is another.
        let relays = if (self.is_link)(self.own.0, node) { 0 } else { links - 1 };
        let shown = peers.get(&route.to).and_then(|peer| peer.relays);
        (shown.map(u32::from) != Some(relays)).then_some("has not the relays that its peer is shown with")
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::effect::RouteSource;
    use kodikon_core::ground::id::{Epoch, Life};
    use kodikon_core::model::member::Liveness;

    use super::*;

    /// To whom, by which path, with how many relays the second is shown, and what is wrong.
    type Case = (usize, Option<&'static [usize]>, Option<u8>, Option<&'static str>);

    fn id(node: usize) -> NodeId {
        NodeId([u8::try_from(node).unwrap(); 16])
    }

    fn route(path: &[usize]) -> RouteView {
        let path: Vec<NodeId> = path.iter().map(|&node| id(node)).collect();
        let to = path.last().copied().unwrap_or_default();
        RouteView { to, path, cost: 10, interface: None, source: RouteSource::Map, links: Vec::new(), next_best: None }
    }

    fn peer(node: usize, relays: Option<u8>) -> (NodeId, PeerView) {
        let view = PeerView {
            id: id(node),
            name: String::new(),
            liveness: Liveness::Alive,
            epoch: Epoch(1),
            life: Life(0),
            address: None,
            rtt: None,
            heard: None,
            witnesses: Vec::new(),
            reason: "",
            version: String::new(),
            skew_ms: None,
            log_differs: None,
            datagrams: 0,
            beyond: kodikon_core::ground::excess::Excesses::default(),
            relays,
        };
        (id(node), view)
    }

    #[test]
    fn each_fault_of_a_way_is_found() {
        // A line 0 - 1 - 2 - … - 17, and ways 1 - 20 - 21 - 22 - 23 - 2 and 23 - 24 - 2 beside it; 30 is alone.
        let beside = [(1, 20), (20, 21), (21, 22), (22, 23), (23, 2), (23, 24), (24, 2)];
        let edges: Vec<(usize, usize)> = (0..17).map(|n| (n, n + 1)).chain(beside).collect();
        let is_link = |one, two| edges.contains(&(one, two)) || edges.contains(&(two, one));
        let bearers: BTreeMap<NodeId, usize> = (0..=30).map(|node| (id(node), node)).collect();
        let links: BTreeMap<usize, u32> = (0..=17u32).map(|n| (n as usize, n)).collect();
        let ways = Ways { own: (0, id(0)), links: &links, bearers: &bearers, is_link: &is_link };
        let peers = |relays| BTreeMap::from([peer(1, Some(0)), peer(2, relays), peer(5, Some(4)), peer(9, Some(8))]);
        let table: [Case; 14] = [
            (1, Some(&[1]), Some(1), None),
            (2, Some(&[1, 2]), Some(1), None),
            (5, Some(&[1, 2, 3, 4, 5]), Some(1), None),
            (2, None, Some(1), Some("is missing")),
            (2, Some(&[]), Some(1), Some("is empty")),
            (2, Some(&[1, 0, 1, 2]), Some(3), Some("leads through its own beginning")),
            (5, Some(&[1, 2, 3, 2, 3, 4, 5]), Some(1), Some("leads through one node twice")),
            (5, Some(&[2, 3, 4, 5]), Some(1), Some("begins at one who is not heard")),
            (2, Some(&[30, 2]), Some(1), Some("begins at one who is not heard")),
            (5, Some(&[1, 3, 4, 5]), Some(1), Some("leads over a link that is none")),
            // Found by records-swarm-10, seed 875: a link that was cut for a while, and whose class was not forgotten.
            (2, Some(&[1, 20, 21, 22, 23, 2]), Some(5), None),
            (2, Some(&[1, 20, 21, 22, 23, 24, 2]), Some(6), Some("is a detour")),
            (2, Some(&[1, 2]), Some(0), Some("has not the relays that its peer is shown with")),
            (2, Some(&[1, 2]), None, Some("has not the relays that its peer is shown with")),
        ];
        for (node, path, relays, expected) in table {
            let found = ways.fault(node, path.map(route).as_ref(), &peers(relays));
            assert_eq!(found, expected, "{path:?} to {node}, shown with {relays:?}");
        }
        let elsewhere = RouteView { to: id(3), ..route(&[1, 2]) };
        assert_eq!(flaw(&id(0), &elsewhere, &peers(Some(1))), Some("ends elsewhere"));
        let long: Vec<usize> = (1..=17).collect();
        assert_eq!(flaw(&id(0), &route(&long[..16]), &peers(Some(1))), None);
        assert_eq!(flaw(&id(0), &route(&long), &peers(Some(1))), Some("has too many relays"));
        assert!(ways.is_due(16) && !ways.is_due(17) && !ways.is_due(30) && !ways.is_due(0));
    }
}

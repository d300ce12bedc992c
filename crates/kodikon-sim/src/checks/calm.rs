//! Decides whether a mesh has found peace: what must be equal everywhere once nothing has gone wrong for a while.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::{PeerView, RouteView};
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::member::Liveness;
use kodikon_core::model::state::NodeSnapshot;

use crate::checks::reach::{self, MOST_RELAYS};
use crate::checks::routes::Ways;
use crate::checks::{Check, Watch};
use crate::checks::{alerts, records};
use crate::cluster::Cluster;
use crate::cluster::endpoint::Endpoint;
use crate::trace::Detail;

/// In a large mesh this many observers are asked, evenly chosen: a million rows would cost more than the run.
const OBSERVERS: usize = 64;

/// What one live node says of itself.
struct Subject {
    node: usize,
    id: NodeId,
    name: String,
    state: NodeSnapshot,
}

/// Checks all that calm must have brought about.
pub fn check(cluster: &mut Cluster<Watch>) {
    let live: Vec<usize> = (0..cluster.nodes.len()).filter(|&node| reach::is_live(cluster, node)).collect();
    let subjects: Vec<Subject> = live.iter().filter_map(|&node| subject(cluster, node)).collect();
    let step = live.len().div_ceil(OBSERVERS).max(1);
    for &observer in live.iter().step_by(step) {
        check_observer(cluster, observer, &subjects);
    }
    for component in components(cluster, live) {
        check_names(cluster, subjects.iter().filter(|subject| component.contains(&subject.node)));
        check_roots(cluster, &component);
        alerts::check_calm(cluster, &component);
        records::check_calm(cluster, &component);
    }
}

/// Those who can reach each other, by as many relays as it takes.
fn components(cluster: &Cluster<Watch>, live: Vec<usize>) -> Vec<Vec<usize>> {
    let (mut missing, mut all) = (live, Vec::new());
    while let Some(&first) = missing.first() {
        let reached = reach::links_from(cluster, first);
        all.push(reached.keys().copied().collect());
        missing.retain(|node| !reached.contains_key(node));
    }
    all
}

fn subject(cluster: &Cluster<Watch>, node: usize) -> Option<Subject> {
    let endpoint = cluster.endpoint(node)?;
    let id = endpoint.id();
    Some(Subject { node, id, name: endpoint.name(), state: endpoint.state_of(&id).unwrap_or_default() })
}

/// What one live node shows, and whom it can reach by how many links.
struct Sight {
    observer: usize,
    own: NodeId,
    links: BTreeMap<usize, u32>,
    peers: BTreeMap<NodeId, PeerView>,
    routes: Vec<RouteView>,
}

fn check_observer(cluster: &mut Cluster<Watch>, observer: usize, subjects: &[Subject]) {
    let links = reach::links_from(cluster, observer);
    let Some(process) = &mut cluster.nodes[observer].process else { return };
    let endpoint = &mut *process.endpoint;
    let peers = endpoint.peers().into_iter().map(|peer| (peer.id, peer)).collect();
    let sight = Sight { observer, own: endpoint.id(), links, peers, routes: endpoint.routes() };
    check_peers(cluster, &sight, subjects);
    check_gone(cluster, &sight, subjects);
    check_routes(cluster, &sight, subjects);
}

fn check_peers(cluster: &mut Cluster<Watch>, sight: &Sight, subjects: &[Subject]) {
    let (now, observer) = (cluster.now, sight.observer);
    let Some(process) = &cluster.nodes[observer].process else { return };
    let endpoint: &dyn Endpoint = &*process.endpoint;
    let watch = &mut cluster.observer;
    let mut company = false;
    let reached = |node| sight.links.get(&node).is_some_and(|&links| links > 0 && links <= MOST_RELAYS + 1);
    for subject in subjects.iter().filter(|subject| reached(subject.node)) {
        company = true;
        let epoch = watch.truth.nodes[subject.node].epoch;
        let row = sight.peers.get(&subject.id);
        let alive = row.is_some_and(|row| row.liveness == Liveness::Alive && row.epoch == epoch);
        watch.tally.check(now, Check::CalmRoster, alive, || {
            let row = row.map(|row| (row.liveness, row.epoch, row.reason));
            format!("node {observer} shows node {} ({:?}, {epoch:?}) as {row:?}", subject.node, subject.id)
        });
        let name = row.map(|row| row.name.as_str());
        watch.tally.check(now, Check::CalmNames, name.is_none_or(|name| name == subject.name), || {
            format!("node {observer} shows node {} as {name:?}, which calls itself {}", subject.node, subject.name)
        });
        // Who has published nothing may be shown with nothing, or not at all.
        let state = endpoint.state_of(&subject.id).unwrap_or_default();
        watch.tally.check(now, Check::CalmState, !alive || state == subject.state, || {
            format!("node {observer} shows of node {}: {}", subject.node, difference(&state, &subject.state))
        });
    }
    watch.tally.check(now, Check::CalmCompany, !(company && endpoint.is_isolated()), || {
        format!("node {observer} has company and feels alone")
    });
}

fn check_gone(cluster: &mut Cluster<Watch>, sight: &Sight, subjects: &[Subject]) {
    let reached: BTreeSet<&NodeId> =
        subjects.iter().filter(|subject| sight.links.contains_key(&subject.node)).map(|subject| &subject.id).collect();
    let watch = &mut cluster.observer;
    for (id, row) in &sight.peers {
        let hostile = watch.truth.is_hostile(id);
        let sound = reached.contains(id) || hostile || !row.liveness.is_present();
        watch.tally.check(cluster.now, Check::CalmDeadGone, sound, || {
            format!("node {} shows {id:?} as {:?}, who is dead or out of reach", sight.observer, row.liveness)
        });
    }
}

fn check_routes(cluster: &mut Cluster<Watch>, sight: &Sight, subjects: &[Subject]) {
    let bearers: BTreeMap<NodeId, usize> = subjects.iter().map(|subject| (subject.id, subject.node)).collect();
    let is_link = |one, two| reach::is_link(cluster, one, two);
    let own = (sight.observer, sight.own);
    let ways = Ways { own, links: &sight.links, bearers: &bearers, is_link: &is_link };
    if sight.routes.is_empty() && !ways.is_far_reaching() {
        return;
    }
    let shown: BTreeMap<NodeId, &RouteView> = sight.routes.iter().map(|route| (route.to, route)).collect();
    let mut found: Vec<(NodeId, Option<&str>)> = Vec::new();
    for subject in subjects.iter().filter(|subject| ways.is_due(subject.node)) {
        let route = shown.get(&subject.id).copied();
        found.push((subject.id, ways.fault(subject.node, route, &sight.peers)));
    }
    for to in shown.keys().filter(|to| bearers.get(to).is_none_or(|node| !sight.links.contains_key(node))) {
        let hostile = cluster.observer.truth.is_hostile(to);
        found.push((*to, (!hostile).then_some("leads to one who cannot be reached")));
    }
    for (to, fault) in found {
        cluster.observer.tally.check(cluster.now, Check::CalmRoutes, fault.is_none(), || {
            let path = shown.get(&to).map(|route| &route.path);
            format!("node {}'s way to {to:?} {}: {path:?}", sight.observer, fault.unwrap_or_default())
        });
    }
    tell_routes(cluster, sight, &bearers);
}

/// Adds the ways over others to the story.
fn tell_routes(cluster: &mut Cluster<Watch>, sight: &Sight, bearers: &BTreeMap<NodeId, usize>) {
    if !cluster.trace.tells(Detail::Events) {
        return;
    }
    let name = |id: &NodeId| {
        bearers.get(id).map_or_else(|| format!("{id:?}"), |&node| cluster.nodes[node].config.node_name.clone())
    };
    let mut lines = Vec::new();
    for route in sight.routes.iter().filter(|route| route.path.len() > 1) {
        let path: Vec<String> = route.path.iter().map(name).collect();
        lines.push(format!("{} reaches {} for {}", name(&sight.own), path.join(" > "), route.cost));
    }
    for line in lines {
        cluster.trace.tell(cluster.now, Detail::Events, format_args!("{line}"));
    }
}

/// What one shows and the other has, where they differ.
fn difference(shown: &NodeSnapshot, real: &NodeSnapshot) -> String {
    let mut all: Vec<String> = Vec::new();
    for key in shown.values.keys().chain(real.values.keys()).collect::<BTreeSet<_>>() {
        let [one, two] = [shown, real].map(|snapshot| snapshot.values.get(key).map(|json| &json[..json.len().min(24)]));
        if shown.values.get(key) != real.values.get(key) {
            all.push(format!("{key} = {one:?}, not {two:?}"));
        }
    }
    if shown.changed != real.changed {
        all.push(format!("changed at {} instead of {}", shown.changed.0, real.changed.0));
    }
    format!("version {}, not {}: {}", shown.version, real.version, all.join(", "))
}

fn check_names<'a>(cluster: &mut Cluster<Watch>, subjects: impl Iterator<Item = &'a Subject>) {
    let mut bearers: BTreeMap<&str, &Subject> = BTreeMap::new();
    for subject in subjects {
        let other = bearers.insert(&subject.name, subject);
        cluster.observer.tally.check(cluster.now, Check::CalmNames, other.is_none(), || {
            format!(
                "nodes {} and {} are both shown as {}",
                other.map_or(subject.node, |other| other.node),
                subject.node,
                subject.name
            )
        });
    }
}

fn check_roots(cluster: &mut Cluster<Watch>, component: &[usize]) {
    type Root = fn(&dyn Endpoint) -> u64;
    let hostile = cluster.observer.truth.has_hostile();
    // Where clocks stood still for different times, an alert is over at one node and not yet at the other.
    let is_ending = |cluster: &Cluster<Watch>| {
        cluster.observer.alerts.is_ending(cluster.now) || records::is_ending(cluster, component)
    };
    let lanes: [(Check, Root); 2] =
        [(Check::CalmRoot, |endpoint| endpoint.root()), (Check::CalmLogRoot, |endpoint| endpoint.log_root())];
    for (check, root) in lanes {
        let root = |&node: &usize| cluster.endpoint(node).map(|endpoint| (node, root(endpoint)));
        let roots: Vec<(usize, u64)> = component.iter().filter_map(root).collect();
        for pair in roots.windows(2) {
            let [(a, root_a), (b, root_b)] = [pair[0], pair[1]];
            let holds = root_a == root_b || hostile || (check == Check::CalmLogRoot && is_ending(cluster));
            cluster
                .observer
                .tally
                .check(cluster.now, check, holds, || format!("the roots of nodes {a} and {b} differ"));
        }
    }
}

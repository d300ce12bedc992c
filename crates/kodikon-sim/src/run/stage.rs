//! Decides where the nodes of a run stand: hosts, segments, names, keys, and what the seed draws of them.

use core::time::Duration;

use kodikon_core::ground::config::{Config, MAX_PEERS, Profile, Security};
use kodikon_core::ground::random::Random;

use crate::chance::{Odds, fork, source};
use crate::checks::Watch;
use crate::checks::steady::Steady;
use crate::cluster::{Cluster, Plan};
use crate::faults::{Faults, Kind};
use crate::network::Network;
use crate::network::host::SegmentId;
use crate::network::topology;
use crate::run::Order;
use crate::scenario::Scenario;

/// An open mesh holds at most 256 peers; from here on a key is needed.
const MOST_IN_OPEN_MESH: usize = 200;

/// The cluster of a run, with one spare host at the end on which nothing runs yet.
pub fn build(scenario: &Scenario, order: &Order, faults: &Faults) -> Cluster<Watch> {
    let mut random = source(order.seed, "stage");
    let per_host = if scenario.swarm && random.below(4) == 0 { 2 } else { scenario.nodes_per_host };
    let hosts = scenario.nodes.div_ceil(per_host);
    let (segments, homes) = topology::place(scenario.homes, scenario.segments, hosts, &mut random);
    let v6 = random.below(2) == 0;
    let network = Network::new(segments, &homes, v6, source(order.seed, "network"));
    let base = base(scenario, order.seed, &mut random);
    let names = names(scenario, faults, &mut random);
    let config = |name: &String| {
        let mut config = base.clone();
        config.node_name.clone_from(name);
        config
    };
    let mut configs: Vec<Vec<Config>> =
        names.chunks(per_host).map(|names| names.iter().map(config).collect()).collect();
    configs.push(vec![config(&"spare".to_owned())]);
    let timeout = base.heartbeat_timeout;
    let plan = Plan { seed: order.seed, network, configs, maker: order.maker, detail: order.detail };
    let mut watch = Watch::new(scenario.nodes + 1, timeout);
    watch.letters.max_hops = base.max_hops;
    watch.letters.all_fit = scenario.all_fit();
    watch.queues.promise(scenario.critical_within_ms, scenario.served_within_s);
    let bad = if scenario.ways.around_bad { scenario.bad.segments.as_slice() } else { &[] };
    watch.steady = Steady::new(scenario.ways, bad.iter().map(|bad| SegmentId(*bad)).collect());
    let mut cluster = Cluster::new(plan, watch);
    cluster.scan = Duration::from_secs_f64(scenario.scan_ms / 1_000.0);
    for node in 0..cluster.nodes.len() {
        let (host, homes) = (cluster.nodes[node].host, cluster.homes_of(node));
        cluster.observer.truth.place(node, host, homes);
    }
    cluster
}

fn base(scenario: &Scenario, seed: u64, random: &mut Random) -> Config {
    let mut config = Config::new("");
    if scenario.nodes > MOST_IN_OPEN_MESH || random.below(4) > 0 {
        config.security = Security::Key(fork(seed, "mesh key", 0).into());
        config.max_peers = MAX_PEERS;
    }
    if scenario.max_peers > 0 {
        config.max_peers = scenario.max_peers;
    }
    if scenario.swarm {
        config.profile = match random.below(8) {
            0 => Profile::Wan,
            1 => Profile::Eco,
            2 => Profile::Fast,
            _ => Profile::Lan,
        };
    }
    config
}

fn names(scenario: &Scenario, faults: &Faults, random: &mut Random) -> Vec<String> {
    let clash = Odds::of(if faults.is_on(Kind::NameClash) { 0.4 } else { 0.0 });
    let name = |node: usize, random: &mut Random| {
        if clash.draw(random) { "twin".to_owned() } else { format!("cam-{node:03}") }
    };
    (0..scenario.nodes).map(|node| name(node, random)).collect()
}

//! Decides how one run goes: a cluster as the scenario says, the seed's chance, and the report at the end.

use core::time::Duration;

use kodikon_core::ground::config::{Config, MAX_PEERS, Security};
use serde_json::{Map, Value, json};

use crate::chance::{self, fork, source};
use crate::checks::{Violation, Watch, calm};
use crate::cluster::endpoint::Maker;
use crate::cluster::{Cluster, Happening, Plan};
use crate::moment::Moment;
use crate::network::Network;
use crate::network::host::SegmentId;
use crate::scenario::Scenario;
use crate::trace::Detail;

/// How a scenario is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The run's seed.
    pub seed: u64,
    /// How much of the story to tell.
    pub detail: Detail,
    /// Makes nodes.
    pub maker: Maker,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// How often each check was made.
    pub checks: Map<String, Value>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How often anything was broken.
    pub broken: u64,
    /// How much happened.
    pub events: u64,
    /// The trace's hash.
    pub hash: u64,
    /// What was measured.
    pub metrics: Value,
}

/// Runs a scenario with one seed; `story` is told line by line as it happens.
pub fn run(scenario: &Scenario, order: &Order, story: &mut dyn FnMut(String)) -> Report {
    let mut cluster = build(scenario, order);
    let mut starts = source(order.seed, "starts");
    let within = Duration::from_secs_f64(scenario.start_within_s);
    for node in 0..scenario.nodes {
        let at = Moment::START + chance::between(&mut starts, Duration::ZERO, within);
        cluster.enter(at, Happening::Boot(node));
    }
    let end = Moment::START + Duration::from_secs_f64(scenario.hours * 3600.0);
    while cluster.now < end {
        let pause = (cluster.now + TICK).min(end);
        while let Some(_foreign) = cluster.advance(pause) {}
        cluster.now = pause;
        cluster.observer.tick(pause);
        look_into_one(&mut cluster);
        cluster.trace.take_story().into_iter().for_each(&mut *story);
    }
    calm::check(&mut cluster);
    report(&cluster)
}

/// How often what is due is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Looks into the tables of one node, another each second.
fn look_into_one(cluster: &mut Cluster<Watch>) {
    let nodes = cluster.nodes.len() as u64;
    let node = usize::try_from(cluster.now.millis() / 1_000 % nodes.max(1)).expect("below the number of nodes");
    let now = cluster.now;
    if let Some(process) = &cluster.nodes[node].process {
        cluster.observer.look_into(now, node, &*process.endpoint);
    }
}

fn build(scenario: &Scenario, order: &Order) -> Cluster<Watch> {
    let homes = vec![vec![SegmentId(0)]; scenario.nodes];
    let network = Network::new(1, &homes, true, source(order.seed, "network"));
    let key = fork(order.seed, "mesh key", 0);
    let config = |node: usize| {
        let mut config = Config::new(&format!("cam-{node:03}"));
        config.security = Security::Key(key.into());
        config.max_peers = MAX_PEERS;
        config
    };
    let configs: Vec<Vec<Config>> = (0..scenario.nodes).map(|node| vec![config(node)]).collect();
    let timeout = config(0).heartbeat_timeout;
    let plan = Plan { seed: order.seed, network, configs, maker: order.maker, detail: order.detail };
    Cluster::new(plan, Watch::new(scenario.nodes, timeout))
}

fn report(cluster: &Cluster<Watch>) -> Report {
    let tally = &cluster.observer.tally;
    Report {
        checks: tally.counts().iter().map(|(check, count)| (check.name().to_owned(), json!(count))).collect(),
        violations: tally.violations().to_vec(),
        broken: tally.broken(),
        events: cluster.trace.happened(),
        hash: cluster.trace.hash(),
        metrics: cluster.observer.metrics.to_json(),
    }
}

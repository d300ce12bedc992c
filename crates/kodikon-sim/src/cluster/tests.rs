//! What a cluster does to its nodes: deaths, pauses, clones and disks.

use kodikon_core::model::state::StateChange;

use super::*;
use crate::checks::Watch;
use crate::cluster::fake;
use crate::faults::deeds::{Comeback, Deed, perform};
use crate::network::host::SegmentId;

const SECOND: Duration = Duration::from_secs(1);

fn cluster(hosts: usize, nodes_per_host: usize, seed: u64) -> Cluster<Watch> {
    let homes = vec![vec![SegmentId(0)]; hosts];
    let network = Network::new(1, &homes, true, source(seed, "network"));
    let configs =
        (0..hosts).map(|host| (0..nodes_per_host).map(|n| Config::new(&format!("n{host}-{n}"))).collect()).collect();
    let plan = Plan { seed, network, configs, maker: fake::honest, detail: Detail::Silent };
    let mut cluster = Cluster::new(plan, Watch::new(hosts * nodes_per_host, 30 * SECOND));
    (0..hosts * nodes_per_host).for_each(|node| cluster.enter(Moment::START, Happening::Boot(node)));
    cluster
}

fn run_until(cluster: &mut Cluster<Watch>, seconds: u64) {
    let end = Moment::START + SECOND * u32::try_from(seconds).unwrap();
    while cluster.advance(end).is_some() {}
    cluster.now = end;
}

fn alive(cluster: &Cluster<Watch>, node: usize) -> usize {
    let peers = cluster.endpoint(node).map(Endpoint::peers).unwrap_or_default();
    peers.iter().filter(|peer| peer.liveness == kodikon_core::model::member::Liveness::Alive).count()
}

#[test]
fn one_seed_tells_one_story_and_another_seed_another() {
    let hash = |seed| {
        let mut cluster = cluster(5, 1, seed);
        run_until(&mut cluster, 30);
        cluster.trace.hash()
    };
    for seed in 0..8 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        assert_ne!(hash(seed), hash(seed + 1), "seed {seed}");
    }
}

#[test]
fn all_nodes_of_a_host_hear_a_group_datagram_and_so_does_its_sender() {
    let mut cluster = cluster(2, 2, 1);
    run_until(&mut cluster, 5);
    for node in 0..4 {
        assert_eq!(alive(&cluster, node), 3, "node {node}");
    }
    assert!(cluster.observer.is_complete());
    // Four sockets hear each datagram, the sender's own among them.
    let (sent, arrived) = (cluster.network.counts.sent, cluster.network.counts.arrived);
    assert!(arrived >= sent * 4 - 8 && arrived <= sent * 4, "{sent} sent, {arrived} arrived");
}

#[test]
fn a_stopped_process_hears_nothing_then_what_its_sockets_kept() {
    let mut cluster = cluster(2, 1, 1);
    run_until(&mut cluster, 5);
    cluster.pause(1);
    let before = cluster.network.counts.arrived;
    run_until(&mut cluster, 9);
    let at_one = cluster.network.counts.arrived - before;
    assert!((3..=5).contains(&at_one), "{at_one}: node 0 hears itself and nothing of node 1");
    cluster.resume(1, false);
    assert!(cluster.network.counts.arrived - before >= at_one + 3, "what waited is heard on resume");
    assert_eq!(alive(&cluster, 1), 1);
}

#[test]
fn a_process_may_die_between_two_outputs() {
    for fuse in 0..2 {
        let mut cluster = cluster(2, 1, 1);
        run_until(&mut cluster, 5);
        cluster.light_fuse(1, fuse);
        let sent = cluster.nodes[1].datagrams;
        run_until(&mut cluster, 20);
        assert!(cluster.nodes[1].process.is_none());
        assert_eq!(cluster.nodes[1].datagrams - sent, u64::from(fuse), "outputs before death");
        assert_eq!(alive(&cluster, 0), 0, "silence is noticed");
    }
}

#[test]
fn a_restarted_node_finds_what_it_had_kept_and_has_a_new_epoch() {
    let mut cluster = cluster(2, 1, 1);
    run_until(&mut cluster, 2);
    let change = StateChange { key: "k".to_owned(), json: Some("1".to_owned()) };
    cluster.command(1, Command::SetState(vec![change], WallTime(0)));
    let (id, epoch) = cluster.endpoint(1).map(|node| (node.id(), node.epoch())).unwrap();
    run_until(&mut cluster, 6);
    cluster.kill(1, Death::Crash);
    cluster.boot(1);
    let node = cluster.endpoint(1).unwrap();
    assert!(node.id() == id && node.epoch() > epoch);
    assert_eq!(node.state_of(&id).unwrap().version, 1);
}

/// Found by swarm-50, seed 60: a backup made of a disk that failed brought the failure back with it, and nothing ever mended it.
#[test]
fn a_backup_is_written_to_a_disk_that_works_or_fails_as_it_did() {
    for fails in [false, true] {
        let mut cluster = cluster(2, 1, 1);
        run_until(&mut cluster, 5);
        let mut copy = cluster.nodes[1].disk.clone();
        copy.log.fails = !fails;
        cluster.nodes[1].disk.log.fails = fails;
        cluster.kill(1, Death::Crash);
        perform(&mut cluster, Deed::Boot(1, Comeback::Old(Box::new(copy))));
        assert!(cluster.endpoint(1).is_some());
        assert_eq!(cluster.nodes[1].disk.log.fails, fails);
    }
}

#[test]
fn whoever_cannot_keep_the_number_of_its_run_says_nothing_and_is_in_trouble_as_long() {
    let mut cluster = cluster(2, 1, 1);
    run_until(&mut cluster, 5);
    cluster.nodes[1].disk.log.fails = true;
    cluster.nodes[1].disk.ask(kodikon_core::effect::Persist::EpochCounter(9));
    let said = cluster.nodes[1].datagrams;
    let troubled = |cluster: &Cluster<Watch>| {
        let living = &cluster.observer.truth.nodes[1];
        (living.own_trouble, living.whole_trouble)
    };
    run_until(&mut cluster, 9);
    assert_eq!(cluster.nodes[1].datagrams, said);
    let late = Moment::START + 7 * SECOND;
    assert!(troubled(&cluster).0 > late && troubled(&cluster).1 > late, "{:?}", troubled(&cluster));
    cluster.nodes[1].disk.log.fails = false;
    cluster.close_disk(1);
    let until = troubled(&cluster);
    run_until(&mut cluster, 13);
    assert!(cluster.nodes[1].datagrams > said && troubled(&cluster) == until);
}

//! What the network does, shown without any node.

use std::collections::BTreeMap;

use super::*;
use crate::chance::{Odds, source};
use crate::network::host::address_v4;

const ETH0: InterfaceIndex = InterfaceIndex(2);
const GROUP: Target = Target::Segment(ETH0, Cast::Multicast4);

/// Hosts on one segment, the last of which is on a second one too.
fn network(hosts: u32) -> Network {
    let mut homes = vec![vec![SegmentId(0)]; hosts as usize];
    homes[hosts as usize - 1].push(SegmentId(1));
    Network::new(2, &homes, true, source(1, "network"))
}

fn to(host: u32) -> Target {
    let address = address_v4(SegmentId(0), HostId(host), 0);
    Target::Address(SocketAddr::new(address.into(), 10_000), None)
}

/// Sends so many datagrams a millisecond apart and counts, by host, how many arrive.
fn heard(network: &mut Network, from: u32, target: Target, count: u64) -> BTreeMap<u32, u64> {
    let mut heard = BTreeMap::new();
    for n in 0..count {
        let now = Moment(n * 1_000_000);
        let mut out = Vec::new();
        network.send(now, letter(from, 100), target, &mut out);
        while let Some((at, passage)) = out.pop() {
            assert!(at >= now, "nothing arrives before it is sent");
            match passage {
                Passage::Arrive { host, interface, .. } if network.is_listening(host, interface, HostId(from)) => {
                    *heard.entry(host.0).or_default() += 1;
                }
                Passage::Arrive { .. } => {}
                Passage::Spread { segment, frame } => {
                    let mut place = 0;
                    while let Some(fate) = network.spread(at, (segment, place), &frame, &mut out) {
                        heard.extend(fate.map(|(host, _)| (host.0, heard.get(&host.0).unwrap_or(&0) + 1)));
                        place += 1;
                    }
                }
            }
        }
    }
    heard
}

fn letter(from: u32, len: usize) -> Letter {
    Letter { origin: Origin::Node, sender: Socket { host: HostId(from), port: 10_000 }, bytes: vec![7; len] }
}

fn counts<const N: usize>(pairs: [(u32, u64); N]) -> BTreeMap<u32, u64> {
    BTreeMap::from(pairs)
}

#[test]
fn a_group_datagram_reaches_all_of_its_segment_and_its_sender() {
    let mut network = network(3);
    assert_eq!(heard(&mut network, 0, GROUP, 10), counts([(0, 10), (1, 10), (2, 10)]));
    assert_eq!(heard(&mut network, 2, Target::Segment(InterfaceIndex(3), Cast::Broadcast), 1), counts([(2, 1)]));
    assert_eq!(heard(&mut network, 1, Target::Segment(InterfaceIndex(1), Cast::Multicast4), 1), counts([(1, 1)]));
    assert_eq!(
        heard(&mut network, 1, Target::Segment(InterfaceIndex(1), Cast::Multicast6), 1),
        counts([]),
        "no v6 group on lo"
    );
}

#[test]
fn a_datagram_to_an_address_reaches_its_host_alone() {
    let mut network = network(3);
    assert_eq!(heard(&mut network, 0, to(2), 10), counts([(2, 10)]));
    assert_eq!(heard(&mut network, 0, to(0), 10), counts([(0, 10)]), "to oneself by way of loop-back");
    let nobody = Target::Address("10.0.9.9:10000".parse().unwrap(), None);
    assert_eq!(heard(&mut network, 0, nobody, 1), counts([]));
    let elsewhere = Target::Address(SocketAddr::new(address_v4(SegmentId(1), HostId(2), 0).into(), 10_000), None);
    assert_eq!(heard(&mut network, 0, elsewhere, 1), counts([]), "another LAN needs a router");
    network.set_routed(true);
    assert_eq!(heard(&mut network, 0, elsewhere, 1), counts([]), "and a route");
}

#[test]
fn loss_and_duplication_take_and_give_their_share() {
    let mut network = network(3);
    let quality = Quality { loss: Odds::of(0.25), ..Quality::clean() };
    network.set_quality(SegmentId(0), quality.clone());
    let lossy = heard(&mut network, 0, GROUP, 4_000);
    assert_eq!(lossy[&0], 4_000, "what a host says to itself is not lost");
    assert!((2_900..3_100).contains(&lossy[&1]), "{lossy:?}");
    network.set_quality(SegmentId(0), Quality { duplicate: Odds::of(0.5), ..Quality::clean() });
    let doubled = heard(&mut network, 0, to(1), 4_000);
    assert!((5_900..6_100).contains(&doubled[&1]), "{doubled:?}");
}

#[test]
fn cuts_sides_and_cables_stop_what_they_should() {
    let mut cut = network(3);
    cut.set_cut(HostId(0), HostId(1), true);
    assert_eq!(heard(&mut cut, 0, GROUP, 1), counts([(0, 1), (2, 1)]), "one direction");
    assert_eq!(heard(&mut cut, 1, GROUP, 1), counts([(0, 1), (1, 1), (2, 1)]), "not the other");
    let mut sides = network(3);
    sides.set_side(HostId(2), 1);
    assert_eq!(heard(&mut sides, 0, GROUP, 1), counts([(0, 1), (1, 1)]));
    assert_eq!(heard(&mut sides, 2, to(0), 1), counts([]));
    sides.heal();
    assert_eq!(heard(&mut sides, 2, to(0), 1), counts([(0, 1)]));
    let mut cable = network(3);
    cable.hosts[1].nics[1].carrier = false;
    assert_eq!(heard(&mut cable, 1, GROUP, 1), counts([(1, 1)]), "sends succeed and vanish");
    assert_eq!(heard(&mut cable, 0, GROUP, 1), counts([(0, 1), (2, 1)]));
    cable.hosts[1].nics[1].up = false;
    assert_eq!(heard(&mut cable, 1, GROUP, 1), counts([]), "an interface that is off loops nothing back");
}

#[test]
fn a_link_or_a_segment_is_cut_on_one_segment_alone() {
    let homes = [vec![SegmentId(0), SegmentId(1)], vec![SegmentId(0), SegmentId(1)], vec![SegmentId(0)]];
    let mut network = Network::new(2, &homes, true, source(1, "network"));
    let pair = [HostId(0), HostId(1)];
    let second = Target::Segment(InterfaceIndex(3), Cast::Multicast4);
    network.set_link_cut(SegmentId(0), pair, true);
    assert_eq!(heard(&mut network, 0, GROUP, 1), counts([(0, 1), (2, 1)]));
    assert_eq!(heard(&mut network, 1, to(0), 1), counts([]), "both ways");
    assert_eq!(heard(&mut network, 0, second, 1), counts([(0, 1), (1, 1)]), "the other segment is whole");
    assert!(!network.is_joined(SegmentId(0), pair[0], pair[1]) && network.is_joined(SegmentId(1), pair[0], pair[1]));
    network.set_link_cut(SegmentId(0), [pair[1], pair[0]], false);
    network.set_segment_cut(SegmentId(1), true);
    assert_eq!(heard(&mut network, 0, GROUP, 1), counts([(0, 1), (1, 1), (2, 1)]));
    assert_eq!(heard(&mut network, 0, second, 1), counts([(0, 1)]));
    assert!(network.is_joined(SegmentId(0), pair[0], pair[1]) && !network.is_joined(SegmentId(1), pair[0], pair[1]));
    assert!(!network.is_joined(SegmentId(1), pair[0], HostId(2)), "who is not plugged in");
    network.heal();
    assert!(network.is_joined(SegmentId(1), pair[0], pair[1]));
    network.hosts[1].nics[2].carrier = false;
    assert!(!network.is_joined(SegmentId(1), pair[0], pair[1]), "no carrier");
}

#[test]
fn groups_that_a_switch_drops_leave_broadcast_and_unicast() {
    let mut network = network(2);
    let quality = Quality { multicast4: false, multicast6: false, ..Quality::clean() };
    network.set_quality(SegmentId(0), quality);
    assert_eq!(heard(&mut network, 0, GROUP, 1), counts([(0, 1)]));
    assert_eq!(heard(&mut network, 0, Target::Segment(ETH0, Cast::Multicast6), 1), counts([(0, 1)]));
    assert_eq!(heard(&mut network, 0, Target::Segment(ETH0, Cast::Broadcast), 1), counts([(0, 1), (1, 1)]));
    assert_eq!(heard(&mut network, 0, to(1), 1), counts([(1, 1)]));
}

#[test]
fn a_new_lease_moves_the_address_and_the_old_one_leads_nowhere() {
    let mut network = network(2);
    network.renumber(HostId(1), ETH0, 3);
    assert_eq!(heard(&mut network, 0, to(1), 1), counts([]));
    let renewed = SocketAddr::new(address_v4(SegmentId(0), HostId(1), 3).into(), 10_000);
    assert_eq!(heard(&mut network, 0, Target::Address(renewed, None), 1), counts([(1, 1)]));
}

#[test]
fn what_is_too_large_or_too_much_stays_behind() {
    let mut network = network(2);
    let mut out = Vec::new();
    network.send(Moment::START, letter(0, 1_473), to(1), &mut out);
    assert_eq!((out.len(), network.counts.too_large), (0, 1), "1,472 B fit");
    network.set_quality(SegmentId(0), Quality { rate: Some(10_000), ..Quality::clean() });
    for _ in 0..100 {
        network.send(Moment::START, letter(0, 200), to(1), &mut out);
    }
    // 242 B on the wire take 24 ms; the queue holds 200 ms.
    assert_eq!(out.len(), 9, "and the rest overflows");
    assert!(out.windows(2).all(|pair| pair[0].0 < pair[1].0), "a queue keeps order");
}

#[test]
fn a_kernel_answers_for_closed_ports_six_times_and_then_once_a_second() {
    let mut network = network(2);
    let mut answers = |ms: u64| network.answers_closed_port(Moment(ms * 1_000_000), HostId(1), HostId(0));
    assert_eq!((0..10).filter(|_| answers(0)).count(), 6);
    assert_eq!((1..=10).filter(|n| answers(n * 100)).count(), 1);
    network.hosts[1].drops_icmp = true;
    assert!(!network.answers_closed_port(Moment(9_000_000_000), HostId(1), HostId(0)));
}

#[test]
fn bytes_are_counted_as_a_switch_counts_them() {
    let mut network = network(2);
    let mut wire = |ms: u64, target, len| network.send(Moment(ms * 1_000_000), letter(0, len), target, &mut Vec::new());
    assert_eq!(wire(0, GROUP, 50), 50 + 28 + 14);
    assert_eq!(wire(0, GROUP, 10), 60, "Ethernet carries nothing shorter");
    assert_eq!(wire(0, to(1), 50), 50 + 28 + 14 + 2 * ARP, "the neighbour must be found");
    assert_eq!(wire(34_000, to(1), 50), 50 + 28 + 14);
    assert_eq!(wire(36_000, to(1), 50), 50 + 28 + 14 + 2 * ARP, "and found again");
}

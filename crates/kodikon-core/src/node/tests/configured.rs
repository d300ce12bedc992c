//! When a node says HELLO to a peer that its configuration names.

use super::super::bench::{Bench, address, ip};
use super::super::*;
use super::beat;
use crate::effect::{Arrival, Cast, Interface, InterfaceAddress, Medium, Target};
use crate::ground::id::InterfaceIndex;
use crate::wire::message::Message;
use std::net::{IpAddr, SocketAddr};

const PEER: u8 = 1;

fn interface(index: u32, address: IpAddr) -> Interface {
    Interface {
        index: InterfaceIndex(index),
        name: format!("eth{index}"),
        mtu: 1_500,
        carrier: true,
        medium: Medium::Wired,
        addresses: vec![InterfaceAddress { address, prefix: 24, broadcast: None }],
    }
}

/// How many HELLOs the last input sent to the configured address.
fn hellos(bench: &Bench) -> usize {
    let to_it = |target: &Target| *target == Target::Address(address(PEER), None);
    bench.said().iter().filter(|(target, message)| to_it(target) && matches!(message, Message::Hello(_))).count()
}

/// How many go there in so many seconds, in each of which the peer is heard from an address by an interface.
fn hellos_while_heard(bench: &mut Bench, seconds: u32, from: SocketAddr, index: u32) -> usize {
    let arrival = Arrival { from, interface: InterfaceIndex(index), cast: Cast::Unicast };
    let mut sent = 0;
    for _ in 0..seconds {
        bench.hear_by(PEER, arrival, &beat());
        sent += hellos(bench);
        bench.pass(Duration::from_secs(1));
        sent += hellos(bench);
    }
    sent
}

/// A peer behind a router heard nothing of the new address for as long as it was still taken for reached by the old one.
#[test]
fn a_configured_peer_is_called_at_once_when_the_interfaces_change_and_until_it_is_heard() {
    // (the interfaces then, the one by which it is heard)
    let table = [
        ("another address", vec![interface(2, ip(101))], 2),
        ("one more", vec![interface(2, ip(100)), interface(3, IpAddr::from([10, 0, 1, 1]))], 2),
        ("another one", vec![interface(3, IpAddr::from([10, 0, 1, 1]))], 3),
    ];
    for (case, interfaces, index) in table {
        let mut bench = Bench::with(1, |config| config.peers = vec![address(PEER)]);
        hellos_while_heard(&mut bench, 1, address(PEER), 2);
        assert_eq!(hellos_while_heard(&mut bench, 60, address(PEER), 2), 0, "{case}: it is reached");
        bench.hand(Input::Interfaces(&interfaces));
        assert_eq!(hellos(&bench), 1, "{case}: at once");
        bench.pass(Duration::from_secs(3));
        assert_eq!(hellos(&bench), 1, "{case}: again after 2 s");
        assert_eq!(hellos_while_heard(&mut bench, 60, address(PEER), index), 0, "{case}: it is reached again");
    }
}

#[test]
fn a_configured_peer_is_called_as_long_as_its_way_is_cut_though_it_is_heard_by_another() {
    let mut bench = Bench::with(1, |config| config.peers = vec![address(PEER)]);
    hellos_while_heard(&mut bench, 10, address(PEER), 2);
    bench.hand(Input::Interfaces(&[interface(3, IpAddr::from([10, 0, 1, 1]))]));
    let sent = hellos_while_heard(&mut bench, 59, address(9), 3);
    assert_eq!(sent, 4, "after 2, 6, 14 and 30 s");
}

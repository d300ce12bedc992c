//! The node's own sockets on real ones: this host's loopback, and namespaces where something must be missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use kodikon_core::effect::{Arrival, Cast};
use kodikon_core::ground::id::InterfaceIndex;

use super::super::Ports;
use super::*;
use crate::interfaces::InterfaceWatch;
use crate::testing::{in_namespace, ip, shell};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_nodes_of_one_host_talk_over_both_kinds_of_ip() {
    let (mut one, mut two) = (open(), open());
    assert_ne!(one.port, two.port);
    for (family, host) in families(&two) {
        let to = SocketAddr::new(host, two.port);
        one.udp.send(Target::Address(to, None), b"hello");
        one.udp.flush();
        let heard = receive(&mut two.udp, family, 1).await;
        assert_eq!(heard[0].1, b"hello");
        assert_eq!(heard[0].0.from, SocketAddr::new(host, one.port), "answers go where this came from");
        assert_eq!(heard[0].0.cast, Cast::Unicast);
        assert_ne!(heard[0].0.interface, InterfaceIndex(0));
    }
}

#[tokio::test]
async fn datagrams_sent_together_arrive_one_by_one_and_in_order() {
    let (mut one, mut two, mut three) = (open(), open(), open());
    let to_two = Target::Address((Ipv4Addr::LOCALHOST, two.port).into(), None);
    let to_three = Target::Address((Ipv4Addr::LOCALHOST, three.port).into(), None);
    // Runs of equal length, a shorter last one, a longer one after it, an empty one, more than one call can carry.
    let mut lens = vec![100; 10];
    lens.extend([40, 40, 41, 0, 7, 1_400, 1_400, 3]);
    lens.extend([1_400; 70]);
    for (number, &len) in lens.iter().enumerate() {
        one.udp.send(to_two, &vec![u8::try_from(number).unwrap(); len]);
    }
    one.udp.send(to_three, b"aside");
    one.udp.send(to_two, b"last");
    one.udp.flush();

    let heard = receive(&mut two.udp, Family::V4, lens.len() + 1).await;
    let expected: Vec<Vec<u8>> = lens
        .iter()
        .enumerate()
        .map(|(number, &len)| vec![u8::try_from(number).unwrap(); len])
        .chain([b"last".to_vec()])
        .collect();
    let heard: Vec<Vec<u8>> = heard.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(heard, expected);
    assert_eq!(receive(&mut three.udp, Family::V4, 1).await[0].1, b"aside");
    let stats = one.udp.stats();
    assert_eq!(stats.sent, lens.len() as u64 + 2);
    assert_eq!(stats.bytes, lens.iter().sum::<usize>() as u64 + 9);
    assert_eq!(SendStats { sent: 0, bytes: 0, ..stats }, SendStats::default());
}

#[test]
fn a_run_takes_what_the_kernel_can_cut_and_nothing_else() {
    let way = |port| Way { to: (Ipv4Addr::LOCALHOST, port).into(), from: None };
    let run = |lens: &[usize]| {
        let mut run = Run { way: None, bytes: Vec::new(), segment: 0, count: 0, closed: false };
        for &len in lens {
            assert!(run.takes(way(1), len), "{lens:?}");
            run.push(way(1), &vec![0; len]);
        }
        run
    };
    let full = [1_000; RUN_SEGMENTS];
    let table: &[(&[usize], u16, usize, bool)] = &[
        (&[], 1, 60_000, true),
        (&[100], 1, 100, true),
        (&[100], 1, 99, true),
        (&[100], 1, 101, false),
        (&[100], 2, 100, false),
        (&[100, 99], 1, 99, false),
        (&[0], 1, 0, false),
        (&[100], 1, 0, false),
        (&[], 1, 0, true),
        (&full[1..], 1, 1_000, true),
        (&full, 1, 1_000, false),
        (&[13_000; 4], 1, 13_000, true),
        (&[13_000; 5], 1, 13_000, false),
    ];
    for &(lens, port, len, expected) in table {
        assert_eq!(run(lens).takes(way(port), len), expected, "{lens:?} then {len} to {port}");
    }
}

#[tokio::test]
async fn a_closed_port_is_told_and_costs_no_other_peer_a_datagram() {
    let (mut one, mut two) = (open(), open());
    for (family, host) in families(&two) {
        let closed = UdpSocket::bind((host, 0)).unwrap().local_addr().unwrap();
        for round in 0..20 {
            one.udp.send(Target::Address(closed, None), b"probe");
            one.udp.send(Target::Address((host, two.port).into(), None), b"alive");
            one.udp.flush();
            assert_eq!(receive(&mut two.udp, family, 1).await[0].1, b"alive", "round {round}");
        }
        assert_eq!(one.udp.take_unreachable(), Some(closed), "told while sending");
        assert_eq!(one.udp.take_unreachable(), None, "and once only");

        // The last probe has nothing sent after it: the socket itself must say that there is something.
        one.udp.send(Target::Address(closed, None), b"probe");
        one.udp.flush();
        let told = async {
            loop {
                one.udp.ready(family).await.unwrap();
                one.udp.receive(family, &mut Inbox::new()).unwrap();
                if let Some(address) = one.udp.take_unreachable() {
                    return address;
                }
            }
        };
        assert_eq!(tokio::time::timeout(SOON, told).await.unwrap(), closed);
    }
    assert_eq!(one.udp.stats().refused, 0);
}

#[tokio::test]
async fn datagrams_behind_a_pending_error_are_received() {
    let (mut one, mut two) = (open(), open());
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for _ in 0..20 {
        one.udp.send(Target::Address(closed, None), b"probe");
        one.udp.flush();
        two.udp.send(Target::Address((Ipv4Addr::LOCALHOST, one.port).into(), None), b"answer");
        two.udp.flush();
        assert_eq!(receive(&mut one.udp, Family::V4, 1).await[0].1, b"answer");
    }
}

#[tokio::test]
async fn a_socket_that_has_been_emptied_waits() {
    let mut one = open();
    one.udp.receive(Family::V4, &mut Inbox::new()).unwrap();
    tokio::time::timeout(Duration::from_millis(30), one.udp.ready(Family::V4)).await.unwrap_err();
}

#[tokio::test]
async fn what_cannot_be_sent_is_counted_by_reason() {
    let mut one = open();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let far: SocketAddr = (Ipv4Addr::LOCALHOST, one.port).into();
    one.udp.send(Target::Address(far, None), &vec![0; 65_508]);
    one.udp.send(Target::Address(nobody, None), b"x");
    one.udp.send(Target::Address((Ipv4Addr::UNSPECIFIED, 9).into(), None), b"x");
    one.udp.send(Target::Segment(InterfaceIndex(u32::MAX), Cast::Multicast4), b"x");
    one.udp.flush();
    let stats = one.udp.stats();
    assert_eq!((stats.sent, stats.too_long, stats.no_way), (0, 1, 3), "{stats:?}");
}

#[test]
fn without_a_route_a_datagram_is_counted_and_the_next_one_goes() {
    in_namespace(async || {
        let mut one = open();
        one.udp.send(Target::Address(([192, 0, 2, 9], 9_999).into(), None), b"x");
        one.udp.flush();
        assert_eq!(one.udp.stats().no_way, 1, "even lo is down");

        ip("link set lo up");
        one.udp.send(Target::Address((Ipv4Addr::LOCALHOST, one.port).into(), None), b"x");
        one.udp.flush();
        assert_eq!(receive(&mut one.udp, Family::V4, 1).await[0].1, b"x");
    });
}

#[test]
fn an_address_that_has_just_vanished_does_not_end_the_sending_of_runs() {
    in_namespace(async || {
        ip("link set lo up");
        ip("addr add 127.0.0.7/32 dev lo");
        let mut one = open();
        let interfaces = InterfaceWatch::open().unwrap().changed().await.unwrap();
        let mut gone = interfaces.clone();
        gone[0].addresses.retain(|address| address.address == IpAddr::from([127, 0, 0, 1]));
        gone[0].addresses[0].address = [10, 9, 8, 7].into();
        one.udp.follow(&gone);
        let capable = one.udp.v4.state.max_gso_segments();
        one.udp.send(Target::Segment(interfaces[0].index, Cast::Multicast4), b"x");
        one.udp.flush();
        assert_eq!(one.udp.stats().no_way, 1, "{:?}", one.udp.stats());
        assert_eq!(one.udp.v4.state.max_gso_segments(), capable);
    });
}

#[test]
fn a_host_without_ipv6_has_a_port_all_the_same() {
    in_namespace(async || {
        ip("link set lo up");
        shell("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
        let mut one = open();
        one.udp.send(Target::Address((Ipv6Addr::LOCALHOST, one.port).into(), None), b"x");
        one.udp.send(Target::Address((Ipv4Addr::LOCALHOST, one.port).into(), None), b"x");
        one.udp.flush();
        assert_eq!(receive(&mut one.udp, Family::V4, 1).await[0].1, b"x");
        assert_eq!((one.udp.stats().sent, one.udp.stats().no_way), (1, 1), "{:?}", one.udp.stats());
    });
}

#[tokio::test]
async fn a_report_tells_what_the_kernel_gave() {
    let one = open();
    let report = one.udp.socket(Family::V4).unwrap().report().unwrap();
    assert_eq!(report.local.port(), one.port);
    assert!(report.receive_buffer >= 2_048 && report.send_buffer >= 2_048, "{report:?}");
    assert_eq!(report.dropped, Some(0));
}

fn open() -> Ports {
    Ports::open(29_300).unwrap()
}

fn families(ports: &Ports) -> Vec<(Family, IpAddr)> {
    let mut families = vec![(Family::V4, IpAddr::V4(Ipv4Addr::LOCALHOST))];
    // A host may have the sockets and not the address.
    if ports.udp.socket(Family::V6).is_some() && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        families.push((Family::V6, Ipv6Addr::LOCALHOST.into()));
    }
    families
}

async fn receive(sockets: &mut UnicastSockets, family: Family, count: usize) -> Vec<(Arrival, Vec<u8>)> {
    let mut inbox = Inbox::new();
    let mut heard = Vec::new();
    while heard.len() < count {
        tokio::time::timeout(SOON, sockets.ready(family)).await.unwrap_or_else(|_| panic!("{heard:?}")).unwrap();
        sockets.receive(family, &mut inbox).unwrap();
        heard.extend(inbox.datagrams().map(|(arrival, bytes)| (arrival, bytes.to_vec())));
    }
    heard
}

//! The shared port against real kernels: several nodes of a host, two hosts on a cable, a foreign program, interfaces
//! that come and go.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket as StdSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kodikon_core::effect::{Arrival, Cast, Interface, Target};

use super::super::Ports;
use super::*;
use crate::interfaces::{InterfaceWatch, choose};
use crate::testing::{FAR, in_namespace, in_two_namespaces, interfaces_with_cable, ip};

const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 9_999;

#[test]
fn on_the_loopback_alone_every_node_hears_every_other_by_multicast_and_broadcast() {
    in_namespace(async || {
        ip("link set lo up");
        let interfaces = InterfaceWatch::open().unwrap().changed().await.unwrap();
        let nodes = [(); 3].map(|()| joined(&interfaces));
        let mut ports = Ports::open(PORT).unwrap();
        ports.udp.follow(&interfaces);
        for cast in [Cast::Multicast4, Cast::Broadcast] {
            ports.udp.send(Target::Segment(interfaces[0].index, cast), b"hello");
            ports.udp.flush();
            for (number, node) in nodes.iter().enumerate() {
                let (arrival, bytes) = receive(node, Family::V4).await;
                assert_eq!((bytes.as_slice(), arrival.cast), (&b"hello"[..], cast), "node {number}");
                assert_eq!(arrival.from, (Ipv4Addr::LOCALHOST, ports.port).into());
                assert_eq!(arrival.interface, interfaces[0].index);
            }
        }
    });
}

#[test]
fn over_a_cable_without_any_route_all_three_ways_arrive_and_so_does_the_answer() {
    let near = async |line: crate::testing::Line| {
        let interfaces = interfaces_with_cable().await;
        let eth = interfaces.iter().find(|interface| interface.name == "eth").unwrap();
        let mut ports = Ports::open(PORT).unwrap();
        ports.udp.follow(&interfaces);
        line.hear("listening");
        for cast in [Cast::Multicast4, Cast::Multicast6, Cast::Broadcast] {
            ports.udp.send(Target::Segment(eth.index, cast), b"hello");
        }
        ports.udp.flush();
        assert_eq!(ports.udp.stats().sent, 3, "{:?}", ports.udp.stats());
        let mut inbox = Inbox::new();
        for family in [Family::V4, Family::V6] {
            tokio::time::timeout(SOON, ports.udp.ready(family)).await.unwrap().unwrap();
            ports.udp.receive(family, &mut inbox).unwrap();
            let (arrival, bytes) = inbox.datagrams().next().unwrap();
            assert_eq!((&*bytes, arrival.interface), (&b"answer"[..], eth.index));
        }
        line.say("done");
    };
    let far = async |line: crate::testing::Line| {
        let interfaces = interfaces_with_cable().await;
        let eth = interfaces.iter().find(|interface| interface.name == "eth").unwrap();
        let discovery = joined(&interfaces);
        let mut ports = Ports::open(PORT).unwrap();
        line.say("listening");
        let mut heard = Vec::new();
        for family in [Family::V4, Family::V4, Family::V6] {
            let (arrival, bytes) = receive(&discovery, family).await;
            assert_eq!((bytes.as_slice(), arrival.interface), (&b"hello"[..], eth.index));
            heard.push(arrival.cast);
            if arrival.cast != Cast::Broadcast {
                ports.udp.send(Target::Address(arrival.from, Some(arrival.interface)), b"answer");
            }
        }
        ports.udp.flush();
        heard.sort();
        assert_eq!(heard, [Cast::Multicast4, Cast::Multicast6, Cast::Broadcast]);
        line.hear("done");
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_datagram_to_our_own_address_on_the_discovery_port_is_unicast() {
    in_namespace(async || {
        ip("link set lo up");
        let interfaces = InterfaceWatch::open().unwrap().changed().await.unwrap();
        let node = joined(&interfaces);
        let sender = StdSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hello", (Ipv4Addr::LOCALHOST, PORT)).unwrap();
        assert_eq!(receive(&node, Family::V4).await.0.cast, Cast::Unicast);
    });
}

#[test]
fn a_group_joined_by_others_is_not_heard() {
    in_namespace(async || {
        ip("link set lo up");
        let stranger = StdSocket::bind("0.0.0.0:0").unwrap();
        stranger.join_multicast_v4(&GROUP_V4, &Ipv4Addr::LOCALHOST).unwrap();
        let node = Discovery::open(PORT);
        let sender = SockRef::from(&stranger);
        sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        stranger.send_to(b"not for us", (GROUP_V4, PORT)).unwrap();
        stranger.send_to(b"for us", (Ipv4Addr::LOCALHOST, PORT)).unwrap();
        assert_eq!(receive(&node, Family::V4).await.1, b"for us");
    });
}

#[test]
fn a_foreign_program_on_the_port_is_named_and_the_node_goes_on() {
    in_namespace(async || {
        ip("link set lo up");
        let mut program = foreign_program();
        let mut node = Discovery::open(PORT);
        let problems: Vec<&OpenError> = node.problems().collect();
        let [OpenError::PortTaken { port: PORT, holder: Some(holder) }] = problems[..] else { panic!("{problems:?}") };
        assert_eq!(holder.pid, program.id());
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", holder.pid)).unwrap();
        assert_eq!(holder.name, comm.trim_end());
        let text = problems[0].to_string();
        assert!(text.contains(&format!("pid {}", program.id())) && text.contains("--udp-port"), "{text}");

        assert!(node.socket(Family::V6).is_some(), "the other version of IP is not concerned");
        tokio::time::timeout(Duration::from_millis(20), node.ready(Family::V4)).await.unwrap_err();
        assert!(!node.retry(), "still held");
        drop(program.stdin.take());
        program.wait().unwrap();
        assert!(node.retry(), "free again");
        assert_eq!(node.problems().count(), 0);
    });
}

#[test]
fn more_interfaces_than_may_be_joined_make_room_for_those_in_use() {
    in_namespace(async || {
        for number in 0..15 {
            ip(&format!("link add d{number} type veth peer name p{number}"));
        }
        let present: Vec<InterfaceIndex> =
            InterfaceWatch::open().unwrap().changed().await.unwrap().iter().map(|interface| interface.index).collect();
        let mut node = Discovery::open(PORT);
        let joined = |node: &Discovery| node.socket(Family::V4).unwrap().joined.clone();
        node.follow(&present, &present);
        let limit = joined(&node).len();
        assert!((1..present.len()).contains(&limit), "the kernel has a limit: {limit}");
        assert!(joined(&node).iter().eq(&present[..limit]), "the best come first");

        let others = &present[present.len() - 5..];
        node.follow(others, &present);
        assert!(others.iter().all(|index| joined(&node).contains(index)), "{:?}", joined(&node));
    });
}

#[test]
fn a_link_made_anew_is_joined_anew() {
    in_namespace(async || {
        let mut watch = InterfaceWatch::open().unwrap();
        let mut node = Discovery::open(PORT);
        let mut last = BTreeSet::new();
        for round in 0..3 {
            ip("link add eth7 type veth peer name far");
            let list = loop {
                let list = watch.changed().await.unwrap();
                if list.iter().any(|interface| interface.name == "eth7") {
                    break list;
                }
            };
            let index = list.iter().find(|interface| interface.name == "eth7").unwrap().index;
            let present: Vec<InterfaceIndex> = list.iter().map(|interface| interface.index).collect();
            node.follow(&[index], &present);
            for family in [Family::V4, Family::V6] {
                assert!(node.socket(family).unwrap().joined.iter().eq([&index]), "round {round} {family:?}");
            }
            assert!(last.insert(index), "a new number each time");
            ip("link del eth7");
        }
    });
}

#[test]
fn the_far_host_is_reached_by_name_of_its_address_too() {
    let near = async |line: crate::testing::Line| {
        interfaces_with_cable().await;
        let mut ports = Ports::open(PORT).unwrap();
        let to = line.hear_port();
        ports.udp.send(Target::Address((FAR, to).into(), None), b"hello");
        ports.udp.flush();
        line.hear("heard");
    };
    let far = async |line: crate::testing::Line| {
        interfaces_with_cable().await;
        let mut ports = Ports::open(PORT).unwrap();
        line.say(&ports.port.to_string());
        let mut inbox = Inbox::new();
        tokio::time::timeout(SOON, ports.udp.ready(Family::V4)).await.unwrap().unwrap();
        ports.udp.receive(Family::V4, &mut inbox).unwrap();
        assert_eq!(inbox.datagrams().count(), 1);
        line.say("heard");
    };
    in_two_namespaces(near, far);
}

/// Does nothing, unless it runs as the child of a test above: then it holds the port until it is told to end.
#[test]
fn a_program_that_does_not_share_can_be_played() {
    if std::env::var_os("KODIKON_TEST_HOLD_PORT").is_none() {
        return;
    }
    let _socket = StdSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    io::stderr().write_all(b"held\n").unwrap();
    let _ = io::stdin().read(&mut [0; 1]);
}

fn foreign_program() -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "socket::discovery::tests::a_program_that_does_not_share_can_be_played", "--nocapture"])
        .env("KODIKON_TEST_HOLD_PORT", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stderr.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    child
}

fn joined(interfaces: &[Interface]) -> Discovery {
    let present: Vec<InterfaceIndex> = interfaces.iter().map(|interface| interface.index).collect();
    let mut node = Discovery::open(PORT);
    node.follow(&choose(interfaces, &[]).usable, &present);
    node
}

async fn receive(node: &Discovery, family: Family) -> (Arrival, Vec<u8>) {
    let mut inbox = Inbox::new();
    let socket = &node.socket(family).unwrap().socket;
    loop {
        tokio::time::timeout(SOON, node.ready(family)).await.expect("something arrives").unwrap();
        // One at a time, so that a test can take the second with its next call; that one then finds the socket still ready,
        // perhaps with nothing in it.
        let take = || inbox.push(|buffer| sys::receive(socket.as_fd(), buffer));
        match socket.try_io(Interest::READABLE, take) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    let (arrival, bytes) = inbox.datagrams().next().unwrap();
    (arrival, bytes.to_vec())
}

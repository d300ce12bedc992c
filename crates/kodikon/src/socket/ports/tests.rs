//! Which port a node gets, in a namespace where all are free to begin with.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use super::*;
use crate::testing::{in_namespace, ip};

#[test]
fn the_first_port_free_for_everything_is_taken() {
    in_namespace(async || {
        ip("link set lo up");
        let _udp4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 10_000)).unwrap();
        let _udp4_of_one_address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 10_001)).unwrap();
        let _udp6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 10_002)).unwrap();
        let _tcp4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 10_003)).unwrap();
        let _tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 10_004)).unwrap();
        let first = Ports::open(9_999).unwrap();
        let second = Ports::open(9_999).unwrap();
        assert_eq!((first.port, second.port), (10_005, 10_006));
        drop(first);
        assert_eq!(Ports::open(9_999).unwrap().port, 10_005, "free again at once");
    });
}

#[test]
fn when_none_is_free_the_range_is_named() {
    in_namespace(async || {
        let all: Vec<Ports> = (0..64).map(|_| Ports::open(9_999).unwrap()).collect();
        assert_eq!((all[0].port, all[63].port), (10_000, 10_063));
        let error = Ports::open(9_999).unwrap_err();
        assert!(matches!(error, OpenError::NoFreePort { first: 10_000, last: 10_063, .. }), "{error}");
        assert!(error.to_string().contains("10000-10063"), "{error}");
    });
}

#[test]
fn ports_at_the_ends_of_their_range_are_no_trouble() {
    in_namespace(async || {
        assert!(matches!(Ports::open(u16::MAX), Err(OpenError::NoPortAbove { port: u16::MAX })));
        let last = Ports::open(u16::MAX - 1).unwrap();
        assert_eq!(last.port, u16::MAX);
        assert!(matches!(
            Ports::open(u16::MAX - 1),
            Err(OpenError::NoFreePort { first: u16::MAX, last: u16::MAX, .. })
        ));
        assert_eq!(Ports::open(0).unwrap().port, 1);
    });
}

//! The watch against a real kernel: this host's list, and changes in an empty network namespace.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kodikon_core::effect::Medium;

use super::*;
use crate::testing::{in_namespace, ip};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn this_hosts_loopback_is_in_the_first_list() {
    let mut watch = InterfaceWatch::open().unwrap();
    let interfaces = next(&mut watch).await;
    let lo = interfaces.iter().find(|interface| interface.medium == Medium::Loopback).expect("a loopback");
    assert!(lo.mtu >= 1_280, "{lo:?}");
    let indices: BTreeSet<_> = interfaces.iter().map(|interface| interface.index).collect();
    assert_eq!(indices.len(), interfaces.len());
}

#[tokio::test]
async fn nothing_is_told_twice() {
    let mut watch = InterfaceWatch::open().unwrap();
    let first = next(&mut watch).await;
    if let Ok(second) = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await {
        assert_ne!(first, second.unwrap(), "told again, it must have changed");
    }
}

#[test]
fn a_link_is_followed_from_its_making_to_its_end() {
    in_namespace(async || {
        let mut watch = InterfaceWatch::open().unwrap();
        let empty = next(&mut watch).await;
        assert_eq!(choose(&empty, &[]).usable, [], "even lo is down: {empty:?}");

        ip("link set lo up");
        let lo = until(&mut watch, |list| list.iter().any(|i| i.medium == Medium::Loopback && !i.addresses.is_empty()))
            .await;
        assert!(choose(&lo, &[]).alone);

        ip("link add eth7 type veth peer name far");
        ip("addr add 192.0.2.7/24 brd + dev eth7");
        ip("link set far up");
        ip("link set eth7 up");
        let up =
            until(&mut watch, |list| find(list, "eth7").is_some_and(|i| i.carrier && !i.addresses.is_empty())).await;
        let eth = find(&up, "eth7").unwrap().clone();
        assert_eq!((eth.medium, eth.mtu), (Medium::Wired, 1_500));
        assert_eq!(eth.addresses[0].address, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(eth.addresses[0].broadcast.unwrap().octets(), [192, 0, 2, 255]);
        assert!(choose(&up, &[]).announced.contains(&IpAddr::from([192, 0, 2, 7])));

        ip("link set far down");
        until(&mut watch, |list| find(list, "eth7").is_some_and(|i| !i.carrier)).await;
        ip("addr del 192.0.2.7/24 dev eth7");
        ip("addr add 192.0.2.9/24 dev eth7");
        until(&mut watch, |list| {
            find(list, "eth7").is_some_and(|i| {
                let v4: Vec<_> = i.addresses.iter().map(|a| a.address).filter(IpAddr::is_ipv4).collect();
                v4 == [IpAddr::from([192, 0, 2, 9])]
            })
        })
        .await;

        ip("link del eth7");
        until(&mut watch, |list| find(list, "eth7").is_none()).await;
        ip("link add eth7 type veth peer name far");
        let again = until(&mut watch, |list| find(list, "eth7").is_some()).await;
        assert_ne!(find(&again, "eth7").unwrap().index, eth.index, "a new link has a new number");
    });
}

#[test]
fn one_command_is_told_as_one_change() {
    in_namespace(async || {
        ip("link set lo up");
        ip("link add eth7 type veth peer name far");
        let mut watch = InterfaceWatch::open().unwrap();
        next(&mut watch).await;
        // The process runs while nobody reads, so its events wait together in the socket.
        ip("-batch /dev/stdin <<< $'link set far mtu 1400\nlink set eth7 mtu 1400\naddr add 192.0.2.7/24 dev eth7'");
        let list = next(&mut watch).await;
        let eth = find(&list, "eth7").unwrap();
        assert_eq!((eth.mtu, eth.addresses.len()), (1_400, 1), "{list:?}");
    });
}

#[test]
fn events_lost_to_a_full_socket_are_made_good_by_a_new_dump() {
    in_namespace(async || {
        let mut watch = InterfaceWatch::open().unwrap();
        next(&mut watch).await;
        socket2::SockRef::from(&watch.socket).set_recv_buffer_size(2_048).unwrap();
        ip("link add eth7 type veth peer name far");
        for mtu in 1_300..1_330 {
            ip(&format!("link set eth7 mtu {mtu}"));
        }
        ip("link del eth7");
        ip("link add eth8 type veth peer name far");
        let list = until(&mut watch, |list| find(list, "eth8").is_some()).await;
        assert!(find(&list, "eth7").is_none(), "{list:?}");
    });
}

async fn next(watch: &mut InterfaceWatch) -> Vec<Interface> {
    tokio::time::timeout(SOON, watch.changed()).await.expect("a list in time").unwrap()
}

async fn until(watch: &mut InterfaceWatch, condition: impl Fn(&[Interface]) -> bool) -> Vec<Interface> {
    loop {
        let list = next(watch).await;
        if condition(&list) {
            return list;
        }
    }
}

fn find<'a>(list: &'a [Interface], name: &str) -> Option<&'a Interface> {
    list.iter().find(|interface| interface.name == name)
}

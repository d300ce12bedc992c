//! All rooms in one loop, as the driver has them.

use std::time::Duration;

use kodikon_core::effect::{Cast, StreamUse, StreamWish, Target};
use kodikon_core::ground::id::{InterfaceIndex, NodeId};

use super::*;
use crate::clock::{Clock, Deadline, SystemClock};
use crate::interfaces::{InterfaceWatch, choose};
use crate::testing::{in_namespace, ip};

#[test]
fn one_loop_drives_every_room_and_stands_still_when_nothing_happens() {
    in_namespace(async || {
        ip("link set lo up");
        let clock = SystemClock::new();
        let mut deadline = Deadline::new(clock).unwrap();
        let mut watch = InterfaceWatch::open().unwrap();
        let Ports { port, mut udp, tcp } = Ports::open(9_999).unwrap();
        let mut discovery = Discovery::open(9_999);
        let mut streams = Streams::new(tcp);
        let mut inbox = Inbox::new();
        let (mut turns, mut heard, mut told, mut closed) = (0, 0, 0, 0);

        streams.wish(StreamWish::Connect {
            peer: NodeId([1; 16]),
            purpose: StreamUse::Canary,
            to: ([127, 0, 0, 1], port).into(),
            interface: None,
        });
        let end = clock.now() + Duration::from_millis(300);
        deadline.set(clock.now(), Some(end)).unwrap();
        let (mut lo, mut sent) = (InterfaceIndex(0), false);
        while clock.now() < end {
            turns += 1;
            let ready = tokio::select! {
                list = watch.changed() => {
                    let list = list.unwrap();
                    let present: Vec<InterfaceIndex> = list.iter().map(|interface| interface.index).collect();
                    lo = present[0];
                    discovery.follow(&choose(&list, &[]).usable, &present);
                    udp.follow(&list);
                    Ready::Nothing
                }
                _ = discovery.ready(Family::V4) => Ready::Discovery(Family::V4),
                _ = discovery.ready(Family::V6) => Ready::Discovery(Family::V6),
                _ = udp.ready(Family::V4) => Ready::Unicast(Family::V4),
                _ = udp.ready(Family::V6) => Ready::Unicast(Family::V6),
                event = streams.next() => {
                    told += 1;
                    assert!(!matches!(event, StreamEvent::Failed { .. }), "{event:?}");
                    Ready::Nothing
                }
                _ = deadline.reached() => Ready::Nothing,
            };
            match ready {
                Ready::Discovery(family) => discovery.receive(family, &mut inbox).unwrap(),
                Ready::Unicast(family) => udp.receive(family, &mut inbox).unwrap(),
                Ready::Nothing => inbox.clear(),
            }
            heard += inbox.datagrams().count();
            while udp.take_unreachable().is_some() {
                closed += 1;
            }
            if !sent && lo != InterfaceIndex(0) {
                sent = true;
                udp.send(Target::Segment(lo, Cast::Multicast4), b"hello");
                udp.send(Target::Address(([127, 0, 0, 1], port).into(), None), b"to myself");
                udp.send(Target::Address(([127, 0, 0, 1], 9).into(), None), b"to nobody");
                udp.flush();
            }
        }
        assert_eq!((heard, closed), (2, 1));
        assert_eq!(told, 2, "opened and offered; the second's silence is not over yet");
        assert!(turns < 20, "{turns} turns in 0.3 s");
    });
}

enum Ready {
    Discovery(Family),
    Unicast(Family),
    Nothing,
}

//! The promises of ways, between real nodes: what is lost on a link is told in few steps, and a clean longer way is taken then.

use std::cell::RefCell;
use std::rc::Rc;

use kodikon_core::effect::RouteSource;
use kodikon_core::ground::time::Duration;
use kodikon_core::model::letter::Outcome;
use kodikon_core::model::op::OpKind;
use kodikon_core::wire::message::Message;

use crate::segments::{Flight, Segments, id};

/// Nodes 1 and 2 have a segment of their own, and each has one with node 3.
fn triangle() -> Segments {
    let mut mesh = Segments::new(&[(1, &[1, 2]), (2, &[1, 3]), (3, &[2, 3])]);
    mesh.settle();
    mesh
}

/// Loses so many of a hundred datagrams on a segment from now on, and counts links ops of all nodes by their first senders.
fn lose(mesh: &mut Segments, segment: u8, percent: u64) -> Rc<RefCell<usize>> {
    let told = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&told);
    let mut seen = std::collections::BTreeSet::new();
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    mesh.filter = Box::new(move |flight: &Flight, messages: &[Message]| {
        for message in messages {
            let Message::Ops(ops) = message else { continue };
            for op in ops.ops.iter().filter(|op| op.kind() == OpKind::Links) {
                *counted.borrow_mut() += usize::from(seen.insert((op.author(), op.epoch(), op.seq())));
            }
        }
        // Marsaglia's xorshift.
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        flight.segment != segment || bits % 100 >= percent
    });
    told
}

fn way(mesh: &mut Segments, from: u8, to: u8) -> (Vec<u8>, u32) {
    let routes = mesh.nodes.get_mut(&from).expect("it runs").routes();
    let route = routes.into_iter().find(|route| route.to == id(to)).expect("there is a way");
    let number = |node: &_| (1..=9).find(|n| id(*n) == *node).expect("it is one of ours");
    (route.path.iter().map(number).collect(), route.cost)
}

#[test]
fn a_lossy_short_way_loses_to_a_clean_longer_one_and_letters_go_that_way() {
    // (lost of a hundred each way, the way from 1 to 2)
    for (percent, expected) in [(0, &[2][..]), (20, &[2]), (45, &[3, 2])] {
        let mut mesh = triangle();
        lose(&mut mesh, 1, percent);
        mesh.run(Duration::from_secs(900));
        let (path, cost) = way(&mut mesh, 1, 2);
        assert_eq!(path, expected, "at {percent} % for {cost}");
        assert_eq!(way(&mut mesh, 2, 1).1, cost, "both ends agree at {percent} %");
        let ticket = mesh.say(1, 2, "1");
        mesh.run(Duration::from_secs(2));
        let Some((_, Outcome::Delivered { path, .. })) = mesh.outcome(ticket) else { panic!("{:?}", mesh.events) };
        assert_eq!(path, expected.iter().map(|n| id(*n)).collect::<Vec<_>>(), "at {percent} %");
    }
}

#[test]
fn where_the_clean_way_is_cut_the_lossy_one_is_used() {
    let mut mesh = triangle();
    lose(&mut mesh, 1, 45);
    mesh.run(Duration::from_secs(900));
    assert_eq!(way(&mut mesh, 1, 2).0, [3, 2]);
    mesh.filter = Box::new(|flight: &Flight, _: &[Message]| flight.segment == 1);
    let ticket = mesh.say(1, 2, "1");
    mesh.run(Duration::from_secs(2));
    let Some((_, Outcome::Delivered { path, .. })) = mesh.outcome(ticket) else { panic!("{:?}", mesh.events) };
    assert_eq!(path, [id(2)]);
}

#[test]
fn a_steady_loss_is_told_once_and_not_again_and_again() {
    for percent in [0, 20, 45] {
        let mut mesh = triangle();
        let told = lose(&mut mesh, 1, percent);
        mesh.run(Duration::from_secs(900));
        let first = *told.borrow();
        mesh.run(Duration::from_secs(3_600));
        let later = *told.borrow() - first;
        assert!(later <= 6, "{later} links ops of three nodes in an hour at {percent} % after {first}");
    }
}

#[test]
fn on_one_lan_no_beacon_is_longer_for_it_and_nobody_tells_of_links() {
    let mut mesh = Segments::lan(4);
    let told = lose(&mut mesh, 1, 20);
    let numbered = Rc::new(RefCell::new((0, 0)));
    let counted = Rc::clone(&numbered);
    let mut lossy = std::mem::replace(&mut mesh.filter, Box::new(|_, _| true));
    mesh.filter = Box::new(move |flight: &Flight, messages: &[Message]| {
        for message in messages {
            let Message::Beacon(beacon) = message else { continue };
            let mut counted = counted.borrow_mut();
            *counted = (counted.0 + 1, counted.1 + usize::from(beacon.number.is_some()));
        }
        lossy(flight, messages)
    });
    mesh.run(Duration::from_secs(600));
    let (beacons, numbered) = *numbered.borrow();
    assert!(beacons > 100, "{beacons}");
    assert_eq!((numbered, *told.borrow()), (0, 0));
}

/// Path, costs and losses of the links, source, and the next best way.
type Shown = (Vec<u8>, Vec<(u32, u32)>, RouteSource, Option<(Vec<u8>, u32)>);

/// What a node shows of its way to another.
fn shown(mesh: &mut Segments, from: u8, to: u8) -> Shown {
    let routes = mesh.nodes.get_mut(&from).expect("it runs").routes();
    let route = routes.into_iter().find(|route| route.to == id(to)).expect("there is a way");
    let number = |node: &_| (1..=9).find(|n| id(*n) == *node).expect("it is one of ours");
    let links: Vec<(u32, u32)> = route.links.iter().map(|link| (link.cost, link.loss)).collect();
    assert!(links.is_empty() || links.iter().map(|(cost, _)| cost).sum::<u32>() == route.cost, "{route:?}");
    let next = route.next_best.map(|way| (way.path.iter().map(number).collect(), way.cost));
    (route.path.iter().map(number).collect(), links, route.source, next)
}

#[test]
fn a_way_is_shown_with_what_its_links_cost_and_with_the_next_best_one() {
    let mut line = Segments::line(3);
    let clean = (10, 0);
    assert_eq!(shown(&mut line, 1, 3), (vec![2, 3], vec![clean; 2], RouteSource::Map, None), "the only way");
    let mut mesh = triangle();
    assert_eq!(shown(&mut mesh, 1, 2), (vec![2], vec![clean], RouteSource::Map, Some((vec![3, 2], 20))));
    lose(&mut mesh, 1, 45);
    mesh.run(Duration::from_secs(900));
    let (path, links, _, next) = shown(&mut mesh, 1, 2);
    assert_eq!((path, links), (vec![3, 2], vec![clean; 2]));
    let (other, cost) = next.expect("the lossy one");
    assert!(other == [2] && (23..=57).contains(&cost), "{other:?} for {cost}");
    // On one LAN nobody tells of links.
    assert_eq!(shown(&mut Segments::lan(3), 1, 2), (vec![2], vec![clean], RouteSource::Map, None));
}

#[test]
fn a_way_that_something_came_by_is_used_and_shown_while_the_map_knows_none() {
    let mut mesh = Segments::line(3);
    // Node 3 begins a new run, of whose links node 1 hears nothing.
    mesh.filter = Box::new(|flight: &Flight, messages: &[Message]| {
        let tells = |message: &Message| {
            let Message::Ops(ops) = message else { return false };
            ops.ops.iter().any(|op| op.kind() == OpKind::Links && op.author() == id(3))
        };
        flight.to != 1 || !messages.iter().any(tells)
    });
    mesh.start(3);
    mesh.run(Duration::from_secs(2));
    assert!(mesh.nodes.get_mut(&1).expect("it runs").routes().iter().all(|route| route.to != id(3)));
    mesh.say(3, 1, "1");
    mesh.run(Duration::from_secs(4));
    assert_eq!(mesh.heard(1), [(id(3), "1".to_owned())]);
    assert_eq!(shown(&mut mesh, 1, 3), (vec![2, 3], Vec::new(), RouteSource::Learned, None));
    let ticket = mesh.say(1, 3, "2");
    mesh.run(Duration::from_secs(1));
    assert!(matches!(mesh.outcome(ticket), Some((_, Outcome::Delivered { .. }))), "{:?}", mesh.outcome(ticket));
    mesh.filter = Box::new(|_, _| true);
    mesh.run(Duration::from_secs(30));
    assert_eq!(shown(&mut mesh, 1, 3).2, RouteSource::Map, "the map goes before it");
}

/// The map knew that the link was gone, `send` said so, and the way that something had come by was shown all the same.
#[test]
fn a_way_that_something_came_by_is_not_shown_over_a_link_that_the_map_has_lost() {
    let mut mesh = Segments::line(3);
    mesh.say(3, 1, "1");
    mesh.run(Duration::from_secs(1));
    assert_eq!(mesh.heard(1), [(id(3), "1".to_owned())]);
    // Node 2 tells that the cable to node 3 is out.
    mesh.filter = Box::new(|flight: &Flight, _: &[Message]| flight.from != 3 && flight.to != 3);
    let mut without = 0;
    for _ in 0..300 {
        mesh.run(Duration::from_millis(100));
        let node = mesh.nodes.get_mut(&1).expect("it runs");
        let has_way = node.peers().iter().any(|peer| peer.id == id(3) && peer.relays.is_some());
        let is_present = node.peers().iter().any(|peer| peer.id == id(3) && peer.liveness.is_present());
        let is_shown = node.routes().iter().any(|route| route.to == id(3));
        assert_eq!(is_shown, has_way && is_present, "after {:?}", mesh.now);
        without += usize::from(is_present && !has_way);
    }
    assert!(without > 0, "for a while it is present and has no way");
}

/// Found by random-30, seed 4: `peers` told how many relays the cheapest way has, which are more than a letter may pass.
#[test]
fn a_peer_is_shown_with_the_relays_that_a_letter_to_it_passes() {
    let homes: Vec<(u8, Vec<u8>)> = (1..=8)
        .map(|n| {
            let line = (n - 1..=n).filter(|s| (1..=7).contains(s));
            (n, line.chain([8].into_iter().filter(|_| n == 1 || n == 3)).collect())
        })
        .collect();
    let homes: Vec<(u8, &[u8])> = homes.iter().map(|(n, on)| (*n, &on[..])).collect();
    let mut mesh = Segments::new(&homes);
    mesh.settle();
    lose(&mut mesh, 8, 45);
    mesh.run(Duration::from_secs(900));
    assert_eq!(way(&mut mesh, 1, 7).0, [2, 3, 4, 5, 6, 7], "it is cheaper, and five relays are allowed");
    assert_eq!(way(&mut mesh, 1, 8).0, [3, 4, 5, 6, 7, 8], "the cheaper way has six");
    let relays =
        |to: u8| mesh.nodes[&1].peers().into_iter().find(|peer| peer.id == id(to)).and_then(|peer| peer.relays);
    assert_eq!([7, 8].map(relays), [Some(5), Some(5)]);
}

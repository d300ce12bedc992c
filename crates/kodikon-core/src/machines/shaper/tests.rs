//! Decides what is asked of the shaper: who leaves at once, who waits and in which order, and who makes room.

use super::*;
use std::net::SocketAddr;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(1_000 + ms)
}

fn to(n: u8) -> Target {
    Target::Address(SocketAddr::from(([10, 0, 0, n], 10_000)), None)
}

fn origin(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn of(class: Class, n: u8, number: u64) -> Label {
    Label { class, source: origin(n), carried: Some((origin(9), number)) }
}

/// A way that nothing may leave by until much later.
fn closed(shaper: &mut Shaper, target: Target) {
    assert!(shaper.admits(at(0), target, (&mine(Class::Low), 100), false));
    (0..2).for_each(|_| shaper.on_proof(at(0), target, 0, Duration::from_secs(1)));
    assert!(shaper.admits(at(0), target, (&mine(Class::Low), 1_000_000), false), "it was idle");
    assert!(!shaper.admits(at(0), target, (&mine(Class::High), 1), false));
}

fn numbers(waiting: &[(NodeId, u64)]) -> Vec<u64> {
    waiting.iter().map(|(_, number)| *number).collect()
}

#[test]
fn what_finds_nobody_before_it_leaves_at_once_and_asks_for_no_wake() {
    let mut shaper = Shaper::default();
    for n in 0..4_000u64 {
        assert!(shaper.admits(at(n), to(1), (&mine(Class::Low), 1_418), false), "datagram {n}");
    }
    assert_eq!(shaper.next_deadline(), None);
    assert_eq!(shaper.release(at(4_000), |_, _| true), None);
}

#[test]
fn what_waits_shares_datagrams_with_its_like_and_leaves_in_order_when_it_may() {
    let (mut shaper, mut stats) = (Shaper::default(), Stats::default());
    closed(&mut shaper, to(1));
    let rows = [
        (Class::Low, 1, 600, 1),
        (Class::Low, 1, 600, 2),
        (Class::Low, 2, 600, 3),
        (Class::Low, 1, 600, 4),
        (Class::Critical, 1, 600, 5),
        (Class::Control, 1, 600, 6),
    ];
    for (class, source, bytes, number) in rows {
        assert_eq!(shaper.wait(to(1), &of(class, source, number), &vec![7; bytes], &mut stats), []);
    }
    let mut order = Vec::new();
    while let Some(deadline) = shaper.next_deadline() {
        let (target, waiting) = shaper.release(deadline, |_, _| true).expect("the driver would spin");
        assert_eq!((target, waiting.text.len()), (to(1), 600 * waiting.carried.len()));
        order.push(numbers(&waiting.carried));
    }
    assert_eq!(order, [vec![6], vec![5], vec![1, 2], vec![3], vec![4]]);
    assert_eq!(
        shaper.table_sizes()[1..],
        [("datagrams_waiting", 0, 256), ("datagram_bytes_waiting", 0, 1 << 20), ("bytes_waiting", 0, 1 << 24)]
    );
}

#[test]
fn a_datagram_of_nothing_but_answered_carryings_does_not_leave() {
    let (mut shaper, mut stats) = (Shaper::default(), Stats::default());
    closed(&mut shaper, to(1));
    let plain = Label { carried: None, ..of(Class::High, 2, 0) };
    let labels = [of(Class::High, 1, 1), of(Class::High, 2, 1), plain, of(Class::Low, 1, 1), of(Class::Low, 1, 2)];
    for label in labels {
        assert_eq!(shaper.wait(to(1), &label, &[7; 600], &mut stats), []);
    }
    let mut order = Vec::new();
    while let Some(deadline) = shaper.next_deadline() {
        let Some((_, waiting)) = shaper.release(deadline, |_, number| number != 1) else { break };
        order.push((numbers(&waiting.carried), waiting.text.len()));
    }
    assert_eq!(order, [(vec![1], 1_200), (vec![1, 2], 1_200)], "of the first source nothing is wanted");
    assert_eq!(shaper.table_sizes()[1].1 + shaper.table_sizes()[3].1, 0, "and nothing of it is held");
}

#[test]
fn the_datagram_that_is_one_too_many_makes_the_oldest_of_the_largest_source_of_the_lowest_class_leave() {
    let (mut shaper, mut stats) = (Shaper::default(), Stats::default());
    closed(&mut shaper, to(1));
    let mut given_up = Vec::new();
    let mut wait = |class, source, number| {
        given_up.extend(shaper.wait(to(1), &of(class, source, number), &[7; 1_000], &mut stats));
    };
    wait(Class::Low, 1, 0);
    (1..=255).for_each(|n| wait(Class::Low, 2, n));
    wait(Class::Normal, 1, 300);
    wait(Class::Control, 1, 301);
    wait(Class::Low, 1, 302);
    assert_eq!(numbers(&given_up), [1, 2, 3], "the flood's own, the oldest first");
    assert_eq!(stats.crowded_out(Crowded::Neighbour, Class::Low), 3);
    assert_eq!(shaper.table_sizes()[1].1, 256);
}

#[test]
fn what_is_one_too_many_for_the_node_makes_room_where_most_waits() {
    let (mut shaper, mut stats) = (Shaper::default(), Stats::default());
    let mut given_up = 0;
    for n in 1..=50 {
        closed(&mut shaper, to(n));
        let datagrams = if n == 7 { 255 } else { 254 };
        for number in 0..datagrams {
            given_up += shaper.wait(to(n), &of(Class::High, n, number), &[7; 1_400], &mut stats).len();
        }
    }
    assert!(given_up > 0);
    assert_eq!(stats.crowded_out(Crowded::Node, Class::High), given_up as u64);
    for (table, held, limit) in shaper.table_sizes() {
        assert!(held <= limit, "{table}: {held} of {limit}");
    }
    assert!(shaper.queue_of(&to(7)).is_some_and(|queue| queue.len() < 254), "it gave up its surplus first");
}

#[test]
fn as_many_ways_are_remembered_as_there_is_room_for_and_those_in_use_stay() {
    let (mut shaper, mut stats) = (Shaper::default(), Stats::default());
    closed(&mut shaper, to(1));
    shaper.wait(to(1), &of(Class::Low, 1, 1), &[7; 10], &mut stats);
    for n in 0..20_000u32 {
        let target = Target::Address(SocketAddr::from((n.to_be_bytes(), 10_000)), None);
        assert!(shaper.admits(at(u64::from(n)), target, (&mine(Class::Low), 10), false));
    }
    let (_, lanes, limit) = shaper.table_sizes()[0];
    assert!(lanes <= limit && lanes > 8_000, "{lanes}");
    assert!(shaper.queue_of(&to(1)).is_some());
}

/// What this node itself says that nobody answers.
fn mine(class: Class) -> Label {
    Label { class, source: NodeId([100; 16]), carried: None }
}

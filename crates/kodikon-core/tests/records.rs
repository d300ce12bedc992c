//! The promises of the registry, between real nodes on one segment: what is added is everywhere, what is deleted nowhere, and an
//! order is answered by the disk.

#[path = "segment/lan.rs"]
mod lan;

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::log::{Committed, SavedLog};
use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::config::Deletes;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{
    DTYPE_F16, DTYPE_I8, DeleteOrder, Embedding, Filter, NewRecord, Reach, RecordOrder, RecordView, Stored, Whose,
};
use lan::Lan;

fn started(nodes: u8) -> Lan {
    let mut lan = Lan::new();
    (1..=nodes).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(2));
    lan.events.clear();
    lan
}

fn add(lan: &mut Lan, n: u8, record: NewRecord) -> Stored {
    lan.hand(n, Input::Command(Command::Add(RecordOrder { ticket: Ticket(1), record })));
    stored(lan, n)
}

fn delete(lan: &mut Lan, n: u8, hash: &str, all: bool) -> Stored {
    let order = DeleteOrder { ticket: Ticket(2), hash_value: hash.to_owned(), all };
    lan.hand(n, Input::Command(Command::Delete(order)));
    stored(lan, n)
}

/// What the last order of a node came to.
fn stored(lan: &Lan, n: u8) -> Stored {
    let outcome = |event: &Event| {
        let Event::Stored { outcome, .. } = event else { return None };
        Some(outcome.clone())
    };
    let found = lan.events.iter().rev().filter(|(at, _, _)| *at == n).find_map(|(_, _, event)| outcome(event));
    found.expect("it was answered")
}

fn id_of(stored: &Stored) -> OpId {
    let Stored::Done { ids, .. } = stored else { panic!("{stored:?}") };
    ids[0]
}

/// Who shows how many sightings of something.
fn shown(lan: &Lan, hash: &str) -> BTreeMap<u8, usize> {
    lan.nodes.iter().map(|(n, node)| (*n, node.records_of(lan.now, hash).len())).collect()
}

fn everywhere(nodes: u8, count: usize) -> BTreeMap<u8, usize> {
    (1..=nodes).map(|n| (n, count)).collect()
}

fn contents(lan: &Lan) -> BTreeSet<u64> {
    lan.nodes.values().map(|node| node.registry().content).collect()
}

/// Starts a node again with what a store held, in its next run.
fn restart(lan: &mut Lan, n: u8, counter: u32, log: SavedLog) {
    lan.nodes.remove(&n);
    lan.start_with(n, |boot| {
        boot.epoch = Epoch::new(counter, u32::from(n));
        boot.seed = [n ^ 0x80; 32];
        boot.saved.log = SavedLog { cut_ms: Some(log.clock_ms), ..log };
    });
}

fn embedded(n: u64) -> NewRecord {
    embedded_in(n, DTYPE_F16, 2 * 512)
}

/// The same, with 512 numbers that are stored in so many bytes.
fn embedded_in(n: u64, dtype: u8, bytes: u64) -> NewRecord {
    let stored = (0..bytes).map(|k| u8::try_from((n + k) % 60).expect("below 60")).collect();
    let embedding = Some(Embedding { model: "mobilenet".to_owned(), dims: 512, dtype, stored });
    NewRecord { embedding, data_type: "person".to_owned(), ..NewRecord::new(&format!("hash-{n:08}")) }
}

#[test]
fn a_sighting_is_on_every_node_at_once_and_one_that_is_deleted_on_none() {
    let mut lan = started(10);
    let record = NewRecord { metadata: "{\"colour\":\"red\"}".to_owned(), ..NewRecord::new("bag") };
    let done = add(&mut lan, 3, record);
    assert!(matches!(&done, Stored::Done { durable: true, .. }), "{done:?}");
    lan.run(Duration::from_millis(10));
    assert_eq!(shown(&lan, "bag"), everywhere(10, 1));
    assert_eq!(
        lan.times(|event| matches!(event, Event::Record(_))).len(),
        9,
        "all but its author's application are told"
    );
    let RecordView { id, source, left, local, .. } = lan.nodes[&7].records_of(lan.now, "bag").remove(0);
    assert_eq!((id, &*source, local), (id_of(&done), "cam3", false));
    assert!(left > Duration::from_secs(7 * 24 * 3_600 - 1) && left <= Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(delete(&mut lan, 5, "bag", false), Stored::Unknown, "node 5 has not seen it");
    assert_eq!(id_of(&delete(&mut lan, 5, "bag", true)), id);
    lan.run(Duration::from_millis(10));
    assert_eq!((shown(&lan, "bag"), contents(&lan).len()), (everywhere(10, 0), 1));
}

/// What IPv4, UDP and Ethernet add to a datagram.
const AROUND: usize = 20 + 8 + 14;

#[test]
fn a_signed_sighting_of_512_numbers_alone_in_its_datagram_is_as_small_as_was_promised() {
    for (dtype, bytes, most) in [(DTYPE_F16, 2 * 512, 1_330), (DTYPE_I8, 4 + 512, 820)] {
        let mut lan = started(3);
        let stored = add(&mut lan, 1, embedded_in(1, dtype, bytes));
        assert!(matches!(stored, Stored::Done { .. }), "{stored:?}");
        // What it says last: it needs no second one.
        let frame = (lan.last_frame[&1].len() + AROUND) as u64;
        assert!(frame > bytes && frame <= most, "{frame} bytes, {most} allowed");
        lan.run(Duration::from_millis(10));
        assert_eq!(shown(&lan, "hash-00000001"), everywhere(3, 1));
    }
}

#[test]
fn a_latecomer_and_one_that_lost_its_disk_learn_what_there_is_and_nothing_that_was_deleted() {
    let mut lan = started(3);
    for n in 0..40 {
        add(&mut lan, 1 + u8::try_from(n % 3).expect("below 3"), NewRecord::new(&format!("hash {}", n % 20)));
    }
    lan.run(Duration::from_secs(1));
    delete(&mut lan, 2, "hash 7", true);
    lan.run(Duration::from_secs(1));
    lan.start(4);
    restart(&mut lan, 1, 2, SavedLog::default());
    lan.run(Duration::from_secs(5));
    assert_eq!((shown(&lan, "hash 7"), shown(&lan, "hash 8")), (everywhere(4, 0), everywhere(4, 2)));
    assert_eq!(contents(&lan).len(), 1);
}

/// Found by records-swarm-10, seed 119: all had dropped what they remembered of a run that its author's card had called over, and had
/// restarted since without it.
#[test]
fn what_ended_everywhere_is_brought_back_by_nobody_who_was_away_though_its_author_is_gone() {
    let mut lan = started(3);
    add(&mut lan, 1, NewRecord { ttl: Duration::from_secs(20), ..NewRecord::new("over") });
    lan.run(Duration::from_secs(4));
    assert_eq!(shown(&lan, "over"), everywhere(3, 1));
    lan.nodes.remove(&3);
    let away = lan.stores[&3].clone();
    lan.run(Duration::from_secs(30));
    let log = lan.stores[&1].clone();
    restart(&mut lan, 1, 2, log);
    // Ten minutes later its card says that the run before is over.
    lan.run(Duration::from_secs(700));
    lan.nodes.remove(&1);
    let log = lan.stores[&2].clone();
    restart(&mut lan, 2, 2, log);
    restart(&mut lan, 3, 2, away);
    assert_eq!(shown(&lan, "over"), BTreeMap::from([(2, 0), (3, 1)]), "its clock stood meanwhile");
    lan.events.clear();
    lan.run(Duration::from_secs(5));
    assert_eq!(shown(&lan, "over"), BTreeMap::from([(2, 0), (3, 0)]));
    assert!(lan.times(|event| matches!(event, Event::Record(_))).is_empty());
}

#[test]
fn what_a_disk_held_before_a_delete_does_not_come_back_with_it() {
    let mut lan = started(4);
    add(&mut lan, 1, NewRecord::new("a"));
    add(&mut lan, 2, NewRecord::new("a"));
    // Others' sightings are on disk up to a second later.
    lan.run(Duration::from_secs(2));
    let old: BTreeMap<u8, SavedLog> = lan.stores.clone();
    assert!([1, 2, 4].iter().all(|n| old[n].rows.len() == 2), "each disk holds both");
    delete(&mut lan, 3, "a", true);
    let again = id_of(&add(&mut lan, 2, NewRecord::new("a")));
    lan.run(Duration::from_secs(1));
    for n in [1, 2, 4] {
        restart(&mut lan, n, 9, old[&n].clone());
    }
    lan.run(Duration::from_secs(20));
    assert_eq!(shown(&lan, "a"), everywhere(4, 1));
    for (n, node) in &lan.nodes {
        assert_eq!(node.records_of(lan.now, "a")[0].id, again, "at node {n}");
    }
    assert_eq!(contents(&lan).len(), 1);
}

#[test]
fn an_update_takes_the_place_of_what_its_author_said_before_whatever_comes_first() {
    for lose_every in [0, 3, 5] {
        let mut lan = started(4);
        lan.lose_every = lose_every;
        let first = id_of(&add(&mut lan, 1, NewRecord::new("a")));
        let update = |of, text: &str| NewRecord {
            replaces: Some(of),
            metadata: format!("{{\"v\":\"{text}\"}}"),
            ..NewRecord::new("a")
        };
        let second = id_of(&add(&mut lan, 1, update(first, "2")));
        let third = id_of(&add(&mut lan, 1, update(second, "3")));
        assert_eq!(add(&mut lan, 1, update(first, "late")), Stored::Unknown, "it was updated");
        assert_eq!(add(&mut lan, 2, update(third, "no")), Stored::Unknown, "not its author");
        lan.run(Duration::from_secs(30));
        assert_eq!(shown(&lan, "a"), everywhere(4, 1), "one in {lose_every} lost");
        for node in lan.nodes.values() {
            assert_eq!(node.records_of(lan.now, "a")[0].id, third);
        }
        id_of(&delete(&mut lan, 2, "a", true));
        lan.run(Duration::from_secs(30));
        assert_eq!(shown(&lan, "a"), everywhere(4, 0), "with all its versions");
    }
}

#[test]
fn where_each_deletes_its_own_others_are_refused_and_nothing_of_theirs_goes() {
    let mut lan = Lan::new();
    (1..=3).for_each(|n| lan.start_with(n, |boot| boot.config.deletes = Deletes::Author));
    lan.run(Duration::from_secs(2));
    add(&mut lan, 1, NewRecord::new("a"));
    add(&mut lan, 2, NewRecord::new("a"));
    lan.run(Duration::from_secs(1));
    assert!(matches!(delete(&mut lan, 2, "a", true), Stored::Refused { .. }));
    assert!(matches!(delete(&mut lan, 2, "a", false), Stored::Done { .. }));
    lan.run(Duration::from_secs(1));
    assert_eq!(shown(&lan, "a"), everywhere(3, 1));
}

#[test]
fn what_stays_here_is_kept_over_a_restart_and_told_to_nobody() {
    let mut lan = started(3);
    let record = NewRecord { local: true, ..NewRecord::new("secret") };
    let before = lan.sent;
    let id = id_of(&add(&mut lan, 1, record.clone()));
    assert_eq!(lan.sent, before, "not one datagram left for it");
    lan.run(Duration::from_secs(5));
    assert_eq!(shown(&lan, "secret"), BTreeMap::from([(1, 1), (2, 0), (3, 0)]));
    assert_eq!((contents(&lan).len(), lan.nodes[&1].registry().local), (1, 1));
    let store = lan.stores[&1].clone();
    restart(&mut lan, 1, 2, store);
    lan.run(Duration::from_secs(5));
    let views = lan.nodes[&1].records_of(lan.now, "secret");
    assert_eq!((views.len(), views[0].id, views[0].local, views[0].kept), (1, id, true, true));
    let roots: BTreeSet<u64> = lan.nodes.values().map(|node| node.log_root()).collect();
    assert_eq!(roots.len(), 1, "no root counts it");
    assert_eq!(id_of(&delete(&mut lan, 1, "secret", false)), id);
    assert!(lan.stores[&1].rows.is_empty() && shown(&lan, "secret")[&1] == 0);
}

#[test]
fn what_a_failing_disk_does_not_take_is_refused_and_nobody_hears_of_it() {
    let mut lan = started(3);
    id_of(&add(&mut lan, 1, NewRecord::new("before")));
    id_of(&add(&mut lan, 1, NewRecord { local: true, ..NewRecord::new("here") }));
    lan.disk = Committed::Failed;
    for _ in 0..3 {
        assert!(matches!(add(&mut lan, 1, NewRecord::new("a")), Stored::Refused { .. }));
        assert!(matches!(add(&mut lan, 1, NewRecord { local: true, ..NewRecord::new("b") }), Stored::Refused { .. }));
        assert!(matches!(delete(&mut lan, 1, "before", true), Stored::Refused { .. }));
        assert!(matches!(delete(&mut lan, 1, "here", true), Stored::Refused { .. }));
        lan.run(Duration::from_secs(10));
    }
    assert_eq!((shown(&lan, "a"), shown(&lan, "b")), (everywhere(3, 0), everywhere(3, 0)));
    assert_eq!((shown(&lan, "before"), shown(&lan, "here")[&1]), (everywhere(3, 1), 1));
    lan.disk = Committed::OnDisk;
    lan.run(Duration::from_secs(40));
    assert!(matches!(add(&mut lan, 1, NewRecord::new("a")), Stored::Done { durable: true, .. }), "it is tried again");
    lan.run(Duration::from_secs(1));
    assert_eq!(shown(&lan, "a"), everywhere(3, 1));
}

#[test]
fn a_store_that_keeps_nothing_says_so() {
    let mut lan = started(2);
    lan.disk = Committed::InMemory;
    assert!(matches!(add(&mut lan, 1, NewRecord::new("a")), Stored::Done { durable: false, .. }));
    lan.run(Duration::from_millis(10));
    assert_eq!(shown(&lan, "a"), everywhere(2, 1));
}

#[test]
fn a_sighting_is_gone_everywhere_when_its_time_is_over_and_stays_gone() {
    let mut lan = started(3);
    let ttl = Duration::from_secs(30);
    add(&mut lan, 1, NewRecord { ttl, ..NewRecord::new("a") });
    lan.run(Duration::from_secs(10));
    let old = lan.stores[&2].clone();
    lan.nodes.remove(&2);
    lan.run(Duration::from_secs(10));
    assert_eq!(shown(&lan, "a"), BTreeMap::from([(1, 1), (3, 1)]));
    lan.run(Duration::from_secs(110));
    assert_eq!(shown(&lan, "a"), BTreeMap::from([(1, 0), (3, 0)]));
    restart(&mut lan, 2, 2, old);
    lan.run(Duration::from_secs(5));
    assert_eq!(shown(&lan, "a"), everywhere(3, 0), "its author says that it is over");
}

#[test]
fn a_fresh_node_pulls_thousands_of_sightings_in_seconds() {
    for lose_every in [0, 50] {
        let mut lan = started(2);
        let count = 3_000;
        for n in 0..count {
            add(&mut lan, 1, embedded(n));
        }
        lan.run(Duration::from_secs(10));
        assert_eq!(lan.nodes[&2].registry().records as u64, count, "beyond the push rate they are pulled");
        lan.lose_every = lose_every;
        let (sent, before) = (lan.sent, lan.now);
        lan.start(3);
        while lan.nodes[&3].registry().records < 3_000 && lan.now.since(before) < Duration::from_secs(20) {
            lan.run(Duration::from_millis(50));
        }
        let took = lan.now.since(before);
        let limit = if lose_every == 0 { Duration::from_secs(1) } else { Duration::from_secs(10) };
        assert!(took <= limit, "{took:?}, one in {lose_every} lost");
        let overhead = (lan.sent - sent) as u64 * 100 / count;
        assert!(overhead <= 140, "{overhead} datagrams for a hundred sightings, one in {lose_every} lost");
        assert_eq!(contents(&lan).len(), 1);
    }
}

/// Of the numbers between those that are held nobody tells a newcomer a sighting: it stood still at the hundredth gap, and its searches
/// counted as exact. Where the author was gone, and two others told of 256 gaps each and more, it got the same part of them for minutes.
#[test]
fn a_newcomer_gets_all_of_an_author_of_whose_sightings_every_other_is_over() {
    for (author_lives, seed) in [(true, 4), (false, 4), (false, 5), (false, 6)] {
        let mut lan = started(3);
        let count = 700;
        for n in 0..count {
            add(&mut lan, 1, embedded(n));
            add(&mut lan, 1, NewRecord { ttl: Duration::from_secs(1), ..NewRecord::new("passing by") });
        }
        lan.run(Duration::from_secs(20));
        assert_eq!(lan.nodes[&2].registry().records as u64, count);
        if !author_lives {
            lan.nodes.remove(&1);
        }
        lan.start_with(4, |boot| boot.seed = [seed; 32]);
        lan.run(Duration::from_secs(60));
        assert_eq!(lan.nodes[&4].registry().records as u64, count, "its author lives: {author_lives}, seed {seed}");
        let stats = lan.nodes[&4].stats();
        let pulled = stats.log_bytes_pulled + stats.log_bytes_piped;
        assert!(stats.log_bytes_repeated * 4 < pulled, "{} of {pulled} B came twice", stats.log_bytes_repeated);
        assert_eq!(contents(&lan).len(), 1);
        let roots: BTreeSet<u64> = lan.nodes.values().map(|node| node.log_root()).collect();
        assert_eq!(roots.len(), 1);
    }
}

/// Nobody could tell an author that something of an earlier run of its own was over: it showed it longer than all others.
#[test]
fn an_author_that_was_off_for_longer_than_its_sighting_lasts_learns_that_it_is_over() {
    let mut lan = started(3);
    let ttl = Duration::from_secs(30);
    add(&mut lan, 1, NewRecord { ttl, ..NewRecord::new("a") });
    lan.run(Duration::from_secs(10));
    let old = lan.stores[&1].clone();
    lan.nodes.remove(&1);
    lan.run(Duration::from_secs(120));
    restart(&mut lan, 1, 2, old);
    lan.run(Duration::from_secs(5));
    assert_eq!(shown(&lan, "a"), everywhere(3, 0));
}

#[test]
fn what_is_lacked_comes_once_though_both_ask_when_they_meet() {
    // (sightings that both hold, that one alone has)
    for (both, one) in [(0, 20), (20, 20)] {
        let mut lan = started(2);
        for n in 0..both {
            assert!(matches!(add(&mut lan, 1, embedded(n)), Stored::Done { .. }));
        }
        lan.run(Duration::from_secs(2));
        let held = lan.stores.get(&2).cloned().unwrap_or_default();
        assert_eq!(held.rows.len() as u64, both, "what both hold is on its disk");
        lan.nodes.remove(&2);
        for n in both..both + one {
            assert!(matches!(add(&mut lan, 1, embedded(n)), Stored::Done { .. }));
        }
        lan.run(Duration::from_secs(30));
        restart(&mut lan, 2, 2, held);
        lan.run(Duration::from_secs(5));
        assert_eq!(contents(&lan).len(), 1, "{both} and {one}");
        assert_eq!(lan.nodes[&2].stats().log_bytes_repeated, 0, "{both} and {one}");
    }
}

#[test]
fn a_filter_finds_by_all_that_it_names_and_a_search_goes_on_where_it_stopped() {
    let mut lan = started(2);
    for n in 0..30u64 {
        let record = NewRecord {
            data_type: if n % 2 == 0 { "person" } else { "bag" }.to_owned(),
            metadata: format!("{{\"colour\":\"red {n}\"}}"),
            seen: Some(WallTime(1_000 * n)),
            ..NewRecord::new(&format!("hash {}", n % 10))
        };
        add(&mut lan, 1 + u8::try_from(n % 2).expect("below 2"), record);
    }
    lan.run(Duration::from_secs(1));
    let node = &lan.nodes[&1];
    let other = lan.nodes[&2].id();
    for (filter, expected) in [
        (Filter::default(), 30),
        (Filter { data_type: Some("bag".to_owned()), ..Filter::default() }, 15),
        (Filter { node: Some(Whose::Id(other)), ..Filter::default() }, 15),
        (Filter { node: Some(Whose::Name("cam2".to_owned())), ..Filter::default() }, 15),
        (Filter { node: Some(Whose::Name("cam9".to_owned())), ..Filter::default() }, 0),
        (Filter { since: Some(WallTime(10_000)), until: Some(WallTime(12_000)), ..Filter::default() }, 3),
        (Filter { where_: vec![("colour".to_owned(), "red 1*".to_owned())], ..Filter::default() }, 11),
        (Filter { hash: Some("hash 3".to_owned()), ..Filter::default() }, 3),
        (Filter { reach: Reach::Local, ..Filter::default() }, 0),
        (Filter { reach: Reach::Shared, ..Filter::default() }, 30),
    ] {
        for budget in [1, 7, 1_000] {
            let (mut found, mut cursor, mut turns) = (Vec::new(), None, 0);
            loop {
                let page = node.find(lan.now, &filter, cursor, budget);
                found.extend(page.records.into_iter().map(|record| record.id));
                (cursor, turns) = (page.next, turns + 1);
                if cursor.is_none() {
                    break;
                }
            }
            let all: BTreeSet<OpId> = found.iter().copied().collect();
            assert_eq!((found.len(), all.len()), (expected, expected), "{filter:?}, {budget} at once, {turns} turns");
        }
    }
}

/// Of a bucket of more runs than fit a question each part of it was answered with the first runs of the others, again and again.
#[test]
fn a_newcomer_gets_all_of_an_author_that_restarted_sixty_times() {
    let mut lan = started(2);
    let (runs, each) = (60, 4);
    for run in 0..runs {
        for n in 0..each {
            add(&mut lan, 1, embedded(u64::from(run * each + n)));
        }
        lan.run(Duration::from_secs(2));
        let store = lan.stores[&1].clone();
        restart(&mut lan, 1, run + 2, store);
        lan.run(Duration::from_secs(2));
    }
    // It counts as flapping, and is let in late.
    lan.run(Duration::from_secs(1_200));
    let count = u64::from(runs * each);
    assert_eq!(lan.nodes[&2].registry().records as u64, count);
    lan.start(3);
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.nodes[&3].registry().records as u64, count);
    let stats = lan.nodes[&3].stats();
    let pulled = stats.log_bytes_pulled + stats.log_bytes_piped;
    assert!(stats.log_bytes_repeated * 4 < pulled, "{} of {pulled} B came twice", stats.log_bytes_repeated);
}

/// The hearsay machine's own tests hold to the same with one author's gaps; here all parts play together, and whoever begins again has
/// half of the ops already.
#[test]
fn who_begins_again_amid_thousands_of_gaps_gets_the_rest_though_their_author_is_gone() {
    let mut lan = started(7);
    let count = 2_000;
    for n in 0..count {
        add(&mut lan, 1, NewRecord::new(&format!("hash-{n:08}")));
        add(&mut lan, 1, NewRecord { ttl: Duration::from_secs(1), ..NewRecord::new("passing by") });
    }
    lan.run(Duration::from_secs(30));
    lan.nodes.remove(&1);
    lan.start(8);
    let mut store = None;
    for _ in 0..1_000 {
        lan.run(Duration::from_millis(5));
        store = lan.stores.get(&8).filter(|store| store.rows.len() > 1_000).cloned();
        if store.is_some() {
            break;
        }
    }
    let store = store.expect("it had half of them on its disk at some time");
    assert!(store.rows.len() < count, "it was to be stopped midway: {}", store.rows.len());
    restart(&mut lan, 8, 2, store);
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.nodes[&8].registry().records, count);
    let roots: BTreeSet<u64> = lan.nodes.values().map(|node| node.log_root()).collect();
    assert_eq!(roots.len(), 1);
}

//! One test for each rule by which a link counts or a way is chosen; a naive map beside this one says the same.

mod reference;

use super::*;
use crate::model::links::{DirectLink, LossClass, LossyIds, MAX_COST, MAX_DIRECT, MAX_SEGMENTS, SegmentLink, ShortIds};

const HALL: SegmentId = SegmentId(7 << 40);
const YARD: SegmentId = SegmentId(9 << 40);

#[test]
fn a_segment_link_needs_both_ends_and_the_namer() {
    let both = |map: &mut Map| {
        map.set_links(id(1), on(&[(HALL, 5, &[])]));
        map.set_links(id(2), on(&[(HALL, 7, &[])]));
    };
    type Change = fn(&mut Map);
    let table: &[(&str, Change, Option<u32>)] = &[
        ("listed by the namer", |map| list(map, 9, HALL, &[1, 2]), Some(12)),
        ("listed twice", |map| list(map, 9, HALL, &[1, 2, 1, 2, 2]), Some(12)),
        ("listed in two parts", |map| (0..2).for_each(|n| map.set_members(id(9), HALL, n, shorts(&[1 + n]))), Some(12)),
        ("listed by nobody", |_| (), None),
        ("an end is not listed", |map| list(map, 9, HALL, &[1]), None),
        ("an end is listed no longer", |map| [&[1, 2][..], &[1]].iter().for_each(|now| list(map, 9, HALL, now)), None),
        ("an end is on another segment", |map| amid(map, &[(YARD, 7, &[])]), None),
        ("an end names no segment", |map| amid(map, &[]), None),
        ("an end does not hear the other", |map| amid(map, &[(HALL, 7, &[1])]), None),
        ("an end does not hear itself or a third", |map| amid(map, &[(HALL, 7, &[2, 3])]), Some(12)),
        ("an end does not hear it elsewhere", |map| amid(map, &[(HALL, 7, &[]), (YARD, 1, &[1])]), Some(12)),
        ("a segment twice", |map| amid(map, &[(HALL, 7, &[]), (HALL, 1, &[1])]), Some(12)),
        ("a cost of nothing", |map| amid(map, &[(HALL, 0, &[])]), None),
        ("a cost that is none", |map| amid(map, &[(HALL, MAX_COST + 1, &[])]), None),
        ("the highest cost", |map| amid(map, &[(HALL, MAX_COST, &[])]), Some(1_005)),
        ("the namer is forgotten", |map| then_listed(map, |map| map.forget(&id(9))), None),
        ("an end is forgotten", |map| then_listed(map, |map| map.forget(&id(2))), None),
    ];
    for (case, change, expected) in table {
        let mut map = Map::new(id(1));
        both(&mut map);
        change(&mut map);
        let expected = expected.map(|cost| Way { path: vec![id(2)], cost, first: Some(HALL) });
        assert_eq!(map.way_to(&id(2)), expected, "{case}");
        let back = expected.map(|way| Way { path: vec![id(1)], ..way });
        assert_eq!(map.way_from(&id(2), &id(1)), back, "{case}, from the other end");
    }
}

#[test]
fn a_direct_link_needs_both_ends_and_costs_both_halves() {
    type Told<'a> = &'a [(u8, u16)];
    let table: &[(Told<'_>, Told<'_>, Option<u32>)] = &[
        (&[(2, 5)], &[(1, 7)], Some(12)),
        (&[(2, 5)], &[], None),
        (&[], &[(1, 7)], None),
        (&[(2, 5)], &[(3, 7)], None),
        (&[(2, 5)], &[(1, 0)], None),
        (&[(2, 5)], &[(1, MAX_COST + 1)], None),
        (&[(2, 5), (2, 1)], &[(1, 7), (2, 1)], Some(12)),
    ];
    for (mine, theirs, expected) in table {
        let mut map = Map::new(id(1));
        map.set_links(id(1), direct(mine));
        map.set_links(id(2), direct(theirs));
        let expected = expected.map(|cost| Way { path: vec![id(2)], cost, first: None });
        assert_eq!(map.way_to(&id(2)), expected, "{mine:?} and {theirs:?}");
    }
}

#[test]
fn what_is_lost_makes_a_link_dearer_by_the_worse_of_what_both_ends_say() {
    // By end: what is lost of most there and, if it is said of the other alone, of the other; and what the link costs.
    type End = (u32, Option<u32>);
    let table: &[(End, End, u32)] = &[
        ((0, None), (0, None), 12),
        ((200, None), (200, None), 19),
        ((500, None), (0, None), 25),
        ((0, Some(200)), (0, None), 19),
        ((0, None), (0, Some(200)), 19),
        ((0, Some(200)), (0, Some(500)), 42),
        ((500, Some(200)), (0, None), 42),
        ((0, Some(1_000)), (1_000, None), 300),
    ];
    for &(mine, theirs, expected) in table {
        let mut map = Map::new(id(1));
        for (node, other, clean, (most, one)) in [(1, 2, 5, mine), (2, 1, 7, theirs)] {
            let mut links = on(&[(HALL, clean, &[])]);
            links.segments[0].loss = LossClass::of(most);
            links.segments[0].lossy =
                LossyIds(one.map(|one| (ShortId::of(&id(other)), LossClass::of(one))).into_iter().collect());
            map.set_links(id(node), links);
        }
        list(&mut map, 9, HALL, &[1, 2]);
        let way = Way { path: vec![id(2)], cost: expected, first: Some(HALL) };
        assert_eq!(map.way_to(&id(2)), Some(way), "{mine:?} and {theirs:?}");
        assert_eq!(map.way_from(&id(2), &id(1)).map(|way| way.cost), Some(expected), "{mine:?} and {theirs:?}");
    }
}

#[test]
fn a_lossy_short_way_loses_to_a_clean_longer_one() {
    // 1 and 2 hear each other badly in the hall; 3 is heard well by both, and 4 and 5 stand in a row behind the yard.
    let table = [(0, &[2][..]), (200, &[2]), (270, &[2]), (340, &[3, 2]), (900, &[3, 2])];
    for (lost, expected) in table {
        let mut map = Map::new(id(1));
        for node in [1, 2, 3] {
            map.set_links(id(node), on(&[(HALL, 5, &[])]));
        }
        let mut links = on(&[(HALL, 5, &[])]);
        links.segments[0].lossy = LossyIds(vec![(ShortId::of(&id(2)), LossClass::of(lost))]);
        map.set_links(id(1), links);
        list(&mut map, 3, HALL, &[1, 2, 3]);
        assert_eq!(map.way_to(&id(2)).map(|way| way.path), Some(ids(expected)), "{lost} of a thousand lost");
    }
}

#[test]
fn of_several_links_the_cheapest_counts_then_the_direct_one_then_the_lower_segment() {
    let table = [
        ((5, 6, 9), 10, Some(HALL)),
        ((6, 5, 9), 10, Some(YARD)),
        ((5, 5, 9), 10, Some(HALL)),
        ((5, 5, 5), 10, None),
        ((5, 4, 5), 8, Some(YARD)),
    ];
    for ((hall, yard, straight), cost, first) in table {
        let mut map = Map::new(id(1));
        for (node, other) in [(1, 2), (2, 1)] {
            let mut links = on(&[(YARD, yard, &[]), (HALL, hall, &[])]);
            links.direct = direct(&[(other, straight)]).direct;
            map.set_links(id(node), links);
        }
        list(&mut map, 1, HALL, &[1, 2]);
        list(&mut map, 2, YARD, &[1, 2]);
        let expected = Way { path: vec![id(2)], cost, first };
        assert_eq!(map.way_to(&id(2)), Some(expected), "{hall}, {yard} and {straight}");
    }
}

#[test]
fn of_equal_ways_the_one_with_fewer_relays_is_taken_then_the_one_by_the_lower_last_relay() {
    // From 1 to 9 for 12: by 5; by 4 and 3; by 2 and 6. And from 1 to 8 for 12: by 2 and 6, and by 5 and 7.
    let links = [(1, 5, 6), (5, 9, 6), (1, 4, 4), (4, 3, 4), (3, 9, 4), (1, 2, 4), (2, 6, 4), (6, 9, 4)];
    let more = [(6, 8, 4), (5, 7, 2), (7, 8, 4)];
    for me in [1, 3, 9] {
        let mut map = Map::new(id(me));
        wire(&mut map, &[&links[..], &more[..]].concat());
        assert_eq!(map.way_from(&id(1), &id(9)).map(|way| (way.path, way.cost)), Some((vec![id(5), id(9)], 12)));
        assert_eq!(map.way_from(&id(1), &id(8)).map(|way| (way.path, way.cost)), Some((ids(&[2, 6, 8]), 12)));
        map.forget(&id(5));
        assert_eq!(map.way_from(&id(1), &id(9)).map(|way| (way.path, way.cost)), Some((ids(&[4, 3, 9]), 12)));
    }
}

#[test]
fn a_long_link_waits_while_shorter_ones_have_their_turn() {
    // The dearest link there is ends just before its own start in the round of the queue, wherever the round begins.
    for start in 2..130 {
        let mut map = Map::new(id(1));
        wire(&mut map, &[(1, 2, start), (2, 3, 2 * MAX_COST), (2, 4, 2), (4, 3, 2), (3, 5, 2)]);
        let way = map.way_to(&id(5)).map(|way| (way.path, way.cost));
        assert_eq!(way, Some((ids(&[2, 4, 3, 5]), u32::from(start) + 6)), "{start} before");
    }
}

#[test]
fn members_that_do_not_hear_the_first_wait_for_the_next() {
    // 2 enters the hall first and 3 after it; 4 hears only 3, and 5 neither.
    let mut map = Map::new(id(1));
    map.set_links(id(1), direct(&[(2, 1), (3, 2)]));
    for (node, back, unheard) in [(2, Some(1), &[][..]), (3, Some(2), &[]), (4, None, &[2]), (5, None, &[2, 3])] {
        let mut links = on(&[(HALL, 5, unheard)]);
        links.direct.extend(back.map(|cost| clean(1, cost)));
        map.set_links(id(node), links);
    }
    list(&mut map, 2, HALL, &[2, 3, 4, 5]);
    let table = [(4, &[3, 4][..], 14), (5, &[3, 4, 5], 24)];
    for (to, path, cost) in table {
        assert_eq!(map.way_to(&id(to)).map(|way| (way.path, way.cost)), Some((ids(path), cost)), "to {to}");
    }
}

#[test]
fn the_hot_answers_agree_with_the_way() {
    let mut map = Map::new(id(1));
    wire(&mut map, &[(1, 2, 2), (2, 3, 2), (3, 4, 2)]);
    let table = [(1, None, None), (2, Some(2), Some(0)), (3, Some(2), Some(1)), (4, Some(2), Some(2)), (5, None, None)];
    for (to, hop, relays) in table {
        assert_eq!(map.next_hop(&id(to)), hop.map(id), "to {to}");
        assert_eq!(map.relays_to(&id(to)), relays, "to {to}");
        assert_eq!(map.way_to(&id(to)).is_some(), hop.is_some(), "to {to}");
    }
    // A line of 300 nodes: more relays than a byte can tell.
    let ids: Vec<NodeId> = (0..300).map(wide).collect();
    let mut line = Map::new(ids[0]);
    for (place, node) in ids.iter().enumerate() {
        let ends = [place.checked_sub(1), Some(place + 1)].into_iter().flatten().filter_map(|end| ids.get(end));
        let direct = ends.map(|end| DirectLink {
            peer: ShortIds(vec![ShortId::of(end)]),
            cost: MAX_COST,
            loss: LossClass::CLEAN,
        });
        line.set_links(*node, LinksBody { segments: Vec::new(), direct: direct.collect(), is_joint: false });
    }
    let last = [255, 256, 257, 299].map(|n| line.relays_to(&ids[n]));
    assert_eq!(last, [254, 255, 255, 255].map(Some));
    assert_eq!(line.way_to(&ids[299]).map(|way| (way.path.len(), way.cost)), Some((299, 598_000)));
}

#[test]
fn a_far_node_is_listed_by_a_namer_on_its_segment_or_by_another_neighbour() {
    type Change = fn(&mut Map);
    let table: &[(&str, Change, bool)] = &[
        ("by nobody", |_| (), false),
        ("by a reachable namer", |map| list(map, 2, HALL, &[2, 8]), true),
        ("by a namer that is not on its segment", |map| list(map, 2, HALL, &[8]), false),
        ("by a namer out of reach", |map| list(map, 3, YARD, &[3, 8]), false),
        ("by this node", |map| list(map, 1, HALL, &[1, 8]), true),
        ("by a reachable neighbour", |map| claim(map, 2, 8), true),
        ("by a neighbour out of reach", |map| claim(map, 3, 8), false),
        ("by itself", |map| claim(map, 8, 8), false),
    ];
    for (case, change, expected) in table {
        let mut map = Map::new(id(1));
        for (node, other, segment) in [(1, 2, HALL), (2, 1, HALL), (3, 4, YARD)] {
            let segments = on(&[(segment, 5, &[])]).segments;
            map.set_links(id(node), LinksBody { segments, ..direct(&[(other, 5)]) });
        }
        change(&mut map);
        assert_eq!(map.is_listed(&id(8)), *expected, "{case}");
    }
}

#[test]
fn others_hear_a_node_if_a_way_ends_with_a_link_that_is_not_ours() {
    type Links<'a> = &'a [(u8, u8, u16)];
    let table: &[(Links<'_>, bool)] = &[
        (&[], false),
        (&[(1, 2, 5)], false),
        (&[(1, 2, 5), (2, 3, 5)], false),
        (&[(1, 2, 5), (2, 3, 5), (3, 4, 5)], false),
        (&[(1, 2, 5), (2, 3, 5), (1, 3, 900)], true),
        (&[(1, 2, 5), (2, 3, 5), (3, 4, 5), (1, 4, 900)], true),
        (&[(1, 3, 5), (2, 3, 5)], true),
        (&[(2, 3, 5)], false),
    ];
    for (links, expected) in table {
        let mut map = Map::new(id(1));
        wire(&mut map, links);
        assert_eq!(map.is_heard_by_others(&id(2)), *expected, "{links:?}");
    }
    assert!(!Map::new(id(1)).is_heard_by_others(&id(1)));
}

#[test]
fn a_segment_is_shared_with_whom_its_namer_lists() {
    let mut map = Map::new(id(1));
    map.set_links(id(1), on(&[(HALL, 5, &[])]));
    list(&mut map, 3, HALL, &[1, 4, 3]);
    list(&mut map, 3, YARD, &[5]);
    assert_eq!([4, 5, 6].map(|n| map.shares_segment(&id(n))), [true, false, false]);
    map.set_links(id(3), on(&[(HALL, 5, &[])]));
    map.set_links(id(4), on(&[(YARD, 5, &[])]));
    map.set_links(id(6), on(&[(HALL, 5, &[])]));
    assert_eq!(map.members_of(HALL).collect::<Vec<_>>(), ids(&[1, 3]), "4 is elsewhere and 6 is not listed");
}

#[test]
fn the_version_is_raised_by_what_changes_and_by_nothing_else() {
    let mut map = Map::new(id(1));
    type Change = fn(&mut Map);
    let table: &[(&str, Change, bool)] = &[
        ("links", |map| map.set_links(id(2), direct(&[(1, 5)])), true),
        ("the same links", |map| map.set_links(id(2), direct(&[(1, 5)])), false),
        ("another cost", |map| map.set_links(id(2), direct(&[(1, 6)])), true),
        ("a part", |map| list(map, 2, HALL, &[1]), true),
        ("the same part", |map| list(map, 2, HALL, &[1]), false),
        ("an empty part", |map| list(map, 2, HALL, &[]), true),
        ("an empty part again", |map| list(map, 2, HALL, &[]), false),
        ("forgotten", |map| map.forget(&id(2)), true),
        ("forgotten again", |map| map.forget(&id(2)), false),
        ("this node", |map| map.forget(&id(1)), true),
    ];
    for (case, change, is_raised) in table {
        let before = map.version();
        change(&mut map);
        assert_eq!(map.version() != before, *is_raised, "{case}");
        assert_eq!(map.way_to(&id(9)), None, "{case}");
    }
}

#[test]
fn liars_fill_no_table_beyond_its_limit() {
    let mut map = Map::new(id(1));
    map.set_members(id(1), HALL, 0, shorts(&[1, 2]));
    for liar in 0..100u16 {
        for n in 0..200u64 {
            let member = ShortId((n ^ u64::from(liar)).to_be_bytes());
            map.set_members(wide(liar), SegmentId(n << 8 | u64::from(liar)), n as u8, vec![member; 3]);
        }
        let segment = |n: usize| (SegmentId((n as u64) << 8 | u64::from(liar)), 1, &[1u8, 1, 2, 255][..]);
        let mut links = on(&(0..MAX_SEGMENTS).map(segment).collect::<Vec<_>>());
        links.direct = direct(&(0..MAX_DIRECT).map(|n| (n as u8 % 5, 1)).collect::<Vec<_>>()).direct;
        map.set_links(wide(liar), links);
        map.way_from(&wide(liar), &id(1));
        assert!(!map.is_listed(&id(200)) && !map.is_heard_by_others(&wide(liar)));
    }
    for (table, held, limit) in map.table_sizes() {
        assert!(held <= limit, "{table}: {held} of {limit}");
    }
    map.set_links(id(1), on(&[(HALL, 5, &[])]));
    assert!(map.shares_segment(&id(2)), "the liars' own parts made room, not this one");
}

#[test]
fn a_namer_with_too_many_parts_loses_the_one_it_set_longest_ago() {
    let mut map = Map::new(id(1));
    let limit = MAX_PARTS_OF_AUTHOR as u64;
    for n in (0..limit).chain([0, limit]) {
        map.set_members(id(2), SegmentId(n), 0, shorts(&[1]));
    }
    let held = [0, 1, 2, limit].map(|n| map.lists_of(SegmentId(n)).count());
    assert_eq!(held, [1, 0, 1, 1], "the first was set again, so the second is the oldest");
}

#[test]
fn ids_that_begin_alike_stand_for_each_other_and_lead_nowhere_else() {
    let mut twin = id(2);
    twin.0[15] ^= 1;
    let mut map = Map::new(id(1));
    wire(&mut map, &[(1, 2, 5)]);
    map.set_links(twin, direct(&[(1, 7), (2, 1)]));
    assert_eq!(map.way_to(&twin).map(|way| way.cost), Some(9), "the list of 1 cannot tell them apart");
    assert_eq!(map.way_from(&id(2), &twin).map(|way| way.path), Some(vec![id(1), twin]));
}

fn id(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn ids(ns: &[u8]) -> Vec<NodeId> {
    ns.iter().map(|n| id(*n)).collect()
}

/// Ids of which there are more.
fn wide(n: u16) -> NodeId {
    NodeId::of(&[n.to_be_bytes(); 16].concat().try_into().unwrap())
}

fn shorts(ns: &[u8]) -> Vec<ShortId> {
    ns.iter().map(|n| ShortId::of(&id(*n))).collect()
}

fn on(segments: &[(SegmentId, u16, &[u8])]) -> LinksBody {
    let link = |&(segment, cost, unheard): &(SegmentId, u16, &[u8])| SegmentLink {
        namer: ShortIds::default(),
        segment,
        mtu: 1_500,
        cost,
        unheard: ShortIds(shorts(unheard)),
        loss: LossClass::CLEAN,
        lossy: LossyIds::default(),
    };
    LinksBody { segments: segments.iter().map(link).collect(), direct: Vec::new(), is_joint: false }
}

fn direct(peers: &[(u8, u16)]) -> LinksBody {
    let link = |&(peer, cost): &(u8, u16)| clean(peer, cost);
    LinksBody { segments: Vec::new(), direct: peers.iter().map(link).collect(), is_joint: false }
}

fn clean(peer: u8, cost: u16) -> DirectLink {
    DirectLink { peer: ShortIds(shorts(&[peer])), cost, loss: LossClass::CLEAN }
}

fn list(map: &mut Map, namer: u8, segment: SegmentId, members: &[u8]) {
    map.set_members(id(namer), segment, 0, shorts(members));
}

/// The second node says something else, and both are listed.
fn amid(map: &mut Map, second: &[(SegmentId, u16, &[u8])]) {
    map.set_links(id(2), on(second));
    list(map, 9, HALL, &[1, 2]);
}

fn then_listed(map: &mut Map, change: fn(&mut Map)) {
    list(map, 9, HALL, &[1, 2]);
    assert!(map.way_to(&id(2)).is_some());
    change(map);
}

/// A node adds a direct link to what it says.
fn claim(map: &mut Map, node: u8, peer: u8) {
    let mut links = map.authors.get(&id(node)).map(|known| known.links.clone()).unwrap_or_default();
    links.direct.extend(direct(&[(peer, 5)]).direct);
    map.set_links(id(node), links);
}

/// Direct links that both ends agree on, each with its whole cost.
fn wire(map: &mut Map, links: &[(u8, u8, u16)]) {
    let mut bodies = BTreeMap::<u8, LinksBody>::new();
    for &(one, other, cost) in links {
        bodies.entry(one).or_default().direct.extend(direct(&[(other, cost / 2)]).direct);
        bodies.entry(other).or_default().direct.extend(direct(&[(one, cost - cost / 2)]).direct);
    }
    for (node, links) in bodies {
        map.set_links(id(node), links);
    }
}

#[test]
fn a_way_around_passes_no_node_and_uses_no_link_that_it_is_to_avoid() {
    // 1 and 2 and 3 in the hall, 2 and 3 and 4 in the yard, and a dear link from 1 to 4.
    let mut map = Map::new(id(1));
    map.set_links(id(1), LinksBody { direct: direct(&[(4, 900)]).direct, ..on(&[(HALL, 5, &[])]) });
    map.set_links(id(2), on(&[(HALL, 5, &[]), (YARD, 5, &[])]));
    map.set_links(id(3), on(&[(HALL, 6, &[]), (YARD, 6, &[])]));
    map.set_links(id(4), LinksBody { direct: direct(&[(1, 900)]).direct, ..on(&[(YARD, 5, &[])]) });
    list(&mut map, 2, HALL, &[1, 2, 3]);
    list(&mut map, 3, YARD, &[2, 3, 4]);
    let stamp = |n: u8| Stamp::of(&id(n));
    type Case<'a> = (&'a [u8], &'a [(u8, u8)], &'a [u8]);
    let table: &[Case<'_>] = &[
        (&[], &[], &[2, 4]),
        (&[2], &[], &[3, 4]),
        (&[2, 3], &[], &[4]),
        (&[], &[(2, 4)], &[3, 4]),
        (&[], &[(4, 2)], &[3, 4]),
        (&[], &[(1, 2)], &[3, 4]),
        (&[], &[(1, 2), (3, 4)], &[3, 2, 4]),
        (&[3], &[(1, 2)], &[4]),
        (&[4], &[], &[2, 4]),
    ];
    for (avoid, dead, expected) in table {
        let avoid: Vec<Stamp> = avoid.iter().copied().map(stamp).collect();
        let dead: Vec<Link> = dead.iter().map(|(a, b)| (stamp(*a), stamp(*b))).collect();
        let way = map.way_around(&id(4), &avoid, &dead).map(|way| way.path);
        assert_eq!(way, Some(expected.iter().copied().map(id).collect()), "around {avoid:?} and {dead:?}");
    }
    let all = [(1, 2), (1, 3), (1, 4)].map(|(a, b)| (stamp(a), stamp(b)));
    assert_eq!(map.way_around(&id(4), &[], &all), None);
    assert_eq!(map.way_to(&id(4)).map(|way| way.path), Some(vec![id(2), id(4)]), "the tree of all is as it was");
}

#[test]
fn the_fewest_relays_are_found_where_the_cheapest_way_has_more() {
    // Clean links 1-2-3-4-5; a dear one from 1 to 3, a dearer one from 1 to 4 and as dear ones by 6.
    let mut map = Map::new(id(1));
    let links = [(1, 2, 10), (2, 3, 10), (3, 4, 10), (4, 5, 10), (1, 3, 500), (1, 4, 1_999), (1, 6, 900), (6, 5, 900)];
    wire(&mut map, &links);
    let stamp = |n: u8| Stamp::of(&id(n));
    let path = |way: Option<Way>| way.map(|way| (way.path, way.cost));
    assert_eq!(path(map.way_to(&id(5))), Some((ids(&[2, 3, 4, 5]), 40)));
    type Case<'a> = (&'a [u8], &'a [(u8, u8)], &'a [u8], u32);
    let table: &[Case<'_>] = &[
        // Of two with one relay the cheaper one.
        (&[], &[], &[6, 5], 1_800),
        (&[6], &[], &[4, 5], 2_009),
        (&[6], &[(1, 4)], &[3, 4, 5], 520),
        (&[6, 4], &[], &[], 0),
    ];
    for (avoid, dead, expected, cost) in table {
        let avoid: Vec<Stamp> = avoid.iter().copied().map(stamp).collect();
        let dead: Vec<Link> = dead.iter().map(|(a, b)| (stamp(*a), stamp(*b))).collect();
        let expected = (!expected.is_empty()).then(|| (ids(expected), *cost));
        assert_eq!(path(map.fewest_relays(&id(5), &avoid, &dead)), expected, "around {avoid:?} and {dead:?}");
    }
    assert_eq!(path(map.way_to(&id(5))), Some((ids(&[2, 3, 4, 5]), 40)), "the next is asked for what it costs again");
}

#[test]
fn whoever_says_links_that_their_other_ends_deny_is_found_with_their_number() {
    let direct = |peers: &[u8]| {
        let link = |peer: &u8| DirectLink { peer: ShortIds(shorts(&[*peer])), cost: 4, loss: LossClass::CLEAN };
        LinksBody { direct: peers.iter().map(link).collect(), ..LinksBody::default() }
    };
    let mut map = Map::new(id(1));
    map.set_links(id(2), direct(&[3]));
    map.set_links(id(3), direct(&[2]));
    map.set_links(id(4), direct(&[2, 3, 5, 6]));
    assert_eq!(map.denied(), BTreeMap::from([(id(4), 2)]), "of two nobody knows yet what they say");
    map.set_links(id(5), on(&[(HALL, 5, &[])]));
    assert_eq!(map.denied(), BTreeMap::from([(id(4), 3)]), "a segment that nobody lists yet may be new");
    list(&mut map, 9, HALL, &[9]);
    assert_eq!(map.denied(), BTreeMap::from([(id(4), 3), (id(5), 1)]));
    list(&mut map, 9, HALL, &[9, 5]);
    assert_eq!(map.denied(), BTreeMap::from([(id(4), 3)]));
}

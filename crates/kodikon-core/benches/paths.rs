//! Decides whether ways are found fast enough: prints what each question costs and fails where a median is over its limit.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "limit/median.rs"]
mod limit;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use kodikon_core::ground::id::{InterfaceIndex, NodeId};
use kodikon_core::machines::routing::map::Map;
use kodikon_core::model::links::{
    LinksBody, LossClass, LossyIds, MAX_MEMBERS_OF_PART, MAX_UNHEARD_IN_ALL, SegmentId, SegmentLink, ShortId, ShortIds,
};
use limit::Limits;

/// How a mesh of a size is cabled.
#[derive(Debug, Clone, Copy)]
struct Plan {
    nodes: usize,
    segments: usize,
    /// Members of each of its segments that one node of ten does not hear.
    missed: usize,
}

/// A map as node 0 has it, and what was told of it.
struct Bench {
    plan: Plan,
    ids: Vec<NodeId>,
    map: Map,
    links: Vec<LinksBody>,
}

fn main() -> ExitCode {
    let micros = Duration::from_micros;
    let table = [
        (50, 5, micros(5)),
        (1_000, 1, micros(250)),
        (1_000, 20, micros(250)),
        (10_000, 100, micros(6_000)),
        (10_000, 5_000, micros(6_000)),
    ];
    let mut limits = Limits::new();
    for (nodes, segments, limit) in table {
        for missed in [0, 2, MAX_UNHEARD_IN_ALL / 3] {
            let mut bench = Bench::new(Plan { nodes, segments, missed });
            let reached = bench.reached();
            println!("{:?}, {reached} reached", bench.plan);
            bench.hold(&mut limits, "tree of a root", limit, 1, |bench, n| {
                // More roots than trees are kept, so that each is made anew.
                let root = bench.ids[1 + n % 49];
                black_box(bench.map.way_from(&root, &bench.ids[0]));
            });
            bench.hold(&mut limits, "next hop", Duration::from_nanos(60), 10_000, |bench, n| {
                let to = bench.ids[n % bench.ids.len()];
                black_box(bench.map.next_hop(&to));
            });
            // One author's links, the graph and the tree of this node.
            bench.hold(&mut limits, "change and next hop", 4 * limit, 1, |bench, n| {
                let (author, mut links) = (bench.ids[1 + n % 40], bench.links[1 + n % 40].clone());
                links.segments[0].cost += 1 + (n / 40 % 2) as u16;
                bench.map.set_links(author, links);
                black_box(bench.map.next_hop(&bench.ids[nodes - 1]));
            });
            bench.hold(&mut limits, "is listed", limit, 10, |bench, n| {
                let id = bench.ids[n * 7 % bench.ids.len()];
                black_box(bench.map.is_listed(&id));
            });
            bench.hold(&mut limits, "is heard by others", 2 * limit, 10, |bench, n| {
                let id = bench.ids[1 + n % (nodes - 1)];
                black_box(bench.map.is_heard_by_others(&id));
            });
        }
    }
    limits.verdict()
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let ids: Vec<NodeId> = (0..plan.nodes).map(|n| NodeId::of(&hash(n as u64))).collect();
        let names: Vec<SegmentId> =
            ids[..plan.segments].iter().map(|id| SegmentId::of(id, InterfaceIndex(1))).collect();
        // Each is at home on one segment, and every other one is a relay to the next and to any third.
        let homes = |n: usize| {
            let drawn = usize::from(hash(n as u64)[0]) * 256 + usize::from(hash(n as u64)[2]);
            let mut homes = vec![n % plan.segments];
            if (n / plan.segments).is_multiple_of(2) {
                homes.extend([(n + 1) % plan.segments, drawn % plan.segments]);
                homes.sort_unstable();
                homes.dedup();
            }
            homes.into_iter()
        };
        let mut members = vec![Vec::new(); plan.segments];
        (0..plan.nodes).for_each(|n| homes(n).for_each(|segment| members[segment].push(ShortId::of(&ids[n]))));
        let link = |n: usize, segment: usize| {
            let start = usize::from(hash(n as u64)[3]) % members[segment].len();
            let missed = members[segment].iter().skip(start).filter(|short| **short != ShortId::of(&ids[n]));
            SegmentLink {
                namer: ShortIds(Vec::new()),
                segment: names[segment],
                mtu: 1_500,
                cost: 5 + u16::from(hash(n as u64)[1] % 20),
                unheard: ShortIds(missed.take(if n.is_multiple_of(10) { plan.missed } else { 0 }).copied().collect()),
                loss: LossClass::CLEAN,
                lossy: LossyIds::default(),
            }
        };
        let body = |n| LinksBody {
            segments: homes(n).map(|segment| link(n, segment)).collect(),
            direct: Vec::new(),
            is_joint: false,
        };
        let links: Vec<LinksBody> = (0..plan.nodes).map(body).collect();
        let mut map = Map::new(ids[0]);
        for (id, links) in ids.iter().zip(&links) {
            map.set_links(*id, links.clone());
        }
        for ((namer, segment), members) in ids.iter().zip(&names).zip(&members) {
            for (part, members) in (0u8..).zip(members.chunks(MAX_MEMBERS_OF_PART / 2)) {
                map.set_members(*namer, *segment, part, members.to_vec());
            }
        }
        Self { plan, ids, map, links }
    }

    fn reached(&mut self) -> usize {
        self.ids.iter().filter(|id| self.map.next_hop(id).is_some()).count()
    }

    /// As [`Limits::hold`], of a question to this map.
    fn hold(
        &mut self,
        limits: &mut Limits,
        what: &str,
        limit: Duration,
        calls: usize,
        call: impl Fn(&mut Self, usize),
    ) {
        limits.hold(what, limit, calls, |n| call(self, n));
    }
}

/// Bytes that look drawn, and are the same in every run.
fn hash(n: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, eight) in bytes.chunks_mut(8).enumerate() {
        let mixed = (n * 4 + place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        eight.copy_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    bytes
}

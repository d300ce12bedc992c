//! The promises about the log's content, between real nodes on one segment: what a disk spoilt comes back from others, and of two bodies
//! that an author signs for one number all keep the same.

#[path = "segment/lan.rs"]
mod lan;

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::log::{LogRow, SavedLog};
use kodikon_core::effect::{Command, Event, Input};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Duration;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::{OpId, OpLane, SignedOp, Statement};
use kodikon_core::model::record::{NewRecord, RecordOrder};
use lan::Lan;

/// Sightings of node 1.
const MANY: usize = 500;

/// Three nodes that hold many sightings of the first, and alerts.
fn filled() -> Lan {
    let mut lan = Lan::new();
    (1..=3).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(2));
    for n in 0..MANY {
        let record = NewRecord::new(&format!("hash {n}"));
        lan.hand(1, Input::Command(Command::Add(RecordOrder { ticket: Ticket(1), record })));
        if n % 50 == 0 {
            lan.run(Duration::from_secs(1));
        }
    }
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.stores[&2].rows.len(), MANY);
    lan
}

fn restart(lan: &mut Lan, n: u8, log: SavedLog) {
    lan.nodes.remove(&n);
    lan.start_with(n, |boot| {
        boot.epoch = Epoch::new(2, u32::from(n));
        boot.seed = [n ^ 0x80; 32];
        boot.saved.log = log;
    });
}

fn log_roots(lan: &Lan) -> BTreeSet<u64> {
    lan.nodes.values().map(kodikon_core::node::Node::log_root).collect()
}

/// The row with a bit of its signature turned, as a checksum of its words does not see.
fn unsigned(row: &LogRow) -> LogRow {
    let mut bytes = minicbor::to_vec(&row.op).expect("a Vec takes all");
    *bytes.last_mut().expect("it is long") ^= 1;
    let op: SignedOp = minicbor::decode(&bytes).expect("it can be read");
    assert!(op.says_the_same(&row.op) && op != row.op);
    LogRow { op, ..row.clone() }
}

/// The op with other words under the same number, signed by node 1 as well.
fn again(op: &SignedOp, wall: u64) -> SignedOp {
    let says = Statement {
        kind: op.kind(),
        key: Vec::new(),
        body: op.body().to_vec(),
        lamport: op.lamport(),
        wall: kodikon_core::ground::time::WallTime(wall),
    };
    SignedOp::sign(&Identity::from_secret(&[1; 32]), Config::new("cam1").mesh_id(), op.epoch(), op.seq(), says)
}

#[test]
fn what_a_disk_lost_or_spoilt_comes_back_from_others_and_is_told() {
    let mut lan = filled();
    let mut log = lan.stores[&2].clone();
    let lost = log.rows.remove(17);
    log.lost.push(OpId::of(&lost.op));
    log.rows[401] = unsigned(&log.rows[401]);
    restart(&mut lan, 2, log.clone());
    let whole = lan.stores[&3].clone();
    restart(&mut lan, 3, whole);
    lan.run(Duration::from_secs(8));
    let told = lan.times(|event| matches!(event, Event::LogRotten(1)));
    assert_eq!(
        told.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        [2, 2],
        "the first at once, the second when it was checked"
    );
    assert_eq!(lan.nodes[&2].stats().log_rotten, 2);
    assert_eq!(lan.nodes[&3].stats().log_rotten, 0);
    assert_eq!(lan.nodes[&2].stats().signatures_checked / 500, 1, "each that the disk held, and few besides");
    assert_eq!(log_roots(&lan).len(), 1);
    let rows: BTreeMap<OpId, &LogRow> = lan.stores[&2].rows.iter().map(|row| (OpId::of(&row.op), row)).collect();
    for row in &lan.stores[&1].rows {
        assert_eq!(rows[&OpId::of(&row.op)].op, row.op, "on its disk too");
    }
    // Whoever pulls finds nothing false in what it gives.
    lan.start(4);
    lan.run(Duration::from_secs(5));
    assert_eq!(
        (log_roots(&lan).len(), lan.nodes[&4].stats().dropped(kodikon_core::ground::stats::Reject::Signature)),
        (1, 0)
    );
}

/// A spoilt sighting that stays on its node was waited for: its author's cards told for ever that its run was not over.
#[test]
fn what_stays_on_a_node_and_is_spoilt_is_waited_for_by_nobody() {
    let mut lan = Lan::new();
    (1..=2).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(2));
    let here = NewRecord { local: true, ..NewRecord::new("here") };
    let short = NewRecord { ttl: Duration::from_secs(10), ..NewRecord::new("short") };
    for record in [here, short] {
        lan.hand(1, Input::Command(Command::Add(RecordOrder { ticket: Ticket(1), record })));
    }
    lan.run(Duration::from_secs(2));
    let mut log = lan.stores[&1].clone();
    let stays = log.rows.iter().position(|row| row.op.lane() == OpLane::Local).expect("it is on the disk");
    let lost = log.rows.remove(stays);
    log.lost.push(OpId::of(&lost.op));
    restart(&mut lan, 1, log);
    assert_eq!(lan.times(|event| matches!(event, Event::LogRotten(1))).len(), 1);
    lan.run(Duration::from_secs(60));
    let covers = &lan.stores[&1].covers;
    assert!(covers.iter().all(|cover| cover.lost.is_empty()), "{covers:?}");
}

#[test]
fn of_two_bodies_of_one_number_all_keep_the_same_and_their_author_is_named() {
    for wall in [5, u64::MAX] {
        let mut lan = filled();
        // The author's own node takes what is said in its name for a copy of itself; this one has done its harm.
        lan.nodes.remove(&1);
        let mut log = lan.stores[&2].clone();
        log.rows[333].op = again(&log.rows[333].op, wall);
        restart(&mut lan, 2, log);
        assert_eq!(log_roots(&lan).len(), 2, "they cover the same, and differ in one word");
        lan.run(Duration::from_secs(6));
        assert_eq!(log_roots(&lan).len(), 1, "wall {wall}");
        let told = lan.times(|event| matches!(event, Event::Equivocated { name, .. } if name == "cam1"));
        assert!(!told.is_empty());
        assert_eq!(lan.nodes.values().map(|node| node.stats().log_rotten).sum::<u64>(), 0, "no disk is to blame");
    }
}

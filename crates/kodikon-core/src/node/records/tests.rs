//! Whatever the order in which a node hears what was said of sightings, in whatever parts and how often: it shows the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::effect::log::{LogCover, LogRow, SavedLog};
use crate::effect::{Command, Event, Input, Output};
use crate::ground::config::{Config, Deletes};
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant, WallTime};
use crate::model::identity::{Identity, Zip215Verifier};
use crate::model::letter::Ticket;
use crate::model::member::Card;
use crate::model::op::{OpId, OpKind, OpLane, SignedOp, Statement};
use crate::model::record::{DeleteBody, Filter, NewRecord, RecordOrder, Removed, Sighting, Stored};
use crate::node::bench::{Bench, identity as bench_identity, ip};
use crate::node::{Boot, Node, Saved};
use crate::wire::message::{Cover, Digest, Interval, Log, LogEntry};

const AUTHORS: u8 = 3;

fn now() -> Instant {
    Instant::from_start(Duration::from_secs(1))
}

/// What somebody says: of the ops before it those that it updates or takes back are named by their place, modulo how many there are.
#[derive(Debug, Clone)]
enum Saying {
    Add(u8),
    Update(u8, usize),
    Delete(u8, Vec<usize>),
}

fn saying() -> impl Strategy<Value = Saying> {
    prop_oneof![
        3 => (0..AUTHORS).prop_map(Saying::Add),
        2 => (0..AUTHORS, any::<usize>()).prop_map(|(author, of)| Saying::Update(author, of)),
        1 => (0..AUTHORS, proptest::collection::vec(any::<usize>(), 1..4)).prop_map(|(by, of)| Saying::Delete(by, of)),
    ]
}

/// Ops, and what is to be shown when all have been heard.
#[derive(Debug, Default)]
struct Said {
    ops: Vec<SignedOp>,
    /// The sighting that each op of one tells of.
    told: Vec<(OpId, Sighting)>,
    gone: Vec<(NodeId, Removed)>,
}

impl Said {
    fn of(sayings: &[Saying]) -> Self {
        let mut said = Self::default();
        for saying in sayings {
            match saying {
                Saying::Add(author) => said.tell(*author, None),
                Saying::Update(author, of) => {
                    let me = identity(*author).id();
                    let own: Vec<Sighting> =
                        said.told.iter().filter(|(id, _)| id.author == me).map(|(_, sighting)| *sighting).collect();
                    let of = own.get(of % own.len().max(1)).copied();
                    said.tell(*author, of);
                }
                Saying::Delete(by, of) => said.delete(*by, of),
            }
        }
        said
    }

    fn tell(&mut self, author: u8, of: Option<Sighting>) {
        let mut body = NewRecord::new("seen").body("cam");
        body.metadata = format!("{{\"n\":{}}}", self.ops.len());
        body.replaces = of.map(|Sighting(first)| (first.epoch.0, first.seq.0));
        let op = self.sign(author, OpKind::Record, minicbor::to_vec(body).unwrap());
        let id = OpId::of(&op);
        self.told.push((id, of.unwrap_or(Sighting(id))));
        self.ops.push(op);
    }

    fn delete(&mut self, by: u8, of: &[usize]) {
        if self.told.is_empty() {
            return;
        }
        let named = of.iter().map(|place| self.told[place % self.told.len()]);
        let removes: Vec<Removed> = named.map(|(id, sighting)| Removed::up_to(id, sighting)).collect();
        let body = DeleteBody { hash_value: "seen".to_owned(), removes: removes.clone(), ttl_ms: 600_000 };
        let op = self.sign(by, OpKind::RecordDelete, minicbor::to_vec(body).unwrap());
        self.gone.extend(removes.into_iter().map(|removed| (op.author(), removed)));
        self.ops.push(op);
    }

    fn sign(&self, author: u8, kind: OpKind, body: Vec<u8>) -> SignedOp {
        let identity = identity(author);
        let seq = 1 + self.ops.iter().filter(|op| op.author() == identity.id()).count() as u64;
        let statement = Statement { kind, key: Vec::new(), body, lamport: 1, wall: WallTime(1) };
        SignedOp::sign(&identity, Config::new("").mesh_id(), Epoch::new(1, u32::from(author)), Seq(seq), statement)
    }

    /// Of each sighting the newest that nobody may take back and did.
    fn shown(&self, deletes: Deletes) -> BTreeSet<OpId> {
        let mut newest: BTreeMap<Sighting, OpId> = BTreeMap::new();
        for (id, sighting) in &self.told {
            let is_gone = |(by, removed): &(NodeId, Removed)| {
                let is_allowed = deletes == Deletes::All || by.0 == removed.author;
                is_allowed && removed.sighting() == *sighting && *id <= removed.newest()
            };
            if !self.gone.iter().any(is_gone) {
                let held = newest.entry(*sighting).or_insert(*id);
                *held = (*held).max(*id);
            }
        }
        newest.into_values().collect()
    }
}

fn identity(author: u8) -> Identity {
    Identity::from_secret(&[author + 10; 32])
}

fn node(deletes: Deletes) -> Node {
    node_with(deletes, Saved::default())
}

fn node_with(deletes: Deletes, saved: Saved) -> Node {
    let mut config = Config::new("listener");
    config.deletes = deletes;
    let boot = Boot {
        config,
        identity: Identity::from_secret(&[1; 32]),
        epoch: Epoch::new(1, 1),
        seed: [1; 32],
        port: 10_000,
        wall: WallTime(1_800_000_000_000),
        saved,
        verifier: Box::<Zip215Verifier>::default(),
    };
    let mut node = Node::new(now(), boot);
    // The ops are signed for the mesh of one policy; what is asked here is what each policy makes of them.
    node.ctx.mesh = Config::new("").mesh_id();
    node
}

/// Lets a node hear ops in parts of this many.
fn hear(node: &mut Node, ops: &[SignedOp], part: usize) {
    let key = |op: &SignedOp| (0..AUTHORS).map(identity).find(|author| author.id() == op.author());
    for ops in ops.chunks(part) {
        let entry = |op: &SignedOp| LogEntry {
            op: op.clone(),
            age_ms: 0,
            key: key(op).map(|author| author.public_key()),
            rested: None,
        };
        let log = Log { entries: ops.iter().map(entry).collect(), ..Log::default() };
        node.replication.on_log(now(), NodeId([9; 16]), log, &BTreeSet::new(), &mut node.ctx);
        node.read_notices(now());
    }
}

fn shown(node: &Node) -> BTreeSet<OpId> {
    node.find(now(), &Filter::default(), None, usize::MAX).records.into_iter().map(|view| view.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_node_shows_the_same_whatever_it_heard_first_in_what_parts_and_how_often(
        sayings in proptest::collection::vec(saying(), 1..24),
        order in proptest::collection::vec(any::<u64>(), 48),
        parts in (1usize..7, 1usize..7),
        is_strict in any::<bool>(),
    ) {
        let deletes = if is_strict { Deletes::Author } else { Deletes::All };
        let said = Said::of(&sayings);
        let mut shuffled: Vec<(u64, SignedOp)> = order.iter().copied().zip(said.ops.iter().chain(&said.ops).cloned()).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let shuffled: Vec<SignedOp> = shuffled.into_iter().map(|(_, op)| op).collect();
        let (mut one, mut two) = (node(deletes), node(deletes));
        hear(&mut one, &said.ops, parts.0);
        hear(&mut two, &shuffled, parts.1);
        let expected = said.shown(deletes);
        prop_assert_eq!(shown(&one), expected.clone(), "as they were said");
        prop_assert_eq!(shown(&two), expected, "in another order, twice");
        prop_assert_eq!(one.registry().content, two.registry().content);
        prop_assert_eq!(one.log_root(), two.log_root(), "and what is held is the same");
        prop_assert_eq!(one.ctx.stats.dropped(Reject::Signature), 0);
        // What was over for one is over for the other: it does not come back with what is said again.
        hear(&mut one, &shuffled, parts.1);
        prop_assert_eq!(shown(&one), shown(&two));
        prop_assert!(two.find(now() + Duration::from_secs(1), &Filter::default(), None, 1).records.len() <= 1);
    }
}

#[test]
fn however_much_is_said_to_be_over_a_turn_ends_some_of_it_and_the_next_the_rest() {
    let mut node = node(Deletes::All);
    let mut said = Said::default();
    (0..600).for_each(|_| said.tell(0, None));
    hear(&mut node, &said.ops, 50);
    assert_eq!(shown(&node).len(), 600);
    let (author, epoch) = (identity(0).id().0, Epoch::new(1, 0).0);
    let over = |first, last| Cover { author, epoch, intervals: vec![Interval { first, last }] };
    let log = Log { over: vec![over(1, 200), over(201, 600)], ..Log::default() };
    node.replication.on_log(now(), NodeId([9; 16]), log, &BTreeSet::new(), &mut node.ctx);
    node.read_notices(now());
    let mut left = vec![shown(&node).len()];
    for _ in 0..2 {
        node.handle(now(), Input::Wake);
        left.push(shown(&node).len());
    }
    assert_eq!(left, [344, 88, 0]);
}

#[test]
fn however_many_runs_of_others_hold_something_this_node_can_say_something() {
    let author = identity(0);
    let body = minicbor::to_vec(NewRecord::new("seen").body("cam")).unwrap();
    let say = |run: u32| {
        let statement =
            Statement { kind: OpKind::Record, key: Vec::new(), body: body.clone(), lamport: 1, wall: WallTime(1) };
        SignedOp::sign(&author, Config::new("").mesh_id(), Epoch::new(run, 0), Seq(1), statement)
    };
    let rows: Vec<LogRow> = (1..=16_320).map(|run| LogRow { op: say(run), born_ms: 0 }).collect();
    let cover = |row: &LogRow| LogCover {
        author: author.id(),
        epoch: row.op.epoch(),
        key: author.public_key(),
        covered: vec![Interval { first: 1, last: 1 }],
        lost: Vec::new(),
    };
    let covers = rows.iter().map(cover).collect();
    let log = SavedLog { rows, covers, ..SavedLog::default() };
    let mut node = node_with(Deletes::All, Saved { log, ..Saved::default() });
    assert_eq!(shown(&node).len(), 16_320);
    hear(&mut node, &(20_001..=20_064).map(say).collect::<Vec<_>>(), 10);
    assert_eq!(node.ctx.stats.dropped(Reject::Limit), 64);
    while node.poll_output().is_some() {}
    let order = RecordOrder { ticket: Ticket(1), record: NewRecord::new("own") };
    node.handle(now(), Input::Command(Command::Add(order)));
    let is_refusal =
        |output: &Output| matches!(output, Output::Event(Event::Stored { outcome: Stored::Refused { .. }, .. }));
    let outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
    assert!(!outputs.iter().any(is_refusal), "{outputs:?}");
    let writes = |output: &Output| if let Output::Commit { batch, .. } = output { batch.rows.len() } else { 0 };
    assert_eq!(outputs.iter().map(writes).sum::<usize>(), 1);
}

#[test]
fn however_much_runs_hold_that_a_card_ends_a_turn_ends_some_of_it_and_nothing_is_added() {
    let mut bench = Bench::new(1);
    let (author, old) = (bench_identity(1), Epoch::new(1, 1));
    let body = minicbor::to_vec(NewRecord::new("seen").body("cam")).unwrap();
    let say = |bench: &Bench, seq| bench.say_in(old, 1, seq, (OpKind::Record, &[], body.clone()));
    let entry = |op| LogEntry { op, age_ms: 0, key: Some(author.public_key()), rested: None };
    for part in 0..12 {
        let entries = (1..=50).map(|seq| entry(say(&bench, 50 * part + seq))).collect();
        let log = Log { entries, ..Log::default() };
        bench.node.replication.on_log(bench.now, author.id(), log, &BTreeSet::new(), &mut bench.node.ctx);
        bench.node.read_notices(bench.now);
    }
    assert_eq!(shown(&bench.node).len(), 600);
    let (_, card) = bench.card(1, ip(1));
    let card = Card { log_floor: Some(Epoch::new(3, 1).0), life: 1, ..card };
    bench.hear_op(1, bench.say(1, 2, OpKind::Card, &[], minicbor::to_vec(&card).unwrap()));
    let left = shown(&bench.node).len();
    assert!((1..600).contains(&left), "{left} of 600");
    let log = Log { entries: vec![entry(say(&bench, 601))], ..Log::default() };
    bench.node.replication.on_log(bench.now, author.id(), log, &BTreeSet::new(), &mut bench.node.ctx);
    bench.node.read_notices(bench.now);
    assert!(shown(&bench.node).len() <= left);
    for _ in 0..3 {
        bench.hand(Input::Wake);
    }
    assert_eq!(shown(&bench.node).len(), 0);
    assert_eq!(bench.node.log_root(), node(Deletes::All).log_root(), "nothing is held any more");
}

#[test]
fn an_author_of_ever_more_runs_leaves_room_for_others() {
    let body = minicbor::to_vec(NewRecord::new("seen").body("cam")).unwrap();
    let say = |author: u8, run: u32| {
        let statement =
            Statement { kind: OpKind::Record, key: Vec::new(), body: body.clone(), lamport: 1, wall: WallTime(1) };
        SignedOp::sign(&identity(author), Config::new("").mesh_id(), Epoch::new(run, 0), Seq(1), statement)
    };
    let rows: Vec<LogRow> = (1..=4_096).map(|run| LogRow { op: say(0, run), born_ms: 0 }).collect();
    let cover = |row: &LogRow| LogCover {
        author: identity(0).id(),
        epoch: row.op.epoch(),
        key: identity(0).public_key(),
        covered: vec![Interval { first: 1, last: 1 }],
        lost: Vec::new(),
    };
    let covers = rows.iter().map(cover).collect();
    let log = SavedLog { rows, covers, ..SavedLog::default() };
    let mut node = node_with(Deletes::All, Saved { log, ..Saved::default() });
    hear(&mut node, &[say(0, 5_000), say(1, 1), say(2, 1)], 3);
    assert_eq!(node.ctx.stats.dropped(Reject::Limit), 1);
    assert_eq!(shown(&node).len(), 4_096 + 2);
}

#[test]
fn a_peer_that_asks_without_end_is_answered_at_its_rate() {
    let mut node = node(Deletes::All);
    let digest = |lane| Digest { scope: u64::MAX, question: true, lane, ..Digest::default() };
    let mut ask = |at: Instant, from: u8| {
        let before = node.ctx.stats.dropped(Reject::Budget);
        for n in 0..3_000 {
            let lane = (n % 2 == 0).then_some(OpLane::Log.code());
            node.replication.on_digest(at, NodeId([from; 16]), &digest(lane), &mut node.ctx);
        }
        while node.poll_output().is_some() {}
        node.ctx.stats.dropped(Reject::Budget) - before
    };
    assert_eq!(ask(now(), 8), 2_000);
    assert_eq!(ask(now(), 9), 2_000, "each peer has its own");
    assert_eq!(ask(now() + Duration::from_secs(2), 8), 2_600);
}

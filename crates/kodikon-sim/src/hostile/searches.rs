//! Decides how a member lies in the searches of others: it answers with what nobody added before its own node does, and asks more than
//! anybody may.

use core::time::Duration;

use kodikon_core::effect::{Command, SendOrder};
use kodikon_core::ground::id::{Epoch, NodeId, Seq};
use kodikon_core::ground::random::Random;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::entries::space_of;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::record::{Confidence, DTYPE_F32, Embedding, RecordBody, SpaceKey};
use kodikon_core::model::search::{SearchOrder, Target};
use kodikon_core::wire::message::LogEntry;
use kodikon_core::wire::search::{ANSWER, QUERY, SearchAnswer, SearchQuery};

use crate::chance::{between, pick};
use crate::checks::Watch;
use crate::cluster::Cluster;

/// Searches of one flood: more than a peer may ask at once.
const FLOOD: u64 = 300;
/// Of so many lies one is a flood.
const FLOOD_ONE_IN: u64 = 20;

/// A search of which the liar has heard.
#[derive(Debug, Clone)]
pub struct Overheard {
    asker: usize,
    ticket: Ticket,
    numbers: Vec<f32>,
    model: String,
    k: usize,
}

impl Overheard {
    /// What an application looks for.
    #[must_use]
    pub fn new(asker: usize, order: &SearchOrder) -> Self {
        let numbers = match &order.target {
            Target::Numbers(query) => query.numbers().to_vec(),
            Target::Like(_) => vec![1.0; 16],
        };
        let model = order.model.clone().unwrap_or_else(|| "face".to_owned());
        Self { asker, ticket: order.ticket, numbers, model, k: order.k }
    }
}

/// When it is lied about: mostly when the asker has asked, and the liar's own node has not answered yet.
pub fn delay(random: &mut Random) -> Duration {
    between(random, Duration::from_millis(55), Duration::from_millis(160))
}

/// What the liar says to whoever searches.
pub fn lies(random: &mut Random, cluster: &Cluster<Watch>, liar: usize, heard: &Overheard) -> Vec<Command> {
    let truth = &cluster.observer.truth;
    let to = truth.nodes[heard.asker].id;
    let me = Identity::from_secret(&cluster.nodes[liar].disk.secret);
    let say = |kind: &str, payload: Vec<u8>| {
        let (kind, ticket) = (kind.to_owned(), Ticket::OWN);
        Command::Send(SendOrder { ticket, to, kind, payload, priority: Priority::Normal, timeout: None })
    };
    if random.below(FLOOD_ONE_IN) == 0 {
        return (0..FLOOD).map(|number| say(QUERY, query(heard, number))).collect();
    }
    let others: Vec<NodeId> = truth.nodes.iter().map(|node| node.id).filter(|id| *id != me.id() && *id != to).collect();
    let Some(victim) = pick(random, &others).copied() else { return Vec::new() };
    let mesh = cluster.nodes[liar].config.mesh_id();
    let kind = if random.below(2) == 0 { OpKind::Record } else { OpKind::LocalRecord };
    let body = minicbor::to_vec(record(heard)).expect("encoding into memory cannot fail");
    let statement = Statement { kind, key: Vec::new(), body, lamport: 1, wall: WallTime(0) };
    let seq = Seq(1 + random.below(1_000));
    let op = SignedOp::sign(&me, mesh, Epoch(random.bits() >> 1), seq, statement);
    let entries = match random.below(3) {
        0 => Vec::new(),
        // Under another's name; or, of what never leaves its node, as if that other had told it.
        _ => renamed(&op, me.id(), victim).into_iter().map(|op| entry(op, me.public_key())).collect(),
    };
    let answer = |part, parts| {
        let entries = entries.clone();
        SearchAnswer { number: heard.ticket.0, part, parts, certified: false, entries, declined: None }.bytes()
    };
    match random.below(4) {
        0 => vec![say(ANSWER, answer(0, 3)), say(ANSWER, answer(1, 2)), say(ANSWER, answer(0, 3))],
        1 => vec![say(ANSWER, vec![0xff; 40])],
        _ => vec![say(ANSWER, answer(0, 1)), say(ANSWER, answer(0, 1))],
    }
}

fn entry(op: SignedOp, key: [u8; 32]) -> LogEntry {
    LogEntry { op, age_ms: 0, key: Some(key), rested: None }
}

/// The op with another author, under the signature that it had.
fn renamed(op: &SignedOp, me: NodeId, victim: NodeId) -> Option<SignedOp> {
    let mut bytes = minicbor::to_vec(op).expect("encoding into memory cannot fail");
    let place = bytes.windows(16).position(|window| window == me.0)?;
    bytes[place..place + 16].copy_from_slice(&victim.0);
    minicbor::decode(&bytes).ok()
}

/// A sighting that is as near to what is sought as can be.
fn record(heard: &Overheard) -> RecordBody {
    let dims = u16::try_from(heard.numbers.len()).unwrap_or(1);
    let key = SpaceKey { model: heard.model.clone(), dims, dtype: DTYPE_F32 };
    let mut stored = Vec::new();
    if let Some(space) = space_of(&key) {
        space.encode(&heard.numbers, &mut stored).expect("numbers that were asked for");
    }
    RecordBody {
        hash_value: "0000".to_owned(),
        data_type: "person".to_owned(),
        source: "cam".to_owned(),
        ttl_ms: 600_000,
        confidence: Confidence::FULL,
        metadata: "{\"gate\":\"g1\"}".to_owned(),
        embedding: Some(Embedding { model: key.model, dims, dtype: DTYPE_F32, stored }),
        ownership: None,
        seen_ms: None,
        replaces: None,
    }
}

fn query(heard: &Overheard, number: u64) -> Vec<u8> {
    let query = SearchQuery {
        number,
        numbers: SearchQuery::bytes_of(&heard.numbers),
        model: Some(heard.model.clone()),
        k: u16::try_from(heard.k).unwrap_or(1),
        left_ms: 60_000,
        ..SearchQuery::default()
    };
    query.bytes()
}

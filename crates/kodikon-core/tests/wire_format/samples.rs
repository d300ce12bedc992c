//! One sample of everything that travels, every optional field filled in once and left out once, and the fixed keys of the hex dumps.

use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::{Epoch, Seq, SessionTag};
use kodikon_core::ground::time::WallTime;
use kodikon_core::machines::membership::OpinionBody;
use kodikon_core::model::alert::{AckBody, AlertBody, ReceiptBody, ReceiptRow};
use kodikon_core::model::cast::CastId;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::Priority;
use kodikon_core::model::links::{
    DirectLink, LinksBody, LossClass, LossyIds, MembersBody, SegmentId, SegmentLink, ShortId, ShortIds, members_key,
};
use kodikon_core::model::member::{Card, READS_PACKED};
use kodikon_core::model::op::{OpKind, OpLane, SignedOp, Statement};
use kodikon_core::model::record::{Confidence, DTYPE_F16, DeleteBody, Embedding, RecordBody, Removed};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::cast::{Cast, Content, Covered, Half, Offer, Spread};
use kodikon_core::wire::clock::Ticks;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::letter::{
    Back, Carry, DeadLinks, Fragment, Got, KIND_TEXT, Letter, MAX_PIECE, Path, Receipt, Stamp, Text,
};
use kodikon_core::wire::message::{
    Beacon, Beat, Bulk, Bye, Challenge, Contents, Cover, Digest, Heard, Hello, Inquiry, Interval, Log, LogEntry,
    LogPiece, LogReceipt, Message, Naming, Ops, PartSum, Ping, Pong, Proof, Refusal, Run, Suspicion, Turn, bye_bytes,
    proof_bytes,
};
use kodikon_core::wire::seal::GroupKey;
use kodikon_core::wire::search::{SearchAnswer, SearchQuery};

/// The secret of the paper's node: the bytes from 0 to 31.
pub(crate) const SECRET: [u8; 32] = {
    let mut secret = [0; 32];
    let mut n = 0;
    while n < 32 {
        secret[n] = n as u8;
        n += 1;
    }
    secret
};
pub(crate) const TAG: [u8; 8] = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];
const EPOCH: Epoch = Epoch(0x0000_0001_0000_0002);
/// 24 November 2025, 16:00:00 UTC.
const WALL: WallTime = WallTime(1_764_000_000_000);
const SOMEBODY: [u8; 16] = [0x77; 16];
const SEGMENT: SegmentId = SegmentId(u64::MAX);

pub(crate) fn config() -> Config {
    Config::new("node_001")
}

pub(crate) fn identity() -> Identity {
    Identity::from_secret(&SECRET)
}

fn op(kind: OpKind, key: &[u8], body: Vec<u8>) -> SignedOp {
    let statement = Statement { kind, key: key.to_vec(), body, lamport: 1, wall: WALL };
    SignedOp::sign(&identity(), config().mesh_id(), EPOCH, Seq(1), statement)
}

/// The body of the paper's card, written by hand from the paper.
fn card_body() -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    let write = |e: &mut minicbor::Encoder<Vec<u8>>| {
        e.map(9)?.u8(0)?.bytes(&identity().public_key())?.u8(1)?.bytes(&identity().exchange_key())?;
        e.u8(2)?.bytes(&TAG)?.u8(3)?.u8(0)?.u8(4)?.str("node_001")?.u8(5)?.u8(1)?.u8(6)?.bool(false)?;
        e.u8(7)?.array(1)?.array(3)?.bytes(&[192, 168, 1, 7])?.u16(10_000)?.u8(24)?;
        e.u8(8)?.str("0.1.0")?.ok()
    };
    write(&mut e).expect("a Vec takes all");
    let body = e.into_writer();
    let card = Card::parse(&body).expect("it is a card");
    assert_eq!(minicbor::to_vec(&card).expect("a Vec takes all"), body, "a card is written as the paper says");
    body
}

/// A card that says that its owner reads packed letters; the paper's is of a version that did not.
fn card_of_a_reader() -> SignedOp {
    let mut card = Card::parse(&card_body()).expect("it is a card");
    card.features = Some(READS_PACKED);
    op(OpKind::Card, b"", minicbor::to_vec(&card).expect("a Vec takes all"))
}

pub(crate) fn card() -> SignedOp {
    op(OpKind::Card, b"", card_body())
}

fn state(json: Option<&str>) -> SignedOp {
    let entry = StateEntry { json: json.map(str::to_owned), version: 1, whole: json.map(|_| u64::MAX) };
    op(OpKind::State, b"battery_level", minicbor::to_vec(entry).expect("a Vec takes all"))
}

fn links() -> SignedOp {
    let somebody = || ShortIds(vec![ShortId([0x77; 8])]);
    let (loss, lossy) = (LossClass::WORST, LossyIds(vec![(ShortId([0x78; 8]), LossClass::WORST)]));
    let (unheard, namer) = (somebody(), somebody());
    let segment = SegmentLink { segment: SEGMENT, mtu: 1_500, cost: 5, unheard, namer, loss, lossy };
    let body = LinksBody {
        segments: vec![segment],
        direct: vec![DirectLink { peer: somebody(), cost: 1_000, loss }],
        is_joint: true,
    };
    op(OpKind::Links, b"", minicbor::to_vec(body).expect("a Vec takes all"))
}

fn members() -> SignedOp {
    let body = MembersBody { index: 2, members: ShortIds(vec![ShortId([0x77; 8]); 2]) };
    op(OpKind::Links, &members_key(SEGMENT, 63), minicbor::to_vec(body).expect("a Vec takes all"))
}

fn opinion() -> SignedOp {
    let body = OpinionBody { epoch: EPOCH.0, life: 1, failed: true, reason: 1 };
    op(OpKind::Opinion, &SOMEBODY, minicbor::to_vec(body).expect("a Vec takes all"))
}

/// A letter of the paper's node to somebody.
pub(crate) fn letter(body: Vec<u8>) -> Letter {
    let number = u64::from(u32::MAX);
    Letter {
        origin: identity().id().0,
        epoch: EPOCH.0,
        to: SOMEBODY,
        number,
        attempt: 1,
        kind: KIND_TEXT,
        priority: 3,
        left_ms: 30_000,
        body,
        tag: [0x7a; 16],
    }
}

/// Letters on their way, whole and in pieces.
fn carried() -> Vec<Message> {
    let stamp = Stamp::of(&identity().id());
    let mut dead = DeadLinks::default();
    dead.add([(stamp, Stamp([0x77; 4]))]);
    let text = Text { kind: "ALARM".to_owned(), payload: b"{\"level\":3}".to_vec() };
    let fragment = Some(Fragment { index: 0, count: 60 });
    let piece = || letter(vec![b' '; MAX_PIECE]);
    let path = || Path(vec![stamp, Stamp([0x77; 4])]);
    let receipts = vec![Receipt { number: 3, tag: [0x3c; 16] }];
    vec![
        Message::Carry(Carry {
            number: 1,
            letter: letter(text.bytes()),
            hops: 5,
            path: Path::default(),
            dead: DeadLinks::default(),
            fragment: None,
        }),
        Message::Carry(Carry { number: 2, letter: piece(), hops: 3, path: path(), dead: dead.clone(), fragment }),
        Message::Got(Got { taken: vec![1, u64::MAX], receipts }),
        Message::Back(Back { number: 4, letter: letter(text.bytes()), dead: dead.clone(), fragment: None }),
        Message::Back(Back { number: 5, letter: piece(), dead, fragment }),
    ]
}

/// Ops of the log on their way, with their roots, and a receipt.
fn logged() -> Vec<Message> {
    let author = identity().id().0;
    let alert =
        AlertBody { priority: 3, ttl_ms: 3_600_000, source: "node_001".to_owned(), payload: b"{\"level\":3}".to_vec() };
    let alert = op(OpKind::Alert, b"", minicbor::to_vec(alert).expect("a Vec takes all"));
    let ack = AckBody { author, epoch: EPOCH.0, seq: 1, by: "guard".to_owned(), ttl_ms: 60_000 };
    let ack = op(OpKind::AlertAck, b"", minicbor::to_vec(ack).expect("a Vec takes all"));
    let mut card = Card::parse(&card_body()).expect("it is a card");
    card.log_floor = Some(EPOCH.0);
    let card = op(OpKind::Card, b"", minicbor::to_vec(card).expect("a Vec takes all"));
    let row = ReceiptRow { epoch: EPOCH.0, shown: vec![(1, 2), (4, u64::MAX)], durable: vec![(1, 1)] };
    let receipt = ReceiptBody { rows: vec![row.clone()], more: Some(vec![row]) };
    let receipt = op(OpKind::Receipt, &SOMEBODY, minicbor::to_vec(receipt).expect("a Vec takes all"));
    let over = Cover { author, epoch: EPOCH.0, intervals: vec![Interval { first: 1, last: 1 }] };
    let entries = vec![
        LogEntry { op: alert, age_ms: 0, key: None, rested: None },
        LogEntry { op: ack, age_ms: 80, key: Some(identity().public_key()), rested: Some(true) },
    ];
    let bytes = vec![b' '; 1_200];
    let piece =
        LogPiece { author, epoch: EPOCH.0, seq: 1, index: 0, count: 14, age_ms: 80, bytes, key: None, rested: None };
    let numbers = Interval { first: 1, last: u64::MAX };
    let part = PartSum { author, epoch: u64::MAX, numbers, sum: u64::MAX };
    let digest = Digest {
        covers: Vec::new(),
        scope: u64::MAX,
        sums: vec![0; 64],
        question: true,
        lane: Some(OpLane::Log.code()),
        ..Digest::default()
    };
    vec![
        Message::Ops(Ops { ops: vec![receipt, card], covered: Vec::new() }),
        Message::Log(Log { entries, over: vec![over], more: Some(1 << 63), pipe: Some(true) }),
        Message::Log(Log { entries: registered(), ..Log::default() }),
        Message::Bulk(Bulk { got: 0, until: u64::MAX }),
        Message::LogReceipt(LogReceipt { lamport: 9, body: vec![0xa1, 0, 0x80], tag: [7; 16] }),
        Message::Contents(Contents { sums: vec![u64::MAX; 64], parts: Vec::new() }),
        Message::Contents(Contents { sums: Vec::new(), parts: vec![part; 20] }),
        Message::LogPiece(LogPiece { key: Some(identity().public_key()), rested: Some(true), ..piece.clone() }),
        Message::LogPiece(piece),
        Message::Digest(Digest {
            from: Some(Run { author, epoch: EPOCH.0 }),
            until: Some(Run { author: [0xff; 16], epoch: u64::MAX }),
            ..digest.clone()
        }),
        Message::Digest(digest),
        Message::Beacon(Beacon { root: 0, heard: 0, turn: None, number: None, log_root: Some(1) }),
        Message::Beat(Beat { root: 0, due_ms: 0, log_root: Some(1) }),
        Message::Pong(Pong { nonce: 0, root: Some(0), wall_ms: Some(0), log_root: Some(1), clock: None }),
    ]
}

/// A sighting, an update of it, and what takes both back.
fn registered() -> Vec<LogEntry> {
    let embedding =
        Embedding { model: "mobilenet_v2".to_owned(), dims: 2, dtype: DTYPE_F16, stored: vec![0, 60, 0, 52] };
    let full = RecordBody {
        hash_value: "a1b2c3".to_owned(),
        data_type: "person".to_owned(),
        source: "node_001".to_owned(),
        ttl_ms: 604_800_000,
        confidence: Confidence::new(0.93).expect("it is a share"),
        metadata: "{\"colour\":\"red\"}".to_owned(),
        embedding: Some(embedding),
        ownership: Some("{\"source_node_id\":\"node_002\"}".to_owned()),
        seen_ms: Some(WALL.0),
        replaces: Some((0, 1)),
    };
    let plain = RecordBody { embedding: None, ownership: None, seen_ms: None, replaces: None, ..full.clone() };
    let removed = Removed { author: SOMEBODY, epoch: EPOCH.0, seq: 3, first: None };
    let updated = Removed { first: Some((EPOCH.0, 1)), ..removed };
    let delete = DeleteBody { hash_value: "a1b2c3".to_owned(), removes: vec![removed, updated], ttl_ms: 60_000 };
    let encode = |body: &RecordBody| minicbor::to_vec(body).expect("a Vec takes all");
    let ops = [
        op(OpKind::Record, b"", encode(&plain)),
        op(OpKind::Record, b"", encode(&full)),
        op(OpKind::RecordDelete, b"", minicbor::to_vec(delete).expect("a Vec takes all")),
    ];
    ops.into_iter().map(|op| LogEntry { op, age_ms: 0, key: None, rested: None }).collect()
}

/// A cast of the paper's node.
pub(crate) fn cast(payload: Vec<u8>) -> Cast {
    let id = CastId { origin: identity().id(), epoch: EPOCH, number: u64::from(u32::MAX) };
    let text = Text { kind: "ALARM".to_owned(), payload };
    Cast::sign(&identity(), config().mesh_id(), id, Priority::Critical, Content::Text(text))
}

/// What is said to all, whole and in pieces, and what is said about it.
fn spread() -> Vec<Message> {
    let author = identity().id().0;
    let cover = || Cover { author, epoch: EPOCH.0, intervals: vec![Interval { first: 1, last: 4 }] };
    let whole = |cast, fragment| Spread {
        cast,
        age_ms: 30_000,
        hops: 5,
        path: Path(vec![Stamp([0x77; 4])]),
        map: u64::MAX,
        fragment,
        doubt_ms: 5_000,
        sent: Ticks(90_000),
    };
    let fragment = Some(Fragment { index: 0, count: 2 });
    let half = Half { origin: author, epoch: EPOCH.0, number: 5, have: u64::MAX };
    vec![
        Message::Spread(whole(cast(b"{\"level\":3}".to_vec()), None)),
        Message::Spread(whole(cast(vec![b' '; 2 * MAX_PIECE]).piece(0), fragment)),
        Message::Covered(Covered { covers: vec![cover()], halves: vec![half], wants: vec![cover()] }),
        Message::Offer(Offer { holds: vec![cover()], question: true }),
    ]
}

/// What is said in a search, by the rule that it follows.
pub(crate) fn searched() -> Vec<(&'static str, Vec<u8>)> {
    let everything = SearchQuery {
        number: u64::MAX,
        numbers: SearchQuery::bytes_of(&[1.0, -0.5]),
        model: Some("face".to_owned()),
        k: 1_000,
        fast: true,
        local: true,
        left_ms: 60_000,
        floor: Some(0.875),
        data_type: Some("person".to_owned()),
        author: Some(SOMEBODY),
        name: Some("node_001".to_owned()),
        named: SearchQuery::names_of(&[identity().id()]),
        since: Some(WALL.0),
        until: Some(WALL.0),
        conditions: vec![("gate".to_owned(), "g*".to_owned())],
        hash: Some("6c1f".to_owned()),
        except: Some("6c20".to_owned()),
        root: Some(u64::MAX),
    };
    let answer = SearchAnswer {
        number: u64::MAX,
        part: 0,
        parts: 1,
        certified: true,
        entries: registered(),
        declined: Some(true),
    };
    vec![("search-query", everything.bytes()), ("search-answer", answer.bytes())]
}

/// Every message. A new one belongs here: [`number_of`] does not compile without it, and a test counts.
pub(crate) fn messages() -> Vec<Message> {
    let cookie = [0xc0; 16];
    let mesh = config().mesh_id();
    let author = identity().id().0;
    let intervals = vec![Interval { first: 1, last: 1 }, Interval { first: 3, last: u64::MAX }];
    let cover = Cover { author, epoch: EPOCH.0, intervals };
    let proof = identity().sign(&proof_bytes(mesh, &cookie, &TAG));
    let goodbye = identity().sign(&bye_bytes(mesh, &author, EPOCH.0));
    let later = op(OpKind::Unknown(200), b"k", b"b".to_vec());
    // More than one datagram holds.
    let cards = vec![card(), card_of_a_reader(), state(Some("85")), state(None)];
    let ops = vec![links(), members(), opinion(), later];
    let turn = Turn { observer: 0x0102_0304, due_ms: 5_000 };
    let said = vec![
        hello(),
        Message::Challenge(Challenge { cookie }),
        Message::Proof(Proof { card: card(), cookie, signature: proof, clock: Ticks(90_000) }),
        Message::Beacon(Beacon { root: u64::MAX, heard: 7, turn: Some(turn), number: Some(u32::MAX), log_root: None }),
        Message::Beacon(Beacon { root: 0, heard: 0, turn: None, number: None, log_root: None }),
        beat(),
        Message::Ping(Ping { nonce: 1 << 63 }),
        Message::Pong(Pong {
            nonce: 1 << 63,
            root: Some(1),
            wall_ms: Some(WALL.0),
            log_root: None,
            clock: Some(Ticks(90_000)),
        }),
        Message::Inquiry(Inquiry { subject: SOMEBODY }),
        Message::Heard(Heard { subject: SOMEBODY, epoch: EPOCH.0, age_ms: 80 }),
        Message::Suspicion(Suspicion { subject: SOMEBODY, epoch: EPOCH.0, life: 1 }),
        Message::Bye(Bye { epoch: EPOCH.0, author, signature: goodbye }),
        Message::Ops(Ops { ops: cards, covered: Vec::new() }),
        Message::Ops(Ops { ops, covered: vec![cover.clone()] }),
        Message::Digest(Digest {
            covers: vec![cover],
            scope: u64::MAX,
            sums: Vec::new(),
            question: true,
            ..Digest::default()
        }),
        Message::Digest(Digest {
            covers: Vec::new(),
            scope: u64::MAX,
            sums: vec![u64::MAX; 64],
            question: false,
            ..Digest::default()
        }),
        Message::Refusal(Refusal { max_peers: 256 }),
        Message::Canary,
        Message::Naming(Naming { segment: SEGMENT, nonce: Some(1 << 63) }),
        Message::Naming(Naming { segment: SEGMENT, nonce: None }),
    ];
    said.into_iter().chain(carried()).chain(spread()).chain(logged()).collect()
}

/// The numbers of the paper, once more.
pub(crate) fn number_of(message: &Message) -> u64 {
    match message {
        Message::Hello(_) => 1,
        Message::Challenge(_) => 2,
        Message::Proof(_) => 3,
        Message::Beacon(_) => 4,
        Message::Beat(_) => 5,
        Message::Ping(_) => 6,
        Message::Pong(_) => 7,
        Message::Inquiry(_) => 8,
        Message::Heard(_) => 9,
        Message::Suspicion(_) => 10,
        Message::Bye(_) => 11,
        Message::Ops(_) => 12,
        Message::Digest(_) => 13,
        Message::Refusal(_) => 14,
        Message::Canary => 15,
        Message::Naming(_) => 16,
        Message::Carry(_) => 17,
        Message::Got(_) => 18,
        Message::Back(_) => 19,
        Message::Spread(_) => 20,
        Message::Covered(_) => 21,
        Message::Offer(_) => 22,
        Message::Log(_) => 23,
        Message::LogPiece(_) => 24,
        Message::Bulk(_) => 25,
        Message::LogReceipt(_) => 26,
        Message::Contents(_) => 27,
    }
}

/// The paper's HELLO.
pub(crate) fn hello() -> Message {
    Message::Hello(Hello { card: card(), index: 0 })
}

/// The paper's BEAT.
pub(crate) fn beat() -> Message {
    Message::Beat(Beat { root: 0x0123_4567_89ab_cdef, due_ms: 5_000, log_root: None })
}

pub(crate) fn text_of(message: &Message) -> Vec<u8> {
    let mut text = Vec::new();
    codec::encode(message, &mut text);
    text
}

/// A frame of the paper's node in the open mesh `kodikon`.
pub(crate) fn frame(counter: u64, message: &Message) -> Vec<u8> {
    let header = Header { tag: SessionTag(TAG), counter };
    GroupKey::new(&config().group_key()).session(header.tag).seal(&header, &text_of(message))
}

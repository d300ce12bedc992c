//! Every message in its JSON form, and what becomes of datagrams that hold none.

use kodikon_core::ground::id::{Epoch, InterfaceIndex, Seq};
use kodikon_core::ground::time::WallTime;
use kodikon_core::machines::membership::OpinionBody;
use kodikon_core::model::identity::Identity;
use kodikon_core::model::links::{
    DirectLink, LinksBody, LossClass, LossyIds, MembersBody, SegmentId, SegmentLink, ShortId, ShortIds, members_key,
};
use kodikon_core::model::op::{OpId, Statement};
use kodikon_core::model::record::{DTYPE_F16, DeleteBody, Embedding, NewRecord, Removed, Sighting};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::cast::{Cast, Covered, Half, Offer, Spread};
use kodikon_core::wire::clock::Ticks;
use kodikon_core::wire::json::{MessageKind, MessageType, NodeStatePayload};
use kodikon_core::wire::letter::{Back, Carry, DeadLinks, Fragment, Got, Letter, Path, Receipt, Stamp};
use kodikon_core::wire::message::{
    Beacon, Beat, Bulk, Bye, Challenge, Contents, Cover, Digest, Heard, Hello, Inquiry, Interval, LogReceipt, Naming,
    Ops, PartSum, Ping, Pong, Proof, Refusal, Suspicion, Turn, bye_bytes, proof_bytes,
};
use serde_json::{Value, json};

use super::*;

const TAG: [u8; 8] = [0xa1; 8];
const OTHER: [u8; 16] = [0xee; 16];
const WALL: WallTime = WallTime(1_764_000_000_250);

fn config() -> Config {
    Config::new("cam1")
}

fn me() -> Identity {
    Identity::from_secret(&[1; 32])
}

fn op(kind: OpKind, key: &[u8], body: Vec<u8>) -> SignedOp {
    let statement = Statement { kind, key: key.to_vec(), body, lamport: 7, wall: WALL };
    SignedOp::sign(&me(), config().mesh_id(), Epoch(5), Seq(2), statement)
}

fn card() -> SignedOp {
    let mut e = minicbor::Encoder::new(Vec::new());
    let address = |e: &mut minicbor::Encoder<Vec<u8>>| e.array(3)?.bytes(&[10, 0, 0, 1])?.u16(10_000)?.u8(24)?.ok();
    let write = |e: &mut minicbor::Encoder<Vec<u8>>| {
        e.map(9)?.u8(0)?.bytes(&me().public_key())?.u8(1)?.bytes(&me().exchange_key())?.u8(2)?.bytes(&TAG)?;
        e.u8(3)?.u8(3)?.u8(4)?.str("cam1")?.u8(5)?.u8(2)?.u8(6)?.bool(true)?.u8(7)?.array(1)?;
        address(e)?;
        e.u8(8)?.str("0.1.0")?.ok()
    };
    write(&mut e).expect("a Vec takes all");
    op(OpKind::Card, b"", e.into_writer())
}

fn state(json: Option<&str>) -> SignedOp {
    let entry = StateEntry { json: json.map(str::to_owned), version: 9, whole: None };
    op(OpKind::State, b"battery_level", minicbor::to_vec(entry).expect("a Vec takes all"))
}

/// A frame of the session whose card is [`card`].
fn frame_of(config: &Config, messages: &[Message]) -> Vec<u8> {
    let mut text = Vec::new();
    messages.iter().for_each(|message| codec::encode(message, &mut text));
    let header = Header { tag: SessionTag(TAG), counter: 42 };
    GroupKey::new(&config.group_key()).session(header.tag).seal(&header, &text)
}

fn frame(message: Message) -> Vec<u8> {
    frame_of(&config(), &[message])
}

fn decoder() -> Decoder {
    let mut decoder = Decoder::new("kodikon", None);
    decoder.learn(&frame(Message::Hello(Hello { card: card(), index: 0 })));
    decoder
}

/// The kind and payload of the one message in a frame, which the strict codec takes as well.
fn payload(message: Message) -> (String, Value) {
    let shown = decoder().decode(&frame(message), Some(3.5)).expect("it opens");
    let [message] = &shown[..] else { panic!("one message, not {shown:?}") };
    let read = JsonMessage::parse(message.to_json().as_bytes(), Origin::Api);
    assert_eq!(read.as_ref(), Ok(message));
    (message.kind.to_string(), message.payload.clone())
}

fn envelope(signed: Value) -> Value {
    let (author, at) = (me().id().to_string(), 1_764_000_000.25);
    json!({"author": author, "epoch": 5, "seq": 2, "lamport": 7, "timestamp": at, "signed": signed})
}

fn card_json() -> Value {
    json!({
        "name": "cam1", "rank": 2, "settled": true, "life": 3, "tag": hex(&TAG), "addresses": ["10.0.0.1:10000/24"],
        "version": "0.1.0", "public_key": hex(&me().public_key()), "exchange_key": hex(&me().exchange_key()),
    })
}

/// Of one who has nothing of the log.
fn receipt() -> LogReceipt {
    LogReceipt { lamport: 9, body: vec![0xa1, 0, 0x80], tag: [0xcd; 16] }
}

#[test]
fn every_message_is_shown_with_its_name_and_all_its_fields() {
    let (id, other) = (me().id(), json!({"id": hex(&OTHER), "name": null}));
    let myself = json!({"id": id.to_string(), "name": "cam1-2"});
    let (cookie, clock) = ([0xc0; 16], Some(Ticks(4)));
    let signature = me().sign(&proof_bytes(config().mesh_id(), &cookie, &TAG));
    let goodbye = me().sign(&bye_bytes(config().mesh_id(), &id.0, 5));
    let beacon = |turn| Message::Beacon(Beacon { root: 0xff, heard: 5, turn, number: None, log_root: None });
    let table = [
        (
            Message::Hello(Hello { card: card(), index: 3 }),
            "HELLO",
            json!({"op": envelope(json!(true)), "card": card_json(), "index": 3}),
        ),
        (Message::Challenge(Challenge { cookie }), "CHALLENGE", json!({"cookie": "c0".repeat(16)})),
        (
            Message::Proof(Proof { card: card(), cookie, signature, clock: Ticks(4) }),
            "PROOF",
            json!({"op": envelope(json!(true)), "card": card_json(), "cookie": "c0".repeat(16), "signed": true, "clock_ms": 4}),
        ),
        (
            beacon(Some(Turn { observer: 0xabc, due_ms: 900 })),
            "BEACON",
            json!({"root": "00000000000000ff", "heard": ["multicast4", "broadcast"], "turn": {"observer": "00000abc", "due_ms": 900}}),
        ),
        (
            beacon(None),
            "BEACON",
            json!({"root": "00000000000000ff", "heard": ["multicast4", "broadcast"], "turn": null}),
        ),
        (
            Message::Beat(Beat { root: u64::MAX, due_ms: 5_000, log_root: None }),
            "BEAT",
            json!({"root": "f".repeat(16), "due_ms": 5_000}),
        ),
        (Message::Ping(Ping { nonce: 1 }), "PING", json!({"nonce": "0000000000000001"})),
        (
            Message::Pong(Pong { nonce: 1, root: Some(2), wall_ms: Some(1_500), log_root: None, clock }),
            "PONG",
            json!({"nonce": "0000000000000001", "root": "0000000000000002", "wall_ms": 1_500, "clock_ms": 4}),
        ),
        (Message::Inquiry(Inquiry { subject: OTHER }), "INQUIRY", json!({"subject": other})),
        (
            Message::Heard(Heard { subject: id.0, epoch: 5, age_ms: 80 }),
            "HEARD",
            json!({"subject": myself, "epoch": 5, "age_ms": 80}),
        ),
        (
            Message::Suspicion(Suspicion { subject: OTHER, epoch: 5, life: 1 }),
            "SUSPICION",
            json!({"subject": other, "epoch": 5, "life": 1}),
        ),
        (
            Message::Bye(Bye { epoch: 5, author: id.0, signature: goodbye }),
            "BYE",
            json!({"author": myself, "epoch": 5, "signed": true}),
        ),
        (Message::Refusal(Refusal { max_peers: 10 }), "REFUSAL", json!({"max_peers": 10})),
        (Message::Canary, "CANARY", json!({})),
    ];
    for (message, kind, expected) in table {
        assert_eq!(payload(message.clone()), (kind.to_owned(), expected), "{message:?}");
    }
}

#[test]
fn what_the_log_and_the_map_say_is_shown_so_too() {
    let other = json!({"id": hex(&OTHER), "name": null});
    let part = PartSum { author: OTHER, epoch: 5, numbers: Interval { first: 1, last: 9 }, sum: 0xff };
    let table = [
        (Message::LogReceipt(receipt()), "LOG_RECEIPT", json!({"lamport": 9, "rows": [], "tag": "cd".repeat(16)})),
        (
            Message::Contents(Contents { sums: vec![5], parts: vec![part] }),
            "CONTENTS",
            json!({
                "sums": ["0000000000000005"],
                "parts": [{"author": other, "epoch": 5, "numbers": [1, 9], "sum": "00000000000000ff"}],
            }),
        ),
        (Message::Bulk(Bulk { got: 7, until: 1 << 40 }), "BULK", json!({"got": 7, "until": 1_u64 << 40})),
        (
            Message::Naming(Naming { segment: SegmentId(255), nonce: Some(7) }),
            "NAMING",
            json!({"segment": "00000000000000ff", "nonce": "0000000000000007"}),
        ),
    ];
    for (message, kind, expected) in table {
        assert_eq!(payload(message.clone()), (kind.to_owned(), expected), "{message:?}");
    }
}

#[test]
fn letters_are_shown_without_what_they_say() {
    let letter = Letter {
        origin: me().id().0,
        epoch: 5,
        to: OTHER,
        number: 7,
        attempt: 2,
        kind: 0,
        priority: 3,
        left_ms: 900,
        body: b"secret".to_vec(),
        tag: [0xab; 16],
    };
    let shown = json!({
        "origin": {"id": me().id().to_string(), "name": "cam1-2"},
        "epoch": 5,
        "to": {"id": hex(&OTHER), "name": null},
        "number": 7,
        "attempt": 2,
        "kind": 0,
        "priority": "critical",
        "left_ms": 900,
        "bytes": 6,
        "tag": "ab".repeat(16),
    });
    let mut dead = DeadLinks::default();
    dead.add([(Stamp([1; 4]), Stamp([2; 4]))]);
    let path = Path(vec![Stamp([3; 4])]);
    let fragment = Some(Fragment { index: 1, count: 2 });
    let links = json!([["01010101", "02020202"]]);
    let table = [
        (
            Message::Carry(Carry {
                number: 1,
                letter: letter.clone(),
                hops: 4,
                path,
                dead: dead.clone(),
                fragment: None,
            }),
            "CARRY",
            json!({"number": 1, "letter": shown, "hops": 4, "path": ["03030303"], "dead": links, "fragment": null}),
        ),
        (
            Message::Back(Back { number: 2, letter, dead, fragment }),
            "BACK",
            json!({"number": 2, "letter": shown, "dead": links, "fragment": {"index": 1, "count": 2}}),
        ),
        (
            Message::Got(Got { taken: vec![1], receipts: vec![Receipt { number: 2, tag: [0xcd; 16] }] }),
            "GOT",
            json!({"taken": [1], "receipts": [{"number": 2, "tag": "cd".repeat(16)}]}),
        ),
    ];
    for (message, kind, expected) in table {
        assert_eq!(payload(message.clone()), (kind.to_owned(), expected), "{message:?}");
    }
}

#[test]
fn casts_are_shown_with_all_but_their_words() {
    let cast = Cast {
        origin: OTHER,
        epoch: 3,
        number: 7,
        kind: 0,
        priority: 1,
        body: b"secret".to_vec(),
        signature: [0xab; 64],
    };
    let other = json!({"id": hex(&OTHER), "name": null});
    let shown = json!({
        "origin": other,
        "epoch": 3,
        "number": 7,
        "kind": 0,
        "priority": "normal",
        "bytes": 6,
        "signature": "ab".repeat(64),
    });
    let path = Path(vec![Stamp([3; 4])]);
    let cover = Cover { author: OTHER, epoch: 3, intervals: vec![Interval { first: 1, last: 4 }] };
    let covers = json!([{"author": other, "epoch": 3, "intervals": [[1, 4]]}]);
    let half = Half { origin: OTHER, epoch: 3, number: 5, have: 3 };
    let have = json!([{"origin": other, "epoch": 3, "number": 5, "have": "0000000000000003"}]);
    let fragment = Some(Fragment { index: 1, count: 2 });
    let table = [
        (
            Message::Spread(Spread {
                cast,
                age_ms: 12,
                hops: 4,
                path,
                map: 255,
                fragment,
                doubt_ms: 5,
                sent: Ticks(9),
            }),
            "SPREAD",
            json!({"cast": shown, "age_ms": 12, "hops": 4, "path": ["03030303"], "map": "00000000000000ff",
                "fragment": {"index": 1, "count": 2}, "doubt_ms": 5, "sent_ms": 9}),
        ),
        (
            Message::Covered(Covered { covers: vec![cover.clone()], halves: vec![half], wants: Vec::new() }),
            "COVERED",
            json!({"covers": covers, "halves": have, "wants": []}),
        ),
        (
            Message::Offer(Offer { holds: vec![cover], question: true }),
            "OFFER",
            json!({"covers": covers, "question": true}),
        ),
    ];
    for (message, kind, expected) in table {
        assert_eq!(payload(message.clone()), (kind.to_owned(), expected), "{message:?}");
    }
}

#[test]
fn covered_numbers_are_shown_by_author_and_interval() {
    let cover = Cover { author: OTHER, epoch: 3, intervals: vec![Interval { first: 1, last: 4 }] };
    let cover_json = json!({"author": {"id": hex(&OTHER), "name": null}, "epoch": 3, "intervals": [[1, 4]]});
    let table = [
        (
            Message::Ops(Ops { ops: Vec::new(), covered: vec![cover.clone()] }),
            "OPS",
            json!({"ops": 0, "covered": [cover_json]}),
        ),
        (
            Message::Digest(Digest {
                covers: vec![cover],
                scope: u64::MAX,
                sums: vec![1],
                question: true,
                ..Digest::default()
            }),
            "DIGEST",
            json!({"covers": [cover_json], "scope": "f".repeat(16), "sums": ["0000000000000001"], "question": true}),
        ),
    ];
    for (message, kind, expected) in table {
        assert_eq!(payload(message.clone()), (kind.to_owned(), expected), "{message:?}");
    }
}

#[test]
fn every_op_is_shown_as_a_message_of_its_author() {
    let say = |op| payload(Message::Ops(Ops { ops: vec![op], covered: Vec::new() }));
    let subject = json!({"id": hex(&OTHER), "name": null});
    let opinion = OpinionBody { epoch: 4, life: 1, failed: true, reason: 1 };
    let opinion = op(OpKind::Opinion, &OTHER, minicbor::to_vec(opinion).expect("a Vec takes all"));
    let sealed = envelope(json!(true));
    let table = [
        (card(), "CARD", json!({"op": sealed, "card": card_json()})),
        (
            state(Some("85.5")),
            "NODE_STATE_SYNC",
            json!({"node_id": "cam1-2", "state": {"battery_level": 85.5}, "version": 9, "timestamp": 1_764_000_000.25, "op": sealed}),
        ),
        (
            state(None),
            "NODE_STATE_SYNC",
            json!({"node_id": "cam1-2", "state": {"battery_level": null}, "version": 9, "timestamp": 1_764_000_000.25, "op": sealed}),
        ),
        (
            opinion,
            "OPINION",
            json!({"op": sealed, "subject": subject, "epoch": 4, "life": 1, "failed": true, "reason": "process ended"}),
        ),
        (
            op(OpKind::Unknown(99), b"k", b"b".to_vec()),
            "OP",
            json!({"op": sealed, "code": 99, "key": "6b", "body": "62"}),
        ),
        (op(OpKind::State, b"k", vec![0xff]), "STATE", json!({"op": sealed, "key": "6b", "body": "ff"})),
        (op(OpKind::Card, b"", vec![0xff]), "CARD", json!({"op": sealed, "card": "ff"})),
        (op(OpKind::Opinion, b"k", vec![0xff]), "OPINION", json!({"op": sealed, "key": "6b", "body": "ff"})),
    ];
    for (op, kind, expected) in table {
        assert_eq!(say(op.clone()), (kind.to_owned(), expected), "{op:?}");
    }
}

#[test]
fn a_sighting_is_shown_as_the_seeds_registry_message_without_its_numbers_and_what_removes_it_by_its_names() {
    let say = |op| payload(Message::Ops(Ops { ops: vec![op], covered: Vec::new() }));
    let record = NewRecord {
        data_type: "person".to_owned(),
        metadata: r#"{"n":1}"#.to_owned(),
        embedding: Some(Embedding { model: "m".to_owned(), dims: 2, dtype: DTYPE_F16, stored: vec![0, 60, 0, 60] }),
        ownership: Some(r#"{"transfer_token":"t"}"#.to_owned()),
        seen: Some(WALL),
        ..NewRecord::new("8f3a")
    };
    let body = minicbor::to_vec(record.body("cam1-2")).expect("a Vec takes all");
    let id = |seq: u64| OpId { author: NodeId(OTHER), epoch: Epoch(4), seq: Seq(seq) };
    let removes = vec![Removed::up_to(id(9), Sighting(id(9)))];
    let delete = DeleteBody { hash_value: "8f3a".to_owned(), removes, ttl_ms: 1_500 };
    let delete = minicbor::to_vec(delete).expect("a Vec takes all");
    let sealed = envelope(json!(true));
    let table = [
        (
            op(OpKind::Record, b"", body),
            "HASH_REGISTRY",
            json!({
                "op": sealed, "version": 7, "hash_value": "8f3a", "data_type": "person", "name": "cam1-2", "ttl_s": 604_800.0,
                "confidence": 1.0, "metadata": {"n": 1}, "ownership": {"transfer_token": "t"}, "replaces": null,
                "embedding": {"model": "m", "dims": 2, "dtype": "f16", "bytes": 4}, "seen": 1_764_000_000.25,
            }),
        ),
        (
            op(OpKind::RecordDelete, b"", delete),
            "RECORD_DELETE",
            json!({
                "op": sealed, "hash_value": "8f3a", "ttl_s": 1.5,
                "removes": [{"author": {"id": hex(&OTHER), "name": null}, "epoch": 4, "seq": 9}],
            }),
        ),
        (op(OpKind::Record, b"", vec![0xff]), "OP", json!({"op": sealed, "code": 18, "body": "ff"})),
    ];
    for (op, kind, expected) in table {
        assert_eq!(say(op.clone()), (kind.to_owned(), expected), "{op:?}");
    }
}

#[test]
fn links_are_shown_by_segment_and_members_by_the_segment_that_their_author_names() {
    let say = |key: &[u8], body: Vec<u8>| {
        payload(Message::Ops(Ops { ops: vec![op(OpKind::Links, key, body)], covered: Vec::new() }))
    };
    let (mine, other) = (ShortId::of(&me().id()), ShortId([0xee; 8]));
    let (myself, stranger) =
        (json!({"id": hex(&mine.0), "name": "cam1-2"}), json!({"id": "ee".repeat(8), "name": null}));
    let sealed = envelope(json!(true));
    let segment = SegmentLink {
        segment: SegmentId(255),
        mtu: 1_500,
        cost: 5,
        unheard: ShortIds(vec![mine, other]),
        namer: ShortIds(vec![mine]),
        loss: LossClass::of(300),
        lossy: LossyIds(vec![(other, LossClass::WORST)]),
    };
    let direct = DirectLink { peer: ShortIds(vec![other]), cost: 40, loss: LossClass::of(150) };
    let links = minicbor::to_vec(LinksBody { segments: vec![segment], direct: vec![direct], is_joint: true })
        .expect("a Vec takes all");
    let named = SegmentId::of(&me().id(), InterfaceIndex(3));
    let (key, foreign) = (members_key(named, 2), members_key(SegmentId(255), 2));
    let members = MembersBody { index: 3, members: ShortIds(vec![mine, other]) };
    let members = minicbor::to_vec(members).expect("a Vec takes all");
    let table = [
        (
            (&[][..], links),
            "LINKS",
            json!({
                "op": sealed,
                "segments": [{
                    "segment": "00000000000000ff", "namer": myself, "mtu": 1_500, "cost": 5, "unheard": [myself, stranger],
                    "loss": 340, "lossy": [{"peer": stranger, "loss": 800}],
                }],
                "direct": [{"peer": stranger, "cost": 40, "loss": 200}],
                "joint": true,
            }),
        ),
        (
            (&key[..], members.clone()),
            "MEMBERS",
            json!({"op": sealed, "segment": format!("{:016x}", named.0), "part": 2, "index": 3, "members": [myself, stranger]}),
        ),
        // The segment is not its author's to name.
        (
            (&foreign[..], members.clone()),
            "MEMBERS",
            json!({"op": sealed, "key": hex(&foreign), "body": hex(&members)}),
        ),
        ((&[][..], vec![0xff]), "LINKS", json!({"op": sealed, "key": "", "body": "ff"})),
    ];
    for ((key, body), kind, expected) in table {
        assert_eq!(say(key, body.clone()), (kind.to_owned(), expected), "{key:02x?} {body:02x?}");
    }
}

#[test]
fn a_short_id_that_two_nodes_share_has_no_name() {
    let mut decoder = decoder();
    let author = |name: &str| Author { name: name.to_owned(), public_key: [0; 32] };
    for (last, name) in [(1, "one"), (2, "two")] {
        let mut id = OTHER;
        id[15] = last;
        decoder.authors.insert(NodeId(id), author(name)).expect("there is room");
    }
    let members = MembersBody { index: 3, members: ShortIds(vec![ShortId::of(&NodeId(OTHER))]) };
    let key = members_key(SegmentId::of(&me().id(), InterfaceIndex(3)), 0);
    let op = op(OpKind::Links, &key, minicbor::to_vec(members).expect("a Vec takes all"));
    let shown =
        decoder.decode(&frame(Message::Ops(Ops { ops: vec![op], covered: Vec::new() })), None).expect("it opens");
    assert_eq!(shown[0].payload["members"], json!([{"id": "ee".repeat(8), "name": null}]));
}

#[test]
fn a_change_of_state_is_a_node_state_sync_as_the_seed_knows_it() {
    let ops = Message::Ops(Ops { ops: vec![state(Some("85"))], covered: Vec::new() });
    let shown = decoder().decode(&frame(ops), None).expect("it opens");
    assert_eq!(shown[0].kind, MessageKind::Seed(MessageType::NodeStateSync));
    let read = NodeStatePayload::try_from(&shown[0]).expect("the seed's payload");
    assert_eq!((read.node_id.as_str(), read.version), ("cam1-2", 9));
    assert_eq!((read.state["battery_level"].clone(), read.timestamp), (json!(85), 1_764_000_000.25));
}

#[test]
fn a_message_has_its_makers_time_or_that_of_the_capture() {
    let ops = |op| Message::Ops(Ops { ops: vec![op], covered: Vec::new() });
    let table = [
        (Message::Hello(Hello { card: card(), index: 0 }), 1_764_000_000.25),
        (Message::Pong(Pong { nonce: 1, root: Some(2), wall_ms: Some(1_500), log_root: None, clock: None }), 1.5),
        (ops(state(None)), 1_764_000_000.25),
        (Message::Canary, 3.5),
    ];
    for (message, expected) in table {
        let shown = decoder().decode(&frame(message), Some(3.5)).expect("it opens");
        assert_eq!((shown[0].timestamp, shown[0].seq), (expected, 42), "{shown:?}");
    }
    let shown = decoder().decode(&frame(Message::Canary), Some(f64::NAN)).expect("it opens");
    assert_eq!(shown[0].timestamp, 0.0, "nobody knows when");
}

#[test]
fn a_frame_bears_the_name_of_its_session_and_an_op_that_of_its_author() {
    let beat = Message::Beat(Beat { root: 0, due_ms: 1, log_root: None });
    let mut blank = Decoder::new("kodikon", None);
    let source = |decoder: &mut Decoder, message: &Message| {
        decoder.decode(&frame(message.clone()), None).expect("it opens").remove(0).source
    };
    assert_eq!(source(&mut blank, &beat), hex(&TAG), "before a card was seen");
    let passed_on = Message::Ops(Ops { ops: vec![state(Some("1"))], covered: Vec::new() });
    let shown = blank.decode(&frame(passed_on.clone()), None).expect("it opens").remove(0);
    assert_eq!((shown.source.as_str(), &shown.path[..]), (me().id().to_string().as_str(), &[hex(&TAG)][..]));
    assert_eq!(shown.payload["op"]["signed"], Value::Null, "nobody can tell");

    assert_eq!(source(&mut blank, &Message::Hello(Hello { card: card(), index: 0 })), "cam1-2");
    assert_eq!(source(&mut blank, &beat), "cam1-2");
    let shown = blank.decode(&frame(passed_on), None).expect("it opens").remove(0);
    assert_eq!((shown.source.as_str(), shown.path.len()), ("cam1-2", 0));
}

#[test]
fn a_forged_signature_is_shown_and_not_believed() {
    let mut bytes = minicbor::to_vec(card()).expect("a Vec takes all");
    *bytes.last_mut().expect("a signature") ^= 1;
    let forged: SignedOp = minicbor::decode(&bytes).expect("it is well formed");
    let mut blank = Decoder::new("kodikon", None);
    let hello = Message::Hello(Hello { card: forged, index: 0 });
    let shown = blank.decode(&frame(hello.clone()), None).expect("it opens").remove(0);
    assert_eq!((shown.source, &shown.payload["op"]["signed"]), (hex(&TAG), &Value::Null));
    let shown = decoder().decode(&frame(hello), None).expect("it opens").remove(0);
    assert_eq!(shown.payload["op"]["signed"], json!(false));
}

#[test]
fn several_messages_of_a_frame_are_shown_in_order() {
    let ops = Ops { ops: vec![state(Some("1")), card()], covered: Vec::new() };
    let mut text = Vec::new();
    for message in [Message::Ping(Ping { nonce: 1 }), Message::Ops(ops)] {
        codec::encode(&message, &mut text);
    }
    text.extend([0x82, 0x18, 0x63, 0xf6]); // [99, null]: of a later version
    let header = Header { tag: SessionTag(TAG), counter: 0 };
    let frame = GroupKey::new(&config().group_key()).session(header.tag).seal(&header, &text);
    let shown = decoder().decode(&frame, None).expect("it opens");
    let kinds: Vec<String> = shown.iter().map(|message| message.kind.to_string()).collect();
    assert_eq!(kinds, ["PING", "NODE_STATE_SYNC", "CARD", "UNKNOWN"]);
}

#[test]
fn a_mesh_is_read_with_its_name_and_key_whatever_its_policy() {
    let key = MeshKey::generate().expect("random bytes");
    let mut closed = config();
    closed.security = Security::Key(key.bytes().clone());
    closed.mesh_name = "fleet".to_owned();
    closed.deletes = Deletes::Author;
    let frame = frame_of(&closed, &[Message::Canary]);
    let read = |name, key| Decoder::new(name, key).decode(&frame, None).map(|shown| shown.len());
    assert_eq!(read("fleet", Some(&key)), Ok(1));
    assert_eq!(read("other", Some(&key)), Err(Undecoded::Sealed));
    assert_eq!(read("fleet", None), Err(Undecoded::Sealed));
}

#[test]
fn what_is_no_message_is_told_apart() {
    let sealed = frame(Message::Canary);
    let with = |at: usize, byte: u8| {
        let mut bent = sealed.clone();
        bent[at] = byte;
        bent
    };
    let nonsense = {
        let header = Header { tag: SessionTag(TAG), counter: 0 };
        GroupKey::new(&config().group_key()).session(header.tag).seal(&header, b"text")
    };
    let table = [
        (Vec::new(), "begins with nothing, it is empty", true),
        (vec![0x16, 3, 1], "begins with 160301", true),
        (vec![1; 33], "has 33 bytes", false),
        (vec![1; 1_453], "has 1453 bytes", false),
        (with(1, 7), "its key epoch is 7", false),
        (with(20, sealed[20] ^ 1), "does not open", false),
        (nonsense, "no message this version can read", false),
        (b"{\"type\": 1}".to_vec(), "field \"source\" is missing", false),
        (b"{\"type\": 1,".to_vec(), "ends before its JSON does (line 1, column 11)", false),
    ];
    for (bytes, expected, foreign) in table {
        let fault = Decoder::new("kodikon", None).decode(&bytes, None).expect_err("it holds no message");
        assert!(fault.to_string().contains(expected), "{fault} should say {expected}");
        assert_eq!(fault.is_foreign(), foreign, "{fault}");
    }
}

#[test]
fn a_state_value_too_deep_for_the_seeds_form_is_shown_as_text() {
    for (levels, as_text) in [(16, false), (17, true), (200, true)] {
        let json = "[".repeat(levels) + &"]".repeat(levels);
        let (_, payload) = payload(Message::Ops(Ops { ops: vec![state(Some(&json))], covered: Vec::new() }));
        assert_eq!(payload["state"]["battery_level"].is_string(), as_text, "{levels} levels");
    }
}

#[test]
fn a_run_of_frames_that_was_captured_as_one_packet_is_cut_apart() {
    let ping = |nonce| frame(Message::Ping(Ping { nonce }));
    let mut other = config();
    other.mesh_name = "other".to_owned();
    // The last of a run may be shorter than the others.
    let long = |first| frame_of(&config(), &[first, first + 1].map(|nonce| Message::Ping(Ping { nonce })));
    let table: &[(&[Vec<u8>], usize)] = &[
        (&[ping(1)], 1),
        (&[ping(1), ping(2)], 2),
        (&[long(1), long(3), ping(5)], 3),
        (&vec![long(1); 64], 64),
        (&[vec![1, 0]], 1),
        (&[b"{\"type\": 1}".to_vec()], 1),
        // A shorter one ends a run.
        (&[ping(1), long(3)], 1),
        // One that does not open makes it no run of ours.
        (&[ping(1), frame_of(&other, &[Message::Ping(Ping { nonce: 1 })])], 1),
    ];
    for (frames, expected) in table {
        let packet = frames.concat();
        let cut = decoder().frames(&packet).len();
        assert_eq!(cut, *expected, "{} frames in {} bytes", frames.len(), packet.len());
        let mut decoder = decoder();
        let all_open = decoder.frames(&packet).into_iter().all(|frame| decoder.decode(frame, None).is_ok());
        assert!(*expected == 1 || all_open, "{} frames", frames.len());
    }
}

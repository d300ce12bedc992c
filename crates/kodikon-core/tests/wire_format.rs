//! The promise that docs/wire-format.md and docs/kodikon.cddl say what the code does: every byte of the dumps, every number and key.

#[path = "wire_format/cbor.rs"]
mod cbor;
#[path = "wire_format/cddl.rs"]
mod cddl;
#[path = "wire_format/samples.rs"]
mod samples;

use std::collections::BTreeMap;

use cbor::Cbor;
use cddl::Rules;
use kodikon_core::effect::log::Committed;
use kodikon_core::effect::{Command, Input, Output};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, Seq};
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::alert::{AlertId, AlertOrder};
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::model::links::SegmentId;
use kodikon_core::model::op::OpId;
use kodikon_core::node::{Boot, Node, Saved};
use kodikon_core::wire::codec;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use samples::{SECRET, TAG, beat, config, frame, hello, identity, messages, number_of, text_of};

const PAPER: &str = include_str!("../../../docs/wire-format.md");
const RULES: &str = include_str!("../../../docs/kodikon.cddl");

#[test]
fn the_dumps_of_the_paper_are_what_the_code_writes() {
    let table = [
        ("group key", config().group_key().to_vec()),
        ("mesh id", config().mesh_id().0.to_vec()),
        ("hello text", text_of(&hello())),
        ("hello", frame(0, &hello())),
        ("beat text", text_of(&beat())),
        ("beat", frame(1, &beat())),
    ];
    for (name, bytes) in table {
        assert_eq!(hex(&dump(name)), hex(&bytes), "```hex {name}");
    }
    let arguments = format!("kodikon decode {}\n", hex(&dump("beat")));
    assert!(PAPER.contains(&arguments), "the example of decode is another frame");
}

/// Derives, opens and verifies with the primitives alone, by what the paper says.
#[test]
fn the_frames_of_the_paper_open_with_what_the_paper_says() {
    let parts = |parts: &[&[u8]]| {
        parts.iter().map(|p| [&(p.len() as u64).to_le_bytes(), *p].concat()).collect::<Vec<_>>().concat()
    };
    let group = blake3::derive_key("kodikon mesh 2026-11 group key", &parts(&[&[0, 1], b"kodikon", b""]));
    let mesh = blake3::derive_key("kodikon mesh 2026-11 mesh id", &parts(&[&[0, 1], b"kodikon", &group]));
    let session = blake3::derive_key("kodikon mesh 2026-11 session key", &[&group[..], &TAG].concat());
    assert_eq!(hex(&dump("group key")), hex(&group));
    assert_eq!(hex(&dump("mesh id")), hex(&mesh[..16]));
    assert_eq!(hex(&dump("session key")), hex(&session));
    for (name, counter) in [("hello", 0u64), ("beat", 1)] {
        let mut frame = dump(name);
        let header: Vec<u8> = [&[1, 0][..], &TAG, &counter.to_be_bytes()].concat();
        assert_eq!(frame[..18], header, "{name}");
        let nonce = [&[0; 4][..], &counter.to_be_bytes()].concat().try_into().expect("twelve bytes");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &session).expect("32 bytes"));
        let text = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut frame[18..]);
        assert_eq!(text.expect("it opens"), dump(&format!("{name} text")), "{name}");
    }
}

#[test]
fn the_card_of_the_paper_is_signed_by_the_identity_it_names() {
    let [Cbor::Array(hello)] = &cbor::sequence(&dump("hello text"))[..] else { panic!("one message") };
    let op = field(&hello[1], 0);
    let (bytes, signature) = signed(op);
    let [op] = &cbor::sequence(bytes)[..] else { panic!("one op") };
    let Cbor::Bytes(body) = field(op, 6) else { panic!("a body") };
    let [card] = &cbor::sequence(body)[..] else { panic!("one card") };
    let Cbor::Bytes(public_key) = field(card, 0) else { panic!("a key") };
    assert_eq!(field(op, 0), &Cbor::Bytes(blake3::hash(public_key).as_bytes()[..16].to_vec()));

    let key = ed25519_zebra::VerificationKey::try_from(&public_key[..]).expect("a key");
    let message = [b"kodikon op 1", &dump("mesh id")[..], bytes].concat();
    key.verify(&ed25519_zebra::Signature::try_from(signature).expect("64 bytes"), &message).expect("it is signed");

    let exchange = blake3::derive_key("kodikon mesh 2026-11 exchange key", &SECRET);
    let exchange = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(exchange));
    assert_eq!(field(card, 1), &Cbor::Bytes(exchange.to_bytes().to_vec()));
}

#[test]
fn what_a_proof_and_a_goodbye_sign_is_what_the_paper_says() {
    let (mesh, author) = (config().mesh_id(), Identity::from_secret(&SECRET).id().0);
    let proof = kodikon_core::wire::message::proof_bytes(mesh, &[7; 16], &TAG);
    assert_eq!(proof, [&b"kodikon proof 1"[..], &dump("mesh id"), &[7; 16], &TAG].concat());
    let bye = kodikon_core::wire::message::bye_bytes(mesh, &author, 5);
    assert_eq!(bye, [&b"kodikon bye 1"[..], &dump("mesh id"), &author, &[0, 0, 0, 0, 0, 0, 0, 5]].concat());
    for context in ["\"kodikon proof 1\"", "\"kodikon bye 1\"", "\"kodikon op 1\"", "mesh 2026-11 live root\""] {
        assert!(PAPER.contains(context), "{context}");
    }
}

#[test]
fn a_letters_tag_and_receipt_are_what_the_paper_says() {
    let letter = samples::letter(b"body".to_vec());
    let head = [
        &letter.origin[..],
        &letter.epoch.to_le_bytes(),
        &letter.to,
        &letter.number.to_le_bytes(),
        &[letter.attempt, letter.kind, letter.priority],
    ];
    let keyed = |parts: &[u8]| blake3::keyed_hash(&[9; 32], parts).as_bytes()[..16].to_vec();
    assert_eq!(letter.tag_under(&[9; 32])[..], keyed(&[&head.concat()[..], b"body"].concat()));
    assert_eq!(letter.receipt(&[9; 32])[..], keyed(&[&b"receipt"[..], &letter.tag].concat()));
    for said in ["\"kodikon mesh 2026-11 pair\"", "\"receipt\""] {
        assert!(PAPER.contains(said), "{said}");
    }
}

#[test]
fn what_a_cast_signs_is_what_the_paper_says() {
    let cast = samples::cast(b"1".to_vec());
    let body = blake3::hash(&cast.body);
    let head = [
        &cast.origin[..],
        &cast.epoch.to_le_bytes(),
        &cast.number.to_le_bytes(),
        &[cast.kind, cast.priority],
        body.as_bytes(),
    ];
    let signed = [&b"kodikon cast 1"[..], &dump("mesh id"), &head.concat()].concat();
    assert_eq!(cast.signed_bytes(config().mesh_id()), signed);
    assert!(PAPER.contains("\"kodikon cast 1\""));
}

#[test]
fn a_segments_id_is_what_the_paper_says() {
    let namer = identity().id();
    let derived = blake3::derive_key("kodikon mesh 2026-11 segment", &[&namer.0[..], &3u32.to_le_bytes()].concat());
    assert_eq!(SegmentId::of(&namer, InterfaceIndex(3)).0.to_be_bytes(), derived[..8]);
    assert!(PAPER.contains("\"kodikon mesh 2026-11 segment\""));
}

/// The paper's node, with no interface and nobody to hear it.
fn node_of_the_paper() -> Node {
    let boot = Boot {
        config: config(),
        identity: identity(),
        epoch: Epoch(0x0000_0001_0000_0002),
        seed: [0; 32],
        port: 10_000,
        wall: WallTime(0),
        saved: Saved::default(),
        verifier: Box::<Zip215Verifier>::default(),
    };
    let mut node = Node::new(Instant::ZERO, boot);
    node.handle(Instant::ZERO, Input::Interfaces(&[]));
    while node.poll_output().is_some() {}
    node
}

#[test]
fn the_root_is_what_the_paper_says() {
    let node = node_of_the_paper();
    let numbers = [0x0000_0001_0000_0002u64, 1, 1].map(u64::to_le_bytes).concat();
    let covered = [&dump("mesh id"), &identity().id().0[..], &numbers].concat();
    let sum = blake3::derive_key("kodikon mesh 2026-11 live root", &covered);
    assert_eq!(node.root().to_le_bytes(), sum[..8], "its card alone, number 1");
}

#[test]
fn the_root_of_a_log_and_an_alerts_name_are_what_the_paper_says() {
    let id = OpId { author: identity().id(), epoch: Epoch(0x0000_0001_0000_0002), seq: Seq(1) };
    let named = [&id.author.0[..], &id.epoch.0.to_le_bytes(), &id.seq.0.to_le_bytes()].concat();
    let name = blake3::derive_key("kodikon mesh 2026-11 alert id", &named);
    assert_eq!(AlertId::of(&id).0.to_be_bytes(), name[..8]);

    let mut node = node_of_the_paper();
    let order = AlertOrder {
        ticket: Ticket(1),
        payload: b"1".to_vec(),
        priority: Priority::Normal,
        ttl: Duration::from_secs(1),
    };
    node.handle(Instant::ZERO, Input::Command(Command::Raise(order)));
    let committed = |output| if let Output::Commit { commit, batch } = output { Some((commit, batch)) } else { None };
    let asked = std::iter::from_fn(|| node.poll_output()).find_map(committed);
    let (commit, batch) = asked.expect("it is to be kept first");
    assert_eq!(node.log_root(), 0, "nobody hears of it before");
    node.handle(Instant::ZERO, Input::Committed { commit, result: Committed::OnDisk });
    let share = blake3::derive_key("kodikon mesh 2026-11 log content", batch.rows[0].op.words());
    assert_eq!(node.log_root().to_le_bytes(), share[..8]);
    for context in ["mesh 2026-11 log content\"", "mesh 2026-11 alert id\""] {
        assert!(PAPER.contains(context), "{context}");
    }
}

#[test]
fn every_message_follows_the_rules_and_every_rule_is_used() {
    let mut rules = Rules::read(RULES);
    for message in messages() {
        let [item] = &cbor::sequence(&text_of(&message))[..] else { panic!("one item: {message:?}") };
        rules.check("message", item).unwrap_or_else(|fault| panic!("{}: {fault}", message.name()));
        for op in ops_in(item) {
            let [op] = &cbor::sequence(signed(op).0)[..] else { panic!("one op") };
            let (Cbor::Uint(kind), Cbor::Bytes(body)) = (field(op, 4), field(op, 6)) else { panic!("{op:?}") };
            let rule = match kind {
                1 => "card",
                2 => "state",
                3 if field(op, 5) == &Cbor::Bytes(Vec::new()) => "links",
                3 => "members",
                4 => "opinion",
                5 => "log-receipt",
                16 => "alert",
                17 => "alert-ack",
                18 => "record",
                19 => "delete",
                _ => continue,
            };
            rules.check(rule, &cbor::sequence(body)[0]).unwrap_or_else(|fault| panic!("{rule}: {fault}"));
        }
    }
    let text = kodikon_core::wire::letter::Text { kind: "ALARM".to_owned(), payload: b"{}".to_vec() };
    rules.check("text", &cbor::sequence(&text.bytes())[0]).unwrap_or_else(|fault| panic!("text: {fault}"));
    for (rule, bytes) in samples::searched() {
        rules.check(rule, &cbor::sequence(&bytes)[0]).unwrap_or_else(|fault| panic!("{rule}: {fault}"));
    }
    assert_eq!(rules.unused(), [""; 0], "rules and keys that no message has");
}

#[test]
fn paper_rules_and_code_number_the_messages_alike() {
    let code: BTreeMap<u64, String> = messages().iter().map(|m| (number_of(m), m.name().to_lowercase())).collect();
    assert_eq!(code.keys().copied().collect::<Vec<_>>(), (1..=27).collect::<Vec<_>>(), "a sample of each");
    for message in messages() {
        let text = text_of(&message);
        // A number from 24 on takes a byte of its own behind its kind (RFC 8949 section 3).
        let number = if text[1] == 24 { text[2] } else { text[1] };
        assert_eq!(u64::from(number), number_of(&message), "{}", message.name());
    }
    assert_eq!(Rules::read(RULES).numbers(), code);
    let rows = PAPER.lines().skip_while(|line| !line.starts_with("| number | message |")).skip(2);
    let rows =
        rows.take_while(|line| line.starts_with('|')).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let paper: BTreeMap<u64, String> =
        rows.map(|row| (row[1].parse().expect("a number"), row[2].to_lowercase())).collect();
    assert_eq!(paper, code);
}

#[test]
fn every_sample_is_read_back_as_it_was_said() {
    for message in messages() {
        let batch = codec::decode(&text_of(&message)).expect("our own words");
        assert_eq!((batch.unknown, &batch.messages[..]), (0, std::slice::from_ref(&message)));
        assert!(text_of(&message).len() <= kodikon_core::ground::config::MAX_PLAIN, "{}", message.name());
    }
    assert_eq!(identity().id().to_string(), hex(&dump("hello text")[10..26]));
}

/// The bytes of a dump in the paper, remarks left out.
fn dump(name: &str) -> Vec<u8> {
    let begin = format!("```hex {name}\n");
    let (_, rest) = PAPER.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (dump, _) = rest.split_once("```").expect("a dump ends");
    let bytes = dump.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{name}: {byte} is no byte"))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn field(item: &Cbor, key: u64) -> &Cbor {
    let Cbor::Map(fields) = item else { panic!("{item:?} is no map") };
    let found = fields.iter().find(|(name, _)| *name == Cbor::Uint(key));
    found.map(|(_, value)| value).unwrap_or_else(|| panic!("no {key} in {item:?}"))
}

/// The bytes and the signature of an op.
fn signed(op: &Cbor) -> (&[u8], &[u8]) {
    let Cbor::Array(parts) = op else { panic!("{op:?} is no op") };
    let [Cbor::Bytes(bytes), Cbor::Bytes(signature)] = &parts[..] else { panic!("{parts:?} is no op") };
    (bytes, signature)
}

/// The ops in a message: its card, or what an OPS passes on.
fn ops_in(message: &Cbor) -> Vec<&Cbor> {
    let Cbor::Array(parts) = message else { panic!("{message:?} is no message") };
    let Cbor::Uint(number) = parts[0] else { panic!("{message:?} has no number") };
    match number {
        1 | 3 => vec![field(&parts[1], 0)],
        12 => {
            let Cbor::Array(ops) = field(&parts[1], 0) else { panic!("{message:?} has no ops") };
            ops.iter().collect()
        }
        23 => {
            let Cbor::Array(entries) = field(&parts[1], 0) else { panic!("{message:?} has no entries") };
            entries.iter().map(|entry| field(entry, 0)).collect()
        }
        _ => Vec::new(),
    }
}

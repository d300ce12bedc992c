//! Any bytes are messages or a reject; what is understood is written, read and written again as the same messages and the same bytes.

#![no_main]

use kodikon_core::machines::membership::{OpinionBody, read_card, read_opinion};
use kodikon_core::model::alert::ReceiptBody;
use kodikon_core::model::links::{LinksBody, MembersBody};
use kodikon_core::model::logged::LogBody;
use kodikon_core::model::member::Card;
use kodikon_core::model::op::{OpKind, SignedOp};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::codec;
use kodikon_core::wire::letter::Text;
use kodikon_core::wire::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What a letter says is read when all its pieces are there.
    if let Some(text) = Text::parse(bytes) {
        assert_eq!(Text::parse(&text.bytes()), Some(text));
    }
    let Ok(batch) = codec::decode(bytes) else { return };
    // The smallest message has three bytes.
    assert!(3 * (batch.messages.len() as u64 + batch.unknown) <= bytes.len() as u64 + 2);
    let text = write(&batch.messages);
    let back = codec::decode(&text).expect("what we write is read");
    assert_eq!((back.unknown, &back.messages), (0, &batch.messages));
    assert_eq!(write(&back.messages), text);
    batch.messages.iter().for_each(look_inside);
});

fn write(messages: &[Message]) -> Vec<u8> {
    let mut text = Vec::new();
    messages.iter().for_each(|message| codec::encode(message, &mut text));
    text
}

/// Bodies lie in byte strings, where the reader of messages does not look.
fn look_inside(message: &Message) {
    let ops: Vec<&SignedOp> = match message {
        Message::Hello(hello) => vec![&hello.card],
        Message::Proof(proof) => vec![&proof.card],
        Message::Ops(ops) => ops.ops.iter().collect(),
        Message::Log(log) => log.entries.iter().map(|entry| &entry.op).collect(),
        _ => Vec::new(),
    };
    for op in ops {
        let passed_on: SignedOp = minicbor::decode(&minicbor::to_vec(op).expect("memory takes it")).expect("our own");
        assert!(passed_on.is_same_bytes(op), "signed bytes are passed on as they came");
        match op.kind() {
            OpKind::Card => {
                assert!(read_card(op).is_none() || Card::parse(op.body()).is_some());
                if let Some(card) = Card::parse(op.body()) {
                    let again = minicbor::to_vec(&card).expect("memory takes it");
                    // Never longer: it leaves out what it did not understand.
                    assert!(again.len() <= op.body().len());
                    assert_eq!(Card::parse(&again), Some(card));
                }
            }
            OpKind::State => {
                if let Ok(entry) = minicbor::decode::<StateEntry>(op.body()) {
                    let again = minicbor::to_vec(&entry).expect("memory takes it");
                    assert_eq!(minicbor::decode::<StateEntry>(&again).expect("our own"), entry);
                }
            }
            OpKind::Opinion => {
                if let Some((_, opinion)) = read_opinion(op) {
                    let again = minicbor::to_vec(&opinion).expect("memory takes it");
                    assert_eq!(minicbor::decode::<OpinionBody>(&again).expect("our own"), opinion);
                }
            }
            OpKind::Links => {
                if let Some(links) = LinksBody::parse(op.body()) {
                    let again = minicbor::to_vec(&links).expect("memory takes it");
                    assert_eq!(LinksBody::parse(&again), Some(links));
                }
                // Its segment is the author's, or it is none of its lists.
                let _ = MembersBody::parse(&op.author(), &op.key().1, op.body());
            }
            // Read within their limits or not at all.
            OpKind::Receipt => drop(ReceiptBody::parse(op)),
            OpKind::Alert | OpKind::AlertAck | OpKind::Record | OpKind::RecordDelete | OpKind::LocalRecord => {
                drop(LogBody::parse(op))
            }
            OpKind::Unknown(_) => {}
        }
    }
}

//! What a node takes of what others say they have of its log, to it alone.

use super::super::bench::{Bench, identity};
use super::*;
use crate::effect::log::Committed;
use crate::effect::{Command, Input, Output};
use crate::ground::id::Epoch;
use crate::ground::time::Duration;
use crate::model::alert::{AlertOrder, ReceiptRow};
use crate::model::letter::{Priority, Ticket};

const PEER: u8 = 1;

/// The run of the node under test, and of each of its peers.
fn run() -> Epoch {
    Epoch::new(1, 1)
}

fn receipt(lamport: u64, last: u64) -> LogReceipt {
    let row = ReceiptRow { epoch: run().0, shown: vec![(1, last)], durable: Vec::new() };
    let body = ReceiptBody::of([row].into_iter());
    LogReceipt { lamport, body: minicbor::to_vec(body).expect("into memory"), tag: [0; 16] }
}

/// Under the key of the two, as the peer makes it.
fn signed(bench: &Bench, receipt: LogReceipt) -> LogReceipt {
    let me = bench.node.ctx.me.identity.exchange_key();
    let secret = identity(PEER).shared_secret(&me).expect("no key of low order");
    let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 pair");
    hasher.update(&secret[..]).update(&bench.node.ctx.config.group_key()[..]);
    hasher.update(&run().0.to_le_bytes()).update(&run().0.to_le_bytes());
    let tag = receipt.tag_under(hasher.finalize().as_bytes());
    LogReceipt { tag, ..receipt }
}

/// Whether the peer is taken to have shown this op of the node's log.
fn has_shown(bench: &Bench, seq: u64) -> bool {
    let id = OpId { author: bench.node.ctx.me.id, epoch: run(), seq: crate::ground::id::Seq(seq) };
    bench.node.alerts.has_shown(&identity(PEER).id(), &id)
}

#[test]
fn who_says_to_an_author_alone_what_it_has_is_believed_under_the_key_of_the_two_and_the_newest_word_counts() {
    let mut bench = Bench::new(3);
    // (what is said, whether under the key of the two, whether ops 1 and 4 count as shown then, why nothing was taken)
    let table = [
        (receipt(5, 3), false, [false, false], Some(Reject::Tag)),
        (LogReceipt { body: vec![0xff], ..receipt(5, 3) }, true, [false, false], Some(Reject::Malformed)),
        (receipt(5, 3), true, [true, false], None),
        (receipt(7, 4), true, [true, true], None),
        (receipt(6, 3), true, [true, true], None),
        (receipt(8, 3), true, [true, false], None),
    ];
    for (said, by_key, shown, reject) in table {
        let said = if by_key { signed(&bench, said) } else { said };
        let dropped = |bench: &Bench| [Reject::Tag, Reject::Malformed].map(|reason| bench.dropped(reason));
        let before = dropped(&bench);
        bench.hear(PEER, &Message::LogReceipt(said.clone()));
        let count = |reason| before[usize::from(reason == Reject::Malformed)] + u64::from(reject == Some(reason));
        assert_eq!(dropped(&bench), [count(Reject::Tag), count(Reject::Malformed)], "{said:?}");
        assert_eq!([1, 4].map(|seq| has_shown(&bench, seq)), shown, "{said:?}");
    }
}

/// Where many nodes alert, what is known of receipts is forgotten, and whoever had an alert was told it again each five seconds.
#[test]
fn whoever_told_that_it_has_an_alert_is_not_told_it_again_though_that_was_forgotten() {
    let mut bench = Bench::new(1);
    let order = AlertOrder {
        ticket: Ticket(1),
        payload: b"1".to_vec(),
        priority: Priority::Critical,
        ttl: Duration::from_secs(3_600),
    };
    bench.hand(Input::Command(Command::Raise(order)));
    let commit = bench
        .out
        .iter()
        .find_map(|output| if let Output::Commit { commit, .. } = output { Some(*commit) } else { None });
    bench.hand(Input::Committed { commit: commit.expect("it is written"), result: Committed::OnDisk });
    let me = bench.node.ctx.me.id;
    let said = receipt(9, 1).body;
    let op = bench.say(PEER, 50, OpKind::Receipt, &me.0, said);
    bench.hear_op(PEER, op);
    assert!(has_shown(&bench, 1));
    let other = ReceiptRow { epoch: run().0, shown: vec![(1, 1)], durable: Vec::new() };
    for n in 0..20_000_u32 {
        let mut author = [0; 16];
        author[..4].copy_from_slice(&n.to_le_bytes());
        let body = ReceiptBody::of([other.clone()].into_iter());
        bench.node.alerts.on_receipt((identity(PEER).id(), NodeId(author)), (run(), 1), body, &mut bench.node.ctx);
    }
    assert!(!has_shown(&bench, 1), "it is forgotten");
    bench.node.alerts.on_up(bench.now, 0);
    bench.pass(Duration::from_secs(1));
    assert!(has_shown(&bench, 1), "it is known again before the alert is told again");
}

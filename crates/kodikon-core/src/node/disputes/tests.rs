//! Who is asked about a node that some hold failed and others list, and what whoever is asked says.

use super::super::bench::{Bench, address, identity};
use super::*;
use crate::effect::Target;
use crate::model::links::{DirectLink, LinksBody, LossClass, ShortId, ShortIds};
use crate::model::member::{Liveness as Held, REASON_SILENCE};
use crate::model::op::{OpKind, SignedOp};

const LISTER: u8 = 1;
const WITNESS: u8 = 2;
const SUBJECT: u8 = 3;

/// Found by swarm-30, seed 66: where more was said than the links carried, two showed a node for 76 s after its death, since whoever had
/// listed it was not heard to have called it failed.
#[test]
fn whoever_lists_a_node_that_others_hold_failed_is_asked_until_one_of_them_is_right() {
    let mut bench = between();
    assert_eq!(asked(&mut bench, Duration::from_secs(5)), [0; 0], "nobody holds it failed");
    bench.opine(WITNESS, 2, SUBJECT, REASON_SILENCE);
    let questions = asked(&mut bench, Duration::from_secs(9));
    assert_eq!(questions, [LISTER; 5], "at once and each two seconds");
    let links = links(&bench, LISTER, 3, &[100]);
    bench.hear_op(LISTER, links);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.held(SUBJECT), Held::Failed, "the witness is right");
    assert_eq!(asked(&mut bench, Duration::from_secs(9)), [0; 0], "nobody lists it");
}

#[test]
fn who_is_asked_about_a_node_that_it_does_not_hear_says_whom_it_hears() {
    let mut bench = between();
    bench.pass(Duration::from_secs(1));
    bench.hear(WITNESS, &question_about(SUBJECT));
    let told = ops_told(&bench, WITNESS);
    assert!(told.iter().any(|op| op.kind() == OpKind::Links && op.author() == identity(100).id()), "{told:?}");
    // Of one that is heard it is asked whether it answers.
    bench.pass(Duration::from_secs(1));
    bench.hear(WITNESS, &question_about(LISTER));
    assert_eq!(ops_told(&bench, WITNESS), []);
    // Questions without end are answered once a second, and one about nobody not at all.
    let nobody = Message::Inquiry(Inquiry { subject: [9; 16] });
    let mut answered = [0, 0];
    for _ in 0..500 {
        bench.pass(Duration::from_millis(10));
        bench.hear(LISTER, &nobody);
        answered[0] += usize::from(!ops_told(&bench, LISTER).is_empty());
        bench.hear(WITNESS, &question_about(SUBJECT));
        answered[1] += usize::from(!ops_told(&bench, WITNESS).is_empty());
    }
    assert_eq!(answered, [0, 5]);
}

fn question_about(n: u8) -> Message {
    Message::Inquiry(Inquiry { subject: identity(n).id().0 })
}

/// A node on one network with a lister and a witness. The lister alone hears the subject.
fn between() -> Bench {
    let mut bench = Bench::new(3);
    let subject = identity(SUBJECT).id();
    let said = [links(&bench, LISTER, 2, &[100, SUBJECT]), links(&bench, SUBJECT, 2, &[LISTER])];
    said.into_iter().for_each(|op| bench.hear_op(LISTER, op));
    // Until the own links are looked at there is no way.
    bench.pass(Duration::from_secs(1));
    bench.node.membership.withdraw_to_far(bench.now, subject, &mut bench.node.ctx);
    bench
}

/// Node N says that it hears these.
fn links(bench: &Bench, n: u8, seq: u64, heard: &[u8]) -> SignedOp {
    let direct =
        |n: &u8| DirectLink { peer: ShortIds(vec![ShortId::of(&identity(*n).id())]), cost: 5, loss: LossClass::CLEAN };
    let body = LinksBody { is_joint: true, direct: heard.iter().map(direct).collect(), ..LinksBody::default() };
    bench.say(n, seq, OpKind::Links, &[], minicbor::to_vec(body).expect("into memory"))
}

/// Who was asked after the subject within this time, while both its neighbours speak.
fn asked(bench: &mut Bench, span: Duration) -> Vec<u8> {
    bench.pass(span);
    let subject = identity(SUBJECT).id().0;
    let question = |(target, message)| match (target, message) {
        (Target::Address(to, _), Message::Inquiry(inquiry)) if inquiry.subject == subject => Some(to),
        _other => None,
    };
    let whom = |to| [LISTER, WITNESS, SUBJECT].into_iter().find(|n| address(*n) == to).expect("it is one of three");
    bench.said().into_iter().filter_map(question).map(whom).collect()
}

/// The facts that the last input made the node say to one peer.
fn ops_told(bench: &Bench, n: u8) -> Vec<SignedOp> {
    let to_it = |(target, message)| match (target, message) {
        (Target::Address(to, _), Message::Ops(ops)) if to == address(n) => ops.ops,
        _other => Vec::new(),
    };
    bench.said().into_iter().flat_map(to_it).collect()
}

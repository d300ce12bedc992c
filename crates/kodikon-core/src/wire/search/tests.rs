//! Decides what is asked of queries and answers: what they may hold, that numbers keep their bits, and how an answer is split.

use super::*;
use crate::ground::id::{Epoch, MeshId, Seq};
use crate::model::identity::Identity;
use crate::model::op::{OpKind, SignedOp, Statement};

fn query() -> SearchQuery {
    SearchQuery {
        number: 7,
        numbers: SearchQuery::bytes_of(&[0.1, -2.0, f32::MIN_POSITIVE]),
        model: Some("face".to_owned()),
        k: 10,
        fast: false,
        local: true,
        left_ms: 5_000,
        floor: Some(0.1),
        data_type: None,
        author: None,
        name: Some("cam".to_owned()),
        named: SearchQuery::names_of(&[NodeId([3; 16]); 20]),
        since: Some(1),
        until: None,
        conditions: vec![("gate".to_owned(), "g*".to_owned())],
        hash: None,
        except: Some("6c1f".to_owned()),
        root: Some(u64::MAX),
    }
}

fn entry(bytes: usize) -> LogEntry {
    let statement =
        Statement { kind: OpKind::Record, key: Vec::new(), body: vec![0; bytes], lamport: 1, wall: WallTime(1) };
    let identity = Identity::from_secret(&[1; 32]);
    let op = SignedOp::sign(&identity, MeshId([0; 16]), Epoch::new(1, 1), Seq(1), statement);
    LogEntry { op, age_ms: u64::MAX, key: Some([9; 32]), rested: Some(true) }
}

#[test]
fn a_query_keeps_its_numbers_to_the_bit_and_names_sixteen_at_most() {
    let (asked, understood) = SearchQuery::parse(&query().bytes()).expect("a query");
    assert_eq!(asked, query());
    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(understood.query.numbers()), bits(&[0.1, -2.0, f32::MIN_POSITIVE]));
    assert_eq!(understood.named, vec![NodeId([3; 16]); MAX_NAMED]);
    assert!(understood.filter.reach == Reach::Local && understood.filter.node == Some(Whose::Name("cam".to_owned())));
}

#[test]
fn what_is_beyond_a_limit_is_no_query() {
    type Change = fn(&mut SearchQuery);
    let table: [(&str, Change); 10] = [
        ("k of none", |query| query.k = 0),
        ("too many", |query| query.k = 1_001),
        ("a part of a number", |query| query.numbers.truncate(7)),
        ("no numbers", |query| query.numbers.clear()),
        ("all zeros", |query| query.numbers = vec![0; 8]),
        ("no number", |query| query.numbers = SearchQuery::bytes_of(&[f32::NAN])),
        ("too many dimensions", |query| query.numbers = SearchQuery::bytes_of(&[1.0; 4_097])),
        ("a floor that is no number", |query| query.floor = Some(f64::NAN)),
        ("a long hash", |query| query.hash = Some("x".repeat(257))),
        ("many conditions", |query| query.conditions = vec![(String::new(), String::new()); 65]),
    ];
    for (what, change) in table {
        let mut query = query();
        change(&mut query);
        assert!(SearchQuery::parse(&query.bytes()).is_none(), "{what}");
    }
    assert!(SearchQuery::parse(b"no query").is_none());
}

#[test]
fn an_answer_is_split_into_texts_that_a_letter_holds_and_what_is_left_out_is_said() {
    // (records, bytes of each, whether all of them were told)
    let table = [
        (0_usize, 0, true),
        (32, 10, true),
        (33, 10, true),
        (90, 1_300, true),
        (1_000, 1_300, true),
        (1_024, 10, true),
        (1_025, 10, false),
    ];
    for (count, bytes, is_whole) in table {
        let of_one = (MAX_PART_BYTES / (entry(bytes).op.wire_len() + ENTRY_FRAME)).min(MAX_PART);
        let expected = count.div_ceil(of_one).clamp(1, usize::from(MAX_PARTS));
        let parts = in_parts(7, true, vec![entry(bytes); count]);
        let case = format!("{count} records of {bytes} bytes");
        assert_eq!(parts.len(), expected, "{case}");
        let told: usize = parts.iter().map(|part| part.entries.len()).sum();
        assert_eq!(told == count, is_whole, "{case}");
        for (at, part) in (0..).zip(&parts) {
            assert_eq!((part.part, usize::from(part.parts), part.certified), (at, expected, is_whole), "{case}");
            assert!(part.bytes().len() <= MAX_PAYLOAD, "{case}");
            assert_eq!(SearchAnswer::parse(&part.bytes()).as_ref(), Some(part), "{case}");
        }
    }
    assert!(!in_parts(7, false, Vec::new())[0].certified);
}

#[test]
fn an_answer_that_contradicts_its_own_count_is_none() {
    for (part, parts) in [(1, 1), (0, 0), (0, 33)] {
        let answer = SearchAnswer { number: 1, part, parts, certified: true, entries: Vec::new(), declined: None };
        assert!(SearchAnswer::parse(&answer.bytes()).is_none(), "{part} of {parts}");
    }
}

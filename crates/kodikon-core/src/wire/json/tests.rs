//! What is a message and what is not, fault by fault, and that any message survives being written and read.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A sound message, in which a test replaces one part.
const SOUND: &str = r#"{"type":1,"source":"a","timestamp":1.5,"seq":7,"payload":{"x":[true]},"path":["b"]}"#;

#[test]
fn each_fault_is_named_with_its_field() {
    use JsonFault::*;
    // (what is replaced, by what, the fault, its field)
    let table: &[(&str, &str, JsonFault, &str)] = &[
        (r#""type":1,"#, "", MissingField, "type"),
        (r#""source":"a","#, "", MissingField, "source"),
        (r#""timestamp":1.5,"#, "", MissingField, "timestamp"),
        (r#""seq":7,"#, "", MissingField, "seq"),
        (r#""payload":{"x":[true]},"#, "", MissingField, "payload"),
        (r#","path":["b"]"#, "", MissingField, "path"),
        (r#""type":1"#, r#""type":14"#, UnknownType(14), "type"),
        (r#""type":1"#, r#""type":1.0"#, WrongType { expected: "a whole number from 0 to 2^64 - 1" }, "type"),
        (r#""type":1"#, r#""type":-1"#, WrongType { expected: "a whole number from 0 to 2^64 - 1" }, "type"),
        (r#""type":1"#, r#""type":true"#, WrongType { expected: "a whole number from 0 to 2^64 - 1" }, "type"),
        (r#""type":1"#, r#""type":0"#, MissingField, "kind"),
        (r#""type":1"#, r#""type":0,"kind":"""#, EmptyName, "kind"),
        (r#""type":1"#, r#""type":0,"kind":5"#, WrongType { expected: "a string" }, "kind"),
        (r#""type":1"#, r#""type":1,"kind":"k""#, UnknownField, "kind"),
        (r#""seq":7"#, r#""seq":7,"priority":"high""#, UnknownField, "priority"),
        (
            r#""seq":7"#,
            r#""seq":18446744073709551616"#,
            WrongType { expected: "a whole number from 0 to 2^64 - 1" },
            "seq",
        ),
        (r#""a""#, r#""""#, EmptyName, "source"),
        (r#""a""#, "null", WrongType { expected: "a string" }, "source"),
        ("1.5", r#""1.5""#, WrongType { expected: "a number" }, "timestamp"),
        ("1.5", "9007199254740993", NumberRange, "timestamp"),
        (r#"["b"]"#, r#""b""#, WrongType { expected: "an array of strings" }, "path"),
        (r#"["b"]"#, r#"["b",1]"#, WrongType { expected: "a string" }, "path[1]"),
        (r#"["b"]"#, r#"["b",""]"#, EmptyName, "path[1]"),
    ];
    for &(part, by, fault, field) in table {
        let reject = parse(&replaced(part, by)).unwrap_err();
        assert_eq!((reject.fault, reject.field.as_str(), reject.position), (fault, field, None), "{part} → {by}");
    }
}

#[test]
fn what_the_parser_says_is_understood() {
    use JsonFault::*;
    // (what stands for `true` in SOUND, the fault, its field, the column from where `true` begins)
    let table: &[(&str, JsonFault, &str, usize)] = &[
        ("NaN", NotFinite, "payload.x[0]", 0),
        ("Infinity", NotFinite, "payload.x[0]", 0),
        ("-Infinity", NotFinite, "payload.x[0]", 1),
        ("1,NaN", NotFinite, "payload.x[1]", 2),
        ("nan", Syntax, "payload.x[0]", 1),
        ("1e400", NumberRange, "payload.x[0]", 4),
        (r#""\ud800""#, LoneSurrogate, "payload.x[0]", 7),
        (r#""\ud800\n""#, LoneSurrogate, "payload.x[0]", 8),
        (r#""\ud800\u0041""#, LoneSurrogate, "payload.x[0]", 12),
        (r#""\udc00""#, LoneSurrogate, "payload.x[0]", 6),
        (r#"{"\ud800":1}"#, LoneSurrogate, "payload.x[0]", 8),
        (r#""\q""#, Syntax, "payload.x[0]", 2),
        ("\"\n\"", Syntax, "payload.x[0]", 0),
        ("'a'", Syntax, "payload.x[0]", 0),
        ("01", Syntax, "payload.x[0]", 1),
        ("1,", Syntax, "payload.x[1]", 2),
        ("// why", Syntax, "payload.x[0]", 0),
        (r#"{"k":1,"k":2}"#, DuplicateKey, "payload.x[0].k", 9),
        (r#"{"k":1,"\u006b":2}"#, DuplicateKey, "payload.x[0].k", 14),
        ("18446744073709551617", NumberRange, "payload.x[0]", 0),
        (r#""123456789012345678901",-9223372036854775809"#, NumberRange, "payload.x[1]", 24),
    ];
    let start = SOUND.find("true").expect("it is there") + 1;
    for &(by, fault, field, column) in table {
        let reject = parse(&replaced("true", by)).unwrap_err();
        assert_eq!((reject.fault, reject.field.as_str()), (fault, field), "{by}: {reject}");
        if by != "\"\n\"" {
            assert_eq!(reject.position, Some(Position { line: 1, column: start + column }), "{by}: {reject}");
        }
    }
}

#[test]
fn a_text_that_is_no_object_is_no_message() {
    use JsonFault::*;
    type Row = (&'static [u8], JsonFault, Option<(usize, usize)>);
    let table: &[Row] = &[
        (b"", Truncated, Some((1, 1))),
        (b"   ", Truncated, Some((1, 3))),
        (b"[]", WrongType { expected: "an object" }, None),
        (b"null", WrongType { expected: "an object" }, None),
        (b"{} {}", TrailingData, Some((1, 4))),
        (b"{}\n\n x", TrailingData, Some((3, 2))),
        (b"\xef\xbb\xbf{}", Syntax, Some((1, 1))),
        (b"{\"source\":\"\xff\"}", Utf8, Some((1, 12))),
        (b"\xff", Utf8, Some((1, 1))),
        (b"\x00\x01\x02", Syntax, Some((1, 1))),
        (b"{\"type\":1,\n\"source\":NaN", NotFinite, Some((2, 10))),
    ];
    for &(bytes, fault, place) in table {
        let reject = JsonMessage::parse(bytes, Origin::Api).unwrap_err();
        assert_eq!(reject.fault, fault, "{}", bytes.escape_ascii());
        let place = place.map(|(line, column)| Position { line, column });
        assert_eq!(reject.position, place, "{}", bytes.escape_ascii());
    }
}

#[test]
fn integers_pass_if_they_come_back_as_the_same_number() {
    // (integer, what it is written as; None where it is refused)
    let table = [
        ("18446744073709551615", Some("18446744073709551615")),
        ("18446744073709551616", Some("1.8446744073709552e+19")),
        ("18446744073709551617", None),
        ("-9223372036854775808", Some("-9223372036854775808")),
        ("-9223372036854775809", None),
        ("100000000000000000000", Some("1e+20")),
        ("123456789012345678901234567890", None),
        ("1.5e300", Some("1.5e+300")),
        ("-0.0", Some("-0.0")),
        ("5e-324", Some("5e-324")),
    ];
    for (number, written) in table {
        let result = parse(&replaced("true", number));
        assert_eq!(
            result.as_ref().ok().map(|message| message.payload["x"][0].to_string()).as_deref(),
            written,
            "{number}"
        );
    }
}

#[test]
fn depth_and_keys_end_where_the_design_says() {
    // The message is one beside the 32 of its payload, and the payload and x are two of those; seven keys are the message's and x.
    for (more, fault) in [(0, None), (30, None), (31, Some(JsonFault::TooDeep)), (30_000, Some(JsonFault::TooDeep))] {
        let nest = format!("{}{}", "[".repeat(more), "]".repeat(more));
        let result = parse(&replaced("[true]", &format!("[{nest}]")));
        assert_eq!(result.err().map(|reject| reject.fault), fault, "{more} more arrays");
    }
    for (more, fault) in
        [(0, None), (1_017, None), (1_018, Some(JsonFault::TooManyKeys)), (4_000, Some(JsonFault::TooManyKeys))]
    {
        let keys: Vec<String> = (0..more).map(|key| format!("\"{key}\":0")).collect();
        let result = parse(&replaced("true", &format!("{{{}}}", keys.join(","))));
        assert_eq!(result.err().map(|reject| reject.fault), fault, "{more} more keys");
    }
}

#[test]
fn a_message_is_written_in_the_order_of_the_seed() {
    assert_eq!(parse(SOUND).unwrap().to_json(), SOUND);
    let custom = replaced(r#""type":1"#, r#""type":0,"kind":"BEACON""#);
    assert_eq!(parse(&custom).unwrap().to_json(), custom);
    assert_eq!(parse(&custom).unwrap().kind.to_string(), "BEACON");
    assert_eq!(parse(SOUND).unwrap().kind.to_string(), "HEARTBEAT");
}

#[test]
fn a_message_without_a_finite_time_cannot_be_read_back() {
    let mut message = parse(SOUND).unwrap();
    message.timestamp = f64::NAN;
    let reject = parse(&message.to_json()).unwrap_err();
    assert_eq!((reject.fault, reject.field.as_str()), (JsonFault::WrongType { expected: "a number" }, "timestamp"));
}

#[test]
fn a_message_near_the_limit_may_grow_beyond_it_but_not_without_end() {
    let numbers = vec!["1e9"; 16_000].join(",");
    let text = parse(&replaced("true", &numbers)).unwrap().to_json();
    assert_eq!(parse(&text).unwrap_err().fault, JsonFault::TooLong(text.len()));
    assert!(text.len() < 4 * MAX_BYTES, "{} bytes", text.len());
}

#[test]
fn a_state_is_read_from_its_four_fields_only_if_each_is_there() {
    let state = json!({"node_id": "a", "state": {"fps": 30.0}, "version": 2, "timestamp": 3, "more": 1});
    let mut message = JsonMessage { payload: state, ..parse(SOUND).unwrap() };
    let read = NodeStatePayload::try_from(&message).unwrap();
    assert_eq!((read.version, read.timestamp, &read.state["fps"]), (2, 3.0, &json!(30.0)));
    let table = [
        ("node_id", json!(""), JsonFault::EmptyName),
        ("node_id", json!("b"), JsonFault::ForeignState),
        ("state", json!([]), JsonFault::WrongType { expected: "an object" }),
        ("version", json!(-1), JsonFault::WrongType { expected: "a whole number from 0 to 2^64 - 1" }),
        ("timestamp", json!(null), JsonFault::WrongType { expected: "a number" }),
    ];
    for (field, wrong, fault) in table {
        let right = message.payload[field].take();
        message.payload[field] = wrong;
        let reject = NodeStatePayload::try_from(&message).unwrap_err();
        assert_eq!((reject.fault, reject.field), (fault, format!("payload.{field}")));
        message.payload[field] = right;
    }
    message.payload = json!("not-a-dict");
    assert_eq!(NodeStatePayload::try_from(&message).unwrap_err().field, "payload");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_comes_back_as_it_was(message in any_message()) {
        let text = message.to_json();
        let back = JsonMessage::parse(text.as_bytes(), Origin::Api);
        prop_assert_eq!(back.as_ref().map(JsonMessage::to_json), Ok(text));
        prop_assert_eq!(back, Ok(message));
    }

    #[test]
    fn any_float_keeps_its_bits(float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
        let message = JsonMessage { timestamp: float, payload: json!([float]), ..parse(SOUND).unwrap() };
        let back = parse(&message.to_json()).unwrap();
        prop_assert_eq!(back.timestamp.to_bits(), float.to_bits());
        prop_assert_eq!(back.payload[0].as_f64().map(f64::to_bits), Some(float.to_bits()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..SOUND.len(), cut in 0..20_usize) {
        let _ = JsonMessage::parse(&bytes, Origin::Legacy);
        // A sound message with a hole, filled with noise, comes much further into the reader.
        let end = (at + cut).min(SOUND.len());
        let spliced = [&SOUND.as_bytes()[..at], &bytes[..bytes.len().min(8)], &SOUND.as_bytes()[end..]].concat();
        let _ = JsonMessage::parse(&spliced, Origin::Api);
    }

    #[test]
    fn what_serde_json_reads_otherwise_is_refused_for_a_reason_of_ours(text in json_like_text()) {
        let ours = reader::read(text.as_bytes());
        match (ours, serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (Ok(_), Err(error)) => prop_assert!(false, "serde_json refuses this: {}", error),
            (Err(reject), Ok(_)) => {
                let stricter = [JsonFault::DuplicateKey, JsonFault::NumberRange, JsonFault::TooDeep, JsonFault::TooManyKeys];
                prop_assert!(stricter.contains(&reject.fault), "{}", reject);
            }
            (Err(_), Err(_)) => {}
        }
    }
}

fn parse(text: &str) -> Result<JsonMessage, JsonReject> {
    JsonMessage::parse(text.as_bytes(), Origin::Api)
}

/// `SOUND` with one part of it replaced.
fn replaced(part: &str, by: &str) -> String {
    assert_eq!(SOUND.matches(part).count(), 1, "{part} must be in {SOUND} once");
    SOUND.replace(part, by)
}

fn any_message() -> impl Strategy<Value = JsonMessage> {
    let kind = prop_oneof![
        prop::sample::select(&MessageType::ALL).prop_map(MessageKind::Seed),
        ".{1,8}".prop_map(MessageKind::Custom)
    ];
    let path = prop::collection::vec(".{1,8}", 0..6);
    let timestamp = prop::num::f64::NORMAL | prop::num::f64::ZERO;
    (kind, ".{1,12}", timestamp, any::<u64>(), any_json(), path).prop_map(
        |(kind, source, timestamp, seq, payload, path)| JsonMessage { kind, source, timestamp, seq, payload, path },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// Mostly JSON: tokens in an order that a grammar would often allow.
fn json_like_text() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "1",
        "-0",
        "1.5",
        "1e400",
        "1e19",
        "99999999999999999999",
        "\"a\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "true",
        "null",
        "[]",
        "{}",
        "NaN",
        "[1,",
        "[",
        "]",
        "{\"a\":",
        "{\"b\":1,",
        "\"a\":",
        "}",
        ",",
        " ",
    ]);
    prop::collection::vec(token, 1..12).prop_map(|tokens| {
        let open: Vec<&str> =
            tokens.iter().filter(|t| t.starts_with(['[', '{']) && t.len() > 2 || **t == "[").copied().collect();
        let closing: String = open.iter().rev().map(|t| if t.starts_with('[') { ']' } else { '}' }).collect();
        format!("{}{closing}", tokens.concat())
    })
}

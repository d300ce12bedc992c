//! The promise that the JSON codec reads what the Python original really wrote, refuses what it should not have written, and changes
//! nothing on the way through.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::wire::json::{JsonFault, JsonMessage, MAX_BYTES, MessageKind, MessageType, NodeStatePayload, Origin};
use serde_json::{Map, Value, json};

/// Real datagrams, `{"name", "hex"}` a line: recorded from running nodes of the original.
const DATAGRAMS: &str = include_str!("fixtures/legacy_datagrams.jsonl");

/// States that real cameras published, each with a `location` of its own.
const NODE_STATES: &str = include_str!("fixtures/node_states.json");

#[test]
fn every_real_datagram_is_accepted_except_the_one_without_a_source() {
    let mut accepted = 0;
    for (name, bytes) in datagrams() {
        match JsonMessage::parse(&bytes, Origin::Legacy) {
            Ok(_) => accepted += 1,
            Err(reject) => {
                assert_eq!(name, "empty_source", "{reject}");
                assert_eq!((reject.fault, reject.field.as_str()), (JsonFault::EmptyName, "source"));
            }
        }
    }
    assert_eq!(accepted, datagrams().len() - 1);
    assert_eq!(datagrams().len(), 35);
}

#[test]
fn every_type_of_the_seed_is_among_the_real_datagrams() {
    let seen: BTreeSet<MessageKind> = messages().into_iter().map(|(_, message)| message.kind).collect();
    let all: BTreeSet<MessageKind> = MessageType::ALL.into_iter().map(MessageKind::Seed).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_real_datagram_comes_back_as_the_same_json_with_the_same_float_bits() {
    for (name, bytes) in datagrams() {
        let Ok(message) = JsonMessage::parse(&bytes, Origin::Legacy) else { continue };
        let written = message.to_json();
        // Read by serde_json alone, so that a fault of our reader cannot hide itself.
        let before: Value = serde_json::from_slice(&bytes).unwrap();
        let after: Value = serde_json::from_str(&written).unwrap();
        assert!(same_bits(&before, &after), "{name}: {written}");
        assert_eq!(JsonMessage::parse(written.as_bytes(), Origin::Legacy).unwrap(), message, "{name}");
    }
}

#[test]
fn the_floats_of_real_datagrams_are_the_nearest_to_their_digits() {
    let mut compared = 0;
    for (name, bytes) in datagrams() {
        let text = String::from_utf8(bytes).unwrap();
        let Ok(message) = JsonMessage::parse(text.as_bytes(), Origin::Legacy) else { continue };
        let mut floats = Vec::new();
        floats_of(&serde_json::from_str(&message.to_json()).unwrap(), &mut floats);
        // std's own parser, number by number, from the bytes that arrived.
        let mut expected: Vec<u64> = number_texts(&text)
            .filter(|number| number.contains(['.', 'e']))
            .map(|number| number.parse::<f64>().unwrap().to_bits())
            .collect();
        // serde_json's objects sort their keys, the text does not.
        floats.sort_unstable();
        expected.sort_unstable();
        assert_eq!(floats, expected, "{name}");
        compared += expected.len();
    }
    assert!(compared > 2_000, "only {compared} floats were compared");
}

#[test]
fn a_real_datagram_cut_anywhere_is_refused() {
    for (name, bytes) in datagrams() {
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            let reject = JsonMessage::parse(&bytes[..length], Origin::Legacy).unwrap_err();
            assert_eq!(reject.fault, JsonFault::Truncated, "{name} cut to {length}: {reject}");
        }
    }
}

#[test]
fn two_real_datagrams_in_one_are_refused() {
    for (name, bytes) in datagrams() {
        let reject = JsonMessage::parse(&[bytes.as_slice(), bytes.as_slice()].concat(), Origin::Legacy).unwrap_err();
        assert_eq!(reject.fault, JsonFault::TrailingData, "{name}");
        assert_eq!(reject.position.unwrap().column, bytes.len() + 1, "{name}");
    }
}

#[test]
fn real_states_are_read_and_written_back_as_they_were() {
    let mut read = 0;
    for (name, message) in messages() {
        let state = NodeStatePayload::try_from(&message);
        match message.kind {
            MessageKind::Seed(MessageType::Heartbeat | MessageType::NodeStateSync) => {
                let state = state.unwrap();
                assert_eq!(state.node_id, message.source, "{name}");
                assert!(same_bits(&state.into(), &message.payload), "{name}");
                read += 1;
            }
            MessageKind::Seed(_) | MessageKind::Custom(_) => {
                assert_eq!(state.unwrap_err().fault, JsonFault::OtherKind, "{name}");
            }
        }
    }
    assert_eq!(read, 7);
}

#[test]
fn nobody_publishes_the_state_of_another() {
    let mut message = messages().swap_remove(1).1;
    message.source = "node_666".to_owned();
    let reject = NodeStatePayload::try_from(&message).unwrap_err();
    assert_eq!((reject.fault, reject.field.as_str()), (JsonFault::ForeignState, "payload.node_id"));
}

#[test]
fn the_node_states_are_real_ones_that_differ_in_location() {
    let real: Vec<Map<String, Value>> = messages()
        .iter()
        .filter_map(|(_, message)| NodeStatePayload::try_from(message).ok())
        .map(|payload| payload.state)
        .collect();
    let states: Vec<Map<String, Value>> = serde_json::from_str(NODE_STATES).unwrap();
    let locations: BTreeSet<String> = states.iter().map(|state| state["location"].to_string()).collect();
    assert!(states.len() >= 10);
    assert_eq!(locations.len(), states.len(), "a location is there twice");
    for state in &states {
        let is_like = |other: &Map<String, Value>| {
            let mut moved = other.clone();
            moved.insert("location".to_owned(), state["location"].clone());
            !other.is_empty() && moved == *state
        };
        assert!(real.iter().any(is_like), "no camera published this: {state:?}");
    }
}

#[test]
fn a_custom_message_is_for_the_api_only() {
    let text = json!({"type": 0, "kind": "door_opened", "source": "node_001", "timestamp": 1.5, "seq": 1, "payload": null, "path": []})
        .to_string();
    let message = JsonMessage::parse(text.as_bytes(), Origin::Api).unwrap();
    assert_eq!(message.kind, MessageKind::Custom("door_opened".to_owned()));
    assert_eq!(JsonMessage::parse(message.to_json().as_bytes(), Origin::Api).unwrap(), message);
    let reject = JsonMessage::parse(text.as_bytes(), Origin::Legacy).unwrap_err();
    assert_eq!((reject.fault, reject.field.as_str()), (JsonFault::CustomFromLegacy, "type"));
}

#[test]
fn a_message_of_64_kib_is_read_and_one_byte_more_is_not() {
    let (_, message) = messages().swap_remove(0);
    let text = message.to_json();
    for (length, accepted) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let padded = format!("{text}{}", " ".repeat(length - text.len()));
        let result = JsonMessage::parse(padded.as_bytes(), Origin::Legacy);
        assert_eq!(result.is_ok(), accepted, "{length} bytes");
        if let Err(reject) = result {
            assert_eq!(reject.fault, JsonFault::TooLong(length));
        }
    }
}

/// Equal values of equal types, floats to the bit: `==` alone takes -0.0 for 0.0.
fn same_bits(a: &Value, b: &Value) -> bool {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    floats_of(a, &mut left);
    floats_of(b, &mut right);
    a == b && left == right
}

fn floats_of(value: &Value, floats: &mut Vec<u64>) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => {}
        Value::Number(number) => floats.extend(number.as_f64().filter(|_| number.is_f64()).map(f64::to_bits)),
        Value::Array(items) => items.iter().for_each(|item| floats_of(item, floats)),
        Value::Object(fields) => fields.values().for_each(|field| floats_of(field, floats)),
    }
}

/// The numbers outside of strings; the recorded texts have no escaped quotes.
fn number_texts(text: &str) -> impl Iterator<Item = &str> {
    assert!(!text.contains('\\'));
    text.split('"')
        .step_by(2)
        .flat_map(|outside| outside.split([',', ' ', ':', '[', ']', '{', '}']))
        .filter(|token| token.starts_with(|first: char| first == '-' || first.is_ascii_digit()))
}

fn messages() -> Vec<(String, JsonMessage)> {
    datagrams()
        .into_iter()
        .filter_map(|(name, bytes)| JsonMessage::parse(&bytes, Origin::Legacy).ok().map(|message| (name, message)))
        .collect()
}

fn datagrams() -> Vec<(String, Vec<u8>)> {
    DATAGRAMS
        .lines()
        .map(|line| {
            let record: BTreeMap<String, String> =
                serde_json::from_str(line).expect("a fixture line is an object of strings");
            (record["name"].clone(), bytes_of(&record["hex"]))
        })
        .collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("the fixture is hex")).collect()
}

//! Any bytes are a message or a reject; a message is written and read back as itself, and means what serde_json alone would read.

#![no_main]

use kodikon_core::wire::json::{JsonFault, JsonMessage, MAX_BYTES, NodeStatePayload, Origin};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let message = match JsonMessage::parse(bytes, Origin::Api) {
        Ok(message) => message,
        Err(reject) => {
            assert!(
                JsonMessage::parse(bytes, Origin::Legacy).is_err(),
                "refused from the API, accepted from the original"
            );
            assert!(!reject.to_string().is_empty());
            return;
        }
    };
    match JsonMessage::parse(bytes, Origin::Legacy) {
        Ok(legacy) => assert_eq!(legacy, message),
        Err(reject) => assert_eq!(reject.fault, JsonFault::CustomFromLegacy),
    }
    let _ = NodeStatePayload::try_from(&message);

    let text = message.to_json();
    let read: Value = serde_json::from_slice(bytes).expect("what we accept is JSON");
    let written: Value = serde_json::from_str(&text).expect("what we write is JSON");
    assert!(same_bits(&read["payload"], &written["payload"]), "{text}");
    assert_eq!(read.as_object().map(serde_json::Map::len), written.as_object().map(serde_json::Map::len));

    // `1e5` is written as `100000.0`: a message near the limit may grow beyond it.
    if text.len() <= MAX_BYTES {
        let back = JsonMessage::parse(text.as_bytes(), Origin::Api).expect("what we write is a message");
        assert_eq!(back, message);
        assert_eq!(back.to_json(), text);
    }
});

/// Equal values of equal types, floats to the bit: `==` alone takes -0.0 for 0.0.
fn same_bits(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b && a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_bits(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((key, a), (other, b))| key == other && same_bits(a, b))
        }
        (a, b) => a == b,
    }
}

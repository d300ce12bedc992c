//! Decides what node state is: JSON values under keys, each written by its own node alone, with one version over all.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::ground::config::{MAX_STATE, MAX_STATE_KEYS, MAX_STATE_VALUE};
use crate::ground::time::WallTime;
use crate::model::json::{MAX_DEPTH, depth};

/// The body of a state op.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StateEntry {
    /// The value as JSON text; absent when the key was unset.
    #[n(0)]
    pub json: Option<String>,
    /// The node's state version that this change made.
    #[n(1)]
    pub version: u64,
    /// [`NodeSnapshot::digest`] of all values at that version: whoever holds others lacks something, and shows what it had.
    #[n(2)]
    pub whole: Option<u64>,
}

impl StateEntry {
    /// Whether an author may say this under this key: what it checks for itself, its readers check again. The words of
    /// `state` are left out, since a later version may know more of them. No key at all bears the version alone.
    #[must_use]
    pub fn is_within_limits(&self, key: &[u8]) -> bool {
        let Ok(key) = core::str::from_utf8(key) else { return false };
        match &self.json {
            None => key.len() <= MAX_KEY,
            Some(json) => {
                (1..=MAX_KEY).contains(&key.len())
                    && json.len() <= MAX_STATE_VALUE
                    && serde_json::from_str::<serde_json::Value>(json).is_ok()
            }
        }
    }
}

/// A node's state as others show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[doc(alias = "NodeStateManager")]
pub struct NodeSnapshot {
    /// Raised with every change; survives a restart of its node.
    pub version: u64,
    /// The node's wall clock at its last change.
    pub changed: WallTime,
    /// JSON text by key.
    pub values: BTreeMap<String, String>,
}

/// One change to the own state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Which key.
    pub key: String,
    /// Its new value as JSON text, or `None` to unset it.
    pub json: Option<String>,
}

/// Why a change of the own state was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The key is empty or too long.
    #[error("a state key has 1 to 64 bytes, this one has {0}: shorten it")]
    Key(usize),
    /// The value is no JSON text.
    #[error("the value of `{0}` is not JSON")]
    NotJson(String),
    /// The value is too deep.
    #[error("the value of `{0}` has more than {MAX_DEPTH} arrays and objects in one another: make it flatter")]
    Depth(String),
    /// The value is too long.
    #[error(
        "the value of `{key}` has {bytes} bytes of JSON, the limit is {MAX_STATE_VALUE}: split it, or publish a hash of it"
    )]
    Value {
        /// Which key.
        key: String,
        /// How long it is.
        bytes: usize,
    },
    /// Too many keys.
    #[error("a node's state holds at most {MAX_STATE_KEYS} keys: unset some first")]
    Keys,
    /// Too much in all.
    #[error("a node's state holds at most {MAX_STATE} bytes, this would make {0}: unset some keys first")]
    Total(usize),
    /// `state` names the node's own condition and takes only four words.
    #[error("`state` is one of \"active\", \"idle\", \"processing\", \"offline\", not {0}")]
    NodeState(String),
}

/// Bytes of a state key at most.
pub const MAX_KEY: usize = 64;
/// The four conditions of a node, as the seed names them.
pub const NODE_STATES: [&str; 4] = ["active", "idle", "processing", "offline"];

impl NodeSnapshot {
    /// Eight bytes of a hash over all keys and values. Only its author could make another state look like it, and would lie about
    /// itself.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 whole state");
        for text in self.values.iter().flat_map(|(key, json)| [key, json]) {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// What the values become under these changes.
    ///
    /// # Errors
    /// The first limit that a change breaks; the snapshot is as before.
    pub fn changed_by(&self, changes: &[StateChange]) -> Result<BTreeMap<String, String>, StateError> {
        let mut values = self.values.clone();
        for change in changes {
            check(change)?;
            match &change.json {
                Some(json) => values.insert(change.key.clone(), json.clone()),
                None => values.remove(&change.key),
            };
        }
        let total = values.iter().map(|(key, json)| key.len() + json.len()).sum();
        if values.len() > MAX_STATE_KEYS {
            return Err(StateError::Keys);
        }
        if total > MAX_STATE {
            return Err(StateError::Total(total));
        }
        Ok(values)
    }
}

fn check(change: &StateChange) -> Result<(), StateError> {
    if change.key.is_empty() || change.key.len() > MAX_KEY {
        return Err(StateError::Key(change.key.len()));
    }
    let Some(json) = &change.json else { return Ok(()) };
    if json.len() > MAX_STATE_VALUE {
        return Err(StateError::Value { key: change.key.clone(), bytes: json.len() });
    }
    if depth(json) > MAX_DEPTH {
        return Err(StateError::Depth(change.key.clone()));
    }
    let value: serde_json::Value = serde_json::from_str(json).map_err(|_| StateError::NotJson(change.key.clone()))?;
    let is_condition = value.as_str().is_some_and(|word| NODE_STATES.contains(&word));
    if change.key == "state" && !is_condition {
        return Err(StateError::NodeState(json.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, json: &str) -> StateChange {
        StateChange { key: key.to_owned(), json: Some(json.to_owned()) }
    }

    #[test]
    fn each_limit_is_refused_by_name_and_its_edge_is_taken() {
        let state = NodeSnapshot::default();
        let long = |n: usize| format!("\"{}\"", "x".repeat(n - 2));
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let table: Vec<(StateChange, Result<(), StateError>)> = vec![
            (change("fps", "30"), Ok(())),
            (change("", "1"), Err(StateError::Key(0))),
            (change(&"k".repeat(64), "1"), Ok(())),
            (change(&"k".repeat(65), "1"), Err(StateError::Key(65))),
            (change("v", &long(1_024)), Ok(())),
            (change("v", &long(1_025)), Err(StateError::Value { key: "v".to_owned(), bytes: 1_025 })),
            (change("v", &nested(32)), Ok(())),
            (change("v", &nested(33)), Err(StateError::Depth("v".to_owned()))),
            (change("v", &nested(130)), Err(StateError::Depth("v".to_owned()))),
            (change("v", "{"), Err(StateError::NotJson("v".to_owned()))),
            (change("state", "\"idle\""), Ok(())),
            (change("state", "\"asleep\""), Err(StateError::NodeState("\"asleep\"".to_owned()))),
        ];
        for (change, expected) in table {
            assert_eq!(state.changed_by(std::slice::from_ref(&change)).map(|_| ()), expected, "{change:?}");
        }
    }

    #[test]
    fn a_digest_tells_states_apart_by_keys_and_values_alone() {
        let state = |values: &[(&str, &str)], version| {
            let values = values.iter().map(|(key, json)| ((*key).to_owned(), (*json).to_owned())).collect();
            NodeSnapshot { version, values, ..NodeSnapshot::default() }.digest()
        };
        assert_eq!(state(&[("a", "1"), ("b", "2")], 1), state(&[("b", "2"), ("a", "1")], 2));
        let all: [&[(&str, &str)]; 5] = [&[], &[("a", "1")], &[("a", "12")], &[("a1", "2")], &[("a", "1"), ("2", "")]];
        let digests: std::collections::BTreeSet<u64> = all.iter().map(|values| state(values, 1)).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn the_sixty_fifth_key_and_the_17th_kilobyte_are_refused() {
        let state = NodeSnapshot::default();
        let keys: Vec<_> = (0..65).map(|n| change(&format!("k{n}"), "1")).collect();
        assert!(state.changed_by(&keys[..64]).is_ok());
        assert_eq!(state.changed_by(&keys), Err(StateError::Keys));
        let big: Vec<_> = (0..17).map(|n| change(&format!("k{n}"), &format!("\"{}\"", "x".repeat(1_000)))).collect();
        assert!(matches!(state.changed_by(&big), Err(StateError::Total(_))));
    }
}

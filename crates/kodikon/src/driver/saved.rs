//! Decides how what a node keeps looks as files: text that a person can read, except for the directory, whose cards are signed bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kodikon_core::effect::log::SavedLog;
use kodikon_core::effect::{Claim, Persist, Remembered};
use kodikon_core::ground::id::{Epoch, Life, NodeId};
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::op::SignedOp;
use kodikon_core::model::state::NodeSnapshot;
use kodikon_core::node::Saved;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{IdentitySeed, Store, StoreError};

const STATE: &str = "state.json";
const RANK: &str = "rank";
const DIRECTORY: &str = "directory.cbor";

/// Directory entries that are read; the core holds no more.
const DIRECTORY_MAX: usize = 4_096;
/// Addresses of one entry that are read.
const ADDRESSES_MAX: usize = 8;

/// The own state on disk.
#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u64,
    changed_ms: u64,
    state: BTreeMap<String, Value>,
}

/// One entry of the directory on disk.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Entry {
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    epoch: u64,
    #[n(2)]
    life: u32,
    #[n(3)]
    name: String,
    #[n(4)]
    wall: u64,
    #[n(5)]
    left: bool,
    #[n(6)]
    addresses: Vec<String>,
    #[n(7)]
    signed: Option<SignedOp>,
}

/// Writes one thing.
///
/// # Errors
/// What the store says; the old value is then still there.
pub(crate) fn write(store: &mut dyn Store, what: &Persist) -> Result<(), StoreError> {
    match what {
        Persist::State(state) => store.save(STATE, &state_bytes(state)),
        Persist::Rank(claim) => store.save(RANK, claim_text(claim).as_bytes()),
        Persist::EpochCounter(counter) => store.raise_epoch(*counter),
        Persist::Identity(secret) => store.replace_identity(&IdentitySeed(secret.0)),
        Persist::Directory(entries) => store.save(DIRECTORY, &directory_bytes(entries)),
    }
}

/// Reads all but the log. What is damaged is left out and told: a node without its memory is better than none. The rank of another
/// name, or of another identity, is none of this node's.
///
/// # Errors
/// When the disk fails.
pub(crate) fn read(store: &mut dyn Store, (id, name): (NodeId, &str)) -> Result<Saved, StoreError> {
    let state = store.load(STATE)?.map(|bytes| parse_state(&bytes));
    let rank = read_rank(store, (id, name))?;
    let directory = store.load(DIRECTORY)?.map(|bytes| parse_directory(&bytes));
    Ok(Saved {
        state: usable(STATE, state).unwrap_or_default(),
        unkept_state: None,
        rank,
        directory: usable(DIRECTORY, directory).unwrap_or_default(),
        log: SavedLog::default(),
    })
}

/// An older version wrote the rank alone: it is taken for that of whoever reads it first, and says so from then on.
fn read_rank(store: &mut dyn Store, (id, name): (NodeId, &str)) -> Result<Option<u16>, StoreError> {
    let Some(bytes) = store.load(RANK)? else { return Ok(None) };
    let claim = usable(RANK, Some(parse_claim(&bytes, (id, name))));
    let Some(claim) = claim.filter(|claim| claim.id == id && claim.name == name) else { return Ok(None) };
    let text = claim_text(&claim);
    if bytes != text.as_bytes() {
        store.save(RANK, text.as_bytes())?;
    }
    Ok(Some(claim.rank))
}

/// `Some(None)` is a file that holds something else.
fn usable<T>(file: &'static str, found: Option<Option<T>>) -> Option<T> {
    if matches!(found, Some(None)) {
        tracing::warn!(file, "damaged, and left out; the next change replaces it");
    }
    found.flatten()
}

fn state_bytes(state: &NodeSnapshot) -> Vec<u8> {
    // Values were checked to be JSON before they were taken in.
    let value = |json: &String| serde_json::from_str(json).unwrap_or(Value::Null);
    let values = state.values.iter().map(|(key, json)| (key.clone(), value(json))).collect();
    let file = StateFile { version: state.version, changed_ms: state.changed.0, state: values };
    serde_json::to_vec_pretty(&file).expect("text keys and JSON values are JSON")
}

fn parse_state(bytes: &[u8]) -> Option<NodeSnapshot> {
    let file: StateFile = serde_json::from_slice(bytes).ok()?;
    let values = file.state.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    Some(NodeSnapshot { version: file.version, changed: WallTime(file.changed_ms), values })
}

fn claim_text(Claim { id, name, rank }: &Claim) -> String {
    format!("{rank}\n{id}\n{name}\n")
}

/// Where there is a rank alone, it is the reader's.
fn parse_claim(bytes: &[u8], reader: (NodeId, &str)) -> Option<Claim> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\n');
    let mut lines = text.splitn(3, '\n');
    let rank = lines.next()?.parse().ok().filter(|rank| *rank > 0)?;
    let (id, name) = match (lines.next(), lines.next()) {
        (None, _) => reader,
        (Some(id), Some(name)) => (NodeId(u128::from_str_radix(id, 16).ok()?.to_be_bytes()), name),
        (Some(_), None) => return None,
    };
    Some(Claim { id, name: name.to_owned(), rank })
}

fn directory_bytes(entries: &[Remembered]) -> Vec<u8> {
    let entry = |entry: &Remembered| Entry {
        id: entry.id.0,
        epoch: entry.epoch.0,
        life: entry.life.0,
        name: entry.name.clone(),
        wall: entry.wall.0,
        left: entry.left,
        addresses: entry.addresses.iter().map(ToString::to_string).collect(),
        signed: entry.signed.clone(),
    };
    let entries: Vec<Entry> = entries.iter().map(entry).collect();
    minicbor::to_vec(entries).expect("encoding into memory cannot fail")
}

fn parse_directory(bytes: &[u8]) -> Option<Vec<Remembered>> {
    let mut entries: Vec<Entry> = minicbor::decode(bytes).ok()?;
    entries.truncate(DIRECTORY_MAX);
    let remembered = |entry: Entry| Remembered {
        id: NodeId(entry.id),
        epoch: Epoch(entry.epoch),
        life: Life(entry.life),
        name: entry.name,
        wall: WallTime(entry.wall),
        left: entry.left,
        addresses: parse_addresses(&entry.addresses),
        signed: entry.signed,
    };
    Some(entries.into_iter().map(remembered).collect())
}

fn parse_addresses(texts: &[String]) -> Vec<SocketAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use kodikon_core::ground::id::{MeshId, Seq};
    use kodikon_core::model::identity::Identity;
    use kodikon_core::model::op::{OpKind, Statement};

    use super::*;
    use crate::store::MemoryStore;

    const ID: NodeId = NodeId([0xab; 16]);

    fn saved() -> Saved {
        let statement =
            Statement { kind: OpKind::Card, key: Vec::new(), body: vec![1, 2], lamport: 1, wall: WallTime(5) };
        let identity = Identity::from_secret(&[1; 32]);
        let signed = SignedOp::sign(&identity, MeshId([2; 16]), Epoch::new(3, 4), Seq(1), statement);
        let entry = Remembered {
            id: identity.id(),
            epoch: Epoch::new(3, 4),
            life: Life(5),
            name: "cam".to_owned(),
            wall: WallTime(6),
            left: true,
            addresses: vec!["10.0.0.1:10000".parse().unwrap(), "[fe80::1%3]:10000".parse().unwrap()],
            signed: Some(signed),
        };
        let values = [("fps", "29.97"), ("location", r#"{"zone":"A"}"#), ("note", r#""\u00e9\n""#)];
        let values = values.map(|(key, json)| (key.to_owned(), json.parse::<Value>().unwrap().to_string()));
        let state = NodeSnapshot { version: 7, changed: WallTime(8), values: values.into() };
        Saved { state, rank: Some(2), directory: vec![entry], ..Saved::default() }
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let mut store = MemoryStore::new();
        let before = saved();
        write(&mut store, &Persist::State(before.state.clone())).unwrap();
        write(&mut store, &Persist::Rank(Claim { id: ID, name: "cam".to_owned(), rank: 2 })).unwrap();
        write(&mut store, &Persist::Directory(before.directory.clone())).unwrap();
        write(&mut store, &Persist::EpochCounter(40)).unwrap();
        write(&mut store, &Persist::Identity(kodikon_core::effect::NewSecret([9; 32]))).unwrap();
        let after = read(&mut store, (ID, "cam")).unwrap();
        assert_eq!((after.state, after.rank, after.directory), (before.state, before.rank, before.directory));
        assert_eq!(store.next_epoch().unwrap(), 41);
        assert_eq!(store.identity().unwrap(), IdentitySeed([9; 32]));
    }

    /// A node that was `cam-2` was `door-2` under its next name, and a new one took the name of whoever had it before.
    #[test]
    fn a_rank_counts_for_the_name_and_the_identity_that_it_was_kept_of() {
        let other = NodeId([0xac; 16]);
        let kept = || Persist::Rank(Claim { id: ID, name: "cam".to_owned(), rank: 2 });
        let table = [(ID, "cam", Some(2)), (ID, "door", None), (other, "cam", None)];
        for (id, name, expected) in table {
            let mut store = MemoryStore::new();
            write(&mut store, &kept()).unwrap();
            assert_eq!(read(&mut store, (id, name)).unwrap().rank, expected, "{id} {name}");
            // An older version did not say whose it is.
            store.save(RANK, b"2\n").unwrap();
            assert_eq!(read(&mut store, (id, name)).unwrap().rank, Some(2), "{id} {name}");
            assert_eq!(read(&mut store, (other, "gate")).unwrap().rank, None, "whoever read it first has it");
        }
    }

    #[test]
    fn a_new_store_remembers_nothing_and_a_damaged_file_costs_only_itself() {
        let mut store = MemoryStore::new();
        let empty = read(&mut store, (ID, "cam")).unwrap();
        assert_eq!((empty.state.version, empty.rank, empty.directory.len()), (0, None, 0));

        write(&mut store, &Persist::State(saved().state)).unwrap();
        for (file, bytes) in [
            (RANK, &b"zero"[..]),
            (RANK, b"0"),
            (RANK, b"2\nab"),
            (RANK, b"2\nid\ncam"),
            (RANK, b"\xff"),
            (DIRECTORY, b"\x9f"),
            (DIRECTORY, b""),
        ] {
            store.save(file, bytes).unwrap();
            let found = read(&mut store, (ID, "cam")).unwrap();
            assert_eq!((found.rank, found.directory.len()), (None, 0), "{file} {bytes:?}");
            assert_eq!(found.state.version, 7);
        }
        for bytes in [&b"{"[..], b"[]", br#"{"version":-1,"changed_ms":0,"state":{}}"#] {
            store.save(STATE, bytes).unwrap();
            assert_eq!(read(&mut store, (ID, "cam")).unwrap().state, NodeSnapshot::default(), "{bytes:?}");
        }
    }
}

//! Decides what one node asks another in a search, and what that answers: texts of the mesh's own, under names that no application uses.

use std::sync::Arc;

use kodikon_scan::{MAX_K, Mode, Query};
use minicbor::{Decode, Encode};

use crate::ground::config::{MAX_KIND, MAX_PAYLOAD};
use crate::ground::id::NodeId;
use crate::ground::time::WallTime;
use crate::model::record::{Filter, MAX_DATA_TYPE, MAX_DIMS, MAX_HASH, MAX_MODEL, Reach, Whose};
use crate::wire::message::LogEntry;

/// The name of a text that asks. It begins with a control character, which no application's type may hold.
pub const QUERY: &str = "\u{1}SEARCH_QUERY";
/// The name of a text that answers.
pub const ANSWER: &str = "\u{1}FACE_SEARCH_RESULT";

const _: () = assert!(QUERY.len() <= MAX_KIND && ANSWER.len() <= MAX_KIND);

/// Whether a text of this name is the mesh's own and not an application's.
#[must_use]
pub fn is_own(kind: &str) -> bool {
    kind.starts_with('\u{1}')
}

/// Set by its asker in the number of a search that it hands over: a late answer is then not taken for one to what it asks afterwards.
pub const HANDED: u64 = 1 << 63;

/// Nodes that bear the name which a filter asks for, at most: one bears it, but for a while after a clash.
pub const MAX_NAMED: usize = 16;
/// Conditions on fields of one query at most, as many as a person would write; and bytes of each.
const MAX_CONDITIONS: usize = 64;
const MAX_CONDITION: usize = 1_024;
/// Parts of one answer at most, each a text of its own: they take as many records as can be asked for.
pub const MAX_PARTS: u8 = 32;
/// Records of one part at most: their signatures are checked in one turn, which is to take less than 2 ms. A thousand fit into as many parts as may be.
pub const MAX_PART: usize = 32;
/// Bytes of the records of one part: what remains of a text holds the rest.
pub const MAX_PART_BYTES: usize = MAX_PAYLOAD - 1_024;

/// What is sought.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SearchQuery {
    /// Names it in the answer.
    #[n(0)]
    pub number: u64,
    /// The numbers exactly: IEEE 754 binary32, little end first.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub numbers: Vec<u8>,
    /// Of which model; absent: of the only one that has as many dimensions.
    #[n(2)]
    pub model: Option<String>,
    /// How many.
    #[n(3)]
    pub k: u16,
    /// Whether one in a hundred may be missed.
    #[n(4)]
    pub fast: bool,
    /// Whether only what its holder alone has is sought: of all else the asker holds as much itself.
    #[n(5)]
    pub local: bool,
    /// How long the asker waits yet, in milliseconds.
    #[n(6)]
    pub left_ms: u32,
    /// What is less near than this the asker has enough of.
    #[n(7)]
    pub floor: Option<f64>,
    /// The filter, see [`Filter`].
    #[n(8)]
    pub data_type: Option<String>,
    /// An identity, of which sightings are asked for,
    #[cbor(n(9), with = "minicbor::bytes")]
    pub author: Option<[u8; 16]>,
    /// or a name.
    #[n(10)]
    pub name: Option<String>,
    /// Identities that bear this name now, 16 bytes each, as the asker knows it.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub named: Vec<u8>,
    /// Milliseconds since 1970.
    #[n(12)]
    pub since: Option<u64>,
    /// The same.
    #[n(13)]
    pub until: Option<u64>,
    /// Fields of the metadata and what they must be like.
    #[n(14)]
    pub conditions: Vec<(String, String)>,
    /// Only of this hash.
    #[n(15)]
    pub hash: Option<String>,
    /// Nothing of this hash.
    #[n(16)]
    pub except: Option<String>,
    /// Handed over: what the asker holds, as its root. Whoever holds the same and has time answers in its place, and any other declines.
    #[n(17)]
    pub root: Option<u64>,
}

/// A query as it is understood.
#[derive(Debug, Clone)]
pub struct Understood {
    /// To what the nearest are sought.
    pub query: Arc<Query>,
    /// How sure the answer is to be.
    pub mode: Mode,
    /// Which records may be in the answer.
    pub filter: Filter,
    /// Who bears the name that the filter asks for.
    pub named: Vec<NodeId>,
}

impl SearchQuery {
    /// The bytes of the numbers of a query.
    #[must_use]
    pub fn bytes_of(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// The bytes of identities.
    #[must_use]
    pub fn names_of(named: &[NodeId]) -> Vec<u8> {
        named.iter().take(MAX_NAMED).flat_map(|id| id.0).collect()
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into memory cannot fail")
    }

    /// The query that a text holds, within its limits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<(Self, Understood)> {
        let asked: Self = minicbor::decode(text).ok()?;
        let is_short = |text: &Option<String>, most: usize| text.as_ref().is_none_or(|text| text.len() <= most);
        let (numbers, rest) = asked.numbers.as_chunks::<4>();
        let (named, others) = asked.named.as_chunks::<16>();
        let fits = rest.is_empty()
            && others.is_empty()
            && numbers.len() <= usize::from(MAX_DIMS)
            && named.len() <= MAX_NAMED
            && (1..=MAX_K).contains(&usize::from(asked.k))
            && asked.floor.is_none_or(f64::is_finite)
            && is_short(&asked.model, MAX_MODEL)
            && is_short(&asked.data_type, MAX_DATA_TYPE)
            && is_short(&asked.name, MAX_HASH)
            && is_short(&asked.hash, MAX_HASH)
            && is_short(&asked.except, MAX_HASH)
            && asked.conditions.len() <= MAX_CONDITIONS
            && asked.conditions.iter().all(|(field, like)| field.len() + like.len() <= MAX_CONDITION);
        if !fits {
            return None;
        }
        let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let author = asked.author.map(|id| Whose::Id(NodeId(id)));
        let filter = Filter {
            data_type: asked.data_type.clone(),
            node: author.or_else(|| asked.name.clone().map(Whose::Name)),
            since: asked.since.map(WallTime),
            until: asked.until.map(WallTime),
            where_: asked.conditions.clone(),
            reach: if asked.local { Reach::Local } else { Reach::Held },
            hash: asked.hash.clone(),
        };
        let understood = Understood {
            query: Arc::new(Query::new(&numbers).ok()?),
            mode: if asked.fast { Mode::Fast } else { Mode::Exact },
            filter,
            named: named.iter().copied().map(NodeId).collect(),
        };
        Some((asked, understood))
    }
}

/// What was found, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SearchAnswer {
    /// Of which query.
    #[n(0)]
    pub number: u64,
    /// Which part it is, from 0.
    #[n(1)]
    pub part: u8,
    /// Of how many, 1 to [`MAX_PARTS`].
    #[n(2)]
    pub parts: u8,
    /// Whether all parts together are what a plain scan gives, and nothing was left out.
    #[n(3)]
    pub certified: bool,
    /// The records, the nearest first. What they score the asker computes itself.
    #[n(4)]
    pub entries: Vec<LogEntry>,
    /// Whether a search that was handed over is declined, in place of an answer.
    #[n(5)]
    pub declined: Option<bool>,
}

impl SearchAnswer {
    /// What declines to scan in the place of another.
    #[must_use]
    pub fn declining(number: u64) -> Self {
        Self { number, part: 0, parts: 1, certified: false, entries: Vec::new(), declined: Some(true) }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into memory cannot fail")
    }

    /// The answer that a text holds, within its limits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let answer: Self = minicbor::decode(text).ok()?;
        let fits = answer.part < answer.parts && answer.parts <= MAX_PARTS && answer.entries.len() <= MAX_PART;
        fits.then_some(answer)
    }
}

/// Splits records into the parts of an answer. `certified` says whether they are all that was found; what is beyond the most is left out.
#[must_use]
pub fn in_parts(number: u64, certified: bool, entries: Vec<LogEntry>) -> Vec<SearchAnswer> {
    let mut parts: Vec<Vec<LogEntry>> = vec![Vec::new()];
    let (mut room, mut is_whole) = (MAX_PART_BYTES, certified);
    for entry in entries {
        let len = entry.op.wire_len() + ENTRY_FRAME;
        if len > room || parts.last().is_some_and(|part| part.len() >= MAX_PART) {
            if parts.len() >= usize::from(MAX_PARTS) || len > MAX_PART_BYTES {
                is_whole = false;
                break;
            }
            parts.push(Vec::new());
            room = MAX_PART_BYTES;
        }
        room -= len;
        if let Some(part) = parts.last_mut() {
            part.push(entry);
        }
    }
    let count = u8::try_from(parts.len()).unwrap_or(MAX_PARTS);
    let answer =
        |(part, entries)| SearchAnswer { number, part, parts: count, certified: is_whole, entries, declined: None };
    (0..count).zip(parts).map(answer).collect()
}

/// Bytes of an entry besides its op: age and key, and their frames.
const ENTRY_FRAME: usize = 64;

#[cfg(test)]
mod tests;

//! Decides which sightings meet a filter, some at a time, so that a registry of any size holds nobody up.

use core::cmp::Reverse;
use std::sync::Arc;

use minicbor::Decoder;
use minicbor::data::Type;

use crate::ground::id::NodeId;
use crate::ground::time::WallTime;
use crate::machines::registry::Registry;
use crate::model::op::{OpId, SignedOp};
use crate::model::record::{Cursor, Filter, RecordBody, Traits};

/// The field of a sighting's body in which its time stands ([`RecordBody::seen_ms`]).
const SEEN: u64 = 8;

/// What one turn of a search looked at.
#[derive(Debug, Default)]
pub struct Looked {
    /// What meets the filter, newest first, and what it says.
    pub found: Vec<(OpId, SignedOp, RecordBody)>,
    /// Where the next turn goes on; `None`: all were looked at.
    pub next: Option<Cursor>,
}

impl Registry {
    /// Looks at so many sightings at most, the newest first, from where the last turn ended. `name_of` says what an author goes by
    /// now.
    #[must_use]
    pub fn find(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        budget: usize,
        name_of: impl Fn(&NodeId) -> Option<String>,
    ) -> Looked {
        let from = cursor.map_or((Reverse(i64::MAX), OpId::FIRST), |cursor| (Reverse(cursor.born_ms), cursor.id));
        let is_new = |place: &(Reverse<i64>, OpId)| cursor.is_none() || *place != from;
        let mut looked = Looked::default();
        let mut last = None;
        let places: &mut dyn Iterator<Item = (Reverse<i64>, OpId)> = match &filter.hash {
            Some(hash) => {
                let hash: Arc<str> = Arc::from(hash.as_str());
                let range = self.places.by_hash.range((Arc::clone(&hash), from.0, from.1)..);
                &mut range.take_while(move |(other, ..)| *other == hash).map(|(_, born, id)| (*born, *id))
            }
            None => &mut self.places.by_age.range(from..).copied(),
        };
        for (count, (born, id)) in places.filter(is_new).enumerate() {
            if count >= budget {
                looked.next = last.or(cursor);
                break;
            }
            last = Some(Cursor { born_ms: born.0, id });
            let Some(entry) = self.shown.get(&id).filter(|entry| filter.reach.admits(entry.is_local())) else {
                continue;
            };
            if !may_be_in_time(filter, &entry.op) {
                continue;
            }
            let Ok(body) = minicbor::decode::<RecordBody>(entry.op.body()) else { continue };
            let author = entry.op.author();
            let (data_type, source, metadata) = (&body.data_type, &body.source, &body.metadata);
            let traits = Traits { data_type, author, source, seen: seen_at(&entry.op, &body), metadata };
            if filter.admits(&traits, |name| name_of(&author).is_some_and(|now| now == name)) {
                looked.found.push((id, entry.op.clone(), body));
            }
        }
        looked
    }
}

/// Whether a sighting may be of the time that is asked for: found out without reading the rest, a tenth of a microsecond and not two.
fn may_be_in_time(filter: &Filter, op: &SignedOp) -> bool {
    if filter.since.is_none() && filter.until.is_none() {
        return true;
    }
    // What cannot be read is left to who reads it all.
    told_time(op.body()).map_or(true, |seen| filter.is_in_time(seen.map_or(op.wall(), WallTime)))
}

/// The time that the body of a sighting says, if it does.
fn told_time(body: &[u8]) -> Result<Option<u64>, minicbor::decode::Error> {
    let mut decoder = Decoder::new(body);
    let fields = decoder.map()?.unwrap_or(u64::MAX);
    for _ in 0..fields {
        if decoder.datatype()? == Type::Break {
            return Ok(None);
        }
        if decoder.u64()? == SEEN {
            return if decoder.datatype()? == Type::Null { Ok(None) } else { decoder.u64().map(Some) };
        }
        decoder.skip()?;
    }
    Ok(None)
}

/// When something was seen, as far as anybody says.
#[must_use]
pub fn seen_at(op: &SignedOp, body: &RecordBody) -> WallTime {
    body.seen_ms.map_or(op.wall(), WallTime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::NewRecord;

    #[test]
    fn the_time_of_a_sighting_is_read_without_the_rest() {
        for seen in [None, Some(0), Some(1), Some(u64::MAX)] {
            let mut body = NewRecord::new("seen").body("cam");
            body.metadata = "{\"a\":[1,2,3]}".to_owned();
            body.seen_ms = seen;
            body.replaces = Some((1, 2));
            assert_eq!(told_time(&minicbor::to_vec(&body).expect("into memory")).ok(), Some(seen));
        }
        for text in ["", "a0", "ff", "a108", "bf08f6ff", "bf01f6ff", "a10181"] {
            let bytes: Vec<u8> =
                (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
            assert!(!matches!(told_time(&bytes), Ok(Some(_))), "{text}");
        }
    }
}

//! Decides which sightings meet a filter, some at a time, so that a registry of any size holds nobody up.

use core::cmp::Reverse;
use std::sync::Arc;

use crate::ground::id::NodeId;
use crate::ground::time::WallTime;
use crate::machines::registry::Registry;
use crate::model::op::{OpId, SignedOp};
use crate::model::record::{Cursor, Filter, RecordBody, Traits};

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
            let Some(entry) = self.shown.get(&id).filter(|entry| !filter.local || entry.is_local()) else { continue };
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

/// When something was seen, as far as anybody says.
#[must_use]
pub fn seen_at(op: &SignedOp, body: &RecordBody) -> WallTime {
    body.seen_ms.map_or(op.wall(), WallTime)
}

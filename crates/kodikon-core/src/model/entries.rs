//! Decides what a scan is told of a record, and how records are shared with scans that run while others come and go.

use core::cmp::Ordering;
use core::ops::Range;
use std::sync::Arc;

use kodikon_scan::{Dtype, EntryId, Source, Space};
use minicbor::Decode;

use crate::ground::id::NodeId;
use crate::ground::time::WallTime;
use crate::model::op::{OpId, OpLane, SignedOp};
use crate::model::record::{DTYPE_F16, DTYPE_F32, DTYPE_I8, Filter, SpaceKey, Traits};

/// Records that are copied together when one of them changes while a scan runs: a counter each, some 3 µs. And a scan costs a counter for
/// each page: 391 for 100,000 records.
const PAGE: usize = 256;

/// What of a record's body a scan needs, where it lies: see [`crate::model::record::RecordBody`].
#[derive(Debug, Decode)]
#[cbor(map)]
struct Brief<'b> {
    #[b(0)]
    hash_value: &'b str,
    #[b(1)]
    data_type: &'b str,
    #[b(2)]
    source: &'b str,
    #[b(5)]
    metadata: &'b str,
    #[b(6)]
    embedding: Option<BriefEmbedding<'b>>,
    #[n(8)]
    seen_ms: Option<u64>,
}

#[derive(Debug, Decode)]
#[cbor(map)]
struct BriefEmbedding<'b> {
    #[b(0)]
    model: &'b str,
    #[n(1)]
    dims: u16,
    #[n(2)]
    dtype: u8,
    #[cbor(b(3), with = "minicbor::bytes")]
    stored: &'b [u8],
}

/// The space of embeddings that can be compared; `None` for one that no honest author names.
#[must_use]
pub fn space_of(key: &SpaceKey) -> Option<Space> {
    let dtype = match key.dtype {
        DTYPE_F32 => Dtype::F32,
        DTYPE_F16 => Dtype::F16,
        DTYPE_I8 => Dtype::I8,
        _ => return None,
    };
    Space::new(usize::from(key.dims), dtype).ok()
}

/// A record with an embedding. Its op is shared with the log: what is here in addition says where in it things lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    op: SignedOp,
    hash_value: Part,
    data_type: Part,
    source: Part,
    metadata: Part,
    stored: Part,
    seen: WallTime,
}

/// Where something lies in an op's body, which is far below 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u32,
    len: u32,
}

impl Part {
    fn of(part: &[u8], body: &[u8]) -> Self {
        let start = part.as_ptr().addr() - body.as_ptr().addr();
        let word = |number: usize| u32::try_from(number).expect("a body fits a message");
        Self { start: word(start), len: word(part.len()) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl Entry {
    /// The record of an op and the space of its embedding; `None` if it is no record or has no embedding.
    #[must_use]
    pub fn read(op: &SignedOp) -> Option<(SpaceKey, Self)> {
        let (model, dims, dtype, entry) = Self::parts(op)?;
        Some((SpaceKey { model: model.to_owned(), dims, dtype }, entry))
    }

    /// The same, with model, dimensions and type of the space.
    #[must_use]
    pub fn parts(op: &SignedOp) -> Option<(&str, u16, u8, Self)> {
        if !op.kind().is_record() {
            return None;
        }
        let brief: Brief<'_> = minicbor::decode(op.body()).ok()?;
        let BriefEmbedding { model, dims, dtype, stored } = brief.embedding?;
        let part = |part: &[u8]| Part::of(part, op.body());
        let entry = Self {
            op: op.clone(),
            hash_value: part(brief.hash_value.as_bytes()),
            data_type: part(brief.data_type.as_bytes()),
            source: part(brief.source.as_bytes()),
            metadata: part(brief.metadata.as_bytes()),
            stored: part(stored),
            seen: brief.seen_ms.map_or(op.wall(), WallTime),
        };
        Some((model, dims, dtype, entry))
    }

    /// The op.
    #[must_use]
    pub fn op(&self) -> &SignedOp {
        &self.op
    }

    /// Of what it is a sighting.
    #[must_use]
    pub fn hash_value(&self) -> &str {
        self.text(self.hash_value)
    }

    /// Of what type it is.
    #[must_use]
    pub fn data_type(&self) -> &str {
        self.text(self.data_type)
    }

    /// What its author called itself.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(self.source)
    }

    /// A JSON object.
    #[must_use]
    pub fn metadata(&self) -> &str {
        self.text(self.metadata)
    }

    /// The embedding as it is stored.
    #[must_use]
    pub fn stored(&self) -> &[u8] {
        &self.op.body()[self.stored.range()]
    }

    /// Whether it meets a filter, of which `named` says who bears now the name that it asks for.
    #[must_use]
    pub fn meets(&self, filter: &Filter, named: &[NodeId]) -> bool {
        let author = self.op.author();
        let (data_type, source, metadata) = (self.data_type(), self.source(), self.metadata());
        filter.hash.as_ref().is_none_or(|hash| self.hash_value() == hash)
            && filter.reach.admits(self.op.lane() == OpLane::Local)
            && filter
                .admits(&Traits { data_type, author, source, seen: self.seen, metadata }, |_| named.contains(&author))
    }

    /// Which of two comes first where they are equally near: by hash, then by what their authors call themselves, and for good by author,
    /// run and number. The same on every node.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |entry: &Self| OpId::of(&entry.op);
        self.hash_value()
            .cmp(other.hash_value())
            .then_with(|| self.source().cmp(other.source()))
            .then_with(|| key(self).cmp(&key(other)))
    }

    fn text(&self, part: Part) -> &str {
        // It was text when it was read, and an op never changes.
        core::str::from_utf8(&self.op.body()[part.range()]).unwrap_or_default()
    }
}

/// Records by number, shared with whoever scans them: a clone costs a counter for each page, and is as it was whatever comes later.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    pages: Vec<Arc<Vec<Option<Entry>>>>,
}

impl Entries {
    /// Takes in a record, under the number of one that is gone or, if there is none, under the next.
    pub fn insert(&mut self, free: Option<EntryId>, entry: Entry) -> EntryId {
        let Some(id) = free else {
            if self.pages.last().is_none_or(|page| page.len() == PAGE) {
                self.pages.push(Arc::new(Vec::with_capacity(PAGE)));
            }
            let last = self.pages.len() - 1;
            let page = Arc::make_mut(&mut self.pages[last]);
            page.push(Some(entry));
            return EntryId((last * PAGE + page.len() - 1) as u64);
        };
        self.set(id, Some(entry));
        id
    }

    /// Removes the record of a number.
    pub fn remove(&mut self, id: EntryId) {
        self.set(id, None);
    }

    fn set(&mut self, id: EntryId, entry: Option<Entry>) {
        let at = id.0 as usize;
        if let Some(place) = self.pages.get_mut(at / PAGE).and_then(|page| Arc::make_mut(page).get_mut(at % PAGE)) {
            *place = entry;
        }
    }

    /// The record of a number.
    #[must_use]
    pub fn get(&self, id: EntryId) -> Option<&Entry> {
        let at = usize::try_from(id.0).ok()?;
        self.pages.get(at / PAGE)?.get(at % PAGE)?.as_ref()
    }
}

impl Source for Entries {
    fn fetch(&self, id: EntryId, into: &mut Vec<u8>) -> bool {
        let entry = self.get(id);
        entry.inspect(|entry| into.extend_from_slice(entry.stored())).is_some()
    }

    fn compare(&self, a: EntryId, b: EntryId) -> Ordering {
        match (self.get(a), self.get(b)) {
            (Some(one), Some(other)) => one.order(other),
            (one, other) => one.is_some().cmp(&other.is_some()).then(a.cmp(&b)),
        }
    }
}

//! Decides where entries lie in memory, and how one can be looked for while others come and go: an arena is changed by its
//! owner alone, and a snapshot of it never changes.

mod chunk;

use std::fmt;
use std::sync::Arc;

use crate::kernel::Kernel;
use crate::sketch::{Sketch, Sketches};
use crate::source::EntryId;
use crate::space::{Space, ValueError};
pub(crate) use chunk::{Body, Chunk};

/// Where an entry lies, until it is removed; then another may lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

/// Entries an arena can be told to hold at most: as many as slots can be named.
pub const MAX_ENTRIES: usize = u32::MAX as usize;

/// Why an entry was not taken in. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The bytes are no embedding of the arena's space.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The sketch is of an embedding of another space.
    #[error("a sketch of {given:?}: this arena is of {expected:?}")]
    Space {
        /// Of what it is.
        given: Space,
        /// What the arena holds.
        expected: Space,
    },
    /// The arena is full.
    #[error("the arena holds {limit} entries, its limit: remove one first")]
    Full {
        /// How many it may hold.
        limit: usize,
    },
}

/// What is kept in memory of the embeddings of one space.
pub struct Arena {
    space: Space,
    limit: usize,
    chunks: Vec<Arc<Chunk>>,
    /// Slots of removed entries, the last one first in use again.
    free: Vec<Slot>,
    len: usize,
    /// Slots ever used: what is beyond is new.
    used: usize,
    /// Room for the sketch of what is inserted.
    sketches: Sketches,
}

impl Arena {
    /// For so many entries at most (and [`MAX_ENTRIES`]). Memory is taken as they come and kept when they go.
    pub fn new(space: Space, limit: usize) -> Self {
        let limit = limit.min(MAX_ENTRIES);
        Self { space, limit, chunks: Vec::new(), free: Vec::new(), len: 0, used: 0, sketches: Sketches::default() }
    }

    /// Takes in a stored embedding under a number of the caller's, which need not be unique. Costs the time to read it a
    /// few times over; and once for each chunk after each snapshot that still lives, the time to copy the chunk.
    ///
    /// # Errors
    /// [`InsertError`]; nothing was changed.
    pub fn insert(&mut self, id: EntryId, stored: &[u8]) -> Result<Slot, InsertError> {
        if self.len >= self.limit {
            return Err(InsertError::Full { limit: self.limit });
        }
        self.sketches.clear();
        let made = self.sketches.add(self.space, stored)?;
        let (slot, chunk, at) = self.next_slot();
        if let Some(sketch) = self.sketches.get(made) {
            Arc::make_mut(&mut self.chunks[chunk]).put(at, id, sketch);
        }
        Ok(slot)
    }

    /// Takes in an embedding of which the sketch was made before, likewise; it costs the time to copy it.
    ///
    /// # Errors
    /// [`InsertError`]; nothing was changed.
    pub fn insert_sketch(&mut self, id: EntryId, sketch: Sketch<'_>) -> Result<Slot, InsertError> {
        if sketch.space != self.space {
            return Err(InsertError::Space { given: sketch.space, expected: self.space });
        }
        if self.len >= self.limit {
            return Err(InsertError::Full { limit: self.limit });
        }
        let (slot, chunk, at) = self.next_slot();
        Arc::make_mut(&mut self.chunks[chunk]).put(at, id, sketch);
        Ok(slot)
    }

    /// A slot that is free, now counted as one in use, its chunk, and its place there.
    fn next_slot(&mut self) -> (Slot, usize, usize) {
        let capacity = Body::capacity(self.space);
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = Slot(u32::try_from(self.used).expect("the limit is one of u32"));
            self.used += 1;
            slot
        });
        let (chunk, at) = (slot.0 as usize / capacity, slot.0 as usize % capacity);
        if chunk == self.chunks.len() {
            self.chunks.push(Arc::new(Chunk::new(self.space)));
        }
        self.len += 1;
        (slot, chunk, at)
    }

    /// Removes the entry of that number from that slot, in constant time. `false`, and nothing is changed, if another one
    /// or none lies there.
    pub fn remove(&mut self, slot: Slot, id: EntryId) -> bool {
        let capacity = Body::capacity(self.space);
        let (chunk, at) = (slot.0 as usize / capacity, slot.0 as usize % capacity);
        match self.chunks.get_mut(chunk) {
            Some(chunk) if chunk.holds(at, id) => Arc::make_mut(chunk).clear(at),
            Some(_) | None => return false,
        }
        self.free.push(slot);
        self.len -= 1;
        true
    }

    /// The arena as it is now, to be searched elsewhere while this one changes. Costs a counter for each chunk.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { space: self.space, chunks: self.chunks.clone(), len: self.len, kernel: Kernel::detect() }
    }

    /// The space of its entries.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Entries it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it takes of memory.
    pub fn memory(&self) -> Memory {
        Memory {
            entries: self.len,
            entry_bytes: Body::entry_bytes(self.space),
            bytes: self.chunks.len() * Body::bytes(self.space)
                + self.chunks.capacity() * size_of::<Arc<Chunk>>()
                + self.free.capacity() * size_of::<Slot>(),
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("space", &self.space).field("len", &self.len).finish_non_exhaustive()
    }
}

/// What an arena takes of memory, snapshots that outlive a change aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Entries it holds.
    pub entries: usize,
    /// Bytes an entry takes.
    pub entry_bytes: usize,
    /// Bytes taken in all, with what waits to be used.
    pub bytes: usize,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries of {} B, {} B in all", self.entries, self.entry_bytes, self.bytes)
    }
}

/// An arena as it was at one moment.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) space: Space,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    pub(crate) len: usize,
    pub(crate) kernel: Kernel,
}

impl Snapshot {
    /// The same, searched by other instructions than the fastest there are: the answers are the same.
    ///
    /// # Panics
    /// When it is searched, if the processor lacks them: see [`Kernel::available`].
    #[must_use]
    pub fn by(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// The space of its entries.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Entries it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (space, len, kernel) = (self.space, self.len, self.kernel);
        f.debug_struct("Snapshot")
            .field("space", &space)
            .field("len", &len)
            .field("kernel", &kernel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::Sightings;
    use crate::query::Query;
    use crate::search::Search;
    use crate::source::MemorySource;
    use crate::space::Dtype;

    fn stored(space: Space, made: &Sightings, at: usize) -> Vec<u8> {
        let mut stored = Vec::new();
        space.encode(&made.numbers(at), &mut stored).expect("an embedding");
        stored
    }

    #[test]
    fn what_is_no_embedding_or_above_the_limit_is_refused_and_changes_nothing() {
        let space = Space::new(2, Dtype::F32).expect("fits");
        let mut arena = Arena::new(space, 2);
        let zero = [0; 8];
        let one = [1.0f32.to_le_bytes(), 1.0f32.to_le_bytes()].concat();
        let refused = arena.insert(EntryId(0), &zero);
        assert_eq!(refused, Err(InsertError::Value(ValueError::Zero { dtype: Dtype::F32 })));
        assert_eq!((arena.len(), arena.memory().bytes), (0, 0));
        let slot = arena.insert(EntryId(1), &one).expect("there is room");
        arena.insert(EntryId(2), &one).expect("there is room");
        assert_eq!(arena.insert(EntryId(3), &one), Err(InsertError::Full { limit: 2 }));
        assert!(arena.remove(slot, EntryId(1)), "it is there");
        assert_eq!(arena.insert(EntryId(4), &one), Ok(slot), "the place is used again");
    }

    #[test]
    fn an_embedding_sketched_before_is_found_as_one_that_is_sketched_here() {
        let space = Space::new(64, Dtype::F16).expect("fits");
        let made = Sightings::new(6, 64, 600);
        let (mut one, mut other, mut records) =
            (Arena::new(space, 600), Arena::new(space, 600), MemorySource::default());
        let mut sketches = Sketches::default();
        for at in 0..600 {
            let (id, stored) = (EntryId(at as u64), stored(space, &made, at));
            records.insert(id, &stored);
            sketches.add(space, &[0; 128]).expect_err("no embedding adds nothing");
            let place = sketches.add(space, &stored).expect("an embedding");
            assert_eq!(place, at);
        }
        for at in 0..600 {
            let (id, stored) = (EntryId(at as u64), stored(space, &made, at));
            let sketch = sketches.get(at).expect("it was added");
            assert_eq!(one.insert(id, &stored), other.insert_sketch(id, sketch));
        }
        assert!(sketches.get(600).is_none());
        let sketch = sketches.get(0).expect("it was added");
        assert_eq!(other.insert_sketch(EntryId(600), sketch), Err(InsertError::Full { limit: 600 }));
        let expected = Space::new(64, Dtype::F32).expect("fits");
        let refused = Arena::new(expected, 1).insert_sketch(EntryId(0), sketch);
        assert_eq!(refused, Err(InsertError::Space { given: space, expected }));
        for at in 0..20 {
            let query = Query::new(&made.numbers(600 + at)).expect("an embedding");
            let answers = [&one, &other].map(|arena| {
                let answers = arena.snapshot().search(&[Search::exact(&query, 10)], &records).expect("fits");
                answers.into_iter().map(|answer| answer.hits).collect::<Vec<_>>()
            });
            assert_eq!(answers[0], answers[1]);
        }
    }

    #[test]
    fn who_is_not_there_is_not_removed() {
        let space = Space::new(1, Dtype::I8).expect("fits");
        let mut arena = Arena::new(space, 10);
        let mut one = Vec::new();
        space.encode(&[1.0], &mut one).expect("an embedding");
        let slot = arena.insert(EntryId(1), &one).expect("there is room");
        for (slot, id) in [(slot, EntryId(2)), (Slot(1), EntryId(0)), (Slot(u32::MAX), EntryId(1))] {
            assert!(!arena.remove(slot, id), "{slot:?} {id:?}");
        }
        assert!(arena.remove(slot, EntryId(1)));
        assert!(!arena.remove(slot, EntryId(1)), "once");
        assert!(arena.is_empty());
    }

    #[test]
    fn memory_is_what_an_entry_takes_times_the_places_of_whole_chunks() {
        let space = Space::new(512, Dtype::F16).expect("fits");
        let made = Sightings::new(4, 512, 300);
        let mut arena = Arena::new(space, 1_000);
        for at in 0..300 {
            arena.insert(EntryId(at as u64), &stored(space, &made, at)).expect("there is room");
        }
        let memory = arena.memory();
        assert_eq!(memory.entry_bytes, 512 + 64 + 16 + 8, "codes, signs, two scales and angles, number");
        assert_eq!(Body::capacity(space), 256);
        assert!((512 * 600..512 * 602).contains(&memory.bytes), "two chunks: {memory}");
        assert_eq!(memory.to_string(), format!("300 entries of 600 B, {} B in all", memory.bytes));
        for (dims, bytes) in [(1, 128 + 8 + 24), (128, 128 + 16 + 24), (129, 256 + 24 + 24), (4_096, 4_096 + 512 + 24)]
        {
            assert_eq!(Body::entry_bytes(Space::new(dims, Dtype::F16).expect("fits")), bytes, "{dims} dims");
        }
    }

    #[test]
    fn a_snapshot_is_searched_by_another_thread_while_the_arena_changes() {
        let space = Space::new(64, Dtype::F16).expect("fits");
        let made = Sightings::new(5, 64, 3_000);
        let (mut arena, mut records) = (Arena::new(space, 10_000), MemorySource::default());
        let mut slots = Vec::new();
        for at in 0..3_000 {
            let stored = stored(space, &made, at);
            records.insert(EntryId(at as u64), &stored);
            if at < 1_500 {
                slots.push(arena.insert(EntryId(at as u64), &stored).expect("there is room"));
            }
        }
        let query = Query::new(&made.numbers(7)).expect("a query");
        let searches = [Search::exact(&query, 20), Search::fast(&query, 20)];
        let snapshot = arena.snapshot();
        let before = snapshot.search(&searches, &records).expect("can be answered");
        let meanwhile = std::thread::scope(|scope| {
            let worker = scope.spawn(|| (0..20).map(|_| snapshot.search(&searches, &records)).collect::<Vec<_>>());
            for (at, slot) in slots.into_iter().enumerate() {
                assert!(arena.remove(slot, EntryId(at as u64)), "{at} is there");
                arena.insert(EntryId(1_500 + at as u64), &stored(space, &made, 1_500 + at)).expect("there is room");
            }
            worker.join().expect("the worker ends well")
        });
        assert!(meanwhile.iter().all(|answers| answers.as_ref() == Ok(&before)), "it never changes");
        let after = arena.snapshot().search(&searches, &records).expect("can be answered");
        assert!(after[0].hits.iter().all(|hit| hit.id >= EntryId(1_500)), "all others are gone: {:?}", after[0].hits);
        assert_eq!((after[0].certificate.allowed, after[0].certificate.holds), (1_500, true));
    }
}

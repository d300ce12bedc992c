//! Decides what the scan asks of whoever keeps the records: the stored numbers of a few, and which of two equals comes first.

use std::cmp::Ordering;
use std::collections::HashMap;

/// An entry, by the number its owner gave it. The scan hands it back and knows nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// Whoever keeps the records. A scan asks for some tens of them, one after the other.
pub trait Source {
    /// Appends the stored bytes of an entry's embedding. `false` when they are not to be had: it was deleted, or its file
    /// cannot be read. The answer then says so and is not certified.
    fn fetch(&self, id: EntryId, into: &mut Vec<u8>) -> bool;

    /// Which of two entries of the same score comes first; a total order. The registry's is by (`hash_value`, `node_id`).
    fn compare(&self, a: EntryId, b: EntryId) -> Ordering;
}

/// Stored embeddings in memory, equals in the order of their numbers: for tests, and where nothing is kept on disk.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(HashMap<EntryId, Box<[u8]>>);

impl MemorySource {
    /// Keeps the bytes under the number, in place of what was there.
    pub fn insert(&mut self, id: EntryId, stored: &[u8]) {
        self.0.insert(id, stored.into());
    }

    /// Forgets what is kept under the number. Whether there was anything.
    pub fn remove(&mut self, id: EntryId) -> bool {
        self.0.remove(&id).is_some()
    }
}

impl Source for MemorySource {
    fn fetch(&self, id: EntryId, into: &mut Vec<u8>) -> bool {
        let stored = self.0.get(&id);
        stored.inspect(|stored| into.extend_from_slice(stored)).is_some()
    }

    fn compare(&self, a: EntryId, b: EntryId) -> Ordering {
        a.cmp(&b)
    }
}

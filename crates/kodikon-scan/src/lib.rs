//! Nearest embeddings, certified exact or fast, in plain Rust: a leaf that knows nothing of the mesh.
//!
//! A [`Space`] says how embeddings are stored and what likeness means. An [`Arena`] keeps a byte and a bit of each number in
//! memory; the stored numbers lie with whoever keeps the records, a [`Source`]. A [`Snapshot`] is searched, in another thread
//! if one likes, while the arena changes. `docs/machines/search.md` has the format, the proof and the figures.
//!
//! ```
//! use kodikon_scan::{Arena, Dtype, EntryId, MemorySource, Query, Search, Space};
//!
//! let space = Space::new(3, Dtype::F16)?;
//! let (mut arena, mut records) = (Arena::new(space, 1_000), MemorySource::default());
//! for (id, numbers) in [(EntryId(1), [1.0, 0.0, 0.0]), (EntryId(2), [0.6, 0.8, 0.0])] {
//!     let mut stored = Vec::new();
//!     space.encode(&numbers, &mut stored)?;
//!     arena.insert(id, &stored)?;
//!     records.insert(id, &stored);
//! }
//! let query = Query::new(&[0.0, 2.0, 0.0])?;
//! let answer = &arena.snapshot().search(&[Search::exact(&query, 1)], &records)?[0];
//! assert_eq!(answer.hits[0].id, EntryId(2));
//! assert!(answer.certificate.holds);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

mod arena;
mod bound;
pub mod generated;
mod half;
mod kernel;
mod query;
mod rotation;
mod search;
mod sketch;
mod source;
mod space;

pub use arena::{Arena, InsertError, MAX_ENTRIES, Memory, Slot, Snapshot};
pub use kernel::Kernel;
pub use query::Query;
pub use search::{Answer, Certificate, Hit, MAX_K, Mode, Search, SearchError};
pub use sketch::{Sketch, Sketches};
pub use source::{EntryId, MemorySource, Source};
pub use space::{Dtype, MAX_DIMS, Space, ValueError};

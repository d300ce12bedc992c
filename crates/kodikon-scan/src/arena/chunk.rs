//! Decides how some hundred entries lie side by side: the halves of codes apart, each an entry at a time, signs eight entries at a time,
//! the rest in columns.

use std::sync::Arc;

use crate::kernel::{BLOCK, Codes, LINE_DIMS, Line, Octet};
use crate::sketch::Sketch;
use crate::source::EntryId;
use crate::space::Space;

/// Bytes of codes in a chunk. What is copied when an entry comes while a snapshot lives is little more than this: some 10 µs;
/// and a snapshot costs a counter for each chunk: 391 for 100,000 entries of 512 dimensions.
const CHUNK_BYTES: usize = 128 * 1_024;
/// Entries of a chunk at most.
const MAX_CAPACITY: usize = 1_024;

/// Entries that are shared or copied together.
#[derive(Clone)]
pub(crate) struct Chunk {
    /// Which places hold an entry, a bit each. Apart from the body, so that who removes an entry need not copy that.
    pub(crate) live: [u64; MAX_CAPACITY / BLOCK],
    pub(crate) body: Arc<Body>,
}

impl Chunk {
    pub(crate) fn new(space: Space) -> Self {
        Self { live: [0; MAX_CAPACITY / BLOCK], body: Arc::new(Body::new(space)) }
    }

    pub(crate) fn put(&mut self, at: usize, id: EntryId, sketch: Sketch<'_>) {
        debug_assert!(!self.is_live(at), "place {at} is free");
        self.live[at / BLOCK] |= 1 << (at % BLOCK);
        let body = Arc::make_mut(&mut self.body);
        let (lines, words) = (sketch.codes.coarse.len(), sketch.signs.len());
        body.coarse[at * lines..][..lines].copy_from_slice(sketch.codes.coarse);
        body.fine[at * lines..][..lines].copy_from_slice(sketch.codes.fine);
        for (octet, word) in body.signs[at / 8 * words..].iter_mut().zip(sketch.signs) {
            octet.0[at % 8] = *word;
        }
        body.scales[at] = sketch.off.scale;
        body.tans[at] = sketch.off.tan;
        body.coarse_scales[at] = sketch.coarse_off.scale;
        body.coarse_tans[at] = sketch.coarse_off.tan;
        body.ids[at] = id;
    }

    pub(crate) fn clear(&mut self, at: usize) {
        self.live[at / BLOCK] &= !(1 << (at % BLOCK));
    }

    /// Whether the entry of that number lies there.
    pub(crate) fn holds(&self, at: usize, id: EntryId) -> bool {
        self.is_live(at) && self.body.ids[at] == id
    }

    fn is_live(&self, at: usize) -> bool {
        self.live[at / BLOCK] >> (at % BLOCK) & 1 == 1
    }
}

/// What a chunk's entries are, in places that may be empty.
#[derive(Clone)]
pub(crate) struct Body {
    /// The upper halves of the codes, read of every entry,
    pub(crate) coarse: Vec<Line>,
    /// and the lower ones, of few.
    pub(crate) fine: Vec<Line>,
    pub(crate) signs: Vec<Octet>,
    pub(crate) scales: Vec<f32>,
    pub(crate) tans: Vec<f32>,
    pub(crate) coarse_scales: Vec<f32>,
    pub(crate) coarse_tans: Vec<f32>,
    pub(crate) ids: Vec<EntryId>,
}

impl Body {
    fn new(space: Space) -> Self {
        let capacity = Self::capacity(space);
        let lines = lines(space);
        Self {
            coarse: vec![Line([0; 64]); capacity * lines],
            fine: vec![Line([0; 64]); capacity * lines],
            signs: vec![Octet([0; 8]); capacity / 8 * words(space)],
            scales: vec![0.0; capacity],
            tans: vec![0.0; capacity],
            coarse_scales: vec![0.0; capacity],
            coarse_tans: vec![0.0; capacity],
            ids: vec![EntryId(0); capacity],
        }
    }

    /// Entries of a chunk: a power of two and a multiple of [`BLOCK`].
    pub(crate) fn capacity(space: Space) -> usize {
        let fitting = CHUNK_BYTES / (2 * lines(space) * size_of::<Line>());
        (1 << fitting.ilog2()).clamp(BLOCK, MAX_CAPACITY)
    }

    /// Bytes an entry takes.
    pub(crate) fn entry_bytes(space: Space) -> usize {
        let halves = 2 * lines(space) * size_of::<Line>();
        halves + words(space) * size_of::<u64>() + 4 * size_of::<f32>() + size_of::<EntryId>()
    }

    /// Bytes a chunk takes.
    pub(crate) fn bytes(space: Space) -> usize {
        Self::capacity(space) * Self::entry_bytes(space) + size_of::<Chunk>() + size_of::<Self>()
    }

    /// Blocks of a chunk.
    pub(crate) fn blocks(&self) -> usize {
        self.ids.len() / BLOCK
    }

    /// The codes of the entries of a block.
    pub(crate) fn codes(&self, block: usize) -> Codes<'_> {
        let lines = BLOCK * self.lines();
        Codes { coarse: &self.coarse[block * lines..][..lines], fine: &self.fine[block * lines..][..lines] }
    }

    /// Lines of either half of an entry's codes.
    fn lines(&self) -> usize {
        self.coarse.len() / self.ids.len()
    }
}

/// Lines of either half of an entry's codes.
fn lines(space: Space) -> usize {
    space.dims().div_ceil(LINE_DIMS)
}

/// Words of an entry's signs.
fn words(space: Space) -> usize {
    space.dims().div_ceil(64)
}

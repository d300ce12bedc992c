//! Decides which entries a fast search looks at: those whose signs differ from the query's in few enough places.
//!
//! After a random rotation each sign differs with the chance θ/π, θ being the angle between query and entry (Goemans and
//! Williamson 1995, Charikar 2002). So first those are bounded whose signs differ least; their k-th lower bound is a score,
//! and an angle; and then all whose signs differ in no more places than that angle, and some deviations, explain.

use crate::arena::Snapshot;
use crate::kernel::BLOCK;
use crate::search::collector::{Collector, Part};
use crate::search::{bits, block_of};

/// Entries bounded first, for each that is wanted. More of them make the floor better and the rest fewer.
const FIRST_PER_K: usize = 32;
/// Standard deviations of the number of differing signs that are allowed for: beyond 2.33 lies a hundredth. So who is as far
/// as the k-th is missed with a chance of 0.01 and who is nearer with less: whatever the data, 99 of 100 are found.
const DEVIATIONS: f64 = 2.33;
/// By how much each further round is larger than all before it: two are mostly enough, and each is a pass over all distances.
const ROUND: usize = 16;
/// When more than one in so many would be bounded one by one, all are, in a row.
const WORTHWHILE: usize = 4;
/// The distance of what is not allowed: more than the dimensions can be.
const EXCLUDED: u16 = u16::MAX;

/// A fast search on its way.
pub(super) struct Cascade<'c, 'a> {
    collector: &'c mut Collector<'a>,
    /// In how many signs each place differs, in the order of the chunks.
    distances: Vec<u16>,
    /// How many allowed ones there are of each distance, in four parts: neighbours often have the same, and a counter is
    /// not ready again at once.
    histogram: Vec<[u32; 4]>,
    is_full: bool,
}

impl<'c, 'a> Cascade<'c, 'a> {
    pub(super) fn new(snapshot: &Snapshot, collector: &'c mut Collector<'a>) -> Self {
        let places = snapshot.chunks.iter().map(|chunk| chunk.body.ids.len()).sum();
        let histogram = vec![[0; 4]; snapshot.space.dims() + 1];
        Self { collector, distances: Vec::with_capacity(places), histogram, is_full: false }
    }

    /// The collector, as if nothing had been shown to it, if it is to be shown all entries.
    pub(super) fn finish(self) -> Option<&'c mut Collector<'a>> {
        if !self.is_full {
            return None;
        }
        *self.collector = Collector::new(self.collector.search);
        Some(self.collector)
    }

    fn allowed(&self) -> usize {
        self.within(self.histogram.len() - 1)
    }

    /// The least distance within which there are at least so many.
    fn reach(&self, count: usize) -> usize {
        let mut within = 0;
        let reach = self.histogram.iter().position(|of_it| {
            within += of_it.iter().sum::<u32>() as usize;
            within >= count
        });
        reach.unwrap_or(self.histogram.len() - 1)
    }

    fn within(&self, reach: usize) -> usize {
        self.histogram[..=reach].as_flattened().iter().sum::<u32>() as usize
    }

    /// The distance beyond which an entry that scores at least `floor` hardly ever lies.
    fn explained(&self, floor: f64) -> usize {
        let dims = (self.histogram.len() - 1) as f64;
        let chance = floor.clamp(-1.0, 1.0).acos() / std::f64::consts::PI;
        let distance = dims * chance + DEVIATIONS * (dims * chance * (1.0 - chance)).sqrt();
        (distance.ceil() as usize).min(self.histogram.len() - 1)
    }
}

impl Snapshot {
    /// Shows the collectors what is worth it; those for whom that is most are left for the scan of all.
    pub(super) fn cascade(&self, cascades: &mut [Cascade<'_, '_>]) {
        if cascades.is_empty() {
            return;
        }
        self.measure(cascades);
        'each: for cascade in cascades {
            let allowed = cascade.allowed();
            let first = cascade.reach(FIRST_PER_K * cascade.collector.search.k);
            if cascade.within(first) * WORTHWHILE > allowed {
                cascade.is_full = true;
                continue;
            }
            self.show_between(cascade, 0, first);
            let mut done = first;
            // At least k have been bounded: there is a floor. What is found lifts it, so not all at once.
            while let last = cascade.explained(cascade.collector.floor().unwrap_or(-1.0))
                && last > done
            {
                let next = cascade.reach(ROUND * cascade.within(done)).clamp(done + 1, last);
                if cascade.within(next) * WORTHWHILE > allowed {
                    cascade.is_full = true;
                    continue 'each;
                }
                self.show_between(cascade, done + 1, next);
                done = next;
            }
            cascade.collector.allow(allowed);
        }
    }

    /// Counts the signs in which the entries differ, for all at once.
    fn measure(&self, cascades: &mut [Cascade<'_, '_>]) {
        for chunk in &self.chunks {
            let body = &chunk.body;
            for cascade in &mut *cascades {
                let search = cascade.collector.search;
                let before = cascade.distances.len();
                cascade.distances.resize(before + body.ids.len(), EXCLUDED);
                let distances = &mut cascade.distances[before..];
                self.kernel.distances(&body.signs, &search.query.signs, distances);
                for (block, distances) in distances.chunks_exact_mut(BLOCK).enumerate() {
                    let allowed = search.allowed(chunk.live[block], block_of(&body.ids, block));
                    for at in bits(!allowed) {
                        distances[at] = EXCLUDED;
                    }
                    count(&mut cascade.histogram, distances, allowed);
                }
            }
        }
    }

    /// Shows the collector the entries whose distance lies between two, both included. They lie far apart: those of the next
    /// block are on their way from memory while one block is looked at.
    fn show_between(&self, cascade: &mut Cascade<'_, '_>, least: usize, most: usize) {
        let (blocks, _) = cascade.distances.as_chunks::<BLOCK>();
        let mut blocks = blocks.iter();
        let mut waiting: Option<Part<'_>> = None;
        for chunk in &self.chunks {
            let body = &chunk.body;
            for (block, distances) in (0..body.blocks()).zip(&mut blocks) {
                let places = self.kernel.between(distances, least as u16, most as u16);
                if places == 0 {
                    continue;
                }
                let part = Part { body, block, places };
                part.fetch_coarse();
                part.fetch_fine();
                cascade.collector.bound(places);
                if let Some(part) = waiting.replace(part) {
                    self.offer(part, cascade.collector);
                }
            }
        }
        if let Some(part) = waiting {
            self.offer(part, cascade.collector);
        }
    }
}

/// Counts those of a block that are allowed.
fn count(histogram: &mut [[u32; 4]], distances: &[u16], allowed: u64) {
    if allowed == u64::MAX {
        for (at, distance) in distances.iter().enumerate() {
            histogram[usize::from(*distance)][at % 4] += 1;
        }
    } else {
        for at in bits(allowed) {
            histogram[usize::from(distances[at])][at % 4] += 1;
        }
    }
}

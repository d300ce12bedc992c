//! Decides what the cameras of a demo see: objects that walk through the fleet, each seen by one camera after another.

use std::collections::VecDeque;

use crate::demo::camera::Chance;

/// Features of real photographs (MobileNetV2): four rows in turn are four views of one object.
const EMBEDDINGS: &[u8] = include_bytes!("../../../kodikon-scan/fixtures/embeddings_320x512_f32.npy");
/// What made them.
pub(super) const MODEL: &str = "mobilenet_v2";
const OBJECTS: usize = 80;
const VIEWS: usize = 4;
const DIMS: usize = 512;
/// Objects that walk at a time: as many as people can follow.
const WALKING: usize = 3;

/// One camera sees one object once.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    /// Under which hash: no camera knows which object that is.
    pub(super) hash: String,
    /// What it looks like.
    pub(super) embedding: Vec<f32>,
    /// Who it is: for the demo's judgement of what is found, and for nobody else.
    pub(super) object: usize,
    /// Which camera: a number below that of the cameras.
    pub(super) at: usize,
}

/// An object on its way.
#[derive(Clone, Debug)]
struct Walk {
    object: usize,
    views: VecDeque<usize>,
    last: Option<usize>,
}

/// All that happens before the cameras.
#[derive(Clone, Debug, Default)]
pub(super) struct Sightings {
    walks: Vec<Walk>,
    next_object: usize,
    count: u64,
}

impl Sightings {
    /// The next sighting in a fleet of so many cameras, at least one.
    pub(super) fn next(&mut self, cameras: usize, chance: &mut Chance) -> Sighting {
        while self.walks.len() < WALKING {
            let object = self.next_object % OBJECTS;
            self.next_object += 1;
            self.walks.push(Walk { object, views: (0..VIEWS).collect(), last: None });
        }
        let place = chance.below(self.walks.len());
        let walk = &mut self.walks[place];
        let view = walk.views.pop_front().expect("a walk without views has ended");
        // Nobody stands still: the next camera is another one, if there is one.
        let at = match walk.last.filter(|last| cameras > 1 && *last < cameras) {
            Some(last) => (last + 1 + chance.below(cameras - 1)) % cameras,
            None => chance.below(cameras),
        };
        walk.last = Some(at);
        self.count += 1;
        let object = walk.object;
        let hash = format!("seen-{}-{object}", self.count);
        if walk.views.is_empty() {
            self.walks.remove(place);
        }
        Sighting { hash, embedding: embedding(object * VIEWS + view), object, at }
    }
}

/// Which object a hash of this demo is a sighting of.
pub(super) fn object_of(hash: &str) -> Option<usize> {
    hash.rsplit_once('-')?.1.parse().ok()
}

/// A row of the file: its numbers are the last that it holds.
fn embedding(row: usize) -> Vec<f32> {
    let numbers = EMBEDDINGS[EMBEDDINGS.len() - OBJECTS * VIEWS * DIMS * size_of::<f32>()..].as_chunks().0;
    numbers[row * DIMS..][..DIMS].iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn each_object_is_seen_four_times_and_by_another_camera_each_time() {
        let (mut sightings, mut chance) = (Sightings::default(), Chance::new(3));
        let (mut seen, mut hashes) = (BTreeMap::<usize, Vec<Sighting>>::new(), BTreeSet::new());
        for _ in 0..OBJECTS * VIEWS {
            let sighting = sightings.next(5, &mut chance);
            assert!(sighting.at < 5 && sighting.embedding.len() == DIMS);
            assert_eq!(object_of(&sighting.hash), Some(sighting.object));
            assert!(hashes.insert(sighting.hash.clone()), "{} twice", sighting.hash);
            seen.entry(sighting.object).or_default().push(sighting);
        }
        // Some are on their way yet, and have begun others' second round.
        let whole: Vec<&Vec<Sighting>> = seen.values().filter(|walk| walk.len() == VIEWS).collect();
        assert!(whole.len() >= OBJECTS - 2 * WALKING, "{}", whole.len());
        for walk in whole {
            assert!(walk.windows(2).all(|pair| pair[0].at != pair[1].at && pair[0].embedding != pair[1].embedding));
        }
    }

    #[test]
    fn a_camera_alone_sees_everything() {
        let (mut sightings, mut chance) = (Sightings::default(), Chance::new(3));
        assert!((0..20).all(|_| sightings.next(1, &mut chance).at == 0));
    }
}

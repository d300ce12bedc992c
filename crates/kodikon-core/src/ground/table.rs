//! Decides how what is kept by id is found: sorted, so that it is walked in the order of the ids, and looked for where an id
//! should stand, since ids are hashes and lie evenly.

use core::cmp::Ordering;

use crate::ground::id::{NodeId, SessionTag};

/// A name whose first bytes are as good as random where it is honest.
pub trait Spread: Ord + Copy {
    /// Its first 64 bits, which order names as [`Ord`] does but for ties.
    fn place(&self) -> u64;
}

impl Spread for NodeId {
    fn place(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Spread for SessionTag {
    fn place(&self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

/// A map by id that holds at most `limit` entries and refuses the next one.
///
/// Of a thousand entries an honest id is found two looks after the first guess, most often within the same lines of the
/// caches, where a `BTreeMap` reads a dozen; ids that somebody chose so that they lie together cost as much as a binary
/// search. To enter one moves those behind it, at most 100 kB in the largest mesh.
#[derive(Debug, Clone)]
pub struct IdTable<K, V> {
    entries: Vec<(K, V)>,
    limit: usize,
}

/// Guesses before the search goes on by doubled steps.
const GUESSES: usize = 2;

impl<K: Spread, V> IdTable<K, V> {
    /// An empty table for at most `limit` entries.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), limit }
    }

    /// Where a key stands, or where it would.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let len = self.entries.len();
        let mut at = usize::try_from((u128::from(key.place()) * len as u128) >> 64).unwrap_or(0);
        for _ in 0..GUESSES {
            let Some((held, _)) = self.entries.get(at) else { break };
            if held == key {
                return Ok(at);
            }
            // So many entries lie between two keys whose distance is known, if they lie evenly.
            let away = i128::from(key.place()) - i128::from(held.place());
            let steps = (away * len as i128) >> 64;
            let guess = i128::try_from(at).unwrap_or(0) + steps;
            at = usize::try_from(guess).unwrap_or(0).min(len - 1);
        }
        self.search_from(at, key)
    }

    /// Searches by doubled steps from a place, then by halves.
    fn search_from(&self, from: usize, key: &K) -> Result<usize, usize> {
        let len = self.entries.len();
        let is_below = |at: usize| self.entries.get(at).is_some_and(|(held, _)| held < key);
        let (mut low, mut high) = (from.min(len), from.min(len));
        let mut step = 1;
        if is_below(from) {
            while high < len && is_below(high) {
                low = high + 1;
                high = (high + step).min(len);
                step *= 2;
            }
        } else {
            while low > 0 && !is_below(low - 1) {
                high = low - 1;
                low = low.saturating_sub(step);
                step *= 2;
            }
        }
        let found = low + self.entries[low..high].partition_point(|(held, _)| held < key);
        match self.entries.get(found).map(|(held, _)| held.cmp(key)) {
            Some(Ordering::Equal) => Ok(found),
            Some(Ordering::Less | Ordering::Greater) | None => Err(found),
        }
    }

    /// Stores a value, replacing the one under the same key. `false` when the key is new and the table is full.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        match self.find(&key) {
            Ok(at) => self.entries[at].1 = value,
            Err(_) if self.is_full() => return false,
            Err(at) => self.entries.insert(at, (key, value)),
        }
        true
    }

    /// The value under a key, made if there is none; `None` when there is none and the table is full.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V> {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(_) if self.is_full() => return None,
            Err(at) => {
                self.entries.insert(at, (key, make()));
                at
            }
        };
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        Some(self.entries.remove(at).1)
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.entries[at].1)
    }

    /// The value under a key, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.entries[at].1)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// All entries to change, in the order of their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The entries from one key to another, both included, in the order of their keys.
    pub fn span(&self, first: K, last: K) -> impl Iterator<Item = (&K, &V)> {
        let (Ok(begin) | Err(begin)) = self.find(&first);
        let end = self.find(&last).map_or_else(|end| end, |at| at + 1);
        self.entries.get(begin..end).unwrap_or_default().iter().map(|(key, value)| (key, value))
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// All values to change, in the order of their keys.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a new key would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::random::Random;
    use std::collections::BTreeMap;

    /// Ids as they come: spread, side by side, of one beginning, and at both ends of all there can be.
    fn id(random: &mut Random) -> NodeId {
        let low = u8::try_from(random.below(256)).unwrap();
        let mut bytes = [0; 16];
        match random.below(4) {
            0 => bytes.iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap()),
            1 => bytes = [0xff; 16],
            2 => bytes[..8].fill(7),
            _ => {}
        }
        bytes[15] = low;
        NodeId(bytes)
    }

    #[test]
    fn a_table_holds_finds_and_walks_what_a_sorted_map_does() {
        let mut random = Random::from_seed([5; 32]);
        for round in 0..20 {
            let (mut table, mut map) = (IdTable::new(500), BTreeMap::new());
            for n in 0..2_000 {
                let key = id(&mut random);
                if random.below(3) == 0 {
                    assert_eq!(table.remove(&key), map.remove(&key), "round {round}, step {n}: {key:?}");
                } else {
                    let fits = map.len() < 500 || map.contains_key(&key);
                    assert_eq!(table.insert(key, n), fits, "round {round}, step {n}: {key:?}");
                    if fits {
                        map.insert(key, n);
                    }
                }
                let (first, last) = (id(&mut random), id(&mut random));
                assert_eq!(table.get(&first), map.get(&first), "round {round}, step {n}: {first:?}");
                assert_eq!(table.contains_key(&last), map.contains_key(&last));
                if first <= last {
                    assert!(table.span(first, last).eq(map.range(first..=last)), "{first:?} to {last:?}");
                }
            }
            assert!(table.iter().eq(map.iter()), "round {round}");
        }
    }

    #[test]
    fn a_full_table_refuses_a_new_key_and_takes_an_old_one() {
        let [one, two, three] = [1, 2, 3].map(|n| SessionTag([n; 8]));
        let mut table = IdTable::new(2);
        assert!(table.insert(two, 'b') && table.insert(one, 'a'));
        assert!(!table.insert(three, 'c') && table.get_or_insert_with(three, || 'c').is_none());
        assert!(table.insert(one, 'd'));
        assert_eq!(table.get_or_insert_with(two, || 'e').copied(), Some('b'));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(&one, &'d'), (&two, &'b')]);
    }
}

//! Decides how the latest of many are remembered by digests: a list in the order of their storing, and a table of where each is.

use crate::ground::table::Spread;

/// A map that holds at most `limit` entries; when a new one comes and it is full, the one stored longest ago makes room.
///
/// As [`RecentMap`](crate::ground::bounded::RecentMap), without order among the names. For those that are new with each letter: with
/// thousands of them two trees take a microsecond to forget one and note another, and this a twentieth of it. Where an entry is
/// looked for nobody can foretell who does not know the secret: names chosen so that they lie together are found as fast.
#[derive(Debug, Clone)]
pub struct RecentTable<K, V> {
    limit: usize,
    /// Odd.
    secret: u64,
    entries: Vec<Entry<K, V>>,
    /// The first entry of each place, as many as the next power of two that holds all.
    places: Vec<u32>,
    oldest: u32,
    newest: u32,
}

#[derive(Debug, Clone)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// Stored right before and right after it.
    older: u32,
    newer: u32,
    /// Another of the same place.
    next: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl<K: Spread, V> RecentTable<K, V> {
    /// An empty map for at most `limit` entries, at most as many as 32 bits number.
    #[must_use]
    pub fn new(limit: usize, secret: u64) -> Self {
        debug_assert!(limit > 0 && limit < NONE as usize, "every entry has a number");
        Self { limit, secret: secret | 1, entries: Vec::new(), places: Vec::new(), oldest: NONE, newest: NONE }
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|at| &self.entries[at].value)
    }

    /// The value under a key, to change; it does not become the newest by that.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).map(|at| &mut self.entries[at].value)
    }

    /// Stores a value as the newest, replacing the one under the same key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.remove(&key);
        if self.entries.len() >= self.limit {
            let oldest = self.entries[self.oldest as usize].key;
            self.remove(&oldest);
        }
        let at = number(self.entries.len());
        self.entries.push(Entry { key, value, older: NONE, newer: NONE, next: NONE });
        if self.entries.len() > self.places.len() {
            self.spread();
        } else {
            self.place(at);
        }
        self.append(at);
        old
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key)?;
        self.unplace(number(at));
        self.unlink(at);
        let last = self.entries.len() - 1;
        if at != last {
            // The last one takes its number.
            self.rename(last, number(at));
        }
        Some(self.entries.swap_remove(at).value)
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

    fn find(&self, key: &K) -> Option<usize> {
        let mut at = *self.places.get(self.place_of(key))?;
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.key == *key {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    /// Of two names two share a place in at most two of as many cases as there are places, whatever they are (Dietzfelbinger et al., 1997).
    fn place_of(&self, key: &K) -> usize {
        let bits = self.places.len().trailing_zeros();
        let mixed = key.place().wrapping_mul(self.secret);
        mixed.checked_shr(u64::BITS - bits).map_or(0, |place| place as usize)
    }

    /// Puts an entry first in its place.
    fn place(&mut self, at: u32) {
        let place = self.place_of(&self.entries[at as usize].key);
        self.entries[at as usize].next = core::mem::replace(&mut self.places[place], at);
    }

    /// Takes an entry out of its place.
    fn unplace(&mut self, at: u32) {
        let next = self.entries[at as usize].next;
        self.point(at, next);
    }

    /// What leads to an entry in its place leads to another from now on.
    fn point(&mut self, from: u32, to: u32) {
        let place = self.place_of(&self.entries[from as usize].key);
        let mut at = self.places[place];
        if at == from {
            self.places[place] = to;
            return;
        }
        while let Some(entry) = self.entries.get_mut(at as usize) {
            if entry.next == from {
                entry.next = to;
                return;
            }
            at = entry.next;
        }
    }

    /// Twice as many places.
    fn spread(&mut self) {
        let places = self.entries.len().next_power_of_two();
        self.places = vec![NONE; places];
        (0..self.entries.len()).for_each(|at| self.place(number(at)));
    }

    /// Makes an entry the newest.
    fn append(&mut self, at: u32) {
        let before = core::mem::replace(&mut self.newest, at);
        (self.entries[at as usize].older, self.entries[at as usize].newer) = (before, NONE);
        match self.entries.get_mut(before as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
    }

    /// Takes an entry out of the order.
    fn unlink(&mut self, at: usize) {
        let (older, newer) = (self.entries[at].older, self.entries[at].newer);
        self.join(older, newer);
    }

    fn join(&mut self, older: u32, newer: u32) {
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// An entry has another number from now on.
    fn rename(&mut self, from: usize, to: u32) {
        self.point(number(from), to);
        let (older, newer) = (self.entries[from].older, self.entries[from].newer);
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = to,
            None => self.oldest = to,
        }
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = to,
            None => self.newest = to,
        }
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("the limit is below")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ground::bounded::RecentMap;
    use crate::ground::id::SessionTag;

    /// Few names, some of which share their first bits and others their last.
    fn tag(n: u8) -> SessionTag {
        SessionTag([n % 3, 0, 0, 0, 0, 0, 0, n / 3])
    }

    proptest! {
        #[test]
        fn it_remembers_what_two_trees_remember(
            limit in 1usize..20,
            secret: u64,
            steps in proptest::collection::vec((0u8..4, 0u8..40), 0..400),
        ) {
            let (mut table, mut map) = (RecentTable::new(limit, secret), RecentMap::new(limit));
            for (n, (what, name)) in steps.into_iter().enumerate() {
                let key = tag(name);
                match what {
                    0 | 1 => prop_assert_eq!(table.insert(key, n), map.insert(key, n)),
                    2 => prop_assert_eq!(table.remove(&key), map.remove(&key)),
                    _ => prop_assert_eq!(table.get_mut(&key), map.get_mut(&key)),
                }
                prop_assert_eq!(table.len(), map.len());
                for name in 0..40 {
                    prop_assert_eq!(table.get(&tag(name)), map.get(&tag(name)));
                }
            }
        }
    }

    #[test]
    fn names_that_were_chosen_to_lie_together_share_no_place_more_than_others() {
        let mut table = RecentTable::new(4_096, 0x9e37_79b9_7f4a_7c15);
        let chosen = |n: u64| SessionTag((n << 20).to_be_bytes());
        (0..4_096).for_each(|n| assert_eq!(table.insert(chosen(n), n), None));
        let of_place = |place: usize| {
            let first = table.entries.get(table.places[place] as usize);
            core::iter::successors(first, |entry| table.entries.get(entry.next as usize)).count()
        };
        let most = (0..table.places.len()).map(of_place).max();
        assert!(most <= Some(16), "{most:?} in one place");
    }
}

//! Decides what "full" means: collections that the network can fill know their limit and say what they refused.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::collections::btree_map;

/// A map that holds at most `limit` entries and refuses the next one.
#[derive(Debug, Clone)]
pub struct BoundedMap<K, V> {
    entries: BTreeMap<K, V>,
    limit: usize,
}

/// The map was full: nothing was changed, and here is what could not be stored.
#[derive(Debug)]
pub struct Full<V>(pub V);

impl<K: Ord, V> BoundedMap<K, V> {
    /// An empty map for at most `limit` entries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), limit }
    }

    /// Stores a value, replacing the one under the same key.
    ///
    /// # Errors
    /// [`Full`] when the key is new and the map holds `limit` entries already.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full<V>> {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            return Err(Full(value));
        }
        Ok(self.entries.insert(key, value))
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Takes out the entry with the smallest key: the usual victim where keys are times.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        self.entries.pop_first()
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(keep);
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value under a key, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.entries.iter()
    }

    /// All values to change, in the order of their keys.
    pub fn iter_mut(&mut self) -> btree_map::IterMut<'_, K, V> {
        self.entries.iter_mut()
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> btree_map::Values<'_, K, V> {
        self.entries.values()
    }

    /// All keys in order.
    pub fn keys(&self) -> btree_map::Keys<'_, K, V> {
        self.entries.keys()
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

    /// How many entries there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A map that holds at most `limit` entries; when a new one comes and it is full, the one stored longest ago makes room.
#[derive(Debug, Clone)]
pub struct RecentMap<K, V> {
    limit: usize,
    /// Each value with the number of its storing.
    entries: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    stored: u64,
}

impl<K: Ord + Copy, V> RecentMap<K, V> {
    /// An empty map for at most `limit` entries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, entries: BTreeMap::new(), order: BTreeMap::new(), stored: 0 }
    }

    /// Stores a value as the newest, replacing the one under the same key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.stored += 1;
        let old = self.entries.insert(key, (self.stored, value));
        if let Some((number, _)) = &old {
            self.order.remove(number);
        } else if self.entries.len() > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(self.stored, key);
        old.map(|(_, value)| value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (number, value) = self.entries.remove(key)?;
        self.order.remove(&number);
        Some(value)
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry stored longest ago.
    #[must_use]
    pub fn oldest(&self) -> Option<(K, &V)> {
        let (_, key) = self.order.first_key_value()?;
        Some((*key, self.get(key)?))
    }

    /// The entries whose keys lie in a range, in the order of their keys.
    pub fn range(&self, keys: impl core::ops::RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.entries.range(keys).map(|(key, (_, value))| (key, value))
    }

    /// Of the entries whose keys lie in a range the one stored longest ago.
    #[must_use]
    pub fn oldest_in(&self, keys: impl core::ops::RangeBounds<K>) -> Option<K> {
        self.entries.range(keys).min_by_key(|(_, (number, _))| *number).map(|(key, _)| *key)
    }

    /// The value under a key, to change; stored as the newest if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            self.insert(key, make());
        }
        self.get_mut(&key).expect("there is one, or it was just stored")
    }

    /// The value under a key, to change; it does not become the newest by that.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
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
}

/// Makes room for one more in a list that mostly holds one or two: left to itself it would take room for four, which in a
/// table of a thousand such lists is most of their memory.
pub(crate) fn reserve_few<T>(list: &mut Vec<T>) {
    if list.len() < 2 {
        list.reserve_exact(1);
    }
}

/// A queue that holds at most `limit` items; what does not fit is handed back.
#[derive(Debug, Clone)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    limit: usize,
}

impl<T> BoundedQueue<T> {
    /// An empty queue for at most `limit` items.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { items: VecDeque::new(), limit }
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`Full`] when the queue holds `limit` items already.
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.items.len() >= self.limit {
            return Err(Full(item));
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A token bucket: `rate` tokens a second, at most `burst` saved up.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: u64,
    burst: u64,
    // In billionths of a token, so that no fraction is lost at high call rates.
    level: u64,
    filled: crate::ground::time::Instant,
}

impl TokenBucket {
    const TOKEN: u64 = 1_000_000_000;

    /// A full bucket.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Self {
        let burst = u64::from(burst) * Self::TOKEN;
        Self { rate: u64::from(rate), burst, level: burst, filled: crate::ground::time::Instant::ZERO }
    }

    /// Takes `tokens` if they are there.
    pub fn take(&mut self, now: crate::ground::time::Instant, tokens: u32) -> bool {
        let enough = self.has(now, tokens);
        if enough {
            self.level -= u64::from(tokens) * Self::TOKEN;
        }
        enough
    }

    /// Takes `tokens`, or as many as there are.
    pub fn drain(&mut self, now: crate::ground::time::Instant, tokens: u32) {
        self.fill(now);
        self.level = self.level.saturating_sub(u64::from(tokens) * Self::TOKEN);
    }

    /// Whether `tokens` are there.
    pub fn has(&mut self, now: crate::ground::time::Instant, tokens: u32) -> bool {
        self.fill(now);
        self.level >= u64::from(tokens) * Self::TOKEN
    }

    /// When one token is there.
    #[must_use]
    pub fn next(&self) -> crate::ground::time::Instant {
        let lacking = Self::TOKEN.saturating_sub(self.level);
        self.filled + core::time::Duration::from_nanos(lacking.div_ceil(self.rate.max(1)))
    }

    fn fill(&mut self, now: crate::ground::time::Instant) {
        if now == self.filled {
            return;
        }
        let elapsed = u64::try_from(now.since(self.filled).as_nanos()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(elapsed.saturating_mul(self.rate)).min(self.burst);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::{Duration, Instant};

    #[test]
    fn a_full_map_refuses_a_new_key_and_takes_an_old_one() {
        let mut map = BoundedMap::new(2);
        assert!(map.insert(1, 'a').is_ok() && map.insert(2, 'b').is_ok());
        assert!(map.insert(3, 'c').is_err());
        assert_eq!(map.insert(1, 'd').ok().flatten(), Some('a'));
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn in_a_full_recent_map_the_entry_stored_longest_ago_makes_room() {
        let mut map = RecentMap::new(2);
        assert_eq!([map.insert(1, 'a'), map.insert(2, 'b'), map.insert(1, 'c')], [None, None, Some('a')]);
        assert_eq!(map.oldest(), Some((2, &'b')), "the first was stored again");
        map.insert(3, 'd');
        assert_eq!([1, 2, 3].map(|key| map.get(&key).copied()), [Some('c'), None, Some('d')]);
        assert_eq!((map.remove(&1), map.len(), map.oldest()), (Some('c'), 1, Some((3, &'d'))));
    }

    #[test]
    fn a_bucket_fills_at_its_rate_and_no_higher_than_its_burst() {
        let mut bucket = TokenBucket::new(10, 2);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let table = [
            (0, true),
            (0, true),
            (0, false),
            (99, false),
            (100, true),
            (150, false),
            (10_000, true),
            (10_000, true),
            (10_000, false),
        ];
        for (ms, expected) in table {
            assert_eq!(bucket.take(at(ms), 1), expected, "at {ms} ms");
        }
        assert_eq!(bucket.next(), at(10_100));
    }
}

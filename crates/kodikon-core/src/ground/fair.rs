//! Decides which of all that waits goes next, and which makes room: classes by their shares, sources in turn, the oldest first.

use std::collections::VecDeque;

/// How urgent something is that leaves: control and critical go first, the others share what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What keeps the mesh together: heartbeats, probes, verdicts, acknowledgements.
    Control,
    /// What an application says must not wait.
    Critical,
    /// What it says should not wait.
    High,
    /// What is usual.
    Normal,
    /// What may be late or lost.
    Low,
}

impl Class {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Control, Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Its name in `stats` and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Whether it goes first.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        self <= Self::Critical
    }

    /// Bytes that it may send in one round of deficit round robin; 0 for those that go first.
    fn quantum(self) -> usize {
        match self {
            Self::Control | Self::Critical => 0,
            Self::High => 8 * QUANTUM,
            Self::Normal => 4 * QUANTUM,
            Self::Low => QUANTUM,
        }
    }
}

/// Bytes of one share: a whole datagram at least, so that every class sends in every round (Shreedhar and Varghese, 1995).
const QUANTUM: usize = 1_500;
/// What goes first may be ahead of what waits by one datagram: so it has half while others wait, and no more.
const LEAD: usize = QUANTUM;

/// What waits, within its limits.
#[derive(Debug)]
pub struct FairQueue<S, T> {
    ranks: [Rank<S, T>; Class::ALL.len()],
    limits: Limits,
    len: usize,
    bytes: usize,
    /// Bytes by which control and critical are ahead of what waited meanwhile.
    lead: usize,
    /// Whose round it is, and what it may still send.
    turn: (Class, usize),
    /// The room of a source that has nothing left, for the next: most of what waits waits alone.
    spare: VecDeque<(usize, T)>,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Items.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// What waits of one class: its sources in the order of their turns.
#[derive(Debug)]
struct Rank<S, T> {
    sources: VecDeque<Source<S, T>>,
}

/// What waits of one source, the oldest first.
#[derive(Debug)]
struct Source<S, T> {
    name: S,
    bytes: usize,
    /// Whether a part of the oldest has left: then the rest of it stays the next, and does not make room.
    is_begun: bool,
    items: VecDeque<(usize, T)>,
}

/// What is taken of the item whose turn it is.
#[derive(Debug)]
pub struct Taken<R> {
    /// What the caller makes of it.
    pub value: R,
    /// Bytes that leave.
    pub bytes: usize,
    /// Whether more of the item is to follow: then it stays, the first of its source.
    pub is_part: bool,
}

impl<S: Copy + PartialEq, T> FairQueue<S, T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            ranks: core::array::from_fn(|_| Rank { sources: VecDeque::new() }),
            limits,
            len: 0,
            bytes: 0,
            lead: 0,
            turn: (Class::High, Class::High.quantum()),
            spare: VecDeque::new(),
        }
    }

    /// Adds an item at the end of its source's.
    pub fn push(&mut self, class: Class, source: S, bytes: usize, item: T) {
        self.len += 1;
        self.bytes += bytes;
        let sources = &mut self.ranks[class as usize].sources;
        match sources.iter_mut().find(|held| held.name == source) {
            Some(held) => {
                held.bytes += bytes;
                held.items.push_back((bytes, item));
            }
            None => {
                let mut items = core::mem::take(&mut self.spare);
                items.push_back((bytes, item));
                sources.push_back(Source { name: source, bytes, is_begun: false, items });
            }
        }
    }

    /// The newest item of a source in a class, to be made longer by `more` bytes if `lengthen` does so.
    pub fn lengthen(&mut self, class: Class, source: S, more: usize, lengthen: impl FnOnce(&mut T) -> bool) -> bool {
        let sources = &mut self.ranks[class as usize].sources;
        let Some(held) = sources.iter_mut().find(|held| held.name == source) else { return false };
        let is_longer = held.items.back_mut().is_some_and(|(bytes, item)| {
            let is_longer = lengthen(item);
            *bytes += if is_longer { more } else { 0 };
            is_longer
        });
        if is_longer {
            held.bytes += more;
            self.bytes += more;
        }
        is_longer
    }

    /// Takes what goes next, or a part of it.
    pub fn take<R>(&mut self, part: impl FnOnce(&mut T) -> Taken<R>) -> Option<R> {
        let class = self.next_class()?;
        self.take_of(class, part)
    }

    /// The same of what goes first alone.
    pub fn take_urgent<R>(&mut self, part: impl FnOnce(&mut T) -> Taken<R>) -> Option<R> {
        let class = self.first_class()?;
        self.take_of(class, part)
    }

    /// What goes next.
    pub fn peek(&mut self) -> Option<&T> {
        let class = self.next_class()?;
        self.ranks[class as usize].sources.front()?.items.front().map(|(_, item)| item)
    }

    fn take_of<R>(&mut self, class: Class, part: impl FnOnce(&mut T) -> Taken<R>) -> Option<R> {
        let rank = &mut self.ranks[class as usize];
        let source = rank.sources.front_mut()?;
        let (size, item) = source.items.front_mut()?;
        let Taken { value, bytes, is_part } = part(item);
        source.is_begun = is_part;
        if !is_part {
            let size = *size;
            source.items.pop_front();
            source.bytes -= size;
            self.len -= 1;
            self.bytes -= size;
            // One item each: those who send short ones have less by it, which is their own affair.
            match rank.sources.pop_front() {
                Some(source) if source.items.is_empty() => self.spare = source.items,
                Some(source) => rank.sources.push_back(source),
                None => {}
            }
        }
        self.charge(class, bytes);
        Some(value)
    }

    /// Where the oldest of the source whose turn it is will likely come too late, its newest goes first.
    pub fn prefer_newest(&mut self, is_late: impl Fn(&T) -> bool) {
        let Some(class) = self.next_class() else { return };
        let source = self.ranks[class as usize].sources.front_mut().filter(|source| !source.is_begun);
        let Some(source) = source.filter(|source| source.items.front().is_some_and(|(_, item)| is_late(item))) else {
            return;
        };
        if let Some(newest) = source.items.pop_back() {
            source.items.push_front(newest);
        }
    }

    /// Whether what goes next is control or critical.
    #[must_use]
    pub fn is_urgent_next(&self) -> bool {
        let has_others = [Class::High, Class::Normal, Class::Low].into_iter().any(|class| self.waits(class));
        self.first_class().is_some() && (!has_others || self.lead < LEAD)
    }

    fn first_class(&self) -> Option<Class> {
        [Class::Control, Class::Critical].into_iter().find(|class| self.waits(*class))
    }

    /// Whose turn it is.
    fn next_class(&mut self) -> Option<Class> {
        let first = self.first_class();
        let others = [Class::High, Class::Normal, Class::Low];
        if !others.into_iter().any(|class| self.waits(class)) {
            self.lead = 0;
            return first;
        }
        if first.is_some() && self.lead < LEAD {
            return first;
        }
        // Whoever has nothing to say, or has said its share, ends its round; three steps come to everybody.
        while !self.waits(self.turn.0) || self.turn.1 == 0 {
            let next = match self.turn.0 {
                Class::High => Class::Normal,
                Class::Normal => Class::Low,
                Class::Control | Class::Critical | Class::Low => Class::High,
            };
            self.turn = (next, next.quantum());
        }
        Some(self.turn.0)
    }

    fn charge(&mut self, class: Class, bytes: usize) {
        match class {
            Class::Control | Class::Critical => self.lead += bytes,
            Class::High | Class::Normal | Class::Low => {
                self.lead = self.lead.saturating_sub(bytes);
                self.turn.1 = self.turn.1.saturating_sub(bytes);
            }
        }
    }

    fn waits(&self, class: Class) -> bool {
        !self.ranks[class as usize].sources.is_empty()
    }

    /// What makes room while there is too much: of the least urgent class, of the source that has most there, the oldest.
    pub fn take_excess(&mut self) -> Option<(Class, T)> {
        if self.len > self.limits.items || self.bytes > self.limits.bytes { self.evict() } else { None }
    }

    /// Gives up one item, chosen like that.
    pub fn evict(&mut self) -> Option<(Class, T)> {
        let class = Class::ALL.into_iter().rev().find(|class| self.waits(*class))?;
        let sources = &mut self.ranks[class as usize].sources;
        let (place, _) = sources.iter().enumerate().max_by_key(|(_, source)| source.bytes)?;
        let source = sources.get_mut(place)?;
        let oldest = usize::from(source.is_begun && source.items.len() > 1);
        let (size, item) = source.items.remove(oldest)?;
        source.bytes -= size;
        source.is_begun &= oldest > 0;
        if source.items.is_empty() {
            sources.remove(place);
        }
        self.len -= 1;
        self.bytes -= size;
        Some((class, item))
    }

    /// Keeps the items for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let (len, bytes) = (&mut self.len, &mut self.bytes);
        for rank in &mut self.ranks {
            for source in &mut rank.sources {
                let of_source = &mut source.bytes;
                let mut is_first = true;
                source.items.retain(|(size, item)| {
                    let stays = keep(item);
                    source.is_begun &= stays || !core::mem::take(&mut is_first);
                    is_first = false;
                    if !stays {
                        *len -= 1;
                        *bytes -= size;
                        *of_source -= size;
                    }
                    stays
                });
            }
            rank.sources.retain(|source| !source.items.is_empty());
        }
    }

    /// Nothing waits any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits { items: 10_000, bytes: 10_000_000 };

    fn whole<T: Copy>(bytes: usize) -> impl FnOnce(&mut T) -> Taken<T> {
        move |item| Taken { value: *item, bytes, is_part: false }
    }

    /// So many items of each class wait, of so many bytes each.
    fn filled(items: usize, bytes: usize, classes: &[Class]) -> FairQueue<u8, Class> {
        let mut queue = FairQueue::new(WIDE);
        for class in classes {
            (0..items).for_each(|_| queue.push(*class, 1, bytes, *class));
        }
        queue
    }

    fn shares(queue: &mut FairQueue<u8, Class>, turns: usize, bytes: usize) -> [usize; 5] {
        let mut counts = [0; 5];
        for _ in 0..turns {
            let class = queue.take(whole(bytes)).expect("enough waits");
            counts[class as usize] += 1;
        }
        counts
    }

    #[test]
    fn the_classes_that_wait_share_as_eight_to_four_to_one() {
        use Class::{Control, Critical, High, Low, Normal};
        // (bytes of an item, who waits, turns, their items)
        let table: &[(usize, &[Class], usize, [usize; 5])] = &[
            (1_500, &[High, Normal, Low], 130, [0, 0, 80, 40, 10]),
            (150, &[High, Normal, Low], 1_300, [0, 0, 800, 400, 100]),
            (1_500, &[Normal, Low], 50, [0, 0, 0, 40, 10]),
            (1_500, &[High, Low], 90, [0, 0, 80, 0, 10]),
            (1_500, &[Low], 20, [0, 0, 0, 0, 20]),
            (1_500, &[Control, High, Normal, Low], 260, [130, 0, 80, 40, 10]),
            (1_500, &[Critical, Low], 100, [0, 50, 0, 0, 50]),
            (1_500, &[Control, Critical], 100, [100, 0, 0, 0, 0]),
        ];
        for (bytes, classes, turns, expected) in table {
            let mut queue = filled(1_000, *bytes, classes);
            assert_eq!(shares(&mut queue, *turns, *bytes), *expected, "{classes:?} of {bytes} B");
        }
    }

    #[test]
    fn what_is_urgent_goes_first_and_what_is_short_and_urgent_goes_at_once() {
        let mut queue = filled(3, 1_500, &[Class::Low, Class::High]);
        queue.push(Class::Critical, 1, 100, Class::Critical);
        queue.push(Class::Control, 1, 100, Class::Control);
        let order: Vec<Class> =
            (0..3).filter_map(|_| queue.take(|item| Taken { value: *item, bytes: 100, is_part: false })).collect();
        assert_eq!(order, [Class::Control, Class::Critical, Class::High]);
    }

    #[test]
    fn a_source_that_floods_waits_behind_nobody_but_itself() {
        let mut queue = FairQueue::new(WIDE);
        (0..100).for_each(|n| queue.push(Class::Normal, 'f', 100, ('f', n)));
        queue.push(Class::Normal, 'a', 100, ('a', 0));
        queue.push(Class::Normal, 'b', 100, ('b', 0));
        let order: Vec<char> = (0..5).filter_map(|_| queue.take(whole(100))).map(|(source, _)| source).collect();
        assert_eq!(order, ['f', 'a', 'b', 'f', 'f']);
    }

    #[test]
    fn an_item_that_leaves_in_parts_is_not_interrupted_by_its_own_class() {
        let mut queue = FairQueue::new(WIDE);
        queue.push(Class::Low, 1, 300, ("long", 3));
        queue.push(Class::Low, 2, 100, ("short", 1));
        let mut order = Vec::new();
        while let Some(name) = queue.take(|(name, parts)| {
            *parts -= 1;
            Taken { value: *name, bytes: 100, is_part: *parts > 0 }
        }) {
            order.push(name);
        }
        assert_eq!(order, ["long", "long", "long", "short"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn the_least_urgent_the_largest_source_and_of_that_the_oldest_makes_room() {
        let mut queue = FairQueue::new(Limits { items: 5, bytes: 1_000 });
        let mut evicted = Vec::new();
        let rows = [
            (Class::High, 'a', 400, 0),
            (Class::Low, 'a', 100, 1),
            (Class::Low, 'b', 90, 2),
            (Class::Low, 'b', 90, 3),
            (Class::Control, 'c', 10, 4),
            // Six items: `b` has most of what is low.
            (Class::Normal, 'c', 10, 5),
            // Too many bytes: now `a` has most, then `b` again, then what is normal goes, at last what is high.
            (Class::Critical, 'd', 500, 6),
            (Class::Critical, 'd', 480, 7),
        ];
        for (class, source, bytes, number) in rows {
            queue.push(class, source, bytes, number);
            while let Some((class, number)) = queue.take_excess() {
                evicted.push((class, number));
            }
        }
        let numbers: Vec<i32> = evicted.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers, [2, 1, 3, 5, 0], "{evicted:?}");
        assert_eq!((queue.len(), queue.bytes()), (3, 990));
    }

    #[test]
    fn what_has_begun_to_leave_does_not_make_room() {
        let mut queue = FairQueue::new(Limits { items: 2, bytes: 1_000 });
        (0..2).for_each(|n| queue.push(Class::Low, 1, 100, n));
        assert_eq!(queue.take(|item| Taken { value: *item, bytes: 10, is_part: true }), Some(0));
        queue.push(Class::Low, 1, 100, 2);
        assert_eq!(queue.take_excess(), Some((Class::Low, 1)));
        assert_eq!(queue.take(whole(10)), Some(0));
        queue.push(Class::Low, 1, 100, 3);
        queue.push(Class::Low, 1, 100, 4);
        assert_eq!(queue.take_excess(), Some((Class::Low, 2)), "it has not begun");
        assert_eq!(queue.take(|item| Taken { value: *item, bytes: 10, is_part: true }), Some(3));
        queue.retain(|item| *item != 3);
        (5..7).for_each(|n| queue.push(Class::Low, 1, 100, n));
        assert_eq!(queue.take_excess(), Some((Class::Low, 4)), "what had begun is gone");
    }

    #[test]
    fn where_the_oldest_are_late_the_newest_go_first() {
        let mut queue = FairQueue::new(WIDE);
        (0..4).for_each(|n| queue.push(Class::Low, 1, 100, n));
        queue.push(Class::Low, 2, 100, 9);
        let mut order = Vec::new();
        loop {
            // Asked more than once before it is taken.
            (0..3).for_each(|_| queue.prefer_newest(|n| *n < 2));
            let Some(number) = queue.take(|n| Taken { value: *n, bytes: 100, is_part: false }) else { break };
            order.push(number);
        }
        assert_eq!(order, [3, 9, 2, 1, 0]);
    }

    #[test]
    fn what_is_dropped_or_made_longer_is_counted() {
        let mut queue = FairQueue::new(WIDE);
        (0..4).for_each(|n| queue.push(Class::Low, n % 2, 100, n));
        assert!(queue.lengthen(Class::Low, 1, 50, |item| *item == 3));
        assert!(!queue.lengthen(Class::Low, 1, 50, |item| *item == 1), "the newest alone");
        assert!(!queue.lengthen(Class::High, 1, 50, |_| true), "of that class");
        queue.retain(|item| *item == 3);
        assert_eq!((queue.len(), queue.bytes()), (1, 150));
        queue.clear();
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}

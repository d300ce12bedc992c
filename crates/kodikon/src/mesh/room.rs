//! Decides how much of what an application says may wait until it is known what became of it: so many messages and so many bytes, of
//! which the less urgent, and one destination, may have a part each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kodikon_core::ground::id::NodeId;
use kodikon_core::model::letter::Priority;

use super::SendError;

/// Messages of one node that wait for what becomes of them; one more is refused.
pub const SENDS_WAITING: usize = 4_096;
/// Bytes of them at most: what all queues of a node may hold together. A peer that is gone silent costs no more, however long the
/// messages to it are.
pub const SEND_BYTES_WAITING: usize = 16 << 20;
/// What a message takes beside its text: a byte or a few for each of its fields.
const OVERHEAD: usize = 16;

/// The room for what waits.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: Arc<Mutex<Held>>,
}

/// A message's part of the room; free again when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    held: Arc<Mutex<Held>>,
    size: Size,
    priority: Priority,
    to: NodeId,
}

/// What waits.
#[derive(Debug, Default)]
struct Held {
    by_priority: [Size; Priority::ALL.len()],
    by_destination: BTreeMap<NodeId, Size>,
}

/// So much of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Size {
    messages: usize,
    bytes: usize,
}

impl Room {
    /// Takes the part of a message of so many bytes to a destination.
    ///
    /// What is less urgent leaves places to what is more urgent ([`Priority::share`]), and what is for one destination leaves a
    /// quarter of them to all others: so neither a talkative sender of trifles nor a peer that has gone silent shuts out what is
    /// urgent, or for somebody who listens.
    ///
    /// # Errors
    /// [`SendError::Busy`], [`SendError::Full`], [`SendError::BusyPeer`] and [`SendError::FullPeer`]; nothing is taken then.
    pub(crate) fn take(&self, bytes: usize, priority: Priority, to: NodeId) -> Result<Part, SendError> {
        let size = Size { messages: 1, bytes: bytes.saturating_add(OVERHEAD) };
        let whole = Size { messages: SENDS_WAITING, bytes: SEND_BYTES_WAITING };
        let share = Size { messages: priority.share(whole.messages), bytes: priority.share(whole.bytes) };
        let part = Size { messages: share.messages / 4 * 3, bytes: share.bytes / 4 * 3 };
        let mut held = lock(&self.held);
        let there = held.by_destination.get(&to).copied().unwrap_or_default().plus(size);
        for (waiting, limit) in [(held.upto(Priority::Critical), whole), (held.upto(priority), share)] {
            let waiting = waiting.plus(size);
            if waiting.messages > limit.messages {
                return Err(SendError::Busy { limit: limit.messages });
            }
            if waiting.bytes > limit.bytes {
                return Err(SendError::Full { limit: limit.bytes });
            }
        }
        if there.messages > part.messages {
            return Err(SendError::BusyPeer { limit: part.messages });
        }
        if there.bytes > part.bytes {
            return Err(SendError::FullPeer { limit: part.bytes });
        }
        held.by_destination.insert(to, there);
        let of_priority = &mut held.by_priority[priority as usize];
        *of_priority = of_priority.plus(size);
        drop(held);
        Ok(Part { held: Arc::clone(&self.held), size, priority, to })
    }

    /// How many messages wait.
    pub(crate) fn messages(&self) -> usize {
        lock(&self.held).upto(Priority::Critical).messages
    }

    /// How many bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.held).upto(Priority::Critical).bytes
    }
}

impl Held {
    /// What waits of this urgency and of less.
    fn upto(&self, priority: Priority) -> Size {
        self.by_priority[..=priority as usize].iter().fold(Size::default(), |sum, size| sum.plus(*size))
    }
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn minus(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        let of_priority = &mut held.by_priority[self.priority as usize];
        *of_priority = of_priority.minus(self.size);
        let left = held.by_destination.get(&self.to).map(|there| there.minus(self.size)).unwrap_or_default();
        if left == Size::default() {
            held.by_destination.remove(&self.to);
        } else {
            held.by_destination.insert(self.to, left);
        }
    }
}

/// Held for a few sums, by the loop too.
fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    // Nothing can panic while it is held but what would be wrong here.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([7; 16]);
    const OTHER: NodeId = NodeId([8; 16]);

    /// Takes as much as there is room for; what was taken, and the refusal.
    fn fill(room: &Room, bytes: usize, priority: Priority, to: impl Fn(usize) -> NodeId) -> (Vec<Part>, SendError) {
        let mut parts = Vec::new();
        loop {
            match room.take(bytes, priority, to(parts.len())) {
                Ok(part) => parts.push(part),
                Err(error) => return (parts, error),
            }
        }
    }

    fn anyone(n: usize) -> NodeId {
        NodeId([u8::try_from(100 + n % 100).unwrap(); 16])
    }

    #[test]
    fn what_is_less_urgent_leaves_places_to_what_is_more_urgent() {
        let room = Room::default();
        let mut held = Vec::new();
        for (priority, limit, taken) in [
            (Priority::Low, 2_048, 2_048),
            (Priority::Normal, 3_072, 1_024),
            (Priority::High, 3_584, 512),
            (Priority::Critical, 4_096, 512),
        ] {
            let (parts, refusal) = fill(&room, 0, priority, anyone);
            assert_eq!((parts.len(), refusal), (taken, SendError::Busy { limit }), "{priority:?}");
            held.push(parts);
        }
        assert_eq!((room.messages(), room.bytes()), (SENDS_WAITING, SENDS_WAITING * OVERHEAD));
        held[0].pop();
        assert!(room.take(0, Priority::Critical, OTHER).is_ok(), "what is settled makes room");
        drop(held);
        assert_eq!((room.messages(), room.bytes()), (0, 0));
        assert!(lock(&room.held).by_destination.is_empty());
    }

    #[test]
    fn what_is_urgent_and_waits_takes_no_place_of_what_is_less_urgent() {
        let room = Room::default();
        let (urgent, _) = fill(&room, 0, Priority::Critical, |_| PEER);
        assert_eq!(urgent.len(), 3_072);
        let (usual, refusal) = fill(&room, 0, Priority::Normal, anyone);
        assert_eq!((usual.len(), refusal), (1_024, SendError::Busy { limit: 4_096 }));
    }

    #[test]
    fn one_that_has_gone_silent_leaves_a_quarter_to_all_others() {
        for (priority, limit, left) in [(Priority::Low, 1_536, 512), (Priority::Critical, 3_072, 1_024)] {
            let room = Room::default();
            let (mut silent, refusal) = fill(&room, 0, priority, |_| PEER);
            assert_eq!((silent.len(), refusal), (limit, SendError::BusyPeer { limit }), "{priority:?}");
            let (others, _) = fill(&room, 0, priority, |_| OTHER);
            assert_eq!(others.len(), left, "{priority:?}");
            drop(others);
            silent.pop();
            assert!(room.take(0, priority, PEER).is_ok());
        }
    }

    #[test]
    fn long_messages_fill_the_room_before_there_are_many() {
        let room = Room::default();
        let each = 65_536;
        let (large, refusal) = fill(&room, each, Priority::Normal, anyone);
        assert_eq!((large.len(), refusal), (191, SendError::Full { limit: 12_582_912 }));
        assert_eq!((room.messages(), room.bytes()), (191, 191 * (each + OVERHEAD)), "the refused one keeps no place");
        assert!(room.take(1_000, Priority::Normal, OTHER).is_ok(), "a shorter one may still fit");
        assert!(room.take(each, Priority::High, OTHER).is_ok(), "and a more urgent one");
        drop(large);
        let (silent, refusal) = fill(&room, each, Priority::Normal, |_| PEER);
        assert_eq!((silent.len(), refusal), (143, SendError::FullPeer { limit: 9_437_184 }));
        let most = room.take(usize::MAX - OVERHEAD, Priority::Critical, OTHER);
        assert_eq!(most.err(), Some(SendError::Full { limit: 16_777_216 }));
    }
}

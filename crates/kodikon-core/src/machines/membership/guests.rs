//! Decides how often a node that proved itself and found no room here is asked again who it is: once a minute. Its PINGs are
//! answered like any stranger's, so that it does not take us for dead because we lack the room.

use crate::effect::context::Context;
use crate::ground::bounded::RecentMap;
use crate::ground::id::SessionTag;
use crate::ground::time::{Duration, Instant};

/// Refused nodes that are remembered; the one that proved itself longest ago makes room.
pub(super) const MAX_GUESTS: usize = 256;
/// For so long a refused node is not asked again who it is: each time costs both a signature, and its refusal may have
/// been lost.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// Nodes that were refused, and when.
#[derive(Debug)]
pub(super) struct Guests {
    table: RecentMap<SessionTag, Instant>,
}

impl Guests {
    pub(super) fn new() -> Self {
        Self { table: RecentMap::new(MAX_GUESTS) }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// A session proved itself and was refused.
    pub(super) fn admit(&mut self, now: Instant, tag: SessionTag) {
        self.table.insert(tag, now);
    }

    /// The session was taken in after all.
    pub(super) fn remove(&mut self, tag: SessionTag) {
        self.table.remove(&tag);
    }

    /// Whether there is nothing to ask of this session: it would be refused again.
    pub(super) fn is_settled(&self, now: Instant, tag: SessionTag, ctx: &Context) -> bool {
        let lately = self.table.get(&tag).is_some_and(|&since| now < since + ASKED_AGAIN);
        lately && ctx.roster.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_of_longest_ago_makes_room() {
        let tag = |n: usize| SessionTag((n as u64).to_be_bytes());
        let at = |s: usize| Instant::ZERO + Duration::from_secs(s as u64);
        let mut guests = Guests::new();
        (0..MAX_GUESTS).for_each(|n| guests.admit(at(n), tag(n)));
        // It proved itself again: another is the oldest now.
        guests.admit(at(MAX_GUESTS), tag(0));
        guests.admit(at(MAX_GUESTS), tag(MAX_GUESTS));
        assert_eq!(guests.len(), MAX_GUESTS);
        assert_eq!([0, 1, 2, MAX_GUESTS].map(|n| guests.table.get(&tag(n)).is_some()), [true, false, true, true]);
    }
}

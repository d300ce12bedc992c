//! Decides how much one origin may send by others: as much as a peer may itself, however many relays it sends it by.

use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::id::NodeId;
use crate::ground::time::Instant;

/// Pieces of letters a second, and as many at once: what one peer may send in datagrams (`PEER_RATE`).
const RATE: u32 = 5_000;
/// Origins whose rate is known; the one known for longest makes room, and begins anew when it comes again.
pub(super) const MAX_ORIGINS: usize = 4_096;

/// What each origin may send.
#[derive(Debug)]
pub(super) struct Rates(RecentMap<NodeId, TokenBucket>);

impl Rates {
    pub(super) fn new() -> Self {
        Self(RecentMap::new(MAX_ORIGINS))
    }

    /// Charges a piece of a letter of this origin; `false` if it has sent too many.
    pub(super) fn charge(&mut self, now: Instant, origin: NodeId) -> bool {
        self.0.get_or_insert_with(origin, || TokenBucket::new(RATE, RATE)).take(now, 1)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::Duration;

    #[test]
    fn an_origin_has_its_rate_and_no_number_of_others_takes_from_it() {
        let at = |ms: u64| Instant::ZERO + Duration::from_millis(1_000 + ms);
        let mut rates = Rates::new();
        let (flooder, other) = (NodeId([1; 16]), NodeId([2; 16]));
        assert_eq!((0..6_000).filter(|_| rates.charge(at(0), flooder)).count(), 5_000);
        assert!(rates.charge(at(0), other));
        assert_eq!((0..6_000).filter(|_| rates.charge(at(100), flooder)).count(), 500);
        for n in 0..10_000u32 {
            let mut invented = [9; 16];
            invented[..4].copy_from_slice(&n.to_le_bytes());
            assert!(rates.charge(at(100), NodeId(invented)));
        }
        assert_eq!(rates.len(), MAX_ORIGINS);
    }
}

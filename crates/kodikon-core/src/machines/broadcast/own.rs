//! Decides when what this node says to all leaves: most urgent first, no faster than others take it.

use std::collections::VecDeque;

use crate::ground::bounded::TokenBucket;
use crate::ground::time::{Duration, Instant};
use crate::model::cast::{CAST_BURST, CAST_RATE};
use crate::model::letter::Priority;
use crate::wire::cast::Content;

/// What may wait to leave: 13 s of the rate. More is refused at the door, the less urgent sooner.
const MAX_WAITING: usize = 256;
/// Its bytes, the same.
const MAX_WAITING_BYTES: usize = 4 * 1_024 * 1_024;

/// What waits to leave.
#[derive(Debug)]
pub(super) struct Own {
    waiting: [VecDeque<(u64, Content, usize)>; Priority::ALL.len()],
    /// The bytes of each.
    bytes: [usize; Priority::ALL.len()],
    rate: TokenBucket,
    /// The last number given.
    last: u64,
    retry_at: Option<Instant>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            waiting: Default::default(),
            bytes: [0; Priority::ALL.len()],
            rate: TokenBucket::new(CAST_RATE, CAST_BURST),
            last: 0,
            retry_at: None,
        }
    }
}

impl Own {
    /// Takes what is to be said; its number, or `None` if too much waits.
    pub(super) fn push(&mut self, content: Content, urgency: Priority) -> Option<u64> {
        let bytes = match &content {
            Content::Text(text) => text.payload.len() + text.kind.len(),
            Content::Unknown(_, body) => body.len(),
        };
        // What is less urgent leaves places to what is more urgent; all together keep within the whole.
        let has_room = |upto: Priority, share: Priority| {
            let (count, held) = self.upto(upto);
            count < share.share(MAX_WAITING) && held + bytes <= share.share(MAX_WAITING_BYTES)
        };
        if !has_room(urgency, urgency) || !has_room(Priority::Critical, Priority::Critical) {
            return None;
        }
        self.last += 1;
        self.bytes[urgency as usize] += bytes;
        self.waiting[urgency as usize].push_back((self.last, content, bytes));
        Some(self.last)
    }

    /// The next to leave now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(u64, Priority, Content)> {
        // Asked for at any time: what waits is not put off by that.
        let retry_at = self.retry_at.take().filter(|at| *at > now);
        let urgency = Priority::ALL.into_iter().rev().find(|urgency| !self.waiting[*urgency as usize].is_empty())?;
        if !self.rate.take(now, 1) {
            self.retry_at = retry_at.or(Some(now + Duration::from_secs(1) / CAST_RATE));
            return None;
        }
        let (number, content, bytes) = self.waiting[urgency as usize].pop_front()?;
        self.bytes[urgency as usize] -= bytes;
        Some((number, urgency, content))
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.upto(Priority::Critical).0
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// How many of this urgency and of less wait, and their bytes.
    fn upto(&self, urgency: Priority) -> (usize, usize) {
        let count = self.waiting[..=urgency as usize].iter().map(VecDeque::len).sum();
        (count, self.bytes[..=urgency as usize].iter().sum())
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 2] {
        let (count, bytes) = self.upto(Priority::Critical);
        [("casts_waiting", count, MAX_WAITING), ("cast_bytes_waiting", bytes, MAX_WAITING_BYTES)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Content {
        Content::Unknown(9, vec![0; len])
    }

    #[test]
    fn what_is_urgent_leaves_first_and_no_more_than_the_rate() {
        let mut own = Own::default();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        for n in 1..=30 {
            assert_eq!(own.push(content(1), Priority::Normal), Some(n));
        }
        assert_eq!(own.push(content(1), Priority::Critical), Some(31));
        let left = |own: &mut Own, now| -> Vec<u64> {
            core::iter::from_fn(|| own.pop(now)).map(|(number, ..)| number).collect()
        };
        let expected: Vec<u64> = [31].into_iter().chain(1..20).collect();
        assert_eq!(left(&mut own, at(0)), expected, "a burst");
        assert_eq!((own.pop(at(20)), own.next_deadline()), (None, Some(at(50))));
        assert_eq!(left(&mut own, at(50)), [20]);
        assert_eq!(left(&mut own, at(10_000)), (21..=30).collect::<Vec<_>>());
        assert_eq!(own.next_deadline(), None);
    }

    #[test]
    fn what_is_too_much_is_refused_and_takes_no_number() {
        let mut own = Own::default();
        for n in 1..=MAX_WAITING as u64 {
            assert_eq!(own.push(content(1), Priority::Critical), Some(n));
        }
        for priority in Priority::ALL {
            assert_eq!(own.push(content(1), priority), None, "{priority:?}");
        }
        assert!(own.pop(Instant::ZERO).is_some());
        assert_eq!(own.push(content(MAX_WAITING_BYTES), Priority::Critical), None, "too long");
        assert_eq!(own.push(content(1), Priority::Low), Some(257));
    }

    #[test]
    fn what_is_less_urgent_leaves_places_to_what_is_more_urgent() {
        let mut own = Own::default();
        let mut last = 0;
        for (priority, upto) in
            [(Priority::Low, 128), (Priority::Normal, 192), (Priority::High, 224), (Priority::Critical, 256)]
        {
            while let Some(number) = own.push(content(1), priority) {
                last = number;
            }
            assert_eq!(last, upto, "{priority:?}");
        }
        let mut long = Own::default();
        let half = MAX_WAITING_BYTES / 2;
        for (priority, taken) in [(Priority::Low, 1), (Priority::Normal, 0), (Priority::Critical, 1)] {
            let numbers = core::iter::from_fn(|| long.push(content(half), priority));
            assert_eq!(numbers.count(), taken, "{priority:?}");
        }
    }
}

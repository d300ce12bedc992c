//! Decides how long whoever changed the own state waits for it to be on disk, and when it is told that it is not.

use std::time::Duration;

use kodikon_core::ground::time::Instant;
use kodikon_core::model::state::NodeSnapshot;
use tokio::sync::oneshot;

use crate::driver::ORDERS_MAX;

/// A sync takes milliseconds, and on an SD card that cleans up up to a second; whoever raises an alert waits as long for its disk.
const KEPT_WITHIN: Duration = Duration::from_secs(1);

/// Who waits until which version of the own state is on disk.
#[derive(Debug, Default)]
pub(super) struct Keeping(Vec<Waiter>);

#[derive(Debug)]
struct Waiter {
    version: u64,
    until: Instant,
    answer: oneshot::Sender<Option<NodeSnapshot>>,
}

impl Keeping {
    /// Somebody waits. Beyond the limit it is told at once that nothing is known: by then the disk holds up a thousand.
    pub(super) fn add(&mut self, now: Instant, version: u64, answer: oneshot::Sender<Option<NodeSnapshot>>) {
        self.0.retain(|waiter| !waiter.answer.is_closed());
        if self.0.len() >= ORDERS_MAX {
            // An error means that nobody waits for the answer any more; so below.
            drop(answer.send(None));
            return;
        }
        self.0.push(Waiter { version, until: now + KEPT_WITHIN, answer });
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.0.iter().map(|waiter| waiter.until).min()
    }

    /// Answers those whose state, or a later one, is on disk, and those whose time is over.
    pub(super) fn answer(&mut self, now: Instant, kept: &NodeSnapshot) {
        for waiter in self.0.extract_if(.., |waiter| waiter.version <= kept.version || now >= waiter.until) {
            drop(waiter.answer.send((waiter.version <= kept.version).then(|| kept.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_told_when_its_version_is_kept_or_its_second_is_over() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let kept = |version| NodeSnapshot { version, ..NodeSnapshot::default() };
        let mut keeping = Keeping::default();
        let mut waiters: Vec<_> = (1..=3)
            .map(|version| {
                let (answer, answered) = oneshot::channel();
                keeping.add(at(version), version, answer);
                answered
            })
            .collect();
        keeping.answer(at(1_002), &kept(2));
        assert_eq!(waiters[0].try_recv(), Ok(Some(kept(2))), "a later one holds it too");
        assert_eq!(waiters[1].try_recv(), Ok(Some(kept(2))));
        assert_eq!(keeping.next_wake(), Some(at(1_003)));
        assert!(waiters[2].try_recv().is_err(), "it waits");
        keeping.answer(at(1_003), &kept(2));
        assert_eq!(waiters[2].try_recv(), Ok(None));
        assert_eq!(keeping.next_wake(), None);
    }
}

//! Decides when an alert is told once more to those who have not shown it: soon at first, then ever more rarely.

use std::collections::BTreeMap;

use crate::ground::time::{Duration, Instant};
use crate::model::alert::AlertId;
use crate::model::letter::Priority;

/// Alerts that are told again at once; of more, roots alone make good what was lost.
pub(super) const MAX_RETRIED: usize = 1_024;
/// The first time: a datagram, a turn of the loop and a receipt take some milliseconds; a lost one shall not cost a heartbeat.
const FIRST: Duration = Duration::from_millis(60);
/// What is not critical waits longer: by then most who missed it have asked for it.
const FIRST_LATER: Duration = Duration::from_millis(240);
/// The longest pause: a heartbeat's interval.
const LAST: Duration = Duration::from_secs(5);

/// What is told again, and when.
#[derive(Debug, Default)]
pub(super) struct Retry {
    due: BTreeMap<AlertId, (Instant, Duration)>,
}

impl Retry {
    /// An alert is told again, if somebody has not shown it by then. What is low is not.
    pub(super) fn watch(&mut self, now: Instant, alert: AlertId, priority: Priority) {
        let pause = match priority {
            Priority::Low => return,
            Priority::Normal | Priority::High => FIRST_LATER,
            Priority::Critical => FIRST,
        };
        if self.due.len() < MAX_RETRIED || self.due.contains_key(&alert) {
            self.due.entry(alert).or_insert((now + pause, pause));
        }
    }

    /// What is due; each is to be answered by [`Retry::go_on`].
    pub(super) fn due(&self, now: Instant) -> Vec<AlertId> {
        self.due.iter().filter(|(_, (at, _))| now >= *at).map(|(alert, _)| *alert).collect()
    }

    /// It goes on while somebody has not shown it.
    pub(super) fn go_on(&mut self, now: Instant, alert: AlertId, is_missed: bool) {
        match self.due.get_mut(&alert).filter(|_| is_missed) {
            Some((at, pause)) => {
                *pause = (*pause * 2).min(LAST);
                *at = now + *pause;
            }
            None => _ = self.due.remove(&alert),
        }
    }

    pub(super) fn forget(&mut self, alert: &AlertId) {
        self.due.remove(alert);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.values().map(|(at, _)| *at).min()
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_end_when_all_have_shown_it() {
        let mut retry = Retry::default();
        let (alert, mut now) = (AlertId(1), Instant::ZERO);
        retry.watch(now, alert, Priority::Critical);
        for pause in [60, 120, 240, 480, 960, 1_920, 3_840, 5_000, 5_000] {
            now = now + Duration::from_millis(pause);
            assert_eq!(retry.next_deadline(), Some(now), "after a pause of {pause} ms");
            assert_eq!(retry.due(now), [alert]);
            retry.go_on(now, alert, true);
        }
        retry.go_on(now, alert, false);
        assert_eq!(retry.next_deadline(), None);
    }

    #[test]
    fn what_is_low_is_left_to_the_roots() {
        let mut retry = Retry::default();
        retry.watch(Instant::ZERO, AlertId(1), Priority::Low);
        assert_eq!(retry.len(), 0);
    }
}

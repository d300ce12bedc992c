//! Decides when an alert is told once more to those who have not shown it: soon at first, then ever more rarely.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use crate::ground::time::{Duration, Instant};
use crate::model::alert::AlertId;
use crate::model::letter::Priority;

/// Alerts that are told again at once. One more displaces one that is less urgent; of what finds no place, roots alone make good what
/// was lost.
pub(super) const MAX_RETRIED: usize = 1_024;
/// The first time: a datagram, a turn of the loop and a receipt take some milliseconds; a lost one shall not cost a heartbeat.
const FIRST: Duration = Duration::from_millis(60);
/// What is not critical waits longer: by then most who missed it have asked for it.
const FIRST_LATER: Duration = Duration::from_millis(240);
/// And so long for each peer at least: where many are, one tells no more often than once in a millisecond for each what it has.
const A_PEER: Duration = Duration::from_millis(2);
/// The same of what is critical, of which each tells at once, over 50 µs a peer: what many sockets and one processor take besides.
const A_PEER_CRITICAL: Duration = Duration::from_micros(500);
/// The longest pause of what is critical, and up to which what is low is told again: a heartbeat's interval.
const LAST: Duration = Duration::from_secs(5);
/// The longest pause of all else: whoever does not show it by then is of another version, lies, or has said so long ago.
const LAST_LATER: Duration = Duration::from_secs(300);

/// What is told again, and when.
#[derive(Debug, Default)]
pub(super) struct Retry {
    due: BTreeMap<AlertId, Due>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    pause: Duration,
    priority: Priority,
}

impl Retry {
    /// An alert is told again, if somebody has not shown it by then.
    pub(super) fn watch(&mut self, now: Instant, alert: AlertId, priority: Priority, peers: usize) {
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        let pause = match priority {
            Priority::Critical => FIRST + A_PEER_CRITICAL.saturating_mul(peers),
            Priority::Low | Priority::Normal | Priority::High => FIRST_LATER.max(A_PEER.saturating_mul(peers)),
        };
        let pause = pause.min(LAST);
        if self.due.contains_key(&alert) {
            return;
        }
        if self.due.len() >= MAX_RETRIED {
            // Of the least urgent the one that was told most often, so that it waits longest for its next turn anyway.
            let least = self.due.iter().min_by_key(|(_, due)| (due.priority, Reverse(due.pause)));
            let Some(victim) = least.filter(|(_, due)| due.priority < priority).map(|(alert, _)| *alert) else {
                return;
            };
            self.due.remove(&victim);
        }
        self.due.insert(alert, Due { at: now + pause, pause, priority });
    }

    /// What is due; each is to be answered by [`Retry::go_on`].
    pub(super) fn due(&self, now: Instant) -> Vec<AlertId> {
        self.due.iter().filter(|(_, due)| now >= due.at).map(|(alert, _)| *alert).collect()
    }

    /// It goes on while somebody has not shown it; what is low is left to the roots once pauses grow no more.
    pub(super) fn go_on(&mut self, now: Instant, alert: AlertId, is_missed: bool) {
        let goes_on = |due: &&mut Due| is_missed && (due.priority > Priority::Low || due.pause < LAST);
        match self.due.get_mut(&alert).filter(goes_on) {
            Some(due) => {
                let last = if due.priority == Priority::Critical { LAST } else { LAST_LATER };
                due.pause = (due.pause * 2).min(last);
                due.at = now + due.pause;
            }
            None => _ = self.due.remove(&alert),
        }
    }

    pub(super) fn forget(&mut self, alert: &AlertId) {
        self.due.remove(alert);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.values().map(|due| due.at).min()
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
        retry.watch(now, alert, Priority::Critical, 0);
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
    fn one_too_many_displaces_the_least_urgent_and_never_one_as_urgent() {
        let mut retry = Retry::default();
        let holds = |retry: &Retry, alert| retry.due.contains_key(&AlertId(alert));
        for n in 0..MAX_RETRIED as u64 {
            let priority = if n == 7 { Priority::Normal } else { Priority::High };
            retry.watch(Instant::ZERO, AlertId(n), priority, 9);
        }
        retry.go_on(Instant::ZERO, AlertId(9), true);
        for (alert, priority, is_watched, victim) in [
            (5_000, Priority::Normal, false, None),
            (5_001, Priority::High, true, Some(7)),
            (5_002, Priority::High, false, None),
            (5_003, Priority::Critical, true, Some(9)),
        ] {
            retry.watch(Instant::ZERO, AlertId(alert), priority, 9);
            assert_eq!(holds(&retry, alert), is_watched, "{alert}");
            assert!(victim.is_none_or(|victim| !holds(&retry, victim)), "{alert}");
            assert_eq!(retry.len(), MAX_RETRIED, "{alert}");
        }
    }

    #[test]
    fn whoever_never_shows_what_is_not_critical_is_told_it_ever_more_rarely() {
        let mut retry = Retry::default();
        let (alert, mut now) = (AlertId(1), Instant::ZERO);
        retry.watch(now, alert, Priority::High, 1);
        let mut pauses = Vec::new();
        for _ in 0..13 {
            let due = retry.next_deadline().expect("it is missed");
            pauses.push(due.since(now).as_millis());
            now = due;
            retry.go_on(now, alert, true);
        }
        assert_eq!(pauses[..3], [240, 480, 960]);
        assert_eq!(pauses[10..], [245_760, 300_000, 300_000]);
    }

    /// Of one in fourteen pieces nearly every hop loses some: left to roots and digests from the start it was hardly past the fourth of six
    /// hops after ten seconds, and each question of each who lacked it was answered with all of it.
    #[test]
    fn what_is_low_is_told_again_six_times_and_then_left_to_the_roots() {
        let mut retry = Retry::default();
        let (alert, mut now) = (AlertId(1), Instant::ZERO);
        retry.watch(now, alert, Priority::Low, 120);
        for pause in [240, 480, 960, 1_920, 3_840, 7_680] {
            now = now + Duration::from_millis(pause);
            assert_eq!(retry.next_deadline(), Some(now), "after a pause of {pause} ms");
            retry.go_on(now, alert, true);
        }
        assert_eq!(retry.len(), 0);
    }

    #[test]
    fn where_many_are_it_is_waited_until_all_could_have_told_that_they_have_it() {
        for (peers, priority, pause) in [
            (120, Priority::Normal, 240),
            (500, Priority::Normal, 1_000),
            (4_000, Priority::High, 5_000),
            (30, Priority::Critical, 75),
            (1_000, Priority::Critical, 560),
            (4_000, Priority::Critical, 2_060),
        ] {
            let mut retry = Retry::default();
            retry.watch(Instant::ZERO, AlertId(1), priority, peers);
            assert_eq!(retry.next_deadline(), Some(Instant::ZERO + Duration::from_millis(pause)), "{peers}");
        }
    }
}

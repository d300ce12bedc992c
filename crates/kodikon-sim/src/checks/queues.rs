//! Decides whether what flows holds up nobody: critical letters, heartbeats, and each priority of each writer.

use core::time::Duration;
use std::collections::BTreeMap;

use kodikon_core::ground::id::NodeId;
use kodikon_core::model::letter::Priority;

use crate::checks::{Check, Watch};
use crate::moment::Moment;

/// Who writes to whom.
type Pair = (usize, NodeId);

/// What is open between writers and those they write to, and when each was served.
#[derive(Debug, Default)]
pub struct Queues {
    urgent_within: Option<Duration>,
    served_within: Option<Duration>,
    lines: BTreeMap<(Pair, Priority), Line>,
}

/// What one writes to one other at one priority.
#[derive(Debug)]
struct Line {
    open: usize,
    /// When one of them was given last, or since when any is open.
    served: Moment,
}

impl Queues {
    /// Sets what the scenario promises: milliseconds for critical letters and seconds until each priority is served; 0 of
    /// either: nothing.
    pub fn promise(&mut self, critical_within_ms: f64, served_within_s: f64) {
        let promised = |seconds: f64| (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
        self.urgent_within = promised(critical_within_ms / 1e3);
        self.served_within = promised(served_within_s);
    }

    pub(super) fn urgent_within(&self) -> Option<Duration> {
        self.urgent_within
    }

    pub(super) fn written(&mut self, now: Moment, pair: Pair, priority: Priority) {
        let line = self.lines.entry((pair, priority)).or_insert(Line { open: 0, served: now });
        line.open += 1;
    }

    pub(super) fn given(&mut self, now: Moment, pair: Pair, priority: Priority) {
        if let Some(line) = self.lines.get_mut(&(pair, priority)) {
            line.served = now;
        }
    }

    pub(super) fn settled(&mut self, pair: Pair, priority: Priority) {
        let Some(line) = self.lines.get_mut(&(pair, priority)) else { return };
        line.open = line.open.saturating_sub(1);
        if line.open == 0 {
            self.lines.remove(&(pair, priority));
        }
    }

    /// A process ended or said goodbye: nothing of it is open.
    pub(super) fn released(&mut self, node: usize) {
        self.lines.retain(|((by, _), _), _| *by != node);
    }
}

impl Watch {
    /// Looks for writers who are held up.
    pub(super) fn check_served(&mut self, now: Moment) {
        let Some(within) = self.queues.served_within else { return };
        for (((by, to), priority), line) in &self.queues.lines {
            let holder = self.truth.holder(to).filter(|holder| holder != by);
            let is_sound = holder.is_some_and(|to| self.truth.steady_links(now, &[*by]).contains_key(&to));
            let held_up = now.since(line.served);
            self.tally.check(now, Check::ClassServed, !is_sound || held_up <= within, || {
                let Line { open, .. } = line;
                format!("none of {open} letters of node {by} to {to:?}, {priority:?}, is given since {held_up:?}")
            });
        }
    }

    /// Where urgent things are promised their time, heartbeats are, too.
    pub(super) fn check_suspicion(&mut self, now: Moment, node: usize, peer: &NodeId) {
        if self.queues.urgent_within.is_none() {
            return;
        }
        let holder = self.truth.holder(peer);
        let is_sound = holder.is_some_and(|holder| self.truth.steady_links(now, &[node]).contains_key(&holder));
        self.tally.check(now, Check::BeatsHeard, !is_sound, || format!("node {node} suspects {peer:?}, who is sound"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{line, second};
    use crate::workload::letters::payload;
    use kodikon_core::effect::{Event, SendOrder};
    use kodikon_core::model::letter::{Outcome, Ticket};

    use crate::cluster::Observer as _;

    fn broken(watch: &Watch) -> Vec<&'static str> {
        watch.tally.violations().iter().map(|violation| violation.check.name()).collect()
    }

    fn order(to: NodeId, number: u64, priority: Priority) -> SendOrder {
        let (kind, payload) = ("track".to_owned(), payload(number, 100));
        SendOrder { ticket: Ticket(number), to, kind, payload, priority, timeout: Some(Duration::from_secs(60)) }
    }

    fn given(from: NodeId, number: u64, priority: Priority) -> Event {
        let (kind, payload) = ("track".to_owned(), payload(number, 100));
        Event::Message { from, name: String::new(), kind, payload, priority, path: Vec::new() }
    }

    #[test]
    fn a_critical_letter_is_late_beyond_its_time_and_only_where_that_is_promised() {
        for (promised_ms, priority, after_s, expected) in [
            (2_000.0, Priority::Critical, 2, &[][..]),
            (2_000.0, Priority::Critical, 3, &["letter_urgent"]),
            (2_000.0, Priority::High, 3, &[]),
            (0.0, Priority::Critical, 3, &[]),
        ] {
            let (mut watch, id) = line();
            watch.queues.promise(promised_ms, 0.0);
            watch.ordered(second(1_000), 0, &order(id(4), 7, priority));
            watch.event(second(1_000 + after_s), 4, &given(id(0), 7, priority));
            assert_eq!(broken(&watch), expected, "{promised_ms} ms, {priority:?} after {after_s} s");
        }
    }

    #[test]
    fn a_writer_is_held_up_when_none_of_its_open_letters_is_given_for_too_long() {
        let (mut watch, id) = line();
        watch.queues.promise(0.0, 3.0);
        watch.ordered(second(1_000), 0, &order(id(4), 7, Priority::Low));
        watch.ordered(second(1_000), 0, &order(id(4), 8, Priority::Low));
        watch.ordered(second(1_000), 0, &order(id(4), 9, Priority::High));
        watch.event(second(1_002), 4, &given(id(0), 7, Priority::Low));
        let delivered = Outcome::Delivered { rtt: Duration::from_millis(1), path: vec![id(4)], attempts: 1 };
        watch.event(second(1_002), 4, &given(id(0), 9, Priority::High));
        watch.event(second(1_002), 0, &Event::Settled { ticket: Ticket(9), to: id(4), outcome: delivered });
        for (at, expected) in [(1_005, &[][..]), (1_006, &["class_served"])] {
            watch.check_served(second(at));
            assert_eq!(broken(&watch), expected, "at {at} s");
        }
        watch.queues.released(0);
        watch.check_served(second(1_020));
        assert_eq!(broken(&watch).len(), 1, "the dead are owed nothing");
    }

    #[test]
    fn a_suspicion_of_whoever_is_sound_counts_where_urgent_things_have_their_time() {
        for (promised_ms, expected) in [(0.0, &[][..]), (100.0, &["beats_heard"])] {
            let (mut watch, id) = line();
            watch.queues.promise(promised_ms, 0.0);
            watch.check_suspicion(second(1_000), 0, &id(1));
            watch.check_suspicion(second(1_000), 0, &NodeId([9; 16]));
            assert_eq!(broken(&watch), expected, "{promised_ms} ms");
        }
    }
}

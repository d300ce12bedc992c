//! Decides how many alerts of one author are taken: as many as an honest one can have told, and no more, however they come.

use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::log::room::ALERTS;
use crate::model::alert::{ALERT_BURST, ALERT_RATE, CRITICAL_BURST, CRITICAL_RATE};
use crate::model::letter::Priority;
use crate::model::logged::LogBody;

/// An alert as young as this was told just now, and by this much one may be late: a pause, a disk, a repair or two.
const FRESH_S: u32 = 10;
/// So much more the sender's clock may say than ours.
const SLACK_S: u32 = 5;

/// What each author may still tell.
#[derive(Debug)]
pub(super) struct Rates(RecentMap<NodeId, Allowance>);

/// What is young is held to the rate at which an author may raise it, with what that may have raised while nothing came through.
/// What is older may be anything that it has active, as a latecomer pulls it at once; but never more in all than that and the rates
/// since. So an honest author is never refused anything, and one that tells younger alerts as older gains what it may have active, once.
#[derive(Debug)]
struct Allowance {
    fresh: TokenBucket,
    critical: TokenBucket,
    all: TokenBucket,
}

impl Allowance {
    fn new() -> Self {
        let late = |rate: u32, burst: u32| TokenBucket::new(rate, burst + rate * (FRESH_S + SLACK_S));
        // The room for one author's active alerts is a small number.
        let active = u32::try_from(ALERTS.ops).unwrap_or(u32::MAX);
        Self {
            fresh: late(ALERT_RATE, ALERT_BURST),
            critical: late(CRITICAL_RATE, CRITICAL_BURST),
            all: late(ALERT_RATE + CRITICAL_RATE, active + ALERT_BURST + CRITICAL_BURST),
        }
    }

    fn of_age(&mut self, body: &LogBody, (age_ms, rested): Age) -> Option<&mut TokenBucket> {
        let is_fresh = !rested && Duration::from_millis(age_ms) <= Duration::from_secs(u64::from(FRESH_S));
        let is_critical = body.priority() == Priority::Critical;
        is_fresh.then_some(if is_critical { &mut self.critical } else { &mut self.fresh })
    }
}

/// How old an op is said to be, in milliseconds, and whether it may be older.
type Age = (u64, bool);

impl Rates {
    pub(super) fn new() -> Self {
        Self(RecentMap::new(MAX_PEERS))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether an author may have told one more.
    pub(super) fn has_room(&mut self, now: Instant, author: &NodeId, body: &LogBody, age: Age) -> bool {
        let Some(allowance) = self.0.get_mut(author).filter(|_| is_alert(body)) else { return true };
        allowance.all.has(now, 1) && allowance.of_age(body, age).is_none_or(|bucket| bucket.has(now, 1))
    }

    /// An author did tell one more.
    pub(super) fn charge(&mut self, now: Instant, author: &NodeId, body: &LogBody, age: Age) {
        if !is_alert(body) {
            return;
        }
        if self.0.get(author).is_none() {
            self.0.insert(*author, Allowance::new());
        }
        if let Some(allowance) = self.0.get_mut(author) {
            allowance.all.drain(now, 1);
            allowance.of_age(body, age).into_iter().for_each(|bucket| bucket.drain(now, 1));
        }
    }
}

/// Whether it counts as one: an alert, or that somebody has seen one.
fn is_alert(body: &LogBody) -> bool {
    match body {
        LogBody::Alert(_) | LogBody::Ack(_) => true,
        LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::AlertBody;

    const AUTHOR: NodeId = NodeId([1; 16]);

    fn alert(priority: Priority) -> LogBody {
        let priority = priority as u8;
        LogBody::Alert(AlertBody { priority, ttl_ms: 1_000, source: String::new(), payload: Vec::new() })
    }

    /// How many of so many are taken.
    fn taken(rates: &mut Rates, now: Instant, (priority, age): (Priority, Age), count: u32) -> u32 {
        let body = alert(priority);
        let mut taken = 0;
        for _ in 0..count {
            if rates.has_room(now, &AUTHOR, &body, age) {
                rates.charge(now, &AUTHOR, &body, age);
                taken += 1;
            }
        }
        taken
    }

    fn at(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(1_000 + second)
    }

    #[test]
    fn who_tells_more_than_it_may_is_held_to_its_rate_and_critical_ones_have_their_own() {
        let mut rates = Rates::new();
        let (normal, critical) = ((Priority::High, (0, false)), (Priority::Critical, (0, false)));
        assert_eq!(taken(&mut rates, at(0), normal, 1_000), 100 + 15 * 20);
        assert_eq!(taken(&mut rates, at(0), critical, 1_000), 50 + 15 * 10);
        assert_eq!(taken(&mut rates, at(10), normal, 1_000), 200);
        assert_eq!(taken(&mut rates, at(10), critical, 1_000), 100);
    }

    #[test]
    fn all_that_one_may_have_active_is_taken_at_once_and_lies_about_ages_gain_nothing_beyond() {
        let mut rates = Rates::new();
        for old in [(10_001, false), (0, true)] {
            let most = u32::try_from(ALERTS.ops).unwrap() + 150 + 15 * 30;
            assert_eq!(taken(&mut rates, at(0), (Priority::Low, old), 10_000), most, "{old:?}");
            assert_eq!(taken(&mut rates, at(10), (Priority::Low, old), 10_000), 300, "{old:?}");
            rates = Rates::new();
        }
    }

    #[test]
    fn whoever_raises_what_it_may_is_refused_nothing_though_all_of_ten_seconds_comes_at_once() {
        let mut rates = Rates::new();
        // A burst and ten seconds of the rate, held back, then the rate for ever; its history is pulled in between.
        for (priority, burst, rate) in [(Priority::Normal, 100, 20), (Priority::Critical, 50, 10)] {
            assert_eq!(taken(&mut rates, at(0), (priority, (9_000, false)), burst + 10 * rate), burst + 10 * rate);
        }
        assert_eq!(taken(&mut rates, at(1), (Priority::Normal, (60_000, false)), 3_600), 3_600);
        for second in 1..600 {
            for (priority, rate) in [(Priority::Normal, 20), (Priority::Critical, 10)] {
                let told = (priority, (0, false));
                assert_eq!(taken(&mut rates, at(second), told, rate), rate, "{priority:?} in second {second}");
            }
        }
    }
}

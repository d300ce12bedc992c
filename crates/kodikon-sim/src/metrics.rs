//! Decides what is measured in a run: how long things took, in milliseconds of virtual time, and what was sent.

use std::collections::BTreeMap;

use kodikon_core::ground::id::NodeId;
use serde_json::{Map, Value, json};

use crate::cluster::Death;
use crate::moment::Moment;

/// Samples kept of one measure; a long run's first ones are as good as its last.
const KEPT: usize = 100_000;

/// Many values of one measure.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, value: f64) {
        if self.0.len() < KEPT {
            self.0.push(value);
        }
    }

    /// The value that this share of all do not exceed.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among at most 100,000"
    )]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    fn to_json(&self) -> Value {
        let shown = |share| self.quantile(share).map(|value| (value * 1000.0).round() / 1000.0);
        json!({"n": self.0.len(), "p50": shown(0.5), "p99": shown(0.99), "max": shown(1.0)})
    }
}

/// What is measured in a run.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: BTreeMap<&'static str, Samples>,
    values: BTreeMap<&'static str, f64>,
    last_boot: Option<Moment>,
    healed: Option<Moment>,
    deaths: BTreeMap<NodeId, Dying>,
    changes: u64,
}

#[derive(Debug)]
struct Dying {
    at: Moment,
    death: Death,
    suspected: bool,
}

/// Deaths whose consequences are waited for; the oldest are forgotten.
const DEATHS: usize = 4_096;

impl Metrics {
    /// Adds a sample.
    pub fn sample(&mut self, name: &'static str, value: f64) {
        self.samples.entry(name).or_default().add(value);
    }

    /// Sets a value.
    pub fn set(&mut self, name: &'static str, value: f64) {
        self.values.insert(name, value);
    }

    /// Something happened once more.
    pub fn count(&mut self, name: &'static str) {
        *self.values.entry(name).or_default() += 1.0;
    }

    /// A process began.
    pub fn booted(&mut self, now: Moment) {
        self.last_boot = Some(now);
    }

    /// The network is whole again.
    pub fn healed(&mut self, now: Moment) {
        self.healed = Some(now);
    }

    /// Every live node shows every other.
    pub fn completed(&mut self, now: Moment) {
        if let Some(since) = self.last_boot.take() {
            // The last one of a cold start is its time to full roster; of a late joiner, its time until all know it.
            self.sample("joined_ms", millis(now, since));
            self.set("full_roster_ms", millis(now, since));
        }
        if let Some(since) = self.healed.take() {
            self.sample("heal_ms", millis(now, since));
        }
    }

    /// A process ended, or said goodbye.
    pub fn died(&mut self, now: Moment, peer: NodeId, death: Death, left: bool) {
        if left || self.deaths.len() >= DEATHS {
            return;
        }
        self.deaths.insert(peer, Dying { at: now, death, suspected: false });
    }

    /// A node said goodbye.
    pub fn leaves(&mut self, now: Moment, peer: NodeId) {
        self.deaths.insert(peer, Dying { at: now, death: Death::Crash, suspected: true });
    }

    /// Somebody suspects a node.
    pub fn suspected(&mut self, now: Moment, peer: &NodeId) {
        let Some(dying) = self.deaths.get_mut(peer).filter(|dying| !dying.suspected) else { return };
        dying.suspected = true;
        let span = millis(now, dying.at);
        self.sample("suspect_first_ms", span);
    }

    /// Somebody calls a node failed.
    pub fn failed(&mut self, now: Moment, peer: &NodeId) {
        let Some(dying) = self.deaths.get(peer) else { return };
        let (span, death) = (millis(now, dying.at), dying.death);
        self.sample(if death == Death::Crash { "crash_failed_ms" } else { "silent_failed_ms" }, span);
    }

    /// Somebody learns that a node left.
    pub fn left(&mut self, now: Moment, peer: &NodeId) {
        let Some(dying) = self.deaths.get(peer) else { return };
        let span = millis(now, dying.at);
        self.sample("left_ms", span);
    }

    /// A node's state changed.
    pub fn published(&mut self, _node: usize) {
        self.changes += 1;
    }

    /// All of it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.extend(self.samples.iter().map(|(name, samples)| ((*name).to_owned(), samples.to_json())));
        all.extend(
            self.values.iter().map(|(name, value)| ((*name).to_owned(), json!((value * 1000.0).round() / 1000.0))),
        );
        all.insert("state_changes".to_owned(), json!(self.changes));
        Value::Object(all)
    }
}

/// Milliseconds between two moments.
#[expect(clippy::cast_precision_loss, reason = "hours in nanoseconds fit in 53 bits")]
pub(crate) fn millis(now: Moment, since: Moment) -> f64 {
    crate::moment::nanos(now.since(since)) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantile(0.5), None);
        (1..=100).for_each(|n| samples.add(f64::from(n)));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| samples.quantile(share)), [1.0, 50.0, 99.0, 100.0].map(Some));
    }
}

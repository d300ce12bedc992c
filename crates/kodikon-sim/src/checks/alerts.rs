//! Decides whether alerts are what they promise: shown once, by everyone, as they were raised; and nobody claims what is not so.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::Event;
use kodikon_core::effect::log::Batch;
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::alert::{AlertId, AlertOrder, AlertView, Raised};
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::model::op::OpId;

use crate::checks::letters::Party;
use crate::checks::{Check, Watch, reach};
use crate::cluster::Cluster;
use crate::metrics::millis;
use crate::moment::Moment;
use crate::trace::digest;
use crate::workload::letters::number_of;

/// An alert whose time ends within this may be over at one node and not yet at another: the drift of their clocks in an hour, and
/// the turn of a timer.
const END_MARGIN: Duration = Duration::from_secs(10);

/// By then an alert is with all who have a sound way: whoever told it tells it again 0.24, 0.7, 1.7, 3.6 and 7.4 s later to those who have
/// not shown it, and a disk may take a second before.
const WITHIN: Duration = Duration::from_secs(10);

/// All alerts of a run.
#[derive(Debug)]
pub struct Alerts {
    /// By number, as they were ordered.
    all: BTreeMap<u64, Alert>,
    /// The number of each alert that anybody was told of by name.
    numbers: BTreeMap<AlertId, u64>,
    /// By identity and number: which process showed it last, of which node.
    shown: BTreeMap<(NodeId, u64), (usize, u32)>,
    /// By identity and number, in any of its processes.
    had: BTreeSet<(NodeId, AlertId)>,
    /// What is, or was, on whose disk.
    kept: BTreeSet<(NodeId, AlertId)>,
    /// What each op that was ever written says.
    words: BTreeMap<OpId, u64>,
    /// The process of each node.
    runs: Vec<u32>,
    /// When it is looked whether one is with all who could have it.
    due: BTreeSet<(Moment, u64)>,
}

#[derive(Debug)]
struct Alert {
    said: Party,
    /// Those who lived when it was raised.
    bearers: Vec<Party>,
    by: NodeId,
    node: usize,
    at: Moment,
    ttl: Duration,
    priority: Priority,
    text: u64,
    id: Option<AlertId>,
}

/// An alert as a node shows it to its application.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) alert: AlertId,
    pub(super) from: NodeId,
    pub(super) priority: Priority,
    pub(super) payload: &'a [u8],
    pub(super) repeated: bool,
}

impl Alerts {
    /// No alerts yet, of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            numbers: BTreeMap::new(),
            shown: BTreeMap::new(),
            had: BTreeSet::new(),
            kept: BTreeSet::new(),
            words: BTreeMap::new(),
            runs: vec![0; nodes],
            due: BTreeSet::new(),
        }
    }

    /// Whether an alert has just ended or is about to.
    pub(super) fn is_ending(&self, now: Moment) -> bool {
        let is_near =
            |alert: &Alert| now.since(alert.at + alert.ttl) < END_MARGIN && alert.at + alert.ttl < now + END_MARGIN;
        self.all.values().any(is_near)
    }

    /// Whether an alert goes on for a while.
    fn is_lasting(&self, now: Moment, id: &AlertId) -> bool {
        let alert = self.numbers.get(id).and_then(|number| self.all.get(number));
        alert.is_some_and(|alert| now.since(alert.at) + END_MARGIN < alert.ttl)
    }

    /// A process began.
    pub(super) fn booted(&mut self, node: usize) {
        self.runs[node] += 1;
    }
}

impl Watch {
    fn was_rolled_back(&self, id: &NodeId) -> bool {
        self.truth.person(id).is_some_and(|person| person.rolled_back)
    }

    /// A node goes by another identity in the same process: what it has shown and kept it still has.
    pub(super) fn carry_alerts(&mut self, before: NodeId, after: NodeId) {
        for held in [&mut self.alerts.had, &mut self.alerts.kept] {
            let carried: Vec<AlertId> = held.iter().filter(|(id, _)| *id == before).map(|(_, alert)| *alert).collect();
            held.extend(carried.into_iter().map(|alert| (after, alert)));
        }
    }

    /// A node's application wants an alert raised.
    pub(super) fn order_alert(&mut self, now: Moment, node: usize, order: &AlertOrder) {
        let AlertOrder { ticket: Ticket(number), payload, priority, ttl } = order;
        let (by, text) = (self.truth.nodes[node].id, digest(payload));
        let bearers: Vec<Party> = self.truth.live().map(|other| self.party(other)).collect();
        let said = self.party(node);
        let alert = Alert { said, bearers, by, node, at: now, ttl: *ttl, priority: *priority, text, id: None };
        if *ttl > WITHIN + END_MARGIN {
            self.alerts.due.insert((now + WITHIN, *number));
        }
        self.metrics.count("alerts_ordered");
        self.alerts.all.insert(*number, alert);
    }

    /// Looks whether alerts are with all who could have them: all who lived, since long, and were joined with its author by sound nodes
    /// and links from long before it was raised until now.
    pub(super) fn check_alerts(&mut self, now: Moment) {
        while let Some(&(at, number)) = self.alerts.due.first().filter(|(at, _)| *at <= now) {
            self.alerts.due.remove(&(at, number));
            let alert = &self.alerts.all[&number];
            let Some(id) = alert.id.filter(|_| self.letters.all_fit && self.lasts(alert.said, alert.at)) else {
                continue;
            };
            let due = self.sound_bearers((alert.said, alert.at), &alert.bearers, |_| true);
            let lacking: Vec<usize> =
                due.filter(|bearer| !self.alerts.had.contains(&(bearer.id, id))).map(|bearer| bearer.node).collect();
            self.tally.check(now, Check::AlertReliable, lacking.is_empty(), || {
                format!("{id:?} of node {}, {:?}: nodes {lacking:?} have not shown it", alert.node, alert.priority)
            });
        }
    }

    /// A node tells its application something of alerts.
    pub(super) fn hear_of_alert(&mut self, now: Moment, node: usize, event: &Event) {
        if let Event::Alert { alert, from, priority, payload, repeated, .. } = event {
            let (alert, from, priority, repeated) = (*alert, *from, *priority, *repeated);
            self.show(now, node, &Shown { alert, from, priority, payload, repeated });
        } else if let Event::Raised { ticket, outcome: Raised::Done { alert, durable } } = event {
            self.raised(now, node, *ticket, (*alert, *durable));
        } else if let Event::Receipt { alert, node: receiver, durable, .. } = event {
            let hostile = self.truth.is_hostile(receiver);
            let holders = if *durable { &self.alerts.kept } else { &self.alerts.had };
            let is_so = holders.contains(&(*receiver, *alert)) || hostile;
            self.tally.check(now, Check::AlertReceipt, is_so, || {
                format!("node {node} is told that {receiver:?} has {alert:?}, durable {durable}, and it has not")
            });
        }
    }

    fn show(&mut self, now: Moment, node: usize, shown: &Shown<'_>) {
        if self.truth.is_hostile(&shown.from) {
            return;
        }
        let number = number_of(shown.payload);
        let found = number.and_then(|number| Some((number, self.alerts.all.get(&number)?)));
        let is_true = found.is_some_and(|(_, alert)| {
            (alert.by, alert.priority, alert.text) == (shown.from, shown.priority, digest(shown.payload))
        });
        self.tally.check(now, Check::AlertTrue, is_true, || {
            let (alert, from) = (shown.alert, shown.from);
            format!("node {node} shows {alert:?} ({number:?}) of {from:?}, and nobody raised it so")
        });
        let Some((number, alert)) = found else { return };
        self.metrics.sample(if shown.repeated { "alert_again_ms" } else { "alert_shown_ms" }, millis(now, alert.at));
        self.alerts.numbers.insert(shown.alert, number);
        let own = self.truth.nodes[node].id;
        self.alerts.had.insert((own, shown.alert));
        let run = (node, self.alerts.runs[node]);
        let before = self.alerts.shown.insert((own, number), run);
        // Whoever runs on a copy or an old state of a disk does not know what it has shown since.
        let knows = !self.was_rolled_back(&own);
        let is_right = before.is_none_or(|before| before != run && (shown.repeated || !knows));
        self.tally.check(now, Check::AlertOnce, is_right, || {
            format!(
                "node {node} shows alert {number} in its run {run:?}, as in {before:?}, repeated {}",
                shown.repeated
            )
        });
    }

    fn raised(&mut self, now: Moment, node: usize, ticket: Ticket, (alert, durable): (AlertId, bool)) {
        let own = self.truth.nodes[node].id;
        if let Some(ordered) = self.alerts.all.get_mut(&ticket.0).filter(|ordered| ordered.node == node) {
            ordered.id = Some(alert);
            self.alerts.numbers.insert(alert, ticket.0);
            self.alerts.had.insert((own, alert));
            let is_kept = self.alerts.kept.contains(&(own, alert));
            self.tally.check(now, Check::AlertReceipt, !durable || is_kept, || {
                format!("node {node} says of {alert:?} that it is on its disk, and it is not")
            });
        }
    }

    /// A node asks for ops to be written.
    pub(super) fn write_ops(&mut self, now: Moment, node: usize, batch: &Batch) {
        for row in &batch.rows {
            let (id, words) = (OpId::of(&row.op), digest(row.op.body()));
            let known = *self.alerts.words.entry(id).or_insert(words);
            self.tally.check(now, Check::AlertNumber, known == words, || {
                format!("node {node} writes two ops of one number: {id:?}")
            });
        }
    }

    /// Ops are on a node's disk.
    pub(super) fn keep_ops(&mut self, node: usize, kept: &[OpId]) {
        let own = self.truth.nodes[node].id;
        self.alerts.kept.extend(kept.iter().map(|id| (own, AlertId::of(id))));
    }
}

/// The active alerts that each node shows.
type Views = BTreeMap<usize, BTreeMap<AlertId, AlertView>>;

/// Checks that those of a component show the same alerts, and all that is active; and that they know who has them.
pub(super) fn check_calm(cluster: &mut Cluster<Watch>, component: &[usize]) {
    let now = cluster.now;
    let mut views = Views::new();
    for &node in component.iter().filter(|&&node| reach::is_live(cluster, node)) {
        let Some(process) = &cluster.nodes[node].process else { continue };
        let shown = process.endpoint.alerts(process.clock.local(now));
        views.insert(node, shown.into_iter().map(|view| (view.id, view)).collect());
    }
    let watch = &mut cluster.observer;
    let all: BTreeSet<AlertId> = views.values().flat_map(|shown| shown.keys().copied()).collect();
    for id in all.into_iter().filter(|id| watch.alerts.is_lasting(now, id)) {
        for (&node, shown) in &views {
            let own = watch.truth.nodes[node].id;
            let has = shown.get(&id).is_some_and(|view| view.source == own || watch.alerts.had.contains(&(own, id)));
            watch.tally.check(now, Check::CalmAlerts, has, || {
                format!("node {node} has not shown {id:?}, which others show as active")
            });
        }
    }
    // What was on its author's disk is there still, if that disk is.
    for alert in watch.alerts.all.values() {
        let Some((id, shown)) = alert.id.zip(views.get(&alert.node)) else { continue };
        let is_its = watch.truth.nodes[alert.node].id == alert.by && !watch.was_rolled_back(&alert.by);
        if is_its && watch.alerts.is_lasting(now, &id) && watch.alerts.kept.contains(&(alert.by, id)) {
            watch.tally.check(now, Check::CalmAlerts, shown.contains_key(&id), || {
                format!("node {} has lost its own {id:?}, which was on its disk", alert.node)
            });
        }
    }
    check_receipts(watch, now, &views);
}

/// Checks that everyone knows who has shown an alert, and who has it on disk.
fn check_receipts(watch: &mut Watch, now: Moment, views: &Views) {
    let Watch { alerts, truth, tally, .. } = watch;
    for (&node, shown) in views {
        for (id, view) in shown.iter().filter(|(id, _)| alerts.is_lasting(now, id)) {
            for (&holder, others) in views {
                let own = truth.nodes[holder].id;
                let Some(held) = others.get(id).filter(|_| own != view.source && alerts.had.contains(&(own, *id)))
                else {
                    continue;
                };
                tally.check(now, Check::CalmReceipts, view.delivered.contains(&own), || {
                    format!("node {node} shows {id:?} of {:?} as not shown by node {holder}", view.source)
                });
                if held.kept && alerts.kept.contains(&(own, *id)) {
                    tally.check(now, Check::CalmReceipts, view.durable.contains(&own), || {
                        format!("node {node} shows {id:?} of {:?} as not on the disk of node {holder}", view.source)
                    });
                }
            }
        }
    }
}

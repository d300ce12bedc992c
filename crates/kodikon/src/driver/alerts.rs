//! Decides who is told what became of an alert: whoever raised it, for as long as anybody listens.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kodikon_core::effect::Event as CoreEvent;
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::alert::{AlertId, AlertView, Holders, Raised};
use kodikon_core::model::letter::Ticket;
use kodikon_core::node::Node;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::api::{AckRow, AlertReport, AlertRow, MissingRow};
use crate::mesh::{ALERTS_FOLLOWED, Receipt, View};

/// Where it is told who has an alert.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// Each receipt as it comes.
    pub(crate) each: mpsc::UnboundedSender<Receipt>,
    /// Who had it when it ended: from then on the loop knows nothing of it.
    pub(crate) last: Arc<OnceLock<AlertReport>>,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Orders that the core has not answered.
    orders: BTreeMap<Ticket, (oneshot::Sender<Raised>, Option<Receipts>)>,
    alerts: BTreeMap<AlertId, Receipts>,
}

impl Followed {
    /// Notes who waits for what becomes of an order; gives it back where too many wait.
    pub(crate) fn order(
        &mut self,
        ticket: Ticket,
        answer: oneshot::Sender<Raised>,
        receipts: Option<Receipts>,
    ) -> Result<(), oneshot::Sender<Raised>> {
        self.alerts.retain(|_, receipts| !receipts.each.is_closed());
        if self.orders.len() + self.alerts.len() >= ALERTS_FOLLOWED {
            return Err(answer);
        }
        self.orders.insert(ticket, (answer, receipts));
        Ok(())
    }

    /// Takes in what the core says to those who wait; whether it was for them alone.
    pub(crate) fn hear(&mut self, now: impl Fn() -> Instant, event: &CoreEvent, node: &Node, view: &View) -> bool {
        if let CoreEvent::Raised { ticket, outcome } = event {
            if let Some((answer, receipts)) = self.orders.remove(ticket) {
                if let (Raised::Done { alert, .. }, Some(receipts)) = (outcome, receipts) {
                    self.alerts.insert(*alert, receipts);
                }
                // An error means that nobody waits any more; the alert is on its way all the same.
                drop(answer.send(outcome.clone()));
            }
            return true;
        }
        if let CoreEvent::Receipt { alert, node, name, durable } = event {
            let called = view.peers.iter().find(|peer| peer.id == *node).map(|peer| peer.name.clone());
            let receipt = Receipt { node_id: called.unwrap_or_else(|| name.clone()), durable: *durable };
            if self.alerts.get(alert).is_some_and(|receipts| receipts.each.send(receipt).is_err()) {
                self.alerts.remove(alert);
            }
            return true;
        }
        if let CoreEvent::AlertOver { alert, last } = event {
            if let Some(receipts) = self.alerts.remove(alert) {
                // It ends once.
                _ = receipts.last.set(report(*alert, last, namer(now(), node, view)));
            }
            return true;
        }
        false
    }
}

/// All active alerts, with names in place of identities.
pub(crate) fn rows(now: Instant, wall: f64, node: &Node, view: &View) -> Vec<AlertRow> {
    let name = namer(now, node, view);
    node.alerts(now).iter().map(|alert| row(alert, wall, &name)).collect()
}

/// One of them, if it is active.
pub(crate) fn row_of(now: Instant, wall: f64, alert: AlertId, node: &Node, view: &View) -> Option<AlertRow> {
    node.alert(now, alert).map(|alert| row(&alert, wall, namer(now, node, view)))
}

/// What nodes are called, the departed included.
fn namer<'a>(now: Instant, node: &'a Node, view: &'a View) -> impl Fn(&NodeId) -> String + use<'a> {
    // An alert of a large mesh names all its nodes, and the directory has up to 4,096 entries: it is copied for those alone that
    // are no peers any more.
    let shown: BTreeMap<NodeId, &str> = view.peers.iter().map(|peer| (peer.id, peer.name.as_str())).collect();
    let departed = OnceCell::new();
    move |id: &NodeId| {
        if *id == view.id {
            return view.name.clone();
        }
        if let Some(name) = shown.get(id) {
            return (*name).to_owned();
        }
        let departed: &BTreeMap<NodeId, String> =
            departed.get_or_init(|| node.directory(now).into_iter().map(|entry| (entry.id, entry.name)).collect());
        departed.get(id).cloned().unwrap_or_else(|| view.name_of(id))
    }
}

/// Who had an alert when it ended.
fn report(alert: AlertId, last: &Holders, name: impl Fn(&NodeId) -> String) -> AlertReport {
    let missing = |(id, reason): &(NodeId, &str)| MissingRow { node_id: name(id), reason: (*reason).to_owned() };
    AlertReport {
        alert_id: alert.to_string(),
        delivered: last.delivered.iter().map(&name).collect(),
        durable: last.durable.iter().map(&name).collect(),
        missing: last.missing.iter().map(missing).collect(),
        kept: last.kept,
        ..AlertReport::default()
    }
}

fn row(view: &AlertView, wall: f64, name: impl Fn(&NodeId) -> String) -> AlertRow {
    let missing = |(id, reason): &(NodeId, &str)| MissingRow { node_id: name(id), reason: (*reason).to_owned() };
    AlertRow {
        alert_id: view.id.to_string(),
        source: view.name.clone(),
        id: view.source.to_string(),
        priority: view.priority.name().to_owned(),
        alert: serde_json::from_slice(&view.payload).unwrap_or(Value::Null),
        timestamp: view.wall.seconds(),
        expires: wall + view.left.as_secs_f64(),
        delivered: view.delivered.iter().map(&name).collect(),
        durable: view.durable.iter().map(&name).collect(),
        missing: view.missing.iter().map(missing).collect(),
        acknowledged: view.acks.iter().map(|(by, at)| AckRow { by: by.clone(), at: at.seconds() }).collect(),
        late: view.late,
        repeated: view.repeated,
        kept: view.kept,
    }
}

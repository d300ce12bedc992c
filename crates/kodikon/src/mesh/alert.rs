//! Decides how an application raises an alert, follows who has it, and acknowledges one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kodikon_core::model::alert::{
    AckOrder, AlertId, AlertOrder, DEFAULT_TTL, MAX_ALERT, MAX_BY, MAX_TTL, Raised as CoreRaised,
};
use kodikon_core::model::letter::{Priority, Ticket};
use serde_json::Value;
use tokio::sync::mpsc;

use super::send::text_of;
use super::{Mesh, MeshError, SendError};
use crate::api::{AlertReport, AlertRow};
use crate::driver::{Order, Receipts};

/// The least that an alert may be active for: it is told in whole milliseconds.
pub const TTL_LEAST: Duration = Duration::from_millis(1);
/// The most: as long as the directory remembers those who are gone.
pub const TTL_MOST: Duration = MAX_TTL;
/// Alerts whose receipts are followed at once; more are refused.
pub(crate) const ALERTS_FOLLOWED: usize = 4_096;
/// While an alert is waited for it is looked at this often: a receipt may be of somebody who was not owed it when it was raised.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Whoever has shown an alert has it on disk soon: so long a wait goes on for that.
const DURABLE_WITHIN: Duration = Duration::from_millis(250);

/// Why an alert was not raised, or not acknowledged. Nothing was told to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// What it says is too long, too deep or has too many members.
    #[error(transparent)]
    Payload(#[from] SendError),
    /// It is to be active for too long, or not at all.
    #[error("a ttl of {} s: an alert is active for {} s to {} days", .given.as_secs_f64(), TTL_LEAST.as_secs_f64(), TTL_MOST.as_secs() / 86_400)]
    Ttl {
        /// What was asked for.
        given: Duration,
    },
    /// More than a node may raise.
    #[error("{reason}: slow down and try again")]
    TooMany {
        /// Of what.
        reason: String,
    },
    /// No alert of this name is active here.
    #[error("no alert `{id}` is active here; `kodikon alerts` lists all")]
    Unknown {
        /// The name.
        id: String,
    },
    /// The name of who acknowledges is none, too long, or has control characters.
    #[error("who acknowledges must be named, in at most {limit} bytes and without control characters")]
    By {
        /// How long it may be.
        limit: usize,
    },
    /// The node has been shut down.
    #[error("the node has stopped: start another with `Mesh::builder`")]
    Stopped,
}

/// What another node says of an alert of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Who has shown it to its application.
    pub node_id: String,
    /// Whether it has it on disk, too.
    pub durable: bool,
}

/// An alert that is about to be raised: see [`Mesh::alert`].
#[derive(Debug, Clone)]
#[must_use = "an alert is raised by `send`"]
pub struct Alert {
    mesh: Mesh,
    payload: Value,
    priority: Priority,
    ttl: Duration,
}

impl Mesh {
    /// Begins an alert: any JSON of at most 16 KiB that everyone is to be shown who is here, or comes while it is active.
    ///
    /// ```no_run
    /// # async fn example(mesh: kodikon::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// use kodikon::Priority;
    /// let mut alert = mesh.alert(serde_json::json!({"door": 3, "open": true})).priority(Priority::High).send().await?;
    /// while let Some(receipt) = alert.next().await {
    ///     println!("{} has shown it, on disk: {}", receipt.node_id, receipt.durable);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "broadcast_alert")]
    pub fn alert(&self, payload: Value) -> Alert {
        Alert { mesh: self.clone(), payload, priority: Priority::default(), ttl: DEFAULT_TTL }
    }

    /// All alerts that are active here, the most urgent first, of these the newest.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn alerts(&self) -> Result<Vec<AlertRow>, MeshError> {
        self.ask(Order::Alerts).await
    }

    /// Tells all that a person has seen an alert; returns when that is on this node's disk, or could not be kept. Who has acknowledged it
    /// already is not told again.
    ///
    /// # Errors
    /// [`AlertError::Unknown`], [`AlertError::By`], [`AlertError::TooMany`], [`AlertError::Stopped`].
    pub async fn alerts_ack(&self, id: &str, by: &str) -> Result<(), AlertError> {
        let unknown = || AlertError::Unknown { id: id.chars().take(64).collect() };
        if by.trim().is_empty() || by.len() > MAX_BY || by.chars().any(char::is_control) {
            return Err(AlertError::By { limit: MAX_BY });
        }
        let alert = AlertId::parse(id).ok_or_else(unknown)?;
        let order = AckOrder { ticket: Ticket(0), alert, by: by.to_owned() };
        match self.ask(|answer| Order::Acknowledge { order, answer }).await.map_err(|_| AlertError::Stopped)? {
            CoreRaised::Done { .. } => Ok(()),
            CoreRaised::Unknown => Err(unknown()),
            CoreRaised::TooMany { reason } => Err(AlertError::TooMany { reason: reason.to_owned() }),
        }
    }
}

impl Alert {
    /// How urgent it is. Default: normal.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How long it is active. Default: 1 h; at most 7 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Raises it; returns when it is on this node's disk and on its way to all. Where the disk does not take it within a second it
    /// is on its way all the same, and [`AlertHandle::is_durable`] says so.
    ///
    /// # Errors
    /// An [`AlertError`]; nothing was told to anybody then.
    pub async fn send(self) -> Result<AlertHandle, AlertError> {
        if !(TTL_LEAST..=TTL_MOST).contains(&self.ttl) {
            return Err(AlertError::Ttl { given: self.ttl });
        }
        let payload = text_of(&self.payload, MAX_ALERT)?;
        let order = AlertOrder { ticket: Ticket(0), payload, priority: self.priority, ttl: self.ttl };
        let (each, receipts) = mpsc::unbounded_channel();
        let last = Arc::new(OnceLock::new());
        let told = Receipts { each, last: Arc::clone(&last) };
        let raised = self.mesh.ask(|answer| Order::Raise { order, answer, receipts: told }).await;
        match raised.map_err(|_| AlertError::Stopped)? {
            CoreRaised::Done { alert, durable } => {
                let (mesh, id, priority) = (self.mesh, alert.to_string(), self.priority);
                Ok(AlertHandle { mesh, id, durable, priority, receipts, last })
            }
            CoreRaised::TooMany { reason } => Err(AlertError::TooMany { reason: reason.to_owned() }),
            CoreRaised::Unknown => Err(AlertError::Unknown { id: String::new() }),
        }
    }
}

/// An alert that was raised, and a stream of who has it.
#[derive(Debug)]
pub struct AlertHandle {
    mesh: Mesh,
    id: String,
    durable: bool,
    priority: Priority,
    /// At most two for each node.
    receipts: mpsc::UnboundedReceiver<Receipt>,
    /// Who had it when it ended.
    last: Arc<OnceLock<AlertReport>>,
}

impl AlertHandle {
    /// What all nodes call it: 16 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it was on this node's disk when it was told: then it survives a crash of this node.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// The next receipt; `None` once its time is over or the node has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Receipt> {
        self.receipts.recv().await
    }

    /// Who has it now; once it has ended, who had it then, and everyone else as missing with the reason `expired`.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn report(&self) -> Result<AlertReport, MeshError> {
        let row = match AlertId::parse(&self.id) {
            Some(id) => self.mesh.ask(|answer| Order::Alert(id, answer)).await?,
            None => None,
        };
        let report = row.map(|row| AlertReport {
            delivered: row.delivered,
            durable: row.durable,
            missing: row.missing,
            kept: row.kept,
            ..AlertReport::default()
        });
        // Whatever is not active has ended, and the loop told that before it answered.
        let report = report.or_else(|| self.last.get().cloned()).ok_or(MeshError::Stopped)?;
        Ok(AlertReport { alert_id: self.id.clone(), priority: self.priority.name().to_owned(), ..report })
    }

    /// Waits until everyone who is owed it has shown it, until it ends, or so long; who has it then. While nobody else is there it
    /// waits for somebody to come: an alert that a node raises as it starts is for those whom it is about to meet.
    ///
    /// Whether it reached all whom it should, [`AlertReport::has_reached_all`] says.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn wait(&mut self, most: Duration) -> Result<AlertReport, MeshError> {
        let end = tokio::time::Instant::now() + most;
        let mut shown_at = None;
        loop {
            let report = self.report().await?;
            let now = tokio::time::Instant::now();
            if self.last.get().is_some() {
                // It may have ended since it was looked at.
                return self.report().await;
            }
            if report.has_reached_all() {
                shown_at.get_or_insert(now);
            }
            let is_durable = report.durable.len() >= report.delivered.len();
            let has_had_time = shown_at.is_some_and(|shown| is_durable || now >= shown + DURABLE_WITHIN);
            if has_had_time || now >= end {
                return Ok(report);
            }
            // Whether a receipt came or the time passed does not matter: it is looked at again. The stream ends with the alert.
            let _ = tokio::time::timeout_at(end.min(now + LOOK_EVERY), self.next()).await;
            // Those that came with it are looked at with it: receipts of a large mesh come many at once, and each look names all its nodes.
            while self.receipts.try_recv().is_ok() {}
        }
    }
}

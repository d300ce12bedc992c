//! Decides how an application says something to all.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use kodikon_core::effect::BroadcastOrder;
use kodikon_core::model::letter::{Priority, Ticket};
use serde_json::Value;

use super::Mesh;
use super::send::{SendError, check};
use crate::api::BroadcastRow;
use crate::driver::Order;

/// Broadcasts of one node that wait to leave; more are refused. Twenty a second leave.
pub(crate) const BROADCASTS_WAITING: usize = 256;

/// Something said to all; it is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    id: String,
}

impl Announced {
    /// What names it: no other broadcast of the mesh has it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same as a row of the API; `n` says which of a series it is.
    #[must_use]
    pub fn row(&self, n: Option<u32>) -> BroadcastRow {
        BroadcastRow { n, id: self.id.clone(), sent_to: "all".to_owned() }
    }
}

/// Something that is said to all when it is awaited: see [`Mesh::broadcast`].
#[derive(Debug, Clone)]
#[must_use = "it is said when it is awaited"]
pub struct Broadcast {
    mesh: Mesh,
    payload: Value,
    priority: Priority,
    kind: String,
}

impl Mesh {
    /// Says something to all; it is on its way when this is awaited, and what comes back names it.
    ///
    /// Every node that is connected with this one throughout is told of it as a [`What::Message`](crate::api::What::Message) whose
    /// `sent_to` is `all`, at most once, by the deadline of its priority: 5 s normal, 10 s high, 30 s critical. What is `low` is
    /// neither acknowledged nor repeated. The payload is any JSON of at most 64 KiB, 32 deep and with 1,024 members; at most 20 a
    /// second leave, 256 wait.
    ///
    /// # Errors
    /// A [`SendError`] where nothing was said.
    #[doc(alias = "broadcast_message")]
    pub fn broadcast(&self, payload: Value) -> Broadcast {
        Broadcast { mesh: self.clone(), payload, priority: Priority::default(), kind: String::new() }
    }
}

impl Broadcast {
    /// How urgent it is. Default: normal.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// A type of the application's own. Default: the seed's `ROUTE_BROADCAST`.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    async fn announce(self) -> Result<Announced, SendError> {
        let payload = check(&self.payload, &self.kind)?;
        let order = BroadcastOrder { ticket: Ticket(0), kind: self.kind, payload, priority: self.priority };
        let said = self.mesh.ask(|answer| Order::Broadcast { order, answer }).await.map_err(|_| SendError::Stopped)?;
        let name = said.ok_or(SendError::Busy { limit: BROADCASTS_WAITING })?;
        let origin = name.origin.to_string();
        Ok(Announced { id: format!("{}-{:x}-{}", &origin[..8], name.epoch.0, name.number) })
    }
}

impl IntoFuture for Broadcast {
    type Output = Result<Announced, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.announce())
    }
}

//! Decides how an application says something to all.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use kodikon_core::effect::{BroadcastOrder, PeerView};
use kodikon_core::model::letter::{Priority, Ticket};
use serde_json::Value;

use super::send::{SendError, check};
use super::{Mesh, View};
use crate::api::BroadcastRow;
use crate::driver::Order;

/// Broadcasts of one node that wait to leave; more are refused, the less urgent sooner. Twenty a second leave.
pub(crate) const BROADCASTS_WAITING: usize = 256;

/// Something said to all; it is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    id: String,
    too_far: Vec<String>,
}

impl Announced {
    /// What names it: no other broadcast of the mesh has it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who is present and will not be told, by name: more relays lie between than `mesh.max_hops`, as far as the map shows.
    #[must_use]
    pub fn too_far(&self) -> &[String] {
        &self.too_far
    }

    /// The same as a row of the API; `n` says which of a series it is.
    #[must_use]
    pub fn row(&self, n: Option<u32>) -> BroadcastRow {
        BroadcastRow { n, id: self.id.clone(), sent_to: "all".to_owned(), too_far: self.too_far.clone() }
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
    /// `sent_to` is `all`, at most once, by the deadline of its priority: 5 s normal, 10 s high, 30 s critical;
    /// but for those beyond `mesh.max_hops` relays, whom the answer names as far as they are known. What is `low` is
    /// neither acknowledged nor repeated. The payload is any JSON of at most 64 KiB, 32 deep and with 1,024 members; at most 20 a
    /// second leave, 256 wait, of which the less urgent may be a part: 128 low, 192 normal and low, 224 all but the critical.
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

    /// A type of the application's own, as [`Letter::kind`](crate::Letter::kind). Default: the seed's `ROUTE_BROADCAST`.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Whether it may be said as it is; nothing is said.
    ///
    /// # Errors
    /// As [`Mesh::broadcast`].
    pub fn check(&self) -> Result<(), SendError> {
        check(&self.payload, &self.kind).map(drop)
    }

    async fn announce(self) -> Result<Announced, SendError> {
        let payload = check(&self.payload, &self.kind)?;
        let order = BroadcastOrder { ticket: Ticket(0), kind: self.kind, payload, priority: self.priority };
        let said = self.mesh.ask(|answer| Order::Broadcast { order, answer }).await.map_err(|_| SendError::Stopped)?;
        let name = said.ok_or(SendError::Queued { limit: self.priority.share(BROADCASTS_WAITING) })?;
        let origin = name.origin.to_string();
        let too_far = beyond(self.mesh.0.max_hops, &self.mesh.0.board.read());
        Ok(Announced { too_far, id: format!("{}-{:x}-{}", &origin[..8], name.epoch.0, name.number) })
    }
}

/// Who is present and further away than something said to all may go.
fn beyond(max_hops: u8, view: &View) -> Vec<String> {
    let is_far = |peer: &&PeerView| peer.liveness.is_present() && peer.relays.is_some_and(|relays| relays > max_hops);
    view.peers.iter().filter(is_far).map(|peer| peer.name.clone()).collect()
}

impl IntoFuture for Broadcast {
    type Output = Result<Announced, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.announce())
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::ground::id::NodeId;
    use kodikon_core::model::member::Liveness;

    use super::*;
    use crate::testing::peer_view;

    #[test]
    fn whoever_is_behind_more_relays_than_a_message_may_pass_is_named() {
        let peer =
            |n: u8, relays, liveness| PeerView { relays, liveness, ..peer_view(NodeId([n; 16]), &format!("cam-{n}")) };
        let peers = vec![
            peer(1, Some(0), Liveness::Alive),
            peer(2, Some(5), Liveness::Alive),
            peer(3, Some(6), Liveness::Alive),
            peer(4, Some(6), Liveness::Suspect),
            peer(5, Some(6), Liveness::Left),
            peer(6, None, Liveness::Alive),
        ];
        let view = View { peers, ..View::default() };
        assert_eq!(beyond(5, &view), ["cam-3", "cam-4"]);
        assert_eq!(beyond(6, &view), [""; 0]);
    }
}

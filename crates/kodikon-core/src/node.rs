//! The front hall: every input enters here and is told, in one exhaustive match, to the machine it concerns.

use crate::effect::context::Context;
use crate::effect::{Input, Output, PeerView, Remembered, Wake};
use crate::ground::config::Config;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::stats::Stats;
use crate::ground::time::{Instant, WallTime};
use crate::model::identity::{Identity, Verifier};
use crate::model::state::NodeSnapshot;

/// What a node starts with.
#[derive(Debug)]
pub struct Boot {
    /// What was set.
    pub config: Config,
    /// Who it is.
    pub identity: Identity,
    /// This run: its counter was stored and synced before this is handed over.
    pub epoch: Epoch,
    /// Seed of all its chance.
    pub seed: [u8; 32],
    /// The port of its unicast sockets, UDP and TCP.
    pub port: u16,
    /// The wall clock now.
    pub wall: WallTime,
    /// What its disk remembered.
    pub saved: Saved,
    /// Checks signatures.
    pub verifier: Box<dyn Verifier>,
}

/// What a disk remembers of earlier runs.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// The own state with its version.
    pub state: NodeSnapshot,
    /// The rank of the own name.
    pub rank: Option<u16>,
    /// The directory.
    pub directory: Vec<Remembered>,
}

/// A node of the mesh, as a function of its inputs.
///
/// After every [`Node::handle`], drain [`Node::poll_output`] until it returns `None`; call again with [`Input::Wake`]
/// at [`Node::next_wake`] at the latest. `now` never runs backwards. The first input is [`Input::Interfaces`].
#[derive(Debug)]
#[doc(alias = "MeshProtocol")]
pub struct Node {
    ctx: Context,
}

impl Node {
    /// A node that has not spoken yet.
    #[must_use]
    pub fn new(_now: Instant, _boot: Boot) -> Self {
        todo!()
    }

    /// Something happened.
    pub fn handle(&mut self, _now: Instant, _input: Input<'_>) {
        todo!()
    }

    /// The next wish to carry out; repeat until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.out.take_output()
    }

    /// When to call with [`Input::Wake`] at the latest, and who asked.
    #[must_use]
    pub fn next_wake(&self) -> Option<Wake> {
        todo!()
    }

    /// Who this is. Changes only when a cloned identity makes room ([`crate::effect::Event::Cloned`]).
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.ctx.me.id
    }

    /// The own name as shown to others.
    #[must_use]
    pub fn name(&self) -> String {
        todo!()
    }

    /// This run.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.ctx.me.epoch
    }

    /// Whether anybody is heard.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        todo!()
    }

    /// The peers present, suspect or lately failed, by id. Those only vouched for are not shown.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        todo!()
    }

    /// Those who were here and are not now.
    #[must_use]
    pub fn directory(&self) -> Vec<Remembered> {
        todo!()
    }

    /// The state of a node, our own included; `None` if it is not present.
    #[must_use]
    pub fn state_of(&self, _id: &NodeId) -> Option<NodeSnapshot> {
        todo!()
    }

    /// Raised whenever `peers`, `directory` or a state would show something else; freshness of `heard` aside.
    #[must_use]
    pub fn version(&self) -> u64 {
        todo!()
    }

    /// Digest of all that this node has covered of the `live` lane; equal on nodes that agree.
    #[must_use]
    pub fn root(&self) -> u64 {
        todo!()
    }

    /// Entries of the fullest tables, by name, with their limits: for the checks and for `stats`.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        todo!()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.ctx.stats
    }
}

//! Decides what the simulator needs of a node: the doors of [`Node`], so that its own tests can put a fake behind them.

use core::fmt;

use kodikon_core::effect::{Input, Output, PeerView, RouteView, Wake};
use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::ground::stats::Stats;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::alert::AlertView;
use kodikon_core::model::record::{Filter, RecordView, RegistryView};
use kodikon_core::model::state::NodeSnapshot;
use kodikon_core::node::{Boot, Node};

/// A node, as its driver sees it. Each method is [`Node`]'s of the same name.
pub trait Endpoint: fmt::Debug {
    /// Something happened.
    fn handle(&mut self, now: Instant, input: Input<'_>);
    /// The next wish to carry out.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to wake it.
    fn next_wake(&self) -> Option<Wake>;
    /// Who it is.
    fn id(&self) -> NodeId;
    /// Its run.
    fn epoch(&self) -> Epoch;
    /// Its name as shown.
    fn name(&self) -> String;
    /// Whether nobody is heard.
    fn is_isolated(&self) -> bool;
    /// Its roster.
    fn peers(&self) -> Vec<PeerView>;
    /// Its ways to its peers.
    fn routes(&mut self) -> Vec<RouteView>;
    /// A node's state as it shows it.
    fn state_of(&self, id: &NodeId) -> Option<NodeSnapshot>;
    /// Its own state as others are told of it.
    fn kept_state(&self) -> NodeSnapshot;
    /// Digest of what it covered.
    fn root(&self) -> u64;
    /// Digest of what it holds of the log.
    fn log_root(&self) -> u64;
    /// The alerts that it shows as active.
    fn alerts(&self, now: Instant) -> Vec<AlertView>;
    /// All sightings that it shows.
    fn records(&self, now: Instant) -> Vec<RecordView>;
    /// Its registry in numbers.
    fn registry(&self) -> RegistryView;
    /// Its tables: name, entries, limit.
    fn table_sizes(&self) -> Vec<(&'static str, usize, usize)>;
    /// Its counters.
    fn stats(&self) -> &Stats;
}

impl Endpoint for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn next_wake(&self) -> Option<Wake> {
        Self::next_wake(self)
    }

    fn id(&self) -> NodeId {
        Self::id(self)
    }

    fn epoch(&self) -> Epoch {
        Self::epoch(self)
    }

    fn name(&self) -> String {
        Self::name(self)
    }

    fn is_isolated(&self) -> bool {
        Self::is_isolated(self)
    }

    fn peers(&self) -> Vec<PeerView> {
        Self::peers(self)
    }

    fn routes(&mut self) -> Vec<RouteView> {
        Self::routes(self)
    }

    fn state_of(&self, id: &NodeId) -> Option<NodeSnapshot> {
        Self::state_of(self, id)
    }

    fn kept_state(&self) -> NodeSnapshot {
        Self::kept_state(self).clone()
    }

    fn root(&self) -> u64 {
        Self::root(self)
    }

    fn log_root(&self) -> u64 {
        Self::log_root(self)
    }

    fn alerts(&self, now: Instant) -> Vec<AlertView> {
        Self::alerts(self, now)
    }

    fn records(&self, now: Instant) -> Vec<RecordView> {
        self.find(now, &Filter::default(), None, usize::MAX).records
    }

    fn registry(&self) -> RegistryView {
        Self::registry(self)
    }

    fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        Self::table_sizes(self)
    }

    fn stats(&self) -> &Stats {
        Self::stats(self)
    }
}

/// Makes the node of a process that starts.
pub type Maker = fn(Instant, Boot) -> Box<dyn Endpoint>;

/// Makes real nodes.
#[must_use]
pub fn real(now: Instant, boot: Boot) -> Box<dyn Endpoint> {
    Box::new(Node::new(now, boot))
}

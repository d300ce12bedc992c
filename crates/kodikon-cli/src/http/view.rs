//! What the API needs of a node, and why a node may refuse.

use std::future::Future;

use kodikon::api::{
    AddedOrNot, AddedRow, AlertDoc, AlertReport, AlertRow, BroadcastDoc, BroadcastRow, DeletedRow, FindingRow,
    MessageDoc, OutcomeRow, PeerDetail, PeerRow, RecordDoc, RecordRow, RouteRow, SearchDoc, SearchReport, StateDoc,
    StatsDoc,
};
use kodikon::{Filter, Found};
use serde_json::{Map, Value};

/// A running node, as the API sees it.
pub(crate) trait NodeView: Send + Sync + 'static {
    /// The peers, without the node itself; with `all`, those who left or failed longer ago, too.
    fn peers(&self, all: bool) -> impl Future<Output = Result<Vec<PeerRow>, ViewError>> + Send;

    /// One peer by its name or `name@hhhh`.
    fn peer(&self, name: &str) -> impl Future<Output = Result<Option<PeerDetail>, ViewError>> + Send;

    /// The way to every peer that there is one to, by name.
    fn routes(&self) -> impl Future<Output = Result<Vec<RouteRow>, ViewError>> + Send;

    /// The states of all nodes, its own included.
    fn states(&self) -> impl Future<Output = Result<StateDoc, ViewError>> + Send;

    /// The state of one node by its name or `name@hhhh`, under the name it is shown by.
    fn state(&self, name: &str) -> impl Future<Output = Result<Option<StateDoc>, ViewError>> + Send;

    /// Sets keys of the node's own state, and removes those whose value is null; all or nothing.
    fn change_state(&self, changes: Map<String, Value>) -> impl Future<Output = Result<StateDoc, ViewError>> + Send;

    /// Whether a message breaks a limit or a rule; nothing is sent.
    fn check(&self, message: &MessageDoc) -> Result<(), ViewError>;

    /// Says something to one node.
    fn send(&self, message: MessageDoc, n: Option<u32>) -> impl Future<Output = Result<OutcomeRow, ViewError>> + Send;

    /// Who was probably meant by a name that nobody bears.
    fn nearest(&self, name: &str) -> Option<String>;

    /// Whether something that is to be said to all breaks a limit or a rule; nothing is said.
    fn check_broadcast(&self, message: &BroadcastDoc) -> Result<(), ViewError>;

    /// Says something to all; `n` says which of a series it is.
    fn broadcast(
        &self,
        message: BroadcastDoc,
        n: Option<u32>,
    ) -> impl Future<Output = Result<BroadcastRow, ViewError>> + Send;

    /// Raises an alert, and waits for it as long as it says.
    fn alert(&self, alert: AlertDoc) -> impl Future<Output = Result<AlertReport, ViewError>> + Send;

    /// The active alerts.
    fn alerts(&self) -> impl Future<Output = Result<Vec<AlertRow>, ViewError>> + Send;

    /// Tells all that somebody has seen an alert.
    fn acknowledge(&self, id: &str, by: &str) -> impl Future<Output = Result<(), ViewError>> + Send;

    /// Adds a sighting; with `unless_held` it is left out where it is held already.
    fn add(&self, record: RecordDoc, unless_held: bool) -> impl Future<Output = Result<AddedRow, ViewError>> + Send;

    /// Adds sightings together, and says of each what became of it; what is no record says why.
    fn add_all(
        &self,
        records: Vec<Result<RecordDoc, String>>,
        unless_held: bool,
    ) -> impl Future<Output = Result<Vec<AddedOrNot>, ViewError>> + Send;

    /// All sightings of something, newest first.
    fn get(&self, hash: &str, with_embedding: bool) -> impl Future<Output = Result<Vec<RecordRow>, ViewError>> + Send;

    /// Sightings that are like a filter, newest first.
    fn find(&self, filter: Filter) -> impl Future<Output = Result<Found, ViewError>> + Send;

    /// Removes the node's own sightings of something, or all.
    fn delete(&self, hash: &str, all: bool) -> impl Future<Output = Result<DeletedRow, ViewError>> + Send;

    /// Looks for what is alike, until all who are asked have answered or the time is over.
    fn search(&self, search: SearchDoc) -> impl Future<Output = Result<SearchReport, ViewError>> + Send;

    /// Whether this is the node's own name or `name@hhhh`.
    fn is_own_name(&self, name: &str) -> bool;

    /// The counters.
    fn stats(&self) -> impl Future<Output = Result<StatsDoc, ViewError>> + Send;

    /// What is wrong with the machine's network.
    fn doctor(&self) -> impl Future<Output = Result<Vec<FindingRow>, ViewError>> + Send;

    /// Whether its loop has turned within the last seconds.
    fn is_turning(&self) -> bool;

    /// Whether it takes part in the mesh: its sockets are open and it does not go.
    fn is_ready(&self) -> bool;
}

/// Why a node did not do what it was asked for. Nothing was changed, but where it was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ViewError {
    /// It stops, or has stopped.
    Stopped,
    /// It has too much to do at the moment.
    Busy(String),
    /// What was asked for breaks a limit or a rule.
    Refused(String),
    /// The disk does not take it.
    NotKept(String),
    /// There is nothing of that name.
    Unknown(String),
}

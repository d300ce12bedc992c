//! Decides what an embedder holds: a handle to one running node, cheap to clone and usable from any thread.

mod alert;
mod board;
mod broadcast;
mod builder;
mod error;
mod own;
mod peer;
mod record;
mod registry;
mod room;
mod route;
mod search;
mod send;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kodikon_core::effect::Remembered;
use kodikon_core::ground::fair::Class;
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::stats::{Crowded, Reject, Stats};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::member;
use kodikon_core::model::state::StateChange;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::api::{Event, Security, Started, StateDoc, StateRow, StatsDoc};
use crate::clock::{Clock as _, SystemClock};
use crate::doctor::Symptoms;
use crate::driver::{Order, OrderSender};
use crate::events::{EventLog, EventStream};
use crate::handlers::{Handler, HandlerCounts, InlineHandler};
use crate::topic::Topic;

pub(crate) use alert::ALERTS_FOLLOWED;
pub use alert::{Alert, AlertError, AlertHandle, Receipt, TTL_LEAST, TTL_MOST};
pub(crate) use board::{Board, REFRESH_READ, REFRESH_UNREAD, View, Way};
pub use broadcast::{Announced, Broadcast};
pub use builder::Builder;
pub use error::{MeshError, StartError};
pub(crate) use own::{OwnState, row_of};
pub use peer::Peer;
pub(crate) use peer::is_called;
pub use record::{Portrait, RECORD_TTL_LEAST, RECORD_TTL_MOST, Record, RecordError};
pub(crate) use registry::{ADDS_WAITING, COMPARING, record_row};
pub use registry::{CONDITIONS_MOST, FOUND_DEFAULT, Filter, Found};
pub(crate) use room::Room;
pub use room::{SEND_BYTES_WAITING, SENDS_WAITING};
pub use route::Route;
pub(crate) use search::Finding;
pub use search::{Query, SEARCH_K_MOST, SEARCH_LEAST, SEARCH_MOST, Search, SearchError};
pub use send::{Letter, Outcome, PAYLOAD_DEPTH, PAYLOAD_KEYS, SendError, TIMEOUT_LEAST, TIMEOUT_MOST};
pub(crate) use send::{Waiting, said_by_letter};

/// A loop that has not turned for so long is stuck: more than twice what it may take while nothing happens.
const TURNS_WITHIN: Duration = Duration::from_secs(3);

/// A running node of the mesh.
///
/// Every clone is the same node. It says goodbye and ends with [`Mesh::shutdown`], or when the last clone is dropped; only
/// `shutdown` waits for the goodbye to be sent. Getters answer from a snapshot that the node's loop pins up after every
/// change: they never wait for the loop and the loop never for them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kodikon::Mesh;
/// let mesh = Mesh::builder("node_001").in_memory().state(serde_json::json!({"status": "active"})).start().await?;
/// for peer in mesh.peers() {
///     println!("{} was heard {:?} ago", peer.name(), peer.last_heard());
/// }
/// mesh.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "MeshProtocol")]
pub struct Mesh(Arc<Shared>);

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Arc<Board>,
    pub(crate) clock: SystemClock,
    pub(crate) orders: OrderSender,
    pub(crate) events: Arc<EventLog>,
    pub(crate) handlers: Arc<HandlerCounts>,
    pub(crate) own: Mutex<OwnState>,
    pub(crate) room: Room,
    /// Places of records that wait for the disk.
    pub(crate) adds: Semaphore,
    /// Those of them that have the loop compare them with many sightings.
    pub(crate) comparing: Semaphore,
    pub(crate) security: Security,
    pub(crate) max_hops: u8,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) ended: watch::Receiver<bool>,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Mesh {
    /// Begins a node that people will call `node_name`.
    #[doc(alias = "start")]
    pub fn builder(node_name: &str) -> Builder {
        Builder::new(node_name)
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Changes keys of this node's state: each member of the object replaces the key of its name, others stay.
    ///
    /// It is visible to [`Mesh::state`] at once, and to the others as soon as it is on disk, milliseconds later: so no version ever
    /// goes down or stands for two things, whatever crashes. [`Mesh::state_kept`] waits for that.
    ///
    /// # Errors
    /// The first limit that a key or value breaks, [`MeshError::Busy`], [`MeshError::Stopped`]; nothing is changed then.
    #[doc(alias = "update_node_state")]
    pub fn set_state(&self, keys: Value) -> Result<(), MeshError> {
        self.change_state(changes_of(&keys)?)
    }

    /// Removes keys from this node's state; those that are not there are left out.
    ///
    /// # Errors
    /// As [`Mesh::set_state`].
    pub fn unset_state<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) -> Result<(), MeshError> {
        self.change_state(keys.into_iter().map(|key| StateChange { key: key.into(), json: None }).collect())
    }

    /// Both at once: each member of the object replaces the key of its name, or removes it where it is null.
    ///
    /// # Errors
    /// As [`Mesh::set_state`].
    pub fn patch_state(&self, keys: serde_json::Map<String, Value>) -> Result<(), MeshError> {
        let change = |(key, value): (String, Value)| StateChange {
            key,
            json: if value.is_null() { None } else { Some(value.to_string()) },
        };
        self.change_state(keys.into_iter().map(change).collect())
    }

    /// Waits until this node's state as it is now is on disk, so that it survives a crash, and on its way to the others; answers what
    /// is there then. Where nothing is kept beyond the process, its store in memory counts as the disk.
    ///
    /// # Errors
    /// [`MeshError::NotKept`] if the disk takes more than a second, [`MeshError::Stopped`]. The state stays as it was set.
    pub async fn state_kept(&self) -> Result<StateRow, MeshError> {
        self.ask(Order::Kept).await?.as_ref().map(row_of).ok_or(MeshError::NotKept)
    }

    fn change_state(&self, changes: Vec<StateChange>) -> Result<(), MeshError> {
        let wall = self.wall();
        // Held over check and order, so that changes reach the node in the order in which they were checked.
        let mut own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = own.after(&self.0.board.read(), &changes, wall)? else { return Ok(()) };
        self.order(Order::SetState { changes, wall, number: next.number() })?;
        *own = next;
        Ok(())
    }

    /// Calls `handler` for each event on a topic, on a thread of its own: it may block, and holds up neither the node nor other
    /// handlers. A topic is an [`EventKind`](crate::EventKind), a [`MessageType`](crate::MessageType) or the name of a message type of
    /// one's own. Behind it wait up to 1,024 events; more are dropped and counted. A panic is caught and counted
    /// (`handler_panics` in [`Mesh::stats`]). At most 64 handlers.
    ///
    /// A handler that keeps a clone of this `Mesh` keeps the node running until [`Mesh::shutdown`].
    ///
    /// # Errors
    /// [`MeshError::TooManyHandlers`], [`MeshError::NoThread`], [`MeshError::Busy`], [`MeshError::Stopped`].
    pub fn on(&self, topic: impl Into<Topic>, handler: impl FnMut(&Event) + Send + 'static) -> Result<(), MeshError> {
        self.order(Order::On(Handler::spawn(topic.into(), &self.0.handlers, handler)?))
    }

    /// As [`Mesh::on`], but on the node's own loop, before anything else happens: for handlers that take at most 100 µs, as those
    /// that hand the event on. One that takes longer holds up the node, and is counted (`inline_overruns`).
    ///
    /// # Errors
    /// [`MeshError::TooManyHandlers`], [`MeshError::Busy`], [`MeshError::Stopped`].
    pub fn on_inline(
        &self,
        topic: impl Into<Topic>,
        handler: impl FnMut(&Event) + Send + 'static,
    ) -> Result<(), MeshError> {
        self.order(Order::OnInline(InlineHandler::new(topic.into(), &self.0.handlers, handler)?))
    }

    /// Says goodbye, waits until it is sent and everything is on disk, and ends the node. A second call changes nothing.
    ///
    /// Messages whose outcome is not known by then expire with the reason `shutdown`.
    ///
    /// Afterwards the getters answer from the last snapshot.
    #[doc(alias = "stop")]
    pub async fn shutdown(&self) {
        // A closed channel means that it has ended, or is about to.
        let _ = self.0.orders.send(Order::Leave).await;
        // An error means that the loop is gone without a word: ended as well.
        let _ = self.0.ended.clone().wait_for(|ended| *ended).await;
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its last act was to say that it ended, and it catches its own panics.
            let _ = thread.join();
        }
    }

    /// The peers of this node by name, without itself: alive, suspect, and failed until they leave the roster.
    #[must_use]
    #[doc(alias = "discover_peers")]
    pub fn peers(&self) -> Vec<Peer> {
        let (view, now) = (self.0.board.read(), self.now());
        let mut peers: Vec<Peer> = view.peers.iter().filter_map(|peer| view.peer(peer, now)).collect();
        sort_by_name(&mut peers);
        peers
    }

    /// The peers, and behind them those who left or failed longer ago, as long as the directory remembers them (7 days).
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn peers_ever(&self) -> Result<Vec<Peer>, MeshError> {
        let departed = self.ask(Order::Departed).await?;
        let mut peers = self.peers();
        let (wall, since_start) = (self.wall(), self.0.clock.now());
        let is_past = |entry: &&Remembered| peers.iter().all(|peer| peer.id() != entry.id);
        let past = departed.iter().filter(is_past);
        let mut past: Vec<Peer> = past.map(|entry| Peer::from_remembered(entry, wall, since_start)).collect();
        sort_by_name(&mut past);
        peers.append(&mut past);
        Ok(peers)
    }

    /// The peer of this name: as shown, as `name@hhhh` (first hex digits of its identity), or by its whole identity.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<Peer> {
        let view = self.0.board.read();
        let found = view.peers.iter().find(|peer| is_called(&peer.name, &peer.id, name))?;
        view.peer(found, self.now())
    }

    /// The way to every peer that there is one to, by name: the cheapest, and of equally cheap ones that with the fewest relays.
    ///
    /// A peer of [`Mesh::peers`] that is missing here is one without a way. The answer comes from the same snapshot, in which the
    /// ways may be 100 ms older than the peers, and their costs as old as [`Mesh::refresh`] says. It never fails: where nothing is known it is empty.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        route::routes(&self.0.board.read())
    }

    /// The state of a node by its name, this one's own included; `None` if it is not present.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<StateRow> {
        let view = self.0.board.read();
        if is_called(&view.name, &view.id, name) {
            return Some(self.own_state(&view));
        }
        let peer = view.peers.iter().find(|peer| is_called(&peer.name, &peer.id, name))?;
        view.states.get(&peer.id).map(|row| StateRow::clone(row))
    }

    /// The states of all who are present, this node included, by name.
    #[must_use]
    pub fn states(&self) -> StateDoc {
        let view = self.0.board.read();
        let others = view.peers.iter().filter_map(|peer| {
            let row = view.states.get(&peer.id)?;
            Some((peer.name.clone(), StateRow::clone(row)))
        });
        let mut states: StateDoc = others.collect();
        states.insert(view.name.clone(), self.own_state(&view));
        states
    }

    fn own_state(&self, view: &View) -> StateRow {
        let own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        row_of(own.newest(view))
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        EventStream::new(&self.0.events, self.0.clock)
    }

    /// Has the node show itself as it is now; of what others see it may lack that of the last 10 ms. What changes is shown at once in any case; counts, and when a peer was last heard, are up to
    /// five seconds old otherwise, or 100 ms while somebody asks often.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]; all is as it was last then.
    pub async fn refresh(&self) -> Result<(), MeshError> {
        self.ask(Order::Refresh).await
    }

    /// What was counted since the start, as of the last [`Mesh::refresh`] or the node's own.
    #[must_use]
    #[doc(alias = "get_network_stats")]
    pub fn stats(&self) -> StatsDoc {
        let view = self.0.board.read();
        let alive = view.peers.iter().filter(|peer| peer.liveness == member::Liveness::Alive).count();
        let shown = view.peers.iter().filter(|peer| peer::liveness(peer.liveness).is_some()).count();
        let mut stats = StatsDoc {
            node_id: view.name.clone(),
            alive_peers: alive as u64,
            total_peers: shown as u64,
            is_running: self.is_running(),
            id: view.id.to_string(),
            uptime_s: self.0.clock.now().as_secs_f64(),
            ..StatsDoc::default()
        };
        count_core(&mut stats, &view.stats);
        stats.routes = route::count(&view);
        for (name, used, _) in &view.tables {
            stats.registry.insert((*name).to_owned(), *used as u64);
        }
        stats.registry_version = view.registry.version;
        stats.registry_content = format!("{:016x}", view.registry.content);
        stats.log_root = format!("{:016x}", view.log_root);
        stats.log_lag_s = log_lags(&view, self.0.clock.now());
        let handlers = &self.0.handlers;
        stats.counters.insert("handler_panics".to_owned(), handlers.panics.load(Ordering::Relaxed));
        stats.counters.insert("handler_overflows".to_owned(), handlers.overflows.load(Ordering::Relaxed));
        stats.counters.insert("inline_overruns".to_owned(), handlers.overruns.load(Ordering::Relaxed));
        stats.queues.insert("messages".to_owned(), self.0.room.messages() as u64);
        stats.queues.insert("message_bytes".to_owned(), self.0.room.bytes() as u64);
        view.driver.add_to(&mut stats);
        stats
    }

    /// What this node knows about its machine's network, for [`doctor::examine`](crate::doctor::examine) to judge; the firewall's
    /// rules are for the caller to add.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn symptoms(&self) -> Result<Symptoms, MeshError> {
        let symptoms = self.ask(Order::Symptoms).await?;
        Ok(Symptoms { uptime: Some(self.0.clock.now()), ..symptoms })
    }

    /// The name people call this node, with its rank if another held the name first.
    #[must_use]
    #[doc(alias = "node_id")]
    pub fn name(&self) -> String {
        self.0.board.read().name.clone()
    }

    /// Whether `name` means this node: its name, `name@hhhh`, or its whole identity.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let view = self.0.board.read();
        is_called(&view.name, &view.id, name)
    }

    /// The name of a node that was probably meant by one that nobody bears.
    #[must_use]
    pub fn nearest_name(&self, name: &str) -> Option<String> {
        send::nearest(&self.0.board.read(), name)
    }

    /// Who this node is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.board.read().id
    }

    /// Where it receives unicast: address and port per interface.
    #[must_use]
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.0.board.read().addresses.clone()
    }

    /// Whether it hears nobody.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.0.board.read().isolated
    }

    /// Digest of all states this node holds: equal on nodes that agree.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.0.board.read().root
    }

    /// What `kodikon up` says first; `api` is the URL under which its API answers.
    #[must_use]
    pub fn started(&self, api: Option<String>) -> Started {
        Started {
            at: self.0.clock.wall(),
            node_id: self.name(),
            id: self.id().to_string(),
            addresses: self.addresses().iter().map(ToString::to_string).collect(),
            api,
            security: self.security(),
        }
    }

    /// Whether its loop turns: it does so each second, whatever happens, and has within the last 3 s.
    #[must_use]
    pub fn is_turning(&self) -> bool {
        self.is_running() && self.now().since(self.0.board.turned()) <= TURNS_WITHIN
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !*self.0.ended.borrow()
    }

    /// How strangers are kept out.
    #[must_use]
    pub fn security(&self) -> Security {
        self.0.security
    }

    /// Where it keeps identity and state; `None` in memory.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.0.directory.as_deref()
    }

    fn order(&self, order: Order) -> Result<(), MeshError> {
        self.0.orders.try_send(order)
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, MeshError> {
        let (answer, answered) = oneshot::channel();
        self.0.orders.send(order(answer)).await?;
        answered.await.map_err(|_| MeshError::Stopped)
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.0.clock.now())
    }

    fn wall(&self) -> WallTime {
        crate::driver::wall_time(&self.0.clock)
    }
}

/// The changes that a JSON object asks for.
pub(crate) fn changes_of(keys: &Value) -> Result<Vec<StateChange>, MeshError> {
    let found = match keys {
        Value::Object(keys) => {
            let change =
                |(key, value): (&String, &Value)| StateChange { key: key.clone(), json: Some(value.to_string()) };
            return Ok(keys.iter().map(change).collect());
        }
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
    };
    Err(MeshError::NotAnObject { found })
}

/// As people look for them.
fn sort_by_name(peers: &mut [Peer]) {
    peers.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
}

/// For how many seconds each neighbour that is alive has not told the digest that this node has.
fn log_lags(view: &View, now: Duration) -> BTreeMap<String, f64> {
    let now = Instant::from_start(now);
    let near = view.peers.iter().filter(|peer| peer.liveness == member::Liveness::Alive && peer.relays == Some(0));
    near.map(|peer| {
        let lag = peer.log_differs.map_or(Duration::ZERO, |since| now.since(since));
        (peer.name.clone(), lag.as_secs_f64())
    })
    .collect()
}

/// Enters what the core counts.
fn count_core(doc: &mut StatsDoc, stats: &Stats) {
    doc.messages_sent = stats.messages_sent;
    doc.messages_received = stats.messages_received;
    doc.messages_routed = stats.letters_relayed;
    doc.alerts_sent = stats.alerts_sent;
    doc.peers_discovered = stats.peers_discovered;
    doc.heartbeats_sent = stats.heartbeats_sent;
    doc.datagrams_sent = stats.datagrams_sent;
    doc.datagrams_received = stats.datagrams_received;
    doc.bytes_sent = stats.bytes_sent;
    doc.bytes_received = stats.bytes_received;
    for reason in Reject::ALL {
        doc.drops.insert(reason.name().to_owned(), stats.dropped(reason));
    }
    for (by, class) in Crowded::ALL.into_iter().flat_map(|by| Class::ALL.map(|class| (by, class))) {
        doc.drops.insert(format!("{}_{}", by.name(), class.name()), stats.crowded_out(by, class));
    }
    for (name, value) in counters(stats).into_iter().chain(registry_counters(stats)) {
        doc.counters.insert(name.to_owned(), value);
    }
}

/// How often what happened of which there is no field.
fn counters(stats: &Stats) -> [(&'static str, u64); 38] {
    [
        ("unknown_messages", stats.unknown_messages),
        ("challenges_sent", stats.challenges_sent),
        ("signatures_checked", stats.signatures_checked),
        ("probes_started", stats.probes_started),
        ("verdicts", stats.verdicts),
        ("refutations", stats.refutations),
        ("ops_applied", stats.ops_applied),
        ("syncs_started", stats.syncs_started),
        ("peers_refused", stats.peers_refused),
        ("equivocations", stats.equivocations),
        ("log_rotten", stats.log_rotten),
        ("contents_compared", stats.contents_compared),
        ("stalls", stats.stalls),
        ("letters_sent", stats.letters_sent),
        ("letters_received", stats.letters_received),
        ("letters_relayed", stats.letters_relayed),
        ("letters_delivered", stats.letters_delivered),
        ("letters_expired", stats.letters_expired),
        ("letters_retransmitted", stats.letters_retransmitted),
        ("letters_repeated", stats.letters_repeated),
        ("letters_returned", stats.letters_returned),
        ("letters_evicted", stats.letters_evicted),
        ("links_doubted", stats.links_doubted),
        ("casts_sent", stats.casts_sent),
        ("casts_refused", stats.casts_refused),
        ("casts_received", stats.casts_received),
        ("cast_datagrams", stats.cast_datagrams),
        ("casts_repeated", stats.casts_repeated),
        ("casts_repeated_here", stats.casts_repeated_here),
        ("casts_stood_in", stats.casts_stood_in),
        ("casts_offered", stats.casts_offered),
        ("casts_acknowledged", stats.casts_acknowledged),
        ("casts_unacknowledged", stats.casts_unacknowledged),
        ("casts_evicted", stats.casts_evicted),
        ("messages_queued", stats.messages_queued),
        ("alerts_received", stats.alerts_received),
        ("alerts_refused", stats.alerts_refused),
        ("alerts_repeated", stats.alerts_repeated),
    ]
}

/// The same of the log and the registry.
fn registry_counters(stats: &Stats) -> [(&'static str, u64); 23] {
    [
        ("scans", stats.scans),
        ("searches", stats.searches),
        ("searches_answered", stats.searches_answered),
        ("searches_asked", stats.searches_asked),
        ("searches_declined", stats.searches_declined),
        ("searches_handed", stats.searches_handed),
        ("searches_refused", stats.searches_refused),
        ("searches_taken_back", stats.searches_taken_back),
        ("searches_unanswered", stats.searches_unanswered),
        ("search_micros", stats.search_micros),
        ("receipts_sent", stats.receipts_sent),
        ("log_applied", stats.log_applied),
        ("log_evicted", stats.log_evicted),
        ("commits_failed", stats.commits_failed),
        ("log_bytes_pushed", stats.log_bytes_pushed),
        ("log_bytes_pulled", stats.log_bytes_pulled),
        ("log_bytes_piped", stats.log_bytes_piped),
        ("log_bytes_repeated", stats.log_bytes_repeated),
        ("digest_bytes", stats.digest_bytes),
        ("pipe_bytes_sent", stats.pipe_bytes_sent),
        ("pipes_taken", stats.pipes_taken),
        ("pipes_given", stats.pipes_given),
        ("pipes_failed", stats.pipes_failed),
    ]
}

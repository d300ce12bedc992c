//! Decides when the loop shows what it knows, and turns the core's events into those that people read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kodikon_core::effect::{Event as CoreEvent, Interface};
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::letter::Priority;
use kodikon_core::model::search::Searched;
use kodikon_core::model::state::NodeSnapshot;
use kodikon_core::node::Node;
use tokio::sync::oneshot;

use crate::api::{Event, What};
use crate::clock::SystemClock;
use crate::driver::DriverCounts;
use crate::driver::told::Told;
use crate::events::{EventLog, EventStream};
use crate::handlers::{Handler, InlineHandler};
use crate::mesh::{Board, REFRESH_READ, REFRESH_UNREAD, View, Way, record_row, row_of, said_by_letter};

/// A snapshot that a reader was just taking is shown again after this.
pub(crate) const SHOW_AGAIN: Duration = Duration::from_millis(1);
/// The loop turns so often whatever happens, and says so. The core's own looks come sooner, so this hardly ever wakes it.
const TURN_EVERY: Duration = Duration::from_millis(1_250);

/// An alert is logged so much later: others who share this processor are shown it first.
const LOG_AFTER: Duration = Duration::from_millis(10);

/// The ways are worked out at most this often: while nodes come and go the map may change with every datagram.
const WAYS_EVERY: Duration = REFRESH_READ;

/// A view that lacks others' sightings or alerts is shown to whoever asks for what is known now until it is so old.
const REFRESH_OTHER: Duration = Duration::from_millis(10);

/// Room for events that is kept from turn to turn; a hundred bytes each.
const PENDING_KEPT: usize = 64;

/// The loop's side of the board, and its voice.
#[derive(Debug)]
pub(crate) struct Show {
    board: Arc<Board>,
    view: Arc<View>,
    /// The core's version that the view shows; none before the first.
    version: Option<u64>,
    /// When the ways that it shows were worked out; none before the first.
    ways_at: Option<Instant>,
    /// They may be those of an earlier version.
    are_ways_owed: bool,
    /// Whose state has changed since.
    changed: BTreeSet<NodeId>,
    /// An order of this node was answered since, of what raises no version.
    is_own_owed: bool,
    /// The view could not be pinned up: a reader was taking the one before.
    is_owed: bool,
    /// Who waits until it is.
    askers: Vec<oneshot::Sender<()>>,
    pending: Vec<CoreEvent>,
    /// Alerts that are yet to be logged, and when.
    unlogged: Vec<CoreEvent>,
    log_at: Option<Instant>,
    names: Told,
    events: Arc<EventLog>,
    handlers: Vec<Handler>,
    inline: Vec<InlineHandler>,
    told: u64,
    malformed: u64,
}

impl Show {
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            view: Arc::default(),
            version: None,
            ways_at: None,
            are_ways_owed: false,
            changed: BTreeSet::new(),
            is_own_owed: false,
            is_owed: false,
            askers: Vec::new(),
            pending: Vec::new(),
            unlogged: Vec::new(),
            log_at: None,
            names: Told::default(),
            events: Arc::default(),
            handlers: Vec::new(),
            inline: Vec::new(),
            told: 0,
            malformed: 0,
        }
    }

    /// Where readers subscribe.
    pub(crate) fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.events)
    }

    /// Everything told from now on.
    pub(crate) fn watched(&self, clock: SystemClock) -> EventStream {
        EventStream::new(&self.events, clock)
    }

    /// Sets a handler.
    pub(crate) fn add_handler(&mut self, handler: Handler) {
        self.handlers.push(handler);
    }

    /// Sets a handler that is called here.
    pub(crate) fn add_inline(&mut self, handler: InlineHandler) {
        self.inline.push(handler);
    }

    /// What is shown now.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Events told since the start.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// Messages dropped since the start because of what they say.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Keeps an event until the view shows what it tells of.
    pub(crate) fn push(&mut self, event: CoreEvent) {
        match &event {
            CoreEvent::PeerUp { peer, .. }
            | CoreEvent::PeerSuspect { peer, .. }
            | CoreEvent::PeerFailed { peer, .. }
            | CoreEvent::PeerLeft { peer, .. }
            | CoreEvent::State { node: peer, .. } => _ = self.changed.insert(*peer),
            CoreEvent::Isolated(_)
            | CoreEvent::Message { .. }
            | CoreEvent::Broadcast { .. }
            | CoreEvent::Announced { .. }
            | CoreEvent::Settled { .. }
            | CoreEvent::Alert { .. }
            | CoreEvent::AlertAck { .. }
            | CoreEvent::Raised { .. }
            | CoreEvent::Receipt { .. }
            | CoreEvent::AlertOver { .. }
            | CoreEvent::LogKept(_)
            | CoreEvent::LogRotten(_)
            | CoreEvent::Stored { .. }
            | CoreEvent::Record(_)
            | CoreEvent::Searched { .. }
            | CoreEvent::SearchAnswered { .. }
            | CoreEvent::Found { .. }
            | CoreEvent::NameClash { .. }
            | CoreEvent::Cloned { .. }
            | CoreEvent::Overtaken { .. }
            | CoreEvent::Restored { .. }
            | CoreEvent::RefusedBy { .. }
            | CoreEvent::Refused { .. }
            | CoreEvent::Equivocated { .. }
            | _ => {}
        }
        self.pending.push(event);
    }

    /// An order of this node was answered, of what raises no version: whoever counts it right behind finds it.
    pub(crate) fn note_own(&mut self) {
        self.is_own_owed = true;
    }

    /// Whether the view is too old for one who asks for what is known now. What others see comes all the time, and raises no version.
    pub(crate) fn is_behind(&self, now: Instant, node: &Node) -> bool {
        let is_other = || self.view.registry != node.registry() || self.view.log_root != node.log_root();
        is_behind(now.since(self.view.at), self.is_own_owed, is_other)
    }

    /// Whether the view can no longer be left as it is.
    pub(crate) fn is_due(&self, now: Instant, node: &Node) -> bool {
        self.version != Some(node.version())
            || !self.pending.iter().all(is_of_no_view)
            || self.is_owed
            || (self.are_ways_owed && self.may_find_ways(now))
            || self.board.is_stale(now.since(self.view.at))
    }

    /// When to come back though nothing happens; a refresh then moves it on.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let view_at = self.view.at + if self.is_owed { SHOW_AGAIN } else { REFRESH_UNREAD };
        let turn_at = self.board.turned() + TURN_EVERY;
        let ways_at = self.ways_at.filter(|_| self.are_ways_owed).map(|at| at + WAYS_EVERY);
        [Some(view_at), Some(turn_at), ways_at, self.log_at].into_iter().flatten().min()
    }

    fn may_find_ways(&self, now: Instant) -> bool {
        self.ways_at.is_none_or(|at| now.since(at) >= WAYS_EVERY)
    }

    /// Pins up what the core knows now, then tells what has happened: whoever hears of a peer finds it.
    pub(crate) fn refresh(&mut self, now: Instant, wall: f64, node: &mut Node, rest: Rest<'_>) {
        let is_other_version = self.version != Some(node.version());
        let has_changed = is_other_version || !self.changed.is_empty();
        let last = &self.view;
        let mut view = View {
            at: now,
            id: last.id,
            name: last.name.clone(),
            addresses: rest.addresses.to_vec(),
            peers: node.peers(),
            ways: Arc::clone(&last.ways),
            states: Arc::clone(&last.states),
            own: Arc::clone(&last.own),
            own_changes: rest.own_changes,
            isolated: node.is_isolated(),
            root: node.root(),
            log_root: node.log_root(),
            stats: node.stats().clone(),
            driver: rest.counts,
            registry: node.registry(),
            tables: node.table_sizes(),
        };
        if has_changed {
            view.id = node.id();
            view.name = node.name();
            view.own = Arc::new(node.state_of(&view.id).unwrap_or_default());
            update_states(&mut view, node, &self.changed);
            self.changed.clear();
            self.version = Some(node.version());
        }
        self.are_ways_owed |= is_other_version;
        // A cost alone raises no version, so each refresh looks.
        if self.may_find_ways(now) {
            view.ways = Arc::new(ways(node, rest.interfaces));
            (self.ways_at, self.are_ways_owed) = (Some(now), false);
        }
        self.view = Arc::new(view);
        self.is_own_owed = false;
        self.is_owed = !self.board.try_publish(Arc::clone(&self.view));
        if is_other_version {
            for (id, from) in self.names.renamed(&self.view) {
                let what = peer_up(&id, self.view.name_of(&id), Some(from), &self.view);
                tracing::info!(name = self.view.name_of(&id), id = ?id, "peer renamed");
                self.tell_one(wall, what);
            }
        }
        self.tell(now, wall);
        self.answer();
    }

    /// Somebody waits for what is shown now.
    pub(crate) fn add_asker(&mut self, asker: oneshot::Sender<()>) {
        self.askers.retain(|asker| !asker.is_closed());
        self.askers.push(asker);
    }

    /// Tells those who wait, if it is shown.
    pub(crate) fn answer(&mut self) {
        if !self.is_owed {
            // An error means that nobody waits any more.
            self.askers.drain(..).for_each(|asker| _ = asker.send(()));
        }
    }

    /// Pins up the last view, whoever is reading.
    pub(crate) fn end(&mut self) {
        self.log_now();
        self.board.publish_last(Arc::clone(&self.view));
        self.is_owed = false;
        self.answer();
    }

    /// Whether something has happened that was not told.
    pub(crate) fn has_news(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Tells what has happened. Without a refresh before it only what [`is_of_no_view`].
    pub(crate) fn tell(&mut self, now: Instant, wall: f64) {
        let mut pending = std::mem::take(&mut self.pending);
        for event in &pending {
            match what(event, &self.view, &mut self.names) {
                Some(what) => self.tell_one(wall, what),
                None if matches!(event, CoreEvent::Message { .. } | CoreEvent::Broadcast { .. }) => self.malformed += 1,
                None => {}
            }
        }
        self.events.announce();
        self.log_soon(now, &mut pending);
        // Kept for its room, unless much had come at once.
        if pending.capacity() <= PENDING_KEPT {
            self.pending = pending;
        }
    }

    /// Has events logged: an alert after it was shown to others of this machine, all else at once.
    fn log_soon(&mut self, now: Instant, events: &mut Vec<CoreEvent>) {
        for event in events.drain(..) {
            let may_wait = matches!(event, CoreEvent::Alert { .. }) && self.unlogged.len() < PENDING_KEPT;
            self.unlogged.push(event);
            if may_wait {
                self.log_at.get_or_insert(now + LOG_AFTER);
            } else {
                self.log_now();
            }
        }
    }

    fn log_now(&mut self) {
        self.unlogged.drain(..).for_each(|event| log(&event));
        self.log_at = None;
    }

    /// Logs what is due, and says that the loop turns.
    pub(crate) fn on_wake(&mut self, now: Instant) {
        self.board.turn(now);
        if self.log_at.is_some_and(|at| now >= at) {
            self.log_now();
        }
    }

    fn tell_one(&mut self, wall: f64, what: What) {
        let event = Arc::new(Event { at: wall, what });
        let bytes = event.weight();
        for handler in &mut self.inline {
            handler.call(&event);
        }
        for handler in &self.handlers {
            handler.offer(&event, bytes);
        }
        self.told += 1;
        self.events.push(event, bytes);
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        // The loop may have panicked: what it did last is wanted most.
        self.log_now();
        self.events.close();
    }
}

fn is_behind(age: Duration, is_own_owed: bool, is_other: impl FnOnce() -> bool) -> bool {
    is_own_owed || age >= REFRESH_READ || (age >= REFRESH_OTHER && is_other())
}

/// What the view shows beside the core's knowledge.
#[derive(Debug)]
pub(crate) struct Rest<'a> {
    pub(crate) counts: DriverCounts,
    pub(crate) own_changes: u64,
    pub(crate) addresses: &'a [std::net::SocketAddr],
    pub(crate) interfaces: &'a [Interface],
}

/// The ways of this moment, with the names of their interfaces.
fn ways(node: &mut Node, interfaces: &[Interface]) -> Vec<Way> {
    let name = |index| interfaces.iter().find(|interface| interface.index == index).map(|found| found.name.clone());
    node.routes().into_iter().map(|route| Way { interface: route.interface.and_then(name), route }).collect()
}

/// Brings the states up to date: of those who are present, and only those that changed are read anew.
fn update_states(view: &mut View, node: &Node, changed: &BTreeSet<NodeId>) {
    let present: BTreeSet<NodeId> =
        view.peers.iter().filter(|peer| peer.liveness.is_present()).map(|peer| peer.id).collect();
    let states = Arc::make_mut(&mut view.states);
    states.retain(|id, _| present.contains(id));
    for id in present {
        if changed.contains(&id) || !states.contains_key(&id) {
            let row = node.state_of(&id).map(|snapshot| row_of(&snapshot)).unwrap_or_default();
            states.insert(id, Arc::new(row));
        }
    }
}

/// Whether an event is told as it is: what others say and see changes no peer that the view shows, and may come a thousand times a second.
/// The counts of what was heard are as old as the view.
fn is_of_no_view(event: &CoreEvent) -> bool {
    matches!(
        event,
        CoreEvent::Message { .. }
            | CoreEvent::Broadcast { .. }
            | CoreEvent::Alert { .. }
            | CoreEvent::AlertAck { .. }
            | CoreEvent::Record(_)
    )
}

/// An event as people read it; `None` for what only the log and `doctor` tell, and for messages that no honest peer sends.
fn what(event: &CoreEvent, view: &View, told: &mut Told) -> Option<What> {
    let names = |ids: &[NodeId]| ids.iter().map(|id| view.name_of(id)).collect();
    if let CoreEvent::PeerUp { peer, name, .. } = event {
        let name = told.name_of(peer, name, view);
        let before = told.note(*peer, &name);
        return Some(peer_up(peer, name, before, view));
    }
    let shown = |id: &NodeId, name: &String| told.name_of(id, name, view);
    Some(match event {
        CoreEvent::PeerSuspect { peer, name, witnesses, reason } => What::PeerSuspect {
            node_id: shown(peer, name),
            id: peer.to_string(),
            witnesses: names(witnesses),
            reason: (*reason).to_owned(),
        },
        CoreEvent::PeerFailed { peer, name, witnesses, reason } => What::PeerFailed {
            node_id: shown(peer, name),
            id: peer.to_string(),
            witnesses: names(witnesses),
            reason: (*reason).to_owned(),
        },
        CoreEvent::PeerLeft { peer, name } => {
            What::PeerLeft { node_id: shown(peer, name), id: peer.to_string(), reason: "goodbye".to_owned() }
        }
        CoreEvent::State { node, name, snapshot } => state(*node, shown(node, name), snapshot),
        CoreEvent::Message { from, name, kind, payload, priority, path } => {
            let words = Words { kind, payload, priority: *priority, path: names(path), sent_to: None };
            message(from, shown(from, name), words)?
        }
        CoreEvent::Broadcast { from, name, kind, payload, priority, path } => {
            let sent_to = Some("all".to_owned());
            let words = Words { kind, payload, priority: *priority, path: names(path), sent_to };
            message(from, shown(from, name), words)?
        }
        CoreEvent::Alert { from, name, .. } | CoreEvent::AlertAck { from, name, .. } => {
            return alert(event, *from, shown(from, name));
        }
        CoreEvent::Record(view) => {
            let name = shown(&view.id.author, &view.source);
            let id = view.id.author.to_string();
            What::Record { node_id: name.clone(), id, source: name, record: Box::new(record_row(view, false)) }
        }
        CoreEvent::Searched { outcome, .. } => search(outcome.as_ref().ok()?, view),
        CoreEvent::SearchAnswered { from, name, .. } => return answered(event, *from, shown(from, name)),
        CoreEvent::Isolated(isolated) => {
            let reason = if *isolated { "nobody is heard" } else { "somebody is heard again" };
            What::Isolated { isolated: *isolated, reason: reason.to_owned() }
        }
        CoreEvent::Stored { .. }
        | CoreEvent::Settled { .. }
        | CoreEvent::Announced { .. }
        | CoreEvent::Found { .. }
        | CoreEvent::PeerUp { .. }
        | CoreEvent::Raised { .. }
        | CoreEvent::Receipt { .. }
        | CoreEvent::AlertOver { .. }
        | CoreEvent::LogKept(_)
        | CoreEvent::LogRotten(_)
        | CoreEvent::NameClash { .. }
        | CoreEvent::Cloned { .. }
        | CoreEvent::Overtaken { .. }
        | CoreEvent::Restored { .. }
        | CoreEvent::RefusedBy { .. }
        | CoreEvent::Refused { .. }
        | CoreEvent::Equivocated { .. }
        | _ => return None,
    })
}

/// That this node has answered a search of another's.
fn answered(event: &CoreEvent, from: NodeId, node_id: String) -> Option<What> {
    let CoreEvent::SearchAnswered { found, certified, elapsed, .. } = event else { return None };
    Some(What::Search {
        node_id,
        id: from.to_string(),
        found: *found,
        responded: 1,
        of: 1,
        certified: *certified,
        elapsed_ms: elapsed.as_secs_f64() * 1_000.0,
    })
}

/// That a search of this node's has ended.
fn search(searched: &Searched, view: &View) -> What {
    What::Search {
        node_id: view.name.clone(),
        id: view.id.to_string(),
        found: searched.found.len(),
        responded: searched.responded,
        of: searched.of,
        certified: searched.certified,
        elapsed_ms: searched.elapsed.as_secs_f64() * 1_000.0,
    }
}

/// That a peer is here, by this name.
fn peer_up(peer: &NodeId, node_id: String, renamed_from: Option<String>, view: &View) -> What {
    let row = view.peers.iter().find(|row| row.id == *peer);
    What::PeerUp {
        node_id,
        id: peer.to_string(),
        address: row.and_then(|row| row.address).map(|address| address.to_string()),
        version: row.map(|row| row.version.clone()).unwrap_or_default(),
        renamed_from,
    }
}

/// The state of the node of this name.
fn state(node: NodeId, name: String, snapshot: &NodeSnapshot) -> What {
    let row = row_of(snapshot);
    What::State { node_id: name.clone(), id: node.to_string(), source: name, version: row.version, state: row.state }
}

/// An alert, or that somebody has seen one, of the node of this name.
fn alert(event: &CoreEvent, from: NodeId, name: String) -> Option<What> {
    if let CoreEvent::Alert { alert, priority, payload, wall, late, repeated, .. } = event {
        return Some(What::Alert {
            node_id: name.clone(),
            id: from.to_string(),
            source: name,
            alert_id: alert.to_string(),
            priority: priority.name().to_owned(),
            // Its author may be no Kodikon node: what is no JSON says nothing.
            alert: serde_json::from_slice(payload).ok()?,
            timestamp: wall.seconds(),
            late: *late,
            repeated: *repeated,
        });
    }
    let CoreEvent::AlertAck { alert, by, wall, .. } = event else { return None };
    Some(What::AlertAck {
        node_id: name.clone(),
        id: from.to_string(),
        source: name,
        alert_id: alert.to_string(),
        by: by.clone(),
        timestamp: wall.seconds(),
    })
}

/// What somebody said.
struct Words<'a> {
    kind: &'a str,
    payload: &'a [u8],
    priority: Priority,
    path: Vec<String>,
    sent_to: Option<String>,
}

/// What somebody said, as people read it; `None` for what no honest node would have said.
fn message(from: &NodeId, name: String, words: Words<'_>) -> Option<What> {
    let Words { kind, payload, priority, path, sent_to } = words;
    Some(What::Message {
        node_id: name.clone(),
        id: from.to_string(),
        source: name,
        kind: if kind.is_empty() { "ROUTE_BROADCAST" } else { kind }.to_owned(),
        payload: said_by_letter(payload, kind)?,
        priority: priority.name().to_owned(),
        path,
        sent_to,
    })
}

/// What an operator would tell another goes to the log.
fn log(event: &CoreEvent) {
    match event {
        CoreEvent::PeerUp { name, peer, .. } => tracing::info!(%name, id = ?peer, "peer up"),
        CoreEvent::PeerSuspect { name, peer, reason, .. } => tracing::info!(%name, id = ?peer, reason, "peer suspect"),
        CoreEvent::PeerFailed { name, peer, reason, .. } => tracing::info!(%name, id = ?peer, reason, "peer failed"),
        CoreEvent::PeerLeft { name, peer } => tracing::info!(%name, id = ?peer, "peer left"),
        CoreEvent::State { name, snapshot, .. } => tracing::debug!(%name, version = snapshot.version, "state changed"),
        CoreEvent::Message { name, priority, .. } => tracing::debug!(%name, priority = priority.name(), "message"),
        CoreEvent::Broadcast { name, priority, .. } => {
            tracing::debug!(%name, priority = priority.name(), "broadcast");
        }
        CoreEvent::Announced { number, .. } => tracing::debug!(?number, "broadcast on its way"),
        CoreEvent::Settled { to, outcome, .. } => tracing::debug!(?to, ?outcome, "settled"),
        CoreEvent::Alert { alert, name, priority, late, .. } => {
            tracing::info!(%alert, %name, priority = priority.name(), late, "alert");
        }
        CoreEvent::AlertAck { alert, name, .. } => tracing::info!(%alert, %name, "alert acknowledged"),
        CoreEvent::Record(view) => tracing::debug!(name = view.source, "sighting"),
        CoreEvent::Stored { outcome, .. } => tracing::debug!(?outcome, "sighting ordered"),
        CoreEvent::Searched { outcome, .. } => {
            tracing::debug!(found = ?outcome.as_ref().map(|searched| searched.found.len()), "searched")
        }
        CoreEvent::Found { found, .. } => tracing::debug!(found = found.len(), "found so far"),
        CoreEvent::SearchAnswered { name, found, .. } => tracing::debug!(%name, found, "searched for another"),
        CoreEvent::Raised { outcome, .. } => tracing::debug!(?outcome, "alert ordered"),
        CoreEvent::Receipt { alert, name, durable, .. } => tracing::debug!(%alert, %name, durable, "alert has arrived"),
        CoreEvent::AlertOver { alert, .. } => tracing::debug!(%alert, "alert is over"),
        CoreEvent::LogKept(kept) if *kept => tracing::info!("alerts are on disk again"),
        CoreEvent::LogKept(_) => tracing::warn!("alerts are not on disk; they are shown and told all the same"),
        CoreEvent::LogRotten(entries) => {
            tracing::error!(
                entries,
                "entries of the log do not bear their author's signature any more: look at the disk; they are asked for again"
            )
        }
        CoreEvent::Isolated(isolated) => tracing::info!(isolated, "whether nobody is heard"),
        CoreEvent::NameClash { other, rank } => {
            tracing::warn!(?other, rank, "another node bears this node's name; give each its own");
        }
        CoreEvent::Cloned { rekeyed } => {
            tracing::warn!(rekeyed, "another node runs with this identity; one of the two takes a new one");
        }
        CoreEvent::Overtaken { epoch } => {
            tracing::info!(
                epoch = epoch.counter(),
                "others took a copy of this node for its next run: it goes on above that"
            );
        }
        CoreEvent::Restored { epoch } => {
            tracing::warn!(epoch = epoch.counter(), "the data directory was restored from a backup");
        }
        CoreEvent::RefusedBy { max_peers, address } => {
            tracing::warn!(max_peers, %address, "a peer's table is full: it does not take this node in");
        }
        CoreEvent::Refused { name, peer } => {
            tracing::warn!(%name, id = ?peer, "not taken in: the table of peers is full, raise mesh.max_peers");
        }
        CoreEvent::Equivocated { name, peer } => {
            tracing::warn!(%name, id = ?peer, "signed two values of one number: it tells some nodes one thing and others another");
        }
        _ => tracing::info!(?event, "event"),
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::ground::config::Config;
    use kodikon_core::ground::id::Epoch;
    use kodikon_core::ground::time::WallTime;
    use kodikon_core::model::alert::AlertId;
    use kodikon_core::model::identity::{Identity, Zip215Verifier};
    use kodikon_core::model::letter::Priority;
    use kodikon_core::model::state::NodeSnapshot;
    use kodikon_core::node::{Boot, Saved};

    use super::*;
    use crate::testing::peer_view;

    fn node() -> Node {
        let boot = Boot {
            config: Config::new("me"),
            identity: Identity::from_secret(&[1; 32]),
            epoch: Epoch::new(1, 2),
            seed: [0; 32],
            port: 10_000,
            wall: WallTime(0),
            saved: Saved::default(),
            verifier: Box::<Zip215Verifier>::default(),
        };
        Node::new(Instant::ZERO, boot)
    }

    #[test]
    fn ways_are_worked_out_ten_times_a_second_at_most_and_a_change_is_not_forgotten() {
        let (mut node, mut show) = (node(), Show::new(Arc::default()));
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut refresh = |show: &mut Show, ms: u64, changes: bool| {
            // As if the core's version were another.
            show.version = show.version.filter(|_| !changes);
            let rest = Rest { counts: DriverCounts::default(), own_changes: 0, addresses: &[], interfaces: &[] };
            show.refresh(at(ms), 0.0, &mut node, rest);
            (show.is_due(at(ms), &node), show.is_due(at(100), &node), show.next_wake())
        };
        // (time in ms, whether something changes, whether it is due at once and at 100 ms, when to come back)
        for (ms, changes, at_once, later, wake) in [
            (0, true, false, false, 1_250),
            (40, true, false, true, 100),
            (99, false, false, true, 100),
            (100, false, false, false, 1_250),
        ] {
            assert_eq!(refresh(&mut show, ms, changes), (at_once, later, Some(at(wake))), "at {ms} ms");
        }
    }

    #[test]
    fn whoever_asks_for_what_is_known_now_is_answered_once_it_is_shown() {
        let board = Arc::<Board>::default();
        let (mut node, mut show) = (node(), Show::new(Arc::clone(&board)));
        let mut refresh = |show: &mut Show| {
            let rest = Rest { counts: DriverCounts::default(), own_changes: 0, addresses: &[], interfaces: &[] };
            show.refresh(Instant::ZERO, 0.0, &mut node, rest);
        };
        let (ask, mut answer) = oneshot::channel();
        show.add_asker(ask);
        let reading = board.hold();
        refresh(&mut show);
        show.answer();
        assert!(answer.try_recv().is_err(), "a reader holds what was shown before");
        for _ in 0..3 {
            let (gone, _) = oneshot::channel();
            show.add_asker(gone);
        }
        assert_eq!(show.askers.len(), 2, "whoever gave up takes no room");
        drop(reading);
        refresh(&mut show);
        assert_eq!(answer.try_recv(), Ok(()));
    }

    #[test]
    fn a_message_is_told_without_a_new_view_and_after_what_came_before_it() {
        let (mut node, mut show) = (node(), Show::new(Arc::default()));
        let refresh = |show: &mut Show, node: &mut Node| {
            let rest = Rest { counts: DriverCounts::default(), own_changes: 0, addresses: &[], interfaces: &[] };
            show.refresh(Instant::ZERO, 0.0, node, rest);
        };
        refresh(&mut show, &mut node);
        let said = |payload: &[u8], kind: &str| CoreEvent::Message {
            from: NodeId([7; 16]),
            name: "cam".to_owned(),
            kind: kind.to_owned(),
            payload: payload.to_vec(),
            priority: Priority::Critical,
            path: vec![NodeId([0xab; 16])],
        };
        show.push(said(b"[1]", ""));
        assert!(!show.is_due(Instant::ZERO, &node), "a view for each message would be a large one for each datagram");
        show.tell(Instant::ZERO, 0.0);
        assert_eq!(show.told(), 1);
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        let long = "k".repeat(65);
        let table =
            [(&b"[1"[..], ""), (b"\xff", ""), (b"", "door"), (deep.as_bytes(), ""), (b"1", "a\nb"), (b"1", &long)];
        for (payload, kind) in table {
            show.push(said(payload, kind));
        }
        show.tell(Instant::ZERO, 0.0);
        assert_eq!((show.told(), show.malformed()), (1, 6), "what no honest peer says is dropped and counted");

        show.push(CoreEvent::Isolated(true));
        show.push(said(b"[2]", "door"));
        assert!(show.is_due(Instant::ZERO, &node), "the first waits for the view, and the second for the first");
        refresh(&mut show, &mut node);
        assert_eq!(show.told(), 3);
    }

    #[test]
    fn an_event_bears_the_name_that_the_rows_show() {
        let (own, peer, gone) = (NodeId([1; 16]), NodeId([2; 16]), NodeId([3; 16]));
        let row = peer_view(peer, "cam-2");
        let view = View { id: own, name: "me-2".to_owned(), peers: vec![row], ..View::default() };
        // The core names a node as it knew it when something happened; a rank may have come since.
        for (id, then, expected) in [(own, "me", "me-2"), (peer, "cam", "cam-2"), (gone, "door", "door")] {
            let left = CoreEvent::PeerLeft { peer: id, name: then.to_owned() };
            let state = CoreEvent::State { node: id, name: then.to_owned(), snapshot: NodeSnapshot::default() };
            for event in [left, state] {
                let shown = serde_json::to_value(what(&event, &view, &mut Told::default()).unwrap()).unwrap();
                assert_eq!((&shown["node_id"], &shown["id"]), (&expected.into(), &id.to_string().into()), "{event:?}");
            }
        }
    }

    #[test]
    fn an_alert_is_told_without_a_new_view_and_logged_a_little_later() {
        let (mut node, mut show) = (node(), Show::new(Arc::default()));
        let rest = Rest { counts: DriverCounts::default(), own_changes: 0, addresses: &[], interfaces: &[] };
        show.refresh(Instant::ZERO, 0.0, &mut node, rest);
        let alert = || CoreEvent::Alert {
            alert: AlertId(1),
            from: NodeId([7; 16]),
            name: "cam".to_owned(),
            priority: Priority::Critical,
            payload: b"{}".to_vec(),
            wall: WallTime(0),
            late: false,
            repeated: false,
        };
        show.push(alert());
        assert!(!show.is_due(Instant::ZERO, &node), "it changes no peer");
        show.tell(Instant::ZERO, 0.0);
        let later = Instant::ZERO + LOG_AFTER;
        assert_eq!((show.told(), show.unlogged.len(), show.next_wake()), (1, 1, Some(later)));
        show.on_wake(later);
        assert_eq!((show.unlogged.len(), show.log_at), (0, None));

        // What is logged at once takes along what came before it, and many do not wait.
        show.push(alert());
        show.push(CoreEvent::Isolated(true));
        show.tell(later, 0.0);
        assert!(show.unlogged.is_empty());
        (0..=PENDING_KEPT).for_each(|_| show.push(alert()));
        show.tell(later, 0.0);
        assert!(show.unlogged.is_empty());
    }

    #[test]
    fn own_orders_are_shown_at_once_and_what_others_see_after_ten_milliseconds() {
        for (age_ms, is_own, is_other, expected) in [
            (0, false, false, false),
            (0, true, false, true),
            (0, false, true, false),
            (9, false, true, false),
            (10, false, true, true),
            (99, false, false, false),
            (100, false, false, true),
        ] {
            let found = is_behind(Duration::from_millis(age_ms), is_own, || is_other);
            assert_eq!(found, expected, "{age_ms} ms, own {is_own}, others' {is_other}");
        }
    }
}

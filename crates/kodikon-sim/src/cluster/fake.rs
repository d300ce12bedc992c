//! Decides nothing of worth: a small mesh protocol in clear, honest or lying, to try the simulator and its checks on.

mod alerts;
mod casts;
mod letters;

use std::collections::{BTreeMap, VecDeque};

use kodikon_core::effect::{
    Cast, Command, Event, Input, Output, PeerView, Persist, RouteSource, RouteView, StreamWish, Target, Transmit, Wake,
    WakeBy,
};
use kodikon_core::ground::id::{Epoch, InterfaceIndex, Life, NodeId};
use kodikon_core::ground::stats::Stats;
use kodikon_core::ground::time::{Duration, Instant};
use kodikon_core::model::alert::AlertView;
use kodikon_core::model::member::Liveness;
use kodikon_core::model::record::{RecordView, RegistryView};
use kodikon_core::model::state::NodeSnapshot;
use kodikon_core::node::Boot;

use crate::cluster::endpoint::Endpoint;
use crate::cluster::fake::alerts::Board;
use crate::cluster::fake::letters::Post;

/// What a fake node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Nothing.
    None,
    /// Asks to be woken at once, always.
    Spins,
    /// Calls everybody failed after ten seconds, whoever is heard.
    Slanders,
    /// Never calls anybody failed.
    Believes,
    /// Shows a peer that never was.
    Invents,
    /// Changes what others publish.
    Falsifies,
    /// Holds more than it may.
    Hoards,
    /// Shows an older run of a peer after a newer.
    Reverts,
    /// Keeps nothing on disk.
    Forgets,
    /// Says again and again that its disk was restored.
    Alarms,
    /// Says again and again that another bears its identity.
    Haunted,
    /// Shows ways that lead through their ends twice.
    Circles,
    /// Shows a way to one peer only.
    Loses,
    /// Shows ways to the dead.
    Clings,
    /// Hands every letter over twice.
    Doubles,
    /// Changes what letters say.
    Bends,
    /// Hands letters over as more urgent than they are.
    Hurries,
    /// Says that letters came by six relays.
    Wanders,
    /// Tells nobody that a letter arrived.
    Mute,
    /// Settles everything twice.
    Stutters,
    /// Settles as delivered what it does not send.
    Boasts,
    /// Settles everything as unreachable.
    Shuns,
    /// Settles everything as expired.
    Despairs,
    /// Shows alerts as shown by nobody else.
    Ignores,
}

/// Node that multicasts `id | epoch | fps` each second and holds dead whoever is silent for five.
#[derive(Debug)]
pub(crate) struct Fake {
    vice: Vice,
    id: NodeId,
    epoch: Epoch,
    name: String,
    /// On disk, and told.
    state: NodeSnapshot,
    /// As its application set it.
    wished: NodeSnapshot,
    peers: BTreeMap<NodeId, (Epoch, Instant, Liveness, NodeSnapshot, String)>,
    post: Post,
    board: Board,
    next: Instant,
    outputs: VecDeque<Output>,
    stats: Stats,
    began: Instant,
    left: bool,
}

impl Fake {
    fn new(now: Instant, boot: &Boot, vice: Vice) -> Self {
        Self {
            vice,
            id: boot.identity.id(),
            epoch: boot.epoch,
            name: boot.config.node_name.clone(),
            state: boot.saved.state.clone(),
            wished: boot.saved.state.clone(),
            peers: BTreeMap::new(),
            post: Post::default(),
            board: Board::default(),
            next: now,
            outputs: VecDeque::new(),
            stats: Stats::default(),
            began: now,
            left: false,
        }
    }

    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        let Some((id, rest)) = bytes.split_first_chunk::<16>() else { return };
        let Some((epoch, rest)) = rest.split_first_chunk::<8>() else { return };
        let (id, epoch) = (NodeId(*id), Epoch(u64::from_be_bytes(*epoch)));
        let text = String::from_utf8_lossy(rest);
        let Some((name, fps)) = text.split_once('|') else { return };
        if id == self.id {
            return;
        }
        let known = self.peers.get(&id).is_some_and(|row| row.0 == epoch && row.2 == Liveness::Alive);
        let fps = if self.vice == Vice::Falsifies && !fps.is_empty() { "61" } else { fps };
        let mut snapshot = NodeSnapshot { version: fps.parse().unwrap_or(0), ..NodeSnapshot::default() };
        if !fps.is_empty() {
            snapshot.values.insert("fps".to_owned(), fps.to_owned());
        }
        self.peers.insert(id, (epoch, now, Liveness::Alive, snapshot.clone(), name.to_owned()));
        if !known {
            let up = |epoch| Event::PeerUp { peer: id, name: String::new(), epoch, life: Life(0) };
            self.outputs.push_back(Output::Event(up(epoch)));
            if self.vice == Vice::Reverts {
                self.outputs.push_back(Output::Event(up(Epoch(epoch.0 - 1))));
            }
        }
        if snapshot.version > 0 {
            self.outputs.push_back(Output::Event(Event::State { node: id, name: String::new(), snapshot }));
        }
    }

    fn wake(&mut self, now: Instant) {
        if self.vice != Vice::Spins {
            self.next = now + Duration::from_secs(1);
        }
        if self.left {
            return;
        }
        let fps = self.state.values.get("fps").cloned().unwrap_or_default();
        let bytes = [&self.id.0[..], &self.epoch.0.to_be_bytes(), self.name.as_bytes(), b"|", fps.as_bytes()].concat();
        let target = Target::Segment(InterfaceIndex(2), Cast::Multicast4);
        self.outputs.push_back(Output::Transmit(Transmit { target, bytes }));
        if self.vice != Vice::Mute {
            self.give_up(now);
        }
        let slander = self.vice == Vice::Slanders && now.since(self.began) > Duration::from_secs(10);
        let silent = |heard| slander || now.since(heard) > Duration::from_secs(5);
        for (&peer, row) in &mut self.peers {
            if row.2 == Liveness::Alive && silent(row.1) && self.vice != Vice::Believes {
                row.2 = Liveness::Failed;
                let event = Event::PeerFailed { peer, name: String::new(), witnesses: Vec::new(), reason: "silent" };
                self.outputs.push_back(Output::Event(event));
            }
        }
        if self.vice == Vice::Haunted {
            self.outputs.push_back(Output::Event(Event::Cloned { rekeyed: false }));
        }
        if self.vice == Vice::Alarms {
            self.outputs.push_back(Output::Event(Event::Restored { epoch: self.epoch }));
        }
        if self.vice == Vice::Invents {
            let ghost =
                Event::PeerUp { peer: NodeId([9; 16]), name: "ghost".to_owned(), epoch: Epoch(1), life: Life(0) };
            self.outputs.push_back(Output::Event(ghost));
        }
    }
}

impl Endpoint for Fake {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Wake => self.wake(now),
            Input::Datagram(_, bytes) if self.hear_letter(bytes) || self.hear_cast(bytes) => {}
            Input::Datagram(_, bytes) if self.hear_alert(now, bytes) => {}
            Input::Datagram(_, bytes) => self.hear(now, bytes),
            Input::Command(Command::SetState(..)) => {
                self.wished.version += 1;
                self.wished.values.insert("fps".to_owned(), self.wished.version.to_string());
                if self.vice == Vice::Forgets {
                    // It keeps the last but one.
                    let before = std::mem::replace(&mut self.state, self.wished.clone());
                    self.outputs.push_back(Output::Persist(Persist::State(before)));
                } else {
                    self.outputs.push_back(Output::Persist(Persist::State(self.wished.clone())));
                }
            }
            Input::StateKept { version } if version == self.wished.version => self.state = self.wished.clone(),
            Input::Command(Command::Leave) => self.left = true,
            Input::StreamOffered { stream, .. } => {
                self.outputs.push_back(Output::Stream(StreamWish::Send { stream, bytes: b"welcome".to_vec() }));
            }
            Input::Command(Command::Send(order)) => self.write(now, order),
            Input::Command(Command::Broadcast(order)) => self.announce(&order),
            Input::Command(Command::Raise(order)) => self.raise(now, order),
            Input::Interfaces(_)
            | Input::Unreachable(_)
            | Input::StreamOpened { .. }
            | Input::StreamFailed { .. }
            | Input::StreamFrame { .. }
            | Input::StreamEnded { .. }
            | Input::StateKept { .. }
            | Input::Committed { .. }
            | Input::Scanned { .. }
            | Input::Checked { .. }
            | Input::Command(Command::Acknowledge(_) | Command::Add(_) | Command::Delete(_) | Command::Search(_))
            | Input::Disturbed => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_wake(&self) -> Option<Wake> {
        Some(Wake { at: self.next, by: WakeBy::Discovery })
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_isolated(&self) -> bool {
        false
    }

    fn peers(&self) -> Vec<PeerView> {
        let view = |(&id, row): (&NodeId, &(Epoch, Instant, Liveness, NodeSnapshot, String))| PeerView {
            id,
            name: row.4.clone(),
            liveness: row.2,
            epoch: row.0,
            life: Life(0),
            address: None,
            rtt: None,
            heard: Some(row.1),
            witnesses: Vec::new(),
            reason: "",
            version: String::new(),
            skew_ms: None,
            log_differs: None,
            datagrams: 0,
            beyond: kodikon_core::ground::excess::Excesses::default(),
            relays: Some(0),
        };
        self.peers.iter().map(view).collect()
    }

    fn routes(&mut self) -> Vec<RouteView> {
        let alive = |id: &NodeId| self.peers.get(id).is_some_and(|row| row.2 == Liveness::Alive);
        let relay = self.peers.keys().copied().find(alive);
        let way = |&to: &NodeId| {
            let relay = relay.filter(|_| !alive(&to)).or((self.vice == Vice::Circles).then_some(to));
            let path = relay.into_iter().chain([to]).collect();
            RouteView {
                to,
                path,
                cost: 10,
                interface: None,
                source: RouteSource::Map,
                links: Vec::new(),
                next_best: None,
            }
        };
        let most = if self.vice == Vice::Loses { 1 } else { usize::MAX };
        let shown = self.peers.keys().filter(|id| alive(id) || self.vice == Vice::Clings);
        shown.map(way).take(most).collect()
    }

    fn state_of(&self, id: &NodeId) -> Option<NodeSnapshot> {
        if *id == self.id { Some(self.wished.clone()) } else { self.peers.get(id).map(|row| row.3.clone()) }
    }

    fn kept_state(&self) -> NodeSnapshot {
        self.state.clone()
    }

    fn root(&self) -> u64 {
        0
    }

    fn log_root(&self) -> u64 {
        0
    }

    fn alerts(&self, now: Instant) -> Vec<AlertView> {
        self.board(now)
    }

    fn records(&self, _: Instant) -> Vec<RecordView> {
        Vec::new()
    }

    fn registry(&self) -> RegistryView {
        RegistryView::default()
    }

    fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![("peers", if self.vice == Vice::Hoards { 11 } else { 10 }, 10)]
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

macro_rules! makers {
    ($($name:ident: $vice:ident),* $(,)?) => {
        $(pub(crate) fn $name(now: Instant, boot: Boot) -> Box<dyn Endpoint> {
            Box::new(Fake::new(now, &boot, Vice::$vice))
        })*
    };
}

makers! {
    honest: None, spinning: Spins, slandering: Slanders, believing: Believes, inventing: Invents,
    falsifying: Falsifies, hoarding: Hoards, reverting: Reverts, forgetting: Forgets, alarmed: Alarms, haunted: Haunted,
    circling: Circles, losing: Loses, clinging: Clings,
    doubling: Doubles, bending: Bends, hurrying: Hurries, wandering: Wanders, mute: Mute,
    stuttering: Stutters, boasting: Boasts, shunning: Shuns, despairing: Despairs,
    ignoring: Ignores,
}

//! The front hall: every input enters here and is told, in one exhaustive match, to the machine it concerns.

mod alerts;
mod arrivals;
mod casts;
mod disputes;
mod far;
mod ghosts;
mod goodbyes;
mod letters;
mod missed;
mod notices;
mod outbound;
mod records;
mod search;
mod start;
mod streams;
mod views;

use core::cell::Cell;

use crate::effect::context::Context;
use crate::effect::log::SavedLog;
use crate::effect::{Command, Input, Output, Wake, WakeBy};
use crate::ground::config::Config;
use crate::ground::id::Epoch;
use crate::ground::stats::Stats;
use crate::ground::time::{Duration, Instant, WallTime};
use crate::machines::alerts::Alerts;
use crate::machines::broadcast::Broadcasts;
use crate::machines::discovery::Discovery;
use crate::machines::liveness::Liveness;
use crate::machines::membership::Membership;
use crate::machines::messages::Messages;
use crate::machines::registry::Registry;
use crate::machines::replication::Replication;
use crate::machines::routing::Routing;
use crate::machines::search::Searches;
use crate::model::identity::{Identity, Verifier};
use crate::model::state::NodeSnapshot;
use crate::node::disputes::Disputes;
use crate::node::far::Review;
use crate::node::ghosts::Ghosts;
use crate::node::goodbyes::Goodbyes;
use crate::node::missed::Missed;
use crate::node::outbound::Outbound;

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
    /// What it became since and is not on disk yet, where a run goes on in the memory of the one before.
    pub unkept_state: Option<NodeSnapshot>,
    /// The rank that this identity has of its name; `None` if its claim to this name never stood.
    pub rank: Option<u16>,
    /// The directory.
    pub directory: Vec<crate::effect::Remembered>,
    /// The log.
    pub log: SavedLog,
}

/// A node of the mesh, as a function of its inputs.
///
/// After every [`Node::handle`], drain [`Node::poll_output`] until it returns `None`; call again with [`Input::Wake`]
/// at [`Node::next_wake`] at the latest. `now` never runs backwards. The first input is [`Input::Interfaces`].
#[derive(Debug)]
#[doc(alias = "MeshProtocol")]
pub struct Node {
    ctx: Context,
    discovery: Discovery,
    membership: Membership,
    liveness: Liveness,
    replication: Replication,
    routing: Routing,
    messages: Messages,
    broadcasts: Broadcasts,
    alerts: Alerts,
    searches: Searches,
    registry: Registry,
    outbound: Outbound,
    ghosts: Ghosts,
    review: Review,
    disputes: Disputes,
    goodbyes: Goodbyes,
    missed: Missed,
    /// What [`Node::next_wake`] said since the last input.
    planned: Cell<Option<Option<Wake>>>,
    /// When something last happened, for what is asked without a time.
    latest: Instant,
    left: bool,
}

/// Called later than planned by this much, the node takes it for an own stall.
const STALL: Duration = Duration::from_millis(500);

impl Node {
    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        // Of what comes right after another input nobody need ask for when it was planned.
        let planned = if now.since(self.latest) > STALL { self.next_wake() } else { None };
        self.latest = now;
        if let Some(planned) = planned.filter(|planned| now.since(planned.at) > STALL) {
            self.liveness.on_stall(now, now.since(planned.at), &mut self.ctx);
            self.routing.on_stall(now, now.since(planned.at), &self.ctx);
            self.missed.postpone(now.since(planned.at));
        }
        if self.left {
            self.handle_after_goodbye(now, input);
        } else {
            self.dispatch(now, input);
            self.settle(now);
        }
        self.planned.set(None);
    }

    fn dispatch(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Wake => self.on_wake(now),
            Input::Interfaces(interfaces) => self.on_interfaces(now, interfaces),
            Input::Datagram(arrival, frame) => self.on_datagram(now, arrival, frame),
            Input::Unreachable(address) => self.liveness.on_unreachable(now, address, &mut self.ctx),
            Input::StreamOffered { stream, from } => self.liveness.on_stream_offered(now, stream, from, &mut self.ctx),
            Input::StreamOpened { stream, peer, purpose } => self.on_stream_opened(now, stream, (peer, purpose)),
            Input::StreamFailed { peer, purpose } => self.on_stream_failed(now, peer, purpose),
            Input::StreamFrame { stream, frame } => self.on_stream_frame(now, stream, frame),
            Input::StreamEnded { stream } => {
                self.replication.on_pipe_ended(now, stream, &mut self.ctx);
                self.liveness.on_stream_ended(now, stream, &mut self.ctx);
            }
            Input::Checked { check, holds } => self.replication.on_checked(now, check, &holds, &mut self.ctx),
            Input::Disturbed => self.on_disturbed(now),
            Input::Committed { commit, result } => self.replication.on_committed(now, commit, result, &mut self.ctx),
            Input::Scanned { scan, answers } => self.searches.on_scanned(now, scan, answers, &mut self.ctx),
            Input::StateKept { version } => self.replication.on_state_kept(now, version, &mut self.ctx),
            Input::Command(Command::SetState(changes, wall)) => {
                self.replication.set_state(&changes, wall, &mut self.ctx);
            }
            Input::Command(Command::Send(order)) => self.messages.send(now, order, &mut self.ctx),
            Input::Command(Command::Broadcast(order)) => self.broadcast(order),
            Input::Command(Command::Raise(order)) => self.raise(now, &order),
            Input::Command(Command::Acknowledge(order)) => self.acknowledge(now, &order),
            Input::Command(Command::Add(order)) => self.add_record(now, order),
            Input::Command(Command::Delete(order)) => self.delete_records(now, &order),
            Input::Command(Command::Search(order)) => self.search(now, order),
            Input::Command(Command::Leave) => self.leave(now),
        }
    }

    /// After the goodbye only its repetitions leave.
    fn handle_after_goodbye(&mut self, now: Instant, input: Input<'_>) {
        if matches!(input, Input::Wake) {
            self.flush(now);
        }
    }

    fn on_wake(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if is_due(self.liveness.next_deadline()) {
            self.liveness.on_wake(now, &mut self.ctx);
            self.read_notices(now);
        }
        if is_due(self.discovery.next_deadline(self.ctx.config.beat_period())) {
            self.discovery.on_wake(now, &mut self.ctx);
        }
        if is_due(self.membership.next_deadline()) {
            self.membership.on_wake(now, &mut self.ctx);
        }
        if is_due(self.replication.next_deadline()) {
            self.replication.on_wake(now, &mut self.ctx);
        }
        if is_due(self.routing.next_deadline()) {
            for fact in self.routing.on_wake(now, &mut self.ctx) {
                self.replication.publish(now, vec![fact], &mut self.ctx);
            }
        }
        if is_due(self.messages.next_deadline()) {
            self.messages.on_wake(now, &mut self.ctx);
        }
        if is_due(self.broadcasts.next_deadline()) {
            self.wake_casts(now);
        }
        if is_due(self.alerts.next_deadline()) {
            self.wake_alerts(now);
        }
        if is_due(self.searches.next_deadline()) {
            self.searches.on_wake(now, &mut self.ctx);
        }
        self.review_far(now);
        if is_due(self.missed.next_deadline()) {
            self.on_missed();
        }
        if is_due(self.ghosts.next_deadline()) {
            self.on_ghost_unanswered(now);
        }
    }

    /// Lets the machines hear of each other, and puts what they say on its way.
    fn settle(&mut self, now: Instant) {
        self.read_notices(now);
        self.searches.settle(now, &mut self.ctx);
        // What was searched in vain here others may have.
        self.read_notices(now);
        self.note_map(now);
        self.route_letters(now);
        self.spread_casts(now);
        self.replication.write_log(now, &mut self.ctx);
        self.flush(now);
    }

    /// The next wish to carry out; repeat until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.out.take_output()
    }

    /// When to call with [`Input::Wake`] at the latest, and who asked.
    #[must_use]
    pub fn next_wake(&self) -> Option<Wake> {
        self.planned.get().unwrap_or_else(|| {
            let soonest = self.soonest();
            self.planned.set(Some(soonest));
            soonest
        })
    }

    fn soonest(&self) -> Option<Wake> {
        let outbound = (self.outbound.next_deadline(), WakeBy::Outbound);
        let waking = [
            (self.discovery.next_deadline(self.ctx.config.beat_period()), WakeBy::Discovery),
            (self.membership.next_deadline(), WakeBy::Membership),
            (self.liveness.next_deadline(), WakeBy::Liveness),
            (self.replication.next_deadline(), WakeBy::Replication),
            (self.routing.next_deadline(), WakeBy::Routing),
            (self.review.next_deadline(), WakeBy::Routing),
            (self.messages.next_deadline(), WakeBy::Messages),
            (self.broadcasts.next_deadline(), WakeBy::Broadcasts),
            (self.alerts.next_deadline(), WakeBy::Alerts),
            (self.searches.next_deadline(), WakeBy::Searches),
            (self.missed.next_deadline(), WakeBy::Membership),
            (self.ghosts.next_deadline(), WakeBy::Membership),
        ];
        // Looked at after every input: a loop costs half of what iterators upon each other do.
        let (mut soonest, mut by) = outbound;
        for (at, waker) in waking {
            if !self.left && at.is_some_and(|at| soonest.is_none_or(|soonest| (at, waker) < (soonest, by))) {
                (soonest, by) = (at, waker);
            }
        }
        soonest.map(|at| Wake { at, by })
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.ctx.stats
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;

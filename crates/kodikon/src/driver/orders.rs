//! Decides what the loop does when an application wants something: what is told to the core, and who waits for what becomes of it.

use kodikon_core::effect::{BroadcastOrder, Command, Event as CoreEvent, Input, SendOrder};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::alert::{AckOrder, AlertOrder, Raised};
use kodikon_core::model::cast::CastId;
use kodikon_core::model::letter::{Outcome, Ticket};
use kodikon_core::model::state::{NodeSnapshot, StateChange};
use tokio::sync::oneshot;

use crate::clock::Clock as _;
use crate::doctor::LogUse;
use crate::driver::alerts::{self, Receipts};
use crate::driver::evidence::Scene;
use crate::driver::{Driver, ORDERS_A_TURN, Order};
use crate::mesh::Waiting;

/// What becomes of messages whose node ends before they are settled; how often they were tried is not told any more.
const SHUT_DOWN: Outcome = Outcome::Expired { reason: "shutdown", attempts: 0 };

impl Driver {
    /// Carries out an order, and those that wait behind it. Once sightings were compared for long the rest waits for the next turn.
    pub(super) fn obey_all(&mut self, now: Instant, order: Order) {
        self.obey(now, order);
        for _ in 1..ORDERS_A_TURN {
            if self.storing.has_compared() {
                break;
            }
            let Some(order) = self.orders.waiting() else { break };
            self.obey(now, order);
        }
    }

    /// Shows what is known now to whoever asks for it; asked again and again while nothing changes it does so no more often than for
    /// readers.
    fn show_now(&mut self, now: Instant, answer: oneshot::Sender<()>) {
        let is_old = self.show.is_behind(now, &self.node) || self.show.is_due(now, &self.node);
        self.show.add_asker(answer);
        if is_old {
            self.refresh(now);
        }
        self.show.answer();
    }

    fn obey(&mut self, now: Instant, order: Order) {
        match order {
            Order::SetState { changes, wall, number } => {
                // After the goodbye nothing is kept any more; whoever waits for it learns that the node has stopped.
                if self.leaving.is_none() {
                    self.own_changes = number;
                    self.set_state(now, changes, wall);
                }
            }
            Order::Send { order, waiting } => self.send(now, order, waiting),
            Order::Broadcast { order, answer } => self.broadcast(now, order, answer),
            Order::Raise { order, answer, receipts } => {
                let ticket = self.next_ticket();
                self.follow(now, (ticket, answer, Some(receipts)), Command::Raise(AlertOrder { ticket, ..order }));
            }
            Order::Acknowledge { order, answer } => {
                let ticket = self.next_ticket();
                self.follow(now, (ticket, answer, None), Command::Acknowledge(AckOrder { ticket, ..order }));
            }
            Order::Search { order, finding } => self.search(now, *order, finding),
            Order::Refresh(answer) => self.show_now(now, answer),
            // An error means that nobody waits for the answer any more.
            Order::Alerts(answer) => {
                drop(answer.send(alerts::rows(now, self.clock.wall(), &self.node, self.show.view())));
            }
            Order::Alert(alert, answer) => {
                let row = alerts::row_of(now, self.clock.wall(), alert, &self.node, self.show.view());
                drop(answer.send(row));
            }
            Order::Add { record, unless, answer } => self.add(now, record, unless, answer),
            // An error means that nobody waits for the answer any more.
            Order::Find { filter, cursor, most, answer } => drop(answer.send(self.find(now, &filter, cursor, most))),
            Order::Delete { order, answer } => self.delete(now, order, answer),
            Order::Kept(answer) => self.await_kept(now, answer),
            Order::On(handler) => self.show.add_handler(handler),
            Order::OnInline(handler) => self.show.add_inline(handler),
            // An error means that nobody waits for the answer any more.
            Order::Departed(answer) => drop(answer.send(self.node.directory(now))),
            Order::Symptoms(answer) => {
                self.refresh(now);
                let scene = Scene {
                    view: self.show.view(),
                    reports: &self.node.reports(),
                    echoes: &self.node.echoes(now),
                    absent: &self.absent,
                    discovery: &self.discovery,
                    udp: &self.udp,
                    discovery_port: self.facts.discovery_port,
                    own_port: self.facts.port,
                    own_name: &self.facts.name,
                    max_peers: self.facts.max_peers,
                    max_peers_origin: self.facts.max_peers_origin.as_deref(),
                    is_keyed: self.facts.is_keyed,
                    other_policy: self.other_policy.is_near(now),
                    log: LogUse {
                        problem: self.logger.problem(),
                        failures: self.node.stats().commits_failed,
                        unkept: self.node.alerts(now).iter().filter(|alert| !alert.kept).count(),
                        // The loop looks at no disk.
                        damaged: Vec::new(),
                    },
                };
                drop(answer.send(self.evidence.symptoms(&scene)));
            }
            Order::Leave => self.leave(now),
        }
    }

    /// Changes the own state. It is told when it is on disk.
    pub(super) fn set_state(&mut self, now: Instant, changes: Vec<StateChange>, wall: WallTime) {
        self.node.handle(now, Input::Command(Command::SetState(changes, wall)));
        self.carry_out();
    }

    /// Whoever waits for a state that is on disk already is answered at the end of this turn. After the goodbye nobody is: what was
    /// changed just before may not have been taken any more, and the end of the node is the answer.
    fn await_kept(&mut self, now: Instant, answer: oneshot::Sender<Option<NodeSnapshot>>) {
        if self.leaving.is_some() {
            return;
        }
        let newest = self.node.state_of(&self.node.id()).unwrap_or_default();
        self.keeping.add(now, newest.version, answer);
    }

    /// The own state is on disk: the core has told the others, and here the application is told. Those who wait for it are answered
    /// when it is shown.
    pub(super) fn take_kept(&mut self, now: Instant, version: u64) {
        let before = self.node.kept_state().version;
        self.node.handle(now, Input::StateKept { version });
        self.carry_out();
        let snapshot = self.node.kept_state().clone();
        if snapshot.version > before {
            self.hear(CoreEvent::State { node: self.node.id(), name: self.node.name(), snapshot });
        }
    }

    /// Says something to one node; what becomes of it is told to whoever waits for it.
    fn send(&mut self, now: Instant, order: SendOrder, waiting: Waiting) {
        if self.leaving.is_some() {
            return waiting.settle(SHUT_DOWN);
        }
        let ticket = self.next_ticket();
        self.waiting.insert(ticket, waiting);
        self.node.handle(now, Input::Command(Command::Send(SendOrder { ticket, ..order })));
        self.carry_out();
    }

    /// Says something to all; its name is told at once.
    fn broadcast(&mut self, now: Instant, order: BroadcastOrder, answer: oneshot::Sender<Option<CastId>>) {
        let ticket = self.next_ticket();
        self.announcing.insert(ticket, answer);
        self.node.handle(now, Input::Command(Command::Broadcast(BroadcastOrder { ticket, ..order })));
        self.carry_out();
        // A node that has left numbers nothing any more, and whoever waits learns it by this.
        self.announcing.remove(&ticket);
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Wants something of the log that is answered.
    fn follow(
        &mut self,
        now: Instant,
        (ticket, answer, receipts): (Ticket, oneshot::Sender<Raised>, Option<Receipts>),
        command: Command,
    ) {
        if let Err(answer) = self.followed.order(ticket, answer, receipts) {
            // An error means that nobody waits for the answer any more.
            drop(answer.send(Raised::TooMany { reason: "as many alerts are followed as may be" }));
            return;
        }
        self.node.handle(now, Input::Command(command));
        self.carry_out();
    }

    pub(super) fn leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            tracing::info!("leaving");
            self.leaving = Some(now);
            for waiting in std::mem::take(&mut self.waiting).into_values() {
                waiting.settle(SHUT_DOWN);
            }
            // Whoever waits for what is found learns by this that the node has stopped.
            self.searching.forget();
            self.node.handle(now, Input::Command(Command::Leave));
            self.carry_out();
        }
    }
}

//! Decides what the loop wakes up for, and what it looks at first when several things wait.

use std::io;
use std::time::Instant;

use kodikon_core::effect::Interface;
use kodikon_core::effect::check::CheckId;
use kodikon_core::effect::log::{CommitId, Committed};
use kodikon_core::effect::scan::{Nearest, ScanId};

use crate::driver::attention::awake;
use crate::driver::names::Answer;
use crate::driver::{Driver, Order};
use crate::interfaces::InterfaceWatch;
use crate::socket::{Family, StreamEvent};

/// One turn of so many looks first at what happens seldom: a flood of datagrams or orders keeps nothing else waiting, and a single
/// one is taken without looking at all the rest before it.
const SELDOM_FIRST: u64 = 8;

/// What the loop woke up for.
pub(super) enum Turn {
    Unicast(Family, io::Result<()>),
    Discovery(Family, io::Result<()>),
    Interfaces(io::Result<Vec<Interface>>),
    Stream(StreamEvent),
    Name(Answer),
    Committed(CommitId, Committed),
    StateKept(u64),
    Scanned(ScanId, Vec<Nearest>),
    Checked(CheckId, Vec<bool>),
    Order(Option<Order>),
    Deadline(io::Result<()>),
}

impl Driver {
    /// Waits for what happens next. Dropping the future loses nothing.
    pub(super) async fn next_turn(&mut self) -> Turn {
        let (begun, span, order_waits) = (Instant::now(), self.attention.span(), self.orders.wait_already());
        let turn = awake(self.what_is_next(), span).await;
        self.attention.note(begun.elapsed(), &turn, order_waits);
        turn
    }

    async fn what_is_next(&mut self) -> Turn {
        self.turns = self.turns.wrapping_add(1);
        let Self {
            udp, discovery, watch, streams, names, logger, searching, checker, keeper, orders, deadline, ..
        } = self;
        let (takes_orders, is_seldom_first) = (!self.is_abandoned, self.turns.is_multiple_of(SELDOM_FIRST));
        // Each of these begins anywhere among its own, so that none of them is always last.
        let often = async {
            tokio::select! {
                ready = udp.ready(Family::V4) => Turn::Unicast(Family::V4, ready),
                ready = udp.ready(Family::V6) => Turn::Unicast(Family::V6, ready),
                order = orders.next(), if takes_orders => Turn::Order(order),
                reached = deadline.reached() => Turn::Deadline(reached),
            }
        };
        let seldom = async {
            tokio::select! {
                ready = discovery.ready(Family::V4) => Turn::Discovery(Family::V4, ready),
                ready = discovery.ready(Family::V6) => Turn::Discovery(Family::V6, ready),
                changed = changed(watch) => Turn::Interfaces(changed),
                event = streams.next() => Turn::Stream(event),
                answer = names.answered() => Turn::Name(answer),
                (commit, result) = logger.answered() => Turn::Committed(commit, result),
                version = keeper.kept() => Turn::StateKept(version),
                (scan, answers) = searching.answered() => Turn::Scanned(scan, answers),
                (check, holds) = checker.answered() => Turn::Checked(check, holds),
            }
        };
        if is_seldom_first {
            tokio::select! { biased; turn = seldom => turn, turn = often => turn }
        } else {
            tokio::select! { biased; turn = often => turn, turn = seldom => turn }
        }
    }
}

/// The next change of the interfaces; none while they are not watched.
async fn changed(watch: &mut Option<InterfaceWatch>) -> io::Result<Vec<Interface>> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

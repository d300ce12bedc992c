//! Decides whom a node hears that was stopped for long: whoever answers or speaks once its queue is read, and nobody else.
//!
//! What it heard before a stop it would tell of for three fifths of the hard bound more; the others believe that, and whoever
//! died meanwhile would seem alive.

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::time::{Duration, Instant};
use crate::wire::message::{Message, Ping};

/// What was queued while this node was stopped has been read after this: what is heard then was said since.
const DRAIN: Duration = Duration::from_millis(500);
/// Then whoever was not heard since is asked, so many times,
const ASKED: u32 = 3;
/// with so long between: an answer by Wi-Fi takes a tenth of a second at worst, and of five datagrams one may be lost.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// In a larger mesh nobody is asked: who is stopped hears two beacons of everybody first.
const CROWD: usize = 64;
const BEACONS: u32 = 2;

/// A node that went on after a long stop.
#[derive(Debug)]
pub(super) struct Woken {
    /// When its queue had been read.
    drained: Instant,
    /// When those who are not heard are asked next, and how often they are yet.
    asks: Option<(Instant, u32)>,
    /// When it has listened; `None` once it has.
    listens_until: Option<Instant>,
    /// Whether what it heard before is too old to tell of even for a moment.
    is_late: bool,
}

impl Woken {
    /// It was stopped for so long.
    pub(super) fn new(now: Instant, late: Duration, ctx: &Context) -> Self {
        let drained = now + DRAIN;
        let is_crowd = ctx.roster.near_count() > CROWD;
        let listens = if is_crowd {
            ctx.config.broadcast_interval.max(ctx.crowd_interval()) * BEACONS
        } else {
            ASK_EVERY * ASKED
        };
        let asks = (!is_crowd).then_some((drained, ASKED));
        Self { drained, asks, listens_until: Some(drained + listens), is_late: late >= ctx.hearing() }
    }

    /// Whether it does not know yet whom it hears, and what it knew before stands.
    pub(super) fn is_listening(&self) -> bool {
        self.listens_until.is_some() && !self.is_late
    }

    /// What was heard before this is no link; all counts while it listens.
    pub(super) fn floor(&self) -> Instant {
        if self.is_listening() { Instant::ZERO } else { self.drained }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let asks = self.asks.map(|(at, _)| at);
        asks.into_iter().chain(self.listens_until).min()
    }

    /// Asks those who were not heard. `true` if it has listened now.
    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) -> bool {
        if let Some((_, left)) = self.asks.filter(|(at, _)| now >= *at) {
            self.asks = (left > 1).then_some((now + ASK_EVERY, left - 1));
            self.ask(ctx);
        }
        self.listens_until.take_if(|at| now >= *at).is_some()
    }

    fn ask(&self, ctx: &mut Context) {
        let is_silent = |heard: &Option<Instant>| heard.is_some_and(|heard| heard < self.drained);
        let near = ctx.roster.near().filter(|(_, peer)| peer.liveness.is_present());
        let paths = near.flat_map(|(_, peer)| &peer.paths).filter(|path| is_silent(&path.heard));
        let silent: Vec<_> = paths.map(|path| Destination::Address(path.address, path.interface)).collect();
        for destination in silent {
            let nonce = ctx.random.bits();
            ctx.out.send(destination, Message::Ping(Ping { nonce }));
        }
    }
}

//! Decides when a node calls itself isolated: nobody is heard for one and a half beacons, or no interface has a carrier.

use crate::effect::Event;
use crate::effect::context::Context;
use crate::ground::time::{Duration, Instant};

/// Whether anybody is heard.
#[derive(Debug)]
pub(super) struct Isolation {
    last_heard: Instant,
    isolated: bool,
    next_look: Instant,
}

/// How often it looks while it is isolated, or has nobody whom it could miss: in any other case, when the silence would be long enough.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Silence of at least this long, and of two heartbeats, isolates: with beacons closer together one that is lost would.
const SHORTEST: Duration = Duration::from_secs(2);

impl Isolation {
    pub(super) fn new(now: Instant, ctx: &Context) -> Self {
        Self { last_heard: now, isolated: false, next_look: ctx.next_tick(now, LOOK_EVERY) }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Whether nobody was heard since then.
    pub(super) fn is_deaf_since(&self, since: Instant) -> bool {
        self.last_heard <= since
    }

    pub(super) fn on_heard(&mut self, now: Instant, ctx: &mut Context) {
        self.last_heard = now;
        if self.isolated {
            self.tell(false, ctx);
        }
    }

    /// All rows are shown as suspect while it lasts, so they show something else now.
    fn tell(&mut self, isolated: bool, ctx: &mut Context) {
        self.isolated = isolated;
        ctx.roster.touch();
        ctx.out.event(Event::Isolated(isolated));
    }

    /// Something may have changed that is no silence.
    pub(super) fn look_at(&mut self, now: Instant) {
        self.next_look = self.next_look.min(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        Some(self.next_look)
    }

    pub(super) fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if now < self.next_look {
            return;
        }
        let silence = (ctx.config.broadcast_interval * 3 / 2).max(ctx.config.beat_period() * 2).max(SHORTEST);
        let is_cut = !ctx.roster.near().any(|(_, peer)| ctx.has_carrier_to(peer));
        let is_deaf = is_cut || now.since(self.last_heard) >= silence;
        // Whoever has no peers is alone, not isolated.
        if is_deaf && !self.isolated && ctx.roster.near_count() > 0 {
            self.tell(true, ctx);
        }
        if self.isolated && ctx.roster.near_count() == 0 {
            self.tell(false, ctx);
        }
        let tick = ctx.next_tick(now, LOOK_EVERY);
        self.next_look = if is_deaf { tick } else { tick.max(self.last_heard + silence) };
    }
}

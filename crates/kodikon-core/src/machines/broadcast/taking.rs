//! Decides what becomes of a cast that comes: taken once, in its own run, from whom it names; and what neighbours say of casts.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::effect::{Arrival, Cast as Way, Event};
use crate::ground::bounded::TokenBucket;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, InterfaceIndex, NodeId, SessionTag};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::Broadcasts;
use crate::machines::broadcast::duty::{Stage, spread};
use crate::machines::broadcast::held::{Doubt, Held, knowing};
use crate::machines::broadcast::ranges::{names, run_of};
use crate::model::cast::{CAST_RATE, CastId};
use crate::model::letter::Priority;
use crate::model::member::{Card, Liveness};
use crate::model::roster::Peer;
use crate::model::windows::{Arrived, WINDOW};
use crate::wire::cast::{Cast, Content, Covered, Half, Offer, Spread};
use crate::wire::clock::Ticks;
use crate::wire::fragments::{Pieced, Pieces};
use crate::wire::letter::{Path, Stamp};
use crate::wire::search::is_own;

/// Casts of one origin that may come at once: five seconds of its rate, which a pause holds back.
const TAKEN_BURST: u32 = 5 * CAST_RATE;
/// What was said so shortly after this run began may have been said before: ages are told in whole milliseconds and leave
/// out what the wire takes.
const FRESH: Duration = Duration::from_millis(100);
/// Casts that one answer to an offer asks for at most.
const MAX_WANTED: usize = 32;
/// Casts that are given to one neighbour on one word of it at most.
const MAX_SERVED: usize = 64;

/// How a cast came.
#[derive(Debug, Clone, Copy)]
struct Came {
    from: NodeId,
    on: InterfaceIndex,
    by_group: bool,
    urgency: Priority,
}

impl Broadcasts {
    /// A neighbour gives us a cast, or a piece of one.
    pub fn on_spread(
        &mut self,
        now: Instant,
        (from, tag): (NodeId, SessionTag),
        arrival: Arrival,
        spread: Spread,
        ctx: &mut Context,
    ) {
        let id = spread.cast.id();
        let Some(urgency) = spread.cast.urgency() else { return ctx.stats.drop(Reject::Malformed) };
        let came = Came { from, on: arrival.interface, by_group: arrival.cast != Way::Unicast, urgency };
        if !ctx.roster.is_near(&from) {
            return ctx.stats.drop(Reject::Stranger);
        }
        if id.origin == ctx.me.id {
            return self.on_known(now, id, came, spread.hops);
        }
        if self.windows.standing(&id.origin, id.epoch, id.number) != Arrived::New {
            ctx.stats.casts_repeated_here += 1;
            self.on_known(now, id, came, spread.hops);
            self.answer(now, id, came, ctx);
            return self.come_shorter(now, id, came, &spread, ctx);
        }
        let age = spread.age();
        // What may be of any age is not taken for that: its giver, if it lives, is asked for its clock and repeats it in a new frame.
        let Some(transit) = transit(now, from, tag, spread.sent, ctx) else { return ctx.stats.drop(Reject::Stale) };
        let doubt = Doubt { before: spread.doubt(), transit, sent: Some((tag, spread.sent)) };
        // What may have been kept from us for longer than it is of use to anybody is a recording; a giver that lives repeats it.
        if doubt.sum() >= urgency.deadline() {
            return ctx.stats.drop(Reject::Stale);
        }
        let key = match key_of(&id, ctx) {
            Ok(key) if age < urgency.deadline() => key,
            Ok(_) => return ctx.stats.drop(Reject::Stale),
            Err(reason) => return ctx.stats.drop(reason),
        };
        // It is younger than this run by what its giver says, and may be older by how long it may have been kept from us: the next
        // frame that brings it tells.
        let since = now.since(self.born).saturating_sub(FRESH);
        if !is_first(ctx) && age <= since && age.saturating_add(doubt.sum()) > since {
            return ctx.stats.drop(Reject::Stale);
        }
        let Spread { cast, hops, path, map, fragment, .. } = spread;
        let digest = cast.digest();
        let pieced = match fragment {
            Some(fragment) => self.fragments.add(from, cast, fragment),
            None if cast.pieces() == 1 => Pieced::Whole(cast),
            None => Pieced::Malformed,
        };
        match pieced {
            Pieced::Part => {
                let after = self.answer_after(came, ctx);
                self.answers.note((now, after), from, id, Some(digest));
            }
            Pieced::Malformed => ctx.stats.drop(Reject::Malformed),
            Pieced::Whole(cast) => {
                if let Some(content) = self.accept(now, &cast, came, &key, ctx) {
                    let way = Onward { hops, path, map, age, doubt };
                    self.take(now, (cast, content), came, way, ctx);
                }
            }
        }
    }

    /// Whether a whole cast is its origin's own, and within what that may say. Noted once it is.
    fn accept(&mut self, now: Instant, cast: &Cast, came: Came, key: &[u8; 32], ctx: &mut Context) -> Option<Content> {
        let id = cast.id();
        // By who gives it and whom it names: whoever forges spends what it may itself give of that origin.
        if !self.charge(now, (came.from, id.origin)) {
            // Who signed it is not known yet: a relay may have made it up.
            if came.from == id.origin {
                ctx.offenders.note(&id.origin, Excess::Casts);
            }
            ctx.stats.drop(Reject::Rate);
            return None;
        }
        if !ctx.verify(key, &cast.signed_bytes(ctx.mesh), &cast.signature) {
            ctx.offenders.note(&came.from, Excess::Forgeries);
            ctx.stats.drop(Reject::Signature);
            return None;
        }
        if came.from != id.origin && !self.charge(now, (id.origin, id.origin)) {
            ctx.offenders.note(&id.origin, Excess::Casts);
            ctx.stats.drop(Reject::Rate);
            return None;
        }
        self.windows.note(id.origin, id.epoch, id.number);
        let content = Content::parse(cast.kind, &cast.body);
        if content.is_none() {
            ctx.stats.drop(Reject::Malformed);
        }
        content
    }

    fn charge(&mut self, now: Instant, who: (NodeId, NodeId)) -> bool {
        let mut bucket = self.rates.remove(&who).unwrap_or_else(|| TokenBucket::new(CAST_RATE, TAKEN_BURST));
        let taken = bucket.take(now, 1);
        self.rates.insert(who, bucket);
        taken
    }

    /// A cast is new here: handed over, kept to be given on, and acknowledged.
    fn take(&mut self, now: Instant, (cast, content): (Cast, Content), came: Came, way: Onward, ctx: &mut Context) {
        let id = cast.id();
        ctx.stats.casts_received += 1;
        self.asked.forget(&id);
        self.ways.note_came(came.on, came.by_group);
        // What its doubt could make older than this run was not taken.
        let fresh = if is_first(ctx) { Duration::ZERO } else { FRESH };
        let is_ours = way.age.saturating_add(fresh) <= now.since(self.born);
        if !is_ours {
            // It was said to whoever ran here before, under this identity or another, and may have handed it over. Others lack it
            // all the same.
            ctx.stats.drop(Reject::Stale);
        } else if let Content::Text(text) = content {
            let (kind, payload, priority) = (text.kind, text.payload, came.urgency);
            if is_own(&kind) {
                ctx.out.notice(Notice::Told { from: id.origin, kind, text: payload });
            } else {
                let name = ctx.roster.get(&id.origin).map(|peer| peer.card.shown_name()).unwrap_or_default();
                let path = named(&way.path, ctx);
                ctx.out.event(Event::Broadcast { from: id.origin, name, kind, payload, priority, path });
            }
        }
        let held = Held {
            cast,
            urgency: came.urgency,
            arrived: now,
            age: way.age,
            doubt: way.doubt,
            expires: now + came.urgency.deadline().saturating_sub(way.age),
            hops: way.hops,
            path: way.path,
            came: Some(came.on),
            map: Some(way.map),
            shortest: None,
            knows: knowing([came.from, id.origin]),
            duties: BTreeMap::new(),
        };
        self.hold(now, id, held, ctx);
        self.answer(now, id, came, ctx);
    }

    /// A neighbour gives what is here already: it has it, and who stands by on that segment need not give it; but for one that may
    /// pass no more relays there, where it may from here: others may depend on those who have it so.
    fn on_known(&mut self, now: Instant, id: CastId, came: Came, hops: u8) {
        self.on_has(now, &id, came.from);
        let Some(held) = self.store.get(&id) else { return };
        if hops == 0 && held.hops > 1 {
            return;
        }
        let arrived = held.arrived;
        let on = Some(came.on);
        if held.duties.get(&on).is_some_and(|duty| duty.stage == Stage::Standby && duty.due.is_some()) {
            self.ways.note_late(came.on, now.since(arrived));
            self.store.change(id, on, |duty| {
                duty.missing.clear();
                duty.due = None;
            });
        }
    }

    /// One that is here and astray may have come by fewer relays now: then it goes on from here as if it were new, since those to
    /// whom it was given may have been the last that it might pass.
    fn come_shorter(&mut self, now: Instant, id: CastId, came: Came, spread: &Spread, ctx: &mut Context) {
        let is_shorter =
            |held: &&Held| held.is_astray() && spread.hops > held.hops && spread.path.0.len() < held.path.0.len();
        if self.store.get(&id).filter(is_shorter).is_none() {
            return;
        }
        let Some(held) = self.store.remove(&id) else { return };
        let held = Held {
            hops: spread.hops,
            path: spread.path.clone(),
            came: Some(came.on),
            map: Some(spread.map),
            knows: knowing([came.from, id.origin]),
            duties: BTreeMap::new(),
            ..held
        };
        self.hold(now, id, held, ctx);
    }

    /// A neighbour has a cast. `true` if that is new.
    fn on_has(&mut self, now: Instant, id: &CastId, who: NodeId) -> bool {
        let Some(held) = self.store.get_mut(id) else { return false };
        let is_new = held.note(who);
        let duties: Vec<Option<InterfaceIndex>> = held.duties.keys().copied().collect();
        for on in duties {
            let took = self.store.get(id).and_then(|held| held.duties.get(&on)?.took(now, &who));
            if let Some(took) = took {
                self.ways.note_answer(on, took);
                self.ways.note_latest(now, who, took);
            }
            let mut heard = None;
            self.store.change(*id, on, |duty| {
                duty.settle(&who);
                heard = duty.take_all_heard().map(|told| (told, duty.by_group));
            });
            if let Some((told, by_group)) = heard {
                self.ways.note_missing(now, (on, by_group), 0, told);
            }
        }
        is_new
    }

    /// Tells whoever gave a cast that it is here.
    fn answer(&mut self, now: Instant, id: CastId, came: Came, ctx: &mut Context) {
        if came.urgency != Priority::Low {
            let after = self.answer_after(came, ctx);
            self.answers.note((now, after), came.from, id, None);
        }
    }

    /// When: what all heard at once is not answered by all at once.
    fn answer_after(&self, came: Came, ctx: &mut Context) -> Duration {
        let answering = if came.by_group { ctx.roster.near_count() } else { 1 };
        ctx.random.span(spread(answering))
    }

    /// A neighbour says which casts it has, and which it wants.
    pub fn on_covered(&mut self, now: Instant, from: NodeId, covered: &Covered, ctx: &mut Context) {
        if !ctx.roster.is_near(&from) {
            return ctx.stats.drop(Reject::Stranger);
        }
        for cover in &covered.covers {
            let (origin, epoch) = run_of(cover);
            let of_run = self.store.of_run(origin, epoch);
            let there: Vec<CastId> = of_run.map(|(id, _)| *id).filter(|id| names(cover, id.number)).collect();
            for id in there {
                if self.on_has(now, &id, from) && id.origin == ctx.me.id {
                    ctx.out.notice(Notice::Acknowledged(id, from));
                }
            }
        }
        self.note_halves(now, from, covered);
        self.serve_wants(now, from, covered, ctx);
        self.give_due(now, ctx);
    }

    fn note_halves(&mut self, now: Instant, from: NodeId, covered: &Covered) {
        for half in &covered.halves {
            let id = half_of(half);
            let duties: Vec<_> = self.store.get(&id).into_iter().flat_map(|held| held.duties.keys().copied()).collect();
            for on in duties {
                let took = self.store.get(&id).and_then(|held| held.duties.get(&on)?.took_half(now, &from));
                took.into_iter().for_each(|took| self.ways.note_latest(now, from, took));
                self.store.change(id, on, |duty| duty.note_half(now, &from, half.have));
            }
        }
    }

    fn serve_wants(&mut self, now: Instant, from: NodeId, covered: &Covered, ctx: &mut Context) {
        let parts: BTreeMap<CastId, u64> = covered.halves.iter().map(|half| (half_of(half), half.have)).collect();
        // It was asked for, and came from another meanwhile.
        let came = |id: &CastId| {
            covered.covers.iter().any(|cover| run_of(cover) == (id.origin, id.epoch) && names(cover, id.number))
        };
        let mut left = MAX_SERVED;
        for cover in &covered.wants {
            let (origin, epoch) = run_of(cover);
            let of_run = self.store.of_run(origin, epoch).map(|(id, _)| *id).filter(|id| names(cover, id.number));
            let wanted: Vec<CastId> = of_run.take(left).collect();
            left -= wanted.len();
            for id in wanted.into_iter().filter(|id| !came(id)) {
                self.serve(now, id, from, parts.get(&id).copied().unwrap_or(0), ctx);
            }
        }
    }

    /// A neighbour says what it holds: what is lacking here is asked for.
    pub fn on_offer(&mut self, now: Instant, from: NodeId, arrival: Arrival, offer: &Offer, ctx: &mut Context) {
        if !ctx.roster.is_near(&from) {
            return ctx.stats.drop(Reject::Stranger);
        }
        let mut left = MAX_WANTED;
        for cover in &offer.holds {
            let (origin, epoch) = run_of(cover);
            let any = CastId { origin, epoch, number: 0 };
            if origin == ctx.me.id || running(&origin, ctx) != Some(epoch) {
                continue;
            }
            for interval in &cover.intervals {
                // No origin says more within a deadline, and whoever names more is not followed.
                let first = interval.first.max(interval.last.saturating_sub(WINDOW));
                for id in (first..=interval.last).map(|number| CastId { number, ..any }) {
                    let is_new = self.windows.standing(&origin, epoch, id.number) == Arrived::New;
                    let is_wanted = is_new || !offer.question && self.store.get(&id).is_some_and(Held::is_astray);
                    if is_wanted && left > 0 && self.asked.may_ask(now, id, from) {
                        left -= 1;
                        self.answers.want((now, ctx.random.span(spread(1))), from, id, !is_new);
                    } else if !is_new && offer.question {
                        let after = ctx.random.span(spread(ctx.roster.near_count()));
                        self.answers.note((now, after), from, id, None);
                    }
                    if !is_new {
                        self.on_has(now, &id, from);
                    }
                }
            }
        }
        if offer.question && arrival.cast == Way::Unicast {
            self.answers.say_everywhere(&from);
        }
        self.yield_turn(now, arrival, offer, ctx);
    }

    /// Another offered on a segment all that this node would.
    fn yield_turn(&mut self, now: Instant, arrival: Arrival, offer: &Offer, ctx: &mut Context) {
        let on = arrival.interface;
        if arrival.cast == Way::Unicast || offer.question || !self.offers.is_waiting(on) {
            return;
        }
        let is_told = |id: &CastId| {
            offer.holds.iter().any(|cover| run_of(cover) == (id.origin, id.epoch) && names(cover, id.number))
        };
        if self.is_all_told(now, on, ctx, is_told) {
            self.offers.pass(now, on, &mut ctx.random);
        }
    }
}

/// What a cast that goes on takes with it.
#[derive(Debug)]
struct Onward {
    hops: u8,
    path: Path,
    map: u64,
    age: Duration,
    doubt: Doubt,
}

/// How long a frame was on its way at most that was sent when its sender's clock showed this; `None`: nothing is known of that clock.
fn transit(now: Instant, from: NodeId, tag: SessionTag, sent: Ticks, ctx: &mut Context) -> Option<Duration> {
    let clock = &mut ctx.sessions.get_mut(tag)?.clock;
    if clock.should_ask(now) {
        ctx.out.notice(Notice::Undated(from));
    }
    clock.transit(now, sent)
}

/// The public key of a cast's origin, if this is the run that is known of it. One that failed may have said it before.
fn key_of(id: &CastId, ctx: &Context) -> Result<[u8; 32], Reject> {
    match running(&id.origin, ctx) {
        Some(epoch) if epoch == id.epoch => {
            let remembered = || Card::parse(ctx.roster.directory().get(&id.origin)?.signed.as_ref()?.body());
            let key = match proven(&id.origin, ctx) {
                Some(peer) => Some(peer.card.public_key),
                None => remembered().map(|card| card.public_key),
            };
            key.ok_or(Reject::Stranger)
        }
        Some(epoch) if id.epoch < epoch => Err(Reject::Stale),
        // Its card is on the way: the cast stays with the neighbour until it is here.
        Some(_) | None => Err(Reject::Stranger),
    }
}

/// The run of an origin that its casts are taken of.
fn running(origin: &NodeId, ctx: &Context) -> Option<Epoch> {
    proven(origin, ctx).map(Peer::epoch).or_else(|| {
        let entry = ctx.roster.directory().get(origin)?;
        entry.signed.as_ref().map(|_| entry.epoch)
    })
}

/// Whether this is the first run of its identity: none before it can have been told anything.
fn is_first(ctx: &Context) -> bool {
    ctx.me.epoch.counter() == 1
}

/// An origin whose card was proven.
fn proven<'a>(origin: &NodeId, ctx: &'a Context) -> Option<&'a Peer> {
    ctx.roster.get(origin).filter(|peer| peer.liveness != Liveness::Introduced)
}

fn half_of(half: &Half) -> CastId {
    CastId { origin: NodeId(half.origin), epoch: Epoch(half.epoch), number: half.number }
}

/// The relays of a path, as far as they are known.
fn named(path: &Path, ctx: &Context) -> Vec<NodeId> {
    let by_stamp = |stamp: &Stamp| ctx.roster.iter().map(|(id, _)| *id).find(|id| Stamp::of(id) == *stamp);
    path.0.iter().filter_map(by_stamp).collect()
}

//! Decides how a cast is given: to a whole segment or one by one, all of it or what is missing, and what is offered.

use std::collections::BTreeSet;

use crate::effect::Cast as Way;
use crate::effect::context::Context;
use crate::effect::outbox::{Destination, TWICE_AFTER};
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::Broadcasts;
use crate::machines::broadcast::duty::{Duty, RTO_MOST, Stage};
use crate::machines::broadcast::held::Held;
use crate::machines::broadcast::offers::newest;
use crate::machines::broadcast::ranges::told;
use crate::model::cast::CastId;
use crate::model::letter::Priority;
use crate::model::roster::Peer;
use crate::wire::cast::{MAX_HOLDS, Offer, Spread};
use crate::wire::clock::Ticks;
use crate::wire::letter::{Fragment, MAX_PIECE, Path, Stamp};
use crate::wire::message::Message;

/// If so many lack it, they are told by the group again.
const MANY: usize = 4;
/// Of a cast of more pieces than this nobody gets all again who did not say what it has: it is asked.
const FEW_PIECES: usize = 4;
/// From this round on whoever is silent is asked by every way (the best one may be the one that is dead), and given the cast when
/// it says that it lacks it: it may be gone, and its failure unnoticed for seconds.
const DESPERATE: u32 = 3;
/// Casts that one round of offers tells of at most: the newest.
const MAX_OFFERED: usize = 256;
/// Where no group reaches a segment, or none seems to, so many of its members are offered it alone in each round.
const OFFERED_TO: usize = 3;

impl Broadcasts {
    /// Does all duties that are due.
    pub(super) fn give_due(&mut self, now: Instant, ctx: &mut Context) {
        while let Some((id, on)) = self.store.due(now) {
            self.store.change(id, on, |duty| {
                duty.due = None;
                duty.give_up(|member| ctx.roster.is_near(member));
                if duty.stage == Stage::Again {
                    duty.judge_group();
                }
            });
            let Some(duty) = self.store.get(&id).and_then(|held| held.duties.get(&on)).cloned() else { break };
            if duty.missing.is_empty() && duty.stage != Stage::Copy {
                continue;
            }
            match duty.stage {
                Stage::Standby => {
                    ctx.stats.casts_stood_in += 1;
                    self.give_first(now, (id, on), duty, ctx);
                }
                Stage::First => self.give_first(now, (id, on), duty, ctx),
                Stage::Copy => {
                    self.give_all(now, (id, on), &duty, ctx);
                    self.wait(now, (id, on), ctx);
                }
                Stage::Ask => {
                    let members: Vec<NodeId> = duty.missing.keys().copied().collect();
                    self.ask(now, (id, on), on, &members, ctx);
                    self.wait(now, (id, on), ctx);
                }
                Stage::Again => self.give_again(now, (id, on), duty, ctx),
            }
        }
    }

    fn give_first(&mut self, now: Instant, (id, on): (CastId, Option<InterfaceIndex>), duty: Duty, ctx: &mut Context) {
        let by_group = self.give_all(now, (id, on), &duty, ctx);
        let Some(urgency) = self.store.get(&id).map(|held| held.urgency) else { return };
        self.store.change(id, on, |duty| {
            (duty.told, duty.by_group) = (duty.missing.len(), by_group);
            duty.given = Some(now);
            match urgency {
                Priority::Critical => (duty.stage, duty.due) = (Stage::Copy, Some(now + TWICE_AFTER)),
                Priority::Low => duty.release(),
                Priority::Normal | Priority::High => {}
            }
        });
        if matches!(urgency, Priority::Normal | Priority::High) {
            self.wait(now, (id, on), ctx);
        }
    }

    /// Gives all of a cast to all who are owed it. `true` if by the group.
    fn give_all(
        &mut self,
        now: Instant,
        (id, on): (CastId, Option<InterfaceIndex>),
        duty: &Duty,
        ctx: &mut Context,
    ) -> bool {
        let Some(held) = self.store.get(&id) else { return false };
        let pieces = all_pieces(held);
        let group = on.and_then(|on| Some((on, self.ways.group(now, on, held.cast.body.len())?)));
        if let Some((on, way)) = group {
            let told: Vec<(NodeId, u64)> = duty.missing.keys().map(|member| (*member, pieces)).collect();
            self.send_to_group(now, (id, on), way, &told, ctx);
            return true;
        }
        for member in duty.missing.keys() {
            self.send_to_one(now, (id, on), *member, (pieces, false), ctx);
        }
        false
    }

    /// Says to a segment, as far as it carries it, what its members lack.
    fn send_to_group(
        &mut self,
        now: Instant,
        (id, on): (CastId, InterfaceIndex),
        way: Way,
        lacking: &[(NodeId, u64)],
        ctx: &mut Context,
    ) {
        let pieces = lacking.iter().fold(0, |pieces, (_, lacks)| pieces | lacks);
        let pieces = self.ways.pace(Some(on), true).afford(now, pieces);
        if pieces != 0 {
            self.send(now, id, pieces, &[Destination::Segment(on, way)], ctx);
            let given: Vec<(NodeId, u64)> = lacking.iter().map(|(member, lacks)| (*member, lacks & pieces)).collect();
            self.store.change(id, Some(on), |duty| {
                duty.give(&given, true);
                duty.say_to_group(given);
            });
        }
    }

    /// Says to a neighbour, as far as the way carries it, what it lacks; by all its ways if that is wanted.
    fn send_to_one(
        &mut self,
        now: Instant,
        (id, on): (CastId, Option<InterfaceIndex>),
        member: NodeId,
        (pieces, by_all): (u64, bool),
        ctx: &mut Context,
    ) {
        let pieces = self.ways.pace(on, false).afford(now, pieces);
        if pieces != 0 {
            let to = if by_all { Destination::EveryPath(member) } else { Destination::Peer(member) };
            self.send(now, id, pieces, &[to], ctx);
            self.store.change(id, on, |duty| duty.give(&[(member, pieces)], false));
        }
    }

    fn give_again(&mut self, now: Instant, (id, on): (CastId, Option<InterfaceIndex>), duty: Duty, ctx: &mut Context) {
        if duty.rounds == 0 && duty.told > 0 {
            self.ways.note_missing(now, (on, duty.by_group), duty.silent(), duty.told);
            self.store.change(id, on, |duty| duty.told = 0);
        }
        let mut carried = None;
        self.store.change(id, on, |duty| carried = duty.take_carried(now));
        // A group that nobody hears is no full way.
        if let Some((came, said, span, by_group)) = carried.filter(|(came, _, _, by_group)| !by_group || *came > 0) {
            self.ways.pace(on, by_group).note_carried(now, came, said, span);
        }
        let coming = duty.still_coming(now);
        if coming.len() == duty.missing.len() {
            return self.wait(now, (id, on), ctx);
        }
        let Some(held) = self.store.get(&id) else { return };
        let (all, count) = (all_pieces(held), held.cast.pieces());
        let by_all = duty.rounds >= DESPERATE;
        let is_asked = |have: &Option<u64>| have.is_none() && (by_all || count > FEW_PIECES);
        let lacking = duty.missing.iter().filter(|(member, _)| !coming.contains(member));
        let (silent, known): (Vec<_>, Vec<_>) = lacking.partition(|(_, have)| is_asked(have));
        let silent: Vec<NodeId> = silent.into_iter().map(|(member, _)| *member).collect();
        let known: Vec<(NodeId, u64)> =
            known.into_iter().map(|(member, have)| (*member, all & !have.unwrap_or(0))).collect();
        let lacking = known.iter().fold(0, |lacking, (_, pieces)| lacking | pieces);
        let bytes = lacking.count_ones() as usize * MAX_PIECE.min(held.cast.body.len());
        // Who does not hear the group hears what is sent to it alone.
        let by_group = on.filter(|_| !duty.is_unheard());
        let group =
            by_group.filter(|_| known.len() >= MANY).and_then(|on| Some((on, self.ways.group(now, on, bytes)?)));
        ctx.stats.casts_repeated += 1;
        if let Some((on, way)) = group {
            self.send_to_group(now, (id, on), way, &known, ctx);
        } else {
            for (member, pieces) in known {
                self.send_to_one(now, (id, on), member, (pieces, by_all), ctx);
            }
        }
        if !silent.is_empty() {
            self.ask(now, (id, on), by_group, &silent, ctx);
        }
        self.store.change(id, on, |duty| {
            duty.rounds += 1;
            if by_all {
                // What it said holds for one giving: if it does not answer that, it is asked again.
                duty.missing.values_mut().for_each(|have| *have = None);
            }
        });
        self.wait(now, (id, on), ctx);
    }

    /// Looks again when all could have answered.
    fn wait(&mut self, now: Instant, (id, on): (CastId, Option<InterfaceIndex>), ctx: &Context) {
        let Some(duty) = self.store.get(&id).and_then(|held| held.duties.get(&on)) else { return };
        let rtt = |member: &NodeId| {
            let path = ctx.roster.get(member)?.best_path()?;
            Some(self.ways.round_trip(member, (path.measured, path.rtt?)))
        };
        let (rtts, answering) = (duty.missing.keys().filter_map(rtt), duty.missing.len());
        if answering == 0 {
            return self.store.change(id, on, |duty| duty.due = None);
        }
        // One that is far keeps the others waiting for so long at most.
        let most = RTO_MOST.max(rtts.clone().min().unwrap_or_default() * 4);
        let usual = self.ways.answer_after(now, (on, duty.by_group)).max(rtts.max().map(|rtt| (rtt * 4).min(most)));
        self.store.change(id, on, |duty| duty.wait(now, usual, answering));
    }

    /// Asks those who may have a cast from somebody else.
    fn ask(
        &mut self,
        now: Instant,
        (id, on): (CastId, Option<InterfaceIndex>),
        by_group: Option<InterfaceIndex>,
        to: &[NodeId],
        ctx: &mut Context,
    ) {
        let offer = || Message::Offer(Offer { holds: told(&BTreeSet::from([id])), question: true });
        let group = by_group.filter(|_| to.len() >= MANY).and_then(|on| Some((on, self.ways.group(now, on, 0)?)));
        match group {
            Some((over, way)) => {
                ctx.out.send(Destination::Segment(over, way), offer());
                self.store.change(id, on, |duty| duty.say_to_group(to.iter().map(|member| (*member, 0))));
            }
            None => to.iter().for_each(|member| ctx.out.send(Destination::EveryPath(*member), offer())),
        }
    }

    /// Says pieces of a cast.
    fn send(&mut self, now: Instant, id: CastId, pieces: u64, to: &[Destination], ctx: &mut Context) {
        let Some(held) = self.store.get(&id) else { return };
        let (count, doubt) = (held.cast.pieces(), held.doubt(ctx));
        let part = |n: usize| u8::try_from(n).expect("a cast has 64 pieces at most");
        for index in (0..count).filter(|index| pieces & 1 << index != 0) {
            let spread = Spread {
                cast: held.cast.piece(index),
                age_ms: millis(held.age(now)),
                hops: held.hops.saturating_sub(1),
                path: path_on(held, ctx),
                map: self.map,
                fragment: (count > 1).then(|| Fragment { index: part(index), count: part(count) }),
                doubt_ms: millis(doubt),
                sent: Ticks::of(now),
            };
            for to in to {
                ctx.stats.cast_datagrams += 1;
                ctx.out.send(*to, Message::Spread(spread.clone()));
            }
        }
    }

    /// It is our turn to say on a segment what is held here.
    pub(super) fn offer(&mut self, now: Instant, on: InterfaceIndex, ctx: &mut Context) {
        let ids = self.offered(now, on, ctx);
        if ids.is_empty() {
            return self.offers.end(on);
        }
        let covers = told(&ids);
        let mut to = Vec::from_iter(self.ways.group(now, on, 0).map(|way| Destination::Segment(on, way)));
        if to.is_empty() || self.ways.seems_dead(on) {
            to.extend(some_there(on, ctx).into_iter().map(Destination::Peer));
        }
        for holds in covers.chunks(MAX_HOLDS) {
            for to in &to {
                ctx.stats.casts_offered += 1;
                ctx.out.send(*to, Message::Offer(Offer { holds: holds.to_vec(), question: false }));
            }
        }
        self.offers.pass(now, on, &mut ctx.random);
    }

    /// What could be offered on a segment. What this node gives there itself is acknowledged to it: others offer it, since
    /// whoever does not hear us may hear them. But whom it gave up in a cut may be back, and where two are alone nobody else offers.
    pub(super) fn offered(&self, now: Instant, on: InterfaceIndex, ctx: &Context) -> BTreeSet<CastId> {
        newest(self.offerable(now, on, ctx).map(|(id, held)| (held.arrived, *id)).collect(), MAX_OFFERED)
    }

    /// Whether somebody else's offer names all that could be offered there.
    pub(super) fn is_all_told(
        &self,
        now: Instant,
        on: InterfaceIndex,
        ctx: &Context,
        is_told: impl Fn(&CastId) -> bool,
    ) -> bool {
        // Mostly all that is held would be offered, and the first that is not told settles it.
        if self.store.len() <= MAX_OFFERED {
            self.offerable(now, on, ctx).all(|(id, _)| is_told(id))
        } else {
            self.offered(now, on, ctx).iter().all(is_told)
        }
    }

    fn offerable(&self, now: Instant, on: InterfaceIndex, ctx: &Context) -> impl Iterator<Item = (&CastId, &Held)> {
        let is_seen_to = move |duty: &Duty| duty.is_seen_to(|member| ctx.roster.is_near(member));
        let gives = move |held: &Held| held.duties.get(&Some(on)).is_some_and(is_seen_to);
        let held = self.store.iter().filter(move |(_, held)| held.is_reliable() && held.expires > now);
        held.filter(move |(_, held)| held.may_go(on) && !gives(held))
    }

    /// Gives a neighbour what it lacks, until it has it. Who has it and asks wants to know by how few relays it came here: any
    /// piece tells.
    pub(super) fn serve(&mut self, now: Instant, id: CastId, to: NodeId, have: u64, ctx: &mut Context) {
        let may_give = |held: &&Held| held.expires > now && held.is_reliable();
        let Some(held) = self.store.get(&id).filter(may_give) else { return };
        let has_it = held.knows.contains_key(&to);
        let lacking = if has_it { 1 } else { (all_pieces(held) & !have).count_ones() };
        let bytes = lacking.saturating_mul(u32::try_from(MAX_PIECE).unwrap_or(u32::MAX));
        if !self.served.take(now, bytes) {
            return;
        }
        if has_it {
            self.send(now, id, 1, &[Destination::Peer(to)], ctx);
        } else {
            let mut duty = Duty::new(Stage::Again, now, []);
            duty.missing.insert(to, Some(have));
            self.store.owe(id, None, duty);
        }
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// A bit for each piece of a cast.
fn all_pieces(held: &Held) -> u64 {
    u64::MAX >> (64 - held.cast.pieces().min(64))
}

/// The path with this node on it; where it is full it stays as it is.
fn path_on(held: &Held, ctx: &Context) -> Path {
    match held.came {
        None => Path::default(),
        Some(_) => held.path.with(Stamp::of(&ctx.me.id)).unwrap_or_else(|| held.path.clone()),
    }
}

/// A few neighbours on an interface, as chance has it.
fn some_there(on: InterfaceIndex, ctx: &mut Context) -> Vec<NodeId> {
    let is_there = |peer: &Peer| peer.best_path().is_some_and(|path| path.interface == Some(on));
    let mut there: Vec<NodeId> =
        ctx.roster.near_alive().filter(|(_, peer)| is_there(peer)).map(|(id, _)| *id).collect();
    let mut chosen = Vec::new();
    while chosen.len() < OFFERED_TO && !there.is_empty() {
        let place = ctx.random.place(there.len());
        chosen.push(there.swap_remove(place));
    }
    chosen
}

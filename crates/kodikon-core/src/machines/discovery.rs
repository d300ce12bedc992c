//! Decides how nodes find each other: when a HELLO or beacon leaves and by which way, and whom to challenge.

mod challenges;
mod segment;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::effect::{Arrival, Cast};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId, SessionTag};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::model::roster::{Path, Peer};
use crate::wire::message::{Hello, Message, Ping, Pong, Turn};

pub use challenges::Challenges;
use segment::Segment;

/// When the HELLOs of a burst leave, after the start or after an interface came: the first finds a quiet LAN, the next
/// two outlive a lost datagram, the last three a switch port that blocks for its first seconds.
const BURST: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(40),
    Duration::from_millis(120),
    Duration::from_millis(300),
    Duration::from_millis(1_000),
    Duration::from_millis(3_000),
];
/// Whoever reached so many peers on a segment says its later HELLOs there by one way and soon no more: they vouch and
/// compare roots. A thousand nodes that went on would put eighteen group datagrams each on a Wi-Fi that carries them at
/// its lowest rate.
const CROWD: usize = 64;
/// In a crowd the HELLO at 300 ms and those after it are left out. Fewer HELLOs or fewer vouchers cost more than they
/// save: whoever is not shown is asked for proof by each.
const ENOUGH: u8 = 3;
/// A single HELLO outside a burst is answered by all who need its sender.
const SHOWN_TO_ALL: u8 = 5;
/// A HELLO to all is shown at most this often.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// A configured peer that does not answer is tried again after this, doubled each time up to the next.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Peers of earlier runs tried at start: as many as fit a second of a slow link.
const MAX_CACHED: usize = 64;
/// For so long after a failure the lowest id on the segment beacons each second, so that a healed cut is noticed.
const VIGIL: Duration = Duration::from_secs(600);
/// How long no HELLO or beacon on a segment must go by all three ways: what is proven may stop being true.
const ALL_WAYS_EVERY: Duration = Duration::from_secs(60);

/// Finds peers. See the module's first line.
#[derive(Debug)]
#[doc(alias = "PeerDiscovery")]
pub struct Discovery {
    segments: BTreeMap<InterfaceIndex, Segment>,
    challenges: Challenges,
    distant: Vec<Distant>,
    /// When our interfaces changed last.
    changed: Instant,
    last_shown: Option<Instant>,
    show_at: Option<Instant>,
    last_failure: Option<Instant>,
    silent: bool,
}

/// An address that no multicast reaches, from the configuration or an earlier run.
#[derive(Debug)]
struct Distant {
    address: SocketAddr,
    next: Instant,
    wait: Duration,
    tries_left: Option<u8>,
}

impl Discovery {
    /// Nothing sent yet; `cached` are addresses of an earlier run.
    #[must_use]
    pub fn new(now: Instant, secret: [u8; 32], configured: &[SocketAddr], cached: &[SocketAddr]) -> Self {
        let distant = configured
            .iter()
            .map(|address| (*address, None))
            .chain(cached.iter().take(MAX_CACHED).map(|address| (*address, Some(4))))
            .map(|(address, tries_left)| Distant { address, next: now, wait: RETRY_FIRST, tries_left })
            .collect();
        Self {
            segments: BTreeMap::new(),
            challenges: Challenges::new(secret),
            distant,
            changed: now,
            last_shown: None,
            show_at: None,
            last_failure: None,
            silent: false,
        }
    }

    /// The host's interfaces changed: new ones get a burst, gone ones are forgotten. Addresses may have changed too.
    pub fn on_interfaces(&mut self, now: Instant, ctx: &mut Context) {
        self.segments.retain(|index, _| ctx.interface(*index).is_some());
        for interface in &ctx.interfaces {
            let addresses: Vec<_> = interface.addresses.iter().map(|address| address.address).collect();
            let segment = self.segments.entry(interface.index).or_insert_with(|| Segment::new(now));
            if segment.addresses != addresses {
                segment.addresses = addresses;
                segment.burst = Some((now, 0));
            }
        }
        // Whoever is behind a router learns where we are now by our HELLO alone.
        self.changed = now;
        for distant in &mut self.distant {
            distant.next = now;
        }
    }

    /// Shows the card to everyone, now or as soon as a second has passed since the last time.
    pub fn show(&mut self, now: Instant) {
        let earliest = self.last_shown.map_or(now, |last| last + SHOW_EVERY);
        self.show_at.get_or_insert(earliest.max(now));
    }

    /// A beacon is wanted on a segment soon.
    pub fn hasten(&mut self, now: Instant, index: InterfaceIndex) {
        if let Some(segment) = self.segments.get_mut(&index) {
            segment.next_beacon = segment.next_beacon.min(now);
        }
    }

    /// A heartbeat's turn has come. `true` if a beacon took it, and the observer hears beacons there.
    pub fn take_turn(&mut self, now: Instant, observer: NodeId, due_ms: u32, ctx: &mut Context) -> bool {
        let half = ctx.config.beat_period() / 2;
        let theirs = ctx.roster.get(&observer).and_then(|peer| peer.best_path()).and_then(|path| path.interface);
        let turn = Turn { observer: crate::wire::message::short_of(&observer), due_ms };
        let mut taken = false;
        for index in self.due_segments(now + half) {
            let proven = self.segments.get(&index).is_some_and(|segment| segment.proven(now).is_some());
            let carries = theirs == Some(index) && proven;
            self.beacon(now, index, carries.then_some(turn), ctx);
            taken |= carries;
        }
        taken
    }

    fn due_segments(&self, by: Instant) -> Vec<InterfaceIndex> {
        let due = self.segments.iter().filter(|(_, segment)| segment.burst.is_none() && segment.next_beacon <= by);
        due.map(|(index, _)| *index).collect()
    }

    fn beacon(&mut self, now: Instant, index: InterfaceIndex, turn: Option<Turn>, ctx: &mut Context) {
        let interval = self.beacon_interval(now, ctx);
        let is_crowded = is_crowded(index, ctx);
        let Some(segment) = self.segments.get_mut(&index) else { return };
        segment.next_beacon = now + interval;
        let ways = segment.ways(now, ALL_WAYS_EVERY, is_crowded);
        let heard = segment.heard_mask(now);
        ctx.stats.heartbeats_sent += 1;
        let numbers: Vec<u32> = ways.iter().map(|cast| segment.count(*cast)).collect();
        for (cast, number) in ways.into_iter().zip(numbers) {
            // The root is the outbound's to fill in: it knows the newest one. So is whether anybody counts.
            let number = Some(number);
            let beacon = crate::wire::message::Beacon { root: 0, heard, turn, number, log_root: None };
            ctx.out.send(Destination::Segment(index, cast), Message::Beacon(beacon));
        }
    }

    /// Between two beacons: longer in large segments, so that their sum stays at ten a second; each second for the
    /// lowest id while somebody who failed may be waiting behind a cut.
    fn beacon_interval(&self, now: Instant, ctx: &Context) -> Duration {
        let usual = ctx.config.broadcast_interval.max(ctx.crowd_interval());
        let is_vigil = self.last_failure.is_some_and(|at| now < at + VIGIL);
        if is_vigil && ctx.roster.near_alive().next().is_none_or(|(lowest, _)| ctx.me.id < *lowest) {
            return ctx.config.beat_period();
        }
        usual
    }

    /// Somebody failed: whoever is the lowest id from now on keeps vigil.
    pub fn on_down(&mut self, now: Instant, id: &NodeId, failed: bool, ctx: &Context) {
        for segment in self.segments.values_mut() {
            segment.forget(id);
        }
        if failed {
            self.last_failure = Some(now);
            let interval = self.beacon_interval(now, ctx);
            for segment in self.segments.values_mut() {
                segment.next_beacon = segment.next_beacon.min(now + interval);
            }
        }
    }

    /// A group datagram of our own came back: at least this host hears us that way.
    pub fn on_echo(&mut self, now: Instant, arrival: Arrival) {
        if let Some(segment) = self.segments.get_mut(&arrival.interface) {
            segment.note_echo(now, arrival.cast);
        }
    }

    /// A sealed group datagram of another node arrived: that way works towards us. One of this host shows nothing of the network
    /// that others are on: the kernel brings it, whatever the switch does.
    pub fn on_group(&mut self, now: Instant, arrival: Arrival, ctx: &Context) {
        let is_looped = is_of_this_host(&arrival, ctx);
        let Some(segment) = self.segments.get_mut(&arrival.interface) else { return };
        if !is_looped {
            segment.note_heard(now, arrival.cast);
        } else if has_others(ctx) {
            segment.forget_looped();
        } else {
            segment.note_looped(now, arrival.cast);
        }
    }

    /// A peer says how it hears others on this segment.
    pub fn on_report(&mut self, now: Instant, peer: NodeId, arrival: Arrival, heard: u8, ctx: &Context) {
        if let Some(segment) = self.segments.get_mut(&arrival.interface) {
            // In the largest segments beacons are rarer than what was heard of others gets old.
            segment.report(now, peer, heard, ctx.hard_bound());
        }
    }

    /// A frame of an unproven session arrived. Asks it to prove itself, if that can be afforded and is ours to do.
    /// `burst` is the index of the HELLO it brought, if any.
    pub fn on_stranger(
        &mut self,
        now: Instant,
        tag: SessionTag,
        arrival: Arrival,
        who: Option<(NodeId, u8)>,
        ctx: &mut Context,
    ) {
        if arrival.cast != Cast::Unicast
            && let Some((id, burst)) = who
            && !is_ours_to_ask(&id, burst, ctx)
        {
            return;
        }
        let known = who.is_some_and(|(id, _)| ctx.roster.highest_epoch(&id).is_some());
        self.challenges.ask(now, tag, arrival, known, ctx);
    }

    /// Somebody unknown asks whether we live, because others vouched for us or because our table had no room for it. It
    /// holds the group's key, so it learns that, and no more than it sent. `true` if nothing is left to ask it: others
    /// know it, so that its card comes with their digests once a few have proven themselves, and a thousand newcomers
    /// need not ask each other for proof.
    pub fn on_strange_ping(&mut self, now: Instant, ping: &Ping, arrival: Arrival, ctx: &mut Context) -> bool {
        if self.challenges.may_answer_probe(now) {
            let pong =
                Message::Pong(Pong { nonce: ping.nonce, root: None, wall_ms: None, log_root: None, clock: None });
            ctx.out.send(Destination::Address(arrival.from, Some(arrival.interface)), pong);
        } else {
            ctx.stats.drop(Reject::Budget);
        }
        !self.challenges.may_ask_prober(now)
    }

    /// Whether a node just proven is ours to show to the others of its segment. Where so few are known that each asks for
    /// itself nobody need be shown.
    #[must_use]
    pub fn is_ours_to_vouch(&self, id: &NodeId, ctx: &Context) -> bool {
        let present = ctx.roster.near_count();
        present >= ANSWERS as usize && is_among(id, ANSWERS as usize, ctx)
    }

    /// The challenges asked here.
    pub fn challenges(&mut self) -> &mut Challenges {
        &mut self.challenges
    }

    /// A peer is reached: its address needs no more tries.
    pub fn on_up(&mut self, id: &NodeId, ctx: &Context) {
        if has_others(ctx) {
            self.segments.values_mut().for_each(Segment::forget_looped);
        }
        let Some(peer) = ctx.roster.get(id) else { return };
        let reached = |address: &SocketAddr| peer.paths.iter().any(|path| path.address == *address);
        self.distant.retain(|distant| distant.tries_left.is_none() || !reached(&distant.address));
    }

    /// No HELLO or beacon leaves any more: the node said goodbye.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// The ways to show a newcomer to a segment: one that works towards us will do, since the roots repair what it does
    /// not carry.
    #[must_use]
    pub fn vouching_casts(&self, now: Instant, index: InterfaceIndex) -> Vec<Cast> {
        let Some(segment) = self.segments.get(&index) else { return Vec::new() };
        segment.proven(now).or_else(|| segment.likely(now)).map_or(Cast::GROUPS.to_vec(), |cast| vec![cast])
    }

    /// The ways to a whole segment: the one that is proven, else all. In a crowd one that works towards us will do here too.
    #[must_use]
    pub fn best_casts(&self, now: Instant, index: InterfaceIndex, ctx: &Context) -> Vec<Cast> {
        let Some(segment) = self.segments.get(&index) else { return Vec::new() };
        let likely = || segment.likely(now).filter(|_| ctx.roster.near_count() >= CROWD);
        segment.proven(now).or_else(likely).map_or(Cast::GROUPS.to_vec(), |cast| vec![cast])
    }

    /// The group address by which all on a segment hear each other, if that is proven.
    #[must_use]
    pub fn proven_cast(&self, now: Instant, index: InterfaceIndex) -> Option<Cast> {
        self.segments.get(&index)?.proven(now)
    }

    /// The segments in use.
    pub fn segments(&self) -> impl Iterator<Item = InterfaceIndex> + '_ {
        self.segments.keys().copied()
    }

    /// For `doctor`: per segment, by which ways we heard ourselves lately.
    #[must_use]
    pub fn echoes(&self, now: Instant) -> Vec<(InterfaceIndex, u8)> {
        self.segments.iter().map(|(index, segment)| (*index, segment.echo_mask(now))).collect()
    }

    /// For `doctor`: per segment, how many peers report how they hear it, and how many of them hear others by each way.
    #[must_use]
    pub fn reports(&self) -> Vec<(InterfaceIndex, usize, [usize; 3])> {
        let reports = |(index, segment): (&InterfaceIndex, &Segment)| {
            let (peers, ways) = segment.reports();
            (*index, peers, ways)
        };
        self.segments.iter().map(reports).collect()
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 1] {
        let fullest = self.segments.values().map(|segment| segment.reports().0).max().unwrap_or(0);
        [("reports", fullest, MAX_PEERS)]
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self, beat_period: Duration) -> Option<Instant> {
        if self.silent {
            return None;
        }
        // A beacon waits half a beat for a heartbeat's turn to travel with.
        let segments = self.segments.values().map(|segment| {
            segment.burst.map_or(segment.next_beacon + beat_period / 2 + Duration::from_millis(1), |(at, _)| at)
        });
        segments.chain(self.distant.iter().map(|distant| distant.next)).chain(self.show_at).min()
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if self.silent {
            return;
        }
        self.send_bursts(now, ctx);
        if self.show_at.is_some_and(|at| now >= at) {
            self.show_at = None;
            self.last_shown = Some(now);
            for index in self.segments.keys().copied().collect::<Vec<_>>() {
                self.hello(index, SHOWN_TO_ALL, &Cast::GROUPS, ctx);
            }
        }
        let half = ctx.config.beat_period() / 2;
        for index in self.due_segments(now - half) {
            self.beacon(now, index, None, ctx);
        }
        self.try_distant(now, ctx);
    }

    fn send_bursts(&mut self, now: Instant, ctx: &mut Context) {
        let interval = ctx.config.broadcast_interval;
        let mut due = Vec::new();
        for (index, segment) in &mut self.segments {
            let Some((at, step)) = segment.burst.filter(|(at, _)| now >= *at) else { continue };
            if step >= ENOUGH && is_crowded(*index, ctx) {
                segment.burst = None;
                segment.next_beacon = now + ctx.random.span(interval);
                continue;
            }
            due.push((*index, step));
            let next = usize::from(step) + 1;
            segment.burst = BURST.get(next).map(|after| (at + (*after - BURST[next - 1]), step + 1));
            if segment.burst.is_none() {
                segment.next_beacon = now + ctx.random.span(interval);
            }
        }
        for (index, step) in due {
            self.last_shown = Some(now);
            let is_repeated = step > 0 && is_crowded(index, ctx);
            let ways = if is_repeated { self.vouching_casts(now, index) } else { Cast::GROUPS.to_vec() };
            self.hello(index, step, &ways, ctx);
        }
    }

    fn hello(&self, index: InterfaceIndex, step: u8, ways: &[Cast], ctx: &mut Context) {
        let Some(card) = ctx.me.card.clone() else { return };
        for &cast in ways {
            let hello = Message::Hello(Hello { card: card.clone(), index: step });
            ctx.out.send(Destination::Segment(index, cast), hello);
        }
    }

    fn try_distant(&mut self, now: Instant, ctx: &mut Context) {
        let Some(card) = ctx.me.card.clone() else { return };
        let changed = self.changed;
        // What was heard before our interfaces changed came to where we were; by a way that is cut nothing comes.
        let is_reached = |address: &SocketAddr| {
            let is_way = |path: &Path| path.address == *address && path.heard.is_some() && !path.is_cut;
            let is_heard = |peer: &Peer| peer.heard.is_some_and(|at| at > changed);
            ctx.roster.near_alive().any(|(_, peer)| is_heard(peer) && peer.paths.iter().any(is_way))
        };
        for distant in &mut self.distant {
            if now < distant.next {
                continue;
            }
            distant.next = now + distant.wait;
            distant.wait = (distant.wait * 2).min(RETRY_LAST);
            if is_reached(&distant.address) {
                distant.wait = RETRY_FIRST;
                continue;
            }
            distant.tries_left = distant.tries_left.map(|left| left.saturating_sub(1));
            let hello = Message::Hello(Hello { card: card.clone(), index: SHOWN_TO_ALL });
            ctx.out.send(Destination::Address(distant.address, None), hello);
        }
        self.distant.retain(|distant| distant.tries_left != Some(0));
    }
}

/// Whether very many peers are heard on a segment.
fn is_crowded(index: InterfaceIndex, ctx: &Context) -> bool {
    let heard_there = |peer: &Peer| peer.paths.iter().any(|path| path.interface == Some(index) && path.heard.is_some());
    ctx.roster.near_count() >= CROWD
        && ctx.roster.near().filter(|(_, peer)| heard_there(peer)).take(CROWD).count() == CROWD
}

/// Of those present, the few with the greatest weight answer the first HELLO of a newcomer, four times as many the
/// next: a thousand nodes do not answer at once, and a lonely one is not left without an answer.
fn is_ours_to_ask(newcomer: &NodeId, burst: u8, ctx: &Context) -> bool {
    let answering = ANSWERS << (2 * u32::from(burst.min(8)));
    if ctx.roster.near_count() < answering as usize {
        return true;
    }
    is_among(newcomer, answering as usize, ctx)
}

/// Whether this node is one of so many with the greatest weight for a newcomer.
fn is_among(newcomer: &NodeId, count: usize, ctx: &Context) -> bool {
    let mine = newcomer.rendezvous(&ctx.me.id);
    // Most are far from it, and find so many heavier ones after a few looks.
    ctx.roster.near_alive().filter(|(id, _)| *id != newcomer && newcomer.rendezvous(id) > mine).take(count).count()
        < count
}

fn is_of_this_host(arrival: &Arrival, ctx: &Context) -> bool {
    ctx.interface(arrival.interface).is_some_and(|on| on.has(arrival.from.ip()))
}

/// Whether anybody is heard from another host.
fn has_others(ctx: &Context) -> bool {
    ctx.roster.near().any(|(_, peer)| peer.best_path().is_some_and(|path| !ctx.is_own(path.address.ip())))
}

/// How many nodes answer the first HELLO.
const ANSWERS: u32 = 3;

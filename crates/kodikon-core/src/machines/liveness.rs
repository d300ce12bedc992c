//! Decides who is called dead: whom a node tells that it lives, whom it watches, how it asks, and when it is sure.

mod beats;
mod canary;
mod freeze;
mod health;
mod isolation;
mod listening;
mod measuring;
mod others;
mod probes;
mod suspicion;
mod ways;

use std::net::SocketAddr;

use crate::effect::context::Context;
use crate::effect::outbox::{Destination, Notice};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{Epoch, InterfaceIndex, Life, NodeId, StreamId};
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::beats::{Beats, Watch};
use crate::machines::liveness::canary::Canaries;
use crate::machines::liveness::freeze::{FREEZE, Freeze};
use crate::machines::liveness::health::Health;
use crate::machines::liveness::isolation::Isolation;
use crate::machines::liveness::listening::Listening;
use crate::machines::liveness::measuring::Measuring;
use crate::machines::liveness::probes::Probes;
use crate::machines::liveness::suspicion::Suspicions;
use crate::machines::liveness::ways::Ways;
use crate::model::member::{Liveness as Held, REASON_BOUND, REASON_PROCESS, REASON_SILENCE};
use crate::model::roster::Peer;
use crate::wire::message::{Beat, Heard, Message, Suspicion};

pub use beats::observers_of;

/// Why a peer is asked whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Its turn passed and nothing was heard.
    MissedTurn,
    /// Another node suspects it.
    Hearsay,
    /// Its connection ended without a goodbye.
    StreamEnded,
}

/// Who lives. See the module's first line.
#[derive(Debug)]
pub struct Liveness {
    beats: Beats,
    watches: Watch,
    probes: Probes,
    ways: Ways,
    suspicions: Suspicions,
    canaries: Canaries,
    isolation: Isolation,
    measuring: Measuring,
    health: Health,
    freeze: Freeze,
    listening: Listening,
    left: bool,
    /// Peers whose last sealed packet decides the hard bound, by when it strikes.
    next_bound: Instant,
    /// What the last look at the bound found, if nobody was suspect.
    calm: Option<Calm>,
}

/// Nobody is quiet before a time, as long as the roster is this and the bound no shorter: what is heard only moves it on.
#[derive(Debug, Clone, Copy)]
struct Calm {
    roster: u64,
    bound: Duration,
    until: Instant,
}

/// How often the hard bound is looked at; a second in thirty.
const BOUND_EVERY: Duration = Duration::from_secs(1);
/// Quiet peers asked each time the bound is looked at; the others are asked the next time.
const MAX_ASKED: usize = 64;
/// In a larger mesh new peers are not measured at once: a thousand at a time would ask each other.
const MEASURED: usize = 64;

impl Liveness {
    /// Nobody watched yet.
    #[must_use]
    pub fn new(now: Instant, ctx: &Context) -> Self {
        Self {
            beats: Beats::new(ctx.first_beat),
            watches: Watch::new(MAX_PEERS),
            probes: Probes::new(),
            ways: Ways::new(),
            suspicions: Suspicions::new(),
            canaries: Canaries::new(),
            isolation: Isolation::new(now, ctx),
            measuring: Measuring::new(now),
            health: Health::default(),
            freeze: Freeze::default(),
            listening: Listening::default(),
            left: false,
            next_bound: ctx.next_tick(now, BOUND_EVERY),
            calm: None,
        }
    }

    /// A peer became alive: it may be an observer, and no doubt about it stands.
    pub fn on_up(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        self.forget_doubts(&id);
        if ctx.roster.near_count() <= MEASURED {
            // Its answer tells how far it is and what its clock shows, before anybody asks for either.
            self.ask(now, id, ctx);
        }
        if self.beats.on_up(now, id, ctx) {
            self.canaries.choose(now, self.beats.observers(), ctx);
        }
    }

    /// A peer is gone.
    pub fn on_down(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        self.forget_doubts(&id);
        self.watches.remove(&id);
        self.ways.forget(&id);
        self.canaries.drop_peer(&id, ctx);
        if self.beats.on_down(now, &id, ctx) {
            self.canaries.choose(now, self.beats.observers(), ctx);
        }
    }

    /// A suspect is cleared: by being heard, by a refutation, or by a third node's ears.
    pub fn on_cleared(&mut self, id: NodeId) {
        if self.suspicions.remove(&id).is_some_and(|suspicion| suspicion.mine) {
            // We raised a false alarm: perhaps it is us who hear badly.
            self.health.worsen();
        }
        self.probes.stop(&id);
    }

    fn forget_doubts(&mut self, id: &NodeId) {
        self.suspicions.remove(id);
        self.probes.stop(id);
    }

    /// A peer that was being asked lives; `true` if there was a doubt. The next doubt begins anew: its clock must not run
    /// from what others said before this one was settled.
    fn settle_doubt(&mut self, id: &NodeId) -> bool {
        let was_doubted = self.probes.stop(id);
        if was_doubted {
            self.suspicions.forget_hearsay(id);
        }
        was_doubted
    }

    /// A sealed packet of a peer arrived. One that does not count as a sign of life settles nothing: it must answer.
    pub fn on_heard(&mut self, now: Instant, id: NodeId, counts: bool, ctx: &mut Context) {
        self.isolation.on_heard(now, ctx);
        if !counts {
            return;
        }
        if self.settle_doubt(&id) {
            self.health.improve();
        }
        self.watches.on_heard(now, &id);
    }

    /// A peer says when its next packet to us is due; 0 releases us.
    pub fn on_beat(&mut self, now: Instant, id: NodeId, due_ms: u32, ctx: &Context) {
        // A longer promise than the hard bound would switch watching off.
        let due = Duration::from_millis(due_ms.into()).min(ctx.config.heartbeat_timeout);
        self.watches.promise(now, id, due);
    }

    /// A PONG arrived from an address. When the probe of ours was sent that it answers, if it answers one: that also measures the way.
    pub fn on_pong(
        &mut self,
        now: Instant,
        (id, from): (NodeId, SocketAddr),
        nonce: u64,
        ctx: &mut Context,
    ) -> Option<Instant> {
        let asked = self.probes.answered(now, nonce, &id)?;
        self.probes.tell_clients(&id, ctx);
        // What was asked by all ways at once was answered by the one that the answer came by.
        let by = asked.by.unwrap_or(from);
        if let Some(peer) = ctx.roster.get_mut(&id) {
            if asked.by.is_some() {
                peer.note_hearing(by);
                self.ways.on_answer(&id, by);
            }
            peer.note_rtt(now, by, now.since(asked.at));
        }
        Some(asked.at)
    }

    /// A peer asks us by this interface what we hold. Where we speak to it by another, it may hear nothing there.
    pub fn on_asked(&mut self, now: Instant, id: NodeId, interface: InterfaceIndex, ctx: &mut Context) {
        if is_elsewhere(&id, interface, ctx) {
            self.on_unanswered_word(now, id, ctx);
        }
    }

    /// A peer asks us by this interface whether we live. An observer that misses our turns asks by all ways.
    pub fn on_ping(&mut self, now: Instant, id: NodeId, interface: InterfaceIndex, ctx: &mut Context) {
        let is_observer = self.beats.observers().contains(&id);
        if is_observer && is_elsewhere(&id, interface, ctx) && self.ways.misses_again(now, id) {
            self.on_unanswered_word(now, id, ctx);
        }
    }

    /// Something that we said to a peer alone was not answered, or may not have been heard: by another way it may be.
    pub fn on_unanswered_word(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        if ctx.roster.get(&id).is_some_and(|peer| peer.is_near() && self.ways.may_compare(now, &id, peer)) {
            self.ways.begin(now, id, &mut self.probes, ctx);
        }
    }

    /// Asks a peer without a doubt; whoever has several ways must answer by the one in use.
    fn ask(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        if !self.ways.begin(now, id, &mut self.probes, ctx) {
            self.probes.ask(now, id, ctx);
        }
    }

    /// The clock of a peer is to be known.
    pub fn on_undated(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        self.ask(now, id, ctx);
    }

    /// A neighbour took a letter of ours: whoever speaks with it has its round trip as it is now, for a question a minute. How long it
    /// took to say so is another matter, since it waits for more to be taken.
    pub fn on_carried(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        if self.measuring.is_due_after_letter(now, &id, ctx) {
            self.ask(now, id, ctx);
        }
    }

    /// Somebody asks whether a third node answers: we ask it, and tell when it does. That we heard it lately is no
    /// answer: what we heard may have been a recording.
    pub fn ask_for(&mut self, now: Instant, subject: NodeId, client: NodeId, ctx: &mut Context) {
        if ctx.roster.is_near(&subject) {
            self.probes.ask_for(now, subject, client, ctx);
        }
    }

    /// Others hold a peer failed, and their word is not enough: it is asked as for a suspicion.
    pub fn doubt(&mut self, now: Instant, subject: NodeId, ctx: &mut Context) {
        self.probes.start(now, subject, Doubt::Hearsay, ctx);
    }

    /// Others say that a peer's process ended: it is asked. "Port unreachable" settles it, or that our connection with it
    /// ended too; but connections also end because a peer chose other observers, so that it may answer first.
    pub fn on_claimed(&mut self, now: Instant, subject: NodeId, ctx: &mut Context) {
        self.canaries.claim(now, subject);
        if let Some(ended) = self.canaries.bereaved_since(&subject) {
            self.canaries.on_refused(ended, &subject);
        }
        self.probes.start(now, subject, Doubt::Hearsay, ctx);
    }

    /// A third node heard somebody we doubt.
    pub fn on_heard_elsewhere(&mut self, now: Instant, heard: &Heard, ctx: &mut Context) {
        let subject = NodeId(heard.subject);
        let Some(peer) = ctx.roster.get(&subject).filter(|peer| peer.epoch() == Epoch(heard.epoch)) else { return };
        let since =
            self.suspicions.get(&subject).map(|suspicion| suspicion.since).or_else(|| self.probes.since(&subject));
        let is_news = since.is_some_and(|since| now.since(since) > Duration::from_millis(heard.age_ms.into()));
        if is_news && peer.liveness == Held::Suspect {
            ctx.out.notice(Notice::Cleared(subject));
        } else if is_news {
            self.settle_doubt(&subject);
        }
        if let Some(peer) = ctx.roster.get_mut(&subject).filter(|_| is_news) {
            // A third node says so once it has answered.
            peer.contested = false;
        }
    }

    /// Another node suspects somebody; maybe us.
    pub fn on_suspicion(&mut self, now: Instant, from: NodeId, suspicion: &Suspicion, ctx: &mut Context) {
        let subject = NodeId(suspicion.subject);
        if subject == ctx.me.id {
            if suspicion.epoch == ctx.me.epoch.0 {
                // Of an earlier life it was refuted then.
                if Life(suspicion.life) >= ctx.me.life {
                    self.health.worsen();
                }
                self.refute(Life(suspicion.life), ctx);
            }
            return;
        }
        let Some(peer) = ctx.roster.get(&subject) else { return };
        if peer.epoch() != Epoch(suspicion.epoch) || peer.life() > Life(suspicion.life) || !peer.is_near() {
            ctx.stats.drop(Reject::Stale);
            return;
        }
        self.probes.ask_for(now, subject, from, ctx);
        if !self.suspicions.confirm(&subject, from) {
            self.suspicions.note_hearsay(now, subject, from);
            self.probes.start(now, subject, Doubt::Hearsay, ctx);
        }
    }

    /// ICMP says that nobody listens where a doubted peer was: the second sign of a process that ended.
    pub fn on_unreachable(&mut self, now: Instant, address: SocketAddr, ctx: &mut Context) {
        let is_at = |peer: &NodeId, ctx: &Context| {
            ctx.roster.get(peer).is_some_and(|held| held.paths.iter().any(|path| path.address == address))
        };
        for peer in self.canaries.claimed().into_iter().filter(|peer| is_at(peer, ctx)) {
            self.canaries.on_refused(now, &peer);
        }
        for peer in self.canaries.bereaved() {
            if is_at(&peer, ctx) && self.probes.since(&peer).is_some() {
                if let Some(held) = ctx.roster.get_mut(&peer) {
                    held.ended = Some(now);
                }
                self.canaries.settle(&peer);
                self.probes.stop(&peer);
                // No train will end what others said of its silence: this is another matter.
                self.suspicions.forget_hearsay(&peer);
                ctx.stats.verdicts += 1;
                ctx.out.notice(Notice::Verdict(peer, REASON_PROCESS));
            }
        }
    }

    /// We said goodbye: no beats, no verdicts.
    pub fn fall_silent(&mut self) {
        self.left = true;
    }

    /// Whether nobody is heard.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolation.is_isolated()
    }

    /// The interfaces of the host changed: there may be no carrier any more, or one may be back.
    pub fn on_interfaces(&mut self, now: Instant, has_returned: bool, ctx: &Context) {
        self.isolation.look_at(now);
        if has_returned {
            self.listening.begin(now, ctx.hard_bound());
        }
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let frozen = |at: Instant| at.max(self.freeze.until);
        let judging = [
            self.watches.next_deadline(),
            self.probes.next_deadline(self.health.steps()),
            self.suspicions.next_deadline(),
            self.ways.next_deadline(),
        ];
        judging
            .into_iter()
            .flatten()
            .map(frozen)
            .chain([self.beats.next_deadline(), frozen(self.next_bound)])
            .chain(self.canaries.next_deadline())
            .chain(self.isolation.next_deadline())
            .min()
    }

    /// Does what is due.
    pub fn on_wake(&mut self, now: Instant, ctx: &mut Context) {
        if self.left {
            return;
        }
        if let Some(observer) = self.beats.on_wake(now, ctx) {
            let is_small = ctx.roster.near_count() <= MEASURED;
            let asked = self.measuring.whom(now, (observer, self.beats.observers()), is_small, ctx);
            asked.into_iter().for_each(|id| self.ask(now, id, ctx));
        }
        for (id, since) in self.canaries.on_wake(now, ctx) {
            let is_silent = |held: &&mut Peer| held.heard.is_none_or(|heard| heard <= since);
            if let Some(held) = ctx.roster.get_mut(&id).filter(is_silent) {
                held.ended = Some(now);
                ctx.out.notice(Notice::Ended(id));
            }
        }
        self.isolation.on_wake(now, ctx);
        self.health.look(now);
        if now < self.freeze.until {
            return;
        }
        for id in self.watches.take_missed(now) {
            if ctx.roster.get(&id).is_some_and(|peer| peer.liveness == Held::Alive) {
                self.probes.start(now, id, Doubt::MissedTurn, ctx);
            }
        }
        self.ways.on_wake(now, &mut self.probes, ctx);
        for (id, doubt) in self.probes.on_wake(now, self.health.steps(), ctx) {
            self.on_unanswered(now, id, doubt, ctx);
        }
        self.judge(now, ctx);
        if now >= self.next_bound {
            self.next_bound = ctx.next_tick(now, BOUND_EVERY);
            self.check_bound(now, ctx);
        }
    }

    /// This node was called later than it had asked, by this much: silences of that time may be its own.
    pub fn on_stall(&mut self, now: Instant, late: Duration, ctx: &mut Context) {
        ctx.stats.stalls += 1;
        self.health.worsen();
        if self.freeze.begin(now, late, ctx.hard_bound()) {
            self.watches.postpone(now + FREEZE);
        }
        self.suspicions.postpone(late);
        if Listening::is_long(late, ctx.hard_bound()) {
            self.listening.begin(now, ctx.hard_bound());
        }
    }

    /// A stream is offered.
    pub fn on_stream_offered(&mut self, now: Instant, stream: StreamId, from: SocketAddr, ctx: &mut Context) {
        self.canaries.on_offered(now, stream, from, ctx);
    }

    /// A stream of ours stands; `true` if it is still wanted.
    pub fn on_stream_opened(&mut self, now: Instant, stream: StreamId, peer: NodeId, ctx: &mut Context) -> bool {
        self.canaries.on_opened(now, stream, peer, ctx)
    }

    /// The sealed frame on an offered stream says whose it is.
    pub fn on_stream_introduced(&mut self, stream: StreamId, peer: NodeId, ctx: &mut Context) {
        self.canaries.on_introduced(stream, peer, ctx);
    }

    /// An offered stream is another machine's.
    pub fn on_stream_taken(&mut self, stream: StreamId) {
        self.canaries.hand_over(stream);
    }

    /// What arrived on a stream makes no sense: it ends.
    pub fn on_stream_nonsense(&mut self, stream: StreamId, ctx: &mut Context) {
        self.canaries.close(stream, ctx);
    }

    /// A stream of ours could not be had.
    pub fn on_stream_failed(&mut self, now: Instant, peer: NodeId) {
        self.canaries.on_failed(now, peer);
    }

    /// A stream ended: is its peer's process gone, or only the stream?
    pub fn on_stream_ended(&mut self, now: Instant, stream: StreamId, ctx: &mut Context) {
        let Some(peer) = self.canaries.on_ended(now, stream) else { return };
        if ctx.roster.is_near(&peer) {
            self.probes.start(now, peer, Doubt::StreamEnded, ctx);
        }
    }

    /// Ends every stream.
    pub fn close_streams(&mut self, ctx: &mut Context) {
        self.canaries.close_all(ctx);
    }

    /// Somebody holds us failed in this life: the next one refutes it.
    pub fn refute(&mut self, life: Life, ctx: &mut Context) {
        if life >= ctx.me.life && !self.left {
            ctx.me.life = Life(life.0.saturating_add(1));
            ctx.stats.refutations += 1;
            ctx.out.notice(Notice::RenewCard);
        }
    }

    fn on_unanswered(&mut self, now: Instant, id: NodeId, doubt: Doubt, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get(&id).filter(|peer| peer.is_near()) else { return };
        let mine = match doubt {
            Doubt::MissedTurn | Doubt::StreamEnded => true,
            Doubt::Hearsay => false,
        };
        let suspicion = Suspicion { subject: id.0, epoch: peer.epoch().0, life: peer.life().0 };
        let flaps = peer.flaps(now);
        if !self.suspicions.begin(now, id, mine, self.patience(flaps, ctx), ctx.config.profile.suspicion()) {
            return;
        }
        ctx.out.notice(Notice::Unanswered(id, REASON_SILENCE));
        // The first to notice tells the others; those who were told confirm to each other.
        let audience = suspicion::audience(&id, mine, ctx);
        for listener in audience {
            ctx.out.send(Destination::Peer(listener), Message::Suspicion(suspicion.clone()));
        }
        ctx.out.send(Destination::EveryPath(id), Message::Suspicion(suspicion));
    }

    /// Tells these of a suspect, if we were the first to notice: as long as they list it as heard, others take it for alive.
    pub fn tell_of_suspect(&self, id: &NodeId, listeners: &[NodeId], ctx: &mut Context) {
        let is_mine = self.suspicions.get(id).is_some_and(|suspect| suspect.mine);
        let Some(peer) = ctx.roster.get(id).filter(|_| is_mine) else { return };
        let suspicion = Suspicion { subject: id.0, epoch: peer.epoch().0, life: peer.life().0 };
        for listener in listeners {
            ctx.out.send(Destination::Peer(*listener), Message::Suspicion(suspicion.clone()));
        }
    }

    /// How long a suspect may answer: longer when we are unwell, doubled for each time it came back.
    fn patience(&self, flaps: u32, ctx: &Context) -> Duration {
        let base = ctx.config.profile.suspicion();
        let damped = base * 2u32.pow(flaps.min(4));
        let unwell = base * (1 + self.health.steps());
        damped.min(MAX_DAMPED).max(unwell)
    }

    fn judge(&mut self, now: Instant, ctx: &mut Context) {
        for id in self.suspicions.due(now) {
            if self.isolation.is_deaf_since(self.suspicions.get(&id).map_or(now, |suspicion| suspicion.since)) {
                // Nobody else was heard since either: it may be us. The hard bound decides.
                self.suspicions.wait(&id, now + ctx.config.beat_period());
                continue;
            }
            self.suspicions.remove(&id);
            self.probes.stop(&id);
            ctx.stats.verdicts += 1;
            ctx.out.notice(Notice::Verdict(id, REASON_SILENCE));
        }
    }

    /// FAILED at the latest `heartbeat_timeout` after the last sealed packet; without a carrier nobody is judged, nor before those who
    /// could not be heard had the time to speak.
    ///
    /// Whoever is no observer of a peer hears its beacons alone, and may lose several in a row, or all where a switch
    /// passes no group datagrams: long before the bound it asks for itself. So it does with a suspect, whose return it
    /// would otherwise learn of only by a beacon.
    fn check_bound(&mut self, now: Instant, ctx: &mut Context) {
        let bound = ctx.hard_bound();
        let holds = |calm: Calm| calm.roster == ctx.roster.version() && calm.bound <= bound && now < calm.until;
        if self.calm.is_some_and(holds) {
            return;
        }
        let may_judge = self.listening.is_over(now, bound);
        let mut overdue = Vec::new();
        let (mut quiet, mut nearly_over) = (Vec::new(), Vec::new());
        let mut longest = Duration::ZERO;
        let mut has_suspect = false;
        for (id, peer) in ctx.roster.near() {
            let silence = peer.silence(now);
            longest = longest.max(silence);
            has_suspect |= peer.liveness == Held::Suspect;
            if !ctx.has_carrier_to(peer) {
                continue;
            }
            if silence >= bound && may_judge {
                overdue.push(*id);
            } else if (silence >= bound * 2 / 5 || peer.liveness == Held::Suspect) && quiet.len() < MAX_ASKED {
                quiet.push(*id);
            }
            if silence >= bound * 4 / 5 {
                nearly_over.push(*id);
            }
        }
        let left = (bound * 2 / 5).saturating_sub(longest);
        self.calm = (!has_suspect).then(|| Calm { roster: ctx.roster.version(), bound, until: now + left });
        nearly_over.into_iter().for_each(|id| ctx.out.notice(Notice::Quiet(id)));
        for id in quiet {
            self.ask(now, id, ctx);
        }
        for id in overdue {
            self.suspicions.remove(&id);
            self.probes.stop(&id);
            ctx.stats.verdicts += 1;
            ctx.out.notice(Notice::Verdict(id, REASON_BOUND));
        }
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 10] {
        let [streams, bereaved, claimed] = self.canaries.sizes();
        [
            ("streams", streams, canary::MAX_STREAMS),
            ("bereaved", bereaved, canary::MAX_STREAMS),
            ("claimed", claimed, canary::MAX_CLAIMED),
            ("pending", self.probes.pending(), probes::MAX_PENDING),
            ("clients", self.probes.clients(), probes::MAX_TRAINS),
            ("watched", self.watches.len(), MAX_PEERS),
            ("probes", self.probes.len(), probes::MAX_TRAINS),
            ("ways", self.ways.len(), ways::MAX_ROUNDS),
            ("missing", self.ways.missing(), ways::MAX_MISSING),
            ("suspicions", self.suspicions.len(), suspicion::MAX_SUSPICIONS),
        ]
    }
}

/// Whether a peer that has several ways speaks to us by another interface than we to it.
fn is_elsewhere(id: &NodeId, interface: InterfaceIndex, ctx: &Context) -> bool {
    let held = ctx.roster.get(id).filter(|peer| peer.has_choice());
    held.and_then(Peer::best_path).is_some_and(|path| path.interface != Some(interface))
}

/// Damping ends here (RFC 2439's idea: a bounded penalty).
const MAX_DAMPED: Duration = Duration::from_secs(30);
/// Entries by time, so that the next is found without a look at all.
type Agenda = std::collections::BTreeSet<(Instant, NodeId)>;
/// A table by peer.
type ByPeer<T> = BoundedMap<NodeId, T>;

/// One beat to one observer.
pub(crate) fn beat(root: u64, due_ms: u32) -> Message {
    Message::Beat(Beat { root, due_ms, log_root: None })
}

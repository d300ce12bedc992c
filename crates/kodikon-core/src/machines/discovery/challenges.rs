//! Decides whom a node asks for proof, and whether the answer is one: cookies without memory, within a budget.

use crate::effect::Arrival;
use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::bounded::{BoundedMap, TokenBucket};
use crate::ground::id::SessionTag;
use crate::ground::stats::Reject;
use crate::ground::time::{Duration, Instant};
use crate::machines::discovery::Discovery;
use crate::model::member::Card;
use crate::wire::clock::Ticks;
use crate::wire::message::{Challenge, Cookie, Message, Proof, proof_bytes};
use std::net::SocketAddr;

/// Milliseconds for which a cookie is good.
const GOOD_MS: u32 = 4_000;
/// Bytes of a cookie that say when it was made; the others are a code over that, the session and the address.
const WHEN: usize = 4;
/// Half of the 200 signature checks a second are kept for nodes known from before, half serve strangers.
const CHECKS: u32 = 100;
/// Challenges a second for strangers, and as many for those known. More than the checks: many are answered by nobody.
const QUESTIONS: u32 = 400;
/// Per source address and port, questions and checks alike.
const PER_SOURCE: u32 = 5;
/// Sources remembered; when there are more, all start afresh, and the totals still hold.
const MAX_SOURCES: usize = 1_024;
/// Two frames of one session within this span are one reason to ask: below the burst's first step of 40 ms.
const SAME_REASON: Duration = Duration::from_millis(30);
/// Cards checked a second on a live peer's word: 4 % of a core, so that the newcomer to a mesh of a thousand knows it
/// within seconds.
const VOUCHED: u32 = 1_000;
/// Proofs given a second: each costs a signature of our own.
const PROOFS: u32 = 400;
/// Of them to one address: twice what an honest questioner asks of it. A proof is six times as long as its question.
const PROOFS_PER_SOURCE: u32 = 10;
/// For so long after a proof its receiver may refuse us.
const REFUSABLE: Duration = Duration::from_secs(10);
/// Addresses that refused us: told once each, and no more of them are told of until the oldest is forgotten.
const MAX_REFUSALS: usize = 16;
/// A table that is still full says so again after this.
const REFUSED_AGAIN: Duration = Duration::from_secs(600);
/// Addresses that we asked lately of our own accord, and how long they may ask back.
const MAX_ASKED: usize = 1_024;
const ASKED_LATELY: Duration = Duration::from_secs(60);

/// Probes of strangers answered a second: the newcomer to the largest mesh is probed by all at once, and most again.
const STRANGE_PROBES: u32 = 2_000;
/// Of those who probe us unknown, so many a second are asked for proof: they know each other, and bring their cards.
const PROBERS: u32 = 128;

/// Challenges. See the module's first line.
#[derive(Debug)]
pub struct Challenges {
    secret: [u8; 32],
    asked: Budget,
    checked: Budget,
    proofs: Budget,
    /// Where our proofs went lately.
    shown: BoundedMap<SocketAddr, Instant>,
    /// Who refused us lately.
    refused: BoundedMap<SocketAddr, Instant>,
    /// Whom we asked of our own accord.
    distant: BoundedMap<SocketAddr, Instant>,
    vouched: TokenBucket,
    probes: TokenBucket,
    probers: TokenBucket,
    lately: BoundedMap<SessionTag, Instant>,
}

#[derive(Debug)]
struct Budget {
    known: TokenBucket,
    strangers: TokenBucket,
    sources: BoundedMap<SocketAddr, TokenBucket>,
    per_source: u32,
}

impl Budget {
    fn new(rate: u32, per_source: u32) -> Self {
        let bucket = TokenBucket::new(rate, rate);
        Self { known: bucket.clone(), strangers: bucket, sources: BoundedMap::new(MAX_SOURCES), per_source }
    }

    fn take(&mut self, now: Instant, source: SocketAddr, known: bool) -> bool {
        if self.sources.is_full() && !self.sources.contains_key(&source) {
            self.sources = BoundedMap::new(MAX_SOURCES);
        }
        if !self.sources.contains_key(&source) {
            let fits = self.sources.insert(source, TokenBucket::new(self.per_source, self.per_source)).is_ok();
            debug_assert!(fits, "room was made above");
        }
        let may = self.sources.get_mut(&source).is_some_and(|bucket| bucket.take(now, 1));
        may && if known { self.known.take(now, 1) } else { self.strangers.take(now, 1) }
    }
}

impl Challenges {
    /// Cookies are made from this secret, which lives as long as the process.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            asked: Budget::new(QUESTIONS, PER_SOURCE),
            checked: Budget::new(CHECKS, PER_SOURCE),
            proofs: Budget::new(PROOFS, PROOFS_PER_SOURCE),
            shown: BoundedMap::new(MAX_SOURCES),
            refused: BoundedMap::new(MAX_REFUSALS),
            distant: BoundedMap::new(MAX_ASKED),
            vouched: TokenBucket::new(VOUCHED, VOUCHED),
            probes: TokenBucket::new(STRANGE_PROBES, STRANGE_PROBES),
            probers: TokenBucket::new(PROBERS, PROBERS),
            lately: BoundedMap::new(MAX_SOURCES),
        }
    }

    /// Asks the holder of a session to prove itself.
    pub(super) fn ask(&mut self, now: Instant, tag: SessionTag, arrival: Arrival, known: bool, ctx: &mut Context) {
        // One HELLO arrives by three ways: it is one reason to ask.
        if self.lately.get(&tag).is_some_and(|&at| now.since(at) < SAME_REASON) {
            return;
        }
        if self.lately.is_full() {
            self.lately = BoundedMap::new(MAX_SOURCES);
        }
        let noted = self.lately.insert(tag, now).is_ok();
        debug_assert!(noted, "room was made above");
        if !self.asked.take(now, arrival.from, known) {
            ctx.stats.drop(Reject::Stranger);
            return;
        }
        ctx.stats.challenges_sent += 1;
        let challenge = self.make(now, tag, arrival.from);
        ctx.out.send(Destination::Address(arrival.from, Some(arrival.interface)), challenge);
    }

    /// A challenge that only the holder of this session, at this address, can answer.
    #[must_use]
    pub fn make(&self, now: Instant, tag: SessionTag, address: SocketAddr) -> Message {
        Message::Challenge(Challenge { cookie: self.cookie(Ticks::of(now), tag, address) })
    }

    /// An address that a signed card lists was asked of our own accord: it may ask back. Whoever only wrote to us is asked
    /// too, and may not: its address may be anybody's.
    pub fn note_asked(&mut self, now: Instant, address: SocketAddr) {
        note(&mut self.distant, address, now);
    }

    /// Whether we asked somebody at this address lately.
    pub(super) fn has_asked(&self, now: Instant, address: &SocketAddr) -> bool {
        self.distant.get(address).is_some_and(|at| now.since(*at) < ASKED_LATELY)
    }

    /// Answers a challenge.
    pub(super) fn answer(&mut self, now: Instant, challenge: &Challenge, arrival: Arrival, ctx: &mut Context) {
        let Some(card) = ctx.me.card.clone() else { return };
        if !self.proofs.take(now, arrival.from, true) {
            ctx.stats.drop(Reject::Budget);
            return;
        }
        note(&mut self.shown, arrival.from, now);
        let signature = ctx.me.identity.sign(&proof_bytes(ctx.mesh, &challenge.cookie, &ctx.me.tag.0));
        let proof = Message::Proof(Proof { card, cookie: challenge.cookie, signature, clock: Ticks::of(now) });
        ctx.out.send(Destination::Address(arrival.from, Some(arrival.interface)), proof);
    }

    /// When the challenge of ours was made that a proof answers, if it answers one and was signed by its card's author, in this
    /// session.
    pub fn check(
        &mut self,
        now: Instant,
        proof: &Proof,
        card: &Card,
        arrival: Arrival,
        ctx: &mut Context,
    ) -> Option<Instant> {
        let asked = asked_at(now, &proof.cookie)
            .filter(|asked| self.cookie(*asked, card.session(), arrival.from) == proof.cookie);
        let Some(asked) = asked else {
            ctx.stats.drop(Reject::Unasked);
            return None;
        };
        let author = proof.card.author();
        let known = ctx.roster.highest_epoch(&author).is_some();
        if !self.may_check(now, arrival.from, known) {
            ctx.stats.drop(Reject::Budget);
            return None;
        }
        let same_card = ctx.roster.newest_card(&author).is_some_and(|held| held.is_same_bytes(&proof.card));
        let valid = (same_card || ctx.verify_op(&proof.card, &card.public_key))
            && ctx.verify(&card.public_key, &proof_bytes(ctx.mesh, &proof.cookie, &card.tag), &proof.signature);
        if !valid {
            ctx.stats.drop(Reject::Signature);
        }
        valid.then(|| asked.moment())
    }

    /// Whether a refusal is worth telling: it answers a proof of ours, and its sender was not told of lately.
    pub fn is_refusal(&mut self, now: Instant, from: SocketAddr) -> bool {
        self.refused.retain(|_, at| now.since(*at) < REFUSED_AGAIN);
        let is_answer = self.shown.get(&from).is_some_and(|at| now.since(*at) < REFUSABLE);
        is_answer && !self.refused.contains_key(&from) && self.refused.insert(from, now).is_ok()
    }

    /// Whether one more probe of somebody unknown may be answered.
    pub(super) fn may_answer_probe(&mut self, now: Instant) -> bool {
        self.probes.take(now, 1)
    }

    /// Whether one more of those may be asked for proof.
    pub(super) fn may_ask_prober(&mut self, now: Instant) -> bool {
        self.probers.take(now, 1)
    }

    /// Whether one more signature of this source may be checked.
    pub fn may_check(&mut self, now: Instant, source: SocketAddr, known: bool) -> bool {
        self.checked.take(now, source, known)
    }

    /// When it is made, as the low half of the stamp, and a code over all of that.
    fn cookie(&self, asked: Ticks, tag: SessionTag, from: SocketAddr) -> Cookie {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&asked.0.to_le_bytes()).update(&tag.0).update(&from.port().to_le_bytes());
        match from.ip() {
            std::net::IpAddr::V4(ip) => hasher.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        let mut cookie = Cookie::default();
        let (when, code) = cookie.split_at_mut(WHEN);
        when.copy_from_slice(&asked.0.to_le_bytes()[..WHEN]);
        hasher.finalize_xof().fill(code);
        cookie
    }
}

/// Notes a time by address; when there are too many, all are forgotten, and honest ones ask again.
fn note(table: &mut BoundedMap<SocketAddr, Instant>, address: SocketAddr, now: Instant) {
    if table.is_full() && !table.contains_key(&address) {
        table.retain(|_, _| false);
    }
    let noted = table.insert(address, now).is_ok();
    debug_assert!(noted, "room was made above");
}

/// When a cookie says that it was made, if that is lately enough.
fn asked_at(now: Instant, cookie: &Cookie) -> Option<Ticks> {
    let (when, _) = cookie.split_first_chunk()?;
    let now = Ticks::of(now).0;
    let age = u32::try_from(now & u64::from(u32::MAX)).ok()?.wrapping_sub(u32::from_le_bytes(*when));
    (age <= GOOD_MS).then(|| now.checked_sub(age.into())).flatten().map(Ticks)
}

impl Discovery {
    /// Answers a challenge from where we may be asked: our own networks, to which our HELLOs and beacons go all the time,
    /// the addresses of peers, and those that we called or asked of our own accord. A proof is longer than its question, so that
    /// whoever asks in another's name must not choose where it goes. Questions are not padded to the length of a proof,
    /// since thousands of them make a cold start.
    pub fn on_challenge(&mut self, now: Instant, challenge: &Challenge, arrival: Arrival, ctx: &mut Context) {
        let from = arrival.from;
        let is_ours = ctx.is_on_link(from.ip())
            || self.distant.iter().any(|distant| distant.address == from)
            || self.challenges.has_asked(now, &from)
            || ctx.roster.iter().any(|(_, peer)| peer.paths.iter().any(|path| path.address == from));
        if is_ours {
            self.challenges.answer(now, challenge, arrival, ctx);
        } else {
            ctx.stats.drop(Reject::Unasked);
        }
    }

    /// Whether one more signature of this source may be checked.
    pub fn may_check(&mut self, now: Instant, source: SocketAddr, known: bool) -> bool {
        self.challenges.may_check(now, source, known)
    }

    /// Whether one more card that a live peer vouches for may be checked. No share per source: one voucher tells a
    /// newcomer of all.
    pub fn may_check_vouched(&mut self, now: Instant) -> bool {
        self.challenges.vouched.take(now, 1)
    }
}

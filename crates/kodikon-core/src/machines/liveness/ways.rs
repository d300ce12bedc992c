//! Decides which ways to a peer are deaf: those by which the peer is heard, and does not hear us.
//!
//! That a peer is heard by a way says nothing of what we send by it. So whenever a peer that is heard by several of our interfaces is
//! asked anything, the answer must come to the very question that went by the way in use; if it does not, all ways are asked, each with
//! a question of its own. This costs a healthy mesh one question for each way that was never measured: else it is the one that would have
//! been put in any case.

use std::net::SocketAddr;

use crate::effect::context::Context;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::liveness::probes::Probes;
use crate::machines::liveness::{Agenda, ByPeer};
use crate::model::roster::{MAX_PATHS, Path, Peer};

/// Peers whose ways are compared, or were lately; beyond it a question is a question, and nothing is learned of ways.
pub(super) const MAX_ROUNDS: usize = 256;
/// How long an answer is waited for after each try; after the last the round is over. Ten tries fail with 0.00004 where a fifth is lost
/// each way (four with 0.02), and the round trip of a busy Wi-Fi lies below the last wait.
const WAITS_MS: [u64; 10] = [200, 250, 350, 400, 400, 400, 400, 400, 400, 700];
/// A way is deaf if so many questions by it stayed unanswered while one by another was answered in the same round.
const UNANSWERED: usize = WAITS_MS.len() - 1;
/// On a sign that what we send is lost a peer's ways are compared this long after the last round at the earliest: before the next turn of
/// an observer, which after the third missed one expects us no more.
const AGAIN: Duration = Duration::from_secs(4);

/// Observers that asked us by all ways, as they do when they miss us; there are five at a time.
pub(super) const MAX_MISSING: usize = 16;
/// Questions of an observer that lie closer together are one train.
const ONE_TRAIN: Duration = Duration::from_secs(2);
/// An observer that misses us again within this missed two of the last three turns: one is lost now and then.
const IN_A_ROW: Duration = Duration::from_secs(11);

/// Comparisons of ways.
#[derive(Debug)]
pub(super) struct Ways {
    rounds: ByPeer<Round>,
    /// When an observer last began to ask where we do not speak to it.
    missing: ByPeer<Instant>,
    /// When those under way go on.
    agenda: Agenda,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    /// The way in use when it began: its answer settles all.
    used: SocketAddr,
    tries: usize,
    /// When it goes on; `None`: it is over.
    next: Option<Instant>,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    by: SocketAddr,
    tries: usize,
    is_answered: bool,
}

impl Ways {
    pub(super) fn new() -> Self {
        Self { rounds: ByPeer::new(MAX_ROUNDS), missing: ByPeer::new(MAX_MISSING), agenda: Agenda::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rounds.len()
    }

    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.missing.remove(id);
        if let Some(at) = self.rounds.remove(id).and_then(|round| round.next) {
            self.agenda.remove(&(at, *id));
        }
    }

    /// Asks a peer by the way in use, and so on until it answers; `false` if it has but one way, or is being asked so.
    pub(super) fn begin(&mut self, now: Instant, id: NodeId, probes: &mut Probes, ctx: &mut Context) -> bool {
        let Some(peer) = ctx.roster.get(&id).filter(|peer| peer.has_choice()) else { return false };
        let Some(used) = peer.best_path().map(|path| path.address) else { return false };
        if self.rounds.get(&id).is_some_and(|round| round.next.is_some()) || !self.has_room(now, &id) {
            return false;
        }
        let mut round = Round { began: now, used, tries: 0, next: None, asked: Vec::new() };
        round.go_on(now, id, probes, ctx);
        self.agenda.extend(round.next.map(|at| (at, id)));
        self.rounds.insert(id, round).is_ok()
    }

    /// Whether a peer has several ways and was not asked by them just now.
    pub(super) fn may_compare(&self, now: Instant, id: &NodeId, peer: &Peer) -> bool {
        self.rounds.get(id).is_none_or(|round| now.since(round.began) >= AGAIN) && peer.has_choice()
    }

    /// An observer asks where we do not speak to it. Whether it did so at another turn not long ago.
    pub(super) fn misses_again(&mut self, now: Instant, id: NodeId) -> bool {
        let before = self.missing.get(&id).copied();
        if before.is_some_and(|before| now.since(before) < ONE_TRAIN) {
            return false;
        }
        self.missing.retain(|_, at| now.since(*at) < IN_A_ROW);
        // Whoever finds no place is one of many that miss us, and the others do.
        drop(self.missing.insert(id, now));
        before.is_some_and(|before| now.since(before) < IN_A_ROW)
    }

    /// A question that went by this way alone was answered.
    pub(super) fn on_answer(&mut self, id: &NodeId, by: SocketAddr) {
        let Some(round) = self.rounds.get_mut(id) else { return };
        round.asked.iter_mut().filter(|asked| asked.by == by).for_each(|asked| asked.is_answered = true);
        if round.used == by
            && let Some(at) = round.next.take()
        {
            self.agenda.remove(&(at, *id));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Asks on, and judges the ways of those who had their time.
    pub(super) fn on_wake(&mut self, now: Instant, probes: &mut Probes, ctx: &mut Context) {
        while let Some((_, id)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.pop_first();
            let Some(round) = self.rounds.get_mut(&id) else { continue };
            round.go_on(now, id, probes, ctx);
            self.agenda.extend(round.next.map(|at| (at, id)));
        }
    }

    fn has_room(&mut self, now: Instant, id: &NodeId) -> bool {
        if self.rounds.is_full() && !self.rounds.contains_key(id) {
            self.rounds.retain(|_, round| round.next.is_some() || now.since(round.began) < AGAIN);
        }
        !self.rounds.is_full() || self.rounds.contains_key(id)
    }
}

impl Round {
    /// The first question goes by the way in use, by those held deaf, which may have been mended, and by those that were never measured, which
    /// may be better; later ones by all that answered none.
    fn go_on(&mut self, now: Instant, id: NodeId, probes: &mut Probes, ctx: &mut Context) {
        self.next = None;
        let Some(peer) = ctx.roster.get(&id).filter(|peer| peer.has_choice()) else { return };
        let Some(wait) = WAITS_MS.get(self.tries) else { return self.judge(&id, ctx) };
        let is_first = self.tries == 0;
        let is_open = |path: &&Path| path.is_deaf || path.rtt.is_none() || path.address == self.used;
        let ways = peer.fresh_paths().filter(|path| !is_first || is_open(path));
        let ways: Vec<(SocketAddr, Option<InterfaceIndex>)> =
            ways.map(|path| (path.address, path.interface)).filter(|(by, _)| !self.is_answered(by)).collect();
        for (by, interface) in ways {
            self.note_asked(by);
            probes.ask_by(now, id, (by, interface), ctx);
        }
        self.tries += 1;
        self.next = Some(now + Duration::from_millis(*wait));
    }

    fn is_answered(&self, by: &SocketAddr) -> bool {
        self.asked.iter().any(|asked| asked.by == *by && asked.is_answered)
    }

    fn note_asked(&mut self, by: SocketAddr) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.by == by) {
            asked.tries += 1;
        } else if self.asked.len() < MAX_PATHS {
            self.asked.push(Asked { by, tries: 1, is_answered: false });
        }
    }

    /// Of a peer that answered by none nothing is learned: it may be dead.
    fn judge(&self, id: &NodeId, ctx: &mut Context) {
        if !self.asked.iter().any(|asked| asked.is_answered) {
            return;
        }
        let Some(peer) = ctx.roster.get_mut(id) else { return };
        for path in &mut peer.paths {
            let silent = |asked: &Asked| asked.by == path.address && !asked.is_answered && asked.tries >= UNANSWERED;
            path.is_deaf |= self.asked.iter().any(silent);
        }
    }
}

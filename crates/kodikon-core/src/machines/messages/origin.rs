//! Decides what becomes of what this node says: when it is begun, when it is tried again, and how it is settled.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ground::id::{Epoch, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::messages::ids::{OwnId, ParcelId};
use crate::model::letter::{Priority, Ticket};
use crate::model::windows::SPAN;

/// What is said and not settled yet at most, and the bytes of it; what exceeds it is refused at once.
pub(super) const MAX_OWN: usize = 16_384;
/// See [`MAX_OWN`].
pub(super) const MAX_OWN_BYTES: usize = 16 * 1_024 * 1_024;
/// Destinations whose last number is remembered; beyond, those to whom nothing is unsettled are forgotten.
pub(super) const MAX_DESTINATIONS: usize = 4_096;
/// Letters to one destination that nobody took over yet: more would only fill the queue of the first hop.
const MAX_HELD: usize = 128;
/// Ways tried at most.
pub(super) const MAX_ATTEMPTS: u8 = 3;
/// The least time that a way may take to be answered.
const ANSWER_LEAST: Duration = Duration::from_millis(250);
/// The last attempt waits for a third of the time that is left, and so long at most: what took two in a row, within a second, may last
/// a little (nobody has time to run, or the map is being told anew), and after the last there is nothing.
const LAST_WAITS: Duration = Duration::from_secs(5);

/// Something that this node says.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) ticket: Ticket,
    pub(super) to: NodeId,
    pub(super) body: Vec<u8>,
    pub(super) urgency: Priority,
    pub(super) deadline: Instant,
    /// Its number and the run of the destination, once it was begun, and when that was.
    pub(super) begun: Option<(u64, Epoch, Instant)>,
    /// Attempts so far, those that made room included: no two carry the same number.
    pub(super) attempts: u8,
    /// Attempts that were given up to make room here and tried no way to its end.
    pub(super) forgiven: u8,
    /// The first relays of its attempts.
    pub(super) firsts: Vec<NodeId>,
    /// Where it is in custody here.
    pub(super) parcel: Option<ParcelId>,
    /// Whether the last that was known is that no way leads there.
    pub(super) is_lost: bool,
    /// When another node last took it from here.
    given: Option<Instant>,
    timer: Instant,
}

impl Own {
    /// The ways that were tried to their end: [`MAX_ATTEMPTS`] at most.
    pub(super) fn tried(&self) -> u8 {
        self.attempts.saturating_sub(self.forgiven)
    }
}

/// What is unsettled of one destination.
#[derive(Debug)]
struct Destination {
    next: u64,
    waiting: BTreeSet<(Reverse<Priority>, OwnId)>,
    begun: BTreeMap<u64, OwnId>,
    /// How many of them are in custody here.
    held: usize,
    /// No way leads there: nothing more is begun until one may.
    is_stalled: bool,
    rtt: Option<Duration>,
}

/// All that this node says.
#[derive(Debug, Default)]
pub(super) struct Origin {
    own: BTreeMap<OwnId, Own>,
    next: u64,
    bytes: usize,
    timers: BTreeSet<(Instant, OwnId)>,
    destinations: BTreeMap<NodeId, Destination>,
    /// Numbers of forgotten destinations are below.
    floor: u64,
    /// Destinations at which something may be begun.
    ready: BTreeSet<NodeId>,
    /// Whether something was not begun because custody was full.
    is_starved: bool,
}

impl Origin {
    /// Takes something to be said; `None` if it is too much.
    pub(super) fn take(&mut self, own: NewOwn, deadline: Instant) -> Option<OwnId> {
        let NewOwn { ticket, to, body, urgency } = own;
        if self.own.len() >= MAX_OWN || self.bytes + body.len() > MAX_OWN_BYTES || !self.has_destination(to) {
            return None;
        }
        self.next += 1;
        let id = OwnId(self.next);
        self.bytes += body.len();
        self.timers.insert((deadline, id));
        let own = Own {
            ticket,
            to,
            body,
            urgency,
            deadline,
            begun: None,
            attempts: 0,
            forgiven: 0,
            firsts: Vec::new(),
            parcel: None,
            is_lost: false,
            given: None,
            timer: deadline,
        };
        self.own.insert(id, own);
        if let Some(destination) = self.destinations.get_mut(&to) {
            destination.waiting.insert((Reverse(urgency), id));
        }
        self.ready.insert(to);
        Some(id)
    }

    /// Whether there is, or is now, an entry for a destination.
    fn has_destination(&mut self, to: NodeId) -> bool {
        if self.destinations.contains_key(&to) {
            return true;
        }
        if self.destinations.len() >= MAX_DESTINATIONS {
            let floor = &mut self.floor;
            self.destinations.retain(|_, held| {
                let is_used = !held.waiting.is_empty() || !held.begun.is_empty();
                *floor = (*floor).max(if is_used { 0 } else { held.next });
                is_used
            });
        }
        let has_room = self.destinations.len() < MAX_DESTINATIONS;
        if has_room {
            let fresh = Destination {
                next: self.floor,
                waiting: BTreeSet::new(),
                begun: BTreeMap::new(),
                held: 0,
                is_stalled: false,
                rtt: None,
            };
            self.destinations.insert(to, fresh);
        }
        has_room
    }

    /// The next that may be begun, and its number; the caller begins it.
    pub(super) fn begin_next(&mut self, fits: impl Fn(usize) -> bool) -> Option<OwnId> {
        while let Some(to) = self.ready.first().copied() {
            let next = self.destinations.get_mut(&to).and_then(|held| held.startable());
            if let Some(id) = next {
                if self.own.get(&id).is_some_and(|own| fits(own.body.len())) {
                    return Some(id);
                }
                self.is_starved = true;
            }
            self.ready.remove(&to);
        }
        None
    }

    /// Gives one its number and the time at which it is begun, for a run of its destination.
    pub(super) fn begin(&mut self, now: Instant, id: OwnId, epoch: Epoch) {
        let Some(own) = self.own.get_mut(&id) else { return };
        let Some(held) = self.destinations.get_mut(&own.to) else { return };
        held.waiting.remove(&(Reverse(own.urgency), id));
        held.next += 1;
        held.begun.insert(held.next, id);
        own.begun = Some((held.next, epoch, now));
    }

    /// One attempt more is in custody here.
    pub(super) fn hold(&mut self, id: OwnId, parcel: ParcelId) {
        let Some(own) = self.own.get_mut(&id) else { return };
        own.is_lost = false;
        if own.parcel.replace(parcel).is_none()
            && let Some(held) = self.destinations.get_mut(&own.to)
        {
            held.held += 1;
        }
        self.set_timer(id, Instant::FAR);
    }

    /// It is in custody here no more: another node took it, or it made room.
    pub(super) fn let_go(&mut self, now: Instant, id: OwnId) {
        let Some(own) = self.own.get_mut(&id) else { return };
        if own.parcel.take().is_some()
            && let Some(held) = self.destinations.get_mut(&own.to)
        {
            held.held -= 1;
            self.ready.insert(own.to);
        }
        own.given = Some(now);
        let (to, tried) = (own.to, own.tried());
        let way = self.destinations.get(&to).and_then(|held| held.rtt).unwrap_or_default() * 4;
        let patience = way.max(ANSWER_LEAST) * (1 << tried.saturating_sub(1).min(7));
        let left = own.deadline.since(now);
        let patience = if tried + 1 == MAX_ATTEMPTS { patience.max((left / 3).min(LAST_WAITS)) } else { patience };
        // However slow it was: there must be time for another way.
        let most = left / 2;
        self.set_timer(id, now + patience.min(most));
    }

    /// It made room here, in the queue of this first hop or without one: that attempt does not count, and the next is made at this moment.
    pub(super) fn forgive(&mut self, id: OwnId, hop: Option<NodeId>, at: Instant) {
        let Some(own) = self.own.get_mut(&id) else { return };
        own.forgiven = own.forgiven.saturating_add(1);
        // It was not tried.
        own.firsts.retain(|first| Some(*first) != hop);
        self.set_timer(id, at);
    }

    /// No way leads to its destination.
    pub(super) fn lose(&mut self, id: OwnId) {
        let Some(own) = self.own.get_mut(&id) else { return };
        own.is_lost = true;
        if let Some(held) = self.destinations.get_mut(&own.to) {
            held.is_stalled = true;
        }
    }

    /// There may be ways where there were none.
    pub(super) fn hope(&mut self) {
        for (to, held) in self.destinations.iter_mut().filter(|(_, held)| held.is_stalled) {
            held.is_stalled = false;
            self.ready.insert(*to);
        }
    }

    /// Room became free: what waited for it may be begun.
    pub(super) fn retry_starved(&mut self) {
        if !core::mem::take(&mut self.is_starved) {
            return;
        }
        let waiting = self.destinations.iter().filter(|(_, held)| !held.waiting.is_empty());
        self.ready.extend(waiting.map(|(to, _)| *to));
    }

    fn set_timer(&mut self, id: OwnId, at: Instant) {
        let Some(own) = self.own.get_mut(&id) else { return };
        let at = at.min(own.deadline);
        // Most of them wait for their deadline from the first to the last.
        if own.timer != at {
            self.timers.remove(&(own.timer, id));
            own.timer = at;
            self.timers.insert((at, id));
        }
    }

    /// Waits for the deadline alone.
    pub(super) fn wait(&mut self, id: OwnId) {
        self.set_timer(id, Instant::FAR);
    }

    /// One whose timer is due.
    pub(super) fn due(&self, now: Instant) -> Option<OwnId> {
        self.timers.first().filter(|(at, _)| now >= *at).map(|(_, id)| *id)
    }

    /// Settles one: it is nothing more to this node.
    pub(super) fn settle(&mut self, id: OwnId) -> Option<Own> {
        let own = self.own.remove(&id)?;
        self.bytes -= own.body.len();
        self.timers.remove(&(own.timer, id));
        if let Some(held) = self.destinations.get_mut(&own.to) {
            held.waiting.remove(&(Reverse(own.urgency), id));
            if let Some((number, ..)) = own.begun {
                held.begun.remove(&number);
            }
            held.held -= usize::from(own.parcel.is_some());
            // The next one finds out for itself whether a way leads there again: the doubt may have been a relay's, whose end
            // nobody tells us of.
            held.is_stalled = false;
            self.ready.insert(own.to);
        }
        Some(own)
    }

    /// Notes how long the answer took by a way that was not tried twice, from when the letter left this node: what it waited here for a
    /// way says nothing of how long a way is.
    pub(super) fn note_rtt(&mut self, now: Instant, id: OwnId) {
        let Some(own) = self.own.get(&id).filter(|own| own.attempts == 1) else { return };
        let Some(since) = own.given.or(own.begun.map(|(.., begun)| begun)) else { return };
        let rtt = now.since(since);
        if let Some(held) = self.destinations.get_mut(&own.to) {
            held.rtt = Some(held.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
        }
    }

    /// The one with this number.
    pub(super) fn find(&self, to: &NodeId, number: u64) -> Option<OwnId> {
        self.destinations.get(to)?.begun.get(&number).copied()
    }

    /// Those that were begun for another run of a destination.
    pub(super) fn of_earlier_run(&self, to: &NodeId, epoch: Epoch) -> Vec<OwnId> {
        let begun = self.destinations.get(to).into_iter().flat_map(|held| held.begun.values());
        let is_earlier = |id: &&OwnId| {
            self.own.get(id).and_then(|own| own.begun).is_some_and(|(_, begun_for, _)| begun_for != epoch)
        };
        begun.filter(is_earlier).copied().collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<OwnId> {
        self.own.keys().copied().collect()
    }

    pub(super) fn get(&self, id: OwnId) -> Option<&Own> {
        self.own.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: OwnId) -> Option<&mut Own> {
        self.own.get_mut(&id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let most = self.destinations.values().map(|held| held.begun.len()).max().unwrap_or(0);
        [
            ("letters_unsettled", self.own.len(), MAX_OWN),
            ("letter_bytes_unsettled", self.bytes, MAX_OWN_BYTES),
            ("letters_begun_to_one", most, SPAN as usize),
            ("letter_destinations", self.destinations.len(), MAX_DESTINATIONS),
        ]
    }
}

impl Destination {
    /// The most urgent that waits, if one more may be begun.
    fn startable(&self) -> Option<OwnId> {
        let spans = self.begun.first_key_value().is_none_or(|(oldest, _)| self.next + 1 - oldest < SPAN);
        let is_open = spans && self.held < MAX_HELD && !self.is_stalled;
        self.waiting.first().filter(|_| is_open).map(|(_, id)| *id)
    }
}

/// What is to be said.
#[derive(Debug)]
pub(super) struct NewOwn {
    pub(super) ticket: Ticket,
    pub(super) to: NodeId,
    pub(super) body: Vec<u8>,
    pub(super) urgency: Priority,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_soon_given_up_and_the_last_one_kept_for_later() {
        // Attempts so far, of these forgiven, seconds until the deadline, milliseconds until the next attempt.
        let table = [
            (1, 0, 30, 250),
            (2, 0, 30, 5_000),
            (2, 0, 12, 4_000),
            (2, 0, 2, 667),
            (2, 1, 30, 250),
            (3, 1, 30, 5_000),
            (3, 0, 30, 1_000),
            (3, 0, 1, 500),
        ];
        for (attempts, forgiven, left, expected) in table {
            let now = Instant::ZERO + Duration::from_secs(100);
            let (to, deadline) = (NodeId([1; 16]), now + Duration::from_secs(left));
            let mut origin = Origin::default();
            let own = NewOwn { ticket: Ticket(1), to, body: Vec::new(), urgency: Priority::Normal };
            let id = origin.take(own, deadline).expect("there is room");
            origin.begin(now, id, Epoch::new(1, 1));
            origin.hold(id, ParcelId(1));
            let own = origin.get_mut(id).expect("it was taken");
            (own.attempts, own.forgiven) = (attempts, forgiven);
            origin.let_go(now, id);
            let waits = origin.next_deadline().expect("it is not settled").since(now);
            let waits = u64::try_from(waits.as_nanos().div_ceil(1_000_000)).expect("short");
            assert_eq!(waits, expected, "{attempts} attempts, {forgiven} forgiven, {left} s left");
        }
    }
}

//! Decides what is said to one neighbour and when it is said again: how much is in flight, what waits, and when it is doubted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::effect::outbox::TWICE_AFTER;
use crate::ground::fair::{FairQueue, Limits, Taken};
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::messages::ids::ParcelId;
use crate::machines::messages::proof::Proof;
use crate::model::letter::Priority;
use crate::wire::letter::MAX_PIECE;

/// Carryings in flight to one neighbour at first, and their bounds (docs/machines/messages.md).
const WINDOW: usize = 64;
const WINDOW_LEAST: usize = 8;
pub(super) const WINDOW_MOST: usize = 256;
/// Letters that wait for one neighbour at most, and their bytes: the oldest of the least urgent ones makes room.
pub(super) const MAX_WAITING: usize = 256;
/// See [`MAX_WAITING`].
pub(super) const MAX_WAITING_BYTES: usize = 1_024 * 1_024;
/// Carryings in flight beyond the window, of critical letters alone: what others fill does not hold them up.
pub(super) const URGENT_MORE: usize = 16;
/// Carryings that wait in the shaper at most, critical ones aside: what goes next is decided late.
const HELD_MOST: usize = 16;
/// Bounds of the time after which a carrying is sent again.
const RTO_LEAST: Duration = Duration::from_millis(3);
const RTO_MOST: Duration = Duration::from_millis(400);
/// And where so many in a row were not taken in time, at the fourth time and later: nothing comes through, or a queue holds more than that
/// of them, and what is sent more often fills it.
const RTO_FULL: Duration = Duration::from_millis(3_200);
const FULL: u32 = 32;
/// The same before any round trip was seen: a good Wi-Fi answers within it, and a copy too many does no harm.
const RTO_FIRST: Duration = Duration::from_millis(50);
/// The variation of a round trip of which one probe alone tells is half of it (RFC 6298 §2.2), and this at most, which makes it a fifth of a
/// second more: the one may have been late by half a second, where its host had other things to do, and with three times of it a letter that
/// is lost twice is too late.
const VARIATION_FIRST: Duration = Duration::from_millis(50);
/// So many carryings in a row, none taken in time, are no chance: a fifth of all lost makes them in one of 600 cases.
const MISSED_IN_A_ROW: u32 = 4;
/// A GOT may wait this long for others.
pub(super) const GOT_AFTER: Duration = Duration::from_millis(1);
/// The train of probes after the first timeout: so many, so far apart.
const PROBES: u32 = 8;
const PROBE_EVERY: Duration = Duration::from_millis(15);
/// A doubted neighbour is asked this often whether it hears us again: a heartbeat of it alone does not say so.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Probes whose answers count, the latest ones: a train, and one of a doubted neighbour.
const MAX_ASKED: usize = PROBES as usize + 1;

/// A piece of a letter on its way to the neighbour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) parcel: ParcelId,
    pub(super) piece: usize,
    /// Bytes of its letter in it.
    bytes: usize,
    sent: Instant,
    due: Instant,
    /// Whether it has not left yet: then nothing of it is due.
    is_held: bool,
    /// Whether it has a place of its own, beyond the window.
    is_urgent: bool,
    /// Whether a second copy follows at once, however soon the first is answered.
    is_doubled: bool,
    /// Times it was sent because nobody took it.
    pub(super) timeouts: u32,
}

impl Flight {
    /// How long ago it was first sent.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.since(self.sent)
    }
}

/// A letter that waits to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    parcel: ParcelId,
    /// The first piece that was not sent.
    piece: usize,
    pieces: usize,
    /// Bytes of the pieces that were not sent.
    bytes: usize,
    /// When half of its time here is over.
    late_at: Instant,
}

/// Probes since the first timeout.
#[derive(Debug, Clone, Copy)]
struct Train {
    sent: u32,
    at: Instant,
}

/// What is due at a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The flight with this number is sent again.
    Again(u64),
    /// The neighbour is asked whether it hears us.
    Probe,
    /// It answered nothing.
    Doubt,
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Link {
    /// Smoothed round trip and its variation (RFC 6298 §2).
    rtt: Option<(Duration, Duration)>,
    /// Carryings that were not taken in time since one was that was sent once.
    missed: u32,
    window: usize,
    credit: usize,
    cut: Instant,
    flights: BTreeMap<u64, Flight>,
    due: BTreeSet<(Instant, u64)>,
    /// By their origins.
    waiting: FairQueue<NodeId, Waiting>,
    held: usize,
    /// Critical carryings in flight.
    urgent: usize,
    pub(super) proof: Proof,
    train: Option<Train>,
    /// When a doubted neighbour is asked again.
    doubted: Option<Instant>,
    /// The nonces of the latest probes.
    asked: VecDeque<u64>,
}

impl Link {
    /// A neighbour whose probes took so long, if they were measured.
    pub(super) fn new(now: Instant, rtt: Option<Duration>) -> Self {
        Self {
            rtt: rtt.map(|rtt| (rtt, (rtt / 2).min(VARIATION_FIRST))),
            missed: 0,
            window: WINDOW,
            credit: 0,
            cut: now,
            flights: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: FairQueue::new(Limits { items: MAX_WAITING, bytes: MAX_WAITING_BYTES }),
            held: 0,
            urgent: 0,
            proof: Proof::new(now),
            train: None,
            doubted: None,
            asked: VecDeque::new(),
        }
    }

    /// Adds a letter to what waits; returns those that made room.
    pub(super) fn push(&mut self, urgency: Priority, origin: NodeId, letter: Waiting) -> Vec<ParcelId> {
        self.waiting.push(urgency.class(), origin, letter.bytes, letter);
        core::iter::from_fn(|| self.waiting.take_excess()).map(|(_, letter)| letter.parcel).collect()
    }

    /// The next piece to send, and its bytes, if more may be in flight.
    pub(super) fn next_piece(&mut self, now: Instant) -> Option<(ParcelId, usize, usize)> {
        if self.doubted.is_some() || self.waiting.is_empty() {
            return None;
        }
        // Where more waits than can leave in time, what has most time left goes first: else all would arrive too late.
        self.waiting.prefer_newest(|letter| now >= letter.late_at);
        if self.flights.len() < self.window && self.held < HELD_MOST {
            self.waiting.take(Waiting::next)
        } else if self.urgent < URGENT_MORE {
            self.waiting.take_urgent(Waiting::next)
        } else {
            None
        }
    }

    /// A piece is sent under this number.
    pub(super) fn launch(
        &mut self,
        now: Instant,
        number: u64,
        (parcel, piece, bytes): (ParcelId, usize, usize),
        is_urgent: bool,
    ) {
        let due = now + if is_urgent { TWICE_AFTER } else { self.wait(0) };
        let flight = Flight {
            parcel,
            piece,
            bytes,
            sent: now,
            due,
            is_held: false,
            is_urgent,
            is_doubled: is_urgent,
            timeouts: 0,
        };
        self.urgent += usize::from(is_urgent);
        self.flights.insert(number, flight);
        self.due.insert((due, number));
    }

    /// What was launched under this number does not leave yet.
    pub(super) fn hold(&mut self, number: u64) {
        if let Some(flight) = self.flights.get_mut(&number).filter(|flight| !flight.is_held) {
            flight.is_held = true;
            self.due.remove(&(flight.due, number));
            self.held += 1;
        }
    }

    /// It leaves now.
    pub(super) fn depart(&mut self, now: Instant, number: u64) {
        let Some(wait) = self.flights.get(&number).map(|flight| self.wait(flight.timeouts)) else { return };
        if let Some(flight) = self.flights.get_mut(&number).filter(|flight| flight.is_held) {
            flight.is_held = false;
            // What is answered next may be the first copy: a round trip from the second would be too short.
            if flight.timeouts == 0 && flight.is_doubled == flight.is_urgent {
                flight.sent = now;
            }
            flight.due = now + if flight.is_doubled { TWICE_AFTER } else { wait };
            self.due.insert((flight.due, number));
            self.held -= 1;
        }
    }

    /// What is due now, and is taken for done by that.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        if let Some(train) = self.train.filter(|train| now >= train.at) {
            if train.sent < PROBES {
                // From when it was due: a late wake makes no train longer.
                let at = if train.sent + 1 < PROBES { train.at + PROBE_EVERY } else { now + self.patience() };
                self.train = Some(Train { sent: train.sent + 1, at });
                return Some(Due::Probe);
            }
            self.train = None;
            self.doubted = Some(now + ASK_AGAIN);
            return Some(Due::Doubt);
        }
        if let Some(at) = self.doubted.as_mut().filter(|at| now >= **at) {
            *at = now + ASK_AGAIN;
            return Some(Due::Probe);
        }
        let (_, number) = self.due.first().copied().filter(|(at, _)| now >= *at)?;
        self.due.pop_first();
        let flight = self.flights.get_mut(&number)?;
        let is_copy = core::mem::take(&mut flight.is_doubled);
        flight.timeouts += u32::from(!is_copy);
        let timeouts = flight.timeouts;
        if !is_copy {
            self.missed += u32::from(timeouts == 1);
            if now.since(self.cut) >= self.wait(0) {
                self.window = (self.window / 2).max(WINDOW_LEAST);
                (self.cut, self.credit) = (now, 0);
            }
            // A train may have ended by an answer to what was sent long before: each timeout asks anew.
            if self.train.is_none() {
                self.train = Some(Train { sent: 0, at: now });
            }
        }
        let due = now + self.wait(if is_copy { 0 } else { timeouts });
        self.flights.get_mut(&number)?.due = due;
        self.due.insert((due, number));
        Some(Due::Again(number))
    }

    /// The flight with this number.
    pub(super) fn flight(&self, number: u64) -> Option<&Flight> {
        self.flights.get(&number)
    }

    /// What is in flight, by number.
    pub(super) fn flights(&self) -> impl Iterator<Item = (u64, &Flight)> {
        self.flights.iter().map(|(number, flight)| (*number, flight))
    }

    /// A flight is over without being taken: its letter is not here any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.take_flight(number);
    }

    fn take_flight(&mut self, number: u64) -> Option<Flight> {
        let flight = self.flights.remove(&number)?;
        self.due.remove(&(flight.due, number));
        self.held -= usize::from(flight.is_held);
        self.urgent -= usize::from(flight.is_urgent);
        Some(flight)
    }

    /// The neighbour took what was sent under this number.
    pub(super) fn land(&mut self, now: Instant, number: u64) -> Option<Flight> {
        // A copy too many is answered too, and says as well that what we send arrives.
        self.train = None;
        let flight = self.take_flight(number)?;
        let rtt = (flight.timeouts == 0).then(|| now.since(flight.sent));
        if let Some(rtt) = rtt {
            self.note_rtt(rtt);
            self.missed = 0;
        }
        self.proof.note(flight.bytes + AROUND, rtt);
        self.credit += 1;
        if self.credit >= self.window {
            (self.window, self.credit) = ((self.window + 1).min(WINDOW_MOST), 0);
        }
        Some(flight)
    }

    /// RFC 6298 §2.
    fn note_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(match self.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => ((smooth * 7 + rtt) / 8, (variation * 3 + smooth.abs_diff(rtt)) / 4),
        });
    }

    /// Doublings of the time after which anything is sent again, until something that was sent once is taken (RFC 6298 §5.5 to
    /// §5.7): where a queue has grown, nothing else would ever tell how long a round trip is now.
    fn backoff(&self) -> u32 {
        self.missed / MISSED_IN_A_ROW
    }

    /// When a carrying is sent again for the first time.
    fn rto(&self) -> Duration {
        let rto = self.rtt.map(|(smooth, variation)| smooth + variation * 4 + GOT_AFTER);
        rto.map_or(RTO_FIRST, |rto| rto.clamp(RTO_LEAST, RTO_FULL))
    }

    /// When one is sent again that was not taken in time so often.
    fn wait(&self, timeouts: u32) -> Duration {
        let usual = backed_off(self.rto(), doublings(timeouts, self.backoff()));
        if self.missed < FULL {
            return usual;
        }
        usual.max((RTO_MOST * (1 << timeouts.saturating_sub(3).min(8))).min(RTO_FULL))
    }

    /// How long the last probe of a train may take to be answered.
    fn patience(&self) -> Duration {
        self.rtt.map_or(PROBE_EVERY, |(smooth, variation)| smooth + variation * 4).max(PROBE_EVERY)
    }

    /// It is asked whether it hears us, under this nonce.
    pub(super) fn note_asked(&mut self, nonce: u64) {
        if self.asked.len() == MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(nonce);
    }

    /// It answered a probe: if it was one of ours, it hears us. (What it says by itself can come by a way that leads here alone,
    /// or from a recording.) `true` if it had been doubted.
    pub(super) fn on_pong(&mut self, nonce: u64) -> bool {
        self.asked.contains(&nonce) && self.trust()
    }

    fn trust(&mut self) -> bool {
        self.train = None;
        self.asked.clear();
        self.doubted.take().is_some()
    }

    /// Nothing is sent any more of what waits or is in flight.
    pub(super) fn clear(&mut self) {
        self.flights.clear();
        self.due.clear();
        self.waiting.clear();
        (self.held, self.urgent) = (0, 0);
        self.train = None;
        self.missed = 0;
        self.window = WINDOW;
    }

    /// A letter is not here any more.
    pub(super) fn drop_parcel(&mut self, parcel: ParcelId) {
        self.waiting.retain(|waiting| waiting.parcel != parcel);
        let gone: Vec<u64> =
            self.flights.iter().filter(|(_, flight)| flight.parcel == parcel).map(|(number, _)| *number).collect();
        gone.into_iter().for_each(|number| self.forget(number));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.waiting() == 0 && self.train.is_none() && self.doubted.is_none()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.train.map(|train| train.at)).chain(self.doubted).min()
    }
}

/// Bytes of a datagram around a piece of a letter, about.
const AROUND: usize = 200;

/// How often the time is doubled after so many timeouts: not for the first, since one loss is no sign of a queue, and twice in a row
/// is the rarest that a hundredth of all letters meet at 5 % loss.
fn doublings(timeouts: u32, backoff: u32) -> u32 {
    timeouts.saturating_sub(1).max(backoff)
}

/// The time after which something is sent again, doubled so often.
fn backed_off(rto: Duration, doublings: u32) -> Duration {
    if doublings == 0 { rto } else { (rto * (1 << doublings.min(8))).min(RTO_MOST.max(rto)) }
}

impl Waiting {
    /// A letter of which nothing was sent.
    pub(super) fn new(parcel: ParcelId, pieces: usize, bytes: usize, late_at: Instant) -> Self {
        Self { parcel, piece: 0, pieces, bytes, late_at }
    }

    /// Takes its next piece.
    fn next(&mut self) -> Taken<(ParcelId, usize, usize)> {
        let (piece, bytes) = (self.piece, self.bytes.min(MAX_PIECE));
        (self.piece, self.bytes) = (piece + 1, self.bytes - bytes);
        Taken { value: (self.parcel, piece, bytes), bytes: bytes + AROUND, is_part: self.piece < self.pieces }
    }
}

/// All neighbours that something was said to lately.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<NodeId, Link>,
    /// Those that are doubted.
    doubted: BTreeSet<NodeId>,
}

/// Neighbours remembered while nothing is said to them: beyond, whoever is idle is forgotten.
const MAX_IDLE: usize = 64;

impl Links {
    /// The state of a neighbour, made if there is none.
    pub(super) fn open(&mut self, now: Instant, id: NodeId, rtt: Option<Duration>) -> &mut Link {
        if self.links.len() >= MAX_IDLE && !self.links.contains_key(&id) {
            self.links.retain(|_, link| !link.is_idle());
        }
        self.links.entry(id).or_insert_with(|| Link::new(now, rtt))
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Link> {
        self.links.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Link> {
        self.links.get_mut(id)
    }

    /// A neighbour is none any more.
    pub(super) fn close(&mut self, id: &NodeId) {
        self.links.remove(id);
        self.doubted.remove(id);
    }

    /// A neighbour answered nothing: what waited for it goes elsewhere.
    pub(super) fn doubt(&mut self, id: NodeId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.clear();
            self.doubted.insert(id);
        }
    }

    /// A neighbour answered a probe. `true` if it had been doubted.
    pub(super) fn on_pong(&mut self, id: &NodeId, nonce: u64) -> bool {
        let was_doubted = self.links.get_mut(id).is_some_and(|link| link.on_pong(nonce));
        if was_doubted {
            self.doubted.remove(id);
        }
        was_doubted
    }

    pub(super) fn doubted(&self) -> impl Iterator<Item = NodeId> {
        self.doubted.iter().copied()
    }

    pub(super) fn is_doubted(&self, id: &NodeId) -> bool {
        self.doubted.contains(id)
    }

    /// Who has something due.
    pub(super) fn due(&self, now: Instant) -> Vec<NodeId> {
        let is_due = |link: &Link| link.next_deadline().is_some_and(|at| now >= at);
        self.links.iter().filter(|(_, link)| is_due(link)).map(|(id, _)| *id).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(Link::next_deadline).min()
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self, peers: usize) -> [(&'static str, usize, usize); 4] {
        let most = |of: fn(&Link) -> usize| self.links.values().map(of).max().unwrap_or(0);
        [
            ("letter_links", self.links.len(), peers.max(MAX_IDLE)),
            ("letters_in_flight", most(Link::in_flight), WINDOW_MOST + URGENT_MORE),
            ("letters_waiting", most(Link::waiting), MAX_WAITING),
            ("letter_bytes_waiting", most(Link::waiting_bytes), MAX_WAITING_BYTES),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn pushed(link: &mut Link, urgency: Priority, parcel: u64) -> Vec<u64> {
        pushed_long(link, urgency, parcel, 1, 100)
    }

    fn pushed_long(link: &mut Link, urgency: Priority, parcel: u64, pieces: usize, bytes: usize) -> Vec<u64> {
        let letter = Waiting::new(ParcelId(parcel), pieces, bytes, at(10_000));
        link.push(urgency, NodeId([1; 16]), letter).into_iter().map(|parcel| parcel.0).collect()
    }

    #[test]
    fn a_neighbour_that_answers_nothing_is_probed_and_doubted_after_an_eighth_of_a_second() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        pushed(&mut link, Priority::Normal, 1);
        let piece = link.next_piece(at(0)).expect("it waits");
        link.launch(at(0), 1, piece, false);
        let mut story = Vec::new();
        while let Some(deadline) = link.next_deadline() {
            while let Some(due) = link.take_due(deadline) {
                story.push((deadline.since(at(0)).as_millis(), due));
            }
            assert_ne!(link.next_deadline(), Some(deadline), "the driver would spin");
            if story.last().is_some_and(|(_, due)| *due == Due::Doubt) {
                break;
            }
        }
        let probes: Vec<u128> = story.iter().filter(|(_, due)| *due == Due::Probe).map(|(at, _)| *at).collect();
        assert_eq!(probes, [4, 19, 34, 49, 64, 79, 94, 109]);
        assert_eq!(story.last(), Some(&(124, Due::Doubt)));
        assert_eq!(link.next_piece(at(200)), None);
        link.clear();
        assert_eq!(link.next_deadline(), Some(at(624)));
        assert_eq!(link.take_due(at(624)), Some(Due::Probe), "it is asked again");
        link.note_asked(7);
        assert!(!link.on_pong(8), "an answer to somebody else's question");
        assert!(link.on_pong(7), "it is trusted again");
        assert_eq!(link.next_deadline(), None);
    }

    /// Found by swarm-5, seed 32: one probe had taken 570 ms, and a letter was sent three times in five seconds.
    #[test]
    fn one_late_probe_does_not_hold_up_what_is_lost_on_a_fast_way() {
        for (probe, again) in [(1, 4), (10, 31), (100, 301), (572, 773), (3_000, 3_200)] {
            let mut link = Link::new(at(0), Some(Duration::from_millis(probe)));
            pushed(&mut link, Priority::Normal, 1);
            let piece = link.next_piece(at(0)).expect("it waits");
            link.launch(at(0), 1, piece, false);
            assert_eq!(link.next_deadline(), Some(at(again)), "a probe took {probe} ms");
        }
    }

    #[test]
    fn a_round_trip_runs_from_the_first_copy_that_left() {
        let mut link = Link::new(at(0), None);
        pushed(&mut link, Priority::Critical, 1);
        let piece = link.next_piece(at(0)).expect("it waits");
        link.launch(at(0), 1, piece, true);
        link.hold(1);
        link.depart(at(10), 1);
        assert_eq!(link.take_due(at(11)), Some(Due::Again(1)), "its copy");
        link.hold(1);
        link.depart(at(40), 1);
        link.land(at(41), 1).expect("it was in flight");
        assert_eq!(link.rtt.map(|(smooth, _)| smooth.as_millis()), Some(31));
    }

    #[test]
    fn what_is_urgent_goes_first_and_the_oldest_of_the_least_urgent_makes_room() {
        let mut link = Link::new(at(0), None);
        for (n, urgency) in (0..).zip(Priority::ALL) {
            assert_eq!(pushed(&mut link, urgency, n), [0; 0]);
        }
        for n in 4..MAX_WAITING as u64 {
            assert_eq!(pushed(&mut link, Priority::Normal, n), [0; 0], "letter {n}");
        }
        assert_eq!(pushed(&mut link, Priority::Low, 1_000), [0]);
        assert_eq!(pushed(&mut link, Priority::High, 1_001), [1_000]);
        assert_eq!(pushed(&mut link, Priority::High, 1_002), [1]);
        assert_eq!(pushed_long(&mut link, Priority::Critical, 1_003, 60, MAX_WAITING_BYTES - 25_000).len(), 6);
        let order: Vec<u64> = (0..64).filter_map(|_| link.next_piece(at(0))).map(|(parcel, _, _)| parcel.0).collect();
        assert_eq!(order[..2], [3, 1_003], "{order:?}");
        assert!(link.waiting_bytes() <= MAX_WAITING_BYTES);
    }

    #[test]
    fn on_a_way_that_has_become_slow_a_carrying_waits_long_enough_to_tell_so() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        let round_trip = 120;
        let (mut sent, mut copies) = (0, 0);
        for n in 0..30 {
            link.launch(at(sent), n, (ParcelId(n), 0, 100), false);
            while link.next_deadline().is_some_and(|due| due < at(sent + round_trip)) {
                let due = link.next_deadline().expect("it was just seen");
                copies += u64::from(matches!(link.take_due(due), Some(Due::Again(_))));
            }
            sent += round_trip;
            assert!(link.land(at(sent), n).is_some(), "carrying {n}");
            link.trust();
        }
        assert!(copies <= 80, "{copies} copies of 30 carryings");
        assert!(link.rto() > Duration::from_millis(round_trip), "{:?}", link.rto());
    }

    #[test]
    fn where_nothing_is_taken_any_more_it_is_said_ever_more_rarely() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        (0..u64::from(FULL)).for_each(|n| link.launch(at(0), n, (ParcelId(n), 0, 100), false));
        let mut waits = Vec::new();
        for round in 1..10 {
            while let Some(due) = link.take_due(at(10_000 * round)) {
                if due == Due::Again(0) {
                    let flight = link.flight(0).expect("it is in flight");
                    waits.push(flight.due.since(at(10_000 * round)).as_millis());
                }
            }
        }
        assert_eq!(waits, [4, 400, 400, 800, 1_600, 3_200, 3_200, 3_200, 3_200]);
        assert!(link.land(at(99_000), 0).is_some());
        link.launch(at(99_000), 99, (ParcelId(99), 0, 100), false);
        link.land(at(99_001), 99);
        link.launch(at(99_002), 100, (ParcelId(100), 0, 100), false);
        let first = link.flight(100).expect("it is in flight").due;
        assert!(first.since(at(99_002)) <= RTO_MOST, "something was taken at once");
    }

    #[test]
    fn the_window_grows_by_one_a_round_and_halves_once_a_round_of_timeouts() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        for n in 0..64 {
            link.launch(at(0), n, (ParcelId(n), 0, 100), false);
            link.land(at(1), n);
        }
        assert_eq!(link.window, 65);
        for n in 100..110 {
            link.launch(at(10), n, (ParcelId(n), 0, 100), false);
        }
        while link.take_due(at(30)).is_some() {}
        assert_eq!(link.window, 32, "ten timeouts at once are one");
        for round in 2..20 {
            while link.take_due(at(round * 1_000)).is_some() {}
        }
        assert_eq!(link.window, WINDOW_LEAST);
        let first = link.flight(100).expect("it is in flight").due;
        assert_eq!(first.since(at(19_000)), RTO_MOST);
    }

    /// Its places were counted beyond a window that timeouts had shrunk meanwhile: for 1.3 s no critical letter left.
    #[test]
    fn what_is_critical_has_places_of_its_own_however_much_is_in_flight() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        (0..WINDOW as u64).for_each(|n| link.launch(at(0), n, (ParcelId(n), 0, 100), false));
        for ms in [5, 1_000, 2_000, 3_000] {
            while link.take_due(at(ms)).is_some() {}
        }
        assert_eq!((link.window, link.in_flight()), (WINDOW_LEAST, WINDOW));
        link.trust();
        pushed(&mut link, Priority::High, 100);
        for n in 200..=200 + URGENT_MORE as u64 {
            pushed(&mut link, Priority::Critical, n);
        }
        for n in 200..200 + URGENT_MORE as u64 {
            let piece = link.next_piece(at(3_000)).expect("a place is free");
            assert_eq!(piece.0, ParcelId(n));
            link.launch(at(3_000), n, piece, true);
        }
        assert_eq!(link.next_piece(at(3_000)), None, "all its places are taken");
        assert!(link.land(at(3_001), 200).is_some());
        assert!(link.next_piece(at(3_001)).is_some(), "one is free again");
    }

    /// A queue of copies hid that all of them were answered: the neighbour was doubted while it took and answered everything.
    #[test]
    fn an_answer_to_a_copy_too_many_says_that_the_neighbour_hears_us_and_the_next_timeout_asks_anew() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        (1..3).for_each(|n| link.launch(at(0), n, (ParcelId(n), 0, 100), false));
        let dues = |link: &mut Link, ms| core::iter::from_fn(|| link.take_due(at(ms))).collect::<Vec<_>>();
        assert!(dues(&mut link, 5).contains(&Due::Again(1)));
        assert!(link.land(at(40), 1).is_some());
        for ms in (100..2_000).step_by(100) {
            assert!(!dues(&mut link, ms).contains(&Due::Doubt), "at {ms} ms");
            assert!(link.land(at(ms), 1).is_none(), "that was taken before");
        }
        let doubted = (2_000..3_000).find(|ms| dues(&mut link, *ms).contains(&Due::Doubt));
        assert!(doubted.is_some(), "then nothing is answered any more");
    }
}

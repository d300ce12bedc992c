//! Decides what is said to one neighbour and when it is said again: how much is in flight, what waits, and when it is doubted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::messages::ids::ParcelId;
use crate::model::letter::Priority;

/// Carryings in flight to one neighbour at first, and their bounds (docs/machines/messages.md).
const WINDOW: usize = 64;
const WINDOW_LEAST: usize = 8;
pub(super) const WINDOW_MOST: usize = 256;
/// Letters that wait for one neighbour at most, and their bytes: the oldest of the least urgent ones makes room.
pub(super) const MAX_WAITING: usize = 256;
/// See [`MAX_WAITING`].
pub(super) const MAX_WAITING_BYTES: usize = 1_024 * 1_024;
/// Bounds of the time after which a carrying is sent again.
const RTO_LEAST: Duration = Duration::from_millis(5);
const RTO_MOST: Duration = Duration::from_millis(400);
/// The same before any round trip was seen: a good Wi-Fi answers within it, and a copy too many does no harm.
const RTO_FIRST: Duration = Duration::from_millis(50);
/// A GOT may wait this long for others.
pub(super) const GOT_AFTER: Duration = Duration::from_millis(1);
/// What must not wait is sent twice, so far apart.
const TWICE_AFTER: Duration = Duration::from_millis(1);
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
    sent: Instant,
    due: Instant,
    /// Whether a second copy follows at once, however soon the first is answered.
    is_doubled: bool,
    /// Times it was sent because nobody took it.
    pub(super) timeouts: u32,
}

/// A letter that waits to be sent.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    parcel: ParcelId,
    /// The first piece that was not sent.
    piece: usize,
    pieces: usize,
    bytes: usize,
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
    window: usize,
    credit: usize,
    cut: Instant,
    flights: BTreeMap<u64, Flight>,
    due: BTreeSet<(Instant, u64)>,
    waiting: [VecDeque<Waiting>; Priority::ALL.len()],
    bytes: usize,
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
            rtt: rtt.map(|rtt| (rtt, rtt / 2)),
            window: WINDOW,
            credit: 0,
            cut: now,
            flights: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: Default::default(),
            bytes: 0,
            train: None,
            doubted: None,
            asked: VecDeque::new(),
        }
    }

    /// Adds a letter to what waits; returns those that made room.
    pub(super) fn push(&mut self, urgency: Priority, parcel: ParcelId, pieces: usize, bytes: usize) -> Vec<ParcelId> {
        self.waiting[urgency as usize].push_back(Waiting { parcel, piece: 0, pieces, bytes });
        self.bytes += bytes;
        let mut evicted = Vec::new();
        while self.waiting() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES {
            let Some(queue) = self.waiting.iter_mut().find(|queue| !queue.is_empty()) else { break };
            let Some(oldest) = queue.pop_front() else { break };
            self.bytes -= oldest.bytes;
            evicted.push(oldest.parcel);
        }
        evicted
    }

    /// The next piece to send, if more may be in flight.
    pub(super) fn next_piece(&mut self) -> Option<(ParcelId, usize)> {
        if self.doubted.is_some() || self.flights.len() >= self.window {
            return None;
        }
        let queue = self.waiting.iter_mut().rev().find(|queue| !queue.is_empty())?;
        let first = queue.front_mut()?;
        let next = (first.parcel, first.piece);
        first.piece += 1;
        if first.piece == first.pieces {
            self.bytes -= first.bytes;
            queue.pop_front();
        }
        Some(next)
    }

    /// A piece is sent under this number.
    pub(super) fn launch(&mut self, now: Instant, number: u64, (parcel, piece): (ParcelId, usize), is_urgent: bool) {
        let due = now + if is_urgent { TWICE_AFTER } else { self.rto() };
        self.flights.insert(number, Flight { parcel, piece, sent: now, due, is_doubled: is_urgent, timeouts: 0 });
        self.due.insert((due, number));
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
        let rto = self.rto();
        let flight = self.flights.get_mut(&number)?;
        if core::mem::take(&mut flight.is_doubled) {
            flight.due = now + rto;
        } else {
            flight.timeouts += 1;
            flight.due = now + (rto * (1 << flight.timeouts.min(7))).min(RTO_MOST);
            if now.since(self.cut) >= rto {
                self.window = (self.window / 2).max(WINDOW_LEAST);
                (self.cut, self.credit) = (now, 0);
            }
            if self.train.is_none() && flight.timeouts == 1 {
                self.train = Some(Train { sent: 0, at: now });
            }
        }
        self.due.insert((flight.due, number));
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
        if let Some(flight) = self.flights.remove(&number) {
            self.due.remove(&(flight.due, number));
        }
    }

    /// The neighbour took what was sent under this number.
    pub(super) fn land(&mut self, now: Instant, number: u64) -> Option<Flight> {
        let flight = self.flights.remove(&number)?;
        self.due.remove(&(flight.due, number));
        self.train = None;
        if flight.timeouts == 0 {
            self.note_rtt(now.since(flight.sent));
        }
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

    /// When a carrying is sent again.
    fn rto(&self) -> Duration {
        let rto = self.rtt.map(|(smooth, variation)| smooth + variation * 4 + GOT_AFTER);
        rto.map_or(RTO_FIRST, |rto| rto.clamp(RTO_LEAST, RTO_MOST))
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
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.bytes = 0;
        self.train = None;
        self.window = WINDOW;
    }

    /// A letter is not here any more.
    pub(super) fn drop_parcel(&mut self, parcel: ParcelId) {
        for queue in &mut self.waiting {
            let bytes = &mut self.bytes;
            queue.retain(|waiting| {
                let stays = waiting.parcel != parcel;
                *bytes -= if stays { 0 } else { waiting.bytes };
                stays
            });
        }
        let gone: Vec<u64> =
            self.flights.iter().filter(|(_, flight)| flight.parcel == parcel).map(|(number, _)| *number).collect();
        gone.into_iter().for_each(|number| self.forget(number));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.waiting() == 0 && self.train.is_none() && self.doubted.is_none()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.train.map(|train| train.at)).chain(self.doubted).min()
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
            ("letters_in_flight", most(Link::in_flight), WINDOW_MOST),
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

    fn pushed(link: &mut Link, urgency: Priority, parcel: u64) -> Vec<ParcelId> {
        link.push(urgency, ParcelId(parcel), 1, 100)
    }

    #[test]
    fn a_neighbour_that_answers_nothing_is_probed_and_doubted_after_an_eighth_of_a_second() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        pushed(&mut link, Priority::Normal, 1);
        let piece = link.next_piece().expect("it waits");
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
        assert_eq!(probes, [5, 20, 35, 50, 65, 80, 95, 110]);
        assert_eq!(story.last(), Some(&(125, Due::Doubt)));
        assert_eq!(link.next_piece(), None);
        link.clear();
        assert_eq!(link.next_deadline(), Some(at(625)));
        assert_eq!(link.take_due(at(625)), Some(Due::Probe), "it is asked again");
        link.note_asked(7);
        assert!(!link.on_pong(8), "an answer to somebody else's question");
        assert!(link.on_pong(7), "it is trusted again");
        assert_eq!(link.next_deadline(), None);
    }

    #[test]
    fn what_is_urgent_goes_first_and_the_oldest_of_the_least_urgent_makes_room() {
        let mut link = Link::new(at(0), None);
        for (n, urgency) in (0..).zip(Priority::ALL) {
            assert_eq!(pushed(&mut link, urgency, n), []);
        }
        for n in 4..MAX_WAITING as u64 {
            assert_eq!(pushed(&mut link, Priority::Normal, n), [], "letter {n}");
        }
        assert_eq!(pushed(&mut link, Priority::Low, 1_000), [ParcelId(0)]);
        assert_eq!(pushed(&mut link, Priority::High, 1_001), [ParcelId(1_000)]);
        assert_eq!(pushed(&mut link, Priority::High, 1_002), [ParcelId(1)]);
        assert_eq!(link.push(Priority::Critical, ParcelId(1_003), 60, MAX_WAITING_BYTES - 25_000).len(), 6);
        let order: Vec<u64> = (0..64).filter_map(|_| link.next_piece()).map(|(parcel, _)| parcel.0).collect();
        assert_eq!(order[..2], [3, 1_003], "{order:?}");
        assert!(link.waiting_bytes() <= MAX_WAITING_BYTES);
    }

    #[test]
    fn the_window_grows_by_one_a_round_and_halves_once_a_round_of_timeouts() {
        let mut link = Link::new(at(0), Some(Duration::from_millis(1)));
        for n in 0..64 {
            link.launch(at(0), n, (ParcelId(n), 0), false);
            link.land(at(1), n);
        }
        assert_eq!(link.window, 65);
        for n in 100..110 {
            link.launch(at(10), n, (ParcelId(n), 0), false);
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
}

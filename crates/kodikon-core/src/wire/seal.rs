//! Decides who can read and write frames: AES-256-GCM under a key per session, and which counters were seen.

use core::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::id::{NodeId, SessionTag};
use crate::ground::stats::Reject;
use crate::ground::table::IdTable;
use crate::ground::time::{Duration, Instant};
use crate::wire::clock::PeerClock;
use crate::wire::header::{HEADER, Header, MAX_FRAME, OVERHEAD, TAG};

/// The key all members share; session keys are derived from it.
pub struct GroupKey {
    // The hasher with the context already absorbed: cloning it saves a third of a derivation (measured, 162 -> 101 ns).
    deriver: blake3::Hasher,
}

impl GroupKey {
    /// From the 32 bytes that `Config::group_key` gives.
    #[must_use]
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Self {
        let mut deriver = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 session key");
        deriver.update(&key[..]);
        Self { deriver }
    }

    /// The key of one session: anyone with the group key can derive it, nobody else.
    #[must_use]
    pub fn session(&self, tag: SessionTag) -> SessionKey {
        let key = Zeroizing::new(*self.deriver.clone().update(&tag.0).finalize().as_bytes());
        let unbound = UnboundKey::new(&AES_256_GCM, &key[..]).expect("32 bytes are an AES-256 key");
        SessionKey(LessSafeKey::new(unbound))
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupKey(…)")
    }
}

/// The key of one session.
pub struct SessionKey(LessSafeKey);

impl SessionKey {
    /// Seals `text` behind its header.
    #[must_use]
    pub fn seal(&self, header: &Header, text: &[u8]) -> Vec<u8> {
        self.seal_for(Carrier::Datagram, header, text)
    }

    /// Seals `text` so that it can be opened only where that carrier brings it.
    #[must_use]
    pub fn seal_for(&self, carrier: Carrier, header: &Header, text: &[u8]) -> Vec<u8> {
        let head = header.encode();
        let mut frame = Vec::with_capacity(text.len() + OVERHEAD);
        frame.extend_from_slice(&head);
        frame.extend_from_slice(text);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(carrier, header.counter), Aad::from(&head), &mut frame[HEADER..])
            .expect("a frame is far below the cipher's limit");
        frame.extend_from_slice(tag.as_ref());
        frame
    }

    /// Opens a frame in place and returns its text.
    ///
    /// # Errors
    /// [`Reject::Seal`] when it was not sealed with this key or was altered.
    pub fn open<'f>(&self, header: &Header, frame: &'f mut [u8]) -> Result<&'f [u8], Reject> {
        self.open_from(Carrier::Datagram, header, frame)
    }

    /// Opens a frame that came by this carrier in place and returns its text.
    ///
    /// # Errors
    /// [`Reject::Seal`] when it was not sealed with this key for that carrier, or was altered.
    pub fn open_from<'f>(&self, carrier: Carrier, header: &Header, frame: &'f mut [u8]) -> Result<&'f [u8], Reject> {
        if frame.len() < HEADER + TAG {
            return Err(Reject::Length);
        }
        let (head, sealed) = frame.split_at_mut(HEADER);
        let text = self.0.open_in_place(nonce(carrier, header.counter), Aad::from(&*head), sealed);
        text.map(|text| &*text).map_err(|_| Reject::Seal)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// By what a frame travels. It is sealed for that alone: what is recorded of one is nothing in the other, where it would be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram, or the first frame of a stream, which is as one.
    Datagram = 0,
    /// A stream that is a pipe.
    Pipe = 1,
}

fn nonce(carrier: Carrier, counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[0] = carrier as u8;
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Which of the last 2,048 counters of a session arrived.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    seen: Box<[u64; Self::WORDS]>,
    next: u64,
    /// Counters below belong to an earlier acquaintance with the session.
    floor: u64,
    /// When `recent` was set.
    marked: Option<Instant>,
    /// What `next` was then.
    recent: u64,
    /// And what it was [`Self::MARK_EVERY`] or longer before that.
    older: u64,
}

impl ReplayWindow {
    const WORDS: usize = 32;
    /// Frames that may overtake each other without being taken for replays.
    pub const BITS: u64 = 64 * Self::WORDS as u64;
    /// By how much at least a frame may be later than one that was sent after it: what a sleeping Wi-Fi card or a full queue of one of two
    /// ways holds back comes within a second or two.
    pub const MARK_EVERY: Duration = Duration::from_secs(4);

    /// A window in which nothing arrived.
    #[must_use]
    pub fn new() -> Self {
        Self::above(0)
    }

    /// A window that takes no counter below this: they were seen, or missed, before the session was forgotten.
    #[must_use]
    pub fn above(floor: u64) -> Self {
        Self { seen: Box::new([0; Self::WORDS]), next: floor, floor, marked: None, recent: floor, older: floor }
    }

    /// Takes no counter up to this one any more: what was sent before was sent before its sender counted.
    pub fn close_below(&mut self, counter: u64) {
        self.floor = self.floor.max(counter.saturating_add(1));
        if self.next < self.floor {
            self.advance(self.floor - 1);
        }
    }

    /// Notes a counter; `false` if it was noted before or lies behind the window.
    pub fn accept(&mut self, counter: u64) -> bool {
        // The last counter has no successor: no honest session reaches it.
        if counter == u64::MAX {
            return false;
        }
        if counter >= self.next {
            self.advance(counter);
        } else if self.next - counter > Self::BITS || counter < self.floor {
            return false;
        }
        let (word, bit) = Self::place(counter);
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }

    /// Whether a datagram, just accepted, was sent before one that arrived four to eight seconds ago or longer: nothing is on its way for
    /// so long that is no recording. (What was sent to others alone, or while this node did not hear, is new to the window.)
    pub fn is_belated(&mut self, now: Instant, counter: u64) -> bool {
        if self.marked.is_none_or(|marked| now.since(marked) >= Self::MARK_EVERY) {
            (self.marked, self.older, self.recent) = (Some(now), self.recent, self.next);
        }
        counter < self.older
    }

    /// The lowest counter above all that arrived.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a counter is above all that arrived: a frame below may have been on its way for long.
    #[must_use]
    pub fn is_latest(&self, counter: u64) -> bool {
        counter >= self.next
    }

    fn advance(&mut self, counter: u64) {
        if counter - self.next >= Self::BITS {
            self.seen.fill(0);
        } else {
            for passed in self.next..=counter {
                let (word, bit) = Self::place(passed);
                self.seen[word] &= !bit;
            }
        }
        self.next = counter + 1;
    }

    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % Self::BITS;
        ((bit / 64) as usize, 1 << (bit % 64))
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// A session some peer has proven, or that a live peer vouched for.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub peer: NodeId,
    /// Its key, kept ready: making one costs more than opening a heartbeat.
    pub key: SessionKey,
    /// What arrived of it.
    pub window: ReplayWindow,
    /// Its sender's clock, by which the age of a frame is told.
    pub clock: PeerClock,
    /// What it may send.
    pub allowance: TokenBucket,
}

/// Datagrams a second that one peer may send, and its burst (a second's worth).
const PEER_RATE: u32 = 5_000;
/// Bytes a second that one peer may send: no bucket of its own is needed.
const PEER_BYTES: u32 = 8_000_000;
const _: () = assert!(PEER_RATE as usize * MAX_FRAME <= PEER_BYTES as usize);

/// All sessions a node can place.
#[derive(Debug)]
pub struct Sessions {
    /// Boxed: a session is near a kilobyte, and a thousand of them side by side would make each look-up miss the caches.
    table: IdTable<SessionTag, Box<Session>>,
    /// How far the sessions went that were forgotten, so that no recording of theirs is new when they come back.
    former: Floors,
    /// How far those went that were never placed. Apart, since whoever has the key can make up any number of them.
    strange: Floors,
}

/// Forgotten sessions remembered: as many as the directory holds nodes.
const MAX_FORMER: usize = 4_096;
/// Strange sessions remembered: a thousand may start at once.
const MAX_STRANGE: usize = 1_024;

/// How far sessions went that are not placed.
type Floors = RecentMap<SessionTag, u64>;

/// Notes how far a session went, which never goes down.
fn raise(floors: &mut Floors, tag: SessionTag, next: u64) {
    let next = floors.get(&tag).map_or(next, |floor| next.max(*floor));
    floors.insert(tag, next);
}

impl Sessions {
    /// An empty table for at most `limit` sessions.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { table: IdTable::new(limit), former: Floors::new(MAX_FORMER), strange: Floors::new(MAX_STRANGE) }
    }

    /// Places a session; `false` when the table is full.
    pub fn admit(&mut self, group: &GroupKey, tag: SessionTag, peer: NodeId) -> bool {
        if let Some(session) = self.table.get_mut(&tag) {
            return session.peer == peer;
        }
        let session = Box::new(Session {
            peer,
            key: group.session(tag),
            window: ReplayWindow::above(self.former.get(&tag).max(self.strange.get(&tag)).copied().unwrap_or(0)),
            clock: PeerClock::default(),
            allowance: TokenBucket::new(PEER_RATE, PEER_RATE),
        });
        let fits = self.table.insert(tag, session);
        if fits {
            // Its window holds them now.
            self.former.remove(&tag);
            self.strange.remove(&tag);
        }
        fits
    }

    /// Forgets a session.
    pub fn forget(&mut self, tag: SessionTag) {
        let Some(session) = self.table.remove(&tag) else { return };
        raise(&mut self.former, tag, session.window.next);
    }

    /// A frame of a session that is not placed was opened: it is old should the session be placed later.
    pub fn saw(&mut self, tag: SessionTag, counter: u64) {
        let floors = if self.former.get(&tag).is_some() { &mut self.former } else { &mut self.strange };
        raise(floors, tag, counter.saturating_add(1));
    }

    /// Floors with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> [(&'static str, usize, usize); 2] {
        [("former_sessions", self.former.len(), MAX_FORMER), ("strange_sessions", self.strange.len(), MAX_STRANGE)]
    }

    /// Forgets all sessions; what they had sent stays old.
    pub fn forget_all(&mut self) {
        for tag in self.table.keys().copied().collect::<Vec<_>>() {
            self.forget(tag);
        }
    }

    /// The session with this tag.
    pub fn get_mut(&mut self, tag: SessionTag) -> Option<&mut Session> {
        self.table.get_mut(&tag).map(Box::as_mut)
    }

    /// The session with this tag, to look at.
    #[must_use]
    pub fn get(&self, tag: SessionTag) -> Option<&Session> {
        self.table.get(&tag).map(Box::as_ref)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: u8, tag: u8) -> SessionKey {
        GroupKey::new(&Zeroizing::new([group; 32])).session(SessionTag([tag; 8]))
    }

    #[test]
    fn a_frame_opens_under_its_own_key_and_whole_only() {
        let header = Header { tag: SessionTag([2; 8]), counter: 5 };
        let frame = key(1, 2).seal(&header, b"text");
        assert_eq!(key(1, 2).open(&header, &mut frame.clone()), Ok(&b"text"[..]));
        assert_eq!(key(9, 2).open(&header, &mut frame.clone()), Err(Reject::Seal), "another mesh");
        assert_eq!(key(1, 3).open(&header, &mut frame.clone()), Err(Reject::Seal), "another session");
        for byte in 0..frame.len() {
            let mut bent = frame.clone();
            bent[byte] ^= 1;
            let read = Header::decode(&bent).and_then(|header| key(1, 2).open(&header, &mut bent).map(<[u8]>::to_vec));
            assert!(read.is_err(), "byte {byte} bent and opened");
        }
    }

    #[test]
    fn a_session_that_comes_back_goes_on_where_it_was_forgotten() {
        let group = GroupKey::new(&Zeroizing::new([1; 32]));
        let (tag, peer) = (SessionTag([2; 8]), NodeId([3; 16]));
        let mut sessions = Sessions::new(4);
        assert!(sessions.admit(&group, tag, peer));
        assert!(sessions.get_mut(tag).unwrap().window.accept(7));
        sessions.forget(tag);
        assert!(sessions.admit(&group, tag, peer));
        let window = &mut sessions.get_mut(tag).unwrap().window;
        assert_eq!([5, 7, 8].map(|counter| window.accept(counter)), [false, false, true]);
    }

    #[test]
    fn no_number_of_strange_tags_makes_the_former_sessions_of_peers_new_again() {
        let group = GroupKey::new(&Zeroizing::new([1; 32]));
        let mut sessions = Sessions::new(4);
        let (peer, stranger) = (SessionTag([2; 8]), SessionTag([3; 8]));
        assert!(sessions.admit(&group, peer, NodeId([3; 16])));
        assert!(sessions.get_mut(peer).unwrap().window.accept(7));
        sessions.forget(peer);
        for n in 0..10_000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            sessions.saw(SessionTag([0xff, 0xff, 0xff, 0xff, a, b, c, d]), 5);
            if n % 1_000 == 0 {
                // Who speaks on is not forgotten for those who come and go.
                sessions.saw(stranger, u64::from(n));
            }
        }
        for (tag, seen) in [(peer, 7), (stranger, 9_000)] {
            assert!(sessions.admit(&group, tag, NodeId([3; 16])));
            assert!(!sessions.get_mut(tag).unwrap().window.accept(seen), "{tag:?}");
        }
        assert!(sessions.table_sizes().iter().all(|(_, held, limit)| held <= limit));
    }

    #[test]
    fn a_window_takes_each_counter_once_in_any_order() {
        let mut window = ReplayWindow::new();
        let table = [
            (0, true),
            (0, false),
            (5, true),
            (3, true),
            (3, false),
            (2_052, true),
            (5, false),
            (4, false),
            (6, true),
            (2_053, true),
            (1_000_000, true),
            (1_000_000 - 2_047, true),
            (1_000_000 - 2_048, false),
            (2_053, false),
            (u64::MAX, false),
            (u64::MAX - 1, true),
            (u64::MAX - 1, false),
        ];
        for (n, (counter, expected)) in table.into_iter().enumerate() {
            assert_eq!(window.accept(counter), expected, "row {n}: {counter}");
        }
    }

    #[test]
    fn what_was_sent_before_something_that_came_long_ago_is_a_recording() {
        let mut window = ReplayWindow::new();
        // (milliseconds, counter, whether it is too old)
        let arrivals = [
            (0, 10, false),
            (100, 5, false),
            (3_999, 6, false),
            (4_000, 20, false),
            (7_999, 7, true),
            (8_000, 21, false),
            (8_000, 8, true),
            (8_000, 19, true),
            (11_999, 18, true),
            // After a silence what came before it is as old as it was, and what was sent in it is not known to be.
            (60_000, 25, false),
            (60_000, 30, false),
            (60_000, 17, true),
            (63_999, 24, false),
            (64_000, 40, false),
            (64_000, 23, true),
        ];
        for (ms, counter, is_old) in arrivals {
            assert!(window.accept(counter), "{counter}");
            assert_eq!(
                window.is_belated(Instant::from_start(Duration::from_millis(ms)), counter),
                is_old,
                "{counter} at {ms}"
            );
        }
    }
}

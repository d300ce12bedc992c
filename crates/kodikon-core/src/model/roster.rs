//! Decides what a node remembers of its peers: the roster of the present and lately failed, and the directory of all others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::ground::bounded::reserve_few;
use crate::ground::id::{Epoch, InterfaceIndex, Life, NodeId};
use crate::ground::table::IdTable;
use crate::ground::time::{Duration, Instant, WallTime};
use crate::model::member::{Card, Liveness};
use crate::model::op::SignedOp;

/// One way to a peer: an address it has proven, or one its card lists.
#[derive(Debug, Clone)]
pub struct Path {
    /// Where to.
    pub address: SocketAddr,
    /// Over which interface it was last heard; `None` until then.
    pub interface: Option<InterfaceIndex>,
    /// When a sealed packet last came from there.
    pub heard: Option<Instant>,
    /// Over which interface a group datagram last came from there, and when: where several nodes of one host speak to each
    /// other, a packet to one alone comes by loopback.
    pub group: Option<(InterfaceIndex, Instant)>,
    /// Smoothed round trip of probes.
    pub rtt: Option<Duration>,
    /// When it was last measured.
    pub measured: Option<Instant>,
    /// Whether our own interface there can carry nothing now: it is gone, down, or without a carrier.
    pub is_cut: bool,
    /// Whether several questions by this way stayed unanswered while those by another did not: the peer may be heard by it, and does
    /// not hear us. Until one is answered.
    pub is_deaf: bool,
    /// Whether it was the better one when ways were last measured: of ways that do as well it goes on being used.
    pub is_used: bool,
}

impl Path {
    /// A way of which nothing is known yet.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            interface: None,
            heard: None,
            group: None,
            rtt: None,
            measured: None,
            is_cut: false,
            is_deaf: false,
            is_used: false,
        }
    }

    /// A probe was answered by this way after so long. Samples of one moment are smoothed as in RFC 6298; what is older says nothing
    /// about now.
    pub(crate) fn note_rtt(&mut self, now: Instant, sample: Duration) {
        let recent = self.rtt.filter(|_| self.measured.is_some_and(|at| now.since(at) < SAME_MOMENT));
        self.rtt = Some(recent.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        self.measured = Some(now);
    }
}

/// Round trips measured within this span are smoothed: a train of probes, and a few beats of an observer.
const SAME_MOMENT: Duration = Duration::from_secs(10);

/// One peer.
#[derive(Debug, Clone)]
#[doc(alias = "PeerInfo")]
pub struct Peer {
    /// What it says of itself, as it signed it.
    pub signed: SignedOp,
    /// The same, read.
    pub card: Card,
    /// How it is held.
    pub liveness: Liveness,
    /// Since when it is held so.
    pub since: Instant,
    /// When a sealed packet of its own last arrived.
    pub heard: Option<Instant>,
    /// Ways to it, at most [`MAX_PATHS`].
    pub paths: Vec<Path>,
    /// Who says that it failed, and since when, by the author's newest op.
    pub witnesses: BTreeMap<NodeId, Instant>,
    /// Somebody said that it failed, and it has answered no question since.
    pub contested: bool,
    /// Why it is suspect or failed, in words for people.
    pub reason: &'static str,
    /// How often it came back from suspicion in its last spell of flapping, and when last: see [`Peer::flaps`].
    returns: Option<(Instant, u32)>,
    /// Its wall clock minus ours when last told, in milliseconds.
    pub skew_ms: Option<i64>,
    /// What it told last of the log that it holds; `None`: nothing yet.
    pub log: Option<ToldLog>,
    /// When a group datagram of its own last arrived: whoever hears us that way is not told twice.
    pub group_heard: Option<Instant>,
    /// Datagrams heard from it.
    pub datagrams: u64,
    /// Whether it is present because the map has a way to it, and not because it is heard; since when there is none.
    pub far: Option<Far>,
    /// When we last saw for ourselves that its process ended: its connection with us or its port said so, and no answer came.
    pub ended: Option<Instant>,
}

/// A peer that is not heard itself: it lives as long as there is a way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Far {
    /// Since when there is no way.
    pub lost: Option<Instant>,
    /// When a way came back last.
    pub regained: Option<Regained>,
    /// When it was last heard itself, if it ever was in this run.
    pub silent: Option<Instant>,
    /// Relays on the way.
    pub relays: u8,
    /// Who passed its card on, to be asked for what else it said.
    pub shown_by: Option<NodeId>,
}

/// There is a way again to a far peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regained {
    /// Since when.
    pub at: Instant,
    /// Since when there had been none.
    pub lost: Instant,
}

/// What a peer told of the log that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldLog {
    /// The digest of it.
    pub root: u64,
    /// When that was last the digest of ours, or when it told one first.
    pub equal: Instant,
}

/// Ways to one peer that are remembered; the one heard longest ago makes room.
pub const MAX_PATHS: usize = 8;
/// Entries of the directory at most; the one heard longest ago makes room.
pub const MAX_DIRECTORY: usize = 4_096;

impl Peer {
    /// A peer as its card shows it.
    #[must_use]
    pub fn new(now: Instant, signed: SignedOp, card: Card, liveness: Liveness) -> Self {
        let mut peer = Self {
            signed,
            card,
            liveness,
            since: now,
            heard: None,
            paths: Vec::new(),
            witnesses: BTreeMap::new(),
            contested: false,
            reason: "",
            returns: None,
            skew_ms: None,
            log: None,
            group_heard: None,
            datagrams: 0,
            far: None,
            ended: None,
        };
        peer.learn_card_addresses();
        peer
    }

    /// Notes a packet of its own: what others say of it is older.
    pub fn note_heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.witnesses.clear();
    }

    /// How long it was not heard, or has been held as it is now if it never was.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        now.since(self.heard.unwrap_or(self.since))
    }

    /// It told the digest of the log that it holds, and this is ours.
    pub fn note_log(&mut self, now: Instant, root: u64, ours: u64) {
        let equal = self.log.filter(|_| root != ours).map_or(now, |told| told.equal);
        self.log = Some(ToldLog { root, equal });
    }

    /// Whether it is present, and heard itself.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.far.is_none() && self.liveness.is_present()
    }

    /// Whether we saw a sign that its process ended, and heard nothing of it since.
    #[must_use]
    pub fn seems_ended(&self) -> bool {
        self.ended.is_some_and(|ended| self.heard.is_none_or(|heard| heard <= ended))
    }

    /// The run its card speaks for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.signed.epoch()
    }

    /// Its newest life.
    #[must_use]
    pub fn life(&self) -> Life {
        self.card.life()
    }

    /// The best way: one heard last, proven ways before listed ones, of these one by which we are heard. None by an interface of ours that
    /// can carry nothing.
    #[must_use]
    pub fn best_path(&self) -> Option<&Path> {
        self.open_paths().min_by_key(self.preference())
    }

    /// The best way to none of these addresses.
    #[must_use]
    pub fn best_path_besides(&self, tried: &[SocketAddr]) -> Option<&Path> {
        self.open_paths().filter(|path| !tried.contains(&path.address)).min_by_key(self.preference())
    }

    fn open_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|path| !path.is_cut)
    }

    /// The open ways by which it was heard as lately as by any.
    pub fn fresh_paths(&self) -> impl Iterator<Item = &Path> {
        let freshest = self.freshest();
        self.open_paths().filter(move |path| path.heard.is_some() && is_fresh(path, freshest))
    }

    /// Whether it is heard by more than one of our interfaces, so that one may hear us where another does not.
    #[must_use]
    pub fn has_choice(&self) -> bool {
        let first = self.fresh_paths().next().map(|path| path.interface);
        self.fresh_paths().any(|path| Some(path.interface) != first)
    }

    fn freshest(&self) -> Option<Instant> {
        self.open_paths().filter_map(|path| path.heard).max()
    }

    /// What orders ways. Those heard within the same few seconds are equally alive; among them one by which we are heard is better than
    /// one by which we are not, then the one that was better when they were measured, then the faster one, then the first.
    fn preference(&self) -> impl Fn(&&Path) -> (bool, bool, bool, Duration) + use<> {
        let rank = self.rank();
        move |path| {
            let (is_old, is_deaf) = rank(path);
            (is_old, is_deaf, !path.is_used, path.rtt.unwrap_or(UNMEASURED))
        }
    }

    /// Ways of one rank do as well, but for how fast they are.
    fn rank(&self) -> impl Fn(&Path) -> (bool, bool) + use<> {
        let freshest = self.freshest();
        move |path| (!is_fresh(path, freshest), path.is_deaf)
    }

    /// What was asked by the way to this address alone was answered: the peer hears us by it.
    pub fn note_hearing(&mut self, address: SocketAddr) {
        let way = self.paths.iter_mut().find(|path| path.address == address);
        way.into_iter().for_each(|path| path.is_deaf = false);
    }

    /// A probe was answered by the way to this address after so long. What is measured for the first time is compared with the others as it
    /// is; later a way must be much faster to be taken for the one in use, since round trips of one way differ as well.
    pub fn note_rtt(&mut self, now: Instant, address: SocketAddr, sample: Duration) {
        let Some(at) = self.paths.iter().position(|path| path.address == address) else { return };
        let is_first = self.paths[at].measured.is_none();
        self.paths[at].note_rtt(now, sample);
        let rank = self.rank();
        let rtt = |path: &Path| path.rtt.unwrap_or(UNMEASURED);
        let Some(best) = self.open_paths().min_by_key(|path| (rank(path), rtt(path))) else { return };
        let is_kept =
            |path: &&Path| path.is_used && rank(path) == rank(best) && rtt(path) <= rtt(best) * 2 + NOTICEABLE;
        let kept = self.open_paths().find(is_kept).filter(|_| !is_first);
        let used = kept.unwrap_or(best).address;
        self.paths.iter_mut().for_each(|path| path.is_used = path.address == used);
    }

    /// Notes a proven address; the way unheard or heard longest ago makes room.
    pub fn learn_path(&mut self, now: Instant, address: SocketAddr, interface: InterfaceIndex) {
        if self.hear_from(now, address, interface).is_none() {
            self.add_path(Path { interface: Some(interface), heard: Some(now), ..Path::new(address) });
        }
    }

    /// It was heard from this address by this interface: the way is open, also if it led by another one that went down. `None` if the
    /// address is not one of its ways.
    pub fn hear_from(&mut self, now: Instant, address: SocketAddr, interface: InterfaceIndex) -> Option<&mut Path> {
        let path = self.paths.iter_mut().find(|path| path.address == address)?;
        // By another of our interfaces it is another way.
        path.is_deaf &= path.interface == Some(interface);
        path.heard = Some(now);
        path.interface = Some(interface);
        path.is_cut = false;
        Some(path)
    }

    /// A newer card: addresses that only the old one listed are left, those that it lists are tried.
    pub fn replace_card(&mut self, card: Card) {
        let old = std::mem::replace(&mut self.card, card);
        let listed = |address: &SocketAddr, card: &Card| card.addresses.iter().any(|held| held.socket() == *address);
        self.paths.retain(|path| !listed(&path.address, &old) || listed(&path.address, &self.card));
        self.learn_card_addresses();
    }

    /// Notes the addresses that the card lists as ways not yet heard.
    pub fn learn_card_addresses(&mut self) {
        let listed: Vec<SocketAddr> = self.card.addresses.iter().map(super::member::CardAddress::socket).collect();
        self.paths.retain(|path| path.heard.is_some() || listed.contains(&path.address));
        for address in listed {
            if self.paths.iter().all(|path| path.address != address) {
                self.add_path(Path::new(address));
            }
        }
    }

    /// How often it came back from suspicion without ten quiet minutes in between.
    #[must_use]
    pub fn flaps(&self, now: Instant) -> u32 {
        self.returns.filter(|(last, _)| now.since(*last) < FLAP_SPELL).map_or(0, |(_, count)| count)
    }

    /// It came back from suspicion once more.
    pub fn note_return(&mut self, now: Instant) {
        self.returns = Some((now, self.flaps(now).saturating_add(1)));
    }

    fn add_path(&mut self, path: Path) {
        if self.paths.len() >= MAX_PATHS {
            let oldest = (0..self.paths.len()).min_by_key(|&n| self.paths[n].heard).expect("there are paths");
            self.paths.remove(oldest);
        }
        reserve_few(&mut self.paths);
        self.paths.push(path);
    }
}

fn is_fresh(path: &Path, freshest: Option<Instant>) -> bool {
    match (path.heard, freshest) {
        (Some(heard), Some(freshest)) => freshest.since(heard) < SAME_FRESHNESS,
        (heard, freshest) => heard == freshest,
    }
}

/// Returns from suspicion that lie closer together than this are one spell of flapping.
const FLAP_SPELL: Duration = Duration::from_secs(600);
/// Ways heard within this span are equally fresh: a beacon and a heartbeat lie at most that far apart.
const SAME_FRESHNESS: Duration = Duration::from_secs(10);
/// A way that is faster by less is not worth a change: a congested Wi-Fi shows more, and every change is told to the whole mesh.
const NOTICEABLE: Duration = Duration::from_millis(5);
/// What an unmeasured way counts for: above any LAN round trip, below a failing one.
const UNMEASURED: Duration = Duration::from_millis(100);

/// A node that was here and is not now.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// The newest run known; an older one is never believed again.
    pub epoch: Epoch,
    /// The newest life known in that run.
    pub life: Life,
    /// What people called it.
    pub name: String,
    /// How it ended.
    pub liveness: Liveness,
    /// Why.
    pub reason: &'static str,
    /// When it was last heard, in this run's time; `None` if before it.
    pub heard: Option<Instant>,
    /// The same by our wall clock, for people and across restarts.
    pub wall: WallTime,
    /// Its signed card, which shows a restored backup of it how far it had come.
    pub signed: Option<SignedOp>,
    /// Where it was last reached.
    pub addresses: Vec<SocketAddr>,
}

/// All peers a node knows.
#[derive(Debug)]
pub struct Roster {
    /// Boxed, so that a look-up among a thousand stays within few lines of the caches.
    peers: IdTable<NodeId, Box<Peer>>,
    directory: BTreeMap<NodeId, DirectoryEntry>,
    /// Raised with every change that the face can see.
    version: u64,
    near: usize,
}

impl Roster {
    /// An empty roster for at most `max_peers` peers.
    #[must_use]
    pub fn new(max_peers: usize) -> Self {
        Self { peers: IdTable::new(max_peers), directory: BTreeMap::new(), version: 0, near: 0 }
    }

    /// A peer of the roster.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&Peer> {
        self.peers.get(id).map(Box::as_ref)
    }

    /// Whether a peer is present and heard itself.
    #[must_use]
    pub fn is_near(&self, id: &NodeId) -> bool {
        self.get(id).is_some_and(Peer::is_near)
    }

    /// A peer of the roster, to change anything but its liveness and whether it is far.
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.peers.get_mut(id).map(Box::as_mut)
    }

    /// The interfaces that can carry something changed: ways by one that was among them and is not are none until it is back.
    pub fn review_paths(&mut self, was: &BTreeSet<InterfaceIndex>, is: &BTreeSet<InterfaceIndex>) {
        for (_, peer) in self.peers.iter_mut() {
            for path in &mut peer.paths {
                let on =
                    |indices: &BTreeSet<InterfaceIndex>| path.interface.is_some_and(|index| indices.contains(&index));
                path.is_cut = !on(is) && (path.is_cut || on(was));
            }
        }
        self.version += 1;
    }

    /// Takes a peer in, or `false` when the roster is full.
    pub fn insert(&mut self, id: NodeId, peer: Peer) -> bool {
        self.version += 1;
        let gained = usize::from(peer.is_near());
        let lost = self.peers.get(&id).map_or(0, |old| usize::from(old.is_near()));
        let fits = self.peers.insert(id, Box::new(peer));
        if fits {
            self.near = self.near + gained - lost;
        }
        fits
    }

    /// Takes a peer out.
    pub fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        self.version += 1;
        let peer = self.peers.remove(id)?;
        self.near -= usize::from(peer.is_near());
        Some(*peer)
    }

    /// Holds a peer differently from now on.
    pub fn set_liveness(&mut self, now: Instant, id: &NodeId, liveness: Liveness, reason: &'static str) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        self.version += 1;
        let was_near = usize::from(peer.is_near());
        peer.liveness = liveness;
        self.near = self.near + usize::from(peer.is_near()) - was_near;
        peer.since = now;
        peer.reason = reason;
    }

    /// Holds a peer as far, or as near, from now on.
    pub fn set_far(&mut self, id: &NodeId, far: Option<Far>) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let was_near = usize::from(peer.is_near());
        self.version += u64::from(peer.far != far);
        peer.far = far;
        self.near = self.near + usize::from(peer.is_near()) - was_near;
    }

    /// What the face shows is another than at this version and any before it.
    pub fn go_on(&mut self, version: u64) {
        self.version += version + 1;
    }

    /// Says that the face would show something else now.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// A node is gone, and with it what it said of those who are present: in its next run it says so again, if it is so. (Of a
    /// verdict that was found the witnesses stay.)
    pub fn forget_witness(&mut self, id: &NodeId) {
        for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.liveness.is_present()) {
            peer.witnesses.remove(id);
        }
    }

    /// All peers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (id, peer.as_ref()))
    }

    /// The peers that are alive or may be.
    pub fn present(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.iter().filter(|(_, peer)| peer.liveness.is_present())
    }

    /// The peers that are alive.
    pub fn alive(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.iter().filter(|(_, peer)| peer.liveness == Liveness::Alive)
    }

    /// Those present that are heard themselves: whom this node can watch, ask and tell.
    pub fn near(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.iter().filter(|(_, peer)| peer.is_near())
    }

    /// Those of them that are not suspect.
    pub fn near_alive(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.alive().filter(|(_, peer)| peer.far.is_none())
    }

    /// How many are present and heard themselves.
    #[must_use]
    pub fn near_count(&self) -> usize {
        self.near
    }

    /// How many peers are held in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether one more would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.peers.is_full()
    }

    /// Raised with every change that the face can see.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The newest run of a node known here, present or not.
    #[must_use]
    pub fn highest_epoch(&self, id: &NodeId) -> Option<Epoch> {
        let held = self.peers.get(id).map(|peer| peer.epoch());
        held.max(self.directory.get(id).map(|entry| entry.epoch))
    }

    /// Whether a run of a node is over, whoever vouches for it: it said goodbye, or began another.
    #[must_use]
    pub fn is_over(&self, id: &NodeId, epoch: Epoch) -> bool {
        let held = self.peers.get(id).map(|peer| (peer.epoch(), peer.liveness));
        let departed = self.directory.get(id).map(|entry| (entry.epoch, entry.liveness));
        let ends = |(known, liveness): (Epoch, Liveness)| known > epoch || known == epoch && liveness == Liveness::Left;
        held.into_iter().chain(departed).any(ends)
    }

    /// The newest signed card of a node known here, present or not.
    #[must_use]
    pub fn newest_card(&self, id: &NodeId) -> Option<&SignedOp> {
        let held = self.peers.get(id).map(|peer| &peer.signed);
        held.or_else(|| self.directory.get(id).and_then(|entry| entry.signed.as_ref()))
    }

    /// Those who were here and are not now.
    #[must_use]
    pub fn directory(&self) -> &BTreeMap<NodeId, DirectoryEntry> {
        &self.directory
    }

    /// Enters a node into the directory; the one heard longest ago by the wall clock makes room.
    pub fn remember(&mut self, id: NodeId, entry: DirectoryEntry) {
        if self.directory.len() >= MAX_DIRECTORY && !self.directory.contains_key(&id) {
            let oldest = self.directory.iter().min_by_key(|(_, entry)| entry.wall).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.directory.remove(&oldest);
            }
        }
        self.directory.insert(id, entry);
    }

    /// Takes a node out of the directory: it is back.
    pub fn recall(&mut self, id: &NodeId) -> Option<DirectoryEntry> {
        self.directory.remove(id)
    }

    /// Forgets directory entries for which `keep` does not hold.
    pub fn retain_directory(&mut self, keep: impl FnMut(&NodeId, &mut DirectoryEntry) -> bool) {
        self.directory.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::{MeshId, Seq};
    use crate::model::identity::Identity;
    use crate::model::op::{OpKind, Statement};

    #[test]
    fn a_peer_lags_since_it_last_told_our_digest() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut peer = peer();
        for (second, root, ours, equal) in [(1, 5, 5, 1), (2, 5, 5, 2), (3, 5, 6, 2), (9, 7, 6, 2), (10, 6, 6, 10)] {
            peer.note_log(at(second), root, ours);
            assert_eq!(peer.log, Some(ToldLog { root, equal: at(equal) }), "at {second} s");
        }
    }

    #[test]
    fn a_spell_of_flapping_ends_ten_minutes_after_the_last_return() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut peer = peer();
        assert_eq!(peer.flaps(at(0)), 0);
        // (a return at, returns counted right after it, counted just before the next)
        for (returned, counted, later, left) in
            [(0, 1, 599, 1), (599, 2, 1_198, 2), (1_198, 3, 1_798, 0), (1_800, 1, 1_801, 1)]
        {
            peer.note_return(at(returned));
            assert_eq!(peer.flaps(at(returned)), counted, "at {returned} s");
            assert_eq!(peer.flaps(at(later)), left, "at {later} s");
        }
    }

    #[test]
    fn no_way_leads_by_an_interface_that_was_there_and_is_not() {
        let [lo, a, b] = [1, 2, 3].map(InterfaceIndex);
        let mut roster = Roster::new(4);
        let id = NodeId([1; 16]);
        assert!(roster.insert(id, peer()));
        let learn = |roster: &mut Roster, n: u8, on: InterfaceIndex| {
            let at = Instant::ZERO + Duration::from_secs(u64::from(n));
            roster.get_mut(&id).expect("it is there").learn_path(at, SocketAddr::from(([10, 0, 0, n], 9)), on);
        };
        let best = |roster: &Roster| roster.get(&id)?.best_path()?.interface;
        learn(&mut roster, 1, b);
        learn(&mut roster, 20, a);
        assert_eq!(best(&roster), Some(a));
        roster.review_paths(&BTreeSet::from([a, b]), &BTreeSet::from([b]));
        assert_eq!(best(&roster), Some(b));
        roster.review_paths(&BTreeSet::from([b]), &BTreeSet::new());
        assert_eq!(best(&roster), None);
        learn(&mut roster, 30, lo);
        roster.review_paths(&BTreeSet::new(), &BTreeSet::from([a]));
        assert_eq!(best(&roster), Some(lo), "of what was never listed nothing is known");
        learn(&mut roster, 50, a);
        roster.review_paths(&BTreeSet::from([a]), &BTreeSet::from([a, b]));
        assert_eq!(best(&roster), Some(a));
    }

    #[test]
    fn a_way_by_which_something_comes_is_open_whatever_became_of_the_interface_that_it_led_by() {
        let [lo, a] = [1, 2].map(InterfaceIndex);
        let address = SocketAddr::from(([10, 0, 0, 1], 9));
        let mut roster = Roster::new(4);
        let id = NodeId([1; 16]);
        assert!(roster.insert(id, peer()));
        let held = |roster: &mut Roster| roster.get_mut(&id).expect("it is there").clone();
        roster.get_mut(&id).expect("it is there").learn_path(Instant::ZERO, address, a);
        roster.review_paths(&BTreeSet::from([a]), &BTreeSet::new());
        assert!(held(&mut roster).best_path().is_none());
        // Two nodes of one host: the address is the same, and loopback carries it now.
        let later = Instant::ZERO + Duration::from_secs(1);
        assert!(roster.get_mut(&id).expect("it is there").hear_from(later, address, lo).is_some());
        assert_eq!(held(&mut roster).best_path().and_then(|path| path.interface), Some(lo));
        roster.review_paths(&BTreeSet::new(), &BTreeSet::from([a]));
        assert_eq!(held(&mut roster).best_path().and_then(|path| path.interface), Some(lo));
        let stranger = SocketAddr::from(([10, 0, 0, 2], 9));
        assert!(roster.get_mut(&id).expect("it is there").hear_from(later, stranger, lo).is_none());
    }

    #[test]
    fn of_ways_as_fresh_one_by_which_we_are_heard_is_taken_and_of_these_the_faster() {
        let [a, b] = [1, 2].map(InterfaceIndex);
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 9));
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        // (heard at which second by b, deaf by a, by b, the best)
        let table = [
            (20, false, false, 1),
            (20, true, false, 2),
            (20, true, true, 1),
            (11, true, false, 2),
            // What was not heard for so long is no way, deaf or not.
            (10, true, false, 1),
        ];
        for (second, deaf_a, deaf_b, expected) in table {
            let mut peer = peer();
            peer.learn_path(at(20), address(1), a);
            peer.learn_path(at(second), address(2), b);
            for (path, (ms, is_deaf)) in peer.paths.iter_mut().zip([(1, deaf_a), (9, deaf_b)]) {
                path.note_rtt(at(20), Duration::from_millis(ms));
                path.is_deaf = is_deaf;
            }
            let best = peer.best_path().map(|path| path.address);
            assert_eq!(best, Some(address(expected)), "{second} s, {deaf_a}, {deaf_b}");
            assert_eq!(peer.has_choice(), second > 10, "{second} s");
            // By another interface that address is another way.
            assert!(peer.hear_from(at(20), address(1), b).is_some_and(|path| !path.is_deaf));
            assert!(!peer.has_choice(), "one interface");
        }
    }

    #[test]
    fn a_way_in_use_is_left_for_one_that_is_much_faster_and_not_for_what_round_trips_differ_by() {
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 9));
        // (of which way so many ms are measured, which is the best then); each sample stands for itself.
        let table = [
            (1, 3, 1),
            // The first sample of a way decides.
            (2, 2, 2),
            (1, 1, 2),
            (2, 7, 2),
            (2, 8, 1),
            (2, 1, 1),
            (1, 40, 2),
            (1, 12, 2),
        ];
        let (mut peer, mut now) = (peer(), Instant::ZERO);
        for (way, ms, expected) in table {
            now = now + Duration::from_secs(20);
            peer.learn_path(now, address(1), InterfaceIndex(1));
            peer.learn_path(now, address(2), InterfaceIndex(2));
            peer.note_rtt(now, address(way), Duration::from_millis(ms));
            assert_eq!(peer.best_path().map(|path| path.address), Some(address(expected)), "{way} {ms} ms");
        }
    }

    #[test]
    fn what_a_witness_said_of_those_present_ends_with_its_run() {
        let [subject, dead, witness, other] = [1, 2, 3, 4].map(|n| NodeId([n; 16]));
        let mut roster = Roster::new(4);
        for id in [subject, dead] {
            let mut peer = peer();
            peer.witnesses.extend([witness, other].map(|id| (id, Instant::ZERO)));
            assert!(roster.insert(id, peer));
        }
        roster.set_liveness(Instant::ZERO, &subject, Liveness::Alive, "");
        roster.set_liveness(Instant::ZERO, &dead, Liveness::Failed, "silence");
        roster.forget_witness(&witness);
        let witnesses = |id| roster.get(id).expect("it is there").witnesses.keys().copied().collect::<Vec<_>>();
        assert_eq!(witnesses(&subject), [other]);
        assert_eq!(witnesses(&dead), [witness, other], "who found a verdict is told");
    }

    fn peer() -> Peer {
        let identity = Identity::from_secret(&[7; 32]);
        let card = Card {
            public_key: identity.public_key(),
            exchange_key: identity.exchange_key(),
            tag: [1; 8],
            life: 0,
            name: "cam".to_owned(),
            rank: 1,
            settled: false,
            addresses: Vec::new(),
            version: "0.1.0".to_owned(),
            features: None,
            log_floor: None,
        };
        let body = minicbor::to_vec(&card).unwrap();
        let statement = Statement { kind: OpKind::Card, key: Vec::new(), body, lamport: 1, wall: WallTime(0) };
        let signed = SignedOp::sign(&identity, MeshId::default(), Epoch(1), Seq(1), statement);
        Peer::new(Instant::ZERO, signed, card, Liveness::Alive)
    }
}

//! Decides what is held of one author's run: the newest op of each key, and which numbers were processed.

use crate::ground::bounded::{TokenBucket, reserve_few};
use crate::ground::id::{Epoch, MeshId, NodeId, Seq};
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::hearsay::Hearsay;
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::limits::{Class, Shares, class_of, content_len};
use crate::model::alert::ReceiptBody;
use crate::model::links::MembersBody;
use crate::model::op::{OpKind, SignedOp};
use crate::model::state::{NodeSnapshot, StateEntry};
use crate::wire::message::{Cover, Interval};

/// Ops of one author checked a second, and at once: a whole lane fits the burst.
const AUTHOR_RATE: u32 = 100;
const AUTHOR_BURST: u32 = 600;

/// What became of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is the newest of its key.
    Newest,
    /// A newer one of its key was known.
    Superseded,
    /// No honest author makes it, or not so many: only the number is remembered.
    Full,
}

/// An op that is held.
#[derive(Debug)]
struct Held {
    since: Instant,
    op: SignedOp,
    class: Class,
    bytes: usize,
}

/// One author's run.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: Epoch,
    /// What the author may still have checked.
    pub(super) allowance: TokenBucket,
    author: NodeId,
    mesh: MeshId,
    covered: Intervals,
    highest_signed: u64,
    /// In the order of their kinds and keys.
    ops: Vec<Held>,
    shares: Shares,
    hearsay: Hearsay,
    part: u64,
    /// Whether what is held of the state is one that its author had.
    is_whole: bool,
    /// The last state that was, while what is held is not.
    whole: Option<Box<NodeSnapshot>>,
    /// The version that was shown of this run before it was gone for a while: an earlier one is not shown any more.
    floor: u64,
    /// Something of the state is held that was not told.
    has_news: bool,
    /// Whether its author was seen to sign two ops of one number.
    equivocated: bool,
}

impl Lane {
    /// Nothing is held. Of the state no version below `floor` is shown.
    pub(super) fn new(mesh: MeshId, author: NodeId, epoch: Epoch, floor: u64) -> Self {
        Self {
            epoch,
            allowance: TokenBucket::new(AUTHOR_RATE, AUTHOR_BURST),
            author,
            mesh,
            covered: Intervals::default(),
            highest_signed: 0,
            ops: Vec::new(),
            shares: Shares::default(),
            hearsay: Hearsay::default(),
            part: 0,
            is_whole: true,
            whole: None,
            floor,
            has_news: false,
            equivocated: false,
        }
    }

    /// What this lane adds to the root.
    pub(super) fn part(&self) -> u64 {
        self.part
    }

    pub(super) fn covers(&self, seq: Seq) -> bool {
        self.covered.contains(seq.0)
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of the keys and bodies held.
    pub(super) fn bytes(&self) -> usize {
        self.shares.bytes()
    }

    /// The author signed two ops of one number. `true` the first time.
    pub(super) fn note_equivocation(&mut self) -> bool {
        !std::mem::replace(&mut self.equivocated, true)
    }

    /// Takes in a verified op of this author and run.
    pub(super) fn place(&mut self, now: Instant, op: SignedOp) -> Placed {
        debug_assert!(op.author() == self.author && op.epoch() == self.epoch, "the caller chose the lane");
        let seq = op.seq();
        if !self.covered.insert(seq.0, seq.0) {
            return Placed::Full;
        }
        self.highest_signed = self.highest_signed.max(seq.0);
        self.renew_part();
        let Some(class) = class_of(&op) else { return Placed::Full };
        let held = self.find(op.slot()).ok().map(|at| &self.ops[at]);
        if held.is_some_and(|held| held.op.seq() >= seq) {
            return Placed::Superseded;
        }
        let bytes = content_len(&op);
        let instead = held.map(|held| (held.class, held.bytes));
        if class == Class::Unset && !self.shares.fits(class, bytes, instead) {
            self.forget_oldest_unset();
        }
        if !self.shares.fits(class, bytes, instead) {
            return Placed::Full;
        }
        let is_state = op.kind() == OpKind::State;
        let before = if is_state && self.is_whole { self.held_state() } else { None };
        self.release(op.slot());
        self.shares.add(class, bytes);
        let (Ok(at) | Err(at)) = self.find(op.slot());
        reserve_few(&mut self.ops);
        self.ops.insert(at, Held { since: now, op, class, bytes });
        if is_state {
            self.note_state(before);
        }
        Placed::Newest
    }

    /// The state has changed: whether what is held of it now is whole. What was whole is shown until it is.
    fn note_state(&mut self, before: Option<NodeSnapshot>) {
        let newest = self.newest_state().and_then(entry_of).and_then(|entry| entry.whole);
        // An author of an earlier version does not say what belongs together.
        self.is_whole = newest.is_none() || newest == self.held_state().map(|state| state.digest());
        if self.is_whole {
            self.whole = None;
        } else if let Some(before) = before {
            self.whole = Some(Box::new(before));
        }
        self.has_news = true;
    }

    /// Whether there is a state to be shown that was not told. It counts as told from now on.
    pub(super) fn take_news(&mut self) -> bool {
        let has_news = self.has_news && self.is_whole && self.snapshot().is_some();
        self.has_news &= !has_news;
        has_news
    }

    /// Where the op of a kind and key stands, or where it would.
    fn find(&self, slot: (OpKind, &[u8])) -> Result<usize, usize> {
        self.ops.binary_search_by(|held| held.op.slot().cmp(&slot))
    }

    fn release(&mut self, slot: (OpKind, &[u8])) {
        if let Ok(at) = self.find(slot) {
            let held = self.ops.remove(at);
            self.shares.remove(held.class, held.bytes);
        }
    }

    /// A key that was unset long ago says nothing any more, unless it bears the version.
    fn forget_oldest_unset(&mut self) {
        let bearer = self.newest_state().map(SignedOp::seq);
        let unset = self.ops.iter().filter(|held| held.class == Class::Unset && Some(held.op.seq()) != bearer);
        if let Some(op) = unset.map(|held| &held.op).min_by_key(|op| op.seq()).cloned() {
            self.release(op.slot());
        }
    }

    /// Covers numbers on another's word, up to the highest that the author itself was seen to sign.
    pub(super) fn cover_hearsay(&mut self, from: NodeId, intervals: &[Interval], is_sole: bool) {
        for interval in self.hearsay.take((from, self.author), intervals, is_sole, &self.covered).believed {
            let last = interval.last.min(self.highest_signed);
            if interval.first > 0 && !self.covered.insert(interval.first, last) {
                break;
            }
        }
        self.renew_part();
    }

    fn renew_part(&mut self) {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 live root");
        hasher.update(&self.mesh.0).update(&self.author.0).update(&self.epoch.0.to_le_bytes());
        for interval in self.covered.to_wire() {
            hasher.update(&interval.first.to_le_bytes()).update(&interval.last.to_le_bytes());
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        self.part = u64::from_le_bytes(bytes);
    }

    /// What is covered, as it travels.
    pub(super) fn cover(&self) -> Cover {
        Cover { author: self.author.0, epoch: self.epoch.0, intervals: self.covered.to_wire().to_vec() }
    }

    /// Whether all that is covered here is in a foreign cover too.
    pub(super) fn is_within(&self, foreign: &Intervals) -> bool {
        foreign.contains_all(self.covered.to_wire())
    }

    /// What is covered though its op is not held: superseded, expired, or more than a lane may hold. An op that is held
    /// must travel itself: told as covered, it would be lost to whoever misses its datagram.
    pub(super) fn hollow(&self) -> Intervals {
        let mut held: Vec<u64> = self.ops().map(|op| op.seq().0).collect();
        held.sort_unstable();
        self.covered.without(&Intervals::of(held.into_iter()))
    }

    /// Whether a foreign cover holds a number that this lane lacks.
    pub(super) fn lacks(&self, foreign: &[Interval]) -> bool {
        !self.covered.contains_all(foreign)
    }

    /// The ops held.
    pub(super) fn ops(&self) -> impl Iterator<Item = &SignedOp> {
        self.ops.iter().map(|held| &held.op)
    }

    /// The newest op of a kind and key.
    pub(super) fn get(&self, slot: (OpKind, &[u8])) -> Option<&SignedOp> {
        self.find(slot).ok().map(|at| &self.ops[at].op)
    }

    /// The ops held that are not in a foreign cover.
    pub(super) fn beyond(&self, foreign: &Intervals) -> impl Iterator<Item = &SignedOp> {
        self.ops().filter(|op| !foreign.contains(op.seq().0))
    }

    /// Drops what no longer says anything: opinions and unset keys of long ago. Their numbers stay covered. The newest
    /// change of the state stays even if it unset a key: it bears the version. So does the last word of all: without it
    /// a newcomer could not know that the author ever counted so far, and would believe nobody who covers it.
    pub(super) fn expire(&mut self, now: Instant, age: Duration) {
        let newest = self.newest_state().and_then(entry_of).map(|entry| entry.version);
        let is_fleeting = |op: &SignedOp| match op.kind() {
            OpKind::Opinion => true,
            OpKind::State => entry_of(op).is_some_and(|entry| entry.json.is_none() && Some(entry.version) != newest),
            // A part of a list with nobody in it says what no part at all says.
            OpKind::Links => is_empty_part(op),
            // Nothing of that author is active any more.
            OpKind::Receipt => ReceiptBody::parse(op).is_some_and(|(_, body)| body.rows.is_empty()),
            OpKind::Card
            | OpKind::Unknown(_)
            | OpKind::Alert
            | OpKind::AlertAck
            | OpKind::Record
            | OpKind::RecordDelete
            | OpKind::LocalRecord => false,
        };
        let is_last = |op: &SignedOp| op.seq().0 == self.highest_signed;
        let is_old = |held: &Held| now.since(held.since) >= age && is_fleeting(&held.op) && !is_last(&held.op);
        for held in self.ops.extract_if(.., |held| is_old(held)) {
            self.shares.remove(held.class, held.bytes);
        }
    }

    /// The change of the state that bears the newest version.
    pub(super) fn newest_state(&self) -> Option<&SignedOp> {
        let states = self.ops().filter_map(|op| Some((entry_of(op)?.version, op)));
        states.max_by_key(|(version, _)| *version).map(|(_, op)| op)
    }

    /// The newest state of the author of which all came; `None` if it never set any.
    pub(super) fn snapshot(&self) -> Option<NodeSnapshot> {
        let shown = if self.is_whole { self.held_state() } else { self.whole.as_deref().cloned() };
        shown.filter(|state| state.version >= self.floor)
    }

    /// The version of the newest state that was shown of this run.
    pub(super) fn shown_version(&self) -> u64 {
        self.snapshot().map_or(self.floor, |state| state.version)
    }

    /// What is held of the state.
    fn held_state(&self) -> Option<NodeSnapshot> {
        let mut snapshot = NodeSnapshot::default();
        let mut any = false;
        for (op, entry) in self.ops().filter_map(|op| Some((op, entry_of(op)?))) {
            let Ok(key) = core::str::from_utf8(op.slot().1) else { continue };
            any = true;
            if entry.version > snapshot.version {
                snapshot.version = entry.version;
                snapshot.changed = op.wall();
            }
            if let Some(json) = entry.json {
                snapshot.values.insert(key.to_owned(), json);
            }
        }
        any.then_some(snapshot)
    }
}

fn is_empty_part(op: &SignedOp) -> bool {
    let members = MembersBody::parse(&op.author(), op.slot().1, op.body());
    members.is_some_and(|(_, _, members)| members.is_empty())
}

fn entry_of(op: &SignedOp) -> Option<StateEntry> {
    if op.kind() == OpKind::State { minicbor::decode(op.body()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::WallTime;
    use crate::model::identity::Identity;
    use crate::model::op::Statement;

    const AGE: Duration = Duration::from_secs(600);

    fn lane(author: &Identity) -> Lane {
        Lane::new(MeshId([1; 16]), author.id(), Epoch::new(1, 1), 0)
    }

    /// Its author's word with this number: a value where there is JSON, an unset key where there is none.
    fn word(author: &Identity, seq: u64, kind: OpKind, json: Option<&str>) -> SignedOp {
        let body =
            minicbor::to_vec(&StateEntry { json: json.map(str::to_owned), version: 20 - seq, whole: None }).unwrap();
        let key = [u8::try_from(seq).unwrap() + b'a'; 16].to_vec();
        let statement = Statement { kind, key, body, lamport: seq, wall: WallTime(0) };
        SignedOp::sign(author, MeshId([1; 16]), Epoch::new(1, 1), Seq(seq), statement)
    }

    #[test]
    fn a_newcomer_covers_all_numbers_whatever_has_expired() {
        let author = Identity::from_secret(&[1; 32]);
        // (kind and value of the last word); the words before it are a value, an opinion and an unset key.
        let table = [(OpKind::State, Some("1")), (OpKind::State, None), (OpKind::Opinion, None)];
        for (kind, json) in table {
            let mut old = lane(&author);
            old.place(Instant::ZERO, word(&author, 1, OpKind::State, Some("1")));
            old.place(Instant::ZERO, word(&author, 2, OpKind::Opinion, None));
            old.place(Instant::ZERO, word(&author, 3, OpKind::State, None));
            old.place(Instant::ZERO, word(&author, 4, kind, json));
            old.expire(Instant::ZERO + AGE, AGE);
            assert_eq!(old.len(), 2, "the value and the last word");
            let mut newcomer = lane(&author);
            for op in old.ops().cloned() {
                newcomer.place(Instant::ZERO + AGE, op);
            }
            for teller in [2, 3] {
                newcomer.cover_hearsay(NodeId([teller; 16]), old.hollow().to_wire(), false);
            }
            assert_eq!(newcomer.cover(), old.cover(), "last word {kind:?} {json:?}");
        }
    }

    /// A change of one key, at a version, by an author whose state then was all of this.
    fn change(author: &Identity, seq: u64, key: &str, version: u64, all: &[(&str, &str)]) -> SignedOp {
        let values = all.iter().map(|(key, json)| ((*key).to_owned(), (*json).to_owned())).collect();
        let state = NodeSnapshot { version, values, ..NodeSnapshot::default() };
        let entry = StateEntry { json: state.values.get(key).cloned(), version, whole: Some(state.digest()) };
        let (key, body) = (key.as_bytes().to_vec(), minicbor::to_vec(&entry).unwrap());
        let statement = Statement { kind: OpKind::State, key, body, lamport: seq, wall: WallTime(0) };
        SignedOp::sign(author, MeshId([1; 16]), Epoch::new(1, 1), Seq(seq), statement)
    }

    fn shown(lane: &Lane) -> String {
        let Some(state) = lane.snapshot() else { return String::new() };
        let values: String = state.values.iter().map(|(key, json)| format!("{key}{json} ")).collect();
        format!("{values}v{}", state.version)
    }

    #[test]
    fn a_state_is_shown_as_its_author_had_it_whatever_comes_first_and_whatever_is_missing() {
        let author = Identity::from_secret(&[1; 32]);
        let states: [&[(&str, &str)]; 4] =
            [&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")], &[("a", "3"), ("b", "1")], &[("a", "4")]];
        // The first change and the last are of two keys each.
        let said = [(2, "a", 1), (3, "b", 1), (5, "a", 2), (6, "a", 3), (8, "a", 4), (9, "b", 4)];
        // (numbers as they come, what is shown after each): 5 need not come, since 6 replaced it.
        let table: [(&[u64], &[&str]); 6] = [
            (&[2, 3], &["", "a1 b1 v1"]),
            (&[3, 2], &["", "a1 b1 v1"]),
            (&[2, 3, 6, 5], &["", "a1 b1 v1", "a3 b1 v3", "a3 b1 v3"]),
            (&[6, 2, 3], &["", "", "a3 b1 v3"]),
            (&[2, 3, 9, 6, 8], &["", "a1 b1 v1", "a1 b1 v1", "a1 b1 v1", "a4 v4"]),
            (&[8, 3, 9], &["a4 v4", "a4 v4", "a4 v4"]),
        ];
        for (order, expected) in table {
            let mut lane = lane(&author);
            for (seq, expected) in order.iter().zip(expected) {
                let (_, key, version) = said.into_iter().find(|(number, ..)| number == seq).unwrap();
                let before = shown(&lane);
                lane.place(
                    Instant::ZERO,
                    change(&author, *seq, key, version, states[usize::try_from(version - 1).unwrap()]),
                );
                assert_eq!(shown(&lane), *expected, "{seq} of {order:?}");
                assert!(lane.take_news() || before == *expected, "what is shown is told: {seq} of {order:?}");
            }
        }
    }

    #[test]
    fn what_was_shown_of_a_run_before_it_was_gone_is_not_followed_by_less() {
        let author = Identity::from_secret(&[1; 32]);
        let mut lane = Lane::new(MeshId([1; 16]), author.id(), Epoch::new(1, 1), 2);
        for (seq, version, expected) in [(2, 1, ""), (3, 2, "a1 v2"), (4, 3, "a1 v3")] {
            lane.place(Instant::ZERO, change(&author, seq, "a", version, &[("a", "1")]));
            assert_eq!(
                (shown(&lane).as_str(), lane.take_news()),
                (expected, !expected.is_empty()),
                "version {version}"
            );
        }
        assert_eq!(lane.shown_version(), 3);
    }
}

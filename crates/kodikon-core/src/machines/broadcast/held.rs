//! Decides which casts a node keeps to give them on, until when, and which make room.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::context::Context;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{Epoch, InterfaceIndex, NodeId, SessionTag};
use crate::ground::table::IdTable;
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::duty::Duty;
use crate::model::cast::CastId;
use crate::model::letter::Priority;
use crate::wire::cast::Cast;
use crate::wire::clock::Ticks;
use crate::wire::letter::Path;

/// Casts held at once, and their bytes.
pub(super) const MAX_HELD: usize = 4_096;
/// See [`MAX_HELD`].
pub(super) const MAX_BYTES: usize = 16 * 1_024 * 1_024;
/// Of these of one origin: all that it may say within the longest deadline, 20 a second for 30 s and a burst.
pub(super) const MAX_OF_ONE: usize = 640;
/// See [`MAX_OF_ONE`].
pub(super) const MAX_BYTES_OF_ONE: usize = 4 * 1_024 * 1_024;

/// So many are known to have a cast: all peers that there may be, some of whom are replaced by others while it is kept.
const MAX_KNOWING: usize = 2 * MAX_PEERS;

/// A cast that is here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cast: Cast,
    pub(super) urgency: Priority,
    /// When it came, and how old it was then.
    pub(super) arrived: Instant,
    pub(super) age: Duration,
    /// How much older it may be.
    pub(super) doubt: Doubt,
    /// When its deadline is over.
    pub(super) expires: Instant,
    /// Relays that it may still pass, this node included.
    pub(super) hops: u8,
    /// Relays that it passed.
    pub(super) path: Path,
    /// Over which interface it came; `None`: it is this node's own.
    pub(super) came: Option<InterfaceIndex>,
    /// Digest of the map of whoever gave it; `None`: it is this node's own.
    pub(super) map: Option<u64>,
    /// Relays on the shortest way from its origin, as the map had it; `None`: it is not known.
    pub(super) shortest: Option<u8>,
    /// Who has it.
    pub(super) knows: IdTable<NodeId, ()>,
    /// Who is owed it, by interface; `None`: one by one.
    pub(super) duties: BTreeMap<Option<InterfaceIndex>, Duty>,
}

/// How much older than its age a cast may be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    /// When it was given to whoever gave it to us.
    pub(super) before: Duration,
    /// What it was on its way to us at most.
    pub(super) transit: Duration,
    /// In which session it came, and when it was sent by its clock: what is learned of that later may say that it came faster.
    pub(super) sent: Option<(SessionTag, Ticks)>,
}

impl Doubt {
    /// All of it.
    pub(super) fn sum(&self) -> Duration {
        self.before.saturating_add(self.transit)
    }
}

impl Held {
    /// How much older than its age it may be, as far as is known by now.
    pub(super) fn doubt(&self, ctx: &mut Context) -> Duration {
        let later = self.doubt.sent.and_then(|(tag, sent)| {
            let session = ctx.sessions.get_mut(tag)?;
            session.clock.transit(self.arrived, sent)
        });
        let transit = later.map_or(self.doubt.transit, |later| later.min(self.doubt.transit));
        Doubt { transit, ..self.doubt }.sum()
    }

    /// Somebody has it. `true` if that is new.
    pub(super) fn note(&mut self, who: NodeId) -> bool {
        !self.knows.contains_key(&who) && self.knows.insert(who, ())
    }

    /// Its age now.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.age + now.since(self.arrived)
    }

    /// Whether its receivers acknowledge it.
    pub(super) fn is_reliable(&self) -> bool {
        self.urgency != Priority::Low
    }

    /// Whether it came by more relays than it needs, and may not get far from here: where forwarders died or maps were wrong it
    /// is handed from one to the next by offers, as chance has it.
    pub(super) fn is_astray(&self) -> bool {
        let needed = self.shortest.map_or(usize::MAX, usize::from);
        self.is_reliable() && self.path.0.len() > needed
    }

    /// Whether it may be given to those on an interface: one that may pass no relay stays on the segment that it came by.
    pub(super) fn may_go(&self, on: InterfaceIndex) -> bool {
        self.hops > 0 || self.came.is_none_or(|came| came == on)
    }
}

/// Who has a cast, to begin with. A full table forgets nobody: whoever finds no place in it is asked once more.
pub(super) fn knowing<const N: usize>(who: [NodeId; N]) -> IdTable<NodeId, ()> {
    let mut knows = IdTable::new(MAX_KNOWING);
    for id in who {
        knows.insert(id, ());
    }
    knows
}

/// When a duty of a cast is due.
pub(super) type Due = (Instant, CastId, Option<InterfaceIndex>);

/// All casts that are here.
#[derive(Debug, Default)]
pub(super) struct Store {
    casts: BTreeMap<CastId, Held>,
    bytes: usize,
    /// By origin, how many and how many bytes.
    charges: BTreeMap<NodeId, (usize, usize)>,
    expiry: BTreeSet<(Instant, CastId)>,
    agenda: BTreeSet<Due>,
}

impl Store {
    /// Keeps a cast; returns those that made room, which may be itself.
    pub(super) fn insert(&mut self, id: CastId, held: Held) -> Vec<CastId> {
        self.remove(&id);
        let charge = self.charges.entry(id.origin).or_default();
        *charge = (charge.0 + 1, charge.1 + held.cast.body.len());
        self.bytes += held.cast.body.len();
        self.expiry.insert((held.expires, id));
        self.casts.insert(id, held);
        let mut evicted = Vec::new();
        while let Some(victim) = self.victim(&id.origin) {
            self.remove(&victim);
            evicted.push(victim);
        }
        evicted
    }

    /// Which must go, while there is too much: of the origin that has too much or most, the least urgent, the oldest of those.
    fn victim(&self, newest: &NodeId) -> Option<CastId> {
        let (casts, bytes) = self.charges.get(newest).copied().unwrap_or_default();
        let loser = if casts > MAX_OF_ONE || bytes > MAX_BYTES_OF_ONE {
            *newest
        } else if self.casts.len() > MAX_HELD || self.bytes > MAX_BYTES {
            *self.charges.iter().max_by_key(|(_, (casts, bytes))| (*bytes, *casts))?.0
        } else {
            return None;
        };
        let of_loser = self.casts.iter().filter(|(id, _)| id.origin == loser);
        of_loser.min_by_key(|(id, held)| (held.urgency, held.expires, **id)).map(|(id, _)| *id)
    }

    /// Lets go of a cast.
    pub(super) fn remove(&mut self, id: &CastId) -> Option<Held> {
        let held = self.casts.remove(id)?;
        self.bytes -= held.cast.body.len();
        self.expiry.remove(&(held.expires, *id));
        if let Some(charge) = self.charges.get_mut(&id.origin) {
            *charge = (charge.0 - 1, charge.1 - held.cast.body.len());
            if charge.0 == 0 {
                self.charges.remove(&id.origin);
            }
        }
        for (on, duty) in &held.duties {
            duty.due.map(|at| self.agenda.remove(&(at, *id, *on)));
        }
        Some(held)
    }

    pub(super) fn get(&self, id: &CastId) -> Option<&Held> {
        self.casts.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &CastId) -> Option<&mut Held> {
        self.casts.get_mut(id)
    }

    /// Changes a duty of a cast, which may change when it is due.
    pub(super) fn change(&mut self, id: CastId, on: Option<InterfaceIndex>, change: impl FnOnce(&mut Duty)) {
        let Some(duty) = self.casts.get_mut(&id).and_then(|held| held.duties.get_mut(&on)) else { return };
        let before = duty.due;
        change(duty);
        if before != duty.due {
            before.map(|at| self.agenda.remove(&(at, id, on)));
            duty.due.map(|at| self.agenda.insert((at, id, on)));
        }
    }

    /// Adds a duty, or what it asks for to the one that is there.
    pub(super) fn owe(&mut self, id: CastId, on: Option<InterfaceIndex>, duty: Duty) {
        let Some(held) = self.casts.get_mut(&id) else { return };
        held.duties.entry(on).or_insert_with(Duty::done);
        self.change(id, on, |held| held.merge(duty));
    }

    /// A peer may have lost what it had, but for its own.
    pub(super) fn forget(&mut self, id: &NodeId) {
        for (_, held) in self.casts.iter_mut().filter(|(cast, _)| cast.origin != *id) {
            held.knows.remove(id);
            held.duties.values_mut().for_each(|duty| duty.forget(id));
        }
    }

    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.casts.len()
    }

    /// All that are here, by origin and number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CastId, &Held)> {
        self.casts.iter()
    }

    /// Those of one run.
    pub(super) fn of_run(&self, origin: NodeId, epoch: Epoch) -> impl Iterator<Item = (&CastId, &Held)> {
        let id = |number| CastId { origin, epoch, number };
        self.casts.range(id(0)..=id(u64::MAX))
    }

    /// One whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<CastId> {
        self.expiry.first().filter(|(at, _)| now >= *at).map(|(_, id)| *id)
    }

    /// A duty that is due.
    pub(super) fn due(&self, now: Instant) -> Option<(CastId, Option<InterfaceIndex>)> {
        self.agenda.first().filter(|(at, ..)| now >= *at).map(|(_, id, on)| (*id, *on))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.expiry.first().map(|(at, _)| *at);
        expiry.into_iter().chain(self.agenda.first().map(|(at, ..)| *at)).min()
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let most = self.charges.values().map(|(casts, _)| *casts).max().unwrap_or(0);
        let most_bytes = self.charges.values().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        [
            ("casts", self.casts.len(), MAX_HELD),
            ("cast_bytes", self.bytes, MAX_BYTES),
            ("casts_of_an_origin", most, MAX_OF_ONE),
            ("cast_bytes_of_an_origin", most_bytes, MAX_BYTES_OF_ONE),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::letter::Stamp;

    fn held(origin: u8, number: u64, urgency: Priority, bytes: usize) -> (CastId, Held) {
        let cast = Cast {
            origin: [origin; 16],
            epoch: 1,
            number,
            kind: 9,
            priority: urgency as u8,
            body: vec![0; bytes],
            signature: [0; 64],
        };
        let held = Held {
            urgency,
            arrived: Instant::ZERO,
            age: Duration::ZERO,
            doubt: Doubt::default(),
            expires: Instant::ZERO + Duration::from_secs(number),
            hops: 5,
            path: Path::default(),
            came: None,
            map: None,
            shortest: None,
            knows: knowing([]),
            duties: BTreeMap::new(),
            cast,
        };
        (held.cast.id(), held)
    }

    #[test]
    fn a_cast_is_astray_that_came_by_more_relays_than_the_map_has_between() {
        let stamps = |n| Path(vec![Stamp([7; 4]); n]);
        for (priority, relays, shortest, expected) in [
            (Priority::Normal, 2, Some(1), true),
            (Priority::Normal, 1, Some(1), false),
            (Priority::Normal, 2, None, false),
            (Priority::Low, 2, Some(1), false),
        ] {
            let (_, held) = held(1, 1, priority, 1);
            let held = Held { path: stamps(relays), shortest, ..held };
            assert_eq!(held.is_astray(), expected, "{priority:?} {relays} {shortest:?}");
        }
    }

    #[test]
    fn the_oldest_of_the_least_urgent_of_the_largest_origin_makes_room() {
        let mut store = Store::default();
        let mut insert = |origin, number, urgency, bytes| {
            let (id, held) = held(origin, number, urgency, bytes);
            store.insert(id, held).iter().map(|id| (id.origin.0[0], id.number)).collect::<Vec<_>>()
        };
        for number in 1..=MAX_OF_ONE as u64 {
            let urgency = if number == 7 || number == 9 { Priority::Low } else { Priority::Normal };
            assert_eq!(insert(1, number, urgency, 1), []);
        }
        assert_eq!(insert(1, 1_000, Priority::Normal, 1), [(1, 7)]);
        assert_eq!(insert(1, 1_001, Priority::Critical, 1), [(1, 9)]);
        assert_eq!(insert(1, 1_002, Priority::Low, 1), [(1, 1_002)], "the newcomer itself");
        for origin in 2..=5 {
            let bytes = MAX_BYTES_OF_ONE - 1_000 * usize::from(origin);
            assert_eq!(insert(origin, 1, Priority::High, bytes), [], "origin {origin}");
        }
        assert_eq!(insert(6, 1, Priority::Low, 14_000), [(2, 1)], "whoever has most");
        assert_eq!(insert(7, 1, Priority::Low, MAX_BYTES_OF_ONE + 1), [(7, 1)]);
        assert!(store.table_sizes().iter().all(|(_, held, limit)| held <= limit), "{:?}", store.table_sizes());
        let all: Vec<CastId> = store.iter().map(|(id, _)| *id).collect();
        all.iter().for_each(|id| drop(store.remove(id)));
        assert_eq!((store.bytes, store.charges.len(), store.next_deadline()), (0, 0, None));
    }
}

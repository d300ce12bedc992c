//! Decides what letters this node must bring further, where each of them is kept, and which make room when it is too much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ground::id::NodeId;
use crate::ground::time::Instant;
use crate::machines::messages::ids::{OwnId, ParcelId};
use crate::model::letter::Priority;
use crate::wire::letter::{DeadLinks, Letter, Path, Print};

/// Bytes of all letters in custody at most: one more of others is not taken, one of ours waits.
pub(super) const MAX_BYTES: usize = 16 * 1_024 * 1_024;
/// Letters that one neighbour may have here at most, and their bytes: more stays with it until some are gone.
pub(super) const MAX_OF_ONE: usize = 256;
/// See [`MAX_OF_ONE`].
pub(super) const MAX_BYTES_OF_ONE: usize = 1_024 * 1_024;
/// Letters without a way that are kept until the map changes; the one parked longest ago makes room.
pub(super) const MAX_PARKED: usize = 256;
/// Of these of this node's own.
pub(super) const MAX_PARKED_OWN: usize = 64;

/// A letter in custody.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) letter: Letter,
    pub(super) print: Print,
    pub(super) urgency: Priority,
    /// Relays that it may pass after this node.
    pub(super) hops: u8,
    /// Relays by which it came.
    pub(super) path: Path,
    /// Links that others found dead.
    pub(super) dead: DeadLinks,
    pub(super) expires: Instant,
    /// Who made this node hold it.
    pub(super) from: Option<NodeId>,
    /// Which of this node's own it is.
    pub(super) own: Option<OwnId>,
    /// Whether it goes back to whom it came from.
    pub(super) is_return: bool,
    /// Whether it came by as many relays as it may pass: then it goes nowhere else.
    pub(super) is_spent: bool,
    /// A relay that answers probes and did not take it for long.
    pub(super) slow: Option<NodeId>,
    /// Pieces that nobody took yet.
    pub(super) left: usize,
    pub(super) place: Place,
}

/// Where a letter waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// For a way to be chosen.
    Unrouted,
    /// For the map to change.
    Parked,
    /// For this neighbour to take it.
    With(NodeId),
}

/// All letters in custody.
#[derive(Debug, Default)]
pub(super) struct Custody {
    parcels: BTreeMap<ParcelId, Parcel>,
    next: u64,
    unrouted: VecDeque<ParcelId>,
    parked: VecDeque<ParcelId>,
    expiry: BTreeSet<(Instant, ParcelId)>,
    /// Letters and bytes by whom they came from.
    charges: BTreeMap<NodeId, (usize, usize)>,
    bytes: usize,
}

impl Custody {
    /// Whether a neighbour may have one more letter here: of its room as much as the letter's urgency may fill, so that what is urgent
    /// finds some where a slow way holds up the rest.
    pub(super) fn has_room(&self, from: &NodeId, urgency: Priority, bytes: usize) -> bool {
        let (letters, held) = self.charges.get(from).copied().unwrap_or_default();
        letters < urgency.share(MAX_OF_ONE)
            && held + bytes <= urgency.share(MAX_BYTES_OF_ONE)
            && self.has_room_for_own(bytes)
    }

    /// Whether this node's own letter finds room.
    pub(super) fn has_room_for_own(&self, bytes: usize) -> bool {
        self.bytes + bytes <= MAX_BYTES
    }

    /// Takes a letter in.
    pub(super) fn take(&mut self, parcel: Parcel) -> ParcelId {
        self.next += 1;
        let id = ParcelId(self.next);
        self.bytes += parcel.letter.body.len();
        if let Some(from) = parcel.from {
            let charge = self.charges.entry(from).or_default();
            *charge = (charge.0 + 1, charge.1 + parcel.letter.body.len());
        }
        self.expiry.insert((parcel.expires, id));
        self.unrouted.push_back(id);
        self.parcels.insert(id, Parcel { place: Place::Unrouted, ..parcel });
        id
    }

    /// Lets go of a letter.
    pub(super) fn release(&mut self, id: ParcelId) -> Option<Parcel> {
        let parcel = self.parcels.remove(&id)?;
        self.bytes -= parcel.letter.body.len();
        if let Some(from) = parcel.from
            && let Some(charge) = self.charges.get_mut(&from)
        {
            *charge = (charge.0 - 1, charge.1 - parcel.letter.body.len());
            if charge.0 == 0 {
                self.charges.remove(&from);
            }
        }
        self.expiry.remove(&(parcel.expires, id));
        match parcel.place {
            Place::Unrouted => self.unrouted.retain(|held| *held != id),
            Place::Parked => self.parked.retain(|held| *held != id),
            Place::With(_) => {}
        }
        Some(parcel)
    }

    pub(super) fn get(&self, id: ParcelId) -> Option<&Parcel> {
        self.parcels.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ParcelId) -> Option<&mut Parcel> {
        self.parcels.get_mut(&id)
    }

    /// The next letter for which a way must be chosen; it is nowhere until [`Self::place`] says where.
    pub(super) fn next_unrouted(&mut self) -> Option<ParcelId> {
        self.unrouted.pop_front()
    }

    /// Sends a letter to look for a way again.
    pub(super) fn reroute(&mut self, id: ParcelId) {
        let Some(parcel) = self.parcels.get_mut(&id).filter(|parcel| parcel.place != Place::Unrouted) else { return };
        if parcel.place == Place::Parked {
            self.parked.retain(|held| *held != id);
        }
        parcel.place = Place::Unrouted;
        self.unrouted.push_back(id);
    }

    /// Says whom an unrouted letter waits for.
    pub(super) fn place(&mut self, id: ParcelId, hop: NodeId) {
        if let Some(parcel) = self.parcels.get_mut(&id) {
            parcel.place = Place::With(hop);
            parcel.left = parcel.letter.pieces();
        }
    }

    /// Keeps an unrouted letter until the map changes; returns the one that made room.
    pub(super) fn park(&mut self, id: ParcelId) -> Option<ParcelId> {
        let parcel = self.parcels.get_mut(&id)?;
        parcel.place = Place::Parked;
        let is_own = parcel.own.is_some();
        self.parked.push_back(id);
        let of_own = |held: &&ParcelId| self.parcels.get(held).is_some_and(|parcel| parcel.own.is_some());
        if is_own && self.parked.iter().filter(of_own).count() > MAX_PARKED_OWN {
            return self.parked.iter().find(of_own).copied();
        }
        if self.parked.len() > MAX_PARKED { self.parked.front().copied() } else { None }
    }

    /// The map changed: all that are parked look for a way again.
    pub(super) fn unpark(&mut self) {
        while let Some(id) = self.parked.pop_front() {
            if let Some(parcel) = self.parcels.get_mut(&id) {
                parcel.place = Place::Unrouted;
                self.unrouted.push_back(id);
            }
        }
    }

    /// All that wait for a neighbour.
    pub(super) fn with(&self, hop: &NodeId) -> Vec<ParcelId> {
        self.parcels.iter().filter(|(_, parcel)| parcel.place == Place::With(*hop)).map(|(id, _)| *id).collect()
    }

    /// One whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<ParcelId> {
        self.expiry.first().filter(|(at, _)| now >= *at).map(|(_, id)| *id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.expiry.first().map(|(at, _)| *at)
    }

    /// Tables with their limits.
    pub(super) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let most = self.charges.values().map(|(letters, _)| *letters).max().unwrap_or(0);
        let most_bytes = self.charges.values().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        [
            ("letter_bytes", self.bytes, MAX_BYTES),
            ("letters_of_a_neighbour", most, MAX_OF_ONE),
            ("letter_bytes_of_a_neighbour", most_bytes, MAX_BYTES_OF_ONE),
            ("letters_parked", self.parked.len(), MAX_PARKED),
        ]
    }
}

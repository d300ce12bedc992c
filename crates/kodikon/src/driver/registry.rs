//! Decides how the loop serves the registry: who waits for what becomes of an order, and how much is looked at in one turn.

use std::collections::BTreeMap;
use std::time::Duration;

use kodikon_core::effect::{Command, Event as CoreEvent, Input};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{
    Cursor, DeleteOrder, Filter, NewRecord, Page, RecordBody, RecordOrder, RecordView, Stored,
};
use kodikon_core::node::Node;
use tokio::sync::oneshot;

use crate::clock::Clock as _;
use crate::driver::{Driver, wall_time};

/// Sightings that a search looks at in one turn: with 4 KiB of metadata each, a millisecond.
const LOOKED_AT: usize = 128;
/// Sightings of one thing with which a further one is compared that does not say when it was seen: the newest, in two milliseconds.
const COMPARED: usize = 1_024;
/// So many between two looks at the clock: some 60 microseconds, and with the largest embeddings half a millisecond.
const COMPARED_AT_ONCE: usize = 32;
/// How long a turn compares, for all its orders. What is left is for the next one.
const COMPARE_FOR: Duration = Duration::from_millis(1);
/// Bytes that it finds in one turn at most; the loop copies them.
const FOUND_BYTES: usize = 1 << 20;

/// What is to keep a sighting from being added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unless {
    /// Nothing.
    Nothing,
    /// That one which says the same is held.
    Held(Compared),
}

/// How far a sighting is compared with those of its thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// With so many.
    count: usize,
    /// The last of them.
    last: Option<Cursor>,
}

/// What became of an order to add.
#[derive(Debug)]
pub(crate) enum Added {
    /// It was held already.
    Held(Box<RecordView>),
    /// It is not among those that one turn compares; the next one goes on there, with the same sighting.
    Compared(Compared, Box<NewRecord>),
    /// The core's answer, and when it was seen.
    Stored(Stored, WallTime),
}

/// Who waits for what becomes of orders.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    waiting: BTreeMap<Ticket, Waiter>,
    /// How long this turn has compared.
    compared_for: Duration,
}

#[derive(Debug)]
enum Waiter {
    Adds(oneshot::Sender<Added>, WallTime),
    Deletes(oneshot::Sender<Stored>),
}

impl Storing {
    /// Takes in what the core says to those who wait; whether it was for them alone.
    pub(crate) fn hear(&mut self, now: Instant, event: &CoreEvent, node: &Node) -> bool {
        let CoreEvent::Stored { ticket, outcome } = event else { return false };
        match self.waiting.remove(ticket) {
            // An error means that nobody waits any more; it is stored all the same.
            Some(Waiter::Adds(answer, wall)) => {
                // What is answered is what all nodes show; what made room at once is shown no more.
                let shown = match outcome {
                    Stored::Done { ids, .. } => ids.first().and_then(|id| node.record(now, id)),
                    Stored::Unknown | Stored::Refused { .. } => None,
                };
                drop(answer.send(Added::Stored(outcome.clone(), shown.map_or(wall, |view| view.wall))));
            }
            Some(Waiter::Deletes(answer)) => drop(answer.send(outcome.clone())),
            None => {}
        }
        true
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.compared_for = Duration::ZERO;
    }

    /// Whether this turn has compared as long as it may.
    pub(crate) fn has_compared(&self) -> bool {
        self.compared_for >= COMPARE_FOR
    }
}

impl Driver {
    /// Adds a sighting, unless one with its content is held and that is to be left as it is.
    pub(super) fn add(&mut self, now: Instant, record: Box<NewRecord>, unless: Unless, answer: oneshot::Sender<Added>) {
        if let Unless::Held(compared) = unless {
            // An error of sending means that nobody waits for the answer any more.
            match self.held(now, &record, compared) {
                Ok(Some(held)) => return drop(answer.send(Added::Held(Box::new(held)))),
                Err(further) => return drop(answer.send(Added::Compared(further, record))),
                Ok(None) => {}
            }
        }
        let (ticket, wall) = (self.next_ticket(), wall_time(&self.clock));
        self.storing.waiting.insert(ticket, Waiter::Adds(answer, wall));
        self.node.handle(now, Input::Command(Command::Add(RecordOrder { ticket, record: *record })));
        self.carry_out();
    }

    /// Looks for a sighting that says the same. When it was seen counts where the record says it, and then all of that moment are compared;
    /// else the newest alone.
    ///
    /// # Errors
    /// How far it came, where the turn is over before all are compared.
    fn held(
        &mut self,
        now: Instant,
        record: &NewRecord,
        mut compared: Compared,
    ) -> Result<Option<RecordView>, Compared> {
        let says_the_same = |view: &RecordView| {
            let RecordBody { data_type, confidence, metadata, embedding, ownership, .. } = &view.body;
            let (same_type, same_share) = (*data_type == record.data_type, *confidence == record.confidence);
            let same_words = *metadata == record.metadata && *ownership == record.ownership;
            same_type && same_share && same_words && *embedding == record.embedding
        };
        let (hash, seen) = (Some(record.hash_value.clone()), record.seen);
        let of_this = Filter { hash, since: seen, until: seen, ..Filter::default() };
        let begun = self.clock.now();
        let told = loop {
            let Page { records, next } = self.node.find(now, &of_this, compared.last, COMPARED_AT_ONCE);
            if let Some(held) = records.into_iter().find(says_the_same) {
                break Ok(Some(held));
            }
            compared = Compared { count: compared.count + COMPARED_AT_ONCE, last: next };
            if next.is_none() || (seen.is_none() && compared.count >= COMPARED) {
                break Ok(None);
            }
            // Whoever has more to compare than that takes its turn with others who do: see `COMPARING`.
            let is_first = compared.count == COMPARED_AT_ONCE;
            if is_first || self.storing.compared_for + self.clock.now().saturating_sub(begun) >= COMPARE_FOR {
                break Err(compared);
            }
        };
        self.storing.compared_for += self.clock.now().saturating_sub(begun);
        told
    }

    /// Removes sightings.
    pub(super) fn delete(&mut self, now: Instant, order: DeleteOrder, answer: oneshot::Sender<Stored>) {
        let ticket = self.next_ticket();
        self.storing.waiting.insert(ticket, Waiter::Deletes(answer));
        self.node.handle(now, Input::Command(Command::Delete(DeleteOrder { ticket, ..order })));
        self.carry_out();
    }

    /// Looks for sightings, as far as one turn goes: `next` of the answer says where the next turn goes on.
    pub(super) fn find(&self, now: Instant, filter: &Filter, cursor: Option<Cursor>, most: usize) -> Page {
        let mut found = Page { next: cursor, ..Page::default() };
        let (mut looked_at, mut bytes) = (0, 0);
        while looked_at < LOOKED_AT && bytes < FOUND_BYTES && found.records.len() < most {
            // No more are looked at than may be found: so it goes on behind the last one found.
            let budget = (most - found.records.len()).min(LOOKED_AT - looked_at);
            let page = self.node.find(now, filter, found.next, budget);
            looked_at += budget;
            bytes += page.records.iter().map(weight).sum::<usize>();
            found.records.extend(page.records);
            found.next = page.next;
            if found.next.is_none() {
                break;
            }
        }
        found
    }
}

/// Bytes of a sighting, about.
fn weight(view: &RecordView) -> usize {
    let stored = view.body.embedding.as_ref().map_or(0, |embedding| embedding.stored.len());
    stored + view.body.metadata.len() + view.body.hash_value.len()
}

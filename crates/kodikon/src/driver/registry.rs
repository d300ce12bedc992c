//! Decides how the loop serves the registry: who waits for what becomes of an order, and how much is looked at in one turn.

use std::collections::BTreeMap;

use kodikon_core::effect::{Command, Event as CoreEvent, Input};
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{
    Cursor, DeleteOrder, Filter, NewRecord, Page, RecordBody, RecordOrder, RecordView, Stored,
};
use kodikon_core::node::Node;
use tokio::sync::oneshot;

use crate::driver::{Driver, wall_time};

/// Sightings that a search looks at in one turn: with 4 KiB of metadata each, a millisecond.
const LOOKED_AT: usize = 128;
/// Sightings of one thing with which a further one is compared at a time: half a millisecond, or less where it says when it was seen. A
/// turn carries out many orders.
const COMPARED: usize = 256;
/// Bytes that it finds in one turn at most; the loop copies them.
const FOUND_BYTES: usize = 1 << 20;

/// What is to keep a sighting from being added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unless {
    /// Nothing.
    Nothing,
    /// That one which says the same is held, from there on in the list of its thing.
    Held(Option<Cursor>),
}

/// What became of an order to add.
#[derive(Debug)]
pub(crate) enum Added {
    /// It was held already.
    Held(Box<RecordView>),
    /// It is not among those that one turn compares; the next one goes on there.
    Compared(Cursor),
    /// The core's answer, and when it was seen.
    Stored(Stored, WallTime),
}

/// Who waits for what becomes of orders.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    waiting: BTreeMap<Ticket, Waiter>,
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
}

impl Driver {
    /// Adds a sighting, unless one with its content is held and that is to be left as it is.
    pub(super) fn add(&mut self, now: Instant, record: Box<NewRecord>, unless: Unless, answer: oneshot::Sender<Added>) {
        if let Unless::Held(from) = unless
            && let Some(told) = self.held(now, &record, from)
        {
            // An error means that nobody waits for the answer any more.
            return drop(answer.send(told));
        }
        let (ticket, wall) = (self.next_ticket(), wall_time(&self.clock));
        self.storing.waiting.insert(ticket, Waiter::Adds(answer, wall));
        self.node.handle(now, Input::Command(Command::Add(RecordOrder { ticket, record: *record })));
        self.carry_out();
    }

    /// Looks for a sighting that says the same, as far as one turn goes; `None`: there is none. When it was seen counts where the record
    /// says it.
    fn held(&self, now: Instant, record: &NewRecord, from: Option<Cursor>) -> Option<Added> {
        let says_the_same = |view: &RecordView| {
            let RecordBody { data_type, confidence, metadata, embedding, ownership, .. } = &view.body;
            let (same_type, same_share) = (*data_type == record.data_type, *confidence == record.confidence);
            let same_words = *metadata == record.metadata && *ownership == record.ownership;
            same_type && same_share && same_words && *embedding == record.embedding
        };
        let (hash, seen) = (Some(record.hash_value.clone()), record.seen);
        let of_this = Filter { hash, since: seen, until: seen, ..Filter::default() };
        let Page { records, next } = self.node.find(now, &of_this, from, COMPARED);
        match records.into_iter().find(says_the_same) {
            Some(held) => Some(Added::Held(Box::new(held))),
            None => next.map(Added::Compared),
        }
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

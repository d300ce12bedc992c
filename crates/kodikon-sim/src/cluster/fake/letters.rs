//! Decides how a fake node writes letters: one datagram to all, an answer to all, and the text made anew from its number.

use std::collections::BTreeMap;

use kodikon_core::effect::{Cast, Event, Output, SendOrder, Target, Transmit};
use kodikon_core::ground::id::{InterfaceIndex, NodeId};
use kodikon_core::ground::time::{Duration, Instant};
use kodikon_core::model::letter::{Outcome, Priority, Ticket};
use kodikon_core::model::member::Liveness;

use super::{Fake, Vice};
use crate::workload::letters::{number_of, payload};

/// What begins a datagram that is no greeting.
const LETTER: [u8; 16] = *b"letter..........";

/// What a fake node has written and what it owes its application.
#[derive(Debug, Default)]
pub(super) struct Post(BTreeMap<Ticket, (NodeId, Instant)>);

/// A datagram about a letter.
struct Note {
    is_answer: bool,
    from: NodeId,
    to: NodeId,
    ticket: Ticket,
    len: u32,
    priority: usize,
    kind: String,
}

impl Note {
    fn bytes(&self) -> Vec<u8> {
        let head = [u8::from(self.is_answer), u8::try_from(self.priority).expect("one of four")];
        let (ticket, len) = (self.ticket.0.to_be_bytes(), self.len.to_be_bytes());
        [&LETTER[..], &head, &self.from.0, &self.to.0, &ticket, &len, self.kind.as_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&LETTER[..])?;
        let (head, rest) = rest.split_first_chunk::<2>()?;
        let (from, rest) = rest.split_first_chunk::<16>()?;
        let (to, rest) = rest.split_first_chunk::<16>()?;
        let (ticket, rest) = rest.split_first_chunk::<8>()?;
        let (len, kind) = rest.split_first_chunk::<4>()?;
        Some(Self {
            is_answer: head[0] == 1,
            from: NodeId(*from),
            to: NodeId(*to),
            ticket: Ticket(u64::from_be_bytes(*ticket)),
            len: u32::from_be_bytes(*len),
            priority: usize::from(head[1]),
            kind: String::from_utf8_lossy(kind).into_owned(),
        })
    }
}

impl Fake {
    /// The application says something.
    pub(super) fn write(&mut self, now: Instant, order: SendOrder) {
        let SendOrder { ticket, to, kind, payload, priority, timeout } = order;
        debug_assert_eq!(number_of(&payload), Some(ticket.0), "the text is made anew from it");
        let is_there = self.peers.get(&to).is_some_and(|row| row.2 == Liveness::Alive);
        if self.vice == Vice::Boasts {
            return self.settle_delivered(ticket, to);
        }
        if self.vice == Vice::Despairs {
            return self.settle(ticket, to, Outcome::Expired { reason: "no answer", attempts: 1 });
        }
        if to == self.id {
            let (name, path) = (self.name.clone(), Vec::new());
            let event = Event::Message { from: to, name, kind, payload, priority, path };
            self.outputs.push_back(Output::Event(event));
            return self.settle_delivered(ticket, to);
        }
        if !is_there || self.vice == Vice::Shuns {
            return self.settle(ticket, to, Outcome::Unreachable { needs_hops: None });
        }
        self.post.0.insert(ticket, (to, now + timeout.unwrap_or(priority.deadline())));
        let len = u32::try_from(payload.len()).expect("at most 64 KiB");
        self.say(&Note { is_answer: false, from: self.id, to, ticket, len, priority: priority as usize, kind });
    }

    /// A datagram; `false` if it is not about a letter.
    pub(super) fn hear_letter(&mut self, bytes: &[u8]) -> bool {
        let Some(note) = Note::read(bytes) else { return false };
        if note.to == self.id && note.is_answer {
            if self.post.0.remove(&note.ticket).is_some() && self.vice != Vice::Mute {
                self.settle_delivered(note.ticket, note.from);
            }
        } else if note.to == self.id {
            self.give(&note);
            self.say(&Note { is_answer: true, from: self.id, to: note.from, kind: String::new(), ..note });
        }
        true
    }

    fn give(&mut self, note: &Note) {
        let len = usize::try_from(note.len).expect("at most 64 KiB");
        let mut text = payload(note.ticket.0, len);
        if self.vice == Vice::Bends {
            let middle = text.len() / 2;
            text[middle..].rotate_left(1);
        }
        let lowest = if self.vice == Vice::Hurries { 3 } else { note.priority };
        let event = Event::Message {
            from: note.from,
            name: String::new(),
            kind: note.kind.clone(),
            payload: text,
            priority: Priority::ALL[lowest],
            path: if self.vice == Vice::Wanders { vec![self.id; 6] } else { Vec::new() },
        };
        let copies = if self.vice == Vice::Doubles { 2 } else { 1 };
        self.outputs.extend(vec![Output::Event(event); copies]);
    }

    /// Gives up what took too long: a little early, since it looks once a second only.
    pub(super) fn give_up(&mut self, now: Instant) {
        let is_over = |_: &Ticket, (_, deadline): &mut (NodeId, Instant)| now + Duration::from_secs(1) > *deadline;
        let over: Vec<(Ticket, (NodeId, Instant))> = self.post.0.extract_if(.., is_over).collect();
        for (ticket, (to, _)) in over {
            self.settle(ticket, to, Outcome::Expired { reason: "no answer", attempts: 1 });
        }
    }

    fn settle_delivered(&mut self, ticket: Ticket, to: NodeId) {
        let outcome = Outcome::Delivered { rtt: Duration::from_millis(1), path: vec![to], attempts: 1 };
        self.settle(ticket, to, outcome);
    }

    fn settle(&mut self, ticket: Ticket, to: NodeId, outcome: Outcome) {
        let copies = if self.vice == Vice::Stutters { 2 } else { 1 };
        self.outputs.extend(vec![Output::Event(Event::Settled { ticket, to, outcome }); copies]);
    }

    fn say(&mut self, note: &Note) {
        let target = Target::Segment(InterfaceIndex(2), Cast::Multicast4);
        self.outputs.push_back(Output::Transmit(Transmit { target, bytes: note.bytes() }));
    }
}

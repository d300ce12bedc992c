//! Decides how a fake node says something to all: one datagram, and the text made anew from its number.

use kodikon_core::effect::{BroadcastOrder, Cast, Event, Output, Target, Transmit};
use kodikon_core::ground::id::{InterfaceIndex, NodeId};
use kodikon_core::model::letter::Priority;

use super::{Fake, Vice};
use crate::workload::letters::payload;

/// What begins a datagram to all.
const CAST: [u8; 16] = *b"cast............";

impl Fake {
    /// The application says something to all.
    pub(super) fn announce(&mut self, order: &BroadcastOrder) {
        if self.vice == Vice::Despairs {
            return;
        }
        let (ticket, len) = (order.ticket.0.to_be_bytes(), (order.payload.len() as u64).to_be_bytes());
        let bytes = [&CAST[..], &self.id.0, &ticket, &len, &[order.priority as u8], order.kind.as_bytes()].concat();
        let target = Target::Segment(InterfaceIndex(2), Cast::Multicast4);
        self.outputs.push_back(Output::Transmit(Transmit { target, bytes }));
    }

    /// A datagram; `false` if it is none to all.
    pub(super) fn hear_cast(&mut self, bytes: &[u8]) -> bool {
        let Some((from, rest)) = bytes.strip_prefix(&CAST[..]).and_then(|rest| rest.split_first_chunk::<16>()) else {
            return false;
        };
        let Some((ticket, rest)) = rest.split_first_chunk::<8>() else { return false };
        let Some((len, rest)) = rest.split_first_chunk::<8>() else { return false };
        let Some((priority, kind)) = rest.split_first() else { return false };
        if NodeId(*from) != self.id {
            let len = usize::try_from(u64::from_be_bytes(*len)).expect("at most 64 KiB");
            let mut text = payload(u64::from_be_bytes(*ticket), len);
            if self.vice == Vice::Bends {
                let middle = text.len() / 2;
                text[middle..].rotate_left(1);
            }
            let place = if self.vice == Vice::Hurries { 3 } else { usize::from(*priority) };
            let event = Event::Broadcast {
                from: NodeId(*from),
                name: String::new(),
                kind: String::from_utf8_lossy(kind).into_owned(),
                payload: text,
                priority: Priority::ALL[place],
                path: Vec::new(),
            };
            let copies = if self.vice == Vice::Doubles { 2 } else { 1 };
            self.outputs.extend(vec![Output::Event(event); copies]);
        }
        true
    }
}

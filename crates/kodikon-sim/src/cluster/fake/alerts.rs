//! Decides how a fake node raises alerts: one datagram to all, the text made anew from its number, and a datagram of each who shows it.

use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::{Cast, Event, Output, Target, Transmit};
use kodikon_core::ground::id::{InterfaceIndex, NodeId, Seq};
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::alert::{AlertId, AlertOrder, AlertView, Raised};
use kodikon_core::model::letter::Priority;
use kodikon_core::model::op::OpId;

use super::{Fake, Vice};
use crate::workload::letters::payload;

/// What begins a datagram with an alert, and one that says who has shown it.
const ALERT: [u8; 16] = *b"alert...........";
const RECEIPT: [u8; 16] = *b"receipt.........";

/// The alerts that a fake node shows.
#[derive(Debug, Default)]
pub(super) struct Board(BTreeMap<AlertId, Shown>);

#[derive(Debug)]
struct Shown {
    from: NodeId,
    priority: Priority,
    payload: Vec<u8>,
    expires: Instant,
    holders: BTreeSet<NodeId>,
}

impl Fake {
    /// The application wants an alert raised.
    pub(super) fn raise(&mut self, now: Instant, order: AlertOrder) {
        let AlertOrder { ticket, payload, priority, ttl } = order;
        let alert = AlertId::of(&OpId { author: self.id, epoch: self.epoch, seq: Seq(ticket.0) });
        let ttl_ms = u64::try_from(ttl.as_millis()).expect("at most a week").to_be_bytes();
        let (number, len) = (ticket.0.to_be_bytes(), (payload.len() as u64).to_be_bytes());
        let head = [&ALERT[..], &alert.0.to_be_bytes(), &self.id.0].concat();
        self.tell([&head[..], &number, &len, &ttl_ms, &[priority as u8]].concat());
        let outcome = Raised::Done { alert, durable: false };
        self.outputs.push_back(Output::Event(Event::Raised { ticket, outcome }));
        let (from, expires, holders) = (self.id, now + ttl, BTreeSet::new());
        self.board.0.insert(alert, Shown { from, priority, payload, expires, holders });
    }

    /// A datagram; `false` if it is none of an alert.
    pub(super) fn hear_alert(&mut self, now: Instant, bytes: &[u8]) -> bool {
        if let Some(rest) = bytes.strip_prefix(&RECEIPT[..]) {
            return self.hear_receipt(rest).is_some();
        }
        bytes.strip_prefix(&ALERT[..]).is_some_and(|rest| self.show(now, rest).is_some())
    }

    fn show(&mut self, now: Instant, bytes: &[u8]) -> Option<()> {
        let (alert, rest) = bytes.split_first_chunk::<8>()?;
        let (from, rest) = rest.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let (ttl_ms, rest) = rest.split_first_chunk::<8>()?;
        let (alert, from) = (AlertId(u64::from_be_bytes(*alert)), NodeId(*from));
        if from == self.id {
            return Some(());
        }
        let priority = Priority::ALL[usize::from(*rest.first()?)];
        let payload = payload(u64::from_be_bytes(*number), usize::try_from(u64::from_be_bytes(*len)).ok()?);
        let expires = now + Duration::from_millis(u64::from_be_bytes(*ttl_ms));
        self.outputs.push_back(Output::Event(Event::Alert {
            alert,
            from,
            name: String::new(),
            priority,
            payload: payload.clone(),
            wall: WallTime(0),
            late: false,
            repeated: false,
        }));
        self.board.0.insert(alert, Shown { from, priority, payload, expires, holders: BTreeSet::from([self.id]) });
        self.tell([&RECEIPT[..], &alert.0.to_be_bytes(), &self.id.0].concat());
        Some(())
    }

    fn hear_receipt(&mut self, bytes: &[u8]) -> Option<()> {
        let (alert, rest) = bytes.split_first_chunk::<8>()?;
        let receiver = NodeId(*rest.first_chunk::<16>()?);
        if let Some(shown) = self.board.0.get_mut(&AlertId(u64::from_be_bytes(*alert)))
            && self.vice != Vice::Ignores
        {
            shown.holders.insert(receiver);
        }
        Some(())
    }

    fn tell(&mut self, bytes: Vec<u8>) {
        let target = Target::Segment(InterfaceIndex(2), Cast::Multicast4);
        self.outputs.push_back(Output::Transmit(Transmit { target, bytes }));
    }

    /// What is active.
    pub(super) fn board(&self, now: Instant) -> Vec<AlertView> {
        let view = |(id, shown): (&AlertId, &Shown)| AlertView {
            id: *id,
            source: shown.from,
            name: String::new(),
            priority: shown.priority,
            payload: shown.payload.clone(),
            wall: WallTime(0),
            left: shown.expires.since(now),
            delivered: shown.holders.iter().copied().collect(),
            durable: Vec::new(),
            missing: Vec::new(),
            acks: Vec::new(),
            late: false,
            repeated: false,
            kept: false,
        };
        self.board.0.iter().filter(|(_, shown)| shown.expires > now).map(view).collect()
    }
}

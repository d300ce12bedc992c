//! Decides where received datagrams lie: a few large buffers, filled by one call and opened in place.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kodikon_core::effect::{Arrival, Cast};
use kodikon_core::ground::id::InterfaceIndex;
use quinn_udp::RecvMeta;

use crate::sys::Received;

/// Buffers filled by one `recvmmsg`; measured: more gain nothing for datagrams of 90 B.
pub(super) const SLOTS: usize = 8;
/// Room for what the kernel has joined of one sender's datagrams (`UDP_GRO`), which is at most one IP packet.
const SLOT_LEN: usize = 64 << 10;

/// Datagrams just received. The memory behind it is touched, and so counts, only as far as datagrams fill it.
#[derive(Debug)]
pub(crate) struct Inbox {
    memory: Box<[u8]>,
    slots: [Slot; SLOTS],
    filled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    len: usize,
    /// Length of each datagram joined in this slot, the last excepted.
    stride: usize,
    arrival: Arrival,
}

impl Inbox {
    /// Makes an empty inbox.
    #[must_use]
    pub(crate) fn new() -> Self {
        let nowhere = Arrival {
            from: (Ipv4Addr::UNSPECIFIED, 0).into(),
            interface: InterfaceIndex::default(),
            cast: Cast::Unicast,
        };
        Self {
            memory: vec![0; SLOTS * SLOT_LEN].into(),
            slots: [Slot { len: 0, stride: 0, arrival: nowhere }; SLOTS],
            filled: 0,
        }
    }

    /// Returns the datagrams in order of arrival, to be opened in place. Empty ones are among them: they say nothing, and are
    /// to be counted as what is too short.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = (Arrival, &mut [u8])> {
        self.memory.chunks_mut(SLOT_LEN).zip(&self.slots[..self.filled]).flat_map(|(memory, slot)| {
            let empty = (slot.len == 0).then_some(&mut [][..]);
            memory[..slot.len].chunks_mut(slot.stride.max(1)).chain(empty).map(|bytes| (slot.arrival, bytes))
        })
    }

    /// Fills it anew by quinn-udp's batched receive; returns whether all slots were filled, so that more may wait.
    pub(super) fn fill(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        self.filled = 0;
        let mut parts = self.memory.chunks_mut(SLOT_LEN).map(IoSliceMut::new);
        let mut parts: [IoSliceMut<'_>; SLOTS] =
            std::array::from_fn(|_| parts.next().expect("the memory is cut into as many slots"));
        let mut metas = [RecvMeta::default(); SLOTS];
        self.filled = receive(&mut parts, &mut metas)?.min(SLOTS);
        for (slot, meta) in self.slots.iter_mut().zip(&metas[..self.filled]) {
            *slot = Slot {
                len: meta.len.min(SLOT_LEN),
                stride: meta.stride,
                arrival: Arrival {
                    from: meta.addr,
                    interface: InterfaceIndex(meta.interface_index.unwrap_or(0)),
                    cast: cast(meta.dst_ip, None),
                },
            };
        }
        Ok(self.filled == SLOTS)
    }

    /// Empties it, for [`Inbox::push`].
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Fills the next slot by one single receive; returns whether another would still fit.
    pub(super) fn push(&mut self, receive: impl FnOnce(&mut [u8]) -> io::Result<Received>) -> io::Result<bool> {
        let from = self.filled * SLOT_LEN;
        let received = receive(&mut self.memory[from..from + SLOT_LEN])?;
        self.slots[self.filled] = Slot {
            len: received.len,
            stride: received.len,
            arrival: Arrival {
                from: received.from,
                interface: InterfaceIndex(received.interface),
                cast: cast(received.destination, received.accepted_for),
            },
        };
        self.filled += 1;
        Ok(self.filled < SLOTS)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// How a datagram was addressed, from its destination and, where known, the own address that the kernel accepted it
/// for.
fn cast(destination: Option<IpAddr>, accepted_for: Option<Ipv4Addr>) -> Cast {
    match destination {
        Some(IpAddr::V4(address)) if address.is_multicast() => Cast::Multicast4,
        Some(IpAddr::V6(address)) if address.is_multicast() => Cast::Multicast6,
        Some(IpAddr::V4(address)) if address.is_broadcast() => Cast::Broadcast,
        // The kernel accepts a directed broadcast for the address it would answer from, which is another.
        Some(IpAddr::V4(address)) if accepted_for.is_some_and(|own| own != address) => Cast::Broadcast,
        Some(_) | None => Cast::Unicast,
    }
}

/// Whether anyone could be answered there: port 0 and the unspecified address name nobody.
pub(super) fn is_somebody(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_tell_how_a_datagram_was_addressed() {
        type Row<'a> = (Option<&'a str>, Option<[u8; 4]>, Cast);
        let table: &[Row<'_>] = &[
            (None, None, Cast::Unicast),
            (Some("192.0.2.7"), Some([192, 0, 2, 7]), Cast::Unicast),
            (Some("192.0.2.7"), None, Cast::Unicast),
            (Some("192.0.2.255"), Some([192, 0, 2, 7]), Cast::Broadcast),
            (Some("255.255.255.255"), Some([192, 0, 2, 7]), Cast::Broadcast),
            (Some("255.255.255.255"), None, Cast::Broadcast),
            (Some("239.255.107.100"), Some([192, 0, 2, 7]), Cast::Multicast4),
            (Some("ff02::6b64"), None, Cast::Multicast6),
            (Some("fe80::1"), None, Cast::Unicast),
        ];
        for &(destination, accepted_for, expected) in table {
            let parsed = destination.map(|text| text.parse().unwrap());
            assert_eq!(cast(parsed, accepted_for.map(Ipv4Addr::from)), expected, "{destination:?} {accepted_for:?}");
        }
    }

    #[test]
    fn joined_datagrams_come_apart_at_their_stride_and_empty_ones_stay() {
        let mut inbox = Inbox::new();
        let full = inbox.fill(|parts, metas| {
            for (index, (len, stride)) in [(25, 10), (0, 0), (7, 7), (5, 0)].into_iter().enumerate() {
                parts[index][..len].fill(u8::try_from(index).unwrap());
                (metas[index].len, metas[index].stride) = (len, stride);
            }
            Ok(4)
        });
        assert!(!full.unwrap());
        let lens: Vec<usize> = inbox.datagrams().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lens, [10, 10, 5, 0, 7, 1, 1, 1, 1, 1]);
        inbox.clear();
        assert_eq!(inbox.datagrams().count(), 0);
    }

    #[test]
    fn an_inbox_says_when_it_is_full() {
        let mut inbox = Inbox::new();
        let received = |len| Received {
            len,
            truncated: false,
            from: (Ipv4Addr::LOCALHOST, 1).into(),
            interface: 1,
            destination: None,
            accepted_for: None,
        };
        for number in 1..=SLOTS {
            assert_eq!(inbox.push(|_| Ok(received(number))).unwrap(), number < SLOTS);
        }
        assert_eq!(inbox.datagrams().count(), SLOTS);
        assert!(inbox.fill(|_, _| Ok(SLOTS)).unwrap());
        assert!(inbox.fill(|_, _| Err(io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!(inbox.datagrams().count(), 0, "a failed receive leaves nothing of the one before");
    }
}

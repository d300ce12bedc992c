//! Decides how a node's own UDP sockets send and receive: in batches, and without letting one peer's error touch
//! another's datagram.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use kodikon_core::effect::{Interface, Target};
use quinn_udp::{Transmit, UdpSocketState};
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::inbox::{Inbox, is_somebody};
use super::ways::{Way, Ways};
use super::{Family, OpenError, SEND_BUFFER, SocketReport, report};
use crate::sys::{self, QueuedError};

/// Unreachable addresses kept until they are asked for, the oldest dropped first: a probe goes to a few addresses at
/// once.
const UNREACHABLE_MAX: usize = 64;
/// Records taken from the error queue in one turn; the rest keeps the socket ready.
const ERRORS_A_TURN: usize = 256;
/// Pending errors a receive may meet before it is left for the next turn.
const RETRIES: usize = 8;
/// What one call of `sendmsg` may carry: `UDP_MAX_SEGMENTS` datagrams (linux/udp.h) in less than one IP packet.
const RUN_SEGMENTS: usize = 64;
const RUN_BYTES: usize = 65_000;

/// What became of the datagrams handed over, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendStats {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Datagrams dropped because the send buffer was full.
    pub full: u64,
    /// Datagrams refused because they are longer than the interface carries.
    pub too_long: u64,
    /// Datagrams for which there was no route, no address yet, or no such interface.
    pub no_way: u64,
    /// Datagrams refused for any other reason.
    pub refused: u64,
}

/// A node's own UDP sockets, on one port.
#[derive(Debug)]
pub(crate) struct UnicastSockets {
    v4: UnicastSocket,
    v6: Option<UnicastSocket>,
    ways: Ways,
    run: Run,
    stats: SendStats,
}

/// Datagrams of one length that go the same way and are handed to the kernel together; the last may be shorter.
#[derive(Debug)]
struct Run {
    way: Option<Way>,
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    /// A shorter one was the last that fits.
    closed: bool,
}

impl UnicastSockets {
    pub(super) fn new(v4: UnicastSocket, v6: Option<UnicastSocket>, discovery_port: u16) -> Self {
        let run = Run { way: None, bytes: Vec::with_capacity(RUN_BYTES), segment: 0, count: 0, closed: false };
        Self { v4, v6, ways: Ways::new(&[], discovery_port), run, stats: SendStats::default() }
    }

    /// Learns the interfaces by which segments are reached.
    pub(crate) fn follow(&mut self, interfaces: &[Interface]) {
        self.ways = Ways::new(interfaces, self.ways.port());
    }

    /// Returns the socket of one family, if the host has it.
    #[must_use]
    pub(crate) fn socket(&self, family: Family) -> Option<&UnicastSocket> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn socket_mut(&mut self, family: Family) -> Option<&mut UnicastSocket> {
        match family {
            Family::V4 => Some(&mut self.v4),
            Family::V6 => self.v6.as_mut(),
        }
    }

    /// Waits until the socket of this family has something; for ever where there is none. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn ready(&self, family: Family) -> io::Result<()> {
        match self.socket(family) {
            Some(socket) => socket.ready().await,
            None => std::future::pending().await,
        }
    }

    /// Takes datagrams into the emptied `inbox`, which may stay empty, and errors for
    /// [`UnicastSockets::take_unreachable`].
    ///
    /// # Errors
    /// What the system said, other than that there is nothing and what ICMP says of peers.
    pub(crate) fn receive(&mut self, family: Family, inbox: &mut Inbox) -> io::Result<()> {
        inbox.clear();
        self.socket_mut(family).map_or(Ok(()), |socket| socket.receive(inbox))
    }

    /// Returns an address where, so its own kernel says, nobody listens.
    pub(crate) fn take_unreachable(&mut self) -> Option<SocketAddr> {
        self.v4.unreachable.pop_front().or_else(|| self.v6.as_mut()?.unreachable.pop_front())
    }

    /// Sends a datagram to `target`, at the latest with the next [`UnicastSockets::flush`].
    ///
    /// What cannot be sent is dropped and counted: whoever needs it delivered repeats it anyway.
    pub(crate) fn send(&mut self, target: Target, bytes: &[u8]) {
        let mut ways = 0;
        // Taken out for the time of the loop, which needs all the rest.
        let known = std::mem::replace(&mut self.ways, Ways::new(&[], 0));
        known.each(target, |way| {
            ways += 1;
            self.queue(way, bytes);
        });
        self.ways = known;
        if ways == 0 {
            self.stats.no_way += 1;
        }
    }

    fn queue(&mut self, way: Way, bytes: &[u8]) {
        if !self.run.takes(way, bytes.len()) {
            self.flush();
        }
        self.run.push(way, bytes);
    }

    /// Hands over what is queued.
    pub(crate) fn flush(&mut self) {
        let Some(way) = self.run.way.take() else { return };
        let mut run = std::mem::take(&mut self.run.bytes);
        let family = if way.to.is_ipv4() { Family::V4 } else { Family::V6 };
        let (segment, mut stats) = (self.run.segment, self.stats);
        match self.socket_mut(family) {
            Some(socket) if is_somebody(&way.to) => socket.send_run(way, &run, segment, &mut stats),
            Some(_) | None => stats.no_way += self.run.count as u64,
        }
        self.stats = stats;
        run.clear();
        self.run = Run { way: None, bytes: run, segment: 0, count: 0, closed: false };
    }

    /// Returns what became of the datagrams handed over.
    #[must_use]
    pub(crate) fn stats(&self) -> SendStats {
        self.stats
    }
}

impl Run {
    fn takes(&self, way: Way, len: usize) -> bool {
        self.way.is_none_or(|known| known == way)
            && (self.count == 0 || (1..=self.segment).contains(&len))
            && !self.closed
            && self.count < RUN_SEGMENTS
            && (self.count == 0 || self.bytes.len() + len <= RUN_BYTES)
    }

    fn push(&mut self, way: Way, bytes: &[u8]) {
        if self.count == 0 {
            self.segment = bytes.len();
        }
        self.way = Some(way);
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
        // The kernel cuts at every `segment` bytes, so only the last may be shorter, and an empty one must go alone.
        self.closed = bytes.len() < self.segment || bytes.is_empty();
    }
}

/// One UDP socket on the node's own port.
#[derive(Debug)]
pub(crate) struct UnicastSocket {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// The kernel cuts runs into datagrams, or did until the network card refused.
    offload: bool,
    unreachable: VecDeque<SocketAddr>,
}

impl UnicastSocket {
    /// Takes over a socket that is bound.
    pub(super) fn new(family: Family, socket: Socket) -> Result<Self, OpenError> {
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        match family {
            Family::V4 => {
                socket.set_broadcast(true).map_err(OpenError::io("SO_BROADCAST"))?;
                socket.set_multicast_ttl_v4(1).map_err(OpenError::io("IP_MULTICAST_TTL"))?;
                socket.set_multicast_loop_v4(true).map_err(OpenError::io("IP_MULTICAST_LOOP"))?;
            }
            Family::V6 => {
                socket.set_multicast_hops_v6(1).map_err(OpenError::io("IPV6_MULTICAST_HOPS"))?;
                socket.set_multicast_loop_v6(true).map_err(OpenError::io("IPV6_MULTICAST_LOOP"))?;
            }
        }
        let socket = sys::watch_receiving(socket.into()).map_err(OpenError::io("registering a UDP socket"))?;
        let state = UdpSocketState::new(socket.get_ref().into()).map_err(OpenError::io("setting up a UDP socket"))?;
        state.enable_transport_errors(socket.get_ref().into()).map_err(OpenError::io("IP_RECVERR"))?;
        let offload = state.max_gso_segments() > 1;
        Ok(Self { socket, state, offload, unreachable: VecDeque::new() })
    }

    /// Returns what `doctor` shows of it.
    ///
    /// # Errors
    /// Does not happen while the process keeps its descriptors.
    pub(crate) fn report(&self) -> io::Result<SocketReport> {
        report(self.socket.get_ref())
    }

    async fn ready(&self) -> io::Result<()> {
        // Errors too make it readable: see `sys::watch_receiving`.
        poll_fn(|cx| self.socket.poll_read_ready(cx)).await.map(drop)
    }

    fn receive(&mut self, inbox: &mut Inbox) -> io::Result<()> {
        let (socket, unreachable) = (&self.socket, &mut self.unreachable);
        // Costs no system call unless the kernel has said that there are errors.
        let drained = socket.try_io(Interest::ERROR, |socket| {
            if drain_errors(socket, unreachable) < ERRORS_A_TURN {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        let more_errors = drained.is_ok();
        let mut retries = RETRIES;
        let received = socket.try_io(Interest::READABLE, |socket| {
            loop {
                match inbox.fill(|parts, metas| self.state.recv(socket.into(), parts, metas)) {
                    Ok(true) => return Ok(()),
                    // Errors that are left make no new event.
                    Ok(false) if more_errors => return Ok(()),
                    Err(error) if more_errors && error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    // Fewer than fit: the queue was empty, and a further call would only be told so. What comes after
                    // makes a new event.
                    Ok(false) => return Err(io::ErrorKind::WouldBlock.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock || retries == 0 => return Err(error),
                    // What a peer's ICMP left pending fails one call and says nothing about what waits to be received.
                    Err(_) => retries -= 1,
                }
            }
        });
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Sends the datagrams of `segment` bytes that lie in `run`, at once if that can be, else one by one.
    fn send_run(&mut self, way: Way, run: &[u8], segment: usize, stats: &mut SendStats) {
        if run.len() > segment && self.state.max_gso_segments() >= run.len().div_ceil(segment.max(1)) {
            let datagrams = run.len().div_ceil(segment) as u64;
            match self.send(way, run, Some(segment)) {
                Ok(()) => {
                    stats.sent += datagrams;
                    stats.bytes += run.len() as u64;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return stats.full += datagrams,
                // The card refuses, or the kernel counts otherwise than we do: each one alone tells which it does not
                // like.
                Err(_) => {}
            }
        }
        if run.is_empty() {
            return self.send_one(way, run, stats);
        }
        for datagram in run.chunks(segment) {
            self.send_one(way, datagram, stats);
        }
    }

    fn send_one(&mut self, way: Way, datagram: &[u8], stats: &mut SendStats) {
        let Err(error) = self.send(way, datagram, None) else {
            stats.sent += 1;
            stats.bytes += datagram.len() as u64;
            return;
        };
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => stats.too_long += 1,
            Some(libc::EAGAIN | libc::ENOBUFS) => stats.full += 1,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EADDRNOTAVAIL
                | libc::ENETDOWN
                | libc::ENODEV
                | libc::ENXIO
                | libc::EINVAL,
            ) => stats.no_way += 1,
            _ => stats.refused += 1,
        }
        tracing::trace!(to = %way.to, from = ?way.from, len = datagram.len(), %error, "datagram not sent");
        if self.offload && self.state.max_gso_segments() == 1 && error.raw_os_error() == Some(libc::EINVAL) {
            // A source address that has just vanished looks to quinn-udp like a card without offload, which it would
            // then never use again. Nothing was to be cut here, so it was the address.
            if let Ok(state) = UdpSocketState::new(self.socket.get_ref().into()) {
                self.state = state;
            }
        }
    }

    fn send(&mut self, way: Way, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
        let transmit =
            Transmit { destination: way.to, ecn: None, contents: bytes, segment_size: segment, src_ip: way.from };
        let (socket, state) = (self.socket.get_ref(), &self.state);
        // Where the kernel chooses the source and nothing is to be cut, it need not be told so.
        let is_plain = way.from.is_none() && segment.is_none();
        let attempt = || {
            if is_plain { socket.send_to(bytes, way.to).map(drop) } else { state.try_send(socket.into(), &transmit) }
        };
        match attempt() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // What ICMP said of one peer fails the next call, whomever that is for. With the queue empty nothing is
            // pending any more.
            Err(error) if drain_errors(socket, &mut self.unreachable) == 0 => Err(error),
            Err(_) => attempt(),
        }
    }
}

/// Empties the error queue, within reason, and keeps who is unreachable; returns how many records there were.
fn drain_errors(socket: &UdpSocket, unreachable: &mut VecDeque<SocketAddr>) -> usize {
    let mut count = 0;
    while count < ERRORS_A_TURN
        && let Ok(Some(error)) = sys::take_error(socket.as_fd())
    {
        count += 1;
        if let Some(address) = nobody_listens(&error)
            && !unreachable.contains(&address)
        {
            if unreachable.len() == UNREACHABLE_MAX {
                unreachable.pop_front();
            }
            unreachable.push_back(address);
        }
    }
    count
}

/// The address at which nobody listens, if this is what the error says and the host itself says it.
///
/// A router's word (no route, forbidden) and our own kernel's (no answer to ARP) tell nothing about the process there.
fn nobody_listens(error: &QueuedError) -> Option<SocketAddr> {
    const ICMP: u8 = 2;
    const ICMP6: u8 = 3;
    let record = error.record;
    let told_by_icmp = record.errno == libc::ECONNREFUSED && [ICMP, ICMP6].contains(&record.origin);
    error.destination.filter(|destination| told_by_icmp && record.offender == Some(destination.ip()))
}

#[cfg(test)]
mod tests;

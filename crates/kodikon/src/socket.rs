//! Decides which sockets a node has: two that all nodes of a host share for discovery, and its own for everything else.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

mod discovery;
mod holder;
mod inbox;
mod listener;
mod ports;
mod streams;
mod unicast;
mod ways;

pub(crate) use discovery::Discovery;
pub use holder::Holder;
pub(crate) use inbox::Inbox;
pub(crate) use ports::Ports;
pub(crate) use streams::{StreamEvent, StreamStats, Streams};
pub(crate) use unicast::{SendStats, UnicastSockets};

/// The mesh's IPv4 group, of the range that stays within one administration (RFC 2365 §6).
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 107, 100);
/// The mesh's IPv6 group: link-local scope, `kd` in ASCII.
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x6b64);

/// Asked for as receive buffer: a second of the fastest peer allowed (5,000 datagrams, each charged 768 B or more by
/// the kernel).
const RECEIVE_BUFFER: usize = 4 << 20;
/// Asked for as send buffer: what a node may have queued for all its neighbours would not fit the default of 208 KiB.
const SEND_BUFFER: usize = 1 << 20;

/// Which version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn domain(self) -> Domain {
        match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        }
    }

    /// All addresses of this host, at `port`.
    fn any(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Self::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }
}

/// Why a socket could not be had. Each says what to do, and what goes on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A program that does not share it holds the discovery port.
    #[error(
        "discovery port {port}/udp is held by {}; the node goes on without it and finds only configured and \
         remembered peers: stop that program, or give the whole fleet another --udp-port",
        name_holder(holder.as_ref())
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The program, where this user may see it.
        holder: Option<Holder>,
    },
    /// None of the ports a node may take is free.
    #[error(
        "no port of {first}-{last} is free for UDP and TCP ({last} is held by {}): stop a program there, or choose \
         another --udp-port",
        name_holder(holder.as_ref())
    )]
    NoFreePort {
        /// The first one tried.
        first: u16,
        /// The last one tried.
        last: u16,
        /// Who holds the last one, where this user may see it.
        holder: Option<Holder>,
    },
    /// There is no port above the discovery port.
    #[error("--udp-port {port} leaves no port above it for the node itself: choose one below 65535")]
    NoPortAbove {
        /// The discovery port.
        port: u16,
    },
    /// This host has no such IP.
    #[error("this host has no {family:?} sockets")]
    NoFamily {
        /// The version of IP.
        family: Family,
    },
    /// Anything else the system said.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

fn name_holder(holder: Option<&Holder>) -> String {
    holder.map_or("another program (`ss -ulpn` as root names it)".to_owned(), ToString::to_string)
}

/// What `doctor` shows of one UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketReport {
    /// Where it is bound.
    pub local: SocketAddr,
    /// The receive buffer in bytes as the kernel accounts it, which is twice what was asked for.
    pub receive_buffer: usize,
    /// The send buffer in bytes, likewise.
    pub send_buffer: usize,
    /// Datagrams the kernel dropped because the receive buffer was full; none known on kernels before 4.12.
    pub dropped: Option<u32>,
}

fn report(socket: &impl AsFd) -> io::Result<SocketReport> {
    let options = SockRef::from(socket);
    Ok(SocketReport {
        local: options.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?,
        receive_buffer: options.recv_buffer_size()?,
        send_buffer: options.send_buffer_size()?,
        dropped: crate::sys::drops(socket.as_fd()).ok(),
    })
}

/// A UDP socket that is not bound yet, for one version of IP only.
fn udp(family: Family) -> Result<Socket, OpenError> {
    let made = Socket::new(family.domain(), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP));
    let socket = made.map_err(|error| no_family(family, error))?;
    if family == Family::V6 {
        socket.set_only_v6(true).map_err(OpenError::io("IPV6_V6ONLY"))?;
    }
    // Where the administrator allows less, less is what we get: `doctor` reads back the actual size.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(socket)
}

fn no_family(family: Family, source: io::Error) -> OpenError {
    match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL) => OpenError::NoFamily { family },
        _ => OpenError::Io { what: "socket", source },
    }
}

#[cfg(test)]
mod tests;

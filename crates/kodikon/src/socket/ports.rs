//! Decides on which port a node lives: the first above the discovery port that is free for UDP and TCP, IPv4 and IPv6.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::listener::Listeners;
use super::unicast::{UnicastSocket, UnicastSockets};
use super::{Family, OpenError, holder, no_family, udp};

/// How many ports above the discovery port a node may take, and so how many nodes live on one host.
pub(crate) const UNICAST_PORTS: u16 = 64;
/// Connections the kernel keeps for us between two turns; more are refused by it.
const BACKLOG: i32 = 64;

/// A node's own port with all that listens there.
#[derive(Debug)]
pub(crate) struct Ports {
    /// The port.
    pub port: u16,
    /// Its UDP sockets.
    pub udp: UnicastSockets,
    /// Its TCP listeners.
    pub tcp: Listeners,
}

/// What holds a port while the rest is being tried.
struct Held {
    udp: Vec<(Family, Socket)>,
    tcp: Vec<Socket>,
}

impl Ports {
    /// Takes the first free of the 64 ports above `discovery_port`. IPv6 is left out where the host has none.
    ///
    /// Needs a tokio runtime with I/O around it.
    ///
    /// # Errors
    /// [`OpenError::NoFreePort`]; [`OpenError::NoFamily`] on a host without IPv4; what the system said.
    pub(crate) fn open(discovery_port: u16) -> Result<Self, OpenError> {
        let Some(first) = discovery_port.checked_add(1) else {
            return Err(OpenError::NoPortAbove { port: discovery_port });
        };
        let last = discovery_port.saturating_add(UNICAST_PORTS);
        for port in first..=last {
            if let Some(held) = hold(port)? {
                return Self::take(port, held, discovery_port);
            }
        }
        Err(OpenError::NoFreePort { first, last, holder: holder::find(last) })
    }

    fn take(port: u16, held: Held, discovery_port: u16) -> Result<Self, OpenError> {
        let (mut v4, mut v6) = (None, None);
        for (family, socket) in held.udp {
            let socket = UnicastSocket::new(family, socket)?;
            match family {
                Family::V4 => v4 = Some(socket),
                Family::V6 => v6 = Some(socket),
            }
        }
        let v4 = v4.ok_or(OpenError::NoFamily { family: Family::V4 })?;
        let mut listeners = Vec::new();
        for socket in held.tcp {
            listeners.push(TcpListener::from_std(socket.into()).map_err(OpenError::io("registering a TCP listener"))?);
        }
        Ok(Self { port, udp: UnicastSockets::new(v4, v6, discovery_port), tcp: Listeners::new(listeners) })
    }
}

/// Takes `port` for everything, or nothing when any of it is taken.
fn hold(port: u16) -> Result<Option<Held>, OpenError> {
    let mut held = Held { udp: Vec::new(), tcp: Vec::new() };
    for family in [Family::V4, Family::V6] {
        let both = hold_udp(family, port).and_then(|udp| Ok((udp, hold_tcp(family, port)?)));
        match both {
            Ok((udp, tcp)) => {
                held.udp.push((family, udp));
                held.tcp.push(tcp);
            }
            Err(OpenError::NoFamily { family: Family::V6 }) => {}
            Err(OpenError::Io { source, .. }) if is_taken(&source) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(held))
}

/// In use, or kept for the administrator (ports below 1024): the next one may do.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EACCES))
}

fn hold_udp(family: Family, port: u16) -> Result<Socket, OpenError> {
    let socket = udp(family)?;
    bind(&socket, family, port)?;
    Ok(socket)
}

fn hold_tcp(family: Family, port: u16) -> Result<Socket, OpenError> {
    let domain: Domain = family.domain();
    let made = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP));
    let socket = made.map_err(|error| no_family(family, error))?;
    if family == Family::V6 {
        socket.set_only_v6(true).map_err(OpenError::io("IPV6_V6ONLY"))?;
    }
    // Connections of the run before may still be in TIME_WAIT; two listeners on one port stay impossible.
    socket.set_reuse_address(true).map_err(OpenError::io("SO_REUSEADDR"))?;
    bind(&socket, family, port)?;
    socket.listen(BACKLOG).map_err(OpenError::io("listening on TCP"))?;
    Ok(socket)
}

fn bind(socket: &Socket, family: Family, port: u16) -> Result<(), OpenError> {
    socket.bind(&family.any(port).into()).map_err(|source| match source.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => OpenError::NoFamily { family },
        _ => OpenError::Io { what: "binding the node's own port", source },
    })
}

#[cfg(test)]
mod tests;

//! Decides how the discovery port is shared, which groups are joined on which interfaces, and what happens when it is
//! taken.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;

use kodikon_core::ground::id::InterfaceIndex;
use socket2::{InterfaceIndexOrAddress, SockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::inbox::Inbox;
use super::{Family, GROUP_V4, GROUP_V6, OpenError, SocketReport, holder, report, udp};
use crate::sys;

/// What pending errors a receive may meet before it is left for the next turn; a discovery socket sends nothing, so it
/// should meet none.
const RETRIES: usize = 4;

/// The two discovery sockets, as far as they could be had.
#[derive(Debug)]
pub(crate) struct Discovery {
    port: u16,
    v4: Result<DiscoverySocket, OpenError>,
    v6: Result<DiscoverySocket, OpenError>,
}

impl Discovery {
    /// Opens both on `port`. What fails is told by [`Discovery::problems`]; the node goes on with what it has.
    ///
    /// Needs a tokio runtime with I/O around it.
    #[must_use]
    pub(crate) fn open(port: u16) -> Self {
        Self { port, v4: DiscoverySocket::open(Family::V4, port), v6: DiscoverySocket::open(Family::V6, port) }
    }

    /// Tries again what failed before; returns whether anything was gained. The groups are then to be joined again.
    pub(crate) fn retry(&mut self) -> bool {
        let mut gained = false;
        for (socket, family) in [(&mut self.v4, Family::V4), (&mut self.v6, Family::V6)] {
            if socket.is_err() {
                *socket = DiscoverySocket::open(family, self.port);
                gained |= socket.is_ok();
            }
        }
        gained
    }

    /// Returns what could not be opened, and why. A host without IPv6 is no problem.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &OpenError> {
        let problem = |error: &&OpenError| !matches!(error, OpenError::NoFamily { .. });
        [self.v4.as_ref().err(), self.v6.as_ref().err()].into_iter().flatten().filter(problem)
    }

    /// Returns the socket of one family, if it could be had.
    #[must_use]
    pub(crate) fn socket(&self, family: Family) -> Option<&DiscoverySocket> {
        match family {
            Family::V4 => self.v4.as_ref().ok(),
            Family::V6 => self.v6.as_ref().ok(),
        }
    }

    /// Joins the groups on the interfaces of `usable`, best first, and forgets those that are not among `present` any
    /// more.
    pub(crate) fn follow(&mut self, usable: &[InterfaceIndex], present: &[InterfaceIndex]) {
        for socket in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            socket.follow(usable, present);
        }
    }

    /// Waits until a socket of this family has something; for ever where there is none. Dropping the future loses
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

    /// Takes what a socket of this family has into `inbox`.
    ///
    /// # Errors
    /// As [`DiscoverySocket::receive`].
    pub(crate) fn receive(&self, family: Family, inbox: &mut Inbox) -> io::Result<()> {
        inbox.clear();
        self.socket(family).map_or(Ok(()), |socket| socket.receive(inbox))
    }
}

/// One socket on the discovery port. It only listens: what it would send should come from the node's own port, to be
/// answered there.
#[derive(Debug)]
pub(crate) struct DiscoverySocket {
    family: Family,
    socket: UdpSocket,
    joined: BTreeSet<InterfaceIndex>,
}

impl DiscoverySocket {
    /// Opens it for one version of IP.
    ///
    /// # Errors
    /// [`OpenError::PortTaken`] when a program that does not share holds the port.
    pub(crate) fn open(family: Family, port: u16) -> Result<Self, OpenError> {
        let socket = udp(family)?;
        // Each node of this host then gets its own copy of every multicast and broadcast. SO_REUSEPORT would ask for
        // one user for all of them, and would keep out those that set only this.
        socket.set_reuse_address(true).map_err(OpenError::io("SO_REUSEADDR"))?;
        // Otherwise whatever any program of this host joined on any interface would arrive here.
        match family {
            Family::V4 => socket.set_multicast_all_v4(false).map_err(OpenError::io("IP_MULTICAST_ALL"))?,
            // Linux before 4.20 does not know it; what arrives then in excess opens with no key of ours.
            Family::V6 => drop(socket.set_multicast_all_v6(false)),
        }
        sys::report_arrival(socket.as_fd(), family == Family::V6).map_err(OpenError::io("IP_PKTINFO"))?;
        socket.bind(&family.any(port).into()).map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => OpenError::PortTaken { port, holder: holder::find(port) },
            Some(libc::EADDRNOTAVAIL) => OpenError::NoFamily { family },
            _ => OpenError::Io { what: "binding the discovery port", source },
        })?;
        let socket = UdpSocket::from_std(socket.into()).map_err(OpenError::io("registering the discovery socket"))?;
        Ok(Self { family, socket, joined: BTreeSet::new() })
    }

    /// Joins and forgets; see [`Discovery::follow`]. A join that fails is tried again at the next change.
    pub(crate) fn follow(&mut self, usable: &[InterfaceIndex], present: &[InterfaceIndex]) {
        // The kernel forgot the membership together with the interface; under its old number it will not come back.
        self.joined.retain(|index| present.contains(index));
        for &index in usable {
            if self.joined.contains(&index) {
                continue;
            }
            let mut result = self.join(index);
            if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOBUFS)) {
                // The kernel's limit (igmp_max_memberships): those that are not usable now make room for those that
                // are.
                self.leave_all_but(usable);
                result = self.join(index);
            }
            match result {
                Ok(()) => _ = self.joined.insert(index),
                Err(error) => tracing::debug!(interface = index.0, family = ?self.family, %error, "group not joined"),
            }
        }
    }

    fn join(&self, index: InterfaceIndex) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let joined = match self.family {
            Family::V4 => socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index.0)),
            Family::V6 => socket.join_multicast_v6(&GROUP_V6, index.0),
        };
        match joined {
            // Already a member, which is all we wanted.
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
            other => other,
        }
    }

    fn leave_all_but(&mut self, usable: &[InterfaceIndex]) {
        let socket = SockRef::from(&self.socket);
        self.joined.retain(|index| {
            let keep = usable.contains(index);
            if !keep {
                // It fails only for a membership that is gone already.
                let _ = match self.family {
                    Family::V4 => socket.leave_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index.0)),
                    Family::V6 => socket.leave_multicast_v6(&GROUP_V6, index.0),
                };
            }
            keep
        });
    }

    /// Returns what `doctor` shows of it.
    ///
    /// # Errors
    /// Does not happen while the process keeps its descriptors.
    pub(crate) fn report(&self) -> io::Result<SocketReport> {
        report(&self.socket)
    }

    /// Waits until there is something to receive. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        poll_fn(|cx| self.socket.poll_recv_ready(cx)).await
    }

    /// Takes what has arrived into the emptied `inbox`, which may stay empty.
    ///
    /// # Errors
    /// What the system said, other than that there is nothing.
    pub(crate) fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        inbox.clear();
        let mut retries = RETRIES;
        let received = self.socket.try_io(Interest::READABLE, || {
            loop {
                match inbox.push(|buffer| sys::receive(self.socket.as_fd(), buffer)) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock || retries == 0 => return Err(error),
                    Err(_) => retries -= 1,
                }
            }
        });
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

//! Decides what this host's network interfaces are right now, and when that has changed enough to tell.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::time::Duration;

use kodikon_core::effect::Interface;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::sys;

mod admission;
mod choice;
mod netlink;
mod tables;

pub(crate) use admission::Admission;
pub(crate) use choice::{Choice, choose};
use netlink::{Fact, Table};
use tables::Tables;

/// One command of a person makes several events (link, address, address); they are told as one change.
const QUIET: Duration = Duration::from_millis(20);
/// However long the events go on, a change is told after this.
const QUIET_MAX: Duration = Duration::from_millis(200);
/// The kernel fills at most 32 KiB at once (`net/netlink/af_netlink.c`).
const BUFFER: usize = 32 << 10;
/// A dump that is torn this often in a row is taken as it is, and the next event mends it; one refused this often is an
/// error.
const RESTARTS_MAX: u32 = 16;

/// Watches the host's interfaces through the kernel's route netlink.
#[derive(Debug)]
pub(crate) struct InterfaceWatch {
    socket: UdpSocket,
    buffer: Box<[u8]>,
    tables: Tables,
    phase: Phase,
    /// What we know may have holes: the tables changed while they were dumped, or events were lost.
    torn: bool,
    restarts: u32,
    due: Option<Due>,
    told: Option<Vec<Interface>>,
}

/// Where the conversation with the kernel stands. It dumps one table at a time; nothing is told before both are whole.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Ask(Table),
    Dump(Table),
    Follow,
}

/// When to tell, and when at the latest, once something may have changed.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    latest: Instant,
}

impl InterfaceWatch {
    /// Opens the watch. Needs a tokio runtime with I/O and time around it.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::from_std(sys::netlink_socket()?)?,
            buffer: vec![0; BUFFER].into(),
            tables: Tables::default(),
            phase: Phase::Ask(Table::Links),
            torn: false,
            restarts: 0,
            due: None,
            told: None,
        })
    }

    /// Waits for a list that differs from the one returned before; the first call returns the first list, after a
    /// fraction of a millisecond.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the kernel refuses to tell. A new watch may fare better.
    pub(crate) async fn changed(&mut self) -> io::Result<Vec<Interface>> {
        loop {
            match (self.phase, self.due) {
                (Phase::Ask(table), _) => {
                    self.socket.writable().await?;
                    self.ask(table)?;
                }
                (Phase::Dump(_), _) | (Phase::Follow, None) => {
                    poll_fn(|cx| self.socket.poll_recv_ready(cx)).await?;
                    self.read()?;
                }
                (Phase::Follow, Some(due)) => tokio::select! {
                    biased;
                    () = sleep_until(due.at.min(due.latest)) => {
                        self.due = None;
                        if let Some(interfaces) = self.news() {
                            return Ok(interfaces);
                        }
                    }
                    ready = poll_fn(|cx| self.socket.poll_recv_ready(cx)) => {
                        ready?;
                        self.read()?;
                    }
                },
            }
        }
    }

    fn ask(&mut self, table: Table) -> io::Result<()> {
        match self.socket.try_send(&netlink::request(table)) {
            Ok(_) => {
                if table == Table::Links {
                    self.tables = Tables::default();
                    self.torn = false;
                }
                self.phase = Phase::Dump(table);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        match self.socket.try_recv(&mut self.buffer) {
            Ok(len) => self.digest(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // Events came faster than they were read, so some are lost.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.torn = true;
                self.advance(false)
            }
            Err(error) => Err(error),
        }
    }

    fn digest(&mut self, len: usize) -> io::Result<()> {
        let mut ended = false;
        for fact in netlink::facts(&self.buffer[..len]) {
            match fact {
                Fact::Link(link) => self.tables.link(link),
                Fact::LinkGone(index) => self.tables.link_gone(index),
                Fact::Address(index, address) => self.tables.address(index, address),
                Fact::AddressGone(index, address) => self.tables.address_gone(index, address),
                Fact::Torn => self.torn = true,
                Fact::Done => ended = true,
                Fact::Refused => (self.torn, ended) = (true, true),
            }
        }
        self.advance(ended)
    }

    /// Moves on after a message; `ended` says that it was the last of a dump.
    fn advance(&mut self, ended: bool) -> io::Result<()> {
        let now = Instant::now();
        match self.phase {
            Phase::Dump(_) if ended && self.torn => {
                self.restarts += 1;
                if self.restarts > RESTARTS_MAX {
                    return Err(io::Error::other("the kernel refuses to list the network interfaces"));
                }
                self.phase = Phase::Ask(Table::Links);
            }
            Phase::Dump(Table::Links) if ended => self.phase = Phase::Ask(Table::Addresses),
            Phase::Dump(Table::Addresses) if ended => {
                self.restarts = 0;
                self.phase = Phase::Follow;
                self.due = Some(Due { at: now, latest: now });
            }
            Phase::Follow if self.torn => self.phase = Phase::Ask(Table::Links),
            Phase::Follow => {
                let latest = self.due.map_or(now + QUIET_MAX, |due| due.latest);
                self.due = Some(Due { at: now + QUIET, latest });
            }
            Phase::Ask(_) | Phase::Dump(_) => {}
        }
        Ok(())
    }

    /// The list, if it differs from the one told before.
    fn news(&mut self) -> Option<Vec<Interface>> {
        let interfaces = self.tables.interfaces(is_wireless);
        if self.told.as_ref() == Some(&interfaces) {
            return None;
        }
        self.told = Some(interfaces.clone());
        Some(interfaces)
    }
}

/// Route netlink does not say what is Wi-Fi; sysfs does, and where there is none, names do.
fn is_wireless(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("phy80211").exists() || name.starts_with("wl")
}

#[cfg(test)]
mod tests;

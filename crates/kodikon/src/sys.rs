//! Decides nothing: the few Linux calls that neither std nor socket2 nor quinn-udp offers, each behind a safe face. The
//! only file with `unsafe`.
//!
//! What the kernel writes (control messages, addresses, error records) is read as bytes by total functions below, never
//! by casting pointers.
#![expect(unsafe_code, reason = "the one file that calls libc; every block says why it is sound and has a test")]

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;
use std::{io, mem};

use libc::c_int;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const NETLINK_GROUPS: u32 = 0x111;
/// The kernel's `size_t` in front of every control message, and the boundary each is padded to.
const WORD: usize = size_of::<usize>();
/// Place for the widest set we ask for (an error record with its offender is 72 bytes), several times over.
const CONTROL_LEN: usize = 256;
/// `SK_MEMINFO_DROPS`, the last of the nine numbers behind `SO_MEMINFO` (linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;

/// What `receive` learned of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes written into the buffer.
    pub(crate) len: usize,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// The interface it came in on; 0 when the kernel did not say.
    pub(crate) interface: u32,
    /// The destination in its IP header.
    pub(crate) destination: Option<IpAddr>,
    /// The own IPv4 address it was accepted for, which differs from the destination when that was a broadcast.
    pub(crate) accepted_for: Option<Ipv4Addr>,
}

/// One record of a socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// Where our datagram was going.
    pub(crate) destination: Option<SocketAddr>,
    /// What the record says.
    pub(crate) record: ErrorRecord,
}

/// `sock_extended_err` (linux/errqueue.h), without the fields nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorRecord {
    /// The error as a system call would report it.
    pub(crate) errno: c_int,
    /// Who found it: 1 this host, 2 ICMP, 3 ICMPv6.
    pub(crate) origin: u8,
    /// The path MTU, where the error is about size.
    pub(crate) info: u32,
    /// Who reported it.
    pub(crate) offender: Option<IpAddr>,
}

/// Time since boot, suspended time included (`CLOCK_BOOTTIME`).
pub(crate) fn boot_time() -> Duration {
    read_clock(libc::CLOCK_BOOTTIME)
}

/// Time since boot, suspended time left out (`CLOCK_MONOTONIC`).
pub(crate) fn monotonic_time() -> Duration {
    read_clock(libc::CLOCK_MONOTONIC)
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    // SAFETY: a timespec is two integers, for which zero is a value.
    let mut now: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: `now` is a timespec we own, which the call fills and does not keep.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(failed, 0, "every Linux since 2.6.39 has CLOCK_MONOTONIC and CLOCK_BOOTTIME");
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// `struct sched_attr` in its first form (linux/sched/types.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of threads that are scheduled in the usual way: the slice, in nanoseconds.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SCHEDULING_LEN: u32 = size_of::<Scheduling>() as u32;

/// How this thread is scheduled.
fn scheduling() -> io::Result<Scheduling> {
    let mut found = Scheduling::default();
    // SAFETY: pointer and length describe `found`, which is integers alone and lives through the call; 0 is this thread, and no flag.
    let failed = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, SCHEDULING_LEN, 0) };
    if failed == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// Sets how long this thread runs at a time where others want its processor; `None`: as long as the system lets all. A thread that is
/// scheduled in another way than most is left as it is.
///
/// # Errors
/// When the kernel refuses (a sandbox).
pub(crate) fn set_slice(slice: Option<Duration>) -> io::Result<()> {
    let mut wanted = scheduling()?;
    if c_int::try_from(wanted.policy) != Ok(libc::SCHED_OTHER) {
        return Ok(());
    }
    wanted.runtime = slice.map_or(0, |slice| u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX));
    // SAFETY: the pointer is to integers that we own, which the call reads; they hold their size; 0 is this thread, and no flag.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Fills `buffer` from the kernel's generator, waiting at an early boot until that is seeded.
///
/// # Errors
/// When the system call is refused (a sandbox).
pub(crate) fn random(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        // SAFETY: pointer and length describe `rest`, which lives through the call.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => retry_interrupted()?,
        }
    }
    Ok(())
}

/// Opens a route netlink socket that hears link and address changes.
///
/// It comes as a `UdpSocket` because tokio registers those safely; only `send` and `recv` mean something on it.
///
/// # Errors
/// When the kernel refuses (no netlink in a sandbox, no file descriptors left).
pub(crate) fn netlink_socket() -> io::Result<UdpSocket> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_nl is four integers, fits into the storage, and is valid when zero.
    let address = unsafe { storage.view_as::<libc::sockaddr_nl>() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = NETLINK_GROUPS;
    // SAFETY: the storage holds a sockaddr_nl of exactly this length.
    let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_nl>() as libc::socklen_t) };
    socket.bind(&address)?;
    Ok(UdpSocket::from(socket))
}

/// Asks the kernel to say with each datagram on which interface it came in and for which address.
///
/// # Errors
/// When the socket is not of this family.
pub(crate) fn report_arrival(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    set_option(socket, level, name, 1)
}

fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which outlives the call; the kernel checks level and name.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets tokio wait for what a UDP socket receives, its error queue included, and for nothing else. Needs a tokio runtime with I/O
/// around it.
///
/// tokio's own sockets also wait for room to send: the kernel then says after each datagram that it has left, and wakes the
/// loop once more for each of them.
///
/// What is in the error queue makes it readable as well, so that one place to be woken is enough: tokio keeps that from turn to
/// turn, where it enters and strikes out those who wait for anything else anew each time.
///
/// # Errors
/// When the kernel refuses to watch it.
pub(crate) fn watch_receiving(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SELECT_ERR_QUEUE, 1)?;
    // SAFETY: a UdpSocket keeps its descriptor open and unchanged until it is dropped, which AsyncFd does last.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE | Interest::PRIORITY | Interest::ERROR) }?)
}

/// How many datagrams the kernel dropped because this socket's receive buffer was full.
///
/// # Errors
/// On kernels before 4.12.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut memory = [0u32; MEMINFO_DROPS + 1];
    let mut len = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `memory`, and any bytes are valid numbers.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if failed == 0 { Ok(memory[MEMINFO_DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// Receives one datagram, with how it arrived.
///
/// # Errors
/// `WouldBlock` when there is none; what the socket has pending; `InvalidData` for a sender that is not an IP address.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let message = receive_message(socket, buffer, libc::MSG_DONTWAIT)?;
    let from = parse_address(message.name()).ok_or(io::ErrorKind::InvalidData)?;
    let mut received = Received {
        len: message.len,
        truncated: message.flags & libc::MSG_TRUNC != 0,
        from,
        interface: 0,
        destination: None,
        accepted_for: None,
    };
    for control in ControlMessages(message.control()) {
        read_packet_info(control, &mut received);
    }
    Ok(received)
}

/// Takes one record from a socket's error queue, or `None` when it is empty.
///
/// # Errors
/// What the system call reports, other than an empty queue.
pub(crate) fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<QueuedError>> {
    let message = match receive_message(socket, &mut [0; 1], libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) {
        Ok(message) => message,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let destination = parse_address(message.name());
    let record = ControlMessages(message.control()).find_map(parse_error_record).unwrap_or(ErrorRecord {
        errno: 0,
        origin: 0,
        info: 0,
        offender: None,
    });
    Ok(Some(QueuedError { destination, record }))
}

/// A timer of the kernel that counts suspended time and has no millisecond ticks, for tokio to wait on.
#[derive(Debug)]
pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Makes a timer that is not set. Needs a tokio runtime with I/O around it.
    ///
    /// # Errors
    /// When the kernel has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two numbers and returns a number.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an OwnedFd keeps its descriptor open and unchanged until it is dropped, which AsyncFd does last.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Sets it to `at` on the clock of [`boot_time`]; a past moment fires at once, `None` never.
    ///
    /// # Errors
    /// Does not happen with a descriptor of this type.
    pub(crate) fn set(&self, at: Option<Duration>) -> io::Result<()> {
        // Zero would mean "never" to the kernel; a nanosecond after boot is as past as zero is.
        let at = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        // SAFETY: an itimerspec is four integers, for which zero is a value.
        let mut spec: libc::itimerspec = unsafe { mem::zeroed() };
        spec.it_value.tv_sec = libc::time_t::try_from(at.as_secs()).unwrap_or(libc::time_t::MAX);
        spec.it_value.tv_nsec = at.subsec_nanos().into();
        let fd = self.0.get_ref().as_raw_fd();
        // SAFETY: `spec` is an itimerspec that lives through the call; the old value is not asked for.
        let failed =
            unsafe { libc::timerfd_settime(fd, libc::TFD_TIMER_ABSTIME, &raw const spec, std::ptr::null_mut()) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until the moment last set has come. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn fired(&self) -> io::Result<()> {
        loop {
            let mut ready = poll_fn(|cx| self.0.poll_read_ready(cx)).await?;
            // Reading resets it; a timer set anew in the meantime has nothing to read, and is waited for again.
            if let Ok(count) = ready.try_io(|fd| read_counter(fd.get_ref().as_fd())) {
                // There is nothing more to read; the next moment makes a new event.
                ready.clear_ready();
                return count.map(|_| ());
            }
        }
    }
}

fn read_counter(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut counter = [0u8; size_of::<u64>()];
    loop {
        // SAFETY: pointer and length describe `counter`, which lives through the call.
        let count = unsafe { libc::read(fd.as_raw_fd(), counter.as_mut_ptr().cast(), counter.len()) };
        if count >= 0 {
            return Ok(u64::from_ne_bytes(counter));
        }
        retry_interrupted()?;
    }
}

/// Lets go of the code and constants of the program and its libraries that are mapped here: what runs is mapped again from the page
/// cache as it runs, some 16 pages at a time, and what only the start needed stays out. Returns how many bytes that may be.
///
/// For a program that runs for long on a small machine, to be called some seconds after its start and again from time to time; it takes
/// some tenths of a millisecond, and as long again where the pages are next needed. Breakpoints of a debugger do not survive it.
#[must_use]
pub fn unmap_idle_program() -> usize {
    let mut dropped = 0usize;
    // SAFETY: the callback fits the signature, does not keep what it is given and cannot panic; the count outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(drop_idle_pages), (&raw mut dropped).cast()) };
    dropped
}

/// Called for the program and each library, with the loader's lock held: none of them is unloaded meanwhile.
unsafe extern "C" fn drop_idle_pages(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    dropped: *mut libc::c_void,
) -> c_int {
    // SAFETY: the loader hands over an object it describes, and its headers, as many as it says.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    let frozen = headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
    for (begin, len) in frozen.filter_map(|header| pages_of(base.wrapping_add(header.p_vaddr), header.p_memsz)) {
        let address = std::ptr::with_exposed_provenance_mut(begin);
        // SAFETY: a segment that the loader mapped from its file and that is not writable: position-independent code and constants, where
        // nothing is relocated, so that what is read again from the file is what was there.
        if unsafe { libc::madvise(address, len, libc::MADV_DONTNEED) } == 0 {
            // SAFETY: the count that the call above handed over, which nobody else holds meanwhile.
            unsafe { *dropped.cast::<usize>() += len };
        }
    }
    0
}

/// The whole pages of a segment, from the one it begins in on.
fn pages_of(begin: u64, len: u64) -> Option<(usize, usize)> {
    let (begin, end) = (usize::try_from(begin).ok()?, usize::try_from(begin.checked_add(len)?).ok()?);
    // SAFETY: takes a number and gives one.
    let page =
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| page.is_power_of_two())?;
    let first = begin & !(page - 1);
    Some((first, end.checked_next_multiple_of(page)?.checked_sub(first)?))
}

/// Moves the calling thread into a fresh network namespace, where even the loopback is down.
#[cfg(test)]
pub(crate) fn enter_empty_namespace() -> io::Result<()> {
    // SAFETY: takes a number, changes only which network this thread sees.
    let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Aligned as the kernel aligns control messages and addresses.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);

struct Message {
    len: usize,
    flags: c_int,
    name: Aligned<{ size_of::<libc::sockaddr_storage>() }>,
    name_len: usize,
    control: Aligned<CONTROL_LEN>,
    control_len: usize,
}

impl Message {
    fn name(&self) -> &[u8] {
        &self.name.0[..self.name_len.min(self.name.0.len())]
    }

    fn control(&self) -> &[u8] {
        &self.control.0[..self.control_len.min(CONTROL_LEN)]
    }
}

fn receive_message(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> io::Result<Message> {
    let mut message = Message {
        len: 0,
        flags: 0,
        name: Aligned([0; size_of::<libc::sockaddr_storage>()]),
        name_len: 0,
        control: Aligned([0; CONTROL_LEN]),
        control_len: 0,
    };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr is numbers and nullable pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = message.name.0.as_mut_ptr().cast();
    header.msg_namelen = message.name.0.len() as _;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = message.control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
    let len = loop {
        // SAFETY: every pointer in `header` is to memory we own, of the length that stands beside it, alive through the
        // call.
        let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match usize::try_from(len) {
            Ok(len) => break len,
            Err(_) => retry_interrupted()?,
        }
    };
    message.len = len.min(buffer.len());
    message.flags = header.msg_flags;
    message.name_len = header.msg_namelen as usize;
    message.control_len = header.msg_controllen as usize;
    Ok(message)
}

/// `Ok` when the call that has just failed was only interrupted by a signal.
fn retry_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// One control message: level, type, data.
type Control<'a> = (c_int, c_int, &'a [u8]);

/// Walks the control messages the kernel wrote; ends at the first that does not fit.
struct ControlMessages<'a>(&'a [u8]);

impl<'a> Iterator for ControlMessages<'a> {
    type Item = Control<'a>;

    fn next(&mut self) -> Option<Control<'a>> {
        let head = WORD + 2 * size_of::<c_int>();
        let len = usize::from_ne_bytes(bytes_at(self.0, 0)?);
        let level = c_int::from_ne_bytes(bytes_at(self.0, WORD)?);
        let kind = c_int::from_ne_bytes(bytes_at(self.0, WORD + size_of::<c_int>())?);
        let data = self.0.get(head.next_multiple_of(WORD)..len)?;
        self.0 = self.0.get(len.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes_at(bytes, 0)?);
    let port = u16::from_be_bytes(bytes_at(bytes, 2)?);
    match c_int::from(family) {
        libc::AF_INET => Some((Ipv4Addr::from(bytes_at::<4>(bytes, 4)?), port).into()),
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(bytes_at(bytes, 4)?);
            let address = Ipv6Addr::from(bytes_at::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(bytes_at(bytes, 24)?);
            Some(SocketAddrV6::new(address, port, flow, scope).into())
        }
        _ => None,
    }
}

/// Reads `in_pktinfo` {interface, own address, header's destination} or `in6_pktinfo` {destination, interface}.
fn read_packet_info((level, kind, data): Control<'_>, received: &mut Received) {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            received.interface = bytes_at(data, 0).map_or(0, u32::from_ne_bytes);
            received.accepted_for = bytes_at::<4>(data, 4).map(Ipv4Addr::from);
            received.destination = bytes_at::<4>(data, 8).map(|octets| Ipv4Addr::from(octets).into());
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            received.destination = bytes_at::<16>(data, 0).map(|octets| Ipv6Addr::from(octets).into());
            received.interface = bytes_at(data, 16).map_or(0, u32::from_ne_bytes);
        }
        _ => {}
    }
}

/// Reads `sock_extended_err` {errno, origin, type, code, pad, info, data} and the offender's address behind it.
fn parse_error_record((level, kind, data): Control<'_>) -> Option<ErrorRecord> {
    let ours = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
    if !ours.contains(&(level, kind)) {
        return None;
    }
    Some(ErrorRecord {
        errno: c_int::from_ne_bytes(bytes_at(data, 0)?),
        origin: *data.get(4)?,
        info: u32::from_ne_bytes(bytes_at(data, 8)?),
        offender: parse_address(data.get(16..)?).map(|address| address.ip()),
    })
}

#[cfg(test)]
mod tests;

//! Decides how a node's few TCP streams are opened, bounded, cut into frames, and found to have ended.
//!
//! Most of them are idle for ever: their only purpose is that the kernel ends them when a process dies. A frame is
//! preceded by its length in two bytes, most significant first.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use kodikon_core::effect::{StreamUse, StreamWish};
use kodikon_core::ground::id::{NodeId, StreamId};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

use super::inbox::is_somebody;
use super::listener::Listeners;
use super::ways::scoped;
use crate::interfaces::Admission;

/// Streams at once, of both directions (`docs/operations.md`, Limits).
const STREAMS_MAX: usize = 64;
/// Of these, at most so many that others opened and have not said anything on: strangers must not take the place of our
/// own.
const HALF_OPEN_MAX: usize = 32;
/// Of these, at most so many from one address.
const HALF_OPEN_A_SOURCE: usize = 4;
/// Within this time the first frame must come.
const FIRST_FRAME: Duration = Duration::from_secs(1);
/// Within this time a stream we open must stand: long enough for the kernel to repeat a lost SYN, which it does after a
/// second.
const CONNECT: Duration = Duration::from_millis(2_500);
/// Bytes that wait to be written on one stream; one that takes no more for so long is no use.
const OUTPUT_MAX: usize = 256 << 10;
/// Read from one stream before the next has its turn.
const READ: usize = 16 << 10;
/// Connections refused in one turn; a flood of them must not hold the loop.
const REFUSALS_A_TURN: usize = 64;
const LENGTH: usize = 2;

/// What happened to the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// Somebody opened one to us.
    Offered {
        /// Its number.
        stream: StreamId,
        /// From where.
        from: SocketAddr,
    },
    /// One that was asked for stands.
    Opened {
        /// Its number.
        stream: StreamId,
        /// To whom it was asked for.
        peer: NodeId,
        /// And what for.
        purpose: StreamUse,
    },
    /// One that was asked for could not be had.
    Failed {
        /// To whom.
        peer: NodeId,
        /// And what for.
        purpose: StreamUse,
    },
    /// A whole frame arrived.
    Frame {
        /// On which.
        stream: StreamId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// The other side, or its kernel, ended one; or it broke a rule and we did.
    Ended {
        /// Which.
        stream: StreamId,
    },
}

/// What was refused or ended, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamStats {
    /// Connections closed unread because there were too many, in all or from that address, or because the node wants none
    /// from there or over that interface.
    pub refused: u64,
    /// Streams ended because no frame came in time.
    pub silent: u64,
    /// Streams ended because of an empty frame or too much to write.
    pub broken: u64,
}

/// All TCP streams of a node.
#[derive(Debug)]
pub(crate) struct Streams {
    listeners: Listeners,
    open: BTreeMap<StreamId, Stream>,
    connecting: Vec<Connecting>,
    events: VecDeque<StreamEvent>,
    last: StreamId,
    /// The stream that was read last: the next one comes first now.
    turn: StreamId,
    timer: Pin<Box<Sleep>>,
    admission: Admission,
    stats: StreamStats,
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    from: SocketAddr,
    /// Until when somebody who opened it must say something.
    silent_until: Option<Instant>,
    input: Vec<u8>,
    output: VecDeque<u8>,
}

struct Connecting {
    peer: NodeId,
    purpose: StreamUse,
    until: Instant,
    attempt: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connecting").field("peer", &self.peer).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Streams {
    /// Takes over the listeners. Needs a tokio runtime with I/O and time around it.
    #[must_use]
    pub(crate) fn new(listeners: Listeners) -> Self {
        Self {
            listeners,
            open: BTreeMap::new(),
            connecting: Vec::new(),
            events: VecDeque::new(),
            last: StreamId(0),
            turn: StreamId(0),
            timer: Box::pin(sleep_until(Instant::now())),
            admission: Admission::default(),
            stats: StreamStats::default(),
        }
    }

    /// Learns over which interfaces connections may come and go. Those that stand are left alone.
    pub(crate) fn admit(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// Carries out what the node wishes.
    pub(crate) fn wish(&mut self, wish: StreamWish) {
        match wish {
            StreamWish::Connect { peer, purpose, to, interface } => {
                self.connect((peer, purpose), scoped(to, interface))
            }
            StreamWish::Send { stream, bytes } => self.send(stream, &bytes),
            StreamWish::Close { stream } => self.close(stream),
        }
    }

    fn connect(&mut self, (peer, purpose): (NodeId, StreamUse), to: SocketAddr) {
        if self.open.len() + self.connecting.len() >= STREAMS_MAX || !is_somebody(&to) {
            self.stats.refused += 1;
            self.events.push_back(StreamEvent::Failed { peer, purpose });
            return;
        }
        let attempt = Box::pin(async move {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.connect(to).await
        });
        self.connecting.push(Connecting { peer, purpose, until: Instant::now() + CONNECT, attempt });
    }

    fn send(&mut self, id: StreamId, bytes: &[u8]) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let length = u16::try_from(bytes.len()).ok().filter(|&length| length != 0);
        let room = OUTPUT_MAX.saturating_sub(stream.output.len());
        let Some(length) = length.filter(|_| LENGTH + bytes.len() <= room) else {
            self.stats.broken += 1;
            return self.end(id);
        };
        stream.output.extend(length.to_be_bytes());
        stream.output.extend(bytes);
        if stream.write().is_err() {
            self.end(id);
        }
    }

    fn close(&mut self, id: StreamId) {
        if let Some(stream) = self.open.remove(&id)
            && stream.silent_until.is_some()
        {
            // The node wants nothing from there, or has enough that say nothing.
            self.stats.refused += 1;
            turn_away(&stream.socket);
        }
        // It may have ended, or said something, just before; the node has no ear for it any more.
        self.events.retain(|event| match event {
            StreamEvent::Offered { stream, .. }
            | StreamEvent::Opened { stream, .. }
            | StreamEvent::Frame { stream, .. }
            | StreamEvent::Ended { stream } => *stream != id,
            StreamEvent::Failed { .. } => true,
        });
    }

    /// Waits for what happens next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> StreamEvent {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What has happened already. Whoever is to be woken must ask for the next after that.
    pub(crate) fn waiting(&mut self) -> Option<StreamEvent> {
        match self.poll_next(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<StreamEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            self.poll_connecting(cx);
            self.poll_listeners(cx);
            self.poll_open(cx);
            if self.events.is_empty() && self.poll_deadlines(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_connecting(&mut self, cx: &mut Context<'_>) {
        let mut index = 0;
        while let Some(connecting) = self.connecting.get_mut(index) {
            let Poll::Ready(result) = connecting.attempt.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            let Connecting { peer, purpose, .. } = self.connecting.swap_remove(index);
            let event = match result.and_then(|socket| self.admitted(socket)) {
                Ok((from, socket)) => StreamEvent::Opened { stream: self.insert(socket, from, None), peer, purpose },
                Err(error) => {
                    tracing::debug!(?peer, %error, "stream not opened");
                    StreamEvent::Failed { peer, purpose }
                }
            };
            self.events.push_back(event);
        }
    }

    fn poll_listeners(&mut self, cx: &mut Context<'_>) {
        let mut refusals = 0;
        while let Poll::Ready((socket, from)) = self.listeners.poll_accept(cx) {
            if self.may_accept(&from) && socket.local_addr().is_ok_and(|local| self.admission.connects(local)) {
                let stream = self.insert(socket, from, Some(Instant::now() + FIRST_FRAME));
                self.events.push_back(StreamEvent::Offered { stream, from });
                continue;
            }
            self.stats.refused += 1;
            turn_away(&socket);
            refusals += 1;
            if refusals == REFUSALS_A_TURN {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }

    /// A connection we opened and where it leads, unless the kernel took another interface for it than it may.
    fn admitted(&self, socket: TcpStream) -> io::Result<(SocketAddr, TcpStream)> {
        if self.admission.connects(socket.local_addr()?) {
            return Ok((socket.peer_addr()?, socket));
        }
        turn_away(&socket);
        Err(io::Error::other("it leaves by an interface that is not used"))
    }

    fn may_accept(&self, from: &SocketAddr) -> bool {
        let half_open = || self.open.values().filter(|stream| stream.silent_until.is_some());
        self.open.len() + self.connecting.len() < STREAMS_MAX
            && half_open().count() < HALF_OPEN_MAX
            && half_open().filter(|stream| stream.from.ip() == from.ip()).count() < HALF_OPEN_A_SOURCE
    }

    fn insert(&mut self, socket: TcpStream, from: SocketAddr, silent_until: Option<Instant>) -> StreamId {
        // Frames are small and awaited; a kernel that refuses this delays them and nothing more.
        let _ = socket.set_nodelay(true);
        self.last.0 += 1;
        let stream = Stream { socket, from, silent_until, input: Vec::new(), output: VecDeque::new() };
        self.open.insert(self.last, stream);
        self.last
    }

    /// Reads until one stream has brought something; the others have their turn when that is taken.
    fn poll_open(&mut self, cx: &mut Context<'_>) {
        for _ in 0..self.open.len() {
            if !self.events.is_empty() {
                return;
            }
            let later = self.open.range((Bound::Excluded(self.turn), Bound::Unbounded)).next();
            let Some((&id, _)) = later.or_else(|| self.open.first_key_value()) else { return };
            self.turn = id;
            let Some(stream) = self.open.get_mut(&id) else { continue };
            let alive = stream.poll_write(cx).and_then(|()| stream.poll_read(cx));
            let whole = stream.take_frames(|bytes| self.events.push_back(StreamEvent::Frame { stream: id, bytes }));
            if !whole {
                self.stats.broken += 1;
            }
            if alive.is_err() || !whole {
                self.end(id);
            }
        }
    }

    /// Ends what has waited too long; ready when there was something.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let silent = self.open.values().filter_map(|stream| stream.silent_until);
        let Some(next) = silent.chain(self.connecting.iter().map(|connecting| connecting.until)).min() else {
            return Poll::Pending;
        };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        let is_over = |until: Instant| until <= next;
        for connecting in self.connecting.extract_if(.., |connecting| is_over(connecting.until)) {
            self.events.push_back(StreamEvent::Failed { peer: connecting.peer, purpose: connecting.purpose });
        }
        let silent: Vec<StreamId> =
            self.open.iter().filter(|(_, s)| s.silent_until.is_some_and(is_over)).map(|(&id, _)| id).collect();
        for id in silent {
            self.stats.silent += 1;
            self.end(id);
        }
        Poll::Ready(())
    }

    fn end(&mut self, id: StreamId) {
        if self.open.remove(&id).is_some() {
            self.events.push_back(StreamEvent::Ended { stream: id });
        }
    }

    /// Returns how many streams stand.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns what was refused or ended.
    #[must_use]
    pub(crate) fn stats(&self) -> StreamStats {
        self.stats
    }
}

impl Stream {
    /// Reads until there is a whole frame, if there is something to read; an error when the stream has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Asked at every turn of the loop, and nearly always in vain: the buffer is not made before there is something.
        while let Poll::Ready(ready) = self.socket.poll_read_ready(cx) {
            ready?;
            if self.read()? {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; READ];
        match self.socket.try_read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.input.extend_from_slice(&buffer[..len]);
                Ok(self.has_frame())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has_frame(&self) -> bool {
        self.input
            .first_chunk()
            .is_some_and(|&length| self.input.len() >= LENGTH + usize::from(u16::from_be_bytes(length)))
    }

    /// Hands over the whole frames; false when there was an empty one, which nobody sends.
    fn take_frames(&mut self, mut take: impl FnMut(Vec<u8>)) -> bool {
        let mut at = 0;
        while let Some(&length) = self.input[at..].first_chunk::<LENGTH>() {
            let from = at + LENGTH;
            let to = from + usize::from(u16::from_be_bytes(length));
            if from == to {
                return false;
            }
            let Some(frame) = self.input.get(from..to) else { break };
            take(frame.to_vec());
            self.silent_until = None;
            at = to;
        }
        self.input.drain(..at);
        if self.input.is_empty() {
            // Idle for the rest of its life, most likely.
            self.input = Vec::new();
        }
        true
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.output.is_empty() {
            let Poll::Ready(ready) = self.socket.poll_write_ready(cx) else { break };
            ready?;
            self.write()?;
        }
        Ok(())
    }

    /// Writes what the kernel takes now.
    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.socket.try_write(self.output.as_slices().0) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Makes the end of a connection a reset, which leaves nothing behind on our side; an orderly end would wait a minute for
/// its last packet.
fn turn_away(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;

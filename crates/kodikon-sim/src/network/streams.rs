//! Decides what TCP does between two processes: who is offered what, in which order, and who learns of an end.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use kodikon_core::effect::StreamUse;
use kodikon_core::ground::id::{NodeId, StreamId};

use crate::moment::Moment;
use crate::network::host::HostId;
use crate::network::{Network, Socket};

/// From the death of a process to the packet that its kernel sends for it; with the way it makes the half millisecond
/// that was measured (driver facts: 0.45-0.54 ms p50).
const DEATH: Duration = Duration::from_micros(300);
/// A lost segment is sent again after this long, doubled each time (Linux: `TCP_RTO_MIN`).
const RETRY: Duration = Duration::from_millis(200);
/// A lost SYN is sent again after this long, doubled each time (RFC 6298 §2.1).
const SYN_RETRY: Duration = Duration::from_secs(1);
/// The driver gives a connection up that does not stand by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The kernel says at once that it knows no way; the runtime needs a turn to say so.
const NO_ROUTE: Duration = Duration::from_micros(20);
/// After this many retries, together 51 s, the kernel gives a segment up.
const RETRIES: u32 = 8;

/// A process that may own an end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Which node.
    pub node: usize,
    /// Which of its processes.
    pub run: u32,
}

/// The next thing to do for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send what waits first at this side.
    Try {
        /// Which stream.
        stream: u64,
        /// Which side sends.
        side: usize,
    },
    /// What this side sent has arrived at the other.
    Land {
        /// Which stream.
        stream: u64,
        /// Which side sent.
        side: usize,
    },
    /// The connection must stand by now.
    Deadline {
        /// Which stream.
        stream: u64,
    },
    /// A wish could not be begun.
    Refuse {
        /// Whose.
        owner: Owner,
        /// To whom, and what for.
        asked: Asked,
    },
}

/// To whom a stream is asked for, and what for.
pub type Asked = (NodeId, StreamUse);

/// What a process learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Somebody opened a stream to it.
    Offered(StreamId, SocketAddr),
    /// Its stream stands.
    Opened(StreamId, Asked),
    /// Its stream could not be had.
    Failed(Asked),
    /// A frame came.
    Frame(StreamId, Vec<u8>),
    /// The stream ended.
    Ended(StreamId),
}

/// What follows from a step.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps to enter into the agenda.
    pub steps: Vec<(Moment, Step)>,
    /// What to tell whom now.
    pub news: Vec<(Owner, News)>,
}

/// All streams of a run.
#[derive(Debug, Default)]
pub struct Streams {
    table: BTreeMap<u64, Stream>,
    opened: u64,
}

#[derive(Debug)]
struct Stream {
    asked: Asked,
    from: SocketAddr,
    ends: [End; 2],
    connecting: bool,
    // An address of it is gone: nothing passes any more, and nobody is told.
    stranded: bool,
}

#[derive(Debug)]
struct End {
    host: HostId,
    port: u16,
    // Who is to be told; `None` before it is accepted and after it is closed or dead.
    owner: Option<Owner>,
    waiting: VecDeque<Item>,
    under_way: bool,
    attempt: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Syn,
    Accept,
    Ack,
    Frame(Vec<u8>),
    Fin,
    Reset,
}

impl Streams {
    /// A process wishes a stream to whoever listens at a socket; `None` where no way leads to it.
    pub fn connect(
        &mut self,
        now: Moment,
        owner: Owner,
        (from, source): (Socket, SocketAddr),
        (to, asked): (Option<Socket>, Asked),
        outcome: &mut Outcome,
    ) {
        let Some(to) = to else {
            outcome.steps.push((now + NO_ROUTE, Step::Refuse { owner, asked }));
            return;
        };
        let number = self.opened;
        self.opened += 1;
        let end = |socket: Socket, owner| End {
            host: socket.host,
            port: socket.port,
            owner,
            waiting: VecDeque::new(),
            under_way: false,
            attempt: 0,
        };
        let ends = [end(from, Some(owner)), end(to, None)];
        self.table.insert(number, Stream { asked, from: source, ends, connecting: true, stranded: false });
        outcome.steps.push((now + CONNECT_TIMEOUT, Step::Deadline { stream: number }));
        self.push(now, (number, 0), Item::Syn, outcome);
    }

    /// A process sends a frame on a stream of its own.
    pub fn send(&mut self, now: Moment, owner: Owner, id: StreamId, bytes: Vec<u8>, outcome: &mut Outcome) {
        let (number, side) = place(id);
        if self.owner(number, side) == Some(owner) {
            self.push(now, (number, side), Item::Frame(bytes), outcome);
        }
    }

    /// A process ends a stream of its own.
    pub fn close(&mut self, now: Moment, owner: Owner, id: StreamId, outcome: &mut Outcome) {
        let (number, side) = place(id);
        if self.owner(number, side) == Some(owner) {
            self.end_of(number, side).owner = None;
            self.push(now, (number, side), Item::Fin, outcome);
        }
    }

    /// A process died: its kernel, if it still runs, ends its streams.
    pub fn owner_died(&mut self, now: Moment, owner: Owner, kernel_runs: bool, outcome: &mut Outcome) {
        let held = |stream: &Stream, side: usize| stream.ends[side].owner == Some(owner);
        let ends: Vec<(u64, usize)> = self
            .table
            .iter()
            .flat_map(|(&number, stream)| (0..2).filter(|&side| held(stream, side)).map(move |side| (number, side)))
            .collect();
        for (number, side) in ends {
            let end = self.end_of(number, side);
            end.owner = None;
            if kernel_runs {
                self.push(now + DEATH, (number, side), Item::Fin, outcome);
            } else {
                end.waiting.clear();
            }
            self.forget_if_over(number);
        }
    }

    /// An address of a host is gone: what was connected to it stalls.
    pub fn strand(&mut self, host: HostId) {
        for stream in self.table.values_mut() {
            stream.stranded |= stream.ends.iter().any(|end| end.host == host);
        }
    }

    /// Does the next thing for a stream. `listener` finds the process behind a socket.
    pub fn step(
        &mut self,
        now: Moment,
        step: Step,
        network: &mut Network,
        listener: impl Fn(Socket) -> Option<Owner>,
        outcome: &mut Outcome,
    ) {
        match step {
            Step::Try { stream, side } => self.attempt(now, (stream, side), network, outcome),
            Step::Land { stream, side } => self.land(now, (stream, side), listener, outcome),
            Step::Refuse { owner, asked } => outcome.news.push((owner, News::Failed(asked))),
            Step::Deadline { stream } => {
                let Some(held) = self.table.get_mut(&stream).filter(|stream| stream.connecting) else { return };
                let owner = held.ends[0].owner;
                outcome.news.extend(owner.map(|owner| (owner, News::Failed(held.asked))));
                self.table.remove(&stream);
            }
        }
    }

    /// How many streams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn attempt(&mut self, now: Moment, (number, side): (u64, usize), network: &mut Network, outcome: &mut Outcome) {
        let Some(stream) = self.table.get_mut(&number) else { return };
        let [from, to] = [stream.ends[side].host, stream.ends[1 - side].host];
        let firewalled = stream.connecting && network.hosts[to.place()].drops_tcp && side == 0;
        let sends = network.hosts[from.place()].on && !stream.stranded && !firewalled;
        let Some(item) = stream.ends[side].waiting.front() else {
            stream.ends[side].under_way = false;
            return self.forget_if_over(number);
        };
        let (retry, limit) = if *item == Item::Syn { (SYN_RETRY, u32::MAX) } else { (RETRY, RETRIES) };
        if sends && network.carries(now, from, to) {
            let bytes = if let Item::Frame(bytes) = item { bytes.len() } else { 0 };
            let leaves = network.leave_stream(now, (from, to), bytes);
            outcome.steps.push((leaves + network.travel(from, to), Step::Land { stream: number, side }));
            return;
        }
        let end = &mut stream.ends[side];
        if end.attempt < limit {
            let pause = retry * (1 << end.attempt.min(10));
            end.attempt += 1;
            outcome.steps.push((now + pause, Step::Try { stream: number, side }));
            return;
        }
        end.waiting.clear();
        end.under_way = false;
        let told = end.owner.take().map(|owner| (owner, News::Ended(id(number, side))));
        outcome.news.extend(told);
        self.forget_if_over(number);
    }

    fn land(
        &mut self,
        now: Moment,
        (number, side): (u64, usize),
        listener: impl Fn(Socket) -> Option<Owner>,
        outcome: &mut Outcome,
    ) {
        let Some(stream) = self.table.get_mut(&number) else { return };
        let end = &mut stream.ends[side];
        end.attempt = 0;
        end.under_way = false;
        let Some(item) = end.waiting.pop_front() else { return };
        if !end.waiting.is_empty() {
            end.under_way = true;
            outcome.steps.push((now, Step::Try { stream: number, side }));
        }
        let other = 1 - side;
        let receiver = stream.ends[other].owner;
        match item {
            Item::Syn => {
                let to = Socket { host: stream.ends[other].host, port: stream.ends[other].port };
                stream.ends[other].owner = listener(to);
                let answer = if stream.ends[other].owner.is_some() { Item::Accept } else { Item::Reset };
                self.push(now, (number, other), answer, outcome);
            }
            Item::Accept => {
                stream.connecting = false;
                let asked = stream.asked;
                let answer = if receiver.is_some() { Item::Ack } else { Item::Reset };
                self.push(now, (number, other), answer, outcome);
                outcome.news.extend(receiver.map(|owner| (owner, News::Opened(id(number, other), asked))));
            }
            Item::Ack => {
                let news = News::Offered(id(number, other), stream.from);
                outcome.news.extend(receiver.map(|owner| (owner, news)));
            }
            Item::Frame(bytes) => match receiver {
                Some(owner) => outcome.news.push((owner, News::Frame(id(number, other), bytes))),
                None => self.push(now, (number, other), Item::Reset, outcome),
            },
            Item::Fin | Item::Reset => self.end_at(number, other, outcome),
        }
        self.forget_if_over(number);
    }

    /// One side learns that the stream is over.
    fn end_at(&mut self, number: u64, side: usize, outcome: &mut Outcome) {
        let Some(stream) = self.table.get_mut(&number) else { return };
        let failed = stream.connecting && side == 0;
        let asked = stream.asked;
        let news = if failed { News::Failed(asked) } else { News::Ended(id(number, side)) };
        outcome.news.extend(stream.ends[side].owner.take().map(|owner| (owner, news)));
        stream.ends[side].waiting.clear();
        stream.connecting = false;
    }

    fn push(&mut self, now: Moment, (number, side): (u64, usize), item: Item, outcome: &mut Outcome) {
        let end = self.end_of(number, side);
        end.waiting.push_back(item);
        if !end.under_way {
            end.under_way = true;
            outcome.steps.push((now, Step::Try { stream: number, side }));
        }
    }

    fn owner(&self, number: u64, side: usize) -> Option<Owner> {
        self.table.get(&number).and_then(|stream| stream.ends[side].owner)
    }

    fn end_of(&mut self, number: u64, side: usize) -> &mut End {
        &mut self.table.get_mut(&number).expect("asked for only while it is in the table").ends[side]
    }

    fn forget_if_over(&mut self, number: u64) {
        let over = |stream: &Stream| {
            !stream.connecting && stream.ends.iter().all(|end| end.owner.is_none() && end.waiting.is_empty())
        };
        if self.table.get(&number).is_some_and(over) {
            self.table.remove(&number);
        }
    }
}

fn id(number: u64, side: usize) -> StreamId {
    StreamId(2 * number + side as u64)
}

fn place(id: StreamId) -> (u64, usize) {
    (id.0 / 2, usize::from(id.0 % 2 == 1))
}

#[cfg(test)]
mod tests;

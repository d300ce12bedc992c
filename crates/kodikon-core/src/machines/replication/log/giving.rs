//! Decides when whoever gives much of the log by a pipe says the next part of it: as fast as it is taken, and at half of what the way
//! carries.

use std::collections::VecDeque;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::id::{NodeId, StreamId};
use crate::ground::time::{Duration, Instant};
use crate::machines::replication::log::Log;
use crate::machines::replication::log::pipe::{self, PipeFrame};
use crate::model::op::OpId;
use crate::wire::message::{Bulk as BulkWord, Cover, Log as LogMessage, Message};

/// Pipes given at once: a peer beyond them pulls by datagrams and comes again.
pub(super) const MAX_GIVING: usize = 4;
/// Ops, words of what is over and ends of answers that wait in one pipe: two answers, since a digest in parts is answered in parts, and
/// the ends of others, which are asked for again.
pub(super) const MAX_ITEMS: usize = 2 * (pipe::MAX_ROUND_OPS + MAX_OVERS + 1) + MAX_ENDS;
/// Messages of an answer that tell what is over: of each run some intervals, thirty runs to a message.
const MAX_OVERS: usize = 256;
const MAX_ENDS: usize = 16;
/// A pipe on which nothing happens is of no use to anybody.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of the first burst, and of the shortest and the longest: that one waits in the driver at most, which ends a stream on which
/// 256 KiB wait.
const BURST_LEAST: u64 = 16 * 1_024;
const BURST_MOST: u64 = 128 * 1_024;
/// A burst that is taken within this may be longer, or within twice what the quickest took: so long what is urgent waits behind it.
const QUICK: Duration = Duration::from_millis(5);

/// One pipe by which much of the log is given.
#[derive(Debug)]
pub(super) struct Giving {
    pub(super) peer: NodeId,
    /// The lowest counter that its next frame may bear.
    next: u64,
    items: VecDeque<Item>,
    /// Bytes of ops sent, arrived there, and allowed in all.
    sent: u64,
    got: u64,
    until: u64,
    /// Bytes of a burst; of the last one, and when that began.
    burst: u64,
    last: u64,
    began: Instant,
    /// How long the quickest took, and a byte of the one that was fastest.
    quickest: Duration,
    byte: Duration,
    /// The way is left to others until then.
    rests_until: Instant,
    since: Instant,
}

#[derive(Debug)]
enum Item {
    Op(OpId),
    /// What is over, one message of it: after the ops of its answer, which show how far their author counts; of what is over beyond that
    /// nothing is believed.
    Over(Vec<Cover>),
    /// An answer ends: the buckets of which more is owed.
    End(u64),
}

/// What one burst says of an answer.
#[derive(Debug, Default)]
struct Part {
    ids: Vec<OpId>,
    over: Vec<Vec<Cover>>,
    end: Option<u64>,
}

/// An answer to a question on a pipe.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ops: Vec<OpId>,
    pub(super) over: Vec<Vec<Cover>>,
    /// The buckets of which more is owed.
    pub(super) more: u64,
    /// Those that were asked for.
    pub(super) asked: u64,
}

impl Giving {
    pub(super) fn new(now: Instant, (peer, counter): (NodeId, u64), word: BulkWord) -> Self {
        Self {
            peer,
            next: counter.saturating_add(1),
            items: VecDeque::new(),
            sent: 0,
            got: 0,
            until: word.until,
            burst: BURST_LEAST,
            last: 0,
            began: now,
            quickest: Duration::MAX,
            byte: Duration::MAX,
            rests_until: now,
            since: now,
        }
    }

    /// Whether a frame is the next one of this pipe; frames of a stream arrive in order.
    pub(super) fn accepts(&mut self, counter: u64) -> bool {
        pipe::advance(&mut self.next, counter)
    }

    /// Lets an answer wait. Whoever asks for more than two at once is told of the others that more is owed.
    pub(super) fn answer(&mut self, answer: Answer) {
        let Answer { ops, over, more, asked } = answer;
        if self.items.len() + ops.len() + over.len() < MAX_ITEMS - MAX_ENDS {
            self.items.extend(ops.into_iter().map(Item::Op));
            self.items.extend(over.into_iter().map(Item::Over));
            self.items.push_back(Item::End(more));
        } else if self.items.len() < MAX_ITEMS {
            self.items.push_back(Item::End(asked));
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> usize {
        self.items.len()
    }

    /// The peer tells how far it came. `false` if that is nonsense.
    fn on_word(&mut self, now: Instant, word: BulkWord) -> bool {
        if word.got > self.sent || word.got < self.got {
            return false;
        }
        let was_whole = self.got == self.sent;
        (self.got, self.until, self.since) = (word.got, self.until.max(word.until), now);
        if !was_whole && self.got == self.sent {
            let took = now.since(self.began);
            self.quickest = self.quickest.min(took);
            self.byte = self.byte.min(took / u32::try_from(self.last.max(1)).unwrap_or(u32::MAX));
            let quick = QUICK.max(self.quickest * 2);
            self.rests_until = now + self.rest(took, quick);
            if took <= quick {
                self.burst = (self.burst * 2).min(BURST_MOST);
            } else if took > quick * 2 {
                self.burst = (self.burst / 2).max(BURST_LEAST);
            }
        }
        true
    }

    /// As long as a burst was on its way the way is left to others: half of what it carries is theirs. Where it was quick, what took
    /// longer than with the fastest was the reader's own work and not the way's.
    fn rest(&self, took: Duration, quick: Duration) -> Duration {
        if took > quick {
            return took;
        }
        took.min(self.byte.saturating_mul(u32::try_from(self.last).unwrap_or(u32::MAX)))
    }

    fn may_send(&self, now: Instant) -> bool {
        let is_free = self.sent == self.got && now >= self.rests_until;
        // The end of an answer and what is over have no bytes that count and need no room.
        is_free && (self.sent < self.until || matches!(self.items.front(), Some(Item::Over(_) | Item::End(_))))
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let idle = self.since + IDLE;
        let is_ready = !self.items.is_empty() && self.sent == self.got && self.sent < self.until;
        if is_ready { idle.min(self.rests_until) } else { idle }
    }

    fn is_idle(&self, now: Instant) -> bool {
        now >= self.since + IDLE
    }
}

impl Log {
    /// Whoever pulls by a pipe tells how far it came.
    pub(super) fn on_pipe_word(&mut self, now: Instant, stream: StreamId, word: BulkWord, ctx: &mut Context) {
        let Some(giving) = self.bulk.giving.get_mut(&stream) else { return };
        if giving.on_word(now, word) {
            self.give_on(now, stream, ctx);
        } else {
            self.end_pipe(now, stream, ctx);
        }
    }

    /// Says the next burst of a pipe, if it may be said.
    pub(super) fn give_on(&mut self, now: Instant, stream: StreamId, ctx: &mut Context) {
        let Some(giving) = self.bulk.giving.get_mut(&stream).filter(|giving| giving.may_send(now)) else { return };
        let room = giving.burst.min(giving.until.saturating_sub(giving.sent));
        let mut parts: Vec<Part> = vec![Part::default()];
        let mut bytes = 0;
        while let Some(item) = giving.items.pop_front() {
            let Part { ids, over, end } = parts.last_mut().expect("there is one from the start");
            match item {
                Item::Op(id) => {
                    let lane = self.lanes.get(&(id.author, id.epoch));
                    // What was deleted meanwhile is nobody's any more.
                    bytes += lane.and_then(|lane| lane.get(id.seq)).map_or(0, |held| held.op.wire_len() as u64);
                    ids.push(id);
                    if bytes >= room {
                        break;
                    }
                }
                Item::Over(covers) => over.push(covers),
                Item::End(more) => {
                    *end = Some(more);
                    parts.push(Part::default());
                }
            }
        }
        let mut messages = Vec::new();
        for Part { ids, over, end } in parts {
            messages.extend(self.told(now, &ids, ctx));
            messages.extend(over.into_iter().map(|over| Message::Log(LogMessage { over, ..LogMessage::default() })));
            messages.extend(end.map(|more| Message::Log(LogMessage { more: Some(more), ..LogMessage::default() })));
        }
        let sent: u64 = messages.iter().map(pipe::weight).sum();
        // Nothing said is no use of it: an idle pipe is to end.
        if let Some(giving) = self.bulk.giving.get_mut(&stream).filter(|_| !messages.is_empty()) {
            (giving.began, giving.since) = (now, now);
            giving.last = sent;
            giving.sent += sent;
        }
        messages.into_iter().for_each(|message| ctx.out.send(Destination::Pipe(stream), message));
    }

    /// Gives on what rested, and ends what nobody takes.
    pub(super) fn wake_giving(&mut self, now: Instant, ctx: &mut Context) {
        let streams: Vec<StreamId> = self.bulk.giving.keys().copied().collect();
        for stream in streams {
            if self.bulk.giving.get(&stream).is_some_and(|giving| giving.is_idle(now)) {
                self.close_given(stream, ctx);
            } else {
                self.give_on(now, stream, ctx);
            }
        }
    }

    /// A peer that was told to come for what it lacks opened a stream: `false` if it was not, or there are too many.
    pub(in crate::machines::replication) fn on_pipe_offered(
        &mut self,
        now: Instant,
        stream: StreamId,
        (peer, counter): (NodeId, u64),
        word: BulkWord,
        ctx: &mut Context,
    ) -> bool {
        let is_due = self.bulk.offered.remove(&peer).is_some_and(|until| now < until);
        if !is_due {
            return false;
        }
        // One for each: the other end of an older one may be lost.
        let older: Vec<StreamId> =
            self.bulk.giving.iter().filter(|(_, giving)| giving.peer == peer).map(|(stream, _)| *stream).collect();
        older.into_iter().for_each(|stream| self.close_given(stream, ctx));
        let giving = Giving::new(now, (peer, counter), word);
        let fits = self.bulk.giving.insert(stream, giving).is_ok();
        ctx.stats.pipes_given += u64::from(fits);
        fits
    }

    /// What arrived on a pipe that this node gives by.
    pub(super) fn on_given(&mut self, now: Instant, stream: StreamId, frame: PipeFrame, ctx: &mut Context) {
        let Some(peer) = self.bulk.giving.get(&stream).map(|giving| giving.peer) else { return };
        for message in frame.messages {
            match pipe::part_of(message) {
                pipe::Part::Word(word) => self.on_pipe_word(now, stream, word, ctx),
                pipe::Part::Digest(digest) => self.on_digest(now, (peer, Some(stream)), &digest, ctx),
                // Whoever pulls gives nothing on the same stream.
                pipe::Part::Log(_) | pipe::Part::Piece(_) | pipe::Part::Other => {}
            }
        }
        self.give_on(now, stream, ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::{Epoch, Seq};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The second was dropped, and whoever had asked waited for its end in vain; the third was, where three digests had been asked.
    #[test]
    fn two_of_the_largest_answers_wait_and_of_a_third_that_more_is_owed() {
        let peer = (NodeId([1; 16]), 0);
        let mut giving = Giving::new(Instant::ZERO, peer, BulkWord { got: 0, until: u64::MAX });
        let id = |seq| OpId { author: NodeId([1; 16]), epoch: Epoch(1), seq: Seq(seq) };
        let ops = || (0..pipe::MAX_ROUND_OPS as u64).map(id).collect::<Vec<OpId>>();
        let over = || vec![Vec::new(); MAX_OVERS];
        let whole = pipe::MAX_ROUND_OPS + MAX_OVERS + 1;
        let mut ends = Vec::new();
        for (waiting, end) in [(whole, 0), (2 * whole, 0), (2 * whole + 1, 5), (2 * whole + 2, 5)] {
            giving.answer(Answer { ops: ops(), over: over(), more: 0, asked: 5 });
            ends.push(end);
            assert_eq!(giving.waiting(), waiting);
        }
        let more = |item: &Item| if let Item::End(more) = item { Some(*more) } else { None };
        assert_eq!(giving.items.iter().filter_map(more).collect::<Vec<u64>>(), ends);
        (0..2 * MAX_ENDS).for_each(|_| giving.answer(Answer { ops: ops(), over: over(), more: 0, asked: 5 }));
        assert_eq!(giving.waiting(), MAX_ITEMS);
    }

    #[test]
    fn the_way_rests_as_long_as_it_took_and_not_for_what_the_reader_did_meanwhile() {
        let peer = (NodeId([1; 16]), 0);
        let mut giving = Giving::new(Instant::ZERO, peer, BulkWord { got: 0, until: u64::MAX });
        let mut now = Instant::ZERO;
        // (KiB of a burst, ms until all of it was there, ms that the way is left to others)
        for (kib, took, rests) in [
            // The only one so far: nobody can tell what of it was the way's.
            (16, 2, 2),
            (32, 2, 2),
            // A byte has taken a sixteenth of a millisecond for a KiB at its fastest.
            (64, 5, 4),
            (64, 4, 4),
            // The way is slow, or full.
            (64, 30, 30),
            (16, 4, 1),
        ] {
            (giving.began, giving.last) = (now, kib * 1_024);
            giving.sent += giving.last;
            now = now + ms(took);
            assert!(giving.on_word(now, BulkWord { got: giving.sent, until: u64::MAX }));
            let found = giving.rests_until.since(now);
            assert!(found <= ms(rests) && found + ms(1) > ms(rests), "{kib} KiB in {took} ms: {found:?}");
            assert!(!giving.may_send(giving.rests_until - ms(1)) && giving.may_send(giving.rests_until));
            now = giving.rests_until;
        }
    }
}

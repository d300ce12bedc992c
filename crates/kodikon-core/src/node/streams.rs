//! Decides whose a stream is and to which machine it belongs: one that only lives, or one that brings much of the log.

use crate::effect::{StreamUse, StreamWish};
use crate::ground::id::{NodeId, StreamId};
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::machines::replication::log::PipeFrame;
use crate::node::Node;
use crate::node::far::authors_of;
use crate::wire::codec;
use crate::wire::header::Header;
use crate::wire::message::{Bulk, Message};
use crate::wire::seal::Carrier;

impl Node {
    /// A stream of ours stands: the first frame on it says whose it is, and what for.
    pub(super) fn on_stream_opened(&mut self, now: Instant, stream: StreamId, (peer, purpose): (NodeId, StreamUse)) {
        let first = match purpose {
            StreamUse::Canary => {
                self.liveness.on_stream_opened(now, stream, peer, &mut self.ctx).then_some(Message::Canary)
            }
            StreamUse::Bulk => {
                // Whatever its peer says on it is said after all that was heard of it so far.
                let next = self.next_of(&peer);
                self.replication.on_pipe_opened(now, stream, (peer, next), &mut self.ctx).map(Message::Bulk)
            }
        };
        let Some(first) = first else { return };
        let mut text = Vec::new();
        codec::encode(&first, &mut text);
        let bytes = self.outbound.seal(&text, &mut self.ctx);
        self.ctx.out.stream(StreamWish::Send { stream, bytes });
        if purpose == StreamUse::Bulk {
            self.replication.ask_by_pipe(&mut self.ctx);
        }
    }

    /// The lowest counter above all that came of a peer's session.
    fn next_of(&self, peer: &NodeId) -> u64 {
        let tag = self.ctx.roster.get(peer).map(|peer| peer.card.session());
        tag.and_then(|tag| self.ctx.sessions.get(tag)).map_or(0, |session| session.window.next())
    }

    pub(super) fn on_stream_failed(&mut self, now: Instant, peer: NodeId, purpose: StreamUse) {
        match purpose {
            StreamUse::Canary => self.liveness.on_stream_failed(now, peer),
            StreamUse::Bulk => self.replication.on_pipe_failed(now, peer, &mut self.ctx),
        }
    }

    /// A frame on a stream: of a pipe, or the first one of an offered stream.
    pub(super) fn on_stream_frame(&mut self, now: Instant, stream: StreamId, frame: &mut [u8]) {
        if let Some(peer) = self.replication.pipe_peer(stream) {
            if let Err(reason) = self.on_pipe_frame(now, stream, peer, frame) {
                self.ctx.stats.drop(reason);
                self.replication.on_pipe_nonsense(now, stream, &mut self.ctx);
            }
            return;
        }
        match self.open_first(frame) {
            Ok((peer, counter, Some(word))) => {
                self.liveness.on_stream_taken(stream);
                if !self.replication.on_pipe_offered(now, stream, (peer, counter), word, &mut self.ctx) {
                    self.ctx.stats.drop(Reject::Unasked);
                    self.ctx.out.stream(StreamWish::Close { stream });
                }
            }
            Ok((peer, _, None)) => self.liveness.on_stream_introduced(stream, peer, &mut self.ctx),
            Err(reason) => {
                self.ctx.stats.drop(reason);
                self.liveness.on_stream_nonsense(stream, &mut self.ctx);
            }
        }
    }

    /// Whose a stream is, by its first frame, that frame's number, and what is to come by it.
    fn open_first(&mut self, frame: &mut [u8]) -> Result<(NodeId, u64, Option<Bulk>), Reject> {
        let header = Header::decode(frame)?;
        let session = self.ctx.sessions.get_mut(header.tag).ok_or(Reject::Stranger)?;
        let text = session.key.open(&header, frame)?;
        if !session.window.accept(header.counter) {
            return Err(Reject::Replay);
        }
        let word = codec::decode(text)?
            .messages
            .into_iter()
            .find_map(|message| if let Message::Bulk(word) = message { Some(word) } else { None });
        Ok((session.peer, header.counter, word))
    }

    fn on_pipe_frame(&mut self, now: Instant, stream: StreamId, peer: NodeId, frame: &mut [u8]) -> Result<(), Reject> {
        let header = Header::decode_piped(frame)?;
        let session = self.ctx.sessions.get_mut(header.tag).ok_or(Reject::Stranger)?;
        if session.peer != peer {
            return Err(Reject::Stranger);
        }
        let text = session.key.open_from(Carrier::Pipe, &header, frame)?;
        let messages = codec::decode(text)?.messages;
        let over =
            messages.iter().filter_map(|message| if let Message::Log(log) = message { Some(&log.over) } else { None });
        let sole = self.told_by_one(now, &peer, over.flat_map(|over| authors_of(over)));
        let frame = PipeFrame { counter: header.counter, messages, sole };
        let is_new = self.replication.on_pipe_frame(now, stream, frame, &mut self.ctx);
        if is_new { Ok(()) } else { Err(Reject::Replay) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Input, Output};
    use crate::ground::id::{Epoch, SessionTag};
    use crate::ground::time::Duration;
    use crate::model::op::{OpKind, OpLane, SignedOp};
    use crate::model::record::NewRecord;
    use crate::node::bench::{Bench, address, identity};
    use crate::wire::message::{Digest, Log, LogEntry};

    const PIPE: StreamId = StreamId(9);

    fn record(bench: &Bench, seq: u64) -> SignedOp {
        let body = NewRecord::new(&format!("thing {seq}")).body("cam1");
        bench.say(1, seq, OpKind::Record, &[], minicbor::to_vec(&body).expect("a Vec takes all"))
    }

    fn log(ops: Vec<SignedOp>, more: Option<u64>, pipe: Option<bool>) -> Message {
        let entry = |op| LogEntry { op, age_ms: 5_000, key: None, rested: None };
        Message::Log(Log { entries: ops.into_iter().map(entry).collect(), over: Vec::new(), more, pipe })
    }

    /// A frame of peer 1 on the stream.
    fn on_stream(bench: &mut Bench, carrier: Carrier, counter: u64, message: &Message) {
        let header = Header { tag: SessionTag([1; 8]), counter };
        let mut text = Vec::new();
        codec::encode(message, &mut text);
        let mut frame = bench.node.ctx.group.session(header.tag).seal_for(carrier, &header, &text);
        bench.hand(Input::StreamFrame { stream: PIPE, frame: &mut frame });
    }

    fn is_closed(bench: &Bench) -> bool {
        bench.out.contains(&Output::Stream(StreamWish::Close { stream: PIPE }))
    }

    /// A node that asked peer 1, was told to come by a stream, and did.
    fn pulling() -> Bench {
        let mut bench = Bench::new(1);
        pull(&mut bench);
        bench
    }

    fn pull(bench: &mut Bench) {
        bench.hear(1, &Message::Beat(crate::wire::message::Beat { root: 0, due_ms: 5_000, log_root: Some(7) }));
        bench.pass(Duration::from_millis(2_000));
        let first = record(bench, 1);
        bench.hear(1, &log(vec![first], Some(u64::MAX), Some(true)));
        let wish = StreamWish::Connect {
            peer: identity(1).id(),
            purpose: StreamUse::Bulk,
            to: address(1),
            interface: Some(crate::ground::id::InterfaceIndex(2)),
        };
        assert!(bench.out.contains(&Output::Stream(wish)), "{:?}", bench.out);
        bench.hand(Input::StreamOpened { stream: PIPE, peer: identity(1).id(), purpose: StreamUse::Bulk });
        let sent = bench.out.iter().filter(|output| matches!(output, Output::Stream(StreamWish::Send { .. })));
        assert_eq!(sent.count(), 2, "what the stream is for, and what is lacked");
    }

    fn checked(bench: &mut Bench, expected: usize, verdict: bool) {
        let jobs = bench.out.iter().filter_map(|output| if let Output::Check(job) = output { Some(job) } else { None });
        let jobs: Vec<_> = jobs.map(|job| (job.check, job.ops.len())).collect();
        assert_eq!(jobs.iter().map(|(_, ops)| ops).sum::<usize>(), expected);
        for (check, ops) in jobs {
            bench.hand(Input::Checked { check, holds: vec![verdict; ops] });
        }
    }

    #[test]
    fn what_a_pipe_brings_is_placed_when_its_signature_is_checked_and_comes_once() {
        let mut bench = pulling();
        let ops = vec![record(&bench, 2), record(&bench, 3)];
        let applied = bench.node.stats().log_applied;
        on_stream(&mut bench, Carrier::Pipe, 1_000, &log(ops.clone(), None, None));
        assert_eq!(bench.node.stats().log_applied, applied, "not before");
        checked(&mut bench, 2, true);
        assert_eq!(bench.node.stats().log_applied, applied + 2);
        on_stream(&mut bench, Carrier::Pipe, 1_001, &log(ops, Some(0), None));
        checked(&mut bench, 0, true);
        assert_eq!(bench.node.stats().log_applied, applied + 2, "it is here");
        assert!(is_closed(&bench), "that was all");
    }

    /// Checks were numbered from 1 in each run: what nobody signed was placed by the answer for what was asked before.
    #[test]
    fn signatures_that_are_checked_for_a_run_that_ended_are_none_of_the_next() {
        let mut bench = pulling();
        let old = record(&bench, 2);
        on_stream(&mut bench, Carrier::Pipe, 1_000, &log(vec![old], None, None));
        let check = |bench: &Bench| {
            let asked = |output: &Output| if let Output::Check(job) = output { Some(job.check) } else { None };
            bench.out.iter().find_map(asked).expect("it is to be checked")
        };
        let asked_before = check(&bench);
        let copy = bench.own_card(9, Epoch::new(2, 1));
        bench.hear_op(1, copy);
        bench.pass(Duration::from_secs(2));
        assert!(bench.node.epoch() > Epoch::new(2, 1), "it has begun another run");
        bench.meet(1, 1);
        pull(&mut bench);
        let new = record(&bench, 3);
        on_stream(&mut bench, Carrier::Pipe, 1_000, &log(vec![new], None, None));
        let (asked, applied) = (check(&bench), bench.node.stats().log_applied);
        for (check, expected) in [(asked_before, applied), (asked, applied + 1)] {
            bench.hand(Input::Checked { check, holds: vec![true] });
            assert_eq!(bench.node.stats().log_applied, expected, "{check:?} after {asked_before:?}");
        }
    }

    #[test]
    fn a_frame_that_was_there_before_or_travelled_otherwise_ends_a_pipe() {
        for (carrier, counter, reason) in [
            (Carrier::Pipe, 1_000, Reject::Replay),
            (Carrier::Pipe, 0, Reject::Replay),
            (Carrier::Datagram, 2_000, Reject::Seal),
        ] {
            let mut bench = pulling();
            let more = log(Vec::new(), None, None);
            on_stream(&mut bench, Carrier::Pipe, 1_000, &more);
            assert!(!is_closed(&bench));
            on_stream(&mut bench, carrier, counter, &more);
            assert!(is_closed(&bench), "{carrier:?} {counter}");
            assert_eq!(bench.dropped(reason), 1, "{carrier:?} {counter}");
        }
    }

    #[test]
    fn a_pipe_that_brings_what_nobody_signed_is_ended_and_not_opened_again() {
        let mut bench = pulling();
        let applied = bench.node.stats().log_applied;
        let op = record(&bench, 2);
        on_stream(&mut bench, Carrier::Pipe, 1_000, &log(vec![op], None, None));
        checked(&mut bench, 1, false);
        assert!(is_closed(&bench));
        assert_eq!((bench.node.stats().log_applied, bench.dropped(Reject::Signature)), (applied, 1));
        let op = record(&bench, 3);
        bench.hear(1, &log(vec![op], Some(u64::MAX), Some(true)));
        assert!(!bench.out.iter().any(|output| matches!(output, Output::Stream(StreamWish::Connect { .. }))));
    }

    #[test]
    fn more_than_was_allowed_ends_a_pipe_and_what_came_is_bounded() {
        let mut bench = pulling();
        let mut seq = 2;
        while !is_closed(&bench) {
            let ops: Vec<SignedOp> = (seq..seq + 4).map(|seq| record(&bench, seq)).collect();
            on_stream(&mut bench, Carrier::Pipe, 1_000 + seq, &log(ops, None, None));
            seq += 4;
            assert!(seq < 10_000, "nothing is ever checked, and everything is taken");
        }
        for (table, held, limit) in bench.node.table_sizes() {
            assert!(held <= limit, "{table} holds {held} of {limit}");
        }
    }

    /// It kept one of the four places for ever: each time that something else was due in the log it counted as used.
    #[test]
    fn a_pipe_that_nobody_takes_from_is_ended_after_half_a_minute_whatever_else_the_log_does() {
        let mut bench = Bench::new(1);
        for seq in 1..=900 {
            let op = record(&bench, seq);
            bench.hear(1, &log(vec![op], None, None));
        }
        let digest = Digest {
            covers: Vec::new(),
            scope: u64::MAX,
            sums: Vec::new(),
            question: true,
            lane: Some(OpLane::Log.code()),
            ..Digest::default()
        };
        bench.hear(1, &Message::Digest(digest));
        bench.hand(Input::StreamOffered { stream: PIPE, from: address(1) });
        on_stream(&mut bench, Carrier::Datagram, 10_000, &Message::Bulk(Bulk { got: 0, until: 1 << 20 }));
        assert_eq!(bench.node.stats().pipes_given, 1);
        bench.counters[1] = 20_000;
        for second in 1..=30 {
            assert!(!is_closed(&bench), "after {second} s");
            // It lives, and its log differs.
            let beat = crate::wire::message::Beat { root: 0, due_ms: 5_000, log_root: Some(second) };
            bench.hear(1, &Message::Beat(beat));
            bench.pass(Duration::from_secs(1));
        }
        assert!(is_closed(&bench));
    }

    #[test]
    fn nobody_opens_a_pipe_who_was_not_told_to_come() {
        let mut bench = Bench::new(1);
        bench.hand(Input::StreamOffered { stream: PIPE, from: address(1) });
        on_stream(&mut bench, Carrier::Datagram, 500, &Message::Bulk(Bulk { got: 0, until: 1 << 20 }));
        assert!(is_closed(&bench));
        assert_eq!((bench.dropped(Reject::Unasked), bench.node.stats().pipes_given), (1, 0));
    }
}

//! Decides whose a stream is and to which machine it belongs: one that only lives, or one that brings much of the log.

use crate::effect::{StreamUse, StreamWish};
use crate::ground::id::{NodeId, StreamId};
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::machines::replication::log::PipeFrame;
use crate::node::Node;
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
        let word = codec::decode(text)?.messages.into_iter().find_map(|message| {
            if let Message::Bulk(word) = message { Some(word) } else { None }
        });
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
        let frame = PipeFrame { counter: header.counter, messages };
        let is_new = self.replication.on_pipe_frame(now, stream, frame, &mut self.ctx);
        if is_new { Ok(()) } else { Err(Reject::Replay) }
    }
}

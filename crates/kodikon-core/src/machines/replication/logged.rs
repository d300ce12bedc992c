//! Decides which doors of the log the node has: what arrives, what is said, what is told to whom, and what is written.

use std::collections::BTreeSet;

use crate::effect::check::CheckId;
use crate::effect::context::Context;
use crate::effect::log::{CommitId, Committed, SavedLog};
use crate::effect::outbox::Destination;
use crate::ground::excess::Excess;
use crate::ground::id::{Epoch, NodeId, StreamId};
use crate::ground::stats::Reject;
use crate::ground::time::Instant;
use crate::machines::replication::Replication;
use crate::machines::replication::log::{Log, PipeFrame, Said, Wanted};
use crate::model::alert::{ReceiptBody, ReceiptNumber, ReceiptRow};
use crate::model::letter::Ticket;
use crate::model::op::{OpId, OpKind};
use crate::wire::message::{Bulk, Contents, Interval, Log as LogMessage, LogPiece, Message};

impl Replication {
    /// What is held of the log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Ops of the log arrived from a proven peer. `sole` are the authors of whom nobody else can tell this node.
    pub fn on_log(&mut self, now: Instant, from: NodeId, log: LogMessage, sole: &BTreeSet<NodeId>, ctx: &mut Context) {
        self.log.on_log(now, from, (log, sole), &mut self.checks, ctx);
    }

    /// A peer says in sums what it holds of it.
    pub fn on_contents(&mut self, now: Instant, from: NodeId, contents: &Contents, ctx: &mut Context) {
        self.log.on_contents(now, from, contents, ctx);
    }

    /// A piece of one arrived.
    pub fn on_log_piece(&mut self, now: Instant, from: NodeId, piece: LogPiece, ctx: &mut Context) {
        self.log.on_piece(now, from, piece, &mut self.checks, ctx);
    }

    /// A stream by which much of the log is to come stands. What is said first on it, if it is still wanted.
    pub fn on_pipe_opened(
        &mut self,
        now: Instant,
        stream: StreamId,
        (peer, next): (NodeId, u64),
        ctx: &mut Context,
    ) -> Option<Bulk> {
        self.log.on_pipe_opened(now, stream, (peer, next), ctx)
    }

    /// Asks on it for what is lacked here.
    pub fn ask_by_pipe(&mut self, ctx: &mut Context) {
        self.log.ask_by_pipe(ctx);
    }

    /// It could not be had.
    pub fn on_pipe_failed(&mut self, now: Instant, peer: NodeId, ctx: &mut Context) {
        self.log.on_pipe_failed(now, peer, ctx);
    }

    /// A peer opened one. `false` if it was not told to come.
    pub fn on_pipe_offered(
        &mut self,
        now: Instant,
        stream: StreamId,
        (peer, counter): (NodeId, u64),
        word: Bulk,
        ctx: &mut Context,
    ) -> bool {
        self.log.on_pipe_offered(now, stream, (peer, counter), word, ctx)
    }

    /// With whom a stream is a pipe.
    #[must_use]
    pub fn pipe_peer(&self, stream: StreamId) -> Option<NodeId> {
        self.log.pipe_peer(stream)
    }

    /// A frame arrived on a pipe. `false` if it, or another in its place, was there before.
    pub fn on_pipe_frame(&mut self, now: Instant, stream: StreamId, frame: PipeFrame, ctx: &mut Context) -> bool {
        let is_new = self.log.pipe_accepts(stream, frame.counter);
        if is_new {
            self.log.on_pipe_frame(now, stream, frame, &mut self.checks, ctx);
        }
        is_new
    }

    /// A stream ended.
    pub fn on_pipe_ended(&mut self, now: Instant, stream: StreamId, ctx: &mut Context) {
        self.log.on_pipe_ended(now, stream, ctx);
    }

    /// What arrived on a pipe makes no sense: it ends.
    pub fn on_pipe_nonsense(&mut self, now: Instant, stream: StreamId, ctx: &mut Context) {
        self.log.end_pipe(now, stream, ctx);
    }

    /// Ends all pipes, or those with one peer.
    pub fn close_pipes(&mut self, with: Option<&NodeId>, ctx: &mut Context) {
        self.log.close_pipes(with, ctx);
    }

    /// Signatures were checked.
    pub fn on_checked(&mut self, now: Instant, check: CheckId, holds: &[bool], ctx: &mut Context) {
        self.log.on_checked(now, (check, holds), ctx);
    }

    /// A peer says its root of the log.
    pub fn on_log_root(&mut self, now: Instant, from: NodeId, root: Option<u64>) {
        self.log.on_root(now, from, root.unwrap_or(0));
    }

    /// The root of the log as it travels: left out while nothing is held.
    #[must_use]
    pub fn log_root(&self) -> Option<u64> {
        Some(self.log.root()).filter(|root| *root != 0)
    }

    /// Says something that lasts; it is told to all when it is on disk. `false` if this node has as much active as it may.
    pub fn say(&mut self, now: Instant, (kind, body): (OpKind, Vec<u8>), says: Said, ctx: &mut Context) -> bool {
        self.lamport += 1;
        self.log.say(now, (kind, body, self.lamport), says, ctx)
    }

    /// Takes an order to add or delete sightings: answered when it is on disk.
    ///
    /// # Errors
    /// Why nothing was done, in words for people.
    pub fn order(
        &mut self,
        now: Instant,
        ticket: Ticket,
        wanted: Wanted,
        ctx: &mut Context,
    ) -> Result<(), &'static str> {
        self.lamport += 1;
        self.log.order(now, ticket, (wanted, self.lamport), ctx)
    }

    /// Ops of the log say nothing any more.
    pub fn on_spent(&mut self, now: Instant, ids: &[OpId], ctx: &mut Context) {
        self.log.spend(now, ids, ctx);
    }

    /// An op of the log makes room.
    pub fn on_crowded(&mut self, now: Instant, id: &OpId, ctx: &mut Context) {
        self.log.give_up(now, id, ctx);
    }

    /// The log's store has answered.
    pub fn on_committed(&mut self, now: Instant, commit: CommitId, result: Committed, ctx: &mut Context) {
        self.log.on_committed(now, commit, result, ctx);
    }

    /// Asks for what is owed to the log's store.
    pub fn write_log(&mut self, now: Instant, ctx: &mut Context) {
        self.log.write(now, ctx);
    }

    /// The node says goodbye: what is owed to the log's store is asked for once more.
    pub fn write_last(&mut self, now: Instant, ctx: &mut Context) {
        self.log.write_last(now, ctx);
    }

    /// An author's card is new: its earlier runs may be over.
    pub fn on_card(&mut self, now: Instant, author: &NodeId, ctx: &mut Context) {
        self.log.on_floor(now, author, ctx);
    }

    /// The run from which on the own log counts, for the card.
    #[must_use]
    pub fn own_log_floor(&self, ctx: &Context) -> Option<Epoch> {
        self.log.own_floor(ctx)
    }

    /// An op of the log as messages, to be passed on.
    #[must_use]
    pub fn log_messages(&self, now: Instant, id: &OpId, ctx: &Context) -> Vec<Message> {
        self.log.told(now, std::slice::from_ref(id), ctx)
    }

    /// Tells a peer an op of the log once more.
    pub fn tell_again(&self, now: Instant, id: &OpId, to: NodeId, ctx: &mut Context) {
        for message in self.log.told(now, std::slice::from_ref(id), ctx) {
            ctx.out.send(Destination::Peer(to), message);
        }
    }

    /// What this node has of another's log, as it tells it.
    #[must_use]
    pub fn receipt_for(&self, author: &NodeId) -> ReceiptBody {
        let pair = |interval: Interval| (interval.first, interval.last);
        let row = |(epoch, (shown, durable)): (Epoch, (Vec<Interval>, Vec<Interval>))| ReceiptRow {
            epoch: epoch.0,
            shown: shown.into_iter().map(pair).collect(),
            durable: durable.into_iter().map(pair).collect(),
        };
        ReceiptBody::of(self.log.receipts(author).into_iter().map(row))
    }

    /// What a peer that is present has of an author's log, and in which of its runs and under which number it said so.
    #[must_use]
    pub fn receipt_of(&self, peer: &NodeId, author: &NodeId) -> Option<(ReceiptNumber, ReceiptBody)> {
        let op = self.lane(peer)?.get((OpKind::Receipt, &author.0))?;
        ReceiptBody::parse(op).map(|(_, body)| ((op.epoch(), op.lamport()), body))
    }

    /// Whether a peer may say one more thing about itself, beside its ops and out of their share.
    pub fn may_say(&mut self, now: Instant, from: &NodeId, ctx: &mut Context) -> bool {
        let may = self.lanes.get_mut(from).is_some_and(|lane| lane.allowance.take(now, 1));
        if !may {
            ctx.offenders.note(from, Excess::Ops);
            ctx.stats.drop(Reject::Budget);
        }
        may
    }

    /// The number of what this node says next, beside its ops.
    pub fn next_lamport(&mut self) -> u64 {
        self.lamport += 1;
        self.lamport
    }

    /// The last that the log's store and the checks of signatures were asked. A run of the same process numbers after it: what was asked
    /// before may still be answered.
    #[must_use]
    pub fn asked(&self) -> (CommitId, CheckId) {
        self.log.asked()
    }

    /// This run goes on after what one before it asked.
    pub fn go_on(&mut self, asked: (CommitId, CheckId)) {
        self.log.go_on(asked);
    }

    /// This run ends: what waits for the disk is told and held, and may take the place of what is held.
    pub fn end_log(&mut self, now: Instant, ctx: &mut Context) {
        self.log.end_run(now, ctx);
    }

    /// Asks for all that is owed to the log's store, whatever it said before.
    pub fn write_owed(&mut self, now: Instant, ctx: &mut Context) {
        self.log.write_owed(now, ctx);
    }

    /// What the next run of this process begins with, once it is known what the last of this one means.
    #[must_use]
    pub fn saved_log(&self, now: Instant) -> SavedLog {
        self.log.saved(now)
    }
}

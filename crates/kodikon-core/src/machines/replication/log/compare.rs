//! Decides how two nodes find out what of the log each lacks: as they do for the live lane, with the rounds of their own.

use std::collections::BTreeMap;

use crate::effect::context::Context;
use crate::effect::outbox::Destination;
use crate::ground::id::{Epoch, NodeId};
use crate::ground::time::Instant;
use crate::machines::replication::intervals::Intervals;
use crate::machines::replication::log::Log;
use crate::machines::replication::log::lane::LogLane;
use crate::machines::replication::roots::{BUCKETS, Roots};
use crate::machines::replication::sync::{self, Lanes, MAX_ANSWER, in_datagrams, in_scope, send_digests};
use crate::model::alert::OpId;
use crate::model::op::OpLane;
use crate::wire::message::{Cover, Digest, Log as LogMessage, Message};

impl Lanes for Log {
    const LANE: OpLane = OpLane::Log;

    fn count(&self) -> usize {
        self.lanes.len()
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn covers_of(&self, bucket: usize) -> Vec<Cover> {
        self.bucket(bucket).map(LogLane::cover).collect()
    }
}

impl Log {
    /// A peer says its root.
    pub(in crate::machines::replication) fn on_root(&mut self, now: Instant, from: NodeId, root: u64) {
        let mine = self.roots.all();
        self.sync.on_root(now, from, root, mine);
    }

    /// A new acquaintance is asked at once, where that is worth it.
    pub(in crate::machines::replication) fn ask_now(&mut self, now: Instant, source: NodeId, ctx: &mut Context) {
        let digests = self.digests(true);
        self.sync.ask_now(now, source, &digests, ctx);
    }

    /// A peer is gone.
    pub(in crate::machines::replication) fn forget_peer(&mut self, id: &NodeId) {
        self.sync.forget(id);
    }

    pub(super) fn digests(&self, question: bool) -> Vec<Digest> {
        sync::digests(self, question)
    }

    fn bucket(&self, bucket: usize) -> impl Iterator<Item = &LogLane> {
        let (first, last) = sync::ids_of(bucket);
        self.lanes.range((first, Epoch(0))..=(last, Epoch(u64::MAX))).map(|(_, lane)| lane)
    }

    /// A peer says what it covers.
    pub(in crate::machines::replication) fn on_digest(
        &mut self,
        now: Instant,
        from: NodeId,
        digest: &Digest,
        ctx: &mut Context,
    ) {
        self.sync.on_answer(now, from);
        let mut has_said = false;
        if digest.sums.len() == BUCKETS {
            let differing = sync::differing(self, digest);
            if differing != 0 {
                send_digests(from, &sync::flat(self, differing, true), ctx);
                has_said = true;
            }
        } else if digest.sums.is_empty() {
            let run = |cover: &Cover| (NodeId(cover.author), Epoch(cover.epoch));
            let theirs = digest.covers.iter().map(|cover| (run(cover), cover)).collect();
            has_said = self.give(now, from, digest.scope, &theirs, ctx);
            let lacks = |(run, cover): (&(NodeId, Epoch), &&Cover)| {
                self.lanes.get(run).is_none_or(|lane| lane.lacks(&cover.intervals))
            };
            if digest.question && theirs.iter().any(lacks) {
                // An answer to an answer would go on for ever; this one asks nothing.
                send_digests(from, &sync::flat(self, digest.scope, false), ctx);
                has_said = true;
            }
            self.sync.drop_candidate(&from);
        }
        if digest.question && !has_said {
            // That there is nothing to say is an answer, too.
            ctx.out.send(Destination::Peer(from), Message::Log(LogMessage { entries: Vec::new(), over: Vec::new() }));
        }
    }

    /// Sends what the other lacks, the most urgent first, and tells whose time is over. `true` if there was anything.
    fn give(
        &self,
        now: Instant,
        to: NodeId,
        scope: u64,
        theirs: &BTreeMap<(NodeId, Epoch), &Cover>,
        ctx: &mut Context,
    ) -> bool {
        let (mut lacking, mut over) = (Vec::new(), Vec::new());
        for lane in in_scope(scope, ctx).flat_map(|bucket| self.bucket(bucket)) {
            let run = (lane.author, lane.epoch);
            let foreign = theirs.get(&run);
            let known = foreign.map(|cover| Intervals::from_wire(&cover.intervals)).unwrap_or_default();
            lacking.extend(lane.beyond(&known));
            if foreign.is_some() {
                over.push(lane.over(&self.unsaid(run)));
            }
        }
        // By urgency alone: of those equally urgent it begins anywhere, so that what is not taken keeps nothing back for ever.
        lacking.sort_by_key(|held| core::cmp::Reverse(held.priority));
        let mut bytes = 0;
        let fits = |held: &&&_| {
            let held: &crate::machines::replication::log::lane::Held = held;
            bytes += held.op.wire_len();
            bytes <= MAX_ANSWER
        };
        let given: Vec<OpId> = lacking.iter().take_while(fits).map(|held| OpId::of(&held.op)).collect();
        for message in self.told(now, &given, ctx) {
            ctx.out.send(Destination::Peer(to), message);
        }
        over.retain(|cover| !cover.intervals.is_empty());
        let has_any = !given.is_empty() || !over.is_empty();
        for over in in_datagrams(over) {
            ctx.out.send(Destination::Peer(to), Message::Log(LogMessage { entries: Vec::new(), over }));
        }
        has_any
    }
}

//! Decides how this node's own facts are numbered, signed and told: it is the only writer of its lane.

use std::collections::BTreeSet;

use crate::effect::Persist;
use crate::effect::context::Context;
use crate::ground::id::{Epoch, Seq};
use crate::ground::time::{Duration, Instant, WallTime};
use crate::machines::replication::lane::Lane;
use crate::machines::replication::{Replication, push};
use crate::model::op::{OpKind, SignedOp, Statement};
use crate::model::state::{NodeSnapshot, StateChange, StateEntry};

/// After the first peers are met, the own state is told to all once: long enough that most of a cold start is over.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(60);

/// The key of a change that only bears the version: no key of a state is empty.
const NO_KEY: &str = "";

/// What this node says.
#[derive(Debug)]
pub(super) struct Own {
    state: NodeSnapshot,
    epoch: Epoch,
    next_seq: u64,
    announce: Option<Instant>,
    announced: bool,
}

impl Own {
    pub(super) fn new(state: NodeSnapshot, epoch: Epoch) -> Self {
        Self { state, epoch, next_seq: 1, announce: None, announced: false }
    }

    pub(super) fn state(&self) -> &NodeSnapshot {
        &self.state
    }

    pub(super) fn on_up(&mut self, now: Instant) {
        if !self.announced {
            self.announced = true;
            self.announce = Some(now + ANNOUNCE_AFTER);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.announce
    }

    pub(super) fn announce_is_due(&mut self, now: Instant) -> bool {
        let due = self.announce.is_some_and(|at| now >= at);
        if due {
            self.announce = None;
        }
        due
    }

    /// Whether an op in our name is one we made in this run.
    pub(super) fn is_mine(&self, op: &SignedOp, lane: Option<&Lane>) -> bool {
        let held = lane.and_then(|lane| lane.ops().find(|held| held.seq() == op.seq()));
        op.epoch() == self.epoch && op.seq().0 < self.next_seq && held.is_none_or(|held| held.is_same_bytes(op))
    }
}

impl Replication {
    /// Says something: numbers it, signs it, holds it and tells everyone.
    pub fn publish(
        &mut self,
        now: Instant,
        facts: Vec<(OpKind, Vec<u8>, Vec<u8>)>,
        ctx: &mut Context,
    ) -> Vec<SignedOp> {
        let wall = ctx.wall(now);
        self.publish_at(now, facts, wall, ctx)
    }

    fn publish_at(
        &mut self,
        now: Instant,
        facts: Vec<(OpKind, Vec<u8>, Vec<u8>)>,
        wall: WallTime,
        ctx: &mut Context,
    ) -> Vec<SignedOp> {
        let mut ops = Vec::with_capacity(facts.len());
        for (kind, key, body) in facts {
            self.lamport += 1;
            let statement = Statement { kind, key, body, lamport: self.lamport, wall };
            let seq = Seq(self.own.next_seq);
            self.own.next_seq += 1;
            let op = SignedOp::sign(&ctx.me.identity, ctx.mesh, ctx.me.epoch, seq, statement);
            self.place(now, op.clone(), ctx);
            ops.push(op);
        }
        push(ops.clone(), ctx);
        ops
    }

    /// Says the whole own state, as the disk remembered it: the first words of a run after its card.
    pub fn publish_saved(&mut self, now: Instant, ctx: &mut Context) {
        let version = self.own.state.version;
        let mut facts: Vec<_> =
            self.own.state.values.iter().map(|(key, json)| fact(key, Some(json), version)).collect();
        if facts.is_empty() && version > 0 {
            // All keys were unset: no value is left to bear the version, and without it others would show 0.
            facts.push(fact(NO_KEY, None, version));
        }
        self.publish_at(now, facts, self.own.state.changed, ctx);
    }

    /// Changes the own state. Changes that break a limit are ignored whole: the caller checked them.
    pub fn set_state(&mut self, now: Instant, changes: &[StateChange], wall: WallTime, ctx: &mut Context) {
        let Ok(values) = self.own.state.changed_by(changes) else { return };
        // What counts is how the keys end: one command may name a key twice.
        let keys: BTreeSet<&String> = changes.iter().map(|change| &change.key).collect();
        let changed: Vec<&String> =
            keys.into_iter().filter(|key| self.own.state.values.get(*key) != values.get(*key)).collect();
        if changed.is_empty() {
            return;
        }
        let version = self.own.state.version + 1;
        let facts = changed.iter().map(|key| fact(key, values.get(*key), version)).collect();
        self.own.state = NodeSnapshot { version, changed: wall, values };
        ctx.out.persist(Persist::State(self.own.state.clone()));
        self.publish_at(now, facts, wall, ctx);
    }

    /// Others remember a later version of our state than we do: ours goes on above it. Kept like a change of our own,
    /// since others will see it from the next run on: a death in that run must not take it back.
    pub fn on_own_past(&mut self, op: &SignedOp, ctx: &mut Context) {
        if op.kind() == OpKind::State
            && let Ok(entry) = minicbor::decode::<StateEntry>(op.body())
            && entry.version >= self.own.state.version
        {
            self.own.state.version = entry.version.saturating_add(1);
            ctx.out.persist(Persist::State(self.own.state.clone()));
        }
    }

    /// The own state with its version.
    #[must_use]
    pub fn own_state(&self) -> &NodeSnapshot {
        &self.own.state
    }
}

fn fact(key: &str, json: Option<&String>, version: u64) -> (OpKind, Vec<u8>, Vec<u8>) {
    let entry = StateEntry { json: json.cloned(), version };
    let body = minicbor::to_vec(&entry).expect("encoding into memory cannot fail");
    (OpKind::State, key.as_bytes().to_vec(), body)
}

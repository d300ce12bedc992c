//! Decides how this node's own facts are numbered, signed and told, the state not before it is on disk: it is the only writer of
//! its lane.

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
    /// As the application set it.
    state: NodeSnapshot,
    /// As it is on disk: nothing later is told, since after a crash its version would be given to something else.
    kept: NodeSnapshot,
    /// On its way to the disk. One at a time, so that those who change it without a pause are told too.
    asked: Option<NodeSnapshot>,
    /// Whether the state was told in this run.
    is_told: bool,
    epoch: Epoch,
    next_seq: u64,
    announce: Option<Instant>,
    announced: bool,
}

impl Own {
    /// `unkept` is later than what is on disk, where a run goes on in the memory of the one before.
    pub(super) fn new(kept: NodeSnapshot, unkept: Option<NodeSnapshot>, epoch: Epoch) -> Self {
        let state = unkept.unwrap_or_else(|| kept.clone());
        Self { state, kept, asked: None, is_told: false, epoch, next_seq: 1, announce: None, announced: false }
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

    /// Says the whole own state, as the disk remembered it: the first words of a run after its card. What is not on disk yet is
    /// said when it is.
    pub fn publish_saved(&mut self, now: Instant, ctx: &mut Context) {
        if self.own.state.version > self.own.kept.version {
            return self.keep_state(ctx);
        }
        self.tell_kept(now, NodeSnapshot::default(), ctx);
    }

    /// Changes the own state. Changes that break a limit are ignored whole: the caller checked them.
    pub fn set_state(&mut self, changes: &[StateChange], wall: WallTime, ctx: &mut Context) {
        let Ok(values) = self.own.state.changed_by(changes) else { return };
        if values == self.own.state.values {
            return;
        }
        self.own.state = NodeSnapshot { version: self.own.state.version + 1, changed: wall, values };
        ctx.roster.touch();
        self.keep_state(ctx);
    }

    /// The own state of this version is on disk: it is told, and what came meanwhile is kept next.
    pub fn on_state_kept(&mut self, now: Instant, version: u64, ctx: &mut Context) {
        // The answer may be to a question of the run before, whose state went on in this one.
        let Some(asked) = self.own.asked.take_if(|asked| asked.version == version) else { return };
        let before = std::mem::replace(&mut self.own.kept, asked);
        let told = if self.own.is_told { before } else { NodeSnapshot::default() };
        self.tell_kept(now, told, ctx);
        self.keep_state(ctx);
    }

    /// Asks for the newest state to be kept, unless one is on its way to the disk.
    fn keep_state(&mut self, ctx: &mut Context) {
        if self.own.asked.is_none() && self.own.state.version > self.own.kept.version {
            self.own.asked = Some(self.own.state.clone());
            ctx.out.persist(Persist::State(self.own.state.clone()));
        }
    }

    /// The node says goodbye: what is not on disk yet must be there for the next run, whatever is on its way.
    pub fn keep_last_state(&mut self, ctx: &mut Context) {
        if self.own.state.version > self.own.kept.version {
            ctx.out.persist(Persist::State(self.own.state.clone()));
        }
    }

    /// Tells what is on disk, as far as it is not what was told.
    fn tell_kept(&mut self, now: Instant, told: NodeSnapshot, ctx: &mut Context) {
        let kept = &self.own.kept;
        let keys: BTreeSet<&String> = told.values.keys().chain(kept.values.keys()).collect();
        let changed = keys.into_iter().filter(|key| told.values.get(*key) != kept.values.get(*key));
        let whole = kept.digest();
        let fact = |key: &str| {
            let entry = StateEntry { json: kept.values.get(key).cloned(), version: kept.version, whole: Some(whole) };
            let body = minicbor::to_vec(&entry).expect("encoding into memory cannot fail");
            (OpKind::State, key.as_bytes().to_vec(), body)
        };
        let mut facts: Vec<_> = changed.map(|key| fact(key)).collect();
        if facts.is_empty() && kept.version > 0 {
            // No key is left, or each is as it was told: without this others would show another version.
            facts.push(fact(NO_KEY));
        }
        self.own.is_told = true;
        self.publish_at(now, facts, self.own.kept.changed, ctx);
    }

    /// Others remember a later version of our state than we do: ours goes on above it, and the disk knows before anybody.
    pub fn on_own_past(&mut self, op: &SignedOp, ctx: &mut Context) {
        if op.kind() == OpKind::State
            && let Ok(entry) = minicbor::decode::<StateEntry>(op.body())
            && entry.version >= self.own.state.version
        {
            self.own.state.version = entry.version.saturating_add(1);
            self.keep_state(ctx);
        }
    }

    /// The own state as others are told of it: what is on disk.
    #[must_use]
    pub fn kept_state(&self) -> &NodeSnapshot {
        &self.own.kept
    }

    /// The own state with its version.
    #[must_use]
    pub fn own_state(&self) -> &NodeSnapshot {
        &self.own.state
    }
}

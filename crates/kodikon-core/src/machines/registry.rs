//! Decides which sightings are shown: the newest of each that nobody took back and whose time is not over, as many as there is room for.

mod find;
mod places;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::config::Deletes;
use crate::ground::id::{Epoch, NodeId, Seq};
use crate::machines::registry::places::{Places, Rank};
use crate::model::logged::{LogBody, Logged};
use crate::model::op::{OpId, OpLane, SignedOp};
use crate::model::record::{
    DeleteBody, MAX_DELETED, MAX_RECORDS, MAX_REMOVED, RecordBody, RecordEntry, RegistryView, Removed, Sighting,
};

pub use find::{Looked, seen_at};

/// Bytes of all sightings: [`MAX_RECORDS`] with an embedding of 512 numbers in f16 each, which are 1,330 B.
pub const MAX_BYTES: usize = 256 << 20;
/// Sightings of one author at most, and their bytes: three quarters, so that no single one crowds out all others. An import of half
/// of the room fits.
pub const MAX_OF_AUTHOR: usize = MAX_RECORDS / 4 * 3;
const MAX_AUTHOR_BYTES: usize = MAX_BYTES / 4 * 3;
/// Sightings that stay on this node, and their bytes: a quarter of the room, beside the others'.
pub const MAX_LOCAL: usize = MAX_RECORDS / 4;
const MAX_LOCAL_BYTES: usize = MAX_BYTES / 4;

/// A sighting that is shown.
#[derive(Debug)]
struct Entry {
    op: SignedOp,
    hash: Arc<str>,
    born_ms: i64,
    rank: Rank,
    sighting: Sighting,
    /// What it adds to the digest of the content; what stays here adds nothing.
    digest: u64,
}

impl Entry {
    fn is_local(&self) -> bool {
        self.op.lane() == OpLane::Local
    }
}

/// What is shown. See the file's first line.
#[derive(Debug, Default)]
pub struct Registry {
    shown: BTreeMap<OpId, Entry>,
    places: Places,
    /// Of sightings whose newest word is not their first: which it is.
    updated: BTreeMap<Sighting, OpId>,
    /// What was taken back, by which delete, up to which op: also of sightings that have not come yet. One table, since a table for each
    /// sighting, of mostly one delete, would take ten times as much.
    dead: BTreeMap<(Sighting, OpId), OpId>,
    /// What each delete that is held names.
    deletes: BTreeMap<OpId, Vec<Removed>>,
    holds_local: bool,
    version: u64,
    content: u64,
}

/// What an order to delete comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// What is to be said to all.
    pub bodies: Vec<DeleteBody>,
    /// What goes of this node alone.
    pub local: Vec<OpId>,
    /// The newest ops of all of them.
    pub ids: Vec<OpId>,
}

impl Registry {
    /// Nothing is shown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An op of the log is here for the first time, or was on the disk when the node began. Whether it is a sighting that is
    /// shown now.
    pub fn on_logged(&mut self, logged: &Logged, ctx: &mut Context) -> bool {
        let id = OpId::of(&logged.op);
        match &logged.body {
            LogBody::Record(body) => self.on_record(id, logged, body, ctx),
            LogBody::Delete(body) => {
                self.on_delete(id, body, ctx);
                false
            }
            LogBody::Alert(_) | LogBody::Ack(_) | LogBody::Unknown => false,
        }
    }

    fn on_record(&mut self, id: OpId, logged: &Logged, body: &RecordBody, ctx: &mut Context) -> bool {
        let sighting = sighting_of(id, body);
        let is_dead = self.is_dead(&sighting, &id);
        let current = self.current(&sighting);
        if current == Some(id) {
            return true;
        }
        if is_dead || current.is_some_and(|current| current > id) {
            ctx.out.notice(Notice::LogSpent(vec![id]));
            return false;
        }
        if let Some(current) = current {
            self.hide(&current, ctx);
            ctx.out.notice(Notice::LogSpent(vec![current]));
        }
        let entry = Entry {
            op: logged.op.clone(),
            hash: Arc::from(body.hash_value.as_str()),
            born_ms: logged.born_ms,
            rank: Rank::of(&id, body.confidence),
            sighting,
            digest: match logged.op.lane() {
                OpLane::Local => 0,
                OpLane::Log | OpLane::Live => logged.digest,
            },
        };
        // It stays so for the run: a card is signed anew for all to read, and a node that keeps things to itself does so again.
        // What it kept under a former identity nobody takes from it.
        let is_sought = entry.is_local() && id.author == ctx.me.id && body.embedding.is_some();
        if is_sought && !std::mem::replace(&mut self.holds_local, true) {
            ctx.out.notice(Notice::RenewCard);
        }
        self.show(id, entry, ctx);
        self.make_room(&id.author, ctx);
        self.shown.contains_key(&id)
    }

    fn on_delete(&mut self, id: OpId, body: &DeleteBody, ctx: &mut Context) {
        let is_allowed = |removed: &&Removed| ctx.config.deletes == Deletes::All || removed.author == id.author.0;
        let removes: Vec<Removed> = body.removes.iter().filter(is_allowed).copied().collect();
        if removes.is_empty() {
            ctx.out.notice(Notice::LogSpent(vec![id]));
            return;
        }
        for removed in &removes {
            let (sighting, newest) = (removed.sighting(), removed.newest());
            let up_to = self.dead.entry((sighting, id)).or_insert(newest);
            *up_to = (*up_to).max(newest);
            if let Some(current) = self.current(&sighting).filter(|current| *current <= newest) {
                self.hide(&current, ctx);
                ctx.out.notice(Notice::LogSpent(vec![current]));
                ctx.stats.records_deleted += 1;
            }
        }
        self.deletes.insert(id, removes);
    }

    /// The time of an op is over, or it made room.
    pub fn on_over(&mut self, id: &OpId, ctx: &mut Context) {
        if self.shown.contains_key(id) {
            self.hide(id, ctx);
        }
        for removed in self.deletes.remove(id).unwrap_or_default() {
            self.dead.remove(&(removed.sighting(), *id));
        }
    }

    /// Whether a delete that is held takes an op of a sighting back.
    fn is_dead(&self, sighting: &Sighting, id: &OpId) -> bool {
        let op = |byte: u8, number: u64| OpId { author: NodeId([byte; 16]), epoch: Epoch(number), seq: Seq(number) };
        let deletes = (*sighting, op(0, 0))..=(*sighting, op(u8::MAX, u64::MAX));
        self.dead.range(deletes).any(|(_, up_to)| up_to >= id)
    }

    /// The newest op that is shown of a sighting.
    fn current(&self, sighting: &Sighting) -> Option<OpId> {
        self.updated.get(sighting).copied().or(Some(sighting.0)).filter(|id| self.shown.contains_key(id))
    }

    fn show(&mut self, id: OpId, entry: Entry, ctx: &mut Context) {
        if entry.sighting.0 != id {
            self.updated.insert(entry.sighting, id);
        }
        self.content = self.content.wrapping_add(entry.digest);
        self.version += 1;
        self.places.add(&id, &entry);
        ctx.out.notice(Notice::RecordShown(RecordEntry { id, op: entry.op.clone() }));
        self.shown.insert(id, entry);
    }

    fn hide(&mut self, id: &OpId, ctx: &mut Context) {
        let Some(entry) = self.shown.remove(id) else { return };
        self.updated.remove(&entry.sighting);
        self.content = self.content.wrapping_sub(entry.digest);
        self.version += 1;
        self.places.remove(id, &entry);
        ctx.out.notice(Notice::RecordGone(*id));
    }

    /// What is too much goes: the least sure, of those equally sure the one whose name has the smallest hash. It is the same on
    /// all nodes, in whatever order they heard of what there is.
    fn make_room(&mut self, author: &NodeId, ctx: &mut Context) {
        while let Some(victim) = self.places.crowded(author) {
            self.hide(&victim, ctx);
            ctx.stats.log_evicted += 1;
            ctx.out.notice(Notice::LogCrowded(victim));
        }
    }

    /// Whether this node keeps sightings to itself that a search may find, or did in this run.
    #[must_use]
    pub fn holds_local(&self) -> bool {
        self.holds_local
    }

    /// Whether a sighting that another node tells of was taken back, or something newer is known of it.
    #[must_use]
    pub fn is_past(&self, id: OpId, body: &RecordBody) -> bool {
        let sighting = sighting_of(id, body);
        self.is_dead(&sighting, &id) || self.current(&sighting).is_some_and(|current| current > id)
    }

    /// Whether this node may keep one more sighting to itself.
    #[must_use]
    pub fn has_local_room(&self, bytes: usize) -> bool {
        self.places.local < MAX_LOCAL && self.places.local_bytes + bytes <= MAX_LOCAL_BYTES
    }

    /// The first word of a sighting of this node's that its op told of, if an update of it may be told: it is shown, of the same
    /// thing, and as private as the update.
    #[must_use]
    pub fn first_of(&self, id: &OpId, hash: &str, is_local: bool) -> Option<Sighting> {
        let sighting = self.shown.get(id).filter(|entry| &*entry.hash == hash && entry.is_local() == is_local)?;
        Some(sighting.sighting)
    }

    /// What an order to delete comes to: of all that is shown of something, or of what this node told.
    #[must_use]
    pub fn deletion(&self, hash: &str, me: Option<&NodeId>, left_ms: impl Fn(&OpId) -> u64) -> Deletion {
        let mut deletion = Deletion::default();
        let mut removes = Vec::new();
        for id in self.places.of_hash(hash) {
            let Some(entry) = self.shown.get(&id) else { continue };
            if entry.is_local() {
                deletion.local.push(id);
            } else if me.is_none_or(|me| *me == id.author) && removes.len() < MAX_DELETED {
                removes.push((Removed::up_to(id, entry.sighting), left_ms(&id)));
            } else {
                continue;
            }
            deletion.ids.push(id);
        }
        for chunk in removes.chunks(MAX_REMOVED) {
            deletion.bodies.push(DeleteBody {
                hash_value: hash.to_owned(),
                removes: chunk.iter().map(|(removed, _)| *removed).collect(),
                ttl_ms: chunk.iter().map(|(_, left)| *left).max().unwrap_or(0),
            });
        }
        deletion
    }

    /// The registry in numbers.
    #[must_use]
    pub fn view(&self) -> RegistryView {
        RegistryView {
            records: self.shown.len() - self.places.local,
            local: self.places.local,
            version: self.version,
            content: self.content,
            bytes: self.places.bytes + self.places.local_bytes,
        }
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let (most, most_bytes) = self.places.largest();
        vec![
            ("records", self.shown.len() - self.places.local, MAX_RECORDS),
            ("record_bytes", self.places.bytes, MAX_BYTES),
            ("records_of_an_author", most, MAX_OF_AUTHOR),
            ("record_bytes_of_an_author", most_bytes, MAX_AUTHOR_BYTES),
            ("local_records", self.places.local, MAX_LOCAL),
            ("local_record_bytes", self.places.local_bytes, MAX_LOCAL_BYTES),
        ]
    }

    /// The op that tells of a sighting, while it is shown.
    #[must_use]
    pub fn get(&self, id: &OpId) -> Option<&SignedOp> {
        self.shown.get(id).map(|entry| &entry.op)
    }
}

/// Of which sighting an op tells.
fn sighting_of(id: OpId, body: &RecordBody) -> Sighting {
    let first = body.replaces.map(|(epoch, seq)| OpId { author: id.author, epoch: Epoch(epoch), seq: Seq(seq) });
    Sighting(first.unwrap_or(id))
}

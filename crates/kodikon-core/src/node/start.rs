//! Decides how a node begins, what its card says, and how it goes.

use core::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::effect::context::{Context, Myself};
use crate::effect::log::{Embedded, LogRow, ReadRows, Reckoned};
use crate::effect::outbox::{Destination, Notice, Outbox};
use crate::effect::{Interface, Medium};
use crate::ground::config::MAX_PEERS;
use crate::ground::excess::Offenders;
use crate::ground::id::{Epoch, InterfaceIndex, Life, SessionTag};
use crate::ground::random::Random;
use crate::ground::stats::Stats;
use crate::ground::time::{Duration, Instant};
use crate::machines::alerts::Alerts;
use crate::machines::broadcast::Broadcasts;
use crate::machines::discovery::Discovery;
use crate::machines::liveness::Liveness;
use crate::machines::membership::Membership;
use crate::machines::messages::Messages;
use crate::machines::registry::Registry;
use crate::machines::replication::Replication;
use crate::machines::routing::Routing;
use crate::machines::search::Searches;
use crate::model::member::{
    ANSWERS_SEARCHES, Card, CardAddress, HOLDS_LOCAL, Liveness as Held, MAX_ADDRESSES, READS_PACKED,
};
use crate::model::op::{OpId, OpKind};
use crate::model::roster::{DirectoryEntry, Roster};
use crate::node::disputes::Disputes;
use crate::node::far::Review;
use crate::node::ghosts::Ghosts;
use crate::node::goodbyes::Goodbyes;
use crate::node::missed::Missed;
use crate::node::outbound::Outbound;
use crate::node::{Boot, Node, Saved};
use crate::wire::message::{Bye, Message, bye_bytes};
use crate::wire::seal::{GroupKey, Sessions};

/// When the goodbye is said again: a lost datagram must not cost others a suspicion.
const GOODBYES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(30)];

/// Rows that are taken in together: what is reckoned of them takes a megabyte.
const ROWS_AT_ONCE: usize = 512;

impl Node {
    /// A node that has not spoken yet.
    #[must_use]
    pub fn new(now: Instant, boot: Boot) -> Self {
        let Boot { config, identity, epoch, seed, port, wall, saved, verifier } = boot;
        let mut random = Random::from_seed(seed);
        let me = Myself {
            id: identity.id(),
            identity,
            epoch,
            tag: SessionTag(random.bytes()),
            life: Life(0),
            rank: saved.rank.unwrap_or(1),
            settled: saved.rank.is_some(),
            card: None,
            port,
        };
        let mut roster = Roster::new(config.max_peers.min(MAX_PEERS));
        let cached = remember(&saved, &mut roster);
        let discovery = Discovery::new(now, random.bytes(), &config.peers, &cached);
        let first_beat = now + random.span(config.beat_period());
        let ctx = Context {
            mesh: config.mesh_id(),
            group: GroupKey::new(&config.group_key()),
            sessions: Sessions::new(config.max_peers.min(MAX_PEERS)),
            me,
            roster,
            interfaces: Vec::new(),
            random,
            stats: Stats::default(),
            offenders: Offenders::default(),
            verifier,
            wall_at_start: crate::ground::time::WallTime(wall.0.saturating_sub(now.as_nanos() / 1_000_000)),
            first_beat,
            out: Outbox::default(),
            config,
        };
        let liveness = Liveness::new(now, &ctx);
        let membership = Membership::new(now, saved.rank.is_some());
        let mut log = saved.log;
        let (rows, unkept) = (std::mem::take(&mut log.rows), std::mem::take(&mut log.unkept));
        let lost = ReadRows { lost: std::mem::take(&mut log.lost), ..ReadRows::default() };
        let replication = Replication::new(now, (saved.state, saved.unkept_state), log, &ctx);
        let outbound = Outbound::new(&ctx);
        let mut node = Self {
            routing: Routing::new(now, ctx.me.id),
            ctx,
            discovery,
            membership,
            liveness,
            replication,
            messages: Messages::new(Random::from_seed(blake3::derive_key("kodikon mesh 2026-11 places", &seed)).bits()),
            broadcasts: Broadcasts::new(now),
            alerts: Alerts::new(),
            registry: Registry::new(),
            searches: Searches::new(),
            outbound,
            ghosts: Ghosts::default(),
            review: Review::default(),
            disputes: Disputes::default(),
            goodbyes: Goodbyes::default(),
            missed: Missed::default(),
            planned: Cell::default(),
            latest: now,
            left: false,
        };
        node.take_in(now, lost, &unkept);
        node.take_in_all(now, rows, &unkept);
        node
    }

    fn take_in_all(&mut self, now: Instant, rows: Vec<LogRow>, unkept: &BTreeSet<OpId>) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut part = ReadRows::default();
            rows.by_ref().take(ROWS_AT_ONCE).for_each(|row| part.add(row));
            self.take_in(now, part, unkept);
        }
    }

    /// Takes in rows that the disk held, before the first input: in parts, so that one is taken in while the next is read, and in any
    /// order.
    pub fn restore(&mut self, now: Instant, rows: ReadRows) {
        self.take_in(now, rows, &BTreeSet::new());
    }

    /// The same, where some are not on disk.
    fn take_in(&mut self, now: Instant, rows: ReadRows, unkept: &BTreeSet<OpId>) {
        let Self { replication, alerts, registry, searches, ctx, .. } = self;
        let ReadRows { rows, lost, spaces, sketches } = rows;
        let mut embeddings = BTreeMap::new();
        let rows = rows.into_iter().map(|(row, Reckoned { digest, embedding })| {
            embedding.into_iter().for_each(|one| _ = embeddings.insert(OpId::of(&row.op), one));
            (row, digest)
        });
        replication.restore(now, (rows, &lost), unkept, ctx, |logged, ctx| {
            registry.on_logged(&logged, ctx);
            alerts.restore(logged, &ctx.me.id);
        });
        // What can be found has its place when the run begins. All else waits for the first input, by which the node learns where it is.
        for notice in ctx.out.take_notices() {
            if let Notice::RecordGone(id) = &notice {
                searches.on_gone(id);
            } else if let Notice::RecordShown(entry) = notice {
                match embeddings.remove(&entry.id) {
                    Some(Embedded { space, sketch, entry: read }) => {
                        searches.place(entry.id, &spaces[space], read, sketches.get(sketch));
                    }
                    None => searches.on_shown(entry),
                }
            } else {
                ctx.out.notice(notice);
            }
        }
    }

    /// The host's interfaces, at start and after each change.
    pub(super) fn on_interfaces(&mut self, now: Instant, interfaces: &[Interface]) {
        let usable = usable(interfaces);
        if usable == self.ctx.interfaces && self.ctx.me.card.is_some() {
            return;
        }
        // Nodes of one host hear each other by loopback also where it is not spoken on, since there are others.
        let (was, is) = (outward(&self.ctx.interfaces), outward(&usable));
        self.ctx.roster.review_paths(&was, &is);
        self.ctx.interfaces = usable;
        let is_first = self.ctx.me.card.is_none();
        self.renew_card(now);
        if is_first {
            self.replication.publish_saved(now, &mut self.ctx);
            self.alerts.begin(now, &mut self.ctx);
        }
        self.discovery.on_interfaces(now, &mut self.ctx);
        self.routing.on_change(now, &self.ctx);
        self.missed.put_off(now, self.ctx.config.heartbeat_timeout);
        self.liveness.on_interfaces(now, !is_first && !is.is_subset(&was), &self.ctx);
        // The burst's first HELLO and the first beat need not wait for a wake of their own.
        self.on_wake(now);
    }

    /// Signs the card anew, if it would say something else.
    pub(super) fn renew_card(&mut self, now: Instant) {
        // Until then somebody may hold what this node has forgotten.
        let log_floor = self.replication.own_log_floor(&self.ctx).filter(|_| self.alerts.is_floor_safe());
        let log_floor = log_floor.map(|floor| floor.0);
        let me = &self.ctx.me;
        let card = Card {
            public_key: me.identity.public_key(),
            exchange_key: me.identity.exchange_key(),
            tag: me.tag.0,
            life: me.life.0,
            name: self.ctx.config.node_name.clone(),
            rank: me.rank,
            settled: me.settled,
            addresses: announced(&self.ctx.interfaces, me.port),
            version: self.ctx.config.version.clone(),
            features: Some(READS_PACKED | ANSWERS_SEARCHES | if self.registry.holds_local() { HOLDS_LOCAL } else { 0 }),
            log_floor,
        };
        let body = minicbor::to_vec(&card).expect("encoding into memory cannot fail");
        if me.card.as_ref().is_some_and(|held| held.body() == body && held.epoch() == me.epoch) {
            return;
        }
        let op = self.replication.publish(now, vec![(OpKind::Card, Vec::new(), body)], &mut self.ctx);
        self.ctx.me.card = op.into_iter().next();
    }

    /// Says goodbye; silent afterwards.
    pub(super) fn leave(&mut self, now: Instant) {
        let me = &self.ctx.me;
        let signature = me.identity.sign(&bye_bytes(self.ctx.mesh, &me.id.0, me.epoch.0));
        let bye = Message::Bye(Bye { epoch: me.epoch.0, author: me.id.0, signature });
        self.membership.keep_directory(now, &mut self.ctx);
        self.messages.on_end(&mut self.ctx);
        self.share_receipts(now, None);
        self.replication.write_last(now, &mut self.ctx);
        self.replication.keep_last_state(&mut self.ctx);
        for after in GOODBYES {
            self.outbound.later(now + after, Destination::Everyone, bye.clone());
        }
        self.liveness.fall_silent();
        self.discovery.fall_silent();
        self.flush(now);
        self.liveness.close_streams(&mut self.ctx);
        self.replication.close_pipes(None, &mut self.ctx);
        self.left = true;
    }

    /// The host slept or its clock jumped: frames from here on bear a new tag, so that no counter is ever used twice.
    pub(super) fn on_disturbed(&mut self, now: Instant) {
        self.ctx.me.tag = SessionTag(self.ctx.random.bytes());
        self.missed.put_off(now, self.ctx.config.heartbeat_timeout);
        self.outbound.restart(&self.ctx);
        self.renew_card(now);
        self.discovery.show(now);
    }

    /// Goes on in a new run: under the same identity, or under a new one.
    pub(super) fn begin_run(&mut self, now: Instant, secret: Option<[u8; 32]>, epoch: Epoch) {
        self.liveness.close_streams(&mut self.ctx);
        self.replication.close_pipes(None, &mut self.ctx);
        self.messages.on_end(&mut self.ctx);
        let scans = self.searches.on_end(now, &mut self.ctx);
        self.replication.end_log(now, &mut self.ctx);
        // What the last own words mean is known after this: what a delete takes back must not be held in the next run.
        self.read_notices(now);
        if secret.is_some() {
            self.alerts.disown(now, &mut self.ctx);
        }
        self.replication.write_owed(now, &mut self.ctx);
        let asked = self.replication.asked();
        let (state, newest) = (self.replication.kept_state().clone(), self.replication.own_state().clone());
        let saved = Saved {
            log: self.replication.saved_log(now),
            unkept_state: Some(newest).filter(|newest| newest.version > state.version),
            state,
            // A copy's claim to the name is no older than its identity.
            rank: (secret.is_none() && self.ctx.me.settled).then_some(self.ctx.me.rank),
            directory: crate::machines::membership::remembered(now, &self.ctx),
        };
        // Nothing is signed from here on.
        let identity = match secret {
            Some(secret) => crate::model::identity::Identity::from_secret(&secret),
            None => {
                std::mem::replace(&mut self.ctx.me.identity, crate::model::identity::Identity::from_secret(&[0; 32]))
            }
        };
        let boot = Boot {
            config: self.ctx.config.clone(),
            identity,
            epoch,
            seed: self.ctx.random.bytes(),
            port: self.ctx.me.port,
            wall: self.ctx.wall(now),
            saved,
            verifier: std::mem::replace(
                &mut self.ctx.verifier,
                Box::new(crate::model::identity::Zip215Verifier::default()),
            ),
        };
        let casts = std::mem::replace(&mut self.broadcasts, Broadcasts::new(now));
        let (missed, version) = (self.miss_all(now), self.ctx.roster.version());
        let interfaces = std::mem::take(&mut self.ctx.interfaces);
        let out = std::mem::take(&mut self.ctx.out);
        let stats = std::mem::take(&mut self.ctx.stats);
        let mut sessions = std::mem::replace(&mut self.ctx.sessions, Sessions::new(0));
        sessions.forget_all();
        *self = Self::new(now, boot);
        self.ctx.sessions = sessions;
        let begun = std::mem::replace(&mut self.ctx.out, out).take_notices();
        begun.into_iter().for_each(|notice| self.ctx.out.notice(notice));
        self.ctx.stats = stats;
        self.ctx.roster.go_on(version);
        self.missed = missed;
        match secret {
            Some(_) => casts.give_up(&mut self.ctx),
            None => self.broadcasts.go_on(casts),
        }
        self.searches.go_on(scans);
        self.replication.go_on(asked);
        self.on_interfaces(now, &interfaces);
    }
}

/// Enters what the disk remembers into the directory; returns where to look for those nodes.
fn remember(saved: &Saved, roster: &mut Roster) -> Vec<std::net::SocketAddr> {
    let mut cached = Vec::new();
    for known in &saved.directory {
        if !known.left {
            cached.extend(known.addresses.iter().copied());
        }
        let entry = DirectoryEntry {
            epoch: known.epoch,
            life: known.life,
            name: known.name.clone(),
            liveness: if known.left { Held::Left } else { Held::Failed },
            reason: if known.left { "goodbye" } else { "not heard since this node started" },
            heard: None,
            wall: known.wall,
            signed: known.signed.clone(),
            addresses: known.addresses.clone(),
        };
        roster.remember(known.id, entry);
    }
    cached
}

/// Those that lead out of this host.
fn outward(interfaces: &[Interface]) -> BTreeSet<InterfaceIndex> {
    let leads_out = |interface: &&Interface| interface.medium != Medium::Loopback;
    interfaces.iter().filter(leads_out).map(|interface| interface.index).collect()
}

/// The interfaces worth speaking on: with a carrier and an address; loopback only where there is nothing else.
fn usable(interfaces: &[Interface]) -> Vec<Interface> {
    let able = |interface: &&Interface| interface.carrier && !interface.addresses.is_empty();
    let (loopback, real): (Vec<Interface>, Vec<Interface>) =
        interfaces.iter().filter(able).cloned().partition(|interface| interface.medium == Medium::Loopback);
    if real.is_empty() { loopback } else { real }
}

/// What others may be told to send to: no loopback, no bridge of this host's own, no link-local address (which means
/// something on its own link alone).
fn announced(interfaces: &[Interface], port: u16) -> Vec<CardAddress> {
    let real = interfaces.iter().filter(|interface| matches!(interface.medium, Medium::Wired | Medium::Wireless));
    let addresses = real.flat_map(|interface| &interface.addresses).filter(|address| match address.address {
        std::net::IpAddr::V4(ip) => !ip.is_loopback(),
        std::net::IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    });
    addresses
        .map(|address| CardAddress { ip: address.address, port, prefix: address.prefix })
        .take(MAX_ADDRESSES)
        .collect()
}

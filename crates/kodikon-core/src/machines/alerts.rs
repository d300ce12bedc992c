//! Decides what an application learns of alerts: each once, who else has it, who acknowledged it, and when its time is over.

mod receipts;
mod retry;

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Event;
use crate::effect::context::Context;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant, WallTime, millis};
use crate::machines::alerts::receipts::{News, Receipts, Standing};
use crate::machines::alerts::retry::Retry;
use crate::model::alert::{
    ALERT_BURST, ALERT_RATE, AckBody, AckOrder, AlertBody, AlertId, AlertOrder, AlertView, CRITICAL_BURST,
    CRITICAL_RATE, Holders, MAX_TTL, Raised, ReceiptBody, ReceiptNumber,
};
use crate::model::letter::{Priority, Ticket};
use crate::model::logged::{LogBody, Logged};
use crate::model::member::Liveness;
use crate::model::op::{OpId, OpKind, SignedOp};

/// Acknowledgements of alerts that are not here yet; the oldest makes room.
const MAX_EARLY_ACKS: usize = 256;
/// Acknowledgements shown of one alert: more people than a control room has.
const MAX_ACKS: usize = 64;
/// A node that was heard within this is owed an alert; whoever is away for longer is gone.
const OWED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Why somebody is missing whose receipt had not come when the alert ended.
const EXPIRED: &str = "expired";
/// So long after the first peer came all that others hold of our earlier runs is here, or will never be.
const FLOOR_AFTER: Duration = Duration::from_secs(600);

/// Alerts. See the file's first line.
#[derive(Debug)]
pub struct Alerts {
    active: BTreeMap<AlertId, Active>,
    /// Those of them that this node raised.
    own: BTreeSet<OpId>,
    /// Acknowledgements, by the alert that they speak of, of alerts that are not here yet.
    early: RecentMap<AlertId, Vec<Ack>>,
    receipts: Receipts,
    retry: Retry,
    rate: TokenBucket,
    critical_rate: TokenBucket,
    floor_at: Option<Instant>,
    is_floor_safe: bool,
}

/// An alert whose time is not over.
#[derive(Debug)]
struct Active {
    op: SignedOp,
    priority: Priority,
    source: String,
    expires: Instant,
    acks: Vec<Ack>,
    late: bool,
    repeated: bool,
    kept: bool,
}

/// Somebody has seen an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ack {
    by: String,
    wall: WallTime,
}

/// What an order becomes in the log.
#[derive(Debug)]
pub struct Statement {
    /// Of which kind.
    pub kind: OpKind,
    /// What it says.
    pub body: Vec<u8>,
    /// The alert that is acknowledged; `None`: the op is the alert.
    pub alert: Option<AlertId>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self::new()
    }
}

impl Alerts {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            active: BTreeMap::new(),
            own: BTreeSet::new(),
            early: RecentMap::new(MAX_EARLY_ACKS),
            receipts: Receipts::new(),
            retry: Retry::default(),
            rate: TokenBucket::new(ALERT_RATE, ALERT_BURST),
            critical_rate: TokenBucket::new(CRITICAL_RATE, CRITICAL_BURST),
            floor_at: None,
            is_floor_safe: false,
        }
    }

    /// The application wants an alert raised.
    pub fn raise(&mut self, now: Instant, order: &AlertOrder, source: &str, ctx: &mut Context) -> Option<Statement> {
        let bucket = if order.priority == Priority::Critical { &mut self.critical_rate } else { &mut self.rate };
        if !bucket.take(now, 1) {
            ctx.stats.alerts_refused += 1;
            refuse(order.ticket, "more alerts a second than a node may raise", ctx);
            return None;
        }
        let body = AlertBody {
            priority: order.priority as u8,
            ttl_ms: millis(order.ttl.min(MAX_TTL)),
            source: source.to_owned(),
            payload: order.payload.clone(),
        };
        let body = minicbor::to_vec(&body).expect("encoding into memory cannot fail");
        Some(Statement { kind: OpKind::Alert, body, alert: None })
    }

    /// A person has seen an alert.
    pub fn acknowledge(&mut self, now: Instant, order: &AckOrder, ctx: &mut Context) -> Option<Statement> {
        let Some(active) = self.active.get(&order.alert) else {
            ctx.out.event(Event::Raised { ticket: order.ticket, outcome: Raised::Unknown });
            return None;
        };
        if active.acks.iter().any(|ack| ack.by == order.by) {
            // Said already, and each word of it would be kept by all for as long as the alert lasts.
            let outcome = Raised::Done { alert: order.alert, durable: active.kept };
            ctx.out.event(Event::Raised { ticket: order.ticket, outcome });
            return None;
        }
        if !self.rate.take(now, 1) {
            ctx.stats.alerts_refused += 1;
            refuse(order.ticket, "more acknowledgements a second than a node may tell", ctx);
            return None;
        }
        let about = OpId::of(&active.op);
        let body = AckBody {
            author: about.author.0,
            epoch: about.epoch.0,
            seq: about.seq.0,
            by: order.by.clone(),
            ttl_ms: millis(active.expires.since(now)),
        };
        let body = minicbor::to_vec(&body).expect("encoding into memory cannot fail");
        Some(Statement { kind: OpKind::AlertAck, body, alert: Some(order.alert) })
    }

    /// The log has no room for what this node wants to say.
    pub fn refused(&mut self, ticket: Ticket, ctx: &mut Context) {
        ctx.stats.alerts_refused += 1;
        refuse(ticket, "as many of this node's alerts are active as may be: let some end", ctx);
    }

    /// What the disk held when the node began: nothing of it is told again.
    pub fn restore(&mut self, logged: Logged, me: &NodeId) {
        match &logged.body {
            LogBody::Alert(_) => self.activate(logged, me),
            LogBody::Ack(ack) => _ = self.note_ack(&logged.op, ack),
            // Of the registry, and not of alerts.
            LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown => {}
        }
    }

    /// A run begins: whoever raised what is active is told that it is here, as nobody knows of this run yet.
    pub fn begin(&mut self, now: Instant, ctx: &mut Context) {
        let authors: BTreeSet<NodeId> = self.active.values().map(|active| active.op.author()).collect();
        let me = ctx.me.id;
        self.receipts.begin(now, authors.into_iter().filter(|author| *author != me), ctx);
    }

    /// An op of the log is here for the first time.
    pub fn on_logged(&mut self, now: Instant, logged: Logged, ctx: &mut Context) {
        let (author, op) = (logged.op.author(), logged.op.clone());
        let is_own = author == ctx.me.id;
        match &logged.body {
            LogBody::Alert(body) => {
                let alert = AlertId::of(&OpId::of(&op));
                if !is_own {
                    ctx.stats.alerts_received += 1;
                    ctx.out.event(Event::Alert {
                        alert,
                        from: author,
                        name: body.source.clone(),
                        priority: logged.body.priority(),
                        payload: body.payload.clone(),
                        wall: op.wall(),
                        late: logged.late,
                        repeated: logged.repeated,
                    });
                } else {
                    ctx.stats.alerts_sent += 1;
                }
                let (priority, is_late) = (logged.body.priority(), logged.late);
                self.activate(logged, &ctx.me.id);
                if !is_late || is_own {
                    self.retry.watch(now, alert, priority, ctx.roster.len());
                }
            }
            LogBody::Ack(ack) => {
                let alert = AlertId::of(&ack.about());
                let is_news = self.note_ack(&op, ack);
                if is_news && !is_own {
                    let name = ctx.roster.get(&author).map(|peer| peer.card.shown_name()).unwrap_or_default();
                    let (by, wall) = (ack.by.clone(), op.wall());
                    ctx.out.event(Event::AlertAck { alert, from: author, name, by, wall });
                }
            }
            LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown => {}
        }
        if !is_own {
            let is_critical =
                op.kind() == OpKind::Alert && self.priority_of(&OpId::of(&op)) == Some(Priority::Critical);
            self.receipts.owe(now, author, if is_critical { News::Critical } else { News::Shown }, ctx);
        }
    }

    fn activate(&mut self, logged: Logged, me: &NodeId) {
        let Logged { op, body, expires, kept, late, repeated, .. } = logged;
        let priority = body.priority();
        let LogBody::Alert(body) = body else { return };
        let id = AlertId::of(&OpId::of(&op));
        let acks = self.early.remove(&id).unwrap_or_default();
        self.own.extend(Some(OpId::of(&op)).filter(|id| id.author == *me));
        let active = Active { op, priority, source: body.source, expires, acks, late, repeated, kept };
        self.active.insert(id, active);
    }

    /// Notes that a person has seen an alert; whether that is news. Two nodes may tell the same: the earlier counts, everywhere.
    fn note_ack(&mut self, op: &SignedOp, body: &AckBody) -> bool {
        let (alert, ack) = (AlertId::of(&body.about()), Ack { by: body.by.clone(), wall: op.wall() });
        let acks = match self.active.get_mut(&alert) {
            Some(active) => &mut active.acks,
            None => self.early.get_or_insert_with(alert, Vec::new),
        };
        if let Some(held) = acks.iter_mut().find(|held| held.by == ack.by) {
            held.wall = held.wall.min(ack.wall);
            return false;
        }
        if acks.len() < MAX_ACKS {
            acks.push(ack);
        }
        true
    }

    fn priority_of(&self, id: &OpId) -> Option<Priority> {
        self.active.get(&AlertId::of(id)).map(|active| active.priority)
    }

    /// Ops are on disk.
    pub fn on_kept(&mut self, now: Instant, ids: &[OpId], ctx: &mut Context) {
        for id in ids {
            let active = self.active.get_mut(&AlertId::of(id));
            let is_critical = active.as_ref().is_some_and(|active| active.priority == Priority::Critical);
            if let Some(active) = active {
                active.kept = true;
            }
            if id.author != ctx.me.id {
                self.receipts.owe(now, id.author, if is_critical { News::Critical } else { News::Kept }, ctx);
            }
        }
    }

    /// The time of an op is over, or it made room.
    pub fn on_over(&mut self, now: Instant, id: &OpId, ctx: &mut Context) {
        let alert = AlertId::of(id);
        self.retry.forget(&alert);
        let is_own = self.own.remove(id);
        if let Some(active) = self.active.remove(&alert).filter(|_| is_own) {
            // From now on nobody here can tell who had it: whoever still waits is told a last time.
            let mut last = self.holders(ctx.me.id, &active, &owed(now, ctx));
            last.missing.iter_mut().for_each(|(_, reason)| *reason = EXPIRED);
            ctx.out.event(Event::AlertOver { alert, last });
        }
    }

    /// This node goes on under another identity, to which nobody tells what it has of the former's alerts: whoever still waits is told a
    /// last time.
    pub fn disown(&mut self, now: Instant, ctx: &mut Context) {
        let owed = owed(now, ctx);
        for alert in std::mem::take(&mut self.own).iter().map(AlertId::of) {
            if let Some(active) = self.active.get(&alert) {
                let last = self.holders(ctx.me.id, active, &owed);
                ctx.out.event(Event::AlertOver { alert, last });
            }
        }
    }

    /// A node tells what it has of a log.
    pub fn on_receipt(
        &mut self,
        (receiver, about): (NodeId, NodeId),
        number: ReceiptNumber,
        body: ReceiptBody,
        ctx: &mut Context,
    ) {
        let said = body.clone();
        let Some(before) = self.receipts.note((receiver, about), number, body) else { return };
        if about != ctx.me.id || before.as_ref() == Some(&said) {
            return;
        }
        let name = ctx.roster.get(&receiver).map(|peer| peer.card.shown_name()).unwrap_or_default();
        for id in receipts::gained(about, before.as_ref(), &said).iter().flat_map(|ids| self.own.range(ids.clone())) {
            let (was, is) = (receipts::standing(before.as_ref(), id), receipts::standing(Some(&said), id));
            if is > was {
                let (alert, name) = (AlertId::of(id), name.clone());
                ctx.out.event(Event::Receipt { alert, node: receiver, name, durable: is == Standing::Durable });
            }
        }
    }

    /// Whether there were more receipts than are kept.
    #[must_use]
    pub fn may_have_forgotten(&self) -> bool {
        self.receipts.len() >= receipts::MAX_RECEIPTS
    }

    /// A peer is there: whoever was missing may have come.
    pub fn on_up(&mut self, now: Instant, known: usize) {
        self.floor_at.get_or_insert(now + FLOOR_AFTER);
        let urgent = self.active.iter().filter(|(_, active)| active.priority == Priority::Critical);
        for (alert, active) in urgent {
            self.retry.watch(now, *alert, active.priority, known);
        }
    }

    /// Whether what is not known here of our earlier runs is not known to anybody.
    #[must_use]
    pub fn is_floor_safe(&self) -> bool {
        self.is_floor_safe
    }

    /// Authors who are to be told now what this node has of their logs; and whether that is urgent.
    pub fn receipts_due(&mut self, now: Instant, ctx: &mut Context) -> Vec<(NodeId, bool)> {
        self.receipts.due(now, ctx)
    }

    /// An author is told alone what this node has of its log, and all others later. Whether that is news to it.
    pub fn note_told_alone(&mut self, now: Instant, author: NodeId, body: &ReceiptBody, ctx: &mut Context) -> bool {
        self.receipts.note_told_alone(now, author, body, ctx)
    }

    /// Authors of whose logs all are to be told by then what this node has, or at all.
    pub fn receipts_to_share(&mut self, by: Option<Instant>) -> Vec<NodeId> {
        self.receipts.shares_due(by)
    }

    /// Whether a receipt says something that was not told yet.
    pub fn is_news(&mut self, author: NodeId, body: &ReceiptBody) -> bool {
        self.receipts.is_news(author, body)
    }

    /// Alerts that may be told once more to whoever has not shown them.
    pub fn retries_due(&mut self, now: Instant) -> Vec<(AlertId, OpId)> {
        let due = self.retry.due(now);
        due.into_iter().filter_map(|alert| Some((alert, OpId::of(&self.active.get(&alert)?.op)))).collect()
    }

    /// Whether somebody has shown an alert.
    #[must_use]
    pub fn has_shown(&self, node: &NodeId, id: &OpId) -> bool {
        *node == id.author || self.receipts.of(node, id) > Standing::Nothing
    }

    /// It was told to this many who had not shown it: none ends the retries until somebody comes.
    pub fn retried(&mut self, now: Instant, alert: AlertId, told: usize, ctx: &mut Context) {
        ctx.stats.alerts_repeated += told as u64;
        self.retry.go_on(now, alert, told > 0);
    }

    /// When something here is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let floor = self.floor_at.filter(|_| !self.is_floor_safe);
        [self.receipts.next_deadline(), self.retry.next_deadline(), floor].into_iter().flatten().min()
    }

    /// Whether the floor of the own log may be said from now on.
    pub fn floor_is_due(&mut self, now: Instant) -> bool {
        let due = !self.is_floor_safe && self.floor_at.is_some_and(|at| now >= at);
        self.is_floor_safe |= due;
        due
    }

    /// All active alerts, the most urgent first, of these the newest.
    #[must_use]
    pub fn views(&self, now: Instant, ctx: &Context) -> Vec<AlertView> {
        let owed = owed(now, ctx);
        let mut views: Vec<AlertView> = self
            .active
            .iter()
            .map(|(id, active)| view(now, *id, active, self.holders(ctx.me.id, active, &owed)))
            .collect();
        views.sort_by_key(|view| core::cmp::Reverse((view.priority, view.left)));
        views
    }

    /// One of them, if it is active.
    #[must_use]
    pub fn view_of(&self, now: Instant, id: AlertId, ctx: &Context) -> Option<AlertView> {
        let active = self.active.get(&id)?;
        Some(view(now, id, active, self.holders(ctx.me.id, active, &owed(now, ctx))))
    }

    fn holders(&self, me: NodeId, active: &Active, owed: &BTreeMap<NodeId, &'static str>) -> Holders {
        let op = OpId::of(&active.op);
        let (mut delivered, mut durable) = self.receipts.holders(&op);
        // Nobody tells itself.
        delivered.extend(Some(me).filter(|me| *me != op.author));
        durable.extend(Some(me).filter(|me| *me != op.author && active.kept));
        let has: BTreeSet<NodeId> = delivered.iter().copied().collect();
        let lacks = |node: &NodeId| *node != op.author && !has.contains(node);
        let missing = owed.iter().filter(|(node, _)| lacks(node)).map(|(node, reason)| (*node, *reason)).collect();
        Holders { delivered, durable, missing, kept: active.kept }
    }

    /// Tables with their limits.
    #[must_use]
    pub fn table_sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("alerts_early_acks", self.early.len(), MAX_EARLY_ACKS),
            ("alert_receipts", self.receipts.len(), receipts::MAX_RECEIPTS),
            ("alert_receipts_owed", self.receipts.owed(), receipts::MAX_OWED),
            ("alert_receipts_to_share", self.receipts.to_share(), receipts::MAX_OWED),
            ("alerts_retried", self.retry.len(), retry::MAX_RETRIED),
        ]
    }

    /// How many are active.
    #[must_use]
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }
}

fn view(now: Instant, id: AlertId, active: &Active, holders: Holders) -> AlertView {
    let Holders { delivered, durable, missing, kept } = holders;
    AlertView {
        id,
        source: active.op.author(),
        name: active.source.clone(),
        priority: active.priority,
        payload: match LogBody::parse(&active.op) {
            Some(LogBody::Alert(body)) => body.payload,
            Some(LogBody::Ack(_) | LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown) | None => Vec::new(),
        },
        wall: active.op.wall(),
        left: active.expires.since(now),
        delivered,
        durable,
        missing,
        acks: active.acks.iter().map(|ack| (ack.by.clone(), ack.wall)).collect(),
        late: active.late,
        repeated: active.repeated,
        kept,
    }
}

fn refuse(ticket: Ticket, reason: &'static str, ctx: &mut Context) {
    ctx.out.event(Event::Raised { ticket, outcome: Raised::TooMany { reason } });
}

/// Who is owed every alert, and why it may not have shown one: all who are here, and all who were within a day.
fn owed(now: Instant, ctx: &Context) -> BTreeMap<NodeId, &'static str> {
    let oldest = ctx.wall(now).0.saturating_sub(millis(OWED_FOR));
    let gone = ctx.roster.directory().iter().filter(|(_, entry)| match entry.heard {
        Some(heard) => now.since(heard) <= OWED_FOR,
        None => entry.wall.0 >= oldest,
    });
    let gone = gone.map(|(id, entry)| (*id, why(entry.liveness)));
    let here = ctx.roster.iter().filter(|(_, peer)| peer.liveness != Liveness::Introduced);
    gone.chain(here.map(|(id, peer)| (*id, why(peer.liveness)))).filter(|(id, _)| *id != ctx.me.id).collect()
}

fn why(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive | Liveness::Introduced => "no receipt yet",
        Liveness::Suspect => "suspect",
        Liveness::Failed => "failed",
        Liveness::Left => "left",
    }
}

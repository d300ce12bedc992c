//! Decides whether a run kept its promises: every check has a name, is counted, and says what it saw where it failed.

pub mod alerts;
pub mod calm;
pub mod casts;
pub mod copies;
pub mod detours;
pub mod letters;
pub mod queues;
pub mod reach;
pub mod records;
pub mod routes;
pub mod searches;
pub mod steady;
pub mod truth;
pub mod view;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use kodikon_core::effect::log::Batch;
use kodikon_core::effect::scan::{ScanId, ScanJob};
use kodikon_core::effect::{BroadcastOrder, Event, PeerView, SendOrder};
use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::model::alert::AlertOrder;
use kodikon_core::model::op::OpId;
use kodikon_core::model::record::{DeleteOrder, RecordOrder, RecordView};
use kodikon_core::model::search::SearchOrder;
use kodikon_core::model::state::NodeSnapshot;

use crate::checks::alerts::Alerts;
use crate::checks::casts::Casts;
use crate::checks::detours::Detours;
use crate::checks::letters::{Given, Letters};
use crate::checks::queues::Queues;
use crate::checks::records::Records;
use crate::checks::searches::Searches;
use crate::checks::steady::Steady;
use crate::checks::truth::Truth;
use crate::checks::view::{Standing, View};
use crate::cluster::endpoint::Endpoint;
use crate::cluster::{Death, Observer};
use crate::metrics::Metrics;
use crate::moment::Moment;

/// What a run must hold to, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Nobody shows a peer that never was.
    KnownPeer,
    /// Nobody shows a run of a peer that its owner never began.
    RealEpoch,
    /// Epoch and life of a peer never go down at an observer.
    LifeForward,
    /// Nobody who is dead is shown as having come.
    DeadStayDead,
    /// Nothing that was not sealed with the key is accepted.
    Sealed,
    /// Nothing that was heard before is accepted again.
    Replay,
    /// Every state shown of a peer is one that the peer had as a whole, under that version and on its disk.
    StateTrue,
    /// The version of a peer's state never goes down at an observer, not even with the peer's next run: it has its disk.
    VersionForward,
    /// A node's own state survives its restart: nobody has seen a later version than it finds on its disk.
    StateSurvives,
    /// Whoever says that its disk was restored from a backup is right.
    BackupTrue,
    /// Whoever says that its identity was copied is right.
    CopyTrue,
    /// Every table holds at most its limit.
    Tables,
    /// No healthy node is called failed by a healthy one that has a way to it over healthy ones.
    FalseFailed,
    /// A dead node is called failed, or left, within the hard bound everywhere.
    VerdictInTime,
    /// Acting at a wake moves the wake.
    NoSpin,
    /// No way leads through its beginning or through one node twice, ends elsewhere or begins at one who is not heard.
    RouteSane,
    /// No letter is given twice, nor to another run of its destination than the one it was written to.
    LetterOnce,
    /// A letter arrives as it was written, and at whom it was written to.
    LetterTrue,
    /// Every letter is settled once, in time, by the run that wrote it.
    LetterSettled,
    /// What is settled as delivered was given; what is settled as unreachable could not be reached.
    LetterOutcome,
    /// No letter is lost where a sound way led to its destination from long before it was written.
    LetterReliable,
    /// No cast is told twice to a node, nor to a later run of it than the one in which it was said.
    CastOnce,
    /// A cast is told as it was said, as whose it was, to others than its origin.
    CastTrue,
    /// By its deadline a cast is told to all to whom a sound way led from long before it was said.
    CastReliable,
    /// A critical letter arrives in its time, whatever else flows.
    LetterUrgent,
    /// Whoever writes at some priority is served, whatever else flows.
    ClassServed,
    /// Nobody who is sound falls under suspicion since others' words are in the way of its heartbeats.
    BeatsHeard,
    /// Ways rest where nothing changes.
    WaysRest,
    /// No way leads over a bad link where there is one around it.
    WaysClean,
    /// No run of a node shows an alert twice, and a later one only with the mark that it may have been shown.
    AlertOnce,
    /// Every alert that is shown was raised, as it is shown.
    AlertTrue,
    /// Whoever is said to have shown an alert, or to have it on disk, has.
    AlertReceipt,
    /// No two ops of the log have one number.
    AlertNumber,
    /// An alert is with all who have a sound way to its author, within ten seconds.
    AlertReliable,
    /// A certified search finds what a plain scan of all that those show who were asked finds, in the same order.
    SearchExact,
    /// No search finds what nobody added, or what was added otherwise.
    SearchTrue,
    /// Every search ends once, in its time.
    SearchEnds,
    /// After calm everyone shows the same active alerts, and none that was on its author's disk is lost.
    CalmAlerts,
    /// After calm everyone shows who has shown each active alert, and who has it on disk.
    CalmReceipts,
    /// Every sighting that is shown was added, as it is shown, by whose it is; and what stays on a node is shown there alone.
    RecordTrue,
    /// No run of a node tells its application of an op of a sighting twice.
    RecordOnce,
    /// Nobody is told of what it has deleted itself.
    RecordGone,
    /// What is acknowledged as on disk is there.
    RecordKept,
    /// After calm all who can reach each other show the same sightings.
    CalmRecords,
    /// What is pulled is what is missing, and comes once, but for what was on its way when something broke.
    PulledOnce,
    /// After calm all show what was acknowledged as on its author's disk, if that is there still.
    CalmKept,
    /// After calm nobody shows what was deleted.
    CalmGone,
    /// After calm nobody shows what is over.
    CalmOver,
    /// After calm all who can reach each other hold the same of the log.
    CalmLogRoot,
    /// After calm all live nodes that can reach each other, directly or over others, show exactly each other.
    CalmRoster,
    /// After calm no node that is dead, or to which no way leads, is shown as present.
    CalmDeadGone,
    /// After calm every live node's state is the same everywhere.
    CalmState,
    /// After calm the roots of all who can reach each other are equal.
    CalmRoot,
    /// After calm nobody who has company feels alone.
    CalmCompany,
    /// After calm names as shown are unique and the same everywhere.
    CalmNames,
    /// After calm everyone shows a way to whom it can reach, over links that there are and without a detour, and none to
    /// anybody else.
    CalmRoutes,
}

impl Check {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KnownPeer => "known_peer",
            Self::RealEpoch => "real_epoch",
            Self::LifeForward => "life_forward",
            Self::DeadStayDead => "dead_stay_dead",
            Self::Sealed => "sealed",
            Self::Replay => "replay",
            Self::StateTrue => "state_true",
            Self::VersionForward => "version_forward",
            Self::StateSurvives => "state_survives",
            Self::BackupTrue => "backup_true",
            Self::CopyTrue => "copy_true",
            Self::Tables => "tables",
            Self::FalseFailed => "false_failed",
            Self::VerdictInTime => "verdict_in_time",
            Self::NoSpin => "no_spin",
            Self::RouteSane => "route_sane",
            Self::LetterOnce => "letter_once",
            Self::LetterTrue => "letter_true",
            Self::LetterSettled => "letter_settled",
            Self::LetterOutcome => "letter_outcome",
            Self::LetterReliable => "letter_reliable",
            Self::CastOnce => "cast_once",
            Self::CastTrue => "cast_true",
            Self::CastReliable => "cast_reliable",
            Self::LetterUrgent => "letter_urgent",
            Self::ClassServed => "class_served",
            Self::BeatsHeard => "beats_heard",
            Self::WaysRest => "ways_rest",
            Self::WaysClean => "ways_clean",
            Self::AlertOnce => "alert_once",
            Self::AlertTrue => "alert_true",
            Self::AlertReceipt => "alert_receipt",
            Self::AlertNumber => "alert_number",
            Self::AlertReliable => "alert_reliable",
            Self::SearchExact => "search_exact",
            Self::SearchTrue => "search_true",
            Self::SearchEnds => "search_ends",
            Self::CalmAlerts => "calm_alerts",
            Self::CalmReceipts => "calm_receipts",
            Self::RecordTrue => "record_true",
            Self::RecordOnce => "record_once",
            Self::RecordGone => "record_gone",
            Self::RecordKept => "record_kept",
            Self::CalmRecords => "calm_records",
            Self::PulledOnce => "pulled_once",
            Self::CalmKept => "calm_kept",
            Self::CalmGone => "calm_gone",
            Self::CalmOver => "calm_over",
            Self::CalmLogRoot => "calm_log_root",
            Self::CalmRoster => "calm_roster",
            Self::CalmDeadGone => "calm_dead_gone",
            Self::CalmState => "calm_state",
            Self::CalmRoot => "calm_root",
            Self::CalmCompany => "calm_company",
            Self::CalmNames => "calm_names",
            Self::CalmRoutes => "calm_routes",
        }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Moment,
    /// Which promise.
    pub check: Check,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s {}: {}", self.at, self.check.name(), self.what)
    }
}

/// Violations kept in words; a run that breaks more is only counted on.
const KEPT: usize = 20;
/// Characters of a violation that are kept.
const WORDS: usize = 400;
/// Wakes in a row that may each ask to be called again at once: a machine may share long work out, not spin.
const SPINS: u32 = 64;
/// From a healthy node's last trouble until a verdict of FAILED about it counts as false: the hard bound twice, since
/// suspicions raised during the trouble may be in the air until then.
const RECOVERY: Duration = Duration::from_secs(75);
/// After so long nothing of the dead is on its way any more.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Those who had no sound segment in common with the dead hear of it from those who had, at the hard bound at the latest; and where
/// nobody tells them, the hard bound runs once more, from the moment at which no way leads there.
const FAR_BOUNDS: u32 = 2;
/// What a verdict may take beyond the hard bound: the last packet's way, a turn of the timer, a freeze after a stall.
const VERDICT_MARGIN: Duration = Duration::from_secs(6);

/// How often each check was made, and what it found.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<Check, u64>,
    violations: Vec<Violation>,
    broken: u64,
}

impl Tally {
    /// Makes a check; `what` is asked only if it fails.
    pub fn check(&mut self, now: Moment, check: Check, holds: bool, what: impl FnOnce() -> String) {
        *self.counts.entry(check).or_default() += 1;
        if holds {
            return;
        }
        self.broken += 1;
        if self.violations.len() < KEPT {
            let mut what = what();
            // A state may hold kilobytes; what is wrong with it is told by its beginning.
            if let Some((end, _)) = what.char_indices().nth(WORDS) {
                what.truncate(end);
                what.push('…');
            }
            self.violations.push(Violation { at: now, check, what });
        }
    }

    /// How often each check was made.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<Check, u64> {
        &self.counts
    }

    /// What was broken, the first few in words.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often a check failed.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken
    }
}

/// Watches a run: knows what is true, what every node shows, and what that may never be.
#[derive(Debug)]
pub struct Watch {
    /// What is true.
    pub truth: Truth,
    /// What each node has told its application.
    pub views: Vec<View>,
    /// What was checked.
    pub tally: Tally,
    /// What was measured.
    pub metrics: Metrics,
    /// What was written.
    pub letters: Letters,
    /// What was said to all.
    pub casts: Casts,
    /// What was raised.
    pub alerts: Alerts,
    /// What was seen.
    pub records: Records,
    /// What was looked for.
    pub searches: Searches,
    /// Where letters went.
    pub detours: Detours,
    /// Whom queues held up.
    pub queues: Queues,
    /// Whether ways rest.
    pub steady: Steady,
    heartbeat_timeout: Duration,
    verdicts_due: Vec<VerdictDue>,
    // Pairs (observer, subject) of live nodes where the one shows the other's present run.
    pairs: usize,
}

#[derive(Debug, Clone, Copy)]
struct VerdictDue {
    /// Of whom.
    of: Observers,
    /// Who died.
    node: usize,
    at: Moment,
    died: Moment,
    peer: NodeId,
    epoch: Epoch,
}

/// Whose verdicts are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Observers {
    /// Of all who heard the dead: a segment or a host in common was sound.
    Near,
    /// Of all others.
    Far,
    /// Of this one.
    One(usize),
}

impl Watch {
    /// Watches this many nodes.
    #[must_use]
    pub fn new(nodes: usize, heartbeat_timeout: Duration) -> Self {
        Self {
            truth: Truth::new(nodes),
            views: (0..nodes).map(|_| View::default()).collect(),
            tally: Tally::default(),
            metrics: Metrics::default(),
            letters: Letters::new(nodes),
            casts: Casts::default(),
            alerts: Alerts::new(nodes),
            records: Records::new(nodes),
            searches: Searches::default(),
            detours: Detours::default(),
            queues: Queues::default(),
            steady: Steady::default(),
            heartbeat_timeout,
            verdicts_due: Vec::new(),
            pairs: 0,
        }
    }

    /// Makes the checks that are due; to be called about once a second.
    pub fn tick(&mut self, now: Moment) {
        self.check_overdue(now);
        self.check_casts(now);
        self.check_alerts(now);
        self.check_served(now);
        self.check_ends(now);
        let due: Vec<VerdictDue> = self.verdicts_due.extract_if(.., |verdict| verdict.at <= now).collect();
        for verdict in due {
            if self.truth.holder(&verdict.peer).is_some() {
                continue;
            }
            for observer in self.observers(now, &verdict) {
                self.check_verdict(now, &verdict, observer);
            }
        }
    }

    fn observers(&self, now: Moment, verdict: &VerdictDue) -> Vec<usize> {
        let is_near = |node: usize| self.is_near(node, verdict.node);
        // Whoever could not hear the dead when it died had it from others, like those far from it.
        let heard = |node: usize| self.truth.was_heard(verdict.died, node, verdict.node);
        match verdict.of {
            Observers::Near => (0..self.views.len()).filter(|&node| heard(node)).collect(),
            Observers::One(observer) => vec![observer],
            Observers::Far => {
                let witnesses: Vec<usize> =
                    (0..self.views.len()).filter(|&node| node != verdict.node && is_near(node)).collect();
                // What the troubled said of the dead before stands until they are dead themselves.
                if !witnesses.iter().all(|&node| self.was_steady(node, verdict.died)) {
                    return Vec::new();
                }
                let linked = self.truth.steady_links(now, &witnesses);
                linked.into_iter().filter(|&(node, links)| links > 0 && !heard(node)).map(|(node, _)| node).collect()
            }
        }
    }

    /// Whether two nodes have a segment or a host in common.
    fn is_near(&self, one: usize, two: usize) -> bool {
        self.truth.places.common(one, two).next().is_some()
    }

    /// Whether a node lives since before this moment, and had no trouble since.
    fn was_steady(&self, node: usize, since: Moment) -> bool {
        let living = &self.truth.nodes[node];
        living.up && living.since < since && living.own_trouble < since
    }

    /// Looks into a node's tables.
    pub fn look_into(&mut self, now: Moment, node: usize, endpoint: &mut dyn Endpoint) {
        for (table, entries, limit) in endpoint.table_sizes() {
            self.tally.check(now, Check::Tables, entries <= limit, || {
                format!("node {node}: table {table} holds {entries} of {limit}")
            });
        }
        let (own, routes) = (endpoint.id(), endpoint.routes());
        if routes.is_empty() {
            return;
        }
        let peers: BTreeMap<NodeId, PeerView> = endpoint.peers().into_iter().map(|peer| (peer.id, peer)).collect();
        for route in routes {
            let flaw = routes::flaw(&own, &route, &peers);
            self.tally.check(now, Check::RouteSane, flaw.is_none(), || {
                format!("node {node}'s way to {:?} {}: {:?}", route.to, flaw.unwrap_or_default(), route.path)
            });
            let is_lie = self.truth.is_lie(&own, &route.path);
            self.tally.check(now, Check::RouteSane, !is_lie, || {
                format!("node {node}'s way to {:?} leads where a liar says and is not: {:?}", route.to, route.path)
            });
        }
    }

    /// A node is told to say goodbye.
    pub fn leaves(&mut self, now: Moment, node: usize) {
        let peer = self.truth.nodes[node].id;
        self.uncount_subject(&peer);
        self.pairs -= self.views[node].uncount_all();
        self.truth.leaves(node);
        self.letters.released(node);
        self.queues.released(node);
        self.metrics.leaves(now, peer);
    }

    /// Whether every live node shows every other's present run.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let live = self.truth.live_count();
        live > 0 && self.pairs == live * (live - 1)
    }

    fn check_verdict(&mut self, now: Moment, verdict: &VerdictDue, observer: usize) {
        // Who was stopped or without a cable could not tell the time or the silence.
        if !self.was_steady(observer, verdict.died) {
            return;
        }
        // Where more is lost than a healthy node bears, or a partition stands, the lists of those who are heard are late: whoever
        // is in them counts as heard there, and nobody can know better.
        let late = verdict.died + self.heartbeat_timeout * 2 + VERDICT_MARGIN;
        if now < late && !recovered(verdict.died, self.truth.nodes[observer].link_trouble) {
            self.verdicts_due.push(VerdictDue { at: late, of: Observers::One(observer), ..*verdict });
            return;
        }
        let row = self.views[observer].row(&verdict.peer);
        // A recording of what it had never heard is the last that it heard of the dead: the bound runs from there.
        let echo = row.map_or(Moment::START, |row| row.echo);
        if echo > verdict.died {
            let at = echo + self.heartbeat_timeout + VERDICT_MARGIN;
            let later = VerdictDue { at, died: echo, of: Observers::One(observer), ..*verdict };
            self.verdicts_due.push(later);
            return;
        }
        let shown = row.is_some_and(|row| row.standing.is_present() && row.epoch <= verdict.epoch);
        self.tally.check(now, Check::VerdictInTime, !shown, || {
            format!("node {observer} still shows {:?}, dead since {} s", verdict.peer, verdict.died)
        });
    }

    fn met(&mut self, now: Moment, node: usize, peer: NodeId, (epoch, life): (Epoch, u32)) {
        let real = self.truth.person(&peer);
        self.tally
            .check(now, Check::KnownPeer, real.is_some(), || format!("node {node} shows {peer:?}, who never was"));
        if let Some(person) = real {
            let begun = person.hostile || person.epochs.contains(&epoch);
            self.tally.check(now, Check::RealEpoch, begun, || {
                format!("node {node} shows {peer:?} in {epoch:?}, which its owner never began")
            });
        }
        let died = self.truth.person(&peer).and_then(|person| person.died);
        // A suspect may be cleared by a liar until the bound strikes; who is not shown any more stays so.
        let shown = self.views[node].row(&peer).is_some_and(|row| row.standing.is_present());
        let is_late = |died: Moment| died + self.last_words(now, node, &peer) < now;
        let dead = !shown && self.truth.is_unborn(&peer) && died.is_some_and(is_late);
        // Who was stopped reads what was said before the other died.
        let up_to_date = recovered(now, self.truth.nodes[node].own_trouble);
        self.tally.check(now, Check::DeadStayDead, !(dead && up_to_date), || {
            format!("node {node} shows {peer:?}, dead since {died:?} s")
        });
        let newest = self.views[node].row(&peer).map(|row| (row.epoch, row.life));
        let forward = newest.is_none_or(|newest| newest <= (epoch, life));
        self.tally.check(now, Check::LifeForward, forward, || {
            format!("node {node} shows {peer:?} in {:?} after {newest:?}", (epoch, life))
        });
        let lives = |node: usize| self.truth.nodes[node].up && !self.truth.nodes[node].left;
        let is_current = |holder: usize| lives(holder) && self.truth.nodes[holder].epoch == epoch;
        let current = lives(node) && self.truth.holder(&peer).is_some_and(is_current);
        self.pairs -= usize::from(self.views[node].is_counted(&peer));
        self.pairs += usize::from(current);
        let forgets = real.is_none_or(|person| person.rolled_back || person.hostile);
        self.views[node].met(peer, (epoch, life), current, forgets);
        if self.is_complete() {
            self.metrics.completed(now);
        }
    }

    /// How long after a death a node may still hear for the first time that there is such a peer: from the peer itself, or,
    /// where it has no segment in common with it, or links bear less than they should, from those who have and did not notice yet.
    fn last_words(&self, now: Moment, node: usize, peer: &NodeId) -> Duration {
        let bearer = self.truth.nodes.iter().position(|living| living.id == *peer);
        let hears = recovered(now, self.truth.nodes[node].link_trouble);
        if hears && bearer.is_none_or(|bearer| self.is_near(node, bearer)) {
            return LAST_WORDS;
        }
        (self.heartbeat_timeout + VERDICT_MARGIN) * FAR_BOUNDS
    }

    fn lost(&mut self, node: usize, peer: NodeId, standing: Standing) {
        self.pairs -= usize::from(self.views[node].is_counted(&peer));
        self.views[node].lost(peer, standing);
    }

    fn check_failed(&mut self, now: Moment, node: usize, peer: NodeId, words: &dyn Fn() -> String) {
        let Some(holder) = self.truth.holder(&peer) else { return };
        let shown = self.views[node].row(&peer).map(|row| row.epoch);
        if shown != Some(self.truth.nodes[holder].epoch) {
            return;
        }
        // Whoever has had no way to another for a while may think of it what it likes.
        if self.truth.steady_links(now, &[node]).contains_key(&holder) {
            self.tally.check(now, Check::FalseFailed, false, || {
                format!("node {node} calls node {holder} failed: {}", words())
            });
        }
    }

    fn check_state(&mut self, now: Moment, node: usize, peer: NodeId, snapshot: &NodeSnapshot) {
        let Some(person) = self.truth.person(&peer) else { return };
        self.tally.check(now, Check::StateTrue, person.hostile || person.had(snapshot), || {
            format!(
                "node {node} shows {:?} as state {} of {peer:?}, who never was so",
                snapshot.values, snapshot.version
            )
        });
        let seen = self.views[node].version(&peer);
        self.tally.check(now, Check::VersionForward, seen <= snapshot.version, || {
            format!("node {node} shows state {} of {peer:?} after {seen}", snapshot.version)
        });
        self.views[node].saw_version(peer, snapshot.version);
        self.truth.seen_version(&peer, snapshot.version);
    }

    fn forget_view(&mut self, node: usize) {
        self.pairs -= self.views[node].counted();
        self.views[node] = View::default();
    }

    fn uncount_subject(&mut self, peer: &NodeId) {
        for view in &mut self.views {
            self.pairs -= usize::from(view.uncount(peer));
        }
    }

    fn identify(&mut self, now: Moment, node: usize, endpoint: &dyn Endpoint) {
        let own = endpoint.kept_state();
        self.truth.identified(node, endpoint.id(), endpoint.epoch(), &own);
        let person = self.truth.person(&endpoint.id()).expect("identified the line before");
        let (seen, rolled_back) = (person.seen_version, person.rolled_back);
        self.tally.check(now, Check::StateSurvives, rolled_back || seen <= own.version, || {
            format!("node {node} starts with state {}, others have seen {seen}", own.version)
        });
        // Those who show its present run already (it took another number while it ran) count from now on.
        for view in &mut self.views {
            self.pairs += usize::from(view.recount(&endpoint.id(), endpoint.epoch()));
        }
    }
}

impl Observer for Watch {
    fn booted(&mut self, now: Moment, node: usize, endpoint: &dyn Endpoint) {
        self.views[node] = View::default();
        self.truth.booted(now, node);
        self.letters.booted(node);
        self.alerts.booted(node);
        self.records.booted(now, node);
        self.searches.booted(node);
        self.identify(now, node, endpoint);
        self.metrics.booted(now);
    }

    fn died(&mut self, now: Moment, node: usize, death: Death) {
        let (peer, epoch) = (self.truth.nodes[node].id, self.truth.nodes[node].epoch);
        self.pairs -= self.views[node].counted();
        self.views[node] = View::default();
        self.uncount_subject(&peer);
        self.truth.died(now, node);
        self.records.stopped(now, node, true);
        self.letters.released(node);
        self.searches.booted(node);
        self.queues.released(node);
        let at = now + self.heartbeat_timeout + VERDICT_MARGIN;
        let near = VerdictDue { of: Observers::Near, node, at, died: now, peer, epoch };
        let at = now + (self.heartbeat_timeout + VERDICT_MARGIN) * FAR_BOUNDS;
        self.verdicts_due.extend([near, VerdictDue { of: Observers::Far, at, ..near }]);
        self.metrics.died(now, peer, death, self.truth.nodes[node].left);
    }

    fn renamed(&mut self, now: Moment, node: usize, endpoint: &dyn Endpoint) {
        let before = self.truth.nodes[node].id;
        self.uncount_subject(&before);
        self.identify(now, node, endpoint);
        if endpoint.id() != before {
            self.carry_alerts(before, endpoint.id());
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "events of a later core promise nothing that is checked here")]
    fn event(&mut self, now: Moment, node: usize, event: &Event) {
        match event {
            Event::PeerUp { peer, epoch, life, .. } => self.met(now, node, *peer, (*epoch, life.0)),
            Event::PeerSuspect { peer, .. } => {
                self.check_suspicion(now, node, peer);
                self.views[node].suspected(peer);
                self.metrics.suspected(now, peer);
            }
            Event::PeerFailed { peer, witnesses, reason, .. } => {
                self.check_failed(now, node, *peer, &|| format!("{reason}, witnesses {witnesses:?}"));
                self.tally.check(now, Check::FalseFailed, true, String::new);
                self.metrics.failed(now, peer);
                self.lost(node, *peer, Standing::Failed);
            }
            Event::PeerLeft { peer, .. } => {
                self.metrics.left(now, peer);
                self.lost(node, *peer, Standing::Left);
            }
            Event::Message { from, kind, payload, priority, path, .. } => {
                let given = Given { from: *from, kind, payload, priority: *priority, path };
                self.give(now, node, &given);
            }
            Event::Broadcast { from, kind, payload, priority, path, .. } => {
                let given = Given { from: *from, kind, payload, priority: *priority, path };
                self.told(now, node, &given);
            }
            Event::Alert { .. } | Event::Raised { .. } | Event::Receipt { .. } => self.hear_of_alert(now, node, event),
            Event::Record(_) | Event::Stored { .. } => self.hear_of_record(now, node, event),
            Event::Searched { .. } => self.hear_of_search(now, node, event),
            Event::Settled { ticket, to, outcome } => self.settle(now, node, (*ticket, *to), outcome),
            Event::State { node: peer, snapshot, .. } => self.check_state(now, node, *peer, snapshot),
            // A new run begins within the process: it knows nobody, as after a boot.
            Event::Restored { .. } => {
                self.check_backup(now, node);
                self.records.booted(now, node);
                self.forget_view(node);
            }
            Event::Overtaken { .. } | Event::Cloned { rekeyed: true } => {
                self.check_copy(now, node, matches!(event, Event::Cloned { .. }));
                self.records.booted(now, node);
                self.forget_view(node);
            }
            Event::Cloned { rekeyed: false } => self.check_copy(now, node, false),
            _ => {}
        }
    }

    fn changed(&mut self, node: usize) {
        self.metrics.published(node);
    }

    fn kept(&mut self, endpoint: &dyn Endpoint) {
        self.truth.kept(&endpoint.id(), &endpoint.kept_state());
    }

    fn heard(&mut self, now: Moment, node: usize, sender: Option<usize>, accepted: bool) {
        let Some(sender) = sender else {
            self.tally.check(now, Check::Sealed, !accepted, || format!("node {node} accepts what nobody sealed"));
            return;
        };
        self.tally
            .check(now, Check::Replay, !accepted, || format!("node {node} accepts a frame of node {sender} twice"));
    }

    fn ordered(&mut self, now: Moment, node: usize, order: &SendOrder) {
        self.write(now, node, order);
    }

    fn announced(&mut self, now: Moment, node: usize, order: &BroadcastOrder) {
        self.say(now, node, order);
    }

    fn raising(&mut self, now: Moment, node: usize, order: &AlertOrder) {
        self.order_alert(now, node, order);
    }

    fn scanning(&mut self, node: usize, job: &ScanJob, shown: &[RecordView]) {
        self.expect_nearest(node, job, shown);
    }

    fn scanned(&mut self, node: usize, scan: ScanId) {
        self.expect_asked(node, scan);
    }

    fn adding(&mut self, now: Moment, node: usize, order: &RecordOrder) {
        self.order_record(now, node, order);
    }

    fn searching(&mut self, now: Moment, node: usize, search: (&SearchOrder, &[RecordView])) {
        self.expect_end(now, node, search);
    }

    fn deleting(&mut self, node: usize, order: &DeleteOrder) {
        self.order_delete(node, order);
    }

    fn committing(&mut self, now: Moment, node: usize, batch: &Batch) {
        self.write_ops(now, node, batch);
        self.write_records(batch);
    }

    fn synced(&mut self, _now: Moment, node: usize, kept: &[OpId]) {
        self.keep_ops(node, kept);
        self.keep_records(node, kept);
    }

    fn withheld(&mut self, now: Moment, node: usize) {
        self.truth.nodes[node].trouble(now);
    }

    fn stopped(&mut self, now: Moment, node: usize, stopped: bool) {
        self.letters.stopped(now, node, stopped);
        self.records.stopped(now, node, stopped);
    }

    fn echo(&mut self, now: Moment, node: usize, other: usize) {
        self.views[node].echoed(now, &self.truth.nodes[other].id);
    }

    fn is_peer(&self, node: usize, other: usize) -> bool {
        let (peer, epoch) = (&self.truth.nodes[other].id, self.truth.nodes[other].epoch);
        self.views[node].row(peer).is_some_and(|row| row.standing.is_present() && row.epoch == epoch)
    }

    fn spun(&mut self, now: Moment, node: usize, times: u32, by: &'static str) {
        self.tally.check(now, Check::NoSpin, times != SPINS, || {
            format!("node {node} asked {times} times in a row to be woken at once, by {by}")
        });
    }
}

/// Whether whatever was wrong until then has had the time to be forgotten.
fn recovered(now: Moment, trouble: Moment) -> bool {
    trouble == Moment::START || trouble + RECOVERY < now
}

#[cfg(test)]
mod tests;

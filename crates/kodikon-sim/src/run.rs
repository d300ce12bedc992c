//! Decides how one run goes: a cluster as the scenario says, cycles of chaos and calm, and the report at the end.

pub mod stage;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::Command;
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::random::Random;
use serde_json::{Map, Value, json};

use crate::chance::{self, Odds, source};
use crate::checks::{Violation, Watch, calm};
use crate::cluster::endpoint::Maker;
use crate::cluster::enemy::Tap;
use crate::cluster::swallow::Swallower;
use crate::cluster::{Cluster, Happening};
use crate::faults::deeds::{self, Comeback, Deed};
use crate::faults::script::{self, ScriptStep};
use crate::faults::{Faults, Kind, swarm};
use crate::hostile::Hostile;
use crate::hostile::searches::{self, Overheard};
use crate::moment::Moment;
use crate::network::host::HostId;
use crate::network::quality::Quality;
use crate::scenario::{Flow, Scenario};
use crate::trace::Detail;
use crate::workload::Workload;
use crate::workload::alerts::Alerts;
use crate::workload::casts::Casts;
use crate::workload::letters::Letters;
use crate::workload::records::Records;
use crate::workload::searches::Searches;

/// How a scenario is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The run's seed.
    pub seed: u64,
    /// How much of the story to tell.
    pub detail: Detail,
    /// Makes nodes.
    pub maker: Maker,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// How often each check was made.
    pub checks: Map<String, Value>,
    /// Which kinds of fault were on, and how often each struck.
    pub faults: Map<String, Value>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How often anything was broken.
    pub broken: u64,
    /// How much happened.
    pub events: u64,
    /// The trace's hash.
    pub hash: u64,
    /// What was measured.
    pub metrics: Value,
}

/// Something the run itself entered into the agenda.
#[derive(Debug)]
enum Todo {
    /// A fault, in this cycle only.
    Deed(u64, Deed),
    /// A step of the script or the swarm, in this cycle only.
    Step(u64, ScriptStep),
    /// An application changes its node's state.
    Work,
    /// An application writes to one other.
    Write,
    /// An application says something to all.
    Say,
    /// An application raises an alert, and perhaps another acknowledges one.
    Raise,
    /// An application adds, updates or deletes sightings.
    Order,
    /// An application adds so many sightings more, in this cycle only.
    Load(u64, u64),
    /// An application records, deletes or looks for something.
    Seek,
    /// A member lies about what another looks for.
    Deceive(Box<Overheard>),
    /// A stream begins, in this cycle only.
    Stream(u64, Flow),
    /// One more letter of a stream is written.
    Streamed(Flow),
    /// An enemy acts, in this cycle only.
    Enemy(u64, usize),
    /// Chaos begins.
    Chaos,
    /// Calm begins.
    Calm,
    /// Calm must have done its work.
    Judge,
    /// The start is over: from now on bytes are counted.
    Count,
}

/// When a load of sightings begins, and how it goes on: no faster than a disk answers.
const LOAD_AFTER: Duration = Duration::from_secs(30);
const LOAD_GAP: Duration = Duration::from_millis(200);
const LOADED_AT_ONCE: u64 = 500;

/// One run.
#[derive(Debug)]
struct Run<'a> {
    scenario: &'a Scenario,
    cluster: Cluster<Watch>,
    todo: BTreeMap<u64, Todo>,
    entered: u64,
    cycle: u64,
    chaos_from: Moment,
    calm_from: Moment,
    faults: Faults,
    chance: Random,
    workload: Workload,
    letters: Letters,
    alerts: Alerts,
    records: Records,
    searches: Searches,
    casts: Casts,
    enemies: Vec<Hostile>,
    due_back: BTreeSet<usize>,
    counted_from: Option<(Moment, u64)>,
}

/// How often what is due is looked at.
const TICK: Duration = Duration::from_secs(1);
/// What happens in the first minute is not idle traffic.
const START: Duration = Duration::from_secs(60);
/// How many of the dead are back when calm begins, in a swarm.
const BACK: f64 = 0.8;

/// Runs a scenario with one seed; `story` is told line by line as it happens.
pub fn run(scenario: &Scenario, order: &Order, story: &mut dyn FnMut(String)) -> Report {
    let mut run = Run::new(scenario, order);
    run.schedule_starts(order.seed);
    let end = Moment::START + Duration::from_secs_f64(scenario.hours * 3600.0);
    while run.cluster.now < end {
        let pause = (run.cluster.now + TICK).min(end);
        while let Some(own) = run.cluster.advance(pause) {
            if let Some(todo) = own.and_then(|number| run.todo.remove(&number)) {
                run.perform(todo);
            }
        }
        run.cluster.now = pause;
        run.cluster.observer.tick(pause);
        run.look_into_one();
        run.look_at_ways();
        run.cluster.trace.take_story().into_iter().for_each(&mut *story);
    }
    run.judge();
    run.judge_ways();
    run.cluster.trace.take_story().into_iter().for_each(&mut *story);
    run.report()
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, order: &Order) -> Self {
        let mut chance = source(order.seed, "faults");
        let mut faults = if scenario.mild { Faults::draw(&mut chance, scenario.swarm) } else { Faults::default() };
        scenario.kinds().for_each(|kind| faults.switch_on(kind));
        let mut cluster = stage::build(scenario, order, &faults);
        swarm::drift(&faults, &mut cluster, &mut chance);
        if scenario.swallower {
            let slot = &mut cluster.nodes[scenario.nodes - 1];
            slot.swallower = Some(Swallower::new(&slot.disk.secret, &slot.config));
            cluster.observer.truth.swallows(scenario.nodes - 1);
        }
        let every = |seconds: f64| (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
        let mut enemies = Vec::new();
        let host = |place: usize| HostId(u32::try_from(place).expect("few hosts"));
        if faults.is_on(Kind::Stranger) {
            enemies.push(Hostile::stranger(source(order.seed, "stranger"), host(cluster.network.hosts.len() - 1)));
        }
        if faults.is_on(Kind::Hostile) {
            let node = scenario.nodes - 1;
            let config = cluster.nodes[node].config.clone();
            let enemy = Hostile::member(source(order.seed, "hostile"), cluster.nodes[node].host, node, &config);
            // Where their words make all roots differ for a while, as nowhere else.
            let enemy = if scenario.hostile { enemy.with_pair() } else { enemy };
            let enemy = if scenario.liar { enemy.with_lies() } else { enemy };
            enemies.push(if scenario.flooder { enemy.with_flood() } else { enemy });
        }
        cluster.tap = enemies.first().map(|enemy| Tap::new(enemy.host()));
        let workload = Workload::new(source(order.seed, "workload"), scenario.nodes, every(scenario.state_every_s));
        let alerts = Alerts::new(source(order.seed, "alerts"), scenario.nodes, every(scenario.alerts_every_s));
        let records = Records::new(source(order.seed, "records"), scenario.nodes, every(scenario.records_every_s));
        let searches = Searches::new(source(order.seed, "searches"), scenario.nodes, every(scenario.searches_every_s))
            .sharing_all(scenario.shares_all);
        let letters = Letters::new(source(order.seed, "letters"), scenario.nodes, every(scenario.letters_every_s));
        let casts = Casts::new(source(order.seed, "casts"), scenario.nodes, every(scenario.casts_every_s));
        Self {
            scenario,
            cluster,
            todo: BTreeMap::new(),
            entered: 0,
            cycle: 0,
            chaos_from: Moment::START,
            calm_from: Moment::START,
            faults,
            chance,
            workload,
            letters,
            alerts,
            records,
            searches,
            casts,
            enemies,
            due_back: BTreeSet::new(),
            counted_from: None,
        }
    }

    fn schedule_starts(&mut self, seed: u64) {
        let mut starts = source(seed, "starts");
        let within = Duration::from_secs_f64(self.scenario.start_within_s);
        let early = self.scenario.nodes - self.scenario.late;
        for node in 0..early {
            let at = Moment::START + chance::between(&mut starts, Duration::ZERO, within);
            self.cluster.enter(at, Happening::Boot(node));
        }
        for (turn, node) in (1u32..).zip(early..self.scenario.nodes) {
            let at = Moment::START + within + Duration::from_secs_f64(self.scenario.late_every_s) * turn;
            self.cluster.enter(at, Happening::Boot(node));
        }
        self.enter(Moment::START, Todo::Chaos);
        self.enter(Moment::START + START, Todo::Count);
        self.enter_work();
        self.enter_write();
        self.enter_say();
        self.enter_raise();
        self.enter_order();
        self.enter_seek();
    }

    fn enter(&mut self, at: Moment, todo: Todo) {
        self.todo.insert(self.entered, todo);
        self.cluster.enter(at, Happening::Other(self.entered));
        self.entered += 1;
    }

    fn enter_work(&mut self) {
        if let Some(at) = self.workload.next(self.cluster.now) {
            self.enter(at, Todo::Work);
        }
    }

    fn enter_write(&mut self) {
        if let Some(at) = self.letters.next(self.cluster.now) {
            self.enter(at, Todo::Write);
        }
    }

    fn enter_say(&mut self) {
        if let Some(at) = self.casts.next(self.cluster.now) {
            self.enter(at, Todo::Say);
        }
    }

    /// An application says something to all.
    fn say_to_all(&mut self) {
        let (node, cast) = (self.casts.who(), self.casts.say());
        self.say(node, cast);
        self.enter_say();
    }

    fn enter_seek(&mut self) {
        if let Some(at) = self.searches.next(self.cluster.now) {
            self.enter(at, Todo::Seek);
        }
    }

    /// An application records, deletes or looks for something. In calm nothing is recorded.
    fn seek(&mut self) {
        let (node, order) = (self.searches.who(), self.searches.order());
        if let Command::Search(search) = &order
            && self.scenario.search_liar
            && node != self.scenario.nodes - 1
        {
            let at = self.cluster.now + searches::delay(&mut self.chance);
            self.enter(at, Todo::Deceive(Box::new(Overheard::new(node, search))));
        }
        if !self.is_calm() || matches!(order, Command::Search(_)) {
            self.say(node, order);
        }
        self.enter_seek();
    }

    /// The last node lies to whoever searches.
    fn deceive(&mut self, heard: &Overheard) {
        let liar = self.scenario.nodes - 1;
        for lie in searches::lies(&mut self.chance, &self.cluster, liar, heard) {
            self.say(liar, lie);
        }
    }

    fn enter_raise(&mut self) {
        if let Some(at) = self.alerts.next(self.cluster.now) {
            self.enter(at, Todo::Raise);
        }
    }

    /// An application raises an alert; another may acknowledge one that it sees. In calm all rests: the judgement is about one
    /// set of alerts, not a moving one.
    fn raise(&mut self) {
        let (node, other) = (self.alerts.who(), self.alerts.who());
        let alert = self.alerts.raise();
        let now = self.cluster.now;
        let shown: Vec<_> = match &self.cluster.nodes[other].process {
            Some(process) => {
                process.endpoint.alerts(process.clock.local(now)).into_iter().map(|view| view.id).collect()
            }
            None => Vec::new(),
        };
        let ack = self.alerts.acknowledge(&shown);
        if !self.is_calm() {
            self.say(node, alert);
            if let Some(ack) = ack {
                self.say(other, ack);
            }
        }
        self.enter_raise();
    }

    fn enter_order(&mut self) {
        if let Some(at) = self.records.next(self.cluster.now) {
            self.enter(at, Todo::Order);
        }
    }

    /// An application adds, updates or deletes sightings; in calm all rests.
    fn order(&mut self) {
        let (node, now) = (self.records.who(), self.cluster.now);
        let shown = match &self.cluster.nodes[node].process {
            Some(process) => process.endpoint.records(process.clock.local(now)),
            None => Vec::new(),
        };
        let me = self.cluster.observer.truth.nodes[node].id;
        let order = self.records.order(&me, &shown);
        if !self.is_calm() {
            self.say(node, order);
        }
        self.enter_order();
    }

    /// The first node adds some of what it loads, and goes on with the rest.
    fn load(&mut self, left: u64) {
        let now = left.min(LOADED_AT_ONCE);
        for _ in 0..now {
            let order = self.records.load();
            self.say(0, order);
        }
        if left > now {
            self.enter(self.cluster.now + LOAD_GAP, Todo::Load(self.cycle, left - now));
        }
    }

    /// An application writes to somebody.
    fn write(&mut self) {
        let node = self.letters.who();
        let truth = &self.cluster.observer.truth;
        let known: Vec<NodeId> = truth.nodes[..self.scenario.nodes].iter().map(|living| living.id).collect();
        let to = self.letters.whom(truth.nodes[node].id, &known);
        let letter = self.letters.write(to);
        self.say(node, letter);
        self.enter_write();
    }

    fn begin_stream(&mut self, flow: Flow) {
        if let Some(every) = flow.every_s {
            let at = self.cluster.now + Duration::from_secs_f64(every);
            self.enter(at, Todo::Stream(self.cycle, flow.clone()));
        }
        self.stream(flow);
    }

    /// One letter of a stream, and the next when it is time.
    fn stream(&mut self, flow: Flow) {
        let to = self.cluster.observer.truth.nodes[flow.to].id;
        let letter = self.letters.stream(to, &flow);
        self.say(flow.from, letter);
        if flow.letters > 1 {
            let at = self.cluster.now + Duration::from_secs_f64(flow.gap_ms / 1e3);
            self.enter(at, Todo::Streamed(Flow { letters: flow.letters - 1, ..flow }));
        }
    }

    fn say(&mut self, node: usize, words: Command) {
        if !self.cluster.observer.truth.nodes[node].left {
            self.cluster.command(node, words);
        }
    }

    fn perform(&mut self, todo: Todo) {
        match todo {
            Todo::Deed(cycle, deed) if cycle == self.cycle => self.strike(deed),
            Todo::Step(cycle, step) if cycle == self.cycle => self.step(step),
            Todo::Enemy(cycle, enemy) if cycle == self.cycle => self.let_act(enemy),
            Todo::Stream(cycle, flow) if cycle == self.cycle => self.begin_stream(flow),
            Todo::Load(cycle, left) if cycle == self.cycle => self.load(left),
            Todo::Deed(..) | Todo::Step(..) | Todo::Enemy(..) | Todo::Stream(..) | Todo::Load(..) => {}
            Todo::Streamed(flow) => self.stream(flow),
            Todo::Write => self.write(),
            Todo::Say => self.say_to_all(),
            Todo::Raise => self.raise(),
            Todo::Order => self.order(),
            Todo::Seek => self.seek(),
            Todo::Deceive(heard) => self.deceive(&heard),
            Todo::Work => {
                let node = self.workload.who();
                let command = self.workload.change(self.cluster.nodes[node].wall(self.cluster.now));
                if !self.cluster.observer.truth.nodes[node].left {
                    self.strike(Deed::Command(node, Box::new(command)));
                }
                // State rests while calm does its work: the judgement is about one state, not a moving one.
                self.enter_work();
            }
            Todo::Chaos => self.begin_chaos(),
            Todo::Calm => self.begin_calm(),
            Todo::Judge => {
                self.judge();
                self.enter(self.cluster.now, Todo::Chaos);
            }
            Todo::Count => self.counted_from = Some((self.cluster.now, self.wire_bytes())),
        }
    }

    fn strike(&mut self, deed: Deed) {
        if let Some(kind) = deed.kind() {
            self.faults.struck(kind);
        }
        if matches!(deed, Deed::Command(..)) && self.is_calm() {
            return;
        }
        for node in self.started_by(&deed) {
            self.due_back.remove(&node);
        }
        if let Some((after, next)) = deeds::perform(&mut self.cluster, deed) {
            self.enter(self.cluster.now + after, Todo::Deed(self.cycle, next));
        }
    }

    /// The nodes that a deed starts.
    fn started_by(&self, deed: &Deed) -> core::ops::Range<usize> {
        if let Deed::Boot(node, _) = deed {
            *node..*node + 1
        } else if let Deed::PowerOn(host) = deed {
            self.cluster.nodes_of(*host)
        } else {
            0..0
        }
    }

    fn step(&mut self, step: ScriptStep) {
        let deeds = script::deeds(&step, self.scenario.nodes, &self.cluster, &mut self.chance);
        let now = self.cluster.now;
        for (after, deed) in deeds {
            let back = self.started_by(&deed);
            self.due_back.extend(back);
            if after.is_zero() {
                self.strike(deed);
            } else {
                self.enter(now + after, Todo::Deed(self.cycle, deed));
            }
        }
        if let Some(every) = step.every_s {
            self.enter(now + Duration::from_secs_f64(every), Todo::Step(self.cycle, step));
        }
    }

    fn let_act(&mut self, enemy: usize) {
        let kind = if self.enemies[enemy].is_member() { Kind::Hostile } else { Kind::Stranger };
        self.faults.struck(kind);
        let rest = self.enemies[enemy].act(&mut self.cluster);
        self.enter(self.cluster.now + rest, Todo::Enemy(self.cycle, enemy));
    }

    fn is_calm(&self) -> bool {
        self.cluster.now >= self.calm_from
    }

    fn begin_chaos(&mut self) {
        self.cycle += 1;
        let now = self.cluster.now;
        self.chaos_from = now;
        let cycle = Duration::from_secs_f64(self.scenario.cycle());
        self.calm_from = now + cycle.saturating_sub(Duration::from_secs_f64(self.scenario.calm_s));
        self.enter(self.calm_from, Todo::Calm);
        self.enter(now + cycle, Todo::Judge);
        if self.cycle > 1 {
            (0..self.scenario.nodes).for_each(|node| self.strike(Deed::Boot(node, Comeback::Own)));
        }
        if self.scenario.records_load > 0 {
            self.enter(now + LOAD_AFTER, Todo::Load(self.cycle, self.scenario.records_load));
        }
        let mut quality = Quality::clean();
        // Without mild faults what the scenario says is bad, and nothing else.
        let drawn = !self.scenario.mild
            || swarm::draw_quality(
                &self.faults,
                (self.scenario.swarm, self.scenario.nodes),
                &mut quality,
                &mut self.chance,
            );
        for deed in script::spoil(&self.cluster, &quality, drawn, &self.scenario.bad) {
            self.strike(deed);
        }
        let hosts = self.cluster.network.hosts.len();
        for deed in swarm::spoil_hosts(&self.faults, hosts, &mut self.chance) {
            self.strike(deed);
        }
        if self.scenario.bad.tcp_dropped {
            let all = (0..u32::try_from(hosts).expect("few hosts")).map(HostId);
            all.for_each(|host| self.strike(Deed::DropTcp(host, true)));
        }
        let span = self.calm_from.since(now);
        for (after, deed) in swarm::wall_steps(&self.faults, hosts, span, &mut self.chance) {
            self.enter(now + after, Todo::Deed(self.cycle, deed));
        }
        for (at, step) in swarm::steps(&self.faults, &self.scripted(), (now, self.calm_from), &mut self.chance) {
            self.enter(at, Todo::Step(self.cycle, step));
        }
        for step in &self.scenario.step {
            self.enter(now + Duration::from_secs_f64(step.at_s), Todo::Step(self.cycle, step.clone()));
        }
        for flow in &self.scenario.flow {
            self.enter(now + Duration::from_secs_f64(flow.at_s), Todo::Stream(self.cycle, flow.clone()));
        }
        for enemy in 0..self.enemies.len() {
            self.enter(now + TICK * 5, Todo::Enemy(self.cycle, enemy));
        }
    }

    /// Kinds that the script itself brings: chance does not add to them.
    fn scripted(&self) -> BTreeSet<Kind> {
        self.scenario.step.iter().map(|step| step.what.kind()).collect()
    }

    fn begin_calm(&mut self) {
        // What was entered for this cycle does not happen any more.
        self.cycle += 1;
        deeds::end_all(&mut self.cluster, &Quality::clean());
        let odds = Odds::of(BACK);
        for node in 0..self.scenario.nodes {
            let back = self.due_back.contains(&node) || (self.scenario.swarm && odds.draw(&mut self.chance));
            if back && self.cluster.nodes[node].process.is_none() && self.cluster.nodes[node].run > 0 {
                self.strike(Deed::Boot(node, Comeback::Own));
            }
        }
        self.due_back.clear();
    }

    fn judge(&mut self) {
        if self.is_calm() && self.scenario.all_fit() {
            calm::check(&mut self.cluster);
        }
    }

    fn judge_ways(&mut self) {
        let told = |node: usize| self.cluster.endpoint(node).map_or(0, |endpoint| endpoint.stats().links_told);
        let told: u64 = (0..self.scenario.nodes).map(told).sum();
        self.cluster.observer.judge_ways(self.cluster.now, told);
    }

    /// Looks into the tables of one node, another each second.
    fn look_into_one(&mut self) {
        let now = self.cluster.now;
        let node = usize::try_from(now.millis() / 1_000).expect("hours") % self.cluster.nodes.len();
        if let Some(process) = &mut self.cluster.nodes[node].process {
            self.cluster.observer.look_into(now, node, &mut *process.endpoint);
        }
    }

    /// Looks at the ways that all show, where the scenario says that nothing makes them change.
    fn look_at_ways(&mut self) {
        let (now, since) = (self.cluster.now, self.chaos_from);
        if self.is_calm() || !self.cluster.observer.steady.is_asked(now.since(since)) {
            return;
        }
        for node in 0..self.scenario.nodes {
            if let Some(process) = &mut self.cluster.nodes[node].process {
                let routes = process.endpoint.routes();
                self.cluster.observer.look_at_ways(now, node, routes);
            }
        }
    }

    fn wire_bytes(&self) -> u64 {
        self.cluster.nodes.iter().map(|slot| slot.wire_bytes).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn report(mut self) -> Report {
        if let Some((since, bytes)) = self.counted_from {
            let minutes = self.cluster.now.since(since).as_secs_f64() / 60.0;
            let per_minute = (self.wire_bytes() - bytes) as f64 / self.scenario.nodes as f64 / minutes.max(1e-9);
            self.cluster.observer.metrics.set("bytes_per_node_minute", per_minute);
        }
        let counts = self.cluster.network.counts;
        self.cluster.observer.metrics.set("datagrams_sent", counts.sent as f64);
        self.cluster.observer.metrics.set("datagrams_heard", counts.arrived as f64);
        self.cluster.observer.metrics.set("datagrams_too_large", counts.too_large as f64);
        let least = self.cluster.observer.casts.least();
        if least > 0 {
            let sent = self.cluster.cast_datagrams();
            self.cluster.observer.metrics.set("cast_datagrams", sent as f64);
            self.cluster.observer.metrics.set("cast_datagrams_over_least", sent as f64 / least as f64);
        }
        self.cluster.observer.metrics.set("signatures_checked", self.cluster.signatures_checked() as f64);
        for swallower in self.cluster.nodes.iter().filter_map(|slot| slot.swallower.as_ref()) {
            self.faults.struck_often(Kind::Swallows, swallower.swallowed);
        }
        let tally = &self.cluster.observer.tally;
        Report {
            checks: tally.counts().iter().map(|(check, count)| (check.name().to_owned(), json!(count))).collect(),
            faults: self.faults.counts().iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect(),
            violations: tally.violations().to_vec(),
            broken: tally.broken(),
            events: self.cluster.trace.happened(),
            hash: self.cluster.trace.hash(),
            metrics: self.cluster.observer.metrics.to_json(),
        }
    }
}

#[cfg(test)]
mod tests;

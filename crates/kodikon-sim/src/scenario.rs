//! Decides what a scenario file may say, and which scenarios there are.

use anyhow::{Context as _, Result, ensure};
use kodikon_core::ground::config::MAX_PAYLOAD;
use kodikon_core::model::letter::Priority;
use serde::Deserialize;

use crate::faults::Kind;
use crate::faults::script::{Bad, ScriptStep};
use crate::network::topology::{Homes, MOST_INTERFACES};

/// A story to be told with many seeds. It goes in cycles of chaos and calm; steps are counted from a cycle's beginning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line for people.
    pub what: String,
    /// Nodes in all.
    pub nodes: usize,
    /// Virtual hours of one run.
    pub hours: f64,
    /// Nodes are started within this many seconds, evenly by chance.
    #[serde(default = "second")]
    pub start_within_s: f64,
    /// So many of the nodes start later, one after the other.
    #[serde(default)]
    pub late: usize,
    /// Seconds between two late starts.
    #[serde(default)]
    pub late_every_s: f64,
    /// Nodes on each host.
    #[serde(default = "one")]
    pub nodes_per_host: usize,
    /// Segments there are.
    #[serde(default = "one")]
    pub segments: usize,
    /// Which hosts are plugged into which segments.
    #[serde(default)]
    pub homes: Homes,
    /// Mean seconds between two changes of a node's state; 0: it never changes.
    #[serde(default = "minute")]
    pub state_every_s: f64,
    /// Mean seconds between two letters of a node; 0: it writes none of its own accord.
    #[serde(default)]
    pub letters_every_s: f64,
    /// Mean seconds between two casts of a node; 0: it says nothing to all.
    #[serde(default)]
    pub casts_every_s: f64,
    /// Mean seconds between two alerts of a node; 0: it raises none.
    #[serde(default)]
    pub alerts_every_s: f64,
    /// Mean seconds between two orders of a node to add, update or delete sightings; 0: none.
    #[serde(default)]
    pub records_every_s: f64,
    /// So many sightings the first node adds at once in each cycle, half a minute after it began.
    #[serde(default)]
    pub records_load: u64,
    /// Mean seconds between two things that a node records, deletes or looks for by likeness; 0: it does none of it.
    #[serde(default)]
    pub searches_every_s: f64,
    /// Whether the last node lies to whoever searches, and asks more than it may.
    #[serde(default)]
    pub search_liar: bool,
    /// Whether all that is seen is for all nodes, and none of it stays on its node.
    #[serde(default)]
    pub shares_all: bool,
    /// Milliseconds that a scan takes. By default longer than on most machines, so that searches meet.
    #[serde(default = "scan")]
    pub scan_ms: f64,
    /// Streams of letters.
    #[serde(default)]
    pub flow: Vec<Flow>,
    /// Milliseconds within which every critical letter with a sound way arrives, and in this scenario nobody who is sound falls
    /// under suspicion; 0: neither is asked.
    #[serde(default)]
    pub critical_within_ms: f64,
    /// Seconds within which whoever writes to somebody at one priority is served again; 0: not asked.
    #[serde(default)]
    pub served_within_s: f64,
    /// Whether the kinds of fault are drawn from all there are, and strike by chance.
    #[serde(default)]
    pub swarm: bool,
    /// Whether one of the members is hostile.
    #[serde(default)]
    pub hostile: bool,
    /// Whether the hostile member's own identities flood the others with letters.
    #[serde(default)]
    pub flooder: bool,
    /// Whether the hostile member's own identities lie about links as well.
    #[serde(default)]
    pub liar: bool,
    /// Whether the last node takes over others' letters and passes none on.
    #[serde(default)]
    pub swallower: bool,
    /// Whether several nodes claim one name.
    #[serde(default)]
    pub name_clash: bool,
    /// Peers a node holds at most; 0: as by default. With fewer than there are nobody can know all, and calm is not judged.
    #[serde(default)]
    pub max_peers: usize,
    /// Whether mild faults may be in the background.
    #[serde(default = "yes")]
    pub mild: bool,
    /// Kinds of fault that are on under every seed.
    #[serde(default)]
    pub faults: Vec<Kind>,
    /// Seconds of one cycle; 0: the whole run is one.
    #[serde(default)]
    pub cycle_s: f64,
    /// Seconds of calm at the end of each cycle.
    #[serde(default = "calm")]
    pub calm_s: f64,
    /// What is bad throughout the chaos.
    #[serde(default)]
    pub bad: Bad,
    /// What ways must not do; nothing is asked of them by default.
    #[serde(default)]
    pub ways: Ways,
    /// What happens when.
    #[serde(default)]
    pub step: Vec<ScriptStep>,
}

/// What is asked of the ways that nodes show, once what is bad has been so for a while.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ways {
    /// From so many seconds after chaos began.
    pub after_s: f64,
    /// How often the way of one node to another changes in an hour at most, in the mean over all pairs; 0: not asked.
    pub changes_per_h: f64,
    /// Whether there is always a way around the segments that are bad, and none leads over them.
    pub around_bad: bool,
}

/// A stream of letters from one node to another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Seconds after the cycle began.
    pub at_s: f64,
    /// Again each so many seconds, until the cycle's calm.
    pub every_s: Option<f64>,
    /// Who writes.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// Milliseconds between two letters.
    pub gap_ms: f64,
    /// How many letters.
    pub letters: u32,
    /// Bytes of each. Default: a detection of a camera, say.
    #[serde(default = "streamed")]
    pub bytes: usize,
    /// How urgent they are, as in JSON.
    #[serde(default = "usual")]
    pub priority: String,
    /// Seconds that each may take. Default: as its priority says. Below 5 s none is promised to arrive.
    pub timeout_s: Option<f64>,
}

fn streamed() -> usize {
    160
}

fn usual() -> String {
    Priority::default().name().to_owned()
}

fn second() -> f64 {
    1.0
}

fn minute() -> f64 {
    60.0
}

fn calm() -> f64 {
    75.0
}

fn scan() -> f64 {
    50.0
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios of this repository: name and text.
const ALL: &[(&str, &str)] = scenarios![
    "cold-start-3",
    "cold-start-10",
    "cold-start-100",
    "cold-start-1000",
    "late-joiner",
    "rolling-restart",
    "rolling-crash",
    "loss-10",
    "loss-20",
    "loss-30",
    "bursty-loss",
    "partition",
    "silence",
    "one-way",
    "pair-cut",
    "mute",
    "pauses",
    "pauses-all",
    "sleep",
    "wall-clocks",
    "half-crash",
    "half-power-off",
    "crash",
    "crash-100",
    "power-off",
    "goodbye",
    "clone",
    "name-clash",
    "restored-backup",
    "lost-disk",
    "hostile-member",
    "tcp-dropped",
    "multicast-off",
    "two-on-a-host",
    "one-host",
    "readdress",
    "cable",
    "two-segments",
    "segment-line",
    "line-7",
    "line-15",
    "ring-6",
    "grid-9",
    "star-20",
    "gateways-30",
    "random-30",
    "segments-50",
    "segments-1000",
    "letters-line-7",
    "letters-ring-6",
    "letters-grid-9",
    "letters-loss-20",
    "letters-5-hops",
    "letters-swallowed",
    "all-swallowed",
    "broadcast-30",
    "broadcast-5x10",
    "broadcast-gateways",
    "broadcast-line-7",
    "broadcast-grid-9",
    "broadcast-loss-20",
    "congested-link",
    "bulk-beside-critical",
    "hostile-flooder",
    "hostile-liar",
    "lossy-ring",
    "lossy-random-30",
    "alerts-30",
    "alerts-late-joiner",
    "alerts-sender-dies",
    "alerts-receiver-restarts",
    "alerts-partition",
    "alerts-line-7",
    "alerts-ring-6",
    "alerts-grid-9",
    "alerts-disk-fails",
    "records-10",
    "records-races",
    "records-partition",
    "records-away",
    "records-disks",
    "records-rot",
    "records-disk-fails",
    "records-rolling-restart",
    "records-swarm-10",
    "records-line-5",
    "records-load",
    "records-pull",
    "records-pull-breaks",
    "records-pull-no-tcp",
    "records-pull-slow",
    "search-6",
    "search-busy",
    "search-12-loss",
    "search-partition",
    "search-line-5",
    "search-liar",
    "swarm-5",
    "swarm-10",
    "swarm-30",
    "swarm-50",
    "full-table",
    "idle-3",
    "idle-10",
    "idle-100",
];

/// The names of all scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Reads a scenario by its name.
///
/// # Errors
/// There is none of this name, or its file is wrong.
pub fn find(name: &str) -> Result<Scenario> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, text) = found.with_context(|| format!("no scenario `{name}`; `kodikon-sim list` shows all"))?;
    let scenario: Scenario = toml::from_str(text).with_context(|| format!("scenarios/{name}.toml"))?;
    scenario.check().with_context(|| format!("scenarios/{name}.toml"))?;
    Ok(scenario)
}

impl Scenario {
    /// Kinds of fault that it brings itself, beside those that a seed draws; some more than once.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let flags =
            [(self.hostile, Kind::Hostile), (self.swallower, Kind::Swallows), (self.name_clash, Kind::NameClash)];
        let flagged = flags.into_iter().filter(|(on, _)| *on).map(|(_, kind)| kind);
        let steps = self.step.iter().map(|step| step.what.kind());
        self.bad.kinds().chain(steps).chain(self.faults.iter().copied()).chain(flagged)
    }

    /// Seconds of one cycle.
    #[must_use]
    pub fn cycle(&self) -> f64 {
        if self.cycle_s > 0.0 { self.cycle_s.min(self.hours * 3600.0) } else { self.hours * 3600.0 }
    }

    /// Whether everybody can know everybody: only then is it judged what everybody should know.
    #[must_use]
    pub fn all_fit(&self) -> bool {
        self.max_peers == 0 || self.max_peers >= self.nodes
    }

    /// Checks what its fields must be to each other.
    ///
    /// # Errors
    /// The first that is not so.
    pub fn check(&self) -> Result<()> {
        ensure!(self.nodes >= 1 && self.nodes <= 4_000, "1 to 4,000 nodes");
        ensure!(self.nodes_per_host >= 1 && self.nodes_per_host <= 64, "1 to 64 nodes on a host");
        ensure!(self.segments >= 1 && self.segments <= 200, "1 to 200 segments");
        ensure!(self.late < self.nodes, "someone must be there before the late");
        ensure!(self.hours > 0.0 && self.hours <= 24.0, "at most 24 hours");
        ensure!(self.calm_s < self.cycle(), "a cycle must be longer than its calm");
        let is_there = |flow: &Flow| flow.from < self.nodes && flow.to < self.nodes && flow.gap_ms > 0.0;
        ensure!(self.flow.iter().all(is_there), "letters flow between nodes that there are");
        let is_letter = |flow: &Flow| flow.bytes <= MAX_PAYLOAD && Priority::from_name(&flow.priority).is_some();
        ensure!(self.flow.iter().all(is_letter), "letters are of a known priority and {MAX_PAYLOAD} bytes at most");
        ensure!(self.hostile || !(self.flooder || self.liar), "a flooder or liar is a hostile member");
        let most = MOST_INTERFACES;
        let hosts = self.nodes / self.nodes_per_host;
        match self.homes {
            Homes::All => ensure!(self.segments <= most, "a host has at most {most} interfaces"),
            Homes::Star => {
                ensure!(self.segments <= most && hosts > self.segments, "a hub of at most {most}, and leaves")
            }
            Homes::Gateways => ensure!(hosts + 2 >= 2 * self.segments, "two hosts between each two segments"),
            Homes::Random => ensure!(hosts + 1 >= self.segments, "a host between each two segments"),
            Homes::Ring => ensure!(hosts >= 3, "a ring of three at least"),
            Homes::Line | Homes::Grid => ensure!(hosts >= 2, "two hosts at least"),
            Homes::Mixed | Homes::Drawn => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_can_be_read_and_lasts_two_hours_at_most_but_for_the_day_of_a_partition() {
        for name in names() {
            let scenario = find(name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let most = if name == "records-partition" { 24.0 } else { 2.0 };
            assert!(scenario.hours <= most, "{name}");
        }
    }

    #[test]
    fn where_no_mild_faults_are_drawn_a_scenario_brings_two_kinds_of_its_own() {
        for name in names() {
            let scenario = find(name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let kinds: BTreeSet<Kind> = scenario.kinds().collect();
            assert!(scenario.mild || kinds.len() >= 2, "{name} has {kinds:?}");
        }
    }

    #[test]
    fn every_scenario_file_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
            assert!(names().any(|known| known == name), "{name} is not listed");
        }
    }
}

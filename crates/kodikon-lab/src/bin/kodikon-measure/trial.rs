//! Decides how a measured program is found, started afresh and left alone until it is calm.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec, Program, Story, Topology};

/// What a fleet of 30 may need at worst: a rival looks for peers once a minute.
pub(crate) const ROSTER_LIMIT: Duration = Duration::from_secs(150);
/// The one segment of a lab that measures.
pub(crate) const SEGMENT: &str = "a";
/// More than a round of heartbeats (5 s), so that each observer has heard its node and holds its connection.
pub(crate) const WATCHED: Duration = Duration::from_secs(6);

/// A program that takes part.
#[derive(Clone)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// What each of its nodes is started with besides.
    pub(crate) args: &'static [&'static str],
}

/// How often something is done: a rival is there to compare with, so that fewer samples of it are enough.
#[derive(Clone, Copy)]
pub(crate) struct Runs {
    pub(crate) ours: u32,
    pub(crate) rival: u32,
}

impl Runs {
    pub(crate) fn of(self, contestant: &Contestant) -> u32 {
        if contestant.is_rival() { self.rival.min(self.ours) } else { self.ours }
    }
}

impl Contestant {
    /// Whether it is not ours.
    pub(crate) fn is_rival(&self) -> bool {
        !matches!(self.program, Program::Kodikon(_))
    }

    /// What the program says of itself.
    pub(crate) fn version(&self) -> String {
        let (path, argument) = match &self.program {
            Program::Kodikon(path) => (path, "--version"),
            Program::Serf(path) => (path, "version"),
            _ => return self.name.to_owned(),
        };
        let said = Command::new(path).arg(argument).output();
        let said = said.map(|done| String::from_utf8_lossy(&done.stdout).lines().next().unwrap_or_default().to_owned());
        let said = said.unwrap_or_default();
        if said.to_lowercase().starts_with(self.name) { said } else { format!("{} {said}", self.name) }
    }

    /// Nodes called like their hosts on the first `hosts` hosts, with data directories that nobody has used.
    pub(crate) fn fleet<'lab>(&self, lab: &'lab Lab, hosts: u16, trial: u32) -> Result<Fleet<'lab>> {
        lab.forget_neighbours()?;
        let mut fleet = Fleet::of(lab, self.program.clone());
        for host in (1..=hosts).map(Host) {
            fleet.launch(self.spec(lab, host, trial))?;
        }
        Ok(fleet)
    }

    /// A node called like its host, with data of this trial only.
    fn spec(&self, lab: &Lab, host: Host, trial: u32) -> NodeSpec {
        self.with_args(
            NodeSpec::on(host).data(lab.directory().join(format!("{}-{trial}", self.name)).join(host.to_string())),
        )
    }

    /// A node as this contestant's are started.
    pub(crate) fn with_args(&self, spec: NodeSpec) -> NodeSpec {
        self.args.iter().fold(spec, |spec, arg| spec.arg(*arg))
    }
}

/// A lab of one segment on which each program finds what it needs.
pub(crate) fn lab(hosts: u16, contestants: &[Contestant]) -> Result<Lab> {
    lab_of(&Topology::flat(hosts), contestants)
}

/// The same of any segments, of which one is called [`SEGMENT`] where a rival takes part.
pub(crate) fn lab_of(topology: &Topology, contestants: &[Contestant]) -> Result<Lab> {
    let lab = Lab::up("measure", topology)?;
    if contestants.iter().any(|contestant| matches!(contestant.program, Program::Serf(_))) {
        for host in lab.hosts() {
            // Its multicast goes where the default route goes.
            let mut route = lab.command(host, "ip");
            route.args(["route", "add", "default", "dev", &lab.interface(SEGMENT)]);
            lab.run(&mut route, Duration::from_secs(10))?.success()?;
        }
    }
    Ok(lab)
}

/// Several labs that know nothing of each other, for one program.
pub(crate) fn labs(count: u32, hosts: u16, contestant: &Contestant) -> Result<Vec<Lab>> {
    (0..count).map(|_| lab(hosts, std::slice::from_ref(contestant))).collect()
}

/// Listens for `least`, and a part of `spread` that is another one each time, so that what comes then falls on all phases
/// of what the nodes do regularly.
pub(crate) fn settle(fleet: &mut Fleet<'_>, least: Duration, spread: Duration, trial: u32) -> Result<()> {
    fleet.listen(least + spread.mul_f64(phase(trial)))
}

/// Another part of 1 for each trial: multiples of the golden ratio fill the unit interval evenly, however many there are.
pub(crate) fn phase(trial: u32) -> f64 {
    (f64::from(trial) * 0.618_034).fract()
}

/// Waits until every other running node has told one of these events about a node; the first of each, since the mark.
pub(crate) fn told_at_all(
    fleet: &mut Fleet<'_>,
    kinds: &[Kind],
    about: &str,
    mark: Moment,
    limit: Duration,
) -> Result<Vec<Elapsed>> {
    let others = fleet.story().running().filter(|name| *name != about).count();
    let firsts = |story: &Story| {
        let mut firsts: BTreeMap<String, Elapsed> = BTreeMap::new();
        for (by, seen) in kinds.iter().flat_map(|kind| story.first_about(kind, about, mark)) {
            let elapsed = seen.moment.since(mark);
            firsts.entry(by.to_owned()).and_modify(|first| *first = first.earlier(elapsed)).or_insert(elapsed);
        }
        firsts
    };
    let what = format!("the end of {about} at all {others} others");
    fleet.wait(&what, limit, |story| firsts(story).len() >= others)?;
    Ok(firsts(fleet.story()).into_values().collect())
}

/// Whether kodikon has a verb. One that it has not yet is a usage error.
pub(crate) fn has_verb(contestant: &Contestant, verb: &str) -> bool {
    let Program::Kodikon(binary) = &contestant.program else { return false };
    let asked = Command::new(binary).args([verb, "--help"]).output();
    asked.is_ok_and(|done| done.status.success())
}

/// Where a program is found in PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

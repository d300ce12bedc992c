//! Decides how a measured program is found, started afresh and left alone until it is calm.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use kodikon_lab::{Fleet, Host, Lab, NodeSpec, Program};

/// What a fleet of 30 may need at worst: a rival looks for peers once a minute.
pub(crate) const ROSTER_LIMIT: Duration = Duration::from_secs(150);
/// More than a round of heartbeats (5 s), so that each observer has heard its node and holds its connection.
const SETTLE: Duration = Duration::from_secs(6);

/// A program that takes part.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
}

impl Contestant {
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
        if said.starts_with(self.name) { said } else { format!("{} {said}", self.name) }
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
    pub(crate) fn spec(&self, lab: &Lab, host: Host, trial: u32) -> NodeSpec {
        NodeSpec::on(host).data(lab.directory().join(format!("{}-{trial}", self.name)).join(host.to_string()))
    }
}

/// A lab of one segment on which each program finds what it needs.
pub(crate) fn lab(hosts: u16, contestants: &[Contestant]) -> Result<Lab> {
    let lab = Lab::up("measure", &kodikon_lab::Topology::flat(hosts))?;
    if contestants.iter().any(|contestant| matches!(contestant.program, Program::Serf(_))) {
        for host in lab.hosts() {
            // Its multicast goes where the default route goes.
            let mut route = lab.command(host, "ip");
            route.args(["route", "add", "default", "dev", &lab.interface("a")]);
            lab.run(&mut route, Duration::from_secs(10))?.success()?;
        }
    }
    Ok(lab)
}

/// Listens until the fleet is calm, a little longer each time, so that events fall on all phases of the heartbeats.
pub(crate) fn settle(fleet: &mut Fleet<'_>, trial: u32) -> Result<()> {
    // Multiples of the golden ratio fill the unit interval evenly, however many there are.
    let phase = (f64::from(trial) * 0.618_034).fract();
    fleet.listen(SETTLE + Duration::from_secs_f64(phase))
}

/// Where a program is found in PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

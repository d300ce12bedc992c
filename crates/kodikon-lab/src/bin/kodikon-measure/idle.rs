//! Decides how the cost of doing nothing is measured: frames at the switch, memory and CPU time of the processes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kodikon_lab::{Distribution, Fleet, Host, Kind, Lab, Moment, Topology, Traffic, Usage};

use crate::report::{Report, Row};
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, SEGMENT, lab_of};

/// How many nodes a node with ten peers is one of.
const TEN_PEERS: u16 = 11;
/// New interfaces announce their addresses and groups for a while: that is no chatter of a calm host.
const ANNOUNCEMENTS: Duration = Duration::from_secs(15);
/// How long the hosts are listened to before there is any node.
const SILENCE: Duration = Duration::from_secs(30);
/// Frames lost, in percent, where some are.
const LOSS: f64 = 10.0;

/// For how long to wait, and to count.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) settle: Duration,
    pub(crate) count: Duration,
}

/// One mesh that has nothing to do.
#[derive(Clone)]
struct Case {
    contestant: Contestant,
    nodes: u16,
    look_at: Aspect,
}

/// What is looked at in a mesh.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Traffic,
    /// The same where a tenth of all frames is lost.
    LossyTraffic,
    /// The same where every node is on two segments, and on three.
    TwoSegments,
    ThreeSegments,
    Resources,
}

/// What each node used, per minute where it is traffic.
#[derive(Default)]
struct Costs {
    sent_bytes: Vec<f64>,
    sent_packets: Vec<f64>,
    cpu_percent: Vec<f64>,
    rss_mb: Vec<f64>,
    anonymous_mb: Vec<f64>,
    /// Doubts and verdicts of nodes that all live.
    suspicions: usize,
    failures: usize,
}

/// A mesh while it is measured.
struct Mesh<'lab> {
    case: &'lab Case,
    lab: &'lab Lab,
    fleet: Fleet<'lab>,
    before: Look,
    since: Moment,
}

/// Bytes and packets per node and minute in meshes of these sizes, and memory and CPU time of a node with ten peers: all
/// at the same time, each mesh on a segment of its own, for idle nodes leave the computer idle.
pub(crate) fn idle(contestants: &[Contestant], sizes: &[u16], times: Times, report: &mut Report) {
    let cases = cases(contestants, sizes);
    eprintln!("{} idle meshes at the same time, {:?}", cases.len(), times.count);
    if let Err(error) = count(&cases, times, report) {
        report.fail("idle".to_owned(), &error);
    }
}

fn cases(contestants: &[Contestant], sizes: &[u16]) -> Vec<Case> {
    let mut cases = Vec::new();
    for contestant in contestants {
        let case = |nodes, look_at| Case { contestant: contestant.clone(), nodes, look_at };
        // The design compares with ten of a rival, no more.
        let sizes = sizes.iter().filter(|nodes| !contestant.is_rival() || **nodes == 10);
        cases.extend(sizes.map(|nodes| case(*nodes, Aspect::Traffic)));
        if !contestant.is_rival() {
            cases.extend(
                [Aspect::LossyTraffic, Aspect::TwoSegments, Aspect::ThreeSegments].map(|aspect| case(10, aspect)),
            );
        }
        cases.push(case(TEN_PEERS, Aspect::Resources));
    }
    cases
}

fn count(cases: &[Case], times: Times, report: &mut Report) -> Result<()> {
    let labs = cases.iter().map(|case| lab_of(&case.topology(), std::slice::from_ref(&case.contestant)));
    let labs = labs.collect::<Result<Vec<Lab>>>()?;
    thread::sleep(ANNOUNCEMENTS);
    let chatter = chatter(labs.first().context("no mesh")?)?;
    let mut meshes = Vec::new();
    for (case, lab) in cases.iter().zip(&labs) {
        let mut fleet = case.contestant.fleet(lab, case.nodes, 0)?;
        fleet.wait_full_roster(ROSTER_LIMIT)?;
        if case.look_at == Aspect::LossyTraffic {
            lab.loss(SEGMENT, LOSS)?;
        }
        meshes.push((case, lab, fleet));
    }
    thread::sleep(times.settle);
    let meshes = meshes.into_iter().map(|(case, lab, fleet)| Mesh::begin(case, lab, fleet));
    let mut meshes = meshes.collect::<Result<Vec<_>>>()?;
    // Not listening: the lines of idle nodes are few, and whoever waits for them uses the CPU.
    thread::sleep(times.count);
    for mesh in &mut meshes {
        let costs = mesh.costs()?;
        mesh.case.note(costs, chatter, report);
    }
    Ok(())
}

impl Case {
    /// Segments that all nodes are on.
    fn topology(&self) -> Topology {
        let flat = Topology::flat(self.nodes);
        match self.look_at {
            Aspect::Traffic | Aspect::LossyTraffic | Aspect::Resources => flat,
            Aspect::TwoSegments => flat.segment("b", 1..=self.nodes),
            Aspect::ThreeSegments => flat.segment("b", 1..=self.nodes).segment("c", 1..=self.nodes),
        }
    }

    fn note(&self, costs: Costs, chatter: f64, report: &mut Report) {
        let name = self.contestant.name;
        let row = |what, unit, targets: &'static [Target]| Row { what, nodes: self.nodes, unit, targets };
        let calm = format!("{} SUSPECT, {} FAILED of nodes that live", costs.suspicions, costs.failures);
        let (bytes, packets) = (Distribution::of(costs.sent_bytes), Distribution::of(costs.sent_packets));
        match self.look_at {
            Aspect::Traffic => {
                let note = format!("of it the kernel's own {chatter:.0}; {calm}");
                report.add(row("idle: sent per node and minute", "bytes", target::IDLE), name, bytes, Some(note));
                report.add(row("idle: sent per node and minute", "packets", &[]), name, packets, None);
            }
            Aspect::LossyTraffic => {
                let sent = row("idle at 10 % loss: sent per node and minute", "bytes", target::LOSSY_IDLE);
                report.add(sent, name, bytes, Some(calm));
                report.add(row("idle at 10 % loss: sent per node and minute", "packets", &[]), name, packets, None);
            }
            Aspect::TwoSegments => {
                let sent = row("idle on two segments: sent per node and minute", "bytes", target::IDLE_ON_TWO);
                report.add(sent, name, bytes, Some(calm));
            }
            Aspect::ThreeSegments => {
                let sent = row("idle on three segments: sent per node and minute", "bytes", target::IDLE_ON_THREE);
                report.add(sent, name, bytes, Some(calm));
            }
            Aspect::Resources => {
                let rss = row("idle, ten peers: RSS", "MB", target::RSS);
                report.add(rss, name, Distribution::of(costs.rss_mb), None);
                let own = row("idle, ten peers: of it written by the process", "MB", &[]);
                report.add(own, name, Distribution::of(costs.anonymous_mb), None);
                let cpu = row("idle, ten peers: CPU of one core", "percent", target::CPU);
                report.add(cpu, name, Distribution::of(costs.cpu_percent), Some(calm));
            }
        }
    }
}

impl<'lab> Mesh<'lab> {
    fn begin(case: &'lab Case, lab: &'lab Lab, mut fleet: Fleet<'lab>) -> Result<Self> {
        fleet.listen(Duration::ZERO)?;
        Ok(Self { case, lab, before: look(lab, &mut fleet)?, since: Moment::now(), fleet })
    }

    fn costs(&mut self) -> Result<Costs> {
        let after = look(self.lab, &mut self.fleet)?;
        // Also finds out whether all have lived until now.
        self.fleet.listen(Duration::ZERO)?;
        let seconds = (after.at - self.before.at).as_secs_f64();
        let mut costs = Costs::default();
        // Of a host: all its cables together.
        let mut sent: BTreeMap<Host, (u64, u64)> = BTreeMap::new();
        for (cable, end) in &after.traffic {
            let before = self.before.traffic.get(cable).context("a cable that was not there before")?;
            let traffic = *end - *before;
            let (bytes, packets) = sent.entry(cable.0).or_default();
            *bytes += traffic.sent_bytes;
            *packets += traffic.sent_packets;
        }
        for (bytes, packets) in sent.into_values() {
            costs.sent_bytes.push(per_minute(bytes, seconds));
            costs.sent_packets.push(per_minute(packets, seconds));
        }
        for (name, end) in &after.usage {
            let before = self.before.usage.get(name).context("a process that was not there before")?;
            costs.cpu_percent.push((end.cpu_s - before.cpu_s) / seconds * 100.0);
            costs.rss_mb.push(mb(end.rss_kib));
            costs.anonymous_mb.push(mb(end.anonymous_kib));
        }
        costs.suspicions = self.fleet.story().count(&Kind::PeerSuspect, self.since);
        costs.failures = self.fleet.story().count(&Kind::PeerFailed, self.since);
        Ok(costs)
    }
}

/// Counters of cables and processes at one time.
struct Look {
    at: Instant,
    traffic: BTreeMap<(Host, String), Traffic>,
    usage: BTreeMap<String, Usage>,
}

fn look(lab: &Lab, fleet: &mut Fleet<'_>) -> Result<Look> {
    let names: Vec<String> = fleet.story().running().map(str::to_owned).collect();
    let traffic = lab.counters()?;
    let at = Instant::now();
    let usage = names.into_iter().map(|name| {
        let usage = fleet.process(&name)?.usage()?;
        Ok((name, usage))
    });
    Ok(Look { at, traffic, usage: usage.collect::<Result<_>>()? })
}

/// What the hosts send of their own accord, in bytes per host and minute.
fn chatter(lab: &Lab) -> Result<f64> {
    let before = lab.counters()?;
    let start = Instant::now();
    thread::sleep(SILENCE);
    let seconds = start.elapsed().as_secs_f64();
    let after = lab.counters()?;
    let sent = after.iter().map(|(cable, end)| {
        let traffic = before.get(cable).map_or(*end, |start| *end - *start);
        per_minute(traffic.sent_bytes, seconds)
    });
    Ok(Distribution::of(sent).figures().map_or(0.0, |figures| figures.mean))
}

#[expect(clippy::cast_precision_loss, reason = "counts of minutes stay far below 2^53")]
fn per_minute(count: u64, seconds: f64) -> f64 {
    count as f64 * 60.0 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes in KiB stay far below 2^53")]
fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

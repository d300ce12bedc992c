//! Decides how the cost of doing nothing is measured: frames at the switch, memory and CPU time of the processes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kodikon_lab::{Distribution, Fleet, Host, Lab, Traffic, Usage};

use crate::report::{Report, Row};
use crate::trial::{Contestant, ROSTER_LIMIT, lab};

/// How many nodes a node with ten peers is one of.
const TEN_PEERS: u16 = 11;

/// For how long to wait, and to count.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) settle: Duration,
    pub(crate) count: Duration,
}

/// What each node used, per minute where it is traffic.
struct Costs {
    sent_bytes: Vec<f64>,
    sent_packets: Vec<f64>,
    received_bytes: Vec<f64>,
    cpu_percent: Vec<f64>,
    rss_mib: Vec<f64>,
    anonymous_mib: Vec<f64>,
    /// Bytes per host and minute without any node.
    chatter: f64,
}

/// Bytes and packets per node and minute.
pub(crate) fn traffic(contestants: &[Contestant], nodes: u16, times: Times, report: &mut Report) {
    for contestant in contestants {
        eprintln!("idle traffic of {nodes} {}, {:?}", contestant.name, times.count);
        let row = |what, unit, target| Row { what, nodes, unit, target };
        match idle(contestant, nodes, times) {
            Ok(costs) => {
                let note = format!("of it the kernel alone: {:.0}", costs.chatter);
                let name = contestant.name;
                let sent = row("idle: sent per node and minute", "bytes", "<= 7000");
                report.add(sent, name, Distribution::of(costs.sent_bytes), Some(note));
                let packets = row("idle: sent per node and minute", "packets", "");
                report.add(packets, name, Distribution::of(costs.sent_packets), None);
                let received = row("idle: received per node and minute", "bytes", "");
                report.add(received, name, Distribution::of(costs.received_bytes), None);
                report.add(row("idle: CPU", "percent", ""), name, Distribution::of(costs.cpu_percent), None);
                report.add(row("idle: RSS", "MiB", ""), name, Distribution::of(costs.rss_mib), None);
            }
            Err(error) => report.fail(format!("idle traffic of {nodes} {}", contestant.name), &error),
        }
    }
}

/// Memory and CPU time of a node with ten peers.
pub(crate) fn resources(contestants: &[Contestant], times: Times, report: &mut Report) {
    for contestant in contestants {
        eprintln!("resources of {} with ten peers, {:?}", contestant.name, times.count);
        let row = |what, unit, target| Row { what, nodes: TEN_PEERS, unit, target };
        match idle(contestant, TEN_PEERS, times) {
            Ok(costs) => {
                let name = contestant.name;
                let rss = row("ten peers, idle: RSS", "MiB", "<= 8");
                report.add(rss, name, Distribution::of(costs.rss_mib), None);
                let own = row("ten peers, idle: of it written by the process", "MiB", "");
                report.add(own, name, Distribution::of(costs.anonymous_mib), None);
                let cpu = row("ten peers, idle: CPU", "percent", "<= 0.05");
                report.add(cpu, name, Distribution::of(costs.cpu_percent), None);
            }
            Err(error) => report.fail(format!("resources of {}", contestant.name), &error),
        }
    }
}

fn idle(contestant: &Contestant, nodes: u16, times: Times) -> Result<Costs> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    // New interfaces announce their addresses and groups for a while: that is no chatter of a calm host.
    thread::sleep(times.settle);
    let chatter = chatter(&lab, times.settle)?;
    let mut fleet = contestant.fleet(&lab, nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.listen(times.settle)?;
    let before = look(&lab, &mut fleet)?;
    fleet.listen(times.count)?;
    let after = look(&lab, &mut fleet)?;
    let seconds = (after.at - before.at).as_secs_f64();
    let mut costs = Costs {
        sent_bytes: Vec::new(),
        sent_packets: Vec::new(),
        received_bytes: Vec::new(),
        cpu_percent: Vec::new(),
        rss_mib: Vec::new(),
        anonymous_mib: Vec::new(),
        chatter,
    };
    for (cable, end) in &after.traffic {
        let traffic = *end - *before.traffic.get(cable).context("a cable that was not there before")?;
        costs.sent_bytes.push(per_minute(traffic.sent_bytes, seconds));
        costs.sent_packets.push(per_minute(traffic.sent_packets, seconds));
        costs.received_bytes.push(per_minute(traffic.received_bytes, seconds));
    }
    for (name, end) in &after.usage {
        let start = before.usage.get(name).context("a process that was not there before")?;
        costs.cpu_percent.push((end.cpu_s - start.cpu_s) / seconds * 100.0);
        costs.rss_mib.push(mib(end.rss_kib));
        costs.anonymous_mib.push(mib(end.anonymous_kib));
    }
    Ok(costs)
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
fn chatter(lab: &Lab, time: Duration) -> Result<f64> {
    let before = lab.counters()?;
    let start = Instant::now();
    thread::sleep(time);
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
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

//! Decides how the kinds of fault that are on strike during one spell of chaos: when, whom, how badly, for how long.

use core::time::Duration;
use std::collections::BTreeSet;

use kodikon_core::ground::random::Random;

use crate::chance::{Odds, between, exponential};
use crate::checks::Watch;
use crate::cluster::Cluster;
use crate::faults::deeds::Deed;
use crate::faults::script::{Deeds, HEALTHY_LOSS, ScriptStep, What, Who};
use crate::faults::{Faults, Kind};
use crate::moment::Moment;
use crate::network::host::HostId;
use crate::network::quality::{Burst, Quality};

/// Bytes a second that an interface sends at least, and for each node of the mesh: where less passes than the nodes of a swarm say
/// (1.5 broadcasts and letters a second of thirty, of up to 64 KiB, and their links under all faults at once), nothing bounds how late
/// the lists come by which the dead are known.
const RATE_LEAST: u64 = 20_000;
const RATE_A_NODE: u64 = 2_000;

/// How bad the links of so many nodes are in one spell of chaos, drawn from the kinds that are on; whether nodes remain healthy.
pub fn draw_quality(
    faults: &Faults,
    (swarm, nodes): (bool, usize),
    quality: &mut Quality,
    random: &mut Random,
) -> bool {
    let mut healthy = true;
    let share = |random: &mut Random, most: f64| most * (random.below(1_000) as f64 + 1.0) / 1_000.0;
    if faults.is_on(Kind::Loss) {
        quality.loss = Odds::of(share(random, if swarm { HEALTHY_LOSS } else { 0.05 }));
    }
    if faults.is_on(Kind::Burst) {
        let (good, bad) = (Duration::from_millis(500), Duration::from_millis(50));
        quality.burst = Some(Burst {
            good: between(random, good, good * 40),
            bad: between(random, bad, bad * 40),
            loss: Odds::of(share(random, 1.0)),
        });
        healthy = false;
    }
    if faults.is_on(Kind::Jitter) {
        let most = Duration::from_millis(if swarm { 80 } else { 10 });
        quality.jitter = between(random, Duration::ZERO, most);
        quality.delay = between(random, Duration::from_micros(50), most / 4);
    }
    if faults.is_on(Kind::Duplicate) {
        quality.duplicate = Odds::of(share(random, 0.2));
    }
    if faults.is_on(Kind::Reorder) {
        quality.reorder = Odds::of(share(random, 0.2));
    }
    if faults.is_on(Kind::Corrupt) {
        // The loss it adds is small beside the twenty percent that a healthy node bears.
        quality.corrupt = Odds::of(share(random, 0.005));
    }
    if faults.is_on(Kind::Rate) {
        quality.rate = Some(RATE_LEAST.max(RATE_A_NODE * nodes as u64) + random.below(1_000_000));
        healthy = false;
    }
    if faults.is_on(Kind::MulticastOff) {
        (quality.multicast4, quality.multicast6) = (false, random.below(2) == 0);
        // Without broadcast too, those who have not met cannot.
        healthy &= !faults.is_on(Kind::BroadcastOff);
    }
    if faults.is_on(Kind::BroadcastOff) {
        quality.broadcast = false;
    }
    healthy
}

/// What is wrong with hosts for the whole spell.
pub fn spoil_hosts(faults: &Faults, hosts: usize, random: &mut Random) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for host in (0..u32::try_from(hosts).expect("a run has few hosts")).map(HostId) {
        if faults.is_on(Kind::TcpDropped) && random.below(2) == 0 {
            deeds.push(Deed::DropTcp(host, true));
        }
        if faults.is_on(Kind::IcmpDropped) && random.below(2) == 0 {
            deeds.push(Deed::DropIcmp(host, true));
        }
    }
    deeds
}

/// The steps of one spell of chaos, but for the kinds that the scenario brings itself.
pub fn steps(
    faults: &Faults,
    but: &BTreeSet<Kind>,
    (from, until): (Moment, Moment),
    random: &mut Random,
) -> Vec<(Moment, ScriptStep)> {
    let mut steps = Vec::new();
    for &kind in faults.counts().keys().filter(|kind| !but.contains(kind)) {
        let Some(rule) = rule(kind) else { continue };
        let mut at = from + exponential(random, rule.gap);
        while at < until {
            let span = between(random, rule.least, rule.most);
            // Mostly one; now and then many at once, which is where agreement is hard.
            let who = if rule.who == Who::Half && random.below(4) > 0 { Who::One } else { rule.who };
            steps.push((
                at,
                ScriptStep {
                    at_s: 0.0,
                    every_s: None,
                    what: rule.what,
                    who,
                    for_s: Some(span.as_secs_f64()),
                    over_s: if random.below(2) == 0 { 0.0 } else { 2.0 },
                },
            ));
            at += exponential(random, rule.gap);
        }
    }
    steps
}

struct Rule {
    what: What,
    who: Who,
    gap: Duration,
    least: Duration,
    most: Duration,
}

fn rule(kind: Kind) -> Option<Rule> {
    let rule = |what, who, gap: u64, least: u64, most: u64| {
        let [gap, least, most] = [gap * 1_000, least, most].map(Duration::from_millis);
        Some(Rule { what, who, gap, least, most })
    };
    match kind {
        Kind::Partition => rule(What::Partition, Who::Half, 150, 500, 90_000),
        Kind::OneWay => rule(What::OneWay, Who::One, 90, 500, 60_000),
        Kind::Silence => rule(What::Silence, Who::Half, 120, 500, 60_000),
        Kind::Cut => rule(What::Cut, Who::One, 90, 500, 60_000),
        Kind::CutSegment => rule(What::CutSegment, Who::One, 240, 500, 60_000),
        Kind::Cable => rule(What::Unplug, Who::Half, 120, 500, 60_000),
        Kind::InterfaceDown => rule(What::InterfaceDown, Who::One, 120, 100, 40_000),
        Kind::Readdress => rule(What::Readdress, Who::One, 120, 100, 20_000),
        Kind::Crash => rule(What::Crash, Who::Half, 60, 50, 60_000),
        Kind::PowerOff => rule(What::PowerOff, Who::Half, 120, 1_000, 60_000),
        Kind::Leave => rule(What::Leave, Who::Half, 90, 200, 60_000),
        Kind::DiskLost => rule(What::LoseDisk, Who::One, 180, 500, 30_000),
        Kind::DiskRots => rule(What::RotDisk, Who::One, 180, 500, 30_000),
        Kind::DiskOld => rule(What::RestoreBackup, Who::One, 240, 500, 10_000),
        Kind::DiskFails => rule(What::DiskFails, Who::Half, 120, 500, 60_000),
        Kind::Clone => rule(What::Clone, Who::One, 300, 1_000, 10_000),
        Kind::ShortPause => rule(What::Pause, Who::Half, 20, 10, 1_000),
        Kind::LongPause => rule(What::Pause, Who::Half, 60, 1_000, 40_000),
        Kind::Sleep => rule(What::Sleep, Who::One, 150, 1_000, 90_000),
        Kind::Loss
        | Kind::Burst
        | Kind::Jitter
        | Kind::Duplicate
        | Kind::Reorder
        | Kind::Corrupt
        | Kind::Rate
        | Kind::Mute
        | Kind::MulticastOff
        | Kind::BroadcastOff
        | Kind::WallWrong
        | Kind::Drift
        | Kind::TcpDropped
        | Kind::IcmpDropped
        | Kind::NameClash
        | Kind::Hostile
        | Kind::Stranger
        | Kind::Swallows => None,
    }
}

/// Wall clocks that step during the spell.
pub fn wall_steps(faults: &Faults, hosts: usize, span: Duration, random: &mut Random) -> Deeds {
    if !faults.is_on(Kind::WallWrong) {
        return Vec::new();
    }
    let hosts = u32::try_from(hosts).expect("a run has few hosts");
    let step = |random: &mut Random| {
        let host = HostId(u32::try_from(random.below(u64::from(hosts))).expect("below 2^32"));
        (random.span(span), Deed::StepWall(host, wrong_by(random)))
    };
    (0..1 + random.below(4)).map(|_| step(random)).collect()
}

/// An error of up to ten years in either direction, in milliseconds.
pub fn wrong_by(random: &mut Random) -> i64 {
    const TEN_YEARS_MS: u64 = 10 * 365 * 86_400_000;
    i64::try_from(random.below(2 * TEN_YEARS_MS)).expect("twenty years fit")
        - i64::try_from(TEN_YEARS_MS).expect("ten too")
}

/// Clocks that drift by up to 100 parts per million, as quartz does, set before anything starts.
pub fn drift(faults: &Faults, cluster: &mut Cluster<Watch>, random: &mut Random) {
    for slot in &mut cluster.nodes {
        if faults.is_on(Kind::Drift) {
            slot.drift_ppm = i32::try_from(random.below(201)).expect("below 201") - 100;
        }
        if faults.is_on(Kind::WallWrong) {
            slot.wall_offset_ms = wrong_by(random);
        }
    }
}

//! Decides what the steps of a scenario file mean: who is struck, when, and when it ends.

use core::time::Duration;

use kodikon_core::ground::id::InterfaceIndex;
use kodikon_core::ground::random::Random;
use serde::Deserialize;

use crate::chance::{Odds, between, pick, shuffle};
use crate::checks::Watch;
use crate::cluster::Cluster;
use crate::faults::Kind;
use crate::faults::deeds::{Comeback, Deed};
use crate::network::host::{HostId, LOOPBACK, SegmentId};
use crate::network::quality::{Burst, Quality};

/// One step of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptStep {
    /// Seconds after the run began.
    pub at_s: f64,
    /// Again each so many seconds, until the last calm.
    pub every_s: Option<f64>,
    /// What.
    #[serde(rename = "do")]
    pub what: What,
    /// To whom. Default one.
    #[serde(default)]
    pub who: Who,
    /// Seconds until it ends: the dead come back, links are mended. Default: never.
    pub for_s: Option<f64>,
    /// Seconds over which those struck are spread. Default 0: all at once.
    #[serde(default)]
    pub over_s: f64,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Processes die and come back with their disks.
    Crash,
    /// Hosts lose power.
    PowerOff,
    /// Nodes say goodbye and come back.
    Leave,
    /// A node comes back with the disk it had at the step before.
    RestoreBackup,
    /// A node comes back without its disk.
    LoseDisk,
    /// A node comes back with some rows of its log spoilt.
    RotDisk,
    /// Disks take nothing more for a while.
    DiskFails,
    /// A copy of a node's disk starts on the spare host.
    Clone,
    /// Processes are stopped.
    Pause,
    /// Hosts sleep.
    Sleep,
    /// Those struck do not hear the others, nor are heard by them; among each other they do.
    Partition,
    /// Each of those struck hears nobody and is heard by nobody, though its cable is in.
    Silence,
    /// The one struck is not heard by one other.
    OneWay,
    /// The one struck and another of one of its segments do not hear each other there, though all cables are in.
    Cut,
    /// On one segment of the one struck nobody hears anybody, though all cables are in.
    CutSegment,
    /// Those struck are heard by nobody on one of their segments, and hear all there.
    Mute,
    /// Cables are out, of each host one.
    Unplug,
    /// Interfaces are switched off, of each host one, and come back with another address.
    Readdress,
    /// Interfaces are switched off, of each host one, and come back as they were.
    InterfaceDown,
}

/// Whom a step strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// One, by chance.
    #[default]
    One,
    /// One of those on several segments, by chance.
    Joint,
    /// Half of all, by chance.
    Half,
    /// All.
    All,
}

impl What {
    /// The kind of fault this is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Crash => Kind::Crash,
            Self::PowerOff => Kind::PowerOff,
            Self::Leave => Kind::Leave,
            Self::RestoreBackup => Kind::DiskOld,
            Self::LoseDisk => Kind::DiskLost,
            Self::RotDisk => Kind::DiskRots,
            Self::DiskFails => Kind::DiskFails,
            Self::Clone => Kind::Clone,
            Self::Pause => Kind::LongPause,
            Self::Sleep => Kind::Sleep,
            Self::Partition => Kind::Partition,
            Self::Silence => Kind::Silence,
            Self::OneWay => Kind::OneWay,
            Self::Cut => Kind::Cut,
            Self::CutSegment => Kind::CutSegment,
            Self::Mute => Kind::Mute,
            Self::Unplug => Kind::Cable,
            Self::Readdress => Kind::Readdress,
            Self::InterfaceDown => Kind::InterfaceDown,
        }
    }
}

/// What stays bad for the whole chaos of a scenario.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bad {
    /// Share of datagrams lost, each by itself.
    pub loss: f64,
    /// Mean seconds of a good spell; with `bad_s` and `bad_loss` makes bursts.
    pub good_s: f64,
    /// Mean seconds of a bad spell.
    pub bad_s: f64,
    /// Share of datagrams lost in a bad spell.
    pub bad_loss: f64,
    /// Milliseconds of jitter.
    pub jitter_ms: f64,
    /// Bytes a second that one interface can send; 0: no limit.
    pub rate: u64,
    /// All firewalls drop TCP.
    pub tcp_dropped: bool,
    /// Wall clocks are wrong by up to this many days.
    pub wall_days: f64,
    /// Multicast does not pass.
    pub multicast_off: bool,
    /// On which segments. Default all.
    pub segments: Vec<u32>,
}

/// Loss up to which a node is healthy (the promise of no false FAILED).
pub const HEALTHY_LOSS: f64 = 0.2;

impl Bad {
    /// The quality it makes of a better one, and whether nodes remain healthy under it.
    #[must_use]
    pub fn apply(&self, quality: &mut Quality) -> bool {
        if self.loss > 0.0 {
            quality.loss = Odds::of(self.loss);
        }
        if self.bad_s > 0.0 {
            quality.burst = Some(Burst {
                good: Duration::from_secs_f64(self.good_s),
                bad: Duration::from_secs_f64(self.bad_s),
                loss: Odds::of(self.bad_loss),
            });
        }
        if self.jitter_ms > 0.0 {
            quality.jitter = Duration::from_secs_f64(self.jitter_ms / 1e3);
        }
        if self.rate > 0 {
            quality.rate = Some(self.rate);
        }
        if self.multicast_off {
            (quality.multicast4, quality.multicast6) = (false, false);
        }
        self.loss <= HEALTHY_LOSS && self.bad_s == 0.0
    }

    /// The kinds of fault it stands for.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let on = [
            (self.loss > 0.0, Kind::Loss),
            (self.bad_s > 0.0, Kind::Burst),
            (self.jitter_ms > 0.0, Kind::Jitter),
            (self.tcp_dropped, Kind::TcpDropped),
            (self.wall_days > 0.0, Kind::WallWrong),
            (self.multicast_off, Kind::MulticastOff),
        ];
        on.into_iter().filter(|(on, _)| *on).map(|(_, kind)| kind)
    }
}

/// Deeds by how long from now they are to be done.
pub type Deeds = Vec<(Duration, Deed)>;

/// The deeds of one step. `nodes` are those that take part; the first slot after them is the spare.
pub fn deeds(step: &ScriptStep, nodes: usize, cluster: &Cluster<Watch>, random: &mut Random) -> Deeds {
    let mut deeds = Vec::new();
    let span = step.for_s.map(Duration::from_secs_f64);
    let lasting = span.unwrap_or(Duration::from_secs(1_000_000));
    let struck = choose(step.who, nodes, cluster, random);
    let hosts: Vec<HostId> = distinct(struck.iter().map(|&node| cluster.nodes[node].host));
    let mut do_for = |at: Duration, deed: Deed, undo: Option<Deed>| {
        deeds.push((at, deed));
        deeds.extend(span.zip(undo).map(|(span, undo)| (at + span, undo)));
    };
    let spread = |random: &mut Random| between(random, Duration::ZERO, Duration::from_secs_f64(step.over_s));
    match step.what {
        What::Partition | What::Silence => {
            // Apart from the others together, or each alone.
            let most = if step.what == What::Partition { 1u8 } else { 255 };
            let sides = hosts.iter().copied().zip((1..=most).cycle()).collect();
            do_for(Duration::ZERO, Deed::Sides(sides, lasting), Some(Deed::Heal));
        }
        What::OneWay => {
            let from = hosts[0];
            if let Some(&to) = pick(random, &others_than(from, nodes, cluster)) {
                do_for(Duration::ZERO, Deed::Cut(from, to, lasting), Some(Deed::Mend(from, to)));
            }
        }
        What::Cut => {
            let segment = home(cluster, hosts[0], random);
            let others: Vec<HostId> = cluster.network.members(segment).filter(|&other| other != hosts[0]).collect();
            if let Some(&other) = pick(random, &others) {
                let pair = [hosts[0], other];
                do_for(Duration::ZERO, Deed::CutLink(segment, pair, lasting), Some(Deed::MendLink(segment, pair)));
            }
        }
        What::CutSegment => {
            let segment = home(cluster, hosts[0], random);
            do_for(Duration::ZERO, Deed::CutSegment(segment, lasting), Some(Deed::MendSegment(segment)));
        }
        What::Mute => hosts.iter().for_each(|&host| {
            let segment = home(cluster, host, random);
            do_for(Duration::ZERO, Deed::Mute(segment, host, lasting), Some(Deed::Unmute(segment, host)));
        }),
        What::Unplug | What::Readdress | What::InterfaceDown => hosts.iter().for_each(|&host| {
            let nic = interface(cluster, host, random);
            let (deed, undo) = to_interface(step.what, (host, nic), lasting, random);
            do_for(spread(random), deed, Some(undo));
        }),
        What::PowerOff => hosts.iter().for_each(|&host| {
            do_for(spread(random), Deed::PowerOff(host), Some(Deed::PowerOn(host)));
        }),
        What::Sleep => hosts.iter().for_each(|&host| {
            do_for(spread(random), Deed::Sleep(host, lasting), Some(Deed::Awake(host)));
        }),
        What::Clone => do_for(Duration::ZERO, Deed::Clone(struck[0], nodes), None),
        What::RestoreBackup => struck.iter().for_each(|&node| {
            // The copy is made now. Two restarts later its epoch counter is behind for certain.
            let copy = Box::new(cluster.nodes[node].disk.clone());
            for (second, back) in [(0, Comeback::Own), (20, Comeback::Own), (40, Comeback::Old(copy))] {
                let at = Duration::from_secs(second);
                do_for(at, Deed::Crash(node, 0), Some(Deed::Boot(node, back)));
            }
        }),
        What::Crash | What::Leave | What::LoseDisk | What::RotDisk | What::Pause | What::DiskFails => {
            for &node in &struck {
                let at = spread(random);
                let (deed, undo) = to_process(step.what, node, lasting, random);
                do_for(at, deed, Some(undo));
            }
        }
    }
    deeds
}

/// The hosts of those that take part, without one.
fn others_than(one: HostId, nodes: usize, cluster: &Cluster<Watch>) -> Vec<HostId> {
    let all = distinct((0..nodes).map(|node| cluster.nodes[node].host));
    all.into_iter().filter(|&host| host != one).collect()
}

fn to_interface(
    what: What,
    (host, nic): (HostId, InterfaceIndex),
    span: Duration,
    random: &mut Random,
) -> (Deed, Deed) {
    if what == What::Unplug {
        return (Deed::Unplug(host, nic, span), Deed::Plug(host, nic));
    }
    let other = what == What::Readdress;
    let lease = other.then(|| u8::try_from(1 + random.below(14)).expect("below 15"));
    (Deed::Down(host, nic, span), Deed::Up(host, nic, lease))
}

fn to_process(what: What, node: usize, span: Duration, random: &mut Random) -> (Deed, Deed) {
    let fuse = u32::try_from(random.below(4)).expect("below 4");
    if what == What::Pause {
        return (Deed::Pause(node, span), Deed::Resume(node));
    }
    if what == What::DiskFails {
        return (Deed::FailDisk(node, true), Deed::FailDisk(node, false));
    }
    let end = if what == What::Leave { Deed::Leave(node) } else { Deed::Crash(node, fuse) };
    let comeback = if what == What::LoseDisk {
        Comeback::Lost
    } else if what == What::RotDisk {
        Comeback::Rotten
    } else {
        Comeback::Own
    };
    (end, Deed::Boot(node, comeback))
}

fn choose(who: Who, nodes: usize, cluster: &Cluster<Watch>, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    shuffle(random, &mut all);
    if who == Who::Joint {
        // Where nobody is on several segments, anybody will do.
        all.sort_by_key(|&node| cluster.homes_of(node).len() < 2);
    }
    all.truncate(match who {
        Who::One | Who::Joint => 1,
        Who::Half => nodes / 2,
        Who::All => nodes,
    });
    all
}

/// One of a host's interfaces, by chance where there are several.
fn interface(cluster: &Cluster<Watch>, host: HostId, random: &mut Random) -> InterfaceIndex {
    let behind: Vec<InterfaceIndex> =
        cluster.network.hosts[host.place()].indices().filter(|&index| index != LOOPBACK).collect();
    match behind[..] {
        [only] => only,
        [..] => *pick(random, &behind).expect("every host is plugged in somewhere"),
    }
}

/// One of the segments that a host is plugged into.
fn home(cluster: &Cluster<Watch>, host: HostId, random: &mut Random) -> SegmentId {
    let nic = cluster.network.hosts[host.place()].nic(interface(cluster, host, random));
    nic.and_then(|nic| nic.segment).expect("all but loop-back are plugged in")
}

fn distinct(hosts: impl Iterator<Item = HostId>) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = hosts.collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// All segments get this quality, and those that are bad a worse one.
#[must_use]
pub fn spoil(cluster: &Cluster<Watch>, quality: &Quality, healthy: bool, bad: &Bad) -> Vec<Deed> {
    let deed = |segment: SegmentId| {
        let mut quality = quality.clone();
        let is_bad = bad.segments.is_empty() || bad.segments.contains(&segment.0);
        let healthy = if is_bad { bad.apply(&mut quality) && healthy } else { healthy };
        Deed::Quality(segment, Box::new(quality), healthy)
    };
    cluster.network.segments().map(deed).collect()
}

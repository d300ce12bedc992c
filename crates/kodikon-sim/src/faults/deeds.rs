//! Decides how each fault is done to a cluster, and who is not to blame for what follows.

use core::time::Duration;
use std::collections::BTreeSet;

use kodikon_core::effect::Command;
use kodikon_core::ground::id::InterfaceIndex;
use kodikon_core::ground::random::Random;
use kodikon_core::model::op::OpId;

use crate::checks::Watch;
use crate::checks::detours::Cut;
use crate::cluster::{Cluster, Death};
use crate::disk::Disk;
use crate::faults::Kind;
use crate::moment::Moment;
use crate::network::host::{HostId, Nic, SegmentId};
use crate::network::quality::Quality;
use crate::trace::{Detail, Mark};

/// With which disk a node comes back.
#[derive(Debug, Clone)]
pub enum Comeback {
    /// With its own.
    Own,
    /// With none.
    Lost,
    /// With this old copy.
    Old(Box<Disk>),
    /// With its own, of which some rows of the log lost a bit: of those that others have, since nobody else could bring them back.
    Rotten,
}

/// One thing done to the cluster.
#[derive(Debug, Clone)]
pub enum Deed {
    /// A process dies after this many more outputs.
    Crash(usize, u32),
    /// A host loses power.
    PowerOff(HostId),
    /// A host has power again; its nodes start.
    PowerOn(HostId),
    /// A node's process starts.
    Boot(usize, Comeback),
    /// A copy of the first node's disk is started as the second node.
    Clone(usize, usize),
    /// A process is stopped.
    Pause(usize, Duration),
    /// It goes on.
    Resume(usize),
    /// A host sleeps.
    Sleep(HostId, Duration),
    /// It wakes up.
    Awake(HostId),
    /// A node says goodbye.
    Leave(usize),
    /// The process of a node that said goodbye ends.
    End(usize),
    /// A node's disk takes nothing more, or does again.
    FailDisk(usize, bool),
    /// Hosts are put on sides for so long.
    Sides(Vec<(HostId, u8)>, Duration),
    /// All sides and cuts are mended.
    Heal,
    /// One direction is cut for so long.
    Cut(HostId, HostId, Duration),
    /// It is mended.
    Mend(HostId, HostId),
    /// Two hosts do not hear each other on a segment for so long.
    CutLink(SegmentId, [HostId; 2], Duration),
    /// They do again.
    MendLink(SegmentId, [HostId; 2]),
    /// Nobody hears anybody on a segment for so long.
    CutSegment(SegmentId, Duration),
    /// They do again.
    MendSegment(SegmentId),
    /// A segment's quality from now on; whether a node on it may still be called healthy.
    Quality(SegmentId, Box<Quality>, bool),
    /// A cable is out for so long.
    Unplug(HostId, InterfaceIndex, Duration),
    /// It is back in.
    Plug(HostId, InterfaceIndex),
    /// An interface is switched off for so long.
    Down(HostId, InterfaceIndex, Duration),
    /// It is switched on again, with this lease.
    Up(HostId, InterfaceIndex, Option<u8>),
    /// A firewall drops TCP, or does not.
    DropTcp(HostId, bool),
    /// A firewall drops ICMP, or does not.
    DropIcmp(HostId, bool),
    /// A host's wall clock steps by so many milliseconds.
    StepWall(HostId, i64),
    /// A node's application changes its state.
    Command(usize, Box<Command>),
    /// Nobody hears a host on a segment for so long.
    Mute(SegmentId, HostId, Duration),
    /// All do again.
    Unmute(SegmentId, HostId),
}

/// From goodbye to the end of the process: the driver waits for the last repeat, 30 ms, and a turn of its timer.
const LAST_WORDS: Duration = Duration::from_millis(60);

/// What follows from a deed.
pub type Aftermath = Option<(Duration, Deed)>;

/// Does it.
pub fn perform(cluster: &mut Cluster<Watch>, deed: Deed) -> Aftermath {
    note(cluster, &deed);
    match deed {
        Deed::Crash(node, 0) => cluster.kill(node, Death::Crash),
        Deed::Crash(node, outputs) => cluster.light_fuse(node, outputs - 1),
        Deed::PowerOff(host) => power_off(cluster, host),
        Deed::PowerOn(host) => power_on(cluster, host),
        Deed::Boot(node, comeback) => boot(cluster, node, comeback),
        Deed::Clone(of, onto) => clone(cluster, of, onto),
        Deed::Pause(node, span) => pause(cluster, node, span),
        Deed::Resume(node) => cluster.resume(node, false),
        Deed::Sleep(host, span) => sleep(cluster, host, span),
        Deed::Awake(host) => awake(cluster, host),
        Deed::Leave(node) => return leave(cluster, node),
        Deed::End(node) => {
            if cluster.observer.truth.nodes[node].left {
                cluster.close_disk(node);
                cluster.kill(node, Death::Crash);
            }
        }
        Deed::FailDisk(node, fails) => cluster.nodes[node].disk.log.fails = fails,
        Deed::Sides(sides, span) => {
            sides.into_iter().for_each(|(host, side)| cluster.network.set_side(host, side));
            (0..cluster.nodes.len()).for_each(|node| link_trouble(cluster, node, span));
        }
        Deed::Heal => {
            cluster.network.heal();
            cluster.observer.metrics.healed(cluster.now);
        }
        Deed::Cut(from, to, span) => {
            cluster.network.set_cut(from, to, true);
            [from, to].into_iter().for_each(|host| host_trouble(cluster, host, span));
        }
        Deed::Mend(from, to) => cluster.network.set_cut(from, to, false),
        Deed::CutLink(segment, pair, span) => cut_link(cluster, segment, pair, span),
        Deed::MendLink(segment, pair) => cluster.network.set_link_cut(segment, pair, false),
        Deed::CutSegment(segment, span) => cut_segment(cluster, segment, span),
        Deed::MendSegment(segment) => cluster.network.set_segment_cut(segment, false),
        Deed::Mute(segment, host, span) => {
            cluster.network.set_mute(segment, host, true);
            plug_trouble(cluster, host, segment, span);
        }
        Deed::Unmute(segment, host) => cluster.network.set_mute(segment, host, false),
        Deed::Quality(segment, quality, healthy) => {
            if !healthy {
                (0..cluster.nodes.len()).for_each(|node| link_trouble(cluster, node, FOREVER));
            }
            if quality.loses() {
                // A copy shows itself once or twice before it makes room.
                let until = cluster.now + FOREVER;
                cluster.observer.truth.nodes.iter_mut().for_each(|living| living.deafen(until));
            }
            cluster.network.set_quality(segment, *quality);
        }
        Deed::Unplug(host, interface, span) => unplug(cluster, host, interface, span),
        Deed::Plug(host, interface) => plug(cluster, host, interface),
        Deed::Down(host, interface, span) => down(cluster, host, interface, span),
        Deed::Up(host, interface, lease) => up(cluster, host, interface, lease),
        Deed::DropTcp(host, drops) => cluster.network.hosts[host.place()].drops_tcp = drops,
        Deed::DropIcmp(host, drops) => cluster.network.hosts[host.place()].drops_icmp = drops,
        Deed::StepWall(host, step) => {
            cluster.nodes_of(host).for_each(|node| cluster.nodes[node].wall_offset_ms += step);
        }
        Deed::Command(node, command) => cluster.command(node, *command),
    }
    None
}

/// Ends all that is wrong: links, hosts and processes are as they should be, and whoever was dead may start again.
pub fn end_all(cluster: &mut Cluster<Watch>, clean: &Quality) {
    cluster.network.heal();
    cluster.network.segments().for_each(|segment| cluster.network.set_quality(segment, clean.clone()));
    for place in 0..cluster.network.hosts.len() {
        let host = HostId(u32::try_from(place).expect("a run has few hosts"));
        if cluster.network.hosts[place].asleep {
            awake(cluster, host);
        }
        let machine = &mut cluster.network.hosts[place];
        machine.on = true;
        machine.drops_tcp = false;
        machine.drops_icmp = false;
        let whole = machine.nics.iter().all(|nic| nic.up && nic.carrier);
        machine.nics.iter_mut().for_each(|nic| (nic.up, nic.carrier) = (true, true));
        if !whole {
            cluster.interfaces_changed(host);
        }
    }
    for node in 0..cluster.nodes.len() {
        cluster.resume(node, false);
        cluster.disarm(node);
        if cluster.observer.truth.nodes[node].left {
            cluster.close_disk(node);
            cluster.kill(node, Death::Crash);
        }
        cluster.nodes[node].disk.log.fails = false;
    }
    cluster.observer.truth.end_trouble(cluster.now);
}

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(1_000_000);
/// A healthy node may be stopped this long.
const HEALTHY_PAUSE: Duration = Duration::from_secs(1);

fn note(cluster: &mut Cluster<Watch>, deed: &Deed) {
    let now = cluster.now;
    cluster.trace.mark(
        now,
        Mark::Fault,
        0,
        crate::trace::digest(format!("{:?}", core::mem::discriminant(deed)).as_bytes()),
    );
    if !matches!(deed, Deed::Command(..)) {
        cluster.trace.tell(now, Detail::Events, format_args!("*** {deed:?}"));
    }
}

fn power_off(cluster: &mut Cluster<Watch>, host: HostId) {
    cluster.network.hosts[host.place()].on = false;
    for node in cluster.nodes_of(host) {
        cluster.kill(node, Death::PowerOff);
    }
}

fn power_on(cluster: &mut Cluster<Watch>, host: HostId) {
    cluster.network.hosts[host.place()].on = true;
    for node in cluster.nodes_of(host) {
        boot(cluster, node, Comeback::Own);
    }
}

fn boot(cluster: &mut Cluster<Watch>, node: usize, comeback: Comeback) {
    match &cluster.nodes[node].process {
        // It should have died before it comes back, and had nothing to say so far.
        Some(process) if process.fuse.is_some() => cluster.kill(node, Death::Crash),
        Some(_) => return,
        None => {}
    }
    match comeback {
        Comeback::Own => {}
        Comeback::Lost => {
            let secret = crate::chance::fork(
                cluster.seed(),
                "new disk",
                (node as u64) << 32 | u64::from(cluster.nodes[node].run),
            );
            cluster.nodes[node].disk = Disk::new(secret);
        }
        Comeback::Old(mut disk) => {
            cluster.observer.truth.restored(identity(&disk));
            // What was copied is written to the node's own disk, which works or fails as it did.
            disk.log.fails = cluster.nodes[node].disk.log.fails;
            cluster.nodes[node].disk = *disk;
        }
        Comeback::Rotten => {
            let (disks, seed) = (cluster.nodes.iter().enumerate().filter(|(other, _)| *other != node), cluster.seed());
            let elsewhere: BTreeSet<OpId> = disks.flat_map(|(_, slot)| slot.disk.log.ids()).collect();
            let run = (node as u64) << 32 | u64::from(cluster.nodes[node].run);
            let random = &mut Random::from_seed(crate::chance::fork(seed, "rot", run));
            cluster.nodes[node].disk.log.rot(&elsewhere, random);
        }
    }
    cluster.boot(node);
}

fn clone(cluster: &mut Cluster<Watch>, of: usize, onto: usize) {
    if cluster.nodes[onto].process.is_some() {
        return;
    }
    // What is copied lies on a disk of its own, which works: nobody would ever mend it.
    let mut disk = cluster.nodes[of].disk.clone();
    disk.log.fails = false;
    cluster.observer.truth.copied(cluster.now, identity(&disk));
    let config = cluster.nodes[of].config.clone();
    cluster.nodes[onto].disk = disk;
    cluster.nodes[onto].config = config;
    // Two of one identity are in each other's way until one has made room.
    for node in [of, onto] {
        whole_trouble(cluster, node, CLONE_TROUBLE);
    }
    cluster.boot(onto);
}

/// A clone is found within seconds; what was said about the identity meanwhile may take a while to be forgotten.
const CLONE_TROUBLE: Duration = Duration::from_secs(60);

fn identity(disk: &Disk) -> kodikon_core::ground::id::NodeId {
    kodikon_core::model::identity::Identity::from_secret(&disk.secret).id()
}

fn pause(cluster: &mut Cluster<Watch>, node: usize, span: Duration) {
    cluster.pause(node);
    if span > HEALTHY_PAUSE {
        own_trouble(cluster, node, span);
    }
}

fn sleep(cluster: &mut Cluster<Watch>, host: HostId, span: Duration) {
    cluster.network.hosts[host.place()].asleep = true;
    cluster.network.hosts[host.place()].on = false;
    for node in cluster.nodes_of(host) {
        cluster.pause(node);
        own_trouble(cluster, node, span);
    }
}

fn awake(cluster: &mut Cluster<Watch>, host: HostId) {
    let machine = &mut cluster.network.hosts[host.place()];
    if !machine.asleep {
        return;
    }
    machine.asleep = false;
    machine.on = true;
    for node in cluster.nodes_of(host) {
        cluster.resume(node, true);
    }
}

fn leave(cluster: &mut Cluster<Watch>, node: usize) -> Aftermath {
    let paused = cluster.nodes[node].process.as_ref().is_none_or(|process| process.paused);
    if paused || cluster.observer.truth.nodes[node].left {
        return None;
    }
    let now = cluster.now;
    cluster.observer.leaves(now, node);
    cluster.command(node, Command::Leave);
    Some((LAST_WORDS, Deed::End(node)))
}

fn cut_link(cluster: &mut Cluster<Watch>, segment: SegmentId, pair: [HostId; 2], span: Duration) {
    cluster.network.set_link_cut(segment, pair, true);
    cut_off(cluster, Cut { segment, hosts: Some(pair) });
    let until = cluster.now + span;
    for one in cluster.nodes_of(pair[0]) {
        for two in cluster.nodes_of(pair[1]) {
            cluster.observer.truth.trouble_between(segment, [one, two], until);
        }
    }
    pair.into_iter().for_each(|host| nic_trouble(cluster, host, span));
}

/// From now on it is measured how long letters need to find another way.
fn cut_off(cluster: &mut Cluster<Watch>, cut: Cut) {
    let (now, watch) = (cluster.now, &mut cluster.observer);
    watch.detours.cut(now, cut, &watch.truth.places);
}

fn cut_segment(cluster: &mut Cluster<Watch>, segment: SegmentId, span: Duration) {
    cluster.network.set_segment_cut(segment, true);
    cut_off(cluster, Cut { segment, hosts: None });
    let hosts: Vec<HostId> = cluster.network.members(segment).collect();
    hosts.into_iter().for_each(|host| plug_trouble(cluster, host, segment, span));
}

fn unplug(cluster: &mut Cluster<Watch>, host: HostId, interface: InterfaceIndex, span: Duration) {
    change_nic(cluster, (host, interface), span, |nic| nic.carrier = false);
}

fn plug(cluster: &mut Cluster<Watch>, host: HostId, interface: InterfaceIndex) {
    change_nic(cluster, (host, interface), Duration::ZERO, |nic| nic.carrier = true);
}

fn down(cluster: &mut Cluster<Watch>, host: HostId, interface: InterfaceIndex, span: Duration) {
    change_nic(cluster, (host, interface), span, |nic| nic.up = false);
}

fn up(cluster: &mut Cluster<Watch>, host: HostId, interface: InterfaceIndex, lease: Option<u8>) {
    if let Some(lease) = lease {
        cluster.network.renumber(host, interface, lease);
        cluster.strand_streams(host);
    }
    change_nic(cluster, (host, interface), Duration::ZERO, |nic| nic.up = true);
}

/// Something about an interface changes; its nodes are not to blame for so long.
fn change_nic(
    cluster: &mut Cluster<Watch>,
    (host, interface): (HostId, InterfaceIndex),
    span: Duration,
    change: impl FnOnce(&mut Nic),
) {
    let Some(nic) = cluster.network.hosts[host.place()].nic_mut(interface) else { return };
    change(nic);
    let segment = nic.segment;
    cluster.interfaces_changed(host);
    if let Some(segment) = segment {
        plug_trouble(cluster, host, segment, span);
    }
}

/// A host has trouble on one of its segments.
fn plug_trouble(cluster: &mut Cluster<Watch>, host: HostId, segment: SegmentId, span: Duration) {
    let until = cluster.now + span;
    for node in cluster.nodes_of(host) {
        cluster.observer.truth.trouble_on(segment, node, until);
    }
    nic_trouble(cluster, host, span);
}

fn nic_trouble(cluster: &mut Cluster<Watch>, host: HostId, span: Duration) {
    let until = cluster.now + span;
    for node in cluster.nodes_of(host) {
        let living = &mut cluster.observer.truth.nodes[node];
        living.own_trouble = living.own_trouble.max(until);
        living.deafen(until);
    }
}

fn host_trouble(cluster: &mut Cluster<Watch>, host: HostId, span: Duration) {
    cluster.nodes_of(host).for_each(|node| own_trouble(cluster, node, span));
}

fn own_trouble(cluster: &mut Cluster<Watch>, node: usize, span: Duration) {
    whole_trouble(cluster, node, span);
    let until = cluster.now + span;
    cluster.observer.truth.nodes[node].deafen(until);
}

/// Trouble in which it hears all the same.
fn whole_trouble(cluster: &mut Cluster<Watch>, node: usize, span: Duration) {
    let until = cluster.now + span;
    cluster.observer.truth.nodes[node].trouble(until);
}

fn link_trouble(cluster: &mut Cluster<Watch>, node: usize, span: Duration) {
    let until: Moment = cluster.now + span;
    let living = &mut cluster.observer.truth.nodes[node];
    living.link_trouble = living.link_trouble.max(until);
    living.deafen(until);
}

impl Deed {
    /// The kind of fault it begins, if it begins one.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Crash(..) => Kind::Crash,
            Self::PowerOff(_) => Kind::PowerOff,
            Self::Boot(_, Comeback::Lost) => Kind::DiskLost,
            Self::Boot(_, Comeback::Rotten) => Kind::DiskRots,
            Self::Boot(_, Comeback::Old(_)) => Kind::DiskOld,
            Self::Clone(..) => Kind::Clone,
            Self::Pause(_, span) if *span <= HEALTHY_PAUSE => Kind::ShortPause,
            Self::Pause(..) => Kind::LongPause,
            Self::Sleep(..) => Kind::Sleep,
            Self::Leave(_) => Kind::Leave,
            Self::FailDisk(_, true) => Kind::DiskFails,
            Self::Sides(..) => Kind::Partition,
            Self::Cut(..) => Kind::OneWay,
            Self::CutLink(..) => Kind::Cut,
            Self::CutSegment(..) => Kind::CutSegment,
            Self::Mute(..) => Kind::Mute,
            Self::Unplug(..) => Kind::Cable,
            Self::Down(..) => Kind::InterfaceDown,
            Self::Up(_, _, Some(_)) => Kind::Readdress,
            Self::DropTcp(_, true) => Kind::TcpDropped,
            Self::DropIcmp(_, true) => Kind::IcmpDropped,
            Self::StepWall(..) => Kind::WallWrong,
            Self::PowerOn(_)
            | Self::Boot(_, Comeback::Own)
            | Self::Resume(_)
            | Self::Awake(_)
            | Self::End(_)
            | Self::FailDisk(_, false)
            | Self::Heal
            | Self::Mend(..)
            | Self::MendLink(..)
            | Self::MendSegment(_)
            | Self::Unmute(..)
            | Self::Quality(..)
            | Self::Plug(..)
            | Self::Up(_, _, None)
            | Self::DropTcp(_, false)
            | Self::DropIcmp(_, false)
            | Self::Command(..) => return None,
        })
    }
}

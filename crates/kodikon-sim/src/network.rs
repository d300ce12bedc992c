//! Decides what becomes of a datagram between two hosts: who hears it, when, how often and how whole.

pub mod host;
pub mod quality;
pub mod streams;
pub mod topology;

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::rc::Rc;

use kodikon_core::effect::{Cast, Target};
use kodikon_core::ground::id::InterfaceIndex;
use kodikon_core::ground::random::Random;

use crate::moment::Moment;
use crate::network::host::{HEADERS_V4, HEADERS_V6, Host, HostId, LOOPBACK, SegmentId};
use crate::network::quality::{Crossing, Quality};

/// Jitter up to this much is shared by all receivers of one group datagram: a switch is at fault for it, not they.
const SMALL_JITTER: Duration = Duration::from_millis(1);
/// A port from which connections come (Linux: 32,768 to 60,999); no node may draw anything from it.
const EPHEMERAL: u16 = 40_000;
/// From one process to another on the same host.
const LOCAL_DELAY: Duration = Duration::from_micros(20);
/// A datagram waits at most this long in a slow interface's queue; then the queue is full and drops it.
const QUEUE: Duration = Duration::from_millis(200);
/// Ethernet's header in front of every packet (its preamble and checksum are not counted, as a switch counts).
const ETHERNET: u32 = 14;
/// What TCP and IPv6 put in front of each of its segments, and the most that one carries on Ethernet.
const HEADERS_TCP: u32 = 72;
const SEGMENT: usize = 1_428;
/// Ethernet carries nothing shorter.
const SHORTEST: u32 = 60;
/// An ARP request or answer on the wire.
pub const ARP: u64 = 60;
/// A neighbour is asked for again after this long (Linux: `base_reachable_time` 30 s, halved or lengthened by half, plus 5 s).
const ARP_FRESH: Duration = Duration::from_secs(35);
/// Answers of a kernel about closed ports in one go (driver facts: burst 6).
const ICMP_BURST: u32 = 6;
/// After its burst the kernel sends one a second to a host (driver facts: 7 of 50 in a second).
const ICMP_EVERY: Duration = Duration::from_secs(1);

/// Which process of which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// The host.
    pub host: HostId,
    /// The port of its unicast sockets.
    pub port: u16,
}

/// A datagram on its way; all its receivers share the bytes.
#[derive(Debug)]
pub struct Frame {
    /// The sealed bytes.
    pub bytes: Vec<u8>,
    /// By whom.
    pub sender: Socket,
    /// Where it seems to come from.
    pub from: SocketAddr,
    /// To which kind of address.
    pub cast: Cast,
    /// Who made it.
    pub origin: Origin,
}

/// Who made a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A node.
    Node,
    /// An enemy, who had the key, or recorded it.
    Enemy,
    /// An enemy, without any seal that could hold.
    Noise,
}

/// What is to be sent.
#[derive(Debug)]
pub struct Letter {
    /// Who made it.
    pub origin: Origin,
    /// By whom it is sent.
    pub sender: Socket,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the network will do later.
#[derive(Debug)]
pub enum Passage {
    /// A datagram reaches one host.
    Arrive {
        /// Which host.
        host: HostId,
        /// By which interface.
        interface: InterfaceIndex,
        /// The port it is for; `None` = all that share the discovery port.
        port: Option<u16>,
        /// Which bit is bent.
        bent: Option<u64>,
        /// The datagram.
        frame: Rc<Frame>,
    },
    /// A datagram reaches a whole segment.
    Spread {
        /// Which segment.
        segment: SegmentId,
        /// The datagram.
        frame: Rc<Frame>,
    },
}

/// Everything between the hosts.
#[derive(Debug)]
pub struct Network {
    /// The machines.
    pub hosts: Vec<Host>,
    segments: Vec<Segment>,
    owners: HashMap<IpAddr, (HostId, InterfaceIndex)>,
    /// Which hosts are on which side of a partition; hosts of different sides do not hear each other.
    sides: Vec<u8>,
    /// Ways cut in one direction.
    cuts: BTreeSet<(HostId, HostId)>,
    /// Links cut both ways on one segment, each by both its directions.
    cut_links: BTreeSet<(SegmentId, HostId, HostId)>,
    /// Hosts that nobody hears on a segment, though they hear all there.
    mute: BTreeSet<(SegmentId, HostId)>,
    /// Whether a router joins all segments for unicast.
    routed: bool,
    random: Random,
    arp: HashMap<(HostId, IpAddr), Moment>,
    icmp: HashMap<(HostId, HostId), (Moment, u32)>,
    /// What happened to datagrams so far.
    pub counts: Counts,
}

#[derive(Debug)]
struct Segment {
    quality: Quality,
    /// Nothing passes.
    cut: bool,
    members: Vec<(HostId, InterfaceIndex)>,
}

/// What happened to datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Handed to the network.
    pub sent: u64,
    /// Handed to a socket.
    pub arrived: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Stopped by a cut, a partition, a missing carrier or a host without power.
    pub blocked: u64,
    /// Too large for their interface.
    pub too_large: u64,
    /// Without a way to their address.
    pub unroutable: u64,
    /// Dropped by a full queue.
    pub overflowed: u64,
    /// Arrived twice.
    pub doubled: u64,
    /// Held back.
    pub held: u64,
    /// Bent.
    pub bent: u64,
}

impl Network {
    /// Hosts attached to segments as `homes` says, with `nodes` nodes each.
    #[must_use]
    pub fn new(segments: usize, homes: &[Vec<SegmentId>], v6: bool, random: Random) -> Self {
        let ids = 0..u32::try_from(homes.len()).expect("a run has few hosts");
        let hosts: Vec<Host> = ids.map(HostId).map(|id| Host::new(id, &homes[id.place()], v6)).collect();
        let members = |segment| {
            let of = |(n, host): (usize, &Host)| {
                let id = HostId(u32::try_from(n).expect("a run has few hosts"));
                host.indices()
                    .filter(|&index| plug(host, index) == Some(segment))
                    .map(|index| (id, index))
                    .collect::<Vec<_>>()
            };
            hosts.iter().enumerate().flat_map(of).collect()
        };
        let segments = (0..segments)
            .map(|n| SegmentId(u32::try_from(n).expect("a run has few segments")))
            .map(|id| Segment { quality: Quality::clean(), cut: false, members: members(id) })
            .collect();
        let mut network = Self {
            sides: vec![0; hosts.len()],
            hosts,
            segments,
            owners: HashMap::new(),
            cuts: BTreeSet::new(),
            cut_links: BTreeSet::new(),
            mute: BTreeSet::new(),
            routed: false,
            random,
            arp: HashMap::new(),
            icmp: HashMap::new(),
            counts: Counts::default(),
        };
        network.learn_owners();
        network
    }

    /// Sends a datagram: `out` gets what will happen. Returns the bytes that went onto the wire.
    pub fn send(&mut self, now: Moment, letter: Letter, target: Target, out: &mut Vec<(Moment, Passage)>) -> u64 {
        self.counts.sent += 1;
        match target {
            Target::Address(to, interface) => self.send_to(now, letter, (to, interface), out),
            Target::Segment(interface, cast) => self.send_all(now, letter, (interface, cast), out),
        }
    }

    fn send_to(
        &mut self,
        now: Moment,
        Letter { origin, sender, bytes }: Letter,
        (to, wish): (SocketAddr, Option<InterfaceIndex>),
        out: &mut Vec<(Moment, Passage)>,
    ) -> u64 {
        let scope = match to {
            SocketAddr::V6(v6) if v6.scope_id() > 0 => Some(InterfaceIndex(v6.scope_id())),
            SocketAddr::V4(_) | SocketAddr::V6(_) => None,
        };
        let host = &self.hosts[sender.host.place()];
        let route = host.route(to.ip(), wish.or(scope));
        let Some((index, from)) = route.and_then(|index| Some((index, self.source(sender, index, to.ip())?))) else {
            self.counts.unroutable += 1;
            return 0;
        };
        let frame = |bytes| Rc::new(Frame { bytes, sender, from, cast: Cast::Unicast, origin });
        if index == LOOPBACK {
            let arrive = Passage::Arrive {
                host: sender.host,
                interface: LOOPBACK,
                port: Some(to.port()),
                bent: None,
                frame: frame(bytes),
            };
            out.push((now + LOCAL_DELAY, arrive));
            return 0;
        }
        let Some((queued, wire)) = self.leave(now, sender.host, index, bytes.len(), to.is_ipv6()) else { return 0 };
        let resolved = self.resolve(now, sender.host, to.ip(), index);
        let Some((receiver, interface)) = self.owner(sender.host, index, to.ip()) else {
            self.counts.blocked += 1;
            return resolved;
        };
        if !self.passes((sender.host, index), (receiver, interface)) {
            self.counts.blocked += 1;
            return wire + resolved;
        }
        let crossing = self.cross(now, receiver, interface);
        let frame = frame(bytes);
        let (counts, random) = (&mut self.counts, &mut self.random);
        let segment = plug(&self.hosts[receiver.place()], interface).expect("loop-back owns no announced address");
        let quality = &self.segments[segment.place()].quality;
        for at in arrivals(queued, (quality.delay, quality.jitter), &crossing, counts, random) {
            let (frame, bent) = (Rc::clone(&frame), crossing.bent);
            out.push((at, Passage::Arrive { host: receiver, interface, port: Some(to.port()), bent, frame }));
        }
        wire + resolved
    }

    fn send_all(
        &mut self,
        now: Moment,
        Letter { origin, sender, bytes }: Letter,
        (index, cast): (InterfaceIndex, Cast),
        out: &mut Vec<(Moment, Passage)>,
    ) -> u64 {
        let group: IpAddr = match cast {
            Cast::Multicast6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            Cast::Unicast | Cast::Multicast4 | Cast::Broadcast => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        };
        let Some(from) = self.source(sender, index, group) else {
            self.counts.unroutable += 1;
            return 0;
        };
        let frame = Rc::new(Frame { bytes, sender, from, cast, origin });
        let segment = plug(&self.hosts[sender.host.place()], index);
        // The kernel hands every group datagram to the sockets of its own host too, the sender's among them.
        let own = |frame| Passage::Arrive { host: sender.host, interface: index, port: None, bent: None, frame };
        let Some(segment) = segment else {
            out.push((now + LOCAL_DELAY, own(frame)));
            return 0;
        };
        let v6 = cast == Cast::Multicast6;
        let Some((queued, wire)) = self.leave(now, sender.host, index, frame.bytes.len(), v6) else { return 0 };
        out.push((now + LOCAL_DELAY, own(Rc::clone(&frame))));
        let quality = &self.segments[segment.place()].quality;
        let passes = match cast {
            Cast::Multicast4 => quality.multicast4,
            Cast::Multicast6 => quality.multicast6,
            Cast::Broadcast | Cast::Unicast => quality.broadcast,
        };
        if passes && self.hosts[sender.host.place()].nic(index).is_some_and(|nic| nic.carrier) {
            // A switch hands all copies out at once: one delay for all, unless chance says otherwise on arrival.
            let shared = quality.jitter.min(SMALL_JITTER);
            out.push((queued + quality.delay + self.random.span(shared), Passage::Spread { segment, frame }));
        } else {
            self.counts.blocked += 1;
        }
        wire
    }

    /// What happens to a datagram for a whole segment at one of its members, by place in the segment.
    /// `None`: past the last member. `Some(None)`: nothing now; `out` may hold later arrivals.
    pub fn spread(
        &mut self,
        now: Moment,
        (segment, place): (SegmentId, usize),
        frame: &Rc<Frame>,
        out: &mut Vec<(Moment, Passage)>,
    ) -> Option<Option<(HostId, InterfaceIndex)>> {
        let &(host, interface) = self.segments[segment.place()].members.get(place)?;
        if host == frame.sender.host {
            return Some(None);
        }
        let sender = frame.sender.host;
        if !self.reaches_on(segment, sender, host) || !self.is_listening(host, interface, sender) {
            self.counts.blocked += 1;
            return Some(None);
        }
        let crossing = self.cross(now, host, interface);
        let quality = &self.segments[segment.place()].quality;
        if crossing.is_plain() && quality.jitter <= SMALL_JITTER {
            return Some(Some((host, interface)));
        }
        let pace = (Duration::ZERO, quality.jitter);
        for at in arrivals(now, pace, &crossing, &mut self.counts, &mut self.random) {
            let (frame, bent) = (Rc::clone(frame), crossing.bent);
            out.push((at, Passage::Arrive { host, interface, port: None, bent, frame }));
        }
        Some(None)
    }

    /// Whether a datagram that was on its way still finds its host and interface. What a host says to itself needs no
    /// cable.
    #[must_use]
    pub fn is_listening(&self, host: HostId, interface: InterfaceIndex, from: HostId) -> bool {
        let receiver = &self.hosts[host.place()];
        receiver.on && receiver.nic(interface).is_some_and(|nic| nic.up && (nic.carrier || host == from))
    }

    /// Whether the kernel of `host` answers a datagram to a closed port, and the answer arrives.
    pub fn answers_closed_port(&mut self, now: Moment, host: HostId, asker: HostId) -> bool {
        let firewalled = self.hosts[host.place()].drops_icmp || self.hosts[asker.place()].drops_icmp;
        if firewalled || !self.hosts[asker.place()].on || !self.reaches(host, asker) {
            return false;
        }
        if host == asker {
            return true;
        }
        let (since, used) = self.icmp.entry((host, asker)).or_insert((now, 0));
        let regained = u32::try_from(now.since(*since).as_nanos() / ICMP_EVERY.as_nanos()).unwrap_or(u32::MAX);
        *used = used.saturating_sub(regained);
        *since += ICMP_EVERY * regained;
        let answers = *used < ICMP_BURST;
        *used += u32::from(answers);
        answers
    }

    /// Which host an address leads to, and where a connection to it seems to come from.
    #[must_use]
    pub fn locate(&self, sender: Socket, to: SocketAddr, wish: Option<InterfaceIndex>) -> Option<(HostId, SocketAddr)> {
        let index = self.hosts[sender.host.place()].route(to.ip(), wish)?;
        let source = self.source(sender, index, to.ip())?;
        let host = if index == LOOPBACK { sender.host } else { self.owner(sender.host, index, to.ip())?.0 };
        // The kernel gives the connection a port of its own.
        Some((host, SocketAddr::new(source.ip(), EPHEMERAL)))
    }

    /// How long something small takes between two hosts.
    pub fn travel(&mut self, from: HostId, to: HostId) -> Duration {
        if from == to {
            return LOCAL_DELAY;
        }
        match self.common_segment(from, to) {
            Some(segment) => self.segments[segment.place()].quality.travel(&mut self.random),
            None => Quality::clean().travel(&mut self.random),
        }
    }

    /// When the last of so many bytes of a stream is out: an interface sends one thing after the other. TCP lets wait what a datagram
    /// would be dropped for.
    pub fn leave_stream(&mut self, now: Moment, (from, to): (HostId, HostId), len: usize) -> Moment {
        let Some((out, _)) = self.link(from, to).filter(|_| from != to && len > 0) else { return now };
        let segment = plug(&self.hosts[from.place()], out);
        let Some(rate) = segment.and_then(|segment| self.segments[segment.place()].quality.rate) else { return now };
        let nic = &mut self.hosts[from.place()].nics[out.0 as usize - 1];
        let packets = len.div_ceil(SEGMENT) as u64;
        let wire = len as u64 + packets * u64::from(HEADERS_TCP + ETHERNET);
        nic.busy = nic.busy.max(now) + Duration::from_nanos(wire * 1_000_000_000 / rate.max(1));
        nic.busy
    }

    /// Whether a TCP segment gets from one host to another now; chance may lose it.
    pub fn carries(&mut self, now: Moment, from: HostId, to: HostId) -> bool {
        if from == to {
            return self.hosts[to.place()].on;
        }
        let Some((_, interface)) = self.link(from, to) else { return false };
        !self.cross(now, to, interface).lost
    }

    /// Whether two hosts have a working segment in common, from the first to the second.
    #[must_use]
    pub fn is_linked(&self, from: HostId, to: HostId) -> bool {
        from == to || self.link(from, to).is_some()
    }

    /// The quality of a segment.
    #[must_use]
    pub fn quality(&self, segment: SegmentId) -> &Quality {
        &self.segments[segment.place()].quality
    }

    /// Changes the quality of a segment.
    pub fn set_quality(&mut self, segment: SegmentId, quality: Quality) {
        self.segments[segment.place()].quality = quality;
    }

    /// The segments there are.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> + use<> {
        (0..u32::try_from(self.segments.len()).expect("a run has few segments")).map(SegmentId)
    }

    /// Puts a host on a side; hosts of different sides do not hear each other.
    pub fn set_side(&mut self, host: HostId, side: u8) {
        self.sides[host.place()] = side;
    }

    /// Cuts or mends one direction.
    pub fn set_cut(&mut self, from: HostId, to: HostId, cut: bool) {
        if cut {
            self.cuts.insert((from, to));
        } else {
            self.cuts.remove(&(from, to));
        }
    }

    /// Cuts or mends the link between two hosts on a segment, both ways.
    pub fn set_link_cut(&mut self, segment: SegmentId, [one, two]: [HostId; 2], cut: bool) {
        for way in [(segment, one, two), (segment, two, one)] {
            if cut {
                self.cut_links.insert(way);
            } else {
                self.cut_links.remove(&way);
            }
        }
    }

    /// Cuts or mends a whole segment.
    pub fn set_segment_cut(&mut self, segment: SegmentId, cut: bool) {
        self.segments[segment.place()].cut = cut;
    }

    /// Nobody hears a host on a segment, or all do again.
    pub fn set_mute(&mut self, segment: SegmentId, host: HostId, mute: bool) {
        if mute {
            self.mute.insert((segment, host));
        } else {
            self.mute.remove(&(segment, host));
        }
    }

    /// The hosts that are plugged into a segment.
    pub fn members(&self, segment: SegmentId) -> impl Iterator<Item = HostId> {
        self.segments[segment.place()].members.iter().map(|&(host, _)| host)
    }

    /// Whether two hosts hear each other on a segment, both ways. Each hears itself.
    #[must_use]
    pub fn is_joined(&self, segment: SegmentId, one: HostId, two: HostId) -> bool {
        let nic = |host: HostId| {
            let place = &self.hosts[host.place()];
            place.indices().find(|&index| plug(place, index) == Some(segment))
        };
        let (Some(out), Some(into)) = (nic(one), nic(two)) else { return false };
        let ways = [((one, out), (two, into)), ((two, into), (one, out))];
        one == two || ways.into_iter().all(|(from, to)| self.passes(from, to))
    }

    /// Mends every partition and cut.
    pub fn heal(&mut self) {
        self.sides.fill(0);
        self.cuts.clear();
        self.cut_links.clear();
        self.mute.clear();
        self.segments.iter_mut().for_each(|segment| segment.cut = false);
    }

    /// Lets a router join all segments for unicast.
    pub fn set_routed(&mut self, routed: bool) {
        self.routed = routed;
    }

    /// Gives an interface another IPv4 address, as another lease does.
    pub fn renumber(&mut self, host: HostId, interface: InterfaceIndex, lease: u8) {
        let Some(segment) = plug(&self.hosts[host.place()], interface) else { return };
        let place = interface.0 as usize - 1;
        self.hosts[host.place()].nics[place].v4 = Some(host::address_v4(segment, host, lease));
        self.learn_owners();
    }

    fn learn_owners(&mut self) {
        self.owners.clear();
        for (n, host) in self.hosts.iter().enumerate() {
            let id = HostId(u32::try_from(n).expect("a run has few hosts"));
            for index in host.indices().filter(|&index| index != LOOPBACK) {
                let nic = host.nic(index).expect("one of its own numbers");
                let addresses = nic.v4.map(IpAddr::V4).into_iter().chain(nic.v6.map(IpAddr::V6));
                self.owners.extend(addresses.map(|address| (address, (id, index))));
            }
        }
    }

    /// Where a datagram that leaves by this interface seems to come from.
    fn source(&self, sender: Socket, index: InterfaceIndex, to: IpAddr) -> Option<SocketAddr> {
        let host = &self.hosts[sender.host.place()];
        let nic = host.nic(index).filter(|nic| nic.up)?;
        if index == LOOPBACK && !to.is_loopback() {
            // To one of the host's own addresses: the kernel uses that address as the source too.
            return Some(SocketAddr::new(to, sender.port));
        }
        match to {
            IpAddr::V4(_) => nic.v4.map(|address| SocketAddr::new(address.into(), sender.port)),
            // The scope is the receiver's business: its kernel puts the number of the arrival interface there.
            IpAddr::V6(_) => nic.v6.map(|address| SocketAddr::V6(SocketAddrV6::new(address, sender.port, 0, 0))),
        }
    }

    /// Lets a datagram out of an interface: when it is out, and its bytes on the wire.
    fn leave(
        &mut self,
        now: Moment,
        host: HostId,
        index: InterfaceIndex,
        len: usize,
        v6: bool,
    ) -> Option<(Moment, u64)> {
        let segment = plug(&self.hosts[host.place()], index)?;
        let rate = self.segments[segment.place()].quality.rate;
        let nic = &mut self.hosts[host.place()].nics[index.0 as usize - 1];
        let packet = u32::try_from(len).unwrap_or(u32::MAX).saturating_add(if v6 { HEADERS_V6 } else { HEADERS_V4 });
        if packet > nic.mtu {
            self.counts.too_large += 1;
            return None;
        }
        let wire = u64::from((packet + ETHERNET).max(SHORTEST));
        let Some(rate) = rate else { return Some((now, wire)) };
        let begins = nic.busy.max(now);
        if begins.since(now) > QUEUE {
            self.counts.overflowed += 1;
            return None;
        }
        nic.busy = begins + Duration::from_nanos(wire * 1_000_000_000 / rate.max(1));
        Some((nic.busy, wire))
    }

    /// Bytes spent on asking for the neighbour's hardware address, if that is due.
    fn resolve(&mut self, now: Moment, host: HostId, ip: IpAddr, index: InterfaceIndex) -> u64 {
        debug_assert_ne!(index, LOOPBACK, "loop-back has no neighbours");
        let due = self.arp.entry((host, ip)).or_default();
        if now < *due {
            return 0;
        }
        *due = now + ARP_FRESH;
        // The neighbour's answer costs the same; both are put on the asker's account, which evens out over the mesh.
        2 * ARP
    }

    fn owner(&self, sender: HostId, index: InterfaceIndex, ip: IpAddr) -> Option<(HostId, InterfaceIndex)> {
        let &(host, interface) = self.owners.get(&ip)?;
        let same = plug(&self.hosts[host.place()], interface) == plug(&self.hosts[sender.place()], index);
        (same || self.routed).then_some((host, interface))
    }

    fn passes(&self, (from, out): (HostId, InterfaceIndex), (to, into): (HostId, InterfaceIndex)) -> bool {
        self.hosts[from.place()].nic(out).is_some_and(|nic| nic.carrier)
            && plug(&self.hosts[to.place()], into).is_some_and(|segment| self.reaches_on(segment, from, to))
            && self.is_listening(to, into, from)
    }

    fn reaches(&self, from: HostId, to: HostId) -> bool {
        self.sides[from.place()] == self.sides[to.place()] && (self.cuts.is_empty() || !self.cuts.contains(&(from, to)))
    }

    fn reaches_on(&self, segment: SegmentId, from: HostId, to: HostId) -> bool {
        let cut = self.segments[segment.place()].cut
            || (!self.cut_links.is_empty() && self.cut_links.contains(&(segment, from, to)))
            || (!self.mute.is_empty() && self.mute.contains(&(segment, from)));
        (!cut || from == to) && self.reaches(from, to)
    }

    fn cross(&mut self, now: Moment, host: HostId, interface: InterfaceIndex) -> Crossing {
        let nic = &mut self.hosts[host.place()].nics[interface.0 as usize - 1];
        let Some(segment) = nic.segment else { return Crossing::default() };
        let crossing = self.segments[segment.place()].quality.cross(now, &mut nic.burst, &mut self.random);
        self.counts.lost += u64::from(crossing.lost);
        crossing
    }

    fn common_segment(&self, from: HostId, to: HostId) -> Option<SegmentId> {
        self.link(from, to).and_then(|(_, interface)| plug(&self.hosts[to.place()], interface))
    }

    fn link(&self, from: HostId, to: HostId) -> Option<(InterfaceIndex, InterfaceIndex)> {
        let (a, b) = (&self.hosts[from.place()], &self.hosts[to.place()]);
        let pairs = a.indices().skip(1).flat_map(|out| b.indices().skip(1).map(move |into| (out, into)));
        let mut joined = pairs.filter(|&(out, into)| self.routed || plug(a, out) == plug(b, into));
        joined.find(|&(out, into)| self.passes((from, out), (to, into)) && a.nic(out).is_some_and(|nic| nic.up))
    }
}

fn plug(host: &Host, index: InterfaceIndex) -> Option<SegmentId> {
    host.nic(index).and_then(|nic| nic.segment)
}

/// When a datagram arrives after this crossing: never, once or twice.
fn arrivals(
    now: Moment,
    (delay, jitter): (Duration, Duration),
    crossing: &Crossing,
    counts: &mut Counts,
    random: &mut Random,
) -> impl Iterator<Item = Moment> + use<> {
    let copies = [!crossing.lost, !crossing.lost && crossing.twice];
    counts.held += u64::from(copies[0] && !crossing.held.is_zero());
    counts.bent += u64::from(copies[0] && crossing.bent.is_some());
    counts.doubled += u64::from(copies[1]);
    let moments = copies.map(|copy| copy.then(|| now + delay + random.span(jitter) + crossing.held));
    moments.into_iter().flatten()
}

#[cfg(test)]
mod tests;

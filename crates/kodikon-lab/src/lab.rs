//! Decides how a lab comes up, changes and goes away: namespaces, cables, faults, and the programs that run in it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::claim::{self, Claim};
use crate::counters::{self, Traffic};
use crate::faults::{Cut, Faults, Loss};
use crate::gate::Gate;
use crate::neighbours;
use crate::netns;
use crate::process::{self, Finished, Line, Process};
use crate::topology::{Host, Topology, address, check_segment_name, host_of_port, interface, port};

/// The kernel reports a new cable within milliseconds, at worst at the next tick of its link watch (1 s).
const LINK_LIMIT: Duration = Duration::from_secs(10);
/// The environment variable that says what becomes of tests in namespaces: [`REQUIRE`], [`SKIP`], or what is possible.
const WISH: &str = "KODIKON_NETNS";
/// Tests that cannot run fail.
const REQUIRE: &str = "require";
/// None is run: a later step makes up for it.
const SKIP: &str = "skip";

/// Hosts in network namespaces, joined by switches that can be told to misbehave. All methods take effect before they
/// return.
#[derive(Debug)]
pub struct Lab {
    claim: Claim,
    directory: PathBuf,
    topology: Topology,
    segments: Mutex<Vec<Segment>>,
    programs: AtomicU32,
}

/// A switch and the hosts attached to it.
#[derive(Debug)]
struct Segment {
    name: String,
    members: BTreeMap<Host, Ipv4Addr>,
    faults: Faults,
}

impl Lab {
    /// Says whether namespaces can be made here, and if not what is missing.
    ///
    /// # Errors
    /// With the reason, for people.
    pub fn available() -> Result<(), String> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        ANSWER.get_or_init(|| examine().map_err(|error| format!("{error:#}"))).clone()
    }

    /// Brings up a lab for a test, or says on standard error that the test is skipped and returns `None`: where
    /// namespaces cannot be made, and under `KODIKON_NETNS=skip`.
    ///
    /// # Panics
    /// When the lab is available and yet does not come up, or is not available and `KODIKON_NETNS=require` is set.
    pub fn for_test(prefix: &str, topology: &Topology) -> Option<Self> {
        let wish = env::var(WISH).unwrap_or_default();
        let obstacle = if wish == SKIP { Some(format!("{WISH}={SKIP}")) } else { Self::available().err() };
        if let Some(reason) = obstacle {
            assert!(wish != REQUIRE, "no network namespaces: {reason}");
            // Past the capture of the test harness, which hides what passing tests print.
            let _ = writeln!(io::stderr(), "SKIPPED {prefix}: no network namespaces: {reason}");
            return None;
        }
        Some(Self::up(prefix, topology).unwrap_or_else(|error| panic!("the lab {prefix} does not come up: {error:#}")))
    }

    /// Brings up all hosts and switches, and waits until every interface has its carrier. `prefix` only helps people to
    /// tell labs apart: labs with the same one do not touch each other.
    ///
    /// # Errors
    /// When the topology makes no sense or a command fails.
    pub fn up(prefix: &str, topology: &Topology) -> Result<Self> {
        topology.check()?;
        neighbours::make_room(topology)?;
        let claim = Claim::take(prefix)?;
        let directory = claim::directory(claim.name());
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let lab = Self {
            claim,
            directory,
            topology: topology.clone(),
            segments: Mutex::new(Vec::new()),
            programs: AtomicU32::new(0),
        };
        lab.make_hosts()?;
        for (name, hosts) in &topology.segments {
            lab.add_segment(name)?;
            lab.attach(name, &hosts.iter().copied().collect::<Vec<_>>())?;
        }
        Ok(lab)
    }

    /// Removes what labs of killed programs left behind, as every new lab does.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep() -> Result<()> {
        Claim::take("sweep").map(drop)
    }

    /// A directory for data and logs that goes when the lab goes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All hosts, in order.
    pub fn hosts(&self) -> Vec<Host> {
        self.topology.hosts.iter().copied().collect()
    }

    /// A host's address on a segment.
    ///
    /// # Errors
    /// When it is not attached to it.
    pub fn address(&self, segment: &str, host: Host) -> Result<Ipv4Addr> {
        let mut segments = self.segments();
        let found = find(&mut segments, segment)?.members.get(&host).copied();
        found.ok_or_else(|| anyhow!("{host} is not on segment {segment}"))
    }

    /// The name of a host's interface to a segment.
    pub fn interface(&self, segment: &str) -> String {
        interface(segment)
    }

    /// The namespace of a host, for `ip netns exec` by hand.
    pub fn namespace(&self, host: Host) -> String {
        format!("{}-{host}", self.claim.name())
    }

    /// The namespace of a segment's switch.
    pub fn switch(&self, segment: &str) -> String {
        format!("{}-s{segment}", self.claim.name())
    }

    // ---- programs ----

    /// A command that will run on a host: give it arguments, then hand it to [`Lab::run`] or [`Lab::spawn`].
    pub fn command(&self, host: Host, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program.as_ref());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it does not start or not end in time (then it is killed). A command that ends with an error is no error
    /// here: see [`Finished::success`].
    pub fn run(&self, command: &mut Command, timeout: Duration) -> Result<Finished> {
        process::run(command, timeout)
    }

    /// Starts a program whose lines wait in [`Process::line`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        Process::start_buffered(command, &self.next_log())
    }

    /// Starts a program whose lines are given to `sink`, in a thread of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn_into(&self, command: &mut Command, sink: impl FnMut(Line) + Send + 'static) -> Result<Process> {
        Process::start(command, &self.next_log(), None, sink)
    }

    /// The same, with a gate that its lines pass.
    pub(crate) fn spawn_behind(
        &self,
        command: &mut Command,
        gate: Arc<Gate>,
        sink: impl FnMut(Line) + Send + 'static,
    ) -> Result<Process> {
        Process::start(command, &self.next_log(), Some(gate), sink)
    }

    /// Runs `work` in a thread inside a host's namespace: sockets opened there belong to that host for ever.
    ///
    /// # Errors
    /// When the namespace cannot be entered or `work` panics.
    pub fn inside<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        netns::inside(&self.namespace(host), work)
    }

    // ---- faults ----

    /// Frames are dropped at random, `percent` of them at each receiver, address resolution spared. 0 undoes it.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn loss(&self, segment: &str, percent: f64) -> Result<()> {
        self.loss_of(segment, percent, Loss::Payload)
    }

    /// As [`Lab::loss`], and says whether ARP and neighbour discovery are lost too.
    ///
    /// # Errors
    /// When there is no such segment or `percent` is not one.
    pub fn loss_of(&self, segment: &str, percent: f64, what: Loss) -> Result<()> {
        ensure!((0.0..=100.0).contains(&percent), "{percent} is not a percentage");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
        let per_10_000 = (percent * 100.0).ceil() as u16;
        self.change(segment, |faults| faults.loss = (per_10_000 > 0).then_some((per_10_000, what)))
    }

    /// Frames between two hosts vanish silently until [`Lab::heal`].
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn cut(&self, segment: &str, cut: Cut) -> Result<()> {
        self.cuts(segment, [cut])
    }

    /// Several cuts in one step: the way to part a segment in two.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn cuts(&self, segment: &str, cuts: impl IntoIterator<Item = Cut>) -> Result<()> {
        self.change(segment, |faults| cuts.into_iter().for_each(|cut| faults.cut(cut)))
    }

    /// Everything to and from a host vanishes on the segment until [`Lab::heal`], and no interface says so.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn silence(&self, segment: &str, host: Host) -> Result<()> {
        self.change(segment, |faults| {
            faults.silent.insert(host);
        })
    }

    /// Everything on the segment vanishes until [`Lab::heal`], and no interface says so: a switch that hangs, or the cable behind it.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn cut_segment(&self, segment: &str) -> Result<()> {
        self.change(segment, |faults| faults.dead = true)
    }

    /// Undoes cuts and silence of a segment.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn heal(&self, segment: &str) -> Result<()> {
        self.change(segment, Faults::heal)
    }

    /// The segment's firewall drops all TCP, or none.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn drop_tcp(&self, segment: &str, dropped: bool) -> Result<()> {
        self.change(segment, |faults| faults.no_tcp = dropped)
    }

    /// Pulls a host's cable (`false`) or puts it back: the interface reports that it has no carrier.
    ///
    /// # Errors
    /// When the host is not on the segment.
    pub fn carrier(&self, segment: &str, host: Host, on: bool) -> Result<()> {
        let state = if on { "up" } else { "down" };
        netns::ip(Some(&self.switch(segment)), &format!("link set {} {state}\n", port(host)))?;
        let want = if on { "state UP" } else { "NO-CARRIER" };
        self.await_link(segment, host, want)
    }

    /// Takes a host's interface down as its administrator would: its sends fail.
    ///
    /// # Errors
    /// When the host is not on the segment.
    pub fn interface_down(&self, segment: &str, host: Host) -> Result<()> {
        netns::ip(Some(&self.namespace(host)), &format!("link set {} down\n", interface(segment)))
    }

    /// Undoes [`Lab::interface_down`] and waits for the carrier.
    ///
    /// # Errors
    /// When the host is not on the segment.
    pub fn interface_up(&self, segment: &str, host: Host) -> Result<()> {
        netns::ip(Some(&self.namespace(host)), &format!("link set {} up\n", interface(segment)))?;
        self.await_link(segment, host, "state UP")
    }

    /// Gives a host another IPv4 address on a segment, in place of the one it has.
    ///
    /// # Errors
    /// When the host is not on the segment.
    pub fn set_address(&self, segment: &str, host: Host, new: Ipv4Addr) -> Result<()> {
        let old = self.address(segment, host)?;
        let device = interface(segment);
        let commands = format!("addr del {old}/16 dev {device}\naddr add {new}/16 brd + dev {device}\n");
        netns::ip(Some(&self.namespace(host)), &commands)?;
        find(&mut self.segments(), segment)?.members.insert(host, new);
        Ok(())
    }

    /// Limits what the switch sends to a host (`5mbit`), or lifts the limit.
    ///
    /// # Errors
    /// When the host is not on the segment or `tc` does not understand the rate.
    pub fn rate(&self, segment: &str, host: Host, rate: Option<&str>) -> Result<()> {
        let (switch, port) = (self.switch(segment), port(host));
        let mut tc = Command::new("tc");
        tc.args(["-n", &switch, "qdisc"]);
        match rate {
            Some(rate) => tc.args(["replace", "dev", &port, "root", "tbf", "rate", rate, "burst", "32kb"]),
            None => tc.args(["del", "dev", &port, "root"]),
        };
        if rate.is_some() {
            tc.args(["latency", "50ms"]);
        }
        match netns::output(&mut tc) {
            // tc calls it an error to lift a limit that is not there.
            Err(error) if rate.is_none() && format!("{error}").contains("zero") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Runs a cable from a host to a segment; a segment that does not exist yet comes into being.
    ///
    /// # Errors
    /// When the host is on it already.
    pub fn plug(&self, segment: &str, host: Host) -> Result<()> {
        check_segment_name(segment)?;
        if find(&mut self.segments(), segment).is_err() {
            self.add_segment(segment)?;
        }
        ensure!(self.address(segment, host).is_err(), "{host} is on segment {segment} already");
        self.attach(segment, &[host])
    }

    /// Takes a host off a segment; its interface vanishes, as a network adapter that is pulled out.
    ///
    /// # Errors
    /// When the host is not on the segment.
    pub fn unplug(&self, segment: &str, host: Host) -> Result<()> {
        netns::ip(Some(&self.switch(segment)), &format!("link del {}\n", port(host)))?;
        find(&mut self.segments(), segment)?.members.remove(&host);
        Ok(())
    }

    /// What went over each cable since it was plugged in. The kernel's own chatter (ARP, MLD, ND) is in it: take a
    /// baseline first.
    ///
    /// # Errors
    /// When a switch does not answer.
    pub fn counters(&self) -> Result<BTreeMap<(Host, String), Traffic>> {
        let names: Vec<String> = self.segments().iter().map(|segment| segment.name.clone()).collect();
        let mut found = BTreeMap::new();
        for name in names {
            found.extend(self.traffic(&name)?.into_iter().map(|(host, traffic)| ((host, name.clone()), traffic)));
        }
        Ok(found)
    }

    /// As [`Lab::counters`], of one segment alone.
    ///
    /// # Errors
    /// When its switch does not answer.
    pub fn traffic(&self, segment: &str) -> Result<BTreeMap<Host, Traffic>> {
        // The thread's own file: /proc/net is that of the thread that leads the process, in another namespace.
        let table = netns::inside(&self.switch(segment), || fs::read_to_string("/proc/thread-self/net/dev"))?
            .context("cannot read the switch's counters")?;
        let cable = |(port, seen): (&str, Traffic)| {
            // What the host sends is what its port receives.
            let traffic = Traffic {
                sent_bytes: seen.received_bytes,
                sent_packets: seen.received_packets,
                received_bytes: seen.sent_bytes,
                received_packets: seen.sent_packets,
            };
            Some((host_of_port(port)?, traffic))
        };
        Ok(counters::interfaces(&table).filter_map(cable).collect())
    }

    /// Counts from now on the packets of more than `bytes` bytes (IP header included) that hosts send into a segment: see
    /// [`Lab::long_packets`].
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn count_long_packets(&self, segment: &str, bytes: u16) -> Result<()> {
        netns::nft(&self.switch(segment), &counters::long_packet_rules(bytes))
    }

    /// How many there were since [`Lab::count_long_packets`], lost ones included.
    ///
    /// # Errors
    /// When they were not counted.
    pub fn long_packets(&self, segment: &str) -> Result<u64> {
        let list = || netns::output(Command::new("nft").args(counters::LIST_LONG_PACKETS));
        let text = netns::inside(&self.switch(segment), list)??;
        counters::long_packets(&text).with_context(|| format!("no counter in {text}"))
    }

    /// All hosts forget the hardware addresses they have learned, as after a power cut.
    ///
    /// # Errors
    /// When a host does not.
    pub fn forget_neighbours(&self) -> Result<()> {
        self.hosts().iter().try_for_each(|host| netns::ip(Some(&self.namespace(*host)), "neigh flush all\n"))
    }

    // ---- how it is done ----

    fn make_hosts(&self) -> Result<()> {
        let mut commands = String::new();
        for host in &self.topology.hosts {
            writeln!(commands, "netns add {}", self.namespace(*host)).expect("a String takes all that is written");
        }
        netns::ip(None, &commands)?;
        let ipv6_off = if self.topology.ipv6 { "0" } else { "1" };
        for host in &self.topology.hosts {
            let namespace = self.namespace(*host);
            let knobs = [
                // A new namespace takes this over from the computer, which may be a router.
                ("ipv4/ip_forward", "0"),
                ("ipv6/conf/all/forwarding", "0"),
                ("ipv6/conf/all/disable_ipv6", ipv6_off),
                ("ipv6/conf/default/disable_ipv6", ipv6_off),
                // An address is usable at once, and nobody asks for a router that is not there.
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
            ];
            netns::sysctl(&namespace, &knobs)?;
            netns::ip(Some(&namespace), "link set lo up\n")?;
        }
        Ok(())
    }

    fn add_segment(&self, name: &str) -> Result<()> {
        let switch = self.switch(name);
        netns::ip(None, &format!("netns add {switch}\n"))?;
        // The switch is a thing without address: nothing in the counters is its own.
        let off = [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];
        netns::sysctl(&switch, &off)?;
        netns::ip(Some(&switch), "link add br0 type bridge mcast_snooping 0\nlink set br0 up\n")?;
        let segment = Segment { name: name.to_owned(), members: BTreeMap::new(), faults: Faults::default() };
        self.segments().push(segment);
        Ok(())
    }

    fn attach(&self, segment: &str, hosts: &[Host]) -> Result<()> {
        let (switch, device) = (self.switch(segment), interface(segment));
        let index = self.segments().iter().position(|known| known.name == segment);
        let index = index.ok_or_else(|| anyhow!("no segment {segment}"))?;
        // Segmentation at the sender's interface, so that every datagram is a frame to the switch.
        let exact = if self.topology.offload { "" } else { " gso_max_segs 1" };
        let mut cables = String::new();
        let mut ports = String::new();
        for host in hosts {
            let (port, namespace) = (port(*host), self.namespace(*host));
            writeln!(cables, "link add {port} netns {switch}{exact} type veth peer name {device} netns {namespace}")
                .and_then(|()| writeln!(ports, "link set {port} master br0 up"))
                .expect("a String takes all that is written");
        }
        netns::ip(None, &cables)?;
        netns::ip(Some(&switch), &ports)?;
        for host in hosts {
            let address = address(index, *host);
            let commands = format!("addr add {address}/16 brd + dev {device}\nlink set {device}{exact} up\n");
            netns::ip(Some(&self.namespace(*host)), &commands)?;
            find(&mut self.segments(), segment)?.members.insert(*host, address);
        }
        hosts.iter().try_for_each(|host| self.await_link(segment, *host, "state UP"))
    }

    fn await_link(&self, segment: &str, host: Host, want: &str) -> Result<()> {
        let deadline = Instant::now() + LINK_LIMIT;
        loop {
            let mut ip = Command::new("ip");
            let link = netns::output(ip.args(["-n", &self.namespace(host), "link", "show", &interface(segment)]))?;
            if link.contains(want) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{host} on {segment}: {want} did not come within {LINK_LIMIT:?}: {link}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn change(&self, segment: &str, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut segments = self.segments();
        let faults = &mut find(&mut segments, segment)?.faults;
        change(faults);
        netns::nft(&self.switch(segment), &faults.rules())
    }

    fn segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        // A test that panicked in another thread has not left it half changed: each change is one step.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_log(&self) -> PathBuf {
        self.directory.join(format!("stderr-{}", self.programs.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = netns::remove_all(self.claim.name()) {
            let _ = writeln!(io::stderr(), "the lab {} is not gone: {error:#}", self.claim.name());
        }
        // What is left in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn find<'s>(segments: &'s mut [Segment], name: &str) -> Result<&'s mut Segment> {
    segments.iter_mut().find(|segment| segment.name == name).ok_or_else(|| anyhow!("no segment {name}"))
}

fn examine() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "needs root");
    let path = env::var_os("PATH").unwrap_or_default();
    for (tool, package) in [("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")] {
        let found = env::split_paths(&path).any(|directory| directory.join(tool).is_file());
        ensure!(found, "the program {tool} (package {package}) is missing");
    }
    // Root in a container may still lack the right to make namespaces, bridges or firewall rules.
    let lab = Lab::up("examine", &Topology::flat(1))?;
    lab.silence("a", Host(1))
}

//! What is wrong with this machine's network: each check a pure function of one [`Symptoms`], its finding with evidence and a cure.
//!
//! A check fails (`fail`) only where the mesh cannot work as it should for a reason that was seen; a suspicion is a `warn`, and what
//! could not be looked at is `unknown`, never `ok`.

use std::time::Duration;

use kodikon_core::ground::excess::Excesses;

use crate::api::{FindingRow, Status};
use crate::socket::Holder;

pub mod firewall;
pub mod host;
mod rates;

#[cfg(test)]
mod tests;

/// Everything the checks look at. What was not looked at is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Symptoms {
    /// How long the node has run.
    pub uptime: Option<Duration>,
    /// `mesh.udp_port`.
    pub discovery_port: u16,
    /// The node's own port, UDP and TCP.
    pub own_port: Option<u16>,
    /// What became of the discovery port.
    pub port: Option<PortUse>,
    /// The interfaces of this machine, the unusable ones too.
    pub interfaces: Option<Vec<InterfaceUse>>,
    /// What the rules of the firewall say.
    pub firewall: Option<firewall::Rules>,
    /// The room for datagrams that wait to be read.
    pub receive_buffer: Option<ReceiveBuffer>,
    /// The clocks of peers against ours.
    pub skews: Option<Vec<Skew>>,
    /// The version of this program.
    pub own_version: String,
    /// The versions of peers: name and version.
    pub versions: Option<Vec<(String, String)>>,
    /// Whether this node has its name and identity for itself.
    pub identity: Option<IdentityUse>,
    /// Who was turned away, here and elsewhere.
    pub refusals: Option<Refusals>,
    /// What each peer did beyond its share.
    pub offences: Option<Vec<Offences>>,
    /// What arrived from outside the mesh.
    pub foreign: Option<Foreign>,
    /// The connections by which a dead process is noticed.
    pub streams: Option<StreamUse>,
    /// Interfaces that were asked for and are not there.
    pub absent: Vec<String>,
    /// What the disk makes of the log.
    pub log: Option<LogUse>,
}

/// What the disk makes of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogUse {
    /// Why the last transaction failed; none if it did not.
    pub problem: Option<String>,
    /// Transactions that failed since the start.
    pub failures: u64,
    /// Active alerts that are in memory alone.
    pub unkept: usize,
    /// Earlier logs that were damaged, and lie beside this one: see [`host::damaged_logs`].
    pub damaged: Vec<String>,
}

/// What became of the discovery port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortUse {
    /// This node listens on it, perhaps with other nodes of this machine.
    Ours,
    /// Another program holds it for itself.
    Taken {
        /// Which, where the system tells.
        holder: Option<Holder>,
    },
    /// It could not be had for another reason.
    Failed {
        /// What the system says.
        error: String,
    },
}

/// A network interface, as far as the mesh can use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceUse {
    /// Its name.
    pub name: String,
    /// Why the mesh does not use it; none if it does.
    pub unused: Option<String>,
    /// Whether only this machine is behind it.
    pub loopback: bool,
    /// Peers heard on it.
    pub neighbours: u32,
    /// Each way of reaching all of them at once.
    pub casts: Vec<CastUse>,
}

/// A way of reaching all neighbours at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CastUse {
    /// `multicast v4`, `multicast v6` or `broadcast`.
    pub name: &'static str,
    /// Datagrams sent this way.
    pub sent: u64,
    /// Neighbours that said they hear us this way, where they were asked.
    pub confirmed: Option<u32>,
    /// Neighbours that were heard this way.
    pub heard: u32,
    /// Whether this node's own calls came back, as each machine hears what it sends to all.
    pub echoed: bool,
}

/// The room for datagrams that wait to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// Bytes that were asked for.
    pub wanted: u64,
    /// Bytes that the system gave.
    pub granted: u64,
    /// Datagrams this machine lost since its start because a buffer was full.
    pub overflows: u64,
}

/// A peer's wall clock minus ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The peer.
    pub node_id: String,
    /// In milliseconds.
    pub skew_ms: i64,
}

/// What a peer did beyond its share since this node started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offences {
    /// The peer.
    pub node_id: String,
    /// Datagrams heard from it.
    pub heard: u64,
    /// What was refused, by kind.
    pub beyond: Excesses,
}

/// Whether this node has its name and identity for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityUse {
    /// The name it was given.
    pub name: String,
    /// The name it is shown by: `name-2` where another held it first.
    pub shown: String,
    /// Times another node with this very identity was seen: a copied disk.
    pub clones: u64,
    /// Times this node found its disk restored from a backup.
    pub restored: u64,
}

/// Who was turned away because a table is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many peers this node keeps.
    pub limit: usize,
    /// Where that was set, if it was: `kodikon.yaml:4:14`.
    pub origin: Option<String>,
    /// Whether a key keeps strangers out.
    pub keyed: bool,
    /// Peers it holds now.
    pub held: usize,
    /// Times this node turned one away.
    pub refused: u64,
    /// The addresses of peers that turned this node away, with their limit.
    pub refused_by: Vec<(String, usize)>,
}

/// What arrived from outside the mesh in the last two minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Frames of ours that this mesh's key does not open.
    pub sealed: u64,
    /// Datagrams that are no frames: other programs, JSON of the Python original.
    pub unknown: u64,
    /// How long ago the last of all came, within ten seconds.
    pub last: Option<Duration>,
    /// Whether some were of nodes that have this mesh's name and key and another `registry.deletes`.
    pub other_policy: bool,
}

/// The connections by which a dead process is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamUse {
    /// Connections that stand, to and from peers.
    pub standing: u64,
    /// Peers who are here, and to whom connections failed lately, again and again.
    pub failed: Vec<String>,
}

/// A finding before it knows its check.
type Finding = (Status, String, String);

/// A check.
type Check = fn(&Symptoms) -> Finding;

/// Runs every check, in the order in which a network is built up.
#[must_use]
pub fn examine(symptoms: &Symptoms) -> Vec<FindingRow> {
    const CHECKS: [(&str, Check); 13] = [
        ("discovery_port", discovery_port),
        ("interfaces", interfaces),
        ("multicast", multicast),
        ("firewall", firewall_rules),
        ("tcp", tcp),
        ("receive_buffer", receive_buffer),
        ("clock_skew", clock_skew),
        ("versions", versions),
        ("identity", identity),
        ("refused_peers", refused_peers),
        ("peer_rates", rates::peer_rates),
        ("foreign_nodes", foreign_nodes),
        ("log", log),
    ];
    let row = |(check, examine): (&str, Check)| {
        let (status, evidence, cure) = examine(symptoms);
        FindingRow { check: check.to_owned(), status, evidence, cure }
    };
    CHECKS.into_iter().map(row).collect()
}

fn ok(evidence: impl Into<String>) -> Finding {
    (Status::Ok, evidence.into(), String::new())
}

fn unknown(why: impl Into<String>) -> Finding {
    (Status::Unknown, why.into(), String::new())
}

fn warn(evidence: impl Into<String>, cure: impl Into<String>) -> Finding {
    (Status::Warn, evidence.into(), cure.into())
}

fn fail(evidence: impl Into<String>, cure: impl Into<String>) -> Finding {
    (Status::Fail, evidence.into(), cure.into())
}

fn log(symptoms: &Symptoms) -> Finding {
    let Some(log) = &symptoms.log else { return unknown("not looked at") };
    if let Some(problem) = &log.problem {
        return fail(
            format!(
                "alerts and sightings are not on disk ({problem}); {} transactions failed, {} active alerts are in memory alone",
                log.failures, log.unkept
            ),
            "make room on the disk or replace it: the node tries again by itself; until then it takes no sighting, and a crash may show \
             alerts again, or lose what was raised here and nobody has heard",
        );
    }
    let made_good = match log.failures {
        0 => String::new(),
        failures => format!("; {failures} transactions failed and were made good"),
    };
    let kept = format!("alerts and sightings are kept{made_good}");
    if log.damaged.is_empty() {
        return ok(kept);
    }
    warn(
        format!("{kept}; an earlier log was damaged, and lies aside: {}", log.damaged.join(", ")),
        "look at the disk, which has spoilt it (`smartctl -a`); what was --local here is in that file alone: keep it or delete it, and \
         this goes",
    )
}

fn discovery_port(symptoms: &Symptoms) -> Finding {
    let port = symptoms.discovery_port;
    match &symptoms.port {
        None => unknown("not looked at"),
        Some(PortUse::Ours) => ok(format!("UDP port {port} is open for discovery")),
        Some(PortUse::Taken { holder }) => {
            let who = holder.as_ref().map_or("another program".to_owned(), ToString::to_string);
            let evidence = format!("UDP port {port} is held by {who}: this node runs without it and hears no beacons");
            fail(
                evidence,
                format!("stop {who}, or give all nodes of the mesh another port: --udp-port N (mesh.udp_port)"),
            )
        }
        Some(PortUse::Failed { error }) => fail(
            format!("UDP port {port} cannot be opened: {error}"),
            "give all nodes of the mesh another port: --udp-port N (mesh.udp_port)",
        ),
    }
}

fn interfaces(symptoms: &Symptoms) -> Finding {
    let Some(interfaces) = &symptoms.interfaces else { return unknown("not looked at") };
    let used = |interface: &&InterfaceUse| interface.unused.is_none();
    let outward: Vec<&str> =
        interfaces.iter().filter(used).filter(|i| !i.loopback).map(|interface| interface.name.as_str()).collect();
    if !symptoms.absent.is_empty() {
        let (absent, there) = (symptoms.absent.join(", "), interfaces.iter().map(|interface| interface.name.as_str()));
        let there = there.collect::<Vec<_>>().join(", ");
        let tell = if interfaces.iter().any(|interface| used(&interface)) { warn } else { fail };
        return tell(
            format!("asked for and not there: {absent}; there are: {there}"),
            "correct --interface (mesh.interfaces), or plug in the adapter".to_owned(),
        );
    }
    if !outward.is_empty() {
        return ok(format!("in use: {}", outward.join(", ")));
    }
    let why = |interface: &InterfaceUse| Some(format!("{}: {}", interface.name, interface.unused.as_ref()?));
    let reasons: Vec<String> = interfaces.iter().filter_map(why).collect();
    let reasons = if reasons.is_empty() { "there is none".to_owned() } else { reasons.join("; ") };
    let cure = "plug in the cable or join the Wi-Fi, and see that the interface has an address (`ip address`); the node joins by itself then";
    if interfaces.iter().any(|interface| used(&interface) && interface.loopback) {
        return warn(format!("only nodes of this machine can be met; other interfaces: {reasons}"), cure);
    }
    fail(format!("no usable interface: {reasons}"), cure)
}

/// Neighbours speak all ways at their start and once a minute: a way that was silent for longer than twice that is shut.
const SILENCE_TELLS: Duration = Duration::from_secs(150);

fn multicast(symptoms: &Symptoms) -> Finding {
    let Some(interfaces) = &symptoms.interfaces else { return unknown("not looked at") };
    let (mut works, mut mute, mut silent, mut cut_off) = (Vec::new(), Vec::new(), Vec::new(), false);
    let busy = |interface: &&InterfaceUse| interface.unused.is_none() && interface.neighbours > 0;
    for interface in interfaces.iter().filter(busy) {
        let before = works.len();
        for cast in interface.casts.iter().filter(|cast| cast.sent > 0) {
            let way = format!("{} on {}", cast.name, interface.name);
            match (cast.confirmed, cast.heard) {
                (Some(1..), _) | (None, 1..) => works.push(way),
                (Some(0), 1..) => mute.push(way),
                // The loopback carries no IPv6 multicast: one way is enough there.
                (Some(0) | None, 0) if interface.loopback => {}
                (Some(0) | None, 0) => silent.push(way),
            }
        }
        cut_off |= works.len() == before && interface.casts.iter().any(|cast| cast.sent > 0);
    }
    if works.is_empty() && mute.is_empty() && silent.is_empty() {
        return alone(symptoms, interfaces);
    }
    let mut evidence = Vec::new();
    for (what, ways) in
        [("works", &works), ("others are heard but do not hear us", &mute), ("nobody is heard", &silent)]
    {
        if !ways.is_empty() {
            evidence.push(format!("{what}: {}", ways.join(", ")));
        }
    }
    let evidence = evidence.join("; ");
    let silence_tells = symptoms.uptime.is_some_and(|uptime| uptime > SILENCE_TELLS);
    if !cut_off && mute.is_empty() && (silent.is_empty() || !silence_tells) {
        return ok(evidence);
    }
    warn(
        evidence,
        "let the switch or access point pass multicast (IGMP snooping without a querier, client isolation and \
         \"multicast to unicast\" settings stop it), open the firewall, or name peers: --peer HOST:PORT (mesh.peers)",
    )
}

/// Calls that should have come back by then: each leaves within 3 s of the start by all ways, and comes back at once.
const CALLS_ECHO: u64 = 3;
/// IPv6 addresses are checked for duplicates for 1 to 2 s after an interface came up, in which nothing leaves.
const ECHO_TELLS: Duration = Duration::from_secs(30);

/// Nobody is heard: at least the own calls should be.
fn alone(symptoms: &Symptoms, interfaces: &[InterfaceUse]) -> Finding {
    let listens = matches!(symptoms.port, None | Some(PortUse::Ours));
    if !listens || symptoms.uptime.is_none_or(|uptime| uptime < ECHO_TELLS) {
        return unknown("nobody is there who could be heard");
    }
    let mut deaf = Vec::new();
    // The loopback carries no IPv6 multicast.
    for interface in interfaces.iter().filter(|interface| interface.unused.is_none() && !interface.loopback) {
        let unheard = interface.casts.iter().filter(|cast| cast.sent >= CALLS_ECHO && !cast.echoed);
        deaf.extend(unheard.map(|cast| format!("{} on {}", cast.name, interface.name)));
    }
    if deaf.is_empty() {
        return unknown("nobody is there who could be heard; this node hears its own calls");
    }
    warn(
        format!("nobody is heard, and this node's own calls are not heard back: {}", deaf.join(", ")),
        format!("let in UDP {} in this machine's own firewall, for multicast and broadcast", symptoms.discovery_port),
    )
}

fn tcp(symptoms: &Symptoms) -> Finding {
    let Some(streams) = &symptoms.streams else { return unknown("not looked at") };
    let standing = format!("{} connections stand", streams.standing);
    if streams.failed.is_empty() {
        return if streams.standing > 0 { ok(standing) } else { unknown("no connection is wanted") };
    }
    let shown = streams.failed.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    let more = if streams.failed.len() > 8 { format!(" and {} more", streams.failed.len() - 8) } else { String::new() };
    let (low, high) = firewall::own_ports(symptoms.discovery_port);
    warn(
        format!(
            "no connection to {shown}{more}: if their processes die it is noticed in seconds, not at once; {standing}"
        ),
        format!("let in TCP {low}-{high} there, from the local network"),
    )
}

fn firewall_rules(symptoms: &Symptoms) -> Finding {
    match &symptoms.firewall {
        None => unknown("not looked at"),
        Some(firewall::Rules::Unreadable(why)) => unknown(format!("the rules cannot be read: {why}")),
        Some(firewall::Rules::Read(shown)) => {
            let discovery = symptoms.discovery_port;
            let (low, high) = firewall::own_ports(discovery);
            let own = symptoms.own_port.unwrap_or(low);
            let (mut suspects, mut doubts) = (Vec::new(), Vec::new());
            for firewall::Shown { tool, text } in shown {
                let verdict = firewall::judge(text, firewall::Ports { discovery, own });
                for (said, all) in [(verdict.suspects, &mut suspects), (verdict.doubts, &mut doubts)] {
                    if !said.is_empty() {
                        all.push(format!("{tool}: {}", said.join("; ")));
                    }
                }
            }
            // What lets it through beside a rule that keeps it out helps nobody: the kernel asks them all.
            if !suspects.is_empty() {
                return warn(
                    suspects.join("; "),
                    format!("let in UDP {discovery} and {low}-{high}, and TCP {low}-{high}, from the local network"),
                );
            }
            if !doubts.is_empty() {
                let doubts = doubts.join("; ");
                return unknown(format!("it cannot be told whether these rules let in what the mesh needs: {doubts}"));
            }
            let tools: Vec<&str> = shown.iter().map(|shown| shown.tool).collect();
            ok(format!("{}: no rule against the mesh", tools.join(", ")))
        }
    }
}

fn receive_buffer(symptoms: &Symptoms) -> Finding {
    let Some(buffer) = symptoms.receive_buffer else { return unknown("not looked at") };
    let lost = format!("{} datagrams lost on this machine to full buffers since its start", buffer.overflows);
    if buffer.granted >= buffer.wanted {
        return ok(format!("{} bytes as asked for; {lost}", buffer.granted));
    }
    let evidence = format!("{} of {} bytes; {lost}", buffer.granted, buffer.wanted);
    let cure = format!("sudo sysctl -w net.core.rmem_max={}", buffer.wanted);
    // A small buffer that never overflowed is large enough.
    if buffer.overflows == 0 { ok(evidence) } else { warn(evidence, cure) }
}

/// Beyond this, times that people compare across nodes mislead them: NTP keeps a LAN within some ms.
const SKEW_WARN_MS: u64 = 1_000;

fn clock_skew(symptoms: &Symptoms) -> Finding {
    let Some(skews) = &symptoms.skews else { return unknown("not looked at") };
    let Some(worst) = skews.iter().max_by_key(|skew| skew.skew_ms.unsigned_abs()) else {
        return unknown("no peer's clock is known");
    };
    let far = |skew: &&Skew| skew.skew_ms.unsigned_abs() > SKEW_WARN_MS;
    let wrong: Vec<&Skew> = skews.iter().filter(far).collect();
    let Some(first) = wrong.first() else {
        return ok(format!("within {} ms of {} peers", worst.skew_ms.unsigned_abs(), skews.len()));
    };
    let cure = "set the clocks by NTP (`timedatectl set-ntp true`); the mesh itself does not depend on them";
    // If most peers are off the same way, it is this clock that is wrong.
    let ahead = wrong.iter().filter(|skew| skew.skew_ms > 0).count();
    if skews.len() > 2 && (ahead.max(wrong.len() - ahead)) * 2 > skews.len() {
        let way = if ahead * 2 > wrong.len() { "behind" } else { "ahead of" };
        let by = seconds(worst.skew_ms);
        return warn(
            format!("this machine's clock is {way} most peers', by {}", by.trim_start_matches(['+', '-'])),
            cure,
        );
    }
    let all: Vec<String> =
        wrong.iter().take(8).map(|skew| format!("{} by {}", skew.node_id, seconds(skew.skew_ms))).collect();
    let more = if wrong.len() > 8 { format!(" and {} more", wrong.len() - 8) } else { String::new() };
    let verb = if wrong.len() == 1 && first.skew_ms > 0 { "ahead" } else { "off" };
    warn(format!("clocks {verb}: {}{more}", all.join(", ")), cure)
}

/// A skew for people.
fn seconds(ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let seconds = ms as f64 / 1_000.0;
    format!("{seconds:+.1} s")
}

fn versions(symptoms: &Symptoms) -> Finding {
    let Some(versions) = &symptoms.versions else { return unknown("not looked at") };
    let own = &symptoms.own_version;
    let other: Vec<String> = versions
        .iter()
        .filter(|(_, version)| version != own)
        .map(|(name, version)| format!("{name} runs {version}"))
        .collect();
    if other.is_empty() {
        return ok(format!("all {} peers run {own}, as this node", versions.len()));
    }
    let shown = other.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    let more = if other.len() > 8 { format!(" and {} more", other.len() - 8) } else { String::new() };
    warn(
        format!("this node runs {own}, but {shown}{more}"),
        "bring all nodes to one version when it suits you; mixed ones work together",
    )
}

fn identity(symptoms: &Symptoms) -> Finding {
    let Some(identity) = &symptoms.identity else { return unknown("not looked at") };
    if identity.clones > 0 {
        return fail(
            format!(
                "another node had this node's identity ({} times seen): its data folder was copied",
                identity.clones
            ),
            "one of the two took a new identity by itself; copy a machine's image without the data folder, and see that both have the name you want",
        );
    }
    if identity.shown != identity.name {
        return warn(
            format!("another node was called `{}` first: this one is shown as `{}`", identity.name, identity.shown),
            "give each node a name of its own: --node-id NAME (mesh.node_id)",
        );
    }
    if identity.restored > 0 {
        return warn(
            "the data folder was restored from a backup; the node took a higher epoch and goes on",
            "nothing to do; keep the data folder out of backups to avoid it",
        );
    }
    ok(format!("`{}` is this node's alone", identity.name))
}

fn refused_peers(symptoms: &Symptoms) -> Finding {
    let Some(refusals) = &symptoms.refusals else { return unknown("not looked at") };
    let limit = refusals.limit;
    let place = refusals.origin.as_ref().map_or(String::new(), |origin| format!(" (set in {origin})"));
    let raise = if refusals.keyed {
        "raise mesh.max_peers (at most 4096) on every node"
    } else {
        "raise mesh.max_peers on every node; an open mesh keeps at most 256, a mesh key (`kodikon key new`) allows 4096"
    };
    if refusals.refused > 0 {
        let evidence = format!("{} times a peer was refused: this node keeps at most {limit}{place}", refusals.refused);
        return fail(evidence, raise);
    }
    if let Some((address, limit)) = refusals.refused_by.first() {
        let more = refusals.refused_by.len() - 1;
        let others = if more > 0 { format!(" and {more} more") } else { String::new() };
        return fail(format!("{address}{others} refused this node: it keeps at most {limit} peers"), raise);
    }
    // The seed's file says 10: whoever starts an eleventh node should hear it before it is refused.
    if refusals.origin.is_some() && refusals.held * 5 >= limit * 4 {
        return warn(
            format!("{} of at most {limit} peers{place}: number {} is refused", refusals.held, limit + 1),
            raise,
        );
    }
    ok(format!("{} of at most {limit} peers, none refused", refusals.held))
}

fn foreign_nodes(symptoms: &Symptoms) -> Finding {
    let Some(foreign) = symptoms.foreign else { return unknown("not looked at") };
    let Foreign { sealed, unknown, last, other_policy } = foreign;
    let ago = last.map(|ago| format!("the last came {} s ago", ago.as_secs()));
    if sealed == 0 && unknown == 0 {
        return ok(match ago {
            None => "nothing arrived from outside the mesh".to_owned(),
            Some(ago) => format!("nothing arrived from outside the mesh for two minutes; {ago}"),
        });
    }
    if other_policy {
        return fail(
            "nodes are near that have this mesh's name and key and another registry.deletes: they and this node never meet",
            "set registry.deletes to the same everywhere, `all` or `author`, and restart those that had the other",
        );
    }
    let mut evidence = Vec::new();
    if sealed > 0 {
        evidence.push(format!("{sealed} datagrams of another mesh in two minutes, which this node cannot open"));
    }
    if unknown > 0 {
        evidence.push(format!(
            "{unknown} datagrams in two minutes that are no frames: another program, or the Python original"
        ));
    }
    evidence.extend(ago);
    warn(
        evidence.join("; "),
        "if a node is missing, compare `kodikon config show` there and here: mesh.name, mesh.key and registry.deletes must be equal; else \
         give your mesh a port of its own: --udp-port N",
    )
}

//! What this machine tells about itself to the doctor: who holds a port, what the firewall's rules are, how much was lost.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::firewall::Rules;

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {})", self.name, self.pid)
    }
}

/// A firewall's rules are a few pages; what is longer is cut.
const MAX_RULES: u64 = 1 << 20;
/// A tool that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Processes that are looked through for the holder of a socket.
const MAX_PROCESSES: usize = 32_768;
/// Open files of a process that are looked through.
const MAX_FILES: usize = 65_536;

/// Finds who holds a UDP port; none where nobody does or where the system does not tell (another user's process, no `/proc`).
#[must_use]
pub fn udp_holder(port: u16) -> Option<Holder> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let inodes = socket_inodes(&(read("/proc/net/udp") + &read("/proc/net/udp6")), port);
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let own = std::process::id();
    for process in fs::read_dir("/proc").ok()?.take(MAX_PROCESSES).flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == own {
            continue;
        }
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut links_of = files.take(MAX_FILES).flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links_of.any(|link| link.to_str().is_some_and(|link| links.iter().any(|known| known == link))) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_owned() });
        }
    }
    None
}

/// The inodes of the sockets that are bound to a port, out of `/proc/net/udp`.
fn socket_inodes(table: &str, port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let mut columns = line.split_whitespace();
        let local = columns.nth(1)?;
        if !local.ends_with(&suffix) {
            return None;
        }
        columns.nth(7)?.parse().ok().filter(|inode| *inode != 0)
    };
    table.lines().filter_map(inode).take(64).collect()
}

/// Datagrams this machine has lost since its start because a receive buffer was full.
#[must_use]
pub fn udp_overflows() -> Option<u64> {
    overflows(&fs::read_to_string("/proc/net/snmp").ok()?)
}

/// `RcvbufErrors` of the `Udp:` lines: one with the names, one with the values.
fn overflows(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "RcvbufErrors")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

/// Reads the firewall's rules with `nft`, or else with `iptables-save`. Takes up to some seconds: not for the loop.
#[must_use]
pub fn firewall_rules() -> Rules {
    let mut why = Vec::new();
    for (tool, arguments) in [("nft", &["list", "ruleset"][..]), ("iptables-save", &[][..])] {
        match output(tool, arguments, PATIENCE) {
            Ok(text) => return Rules::Read { tool, text },
            Err(reason) => why.push(reason),
        }
    }
    Rules::Unreadable(why.join("; "))
}

/// Runs a tool and reads what it prints, but no longer than patience and no more than a limit.
fn output(tool: &str, arguments: &[&str], patience: Duration) -> Result<String, String> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| {
        let absent = error.kind() == std::io::ErrorKind::NotFound;
        if absent { format!("{tool} is not installed") } else { format!("{tool}: {error}") }
    })?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.map(|out| out.take(MAX_RULES).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => break Err(format!("{tool} does not end")),
            Err(error) => break Err(format!("{tool}: {error}")),
        }
    };
    // Ends the reader, too: without a writer its pipe is at its end. A tool that has ended cannot be ended again.
    let _ = child.kill();
    let _ = child.wait();
    let text = reader.join().unwrap_or_default();
    match status? {
        status if status.success() => Ok(text),
        _ => Err(format!("{tool} needs more rights (try sudo kodikon doctor)")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1234: 00000000:270F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41234 2 0000000000000000 0
 1235: 0100007F:270F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 0
 1236: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41236 2 0000000000000000 0
";

    #[test]
    fn the_inode_of_a_port_is_read_from_the_kernels_table() {
        assert_eq!(socket_inodes(UDP, 9999), [41_234]);
        assert_eq!(socket_inodes(UDP, 68), [41_236]);
        assert!(socket_inodes(UDP, 1).is_empty());
        assert!(socket_inodes("nonsense\n:270F\n a:270F\n", 9999).is_empty());
    }

    #[test]
    fn overflows_are_read_by_their_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts RcvbufErrors\nUdp: 10 2 7\nUdpLite: RcvbufErrors\nUdpLite: 1\n";
        assert_eq!(overflows(snmp), Some(7));
        assert_eq!(overflows("Udp: RcvbufErrors\n"), None);
        assert_eq!(overflows("Udp: Other\nUdp: 1\n"), None);
    }

    #[test]
    fn a_port_of_this_very_process_has_no_other_holder() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        // A child that another test has forked holds all our sockets until it executes its program.
        let is_ours_alone = || {
            std::thread::sleep(Duration::from_millis(5));
            udp_holder(port).is_none()
        };
        assert!((0..400).any(|_| is_ours_alone()), "{:?} holds it", udp_holder(port));
    }

    #[test]
    fn a_tool_that_is_not_there_or_fails_or_hangs_is_no_answer() {
        assert_eq!(output("kodikon-absent-tool", &[], PATIENCE), Err("kodikon-absent-tool is not installed".into()));
        assert_eq!(output("false", &[], PATIENCE), Err("false needs more rights (try sudo kodikon doctor)".into()));
        assert_eq!(output("sleep", &["30"], Duration::ZERO), Err("sleep does not end".into()));
        assert_eq!(output("echo", &["rules"], PATIENCE), Ok("rules\n".into()));
    }
}

//! Decides which program is named as the holder of a UDP port, from what `/proc` lets this user see.

use std::fmt;
use std::fs;
use std::path::Path;

/// Processes looked at; a machine with more gets no name for its trouble.
const PROCESSES_MAX: usize = 32_768;
/// Open files looked at in one process.
const FILES_MAX: usize = 4_096;
/// Sockets that may hold one port: with `SO_REUSEADDR` and `SO_REUSEPORT` there can be many, one name is enough.
const SOCKETS_MAX: usize = 64;
/// `comm` is at most 15 bytes long (TASK_COMM_LEN).
const NAME_MAX: usize = 15;

/// A program that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its name, without what would upset a terminal.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Finds a process, other than this one, that has a UDP socket bound to `port` in this network namespace: of several that share it the one
/// that began first, since the others have it from that one.
#[must_use]
pub(super) fn find(port: u16) -> Option<Holder> {
    // A dual-stack socket holds the IPv4 port too and is listed under udp6 only. `thread-self`: the process as a whole
    // may be in another namespace than the thread that asks.
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let mut inodes: Vec<u64> = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| holders(&table, port))
        .collect();
    inodes.truncate(SOCKETS_MAX);
    if inodes.is_empty() {
        return None;
    }
    let own = std::process::id();
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .take(PROCESSES_MAX)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own && has_socket(pid, &inodes))
        .min_by_key(|&pid| (began(pid), pid))
        .map(|pid| Holder { pid, name: name(pid) })
}

/// The inodes of the sockets bound to `port` in a table of the form of `/proc/net/udp`.
fn holders(table: &str, port: u16) -> Vec<u64> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (_, local) = fields.nth(1)?.rsplit_once(':')?;
        let inode = fields.nth(7)?.parse().ok()?;
        (u16::from_str_radix(local, 16).ok()? == port).then_some(inode)
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn has_socket(pid: u32, inodes: &[u64]) -> bool {
    let Ok(files) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    files.flatten().take(FILES_MAX).any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// When a process began, in ticks since the computer did; one that is gone again began last.
fn began(pid: u32) -> u64 {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    beginning(&stat).unwrap_or(u64::MAX)
}

/// `starttime` in a line of the form of `/proc/PID/stat`, where only the last bracket ends the name (proc_pid_stat(5)).
fn beginning(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).unwrap_or_default();
    name.trim_end().chars().take(NAME_MAX).map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_port_are_found_and_no_others() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            67: 00000000:270F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18342 2 ffff 0\n\
            68: 0100007F:2710 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18343 2 ffff 0\n\
            69: 00000000000000000000000000000000:270F 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 18344 2 ffff 0\n\
            70: broken\n\
            71: 00000000:270F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 -1 2 ffff 0\n\
            72: 00000000:1270F 0 07 0 0 0 0 0 5 2\n";
        assert_eq!(holders(table, 0x270f), [18_342, 18_344]);
        assert_eq!(holders(table, 0x2710), [18_343]);
        assert_eq!(holders(table, 1), [0u64; 0]);
        assert_eq!(holders("", 0x270f), [0u64; 0]);
        assert_eq!(holders("\n\n : : : :", 0x270f), [0u64; 0]);
    }

    /// A child that has not yet become another program holds its parent's sockets too, and its number may be the lower one.
    #[test]
    fn when_a_process_began_is_read_behind_a_name_with_brackets_in_it() {
        let stat = "31001 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(beginning(stat), Some(4_711));
        for broken in
            ["", "31001 (sh", "31001 (sh) S 1 2", "31001 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -1"]
        {
            assert_eq!(beginning(broken), None, "{broken:?}");
        }
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (own, later) = (began(std::process::id()), began(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own <= later && later < u64::MAX, "{own} and {later}");
    }

    #[test]
    fn this_process_itself_is_nobodys_holder() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(find(socket.local_addr().unwrap().port()), None);
    }
}

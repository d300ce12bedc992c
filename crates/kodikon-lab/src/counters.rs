//! Decides what is counted: frames and bytes at the switch, time and memory of a process.

use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result, anyhow};

/// What went over a host's cable, as the switch counted it, Ethernet headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes the host sent.
    pub sent_bytes: u64,
    /// Frames the host sent.
    pub sent_packets: u64,
    /// Bytes the host was given.
    pub received_bytes: u64,
    /// Frames the host was given.
    pub received_packets: u64,
}

impl Sub for Traffic {
    type Output = Self;

    /// What came after `earlier`. Counters that began anew (a re-plugged cable) count as nothing.
    fn sub(self, earlier: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            sent_packets: self.sent_packets.saturating_sub(earlier.sent_packets),
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
            received_packets: self.received_packets.saturating_sub(earlier.received_packets),
        }
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Seconds of CPU time, user and system, in clock ticks of 10 ms.
    pub cpu_s: f64,
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// The part of the resident memory that belongs to no file, in KiB: what the process itself has written.
    pub anonymous_kib: u64,
}

impl Usage {
    /// Reads the usage of a running process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(|| anyhow!("/proc/{pid}/stat is not as expected"))?;
        let status = read("status")?;
        let memory = |key| kib(&status, key).ok_or_else(|| anyhow!("no {key} in /proc/{pid}/status: it has ended"));
        let per_second = rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are 2.8 million years")]
        Ok(Self {
            cpu_s: ticks as f64 / per_second as f64,
            rss_kib: memory("VmRSS:")?,
            anonymous_kib: memory("RssAnon:")?,
        })
    }
}

/// The lines of /proc/net/dev: name of the interface, and its counters as the interface sees them.
pub(crate) fn interfaces(table: &str) -> impl Iterator<Item = (&str, Traffic)> {
    table.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let &[received_bytes, received_packets, .., sent_bytes, sent_packets, _, _, _, _, _, _] = &numbers[..] else {
            return None;
        };
        Some((name.trim(), Traffic { sent_bytes, sent_packets, received_bytes, received_packets }))
    })
}

/// The arguments by which `nft` lists the counter of [`long_packet_rules`].
pub(crate) const LIST_LONG_PACKETS: [&str; 5] = ["list", "counter", "bridge", "sizes", "long"];

/// Rules that count the packets of more than `bytes` bytes where they enter a switch, from 0 on, before any fault.
pub(crate) fn long_packet_rules(bytes: u16) -> String {
    format!(
        "table bridge sizes\ndelete table bridge sizes\ntable bridge sizes {{\ncounter long {{ }}\nchain sent {{\n\
         type filter hook prerouting priority -300; policy accept;\nmeta length > {bytes} counter name long\n}}\n}}\n"
    )
}

/// The count in a listing of that counter.
pub(crate) fn long_packets(listing: &str) -> Option<u64> {
    listing.split_once("packets ")?.1.split_whitespace().next()?.parse().ok()
}

/// User and system time in the text of /proc/PID/stat; the name of the program in it may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_interface_table_is_read() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             v1:    1000      10    0    0    0     0          0         0      500       5    0    0    0     0       0          0\n";
        let found: Vec<_> = interfaces(table).collect();
        let expected = Traffic { sent_bytes: 500, sent_packets: 5, received_bytes: 1000, received_packets: 10 };
        assert_eq!(found, [("v1", expected)]);
    }

    #[test]
    fn the_listing_of_a_counter_is_read() {
        let listing = "table bridge sizes {\n\tcounter long {\n\t\tpackets 17 bytes 20400\n\t}\n}\n";
        assert_eq!(long_packets(listing), Some(17));
        assert_eq!(long_packets("table bridge sizes {\n}\n"), None);
    }

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 100 1000 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 nothing"), None);
    }

    #[test]
    fn a_process_knows_its_own_usage() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 500, "{usage:?}");
        assert!(usage.anonymous_kib > 0, "{usage:?}");
    }

    #[test]
    fn what_counters_lost_by_a_restart_is_not_negative() {
        let low = Traffic { sent_bytes: 5, ..Traffic::default() };
        let high = Traffic { sent_bytes: 9, sent_packets: 1, ..Traffic::default() };
        assert_eq!((low - high).sent_bytes, 0);
        assert_eq!((high - low).sent_bytes, 4);
    }
}

//! Decides what a switch does to frames: the wanted faults of a segment, and the nftables rules they become.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::topology::{Host, port};

/// Which frames between two hosts vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ways.
    Between(Host, Host),
    /// Only those of `from` to `to`.
    OneWay {
        /// Who is not heard.
        from: Host,
        /// Who does not hear.
        to: Host,
    },
}

/// What random loss takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All but address resolution (ARP, neighbour discovery), which no application controls.
    Payload,
    /// Everything.
    Everything,
}

/// The faults of one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) one_way: BTreeSet<(Host, Host)>,
    pub(crate) silent: BTreeSet<Host>,
    /// Nothing passes at all.
    pub(crate) dead: bool,
    pub(crate) no_tcp: bool,
    /// In frames of 10,000, and whether address resolution suffers too.
    pub(crate) loss: Option<(u16, Loss)>,
}

impl Faults {
    pub(crate) fn cut(&mut self, cut: Cut) {
        match cut {
            Cut::Between(one, other) => self.one_way.extend([(one, other), (other, one)]),
            Cut::OneWay { from, to } => {
                self.one_way.insert((from, to));
            }
        }
    }

    /// Undoes cuts and silence, of hosts and of the whole segment.
    pub(crate) fn heal(&mut self) {
        self.one_way.clear();
        self.silent.clear();
        self.dead = false;
    }

    /// One transaction that replaces whatever was there, so there is no moment without faults between two changes.
    pub(crate) fn rules(&self) -> String {
        let mut lines = vec![
            "table bridge lab".to_owned(),
            "delete table bridge lab".to_owned(),
            "table bridge lab {".to_owned(),
            "chain faults {".to_owned(),
            "type filter hook forward priority 0; policy accept;".to_owned(),
        ];
        if self.dead {
            lines.push("drop".to_owned());
        }
        for host in &self.silent {
            lines.push(format!("iifname \"{0}\" drop", port(*host)));
            lines.push(format!("oifname \"{0}\" drop", port(*host)));
        }
        for (from, to) in &self.one_way {
            lines.push(format!("iifname \"{}\" oifname \"{}\" drop", port(*from), port(*to)));
        }
        if self.no_tcp {
            lines.push("meta l4proto tcp drop".to_owned());
        }
        if let Some((per_10_000, what)) = self.loss {
            if what == Loss::Payload {
                lines.push("ether type arp accept".to_owned());
                lines.push("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned());
            }
            let dice = if per_10_000 >= 10_000 { String::new() } else { dice(per_10_000) };
            lines.push(format!("{dice}drop"));
        }
        lines.push("}\n}\n".to_owned());
        lines.join("\n")
    }
}

fn dice(per_10_000: u16) -> String {
    let mut text = String::new();
    write!(text, "numgen random mod 10000 < {per_10_000} ").expect("a String takes all that is written");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fault_is_an_empty_chain() {
        let rules = Faults::default().rules();
        assert!(!rules.contains("drop"), "{rules}");
    }

    #[test]
    fn each_fault_becomes_its_rules_and_heal_takes_back_cuts_only() {
        let mut faults = Faults { no_tcp: true, loss: Some((2_000, Loss::Payload)), ..Faults::default() };
        faults.cut(Cut::OneWay { from: Host(1), to: Host(2) });
        faults.cut(Cut::Between(Host(3), Host(4)));
        faults.silent.insert(Host(5));
        let wanted = [
            "iifname \"v1\" oifname \"v2\" drop",
            "iifname \"v3\" oifname \"v4\" drop",
            "iifname \"v4\" oifname \"v3\" drop",
            "iifname \"v5\" drop",
            "oifname \"v5\" drop",
        ];
        for line in wanted {
            assert!(faults.rules().contains(line), "{line} is missing in {}", faults.rules());
        }
        assert!(!faults.rules().contains("iifname \"v2\""), "the other way stays open");
        faults.heal();
        let rules = faults.rules();
        assert!(!rules.contains("iifname"), "{rules}");
        assert!(rules.contains("meta l4proto tcp drop"), "{rules}");
        assert!(rules.contains("ether type arp accept"), "{rules}");
        assert!(rules.contains("numgen random mod 10000 < 2000 drop"), "{rules}");
    }

    #[test]
    fn a_cut_segment_passes_nothing_until_it_is_healed() {
        let mut faults = Faults { dead: true, ..Faults::default() };
        assert!(faults.rules().contains("\ndrop\n"), "{}", faults.rules());
        faults.heal();
        assert!(!faults.rules().contains("drop"), "{}", faults.rules());
    }

    #[test]
    fn total_loss_needs_no_dice() {
        let faults = Faults { loss: Some((10_000, Loss::Everything)), ..Faults::default() };
        assert!(faults.rules().contains("\ndrop\n"), "{}", faults.rules());
        assert!(!faults.rules().contains("arp"), "{}", faults.rules());
    }
}

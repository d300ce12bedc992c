//! What a firewall's rules say against the mesh, read from the text of `nft list ruleset` or `iptables-save`.
//!
//! What a node needs is led through the rules in their order: a call to the group on the discovery port, a datagram and a connection to
//! the own port, each the first of its kind from a neighbour. A condition that the text does not decide (a set, a mark, a limit, a chain
//! that is not there) leaves in doubt what it leads to, unless the rule names the mesh's ports: then the mesh was meant. So it may
//! suspect where all is well, and says "warn" and the rule, never more.

use std::collections::{BTreeMap, BTreeSet};

mod iptables;
mod nft;
mod probe;
mod rule;

#[cfg(test)]
mod tests;

use probe::Probe;
use rule::{Deed, Fits, Rule};

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Nothing: no tool, or no right to look.
    Unreadable(String),
    /// The rules of each tool that could be asked; at least one's.
    Read(Vec<Shown>),
}

/// The rules as a tool prints them. The kernel asks those of all tools, and one tool may print what another does, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `nft`, `iptables-save` or `iptables-legacy-save`.
    pub tool: &'static str,
    /// What it printed.
    pub text: String,
}

/// The ports of a node that must be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// `mesh.udp_port`, where all nodes call each other.
    pub discovery: u16,
    /// The node's own port, UDP and TCP.
    pub own: u16,
}

/// What the rules make of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The rules and policies that keep the mesh out; at most five.
    pub suspects: Vec<String>,
    /// What cannot be decided, and by which rule; at most five.
    pub doubts: Vec<String>,
}

/// The most that is said.
const MAX_SAID: usize = 5;
/// Chains that call each other deeper than any firewall's do are not followed.
const MAX_DEPTH: usize = 16;
/// Rules that are looked at for one probe. The chains of a firewall are called from several places, and a circle ends here too.
const MAX_STEPS: usize = 20_000;

/// The range in which nodes take ports of their own.
#[must_use]
pub fn own_ports(discovery: u16) -> (u16, u16) {
    (discovery.saturating_add(1), discovery.saturating_add(crate::settings::PORTS_TRIED))
}

/// What the rules make of a node with these ports.
#[must_use]
pub fn judge(text: &str, ports: Ports) -> Verdict {
    let mut shut: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut verdict = Verdict::default();
    let mut doubted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in tables(text) {
        for (name, chain) in table.chains.iter().filter(|(_, chain)| chain.hook.is_some()) {
            for probe in Probe::all(ports).into_iter().filter(|probe| table.families.contains(&probe.v6)) {
                // That IPv6 or what leaves is not let through in general keeps nobody apart; a rule that names the mesh is meant for it.
                let counts = !probe.v6 && chain.hook == Some(Hook::Input);
                match Walk::through(&table, chain, name, &probe) {
                    End::Dropped { by: Some(rule), names: true } => verdict.suspects.push(format!("`{rule}`")),
                    End::Dropped { by, names: _ } if counts => {
                        let how = by.map_or("drops".to_owned(), |rule| format!("drops by `{rule}`"));
                        shut.entry((name.clone(), how)).or_default().push(probe.name());
                    }
                    End::Unclear(rule) if counts => doubted.entry(rule).or_default().push(probe.name()),
                    End::Dropped { .. } | End::Accepted { .. } | End::Through | End::Unclear(_) => {}
                }
            }
        }
    }
    let closed = |((chain, how), doors): ((String, String), Vec<String>)| {
        format!("chain {chain} {how} what no rule lets in, and none lets in {}", doors.join(", "))
    };
    verdict.suspects.extend(shut.into_iter().map(closed));
    verdict.doubts.extend(doubted.into_iter().map(|(rule, doors)| format!("{} by `{rule}`", doors.join(", "))));
    for said in [&mut verdict.suspects, &mut verdict.doubts] {
        let mut seen = BTreeSet::new();
        said.retain(|words| seen.insert(words.clone()));
        said.truncate(MAX_SAID);
    }
    verdict
}

/// The tables of either tool's text.
fn tables(text: &str) -> Vec<Table> {
    if text.lines().any(|line| line.starts_with("table ")) { nft::tables(text) } else { iptables::tables(text) }
}

/// Chains that can call each other.
struct Table {
    /// The families it sees: whether IPv6.
    families: &'static [bool],
    chains: BTreeMap<String, Chain>,
    /// How a line of it reads for a probe.
    read: fn(&str, &Probe) -> Rule,
}

/// Rules in their order.
#[derive(Default)]
struct Chain {
    /// Where the kernel calls it; others call each other.
    hook: Option<Hook>,
    /// Whether its policy drops what comes to its end.
    drops: bool,
    lines: Vec<String>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// For what arrives for this machine.
    Input,
    /// Earlier, or for what leaves: what is dropped there by name is as lost.
    Other,
}

/// What becomes of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Accepted {
        names: bool,
    },
    /// By a rule, or else by the chain's policy.
    Dropped {
        by: Option<String>,
        names: bool,
    },
    /// No rule of the chain decided.
    Through,
    /// That rule decides, and cannot be read.
    Unclear(String),
}

/// A probe's way through the rules.
struct Walk<'a> {
    table: &'a Table,
    probe: &'a Probe,
    /// The first rule that may let it in.
    opens: Option<String>,
    /// The first rule that may keep it out.
    shuts: Option<String>,
    steps: usize,
}

impl<'a> Walk<'a> {
    /// Through a chain that the kernel calls.
    fn through(table: &'a Table, chain: &'a Chain, name: &str, probe: &'a Probe) -> End {
        let mut walk = Self { table, probe, opens: None, shuts: None, steps: 0 };
        let end = match walk.chain(name, 0) {
            End::Through if chain.drops => End::Dropped { by: None, names: false },
            End::Through => End::Accepted { names: false },
            end @ (End::Accepted { .. } | End::Dropped { .. } | End::Unclear(_)) => end,
        };
        match (&end, walk.opens, walk.shuts) {
            (End::Dropped { names: false, .. }, Some(rule), _) | (End::Accepted { .. }, _, Some(rule)) => {
                End::Unclear(rule)
            }
            (End::Dropped { .. } | End::Accepted { .. } | End::Through | End::Unclear(_), ..) => end,
        }
    }

    fn chain(&mut self, name: &str, depth: usize) -> End {
        let table = self.table;
        let Some(chain) = table.chains.get(name).filter(|_| depth < MAX_DEPTH) else {
            return End::Unclear(format!("jump {name}"));
        };
        // A return that may have happened leaves in doubt what follows.
        let mut left: Option<&str> = None;
        for line in &chain.lines {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return End::Unclear(line.clone());
            }
            let rule = (table.read)(line, self.probe);
            let sure = match rule.fits {
                Fits::No => continue,
                Fits::Perhaps => false,
                Fits::Yes => left.is_none(),
            };
            let end = match rule.deed {
                Deed::Nothing => continue,
                Deed::Return if sure => return End::Through,
                Deed::Return => {
                    left = left.or(Some(line));
                    continue;
                }
                Deed::Accept => End::Accepted { names: rule.names },
                Deed::Drop => End::Dropped { by: Some(line.clone()), names: rule.names },
                Deed::Unclear => End::Unclear(line.clone()),
                Deed::Jump(chain) => self.chain(&chain, depth + 1),
                Deed::Goto(chain) => {
                    let end = self.chain(&chain, depth + 1);
                    if sure && end == End::Through {
                        return end;
                    }
                    end
                }
            };
            if let Some(end) = self.decided(end, sure, left.unwrap_or(line)) {
                return end;
            }
        }
        End::Through
    }

    /// Notes what a rule may do; returns what is decided by it.
    fn decided(&mut self, end: End, sure: bool, line: &str) -> Option<End> {
        match end {
            End::Through => return None,
            End::Accepted { names } | End::Dropped { names, .. } if sure || names => return Some(end),
            End::Accepted { .. } => self.opens.get_or_insert_with(|| line.to_owned()),
            End::Dropped { .. } => self.shuts.get_or_insert_with(|| line.to_owned()),
            End::Unclear(rule) => {
                self.shuts.get_or_insert_with(|| rule.clone());
                self.opens.get_or_insert(rule)
            }
        };
        None
    }
}

//! Rules as `iptables-save` prints them: `:INPUT DROP [0:0]`, `-A INPUT … -j DROP`.

use super::probe::{Probe, is_by};
use super::rule::{Deed, Fits, Rule};
use super::{Chain, Hook, Table};

/// Targets after which the next rule is asked.
const GOES_ON: [&str; 16] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "AUDIT",
    "TRACE",
    "MARK",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TCPMSS",
    "CHECKSUM",
    "SET",
    "CT",
];

/// Matches that ask for nothing where no option follows.
const ASK_NOTHING: [&str; 2] = ["tcp", "udp"];

pub(super) fn tables(text: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut filters = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            filters = name == "filter";
            tables.push(Table { families: &[false], chains: [].into(), read });
        }
        let Some(Table { chains, .. }) = tables.last_mut() else { continue };
        if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.split_whitespace();
            let name = words.next().unwrap_or_default();
            let policy = words.next().unwrap_or_default();
            let hook = match name {
                "INPUT" if filters => Some(Hook::Input),
                "INPUT" | "OUTPUT" | "PREROUTING" => Some(Hook::Other),
                _ => None,
            };
            chains.insert(name.to_owned(), Chain { hook, drops: policy == "DROP", lines: Vec::new() });
        } else if let Some((name, _)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            chains.entry(name.to_owned()).or_default().lines.push(line.to_owned());
        }
    }
    tables
}

/// What a rule says to a probe.
fn read(line: &str, probe: &Probe) -> Rule {
    let mut rule = Rule::new();
    let words = super::nft::words(line);
    let mut words = words.iter().map(String::as_str).skip(2).peekable();
    let mut not = false;
    while let Some(word) = words.next() {
        if word == "!" {
            not = true;
            continue;
        }
        let negated = std::mem::take(&mut not);
        let mut next = || words.next().unwrap_or_default();
        match word {
            "-j" => {
                rule.deed = target(next());
                break;
            }
            "-g" => {
                rule.deed = Deed::Goto(next().to_owned());
                break;
            }
            "-p" => {
                let protocol = next();
                rule.and(Fits::sure(protocol == "all" || probe.is_of(protocol)).unless(negated));
            }
            "-s" => rule.and(probe.is_from(next().split(',')).unless(negated)),
            "-d" => {
                let (fits, names) = probe.is_to(next().split(','));
                rule.and(fits.unless(negated));
                rule.names |= names && !negated;
            }
            "-i" | "-o" => rule.and(is_by([next()]).unless(negated)),
            "--dport" | "--dports" => rule.and_port(probe.lies(next().split(',')), negated),
            "--sport" | "--sports" => rule.and(probe.comes_from(next().split(',')).unless(negated)),
            "--ctstate" | "--state" => {
                rule.and(Fits::sure(next().split(',').any(|state| state == "NEW")).unless(negated));
            }
            // A neighbour's packet is not one that this machine's own rules redirected.
            "--ctstatus" => rule.and(Fits::No.unless(negated)),
            "--dst-type" | "--pkt-type" => rule.and(probe.is_kind(next().split(',')).unless(negated)),
            "--syn" => rule.and(Fits::sure(probe.tcp).unless(negated)),
            "--tcp-flags" => {
                let (mask, set) = (next(), next());
                let shown = if mask.split(',').any(|flag| flag == "SYN" || flag == "ALL") { "SYN" } else { "NONE" };
                rule.and(Fits::sure(set == shown).unless(negated));
            }
            // What is too much, or comes by a way that leads elsewhere, is not the first packet of a neighbour.
            "--hashlimit-above" | "--connlimit-above" => {
                next();
                rule.and(Fits::No.unless(negated));
            }
            "--icmp-type" | "--icmpv6-type" | "--invert" => rule.and(Fits::No),
            // What a neighbour sends first fits one packet: it is in no fragments.
            "-f" => rule.and(Fits::No.unless(negated)),
            "-m" => {
                let name = next();
                // One that asks for something says what; one that asks for nothing is a condition of its own.
                let asks = words.peek().is_some_and(|next| *next == "!" || next.starts_with("--"));
                if !asks && !ASK_NOTHING.contains(&name) {
                    rule.and(Fits::Perhaps);
                }
            }
            "--comment" | "--limit-burst" => drop(next()),
            _ if word.starts_with('-') => rule.and(Fits::Perhaps),
            // What belongs to an option that is not known.
            _ => {}
        }
    }
    rule.read()
}

fn target(name: &str) -> Deed {
    match name {
        "ACCEPT" => Deed::Accept,
        "DROP" | "REJECT" => Deed::Drop,
        "RETURN" => Deed::Return,
        "NFQUEUE" | "QUEUE" => Deed::Unclear,
        _ if GOES_ON.contains(&name) => Deed::Nothing,
        _ => Deed::Jump(name.to_owned()),
    }
}

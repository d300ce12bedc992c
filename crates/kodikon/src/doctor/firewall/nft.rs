//! Rules as `nft list ruleset` prints them: chains in braces, the policy behind the hook, a rule on each line.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::probe::{Probe, is_by};
use super::rule::{Deed, Fits, Rule};
use super::{Chain, Hook, Table};

pub(super) fn tables(text: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("table ") {
            let families: &[bool] = match rest.split(' ').next() {
                Some("ip") => &[false],
                Some("ip6") => &[true],
                Some("inet") => &[false, true],
                // What a bridge or a network card filters is not meant for this machine's own ports.
                _ => &[],
            };
            tables.push(Table { families, chains: [].into(), read });
            open = None;
        } else if let Some(rest) = line.strip_prefix("chain ") {
            let name = rest.trim_end_matches(['{', ' ']).to_owned();
            // A chain without rules is one that can be called.
            tables.last_mut().map(|Table { chains, .. }| chains.entry(name.clone()).or_default());
            open = Some(name);
        } else if line == "}" {
            open = None;
        } else if let (Some(name), Some(Table { chains, .. })) = (&open, tables.last_mut()) {
            let chain: &mut Chain = chains.entry(name.clone()).or_default();
            if let Some(rest) = line.strip_prefix("type ") {
                chain.hook = rest.starts_with("filter ").then_some(match rest.contains("hook input ") {
                    true => Hook::Input,
                    false => Hook::Other,
                });
                chain.drops = rest.contains("policy drop");
            } else if !line.is_empty() {
                chain.lines.push(line.to_owned());
            }
        }
    }
    tables
}

/// The words of a line; what is in quotes is one.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What a rule says to a probe.
fn read(line: &str, probe: &Probe) -> Rule {
    let mut reader = Reader { words: words(line).into_iter().peekable(), probe, rule: Rule::new() };
    while let Some(word) = reader.words.next() {
        if reader.deed(&word) {
            break;
        }
        reader.condition(&word);
    }
    reader.rule.read()
}

/// What a condition compares with.
#[derive(Default)]
struct Operand {
    negated: bool,
    items: Vec<String>,
    /// What to do in each case, where it is a map.
    deeds: Vec<(String, Deed)>,
    /// A named set or map, or several fields at once: what is in it is not looked up.
    hidden: bool,
    /// Whether it is a map.
    map: bool,
}

impl Operand {
    fn items(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(String::as_str)
    }
}

struct Reader<'a> {
    words: Peekable<IntoIter<String>>,
    probe: &'a Probe,
    rule: Rule,
}

impl Reader<'_> {
    /// Reads what the rule does; tells whether that ends it.
    fn deed(&mut self, word: &str) -> bool {
        self.rule.deed = match word {
            "accept" => Deed::Accept,
            "drop" | "reject" => Deed::Drop,
            "return" => Deed::Return,
            "jump" => Deed::Jump(self.next()),
            "goto" => Deed::Goto(self.next()),
            "queue" => Deed::Unclear,
            // How `nft` shows what `iptables-nft` keeps of the older tool.
            "xt" if self.words.next_if_eq("target").is_some() => match self.next().as_str() {
                "REJECT" | "DROP" => Deed::Drop,
                "NFQUEUE" => Deed::Unclear,
                _ => Deed::Nothing,
            },
            _ => return false,
        };
        true
    }

    fn condition(&mut self, word: &str) {
        match word {
            "udp" | "tcp" => {
                self.rule.and(Fits::sure(self.probe.is_of(word)));
                self.port();
            }
            "th" => self.port(),
            "ip" | "ip6" => {
                self.rule.and(Fits::sure(self.probe.v6 == (word == "ip6")));
                self.address();
            }
            "meta" => {
                let field = self.next();
                // `meta mark set 1` is no condition.
                if self.words.next_if_eq("set").is_some() {
                    self.next();
                } else {
                    self.meta(&field);
                }
            }
            "iif" | "iifname" | "oif" | "oifname" | "pkttype" => self.meta(word),
            "ct" => self.connection(),
            "fib" => self.route(),
            "icmp" | "icmpv6" | "igmp" | "esp" | "ah" | "sctp" | "dccp" | "udplite" => {
                self.next();
                self.operand();
                self.rule.and(Fits::No);
            }
            // What is more than a neighbour's first packet is over the limit.
            "limit" => {
                self.words.next_if_eq("rate");
                self.rule.and(if self.words.next_if_eq("over").is_some() { Fits::No } else { Fits::Perhaps });
            }
            "counter" => {
                let skipped = match self.words.peek().map(String::as_str) {
                    Some("packets") => 4,
                    Some("name") => 2,
                    _ => 0,
                };
                self.skip(skipped);
            }
            "log" => {
                while self
                    .words
                    .next_if(|word| ["prefix", "level", "group", "snaplen", "flags"].contains(&word.as_str()))
                    .is_some()
                {
                    self.skip(1);
                }
            }
            "comment" => self.skip(1),
            "notrack" => {}
            _ => self.rule.and(Fits::Perhaps),
        }
    }

    /// `udp dport …` without its first word.
    fn port(&mut self) {
        let field = self.next();
        if field == "flags" {
            return self.flags();
        }
        let operand = self.operand();
        match field.as_str() {
            "dport" if operand.map => self.choose(&operand, |probe, key| probe.lies([key]) == super::probe::Lies::On),
            "dport" if operand.hidden => self.rule.and(Fits::Perhaps),
            "dport" => self.rule.and_port(self.probe.lies(operand.items()), operand.negated),
            "sport" if !operand.hidden => {
                self.rule.and(self.probe.comes_from(operand.items()).unless(operand.negated));
            }
            _ => self.rule.and(Fits::Perhaps),
        }
    }

    /// The first packet of a connection has the flag `syn` and no other.
    fn flags(&mut self) {
        let is_flags = |word: &String| {
            word.split(',').all(|word| {
                let word = word.trim_matches(['(', ')']);
                ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr", "", "0x0", "none"].contains(&word)
                    || ["&", "|", "/", "==", "!=", "!", "{", "}"].contains(&word)
            })
        };
        let mut text = Vec::new();
        while let Some(word) = self.words.next_if(is_flags) {
            text.push(word);
        }
        let text = text.join(" ");
        let negated = text.starts_with('!') || text.contains("!=");
        let asked = match (text.split_once(" / "), text.rsplit_once(['='])) {
            (Some((asked, _)), _) | (None, Some((_, asked))) => asked,
            (None, None) => &text,
        };
        let asked = asked.trim_matches(['!', '=', ' ']);
        let any = !text.contains(['/', '&']) && asked.split([',', ' ', '|']).any(|flag| flag == "syn");
        self.rule.and(Fits::sure((asked == "syn" || any) != negated));
    }

    /// `ip saddr …` without its first word.
    fn address(&mut self) {
        let field = self.next();
        let operand = self.operand();
        let fits = match field.as_str() {
            _ if operand.hidden || operand.map => {
                self.obscure(&operand);
                Fits::Perhaps
            }
            "saddr" => self.probe.is_from(operand.items()),
            "daddr" => {
                let (fits, names) = self.probe.is_to(operand.items());
                self.rule.names |= names && !operand.negated;
                fits
            }
            "protocol" | "nexthdr" => Fits::sure(operand.items().any(|item| self.probe.is_of(item))),
            _ => Fits::Perhaps,
        };
        self.rule.and(fits.unless(operand.negated));
    }

    /// `meta l4proto …` without its first word.
    fn meta(&mut self, field: &str) {
        let operand = self.operand();
        let fits = match field {
            _ if operand.hidden || operand.map => {
                self.obscure(&operand);
                Fits::Perhaps
            }
            "l4proto" => Fits::sure(operand.items().any(|item| self.probe.is_of(item))),
            "nfproto" | "protocol" => {
                let own = if self.probe.v6 { ["ipv6", "ip6"] } else { ["ipv4", "ip"] };
                Fits::sure(operand.items().any(|item| own.contains(&item)))
            }
            "iif" | "iifname" | "oif" | "oifname" => is_by(operand.items()),
            "pkttype" => self.probe.is_kind(operand.items()),
            _ => Fits::Perhaps,
        };
        self.rule.and(fits.unless(operand.negated));
    }

    /// `ct state …` without its first word.
    fn connection(&mut self) {
        let field = self.next();
        if self.words.next_if_eq("set").is_some() {
            self.next();
            return;
        }
        let operand = self.operand();
        match field.as_str() {
            "state" if operand.map => self.choose(&operand, |_, key| key == "new"),
            "state" if !operand.hidden => {
                self.rule.and(Fits::sure(operand.items().any(|item| item == "new")).unless(operand.negated));
            }
            // A neighbour's packet is not one that this machine's own rules redirected.
            "status" if !operand.hidden && !operand.map => self.rule.and(Fits::No.unless(operand.negated)),
            _ => {
                self.obscure(&operand);
                self.rule.and(Fits::Perhaps);
            }
        }
    }

    /// `fib daddr type …` without its first word: the kind of an address, or whether a sender is where it seems to be.
    fn route(&mut self) {
        let mut asked = self.next();
        let of_receiver = asked == "daddr";
        while self.words.next_if_eq(".").is_some() {
            self.next();
        }
        asked = self.next();
        let operand = self.operand();
        let fits = match asked.as_str() {
            _ if operand.hidden || operand.map => {
                self.obscure(&operand);
                Fits::Perhaps
            }
            "type" if of_receiver => self.probe.is_kind(operand.items()),
            "oif" | "oifname" if operand.items().all(|item| item == "missing" || item == "0") => Fits::No,
            "oif" | "oifname" if operand.items().all(|item| item == "exists") => Fits::Yes,
            _ => Fits::Perhaps,
        };
        self.rule.and(fits.unless(operand.negated));
    }

    /// Takes the deed of a map whose key fits; without one the next rule is asked.
    fn choose(&mut self, operand: &Operand, fits: impl Fn(&Probe, &str) -> bool) {
        if operand.hidden {
            return self.obscure(operand);
        }
        match operand.deeds.iter().find(|(key, _)| fits(self.probe, key)) {
            Some((_, deed)) => self.rule.deed = deed.clone(),
            None => self.rule.and(Fits::No),
        }
    }

    /// A map by what is not known may do anything.
    fn obscure(&mut self, operand: &Operand) {
        if operand.map {
            self.rule.deed = Deed::Unclear;
        }
    }

    /// What a condition compares with: a value, values in braces, or the name of a set; a map after `vmap`.
    fn operand(&mut self) -> Operand {
        let mut operand = Operand::default();
        // Several fields at once: `ip saddr . tcp dport @pairs`.
        while self.words.next_if_eq(".").is_some() {
            let field = self.next();
            self.skip(usize::from(!["iif", "iifname", "oif", "oifname", "pkttype", "mark"].contains(&field.as_str())));
            operand.hidden = true;
        }
        match self
            .words
            .next_if(|word| ["!=", "==", "eq", "ne", "<", ">", "<=", ">=", "vmap", "&"].contains(&word.as_str()))
        {
            Some(word) if word == "vmap" => operand.map = true,
            Some(word) if word == "!=" || word == "ne" => operand.negated = true,
            Some(word) if word == "==" || word == "eq" => {}
            Some(_) => operand.hidden = true,
            None => {}
        }
        let Some(first) = self.words.next() else { return operand };
        operand.hidden |= first.starts_with(['@', '$']);
        if first != "{" {
            operand.items.extend(first.split(',').map(str::to_owned));
            return operand;
        }
        let inner: Vec<String> = self.words.by_ref().take_while(|word| word != "}").collect();
        for item in inner.join(" ").split(',').map(str::trim) {
            operand.hidden |= item.contains(" . ") || item.starts_with('@');
            match item.split_once(" : ") {
                Some((key, deed)) => operand.deeds.push((key.to_owned(), deed_of(deed))),
                None => operand.items.push(item.to_owned()),
            }
        }
        operand
    }

    fn next(&mut self) -> String {
        self.words.next().unwrap_or_default()
    }

    fn skip(&mut self, words: usize) {
        for _ in 0..words {
            self.words.next();
        }
    }
}

/// What a map does in one case.
fn deed_of(text: &str) -> Deed {
    match text.split_once(' ') {
        None if text == "accept" => Deed::Accept,
        None if text == "drop" => Deed::Drop,
        None if text == "return" => Deed::Return,
        None if text == "continue" => Deed::Nothing,
        Some(("jump", chain)) => Deed::Jump(chain.to_owned()),
        Some(("goto", chain)) => Deed::Goto(chain.to_owned()),
        None | Some(_) => Deed::Unclear,
    }
}

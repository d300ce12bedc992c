//! What a firewall's rules say against the mesh, read from the text of `nft list ruleset` or `iptables-save`.
//!
//! No interpreter of rules: it looks for a policy that drops what arrives without a rule that lets the mesh in, and for rules that
//! drop the mesh's own ports. So it may suspect where all is well, and says "warn" and the rule, never more.

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Nothing: no tool, or no right to look.
    Unreadable(String),
    /// The rules as a tool prints them.
    Read {
        /// `nft` or `iptables-save`.
        tool: &'static str,
        /// What it printed.
        text: String,
    },
}

/// The most that is said.
const MAX_SUSPECTS: usize = 5;

/// The range in which nodes take ports of their own.
#[must_use]
pub fn own_ports(discovery: u16) -> (u16, u16) {
    (discovery.saturating_add(1), discovery.saturating_add(crate::settings::PORTS_TRIED))
}

/// The rules and policies that may keep the mesh out; at most five.
#[must_use]
pub fn suspects(text: &str, discovery: u16) -> Vec<String> {
    let mut found = if text.contains("hook input") || text.trim_start().starts_with("table ") {
        nft(text, discovery)
    } else {
        iptables(text, discovery)
    };
    found.truncate(MAX_SUSPECTS);
    found
}

/// Rules as `nft list ruleset` prints them: chains in braces, the policy after the hook.
fn nft(text: &str, discovery: u16) -> Vec<String> {
    let mut found = Vec::new();
    let (mut chain, mut input, mut policy, mut admits) = (String::new(), false, false, false);
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("chain ") {
            (chain, input, policy, admits) = (rest.trim_end_matches(['{', ' ']).to_owned(), false, false, false);
        } else if line.contains("hook input") {
            (input, policy) = (true, line.contains("policy drop"));
        } else if line == "}" {
            if input && policy && !admits {
                found.push(format!("chain {chain} drops what arrives and has no rule that lets UDP {discovery} in"));
            }
            input = false;
        } else if concerns(line, discovery) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.contains(&"accept") {
                admits = true;
            } else if words.contains(&"drop") || words.contains(&"reject") {
                found.push(format!("`{line}`"));
            }
        }
    }
    found
}

/// Rules as `iptables-save` prints them: `:INPUT DROP [0:0]`, `-A INPUT … -j DROP`.
fn iptables(text: &str, discovery: u16) -> Vec<String> {
    let mut found = Vec::new();
    let drops = text.lines().any(|line| line.starts_with(":INPUT DROP"));
    let mut admits = false;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("-A ") && concerns(line, discovery)) {
        if line.ends_with("-j ACCEPT") {
            admits = true;
        } else if line.contains("-j DROP") || line.contains("-j REJECT") {
            found.push(format!("`{line}`"));
        }
    }
    if drops && !admits {
        found.push(format!("INPUT drops what arrives and has no rule that lets UDP {discovery} in"));
    }
    found
}

/// Whether a rule names a port or group of the mesh.
fn concerns(rule: &str, discovery: u16) -> bool {
    let (low, high) = own_ports(discovery);
    let ours = |port: u16| port == discovery || (low..=high).contains(&port);
    let numbers = |token: &str| -> bool {
        let ends: Vec<u16> = token.split(['-', ':']).filter_map(|part| part.parse().ok()).collect();
        match ends.as_slice() {
            [one] => ours(*one),
            [from, to] => *from <= high && *to >= discovery,
            _ => false,
        }
    };
    let is_port_rule = rule.contains("dport");
    (is_port_rule && rule.split([' ', ',', '{', '}']).any(numbers))
        || rule.contains("239.255.107.100")
        || rule.contains("ff02::6b64")
}

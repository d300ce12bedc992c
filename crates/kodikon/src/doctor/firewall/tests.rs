//! Rules as they are met, and what they make of the mesh.

use super::*;

const PORTS: Ports = Ports { discovery: 9_999, own: 10_000 };

/// The rules, what is said against them, and what is not decided.
type Case<'a> = (String, &'a [&'a str], &'a [&'a str]);

fn check(cases: &[Case<'_>]) {
    for (text, suspects, doubts) in cases {
        let verdict = judge(text, PORTS);
        assert_eq!((verdict.suspects, verdict.doubts), (owned(suspects), owned(doubts)), "{text}");
    }
}

fn owned(said: &[&str]) -> Vec<String> {
    said.iter().map(|words| (*words).to_owned()).collect()
}

/// One input chain with these rules.
fn nft(policy: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("\t\t{rule}\n")).collect();
    format!(
        "table inet filter {{\n\tset friends {{\n\t\ttype ipv4_addr\n\t\telements = {{ 10.0.0.1,\n\t\t\t     10.0.0.2 }}\n\t}}\n\n\t\
         chain input {{\n\t\ttype filter hook input priority filter; policy {policy};\n{rules}\t}}\n\n\t\
         chain mesh {{\n\t\tudp dport {{ 9999, 10000-10063 }} counter packets 3 bytes 99 accept\n\t\t\
         tcp dport 10000-10063 accept\n\t}}\n\n\tchain no {{\n\t\treject with icmpx admin-prohibited\n\t}}\n}}\n"
    )
}

fn iptables(policy: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
    format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n:FORWARD DROP [0:0]\n\
         :OUTPUT ACCEPT [0:0]\n:mesh - [0:0]\n-A mesh -p udp -m udp --dport 9999 -j ACCEPT\n\
         -A mesh -p udp -m multiport --dports 53,10000:10063 -j ACCEPT\n-A mesh -p tcp -m tcp --dport 10000:10063 -j ACCEPT\n\
         {rules}COMMIT\n"
    )
}

const ALL: &str = "none lets in UDP 9999, UDP 10000, TCP 10000";

#[test]
fn the_discovery_port_and_the_own_one_are_let_in_each_for_itself() {
    let (udp, tcp) = ("udp dport { 9999, 10000-10063 } accept", "tcp dport 10000-10063 accept");
    let policy = |doors: &str| format!("chain input drops what no rule lets in, and none lets in {doors}");
    check(&[
        (String::new(), &[], &[]),
        (nft("accept", &[]), &[], &[]),
        (nft("drop", &[udp, tcp]), &[], &[]),
        (nft("drop", &["udp dport 1024-65535 accept", "tcp dport != 22 accept"]), &[], &[]),
        (nft("drop", &["meta l4proto { tcp, udp } th dport 9999-10063 accept"]), &[], &[]),
        (nft("drop", &["tcp dport 22 accept"]), &[&policy("UDP 9999, UDP 10000, TCP 10000")], &[]),
        (nft("drop", &["udp dport 10000-10063 accept", tcp]), &[&policy("UDP 9999")], &[]),
        (nft("drop", &["udp dport 9999 accept", tcp]), &[&policy("UDP 10000")], &[]),
        (nft("drop", &[udp]), &[&policy("TCP 10000")], &[]),
        (nft("drop", &[udp, "tcp dport 10001-10063 accept"]), &[&policy("TCP 10000")], &[]),
        (nft("drop", &["ct state established,related accept", "iif \"lo\" accept", tcp, udp]), &[], &[]),
        (
            nft("drop", &["ct state { established, related } accept", "iifname \"lo\" accept", tcp]),
            &[&policy("UDP 9999, UDP 10000")],
            &[],
        ),
        // That IPv6 is shut in general keeps nobody apart who has IPv4.
        (
            nft(
                "drop",
                &[
                    "ip saddr 192.168.0.0/16 udp dport 9999-10063 accept",
                    "ip saddr 192.168.0.0/16 tcp dport 10000 accept",
                ],
            ),
            &[],
            &[],
        ),
        (nft("drop", &["meta nfproto ipv4 accept"]), &[], &[]),
        // Each of several tables must let it in.
        (
            nft("drop", &[udp, tcp]) + &nft("accept", &["jump no"]),
            &[&format!("chain input drops by `reject with icmpx admin-prohibited` what no rule lets in, and {ALL}")],
            &[],
        ),
    ]);
}

#[test]
fn a_last_rule_that_refuses_all_is_as_good_as_a_policy() {
    let by = |rule: &str, doors: &str| {
        format!("chain input drops by `{rule}` what no rule lets in, and none lets in {doors}")
    };
    let reject = "reject with icmpx admin-prohibited";
    let reply = "INPUT -j REJECT --reject-with icmp-host-prohibited";
    let doubt = |rule: &str| format!("UDP 9999, UDP 10000, TCP 10000 by `{rule}`");
    check(&[
        (nft("accept", &["tcp dport 22 accept", reject]), &[&by(reject, "UDP 9999, UDP 10000, TCP 10000")], &[]),
        (nft("accept", &["jump mesh", reject]), &[], &[]),
        (
            nft("accept", &["counter packets 1 bytes 2 drop"]),
            &[&by("counter packets 1 bytes 2 drop", "UDP 9999, UDP 10000, TCP 10000")],
            &[],
        ),
        (
            nft("accept", &["meta l4proto tcp reject with tcp reset"]),
            &[&by("meta l4proto tcp reject with tcp reset", "TCP 10000")],
            &[],
        ),
        (nft("accept", &["ct state invalid drop", "icmp type echo-request drop", "iifname \"lo\" drop"]), &[], &[]),
        (
            iptables(
                "ACCEPT",
                &[
                    "INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT",
                    "INPUT -p icmp -j ACCEPT",
                    "INPUT -i lo -j ACCEPT",
                    reply,
                ],
            ),
            &[&format!("chain INPUT drops by `-A {reply}` what no rule lets in, and {ALL}")],
            &[],
        ),
        (iptables("ACCEPT", &["INPUT -j mesh", reply]), &[], &[]),
        (iptables("ACCEPT", &["FORWARD -j DROP"]), &[], &[]),
        // Later fragments, which no first packet is, and matches whose names alone ask for something.
        (iptables("ACCEPT", &["INPUT -f -j DROP"]), &[], &[]),
        (
            iptables("ACCEPT", &["INPUT ! -f -j DROP"]),
            &[&format!("chain INPUT drops by `-A INPUT ! -f -j DROP` what no rule lets in, and {ALL}")],
            &[],
        ),
        (iptables("ACCEPT", &["INPUT -m socket -j DROP"]), &[], &[&doubt("-A INPUT -m socket -j DROP")]),
        (
            iptables("ACCEPT", &["INPUT -m socket -m comment --comment -x -j DROP"]),
            &[],
            &[&doubt("-A INPUT -m socket -m comment --comment -x -j DROP")],
        ),
        (iptables("DROP", &["INPUT -4 -j ACCEPT"]), &[], &[&doubt("-A INPUT -4 -j ACCEPT")]),
        (
            iptables("ACCEPT", &["INPUT -p tcp -m tcp -j DROP"]),
            &["chain INPUT drops by `-A INPUT -p tcp -m tcp -j DROP` what no rule lets in, and none lets in TCP 10000"],
            &[],
        ),
    ]);
}

#[test]
fn a_rule_against_the_meshs_ports_or_group_is_shown_whatever_else_it_asks_for() {
    let counted = "udp dport 9999 counter packets 3 bytes 99 drop";
    check(&[
        (nft("accept", &[counted]), &[&format!("`{counted}`")], &[]),
        (nft("accept", &["tcp dport 10005 reject"]), &["`tcp dport 10005 reject`"], &[]),
        (nft("accept", &["tcp dport 10064 reject", "udp dport 10005 log prefix \"drop 9999\" level info"]), &[], &[]),
        (nft("accept", &["ip daddr 239.255.107.100 drop"]), &["`ip daddr 239.255.107.100 drop`"], &[]),
        (nft("accept", &["ip6 daddr ff02::6b64 drop"]), &["`ip6 daddr ff02::6b64 drop`"], &[]),
        (nft("accept", &["ip saddr @friends udp dport 9999 drop"]), &["`ip saddr @friends udp dport 9999 drop`"], &[]),
        (nft("accept", &["udp dport 9999 drop", "udp dport 9999 drop"]), &["`udp dport 9999 drop`"], &[]),
        // The first rule that fits decides.
        (nft("accept", &["jump mesh", "udp dport 9999 drop"]), &[], &[]),
        (
            nft("accept", &[])
                .replace("hook input", "hook output")
                .replace("policy accept;\n", "policy accept;\n\t\tudp dport 9999 drop\n"),
            &["`udp dport 9999 drop`"],
            &[],
        ),
        (
            iptables(
                "ACCEPT",
                &["INPUT -p udp -m udp --dport 9999 -m comment --comment \"no \\\"mesh\\\" here\" -j DROP"],
            ),
            &["`-A INPUT -p udp -m udp --dport 9999 -m comment --comment \"no \\\"mesh\\\" here\" -j DROP`"],
            &[],
        ),
    ]);
    let many = (9_999..10_064).map(|port| format!("udp dport {port} drop")).collect::<Vec<_>>();
    let text: String = many.iter().map(|rule| nft("accept", &[rule])).collect();
    assert_eq!(judge(&text, PORTS).suspects.len(), MAX_SAID);
}

#[test]
fn what_the_text_does_not_tell_is_in_doubt_unless_the_rule_names_the_mesh() {
    let doubt = |rule: &str| format!("UDP 9999, UDP 10000, TCP 10000 by `{rule}`");
    let own = "udp dport { 9999, 10000-10063 } accept";
    check(&[
        (nft("drop", &["jump elsewhere"]), &[], &[&doubt("jump elsewhere")]),
        (nft("accept", &["goto elsewhere"]), &[], &[&doubt("jump elsewhere")]),
        (nft("drop", &["ip saddr @friends accept"]), &[], &[&doubt("ip saddr @friends accept")]),
        (nft("accept", &["ip saddr != @friends drop"]), &[], &[&doubt("ip saddr != @friends drop")]),
        (
            nft("drop", &["iifname vmap { \"lo\" : accept, \"eth0\" : jump mesh }"]),
            &[],
            &[&doubt("iifname vmap { \"lo\" : accept, \"eth0\" : jump mesh }")],
        ),
        (
            nft("drop", &["udp dport @open accept", "tcp dport 10000 accept"]),
            &[],
            &["UDP 9999, UDP 10000 by `udp dport @open accept`"],
        ),
        (nft("drop", &["ip saddr . udp dport @open accept", own, "tcp dport 10000 accept"]), &[], &[]),
        (
            nft("accept", &["ip saddr 10.0.0.0/8 return", "meta mark & 0xff == 0x1 queue to 3"]),
            &[],
            &[&doubt("meta mark & 0xff == 0x1 queue to 3")],
        ),
        // Who is the mesh is known where a single sender is meant, and where the rule has the mesh's ports.
        (nft("accept", &["ip saddr 203.0.113.7 drop", "ip saddr { 203.0.113.8, 203.0.113.9 } reject"]), &[], &[]),
        (nft("drop", &["iifname \"eth0\" ip saddr @friends jump mesh"]), &[], &[]),
        (
            nft("drop", &["ct state vmap { invalid : drop, established : accept, related : accept, new : jump mesh }"]),
            &[],
            &[],
        ),
        (nft("drop", &["ip saddr != 10.0.0.0/8 return", "accept"]), &[], &[&doubt("ip saddr != 10.0.0.0/8 return")]),
        (
            iptables("DROP", &["INPUT -m set --match-set friends src -j ACCEPT"]),
            &[],
            &[&doubt("-A INPUT -m set --match-set friends src -j ACCEPT")],
        ),
        (
            iptables(
                "ACCEPT",
                &["INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", "INPUT -s 203.0.113.7/32 -j DROP"],
            ),
            &[],
            &[],
        ),
    ]);
    let round =
        nft("drop", &["jump a", "jump a"]) + "table inet filter {\n\tchain a {\n\t\tjump input\n\t\tjump a\n\t}\n}\n";
    assert!(!judge(&round.replacen("}\ntable inet filter {\n", "", 1), PORTS).doubts.is_empty(), "a circle ends");
}

#[test]
fn the_flags_of_a_first_packet_are_known() {
    check(&[
        (
            iptables("ACCEPT", &["INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j DROP"]),
            &[],
            &[],
        ),
        (
            nft(
                "accept",
                &["tcp flags & (fin | syn | rst | ack) != syn ct state new drop", "tcp flags fin,syn / fin,syn drop"],
            ),
            &[],
            &[],
        ),
        (
            nft("accept", &["tcp flags syn / fin,syn,rst,ack drop"]),
            &[
                "chain input drops by `tcp flags syn / fin,syn,rst,ack drop` what no rule lets in, and none lets in TCP 10000",
            ],
            &[],
        ),
        (
            iptables("ACCEPT", &["INPUT -p tcp -m tcp --syn -j DROP"]),
            &[
                "chain INPUT drops by `-A INPUT -p tcp -m tcp --syn -j DROP` what no rule lets in, and none lets in TCP 10000",
            ],
            &[],
        ),
    ]);
}

#[test]
fn firewalld_and_ufw_are_read_through_their_chains() {
    let firewalld = |ports: &str| {
        format!(
            "table inet firewalld {{\n\tchain filter_INPUT {{\n\t\ttype filter hook input priority filter + 10; policy accept;\n\t\t\
             ct state {{ established, related }} accept\n\t\tct status dnat accept\n\t\tiifname \"lo\" accept\n\t\t\
             ct state invalid drop\n\t\tjump filter_INPUT_ZONES\n\t\treject with icmpx admin-prohibited\n\t}}\n\n\t\
             chain filter_INPUT_ZONES {{\n\t\tiifname \"eth0\" goto filter_IN_public\n\t\tgoto filter_IN_public\n\t}}\n\n\t\
             chain filter_IN_public {{\n\t\tjump filter_IN_public_deny\n\t\tjump filter_IN_public_allow\n\t\t\
             meta l4proto {{ icmp, ipv6-icmp }} accept\n\t}}\n\n\tchain filter_IN_public_deny {{\n\t}}\n\n\t\
             chain filter_IN_public_allow {{\n\t\ttcp dport 22 accept\n\t\tip6 daddr fe80::/64 udp dport 546 accept\n{ports}\t}}\n}}\n"
        )
    };
    let ufw = |port: &str| {
        iptables(
            "DROP",
            &[
                "INPUT -j ufw-before-input",
                "INPUT -j ufw-after-input",
                "ufw-before-input -i lo -j ACCEPT",
                "ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "ufw-before-input -m conntrack --ctstate INVALID -j DROP",
                "ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT",
                "ufw-before-input -j ufw-not-local",
                "ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT",
                "ufw-before-input -j ufw-user-input",
                "ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
                "ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN",
                "ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN",
                "ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"",
                "ufw-not-local -j DROP",
                "ufw-after-input -p udp -m udp --dport 137 -j DROP",
                &format!("ufw-user-input -p udp -m udp --dport {port} -j ACCEPT"),
                "ufw-user-input -p udp -m multiport --dports 10000:10063 -j ACCEPT",
                "ufw-user-input -p tcp -m multiport --dports 10000:10063 -j ACCEPT",
            ],
        )
    };
    let (udp, tcp) =
        ("\t\tudp dport 9999 accept\n\t\tudp dport 10000-10063 accept\n", "\t\ttcp dport 10000-10063 accept\n");
    let last =
        "chain filter_INPUT drops by `reject with icmpx admin-prohibited` what no rule lets in, and none lets in ";
    check(&[
        (firewalld(&format!("{udp}{tcp}")), &[], &[]),
        (firewalld(udp), &[&format!("{last}TCP 10000")], &[]),
        (firewalld(""), &[&format!("{last}UDP 9999, UDP 10000, TCP 10000")], &[]),
        (ufw("9999"), &[], &[]),
        (ufw("9998"), &["chain INPUT drops what no rule lets in, and none lets in UDP 9999"], &[]),
    ]);
}

#[test]
fn no_text_makes_the_reader_panic() {
    let parts = [
        "table inet t {",
        "chain c {",
        "type filter hook input priority 0; policy drop;",
        "udp dport",
        "tcp flags",
        "ip saddr . ",
        "{",
        "}",
        "vmap",
        "@x",
        "ct state",
        "fib daddr . iif",
        "-A INPUT",
        ":INPUT DROP",
        "*filter",
        "-j",
        "--dport",
        "!",
        ":",
        "-",
        "\"",
        "\\",
        "/",
        "1/999",
    ];
    for a in parts {
        for b in parts {
            for c in parts {
                for between in [" ", "\n"] {
                    let text = format!("table inet t {{\nchain c {{\n{a}{between}{b}{between}{c}");
                    assert!(judge(&text, PORTS).suspects.len() <= MAX_SAID, "{text}");
                    let text = format!("*filter\n:INPUT DROP\n-A INPUT {a}{between}{b}{between}{c}");
                    assert!(judge(&text, PORTS).suspects.len() <= MAX_SAID, "{text}");
                }
            }
        }
    }
}

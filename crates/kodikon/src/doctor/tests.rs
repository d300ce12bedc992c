//! What the doctor finds: rows on both sides of each boundary.

use kodikon_core::ground::excess::Excess;

use super::*;

/// The status of a check and its evidence.
fn found(symptoms: &Symptoms, check: &str) -> (Status, String) {
    let rows = examine(symptoms);
    let row = rows.into_iter().find(|row| row.check == check).expect("the check is one of those that are run");
    assert_eq!(
        row.cure.is_empty(),
        matches!(row.status, Status::Ok | Status::Unknown),
        "a cure where one is needed: {row:?}"
    );
    (row.status, row.evidence)
}

fn interface(name: &str, casts: Vec<CastUse>) -> InterfaceUse {
    InterfaceUse { name: name.into(), unused: None, loopback: name == "lo", neighbours: 2, casts }
}

fn cast(name: &'static str, sent: u64, confirmed: impl Into<Option<u32>>, heard: u32) -> CastUse {
    CastUse { name, sent, confirmed: confirmed.into(), heard, echoed: true }
}

#[test]
fn what_was_not_looked_at_is_unknown_and_never_ok() {
    for row in examine(&Symptoms::default()) {
        assert_eq!(row.status, Status::Unknown, "{row:?}");
    }
}

#[test]
fn a_taken_discovery_port_names_its_holder() {
    let holder = Some(Holder { pid: 42, name: "python3".into() });
    for (port, status, says) in [
        (PortUse::Ours, Status::Ok, "9999 is open"),
        (PortUse::Taken { holder }, Status::Fail, "held by python3 (pid 42)"),
        (PortUse::Taken { holder: None }, Status::Fail, "held by another program"),
        (PortUse::Failed { error: "no sockets left".into() }, Status::Fail, "no sockets left"),
    ] {
        let symptoms = Symptoms { discovery_port: 9_999, port: Some(port.clone()), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "discovery_port");
        assert_eq!(found, status, "{port:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn a_log_that_is_not_kept_fails_and_an_earlier_one_that_was_damaged_is_named_while_it_lies_there() {
    let good = LogUse::default();
    let damaged = LogUse { damaged: vec!["/data/log.db.damaged".into()], ..good.clone() };
    let full = LogUse { problem: Some("no space left for /data/log.db".into()), failures: 3, ..damaged.clone() };
    for (log, status, says) in [
        (good.clone(), Status::Ok, "alerts and sightings are kept"),
        (LogUse { failures: 2, ..good }, Status::Ok, "2 transactions failed and were made good"),
        (damaged, Status::Warn, "lies aside: /data/log.db.damaged"),
        (full, Status::Fail, "alerts and sightings are not on disk (no space left for /data/log.db)"),
    ] {
        let (found, evidence) = found(&Symptoms { log: Some(log.clone()), ..Symptoms::default() }, "log");
        assert_eq!(found, status, "{log:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn no_interface_is_a_failure_and_loopback_alone_a_warning() {
    let down = InterfaceUse { unused: Some("no carrier".into()), neighbours: 0, ..interface("eth0", vec![]) };
    for (interfaces, status, says) in [
        (vec![interface("eth0", vec![])], Status::Ok, "in use: eth0"),
        (vec![interface("lo", vec![]), interface("wlan0", vec![])], Status::Ok, "in use: wlan0"),
        (vec![interface("lo", vec![]), down.clone()], Status::Warn, "eth0: no carrier"),
        (vec![down], Status::Fail, "eth0: no carrier"),
        (vec![], Status::Fail, "there is none"),
    ] {
        let symptoms = Symptoms { interfaces: Some(interfaces.clone()), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "interfaces");
        assert_eq!(found, status, "{interfaces:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn multicast_that_does_not_pass_is_a_warning_where_somebody_is_there_and_was_silent_long_enough() {
    let alone = InterfaceUse { neighbours: 0, ..interface("eth0", vec![cast("multicast v4", 9, 0, 0)]) };
    let one_way = |uptime| {
        (vec![interface("eth0", vec![cast("multicast v4", 9, None, 0), cast("broadcast", 9, None, 1)])], uptime)
    };
    for ((interfaces, uptime), status, says) in [
        ((vec![alone], 999), Status::Unknown, "nobody is there"),
        ((vec![interface("eth0", vec![cast("multicast v6", 0, 0, 0)])], 999), Status::Unknown, "nobody is there"),
        ((vec![interface("eth0", vec![cast("multicast v4", 9, 2, 2)])], 1), Status::Ok, "works: multicast v4 on eth0"),
        (
            (vec![interface("eth0", vec![cast("multicast v4", 9, None, 2)])], 1),
            Status::Ok,
            "works: multicast v4 on eth0",
        ),
        (
            (vec![interface("eth0", vec![cast("multicast v4", 9, 0, 2)])], 1),
            Status::Warn,
            "do not hear us: multicast v4 on eth0",
        ),
        (
            (vec![interface("eth0", vec![cast("broadcast", 9, None, 0)])], 1),
            Status::Warn,
            "nobody is heard: broadcast on eth0",
        ),
        (
            (vec![interface("lo", vec![cast("multicast v4", 9, None, 1), cast("multicast v6", 9, None, 0)])], 999),
            Status::Ok,
            "works: multicast v4 on lo",
        ),
        (one_way(150), Status::Ok, "works: broadcast on eth0; nobody is heard: multicast v4 on eth0"),
        (one_way(151), Status::Warn, "works: broadcast on eth0; nobody is heard: multicast v4 on eth0"),
    ] {
        let uptime = Some(Duration::from_secs(uptime));
        let symptoms = Symptoms { interfaces: Some(interfaces.clone()), uptime, ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "multicast");
        assert_eq!(found, status, "{interfaces:?} after {uptime:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn a_node_alone_that_does_not_hear_itself_is_told_so_once_it_must_have() {
    let calls = |sent, echoed| CastUse { echoed, ..cast("broadcast", sent, None, 0) };
    let alone = |name: &str, calls| InterfaceUse { neighbours: 0, ..interface(name, vec![calls]) };
    for (interface, seconds, status, says) in [
        (alone("eth0", calls(3, true)), 30, Status::Unknown, "this node hears its own calls"),
        (alone("eth0", calls(3, false)), 30, Status::Warn, "own calls are not heard back: broadcast on eth0"),
        (alone("eth0", calls(3, false)), 29, Status::Unknown, "nobody is there"),
        (alone("eth0", calls(2, false)), 30, Status::Unknown, "nobody is there"),
        (alone("lo", calls(3, false)), 30, Status::Unknown, "nobody is there"),
    ] {
        let uptime = Some(Duration::from_secs(seconds));
        let symptoms = Symptoms { interfaces: Some(vec![interface.clone()]), uptime, ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "multicast");
        assert_eq!(found, status, "{interface:?} after {uptime:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn connections_that_fail_again_and_again_are_a_warning() {
    for (standing, failed, status, says) in [
        (0, vec![], Status::Unknown, "no connection is wanted"),
        (3, vec![], Status::Ok, "3 connections stand"),
        (3, vec!["cam2".to_owned()], Status::Warn, "no connection to cam2"),
        (0, vec!["cam2".to_owned(), "cam3".to_owned()], Status::Warn, "no connection to cam2, cam3"),
    ] {
        let streams = Some(StreamUse { standing, failed });
        let symptoms = Symptoms { discovery_port: 9_999, streams: streams.clone(), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "tcp");
        assert_eq!(found, status, "{streams:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn an_interface_that_was_asked_for_and_is_not_there_is_named_with_those_that_are() {
    let unused = |interface| InterfaceUse { unused: Some("not asked for".into()), ..interface };
    for (eth0, status) in [(interface("eth0", vec![]), Status::Warn), (unused(interface("eth0", vec![])), Status::Fail)]
    {
        let interfaces = Some(vec![eth0, unused(interface("lo", vec![]))]);
        let symptoms = Symptoms { interfaces, absent: vec!["eth77".into()], ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "interfaces");
        assert_eq!(found, status, "{symptoms:?}");
        assert_eq!(evidence, "asked for and not there: eth77; there are: eth0, lo");
    }
}

#[test]
fn what_a_firewall_keeps_out_is_a_warning_and_what_its_rules_do_not_tell_is_unknown() {
    let nft = |rules: &str| {
        format!(
            "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority 0; policy drop;\n{rules}\t}}\n}}\n"
        )
    };
    for (text, own_port, status, says) in [
        (String::new(), Some(10_000), Status::Ok, "nft: no rule against the mesh"),
        (nft("udp dport { 9999, 10000 } accept\ntcp dport 10000 accept\n"), Some(10_000), Status::Ok, "no rule"),
        (nft("udp dport { 9999, 10000 } accept\ntcp dport 10000 accept\n"), None, Status::Ok, "no rule"),
        (
            nft("udp dport { 9999, 10000 } accept\ntcp dport 10000 accept\n"),
            Some(10_001),
            Status::Warn,
            "none lets in UDP 10001, TCP 10001",
        ),
        (nft("jump elsewhere\n"), None, Status::Unknown, "UDP 9999, UDP 10000, TCP 10000 by `jump elsewhere`"),
    ] {
        let shown = firewall::Shown { tool: "nft", text: text.clone() };
        let firewall = Some(firewall::Rules::Read(vec![shown]));
        let symptoms = Symptoms { discovery_port: 9_999, own_port, firewall, ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "firewall");
        assert_eq!(found, status, "{text}: {evidence}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn the_kernel_asks_the_rules_of_all_tools_and_the_worst_of_them_counts() {
    let nft = "table ip f {\n\tchain i {\n\t\ttype filter hook input priority 0; policy accept;\n\t\ttcp dport 22 accept\n\t}\n}\n";
    let rules = |rule: &str| format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule}\nCOMMIT\n");
    for (save, legacy, status, says) in [
        (
            "-p tcp --dport 22 -j DROP",
            "-p icmp -j ACCEPT",
            Status::Ok,
            "nft, iptables-save, iptables-legacy-save: no rule",
        ),
        (
            "-p tcp --dport 22 -j DROP",
            "-m socket -j DROP",
            Status::Unknown,
            "iptables-legacy-save: UDP 9999, UDP 10000",
        ),
        ("-m socket -j DROP", "-p udp --dport 9999 -j DROP", Status::Warn, "iptables-legacy-save: `-A INPUT -p udp"),
        ("-j DROP", "-j DROP", Status::Warn, "none lets in UDP 9999, UDP 10000, TCP 10000"),
    ] {
        let texts = [("nft", nft.to_owned()), ("iptables-save", rules(save)), ("iptables-legacy-save", rules(legacy))];
        let shown = texts.map(|(tool, text)| firewall::Shown { tool, text });
        let firewall = Some(firewall::Rules::Read(shown.into()));
        let symptoms = Symptoms { discovery_port: 9_999, own_port: Some(10_000), firewall, ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "firewall");
        assert_eq!(found, status, "{save}, {legacy}: {evidence}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn a_small_receive_buffer_matters_once_it_overflowed() {
    for (granted, overflows, status) in
        [(4_096, 0, Status::Ok), (4_096, 9, Status::Ok), (4_095, 0, Status::Ok), (4_095, 1, Status::Warn)]
    {
        let receive_buffer = Some(ReceiveBuffer { wanted: 4_096, granted, overflows });
        let symptoms = Symptoms { receive_buffer, ..Symptoms::default() };
        assert_eq!(found(&symptoms, "receive_buffer").0, status, "{granted} bytes, {overflows} lost");
    }
}

#[test]
fn a_clock_more_than_a_second_off_is_told_and_whose_it_is() {
    for (skews, status, says) in [
        (&[][..], Status::Unknown, "no peer"),
        (&[1_000, -1_000, 3][..], Status::Ok, "within 1000 ms of 3 peers"),
        (&[1_001, 0, 0][..], Status::Warn, "clocks ahead: cam0 by +1.0 s"),
        (&[-90_000, 0, 5_000][..], Status::Warn, "clocks off: cam0 by -90.0 s, cam2 by +5.0 s"),
        (&[9_000, 9_001, 9_002][..], Status::Warn, "this machine's clock is behind most peers', by 9.0 s"),
        (&[-9_000, -9_001, -9_002][..], Status::Warn, "this machine's clock is ahead of most peers'"),
        (&[i64::MIN, 0, 0][..], Status::Warn, "clocks off: cam0"),
    ] {
        let skew = |(n, skew_ms): (usize, &i64)| Skew { node_id: format!("cam{n}"), skew_ms: *skew_ms };
        let symptoms = Symptoms { skews: Some(skews.iter().enumerate().map(skew).collect()), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "clock_skew");
        assert_eq!(found, status, "{skews:?}");
        assert!(evidence.contains(says), "{skews:?}: {evidence}");
    }
}

#[test]
fn a_mix_of_versions_is_told() {
    let peer = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    for (versions, status) in [
        (vec![], Status::Ok),
        (vec![peer("a", "1.0.0")], Status::Ok),
        (vec![peer("a", "1.0.0"), peer("b", "1.1.0")], Status::Warn),
    ] {
        let symptoms =
            Symptoms { own_version: "1.0.0".into(), versions: Some(versions.clone()), ..Symptoms::default() };
        assert_eq!(found(&symptoms, "versions").0, status, "{versions:?}");
    }
}

#[test]
fn a_clone_is_a_failure_and_a_shared_name_a_warning() {
    let identity =
        |shown: &str, clones, restored| IdentityUse { name: "cam".into(), shown: shown.into(), clones, restored };
    for (identity, status) in [
        (identity("cam", 0, 0), Status::Ok),
        (identity("cam-2", 0, 0), Status::Warn),
        (identity("cam", 0, 1), Status::Warn),
        (identity("cam", 1, 0), Status::Fail),
    ] {
        let symptoms = Symptoms { identity: Some(identity.clone()), ..Symptoms::default() };
        assert_eq!(found(&symptoms, "identity").0, status, "{identity:?}");
    }
}

#[test]
fn a_refusal_is_a_failure_with_the_limit_and_its_place_and_a_nearly_full_table_a_warning() {
    let base = Refusals { limit: 10, origin: Some("defaults.yaml:4:14".into()), ..Refusals::default() };
    for (refusals, status, says) in [
        (Refusals { held: 7, ..base.clone() }, Status::Ok, "7 of at most 10"),
        (Refusals { held: 8, ..base.clone() }, Status::Warn, "number 11 is refused"),
        (Refusals { held: 10, refused: 1, ..base.clone() }, Status::Fail, "at most 10 (set in defaults.yaml:4:14)"),
        (
            Refusals { refused_by: vec![("10.0.0.7:10000".into(), 10)], ..base.clone() },
            Status::Fail,
            "10.0.0.7:10000 refused",
        ),
        (Refusals { held: 250, limit: 256, origin: None, ..base }, Status::Ok, "250 of at most 256"),
    ] {
        let symptoms = Symptoms { refusals: Some(refusals.clone()), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "refused_peers");
        assert_eq!(found, status, "{refusals:?}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn what_arrives_from_outside_is_a_warning() {
    let then = Some(Duration::from_secs(300));
    for (sealed, unknown, last, other_policy, status, says) in [
        (0, 0, None, false, Status::Ok, "outside the mesh"),
        (0, 0, then, false, Status::Ok, "the last came 300 s ago"),
        (1, 0, Some(Duration::ZERO), false, Status::Warn, "the last came 0 s ago"),
        (0, 1, None, false, Status::Warn, "no frames"),
        (1, 1, None, true, Status::Fail, "another registry.deletes"),
    ] {
        let foreign = Some(Foreign { sealed, unknown, last, other_policy });
        let symptoms = Symptoms { foreign, ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "foreign_nodes");
        assert_eq!(found, status, "{sealed} {unknown}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

/// Who did what and how often, what is found, and what it says.
type Offence = (&'static [(&'static str, Excess, u64)], Status, &'static str);

#[test]
fn whoever_goes_beyond_its_share_is_named_with_what_it_did_and_how_often() {
    let table: &[Offence] = &[
        (&[], Status::Ok, "no peer"),
        (&[("cam1", Excess::Datagrams, 0)], Status::Ok, "no peer"),
        (&[("cam2", Excess::Datagrams, 7)], Status::Warn, "cam2: 7 datagrams beyond 5,000 a second"),
        (&[("cam2", Excess::Alerts, 9)], Status::Warn, "cam2: 9 alerts beyond 20 a second (critical: 10)"),
        (&[("cam2", Excess::Letters, 1)], Status::Warn, "cam2: 1 letters by relays"),
        (&[("cam2", Excess::Casts, 30)], Status::Warn, "cam2: 30 broadcasts beyond"),
        (&[("cam2", Excess::Searches, 3)], Status::Warn, "cam2: 3 searches beyond 40 a second"),
        (&[("cam2", Excess::Forgeries, 1)], Status::Warn, "1 facts or broadcasts of others"),
        (&[("cam2", Excess::Records, 999), ("cam3", Excess::Links, 4)], Status::Ok, "no peer"),
        (&[("cam2", Excess::Records, 1_000)], Status::Warn, "1000 sightings told unasked"),
        (&[("cam2", Excess::Links, 5)], Status::Warn, "cam2: 5 minutes in which it told of many links"),
        (&[("cam2", Excess::Ops, 4_999)], Status::Ok, "no peer"),
        (&[("cam2", Excess::Ops, 5_000)], Status::Warn, "5000 facts about itself"),
        // A hundred of its frames were heard.
        (&[("cam2", Excess::Replays, 999)], Status::Ok, "no peer"),
        (&[("cam2", Excess::Replays, 1_000)], Status::Warn, "1000 frames of its session"),
        (&[("cam1", Excess::Alerts, 1), ("cam2", Excess::Casts, 2)], Status::Warn, "cam1: 1 alerts"),
        (&[("cam1", Excess::Alerts, 1), ("cam2", Excess::Casts, 2)], Status::Warn, "; cam2: 2 broadcasts"),
    ];
    for (offences, status, says) in table {
        let offence = |(name, kind, count): &(&str, Excess, u64)| {
            let mut beyond = Excesses::default();
            (0..*count).for_each(|_| beyond.note(*kind));
            Offences { node_id: (*name).to_owned(), heard: 100, beyond }
        };
        let symptoms = Symptoms { offences: Some(offences.iter().map(offence).collect()), ..Symptoms::default() };
        let (found, evidence) = found(&symptoms, "peer_rates");
        assert_eq!(found, *status, "{offences:?}: {evidence}");
        assert!(evidence.contains(says), "{evidence}");
    }
}

#[test]
fn frames_that_come_again_are_no_fault_of_whoever_sealed_them_and_many_offenders_are_counted() {
    let beyond = |kind| {
        let mut beyond = Excesses::default();
        (0..2_000).for_each(|_| beyond.note(kind));
        beyond
    };
    let cure = |kind, peers: u32| {
        let offence = |n| Offences { node_id: format!("cam{n}"), heard: 1, beyond: beyond(kind) };
        let symptoms = Symptoms { offences: Some((0..peers).map(offence).collect()), ..Symptoms::default() };
        let row = examine(&symptoms).into_iter().find(|row| row.check == "peer_rates").expect("it is a check");
        (row.evidence, row.cure)
    };
    assert!(cure(Excess::Replays, 1).1.contains("loop"));
    assert!(cure(Excess::Datagrams, 1).1.contains("another program"));
    assert!(cure(Excess::Datagrams, 8).0.ends_with("a second"));
    assert!(cure(Excess::Datagrams, 10).0.ends_with("; and 2 more peers"));
}

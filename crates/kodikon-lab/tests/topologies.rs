//! Hosts of one segment hear each other, those of different ones do not: no kernel passes anything on.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use kodikon_lab::{Host, Lab, Topology};

const PORT: u16 = 5000;
const LIMIT: Duration = Duration::from_secs(5);
const A: Host = Host(1);
const B: Host = Host(2);
const C: Host = Host(3);

#[test]
fn neighbours_of_a_line_hear_each_other_and_its_ends_do_not() {
    let Some(lab) = Lab::for_test("line", &Topology::line(3)) else { return };
    let ears = [A, B, C].map(|host| Ear::new(&lab, host));
    let at = |segment: &str, host| lab.address(segment, host).unwrap();
    for (from, segment, to) in [(A, "s1", B), (B, "s1", A), (B, "s2", C), (C, "s2", B)] {
        ears[index(from)].say(at(segment, to), "near").unwrap();
        assert_eq!(ears[index(to)].hear(), "near", "{from} to {to}");
    }
    ears[0].say(at("s2", C), "without a route").unwrap_err();

    // Even where the hosts believe that the one between is a router.
    route(&lab, A, "10.78.0.0/16", at("s1", B));
    route(&lab, C, "10.77.0.0/16", at("s2", B));
    ears[0].say(at("s2", C), "by a host that is no router").unwrap();
    ears[1].say(at("s2", C), "near").unwrap();
    assert_eq!(ears[2].hear(), "near");
    // It is the kernel of the host between that makes the difference.
    let on = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    lab.run(lab.command(B, "sh").args(["-c", on]), LIMIT).unwrap().success().unwrap();
    ears[0].say(at("s2", C), "by a router").unwrap();
    assert_eq!(ears[2].hear(), "by a router");
}

#[test]
fn a_cut_segment_of_a_ring_is_silent_and_the_others_are_not() {
    let Some(lab) = Lab::for_test("ring", &Topology::ring(3)) else { return };
    let ears = [A, B, C].map(|host| Ear::new(&lab, host));
    let at = |segment: &str, host| lab.address(segment, host).unwrap();
    let pairs = [(A, "s1", B), (B, "s2", C), (C, "s3", A), (A, "s3", C)];
    let exchange = |when: &str| {
        for (from, segment, to) in pairs {
            ears[index(from)].say(at(segment, to), when).unwrap();
            assert_eq!(ears[index(to)].hear(), when, "{from} to {to} on {segment}");
        }
    };
    exchange("whole");
    lab.cut_segment("s1").unwrap();
    ears[0].say(at("s1", B), "lost").unwrap();
    let link = lab.run(lab.command(A, "ip").args(["link", "show", "es1"]), LIMIT).unwrap().success().unwrap();
    assert!(link.contains("state UP"), "no interface says so: {link}");
    lab.heal("s1").unwrap();
    exchange("healed");
}

fn index(host: Host) -> usize {
    usize::from(host.0) - 1
}

fn route(lab: &Lab, host: Host, network: &str, router: Ipv4Addr) {
    let mut command = lab.command(host, "ip");
    lab.run(command.args(["route", "add", network, "via", &router.to_string()]), LIMIT).unwrap().success().unwrap();
}

/// A UDP socket on a host.
struct Ear(UdpSocket);

impl Ear {
    fn new(lab: &Lab, host: Host) -> Self {
        let socket = lab.inside(host, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    fn say(&self, to: Ipv4Addr, text: &str) -> std::io::Result<usize> {
        self.0.send_to(text.as_bytes(), (to, PORT))
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 100];
        let (length, _) = self.0.recv_from(&mut buffer).expect("a datagram in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

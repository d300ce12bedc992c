//! Each fault of the lab does what it says to real datagrams, and no more.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use kodikon_lab::{Cut, Host, Lab, Loss, Topology};

const PORT: u16 = 5000;
const LIMIT: Duration = Duration::from_secs(5);
const A: Host = Host(1);
const B: Host = Host(2);
const C: Host = Host(3);

#[test]
fn datagrams_pass_and_each_fault_stops_just_its_own() {
    let Some(lab) = Lab::for_test("faults", &Topology::flat(3)) else { return };
    let wires = Wires::new(&lab);
    wires.exchange("before any fault", &[(A, B), (B, A), (A, C)]);

    lab.loss("a", 100.0).unwrap();
    wires.lost(&lab, "loss of 100 %", &[(A, B), (B, A)], |lab| lab.loss("a", 0.0));

    lab.loss_of("a", 100.0, Loss::Everything).unwrap();
    wires.lost(&lab, "loss of everything", &[(A, B), (C, A)], |lab| lab.loss("a", 0.0));

    lab.cut("a", Cut::OneWay { from: A, to: B }).unwrap();
    wires.exchange("cut one way", &[(B, A), (A, C), (C, B)]);
    wires.lost(&lab, "cut one way", &[(A, B)], |lab| lab.heal("a"));

    lab.cut("a", Cut::Between(A, B)).unwrap();
    wires.exchange("cut both ways", &[(A, C), (C, B)]);
    wires.lost(&lab, "cut both ways", &[(A, B), (B, A)], |lab| lab.heal("a"));

    lab.silence("a", A).unwrap();
    wires.exchange("silence of another", &[(B, C), (C, B)]);
    wires.lost(&lab, "silence", &[(A, B), (B, A), (A, C), (C, A)], |lab| lab.heal("a"));
}

#[test]
fn a_pulled_cable_loses_datagrams_and_a_downed_interface_refuses_them() {
    let Some(lab) = Lab::for_test("carrier", &Topology::flat(2)) else { return };
    let wires = Wires::new_of(&lab, &[A, B]);
    // So that no datagram waits in the host for the other's hardware address, to be sent when the cable is back.
    wires.exchange("with the cable in", &[(A, B), (B, A)]);
    lab.carrier("a", A, false).unwrap();
    wires.lost(&lab, "carrier", &[(B, A)], |lab| lab.carrier("a", A, true));

    lab.interface_down("a", A).unwrap();
    let refused = wires.send(A, B, "down").unwrap_err();
    assert!(refused.to_string().contains("unreachable"), "{refused}");
    lab.interface_up("a", A).unwrap();
    wires.exchange("after the interface came back", &[(A, B), (B, A)]);
}

#[test]
fn long_packets_are_counted_where_they_are_sent_lost_ones_too() {
    let Some(lab) = Lab::for_test("long", &Topology::flat(3)) else { return };
    let wires = Wires::new(&lab);
    wires.exchange("so that the hardware addresses are known", &[(A, B), (A, C)]);
    // An IP packet: 28 bytes of headers, then the datagram.
    lab.count_long_packets("a", 127).unwrap();
    lab.loss("a", 100.0).unwrap();
    for length in [99, 100, 101] {
        wires.send(A, B, &"x".repeat(length)).unwrap();
        wires.send(A, C, &"x".repeat(length)).unwrap();
    }
    assert_eq!(lab.long_packets("a").unwrap(), 4);
    lab.count_long_packets("a", 127).unwrap();
    assert_eq!(lab.long_packets("a").unwrap(), 0, "counted anew");
}

#[test]
fn a_firewall_drops_tcp_and_spares_udp() {
    let Some(lab) = Lab::for_test("tcp", &Topology::flat(2)) else { return };
    let server = lab.inside(B, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
    let address = SocketAddr::from((lab.address("a", B).unwrap(), PORT));
    let connect = |limit| lab.inside(A, || TcpStream::connect_timeout(&address, limit)).unwrap();
    let mut client = connect(LIMIT).unwrap();
    let (mut served, _) = server.accept().unwrap();
    lab.drop_tcp("a", true).unwrap();
    connect(Duration::from_millis(300)).expect_err("a connection through the firewall");
    Wires::new_of(&lab, &[A, B]).exchange("TCP dropped", &[(A, B), (B, A)]);
    lab.drop_tcp("a", false).unwrap();
    client.write_all(b"x").unwrap();
    served.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_cable_plugged_in_later_carries_datagrams_until_it_is_unplugged() {
    let Some(lab) = Lab::for_test("plug", &Topology::new().segment("a", [1, 2]).segment("b", [1]).lonely(3)) else {
        return;
    };
    let wires = Wires::new(&lab);
    wires.send_to(C, lab.address("a", A).unwrap(), "no network").unwrap_err();
    lab.plug("a", C).unwrap();
    wires.exchange("plugged", &[(C, A), (A, C)]);
    lab.plug("b", C).unwrap();
    lab.plug("later", C).unwrap();
    lab.plug("later", B).unwrap();
    let other = lab.address("later", B).unwrap();
    assert_eq!(other, Ipv4Addr::new(10, 79, 0, 3), "the third segment has the third network");
    wires.send_to(C, other, "third").unwrap();
    assert_eq!(wires.receive(B), "third");
    lab.unplug("a", C).unwrap();
    wires.send_to(A, Ipv4Addr::new(10, 77, 0, 4), "gone").unwrap();
    assert!(lab.address("a", C).is_err());
}

#[test]
fn a_changed_address_takes_the_place_of_the_old_one() {
    let Some(lab) = Lab::for_test("address", &Topology::flat(2)) else { return };
    let wires = Wires::new_of(&lab, &[A, B]);
    lab.set_address("a", B, Ipv4Addr::new(10, 77, 9, 9)).unwrap();
    wires.exchange("new address", &[(A, B), (B, A)]);
    let addresses = lab.run(lab.command(B, "ip").args(["-o", "-4", "addr", "show", "ea"]), LIMIT).unwrap();
    let addresses = addresses.success().unwrap();
    assert!(addresses.contains("10.77.9.9/16 brd 10.77.255.255"), "{addresses}");
    assert!(!addresses.contains("10.77.0.3"), "{addresses}");
}

#[test]
fn the_switch_counts_each_datagram_with_its_ethernet_header() {
    let Some(lab) = Lab::for_test("count", &Topology::flat(2)) else { return };
    let wires = Wires::new_of(&lab, &[A, B]);
    wires.exchange("so that addresses are resolved", &[(A, B), (B, A)]);
    let before = lab.counters().unwrap();
    for _ in 0..100 {
        wires.send(A, B, &"x".repeat(1000)).unwrap();
        wires.receive(B);
    }
    let after = lab.counters().unwrap();
    let key = |host| (host, "a".to_owned());
    let sent = after[&key(A)] - before[&key(A)];
    let received = after[&key(B)] - before[&key(B)];
    // 14 Ethernet, 20 IP, 8 UDP; beside it only what the kernel says of its own accord (ARP, MLD).
    assert!((100..110).contains(&sent.sent_packets), "{sent:?}");
    assert!((104_200..105_500).contains(&sent.sent_bytes), "{sent:?}");
    assert!((100..110).contains(&received.received_packets), "{received:?}");
    assert!(received.sent_packets < 10, "{received:?}");
}

#[test]
fn no_frame_at_the_switch_holds_more_than_one_segment() {
    let Some(lab) = Lab::for_test("exact", &Topology::flat(2)) else { return };
    const BYTES: usize = 1 << 20;
    let server = lab.inside(B, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
    let address = SocketAddr::from((lab.address("a", B).unwrap(), PORT));
    let mut client = lab.inside(A, || TcpStream::connect(address)).unwrap().unwrap();
    let (mut served, _) = server.accept().unwrap();
    let before = lab.counters().unwrap();
    let sender = std::thread::spawn(move || client.write_all(&vec![0; BYTES]));
    served.read_exact(&mut vec![0; BYTES]).unwrap();
    sender.join().unwrap().unwrap();
    let key = (A, "a".to_owned());
    let sent = lab.counters().unwrap()[&key] - before[&key];
    assert!(sent.sent_packets >= (BYTES / 1460) as u64, "{sent:?}: segmentation was left to the interface");
}

#[test]
fn a_limited_rate_is_kept() {
    let Some(lab) = Lab::for_test("rate", &Topology::flat(2)) else { return };
    let wires = Wires::new_of(&lab, &[A, B]);
    lab.rate("a", B, None).unwrap();
    lab.rate("a", B, Some("8mbit")).unwrap();
    // 32 KB pass at once, the rest at 1 MB/s; more than 50 ms of it waiting would be dropped.
    let start = Instant::now();
    for _ in 0..60 {
        wires.send(A, B, &"x".repeat(1000)).unwrap();
    }
    for _ in 0..60 {
        wires.receive(B);
    }
    assert!(start.elapsed() > Duration::from_millis(20), "{:?}", start.elapsed());
    lab.rate("a", B, None).unwrap();
    wires.exchange("after the limit", &[(A, B)]);
}

/// A UDP socket on each host, to be heard and seen.
struct Wires<'lab> {
    lab: &'lab Lab,
    sockets: Vec<(Host, UdpSocket)>,
}

impl<'lab> Wires<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        Self::new_of(lab, &[A, B, C])
    }

    fn new_of(lab: &'lab Lab, hosts: &[Host]) -> Self {
        let open = |host| {
            let socket = lab.inside(host, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            (host, socket)
        };
        Self { lab, sockets: hosts.iter().map(|host| open(*host)).collect() }
    }

    fn socket(&self, host: Host) -> &UdpSocket {
        &self.sockets.iter().find(|(known, _)| *known == host).unwrap().1
    }

    fn send_to(&self, from: Host, to: Ipv4Addr, text: &str) -> std::io::Result<usize> {
        self.socket(from).send_to(text.as_bytes(), (to, PORT))
    }

    fn send(&self, from: Host, to: Host, text: &str) -> std::io::Result<usize> {
        self.send_to(from, self.lab.address("a", to).unwrap(), text)
    }

    fn receive(&self, host: Host) -> String {
        let mut buffer = [0; 2000];
        let (length, _) = self.socket(host).recv_from(&mut buffer).unwrap_or_else(|error| panic!("at {host}: {error}"));
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// What is sent over each pair arrives, and is the first that arrives.
    fn exchange(&self, when: &str, pairs: &[(Host, Host)]) {
        for (from, to) in pairs {
            let text = format!("{when}: {from} to {to}");
            self.send(*from, *to, &text).unwrap();
            assert_eq!(self.receive(*to), text);
        }
    }

    /// What is sent over each pair does not arrive: after the cure the next datagram is the first that comes.
    fn lost(&self, lab: &Lab, when: &str, pairs: &[(Host, Host)], cure: impl FnOnce(&Lab) -> anyhow::Result<()>) {
        for (from, to) in pairs {
            self.send(*from, *to, &format!("{when}: must be lost")).unwrap();
        }
        cure(lab).unwrap();
        self.exchange(&format!("after {when}"), pairs);
    }
}

//! Every link type and byte order, and what no file can do.

use super::*;

const PAYLOAD: &[u8] = b"{\"type\": 1}";

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).expect("short");
    [&[0x27, 0x10, 0x27, 0x0f], &length.to_be_bytes()[..], &[0, 0], payload].concat()
}

fn ipv4_packet(flags_and_offset: u16, body: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 0, 0, 0];
    ip.extend(flags_and_offset.to_be_bytes());
    ip.extend([64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    [ip, body.to_vec()].concat()
}

fn ipv6_packet(extensions: &[u8], next: u8, body: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0, 0, 0, next, 1];
    ip.extend(Ipv6Addr::LOCALHOST.octets());
    ip.extend(Ipv6Addr::LOCALHOST.octets());
    [&ip, extensions, body].concat()
}

fn linked(link: u32, kind: u16, ip: &[u8]) -> Vec<u8> {
    let kind = kind.to_be_bytes();
    let front: Vec<u8> = match link {
        0 => vec![2, 0, 0, 0],
        1 => [&[0; 12][..], &kind].concat(),
        113 => [&[0; 14][..], &kind].concat(),
        276 => [&kind[..], &[0; 18]].concat(),
        _ => Vec::new(),
    };
    [front, ip.to_vec()].concat()
}

fn file(magic: u32, big_endian: bool, link: u32, packets: &[(&[u8], u32)]) -> Vec<u8> {
    let field = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes = [magic, 0x0004_0002, 0, 0, 262_144, link].map(field).concat();
    for (packet, whole) in packets {
        let kept = u32::try_from(packet.len()).expect("short");
        bytes.extend([1_764_000_000, 250, kept, *whole].map(field).concat());
        bytes.extend(*packet);
    }
    bytes
}

fn one(link: u32, packet: &[u8]) -> Vec<Result<Packet<'static>, Broken>> {
    let bytes = file(MICROS, false, link, &[(packet, u32::try_from(packet.len()).expect("short"))]).leak();
    Capture::new(bytes).expect("a capture").collect()
}

#[test]
fn a_datagram_is_found_under_every_link_type() {
    let v4 = ipv4_packet(0, &udp(PAYLOAD));
    for link in [0, 1, 12, 14, 101, 108, 113, 228, 276] {
        let link_or_null = if link == 108 { 0 } else { link };
        let found = one(link, &linked(link_or_null, ETHERTYPE_IPV4, &v4));
        let [Ok(Packet::Datagram(datagram))] = &found[..] else { panic!("link {link}: {found:?}") };
        assert_eq!(datagram.payload, PAYLOAD, "link {link}");
        assert_eq!(
            (datagram.from.to_string(), datagram.to.to_string()),
            ("10.0.0.1:10000".into(), "10.0.0.2:9999".into())
        );
        assert!((datagram.captured - 1_764_000_000.000_25).abs() < 1e-6);
    }
    let tagged = [&[0, 7], &ETHERTYPE_IPV4.to_be_bytes()[..], &v4].concat();
    assert!(matches!(one(1, &linked(1, 0x8100, &tagged))[..], [Ok(Packet::Datagram(_))]), "behind a VLAN tag");
}

#[test]
fn both_byte_orders_and_both_fractions_are_read() {
    let packet = ipv4_packet(0, &udp(PAYLOAD));
    for (magic, expected) in [(MICROS, 0.000_25), (NANOS, 0.000_000_25)] {
        for big_endian in [false, true] {
            let bytes = file(magic, big_endian, 101, &[(&packet[..], packet.len() as u32); 2]);
            let found: Vec<_> = Capture::new(&bytes).expect("a capture").map(|found| found.expect("whole")).collect();
            let [Packet::Datagram(first), Packet::Datagram(_)] = &found[..] else { panic!("{found:?}") };
            assert!((first.captured - 1_764_000_000.0 - expected).abs() < 1e-6, "{}", first.captured);
        }
    }
}

#[test]
fn ipv6_is_read_through_its_extension_headers() {
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |next, offset: u16| [&[next, 0][..], &offset.to_be_bytes(), &[0; 4]].concat();
    let body = udp(PAYLOAD);
    let table = [
        (ipv6_packet(&[], UDP, &body), true),
        (ipv6_packet(&options(UDP), 0, &body), true),
        (ipv6_packet(&[options(60), options(UDP)].concat(), 43, &body), true),
        // An atomic fragment is a whole packet (RFC 6946).
        (ipv6_packet(&fragment(UDP, 0), 44, &body), true),
        (ipv6_packet(&options(0).repeat(9), 0, &body), false),
        (ipv6_packet(&[], 6, &body), false),
    ];
    for (packet, found) in table {
        assert_eq!(matches!(one(229, &packet)[..], [Ok(Packet::Datagram(_))]), found, "{packet:?}");
    }
    assert_eq!(one(229, &ipv6_packet(&fragment(UDP, 1), 44, &body)), [Ok(Packet::Fragment)]);
}

#[test]
fn fragments_cuts_and_other_packets_are_told_apart() {
    let body = udp(PAYLOAD);
    let whole = ipv4_packet(0, &body);
    for (flags, expected) in [(0x2000, Packet::Fragment), (0x0001, Packet::Fragment)] {
        assert_eq!(one(101, &ipv4_packet(flags, &body)), [Ok(expected)], "{flags:x}");
    }
    assert!(matches!(one(101, &ipv4_packet(0x4000, &body))[..], [Ok(Packet::Datagram(_))]), "don't fragment");
    let cut = &whole[..whole.len() - 1];
    let bytes = file(MICROS, true, 101, &[(cut, whole.len() as u32), (cut, cut.len() as u32)]);
    let found: Vec<_> = Capture::new(&bytes).expect("a capture").collect();
    assert_eq!(found, [Ok(Packet::Cut), Ok(Packet::Other)], "cut by the capture, and a lie");
    let mut tcp = whole.clone();
    tcp[9] = 6;
    assert_eq!(one(101, &tcp), [Ok(Packet::Other)]);
    assert_eq!(one(1, &linked(1, 0x0806, &whole)), [Ok(Packet::Other)], "ARP");
}

#[test]
fn what_is_no_capture_says_why() {
    let table = [
        (file(MICROS, true, 127, &[]), "link type 127"),
        (file(MICROS, true, 1, &[])[..23].to_vec(), "ends within"),
        (PCAPNG.to_vec(), "pcapng"),
    ];
    for (bytes, expected) in table {
        let fault = Capture::new(&bytes).expect_err("none").to_string();
        assert!(fault.contains(expected), "{fault}");
        assert!(is_capture(&bytes));
    }
    assert!(!is_capture(b"7b22") && !is_capture(b"") && !is_capture(&[0xa1, 0xb2, 0xc3]));
    let huge = [file(NANOS, false, 1, &[]), vec![0xff; 16]].concat();
    let found: Vec<_> = Capture::new(&huge).expect("a capture").collect();
    assert_eq!(found, [Err(Broken::Record(u32::MAX))]);
}

#[test]
fn no_file_however_bent_does_more_than_end_early() {
    let packets = [
        linked(1, ETHERTYPE_IPV4, &ipv4_packet(0, &udp(PAYLOAD))),
        linked(1, ETHERTYPE_IPV6, &ipv6_packet(&[UDP, 0, 1, 4, 0, 0, 0, 0], 0, &udp(PAYLOAD))),
    ];
    let packets: Vec<(&[u8], u32)> = packets.iter().map(|packet| (&packet[..], packet.len() as u32)).collect();
    for link in [0, 1, 101, 113, 276] {
        let whole = file(MICROS, false, link, &packets);
        let read = |bytes: &[u8]| Capture::new(bytes).map_or(0, Iterator::count);
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        for at in 4..whole.len() {
            for bits in [0x01, 0x10, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[at] ^= bits;
                assert!(read(&bent) <= 3, "link {link}, byte {at}");
            }
        }
    }
}

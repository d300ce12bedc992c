//! The parser on what kernels wrote, and on what none would.

use super::*;

/// A dump of addresses as Linux 6.18 wrote it, with its end: lo and eth0, both families.
const ADDRESSES: &str = "4c0000001400020001000000ad2b0000020880fe01000000080001007f000001080002007f000001070003006c6f0000080008008000000014\
    000600ffffffffffffffff1400000014000000580000001400020001000000ad2b0000021880000400000008000100c000020208000200c0\
    00020208000400c00002ff090003006574683000000000080008008000000014000600ffffffffffffffff14000000140000005000000014\
    00020001000000ad2b00000a8080fe01000000140001000000000000000000000000000000000114000600ffffffffffffffff1400000014\
    000000080008008000000005000b0001000000480000001400020001000000ad2b00000a4082000400000014000100fd0000000000000000\
    0000000000000214000600ffffffffffffffff14000000140000000800080082000000500000001400020001000000ad2b00000a4080fd04\
    00000014000100fe8000000000000000fc00fffe00000114000600ffffffffffffffff1400000014000000080008008000000005000b0003\
    000000140000000300020001000000ad2b000000000000";

#[test]
fn a_captured_dump_of_addresses_is_read() {
    let known = |index, address: &str, prefix, broadcast: Option<[u8; 4]>| {
        let address = address.parse().unwrap();
        Fact::Address(
            InterfaceIndex(index),
            InterfaceAddress { address, prefix, broadcast: broadcast.map(Ipv4Addr::from) },
        )
    };
    let expected = [
        known(1, "127.0.0.1", 8, None),
        known(4, "192.0.2.2", 24, Some([192, 0, 2, 255])),
        known(1, "::1", 128, None),
        known(4, "fd00::2", 64, None),
        known(4, "fe80::fc:ff:fe00:1", 64, None),
        Fact::Done,
    ];
    assert_eq!(facts(&unhex(ADDRESSES)).collect::<Vec<_>>(), expected);
}

#[test]
fn captured_links_are_read() {
    let expected = [
        Fact::Link(Link {
            index: InterfaceIndex(1),
            name: "lo".to_owned(),
            mtu: 65_536,
            carrier: true,
            loopback: true,
            many: false,
            master: None,
            kind: None,
        }),
        Fact::Link(Link {
            index: InterfaceIndex(2),
            name: "ifb0".to_owned(),
            mtu: 1_500,
            carrier: false,
            loopback: false,
            many: true,
            master: None,
            kind: Some("ifb".to_owned()),
        }),
    ];
    assert_eq!(facts(&captured_links()).collect::<Vec<_>>(), expected);
}

#[test]
fn an_address_still_being_tested_for_duplicates_is_not_usable_yet() {
    for (flags, usable) in [(0x80u32, true), (0x80 | 0x40, false), (0x80 | 0x08, false), (0x02, true)] {
        let mut body = vec![IPV6, 64, 0, 0];
        body.extend(4u32.to_ne_bytes());
        body.extend(attribute(1, &[0xfd; 16]));
        body.extend(attribute(8, &flags.to_ne_bytes()));
        let fact = facts(&message(NEW_ADDRESS, 0, &body)).next();
        assert_eq!(matches!(fact, Some(Fact::Address(..))), usable, "{flags:x}: {fact:?}");
        assert_eq!(matches!(fact, Some(Fact::AddressGone(..))), !usable, "{flags:x}: {fact:?}");
    }
}

#[test]
fn on_a_point_to_point_link_the_own_end_is_taken() {
    let mut body = vec![IPV4, 32, 0, 0];
    body.extend(4u32.to_ne_bytes());
    body.extend(attribute(1, &[10, 0, 0, 2]));
    body.extend(attribute(2, &[10, 0, 0, 1]));
    let Some(Fact::Address(_, address)) = facts(&message(NEW_ADDRESS, 0, &body)).next() else { panic!("no address") };
    assert_eq!(address.address, IpAddr::from([10, 0, 0, 1]));
}

#[test]
fn a_port_leaving_its_bridge_is_not_a_link_gone() {
    for (family, gone) in [(libc::AF_UNSPEC as u8, true), (libc::AF_BRIDGE as u8, false)] {
        let mut body = vec![family, 0, 0, 0];
        body.extend(9u32.to_ne_bytes());
        body.extend([0; 8]);
        let fact = facts(&message(DELETED_LINK, 0, &body)).next();
        assert_eq!(fact, gone.then_some(Fact::LinkGone(InterfaceIndex(9))), "family {family}");
    }
}

#[test]
fn a_bridge_port_names_its_bridge_and_nested_kinds_are_found_with_flags_on() {
    let mut body = vec![0; 4];
    body.extend(9u32.to_ne_bytes());
    body.extend((0x1043u32).to_ne_bytes());
    body.extend([0; 4]);
    body.extend(attribute(3, b"veth9\0"));
    body.extend(attribute(10, &3u32.to_ne_bytes()));
    body.extend(attribute(0x8000 | 18, &attribute(1, b"veth\0")));
    let Some(Fact::Link(link)) = facts(&message(NEW_LINK, 0, &body)).next() else { panic!("no link") };
    assert_eq!((link.master, link.kind.as_deref(), link.carrier), (Some(InterfaceIndex(3)), Some("veth"), true));
}

#[test]
fn the_end_of_a_dump_and_what_spoils_it_are_told() {
    let table: &[(Vec<u8>, &[Fact])] = &[
        (message(DONE, 2, &[0; 4]), &[Fact::Done]),
        (message(DONE, 2 | INTERRUPTED, &[0; 4]), &[Fact::Torn, Fact::Done]),
        (message(ERROR, 0, &(-libc::EBUSY).to_ne_bytes()), &[Fact::Refused]),
        (message(ERROR, 0, &0i32.to_ne_bytes()), &[]),
        (message(99, 0, &[1; 8]), &[]),
    ];
    for (bytes, expected) in table {
        assert_eq!(&facts(bytes).collect::<Vec<_>>(), expected, "{bytes:?}");
    }
}

#[test]
fn a_length_that_lies_ends_the_reading() {
    for len in [0u32, 1, 15, 16, 17, 28, 29, u32::MAX, u32::MAX - 3] {
        let mut bytes = message(DONE, 0, &[0; 12]);
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        assert!(facts(&bytes).count() <= 1, "length {len}");
    }
    for len in [0u16, 1, 3, 4, 5, u16::MAX] {
        let mut body = vec![0; LINK_HEAD];
        body.extend(len.to_ne_bytes());
        body.extend([3, 0, b'x', 0]);
        assert!(facts(&message(NEW_LINK, 0, &body)).count() <= 1, "length {len}");
    }
}

#[test]
fn no_bytes_make_the_parser_panic_or_loop() {
    let real = [captured_links(), unhex(ADDRESSES)].concat();
    for end in 0..real.len() {
        assert!(facts(&real[..end]).count() <= 7, "cut at {end}");
    }
    let mut noise = [0u8; 2];
    for round in 0..50_000 {
        crate::sys::random(&mut noise).unwrap();
        let mut bytes = real.clone();
        let place = (round * 7) % bytes.len();
        bytes[place] = noise[0];
        let other = (place + usize::from(noise[1])) % bytes.len();
        bytes[other] ^= noise[1];
        assert!(facts(&bytes).count() <= 2 * real.len() / 16, "round {round}");
    }
    let mut random = [0u8; 4_096];
    for _ in 0..200 {
        crate::sys::random(&mut random).unwrap();
        assert!(facts(&random).count() <= 2 * random.len() / 16);
    }
}

/// The dump of `lo` and `ifb0` by Linux 6.18, its statistics and per-protocol parts cut out and the lengths mended.
fn captured_links() -> Vec<u8> {
    let lo = "00000403010000004900010000000000070003006c6f000008000d00e80300000500100000000000050011000000000005004300010000000800040000\
        000100080032000000000008003300000000000a00010000000000000000000a00020000000000000000000c0006006e6f717565756500";
    let ifb = "000001000200000082000000000000000900030069666230000000000\
        8000d00200000000500100002000000050011000000000005004300000000000800\
        0400dc0500000c0012000800010069666200090006006e6f6f7000000000";
    let link = |text| {
        let mut message = message(NEW_LINK, 2, &unhex(text));
        message[8..12].copy_from_slice(&1u32.to_ne_bytes());
        message
    };
    [link(lo), link(ifb)].concat()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + data.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
